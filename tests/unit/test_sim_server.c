/* The server on a real loopback socket: replies in order, and on the wire exactly what the plan of
 * a reply says. The client lives on the same loop and keeps every byte. */
#include "test_sim.h"

struct client {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    const char *request;
    struct buf got;
    int end;               /* 0 while open, then UV_EOF or an error. */
    bool close_after_head; /* Leave at the first bytes. */
};
struct wire {
    uv_loop_t loop;
    struct server server;
    struct client clients[4];
    size_t n_clients, n_ended;
    struct reply plan; /* Copied into each reply; the body is made from @text. */
    const char *text;
    int n_handled, n_whole, n_broken;
};

static void on_done(void *owner, uint64_t token, bool whole) {
    struct wire *w = owner;
    assert_int_equal(token, 7);
    if (whole) w->n_whole++;
    else w->n_broken++;
}

static void on_request(void *owner, const struct http_request *q, struct reply *r) {
    struct wire *w = owner;
    *r = w->plan;
    r->done = on_done;
    r->token = 7;
    buf__addf(&r->headers, "X-Path: %.*s\r\n", (int)q->path.len, q->path.at);
    r->body = body__new(w->text, strlen(w->text));
    w->n_handled++;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out) {
    static char bytes[65536];
    (void)h;
    (void)hint;
    *out = uv_buf_init(bytes, sizeof bytes);
}

static void end_client(struct client *c, int why) {
    struct wire *w = c->tcp.data;
    if (c->end != 0) return;
    c->end = why;
    uv_close((uv_handle_t *)&c->tcp, NULL);
    if (++w->n_ended == w->n_clients) server__close(&w->server);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    struct client *c = (struct client *)s;
    if (n < 0) {
        end_client(c, (int)n);
        return;
    }
    buf__add(&c->got, b->base, (size_t)n);
    if (c->close_after_head) end_client(c, UV_ECANCELED);
}

static void on_connect(uv_connect_t *q, int status) {
    struct client *c = (struct client *)q->handle;
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)c->request, (unsigned)strlen(c->request));
    assert_int_equal(status, 0);
    assert_int_equal(uv_read_start(q->handle, on_alloc, on_read), 0);
    assert_int_equal(uv_write(&c->write, q->handle, &b, 1, NULL), 0);
}

static void wire__init(struct wire *w, const char *text) {
    struct sim_err err = {""};
    memset(w, 0, sizeof *w);
    w->text = text;
    w->plan.status = 200;
    w->server.owner = w;
    w->server.handle = on_request;
    w->server.gzip_level = 1;
    uv_loop_init(&w->loop);
    if (server__init(&w->server, &w->loop, "127.0.0.1", 0, &err) != 0) fail_msg("%s", err.msg);
}

static struct client *wire__client(struct wire *w, const char *request) {
    struct client *c = &w->clients[w->n_clients++];
    struct sockaddr_in to;
    c->request = request;
    uv_tcp_init(&w->loop, &c->tcp);
    c->tcp.data = w;
    uv_ip4_addr("127.0.0.1", server__port(&w->server), &to);
    uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)&to, on_connect);
    return c;
}

