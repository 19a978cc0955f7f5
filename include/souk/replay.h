/* Replay: records that were kept once, through the same functions as a running souk: journal,
 * decode, quality, batches. What comes out is hashed and, if wanted, stored in a database.
 *
 * A feed brings records in log order, from the spool, from raw pages in ClickHouse or from recorded
 * bodies (feeds below). Time is the records' own: nothing in here reads a clock, and nothing
 * depends on threads, on the locale or on an address, so the same records give the same hashes on
 * any machine and any run.
 *
 * Two hashes a table, and two over all:
 *   rows  which rows there are, without their position in a log (column lsn) and whatever their
 *         order: the sum modulo 2^128 of the xxh3-128 of each row. Equal for the spool, the raw
 *         pages that it made and the bodies of those pages. The sum over all leaves out the tables
 *         about requests, as only a log holds requests.
 *   log   the same rows with positions, in order: a chained xxh3-128. Equal for the same log.
 *
 * Not replayed: alerts and guard, which judge a running process, not its pages; and what ClickHouse
 * refused of a batch, which depends on the server: here it is a row like the others.
 *
 * Everything here blocks: for a verb, a test or a bench, not for the loop. */
#ifndef SOUK_REPLAY_H
#define SOUK_REPLAY_H

#include "souk/core/batch.h"
#include "souk/quality.h"
#include "souk/spool.h"
#include "souk/store.h"

#define REPLAY_HASH_SIZE 33
#define REPLAY_TABLES_MAX 16

/** Where records come from. Made by replay_feed__*(), ended by close. */
struct replay_feed {
    const char *name;   /* spool, pages or bodies. */
    bool has_requests;  /* Its records are about requests too, not about their bodies alone. */
    bool judged;        /* Bodies were judged on the way into the feed. */
    uint64_t n_refused; /* Bodies that the judge refused, or that were empty: no page. */
    void *self;
    /** Brings the next record, its payload borrowed until the next call: PAGE, REQUEST and CONFIG;
     *  others are passed over by whoever takes them.
     *  @return 1; 0 at the end; ERR_CORRUPT for a damaged range, behind which the next call goes
     *  on; another error, which ends the replay. */
    int (*next)(struct replay_feed *feed, struct spool_record *out, struct err *e);
    void (*close)(struct replay_feed *feed); /* Frees @self. May be NULL, as @self may. */
};

/** Where rows go. */
struct replay_sink {
    void *self;
    /** @return true when what @id (32 hex digits) names has never been stored, and notes it. */
    bool (*claim)(struct replay_sink *sink, const char *id);
    /** Stores the rows of @sealed, under a token that its content alone decides. @return 0, or an
     *  error, which ends the replay. */
    int (*insert)(struct replay_sink *sink, const struct sealed *sealed, const char *token,
                  struct err *e);
    /** All rows of what was claimed since the last call are stored. @return 0 or an error. */
    int (*commit)(struct replay_sink *sink, struct err *e);
    void (*close)(struct replay_sink *sink);
};

/** What of a feed is taken: bounds of position and of time, from inclusive, to exclusive. */
struct replay_range {
    uint64_t from_lsn, to_lsn;        /* to_lsn 0: no end. */
    int64_t from_wall_ns, to_wall_ns; /* When it was received. to_wall_ns 0: no end. */
};

struct replay_options {
    struct replay_range range;
    const char *sources;        /* Glob of a source's name, or of source/stream. NULL: all. */
    const char *followed;       /* Leagues, one a line, until a CONFIG record says otherwise. */
    size_t rows_max, bytes_max; /* Of a batch. 0: 50,000 and 8 MiB. */
    struct replay_sink *sink;   /* Borrowed. NULL: hashes only. */
    void *ctx;
    /** Told before each record that is taken when it was received; may wait, to pace the replay.
     *  May be NULL. @return 0, or an error that ends the replay. */
    int (*step)(void *ctx, int64_t wall_ns, struct err *e);
};

struct replay_table {
    const struct table_desc *table;
    uint64_t n_rows, n_stored; /* Made; given to the sink. */
    char rows[REPLAY_HASH_SIZE], log[REPLAY_HASH_SIZE];
};

