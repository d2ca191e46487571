// build/naive: generates text and recomputes every row at every step.
#include "common/generate/generate.h"
#include "naive/naive.h"

int main(int argc, char **argv)
{
    const generate_program program = {.decoder = &naive_decoder, .layers = 1};
    return generate_main(&program, argc, argv);
}
