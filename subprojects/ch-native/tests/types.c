/* Rows of each type, judged by the server. */
#include "types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Row @n of a type: how it is appended, and what the server says it is. */
struct type_case {
    const char *type, *expression;
    int (*append)(struct chn_builder *b, unsigned n);
    bool modern; /* Not known to 18.16. */
};

static int add_signed(struct chn_builder *b, unsigned n) {
    return chn_builder__i64(b, (int64_t)n - 50);
}
static int add_unsigned(struct chn_builder *b, unsigned n) { return chn_builder__u64(b, n); }
static int add_day(struct chn_builder *b, unsigned n) { return chn_builder__u64(b, n + 1); }
static int add_large(struct chn_builder *b, unsigned n) {
    return chn_builder__u64(b, UINT64_MAX - n);
}
static int add_float(struct chn_builder *b, unsigned n) {
    return chn_builder__f64(b, (double)n / 4 - 3);
}
static int add_bool(struct chn_builder *b, unsigned n) { return chn_builder__u64(b, n % 2); }
static int add_enum(struct chn_builder *b, unsigned n) {
    return n % 2 == 0 ? chn_builder__string(b, "b/o", 3) : chn_builder__i64(b, -2);
}
static int add_time(struct chn_builder *b, unsigned n) {
    return chn_builder__u64(b, 1700000000u + n);
}
static int add_milli(struct chn_builder *b, unsigned n) {
    return chn_builder__i64(b, 1700000000123 + (int64_t)n);
}
static int add_decimal(struct chn_builder *b, unsigned n) {
    return chn_builder__i64(b, (int64_t)n * 1001 - 5000);
}
static int add_uuid(struct chn_builder *b, unsigned n) {
    char text[37];
    snprintf(text, sizeof text, "550e8400-e29b-41d4-a716-%012x", n);
    return chn_builder__string(b, text, 36);
}
static int add_string(struct chn_builder *b, unsigned n) {
    char text[400];
    memset(text, 'x', sizeof text); /* Up to 300 bytes: lengths of one and of two bytes. */
    return chn_builder__string(b, text, n);
}
static int add_fixed(struct chn_builder *b, unsigned n) {
    char text[16];
    return chn_builder__string(b, text, (size_t)snprintf(text, sizeof text, "%u", n));
}
static int add_word(struct chn_builder *b, unsigned n) {
    static const char *const words[] = {"chaos", "", "divine"};
    return chn_builder__string(b, words[n % 3], strlen(words[n % 3]));
}
static int add_many_words(struct chn_builder *b, unsigned n) { return add_fixed(b, n); }
static int add_nullable(struct chn_builder *b, unsigned n) {
    return n % 3 == 0 ? chn_builder__null(b) : add_fixed(b, n);
}
static int add_nullable_int(struct chn_builder *b, unsigned n) {
    return n % 3 == 0 ? chn_builder__null(b) : chn_builder__i64(b, n);
}
static int add_array(struct chn_builder *b, unsigned n) {
    for (unsigned i = 0; i < n % 4; i++)
        if (chn_builder__u64(chn_builder__child(b, 0), n + i) != 0) return -1;
    return chn_builder__end(b);
}
static int add_word_array(struct chn_builder *b, unsigned n) {
    for (unsigned i = 0; i < n % 4; i++)
        if (add_word(chn_builder__child(b, 0), i) != 0) return -1;
    return chn_builder__end(b);
}
static int add_array_array(struct chn_builder *b, unsigned n) {
    for (unsigned i = 0; i < n % 3; i++)
        if (add_array(chn_builder__child(b, 0), i) != 0) return -1;
    return chn_builder__end(b);
}
static int add_map(struct chn_builder *b, unsigned n) {
    if (n % 2 == 1 &&
        (add_fixed(chn_builder__child(b, 0), n) != 0 || add_word(chn_builder__child(b, 1), n) != 0))
        return -1;
    return chn_builder__end(b);
}
static int add_tuple(struct chn_builder *b, unsigned n) {
    if (add_unsigned(chn_builder__child(b, 0), n) != 0 ||
        add_fixed(chn_builder__child(b, 1), n) != 0)
        return -1;
    return chn_builder__end(b);
}

