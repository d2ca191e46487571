// The sampler: what may be chosen, how often, and that the choices are the same everywhere.
#include "common/generate/sampler.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/number/numeric.h"

enum { MOST = 64 };

static sampler *make(sampling how, size_t n)
{
    sampler *s;
    status failure = sampler_create(&how, n, &s);
    cr_assert_null(failure, "%s", failure);
    return s;
}

// Fills counts (n) with how often each id was drawn.
static void draw(sampling how, const float *logits, size_t n, size_t draws, size_t *counts)
{
    sampler *s = make(how, n);
    for (size_t i = 0; i < n; i++)
        counts[i] = 0;
    for (size_t i = 0; i < draws; i++) {
        int id = sampler_choose(s, logits, i);
        cr_assert(id >= 0 && (size_t)id < n, "draw %zu gave id %d of %zu", i, id, n);
        counts[id]++;
    }
    sampler_free(s);
}

// Each count within 5 standard deviations of its expectation under probabilities p.
static void expect_shares(sampling how, const float *logits, const double *p, size_t n)
{
    enum { DRAWS = 40000 };
    size_t counts[MOST];
    draw(how, logits, n, DRAWS, counts);
    for (size_t i = 0; i < n; i++) {
        double expected = DRAWS * p[i], allowed = 5 * sqrt(expected * (1 - p[i]));
        cr_assert(fabs((double)counts[i] - expected) <= allowed,
                  "id %zu: drawn %zu times, expected %.0f +- %.0f", i, counts[i], expected,
                  allowed);
    }
}

static int choose_once(sampling how, const float *logits, size_t n)
{
    sampler *s = make(how, n);
    int id = sampler_choose(s, logits, 0);
    sampler_free(s);
    return id;
}

Test(sampler, the_generator_is_splitmix64)
{
    const uint64_t published[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                  4593380528125082431u, 16408922859458223821u}; // from seed 1234567
    for (size_t i = 0; i < 5; i++) {
        uint64_t got = random_splitmix64(1234567 + i * RANDOM_GAMMA);
        cr_assert_eq(got, published[i], "output %zu is %llu", i, (unsigned long long)got);
    }
}

Test(sampler, greedy_takes_the_first_maximum)
{
    const sampling greedy = {.top_p = 1};
    cr_assert_eq(choose_once(greedy, (const float[]){1, 3, 2, 3}, 4), 1);
    cr_assert_eq(choose_once(greedy, (const float[]){-0.0f, 0.0f}, 2), 0);
    cr_assert_eq(choose_once(greedy, (const float[]){-FLT_MAX, FLT_MAX}, 2), 1);
    cr_assert_eq(choose_once(greedy, (const float[]){5}, 1), 0);
}

Test(sampler, ids_without_a_text_are_never_chosen)
{
    const float logits[] = {1, 2, 100, NAN}; // 2 and 3 are padding of the vocabulary
    cr_assert_eq(choose_once((sampling){.top_p = 1}, logits, 2), 1);
    size_t counts[2];
    draw((sampling){.temperature = 10, .top_p = 1}, logits, 2, 1000, counts);
    cr_assert(counts[0] > 0 && counts[1] > 0);
}

Test(sampler, logits_that_are_not_finite_are_no_basis_for_a_choice)
{
    for (float temperature = 0; temperature < 2; temperature++) {
        const sampling how = {.temperature = temperature, .top_p = 1};
        cr_assert_eq(choose_once(how, (const float[]){1, NAN, 2}, 3), -1);
        cr_assert_eq(choose_once(how, (const float[]){NAN, 1}, 2), -1);
        cr_assert_eq(choose_once(how, (const float[]){1, INFINITY}, 2), -1);
        cr_assert_eq(choose_once(how, (const float[]){-INFINITY, 1}, 2), -1);
    }
}

Test(sampler, shares_follow_the_logits)
{
    const float logits[] = {logf(1), logf(2), logf(3), logf(4)};
    expect_shares((sampling){.temperature = 1, .top_p = 1}, logits,
                  (const double[]){0.1, 0.2, 0.3, 0.4}, 4);
    const double halves[] = {1 / 30.0, 4 / 30.0, 9 / 30.0,
                             16 / 30.0}; // at temperature 1/2 weights are squared
    expect_shares((sampling){.temperature = 0.5f, .top_p = 1, .seed = 3}, logits, halves, 4);
}

Test(sampler, top_k_keeps_the_k_best_and_their_shares)
{
    const float logits[] = {logf(1), logf(4), logf(3), logf(2)};
    expect_shares((sampling){.temperature = 1, .top_k = 2, .top_p = 1}, logits,
                  (const double[]){0, 4 / 7.0, 3 / 7.0, 0}, 4);
    expect_shares((sampling){.temperature = 1, .top_k = 1, .top_p = 1}, logits,
                  (const double[]){0, 1, 0, 0}, 4);
    expect_shares((sampling){.temperature = 1, .top_k = 9, .top_p = 1}, logits,
                  (const double[]){0.1, 0.4, 0.3, 0.2}, 4);
}

