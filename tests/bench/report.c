// build/bench report: the page and results.json from made-up results, whole, missing, cut and
// hostile.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/base/results.h"
#include "bench/report/drawing.h"
#include "bench/report/report.h"
#include "bench/report/template.h"
#include "bench/verify/verify.h"
#include "common/base/memory.h"
#include "tests/support/command.h"
#include "tests/support/support.h"

TestSuite(report, .timeout = 120);

#define HOSTILE "</p><script>alert('1')</script>&\""
#define HOSTILE_SHELL                                                                              \
    "&lt;/p&gt;&lt;script&gt;alert(&#39;\\&#39;&#39;1&#39;\\&#39;&#39;)&lt;/script&gt;&amp;&quot;"
#define HOSTILE_CSV "\"</p><script>alert('1')</script>&\"\"\""
#define HOSTILE_HTML "&lt;/p&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"

// A folder as build/ is: results/ with curves/, and plots/.
static char top[SUPPORT_PATH], results[SUPPORT_PATH + 16], curves[SUPPORT_PATH + 32],
    plots[SUPPORT_PATH + 16], out[SUPPORT_PATH + 16];

static void make_folders(void)
{
    support_make_dir(top);
    snprintf(results, sizeof results, "%s/results", top);
    snprintf(curves, sizeof curves, "%s/curves", results);
    snprintf(plots, sizeof plots, "%s/plots", top);
    snprintf(out, sizeof out, "%s/report", top);
    const char *all[] = {results, curves, plots};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(mkdir(all[i], 0777), 0, "%s", all[i]);
}

static void remove_folders(void)
{
    const char *all[] = {curves, results, plots, out, top};
    for (size_t i = 0; i < 5; i++)
        support_remove_dir(all[i]);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    support_write(dir, name, text, strlen(text));
}

static const size_t places[] = {16, 32, 64, 128, 256};
enum { PLACES = sizeof places / sizeof *places };

// A naive value of 2000 x^2 and a cached one of 1000 x, each with an interval of 10 % to both
// sides.
static void write_medians(const char *dir, const char *name, const char *x, const char *unit,
                          const char *const *metrics)
{
    char text[1 << 14];
    int n = snprintf(text, sizeof text,
                     "model,decoder,metric,%s,median_%s,ci_lo_%s,ci_hi_%s,samples,throttled\n", x,
                     unit, unit, unit);
    for (; *metrics; metrics++)
        for (size_t i = 0; i < 2 * (size_t)PLACES; i++) {
            const size_t at = places[i % PLACES];
            const double y = i < PLACES ? 2000.0 * (double)(at * at) : 1000.0 * (double)at;
            n += snprintf(text + n, sizeof text - (size_t)n,
                          HOSTILE_CSV ",%s,%s,%zu,%.0f,%.0f,%.0f,6,0\n",
                          i < PLACES ? "naive" : "kvcache", *metrics, at, y, 0.9 * y, 1.1 * y);
        }
    write_text(dir, name, text);
}

// Notes the digests of the files that "SUMMARY-context.json" stands beside.
static void seal(const char *dir, const char *name, json_t *context)
{
    static const char *const swept[] = {"summary.csv", "memory.csv", NULL},
                             *const curve[] = {"summary.csv", "counts.csv", "fits.csv",
                                               "conclusion.txt", NULL},
                             *const roofs[] = {"roofline.csv", "roofs.csv", NULL};
    char before[64];
    snprintf(before, sizeof before, "%.*s", (int)(strstr(name, "context.json") - name), name);
    const bool roofline = strcmp(before, "roofline-") == 0;
    cr_assert_null(results_seal(dir, roofline ? "" : before,
                                roofline  ? roofs
                                : *before ? curve
                                          : swept,
                                context));
}

// Writes the description of a sweep or of a curve, whose files are there already.
static void write_context(const char *dir, const char *name, const char *about, const char *build)
{
    json_t *context = json_pack(
        "{s:{s:s, s:i, s:i, s:n, s:n, s:i}, s:{s:s, s:f}, s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, "
        "s:i}, "
        "s:{s:s, s:{s:s}, s:[i, i], s:s, s:i, s:i, s:i, s:f, s:b, s:i, s:i, s:f, s:b, s:f, s:n, "
        "s:i, s:{s:s, s:s}}}",
        "machine", "cpu", "A <fast> one", "cores", 2, "l1d_bytes", 49152, "l2_bytes", "l3_bytes",
        "memory_available_bytes", 1 << 30, "system", "name", "Linux", "load_1min", 0.5, "build",
        "version", "0", "compiler", "gcc", "flags", "-O3", "sha256", build, "model", "name",
        HOSTILE, "sha256", "weights", "context", 257, about, "name", "it", "models", HOSTILE,
        "weights", "fitted", 16, 256, "level", "the L2 cache", "seed", 3, "rounds", 6, "requests",
        60, "seconds", 1.5, "partial", 0, "values", 60, "outliers", 2, "drift", 0.01, "drift_clear",
        0, "involuntary_switches", 4.0, "steal_s", "throttled", 0, "decoders", "naive", "naive",
        "kvcache", "kvcache");
    cr_assert_not_null(context);
    seal(dir, name, context);
    cr_assert_null(results_write_json(dir, name, context));
    json_decref(context);
}

// DIR/EXPERIMENT-FILE
static void write_of(const experiment *e, const char *file, const char *text)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%s", e->name, file);
    write_text(curves, name, text);
}

