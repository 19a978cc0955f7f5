/* The control paths under /_sim/, and what a scripted fault does to any reply. */
#include "../sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yyjson.h>
#include <zlib.h>

static const char cloudflare[] =
    "<!DOCTYPE html><html lang=\"en-US\"><head><title>Just a "
    "moment...</title></head><body><h1>Checking your browser"
    "</h1><noscript>Enable JavaScript and cookies to continue</noscript></body></html>";
static const char maintenance[] =
    "<!DOCTYPE html><html><head><title>Path of Exile</title></head><body><h1>Down for "
    "maintenance</h1></body></html>";

void reply_html(struct reply *r, int status, const char *html) {
    r->status = status;
    r->type = "text/html; charset=UTF-8";
    r->body = body__new(html, strlen(html));
}

static void reply_status(struct reply *r, const struct fault *f) {
    if (f->value ==
        403) { /* Cloudflare stands before the vendor: no limit headers, no Retry-After. */
        buf__reset(&r->headers);
        buf__adds(&r->headers, "cf-mitigated: challenge\r\n");
        reply_html(r, 403, cloudflare);
        return;
    }
    if (f->value == 444) { /* nginx's own: the connection ends and nothing is said. */
        r->status = 444;
        r->cut = true;
        r->cut_bytes = 0;
        return;
    }
    if (f->text[0] != '\0') buf__addf(&r->headers, "Retry-After: %s\r\n", f->text);
    if (f->value == 429) reply_error(r, 429, 3, "Rate limit exceeded");
    else if (f->value == 503) reply_error(r, 503, 7, "Temporarily unavailable");
    else if (f->value == 404 || f->value == 410)
        reply_error(r, (int)f->value, 1, "Resource not found");
    else reply_error(r, (int)f->value, f->value >= 500 ? 4 : 2, "Internal error");
}

/** A gzip body of @mib MiB of spaces, a thousandth of that on the wire, made without holding it. */
static struct body *make_bomb(int64_t mib) {
    static const unsigned char spaces_start[] = "{\"next_change_id\":\"0-0-0-0-0\",\"stashes\":[";
    static unsigned char spaces[1 << 16];
    z_stream z = {0};
    struct buf out = {0};
    struct body *body;
    memset(spaces, ' ', sizeof spaces);
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    for (int64_t i = -1; i <= mib * 16; i++) {
        int flush = i == mib * 16 ? Z_FINISH : Z_NO_FLUSH, rc;
        z.next_in = i < 0 ? (unsigned char *)(uintptr_t)spaces_start : spaces;
        z.avail_in = i < 0 ? sizeof spaces_start - 1 : flush == Z_FINISH ? 0 : sizeof spaces;
        do {
            char *room = buf__room(&out, 1 << 14);
            if (room == NULL) abort();
            z.next_out = (unsigned char *)room;
            z.avail_out = 1 << 14;
            rc = deflate(&z, flush);
            out.len += (1u << 14) - z.avail_out;
        } while (z.avail_out == 0 || (flush == Z_FINISH && rc != Z_STREAM_END));
    }
    deflateEnd(&z);
    body = body__new(out.at, out.len);
    buf__fini(&out);
    return body;
}

