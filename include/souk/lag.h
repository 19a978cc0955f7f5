/* How far a stream of change ids is behind its head.
 *
 * A change id of psapi is a count for each shard, joined by '-'; each only grows. Their sum is a
 * clock of the upstream's progress: the head's sum less ours are the changes that we have not seen,
 * and divided by the rate at which the head's sum grows they are seconds. The head comes from the
 * trade site's change-ids, which is about five minutes ahead of what the river serves, so that a
 * stream at the end of the river lags by nothing, whatever the head says.
 * Source: 33 recorded cursor pairs of 2020 and two of 2026, in which all counts grow together.
 *
 * Pure functions. */
#ifndef SOUK_LAG_H
#define SOUK_LAG_H

#include "souk/core/slice.h"

#define LAG_SHARDS_MAX 16
#define LAG_SAMPLES 32
#define LAG_SAMPLE_NS (20 * INT64_C(1000000000)) /* Least time between two samples of a meter. */

/** Adds up the counts of the change id @id. @return false when it is none: not numbers joined by
 *  '-', more than LAG_SHARDS_MAX of them, or a sum beyond 63 bits. @n_shards may be NULL. */
bool lag__sum(struct slice id, uint64_t *sum, unsigned *n_shards);
/** Changes between @cursor and @head: the head's sum less ours, 0 when we are ahead of it. @return
 *  false when they cannot be compared: one is no change id, or the count of shards has changed. */
bool lag__changes(struct slice cursor, struct slice head, uint64_t *changes);
/** Finds the head of @realm in @heads, as the cursor of trade_data's change-ids has it:
 *  psapi=1-2-3,psapi-xbox=4-5. @return an empty slice when there is none. */
struct slice lag__head(struct slice heads, const char *realm);

/** The rate at which a change id grows, over the last minutes. Zeroed, it has seen nothing. */
struct lag_meter {
    struct lag_sample {
        int64_t mono_ns;
        uint64_t sum;
    } samples[LAG_SAMPLES]; /* A ring: the newest is samples[(n - 1) % LAG_SAMPLES]. */
    uint64_t n;
    unsigned n_shards;
};
/** Takes @id, seen at @mono_ns, as a sample, unless it comes sooner than LAG_SAMPLE_NS after the
 *  last. One that went back, or with another count of shards, starts anew; what is no change id is
 *  passed over. */
void lag_meter__see(struct lag_meter *m, int64_t mono_ns, struct slice id);
/** @return changes a second between the oldest sample, about LAG_SAMPLES * LAG_SAMPLE_NS ago, and
 *  the newest; 0 with fewer than two samples or no change. */
double lag_meter__rate(const struct lag_meter *m);

#define LAG_UNKNOWN (-1.0)
/** How far one stream is behind. Its owner embeds it; zeroed, nothing is known. */
struct lag {
    struct lag_meter meter;
    bool measured;     /* lag__measure was called; else what follows says nothing. */
    double changes;    /* LAG_UNKNOWN without a head to compare with. */
    double estimate_s; /* changes at the rate of the last minutes; LAG_UNKNOWN without a rate. */
};
/** Measures at @mono_ns a stream at @cursor whose head is @head, empty when it is not known.
 *  @caught_up: its last page was empty, so that it is behind by nothing. Call about once a second.
 */
void lag__measure(struct lag *l, int64_t mono_ns, bool caught_up, struct slice cursor,
                  struct slice head);

#endif
