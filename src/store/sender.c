/* One connection to ClickHouse. What can fail: connecting (again, later, with backoff), the check
 * of the server (held: rows wait until it is as it should be), an insert (same block, same token,
 * until its outcome is certain; a poor connection is closed by ch-native). */
#include "souk/core/log.h"
#include "store_internal.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_FIRST_NS (NS_PER_S / 5)
#define CHECK_AGAIN_NS (60 * NS_PER_S) /* Someone may take a deduplication window away. */
#define BACKOFF_MAX_NS (5 * NS_PER_S)

static const unsigned sender_next[] = {
    [SENDER_CLOSED] = 1u << SENDER_CONNECTING | 1u << SENDER_ENDED,
    [SENDER_CONNECTING] = 1u << SENDER_CHECKING | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_CHECKING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_READY] =
        1u << SENDER_INSERTING | 1u << SENDER_CHECKING | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_INSERTING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_ENDED] = 0,
};

static void move(struct sender *c, enum sender_state next) {
    assert(sender_next[c->state] & (1u << next));
    c->state = next;
    if (next != SENDER_ENDED) store__note_connection(c->store);
}

static int64_t backoff_ns(uint32_t n) {
    int64_t ns = BACKOFF_FIRST_NS;
    for (uint32_t i = 1; i < n && ns < BACKOFF_MAX_NS; i++) ns *= 2;
    return ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
}

/* The same failure is told once a minute: ClickHouse can be away for days. */
static bool is_news(struct store *s, const char *text) {
    if (s->close_cb != NULL) return false;
    if (strcmp(s->last_error, text) == 0 && s->clock->mono_ns - s->logged_mono_ns < 60 * NS_PER_S)
        return false;
    s->logged_mono_ns = s->clock->mono_ns;
    return true;
}

static void note_failure(struct sender *c, bool held, const char *text) {
    struct store *s = c->store;
    c->n_failures++;
    c->connect_at_mono_ns = s->clock->mono_ns + backoff_ns(c->n_failures);
    s->held = held;
    if (is_news(s, text))
        LOG_WARN("store", held ? "ClickHouse is not as it should be" : "ClickHouse is away",
                 LOG_S("host", s->host), LOG_I("port", s->options.port), LOG_S("err", text));
    snprintf(s->last_error, sizeof s->last_error, "%s", text);
}

static const char *exception_text(const struct chn_err *err, const struct chn_exception *x,
                                  char *out, size_t size) {
    if (x == NULL) snprintf(out, size, "%s", err == NULL ? "unknown" : err->msg);
    else snprintf(out, size, "code %" PRId32 ": %.200s", x->code, x->message);
    return out;
}

/* Authorization, database, settings: what waiting does not mend. Codes: ClickHouse's ErrorCodes. */
static bool is_configuration(const struct chn_exception *x) {
    static const int32_t codes[] = {16, 20, 47, 53, 60, 62, 81, 115, 164, 192, 193, 194, 497, 516};
    for (size_t i = 0; x != NULL && i < sizeof codes / sizeof *codes; i++)
        if (x->code == codes[i]) return true;
    return false;
}

/* The check of a new connection's server. */

static bool cell_is(const struct chn_view *view, uint64_t row, const char *text) {
    struct chn_slice s;
    return chn_view__string(view, row, &s) && s.n == strlen(text) && memcmp(s.data, text, s.n) == 0;
}

/* engine_full reads: MergeTree PARTITION BY ... SETTINGS non_replicated_deduplication_window =
 * 10000, ... */
static bool deduplicates(const struct chn_view *view, uint64_t row) {
    static const char name[] = "non_replicated_deduplication_window = ";
    struct chn_slice s;
    if (!chn_view__string(view, row, &s)) return false;
    if (s.n >= 10 && memcmp(s.data, "Replicated", 10) == 0) return true;
    const char *at = memmem(s.data, s.n, name, sizeof name - 1), *end = (const char *)s.data + s.n;
    return at != NULL && at + sizeof name - 1 < end && at[sizeof name - 1] >= '1' &&
           at[sizeof name - 1] <= '9';
}

static int on_tables(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct sender *c = data;
    const struct store *s = c->store;
    const struct chn_view *names = chn_block__find(block, "name"),
                          *engines = chn_block__find(block, "engine_full");
    (void)conn;
    if (names == NULL || engines == NULL) return 0;
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++)
        for (size_t i = 0; i < s->options.n_tables; i++) {
            if (!cell_is(names, row, s->options.tables[i]->name)) continue;
            c->tables_seen |= UINT64_C(1) << i;
            if (!deduplicates(engines, row))
                snprintf(
                    c->problem, sizeof c->problem,
                    "table %s.%s has no deduplication window, so a repeated insert would be stored "
                    "twice; run: "
                    "ALTER TABLE %s.%s MODIFY SETTING non_replicated_deduplication_window = 10000",
                    s->database, s->options.tables[i]->name, s->database,
                    s->options.tables[i]->name);
        }
    return 0;
}

