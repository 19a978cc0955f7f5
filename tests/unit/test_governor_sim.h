/* A rate-limiting server under a clock that is set by hand, and the requests that are made of it.
 *
 * The server counts as facts on rate limits § 3.6 want: a hit counts at once in every window, its
 * expiry is rounded up to the end of a counting bucket of hidden phase, a restriction likewise.
 * It keeps its own books: n_violations is what it thinks of the client. */
#ifndef TEST_GOVERNOR_SIM_H
#define TEST_GOVERNOR_SIM_H

#include "../lib/moved.h"
#include "souk/governor.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h> /* Needs what is above. */

#define SIM_HITS 4096
#define SIM_REQUESTS 1200
#define MS NS_PER_MS
#define S NS_PER_S

struct sim_window {
    const char *rule;
    uint32_t limit, period_s, restriction_s;
    int64_t bucket_ns, phase_ns;
    int64_t expires_ns[SIM_HITS]; /* In order. */
    size_t n;
    int64_t restricted_ns;
};

struct sim_server {
    const char *policy; /* NULL: sends no rate-limit headers. */
    struct sim_window windows[4];
    size_t n_windows;
    bool no_rules; /* Degraded: the policy's name only. */
    int status;    /* Not 0: what it answers instead of 200. */
    const char *retry_after;
    uint32_t n_hits, n_violations, n_arrived_restricted;
};

struct sim;
struct sim_request {
    struct permit permit;
    struct sim *sim;
    struct sim_server *server;
    bool used, sent, answered, told;
    int64_t sent_ns, arrive_ns, reply_ns;
    int status; /* As told, or of the reply. */
    int reply_status;
    struct governor_verdict verdict;
};

struct sim {
    struct clock clock;
    uv_loop_t loop;
    struct metrics metrics;
    struct governor *g;
    struct endpoint *ep;
    struct sim_server server;
    struct sim_request requests[SIM_REQUESTS];
    size_t n_requests, n_sent, n_answered, n_refused, n_canceled;
    int64_t latency_ns;
    bool block_page, subject;
    int64_t sent_ns[SIM_REQUESTS]; /* In order of sending. */
};

static inline int64_t sim_round_up(int64_t t, int64_t bucket_ns, int64_t phase_ns) {
    int64_t k = (t - phase_ns + bucket_ns - 1) / bucket_ns;
    return phase_ns + k * bucket_ns;
}

static inline void sim_window_trim(struct sim_window *w, int64_t now_ns) {
    size_t gone = 0;
    while (gone < w->n && w->expires_ns[gone] <= now_ns) gone++;
    memmove(w->expires_ns, w->expires_ns + gone, (w->n - gone) * sizeof *w->expires_ns);
    w->n -= gone;
}

/** A hit by us or by another tool. @return true when it was over a limit. */
static inline bool sim_hit(struct sim_server *s, int64_t now_ns) {
    bool over = false;
    for (size_t i = 0; i < s->n_windows; i++) {
        struct sim_window *w = &s->windows[i];
        sim_window_trim(w, now_ns);
        if (w->restricted_ns > now_ns) over = true;
        assert_true(w->n < SIM_HITS);
        w->expires_ns[w->n++] = sim_round_up(now_ns + w->period_s * S, w->bucket_ns, w->phase_ns);
        if (w->n <= w->limit) continue;
        over = true;
        w->restricted_ns = sim_round_up(now_ns + w->restriction_s * S, w->bucket_ns, w->phase_ns);
    }
    return over;
}

struct sim_text {
    char names[12][64], values[12][256];
    struct governor_header headers[12];
    size_t n;
};

static inline void sim_header(struct sim_text *t, const char *name, const char *value) {
    snprintf(t->names[t->n], sizeof t->names[0], "%s", name);
    snprintf(t->values[t->n], sizeof t->values[0], "%s", value);
    t->headers[t->n] = (struct governor_header){.name = slice__str(t->names[t->n]),
                                                .value = slice__str(t->values[t->n])};
    t->n++;
}

static inline void sim_headers(struct sim_server *s, int64_t now_ns, struct sim_text *t) {
    char rules[64] = "", name[64], limits[128], states[128];
    if (s->policy != NULL) sim_header(t, "x-rate-limit-policy", s->policy);
    for (size_t i = 0; s->policy != NULL && !s->no_rules && i < s->n_windows;) {
        const char *rule = s->windows[i].rule;
        size_t l = 0, st = 0;
        for (; i < s->n_windows && strcmp(s->windows[i].rule, rule) == 0; i++) {
            struct sim_window *w = &s->windows[i];
            int64_t left_ns = w->restricted_ns - now_ns;
            sim_window_trim(w, now_ns);
            const char *comma = l == 0 ? "" : ", ";
            l += (size_t)snprintf(limits + l, sizeof limits - l, "%s%u:%u:%u", comma, w->limit,
                                  w->period_s, w->restriction_s);
            st += (size_t)snprintf(states + st, sizeof states - st, "%s%zu:%u:%lld", comma, w->n,
                                   w->period_s, left_ns > 0 ? (long long)(left_ns / S) : 0LL);
        }
        snprintf(name, sizeof name, "X-RATE-LIMIT-%s", rule);
        sim_header(t, name, limits);
        snprintf(name, sizeof name, "x-rate-limit-%s-state", rule);
        sim_header(t, name, states);
        size_t at = strlen(rules);
        snprintf(rules + at, sizeof rules - at, "%s%s", at == 0 ? "" : ",", rule);
    }
    if (rules[0] != '\0') sim_header(t, "X-Rate-Limit-Rules", rules);
}

