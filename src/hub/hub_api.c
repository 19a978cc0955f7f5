/* Plain HTTP: metrics, health, status, alerts and commands. */
#include "hub_internal.h"
#include "json_guard.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void get_metrics(void *data, struct web_request *r) {
    struct hub *h = data;
    struct principal who;
    int64_t start_ns = clock__stopwatch_ns();
    if (h->options.guard_metrics ? !hub__authorize(h, r, false, &who)
                                 : !hub__is_from_allowed_page(h, r))
        return;
    hub__count_passes(h);
    if (h->options.before_scrape != NULL) h->options.before_scrape(h->options.ctx);
    struct buf out = buf__init(HUB_BODY_MAX);
    metrics__expose(h->metrics, &out);
    web_request__respond(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf__slice(&out),
                         false);
    buf__fini(&out);
    series__observe(h->m_scrape, (double)(clock__stopwatch_ns() - start_ns) / (double)NS_PER_S);
}

static void get_healthy(void *data, struct web_request *r) {
    (void)data;
    web_request__respond(r, 200, "text/plain; charset=utf-8", SLICE_LIT("healthy\n"), true);
}

static void get_ready(void *data, struct web_request *r) {
    struct hub *h = data;
    struct buf why = buf__init(4096);
    bool ready = h->options.ready == NULL || h->options.ready(h->options.ctx, &why);
    if (ready) {
        buf__clear(&why);
        buf__append_str(&why, "ready");
    } else if (why.len == 0) {
        buf__append_str(&why, "not ready");
    }
    buf__append_str(&why, "\n");
    web_request__respond(r, ready ? 200 : 503, "text/plain; charset=utf-8", buf__slice(&why),
                         false);
    buf__fini(&why);
}

static void respond_json(struct web_request *r, int status, struct buf *body) {
    web_request__set_header(r, "cache-control", SLICE_LIT("no-store"));
    if (body->failed) web_request__error(r, 500, "internal", "the answer exceeds its bound");
    else web_request__respond(r, status, "application/json", buf__slice(body), false);
    buf__fini(body);
}

static void get_status(void *data, struct web_request *r) {
    struct hub *h = data;
    struct principal who;
    if (!hub__authorize(h, r, false, &who)) return;
    struct buf out = buf__init(HUB_BODY_MAX);
    if (h->options.status_json != NULL) h->options.status_json(h->options.ctx, &out);
    else buf__append_str(&out, "{}");
    respond_json(r, 200, &out);
}

static void get_alerts(void *data, struct web_request *r) {
    struct hub *h = data;
    struct principal who;
    char status[16] = "";
    if (!hub__authorize(h, r, false, &who)) return;
    int n = web_request__query(r, "status", status, sizeof status);
    if (n > 0 && strcmp(status, "firing") != 0 && strcmp(status, "resolved") != 0 &&
        strcmp(status, "expired") != 0) {
        web_request__error(r, 400, "bad_request", "status is firing, resolved or expired");
        return;
    }
    struct buf out = buf__init(HUB_BODY_MAX);
    alerts__list(h->alerts, slice__str(n > 0 ? status : ""), &out);
    respond_json(r, 200, &out);
}

/* --- Commands --- */

/** A command whose answer the log decides. */
struct post {
    struct hub *hub;
    struct web_request *request; /* NULL once it is gone. */
    bool starting;               /* alerts__command is on the stack. */
    bool done;
};

static int status_of(struct slice result) {
    static const struct {
        const char *code;
        int status;
    } map[] = {{"not_found", 404},   {"stale_version", 409}, {"key_reuse", 422},
               {"bad_request", 400}, {"unknown_op", 404},    {"forbidden", 403},
               {"unavailable", 503}, {"internal", 500}};
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        char text[40];
        int n = snprintf(text, sizeof text, "\"code\":\"%s\"", map[i].code);
        if (memmem(result.base, result.len < 80 ? result.len : 80, text, (size_t)n) != NULL)
            return map[i].status;
    }
    return 400;
}

static void on_result(void *data, bool ok, struct slice result) {
    struct post *p = data;
    p->done = true;
    if (p->request != NULL) {
        struct buf out = buf__init(64 << 10);
        buf__append_str(&out, "{");
        buf__append_slice(&out, result);
        buf__append_str(&out, "}");
        struct web_request *r = p->request;
        p->request = NULL;
        respond_json(r, ok ? 200 : status_of(result), &out);
    }
    if (!p->starting) free(p);
}

static void on_gone(void *data) {
    struct post *p = data;
    p->request = NULL; /* The command stands; nobody waits for its answer. */
}

