/* The link of ch-native: a connection to a real server. What can fail is told as ch-native tells
 * it; a password file that cannot be read leaves the password as it was. */
#include "souk/core/file.h"
#include "souk/core/log.h"
#include "souk/store_address.h"
#include "store_internal.h"
#include <ch_native/conn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PASSWORD_MAX 1024
#define SQL_MAX 4096
#define PING_MS 5000  /* For the answer to a ping. */
#define STALL_MS 5000 /* Without a byte of a block taken: noticed within twice that. */

struct store_link {
    uv_loop_t *loop;
    const struct store_options *options;
    struct store_link_events to;
    struct store_address address;
    struct chn_conn *conn; /* NULL before the first connect. */
    size_t n_conns;        /* Not gone yet, this one included. */
    char password[PASSWORD_MAX];
    struct store_table_facts *tables;
    bool found;
    int64_t server_wall_ns; /* As the last check was answered; 0: not told. */
    uint64_t n_rows;        /* Of the block that went out last. */
    char text[ERR_MSG_MAX];
    char sql[SQL_MAX];
    struct chn_column columns[BATCH_COLUMNS_MAX];
    struct chn_slice parts[BATCH_COLUMNS_MAX][2];
    bool closing;
    void (*close_cb)(void *data);
    void *close_data;
};

static struct store_reply reply_of(struct store_link *l, enum store_outcome outcome,
                                   const struct chn_err *err, const struct chn_exception *x) {
    if (x != NULL)
        snprintf(l->text, sizeof l->text, "code %" PRId32 ": %.200s", x->code, x->message);
    else snprintf(l->text, sizeof l->text, "%s", err == NULL ? "" : err->msg);
    return (struct store_reply){.outcome = outcome,
                                .code = x == NULL ? 0 : x->code,
                                .from_view = x != NULL &&
                                             exception_is_from_view(x->message, sizeof x->message),
                                .schema = err != NULL && err->code == CHN_ERR_SCHEMA,
                                .silent = err != NULL && err->code == CHN_ERR_TIMEOUT,
                                .text = l->text};
}

/* Of a request that changes nothing. */
static struct store_reply asked(struct store_link *l, const struct chn_err *err,
                                const struct chn_exception *x) {
    return reply_of(l,
                    err == NULL ? STORE_STORED
                    : x != NULL ? STORE_REJECTED
                                : STORE_NOT_SENT,
                    err, x);
}

static void read_password(struct store_link *l) {
    const char *path = l->options->password_file;
    if (path == NULL || path[0] == '\0') return;
    char text[PASSWORD_MAX];
    ssize_t n = file__read(path, text, sizeof text - 1);
    if (n < 0 || n == sizeof text - 1) {
        LOG_WARN("store", "password file cannot be read; the last password is used",
                 LOG_S("file", path), LOG_S("err", n < 0 ? file__strerror(errno) : "too long"));
        return;
    }
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    memcpy(l->password, text, strlen(text) + 1);
}

static void on_conn_gone(void *data) {
    struct store_link *l = data;
    if (--l->n_conns > 0 || !l->closing) return;
    void (*cb)(void *) = l->close_cb;
    void *cb_data = l->close_data;
    store_address__fini(&l->address);
    free(l->tables);
    free(l);
    cb(cb_data);
}

static void on_lost(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct store_link *l = data;
    if (conn == l->conn && !l->closing) l->to.on_lost(l->to.data, err->msg);
}

static struct store_link *open_link(void *ctx, uv_loop_t *loop, const struct store_options *options,
                                    const struct store_link_events *events, struct err *e) {
    struct store_link *l = calloc(1, sizeof *l);
    (void)ctx;
    if (l != NULL) l->tables = calloc(options->n_tables + 1, sizeof *l->tables);
    if (l == NULL || l->tables == NULL) {
        free(l);
        err__setf(e, ERR_NOMEM, "store: out of memory");
        return NULL;
    }
    if (store_address__init(&l->address, options, e) != 0) {
        free(l->tables);
        free(l);
        return NULL;
    }
    l->loop = loop;
    l->options = options;
    l->to = *events;
    l->n_conns = 1; /* The link itself, until it is closed. */
    snprintf(l->password, sizeof l->password, "%s", options->password);
    return l;
}

