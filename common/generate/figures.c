// Figures in units that fit them, and the same in JSON with exact ones.
#include "common/generate/figures.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/format.h"
#include "common/base/memory.h"
#include "common/text/utf8.h"

double report_tpot_ns(const report *r)
{
    return (double)(r->latency_ns - r->ttft_ns) / (double)(r->generated - 1);
}

static double tokens_per_s(const report *r)
{
    return (double)r->generated * 1e9 / (double)r->latency_ns;
}

// Three digits are all that a single run can tell.
static int decimals(double value)
{
    return value < 10 ? 2 : value < 100 ? 1 : 0;
}

// A line of the block for a duration that may not exist.
static void print_line(FILE *f, const char *label, bool exists, double ns)
{
    char text[FORMAT_ROOM];
    fprintf(f, "%s%s\n", label, exists ? format_ns(ns, text) : "n/a");
}

// Drafted tokens: accepted of those judged, by position; tokens a pass, counted and predicted.
static void print_speculation(FILE *f, const report *r)
{
    const speculation_counts *c = r->counts;
    const size_t passes = speculation_passes(c);
    fprintf(f, "draft      %s\naccepted  ", r->draft);
    for (size_t i = 0; i < SPECULATION_MOST && c->judged[i] > 0; i++)
        fprintf(f, " %zu/%zu", c->accepted[i], c->judged[i]);
    fprintf(f, "%s\n", c->judged[0] > 0 ? "" : " n/a");
    fprintf(f, "passes     %zu", passes);
    if (passes > 0)
        fprintf(f, ", %.2f tokens each, %.2f predicted from acceptance %.3f",
                (double)speculation_tokens(c) / (double)passes, speculation_predicted(c),
                speculation_rate(c));
    fputc('\n', f);
}

// What going on behind the end of the context costs.
static void print_context_end(FILE *f, const report *r)
{
    fprintf(f, "context    %s: tokens given up %zu times; %zu rows computed", r->context_end,
            r->drops, r->rows);
    if (r->generated > 0)
        fprintf(f, ", %.1f for each token", (double)r->rows / (double)r->generated);
    fputc('\n', f);
}

const char *report_answer_word(report_answer a)
{
    return a == ANSWER_FOUND ? "found" : a == ANSWER_KEPT ? "kept" : "not kept";
}

void report_print_answer(FILE *f, const report *r)
{
    char text[FORMAT_ROOM];
    if (r->answer == ANSWER_UNASKED)
        return;
    fprintf(f, "answer     %s", report_answer_word(r->answer));
    if (r->answer == ANSWER_UNSEEDED)
        fputs(": above temperature 0, only what is asked for with a --seed is\n", f);
    else
        fprintf(f, ", looked for in %s\n", format_ns((double)r->answer_ns, text));
}

void report_figures(FILE *f, const report *r)
{
    fprintf(f, "tokens     %zu prompt + %zu generated\n", r->prompt, r->generated);
    print_line(f, "load       ", true, (double)r->load_ns);
    print_line(f, "tokenize   ", r->tokenize_ns > 0, (double)r->tokenize_ns);
    print_line(f, "TTFT       ", r->generated > 0, (double)r->ttft_ns);
    print_line(f, "TPOT       ", r->generated > 1, r->generated > 1 ? report_tpot_ns(r) : 0);
    if (r->generated > 0)
        fprintf(f, "speed      %.*f tokens/s\n", decimals(tokens_per_s(r)), tokens_per_s(r));
    else
        fputs("speed      n/a\n", f);
    char held[FORMAT_ROOM];
    fprintf(f, "KV held    %s\n", format_bytes((double)r->kv_bytes, held));
    if (r->restored > 0)
        fprintf(f, "restored   %zu rows in %s; the first pass computed %zu for %zu tokens\n",
                r->restored, format_ns((double)r->restore_ns, held), r->computed, r->prompt);
    if (r->context_end)
        print_context_end(f, r);
    report_print_answer(f, r);
    if (r->counts)
        print_speculation(f, r);
}

