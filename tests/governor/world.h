/* The real governor against judges of its requests, under a clock that jumps from event to event.
 *
 * A load is work that saturates an endpoint: it keeps a queue of wishes, sends what is granted after
 * governor__depart, and asks again for what failed. Requests arrive half a round trip later, where
 * the server's venue (or its own judge) decides; the reply comes back after the other half. The same
 * seed gives the same run: latencies, phases of counting buckets, and the governor's jitter. */
#ifndef GOVERNOR_WORLD_H
#define GOVERNOR_WORLD_H

#include "optimum.h"
#include "souk/governor.h"
#include "venue.h"

#define MS NS_PER_MS
#define S NS_PER_S
#define WORLD_START_NS (1000 * S)

struct world;

/** What answers. Zeroed: 200 without headers. */
struct server {
    struct venue *venue; /* Owned by the test. NULL: sends no rate-limit headers. */
    int status;          /* Not 0: instead of 200, where the venue does not refuse. */
    const char *retry_after;  /* Sent as it is; NULL: none but a venue's own, with 429. */
    bool silent;              /* Its own 429s tell no Retry-After. */
    bool block_page;          /* Challenge page with 403. */
    bool degraded, head_degraded; /* Headers carry the policy's name only. */
    int head_status;          /* Not 0: instead of 204. */
    bool lost;                /* Counts the request and never answers it. */
    /** Instead of a venue. @return the status. */
    int (*judge)(struct server *s, struct world *w);
    /** Instead of a venue's headers: "Name: value" lines with CRLF. */
    void (*tell)(struct server *s, struct world *w, char out[VENUE_HEADERS_MAX]);
    void *data;
    uint64_t n_arrived, n_heads, n_429, n_violations;
    int64_t last_arrival_ns, last_429_ns;
    uint32_t n_inflight, inflight_worst; /* Granted to unanswered, as the wire has them. */
    bool head_in_company;                /* A HEAD was under way beside another request. */
};

struct load {
    struct world *world;
    struct endpoint *endpoint;
    struct server *server;
    enum permit_class class;
    enum permit_tier tier;
    bool may_head;
    size_t n_left;     /* Wishes not yet asked for. */
    size_t queue_max;  /* Wishes that wait at a time. 0: 32. */
    size_t n_waiting, n_sent, n_done, n_failed, n_refused;
    bool no_retry;     /* What failed is not asked for again. */
    struct load *next; /* The world's. */
};

struct exchange {
    struct permit permit;
    struct world *world;
    struct load *load;
    struct server *server;
    int64_t asked_ns, sent_ns, reply_ns;
    int64_t retry_s;
    int status;
    bool is_head, free;
    struct exchange *next;
};

enum event_kind { EVENT_DEPART, EVENT_ARRIVE, EVENT_REPLY, EVENT_CALL };
struct event {
    int64_t at_ns;
    uint64_t order;
    enum event_kind kind;
    struct exchange *x;
    void (*call)(struct world *w, void *data);
    void *data;
};

struct world {
    struct clock clock;
    uv_loop_t loop;
    struct metrics metrics;
    struct governor *g;
    struct governor_options options;
    struct event *events; /* A heap. Owned. */
    size_t n_events, cap_events;
    uint64_t n_ordered, random;
    int64_t latency_ns; /* Round trips are from half of this to one and a half of it. */
    struct load *loads;
    struct exchange *exchanges; /* All, owned; for reuse. */
    uint32_t n_heads_flying, n_flying;
    struct governor_verdict last; /* Of the last reply. */
    int last_status;
    /* Of all GETs, in order of sending. Owned. */
    int64_t *sent_ns, *replied_ns, *asked_ns;
    size_t n_sent, cap_sent;
};

struct world *world__new(uint64_t seed, const struct governor_options *options);
void world__free(struct world *w);
/** A crash: the governor goes, and one with the saved state (or none) comes. Loads go with it;
 *  endpoints have to be added before world__restore. */
void world__crash(struct world *w, struct buf *saved);
void world__restore(struct world *w, const struct buf *saved);
/** @options NULL: as the vendor's endpoints are configured, two in flight. */
struct endpoint *world__endpoint(struct world *w, const char *name,
                                 const struct endpoint_options *options);
struct endpoint_options world__vendor(const char *name);
/** Starts @l, whose endpoint, server and n_left are set. */
void world__load(struct world *w, struct load *l);
/** Withdraws @n of the wishes of @l that wait, at random. @return how many did. */
size_t world__cancel(struct world *w, struct load *l, size_t n);
void world__at(struct world *w, int64_t at_ns, void (*call)(struct world *w, void *data),
               void *data);
/** Runs to @until_ns. */
void world__run(struct world *w, int64_t until_ns);
/** Runs until all loads are done or @until_ns. @return whether they are. */
bool world__finish(struct world *w, int64_t until_ns);
struct endpoint_status world__status(struct world *w, const char *name);
uint64_t world__random(struct world *w, uint64_t below);
/** @return the longest that a request left after the optimum's eligible time, in a world whose
 *  requests were all of one endpoint. */
int64_t world__lateness_ns(const struct world *w, const struct optimum *o, double spare);

/** One line of the table that tests/run governor prints. @ratio below 0: no saturating load. */
void table__row(const char *scenario, uint64_t seeds, uint64_t requests, uint64_t violations,
                double ratio, bool passed);

#endif
