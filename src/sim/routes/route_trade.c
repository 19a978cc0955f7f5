/* Trade data: the site's lists under /api/trade/data/{resource}, and under /gateway/trade/data/
 * {cursor} the walk that the vendor has not but a gateway may have. Both spend the policy of
 * change-ids, and the faults of target trade_data. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "../sim.h"
#include "../world/trade_lists.h"

/** The way to the content. @return whether it is open. */
static bool pass(struct sim *s, const struct http_request *q, struct reply *r, struct fault *f) {
    return pass_method(q, r) && !answer_head(s, &s->trade_data, q, r) &&
           pass_limiter(s, &s->trade_data, q, r) && !meet_fault(s, "trade_data", r, f);
}

static void take_body(struct reply *r, struct body *body) {
    r->status = 200;
    r->type = "application/json";
    r->may_gzip = true;
    r->body = body;
}

void handle_trade_data(struct sim *s, const struct http_request *q, struct span rest,
                       struct reply *r) {
    char name[1][HTTP_SEGMENT_MAX], tag[24];
    struct body *body = NULL;
    struct fault f;
    if (!pass(s, q, r, &f)) return;
    if (http__segments(rest, name, 1) == 1) {
        body = sim__recorded(s, "trade", name[0]);
        if (body == NULL)
            body = trade__resource(name[0], s->o->leagues, s->o->n_leagues,
                                   sim__build(s) / TRADE_VERSION_BUILDS);
    }
    if (body == NULL) {
        reply_error(r, 404, 1, "Resource not found");
        return;
    }
    snprintf(tag, sizeof tag, "\"%016llx\"",
             (unsigned long long)XXH3_64bits(body->data, body->len));
    if (s->o->trade_etag) buf__addf(&r->headers, "ETag: %s\r\n", tag);
    if (s->o->trade_etag && span__is(http__header(q, "if-none-match"), tag)) {
        s->n_not_modified++;
        r->status = 304;
        body__unref(body);
        return;
    }
    take_body(r, body);
    if (!spoil_json(&f, r, "{\"result\":{}}")) promise_body(s, r, LEDGER_RESOURCE, name[0], "");
}

void handle_trade_gateway(struct sim *s, const struct http_request *q, struct span rest,
                          struct reply *r) {
    char cursor[1][HTTP_SEGMENT_MAX] = {""};
    int64_t start_s = s->ninja_start_ns / SIM_NS_PER_S - TRADE_PAGES_FIRST * TRADE_PAGE_S;
    int64_t now_s = sim__content_ns(s) / SIM_NS_PER_S;
    bool first = rest.len == 0 || span__is(rest, "/"), is_end;
    uint64_t page;
    struct fault f;
    if (!pass(s, q, r, &f)) return;
    if ((!first && http__segments(rest, cursor, 1) != 1) || !trade__cursor(cursor[0], &page)) {
        reply_error(r, 400, 2, "Invalid query");
        return;
    }
    is_end = start_s + (int64_t)page * TRADE_PAGE_S > now_s;
    take_body(r, is_end ? trade__end(page)
                        : trade__page(s->o->seed, s->o->leagues, s->o->n_leagues, page, start_s));
    if (!spoil_json(&f, r, "{\"result\":{}}") && !is_end)
        promise_body(s, r, LEDGER_TRADES, cursor[0], "");
}
