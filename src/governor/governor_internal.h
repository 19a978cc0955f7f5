/* The governor's own structures. How an endpoint gets its permit:
 *
 *     endpoint's own time (backoff, AIMD, key gaps) -> queue of its policy (tokens, hold, pace)
 *         -> queue of its host (gap, global rate, first requests alone) -> grant
 *
 * Each of the three has one entry in a heap of due times, so a tick costs what is due. An endpoint
 * in a host's queue holds a reservation of its policy (n_ready) of as many tokens as its request
 * costs, so no more wait there than may go. Whether it may be there is asked with the same question
 * on the way in and on the way out (schedule.c: may_go_ns): two questions that can differ would
 * hand an endpoint to and fro for ever. And a tick has so many steps and no more, whatever is due.
 */
#ifndef SOUK_GOVERNOR_INTERNAL_H
#define SOUK_GOVERNOR_INTERNAL_H

#include "headers.h"
#include "souk/core/map.h"

/** What was refused as its table is full. */
enum governor_full { FULL_ENDPOINT, FULL_POLICY, FULL_WAITER, FULL_KEY, GOVERNOR_FULLS };
#define ENDPOINTS_MAX 10000
#define POLICIES_MAX 1024 /* Named ones; beyond it an endpoint's windows are its own. */
#define HOSTS_MAX ENDPOINTS_MAX
#define WAITERS_MAX 256 /* An endpoint's; then ERR_FULL. */
#define KEYS_MAX 1024   /* Keys in their gap, an endpoint's; then the oldest is waited for. */
#define RING_MAX 8192   /* A window never uses more tokens than this. */
#define INVALID_MAX 64
#define SERIES_ENDPOINTS 48 /* So many endpoints, policies and windows have their own series. */
#define SERIES_POLICIES 48
#define SERIES_WINDOWS 128

#define NEVER INT64_MAX
#define LONG_AGO (INT64_MIN / 4)
#define SAFETY_NS NS_PER_S             /* On top of period and hidden bucket. */
#define UNANSWERED_NS (600 * NS_PER_S) /* Then a request counts as ended. */
#define DISABLE_NS (24 * 3600 * NS_PER_S)
#define BLOCK_NS (3600 * NS_PER_S)
#define INVALID_SPAN_NS (600 * NS_PER_S)
#define REST_NS (300 * NS_PER_S)      /* After 401 or 403 twice; doubled each time again, */
#define REST_MAX_NS (3600 * NS_PER_S) /* up to this. */
#define REFUSALS_MAX 30u              /* Of single subjects, a venue's in INVALID_SPAN_NS. */
#define RECOVER_STAGES 2              /* A quarter, then half. */
#define TICK_STEPS_MAX 4096u          /* Of one tick; what is due beyond it waits for the next. */
#define RETRIES_MAX 100u
#define RETRY_COST_FAILURE 14u
#define RETRY_COST_THROTTLE 5u
#define SUSPEND_NS (60 * NS_PER_S)
#define SUSPEND_MAX_NS (600 * NS_PER_S)
#define HEAD_AGAIN_NS (60 * NS_PER_S) /* A restart loop must not poll with HEAD. */

enum due_kind { DUE_ENDPOINT, DUE_POLICY, DUE_HOST, DUE_VENUE, DUE_REAPER };
struct due {
    int64_t at_ns;
    uint64_t order; /* Equal times: first in, first out. */
    size_t pos;     /* In the heap, from 1; 0: not there. */
    enum due_kind kind;
    void *owner;
};

struct endpoint_queue {
    struct endpoint *head, *tail;
};

/** A bucket of tokens. Holds when each live token was spent, oldest first. */
struct window {
    char rule[16];
    uint32_t limit, period_s, restriction_s;
    int64_t hidden_ns;
    int64_t others_ns; /* Until then others are taken to use the window as well. */
    int64_t blind_ns;  /* Until then it is shut: there was no memory to note a token that is out. */
    int64_t *ring;     /* Owned. */
    uint32_t at, n, cap;
    uint32_t n_foreign;                           /* Of the n: hits of somebody else. */
    uint32_t used;                                /* As last measured. */
    struct series *s_limit, *s_used, *s_headroom; /* NULL beyond the bound. */
};

