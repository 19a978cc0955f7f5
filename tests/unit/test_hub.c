/* The hub over real sockets on one loop: who is served what, and how it begins and ends. */
#include "session.h"
#include "souk/core/log.h"
#include "souk/hub.h"
#include "test_wire_fixture.h"

#define GET(path, more) "GET " path " HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"
#define TOKEN "0123456789abcdef-read"
#define WRITE_TOKEN "0123456789abcdef-write"

struct fixture {
    struct wire wire;
    struct alerts *alerts;
    struct hub *hub;
    bool is_ready;
    int n_scrapes;
};

static void status_json(void *ctx, struct buf *out) {
    (void)ctx;
    buf__append_str(out, "{\"version\":\"test\",\"sources\":[]}");
}
static bool ready(void *ctx, struct buf *why) {
    struct fixture *f = ctx;
    if (!f->is_ready) buf__append_str(why, "no source is live");
    return f->is_ready;
}
static void before_scrape(void *ctx) { ((struct fixture *)ctx)->n_scrapes++; }

static const unsigned char index_html[] = "<!doctype html>", app_js[] = "start();",
                           app_js_gz[] = "\x1f\x8bgz";
static const struct hub_asset assets[] = {{.path = "/index.html",
                                           .type = "text/html; charset=utf-8",
                                           .etag = "\"e1\"",
                                           .bytes = index_html,
                                           .len = sizeof index_html - 1},
                                          {.path = "/app.js",
                                           .type = "text/javascript; charset=utf-8",
                                           .etag = "\"e2\"",
                                           .bytes = app_js,
                                           .len = sizeof app_js - 1,
                                           .gz = app_js_gz,
                                           .gz_len = sizeof app_js_gz - 1}};

static struct hub_options options_of(struct fixture *f) {
    static const char *const origins[] = {"http://board.example:9000"};
    return (struct hub_options){.assets = assets,
                                .n_assets = 2,
                                .origins = origins,
                                .n_origins = 1,
                                .open_to_local = true,
                                .ctx = f,
                                .status_json = status_json,
                                .ready = ready,
                                .before_scrape = before_scrape};
}

static void open_hub(struct fixture *f, const struct hub_options *options) {
    struct err e = {0};
    if (hub__open(&f->hub, &f->wire.loop, &f->wire.clock, &f->wire.metrics, f->alerts, options,
                  &e) != 0)
        fail_msg("%s", e.msg);
}
static void close_hub(struct fixture *f) {
    f->wire.n_closed = 0;
    hub__close(f->hub, on_server_closed, &f->wire);
    f->hub = NULL;
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    struct alerts_options options = {.seed = 42};
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    wire__init(&f->wire);
    assert_int_equal(alerts__open(&f->alerts, &f->wire.clock, &f->wire.metrics, &options, &e), 0);
    struct hub_options hub = options_of(f);
    open_hub(f, &hub);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    while (f->wire.n_peers > 0) peer__close(&f->wire, f->wire.peers[0]);
    if (f->hub != NULL) close_hub(f);
    UNTIL(&f->wire, f->wire.n_closed == 1);
    wire__fini(&f->wire);
    alerts__free(f->alerts);
    free(f);
    return 0;
}

static struct peer *join(struct fixture *f) {
    struct peer *p = peer__new(&f->wire, hub__port(f->hub));
    assert_int_equal(p->connect_status, 0);
    return p;
}

/* --- Open to everybody --- */

static void test_metrics_are_text_0_0_4(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, GET("/metrics", "")), 200);
    assert_header(p, "content-type", "text/plain; version=0.0.4; charset=utf-8");
    assert_true(peer__has(p, "\n# TYPE souk_hub_connections gauge\nsouk_hub_connections 1\n"));
    assert_true(peer__has(p, "\nsouk_hub_requests_total{code=\"2xx\"} 0\n"));
    assert_int_equal(f->n_scrapes, 1);
    /* The connection is kept, and the first request is counted. */
    assert_int_equal(peer__ask(&f->wire, p, GET("/metrics", "")), 200);
    assert_true(peer__has(p, "\nsouk_hub_requests_total{code=\"2xx\"} 1\n"));
    assert_true(peer__has(p, "\nsouk_hub_scrape_seconds_count 1\n"));
    assert_int_equal(f->n_scrapes, 2);
}

