/*
 * What does it cost to insert rows like those of the bronze tables: natively with ch-native, with
 * and without LZ4, and over HTTP as RowBinary with libcurl, into Engine=Null (the client's and the
 * protocol's cost) and MergeTree (what a user sees)?
 *
 * Client CPU is getrusage() of this process, pool threads included; the row generator's share is
 * measured first and taken off in the last column. It prints a table and judges nothing.
 */
#include "native_rows.h"

#include <ch_native/ch_native.h>
#include <curl/curl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { N_COLUMNS = 9, COLUMN_BYTES_MAX = 256 << 20 };

struct bench {
    uv_loop_t loop;
    struct chn_conn *conn;
    const char *host;
    unsigned port, http_port;
    uint64_t n_rows;
    double generator_s; /* CPU seconds for a million rows. */
    bool done, failed;
    struct chn_builder *builders[N_COLUMNS];
};

struct stopwatch {
    double wall_s, cpu_s;
};

static struct stopwatch read_watch(void) {
    struct timespec now;
    struct rusage use;
    clock_gettime(CLOCK_MONOTONIC, &now);
    getrusage(RUSAGE_SELF, &use);
    return (struct stopwatch){
        (double)now.tv_sec + (double)now.tv_nsec / 1e9,
        (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
            (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
    };
}

/* @http_cpu_s is what RowBinary took for the same, 0 for itself. */
static double report(const struct bench *b, const char *engine, const char *client, unsigned block,
                     const char *codec, struct stopwatch from, double http_cpu_s) {
    struct stopwatch to = read_watch();
    double wall_s = to.wall_s - from.wall_s, cpu_s = to.cpu_s - from.cpu_s,
           millions = (double)b->n_rows / 1e6;
    double net_ns = (cpu_s / millions - b->generator_s) * 1e3;
    printf("%-9s  %-9s  %7u  %-5s  %7.2f  %9.0f  %12.3f  %9.0f  ", engine, client, block, codec,
           wall_s, (double)b->n_rows / wall_s, cpu_s / millions, net_ns);
    if (http_cpu_s > 0) printf("%6.2f\n", http_cpu_s / cpu_s);
    else printf("%6s\n", "1");
    fflush(stdout);
    return cpu_s;
}

/* --- Native --- */

static void on_connect(struct chn_conn *conn, void *data, const struct chn_err *err,
                       const struct chn_exception *exception) {
    struct bench *b = data;
    (void)conn;
    (void)exception;
    b->done = true;
    b->failed = err != NULL;
    if (err != NULL) fprintf(stderr, "%s\n", err->msg);
}

static void on_query(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    on_connect(conn, data, result->err, NULL);
}

static void on_insert(struct chn_conn *conn, void *data, const struct chn_insert_result *result) {
    on_connect(conn, data, result->err, NULL);
}

static bool wait_done(struct bench *b) {
    while (!b->done) uv_run(&b->loop, UV_RUN_ONCE);
    return !b->failed;
}

static bool run_sql(struct bench *b, const char *sql) {
    b->done = false;
    return chn_conn__query(b->conn, &(struct chn_query){.sql = sql}, on_query, b) == 0 &&
           wait_done(b);
}

static void append_row(struct bench *b, const struct native_row *row) {
    struct chn_builder **c = b->builders;
    chn_builder__u64(c[0], row->ts);
    chn_builder__string(c[1], row->id, sizeof row->id);
    chn_builder__string(c[2], row->league, row->league_bytes);
    chn_builder__string(c[3], row->seller, row->seller_bytes);
    chn_builder__string(c[4], row->item, row->item_bytes);
    chn_builder__f64(c[5], row->price);
    chn_builder__u64(c[6], row->stack);
    chn_builder__string(c[7], row->currency, row->currency_bytes);
    chn_builder__string(c[8], row->hash, sizeof row->hash);
}

static bool insert_native(struct bench *b, const char *table, unsigned block,
                          enum chn_compression compression) {
    uint64_t seed = 88172645463325252u;
    struct native_row row;
    for (uint64_t sent = 0; sent < b->n_rows; sent += block) {
        uint64_t n = b->n_rows - sent < block ? b->n_rows - sent : block;
        struct chn_column columns[N_COLUMNS];
        for (int i = 0; i < N_COLUMNS; i++) chn_builder__reset(b->builders[i]);
        for (uint64_t i = 0; i < n; i++) {
            native_rows__next(&row, &seed);
            append_row(b, &row);
        }
        for (int i = 0; i < N_COLUMNS; i++)
            if (chn_builder__column(b->builders[i], &columns[i]) != 0) return false;
        const struct chn_insert insert = {.table = table,
                                          .columns = columns,
                                          .n_columns = N_COLUMNS,
                                          .n_rows = n,
                                          .compression = compression};
        b->done = false;
        if (chn_conn__insert(b->conn, &insert, on_insert, b) != 0 || !wait_done(b)) return false;
    }
    return true;
}

/* --- HTTP --- */

struct body {
    uint8_t *data;
    size_t n, capacity;
};

static void put(struct body *body, const void *data, size_t n) {
    memcpy(body->data + body->n, data, n);
    body->n += n;
}

static void put_string(struct body *body, const void *data,
                       size_t n) { /* All of them are below 128 bytes. */
    body->data[body->n++] = (uint8_t)n;
    put(body, data, n);
}

static size_t ignore_answer(char *data, size_t size, size_t n, void *to) {
    (void)data;
    (void)to;
    return size * n;
}

static bool insert_http(struct bench *b, const char *table, unsigned block) {
    enum { ROW_BYTES_MAX = 256 };
    char url[512];
    uint64_t seed = 88172645463325252u;
    struct native_row row;
    struct body body = {.capacity = (size_t)block * ROW_BYTES_MAX};
    CURL *curl = curl_easy_init();
    body.data = malloc(body.capacity);
    bool ok = curl != NULL && body.data != NULL;
    snprintf(url, sizeof url,
             "http://%s:%u/?async_insert=0&query=INSERT%%20INTO%%20%s%%20FORMAT%%20RowBinary",
             b->host, b->http_port, table);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore_answer);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    for (uint64_t sent = 0; sent < b->n_rows && ok; sent += block) {
        uint64_t n = b->n_rows - sent < block ? b->n_rows - sent : block;
        body.n = 0;
        for (uint64_t i = 0; i < n; i++) {
            native_rows__next(&row, &seed);
            put(&body, &row.ts, 4);
            put_string(&body, row.id, sizeof row.id);
            put_string(&body, row.league, row.league_bytes);
            put_string(&body, row.seller, row.seller_bytes);
            put_string(&body, row.item, row.item_bytes);
            put(&body, &row.price, 8);
            put(&body, &row.stack, 4);
            put_string(&body, row.currency, row.currency_bytes);
            put(&body, row.hash, sizeof row.hash);
        }
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
        CURLcode code = curl_easy_perform(curl);
        ok = code == CURLE_OK;
        if (!ok) fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(code));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    free(body.data);
    return ok;
}

/* --- The run --- */

static bool run_engine(struct bench *b, const char *engine, const char *table) {
    static const unsigned blocks[] = {10000, 100000};
    for (int i = 0; i < 2; i++) {
        struct stopwatch from = read_watch();
        if (!insert_http(b, table, blocks[i])) return false;
        double http_cpu_s = report(b, engine, "http", blocks[i], "none", from, 0);
        for (enum chn_compression z = CHN_NO_COMPRESSION; z <= CHN_LZ4; z++) {
            from = read_watch();
            if (!insert_native(b, table, blocks[i], z)) return false;
            report(b, engine, "ch-native", blocks[i], z == CHN_LZ4 ? "lz4" : "none", from,
                   http_cpu_s);
        }
    }
    return true;
}

static bool run_all(struct bench *b) {
    char sql[512];
    static const struct {
        const char *name, *table, *engine;
    } engines[] = {
        {"Null", "souk_bench_null", "Null"},
        {"MergeTree", "souk_bench_tree", "MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (item, ts)"},
    };
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS %s", engines[i].table);
        if (!run_sql(b, sql)) return false;
        snprintf(sql, sizeof sql, "CREATE TABLE %s (%s) ENGINE = %s", engines[i].table,
                 native_table_columns, engines[i].engine);
        bool ok = run_sql(b, sql) && run_engine(b, engines[i].name, engines[i].table);
        snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS %s", engines[i].table);
        if (!ok || !run_sql(b, sql)) return false;
    }
    return true;
}

