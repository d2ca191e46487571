// One flag, set by the handler of SIGINT.
#include "bench/base/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked;
static struct sigaction before;

static void ask(int signal_number)
{
    (void)signal_number;
    asked = 1;
}

void interrupt_catch(void)
{
    struct sigaction once = {.sa_handler = ask, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&once.sa_mask);
    asked = 0;
    sigaction(SIGINT, &once, &before);
}

void interrupt_release(void)
{
    sigaction(SIGINT, &before, NULL);
}

bool interrupt_asked(void)
{
    return asked != 0;
}
