/* The spool: an append-only log on local disk between a page and ClickHouse. It is the one place
 * that holds the truth: pages with their cursor transitions, seals, acknowledgements and cursors
 * are all records in it (design.md, section 5).
 *
 * Appends are grouped: one write and one fdatasync per 256 KiB or 5 ms (at once after a
 * pause), on the uv thread pool. A record is "synced" from then on. Positions are log sequence
 * numbers (LSN): a record's segment number times the segment size plus its offset, so they grow and
 * find the record directly.
 *
 * What can fail: a full quota or disk refuses pages (ERR_FULL) while acknowledgements still fit in
 * the space that is set aside ahead: the next segment, and a reserve as large, both beside the
 * quota. What is written on and on while nothing is stored (alerts, commands, limits, checkpoints)
 * has a head-room of two segments behind the quota, and is refused beyond it; what is about data
 * that the log has (seals, acknowledgements, ranges, refused rows) never is, and is bounded by it.
 * A failed fdatasync is never retried on the same descriptor: the segment's synced part and
 * the unsynced records are written to a new file that takes its place, so that positions stay, and
 * a second failure in a row stops the spool (ERR_IO to every waiter). */
#ifndef SOUK_SPOOL_H
#define SOUK_SPOOL_H

#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/metric.h"
#include <uv.h>

enum spool_type {
    SPOOL_PAGE = 1,   /* A response body with its cursor transition. */
    SPOOL_FRAMES,     /* A slice of a stream. */
    SPOOL_SEAL,       /* A batch: table, first and last position, rows, hash, token. */
    SPOOL_ACK,        /* That a sealed batch is stored. */
    SPOOL_QUARANTINE, /* Something refused. */
    SPOOL_ALERT,      /* An event of the alert stream. */
    SPOOL_COMMAND,    /* A command and its result, for idempotency. */
    SPOOL_LIMITS,     /* The governor's state. */
    SPOOL_CHECKPOINT, /* Low-water mark, and what its writer put behind it. */
    SPOOL_STOP,       /* A clean end. */
    SPOOL_REQUEST,    /* A request that brought no page: what was asked and how it ended. */
    SPOOL_CONFIG,     /* What decoding depends on from here on. */
    SPOOL_RANGE,      /* Which rows of a sealed batch are sent next, once it was refused whole. */
    SPOOL_OPS,        /* Rows about souk itself, as JSON; see include/souk/ops_rows.h. */
};

#define SPOOL_RECORD_MAX ((size_t)32 << 20) /* Bytes of one payload. */
#define SPOOL_QUOTA_MIN (128ull << 20)      /* With segments of the usual size: two of them. */

struct spool;

struct spool_options {
    const char *dir;        /* Made when it is missing. Locked while open. */
    uint64_t quota_bytes;   /* Pages are refused when segments exceed it. 0: 4 GiB. */
    uint64_t segment_bytes; /* 0: 64 MiB. Must equal what the spool was made with. */
    int64_t retain_ns;      /* Segments below the low-water mark stay this long, for replay; above
                               three quarters of the quota they go at once. */
    bool keep_all;          /* Nothing goes before spool__keep says from where on. */
};

struct spool_record {
    uint64_t lsn, next_lsn; /* Its position, and the position behind it. */
    uint16_t type;          /* enum spool_type; unknown values are skipped by readers. */
    uint32_t source;        /* The writer's tag. */
    int64_t wall_ns;        /* When it was appended. */
    struct slice payload;   /* Borrowed from the reader's buffer until its next call. */
};

struct spool_status {
    uint64_t bytes, quota_bytes; /* Of all segments; the quota. */
    uint64_t unacked_bytes;      /* From the low-water mark to the end. */
    uint64_t disk_free_bytes;
    uint64_t first_lsn, end_lsn; /* Of what is on disk; of the next record. */
    uint64_t synced_lsn, low_water_lsn;
    uint32_t n_segments;
    uint64_t n_records;                 /* Appended since opening. */
    uint64_t torn_bytes, corrupt_bytes; /* Cut off or set aside by recovery. */
    uint32_t n_missing;                 /* Segments that recovery found gone or cut short. */
    int64_t oldest_unacked_wall_ns;     /* 0 when nothing waits. */
    bool was_clean;                     /* The last run ended with STOP. */
    bool full, failed;                  /* Refuses pages; refuses everything. */
    int64_t unsynced_ns;                /* How long the oldest bytes on their way to the disk have
                                           waited for it; 0: none are. */
    bool has_reserve;                   /* Room for acknowledgements is kept for a full disk. */
};

/** Told when the record at @lsn is synced (@status 0) or that it never will be (ERR_IO,
 *  ERR_CANCELED). Called once from the loop, in order of position. */
typedef void (*spool_synced_cb)(void *data, uint64_t lsn, int status);
typedef void (*spool_close_cb)(void *data);

