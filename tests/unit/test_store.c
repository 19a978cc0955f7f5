/* The store against the real engine, which SOUK_CLICKHOUSE starts (the launcher of this build): rows
 * are stored once, also when the engine is killed half-way and when the store starts anew; a database
 * that is not as it should be holds them and says why. Skipped (77) where the engine is missing. */
#include "../lib/moved.h"
#include "souk/core/log.h"
#include "souk/core/refusal.h"
#include "souk/schema.h"
#include "souk/store.h"
#include "certs.h"
#include "relay.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define SKIPPED 77
#define TURNS_MAX 90000 /* Of a millisecond or more each. */

static const struct column_desc columns[] = {{"lsn", "UInt64", COLUMN_U64}, {"ord", "UInt32", COLUMN_U32}};
static const struct table_desc data_table = {.name = "t_data", .columns = columns, .n_columns = 2};
static const struct table_desc check_table = {.name = "t_check", .columns = columns, .n_columns = 2, .after_data = true};
static const struct table_desc *const tables[] = {&data_table, &check_table};

static struct {
    char dir[64];
    pid_t launcher;
    uint16_t port;
} engine;

struct fixture {
    char dir[64];
    uv_loop_t loop;
    uv_timer_t beat;
    struct clock clock;
    struct metrics metrics;
    struct spool *spool;
    struct store *store;
    struct store_options options;
    char database[32];
    bool done, closed;
    int status;
    char cell[256];
};

/* The engine. */

static uint16_t free_port(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&in, n) != 0 || getsockname(fd, (struct sockaddr *)&in, &n) != 0) abort();
    close(fd);
    return ntohs(in.sin_port);
}

static void run_launcher(int out, const char *program) {
    char path[96], port[16];
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(out, STDOUT_FILENO);
    snprintf(path, sizeof path, "%s/data", engine.dir);
    snprintf(port, sizeof port, "%u", engine.port);
    execl(program, program, "--path", path, "--tcp-port", port, "--no-http", (char *)NULL);
    _exit(127);
}

/* The engine merges what is in users.d into its users: here anybody may do anything. */
static bool allow_all(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/data", engine.dir);
    bool made = mkdir(path, 0700) == 0;
    snprintf(path, sizeof path, "%s/data/users.d", engine.dir);
    made = made && mkdir(path, 0700) == 0;
    snprintf(path, sizeof path, "%s/data/users.d/default.xml", engine.dir);
    FILE *f = made ? fopen(path, "w") : NULL;
    if (f == NULL) return false;
    fputs("<clickhouse><users><default replace=\"replace\"><password></password>"
        "<networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>"
        "<access_management>1</access_management></default></users></clickhouse>\n", f);
    return fclose(f) == 0;
}

/* @return whether it said that it is ready. */
static bool start_engine(const char *program) {
    char line[256];
    int fds[2];
    snprintf(engine.dir, sizeof engine.dir, "/tmp/souk_store_ch_XXXXXX");
    if (mkdtemp(engine.dir) == NULL || !allow_all() || pipe(fds) != 0) return false;
    engine.port = free_port();
    engine.launcher = fork();
    if (engine.launcher == 0) run_launcher(fds[1], program);
    close(fds[1]);
    FILE *in = fdopen(fds[0], "r");
    bool ready = fgets(line, sizeof line, in) != NULL && strncmp(line, "ready", 5) == 0;
    fclose(in);
    return ready;
}

static void kill_engine(void) {
    char path[64], line[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)engine.launcher, (int)engine.launcher);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_non_null(fgets(line, sizeof line, in));
    fclose(in);
    pid_t child = (pid_t)strtol(line, NULL, 10);
    assert_true(child > 1);
    assert_int_equal(kill(child, SIGKILL), 0); /* The launcher starts it again. */
}