Test(sampler, top_p_keeps_the_fewest_that_reach_it)
{
    const float logits[] = {logf(1), logf(4), logf(3), logf(2)};
    expect_shares((sampling){.temperature = 1, .top_p = 0.39f}, logits,
                  (const double[]){0, 1, 0, 0}, 4);
    expect_shares((sampling){.temperature = 1, .top_p = 0.5f}, logits,
                  (const double[]){0, 4 / 7.0, 3 / 7.0, 0}, 4);
    expect_shares((sampling){.temperature = 1, .top_p = 0.89f}, logits,
                  (const double[]){0, 4 / 9.0, 3 / 9.0, 2 / 9.0}, 4);
    expect_shares((sampling){.temperature = 1, .top_p = FLT_TRUE_MIN}, logits,
                  (const double[]){0, 1, 0, 0}, 4);
}

Test(sampler, top_p_measures_what_top_k_left)
{
    const float logits[] = {logf(1), logf(4), logf(3), logf(2)};
    // of the two best, 4/7 and 3/7, the first is enough for 0.55; of all four, 0.4 would not be
    expect_shares((sampling){.temperature = 1, .top_k = 2, .top_p = 0.55f}, logits,
                  (const double[]){0, 1, 0, 0}, 4);
}

// For every k: exactly the k best by (logit, lower id), among logits with many ties.
Test(sampler, ranking_breaks_ties_by_the_lower_id)
{
    enum { N = 23 };
    float logits[N];
    for (size_t i = 0; i < N; i++)
        logits[i] = (float)(random_splitmix64(i) % 5);
    for (size_t k = 1; k < N; k++) {
        size_t counts[N];
        draw((sampling){.temperature = 1e6f, .top_k = k, .top_p = 1}, logits, N, 3000, counts);
        for (size_t i = 0; i < N; i++) {
            size_t before = 0; // ids that rank above i
            for (size_t j = 0; j < N; j++)
                before += logits[j] > logits[i] || (j < i && logits[j] >= logits[i]);
            cr_assert_eq(counts[i] > 0, before < k,
                         "k = %zu: id %zu of rank %zu was drawn %zu times", k, i, before,
                         counts[i]);
        }
    }
}

Test(sampler, extreme_temperatures_do_no_harm)
{
    const float logits[] = {-FLT_MAX, FLT_MAX, 0, FLT_MAX};
    const double coldest[] = {0, 0.5, 0, 0.5}, hottest[] = {0.25, 0.25, 0.25, 0.25};
    expect_shares((sampling){.temperature = FLT_TRUE_MIN, .top_p = 1}, logits, coldest, 4);
    expect_shares((sampling){.temperature = FLT_TRUE_MIN, .top_p = 0.999f}, logits, coldest, 4);
    expect_shares((sampling){.temperature = FLT_MAX, .top_p = 1}, (const float[]){1, 2, 3, 4},
                  hottest, 4);
}

// The ids are what an independent implementation gave: Python, float64, sorted lists.
Test(sampler, choices_are_pinned)
{
    enum { N = 50, CHOICES = 16 };
    static const struct {
        sampling how;
        int ids[CHOICES];
    } pinned[] = {
        {{.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .seed = 0},
         {45, 2, 28, 21, 27, 8, 41, 27, 45, 0, 29, 29, 22, 27, 23, 27}},
        {{.temperature = 0.8f, .top_k = 0, .top_p = 0.9f, .seed = 1},
         {5, 8, 26, 4, 42, 28, 42, 23, 8, 27, 5, 29, 38, 15, 27, 22}},
        {{.temperature = 0.5f, .top_k = 10, .top_p = 1.0f, .seed = 2},
         {38, 28, 27, 28, 2, 5, 2, 27, 27, 16, 28, 16, 39, 8, 5, 27}},
        {{.temperature = 2.0f, .top_k = 20, .top_p = 0.7f, .seed = UINT64_MAX},
         {4, 28, 26, 38, 27, 28, 2, 2, 23, 39, 8, 4, 27, 38, 16, 38}},
    };
    float logits[N];
    for (size_t i = 0; i < N; i++)
        logits[i] = (float)(int)(random_splitmix64(1000 + i) >> 40) * 0x1p-22f;
    for (size_t p = 0; p < sizeof pinned / sizeof *pinned; p++) {
        sampler *s = make(pinned[p].how, N);
        for (size_t i = 0; i < CHOICES; i++) {
            int id = sampler_choose(s, logits, i);
            cr_expect_eq(id, pinned[p].ids[i], "setting %zu, choice %zu is %d, not %d", p, i, id,
                         pinned[p].ids[i]);
        }
        sampler_free(s);
    }
}