bool meet_fault(struct sim *s, const char *target, struct reply *r, struct fault *f) {
    f->kind = FAULT_N_KINDS;
    if (!faults__take(&s->faults, target, s->clock.mono_ns, f)) {
        f->kind = FAULT_N_KINDS;
        return false;
    }
    switch (f->kind) {
    case FAULT_STATUS: reply_status(r, f); return true;
    case FAULT_STALL:
        r->stall = true;
        r->status = 200;
        return true;
    case FAULT_HTML200: reply_html(r, 200, maintenance); return true;
    case FAULT_EMPTY_OBJECT: reply_json(r, 200, "{}", 2); return true;
    case FAULT_GZIP_BOMB:
        r->status = 200;
        r->type = "application/json";
        r->encoded = make_bomb(f->value >= 0 ? f->value : 64);
        return true;
    case FAULT_BIG_HEADER: {
        size_t n = f->value >= 0 ? (size_t)f->value : (size_t)1 << 20;
        char *room;
        buf__adds(&r->headers, "X-Padding: ");
        room = buf__room(&r->headers, n);
        if (room != NULL) {
            memset(room, 'x', n);
            r->headers.len += n;
        }
        buf__adds(&r->headers, "\r\n");
        reply_json(r, 200, "{}", 2);
        return true;
    }
    case FAULT_SLOW: r->bytes_per_s = f->value > 0 ? f->value : 1000; return false;
    case FAULT_RESET:
    case FAULT_TRUNCATE:
        r->cut = true;
        r->reset = f->kind == FAULT_RESET;
        r->cut_bytes = f->value >= 0 ? (size_t)f->value : 100;
        return false;
    case FAULT_DROP_HEADERS: buf__reset(&r->headers); return false;
    case FAULT_BAD_JSON:
    case FAULT_WRONG_TYPE:
    case FAULT_REWIND:
    case FAULT_REPEAT:
    case FAULT_LIMITS:
    case FAULT_PHANTOM:
    case FAULT_POLICY:
    case FAULT_BAD_PRICE:
    case FAULT_N_KINDS: return false;
    }
    return false;
}

bool spoil_json(const struct fault *f, struct reply *r, const char *wrong) {
    struct body *bad;
    if (f->kind == FAULT_WRONG_TYPE) bad = body__new(wrong, strlen(wrong));
    else if (f->kind == FAULT_BAD_JSON) bad = body__new(r->body->data, r->body->len / 2);
    else return false;
    body__unref(r->body);
    r->body = bad;
    return true;
}

/** Change one policy now: it shows in the headers of its next reply. */
static int change_policy(struct sim *s, struct limiter *l, const struct fault *f,
                         struct sim_err *e) {
    if (f->kind == FAULT_LIMITS) return limiter__set_triples(l, f->text, e);
    if (f->kind == FAULT_PHANTOM)
        limiter__add_phantoms(l, s->clock.mono_ns, f->value > 0 ? f->value : 1);
    else snprintf(l->policy, sizeof l->policy, "%.63s", f->text);
    return 0;
}

/** Do what a fault of limits does at once, to the policies of its target. */
static int change_limits(struct sim *s, const struct fault *f, struct sim_err *e) {
    const struct {
        const char *target;
        struct limiter *limiter;
    } of[] = {{"psapi", &s->psapi[REALM_PC]}, {"trade_data", &s->trade_data},
              {"oauth", &s->oauth},           {"currency_exchange", &s->cx},
              {"leagues", &s->leagues},       {"account_stashes", &s->stash}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++)
        if (strcmp(f->target, of[i].target) == 0) return change_policy(s, of[i].limiter, f, e);
    return sim_err__setf(e, "fault: %s of %s cannot be changed", fault__kind_name(f->kind),
                         f->target);
}

/** @return whether @kind happens when it is asked for, and does not wait for a request. */
static bool is_at_once(enum fault_kind kind) {
    return kind == FAULT_LIMITS || kind == FAULT_PHANTOM || kind == FAULT_POLICY;
}

static void control_fault(struct sim *s, const struct http_request *q, struct reply *r) {
    struct fault f;
    struct sim_err err;
    int rc;
    if (span__is(q->method, "DELETE")) {
        s->faults.n = 0;
        reply_json(r, 200, "{\"ok\":true}", 11);
        return;
    }
    if (!span__is(q->method, "POST")) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    rc = fault__parse(&f, q->body, s->clock.mono_ns, &err);
    if (rc == 0)
        rc = is_at_once(f.kind) ? change_limits(s, &f, &err) : faults__add(&s->faults, &f, &err);
    if (rc == 0) reply_json(r, 200, "{\"ok\":true}", 11);
    else reply_error(r, 400, 2, err.msg);
}

static void control_freeze(struct sim *s, const struct http_request *q, struct reply *r) {
    yyjson_doc *doc = yyjson_read(q->body.at, q->body.len, 0);
    yyjson_val *on = yyjson_obj_get(yyjson_doc_get_root(doc), "on");
    if (!yyjson_is_bool(on)) {
        reply_error(r, 400, 2, "freeze: wanted {\"on\":true} or {\"on\":false}");
    } else {
        sim__freeze(s, yyjson_get_bool(on));
        reply_json(r, 200, "{\"ok\":true}", 11);
    }
    yyjson_doc_free(doc);
}

