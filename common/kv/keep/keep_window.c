// The keep window:W+S: row t sees the last W positions, its own among them, and the first S.
//
// Mistral 7B (Jiang et al. 2023) has such a window without sinks; Xiao et al. 2023 (StreamingLLM)
// found that a model falls apart when its first tokens are dropped, because attention that has
// nowhere to go is parked on them, and keep S = 4 of them. GPT-2 adds a position to each token
// before layer 1, so rows keep their positions here and a window does not lengthen the context; it
// bounds the memory and the time of a step.
//
// Exact at every layer: what has been dropped was computed under the same mask. A prompt's own rows
// see their own windows, so pages are dropped while a prompt is being computed, never before.
#include "common/base/size.h"
#include "common/kv/keep/keep.h"

// Rows behind the window that stay, so that drafts can be taken back without computing a window
// anew.
enum { SLACK = 32 };

// The first of the last W positions that row t sees.
static size_t window_start(const kv_spec *spec, size_t t)
{
    return t + 1 > spec->recent ? t + 1 - spec->recent : 0;
}

static visible see_window(const kv_spec *spec, size_t t)
{
    const size_t from = window_start(spec, t);
    if (from <= spec->sinks)
        return (visible){0, 0, t + 1};
    return (visible){spec->sinks, from, t + 1};
}

static size_t forget_behind(const kv_spec *spec, size_t t)
{
    const size_t from = window_start(spec, t);
    return from > SLACK ? from - SLACK : 0;
}

// Row t needs what it sees. Where a part of that is gone, the sinks are all there is left: go on
// behind them.
static size_t resume_window(const kv_spec *spec, size_t dropped, size_t t)
{
    return window_start(spec, t) >= dropped || dropped <= spec->sinks ? t
                                                                      : size_min(t, spec->sinks);
}

// The sinks and the window each begin and end within a page; the rows of one page are stored before
// the oldest page goes, and a group of kivi is whole before any of its pages does.
static size_t room_for_window(const kv_spec *spec, size_t P, size_t T)
{
    const size_t sinks = spec->sinks ? size_plus(spec->sinks, P) : 0;
    return size_min(T, size_plus(sinks, size_plus(spec->recent, SLACK + spec->group + 2 * P)));
}

const keep keep_window = {see_window, forget_behind, resume_window, room_for_window};
