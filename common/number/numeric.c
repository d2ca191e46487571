// Whether a program runs in the floating-point environment that the arithmetic contract needs.
#include "common/number/numeric.h"

#include <fenv.h>
#include <stdio.h>

// Volatile: the question is what the processor does, not what the compiler knows.
bool numeric_keeps_subnormals(void)
{
    volatile float smallest = FLT_TRUE_MIN, normal = FLT_MIN, half = 0.5f;
    return smallest > 0 && normal * half > 0;
}

status numeric_ready(const char *program)
{
    if (fegetround() != FE_TONEAREST)
        return status_fail("this program was started with a rounding mode other than to nearest, "
                           "so its bits would be "
                           "others': remove what changes the mode, such as a preloaded library");
    if (!numeric_keeps_subnormals())
        return status_fail(
            "this program was started with subnormal numbers flushed to zero, so its bits would be "
            "others': link it, and what it loads, without -ffast-math and -Ofast");
    if (!NUMERIC_HARDWARE_FMA)
        fprintf(stderr, "%s: no hardware FMA: slow\n", program);
    return NULL;
}