struct venue;
struct policy {
    const struct venue *home; /* Of the endpoints that it governs. */
    char name[64];            /* "" for the private one of an endpoint. */
    char venue[64];
    struct window windows[WINDOWS_MAX];
    size_t n_windows;
    int64_t hold_ns; /* The server said: not before. Never falls by a reply. */
    int64_t last_grant_ns;
    uint32_t n_inflight; /* Tokens of requests that are granted and not answered. */
    uint32_t n_ready;    /* Tokens as good as spent: of its endpoints in a host's queue. */
    uint32_t n_endpoints;
    uint32_t n_refusals;      /* 429 in a row: until a success, one request at a time. */
    uint32_t recover;         /* Stages left of coming back; 0: none. */
    int64_t recover_until_ns; /* Of this stage. */
    uint32_t n_waiting_by_class[CLASS__N]; /* Permits of its endpoints. */
    int64_t learned_wall_ns;               /* When its windows were told as they are. */
    struct share {
        uint32_t deficit; /* Tokens that it may take in its turn. */
        uint32_t n_ready; /* Endpoints in a host's queue in its name. */
        int64_t full_ns;  /* When its ceiling has room for a whole burst (a GCRA's arrival time). */
    } shares[CLASS__N];
    enum permit_class turn;
    struct endpoint_queue queue;
    struct due due;
    struct policy *next;
    struct series *s_throttled, *s_blocked, *s_state[ENDPOINT__STATES];
};

struct host {
    char name[256];
    int64_t next_ns;
    int64_t depart_ns; /* The next request may leave then; see governor__depart(). */
    uint32_t n_inflight;
    struct endpoint *first;            /* Its first request is in flight, alone. */
    struct endpoint_queue queue;       /* Ready but for the gap. */
    struct endpoint_queue first_queue; /* Ready, but another's first request is in flight. */
    struct due due;
    struct host *next;
};

/** What the hosts of one vendor share. */
struct venue {
    char name[64];
    uint32_t n_inflight;
    uint32_t n_want;             /* HEADs in the queue: they wait for n_inflight to be 0. */
    struct endpoint *heading;    /* Its HEAD is under way, alone. */
    struct endpoint_queue queue; /* Ready but for the HEAD of another, or for its own. */
    uint32_t n_firsts; /* First requests under way, of endpoints whose policy is unknown. */
    bool own_waits;    /* A policy without a name, which is in no list, waits for an end. */
    uint32_t retries;  /* Left to spend. */
    int64_t refused_ns[REFUSALS_MAX]; /* When single subjects were refused, oldest first. */
    uint32_t n_refused;
    struct due due;
    struct venue *next;
    struct series *s_refused, *s_refusals_left;
};

/** The last grants by key. A ring in order of time with a map on top. */
struct key_gap {
    char key[64];
    int64_t until_ns;
    struct key_gap *newer;
};

