/* The currency exchange's history in its two forms
 * (https://www.pathofexile.com/developer/docs/reference#currencyexchange): the CDN's under
 * /api/currency-exchange, without headers, where more than two requests in a second are a
 * violation; and the OAuth API's under /currency-exchange with a policy and the scope
 * service:cxapi. Both take
 * [/realm][/hour]; without an hour they answer the first one there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim.h"
#include "../world/exchange_markets.h"

static int64_t hour_of(int64_t wall_ns) {
    int64_t s = wall_ns / SIM_NS_PER_S;
    return s - s % EXCHANGE_HOUR_S;
}

/** Read [/realm][/hour]. @return false when it is neither; @hour is 0 when it is not there. */
static bool read_path(struct span rest, int *realm, int64_t *hour) {
    char parts[2][HTTP_SEGMENT_MAX];
    int n = http__segments(rest, parts, 2), at = 0;
    char *end;
    *realm = REALM_PC;
    *hour = 0;
    if (n < 0) return false;
    if (at < n && sim__realm(parts[at]) > REALM_PC) *realm = sim__realm(parts[at++]);
    if (at == n) return true;
    *hour = strtoll(parts[at], &end, 10);
    return *end == '\0' && *hour > 0 && at + 1 == n;
}

/** Answer for an hour that is not there yet, each form in its own way. */
static void reply_not_yet(int64_t hour, bool cdn, struct reply *r) {
    struct buf b = {0};
    buf__addf(&b, "{\"next_change_id\":%lld,\"markets\":[]}", (long long)hour);
    reply_text(r, cdn ? 404 : 200, &b);
}

/** The way to the content. @return whether it is open. */
static bool pass(struct sim *s, const struct http_request *q, bool cdn, struct reply *r) {
    if (!pass_method(q, r)) return false;
    if (cdn) return pass_pace(s, &s->cdn, q, r);
    return pass_identity(s, q, "service:cxapi", r) && !answer_head(s, &s->cx, q, r) &&
           pass_limiter(s, &s->cx, q, r);
}

/** @return the digest of an hour: a market, or the recorded one under this hour's number. */
static struct body *digest(const struct sim *s, int realm, int64_t hour) {
    struct body *markets = sim__recorded(s, "cx", realm_names[realm]), *out;
    struct buf b = {0};
    if (markets == NULL)
        return exchange__digest(s->o->seed, realm, s->o->leagues, s->o->n_leagues, hour);
    buf__addf(&b, "{\"next_change_id\":%lld,\"markets\":", (long long)(hour + EXCHANGE_HOUR_S));
    buf__add(&b, markets->data, markets->len);
    buf__addc(&b, '}');
    body__unref(markets);
    out = body__new(b.at, b.len);
    buf__fini(&b);
    return out;
}

void handle_cx(struct sim *s, const struct http_request *q, struct span rest, bool cdn,
               struct reply *r) {
    int64_t now_ns = sim__content_ns(s), hour, first;
    char hour_text[24];
    struct fault f;
    int realm;
    if (!pass(s, q, cdn, r) || meet_fault(s, "currency_exchange", r, &f)) return;
    first = hour_of(s->ninja_start_ns) - s->o->cx_history_h * EXCHANGE_HOUR_S;
    if (!read_path(rest, &realm, &hour) || hour % EXCHANGE_HOUR_S != 0) {
        reply_error(r, 400, 2, "Invalid query");
        return;
    }
    if (hour == 0) hour = first;
    if (hour < first) {
        reply_error(r, 404, 1, "Resource not found");
        return;
    }
    if (hour + EXCHANGE_HOUR_S + s->o->cx_late_s > now_ns / SIM_NS_PER_S) {
        reply_not_yet(hour, cdn, r);
        return;
    }
    r->status = 200;
    r->type = "application/json";
    r->may_gzip = true;
    r->body = digest(s, realm, hour);
    if (spoil_json(&f, r, "{\"next_change_id\":{},\"markets\":{}}")) return;
    snprintf(hour_text, sizeof hour_text, "%lld", (long long)hour);
    promise_body(s, r, LEDGER_EXCHANGE, realm_names[realm], hour_text);
}
