// Lines are taken as they come, and requests run in between.
#include "kvcache/serve/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/generate/generate.h"
#include "kvcache/serve/answer.h"

enum { AT_ONCE = 2 * SERVICE_RUNNING, CHUNK = 1 << 16 };
enum { IDLE_MS = 200 }; // between two looks for a signal

typedef struct lines {
    service *v;
    const char *path;
    int fd;
    bool end; // of the file
    char *buffer;
    size_t from, to; // what is there of it; a line that is too long is cut behind REQUEST_BYTES + 1
    size_t line;     // number of the latest
    struct {
        job *j;
        size_t line;
    } jobs[AT_ONCE]; // a ring, in the order in which they came
    size_t oldest, n;
} lines;

// Waits a while for bytes if `patient`, and takes those that are there.
static status read_more(lines *l, bool patient)
{
    struct pollfd there = {.fd = l->fd, .events = POLLIN};
    const int ready = poll(&there, 1, patient ? IDLE_MS : 0);
    if (ready == 0 || (ready < 0 && errno == EINTR))
        return NULL; // nothing yet, or a signal
    if (l->from > 0) {
        memmove(l->buffer, l->buffer + l->from, l->to - l->from);
        l->to -= l->from;
        l->from = 0;
    }
    char dropped[CHUNK];
    const bool full = l->to > REQUEST_BYTES;
    const ssize_t n = read(l->fd, full ? dropped : l->buffer + l->to, CHUNK);
    if (n < 0)
        return errno == EINTR ? NULL
                              : status_fail("cannot read %s: %s: name a file after --requests",
                                            l->path, strerror(errno));
    l->end = n == 0;
    const char *newline = full ? memchr(dropped, '\n', (size_t)n) : NULL;
    if (newline) { // the end of a line of which the beginning is enough to refuse it
        const size_t rest = (size_t)(dropped + n - newline);
        memcpy(l->buffer + l->to, newline, rest);
        l->to += rest;
    } else if (!full)
        l->to += (size_t)n;
    return NULL;
}

// The next line, (*n); NULL: it is not there yet, or there is none.
static const char *next_line(lines *l, size_t *n)
{
    const char *line = l->buffer + l->from, *newline = memchr(line, '\n', l->to - l->from);
    if (!newline && (!l->end || l->from == l->to))
        return NULL;
    *n = newline ? (size_t)(newline - line) : l->to - l->from;
    l->from += *n + (newline != NULL);
    l->line++;
    return line;
}

static bool is_empty(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", line[i]) || line[i] == '\0')
            return false;
    return true;
}

static status add(lines *l, const char *line, size_t n)
{
    char name[32];
    const size_t at = (l->oldest + l->n) % AT_ONCE;
    snprintf(name, sizeof name, "line %zu", l->line);
    if (is_empty(line, n))
        return NULL;
    status s = service_add(l->v, name, line, n, REQUEST_EITHER, &l->jobs[at].j);
    if (s)
        return s;
    l->jobs[at].line = l->line;
    l->n++;
    return NULL;
}

static status take_lines(lines *l)
{
    status s = NULL;
    while (!s && l->n < AT_ONCE) {
        size_t n;
        const char *line = next_line(l, &n);
        if (line) {
            s = add(l, line, n);
            continue;
        }
        if (l->end)
            break;
        const size_t before = l->to;
        s = read_more(l, l->n == 0);
        if (l->to <= before && !l->end && (l->n > 0 || generate_interruption()))
            break;
    }
    return s;
}

static status print(char *text)
{
    if (!text)
        return memory_failed("an answer");
    const bool written = puts(text) >= 0 && fflush(stdout) == 0;
    free(text);
    return written ? NULL
                   : status_fail("cannot write to standard output: %s: check where it leads",
                                 strerror(errno));
}

// Those that have ended, as long as none before them has not.
static status answer(lines *l)
{
    status s = NULL;
    while (!s && l->n > 0) {
        const size_t line = l->jobs[l->oldest].line;
        const job_view j = job_look(l->jobs[l->oldest].j);
        if (!j.finish && !j.failure)
            break;
        char *text = answer_whole(&j, service_model(l->v), line, line);
        job_close(l->jobs[l->oldest].j);
        s = print(text);
        l->oldest = (l->oldest + 1) % AT_ONCE;
        l->n--;
    }
    return s;
}

static status serve_all(lines *l)
{
    status s = NULL;
    while (!s && !generate_interruption() && (l->n > 0 || !l->end || l->from < l->to)) {
        size_t left;
        s = take_lines(l);
        if (!s)
            s = service_pass(l->v, &left);
        if (!s)
            s = answer(l);
    }
    return s || !generate_interruption() ? s : generate_interrupted();
}

status lines_serve(service *v, const char *path)
{
    lines l = {.v = v, .path = path, .fd = STDIN_FILENO};
    if (strcmp(path, "-") != 0)
        l.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (l.fd < 0)
        return status_fail("cannot read %s: %s: name a file after --requests", path,
                           strerror(errno));
    l.buffer = memory_array(REQUEST_BYTES + 2 * CHUNK, 1);
    status s = l.buffer ? serve_all(&l) : memory_failed("the requests");
    char why[1024] = ""; // jobs that are closed may fail, too
    if (s)
        snprintf(why, sizeof why, "%s", s);
    for (; l.n > 0; l.n--, l.oldest = (l.oldest + 1) % AT_ONCE)
        job_close(l.jobs[l.oldest].j);
    if (l.fd != STDIN_FILENO)
        close(l.fd);
    memory_free(l.buffer);
    return s ? status_fail("%s", why) : NULL;
}
