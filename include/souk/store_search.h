/* Which rows of a batch are sent next once the whole of it was refused: the search for a row that
 * ClickHouse does not take, and smaller blocks for a server that is short of memory.
 *
 * Rows below lo are settled: stored, or refused for good. [lo, hi) is the range under way. What was
 * refused as [lo, hi) holds a bad row; so when its first part is stored, the bad row is in the
 * rest. A batch with one bad row costs at most ceil(log2(n)) + 1 further inserts, the one of the
 * rows behind it included: 17 for 50,000 rows.
 *
 * What is too large is halved. When the larger block may be on its way still (its outcome was never
 * certain), its first part goes under the larger block's own token: the fence. The server takes one
 * of the two, whichever comes first, and drops the other as a repetition. Afterwards the store
 * looks how far the rows reach, and goes on behind them. */
#ifndef SOUK_STORE_SEARCH_H
#define SOUK_STORE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fewer rows are not split for a server that is short of memory. */
#define SEARCH_STEP_MIN 1000
/* The same for one that a block has too many partitions for: rows may have one each. */
#define SEARCH_PARTITIONS_MIN 1

/* So many inserts in a row that were taken, and the next one is twice as large. */
#define SEARCH_GROW_AFTER 4

struct search {
    bool active;        /* The batch is never sent whole again. */
    bool held;          /* Too many rows were refused: waits until somebody has looked. */
    uint64_t lo, hi;    /* The range under way. */
    uint64_t bad;       /* A row of [lo, bad) is refused; 0: none that is known of. */
    uint64_t step;      /* Rows of a range at most; 0: no limit. */
    uint32_t n_inserts; /* Since the last refused row; decides whether there is one to spare. */
    uint64_t n_refused; /* Rows. */
    uint32_t n_renewed; /* Part of the tokens of ranges. */
    /* Not 0: rows [lo, fence) may have been sent at once, so that the range under way has the token
     * of these. */
    uint64_t fence;
    bool fence_whole; /* These were the whole batch, under the seal's token. */
};

/** The whole batch of @n_rows was refused or is too large: what follows goes by ranges. */
void search__begin(struct search *s, uint64_t n_rows);
/** [lo, hi) is stored. @return true when row lo is now known to be the bad one; see
 *  search__refused. */
bool search__stored(struct search *s, uint64_t n_rows);
/** [lo, hi) was refused for its data. @return true when row lo is the bad one: its refusal has to
 *  be written down, then search__skip goes on. */
bool search__refused(struct search *s, uint64_t n_rows);
/** Row lo is settled as refused. */
void search__skip(struct search *s, uint64_t n_rows);
/** Recovery: the log says that @row was refused, so every row before it was settled then, whatever
 *  the last range that was logged. Rows that are settled already are left alone. */
void search__recover_refused(struct search *s, uint64_t row, uint64_t n_rows);
/** [lo, hi) is too large for the server. @uncertain: it may be stored yet, by an attempt that
 * is not over. @return false when it has @n_min rows or fewer, and stays as it is. */
bool search__too_large(struct search *s, uint64_t n_rows, uint64_t n_min, bool uncertain);
/** A range with a fence was said to be stored, and the rows [lo, @end) are there. As
 * search__stored.
 */
bool search__reached(struct search *s, uint64_t end, uint64_t n_rows);
/** [lo, hi), or the whole, was taken for stored and is not there: its token is spent. The same rows
 *  go again, as a range with a token of its own. */
void search__renew(struct search *s, uint64_t n_rows);
/** @return true when all @n_rows are settled. */
static inline bool search__done(const struct search *s, uint64_t n_rows) {
    return s->active && s->lo >= n_rows;
}
/** @return how many rows of @n_rows may be refused: a tenth, at most 1,000, at least 8. More say
 *  that something else is wrong than a row. */
uint64_t search__refused_max(uint64_t n_rows);

#endif
