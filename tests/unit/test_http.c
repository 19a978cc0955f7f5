/* The HTTP client: requests and their ways to end, against a scripted server on the same loop. */
#include "test_http_fixture.h"

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
    assert_in_range(f->n_peers_most, 2, 2 * 64); /* 64, and what the other end closed this turn. */
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
