/* What the best client could do, computed from the triples alone and with none of the governor's
 * code: send as soon as, in every window, fewer than `limit` requests are younger than (their reply
 * + period + counting bucket + 1 s), at most @inflight_max at a time and @gap_ns apart. */
#ifndef GOVERNOR_OPTIMUM_H
#define GOVERNOR_OPTIMUM_H

#include <stddef.h>
#include <stdint.h>

#define OPTIMUM_WINDOWS_MAX 12

struct optimum {
    struct {
        uint32_t limit;
        int64_t span_ns; /* Period + bucket + 1 s. */
    } windows[OPTIMUM_WINDOWS_MAX];
    size_t n_windows;
    int64_t gap_ns;
    uint32_t inflight_max;
};

/** Adds the windows of a rule, e.g. "2:1:60,30:60:300": a bucket of 5 s for the first, 60 s for the
 *  others. */
void optimum__add(struct optimum *o, const char *triples);
/** @return how long @n requests take that all wait from the start, each with a round trip of @rtt_ns,
 *  until the last reply. */
int64_t optimum__total_ns(const struct optimum *o, size_t n, int64_t rtt_ns);
/** @return when request @k of those sent could have gone at the earliest, by the times at which the
 *  ones before it were sent and answered; @spare of each window's tokens stay unused (1 of 25 by
 *  default). Not before @asked_ns. */
int64_t optimum__eligible_ns(const struct optimum *o, const int64_t *sent_ns,
                             const int64_t *replied_ns, size_t k, int64_t asked_ns, double spare);

#endif
