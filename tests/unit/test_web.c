/* The web layer over real sockets: what its face promises and the hub's own test does not show. */
#include "frame.h"
#include "souk/web.h"
#include "test_wire_fixture.h"
#include <sys/resource.h>

#define GET_WITH(more) "GET /exact HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define POST(path, more) "POST " path " HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"

struct fixture {
    struct wire wire;
    struct web *web;
    char query[16];
    int query_len, n_gone;
    size_t body_bytes;
    struct web_request *waiting; /* Deferred. */
    struct web_stream *stream;
    struct web_socket *socket;
    bool echoes; /* What it hears. */
    int n_drained, n_stream_closed, n_opened, n_socket_closed, socket_code;
    struct buf heard;
};

/* --- What the routes do --- */

static void say(struct web_request *r, const char *text) {
    web_request__respond(r, 200, "text/plain", slice__str(text), false);
}
static void get_exact(void *data, struct web_request *r) {
    (void)data;
    say(r, "exact");
}
static void get_prefix(void *data, struct web_request *r) {
    (void)data;
    web_request__respond(r, 200, "text/plain", web_request__path(r), false);
}
static void get_late_route(void *data, struct web_request *r) {
    (void)data;
    say(r, "never: an earlier route wins");
}
static void get_query(void *data, struct web_request *r) {
    struct fixture *f = data;
    f->query_len = web_request__query(r, "q", f->query, sizeof f->query);
    say(r, f->query_len < 0 ? "none" : f->query);
}
static void get_peer(void *data, struct web_request *r) {
    (void)data;
    struct buf out = buf__init(1024);
    buf__printf(&out, "%.*s %.*s %d [%.*s]", SLICE_FMT(web_request__method(r)),
                SLICE_FMT(web_request__host(r)), web_request__is_loopback(r),
                SLICE_FMT(web_request__header(r, "x-thing")));
    web_request__set_header(r, "x-answer", SLICE_LIT("yes"));
    web_request__respond(r, 200, "text/plain", buf__slice(&out), false);
    buf__fini(&out);
}
static void post_body(void *data, struct web_request *r) {
    struct fixture *f = data;
    f->body_bytes = web_request__body(r).len;
    say(r, "taken");
}
static void on_gone(void *data) {
    struct fixture *f = data;
    f->n_gone++;
    f->waiting = NULL;
}
static void get_later(void *data, struct web_request *r) {
    struct fixture *f = data;
    f->waiting = r;
    web_request__defer(r, on_gone, f);
}

static void on_stream_drain(void *data) { ((struct fixture *)data)->n_drained++; }
static void on_stream_closed(void *data) {
    struct fixture *f = data;
    f->n_stream_closed++;
    f->stream = NULL;
}
static void get_stream(void *data, struct web_request *r) {
    static const struct web_stream_events events = {on_stream_drain, on_stream_closed};
    struct fixture *f = data;
    f->stream = web_request__stream(r, "text/event-stream", &events, f);
    assert_non_null(f->stream);
}

static void on_open(void *data, struct web_socket *s) {
    struct fixture *f = data;
    f->n_opened++;
    f->socket = s;
}
static void on_text(void *data, struct slice text) {
    struct fixture *f = data;
    buf__append_slice(&f->heard, text);
    buf__append_str(&f->heard, ";");
    struct frame *echo = f->echoes ? frame__new(FRAME_TEXT, text) : NULL;
    if (echo != NULL) assert_true(web_socket__send(f->socket, echo));
    frame__unref(echo);
}
static void on_drain(void *data) { ((struct fixture *)data)->n_drained++; }
static void on_closed(void *data, int code) {
    struct fixture *f = data;
    f->n_socket_closed++;
    f->socket_code = code;
    f->socket = NULL;
}
static void get_socket(void *data, struct web_request *r) {
    static const struct web_socket_events events = {on_open, on_text, on_drain, on_closed};
    web_request__upgrade(r, "alerts.v1", &events, data);
}

/* --- The fixture --- */

