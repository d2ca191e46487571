// What of others goes into a page: text, and pictures.
#ifndef LOCKSTEP_BENCH_DRAWING_H
#define LOCKSTEP_BENCH_DRAWING_H

#include <stdio.h>

#include "common/base/status.h"

// Prints text for a page, between tags or in an attribute: nothing in it is taken for HTML.
void drawing_text(FILE *f, const char *text);

// Refuses what is no whole SVG file; `path` is what messages call it.
status drawing_check(const char *path, const char *svg);

// Prints an SVG file as the address of an image, which holds all of it: data:image/svg+xml;base64,
void drawing_data(FILE *f, const char *svg);

#endif
