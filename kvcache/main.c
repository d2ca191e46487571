// build/kvcache: generates text and computes only the rows it has not seen.
#include "common/text/generate.h"
#include "kvcache/kvcache.h"

int main(int argc, char **argv)
{
    return generate_main(&kvcache_decoder, argc, argv);
}