static void open_web(struct fixture *f, struct web_options o) {
    static const char *const hosts[] = {"souk.example"};
    struct err e = {0};
    o.host = "127.0.0.1";
    o.hosts = hosts;
    o.n_hosts = 1;
    if (o.clients_max == 0) o.clients_max = 100;
    if (o.clients_per_ip_max == 0) o.clients_per_ip_max = 100;
    if (o.handshakes_per_s <= 0) o.handshakes_per_s = 100;
    if (web__open(&f->web, &f->wire.loop, &f->wire.clock, &f->wire.metrics, &o, &e) != 0)
        fail_msg("%s", e.msg);
    web__route(f->web, "GET", "/exact", get_exact, f);
    web__route(f->web, "GET", "/tree/*", get_prefix, f);
    web__route(f->web, "GET", "/tree/leaf", get_late_route, f);
    web__route(f->web, "GET", "/query", get_query, f);
    web__route(f->web, "GET", "/peer", get_peer, f);
    web__route(f->web, "POST", "/body", post_body, f);
    web__route(f->web, "GET", "/later", get_later, f);
    web__route(f->web, "GET", "/stream", get_stream, f);
    web__route(f->web, "GET", "/socket", get_socket, f);
}
static void close_web(struct fixture *f) {
    f->wire.n_closed = 0;
    web__close(f->web, on_server_closed, &f->wire);
    f->web = NULL;
}
static void reopen(struct fixture *f, struct web_options o) {
    close_web(f);
    UNTIL(&f->wire, f->wire.n_closed == 1);
    open_web(f, o);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    wire__init(&f->wire);
    f->heard = buf__init(1 << 20);
    open_web(f, (struct web_options){0});
    *state = f;
    return 0;
}
static int teardown(void **state) {
    struct fixture *f = *state;
    while (f->wire.n_peers > 0) peer__close(&f->wire, f->wire.peers[0]);
    if (f->web != NULL) close_web(f);
    f->wire.clock.mono_ns += 10 * NS_PER_S; /* Past every grace. */
    UNTIL(&f->wire, f->wire.n_closed == 1);
    wire__fini(&f->wire);
    buf__fini(&f->heard);
    free(f);
    return 0;
}
static struct peer *join(struct fixture *f) {
    struct peer *p = peer__new(&f->wire, web__port(f->web));
    assert_int_equal(p->connect_status, 0);
    return p;
}

/* --- Requests --- */

static void test_routes_are_found_by_method_and_full_path(void **state) {
    static const struct {
        const char *request;
        int status;
        const char *body; /* Or the code of the error. */
    } rows[] = {{GET("/exact"), 200, "exact"},
                {GET("/exact?x=/tree/leaf"), 200, "exact"},
                {GET("/exact/"), 404, "not_found"},
                {GET("/exac"), 404, "not_found"},
                {GET("/exactly"), 404, "not_found"},
                {GET("/EXACT"), 404, "not_found"},
                {GET("/tree/../exact"), 200, "/tree/../exact"},
                {GET("/x/../exact"), 404, "not_found"},
                {GET("/%65xact"), 404, "not_found"},
                {GET("//exact"), 404, "not_found"},
                {GET("/tree"), 404, "not_found"},
                {GET("/tree/"), 200, "/tree/"},
                {GET("/tree/leaf?q=1"), 200, "/tree/leaf"},
                {GET("/body"), 405, "method_not_allowed"},
                {POST("/exact", ""), 405, "method_not_allowed"},
                {"DELETE /exact HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed"}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        int status = peer__ask(&f->wire, p, rows[i].request);
        if (status != rows[i].status) fail_msg("%d answers %s", status, rows[i].request);
        if (status == 200) assert_body(p, rows[i].body);
        else assert_error(p, rows[i].body);
        if (status == 405)
            assert_header(p, "allow",
                          slice__starts(slice__str(rows[i].request), SLICE_LIT("GET"))
                              ? "POST"
                              : "GET, HEAD");
        peer__close(&f->wire, p);
    }
}

static void test_head_is_get_without_a_body(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, "HEAD /exact HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                     200);
    assert_header(p, "content-length", "5");
    assert_body(p, "");
    assert_int_equal(peer__ask(&f->wire, p, GET("/exact")), 200); /* Nothing is left over. */
    assert_body(p, "exact");
}

static void test_answers_carry_the_headers_that_protect(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    static const char *const requests[] = {GET("/exact"), GET("/nowhere")};
    for (size_t i = 0; i < 2; i++) {
        peer__ask(&f->wire, p, requests[i]);
        assert_header(p, "x-content-type-options", "nosniff");
        assert_header(p, "referrer-policy", "no-referrer");
        assert_true(peer__has(p, "frame-ancestors 'none'"));
    }
}

static void test_queries_are_decoded_and_bounded(void **state) {
    static const struct {
        const char *request, *value; /* NULL: there is none. */
    } rows[] = {{GET("/query?q=a%20b+c%2F"), "a b c/"},
                {GET("/query?p=1&q=2&q=3"), "2"},
                {GET("/query?q="), ""},
                {GET("/query?q=123456789012345"), "123456789012345"},
                {GET("/query?q=1234567890123456"), NULL},
                {GET("/query?q=a%00b"), NULL},
                {GET("/query?q=%zz"), NULL},
                {GET("/query?qq=1"), NULL},
                {GET("/query?q"), NULL},
                {GET("/query"), NULL}};
    struct fixture *f = *state;
    struct peer *p = join(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(peer__ask(&f->wire, p, rows[i].request), 200);
        assert_int_equal(f->query_len, rows[i].value == NULL ? -1 : (int)strlen(rows[i].value));
        if (rows[i].value != NULL) assert_string_equal(f->query, rows[i].value);
    }
}

static void test_requests_show_what_was_sent(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    assert_int_equal(
        peer__ask(&f->wire, p,
                  "GET /peer HTTP/1.1\r\nHost: souk.example:8080\r\nX-Thing:  a b \t\r\n\r\n"),
        200);
    assert_header(p, "x-answer", "yes");
    assert_body(p, "GET souk.example:8080 1 [a b]");
}

