/* The governor: when a request may go. No request leaves without a permit.
 *
 * An endpoint is one URL class of an upstream. Its first responses tell which policy governs it;
 * endpoints that share a policy's name share its counters. A policy has rules (Ip, Account,
 * Client), a rule has windows (limit:period:restriction); each window is a bucket of `limit`
 * tokens, and a request needs one of every window. A token that is spent comes back at
 * (response received) + period + hidden counting bucket + 1 s: exact for sliding windows and safe
 * for fixed ones. Sources: facts on rate limits (header grammar, hidden buckets), design.md § 6. */
#ifndef SOUK_GOVERNOR_H
#define SOUK_GOVERNOR_H

#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/metric.h"
#include <uv.h>

struct governor;
struct endpoint;

enum endpoint_state {
    ENDPOINT_OPEN,     /* A permit is a matter of tokens. */
    ENDPOINT_PACED,    /* Waits for a token, or for the least gap. */
    ENDPOINT_PENALTY,  /* The server said until when. */
    ENDPOINT_BACKOFF,  /* Failures; next try is due later. */
    ENDPOINT_PROBE,    /* One request tells whether it is over. */
    ENDPOINT_DISABLED, /* Not authorized, or a block page: until a stated time, then one probe. The
                        * budget of invalid requests is spent, or the server asked for more than a
                        * day of silence: until governor__resume. */
    ENDPOINT_RECOVER,  /* It is over: a quarter, then half of the tokens, for a window each. */
    ENDPOINT_KILLED,   /* Somebody stopped it; only somebody lets it go again. */
    ENDPOINT__STATES,
};

/* Classes of work that share the policies. When several wait for one token, they take it by
 * deficit round robin with these weights: 4, 2, 1, 4, 1. A class that has nothing to send leaves
 * its share to the others, up to their ceilings. */
enum permit_class {
    CLASS_TAIL,        /* The newest of a stream. */
    CLASS_METADATA,    /* Leagues, static lists, names. */
    CLASS_BACKFILL,    /* The past. */
    CLASS_INTERACTIVE, /* Somebody waits for it. */
    CLASS_PROBE,       /* Is it still there; resynchronising. */
    CLASS__N,
};
/* Within a class the earliest deadline goes first: the time of asking, and 0, 10 or 60 s. So the
 * hot goes before the cold, and the cold goes all the same. */
enum permit_tier { TIER_HOT, TIER_WARM, TIER_COLD, TIER__N };

struct endpoint_options {
    const char *name;        /* Metric label and key of the saved state: never changes. */
    const char *host;        /* Endpoints of one host share its gap. */
    const char *venue;       /* Policies are shared by name within a venue. NULL: the host. */
    double rate_per_s;       /* Without rate-limit headers: the ceiling. 0: 0.8. */
    double rate_floor_per_s; /* Where AIMD stops falling. 0: 1/60. */
    int64_t key_gap_ns;      /* Least time from a reply to the next request with one key (league,
                                type). */
    int64_t hidden_first_ns, hidden_next_ns; /* The server's counting buckets; 0: 5 s, 60 s. */
    uint32_t inflight_max;                   /* 0: 1. */
    uint32_t invalid_max; /* 4xx in 10 minutes before it is disabled, but for those of single
                           * subjects (governor_reply.subject). 0: 10; at most 64. */
    bool use_global_rate; /* Counts in global_rate_per_s. */
    bool head_at_start;   /* The vendor sanctions one HEAD at the start, which tells the state and
                           * does not count: see permit.head. */
    bool paced;           /* Spread evenly instead of in bursts, for background work: least gap =
                           * the largest (period + hidden + 1 s) / usable tokens of its windows. */
};

