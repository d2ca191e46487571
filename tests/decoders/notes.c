// What the notes quote must be what the code says.
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1 << 16 };

// What a shell command prints, run at the top of the repository.
static void capture(const char *command, char text[TEXT])
{
    char line[1024];
    snprintf(line, sizeof line, "cd '%s' && %s", SOURCE_DIR, command);
    FILE *f = popen(line, "r");
    cr_assert_not_null(f, "%s", command);
    text[fread(text, 1, TEXT - 1, f)] = '\0';
    cr_assert_eq(pclose(f), 0, "%s", command);
}

Test(notes, first_chapter_holds_the_diff)
{
    static char chapter[TEXT], made[TEXT];
    capture("cat notes/01-one-diff.md", chapter);
    capture("sh notes/01-one-diff.sh", made);
    cr_assert_str_eq(
        chapter, made,
        "notes/01-one-diff.md is older than the decoders or its .in: run `make notes`");
}

// README.md shows the diff without its outworks: each changed line that it shows must be one of the
// diff's.
Test(notes, readme_shows_lines_of_the_diff)
{
    static char readme[TEXT], diff[TEXT];
    capture("cat README.md", readme);
    capture("diff -U0 naive/decoder.c kvcache/decoder.c || test $? -eq 1", diff);
    bool inside = false;
    size_t shown = 0;
    for (char *line = strtok(readme, "\n"); line; line = strtok(NULL, "\n")) {
        inside = strncmp(line, "```", 3) == 0 ? strcmp(line, "```diff") == 0 : inside;
        if (!inside || (line[0] != '-' && line[0] != '+'))
            continue;
        char whole[512];
        snprintf(whole, sizeof whole, "\n%s\n", line);
        cr_assert_not_null(strstr(diff, whole),
                           "README.md shows a line that the decoders' diff has no more: %s", line);
        shown++;
    }
    cr_assert_gt(shown, 10, "README.md shows %zu lines of the diff", shown);
}

// Chapter 3 is the specification: a constant that it does not name cannot be computed from it.
Test(notes, third_chapter_holds_every_constant)
{
    static char chapter[TEXT], constants[TEXT];
    capture("cat notes/03-arithmetic.md", chapter);
    capture("grep -oE '0x1\\.[0-9a-f]+p[-+][0-9]+f' common/number/numeric.h | sed 's/f$//'",
            constants);
    size_t found = 0;
    for (char *constant = strtok(constants, "\n"); constant; constant = strtok(NULL, "\n"), found++)
        cr_assert_not_null(strstr(chapter, constant),
                           "notes/03-arithmetic.md does not name %s of common/number/numeric.h",
                           constant);
    cr_assert_gt(found, 10);
}
