/* Every bound of limits.h, met by the bytes of a hostile server: what is on it passes, what is over
 * it is refused, and memory stays that of the bytes that came. */
#include "hex.h"
#include "packet.h"
#include "request.h"

#include <ch_native/ch_native.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { REVISION = 54464, BLOCK_BYTES_MAX = 1 << 20 };

static void put_hello(struct chn_buf *b, const char *name, uint64_t n_rules) {
    chn_buf__put_varuint(b, 0);
    chn_buf__put_string(b, name);
    chn_buf__put_varuint(b, 26);
    chn_buf__put_varuint(b, 7);
    chn_buf__put_varuint(b, REVISION);
    chn_buf__put_string(b, "UTC");
    chn_buf__put_string(b, "test");
    chn_buf__put_varuint(b, 2);
    chn_buf__put_varuint(b, n_rules);
    for (uint64_t i = 0; i < n_rules; i++) {
        chn_buf__put_string(b, ".{12}");
        chn_buf__put_string(b, "be longer");
    }
    chn_buf__put_le(b, 0, 8); /* The nonce. */
}

/* @n bytes of @c as a string, which the caller frees. */
static char *repeat(char c, size_t n) {
    char *text = malloc(n + 1);
    memset(text, c, n);
    text[n] = '\0';
    return text;
}

static void open_parser(struct chn_parser *p) {
    struct chn_buf hello = {0};
    enum chn_event event;
    put_hello(&hello, "ClickHouse", 0);
    chn_parser__init(p, REVISION, BLOCK_BYTES_MAX);
    assert_int_equal(chn_parser__feed(p, hello.data, hello.n, NULL), 0);
    assert_int_equal(chn_parser__next(p, &event, NULL), 0);
    assert_int_equal(chn_parser__next(p, &event, NULL), CHN_MORE);
    chn_buf__fini(&hello);
}

/* What a parser that has read a hello says of @b, of which it forgets the bytes. */
static int judge(struct chn_buf *b) {
    struct chn_parser p;
    enum chn_event event;
    int code;
    open_parser(&p);
    assert_int_equal(chn_parser__feed(&p, b->data, b->n, NULL), 0);
    while ((code = chn_parser__next(&p, &event, NULL)) == 0) continue;
    chn_parser__fini(&p);
    b->n = 0;
    return code;
}

static int judge_hello(const char *name, uint64_t n_rules) {
    struct chn_parser p;
    struct chn_buf b = {0};
    enum chn_event event;
    put_hello(&b, name, n_rules);
    chn_parser__init(&p, REVISION, BLOCK_BYTES_MAX);
    assert_int_equal(chn_parser__feed(&p, b.data, b.n, NULL), 0);
    int code = chn_parser__next(&p, &event, NULL);
    chn_parser__fini(&p);
    chn_buf__fini(&b);
    return code;
}

static void test_hellos_are_bounded(void **state) {
    (void)state;
    char *longest = repeat('x', CHN_HELLO_STRING_MAX), *longer = repeat('x', CHN_HELLO_STRING_MAX + 1);
    assert_int_equal(judge_hello(longest, CHN_PASSWORD_RULES_MAX), 0);
    assert_int_equal(judge_hello(longer, 0), CHN_ERR_LIMIT);
    assert_int_equal(judge_hello("ClickHouse", CHN_PASSWORD_RULES_MAX + 1), CHN_ERR_LIMIT);
    struct chn_buf b = {0};
    chn_buf__put_u8(&b, 17); /* A time zone. */
    chn_buf__put_string(&b, longest);
    assert_int_equal(judge(&b), CHN_MORE);
    chn_buf__put_u8(&b, 17);
    chn_buf__put_string(&b, longer);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__put_u8(&b, 1); /* The table of a block. */
    chn_buf__put_string(&b, longer);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__put_u8(&b, 11); /* Table columns. */
    chn_buf__put_string(&b, longer);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__fini(&b);
    free(longest);
    free(longer);
}

