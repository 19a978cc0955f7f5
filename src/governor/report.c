/* What follows from the end of a request. First the policy learns what the server said, then the
 * token is counted, then holds and the endpoint's health follow from the status. */
#include "governor_internal.h"
#include "souk/core/log.h"
#include <assert.h>
#include <stdio.h>

static int64_t max_ns(int64_t a, int64_t b) { return a > b ? a : b; }

/** Positive only: early is the one thing that a wait must not be. */
static int64_t jitter_ns(struct governor *g) {
    return 100 * NS_PER_MS + governor__random_ns(g, 900 * NS_PER_MS);
}

static void learn(struct governor *g, struct endpoint *ep, const struct rate_headers *h) {
    struct policy *before = ep->policy, *to = before;
    if (!h->seen) return;
    if (h->policy[0] != '\0' && strcmp(h->policy, to->name) != 0) {
        to = policy__named(g, ep->o.venue, h->policy);
        if (to == NULL) to = ep->policy == &ep->own ? ep->policy : &ep->own;
        /* A name without rules does not end what the old policy says. */
        if (!h->complete && to->n_windows == 0) to = ep->policy;
        if (to != ep->policy)
            LOG_INFO("governor", "endpoint has a policy", LOG_S("endpoint", ep->o.name),
                     LOG_S("policy", h->policy), LOG_S("before", ep->policy->name));
        policy__bind(g, ep, to);
    }
    if (h->complete && policy__learn(g, to, h, ep->o.hidden_first_ns, ep->o.hidden_next_ns)) {
        LOG_INFO("governor", "policy has windows", LOG_S("policy", to->name),
                 LOG_I("windows", to->n_windows), LOG_S("rule", to->windows[0].rule),
                 LOG_I("limit", to->windows[0].limit), LOG_I("period_s", to->windows[0].period_s));
        schedule__refuse_too_costly(g, to);
    } else if (ep->policy == to && to != before) {
        schedule__refuse_too_costly(g, to);
    }
}

/** Closes the policy for what the reply asked, or for @own_ns when it is a 429 without a usable
 * word. */
static bool restrict_policy(struct governor *g, struct endpoint *ep, const struct rate_headers *h,
                            int64_t own_ns) {
    struct policy *p = ep->policy;
    int64_t now_ns = g->clock->mono_ns, wait_ns = 0;
    bool active = false;
    /* The counting bucket of Retry-After is not known: the largest. */
    int64_t hidden_ns = p->n_windows > 0 ? policy__hidden_max_ns(p) : ep->o.hidden_first_ns;
    for (size_t i = 0; i < h->n_windows && i < p->n_windows; i++) {
        if (!h->windows[i].has_state || h->windows[i].active_s == 0) continue;
        active = true;
        wait_ns = max_ns(wait_ns, h->windows[i].active_s * NS_PER_S + p->windows[i].hidden_ns);
    }
    if (wait_ns > DISABLE_NS || h->retry_after_ns > DISABLE_NS) {
        for (size_t i = 0; i < g->n_endpoints; i++)
            if (g->endpoints[i]->policy == p)
                endpoint__disable(g->endpoints[i], NEVER,
                                  "the server asked for more than 24 h of silence");
        wait_ns = wait_ns > DISABLE_NS ? DISABLE_NS : wait_ns;
    } else if (h->retry_after_ns > 0) {
        wait_ns = max_ns(wait_ns, h->retry_after_ns + hidden_ns);
    }
    if (p->n_refusals > 1 && h->retry_after_ns <= DISABLE_NS) {
        int64_t suspend_ns = SUSPEND_NS << (p->n_refusals < 8 ? p->n_refusals - 2 : 6);
        own_ns = max_ns(own_ns, suspend_ns < SUSPEND_MAX_NS ? suspend_ns : SUSPEND_MAX_NS);
        LOG_ERROR("governor", "policy suspended after 429 in a row", LOG_S("endpoint", ep->o.name),
                  LOG_S("policy", p->name), LOG_I("refusals", p->n_refusals),
                  LOG_I("for_s", own_ns / NS_PER_S));
    }
    if (own_ns > 0) wait_ns = max_ns(wait_ns, own_ns + hidden_ns);
    if (wait_ns > 0) policy__hold(p, now_ns + wait_ns + SAFETY_NS + jitter_ns(g));
    return active;
}

