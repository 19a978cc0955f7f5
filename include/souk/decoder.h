/* The decoder: reads the spool behind its writers, in log order, and hands rows on.
 *
 * Live pages and pages met again after a restart take this one path, so the rows of a crash are the
 * rows of a quiet day. Reading, decompressing and decoding run on the thread pool, one job at a
 * time; it stops while whoever takes the rows has no room. */
#ifndef SOUK_DECODER_H
#define SOUK_DECODER_H

#include "souk/journal.h"
#include "souk/record_rows.h"
#include "souk/spool.h"

struct decoder;

struct decoder_deps { /* Borrowed; they outlive the decoder. */
    uv_loop_t *loop;
    const struct clock *clock;
    struct metrics *metrics;
    struct spool *spool;
    void *ctx;
    /** @return false to pause; the decoder asks again when it is woken. */
    bool (*has_room)(void *ctx);
    /** Rows of the page or request at @lsn, in log order; told also when there are none. Takes the
     *  rows. @facts is NULL for other records. */
    void (*take)(void *ctx, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                 const struct request_facts *facts, struct rows *rows);
    /** NULL: pages and requests make the rows of record_rows.h. Else this makes the rows of each
     *  PAGE and REQUEST, on the thread pool, each record once and in log order; take is told no
     *  facts. @return 0; ERR_MALFORMED, which it has counted; ERR_NOMEM with no rows: it is called
     * again with the same record. */
    int (*make)(void *ctx, const struct spool_record *rec, const struct followed *followed,
                struct buf *body, struct rows *rows);
};

/** Starts reading at @from_lsn, with @followed (league names, a line each) as context. @until_lsn
 *  ends it, at a record's position; 0: never. */
int decoder__open(struct decoder **out, const struct decoder_deps *deps, uint64_t from_lsn,
                  uint64_t until_lsn, const char *followed, struct err *e);
/** There may be something to read, or room for it. Cheap; call it often. */
void decoder__wake(struct decoder *d);
/** Ends after the job in flight, then calls @cb and frees. */
void decoder__close(struct decoder *d, void (*cb)(void *data), void *data);
/** @return the position behind the last record that was handed on. */
uint64_t decoder__at(const struct decoder *d);
/** @return true while a job runs on the thread pool. */
bool decoder__works(const struct decoder *d);
/** @return true while a job runs or records wait below the synced position, or its end. */
bool decoder__busy(const struct decoder *d);
/** Sets its end, at or behind the synced position. */
void decoder__end_at(struct decoder *d, uint64_t lsn);
/** Goes on at @from_lsn, which is behind all that it has read, until @until_lsn. Nothing in between
 *  may change the context. Only when it has ended. */
void decoder__go_on(struct decoder *d, uint64_t from_lsn, uint64_t until_lsn);
/** @return true when all records below its end are handed on. */
bool decoder__ended(const struct decoder *d);
/** @return the age of what it reads: how long before the clock's time the last record that it
 *  handed on was appended, while others wait behind it; else 0. Nanoseconds. */
int64_t decoder__lag_ns(const struct decoder *d);
/** @return the followed leagues that are in force at @lsn, a line each; for a checkpoint. */
const char *decoder__followed_at(const struct decoder *d, uint64_t lsn);

#endif
