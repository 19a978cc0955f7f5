/* A live database's schema, from the server's system tables. */
#include "souk/schema.h"
#include <stdio.h>
#include <stdlib.h>

/* Replicated tables deduplicate unless told not to; this many blocks on servers of the floor. */
#define SCHEMA_WINDOW_REPLICATED 100

struct live {
    struct schema *s;
    bool failed;
};

/* The TTL stands in engine_full alone: ... TTL toDateTime(ts) + toIntervalDay(90) SETTINGS ... */
static char *ttl_of(const char *engine_full) {
    const char *at = strstr(engine_full, " TTL "), *end;
    if (at == NULL) return strdup("");
    at += 5;
    end = strstr(at, " SETTINGS ");
    return strndup(at, end == NULL ? strlen(at) : (size_t)(end - at));
}

static uint64_t window_of(const char *engine, const char *engine_full) {
    bool replicated = strncmp(engine, "Replicated", 10) == 0 || strncmp(engine, "Shared", 6) == 0;
    const char *name = replicated ? " replicated_deduplication_window = "
                                  : " non_replicated_deduplication_window = ";
    const char *at = strstr(engine_full, name);
    if (at == NULL) return replicated ? SCHEMA_WINDOW_REPLICATED : 0;
    return strtoull(at + strlen(name), NULL, 10);
}

static void on_table(void *data, const struct slice *cells, size_t n_cells) {
    struct live *l = data;
    struct schema *s = l->s;
    struct schema_table *grown = n_cells != 5 || s->n_tables == SCHEMA_TABLES_MAX
                                     ? NULL
                                     : realloc(s->tables, (s->n_tables + 1) * sizeof *grown);
    char *full = grown == NULL ? NULL : slice__dup(cells[2]);
    if (full == NULL) {
        if (grown != NULL) s->tables = grown;
        l->failed = true;
        return;
    }
    s->tables = grown;
    struct schema_table *t = &grown[s->n_tables++];
    *t = (struct schema_table){.name = slice__dup(cells[0]),
                               .engine = slice__dup(cells[1]),
                               .partition_key = slice__dup(cells[3]),
                               .order_key = slice__dup(cells[4]),
                               .ttl = ttl_of(full),
                               .ddl = strdup("")};
    l->failed |= t->name == NULL || t->engine == NULL || t->partition_key == NULL ||
                 t->order_key == NULL || t->ttl == NULL || t->ddl == NULL;
    if (!l->failed) {
        t->window = window_of(t->engine, full);
        t->is_view = strcmp(t->engine, "View") == 0 || strcmp(t->engine, "MaterializedView") == 0;
    }
    free(full);
}

static void on_column(void *data, const struct slice *cells, size_t n_cells) {
    struct live *l = data;
    struct schema_table *t = NULL;
    if (l->failed || n_cells != 3) return;
    for (size_t i = 0; i < l->s->n_tables && t == NULL; i++)
        if (slice__eq(slice__str(l->s->tables[i].name), cells[0])) t = &l->s->tables[i];
    if (t == NULL || t->n_columns == SCHEMA_COLUMNS_MAX) return; /* Not one of ours. */
    struct schema_column *grown = realloc(t->columns, (t->n_columns + 1) * sizeof *grown);
    if (grown == NULL) {
        l->failed = true;
        return;
    }
    t->columns = grown;
    grown[t->n_columns] = (struct schema_column){
        .name = slice__dup(cells[1]), .type = slice__dup(cells[2]), .rest = strdup("")};
    const struct schema_column *c = &grown[t->n_columns++];
    l->failed |= c->name == NULL || c->type == NULL || c->rest == NULL;
}

static void on_there(void *data, const struct slice *cells, size_t n_cells) {
    (void)cells, (void)n_cells;
    *(bool *)data = true;
}

int schema__live(uv_loop_t *loop, const struct store_options *options, const struct schema *wanted,
                 bool *has_database, struct schema *out, struct err *e) {
    struct store_options server = *options;
    struct live l = {.s = out};
    char sql[8192 + SCHEMA_TABLES_MAX * 64];
    server.database = "default"; /* The one asked about may not be there. */
    *out = (struct schema){0};
    *has_database = false;
    snprintf(sql, sizeof sql, "SELECT 1 FROM system.databases WHERE name = '%s'",
             options->database);
    int status = store__ask(loop, &server, sql, on_there, has_database, e);
    if (status != 0 || !*has_database) return status;
    /* Only our tables: others' may be any number. */
    struct buf names = buf__init(SCHEMA_TABLES_MAX * 68);
    for (size_t i = 0; i < wanted->n_tables; i++)
        buf__printf(&names, "%s'%s'", i == 0 ? "" : ",", wanted->tables[i].name);
    snprintf(sql, sizeof sql,
             "SELECT name, engine, engine_full, partition_key, sorting_key FROM system.tables "
             "WHERE database = '%s' AND name IN (%.*s)",
             options->database, SLICE_FMT(buf__slice(&names)));
    status = store__ask(loop, &server, sql, on_table, &l, e);
    if (status == 0) {
        snprintf(sql, sizeof sql,
                 "SELECT table, name, type FROM system.columns WHERE database = '%s' AND table IN "
                 "(%.*s) ORDER BY table, position",
                 options->database, SLICE_FMT(buf__slice(&names)));
        status = store__ask(loop, &server, sql, on_column, &l, e);
    }
    bool failed = names.failed || l.failed;
    buf__fini(&names);
    if (status == 0 && failed) return err__setf(e, ERR_NOMEM, "schema: out of memory");
    return status;
}
