/* What the files of the audit share. */
#ifndef SOUK_AUDIT_INTERNAL_H
#define SOUK_AUDIT_INTERNAL_H

#include "souk/audit.h"
#include "souk/schema.h"
#include "souk/spool_scan.h"

#define PARTS_MAX 4096
#define DAMAGE_MAX 1024
#define NO_SEAL UINT32_MAX
#define UNNAMED (UINT32_MAX - 1) /* In place of a difference: it is counted only. */

/* One row as it must be. */
struct row_print {
    uint64_t hash;
    int64_t time_ms; /* Of the column that the table's TTL counts from. */
    uint32_t ord;
};

/** How a table is read. */
struct audit_shape {
    const struct table_desc *table;
    size_t time_column, part_column; /* part_column: n_columns where it has none. */
    const char *time_name;           /* Of static data. */
    bool has_ttl;                    /* Of the live table, */
    uint32_t ttl_days;               /* and how long it keeps rows. */
    char unusable[160];              /* Why it cannot be compared; "" when it can. */
};

/** Finds the columns; the TTL is the expected one. @return 0 or ERR_SCHEMA. */
int shape__init(struct audit_shape *s, const struct table_desc *table, const struct schema *schema,
                struct err *e);
/** Appends the SQL expression that hashes a row. */
void shape__hash_sql(const struct audit_shape *s, struct buf *out);
/** Appends the SQL expression of a row's partition key ('' where it has none). */
void shape__part_sql(const struct audit_shape *s, struct buf *out);
/** Appends "time BETWEEN ..." of @from_ms to @to_ms, both included. */
void shape__time_sql(const struct audit_shape *s, int64_t from_ms, int64_t to_ms, struct buf *out);
/** Hashes all rows of @b. @out has room for b->n_rows. @return 0 or ERR_NOMEM. */
int shape__prints(const struct audit_shape *s, const struct batch *b, struct row_print *out);

/* A seal of the log, and what was found of it. */
struct audit_seal {
    uint8_t token[16];
    uint16_t table, part;
    int32_t day;
    bool acked, partial; /* partial: not all of its pages were read. */
    uint64_t first_lsn, last_lsn,
        max_last_lsn; /* The last: of it and those before it in its group. */
    uint64_t n_rows;
    uint64_t log_rows, found, missing, twice, wrong, expired, quarantined, pending;
    uint32_t difference; /* Its place among the differences, UNNAMED, or NO_SEAL: there is none. */
    uint8_t hash[16];
};

struct audit_damage {
    uint64_t from, to; /* Positions. */
};

/* A row that ClickHouse refused. */
struct audit_refused {
    uint64_t lsn;
    uint32_t ord;
    uint16_t table;
};

/* The followed leagues from a position on. */
struct audit_context {
    uint64_t lsn;
    char *followed; /* Owned. */
};

/** What the first reading of the log yields. */
struct audit_log {
    struct spool_scan_info info;
    struct audit_seal *seals; /* Owned; by table, part, day, first position. */
    size_t n_seals;
    char (*parts)[64]; /* Owned. */
    size_t n_parts;
    struct audit_refused *refused; /* Owned; by table, position, ordinal. */
    size_t n_refused;
    struct audit_damage damage[DAMAGE_MAX];
    size_t n_damage;
    uint64_t damaged_bytes, n_records;
    uint64_t from_lsn, to_lsn; /* Of the records that since and until select. */
    int64_t from_wall_ns, to_wall_ns;
    char *followed;                 /* Owned; at its beginning. */
    struct audit_context *contexts; /* Owned. */
    size_t n_contexts;
};

