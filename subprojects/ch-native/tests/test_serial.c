/* Columns that are laid out otherwise, and packets in chunks, byte by byte: what a server of a
 * later revision may send, and what it may not. Needs no server. */
#include "frame.h"
#include "packet.h"
#include "serial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { REVISION = 54488, SPARSE = 1, DETACHED = 2, SPARSE_DETACHED = 3, REPLICATED = 4 };

static void put_head(struct chn_buf *b, const char *type, unsigned n_rows, int kind) {
    static const uint8_t info[] = {1, 0, 2, 0xff, 0xff, 0xff, 0xff, 3, 1, 7, 0, 0, 0, 0};
    chn_buf__put(b, info, sizeof info); /* With a list of one bucket. */
    chn_buf__put_varuint(b, 1);
    chn_buf__put_varuint(b, n_rows);
    chn_buf__put_string(b, "c");
    chn_buf__put_string(b, type);
    chn_buf__put_u8(b, kind >= 0);
    if (kind >= 0) chn_buf__put_u8(b, (uint8_t)kind);
}

/* Rows 1 and 4 of 6 have values. */
static void put_sparse_marks(struct chn_buf *b) {
    chn_buf__put_varuint(b, 1);
    chn_buf__put_varuint(b, 2);
    chn_buf__put_varuint(b, (UINT64_C(1) << 62) + 1);
}

/* Decodes @b in pieces of @piece bytes. @return the code; the values are in @text. */
static int decode(const struct chn_buf *b, uint32_t revision, size_t piece, size_t bytes_max,
                  char text[512], struct chn_err *err) {
    struct chn_decoder d = {.revision = revision, .bytes_max = bytes_max};
    int code = CHN_MORE;
    text[0] = '\0';
    struct chn_buf kept = {0}; /* What was not taken comes again, with more. */
    for (size_t at = 0; at < b->n && code == CHN_MORE; at += piece) {
        chn_buf__put(&kept, b->data + at, b->n - at < piece ? b->n - at : piece);
        struct chn_reader r = {kept.data, kept.data + kept.n};
        code = chn_decoder__feed(&d, &r, err);
        chn_buf__drop(&kept, kept.n - chn_reader__left(&r));
    }
    if (code == 0) {
        assert_int_equal(kept.n, 0);
        for (uint64_t row = 0; row < chn_block__n_rows(&d.block); row++) {
            size_t n = strlen(text);
            snprintf(text + n, 2, "%s", row > 0 ? " " : "");
            n = strlen(text);
            assert_true(chn_view__text(chn_block__column(&d.block, 0), row, text + n, 512 - n) >= 0);
        }
    }
    chn_buf__fini(&kept);
    chn_decoder__fini(&d);
    return code;
}

static void expect(struct chn_buf *b, const char *values) {
    char text[512];
    struct chn_err err;
    static const size_t pieces[] = {1, 3, 1 << 20};
    for (size_t i = 0; i < 3; i++) {
        int code = decode(b, REVISION, pieces[i], 1 << 20, text, &err);
        if (code != 0) fail_msg("%d: %s", code, code < 0 ? err.msg : "wants more");
        assert_string_equal(text, values);
    }
    b->n = 0;
}

static void refuse(struct chn_buf *b, uint32_t revision, size_t bytes_max, int code) {
    char text[512];
    struct chn_err err;
    assert_int_equal(decode(b, revision, 1 << 20, bytes_max, text, &err), code);
    b->n = 0;
}

static void test_sparse_values_are_spread(void **state) {
    (void)state;
    struct chn_buf b = {0};
    put_head(&b, "UInt16", 6, SPARSE);
    put_sparse_marks(&b);
    chn_buf__put_le(&b, 300, 2);
    chn_buf__put_le(&b, 7, 2);
    expect(&b, "0 300 0 0 7 0");
    put_head(&b, "String", 6, SPARSE);
    put_sparse_marks(&b);
    chn_buf__put_string(&b, "one");
    chn_buf__put_string(&b, "four");
    expect(&b, " one   four ");
    put_head(&b, "Nullable(Int8)", 6, SPARSE);
    put_sparse_marks(&b);
    chn_buf__put(&b, "\x00\xff", 2);
    expect(&b, "NULL 0 NULL NULL -1 NULL");
    put_head(&b, "Tuple(UInt8, String)", 6, 0);
    chn_buf__put_u8(&b, SPARSE); /* Of the first element, */
    chn_buf__put_u8(&b, 0);      /* and of the second. */
    put_sparse_marks(&b);
    chn_buf__put(&b, "\x05\x06", 2);
    for (int i = 0; i < 6; i++) chn_buf__put_string(&b, "s");
    expect(&b, "(0,'s') (5,'s') (0,'s') (0,'s') (6,'s') (0,'s')");
    put_head(&b, "UInt64", 6, SPARSE); /* Nothing but defaults. */
    chn_buf__put_varuint(&b, (UINT64_C(1) << 62) + 6);
    expect(&b, "0 0 0 0 0 0");
    chn_buf__fini(&b);
}

