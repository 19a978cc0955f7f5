/* See limiter.h. All arithmetic is on nanoseconds that the caller passes, so tests need no waiting.
 */
#include "limiter.h"

#include <stdio.h>
#include <string.h>

static int64_t rounded_up(const struct limiter *l, const struct limit_window *w, int64_t at_ns) {
    int64_t past;
    if (w->bucket_ns <= 0) return at_ns;
    past = (at_ns - l->phase_ns) % w->bucket_ns;
    if (past < 0) past += w->bucket_ns;
    return past == 0 ? at_ns : at_ns + w->bucket_ns - past;
}

int limiter__set_triples(struct limiter *l, const char *triples, struct sim_err *e) {
    struct limit_window fresh[LIMITER_WINDOWS_MAX];
    size_t n = 0;
    const char *at = triples;
    memset(fresh, 0, sizeof fresh);
    for (;;) {
        long limit, period_s, restriction_s;
        int used = 0;
        if (n == LIMITER_WINDOWS_MAX)
            return sim_err__setf(e, "limits \"%s\": more than 4 windows", triples);
        if (sscanf(at, "%9ld:%9ld:%9ld%n", &limit, &period_s, &restriction_s, &used) != 3 ||
            limit < 1 || period_s < 1 || restriction_s < 0)
            return sim_err__setf(e, "limits \"%s\": wanted limit:period:restriction[,...]",
                                 triples);
        fresh[n].limit = limit;
        fresh[n].period_s = period_s;
        fresh[n].restriction_s = restriction_s;
        if (l->first_bucket_ns > 0)
            fresh[n].bucket_ns = n == 0 ? l->first_bucket_ns : 60 * SIM_NS_PER_S;
        n++;
        at += used;
        if (*at == '\0') break;
        if (*at != ',')
            return sim_err__setf(e, "limits \"%s\": wanted a comma at \"%s\"", triples, at);
        at++;
    }
    for (size_t i = 0; i < n && i < l->n_windows;
         i++) { /* A restriction outlives a change of limits. */
        fresh[i].restricted_ns = l->windows[i].restricted_ns;
        fresh[i].announced_ns = l->windows[i].announced_ns;
        fresh[i].breached_ns = l->windows[i].breached_ns;
        fresh[i].n_breaches = l->windows[i].n_breaches;
    }
    memcpy(l->windows, fresh, sizeof fresh);
    l->n_windows = n;
    return 0;
}

int limiter__init(struct limiter *l, const char *policy, const char *rule, const char *triples,
                  int64_t first_bucket_ns, int64_t phase_ns, struct sim_err *e) {
    memset(l, 0, sizeof *l);
    snprintf(l->policy, sizeof l->policy, "%s", policy);
    l->rule = rule;
    l->first_bucket_ns = first_bucket_ns;
    l->phase_ns = phase_ns;
    return limiter__set_triples(l, triples, e);
}

int64_t limiter__hits(const struct limiter *l, size_t w, int64_t now_ns) {
    const struct limit_window *win = &l->windows[w];
    int64_t n = 0;
    for (size_t i = l->n_hits;
         i-- > 0;) { /* From the newest back; the first that has left ends the count. */
        int64_t hit_ns = l->hits_ns[(l->first_hit + i) % LIMITER_HITS_MAX];
        if (rounded_up(l, win, hit_ns + win->period_s * SIM_NS_PER_S) <= now_ns) break;
        n++;
    }
    return n;
}

static void remember(struct limiter *l, int64_t now_ns) {
    if (l->n_hits == LIMITER_HITS_MAX) {
        l->first_hit = (l->first_hit + 1) % LIMITER_HITS_MAX;
        l->n_hits--;
    }
    l->hits_ns[(l->first_hit + l->n_hits) % LIMITER_HITS_MAX] = now_ns;
    l->n_hits++;
}

void limiter__add_phantoms(struct limiter *l, int64_t now_ns, int64_t n) {
    for (; n > 0; n--) remember(l, now_ns);
}

static void breach(struct limiter *l, struct limit_window *w, int64_t now_ns) {
    int64_t penalty_s = w->restriction_s;
    if (w->n_breaches > 0 && now_ns - w->breached_ns > LIMITER_MEMORY_S * SIM_NS_PER_S)
        w->n_breaches = 0;
    for (unsigned i = 0; i < w->n_breaches && (1 << i) < LIMITER_PENALTY_MAX; i++) penalty_s *= 2;
    w->n_breaches++;
    w->breached_ns = now_ns;
    w->announced_ns = now_ns + penalty_s * SIM_NS_PER_S;
    w->restricted_ns = rounded_up(l, w, w->announced_ns);
}

/** @return the seconds to announce: what is left of the nominal time, at least 1 while restricted.
 */
static int64_t active_s(const struct limit_window *w, int64_t now_ns) {
    int64_t left_ns = w->announced_ns - now_ns;
    if (w->restricted_ns <= now_ns) return 0;
    return left_ns <= 0 ? 1 : (left_ns + SIM_NS_PER_S - 1) / SIM_NS_PER_S;
}

struct limit_verdict limiter__hit(struct limiter *l, int64_t now_ns) {
    struct limit_verdict v = {0};
    bool restricted[LIMITER_WINDOWS_MAX] = {false};
    for (size_t i = 0; i < l->n_windows; i++) restricted[i] = l->windows[i].restricted_ns > now_ns;
    l->n_requests++;
    remember(l, now_ns);
    for (size_t i = 0; i < l->n_windows; i++) {
        struct limit_window *w = &l->windows[i];
        int64_t hits = limiter__hits(l, i, now_ns);
        if (!restricted[i] && hits > w->limit) breach(l, w, now_ns);
        if (!restricted[i] && hits <= w->limit) continue;
        if (!v.refused || active_s(w, now_ns) > v.retry_after_s) {
            v.window = i;
            v.hits = hits;
            v.retry_after_s = active_s(w, now_ns);
        }
        v.refused = true;
        v.was_restricted |= restricted[i];
    }
    l->n_violations += v.refused;
    return v;
}

bool limiter__head(struct limiter *l, int64_t now_ns) {
    bool soon = l->had_head && now_ns - l->head_ns < LIMITER_HEAD_S * SIM_NS_PER_S;
    l->had_head = true;
    l->head_ns = now_ns;
    l->n_violations += soon;
    return soon;
}

void limiter__headers(const struct limiter *l, int64_t now_ns, struct buf *out) {
    buf__addf(out,
              "X-Rate-Limit-Policy: %s\r\nX-Rate-Limit-Rules: %s\r\nX-Rate-Limit-%s: ", l->policy,
              l->rule, l->rule);
    for (size_t i = 0; i < l->n_windows; i++)
        buf__addf(out, "%s%lld:%lld:%lld", i > 0 ? "," : "", (long long)l->windows[i].limit,
                  (long long)l->windows[i].period_s, (long long)l->windows[i].restriction_s);
    buf__addf(out, "\r\nX-Rate-Limit-%s-State: ", l->rule);
    for (size_t i = 0; i < l->n_windows; i++)
        buf__addf(out, "%s%lld:%lld:%lld", i > 0 ? "," : "", (long long)limiter__hits(l, i, now_ns),
                  (long long)l->windows[i].period_s, (long long)active_s(&l->windows[i], now_ns));
    buf__adds(out, "\r\n");
}
