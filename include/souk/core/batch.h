/* A column-wise block of rows for one table, laid out as ClickHouse's Native format wants it, so
 * that an insert sends these buffers as they are: numbers little-endian and dense, strings as
 * VarUInt length and bytes, arrays as cumulative end offsets (u64) before their elements.
 *
 * Rows are written cell by cell in column order:
 *
 *     batch__begin(b); batch__u32(b, v); batch__str(b, s); ... ; batch__end(b);
 *
 * Layouts: ClickHouse's NativeFormat description; table names and columns: schema/migrations. */
#ifndef SOUK_CORE_BATCH_H
#define SOUK_CORE_BATCH_H

#include "souk/core/buf.h"
#include "souk/core/err.h"

enum column_kind {
    COLUMN_U8,  /* UInt8, Bool */
    COLUMN_U16, /* UInt16, Date */
    COLUMN_U32, /* UInt32, DateTime */
    COLUMN_I32,
    COLUMN_U64,
    COLUMN_I64, /* Int64, DateTime64, Decimal(18, S) */
    COLUMN_F32,
    COLUMN_F64,
    COLUMN_STR,     /* String, and LowCardinality(String), which is sent as String */
    COLUMN_ARR_F32, /* Array(Float32) */
};

struct column_desc {
    const char *name;
    const char *type; /* As the server names it, e.g. DateTime64(3, 'UTC'). */
    enum column_kind kind;
};

/** What a row of a table is. Static data of the room that makes the rows. */
struct table_desc {
    const char *name; /* Without the database. */
    const struct column_desc *columns;
    size_t n_columns;
    /* SQL: which rows come from the log's own pages, where others are made in the server; NULL:
     * all. */
    const char *ours;
    bool after_data; /* Sent only after all data rows of the same and earlier pages are stored. */
    bool patient; /* About souk itself, not of any page's data: it is stored later than others, and
                     nothing waits for it. */
    bool about_pages; /* Says what became of pages, not what stood in them: such rows are not a
                         source's data. */
    bool latest_wins; /* The server keeps the newest row of a key and forgets the others, so nobody
                         can count what was sent. */
    /* Its rows depend on all records before theirs, not on one alone: they come in a feed of their
     * own, strictly in log order, and only their maker can make them again. */
    bool derived;
};

struct column {
    struct buf data; /* Strings: lengths and bytes. Arrays: elements. Else: values. */
    struct buf offs; /* Arrays: offsets. */
};

#define BATCH_COLUMNS_MAX 64
#define BATCH_COLUMN_BYTES_MAX ((size_t)256 << 20)

struct batch {
    const struct table_desc *table; /* Borrowed; static. */
    struct column *columns;         /* Owned; table->n_columns of them. */
    size_t n_rows;
    size_t at; /* The next cell of the row that is being written. */
};

/** A batch without rows. @return 0 or ERR_NOMEM. */
int batch__init(struct batch *b, const struct table_desc *table);
/** Frees the columns. Accepts a zeroed batch. */
void batch__fini(struct batch *b);
/** Takes all rows out and keeps the memory. */
void batch__clear(struct batch *b);
/** Starts a row. Writing cells of another kind than the column's, or too few, is our mistake. */
void batch__begin(struct batch *b);
void batch__u8(struct batch *b, uint8_t v);
void batch__u16(struct batch *b, uint16_t v);
void batch__u32(struct batch *b, uint32_t v);
void batch__i32(struct batch *b, int32_t v);
void batch__u64(struct batch *b, uint64_t v);
void batch__i64(struct batch *b, int64_t v);
void batch__f64(struct batch *b, double v);
void batch__str(struct batch *b, struct slice s);
void batch__cstr(struct batch *b, const char *z);
void batch__f32s(struct batch *b, const float *v, size_t n);
/** Ends the row that batch__begin started. */
void batch__end(struct batch *b);
/** Appends all rows of @from, which has the same table, to @b, or none of them. @return 0, ERR_FULL
 *  or ERR_NOMEM. */
int batch__append(struct batch *b, const struct batch *from);
/** @return bytes of all columns. */
size_t batch__bytes(const struct batch *b);
/** @return true when an append did not fit the bounds; the batch must be dropped. */
bool batch__failed(const struct batch *b);
/** @return xxh3-128 over table, columns and rows: equal rows in equal order hash equally, on any
 *  machine. Written to @out as 32 hex digits and a zero. */
void batch__hash(const struct batch *b, char out[33]);

/* The rows that one page makes: a batch for each table and partition key it touches. */
#define ROWS_BATCHES_MAX 256
#define ROWS_REASONS_MAX 8

struct rows_batch {
    struct batch batch;
    char part[64]; /* The league_key of its rows, or "" for tables without one. */
};
struct rows {
    struct rows_batch *batches; /* Owned. In the order in which they were first asked for. */
    size_t n, cap;
    bool failed;    /* Out of memory, or more batches than the bound. */
    bool no_memory; /* It was memory. */
    /* Counted beside the rows, for metrics: fields that could not be read and left their rows
     * without them; items without a price by enum price_verdict. */
    uint32_t n_fields_lost, n_unpriced[ROWS_REASONS_MAX];
};

/** @return the batch of @table and @part in @r, made when it is new; NULL sets failed. The pointer
 *  is good until the next call for a batch that does not exist yet. */
struct batch *rows__batch(struct rows *r, const struct table_desc *table, struct slice part);
/** @return how many rows there are in all batches of @r. */
size_t rows__count(const struct rows *r);
/** @return the rows of tables that are not about_pages: the data. */
size_t rows__count_data(const struct rows *r);
/** @return true when something in @r failed for want of memory: the same page makes rows another
 *  time, and must not count as one that makes none. */
bool rows__no_memory(const struct rows *r);
/** Frees all. Accepts a zeroed struct. */
void rows__fini(struct rows *r);

#endif