static void test_a_detached_column_is_unpacked(void **state) {
    (void)state;
    static const enum chn_compression methods[] = {CHN_LZ4, CHN_ZSTD};
    struct chn_buf b = {0}, plain = {0}, blob = {0};
    for (size_t m = 0; m < 2; m++) {
        plain.n = blob.n = 0;
        chn_buf__put_string(&plain, "x");
        chn_buf__put_string(&plain, "yy");
        struct chn_slice halves[] = {{plain.data, 3}, {plain.data + 3, plain.n - 3}};
        for (int i = 0; i < 2; i++) /* Two frames, cut anywhere. */
            assert_int_equal(chn_frame__compress(&blob, &halves[i], 1, methods[m], 0), 0);
        put_head(&b, "String", 2, DETACHED);
        chn_buf__put_bytes(&b, blob.data, blob.n);
        expect(&b, "x yy");
        put_head(&b, "String", 3, DETACHED); /* Fewer values than rows. */
        chn_buf__put_bytes(&b, blob.data, blob.n);
        refuse(&b, REVISION, 1 << 20, CHN_ERR_PROTOCOL);
        put_head(&b, "String", 1, DETACHED); /* More. */
        chn_buf__put_bytes(&b, blob.data, blob.n);
        refuse(&b, REVISION, 1 << 20, CHN_ERR_PROTOCOL);
    }
    plain.n = blob.n = 0;
    put_sparse_marks(&plain);
    chn_buf__put(&plain, "\x08\x09", 2);
    struct chn_slice all = {plain.data, plain.n};
    chn_frame__compress(&blob, &all, 1, CHN_LZ4, 0);
    put_head(&b, "UInt8", 6, SPARSE_DETACHED);
    chn_buf__put_bytes(&b, blob.data, blob.n);
    expect(&b, "0 8 0 0 9 0");
    chn_buf__fini(&b);
    chn_buf__fini(&plain);
    chn_buf__fini(&blob);
}

static void test_replicated_values_are_repeated(void **state) {
    (void)state;
    struct chn_buf b = {0};
    put_head(&b, "String", 4, REPLICATED);
    chn_buf__put(&b, "\x04\x01\x01\x00\x01\x01\x02", 7); /* 4 rows, 1 byte each; 2 values. */
    chn_buf__put_string(&b, "a");
    chn_buf__put_string(&b, "bc");
    expect(&b, "bc a bc bc");
    put_head(&b, "Array(UInt8)", 3, REPLICATED);
    chn_buf__put(&b, "\x03\x02\x01\x00\x00\x00\x01\x00\x02", 9);
    chn_buf__put_le(&b, 1, 8);
    chn_buf__put_le(&b, 3, 8);
    chn_buf__put(&b, "\x01\x02\x03", 3);
    expect(&b, "[2,3] [1] [2,3]");
    put_head(&b, "UInt8", 2, REPLICATED); /* An index outside. */
    chn_buf__put(&b, "\x02\x01\x00\x02\x02\x05\x06", 7);
    refuse(&b, REVISION, 1 << 20, CHN_ERR_PROTOCOL);
    put_head(&b, "UInt8", 2, REPLICATED); /* An unknown width. */
    chn_buf__put(&b, "\x02\x03\x00\x00\x00\x00\x00\x00\x01\x05", 10);
    refuse(&b, REVISION, 1 << 20, CHN_ERR_PROTOCOL);
    chn_buf__fini(&b);
}

