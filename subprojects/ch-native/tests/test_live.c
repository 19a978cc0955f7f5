/* Against real servers: `test_chn_live embedded` and `test_chn_live old`. Exits 77 (skipped) where
 * there is none. */
#include "client.h"
#include "servers.h"
#include "types.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct server server;
static const uint32_t revisions[] = {54412, 54429, 54460, 54461, 54464, 54465, 54469, 54470, 54471,
                                     54472, 54474, 54475, 54476, 54477, 54478, 54479, 54480, 54481,
                                     54482, 54483, 54485, 54486, 54488};
enum { N_REVISIONS = sizeof revisions / sizeof revisions[0] };

static struct chn_options options_at(uint32_t revision) {
    return (struct chn_options){.port = server.port, .revision = revision};
}

static void open_at(struct client *c, uint32_t revision) {
    struct chn_options options = options_at(revision);
    client__open(c, &options);
    if (client__connect(c) != 0) fail_msg("%s", c->err.msg);
}

static void test_hello_at_every_revision(void **state) {
    (void)state;
    for (int i = 0; i < N_REVISIONS; i++) {
        struct client c;
        open_at(&c, revisions[i]);
        const struct chn_server *s = chn_conn__server(c.conn);
        assert_true(s->negotiated == (s->revision < revisions[i] ? s->revision : revisions[i]));
        assert_string_equal(s->name, "ClickHouse");
        assert_int_equal(s->major, server.embedded ? 26 : 18);
        assert_int_equal(client__ping(&c), 0);
        client__run(&c, "SELECT 1 + 1");
        assert_string_equal(c.text, "2\n");
        assert_int_equal(client__ping(&c), 0);
        client__close(&c);
    }
}

/* --- Every type there and back --- */

static void test_every_type_there_and_back(void **state) {
    (void)state;
    static const uint32_t some[] = {54412, 54429, 54460, 54465, 54488};
    for (size_t r = 0; r < sizeof some / sizeof some[0]; r++) {
        struct client c;
        open_at(&c, some[r]);
        types__there_and_back(&c, server.embedded);
        client__close(&c);
    }
}

/* --- Inserts that go wrong --- */

/* A table t (n UInt32, s String), and columns of @n_rows for it. */
struct sample {
    struct chn_builder *n, *s;
    struct chn_column columns[2];
    struct chn_insert insert;
};

static void make_sample(struct sample *p, unsigned n_rows) {
    p->n = chn_builder__new("n", "UInt32", 64 << 20, NULL);
    p->s = chn_builder__new("s", "String", 64 << 20, NULL);
    for (unsigned i = 0; i < n_rows; i++) {
        chn_builder__u64(p->n, i);
        char text[16];
        chn_builder__string(p->s, text, (size_t)snprintf(text, sizeof text, "%u", i));
    }
    assert_int_equal(chn_builder__column(p->n, &p->columns[0]), 0);
    assert_int_equal(chn_builder__column(p->s, &p->columns[1]), 0);
    p->insert =
        (struct chn_insert){.table = "t", .columns = p->columns, .n_columns = 2, .n_rows = n_rows};
}

static void free_sample(struct sample *p) {
    chn_builder__free(p->n);
    chn_builder__free(p->s);
}

static void make_table(struct client *c, const char *engine) {
    char sql[256];
    client__run(c, "DROP TABLE IF EXISTS t");
    snprintf(sql, sizeof sql, "CREATE TABLE t (n UInt32, s String) ENGINE = %s", engine);
    client__run(c, sql);
}

static void expect_count(struct client *c, const char *count) {
    client__run(c, "SELECT count() FROM t");
    assert_string_equal(c->text, count);
}

static void test_a_token_is_stored_once(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    struct client c;
    struct sample p;
    open_at(&c, 54460);
    make_table(&c, "MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100");
    make_sample(&p, 1000);
    const struct chn_setting one = {"insert_deduplication_token", "batch-1", 1},
                             two = {one.name, "batch-2", 1};
    p.insert.n_settings = 1;
    p.insert.settings = &one;
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    p.insert.compression = CHN_LZ4; /* The same rows in another dress. */
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    expect_count(&c, "1000\n");
    p.insert.settings = &two;
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    expect_count(&c, "2000\n");
    free_sample(&p);
    client__close(&c);
}

