/* The governor's state as bytes, so that a restart forgets nothing. Times are saved as how far from
 * now they are, and age by what has gone by since. Within one start of the machine the monotonic
 * clock says how long that is, and the wall clock may be set as it likes; a suspended machine's
 * time is not counted, which is careful. After another start only the wall clock can say; one that
 * was set back has aged nothing. Layout: magic, version, wall time, boot id, monotonic time,
 * policies, endpoints, XXH3-64 of all before it. */
#include "governor_internal.h"
#include "souk/core/log.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define MAGIC 0x564f4753u /* "SGOV" */
#define VERSION 5u
#define HOLD_MAX_NS (25 * 3600 * NS_PER_S)
#define DAMAGED_HOLD_NS (66 * NS_PER_S)

/** Times are saved as how far from now they are; LONG_AGO and NEVER stay what they are. */
static void put_time(const struct governor *g, struct buf *out, int64_t mono_ns) {
    bool fixed = mono_ns == NEVER || mono_ns <= LONG_AGO;
    buf__u64(out, (uint64_t)(fixed ? mono_ns : mono_ns - g->clock->mono_ns));
}

/** What is read from a saved state: the bytes, and how long ago they were saved. */
struct taking {
    struct reader r;
    uint32_t version;   /* 1 had neither pauses nor kills, 2 no refusals and retries, 3 no rests,
                           4 no boot id. */
    int64_t elapsed_ns; /* Not negative: a clock that was set back has aged nothing. */
};

/** @return the time as a monotonic one, at most @ahead_ns after now. */
static int64_t take_time(const struct governor *g, struct taking *t, int64_t ahead_ns) {
    int64_t away_ns = (int64_t)reader__u64(&t->r), mono_ns = 0;
    if (away_ns == NEVER && ahead_ns == NEVER) return NEVER;
    if (away_ns <= LONG_AGO) return LONG_AGO;
    if (__builtin_sub_overflow(away_ns, t->elapsed_ns, &away_ns)) return LONG_AGO;
    if (away_ns > ahead_ns) away_ns = ahead_ns;
    if (__builtin_add_overflow(g->clock->mono_ns, away_ns, &mono_ns)) return NEVER;
    return mono_ns < LONG_AGO ? LONG_AGO : mono_ns;
}

static void put_policy(const struct governor *g, struct buf *out, struct policy *p) {
    int64_t hold_ns = p->hold_ns; /* What a window could not note holds the whole policy. */
    for (size_t i = 0; i < p->n_windows; i++)
        if (p->windows[i].blind_ns > hold_ns) hold_ns = p->windows[i].blind_ns;
    put_time(g, out, hold_ns);
    put_time(g, out, p->last_grant_ns);
    buf__u32(out, p->n_refusals);
    buf__u64(out, (uint64_t)p->learned_wall_ns);
    buf__u32(out, p->n_inflight);
    buf__u32(out, (uint32_t)p->n_windows);
    for (size_t i = 0; i < p->n_windows; i++) {
        struct window *w = &p->windows[i];
        uint32_t n = window__live(w, g->clock->mono_ns);
        buf__string(out, slice__str(w->rule));
        buf__u32(out, w->limit);
        buf__u32(out, w->period_s);
        buf__u32(out, w->restriction_s);
        buf__u64(out, (uint64_t)w->hidden_ns);
        buf__u32(out, n);
        for (uint32_t k = 0; k < n; k++) put_time(g, out, w->ring[(w->at + k) % w->cap]);
    }
}

static void copy_string(char *out, size_t size, struct slice s) {
    snprintf(out, size, "%.*s", SLICE_FMT(s));
}

