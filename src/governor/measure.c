/* Series and status: what people and Prometheus see of the governor. Label sets come from outside
 * (policies, windows), so they are bounded: what comes after the bound has no series. */
#include "governor_internal.h"
#include <inttypes.h>
#include <stdio.h>

static const char *const state_names[ENDPOINT__STATES] = {
    [ENDPOINT_OPEN] = "open",       [ENDPOINT_PACED] = "paced",   [ENDPOINT_PENALTY] = "penalty",
    [ENDPOINT_BACKOFF] = "backoff", [ENDPOINT_PROBE] = "probe",   [ENDPOINT_DISABLED] = "disabled",
    [ENDPOINT_RECOVER] = "recover", [ENDPOINT_KILLED] = "killed",
};

const char *endpoint_state__name(enum endpoint_state state) { return state_names[state]; }

static struct series *throttled_series(struct governor *g, const char *venue, const char *policy) {
    return metrics__counter(g->metrics, "souk_ratelimit_throttled_total",
                            "Replies with 429 or an active restriction.",
                            "venue=\"%s\",policy=\"%s\"", venue, policy);
}

void measure__init(struct governor *g) {
    static const char *const fulls[GOVERNOR_FULLS] = {[FULL_ENDPOINT] = "endpoint",
                                                      [FULL_POLICY] = "policy",
                                                      [FULL_WAITER] = "waiter",
                                                      [FULL_KEY] = "key"};
    if (g->metrics == NULL) return;
    for (int i = 0; i < GOVERNOR_FULLS; i++)
        g->s_full[i] = metrics__counter(g->metrics, "souk_governor_full_total",
                                        "Endpoints and requests refused, named policies not kept "
                                        "apart, and times that no key found a place.",
                                        "what=\"%s\"", fulls[i]);
    g->s_wrong = metrics__counter(g->metrics, "souk_ratelimit_headers_wrong_total",
                                  "Replies with rate-limit headers that cannot be read, or say "
                                  "more than is kept; they are not believed.",
                                  "");
    g->s_cuts = metrics__counter(g->metrics, "souk_governor_tick_cuts_total",
                                 "Ticks that ended at their bound with more to do.", "");
}

void measure__full(struct governor *g, enum governor_full what) {
    if (g->s_full[what] != NULL) series__inc(g->s_full[what]);
}

void measure__venue_init(struct governor *g, struct venue *v) {
    char venue[96];
    if (g->metrics == NULL || g->n_endpoints >= SERIES_ENDPOINTS) return;
    metric__label(slice__str(v->name), venue, sizeof venue);
    v->s_refused = metrics__counter(g->metrics, "souk_subject_refusals_total",
                                    "Replies that refused one subject: a league, a tab, a page.",
                                    "venue=\"%s\"", venue);
    v->s_refusals_left = metrics__gauge(
        g->metrics, "souk_subject_refusals_remaining",
        "Such replies left before only proven subjects are asked for.", "venue=\"%s\"", venue);
    measure__venue(g, v);
}

void measure__venue(const struct governor *g, struct venue *v) {
    if (v->s_refusals_left == NULL) return;
    series__set(v->s_refusals_left, venue__refusals_left(v, g->clock->mono_ns));
}

void measure__endpoint_init(struct endpoint *ep) {
    struct governor *g = ep->g;
    char venue[96], class[96];
    if (g->metrics == NULL || g->n_endpoints > SERIES_ENDPOINTS) return;
    metric__label(slice__str(ep->o.venue), venue, sizeof venue);
    metric__label(slice__str(ep->o.name), class, sizeof class);
    ep->s_disabled = metrics__gauge(g->metrics, "souk_endpoint_disabled",
                                    "Whether requests of the class are refused.",
                                    "venue=\"%s\",class=\"%s\"", venue, class);
    ep->s_invalid = metrics__gauge(g->metrics, "souk_invalid_budget_remaining",
                                   "Invalid requests left before the class is disabled.",
                                   "venue=\"%s\",class=\"%s\"", venue, class);
    ep->s_rate = metrics__gauge(g->metrics, "souk_ratelimit_rate_per_second",
                                "The learned or configured rate.", "venue=\"%s\",class=\"%s\"",
                                venue, class);
    ep->s_wait =
        metrics__counter(g->metrics, "souk_ratelimit_wait_seconds_total",
                         "Time that requests waited for their permit.", "venue=\"%s\"", venue);
    /* Where no policy was named there are 429s all the same. */
    ep->own.s_throttled = throttled_series(g, venue, "none");
    measure__endpoint(ep);
}