/** Opens or makes the spool and recovers it: a torn tail is cut off, damaged ranges elsewhere are
 *  copied to bad/ and skipped, both counted. Blocks; call it before the loop runs. @metrics gets
 * the souk_wal_* families. On success @out is owned by the caller and ended by spool__close.
 *  @return 0; ERR_LOCKED with the holder's pid; ERR_CREATE when the folder cannot be made, written
 *  to or locked; ERR_IO when its files cannot be read or written; ERR_NOMEM; ERR_CORRUPT for
 * another format version; ERR_CONFIG for another segment size. */
int spool__open(struct spool **out, uv_loop_t *loop, const struct clock *clock,
                struct metrics *metrics, const struct spool_options *options, struct err *e);
/** Asks, without waiting and without taking it, whether another process holds the spool in @dir.
 *  @return 0 when not, or when there is no such folder; ERR_LOCKED with the holder's pid. */
int spool__check_lock(const char *dir, struct err *e);
/** Syncs what is pending, writes STOP, releases the lock, frees @s, then calls @cb (may be NULL).
 *  Waiters whose records cannot be written, since the disk is full, are told ERR_CANCELED. */
void spool__close(struct spool *s, spool_close_cb cb, void *data);

/** Appends one record of @n_parts slices, which are copied. @cb may be NULL. @type is neither
 *  CHECKPOINT nor STOP, which have functions of their own.
 *  @return its position; 0 with @e filled: ERR_FULL (pages, frames, requests and ops; beyond the
 *  head-room also alerts, commands and limits), ERR_LIMIT (too large), ERR_IO (failed), ERR_CLOSED.
 */
uint64_t spool__append(struct spool *s, enum spool_type type, uint32_t source,
                       const struct slice *parts, size_t n_parts, spool_synced_cb cb, void *data,
                       struct err *e);
/** Appends a CHECKPOINT: everything below @low_water_lsn is acknowledged, and segments that lie
 *  wholly below it may go once it is synced and their retention has passed. @payload is the
 *  writer's (cursors, governor state); the last one is found again at opening. Beyond the
 *  head-room one that frees nothing is refused with ERR_FULL.
 *  @return its position, or 0 with @e filled. */
uint64_t spool__checkpoint(struct spool *s, uint64_t low_water_lsn, struct slice payload,
                           struct err *e);
/** Keeps segments from @lsn on, also below the low-water mark: someone reads on from there after a
 *  restart. Above the end of the log: nothing is kept for anybody. */
void spool__keep(struct spool *s, uint64_t lsn);
/** @return true and the last synced checkpoint's payload (borrowed until the loop runs), as found
 *  at opening; false when there was none. */
bool spool__last_checkpoint(const struct spool *s, struct slice *payload);
void spool__status(const struct spool *s, struct spool_status *out);
/** @return true once a write has failed for good: nothing more can be made safe, so the process
 *  ought to end, and to open the spool anew. */
bool spool__has_failed(const struct spool *s);
/** @return 32 hex digits that name this spool for good; in tokens and seals. Borrowed. */
const char *spool__store_id(const struct spool *s);

/* Reading. A reader may be used on the thread pool, by one thread at a time, beside appends, for
 * positions below the synced one; the spool outlives it. */
struct spool_view {
    int fd;              /* Owned; meaningful when segment is not 0. */
    uint64_t segment;    /* 0: nothing is open. */
    uint64_t limit;      /* Offset behind the last byte that may be read. */
    uint64_t window_off; /* Where the window starts in the segment. */
    struct buf window;   /* Owned; a run of the segment's bytes. */
};
struct spool_reader {
    const struct spool *spool; /* Borrowed. */
    uint64_t at;               /* Position of the next record. */
    unsigned generation;       /* Of the files, which change when a failed segment is rewritten. */
    struct spool_view view;    /* Owned. */
};

/** Starts at @from_lsn, which is a record's position, spool_status.low_water_lsn or first_lsn. */
void spool_reader__init(struct spool_reader *r, const struct spool *s, uint64_t from_lsn);
void spool_reader__fini(struct spool_reader *r);
/** Reads the record at @r->at when it lies below @until_lsn and the synced position, checks its CRC
 *  and moves on; skips from one segment to the next, and over ranges that recovery set aside and
 *  segments that are gone. A CHECKPOINT's payload is its writer's.
 *  @return 1 with @out filled; 0 at @until_lsn; ERR_CORRUPT with @e filled for damage that came
 * after opening, or lies below the low-water mark: @r then stands behind it, and the next call goes
 * on; ERR_IO or ERR_NOMEM with @e filled, where the next call tries again. */
int spool_reader__next(struct spool_reader *r, uint64_t until_lsn, struct spool_record *out,
                       struct err *e);

#endif