static void test_health_and_readiness(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, GET("/-/healthy", "")), 200);
    assert_body(p, "healthy\n");
    assert_int_equal(peer__ask(&f->wire, p, GET("/-/ready", "")), 503);
    assert_body(p, "no source is live\n");
    f->is_ready = true;
    assert_int_equal(peer__ask(&f->wire, p, GET("/-/ready", "")), 200);
    assert_body(p, "ready\n");
}

static void test_status_comes_from_the_owner(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    static const char *const requests[] = {GET("/api/v1/status", ""), GET("/status.json", "")};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(peer__ask(&f->wire, p, requests[i]), 200);
        assert_header(p, "content-type", "application/json");
        assert_header(p, "cache-control", "no-store");
        assert_body(p, "{\"version\":\"test\",\"sources\":[]}");
    }
}

/* --- Refusals --- */

static void test_refusals_say_why(void **state) {
    static const struct {
        const char *request, *code;
        int status;
    } rows[] = {
        {"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "misdirected", 421},
        {"GET /metrics HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n", "misdirected", 421},
        {GET("/nowhere", ""), "not_found", 404},
        {GET("/api/v1/alerts?status=sleeping", ""), "bad_request", 400},
        {"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "method_not_allowed", 405},
        {GET("/api/v1/ws-ticket", ""), "method_not_allowed", 405},
        {GET("/api/v1/status", "Origin: http://evil.example\r\n"), "forbidden", 403},
        {GET("/api/v1/status", "Origin: null\r\n"), "forbidden", 403},
        {GET("/sse/alerts", "Origin: http://evil.example\r\n"), "forbidden", 403},
        /* An <img> or a <script> of another's page brings no Origin. */
        {GET("/sse/alerts", "Sec-Fetch-Site: cross-site\r\n"), "forbidden", 403},
        {GET("/api/v1/status", "Sec-Fetch-Site: same-site\r\n"), "forbidden", 403},
        {GET("/metrics", "Sec-Fetch-Site: cross-site\r\n"), "forbidden", 403},
        /* Behind a proxy here everybody comes from this machine. */
        {GET("/api/v1/status", "X-Forwarded-For: 192.0.2.1\r\n"), "forbidden", 403},
        {GET("/api/v1/status", "Forwarded: for=192.0.2.1\r\n"), "forbidden", 403},
        {GET("/api/v1/status", "Via: 1.1 proxy\r\n"), "forbidden", 403},
        {"GET /api/v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n", "forbidden", 403},
        {GET("/ws/alerts", ""), "upgrade_required", 426},
        {WS_UPGRADE("/ws/alerts", "13", "Origin: http://evil.example\r\n"), "forbidden", 403},
        {WS_UPGRADE("/ws/alerts", "8", ""), "unsupported_version", 426}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        int status = peer__ask(&f->wire, p, rows[i].request);
        if (status != rows[i].status) fail_msg("%d answers %s", status, rows[i].request);
        assert_error(p, rows[i].code);
        if (strcmp(rows[i].code, "unsupported_version") == 0)
            assert_header(p, "sec-websocket-version", "13");
        peer__close(&f->wire, p);
    }
    assert_int_equal(hub__n_clients(f->hub), 0);
}

/* Whatever a proxy says of whom it asks for, its request is nobody's of this machine. */
static void test_the_traces_of_a_proxy_are_never_local(void **state) {
    static const char *const traces[] = {
        "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server",
        "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Forwarded-By", "X-Forwarded-Scheme", "X-Forwarded-User",
        "x-forwarded-of-tomorrow", "X-Forwarded", "Forwarded", "X-Original-Forwarded-For", "X-Cluster-Client-Ip",
        "X-Real-IP", "X-Client-IP", "Via", "CF-Connecting-IP", "CF-Ray", "True-Client-IP", "Fastly-Client-IP"};
    struct fixture *f = *state;
    char request[256];
    for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
        struct peer *p = join(f);
        snprintf(request, sizeof request, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n%s: 1\r\n\r\n", traces[i]);
        if (peer__ask(&f->wire, p, request) != 403) fail_msg("%s passes for local", traces[i]);
        peer__close(&f->wire, p);
    }
}

static void test_our_own_and_allowed_origins_pass(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    static const char *const sites[] = {
        "Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: http://board.example:9000\r\n"};
    for (size_t i = 0; i < 3; i++) {
        char request[256];
        snprintf(request, sizeof request,
                 "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n%s\r\n", sites[i]);
        assert_int_equal(peer__ask(&f->wire, p, request), 200);
    }
    assert_int_equal(peer__ask(&f->wire, p, GET("/", "Sec-Fetch-Site: cross-site\r\n")), 200);
    assert_int_equal(peer__ask(&f->wire, p, GET("/api/v1/status", "Origin: http://localhost\r\n")),
                     200);
    assert_int_equal(
        peer__ask(&f->wire, p, GET("/api/v1/status", "Origin: http://board.example:9000\r\n")),
        200);
    assert_int_equal(
        peer__ask(&f->wire, p, GET("/api/v1/status", "Origin: http://board.example\r\n")), 403);
}

static void test_tokens_say_who_may_what(void **state) {
    static const struct hub_token tokens[] = {
        {.name = "reader", .token = TOKEN}, {.name = "boss", .token = WRITE_TOKEN, .write = true}};
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    close_hub(f);
    UNTIL(w, w->n_closed == 1);
    struct hub_options options = options_of(f);
    options.tokens = tokens;
    options.n_tokens = 2;
    options.open_to_local = false;
    open_hub(f, &options);
    struct peer *p = join(f);
    assert_int_equal(peer__ask(w, p, GET("/-/healthy", "")), 200);
    assert_int_equal(peer__ask(w, p, GET("/api/v1/status", "")), 401);
    assert_header(p, "www-authenticate", "Bearer");
    assert_int_equal(peer__ask(w, p, GET("/api/v1/status", "Authorization: Bearer " TOKEN "x\r\n")),
                     401);
    assert_int_equal(peer__ask(w, p, GET("/api/v1/status", "Authorization: Bearer " TOKEN "\r\n")),
                     200);
#define ACK(token)                                                                                 \
    "POST /api/v1/alerts/nothing/ack HTTP/1.1\r\nHost: localhost\r\n"                              \
    "Idempotency-Key: 0123456789abcdef\r\nAuthorization: Bearer " token "\r\n\r\n"
    assert_int_equal(peer__ask(w, p, ACK(TOKEN)), 403);
    p = join(f);
    assert_int_equal(peer__ask(w, p, ACK(WRITE_TOKEN)), 404); /* It may; there is no such alert. */
    assert_true(peer__has(p, "\"not_found\""));
    p = join(f);
    assert_int_equal(peer__ask(w, p, WS_UPGRADE("/ws/alerts", "13", "")), 401);
}

static void reopen(struct fixture *f, const struct hub_options *options) {
    close_hub(f);
    UNTIL(&f->wire, f->wire.n_closed == 1);
    open_hub(f, options);
}

static void test_without_a_token_nobody_may_ask_unless_it_is_said(void **state) {
    struct fixture *f = *state;
    struct hub_options options = options_of(f);
    options.open_to_local = false;
    reopen(f, &options);
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, GET("/api/v1/status", "")), 403);
    assert_true(peer__has(p, "hub.tokens_file") && peer__has(p, "hub.open_to_local"));
    assert_int_equal(peer__ask(&f->wire, p, GET("/metrics", "")), 200);
    assert_int_equal(peer__ask(&f->wire, p, GET("/", "")), 200);
}