static void on_connected(struct chn_conn *conn, void *data, const struct chn_err *err,
                         const struct chn_exception *x) {
    struct store_link *l = data;
    struct store_reply reply = asked(l, err, x);
    struct store_server server = {0};
    if (conn != l->conn || l->closing) return;
    if (err == NULL) {
        const struct chn_server *v = chn_conn__server(conn);
        snprintf(server.name, sizeof server.name, "%s %u.%u.%u", v->name, v->major, v->minor,
                 v->patch);
        server.major = v->major;
        server.minor = v->minor;
    }
    l->to.on_connected(l->to.data, &reply, err == NULL ? &server : NULL);
}

/* A connection object of its own for each attempt: it keeps the password that it was made with. */
static int connect_link(struct store_link *l, unsigned first) {
    const struct store_options *o = l->options;
    struct chn_host hosts[CHN_HOSTS_MAX];
    read_password(l);
    struct chn_options options = {.host = o->host,
                                  .port = o->port,
                                  .database = o->database,
                                  .user = o->user,
                                  .password = l->password,
                                  .client_name = "souk",
                                  .stall_ms = STALL_MS,
                                  .ping_ms = PING_MS,
                                  .on_lost = on_lost,
                                  .data = l};
    store_address__apply(&l->address, &options);
    for (size_t i = 0; i < options.n_hosts; i++)
        hosts[i] = options.hosts[(first + i) % options.n_hosts];
    if (options.n_hosts > 0) options.hosts = hosts;
    struct chn_err err = {0};
    struct chn_conn *before = l->conn;
    l->conn = NULL;
    if (before != NULL) chn_conn__close(before, on_conn_gone, l);
    l->conn = chn_conn__new(l->loop, &options, &err);
    if (l->conn == NULL) return err.code;
    l->n_conns++;
    return chn_conn__connect(l->conn, on_connected, l);
}

static bool cell_is(const struct chn_view *view, uint64_t row, const char *text) {
    struct chn_slice s;
    return chn_view__string(view, row, &s) && s.n == strlen(text) && memcmp(s.data, text, s.n) == 0;
}

/* engine_full reads: MergeTree PARTITION BY ... SETTINGS non_replicated_deduplication_window =
 * 10000, ... Replicated and shared tables deduplicate unless their own window is set to 0. */
bool engine_is_replicated(const char *engine, size_t n) {
    static const char *const prefixes[] = {"Replicated", "Shared"};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(prefixes[i]);
        if (n >= len && memcmp(engine, prefixes[i], len) == 0) return true;
    }
    return false;
}

bool engine_deduplicates(const char *engine, size_t n) {
    static const char name[] = " replicated_deduplication_window = ",
                      plain[] = " non_replicated_deduplication_window = ";
    bool replicated = engine_is_replicated(engine, n);
    const char *text = replicated ? name : plain, *at = memmem(engine, n, text, strlen(text));
    if (at == NULL) return replicated;
    at += strlen(text);
    return at < engine + n && *at >= '1' && *at <= '9';
}

/* The TTL is in front of the settings, or at the end. One of another form is not known. */
void engine_ttl(const char *engine, size_t n, struct store_table_facts *out) {
    static const char ttl[] = " TTL ", settings[] = " SETTINGS ";
    char text[256];
    const char *at = memmem(engine, n, ttl, sizeof ttl - 1);
    if (at == NULL) return;
    at += sizeof ttl - 1;
    size_t left = n - (size_t)(at - engine);
    const char *end = memmem(at, left, settings, sizeof settings - 1);
    snprintf(text, sizeof text, "%.*s", (int)(end == NULL ? left : (size_t)(end - at)), at);
    if (expression__ttl(text, out->ttl_column, sizeof out->ttl_column, &out->ttl_days)) return;
    out->ttl_column[0] = '\0';
    out->ttl_days = 0;
}

/* What the server calls the place of a table; see places.c. With one host only, a folder that was
 * made anew is no other server. */
