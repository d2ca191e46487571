// A progress bar with the time left, of one line that overwrites itself.
#include "bench/base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"

enum { BAR = 30, LINE = 78, REDRAW_NS = 100000000 };

bool progress_wants_colour(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

progress progress_begin(const char *label)
{
    return (progress){.label = label,
                      .begin_ns = clock_ns(),
                      .shown = isatty(fileno(stderr)) == 1,
                      .coloured = progress_wants_colour()};
}

static void draw(const progress *p, double done, double left_s)
{
    char bar[BAR + 1], left[32] = "";
    size_t full = (size_t)(done * BAR);
    memset(bar, '.', BAR);
    memset(bar, '#', full);
    bar[BAR] = '\0';
    if (done > 0)
        snprintf(left, sizeof left, "%.0f:%02d left", (left_s - (double)((long)left_s % 60)) / 60,
                 (int)((long)left_s % 60));
    fprintf(stderr, "\r%-16.16s [%s%.*s%s%s] %3.0f %%  %-16s", p->label,
            p->coloured ? "\033[32m" : "", (int)full, bar, p->coloured ? "\033[0m" : "", bar + full,
            100 * done, left);
}

void progress_update(progress *p, double done)
{
    uint64_t now = clock_ns();
    if (!p->shown || (p->drawn_ns != 0 && now - p->drawn_ns < REDRAW_NS))
        return;
    p->drawn_ns = now;
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    draw(p, done, done > 0 ? (double)(now - p->begin_ns) * 1e-9 * (1 - done) / done : 0);
}

void progress_end(progress *p)
{
    if (p->shown && p->drawn_ns != 0)
        fprintf(stderr, "\r%*s\r", LINE, "");
    p->shown = false;
}
