/* The WebSocket reader and writer of frames: split points, limits, and the JSON bounds. */
#include "frame.h"
#include "json_guard.h"
#include "ws_reader.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct heard {
    char text[512];
    int n_texts, n_pings, close_code;
};

static void on_text(void *data, struct slice text) {
    struct heard *h = data;
    h->n_texts++;
    snprintf(h->text, sizeof h->text, "%.*s", SLICE_FMT(text));
}
static void on_ping(void *data, struct slice payload) {
    struct heard *h = data;
    (void)payload;
    h->n_pings++;
}
static void on_close(void *data, int code) { ((struct heard *)data)->close_code = code; }
static const struct ws_reader_events events = {on_text, on_ping, on_close};

/* A client's frame with the mask 1 2 3 4. */
static size_t put_frame(char *out, int first, const char *payload, size_t n) {
    static const char mask[4] = {1, 2, 3, 4};
    out[0] = (char)first;
    out[1] = (char)(0x80 | n);
    memcpy(out + 2, mask, 4);
    for (size_t i = 0; i < n; i++) out[6 + i] = (char)(payload[i] ^ mask[i % 4]);
    return 6 + n;
}

static void test_ws_message_is_the_same_at_every_split(void **state) {
    (void)state;
    char wire[256];
    size_t n = put_frame(wire, 0x01, "gr\xc3", 3); /* Text, not the last fragment. */
    n += put_frame(wire + n, 0x89, "ping", 4);     /* A ping between fragments. */
    n += put_frame(wire + n, 0x80,
                   "\xbc\xc3\x9f"
                   "e",
                   4);
    n += put_frame(wire + n, 0x88, "\x03\xe8", 2);
    for (size_t a = 0; a <= n; a++)
        for (size_t b = a; b <= n; b++) {
            struct ws_reader r;
            struct heard h = {0};
            ws_reader__init(&r, 1024);
            assert_int_equal(ws_reader__feed(&r, slice__of(wire, a), &events, &h), 0);
            assert_int_equal(ws_reader__feed(&r, slice__of(wire + a, b - a), &events, &h), 0);
            assert_int_equal(ws_reader__feed(&r, slice__of(wire + b, n - b), &events, &h), 0);
            assert_string_equal(h.text, "gr\xc3\xbc\xc3\x9f"
                                        "e");
            assert_int_equal(h.n_texts, 1);
            assert_int_equal(h.n_pings, 1);
            assert_int_equal(h.close_code, 1000);
            ws_reader__fini(&r);
        }
}

/* Between two frames there is nothing to hold. */
static void test_ws_reader_holds_memory_for_what_is_partial(void **state) {
    (void)state;
    char wire[64];
    struct ws_reader r;
    struct heard h = {0};
    size_t n = put_frame(wire, 0x81, "text", 4);
    ws_reader__init(&r, 1024);
    assert_null(r.frames);
    assert_int_equal(ws_reader__feed(&r, slice__of(wire, n - 1), &events, &h), 0);
    assert_non_null(r.frames);
    assert_true(r.message.cap > 0);
    assert_int_equal(ws_reader__feed(&r, slice__of(wire + n - 1, 1), &events, &h), 0);
    assert_string_equal(h.text, "text");
    assert_null(r.frames);
    assert_int_equal(r.message.cap, 0);
    ws_reader__fini(&r);
}

static int feed_one(int first, const char *payload, size_t n) {
    char wire[256];
    struct ws_reader r;
    struct heard h = {0};
    ws_reader__init(&r, 64);
    int code =
        ws_reader__feed(&r, slice__of(wire, put_frame(wire, first, payload, n)), &events, &h);
    if (code != 0) { /* Whatever follows an error is ignored. */
        assert_int_equal(ws_reader__feed(&r, slice__of("\x81\x80\0\0\0\0", 6), &events, &h), 0);
        assert_int_equal(h.n_texts, 0);
    }
    ws_reader__fini(&r);
    return code;
}

static void test_ws_errors_have_their_codes(void **state) {
    (void)state;
    char big[65];
    memset(big, 'x', sizeof big);
    assert_int_equal(feed_one(0x81, "ok", 2), 0);
    assert_int_equal(feed_one(0x81, big, 64), 0);
    assert_int_equal(feed_one(0x81, big, 65), 1009);
    assert_int_equal(feed_one(0x82, "x", 1), 1003);
    assert_int_equal(feed_one(0x80, "x", 1), 1002);
    assert_int_equal(feed_one(0xc1, "x", 1), 1002);
    assert_int_equal(feed_one(0x83, "x", 1), 1002);
    assert_int_equal(feed_one(0x81, "\xed\xa0\x80", 3), 1007);
    assert_int_equal(feed_one(0x81, "\xe2\x82", 2), 1007);
    assert_int_equal(feed_one(0x01, "\xff", 1), 1007); /* Before the message ends. */
    assert_int_equal(feed_one(0x88, "\x03", 1), 1002);
    assert_int_equal(feed_one(0x88, "\x03\xee", 2), 1002); /* 1006 */
    assert_int_equal(feed_one(0x88, "\x03\xf6", 2), 0);    /* 1014 is registered. */
    assert_int_equal(feed_one(0x88, "\x03\xe8\xff", 3), 1007);
}

static void test_ws_frames_have_the_shortest_length(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 125, 126, 65535, 65536}, heads[] = {2, 2, 4, 4, 10};
    char *bytes = calloc(1, 65536);
    for (size_t i = 0; i < 5; i++) {
        struct frame *f = frame__new(FRAME_TEXT, slice__of(bytes, sizes[i]));
        assert_int_equal(f->payload_at, heads[i]);
        assert_int_equal(frame__payload(f).len, sizes[i]);
        frame__unref(f);
    }
    free(bytes);
    struct frame *f = frame__close(4008, "slow consumer");
    assert_memory_equal(f->bytes, "\x88\x0f\x0f\xa8slow consumer", 17);
    frame__unref(f);
}

static void test_json_from_outside_is_bounded(void **state) {
    (void)state;
    static const char *const bad[] = {"[]",
                                      "1",
                                      "",
                                      "{",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":{\"b\":1,\"b\":1}}",
                                      "{\"a\":NaN}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":[[[[[[[[1]]]]]]]]}",
                                      "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        yyjson_doc *doc = json_guard__read(slice__str(bad[i]));
        if (doc != NULL) fail_msg("accepted %s", bad[i]);
    }
    yyjson_doc *doc = json_guard__read(SLICE_LIT("{\"a\":[[[[[[[1]]]]]]],\"b\":\"[[[[[[[[[\"}"));
    assert_non_null(doc);
    yyjson_doc_free(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ws_message_is_the_same_at_every_split),
        cmocka_unit_test(test_ws_reader_holds_memory_for_what_is_partial),
        cmocka_unit_test(test_ws_errors_have_their_codes),
        cmocka_unit_test(test_ws_frames_have_the_shortest_length),
        cmocka_unit_test(test_json_from_outside_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
