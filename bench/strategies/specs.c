// Which specs there are: a further one is one more line.
#include "bench/strategies/specs.h"

#include "common/kv/spec.h"

const char *const specs_usual[] = {"f16",
                                   "bf16",
                                   "fp8",
                                   "q8",
                                   "q4",
                                   "kivi4",
                                   "kivi2",
                                   "window:512+4",
                                   "window:256+4",
                                   "window:256",
                                   "window:64+4",
                                   "heavy:128+132",
                                   "heavy:32+36",
                                   "window:256+4,f16",
                                   "window:256+4,q4",
                                   "file:/var/tmp:1",
                                   NULL};

void specs_add(const char *const *list, bench_options *o, FILE *notes)
{
    for (; *list && o->subjects < OPTIONS_SUBJECTS; list++) {
        kv_spec spec;
        status unknown = kv_parse(*list, &spec);
        if (unknown)
            fprintf(notes, "note: %s is left out: %s\n", *list, unknown);
        else
            snprintf(o->subject[o->subjects++], OPTIONS_SUBJECT, "kvcache:%s", *list);
    }
}
