/*
 * What newer revisions add, against the embedded server: columns that are laid out otherwise, packets
 * in chunks, side packets in frames. Exits 77 (skipped) where there is no server.
 */
#include "block.h"
#include "client.h"
#include "servers.h"
#include "types.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct server server;

static void open_at(struct client *c, uint32_t revision, enum chn_chunks chunks) {
    const struct chn_options options = {
        .port = server.port, .revision = revision, .chunks = chunks};
    client__open(c, &options);
    if (client__connect(c) != 0) fail_msg("%s", c->err.msg);
}

static const uint32_t revisions[] = {54460, 54464, 54465, 54470, 54477, 54478,
                                     54481, 54482, 54483, 54488};
enum { N_REVISIONS = sizeof revisions / sizeof revisions[0] };
static const enum chn_compression methods[] = {CHN_NO_COMPRESSION, CHN_LZ4, CHN_ZSTD};

/* --- Layouts --- */

static const char *const sparse_setup[] = {
    "DROP TABLE IF EXISTS sparse",
    "CREATE TABLE sparse (id UInt64, u UInt32, s String, d Date, i Int256, f FixedString(5),"
    " t Tuple(a UInt16, b String), n Nullable(Int64), m Nullable(String), e Float64)"
    " ENGINE = MergeTree ORDER BY id SETTINGS ratio_of_defaults_for_sparse_serialization = 0.5,"
    " nullable_serialization_version = 'allow_sparse',"
    " serialization_info_version = 'with_types'",
    "INSERT INTO sparse SELECT number, if(number % 97 = 5, number, 0),"
    " if(number % 89 = 88, toString(number), ''), toDate(if(number % 83 = 1, number, 0)),"
    " if(number % 79 = 0, -toInt256(number), 0), if(number % 61 = 60, 'abcde', ''),"
    " (if(number % 71 = 3, 7, 0), if(number % 67 = 66, 'tuple', '')),"
    " if(number % 59 = 7, number, NULL), if(number % 53 = 52, 'there', NULL),"
    " if(number % 500 = 499, 1.5, 0) FROM numbers(1000)",
};

static const char *const layout_queries[] = {
    "SELECT * FROM sparse ORDER BY id",
    "SELECT u, s, t FROM sparse WHERE id < 4 ORDER BY id", /* Nothing but defaults. */
    "SELECT l.x, r.s, r.y FROM (SELECT number AS x, number % 7 AS k FROM numbers(300)) AS l"
    " JOIN (SELECT number AS k, concat('text ', toString(number)) AS s, [number, number + 1] AS y"
    " FROM numbers(7)) AS r ON l.k = r.k ORDER BY l.x",
    "SELECT x, s, n, lc, m, t FROM (SELECT number AS x, toString(number) AS s,"
    " if(number % 2 = 0, NULL, number) AS n, toLowCardinality(toString(number % 3)) AS lc,"
    " map('k', number) AS m, (number, 'e') AS t, range(number % 5) AS a FROM numbers(50))"
    " ARRAY JOIN a AS z",
};
enum { N_QUERIES = sizeof layout_queries / sizeof layout_queries[0] };

struct reader {
    struct client *client;
    char *text; /* All blocks, a value a cell. */
    size_t n, capacity;
    unsigned layers; /* Bits of enum chn_layer that were seen. */
};

static unsigned layers_of(const struct chn_view *v) {
    unsigned bits = 0;
    for (unsigned i = 0; i < v->n_layers; i++) bits |= 1u << v->layers[i];
    for (uint32_t i = 0; i < v->n_children; i++) bits |= layers_of(&v->children[i]);
    return bits;
}

static int on_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct reader *r = data;
    (void)conn;
    for (size_t i = 0; i < chn_block__n_columns(block); i++)
        r->layers |= layers_of(chn_block__column(block, i));
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++)
        for (size_t i = 0; i < chn_block__n_columns(block); i++) {
            char cell[256];
            assert_true(chn_view__text(chn_block__column(block, i), row, cell, sizeof cell) >= 0);
            size_t n = strlen(cell);
            while (r->n + n + 2 > r->capacity)
                r->text = realloc(r->text, r->capacity = r->capacity * 2 + 4096);
            memcpy(r->text + r->n, cell, n);
            r->n += n;
            r->text[r->n++] = i + 1 < chn_block__n_columns(block) ? '\t' : '\n';
        }
    return 0;
}

static void on_result(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    client__on_query(conn, ((struct reader *)data)->client, result);
}

