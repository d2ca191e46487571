// Numbers for people: three digits and a unit, or all digits in threes.
#ifndef LOCKSTEP_HUMANE_H
#define LOCKSTEP_HUMANE_H

#include <stdint.h>

enum { HUMANE = 32 }; // room that each of these needs

// "17.5 ms", "1.87 s", "640 ns". Returns text.
const char *humane_ns(double ns, char text[HUMANE]);

// "72.0 MiB", "512 B". Returns text.
const char *humane_bytes(double bytes, char text[HUMANE]);

// "2,097,152". Returns text.
const char *humane_whole(uint64_t n, char text[HUMANE]);

#endif