/** Run until all clients ended; then nothing may be left open. */
static void wire__run(struct wire *w) {
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void wire__fini(struct wire *w) {
    for (size_t i = 0; i < w->n_clients; i++) buf__fini(&w->clients[i].got);
}

#define GET(path, more) "GET " path " HTTP/1.1\r\nHost: h\r\n" more "\r\n"

static void test_pipelined_requests_are_answered_in_order(void **state) {
    struct wire w;
    struct client *c;
    const char *a, *b;
    (void)state;
    wire__init(&w, "hello");
    c = wire__client(
        &w, GET("/one", "")
                GET("/two", "") "HEAD /three HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    wire__run(&w);
    a = strstr(c->got.at, "X-Path: /one\r\n\r\nhello");
    b = strstr(c->got.at, "X-Path: /two\r\n\r\nhello");
    assert_true(a != NULL && b > a);
    assert_string_equal(c->got.at + c->got.len - strlen("X-Path: /three\r\n\r\n"),
                        "X-Path: /three\r\n\r\n"); /* No body. */
    assert_int_equal(count_of(c->got.at, "Content-Length: 5\r\n"), 3);
    assert_int_equal(w.n_whole, 3);
    assert_int_equal(c->end, UV_EOF);
    wire__fini(&w);
}

static void test_bad_bytes_are_told_and_closed(void **state) {
    struct wire w;
    struct client *c, *d;
    (void)state;
    wire__init(&w, "");
    c = wire__client(&w, "BREW\r\n\r\n");
    d = wire__client(&w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire__run(&w);
    assert_memory_equal(c->got.at, "HTTP/1.1 400 ", 13);
    assert_memory_equal(d->got.at, "HTTP/1.1 501 ", 13);
    assert_int_equal(w.n_handled, 0);
    wire__fini(&w);
}

static void test_truncate_sends_so_many_bytes_and_closes(void **state) {
    for (size_t k = 0; k < 400; k += 57) {
        struct wire w;
        struct client *c;
        (void)state;
        wire__init(&w, "012345678901234567890123456789012345678901234567890123456789012345678901234"
                       "5678901234567890123456789"
                       "012345678901234567890123456789012345678901234567890123456789012345678901234"
                       "5678901234567890123456789");
        w.plan.cut = true;
        w.plan.cut_bytes = k;
        c = wire__client(&w, GET("/", "Connection: close\r\n"));
        wire__run(&w);
        assert_int_equal(c->end, UV_EOF);
        if (w.n_broken == 1) assert_int_equal(c->got.len, k);
        else assert_true(w.n_whole == 1 && c->got.len <= k); /* The whole reply was shorter. */
        wire__fini(&w);
    }
}

static void test_reset_is_a_reset(void **state) {
    struct wire w;
    struct client *c;
    (void)state;
    wire__init(&w, "hello");
    w.plan.cut = w.plan.reset = true;
    w.plan.cut_bytes = 0;
    c = wire__client(&w, GET("/", ""));
    wire__run(&w);
    assert_int_equal(c->end, UV_ECONNRESET);
    assert_int_equal(c->got.len, 0);
    assert_int_equal(w.n_broken, 1);
    wire__fini(&w);
}

static void test_slow_takes_its_time(void **state) {
    struct wire w;
    struct client *c;
    uint64_t start;
    char text[301] = "";
    (void)state;
    memset(text, 'x', 300);
    wire__init(&w, text);
    w.plan.bytes_per_s = 4000;
    c = wire__client(&w, GET("/", "Connection: close\r\n"));
    start = uv_hrtime();
    wire__run(&w);
    assert_true(c->got.len > 400);
    /* Chunks of 200 bytes, 50 ms apart, so at least two waits. */
    assert_true(uv_hrtime() - start >= UINT64_C(90000000));
    assert_int_equal(w.n_whole, 1);
    wire__fini(&w);
}

static void on_limit(uv_timer_t *t) {
    end_client(t->data, UV_ETIMEDOUT);
    uv_close((uv_handle_t *)t, NULL);
}

static void test_stall_sends_nothing(void **state) {
    struct wire w;
    struct client *c;
    uv_timer_t limit;
    (void)state;
    wire__init(&w, "hello");
    w.plan.stall = true;
    c = wire__client(&w, GET("/", ""));
    uv_timer_init(&w.loop, &limit);
    limit.data = c;
    uv_timer_start(&limit, on_limit, 50, 0);
    wire__run(&w);
    assert_int_equal(c->end, UV_ETIMEDOUT);
    assert_int_equal(c->got.len, 0);
    assert_int_equal(w.n_broken, 1);
    wire__fini(&w);
}

static void test_a_client_that_leaves_is_not_whole(void **state) {
    struct wire w;
    struct client *c;
    static char text[16 << 20];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    wire__init(&w, text);
    c = wire__client(&w, GET("/", ""));
    c->close_after_head = true;
    wire__run(&w);
    assert_int_equal(w.n_broken, 1);
    assert_int_equal(w.n_whole, 0);
    wire__fini(&w);
}

static void test_gzip_is_sent_to_who_asks(void **state) {
    struct wire w;
    struct client *c;
    char text[2001] = "";
    (void)state;
    memset(text, 'x', 2000);
    wire__init(&w, text);
    w.plan.may_gzip = true;
    c = wire__client(&w, GET("/", "Accept-Encoding: gzip\r\nConnection: close\r\n"));
    wire__run(&w);
    assert_non_null(strstr(c->got.at, "Content-Encoding: gzip\r\n"));
    assert_true(c->got.len < 600);
    wire__fini(&w);
}

static void test_a_port_in_use_is_an_error(void **state) {
    struct wire w;
    struct server second = {0};
    struct sim_err err = {""};
    (void)state;
    wire__init(&w, "");
    assert_int_equal(server__init(&second, &w.loop, "127.0.0.1", server__port(&w.server), &err),
                     -1);
    assert_non_null(strstr(err.msg, "address already in use"));
    server__close(&w.server);
    wire__run(&w);
    wire__fini(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_bad_bytes_are_told_and_closed),
        cmocka_unit_test(test_truncate_sends_so_many_bytes_and_closes),
        cmocka_unit_test(test_reset_is_a_reset),
        cmocka_unit_test(test_slow_takes_its_time),
        cmocka_unit_test(test_stall_sends_nothing),
        cmocka_unit_test(test_a_client_that_leaves_is_not_whole),
        cmocka_unit_test(test_gzip_is_sent_to_who_asks),
        cmocka_unit_test(test_a_port_in_use_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