struct governor_options {
    double global_rate_per_s; /* Over all hosts that ask for it; 0: none. */
    int64_t host_gap_ns;      /* Least time between two requests to a host. 0: 250 ms. */
    double utilisation;       /* Share of a window's tokens that may be used; 0: 0.96. What is kept
                               * free is rounded down, so windows below 25 are used whole. */
    uint64_t seed;            /* For jitter; same seed, same jitter. */
    uint64_t boot_id;         /* Of the machine's start, within which the monotonic clock of one
                               * process goes on in the next: clock__boot_id(). 0: unknown. */
    uint32_t host_inflight_max; /* Requests under way to one host; 0: 4. */
    /* The most of a policy's lasting rate that a class may take, also when nobody else wants it:
     * what is left is at once there for the others. 0: 1 for TAIL and INTERACTIVE, 0.8 for
     * BACKFILL, 0.5 for METADATA and PROBE. */
    double ceiling[CLASS__N];
};

struct permit;
/** Told 0: send now, then call governor__report; or ERR_CANCELED, ERR_REFUSED (disabled), ERR_LIMIT
 *  (it costs more than the windows, which were learned meanwhile, can ever hold). */
typedef void (*permit_cb)(struct permit *p, int status);

enum permit_where { PERMIT_IDLE, PERMIT_WAITING, PERMIT_FLYING, PERMIT_ENDING };

/** A wish to send one request. Its owner embeds it, zeroed at first, and keeps it where it is until
 *  @cb was told no, or until it has reported or undone a grant. */
struct permit {
    void *data;
    struct endpoint *endpoint; /* Borrowed. */
    permit_cb cb;              /* NULL when neither waiting nor granted. */
    bool granted;              /* A token is spent; governor__report or governor__undo is owed.
                                * Not answered for 10 minutes, it counts as ended then. */
    int64_t asked_mono_ns, granted_mono_ns;
    uint64_t serial;
    enum permit_class class; /* Set by the owner before it asks, as tier and cost are. */
    enum permit_tier tier;
    uint32_t cost; /* Tokens of each window; 0: 1. */
    bool proven;   /* What its owner asks for was there when it was last answered. While the venue's
                    * budget of refused subjects is spent (30 in 10 minutes), only such go; the
                    * others   wait. */
    bool may_head; /* Its owner can send a HEAD; set before it asks. */
    bool head;     /* Granted for a HEAD of the same URL and nothing else: it costs no token. Once
                    * it was reported, the owner asks again for what it wanted. */
    char key[64];
    enum permit_where where; /* The governor's own, as all below. */
    int status;
    struct permit *next, *prev;
};

/** What a request's end tells the governor. */
struct governor_reply {
    int status;      /* HTTP status; 0 when there was no response. */
    bool dispatched; /* It may have reached the server; else its token rolls back. */
    const struct governor_header *headers;
    size_t n_headers;
    int64_t done_mono_ns;
    bool subject; /* A 4xx but 401 and 403 is about what was asked for (a league, a tab, an hour, a
                   * page) and not about the endpoint: whoever asked for it rests, nobody else. */
    bool block_page; /* HTML where data was due, or cf-mitigated: halt, don't retry. */
};
struct governor_header {
    struct slice name, value;
};

struct governor_verdict {
    int64_t retry_after_ns; /* What the server asked for; -1 when it did not. */
    int64_t date_wall_ns;   /* The server's own time when it answered; 0: it did not say. */
    char policy[64];        /* "" when the reply named none. */
    char state[256];        /* X-Rate-Limit-*-State, rule by rule, parsed and printed again. */
    char raw[512];          /* The rate-limit headers as received, one a line. */
    bool throttled;         /* 429, or an active restriction. */
    char error[128];        /* E.g. a policy whose rule headers were missing. */
};

/** @return tail, metadata, backfill, interactive or probe. */
const char *permit_class__name(enum permit_class class);
/** @return the class called @name, or CLASS__N. */
enum permit_class permit_class__find(struct slice name);
/** @return open, paced, penalty, backoff, probe, disabled, recover or killed. */
const char *endpoint_state__name(enum endpoint_state state);