/* A hello of a newer server, from 54480 on, and what is said of it and of the bytes behind it. */
static int judge_new(unsigned n_settings, const struct chn_buf *behind) {
    enum { NEW_REVISION = 54480 };
    struct chn_parser p;
    struct chn_buf b = {0};
    enum chn_event event;
    chn_buf__put_varuint(&b, 0);
    chn_buf__put_string(&b, "ClickHouse");
    static const uint64_t numbers[] = {26, 7, NEW_REVISION, 7};
    for (size_t i = 0; i < 4; i++) chn_buf__put_varuint(&b, numbers[i]);
    chn_buf__put_string(&b, "UTC");
    chn_buf__put_string(&b, "test");
    chn_buf__put_varuint(&b, 2);
    for (int i = 0; i < 2; i++) chn_buf__put_string(&b, "notchunked");
    chn_buf__put_varuint(&b, 0); /* Rules. */
    chn_buf__put_le(&b, 0, 8);
    for (unsigned i = 0; i < n_settings; i++) {
        chn_buf__put_string(&b, "a");
        chn_buf__put_varuint(&b, 0);
        chn_buf__put_string(&b, "1");
    }
    chn_buf__put_string(&b, "");
    for (int i = 0; i < 2; i++) chn_buf__put_varuint(&b, 1); /* Versions of plan and cluster. */
    chn_buf__put(&b, behind->data, behind->n);
    chn_parser__init(&p, NEW_REVISION, BLOCK_BYTES_MAX);
    assert_int_equal(chn_parser__feed(&p, b.data, b.n, NULL), 0);
    int code = chn_parser__next(&p, &event, NULL);
    if (code == 0) code = chn_parser__next(&p, &event, NULL);
    chn_parser__fini(&p);
    chn_buf__fini(&b);
    return code;
}

static void test_newer_hellos_and_blocks_are_bounded(void **state) {
    (void)state;
    struct chn_buf behind = {0};
    assert_int_equal(judge_new(CHN_SERVER_SETTINGS_MAX, &behind), CHN_MORE);
    assert_int_equal(judge_new(CHN_SERVER_SETTINGS_MAX + 1, &behind), CHN_ERR_LIMIT);
    for (uint64_t more = 0; more < 2; more++) {
        static const uint8_t head[] = {1, 0, 3}; /* A block whose info begins with buckets. */
        behind.n = 0;
        chn_buf__put(&behind, head, sizeof head);
        chn_buf__put_varuint(&behind, CHN_BUCKETS_MAX + more);
        assert_int_equal(judge_new(0, &behind), more == 0 ? CHN_MORE : CHN_ERR_LIMIT);
    }
    chn_buf__fini(&behind);
}

/* --- Exceptions --- */

static void put_exceptions(struct chn_buf *b, unsigned n) {
    chn_buf__put_u8(b, 2);
    for (unsigned i = 0; i < n; i++) {
        chn_buf__put_le(b, 60, 4);
        chn_buf__put_string(b, "DB::Exception");
        chn_buf__put_string(b, "why");
        chn_buf__put_string(b, "");
        chn_buf__put_u8(b, i + 1 < n);
    }
}

static void test_exceptions_are_bounded(void **state) {
    (void)state;
    struct chn_buf b = {0};
    put_exceptions(&b, CHN_EXCEPTIONS_MAX);
    assert_int_equal(judge(&b), CHN_MORE);
    put_exceptions(&b, CHN_EXCEPTIONS_MAX + 1);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__put_u8(&b, 2);
    chn_buf__put_le(&b, 60, 4);
    chn_buf__put_string(&b, "DB::Exception");
    chn_buf__put_varuint(&b, CHN_STRING_MAX + 1);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__fini(&b);
}