static void test_layouts_that_cannot_be_are_refused(void **state) {
    (void)state;
    static const uint64_t marks[][2] = {{6, 0}, {1, (UINT64_C(1) << 62) + 3}, {UINT64_MAX >> 2, 0}};
    struct chn_buf b = {0};
    for (size_t i = 0; i < 3; i++) {
        put_head(&b, "UInt8", 6, SPARSE);
        for (int k = 0; k < 2; k++) chn_buf__put_varuint(&b, marks[i][k]);
        chn_buf__put(&b, "\x01\x01\x01", 3);
        refuse(&b, REVISION, 1 << 20, CHN_ERR_PROTOCOL);
    }
    static const struct {
        uint32_t below;
        int kind;
    } gates[] = {{54465, SPARSE}, {54478, DETACHED}, {54482, REPLICATED}};
    for (size_t i = 0; i < 3; i++) { /* The buckets have a gate of their own: without them. */
        static const uint8_t info[] = {1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 1, 1, 1, 'c', 5};
        chn_buf__put(&b, info, sizeof info);
        chn_buf__put(&b, "UInt8\x01", 6);
        chn_buf__put_u8(&b, (uint8_t)gates[i].kind);
        refuse(&b, gates[i].below - 1, 1 << 20, CHN_ERR_PROTOCOL);
    }
    put_head(&b, "Array(UInt8)", 2, SPARSE);
    chn_buf__put_varuint(&b, (UINT64_C(1) << 62) + 2);
    refuse(&b, REVISION, 1 << 20, CHN_ERR_TYPE);
    put_head(&b, "Tuple(UInt8)", 2, 0);
    chn_buf__put_u8(&b, DETACHED);
    refuse(&b, REVISION, 1 << 20, CHN_ERR_PROTOCOL);
    /* Few bytes for many rows: the limit is that of what they become. */
    put_head(&b, "UInt256", 1 << 20, SPARSE);
    chn_buf__put_varuint(&b, (UINT64_C(1) << 62) + (1 << 20));
    refuse(&b, REVISION, 1 << 20, CHN_ERR_LIMIT);
    chn_buf__fini(&b);
}

/* --- Chunks --- */

static void put_chunk(struct chn_buf *b, const void *data, size_t n) {
    chn_buf__put_le(b, n, 4);
    chn_buf__put(b, data, n);
}

/* What the events of @b are, one letter each; -1 when it is refused. */
static int take_chunks(const struct chn_buf *b, size_t piece, char *letters) {
    struct chn_parser p;
    struct chn_err err;
    int code = CHN_MORE;
    chn_parser__init(&p, REVISION, 1 << 20);
    p.seen_hello = true;
    assert_int_equal(chn_parser__expect_chunks(&p, &err), 0);
    for (size_t at = 0; at < b->n && code == CHN_MORE; at += piece) {
        size_t n = b->n - at < piece ? b->n - at : piece;
        uint8_t *copy = malloc(n); /* On its own, so that a read past it is seen. */
        memcpy(copy, b->data + at, n);
        enum chn_event event;
        code = chn_parser__feed(&p, copy, n, &err);
        while (code == 0 && (code = chn_parser__next(&p, &event, &err)) == 0)
            *letters++ = event == CHN_EVENT_PONG       ? 'p'
                         : event == CHN_EVENT_PROGRESS ? 'g'
                         : event == CHN_EVENT_END      ? 'e'
                                                       : '?';
        free(copy);
    }
    *letters = '\0';
    chn_parser__fini(&p);
    return code == CHN_MORE ? 0 : -1;
}

static void test_chunks_may_be_cut_anywhere(void **state) {
    (void)state;
    struct chn_buf b = {0};
    char letters[16];
    static const uint8_t progress[] = {3, 1, 0x80, 1, 0, 0, 0, 0, 0};
    put_chunk(&b, "\x04", 1); /* Pong. */
    put_chunk(&b, NULL, 0);
    for (size_t i = 0; i < sizeof progress; i++) put_chunk(&b, &progress[i], 1);
    put_chunk(&b, NULL, 0);
    put_chunk(&b, "\x05", 1); /* End of stream. */
    put_chunk(&b, NULL, 0);
    for (size_t piece = 1; piece <= b.n; piece++) {
        assert_int_equal(take_chunks(&b, piece, letters), 0);
        assert_string_equal(letters, "pge");
    }
    chn_buf__fini(&b);
}

static void test_chunks_must_end_with_their_packet(void **state) {
    (void)state;
    struct chn_buf b = {0};
    char letters[16];
    put_chunk(&b, "\x04\x05", 2); /* Two packets in one. */
    assert_int_equal(take_chunks(&b, 100, letters), -1);
    assert_string_equal(letters, "p");
    b.n = 0;
    put_chunk(&b, "\x04", 1); /* The next one without the mark that ends this one. */
    put_chunk(&b, "\x05", 1);
    assert_int_equal(take_chunks(&b, 100, letters), -1);
    b.n = 0;
    put_chunk(&b, "\x03\x01", 2); /* The mark within a packet. */
    put_chunk(&b, NULL, 0);
    assert_int_equal(take_chunks(&b, 100, letters), -1);
    b.n = 0;
    put_chunk(&b, NULL, 0); /* The mark without a packet. */
    assert_int_equal(take_chunks(&b, 100, letters), -1);
    chn_buf__fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse_values_are_spread),
        cmocka_unit_test(test_a_detached_column_is_unpacked),
        cmocka_unit_test(test_replicated_values_are_repeated),
        cmocka_unit_test(test_layouts_that_cannot_be_are_refused),
        cmocka_unit_test(test_chunks_may_be_cut_anywhere),
        cmocka_unit_test(test_chunks_must_end_with_their_packet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