static void write_curve(const experiment *e, const char *build)
{
    char name[64], counts[512];
    snprintf(name, sizeof name, "%s-summary.csv", e->name);
    write_medians(curves, name, e->x, e->unit, e->metrics);
    snprintf(counts, sizeof counts, "model,decoder,metric,%s,%s\n" HOSTILE_CSV ",naive,%s,16,17\n",
             e->x, e->counted, e->metrics[0]);
    write_of(e, "counts.csv", counts);
    snprintf(counts, sizeof counts,
             "model,decoder,metric,from,to,places,slope,slope_lo,slope_hi,factor,r2,counted_slope,"
             "a,a_lo,a_hi,b,b_lo,"
             "b_hi,c,c_lo,c_hi,rms_relative\n" HOSTILE_CSV
             ",naive,%s,16,256,5,1.93,1.9,1.96,2000,0.9995,2,0,0,1,0,0,1,2000,1999,2001,0.01\n",
             e->metrics[0]);
    write_of(e, "fits.csv", counts);
    write_of(e, "conclusion.txt", "\nIt <ends>.\n");
    snprintf(name, sizeof name, "%s-context.json", e->name);
    write_context(curves, name, "experiment", build);
}

static void write_sweep(const char *build)
{
    write_medians(results, "summary.csv", "context", "ns",
                  (const char *const[]){"ttft", "tpot", "step", NULL});
    write_text(results, "memory.csv",
               "model,decoder,context,kv_bytes,naive_activation_bytes\n" HOSTILE_CSV
               ",naive,16,0,70567\n" HOSTILE_CSV ",kvcache,16,1179648,70567\n");
    write_context(results, "context.json", "sweep", build);
}

static void write_roofline(void)
{
    write_text(
        results, "roofline.csv",
        "model,decoder,pass,context,stage,multiply_adds,bytes,intensity,median_ns,ci_lo_ns,"
        "ci_hi_ns,gflops,"
        "roof_gflops,share\n" HOSTILE_CSV
        ",\"kvcache:window:64+4,f16\",<b>,1000,linear,2e9,1e6,4000,3e7,2e7,4e7,133,150,0.887\n");
    write_text(results, "roofs.csv", "kind,value,unit\npeak,150,GFLOP/s\nmemory,35.5,GB/s\n");
    json_t *context = json_object();
    seal(results, "roofline-context.json", context);
    cr_assert_null(results_write_json(results, "roofline-context.json", context));
    json_decref(context);
}

// The file of a command that is shown as it stands, in two rows: 7 of everything, and 8.
static void write_plain(const report_plain *plain)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "%s",
                     plain->texts == 0   ? ""
                     : plain->texts == 2 ? "model,decoder"
                                         : "model,decoder,metric");
    for (const report_column *c = plain->shown; c->name; c++)
        if (c->divisor != REPORT_TEXT)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%s", n == 0 ? "" : ",", c->name);
    for (int row = 7; row <= 8; row++) {
        n += snprintf(text + n, sizeof text - (size_t)n, "\n%s",
                      plain->texts == 0   ? ""
                      : plain->texts == 2 ? HOSTILE_CSV ",<with>"
                                          : HOSTILE_CSV ",<with>,total");
        for (const report_column *c = plain->shown; c->name; c++)
            if (c->divisor != REPORT_TEXT)
                n += snprintf(text + n, sizeof text - (size_t)n, "%s%d",
                              text[n - 1] == '\n' ? "" : ",", row);
    }
    snprintf(text + n, sizeof text - (size_t)n, "\n");
    write_text(results, plain->csv, text);
}