static void close_after_check(struct sender *c, bool held, const char *text) {
    note_failure(c, held, text);
    sender__end(c); /* For good: the next attempt opens another, see sender__pump. */
}

static void on_checked(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    struct sender *c = data;
    struct store *s = c->store;
    char text[ERR_MSG_MAX];
    (void)conn;
    if (c->state == SENDER_ENDED) return;
    if (result->err != NULL) {
        close_after_check(c, is_configuration(result->exception),
                          exception_text(result->err, result->exception, text, sizeof text));
        return;
    }
    for (size_t i = 0; i < s->options.n_tables && c->problem[0] == '\0'; i++)
        if (!(c->tables_seen & (UINT64_C(1) << i)))
            snprintf(c->problem, sizeof c->problem,
                     "table %s.%s is missing; run: souk schema apply --yes", s->database,
                     s->options.tables[i]->name);
    if (c->problem[0] != '\0') {
        close_after_check(c, true, c->problem);
        return;
    }
    s->held = false;
    c->checked = true;
    c->check_at_mono_ns = s->clock->mono_ns + CHECK_AGAIN_NS;
    move(c, SENDER_READY); /* The backoff stays until an insert has gone well. */
    sender__pump(c);
}

static void check_server(struct sender *c) {
    struct store *s = c->store;
    const struct chn_server *v = chn_conn__server(c->conn);
    snprintf(s->server, sizeof s->server, "%s %u.%u.%u", v->name, v->major, v->minor, v->patch);
    c->problem[0] = '\0';
    c->tables_seen = 0;
    move(c, SENDER_CHECKING);
    if (v->major < STORE_VERSION_FLOOR_MAJOR ||
        (v->major == STORE_VERSION_FLOOR_MAJOR && v->minor < STORE_VERSION_FLOOR_MINOR)) {
        snprintf(c->problem, sizeof c->problem,
                 "%s at %s:%u is too old: souk needs ClickHouse %d.%d or newer", s->server, s->host,
                 s->options.port, STORE_VERSION_FLOOR_MAJOR, STORE_VERSION_FLOOR_MINOR);
        close_after_check(c, true, c->problem);
        return;
    }
    struct chn_parameter database = {.name = "database", .value = s->database};
    struct chn_query query = {
        .sql = "SELECT name, engine_full FROM system.tables WHERE database = {database:String}",
        .parameters = &database,
        .n_parameters = 1,
        .timeout_ms = 10000,
        .on_block = on_tables};
    if (chn_conn__query(c->conn, &query, on_checked, c) != 0)
        close_after_check(c, false, "cannot ask for its tables");
}

static void on_connected(struct chn_conn *conn, void *data, const struct chn_err *err,
                         const struct chn_exception *exception) {
    struct sender *c = data;
    char text[ERR_MSG_MAX];
    (void)conn;
    if (c->state == SENDER_ENDED) return;
    if (err == NULL) {
        c->checked = false;
        check_server(c);
        return;
    }
    note_failure(c, is_configuration(exception), exception_text(err, exception, text, sizeof text));
    move(c, SENDER_CLOSED);
}

static void on_lost(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct sender *c = data;
    (void)conn;
    if (c->state == SENDER_ENDED) return;
    note_failure(c, false, err->msg);
    move(c, SENDER_CLOSED);
}

static int open_conn(struct sender *c, struct err *e) {
    struct store *s = c->store;
    struct chn_options options = {.host = s->host,
                                  .port = s->options.port,
                                  .database = s->database,
                                  .user = s->user,
                                  .password = s->password,
                                  .client_name = "souk",
                                  .on_lost = on_lost,
                                  .data = c};
    struct chn_err err = {0};
    c->conn = chn_conn__new(s->loop, &options, &err);
    if (c->conn == NULL)
        return err__setf(e, ERR_CONFIG, "ClickHouse %s:%u: %s", s->host, s->options.port, err.msg);
    s->n_senders_open++;
    c->state = SENDER_CLOSED;
    return 0;
}

int sender__init(struct sender *c, struct store *s, struct err *e) {
    *c = (struct sender){.store = s};
    return open_conn(c, e);
}

/* Inserting. */

static void fill_columns(struct sender *c, const struct batch *b) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column_desc *d = &b->table->columns[i];
        const struct column *col = &b->columns[i];
        size_t n = 0;
        if (d->kind == COLUMN_ARR_F32)
            c->parts[i][n++] = (struct chn_slice){.data = col->offs.base, .n = col->offs.len};
        if (col->data.len > 0)
            c->parts[i][n++] = (struct chn_slice){.data = col->data.base, .n = col->data.len};
        /* Plain strings into LowCardinality columns: the server builds the dictionaries. */
        const char *type = strcmp(d->type, "LowCardinality(String)") == 0 ? "String" : d->type;
        c->columns[i] =
            (struct chn_column){.name = d->name, .type = type, .parts = c->parts[i], .n_parts = n};
    }
}

