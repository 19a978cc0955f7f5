/* The HTTP client against a scripted server on the same loop: what it answers is bytes, chosen by
 * the path, so that every broken response can be written down. */
#include "souk/http.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

enum after { KEEP, CLOSE, RESET, HANG, DRIP };

struct script {
    const char *path; /* The request line starts with "METHOD path ". */
    const char *bytes;
    enum after after;
    size_t len; /* 0: strlen. */
};

struct peer {
    uv_tcp_t tcp;
    uv_timer_t drip;
    struct fixture *f;
    struct peer *next;
    char in[16384];
    size_t n_in;
    const struct script *script;
    int n_open;
};

struct got {
    int n_done, n_headers_cb;
    int status, code, status_in_headers_cb;
    char kind[16], msg[ERR_MSG_MAX], header[256];
    char body[256];
    size_t body_len, n_headers, body_cap;
    uint64_t wire_bytes;
    bool dispatched;
    int64_t sent, first, done;
};

struct fixture {
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct http *http;
    uv_tcp_t listener;
    struct peer *peers;
    const struct script *scripts;
    size_t n_scripts;
    int port, n_accepted, n_requests, n_peers, n_peers_most;
    char last_request[16384];
    bool closed;
    uv_prepare_t turn;
    struct got got[8];
    struct http_request requests[8];
    char urls[8][128];
    int cancel_after_headers; /* Index of the request to cancel in its headers callback, or -1. */
    int restart;              /* How many times the done callback starts its request again. */
    bool close_in_done, close_in_headers;
};

static void on_peer_closed(uv_handle_t *handle) {
    struct peer *p = handle->data;
    if (--p->n_open > 0) return;
    p->f->n_peers--;
    struct peer **at = &p->f->peers;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    free(p);
}
static void close_peer(struct peer *p, bool reset) {
    if (uv_is_closing((uv_handle_t *)&p->tcp)) return;
    uv_close((uv_handle_t *)&p->drip, on_peer_closed);
    if (reset) assert_int_equal(uv_tcp_close_reset(&p->tcp, on_peer_closed), 0);
    else uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

static void on_written(uv_write_t *w, int status) {
    struct peer *p = w->data;
    free(w);
    if (status != 0) return;
    if (p->script->after == CLOSE) close_peer(p, false);
    if (p->script->after == RESET) close_peer(p, true);
}
static void send_bytes(struct peer *p, const char *bytes, size_t len) {
    uv_write_t *w = calloc(1, sizeof *w);
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    w->data = p;
    assert_int_equal(uv_write(w, (uv_stream_t *)&p->tcp, &b, 1, on_written), 0);
}
static void on_drip(uv_timer_t *t) {
    struct peer *p = t->data;
    if (!uv_is_closing((uv_handle_t *)&p->tcp)) send_bytes(p, "x", 1);
}

static void answer(struct peer *p) {
    struct fixture *f = p->f;
    char *path = strchr(p->in, ' ') + 1;
    size_t len = strcspn(path, " ?");
    memcpy(f->last_request, p->in, p->n_in + 1);
    f->n_requests++;
    p->n_in = 0;
    for (size_t i = 0; i < f->n_scripts; i++) {
        const struct script *s = &f->scripts[i];
        if (strlen(s->path) != len || memcmp(s->path, path, len) != 0) continue;
        p->script = s;
        size_t n = s->len > 0 ? s->len : strlen(s->bytes);
        if (n > 0) send_bytes(p, s->bytes, n);
        else if (s->after == CLOSE || s->after == RESET) close_peer(p, s->after == RESET);
        if (s->after == DRIP) uv_timer_start(&p->drip, on_drip, 20, 20);
        return;
    }
    fail_msg("no script for %.*s", (int)len, path);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out) {
    (void)hint;
    struct peer *p = h->data;
    *out = uv_buf_init(p->in + p->n_in, (unsigned)(sizeof p->in - 1 - p->n_in));
}
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    (void)b;
    struct peer *p = s->data;
    if (n < 0) {
        close_peer(p, false);
        return;
    }
    p->n_in += (size_t)n;
    p->in[p->n_in] = '\0';
    char *end = strstr(p->in, "\r\n\r\n");
    if (end == NULL) return;
    char *length = strcasestr(p->in, "content-length: ");
    size_t body = length == NULL ? 0 : (size_t)atol(length + 16);
    if ((size_t)(end + 4 - p->in) + body <= p->n_in) answer(p);
}
static void on_connection(uv_stream_t *listener, int status) {
    struct fixture *f = listener->data;
    assert_int_equal(status, 0);
    struct peer *p = calloc(1, sizeof *p);
    *p = (struct peer){.f = f, .next = f->peers, .tcp.data = p, .drip.data = p, .n_open = 2};
    f->peers = p;
    uv_tcp_init(&f->loop, &p->tcp);
    uv_timer_init(&f->loop, &p->drip);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
    f->n_accepted++;
    if (++f->n_peers > f->n_peers_most) f->n_peers_most = f->n_peers;
    uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

/* The clock is set by hand: a millisecond passes each turn of the loop. */
static void on_turn(uv_prepare_t *turn) {
    struct fixture *f = turn->data;
    f->clock.mono_ns += NS_PER_MS;
}

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct err e;
    struct sockaddr_in at;
    int size = sizeof at;
    *state = f;
    f->cancel_after_headers = -1;
    f->clock.mono_ns = NS_PER_S;
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    unsetenv("ALL_PROXY");
    uv_loop_init(&f->loop);
    metrics__init(&f->metrics);
    uv_prepare_init(&f->loop, &f->turn);
    f->turn.data = f;
    uv_prepare_start(&f->turn, on_turn);
    uv_unref((uv_handle_t *)&f->turn);
    uv_tcp_init(&f->loop, &f->listener);
    f->listener.data = f;
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_bind(&f->listener, (const struct sockaddr *)&at, 0);
    uv_listen((uv_stream_t *)&f->listener, 16, on_connection);
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&at, &size);
    f->port = ntohs(at.sin_port);
    struct http_options o = {.user_agent = "souk-test/1", .low_speed_s = 1};
    assert_int_equal(http__open(&f->http, &f->loop, &f->clock, &f->metrics, &o, &e), 0);
    return 0;
}

