/* In what a live database differs from the expected schema, what mends it, and mending what only
 * adds. What would rewrite or delete rows is an operator's to run: the statement is given. */
#include "souk/schema.h"
#include "sql.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STATEMENT_MAX ((size_t)64 << 10)

const char *schema_kind__text(enum schema_kind kind) {
    static const char *const texts[] = {
        [SCHEMA_DATABASE] = "database",
        [SCHEMA_MIGRATION] = "migration",
        [SCHEMA_TABLE] = "table",
        [SCHEMA_COLUMN] = "column",
        [SCHEMA_TYPE] = "type",
        [SCHEMA_ENGINE] = "engine",
        [SCHEMA_PARTITION_KEY] = "partition_key",
        [SCHEMA_ORDER_KEY] = "order_key",
        [SCHEMA_TTL] = "ttl",
        [SCHEMA_WINDOW] = "deduplication_window",
    };
    assert(kind >= 0 && (size_t)kind < sizeof texts / sizeof *texts);
    return texts[kind];
}

void schema_diff__fini(struct schema_diff *d) {
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].what);
        free(d->items[i].statement);
    }
    free(d->items);
    *d = (struct schema_diff){0};
}

/* Adds a difference whose texts are written next, to what() and statement(). */
struct writer {
    struct schema_diff *out;
    const char *database;
    struct buf what, statement;
    bool failed;
};

static void say(struct writer *w, enum schema_kind kind, const char *table, const char *column,
                bool additive) {
    struct schema_difference *grown =
        realloc(w->out->items, (w->out->n + 1) * sizeof *w->out->items);
    if (grown == NULL) {
        w->failed = true;
        return;
    }
    w->out->items = grown;
    struct schema_difference *d = &grown[w->out->n++];
    *d = (struct schema_difference){.kind = kind,
                                    .what = slice__dup(buf__slice(&w->what)),
                                    .statement = slice__dup(buf__slice(&w->statement)),
                                    .additive = additive,
                                    .harmful = kind != SCHEMA_TTL && kind != SCHEMA_ORDER_KEY &&
                                               kind != SCHEMA_PARTITION_KEY};
    snprintf(d->table, sizeof d->table, "%s", table);
    snprintf(d->column, sizeof d->column, "%s", column);
    w->failed |= d->what == NULL || d->statement == NULL || w->what.failed || w->statement.failed;
    buf__clear(&w->what);
    buf__clear(&w->statement);
}

/* The statement that makes @t, under @name in the database. */
static void put_ddl(struct buf *out, const char *database, const struct schema_table *t,
                    const char *name) {
    const char *p = t->ddl, *at = strstr(p, t->name);
    buf__append(out, p, (size_t)(at - p));
    buf__printf(out, "%s.%s%s", database, name, at + strlen(t->name));
}

/* Rows move to a table that is made anew; both names exist all the while. */
static void put_rebuild(struct writer *w, const struct schema_table *t) {
    char name[80];
    snprintf(name, sizeof name, "%s_new", t->name);
    put_ddl(&w->statement, w->database, t, name);
    buf__printf(&w->statement, ";\nINSERT INTO %s.%s (", w->database, name);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < t->n_columns; i++)
            buf__printf(&w->statement, "%s`%s`", i == 0 ? "" : ", ", t->columns[i].name);
        if (round == 0) buf__append_str(&w->statement, ") SELECT ");
    }
    buf__printf(&w->statement, " FROM %s.%s;\nEXCHANGE TABLES %s.%s AND %s.%s", w->database,
                t->name, w->database, name, w->database, t->name);
}

/* MergeTree, ReplacingMergeTree and so on; who replicates it does not matter. */
static struct slice family(const char *engine) {
    static const char *const prefixes[] = {"Replicated", "Shared"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(engine, prefixes[i], strlen(prefixes[i])) == 0) engine += strlen(prefixes[i]);
    return slice__of(engine, strcspn(engine, "( "));
}