static void control_status(struct sim *s, struct reply *r) {
    struct buf b = {0};
    char cursor[CURSOR_MAX];
    uint64_t n_pages = 0;
    for (int i = 0; i < N_REALMS; i++) n_pages += s->river_open[i] ? s->rivers[i].n_pages : 0;
    river__cursor(&s->rivers[REALM_PC], s->rivers[REALM_PC].n_pages, cursor);
    buf__adds(&b, "{\"requests\":{");
    for (int i = 0; i < N_ROUTES; i++)
        buf__addf(&b, "%s\"%s\":%llu", i > 0 ? "," : "", route_names[i],
                  (unsigned long long)s->n_requests[i]);
    buf__addf(&b,
              "},\"violations\":%llu,\"pages_made\":%llu,\"pages_served\":%llu,\"empty_pages\":%"
              "llu,\"rows_emitted\":%llu,"
              "\"ninja_bodies\":%llu,\"ninja_rows\":%llu,\"not_modified\":%llu,\"head\":\"%s\","
              "\"build\":%lld,\"frozen\":%s,"
              "\"faults_met\":%llu,\"faults\":[",
              (unsigned long long)s->ledger.n_violations, (unsigned long long)n_pages,
              (unsigned long long)s->ledger.n_pages, (unsigned long long)s->n_empty_pages,
              (unsigned long long)s->ledger.n_rows, (unsigned long long)s->ledger.n_ninja_bodies,
              (unsigned long long)s->ledger.n_ninja_rows, (unsigned long long)s->n_not_modified,
              cursor, (long long)sim__build(s), s->frozen ? "true" : "false",
              (unsigned long long)s->faults.n_done);
    for (size_t i = 0; i < s->faults.n; i++) {
        const struct fault *f = &s->faults.at[i];
        buf__addf(&b, "%s{\"target\":\"%s\",\"kind\":\"%s\",\"count\":%lld}", i > 0 ? "," : "",
                  f->target, fault__kind_name(f->kind), (long long)f->count);
    }
    buf__adds(&b, "],\"violations_by_route\":{");
    for (int i = 0; i < N_ROUTES; i++)
        buf__addf(&b, "%s\"%s\":%llu", i > 0 ? "," : "", route_names[i],
                  (unsigned long long)s->n_violations[i]);
    buf__addf(&b, "},\"bodies\":%llu,\"body_rows\":%llu}\n", (unsigned long long)s->ledger.n_bodies,
              (unsigned long long)s->ledger.n_body_rows);
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
}

/** A page in a browser reaches every port of the machine, and a name that it owns may point here:
 * who commands is no page, and names the host by an address or as localhost. */
static bool is_own_client(const struct http_request *q) {
    struct span host = http__header(q, "host"), site = http__header(q, "sec-fetch-site");
    size_t n = 0;
    if (http__header(q, "origin").len > 0) return false;
    if (site.len > 0 && !span__is(site, "none") && !span__is(site, "same-origin")) return false;
    if (host.len > 0 && host.at[0] == '[') return true;
    while (n < host.len && host.at[n] != ':') n++;
    if (n == 9 && strncasecmp(host.at, "localhost", 9) == 0) return true;
    for (size_t i = 0; i < n; i++)
        if (strchr("0123456789.", host.at[i]) == NULL) return false;
    return true;
}

void handle_control(struct sim *s, const struct http_request *q, struct reply *r) {
    bool post = span__is(q->method, "POST");
    if (!is_own_client(q)) {
        reply_error(r, 403, 1, "Not for pages of a browser, and by an address or localhost only");
        return;
    }
    if (span__is(q->path, "/_sim/fault")) {
        control_fault(s, q, r);
    } else if (span__is(q->path, "/_sim/freeze") && post) {
        control_freeze(s, q, r);
    } else if (span__is(q->path, "/_sim/status") && !post) {
        control_status(s, r);
    } else if (span__is(q->path, "/_sim/stop") && post) {
        s->stop_wanted = true;
        r->close = true;
        reply_json(r, 200, "{\"ok\":true}", 11);
    } else {
        reply_error(r, 404, 1, "Resource not found");
    }
}