static void read_all(struct client *c, struct reader *r, const char *sql,
                     enum chn_compression method) {
    const struct chn_setting settings[] = {{"max_threads", "1", 0},
                                           {"enable_lazy_columns_replication", "1", 0}};
    const struct chn_query query = {.sql = sql,
                                    .compression = method,
                                    .settings = settings,
                                    .n_settings = 2,
                                    .on_block = on_block};
    *r = (struct reader){.client = c};
    c->done = false;
    c->n_text = 0;
    assert_int_equal(chn_conn__query(c->conn, &query, on_result, r), 0);
    client__wait(c);
    if (c->err.code != 0) fail_msg("%s: %s", sql, c->err.msg);
}

static void test_layouts_mean_the_same_at_every_revision(void **state) {
    (void)state;
    struct client c;
    struct reader plain[N_QUERIES];
    open_at(&c, 54460, CHN_CHUNKS_IF_ASKED);
    for (size_t i = 0; i < sizeof sparse_setup / sizeof sparse_setup[0]; i++)
        client__run(&c, sparse_setup[i]);
    for (int q = 0; q < N_QUERIES; q++) {
        read_all(&c, &plain[q], layout_queries[q], CHN_NO_COMPRESSION);
        assert_int_equal(plain[q].layers, 0);
        assert_true(plain[q].n > 0);
    }
    client__close(&c);
    unsigned seen = 0;
    for (int r = 0; r < N_REVISIONS; r++) {
        open_at(&c, revisions[r], CHN_CHUNKS_IF_ASKED);
        unsigned at_this = 0;
        for (int q = 0; q < N_QUERIES; q++)
            for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
                struct reader reader;
                read_all(&c, &reader, layout_queries[q], methods[m]);
                assert_int_equal(reader.n, plain[q].n);
                assert_memory_equal(reader.text, plain[q].text, plain[q].n);
                at_this |= reader.layers;
                free(reader.text);
            }
        if (revisions[r] < 54465) assert_int_equal(at_this, 0);
        else assert_true(at_this & 1u << CHN_LAYER_SPARSE);
        if (revisions[r] < 54478) assert_false(at_this & 1u << CHN_LAYER_DETACHED);
        if (revisions[r] < 54482) assert_false(at_this & 1u << CHN_LAYER_REPLICATED);
        seen |= at_this;
        client__close(&c);
    }
    print_message("layouts that the server sent: %s%s%s\n",
                  seen & 1u << CHN_LAYER_SPARSE ? "sparse " : "",
                  seen & 1u << CHN_LAYER_DETACHED ? "detached " : "",
                  seen & 1u << CHN_LAYER_REPLICATED ? "replicated" : "");
    for (int q = 0; q < N_QUERIES; q++) free(plain[q].text);
}

/* --- Chunks --- */

static void test_packets_in_chunks_carry_all_that_others_do(void **state) {
    (void)state;
    for (int r = 0; r < N_REVISIONS; r++) {
        struct client c;
        if (revisions[r] < 54470) {
            const struct chn_options options = {
                .port = server.port, .revision = revisions[r], .chunks = CHN_CHUNKS_ALWAYS};
            client__open(&c, &options);
            assert_int_equal(client__connect(&c), CHN_ERR_PROTOCOL);
            assert_non_null(strstr(c.err.msg, "chunks"));
            client__close(&c);
            continue;
        }
        open_at(&c, revisions[r], CHN_CHUNKS_IF_ASKED); /* The server leaves it open. */
        assert_false(chn_conn__server(c.conn)->chunks_in || chn_conn__server(c.conn)->chunks_out);
        client__close(&c);
        open_at(&c, revisions[r], CHN_CHUNKS_ALWAYS);
        assert_true(chn_conn__server(c.conn)->chunks_in && chn_conn__server(c.conn)->chunks_out);
        assert_int_equal(client__ping(&c), 0);
        types__there_and_back(&c, true);
        assert_int_equal(client__ping(&c), 0);
        assert_int_equal(client__sql(&c, "SELECT no_such_column", CHN_LZ4), CHN_ERR_EXCEPTION);
        for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
            const char sql[] = "SELECT number, toString(number) FROM numbers(300000)";
            if (client__sql(&c, sql, methods[m]) != 0) fail_msg("%s", c.err.msg);
            assert_int_equal(c.query.n_rows, 300000);
        }
        c.cancel_after = 2;
        assert_int_equal(client__sql(&c, "SELECT number FROM system.numbers", CHN_ZSTD),
                         CHN_ERR_CANCELED);
        c.cancel_after = 0;
        client__run(&c, "SELECT 'still here'");
        assert_string_equal(c.text, "still here\n");
        client__close(&c);
    }
}