#define WORDS "transform(n % 3, [0, 1, 2], ['chaos', '', 'divine'], '?')"
static const struct type_case type_cases[] = {
    {"Int8", "toInt8(toInt64(n % 100) - 50)", NULL, false},
    {"Int16", "toInt16(toInt64(n) - 50)", add_signed, false},
    {"Int32", "toInt32(toInt64(n) - 50)", add_signed, false},
    {"Int64", "toInt64(n) - 50", add_signed, false},
    {"UInt16", "toUInt16(n)", add_unsigned, false},
    {"UInt32", "toUInt32(n)", add_unsigned, false},
    {"UInt64", "toUInt64(18446744073709551615 - n)", add_large, false},
    {"Float32", "toFloat32(n / 4 - 3)", add_float, false},
    {"Float64", "n / 4 - 3", add_float, false},
    {"String", "arrayStringConcat(arrayMap(i -> 'x', range(toUInt64(n))))", add_string, false},
    {"FixedString(8)", "toFixedString(toString(n), 8)", add_fixed, false},
    {"Date", "toDate(n + 1)", add_day, false},
    {"DateTime('UTC')", "toDateTime(1700000000 + n)", add_time, false},
    {"Decimal(9, 4)", "toDecimal32(toString((toInt64(n) * 1001 - 5000) / 10000), 4)", add_decimal,
     false},
    {"Decimal(18, 6)", "toDecimal64(toString((toInt64(n) * 1001 - 5000) / 1000000), 6)",
     add_decimal, false},
    {"Decimal(38, 2)", "toDecimal128(toString((toInt64(n) * 1001 - 5000) / 100), 2)", add_decimal,
     false},
    {"Enum8('price' = -2, 'b/o' = 3)", "n % 2 = 0 ? 'b/o' : 'price'", add_enum, false},
    {"Enum16('price' = -2, 'b/o' = 3)", "n % 2 = 0 ? 'b/o' : 'price'", add_enum, false},
    {"UUID",
     "toUUID(concat('550e8400-e29b-41d4-a716-00000000', lower(hex(toUInt8(n / 256))), "
     "lower(hex(toUInt8(n % 256)))))",
     add_uuid, false},
    {"Nullable(String)", "n % 3 = 0 ? NULL : toString(n)", add_nullable, false},
    {"Nullable(Int64)", "n % 3 = 0 ? NULL : toInt64(n)", add_nullable_int, false},
    {"Array(UInt64)", "arrayMap(i -> toUInt64(n + i), range(toUInt64(n % 4)))", add_array, false},
    {"Array(Array(UInt64))",
     "arrayMap(k -> arrayMap(i -> toUInt64(k + i), range(toUInt64(k))), range(toUInt64(n % 3)))",
     add_array_array, false},
    {"Tuple(UInt32, String)", "(toUInt32(n), toString(n))", add_tuple, false},
    {"LowCardinality(String)", WORDS, add_word, true},
    {"LowCardinality(String)", "toString(n)", add_many_words, true}, /* Keys of two bytes. */
    {"LowCardinality(Nullable(String))", "n % 3 = 0 ? NULL : toString(n)", add_nullable, true},
    {"Array(LowCardinality(String))",
     "arrayMap(i -> transform(i, [0, 1, 2], ['chaos', '', 'divine'], '?'), range(toUInt64(n % 4)))",
     add_word_array, true},
    {"Bool", "toBool(n % 2 = 1)", add_bool, true},
    {"IPv4", "toIPv4(IPv4NumToString(toUInt32(n)))", add_unsigned, true},
    {"Date32", "toDate32(toDate(n + 1))", add_day, true},
    {"DateTime64(3, 'UTC')", "fromUnixTimestamp64Milli(1700000000123 + toInt64(n), 'UTC')",
     add_milli, true},
    {"Int128", "toInt128(n) - 50", add_signed, true},
    {"Map(String, String)", "n % 2 = 1 ? map(toString(n), " WORDS ") : map()", add_map, true},
    {"Map(LowCardinality(String), String)", "n % 2 = 1 ? map(toString(n), " WORDS ") : map()",
     add_map, true},
};

