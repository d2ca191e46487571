// What some commands have left, each in one CSV file, shown as it stands there.
#include <string.h>

#include "bench/base/options.h"
#include "bench/report/drawing.h"
#include "bench/report/tables.h"
#include "common/base/format.h"
#include "common/model/model.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

// A median in milliseconds, and its interval.
#define MEDIAN(OF)                                                                                 \
    {"median_ns", OF " (ms)", 1e6}, {"ci_lo_ns", "from (ms)", 1e6},                                \
    {                                                                                              \
        "ci_hi_ns", "to (ms)", 1e6                                                                 \
    }

// In the order of the indices in report.h.
const report_plain report_plains[] = {
    {.name = "strategies",
     .question = "What does each way to keep keys and values save, and what does it lose?",
     .command = "build/bench strategies",
     .csv = "strategies.csv",
     .model = "",
     .caption = "Loss, read through the cache; KL divergence from plain in nats",
     .texts = 2,
     .shown = {{"decoder", "decoder", REPORT_TEXT},
               {"bytes_per_token", "bytes a token", 1},
               {"kv_bytes", "K/V (KiB)", KIB},
               {"perplexity", "perplexity", 1},
               {"kl_mean", "KL, mean", 1},
               {"kl_99", "KL, 99&#160;%", 1},
               {"top1", "same best token (%)", 0.01},
               {"largest_difference", "largest difference of a logit", 1}}},
    {.name = "prefix: shares",
     .question = "What does a prompt cost of which a part is cached?",
     .command = "build/bench prefix",
     .csv = "prefix-shares.csv",
     .model = "",
     .caption = "Time to the first token, medians with their 95 % intervals",
     .texts = 2,
     .shown = {{"context", "prompt (tokens)", REPORT_COUNT},
               {"computed", "computed", REPORT_COUNT},
               {"decoder", "the others come", REPORT_TEXT},
               MEDIAN("TTFT"),
               {"of_cold", "of cold (%)", 0.01},
               {"of_rows_alone", "of rows alone", 1}}},
    {.name = "prefix",
     .question = "What does a conversation cost whose every request sends the whole history again?",
     .command = "build/bench prefix",
     .csv = "prefix-conversation-summary.csv",
     .model = "",
     .caption = "All requests of a conversation, medians with their 95 % intervals",
     .texts = 3,
     .shown = {{"decoder", "prompt cache", REPORT_TEXT},
               {"turns", "turns", REPORT_COUNT},
               MEDIAN("time"),
               {"samples", "samples", REPORT_COUNT}}},
    {.name = "prefix: placement",
     .question = "Does it matter where in a prompt something changes?",
     .command = "build/bench prefix",
     .csv = "prefix-placement-summary.csv",
     .model = "",
     .caption = "Time to the first token of the second prompt, medians with their 95 % intervals",
     .texts = 3,
     .shown = {{"decoder", "64 tokens change", REPORT_TEXT},
               MEDIAN("TTFT"),
               {"samples", "samples", REPORT_COUNT}}},
    {.name = "prefix --trace",
     .question = "How many blocks of a day's prompts would a cache of this size find again?",
     .command = "build/bench prefix --trace bench/prefix/traces/mooncake-synthetic.jsonl",
     .csv = "prefix-trace.csv",
     .caption = "Full blocks found again, beside the published figure",
     .shown = {{"tokens", "capacity (tokens)", REPORT_COUNT},
               {"last_to_first", "touched last to first (%)", 0.01},
               {"first_to_last", "touched first to last (%)", 0.01},
               {"figure9", "Figure 9 (%)", 0.01}}},
    {.name = "snapshot",
     .question = "What does it take to go on where a file has kept the state?",
     .command = "build/bench snapshot",
     .csv = "snapshot-summary.csv",
     .model = BENCH_MODEL,
     .caption = "Until the rows are there, medians with their 95 % intervals",
     .texts = 3,
     .shown = {{"context", "tokens", REPORT_COUNT},
               {"decoder", "rows", REPORT_TEXT},
               MEDIAN("time"),
               {"samples", "samples", REPORT_COUNT}}},
    {.name = "speculate",
     .question = "When does drafting pay?",
     .command = "build/bench speculate",
     .csv = "speculate.csv",
     .model = BENCH_MODEL,
     .caption = "What a pass over n rows costs, and the tokens it gives, both in passes over one",
     .texts = 3,
     .shown = {{"decoder", "what", REPORT_TEXT},
               {"rows", "rows", REPORT_COUNT},
               {"ratio", "ratio", 1}}},
    {.name = "serve",
     .question = "What do many users get from one thread?",
     .command = "build/bench serve",
     .csv = "serve.csv",
     .model = BENCH_MODEL,
     .caption = "One mix of requests, by users",
     .texts = 2,
     .shown = {{"decoder", "with", REPORT_TEXT},
               {"users", "users", REPORT_COUNT},
               {"requests_per_s", "requests/s", 1},
               {"tokens_per_s", "tokens/s", 1},
               {"ttft_p50_ns", "TTFT, median (ms)", 1e6},
               {"ttft_p99_ns", "TTFT, 99&#160;% (ms)", 1e6},
               {"tpot_p50_ns", "TPOT, median (ms)", 1e6},
               {"tpot_p99_ns", "TPOT, 99&#160;% (ms)", 1e6},
               {"cached_tokens", "cached tokens", REPORT_COUNT},
               {"kv_peak_bytes", "K/V at most (MiB)", MIB}}},
    {.name = "serve -c",
     .question = "How many tokens a second does one pass give that has a row of each user?",
     .command = "build/bench serve",
     .csv = "serve-passes.csv",
     .model = BENCH_MODEL,
     .caption = "One row of each user in a pass, medians with their 95 % intervals",
     .texts = 2,
     .shown = {{"context", "context (tokens)", REPORT_COUNT},
               {"users", "users", REPORT_COUNT},
               MEDIAN("pass"),
               {"tokens_per_s", "tokens/s", 1},
               {"of_one", "of one user's", 1}}},
};