// A drawing as gnuplot's, in little.
static const char svg[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"  standalone=\"no\"?>\n<svg \n width=\"800\" "
    "height=\"450\"\n xmlns=\"http://www.w3.org/2000/svg\"\n>\n<g onload=\"alert(1)\">"
    "<text>a &lt; b</text></g>\n</svg>\n";

static void write_all(void)
{
    char build[65];
    cr_assert_null(results_build(build));
    write_sweep(build);
    for (size_t i = 0; i < EXPERIMENTS; i++)
        write_curve(&experiments[i], build);
    write_roofline();
    for (size_t i = 0; i < REPORT_ALL - REPORT_STRATEGIES; i++)
        write_plain(&report_plains[i]);
    for (size_t i = 0; i < REPORT_STORIES; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s-light.svg", report_stories[i].id);
        write_text(plots, name, svg);
        snprintf(name, sizeof name, "%s-dark.svg", report_stories[i].id);
        write_text(plots, name, svg);
    }
}

static void write_verified(bool passed, size_t longest, size_t differing)
{
    char build[65];
    cr_assert_null(results_build(build));
    json_t *found =
        json_pack("{s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "model", HOSTILE, "decoder",
                  "kvcache", "passed", (int)passed, "contexts", 5, "longest", (int)longest,
                  "logits", 123456, "logits_differing", (int)differing, "keys_and_values", 654321,
                  "keys_and_values_differing", 0, "logits_sha256", "0123456789abcdef");
    json_t *record = json_pack(
        "{s:{s:s, s:{s:O}}, s:{s:s, s:{s:i, s:O, s:o}}}", "/another", "build", "another", "models",
        "weights", found, "/program", "build", build, "models", "of an earlier version", 7,
        "weights 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", found,
        "weights", found);
    cr_assert_not_null(record);
    cr_assert_null(results_write_json(results, "verified.json", record));
    json_decref(record);
}

static command_run report(void)
{
    return RUN(report_command, "report", top);
}

static const char *page(void)
{
    return command_file(out, "index.html");
}

// The tag that begins at `at`, behind its '<'; returns what follows it.
static const char *check_tag(const char *at, char open[64][32], size_t *depth)
{
    const bool closing = *at == '/';
    char name[32] = "";
    at += closing;
    cr_assert_eq(sscanf(at, "%31[A-Za-z0-9]", name), 1, "no tag: %.60s", at);
    if (closing) {
        cr_assert(*depth > 0 && strcmp(name, open[*depth - 1]) == 0, "</%s> closes <%s>", name,
                  *depth ? open[*depth - 1] : "nothing");
        --*depth;
        return strchr(at, '>') + 1;
    }
    for (at += strlen(name); *at && *at != '>' && *at != '/'; at++)
        if (*at == '"') { // values may hold anything but a '<'
            const char *end = strchr(at + 1, '"');
            cr_assert(end && !memchr(at, '<', (size_t)(end - at)), "%.80s", at);
            at = end;
        }
    cr_assert(*at, "<%s does not end", name);
    if (*at != '/' && strcmp(name, "meta") != 0 && strcmp(name, "br") != 0 &&
        strcmp(name, "img") != 0 && strcmp(name, "source") != 0) {
        cr_assert_lt(*depth, 64);
        strcpy(open[(*depth)++], name);
    }
    return strchr(at, '>') + 1;
}

static void check_balance(const char *html)
{
    static char open[64][32];
    size_t depth = 0;
    cr_assert_eq(strncmp(html, "<!DOCTYPE html>\n", 16), 0);
    for (const char *at = html + 16; (at = strchr(at, '<'));)
        at = check_tag(at + 1, open, &depth);
    cr_assert_eq(depth, 0, "<%s> is not closed", open[depth - 1]);
}

// Every id is there once, and everything that refers to one finds it.
static void check_ids(const char *html)
{
    static const char *const references[] = {"aria-labelledby=\"", "href=\"#"};
    char id[256], wanted[300];
    size_t found = 0;
    for (const char *at = html; (at = strstr(at, " id=\"")); found++) {
        cr_assert_eq(sscanf(at += 5, "%255[^\"]", id), 1);
        snprintf(wanted, sizeof wanted, " id=\"%s\"", id);
        cr_assert_null(strstr(at, wanted), "two ids are '%s'", id);
    }
    for (size_t i = 0; i < 2; i++)
        for (const char *at = html; (at = strstr(at, references[i])); found++) {
            cr_assert_eq(sscanf(at += strlen(references[i]), "%255[^\"]", id), 1);
            snprintf(wanted, sizeof wanted, " id=\"%s\"", id);
            cr_assert_not_null(strstr(html, wanted), "there is no '%s'", id);
        }
    cr_assert_gt(found, 3 * REPORT_STORIES);
}

// The words of a section stand on the page.
static void check_section(const char *html, const char *id)
{
    static const char *const needed[] = {"title", "formula", "theory"};
    char name[64], head[200];
    template words;
    snprintf(name, sizeof name, "sections/%s.html", id);
    cr_assert_null(template_read(SOURCE_DIR "/plots/page", name, &words));
    cr_assert_not_null(template_part(&words, "shows"), "%s", id);
    for (size_t i = 0; i < 3; i++) {
        const char *text = template_part(&words, needed[i]);
        cr_assert(text && *text && strstr(html, text), "the %s of %s is missing", needed[i], id);
    }
    snprintf(head, sizeof head, "<section id=\"%s\" aria-labelledby=\"%s-head\">\n<h2 ", id, id);
    cr_assert_not_null(strstr(html, head), "%s has no heading", id);
    template_free(&words);
}

// Whatever the page loads is in it.
static void check_sources(const char *html)
{
    static const char *const attributes[] = {"src=", "srcset="};
    char wanted[64];
    for (size_t i = 0; i < 2; i++) {
        snprintf(wanted, sizeof wanted, "%s\"data:image/svg+xml;base64,", attributes[i]);
        for (const char *at = html; (at = strstr(at, attributes[i])); at++)
            cr_assert_eq(strncmp(at, wanted, strlen(wanted)), 0, "%.60s", at);
    }
}

// The page holds everything it needs, and nothing that a file could have slipped in.
static void check_page(const char *html)
{
    static const char *const never[] = {
        "http:",   "https:", "url(",        "@import", "<script", "<link", "<svg",
        "<iframe", "onload", "javascript:", HOSTILE,   "{{",      "}}"};
    check_balance(html);
    check_ids(html);
    check_sources(html);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        cr_assert_null(strstr(html, never[i]), "the page holds '%s'", never[i]);
    for (size_t i = 0; i < REPORT_STORIES; i++)
        check_section(html, report_stories[i].id);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

Test(report, the_page_holds_everything)
{
    make_folders();
    write_all();
    write_verified(true, 400, 0);
    command_run r = report();
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    const char *html = page();
    check_page(html);
    cr_assert_not_null(strstr(html, "0 of 123,456 logits differ"));
    cr_assert_not_null(strstr(html, "0 of 654,321 keys and values differ"));
    cr_assert_gt(count(html, HOSTILE_HTML), EXPERIMENTS);
    cr_assert_eq(count(html, "<img "), REPORT_STORIES);
    cr_assert_eq(count(html, "</figcaption>"), REPORT_STORIES);
    // What the medians of 2000 x^2 and 1000 x come to: ms, three digits, intervals; the ratio's is
    // the widest.
    cr_assert_not_null(strstr(html, "131 <span class=\"ci\">(118 to 144)</span>"));
    cr_assert_not_null(strstr(html, "0.0160 <span class=\"ci\">(0.0144 to 0.0176)</span>"));
    cr_assert_not_null(strstr(html, "512 <span class=\"ci\">(419 to 626)</span>"));
    cr_assert_not_null(
        strstr(html, "1.93 <span class=\"ci\">(1.90 to 1.96)</span></td><td>2.00</td><td>0.99950"));
    cr_assert_not_null(strstr(html, "<td>0.0673</td><td>1.12</td>"),
                       "naive's rows and the cache in MiB");
    cr_assert_not_null(strstr(html, "It &lt;ends&gt;."));
    cr_assert_not_null(strstr(html, "kvcache:window:64+4,f16, &lt;b&gt;"));
    cr_assert_not_null(strstr(html, "<td>35.5</td>"), "a roof");
    cr_assert_not_null(strstr(html, "Slopes are fitted from 16 to 256, where what a cached step "
                                    "reads is held by the L2 cache."));
    cr_assert_not_null(strstr(html, "second half 1.0&#160;% slower than the first;"));
    cr_assert_not_null(strstr(html, "4 involuntary context switches."));
    cr_assert_null(strstr(html, "Another machine or build"));
    cr_assert_null(strstr(html, "not been measured"));
    cr_assert_null(strstr(html, "No ratio"));
    remove_folders();
}

// Each table once, though a command may have several pictures; numbers in their units.
Test(report, what_commands_left_is_shown_as_it_stands)
{
    make_folders();
    write_all();
    cr_assert_null(report().s);
    for (size_t i = 0; i < REPORT_ALL - REPORT_STRATEGIES; i++) {
        const report_plain *plain = &report_plains[i];
        char by[256];
        bool contexts = false;
        for (const report_column *c = plain->shown; c->name; c++)
            contexts = contexts || strcmp(c->name, "context") == 0;
        snprintf(by, sizeof by, "Measured by <code>%s%s%s</code>.", plain->command,
                 plain->texts > 0 ? " -m &#39;" HOSTILE_SHELL "&#39;" : "",
                 contexts ? " -c 7,8" : "");
        cr_assert_eq(count(page(), plain->caption), 1, "%s", plain->name);
        cr_assert_not_null(strstr(page(), by), "%s", by);
        for (const report_column *c = plain->shown; c->name; c++)
            cr_assert_not_null(strstr(page(), c->heading), "%s", c->heading);
    }
    cr_assert_not_null(strstr(page(), "<tr><td>8</td><td>800</td><td>800</td><td>800</td></tr>"),
                       "shares are shown in per cent");
    cr_assert_not_null(strstr(page(), "<th scope=\"row\" class=\"left\">&lt;with&gt;</th>"));
    write_text(results, "serve.csv", "model,decoder,users\nm,d,1\n");
    write_text(results, "speculate.csv", "model,decoder,metric,rows,ratio\nm,d,ratio,1,many\n");
    command_run r = report();
    cr_assert_not_null(strstr(r.s, "2 of what was measured cannot be shown"), "%s", r.s);
    cr_assert_not_null(strstr(page(), "results/serve.csv: there is no column requests_per_s; "
                                      "build/bench serve measures it again"));
    cr_assert_not_null(strstr(page(), "results/speculate.csv, line 2: "));
    check_page(page());
    remove_folders();
}

Test(report, what_another_build_measured_says_so)
{
    make_folders();
    write_all();
    write_curve(&experiments[0], "0123456789abcdef");
    cr_assert_null(report().s);
    cr_assert_eq(count(page(), "Another machine or build"), 1);
    cr_assert_not_null(
        strstr(page(), "A &lt;fast&gt; one, 2 cores,\nbuild <code>0123456789ab</code>."));
    check_page(page());
    remove_folders();
}

Test(report, a_ratio_stands_only_beside_a_verification)
{
    make_folders();
    write_all();
    cr_assert_null(report().s);
    cr_assert_not_null(strstr(page(), "Nothing here has been verified"));
    cr_assert_null(strstr(page(), "(419 to 626)"));
    write_verified(true, 200, 0); // all but the last place
    cr_assert_null(report().s);
    cr_assert_null(strstr(page(), "(419 to 626)"));
    cr_assert_not_null(strstr(page(), "256 <span class=\"ci\">(209 to 313)</span>"));
    cr_assert_not_null(strstr(page(), "No ratio"));
    write_verified(false, 400, 5);
    cr_assert_null(report().s);
    cr_assert_not_null(strstr(page(), "5 of 123,456 logits differ"));
    cr_assert_not_null(strstr(page(), "The decoders do not agree"));
    cr_assert_null(strstr(page(), "(209 to 313)"));
    cr_assert_eq(count(page(), "<img "), REPORT_STORIES - 1, "the speed-up is drawn");
    check_page(page());
    remove_folders();
}

Test(report, verify_records_what_it_found)
{
    char name[64], digest[65], dir[FILE_PATH_SIZE];
    json_t *record, *entry, *found = NULL;
    const char *program;
    model *m;
    snprintf(name, sizeof name, "synthetic:L=1,C=32,H=2,T=64,V=64,seed=%ld1", (long)getpid());
    command_run r = RUN(verify_command, "verify", "-m", name, "-c", "1-20");
    cr_assert_null(r.s, "%s", r.s);
    cr_assert_null(model_load(name, &m));
    cr_assert_null(model_digest(m, digest));
    cr_assert_null(results_make(NULL, dir));
    cr_assert_null(file_read_json(dir, "verified.json", &record));
    json_object_foreach(record, program, entry)
    {
        if (!found)
            found = json_object_get(json_object_get(entry, "models"), digest);
    }
    int passed, contexts, longest, differing, kv_differing;
    long long logits, kept;
    const char *label, *sha256;
    cr_assert_eq(json_unpack(found, "{s:s, s:b, s:i, s:i, s:I, s:i, s:I, s:i, s:s}", "model",
                             &label, "passed", &passed, "contexts", &contexts, "longest", &longest,
                             "logits", &logits, "logits_differing", &differing, "keys_and_values",
                             &kept, "keys_and_values_differing", &kv_differing, "logits_sha256",
                             &sha256),
                 0);
    cr_assert(passed && contexts == 20 && longest == 20 && logits > 20 * 64 && kept > 0 &&
              !differing && !kv_differing);
    cr_assert_str_eq(label, name);
    cr_assert_eq(strlen(sha256), 64);
    json_decref(record);
    cr_assert_null(results_forget_verified(m, NULL));
    model_free(m);
}

// The fields that notes/11-report.md documents for an object: the first column of the table behind
// `heading`.
static json_t *documented(const char *chapter, const char *heading)
{
    json_t *fields = json_object();
    const char *row = strstr(chapter, heading);
    cr_assert_not_null(row, "the notes do not document '%s'", heading);
    row = strstr(row, "|---|---|---|\n");
    for (row = strchr(row, '\n') + 1; *row == '|'; row = strchr(row, '\n') + 1) {
        const char *end = strchr(row + 1, '|');
        for (const char *at = strchr(row, '`'); at && at < end;
             at = strchr(strchr(at + 1, '`') + 1, '`'))
            json_object_setn_new(fields, at + 1, (size_t)(strchr(at + 1, '`') - at - 1),
                                 json_true());
    }
    return fields;
}

static void check_fields(const char *chapter, const char *heading, const json_t *object)
{
    json_t *fields = documented(chapter, heading);
    const char *key;
    json_t *value;
    cr_assert(json_is_object(object) && json_object_size(fields) > 2, "%s", heading);
    json_object_foreach((json_t *)object, key, value)
    {
        cr_assert_not_null(json_object_get(fields, key), "%s `%s` is written, but not documented",
                           heading, key);
    }
    json_object_foreach(fields, key, value)
    {
        cr_assert_not_null(json_object_get(object, key), "%s `%s` is documented, but not written",
                           heading, key);
    }
    json_decref(fields);
}

static json_t *named(const json_t *list, const char *name)
{
    size_t i = 0;
    while (i < json_array_size(list) &&
           strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) != 0)
        i++;
    cr_assert_lt(i, json_array_size(list), "there is no %s", name);
    return json_array_get(list, i);
}

Test(report, results_json_is_as_documented)
{
    json_t *all;
    size_t n;
    make_folders();
    write_all();
    write_verified(true, 400, 0);
    cr_assert_null(report().s);
    cr_assert_null(file_read_json(out, "results.json", &all));
    char *chapter = support_read(SOURCE_DIR "/notes", "11-report.md", &n);
    check_fields(chapter, "The whole file:", all);
    check_fields(chapter,
                 "One of `verified`:", json_array_get(json_object_get(all, "verified"), 0));
    cr_assert_eq(json_array_size(json_object_get(all, "verified")), 1,
                 "of another build, or of an earlier version");
    const json_t *list = json_object_get(all, "experiments"), *curve = named(list, "attention"),
                 *sweep = named(list, "sweep"), *roofline = named(list, "roofline");
    check_fields(chapter, "One of `experiments`;", curve);
    check_fields(chapter, "One of `experiments`;", roofline);
    check_fields(chapter,
                 "One of `medians`:", json_array_get(json_object_get(sweep, "medians"), 0));
    check_fields(chapter, "One of `fits`;", json_array_get(json_object_get(curve, "fits"), 0));
    check_fields(chapter, "One of `counts`:", json_array_get(json_object_get(curve, "counts"), 0));
    check_fields(chapter, "One of `memory`:", json_array_get(json_object_get(sweep, "memory"), 0));
    check_fields(chapter, "One of `roofs`:", json_array_get(json_object_get(roofline, "roofs"), 0));
    check_fields(chapter,
                 "One of `points`:", json_array_get(json_object_get(roofline, "points"), 0));
    free(chapter);

    int version;
    const char *schema, *name, *decoder_name;
    double x, median_ns, lo, hi, samples;
    cr_assert_eq(json_unpack(all, "{s:s, s:i}", "schema", &schema, "version", &version), 0);
    cr_assert(strcmp(schema, "lockstep-results") == 0 && version == 1);
    cr_assert_eq(json_array_size(list), REPORT_ALL);
    cr_assert_eq(json_unpack(json_array_get(json_object_get(sweep, "medians"), 1),
                             "{s:s, s:s, s:F, s:F, s:F, s:F, s:F}", "model", &name, "decoder",
                             &decoder_name, "x", &x, "median", &median_ns, "lo", &lo, "hi", &hi,
                             "samples", &samples),
                 0);
    cr_assert_str_eq(name, HOSTILE);
    cr_assert_str_eq(decoder_name, "naive");
    cr_assert(x == 32 && median_ns == 2048000 && lo == 1843200 && hi == 2252800 && samples == 6);
    cr_assert_str_eq(json_string_value(json_object_get(sweep, "command")),
                     "build/bench sweep -m '</p><script>alert('\\''1'\\'')</script>&\"' -n 6 -s 3");
    cr_assert_str_eq(json_string_value(json_object_get(roofline, "command")),
                     "build/bench roofline -m '</p><script>alert('\\''1'\\'')</script>&\"' -c 1000 "
                     "-d kvcache:window:64+4,f16");
    cr_assert_str_eq(json_string_value(json_object_get(named(list, "layers"), "command")),
                     "build/bench curves layers -c 16,32,64,128,256 -n 6 -s 3");
    json_decref(all);
    remove_folders();
}

Test(report, what_was_not_measured_is_named)
{
    make_folders();
    command_run r = report();
    cr_assert(!r.s && r.exit_code == 0, "%s", r.s);
    check_page(page());
    cr_assert_eq(count(page(), "This has not been measured."), REPORT_STORIES);
    cr_assert_not_null(
        strstr(page(), "<code>build/bench sweep -m synthetic:124M</code> measures it"));
    cr_assert_not_null(strstr(page(), "<code>build/bench curves crossover</code> measures it"));
    cr_assert_not_null(strstr(page(), "<code>build/bench roofline</code> measures it"));
    cr_assert_not_null(strstr(page(), "Nothing here has been verified"));
    char build[65];
    cr_assert_null(results_build(build));
    write_sweep(build); // and no pictures
    cr_assert_null(report().s);
    check_page(page());
    cr_assert_eq(count(page(), "This has not been measured."), REPORT_STORIES - 4);
    cr_assert_eq(count(page(), "There is no picture"), 3);
    cr_assert_eq(count(page(), "The picture is left out"), 1);
    remove_folders();
}

#define SUMMARY "model,decoder,metric,context,median_ns,ci_lo_ns,ci_hi_ns,samples,throttled\n"
#define ROW "m,naive,step,16,7,6,8,6,0\n"

// Files that cannot be shown, and what the message says besides the file's name.
static const struct {
    const char *dir, *name, *text, *says;
    size_t sections; // that are left out
} spoilt[] = {
    {results, "summary.csv", "", "cut short", 4},
    {results, "summary.csv", SUMMARY "m,naive,st", "line 2|cut short", 4},
    {results, "summary.csv", SUMMARY ROW "m,naive,step,16,7,6,8,6\n",
     "line 3|8 fields instead of 9", 4},
    {results, "summary.csv", SUMMARY "\"m,naive,step,16,7,6,8,6,0\n" ROW, "line 2|cut short", 4},
    {results, "summary.csv", "decoder,model\n", "columns", 4},
    {results, "summary.csv", SUMMARY "m,naive,step,16,1e999,6,8,6,0\n", "line 2|median_ns|1e999",
     4},
    {results, "summary.csv", SUMMARY "m,naive,step,16,-7,6,8,6,0\n", "line 2", 4},
    {results, "summary.csv", SUMMARY "m,naive,step,<b>,7,6,8,6,0\n", "line 2|context|<b>", 4},
    {results, "memory.csv", "model,decoder,context,kv_bytes,naive_activation_bytes\nm,d,16,x,1\n",
     "line 2|kv_bytes", 4},
    {results, "context.json", "{\"machine\": ", "context.json", 4},
    {results, "roofs.csv", "kind,value,unit\npeak,high,GFLOP/s\n", "line 2|high", 1},
    {results, "verified.json", "[]", "Nothing here has been verified", 0},
    {curves, "layers-fits.csv", "model\n", "columns", 1},
    {curves, "layers-counts.csv", "model,decoder,metric,layers,multiply_adds\na,b,c,1,\x01\n",
     "line 2", 1},
};

Test(report, a_spoilt_file_is_named_and_the_rest_is_shown)
{
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        make_folders();
        write_all();
        write_verified(true, 400, 0);
        write_text(spoilt[i].dir, spoilt[i].name, spoilt[i].text);
        command_run r = report();
        support_assert_refused(r.s, "cannot be shown");
        cr_assert_eq(r.exit_code, 0);
        check_page(page());
        char wanted[128];
        snprintf(wanted, sizeof wanted, "<p>results/%s%s", spoilt[i].dir == curves ? "curves/" : "",
                 spoilt[i].name);
        cr_assert_eq(count(page(), wanted), spoilt[i].sections, "case %zu: %s is not named", i,
                     wanted);
        snprintf(wanted, sizeof wanted, "%s", spoilt[i].says);
        for (char *part = strtok(wanted, "|"); part; part = strtok(NULL, "|"))
            cr_assert(strcmp(part, "<b>") == 0 || strstr(page(), part), "case %zu does not say %s",
                      i, part);
        cr_assert_geq(count(page(), "<img ") + 1, REPORT_STORIES - spoilt[i].sections);
        remove_folders();
    }
}

