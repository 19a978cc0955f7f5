/* A policy: the windows of all its rules, and until when the server closed it. */
#include "governor_internal.h"
#include <stdio.h>
#include <stdlib.h>

void policy__init(struct governor *g, struct policy *p, const char *venue, const char *name) {
    *p = (struct policy){.last_grant_ns = LONG_AGO};
    p->due = (struct due){.kind = DUE_POLICY, .owner = p};
    snprintf(p->venue, sizeof p->venue, "%s", venue);
    snprintf(p->name, sizeof p->name, "%s", name);
    if (p->name[0] != '\0') measure__policy_init(g, p);
}

void policy__fini(struct policy *p) {
    for (size_t i = 0; i < p->n_windows; i++) window__fini(&p->windows[i]);
    p->n_windows = 0;
}

static struct slice map_key(char out[130], const char *venue, const char *name) {
    int n = snprintf(out, 130, "%s\n%s", venue, name);
    return slice__of(out, (size_t)n);
}

static bool is_spent(struct policy *p, int64_t now_ns) {
    if (p->n_endpoints > 0 || p->hold_ns > now_ns) return false;
    for (size_t i = 0; i < p->n_windows; i++)
        if (window__live(&p->windows[i], now_ns) > 0) return false;
    return true;
}

/** Forgets policies that govern nobody and restrict nothing, for a server that renames at will. */
static void forget_spent(struct governor *g) {
    char key[130];
    for (struct policy **at = &g->policies, *p; (p = *at) != NULL;) {
        if (!is_spent(p, g->clock->mono_ns)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        schedule__remove(g, &p->due);
        map__remove(&g->policy_map, map_key(key, p->venue, p->name));
        policy__fini(p);
        free(p);
        g->n_policies--;
    }
}

struct policy *policy__named(struct governor *g, const char *venue, const char *name) {
    char key_bytes[130];
    struct slice key = map_key(key_bytes, venue, name);
    struct policy *p = map__get(&g->policy_map, key);
    if (p != NULL) return p;
    if (g->n_policies >= POLICIES_MAX) forget_spent(g);
    if (g->n_policies >= POLICIES_MAX) {
        measure__full(g, FULL_POLICY);
        return NULL;
    }
    p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    policy__init(g, p, venue, name);
    if (map__put(&g->policy_map, key, p) != 0) {
        free(p);
        return NULL;
    }
    p->next = g->policies;
    g->policies = p;
    g->n_policies++;
    return p;
}

/* The shortest window decides how long a stage is: it is what a burst would break first. */
static int64_t stage_ns(const struct policy *p) {
    int64_t ns = p->n_windows == 0 ? 5 * NS_PER_S : NEVER;
    for (size_t i = 0; i < p->n_windows; i++)
        if (window__span_ns(&p->windows[i]) < ns) ns = window__span_ns(&p->windows[i]);
    return ns;
}

static int64_t stage_end_ns(const struct policy *p, int64_t now_ns) {
    return now_ns < p->recover_until_ns ? p->recover_until_ns : p->recover_until_ns + stage_ns(p);
}

int64_t policy__next_ns(struct governor *g, struct policy *p, uint32_t ready,
                        const struct window **why) {
    int64_t next_ns = p->hold_ns;
    /* A first request that is under way may turn out to be this policy's. */
    if (p->home != NULL) ready += p->home->n_firsts;
    if (why != NULL) *why = NULL;
    /* After a 429 one request tells whether it is over; its end wakes the queue. */
    if (p->n_refusals > 0 && p->n_inflight + ready > 0) return NEVER;
    double share = policy__share(p, g->clock->mono_ns);
    for (size_t i = 0; i < p->n_windows; i++) {
        int64_t t = window__next_ns(&p->windows[i], g->o.utilisation, share, p->n_inflight + ready,
                                    g->clock->mono_ns);
        /* More than a part of the window holds, while it comes back: no reply would wake it. */
        if (t == NEVER && share < 1 && p->n_inflight == 0) t = stage_end_ns(p, g->clock->mono_ns);
        if (t <= next_ns || t <= g->clock->mono_ns) continue;
        next_ns = t;
        if (why != NULL) *why = &p->windows[i];
    }
    return next_ns;
}

uint32_t policy__cost_max(const struct governor *g, const struct policy *p) {
    uint32_t fewest = RING_MAX;
    for (size_t i = 0; i < p->n_windows; i++) {
        uint32_t n = window__usable(&p->windows[i], g->o.utilisation, 1);
        if (n < fewest) fewest = n;
    }
    return fewest;
}

int64_t policy__pace_ns(const struct governor *g, const struct policy *p) {
    int64_t pace_ns = 0;
    for (size_t i = 0; i < p->n_windows; i++) {
        const struct window *w = &p->windows[i];
        int64_t t = window__span_ns(w) / window__usable(w, g->o.utilisation, 1);
        if (t > pace_ns) pace_ns = t;
    }
    return pace_ns;
}

void policy__spend(struct policy *p, uint32_t cost, int64_t done_ns) {
    for (size_t i = 0; i < p->n_windows; i++)
        for (uint32_t k = 0; k < cost && k < RING_MAX; k++) window__spend(&p->windows[i], done_ns);
}

void policy__recover(struct governor *g, struct policy *p) {
    p->recover = RECOVER_STAGES;
    p->recover_until_ns = g->clock->mono_ns + stage_ns(p);
}

double policy__share(const struct policy *p, int64_t now_ns) {
    if (p->recover == 0) return 1;
    /* The stages are of one length, so which of them it is follows from the time. */
    int64_t over_ns = now_ns - p->recover_until_ns;
    return over_ns < 0 ? 0.25 : over_ns < stage_ns(p) ? 0.5 : 1;
}

void policy__hold(struct policy *p, int64_t until_ns) {
    if (until_ns > p->hold_ns) p->hold_ns = until_ns;
}

int64_t policy__hidden_max_ns(const struct policy *p) {
    int64_t hidden_ns = 0;
    for (size_t i = 0; i < p->n_windows; i++)
        if (p->windows[i].hidden_ns > hidden_ns) hidden_ns = p->windows[i].hidden_ns;
    return hidden_ns;
}

/** The window that has @w's period in the same rule, else the longest: it remembers the most. */
static struct window *ancestor(struct window *old, size_t n, const struct rate_window *w) {
    struct window *best = NULL;
    for (size_t i = 0; i < n; i++) {
        if (old[i].period_s == w->period_s && strcmp(old[i].rule, w->rule) == 0) return &old[i];
        if (best == NULL || window__span_ns(&old[i]) > window__span_ns(best)) best = &old[i];
    }
    return best;
}

static bool same_windows(const struct policy *p, const struct rate_headers *h) {
    bool same = p->n_windows == h->n_windows;
    for (size_t i = 0; same && i < h->n_windows; i++) {
        const struct window *a = &p->windows[i];
        const struct rate_window *b = &h->windows[i];
        same = a->limit == b->limit && a->period_s == b->period_s && strcmp(a->rule, b->rule) == 0;
    }
    return same;
}

bool policy__learn(struct governor *g, struct policy *p, const struct rate_headers *h,
                   int64_t hidden_first_ns, int64_t hidden_next_ns) {
    struct window old[WINDOWS_MAX];
    size_t n_old = p->n_windows;
    if (same_windows(p, h)) return false;
    memcpy(old, p->windows, sizeof old);
    memset(p->windows, 0, sizeof p->windows);
    p->n_windows = h->n_windows;
    p->learned_wall_ns = g->clock->wall_ns;
    for (size_t i = 0; i < h->n_windows; i++) {
        struct window *w = &p->windows[i];
        const struct rate_window *from = &h->windows[i];
        const struct window *before = ancestor(old, n_old, from);
        *w = (struct window){.limit = from->limit,
                             .period_s = from->period_s,
                             .restriction_s = from->restriction_s,
                             .hidden_ns = from->first ? hidden_first_ns : hidden_next_ns};
        memcpy(w->rule, from->rule, sizeof w->rule);
        if (before != NULL) {
            w->others_ns = before->others_ns;
            window__merge(w, before);
        }
        window__live(w, g->clock->mono_ns);
        for (uint32_t n = window__usable(w, 1, 1);
             g->suspect && before == NULL && w->blind_ns == 0 && n > w->n;)
            window__spend(w, g->clock->mono_ns);
    }
    for (size_t i = 0; i < n_old; i++) window__fini(&old[i]);
    measure__policy_init(g, p);
    return true;
}

void policy__reconcile(struct policy *p, const struct rate_headers *h, int64_t now_ns) {
    for (size_t i = 0; i < p->n_windows && i < h->n_windows; i++) {
        struct window *w = &p->windows[i];
        if (!h->windows[i].has_state) continue;
        uint32_t hits = h->windows[i].hits, most = window__usable(w, 1, 1);
        /* Those in flight may be counted already. Nothing is taken back when hits are fewer: the
         * reply may have been overtaken by another. */
        uint32_t ours = window__live(w, now_ns) + p->n_inflight;
        if (hits > most) hits = most;
        /* A token that is older than its period may have left the server's count, and hide a hit of
         * somebody else in ours. Alone that cannot be; so such tokens explain hits only as long as
         * nobody else has been seen. */
        if (hits > window__own(w, now_ns) + p->n_inflight)
            w->others_ns = now_ns + 2 * window__span_ns(w);
        if (now_ns < w->others_ns) ours = window__certain(w, now_ns) + p->n_inflight;
        for (; ours < hits; ours++) window__spend_foreign(w, now_ns);
    }
}

void policy__bind(struct governor *g, struct endpoint *ep, struct policy *to) {
    struct policy *from = ep->policy;
    if (from == to) return;
    schedule__unplace(g, ep);
    from->n_inflight -= ep->n_tokens;
    to->n_inflight += ep->n_tokens;
    to->home = ep->venue;
    for (int c = 0; c < CLASS__N; c++) {
        from->n_waiting_by_class[c] -= ep->n_waiting_by_class[c];
        to->n_waiting_by_class[c] += ep->n_waiting_by_class[c];
    }
    from->n_endpoints--;
    to->n_endpoints++;
    policy__hold(to, from->hold_ns);
    if (from->n_refusals > to->n_refusals) to->n_refusals = from->n_refusals;
    if (from->last_grant_ns > to->last_grant_ns) to->last_grant_ns = from->last_grant_ns;
    if (to->n_windows == 0) { /* New: it starts with all that the old one knew. */
        memcpy(to->windows, from->windows, sizeof to->windows);
        to->n_windows = from->n_windows;
        to->learned_wall_ns = from->learned_wall_ns;
        for (size_t i = 0; i < to->n_windows; i++) {
            struct window *w = &to->windows[i];
            w->ring = NULL;
            w->at = w->n = w->cap = w->n_foreign = 0;
            w->s_limit = w->s_used = w->s_headroom = NULL;
            window__merge(w, &from->windows[i]);
        }
        measure__policy_init(g, to);
    } else {
        for (size_t i = 0; i < to->n_windows; i++) {
            struct rate_window key = {.period_s = to->windows[i].period_s};
            memcpy(key.rule, to->windows[i].rule, sizeof key.rule);
            const struct window *old = ancestor(from->windows, from->n_windows, &key);
            if (old != NULL) window__merge(&to->windows[i], old);
        }
    }
    ep->policy = to;
    schedule__wake(g, from);
    schedule__place(g, ep);
}