static void test_metrics_can_be_guarded(void **state) {
    static const struct hub_token token = {.name = "reader", .token = TOKEN};
    struct fixture *f = *state;
    struct hub_options options = options_of(f);
    options.open_to_local = false;
    options.guard_metrics = true;
    options.tokens = &token;
    options.n_tokens = 1;
    reopen(f, &options);
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, GET("/metrics", "")), 401);
    assert_int_equal(peer__ask(&f->wire, p, GET("/metrics", "Authorization: Bearer " TOKEN "\r\n")),
                     200);
    assert_int_equal(peer__ask(&f->wire, p, GET("/-/healthy", "")), 200);
}

/* Tickets and sessions have places of their own, and a full table refuses. */
static void test_tickets_end_nobodys_session(void **state) {
    static const struct hub_token tokens[] = {
        {.name = "reader", .token = TOKEN}, {.name = "boss", .token = WRITE_TOKEN, .write = true}};
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    struct hub_options options = options_of(f);
    options.open_to_local = false;
    options.tokens = tokens;
    options.n_tokens = 2;
    reopen(f, &options);
    struct peer *p = join(f);
#define ASK_FOR(path, more) "POST " path " HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"
    assert_int_equal(
        peer__ask(w, p, ASK_FOR("/api/v1/session", "Authorization: Bearer " WRITE_TOKEN "\r\n")),
        200);
    char cookie[64], request[512];
    struct slice set = peer__header(p, "set-cookie");
    snprintf(cookie, sizeof cookie, "%.*s", 13 + 32, set.base);
    int n_given = 0, n_refused = 0;
    for (int i = 0; i < 300; i++) {
        int status =
            peer__ask(w, p, ASK_FOR("/api/v1/ws-ticket", "Authorization: Bearer " TOKEN "\r\n"));
        n_given += status == 200;
        n_refused += status == 429;
    }
    assert_int_equal(n_given, 16);
    assert_int_equal(n_refused, 284);
    snprintf(request, sizeof request,
             "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n\r\n", cookie);
    assert_int_equal(peer__ask(w, p, request), 200);
    /* A page that is loaded again and again has one session. */
    snprintf(request, sizeof request,
             "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n\r\n", cookie);
    for (int i = 0; i < 100; i++) assert_int_equal(peer__ask(w, p, request), 200);
    assert_int_equal(peer__ask(w, p, GET("/metrics", "")), 200);
    assert_true(peer__has(p, "souk_hub_passes{kind=\"ticket\"} 16\n"));
    assert_true(peer__has(p, "souk_hub_passes{kind=\"session\"} 1\n"));
    assert_true(peer__has(p, "souk_hub_passes_refused_total{kind=\"ticket\"} 284\n"));
    /* Those of one token end at its share, and others have theirs. */
    n_given = 0;
    for (int i = 0; i < 70; i++)
        n_given +=
            peer__ask(w, p, ASK_FOR("/api/v1/session", "Authorization: Bearer " TOKEN "\r\n")) ==
            200;
    assert_int_equal(n_given, 64);
    assert_int_equal(
        peer__ask(w, p, ASK_FOR("/api/v1/session", "Authorization: Bearer " WRITE_TOKEN "\r\n")),
        200);
    f->wire.clock.mono_ns += 31 * NS_PER_S; /* Tickets end by themselves. */
    assert_int_equal(
        peer__ask(w, p, ASK_FOR("/api/v1/ws-ticket", "Authorization: Bearer " TOKEN "\r\n")), 200);
}

