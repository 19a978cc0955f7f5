/* The store: takes rows in log order, batches and seals them, and sends each batch to ClickHouse
 * until it is acknowledged. The happy path: rows -> open batch -> SEAL synced -> one insert of one
 * block with its token -> ACK. Nothing is dropped: while ClickHouse is away, refuses us or lacks a
 * table, batches are held, has_room says no, and the spool grows instead of memory.
 *
 * What a server must be is checked on every new connection, and each minute: version 24.3 or newer,
 * all tables there, each with its deduplication window. What it lacks is in
 * store_status.last_error. */
#ifndef SOUK_STORE_H
#define SOUK_STORE_H

#include "souk/batcher.h"
#include "souk/core/metric.h"
#include "souk/spool.h"
#include <uv.h>

#define STORE_TABLES_MAX 64
#define STORE_CONNECTIONS                                                                          \
    2 /* Tables are sent side by side; one table's batches keep their order. */
#define STORE_VERSION_FLOOR_MAJOR 24
#define STORE_VERSION_FLOOR_MINOR 3

struct store;

struct store_options { /* Strings are copied. */
    const char *host;
    uint16_t port;
    const char *user, *password, *database;
    bool lz4;                               /* Compress what is sent. */
    const struct table_desc *const *tables; /* All that rows can be of. Borrowed; static. */
    size_t n_tables;
    size_t rows_max, bytes_max; /* Of a batch. 0: 50,000 and 8 MiB. */
    int64_t age_max_ns;         /* 0: 1 s. */
    size_t memory_max;          /* Bytes of batches after which has_room says no. 0: 32 MiB. */
};

struct store_table_status {
    const char *name;
    uint64_t rows, batches;        /* Stored since the start. */
    size_t open_rows, outstanding; /* Rows not sealed; batches not stored. */
    int64_t last_ack_wall_ns;      /* 0: never. */
};
struct store_status {
    bool connected; /* Checked and able to insert. */
    bool held;      /* It answers, but schema, version or authorization is wrong, or it refuses a
                     * batch again and again. */
    int64_t since_wall_ns; /* When connected last changed. */
    char server[96];       /* ClickHouse 26.7.2; "" before the first. */
    char last_error[ERR_MSG_MAX];
    struct store_table_status tables[STORE_TABLES_MAX];
    size_t n_tables, n_sealed, bytes;
    uint64_t rows, retries;
};

/** Opens the store; it connects when the loop runs. @return 0 or an error with @e filled. */
int store__open(struct store **out, uv_loop_t *loop, const struct clock *clock,
                struct metrics *metrics, struct spool *spool, const struct store_options *options,
                struct err *e);
/** Recovery, in log order, before the first rows: payloads of SEAL and ACK records from the
 *  low-water mark on. @return 0 or ERR_CORRUPT, ERR_NOMEM. */
int store__recover_seal(struct store *s, struct slice payload);
int store__recover_ack(struct store *s, struct slice payload);
/** All rows below @lsn are stored: where decoding goes on. Before the first rows. */
void store__start(struct store *s, uint64_t lsn);
/** Rows of the record at @lsn; see batcher__rows. */
int store__rows(struct store *s, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                struct rows *rows);
/** @return false while there is more in memory than there should be. */
bool store__has_room(const struct store *s);
/** Called, at most once a turn, when has_room becomes true again. */
void store__on_room(struct store *s, void (*cb)(void *ctx), void *ctx);
/** @return the position below which every row is stored; for checkpoints. */
uint64_t store__low_water(const struct store *s);
/** @return rows taken less rows stored, held, and met again after a restart: 0, or a mistake of
 * ours. */
int64_t store__imbalance(const struct store *s);
void store__status(const struct store *s, struct store_status *out);
/** Seals all open batches and goes on sending. @return true when everything is stored. */
bool store__flush(struct store *s);
/** Ends the connections, then calls @cb and frees. What is not stored is sent after the next start.
 */
void store__close(struct store *s, void (*cb)(void *data), void *data);

/* One statement after another, for schema work; on a connection of its own. */
struct store_query;
/** Told each row as text cells (borrowed), then NULL cells and a status: 0, or an error in @e. */
typedef void (*store_row_cb)(void *data, const struct slice *cells, size_t n_cells, int status,
                             const struct err *e);
/** Runs @sql. @return 0, which promises the final call, or an error. @options->database may be "".
 */
int store__query(uv_loop_t *loop, const struct store_options *options, const char *sql,
                 store_row_cb cb, void *data, struct err *e);
/** A row's text cells, borrowed. */
typedef void (*store_ask_cb)(void *data, const struct slice *cells, size_t n_cells);
/** store__query that waits for the end, running @loop: for verbs. @cb may be NULL. A cell is cut at
 *  64 KiB. @return 0 or an error with @e filled. */
int store__ask(uv_loop_t *loop, const struct store_options *options, const char *sql,
               store_ask_cb cb, void *data, struct err *e);

/* Migrations: schema/migrations/NNNN_name.sql, built into the program. */
struct migration {
    uint32_t version;
    const char *name; /* 0001_bronze */
    const char *sql;
};
extern const struct migration store_migrations[];
extern const size_t store_n_migrations;
/** Brings the database up to date: creates it, and runs what it lacks, in order. Blocks, running
 *  @loop. Prints each statement's first line to @out when not NULL. An applied migration whose text
 *  changed since is an error. @dry: only says what it would do.
 *  @return the number of migrations applied (or due), or an error with @e filled. */
int store__migrate(uv_loop_t *loop, const struct store_options *options, bool dry, FILE *out,
                   struct err *e);

#endif
