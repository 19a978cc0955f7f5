/* Batches lay rows out as ClickHouse's Native format does, and merge without changing a row. */
#include "souk/core/batch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const struct column_desc columns[] = {
    {"n", "UInt32", COLUMN_U32},
    {"s", "String", COLUMN_STR},
    {"f", "Array(Float32)", COLUMN_ARR_F32},
};
static const struct table_desc table = {.name = "t", .columns = columns, .n_columns = 3};

static void add_row(struct batch *b, uint32_t n, const char *s, size_t n_floats) {
    static const float floats[] = {1, 2, 3, 4};
    batch__begin(b);
    batch__u32(b, n);
    batch__cstr(b, s);
    batch__f32s(b, floats, n_floats);
    batch__end(b);
}

static void test_batch_has_native_layout(void **state) {
    (void)state;
    struct batch b;
    assert_int_equal(batch__init(&b, &table), 0);
    add_row(&b, 258, "ab", 1);
    add_row(&b, 1, "", 2);
    assert_int_equal(b.n_rows, 2);
    assert_memory_equal(b.columns[0].data.base, "\x02\x01\0\0\x01\0\0\0", 8);
    assert_int_equal(b.columns[1].data.len, 4);
    assert_memory_equal(b.columns[1].data.base, "\x02" "ab\0", 4);
    assert_memory_equal(b.columns[2].offs.base, "\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0", 16);
    assert_int_equal(b.columns[2].data.len, 12);
    batch__fini(&b);
}

static void test_append_equals_writing_in_one_go(void **state) {
    (void)state;
    struct batch one, a, b;
    batch__init(&one, &table), batch__init(&a, &table), batch__init(&b, &table);
    for (uint32_t i = 0; i < 100; i++) {
        add_row(&one, i, "row", i % 4);
        add_row(i < 37 ? &a : &b, i, "row", i % 4);
    }
    char h_one[33], h_a[33];
    batch__hash(&a, h_a);
    batch__hash(&one, h_one);
    assert_string_not_equal(h_one, h_a);
    assert_int_equal(batch__append(&a, &b), 0);
    batch__hash(&a, h_a);
    assert_string_equal(h_one, h_a);
    assert_int_equal(batch__bytes(&one), batch__bytes(&a));
    batch__fini(&one), batch__fini(&a), batch__fini(&b);
}

static void test_rows_keeps_a_batch_for_each_table_and_part(void **state) {
    (void)state;
    struct rows r = {0};
    add_row(rows__batch(&r, &table, SLICE_LIT("Standard")), 1, "x", 0);
    add_row(rows__batch(&r, &table, SLICE_LIT("other")), 2, "y", 0);
    add_row(rows__batch(&r, &table, SLICE_LIT("Standard")), 3, "z", 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(rows__count(&r), 3);
    assert_string_equal(r.batches[0].part, "Standard");
    assert_int_equal(r.batches[0].batch.n_rows, 2);
    for (int i = 0; i < ROWS_BATCHES_MAX; i++) {
        char part[16];
        snprintf(part, sizeof part, "p%d", i);
        rows__batch(&r, &table, slice__str(part));
    }
    assert_true(r.failed); /* Parts are bounded: private leagues cannot make more. */
    rows__fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_has_native_layout),
        cmocka_unit_test(test_append_equals_writing_in_one_go),
        cmocka_unit_test(test_rows_keeps_a_batch_for_each_table_and_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
