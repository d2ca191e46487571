// A file is
//
//     SHA-256 of all that follows the first line, in hexadecimal
//     bytes of the question, bytes of the answer
//     the question, the answer
//
// and its name is the SHA-256 of the question. So whatever has become of it since it was written is
// seen, and an answer to another question is none.
#include "kvcache/answers.h"

#include <errno.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/base/version.h"
#include "common/file/file.h"
#include "common/file/replacement.h"
#include "common/file/scratch.h"

enum { HASH = 64, SIZES = 44, FIXED = 2048, ID = 12 };

// ---- the question ----

// Of the weights as they are in memory, which were just read: XXH3 takes a fraction of the time
// that they took to load, while SHA-256 of their files takes longer than many a text. A synthetic
// model is its name.
status answers_weigh(const model *m, char hex[ANSWERS_WEIGHTS])
{
    if (m->synthetic)
        return model_digest(m, hex);
    const XXH128_hash_t hash = XXH3_128bits(m->block, m->block_bytes);
    snprintf(hex, HASH + 1, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return NULL;
}

static int print_ids(char *to, size_t room, const char *label, const int *ids, size_t n)
{
    int at = snprintf(to, room, "%s", label);
    for (size_t i = 0; i < n; i++)
        at += snprintf(to + at, room - (size_t)at, " %d", ids[i]);
    return at + snprintf(to + at, room - (size_t)at, "\n");
}

// What a text depends on besides what an embedding does, too. %a tells every number exactly.
static int print_settings(char *to, size_t room, const question *q)
{
    const sampling *h = &q->how;
    int n = snprintf(to, room,
                     "temperature %a\ntop-k %zu\ntop-p %a\nseed %llu\ntokens %zu\ndrawable %zu\n"
                     "context-end %s\n",
                     (double)h->temperature, h->top_k, (double)h->top_p,
                     (unsigned long long)h->seed, q->tokens, q->drawable, q->context_end);
    for (size_t i = 0; i < q->stops; i++)
        n += snprintf(to + n, room - (size_t)n, "stop %zu %s\n", strlen(q->stop[i]), q->stop[i]);
    return n + print_ids(to + n, room - (size_t)n, "ends", q->ends ? q->ends->ids : NULL,
                         q->ends ? q->ends->n : 0);
}

// The question as text, in a new array.
static status print_question(const question *q, char **out)
{
    char numbers[CONFIG_TEXT], kv[KV_NAME];
    size_t room = FIXED + ID * q->n + (q->space ? strlen(q->space) : 0);
    for (size_t i = 0; i < q->stops; i++)
        room += strlen(q->stop[i]) + 32;
    char *text = *out = memory_array(room, 1);
    if (!text)
        return memory_failed("a question");
    int n = snprintf(text, room, "%s\narithmetic %d\nmodel %s\nweights %s\nkv %s\n", q->what,
                     (int)CONTRACT_VERSION, config_text(&q->m->config, numbers), q->weights,
                     kv_name_in_memory(q->spec, kv));
    if (q->space)
        n += snprintf(text + n, room - (size_t)n, "space %zu %s\n", strlen(q->space), q->space);
    if (q->pooling)
        n += snprintf(text + n, room - (size_t)n, "pooling %s\n", q->pooling);
    else
        n += print_settings(text + n, room - (size_t)n, q);
    print_ids(text + n, room - (size_t)n, "prompt", q->ids, q->n);
    return NULL;
}

static void hash_text(const char *text, char hex[HASH + 1])
{
    SHA256Data((const uint8_t *)text, strlen(text), hex);
}

status answers_name(const question *q, char hex[HASH + 1])
{
    char *text;
    status failed = print_question(q, &text);
    if (!failed)
        hash_text(text, hex);
    memory_free(text);
    return failed;
}

// ---- files ----

status answers_check(const char *dir)
{
    scratch f;
    status failed = scratch_open(dir, &f);
    if (failed)
        failed = status_fail("--answers %s: %s", dir, failed);
    scratch_close(&f);
    return failed;
}

// The answer in a file's text (n), behind the question asked; NULL: `why` it is none.
static const char *answer_in(const char *text, size_t n, const char *asked, const char **why)
{
    char hash[HASH + 1];
    size_t question_bytes, answer_bytes;
    int sizes = 0;
    *why = "it is damaged";
    if (n < HASH + 1 || text[HASH] != '\n')
        return NULL;
    const char *rest = text + HASH + 1;
    size_t left = n - HASH - 1;
    SHA256Data((const uint8_t *)rest, left, hash);
    if (memcmp(hash, text, HASH) != 0 ||
        sscanf(rest, "%zu %zu\n%n", &question_bytes, &answer_bytes, &sizes) != 2 || sizes == 0)
        return NULL;
    rest += sizes;
    left -= (size_t)sizes;
    if (question_bytes > left || answer_bytes != left - question_bytes)
        return NULL;
    *why = "it answers another question";
    if (question_bytes != strlen(asked) || memcmp(rest, asked, question_bytes) != 0)
        return NULL;
    return rest + question_bytes;
}

static status take(const char *dir, const char *name, const char *asked, char **bytes, size_t *n)
{
    char *text;
    size_t length;
    const char *why;
    status failed = file_read(dir, name, &text, &length);
    if (failed)
        return failed;
    const char *answer = answer_in(text, length, asked, &why);
    if (answer) {
        *n = (size_t)(text + length - answer);
        memmove(text, answer, *n + 1);
        *bytes = text;
        return NULL;
    }
    memory_free(text);
    return status_fail("%s/%s: %s: computed anew", dir, name, why);
}

status answers_find(const char *dir, const question *q, char **bytes, size_t *n)
{
    char *asked, name[HASH + 1];
    *bytes = NULL;
    status failed = print_question(q, &asked);
    if (failed)
        return failed;
    hash_text(asked, name);
    if (file_exists(dir, name))
        failed = take(dir, name, asked, bytes, n);
    memory_free(asked);
    return failed;
}

// The text of a file, in a new array; (*length) bytes.
static status compose(const char *asked, const void *bytes, size_t n, char **out, size_t *length)
{
    const size_t room = HASH + 1 + SIZES + strlen(asked) + n;
    char *text = *out = memory_array(room, 1), hash[HASH + 1];
    if (!text)
        return memory_failed("an answer");
    char *rest = text + HASH + 1;
    const size_t head =
        (size_t)snprintf(rest, room - HASH - 1, "%zu %zu\n%s", strlen(asked), n, asked);
    memcpy(rest + head, bytes, n);
    SHA256Data((const uint8_t *)rest, head + n, hash);
    memcpy(text, hash, HASH);
    text[HASH] = '\n';
    *length = HASH + 1 + head + n;
    return NULL;
}

static status write_whole(const char *path, const char *text, size_t n)
{
    replacement growing;
    status failed = replacement_begin(path, &growing);
    FILE *f = failed ? NULL : fopen(growing.beside, "wb");
    if (!failed && !f)
        failed = replacement_failed(path, "directory");
    if (!failed && (fwrite(text, 1, n, f) != n || fflush(f) != 0 || fsync(fileno(f)) != 0))
        failed = replacement_failed(path, "directory");
    if (f && fclose(f) != 0 && !failed)
        failed = replacement_failed(path, "directory");
    if (!failed && !replacement_finish(&growing))
        failed = replacement_failed(path, "directory");
    replacement_abandon(&growing);
    return failed;
}

status answers_keep(const char *dir, const question *q, const void *bytes, size_t n)
{
    char *asked, *text = NULL, name[HASH + 1], path[FILE_PATH_SIZE];
    size_t length = 0;
    status failed = print_question(q, &asked);
    if (failed)
        return failed;
    hash_text(asked, name);
    failed = file_path(dir, name, path);
    if (!failed)
        failed = compose(asked, bytes, n, &text, &length);
    if (!failed)
        failed = write_whole(path, text, length);
    memory_free(asked);
    memory_free(text);
    return failed;
}

const answers_api answers = {answers_check, answers_weigh, answers_find, answers_keep};
