/* The poller: runs one stream of a pull source.
 *
 *     plan -> permit -> spent token synced -> fetch -> judge -> append -> synced -> plan ...
 *
 * The governor's state is on disk before the request that it permits leaves, so that a crash loop
 * cannot send more than the upstream allows. The next page of a cursor is asked for once this one
 * is synced: a page never turns back. judge and compression run on the thread pool. Every request,
 * whatever came of it, becomes a record. */
#ifndef SOUK_POLLER_H
#define SOUK_POLLER_H

#include "souk/core/wall.h"
#include "souk/governor.h"
#include "souk/http.h"
#include "souk/journal.h"
#include "souk/source.h"
#include "souk/spool.h"

struct poller;

/** A wish to send one request, to somebody who governs more than this process. The poller owns it.
 */
struct gate_ask {
    void *data;
    const char *endpoint; /* Borrowed. */
    enum permit_class class;
    /** Told from the loop, once: 0: send now; else ask again after so many ns. */
    void (*cb)(struct gate_ask *a, int64_t wait_ns);
    uint64_t permit; /* Not 0: its end has to be told. */
    void *owner;     /* The gate's own; NULL when it has nothing under way. */
};
/** What a poller asks between its own permit and the request. All of @ctx. */
struct gate {
    void (*ask)(void *ctx, struct gate_ask *a);    /* Promises @a->cb, maybe at once. */
    void (*cancel)(void *ctx, struct gate_ask *a); /* @a->cb is not called any more. */
    /** The request ended as @reply says, or was never sent: NULL. */
    void (*end)(void *ctx, struct gate_ask *a, const struct governor_reply *reply);
    void *ctx;
};

struct poller_deps { /* All borrowed; they outlive the poller. */
    uv_loop_t *loop;
    const struct clock *clock;
    struct metrics *metrics;
    struct governor *governor;
    struct http *http;
    struct spool *spool;
    struct endpoint *(*endpoint)(void *ctx, const char *name); /* For a stream's endpoint name. */
    void *endpoint_ctx;
    /** The bearer token of @scope for @source, into @out. @return 0; ERR_UNAVAILABLE when it is on
     *  its way; with why in @e, ERR_REFUSED when there is none to be had, which is a normal state,
     * as a scope that was never granted, and ERR_AUTH when there should be one and the upstream
     * takes none for now. NULL: there are none. */
    int (*bearer)(void *ctx, const char *source, const char *scope, char *out, size_t size,
                  struct err *e);
    /** A request with @token of @scope was answered 401: it is worth nothing any more. By now
     *  there may be another. */
    void (*bearer_refused)(void *ctx, const char *source, const char *scope, const char *token);
    void *bearer_ctx;
    struct wall *wall; /* Told the time of every server that says it. NULL: nobody is. */
    /** The refresh token of the user's login, into @out (NULL: it is not wanted), and which login
     *  that is, into @id. @return 0, or ERR_REFUSED with why in @e, and an empty @id, when nobody
     * is logged in. NULL: nobody ever is. */
    int (*refresh_token)(void *ctx, char id[LOGIN_ID_SIZE], char *out, size_t size, struct err *e);
    /** Puts what page_facts.secret holds on disk: the answer to the token of the login @id. On a
     *  thread of the pool, where it may block. */
    void (*keep_secret)(void *ctx, const char *id, struct slice secret);
    void *login_ctx;
    const struct gate *gate; /* NULL: its own permit is enough. Else HEAD at the start is theirs. */
    size_t body_max; /* Of an answer, decompressed: at most DECODE_BODY_MAX. 0: HTTP's default. */
};

#define POLLER_BEARER_MAX 4096 /* Bytes of a token. */
/* How long a poller that is closed waits for the answer to a login, which has the next token. */
#define POLLER_LOGIN_PATIENCE_NS (5 * NS_PER_S)

enum poll_state {
    POLL_IDLE,
    POLL_WAIT,
    POLL_ASK,
    POLL_SAVE,
    POLL_FETCH,
    POLL_JUDGE,
    POLL_KEEP,
    POLL_STOPPED
};

struct poller_counts {
    uint64_t fresh, empty, unchanged, repeat, rewind, invalid, errors, stale, unavailable;
    uint64_t requests; /* Answered or failed. */
};