static void remove_dir(const char *dir) {
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

static void stop_engine(void) {
    if (engine.launcher > 0) {
        kill(engine.launcher, SIGTERM);
        waitpid(engine.launcher, NULL, 0);
    }
    remove_dir(engine.dir);
}

/* The fixture. */

static void on_beat(uv_timer_t *t) { (void)t; }
static void on_closed(void *data) { ((struct fixture *)data)->closed = true; }

static void turn(struct fixture *f) {
    f->clock.mono_ns += NS_PER_MS;
    f->clock.wall_ns += NS_PER_MS;
    uv_run(&f->loop, UV_RUN_ONCE);
}
#define UNTIL(f, condition)                                                                                            \
    for (int turns = 0; !(condition); turn(f)) assert_true(turns++ < TURNS_MAX)

static void on_row(void *data, const struct slice *cells, size_t n_cells, int status, const struct err *e) {
    struct fixture *f = data;
    if (cells == NULL) {
        f->done = true;
        f->status = status;
        if (status != 0) snprintf(f->cell, sizeof f->cell, "%s", e->msg);
    } else {
        assert_int_equal(n_cells, 1);
        snprintf(f->cell, sizeof f->cell, "%.*s", SLICE_FMT(cells[0]));
    }
}

/* @return the status; the last cell, or the error, is in f->cell. */
static int query(struct fixture *f, const char *sql) {
    struct err e = {0};
    f->done = false;
    f->cell[0] = '\0';
    assert_int_equal(store__query(&f->loop, &f->options, sql, on_row, f, &e), 0);
    UNTIL(f, f->done);
    return f->status;
}

static void open_store(struct fixture *f) {
    struct err e = {0};
    if (store__open(&f->store, &f->loop, &f->clock, &f->metrics, f->spool, &f->options, &e) != 0) fail_msg("%s", e.msg);
}

static void close_store(struct fixture *f) {
    f->closed = false;
    store__close(f->store, on_closed, f);
    UNTIL(f, f->closed);
    f->store = NULL;
}

static int setup(void **state) {
    static int n;
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    snprintf(f->dir, sizeof f->dir, "/tmp/souk_store_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->database, sizeof f->database, "test_%d", n++);
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    f->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1700000000 * NS_PER_S};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(metrics__init(&f->metrics), 0);
    uv_timer_init(&f->loop, &f->beat);
    uv_timer_start(&f->beat, on_beat, 1, 1);
    struct spool_options spool = {.dir = f->dir, .segment_bytes = 256 << 10, .quota_bytes = 16 << 20};
    if (spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &spool, &e) != 0) fail_msg("%s", e.msg);
    f->options = (struct store_options){.host = "127.0.0.1", .port = engine.port, .user = "default", .password = "",
                                        .database = "default", .lz4 = true, .tables = tables, .n_tables = 2,
                                        .rows_max = 50, .age_max_ns = 20 * NS_PER_MS};
    char sql[96];
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", f->database);
    if (query(f, sql) != 0) fail_msg("%s", f->cell);
    f->options.database = f->database;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f->store != NULL) close_store(f);
    f->closed = false;
    spool__close(f->spool, on_closed, f);
    UNTIL(f, f->closed);
    uv_close((uv_handle_t *)&f->beat, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    remove_dir(f->dir);
    free(f);
    return 0;
}

static void make_tables(struct fixture *f) {
    static const char format[] = "CREATE TABLE %s (lsn UInt64, ord UInt32) ENGINE = MergeTree ORDER BY lsn "
                                 "SETTINGS non_replicated_deduplication_window = 1000";
    char sql[256];
    for (size_t i = 0; i < 2; i++) {
        snprintf(sql, sizeof sql, format, tables[i]->name);
        if (query(f, sql) != 0) fail_msg("%s", f->cell);
    }
}

/* Page @lsn always makes the same rows: lsn % 7 data rows and a check row. */
static void page(struct fixture *f, uint64_t lsn) {
    struct rows rows = {0};
    for (uint32_t i = 0; i < lsn % 7; i++) {
        struct batch *b = rows__batch(&rows, &data_table, (struct slice){0});
        batch__begin(b), batch__u64(b, lsn), batch__u32(b, i), batch__end(b);
    }
    struct batch *b = rows__batch(&rows, &check_table, (struct slice){0});
    batch__begin(b), batch__u64(b, lsn), batch__u32(b, 0), batch__end(b);
    assert_int_equal(store__rows(f->store, 0, lsn, lsn + 1, 1700000000 * NS_PER_S, &rows), 0);
}

static void expect_once(struct fixture *f, uint64_t n_pages) {
    char expected[64];
    uint64_t n_rows = 0;
    for (uint64_t i = 0; i < n_pages; i++) n_rows += i % 7;
    snprintf(expected, sizeof expected, "%llu %llu", (unsigned long long)n_rows, (unsigned long long)n_rows);
    if (query(f, "SELECT concat(toString(count()), ' ', toString(uniqExact(lsn, ord))) FROM t_data") != 0)
        fail_msg("%s", f->cell);
    assert_string_equal(f->cell, expected);
    snprintf(expected, sizeof expected, "%llu %llu", (unsigned long long)n_pages, (unsigned long long)n_pages);
    assert_int_equal(query(f, "SELECT concat(toString(count()), ' ', toString(uniqExact(lsn))) FROM t_check"), 0);
    assert_string_equal(f->cell, expected);
}

