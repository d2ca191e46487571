// The child process in which a plug-in runs: what it prints, how it ends, and what ends it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sha2.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __linux__
#    include <sys/prctl.h>
#endif
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/subject/plugin.h"
#include "common/base/clock.h"
#include "common/base/sanitized.h"
#include "common/base/streams.h"

// What parent and child both see.
typedef struct blackbox {
    _Atomic uint64_t since_ns; // when the call at hand began; 0: none
    char doing[128];           // which call
    char message[1024];        // the body's failure
    int exit_code;
    bool finished;      // the body returned
    bool wrote_weights; // what ended the child
} blackbox;

static blackbox *box;                           // NULL outside a child
enum { LOG_SHOWN = 16384, LOG_MOST = 1 << 20 }; // bytes
static int plugins_log;                         // a file without a name
static FILE *plugins_out, *plugins_err;         // in a child: where calls of the plug-in print
static FILE *own_out, *own_err;                 // and where the comparison does
static pid_t child;
static volatile sig_atomic_t passed_on; // the last signal that the child was sent; 0: none

static const char *guarded_from, *guarded_to;            // the weights, while they are protected
static char guarded_digest[SHA256_DIGEST_STRING_LENGTH]; // what they were then

// Notes whether the fault was a write to the weights; then the signal does what it usually does.
static void note_fault(int signal_number, siginfo_t *info, void *context)
{
    const char *at = info->si_addr;
    (void)context;
    box->wrote_weights = at >= guarded_from && at < guarded_to;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void plugin_guard_weights(const model *m, bool guarded)
{
    const struct sigaction noting = {.sa_sigaction = note_fault, .sa_flags = SA_SIGINFO};
    if (box && guarded)
        SHA256Data((const uint8_t *)m->block, m->block_bytes, guarded_digest);
    if (!box || mprotect(m->block, m->block_bytes, PROT_READ | (guarded ? 0 : PROT_WRITE)) != 0)
        return;
    guarded_from = (const char *)m->block;
    guarded_to = guarded_from + m->block_bytes;
    if (guarded)
        sigaction(SIGSEGV, &noting, NULL);
    else
        signal(SIGSEGV, SIG_DFL);
}

bool plugin_weights_changed(const model *m)
{
    char now[SHA256_DIGEST_STRING_LENGTH];
    if (!box || !guarded_digest[0])
        return false;
    SHA256Data((const uint8_t *)m->block, m->block_bytes, now);
    return strcmp(now, guarded_digest) != 0;
}

void plugin_call_begins(const char *call, size_t T)
{
    if (!box)
        return;
    snprintf(box->doing, sizeof box->doing, T ? "%s(%zu token%s)" : "%s", call, T,
             T == 1 ? "" : "s");
    stdout = plugins_out;
    stderr = plugins_err;
    box->since_ns = clock_ns();
}

void plugin_call_ended(void)
{
    if (!box)
        return;
    box->since_ns = 0;
    stdout = own_out;
    stderr = own_err;
}

// Children of a process, by their numbers.
typedef struct children {
    long pid[64];
    size_t n;
} children;

#ifdef __linux__
// Who the parent of a process is (proc(5)); 0: there is no such process.
static long parent_of(const char *pid)
{
    char path[300], text[512];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')'); // "PID (NAME) STATE PARENT ..."
    return name_end ? strtol(name_end + 4, NULL, 10) : 0;
}

// Those of this process, as far as there is room, but for `known` ones.
static void list_children(const children *known, children *out)
{
    DIR *all = opendir("/proc");
    out->n = 0;
    for (const struct dirent *e; all && (e = readdir(all));) {
        const long pid = strtol(e->d_name, NULL, 10);
        bool is_new = pid > 0 && parent_of(e->d_name) == getpid();
        for (size_t i = 0; known && i < known->n; i++)
            is_new = is_new && known->pid[i] != pid;
        if (is_new && out->n < sizeof out->pid / sizeof *out->pid)
            out->pid[out->n++] = pid;
    }
    if (all)
        closedir(all);
}

// From now on processes whose parent ends are left to this one, if they descend from it.
static void adopt_descendants(bool adopts)
{
    prctl(PR_SET_CHILD_SUBREAPER, adopts);
}
#else // without such means, they stay
static void list_children(const children *known, children *out)
{
    (void)known;
    out->n = 0;
}

static void adopt_descendants(bool adopts)
{
    (void)adopts;
}
#endif