static void init_windows(struct governor *g, struct policy *p, const char *venue,
                         const char *name) {
    for (size_t i = 0; i < p->n_windows; i++) {
        struct window *w = &p->windows[i];
        char labels[320];
        if (w->s_limit != NULL || g->n_series_windows >= SERIES_WINDOWS) continue;
        g->n_series_windows++;
        /* The rule and period, not the limit: a changed limit is the same series. */
        snprintf(labels, sizeof labels, "venue=\"%s\",policy=\"%s\",window=\"%s %us\"", venue, name,
                 w->rule, w->period_s);
        w->s_limit =
            metrics__gauge(g->metrics, "souk_ratelimit_limit", "Tokens of a window.", "%s", labels);
        w->s_used = metrics__gauge(g->metrics, "souk_ratelimit_used",
                                   "Tokens spent, in flight or not yet back.", "%s", labels);
        w->s_headroom = metrics__gauge(g->metrics, "souk_ratelimit_headroom_ratio",
                                       "Share of the tokens that is left.", "%s", labels);
    }
}

void measure__policy_init(struct governor *g, struct policy *p) {
    char venue[96], name[96];
    if (g->metrics == NULL || p->name[0] == '\0') return;
    metric__label(slice__str(p->venue), venue, sizeof venue);
    metric__label(slice__str(p->name), name, sizeof name);
    if (p->s_blocked == NULL) {
        if (g->n_series_policies >= SERIES_POLICIES) return;
        g->n_series_policies++;
        p->s_throttled = throttled_series(g, venue, name);
        p->s_blocked = metrics__gauge(g->metrics, "souk_ratelimit_blocked_until_timestamp_seconds",
                                      "Until when the server closed the policy; 0 when it did not.",
                                      "venue=\"%s\",policy=\"%s\"", venue, name);
        for (size_t i = 0; i < sizeof state_names / sizeof *state_names; i++)
            p->s_state[i] = metrics__gauge(
                g->metrics, "souk_ratelimit_state", "1 for the state that the policy is in.",
                "venue=\"%s\",policy=\"%s\",state=\"%s\"", venue, name, state_names[i]);
    }
    init_windows(g, p, venue, name);
    measure__policy(g, p);
}

void measure__policy(struct governor *g, struct policy *p) {
    int64_t now_ns = g->clock->mono_ns, wall_ns = g->clock->wall_ns;
    for (size_t i = 0; i < p->n_windows; i++) {
        struct window *w = &p->windows[i];
        w->used = window__live(w, now_ns) + p->n_inflight;
        if (w->s_limit == NULL) continue;
        double left = w->used < w->limit ? (double)(w->limit - w->used) / (double)w->limit : 0;
        series__set(w->s_limit, w->limit);
        series__set(w->s_used, w->used);
        series__set(w->s_headroom, left);
    }
    if (p->s_blocked == NULL) return;
    int64_t until_ns = p->hold_ns > now_ns ? wall_ns + (p->hold_ns - now_ns) : 0;
    enum endpoint_state state = until_ns != 0                             ? ENDPOINT_PENALTY
                                : policy__next_ns(g, p, 0, NULL) > now_ns ? ENDPOINT_PACED
                                : policy__share(p, now_ns) < 1            ? ENDPOINT_RECOVER
                                                                          : ENDPOINT_OPEN;
    series__set(p->s_blocked, (double)until_ns / (double)NS_PER_S);
    for (size_t i = 0; i < sizeof state_names / sizeof *state_names; i++)
        series__set(p->s_state[i], i == (size_t)state);
}