struct replay_result {
    uint64_t n_pages, n_requests; /* Records taken; a page is a request too. */
    uint64_t body_bytes;          /* JSON, as it was decoded. */
    uint64_t n_undecodable;       /* Pages that became a quarantine row as a whole. */
    uint64_t n_judged_otherwise;  /* Pages that today's judge would not have kept as they were. */
    uint64_t n_unjudged;          /* Pages whose judge cannot be asked again. */
    uint64_t n_damaged;           /* Ranges of the log that could not be read. */
    uint64_t n_known;             /* Pages and requests that the sink had already. */
    uint64_t n_batches;
    int64_t first_wall_ns, last_wall_ns;           /* Of what was taken; 0 when nothing was. */
    struct replay_table tables[REPLAY_TABLES_MAX]; /* That have rows, by name. */
    size_t n_tables;
    uint64_t refused[QUALITY__N]; /* Rows of bronze_quarantine, by reason. */
    char rows[REPLAY_HASH_SIZE], log[REPLAY_HASH_SIZE];
};

struct replay;
/** @return 0 with *@out owned by the caller, or ERR_NOMEM. Strings of @options are borrowed. */
int replay__new(struct replay **out, const struct replay_options *options, struct err *e);
/** Takes all that @feed brings, and fills @out. @return 0; the feed's, the sink's or step's error;
 *  ERR_NOMEM; ERR_FULL for a page of more rows than a batch can hold; ERR_PROTOCOL when batches
 *  held other rows than were decoded, which is our own mistake. Once for a replay. */
int replay__run(struct replay *r, struct replay_feed *feed, struct replay_result *out,
                struct err *e);
void replay__free(struct replay *r);

/** @return the followed leagues that the payload of a CHECKPOINT holds, one a line, in @out
 *  (borrowed from @payload); false when it cannot be read. */
typedef bool (*replay_followed_fn)(struct slice payload, struct slice *out);
/** The spool folder @dir, read as spool_scan.h says: also beside a running souk. Leagues that were
 *  followed when the oldest record was written are found with @followed (may be NULL).
 *  @return 0; ERR_NOT_FOUND when there is no such folder or no log in it; ERR_IO, ERR_CORRUPT,
 *  ERR_NOMEM. */
int replay_feed__spool(struct replay_feed *out, const char *dir, replay_followed_fn followed,
                       struct err *e);
/** raw_public_stash_pages of the database that @store names, by (lsn, time). Only what lies in
 *  @range is asked for. Runs @loop while it waits. @return 0, ERR_UNAVAILABLE, ERR_REFUSED (with
 *  the server's words), ERR_LIMIT for too many pages, ERR_NOMEM. */
int replay_feed__pages(struct replay_feed *out, uv_loop_t *loop, const struct store_options *store,
                       const struct replay_range *range, struct err *e);
/** Recorded bodies below @dir; which files are read, and in which order, is in feed_bodies.c.
 *  @return 0; ERR_NOT_FOUND when there are none; ERR_IO; ERR_NOMEM. */
int replay_feed__bodies(struct replay_feed *out, const char *dir, struct err *e);

/** Stores into the database that @store names, which is made and brought up to date first. What was
 *  stored is noted in its table souk_replays, so that replaying the same pages again, in whatever
 *  ranges, adds nothing. Its tables keep what they are given: their TTL is removed, as what is
 *  replayed may be older. Where an older souk has stored into tables with a TTL, rows that are
 * noted may be gone, and the database is refused. With @is_live it is the one that a running souk
 * stores into: its TTL stays, and a batch with rows that it would take at once is refused by the
 * table's name. Runs @loop while it waits.
 *  @return 0; ERR_REFUSED for such a database; or an error as store__migrate's. */
int replay_sink__open(struct replay_sink *out, uv_loop_t *loop, const struct store_options *store,
                      bool is_live, struct err *e);

/** Parses a time, UTC: 2026-11-21, 2026-11-21T12:30, 2026-11-21T12:30:00.123Z (the Z may miss).
 *  @return false when it is none, or lies outside of 1970 to 2200. */
bool replay__parse_time(const char *text, int64_t *out_wall_ns);

#endif
