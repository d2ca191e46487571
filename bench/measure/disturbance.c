// getrusage counts the switches, Linux's /proc/stat the stolen time.
#include "bench/measure/disturbance.h"

#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/quota.h"

// The eighth number of the line "cpu ...", in ticks (proc_stat(5)).
static double stolen_s(void)
{
    double ticks = NAN;
    FILE *f = fopen("/proc/stat", "r");
    if (!f)
        return NAN;
    if (fscanf(f, "cpu %*s %*s %*s %*s %*s %*s %*s %lf", &ticks) != 1)
        ticks = NAN;
    fclose(f);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

disturbance disturbance_so_far(void)
{
    struct rusage used = {0};
    getrusage(RUSAGE_SELF, &used);
    return (disturbance){.switches = (double)used.ru_nivcsw,
                         .steal_s = stolen_s(),
                         .throttled = (double)quota_throttled()};
}

disturbance disturbance_since(disturbance since)
{
    disturbance now = disturbance_so_far();
    return (disturbance){now.switches - since.switches, now.steal_s - since.steal_s,
                         now.throttled - since.throttled};
}

void disturbance_warn_throttled(disturbance since)
{
    const disturbance own = disturbance_since(since);
    if (own.throttled > 0)
        printf(
            "\nWARNING: the CPU quota throttled the program %.0f times meanwhile: times are longer "
            "than this machine's. Measure again without a quota (cpu.max).\n",
            own.throttled);
}
