/**
 * Blocks of a result, and views on their columns.
 *
 * A block lives as long as the callback that it is given to. Accessors are checked: false (or -1,
 * or NULL) means that the row is not there or the type is another. They see through Nullable and
 * LowCardinality; a NULL answers false to all but chn_view__is_null().
 */
#ifndef CH_NATIVE_BLOCK_H
#define CH_NATIVE_BLOCK_H

#include "type.h"

enum chn_block_kind { CHN_BLOCK_DATA, CHN_BLOCK_TOTALS, CHN_BLOCK_EXTREMES };

struct chn_block;
struct chn_view;

enum chn_block_kind chn_block__kind(const struct chn_block *block);
uint64_t chn_block__n_rows(const struct chn_block *block);
size_t chn_block__n_columns(const struct chn_block *block);
/** Column @i, its name, and its type as the server wrote it; NULL when there is none. */
const struct chn_view *chn_block__column(const struct chn_block *block, size_t i);
const char *chn_block__name(const struct chn_block *block, size_t i);
const char *chn_block__type(const struct chn_block *block, size_t i);
/** The column called @name, or NULL. */
const struct chn_view *chn_block__find(const struct chn_block *block, const char *name);

const struct chn_type *chn_view__type(const struct chn_view *view);
uint64_t chn_view__n_rows(const struct chn_view *view);

bool chn_view__is_null(const struct chn_view *view, uint64_t row);
/** UInt8..64, Bool, Date (days), DateTime (seconds), IPv4 (1.2.3.4 is 0x01020304). */
bool chn_view__u64(const struct chn_view *view, uint64_t row, uint64_t *value);
/** Int8..64, Date32 (days), DateTime64 (ticks), Time (seconds), Time64 (ticks), Decimal of at most
 * 18 digits (not scaled), Enum (its number), and whatever chn_view__u64() reads if it fits. */
bool chn_view__i64(const struct chn_view *view, uint64_t row, int64_t *value);
/** Integers and Decimals of any width, if the value fits; two's complement, of a UInt unsigned. */
bool chn_view__i128(const struct chn_view *view, uint64_t row, uint64_t *low, int64_t *high);
/** The same with 256 bits, low word first; every value fits. */
bool chn_view__i256(const struct chn_view *view, uint64_t row, uint64_t words[4]);
/** BFloat16, Float32, Float64. */
bool chn_view__f64(const struct chn_view *view, uint64_t row, double *value);
/** String, FixedString (with its padding), JSON (its text), Enum (its name). The bytes are the
 * block's. */
bool chn_view__string(const struct chn_view *view, uint64_t row, struct chn_slice *value);
/** UUID, in the order of its text. */
bool chn_view__uuid(const struct chn_view *view, uint64_t row, uint8_t value[16]);
/** The wire bytes of a value of fixed width, e.g. the 16 of an IPv6, in network order. */
bool chn_view__bytes(const struct chn_view *view, uint64_t row, struct chn_slice *value);
/** Array: row @row is the @n values of the view @values from @first on. */
bool chn_view__array(const struct chn_view *view, uint64_t row, const struct chn_view **values,
                     uint64_t *first, uint64_t *n);
/** Map: like an array of keys and one of values. */
bool chn_view__map(const struct chn_view *view, uint64_t row, const struct chn_view **keys,
                   const struct chn_view **values, uint64_t *first, uint64_t *n);
/** Tuple: element @i, with as many rows as the tuple. NULL when there is none. */
const struct chn_view *chn_view__element(const struct chn_view *view, uint32_t i);

/**
 * Writes a value as ClickHouse's toString() would: numbers, `2024-05-01`, `2024-05-01 10:00:00.123`
 * (UTC, whatever the type's time zone), `-12:30:00`, decimals with all digits of their scale,
 * UUIDs, addresses, `NULL`, `['a','it\'s']`, `{'k':'v'}`, `(1,'b')`. Strings are escaped inside of
 * nested values only.
 * @to receives at most @capacity bytes with the closing 0. @return the bytes of the whole text
 * without the 0 (more than @capacity - 1 means that it was cut), or -1 when there is no such row.
 */
long chn_view__text(const struct chn_view *view, uint64_t row, char *to, size_t capacity);

#endif
