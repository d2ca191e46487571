// How much of the machine this process may use: the limits of its control groups (cgroups, version
// 2 and 1), and the memory that is there.
#ifndef LOCKSTEP_QUOTA_H
#define LOCKSTEP_QUOTA_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

// Cores that a CPU quota allows (cpu.max, or cpu.cfs_quota_us): 0.3 is 30 ms in each 100 ms; the
// least of all groups that this process is in. 0: there is none, or the system does not say.
double quota_cores(void);

// How often a CPU quota has stopped this process's groups so far (nr_throttled of cpu.stat): only
// differences mean something. 0 where the system does not say.
uint64_t quota_throttled(void);

// The least memory limit of these groups in bytes (memory.max, or memory.limit_in_bytes); 0: none.
uint64_t quota_memory(void);

// Bytes that can be allocated now without swapping or being killed: MemAvailable (Linux), else
// physical memory, and no more than what the groups' limits leave; 0 if unknown.
uint64_t quota_memory_available(void);

// Refuses what needs more bytes than that; `what` is what messages call it.
status quota_check_memory(const char *what, size_t needed);

// For tests: /proc and what is mounted are looked for below this directory; "" is the system
// again.
void quota_look_below(const char *root);

#endif
