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

/* Builds one row of @type and compares its bytes. */
#define ASSERT_ROW(type, call, hex)                                                                \
    do {                                                                                           \
        struct chn_buf out_ = {0};                                                                 \
        struct chn_builder *b = chn_builder__new("c", type, 1 << 16, NULL);                        \
        assert_non_null(b);                                                                        \
        assert_int_equal(call, 0);                                                                 \
        gather(b, &out_);                                                                          \
        assert_hex(out_.data, out_.n, hex);                                                        \
        chn_builder__free(b);                                                                      \
        chn_buf__fini(&out_);                                                                      \
    } while (0)

#define LC "0100000000000000 0006000000000000 "
#define KEYS_1 " 0100000000000000 "
#define ZEROS_15 "000000000000000000000000000000"
#define ONES_15 "ffffffffffffffffffffffffffffff"

static void test_values_of_each_type_have_the_known_bytes(void **state) {
    (void)state;
    ASSERT_ROW("Int128", chn_builder__i64(b, -2), "fe" ONES_15);
    ASSERT_ROW("UInt128", chn_builder__u64(b, 2), "02" ZEROS_15);
    ASSERT_ROW("Int256", chn_builder__i64(b, -2), "fe" ONES_15 "ff" ONES_15);
    ASSERT_ROW("UInt256", chn_builder__i128(b, 3, -1),
               "0300000000000000 ffffffffffffffff 00" ZEROS_15);
    ASSERT_ROW("Int256", chn_builder__i256(b, (const uint64_t[4]){1, 2, 3, (uint64_t)1 << 63}),
               "0100000000000000 0200000000000000 0300000000000000 0000000000000080");
    ASSERT_ROW("Int8", chn_builder__i256(b, (const uint64_t[4]){UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                                                UINT64_MAX}),
               "ff");
    ASSERT_ROW("Decimal(76, 20)", chn_builder__text(b, "-0.00000000000000000001", 23),
               "ff" ONES_15 "ff" ONES_15);
    ASSERT_ROW("Decimal128(3)", chn_builder__text(b, "1.5", 3), "dc05" "0000000000000000000000000000");
    ASSERT_ROW("Decimal32(4)", chn_builder__text(b, "12.50000", 8), "48e80100");
    ASSERT_ROW("BFloat16", chn_builder__f64(b, 1.5), "c03f");
    ASSERT_ROW("BFloat16", chn_builder__f64(b, 1.01171875), "823f"); /* A tie goes to the even. */
    ASSERT_ROW("Date32", chn_builder__text(b, "1969-12-31", 10), "ffffffff");
    ASSERT_ROW("DateTime", chn_builder__text(b, "1970-01-02 00:00:01", 19), "81510100");
    ASSERT_ROW("DateTime64(3)", chn_builder__text(b, "1969-12-31 23:59:59.5", 21),
               "0cfeffffffffffff");
    ASSERT_ROW("Time", chn_builder__text(b, "-100:00:01", 10), "bf81faff");
    ASSERT_ROW("Time64(3)", chn_builder__text(b, "00:00:01.5", 10), "dc05000000000000");
    ASSERT_ROW("IPv4", chn_builder__string(b, "1.2.3.4", 7), "04030201");
    ASSERT_ROW("IPv6", chn_builder__string(b, "1.2.3.4", 7), "00000000000000000000ffff01020304");
    ASSERT_ROW("IPv6", chn_builder__text(b, "::1", 3), "00" "0000000000000000000000000000" "01");
    ASSERT_ROW("JSON", chn_builder__string(b, "{}", 2), "0100000000000000 02 7b7d");
    ASSERT_ROW("JSON(a UInt8, SKIP REGEXP 'b)', `c)` String)", chn_builder__default(b),
               "0100000000000000 02 7b7d");
    ASSERT_ROW("Tuple()", chn_builder__end(b), "30");
    ASSERT_ROW("LowCardinality(FixedString(2))", chn_builder__string(b, "a", 1),
               LC "0200000000000000 0000 6100" KEYS_1 "01");
    ASSERT_ROW("LowCardinality(Nullable(Date))", chn_builder__u64(b, 5),
               LC "0300000000000000 0000 0000 0500" KEYS_1 "02");
    ASSERT_ROW("LowCardinality(Nullable(Date))", chn_builder__text(b, "NULL", 4),
               LC "0200000000000000 0000 0000" KEYS_1 "00");
    ASSERT_ROW("LowCardinality(Int16)", chn_builder__text(b, "0", 1),
               LC "0100000000000000 0000" KEYS_1 "00");
    ASSERT_ROW("LowCardinality(UUID)", chn_builder__text(b, "550e8400-e29b-41d4-a716-446655440000", 36),
               LC "0200000000000000 00" ZEROS_15 "d4419be200840e55 00004455664416a7" KEYS_1 "01");
}