static void test_only_known_hosts_are_served(void **state) {
    static const struct {
        const char *request;
        int status;
    } rows[] = {{"GET /exact HTTP/1.1\r\nHost: SOUK.example\r\n\r\n", 200},
                {"GET /exact HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n", 200},
                {"GET /exact HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", 200},
                {"GET /exact HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 421},
                {"GET /exact HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", 421},
                {"GET /exact HTTP/1.1\r\nHost: souk.example@evil.example\r\n\r\n", 421},
                {"GET /exact HTTP/1.1\r\nHost: xsouk.example\r\n\r\n", 421},
                {"GET /exact HTTP/1.0\r\n\r\n", 421}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        int status = peer__ask(&f->wire, p, rows[i].request);
        if (status != rows[i].status) fail_msg("%d answers %s", status, rows[i].request);
        peer__close(&f->wire, p);
    }
}

/* Whoever looks at requests before us may look at the other of two lines. */
static void test_a_header_that_decides_comes_once(void **state) {
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"GET /exact HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n", 400},
        {"GET /exact HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
        {"GET /exact HTTP/1.1\r\nHost: localhost\r\nX: y\r\nhOST:localhost\r\n\r\n", 400},
        {"GET /exact HTTP/1.1\nHost: localhost\nHost: localhost\n\n", 400},
        {"\r\nGET /exact HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
        {"GET /exact HTTP/1.1\r\nHost: localhost\r\nHost:\r\n\r\n", 400},
        {"GET /exact HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
        {GET_WITH("Origin: http://localhost\r\nOrigin: http://evil.example\r\n"), 400},
        {GET_WITH("Authorization: Bearer a\r\nauthorization: Bearer b\r\n"), 400},
        {GET_WITH("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n"), 400},
        {POST("/body", "Host: evil.example\r\nContent-Length: 2\r\n") "ab", 400},
        {POST("/body", "Content-Length: 2\r\nContent-Length: 2\r\n") "ab", 400},
        {POST("/body", "Host: localhost\r\nTransfer-Encoding: chunked\r\n") "2\r\nab\r\n0\r\n\r\n", 400},
        {POST("/body", "Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 2\r\n") "ab", 400},
        /* What is no such header, or no header. */
        {GET_WITH("Accept: a\r\nAccept: b\r\nX-Host: a\r\nHosts: b\r\n"), 200},
        {POST("/body", "Content-Length: 45\r\n") "Host: a\r\nHost: b\r\nHost: c\r\nHost: dddddddd\r\n\r\n", 200}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        int status = peer__ask(&f->wire, p, rows[i].request);
        if (status != rows[i].status) fail_msg("%d answers %s", status, rows[i].request);
        peer__close(&f->wire, p);
    }
    /* Requests behind one another are looked at one by one, and none follows one that is refused. */
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(GET("/exact") GET("/exact")));
    UNTIL(&f->wire, peer__count(p, "HTTP/1.1 200") == 2);
    peer__say(&f->wire, p, SLICE_LIT(GET("/exact") GET_WITH("Host: localhost\r\n") GET("/tree/hidden")));
    UNTIL(&f->wire, p->ended);
    assert_int_equal(peer__count(p, "HTTP/1.1 200"), 3);
    assert_int_equal(peer__count(p, "HTTP/1.1 400"), 1);
}

/* A body that comes piece by piece moves the buffer that its head is in. */
static void test_a_head_is_looked_at_wherever_its_body_comes_from(void **state) {
    struct fixture *f = *state;
    struct buf body = buf__init(16 << 10);
    for (int i = 0; i < 15000; i++) buf__append_str(&body, "z");
    for (int twice = 0; twice < 2; twice++) {
        struct peer *p = join(f);
        peer__say(&f->wire, p,
                  twice ? SLICE_LIT(POST("/body", "Host: localhost\r\nContent-Length: 15000\r\n"))
                        : SLICE_LIT(POST("/body", "Content-Length: 15000\r\n")));
        for (size_t at = 0; at < body.len; at += 1000) {
            peer__say(&f->wire, p, slice__of(body.base + at, 1000));
            for (int i = 0; i < 3; i++) turn(&f->wire);
        }
        UNTIL(&f->wire, peer__body_at(p) > 0);
        assert_int_equal(peer__count(p, twice ? "HTTP/1.1 400" : "HTTP/1.1 200"), 1);
        peer__close(&f->wire, p);
    }
    buf__fini(&body);
}

/* --- Bodies --- */

static void test_bodies_end_at_their_limit(void **state) {
    static const struct {
        size_t announced, sent;
        int status;
    } rows[] = {{1, 1, 200},
                {WEB_BODY_MAX, WEB_BODY_MAX, 200},
                {WEB_BODY_MAX + 1, WEB_BODY_MAX + 1, 413},
                {(size_t)1 << 30, 0, 413}}; /* Refused before it comes. */
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        struct buf request = buf__init(64 << 10);
        f->body_bytes = 0;
        buf__printf(&request,
                    "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                    rows[i].announced);
        for (size_t k = 0; k < rows[i].sent; k++) buf__append_str(&request, "x");
        buf__u8(&request, 0);
        assert_int_equal(peer__ask(&f->wire, p, request.base), rows[i].status);
        assert_int_equal(f->body_bytes, rows[i].status == 200 ? rows[i].sent : 0);
        UNTIL(&f->wire, p->ended);
        buf__fini(&request);
        peer__close(&f->wire, p);
    }
}

static void test_pipelined_requests_are_answered_in_order(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(GET("/tree/1") GET("/tree/2") GET("/tree/3")));
    UNTIL(&f->wire, peer__has(p, "\r\n\r\n/tree/3"));
    assert_int_equal(peer__count(p, "HTTP/1.1 200 OK\r\n"), 3);
    assert_true(peer__has(p, "/tree/1HTTP/1.1"));
    assert_false(p->ended);
}

