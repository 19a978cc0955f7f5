/*
 * What do durable rows cost? Four figures of one run, on one disk and against one ClickHouse:
 *
 *   raw       the disk: write and fdatasync, 256 KiB at a time, as often as there are pages, at
 * most 1,024 times log       the spool alone takes the same pages prebuilt  blocks that are ready,
 * inserted one after another into a MergeTree table durable   pages through the spool and the store
 * into an equal table: appended, synced, batched, sealed, inserted with a token, acknowledged;
 * until the last acknowledgement
 *
 *     bench_store [--host H] [--port N] [--dir DIR] [--rows N] [--lz4]
 *
 * It prints figures and judges nothing. Rows are made before the clock starts, so the CPU is that
 * of the rooms.
 */
#include "native_rows.h"
#include "raw_disk.h"
#include "souk/core/log.h"
#include "souk/store.h"

#include <ch_native/ch_native.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PAGE_ROWS 1000u
#define N_PAGES_MADE 64u /* Different ones, taken in turn. */
#define BLOCK_ROWS 50000u
#define PAGES_AHEAD 256u /* Appended and not yet handed to the store. */
#define TURN_PAGES 4     /* Handed over in one turn of the loop, about as the decoder does. */
#define UNSYNCED_MAX 8u  /* Of the appended ones. */
#define GROUP ((size_t)256 << 10)
#define RAW_MAX 1024u

static const struct column_desc columns[] = {
    {"ts", "DateTime", COLUMN_U32},   {"id", "String", COLUMN_STR},
    {"league", "String", COLUMN_STR}, {"seller", "String", COLUMN_STR},
    {"item", "String", COLUMN_STR},   {"price", "Float64", COLUMN_F64},
    {"stack", "UInt32", COLUMN_U32},  {"currency", "String", COLUMN_STR},
    {"hash", "String", COLUMN_STR},
};
enum { N_COLUMNS = sizeof columns / sizeof columns[0] };
static const struct table_desc prebuilt_table = {
    .name = "prebuilt", .columns = columns, .n_columns = N_COLUMNS};
static const struct table_desc durable_table = {
    .name = "durable", .columns = columns, .n_columns = N_COLUMNS};
static const struct table_desc *const tables[] = {&durable_table};

struct page {
    uint64_t lsn, next_lsn;
    size_t which;
    int64_t appended_ns;
    struct bench *bench;
};

struct bench {
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool *spool;
    struct store *store;
    struct store_options options;
    const char *dir;
    uint64_t n_rows;
    struct batch made[N_PAGES_MADE]; /* Rows of each page, */
    struct buf bodies[N_PAGES_MADE]; /* and its bytes in the log. */
    struct page *pages;
    int64_t *sync_ns;
    size_t n_pages, n_appended, n_synced, n_taken;
    uint64_t answer; /* Of the last statement. */
    bool done, failed;
};

struct stopwatch {
    int64_t wall_ns;
    double cpu_s;
};