static void on_closed(void *data) { ((struct fixture *)data)->closed = true; }

static int tear_down(void **state) {
    struct fixture *f = *state;
    if (f->http != NULL) http__close(f->http, on_closed, f);
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_close((uv_handle_t *)&f->turn, NULL);
    for (struct peer *p = f->peers; p != NULL; p = p->next) close_peer(p, false);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0); /* Every handle is closed. */
    metrics__fini(&f->metrics);
    free(f);
    return 0;
}

static void close_now(struct fixture *f) {
    struct http *h = f->http;
    f->http = NULL;
    http__close(h, on_closed, f);
}

static void on_headers(struct http_request *r, const struct http_response *resp) {
    struct fixture *f = r->data;
    struct got *g = &f->got[r - f->requests];
    g->n_headers_cb++;
    g->status_in_headers_cb = resp->status;
    assert_int_equal(resp->body.len, 0);
    if (f->cancel_after_headers == r - f->requests) http__cancel(f->http, r);
    if (f->close_in_headers) close_now(f);
}

static void on_done(struct http_request *r, struct http_response *resp) {
    struct fixture *f = r->data;
    struct got *g = &f->got[r - f->requests];
    g->n_done++;
    g->status = resp->status;
    g->code = resp->err.code;
    g->n_headers = resp->n_headers;
    assert_true(resp->n_headers == 0 || resp->headers != NULL);
    g->body_len = resp->body.len;
    g->body_cap = resp->body.cap;
    g->wire_bytes = resp->wire_bytes;
    g->dispatched = resp->dispatched;
    g->sent = resp->sent_mono_ns;
    g->first = resp->first_byte_mono_ns;
    g->done = resp->done_mono_ns;
    snprintf(g->kind, sizeof g->kind, "%s", resp->err_kind);
    snprintf(g->msg, sizeof g->msg, "%s", resp->err.msg);
    snprintf(g->header, sizeof g->header, "%.*s", SLICE_FMT(http__header(resp, "x-Test")));
    snprintf(g->body, sizeof g->body, "%.*s", SLICE_FMT(buf__slice(&resp->body)));
    if (f->restart > 0) {
        f->restart--;
        assert_int_equal(http__start(f->http, r, NULL), 0);
    }
    if (f->close_in_done && f->http != NULL) close_now(f);
}

