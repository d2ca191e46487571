// Numbers for people: three digits and a unit, or all digits in threes.
#ifndef LOCKSTEP_FORMAT_H
#define LOCKSTEP_FORMAT_H

#include <stdint.h>

enum { FORMAT_ROOM = 32 }; // room that each of these needs

// "17.5 ms", "1.87 s", "640 ns". Returns text.
const char *format_ns(double ns, char text[FORMAT_ROOM]);

// "72.0 MiB", "512 B". Returns text.
const char *format_bytes(double bytes, char text[FORMAT_ROOM]);

// "2,097,152". Returns text.
const char *format_whole(uint64_t n, char text[FORMAT_ROOM]);

#endif
