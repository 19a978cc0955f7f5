/* The expected schema, read from the program's own migrations: CREATE TABLE, CREATE VIEW and ALTER
 * TABLE ... ADD COLUMN or COMMENT COLUMN, as these files write them. Anything else is an error,
 * which a test meets before a user does. */
#include "souk/schema.h"
#include "sql.h"
#include <ctype.h>
#include <stdlib.h>

/* Where reading a statement stands. */
struct cursor {
    const char *p, *end;
};

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void skip(struct cursor *c) { c->p = sql__skip_blank(c->p, c->end); }

/* Takes the words of @words, one blank between them, if they come next. */
static bool take(struct cursor *c, const char *words) {
    struct cursor at = *c;
    while (*words != '\0') {
        skip(&at);
        size_t n = strcspn(words, " ");
        if ((size_t)(at.end - at.p) < n || strncasecmp(at.p, words, n) != 0) return false;
        if (is_word(words[n - 1]) && at.p + n < at.end && is_word(at.p[n])) return false;
        at.p += n;
        words += n + strspn(words + n, " ");
    }
    *c = at;
    return true;
}

/* A name, in back quotes or bare. */
static char *take_name(struct cursor *c) {
    skip(c);
    const char *start = c->p;
    if (c->p < c->end && *c->p == '`') {
        start = ++c->p;
        while (c->p < c->end && *c->p != '`') c->p++;
        char *name = strndup(start, (size_t)(c->p - start));
        if (c->p < c->end) c->p++;
        return name;
    }
    while (c->p < c->end && is_word(*c->p)) c->p++;
    return strndup(start, (size_t)(c->p - start));
}

/* @return the end of the text at @p up to a comma or a closing parenthesis of the same depth, or up
 * to one of @words (NULL at the end of the list) at that depth. */
static const char *text_end(const char *p, const char *end, bool at_comma,
                            const char *const *words) {
    int depth = 0;
    bool in_word = false;
    for (char quote = 0; p < end; p++) {
        if (quote != 0) {
            if (*p == '\\' && p + 1 < end) p++;
            else if (*p == quote) quote = 0;
            continue;
        }
        if (depth == 0 && !in_word) {
            struct cursor here = {p, end};
            for (size_t i = 0; words != NULL && words[i] != NULL; i++)
                if (is_word(*p) && take(&here, words[i])) return p;
        }
        in_word = is_word(*p);
        if (*p == '\'' || *p == '`') quote = *p;
        else if (*p == '(') depth++;
        else if (*p == ')' && depth-- == 0) return p;
        else if (*p == ',' && depth == 0 && at_comma) return p;
    }
    return end;
}

static char *take_text(struct cursor *c, bool at_comma, const char *const *words) {
    skip(c);
    const char *start = c->p, *end = text_end(start, c->end, at_comma, words);
    c->p = end;
    while (end > start && isspace((unsigned char)end[-1])) end--;
    return strndup(start, (size_t)(end - start));
}

/* Columns. */

static const char *const behind_type[] = {
    "DEFAULT", "MATERIALIZED", "ALIAS", "EPHEMERAL", "COMMENT",
    "CODEC",   "TTL",          "AFTER", "FIRST",     NULL};
static const char *const behind_column[] = {"AFTER", "FIRST", NULL};

static int add_column(struct schema_table *t, struct cursor *c, struct err *e) {
    if (t->n_columns == SCHEMA_COLUMNS_MAX)
        return err__setf(e, ERR_LIMIT, "table %s: more than %d columns", t->name,
                         SCHEMA_COLUMNS_MAX);
    struct schema_column *grown = realloc(t->columns, (t->n_columns + 1) * sizeof *grown);
    if (grown == NULL) return err__setf(e, ERR_NOMEM, "schema: out of memory");
    t->columns = grown;
    struct schema_column *col = &grown[t->n_columns++];
    *col = (struct schema_column){.name = take_name(c)};
    col->type = take_text(c, true, behind_type);
    col->rest = take_text(c, true, behind_column);
    if (col->name == NULL || col->type == NULL || col->rest == NULL)
        return err__setf(e, ERR_NOMEM, "schema: out of memory");
    return 0;
}

static int take_columns(struct schema_table *t, struct cursor *c, struct err *e) {
    if (!take(c, "(")) return err__setf(e, ERR_SCHEMA, "table %s: no columns", t->name);
    for (;;) {
        int status = 0;
        if (take(c, "INDEX") || take(c, "CONSTRAINT") || take(c, "PROJECTION"))
            c->p = text_end(c->p, c->end, true, NULL);
        else status = add_column(t, c, e);
        if (status != 0) return status;
        if (take(c, ",")) continue;
        if (take(c, ")")) return 0;
        return err__setf(e, ERR_SCHEMA, "table %s: the list of columns has no end", t->name);
    }
}

/* Statements. */

static const char *const clauses[] = {"ENGINE", "PARTITION BY", "PRIMARY KEY", "ORDER BY",
                                      "TTL",    "SETTINGS",     "COMMENT",     NULL};

static uint64_t window_of(const char *settings) {
    static const char name[] = "non_replicated_deduplication_window";
    const char *at = strstr(settings, name);
    if (at == NULL) return 0;
    at += sizeof name - 1;
    at += strspn(at, " =");
    return strtoull(at, NULL, 10);
}