static void test_a_packet_that_never_ends_is_not_kept(void **state) {
    (void)state;
    struct chn_parser p;
    struct chn_err err;
    struct chn_buf b = {0};
    enum chn_event event;
    size_t piece = 1 << 20, n = 0;
    char *zeros = calloc(piece, 1);
    open_parser(&p);
    /* A chain of exceptions, each with strings of 16 MiB: within the bounds of each. */
    int code = 0;
    for (unsigned i = 0; code == 0 || code == CHN_MORE; i++) {
        b.n = 0;
        if (i % 49 == 0) { /* 3 * 16 pieces, and the head of the next one. */
            chn_buf__put(&b, i == 0 ? "\x02" : "\x01", 1);
            chn_buf__put_le(&b, 60, 4);
        } else {
            if (i % 49 % 16 == 1) chn_buf__put_varuint(&b, CHN_STRING_MAX);
            chn_buf__put(&b, zeros, piece);
        }
        n += b.n;
        code = chn_parser__feed(&p, b.data, b.n, &err);
        if (code == 0) code = chn_parser__next(&p, &event, &err);
    }
    assert_int_equal(code, CHN_ERR_LIMIT);
    assert_in_range(n, CHN_CARRY_MAX, CHN_CARRY_MAX + 2 * piece);
    chn_parser__fini(&p);
    chn_buf__fini(&b);
    free(zeros);
}

/* --- Blocks --- */

static void put_block_head(struct chn_buf *b, uint8_t packet, uint64_t n_columns, uint64_t n_rows) {
    chn_buf__put_u8(b, packet);
    chn_buf__put(b, chn_empty_packet + 1, 9);
    chn_buf__put_varuint(b, n_columns);
    chn_buf__put_varuint(b, n_rows);
}

static void put_column_head(struct chn_buf *b, const char *name, const char *type) {
    chn_buf__put_string(b, name);
    chn_buf__put_string(b, type);
    chn_buf__put_u8(b, 0);
}

static int judge_size(uint64_t n_columns, uint64_t n_rows) {
    struct chn_buf b = {0};
    put_block_head(&b, 1, n_columns, n_rows);
    int code = judge(&b);
    chn_buf__fini(&b);
    return code;
}

/* A block of one column of @n_rows, with the bytes @hex of its values. */
static int judge_values(uint8_t packet, const char *type, uint64_t n_rows, const char *hex) {
    struct chn_buf b = {0};
    uint8_t data[256];
    put_block_head(&b, packet, 1, n_rows);
    put_column_head(&b, "c", type);
    chn_buf__put(&b, data, from_hex(hex, data, sizeof data));
    int code = judge(&b);
    chn_buf__fini(&b);
    return code;
}

static void test_sizes_are_bounded(void **state) {
    (void)state;
    assert_int_equal(judge_size(CHN_COLUMNS_MAX, CHN_ROWS_MAX), CHN_MORE);
    assert_int_equal(judge_size(CHN_COLUMNS_MAX + 1, 1), CHN_ERR_LIMIT);
    assert_int_equal(judge_size(1, (uint64_t)CHN_ROWS_MAX + 1), CHN_ERR_LIMIT);
    /* 64 Mi + 1 elements of an array; with 64 Mi their bytes are over the block's. */
    assert_int_equal(judge_values(1, "Array(Nothing)", 1, "01000004 00000000"), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(1, "Array(Array(UInt8))", 1, "ffffffffffffffff"), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(1, "Map(String, UInt8)", 1, "01000004 00000000"), CHN_ERR_LIMIT);
    /* A dictionary of 16 Mi + 1 words for one row. */
    static const char words[] = "0100000000000000 0006000000000000 0100000100000000";
    assert_int_equal(judge_values(1, "LowCardinality(String)", 1, words), CHN_ERR_LIMIT);
    /* A value of 16 MiB + 1, and one of 2 MiB in a block of 1. */
    assert_int_equal(judge_values(1, "String", 1, "81808008"), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(1, "JSON", 1, "0100000000000000 81808008"), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(1, "UInt64", 1 << 18, ""), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(1, "FixedString(1048576)", 2, ""), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(1, "Nullable(Int256)", 1 << 16, ""), CHN_MORE);
    assert_int_equal(judge_values(1, "Tuple()", 2 << 20, ""), CHN_ERR_LIMIT);
}