// Kills the children of this process, but for `known` ones, and what these leave to it, until there
// are none: a plug-in may start processes of other groups and sessions.
static void kill_children(const children *known)
{
    children found = {.n = 1};
    for (int rounds = 0; found.n > 0 && rounds < 100; rounds++) {
        list_children(known, &found);
        for (size_t i = 0; i < found.n; i++) {
            kill((pid_t)found.pid[i], SIGKILL);
            waitpid((pid_t)found.pid[i], NULL, 0);
        }
    }
}

// Ends this process, and what it has started, when the parent is gone: nothing is ever written to
// this pipe, so reading returns when the other end is closed, whatever closed it.
static void *watch_parent(void *pipe_end)
{
    char nothing;
    while (read(*(int *)pipe_end, &nothing, 1) < 0 && errno == EINTR)
        continue;
    kill_children(NULL);
    kill(0, SIGKILL);
    kill(getpid(), SIGKILL); // which may have left its group
    return NULL;
}

// Descriptors 1 and 2, and the streams that stand on them, are the plug-in's and lead to its log;
// stdout and stderr are the comparison's, except during a call.
static status part_streams(void)
{
    const int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    plugins_out = stdout;
    plugins_err = stderr;
    own_out = out < 0 ? NULL : fdopen(out, "w");
    own_err = err < 0 ? NULL : fdopen(err, "w");
    if (!own_out)
        return status_fail("standard output: cannot be written: %s: open it, or write elsewhere",
                           strerror(errno));
    if (!own_err || dup2(plugins_log, STDOUT_FILENO) < 0 || dup2(plugins_log, STDERR_FILENO) < 0)
        return status_fail("cannot set up the plug-in's process: %s", strerror(errno));
    setvbuf(own_err, NULL, _IONBF, 0);
    stdout = own_out;
    stderr = own_err;
    return NULL;
}

static void run_child(plugin_body *body, void *argument, int alive[2])
{
    pthread_t watcher;
    int exit_code = 0;
    setpgid(0, 0); // with what it starts; the parent passes Ctrl-C on
    signal(SIGTTOU, SIG_IGN);
    close(alive[1]);
    adopt_descendants(true);
    status s = pthread_create(&watcher, NULL, watch_parent, &alive[0]) == 0
                   ? part_streams()
                   : status_fail("cannot set up the plug-in's process: %s", strerror(errno));
    const bool ready = !s;
    if (ready)
        s = body(argument, &exit_code);
    const status written = ready ? streams_written() : NULL; // stdout is the comparison's here
    s = s ? s : written;
    if (s)
        snprintf(box->message, sizeof box->message, "%s", s);
    box->exit_code = exit_code;
    box->finished = true;
    if (ready) {
        fflush(plugins_out);
        fflush(plugins_err);
    }
    _exit(0);
}

// The last of the log, to standard error.
static void show_log(void)
{
    char text[LOG_SHOWN];
    const off_t end = lseek(plugins_log, 0, SEEK_END);
    const off_t from = end > LOG_SHOWN ? end - LOG_SHOWN : 0;
    const ssize_t n = pread(plugins_log, text, sizeof text, from);
    if (n <= 0)
        return;
    fprintf(stderr, "the plug-in wrote%s:\n", from ? ", at last" : "");
    fwrite(text, 1, (size_t)n, stderr);
    if (text[n - 1] != '\n')
        putc('\n', stderr);
}

// Whether `seconds` have passed since begin_ns; 0 is for ever.
static bool is_over(uint64_t begin_ns, double seconds)
{
    const uint64_t now = clock_ns();
    return seconds > 0 && now > begin_ns && (double)(now - begin_ns) > seconds * 1e9;
}

// With its group, which it may have left.
static void kill_child(void)
{
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
}

// Waits for the child; kills it when a call or the run takes too long, or when a signal that is to
// end it has not. Returns what waitpid says of it.
static int await(const plugin_limits *limits, bool *hung, bool *late)
{
    const uint64_t begin_ns = clock_ns();
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    int result = 0, patience = 100; // pauses
    pid_t ended;
    struct stat log;
    while ((ended = waitpid(child, &result, WNOHANG)) != child) {
        if (ended < 0 && errno != EINTR)
            return 0; // somebody else has waited for it
        const uint64_t since = box->since_ns;
        *hung = *hung || (since && is_over(since, limits->call_s));
        *late = *late || is_over(begin_ns, limits->run_s);
        if (*hung || *late || (passed_on && passed_on != SIGINT && patience-- == 0))
            kill_child();
        if (fstat(plugins_log, &log) == 0 && log.st_size > LOG_MOST && ftruncate(plugins_log, 0))
            *hung = true; // it would fill the disk
        nanosleep(&pause, NULL);
    }
    return result;
}