static void compare_columns(struct writer *w, const struct schema_table *want,
                            const struct schema_table *have) {
    for (size_t i = 0; i < want->n_columns; i++) {
        const struct schema_column *c = &want->columns[i], *found = NULL;
        for (size_t k = 0; k < have->n_columns && found == NULL; k++)
            if (strcmp(have->columns[k].name, c->name) == 0) found = &have->columns[k];
        if (found == NULL) {
            buf__printf(&w->what, "column %s %s is missing", c->name, c->type);
            buf__printf(&w->statement, "ALTER TABLE %s.%s ADD COLUMN IF NOT EXISTS `%s` %s%s%s",
                        w->database, want->name, c->name, c->type, c->rest[0] == '\0' ? "" : " ",
                        c->rest);
            if (i > 0) buf__printf(&w->statement, " AFTER `%s`", want->columns[i - 1].name);
            say(w, SCHEMA_COLUMN, want->name, c->name, true);
        } else if (!expression__same(c->type, found->type)) {
            buf__printf(&w->what, "column %s is %s, expected %s", c->name, found->type, c->type);
            buf__printf(&w->statement, "ALTER TABLE %s.%s MODIFY COLUMN `%s` %s", w->database,
                        want->name, c->name, c->type);
            say(w, SCHEMA_TYPE, want->name, c->name, false);
        }
    }
}

static void compare_table(struct writer *w, const struct schema_table *want,
                          const struct schema_table *have) {
    if (want->is_view) {
        if (have->is_view) return;
        buf__printf(&w->what, "is a %s, expected a view", have->engine);
        buf__printf(&w->statement, "RENAME TABLE %s.%s TO %s.%s_old;\n", w->database, want->name,
                    w->database, want->name);
        put_ddl(&w->statement, w->database, want, want->name);
        say(w, SCHEMA_ENGINE, want->name, "", false);
        return;
    }
    if (!slice__eq(family(want->engine), family(have->engine))) {
        buf__printf(&w->what, "engine is %s, expected %s", have->engine, want->engine);
        put_rebuild(w, want);
        say(w, SCHEMA_ENGINE, want->name, "", false);
        return; /* What an engine of another kind has for keys says nothing. */
    }
    compare_columns(w, want, have);
    if (!expression__same(want->partition_key, have->partition_key)) {
        buf__printf(&w->what, "partition key is %s, expected %s", have->partition_key,
                    want->partition_key);
        put_rebuild(w, want);
        say(w, SCHEMA_PARTITION_KEY, want->name, "", false);
    }
    if (!expression__same(want->order_key, have->order_key)) {
        buf__printf(&w->what, "order key is %s, expected %s", have->order_key, want->order_key);
        put_rebuild(w, want);
        say(w, SCHEMA_ORDER_KEY, want->name, "", false);
    }
    if (!expression__same(want->ttl, have->ttl)) {
        buf__printf(&w->what, "TTL is %s, expected %s", have->ttl[0] == '\0' ? "none" : have->ttl,
                    want->ttl[0] == '\0' ? "none" : want->ttl);
        if (want->ttl[0] == '\0')
            buf__printf(&w->statement, "ALTER TABLE %s.%s REMOVE TTL", w->database, want->name);
        else
            buf__printf(&w->statement, "ALTER TABLE %s.%s MODIFY TTL %s", w->database, want->name,
                        want->ttl);
        say(w, SCHEMA_TTL, want->name, "", false);
    }
    bool replicated = family(have->engine).base != have->engine;
    uint64_t least = replicated ? 1 : want->window;
    if (have->window < least) {
        buf__printf(&w->what, "deduplication window is %" PRIu64 ", expected %" PRIu64 " or more: ",
                    have->window, least);
        if (have->window == 0) buf__append_str(&w->what, "a repeated insert would be stored twice");
        else
            buf__append_str(&w->what,
                            "an insert repeated after as many others would be stored twice");
        buf__printf(&w->statement, "ALTER TABLE %s.%s MODIFY SETTING %s = %" PRIu64, w->database,
                    want->name,
                    replicated ? "replicated_deduplication_window"
                               : "non_replicated_deduplication_window",
                    want->window);
        say(w, SCHEMA_WINDOW, want->name, "", true);
        if (!w->failed) w->out->items[w->out->n - 1].harmful = have->window == 0;
    }
}

