// The last signal, noted by the handler of each signal that asks for an end.
#include "bench/base/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked;
static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
enum { ENDING = sizeof ending / sizeof *ending };
static struct sigaction before[ENDING];

static void ask(int signal_number)
{
    asked = signal_number;
}

void interrupt_catch(void)
{
    struct sigaction once = {.sa_handler = ask, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&once.sa_mask);
    asked = 0;
    for (size_t i = 0; i < ENDING; i++) {
        sigaction(ending[i], &once, &before[i]);
        if (ending[i] == SIGHUP && before[i].sa_handler == SIG_IGN) // nohup
            sigaction(SIGHUP, &before[i], NULL);
    }
}

void interrupt_release(void)
{
    for (size_t i = 0; i < ENDING; i++)
        sigaction(ending[i], &before[i], NULL);
}

bool interrupt_asked(void)
{
    return asked != 0;
}

int interrupt_exit_code(void)
{
    return 128 + (int)asked;
}
