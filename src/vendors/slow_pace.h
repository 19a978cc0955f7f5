/* The pace of sources that are asked once in hours or days. They must not ask again because souk
 * was started again, so the time of the last page is in their cursor, and a failure is not tried
 * again within seconds. */
#ifndef SOUK_SOURCES_SLOW_PACE_H
#define SOUK_SOURCES_SLOW_PACE_H

#include "souk/source.h"

/* After the first failure; twice as long after each further one. */
#define SLOW_PACE_RETRY_NS (60 * NS_PER_S)

/** @return when to ask, by state->now's mono clock; 0 for at once. @kept_wall_s is when the last
 * page was kept (unix time in seconds; 0: never), @period_ns the time between two answers. */
static inline int64_t slow_pace__due_ns(const struct stream_state *state, int64_t kept_wall_s,
                                        int64_t period_ns) {
    if (state->poked) return 0;
    if (state->last_reply_mono_ns != 0) {
        int64_t wait_ns = period_ns;
        if (state->n_failures > 0) {
            wait_ns = SLOW_PACE_RETRY_NS;
            for (uint32_t i = 1; i < state->n_failures && wait_ns < period_ns; i++) wait_ns *= 2;
            if (wait_ns > period_ns) wait_ns = period_ns;
        }
        return state->last_reply_mono_ns + wait_ns;
    }
    int64_t left_ns = kept_wall_s * NS_PER_S + period_ns - state->now.wall_ns;
    /* More than a period is a clock that was wrong. */
    return left_ns <= 0 || left_ns > period_ns ? 0 : state->now.mono_ns + left_ns;
}

#endif
