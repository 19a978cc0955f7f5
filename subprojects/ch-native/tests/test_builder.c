/* Builders and types: golden bytes, bounds, and which types are the same. */
#include "hex.h"
#include "wire.h"

#include <ch_native/ch_native.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The bytes of a column in one piece. */
static void gather(struct chn_builder *b, struct chn_buf *out) {
    struct chn_column column;
    assert_int_equal(chn_builder__column(b, &column), 0);
    for (size_t i = 0; i < column.n_parts; i++)
        chn_buf__put(out, column.parts[i].data, column.parts[i].n);
}

/* --- Builders --- */

static void test_columns_have_the_known_bytes(void **state) {
    (void)state;
    struct chn_buf out = {0};
    struct chn_builder *b = chn_builder__new("c", "LowCardinality(String)", 1 << 16, NULL);
    static const char *const words[] = {"a", "b", "a"};
    for (int i = 0; i < 3; i++) chn_builder__string(b, words[i], 1);
    gather(b, &out);
    assert_hex(
        out.data, out.n,
        "0100000000000000 0006000000000000 0300000000000000 00 0161 0162 0300000000000000 010201");
    chn_builder__reset(b); /* A dictionary starts anew. */
    out.n = 0;
    chn_builder__string(b, "b", 1);
    gather(b, &out);
    assert_hex(out.data, out.n,
               "0100000000000000 0006000000000000 0200000000000000 00 0162 0100000000000000 01");
    chn_builder__free(b);

    out.n = 0;
    b = chn_builder__new("c", "UUID", 1 << 16, NULL);
    assert_int_equal(chn_builder__string(b, "550e8400-e29b-41d4-a716-446655440000", 36), 0);
    assert_int_equal(chn_builder__string(b, "550e8400-e29b-41d4-a716-44665544000g", 36),
                     CHN_ERR_ARGUMENT);
    gather(b, &out);
    assert_hex(out.data, out.n, "d4419be200840e55 00004455664416a7");
    chn_builder__free(b);

    out.n = 0;
    b = chn_builder__new("c", "Array(LowCardinality(String))", 1 << 16, NULL);
    assert_int_equal(chn_builder__end(b), 0);
    gather(b, &out); /* A prefix, an offset, and nothing of a dictionary without elements. */
    assert_hex(out.data, out.n, "0100000000000000 0000000000000000");
    chn_builder__free(b);

    out.n = 0;
    b = chn_builder__new("c", "Nullable(Decimal(9, 2))", 1 << 16, NULL);
    chn_builder__i64(b, -150);
    chn_builder__null(b);
    gather(b, &out);
    assert_hex(out.data, out.n, "0001 6affffff 00000000");
    chn_builder__free(b);
    chn_buf__fini(&out);
}

static void test_builders_refuse_what_does_not_fit(void **state) {
    (void)state;
    struct chn_err err;
    assert_null(chn_builder__new("c", "Object('json')", 100, &err));
    assert_int_equal(err.code, CHN_ERR_TYPE);
    assert_non_null(strstr(err.msg, "Object"));
    struct chn_builder *b = chn_builder__new("c", "UInt8", 3, &err);
    assert_int_equal(chn_builder__u64(b, 256), CHN_ERR_ARGUMENT);
    assert_int_equal(chn_builder__i64(b, -1), CHN_ERR_ARGUMENT);
    assert_int_equal(chn_builder__string(b, "1", 1), CHN_ERR_TYPE);
    assert_int_equal(chn_builder__null(b), CHN_ERR_TYPE);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(chn_builder__u64(b, i), 0);
    assert_int_equal(chn_builder__u64(b, 3), CHN_ERR_LIMIT);
    assert_int_equal(chn_builder__n_rows(b), 3);
    chn_builder__free(b);
    b = chn_builder__new("c", "Nullable(String)", 10, &err);
    assert_int_equal(chn_builder__string(b, "1234567890", 10),
                     CHN_ERR_LIMIT); /* Its length and its null byte do not. */
    assert_int_equal(chn_builder__n_bytes(b), 0);
    assert_int_equal(chn_builder__string(b, "12345678", 8), 0);
    assert_int_equal(chn_builder__n_bytes(b), 10);
    chn_builder__free(b);
    b = chn_builder__new("c", "Decimal(4, 2)", 100, &err);
    assert_int_equal(chn_builder__i64(b, 9999), 0);
    assert_int_equal(chn_builder__i64(b, 10000), CHN_ERR_ARGUMENT);
    chn_builder__free(b);
    b = chn_builder__new("c", "Array(String)", 100, &err);
    struct chn_column column;
    chn_builder__string(chn_builder__child(b, 0), "x", 1);
    assert_int_equal(chn_builder__column(b, &column),
                     CHN_ERR_ARGUMENT); /* The row was not ended. */
    assert_int_equal(chn_builder__end(b), 0);
    assert_int_equal(chn_builder__column(b, &column), 0);
    chn_builder__free(b);
}

static void test_types_are_compared_by_meaning(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"Decimal64(6)", "Decimal(18, 6)", true},
        {"DateTime", "DateTime('UTC')", true},
        {"DateTime64(3)", "DateTime64(3, 'Europe/Berlin')", true},
        {"DateTime64(3)", "DateTime64(6)", false},
        {"Enum8('a' = 1, 'b' = 2)", "Enum8('b' = 2, 'a' = 1)", true},
        {"Enum8('a' = 1, 'b' = 2)", "Enum8('a' = 2, 'b' = 1)", false},
        {"Tuple(a UInt8, b String)", "Tuple(UInt8, String)", true},
        {"Nested(a UInt8, b String)", "Array(Tuple(UInt8,String))", true},
        {"SimpleAggregateFunction(max, UInt64)", "UInt64", true},
        {"String", "LowCardinality(String)", false},
        {"UInt8", "Bool", false},
        {"Map(String, UInt8)", "Map(String, UInt16)", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chn_type *a = chn_type__parse(cases[i].a, strlen(cases[i].a), NULL);
        struct chn_type *b = chn_type__parse(cases[i].b, strlen(cases[i].b), NULL);
        assert_non_null(a);
        assert_non_null(b);
        if (chn_type__equal(a, b) != cases[i].equal) fail_msg("%s and %s", cases[i].a, cases[i].b);
        chn_type__free(a);
        chn_type__free(b);
    }
    static const char *const bad[] = {"",
                                      "Foo",
                                      "Array",
                                      "Array(",
                                      "Array()",
                                      "Array(UInt8",
                                      "UInt8)",
                                      "Nullable(Array(UInt8))",
                                      "FixedString(0)",
                                      "Decimal(77, 1)",
                                      "Decimal(5, 6)",
                                      "Enum8('a' = 200)",
                                      "Enum8('a)",
                                      "DateTime64(10)",
                                      "Map(String)",
                                      "LowCardinality(Map(String, String))",
                                      "Int8 x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_null(chn_type__parse(bad[i], strlen(bad[i]), NULL));
    char deep[400] = "";
    for (int i = 0; i < 30; i++) strcat(deep, "Array(");
    strcat(deep, "UInt8");
    for (int i = 0; i < 30; i++) strcat(deep, ")");
    assert_null(chn_type__parse(deep, strlen(deep), NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_have_the_known_bytes),
        cmocka_unit_test(test_builders_refuse_what_does_not_fit),
        cmocka_unit_test(test_types_are_compared_by_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
