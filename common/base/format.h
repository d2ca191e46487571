// Numbers for people: three digits and a unit, or all digits in threes; and words in lines.
#ifndef LOCKSTEP_FORMAT_H
#define LOCKSTEP_FORMAT_H

#include <stdint.h>
#include <stdio.h>

enum { FORMAT_ROOM = 32 }; // room that each of these needs

// "17.5 ms", "1.87 s", "640 ns". Returns text.
const char *format_ns(double ns, char text[FORMAT_ROOM]);

// "72.0 MiB", "512 B". Returns text.
const char *format_bytes(double bytes, char text[FORMAT_ROOM]);

// "2,097,152". Returns text.
const char *format_whole(uint64_t n, char text[FORMAT_ROOM]);

// Prints `label`, a space and the words of `text` in lines of up to 80 columns, of which all but
// the first begin with `indent` spaces, at least 1.
void format_wrapped(FILE *f, const char *label, int indent, const char *text);

// Prints text as one word of a shell's line, quoted where it has to be.
void format_word(FILE *f, const char *text);

#endif
