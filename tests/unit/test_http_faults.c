/* The HTTP client against servers that break: bodies cut short, bombs, doubtful framing, silence.
 */
#include "../lib/score.h"
#include "test_http_fixture.h"
#include <zlib.h>

static void test_http_takes_a_body_without_length_until_the_end(void **state) {
    struct got *g = ask_once(*state, "HTTP/1.0 200 OK\r\n\r\nall of it", 0, CLOSE);
    assert_int_equal(g->code, 0);
    assert_string_equal(g->body, "all of it");
}

static void test_http_refuses_truncated_bodies(void **state) {
    struct fixture *f = *state;
    struct got *g = ask_once(f, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 0, CLOSE);
    expect_failure(g, "truncated", ERR_IO);
    assert_int_equal(g->status, 200);
    assert_int_equal(g->wire_bytes, 5);
    g = ask_once(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0,
                 CLOSE);
    expect_failure(g, "truncated", ERR_IO);
    g = ask_once(f, "HTTP/1.1 200 OK\r\nContent-Le", 0, CLOSE);
    assert_int_not_equal(g->code, 0);
    assert_int_equal(g->n_headers_cb, 0);
    assert_true(series_of(f, "truncated") >= 2);
}

static void test_http_survives_a_reset_at_every_byte(void **state) {
    static const char whole[] = "HTTP/1.1 200 OK\r\nX-Test: v\r\nContent-Length: 3\r\n\r\nabc";
    struct fixture *f = *state;
    for (size_t len = 1; len < sizeof whole - 1; len++) {
        struct got *g = ask_once(f, whole, len, len % 2 == 0 ? RESET : CLOSE);
        assert_int_not_equal(g->code, 0);
        assert_int_equal(g->body_len, 0);
    }
    assert_int_equal(ask_once(f, whole, 0, KEEP)->code, 0);
}

/* gzip of @len bytes 'a'. */
static size_t make_gzip(size_t len, char *out, size_t out_size) {
    z_stream z = {0};
    char *plain = malloc(len);
    memset(plain, 'a', len);
    deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)plain;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)out_size;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = out_size - z.avail_out;
    deflateEnd(&z);
    free(plain);
    return n;
}

static struct got *ask_gzip(struct fixture *f, size_t plain, size_t body_max) {
    static char bytes[128 << 10];
    char zip[64 << 10];
    size_t zip_len = make_gzip(plain, zip, sizeof zip);
    int n = snprintf(bytes, sizeof bytes,
                     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n",
                     zip_len);
    memcpy(bytes + n, zip, zip_len);
    struct script s = {.path = "/z", .bytes = bytes, .len = (size_t)n + zip_len};
    f->scripts = &s;
    f->n_scripts = 1;
    f->got[0] = (struct got){0};
    struct http_request *r = request(f, 0, "GET", "/z");
    r->body_max = body_max;
    return ask(f, r);
}

static void test_http_unpacks_gzip(void **state) {
    struct got *g = ask_gzip(*state, 5000, 5000);
    assert_int_equal(g->code, 0);
    assert_int_equal(g->body_len, 5000);
    assert_true(g->wire_bytes > 0 && g->wire_bytes < 100);
}

static void test_http_stops_a_gzip_bomb(void **state) {
    struct fixture *f = *state;
    struct got *g = ask_gzip(f, 20 << 20, 1 << 20); /* About 1000 to 1. */
    expect_failure(g, "too_large", ERR_LIMIT);
    assert_int_equal(g->body_cap, 0);
    g = ask_gzip(f, 5000, 4999);
    expect_failure(g, "too_large", ERR_LIMIT);
}

static void test_http_refuses_broken_encodings(void **state) {
    struct fixture *f = *state;
    expect_failure(ask_once(f,
                            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n"
                            "\r\nthis is not a zip!!!",
                            0, KEEP),
                   "encoding", ERR_MALFORMED);
    expect_failure(ask_once(f,
                            "HTTP/1.1 200 OK\r\nContent-Encoding: rot13\r\nContent-Length: 2\r\n"
                            "\r\nhi",
                            0, KEEP),
                   "encoding", ERR_MALFORMED);
}

