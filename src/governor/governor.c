/* The governor's face: opening and closing, endpoints, and the ways in and out for permits. What
 * follows from a reply is in report.c, the order of grants in schedule.c. */
#include "governor_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

int64_t governor__random_ns(struct governor *g, int64_t max_ns) {
    /* SplitMix64 (Steele, Lea, Flood 2014): one addition and a mix, any seed is good. */
    uint64_t z = g->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return max_ns <= 0 ? 0 : (int64_t)((z ^ z >> 31) % ((uint64_t)max_ns + 1));
}

int governor__open(struct governor **out, uv_loop_t *loop, const struct clock *clock,
                   struct metrics *metrics, const struct governor_options *options, struct err *e) {
    struct governor *g = calloc(1, sizeof *g);
    *out = NULL;
    if (g == NULL) return err__setf(e, ERR_NOMEM, "governor: open: out of memory");
    if (options != NULL) g->o = *options;
    if (!(g->o.utilisation > 0) || g->o.utilisation > 1) g->o.utilisation = 0.96;
    if (g->o.host_gap_ns <= 0) g->o.host_gap_ns = 250 * NS_PER_MS;
    if (g->o.host_inflight_max == 0) g->o.host_inflight_max = 4;
    g->clock = clock;
    g->metrics = metrics;
    g->random = g->o.seed;
    g->armed_ns = NEVER;
    g->reaper = (struct due){.kind = DUE_REAPER, .owner = g};
    int rc = map__init(&g->policy_map, POLICIES_MAX);
    measure__init(g);
    if (rc == 0) rc = map__init(&g->host_map, HOSTS_MAX);
    if (rc == 0) rc = map__init(&g->venue_map, HOSTS_MAX);
    if (rc == 0) rc = uv_timer_init(loop, &g->timer);
    if (rc != 0) {
        map__fini(&g->policy_map);
        map__fini(&g->host_map);
        map__fini(&g->venue_map);
        free(g);
        return err__setf(e, rc, "governor: open: %s", err__text(rc));
    }
    g->timer.data = g;
    *out = g;
    return 0;
}

static void free_endpoint(struct endpoint *ep) {
    policy__fini(&ep->own);
    endpoint__free_keys(ep);
    free((char *)(uintptr_t)ep->o.name);
    free((char *)(uintptr_t)ep->o.host);
    free((char *)(uintptr_t)ep->o.venue);
    free(ep);
}

static void on_closed(uv_handle_t *timer) {
    struct governor *g = timer->data;
    /* Callbacks of the first may cancel others, so each is taken from the list anew. */
    for (size_t i = 0; i < g->n_endpoints; i++)
        while (g->endpoints[i]->head != NULL) permit__end(g, g->endpoints[i]->head, ERR_CANCELED);
    for (struct permit *p; (p = g->flying_head) != NULL;) {
        permit__land(g, p);
        p->granted = false;
        p->cb = NULL;
    }
    for (struct permit *p; (p = permit__pop_ending(g)) != NULL;) {
        permit_cb cb = p->cb;
        p->cb = NULL;
        cb(p, p->status);
    }
    for (size_t i = 0; i < g->n_endpoints; i++) free_endpoint(g->endpoints[i]);
    for (struct absent *a = g->absent, *next; a != NULL; a = next) {
        next = a->next;
        policy__fini(&a->ep.own);
        free((char *)(uintptr_t)a->ep.o.name);
        free(a);
    }
    for (struct policy *p = g->policies, *next; p != NULL; p = next) {
        next = p->next;
        policy__fini(p);
        free(p);
    }
    for (struct host *h = g->hosts, *next; h != NULL; h = next) {
        next = h->next;
        free(h);
    }
    for (struct venue *v = g->venues, *next; v != NULL; v = next) {
        next = v->next;
        free(v);
    }
    map__fini(&g->policy_map);
    map__fini(&g->host_map);
    map__fini(&g->venue_map);
    void (*cb)(void *) = g->close_cb;
    void *data = g->close_data;
    free(g->endpoints);
    free(g->heap);
    free(g);
    if (cb != NULL) cb(data);
}

void governor__close(struct governor *g, void (*cb)(void *data), void *data) {
    assert(!g->closing);
    g->closing = true;
    g->close_cb = cb;
    g->close_data = data;
    uv_close((uv_handle_t *)&g->timer, on_closed);
}

