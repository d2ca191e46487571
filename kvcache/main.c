// build/kvcache: generates text and computes only the rows it has not seen.
#include "common/generate/generate.h"
#include "kvcache/answers.h"
#include "kvcache/embed.h"
#include "kvcache/kvcache.h"
#include "kvcache/serve/serve.h"
#include "kvcache/snapshot/snapshot.h"
#include "kvcache/speculate.h"

int main(int argc, char **argv)
{
    const generate_program program = {.decoder = &kvcache_decoder,
                                      .speculates = &speculate,
                                      .states = &snapshot,
                                      .serves = serve,
                                      .answers = &answers,
                                      .embeds = embed};
    return generate_main(&program, argc, argv);
}