static void on_inserted(struct chn_conn *conn, void *data, const struct chn_insert_result *r) {
    struct sender *c = data;
    struct store *s = c->store;
    struct sealed *sealed = c->sealed;
    (void)conn;
    c->sealed = NULL;
    if (r->outcome == CHN_OK) {
        int64_t took_ns = s->clock->mono_ns - c->sent_mono_ns;
        c->n_failures = 0;
        if (c->state != SENDER_ENDED) move(c, SENDER_READY);
        store__acknowledge(s, sealed, took_ns);
        if (c->state == SENDER_READY) sender__pump(c);
        return;
    }
    char text[ERR_MSG_MAX];
    size_t i = store__table_index(s, sealed->batch.table);
    exception_text(r->err, r->exception, text, sizeof text);
    sealed->state = SEALED_READY;
    sealed->not_before_mono_ns = s->clock->mono_ns + backoff_ns(sealed->n_attempts);
    sealed->rejected = r->outcome == CHN_REJECTED;
    s->retries++;
    series__inc(s->m[i].retries);
    series__inc(s->m[i].failed);
    if (is_news(s, text))
        LOG_WARN("store", "insert will be repeated", LOG_S("table", sealed->seal.table),
                 LOG_I("rows", sealed->seal.n_rows),
                 LOG_S("outcome", chn_outcome__text(r->outcome)),
                 LOG_S("token", sealed->seal.token), LOG_S("err", text));
    if (c->state == SENDER_ENDED) return;
    note_failure(
        c, is_configuration(r->exception) || (r->err != NULL && r->err->code == CHN_ERR_SCHEMA),
        text);
    move(c, SENDER_CLOSED);
}

static bool send_next(struct sender *c) {
    struct store *s = c->store;
    struct sealed *sealed = batcher__next(&s->batcher);
    if (sealed == NULL) return false;
    fill_columns(c, &sealed->batch);
    struct chn_setting settings[] = {{"insert_deduplication_token", sealed->seal.token, 1},
                                     {"insert_deduplicate", "1", 0},
                                     {"async_insert", "0", 0},
                                     {"low_cardinality_allow_in_native_format", "0", 1}};
    snprintf(c->statement, sizeof c->statement, "%s", sealed->seal.table);
    struct chn_insert insert = {.table = c->statement,
                                .columns = c->columns,
                                .n_columns = sealed->batch.table->n_columns,
                                .n_rows = sealed->batch.n_rows,
                                .settings = settings,
                                .n_settings = sizeof settings / sizeof *settings,
                                .compression = s->options.lz4 ? CHN_LZ4 : CHN_NO_COMPRESSION};
    sealed->state = SEALED_SENDING;
    sealed->n_attempts++;
    c->sealed = sealed;
    c->sent_mono_ns = s->clock->mono_ns;
    move(c, SENDER_INSERTING);
    int status = chn_conn__insert(c->conn, &insert, on_inserted, c);
    if (status == 0) return true;
    c->sealed = NULL;
    sealed->state = SEALED_READY;
    sealed->not_before_mono_ns = s->clock->mono_ns + backoff_ns(sealed->n_attempts);
    LOG_ERROR("store", "cannot start an insert", LOG_S("table", sealed->seal.table),
              LOG_S("err", chn_err__text(status)));
    move(c, SENDER_READY);
    return false;
}

void sender__pump(struct sender *c) {
    struct store *s = c->store;
    if (c->state == SENDER_READY) {
        if (s->clock->mono_ns >= c->check_at_mono_ns) check_server(c);
        else send_next(c);
        return;
    }
    if (c->state == SENDER_ENDED && c->conn == NULL && !s->ending) {
        struct err e = {0};
        if (open_conn(c, &e) != 0) note_failure(c, false, e.msg);
    }
    if (c->state != SENDER_CLOSED || c->conn == NULL || s->ending ||
        s->clock->mono_ns < c->connect_at_mono_ns)
        return;
    move(c, SENDER_CONNECTING);
    int status = chn_conn__connect(c->conn, on_connected, c);
    if (status == 0) return;
    note_failure(c, false, chn_err__text(status));
    move(c, SENDER_CLOSED);
}

static void on_ended(void *data) {
    struct sender *c = data;
    c->conn = NULL;
    c->store->n_senders_open--;
    store__sender_ended(c->store);
}

void sender__end(struct sender *c) {
    if (c->conn == NULL || c->state == SENDER_ENDED) return;
    move(c, SENDER_ENDED);
    chn_conn__close(c->conn, on_ended, c);
}