/* A browser that logs in with another token is somebody else from then on, and its old cookie nobody. */
static void test_another_token_is_another_session(void **state) {
    static const struct hub_token tokens[] = {
        {.name = "reader", .token = TOKEN}, {.name = "boss", .token = WRITE_TOKEN, .write = true}};
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    struct hub_options options = options_of(f);
    options.open_to_local = false;
    options.tokens = tokens;
    options.n_tokens = 2;
    reopen(f, &options);
    struct peer *p = join(f);
    char cookies[3][64], request[512];
    static const char *const shown[] = {TOKEN, WRITE_TOKEN, TOKEN};
    static const int commands[] = {403, 404, 403}; /* There is no such alert. */
    for (int i = 0; i < 3; i++) {
        snprintf(request, sizeof request,
                 "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
                 "Cookie: %s\r\n\r\n",
                 shown[i], i == 0 ? "a=b" : cookies[i - 1]);
        assert_int_equal(peer__ask(w, p, request), 200);
        struct slice set = peer__header(p, "set-cookie");
        assert_non_null(memmem(set.base, set.len, "; Max-Age=43200;", 16));
        snprintf(cookies[i], sizeof cookies[i], "%.*s", 13 + 32, set.base);
        snprintf(request, sizeof request,
                 "POST /api/v1/alerts/none/ack HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n"
                 "Idempotency-Key: 0123456789abcde%d\r\nContent-Length: 2\r\n\r\n{}",
                 cookies[i], i);
        assert_int_equal(peer__ask(w, join(f), request), commands[i]);
        for (int k = 0; k < i; k++) {
            snprintf(request, sizeof request,
                     "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n\r\n", cookies[k]);
            assert_int_equal(peer__ask(w, p, request), 401);
        }
    }
    /* Who is refused is told when the first of them ends: hours from now. */
    int status = 200;
    for (int i = 0; i < 70 && status == 200; i++)
        status = peer__ask(w, p, ASK_FOR("/api/v1/session", "Authorization: Bearer " TOKEN "\r\n"));
    assert_int_equal(status, 429);
    assert_header(p, "retry-after", "43200");
}

