/* The river's path: GET /public-stash-tabs[/xbox|/sony]?id=, change-ids, and the token that opens
 * them. The order is the vendor's as far as it is known: who are you, how often, then the content;
 * a scripted fault comes before the content. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

/** Answer 401 or 403 when the caller does not say who it is. @return whether it may go on. */
static bool pass_identity(struct sim *s, const struct http_request *q, struct reply *r) {
    struct span agent = http__header(q, "user-agent"), auth = http__header(q, "authorization");
    if (agent.len < 6 || memcmp(agent.at, "OAuth ", 6) != 0) {
        reply_error(r, 403, 6,
                    "Forbidden: the User-Agent must begin with OAuth {clientId}/{version} "
                    "(contact: {contact})");
        return false;
    }
    if (s->o->require_token && (auth.len < 11 || memcmp(auth.at, "Bearer sim-", 11) != 0)) {
        reply_error(r, 401, 8, "Unauthorized");
        return false;
    }
    return true;
}

static void reply_empty_page(struct sim *s, const char *cursor, struct reply *r) {
    struct buf b = {0};
    s->n_empty_pages++;
    buf__addf(&b, "{\"next_change_id\":\"%s\",\"stashes\":[]}", cursor);
    buf__addf(&r->headers, "X-Next-Change-Id: %s\r\n", cursor);
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
}

/** Put the content of page @index, or of the last one there is, behind the cursor that @f makes
 * wrong. */
static void reply_wrong_cursor(struct river *river, const struct fault *f, size_t index,
                               struct reply *r) {
    char right[CURSOR_MAX], wrong[CURSOR_MAX];
    struct buf b = {0};
    size_t back = f->value > 0 ? (size_t)f->value : 5;
    size_t shown = index < river->n_pages ? index : river->n_pages - 1;
    struct body *page = river__page(river, shown, NULL);
    river__cursor(river, shown + 1, right);
    river__cursor(river, f->kind == FAULT_REPEAT ? index : index > back ? index - back : 0, wrong);
    if (page == NULL) return;
    /* A page begins {"next_change_id":"<right>", so the rest can follow another cursor. */
    buf__addf(&b, "{\"next_change_id\":\"%s\"", wrong);
    buf__add(&b, page->data + 20 + strlen(right), page->len - 20 - strlen(right));
    buf__addf(&r->headers, "X-Next-Change-Id: %s\r\n", wrong);
    body__unref(r->body);
    reply_json(r, 200, b.at, b.len);
    body__unref(page);
    buf__fini(&b);
}

/** Let the content suffer what @f says. @return whether it is still what the ledger may count. */
static bool spoil(struct river *river, const struct fault *f, size_t index, const char *next,
                  struct reply *r) {
    struct buf b = {0};
    switch (f->kind) {
    case FAULT_N_KINDS:
    case FAULT_SLOW:
    case FAULT_DROP_HEADERS:
    case FAULT_TRUNCATE: /* Whether these got through whole is told when they are sent. */
    case FAULT_RESET:
    case FAULT_BAD_PRICE: return true;
    case FAULT_REWIND:
    case FAULT_REPEAT: reply_wrong_cursor(river, f, index, r); return false;
    case FAULT_WRONG_TYPE: buf__addf(&b, "{\"next_change_id\":\"%s\",\"stashes\":{}}", next); break;
    case FAULT_BAD_JSON: buf__add(&b, r->body->data, r->body->len / 2); break;
    default: return false; /* Complete replies, never seen here. */
    }
    body__unref(r->body);
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
    return false;
}