static void take_policy(struct governor *g, struct taking *t, struct policy *p) {
    int64_t now_ns = g->clock->mono_ns;
    policy__hold(p, take_time(g, t, HOLD_MAX_NS));
    p->last_grant_ns = take_time(g, t, 0);
    if (t->version >= 3) {
        p->n_refusals = reader__u32(&t->r);
        p->learned_wall_ns = (int64_t)reader__u64(&t->r);
    }
    uint32_t n_inflight = reader__u32(&t->r), n_windows = reader__u32(&t->r);
    policy__fini(p);
    for (uint32_t i = 0; i < n_windows && i < WINDOWS_MAX && !t->r.failed; i++) {
        struct window *w = &p->windows[p->n_windows];
        *w = (struct window){0};
        copy_string(w->rule, sizeof w->rule, reader__string(&t->r));
        w->limit = reader__u32(&t->r);
        w->period_s = reader__u32(&t->r);
        w->restriction_s = reader__u32(&t->r);
        w->hidden_ns = (int64_t)reader__u64(&t->r);
        uint32_t n = reader__u32(&t->r);
        if (n > RING_MAX || w->limit == 0 || w->period_s == 0 ||
            w->period_s > WINDOW_PERIOD_MAX_S || w->hidden_ns < 0 || w->hidden_ns > DISABLE_NS)
            t->r.failed = true;
        if (t->r.failed) break; /* What cannot be a window must not be saved as one again. */
        p->n_windows++;
        for (uint32_t k = 0; k < n && !t->r.failed; k++) window__spend(w, take_time(g, t, 0));
        /* When those in flight end, or ended, nobody will tell: now is the latest. */
        for (uint32_t k = 0; k < n_inflight && k < RING_MAX && !t->r.failed; k++)
            window__spend(w, now_ns);
    }
    measure__policy_init(g, p);
}

static bool is_fresh(const struct endpoint *ep) {
    return !ep->learned && ep->n_requests == 0 && ep->n_fail == 0 && ep->disabled_until_ns == 0 &&
           ep->n_invalid == 0 && ep->backoff_ns == 0 && ep->own.hold_ns == 0 &&
           ep->paused_until_ns == 0 && !ep->unproven &&
           (ep->venue == NULL || ep->venue->n_refused == 0);
}

static void put_endpoint(const struct governor *g, struct buf *out, struct endpoint *ep,
                         const char *policy) {
    uint64_t rate = 0;
    uint32_t n_keys = 0;
    memcpy(&rate, &ep->rate_per_s, sizeof rate);
    buf__string(out, slice__str(ep->o.name));
    buf__string(out, slice__str(policy));
    put_policy(g, out, &ep->own);
    buf__u32(out, ep->venue == NULL ? RETRIES_MAX : ep->venue->retries);
    uint32_t n_refused = ep->venue == NULL ? 0 : ep->venue->n_refused;
    buf__u32(out, n_refused);
    for (uint32_t i = 0; i < n_refused; i++) put_time(g, out, ep->venue->refused_ns[i]);
    buf__u8(out, ep->unproven);
    buf__u8(out, ep->learned);
    /* One that is under way will not be told of, and was sent all the same. */
    buf__u8(out, ep->head_due && (ep->venue == NULL || ep->venue->heading != ep));
    buf__u64(out, rate);
    put_time(g, out, ep->rate_next_ns);
    put_time(g, out, ep->backoff_ns);
    put_time(g, out, ep->disabled_until_ns == 0 ? LONG_AGO : ep->disabled_until_ns);
    buf__u8(out, ep->killed);
    put_time(g, out, ep->paused_until_ns == 0 ? LONG_AGO : ep->paused_until_ns);
    buf__string(out, slice__str(ep->paused_reason));
    buf__u32(out, ep->n_fail);
    buf__u32(out, ep->n_auth);
    buf__u32(out, ep->n_blocks);
    buf__string(out, slice__str(ep->disabled_reason));
    buf__u32(out, ep->n_invalid);
    for (uint32_t i = 0; i < ep->n_invalid; i++) put_time(g, out, ep->invalid_ns[i]);
    for (const struct key_gap *k = ep->oldest_key; k != NULL; k = k->newer)
        n_keys += endpoint__holds(ep, k);
    buf__u32(out, n_keys);
    for (const struct key_gap *k = ep->oldest_key; k != NULL; k = k->newer) {
        if (!endpoint__holds(ep, k)) continue;
        buf__string(out, slice__str(k->key));
        put_time(g, out, k->until_ns);
    }
}

/* Each endpoint of the venue brings them; the longest list is what all knew. */
static void take_refusals(struct governor *g, struct taking *t, struct venue *v) {
    uint32_t n = reader__u32(&t->r);
    if (n > REFUSALS_MAX) t->r.failed = true;
    bool better = v != NULL && n > v->n_refused && !t->r.failed;
    for (uint32_t i = 0; i < n && !t->r.failed; i++) {
        int64_t at_ns = take_time(g, t, 0);
        if (better) v->refused_ns[i] = at_ns;
    }
    if (better) v->n_refused = n;
}

