// The two parts of a step side by side, and three predictions of where they cross.
#include "bench/curves/crossover.h"

#include <math.h>
#include <stdio.h>

#include "bench/cost/cost.h"
#include "bench/curves/fit.h"

enum { CROSS_ATTENTION, CROSS_LINEAR };

status crossover_measure(lab *l, size_t which, size_t i, double *ns)
{
    size_t t = l->x[i], first = lab_first_row(l, which, t);
    ns[CROSS_LINEAR] = parts_linear_ns(lab_parts(l, which), first, t);
    return parts_attention_ns(lab_parts(l, which), first, t, &ns[CROSS_ATTENTION]);
}

double crossover_count(const lab *l, size_t metric, size_t which, size_t i)
{
    const config *c = &l->models[0]->config;
    size_t t = l->x[i], first = lab_first_row(l, which, t);
    return metric == CROSS_ATTENTION ? cost_attention(c, &l->of.at[which].kv, first, t + 1)
                                     : cost_linear(c, first, t + 1);
}

// ln(attention / linear) at x[i].
static double balance(const lab *l, size_t which, size_t i)
{
    return log(lab_estimate(l, CROSS_ATTENTION, which, i).median /
               lab_estimate(l, CROSS_LINEAR, which, i).median);
}

// The first place behind which attention overtakes; xs - 1 if it never does.
static size_t place_before_crossing(const lab *l, size_t which)
{
    size_t i = 0;
    while (i + 1 < l->xs && !(balance(l, which, i) <= 0 && balance(l, which, i + 1) > 0))
        i++;
    return i;
}

// The crossing that was measured: on straight lines between two places of a log-log plot.
static double measured_crossing(const lab *l, size_t which, size_t i)
{
    if (i + 1 == l->xs)
        return NAN;
    double here = balance(l, which, i), next = balance(l, which, i + 1), x = log((double)l->x[i]);
    return exp(x + (log((double)l->x[i + 1]) - x) * here / (here - next));
}

// Where the counts cross, if a multiply-add of attention takes `relative` times as long as one of
// the linear layers. Under a spec by which rows see less, it is looked for within the model's
// context; NaN: they do not cross there.
static double counted_crossing(const lab *l, size_t which, double relative)
{
    const config *c = &l->models[0]->config;
    const kv_spec *spec = &l->of.at[which].kv;
    size_t below = 0, above = c->T;
    if (spec->keep == KV_ALL)
        return cost_crossover(c, !lab_recomputes(l, which), relative) - 1;
    while (above - below > 1) {
        const size_t t = (below + above) / 2, first = lab_first_row(l, which, t);
        const bool crossed =
            relative * cost_attention(c, spec, first, t + 1) > cost_linear(c, first, t + 1);
        *(crossed ? &above : &below) = t;
    }
    return above < c->T ? (double)above : NAN;
}

// Predicted by the counts with the rates that both parts have at the place nearest to where the
// counts alone cross.
static double crossing_by_rates(const lab *l, size_t which)
{
    double counted = counted_crossing(l, which, 1), relative = 1;
    size_t nearest = 0;
    if (isnan(counted))
        return NAN;
    for (size_t i = 1; i < l->xs; i++)
        if (fabs(log((double)l->x[i] / counted)) < fabs(log((double)l->x[nearest] / counted)))
            nearest = i;
    for (size_t metric = CROSS_ATTENTION; metric <= CROSS_LINEAR; metric++) {
        double ns = lab_estimate(l, metric, which, nearest).median /
                    crossover_count(l, metric, which, nearest);
        relative = metric == CROSS_ATTENTION ? ns : relative / ns;
    }
    return counted_crossing(l, which, relative);
}

// The model of a part, fitted to all places but those at either side of the crossing.
static status fit_elsewhere(const lab *l, size_t metric, size_t which, size_t before,
                            fit_model *out)
{
    double x[CURVES_X], y[CURVES_X];
    size_t n = 0;
    for (size_t i = 0; i < l->xs; i++) {
        x[n] = (double)l->x[i];
        y[n] = lab_estimate(l, metric, which, i).median;
        n += i != before && i != before + 1;
    }
    return fit_physical(x, y, NULL, n, out);
}

static double model_at(const fit_model *m, double x)
{
    return m->coefficient[0].value + x * (m->coefficient[1].value + x * m->coefficient[2].value);
}

static bool is_below(const fit_model *a, const fit_model *b, double x)
{
    return model_at(a, x) < model_at(b, x);
}

// Predicted from all other places: there the models of both parts cross. Found by halving; NaN if
// there are too few, where they do not cross within the model's context, and where rows see less
// than all, since then a part is no parabola.
static status crossing_by_models(const lab *l, size_t which, size_t before, double *crossing)
{
    fit_model attention_model, linear_model;
    double lo = 1, hi = (double)l->models[0]->config.T;
    *crossing = NAN;
    if (l->rounds.whole == 0 || l->xs < FIT_TERMS + 3 || l->of.at[which].kv.keep != KV_ALL)
        return NULL;
    status failed = fit_elsewhere(l, CROSS_ATTENTION, which, before, &attention_model);
    if (!failed)
        failed = fit_elsewhere(l, CROSS_LINEAR, which, before, &linear_model);
    if (failed || !is_below(&attention_model, &linear_model, lo) ||
        is_below(&attention_model, &linear_model, hi))
        return failed;
    for (int i = 0; i < 60; i++) {
        double x = (lo + hi) / 2;
        *(is_below(&attention_model, &linear_model, x) ? &lo : &hi) = x;
    }
    *crossing = lo;
    return NULL;
}

// A number with its unit, or "-" where there is none.
static const char *known(double x, int digits, const char *unit, char text[32])
{
    if (isnan(x))
        return "-";
    snprintf(text, 32, "%.*f%s", digits, x, unit);
    return text;
}

status crossover_conclude(const lab *l, FILE *f)
{
    fprintf(f,
            "\nAttention overtakes the linear layers at this many tokens (counts: if all "
            "multiply-adds took as long;\n"
            "rates: with those measured near there; models: fitted to all places but the two "
            "around the crossing)\n\n"
            "  %-24s %10s %10s %10s %10s %14s\n",
            "", "counts", "rates", "models", "measured", "models off by");
    for (size_t d = 0; d < l->of.n; d++) {
        double by_models, measured = measured_crossing(l, d, place_before_crossing(l, d));
        char text[5][32];
        status failed = crossing_by_models(l, d, place_before_crossing(l, d), &by_models);
        if (failed)
            return failed;
        fprintf(f, "  %-24s %10s %10s %10s %10s %14s\n", l->of.at[d].name,
                known(counted_crossing(l, d, 1), 0, "", text[0]),
                known(crossing_by_rates(l, d), 0, "", text[1]), known(by_models, 0, "", text[2]),
                known(measured, 0, "", text[3]),
                known(100 * (by_models / measured - 1), 1, " %", text[4]));
    }
    return NULL;
}