static void test_an_exception_rejects_and_a_new_connection_works(void **state) {
    (void)state;
    struct client c;
    struct sample p;
    open_at(&c, 54460);
    client__run(&c, "DROP TABLE IF EXISTS t");
    make_sample(&p, 10);
    assert_int_equal(client__insert(&c, &p.insert), CHN_REJECTED);
    assert_int_equal(c.exception.code, 60); /* UNKNOWN_TABLE. */
    assert_true(chn_conn__is_closed(c.conn));
    assert_int_equal(chn_conn__insert(c.conn, &p.insert, client__on_insert, &c), CHN_ERR_NOT_READY);
    assert_int_equal(client__connect(&c), 0);
    make_table(&c, "Memory");
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    client__run(
        &c, "DROP TABLE t"); /* Now the statement is known, and goes with its block in one write. */
    assert_int_equal(client__insert(&c, &p.insert), CHN_REJECTED);
    assert_true(c.insert.pipelined);
    assert_int_equal(c.exception.code, 60);
    free_sample(&p);
    client__close(&c);
}

static void test_columns_are_compared_before_rows_are_sent(void **state) {
    (void)state;
    struct client c;
    struct sample p;
    open_at(&c, 54460);
    make_table(&c, "Memory");
    make_sample(&p, 10);
    p.columns[1].type = "FixedString(3)";
    assert_int_equal(client__insert(&c, &p.insert), CHN_NOT_SENT);
    assert_int_equal(c.err.code, CHN_ERR_SCHEMA);
    assert_non_null(strstr(c.err.msg, "column s is String in the table, not FixedString(3)"));
    assert_int_equal(client__connect(&c), 0);
    p.columns[1].type = "String";
    p.columns[1].name = "typo";
    enum chn_outcome outcome =
        client__insert(&c, &p.insert); /* Named in the statement: the server says no itself. */
    assert_true(outcome == CHN_REJECTED || outcome == CHN_NOT_SENT);
    assert_non_null(strstr(c.err.msg, "typo"));
    assert_int_equal(client__connect(&c), 0);
    expect_count(&c, "0\n");
    free_sample(&p);
    client__close(&c);
}

static void test_a_large_compressed_block_is_packed_off_the_loop(void **state) {
    (void)state;
    struct client c;
    struct sample p;
    open_at(&c, 54460);
    make_table(&c, "Memory");
    make_sample(&p, 400000);
    p.insert.compression = CHN_LZ4;
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    client__run(&c, "SELECT count(), sum(n), sum(length(s)) FROM t");
    assert_string_equal(c.text, "400000\t79999800000\t2288890\n");
    /* Canceled while the pool works: the callback waits for it, and nothing was sent. */
    c.done = false;
    assert_int_equal(chn_conn__insert(c.conn, &p.insert, client__on_insert, &c), 0);
    chn_conn__cancel(c.conn);
    assert_false(chn_conn__is_closed(c.conn));
    client__wait(&c);
    assert_int_equal(c.outcome, CHN_NOT_SENT);
    assert_int_equal(c.err.code, CHN_ERR_CANCELED);
    assert_int_equal(client__connect(&c), 0);
    /* Closed while the pool works. */
    c.done = false;
    assert_int_equal(chn_conn__insert(c.conn, &p.insert, client__on_insert, &c), 0);
    client__close(&c);
    assert_true(c.done);
    assert_int_equal(c.outcome, CHN_NOT_SENT);
    free_sample(&p);
}

/* The server is stopped, so that it answers nothing while its sockets take what they hold. */
static void pause_server(bool pause) { server__pause(&server, pause); }

static void test_each_phase_has_its_deadline(void **state) {
    (void)state;
    struct client c;
    struct sample p;
    struct chn_options options = options_at(54460);
    options.ack_ms = options.header_ms = options.query_ms = options.hello_ms = 300;
    client__open(&c, &options);
    pause_server(true);
    assert_int_equal(client__connect(&c), CHN_ERR_TIMEOUT);
    assert_non_null(strstr(c.err.msg, "saying hello"));
    pause_server(false);
    client__close(&c);

    options.hello_ms = 10000;
    options.header_ms = options.query_ms = 10000;
    client__open(&c, &options);
    assert_int_equal(client__connect(&c), 0);
    make_table(&c, "Memory");
    make_sample(&p, 10);
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    pause_server(true);
    assert_int_equal(client__insert(&c, &p.insert), CHN_UNKNOWN);
    assert_int_equal(c.err.code, CHN_ERR_TIMEOUT);
    assert_non_null(strstr(c.err.msg, "acknowledgement"));
    pause_server(false);
    client__close(&c);

    options.header_ms = options.query_ms = 300;
    client__open(&c, &options);
    assert_int_equal(client__connect(&c), 0);
    pause_server(true);
    assert_int_equal(client__insert(&c, &p.insert), CHN_NOT_SENT);
    assert_int_equal(c.err.code, CHN_ERR_TIMEOUT);
    pause_server(false);
    assert_int_equal(client__connect(&c), 0);
    pause_server(true);
    assert_int_equal(client__sql(&c, "SELECT 1", CHN_NO_COMPRESSION), CHN_ERR_TIMEOUT);
    pause_server(false);
    assert_int_equal(client__connect(&c), 0);
    pause_server(true);
    assert_int_equal(client__ping(&c), CHN_ERR_TIMEOUT);
    pause_server(false);
    free_sample(&p);
    client__close(&c);
}

