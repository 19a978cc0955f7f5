/* The river's path: GET /public-stash-tabs[/xbox|/sony]?id=, and change-ids. The order is the
 * vendor's as far as it is known: who are you, how often, then the content; a scripted fault comes
 * before the content. */
#include "../sim.h"

#include <stdlib.h>
#include <string.h>

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
    bool wrong_cursor;
    struct river *river;
    struct body *body;
    struct fault f;
    struct sim_err err;
    size_t index = 0;
    if (!pass_method(q, r)) return;
    if (!pass_identity(s, q, "service:psapi", r)) return;
    if (answer_head(s, &s->psapi[realm], q, r)) return;
    if (!pass_limiter(s, &s->psapi[realm], q, r)) return;
    if (meet_fault(s, "psapi", r, &f)) return;
    if (http__query(q, "id", cursor, sizeof cursor) == -2) {
        reply_error(r, 400, 2, "Invalid query");
        return;
    }
    if (!sim__serves(s, "psapi")) {
        reply_error(r, 404, 1, "Nothing of this was recorded");
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
    if (!pass_method(q, r) || answer_head(s, &s->trade_data, q, r)) return;
    if (!pass_limiter(s, &s->trade_data, q, r) || meet_fault(s, "trade_data", r, &f)) return;
    river__head(&s->rivers[REALM_PC], s->clock.mono_ns, head);
    if (f.kind == FAULT_WRONG_TYPE) buf__adds(&b, "{\"psapi\":{}}");
    else if (f.kind == FAULT_BAD_JSON) buf__adds(&b, "{\"psapi\":\"31");
    else buf__addf(&b, "{\"psapi\":\"%s\"}", head);
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
}
