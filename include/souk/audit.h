/* The audit: exactly-once is shown, not claimed. It compares what the log says must be in
 * ClickHouse with what is there, row by row, beside a running souk or without one.
 *
 * How. The log holds the pages, so the rows that must be there are made again from it, by the same
 * decoders. Each row is hashed on both sides over the bytes of all its columns in ClickHouse's
 * RowBinary form: here from the batch, there with xxHash64(formatRow('RowBinary', ...)), which is
 * XXH64 with seed 0 of the same bytes. That is exact for all column types souk writes, floats that
 * are not numbers included. A window of log positions is asked for at once: per page, table and
 * partition the number of rows and the sum of their hashes. Where these differ, the rows of these
 * pages are asked for one by one. So what is transferred is a line a page, and memory is that of a
 * window and some 200 bytes a seal, whatever the number of rows. (Another content with the same
 * hash has a chance of 2^-64 a row.)
 *
 * SEAL records say which rows were to go together, ACK records and the low-water mark which of them
 * are stored. What is sealed and not acknowledged, or not sealed yet, is pending: it may be there
 * or not, but not twice and not otherwise. Seals of one table may overlap: a row counts for the
 * smallest seal that covers it and is not complete.
 *
 * What it cannot know. Rows carry source, position and ordinal, not the id of the log. Where two
 * logs wrote into one database, as after a state directory was deleted, positions collide. The
 * audit therefore asks for the rows of the time that the log spans: rows from before are counted as
 * such and not judged; rows from within that time that this log does not know are named as rows
 * that no seal covers (100,000 of a window are counted at most). Rows whose pages have left the log
 * (retention) are not judged either. A table that lacks one of our columns, or has it with another
 * type, is one difference with a note, and not compared. */
#ifndef SOUK_AUDIT_H
#define SOUK_AUDIT_H

#include "souk/store.h"

#define AUDIT_EXAMPLES_MAX 20
#define AUDIT_SEALS_MAX ((size_t)4 << 20)
#define AUDIT_DIFFERENCES_MAX 1000 /* Named; all are counted. */

enum audit_what { AUDIT_MISSING, AUDIT_TWICE, AUDIT_WRONG, AUDIT_UNCOVERED };
const char *audit_what__text(enum audit_what what); /* missing, twice, wrong, uncovered */

/** One row that is not as it should be. */
struct audit_row {
    enum audit_what what;
    char src[32]; /* Of missing rows: "" where it is not known. */
    uint64_t lsn;
    uint32_t ord;
};

/** What is wrong with one seal, or with rows that no seal covers. */
struct audit_difference {
    const char *table;
    bool has_seal; /* Else the next four are 0 and "". */
    char part[64];
    uint64_t first_lsn, last_lsn, sealed_rows;
    uint64_t log_rows;   /* That its pages make now; other than sealed_rows: the log was damaged, or
                          * decodes otherwise than when it was sealed. */
    uint64_t found_rows; /* In ClickHouse. */
    uint64_t missing, twice, wrong, uncovered;
    struct audit_row rows[AUDIT_EXAMPLES_MAX];
    size_t n_rows;
    char note[160]; /* What else is known, a sentence; or "". */
};

struct audit_table {
    const char *name;
    uint64_t batches, batches_equal, batches_different, batches_pending;
    uint64_t rows;  /* Acknowledged ones that must be there. */
    uint64_t equal; /* Of them: there, once, with their content. */
    uint64_t missing, twice, wrong;
    uint64_t uncovered;   /* There, from the time of this log, and not of it. */
    uint64_t pending;     /* Sealed or read, not acknowledged. */
    uint64_t expired;     /* Missing and past the table's TTL. */
    uint64_t quarantined; /* Refused by the server; in bronze_quarantine instead. */
    uint64_t damaged;     /* There, of records that the log has lost. */
    uint64_t before;      /* There, from before the time that was looked at. */
    bool counted_only;    /* A derived table: rows are counted by batch, content is not compared. */
};

struct audit_report {
    struct audit_table tables[STORE_TABLES_MAX];
    size_t n_tables;
    char store_id[33];
    uint64_t from_lsn, to_lsn;         /* What was read. */
    int64_t from_wall_ns, to_wall_ns;  /* Its time. 0 where the log is empty. */
    uint64_t n_records, damaged_bytes; /* Of the log. */
    uint64_t n_differences;            /* 0: equal. */
    uint64_t seals_partial; /* Seals of which some pages are gone: rows judged, not their number. */
};

struct audit_options {
    const char *spool_dir; /* Borrowed, as are all. */
    const struct store_options *store;
    int64_t since_wall_ns, until_wall_ns; /* 0: no bound. Of a page's record. */
    const char *followed;                 /* Leagues, a line each, where the log does not say. */
    /** Finds the followed leagues in a CHECKPOINT's payload. @return false when there are none. */
    bool (*followed_of)(struct slice checkpoint, struct slice *out);
    void *ctx;
    /** Told each seal that differs, in order of position within its table. */
    void (*on_difference)(void *ctx, const struct audit_difference *d);
};

/** Blocks, running @loop. @return 0 with @out filled, whether there are differences or not; or
 *  ERR_UNAVAILABLE, ERR_REFUSED (the server), ERR_NOT_FOUND (no log), ERR_IO, ERR_SCHEMA,
 *  ERR_LIMIT, ERR_NOMEM with @e filled. */
int audit__run(uv_loop_t *loop, const struct audit_options *options, struct audit_report *out,
               struct err *e);

#endif
