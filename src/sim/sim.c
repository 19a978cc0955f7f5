/* See sim.h. This file opens and closes, sends each path to its handler, and holds what handlers
 * share: error bodies, the way through a limiter, and the promise to the ledger. */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ninja.h"
#include "replay.h"
#include "state.h"

const char *const realm_names[N_REALMS] = {"pc", "xbox", "sony"};
const char *const route_names[N_ROUTES] = {"public-stash-tabs",
                                           "trade/data/change-ids",
                                           "oauth/token",
                                           "poe1/api/economy",
                                           "_sim",
                                           "other"};

/** What a reply serves, until its last byte is out. */
struct promise {
    struct sim *sim;
    int realm; /* -1 for poe.ninja. */
    size_t index;
    struct body *body;
    char league[72], type[40];
};

void reply_json(struct reply *r, int status, const char *json, size_t n) {
    r->status = status;
    r->type = "application/json";
    r->body = body__new(json, n);
    r->may_gzip = n > 512;
}

void reply_error(struct reply *r, int status, int code, const char *message) {
    struct buf b = {0};
    buf__addf(&b, "{\"error\":{\"code\":%d,\"message\":", code);
    buf__add_json(&b, message, strlen(message));
    buf__adds(&b, "}}");
    reply_json(r, status, b.at, b.len);
    buf__fini(&b);
}

bool pass_limiter(struct sim *s, struct limiter *l, const struct http_request *q, struct reply *r) {
    struct limit_verdict v;
    const struct limit_window *w;
    char path[256], window[64];
    if (!s->o->limits) return true;
    v = limiter__hit(l, s->clock.mono_ns);
    limiter__headers(l, s->clock.mono_ns, &r->headers);
    if (!v.refused) return true;
    w = &l->windows[v.window];
    snprintf(path, sizeof path, "%.*s", (int)(q->path.len < 255 ? q->path.len : 255), q->path.at);
    snprintf(window, sizeof window, "%lld:%lld:%lld", (long long)w->limit, (long long)w->period_s,
             (long long)w->restriction_s);
    ledger__add_violation(&s->ledger, s->clock.wall_ns, path, l->policy, window, v.hits,
                          v.was_restricted);
    buf__addf(&r->headers, "Retry-After: %lld\r\n", (long long)v.retry_after_s);
    reply_error(r, 429, 3, "Rate limit exceeded");
    return false;
}

static void keep_promise(void *owner, uint64_t token, bool whole) {
    struct promise *p = (struct promise *)(uintptr_t)token;
    struct sim *s = p->sim;
    (void)owner;
    if (whole && p->realm >= 0) {
        char cursor[CURSOR_MAX], next[CURSOR_MAX];
        river__cursor(&s->rivers[p->realm], p->index, cursor);
        river__cursor(&s->rivers[p->realm], p->index + 1, next);
        if (p->index == 0)
            cursor[0] =
                '\0'; /* Nobody was told the cursor of the oldest page: it is asked without one. */
        ledger__add_page(&s->ledger, realm_names[p->realm], cursor, next, p->body);
    } else if (whole) {
        ledger__add_ninja(&s->ledger, p->league, p->type, p->body);
    }
    if (whole)
        ledger__flush(&s->ledger, NULL); /* A failure stays, and the owner's next flush tells it. */
    body__unref(p->body);
    free(p);
}

static struct promise *promise(struct sim *s, struct reply *r, struct body *body) {
    struct promise *p = calloc(1, sizeof *p);
    if (p == NULL) abort();
    p->sim = s;
    p->body = body__ref(body);
    r->done = keep_promise;
    r->token = (uint64_t)(uintptr_t)p;
    return p;
}

void promise_page(struct sim *s, struct reply *r, int realm, size_t index) {
    struct promise *p = promise(s, r, r->body);
    p->realm = realm;
    p->index = index;
}

void promise_ninja(struct sim *s, struct reply *r, const char *league, const char *type,
                   struct body *body) {
    struct promise *p = promise(s, r, body);
    p->realm = -1;
    snprintf(p->league, sizeof p->league, "%s", league);
    snprintf(p->type, sizeof p->type, "%s", type);
}

struct river *sim__river(struct sim *s, int realm, struct sim_err *e) {
    struct river *r = &s->rivers[realm];
    struct river_options o = {.realm = realm_names[realm],
                              .state_dir = s->o->state_dir,
                              .seed = s->o->seed,
                              .leagues = s->o->leagues,
                              .n_leagues = s->o->n_leagues,
                              .rate_max = s->o->rate_max,
                              .changes_per_s = s->o->changes_per_s,
                              .page_changes_max = (size_t)s->o->page_changes,
                              .backlog = (size_t)s->o->backlog};
    if (s->river_open[realm]) return r;
    if (realm != REALM_PC) o.changes_per_s /= 4; /* Consoles trade less. */
    if (s->o->replay_dir != NULL && replay__load_pages(s->o->replay_dir, &o, e) != 0) return NULL;
    if (river__init(r, &o, s->clock.mono_ns, e) != 0) return NULL;
    r->frozen = s->frozen;
    r->frozen_at_ns = s->clock.mono_ns;
    s->river_open[realm] = true;
    return r;
}