/* What was given for a token ends with it: the cookie, the ticket, both kinds of streams. */
static void test_what_was_given_for_a_token_ends_with_it(void **state) {
    static const struct hub_token tokens[] = {
        {.name = "reader", .token = TOKEN}, {.name = "boss", .token = WRITE_TOKEN, .write = true}};
    static const char *const auth[] = {"Authorization: Bearer " TOKEN, "Authorization: Bearer " WRITE_TOKEN};
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    struct hub_options options = options_of(f);
    struct hub_tokens_change change;
    struct err e = {0};
    options.open_to_local = false;
    options.tokens = tokens;
    options.n_tokens = 2;
    reopen(f, &options);
    char cookies[2][64], tickets[2][40], request[512];
    struct peer *sockets[2], *greeting[2], *streams[2], *p = join(f);
    for (int i = 0; i < 2; i++) {
        snprintf(request, sizeof request, ASK_FOR("/api/v1/session", "%s\r\n"), auth[i]);
        assert_int_equal(peer__ask(w, p, request), 200);
        snprintf(cookies[i], sizeof cookies[i], "%.*s", 13 + 32, peer__header(p, "set-cookie").base);
        snprintf(request, sizeof request, ASK_FOR("/api/v1/ws-ticket", "%s\r\n"), auth[i]);
        assert_int_equal(peer__ask(w, p, request), 200);
        struct slice body = peer__body(p);
        const char *ticket = memmem(body.base, body.len, "wst_", 4);
        assert_non_null(ticket);
        snprintf(tickets[i], sizeof tickets[i], "%.*s", 4 + 32, ticket);
        snprintf(request, sizeof request, WS_UPGRADE("/ws/alerts", "13", "%s\r\n"), auth[i]);
        greeting[i] = join(f); /* Stays before hello. */
        peer__say(w, greeting[i], slice__str(request));
        sockets[i] = join(f);
        peer__say(w, sockets[i], slice__str(request));
        UNTIL(w, peer__body_at(sockets[i]) > 0 && peer__body_at(greeting[i]) > 0);
        peer__frame(w, sockets[i], FRAME_TEXT, SLICE_LIT("{\"t\":\"hello\",\"id\":1}"));
        streams[i] = join(f);
        snprintf(request, sizeof request, GET("/sse/alerts", "%s\r\n"), auth[i]);
        peer__say(w, streams[i], slice__str(request));
        UNTIL(w, peer__has(sockets[i], "{\"t\":\"live\"") && peer__has(streams[i], "{\"t\":\"live\""));
    }
    assert_int_equal(hub__n_clients(f->hub), 4);
    /* One that cannot be: nothing is changed. */
    struct hub_token next[HUB_TOKENS_MAX + 1] = {tokens[0], {.name = "weak", .token = "short"}};
    assert_int_equal(hub__set_tokens(f->hub, next, 2, &change, &e), ERR_CONFIG);
    for (size_t i = 0; i <= HUB_TOKENS_MAX; i++) next[i] = tokens[0];
    assert_int_equal(hub__set_tokens(f->hub, next, HUB_TOKENS_MAX + 1, &change, &e), ERR_CONFIG);
    /* The same again, in another order: nothing ends. */
    next[0] = tokens[1];
    next[1] = tokens[0];
    assert_int_equal(hub__set_tokens(f->hub, next, 2, &change, &e), 0);
    assert_int_equal(change.n_new + change.n_gone + change.n_ended, 0);
    /* The reader may do more from now on, which takes nothing from anybody. */
    next[1].write = true;
    assert_int_equal(hub__set_tokens(f->hub, next, 2, &change, &e), 0);
    assert_int_equal(change.n_new + change.n_gone + change.n_ended, 0);
    next[1].write = false; /* What it could do in between is gone. */
    assert_int_equal(hub__set_tokens(f->hub, next, 2, &change, &e), 0);
    assert_int_equal(change.n_ended, 5); /* A cookie, a ticket, two sockets and a stream. */
    UNTIL(w, peer__close_code(sockets[1]) == 0 && peer__close_code(sockets[0]) == 4401 &&
                 peer__close_code(greeting[0]) == 4401 && streams[0]->ended);
    assert_int_equal(hub__n_clients(f->hub), 2);
    /* The boss may only read from now on. */
    next[0].write = false;
    assert_int_equal(hub__set_tokens(f->hub, next, 2, &change, &e), 0);
    assert_int_equal(change.n_ended, 5);
    UNTIL(w, peer__close_code(sockets[1]) == 4401 && peer__close_code(greeting[1]) == 4401 && streams[1]->ended);
    assert_int_equal(hub__n_clients(f->hub), 0);
    for (int i = 0; i < 2; i++) {
        snprintf(request, sizeof request, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n\r\n",
                 cookies[i]);
        assert_int_equal(peer__ask(w, p, request), 401);
        struct peer *late = join(f); /* A page, with the ticket that it got before. */
        peer__say(w, late, SLICE_LIT(WS_UPGRADE("/ws/alerts", "13", "Origin: http://board.example:9000\r\n")));
        UNTIL(w, peer__body_at(late) > 0);
        snprintf(request, sizeof request, "{\"t\":\"hello\",\"id\":1,\"ticket\":\"%s\"}", tickets[i]);
        peer__frame(w, late, FRAME_TEXT, slice__str(request));
        UNTIL(w, peer__close_code(late) == 4401);
        peer__close(w, late);
        snprintf(request, sizeof request, GET("/api/v1/status", "%s\r\n"), auth[i]);
        assert_int_equal(peer__ask(w, p, request), 200); /* The tokens themselves are good. */
    }
    /* Renamed, it is somebody else; and gone, nobody. */
    next[0].name = "chief";
    assert_int_equal(hub__set_tokens(f->hub, next, 1, &change, &e), 0);
    assert_int_equal(change.n_new, 1);
    assert_int_equal(change.n_gone, 2);
    for (int i = 0; i < 2; i++) {
        snprintf(request, sizeof request, GET("/api/v1/status", "%s\r\n"), auth[i]);
        assert_int_equal(peer__ask(w, p, request), i == 0 ? 401 : 200);
    }
    assert_int_equal(peer__ask(w, p, GET("/metrics", "")), 200);
    assert_true(peer__has(p, "souk_hub_passes{kind=\"ticket\"} 0\n"));
    assert_true(peer__has(p, "souk_hub_passes{kind=\"session\"} 0\n"));
}

