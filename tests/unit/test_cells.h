/* Assertions about cells of the rows that a source decoded. */
#ifndef TEST_CELLS_H
#define TEST_CELLS_H

#include "../golden/golden.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Fails, and shows both, unless the string in @column and @row is @want. */
static inline void assert_str(const struct batch *b, const char *column, size_t row,
                              const char *want) {
    struct slice got = golden__str(b, column, row);
    if (!slice__eq(got, slice__str(want)))
        fail_msg("%s[%zu] is %.*s, not %s", column, row, SLICE_FMT(got), want);
}

/* Appends @n times @one to a list, with commas. */
static inline void put_many(struct buf *list, size_t n, const char *one) {
    for (size_t i = 0; i < n; i++)
        assert_true((i == 0 || buf__u8(list, ',')) && buf__append_str(list, one));
}

/* @n_kept rows of @table became of a page that had @n_more than it may have, and a row says so. */
static inline void assert_bounded(struct rows *rows, const struct table_desc *table, size_t n_kept,
                                  const char *n_more) {
    assert_int_equal(golden__count(rows, table), n_kept);
    const struct batch *b = golden__batch(rows, &table_bronze_quarantine, "");
    assert_non_null(b);
    assert_int_equal(b->n_rows, 1);
    assert_str(b, "reason", 0, "too_many");
    assert_str(b, "value", 0, n_more);
}

#endif