static struct store_status status_of(struct fixture *f) {
    struct store_status s;
    store__status(f->store, &s);
    return s;
}

static void test_rows_are_stored_once_and_the_low_water_follows(void **state) {
    struct fixture *f = *state;
    make_tables(f);
    open_store(f);
    store__start(f->store, 0);
    page(f, 0), page(f, 1);
    assert_true(store__low_water(f->store) <= 1); /* Not before it is acknowledged. */
    for (uint64_t lsn = 2; lsn < 300; lsn++) page(f, lsn);
    UNTIL(f, store__flush(f->store));
    assert_int_equal(store__low_water(f->store), 300);
    assert_true(status_of(f).connected);
    assert_int_equal(status_of(f).n_sealed, 0);
    expect_once(f, 300);
}

static void test_rows_go_over_tls_past_a_dead_host(void **state) {
    struct fixture *f = *state;
    struct relay relay;
    struct err e = {0};
    char certs[] = "/tmp/souk_certs_XXXXXX", cert[64], ca[64], other[64], name[32];
    make_tables(f);
    assert_non_null(mkdtemp(certs));
    certs__write(certs);
    snprintf(cert, sizeof cert, "%s/good.pem", certs);
    snprintf(ca, sizeof ca, "%s/ca.pem", certs);
    snprintf(other, sizeof other, "%s/other-ca.pem", certs);
    assert_true(relay__start(&relay, &(struct relay_options){.cert_file = cert, .to_port = engine.port}));
    snprintf(name, sizeof name, "localhost:%u", relay.port);
    const char *const hosts[] = {"127.0.0.1:1", name};
    f->options.hosts = hosts;
    f->options.n_hosts = 2;
    f->options.tls = (struct store_tls){.enabled = true, .ca_file = other};
    f->options.lz4 = false;
    f->options.zstd = true;
    assert_true(query(f, "SELECT 1") != 0); /* Whom we do not trust gets nothing. */
    assert_non_null(strstr(f->cell, "certificate of localhost: unknown authority"));
    f->options.tls.ca_file = "/nowhere.pem";
    assert_int_equal(store__query(&f->loop, &f->options, "SELECT 1", on_row, f, &e), ERR_CONFIG);
    assert_non_null(strstr(e.msg, "clickhouse.tls: TLS: authorities in /nowhere.pem"));
    f->options.tls.ca_file = ca;
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 100; lsn++) page(f, lsn);
    UNTIL(f, store__flush(f->store));
    expect_once(f, 100);
    close_store(f);
    relay__stop(&relay);
    f->options.hosts = NULL;
    f->options.n_hosts = 0;
    remove_dir(certs);
}

static void test_rows_are_stored_once_though_the_engine_is_killed(void **state) {
    struct fixture *f = *state;
    make_tables(f);
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 400; lsn++) {
        page(f, lsn);
        turn(f);
        if (lsn == 200) kill_engine();
    }
    UNTIL(f, store__flush(f->store));
    assert_int_equal(store__low_water(f->store), 400);
    expect_once(f, 400);
}

/* As after kill -9 of the process: the log says what was sealed and what was acknowledged. */
static void recover(struct fixture *f) {
    struct spool_status status;
    struct spool_reader r;
    struct spool_record rec;
    struct err e;
    spool__status(f->spool, &status);
    spool_reader__init(&r, f->spool, status.first_lsn);
    while (spool_reader__next(&r, status.synced_lsn, &rec, &e) == 1)
        assert_int_equal(store__recover(f->store, &rec), 0);
    spool_reader__fini(&r);
}

static void test_a_new_store_goes_on_where_the_last_one_was(void **state) {
    struct fixture *f = *state;
    make_tables(f);
    for (int run = 0; run < 4; run++) {
        open_store(f);
        recover(f);
        store__start(f->store, 0);
        for (uint64_t lsn = 0; lsn < 200 + 50 * (uint64_t)run; lsn++) {
            page(f, lsn);
            if (lsn % 8 == 0) turn(f);
        }
        if (run == 3) break;
        for (int i = 0; i < 3 + 20 * run; i++) turn(f); /* Ends with inserts in flight. */
        close_store(f);
    }
    UNTIL(f, store__flush(f->store));
    expect_once(f, 350);
}

