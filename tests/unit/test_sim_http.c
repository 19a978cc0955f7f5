/* The request parser against good, sloppy and hostile input, and at every split of the bytes. */
#include "test_sim.h"

static struct http_request q;

static long parse(const char *text) { return http__parse(text, strlen(text), &q); }

static void test_a_plain_request_is_read(void **state) {
    const char *text = "GET /a/b?id=1-2&x=%41+c HTTP/1.1\r\nHost: h\r\nUser-Agent:  OAuth x "
                       "\r\nAccept-Encoding: br, gzip\r\n\r\nrest";
    char value[16];
    (void)state;
    assert_int_equal(parse(text), strlen(text) - 4);
    assert_true(span__is(q.method, "GET"));
    assert_true(span__is(q.path, "/a/b"));
    assert_true(span__is(http__header(&q, "user-agent"), "OAuth x"));
    assert_true(q.keep_alive && q.accepts_gzip);
    assert_int_equal(http__query(&q, "id", value, sizeof value), 3);
    assert_string_equal(value, "1-2");
    assert_int_equal(http__query(&q, "x", value, sizeof value), 3);
    assert_string_equal(value, "A c");
    assert_int_equal(http__query(&q, "y", value, sizeof value), -1);
    assert_int_equal(http__query(&q, "id", value, 3), -2);
}

static void test_every_prefix_wants_more(void **state) {
    const char *text = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    (void)state;
    for (size_t n = 0; n < strlen(text); n++) {
        char *exact = malloc(n + 1); /* So that reading past the end is seen. */
        memcpy(exact, text, n);
        assert_int_equal(http__parse(exact, n, &q), 0);
        free(exact);
    }
    assert_int_equal(parse(text), strlen(text));
    assert_true(span__is(q.body, "hello"));
}

static void test_malformed_requests_are_refused(void **state) {
    static const struct {
        const char *text;
        long status;
    } cases[] = {
        {"GET /\r\n\r\n", -400},
        {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET a HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", -505},
        {"GET / HTTP/1.1\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", -400},
        {"GET / HTTP/1.1\nHost: h\n\n", -400},
        {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: \x01\r\n\r\n", -400},
        {"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", -413},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -501},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (parse(cases[i].text) != cases[i].status)
            fail_msg("case %zu: %ld", i, parse(cases[i].text));
    assert_int_equal(http__parse("GET /\0 HTTP/1.1\r\n", 17, &q), -400);
}

static void test_bounds_hold(void **state) {
    struct buf b = {0};
    (void)state;
    buf__adds(&b, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    while (b.len <= HTTP_HEAD_MAX) buf__addc(&b, 'x');
    assert_int_equal(http__parse(b.at, b.len, &q), -431); /* The end of the line never came. */
    buf__reset(&b);
    buf__adds(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < HTTP_HEADERS_MAX; i++) buf__adds(&b, "a:b\r\n");
    buf__adds(&b, "\r\n");
    assert_int_equal(http__parse(b.at, b.len, &q), -431);
    buf__fini(&b);
}

static void test_meanings_of_headers(void **state) {
    (void)state;
    parse("GET / HTTP/1.0\r\n\r\n");
    assert_false(q.keep_alive);
    parse("GET / HTTP/1.0\r\nConnection: foo, Keep-Alive\r\n\r\n");
    assert_true(q.keep_alive);
    parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_false(q.keep_alive);
    parse("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip;q=0\r\n\r\n");
    assert_false(q.accepts_gzip);
    parse("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: deflate, gzip;q=0.5\r\n\r\n");
    assert_true(q.accepts_gzip);
}

static void test_bad_escapes_in_a_query(void **state) {
    char value[8];
    (void)state;
    parse("GET /?a=%&b=%4&c=%zz&d=%00&e=&f HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(http__query(&q, "a", value, sizeof value), -2);
    assert_int_equal(http__query(&q, "b", value, sizeof value), -2);
    assert_int_equal(http__query(&q, "c", value, sizeof value), -2);
    assert_int_equal(http__query(&q, "d", value, sizeof value), -2);
    assert_int_equal(http__query(&q, "e", value, sizeof value), 0);
    assert_int_equal(http__query(&q, "f", value, sizeof value), -1);
}

static void test_segments_of_a_path(void **state) {
    char parts[3][HTTP_SEGMENT_MAX], text[HTTP_SEGMENT_MAX + 2];
    (void)state;
    assert_int_equal(http__segments(SPAN(""), parts, 3), 0);
    assert_int_equal(http__segments(SPAN("/a/b%20c/d+e"), parts, 3), 3);
    assert_string_equal(parts[1], "b c");
    assert_string_equal(parts[2], "d+e"); /* A plus sign is itself in a path. */
    assert_int_equal(http__segments(SPAN("/a/b/c/d"), parts, 3), -1);
    assert_int_equal(http__segments(SPAN("/a//c"), parts, 3), -1);
    assert_int_equal(http__segments(SPAN("/"), parts, 3), -1);
    assert_int_equal(http__segments(SPAN("x/a"), parts, 3), -1);
    assert_int_equal(http__segments(SPAN("/%zz"), parts, 3), -1);
    assert_int_equal(http__segments(SPAN("/%00"), parts, 3), -1);
    memset(text, 'x', sizeof text);
    text[0] = '/';
    assert_int_equal(http__segments((struct span){text, HTTP_SEGMENT_MAX}, parts, 3), 1);
    assert_int_equal(http__segments((struct span){text, HTTP_SEGMENT_MAX + 1}, parts, 3), -1);
}

static void test_random_bytes_never_crash(void **state) {
    struct rng r = {.state = 5};
    (void)state;
    for (int i = 0; i < 20000; i++) {
        static const char seed[] = "POST /p?id=%41&b HTTP/1.1\r\nHost: h\r\nContent-Length: "
                                   "3\r\nAccept-Encoding: gzip;q=0\r\n\r\nabc";
        char text[sizeof seed], value[8];
        long n;
        memcpy(text, seed, sizeof seed);
        for (uint32_t k = rng__below(&r, 4); k > 0; k--)
            text[rng__below(&r, sizeof seed - 1)] = (char)rng__below(&r, 256);
        n = http__parse(text, sizeof seed - 1, &q);
        assert_true(n <= (long)sizeof seed - 1);
        if (n > 0) http__query(&q, "id", value, sizeof value);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_request_is_read),
        cmocka_unit_test(test_every_prefix_wants_more),
        cmocka_unit_test(test_malformed_requests_are_refused),
        cmocka_unit_test(test_bounds_hold),
        cmocka_unit_test(test_meanings_of_headers),
        cmocka_unit_test(test_bad_escapes_in_a_query),
        cmocka_unit_test(test_segments_of_a_path),
        cmocka_unit_test(test_random_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
