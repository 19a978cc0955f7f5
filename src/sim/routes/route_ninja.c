/* poe.ninja's economy paths. It sends no limit headers; its page asks for one request a second and
 * one look at the same overview in about five minutes of caching. Here more than one request in
 * 0.95 s, or the same (league, path, type) again within 55 s, is a violation and a bare 429. */
#include <string.h>
#include <xxhash.h>

#include "../sim.h"
#include "../world/ninja.h"

enum { GAP_MS = 950, SAME_S = 55 };

static bool refuse(struct sim *s, const struct http_request *q, const char *window,
                   struct reply *r) {
    char path[256];
    snprintf(path, sizeof path, "%.*s?%.*s", (int)(q->path.len < 100 ? q->path.len : 100),
             q->path.at, (int)(q->query.len < 140 ? q->query.len : 140), q->query.at);
    ledger__add_violation(&s->ledger, s->clock.wall_ns, path, "poe-ninja", window, 2, false);
    reply_html(r, 429, "Too many requests");
    return false;
}

/** One request a second over everything. @return whether it may go on. */
static bool pass_gap(struct sim *s, const struct http_request *q, struct reply *r) {
    int64_t now_ns = s->clock.mono_ns, last_ns = s->ninja_last_ns;
    s->ninja_last_ns = now_ns;
    if (!s->o->limits || last_ns < 0 || now_ns - last_ns >= GAP_MS * SIM_NS_PER_MS) return true;
    return refuse(s, q, "1:1:0", r);
}

/** Once per (league, path, type) in 55 s. The table forgets its oldest entry when it is full. */
static bool pass_same(struct sim *s, const struct http_request *q, uint64_t key, struct reply *r) {
    struct ninja_asked *entry = NULL;
    if (!s->o->limits) return true;
    for (size_t i = 0; i < s->n_ninja_asked; i++)
        if (s->ninja_asked[i].key == key) entry = &s->ninja_asked[i];
    if (entry != NULL && s->clock.mono_ns - entry->at_ns < SAME_S * SIM_NS_PER_S)
        return refuse(s, q, "1:55:0", r);
    if (entry == NULL && s->n_ninja_asked < NINJA_ASKED_MAX)
        entry = &s->ninja_asked[s->n_ninja_asked++];
    for (size_t i = 0; entry == NULL || i < s->n_ninja_asked; i++) {
        if (s->n_ninja_asked < NINJA_ASKED_MAX) break;
        if (entry == NULL || s->ninja_asked[i].at_ns < entry->at_ns) entry = &s->ninja_asked[i];
    }
    entry->key = key;
    entry->at_ns = s->clock.mono_ns;
    return true;
}

static struct body *overview(struct sim *s, const char *league, const char *path,
                             const char *type) {
    if (s->o->replay_dir == NULL)
        return ninja__overview(s->o->seed, league, path, type, sim__build(s));
    return sim__recorded(s, path, type);
}

/** Send @body with its tag, or 304 when the client has it. The tag has no quotes, as the real one.
 * @return whether the body goes out. */
static bool reply_tagged(struct sim *s, const struct http_request *q, struct body *body,
                         struct reply *r) {
    char tag[32];
    snprintf(tag, sizeof tag, "W/%016llx", (unsigned long long)XXH3_64bits(body->data, body->len));
    buf__addf(&r->headers, "ETag: %s\r\nCache-Control: no-cache\r\n", tag);
    if (span__is(http__header(q, "if-none-match"), tag)) {
        s->n_not_modified++;
        r->status = 304;
        return false;
    }
    r->status = 200;
    r->type = "application/json";
    r->may_gzip = true;
    r->body = body__ref(body);
    return true;
}

/** Let an overview suffer what @f says. @return whether it is still good. */
static bool spoil(const struct fault *f, struct reply *r) {
    if (f->kind == FAULT_WRONG_TYPE || f->kind == FAULT_BAD_JSON) {
        struct body *cut = f->kind == FAULT_WRONG_TYPE ? body__new("{\"lines\":{}}", 12)
                                                       : body__new(r->body->data, r->body->len / 2);
        body__unref(r->body);
        r->body = cut;
        return false;
    }
    return true;
}

void handle_ninja(struct sim *s, const struct http_request *q, struct span end, struct reply *r) {
    static const char *const ends[][2] = {{"/exchange/current/overview", "exchange"},
                                          {"/stash/current/item/overview", "item"},
                                          {"/stash/current/currency/overview", "currency"}};
    const char *path = NULL;
    char league[72], type[40];
    struct body *body;
    struct fault f;
    if (!span__is(q->method, "GET")) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    if (!pass_gap(s, q, r) || meet_fault(s, "poe_ninja", r, &f)) return;
    if (span__is(end, "/leagues")) {
        body = ninja__leagues(s->o->leagues, s->o->n_leagues);
        reply_tagged(s, q, body, r);
        body__unref(body);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        if (span__is(end, ends[i][0])) path = ends[i][1];
    if (path == NULL || http__query(q, "league", league, sizeof league) <= 0 ||
        http__query(q, "type", type, sizeof type) <= 0 || !sim__has_league(s, league)) {
        reply_html(r, 404, "Not found");
        return;
    }
    if (!pass_same(s, q,
                   mix64(XXH3_64bits(league, strlen(league)),
                         XXH3_64bits(type, strlen(type)) ^ (uint64_t)path[0]),
                   r))
        return;
    body = overview(s, league, path, type);
    if (body == NULL) {
        reply_html(r, 404, "Not found");
        return;
    }
    if (reply_tagged(s, q, body, r) && spoil(&f, r)) promise_ninja(s, r, league, type, body);
    body__unref(body);
}
