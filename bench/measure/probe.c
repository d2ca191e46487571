// The probes of roofline: plain C loops that do nothing but multiply-adds, or nothing but reading.
#include "bench/measure/probe.h"

#include <stdint.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/math/kernel.h"
#include "common/math/rowops.h"
#include "common/number/numeric.h"

// With constant arguments: what depends on them is settled at compile time.
#define INLINE static inline __attribute__((always_inline))

static volatile float sink; // takes every result, so that no loop is dropped for being useless

// n steps of `chains` independent chains of 16 lanes, which stay in registers. A multiply-add takes
// about 4 cycles and a core has two units for them: it takes 8 or more registers' worth of chains
// to keep both busy, and there are 16 or 32 registers.
INLINE void fma_chains(const size_t chains, size_t n)
{
    static volatile float factor = 0.999f, term = 0.001f; // volatile: not known to the compiler
    const float a = factor, b = term;
    float chain[16][LANES] = {{0}};
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < chains; c++)
#pragma omp simd
            for (size_t j = 0; j < LANES; j++)
                chain[c][j] = numeric_fma(chain[c][j], a, b);
    float sum = 0;
    for (size_t c = 0; c < chains; c++)
        for (size_t j = 0; j < LANES; j++)
            sum += chain[c][j];
    sink = sum;
}

static void fma_5(size_t n)
{
    fma_chains(5, n);
}

static void fma_6(size_t n)
{
    fma_chains(6, n);
}

static void fma_10(size_t n)
{
    fma_chains(10, n);
}

static void fma_12(size_t n)
{
    fma_chains(12, n);
}

enum {
    TILE_N = 24,
    TILE_K = 96,
    TILE_B = 4
}; // rows, depth and panels of a product that fits the first-level cache

static void fma_tile(size_t n)
{
    _Alignas(CACHE_LINE) static float a[TILE_N][TILE_K + LANES], b[TILE_B][TILE_K][LANES],
        y[TILE_N][(TILE_B + 1) * LANES];
    const panels right = {.at = b[0][0], .stride = TILE_K * LANES, .count = TILE_B};
    for (size_t i = 0; i < n; i++)
        kernel_product(TILE_N, TILE_K, a[0], TILE_K + LANES, right, y[0], (TILE_B + 1) * LANES,
                       NULL, false);
    sink = y[0][0];
}

static const struct {
    const char *name;
    void (*run)(size_t n);
    double multiply_adds; // for each of the n
} fma_probes[PROBES_FMA] = {
    {"5 chains of 16 lanes", fma_5, 5 * LANES},
    {"6 chains of 16 lanes", fma_6, 6 * LANES},
    {"10 chains of 16 lanes", fma_10, 10 * LANES},
    {"12 chains of 16 lanes", fma_12, 12 * LANES},
    {"the decoders' tile in L1", fma_tile, TILE_N *TILE_K *TILE_B *LANES},
};

const char *probe_fma_name(size_t i)
{
    return fma_probes[i].name;
}

double probe_fma(size_t i)
{
    const uint64_t long_enough_ns = 10000000;
    uint64_t ns = 0;
    size_t n = 1;
    while (ns < long_enough_ns) { // the rounds before the last bring clock and caches up
        n *= 2;
        uint64_t begin = clock_ns();
        fma_probes[i].run(n);
        ns = clock_ns() - begin;
    }
    return 2 * fma_probes[i].multiply_adds * (double)n / ((double)ns * 1e-9);
}

double probe_fma_best(void)
{
    double best = 0;
    for (size_t i = 0; i < PROBES_FMA; i++) {
        double rate = probe_fma(i);
        best = rate > best ? rate : best;
    }
    return best;
}