static struct http_request *request(struct fixture *f, int i, const char *method,
                                    const char *path) {
    snprintf(f->urls[i], sizeof f->urls[i], "http://127.0.0.1:%d%s", f->port, path);
    f->requests[i] = (struct http_request){.data = f,
                                           .method = method,
                                           .url = f->urls[i],
                                           .source = "psapi",
                                           .class_name = "tail",
                                           .headers_cb = on_headers,
                                           .done_cb = on_done};
    return &f->requests[i];
}

static void run_until_idle(struct fixture *f) {
    while (f->http != NULL ? http__inflight(f->http) > 0 : !f->closed)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static struct got *ask(struct fixture *f, struct http_request *r) {
    struct err e = {0};
    if (http__start(f->http, r, &e) != 0) fail_msg("%s", e.msg);
    run_until_idle(f);
    assert_null(r->exchange);
    return &f->got[r - f->requests];
}
#define USE(f, table) ((f)->scripts = (table), (f)->n_scripts = sizeof(table) / sizeof((table)[0]))

static struct got *ask_once(struct fixture *f, const char *bytes, size_t len, enum after after) {
    struct script s = {.path = "/", .bytes = bytes, .after = after, .len = len};
    f->scripts = &s;
    f->n_scripts = 1;
    f->got[0] = (struct got){0};
    struct http_request *r = request(f, 0, "GET", "/?secret=1");
    r->timeout_ns = 5 * NS_PER_S;
    struct got *g = ask(f, r);
    f->scripts = NULL;
    assert_int_equal(g->n_done, 1);
    return g;
}
static void expect_failure(struct got *g, const char *kind, int code) {
    if (strcmp(g->kind, kind) != 0) fail_msg("%s, not %s: %s", g->kind, kind, g->msg);
    assert_int_equal(g->code, code);
    assert_int_equal(g->body_len, 0); /* No part is taken for the whole. */
    assert_null(strstr(g->msg, "secret"));
}

static double series_of(struct fixture *f, const char *code) {
    return metrics__counter(&f->metrics, "souk_http_requests_total", "",
                            "source=\"psapi\",class=\"tail\",code=\"%s\"", code)
        ->value;
}

static void test_http_reads_a_response(void **state) {
    struct fixture *f = *state;
    struct got *g = ask_once(
        f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Test:  a b \t\r\n\r\nhello", 0, KEEP);
    assert_int_equal(g->code, 0);
    assert_string_equal(g->kind, "");
    assert_int_equal(g->status, 200);
    assert_int_equal(g->status_in_headers_cb, 200);
    assert_int_equal(g->n_headers_cb, 1);
    assert_string_equal(g->header, "a b");
    assert_string_equal(g->body, "hello");
    assert_int_equal(g->wire_bytes, 5);
    assert_true(g->dispatched);
    assert_true(NS_PER_S < g->sent && g->sent < g->first && g->first <= g->done);
    assert_non_null(strstr(f->last_request, "User-Agent: souk-test/1\r\n"));
    assert_non_null(strstr(f->last_request, "gzip"));
    assert_true(series_of(f, "2xx") == 1);
    assert_true(series_of(f, "timeout") == 0);
}

static void test_http_keeps_connections(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask_once(f, "HTTP/1.1 204 None\r\n\r\n", 0, KEEP)->status, 204);
    assert_int_equal(f->n_requests, 5);
    assert_int_equal(f->n_accepted, 1);
}

static void test_http_asks_once_when_a_kept_connection_dies(void **state) {
    struct fixture *f = *state;
    ask_once(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, KEEP);
    struct got *g = ask_once(f, "", 0, CLOSE); /* libcurl alone would ask again. */
    expect_failure(g, "reset", ERR_IO);
    assert_true(g->dispatched);
    assert_int_equal(f->n_requests, 2);
}

static void test_http_passes_every_status_on(void **state) {
    static const int statuses[] = {200, 301, 304, 400, 401, 403, 404, 429, 500, 502, 503};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        char bytes[128];
        snprintf(bytes, sizeof bytes,
                 "HTTP/1.1 %d X\r\nContent-Length: 2\r\nLocation: /else\r\n\r\n%s", statuses[i],
                 statuses[i] == 304 ? "" : "hi");
        struct got *g = ask_once(f, bytes, 0, KEEP);
        assert_int_equal(g->code, 0);
        assert_int_equal(g->status, statuses[i]);
    }
    assert_true(series_of(f, "2xx") == 1);
    assert_true(series_of(f, "3xx") == 2);
    assert_true(series_of(f, "4xx") == 4);
    assert_true(series_of(f, "429") == 1);
    assert_true(series_of(f, "5xx") == 3);
    assert_int_equal(f->n_requests, 11); /* No redirect was followed. */
}

