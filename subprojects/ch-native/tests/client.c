#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void keep_err(struct client *c, const struct chn_err *err, const struct chn_exception *e) {
    c->done = true;
    c->err = err != NULL ? *err : (struct chn_err){0};
    c->exception = e != NULL ? *e : (struct chn_exception){0};
}

static void on_lost(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct client *c = data;
    (void)conn;
    c->n_lost++;
    c->err = *err;
}

void client__open(struct client *c, const struct chn_options *options) {
    struct chn_err err = {0};
    *c = (struct client){0};
    assert_int_equal(uv_loop_init(&c->loop), 0);
    struct chn_options mine = *options;
    mine.on_lost = on_lost;
    mine.data = c;
    c->conn = chn_conn__new(&c->loop, &mine, &err);
    if (c->conn == NULL) fail_msg("%s", err.msg);
}

static void on_closed(void *data) { ((struct client *)data)->conn = NULL; }

void client__close(struct client *c) {
    chn_conn__close(c->conn, on_closed, c);
    assert_int_equal(uv_run(&c->loop, UV_RUN_DEFAULT), 0); /* Ends: nothing is left open. */
    assert_null(c->conn);
    assert_int_equal(uv_loop_close(&c->loop), 0);
}

void client__wait(struct client *c) {
    while (!c->done) assert_true(uv_run(&c->loop, UV_RUN_ONCE) || c->done);
}

void client__on_connect(struct chn_conn *conn, void *data, const struct chn_err *err,
                        const struct chn_exception *e) {
    (void)conn;
    keep_err(data, err, e);
}

int client__connect(struct client *c) {
    c->done = false;
    assert_int_equal(chn_conn__connect(c->conn, client__on_connect, c), 0);
    client__wait(c);
    return c->err.code;
}

static void on_ping(struct chn_conn *conn, void *data, const struct chn_err *err) {
    (void)conn;
    keep_err(data, err, NULL);
}

int client__ping(struct client *c) {
    c->done = false;
    assert_int_equal(chn_conn__ping(c->conn, on_ping, c), 0);
    client__wait(c);
    return c->err.code;
}

static int on_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct client *c = data;
    (void)conn;
    c->n_blocks += chn_block__n_rows(block) > 0;
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++) {
        for (size_t i = 0; i < chn_block__n_columns(block); i++) {
            char value[4096];
            long n = chn_view__text(chn_block__column(block, i), row, value, sizeof value);
            assert_true(n >= 0);
            size_t take = strlen(value);
            if (c->n_text + take + 2 > sizeof c->text) continue;
            memcpy(c->text + c->n_text, value, take);
            c->n_text += take;
            c->text[c->n_text++] = i + 1 < chn_block__n_columns(block) ? '\t' : '\n';
        }
    }
    return c->cancel_after > 0 && (int)c->n_blocks >= c->cancel_after;
}

void client__on_query(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    struct client *c = data;
    (void)conn;
    keep_err(c, result->err, result->exception);
    c->query = *result;
    c->text[c->n_text] = '\0';
}

int client__query(struct client *c, const struct chn_query *query) {
    struct chn_query mine = *query;
    mine.on_block = on_block;
    c->done = false;
    c->n_text = 0;
    c->n_blocks = 0;
    assert_int_equal(chn_conn__query(c->conn, &mine, client__on_query, c), 0);
    client__wait(c);
    return c->err.code;
}

int client__sql(struct client *c, const char *sql, enum chn_compression compression) {
    return client__query(c, &(struct chn_query){.sql = sql, .compression = compression});
}

void client__on_insert(struct chn_conn *conn, void *data, const struct chn_insert_result *result) {
    struct client *c = data;
    (void)conn;
    keep_err(c, result->err, result->exception);
    c->insert = *result;
    c->outcome = result->outcome;
}

enum chn_outcome client__insert(struct client *c, const struct chn_insert *insert) {
    c->done = false;
    assert_int_equal(chn_conn__insert(c->conn, insert, client__on_insert, c), 0);
    client__wait(c);
    return c->outcome;
}

void client__run(struct client *c, const char *sql) {
    if (client__sql(c, sql, CHN_NO_COMPRESSION) != 0) fail_msg("%s", c->err.msg);
}