// Against libm over all sizes, and near 1, where the difference to 1 is all that counts.
Test(sampler, the_logarithm_is_right_to_the_last_digits)
{
    cr_assert_float_eq(numeric_log(1), 0, 0);
    for (size_t i = 0; i < 200000; i++) {
        const uint64_t h = random_splitmix64(i);
        const double u = (double)((h >> 11) + 1) * 0x1p-53, near = 1 - u * 0x1p-20,
                     small = u * ldexp(1, -(int)(h % 900)), of[] = {u, near, small};
        for (size_t j = 0; j < 3; j++)
            cr_assert(fabs(numeric_log(of[j]) - log(of[j])) <= 0x1p-49 * fabs(log(of[j])),
                      "ln %a is %a, not %a", of[j], numeric_log(of[j]), log(of[j]));
    }
}

// Pearson's chi-square of draws at one position over many seeds: 11 degrees of freedom, of which
// 31.26 is exceeded once in a thousand.
Test(sampler, over_seeds_the_shares_are_softmax)
{
    enum { N = 12, SEEDS = 60000 };
    float logits[N];
    double weight[N], total = 0, chi_square = 0;
    size_t counts[N] = {0};
    for (size_t i = 0; i < N; i++) {
        logits[i] = 0.3f * (float)i;
        total += weight[i] = exp((double)logits[i] / 0.9);
    }
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sampler *s = make((sampling){.temperature = 0.9f, .top_p = 1, .seed = seed}, N);
        counts[sampler_choose(s, logits, 17)]++;
        sampler_free(s);
    }
    for (size_t i = 0; i < N; i++) {
        const double expected = SEEDS * weight[i] / total, d = (double)counts[i] - expected;
        chi_square += d * d / expected;
    }
    cr_assert(chi_square < 31.26, "chi-square is %.2f", chi_square);
}

// Two races over the same hashes are won by the same id with chance
//
//     sum over i of 1 / (sum over j of max(p[j] / p[i], q[j] / q[i]))
//
// which is far above the chance of independent draws, sum of p q, and above that of one number for
// each position put through both cumulative distributions.
Test(sampler, two_models_draw_alike_where_they_agree)
{
    enum { N = 32, DRAWS = 40000 };
    float a[N], b[N];
    double p[N], q[N], chance = 0, same = 0;
    for (size_t i = 0; i < N; i++) {
        a[i] = (float)(random_splitmix64(i) >> 40) * 0x1p-22f;
        b[i] = a[i] + (float)(random_splitmix64(99 + i) >> 40) * 0x1p-24f;
        p[i] = exp((double)a[i]);
        q[i] = exp((double)b[i]);
    }
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t j = 0; j < N; j++)
            sum += fmax(p[j] / p[i], q[j] / q[i]);
        chance += 1 / sum;
    }
    sampler *s = make((sampling){.temperature = 1, .top_p = 1, .seed = 4}, N);
    for (size_t t = 0; t < DRAWS; t++)
        same += sampler_choose(s, a, t) == sampler_choose(s, b, t);
    sampler_free(s);
    cr_assert(chance > 0.7, "the two are not alike: %.3f", chance);
    cr_assert(fabs(same / DRAWS - chance) < 5 * sqrt(chance * (1 - chance) / DRAWS),
              "equal draws %.4f, expected %.4f", same / DRAWS, chance);
}

// What top-k and top-p leave races as it does among all: an id that wins among all and is kept wins
// among those kept.
Test(sampler, fewer_candidates_do_not_change_a_winner_that_stays)
{
    enum { N = 40 };
    float logits[N];
    size_t stayed = 0;
    for (size_t i = 0; i < N; i++)
        logits[i] = (float)(N - i) * 0.1f; // ids in the order of their ranks
    sampler *all = make((sampling){.temperature = 1, .top_p = 1, .seed = 6}, N),
            *best = make((sampling){.temperature = 1, .top_k = 9, .top_p = 1, .seed = 6}, N);
    for (size_t t = 0; t < 1000; t++) {
        const int id = sampler_choose(all, logits, t);
        if (id < 9) {
            stayed++;
            cr_assert_eq(sampler_choose(best, logits, t), id);
        }
    }
    cr_assert(stayed > 300);
    sampler_free(all);
    sampler_free(best);
}

Test(sampler, the_seed_alone_makes_the_difference)
{
    enum { N = 16 };
    float logits[N] = {0};
    int choices[3][N] = {0};
    for (size_t i = 0; i < 3; i++) {
        sampler *s = make((sampling){.temperature = 1, .top_p = 1, .seed = i == 2 ? 8 : 7}, N);
        for (size_t j = 0; j < N; j++)
            choices[i][j] = sampler_choose(s, logits, j);
        sampler_free(s);
    }
    cr_assert_arr_eq(choices[0], choices[1], sizeof choices[0]);
    cr_assert(memcmp(choices[0], choices[2], sizeof choices[0]) != 0,
              "seeds 7 and 8 give the same choices");
}

Test(sampler, a_failed_allocation_is_reported)
{
    for (size_t n = 1; n <= 3; n++) {
        sampler *s;
        memory_fail_at(n);
        status failure = sampler_create(&(sampling){.top_p = 1}, 4, &s);
        memory_fail_at(0);
        cr_assert_not_null(failure, "allocation %zu", n);
        cr_assert_null(s);
    }
}
