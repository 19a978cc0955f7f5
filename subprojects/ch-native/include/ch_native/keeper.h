/**
 * Keeps a connection up: connects, and connects again after a loss with a pause that grows and is
 * drawn at random (full jitter), so that a server that comes back is not met by everybody at once.
 */
#ifndef CH_NATIVE_KEEPER_H
#define CH_NATIVE_KEEPER_H

#include "conn.h"

/** The pauses alone, for owners who connect themselves. Zeroed but for the limits, it is ready. */
struct chn_backoff {
    uint32_t base_ms, cap_ms; /* First and largest upper bound [100, 10000]. */
    unsigned n_failures;      /* In a row. */
    uint64_t seed;            /* Of the random numbers; 0 draws one from the system. */
};

/** @return a pause from 0 to min(cap, base * 2^failures) ms, and counts a failure. */
uint32_t chn_backoff__next_ms(struct chn_backoff *b);
/** After a success. */
void chn_backoff__reset(struct chn_backoff *b);

struct chn_keeper;

/** @up: the connection is ready. Not @up: it is lost or could not be made, @err says why; it will
 * be tried again. */
typedef void (*chn_keeper_cb)(struct chn_keeper *keeper, void *data, bool up,
                              const struct chn_err *err);

/**
 * Makes a connection that is kept up. @options as for chn_conn__new(), but on_lost and data are the
 * keeper's.
 * @return the keeper, which connects from the loop, or NULL with @err filled.
 */
struct chn_keeper *chn_keeper__new(uv_loop_t *loop, const struct chn_options *options,
                                   const struct chn_backoff *backoff, chn_keeper_cb cb, void *data,
                                   struct chn_err *err);

/** Its connection: make requests when it is ready, do not connect or close it. */
struct chn_conn *chn_keeper__conn(struct chn_keeper *keeper);

/** To be called when a request has ended and left the connection closed (it may be called after any
 * request). */
void chn_keeper__check(struct chn_keeper *keeper, const struct chn_err *err);

/** Closes connection and keeper; @cb is the last that happens. */
void chn_keeper__close(struct chn_keeper *keeper, chn_close_cb cb, void *data);

#endif
