// system(3), and what it left.
#include "tests/support/shell.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

void shell_make_folder(void)
{
    support_make_dir(support_folder);
}

void shell_remove_folder(void)
{
    support_remove_dir(support_folder);
}

int shell_run(const char *line)
{
    const size_t size = strlen(line) + 2 * SUPPORT_PATH + 64;
    char *whole = malloc(size);
    cr_assert_not_null(whole);
    snprintf(whole, size, "D=%s N=$(printf '%s/n\\377')\nexec >$D/out 2>$D/err\n%s", support_folder,
             support_folder, line);
    const int result = system(whole);
    free(whole);
    cr_assert(WIFEXITED(result), "`%s` ended by a signal", line);
    return WEXITSTATUS(result);
}

void shell_expect_in(const char *name, const char *part)
{
    size_t n;
    char *text = support_read(support_folder, name, &n);
    cr_assert_not_null(strstr(text, part), "no \"%s\" in %s: %s", part, name, text);
    free(text);
}