/** Reads an endpoint into @ep, which is an absent one when nobody has that name any more. */
static void take_endpoint(struct governor *g, struct taking *t, struct endpoint *ep,
                          const char *policy) {
    uint64_t rate = 0;
    take_policy(g, t, &ep->own);
    uint32_t retries = t->version >= 3 ? reader__u32(&t->r) : RETRIES_MAX;
    if (ep->venue != NULL && retries < ep->venue->retries) ep->venue->retries = retries;
    if (t->version >= 4) {
        take_refusals(g, t, ep->venue);
        ep->unproven = reader__u8(&t->r) != 0;
    }
    ep->learned = reader__u8(&t->r) != 0;
    if (t->version >= 3) {
        bool head_due = reader__u8(&t->r) != 0;
        if (!head_due && t->elapsed_ns < HEAD_AGAIN_NS) ep->head_due = false;
    }
    rate = reader__u64(&t->r);
    memcpy(&ep->rate_per_s, &rate, sizeof rate);
    if (!(ep->rate_per_s >= ep->o.rate_floor_per_s)) ep->rate_per_s = ep->o.rate_floor_per_s;
    if (ep->rate_per_s > ep->o.rate_per_s) ep->rate_per_s = ep->o.rate_per_s;
    ep->rate_next_ns = take_time(g, t, 3600 * NS_PER_S);
    ep->backoff_ns = take_time(g, t, HOLD_MAX_NS);
    ep->disabled_until_ns = take_time(g, t, NEVER);
    if (t->version >= 2) {
        ep->killed = reader__u8(&t->r) != 0;
        ep->paused_until_ns = take_time(g, t, NEVER);
        copy_string(ep->paused_reason, sizeof ep->paused_reason, reader__string(&t->r));
    }
    ep->n_fail = reader__u32(&t->r) % 32;
    ep->n_auth = reader__u32(&t->r);
    ep->n_blocks = reader__u32(&t->r);
    copy_string(ep->disabled_reason, sizeof ep->disabled_reason, reader__string(&t->r));
    if (t->version < 4 && ep->n_auth >= 2 && !ep->killed && ep->disabled_until_ns == NEVER) {
        ep->disabled_until_ns = g->clock->mono_ns + REST_NS; /* It was for good then. */
        ep->unproven = true;
    }
    uint32_t n = reader__u32(&t->r);
    if (n > INVALID_MAX) t->r.failed = true;
    ep->n_invalid = 0;
    for (uint32_t i = 0; i < n && !t->r.failed; i++)
        ep->invalid_ns[ep->n_invalid++] = take_time(g, t, 0);
    n = reader__u32(&t->r);
    for (uint32_t i = 0; i < n && !t->r.failed; i++) {
        char key[64];
        copy_string(key, sizeof key, reader__string(&t->r));
        int64_t until_ns = take_time(g, t, ep->o.key_gap_ns);
        if (!t->r.failed && until_ns > g->clock->mono_ns) endpoint__remember_key(ep, key, until_ns);
    }
    struct policy *named = policy[0] == '\0' || ep->policy == NULL || t->r.failed
                               ? NULL
                               : policy__named(g, ep->o.venue, policy);
    if (named != NULL) policy__bind(g, ep, named);
}

/* @return whether nobody has made the endpoint since. */
static bool is_absent(const struct governor *g, const struct absent *a) {
    return governor__find((struct governor *)(uintptr_t)g, a->ep.o.name) == NULL;
}

/* Without memory, or with too many, it is forgotten, as if it had never been asked. */
static void take_absent(struct governor *g, struct taking *t, const char *name,
                        const char *policy) {
    struct absent scratch = {0}, *a = calloc(1, sizeof *a);
    char *copy = g->n_absent < ENDPOINTS_MAX ? strdup(name) : NULL;
    struct endpoint *ep = a == NULL || copy == NULL ? &scratch.ep : &a->ep;
    ep->g = g;
    ep->o.name = copy;
    ep->o.rate_per_s = HUGE_VAL; /* Whoever has it again knows its bounds. */
    ep->head_due = true;
    take_endpoint(g, t, ep, "");
    if (ep == &scratch.ep || t->r.failed) {
        policy__fini(&ep->own);
        free(copy);
        free(a);
        return;
    }
    snprintf(a->policy, sizeof a->policy, "%s", policy);
    a->next = g->absent;
    g->absent = a;
    g->n_absent++;
}