static void name_place(const struct store_link *l, const struct chn_block *block, uint64_t row,
                       struct store_table_facts *facts) {
    const struct chn_view *view = chn_block__find(block, "place");
    struct chn_slice s;
    if (view == NULL || !chn_view__string(view, row, &s) || s.n >= sizeof facts->place) return;
    bool is_folder = s.n > 0 && *(const char *)s.data == 'd';
    if (is_folder && l->options->n_hosts < 2) return;
    memcpy(facts->place, s.data, s.n);
}

static struct store_table_facts facts_of(const struct store_link *l, const struct chn_block *block,
                                         const struct chn_view *engines, uint64_t row) {
    struct chn_slice s;
    struct store_table_facts facts = {.exists = true};
    if (!chn_view__string(engines, row, &s)) return facts;
    facts.deduplicates = engine_deduplicates(s.data, s.n);
    facts.replicated = engine_is_replicated(s.data, s.n);
    engine_ttl(s.data, s.n, &facts);
    name_place(l, block, row, &facts);
    return facts;
}

static int on_tables(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct store_link *l = data;
    const struct chn_view *names = chn_block__find(block, "name"),
                          *engines = chn_block__find(block, "engine_full"),
                          *now = chn_block__find(block, "now_ms");
    uint64_t now_ms;
    (void)conn;
    if (names == NULL || engines == NULL) return 0;
    if (now != NULL && chn_block__n_rows(block) > 0 && chn_view__u64(now, 0, &now_ms))
        l->server_wall_ns = (int64_t)now_ms * NS_PER_MS;
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++)
        for (size_t i = 0; i < l->options->n_tables; i++)
            if (cell_is(names, row, l->options->tables[i]->name))
                l->tables[i] = facts_of(l, block, engines, row);
    return 0;
}

static void on_checked(struct chn_conn *conn, void *data, const struct chn_query_result *r) {
    struct store_link *l = data;
    struct store_reply reply = asked(l, r->err, r->exception);
    if (conn != l->conn || l->closing) return;
    if (r->err == NULL && l->server_wall_ns > 0) l->to.on_time(l->to.data, l->server_wall_ns);
    l->to.on_checked(l->to.data, &reply, r->err == NULL ? l->tables : NULL);
}

static int check_link(struct store_link *l) {
    struct chn_query query = {.sql = store_places_sql, .timeout_ms = 10000, .on_block = on_tables};
    memset(l->tables, 0, l->options->n_tables * sizeof *l->tables);
    l->server_wall_ns = 0;
    return chn_conn__query(l->conn, &query, on_checked, l);
}

static void on_pinged(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct store_link *l = data;
    struct store_reply reply = asked(l, err, NULL);
    if (conn == l->conn && !l->closing) l->to.on_pinged(l->to.data, &reply);
}

static int ping_link(struct store_link *l) { return chn_conn__ping(l->conn, on_pinged, l); }

static uint64_t progress_of(const struct store_link *l) {
    return l->conn == NULL ? 0 : chn_conn__moved(l->conn);
}

static void fill_columns(struct store_link *l, const struct batch *b) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column_desc *d = &b->table->columns[i];
        const struct column *col = &b->columns[i];
        size_t n = 0;
        if (d->kind == COLUMN_ARR_F32)
            l->parts[i][n++] = (struct chn_slice){.data = col->offs.base, .n = col->offs.len};
        if (col->data.len > 0)
            l->parts[i][n++] = (struct chn_slice){.data = col->data.base, .n = col->data.len};
        /* Plain strings into LowCardinality columns: the server builds the dictionaries. */
        const char *type = strcmp(d->type, "LowCardinality(String)") == 0 ? "String" : d->type;
        l->columns[i] =
            (struct chn_column){.name = d->name, .type = type, .parts = l->parts[i], .n_parts = n};
    }
}

static void on_inserted(struct chn_conn *conn, void *data, const struct chn_insert_result *r) {
    static const enum store_outcome outcomes[] = {[CHN_OK] = STORE_STORED,
                                                  [CHN_REJECTED] = STORE_REJECTED,
                                                  [CHN_NOT_SENT] = STORE_NOT_SENT,
                                                  [CHN_UNKNOWN] = STORE_UNKNOWN};
    struct store_link *l = data;
    struct store_reply reply = reply_of(l, outcomes[r->outcome], r->err, r->exception);
    reply.n_rows = l->n_rows;
    (void)conn; /* A link that is being closed tells its owner what became of the batch. */
    l->to.on_inserted(l->to.data, &reply);
}