struct poller_status {
    const char *source; /* Name of the source. */
    const struct stream_spec *stream;
    const struct stream_state *state;
    const char *endpoint; /* Which its request uses: the stream's, or one of a seed or a list. */
    const char *scope;    /* Of the token that its request needs; NULL: none. */
    enum poll_state doing;
    struct poller_counts counts;
    uint64_t body_bytes, entries;
    int64_t started_wall_ns;
    int64_t last_success_wall_ns, last_new_wall_ns, last_advance_wall_ns; /* 0: never. */
    int64_t last_success_mono_ns; /* Of this run, for ages; 0: never. */
    int64_t next_mono_ns;    /* When the next request is due, while idle: also when its endpoint is
                              * disabled. INT64_MAX: not by itself, or nobody knows when. */
    const char *last_cursor; /* In front of the present one; "" when it has not moved. */
    bool frozen;             /* The last answer was a rewind or a repeat. */
    bool held;               /* Frozen by hand; last_error says why. */
    bool seeding, spool_full;
    bool refused;              /* The governor disabled its endpoint. */
    bool quiet;                /* It has no token, and last_error says why: a normal state, */
    bool tokenless;            /* unless this is set too: the upstream takes none for now. */
    uint32_t n_oversized;      /* Answers in a row that are larger than is taken: it rests, too. */
    uint32_t n_refusals;       /* Answers in a row that refused what it asks for: it rests, ever */
    uint16_t refused_http;     /* longer, up to an hour. Their status. */
    bool done;                 /* Its plan is at its end. */
    bool too_old;              /* See page_facts.too_old; of the last answer. */
    int64_t throttled_wall_ns; /* When it was last told 429. */
    char last_error[ERR_MSG_MAX]; /* Of the last failure; "" once all is well again. */
};

/* What people do to a stream. */
enum poller_steer {
    POLLER_SET,    /* It goes on at another cursor. */
    POLLER_FREEZE, /* It asks nothing until it is unfrozen, also after a restart. */
    POLLER_UNFREEZE
};
/** Told once: 0 when the change is synced and holds. */
typedef void (*poller_steered_cb)(void *data, int status);
#define POLLER_REASON_MAX 192

/** What a stream that runs for a time only is told besides its source's plan: a backfill. */
struct poller_bound {
    const char *until; /* It is done once its cursor has reached this; see source_type.reached.
                          Borrowed. */
    int64_t gap_ns;    /* Least time between two requests. */
};

/** Makes a poller that does not ask yet. @type, @settings and @stream are borrowed. */
int poller__open(struct poller **out, const struct poller_deps *deps,
                 const struct source_type *type, const struct source_settings *settings,
                 const struct stream_spec *stream, struct err *e);
/** Where it goes on after a restart. Before poller__start. */
void poller__restore(struct poller *p, struct slice cursor, struct slice etag);
/** Makes it a backfill: its requests are of class backfill, and it ends. Before poller__start. */
void poller__bound(struct poller *p, const struct poller_bound *bound);
/** Frozen by hand before a restart, for @reason; "" for not. Before poller__start. */
void poller__restore_hold(struct poller *p, struct slice reason);
/** Applies what a record of the log says of its cursor. Before poller__start. */
void poller__replay(struct poller *p, const struct request_facts *facts);
void poller__start(struct poller *p);
/** Ends what is in flight, but for a login's request, which has POLLER_LOGIN_PATIENCE_NS to be
 *  answered; then calls @cb. A page that was received is still kept. Its status can
 * be read until poller__free. */
void poller__close(struct poller *p, void (*cb)(void *data), void *data);
/** Frees a closed poller. Accepts NULL. */
void poller__free(struct poller *p);
/** Asks as soon as limits allow, whatever the source's own pace says: somebody wants it now. Does
 *  nothing while a request is under way. */
void poller__poke(struct poller *p);
/** Its settings have changed: what it waits for is planned anew. */
void poller__replan(struct poller *p);
/** Changes its cursor (to @cursor, which the source must accept; else ignored) or whether it is
 *  frozen, once no request is under way; a wait for a permit is given up. The change is a record of
 *  the log with @reason, like a request with the method CURSOR, so that it survives a restart.
 *  @return 0, and @cb is called; ERR_REFUSED with why in @e when it ends, or when another change is
 *  under way; ERR_CONFIG for a cursor that the source refuses. */
int poller__steer(struct poller *p, enum poller_steer what, const char *cursor, const char *reason,
                  poller_steered_cb cb, void *data, struct err *e);
/** @return why somebody froze it, as its checkpoint must know; "" when nobody did. Borrowed. */
const char *poller__hold(const struct poller *p);
/** @return what judge wanted to have remembered, as a secret that must not lie on a disk. Borrowed
 *  until the loop runs. */
struct slice poller__memo(const struct poller *p);
void poller__status(const struct poller *p, struct poller_status *out);
/** @return a number that has changed whenever, between two turns of the loop, the status has. */
uint64_t poller__revision(const struct poller *p);

/** Whether the last 16 answers brought something new, the newest in the lowest bit. */
struct poller_recent {
    uint16_t fresh;
    uint8_t n; /* Of them there were. */
};
/** Notes an answer. */
void poller_recent__add(struct poller_recent *r, bool fresh);
/** @return how soon a stream of @r deserves its turn among others of its class: hot when half of
 * its answers brought something, cold when none of 16 did; one that is @now hot stays so until it
 * is below a quarter. New streams are warm. */
enum permit_tier poller_recent__tier(const struct poller_recent *r, enum permit_tier now);

#endif
