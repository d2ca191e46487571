// Which forms there are: a further one is one more line.
#include "common/kv/spec.h"
#include "common/number/form.h"

const form *form_of(const kv_spec *spec)
{
    static const form *const forms[] = {
        [KV_F32] = &form_f32,     [KV_F16] = &form_f16,     [KV_BF16] = &form_bf16,
        [KV_FP8] = &form_fp8,     [KV_Q8] = &form_q8,       [KV_Q4] = &form_q4,
        [KV_KIVI4] = &form_kivi4, [KV_KIVI2] = &form_kivi2,
    };
    return forms[spec->form];
}
