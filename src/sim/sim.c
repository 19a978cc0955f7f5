/* See sim.h. This file opens and closes, sends each path to its handler, and holds what handlers
 * share: error bodies, the way through a limiter, and the promise to the ledger. */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "state.h"
#include "world/ninja.h"
#include "world/recorded.h"

enum { PACE_MS = 950 }; /* A second, less what a network may squeeze. */

const char *const realm_names[N_REALMS] = {"pc", "xbox", "sony"};
const char *const route_names[N_ROUTES] = {"public-stash-tabs",
                                           "trade/data/change-ids",
                                           "oauth/token",
                                           "oauth/authorize",
                                           "oauth/token/revoke",
                                           "poe1/api/economy",
                                           "cdn",
                                           "currency-exchange",
                                           "stash",
                                           "league",
                                           "leagues",
                                           "trade/data",
                                           "trade/gateway",
                                           "enrichment",
                                           "_sim",
                                           "other"};

/** What a reply serves, until its last byte is out. */
struct promise {
    struct sim *sim;
    int realm; /* -1 when it is no page of a river. */
    int kind;  /* Of enum ledger_kind; -1 for poe.ninja. */
    size_t index;
    struct body *body;
    char league[96], type[96]; /* Or what else the rows need. */
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

bool pass_pace(struct sim *s, struct pace *p, const struct http_request *q, struct reply *r) {
    char path[256], window[32];
    bool over = p->n == p->max && s->clock.mono_ns - p->at_ns[p->max - 1] < PACE_MS * SIM_NS_PER_MS;
    if (!s->o->limits) return true;
    memmove(p->at_ns + 1, p->at_ns, sizeof p->at_ns - sizeof p->at_ns[0]);
    p->at_ns[0] = s->clock.mono_ns;
    if (p->n < p->max) p->n++;
    if (!over) return true;
    snprintf(path, sizeof path, "%.*s", (int)(q->path.len < 255 ? q->path.len : 255), q->path.at);
    snprintf(window, sizeof window, "%d:1:0", p->max);
    ledger__add_violation(&s->ledger, s->clock.wall_ns, path, p->policy, window, p->max + 1, false);
    reply_html(r, 429, "Too many requests");
    return false;
}

bool pass_method(const struct http_request *q, struct reply *r) {
    if (span__is(q->method, "GET") || span__is(q->method, "HEAD")) return true;
    reply_error(r, 405, 9, "Method not allowed");
    return false;
}

bool answer_head(struct sim *s, struct limiter *l, const struct http_request *q, struct reply *r) {
    char path[256];
    if (!span__is(q->method, "HEAD")) return false;
    r->status = 204;
    if (!s->o->limits) return true;
    limiter__headers(l, s->clock.mono_ns, &r->headers);
    if (!limiter__head(l, s->clock.mono_ns)) return true;
    snprintf(path, sizeof path, "%.*s", (int)(q->path.len < 255 ? q->path.len : 255), q->path.at);
    ledger__add_violation(&s->ledger, s->clock.wall_ns, path, l->policy, "HEAD 1:60:0", 2, false);
    r->status = 429;
    return true;
}

void reply_text(struct reply *r, int status, struct buf *b) {
    reply_json(r, status, b->at, b->len);
    buf__fini(b);
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
    } else if (whole && p->kind >= 0) {
        ledger__add_body(&s->ledger, (enum ledger_kind)p->kind, p->league, p->type, p->body);
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
    p->realm = p->kind = -1;
    snprintf(p->league, sizeof p->league, "%s", league);
    snprintf(p->type, sizeof p->type, "%s", type);
}

void promise_body(struct sim *s, struct reply *r, int kind, const char *a, const char *b) {
    promise_ninja(s, r, a, b, r->body);
    ((struct promise *)(uintptr_t)r->token)->kind = kind;
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

int64_t sim__content_ns(const struct sim *s) {
    return s->frozen ? s->frozen_wall_ns : s->clock.wall_ns;
}

int sim__realm(const char *name) {
    for (int i = 0; i < N_REALMS; i++)
        if (strcmp(realm_names[i], name) == 0) return i;
    return -1;
}

struct body *sim__recorded(const struct sim *s, const char *path, const char *type) {
    for (int any = 0; any < 2; any++) /* One of this very type before one of any. */
        for (size_t i = 0; i < s->n_recorded; i++)
            if (strcmp(s->recorded[i].path, path) == 0 &&
                strcmp(s->recorded[i].type, any ? "" : type) == 0)
                return body__ref(s->recorded[i].body);
    return NULL;
}

static size_t count_recorded(const struct sim *s, const char *path) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_recorded; i++) n += strcmp(s->recorded[i].path, path) == 0;
    return n;
}

