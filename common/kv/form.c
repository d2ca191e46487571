// The list of forms, and the plain one.
#include "common/kv/form.h"

#include <string.h>

static size_t write_f32(const float *from, size_t n, void *to)
{
    memcpy(to, from, n * sizeof *from);
    return n;
}

static void read_f32(const void *from, size_t n, float *to)
{
    memcpy(to, from, n * sizeof *to);
}

static const form form_f32 = {"f32", sizeof(float), ELEMENT_F32, write_f32, read_f32};

const form *form_of(const kv_spec *spec)
{
    static const form *const forms[] = {[KV_F32] = &form_f32, [KV_F16] = &form_f16};
    return forms[spec->form];
}
