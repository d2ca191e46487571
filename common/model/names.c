// What a model is called: by users, by messages, and by what belongs to its weights and no others.
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "common/model/checkpoint.h"
#include "common/model/model.h"

const char *model_default(void)
{
    return SOURCE_DIR "/common/models/shakespeare";
}

const char *model_label(const model *m)
{
    const size_t root = sizeof SOURCE_DIR "/" - 1;
    return strncmp(m->label, SOURCE_DIR "/", root) == 0 ? m->label + root : m->label;
}

status model_parse_weights(const char *text, model_weights *out)
{
    *out = text ? MODEL_Q8 : MODEL_AS_STORED;
    if (!text || strcmp(text, "q8") == 0)
        return NULL;
    return status_fail("'%.64s': give q8, or leave it out: as they are stored", text);
}

// Every key spelled out, so that two ways of naming the same weights have one digest.
static status digest_synthetic(const model *m, char hex[65])
{
    config c;
    uint64_t seed;
    char text[256];
    status s = config_parse_synthetic(m->name, &c, &seed);
    if (s)
        return s;
    int n = snprintf(text, sizeof text, "synthetic:L=%zu,C=%zu,H=%zu,F=%zu,V=%zu,T=%zu,seed=%llu",
                     c.L, c.C, c.H, c.F, c.V, c.T, (unsigned long long)seed);
    if (config_kv_heads(&c) != c.H)
        n += snprintf(text + n, sizeof text - (size_t)n, ",G=%zu", c.G);
    const element of = config_synthetic_element(m->name);
    if (of != ELEMENT_F32)
        n += snprintf(text + n, sizeof text - (size_t)n, ",dtype=%s",
                      of == ELEMENT_F16 ? "f16" : "bf16");
    SHA256Data((const uint8_t *)text, (size_t)n, hex);
    return NULL;
}

// What is computed depends on the weights as they are used.
static void digest_rounded(char hex[65])
{
    char text[80];
    const int n = snprintf(text, sizeof text, "q8 of %s", hex);
    SHA256Data((const uint8_t *)text, (size_t)n, hex);
}

status model_digest(const model *m, char hex[65])
{
    status s = m->synthetic ? digest_synthetic(m, hex) : checkpoint_digest(m->name, hex);
    if (!s && m->weights == MODEL_Q8)
        digest_rounded(hex);
    return s;
}