bool sim__serves(const struct sim *s, const char *source) {
    if (s->o->replay_dir == NULL) return true;
    if (strcmp(source, "psapi") == 0) return s->rivers[REALM_PC].o.n_replay > 0;
    return count_recorded(s, "exchange") + count_recorded(s, "item") +
               count_recorded(s, "currency") >
           0;
}

void sim__tell_recorded(const struct sim *s, struct buf *out) {
    static const char *const kinds[][3] = {{"trade", "trade_data", "lists"},
                                           {"cx", "currency_exchange", "digests"},
                                           {"account", "account_stashes", "tabs and list"}};
    size_t pages = s->rivers[REALM_PC].o.n_replay;
    size_t overviews =
        count_recorded(s, "exchange") + count_recorded(s, "item") + count_recorded(s, "currency");
    buf__addf(out, "recorded:");
    if (pages > 0) buf__addf(out, " psapi (%zu pages)", pages);
    if (overviews > 0) buf__addf(out, " poe_ninja (%zu overviews)", overviews);
    for (size_t i = 0; i < 3; i++)
        if (count_recorded(s, kinds[i][0]) > 0)
            buf__addf(out, " %s (%zu %s)", kinds[i][1], count_recorded(s, kinds[i][0]),
                      kinds[i][2]);
    buf__adds(out, "; simulated:");
    for (size_t i = 0; i < 3; i++)
        if (count_recorded(s, kinds[i][0]) == 0) buf__addf(out, " %s", kinds[i][1]);
    buf__adds(out, " leagues; not served:");
    if (pages == 0) buf__adds(out, " psapi");
    if (overviews == 0) buf__adds(out, " poe_ninja");
    if (pages > 0 && overviews > 0) buf__adds(out, " none");
}

bool sim__has_league(const struct sim *s, const char *name) {
    for (size_t i = 0; i < s->o->n_leagues; i++)
        if (span__is(s->o->leagues[i], name)) return true;
    return false;
}

void sim__freeze(struct sim *s, bool on) {
    if (on && !s->frozen) {
        s->frozen_build = sim__build(s);
        s->frozen_wall_ns = s->clock.wall_ns;
    }
    s->frozen = on;
    for (int i = 0; i < N_REALMS; i++) {
        struct river *r = &s->rivers[i];
        if (!s->river_open[i] || r->frozen == on) continue;
        r->frozen = on;
        if (on) r->frozen_at_ns = s->clock.mono_ns;
        else r->start_ns += s->clock.mono_ns - r->frozen_at_ns; /* Nothing happened meanwhile. */
    }
}

/** The policies whose limits no option changes, as the vendor's headers showed them;
 * those of the trade site and of the leagues are made up, since nobody recorded them. */