static struct host *get_host(struct governor *g, const char *name) {
    struct host *h = map__get(&g->host_map, slice__str(name));
    if (h != NULL) return h;
    h = calloc(1, sizeof *h);
    if (h == NULL) return NULL;
    snprintf(h->name, sizeof h->name, "%s", name);
    h->due = (struct due){.kind = DUE_HOST, .owner = h};
    if (map__put(&g->host_map, slice__str(name), h) != 0) {
        free(h);
        return NULL;
    }
    h->next = g->hosts;
    g->hosts = h;
    return h;
}

static struct venue *get_venue(struct governor *g, const char *name) {
    struct venue *v = map__get(&g->venue_map, slice__str(name));
    if (v != NULL) return v;
    v = calloc(1, sizeof *v);
    if (v == NULL) return NULL;
    *v = (struct venue){.retries = RETRIES_MAX, .due = {.kind = DUE_VENUE, .owner = v}};
    snprintf(v->name, sizeof v->name, "%s", name);
    if (map__put(&g->venue_map, slice__str(name), v) != 0) {
        free(v);
        return NULL;
    }
    v->next = g->venues;
    g->venues = v;
    measure__venue_init(g, v);
    return v;
}

/** Room in the list, and in the heap for all that can be due: grants must not need memory. */
static bool make_room(struct governor *g) {
    if (g->n_endpoints < g->cap_endpoints) return true;
    size_t cap = g->cap_endpoints == 0 ? 16 : g->cap_endpoints * 2,
           n_heap = cap * 4 + POLICIES_MAX + 1;
    struct endpoint **endpoints = realloc(g->endpoints, cap * sizeof *endpoints);
    if (endpoints == NULL) return false;
    g->endpoints = endpoints;
    struct due **heap = realloc(g->heap, n_heap * sizeof *heap);
    if (heap == NULL) return false;
    g->heap = heap;
    g->cap_heap = n_heap;
    g->cap_endpoints = cap;
    return true;
}

static void set_defaults(struct endpoint_options *o) {
    if (!(o->rate_per_s > 0)) o->rate_per_s = 0.8;
    if (!(o->rate_floor_per_s > 0)) o->rate_floor_per_s = 1.0 / 60;
    if (o->rate_floor_per_s > o->rate_per_s) o->rate_floor_per_s = o->rate_per_s;
    if (o->hidden_first_ns <= 0) o->hidden_first_ns = 5 * NS_PER_S;
    if (o->hidden_next_ns <= 0) o->hidden_next_ns = 60 * NS_PER_S;
    if (o->key_gap_ns < 0) o->key_gap_ns = 0;
    if (o->inflight_max == 0) o->inflight_max = 1;
    if (o->invalid_max == 0) o->invalid_max = 10;
    if (o->invalid_max > INVALID_MAX) o->invalid_max = INVALID_MAX;
}

struct endpoint *governor__endpoint(struct governor *g, const struct endpoint_options *options) {
    if (g->n_endpoints >= ENDPOINTS_MAX) {
        measure__full(g, FULL_ENDPOINT);
        return NULL;
    }
    if (!make_room(g)) return NULL;
    struct endpoint *ep = calloc(1, sizeof *ep);
    if (ep == NULL) return NULL;
    ep->g = g;
    ep->o = *options;
    ep->o.name = strdup(options->name);
    ep->o.host = strdup(options->host == NULL ? "" : options->host);
    ep->o.venue = strdup(options->venue != NULL  ? options->venue
                         : options->host != NULL ? options->host
                                                 : "");
    ep->host = ep->o.host == NULL ? NULL : get_host(g, ep->o.host);
    ep->venue = ep->o.venue == NULL ? NULL : get_venue(g, ep->o.venue);
    ep->head_due = options->head_at_start;
    set_defaults(&ep->o);
    ep->rate_per_s = ep->o.rate_per_s;
    bool keys_fail = ep->o.key_gap_ns > 0 && map__init(&ep->keys, KEYS_MAX) != 0;
    if (ep->o.name == NULL || ep->venue == NULL || ep->host == NULL || keys_fail) {
        free_endpoint(ep);
        return NULL;
    }
    policy__init(g, &ep->own, ep->o.venue, "");
    ep->own.home = ep->venue;
    ep->policy = &ep->own;
    ep->own.n_endpoints = 1;
    ep->due = (struct due){.kind = DUE_ENDPOINT, .owner = ep};
    g->endpoints[g->n_endpoints++] = ep;
    measure__endpoint_init(ep);
    return ep;
}