void governor__save(const struct governor *g, struct buf *out) {
    size_t start = out->len;
    uint32_t n = 0;
    buf__u32(out, MAGIC);
    buf__u32(out, VERSION);
    buf__u64(out, (uint64_t)g->clock->wall_ns);
    buf__u64(out, g->o.boot_id);
    buf__u64(out, (uint64_t)g->clock->mono_ns);
    put_time(g, out, g->global_next_ns);
    buf__u32(out, (uint32_t)g->n_policies);
    for (struct policy *p = g->policies; p != NULL; p = p->next) {
        buf__string(out, slice__str(p->venue));
        buf__string(out, slice__str(p->name));
        put_policy(g, out, p);
    }
    for (size_t i = 0; i < g->n_endpoints; i++) n += !is_fresh(g->endpoints[i]);
    for (struct absent *a = g->absent; a != NULL; a = a->next) n += is_absent(g, a);
    buf__u32(out, n);
    for (size_t i = 0; i < g->n_endpoints; i++)
        if (!is_fresh(g->endpoints[i]))
            put_endpoint(g, out, g->endpoints[i], g->endpoints[i]->policy->name);
    for (struct absent *a = g->absent; a != NULL; a = a->next)
        if (is_absent(g, a)) put_endpoint(g, out, &a->ep, a->policy);
    if (!out->failed) buf__u64(out, XXH3_64bits(out->base + start, out->len - start));
}

static bool is_intact(struct slice saved) {
    if (saved.len < 16) return false;
    struct reader r = reader__of(slice__of(saved.base + saved.len - 8, 8));
    return reader__u64(&r) == XXH3_64bits(saved.base, saved.len - 8);
}

static void take_elapsed(const struct governor *g, struct taking *t) {
    int64_t then_ns = (int64_t)reader__u64(&t->r), now_ns = g->clock->wall_ns;
    if (t->version >= 5) {
        uint64_t boot_id = reader__u64(&t->r);
        int64_t then_mono_ns = (int64_t)reader__u64(&t->r);
        if (boot_id != 0 && boot_id == g->o.boot_id) {
            then_ns = then_mono_ns;
            now_ns = g->clock->mono_ns;
        }
    }
    if (__builtin_sub_overflow(now_ns, then_ns, &t->elapsed_ns) || t->elapsed_ns < 0)
        t->elapsed_ns = 0;
}

static void take_all(struct governor *g, struct taking *t) {
    char venue[64], name[256], policy[64];
    take_elapsed(g, t);
    g->global_next_ns = take_time(g, t, 60 * NS_PER_S);
    uint32_t n = reader__u32(&t->r);
    for (uint32_t i = 0; i < n && !t->r.failed; i++) {
        copy_string(venue, sizeof venue, reader__string(&t->r));
        copy_string(name, sizeof policy, reader__string(&t->r));
        struct policy *p = name[0] == '\0' ? NULL : policy__named(g, venue, name);
        if (p == NULL) t->r.failed = true;
        else take_policy(g, t, p);
    }
    n = reader__u32(&t->r);
    for (uint32_t i = 0; i < n && !t->r.failed; i++) {
        copy_string(name, sizeof name, reader__string(&t->r));
        copy_string(policy, sizeof policy, reader__string(&t->r));
        struct endpoint *ep = governor__find(g, name);
        if (ep != NULL) {
            take_endpoint(g, t, ep, policy);
            measure__endpoint(ep);
            continue;
        }
        take_absent(g, t, name, policy);
    }
}

int governor__restore(struct governor *g, struct slice saved, struct err *e) {
    struct taking t = {.r = reader__of(slice__of(saved.base, saved.len < 8 ? 0 : saved.len - 8))};
    bool fits = is_intact(saved) && reader__u32(&t.r) == MAGIC;
    t.version = fits ? reader__u32(&t.r) : 0;
    fits = t.version >= 1 && t.version <= VERSION;
    if (fits) take_all(g, &t);
    if (fits && !t.r.failed) return 0;
    g->suspect = true;
    for (size_t i = 0; i < g->n_endpoints; i++)
        policy__hold(g->endpoints[i]->policy, g->clock->mono_ns + DAMAGED_HOLD_NS);
    return err__setf(e, ERR_CORRUPT, "governor: restore: %zu bytes of saved state: %s", saved.len,
                     fits ? "cut short" : "damaged, or of another version");
}
