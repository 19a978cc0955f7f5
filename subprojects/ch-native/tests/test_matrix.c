/*
 * One suite of inserts, the same over {26.x, 18.16} x {plain, TLS} x {no compression, LZ4, ZSTD}:
 * `test_chn_matrix embedded` and `test_chn_matrix old`. The embedded server has no TLS of its own: a
 * relay ends it. Exits 77 (skipped) where there is no server.
 */
#include "certs.h"
#include "client.h"
#include "relay.h"
#include "servers.h"
#include "types.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROWS = 200000 };

static struct server server;
static struct relay relay; /* In front of the embedded server. */
static char dir[] = "/tmp/chn-matrix-XXXXXX";
static struct chn_tls *tls;

static const struct {
    const char *name;
    enum chn_compression compression;
    int level;
} methods[] = {{"none", CHN_NO_COMPRESSION, 0},
               {"lz4", CHN_LZ4, 0},
               {"zstd", CHN_ZSTD, 0},
               {"zstd 7", CHN_ZSTD, 7}};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

static struct chn_options options_of(bool secure) {
    struct chn_options o = {.port = server.port, .host = "localhost"};
    if (!secure) return o;
    o.tls = tls;
    o.port = server.embedded ? relay.port : server.secure_port;
    return o;
}

static void open_client(struct client *c, bool secure) {
    struct chn_options options = options_of(secure);
    client__open(c, &options);
    if (client__connect(c) != 0) fail_msg("%s", c->err.msg);
}

struct rows {
    struct chn_builder *n, *s;
    struct chn_column columns[2];
    struct chn_insert insert;
};

static void rows__init(struct rows *r, unsigned n_rows, int method) {
    r->n = chn_builder__new("n", "UInt32", 64 << 20, NULL);
    r->s = chn_builder__new("s", "String", 64 << 20, NULL);
    for (unsigned i = 0; i < n_rows; i++) {
        char text[48];
        int n = snprintf(text, sizeof text, "row %u of many, hash %08x", i, i * 2654435761u);
        chn_builder__u64(r->n, i);
        chn_builder__string(r->s, text, (size_t)n);
    }
    chn_builder__column(r->n, &r->columns[0]);
    chn_builder__column(r->s, &r->columns[1]);
    r->insert = (struct chn_insert){.table = "t",
                                    .columns = r->columns,
                                    .n_columns = 2,
                                    .n_rows = n_rows,
                                    .compression = methods[method].compression,
                                    .level = methods[method].level};
}

static void rows__fini(struct rows *r) {
    chn_builder__free(r->n);
    chn_builder__free(r->s);
}

static void expect(struct client *c, const char *sql, enum chn_compression compression,
                   const char *text) {
    if (client__sql(c, sql, compression) != 0) fail_msg("%s: %s", sql, c->err.msg);
    assert_string_equal(c->text, text);
}

/* The suite. */
static void insert_all(bool secure, int method) {
    enum chn_compression compression = methods[method].compression;
    struct client c;
    struct rows small, large;
    open_client(&c, secure);
    rows__init(&small, 10, method);
    rows__init(&large, N_ROWS, method);
    client__run(&c, "DROP TABLE IF EXISTS t");
    if (server.embedded)
        client__run(&c, "CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n"
                        " SETTINGS non_replicated_deduplication_window = 100");
    else client__run(&c, "CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n");

    /* Small, alone and then with its block in one write; large. */
    const struct chn_setting tokens[] = {{"insert_deduplication_token", "a", 1},
                                         {"insert_deduplication_token", "b", 1},
                                         {"insert_deduplication_token", "c", 1}};
    struct rows *batches[] = {&small, &small, &large};
    for (int i = 0; i < 3; i++) {
        batches[i]->insert.settings = &tokens[i];
        batches[i]->insert.n_settings = 1;
        if (client__insert(&c, &batches[i]->insert) != CHN_OK) fail_msg("%s", c.err.msg);
        assert_true(c.insert.pipelined == (i > 0));
    }
    assert_true(compression == CHN_NO_COMPRESSION || c.insert.sent_bytes < N_ROWS * 30u);
    expect(&c, "SELECT count(), sum(n), sum(length(s)), min(s) FROM t", compression,
           "200020\t19999900090\t6489450\trow 0 of many, hash 00000000\n");

    /* The same token again stores nothing, where there are tokens. */
    if (server.embedded) {
        assert_int_equal(client__insert(&c, &large.insert), CHN_OK);
        expect(&c, "SELECT count() FROM t", compression, "200020\n");
    }

    /* A refusal, and a new connection. */
    small.insert.table = "no_such_table";
    assert_int_equal(client__insert(&c, &small.insert), CHN_REJECTED);
    assert_int_equal(c.exception.code, 60);
    assert_int_equal(client__connect(&c), 0);

    /* A column of another type is found before a row is sent. */
    small.insert.table = "t";
    small.columns[1].type = "FixedString(3)";
    assert_int_equal(client__insert(&c, &small.insert), CHN_NOT_SENT);
    assert_int_equal(c.err.code, CHN_ERR_SCHEMA);
    assert_int_equal(client__connect(&c), 0);

    /* All of it back. */
    const struct chn_query query = {.sql = "SELECT n, s FROM t", .compression = compression};
    assert_int_equal(client__query(&c, &query), 0);
    assert_int_equal(c.query.n_rows, 200020);
    rows__fini(&small);
    rows__fini(&large);
    client__close(&c);
}

