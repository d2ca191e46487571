// The list of keeps, and the plain one: every row sees every row before it, and nothing goes.
#include "common/kv/keep/keep.h"

#include "common/base/size.h"

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

// heavy:R+H: how many positions row t sees, R + H and its own. Which ones, heavy.c finds out as it
// goes, head by head; here they are the last.
static visible see_as_many(const kv_spec *spec, size_t t)
{
    const size_t n = size_min(t, size_plus(spec->recent, spec->heavy));
    return (visible){0, t - n, t + 1};
}

const keep keep_heavy = {see_as_many, forget_nothing, resume_anywhere, room_for_all};

const keep *keep_of(const kv_spec *spec)
{
    static const keep *const keeps[] = {
        [KV_ALL] = &keep_all, [KV_WINDOW] = &keep_window, [KV_HEAVY] = &keep_heavy};
    return keeps[spec->keep];
}
