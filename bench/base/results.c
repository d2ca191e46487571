// The results' directory, files written beside and renamed, and the record of passed verifications.
#include "bench/base/results.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#ifdef __APPLE__
#    include <mach-o/dyld.h>
#endif

#include "common/base/memory.h"
#include "common/text/utf8.h"

static status program_path(char path[FILE_PATH_SIZE])
{
#ifdef __APPLE__
    uint32_t size = FILE_PATH_SIZE;
    return _NSGetExecutablePath(path, &size) == 0
               ? NULL
               : status_fail("the path of this program is too long");
#else
    ssize_t n = readlink("/proc/self/exe", path, FILE_PATH_SIZE - 1);
    if (n < 0)
        return status_fail("/proc/self/exe: %s; mount /proc", strerror(errno));
    path[n] = '\0';
    return NULL;
#endif
}

static status make_directory(const char *path)
{
    char inside[FILE_PATH_SIZE + 2];
    snprintf(inside, sizeof inside, "%s/.", path);
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && access(inside, X_OK) == 0))
        return NULL;
    return status_fail("cannot create %s: %s; name another directory with --out", path,
                       strerror(errno));
}

// mkdir -p
static status make_directories(const char *dir)
{
    char path[FILE_PATH_SIZE];
    snprintf(path, sizeof path, "%s", dir);
    for (char *slash = path; (slash = strchr(slash + 1, '/')); *slash = '/') {
        *slash = '\0';
        status s = make_directory(path);
        if (s)
            return s;
    }
    return make_directory(path);
}

// The directory of the running program.
static status program_directory(char dir[FILE_PATH_SIZE])
{
    status s = program_path(dir);
    char *slash = s ? NULL : strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    return s;
}

status results_make(const char *wanted, char dir[FILE_PATH_SIZE])
{
    char program[FILE_PATH_SIZE];
    if (wanted && snprintf(dir, FILE_PATH_SIZE, "%s", wanted) >= FILE_PATH_SIZE)
        return status_fail("--out %.60s...: the path is too long", wanted);
    status s = wanted ? NULL : program_directory(program);
    if (!s && !wanted)
        s = file_path(program, "results", dir);
    if (!s)
        s = make_directories(dir);
    if (!s && access(dir, W_OK) != 0)
        s = status_fail("cannot write into %s: %s; name another directory with --out", dir,
                        strerror(errno));
    return s;
}

// Closes f. True if all that was printed to it is in the file; errno says why not.
static bool closed_whole(FILE *f)
{
    bool whole = fflush(f) == 0 && !ferror(f);
    int reason = errno;
    if (fclose(f) != 0)
        return false;
    errno = reason;
    return whole;
}

status results_write(const char *dir, const char *name, status print(FILE *f, const void *what),
                     const void *what)
{
    char path[FILE_PATH_SIZE], beside[FILE_PATH_SIZE + sizeof ".part"];
    status s = file_path(dir, name, path);
    if (s)
        return s;
    snprintf(beside, sizeof beside, "%s.part", path);
    FILE *f = fopen(beside, "w");
    if (!f)
        return status_fail("cannot write %s: %s; name another directory with --out", beside,
                           strerror(errno));
    s = print(f, what);
    bool whole = closed_whole(f);
    if (!s && whole && rename(beside, path) == 0)
        return NULL;
    if (!s)
        s = status_fail("cannot write %s: %s; make room, or name another directory with --out",
                        path, strerror(errno));
    remove(beside);
    return s;
}

static status print_json(FILE *f, const void *what)
{
    bool failed = json_dumpf(what, f, JSON_INDENT(2)) != 0 && !ferror(f);
    putc('\n', f);
    return failed ? memory_failed("JSON to be written") : NULL;
}

status results_write_json(const char *dir, const char *name, const json_t *value)
{
    return results_write(dir, name, print_json, value);
}

status results_check_places(const char *dir, const char *before, const char *const *names)
{
    char name[128], path[FILE_PATH_SIZE];
    struct stat there;
    for (size_t i = 0; names[i]; i++) {
        snprintf(name, sizeof name, "%s%s", before, names[i]);
        status s = file_path(dir, name, path);
        if (s)
            return s;
        if (stat(path, &there) == 0 && S_ISDIR(there.st_mode))
            return status_fail("cannot write %s: it is a folder; remove it, or name another "
                               "directory with --out",
                               path);
    }
    return NULL;
}