enum { ROUND_TRIP_ROWS = 300 };

/* Inserts the rows of a case, asks the server how many differ from its own, and reads them back as
 * text. */
static void round_trip(struct client *c, const struct type_case *t,
                       enum chn_compression compression) {
    struct chn_err err = {0};
    char sql[1024];
    client__run(c, "DROP TABLE IF EXISTS round_trip");
    snprintf(sql, sizeof sql, "CREATE TABLE round_trip (n UInt32, v %s) ENGINE = Memory", t->type);
    client__run(c, sql);
    struct chn_builder *n = chn_builder__new("n", "UInt32", 1 << 20, &err);
    struct chn_builder *v = chn_builder__new("v", t->type, 1 << 20, &err);
    if (v == NULL) fail_msg("%s", err.msg);
    for (unsigned i = 0; i < ROUND_TRIP_ROWS; i++) {
        assert_int_equal(chn_builder__u64(n, i), 0);
        assert_int_equal(t->append != NULL ? t->append(v, i) : add_signed(v, i % 100), 0);
    }
    struct chn_column columns[2];
    assert_int_equal(chn_builder__column(n, &columns[0]), 0);
    assert_int_equal(chn_builder__column(v, &columns[1]), 0);
    const struct chn_insert insert = {.table = "round_trip",
                                      .columns = columns,
                                      .n_columns = 2,
                                      .n_rows = ROUND_TRIP_ROWS,
                                      .compression = compression};
    for (int i = 0; i < 2; i++) { /* The second one is pipelined. */
        if (client__insert(c, &insert) != CHN_OK) fail_msg("%s: %s", t->type, c->err.msg);
        assert_true(i == 0 || c->insert.pipelined);
    }
    snprintf(sql, sizeof sql,
             "SELECT count(), countIf(toString(v) = toString(%s)) FROM round_trip%s", t->expression,
             strstr(t->type, "Nullable") != NULL ? " WHERE v IS NOT NULL" : "");
    if (client__sql(c, sql, compression) != 0) fail_msg("%s: %s", t->type, c->err.msg);
    const char *expected = strstr(t->type, "Nullable") != NULL ? "400\t400\n" : "600\t600\n";
    if (strcmp(c->text, expected) != 0)
        fail_msg("%s: the server has other rows: %s", t->type, c->text);

    static char ours[sizeof c->text];
    snprintf(sql, sizeof sql, "SELECT v FROM round_trip ORDER BY n LIMIT 200");
    if (client__sql(c, sql, compression) != 0) fail_msg("%s: %s", t->type, c->err.msg);
    strcpy(ours, c->text);
    snprintf(sql, sizeof sql, "SELECT %s FROM round_trip ORDER BY n LIMIT 200",
             strncmp(t->type, "Nullable", 8) == 0 || strncmp(t->type, "LowCardinality(N", 16) == 0
                 ? "if(v IS NULL, 'NULL', toString(assumeNotNull(v)))"
                 : "toString(v)");
    if (client__sql(c, sql, compression) != 0) fail_msg("%s: %s", t->type, c->err.msg);
    if (strncmp(t->type, "Decimal", 7) != 0)
        assert_string_equal(ours, c->text); /* The server cuts trailing zeros. */
    chn_builder__free(n);
    chn_builder__free(v);
}

void types__there_and_back(struct client *c, bool modern) {
    for (size_t i = 0; i < sizeof type_cases / sizeof type_cases[0]; i++) {
        if (type_cases[i].modern && !modern) continue;
        round_trip(c, &type_cases[i], CHN_NO_COMPRESSION);
        round_trip(c, &type_cases[i], CHN_LZ4);
    }
}