static void measure_generator(struct bench *b) {
    uint64_t seed = 88172645463325252u, sum = 0, n = 1000000;
    struct native_row row;
    struct stopwatch from = read_watch();
    for (uint64_t i = 0; i < n; i++) {
        native_rows__next(&row, &seed);
        sum += row.ts + row.hash[0];
    }
    b->generator_s = read_watch().cpu_s - from.cpu_s;
    printf("generator: %.3f CPU s a million rows (checksum %llx)\n\n", b->generator_s,
           (unsigned long long)sum);
}

static bool make_builders(struct bench *b) {
    static const char *const columns[N_COLUMNS][2] = {
        {"ts", "DateTime"},   {"id", "String"},       {"league", "String"},
        {"seller", "String"}, {"item", "String"},     {"price", "Float64"},
        {"stack", "UInt32"},  {"currency", "String"}, {"hash", "FixedString(32)"},
    };
    for (int i = 0; i < N_COLUMNS; i++)
        if ((b->builders[i] =
                 chn_builder__new(columns[i][0], columns[i][1], COLUMN_BYTES_MAX, NULL)) == NULL)
            return false;
    return true;
}

int main(int argc, char **argv) {
    static struct bench b = {
        .host = "127.0.0.1", .port = 9000, .http_port = 8123, .n_rows = 5000000};
    static const struct option table[] = {{"host", 1, NULL, 'h'},      {"port", 1, NULL, 'p'},
                                          {"http-port", 1, NULL, 'w'}, {"rows", 1, NULL, 'n'},
                                          {"help", 0, NULL, '?'},      {NULL, 0, NULL, 0}};
    for (int opt; (opt = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (opt == 'h') b.host = optarg;
        else if (opt == 'p') b.port = (unsigned)strtoul(optarg, NULL, 10);
        else if (opt == 'w') b.http_port = (unsigned)strtoul(optarg, NULL, 10);
        else if (opt == 'n') b.n_rows = strtoull(optarg, NULL, 10);
        else {
            puts("usage: bench_store_native [--host H] [--port N] [--http-port N] [--rows N]");
            return 0;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    struct chn_err err;
    const struct chn_options options = {
        .host = b.host, .port = (uint16_t)b.port, .client_name = "souk-bench"};
    uv_loop_init(&b.loop);
    b.conn = chn_conn__new(&b.loop, &options, &err);
    if (b.n_rows == 0 || b.conn == NULL || !make_builders(&b)) return 1;
    if (chn_conn__connect(b.conn, on_connect, &b) != 0 || !wait_done(&b)) return 1;
    const struct chn_server *server = chn_conn__server(b.conn);
    printf("%s %u.%u.%u, %llu rows a run\n", server->name, server->major, server->minor,
           server->patch, (unsigned long long)b.n_rows);
    measure_generator(&b);
    printf("%-9s  %-9s  %7s  %-5s  %7s  %9s  %12s  %9s  %6s\n", "engine", "client", "block",
           "codec", "wall s", "rows/s", "CPU s/M rows", "ns/row net", "x HTTP");
    bool ok = run_all(&b);
    for (int i = 0; i < N_COLUMNS; i++) chn_builder__free(b.builders[i]);
    chn_conn__close(b.conn, NULL, NULL);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    uv_loop_close(&b.loop);
    return ok ? 0 : 1;
}
