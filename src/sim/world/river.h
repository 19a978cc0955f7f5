/* The public stash river of one realm: a chain of pages, each a function of its cursor and never
 * another one once it was made. Pages come from an economy, or from recorded bodies in replay. With
 * a state folder every page is in a log on disk before it is first answered, so that a restarted
 * simulator serves the same pages and goes on behind them; without one only the newest pages are
 * kept. */
#ifndef SIM_RIVER_H
#define SIM_RIVER_H

#include <stdio.h>

#include "economy.h"

enum { RIVER_SHARDS = 5, CURSOR_MAX = 64, RIVER_PAGES_MAX = 4 * 1000 * 1000, RIVER_KEPT_MAX = 256 };
#define RIVER_KEPT_BYTES_MAX ((size_t)192 << 20)

struct river_options {
    const char *realm;     /* pc, xbox, sony. Borrowed. */
    const char *state_dir; /* NULL keeps pages in memory only. Borrowed. */
    uint64_t seed;
    const struct span *leagues; /* Borrowed during init. */
    size_t n_leagues;
    bool rate_max; /* Each new page is full at once. */
    double changes_per_s;
    size_t page_changes_max; /* 500 usually. */
    size_t backlog;          /* Changes that wait at the start. */
    struct body *
        *replay; /* Recorded `stashes` arrays instead of an economy; taken. NULL without replay. */
    size_t *replay_changes; /* How many stashes each holds; taken. */
    size_t n_replay;
};
/** What is known of a page: its place is its number. Its cursor is the sum of what came before. */
struct river_page {
    uint64_t shards[RIVER_SHARDS]; /* The request cursor. */
    int64_t offset;                /* In the log; -1 without. */
    uint32_t n_changes, raw_len, z_len, n_hostile;
};
struct kept_page {
    size_t index;
    struct body *body;
};
struct river {
    struct river_options o;
    struct economy *economy; /* Owned; NULL in replay. */
    struct river_page *pages;
    size_t n_pages, pages_cap;
    uint64_t tail[RIVER_SHARDS]; /* The cursor of the page that is not made yet. */
    int64_t start_ns;            /* Time 0 of the flow. */
    uint64_t n_flowed;           /* Changes put in pages since @start_ns. */
    bool frozen;                 /* No new pages. */
    int64_t frozen_at_ns;
    unsigned n_hostile_next;               /* The next page holds that many hostile prices. */
    struct kept_page kept[RIVER_KEPT_MAX]; /* A ring of the newest, and of those read back. */
    size_t n_kept, first_kept, kept_bytes;
    FILE *log;
    struct buf scratch;
};
enum river_answer { RIVER_PAGE, RIVER_END, RIVER_UNKNOWN };

/** Start a river at @now_ns, reading back its log if there is one. @return 0, or -1 with why. Takes
 * o->replay. */
int river__init(struct river *r, const struct river_options *o, int64_t now_ns, struct sim_err *e);
void river__fini(struct river *r);
/** Find the page of @cursor ("" is the oldest), making it when it is next and something has
 * happened. RIVER_PAGE: @body gets a reference and @index its number. RIVER_END: nothing new, ask
 * again. RIVER_UNKNOWN: this cursor was never given out, or is no longer kept. */
enum river_answer river__get(struct river *r, const char *cursor, int64_t now_ns,
                             struct body **body, size_t *index, struct sim_err *e);
/** @return page @index (less than n_pages) with one reference, or NULL with why. */
struct body *river__page(struct river *r, size_t index, struct sim_err *e);
/** Write the cursor of page @index (n_pages is the tail) to @out. */
void river__cursor(const struct river *r, size_t index, char out[CURSOR_MAX]);
/** Make the pages that are due, at most 40, and write the newest cursor to @out: what change-ids
 * tells. */
void river__head(struct river *r, int64_t now_ns, char out[CURSOR_MAX]);

#endif