// The column of this name, or t->columns.
static size_t column_of(const table *t, const char *name)
{
    size_t k = 0;
    while (k < t->columns && strcmp(table_text(t, 0, k), name) != 0)
        k++;
    return k;
}

status report_read_plain(const char *dir, measured *m)
{
    table *t = &m->tables[REPORT_SUMMARY];
    double number;
    status failed = table_read(dir, m->plain->csv, m->plain->texts ? "model,decoder" : "tokens", t);
    for (const report_column *c = m->plain->shown; c->name && !failed; c++) {
        const size_t k = column_of(t, c->name);
        if (k == t->columns)
            failed = status_fail("%s: there is no column %s; %s measures it again", t->path,
                                 c->name, m->plain->command);
        for (size_t row = 1; row <= t->rows && !failed && c->divisor != REPORT_TEXT; row++)
            failed = table_number(t, row, k, &number);
    }
    return failed;
}

// Its model, unless that is the usual one, and the contexts that it was asked for.
void report_plain_command(FILE *f, const measured *m)
{
    const table *t = &m->tables[REPORT_SUMMARY];
    const size_t context = column_of(t, "context");
    const char *before = " -c ", *name = t->rows > 0 ? table_text(t, 1, 0) : NULL,
               *usual = m->plain->model;
    if (usual && !*usual)
        usual = model_default() + sizeof SOURCE_DIR;
    fputs(m->plain->command, f);
    if (usual && name && strcmp(name, usual) != 0)
        bench_options_print_model(f, name);
    if (m->plain == &report_plains[REPORT_PASSES - REPORT_STRATEGIES] && t->rows == 0)
        fputs(" -c 64,256,500,1000", f);
    for (size_t row = 1; context < t->columns && row <= t->rows; row++)
        if (row == 1 || strcmp(table_text(t, row, context), table_text(t, row - 1, context)) != 0) {
            fprintf(f, "%s", before);
            format_word(f, table_text(t, row, context));
            before = ",";
        }
}

static void print_cell(FILE *f, const table *t, size_t row, const report_column *c)
{
    const size_t k = column_of(t, c->name);
    double number = 0;
    if (c->divisor == REPORT_TEXT) {
        fputs("<th scope=\"row\" class=\"left\">", f);
        drawing_text(f, table_text(t, row, k));
        fputs("</th>", f);
        return;
    }
    table_number(t, row, k, &number); // report_read_plain has tried them
    fputs("<td>", f);
    if (c->divisor == REPORT_COUNT)
        report_whole(f, number);
    else
        report_number(f, number / c->divisor);
    fputs("</td>", f);
}

void report_print_plain(FILE *f, const char *id, const measured *m)
{
    const table *t = &m->tables[REPORT_SUMMARY];
    report_table_begin(f, id, "medians", m->plain->caption);
    fputs("<thead><tr>", f);
    for (const report_column *c = m->plain->shown; c->name; c++)
        fprintf(f, "<th scope=\"col\"%s>%s</th>",
                c->divisor == REPORT_TEXT ? " class=\"left\"" : "", c->heading);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t row = 1; row <= t->rows; row++) {
        fputs("<tr>", f);
        for (const report_column *c = m->plain->shown; c->name; c++)
            print_cell(f, t, row, c);
        fputs("</tr>\n", f);
    }
    report_table_end(f);
    if (m->plain->texts > 0 && t->rows > 0) {
        fputs("<p class=\"note\">Model: ", f);
        drawing_text(f, table_text(t, 1, 0));
        fputs(".</p>\n", f);
    }
}
