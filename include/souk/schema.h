/* What ClickHouse should look like, and in what a live database differs from it.
 *
 * The expected schema is read from the migrations that are built into the program, so there is one
 * text of it. A live database is read from system.databases, system.tables and system.columns.
 * What is compared: database, tables and views, columns by name and type wherever they stand,
 * engine family, partition key, order key, TTL and deduplication window. Comments, codecs, indexes
 * and whatever a database has beyond it are the operator's own and no difference.
 *
 * All functions that take a loop block and run it: for verbs, never beside the reactor. */
#ifndef SOUK_SCHEMA_H
#define SOUK_SCHEMA_H

#include "souk/store.h"
#include <stdio.h>

#define SCHEMA_TABLES_MAX 256
#define SCHEMA_COLUMNS_MAX 256

/* Migrations: schema/migrations/NNNN_name.sql, built into the program. */
struct migration {
    uint32_t version;
    const char *name; /* 0001_bronze */
    const char *sql;
};
extern const struct migration schema_migrations[];
extern const size_t schema_n_migrations;
/** Brings the database up to date: creates it, and runs what it lacks, in order. Blocks, running
 *  @loop. Prints each statement's first line to @out when not NULL. An applied migration whose text
 *  changed since is an error. @dry: only says what it would do.
 *  @return the number of migrations applied (or due), or an error with @e filled. */
int schema__migrate(uv_loop_t *loop, const struct store_options *options, bool dry, FILE *out,
                    struct err *e);

struct schema_column {
    char *name, *type;
    char *rest; /* What follows the type in the definition: DEFAULT, COMMENT, CODEC. */
};

/** One table or view. Strings are owned; "" where a definition lacks the clause. */
struct schema_table {
    char *name;
    bool is_view;
    struct schema_column *columns; /* None for views. */
    size_t n_columns;
    char *engine, *partition_key, *order_key, *ttl;
    uint64_t window; /* non_replicated_deduplication_window; 0: none. */
    char *ddl;       /* The statement that makes it, without a semicolon. */
};

struct schema {
    struct schema_table *tables; /* Owned. */
    size_t n_tables;
};

/** Adds what the statements of @sql make: CREATE TABLE, CREATE VIEW, ALTER TABLE ... ADD COLUMN.
 *  @return 0; ERR_SCHEMA for a statement that is none of these; ERR_LIMIT; ERR_NOMEM. */
int schema__parse(struct schema *s, const char *sql, struct err *e);
/** All migrations of this program, in order. @s is to be freed with schema__fini, also on error. */
int schema__expected(struct schema *s, struct err *e);
/** Frees all. Accepts a zeroed struct. */
void schema__fini(struct schema *s);
/** @return the table called @name, or NULL. */
const struct schema_table *schema__find(const struct schema *s, const char *name);

/** What kind of difference it is; the words of schema_kind__text are stable. */
enum schema_kind {
    SCHEMA_DATABASE,
    SCHEMA_MIGRATION,
    SCHEMA_TABLE,
    SCHEMA_COLUMN,
    SCHEMA_TYPE,
    SCHEMA_ENGINE,
    SCHEMA_PARTITION_KEY,
    SCHEMA_ORDER_KEY,
    SCHEMA_TTL,
    SCHEMA_WINDOW,
};
const char *schema_kind__text(enum schema_kind kind);

struct schema_difference {
    enum schema_kind kind;
    char table[64], column[64]; /* "" where it is not about one. */
    char *what;                 /* Owned: expected and found, a sentence. */
    char *statement;            /* Owned: what mends it. */
    bool additive;              /* schema apply may run it; else an operator has to. */
    bool harmful; /* Rows would be lost, held or stored twice; else they only cost time or space. */
};

struct schema_diff {
    struct schema_difference *items; /* Owned. In the order of the migrations. */
    size_t n;
};

/** Compares the database of @options with what this program expects, without changing anything.
 *  @return 0 with @out filled (no items: they agree), to be freed with schema_diff__fini; or
 *  ERR_UNAVAILABLE, ERR_REFUSED, ERR_NOMEM. */
int schema__diff(uv_loop_t *loop, const struct store_options *options, struct schema_diff *out,
                 struct err *e);
void schema_diff__fini(struct schema_diff *d);
/** Reads those tables of @wanted that are in the database into @out, which schema__fini frees, also
 *  on error. @return 0 or an error of store__ask. */
int schema__live(uv_loop_t *loop, const struct store_options *options, const struct schema *wanted,
                 bool *has_database, struct schema *out, struct err *e);
/** Compares what was read already; the half of schema__diff that needs no server. */
int schema__compare(const char *database, const struct schema *expected, const struct schema *live,
                    struct schema_diff *out, struct err *e);
/** Runs the migrations that are missing, then every additive statement that mends a difference,
 *  printing each to @out (may be NULL). With @dry it only prints.
 *  @return how many statements and migrations were run (or are due), or an error. */
int schema__apply(uv_loop_t *loop, const struct store_options *options, bool dry, FILE *out,
                  struct err *e);
/** Prints all DDL of this program for @database, to be fed to clickhouse-client. */
void schema__print(const char *database, FILE *out);

#endif
