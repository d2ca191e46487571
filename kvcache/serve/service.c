// Between the scheduler, which knows tokens, and the requests, which speak of text.
#include "kvcache/serve/service.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/quota.h"
#include "common/base/size.h"
#include "common/generate/ends.h"
#include "common/text/tokenizer.h"
#include "kvcache/answers.h"
#include "kvcache/prefix/prefix.h"

struct service {
    options o;
    model *m;
    tokenizer *t;
    ends ends;
    kv_spec spec;
    kv_pool *pool;
    schedule *s;
    char weights[ANSWERS_WEIGHTS]; // their digest, for --answers
};

struct job {
    service *v;
    request q;
    schedule_request r;
    sampler *sampler;
    int *ids; // (r.most)
    char *text;
    size_t bytes, room, generated, cached;
    const char *finish;
    bool added, refused, kept; // kept: its answer is to be
    char failure[SCHEDULE_MESSAGE];
    uint64_t begun, first, latest;
};

// ---- a service ----

static status check_options(const options *o)
{
    const char *how = o->serve ? "--serve" : "--requests";
    const struct {
        bool given;
        const char *name;
    } alone[] = {
        {o->serve && o->requests, "--requests"},
        {o->prompt != NULL, "a PROMPT"},
        {o->ids != NULL, "--ids"},
        {o->draft != NULL, "--draft"},
        {o->save_state != NULL, "--save-state"},
        {o->load_state != NULL, "--load-state"},
        {o->logits != NULL, "--logits"},
        {o->all_logits != NULL, "--all-logits"},
        {o->print_ids, "--print-ids"},
        {o->json, "--json"},
        {o->embed != NULL, "--embed"},
        {o->hidden != NULL, "--hidden"},
        {o->from_hidden != NULL, "--from-hidden"},
        {o->context_end.policy != CONTEXT_STOP, "--context-end"},
    };
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (alone[i].given)
            return status_fail("%s and %s do not go together: leave one of them out", how,
                               alone[i].name);
    if (config_is_synthetic(o->model))
        return status_fail("%s has no text: %s needs a model with a tokenizer", o->model, how);
    if (o->tokens == 0)
        return status_fail("--tokens 0 and %s do not go together: give 1 at least", how);
    return o->answers ? answers_check(o->answers) : NULL;
}

// Pages lie in the pool: in memory, and shared.
static status read_spec(service *v)
{
    status s = v->o.kv ? kv_parse(v->o.kv, &v->spec) : NULL;
    if (!s && (v->spec.keep == KV_HEAVY || v->spec.dir[0]))
        s = status_fail("--kv '%s': requests share their pages in memory, which heavy and file "
                        "cannot: leave them out",
                        v->o.kv);
    v->spec.page = size_max(SERVICE_PAGE, v->spec.group);
    return s;
}

// A budget of some whole contexts.
static status open_pool(service *v)
{
    const config *c = &v->m->config;
    prefix_options o = {.budget = size_times(SERVICE_CONTEXTS, prefix_budget(c, &v->spec, c->T))};
    status s = quota_check_memory("the prompt cache", o.budget);
    if (!s)
        s = prefix_preset_named("vllm", &o.preset);
    return s ? s : prefix_create(v->m, &v->spec, &o, &v->pool);
}

static status open_all(service *v)
{
    status s = check_options(&v->o);
    if (!s)
        s = model_load_as(v->o.model, v->o.weights, &v->m);
    if (!s)
        s = tokenizer_load_for(v->m, &v->t);
    if (!s)
        s = ends_read(v->o.model, tokenizer_end_of_text(v->t), &v->ends);
    if (!s)
        s = read_spec(v);
    if (!s)
        s = open_pool(v);
    if (!s && v->o.answers)
        s = answers_weigh(v->m, v->weights);
    if (s)
        return s;
    const schedule_options o = {
        .decoder = {.T_max = v->m->config.T, .kv = v->spec, .pool = v->pool},
        .rows = SERVICE_ROWS,
        .running = SERVICE_RUNNING};
    return schedule_create(v->m, &o, &v->s);
}

status service_open(const options *o, service **out)
{
    service *v = memory_array(1, sizeof *v);
    *out = NULL;
    if (!v)
        return memory_failed("the service");
    v->o = *o;
    status s = open_all(v);
    if (s)
        service_close(v);
    else
        *out = v;
    return s;
}