/* --- Side packets --- */

static void test_side_packets_come_in_any_dress(void **state) {
    (void)state;
    for (int r = 0; r < N_REVISIONS; r++)
        for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
            struct client c;
            open_at(&c, revisions[r], CHN_CHUNKS_IF_ALLOWED);
            const struct chn_setting loud[] = {{"send_logs_level", "trace", 0},
                                               {"send_profile_events", "1", 0},
                                               {"input_format_defaults_for_omitted_fields", "1", 0},
                                               {"extremes", "1", 0}};
            const struct chn_query query = {
                .sql = "SELECT number % 3 AS k, count() FROM numbers(100000)"
                       " GROUP BY k WITH TOTALS ORDER BY k",
                .settings = loud,
                .n_settings = 4,
                .compression = methods[m]};
            if (client__query(&c, &query) != 0) fail_msg("%s", c.err.msg);
            assert_non_null(strstr(c.text, "0\t33334\n1\t33333\n2\t33333\n"));
            client__run(&c, "DROP TABLE IF EXISTS loud");
            client__run(&c, "CREATE TABLE loud (n UInt32, w UInt32 DEFAULT n + 1) ENGINE = Memory");
            struct chn_builder *b = chn_builder__new("n", "UInt32", 1 << 16, NULL);
            for (unsigned i = 0; i < 100; i++) chn_builder__u64(b, i);
            struct chn_column column;
            chn_builder__column(b, &column);
            const struct chn_insert insert = {.table = "loud",
                                              .columns = &column,
                                              .n_columns = 1,
                                              .n_rows = 100,
                                              .settings = loud,
                                              .n_settings = 3,
                                              .compression = methods[m],
                                              .level = methods[m] == CHN_ZSTD ? 12 : 0};
            for (int i = 0; i < 2; i++) /* The second is pipelined. */
                if (client__insert(&c, &insert) != CHN_OK) fail_msg("%s", c.err.msg);
            client__run(&c, "SELECT count(), sum(w) FROM loud");
            assert_string_equal(c.text, "200\t10100\n");
            chn_builder__free(b);
            client__close(&c);
        }
}

/* --- Deadlines --- */

static void test_the_server_is_told_the_deadline(void **state) {
    (void)state;
    struct client c;
    open_at(&c, 54460, CHN_CHUNKS_IF_ASKED);
    struct chn_query query = {.sql = "SELECT getSetting('max_execution_time')",
                              .timeout_ms = 6001};
    assert_int_equal(client__query(&c, &query), 0);
    assert_string_equal(c.text, "7\n");
    query.no_server_deadline = true;
    assert_int_equal(client__query(&c, &query), 0);
    assert_string_equal(c.text, "0\n");
    const struct chn_setting own = {"max_execution_time", "99", 0};
    query = (struct chn_query){.sql = query.sql, .settings = &own, .n_settings = 1};
    assert_int_equal(client__query(&c, &query), 0);
    assert_string_equal(c.text, "99\n");
    client__close(&c);
}

static void test_a_silent_server_is_left(void **state) {
    (void)state;
    struct client c;
    open_at(&c, 54460, CHN_CHUNKS_IF_ASKED);
    /* It speaks all the time: the limit of silence is not that of the whole. */
    const struct chn_query busy = {
        .sql = "SELECT count() FROM numbers(30) WHERE sleepEachRow(0.05) = 0",
        .silence_ms = 1000};
    if (client__query(&c, &busy) != 0) fail_msg("%s", c.err.msg);
    assert_string_equal(c.text, "30\n");
    server__pause(&server, true);
    const struct chn_query query = {.sql = "SELECT 1", .silence_ms = 200};
    assert_int_equal(client__query(&c, &query), CHN_ERR_TIMEOUT);
    assert_non_null(strstr(c.err.msg, "heard nothing"));
    server__pause(&server, false);
    client__close(&c);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const char *why = server__start_embedded(&server);
    if (why != NULL) {
        printf("skipped: %s\n", why);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts_mean_the_same_at_every_revision),
        cmocka_unit_test(test_packets_in_chunks_carry_all_that_others_do),
        cmocka_unit_test(test_side_packets_come_in_any_dress),
        cmocka_unit_test(test_the_server_is_told_the_deadline),
        cmocka_unit_test(test_a_silent_server_is_left),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server__stop(&server);
    return failed;
}