static void set_blocks(struct governor *g, const struct host *h, uint32_t n) {
    for (size_t i = 0; i < g->n_endpoints; i++)
        if (g->endpoints[i]->host == h) g->endpoints[i]->n_blocks = n;
}

/** One of them is answered again: the address is fine, and so are the others, but for those that
 * were told that they are not authorized. */
static void end_blocks(struct governor *g, const struct host *h) {
    for (size_t i = 0; i < g->n_endpoints; i++)
        if (g->endpoints[i]->host == h && g->endpoints[i]->n_auth == 0 &&
            !endpoint__disabled(g->endpoints[i], g->clock->mono_ns))
            g->endpoints[i]->unproven = false;
    set_blocks(g, h, 0);
}

/** A block page is about our address, so it is about all endpoints of the host. */
static void halt_host(struct governor *g, struct endpoint *ep) {
    uint32_t n_blocks = ep->n_blocks;
    int64_t halt_ns = BLOCK_NS << (n_blocks < 5 ? n_blocks : 5);
    if (halt_ns > DISABLE_NS) halt_ns = DISABLE_NS;
    ep->n_fail = 3; /* A probe tells whether it is over. */
    set_blocks(g, ep->host, n_blocks + 1);
    for (size_t i = 0; i < g->n_endpoints; i++)
        if (g->endpoints[i]->host == ep->host)
            endpoint__disable(g->endpoints[i], g->clock->mono_ns + halt_ns,
                              "the host answered with a block page");
}

static bool is_transient(int status) {
    return status == 0 || status == 408 || status == 418 || status == 425 || status == 429 ||
           status >= 500;
}

/* 418 is how some venues say that 429 was not listened to. */
static bool is_refusal(int status) { return status == 429 || status == 418; }

/** The policy answers again: those that it refused need not wait for themselves. */
static void forgive(struct governor *g, const struct policy *p) {
    for (size_t i = 0; i < g->n_endpoints; i++) {
        struct endpoint *ep = g->endpoints[i];
        if (ep->policy != p || !ep->refused) continue;
        ep->refused = false;
        ep->n_fail = 0;
        ep->backoff_ns = g->clock->mono_ns;
        if (ep->queue == NULL) schedule__place(g, ep);
    }
}

/* Whoever answers for itself, if only that what was asked for is not there, is well again. */
static void note_answer(struct governor *g, struct endpoint *ep) {
    if (ep->policy->n_refusals > 0) forgive(g, ep->policy);
    /* It is over, but all at once would be the burst that begins it again. */
    if (ep->policy->n_refusals > 1) policy__recover(g, ep->policy);
    ep->policy->n_refusals = 0;
    if (ep->n_blocks > 0) end_blocks(g, ep->host);
}

