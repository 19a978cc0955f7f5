/* How far a stream of change ids is behind its head.
 *
 * A change id of psapi is a count for each shard, joined by '-'; each only grows. Their sum is a
 * clock of the upstream's progress: the head's sum less ours are the changes that we have not seen,
 * and divided by the rate at which the head's sum grows they are seconds. The head comes from the
 * trade site's change-ids, asked about once a minute: between two answers it is moved on at the
 * rate of the last minutes. It is ahead of what the river serves, about five minutes; by how much
 * is seen at each end of the river, where the cursor is all that there is, and is taken off.
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
#define LAG_LEAD_NS (300 * INT64_C(1000000000)) /* Of the head, until an end has been met. */
#define LAG_LEAD_MAX_NS (1800 * INT64_C(1000000000))
#define LAG_END_NS (60 * INT64_C(1000000000)) /* How long the end of the river stays the end. */

/** What is known of a stream at one moment. Times are monotonic; 0: not in this run. */
struct lag_facts {
    struct slice cursor;
    int64_t end_mono_ns;  /* When it answered last, if that was an empty page, so that @cursor was
                             the end of the river then; else 0. */
    struct slice head;    /* Empty when it is not known. */
    int64_t head_mono_ns; /* When it was asked for. */
};
/** How far one stream is behind. Its owner embeds it; zeroed, nothing is known. */
struct lag {
    struct lag_meter meter;
    struct lag_end {
        int64_t mono_ns; /* 0: none was met. */
        uint64_t sum;
        unsigned n_shards;
        bool learned; /* lead_ns is of this end. */
    } end;
    bool has_lead;
    int64_t lead_ns;   /* How long before the river serves it change-ids names an id. */
    bool measured;     /* lag__measure was called; else what follows says nothing. */
    double changes;    /* LAG_UNKNOWN without a head to compare with. */
    double estimate_s; /* changes at the rate of the last minutes; LAG_UNKNOWN without a rate. */
};
/** Measures at @mono_ns. At an end that is not older than LAG_END_NS a stream is behind by nothing;
 *  else by what the river has served since by its head, its rate and its lead. Before there is a
 *  rate, by the head as it is, lead and all; and what is then not above 0, or is not with a lead
 *  that nobody has seen yet, is not known. Call about once a second. */
void lag__measure(struct lag *l, int64_t mono_ns, const struct lag_facts *facts);

#endif