int64_t sim__build(const struct sim *s) {
    if (s->frozen) return s->frozen_build;
    return (s->clock.wall_ns - s->ninja_start_ns) / (s->o->ninja_rebuild_s * SIM_NS_PER_S);
}

void sim__freeze(struct sim *s, bool on) {
    if (on && !s->frozen) s->frozen_build = sim__build(s);
    s->frozen = on;
    for (int i = 0; i < N_REALMS; i++) {
        struct river *r = &s->rivers[i];
        if (!s->river_open[i] || r->frozen == on) continue;
        r->frozen = on;
        if (on) r->frozen_at_ns = s->clock.mono_ns;
        else r->start_ns += s->clock.mono_ns - r->frozen_at_ns; /* Nothing happened meanwhile. */
    }
}

int sim__init(struct sim *s, const struct options *o, struct sim_clock now, struct sim_err *e) {
    static const char *const psapi_policies[N_REALMS] = {"public-stash-tabs-request-limit-pc",
                                                         "public-stash-tabs-request-limit-xbox",
                                                         "public-stash-tabs-request-limit-sony"};
    int64_t bucket_ns = o->hidden_bucket_ms * SIM_NS_PER_MS, phase_ns = 0;
    memset(s, 0, sizeof *s);
    s->o = o;
    s->clock = now;
    s->ninja_start_ns = now.wall_ns;
    s->ninja_last_ns = -1;
    if (bucket_ns > 0) phase_ns = (int64_t)(mix64(o->seed, 77) % (uint64_t)bucket_ns);
    for (int i = 0; i < N_REALMS; i++)
        if (limiter__init(&s->psapi[i], psapi_policies[i], "Ip", o->psapi_limits, bucket_ns,
                          phase_ns, e) != 0)
            return -1;
    limiter__init(&s->trade_data, "trade-data-request-limit", "Ip", "30:60:60", bucket_ns, phase_ns,
                  NULL);
    limiter__init(&s->oauth, "token-request-limit", "Ip", "60:30:30", bucket_ns, phase_ns, NULL);
    if (o->state_dir != NULL && state__open(o->state_dir, o, &s->ninja_start_ns, e) != 0) return -1;
    if (ledger__init(&s->ledger, o->state_dir, e) != 0) return -1;
    if (o->replay_dir != NULL &&
        replay__load_ninja(o->replay_dir, &s->recorded, &s->n_recorded, e) != 0)
        return -1;
    return sim__river(s, REALM_PC, e) != NULL ? 0 : -1;
}

void sim__fini(struct sim *s) {
    for (int i = 0; i < N_REALMS; i++)
        if (s->river_open[i]) river__fini(&s->rivers[i]);
    for (size_t i = 0; i < s->n_recorded; i++) body__unref(s->recorded[i].body);
    free(s->recorded);
    ledger__fini(&s->ledger);
    memset(s, 0, sizeof *s);
}

static bool starts_with(struct span s, const char *prefix) {
    size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.at, prefix, n) == 0;
}

void sim__handle(struct sim *s, const struct http_request *q, struct reply *r) {
    enum sim_route route = ROUTE_OTHER;
    int realm = -1;
    if (span__is(q->path, "/public-stash-tabs")) realm = REALM_PC;
    else if (span__is(q->path, "/public-stash-tabs/xbox")) realm = REALM_XBOX;
    else if (span__is(q->path, "/public-stash-tabs/sony")) realm = REALM_SONY;
    if (realm >= 0) route = ROUTE_PSAPI;
    else if (span__is(q->path, "/api/trade/data/change-ids")) route = ROUTE_CHANGE_IDS;
    else if (span__is(q->path, "/oauth/token")) route = ROUTE_OAUTH;
    else if (starts_with(q->path, "/poe1/api/economy/")) route = ROUTE_NINJA;
    else if (starts_with(q->path, "/_sim/")) route = ROUTE_CONTROL;
    s->n_requests[route]++;
    switch (route) {
    case ROUTE_PSAPI: handle_psapi(s, q, r, realm); break;
    case ROUTE_CHANGE_IDS: handle_change_ids(s, q, r); break;
    case ROUTE_OAUTH: handle_oauth(s, q, r); break;
    case ROUTE_NINJA: handle_ninja(s, q, r); break;
    case ROUTE_CONTROL: handle_control(s, q, r); break;
    case ROUTE_OTHER:
    case N_ROUTES: reply_error(r, 404, 1, "Resource not found"); break;
    }
    r->date_ns = s->clock.wall_ns;
    if (route != ROUTE_CONTROL && r->delay_ms == 0) r->delay_ms = s->o->delay_ms;
}
