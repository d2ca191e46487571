// The numbers that make a GPT-2, and where they come from: config.json or the name of a
// synthetic model.
#ifndef LOCKSTEP_CONFIG_H
#define LOCKSTEP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/number/panels.h"

enum {
    CONFIG_LARGEST = 1 << 24
}; // of any one number: far beyond every GPT-2, an int, and products of two fit 64 bits

// The letters of the whole project (see notes/README.md).
typedef struct config {
    size_t L;        // layers (n_layer)
    size_t C;        // channels (n_embd)
    size_t H;        // heads (n_head), a divisor of C
    size_t F;        // channels inside the feed-forward network (n_inner), 4 C unless said
    size_t V;        // rows of wte: at least as many as the tokenizer has tokens
    size_t T;        // the longest context (n_positions)
    float eps;       // layer_norm_epsilon
    size_t G;        // K/V heads, a divisor of H; 0 stands for H: each query head has its own
    bool transposed; // the file's linear layers are (out, in), as gpt_bigcode stores them
} config;

// D, the channels of one head.
static inline size_t config_head_size(const config *c)
{
    return c->C / c->H;
}

// K/V heads: query head h reads K/V head h G / H, rounded down.
static inline size_t config_kv_heads(const config *c)
{
    return c->G ? c->G : c->H;
}

// G D, the floats of one position's key, or value, in one layer.
static inline size_t config_kv_width(const config *c)
{
    return config_kv_heads(c) * config_head_size(c);
}

// Reads DIR/config.json as Hugging Face writes it (model_type gpt2, or
// gpt_bigcode with multi_query true: one K/V head). Keys that are absent have
// GPT2Config's defaults, and its aliases (hidden_size for n_embd, ...) are known. V is vocab_size
// here; the loader replaces it by wte's rows. Refuses, naming the file and the cure, what this
// GPT-2 does not compute (other activations, variants of attention) and values that are not whole
// numbers, zero, negative or beyond CONFIG_LARGEST.
status config_read(const char *dir, config *out);

// *untied: DIR/config.json says that the head has weights of its own.
status config_read_untied(const char *dir, bool *untied);

// All that what is computed depends on besides the weights: "L=12,C=768,...". Returns text.
enum { CONFIG_TEXT = 256 };
const char *config_text(const config *c, char text[CONFIG_TEXT]);

// Whether `name` is meant for config_parse_synthetic.
bool config_is_synthetic(const char *name);

// Reads "synthetic:124M" (355M, 774M, 1558M) or "synthetic:L=4,C=64,H=1,T=8192,V=256,F=256,seed=1";
// G=1 asks for one K/V head (G = H unless said).
// Every key may be left out (then it is that of 124M; F = 4 C; seed 0). With dtype=f16 or
// dtype=bf16 among them, or as in "synthetic:124M,dtype=bf16", the numbers are rounded to that.
status config_parse_synthetic(const char *name, config *out, uint64_t *seed);

// What the numbers of a name that config_parse_synthetic reads are rounded to.
element config_synthetic_element(const char *name);

#endif
