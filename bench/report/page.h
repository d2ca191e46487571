// What the files that print the page share.
#ifndef LOCKSTEP_BENCH_REPORT_PAGE_H
#define LOCKSTEP_BENCH_REPORT_PAGE_H

#include "bench/report/report.h"
#include "bench/report/template.h"

enum { PAGE_FRAME, PAGE_VERDICT, PAGE_SECTION, PAGE_RUN, PAGE_FRAMES };

// What is read from plots/page/.
typedef struct page_words {
    template frames[PAGE_FRAMES], stories[REPORT_STORIES];
    char *style;
} page_words;

// What the parts of the page are made of: all of it, or story i of it.
typedef struct page {
    const report_data *r;
    const page_words *words;
    size_t i;
} page;

// A text of a JSON object; NULL where there is none.
const char *page_text(const json_t *object, const char *key);

// A number of it; NaN where there is none.
double page_number(const json_t *object, const char *key);

// Prints the first characters of a digest, which are enough to compare two.
void page_digest(FILE *f, const char *hex);

// The text, or what stands for it where there is none.
const char *page_known(const char *text, const char *otherwise);

// The experiment of p's story.
const measured *page_measured(const page *p);

// The first description of a machine there is: the page's.
const json_t *page_context(const report_data *r);

// What measured p's story, and how that went.
status page_print_run(FILE *f, const void *what);

#endif