static void open_limiters(struct sim *s, int64_t bucket_ns, int64_t phase_ns) {
    const struct {
        struct limiter *limiter;
        const char *policy, *rule, *triples;
    } of[] = {
        {&s->trade_data, "trade-data-request-limit", "Ip", "12:4:10,16:12:300"},
        {&s->oauth, "token-request-limit", "Ip", "60:30:30"},
        {&s->cx, "currency-exchange-request-limit", "Ip", "5:10:60,30:300:300"},
        {&s->stash_list, "stash-list-request-limit", "Account", "10:15:60,30:60:300"},
        {&s->stash, "stash-request-limit", "Account", "15:10:60,30:300:300"},
        {&s->leagues, "league-list-request-limit", "Ip", "5:10:60,20:300:300"},
    };
    /* The vendor tells that it counts 4xx answers, but not how many are too many
     * (https://www.pathofexile.com/developer/docs/index): a client that meets none but normal ones
     * is far below this. */
    limiter__init(&s->invalid, "invalid-requests", "Ip", "20:60:0", 0, 0, NULL);
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++)
        limiter__init(of[i].limiter, of[i].policy, of[i].rule, of[i].triples, bucket_ns, phase_ns,
                      NULL);
    s->cdn = (struct pace){.policy = "cdn", .max = 2};
    s->poedb = (struct pace){.policy = "poedb", .max = 1};
    s->wiki = (struct pace){.policy = "wiki", .max = 1};
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
    open_limiters(s, bucket_ns, phase_ns);
    if (o->state_dir != NULL && state__open(o->state_dir, o, &s->ninja_start_ns, e) != 0) return -1;
    if (ledger__init(&s->ledger, o->state_dir, e) != 0) return -1;
    if (o->replay_dir != NULL &&
        (replay__load_ninja(o->replay_dir, &s->recorded, &s->n_recorded, e) != 0 ||
         replay__load_bodies(o->replay_dir, &s->recorded, &s->n_recorded, e) != 0))
        return -1;
    if (sim__river(s, REALM_PC, e) == NULL) return -1;
    if (o->replay_dir != NULL && s->n_recorded == 0 && s->rivers[REALM_PC].o.n_replay == 0)
        return sim_err__setf(
            e,
            "replay %s: has none of the known bodies: psapi/page*.json, ninja/exchange.json "
            "and the like, with or without .gz",
            o->replay_dir);
    return 0;
}

void sim__fini(struct sim *s) {
    for (int i = 0; i < N_REALMS; i++)
        if (s->river_open[i]) river__fini(&s->rivers[i]);
    for (size_t i = 0; i < s->n_recorded; i++) body__unref(s->recorded[i].body);
    free(s->recorded);
    ledger__fini(&s->ledger);
    memset(s, 0, sizeof *s);
}

/** What a path begins with, and who answers it. */
static const struct {
    const char *prefix;
    bool whole; /* Nothing may follow; otherwise nothing or a slash. */
    enum sim_route route;
} paths[] = {
    {"/public-stash-tabs", false, ROUTE_PSAPI},
    {"/api/trade/data/change-ids", true, ROUTE_CHANGE_IDS},
    {"/api/trade/data", false, ROUTE_TRADE_DATA},
    {"/gateway/trade/data", false, ROUTE_TRADE_GATEWAY},
    {"/oauth/token", true, ROUTE_OAUTH},
    {"/oauth/authorize", true, ROUTE_AUTHORIZE},
    {"/oauth/token/revoke", true, ROUTE_REVOKE},
    {"/poe1/api/economy", false, ROUTE_NINJA},
    {"/api/currency-exchange", false, ROUTE_CX_CDN},
    {"/currency-exchange", false, ROUTE_CX},
    {"/stash", false, ROUTE_STASH},
    {"/league", true, ROUTE_LEAGUE},
    {"/leagues", true, ROUTE_LEAGUES},
    {"/api/leagues", true, ROUTE_LEAGUES},
    {"/poedb", false, ROUTE_ENRICHMENT},
    {"/wiki", false, ROUTE_ENRICHMENT},
    {"/_sim", false, ROUTE_CONTROL},
};