void handle_psapi(struct sim *s, const struct http_request *q, struct reply *r, int realm) {
    char cursor[CURSOR_MAX + 1] = "", next[CURSOR_MAX];
    bool is_head = span__is(q->method, "HEAD"), wrong_cursor;
    struct river *river;
    struct body *body;
    struct fault f;
    struct sim_err err;
    size_t index = 0;
    if (!span__is(q->method, "GET") && !is_head) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    if (!pass_identity(s, q, r)) return;
    if (is_head) { /* A way to read the state, which does not count (facts/poe.md 3.3, N24). */
        if (s->o->limits) limiter__headers(&s->psapi[realm], s->clock.mono_ns, &r->headers);
        r->status = 204;
        return;
    }
    if (!pass_limiter(s, &s->psapi[realm], q, r)) return;
    if (meet_fault(s, "psapi", r, &f)) return;
    if (http__query(q, "id", cursor, sizeof cursor) == -2) {
        reply_error(r, 400, 2, "Invalid query");
        return;
    }
    river = sim__river(s, realm, &err);
    if (river == NULL) {
        reply_error(r, 500, 4, err.msg);
        return;
    }
    if (f.kind == FAULT_BAD_PRICE) river->n_hostile_next = f.value > 0 ? (unsigned)f.value : 3;
    switch (river__get(river, cursor, s->clock.mono_ns, &body, &index, &err)) {
    case RIVER_UNKNOWN: reply_error(r, 400, 2, err.msg); return;
    case RIVER_END:
        river__cursor(river, index, cursor);
        wrong_cursor = f.kind == FAULT_REWIND || f.kind == FAULT_REPEAT;
        if (wrong_cursor && river->n_pages > 0) {
            reply_wrong_cursor(river, &f, index, r);
        } else {
            reply_empty_page(s, cursor, r);
            if (!wrong_cursor) spoil(river, &f, index, cursor, r);
        }
        return;
    case RIVER_PAGE: break;
    }
    river__cursor(river, index + 1, next);
    r->status = 200;
    r->type = "application/json";
    r->body = body;
    r->may_gzip = true;
    if (spoil(river, &f, index, next, r)) promise_page(s, r, realm, index);
    if (f.kind != FAULT_REWIND && f.kind != FAULT_REPEAT)
        buf__addf(&r->headers, "X-Next-Change-Id: %s\r\n", next);
}

void handle_change_ids(struct sim *s, const struct http_request *q, struct reply *r) {
    struct buf b = {0};
    struct fault f;
    char head[CURSOR_MAX];
    if (!span__is(q->method, "GET")) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    if (!pass_limiter(s, &s->trade_data, q, r) || meet_fault(s, "trade_data", r, &f)) return;
    river__head(&s->rivers[REALM_PC], s->clock.mono_ns, head);
    if (f.kind == FAULT_WRONG_TYPE) buf__adds(&b, "{\"psapi\":{}}");
    else if (f.kind == FAULT_BAD_JSON) buf__adds(&b, "{\"psapi\":\"31");
    else buf__addf(&b, "{\"psapi\":\"%s\"}", head);
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
}

void handle_oauth(struct sim *s, const struct http_request *q, struct reply *r) {
    struct http_request form = {.query = q->body}; /* A form reads like a query. */
    char grant[64], scope[256], id[128];
    struct buf b = {0};
    struct fault f;
    if (!span__is(q->method, "POST")) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    if (!pass_limiter(s, &s->oauth, q, r) || meet_fault(s, "oauth", r, &f)) return;
    if (http__query(&form, "client_id", id, sizeof id) <= 0 ||
        http__query(&form, "grant_type", grant, sizeof grant) <= 0 ||
        http__query(&form, "scope", scope, sizeof scope) < 0) {
        reply_json(r, 400, "{\"error\":\"invalid_request\"}", 27);
        return;
    }
    buf__addf(&b,
              "{\"access_token\":\"sim-%016llx\",\"expires_in\":2419200,\"token_type\":\"bearer\","
              "\"username\":\"souk\",\"sub\":\"1\",\"scope\":",
              (unsigned long long)mix64(s->o->seed, 900 + s->n_tokens++));
    buf__add_json(&b, scope, strlen(scope));
    buf__addc(&b, '}');
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
}