/* --- Assets --- */

static void test_assets_come_as_the_client_can_take_them(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, GET("/", "Accept-Encoding: gzip\r\n")), 200);
    assert_header(p, "content-type", "text/html; charset=utf-8");
    assert_header(p, "content-encoding", ""); /* There is no shorter one. */
    assert_body(p, (const char *)index_html);
    assert_int_equal(peer__ask(&f->wire, p, GET("/app.js", "Accept-Encoding: br, gzip\r\n")), 200);
    assert_header(p, "content-encoding", "gzip");
    assert_header(p, "vary", "accept-encoding");
    assert_header(p, "etag", "\"e2\"");
    assert_body(p, (const char *)app_js_gz);
    assert_int_equal(peer__ask(&f->wire, p, GET("/app.js", "Accept-Encoding: br, GZIP;q=0.1\r\n")),
                     200);
    assert_header(p, "content-encoding", "gzip");
    static const char *const without[] = {GET("/app.js", ""),
                                          GET("/app.js", "Accept-Encoding: gzip;q=0\r\n"),
                                          GET("/app.js", "Accept-Encoding: gzip ; q=0.00, *\r\n"),
                                          GET("/app.js", "Accept-Encoding: x-gzip, notgzip\r\n")};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(peer__ask(&f->wire, p, without[i]), 200);
        assert_header(p, "content-encoding", "");
    }
    assert_body(p, (const char *)app_js);
    assert_int_equal(peer__ask(&f->wire, p, GET("/app.js", "If-None-Match: \"e2\"\r\n")), 304);
    assert_body(p, "");
    assert_int_equal(peer__ask(&f->wire, p, GET("/app.js", "If-None-Match: \"e1\"\r\n")), 200);
}

/* --- The stream --- */