/** Find who answers @path. @rest is what follows the prefix. */
static enum sim_route find_route(struct span path, struct span *rest) {
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        size_t n = strlen(paths[i].prefix);
        if (path.len < n || memcmp(path.at, paths[i].prefix, n) != 0) continue;
        *rest = (struct span){path.at + n, path.len - n};
        if (rest->len == 0 || (rest->at[0] == '/' && !paths[i].whole)) return paths[i].route;
    }
    return ROUTE_OTHER;
}

static void dispatch(struct sim *s, enum sim_route route, const struct http_request *q,
                     struct span rest, struct reply *r) {
    switch (route) {
    case ROUTE_PSAPI:
        if (rest.len == 0) handle_psapi(s, q, r, REALM_PC);
        else if (span__is(rest, "/xbox")) handle_psapi(s, q, r, REALM_XBOX);
        else if (span__is(rest, "/sony")) handle_psapi(s, q, r, REALM_SONY);
        else reply_error(r, 404, 1, "Resource not found");
        break;
    case ROUTE_CHANGE_IDS: handle_change_ids(s, q, r); break;
    case ROUTE_OAUTH: handle_oauth(s, q, r); break;
    case ROUTE_AUTHORIZE: handle_authorize(s, q, r); break;
    case ROUTE_REVOKE: handle_revoke(s, q, r); break;
    case ROUTE_NINJA: handle_ninja(s, q, rest, r); break;
    case ROUTE_CX_CDN: handle_cx(s, q, rest, true, r); break;
    case ROUTE_CX: handle_cx(s, q, rest, false, r); break;
    case ROUTE_STASH: handle_stash(s, q, rest, r); break;
    case ROUTE_LEAGUE: handle_league(s, q, r); break;
    case ROUTE_LEAGUES: handle_leagues(s, q, r); break;
    case ROUTE_TRADE_DATA: handle_trade_data(s, q, rest, r); break;
    case ROUTE_TRADE_GATEWAY: handle_trade_gateway(s, q, rest, r); break;
    case ROUTE_ENRICHMENT: handle_enrichment(s, q, r); break;
    case ROUTE_CONTROL: handle_control(s, q, r); break;
    case ROUTE_OTHER:
    case N_ROUTES: reply_error(r, 404, 1, "Resource not found"); break;
    }
}

/** Count an answer that the client's own mistake made. Nobody is shut out for them here; too many
 * are a violation. */
static void count_invalid(struct sim *s, enum sim_route route, const struct http_request *q,
                          const struct reply *r) {
    bool vendor = route != ROUTE_NINJA && route != ROUTE_CX_CDN && route != ROUTE_ENRICHMENT &&
                  route != ROUTE_CONTROL;
    struct limit_verdict v;
    char path[256];
    if (!s->o->limits || !vendor || r->status < 400 || r->status > 499) return;
    v = limiter__hit(&s->invalid, s->clock.mono_ns);
    if (!v.refused) return;
    snprintf(path, sizeof path, "%.*s", (int)(q->path.len < 255 ? q->path.len : 255), q->path.at);
    ledger__add_violation(&s->ledger, s->clock.wall_ns, path, s->invalid.policy, "20:60:0", v.hits,
                          false);
}

void sim__handle(struct sim *s, const struct http_request *q, struct reply *r) {
    struct span rest = {"", 0};
    enum sim_route route = find_route(q->path, &rest);
    uint64_t before = s->ledger.n_violations, n_faults = s->faults.n_done;
    assert(route < N_ROUTES);
    s->n_requests[route]++;
    dispatch(s, route, q, rest, r);
    if (span__is(q->method, "HEAD") && r->done != NULL) { /* No body goes out: nothing is said. */
        r->done(NULL, r->token, false);
        r->done = NULL;
    }
    if (s->faults.n_done == n_faults) count_invalid(s, route, q, r);
    s->n_violations[route] += s->ledger.n_violations - before;
    r->date_ns = s->clock.wall_ns;
    if (route != ROUTE_CONTROL && r->delay_ms == 0) r->delay_ms = s->o->delay_ms;
}
