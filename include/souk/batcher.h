/* Batches and seals: which rows go to ClickHouse together, under which token.
 *
 * Rows arrive page by page in log order and gather in a lane: one table, one partition key, one
 * day. A lane's open batch is cut at page boundaries when it has enough rows, bytes or age, and
 * sealed: a SEAL record says what it holds before it is sent. After a crash the same pages are
 * decoded again from the low-water mark, and the seals found in the log cut the same rows at the
 * same places, so a batch that must be sent again has the same rows, in the same block, with the
 * same token.
 *
 * Rows of pages come from up to two feeds, each in log order: after an outage one reads at the end
 * of the log and the other works off what is behind (the backlog). A batch holds rows of one feed.
 * Feeds are not written down: after a crash all is read again by one feed, and meets the seals of
 * both in order of position.
 *
 * The third feed is the tape's (FEED_TAPE): the rows of derived tables, which nobody else may fill.
 * It has a position of its own to start from after a crash, so the low-water mark of pages does not
 * count it.
 *
 * This half of the store is memory only: it does no I/O and knows no connection. */
#ifndef SOUK_BATCHER_H
#define SOUK_BATCHER_H

#include "souk/core/batch_range.h"
#include "souk/core/clock.h"
#include "souk/core/map.h"
#include "souk/store_link.h"
#include "souk/store_search.h"

#define LANES_MAX 4096
#define PLANS_MAX ((size_t)4 << 20) /* Seals that one recovery can take: weeks of one a second. */
/* Batches of a table that wait; with so many, age no longer cuts: what grows larger meanwhile takes
 * less memory, fewer seals and fewer inserts than one small batch a second for hours. */
#define SEALED_BY_AGE_MAX 4
#define FEED_TAPE 2   /* Of derived tables. */
#define FEEDS_PAGES 2 /* Feeds below it bring the rows of pages. */
#define FEEDS_MAX 3
/* Batches of pages after which one of the tape's goes first. It would wait for hours else while a
 * backlog is worked off, without a snapshot, and the log that is kept for that fills the quota. */
#define TAPE_PASSED_MAX 8

/** What a SEAL record holds: a batch's identity for good. */
struct seal {
    char table[64], part[64];
    int32_t day;                  /* Days since 1970; part of the partition. */
    uint64_t first_lsn, last_lsn; /* Of the pages that its rows come from. */
    uint64_t n_rows;
    char hash[33];  /* batch__hash of the rows. */
    char token[33]; /* insert_deduplication_token: xxh3-128 of all the above and the store's id. */
    /* Not part of the identity: the one place that the batch is sent to (store_table_facts.place),
     * until it is certain that it is not there and a later record says otherwise; "": it has not
     * been sent. */
    char place[STORE_PLACE_MAX];
    bool old; /* An earlier souk wrote it, which did not say where it sent it. */
};

enum sealed_state {
    SEALED_SEALING, /* Its SEAL record is not synced yet. */
    SEALED_READY,   /* May be sent, when its turn comes. */
    SEALED_SENDING, /* In flight, or its outcome is not known. */
};

/** What the log has to say of a batch before it is sent (again). */
enum sealed_record {
    SEALED_SEAL,  /* That it is, and where it goes: again when it goes elsewhere. */
    SEALED_RANGE, /* Which rows go next. */
    SEALED_REFUSAL,
};

