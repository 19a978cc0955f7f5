/* Who goes next. A heap of due times, and for each due thing the queue behind it. Nothing in here
 * scans endpoints: a tick costs what is due. */
#include "governor_internal.h"
#include <assert.h>

static bool before(const struct due *a, const struct due *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void put(struct governor *g, struct due *d, size_t pos) {
    g->heap[pos - 1] = d;
    d->pos = pos;
}

static void sift(struct governor *g, struct due *d) {
    size_t pos = d->pos;
    for (; pos > 1 && before(d, g->heap[pos / 2 - 1]); pos /= 2) put(g, g->heap[pos / 2 - 1], pos);
    for (size_t child; (child = pos * 2) <= g->n_heap; pos = child) {
        if (child < g->n_heap && before(g->heap[child], g->heap[child - 1])) child++;
        if (!before(g->heap[child - 1], d)) break;
        put(g, g->heap[child - 1], pos);
    }
    put(g, d, pos);
}

void schedule__remove(struct governor *g, struct due *d) {
    if (d->pos == 0) return;
    struct due *last = g->heap[--g->n_heap];
    if (last != d) {
        last->pos = d->pos;
        sift(g, last);
    }
    d->pos = 0;
}

void schedule__at(struct governor *g, struct due *d, int64_t at_ns) {
    if (at_ns == NEVER) {
        schedule__remove(g, d);
        return;
    }
    if (d->pos == 0) {
        assert(g->n_heap < g->cap_heap); /* Room is made when endpoints, policies, hosts are. */
        d->pos = ++g->n_heap;
    }
    d->at_ns = at_ns;
    d->order = g->n_due++;
    sift(g, d);
}

static void enqueue(struct endpoint_queue *q, struct endpoint *ep, bool in_front) {
    assert(ep->queue == NULL && ep->due.pos == 0);
    ep->queue = q;
    ep->prev = in_front ? NULL : q->tail;
    ep->next = in_front ? q->head : NULL;
    if (ep->prev == NULL) q->head = ep;
    else ep->prev->next = ep;
    if (ep->next == NULL) q->tail = ep;
    else ep->next->prev = ep;
}

static void dequeue(struct endpoint *ep) {
    struct endpoint_queue *q = ep->queue;
    if (q == NULL) return;
    if (ep->wants) ep->venue->n_want--;
    ep->wants = false;
    if (ep->prev == NULL) q->head = ep->next;
    else ep->prev->next = ep->next;
    if (ep->next == NULL) q->tail = ep->prev;
    else ep->next->prev = ep->prev;
    ep->prev = ep->next = NULL;
    ep->queue = NULL;
}

void schedule__wake(struct governor *g, struct policy *p) {
    if (p->queue.head != NULL) schedule__at(g, &p->due, g->clock->mono_ns);
}

void schedule__wake_host(struct governor *g, struct host *h) {
    if (h->queue.head != NULL || h->first_queue.head != NULL)
        schedule__at(g, &h->due, g->clock->mono_ns);
}

void schedule__wake_venue(struct governor *g, struct venue *v) {
    if (v->queue.head != NULL) schedule__at(g, &v->due, g->clock->mono_ns);
}

void schedule__end_first(struct governor *g, struct endpoint *ep) {
    if (ep->host->first == ep) ep->host->first = NULL;
    if (!ep->is_first) return;
    ep->is_first = false;
    ep->venue->n_firsts--;
    for (struct policy *p = g->policies; p != NULL; p = p->next)
        if (p->home == ep->venue) schedule__wake(g, p); /* A token was kept for it. */
    if (!ep->venue->own_waits) return;
    ep->venue->own_waits = false;
    for (size_t i = 0; i < g->n_endpoints; i++)
        if (g->endpoints[i]->venue == ep->venue) schedule__wake(g, &g->endpoints[i]->own);
}

static void unready(struct endpoint *ep) {
    ep->ready = false;
    ep->policy->n_ready -= ep->n_reserved;
    ep->policy->shares[ep->turn].n_ready--;
}

void schedule__unplace(struct governor *g, struct endpoint *ep) {
    schedule__remove(g, &ep->due);
    if (ep->wants) schedule__wake_venue(g, ep->venue); /* Others may have waited for its HEAD. */
    dequeue(ep);
    if (!ep->ready) return;
    unready(ep);
    schedule__wake(g, ep->policy); /* Its reservation is another's. */
    schedule__wake_host(g, ep->host);
}

void schedule__place(struct governor *g, struct endpoint *ep) {
    int64_t now_ns = g->clock->mono_ns;
    schedule__unplace(g, ep);
    if (ep->head == NULL || endpoint__disabled(ep, now_ns)) return;
    int64_t t = endpoint__next_ns(ep, now_ns, NULL);
    if (t > now_ns) {
        schedule__at(g, &ep->due, t);
        return;
    }
    enqueue(&ep->policy->queue, ep, false);
    schedule__wake(g, ep->policy);
}

void schedule__refuse_all(struct governor *g, struct endpoint *ep, int status) {
    while (ep->head != NULL) permit__end(g, ep->head, status);
    schedule__unplace(g, ep);
}

void schedule__refuse_too_costly(struct governor *g, const struct policy *p) {
    uint32_t most = policy__cost_max(g, p);
    for (size_t i = 0; i < g->n_endpoints; i++) {
        struct endpoint *ep = g->endpoints[i];
        if (ep->policy != p) continue;
        for (struct permit *w = ep->head, *next; w != NULL; w = next) {
            next = w->next;
            if (permit__cost(w) > most) permit__end(g, w, ERR_LIMIT);
        }
        if (ep->head == NULL) schedule__unplace(g, ep);
    }
}

/* One more step of the tick. @return false when it has had all that a tick may have: @d stays due,
 * in its place, for the next one, so that the loop does other things between. */
static bool may_step(struct governor *g, struct due *d) {
    uint64_t order = d->order;
    if (g->steps_left > 0) {
        g->steps_left--;
        return true;
    }
    schedule__at(g, d, d->at_ns);
    d->order = order;
    sift(g, d);
    return false;
}

/* When the policy lets @ep's request @who go, all its tokens at once. */
static int64_t may_go_ns(struct governor *g, struct policy *p, const struct permit *who) {
    uint32_t cost = who == NULL ? 1 : permit__cost(who);
    return policy__next_ns(g, p, p->n_ready + cost - 1, NULL);
}

static void look_again_at(struct governor *g, struct policy *p, int64_t at_ns) {
    if (at_ns == NEVER && p->name[0] == '\0') p->queue.head->venue->own_waits = true;
    schedule__at(g, &p->due, at_ns);
}

static void serve_policy(struct governor *g, struct policy *p) {
    while (p->queue.head != NULL) {
        if (!may_step(g, &p->due)) return;
        int64_t now_ns = g->clock->mono_ns, t = policy__next_ns(g, p, p->n_ready, NULL);
        struct endpoint *ep = t > now_ns ? NULL : share__next(g, p, &t);
        if (ep == NULL) {
            look_again_at(g, p, t);
            return;
        }
        struct permit *who = NULL;
        t = endpoint__next_ns(ep, now_ns, &who);
        if (t > now_ns) {
            share__not_taken(p, ep);
            dequeue(ep);
            schedule__at(g, &ep->due, t);
            continue;
        }
        /* One that costs more than is there waits in front, or the cheap would starve it. */
        t = may_go_ns(g, p, who);
        if (t > now_ns) {
            share__not_taken(p, ep);
            look_again_at(g, p, t);
            return;
        }
        dequeue(ep);
        ep->ready = true;
        ep->n_reserved = permit__cost(who);
        p->n_ready += ep->n_reserved;
        p->shares[ep->turn].n_ready++;
        enqueue(&ep->host->queue, ep, false);
        schedule__wake_host(g, ep->host);
    }
}

static int64_t host_next_ns(const struct governor *g, const struct endpoint *ep) {
    int64_t t = ep->host->next_ns;
    return ep->o.use_global_rate && g->global_next_ns > t ? g->global_next_ns : t;
}

static void grant(struct governor *g, struct endpoint *ep, struct permit *p) {
    int64_t now_ns = g->clock->mono_ns;
    p->head = ep->head_due && p->may_head;
    permit__fly(g, p);
    p->granted_mono_ns = now_ns;
    p->serial = ++g->n_grants;
    ep->host->next_ns = now_ns + g->o.host_gap_ns;
    if (ep->o.use_global_rate && g->o.global_rate_per_s > 0)
        g->global_next_ns = now_ns + (int64_t)((double)NS_PER_S / g->o.global_rate_per_s);
    ep->policy->last_grant_ns = now_ns;
    share__granted(g, ep->policy, p->class, permit__cost(p));
    endpoint__granted(ep, p, now_ns);
    if (!ep->learned) {
        ep->host->first = ep;
        ep->is_first = true;
        ep->venue->n_firsts++;
    }
    if (g->reaper.pos == 0) schedule__at(g, &g->reaper, now_ns + UNANSWERED_NS);
    schedule__place(g, ep); /* To the end of the queue: those who share a policy take turns. */
    if (p->cb != NULL) p->cb(p, 0);
}

/* A HEAD goes alone among all requests of its venue, and those that come while it waits for that
 * wait behind it, or it would never be alone. */
static bool venue_blocks(const struct endpoint *ep, const struct permit *p) {
    const struct venue *v = ep->venue;
    bool head = ep->head_due && p->may_head;
    return v->heading != NULL || (head ? v->n_inflight > 0 : v->n_want > 0);
}

static void wait_for_venue(struct endpoint *ep, const struct permit *p) {
    bool head = ep->head_due && p->may_head;
    enqueue(&ep->venue->queue, ep, head);
    ep->wants = head;
    ep->venue->n_want += head;
}

static void serve_venue(struct governor *g, struct venue *v) {
    struct endpoint *last = v->queue.tail;
    if (v->heading != NULL || (v->n_want > 0 && v->n_inflight > 0)) return; /* An end wakes it. */
    for (struct endpoint *ep = v->queue.head, *next; ep != NULL; ep = next) {
        if (!may_step(g, &v->due)) return;
        next = ep == last ? NULL : ep->next;
        schedule__place(g, ep);
    }
}

bool schedule__grant_now(struct governor *g, struct endpoint *ep, struct permit *p) {
    int64_t now_ns = g->clock->mono_ns, ceiling_ns = share__ceiling_ns(g, ep->policy, p->class);
    struct policy *policy = ep->policy;
    struct host *h = ep->host;
    bool queued = ep->head != p || policy->queue.head != NULL || h->queue.head != NULL;
    bool alone = !ep->learned && (h->first != NULL || h->first_queue.head != NULL);
    if (queued || alone || venue_blocks(ep, p) || h->n_inflight >= g->o.host_inflight_max ||
        ceiling_ns > now_ns || host_next_ns(g, ep) > now_ns ||
        endpoint__next_ns(ep, now_ns, NULL) > now_ns ||
        policy__next_ns(g, policy, policy->n_ready + permit__cost(p) - 1, NULL) > now_ns)
        return false;
    grant(g, ep, p);
    return true;
}

int64_t governor__depart(struct governor *g, const struct permit *p) {
    struct endpoint *ep = p->endpoint;
    struct host *h = ep->host;
    int64_t now_ns = g->clock->mono_ns, t = h->depart_ns;
    bool rated = ep->policy->n_windows == 0;
    if (rated && ep->depart_ns > t) t = ep->depart_ns;
    if (t > now_ns) return t - now_ns;
    h->depart_ns = now_ns + g->o.host_gap_ns;
    ep->depart_ns = now_ns + (int64_t)((double)NS_PER_S / ep->rate_per_s);
    /* What is granted next counts from here, or the late ones would push ever more before them. */
    if (h->depart_ns > h->next_ns) h->next_ns = h->depart_ns;
    if (ep->depart_ns > ep->rate_next_ns) ep->rate_next_ns = ep->depart_ns;
    return 0;
}

static void serve_host(struct governor *g, struct host *h) {
    while (!g->closing) {
        if (!may_step(g, &h->due)) return;
        /* First requests first: behind those that use up the policy, they might be too many. */
        struct endpoint *ep = h->first == NULL ? h->first_queue.head : NULL;
        if (ep == NULL) ep = h->queue.head;
        if (ep == NULL || h->n_inflight >= g->o.host_inflight_max) return; /* An end wakes it. */
        int64_t now_ns = g->clock->mono_ns, t = host_next_ns(g, ep);
        if (!ep->learned && h->first != NULL) { /* Alone means alone. */
            dequeue(ep);
            enqueue(&h->first_queue, ep, false);
            continue;
        }
        if (t > now_ns) {
            schedule__at(g, &h->due, t);
            return;
        }
        struct policy *p = ep->policy;
        struct permit *who = NULL;
        dequeue(ep);
        unready(ep);
        /* The world may have changed since it was found ready. */
        t = endpoint__next_ns(ep, now_ns, &who);
        if (t <= now_ns && who != NULL && venue_blocks(ep, who)) {
            wait_for_venue(ep, who);
            schedule__wake(g, p);
        } else if (may_go_ns(g, p, who) > now_ns) {
            enqueue(&p->queue, ep, true);
            schedule__wake(g, p);
        } else if (t > now_ns || who == NULL) {
            schedule__at(g, &ep->due, t);
            schedule__wake(g, p);
        } else {
            grant(g, ep, who);
            schedule__wake(g, p); /* Somebody may have waited for this one's turn to end. */
        }
    }
}

/** Requests whose end nobody reported count as ended. */
static void reap(struct governor *g) {
    struct permit *p;
    int64_t now_ns = g->clock->mono_ns;
    while ((p = g->flying_head) != NULL && p->granted_mono_ns + UNANSWERED_NS <= now_ns) {
        if (!may_step(g, &g->reaper)) return;
        struct endpoint *ep = p->endpoint;
        permit__land(g, p); /* It stays granted: its owner still owes the report. */
        policy__spend(ep->policy, permit__cost(p), now_ns);
        schedule__end_first(g, ep);
        schedule__wake(g, ep->policy);
        schedule__wake_host(g, ep->host);
        schedule__wake_venue(g, ep->venue);
        schedule__place(g, ep);
    }
    if (p != NULL) schedule__at(g, &g->reaper, p->granted_mono_ns + UNANSWERED_NS);
}

static void tell_ending(struct governor *g) {
    struct permit *last = g->ending_tail; /* Those added by the callbacks wait for the next turn. */
    for (struct permit *p; last != NULL && (p = permit__pop_ending(g)) != NULL;) {
        permit_cb cb = p->cb;
        bool was_last = p == last;
        p->cb = NULL;
        cb(p, p->status);
        if (was_last) return;
    }
}

void governor__tick(struct governor *g) {
    if (g->ticking || g->closing) return; /* A callback called: the loop below goes on. */
    g->ticking = true;
    g->steps_left = TICK_STEPS_MAX;
    tell_ending(g);
    while (!g->closing && g->n_heap > 0 && g->heap[0]->at_ns <= g->clock->mono_ns) {
        struct due *d = g->heap[0];
        if (!may_step(g, d)) {
            if (g->s_cuts != NULL) series__inc(g->s_cuts);
            break;
        }
        schedule__remove(g, d);
        if (d->kind == DUE_ENDPOINT) schedule__place(g, d->owner);
        else if (d->kind == DUE_POLICY) serve_policy(g, d->owner);
        else if (d->kind == DUE_HOST) serve_host(g, d->owner);
        else if (d->kind == DUE_VENUE) serve_venue(g, d->owner);
        else reap(g);
    }
    g->ticking = false;
    schedule__arm(g);
}

int64_t governor__due_ns(const struct governor *g) {
    if (g->ending_head != NULL) return g->clock->mono_ns;
    return g->n_heap > 0 ? g->heap[0]->at_ns : NEVER;
}

static void on_timer(uv_timer_t *timer) {
    struct governor *g = timer->data;
    /* A clock that was not read since the timer was set would set it to the same time again. */
    bool stale = g->n_heap > 0 && g->heap[0]->at_ns > g->clock->mono_ns;
    g->armed_ns = NEVER;
    g->in_timer = true;
    governor__tick(g);
    g->in_timer = false;
    if (!stale || g->closing || g->n_heap == 0) return;
    g->armed_ns = g->clock->mono_ns;
    uv_timer_start(&g->timer, on_timer, 1, 0);
}

void schedule__arm(struct governor *g) {
    if (g->ticking || g->closing) return;
    int64_t at_ns = g->n_heap > 0 ? g->heap[0]->at_ns : NEVER, now_ns = g->clock->mono_ns;
    if (g->ending_head != NULL || at_ns < now_ns) at_ns = now_ns;
    if (at_ns == g->armed_ns) return;
    g->armed_ns = at_ns;
    if (at_ns == NEVER) uv_timer_stop(&g->timer);
    else
        uv_timer_start(&g->timer, on_timer,
                       at_ns <= now_ns ? g->in_timer : (uint64_t)((at_ns - now_ns) / NS_PER_MS) + 1,
                       0);
}
