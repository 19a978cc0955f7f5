/**
 * A pool of connections over a list of hosts. A connection is lent to one borrower at a time; who
 * cannot have one at once waits in line, for as long as it says. A host that fails is left alone
 * for a pause that grows (full jitter), and the others take its place.
 *
 * What is handed out was there a moment ago: a connection that is lost while idle is dropped at
 * once, one that was idle for long is pinged first, and one that comes back closed is not kept.
 */
#ifndef CH_NATIVE_POOL_H
#define CH_NATIVE_POOL_H

#include "keeper.h"

enum {
    CHN_POOL_CONNECTIONS_MAX = 64,
    CHN_POOL_WAITERS_MAX = 1024,
};

enum chn_pool_order {
    CHN_POOL_ROUND_ROBIN, /* New connections go to the hosts in turn. */
    CHN_POOL_FIRST_ALIVE, /* To the first in the list that is not left alone. */
};

/** 0 and NULL mean the default in brackets. */
struct chn_pool_options {
    const struct chn_options *conn; /* As for chn_conn__new(), copied; a connection gets one of its
                                       hosts. on_lost and data are the pool's. */
    enum chn_pool_order order;
    unsigned n_max;             /* Connections [4]. */
    unsigned waiters_max;       /* In line, or CHN_ERR_LIMIT [64]. */
    uint32_t ping_after_ms;     /* Idle for longer, it is pinged before it is lent [10000]. */
    uint32_t age_max_ms;        /* Older, it is closed when it comes back [600000]: so that the load
                                   finds its way back to a host that was away. */
    struct chn_backoff backoff; /* The limits of the pauses of a host. */
};

struct chn_pool_host {
    const char *name; /* The pool's. */
    uint16_t port;
    unsigned n_connections;
    unsigned n_failures;  /* To connect, in a row. */
    uint32_t retry_ms;    /* From now on; 0: not left alone. */
    struct chn_err error; /* Of the last failure; code 0: none yet. */
};

struct chn_pool_status {
    unsigned n_idle, n_lent, n_opening, n_waiting; /* Opening: connecting or pinged. */
    size_t n_hosts;
    struct chn_pool_host hosts[CHN_HOSTS_MAX];
};

struct chn_pool;

/** @return the pool, which connects when it is asked for a connection, or NULL with @err filled. */
struct chn_pool *chn_pool__new(uv_loop_t *loop, const struct chn_pool_options *options,
                               struct chn_err *err);

/** @conn is ready, and the borrower's until it is released. NULL: @err says why, CHN_ERR_TIMEOUT
 * with the last host's error, or CHN_ERR_CANCELED. */
typedef void (*chn_acquire_cb)(struct chn_pool *pool, void *data, struct chn_conn *conn,
                               const struct chn_err *err);
/** Asks for a connection within @timeout_ms. @return 0, which promises one call of @cb from the
 * loop, CHN_ERR_LIMIT (too many wait), CHN_ERR_NOT_READY (it is being closed), CHN_ERR_MEMORY. */
int chn_pool__acquire(struct chn_pool *pool, uint32_t timeout_ms, chn_acquire_cb cb, void *data);
/** Gives @conn back, in whatever state. A request under way is canceled. */
void chn_pool__release(struct chn_pool *pool, struct chn_conn *conn);

void chn_pool__status(const struct chn_pool *pool, struct chn_pool_status *out);

/** Who waits hears CHN_ERR_CANCELED; all connections are closed, the lent ones as well: releasing
 * them does nothing any more. @cb (may be NULL) is the last that happens. */
void chn_pool__close(struct chn_pool *pool, chn_close_cb cb, void *data);

#endif