/** What the windows allow in the long run, or the rate without windows. */
static double rate_of(const struct endpoint *ep) {
    int64_t pace_ns = policy__pace_ns(ep->g, ep->policy);
    return pace_ns > 0 ? (double)NS_PER_S / (double)pace_ns : ep->rate_per_s;
}

void measure__endpoint(struct endpoint *ep) {
    int64_t now_ns = ep->g->clock->mono_ns;
    if (ep->s_disabled == NULL) return;
    series__set(ep->s_disabled, endpoint__disabled(ep, now_ns));
    series__set(ep->s_invalid, endpoint__invalid_left(ep, now_ns));
    series__set(ep->s_rate, rate_of(ep));
}

void governor__measure(struct governor *g) {
    for (size_t i = 0; i < g->n_endpoints && i < SERIES_ENDPOINTS; i++)
        measure__endpoint(g->endpoints[i]);
    for (struct policy *p = g->policies; p != NULL; p = p->next) measure__policy(g, p);
    for (struct venue *v = g->venues; v != NULL; v = v->next) measure__venue(g, v);
}

static void say_why(const struct governor *g, struct endpoint *ep, const struct window *w,
                    struct endpoint_status *out) {
    int64_t now_ns = g->clock->mono_ns;
    double wait_s = (double)(out->next_mono_ns - now_ns) / (double)NS_PER_S;
    char *why = out->reason;
    size_t size = sizeof out->reason;
    if (out->state == ENDPOINT_KILLED) snprintf(why, size, "killed: %s", ep->disabled_reason);
    else if (out->state == ENDPOINT_DISABLED && ep->disabled_until_ns == NEVER)
        snprintf(why, size, "disabled: %s", ep->disabled_reason);
    else if (out->state == ENDPOINT_DISABLED)
        snprintf(why, size, "disabled for %.0f s: %.95s",
                 (double)(ep->disabled_until_ns - now_ns) / (double)NS_PER_S, ep->disabled_reason);
    else if (out->paused) snprintf(why, size, "paused: %s", ep->paused_reason);
    else if (out->next_mono_ns == NEVER && ep->n_inflight > 0)
        snprintf(why, size, "waits for a reply: %u of its permits %s out", ep->n_inflight,
                 ep->n_inflight == 1 ? "is" : "are");
    else if (out->next_mono_ns == NEVER) snprintf(why, size, "waits for a reply");
    else if (out->state == ENDPOINT_PENALTY)
        snprintf(why, size,
                 ep->policy->n_refusals > 1 ? "waits %.1f s: suspended, refused again and again"
                                            : "waits %.1f s: the server closed the policy",
                 wait_s);
    else if (out->state == ENDPOINT_BACKOFF)
        snprintf(why, size, "waits %.1f s after %u failures, last: %.50s", wait_s, ep->n_fail,
                 ep->last_error);
    else if (ep->unproven)
        snprintf(why, size, "one request tries whether it is over: %.80s", ep->disabled_reason);
    else if (wait_s <= 0)
        snprintf(why, size,
                 out->state == ENDPOINT_PROBE ? "one request tries whether it is over"
                                              : "may go now");
    else if (venue__refusals_left(ep->venue, now_ns) == 0 &&
             out->next_mono_ns >= venue__unproven_ns(ep->venue, now_ns))
        snprintf(why, size, "waits %.1f s: %u subjects refused in 10 min", wait_s, REFUSALS_MAX);
    else if (w != NULL)
        snprintf(why, size, "waits %.1f s for %s %u:%u:%u", wait_s, w->rule, w->limit, w->period_s,
                 w->restriction_s);
    else snprintf(why, size, "waits %.1f s for its pace", wait_s);
}

/** Who waits may wait for the ceiling of its class, where the windows have tokens. @return when the
 * first of them may go; @class becomes its class. */