static void judge(struct governor *g, struct endpoint *ep, const struct governor_reply *reply,
                  const struct rate_headers *h, bool head, struct governor_verdict *out) {
    int64_t now_ns = g->clock->mono_ns, own_ns = 0;
    bool throttled = is_refusal(reply->status);
    if (throttled && ep->policy->n_refusals < UINT32_MAX) ep->policy->n_refusals++;
    if (reply->block_page) {
        halt_host(g, ep);
    } else if (is_transient(reply->status)) {
        int64_t backoff_ns = endpoint__failed(ep, throttled, reply->status == 0, now_ns);
        if (throttled) own_ns = backoff_ns;
        ep->refused = throttled;
        snprintf(ep->last_error, sizeof ep->last_error,
                 reply->status == 0 ? "no response" : "HTTP %d", reply->status);
    } else if (reply->status >= 400 && reply->subject && reply->status != 401 &&
               reply->status != 403) {
        note_answer(g, ep);
        endpoint__refused_subject(ep, reply->status, now_ns);
    } else if (reply->status >= 400) {
        endpoint__invalid(ep, reply->status, now_ns);
    } else {
        note_answer(g, ep);
        endpoint__succeeded(ep, now_ns);
    }
    if (restrict_policy(g, ep, h, own_ns)) throttled = true;
    if (throttled) {
        ep->n_throttled++;
        if (ep->policy->s_throttled != NULL) series__inc(ep->policy->s_throttled);
    }
    out->throttled = throttled;
    bool fine = reply->status >= 200 && reply->status < 400 && !reply->block_page;
    if (ep->policy->n_windows > 0 || (fine && !h->seen && !head)) ep->learned = true;
}

void governor__report(struct governor *g, struct permit *p, const struct governor_reply *reply,
                      struct governor_verdict *out) {
    assert(p->granted);
    struct endpoint *ep = p->endpoint;
    struct rate_headers h;
    struct governor_verdict scratch;
    int64_t now_ns = g->clock->mono_ns, done_ns = reply->done_mono_ns;
    bool counts = p->where == PERMIT_FLYING; /* Else it was given up as unanswered, and counted. */
    if (done_ns > now_ns || done_ns < p->granted_mono_ns) done_ns = now_ns;
    if (out == NULL) out = &scratch;
    *out = (struct governor_verdict){0};
    rate_headers__read(&h, reply->headers, reply->n_headers, g->clock->wall_ns);
    rate_headers__print(&h, reply->headers, reply->n_headers, out);
    out->retry_after_ns = h.retry_after_ns;
    out->date_wall_ns = h.date_wall_ns;
    memcpy(out->policy, h.policy, sizeof out->policy);
    memcpy(out->error, h.error, sizeof out->error);

    bool dispatched = reply->dispatched || reply->status != 0, head = p->head;
    if (head && dispatched) { /* Once, whatever came of it: HEAD is no way to poll. */
        ep->head_due = false;
        bool fine = reply->status >= 200 && reply->status < 300;
        if (fine && !h.complete && h.error[0] == '\0')
            snprintf(h.error, sizeof h.error, "no rate-limit headers in the reply to HEAD");
        memcpy(out->error, h.error, sizeof out->error);
    }
    endpoint__forget_key(ep, p->key);
    /* Anew from here: a slow request may have been counted as late as its reply. */
    if (dispatched && !head) endpoint__remember_key(ep, p->key, now_ns + ep->o.key_gap_ns);
    permit__land(g, p);
    p->granted = false;
    p->cb = NULL;
    learn(g, ep, &h);
    if (h.complete) ep->head_due = false; /* The state is known: nothing is left to ask for. */
    if (dispatched) endpoint__answered(ep, done_ns);
    if (counts && dispatched && !head) policy__spend(ep->policy, permit__cost(p), done_ns);
    policy__reconcile(ep->policy, &h, now_ns);
    judge(g, ep, reply, &h, head, out);
    if (h.error[0] != '\0') {
        ep->n_errors++;
        if (g->s_wrong != NULL) series__inc(g->s_wrong);
        snprintf(ep->last_error, sizeof ep->last_error, "%.95s", h.error);
        LOG_WARN("governor", "rate-limit headers are wrong", LOG_S("endpoint", ep->o.name),
                 LOG_S("policy", h.policy), LOG_S("error", h.error));
    }
    schedule__end_first(g, ep);
    measure__policy(g, ep->policy);
    measure__endpoint(ep);
    schedule__wake(g, ep->policy);
    schedule__wake_host(g, ep->host);
    schedule__wake_venue(g, ep->venue);
    if (ep->queue == NULL) schedule__place(g, ep);
    schedule__arm(g);
}
