/* Makes a table, inserts two rows and reads one back: `prices HOST PORT`. */
#include <ch_native/ch_native.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const names[] = {"item", "price", "bids"};
static const char *const types[] = {"LowCardinality(String)", "Decimal(18, 6)", "Array(UInt64)"};
static struct chn_builder *b[3];

static void check(const struct chn_err *err) {
    if (err != NULL) fprintf(stderr, "%s\n", err->msg), exit(1);
}
static int on_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    char text[100];
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++)
        for (size_t i = 0; i < 3; i++) {
            chn_view__text(chn_block__column(block, i), row, text, sizeof text);
            printf("%s%c", text, i < 2 ? ' ' : '\n');
        }
    return (void)conn, (void)data, 0;
}
static void on_read(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    check(result->err);
    chn_conn__close(conn, NULL, data);
}
static void on_insert(struct chn_conn *conn, void *data, const struct chn_insert_result *result) {
    check(result->err); /* After CHN_UNKNOWN: connect, and the same block with the same token again. */
    const struct chn_parameter least = {.name = "least", .value = "100"};
    chn_conn__query(conn, &(struct chn_query){.sql = "SELECT * FROM prices WHERE price > {least:Decimal(18, 6)}",
        .parameters = &least, .n_parameters = 1, .on_block = on_block}, on_read, data);
}
static void on_table(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    static struct chn_column columns[3]; /* Borrowed until the callback, like the builders' bytes. */
    check(result->err);
    for (int i = 0; i < 3; i++) chn_builder__column(b[i], &columns[i]);
    const struct chn_setting token = {"insert_deduplication_token", "batch-17", 1};
    chn_conn__insert(conn, &(struct chn_insert){.table = "prices", .columns = columns, .n_columns = 3, .n_rows = 2,
        .settings = &token, .n_settings = 1}, on_insert, data);
}
static void on_connect(struct chn_conn *conn, void *data, const struct chn_err *err, const struct chn_exception *e) {
    check(err); /* @e says more when the server refused. */
    chn_conn__query(conn, &(struct chn_query){.sql = "CREATE TABLE IF NOT EXISTS prices (item LowCardinality(String), "
        "price Decimal(18, 6), bids Array(UInt64)) ENGINE = MergeTree ORDER BY item "
        "SETTINGS non_replicated_deduplication_window = 100"}, on_table, ((void)e, data));
}
int main(int argc, char **argv) {
    struct chn_err err;
    signal(SIGPIPE, SIG_IGN); /* libuv writes with write(2). */
    for (int i = 0; i < 3; i++)
        if ((b[i] = chn_builder__new(names[i], types[i], 1 << 20, &err)) == NULL) check(&err);
    chn_builder__string(b[0], "Mageblood", 9), chn_builder__text(b[1], "180.5", 5);
    chn_builder__u64(chn_builder__child(b[2], 0), 179), chn_builder__u64(chn_builder__child(b[2], 0), 178), chn_builder__end(b[2]);
    chn_builder__string(b[0], "Chaos Orb", 9), chn_builder__i64(b[1], 1000000), chn_builder__end(b[2]); /* 1.000000, no bids. */
    struct chn_options options = {.host = argc > 1 ? argv[1] : NULL, .port = argc > 2 ? (uint16_t)atoi(argv[2]) : 9000};
    struct chn_conn *conn = chn_conn__new(uv_default_loop(), &options, &err);
    chn_conn__connect(conn, on_connect, NULL);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return chn_builder__free(b[0]), chn_builder__free(b[1]), chn_builder__free(b[2]), uv_loop_close(uv_default_loop());
}