// Who holds the lock, as results_lock has written it; 0 if that cannot be read.
static long holder(int lock)
{
    char text[32] = "";
    return pread(lock, text, sizeof text - 1, 0) > 0 ? strtol(text, NULL, 10) : 0;
}

status results_lock(const char *dir, int *lock)
{
    char path[FILE_PATH_SIZE];
    status s = file_path(dir, ".lock", path);
    *lock = s ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s || *lock < 0)
        return s ? s
                 : status_fail("cannot write %s: %s; name another directory with --out", path,
                               strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        s = status_fail("%s: process %ld measures into this folder: wait for its end, or name "
                        "another one with --out",
                        dir, holder(*lock));
        close(*lock);
        *lock = -1;
        return s;
    }
    if (ftruncate(*lock, 0) != 0 || dprintf(*lock, "%ld\n", (long)getpid()) < 0)
        fprintf(stderr, "note: %s: cannot be written: others will not see who measures\n", path);
    return NULL;
}

void results_unlock(int lock)
{
    if (lock >= 0)
        close(lock);
}

status results_take(const char *wanted, const char *const *names, char dir[FILE_PATH_SIZE],
                    int *lock)
{
    status s = results_make(wanted, dir);
    if (!s)
        s = results_check_places(dir, "", names);
    return s ? s : results_lock(dir, lock);
}

static status digest_file(const char *dir, const char *before, const char *name,
                          char file[FILE_PATH_SIZE], char hex[65])
{
    char path[FILE_PATH_SIZE];
    snprintf(file, FILE_PATH_SIZE, "%s%s", before, name);
    status s = file_path(dir, file, path);
    if (!s && !SHA256File(path, hex))
        s = status_fail("%s: %s", path, strerror(errno));
    return s;
}

status results_seal(const char *dir, const char *before, const char *const *names, json_t *context)
{
    char file[FILE_PATH_SIZE], hex[65];
    json_t *files = json_object();
    status s = files ? NULL : memory_failed("the digests of results");
    for (; *names && !s; names++) {
        s = digest_file(dir, before, *names, file, hex);
        if (!s && json_object_set_new(files, file, json_string(hex)) != 0)
            s = memory_failed("the digests of results");
    }
    if (!s && json_object_set(context, "files", files) != 0)
        s = memory_failed("the digests of results");
    json_decref(files);
    return s;
}

status results_check_seal(const char *dir, const char *description, const char *before,
                          const char *const *names, const json_t *context, const char *again)
{
    char file[FILE_PATH_SIZE], hex[65];
    status s = NULL;
    for (; *names && !s; names++) {
        s = digest_file(dir, before, *names, file, hex);
        const char *noted =
            json_string_value(json_object_get(json_object_get(context, "files"), file));
        if (!s && !(noted && strcmp(noted, hex) == 0))
            s = status_fail(
                "%s/%s: not the file that %s was written with: they are of two runs, or "
                "one was changed; measure again: %s",
                dir, file, description, again);
    }
    return s;
}

void results_csv_text(FILE *f, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, f);
        return;
    }
    putc('"', f);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', f);
        putc(*text, f);
    }
    putc('"', f);
}

status results_build(char hex[65])
{
    static char known[65]; // a program does not change while it runs, and is asked at every place
                           // of a curve
#ifdef __linux__
    const char *program =
        "/proc/self/exe"; // the file that runs, even if a newer one has taken its name
#else
    char program[FILE_PATH_SIZE];
    status s = program_path(program);
    if (s)
        return s;
#endif
    if (!known[0] && !SHA256File(program, known))
        return status_fail("%s: %s", program, strerror(errno));
    memcpy(hex, known, sizeof known);
    return NULL;
}

static const char record_name[] =
    "verified.json"; // {program: {"build": SHA-256, "models": {digest: what was
                     // found}}}; with a plug-in: "digest plug-in's digest"

// The record as it stands, or an empty one if there is none or nobody can read it; NULL only
// without memory.
static json_t *read_record(const char *dir)
{
    char path[FILE_PATH_SIZE];
    json_error_t error = {0};
    json_t *record = file_path(dir, record_name, path) ? NULL : json_load_file(path, 0, &error);
    const bool starved =
        !record && (!*error.text || json_error_code(&error) == json_error_out_of_memory);
    if (json_is_object(record) || (starved && file_exists(dir, record_name)))
        return record;
    json_decref(record);
    return json_object();
}

