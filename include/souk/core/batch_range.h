/* Ranges of a batch's rows: copied into a batch of their own, or told as JSON. For what has to look
 * inside a batch that was refused as a whole. */
#ifndef SOUK_CORE_BATCH_RANGE_H
#define SOUK_CORE_BATCH_RANGE_H

#include "souk/core/batch.h"

/** Where a row begins: byte offsets into the columns' data. Zeroed, it is row 0 of any batch. */
struct batch_mark {
    size_t row;
    size_t data[BATCH_COLUMNS_MAX];
};

/** Moves @m forward to @row, which is at most @b's number of rows and not before @m: strings are
 * walked over, so the cost grows with the distance. */
void batch__seek(const struct batch *b, struct batch_mark *m, size_t row);
/** Makes @out, which is uninitialized, a batch of @b's rows from @from up to @to. The caller ends
 * it with batch__fini. @return 0 or ERR_NOMEM, and then there is nothing to end. */
int batch__copy(const struct batch *b, const struct batch_mark *from, const struct batch_mark *to,
                struct batch *out);
/** Appends row @at as an object in JSON, a member a column; numbers as the column holds them
 * (DateTime64 and Decimal are not scaled), strings with U+FFFD for what is not UTF-8. */
void batch__row_json(const struct batch *b, const struct batch_mark *at, struct buf *out);
/** Finds column @name of an integer kind. @return false when there is none; else @out is its value
 * in the row @at, sign-extended. */
bool batch__int(const struct batch *b, const struct batch_mark *at, const char *name, int64_t *out);
/** Finds the oldest and newest time of column @name, which is a DateTime or a DateTime64(3), in ms.
 *  @return false when there is no such column, or no row. */
bool batch__times(const struct batch *b, const char *name, int64_t *oldest_ms, int64_t *newest_ms);
/** Finds column @name of kind COLUMN_STR. @return false when there is none; else @out is its value
 * in the row @at, borrowed. */
bool batch__text(const struct batch *b, const struct batch_mark *at, const char *name,
                 struct slice *out);

#endif
