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
 *  @return false, and the log says why, when the page could not be decoded. */
bool record_rows__make(const struct spool_record *rec, const struct followed *followed,
                       struct buf *meta, struct buf *body, struct request_facts *facts,
                       struct rows *rows);

#endif