static void test_nothing_is_smuggled_behind_a_body(void **state) {
#define HIDDEN GET("/tree/hidden")
    static const char *const requests[] = {
        POST("/body", "Content-Length: 2\r\n") "ab" HIDDEN,
        POST("/body", "Transfer-Encoding: chunked\r\n") "2\r\nab\r\n0\r\n\r\n" HIDDEN,
        /* Lengths that contradict each other: whichever is believed, nothing follows. */
        POST("/body", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n" HIDDEN,
        POST("/body", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") "0\r\n\r\n" HIDDEN,
        POST("/body", "Content-Length: 1\r\nContent-Length: 2\r\n") "ab" HIDDEN,
        /* A body where none is expected, on any answer. */
        "GET /exact HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab" HIDDEN,
        POST("/nowhere", "Content-Length: 2\r\n") "ab" HIDDEN,
        "POST /body HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\nab" HIDDEN};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct peer *p = join(f);
        peer__say(&f->wire, p, slice__str(requests[i]));
        UNTIL(&f->wire, p->ended);
        if (peer__count(p, "HTTP/1.1 ") != 1 || peer__has(p, "/tree/hidden"))
            fail_msg("%.*s answers %s", SLICE_FMT(buf__slice(&p->in)), requests[i]);
        peer__close(&f->wire, p);
    }
}

/* --- Later answers, caps, the end --- */

static void test_an_answer_may_come_later(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(GET("/later") GET("/exact")));
    UNTIL(&f->wire, f->waiting != NULL);
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_int_equal(p->in.len, 0);
    say(f->waiting, "late");
    UNTIL(&f->wire, peer__has(p, "exact"));
    assert_true(peer__has(p, "\r\n\r\nlateHTTP/1.1 200 OK")); /* The next one waited. */
    assert_int_equal(f->n_gone, 0);
}

static void test_an_answer_may_come_while_it_closes(void **state) {
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    struct peer *p = join(f);
    peer__say(w, p, SLICE_LIT(GET("/later") GET("/exact")));
    UNTIL(w, f->waiting != NULL);
    close_web(f);
    say(f->waiting, "late");
    UNTIL(w, w->n_closed == 1);
    UNTIL(w, p->ended);
    assert_true(peer__has(p, "\r\n\r\nlateHTTP/1.1 503 ")); /* The one behind it is too late. */
    assert_true(peer__has(p, "the server is shutting down"));
    assert_int_equal(f->n_gone, 0);
}

static void test_who_leaves_while_waiting_is_noticed(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(GET("/later")));
    UNTIL(&f->wire, f->waiting != NULL);
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_int_equal(f->n_gone, 0);
    peer__close(&f->wire, p);
    UNTIL(&f->wire, f->n_gone == 1); /* Nothing was written, and 30 s have not passed. */
}

static void test_few_requests_may_be_pipelined(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    struct buf all = buf__init(64 << 10);
    for (int i = 0; i < 60; i++) buf__append_str(&all, GET("/exact"));
    peer__say(&f->wire, p, buf__slice(&all));
    UNTIL(&f->wire, p->ended);
    assert_int_equal(peer__count(p, "HTTP/1.1 200 OK\r\n"), 9); /* One, and 8 behind it. */
    assert_true(peer__has(p, "connection: close\r\n") || peer__has(p, "Connection: close\r\n"));
    buf__fini(&all);
    for (int i = 0; i < 60; i++) { /* Who waits for each answer may ask on. */
        if (i % 20 == 0) p = join(f);
        assert_int_equal(peer__ask(&f->wire, p, GET("/exact")), 200);
    }
}

