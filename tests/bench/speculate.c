// bench speculate: what it writes and prints belongs together.
#include "bench/speculate/speculate.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/command.h"
#include "tests/support/support.h"

#define TINY "synthetic:L=1,C=32,H=2,T=600,V=64"

TestSuite(speculate_bench, .init = support_enter_folder, .fini = support_leave_folder,
          .timeout = 400);

static double number(const json_t *cell, const char *key)
{
    const json_t *value = json_object_get(cell, key);
    cr_assert(json_is_number(value), "%s is missing", key);
    return json_number_value(value);
}

Test(speculate_bench, counts_tokens_passes_and_times)
{
    size_t kinds[4] = {0}, n;
    json_t *cell;
    const command_run run = RUN(speculate_command, "speculate", "-q", "-m", TINY, "-o", ".");
    cr_assert_null(run.s, "%s", run.s);
    cr_assert(strstr(run.out, "a simulation") && strstr(run.out, "of one row"));
    json_t *about = json_load_file("speculate.json", 0, NULL);
    json_array_foreach(json_object_get(about, "cells"), n, cell)
    {
        const char *draft = json_string_value(json_object_get(cell, "draft"));
        const double x = number(cell, "x"), tokens = number(cell, "tokens"),
                     passes = number(cell, "passes"), acceptance = number(cell, "acceptance");
        cr_assert(number(cell, "ns") > 0 && number(cell, "speed_up") > 0);
        if (strcmp(draft, "rows") == 0) {
            kinds[3]++;
            continue;
        }
        cr_assert(passes > 0 && tokens >= passes && tokens <= passes * (x + 1), "%s", draft);
        // The prediction is near the count: acceptance hardly depends on position.
        cr_assert_float_eq(number(cell, "predicted"), tokens / passes, 0.25 * tokens / passes);
        if (strcmp(draft, "plain") == 0) {
            kinds[0]++;
            cr_assert_float_eq(tokens, passes, 0);
        } else if (strncmp(draft, "right", 5) == 0) {
            kinds[2]++;
            cr_assert_float_eq(acceptance, strtod(draft + 6, NULL), 0.2, "%s: %.3f", draft,
                               acceptance);
        } else {
            kinds[1]++;
            if (strcmp(draft, "draft") == 0)
                cr_assert(acceptance > 0.55 && acceptance < 0.9, "k = %g: %.3f", x, acceptance);
        }
    }
    cr_assert(kinds[0] == 3 && kinds[1] == 16 && kinds[2] == 9 && kinds[3] == 7);
    json_decref(about);
    // The summary's last rows are the passes'; the picture has four curves of as many points.
    cr_assert_eq(command_lines(command_file(".", "speculate-summary.csv")), 1 + 35);
    cr_assert_eq(command_lines(command_file(".", "speculate.csv")), 1 + 4 * 7);
    cr_assert(strstr(command_file(".", "speculate.csv"), ",cost,ratio,1,1\n"));
}

Test(speculate_bench, what_it_cannot_measure_is_refused)
{
    const command_run few = RUN(speculate_command, "speculate", "-n", "3");
    cr_assert_eq(few.exit_code, EXIT_USAGE);
    const command_run brief =
        RUN(speculate_command, "speculate", "-q", "-m", "synthetic:L=1,C=32,H=2,T=60,V=64");
    support_assert_refused(brief.s, "context of 60 tokens|too short|another model");
}
