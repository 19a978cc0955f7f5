/* See venue.h. Linked with the simulator's limiter alone; what both programs call buf__fini is
 * renamed for it by the build. */
#include "venue.h"
#include "limiter.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CEILING_SECOND 20
#define CEILING_MINUTE 1000

struct venue {
    char policy[64];
    struct limiter *rules[VENUE_RULES_MAX];
    size_t n_rules;
    struct venue_books books;
    int64_t arrivals_ns[CEILING_MINUTE + 1]; /* A ring of the last ones. */
    uint64_t n_arrivals;
};

struct venue *venue__new(const char *policy, const struct venue_rule *rules, size_t n,
                         int64_t phase_ns, bool bucketed) {
    struct venue *v = calloc(1, sizeof *v);
    struct sim_err e;
    assert(v != NULL && n <= VENUE_RULES_MAX);
    snprintf(v->policy, sizeof v->policy, "%s", policy);
    for (size_t i = 0; i < n; i++) {
        v->rules[i] = calloc(1, sizeof *v->rules[i]);
        assert(v->rules[i] != NULL);
        int rc = limiter__init(v->rules[i], policy, rules[i].name, rules[i].triples,
                               bucketed ? 5 * SIM_NS_PER_S : 0, phase_ns, &e);
        assert(rc == 0);
        (void)rc;
        v->n_rules++;
    }
    return v;
}

void venue__free(struct venue *v) {
    for (size_t i = 0; i < v->n_rules; i++) free(v->rules[i]);
    free(v);
}

static void watch_ceiling(struct venue *v, int64_t now_ns) {
    const size_t size = CEILING_MINUTE + 1;
    v->arrivals_ns[v->n_arrivals++ % size] = now_ns;
    bool over = v->n_arrivals > CEILING_SECOND &&
                now_ns - v->arrivals_ns[(v->n_arrivals - 1 - CEILING_SECOND) % size] < SIM_NS_PER_S;
    over |= v->n_arrivals > CEILING_MINUTE &&
            now_ns - v->arrivals_ns[v->n_arrivals % size] < 60 * SIM_NS_PER_S;
    v->books.n_ceiling += over;
}

int64_t venue__get(struct venue *v, int64_t now_ns) {
    int64_t retry_s = 0;
    bool refused = false, restricted = false;
    watch_ceiling(v, now_ns);
    for (size_t i = 0; i < v->n_rules; i++) {
        struct limit_verdict verdict = limiter__hit(v->rules[i], now_ns);
        refused |= verdict.refused;
        restricted |= verdict.was_restricted;
        if (verdict.retry_after_s > retry_s) retry_s = verdict.retry_after_s;
    }
    v->books.n_requests++;
    v->books.n_violations += refused;
    v->books.n_restricted += restricted;
    return retry_s;
}

void venue__head(struct venue *v, int64_t now_ns) {
    watch_ceiling(v, now_ns);
    v->books.n_heads++;
}

void venue__others(struct venue *v, int64_t now_ns, int64_t n) {
    for (size_t i = 0; i < v->n_rules; i++) limiter__add_phantoms(v->rules[i], now_ns, n);
}

void venue__limits(struct venue *v, size_t rule, const char *triples) {
    struct sim_err e;
    int rc = limiter__set_triples(v->rules[rule], triples, &e);
    assert(rc == 0);
    (void)rc;
}

void venue__rename(struct venue *v, const char *policy) {
    snprintf(v->policy, sizeof v->policy, "%s", policy);
}

int64_t venue__hits(const struct venue *v, size_t rule, size_t w, int64_t now_ns) {
    return limiter__hits(v->rules[rule], w, now_ns);
}

/* The limiter prints the lines of its one rule; of several, the list of rules is ours to join. */
void venue__headers(const struct venue *v, int64_t now_ns, bool degraded,
                    char out[VENUE_HEADERS_MAX]) {
    size_t at = (size_t)snprintf(out, VENUE_HEADERS_MAX, "X-Rate-Limit-Policy: %s\r\n", v->policy);
    if (degraded) return;
    at += (size_t)snprintf(out + at, VENUE_HEADERS_MAX - at, "X-Rate-Limit-Rules: ");
    for (size_t i = 0; i < v->n_rules; i++)
        at += (size_t)snprintf(out + at, VENUE_HEADERS_MAX - at, "%s%s", i == 0 ? "" : ",",
                               v->rules[i]->rule);
    at += (size_t)snprintf(out + at, VENUE_HEADERS_MAX - at, "\r\n");
    for (size_t i = 0; i < v->n_rules; i++) {
        struct buf text = {0};
        limiter__headers(v->rules[i], now_ns, &text);
        const char *own = strstr(text.at, "X-Rate-Limit-Rules: ");
        own = strstr(own, "\r\n") + 2; /* Behind policy and rules. */
        at += (size_t)snprintf(out + at, VENUE_HEADERS_MAX - at, "%s", own);
        buf__fini(&text);
    }
    assert(at < VENUE_HEADERS_MAX);
}

struct venue_books venue__books(const struct venue *v) { return v->books; }