struct endpoint {
    struct governor *g;
    struct endpoint_options o; /* Strings owned. */
    struct policy *policy;     /* Never NULL. */
    struct policy own;         /* Until a reply names one. */
    struct host *host;
    struct venue *venue;
    bool head_due; /* The vendor's HEAD at the start was not sent yet. */
    bool wants;    /* Counted in venue->n_want. */
    bool is_first; /* Counted in venue->n_firsts. */
    bool learned;  /* A reply was read: requests need not go alone. */
    /* Waiting and flying permits. */
    struct permit *head, *tail;
    uint32_t n_waiting, n_inflight;
    uint32_t n_tokens; /* Of those in flight. */
    uint32_t n_waiting_by_class[CLASS__N];
    uint64_t n_granted_by_class[CLASS__N];
    enum permit_class turn; /* Whose token it holds while it is ready. */
    /* Where it stands; at most one of: due in the heap, in a queue. */
    struct endpoint_queue *queue;
    struct endpoint *prev, *next;
    bool ready;          /* Counted in policy->n_ready, */
    uint32_t n_reserved; /* with so many tokens. */
    uint32_t turn_cost;  /* What its turn took from its class's deficit. */
    struct due due;
    /* Health. */
    double rate_per_s;
    int64_t rate_next_ns, rate_cut_ns, rate_step_ns;
    uint32_t n_in_step; /* Grants since the last look at the rate. */
    int64_t depart_ns;  /* As the host's, for the rate. */
    uint32_t n_fail, n_auth, n_blocks;
    bool refused; /* The last failure was a 429: over when the policy answers anybody again. */
    int64_t backoff_ns;        /* Not before. */
    int64_t disabled_until_ns; /* 0: enabled; NEVER: until governor__resume. */
    bool killed;               /* Disabled by somebody. */
    bool unproven;             /* It was disabled, and no reply has said since that it is open. */
    int64_t paused_until_ns;   /* Likewise, but its requests wait. */
    char paused_reason[64];
    char disabled_reason[96];
    char last_error[96];
    int64_t invalid_ns[INVALID_MAX];
    uint32_t n_invalid;
    struct map keys; /* Of struct key_gap; made when key_gap_ns is set. */
    struct key_gap *oldest_key, *newest_key;
    uint64_t n_requests, n_throttled, n_errors;
    struct series *s_disabled, *s_invalid, *s_rate, *s_wait;
};

/* What was saved of an endpoint that this run does not have: its source may be back with the next.
 */
struct absent {
    struct absent *next;
    struct endpoint ep; /* Of no host and venue; only its name and what is saved are there. */
    char policy[64];
};

struct governor {
    struct governor_options o;
    const struct clock *clock;
    struct metrics *metrics;
    uv_timer_t timer;
    int64_t armed_ns; /* What the timer is set to; NEVER when it is not. */
    bool ticking, closing;
    bool in_timer; /* The loop's timers are run: one set to 0 would be of the same run, for ever. */
    uint32_t steps_left; /* Of this tick. */
    void (*close_cb)(void *data);
    void *close_data;
    struct endpoint **endpoints;
    size_t n_endpoints, cap_endpoints;
    struct absent *absent; /* Owned. */
    size_t n_absent;
    struct policy *policies;
    size_t n_policies;
    struct map policy_map, host_map, venue_map;
    struct host *hosts;
    struct venue *venues;
    struct due **heap;
    size_t n_heap, cap_heap;
    uint64_t n_due, n_grants;
    int64_t global_next_ns;
    uint64_t random;
    struct permit *flying_head, *flying_tail; /* Oldest grant first. */
    struct permit *ending_head, *ending_tail; /* To be told no. */
    struct due reaper;
    bool suspect; /* The saved state was damaged: new windows start full. */
    size_t n_series_policies, n_series_windows;
    struct series *s_cuts, *s_wrong, *s_full[GOVERNOR_FULLS]; /* NULL without metrics. */
};

/* schedule.c: the heap and who stands where. */
void schedule__at(struct governor *g, struct due *d, int64_t at_ns);
void schedule__remove(struct governor *g, struct due *d);
/** Puts @ep where it belongs now; for when anything about it changed. */
void schedule__place(struct governor *g, struct endpoint *ep);
void schedule__unplace(struct governor *g, struct endpoint *ep);
/** Looks at the queue of @p at the next tick. */
void schedule__wake(struct governor *g, struct policy *p);
void schedule__wake_host(struct governor *g, struct host *h);
void schedule__wake_venue(struct governor *g, struct venue *v);
/** The first request of @ep is over: what its policy may have been is known, or nobody's. */
void schedule__end_first(struct governor *g, struct endpoint *ep);
/** Sets the timer to the first due time. */
void schedule__arm(struct governor *g);
/** Tells ERR_LIMIT to all who wait for more tokens than the windows of @p, which changed, can hold.
 */