static void test_http_skips_interim_responses_and_trailers(void **state) {
    struct fixture *f = *state;
    struct got *g = ask_once(f,
                             "HTTP/1.1 103 Early\r\nX-Test: early\r\n\r\n"
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Test: trailer\r\n\r\n",
                             0, KEEP);
    assert_int_equal(g->code, 0);
    assert_string_equal(g->body, "abcde");
    assert_string_equal(g->header, "");
    assert_int_equal(g->n_headers_cb, 1);
}

static void test_http_joins_folded_headers(void **state) {
    struct fixture *f = *state;
    struct got *g =
        ask_once(f, "HTTP/1.1 200 OK\r\nX-Test: a\r\n   b\r\nContent-Length: 0\r\n\r\n", 0, KEEP);
    assert_int_equal(g->code, 0);
    assert_string_equal(g->header, "a b");
}

static void test_http_posts_and_heads(void **state) {
    static const struct script scripts[] = {
        {.path = "/p", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
        {.path = "/h", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"}};
    static const char *const lines[] = {"Content-Type: application/json", "X-A: b"};
    struct fixture *f = *state;
    USE(f, scripts);
    struct http_request *r = request(f, 0, "POST", "/p");
    r->body = SLICE_LIT("{\"a\":\"\0\"}");
    r->headers = lines;
    r->n_headers = 2;
    assert_string_equal(ask(f, r)->body, "ok");
    assert_non_null(strstr(f->last_request, "POST /p HTTP/1.1\r\n"));
    assert_non_null(strstr(f->last_request, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(f->last_request, "Content-Length: 9\r\n"));
    assert_null(strstr(f->last_request, "Expect"));
    struct got *g = ask(f, request(f, 1, "HEAD", "/h"));
    assert_int_equal(g->code, 0);
    assert_int_equal(g->status, 200);
    assert_int_equal(g->body_len, 0);
    assert_int_equal(f->n_accepted, 1);
}

static void test_http_refuses_bad_requests_at_once(void **state) {
    static const char *const urls[] = {"",
                                       "nonsense://x",
                                       "ftp://127.0.0.1/",
                                       "http://",
                                       "/path",
                                       "http://u:p@h/",
                                       "http://h/\r\nX: y",
                                       "file:///etc/passwd",
                                       "http://h:99999/"};
    static const char *const bad_lines[] = {"A: b\r\nC: d", "no colon", ": empty"};
    struct fixture *f = *state;
    struct err e;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct http_request *r = request(f, 0, "GET", "/");
        r->url = urls[i];
        assert_int_equal(http__start(f->http, r, &e), ERR_MALFORMED);
        assert_null(r->exchange);
    }
    for (size_t i = 0; i < 3; i++) {
        struct http_request *r = request(f, 0, "GET", "/");
        r->headers = &bad_lines[i];
        r->n_headers = 1;
        assert_int_equal(http__start(f->http, r, &e), ERR_MALFORMED);
    }
    assert_int_equal(http__start(f->http, request(f, 0, "BREW", "/"), &e), ERR_MALFORMED);
    assert_non_null(strstr(e.msg, "BREW"));
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->got[0].n_done, 0);
    assert_int_equal(http__inflight(f->http), 0);
}

static void test_http_cancels_at_every_stage(void **state) {
    static const struct script scripts[] = {
        {.path = "/silent", .bytes = "", .after = HANG},
        {.path = "/part", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", .after = HANG},
        {.path = "/whole", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}};
    struct fixture *f = *state;
    USE(f, scripts);
    struct http_request *r = request(f, 0, "GET", "/silent");
    assert_int_equal(http__start(f->http, r, NULL), 0);
    http__cancel(f->http, r); /* Before it began. */
    assert_int_equal(f->got[0].n_done, 0);
    run_until_idle(f);
    expect_failure(&f->got[0], "canceled", ERR_CANCELED);
    assert_false(f->got[0].dispatched);
    http__cancel(f->http, r); /* Idle: nothing happens. */

    r = request(f, 1, "GET", "/silent");
    assert_int_equal(http__start(f->http, r, NULL), 0);
    while (f->n_requests < 1) uv_run(&f->loop, UV_RUN_ONCE);
    http__cancel(f->http, r); /* While it waits for the response. */
    http__cancel(f->http, r);
    run_until_idle(f);
    expect_failure(&f->got[1], "canceled", ERR_CANCELED);
    assert_true(f->got[1].dispatched);

    f->cancel_after_headers = 2; /* Inside of libcurl. */
    expect_failure(ask(f, request(f, 2, "GET", "/whole")), "canceled", ERR_CANCELED);
    f->cancel_after_headers = 3;
    expect_failure(ask(f, request(f, 3, "GET", "/part")), "canceled", ERR_CANCELED);
    for (int i = 0; i < 4; i++) assert_int_equal(f->got[i].n_done, 1);
    assert_true(series_of(f, "canceled") == 4);
    assert_string_equal(ask(f, request(f, 4, "GET", "/whole"))->body, "hello");
}

static void test_http_may_start_in_a_callback(void **state) {
    static const struct script scripts[] = {
        {.path = "/", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}};
    struct fixture *f = *state;
    USE(f, scripts);
    f->restart = 20;
    ask(f, request(f, 0, "GET", "/"));
    assert_int_equal(f->got[0].n_done, 21);
    assert_int_equal(f->n_requests, 21);
    assert_int_equal(f->n_accepted, 1);
}

static void test_http_closes_with_requests_in_flight(void **state) {
    static const struct script scripts[] = {
        {.path = "/silent", .bytes = "", .after = HANG},
        {.path = "/whole", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}};
    struct fixture *f = *state;
    struct err e;
    USE(f, scripts);
    for (int i = 0; i < 4; i++)
        assert_int_equal(http__start(f->http, request(f, i, "GET", "/silent"), NULL), 0);
    while (f->n_requests < 4) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(http__start(f->http, request(f, 4, "GET", "/silent"), NULL), 0);
    struct http *h = f->http;
    close_now(f);
    assert_int_equal(http__start(h, request(f, 5, "GET", "/whole"), &e), ERR_CLOSED);
    run_until_idle(f);
    assert_true(f->closed);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(f->got[i].n_done, 1);
        assert_string_equal(f->got[i].kind, "canceled");
    }
}

static void test_http_may_close_in_callbacks(void **state) {
    static const struct script scripts[] = {
        {.path = "/silent", .bytes = "", .after = HANG},
        {.path = "/whole", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}};
    struct fixture *f = *state;
    USE(f, scripts);
    f->close_in_done = true;
    assert_int_equal(http__start(f->http, request(f, 0, "GET", "/silent"), NULL), 0);
    assert_int_equal(http__start(f->http, request(f, 1, "GET", "/whole"), NULL), 0);
    run_until_idle(f);
    assert_int_equal(f->got[1].code, 0);
    assert_string_equal(f->got[0].kind, "canceled");
}

static void test_http_may_close_in_headers_callback(void **state) {
    static const struct script scripts[] = {
        {.path = "/whole", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}};
    struct fixture *f = *state;
    USE(f, scripts);
    f->close_in_headers = true;
    assert_int_equal(http__start(f->http, request(f, 0, "GET", "/whole"), NULL), 0);
    run_until_idle(f);
    assert_true(f->closed);
    assert_int_equal(f->got[0].n_done, 1);
}

static void on_counted(struct http_request *r, struct http_response *resp) {
    struct fixture *f = r->data;
    f->got[0].n_done += resp->err.code == 0;
}

static void test_http_bounds_requests_in_flight(void **state) {
    static const struct script scripts[] = {
        {.path = "/", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}};
    struct fixture *f = *state;
    struct err e;
    USE(f, scripts);
    struct http_request *many = calloc(HTTP_INFLIGHT_MAX, sizeof *many);
    for (int i = 0; i < HTTP_INFLIGHT_MAX; i++) {
        many[i] = *request(f, 0, "GET", "/");
        many[i].headers_cb = NULL;
        many[i].done_cb = on_counted;
        assert_int_equal(http__start(f->http, &many[i], NULL), 0);
    }
    assert_int_equal(http__start(f->http, request(f, 1, "GET", "/"), &e), ERR_FULL);
    run_until_idle(f);
    assert_int_equal(f->got[0].n_done, HTTP_INFLIGHT_MAX);
    assert_in_range(f->n_peers_most, 2, 80); /* 64, and what is being closed. */
    free(many);
}

static void test_http_declares_its_series(void **state) {
    struct fixture *f = *state;
    struct buf out = buf__init(1 << 20);
    http__declare(f->http, "poe_ninja", "stream");
    metrics__expose(&f->metrics, &out);
    buf__u8(&out, 0);
    assert_non_null(strstr(out.base,
                           "souk_http_requests_total{source=\"poe_ninja\",class=\"stream\","
                           "code=\"429\"} 0\n"));
    assert_non_null(strstr(out.base, "souk_http_inflight{venue=\"poe_ninja\"} 0\n"));
    assert_non_null(strstr(out.base, "souk_http_response_bytes_total{source=\"poe_ninja\"} 0\n"));
    buf__fini(&out);
    /* More pairs than the bound share one. */
    for (int i = 0; i < 2 * HTTP_LABELS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        http__declare(f->http, name, "c");
    }
    assert_true(f->metrics.n_series < 24 * HTTP_LABELS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_http_reads_a_response),
        TEST(test_http_keeps_connections),
        TEST(test_http_asks_once_when_a_kept_connection_dies),
        TEST(test_http_passes_every_status_on),
        TEST(test_http_skips_interim_responses_and_trailers),
        TEST(test_http_joins_folded_headers),
        TEST(test_http_posts_and_heads),
        TEST(test_http_refuses_bad_requests_at_once),
        TEST(test_http_cancels_at_every_stage),
        TEST(test_http_may_start_in_a_callback),
        TEST(test_http_closes_with_requests_in_flight),
        TEST(test_http_may_close_in_callbacks),
        TEST(test_http_may_close_in_headers_callback),
        TEST(test_http_bounds_requests_in_flight),
        TEST(test_http_declares_its_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
