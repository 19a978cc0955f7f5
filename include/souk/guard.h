/* Guard: watches freshness, throttling, the store and the spool, and raises alerts about them.
 *
 * Pure rules over facts that the wiring passes: once a second those of the store, the spool and the
 * clock, and those of each stream that has changed or is due. Times come from the clock.
 * A condition ends when it was good for GUARD_HEALTHY evaluations in a row, so that a source at the
 * edge does not flap. Ages are monotonic: a wall clock that jumps makes nothing stale or fresh.
 *
 * class        raised                                                        labels
 * drift        no successful answer for amber_s (warning), red_s (critical)   source, stream
 * throttled    the endpoint is blocked by the upstream (warning)              source, stream
 * disabled     the source was switched off by errors (critical); ends with    source, stream
 *              an answer that proves it over, not when asking becomes due
 * rewind       the cursor went backwards; the source is frozen (critical)     source, stream
 * unavailable  the upstream does not give it; another way stands in (warning) source, stream
 * store_away   ClickHouse away, silent or refusing for 5 s (warning), 60 s    -
 *              (critical)
 * spool        80 % full (warning), full, failed or stuck for 10 s (critical) -
 * clock        the machine's clock contradicts servers by 5 s (warning)        -
 * rows_held    rows wait, as their times would make ClickHouse drop them
 *              (critical)                                                      -
 * log_damaged  the start found a part of the log damaged or gone (critical);  -
 *              ends when somebody acknowledges it, in this run or a later one
 * imbalance    rows that came in are not accounted for, at GUARD_UNBALANCED   -
 *              evaluations in a row (critical) */
#ifndef SOUK_GUARD_H
#define SOUK_GUARD_H

#include "souk/alerts.h"

#define GUARD_SOURCES_MAX 256
#define GUARD_HEALTHY 3
#define GUARD_UNBALANCED 3

enum guard_level { GUARD_GREEN, GUARD_AMBER, GUARD_RED };

/** One stream of a source. Ages are judged by the monotonic times; those in wall ms UTC are for
 *  people. 0: never. Texts are borrowed for the call. */
struct guard_source {
    const char *name;        /* psapi */
    const char *stream;      /* Its key; (name, stream) is unique and stable. */
    bool enabled;            /* The operator wants it to run; else it is green and not judged. */
    int64_t started_mono_ns; /* Of the process: the age of what never succeeded counts from it. */
    int64_t last_success_mono_ns; /* In this run: any good answer, also an empty one. */
    int64_t last_success_ms;      /* The same. */
    int64_t last_new_ms;          /* New data. */
    int64_t last_advance_ms;      /* The cursor moved. */
    double amber_s, red_s;        /* Age of last_success at which it is amber, red. 0: 20 and 60. */
    bool caught_up;
    bool throttled;              /* The upstream blocks us (429, restriction, Retry-After). */
    int64_t blocked_until_ms;    /* 0: unknown. */
    const char *disabled_reason; /* Not "" nor NULL: switched off by errors, or was, and nothing has
                                    proven since that it is over; and why. */
    int64_t again_ms;            /* Of disabled: when it is asked again by itself; 0: a person has
                                    to let it. */
    const char *advice;          /* Of disabled: what to do, in place of the usual. May be NULL. */
    const char *awaits;          /* Not "" nor NULL: it may not ask before somebody else's permit
                                    ends, and what the governor says of that. */
    const char *halted;          /* Not "" nor NULL: somebody paused or killed it, and why. */
    bool rewound;                /* Frozen because its cursor went backwards. */
    bool unavailable;    /* The upstream says that it does not give this: no drift until it does. */
    const char *instead; /* Where rows come from then, as "derived from the tape": an alert says so.
                            NULL: unavailable is a normal state. */
    const char *why;     /* Of unavailable: what the upstream said. May be NULL. */
};

struct guard_store {
    bool connected;
    const char *text;        /* What is true of it, as "ClickHouse is away"; NULL: that. */
    int64_t since_mono_ns;   /* When connected last changed (or the start). */
    int64_t since_ms;        /* The same. */
    const char *last_error;  /* May be NULL. */
    double rows_per_s;       /* Acknowledged lately, for the summary; negative: unknown. */
    size_t n_mistimed;       /* Batches whose rows are too old, or from the future. */
    const char *mistimed;    /* What of the first of them; may be NULL. */
    int64_t unbalanced_rows; /* Decoded, and neither stored nor refused nor held; or too many. */
};

struct guard_spool {
    uint64_t bytes, quota_bytes;
    bool full, failed;
    double unsynced_s;      /* How long what was given to the disk has waited for it. */
    uint64_t damaged_bytes; /* What opening it found damaged, and set aside, */
    uint32_t n_missing;     /* and how many segments it found gone or cut short. */
};

/** What is known of the machine's wall clock; see core/wall.h. */
struct guard_clock {
    double skew_s;     /* What servers say less what the system says; 0: they agree. */
    bool corrected;    /* Their time is worked with, or the one from before a jump. */
    bool disputed;     /* A single server contradicts; the system is believed. */
    const char *venue; /* Who contradicts it most; "" when nobody does. */
};

struct guard_facts {
    struct guard_clock clock;
    struct guard_store store;
    struct guard_spool spool;
};

struct guard;

/** All borrowed. @return 0 or ERR_NOMEM. Registers souk_source_freshness for each source as it
 * comes. */
int guard__open(struct guard **out, const struct clock *clock, struct metrics *metrics,
                struct alerts *alerts, struct err *e);
/** Resolves nothing; incidents stand for the next start. Accepts NULL. */
void guard__free(struct guard *g);
/** Judges one stream: raises and clears its alerts, sets its level. One beyond GUARD_SOURCES_MAX
 *  takes the place of one that is not enabled; else it is not judged, and amber, as then is the
 *  whole: souk_guard_unjudged_total. @return when it has to be judged again
 *  although nothing of @s has changed, by the monotonic clock: INT64_MAX for not by itself; a time
 *  that has gone by: a second from now, since a condition stands or is about to end. */
int64_t guard__judge(struct guard *g, const struct guard_source *s);
/** Judges the rest, then sums up what was judged last. Call about once a second. */
void guard__evaluate(struct guard *g, const struct guard_facts *facts);
/** @return the level of a source as last judged and, in @reason (may be NULL), why in a few words:
 *  "" when it is green. Borrowed until the next evaluation. GREEN for an unknown one, unless there
 *  were too many. */
enum guard_level guard__source(const struct guard *g, const char *name, const char *stream,
                               const char **reason);
/** @return the worst level of everything (unjudged: GREEN). */
enum guard_level guard__level(const struct guard *g);
/** @return one sentence for people: 2 of 2 sources fresh; 1,203 rows/s stored. Borrowed until the
 *  next evaluation. */
const char *guard__summary(const struct guard *g);
/** @return green, amber or red. */
const char *guard_level__name(enum guard_level level);

#endif