static struct stopwatch read_watch(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (struct stopwatch){clock__stopwatch_ns(),
                              (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                                  (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6};
}

static double report(const char *what, uint64_t n_rows, struct stopwatch from) {
    struct stopwatch to = read_watch();
    double s = (double)(to.wall_ns - from.wall_ns) / 1e9, rate = (double)n_rows / s;
    printf("%-9s %9.0f rows/s  %7.2f s  %6.3f CPU s a million rows\n", what, rate, s,
           (to.cpu_s - from.cpu_s) / ((double)n_rows / 1e6));
    fflush(stdout);
    return rate;
}

/* --- Rows --- */

static void add_row(struct batch *b, const struct native_row *row) {
    batch__begin(b);
    batch__u32(b, row->ts);
    batch__str(b, slice__of(row->id, sizeof row->id));
    batch__str(b, slice__of(row->league, row->league_bytes));
    batch__str(b, slice__of(row->seller, row->seller_bytes));
    batch__str(b, slice__of(row->item, row->item_bytes));
    batch__f64(b, row->price);
    batch__u32(b, row->stack);
    batch__str(b, slice__of(row->currency, row->currency_bytes));
    batch__str(b, slice__of((const char *)row->hash, sizeof row->hash));
    batch__end(b);
}

static bool make_pages(struct bench *b) {
    uint64_t seed = 88172645463325252u;
    struct native_row row;
    for (size_t i = 0; i < N_PAGES_MADE; i++) {
        if (batch__init(&b->made[i], &durable_table) != 0) return false;
        for (size_t k = 0; k < PAGE_ROWS; k++) {
            native_rows__next(&row, &seed);
            row.ts = 1700000000u; /* One day: the store cuts its batches by day. */
            add_row(&b->made[i], &row);
        }
        b->bodies[i] = buf__init((size_t)4 << 20);
        for (size_t c = 0; c < N_COLUMNS; c++)
            if (!buf__append(&b->bodies[i], b->made[i].columns[c].data.base,
                             b->made[i].columns[c].data.len))
                return false;
    }
    return true;
}

/* --- ClickHouse --- */

static void on_answer(void *data, const struct slice *cells, size_t n_cells, int status,
                      const struct err *e) {
    struct bench *b = data;
    if (cells != NULL) {
        char text[24];
        snprintf(text, sizeof text, "%.*s", n_cells > 0 ? (int)cells[0].len : 0,
                 n_cells > 0 ? cells[0].base : "");
        b->answer = strtoull(text, NULL, 10);
        return;
    }
    if (status != 0) fprintf(stderr, "%s\n", e->msg);
    b->failed = status != 0;
    b->done = true;
}

static bool run_sql(struct bench *b, const char *sql) {
    struct err e;
    b->done = false;
    if (store__query(&b->loop, &b->options, sql, on_answer, b, &e) != 0) return false;
    while (!b->done) {
        clock__read(&b->clock);
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    return !b->failed;
}

static bool make_tables(struct bench *b) {
    static const char *const names[] = {"prebuilt", "durable"};
    char sql[512];
    for (size_t i = 0; i < 2; i++) {
        snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS %s", names[i]);
        if (!run_sql(b, sql)) return false;
        snprintf(sql, sizeof sql,
                 "CREATE TABLE %s (ts DateTime, id String, league String, seller String, item "
                 "String, price Float64, stack UInt32, currency String, hash String) ENGINE = "
                 "MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY (ts, item) SETTINGS "
                 "non_replicated_deduplication_window = 10000",
                 names[i]);
        if (!run_sql(b, sql)) return false;
    }
    return true;
}

/* --- Prebuilt blocks --- */

static void on_connected(struct chn_conn *conn, void *data, const struct chn_err *err,
                         const struct chn_exception *exception) {
    struct bench *b = data;
    (void)conn;
    (void)exception;
    if (err != NULL) fprintf(stderr, "%s\n", err->msg);
    b->failed = err != NULL;
    b->done = true;
}

static void on_inserted(struct chn_conn *conn, void *data, const struct chn_insert_result *result) {
    on_connected(conn, data, result->err, NULL);
}

static void view_columns(const struct batch *batch, struct chn_column *out,
                         struct chn_slice (*parts)[2]) {
    for (size_t i = 0; i < N_COLUMNS; i++) {
        const struct buf *data = &batch->columns[i].data;
        parts[i][0] = (struct chn_slice){.data = data->base, .n = data->len};
        out[i] = (struct chn_column){
            .name = columns[i].name, .type = columns[i].type, .parts = parts[i], .n_parts = 1};
    }
}

static double run_prebuilt(struct bench *b) {
    struct chn_err err;
    const struct chn_options options = {.host = b->options.host,
                                        .port = b->options.port,
                                        .database = "souk_bench",
                                        .client_name = "souk-bench"};
    struct chn_conn *conn = chn_conn__new(&b->loop, &options, &err);
    struct chn_column views[N_COLUMNS];
    struct chn_slice parts[N_COLUMNS][2];
    struct batch block;
    double rate = 0;
    if (conn == NULL || batch__init(&block, &prebuilt_table) != 0) return 0;
    for (size_t i = 0; i < BLOCK_ROWS / PAGE_ROWS; i++) {
        struct batch page = b->made[i % N_PAGES_MADE];
        page.table = &prebuilt_table;
        if (batch__append(&block, &page) != 0) return 0;
    }
    view_columns(&block, views, parts);
    b->done = false;
    chn_conn__connect(conn, on_connected, b);
    while (!b->done) uv_run(&b->loop, UV_RUN_ONCE);
    struct stopwatch from = read_watch();
    uint64_t sent = 0;
    for (; sent < b->n_rows && !b->failed; sent += BLOCK_ROWS) {
        char token[32];
        snprintf(token, sizeof token, "prebuilt-%llu", (unsigned long long)sent);
        const struct chn_setting settings[] = {{"insert_deduplication_token", token, 1},
                                               {"async_insert", "0", 0}};
        const struct chn_insert insert = {.table = "prebuilt",
                                          .columns = views,
                                          .n_columns = N_COLUMNS,
                                          .n_rows = BLOCK_ROWS,
                                          .settings = settings,
                                          .n_settings = 2,
                                          .compression =
                                              b->options.lz4 ? CHN_LZ4 : CHN_NO_COMPRESSION};
        b->done = false;
        if (chn_conn__insert(conn, &insert, on_inserted, b) != 0) b->failed = true;
        while (!b->done && !b->failed) uv_run(&b->loop, UV_RUN_ONCE);
    }
    if (!b->failed) rate = report("prebuilt", sent, from);
    batch__fini(&block);
    chn_conn__close(conn, NULL, NULL);
    return rate;
}

/* --- The log, and the whole path --- */

static void on_synced(void *data, uint64_t lsn, int status) {
    struct page *p = data;
    struct bench *b = p->bench;
    (void)lsn;
    if (status != 0) b->failed = true;
    b->sync_ns[b->n_synced++] = clock__stopwatch_ns() - p->appended_ns;
}

static bool append_page(struct bench *b) {
    struct page *p = &b->pages[b->n_appended];
    struct spool_status st;
    struct err e;
    *p = (struct page){
        .which = b->n_appended % N_PAGES_MADE, .appended_ns = clock__stopwatch_ns(), .bench = b};
    struct slice body = buf__slice(&b->bodies[p->which]);
    p->lsn = spool__append(b->spool, SPOOL_PAGE, 1, &body, 1, on_synced, p, &e);
    if (p->lsn == 0) return false;
    spool__status(b->spool, &st);
    p->next_lsn = st.end_lsn;
    b->n_appended++;
    return true;
}

static bool hand_over(struct bench *b) {
    struct page *p = &b->pages[b->n_taken];
    struct rows rows = {0};
    struct batch *batch = rows__batch(&rows, &durable_table, SLICE_LIT(""));
    bool ok = batch != NULL && batch__append(batch, &b->made[p->which]) == 0 &&
              store__rows(b->store, 0, p->lsn, p->next_lsn, b->clock.wall_ns, &rows) == 0;
    rows__fini(&rows);
    b->n_taken++;
    return ok;
}

static bool reset_pages(struct bench *b) {
    b->n_pages = (size_t)(b->n_rows / PAGE_ROWS);
    b->n_appended = b->n_synced = b->n_taken = 0;
    free(b->pages);
    free(b->sync_ns);
    b->pages = calloc(b->n_pages + 1, sizeof *b->pages);
    b->sync_ns = calloc(b->n_pages + 1, sizeof *b->sync_ns);
    return b->pages != NULL && b->sync_ns != NULL;
}

static void print_syncs(struct bench *b, int64_t total_ns) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < b->n_pages; i++) n_bytes += b->bodies[i % N_PAGES_MADE].len;
    sort_times(b->sync_ns, b->n_synced);
    printf("          log %.0f MB/s; page to synced p50 %.2f ms, p95 %.2f ms, p99 %.2f ms\n",
           (double)n_bytes / 1e6 / ((double)total_ns / 1e9),
           (double)percentile(b->sync_ns, b->n_synced, 50) / 1e6,
           (double)percentile(b->sync_ns, b->n_synced, 95) / 1e6,
           (double)percentile(b->sync_ns, b->n_synced, 99) / 1e6);
}

static bool run_log(struct bench *b) {
    if (!reset_pages(b)) return false;
    struct stopwatch from = read_watch();
    while (b->n_synced < b->n_pages && !b->failed) {
        clock__read(&b->clock);
        while (b->n_appended < b->n_pages && b->n_appended - b->n_synced < UNSYNCED_MAX)
            if (!append_page(b)) return false;
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    int64_t total_ns = clock__stopwatch_ns() - from.wall_ns;
    report("log", b->n_pages * PAGE_ROWS, from);
    print_syncs(b, total_ns);
    return !b->failed;
}

static void on_beat(uv_timer_t *t) { (void)t; }

static double run_durable(struct bench *b) {
    struct spool_status st;
    struct err e;
    uv_timer_t beat; /* The clock goes on though nothing happens. */
    if (!reset_pages(b) ||
        store__open(&b->store, &b->loop, &b->clock, &b->metrics, b->spool, &b->options, &e) != 0)
        return 0;
    spool__status(b->spool, &st);
    store__start(b->store, st.end_lsn);
    uv_timer_init(&b->loop, &beat);
    uv_timer_start(&beat, on_beat, 5, 5);
    struct stopwatch from = read_watch();
    while (!b->failed) {
        clock__read(&b->clock);
        while (b->n_appended < b->n_pages && b->n_appended - b->n_taken < PAGES_AHEAD &&
               b->n_appended - b->n_synced < UNSYNCED_MAX)
            if (!append_page(b)) return 0;
        for (int i = 0; i < TURN_PAGES && b->n_taken < b->n_synced && store__has_room(b->store, 0);
             i++)
            if (!hand_over(b)) return 0;
        if (b->n_taken == b->n_pages && store__flush(b->store)) break;
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    int64_t total_ns = clock__stopwatch_ns() - from.wall_ns;
    uv_close((uv_handle_t *)&beat, NULL);
    if (b->failed) return 0;
    double rate = report("durable", b->n_pages * PAGE_ROWS, from);
    print_syncs(b, total_ns);
    return rate;
}

static void on_closed(void *data) { ((struct bench *)data)->done = true; }

static int run_all(struct bench *b) {
    struct spool_options spool = {.dir = b->dir, .quota_bytes = 64ull << 30};
    struct raw_disk raw;
    size_t n_pages = b->n_rows / PAGE_ROWS, n_raw = n_pages < RAW_MAX ? n_pages : RAW_MAX;
    struct err e;
    if (!run_sql(b, "CREATE DATABASE IF NOT EXISTS souk_bench")) return 1;
    b->options.database = "souk_bench";
    if (!make_tables(b) || raw_disk__run(b->dir, n_raw, GROUP, &raw) != 0) return 1;
    printf("raw       %9s           %7.2f s  %.0f MB/s; write and fdatasync p50 %.2f ms, p95 %.2f "
           "ms, p99 %.2f ms\n",
           "", (double)raw.total_ns / 1e9,
           (double)(n_raw * GROUP) / 1e6 / ((double)raw.total_ns / 1e9),
           (double)percentile(raw.took_ns, raw.n, 50) / 1e6,
           (double)percentile(raw.took_ns, raw.n, 95) / 1e6,
           (double)percentile(raw.took_ns, raw.n, 99) / 1e6);
    raw_disk__fini(&raw);
    if (spool__open(&b->spool, &b->loop, &b->clock, &b->metrics, &spool, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    if (!run_log(b)) return 1;
    double prebuilt = run_prebuilt(b), durable = prebuilt > 0 ? run_durable(b) : 0;
    if (durable > 0 && run_sql(b, "SELECT count() FROM durable"))
        printf("durable : prebuilt = %.2f; %llu rows sent, %llu in the table\n", durable / prebuilt,
               (unsigned long long)b->n_pages * PAGE_ROWS, (unsigned long long)b->answer);
    if (b->store != NULL) store__close(b->store, on_closed, b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    spool__close(b->spool, NULL, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    bool dropped = run_sql(b, "DROP DATABASE souk_bench");
    return durable > 0 && dropped ? 0 : 1;
}

int main(int argc, char **argv) {
    static struct bench b = {.n_rows = 5000000, .dir = "."};
    static const struct option table[] = {{"host", 1, NULL, 'h'}, {"port", 1, NULL, 'p'},
                                          {"dir", 1, NULL, 'd'},  {"rows", 1, NULL, 'n'},
                                          {"lz4", 0, NULL, 'z'},  {"http-port", 1, NULL, 'w'},
                                          {"help", 0, NULL, '?'}, {NULL, 0, NULL, 0}};
    b.options = (struct store_options){.host = "127.0.0.1",
                                       .port = 9000,
                                       .user = "default",
                                       .password = "",
                                       .database = "",
                                       .tables = tables,
                                       .n_tables = 1};
    for (int opt; (opt = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (opt == 'h') b.options.host = optarg;
        else if (opt == 'p') b.options.port = (uint16_t)strtoul(optarg, NULL, 10);
        else if (opt == 'd') b.dir = optarg;
        else if (opt == 'n') b.n_rows = strtoull(optarg, NULL, 10);
        else if (opt == 'z') b.options.lz4 = true;
        else if (opt != 'w') {
            puts("usage: bench_store [--host H] [--port N] [--dir DIR] [--rows N] [--lz4]");
            return 0;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_WARN);
    uv_loop_init(&b.loop);
    clock__read(&b.clock);
    if (b.n_rows < BLOCK_ROWS || metrics__init(&b.metrics) != 0 || !make_pages(&b)) return 1;
    int status = run_all(&b);
    for (size_t i = 0; i < N_PAGES_MADE; i++) {
        batch__fini(&b.made[i]);
        buf__fini(&b.bodies[i]);
    }
    free(b.pages);
    free(b.sync_ns);
    metrics__fini(&b.metrics);
    uv_loop_close(&b.loop);
    return status;
}