int audit_log__read(struct audit_log *log, const struct audit_options *options, struct err *e);
/** @return the leagues that were followed at @lsn, a line each. Borrowed. */
const char *audit_log__followed_at(const struct audit_log *log, uint64_t lsn);
/** Pages below @lsn have left the log since it was read. */
void audit_log__starts_at(struct audit_log *log, uint64_t lsn);
void audit_log__fini(struct audit_log *log);
/** @return the place of @part's name, or PARTS_MAX when there is none. */
size_t audit_log__part(const struct audit_log *log, const char *part);
/** The same; a new name gets a place. PARTS_MAX without room. */
size_t audit_log__add_part(struct audit_log *log, const char *part);
/** @return the seal that a page's rows belong to, or NO_SEAL. */
uint32_t audit_log__find(const struct audit_log *log, size_t table, const char *part, int32_t day,
                         uint64_t lsn);
/** @return whether a QUARANTINE record says that ClickHouse refuses that row. */
bool audit_log__is_refused(const struct audit_log *log, size_t table, uint64_t lsn, uint32_t ord);
bool audit_log__is_damaged(const struct audit_log *log, uint64_t lsn);

enum page_state { PAGE_ACKED, PAGE_PENDING };

/* The rows of one page in one table and partition. */
struct page_rows {
    uint64_t lsn, sum; /* Sum of the hashes. */
    uint32_t n, first; /* Rows; where they start in the window. */
    uint32_t seal;     /* Or NO_SEAL. */
    uint16_t part;
    uint8_t state;
    bool suspect; /* To be asked for row by row. */
    char src[32];
};

struct audit_window_table {
    struct page_rows *pages; /* Owned. */
    size_t n_pages, cap;
    int64_t min_ms, max_ms;
};

/* A range of positions that is compared at once. */
struct audit_window {
    uint64_t from_lsn, to_lsn;
    struct audit_window_table tables[STORE_TABLES_MAX];
    struct row_print *rows; /* Owned. */
    size_t n_rows, cap;
    size_t n_pages, bytes;
};

/* What is left of a window that was compared, for the search of rows that nobody knows. */
struct audit_past {
    uint64_t from_lsn, to_lsn;
    struct {
        int64_t min_ms, max_ms; /* min above max: no rows were expected. */
    } tables[STORE_TABLES_MAX];
};

struct audit {
    uv_loop_t *loop;
    const struct audit_options *options;
    struct audit_report *report;
    struct audit_shape shapes[STORE_TABLES_MAX];
    struct audit_log log;
    struct audit_window window;
    struct audit_past *past; /* Owned. */
    size_t n_past;
    uint64_t in_time[STORE_TABLES_MAX]; /* Rows found that lie in the time that was looked at, */
    uint64_t out_of_time[STORE_TABLES_MAX]; /* and others: received just before they were logged. */
    int64_t server_ms;
    struct audit_difference *differences; /* Owned. */
    size_t n_differences;
    uint32_t unsealed[STORE_TABLES_MAX]; /* The difference of rows without a seal, or NO_SEAL. */
};

/** Adds the rows of one page; a page has at most one call for each table and part. */
int audit_window__add(struct audit *a, size_t table, const char *part, int32_t day, uint64_t lsn,
                      const struct batch *rows, struct err *e);
/** Compares the window with ClickHouse, and empties it. */
int audit_window__compare(struct audit *a, struct err *e);
/** Empties it; the next rows are at or behind @from_lsn. */
void audit_window__clear(struct audit_window *w, uint64_t from_lsn);
void audit_window__fini(struct audit_window *w);
/** Compares the numbers of rows of derived tables. */
int audit__count_derived(struct audit *a, struct err *e);
/** Decodes the pages of @seal once more. @same: they make exactly the rows that were sealed. */
int audit__is_as_sealed(struct audit *a, uint32_t seal, bool *same, struct err *e);
/** @return the difference that @seal (or NO_SEAL) of @table adds to; NULL when there are too many.
 */
struct audit_difference *audit__difference(struct audit *a, size_t table, uint32_t seal);
/** Counts a row that is not as it should be, and keeps it as an example. */
void audit__blame(struct audit *a, size_t table, uint32_t seal, enum audit_what what,
                  const char *src, uint64_t lsn, uint32_t ord, uint64_t n);

#endif
