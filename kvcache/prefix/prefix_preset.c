// The table of presets.
#include "kvcache/prefix/prefix_preset.h"

#include <stdio.h>
#include <string.h>

static const prefix_preset presets[] = {
    {.name = "own"},
    // Platform guide "Prompt caching" of OpenAI, before GPT-5.6: from 1024 tokens on, in steps of
    // 128, kept for 5 to 10 minutes without use, for an hour at most.
    {.name = "openai",
     .smallest = 1024,
     .step = 128,
     .page = 128,
     .idle_s = 600,
     .absolute_s = 3600},
    // The same guide, from GPT-5.6 on: breakpoints, of which the prompt's end is one where none is
    // set, and at least 30 minutes.
    {.name = "openai-breakpoints",
     .smallest = 1024,
     .marked = true,
     .implicit = true,
     .page = 16,
     .idle_s = 1800},
    // Anthropic's guide: cache_control on up to four blocks, 5 minutes, refreshed by each hit. The
    // smallest prompt depends on the model there; this is the one of most.
    {.name = "anthropic", .smallest = 1024, .marked = true, .page = 16, .idle_s = 300},
    // vLLM's automatic prefix caching: full blocks of 16.
    {.name = "vllm", .smallest = 16, .step = 16, .page = 16},
};
enum { PRESETS = sizeof presets / sizeof *presets };

const prefix_preset *prefix_preset_at(size_t i)
{
    return i < PRESETS ? &presets[i] : NULL;
}

status prefix_preset_named(const char *name, prefix_preset *out)
{
    for (size_t i = 0; i < PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0) {
            *out = presets[i];
            return NULL;
        }
    return status_fail("there is no preset '%s': use own, openai, openai-breakpoints, anthropic or "
                       "vllm",
                       name);
}

size_t prefix_preset_admits(const prefix_preset *p, size_t m, const size_t *breakpoints, size_t n)
{
    size_t most = m;
    if (p->marked && (n > 0 || !p->implicit))
        for (most = 0; n > 0 && most == 0; n--)
            most = breakpoints[n - 1] <= m ? breakpoints[n - 1] : 0;
    if (most < p->smallest)
        return 0;
    return p->step > 0 ? most - (most - p->smallest) % p->step : most;
}

size_t prefix_preset_stores(const prefix_preset *p, size_t T, const size_t *breakpoints, size_t n)
{
    if (!p->marked || (n == 0 && p->implicit))
        return T;
    const size_t last = n > 0 ? breakpoints[n - 1] : 0;
    return last < p->smallest ? 0 : last < T ? last : T;
}

const char *prefix_preset_fields(const prefix_preset *p, size_t T, size_t cached, size_t written,
                                 char text[PREFIX_FIELDS])
{
    if (strcmp(p->name, "anthropic") == 0)
        snprintf(text, PREFIX_FIELDS,
                 "{\"cache_creation_input_tokens\": %zu, \"cache_read_input_tokens\": %zu, "
                 "\"input_tokens\": %zu}",
                 written, cached, T - cached - written);
    else if (strcmp(p->name, "openai-breakpoints") == 0)
        snprintf(text, PREFIX_FIELDS,
                 "{\"prompt_tokens\": %zu, \"prompt_tokens_details\": {\"cached_tokens\": %zu, "
                 "\"cache_write_tokens\": %zu}}",
                 T, cached, written);
    else if (strcmp(p->name, "openai") == 0)
        snprintf(text, PREFIX_FIELDS,
                 "{\"prompt_tokens\": %zu, \"prompt_tokens_details\": {\"cached_tokens\": %zu}}", T,
                 cached);
    else
        snprintf(text, PREFIX_FIELDS, "{\"prompt_tokens\": %zu, \"cached_tokens\": %zu}", T,
                 cached);
    return text;
}
