/* What can fail: connecting (tried again for an insert, whose bytes we hold), a statement (its
 * words are handed on), an insert without a certain outcome (the same block again: its token makes
 * that safe). */
#include "wire.h"
#include <inttypes.h>
#include <stdio.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000

static void finish(struct wire *w, const struct chn_err *err, const struct chn_exception *x) {
    w->done = true;
    w->code = 0;
    w->exception = x == NULL ? 0 : x->code;
    if (x != NULL)
        w->code = err__setf(&w->err, ERR_REFUSED, "ClickHouse: code %" PRId32 ": %.160s", x->code,
                            x->message);
    else if (err != NULL) /* It names the host. */
        w->code = err__setf(&w->err, ERR_UNAVAILABLE, "ClickHouse: %s", err->msg);
}

/* Runs the loop until the call is done. @status is what its starter returned. */
static int wait(struct wire *w, int status, struct err *e) {
    if (status != 0) return err__setf(e, ERR_UNAVAILABLE, "ClickHouse: %s", chn_err__text(status));
    while (!w->done) uv_run(w->loop, UV_RUN_ONCE);
    if (w->code != 0) *e = w->err;
    return w->code;
}

static void on_connected(struct chn_conn *conn, void *data, const struct chn_err *err,
                         const struct chn_exception *exception) {
    (void)conn;
    finish(data, err, exception);
}

static int connect_now(struct wire *w, struct err *e) {
    w->done = false;
    return wait(w, chn_conn__connect(w->conn, on_connected, w), e);
}

int wire__open(struct wire *w, uv_loop_t *loop, const struct store_options *o, struct err *e) {
    *w = (struct wire){.loop = loop,
                       .compression = o->zstd  ? CHN_ZSTD
                                      : o->lz4 ? CHN_LZ4
                                               : CHN_NO_COMPRESSION};
    int code = store_address__init(&w->address, o, e);
    if (code != 0) return code;
    struct chn_options options = {.host = o->host,
                                  .port = o->port,
                                  .database = o->database,
                                  .user = o->user,
                                  .password = o->password,
                                  .client_name = "souk replay"};
    struct chn_err err = {0};
    store_address__apply(&w->address, &options);
    w->conn = chn_conn__new(loop, &options, &err);
    code =
        w->conn == NULL ? err__setf(e, ERR_CONFIG, "ClickHouse: %s", err.msg) : connect_now(w, e);
    if (code != 0) wire__close(w);
    return code;
}

static void on_closed(void *data) { ((struct wire *)data)->done = true; }

void wire__close(struct wire *w) {
    if (w->conn != NULL) {
        w->done = false;
        chn_conn__close(w->conn, on_closed, w);
        while (!w->done) uv_run(w->loop, UV_RUN_ONCE);
        w->conn = NULL;
    }
    store_address__fini(&w->address);
}

struct query_ctx {
    struct wire *wire;
    int (*on_block)(struct chn_conn *conn, void *data, const struct chn_block *block);
    void *data;
};

static int on_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct query_ctx *q = data;
    return q->on_block == NULL ? 0 : q->on_block(conn, q->data, block);
}

static void on_result(struct chn_conn *conn, void *data, const struct chn_query_result *r) {
    struct query_ctx *q = data;
    (void)conn;
    finish(q->wire, r->err, r->exception);
}

int wire__query(struct wire *w, const char *sql,
                int (*each)(struct chn_conn *conn, void *data, const struct chn_block *block),
                void *data, struct err *e) {
    struct query_ctx q = {.wire = w, .on_block = each, .data = data};
    /* A page is megabytes: the server's usual 65,409 rows a block would be gigabytes. */
    struct chn_setting settings[] = {{"max_block_size", "1024", 0},
                                     {"preferred_block_size_bytes", "4194304", 0}};
    struct chn_query query = {.sql = sql,
                              .settings = settings,
                              .n_settings = sizeof settings / sizeof *settings,
                              .compression = w->compression,
                              .timeout_ms = 600000,
                              .on_block = on_block};
    w->done = false;
    return wait(w, chn_conn__query(w->conn, &query, on_result, &q), e);
}

/* Plain strings into LowCardinality columns: the server builds the dictionaries. */
static void fill_columns(struct wire *w, const struct batch *b) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column_desc *d = &b->table->columns[i];
        struct chn_slice *part = w->parts[i];
        size_t n = 0;
        if (b->columns[i].offs.len > 0)
            part[n++] =
                (struct chn_slice){.data = b->columns[i].offs.base, .n = b->columns[i].offs.len};
        if (b->columns[i].data.len > 0)
            part[n++] =
                (struct chn_slice){.data = b->columns[i].data.base, .n = b->columns[i].data.len};
        w->columns[i] = (struct chn_column){
            .name = d->name,
            .type = strstr(d->type, "LowCardinality") != NULL ? "String" : d->type,
            .parts = part,
            .n_parts = n};
    }
}

static void on_inserted(struct chn_conn *conn, void *data, const struct chn_insert_result *r) {
    struct wire *w = data;
    (void)conn;
    w->outcome = r->outcome;
    finish(w, r->err, r->exception);
}

static int insert_once(struct wire *w, const struct batch *b, const char *token, struct err *e) {
    w->exception = 0;
    w->outcome = CHN_NOT_SENT;
    if (chn_conn__is_closed(w->conn)) {
        int code = connect_now(w, e);
        if (code != 0) return code;
    }
    struct chn_setting settings[] = {{"insert_deduplication_token", token, 1},
                                     {"insert_deduplicate", "1", 0},
                                     {"async_insert", "0", 0},
                                     {"low_cardinality_allow_in_native_format", "0", 1}};
    struct chn_insert insert = {.table = b->table->name,
                                .columns = w->columns,
                                .n_columns = b->table->n_columns,
                                .n_rows = b->n_rows,
                                .settings = settings,
                                .n_settings = sizeof settings / sizeof *settings,
                                .compression = w->compression};
    fill_columns(w, b);
    w->done = false;
    return wait(w, chn_conn__insert(w->conn, &insert, on_inserted, w), e);
}

/* The server is busy and says so: too many parts, queries or bytes, read-only for now, too slow.
 * Codes: ClickHouse's ErrorCodes. */
static bool may_pass(int32_t exception) {
    static const int32_t codes[] = {159, 202, 209, 210, 241, 242, 252, 319, 999};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i] == exception) return true;
    return exception == 0;
}

int wire__insert(struct wire *w, const struct batch *b, const char *token, struct err *e) {
    unsigned wait_ms = BACKOFF_FIRST_MS;
    for (int i = 1;; i++) {
        int code = insert_once(w, b, token, e);
        if (code == 0 || i == WIRE_TRIES || !may_pass(w->exception)) return code;
        uv_sleep(wait_ms);
        wait_ms = wait_ms * 2 < BACKOFF_MAX_MS ? wait_ms * 2 : BACKOFF_MAX_MS;
    }
}