struct governor_window_status {
    char rule[16];
    uint32_t limit, used; /* Tokens; spent or not yet back. */
    uint32_t period_s, restriction_s;
};
/** What was learned of a named policy. */
struct policy_status {
    const char *venue, *name; /* Live until the next report. */
    struct governor_window_status windows[16];
    uint32_t n_windows, n_endpoints;
    int64_t learned_wall_ns; /* When these windows were first told. */
};
struct endpoint_status {
    const char *name, *host;
    char policy[64];
    enum endpoint_state state;
    char reason[128];     /* Why a request waits, for people. */
    bool paused;          /* By somebody; its requests wait. */
    bool unproven;        /* It is disabled by errors, or was, and no reply has been good since. */
    int64_t next_mono_ns; /* When one may go; <= now when at once; INT64_MAX when disabled. */
    double rate_per_s;    /* The learned or configured rate. */
    struct governor_window_status windows[16];
    uint32_t n_windows, n_waiting, n_inflight;
    uint32_t retries_left; /* Of the venue's 100. */
    uint32_t n_waiting_by_class[CLASS__N];
    uint64_t n_granted_by_class[CLASS__N];
    uint64_t n_requests, n_throttled, n_errors;
};

/** @options may be NULL. @clock has to be read once a loop turn, best in a uv_check_t. @clock and
 * @metrics (which may be NULL) are borrowed. @return 0, ERR_NOMEM or libuv's code. */
int governor__open(struct governor **out, uv_loop_t *loop, const struct clock *clock,
                   struct metrics *metrics, const struct governor_options *options, struct err *e);
/** Tells all waiting permits ERR_CANCELED from the loop, then calls @cb (may be NULL) and frees.
 *  Granted permits are let go: nothing is owed for them any more. */
void governor__close(struct governor *g, void (*cb)(void *data), void *data);
/** Adds an endpoint, before the first request. Copies the strings of @options. @return NULL beyond
 *  10,000 or without memory. */
struct endpoint *governor__endpoint(struct governor *g, const struct endpoint_options *options);
/** Asks for a permit. @key ("" or NULL for none; at most 63 bytes count) names what key_gap_ns
 * spaces. First come, first served, but for keys in their gap; endpoints that share a policy take
 * turns.
 *  The first permit of an endpoint with head_at_start is for a HEAD, if its owner may send one:
 * alone among all requests of the venue, once, and not again when it fails; after a restart only
 * when the saved state is older than a minute or knows nothing. Full headers set the state without
 * counting; a reply without them is an error of the policy (governor_verdict.error), never "no
 * limit": the next request goes alone, as if there had been no HEAD.
 *  @return 0, which promises @cb from the loop; ERR_REFUSED when the endpoint is disabled,
 * ERR_LIMIT when it costs more than governor__cost_max(), ERR_FULL when 256 wait there already. */
int governor__acquire(struct governor *g, struct endpoint *ep, struct permit *p, const char *key,
                      permit_cb cb);
/** Takes a token now or not at all, for work of others that is not queued here: nobody who waits is
 *  overtaken. @return 0 with @p granted, @p->cb not called; ERR_UNAVAILABLE, when governor__status
 * says until when and why; ERR_REFUSED when the endpoint is disabled or killed; ERR_LIMIT when it
 * costs more than governor__cost_max(). */
int governor__try(struct governor *g, struct endpoint *ep, struct permit *p, const char *key);
/** Withdraws @p: its callback runs with ERR_CANCELED from the loop. Does nothing when idle, granted
 * or refused already. */
void governor__cancel(struct governor *g, struct permit *p);
/** The request of a granted permit leaves now, if it may: what its owner did since the grant, such
 * as waiting for a disk, can have taken long enough that several granted one after another would
 * leave together. Keeps the host's gap, and the endpoint's rate where no window is known, between
 * departures too. Windows need no help: their tokens come back after the reply.
 *  @return 0, or how many ns to wait before asking again. */
