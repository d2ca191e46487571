// Options that do not go together: each pair with the reason, before anything is read.
#include "common/generate/run/run.h"

// What this program cannot do at all.
static status check_program(const run *r)
{
    const generate_program *p = r->program;
    const options *o = &r->options;
    const char *name = r->api->name;
    if (o->draft && !p->speculates)
        return status_fail("--draft '%s': %s takes one token a pass: use build/kvcache", o->draft,
                           name);
    if ((o->save_state || o->load_state) && !p->states)
        return state_refuse(name, o->load_state ? "load" : "save");
    if (o->answers && !p->answers)
        return status_fail("--answers: %s computes everything anew: use build/kvcache", name);
    if (o->embed && !p->embeds)
        return status_fail("--embed: %s writes text alone: use build/kvcache", name);
    return NULL;
}

status run_check_options(run *r)
{
    const options *o = &r->options;
    const bool moves = o->context_end.policy != CONTEXT_STOP;
    static const char no_text[] = "an embedding is no text",
                      no_ids[] = "an answer is found by the prompt's ids, and rows have none",
                      fixed[] = "rows hold their positions, so none of them can move",
                      state[] = "a state belongs to a text that begins where the context does",
                      draft[] = "a draft follows a text that stays where it is";
    const struct {
        bool together;
        const char *a, *b, *why;
    } pairs[] = {
        {o->answers && o->logits, "--answers", "--logits", "an answer holds ids, not logits"},
        {o->answers && o->all_logits, "--answers", "--all-logits",
         "an answer holds ids, not logits"},
        {o->answers && o->save_state, "--answers", "--save-state",
         "an answer that is found leaves no rows to save"},
        {o->answers && o->load_state, "--answers", "--load-state",
         "an answer that is found needs no rows"},
        {o->answers && o->draft, "--answers", "--draft",
         "an answer does not hold what a draft counts"},
        {o->answers && o->from_hidden, "--answers", "--from-hidden", no_ids},
        {o->embed && o->draft, "--embed", "--draft", no_text},
        {o->embed && o->logits, "--embed", "--logits", no_text},
        {o->embed && o->all_logits, "--embed", "--all-logits", no_text},
        {o->embed && o->save_state, "--embed", "--save-state", no_text},
        {o->embed && o->load_state, "--embed", "--load-state",
         "it needs the last layer's rows of the whole prompt, and a state has keys and values"},
        {o->embed && o->print_ids, "--embed", "--print-ids", no_text},
        {o->embed && o->tokens != OPTIONS_TOKENS, "--embed", "--tokens", no_text},
        {o->embed && o->sampling.temperature > 0, "--embed", "--temperature", no_text},
        {o->embed && o->sampling.top_k > 0, "--embed", "--top-k", no_text},
        {o->embed && o->sampling.top_p < 1, "--embed", "--top-p", no_text},
        {o->embed && o->seeded, "--embed", "--seed", no_text},
        {o->embed && o->ignore_eos, "--embed", "--ignore-eos", no_text},
        {o->embed && moves, "--embed", "--context-end", no_text},
        {o->from_hidden && o->draft, "--from-hidden", "--draft",
         "a draft reads the prompt's ids, and rows have none"},
        {o->from_hidden && o->save_state, "--from-hidden", "--save-state",
         "a state is found by the prompt's ids, and rows have none"},
        {o->from_hidden && o->load_state, "--from-hidden", "--load-state",
         "a state is found by the prompt's ids, and rows have none"},
        {o->from_hidden && moves, "--from-hidden", "--context-end", fixed},
        {moves && o->draft, "--context-end", "--draft", draft},
        {moves && o->save_state, "--context-end", "--save-state", state},
        {moves && o->load_state, "--context-end", "--load-state", state},
    };
    status s = check_program(r);
    for (size_t i = 0; !s && i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].together)
            s = status_fail("%s and %s do not go together: %s: leave one of them out", pairs[i].a,
                            pairs[i].b, pairs[i].why);
    return s || !o->answers ? s : r->program->answers->check(o->answers);
}
