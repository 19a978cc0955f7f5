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

#endif