void service_close(service *v)
{
    if (!v)
        return;
    schedule_destroy(v->s);
    prefix_destroy(v->pool);
    tokenizer_free(v->t);
    model_free(v->m);
    memory_free(v);
}

const char *service_model(const service *v)
{
    return model_label(v->m);
}

status service_pass(service *v, size_t *left)
{
    status s = schedule_left(v->s) > 0 ? schedule_pass(v->s) : NULL;
    *left = schedule_left(v->s);
    return s;
}

// ---- the text of a job ----

// Where the first stop sequence begins in the text, of which the first `known` bytes hold none.
static size_t first_stop(const job *j, size_t known)
{
    size_t found = j->bytes;
    for (size_t i = 0; i < j->q.stops; i++) {
        const size_t n = strlen(j->q.stop[i]);
        for (size_t at = known >= n ? known - n + 1 : 0; at + n <= j->bytes && at < found; at++)
            if (memcmp(j->text + at, j->q.stop[i], n) == 0)
                found = at;
    }
    return found;
}

// How many bytes stay, whatever comes: an end that begins a stop sequence may go.
static size_t final_bytes(const job *j)
{
    size_t kept = j->bytes;
    for (size_t i = 0; i < j->q.stops; i++) {
        const size_t n = strlen(j->q.stop[i]);
        for (size_t at = j->bytes >= n ? j->bytes - n + 1 : 0; at < kept; at++)
            if (memcmp(j->text + at, j->q.stop[i], j->bytes - at) == 0)
                kept = at;
    }
    return kept;
}

static bool append(job *j, int id)
{
    size_t n;
    const char *bytes = tokenizer_decode(j->v->t, id, &n);
    if (j->bytes + n > j->room) {
        char *longer = memory_resize(j->text, 2 * (j->bytes + n), 1);
        if (!longer)
            return false;
        j->text = longer;
        j->room = 2 * (j->bytes + n);
    }
    if (n > 0)
        memcpy(j->text + j->bytes, bytes, n);
    j->bytes += n;
    return true;
}

static int give_up(job *j, status why)
{
    snprintf(j->failure, sizeof j->failure, "%s", why);
    return SCHEDULE_END;
}

// The next token of the text: its id, or SCHEDULE_END behind the last.
static int take(job *j, int id)
{
    const size_t known = j->bytes;
    j->latest = clock_ns();
    j->ids[j->r.prompt + j->generated] = id;
    if (j->generated++ == 0)
        j->first = j->latest;
    const bool end = !j->v->o.ignore_eos && ends_with(&j->v->ends, id);
    if (!end && !append(j, id))
        return give_up(j, memory_failed("a text"));
    const size_t stop = first_stop(j, known);
    if (end || stop < j->bytes)
        j->finish = "stop";
    j->bytes = stop;
    return j->finish ? SCHEDULE_END : id;
}

static int choose(void *of, const float *logits, size_t T)
{
    job *j = of;
    const int id = sampler_choose(j->sampler, logits, T);
    if (id < 0)
        return give_up(j, "the logits are not finite: the weights are too large for F32, use "
                          "another model");
    if (j->generated == 0)
        j->cached = j->r.cached;
    return take(j, id);
}

// ---- answers that are kept ----

static question question_of(const job *j)
{
    const service *v = j->v;
    return (question){.what = "request",
                      .space = j->q.user,
                      .m = v->m,
                      .weights = v->weights,
                      .spec = &v->spec,
                      .ids = j->ids,
                      .n = j->r.prompt,
                      .drawable = tokenizer_size(v->t),
                      .ends = v->o.ignore_eos ? NULL : &v->ends,
                      .how = j->q.how,
                      .tokens = j->r.most - j->r.prompt,
                      .context_end = "stop",
                      .stop = j->q.stop,
                      .stops = j->q.stops};
}

// Whether an answer is ids of tokens, no more of them than the text may have.
static bool is_answer(const job *j, const char *bytes, size_t n)
{
    const int *ids = (const int *)(const void *)bytes, end = (int)tokenizer_size(j->v->t);
    bool all = bytes && n > 0 && n % sizeof *ids == 0 && n / sizeof *ids <= j->r.most - j->r.prompt;
    for (size_t i = 0; all && i < n / sizeof *ids; i++)
        all = ids[i] >= 0 && ids[i] < end;
    return all;
}