static void test_a_head_ends_at_its_limit(void **state) {
    static const struct {
        size_t bytes;
        bool ended; /* By the blank line. */
        int status;
    } rows[] = {{15 << 10, true, 200}, {17 << 10, false, 431}, {300 << 10, false, 431}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        struct buf request = buf__init(512 << 10);
        buf__append_str(&request, "GET /exact HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
        for (size_t k = 0; k < rows[i].bytes; k++) buf__u8(&request, 'x');
        if (rows[i].ended) buf__append_str(&request, "\r\n\r\n");
        buf__u8(&request, 0);
        assert_int_equal(peer__ask(&f->wire, p, request.base), rows[i].status);
        if (rows[i].status == 431) assert_error(p, "too_large");
        if (rows[i].status == 431) UNTIL(&f->wire, p->ended);
        buf__fini(&request);
        peer__close(&f->wire, p);
    }
}

static void test_an_answer_that_never_comes_is_given_up(void **state) {
    struct fixture *f = *state;
    struct wire *w = &f->wire;
    struct peer *p = join(f);
    peer__say(w, p, SLICE_LIT(GET("/later")));
    UNTIL(w, f->waiting != NULL);
    w->clock.mono_ns += 31 * NS_PER_S;
    UNTIL(w, p->ended);
    assert_true(peer__has(p, "HTTP/1.1 503 "));
    assert_int_equal(f->n_gone, 1);
    p = join(f);
    peer__say(w, p, SLICE_LIT(GET("/later")));
    UNTIL(w, f->waiting != NULL);
    close_web(f); /* Nor does it keep the server. */
    w->clock.mono_ns += 6 * NS_PER_S;
    UNTIL(w, w->n_closed == 1);
    assert_int_equal(f->n_gone, 2);
}

static void test_connections_over_a_cap_are_told_so(void **state) {
    static const struct web_options caps[] = {{.clients_per_ip_max = 2}, {.clients_max = 2}};
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        reopen(f, caps[i]);
        struct peer *first = join(f), *second = join(f), *third = join(f);
        assert_int_equal(peer__ask(&f->wire, third, GET("/exact")), 503);
        assert_error(third, "unavailable");
        assert_header(third, "retry-after", "5");
        UNTIL(&f->wire, third->ended);
        assert_int_equal(peer__ask(&f->wire, first, GET("/exact")), 200);
        assert_int_equal(peer__ask(&f->wire, second, GET("/exact")), 200);
        assert_int_equal(peer__ask(&f->wire, join(f), GET("/exact")), 503);
        peer__close(&f->wire, second); /* Its place is free again, once the server has seen it. */
        for (int k = 0; k < 3; k++) turn(&f->wire);
        assert_int_equal(peer__ask(&f->wire, join(f), GET("/exact")), 200);
        while (f->wire.n_peers > 0) peer__close(&f->wire, f->wire.peers[0]);
    }
}

/* Nobody came, so nobody was refused: a look at what is left counts nothing. */
static void test_only_who_comes_is_refused(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    struct rlimit before, few;
    assert_int_equal(peer__ask(&f->wire, p, GET("/exact")), 200);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 4;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < 3000 && !web__is_short_of_descriptors(f->web); i++) turn(&f->wire);
    bool is_short = web__is_short_of_descriptors(f->web);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(is_short);
    struct buf text = buf__init(1 << 20);
    metrics__expose(&f->wire.metrics, &text);
    buf__u8(&text, 0);
    assert_non_null(strstr(text.base, "souk_hub_refused_total{reason=\"descriptors\"} 0\n"));
    buf__fini(&text);
}

static void test_stop_listening_refuses_the_next(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, GET("/exact")), 200);
    web__stop_listening(f->web);
    web__stop_listening(f->web); /* Idempotent. */
    assert_int_equal(peer__new(&f->wire, web__port(f->web))->connect_status, UV_ECONNREFUSED);
}

static void test_a_host_must_be_an_address(void **state) {
    struct fixture *f = *state;
    struct web *other = (struct web *)f;
    struct web_options o = {.host = "somewhere", .clients_max = 1, .clients_per_ip_max = 1};
    struct err e = {0};
    assert_int_equal(web__open(&other, &f->wire.loop, &f->wire.clock, &f->wire.metrics, &o, &e),
                     ERR_CONFIG);
    assert_null(other);
    assert_non_null(strstr(e.msg, "somewhere"));
}

/* --- Streams --- */

static struct peer *stream(struct fixture *f) {
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(GET("/stream")));
    UNTIL(&f->wire, f->stream != NULL);
    return p;
}

static void test_a_stream_lasts_until_it_is_ended(void **state) {
    struct fixture *f = *state;
    struct peer *p = stream(f);
    assert_true(web_stream__write(f->stream, SLICE_LIT("data: 1\n\n")));
    UNTIL(&f->wire, peer__has(p, "data: 1\n\n"));
    assert_header(p, "content-type", "text/event-stream");
    assert_header(p, "cache-control", "no-store");
    UNTIL(&f->wire, f->n_drained > 0);
    assert_int_equal(web_stream__queued_bytes(f->stream), 0);
    assert_true(web_stream__write(f->stream, SLICE_LIT("data: 2\n\n")));
    struct web_stream *s = f->stream;
    web_stream__end(s);
    assert_false(web_stream__write(s, SLICE_LIT("data: 3\n\n")));
    UNTIL(&f->wire, p->ended);
    UNTIL(&f->wire, f->n_stream_closed == 1);
    assert_true(peer__has(p, "data: 2\n\n"));
    assert_false(peer__has(p, "data: 3"));
}