static struct peer *follow(struct fixture *f) {
    size_t n_clients = hub__n_clients(f->hub);
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(WS_UPGRADE("/ws/alerts", "13", "")));
    UNTIL(&f->wire, peer__body_at(p) > 0);
    assert_true(slice__starts(buf__slice(&p->in), SLICE_LIT("HTTP/1.1 101 ")));
    assert_header(p, "sec-websocket-accept", WS_ACCEPT);
    assert_header(p, "sec-websocket-protocol", "alerts.v1");
    assert_int_equal(hub__n_clients(f->hub), n_clients); /* Not before hello. */
    peer__frame(&f->wire, p, FRAME_TEXT, SLICE_LIT("{\"t\":\"hello\",\"id\":1}"));
    UNTIL(&f->wire, peer__has(p, "{\"t\":\"live\""));
    return p;
}

static void test_hello_is_answered_with_welcome(void **state) {
    struct fixture *f = *state;
    struct peer *p = follow(f);
    struct slice first = {0};
    char want[128];
    assert_true(peer__find(p, FRAME_TEXT, &first));
    int n = snprintf(want, sizeof want,
                     "{\"t\":\"welcome\",\"re\":1,\"proto\":\"alerts.v1\",\"sid\":\"s_");
    assert_true(slice__starts(first, slice__of(want, (size_t)n)));
    snprintf(want, sizeof want, "\"epoch\":\"%s\"", alerts__epoch(f->alerts));
    assert_true(peer__has(p, want));
    assert_int_equal(hub__n_clients(f->hub), 1);

    struct alert_signal signal = {.class = "drift", .sev = ALERT_WARNING, .title = "It drifts"};
    alerts__raise(f->alerts, &signal);
    UNTIL(&f->wire, peer__has(p, "{\"t\":\"ev\",") && peer__has(p, "It drifts"));
    peer__close(&f->wire, p);
    UNTIL(&f->wire, hub__n_clients(f->hub) == 0);
}

/* souk_alert_fanout_seconds ends at the last write, be it as late as it likes. */
static void test_the_fan_out_ends_with_the_last_write(void **state) {
    struct fixture *f = *state;
    struct series *fanout =
        metrics__histogram(&f->wire.metrics, "souk_alert_fanout_seconds", "", "%s", "");
    struct alert_signal signal = {.class = "alone", .sev = ALERT_WARNING, .title = "Unheard"};
    alerts__raise(f->alerts, &signal);
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_int_equal(fanout->count, 0); /* Nobody followed. */

    struct peer *p = follow(f);
    enum { EVENTS = 2 * FANOUTS_MAX }; /* More than have a beginning of their own. */
    char class[16];
    for (int i = 0; i < EVENTS; i++) {
        snprintf(class, sizeof class, "drift_%d", i);
        signal.class = class;
        alerts__raise(f->alerts, &signal);
    }
    assert_int_equal(fanout->count, 0);
    UNTIL(&f->wire, fanout->count > 0);
    assert_int_equal(fanout->count, EVENTS);
    snprintf(class, sizeof class, "drift_%d", EVENTS - 1); /* All of it is with the kernel. */
    UNTIL(&f->wire, peer__has(p, class));
}

/* What somebody costs who has said hello and now only listens, counted by the bytes of the heap. */
static void test_an_idle_client_costs_little_memory(void **state) {
    struct fixture *f = *state;
    enum { BEFORE = 2, CLIENT_BYTES_MAX = 4096 };
    size_t bytes = 0, ours = 0;
    for (size_t i = 0; i < PEERS_MAX; i++) {
        if (i == BEFORE) bytes = heap_bytes(); /* These have made what all share. */
        (void)follow(f);
    }
    size_t joined = heap_bytes() - bytes;
    for (size_t i = BEFORE; i < PEERS_MAX; i++)
        ours += sizeof *f->wire.peers[i] + f->wire.peers[i]->in.cap;
    assert_in_range(joined - ours, 1, (PEERS_MAX - BEFORE) * CLIENT_BYTES_MAX);
}

static void test_the_rate_of_messages_is_an_option(void **state) {
    struct fixture *f = *state;
    struct hub_options options = options_of(f);
    options.messages_per_s = 1;
    reopen(f, &options);
    struct peer *p = follow(f);
    assert_true(peer__has(p, "\"rate\":1,\"burst\":4"));
    for (int i = 0; i < 3; i++) peer__frame(&f->wire, p, FRAME_TEXT, SLICE_LIT("{\"t\":\"pos\"}"));
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_false(peer__has(p, "rate_limited"));
    peer__frame(&f->wire, p, FRAME_TEXT, SLICE_LIT("{\"t\":\"pos\"}"));
    UNTIL(&f->wire, peer__has(p, "\"rate_limited\",\"msg\":\"1 msg/s\""));
}

