/* From a record of the log to rows: the one way, for pages as they come, pages met again after a
 * restart and pages of a replay.
 *
 * A page that was judged sound and cannot be decoded becomes a quarantine row that says why. Pure:
 * the same record and context make the same rows, byte for byte, on any thread. */
#ifndef SOUK_RECORD_ROWS_H
#define SOUK_RECORD_ROWS_H

#include "souk/journal.h"
#include "souk/spool.h"

#define FOLLOWED_MAX 64

/** What decoding depends on besides the record: the followed leagues, at most FOLLOWED_MAX. */
struct followed {
    char *text; /* Owned: the names, each terminated. */
    const char *names[FOLLOWED_MAX];
    size_t n;
};
/** Sets @f to the names in @lines, one a line, as CONFIG records hold them. What exceeds the bound
 *  is left out. @return 0 or ERR_NOMEM. */
int followed__set(struct followed *f, const char *lines);
/** Frees the names. Accepts a zeroed struct. */
void followed__fini(struct followed *f);

/** Appends to @rows what the PAGE or REQUEST record @rec makes: its page's rows, then those about
 *  the request itself. @facts points into @meta afterwards, or is as good as empty when the record
 *  cannot be read. @body holds the page's body then; its bound bounds what a page may unpack to.
 *  @return 0; ERR_MALFORMED, and the log says why, when the page could not be decoded, with a
 *  quarantine row in @rows; ERR_NOMEM, with @rows empty: it is to be decoded again. */
int record_rows__make(const struct spool_record *rec, const struct followed *followed,
                      struct buf *meta, struct buf *body, struct request_facts *facts,
                      struct rows *rows);
/** Appends to @rows the quarantine row of a row that ClickHouse refused: what the QUARANTINE record
 *  @rec says. @return 0; ERR_MALFORMED, and the log says why, when @rec cannot be read; ERR_NOMEM.
 */
int record_rows__refusal(const struct spool_record *rec, struct rows *rows);

/** Both of the above, for whoever reads a log that is not his own, one record after another. It
 *  blocks for a page's decoding. */
struct record_decoder;
/** @followed: league names, a line each; CONFIG records that come by replace them. @return NULL
 *  without memory. Owned by the caller. */
struct record_decoder *record_decoder__new(const char *followed);
/** Rows that the decoder makes of @rec; none for records that make none. @out is the caller's, to
 *  be freed with rows__fini. @return 0, or ERR_NOMEM. A page that cannot be decoded makes the rows
 *  that the decoder makes of it: one of bronze_quarantine, which names the reason. */
int record_decoder__rows(struct record_decoder *d, const struct spool_record *rec,
                         struct rows *out);
/** Accepts NULL. */
void record_decoder__free(struct record_decoder *d);

#endif
