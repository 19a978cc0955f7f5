/* From records of the log to listing events: each page of psapi goes through the tape, whose events
 * become rows of silver_listing_events. Records must come strictly in log order, each once; what
 * the rows are then depends on them and on what the tape remembered before, on nothing else.
 *
 * It blocks for a page's decoding: for the thread pool, one thread at a time. */
#ifndef SOUK_TAPE_RECORDS_H
#define SOUK_TAPE_RECORDS_H

#include "souk/psapi_versions.h"
#include "souk/record_rows.h"
#include "souk/tape.h"

#define TAPE_KINDS 6 /* Of enum tape_kind. */

struct tape_records {
    struct tape *tape; /* Borrowed. */
    /* Pages below it are only remembered: their events were told before, by a tape that is lost. */
    uint64_t tell_from_lsn;
    bool broken; /* Memory ran out within a page: what the tape remembers is not what the log says,
                    and the process must not go on with it. */
    uint64_t n_pages, n_undecodable;
    uint64_t n_told[TAPE_KINDS], n_untold;
    struct psapi_versions_count count;
};

/** Takes @rec in and appends the rows it makes to @rows; other records, pages of other sources and
 *  of backfills make none. @followed: the leagues that are partitions of their own. @body is
 * scratch.
 *  @return 0; ERR_MALFORMED, and the log says why, for a page that cannot be decoded: it is left
 *  out; ERR_NOMEM with @rows empty: take it again, unless broken is set, as it then is for good.
 */
int tape_records__take(struct tape_records *t, const struct spool_record *rec,
                       const struct followed *followed, struct buf *body, struct rows *rows);

#endif
