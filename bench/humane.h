// Numbers with three digits and a unit, for people.
#ifndef LOCKSTEP_BENCH_HUMANE_H
#define LOCKSTEP_BENCH_HUMANE_H

enum { HUMANE = 16 }; // room that each of these needs

// "17.5 ms", "1.87 s", "640 ns". Returns text.
const char *humane_ns(double ns, char text[HUMANE]);

// "72.0 MiB", "512 B". Returns text.
const char *humane_bytes(double bytes, char text[HUMANE]);

#endif