// The text of n ids; characters may be spread over several tokens, so they are joined first.
static json_t *text(const int *ids, size_t n, const tokenizer *t)
{
    size_t bytes = 0, length;
    for (size_t i = 0; i < n; i++, bytes += length)
        tokenizer_decode(t, ids[i], &length);
    char *joined = memory_array(bytes + 1, 1);
    if (!joined)
        return NULL;
    bytes = 0;
    for (size_t i = 0; i < n; i++, bytes += length) {
        const char *token = tokenizer_decode(t, ids[i], &length);
        memcpy(joined + bytes, token ? token : "", length);
    }
    json_t *string = utf8_string(joined, bytes);
    memory_free(joined);
    return string;
}

static json_t *id_array(const int *ids, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, json_integer(ids[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *integer_if(bool exists, uint64_t value)
{
    return exists ? json_integer((json_int_t)value) : json_null();
}

static json_t *real_if(bool exists, double value)
{
    return exists ? json_real(value) : json_null();
}

static json_t *size_array(const size_t *values, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, json_integer((json_int_t)values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *speculation_object(const report *r)
{
    const speculation_counts *c = r->counts;
    const size_t passes = speculation_passes(c);
    size_t n = 0;
    while (n < SPECULATION_MOST && c->judged[n] > 0)
        n++;
    json_t *draft = utf8_text(r->draft);
    return json_pack("{s:o, s:I, s:o, s:o, s:o, s:o}", "draft", draft, "passes", (json_int_t)passes,
                     "tokens_per_pass",
                     real_if(passes > 0, (double)speculation_tokens(c) / (double)passes),
                     "predicted", real_if(passes > 0, speculation_predicted(c)), "judged",
                     size_array(c->judged, n), "accepted", size_array(c->accepted, n));
}

// The whole report; NULL if there is no memory.
static json_t *object(const report *r, const tokenizer *t)
{
    const int *generated = r->ids + r->prompt;
    bool any = r->generated > 0, several = r->generated > 1;
    size_t with_text = r->generated - (strcmp(r->stop, "eos") == 0);
    const struct {
        const char *key;
        json_t *value;
    } fields[] = {
        {"decoder", json_string(r->decoder)},
        {"model", utf8_text(r->model)},
        {"text", t ? text(generated, with_text, t) : json_null()},
        {"ids", id_array(generated, r->generated)},
        {"prompt_ids", r->rows_given ? json_null() : id_array(r->ids, r->prompt)},
        {"stop", json_string(r->stop)},
        {"prompt_tokens", json_integer((json_int_t)r->prompt)},
        {"generated_tokens", json_integer((json_int_t)r->generated)},
        {"load_ns", integer_if(true, r->load_ns)},
        {"tokenize_ns", integer_if(r->tokenize_ns > 0, r->tokenize_ns)},
        {"ttft_ns", integer_if(any, r->ttft_ns)},
        {"latency_ns", integer_if(any, r->latency_ns)},
        {"tpot_ns", real_if(several, several ? report_tpot_ns(r) : 0)},
        {"tokens_per_s", real_if(any, any ? tokens_per_s(r) : 0)},
        {"kv_bytes", json_integer((json_int_t)r->kv_bytes)},
    };
    json_t *o = json_object();
    bool whole = true;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        whole &= json_object_set_new(o, fields[i].key, fields[i].value) ==
                 0; // takes the value in any case
    if (r->restored > 0)
        whole &= json_object_set_new(o, "restored",
                                     json_pack("{s:I, s:I, s:I}", "tokens", (json_int_t)r->restored,
                                               "ns", (json_int_t)r->restore_ns, "computed",
                                               (json_int_t)r->computed)) == 0;
    if (r->context_end)
        whole &=
            json_object_set_new(o, "context_end",
                                json_pack("{s:s, s:I, s:I}", "policy", r->context_end, "drops",
                                          (json_int_t)r->drops, "rows", (json_int_t)r->rows)) == 0;
    if (r->answer != ANSWER_UNASKED)
        whole &= json_object_set_new(o, "answer", json_string(report_answer_word(r->answer))) == 0;
    if (r->counts)
        whole &= json_object_set_new(o, "speculation", speculation_object(r)) == 0;
    if (whole)
        return o;
    json_decref(o);
    return NULL;
}

status report_json(FILE *f, const report *r, const tokenizer *t)
{
    json_t *o = object(r, t);
    bool dumped = o && json_dumpf(o, f, 0) == 0 && putc('\n', f) != EOF;
    json_decref(o);
    return dumped || ferror(f) ? NULL : memory_failed("the JSON report");
}
