/* A scripted server on the loop of the client that is tested: what it answers is bytes, chosen by
 * the path, so that every broken response can be written down. */
#ifndef TEST_HTTP_FIXTURE_H
#define TEST_HTTP_FIXTURE_H

#include "../lib/moved.h"
#include "souk/http.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static inline void on_peer_closed(uv_handle_t *handle) {
    struct peer *p = handle->data;
    if (--p->n_open > 0) return;
    p->f->n_peers--;
    struct peer **at = &p->f->peers;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    free(p);
}
static inline void close_peer(struct peer *p, bool reset) {
    if (uv_is_closing((uv_handle_t *)&p->tcp)) return;
    uv_close((uv_handle_t *)&p->drip, on_peer_closed);
    if (reset) assert_int_equal(uv_tcp_close_reset(&p->tcp, on_peer_closed), 0);
    else uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

static inline void on_written(uv_write_t *w, int status) {
    struct peer *p = w->data;
    free(w);
    if (status != 0) return;
    if (p->script->after == CLOSE) close_peer(p, false);
    if (p->script->after == RESET) close_peer(p, true);
}
static inline void send_bytes(struct peer *p, const char *bytes, size_t len) {
    uv_write_t *w = calloc(1, sizeof *w);
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    w->data = p;
    assert_int_equal(uv_write(w, (uv_stream_t *)&p->tcp, &b, 1, on_written), 0);
}
static inline void on_drip(uv_timer_t *t) {
    struct peer *p = t->data;
    if (!uv_is_closing((uv_handle_t *)&p->tcp)) send_bytes(p, "x", 1);
}

static inline void answer(struct peer *p) {
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

static inline void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out) {
    (void)hint;
    struct peer *p = h->data;
    *out = uv_buf_init(p->in + p->n_in, (unsigned)(sizeof p->in - 1 - p->n_in));
}
static inline void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
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
static inline void on_connection(uv_stream_t *listener, int status) {
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
static inline void on_turn(uv_prepare_t *turn) {
    struct fixture *f = turn->data;
    f->clock.mono_ns += NS_PER_MS;
}

/* Of the clients to come. 0: the room's own, which a loaded machine does not reach. */
static long low_speed_s;

static inline int set_up(void **state) {
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
    uv_listen((uv_stream_t *)&f->listener, 512, on_connection);
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&at, &size);
    f->port = ntohs(at.sin_port);
    struct http_options o = {.user_agent = "souk-test/1", .low_speed_s = low_speed_s};
    assert_int_equal(http__open(&f->http, &f->loop, &f->clock, &f->metrics, &o, &e), 0);
    return 0;
}

static inline void on_closed(void *data) { ((struct fixture *)data)->closed = true; }

static inline int tear_down(void **state) {
    struct fixture *f = *state;
    if (f->http != NULL) http__close(f->http, on_closed, f);
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_close((uv_handle_t *)&f->turn, NULL);
    for (struct peer *p = f->peers; p != NULL; p = p->next) close_peer(p, false);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0); /* Every handle is closed. */
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    free(f);
    return 0;
}

static inline void close_now(struct fixture *f) {
    struct http *h = f->http;
    f->http = NULL;
    http__close(h, on_closed, f);
}

static inline void on_headers(struct http_request *r, const struct http_response *resp) {
    struct fixture *f = r->data;
    struct got *g = &f->got[r - f->requests];
    g->n_headers_cb++;
    g->status_in_headers_cb = resp->status;
    assert_int_equal(resp->body.len, 0);
    if (f->cancel_after_headers == r - f->requests) http__cancel(f->http, r);
    if (f->close_in_headers) close_now(f);
}

static inline void on_done(struct http_request *r, struct http_response *resp) {
    struct fixture *f = r->data;
    struct got *g = &f->got[r - f->requests];
    g->n_done++;
    g->status = resp->status;
    g->code = resp->err.code;
    assert_true(resp->n_headers == 0 || resp->headers != NULL);
    g->n_headers = resp->n_headers;
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

static inline struct http_request *request(struct fixture *f, int i, const char *method,
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

static inline void run_until_idle(struct fixture *f) {
    while (f->http != NULL ? http__inflight(f->http) > 0 : !f->closed)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static inline struct got *ask(struct fixture *f, struct http_request *r) {
    struct err e = {0};
    if (http__start(f->http, r, &e) != 0) fail_msg("%s", e.msg);
    run_until_idle(f);
    assert_null(r->exchange);
    return &f->got[r - f->requests];
}
#define USE(f, table) ((f)->scripts = (table), (f)->n_scripts = sizeof(table) / sizeof((table)[0]))

static inline struct got *ask_once(struct fixture *f, const char *bytes, size_t len,
                                   enum after after) {
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
static inline void expect_failure(struct got *g, const char *kind, int code) {
    if (strcmp(g->kind, kind) != 0) fail_msg("%s, not %s: %s", g->kind, kind, g->msg);
    assert_int_equal(g->code, code);
    assert_int_equal(g->body_len, 0); /* No part is taken for the whole. */
    assert_null(strstr(g->msg, "secret"));
}

static inline double series_of(struct fixture *f, const char *code) {
    return metrics__counter(&f->metrics, "souk_http_requests_total", "",
                            "source=\"psapi\",class=\"tail\",code=\"%s\"", code)
        ->value;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
