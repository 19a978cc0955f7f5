/* The vendor's rate limiter, as strict as what is known of it allows
 * (https://www.pathofexile.com/developer/docs/index, "Rate Limits").
 *
 * A policy has one rule with up to four windows, "limit:period:restriction" in seconds. A request
 * is counted the moment it arrives, also when it is refused. A hit leaves a window at its time +
 * period, rounded UP to the end of a hidden bucket: 5 s for the first window, 60 s for the others.
 * A request that finds `limit` hits breaches the window: it is answered with 429 and the window is
 * restricted for its restriction time, doubled for each breach before it within ten minutes (16
 * times at most), the end rounded up the same way although Retry-After does not say so. Every
 * request while restricted is a violation again. */
#ifndef SIM_LIMITER_H
#define SIM_LIMITER_H

#include "../wire/sim_buf.h"

enum {
    LIMITER_WINDOWS_MAX = 4,
    LIMITER_HITS_MAX = 4096,
    LIMITER_PENALTY_MAX = 16,
    LIMITER_MEMORY_S = 600,
    LIMITER_HEAD_S = 60
};

struct limit_window {
    int64_t limit, period_s, restriction_s;
    int64_t bucket_ns;     /* 0 counts exactly. */
    int64_t restricted_ns; /* Restricted before this time; the rounded end. */
    int64_t announced_ns;  /* The end that headers tell. */
    int64_t breached_ns;   /* The last breach. */
    unsigned n_breaches;   /* In a row, each within LIMITER_MEMORY_S of the one before. */
};
struct limiter {
    char policy[64];  /* The header's value. */
    const char *rule; /* Borrowed: Ip, Account or Client. */
    struct limit_window windows[LIMITER_WINDOWS_MAX];
    size_t n_windows;
    int64_t phase_ns;                  /* Where bucket borders lie. */
    int64_t hits_ns[LIMITER_HITS_MAX]; /* A ring; the oldest is forgotten when it is full. */
    size_t n_hits, first_hit;
    int64_t first_bucket_ns;
    uint64_t n_violations, n_requests;
    bool had_head;   /* Whether @head_ns holds. */
    int64_t head_ns; /* The last HEAD, which does not count. */
};
/** What one request met. */
struct limit_verdict {
    bool refused;
    size_t window;         /* Which window refused; meaningful when @refused. */
    int64_t hits;          /* In that window, this request counted. */
    int64_t retry_after_s; /* For the header. */
    bool was_restricted;   /* It came while a restriction was active. */
};

/** Start with @triples, e.g. "2:1:60,30:60:300". @first_bucket_ns is the hidden bucket of the first
 * window (0 turns rounding off for all windows). @return 0, or -1 when @triples is malformed. */
int limiter__init(struct limiter *l, const char *policy, const char *rule, const char *triples,
                  int64_t first_bucket_ns, int64_t phase_ns, struct sim_err *e);
/** Replace the windows and keep the hits: limits can change at any reply. @return 0, or -1 with
 * nothing changed. */
int limiter__set_triples(struct limiter *l, const char *triples, struct sim_err *e);
/** Count a request that arrived at @now_ns and judge it. */
struct limit_verdict limiter__hit(struct limiter *l, int64_t now_ns);
/** Take a HEAD that asks for the state alone: it counts in no window, and once in LIMITER_HEAD_S is
 * enough. @return whether it came too soon. */
bool limiter__head(struct limiter *l, int64_t now_ns);
/** Count @n hits of somebody else at @now_ns: they take room, but breach nothing. */
void limiter__add_phantoms(struct limiter *l, int64_t now_ns, int64_t n);
/** @return the hits that window @w still counts at @now_ns. */
int64_t limiter__hits(const struct limiter *l, size_t w, int64_t now_ns);
/** Add the X-Rate-Limit-* header lines, the state after the last hit. */
void limiter__headers(const struct limiter *l, int64_t now_ns, struct buf *out);

#endif
