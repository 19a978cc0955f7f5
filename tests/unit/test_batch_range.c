/* Ranges of a batch hold the same rows as the batch, and say them as JSON. */
#include "souk/core/batch_range.h"
#include "souk/core/refusal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const struct column_desc columns[] = {{"id", "UInt64", COLUMN_U64}, {"name", "String", COLUMN_STR},
                                             {"delta", "Int32", COLUMN_I32}, {"price", "Float64", COLUMN_F64},
                                             {"series", "Array(Float32)", COLUMN_ARR_F32}, {"flag", "UInt8", COLUMN_U8}};
static const struct table_desc table = {.name = "t", .columns = columns, .n_columns = 6};

static void add(struct batch *b, uint64_t i) {
    static const float series[] = {0.5f, 1, 2, 3};
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)(i % 7), "a\"bcdef");
    batch__begin(b), batch__u64(b, UINT64_MAX - i), batch__cstr(b, name), batch__i32(b, -(int32_t)i);
    batch__f64(b, i % 5 == 0 ? 1.0 / 0.0 : 0.25 * (double)i), batch__f32s(b, series, i % 4);
    batch__u8(b, i % 2), batch__end(b);
}

static void fill(struct batch *b, uint64_t from, uint64_t to) {
    assert_int_equal(batch__init(b, &table), 0);
    for (uint64_t i = from; i < to; i++) add(b, i);
}

static void test_a_range_is_its_rows(void **state) {
    (void)state;
    struct batch all;
    char want[33], got[33];
    fill(&all, 0, 40);
    for (uint64_t lo = 0; lo <= 40; lo++)
        for (uint64_t hi = lo; hi <= 40; hi++) {
            struct batch part, same;
            struct batch_mark from = {0}, to;
            batch__seek(&all, &from, lo / 2); /* In steps, as a search goes. */
            batch__seek(&all, &from, lo);
            to = from;
            batch__seek(&all, &to, hi);
            assert_int_equal(batch__copy(&all, &from, &to, &part), 0);
            fill(&same, lo, hi);
            batch__hash(&part, got);
            batch__hash(&same, want);
            assert_string_equal(got, want);
            batch__fini(&part);
            batch__fini(&same);
        }
    batch__fini(&all);
}

static void test_a_row_is_told_as_json(void **state) {
    (void)state;
    struct batch b;
    struct buf out = buf__init(1000);
    struct batch_mark at = {0};
    struct slice name;
    int64_t v;
    fill(&b, 0, 10);
    batch__seek(&b, &at, 3);
    batch__row_json(&b, &at, &out);
    buf__append(&out, "", 1);
    assert_string_equal(out.base, "{\"id\":18446744073709551612,\"name\":\"a\\\"b\",\"delta\":-3,\"price\":0.75,"
                                  "\"series\":[0.5,1,2],\"flag\":1}");
    assert_true(batch__int(&b, &at, "delta", &v));
    assert_int_equal(v, -3);
    assert_false(batch__int(&b, &at, "price", &v));
    assert_false(batch__int(&b, &at, "none", &v));
    assert_true(batch__text(&b, &at, "name", &name));
    assert_true(slice__eq(name, SLICE_LIT("a\"b")));
    assert_false(batch__text(&b, &at, "id", &name));
    batch__seek(&b, &at, 5);
    buf__clear(&out);
    batch__row_json(&b, &at, &out);
    buf__append(&out, "", 1);
    assert_non_null(strstr(out.base, "\"price\":null")); /* Infinity has no word in JSON. */
    batch__seek(&b, &at, 10);
    assert_false(batch__int(&b, &at, "id", &v)); /* Behind the last row. */
    buf__fini(&out);
    batch__fini(&b);
}

static void test_a_refusal_comes_back_as_it_was(void **state) {
    (void)state;
    struct refusal r = {.token = SLICE_LIT("0123456789abcdef0123456789abcdef"), .row = 7, .table = SLICE_LIT("t"),
                        .part = SLICE_LIT("Standard"), .src = SLICE_LIT("psapi"), .lsn = 1, .ord = 2, .wall_ns = -3,
                        .code = 469, .message = SLICE_LIT("no"), .payload = SLICE_LIT("{}")}, back;
    struct buf out = buf__init(1000);
    refusal__encode(&r, &out);
    assert_int_equal(refusal__decode(buf__slice(&out), &back), 0);
    assert_true(slice__eq(back.token, r.token) && slice__eq(back.payload, r.payload) && slice__eq(back.src, r.src));
    assert_true(back.row == 7 && back.lsn == 1 && back.ord == 2 && back.wall_ns == -3 && back.code == 469);
    for (size_t n = 0; n < out.len; n++)
        assert_int_equal(refusal__decode(slice__of(out.base, n), &back), ERR_CORRUPT);
    buf__fini(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_range_is_its_rows),
        cmocka_unit_test(test_a_row_is_told_as_json),
        cmocka_unit_test(test_a_refusal_comes_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
