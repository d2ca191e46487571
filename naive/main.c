// build/naive: generates text and recomputes every row at every step.
#include "common/text/generate.h"
#include "naive/naive.h"

int main(int argc, char **argv)
{
    return generate_main(&naive_decoder, argc, argv);
}