static int insert_link(struct store_link *l, const struct batch *b, const char *token) {
    struct chn_setting settings[] = {{"insert_deduplication_token", token, 1},
                                     {"insert_deduplicate", "1", 0},
                                     {"async_insert", "0", 0},
                                     /* A table that is filled from this one knows tokens, too: what
                                        a crash left between the two is made up for. */
                                     {"deduplicate_blocks_in_dependent_materialized_views", "1", 0},
                                     {"low_cardinality_allow_in_native_format", "0", 1}};
    fill_columns(l, b);
    l->n_rows = b->n_rows;
    struct chn_insert insert = {.table = b->table->name,
                                .columns = l->columns,
                                .n_columns = b->table->n_columns,
                                .n_rows = b->n_rows,
                                .settings = settings,
                                .n_settings = sizeof settings / sizeof *settings,
                                .compression = l->options->zstd  ? CHN_ZSTD
                                               : l->options->lz4 ? CHN_LZ4
                                                                 : CHN_NO_COMPRESSION};
    return chn_conn__insert(l->conn, &insert, on_inserted, l);
}

static int on_count(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct store_link *l = data;
    uint64_t n;
    (void)conn;
    if (chn_block__n_rows(block) > 0 && chn_view__u64(chn_block__column(block, 0), 0, &n))
        l->found = n > 0;
    return 0;
}

static void on_found(struct chn_conn *conn, void *data, const struct chn_query_result *r) {
    struct store_link *l = data;
    struct store_reply reply = asked(l, r->err, r->exception);
    if (conn != l->conn || l->closing) return;
    l->to.on_found(l->to.data, &reply, l->found);
}

/* The row's times are part of the question: positions start anew with a new spool. */
static void put_times(const struct batch *b, const struct batch_mark *at, struct buf *sql) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column_desc *d = &b->table->columns[i];
        int64_t v;
        if (strncmp(d->type, "DateTime64(3", 12) == 0 && batch__int(b, at, d->name, &v))
            buf__printf(sql, " AND toUnixTimestamp64Milli(%s) = %" PRId64, d->name, v);
    }
}

static int find_row(struct store_link *l, const struct batch *b, const struct batch_mark *at) {
    struct slice src;
    int64_t lsn, ord;
    if (!batch__int(b, at, "lsn", &lsn) || !batch__int(b, at, "ord", &ord)) return ERR_SCHEMA;
    struct buf sql = {.base = l->sql, .cap = sizeof l->sql, .max = sizeof l->sql};
    buf__printf(&sql, "SELECT count() FROM %s WHERE lsn = %" PRIu64 " AND ord = %" PRIu64,
                b->table->name, (uint64_t)lsn, (uint64_t)ord);
    char name[256] = "";
    bool has_src = batch__text(b, at, "src", &src);
    if (has_src) snprintf(name, sizeof name, "%.*s", SLICE_FMT(src));
    if (has_src) buf__append_str(&sql, " AND src = {src:String}");
    put_times(b, at, &sql);
    buf__append(&sql, "", 1);
    if (sql.failed) return ERR_LIMIT;
    l->found = false;
    struct chn_parameter parameter = {.name = "src", .value = name};
    struct chn_query query = {.sql = l->sql,
                              .parameters = &parameter,
                              .n_parameters = has_src ? 1 : 0,
                              .on_block = on_count};
    return chn_conn__query(l->conn, &query, on_found, l);
}

static void close_link(struct store_link *l, void (*cb)(void *data), void *data) {
    l->close_cb = cb;
    l->close_data = data;
    struct chn_conn *conn = l->conn;
    l->closing = true;
    /* The link's own count keeps it while its connection calls back. */
    if (conn != NULL) chn_conn__close(conn, on_conn_gone, l);
    on_conn_gone(l);
}

const struct store_link_type store_link_native = {.open = open_link,
                                                  .connect = connect_link,
                                                  .check = check_link,
                                                  .insert = insert_link,
                                                  .find = find_row,
                                                  .ping = ping_link,
                                                  .progress = progress_of,
                                                  .close = close_link};
