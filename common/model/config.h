// The seven numbers that make a GPT-2, and where they come from: config.json or the name of a
// synthetic model.
#ifndef LOCKSTEP_CONFIG_H
#define LOCKSTEP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

enum {
    CONFIG_LARGEST = 1 << 24
}; // of any one number: far beyond every GPT-2, an int, and products of two fit 64 bits

// The letters of the whole project (see notes/README.md).
typedef struct config {
    size_t L;  // layers (n_layer)
    size_t C;  // channels (n_embd)
    size_t H;  // heads (n_head), a divisor of C
    size_t F;  // channels inside the feed-forward network (n_inner), 4 C unless said
    size_t V;  // rows of wte: at least as many as the tokenizer has tokens
    size_t T;  // the longest context (n_positions)
    float eps; // layer_norm_epsilon
} config;

// D, the channels of one head.
static inline size_t config_head_size(const config *c)
{
    return c->C / c->H;
}

// Reads DIR/config.json as Hugging Face writes it (model_type gpt2). Keys that are absent have
// GPT2Config's defaults, and its aliases (hidden_size for n_embd, ...) are known. V is vocab_size
// here; the loader replaces it by wte's rows. Refuses, naming the file and the cure, what this
// GPT-2 does not compute (other activations, variants of attention) and values that are not whole
// numbers, zero, negative or beyond CONFIG_LARGEST.
status config_read(const char *dir, config *out);

// *untied: DIR/config.json says that the head has weights of its own.
status config_read_untied(const char *dir, bool *untied);

// Whether `name` is meant for config_parse_synthetic.
bool config_is_synthetic(const char *name);

// Reads "synthetic:124M" (355M, 774M, 1558M) or "synthetic:L=4,C=64,H=1,T=8192,V=256,F=256,seed=1".
// Every key may be left out (then it is that of 124M; F = 4 C; seed 0).
status config_parse_synthetic(const char *name, config *out, uint64_t *seed);

#endif
