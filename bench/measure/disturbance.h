// What else the machine did while something was measured.
#ifndef LOCKSTEP_BENCH_DISTURBANCE_H
#define LOCKSTEP_BENCH_DISTURBANCE_H

typedef struct disturbance {
    double switches;  // involuntary context switches of this process: another one wanted its core
    double steal_s;   // seconds that the host took from all cores of this machine; NaN where the
                      // system does not say
    double throttled; // how often a CPU quota has stopped this process (common/base/quota.h)
} disturbance;

// All of it, counted from some moment in the past: only differences mean something.
disturbance disturbance_so_far(void);

// What came to `since` until now.
disturbance disturbance_since(disturbance since);

// Warns on standard output if a CPU quota has stopped the program since then.
void disturbance_warn_throttled(disturbance since);

#endif