static void test_http_bounds_the_body_on_the_wire(void **state) {
    static const struct script scripts[] = {
        {.path = "/l", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", .after = HANG},
        {.path = "/c", .bytes = "HTTP/1.1 200 OK\r\n\r\nhello world", .after = HANG},
        {.path = "/ok", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"}};
    struct fixture *f = *state;
    USE(f, scripts);
    static const char *const paths[] = {"/l", "/c", "/ok"};
    for (int i = 0; i < 3; i++) {
        struct http_request *r = request(f, i, "GET", paths[i]);
        r->body_max = 10;
        struct got *g = ask(f, r);
        if (i < 2) expect_failure(g, "too_large", ERR_LIMIT); /* At once, not at the deadline. */
        else assert_int_equal(g->body_len, 10);
    }
}

static void test_http_bounds_headers(void **state) {
    struct fixture *f = *state;
    size_t cap = 2 << 20;
    char *bytes = malloc(cap);
    int n = snprintf(bytes, cap, "HTTP/1.1 200 OK\r\nX-Big: ");
    memset(bytes + n, 'b', 1 << 20); /* One header of 1 MiB. */
    expect_failure(ask_once(f, bytes, (size_t)n + (1 << 20), HANG), "too_large", ERR_LIMIT);
    n = snprintf(bytes, cap, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 10; i++) { /* Ten of 7 KiB each. */
        n += snprintf(bytes + n, cap - (size_t)n, "X-%d: ", i);
        memset(bytes + n, 'b', 7 << 10);
        n += 7 << 10;
        n += snprintf(bytes + n, cap - (size_t)n, "\r\n");
    }
    expect_failure(ask_once(f, bytes, (size_t)n, HANG), "too_large", ERR_LIMIT);
    for (int count = 128; count <= 129; count++) {
        n = snprintf(bytes, cap, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
        for (int i = 1; i < count; i++) n += snprintf(bytes + n, cap - (size_t)n, "X-%d: v\r\n", i);
        n += snprintf(bytes + n, cap - (size_t)n, "\r\n");
        struct got *g = ask_once(f, bytes, (size_t)n, KEEP);
        if (count == 128) assert_int_equal(g->n_headers, 128);
        else expect_failure(g, "too_large", ERR_LIMIT);
    }
    free(bytes);
}

static void test_http_refuses_doubtful_framing(void **state) {
    static const char *const doubtful[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: "
        "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: "
        "3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nNo colon here\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: first\r\nContent-Length: 0\r\n\r\n",
        "just text, as in HTTP/0.9",
        "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof doubtful / sizeof doubtful[0]; i++) {
        struct got *g = ask_once(f, doubtful[i], 0, CLOSE);
        if (g->code == 0) fail_msg("taken: %s", doubtful[i]);
        assert_int_equal(g->body_len, 0);
    }
}

static void test_http_gives_up_at_its_deadline(void **state) {
    static const struct script scripts[] = {
        {.path = "/silent", .bytes = "", .after = HANG},
        {.path = "/drip",
         .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
         .after = DRIP},
        {.path = "/headers", .bytes = "HTTP/1.1 200 OK\r\nX-Test: ", .after = DRIP},
        {.path = "/stall",
         .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
         .after = HANG}};
    struct fixture *f = *state;
    USE(f, scripts);
    for (int i = 0; i < 4; i++) {
        struct http_request *r = request(f, i, "GET", scripts[i].path);
        r->timeout_ns = 150 * NS_PER_MS;
        struct got *g = ask(f, r);
        expect_failure(g, "timeout", ERR_TIMEOUT);
        assert_true(g->dispatched);
    }
    assert_true(series_of(f, "timeout") == 4);
}

static void test_http_gives_up_below_the_low_speed(void **state) {
    static const struct script scripts[] = {
        {.path = "/", .bytes = "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", .after = DRIP}};
    struct fixture *f = *state; /* 50 B/s, and main allows 1 s below 64 B/s. */
    USE(f, scripts);
    struct http_request *r = request(f, 0, "GET", "/");
    r->timeout_ns = 60 * NS_PER_S;
    uint64_t before = uv_hrtime();
    expect_failure(ask(f, r), "timeout", ERR_TIMEOUT);
    assert_true(uv_hrtime() - before < (uint64_t)(20 * NS_PER_S));
}

static void test_http_says_what_a_connection_failed_at(void **state) {
    struct fixture *f = *state;
    uv_tcp_t bound; /* Bound and not listening: refused. */
    struct sockaddr_in at;
    int size = sizeof at;
    uv_tcp_init(&f->loop, &bound);
    uv_ip4_addr("127.0.0.1", 0, &at);
    assert_int_equal(uv_tcp_bind(&bound, (const struct sockaddr *)&at, 0), 0);
    uv_tcp_getsockname(&bound, (struct sockaddr *)&at, &size);
    struct http_request *r = request(f, 0, "GET", "/");
    snprintf(f->urls[0], sizeof f->urls[0], "http://127.0.0.1:%d/", ntohs(at.sin_port));
    struct got *g = ask(f, r);
    expect_failure(g, "connect", ERR_UNAVAILABLE);
    assert_false(g->dispatched);
    assert_int_equal(g->status, 0);
    uv_close((uv_handle_t *)&bound, NULL);
    /* TLS to a peer that does not speak it. */
    static const struct script scripts[] = {{.path = "/", .bytes = "", .after = HANG}};
    USE(f, scripts);
    r = request(f, 1, "GET", "/");
    snprintf(f->urls[1], sizeof f->urls[1], "https://127.0.0.1:%d/", f->port);
    r->connect_timeout_ns = 100 * NS_PER_MS;
    g = ask(f, r);
    expect_failure(g, "timeout", ERR_TIMEOUT);
    assert_false(g->dispatched); /* The handshake is not a request. */
    /* .invalid never resolves (RFC 6761, 6.4). */
    r = request(f, 2, "GET", "/");
    snprintf(f->urls[2], sizeof f->urls[2], "http://souk.invalid/");
    r->timeout_ns = 5 * NS_PER_S;
    g = ask(f, r);
    assert_true(strcmp(g->kind, "dns") == 0 || strcmp(g->kind, "timeout") == 0);
}

/* The groups are cases of the reliability scoreboard, as whose program this runs as well. */
static int run_case(int number, const char *what, const struct CMUnitTest *tests, size_t n) {
    int failed = _cmocka_run_group_tests(what, tests, n, NULL, NULL);
    score__write(&(struct score){
        .case_number = number, .what = what, .passed = failed == 0, .seeds = n, .recovery_s = -1});
    return failed;
}
#define RUN_CASE(number, what, tests) run_case(number, what, tests, sizeof(tests) / sizeof *(tests))

int main(void) {
    const struct CMUnitTest slow[] = {
        TEST(test_http_gives_up_at_its_deadline),
        TEST(test_http_gives_up_below_the_low_speed),
        TEST(test_http_says_what_a_connection_failed_at),
    };
    const struct CMUnitTest cut[] = {
        TEST(test_http_takes_a_body_without_length_until_the_end),
        TEST(test_http_refuses_truncated_bodies),
        TEST(test_http_survives_a_reset_at_every_byte),
    };
    const struct CMUnitTest bombs[] = {
        TEST(test_http_unpacks_gzip),
        TEST(test_http_stops_a_gzip_bomb),
        TEST(test_http_refuses_broken_encodings),
        TEST(test_http_bounds_the_body_on_the_wire),
        TEST(test_http_bounds_headers),
        TEST(test_http_refuses_doubtful_framing),
    };
    low_speed_s = 1;
    int failed = RUN_CASE(24, "slow and silent responses end at a deadline", slow);
    low_speed_s = 0;
    return failed + RUN_CASE(25, "reset or end at every byte of a response", cut) +
           RUN_CASE(26, "bombs, header floods and doubtful framing", bombs);
}