static void wait_at(struct governor *g, struct endpoint *ep, struct permit *p, const char *key,
                    permit_cb cb) {
    assert(p->class < CLASS__N && p->tier < TIER__N);
    p->endpoint = ep;
    p->cb = cb;
    p->asked_mono_ns = g->clock->mono_ns;
    p->head = false;
    snprintf(p->key, sizeof p->key, "%s", key == NULL ? "" : key);
    permit__wait(p);
}

int governor__try(struct governor *g, struct endpoint *ep, struct permit *p, const char *key) {
    assert(p->where == PERMIT_IDLE && !p->granted);
    if (g->closing || endpoint__disabled(ep, g->clock->mono_ns)) return ERR_REFUSED;
    if (p->cost > policy__cost_max(g, ep->policy)) return ERR_LIMIT;
    wait_at(g, ep, p, key, NULL);
    bool granted = schedule__grant_now(g, ep, p);
    if (!granted) permit__land(g, p);
    schedule__arm(g);
    return granted ? 0 : ERR_UNAVAILABLE;
}

int governor__acquire(struct governor *g, struct endpoint *ep, struct permit *p, const char *key,
                      permit_cb cb) {
    assert(p->where == PERMIT_IDLE && !p->granted && cb != NULL);
    if (g->closing || endpoint__disabled(ep, g->clock->mono_ns)) return ERR_REFUSED;
    if (p->cost > policy__cost_max(g, ep->policy)) return ERR_LIMIT;
    if (ep->n_waiting >= WAITERS_MAX) {
        measure__full(g, FULL_WAITER);
        return ERR_FULL;
    }
    wait_at(g, ep, p, key, cb);
    if (ep->queue == NULL) schedule__place(g, ep);
    schedule__arm(g);
    return 0;
}

void governor__cancel(struct governor *g, struct permit *p) {
    if (p->where != PERMIT_WAITING) return;
    struct endpoint *ep = p->endpoint;
    permit__end(g, p, ERR_CANCELED);
    if (ep->head == NULL) schedule__unplace(g, ep);
    schedule__arm(g);
}

void governor__undo(struct governor *g, struct permit *p) {
    assert(p->granted);
    struct endpoint *ep = p->endpoint;
    endpoint__forget_key(ep, p->key);
    share__undone(g, ep->policy, p->class, permit__cost(p));
    permit__land(g, p);
    p->granted = false;
    p->cb = NULL;
    schedule__end_first(g, ep);
    schedule__wake(g, ep->policy);
    schedule__wake_host(g, ep->host);
    schedule__wake_venue(g, ep->venue);
    if (ep->queue == NULL) schedule__place(g, ep);
    schedule__arm(g);
}

void governor__resume(struct governor *g, struct endpoint *ep) {
    ep->disabled_until_ns = 0;
    ep->disabled_reason[0] = '\0';
    ep->n_invalid = ep->n_auth = 0;
    ep->killed = false;
    ep->paused_until_ns = 0;
    venue__forget_refusals(g, ep->venue);
    schedule__place(g, ep);
    measure__endpoint(ep);
    schedule__arm(g);
}

void governor__pause(struct governor *g, struct endpoint *ep, int64_t for_ns, const char *why) {
    ep->paused_until_ns = for_ns > NEVER - g->clock->mono_ns ? NEVER : g->clock->mono_ns + for_ns;
    snprintf(ep->paused_reason, sizeof ep->paused_reason, "%s", why);
    schedule__place(g, ep);
    schedule__arm(g);
}

void governor__kill(struct governor *g, struct endpoint *ep, const char *why) {
    ep->killed = true;
    ep->disabled_until_ns = 0; /* What a person says takes the place of every other reason. */
    endpoint__disable(ep, NEVER, why);
    schedule__arm(g);
}

int64_t governor__refused_until_ns(const struct governor *g, const struct endpoint *ep) {
    return endpoint__disabled(ep, g->clock->mono_ns) ? ep->disabled_until_ns : 0;
}

uint32_t governor__cost_max(const struct governor *g, const struct endpoint *ep) {
    return policy__cost_max(g, ep->policy);
}

size_t governor__n_endpoints(const struct governor *g) { return g->n_endpoints; }

struct endpoint *governor__find(struct governor *g, const char *name) {
    for (size_t i = 0; i < g->n_endpoints; i++)
        if (strcmp(g->endpoints[i]->o.name, name) == 0) return g->endpoints[i];
    return NULL;
}
