/* Lanes: which part of the log is decoded, and so sent, first. Usually there is one decoder, at the
 * end of the log. When it is far behind and ClickHouse is there again, the live lane jumps to the
 * end, and what it left out becomes a range of the backlog, which a second decoder works off beside
 * it. Both feed the store, which gives the backlog one of its two connections and half of the
 * memory.
 *
 * Nothing of this is written down: the low-water mark stays at the backlog's position, and recovery
 * reads all from there, with one lane. */
#ifndef SOUK_CLI_LANES_H
#define SOUK_CLI_LANES_H

#include "souk/decoder.h"
#include "souk/store.h"

#define LANES_RANGES_MAX 64 /* More outages within one backlog: the live lane stays behind. */

struct app;

struct lane_range {
    uint64_t from, until;
};

struct lanes {
    struct lane {
        struct app *app;
        unsigned feed;           /* Of the store. */
        struct decoder *decoder; /* NULL: the lane is not there. */
        struct lane_range range; /* That it decodes; until 0: no end. */
        uint64_t at;             /* Behind the last record that it handed on. */
        bool closing;
    } lane[FEEDS_PAGES];
    unsigned live; /* The lane at the end of the log; the other is the backlog's. */
    struct lane_range ranges[LANES_RANGES_MAX]; /* That wait, in order. */
    size_t n_ranges;
    uint64_t opened_lsn; /* End of the log at the start. Once more is synced, so is the CONFIG
                            record of this run, and what is followed holds for all that comes. */
    uint64_t n_jumps, bytes_before;
    double bytes_per_s; /* Of the backlog. */
    void (*close_cb)(void *data);
    struct {
        struct series *lag[2], *rows[2], *bytes, *jumps; /* Live, backlog. */
        struct series *decoded, *unbalanced[2];          /* Stages decode, store. */
    } m;
};

struct lanes_status {
    double live_lag_s, backlog_lag_s; /* Age of what is read; 0 when all is. */
    uint64_t backlog_bytes;           /* Of the log. */
    double backlog_eta_s;             /* Negative: not known yet. */
    uint64_t rows[2];                 /* Live, backlog. */
};

/** Starts with one lane at @from_lsn; see decoder__open. @return 0 or an error. */
int lanes__open(struct app *a, uint64_t from_lsn, const char *followed, struct err *e);
void lanes__wake(struct app *a);
/** The store has room again: jumps when that is due, then reads on. */
void lanes__on_room(struct app *a);
/** Once a second: jumps, goes on with the next range, measures. */
void lanes__second(struct app *a);
/** Sets souk_pipeline_imbalance_rows from what decoders made, the store took, replies confirmed and
 *  memory holds. @return rows that are missing in it, or too many: 0, or a mistake of ours. */
int64_t lanes__measure_balance(struct app *a);
/** @return true while there is something synced to decode. */
bool lanes__busy(const struct app *a);
/** @return the position behind the last record of the live lane. */
uint64_t lanes__at(const struct app *a);
/** @return the followed leagues in force at @lsn, which is not below the low-water mark. */
const char *lanes__followed_at(const struct app *a, uint64_t lsn);
void lanes__status(const struct app *a, struct lanes_status *out);
/** Ends after the jobs in flight, then calls @cb. */
void lanes__close(struct app *a, void (*cb)(void *data));

#endif