Test(report, files_of_two_runs_are_refused)
{
    char build[65];
    make_folders();
    write_all();
    write_verified(true, 400, 0);
    cr_assert_null(results_build(build));
    size_t n;
    char *old = support_read(results, "context.json", &n);
    write_text(results, "memory.csv",
               "model,decoder,context,kv_bytes,naive_activation_bytes\nm,naive,16,0,1\n");
    support_assert_refused(report().s, "cannot be shown");
    cr_assert_eq(count(page(), "<p>results/memory.csv: not the file that context.json was written "
                               "with: they are of two runs, or one was changed; measure again: "
                               "build/bench sweep"),
                 4);
    cr_assert_null(strstr(page(), "(419 to 626)"), "a speed-up of two runs");
    write_context(results, "context.json", "sweep", build); // of the same run
    cr_assert_null(report().s);
    write_text(results, "context.json", old);
    support_assert_refused(report().s, "cannot be shown");
    free(old);
    write_sweep(build);
    write_of(&experiments[0], "conclusion.txt", "It <was changed>.\n");
    write_text(results, "roofs.csv", "kind,value,unit\npeak,151,GFLOP/s\n");
    support_assert_refused(report().s, "2 of what was measured cannot be shown");
    cr_assert_not_null(
        strstr(page(), "results/roofs.csv: not the file that roofline-context.json"));
    cr_assert_not_null(strstr(page(), "-conclusion.txt: not the file that"));
    remove_folders();
}