static inline void sim_on_permit(struct permit *p, int status) {
    struct sim_request *r = p->data;
    struct sim *sim = r->sim;
    assert_false(r->told); /* Once, whatever happens. */
    r->told = true;
    r->status = status;
    if (status == ERR_CANCELED) sim->n_canceled++;
    if (status == ERR_REFUSED) sim->n_refused++;
    if (status != 0) return;
    r->sent = true;
    r->sent_ns = sim->clock.mono_ns;
    r->arrive_ns = r->sent_ns + sim->latency_ns / 2;
    r->reply_ns = r->sent_ns + sim->latency_ns;
    sim->sent_ns[sim->n_sent++] = r->sent_ns;
}

static inline struct sim_request *sim_ask_of(struct sim *sim, struct endpoint *ep,
                                             struct sim_server *server, const char *key) {
    assert_true(sim->n_requests < SIM_REQUESTS);
    struct sim_request *r = &sim->requests[sim->n_requests++];
    *r = (struct sim_request){.sim = sim, .server = server, .used = true, .permit.data = r};
    int rc = governor__acquire(sim->g, ep, &r->permit, key, sim_on_permit);
    if (rc != 0) {
        r->told = true;
        r->status = rc;
    }
    return r;
}
static inline struct sim_request *sim_ask(struct sim *sim) {
    return sim_ask_of(sim, sim->ep, &sim->server, "");
}

static inline void sim_arrive(struct sim_request *r) {
    struct sim_server *s = r->server;
    int64_t now_ns = r->sim->clock.mono_ns;
    bool over = false;
    r->arrive_ns = 0;
    s->n_hits++;
    for (size_t i = 0; i < s->n_windows; i++)
        if (s->windows[i].restricted_ns > now_ns) s->n_arrived_restricted++;
    if (s->n_windows > 0) over = sim_hit(s, now_ns);
    s->n_violations += over;
    r->reply_status = over ? 429 : s->status != 0 ? s->status : 200;
}

static inline void sim_reply(struct sim_request *r) {
    struct sim_text t = {.n = 0};
    struct sim *sim = r->sim;
    sim_headers(r->server, sim->clock.mono_ns, &t);
    if (r->server->retry_after != NULL) sim_header(&t, "Retry-After", r->server->retry_after);
    r->answered = true;
    sim->n_answered++;
    struct governor_reply reply = {.status = r->reply_status,
                                   .dispatched = true,
                                   .headers = t.headers,
                                   .n_headers = t.n,
                                   .done_mono_ns = sim->clock.mono_ns,
                                   .subject = sim->subject,
                                   .block_page = sim->block_page};
    governor__report(sim->g, &r->permit, &reply, &r->verdict);
}

/** Sets the clock @step_ns on and lets happen what is due. */
static inline void sim_step(struct sim *sim, int64_t step_ns) {
    sim->clock.mono_ns += step_ns;
    sim->clock.wall_ns += step_ns;
    for (size_t i = 0; i < sim->n_requests; i++) {
        struct sim_request *r = &sim->requests[i];
        if (!r->sent || r->answered) continue;
        if (r->arrive_ns > 0 && r->arrive_ns <= sim->clock.mono_ns) sim_arrive(r);
        if (r->arrive_ns == 0 && r->reply_ns <= sim->clock.mono_ns) sim_reply(r);
    }
    governor__tick(sim->g);
}

static inline void sim_run(struct sim *sim, int64_t for_ns, int64_t step_ns) {
    for (int64_t end_ns = sim->clock.mono_ns + for_ns; sim->clock.mono_ns < end_ns;)
        sim_step(sim, step_ns);
}

/** Runs until all requests were answered or refused. @return when, or -1 after @at_most_ns. */
static inline int64_t sim_finish(struct sim *sim, int64_t at_most_ns, int64_t step_ns) {
    int64_t end_ns = sim->clock.mono_ns + at_most_ns;
    while (sim->clock.mono_ns < end_ns) {
        size_t n_done = 0;
        sim_step(sim, step_ns);
        for (size_t i = 0; i < sim->n_requests; i++)
            n_done +=
                sim->requests[i].answered || (sim->requests[i].told && !sim->requests[i].sent);
        if (n_done == sim->n_requests) return sim->clock.mono_ns;
    }
    return -1;
}

static inline struct endpoint_options sim_endpoint(const char *name) {
    return (struct endpoint_options){
        .name = name, .host = "api.test", .rate_per_s = 1, .inflight_max = 2};
}

static inline struct sim *sim_new(const struct governor_options *o) {
    struct sim *sim = calloc(1, sizeof *sim);
    struct err e;
    assert_non_null(sim);
    sim->clock = (struct clock){.mono_ns = 1000 * S, .wall_ns = INT64_C(1780000000) * S};
    sim->latency_ns = 100 * MS;
    assert_int_equal(uv_loop_init(&sim->loop), 0);
    assert_int_equal(metrics__init(&sim->metrics), 0);
    assert_int_equal(governor__open(&sim->g, &sim->loop, &sim->clock, &sim->metrics, o, &e), 0);
    return sim;
}

static inline void sim_free(struct sim *sim) {
    governor__close(sim->g, NULL, NULL);
    uv_run(&sim->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&sim->loop), 0);
    moved__write(&sim->metrics);
    metrics__fini(&sim->metrics);
    free(sim);
}

static inline struct endpoint_status sim_status(const struct sim *sim) {
    struct endpoint_status s;
    governor__status(sim->g, 0, &s);
    return s;
}

#endif