int schema__compare(const char *database, const struct schema *expected, const struct schema *live,
                    struct schema_diff *out, struct err *e) {
    struct writer w = {.out = out,
                       .database = database,
                       .what = buf__init(STATEMENT_MAX),
                       .statement = buf__init(STATEMENT_MAX)};
    for (size_t i = 0; i < expected->n_tables && !w.failed; i++) {
        const struct schema_table *want = &expected->tables[i],
                                  *have = schema__find(live, want->name);
        if (have != NULL) {
            compare_table(&w, want, have);
            continue;
        }
        buf__printf(&w.what, "%s is missing", want->is_view ? "view" : "table");
        put_ddl(&w.statement, database, want, want->name);
        say(&w, SCHEMA_TABLE, want->name, "", true);
    }
    buf__fini(&w.what);
    buf__fini(&w.statement);
    return w.failed ? err__setf(e, ERR_NOMEM, "schema: out of memory") : 0;
}

/* Whole databases. */

static int compare_migrations(uv_loop_t *loop, const struct store_options *options,
                              bool has_database, struct writer *w, struct err *e) {
    struct err why = {0};
    int n = schema__migrate(loop, options, true, NULL, &why);
    if (n < 0 && why.code != ERR_SCHEMA) {
        if (e != NULL) *e = why;
        return n;
    }
    if (!has_database) {
        buf__printf(&w->what, "database %s is missing", options->database);
        buf__printf(&w->statement, "CREATE DATABASE IF NOT EXISTS %s", options->database);
        say(w, SCHEMA_DATABASE, "", "", true);
    }
    if (n == 0) return 0;
    if (n < 0) buf__append_str(&w->what, why.msg);
    else
        buf__printf(&w->what, "%d of %zu migrations %s not applied", n, schema_n_migrations,
                    n == 1 ? "is" : "are");
    if (n > 0) buf__append_str(&w->statement, "souk schema apply --yes");
    say(w, SCHEMA_MIGRATION, "", "", n > 0);
    return 0;
}

int schema__diff(uv_loop_t *loop, const struct store_options *options, struct schema_diff *out,
                 struct err *e) {
    struct schema expected, live = {0};
    bool has_database;
    *out = (struct schema_diff){0};
    int status = schema__expected(&expected, e);
    if (status == 0) status = schema__live(loop, options, &expected, &has_database, &live, e);
    struct writer w = {.out = out,
                       .database = options->database,
                       .what = buf__init(STATEMENT_MAX),
                       .statement = buf__init(STATEMENT_MAX)};
    if (status == 0) status = compare_migrations(loop, options, has_database, &w, e);
    if (status == 0 && w.failed) status = err__setf(e, ERR_NOMEM, "schema: out of memory");
    buf__fini(&w.what);
    buf__fini(&w.statement);
    if (status == 0) status = schema__compare(options->database, &expected, &live, out, e);
    schema__fini(&live);
    schema__fini(&expected);
    if (status != 0) schema_diff__fini(out);
    return status;
}

int schema__apply(uv_loop_t *loop, const struct store_options *options, bool dry, FILE *out,
                  struct err *e) {
    struct schema_diff diff;
    /* Migrations first: what they make is then no difference any more. */
    int n_migrations = schema__migrate(loop, options, dry, out, e), n = n_migrations;
    int status = n < 0 ? n : schema__diff(loop, options, &diff, e);
    if (status != 0) return status;
    for (size_t i = 0; i < diff.n && status == 0; i++) {
        const struct schema_difference *d = &diff.items[i];
        if (!d->additive || d->kind == SCHEMA_MIGRATION || d->kind == SCHEMA_DATABASE) continue;
        if (out != NULL) fprintf(out, "%s;\n", d->statement);
        if (!dry) status = store__ask(loop, options, d->statement, NULL, NULL, e);
        /* A migration that is due makes it, most likely, and is counted already. */
        n += !dry || n_migrations == 0 || d->kind != SCHEMA_TABLE;
    }
    schema_diff__fini(&diff);
    return status != 0 ? status : n;
}

void schema__print(const char *database, FILE *out) {
    fprintf(out, "CREATE DATABASE IF NOT EXISTS %s;\nUSE %s;\n\n", database, database);
    for (size_t i = 0; i < schema_n_migrations; i++) {
        fprintf(out, "-- %s\n", schema_migrations[i].name);
        const char *at = schema_migrations[i].sql;
        for (struct slice s; sql__next(&at, &s);) {
            while (s.len > 0 && (s.base[s.len - 1] == '\n' || s.base[s.len - 1] == ' ')) s.len--;
            fprintf(out, "%.*s;\n\n", SLICE_FMT(s));
        }
    }
}
