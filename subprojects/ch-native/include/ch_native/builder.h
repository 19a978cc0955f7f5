/**
 * Columns to insert, and builders that make them.
 *
 * A builder holds one column in wire form, so that an insert sends it without copying. Appending
 * sees through Nullable and LowCardinality: a value given to a Nullable(String) is a value that is
 * not NULL.
 *
 *     struct chn_builder *price = chn_builder__new("price", "Decimal(18, 6)", 8 << 20, &err);
 *     chn_builder__i64(price, 12500000);  // 12.5
 *     chn_builder__column(price, &columns[0]);
 *
 * Arrays, maps and tuples: append to the children, then chn_builder__end() ends the row. A
 * Map(String, Array(UInt64)):
 *
 *     chn_builder__string(chn_builder__child(map, 0), "bids", 4);
 *     struct chn_builder *list = chn_builder__child(map, 1);
 *     chn_builder__u64(chn_builder__child(list, 0), 17);
 *     chn_builder__end(list);  // The list has one element,
 *     chn_builder__end(map);   // and the row one pair.
 *
 * An appender returns 0, CHN_ERR_TYPE (the column takes no such value), CHN_ERR_ARGUMENT (out of
 * its range), CHN_ERR_LIMIT (over bytes_max) or CHN_ERR_MEMORY. A failed append to a plain,
 * nullable or dictionary column leaves its rows as they were.
 */
#ifndef CH_NATIVE_BUILDER_H
#define CH_NATIVE_BUILDER_H

#include "type.h"

/** A column of an insert in native wire layout. All is borrowed until the insert's callback. */
struct chn_column {
    const char *name;              /* As in the table. */
    const char *type;              /* As in the table; spelling may differ, meaning may not. */
    const struct chn_slice *parts; /* The values, in pieces. */
    size_t n_parts;
};

struct chn_builder;

/** @name, @type are copied. @bytes_max bounds all that it holds. NULL with @err filled when it
 * cannot be. */
struct chn_builder *chn_builder__new(const char *name, const char *type, size_t bytes_max,
                                     struct chn_err *err);
void chn_builder__free(struct chn_builder *b);
/** Forgets the rows, keeping the memory. Columns taken from it are no longer valid. */
void chn_builder__reset(struct chn_builder *b);

/** (U)Int of any width, Bool, Date (days), DateTime (seconds), IPv4 (1.2.3.4 is 0x01020304), and
 * what chn_builder__i64() takes. */
int chn_builder__u64(struct chn_builder *b, uint64_t value);
/** (U)Int of any width, Bool, Date, Date32, DateTime, DateTime64 (ticks), Time (seconds), Time64
 * (ticks), Decimal (value * 10^scale), Enum (number), IPv4. */
int chn_builder__i64(struct chn_builder *b, int64_t value);
/** (U)Int and Decimal of any width, if the value fits; two's complement, for UInt unsigned. */
int chn_builder__i128(struct chn_builder *b, uint64_t low, int64_t high);
/** The same with 256 bits, low word first. */
int chn_builder__i256(struct chn_builder *b, const uint64_t words[4]);
/** Float64; Float32 and BFloat16 take the nearest value that they have. */
int chn_builder__f64(struct chn_builder *b, double value);
/** String, FixedString (padded with 0, not longer), JSON (a document; the server judges it), Enum
 * (by name), UUID (36 characters), IPv4, IPv6 (as text; an IPv6 column takes IPv4 addresses too).
 */
int chn_builder__string(struct chn_builder *b, const void *data, size_t n);
/**
 * A value as ClickHouse prints it: what chn_builder__string() takes, numbers and Decimals of any
 * width ("-12.50"; more digits than the scale has must be zeros), `true` and `false`, `2024-05-01`,
 * `2024-05-01 10:00:00.123` (UTC), `-12:30:00`, and `NULL` for a Nullable. Not arrays, maps and
 * tuples: CHN_ERR_TYPE.
 */
int chn_builder__text(struct chn_builder *b, const char *text, size_t n);
/** UUID, in the order of its text. */
int chn_builder__uuid(struct chn_builder *b, const uint8_t value[16]);
/** The wire bytes of one value of a type of fixed width, @n of them; their range is not checked. */
int chn_builder__bytes(struct chn_builder *b, const void *data, size_t n);
/** Nullable and LowCardinality(Nullable) only. */
int chn_builder__null(struct chn_builder *b);
/** NULL, 0, "", {} (JSON), an empty array, the first name of an Enum: what the type starts from. */
int chn_builder__default(struct chn_builder *b);

/** Child @i of an Array (0), Map (0 keys, 1 values) or Tuple; NULL when there is none. */
struct chn_builder *chn_builder__child(struct chn_builder *b, uint32_t i);
/** Ends a row of an Array, Map or Tuple: what was appended to the children since the last end is in
 * it. */
int chn_builder__end(struct chn_builder *b);

uint64_t chn_builder__n_rows(const struct chn_builder *b);
/** Bytes held, dictionaries and all. */
size_t chn_builder__n_bytes(const struct chn_builder *b);

/**
 * Fills @column, which borrows from @b until the next append, reset or free.
 * @return 0, CHN_ERR_ARGUMENT when a row of a nested column was not ended, CHN_ERR_MEMORY.
 */
int chn_builder__column(struct chn_builder *b, struct chn_column *column);

#endif