// Sets a field of the sweep's description.
static void describe(const char *what, const char *field, json_t *value)
{
    json_t *context;
    cr_assert_null(file_read_json(results, "context.json", &context));
    json_object_set_new(json_object_get(context, what), field, value);
    seal(results, "context.json", context);
    cr_assert_null(results_write_json(results, "context.json", context));
    json_decref(context);
}

Test(report, what_a_cpu_quota_bent_is_said)
{
    make_folders();
    write_all();
    write_text(results, "summary.csv",
               SUMMARY "m,naive,step,16,7000,6000,8000,6,2\nm,kvcache,step,16,1000,900,1100,6,0\n");
    describe("sweep", "throttled", json_integer(2));
    cr_assert_null(report().s);
    check_page(page());
    cr_assert_eq(count(page(), "<strong>2 of 60 samples were taken while the CPU quota\nthrottled"),
                 3, "with each timed picture of the sweep");
    cr_assert_not_null(strstr(page(), "7.00 <span class=\"ci\">(6.00 to 8.00)</span><abbr"));
    cr_assert_not_null(strstr(page(), "1.00 <span class=\"ci\">(0.900 to 1.10)</span></td>"));
    remove_folders();
}

Test(report, verifications_of_specs_have_a_table_and_ratios_of_their_own)
{
    char build[65], text[4096];
    size_t n = 0;
    json_t *record;
    make_folders();
    write_all();
    write_verified(true, 400, 0);
    cr_assert_null(results_build(build));
    cr_assert_null(file_read_json(results, "verified.json", &record));
    json_t *models = json_object_get(json_object_get(record, "/program"), "models"),
           *found = json_deep_copy(json_object_get(models, "weights"));
    json_object_set_new(found, "decoder", json_string("kvcache:window:8+2"));
    json_object_set_new(found, "longest", json_integer(100));
    json_object_set_new(models, "weights kvcache:window:8+2", found);
    cr_assert_null(results_write_json(results, "verified.json", record));
    json_decref(record);
    static const char *const names[] = {"naive", "kvcache", "kvcache:window:8+2"};
    n += (size_t)sprintf(text, SUMMARY);
    for (size_t i = 0; i < 6; i++)
        n += (size_t)sprintf(text + n, HOSTILE_CSV ",%s,step,%d,%d,%d,%d,6,0\n", names[i / 2],
                             i % 2 ? 128 : 64,
                             i < 2   ? 8000
                             : i < 4 ? 2000
                                     : 1000,
                             i < 2   ? 8000
                             : i < 4 ? 2000
                                     : 1000,
                             i < 2   ? 8000
                             : i < 4 ? 2000
                                     : 1000);
    write_text(results, "summary.csv", text);
    describe(
        "sweep", "decoders",
        json_pack("{s:s, s:s, s:s}", "naive", "naive", "kvcache", "kvcache", names[2], names[2]));
    cr_assert_null(report().s);
    check_page(page());
    cr_assert_not_null(strstr(page(), "Caches that keep less"));
    cr_assert_not_null(strstr(page(), "<td class=\"left\">kvcache:window:8+2</td><td>100</td>"));
    cr_assert_not_null(strstr(page(), "<th scope=\"col\">speed-up, kvcache:window:8+2</th>"));
    cr_assert_not_null(strstr(page(), "class=\"curve-3\">kvcache:window:8+2"));
    cr_assert_not_null(
        strstr(page(), "<td>4.00 <span class=\"ci\">(4.00 to 4.00)</span></td><td>8.00"),
        "at 64 tokens both are verified");
    cr_assert_not_null(
        strstr(page(), "<td>4.00 <span class=\"ci\">(4.00 to 4.00)</span></td><td>&#8211;</td>"),
        "at 128 tokens the window is not");
    cr_assert_not_null(strstr(page(), "-d kvcache:window:8+2</code>"));
    remove_folders();
}

