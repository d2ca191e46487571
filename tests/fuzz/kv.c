// What stands behind --kv: a spec.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/kv/spec.h"
#include "tests/fuzz/fuzz.h"

const fuzz_limit fuzz_allocation = {1, 1};

void fuzz_prepare(void)
{
}

// What is understood has a name, and what is read from that is the same in every part.
static void check_name(const kv_spec *spec)
{
    char name[KV_NAME], again[KV_NAME];
    kv_spec read;
    kv_name(spec, name);
    assert(strlen(name) < KV_NAME - 1);
    assert(!kv_parse(name, &read));
    assert(strcmp(kv_name(&read, again), name) == 0 && kv_is_plain(&read) == kv_is_plain(spec));
    assert(read.keep == spec->keep && read.form == spec->form && read.page == spec->page);
    assert(read.recent == spec->recent && read.sinks == spec->sinks && read.heavy == spec->heavy);
    assert(read.resident == spec->resident && strcmp(read.dir, spec->dir) == 0);
    assert(!kv_check(spec));
}

// No row is kept of what sees none, and what lies in a file has a budget that fits a size_t.
static void check_keep(const kv_spec *spec)
{
    assert(spec->keep == KV_ALL || spec->recent > 0);
    assert(spec->keep == KV_HEAVY || spec->heavy == 0);
    assert(spec->keep == KV_WINDOW || spec->sinks == 0);
    assert(!(spec->keep == KV_HEAVY && spec->dir[0]));
    assert(spec->dir[0] || spec->resident == 0);
    assert(spec->resident % (1 << 20) == 0);
}

void fuzz_run(const uint8_t *data, size_t n)
{
    char *text = memory_array(n + 1, 1);
    kv_spec spec;
    assert(text);
    if (n)
        memcpy(text, data, n);
    if (fuzz_done(kv_parse(text, &spec))) {
        check_name(&spec);
        check_keep(&spec);
    }
    memory_free(text);
}