static void test_a_wrong_password_is_said(void **state) {
    (void)state;
    struct client c;
    struct chn_options options = options_at(54460);
    options.password = "wrong";
    client__open(&c, &options);
    assert_int_equal(client__connect(&c), CHN_ERR_EXCEPTION);
    assert_int_equal(c.exception.code, server.embedded ? 516 : 193);
    assert_true(chn_conn__is_closed(c.conn));
    client__close(&c);
}

static void test_a_wrong_port_is_said(void **state) {
    (void)state;
    struct client c;
    struct chn_options options = options_at(54460);
    options.port = server.http_port;
    options.hello_ms = 500; /* Its HTTP server waits for the rest of what it takes for a request. */
    client__open(&c, &options);
    int code = client__connect(&c);
    assert_true(code == CHN_ERR_PROTOCOL || code == CHN_ERR_TIMEOUT);
    assert_non_null(strstr(c.err.msg, "native protocol"));
    client__close(&c);
}

/* --- Queries --- */

static void test_results_stream_and_can_be_canceled(void **state) {
    (void)state;
    for (enum chn_compression z = CHN_NO_COMPRESSION; z <= CHN_LZ4; z++) {
        struct client c;
        open_at(&c, 54460);
        assert_int_equal(
            client__sql(&c, "SELECT number, toString(number) FROM system.numbers LIMIT 500000", z),
            0);
        assert_int_equal(c.query.n_rows, 500000);
        assert_true(c.n_blocks > 1);
        assert_int_equal(c.query.profile.rows, 500000);
        assert_true(c.query.progress.read_rows >= 500000);
        c.cancel_after = 2;
        assert_int_equal(client__sql(&c, "SELECT number FROM system.numbers", z), CHN_ERR_CANCELED);
        c.cancel_after = 0;
        client__run(&c, "SELECT 'still here'");
        assert_string_equal(c.text, "still here\n");
        client__close(&c);
    }
}

static void test_an_exception_leaves_a_query_connection_usable(void **state) {
    (void)state;
    struct client c;
    open_at(&c, 54460);
    assert_int_equal(client__sql(&c, "SELECT no_such_column", CHN_LZ4), CHN_ERR_EXCEPTION);
    assert_int_equal(c.exception.code, 47);
    assert_int_equal(
        client__sql(&c, "SELECT throwIf(number = 100000) FROM system.numbers", CHN_LZ4),
        CHN_ERR_EXCEPTION);
    client__run(&c, "SELECT 3");
    assert_string_equal(c.text, "3\n");
    client__close(&c);
}

static void test_parameters_come_as_they_are(void **state) {
    (void)state;
    struct client c;
    open_at(&c, 54460);
    const struct chn_parameter parameters[] = {
        {.name = "n", .value = "41"},
        {.name = "s", .value = "it's a \\ tab\there\nand \"there\""}};
    const struct chn_query query = {
        .sql = "SELECT {n:UInt64} + 1, {s:String}", .parameters = parameters, .n_parameters = 2};
    if (!server.embedded) {
        assert_int_equal(chn_conn__query(c.conn, &query, client__on_query, &c), CHN_ERR_ARGUMENT);
    } else {
        if (client__query(&c, &query) != 0) fail_msg("%s", c.err.msg);
        assert_string_equal(c.text, "42\tit's a \\ tab\there\nand \"there\"\n");
    }
    client__close(&c);
}

static void test_settings_and_query_id_arrive(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    struct client c;
    open_at(&c, 54429);
    const struct chn_setting settings[] = {{"max_threads", "3", 1},
                                           {"no_such_setting_here", "1", 0}};
    const struct chn_query query = {.sql = "SELECT getSetting('max_threads'), queryID()",
                                    .query_id = "ours",
                                    .settings = settings,
                                    .n_settings = 2};
    if (client__query(&c, &query) != 0) fail_msg("%s", c.err.msg);
    assert_string_equal(c.text, "3\tours\n");
    const struct chn_setting unknown = {"no_such_setting_here", "1", 1};
    assert_int_equal(
        client__query(
            &c, &(struct chn_query){.sql = "SELECT 1", .settings = &unknown, .n_settings = 1}),
        CHN_ERR_EXCEPTION);
    assert_int_equal(c.exception.code, 115);
    client__close(&c);
}