// A job whose answer is found has ended: its ids make the text that they made before.
static bool find_answer(job *j)
{
    char *bytes;
    size_t n;
    j->r.prompt = j->r.T;
    j->kept = j->v->o.answers && (j->q.seeded || j->v->o.seeded || j->q.how.temperature <= 0);
    if (!j->kept)
        return false;
    const question q = question_of(j);
    status damaged = answers_find(j->v->o.answers, &q, &bytes, &n);
    if (damaged)
        fprintf(stderr, "kvcache: note: %s\n", damaged);
    const int *ids = (const int *)(const void *)bytes;
    j->kept = !is_answer(j, bytes, n);
    for (size_t i = 0; !j->kept && i < n / sizeof *ids; i++)
        take(j, ids[i]);
    j->cached = j->kept ? 0 : j->r.prompt;
    memory_free(bytes);
    return !j->kept;
}

static void keep_answer(const job *j)
{
    const question q = question_of(j);
    status failed =
        answers_keep(j->v->o.answers, &q, j->ids + j->r.prompt, j->generated * sizeof *j->ids);
    if (failed)
        fprintf(stderr, "kvcache: note: an answer was not kept: %s\n", failed);
}

// ---- jobs ----

static status too_long(job *j)
{
    j->q.param = j->q.chat ? "messages" : "prompt";
    j->q.code = "context_length_exceeded";
    return status_fail("the context of %s has %zu tokens, and there are %zu in the prompt and %zu "
                       "wanted: shorten one of them",
                       service_model(j->v), j->v->m->config.T, j->r.T,
                       size_max(1, j->q.max_tokens));
}

// Room for as many tokens as are wanted; where the request does not say, as the context allows.
static status make_room(job *j)
{
    const size_t context = j->v->m->config.T, T = j->r.T, wanted = size_max(1, j->q.max_tokens);
    if (T >= context || wanted > context - T)
        return too_long(j);
    j->r.most = T + (j->q.max_tokens ? wanted : size_min(j->v->o.tokens, context - T));
    int *ids = memory_resize(j->ids, j->r.most, sizeof *ids);
    if (!ids)
        return memory_failed("the token ids");
    j->r.ids = j->ids = ids;
    return sampler_create(&j->q.how, tokenizer_size(j->v->t), &j->sampler);
}

static status begin(job *j, const char *name, const char *text, size_t n, request_kind kind)
{
    service *v = j->v;
    status s = request_read(name, text, n, kind, service_model(v), &v->o.sampling, &j->q);
    if (!s)
        s = tokenizer_encode(v->t, j->q.text, j->q.bytes, &j->ids, &j->r.T);
    if (!s)
        s = make_room(j);
    if (s)
        return s;
    if (find_answer(j))
        return NULL;
    j->r.space = j->q.user;
    j->r.choose = choose;
    j->r.user = j;
    s = schedule_add(v->s, &j->r);
    j->added = !s;
    return s;
}

status service_add(service *v, const char *name, const char *text, size_t n, request_kind kind,
                   job **out)
{
    job *j = *out = memory_array(1, sizeof *j);
    if (!j)
        return memory_failed("a request");
    j->v = v;
    j->begun = clock_ns();
    status s = begin(j, name, text, n, kind);
    j->refused = s && !memory_is_short(s);
    if (s)
        give_up(j, s);
    return NULL;
}

void job_close(job *j)
{
    if (!j)
        return;
    if (j->added && j->kept && job_look(j).finish)
        keep_answer(j);
    if (j->added)
        schedule_cancel(j->v->s, &j->r);
    sampler_free(j->sampler);
    memory_free(j->text);
    memory_free(j->ids);
    request_free(&j->q);
    memory_free(j);
}

job_view job_look(const job *j)
{
    const bool done = !j->added || j->r.state == SCHEDULE_DONE;
    const char *failure = j->failure[0] ? j->failure : j->r.failure[0] ? j->r.failure : NULL;
    return (job_view){
        .request = &j->q,
        .text = j->text ? j->text : "",
        .bytes = j->bytes,
        .final = done ? j->bytes : final_bytes(j),
        .finish = !done || failure ? NULL
                  : j->finish      ? j->finish
                                   : "length",
        .failure = failure,
        .refused = j->refused,
        .prompt = j->r.prompt,
        .cached = j->cached,
        .generated = j->generated,
        .ttft_ns = j->first ? j->first - j->begun : 0,
        .latency_ns = j->latest ? j->latest - j->begun : 0,
    };
}