static int take_clauses(struct schema_table *t, struct cursor *c, struct err *e) {
    while (skip(c), c->p < c->end) {
        char **to = NULL, *ignored = NULL, *settings = NULL;
        if (take(c, "ENGINE")) {
            take(c, "=");
            to = &t->engine;
        } else if (take(c, "PARTITION BY")) {
            to = &t->partition_key;
        } else if (take(c, "ORDER BY")) {
            to = &t->order_key;
        } else if (take(c, "TTL")) {
            to = &t->ttl;
        } else if (take(c, "SETTINGS")) {
            to = &settings;
        } else if (take(c, "PRIMARY KEY") || take(c, "COMMENT")) {
            to = &ignored;
        } else {
            return err__setf(e, ERR_SCHEMA, "table %s: cannot read what stands at: %.40s", t->name,
                             c->p);
        }
        free(*to);
        *to = take_text(c, false, clauses);
        if (settings != NULL) t->window = window_of(settings);
        bool ok = *to != NULL;
        free(settings);
        free(ignored);
        if (!ok) return err__setf(e, ERR_NOMEM, "schema: out of memory");
    }
    return 0;
}

static void free_table(struct schema_table *t) {
    for (size_t i = 0; i < t->n_columns; i++) {
        free(t->columns[i].name);
        free(t->columns[i].type);
        free(t->columns[i].rest);
    }
    free(t->columns);
    free(t->name);
    free(t->engine);
    free(t->partition_key);
    free(t->order_key);
    free(t->ttl);
    free(t->ddl);
    *t = (struct schema_table){0};
}

/* The table that a statement makes; one made again takes the place of the first, as a view does. */
static struct schema_table *new_table(struct schema *s, char *name, struct slice ddl,
                                      struct err *e) {
    struct schema_table *t = name == NULL ? NULL : (struct schema_table *)schema__find(s, name);
    if (t == NULL && s->n_tables < SCHEMA_TABLES_MAX) {
        struct schema_table *grown = realloc(s->tables, (s->n_tables + 1) * sizeof *grown);
        if (grown != NULL) {
            s->tables = grown;
            t = &grown[s->n_tables++];
            *t = (struct schema_table){0};
        }
    }
    if (t == NULL || name == NULL) {
        free(name);
        err__setf(e, ERR_NOMEM, "schema: out of memory, or more than %d tables", SCHEMA_TABLES_MAX);
        return NULL;
    }
    free_table(t);
    *t = (struct schema_table){.name = name,
                               .engine = strdup(""),
                               .partition_key = strdup(""),
                               .order_key = strdup(""),
                               .ttl = strdup(""),
                               .ddl = slice__dup(ddl)};
    if (t->engine != NULL && t->partition_key != NULL && t->order_key != NULL && t->ttl != NULL &&
        t->ddl != NULL)
        return t;
    err__setf(e, ERR_NOMEM, "schema: out of memory");
    return NULL;
}

static int take_alter(struct schema *s, struct cursor *c, struct err *e) {
    char *name = take_name(c);
    struct schema_table *t = name == NULL ? NULL : (struct schema_table *)schema__find(s, name);
    int status = t == NULL ? err__setf(e, ERR_SCHEMA, "ALTER of an unknown table %s", name) : 0;
    free(name);
    while (status == 0) {
        if (take(c, "ADD COLUMN IF NOT EXISTS") || take(c, "ADD COLUMN"))
            status = add_column(t, c, e);
        else if (!take(c, "COMMENT COLUMN")) /* Which changes nothing that is compared. */
            return err__setf(e, ERR_SCHEMA,
                             "ALTER TABLE %s: only ADD COLUMN and COMMENT COLUMN are known",
                             t->name);
        c->p = text_end(c->p, c->end, true, NULL); /* AFTER: places do not count. */
        if (!take(c, ",")) break;
    }
    return status;
}

static int take_statement(struct schema *s, struct slice text, struct err *e) {
    struct cursor c = {text.base, text.base + text.len};
    bool is_view = take(&c, "CREATE OR REPLACE VIEW") || take(&c, "CREATE VIEW IF NOT EXISTS") ||
                   take(&c, "CREATE MATERIALIZED VIEW IF NOT EXISTS");
    if (is_view || take(&c, "CREATE TABLE IF NOT EXISTS")) {
        struct schema_table *t = new_table(s, take_name(&c), text, e);
        if (t == NULL) return ERR_NOMEM;
        t->is_view = is_view;
        if (is_view) return 0;
        int status = take_columns(t, &c, e);
        return status != 0 ? status : take_clauses(t, &c, e);
    }
    if (take(&c, "ALTER TABLE")) return take_alter(s, &c, e);
    return err__setf(e, ERR_SCHEMA, "cannot read the statement: %.60s", text.base);
}

int schema__parse(struct schema *s, const char *sql, struct err *e) {
    for (struct slice statement; sql__next(&sql, &statement);) {
        int status = take_statement(s, statement, e);
        if (status != 0) return status;
    }
    return 0;
}

int schema__expected(struct schema *s, struct err *e) {
    *s = (struct schema){0};
    for (size_t i = 0; i < schema_n_migrations; i++) {
        int status = schema__parse(s, schema_migrations[i].sql, e);
        if (status != 0) return err__prefixf(e, "migration %s", schema_migrations[i].name);
    }
    return 0;
}

void schema__fini(struct schema *s) {
    for (size_t i = 0; i < s->n_tables; i++) free_table(&s->tables[i]);
    free(s->tables);
    *s = (struct schema){0};
}

const struct schema_table *schema__find(const struct schema *s, const char *name) {
    for (size_t i = 0; i < s->n_tables; i++)
        if (strcmp(s->tables[i].name, name) == 0) return &s->tables[i];
    return NULL;
}