// Of a plug-in only the digest is known, and rounded weights are an option of their own: the page's
// commands say both as build/bench takes them.
Test(report, commands_name_plug_ins_and_rounded_weights)
{
    make_folders();
    write_all();
    write_text(results, "summary.csv",
               SUMMARY "synthetic:124M (q8),naive,step,64,9,9,9,6,0\n"
                       "synthetic:124M (q8),mine:f16,step,64,3,3,3,6,0\n");
    describe("model", "name", json_string("synthetic:124M (q8)"));
    describe("sweep", "decoders",
             json_pack("{s:s, s:s}", "naive", "naive", "mine:f16",
                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:f16"));
    cr_assert_null(report().s);
    check_page(page());
    cr_assert_not_null(
        strstr(page(), "build/bench verify -m synthetic:124M -W q8 -d PLUGIN.so:f16</code>"));
    cr_assert_not_null(strstr(
        page(), "build/bench sweep -m synthetic:124M -W q8 -c 64 -d PLUGIN.so:f16 -n 6 -s 3"));
    remove_folders();
}

Test(report, a_wide_slope_is_marked)
{
    make_folders();
    write_all();
    cr_assert_null(report().s);
    cr_assert_null(strstr(page(), ">wide<"));
    size_t n;
    char name[64], *text;
    snprintf(name, sizeof name, "%s-fits.csv", experiments[0].name);
    text = support_read(curves, name, &n);
    memcpy(strstr(text, "1.93,1.9,"), "1.93,1.7,", 9);
    write_text(curves, name, text);
    free(text);
    char build[65];
    cr_assert_null(results_build(build));
    snprintf(name, sizeof name, "%s-context.json", experiments[0].name);
    write_context(curves, name, "experiment", build);
    cr_assert_null(report().s);
    check_page(page());
    cr_assert_eq(count(page(), "(1.70 to 1.96)</span> <strong class=\"wide\">wide</strong>"), 2,
                 "in the answer and in the table");
    cr_assert_eq(count(page(), "reaches further than 0.05 to a side"), 1);
    remove_folders();
}

Test(report, strange_text_is_no_failure)
{
    json_t *all;
    make_folders();
    write_text(results, "summary.csv",
               SUMMARY
               "\"Lat\xedn \x02\xf0\x9f\n\",naive,step,16,7,,,1,0\nm,a third,step,16,0,0,0,6,0\n");
    write_text(results, "memory.csv",
               "model,decoder,context,kv_bytes,naive_activation_bytes\nm,d,16,1,1\n");
    json_t *context =
        json_loads("{\"machine\": [], \"build\": 7, \"sweep\": {\"rounds\": \"many\"}}", 0, NULL);
    seal(results, "context.json", context);
    cr_assert_null(results_write_json(results, "context.json", context));
    json_decref(context);
    cr_assert_null(report().s);
    check_page(page());
    cr_assert_null(file_read_json(out, "results.json", &all));
    const json_t *medians =
        json_object_get(named(json_object_get(all, "experiments"), "sweep"), "medians");
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(medians, 0), "model")),
                     "Lat?n ????");
    cr_assert(json_is_null(json_object_get(json_array_get(medians, 0), "lo")));
    json_decref(all);
    remove_folders();
}