static void test_sse_follows_too(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(GET("/sse/alerts", "")));
    UNTIL(&f->wire, peer__has(p, "data: {\"t\":\"live\""));
    assert_header(p, "content-type", "text/event-stream");
    assert_true(peer__has(p, "retry: 1000\n\n"));
    assert_int_equal(hub__n_clients(f->hub), 1);
}

/* --- Begin and end --- */

static void test_a_port_in_use_is_named(void **state) {
    struct fixture *f = *state;
    struct hub *second = (struct hub *)f;
    struct err e = {0};
    char port[16];
    struct hub_options options = options_of(f);
    options.port = hub__port(f->hub);
    assert_int_equal(hub__open(&second, &f->wire.loop, &f->wire.clock, &f->wire.metrics, f->alerts,
                               &options, &e),
                     UV_EADDRINUSE);
    assert_null(second);
    snprintf(port, sizeof port, "%u", hub__port(f->hub));
    assert_non_null(strstr(e.msg, port));
    assert_non_null(strstr(e.msg, "127.0.0.1"));

    static const struct hub_token weak = {.name = "weak", .token = "0123456789abcde"};
    options = options_of(f);
    options.tokens = &weak;
    options.n_tokens = 1;
    assert_int_equal(hub__open(&second, &f->wire.loop, &f->wire.clock, &f->wire.metrics, f->alerts,
                               &options, &e),
                     ERR_CONFIG);
    assert_non_null(strstr(e.msg, "weak"));
    assert_null(strstr(e.msg, weak.token)); /* A secret, though a bad one. */

    struct peer *p = join(f); /* The first one serves on. */
    assert_int_equal(peer__ask(&f->wire, p, GET("/-/healthy", "")), 200);
}

static void test_close_says_bye_and_calls_back_once(void **state) {
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    uint16_t port = hub__port(f->hub);
    struct peer *p = follow(f), *idle = join(f), *sse = join(f);
    assert_int_equal(peer__ask(w, idle, GET("/-/healthy", "")), 200);
    peer__say(w, sse, SLICE_LIT(GET("/sse/alerts", "")));
    UNTIL(w, peer__has(sse, "data: {\"t\":\"live\""));
    close_hub(f);
    assert_int_equal(w->n_closed, 0); /* Never from inside. */
    UNTIL(w, peer__close_code(p) != 0);
    assert_int_equal(peer__close_code(p), 1001);
    assert_true(peer__has(p, "{\"t\":\"bye\",\"code\":\"shutdown\""));
    assert_int_equal(w->n_closed, 0);
    peer__frame(w, p, FRAME_CLOSE, SLICE_LIT("\x03\xe9"));
    UNTIL(w, w->n_closed == 1);
    UNTIL(w, p->ended && idle->ended && sse->ended);
    assert_true(peer__has(sse, "\"t\":\"bye\""));
    assert_int_not_equal(peer__new(w, port)->connect_status, 0);
    assert_int_equal(w->n_closed, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_metrics_are_text_0_0_4),
        TEST(test_health_and_readiness),
        TEST(test_status_comes_from_the_owner),
        TEST(test_refusals_say_why),
        TEST(test_the_traces_of_a_proxy_are_never_local),
        TEST(test_our_own_and_allowed_origins_pass),
        TEST(test_tokens_say_who_may_what),
        TEST(test_without_a_token_nobody_may_ask_unless_it_is_said),
        TEST(test_metrics_can_be_guarded),
        TEST(test_tickets_end_nobodys_session),
        TEST(test_another_token_is_another_session),
        TEST(test_what_was_given_for_a_token_ends_with_it),
        TEST(test_assets_come_as_the_client_can_take_them),
        TEST(test_hello_is_answered_with_welcome),
        TEST(test_the_fan_out_ends_with_the_last_write),
        TEST(test_an_idle_client_costs_little_memory),
        TEST(test_the_rate_of_messages_is_an_option),
        TEST(test_sse_follows_too),
        TEST(test_a_port_in_use_is_named),
        TEST(test_close_says_bye_and_calls_back_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
