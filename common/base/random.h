// The one source of pseudorandom bits: splitmix64, the same on every machine.
#ifndef LOCKSTEP_RANDOM_H
#define LOCKSTEP_RANDOM_H

#include <stdint.h>

// The state's increment: 2^64 over the golden ratio, made odd.
static const uint64_t RANDOM_GAMMA = 0x9e3779b97f4a7c15u;

// The output of a generator in state x; its next state is x + RANDOM_GAMMA. From Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
// Vigna's public-domain splitmix64.c.
static inline uint64_t random_splitmix64(uint64_t x)
{
    uint64_t z = x + RANDOM_GAMMA;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
