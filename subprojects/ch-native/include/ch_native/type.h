/** Column types, parsed from the names that ClickHouse gives them, e.g.
 * `Array(LowCardinality(String))`. */
#ifndef CH_NATIVE_TYPE_H
#define CH_NATIVE_TYPE_H

#include "base.h"

#include <stdbool.h>

enum chn_kind {
    CHN_NOTHING,
    CHN_BOOL,
    CHN_UINT,  /* 1 to 32 bytes. */
    CHN_INT,   /* 1 to 32 bytes; intervals as well. */
    CHN_FLOAT, /* 4 or 8 bytes; 2 are a BFloat16, the upper half of a Float32. */
    CHN_STRING,
    CHN_FIXED_STRING,
    CHN_DATE,       /* u16 days since 1970. */
    CHN_DATE32,     /* i32 days since 1970. */
    CHN_DATETIME,   /* u32 seconds since 1970, UTC; a time zone is for display only. */
    CHN_DATETIME64, /* i64 ticks of 10^-scale seconds. */
    CHN_TIME,       /* i32 seconds, also negative. */
    CHN_TIME64,     /* i64 ticks of 10^-scale seconds. */
    CHN_DECIMAL,    /* Signed integer of 4, 8, 16 or 32 bytes: value * 10^scale. */
    CHN_ENUM,       /* i8 or i16; the names are in the type. */
    CHN_UUID,
    CHN_IPV4,
    CHN_IPV6,
    CHN_NULLABLE,
    CHN_ARRAY,
    CHN_TUPLE,
    CHN_MAP,
    CHN_LOW_CARDINALITY,
    CHN_JSON, /* As text: see chn_query and chn_insert for what makes it so. */
};

struct chn_enum_name {
    const char *name; /* Not escaped, ends with a 0. */
    size_t n;         /* Bytes of the name. */
    int16_t value;
};

/** Read-only once parsed. Children: Nullable, Array, LowCardinality 1; Map 2 (key, value); Tuple
 * any number. */
struct chn_type {
    enum chn_kind kind;
    uint32_t width; /* Bytes of a value on the wire; 0 for String, JSON and the nested types, but an
                       empty Tuple is 1. */
    uint32_t precision, scale;
    uint32_t n_children, n_names;
    struct chn_type **children;
    struct chn_enum_name *names;
    char *name_bytes; /* What @names point into. */
};

/**
 * Parses @text (@n bytes; limits.h says how long, how deep and of how many parts it may be).
 * SimpleAggregateFunction(f, T) is T and Nested(...) is Array(Tuple(...)), as on the wire; the
 * arguments of JSON(...) do not matter there.
 * @return the type, to be freed with chn_type__free(), or NULL with @err filled: CHN_ERR_TYPE names
 * the type that is not known.
 */
struct chn_type *chn_type__parse(const char *text, size_t n, struct chn_err *err);

/** Whether two types are the same on the wire and in meaning: time zones, tuple names and spelling
 * do not count. */
bool chn_type__equal(const struct chn_type *a, const struct chn_type *b);

void chn_type__free(struct chn_type *type);

#endif
