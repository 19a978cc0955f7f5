/* What an endpoint may do of its own: AIMD where there are no headers, backoff after failures, the
 * budget of invalid requests, and the least time between requests with one key. */
#include "governor_internal.h"
#include "souk/core/log.h"
#include <stdio.h>
#include <stdlib.h>

#define STEP_NS (10 * NS_PER_S) /* A step up per so much success. */
#define CUT_NS NS_PER_S         /* At most one cut in so much time: a burst of failures is one. */
#define BACKOFF_FIRST_NS NS_PER_S
#define BACKOFF_OPEN_NS (16 * NS_PER_S) /* From the third failure on: the circuit is open. */
#define BACKOFF_MAX_NS (600 * NS_PER_S)
#define SLOW_PER_S 1.0 /* Up to here a reply is there before the next request is due. */
#define BACKOFF_UNREACHED_NS (8 * NS_PER_S) /* Without a response, at most. */
#define TRIES 3

static void drop_key(struct endpoint *ep) {
    struct key_gap *k = ep->oldest_key;
    ep->oldest_key = k->newer;
    if (ep->oldest_key == NULL) ep->newest_key = NULL;
    if (endpoint__holds(ep, k)) map__remove(&ep->keys, slice__str(k->key));
    free(k);
}

void endpoint__free_keys(struct endpoint *ep) {
    while (ep->oldest_key != NULL) drop_key(ep);
    map__fini(&ep->keys);
}

static int64_t key_next_ns(struct endpoint *ep, const char *key, int64_t now_ns) {
    if (ep->o.key_gap_ns == 0 || key[0] == '\0') return now_ns;
    while (ep->oldest_key != NULL && ep->oldest_key->until_ns <= now_ns) drop_key(ep);
    const struct key_gap *k = map__get(&ep->keys, slice__str(key));
    if (k != NULL) return k->until_ns;
    /* No room for another: whoever is new waits for the oldest, so that no gap is forgotten. */
    return ep->keys.n >= KEYS_MAX ? ep->oldest_key->until_ns : now_ns;
}

void endpoint__remember_key(struct endpoint *ep, const char *key, int64_t until_ns) {
    if (ep->o.key_gap_ns == 0 || key[0] == '\0') return;
    if (map__get(&ep->keys, slice__str(key)) != NULL || ep->keys.n >= KEYS_MAX) return;
    struct key_gap *k = calloc(1, sizeof *k);
    if (k == NULL) return;
    snprintf(k->key, sizeof k->key, "%s", key);
    k->until_ns = until_ns;
    if (map__put(&ep->keys, slice__str(k->key), k) != 0) {
        free(k);
        return;
    }
    if (ep->newest_key == NULL) ep->oldest_key = k;
    else ep->newest_key->newer = k;
    ep->newest_key = k;
    if (ep->keys.n >= KEYS_MAX) measure__full(ep->g, FULL_KEY);
}

void endpoint__forget_key(struct endpoint *ep, const char *key) {
    /* Its entry in the ring stays until its time, and then finds that it has left the map. */
    if (ep->o.key_gap_ns > 0 && key[0] != '\0') map__remove(&ep->keys, slice__str(key));
}

bool endpoint__holds(struct endpoint *ep, const struct key_gap *k) {
    return map__get(&ep->keys, slice__str(k->key)) == k;
}

bool endpoint__disabled(const struct endpoint *ep, int64_t now_ns) {
    return ep->disabled_until_ns > now_ns;
}

/* Of two that may go: the class whose turn it is, then the earlier deadline. */
static bool goes_before(const struct endpoint *ep, const struct permit *a, const struct permit *b) {
    bool a_turn = a->class == ep->turn, b_turn = b->class == ep->turn;
    if (a_turn != b_turn) return a_turn;
    return permit__deadline_ns(a) < permit__deadline_ns(b);
}