static void test_blocks_beside_the_result_are_bounded(void **state) {
    (void)state;
    uint64_t n = CHN_SIDE_BYTES_MAX / 8;
    assert_int_equal(judge_values(10, "UInt64", n, ""), CHN_MORE); /* Logs. */
    assert_int_equal(judge_values(10, "UInt64", n + 1, ""), CHN_ERR_LIMIT);
    assert_int_equal(judge_values(14, "Int64", n, ""), CHN_MORE); /* Profile events. */
    assert_int_equal(judge_values(14, "Int64", n + 1, ""), CHN_ERR_LIMIT);
}

static void test_strings_of_a_block_are_bounded_together(void **state) {
    (void)state;
    struct chn_buf b = {0};
    char *text = repeat('x', 1000);
    put_block_head(&b, 1, 1, 2000);
    put_column_head(&b, "c", "String");
    for (int i = 0; i < 2000; i++) chn_buf__put_string(&b, text);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__fini(&b);
    free(text);
}

static void test_names_and_types_are_bounded(void **state) {
    (void)state;
    struct chn_buf b = {0};
    char *name = repeat('x', CHN_NAME_BYTES_MAX), *longer = repeat('x', CHN_NAME_BYTES_MAX + 1);
    put_block_head(&b, 1, 1, 0);
    put_column_head(&b, name, "UInt8");
    assert_int_equal(judge(&b), CHN_MORE);
    put_block_head(&b, 1, 1, 0);
    put_column_head(&b, longer, "UInt8");
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    free(longer);
    free(name);
    /* Each is within its bound, all together are not. */
    char type[60000];
    name = repeat('x', sizeof type - 20);
    snprintf(type, sizeof type, "Enum8('%s' = 1)", name);
    put_block_head(&b, 1, CHN_COLUMNS_MAX, 0);
    for (int i = 0; i < CHN_HEADS_BYTES_MAX / (int)sizeof type + 2; i++)
        put_column_head(&b, "c", type);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    free(name);
    chn_buf__fini(&b);
}

/* Tuple(UInt8, ...) of @n parts in all. */
static char *make_tuple(unsigned n) {
    char *type = malloc(16 + (size_t)n * 6), *at = type + sprintf(type, "Tuple(UInt8");
    for (unsigned i = 2; i < n; i++) at += sprintf(at, ",UInt8");
    strcpy(at, ")");
    return type;
}

static void test_parts_of_types_are_bounded(void **state) {
    (void)state;
    struct chn_buf b = {0};
    char *type = make_tuple(CHN_TYPE_PARTS_MAX), *more = make_tuple(CHN_TYPE_PARTS_MAX + 1);
    unsigned n = CHN_NODES_MAX / CHN_TYPE_PARTS_MAX;
    put_block_head(&b, 1, n, 0);
    for (unsigned i = 0; i < n; i++) put_column_head(&b, "c", type);
    assert_int_equal(judge(&b), CHN_MORE);
    put_block_head(&b, 1, n + 1, 0);
    for (unsigned i = 0; i < n + 1; i++) put_column_head(&b, "c", type);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    put_block_head(&b, 1, 1, 0);
    put_column_head(&b, "c", more);
    assert_int_equal(judge(&b), CHN_ERR_TYPE);
    free(type);
    free(more);
    chn_buf__fini(&b);
}

static int judge_type(const char *text, size_t n) {
    struct chn_err err = {0};
    struct chn_type *type = chn_type__parse(text, n, &err);
    chn_type__free(type);
    return err.code;
}

static int judge_depth(const char *open, unsigned depth) {
    char text[2000] = "";
    for (unsigned i = 0; i < depth; i++) strcat(text, open);
    strcat(text, "UInt8");
    for (unsigned i = 0; i < depth; i++) strcat(text, ")");
    int code = judge_type(text, strlen(text));
    /* The deepest type can be decoded as well: to its end without a byte too few. */
    if (code == 0) assert_int_equal(judge_values(1, text, 1, ""), CHN_MORE);
    return code;
}