void schedule__refuse_too_costly(struct governor *g, const struct policy *p);
/** Moves all who wait at @ep to those that are told @status from the loop. */
void schedule__refuse_all(struct governor *g, struct endpoint *ep, int status);
/** @return true, with the token spent, when @p, which waits at @ep, may go before all who queue. */
bool schedule__grant_now(struct governor *g, struct endpoint *ep, struct permit *p);

/* permit.c: the life of permits. */
void permit__fly(struct governor *g, struct permit *p);
void permit__land(struct governor *g, struct permit *p);
void permit__end(struct governor *g, struct permit *p, int status);
void permit__wait(struct permit *p);
/** @return the oldest of those to be told no, taken out; NULL when there is none. */
struct permit *permit__pop_ending(struct governor *g);

/* window.c: one bucket. */
int64_t window__span_ns(const struct window *w);
/** @return tokens that may be used: of @w's limit, @utilisation; and of that @share, at least 1. */
uint32_t window__usable(const struct window *w, double utilisation, double share);
/** Counts a token as spent at @spent_ns. Without memory it is shut until the token
 * would be back (blind_ns). */
void window__spend(struct window *w, int64_t spent_ns);
/** The same for a hit of somebody else; the lowest bit of its time says so. */
void window__spend_foreign(struct window *w, int64_t spent_ns);
/** @return live tokens that are our own. */
uint32_t window__own(struct window *w, int64_t now_ns);
/** @return tokens that are spent and not back at @now_ns. Forgets those that are. */
uint32_t window__live(struct window *w, int64_t now_ns);
/** @return tokens that the server counts for certain: spent less than a period ago. */
uint32_t window__certain(const struct window *w, int64_t now_ns);
/** @return when a request may go while @pending tokens more are as good as spent. */
int64_t window__next_ns(struct window *w, double utilisation, double share, uint32_t pending,
                        int64_t now_ns);
/** The pessimistic union: the k-th newest token of @w becomes the later one of @w's and @from's. */
void window__merge(struct window *w, const struct window *from);
void window__fini(struct window *w);

/* policy.c: windows together. */
void policy__init(struct governor *g, struct policy *p, const char *venue, const char *name);
void policy__fini(struct policy *p);
/** Finds or makes a named policy. @return NULL at the bound or without memory. */
struct policy *policy__named(struct governor *g, const char *venue, const char *name);
/** @return when the next request may go, with @ready ones before it. @why (may be NULL) becomes the
 *  window that says so, or NULL when it is the hold or nothing. */
int64_t policy__next_ns(struct governor *g, struct policy *p, uint32_t ready,
                        const struct window **why);
/** @return the most tokens that one request can ever have of @p: RING_MAX while no window is known.
 */
uint32_t policy__cost_max(const struct governor *g, const struct policy *p);
/** Least time between the grants of a paced endpoint. */
int64_t policy__pace_ns(const struct governor *g, const struct policy *p);
void policy__spend(struct policy *p, uint32_t cost, int64_t done_ns);
/** The trouble is over: a part of the tokens for a window, then more. */
void policy__recover(struct governor *g, struct policy *p);
/** @return the share of the tokens that may be used at @now_ns. */
double policy__share(const struct policy *p, int64_t now_ns);
void policy__hold(struct policy *p, int64_t until_ns);
/** Takes over what the server says now. @hidden are the counting buckets. @return true when the
 *  windows differ from before. */
bool policy__learn(struct governor *g, struct policy *p, const struct rate_headers *h,
                   int64_t hidden_first_ns, int64_t hidden_next_ns);
/** Takes tokens away for hits that are not ours. */
void policy__reconcile(struct policy *p, const struct rate_headers *h, int64_t now_ns);
/** Moves @ep from its policy to @to. */
void policy__bind(struct governor *g, struct endpoint *ep, struct policy *to);
int64_t policy__hidden_max_ns(const struct policy *p);