int64_t endpoint__next_ns(struct endpoint *ep, int64_t now_ns, struct permit **who) {
    /* One at a time until a reply was read, and while it is not known whether the trouble is over.
     */
    bool unsure = !ep->learned || ep->n_fail > 0 || ep->unproven;
    /* Nobody announces windows, so our own pace is all that keeps the limit, and a network that has
     * held two requests back delivers them together. */
    bool slow = ep->policy->n_windows == 0 && ep->o.rate_per_s <= SLOW_PER_S;
    uint32_t most = unsure || slow ? 1 : ep->o.inflight_max;
    int64_t next_ns = ep->backoff_ns, best_ns = NEVER;
    if (ep->disabled_until_ns > next_ns) next_ns = ep->disabled_until_ns;
    if (ep->paused_until_ns > next_ns) next_ns = ep->paused_until_ns;
    if (ep->n_inflight >= most) return NEVER;
    if (ep->policy->n_windows == 0 && ep->rate_next_ns > next_ns) next_ns = ep->rate_next_ns;
    if (ep->o.paced) {
        int64_t t = ep->policy->last_grant_ns + policy__pace_ns(ep->g, ep->policy);
        if (t > next_ns) next_ns = t;
    }
    if (ep->head == NULL) return next_ns;
    /* One whose key has to wait holds up nobody else. */
    const struct permit *best = NULL;
    for (struct permit *p = ep->head; p != NULL; p = p->next) {
        int64_t t = key_next_ns(ep, p->key, now_ns);
        int64_t venue_ns = p->proven ? now_ns : venue__unproven_ns(ep->venue, now_ns);
        if (venue_ns > t) t = venue_ns;
        if (t > now_ns ? t >= best_ns : best_ns <= now_ns && !goes_before(ep, p, best)) continue;
        best_ns = t;
        best = p;
        if (who != NULL) *who = p;
        if (best_ns <= now_ns && ep->n_waiting == ep->n_waiting_by_class[CLASS_TAIL] &&
            p->tier == TIER_HOT)
            break; /* The rule: all alike, in the order in which they asked. */
    }
    return best_ns > next_ns ? best_ns : next_ns;
}

/* When its rate allows the next one after a request at @ns. */
static int64_t after(const struct endpoint *ep, int64_t ns) {
    return ns + (int64_t)((double)NS_PER_S / ep->rate_per_s);
}

void endpoint__answered(struct endpoint *ep, int64_t done_ns) {
    int64_t t = after(ep, done_ns);
    if (t > ep->rate_next_ns) ep->rate_next_ns = t;
}

void endpoint__granted(struct endpoint *ep, struct permit *p, int64_t now_ns) {
    ep->rate_next_ns = after(ep, now_ns);
    if (!p->head) endpoint__remember_key(ep, p->key, now_ns + ep->o.key_gap_ns);
    ep->n_in_step++;
    if (ep->s_wait != NULL)
        series__add(ep->s_wait, (double)(now_ns - p->asked_mono_ns) / (double)NS_PER_S);
    ep->n_requests++;
    ep->n_granted_by_class[p->class]++;
}

/* It is there, and lets us in. */
static void note_answer(struct endpoint *ep, int64_t now_ns) {
    /* The circuit was open: all at once would be the burst that opens it again. */
    if (ep->n_fail >= TRIES) policy__recover(ep->g, ep->policy);
    ep->n_fail = ep->n_auth = 0;
    ep->unproven = false;
    if (ep->backoff_ns > now_ns) ep->backoff_ns = now_ns;
}

void endpoint__succeeded(struct endpoint *ep, int64_t now_ns) {
    note_answer(ep, now_ns);
    ep->last_error[0] = '\0';
    if (ep->venue->retries < RETRIES_MAX) ep->venue->retries++;
    if (ep->rate_step_ns > now_ns) return;
    /* One step in 10 s, and only when the rate was used: idle time teaches nothing. */
    double allowed = ep->rate_per_s * (double)STEP_NS / (double)NS_PER_S;
    bool used = (double)ep->n_in_step + 1 >= 0.8 * allowed;
    ep->rate_step_ns = now_ns + STEP_NS;
    ep->n_in_step = 0;
    if (!used) return;
    ep->rate_per_s += ep->o.rate_per_s / 20;
    if (ep->rate_per_s > ep->o.rate_per_s) ep->rate_per_s = ep->o.rate_per_s;
}

