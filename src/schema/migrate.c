/* Migrations: which were applied stands in the table souk_migrations, with a checksum of the text
 * that was run. Each statement can be run again, so a migration that was cut off is run whole. */
#include "souk/schema.h"
#include "sql.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MIGRATIONS_MAX 256

static const char create_log[] =
    "CREATE TABLE IF NOT EXISTS souk_migrations (version UInt32, name String, checksum String, "
    "applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY version "
    "COMMENT 'Which schema migrations were applied, by souk schema apply'";

/* One statement at a time, waiting for it; only the schema verbs may wait. */
struct wait {
    struct err *e;
    struct {
        uint32_t version;
        char checksum[17];
    } applied[MIGRATIONS_MAX];
    size_t n_applied;
};

static void on_row(void *data, const struct slice *cells, size_t n_cells) {
    struct wait *w = data;
    int64_t version;
    if (n_cells != 2 || w->n_applied == MIGRATIONS_MAX || !slice__int64(cells[0], &version)) return;
    w->applied[w->n_applied].version = (uint32_t)version;
    snprintf(w->applied[w->n_applied++].checksum, 17, "%.*s", SLICE_FMT(cells[1]));
}

static int run(uv_loop_t *loop, const struct store_options *options, const char *sql,
               struct wait *w) {
    return store__ask(loop, options, sql, on_row, w, w->e);
}

static int run_all(uv_loop_t *loop, const struct store_options *options, const struct migration *m,
                   FILE *out, struct wait *w) {
    const char *at = m->sql;
    for (struct slice s; sql__next(&at, &s);) {
        char *sql = slice__dup(s);
        if (sql == NULL) return err__setf(w->e, ERR_NOMEM, "out of memory");
        if (out != NULL) fprintf(out, "  %.*s\n", (int)strcspn(sql, "\n"), sql);
        int status = run(loop, options, sql, w);
        free(sql);
        if (status != 0) {
            err__prefixf(w->e, "migration %s", m->name);
            return status;
        }
    }
    return 0;
}

static void checksum(const char *sql, char out[17]) {
    snprintf(out, 17, "%016" PRIx64, (uint64_t)XXH3_64bits(sql, strlen(sql)));
}

/* @return 1 when @m was applied, 0 when not, ERR_SCHEMA when another text was. */
static int was_applied(const struct wait *w, const struct migration *m) {
    char sum[17];
    checksum(m->sql, sum);
    for (size_t i = 0; i < w->n_applied; i++) {
        if (w->applied[i].version != m->version) continue;
        if (strcmp(w->applied[i].checksum, sum) == 0) return 1;
        return err__setf(w->e, ERR_SCHEMA,
                         "migration %s was applied with another text (%s, not %s): this database "
                         "was made by another "
                         "souk; use a new database, or the souk that made it",
                         m->name, w->applied[i].checksum, sum);
    }
    return 0;
}

static int apply(uv_loop_t *loop, const struct store_options *options, const struct migration *m,
                 FILE *out, struct wait *w) {
    char sql[256], sum[17];
    if (out != NULL) fprintf(out, "%s\n", m->name);
    int status = run_all(loop, options, m, out, w);
    if (status != 0) return status;
    checksum(m->sql, sum);
    snprintf(sql, sizeof sql,
             "INSERT INTO souk_migrations (version, name, checksum) SELECT %u, '%s', '%s'",
             m->version, m->name, sum);
    return run(loop, options, sql, w);
}

static int prepare_database(uv_loop_t *loop, const struct store_options *options, bool dry,
                            struct wait *w) {
    struct store_options server = *options;
    char sql[256];
    server.database = "default";
    if (!dry) {
        snprintf(sql, sizeof sql, "CREATE DATABASE IF NOT EXISTS `%s`", options->database);
        int status = run(loop, &server, sql, w);
        if (status == 0) status = run(loop, options, create_log, w);
        if (status != 0) return status;
        return run(loop, options, "SELECT version, checksum FROM souk_migrations ORDER BY version",
                   w);
    }
    /* Looking must not make anything: ask only if the table is there. */
    snprintf(sql, sizeof sql,
             "SELECT 0, 'x' FROM system.tables WHERE database = '%s' AND name = 'souk_migrations'",
             options->database);
    int status = run(loop, &server, sql, w);
    bool there = w->n_applied > 0;
    w->n_applied = 0;
    if (status != 0 || !there) return status;
    return run(loop, options, "SELECT version, checksum FROM souk_migrations ORDER BY version", w);
}

int schema__migrate(uv_loop_t *loop, const struct store_options *options, bool dry, FILE *out,
                    struct err *e) {
    struct wait *w = calloc(1, sizeof *w);
    if (w == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    w->e = e;
    int n = 0, status = prepare_database(loop, options, dry, w);
    for (size_t i = 0; status == 0 && i < schema_n_migrations; i++) {
        int applied = was_applied(w, &schema_migrations[i]);
        if (applied < 0) status = applied;
        if (applied != 0) continue;
        n++;
        if (!dry) status = apply(loop, options, &schema_migrations[i], out, w);
        else if (out != NULL) fprintf(out, "%s is not applied\n", schema_migrations[i].name);
    }
    free(w);
    return status != 0 ? status : n;
}
