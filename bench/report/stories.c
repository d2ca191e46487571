// The sections of the report, in order; their words are plots/page/sections/ID.html.
#include "bench/report/report.h"

enum {
    ATTENTION,
    CONTEXT,
    LONGCONTEXT,
    LAYERS,
    GENERATE,
    MEMORY,
    THROUGHPUT,
    CROSSOVER
}; // as in experiments[]

const story report_stories[REPORT_STORIES] = {
    {.of = REPORT_SWEEP, .id = "step", .metric = "step"},
    {.of = REPORT_SWEEP, .id = "speedup", .metric = "step"},
    {.of = REPORT_SWEEP, .id = "ttft", .metric = "ttft"},
    {.of = REPORT_SWEEP, .id = "memory"},
    {.of = ATTENTION, .id = "curve-attention"},
    {.of = CONTEXT, .id = "curve-context"},
    {.of = LONGCONTEXT, .id = "curve-longcontext"},
    {.of = LAYERS, .id = "curve-layers"},
    {.of = GENERATE, .id = "curve-generate"},
    {.of = MEMORY, .id = "curve-memory"},
    {.of = THROUGHPUT, .id = "curve-throughput"},
    {.of = CROSSOVER, .id = "curve-crossover"},
    {.of = REPORT_ROOFLINE, .id = "roofline"},
    {.of = REPORT_STRATEGIES, .id = "strategies"},
    {.of = REPORT_STRATEGIES, .id = "strategies-step"},
    {.of = REPORT_STRATEGIES, .id = "strategies-memory"},
    {.of = REPORT_SHARES, .id = "prefix-shares"},
    {.of = REPORT_PREFIX, .id = "prefix-conversation"},
    {.of = REPORT_PLACEMENT, .id = "prefix-placement"},
    {.of = REPORT_TRACE, .id = "prefix"},
    {.of = REPORT_SNAPSHOT, .id = "snapshot"},
    {.of = REPORT_SPECULATE, .id = "speculate"},
    {.of = REPORT_SERVE, .id = "serve"},
    {.of = REPORT_PASSES, .id = "serve-passes"},
};