/* share.c: whose turn it is. */
/** Chooses of those that wait in @p's queue. @return the endpoint, its turn set; NULL with the time
 *  at which a ceiling lets somebody go, or NEVER. */
struct endpoint *share__next(struct governor *g, struct policy *p, int64_t *next_ns);
/** A token of @p went to @class. */
void share__granted(const struct governor *g, struct policy *p, enum permit_class class,
                    uint32_t cost);
/** What was granted was never sent: the ceiling has its room again. */
void share__undone(const struct governor *g, struct policy *p, enum permit_class class,
                   uint32_t cost);
/** @ep, which share__next chose, cannot go after all: its class keeps what the turn took. */
void share__not_taken(struct policy *p, const struct endpoint *ep);
/** @return when the ceiling of @class has room. */
int64_t share__ceiling_ns(const struct governor *g, const struct policy *p,
                          enum permit_class class);
static inline uint32_t permit__cost(const struct permit *p) {
    return p->head ? 0 : p->cost == 0 ? 1 : p->cost;
}
/** @return when the deadline of @p is, by its tier. */
int64_t permit__deadline_ns(const struct permit *p);

/* endpoint.c: what needs no headers. */
/** @return when @ep may go, as far as it knows itself; @who (may be NULL) becomes the one of its
 *  waiting permits to go: of the class whose turn it is, if that may. */
int64_t endpoint__next_ns(struct endpoint *ep, int64_t now_ns, struct permit **who);
bool endpoint__disabled(const struct endpoint *ep, int64_t now_ns);
/** The pace counts from the answer: when the request arrived is not known, and the next one may be
 *  faster on its way. */
void endpoint__answered(struct endpoint *ep, int64_t done_ns);
void endpoint__granted(struct endpoint *ep, struct permit *p, int64_t now_ns);
void endpoint__succeeded(struct endpoint *ep, int64_t now_ns);
/** @return the backoff that it chose, from now. */
int64_t endpoint__failed(struct endpoint *ep, bool throttled, bool unreached, int64_t now_ns);
void endpoint__invalid(struct endpoint *ep, int status, int64_t now_ns);
/** A refusal that is about the subject of the request alone. */
void endpoint__refused_subject(struct endpoint *ep, int status, int64_t now_ns);
/** @return when a request may go that may well be refused: whose owner's last one was, or that is
 *  its first. */
int64_t venue__unproven_ns(struct venue *v, int64_t now_ns);
/** Its budget of refused subjects is whole again. */
void venue__forget_refusals(struct governor *g, struct venue *v);
uint32_t venue__refusals_left(const struct venue *v, int64_t now_ns);
void endpoint__disable(struct endpoint *ep, int64_t until_ns, const char *why);
uint32_t endpoint__invalid_left(const struct endpoint *ep, int64_t now_ns);
enum endpoint_state endpoint__state(struct endpoint *ep, int64_t now_ns, int64_t next_ns);
void endpoint__free_keys(struct endpoint *ep);
void endpoint__remember_key(struct endpoint *ep, const char *key, int64_t until_ns);
void endpoint__forget_key(struct endpoint *ep, const char *key);
/** @return whether @k of the ring is its key's gap, and not one that was forgotten since. */
bool endpoint__holds(struct endpoint *ep, const struct key_gap *k);

/* Uniform in [0, max_ns]; the same seed gives the same numbers. */
int64_t governor__random_ns(struct governor *g, int64_t max_ns);

/* measure.c: series. */
void measure__init(struct governor *g);
void measure__full(struct governor *g, enum governor_full what);
void measure__endpoint_init(struct endpoint *ep);
void measure__policy_init(struct governor *g, struct policy *p);
void measure__policy(struct governor *g, struct policy *p);
void measure__endpoint(struct endpoint *ep);
void measure__venue_init(struct governor *g, struct venue *v);
void measure__venue(const struct governor *g, struct venue *v);

#endif
