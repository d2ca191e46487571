// Checked allocation over aligned_alloc.
#include "common/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/size.h"

static size_t allocations, failing_allocation;
static _Thread_local size_t largest;

size_t memory_fail_at(size_t n)
{
    size_t before = allocations;
    allocations = 0;
    failing_allocation = n;
    return before;
}

size_t memory_largest(void)
{
    size_t before = largest;
    largest = 0;
    return before;
}

static int must_fail(size_t bytes)
{
    size_t now;
    largest = bytes > largest ? bytes : largest;
#pragma omp atomic capture
    now = ++allocations;
    return now == failing_allocation;
}

// Rounds up to whole units (a power of two), as aligned_alloc wants it; 0 if that overflows.
static size_t round_up(size_t bytes, size_t unit)
{
    return bytes > SIZE_MAX - unit ? 0 : (bytes + (bytes == 0) + unit - 1) / unit * unit;
}

static void *aligned(size_t bytes, size_t alignment)
{
    size_t whole = round_up(bytes, alignment);
    return must_fail(bytes) || whole == 0 ? NULL : aligned_alloc(alignment, whole);
}

void *memory_array(size_t count, size_t size)
{
    const size_t bytes = size_times(count, size);
    void *p = aligned(bytes, CACHE_LINE);
    return p ? memset(p, 0, bytes) : NULL;
}

void *memory_block(size_t bytes)
{
    const size_t huge_page = (size_t)2 << 20;
    const bool huge = bytes >= huge_page; // a small one would take the whole of such a page
    void *p = aligned(bytes, huge ? huge_page : (size_t)sysconf(_SC_PAGESIZE));
#ifdef MADV_HUGEPAGE
    if (p && huge)
        madvise(p, round_up(bytes, huge_page), MADV_HUGEPAGE); // a hint: nothing depends on it
#endif
    return p;
}

void *memory_resize(void *old, size_t count, size_t size)
{
    const size_t bytes = size_times(count, size);
    return must_fail(bytes) || bytes == SIZE_MAX ? NULL : realloc(old, bytes + (bytes == 0));
}

void memory_free(void *p)
{
    free(p);
}

static const char shortage[] = "out of memory for ";

status memory_failed(const char *what)
{
    return status_fail("%s%s: close other programs, or use a smaller model or context", shortage,
                       what);
}

bool memory_is_short(status s)
{
    return s && strncmp(s, shortage, sizeof shortage - 1) == 0;
}