/* A stream has no list to wait in: the loop need not turn for what is written to it. */
static void test_a_stream_writes_at_once(void **state) {
    struct fixture *f = *state;
    struct peer *p = join(f);
    uv_os_fd_t fd;
    peer__say(&f->wire, p, SLICE_LIT(GET("/stream")));
    UNTIL(&f->wire, f->stream != NULL);
    assert_true(web_stream__write(f->stream, SLICE_LIT("data: 1\n\n")));
    UNTIL(&f->wire, peer__has(p, "data: 1\n\n"));
    for (int i = 0; uv_backend_timeout(&f->wire.loop) == 0; i++) { /* The last write is told of. */
        assert_true(i < TURNS_MAX);
        turn_as_souk(&f->wire);
    }
    assert_true(web_stream__write(f->stream, SLICE_LIT("data: 2\n\n")));
    assert_int_equal(uv_fileno((uv_handle_t *)&p->tcp, &fd), 0);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000), 1);
    UNTIL(&f->wire, peer__has(p, "data: 2\n\n"));
}

static void test_a_stream_queues_no_more_than_its_bound(void **state) {
    struct fixture *f = *state;
    struct peer *p = stream(f);
    static char bytes[WEB_QUEUE_BYTES_MAX];
    memset(bytes, 'x', sizeof bytes);
    assert_true(web_stream__write(f->stream, SLICE_LIT("first"))); /* Is on its way. */
    assert_true(web_stream__write(f->stream, slice__of(bytes, sizeof bytes - 4)));
    assert_int_equal(web_stream__queued_bytes(f->stream), sizeof bytes - 4);
    assert_false(web_stream__write(f->stream, SLICE_LIT("12345")));
    assert_true(web_stream__write(f->stream, SLICE_LIT("tail")));
    UNTIL(&f->wire, peer__has(p, "xtail"));
    assert_int_equal(peer__count(p, "x") >= sizeof bytes - 4, true);
    UNTIL(&f->wire, web_stream__queued_bytes(f->stream) == 0);
    assert_true(web_stream__write(f->stream, SLICE_LIT("12345")));
}

static void test_a_stream_whose_peer_left_ends_with_a_write(void **state) {
    struct fixture *f = *state;
    peer__close(&f->wire, stream(f));
    for (int i = 0; f->n_stream_closed == 0; i++) {
        assert_true(i < TURNS_MAX);
        web_stream__write(f->stream, SLICE_LIT(": hb\n\n"));
        turn(&f->wire);
    }
    assert_int_equal(f->n_stream_closed, 1);
}

static void test_close_ends_streams(void **state) {
    struct fixture *f = *state;
    struct peer *p = stream(f);
    web_stream__write(f->stream, SLICE_LIT("data: 1\n\n"));
    close_web(f);
    UNTIL(&f->wire, f->wire.n_closed == 1);
    assert_int_equal(f->n_stream_closed, 1);
    UNTIL(&f->wire, p->ended);
    assert_true(peer__has(p, "data: 1\n\n"));
}

/* --- WebSockets --- */

static struct peer *upgrade(struct fixture *f) {
    struct peer *p = join(f);
    peer__say(&f->wire, p, SLICE_LIT(WS_UPGRADE("/socket", "13", "")));
    UNTIL(&f->wire, f->socket != NULL && peer__body_at(p) > 0);
    assert_header(p, "sec-websocket-accept", WS_ACCEPT);
    return p;
}
static void send_text(struct fixture *f, struct slice text, bool want) {
    struct frame *frame = frame__new(FRAME_TEXT, text);
    assert_int_equal(web_socket__send(f->socket, frame), want);
    frame__unref(frame);
}

static void test_a_socket_talks_both_ways_and_closes(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    struct slice got;
    peer__frame(&f->wire, p, FRAME_TEXT, SLICE_LIT("one"));
    peer__frame(&f->wire, p, FRAME_PING, SLICE_LIT("?"));
    UNTIL(&f->wire, peer__find(p, FRAME_PONG, &got));
    assert_true(slice__eq(got, SLICE_LIT("?")));
    assert_true(slice__eq(buf__slice(&f->heard), SLICE_LIT("one;")));
    send_text(f, SLICE_LIT("two"), true);
    UNTIL(&f->wire, peer__find(p, FRAME_TEXT, &got));
    assert_true(slice__eq(got, SLICE_LIT("two")));
    peer__frame(&f->wire, p, FRAME_CLOSE, SLICE_LIT("\x03\xe8"));
    UNTIL(&f->wire, f->n_socket_closed == 1);
    assert_int_equal(f->socket_code, 1000);
    UNTIL(&f->wire, p->ended);
    assert_int_equal(peer__close_code(p), 1000);
    assert_int_equal(f->n_opened, 1);
}

/* The answer to a message is out when the turn that heard the message ends, and no turn that leaves
 * something unsent lets the loop sleep. Judged by turns: how long a sleep is does not matter. */
static void test_what_is_queued_does_not_wait_for_the_next_wake_up(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    f->echoes = true;
    peer__frame(&f->wire, p, FRAME_TEXT, SLICE_LIT("one"));
    for (int i = 0; f->heard.len == 0; i++) {
        assert_true(i < TURNS_MAX);
        turn_as_souk(&f->wire);
    }
    assert_int_equal(web_socket__queued_bytes(f->socket), 0);
    UNTIL(&f->wire, peer__has(p, "one"));

    for (int i = 0; uv_backend_timeout(&f->wire.loop) == 0; i++) { /* Nothing else is due. */
        assert_true(i < TURNS_MAX);
        turn_as_souk(&f->wire);
    }
    send_text(f, SLICE_LIT("two"), true); /* In between two turns. */
    assert_int_equal(uv_backend_timeout(&f->wire.loop), 0);
    turn_as_souk(&f->wire);
    assert_int_equal(web_socket__queued_bytes(f->socket), 0);
    UNTIL(&f->wire, peer__has(p, "two"));
}

