/* One statement on a connection of its own, its result as text. */
#include "souk/store_address.h"
#include "store_internal.h"
#include <ch_native/conn.h>
#include <stdio.h>
#include <stdlib.h>

#define CELL_MAX ((size_t)64 << 10)

struct store_query {
    struct chn_conn *conn;
    char *sql; /* Owned. */
    store_row_cb cb;
    void *data;
    struct err err;
    int status;
};

static void on_closed(void *data) {
    struct store_query *q = data;
    q->cb(q->data, NULL, 0, q->status, &q->err);
    free(q->sql);
    free(q);
}

static void end(struct store_query *q, const struct chn_err *err, const struct chn_exception *x) {
    if (x != NULL)
        q->status = err__setf(&q->err, ERR_REFUSED, "ClickHouse: code %d: %.200s", (int)x->code,
                              x->message);
    else if (err != NULL)
        q->status = err__setf(&q->err, ERR_UNAVAILABLE, "ClickHouse: %s", err->msg);
    chn_conn__close(q->conn, on_closed, q);
}

static int on_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct store_query *q = data;
    size_t n = chn_block__n_columns(block);
    char *text[BATCH_COLUMNS_MAX] = {0};
    struct slice cells[BATCH_COLUMNS_MAX];
    (void)conn;
    if (n > BATCH_COLUMNS_MAX) n = BATCH_COLUMNS_MAX;
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++) {
        for (size_t i = 0; i < n; i++) {
            const struct chn_view *view = chn_block__column(block, i);
            long len = chn_view__text(view, row, NULL, 0);
            size_t size = len < 0 ? 1 : (size_t)len + 1;
            if (size > CELL_MAX) size = CELL_MAX;
            text[i] = calloc(1, size);
            if (text[i] != NULL && len >= 0) chn_view__text(view, row, text[i], size);
            cells[i] = slice__of(text[i], text[i] == NULL ? 0 : size - 1);
        }
        q->cb(q->data, cells, n, 0, NULL);
        for (size_t i = 0; i < n; i++) free(text[i]);
    }
    return 0;
}

static void on_result(struct chn_conn *conn, void *data, const struct chn_query_result *r) {
    (void)conn;
    end(data, r->err, r->exception);
}

static void on_connected(struct chn_conn *conn, void *data, const struct chn_err *err,
                         const struct chn_exception *exception) {
    struct store_query *q = data;
    if (err != NULL) {
        end(q, err, exception);
        return;
    }
    struct chn_query query = {.sql = q->sql, .on_block = on_block};
    int status = chn_conn__query(conn, &query, on_result, q);
    struct chn_err failed = {.code = status};
    snprintf(failed.msg, sizeof failed.msg, "%s", chn_err__text(status));
    if (status != 0) end(q, &failed, NULL);
}

int store__query(uv_loop_t *loop, const struct store_options *options, const char *sql,
                 store_row_cb cb, void *data, struct err *e) {
    struct store_query *q = calloc(1, sizeof *q);
    if (q == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    *q = (struct store_query){.sql = strdup(sql), .cb = cb, .data = data};
    struct chn_options chn = {.host = options->host,
                              .port = options->port,
                              .user = options->user,
                              .password = options->password,
                              .database = options->database,
                              .client_name = "souk"};
    struct store_address address;
    if (store_address__init(&address, options, e) != 0) {
        free(q->sql);
        free(q);
        return e == NULL ? ERR_CONFIG : e->code;
    }
    store_address__apply(&address, &chn);
    struct chn_err err = {0};
    q->conn = q->sql == NULL ? NULL : chn_conn__new(loop, &chn, &err);
    store_address__fini(&address); /* The connection has copies. */
    int status = q->conn == NULL ? err.code : chn_conn__connect(q->conn, on_connected, q);
    if (status == 0) return 0;
    err__setf(e, ERR_UNAVAILABLE, "ClickHouse %s:%u: %s", options->host, options->port,
              err.msg[0] != '\0' ? err.msg : chn_err__text(status));
    if (q->conn != NULL) chn_conn__close(q->conn, NULL, NULL);
    free(q->sql);
    free(q);
    return e == NULL ? ERR_UNAVAILABLE : e->code;
}

/* The same, waiting for its end. */

struct ask {
    store_ask_cb cb;
    void *data;
    struct err *e;
    int status;
    bool done;
};

static void on_asked(void *data, const struct slice *cells, size_t n_cells, int status,
                     const struct err *e) {
    struct ask *a = data;
    if (cells != NULL) {
        if (a->cb != NULL) a->cb(a->data, cells, n_cells);
        return;
    }
    a->done = true;
    a->status = status;
    if (status != 0 && a->e != NULL) *a->e = *e;
}

int store__ask(uv_loop_t *loop, const struct store_options *options, const char *sql,
               store_ask_cb cb, void *data, struct err *e) {
    struct ask a = {.cb = cb, .data = data, .e = e};
    int status = store__query(loop, options, sql, on_asked, &a, e);
    if (status != 0) return status;
    while (!a.done) uv_run(loop, UV_RUN_ONCE);
    uv_run(loop, UV_RUN_NOWAIT); /* The connection's handles are gone, so the loop can be closed. */
    return a.status;
}
