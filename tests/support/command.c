// Commands run in the test's own process: a leak or a crash in one is the test's.
#include "tests/support/command.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/file/file.h"

enum { MOST_ARGUMENTS = 16 };

int command_redirect(int fd, FILE *f)
{
    int before = dup(fd);
    fflush(NULL);
    dup2(fileno(f), fd);
    return before;
}

void command_restore(int fd, int before)
{
    fflush(NULL);
    dup2(before, fd);
    close(before);
}

command_run command_call(command *which, const char *const *arguments)
{
    command_run r = {0};
    char *argv[MOST_ARGUMENTS] = {0};
    int argc = 0;
    for (; arguments[argc]; argc++)
        argv[argc] = (char *)arguments[argc];
    FILE *caught = tmpfile(), *nowhere = fopen("/dev/null", "w");
    int out = command_redirect(STDOUT_FILENO, caught),
        err = command_redirect(STDERR_FILENO, nowhere);
    r.s = which(argc, argv, &r.exit_code);
    command_restore(STDERR_FILENO, err);
    command_restore(STDOUT_FILENO, out);
    rewind(caught);
    cr_assert_lt(fread(r.out, 1, sizeof r.out, caught), sizeof r.out);
    fclose(caught);
    fclose(nowhere);
    return r;
}

static void press_ctrl_c(int alarm_number)
{
    (void)alarm_number;
    kill(getpid(), SIGINT);
}

void command_interrupt_in(int ms)
{
    signal(SIGALRM, press_ctrl_c);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {ms / 1000, ms % 1000 * 1000}}, NULL);
}

char *command_file(const char *dir, const char *name)
{
    static char text[1 << 22];
    char path[FILE_PATH_SIZE];
    cr_assert_null(file_path(dir, name, path));
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f, "%s is missing", path);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

size_t command_lines(const char *text)
{
    size_t n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

size_t command_split(const char *line, char fields[32][64])
{
    size_t n = 0, length = 0;
    bool quoted = false;
    for (; *line && *line != '\n'; line++) {
        if (*line == '"')
            quoted = !quoted;
        if (*line == ',' && !quoted) {
            fields[n++][length] = '\0';
            length = 0;
        } else
            fields[n][length++] = *line;
    }
    fields[n++][length] = '\0';
    return n;
}

void command_assert_survives_failed_allocations(command *which, const char *const *arguments,
                                                void prepare(void))
{
    size_t allocations = 0;
    for (size_t n = 0; n <= allocations; n++) { // first without a failure
        if (prepare)
            prepare();
        memory_fail_at(n);
        command_run r = command_call(which, arguments);
        size_t made = memory_fail_at(0);
        allocations = n == 0 ? made : allocations;
        cr_assert(allocations > 10, "%zu allocations", allocations);
        cr_assert(n == 0 ? !r.s : !!r.s, "allocation %zu of %zu failed, and %s said: %s", n,
                  allocations, arguments[0], r.s ? r.s : "nothing");
    }
}