static int64_t ceiling_ns(const struct endpoint *ep, enum permit_class *class) {
    int64_t first_ns = NEVER;
    for (int c = 0; c < CLASS__N; c++) {
        if (ep->n_waiting_by_class[c] == 0) continue;
        int64_t t = share__ceiling_ns(ep->g, ep->policy, (enum permit_class)c);
        if (t >= first_ns) continue;
        first_ns = t;
        *class = (enum permit_class)c;
    }
    return first_ns == NEVER ? LONG_AGO : first_ns;
}

static void put_windows(struct policy *p, int64_t now_ns, struct governor_window_status *out) {
    for (size_t k = 0; k < p->n_windows; k++) {
        struct window *w = &p->windows[k];
        out[k] = (struct governor_window_status){.limit = w->limit,
                                                 .period_s = w->period_s,
                                                 .restriction_s = w->restriction_s,
                                                 .used = window__live(w, now_ns) + p->n_inflight};
        memcpy(out[k].rule, w->rule, sizeof out[k].rule);
    }
}

void governor__status(const struct governor *g, size_t i, struct endpoint_status *out) {
    /* Forgetting tokens that are back is all that changes by looking. */
    struct governor *mutable = g->endpoints[i]->g;
    struct endpoint *ep = g->endpoints[i];
    struct policy *p = ep->policy;
    const struct window *why = NULL;
    int64_t now_ns = g->clock->mono_ns;
    int64_t own_ns = endpoint__next_ns(ep, now_ns, NULL), next_ns;
    *out = (struct endpoint_status){.name = ep->o.name,
                                    .host = ep->o.host,
                                    .paused = ep->paused_until_ns > now_ns,
                                    .unproven = ep->unproven && !ep->killed,
                                    .rate_per_s = rate_of(ep),
                                    .n_windows = (uint32_t)p->n_windows,
                                    .n_waiting = ep->n_waiting,
                                    .retries_left = ep->venue->retries,
                                    .n_inflight = ep->n_inflight,
                                    .n_requests = ep->n_requests,
                                    .n_throttled = ep->n_throttled,
                                    .n_errors = ep->n_errors};
    memcpy(out->policy, p->name, sizeof out->policy);
    memcpy(out->n_waiting_by_class, ep->n_waiting_by_class, sizeof out->n_waiting_by_class);
    memcpy(out->n_granted_by_class, ep->n_granted_by_class, sizeof out->n_granted_by_class);
    next_ns = policy__next_ns(mutable, p, 0, &why);
    int64_t host_ns = ep->host->next_ns;
    if (ep->o.use_global_rate && g->global_next_ns > host_ns) host_ns = g->global_next_ns;
    if (own_ns > next_ns || host_ns > next_ns) why = NULL;
    if (own_ns > next_ns) next_ns = own_ns;
    if (host_ns > next_ns) next_ns = host_ns;
    if (!ep->learned && ep->host->first != NULL) next_ns = NEVER;
    enum permit_class class = CLASS_TAIL;
    int64_t class_ns = ceiling_ns(ep, &class);
    bool ceiled = class_ns > next_ns && class_ns > now_ns;
    if (ceiled) next_ns = class_ns;
    out->state = endpoint__state(ep, now_ns, next_ns);
    out->next_mono_ns = next_ns;
    say_why(g, ep, why, out);
    if (ceiled && out->state == ENDPOINT_PACED)
        snprintf(out->reason, sizeof out->reason, "waits %.1f s for the ceiling of class %s",
                 (double)(class_ns - now_ns) / (double)NS_PER_S, permit_class__name(class));
    put_windows(p, now_ns, out->windows);
}

size_t governor__n_policies(const struct governor *g) { return g->n_policies; }

void governor__policy(const struct governor *g, size_t i, struct policy_status *out) {
    struct policy *p = g->policies;
    while (i-- > 0) p = p->next;
    *out = (struct policy_status){.venue = p->venue,
                                  .name = p->name,
                                  .n_windows = (uint32_t)p->n_windows,
                                  .n_endpoints = p->n_endpoints,
                                  .learned_wall_ns = p->learned_wall_ns};
    put_windows(p, g->clock->mono_ns, out->windows);
}