int64_t endpoint__failed(struct endpoint *ep, bool throttled, bool unreached, int64_t now_ns) {
    uint32_t cost = throttled ? RETRY_COST_THROTTLE : RETRY_COST_FAILURE;
    bool spent = ep->venue->retries < cost; /* Trouble of the whole venue: nobody tries thrice. */
    if (!spent) ep->venue->retries -= cost;
    ep->n_errors++;
    if (ep->n_fail < 30) ep->n_fail++;
    ep->rate_step_ns = now_ns + STEP_NS;
    /* Silence may be overload, but no more than two halvings' worth. */
    if (now_ns >= ep->rate_cut_ns && (!unreached || ep->rate_per_s > ep->o.rate_per_s / 4)) {
        ep->rate_cut_ns = now_ns + CUT_NS;
        ep->rate_per_s /= 2;
        if (ep->rate_per_s < ep->o.rate_floor_per_s) ep->rate_per_s = ep->o.rate_floor_per_s;
    }
    /* Full jitter over an exponential span, on a floor: a random 0 must not be a retry at once. */
    bool open = ep->n_fail >= TRIES || spent;
    uint32_t doublings = ep->n_fail >= TRIES ? ep->n_fail - TRIES : open ? 0 : ep->n_fail - 1;
    int64_t first_ns = open ? BACKOFF_OPEN_NS : BACKOFF_FIRST_NS;
    int64_t span_ns = doublings > 9 ? BACKOFF_MAX_NS : first_ns << doublings;
    if (span_ns > BACKOFF_MAX_NS) span_ns = BACKOFF_MAX_NS;
    int64_t wait_ns = first_ns / 2 + governor__random_ns(ep->g, span_ns);
    /* Nobody has refused anything: what spares a server in trouble would only keep a network that
     * works again waiting. One request every few seconds is no burden where none arrives, and one
     * that times out has waited already. */
    if (unreached && wait_ns > BACKOFF_UNREACHED_NS)
        wait_ns = BACKOFF_UNREACHED_NS / 2 + governor__random_ns(ep->g, BACKOFF_UNREACHED_NS / 2);
    if (now_ns + wait_ns > ep->backoff_ns) ep->backoff_ns = now_ns + wait_ns;
    return wait_ns;
}

static void forget_old_invalid(struct endpoint *ep, int64_t now_ns) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < ep->n_invalid; i++)
        if (ep->invalid_ns[i] + INVALID_SPAN_NS > now_ns) ep->invalid_ns[n++] = ep->invalid_ns[i];
    ep->n_invalid = n;
}

uint32_t endpoint__invalid_left(const struct endpoint *ep, int64_t now_ns) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < ep->n_invalid; i++) n += ep->invalid_ns[i] + INVALID_SPAN_NS > now_ns;
    return n < ep->o.invalid_max ? ep->o.invalid_max - n : 0;
}

void endpoint__invalid(struct endpoint *ep, int status, int64_t now_ns) {
    char why[96];
    ep->n_errors++;
    forget_old_invalid(ep, now_ns);
    if (ep->n_invalid < INVALID_MAX) ep->invalid_ns[ep->n_invalid++] = now_ns;
    snprintf(ep->last_error, sizeof ep->last_error, "HTTP %d", status);
    bool auth = status == 401 || status == 403;
    ep->n_auth = !auth ? 0 : ep->n_auth < 30 ? ep->n_auth + 1 : ep->n_auth;
    bool spent = ep->n_invalid >= ep->o.invalid_max;
    if (auth && (ep->n_auth >= 2 || spent)) {
        /* Once may be an old token, which its owner refreshes. Twice can be trouble of the
         * vendor's, which passes: who stopped for good then would stay away from an upstream that
         * is well. */
        uint32_t doublings = ep->n_auth <= 2 ? 0 : ep->n_auth > 6 ? 4 : ep->n_auth - 2;
        int64_t rest_ns = REST_NS << doublings;
        snprintf(why, sizeof why, "not authorized: HTTP %d %s", status,
                 ep->n_auth >= 2 ? "twice in a row" : "again and again");
        endpoint__disable(ep, now_ns + (rest_ns < REST_MAX_NS ? rest_ns : REST_MAX_NS), why);
    } else if (spent) {
        snprintf(why, sizeof why, "%u invalid requests in 10 min, last HTTP %d", ep->n_invalid,
                 status);
        endpoint__disable(ep, NEVER, why);
    }
}