static void test_handshakes_that_fail_are_told_and_closed(void **state) {
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {WS_UPGRADE("/socket", "12", ""), 426},
        {"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n\r\n",
         400},
        {"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"
         "Sec-WebSocket-Protocol: alerts.v1\r\n\r\n",
         400},
        {"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: other\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n"
         "Sec-WebSocket-Protocol: alerts.v1\r\n\r\n",
         400}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer *p = join(f);
        f->socket_code = -1;
        assert_int_equal(peer__ask(&f->wire, p, rows[i].request), rows[i].status);
        assert_int_equal(f->n_socket_closed, i + 1);
        assert_int_equal(f->socket_code, 0);
        peer__close(&f->wire, p);
    }
    assert_int_equal(f->n_opened, 0);
}

static void test_handshakes_of_an_address_are_paced(void **state) {
    struct fixture *f = *state;
    reopen(f, (struct web_options){.handshakes_per_s = 1});
    upgrade(f);
    struct peer *p = join(f);
    assert_int_equal(peer__ask(&f->wire, p, WS_UPGRADE("/socket", "13", "")), 503);
    assert_header(p, "retry-after", "1");
    assert_int_equal(f->socket_code, 0);
    f->wire.clock.mono_ns += NS_PER_S;
    f->socket = NULL;
    upgrade(f);
    assert_int_equal(f->n_opened, 2);
}

static void test_messages_end_at_their_limit(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    static char text[WEB_MESSAGE_MAX + 1];
    memset(text, 'x', sizeof text);
    peer__frame(&f->wire, p, FRAME_TEXT, slice__of(text, WEB_MESSAGE_MAX));
    UNTIL(&f->wire, f->heard.len == WEB_MESSAGE_MAX + 1);
    peer__frame(&f->wire, p, FRAME_TEXT, slice__of(text, WEB_MESSAGE_MAX + 1));
    UNTIL(&f->wire, peer__close_code(p) != 0);
    assert_int_equal(peer__close_code(p), 1009);
    assert_int_equal(f->heard.len, WEB_MESSAGE_MAX + 1);
}

static void test_a_queue_takes_so_many_frames(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    size_t bytes = heap_bytes() - p->in.cap;
    for (int i = 0; i < WEB_FRAMES_MAX; i++) send_text(f, SLICE_LIT("frame"), true);
    assert_false(web_socket__has_room(f->socket, 1));
    send_text(f, SLICE_LIT("over"), false);
    UNTIL(&f->wire, peer__count(p, "frame") == WEB_FRAMES_MAX);
    assert_false(peer__has(p, "over"));
    UNTIL(&f->wire, web_socket__queued_bytes(f->socket) == 0);
    assert_in_range(heap_bytes() - p->in.cap, 1, bytes); /* An empty queue holds no memory. */
    static char large[WEB_QUEUE_BYTES_MAX];
    memset(large, 'x', sizeof large);
    send_text(f, slice__of(large, sizeof large), true); /* An empty queue takes any. */
    send_text(f, SLICE_LIT("over"), false);
}

static void test_a_peer_that_does_not_read_is_stuck_then_cut(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    static char large[WEB_QUEUE_BYTES_MAX];
    memset(large, 'x', sizeof large);
    uv_read_stop((uv_stream_t *)&p->tcp);
    for (int i = 0; !web_socket__is_stuck(f->socket); i++) {
        assert_true(i < TURNS_MAX);
        if (web_socket__has_room(f->socket, sizeof large))
            send_text(f, slice__of(large, sizeof large), true);
        turn(&f->wire);
    }
    web_socket__close(f->socket, 4008, "slow consumer");
    web_socket__close(f->socket, 1000, ""); /* Idempotent. */
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_int_equal(f->n_socket_closed, 0); /* It may still read on. */
    f->wire.clock.mono_ns += 3 * NS_PER_S;
    UNTIL(&f->wire, f->n_socket_closed == 1);
    assert_int_equal(f->socket_code, 4008);
}

/* What streams hold counts like what sockets hold, and the one with most goes. */
static void test_a_stream_is_shed_before_a_healthy_socket(void **state) {
    struct fixture *f = *state;
    static char large[128 << 10];
    memset(large, 'x', sizeof large);
    reopen(f, (struct web_options){.queued_bytes_max = 200 << 10});
    struct peer *socket = upgrade(f), *stream = join(f);
    peer__say(&f->wire, stream, SLICE_LIT(GET("/stream")));
    UNTIL(&f->wire, f->stream != NULL);
    uv_read_stop((uv_stream_t *)&stream->tcp);
    size_t n_said = 0;
    for (int i = 0; f->stream != NULL; i++) {
        assert_true(i < TURNS_MAX);
        (void)web_stream__write(f->stream, slice__of(large, sizeof large));
        if (i % 8 == 0) send_text(f, SLICE_LIT("alive"), true), n_said++;
        turn(&f->wire);
    }
    assert_int_equal(f->n_stream_closed, 1);
    UNTIL(&f->wire, peer__count(socket, "alive") == n_said);
    assert_int_equal(f->n_socket_closed, 0);
    send_text(f, SLICE_LIT("still here"), true);
    UNTIL(&f->wire, peer__has(socket, "still here"));
}