// What both sides of the record need: where it is, who asks, and about what.
typedef struct record_key {
    char dir[FILE_PATH_SIZE], program[FILE_PATH_SIZE], build[65], model[65], subject[512];
} record_key;

static status find_key(const model *m, const char *subject, record_key *out)
{
    status s = program_path(out->program);
    if (!s)
        s = results_make(NULL, out->dir);
    if (!s)
        s = results_build(out->build);
    if (!s)
        s = model_digest(m, out->model);
    if (!s)
        snprintf(out->subject, sizeof out->subject, "%s%s%s", out->model, subject ? " " : "",
                 subject ? subject : "");
    utf8_clean(out->program, strlen(out->program));
    utf8_clean(out->subject, strlen(out->subject));
    return s;
}

// The models this build has verified, within `record`; NULL if there are none.
static json_t *verified_models(json_t *record, const record_key *key)
{
    json_t *entry = json_object_get(record, key->program);
    const char *build = json_string_value(json_object_get(entry, "build"));
    return build && strcmp(build, key->build) == 0 ? json_object_get(entry, "models") : NULL;
}

// The longest context that an entry of the record passed with.
static size_t passed_up_to(const json_t *entry)
{
    json_int_t longest = json_integer_value(json_object_get(entry, "longest"));
    return json_is_true(json_object_get(entry, "passed")) && longest > 0 ? (size_t)longest : 0;
}

// A failure stays until something that reaches as far has passed. One of a plug-in that has never
// passed is not kept: nothing may rest on that anyway, and `make mutants` makes hundreds.
static bool is_kept(const verification_record *now, const json_t *before)
{
    if (!now->passed && !before)
        return !now->plugin;
    if (!now->passed && json_is_true(json_object_get(before, "passed")))
        return true;
    return (json_int_t)now->longest >= json_integer_value(json_object_get(before, "longest"));
}

static json_t *record_json(const model *m, const verification_record *r)
{
    return json_pack("{s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "model",
                     utf8_text(model_label(m)), "decoder", utf8_text(r->decoder), "passed",
                     r->passed, "contexts", (json_int_t)r->contexts, "longest",
                     (json_int_t)r->longest, "logits", (json_int_t)r->logits, "logits_differing",
                     (json_int_t)r->logits_differing, "keys_and_values", (json_int_t)r->kv,
                     "keys_and_values_differing", (json_int_t)r->kv_differing, "logits_sha256",
                     r->logits_sha256);
}

// found NULL: forgets.
static status change_record(const record_key *key, const model *m, const verification_record *found)
{
    json_t *record = read_record(key->dir);
    if (!verified_models(record, key)) // of an earlier build, or none
        json_object_set_new(record, key->program,
                            json_pack("{s:s, s:{}}", "build", key->build, "models"));
    json_t *models = verified_models(record, key);
    bool whole = models;
    if (!found)
        json_object_del(models, key->subject);
    else if (is_kept(found, json_object_get(models, key->subject)))
        whole = json_object_set_new(models, key->subject, record_json(m, found)) == 0;
    status s = whole ? results_write_json(key->dir, record_name, record)
                     : memory_failed("the record of verifications");
    json_decref(record);
    return s;
}

static status change(const model *m, const char *subject, const verification_record *found)
{
    record_key key;
    status s = find_key(m, subject, &key);
    if (s)
        return s;
    int dir = open(key.dir, O_RDONLY); // one process at a time: make faults and mutants run several
    if (dir >= 0)
        flock(dir, LOCK_EX);
    s = change_record(&key, m, found);
    if (dir >= 0)
        close(dir);
    return s;
}

status results_record_verified(const model *m, const verification_record *found)
{
    return change(m, found->subject, found);
}

status results_forget_verified(const model *m, const char *subject)
{
    return change(m, subject, NULL);
}

size_t results_verified(const model *m, const char *subject)
{
    record_key key;
    if (find_key(m, subject, &key))
        return 0;
    json_t *record = read_record(key.dir);
    size_t longest = passed_up_to(json_object_get(verified_models(record, &key), key.subject));
    json_decref(record);
    return longest;
}