static void test_dictionaries_hold_each_word_once(void **state) {
    (void)state;
    struct chn_builder *b = chn_builder__new("c", "LowCardinality(UInt32)", 4 << 20, NULL);
    struct chn_column column;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 100000; i++)
            assert_int_equal(chn_builder__u64(b, i * 7 % 70000), 0);
        assert_int_equal(chn_builder__column(b, &column), 0);
        assert_int_equal(column.n_parts, 5); /* Prefix, head, words, number of keys, keys. */
        assert_int_equal(column.parts[2].n, 10000 * 4);
        assert_int_equal(column.parts[4].n, 100000 * 2);
        assert_int_equal(chn_builder__n_bytes(b), 10000 * 4 + 100000 * 4);
        chn_builder__reset(b);
    }
    /* A value that does not fit leaves the dictionary as it was, and the rows. */
    assert_int_equal(chn_builder__u64(b, 1), 0);
    size_t bytes = chn_builder__n_bytes(b);
    assert_int_equal(chn_builder__u64(b, UINT64_MAX), CHN_ERR_ARGUMENT);
    assert_int_equal(chn_builder__string(b, "x", 1), CHN_ERR_TYPE);
    assert_int_equal(chn_builder__n_bytes(b), bytes);
    assert_int_equal(chn_builder__n_rows(b), 1);
    chn_builder__free(b);
}

/* Texts that a type takes, those that it refuses with CHN_ERR_ARGUMENT. */
static void test_texts_and_ranges_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *type, *text;
        bool fits;
    } cases[] = {
        {"Int8", "-128", true},
        {"Int8", "-129", false},
        {"Int8", "128", false},
        {"UInt8", "255", true},
        {"UInt8", "-0", true},
        {"UInt8", "-1", false},
        {"UInt8", "1.0", false},
        {"UInt8", "", false},
        {"UInt8", "-", false},
        {"UInt8", " 1", false},
        {"UInt64", "18446744073709551615", true},
        {"UInt64", "18446744073709551616", false},
        {"Int128", "170141183460469231731687303715884105727", true},
        {"Int128", "170141183460469231731687303715884105728", false},
        {"Int128", "-170141183460469231731687303715884105728", true},
        {"UInt128", "340282366920938463463374607431768211455", true},
        {"UInt128", "340282366920938463463374607431768211456", false},
        {"Int256", "57896044618658097711785492504343953926634992332820282019728792003956564819967",
         true},
        {"Int256", "57896044618658097711785492504343953926634992332820282019728792003956564819968",
         false},
        {"Int256", "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
         true},
        {"Int256", "-57896044618658097711785492504343953926634992332820282019728792003956564819969",
         false},
        {"UInt256",
         "115792089237316195423570985008687907853269984665640564039457584007913129639935", true},
        {"UInt256",
         "115792089237316195423570985008687907853269984665640564039457584007913129639936", false},
        {"Decimal(9, 2)", "9999999.99", true},
        {"Decimal(9, 2)", "10000000", false},
        {"Decimal(9, 2)", "0.001", false},
        {"Decimal(9, 2)", "0.100", true},
        {"Decimal(9, 2)", "1.2.3", false},
        {"Decimal(38, 0)", "99999999999999999999999999999999999999", true},
        {"Decimal(38, 0)", "100000000000000000000000000000000000000", false},
        {"Decimal(20, 5)", "-999999999999999.99999", true},
        {"Decimal(20, 5)", "1000000000000000", false},
        {"Decimal(76, 0)",
         "-9999999999999999999999999999999999999999999999999999999999999999999999999999", true},
        {"Decimal(76, 0)",
         "10000000000000000000000000000000000000000000000000000000000000000000000000000", false},
        {"Float64", "-1.5e300", true},
        {"Float64", "nan", true},
        {"Float64", "-inf", true},
        {"Float64", "0x10", false},
        {"Float64", "infinity", false},
        {"Float64", "1e", false},
        {"Bool", "true", true},
        {"Bool", "2", false},
        {"Date", "2149-06-06", true},
        {"Date", "2149-06-07", false},
        {"Date", "1969-12-31", false},
        {"Date", "2023-02-29", false},
        {"Date", "2024-02-29", true},
        {"Date", "1900-02-29", false},
        {"Date", "2024-13-01", false},
        {"Date", "2024-1-01", false},
        {"Date", "2024-01-01 ", false},
        {"DateTime", "2106-02-07 06:28:15", true},
        {"DateTime", "2106-02-07 06:28:16", false},
        {"DateTime", "2024-01-01 24:00:00", false},
        {"DateTime", "2024-01-01T00:00:00", false},
        {"DateTime", "2024-01-01 00:00:00.5", false},
        {"DateTime64(3)", "2024-01-01 00:00:00.1234", false},
        {"DateTime64(9)", "9999-01-01 00:00:00", false}, /* Beyond 64 bits of nanoseconds. */
        {"Time", "999:59:59", true},
        {"Time", "1000:00:00", false},
        {"UUID", "550e8400-e29b-41d4-a716-44665544000", false},
        {"IPv4", "1.2.3.256", false},
        {"IPv4", "::1", false},
        {"IPv6", "1:2", false},
        {"Enum8('a' = 1)", "b", false},
        {"FixedString(2)", "abc", false},
        {"LowCardinality(Int8)", "128", false},
        {"Nullable(Int8)", "NULL", true},
        {"Nullable(Int8)", "128", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chn_builder *b = chn_builder__new("c", cases[i].type, 1 << 10, NULL);
        assert_non_null(b);
        int code = chn_builder__text(b, cases[i].text, strlen(cases[i].text));
        if (code != (cases[i].fits ? 0 : CHN_ERR_ARGUMENT))
            fail_msg("%s in %s: %s", cases[i].text, cases[i].type, chn_err__text(code));
        assert_int_equal(chn_builder__n_rows(b), cases[i].fits);
        chn_builder__free(b);
    }
    struct chn_builder *b = chn_builder__new("c", "Decimal(38, 2)", 1 << 10, NULL);
    assert_int_equal(chn_builder__i128(b, 0, (int64_t)1 << 62), 0); /* 8.5e37. */
    assert_int_equal(chn_builder__i128(b, 0, INT64_MAX), CHN_ERR_ARGUMENT); /* 1.7e38. */
    assert_int_equal(chn_builder__i128(b, 0, INT64_MIN), CHN_ERR_ARGUMENT);
    assert_int_equal(chn_builder__text(b, "[1]", 3), CHN_ERR_ARGUMENT);
    chn_builder__free(b);
    b = chn_builder__new("c", "Array(UInt8)", 1 << 10, NULL);
    assert_int_equal(chn_builder__text(b, "[1]", 3), CHN_ERR_TYPE);
    chn_builder__free(b);
}