static void pass_on(int signal_number)
{
    passed_on = signal_number;
    kill(child, signal_number);
}

// Signals that end a program reach the child, unless they are ignored; `before` holds what they
// did.
static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDINGS = sizeof ending / sizeof *ending };

static void pass_signals_on(struct sigaction before[ENDINGS])
{
    const struct sigaction passing = {.sa_handler = pass_on};
    passed_on = 0;
    for (size_t i = 0; i < ENDINGS; i++) {
        sigaction(ending[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN)
            sigaction(ending[i], &passing, NULL);
    }
}

// What the child's end means.
static status verdict_of(int result, bool hung, bool late, const plugin_limits *limits,
                         int *exit_code)
{
    *exit_code = box->exit_code;
    if (passed_on && !box->finished) { // the user's, not the plug-in's
        *exit_code = 128 + passed_on;
        return NULL;
    }
    if (hung)
        return status_fail("the plug-in hangs: %s has not returned for %g s", box->doing,
                           limits->call_s);
    if (late && !box->finished)
        return status_fail("the plug-in's run has not ended after %g s: raise --limit, or name "
                           "fewer contexts with --contexts",
                           limits->run_s);
    if (WIFSIGNALED(result) && box->wrote_weights)
        return status_fail("the plug-in wrote to the model's weights during %s: they are others' "
                           "too, work on a copy",
                           box->doing);
    if (WIFSIGNALED(result))
        return status_fail("the plug-in crashed: %s during %s; to see the line, build it with "
                           "`make mine SRC=FILE.c SANITIZE=1` and verify as that says",
                           strsignal(WTERMSIG(result)),
                           box->since_ns ? box->doing : "the comparison");
    if (!box->finished && WEXITSTATUS(result) != 0 && SANITIZED)
        return status_fail("the plug-in crashed during %s: the sanitizer's report names the line",
                           box->doing);
    if (!box->finished)
        return status_fail("the plug-in ended its process during %s: return a status instead",
                           box->doing);
    return box->message[0] ? status_fail("%s", box->message) : NULL;
}

// The child runs, and is gone with all that it has started when this returns.
static status run_contained(plugin_body *body, void *argument, const plugin_limits *limits,
                            int *exit_code)
{
    struct sigaction before[ENDINGS];
    int alive[2];
    bool hung = false, late = false;
    children known;
    if (pipe(alive) != 0)
        return status_fail("no pipe to the plug-in's process: %s", strerror(errno));
    fflush(NULL);
    list_children(NULL, &known);
    adopt_descendants(true);
    child = fork();
    if (child == 0)
        run_child(body, argument, alive);
    close(alive[0]);
    if (child < 0) {
        adopt_descendants(false);
        close(alive[1]);
        return status_fail("cannot start the plug-in's process: %s", strerror(errno));
    }
    setpgid(child, child);
    pass_signals_on(before);
    int result = await(limits, &hung, &late);
    kill(-child, SIGKILL);
    kill_children(&known);
    adopt_descendants(false);
    for (size_t i = 0; i < ENDINGS; i++)
        sigaction(ending[i], &before[i], NULL);
    close(alive[1]);
    status s = verdict_of(result, hung, late, limits, exit_code);
    if (s || *exit_code == 1)
        show_log();
    return s;
}

status plugin_contain(plugin_body *body, void *argument, const plugin_limits *limits,
                      int *exit_code)
{
    FILE *log = tmpfile();
    if (!log)
        return status_fail("no file for what the plug-in writes: %s; make room in /tmp",
                           strerror(errno));
    plugins_log = fileno(log);
    fcntl(plugins_log, F_SETFL, fcntl(plugins_log, F_GETFL) | O_APPEND);
    box = mmap(NULL, sizeof *box, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (box == MAP_FAILED) {
        fclose(log);
        return status_fail("no memory to share with the plug-in's process: %s", strerror(errno));
    }
    void (*reaping)(int) = signal(SIGCHLD, SIG_DFL); // ignored, it would leave nothing to wait for
    status s = run_contained(body, argument, limits, exit_code);
    signal(SIGCHLD, reaping);
    fclose(log);
    return s;
}