static void test_a_missing_table_holds_the_rows_and_says_so(void **state) {
    struct fixture *f = *state;
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 20; lsn++) page(f, lsn);
    UNTIL(f, status_of(f).held);
    assert_false(status_of(f).connected);
    assert_non_null(strstr(status_of(f).last_error, "t_data is missing; run: souk schema apply"));
    assert_true(store__low_water(f->store) <= 1);
    assert_int_equal(query(f, "CREATE TABLE t_data (lsn UInt64, ord UInt32) ENGINE = MergeTree ORDER BY lsn"), 0);
    UNTIL(f, strstr(status_of(f).last_error, "t_check is missing") != NULL ||
                 strstr(status_of(f).last_error, "t_data has no deduplication window") != NULL);
    assert_int_equal(query(f, "DROP TABLE t_data"), 0);
    make_tables(f); /* Mended: nothing was dropped. */
    UNTIL(f, store__flush(f->store));
    assert_false(status_of(f).held);
    expect_once(f, 20);
}

static void test_refusals_show(void **state) {
    struct fixture *f = *state;
    make_tables(f);
    assert_int_equal(query(f, "ALTER TABLE t_data ADD CONSTRAINT no CHECK lsn != 5"), 0);
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 10; lsn++) page(f, lsn);
    UNTIL(f, status_of(f).held && !status_of(f).connected && status_of(f).retries >= 3);
    assert_true(store__low_water(f->store) <= 5);
    assert_int_equal(query(f, "ALTER TABLE t_data DROP CONSTRAINT no"), 0);
    UNTIL(f, store__flush(f->store));
    UNTIL(f, status_of(f).connected && !status_of(f).held);
    expect_once(f, 10);
}

/* The real engine's words for a row: a constraint, a view that throws behind a table that took it. */
static void test_a_refused_row_is_found(void **state) {
    static const struct table_desc *const both[] = {&data_table, &check_table};
    struct fixture *f = *state;
    make_tables(f);
    assert_int_equal(query(f, "ALTER TABLE t_data ADD CONSTRAINT no CHECK lsn != 5 OR ord != 2"), 0);
    f->options.tables = both;
    f->options.refusals = &check_table; /* Any table but the one that refuses. */
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 60; lsn++) page(f, lsn);
    UNTIL(f, store__flush(f->store));
    assert_int_equal(status_of(f).refused_rows, 1);
    assert_false(status_of(f).held);
    assert_int_equal(query(f, "SELECT concat(toString(count()), ' ', toString(uniqExact(lsn, ord)), ' ', "
                              "toString(countIf(lsn = 5))) FROM t_data"), 0);
    char expected[64];
    uint64_t n = 0;
    for (uint64_t i = 0; i < 60; i++) n += i % 7;
    snprintf(expected, sizeof expected, "%llu %llu 4", (unsigned long long)n - 1, (unsigned long long)n - 1);
    assert_string_equal(f->cell, expected);
    struct spool_status status;
    struct spool_reader r;
    struct spool_record rec;
    struct err e;
    size_t n_refusals = 0;
    spool__status(f->spool, &status);
    spool_reader__init(&r, f->spool, status.first_lsn);
    while (spool_reader__next(&r, status.synced_lsn, &rec, &e) == 1) {
        struct refusal x;
        if (rec.type != SPOOL_QUARANTINE) continue;
        n_refusals++;
        assert_int_equal(refusal__decode(rec.payload, &x), 0);
        assert_int_equal(x.code, 469);
        assert_true(x.lsn == 5 && x.ord == 2);
        assert_true(slice__eq(x.payload, SLICE_LIT("{\"lsn\":5,\"ord\":2}")));
    }
    spool_reader__fini(&r);
    assert_int_equal(n_refusals, 1);
}

/* The table takes the block, the view behind it throws: the reply is an exception, the rows are
 * there. Searching without asking would store them twice. */
