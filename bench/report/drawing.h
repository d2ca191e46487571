// gnuplot's SVG inside a page: one drawing for light and dark, and several of them without a clash
// of names.
#ifndef LOCKSTEP_BENCH_DRAWING_H
#define LOCKSTEP_BENCH_DRAWING_H

#include <stddef.h>
#include <stdio.h>

#include "common/base/status.h"

// Writes the drawing in `svg`, the light one of a pair, to f as an <svg> element whose ids begin
// with `prefix`. The colours of plots/style.gp become the page's variables --ink, --paper, --faint,
// --naive and --cached. `title` is what it shows, for those who cannot see it. Only what gnuplot
// draws with passes: a script, a link or an unknown element is refused, and so is a drawing that
// was cut. `path` is what messages call it. After a failure part of it may be in f.
status drawing_inline(FILE *f, const char *path, const char *svg, const char *prefix,
                      const char *title);

// Prints text for a page, between tags or in an attribute: nothing in it is taken for HTML.
void drawing_text(FILE *f, const char *text);

#endif