/** A batch that will be sent until it is stored. */
struct sealed {
    struct seal seal;
    struct batch batch;
    enum sealed_state state;
    unsigned feed;
    struct search search;
    struct batch_mark mark;    /* Of a row up to search.lo, for the walk to it. */
    enum sealed_record record; /* While SEALED_SEALING. */
    bool uncertain; /* What is sent now may have been applied already, or its token be spent: by an
                     * earlier run, or as its reply was lost, or was an exception that does not
                     * tell. */
    bool over;      /* While uncertain: each attempt was answered, so nothing is on its way yet. */
    bool look;      /* It was refused: see whether it is stored all the same, then act on that. */
    bool proves;    /* The same after it was said to be stored, as its outcome was not certain. */
    bool missed;    /* It was not found once. */
    /* While a range with a fence is proved: rows [lo, there) are there, and [gone, fence) are not;
     * there 0: nothing is known yet. */
    uint64_t there, gone;
    bool
        too_large; /* For the server's memory or its partitions, it said; else a row is to blame, */
    uint64_t n_min;        /* and so many rows are not halved. */
    bool busy;             /* The server refused it for what time, or smaller blocks, will mend. */
    int32_t code;          /* Of the last exception that a row is to blame for, */
    char *why;             /* and its words. Owned; NULL when there was none. */
    int64_t first_wall_ns; /* When its oldest page was received. */
    int64_t sealed_mono_ns;
    int64_t not_before_mono_ns; /* Backoff after a failure. */
    uint32_t n_attempts;
    bool rejected;         /* The server's last word on what is sent now was an exception. */
    bool looked_at, timed; /* For the two below; they are known: of the TTL's column. */
    int64_t oldest_ms, newest_ms;
    bool mistimed; /* Held: see store__is_mistimed. */
    bool released; /* By hand: it goes whatever becomes of its rows. */
    bool matches;  /* Rows and hash are those of its seal; false after a change of decoders. */
    void *data;    /* The sender's. */
    struct sealed *next; /* In order of sealing. */
};

struct batcher_options {
    const char *store_id;
    size_t rows_max, bytes_max; /* A batch is cut when it has reached one of them, */
    int64_t age_max_ns;         /* or this age; see batcher.age_ns. */
};

struct lane;

/** A reader of the log. */
struct feed {
    bool open;            /* More rows will come. */
    uint64_t opened_lsn;  /* Where it was opened last: no batch spans it. */
    uint64_t decoded_lsn; /* All rows of its pages below it have arrived. */
    size_t bytes;         /* Of its batches, open and sealed. */
    size_t crowd_bytes; /* Not 0: there was no room for its rows since the last cut, which cuts its
                         * open batches when they are as large as that. */
    uint64_t n_taken;   /* Rows. */
};

struct batcher {
    struct batcher_options options;
    const struct clock *clock; /* Borrowed. */
    struct map lanes_by_key;
    struct map plans_by_token; /* Seals of the log, until the first rows. */
    struct lane *lanes;
    size_t n_lanes;
    struct feed feeds[FEEDS_MAX];
    uint64_t recovered_lsn;      /* The last position of all seals that recovery found. */
    unsigned tape_passed;        /* Batches of pages that went since one of the tape's did. */
    struct sealed *first, *last; /* Sealed and not stored yet. */
    size_t n_sealed, sealed_bytes, open_bytes, open_rows;
    uint64_t n_taken, n_stored;   /* Rows. */
    uint64_t n_dropped_as_stored; /* Rows met again that an acknowledged seal holds. */
    uint64_t n_settled_before;    /* Rows met again that an earlier run stored, or refused, while
                                   * the rest of their batch was still missing. */
    void *ctx;
    /** A lane's batch was cut: write its SEAL record, and set SEALED_READY once that is synced. */
    void (*on_sealed)(void *ctx, struct sealed *sealed);
    /** @return the age at which a batch of @table is cut; NULL: options.age_max_ns. Batches that
     *  may be cut at that age or earlier are cut together, those of other tables by themselves. */
    int64_t (*age_ns)(void *ctx, const struct table_desc *table);
};

/** Which batches one connection may send. */
struct batch_filter {
    bool (*takes)(void *ctx, const struct sealed *sealed);
    void *ctx;
};

int batcher__init(struct batcher *b, const struct clock *clock,
                  const struct batcher_options *options);
void batcher__fini(struct batcher *b);
/** Feed 0 is open from the start at position 0. Opens @feed, which takes the rows of pages from
 *  @lsn on; of feed 0 before its first rows, this moves it. Recovered seals of pages are feed 0's,
 *  so later calls open a feed behind all of them. FEED_TAPE may be opened once, anywhere. */
void batcher__open_feed(struct batcher *b, unsigned feed, uint64_t lsn);
/** No more rows come from @feed: its open batches are cut. Another feed must be open. */
void batcher__close_feed(struct batcher *b, unsigned feed);
/** Recovery, before the first rows: a seal found in the log at or above the low-water mark, in log
 *  order. Its rows will come from feed 0. @return 0, ERR_FULL or ERR_NOMEM. */
