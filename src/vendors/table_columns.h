/* Short names for columns, for the files that describe tables. */
#ifndef SOUK_SOURCES_TABLE_COLUMNS_H
#define SOUK_SOURCES_TABLE_COLUMNS_H

#include "souk/core/clock.h"
#include "souk/tables.h"

#define N_OF(a) (sizeof(a) / sizeof(*(a)))
#define TIME(n)                                                                                    \
    { n, "DateTime64(3, 'UTC')", COLUMN_I64 }
#define WORD(n)                                                                                    \
    { n, "LowCardinality(String)", COLUMN_STR }
#define TEXT(n)                                                                                    \
    { n, "String", COLUMN_STR }
#define PRICE(n)                                                                                   \
    { n, "Decimal(18, 6)", COLUMN_I64 }
#define U8(n)                                                                                      \
    { n, "UInt8", COLUMN_U8 }
#define U16(n)                                                                                     \
    { n, "UInt16", COLUMN_U16 }
#define U32(n)                                                                                     \
    { n, "UInt32", COLUMN_U32 }
#define U64(n)                                                                                     \
    { n, "UInt64", COLUMN_U64 }
#define F64(n)                                                                                     \
    { n, "Float64", COLUMN_F64 }
#define ORIGIN WORD("src"), U64("lsn"), U32("ord")

static inline void write_time(struct batch *b, int64_t wall_ns) {
    batch__i64(b, wall_ns / NS_PER_MS);
}

static inline void write_origin(struct batch *b, const struct row_origin *origin) {
    batch__cstr(b, origin->src);
    batch__u64(b, origin->lsn);
    batch__u32(b, origin->ord);
}

#endif