static void test_one_request_at_a_time(void **state) {
    (void)state;
    struct client c;
    open_at(&c, 54460);
    assert_int_equal(
        chn_conn__query(c.conn, &(struct chn_query){.sql = "SELECT 1"}, client__on_query, &c), 0);
    assert_int_equal(chn_conn__ping(c.conn, NULL, NULL), CHN_ERR_BUSY);
    assert_int_equal(chn_conn__connect(c.conn, NULL, NULL), CHN_ERR_BUSY);
    client__wait(&c);
    assert_int_equal(c.err.code, 0);
    client__close(&c);
}

/* --- The server goes away; these come last, as the old one does not come back --- */

struct keeper_log {
    unsigned n_up, n_down;
};

static void on_keeper(struct chn_keeper *keeper, void *data, bool up, const struct chn_err *err) {
    struct keeper_log *log = data;
    (void)keeper;
    assert_true(up == (err == NULL));
    log->n_up += up;
    log->n_down += !up;
}

static void on_keeper_closed(void *data) { *(bool *)data = true; }

static void test_a_keeper_connects_again(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    uv_loop_t loop;
    struct chn_err err = {0};
    struct keeper_log log = {0};
    struct chn_options options = options_at(54460);
    bool closed = false;
    uv_loop_init(&loop);
    struct chn_keeper *k =
        chn_keeper__new(&loop, &options, &(struct chn_backoff){.base_ms = 20, .cap_ms = 200},
                        on_keeper, &log, &err);
    assert_non_null(k);
    while (log.n_up == 0) uv_run(&loop, UV_RUN_ONCE);
    kill(server__engine_pid(&server), SIGKILL);
    while (log.n_up < 2) uv_run(&loop, UV_RUN_ONCE);
    assert_true(log.n_down >= 1);
    assert_true(chn_conn__is_ready(chn_keeper__conn(k)));
    chn_keeper__close(k, on_keeper_closed, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_a_server_killed_in_an_insert_leaves_it_unknown(void **state) {
    (void)state;
    struct client c;
    struct sample p;
    open_at(&c, 54460);
    make_table(&c, "Memory");
    make_sample(&p, 200000);
    assert_int_equal(client__insert(&c, &p.insert), CHN_OK);
    pid_t engine = server__engine_pid(&server);
    pause_server(true);
    c.done = false;
    assert_int_equal(chn_conn__insert(c.conn, &p.insert, client__on_insert, &c), 0);
    for (int i = 0; i < 5; i++) uv_run(&c.loop, UV_RUN_NOWAIT);
    assert_false(c.done);
    kill(engine, SIGKILL);
    client__wait(&c);
    assert_int_equal(c.outcome, CHN_UNKNOWN);
    assert_int_equal(c.err.code, CHN_ERR_LOST);
    free_sample(&p);
    client__close(&c);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    const char *why = argc > 1 && strcmp(argv[1], "old") == 0 ? server__start_old(&server)
                                                              : server__start_embedded(&server);
    if (why != NULL) {
        printf("skipped: %s\n", why);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_at_every_revision),
        cmocka_unit_test(test_every_type_there_and_back),
        cmocka_unit_test(test_a_token_is_stored_once),
        cmocka_unit_test(test_an_exception_rejects_and_a_new_connection_works),
        cmocka_unit_test(test_columns_are_compared_before_rows_are_sent),
        cmocka_unit_test(test_a_large_compressed_block_is_packed_off_the_loop),
        cmocka_unit_test(test_each_phase_has_its_deadline),
        cmocka_unit_test(test_a_wrong_password_is_said),
        cmocka_unit_test(test_a_wrong_port_is_said),
        cmocka_unit_test(test_results_stream_and_can_be_canceled),
        cmocka_unit_test(test_an_exception_leaves_a_query_connection_usable),
        cmocka_unit_test(test_parameters_come_as_they_are),
        cmocka_unit_test(test_settings_and_query_id_arrive),
        cmocka_unit_test(test_one_request_at_a_time),
        cmocka_unit_test(test_a_keeper_connects_again),
        cmocka_unit_test(test_a_server_killed_in_an_insert_leaves_it_unknown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server__stop(&server);
    return failed;
}