// Sums the block read as `streams` parts side by side, with 64 sums in flight. `ahead`: floats to
// prefetch ahead, 0 for none.
INLINE void read_streams(const size_t streams, const size_t ahead, const float *block, size_t n)
{
    const size_t part = n / streams, width = 64 / streams;
    float sum[64] = {0};
    for (size_t i = 0; i < part; i += width)
        for (size_t s = 0; s < streams; s++) {
            const float *at = block + s * part + i;
            for (size_t line = 0; ahead > 0 && line < width; line += LANES)
                __builtin_prefetch(at + line + ahead);
#pragma omp simd
            for (size_t j = 0; j < width; j++)
                sum[s * width + j] += at[j];
        }
    for (size_t j = 1; j < 64; j++)
        sum[0] += sum[j];
    sink = sum[0];
}

static void read_1(const float *block, size_t n)
{
    read_streams(1, 0, block, n);
}

static void read_2(const float *block, size_t n)
{
    read_streams(2, 0, block, n);
}

static void read_4(const float *block, size_t n)
{
    read_streams(4, 0, block, n);
}

static void read_1_ahead(const float *block, size_t n)
{
    read_streams(1, 4096, block, n);
}

static void read_2_ahead(const float *block, size_t n)
{
    read_streams(2, 1024, block, n);
}

enum {
    ROW_K = 512,
    ROW_N = 512,
    UNIT = ROW_K * ROW_N
}; // floats of one matrix, 1 MiB: a block is a whole number of them

// What a step does with the weights: one row times one matrix after another.
static void read_row(const float *block, size_t n)
{
    _Alignas(CACHE_LINE) static float x[ROW_K], y[ROW_N];
    const rows from = {.at = x, .n = ROW_K, .stride = ROW_K};
    rows to = {.at = y, .n = ROW_N, .stride = ROW_N};
    for (size_t at = 0; at < n; at += UNIT)
        rowops_linear(&(linear){.panels = block + at, .K = ROW_K, .N = ROW_N}, &from, &to, 1);
    sink = y[0];
}

static const struct {
    const char *name;
    void (*run)(const float *block, size_t n);
} read_probes[PROBES_READ] = {
    {"1 stream", read_1},
    {"2 streams", read_2},
    {"4 streams", read_4},
    {"1 stream, prefetched", read_1_ahead},
    {"2 streams, prefetched", read_2_ahead},
    {"one row times panels", read_row},
};

const char *probe_read_name(size_t i)
{
    return read_probes[i].name;
}

double probe_read(size_t i, const probe_block *block)
{
    uint64_t begin = clock_ns();
    read_probes[i].run(block->at, block->n);
    return (double)(block->n * sizeof *block->at) / ((double)(clock_ns() - begin) * 1e-9);
}

double probe_read_again(const probe_block *block, size_t bytes)
{
    const size_t n = bytes / sizeof *block->at / 64 * 64,
                 times = ((size_t)64 << 20) / bytes + 1; // a millisecond or so
    double best = 0;
    for (size_t i = 0; i < PROBES_READ; i++) {
        if (read_probes[i].run == read_row) // reads whole MiB
            continue;
        read_probes[i].run(block->at, n);
        const uint64_t begin = clock_ns();
        for (size_t k = 0; k < times; k++)
            read_probes[i].run(block->at, n);
        const double rate =
            (double)(times * n * sizeof *block->at) / ((double)(clock_ns() - begin) * 1e-9);
        best = rate > best ? rate : best;
    }
    return best;
}

status probe_block_create(size_t bytes, probe_block *out)
{
    const size_t unit = UNIT * sizeof *out->at, most = (size_t)1 << 30;
    bytes = bytes < most ? (bytes + unit - 1) / unit * unit : most;
    *out = (probe_block){.at = memory_block(bytes), .n = bytes / sizeof *out->at};
    if (!out->at)
        return memory_failed("the bandwidth probe");
    memset(out->at, 0x3c, bytes); // numbers near 0.01, and every page a page of its own
    return NULL;
}

void probe_block_free(probe_block *block)
{
    memory_free(block->at);
    *block = (probe_block){0};
}
