// What else the machine did while something was measured.
#ifndef LOCKSTEP_BENCH_DISTURBANCE_H
#define LOCKSTEP_BENCH_DISTURBANCE_H

typedef struct disturbance {
    double switches; // involuntary context switches of this process: another one wanted its core
    double steal_s;  // seconds that the host took from all cores of this machine; NaN where the
                     // system does not say
} disturbance;

// Both, counted from some moment in the past: only differences mean something.
disturbance disturbance_so_far(void);

// What came to `since` until now.
disturbance disturbance_since(disturbance since);

#endif