// RFC 4648's own vectors.
Test(report, a_drawing_becomes_base64)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xc2\xb5", "wrU="}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char shown[64] = "", wanted[64];
        FILE *f = fmemopen(shown, sizeof shown - 1, "w");
        drawing_data(f, pairs[i][0]);
        fclose(f);
        snprintf(wanted, sizeof wanted, "data:image/svg+xml;base64,%s", pairs[i][1]);
        cr_assert_str_eq(shown, wanted);
    }
}

Test(report, a_drawing_that_was_cut_is_refused)
{
    char cut[sizeof svg];
    cr_assert_null(drawing_check("x.svg", svg));
    for (size_t n = 0; n < sizeof svg - sizeof "\n"; n++) {
        memcpy(cut, svg, n);
        cut[n] = '\0';
        support_assert_refused(drawing_check("x.svg", cut), "x.svg|cut short|make plots");
    }
    support_assert_refused(drawing_check("x.svg", "words"), "x.svg|make plots");
}

Test(report, a_spoilt_drawing_is_left_out)
{
    make_folders();
    write_all();
    write_verified(true, 400, 0);
    write_text(plots, "step-dark.svg", "<svg><g>");
    support_assert_refused(report().s, "1 of");
    check_page(page());
    cr_assert_eq(count(page(), "<img "), REPORT_STORIES - 1);
    cr_assert_eq(count(page(), "There is no picture"), 1);
    remove_folders();
}