static void test_types_are_bounded(void **state) {
    (void)state;
    assert_int_equal(judge_depth("Array(", CHN_TYPE_DEPTH_MAX), 0);
    assert_int_equal(judge_depth("Array(", CHN_TYPE_DEPTH_MAX + 1), CHN_ERR_TYPE);
    assert_int_equal(judge_depth("Nested(x ", CHN_TYPE_DEPTH_MAX), 0);
    assert_int_equal(judge_depth("Nested(x ", CHN_TYPE_DEPTH_MAX + 1), CHN_ERR_TYPE);
    assert_int_equal(judge_depth("Map(String, ", CHN_TYPE_DEPTH_MAX + 1), CHN_ERR_TYPE);
    assert_int_equal(judge_type("FixedString(1048576)", 20), 0);
    assert_int_equal(judge_type("FixedString(1048577)", 20), CHN_ERR_TYPE);
    char *text = repeat(' ', CHN_TYPE_BYTES_MAX + 1);
    memcpy(text, "UInt8", 5);
    assert_int_equal(judge_type(text, CHN_TYPE_BYTES_MAX), 0);
    assert_int_equal(judge_type(text, CHN_TYPE_BYTES_MAX + 1), CHN_ERR_TYPE);
    struct chn_buf b = {0};
    put_block_head(&b, 1, 1, 0);
    put_column_head(&b, "c", text);
    assert_int_equal(judge(&b), CHN_ERR_LIMIT);
    chn_buf__fini(&b);
    free(text);
}

static size_t count_kept(const struct chn_view *v) {
    size_t n = v->data.capacity + v->ends.capacity;
    for (uint32_t i = 0; i < v->n_children; i++) n += count_kept(&v->children[i]);
    return n;
}

/* Memory is kept from one block to the next: blocks that fill one column after the other must not
 * add up. */
static void test_memory_does_not_add_up_over_blocks(void **state) {
    (void)state;
    struct chn_parser p;
    struct chn_buf b = {0};
    enum chn_event event;
    enum { COLUMNS = 40, BYTES = BLOCK_BYTES_MAX / 2 };
    char *zeros = calloc(BYTES, 1);
    size_t largest = 0;
    open_parser(&p);
    for (unsigned fat = 0; fat < COLUMNS; fat++) {
        b.n = 0;
        put_block_head(&b, 1, COLUMNS, 1);
        for (unsigned i = 0; i < COLUMNS; i++) {
            size_t n = i == fat ? BYTES : 0;
            put_column_head(&b, "c", "Array(UInt8)");
            chn_buf__put_le(&b, n, 8);
            chn_buf__put(&b, zeros, n);
        }
        assert_int_equal(chn_parser__feed(&p, b.data, b.n, NULL), 0);
        assert_int_equal(chn_parser__next(&p, &event, NULL), 0);
        assert_int_equal(chn_parser__next(&p, &event, NULL), CHN_MORE);
        size_t kept = 0;
        for (size_t i = 0; i < p.decoder.block.n_alive; i++)
            kept += count_kept(&p.decoder.block.columns[i].view);
        if (kept > largest) largest = kept;
    }
    assert_in_range(largest, BYTES, 3 * BLOCK_BYTES_MAX);
    chn_parser__fini(&p);
    chn_buf__fini(&b);
    free(zeros);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hellos_are_bounded),
        cmocka_unit_test(test_newer_hellos_and_blocks_are_bounded),
        cmocka_unit_test(test_exceptions_are_bounded),
        cmocka_unit_test(test_a_packet_that_never_ends_is_not_kept),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_blocks_beside_the_result_are_bounded),
        cmocka_unit_test(test_strings_of_a_block_are_bounded_together),
        cmocka_unit_test(test_names_and_types_are_bounded),
        cmocka_unit_test(test_parts_of_types_are_bounded),
        cmocka_unit_test(test_types_are_bounded),
        cmocka_unit_test(test_memory_does_not_add_up_over_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