static void forget_old_refusals(struct venue *v, int64_t now_ns) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n_refused; i++)
        if (v->refused_ns[i] + INVALID_SPAN_NS > now_ns) v->refused_ns[n++] = v->refused_ns[i];
    v->n_refused = n;
}

uint32_t venue__refusals_left(const struct venue *v, int64_t now_ns) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n_refused; i++) n += v->refused_ns[i] + INVALID_SPAN_NS > now_ns;
    return REFUSALS_MAX - n;
}

int64_t venue__unproven_ns(struct venue *v, int64_t now_ns) {
    if (v == NULL || venue__refusals_left(v, now_ns) > 0) return now_ns;
    return v->refused_ns[0] + INVALID_SPAN_NS;
}

void venue__forget_refusals(struct governor *g, struct venue *v) {
    if (v->n_refused == 0) return;
    v->n_refused = 0;
    for (size_t i = 0; i < g->n_endpoints; i++) /* Whoever waited for one of them to be old. */
        if (g->endpoints[i]->venue == v && g->endpoints[i]->due.pos != 0)
            schedule__place(g, g->endpoints[i]);
    measure__venue(g, v);
}

void endpoint__refused_subject(struct endpoint *ep, int status, int64_t now_ns) {
    struct venue *v = ep->venue;
    ep->n_errors++;
    note_answer(ep, now_ns); /* Whoever looks for what was asked for has let us in. */
    snprintf(ep->last_error, sizeof ep->last_error, "HTTP %d", status);
    forget_old_refusals(v, now_ns);
    if (v->n_refused == REFUSALS_MAX) /* The newest count: of those that were under way. */
        memmove(v->refused_ns, v->refused_ns + 1, --v->n_refused * sizeof *v->refused_ns);
    v->refused_ns[v->n_refused++] = now_ns;
    if (v->n_refused == REFUSALS_MAX)
        LOG_ERROR("governor", "so many subjects are refused that only proven ones are asked for",
                  LOG_S("venue", v->name), LOG_I("refusals", REFUSALS_MAX), LOG_I("in_s", 600));
    if (v->s_refused != NULL) series__inc(v->s_refused);
    measure__venue(ep->g, v);
}

void endpoint__disable(struct endpoint *ep, int64_t until_ns, const char *why) {
    ep->unproven |= !ep->killed; /* What a person stopped says nothing of the upstream. */
    /* What is stopped for as long already stays so for the reason that was given. */
    if (until_ns <= ep->disabled_until_ns) return;
    ep->disabled_until_ns = until_ns;
    snprintf(ep->disabled_reason, sizeof ep->disabled_reason, "%s", why);
    LOG_ERROR(
        "governor", "endpoint disabled", LOG_S("endpoint", ep->o.name), LOG_S("reason", why),
        LOG_I("for_s", until_ns == NEVER ? -1 : (until_ns - ep->g->clock->mono_ns) / NS_PER_S));
    schedule__refuse_all(ep->g, ep, ERR_REFUSED);
    measure__endpoint(ep);
}

enum endpoint_state endpoint__state(struct endpoint *ep, int64_t now_ns, int64_t next_ns) {
    if (endpoint__disabled(ep, now_ns)) return ep->killed ? ENDPOINT_KILLED : ENDPOINT_DISABLED;
    if (ep->policy->hold_ns > now_ns) return ENDPOINT_PENALTY;
    if (ep->backoff_ns > now_ns) return ENDPOINT_BACKOFF;
    if (ep->n_fail >= TRIES || ep->policy->n_refusals > 0 || ep->unproven) return ENDPOINT_PROBE;
    if (policy__share(ep->policy, now_ns) < 1) return ENDPOINT_RECOVER;
    return next_ns > now_ns ? ENDPOINT_PACED : ENDPOINT_OPEN;
}
