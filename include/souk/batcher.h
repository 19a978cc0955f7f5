/* Batches and seals: which rows go to ClickHouse together, under which token.
 *
 * Rows arrive page by page in log order and gather in a lane: one table, one partition key, one
 * day. A lane's open batch is cut at page boundaries when it has enough rows, bytes or age, and
 * sealed: a SEAL record says what it holds before it is sent. After a crash the same pages are
 * decoded again from the low-water mark, and the seals found in the log cut the same rows at the
 * same places, so a batch that must be sent again has the same rows, in the same block, with the
 * same token.
 *
 * This half of the store is memory only: it does no I/O and knows no connection. */
#ifndef SOUK_BATCHER_H
#define SOUK_BATCHER_H

#include "souk/core/batch.h"
#include "souk/core/clock.h"
#include "souk/core/map.h"

#define LANES_MAX 4096
#define PLANS_MAX ((size_t)4 << 20) /* Seals that one recovery can take: weeks of one a second. */
/* Batches of a table that wait; with so many, age no longer cuts: what grows larger meanwhile takes
 * less memory, fewer seals and fewer inserts than one small batch a second for hours. */
#define SEALED_BY_AGE_MAX 4

/** What a SEAL record holds: a batch's identity for good. */
struct seal {
    char table[64], part[64];
    int32_t day;                  /* Days since 1970; part of the partition. */
    uint64_t first_lsn, last_lsn; /* Of the pages that its rows come from. */
    uint64_t n_rows;
    char hash[33];  /* batch__hash of the rows. */
    char token[33]; /* insert_deduplication_token: xxh3-128 of all the above and the store's id. */
};

enum sealed_state {
    SEALED_SEALING, /* Its SEAL record is not synced yet. */
    SEALED_READY,   /* May be sent, when its turn comes. */
    SEALED_SENDING, /* In flight, or its outcome is not known. */
    SEALED_STORED,  /* Acknowledged. */
};

/** A batch that will be sent until it is stored. */
struct sealed {
    struct seal seal;
    struct batch batch;
    enum sealed_state state;
    int64_t first_wall_ns; /* When its oldest page was received. */
    int64_t sealed_mono_ns;
    int64_t not_before_mono_ns; /* Backoff after a failure. */
    uint32_t n_attempts;
    bool rejected; /* The server's last word was an exception. */
    bool matches;  /* Rows and hash are those of its seal; false after a change of decoders. */
    void *data;    /* The sender's. */
    struct sealed *next; /* In order of sealing. */
};

struct batcher_options {
    const char *store_id;
    size_t rows_max, bytes_max; /* A batch is cut when it has reached one of them, */
    int64_t age_max_ns;         /* or this age. */
};

struct lane;

struct batcher {
    struct batcher_options options;
    const struct clock *clock; /* Borrowed. */
    struct map lanes_by_key;
    struct map plans_by_token; /* Seals of the log, until the first rows. */
    struct lane *lanes;
    size_t n_lanes;
    uint64_t decoded_lsn;        /* All rows of pages below it have arrived. */
    struct sealed *first, *last; /* Sealed and not stored yet. */
    size_t n_sealed, sealed_bytes, open_bytes, open_rows;
    uint64_t n_taken, n_stored;   /* Rows. */
    uint64_t n_dropped_as_stored; /* Rows met again that an acknowledged seal holds. */
    void *ctx;
    /** A lane's batch was cut: write its SEAL record, and set SEALED_READY once that is synced. */
    void (*on_sealed)(void *ctx, struct sealed *sealed);
};

int batcher__init(struct batcher *b, const struct clock *clock,
                  const struct batcher_options *options);
void batcher__fini(struct batcher *b);
/** Recovery, before the first rows: a seal found in the log at or above the low-water mark, in log
 *  order. @return 0, ERR_FULL or ERR_NOMEM. */
int batcher__recover_seal(struct batcher *b, const struct seal *seal);
/** Recovery: the batch of @token is stored. */
void batcher__recover_ack(struct batcher *b, const char *token);
/** Takes the rows of the page or request at @lsn, received at @wall_ns; @next_lsn is the position
 *  behind it. Pages arrive in log order; one without rows is told too. @rows is emptied.
 *  @return 0, or ERR_FULL / ERR_NOMEM, after which the process must not go on. */
int batcher__rows(struct batcher *b, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                  struct rows *rows);
/** Cuts batches that are old enough, unless SEALED_BY_AGE_MAX of their table wait already; all of
 * them when @everything. */
void batcher__cut(struct batcher *b, bool everything);
/** @return the position below which no row is missing in ClickHouse; of data tables only, or all.
 */
uint64_t batcher__low_water(const struct batcher *b, bool data_only);
/** @return the sealed batch to send next at the clock's time, or NULL: the oldest that is ready, of
 * a table that has none in flight; tables that come after data wait for it. */
struct sealed *batcher__next(struct batcher *b);
/** @sealed is stored: takes it out and frees it. */
void batcher__stored(struct batcher *b, struct sealed *sealed);
/** @return rows taken - stored - held - dropped as stored. Nothing is ever lost in here: 0. */
int64_t batcher__imbalance(const struct batcher *b);
/** @return rows of @table's open batches, and those that are sealed in @outstanding (batches). */
size_t batcher__open_rows(const struct batcher *b, const char *table, size_t *outstanding);
/** Writes @seal as a record's payload; reads it back. */
void seal__encode(const struct seal *seal, struct buf *out);
int seal__decode(struct slice payload, struct seal *out);

#endif