int64_t governor__depart(struct governor *g, const struct permit *p);
/** The request of a granted permit was never sent: its tokens roll back. */
void governor__undo(struct governor *g, struct permit *p);
/** The request of a granted permit ended. Learns from @reply and fills @out (may be NULL).
 *  - 2xx and 3xx are successes. 0, 408, 418, 425, 429 and 5xx are failures: backoff with full
 *    jitter, from the third on the circuit is open and one probe tells whether it is over. A venue
 *    has 100 retries to spend, 14 for a failure and 5 for a 429, and a success earns one: without
 *    any, the circuit opens at the first failure. Other 4xx spend the budget of the endpoint, or
 *    with @reply->subject that of the venue. 401 or 403 twice in a row disables for 5 minutes, and
 *    twice as long each time again, up to an hour; one request tells whether it is over.
 *  - After a 429 (or 418) one request of the policy goes, alone. A second 429 in a row suspends the
 *    policy for a minute, doubled each time, up to ten.
 *  - An active restriction, or Retry-After (RFC 9110 § 10.2.3), holds the policy until the later of
 *    them + hidden bucket + 1 s + up to 1 s of jitter. More than 24 h disables the endpoint.
 *  - @block_page disables all endpoints of the host for an hour, twice as long each time again.
 *  Waiting permits of a disabled endpoint are told ERR_REFUSED from the loop. */
void governor__report(struct governor *g, struct permit *p, const struct governor_reply *reply,
                      struct governor_verdict *out);
/** Grants what is due at the clock's time; the timer calls it, and tests do. It takes a bounded
 * number of steps: what is due beyond them stays due, for the next tick. */
void governor__tick(struct governor *g);
/** @return when governor__tick has something to do next; INT64_MAX when nothing is due by time. For
 *  who drives the clock by hand. */
int64_t governor__due_ns(const struct governor *g);
/** Lets a disabled, paused or killed endpoint go again, with a fresh budget of its
 *  own, and of refused subjects for its venue. A hold of the server stays. */
void governor__resume(struct governor *g, struct endpoint *ep);
/** Holds @ep for @for_ns; who waits goes on waiting. @why (at most 63 bytes count) is shown.
 * Survives a restart, as killing does. */
void governor__pause(struct governor *g, struct endpoint *ep, int64_t for_ns, const char *why);
/** Refuses everything of @ep until governor__resume. */
void governor__kill(struct governor *g, struct endpoint *ep, const char *why);
/** @return until when requests of @ep are refused: 0: they are not; INT64_MAX: until somebody lets
 * it go again. */
int64_t governor__refused_until_ns(const struct governor *g, const struct endpoint *ep);
/** @return the most that one permit may cost: what the smallest window that governs @ep can hold.
 */
uint32_t governor__cost_max(const struct governor *g, const struct endpoint *ep);
size_t governor__n_endpoints(const struct governor *g);
/** @return the endpoint called @name, or NULL. Scans all: for people and other processes. */
struct endpoint *governor__find(struct governor *g, const char *name);
/** Fills @out for the @i-th endpoint in order of addition; its strings live as long as @g. */
void governor__status(const struct governor *g, size_t i, struct endpoint_status *out);
size_t governor__n_policies(const struct governor *g);
/** Fills @out for the @i-th named policy, the newest first. */
void governor__policy(const struct governor *g, size_t i, struct policy_status *out);
/** Sets the gauges to what holds now; for before a scrape. */
void governor__measure(struct governor *g);
/** Saves rings, holds, budgets and learned rates as bytes (wall times). Save it after grants and
 * reports, and sync it before the request of a new grant is sent where a crash loop must not burst:
 * a grant that was not saved is not known to the next process. */
void governor__save(const struct governor *g, struct buf *out);
/** Takes a saved state back, after the endpoints were added and before the first request. Requests
 *  that were in flight count as ended now. A state of another version or damaged is refused
 *  (ERR_CORRUPT): then all endpoints wait 66 s (a first window of 60 s), and windows that are
 * learned from then on are taken to be full. */
int governor__restore(struct governor *g, struct slice saved, struct err *e);

#endif