static void test_rows_that_are_there_in_spite_of_an_exception_are_not_sent_again(void **state) {
    struct fixture *f = *state;
    make_tables(f);
    assert_int_equal(query(f, "CREATE TABLE t_sink (x UInt64) ENGINE = MergeTree ORDER BY x"), 0);
    assert_int_equal(query(f, "CREATE MATERIALIZED VIEW t_view TO t_sink AS SELECT throwIf(lsn = 5) AS x FROM t_data"), 0);
    f->options.refusals = &check_table;
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 10; lsn++) page(f, lsn);
    UNTIL(f, store__flush(f->store));
    assert_int_equal(query(f, "SELECT toString(count() - uniqExact(lsn, ord)) FROM t_data"), 0);
    assert_string_equal(f->cell, "0");
}

static void write_password(const struct fixture *f, const char *path, const char *text) {
    (void)f;
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out, "%s\n", text);
    fclose(out);
}

static void test_a_rotated_password_needs_no_restart(void **state) {
    struct fixture *f = *state;
    char path[96];
    snprintf(path, sizeof path, "%s/password", f->dir);
    make_tables(f);
    write_password(f, path, "wrong");
    f->options.password_file = path;
    open_store(f);
    store__start(f->store, 0);
    for (uint64_t lsn = 0; lsn < 10; lsn++) page(f, lsn);
    UNTIL(f, status_of(f).held);
    write_password(f, path, "");
    UNTIL(f, store__flush(f->store));
    assert_false(status_of(f).held);
    expect_once(f, 10);
}

static void test_an_unknown_database_is_not_an_outage(void **state) {
    struct fixture *f = *state;
    f->options.database = "nowhere";
    open_store(f);
    store__start(f->store, 0);
    page(f, 1);
    UNTIL(f, status_of(f).last_error[0] != '\0');
    assert_true(status_of(f).held);
    assert_non_null(strstr(status_of(f).last_error, "nowhere"));
}

static void test_nothing_grows_while_clickhouse_is_away(void **state) {
    struct fixture *f = *state;
    f->options.port = 1; /* Nobody listens there. */
    f->options.memory_max = 4096;
    open_store(f);
    store__start(f->store, 0);
    uint64_t lsn = 0;
    for (; store__has_room(f->store, 0) && lsn < 100000; lsn++) {
        page(f, lsn);
        if (lsn % 4 == 0) turn(f);
    }
    assert_true(lsn < 100000);
    assert_true(status_of(f).bytes < 2 * 4096);
    assert_true(store__low_water(f->store) <= 1);
    assert_false(status_of(f).held);
}

static void test_migrations_apply_once(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    f->options.database = "migrated";
    int n = schema__migrate(&f->loop, &f->options, true, NULL, &e);
    assert_int_equal(n, schema_n_migrations);
    n = schema__migrate(&f->loop, &f->options, false, NULL, &e);
    if (n < 0) fail_msg("%s", e.msg);
    assert_int_equal(n, schema_n_migrations);
    assert_int_equal(schema__migrate(&f->loop, &f->options, false, NULL, &e), 0);
    assert_int_equal(query(f, "ALTER TABLE souk_migrations UPDATE checksum = 'x' WHERE version = 1 SETTINGS mutations_sync = 2"), 0);
    assert_int_equal(schema__migrate(&f->loop, &f->options, true, NULL, &e), ERR_SCHEMA);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_rows_are_stored_once_and_the_low_water_follows),
        TEST(test_rows_go_over_tls_past_a_dead_host),
        TEST(test_rows_are_stored_once_though_the_engine_is_killed),
        TEST(test_a_new_store_goes_on_where_the_last_one_was),
        TEST(test_a_missing_table_holds_the_rows_and_says_so),
        TEST(test_refusals_show),
        TEST(test_a_refused_row_is_found),
        TEST(test_rows_that_are_there_in_spite_of_an_exception_are_not_sent_again),
        TEST(test_a_rotated_password_needs_no_restart),
        TEST(test_an_unknown_database_is_not_an_outage),
        TEST(test_nothing_grows_while_clickhouse_is_away),
        TEST(test_migrations_apply_once),
    };
    const char *program = getenv("SOUK_CLICKHOUSE");
    if (program == NULL || program[0] == '\0') {
        fprintf(stderr, "skipped: SOUK_CLICKHOUSE does not name the launcher of the engine\n");
        return SKIPPED;
    }
    signal(SIGPIPE, SIG_IGN); /* As ch-native asks for. */
    if (!start_engine(program)) {
        fprintf(stderr, "skipped: %s starts no engine here\n", program);
        stop_engine();
        return SKIPPED;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    stop_engine();
    return failed;
}