static void test_silence_is_pinged_then_cut(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    struct slice got;
    assert_false(peer__find(p, FRAME_PING, &got));
    f->wire.clock.mono_ns += 21 * NS_PER_S;
    UNTIL(&f->wire, peer__find(p, FRAME_PING, &got));
    peer__frame(&f->wire, p, FRAME_PONG, got);
    for (int i = 0; i < 3; i++) turn(&f->wire); /* It is heard. */
    f->wire.clock.mono_ns += 40 * NS_PER_S;
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_int_equal(f->n_socket_closed, 0);
    f->wire.clock.mono_ns += 10 * NS_PER_S;
    UNTIL(&f->wire, f->n_socket_closed == 1);
    assert_int_equal(f->socket_code, 1006);
    UNTIL(&f->wire, p->ended);
}

static void test_close_waits_two_seconds_for_a_silent_socket(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    close_web(f);
    UNTIL(&f->wire, peer__close_code(p) == 1001);
    for (int i = 0; i < 3; i++) turn(&f->wire);
    assert_int_equal(f->wire.n_closed, 0);
    f->wire.clock.mono_ns += 3 * NS_PER_S;
    UNTIL(&f->wire, f->wire.n_closed == 1);
    assert_int_equal(f->n_socket_closed, 1);
    assert_int_equal(f->socket_code, 1001);
}

/* A socket whose write was under way is freed a turn behind its connection. The sweep that ends the
 * server is due in every turn here. */
static void test_close_waits_for_a_socket_that_outlives_its_connection(void **state) {
    struct fixture *f = *state;
    struct peer *p = upgrade(f);
    static char large[WEB_QUEUE_BYTES_MAX];
    memset(large, 'x', sizeof large);
    uv_read_stop((uv_stream_t *)&p->tcp);
    for (int i = 0; !web_socket__is_stuck(f->socket); i++) {
        assert_true(i < TURNS_MAX);
        if (web_socket__has_room(f->socket, sizeof large))
            send_text(f, slice__of(large, sizeof large), true);
        turn(&f->wire);
    }
    close_web(f);
    f->wire.clock.mono_ns += 3 * NS_PER_S;
    for (int i = 0; f->wire.n_closed == 0; i++) {
        assert_true(i < TURNS_MAX);
        uv_sleep(60);
        turn(&f->wire);
    }
    assert_int_equal(f->n_socket_closed, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_routes_are_found_by_method_and_full_path),
        TEST(test_head_is_get_without_a_body),
        TEST(test_answers_carry_the_headers_that_protect),
        TEST(test_queries_are_decoded_and_bounded),
        TEST(test_requests_show_what_was_sent),
        TEST(test_only_known_hosts_are_served),
        TEST(test_a_header_that_decides_comes_once),
        TEST(test_a_head_is_looked_at_wherever_its_body_comes_from),
        TEST(test_bodies_end_at_their_limit),
        TEST(test_pipelined_requests_are_answered_in_order),
        TEST(test_nothing_is_smuggled_behind_a_body),
        TEST(test_an_answer_may_come_later),
        TEST(test_an_answer_may_come_while_it_closes),
        TEST(test_an_answer_that_never_comes_is_given_up),
        TEST(test_connections_over_a_cap_are_told_so),
        TEST(test_only_who_comes_is_refused),
        TEST(test_stop_listening_refuses_the_next),
        TEST(test_a_host_must_be_an_address),
        TEST(test_a_stream_lasts_until_it_is_ended),
        TEST(test_a_stream_writes_at_once),
        TEST(test_a_stream_queues_no_more_than_its_bound),
        TEST(test_a_stream_whose_peer_left_ends_with_a_write),
        TEST(test_close_ends_streams),
        TEST(test_a_socket_talks_both_ways_and_closes),
        TEST(test_what_is_queued_does_not_wait_for_the_next_wake_up),
        TEST(test_handshakes_that_fail_are_told_and_closed),
        TEST(test_handshakes_of_an_address_are_paced),
        TEST(test_messages_end_at_their_limit),
        TEST(test_a_queue_takes_so_many_frames),
        TEST(test_a_peer_that_does_not_read_is_stuck_then_cut),
        TEST(test_who_leaves_while_waiting_is_noticed),
        TEST(test_few_requests_may_be_pipelined),
        TEST(test_a_head_ends_at_its_limit),
        TEST(test_a_stream_is_shed_before_a_healthy_socket),
        TEST(test_silence_is_pinged_then_cut),
        TEST(test_close_waits_two_seconds_for_a_silent_socket),
        TEST(test_close_waits_for_a_socket_that_outlives_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