static void test_the_suite_passes_in_every_dress(void **state) {
    (void)state;
    for (int secure = 0; secure < 2; secure++)
        for (int method = 0; method < N_METHODS; method++) {
            print_message("%s, %s\n", secure ? "TLS" : "plain", methods[method].name);
            insert_all(secure, method);
        }
}

static void test_every_type_goes_through_tls(void **state) {
    (void)state;
    struct client c;
    open_client(&c, true);
    types__there_and_back(&c, server.embedded);
    client__close(&c);
}

static void test_a_cut_is_not_taken_for_an_end(void **state) {
    (void)state;
    struct client c;
    ONLY_EMBEDDED(server); /* It needs the relay. */
    open_client(&c, true);
    c.done = false;
    relay__cut(&relay); /* While it is idle. */
    while (c.n_lost == 0) uv_run(&c.loop, UV_RUN_ONCE);
    assert_int_equal(c.err.code, CHN_ERR_LOST);
    assert_non_null(strstr(c.err.msg, "without TLS's goodbye"));
    assert_int_equal(client__connect(&c), 0);

    /* While an insert waits for its end. */
    struct rows rows;
    rows__init(&rows, 10, 0);
    client__run(&c, "DROP TABLE IF EXISTS t");
    client__run(&c, "CREATE TABLE t (n UInt32, s String) ENGINE = Memory");
    assert_int_equal(client__insert(&c, &rows.insert), CHN_OK);
    server__pause(&server, true);
    c.done = false;
    assert_int_equal(chn_conn__insert(c.conn, &rows.insert, client__on_insert, &c), 0);
    for (int i = 0; i < 5; i++) uv_run(&c.loop, UV_RUN_NOWAIT);
    relay__cut(&relay);
    client__wait(&c);
    assert_int_equal(c.outcome, CHN_UNKNOWN);
    server__pause(&server, false);
    rows__fini(&rows);
    client__close(&c);
}

static void test_a_dead_host_is_passed_over(void **state) {
    (void)state;
    struct client c;
    struct relay dead;
    char path[64];
    snprintf(path, sizeof path, "%s/expired.pem", dir);
    assert_true(relay__start(&dead, &(struct relay_options){.cert_file = path}));
    uint16_t good = options_of(true).port;
    /* One that is not there, one with a bad certificate, and the server. */
    const struct chn_host hosts[] = {
        {"127.0.0.1", 1}, {"localhost", dead.port}, {"localhost", good}};
    const struct chn_options options = {.hosts = hosts, .n_hosts = 3, .tls = tls};
    client__open(&c, &options);
    if (client__connect(&c) != 0) fail_msg("%s", c.err.msg);
    assert_int_equal(chn_conn__host(c.conn).port, good);
    client__run(&c, "SELECT 1");
    client__close(&c);

    /* Nobody is there: the last one's error is told. */
    const struct chn_options none = {.hosts = hosts, .n_hosts = 2, .tls = tls};
    client__open(&c, &none);
    assert_int_equal(client__connect(&c), CHN_ERR_TLS);
    assert_non_null(strstr(c.err.msg, "expired"));
    client__close(&c);
    relay__stop(&dead);
}

static const char *start(const char *which, const char *cert) {
    if (strcmp(which, "old") == 0) return server__start_old_secure(&server, cert);
    const char *why = server__start_embedded(&server);
    if (why != NULL) return why;
    const struct relay_options options = {.cert_file = cert, .to_port = server.port};
    return relay__start(&relay, &options) ? NULL : "no relay";
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    char cert[64], ca[64], command[64];
    if (mkdtemp(dir) == NULL) return 1;
    certs__write(dir);
    snprintf(cert, sizeof cert, "%s/good.pem", dir);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    tls = chn_tls__new(&(struct chn_tls_options){.ca_file = ca}, NULL);
    const char *why = tls == NULL ? "no TLS" : start(argc > 1 ? argv[1] : "embedded", cert);
    if (why != NULL) {
        printf("skipped: %s\n", why);
        return system(command) != 0 ? 1 : 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_suite_passes_in_every_dress),
        cmocka_unit_test(test_every_type_goes_through_tls),
        cmocka_unit_test(test_a_cut_is_not_taken_for_an_end),
        cmocka_unit_test(test_a_dead_host_is_passed_over),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    relay__stop(&relay);
    server__stop(&server);
    chn_tls__free(tls);
    return system(command) != 0 ? 1 : failed;
}
