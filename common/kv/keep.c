// The list of keeps, and the plain one: every row sees every row before it, and nothing goes.
#include "common/kv/keep.h"

static visible see_all(const kv_spec *spec, size_t t)
{
    (void)spec;
    return (visible){0, 0, t + 1};
}

static size_t forget_nothing(const kv_spec *spec, size_t t)
{
    (void)spec, (void)t;
    return 0;
}

static size_t resume_anywhere(const kv_spec *spec, size_t dropped, size_t t)
{
    (void)spec, (void)dropped;
    return t;
}

static size_t room_for_all(const kv_spec *spec, size_t P, size_t T)
{
    (void)spec, (void)P;
    return T;
}

static const keep keep_all = {see_all, forget_nothing, resume_anywhere, room_for_all};

const keep *keep_of(const kv_spec *spec)
{
    static const keep *const keeps[] = {[KV_ALL] = &keep_all, [KV_WINDOW] = &keep_window};
    return keeps[spec->keep];
}