int batcher__recover_seal(struct batcher *b, const struct seal *seal);
/** The same for a seal of a derived table, whose rows will come from FEED_TAPE. */
int batcher__recover_tape_seal(struct batcher *b, const struct seal *seal);
/** Recovery: the batch of @token is stored. */
void batcher__recover_ack(struct batcher *b, const char *token);
/** Recovery: a RANGE record's payload, or a QUARANTINE record's; of the batches that it names.
 *  @return 0 or ERR_CORRUPT. */
int batcher__recover_range(struct batcher *b, struct slice payload);
int batcher__recover_refusal(struct batcher *b, struct slice payload);
/** Takes the rows that @feed has of the page or request at @lsn, received at @wall_ns; @next_lsn is
 * the position behind it. Pages arrive in log order; one without rows is told too. @rows is
 * emptied.
 *  @return 0, or ERR_FULL / ERR_NOMEM, after which the process must not go on. */
int batcher__rows(struct batcher *b, unsigned feed, uint64_t lsn, uint64_t next_lsn,
                  int64_t wall_ns, struct rows *rows);
/** Cuts batches that are old enough, unless SEALED_BY_AGE_MAX of their table wait already; all of
 * them when @everything. */
void batcher__cut(struct batcher *b, bool everything);
/** @return the position below which no row of pages is missing in ClickHouse. */
uint64_t batcher__low_water(const struct batcher *b);
/** @return the same of @feed alone, while it is open. */
uint64_t batcher__feed_low_water(const struct batcher *b, unsigned feed);
/** @return the sealed batch to send next at the clock's time, or NULL: the oldest that is ready and
 *  that @filter (NULL: none) takes,
 *  from @feed if it has any, from FEED_TAPE if no other has, or after TAPE_PASSED_MAX of others;
 *  the caller sends it. Tables that come after data wait for
 * the data of their feed; one batch of a table at a time is searched. */
struct sealed *batcher__next(struct batcher *b, unsigned feed, const struct batch_filter *filter);
/** @sealed is stored: takes it out and frees it. */
void batcher__stored(struct batcher *b, struct sealed *sealed);
/** @return rows taken - stored - held - dropped as stored. Nothing is ever lost in here: 0. */
int64_t batcher__imbalance(const struct batcher *b);
/** @return rows that are in here and neither stored nor refused yet, those in flight included. */
uint64_t batcher__owed(const struct batcher *b);
/** @return rows of @table's open batches, and those that are sealed in @outstanding (batches). */
size_t batcher__open_rows(const struct batcher *b, const char *table, size_t *outstanding);
/** @return true while @feed has batches that are not stored. */
bool batcher__feed_waits(const struct batcher *b, unsigned feed);
/** Writes what @sealed sends next as a RANGE record's payload; reads it back. */
void sealed__encode_range(const struct sealed *sealed, struct buf *out);
struct range {
    struct slice token; /* Of the batch. Borrowed, as @why is. */
    struct search search;
    int32_t code; /* What the last refusal said. */
    struct slice why;
};
int range__decode(struct slice payload, struct range *out);
/** Writes the refusal of row search.lo as a QUARANTINE record's payload. @return 0 or ERR_NOMEM. */
int sealed__encode_refusal(struct sealed *sealed, int64_t wall_ns, struct buf *out);
/** Makes @out a copy of the range that @sealed sends next, and @token its token. Only while its
 *  search is active. @return 0 or ERR_NOMEM. */
int sealed__range(struct sealed *sealed, struct batch *out, char token[33]);
/** Moves @sealed's mark to the first row that is sent next, and returns it. */
const struct batch_mark *sealed__first(struct sealed *sealed);
/** While it is proved how far @sealed's rows are there: the row to ask for next. */
uint64_t sealed__asked(const struct sealed *sealed);
/** Writes @seal as a record's payload; reads it back. */
void seal__encode(const struct seal *seal, struct buf *out);
int seal__decode(struct slice payload, struct seal *out);

#endif