// A template filled with one text, one piece of HTML and one function's.
static status print_three(FILE *f, const void *what)
{
    fputs(what, f);
    return NULL;
}

static status print_nothing(FILE *f, const void *what)
{
    (void)f;
    (void)what;
    return "no more paper";
}

static status fill(const char *text, const char *part, char shown[256])
{
    static const template_value values[] = {{.name = "one", .text = "<1>"},
                                            {.name = "two", .html = "<b>2</b>"},
                                            {.name = "three", .print = print_three},
                                            {.name = "empty"},
                                            {.name = "failing", .print = print_nothing},
                                            {0}};
    template t;
    memset(shown, 0, 256);
    write_text(top, "x.html", text);
    status failed = template_read(top, "x.html", &t);
    if (!failed) {
        FILE *f = fmemopen(shown, 255, "w");
        failed = template_fill(f, &t, part, values, "3");
        fclose(f);
    }
    template_free(&t);
    return failed;
}

Test(report, a_template_is_filled)
{
    char shown[256];
    make_folders();
    const char *text = "<!-- a -->\n{{one}}, {{two}}\n{ and {{three}}{{one}} }\n<!-- b -->\nB\n";
    cr_assert_null(fill(text, "a", shown));
    cr_assert_str_eq(shown, "&lt;1&gt;, <b>2</b>\n{ and 3&lt;1&gt; }");
    cr_assert_null(fill(text, "b", shown));
    cr_assert_str_eq(shown, "B");
    cr_assert_null(fill("<!-- a -->\n<!-- b -->\nB\n", "a", shown));
    cr_assert_str_eq(shown, "");
    remove_folders();
}

Test(report, templates_refused)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {{"<!-- a -->\n{{four}}\n", "x.html: |{{four}}"},
                 {"<!-- a -->\n{{empty}}\n", "x.html: |{{empty}}"},
                 {"<!-- a -->\n{{on}} {{one}}\n", "x.html: |{{on}}"},
                 {"<!-- a -->\n{{}}\n", "x.html: |{{}}"},
                 {"<!-- a -->\n{{one\n<!-- b -->\n}}\n", "x.html: |{{one|is not closed"},
                 {"<!-- a -->\n{{failing}}\n", "no more paper"},
                 {"<!-- b -->\n{{one}}\n", "x.html: |<!-- a -->"},
                 {"words\n", "x.html: |no line"},
                 {"", "x.html: |no line"},
                 {"<!-- a\n", "x.html: |<!-- name -->"},
                 {"<!-- a --> b\n", "x.html: |<!-- name -->"},
                 {"<!-- a -->", "x.html: |<!-- name -->"}};
    char shown[256], many[17 * 11 + 1] = "";
    template t;
    make_folders();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        support_assert_refused(fill(wrong[i].text, "a", shown), wrong[i].says);
    for (size_t i = 0; i <= TEMPLATE_PARTS; i++)
        strcat(many, "<!-- a -->\n");
    support_assert_refused(fill(many, "a", shown), "x.html: |no more than 16");
    support_assert_refused(template_read(top, "none.html", &t),
                           "none.html is missing|git checkout plots/page");
    template_free(&t);
    remove_folders();
}

Test(report, refused)
{
    make_folders();
    command_run two = RUN(report_command, "report", top, top),
                option = RUN(report_command, "report", "-m", "x"),
                nowhere = RUN(report_command, "report", plots);
    cr_assert(two.s && option.s && option.exit_code == EXIT_USAGE);
    support_assert_refused(nowhere.s, "results/|make bench");
    remove_folders();
}

// Each allocation fails in turn, or the first `most`: that is reported, or it makes no difference.
static void fail_allocations(size_t most)
{
    static char first[1 << 20];
    cr_assert_null(report().s);
    memory_fail_at(0);
    cr_assert_null(report().s);
    const size_t allocations = memory_fail_at(0);
    snprintf(first, sizeof first, "%s", page());
    cr_assert_gt(allocations, 100);
    for (size_t n = 1; n <= allocations && n <= most; n++) {
        memory_fail_at(n);
        command_run r = report();
        memory_fail_at(0);
        if (!r.s)
            cr_assert_str_eq(page(), first, "allocation %zu of %zu failed", n, allocations);
    }
}

Test(report, every_allocation_may_fail)
{
    make_folders();
    write_text(results, "summary.csv", SUMMARY ROW);
    write_text(results, "memory.csv",
               "model,decoder,context,kv_bytes,naive_activation_bytes\nm,d,16,1,1\n");
    write_context(results, "context.json", "sweep", "a build");
    write_curve(&experiments[0], "a build");
    write_roofline();
    write_text(plots, "step-light.svg", svg);
    write_text(plots, "step-dark.svg", svg);
    fail_allocations(SIZE_MAX);
    remove_folders();
}

Test(report, every_allocation_may_fail_beside_a_verification)
{
    make_folders();
    write_verified(true, 400, 0);
    fail_allocations(100); // what follows is the page's, as above
    remove_folders();
}