static void test_the_version_is_the_builds(void **state) {
    (void)state;
    char numbers[32];
    snprintf(numbers, sizeof numbers, "%d.%d.%d", CHN_VERSION_MAJOR, CHN_VERSION_MINOR,
             CHN_VERSION_PATCH);
    assert_string_equal(CHN_VERSION, numbers);
    assert_string_equal(CHN_VERSION, BUILD_VERSION);
}

static void test_strings_are_quoted(void **state) {
    (void)state;
    char to[8];
    assert_int_equal(chn_quote(to, sizeof to, "a'b", 3), 6);
    assert_string_equal(to, "'a\\'b'");
    assert_int_equal(chn_quote(to, sizeof to, "\0\t\\", 3), 8); /* Cut. */
    assert_string_equal(to, "'\\0\\t\\\\");
    assert_int_equal(chn_quote(NULL, 0, "x", 1), 3);
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
        {"JSON", "JSON(max_dynamic_paths = 8, a.b UInt32)", true},
        {"JSON", "String", false},
        {"Float32", "BFloat16", false},
        {"Time64(3)", "Time64(6)", false},
        {"Tuple()", "Nothing", false},
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
                                      "LowCardinality(JSON)",
                                      "Nullable(Tuple(UInt8))",
                                      "JSON(a",
                                      "Time64(10)",
                                      "Time64",
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
        cmocka_unit_test(test_values_of_each_type_have_the_known_bytes),
        cmocka_unit_test(test_dictionaries_hold_each_word_once),
        cmocka_unit_test(test_texts_and_ranges_are_checked),
        cmocka_unit_test(test_strings_are_quoted),
        cmocka_unit_test(test_the_version_is_the_builds),
        cmocka_unit_test(test_builders_refuse_what_does_not_fit),
        cmocka_unit_test(test_types_are_compared_by_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