/* The args of a command: the body's members, and the alert of the path. */
static bool make_args(struct slice body, struct slice id, struct buf *out) {
    buf__append_str(out, "{\"alert\":");
    buf__json_string(out, id);
    if (body.len > 0) {
        yyjson_doc *doc = json_guard__read(body);
        if (doc == NULL) return false;
        size_t i, max, len;
        yyjson_val *key, *value;
        yyjson_obj_foreach(yyjson_doc_get_root(doc), i, max, key, value) {
            if (yyjson_equals_str(key, "alert")) continue;
            char *text = yyjson_val_write(value, 0, &len);
            buf__append_str(out, ",");
            buf__json_string(out, slice__of(yyjson_get_str(key), yyjson_get_len(key)));
            buf__append_str(out, ":");
            if (text != NULL) buf__append(out, text, len);
            free(text);
        }
        yyjson_doc_free(doc);
    }
    return buf__append_str(out, "}");
}

static void run_command(struct hub *h, struct web_request *r, const struct principal *who,
                        struct slice op, struct slice args) {
    struct post *p = calloc(1, sizeof *p);
    if (p == NULL) {
        web_request__error(r, 503, "unavailable", "out of memory");
        return;
    }
    *p = (struct post){.hub = h, .request = r, .starting = true};
    web_request__defer(r, on_gone, p);
    struct alert_command command = {.principal = slice__str(who->name),
                                    .key = web_request__header(r, "idempotency-key"),
                                    .op = op,
                                    .args = args};
    alerts__command(h->alerts, &command, on_result, p);
    p->starting = false;
    if (p->done) free(p);
}

static void post_alert(void *data, struct web_request *r) {
    struct hub *h = data;
    struct principal who;
    if (!hub__authorize(h, r, true, &who)) return;
    struct slice path = web_request__path(r), prefix = SLICE_LIT("/api/v1/alerts/");
    struct slice rest = slice__of(path.base + prefix.len, path.len - prefix.len);
    const char *slash = rest.len == 0 ? NULL : memchr(rest.base, '/', rest.len);
    if (slash == NULL) {
        web_request__error(r, 404, "not_found", "there is nothing at this path");
        return;
    }
    if (web_request__header(r, "idempotency-key").len == 0) {
        web_request__error(r, 400, "bad_request", "the header Idempotency-Key is needed");
        return;
    }
    struct slice id = slice__of(rest.base, (size_t)(slash - rest.base));
    struct slice op = slice__of(slash + 1, rest.len - id.len - 1);
    struct buf args = buf__init(64 << 10);
    if (make_args(web_request__body(r), id, &args)) run_command(h, r, &who, op, buf__slice(&args));
    else web_request__error(r, 400, "bad_json", "the body must be a JSON object");
    buf__fini(&args);
}

static void post_ticket(void *data, struct web_request *r) {
    struct hub *h = data;
    struct principal who;
    if (!hub__authorize(h, r, false, &who)) return;
    const char *id = hub__issue(h, r, &who, &h->tickets);
    if (id == NULL) return;
    struct buf out = buf__init(256);
    buf__printf(&out, "{\"ticket\":\"wst_%s\",\"expires_in_s\":%lld}", id,
                (long long)(HUB_TICKET_NS / NS_PER_S));
    respond_json(r, 200, &out);
}

static void post_session(void *data, struct web_request *r) {
    struct hub *h = data;
    struct principal who;
    if (!hub__authorize(h, r, false, &who)) return;
    const char *id = hub__session_of(h, r, &who); /* A page that loads again needs no second one. */
    if (id == NULL) return;
    /* Secure would keep a browser on this machine, which speaks plain HTTP to us, out. */
    bool plain = web_request__is_loopback(r) &&
                 !slice__ieq(web_request__header(r, "x-forwarded-proto"), SLICE_LIT("https"));
    char cookie[160];
    snprintf(cookie, sizeof cookie,
             "souk_session=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Strict%s", id,
             (long long)(HUB_COOKIE_NS / NS_PER_S), plain ? "" : "; Secure");
    web_request__set_header(r, "set-cookie", slice__str(cookie));
    struct buf out = buf__init(256);
    buf__append_str(&out, "{\"ok\":true}");
    respond_json(r, 200, &out);
}

void hub__route_api(struct hub *h) {
    web__route(h->web, "GET", "/metrics", get_metrics, h);
    web__route(h->web, "GET", "/-/healthy", get_healthy, h);
    web__route(h->web, "GET", "/-/ready", get_ready, h);
    web__route(h->web, "GET", "/api/v1/status", get_status, h);
    web__route(h->web, "GET", "/status.json", get_status, h);
    web__route(h->web, "GET", "/api/v1/alerts", get_alerts, h);
    web__route(h->web, "POST", "/api/v1/alerts/*", post_alert, h);
    web__route(h->web, "POST", "/api/v1/ws-ticket", post_ticket, h);
    web__route(h->web, "POST", "/api/v1/session", post_session, h);
}
