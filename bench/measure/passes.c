// The three passes, each on a decoder of its own.
#include "bench/measure/passes.h"

#include <stdio.h>

#include "bench/base/contexts.h"
#include "bench/base/options.h"
#include "bench/subject/plugin.h"
#include "common/base/memory.h"

// Tokens that a pass is given.
static size_t given(pass which, size_t t)
{
    return which == PASS_PREFILL ? t : t + 1;
}

status passes_create(const model *m, const subject *naive, const subject *cached, size_t longest,
                     passes *out)
{
    *out = (passes){.m = m,
                    .by = {cached, naive, cached},
                    .tokens = memory_array(longest + 1, sizeof *out->tokens)};
    if (!out->tokens)
        return memory_failed("the tokens");
    for (size_t i = 0; i <= longest; i++)
        out->tokens[i] = fixed_token(i, m->config.V);
    status s = NULL;
    for (pass i = 0; i < PASSES && !s; i++)
        s = subject_create(out->by[i], m, given(i, longest), &out->of[i]);
    return s;
}

void passes_free(passes *p)
{
    for (pass i = 0; i < PASSES; i++)
        if (p->of[i])
            p->by[i]->api->destroy(p->of[i]);
    memory_free(p->tokens);
}

const char *passes_decoder(const passes *p, pass which)
{
    return p->by[which]->name;
}

const char *passes_name(const passes *p, pass which, size_t t, char text[PASS_NAME])
{
    snprintf(text, PASS_NAME, "%s %zu tokens (%s)",
             which == PASS_PREFILL ? "prefill of" : "step at", t, passes_decoder(p, which));
    return text;
}

status passes_prepare(passes *p, pass which, size_t t)
{
    const float *logits;
    const decoder_api *api = p->by[which]->api;
    if (which == PASS_PREFILL)
        api->reset(p->of[which]);
    return which == PASS_CACHED_STEP ? api->step(p->of[which], p->tokens, t, 1, &logits) : NULL;
}

status passes_run(passes *p, pass which, size_t t, observer *fn, void *user)
{
    const float *logits;
    const decoder_api *api = p->by[which]->api;
    if (fn && !api->observe)
        return status_fail("%s has no function `observe`: its stages cannot be seen "
                           "(common/decoder.h)",
                           p->by[which]->name);
    if (api->observe)
        api->observe(p->of[which], fn, user);
    status s = api->step(p->of[which], p->tokens, given(which, t), 1, &logits);
    if (api->observe)
        api->observe(p->of[which], NULL, NULL);
    return plugin_checked(s);
}

status passes_contexts(const model *m, const char *wanted, const size_t *usual, size_t **list,
                       size_t *n, int *exit_code)
{
    const size_t limit = m->config.T - 1;
    if (limit == 0)
        return status_fail(
            "%s: a context of one token leaves no step to look at; use another model",
            model_label(m));
    char text[128];
    for (size_t length = 0; *usual > 0; usual++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%zu",
                                   length == 0 ? "" : ",", *usual < limit ? *usual : limit);
    return wanted ? bench_options_contexts(wanted, limit, list, n, exit_code)
                  : contexts_parse(text, limit, list, n);
}

static status look_at_each(const model *m, const subject *naive, const subject *cached,
                           const size_t *contexts, size_t n, passes_look *look, void *user)
{
    passes p;
    status s = passes_create(m, naive, cached, contexts[n - 1], &p);
    for (size_t i = 0; i < n && !s; i++)
        s = look(&p, contexts[i], user);
    passes_free(&p);
    return s;
}

status passes_at_each(const bench_options *o, passes_look *look, void *user, int *exit_code)
{
    static const size_t usual[] = {64, 1000, 0};
    model *m = NULL;
    subjects of = {0};
    size_t *list = NULL, n = 0;
    status s = subjects_check_memory(o, &(subjects_need){.model = o->model,
                                                         .first = "naive",
                                                         .contexts = o->contexts,
                                                         .firsts = 1,
                                                         .others = 2});
    if (!s)
        s = model_load_as(o->model, o->weights, &m);
    if (!s)
        s = passes_contexts(m, o->contexts, usual, &list, &n, exit_code);
    if (!s)
        s = subjects_open_beside_naive(o, &of);
    for (size_t d = 1; !s && d < of.n; d++)
        s = look_at_each(m, &of.at[0], &of.at[d], list, n, look, user);
    subjects_free(&of);
    memory_free(list);
    model_free(m);
    return s;
}
