/*
 * Types against real servers: `test_chn_types embedded` and `test_chn_types old`. Random types with
 * random values go in, and what the server prints, what the library prints of what it reads, and
 * what was drawn must be the same. Exits 77 (skipped) where there is no server.
 */
#include "client.h"
#include "random_types.h"
#include "servers.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct server server;

static void open_at(struct client *c, uint32_t revision) {
    struct chn_options options = {.port = server.port, .revision = revision};
    client__open(c, &options);
    if (client__connect(c) != 0) fail_msg("%s", c->err.msg);
}

static void open_client(struct client *c) { open_at(c, CHN_REVISION_DEFAULT); }

/* Statements that old servers need no settings for, and new ones do. */
static void run(struct client *c, const char *sql) {
    const struct chn_setting settings[] = {{"allow_suspicious_low_cardinality_types", "1", 0},
                                           {"allow_suspicious_types_in_order_by", "1", 0}};
    const struct chn_query query = {.sql = sql, .settings = settings, .n_settings = 2};
    if (client__query(c, &query) != 0) fail_msg("%s: %s", sql, c->err.msg);
}

static bool is_full(void) { return getenv("SOUK_FULL") != NULL; }

/* --- Random types --- */

enum { COLUMNS = 6, ROWS = 40 };

struct table {
    uint64_t seed;
    struct script types[COLUMNS], texts[COLUMNS][ROWS];
    struct chn_builder *builders[COLUMNS + 1];
    struct chn_column columns[COLUMNS + 1];
    size_t n_rows; /* Compared so far. */
};

static void fail_at(const struct table *t, size_t column, size_t row, const char *who,
                    const char *text) {
    fail_msg("seed %llu, %s, row %zu: %s has %s, drawn was %s", (unsigned long long)t->seed,
             t->types[column].bytes, row, who, text, t->texts[column][row].bytes);
}

static void draw_table(struct draw *d, struct table *t) {
    struct chn_err err;
    *t = (struct table){.seed = d->seed};
    t->builders[COLUMNS] = chn_builder__new("n", "UInt32", 1 << 20, &err);
    for (size_t i = 0; i < ROWS; i++) chn_builder__u64(t->builders[COLUMNS], i);
    for (size_t k = 0; k < COLUMNS; k++) {
        char name[8];
        snprintf(name, sizeof name, "c%zu", k);
        draw__type(d, 3, &t->types[k]);
        t->builders[k] = chn_builder__new(name, t->types[k].bytes, 4 << 20, &err);
        if (t->builders[k] == NULL) fail_msg("%s", err.msg);
        struct chn_type *type = chn_type__parse(t->types[k].bytes, t->types[k].n, &err);
        for (size_t i = 0; i < ROWS; i++) draw__value(d, t->builders[k], type, &t->texts[k][i]);
        chn_type__free(type);
    }
    for (size_t k = 0; k <= COLUMNS; k++)
        assert_int_equal(chn_builder__column(t->builders[k], &t->columns[k]), 0);
}

static void make_table(struct client *c, const struct table *t) {
    static char sql[COLUMNS * sizeof t->types[0]];
    int n = snprintf(sql, sizeof sql, "CREATE TABLE random (n UInt32");
    for (size_t k = 0; k < COLUMNS; k++)
        n += snprintf(sql + n, sizeof sql - (size_t)n, ", c%zu %s", k, t->types[k].bytes);
    snprintf(sql + n, sizeof sql - (size_t)n, ") ENGINE = %s",
             server.embedded ? "MergeTree ORDER BY n SETTINGS ratio_of_defaults_for_sparse_serialization "
                               "= 0.1"
                             : "Memory");
    run(c, "DROP TABLE IF EXISTS random");
    run(c, sql);
}

/* Columns come in pairs: the value, and the server's text of it. */
static int compare_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct table *t = data;
    static char text[sizeof t->texts[0][0].bytes];
    (void)conn;
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++, t->n_rows++)
        for (size_t k = 0; k < COLUMNS; k++) {
            const struct script *drawn = &t->texts[k][t->n_rows];
            for (size_t i = 0; i < 2; i++) {
                long n = chn_view__text(chn_block__column(block, 2 * k + i), row, text, sizeof text);
                if (n != (long)drawn->n || memcmp(text, drawn->bytes, drawn->n) != 0)
                    fail_at(t, k, t->n_rows, i == 0 ? "the library" : "the server", text);
            }
        }
    return 0;
}

struct compare {
    struct table *table;
    bool done;
    struct chn_err err;
};

static int on_block(struct chn_conn *conn, void *data, const struct chn_block *block) {
    return compare_block(conn, ((struct compare *)data)->table, block);
}

static void on_query(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    struct compare *compare = data;
    (void)conn;
    compare->done = true;
    compare->err = result->err != NULL ? *result->err : (struct chn_err){0};
}

static void read_back(struct client *c, struct table *t, enum chn_compression compression) {
    char sql[512];
    struct compare compare = {.table = t};
    int n = snprintf(sql, sizeof sql, "SELECT");
    for (size_t k = 0; k < COLUMNS; k++)
        n += snprintf(sql + n, sizeof sql - (size_t)n, "%s c%zu, toString(c%zu)", k == 0 ? "" : ",",
                      k, k);
    snprintf(sql + n, sizeof sql - (size_t)n, " FROM random ORDER BY n");
    const struct chn_query query = {
        .sql = sql, .on_block = on_block, .compression = compression};
    t->n_rows = 0;
    assert_int_equal(chn_conn__query(c->conn, &query, on_query, &compare), 0);
    while (!compare.done) uv_run(&c->loop, UV_RUN_ONCE);
    if (compare.err.code != 0) {
        for (size_t k = 0; k < COLUMNS; k++) print_message("%s\n", t->types[k].bytes);
        fail_msg("seed %llu: %s", (unsigned long long)t->seed, compare.err.msg);
    }
    assert_int_equal(t->n_rows, ROWS);
}

static void test_random_types_there_and_back(void **state) {
    (void)state;
    struct client clients[2];
    struct table *t = malloc(sizeof *t);
    const char *seed = getenv("SOUK_SEED");
    struct draw d = {.seed = seed != NULL ? strtoull(seed, NULL, 10) : 1, .modern = server.embedded};
    open_at(&clients[0], CHN_REVISION_DEFAULT);
    open_at(&clients[1], CHN_REVISION_MAX);
    for (int i = 0; i < (seed != NULL ? 1 : is_full() ? 1000 : 100); i++) {
        enum chn_compression compression = i % 2 == 0 ? CHN_NO_COMPRESSION : CHN_LZ4;
        struct client *c = &clients[i / 2 % 2], *reader = &clients[i / 4 % 2];
        draw_table(&d, t);
        make_table(c, t);
        const struct chn_insert insert = {.table = "random",
                                          .columns = t->columns,
                                          .n_columns = COLUMNS + 1,
                                          .n_rows = ROWS,
                                          .compression = compression};
        if (client__insert(c, &insert) != CHN_OK)
            fail_msg("seed %llu: %s", (unsigned long long)t->seed, c->err.msg);
        read_back(reader, t, compression);
        for (size_t k = 0; k <= COLUMNS; k++) chn_builder__free(t->builders[k]);
    }
    free(t);
    for (int i = 0; i < 2; i++) client__close(&clients[i]);
}

/* --- Floats of any bits --- */

static int compare_floats(struct chn_conn *conn, void *data, const struct chn_block *block) {
    unsigned *n = data;
    (void)conn;
    for (uint64_t row = 0; row < chn_block__n_rows(block); row++, (*n)++)
        for (size_t k = 0; k + 1 < chn_block__n_columns(block); k += 2) {
            char ours[64], theirs[64];
            chn_view__text(chn_block__column(block, k), row, ours, sizeof ours);
            chn_view__text(chn_block__column(block, k + 1), row, theirs, sizeof theirs);
            assert_string_equal(ours, theirs);
        }
    return 0;
}

struct floats {
    unsigned n;
    bool done;
};

static int on_floats(struct chn_conn *conn, void *data, const struct chn_block *block) {
    return compare_floats(conn, &((struct floats *)data)->n, block);
}

static void on_floats_end(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    (void)conn;
    assert_null(result->err);
    ((struct floats *)data)->done = true;
}

static void test_floats_are_printed_as_the_server_does(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    struct client c;
    struct floats floats = {0};
    open_client(&c);
    const struct chn_query query = {
        .sql = "SELECT reinterpretAsFloat64(sipHash64(number)) AS d, toString(d), "
               "reinterpretAsFloat32(toUInt32(sipHash64(number, 1))) AS f, toString(f), "
               "exp10(number % 50 - 25) AS e, toString(e), toFloat32(number / 7) AS s, toString(s), "
               "toBFloat16(number / 3) AS b, toString(b) FROM numbers(3000)",
        .on_block = on_floats};
    assert_int_equal(chn_conn__query(c.conn, &query, on_floats_end, &floats), 0);
    while (!floats.done) uv_run(&c.loop, UV_RUN_ONCE);
    assert_int_equal(floats.n, 3000);
    client__close(&c);
}

/* --- JSON as text --- */

static void test_json_goes_as_text(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    struct client c;
    struct chn_err err;
    static const char *const documents[] = {"{\"a\":{\"b\":[1,\"x\"]}}", "{}", "{\"p\":\"1.25\"}"};
    open_client(&c);
    run(&c, "DROP TABLE IF EXISTS documents");
    run(&c, "CREATE TABLE documents (v JSON(max_dynamic_paths = 8), a Array(JSON), n UInt8) ENGINE = Memory");
    struct chn_builder *v = chn_builder__new("v", "JSON", 1 << 16, &err),
                       *a = chn_builder__new("a", "Array(JSON)", 1 << 16, &err),
                       *n = chn_builder__new("n", "UInt8", 1 << 16, &err);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(chn_builder__string(v, documents[i], strlen(documents[i])), 0);
        for (unsigned k = 0; k < i; k++)
            chn_builder__string(chn_builder__child(a, 0), documents[k], strlen(documents[k]));
        chn_builder__end(a);
        chn_builder__u64(n, i);
    }
    struct chn_column columns[3];
    chn_builder__column(v, &columns[0]);
    chn_builder__column(a, &columns[1]);
    chn_builder__column(n, &columns[2]);
    struct chn_insert insert = {
        .table = "documents", .columns = columns, .n_columns = 3, .n_rows = 3};
    if (client__insert(&c, &insert) != CHN_OK) fail_msg("%s", c.err.msg);
    run(&c, "SELECT v, toString(v.p), length(a), a FROM documents ORDER BY n");
    assert_string_equal(c.text, "{\"a\":{\"b\":[1,\"x\"]}}\t\t0\t[]\n"
                                "{}\t\t1\t[{\"a\":{\"b\":[1,\"x\"]}}]\n"
                                "{\"p\":\"1.25\"}\t1.25\t2\t[{\"a\":{\"b\":[1,\"x\"]}},{}]\n");
    /* What is no document is the server's to refuse. */
    chn_builder__reset(v);
    for (unsigned i = 0; i < 3; i++) chn_builder__string(v, "{x", 2);
    chn_builder__column(v, &columns[0]);
    assert_int_equal(client__insert(&c, &insert), CHN_REJECTED);
    assert_int_equal(c.exception.code, 117);
    /* Whoever turns the text off is told what it was for. */
    assert_int_equal(client__connect(&c), 0);
    const struct chn_setting off = {"output_format_native_write_json_as_string", "0", 1};
    const struct chn_query query = {
        .sql = "SELECT v FROM documents", .settings = &off, .n_settings = 1};
    assert_int_equal(client__query(&c, &query), CHN_ERR_TYPE);
    assert_non_null(strstr(c.err.msg, off.name));
    chn_builder__free(v);
    chn_builder__free(a);
    chn_builder__free(n);
    client__close(&c);
}

/* --- Parameters --- */

static void ask(struct client *c, const char *sql, struct chn_parameter parameter,
                const char *expected) {
    const struct chn_query query = {.sql = sql, .parameters = &parameter, .n_parameters = 1};
    if (client__query(c, &query) != 0) fail_msg("%s: %s", sql, c->err.msg);
    assert_string_equal(c->text, expected);
}

static void test_parameters_of_many_types(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    struct client c;
    open_client(&c);
    static const struct {
        const char *sql, *value, *expected;
    } scalars[] = {
        {"SELECT {p:UInt64} + 1", "18446744073709551614", "18446744073709551615\n"},
        {"SELECT {p:Int256}", "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
         "-57896044618658097711785492504343953926634992332820282019728792003956564819968\n"},
        {"SELECT {p:Date} + 1", "2024-02-28", "2024-02-29\n"},
        {"SELECT {p:DateTime64(3, 'UTC')}", "2024-01-01 00:00:00.123", "2024-01-01 00:00:00.123\n"},
        {"SELECT {p:Decimal(10, 3)}", "-1.25", "-1.250\n"},
        {"SELECT {p:Bool}", "true", "true\n"},
        {"SELECT {p:UUID}", "550e8400-e29b-41d4-a716-446655440000",
         "550e8400-e29b-41d4-a716-446655440000\n"},
        {"SELECT {p:IPv6}", "::1", "::1\n"},
        {"SELECT {p:Nullable(String)}", "\\N is not NULL here", "\\N is not NULL here\n"},
        {"SELECT {p:String}", "", "\n"},
        {"SELECT {p:String}", "'; DROP TABLE t; --", "'; DROP TABLE t; --\n"},
        {"SELECT {p:String}", "\\' OR 1 = 1", "\\' OR 1 = 1\n"},
        {"SELECT {p:LowCardinality(String)}", "ä\b\f\r\n\t\"`", "ä\b\f\r\n\t\"`\n"},
        {"SELECT {p:Identifier} FROM (SELECT 5 AS `odd name`)", "odd name", "5\n"},
    };
    for (size_t i = 0; i < sizeof scalars / sizeof scalars[0]; i++)
        ask(&c, scalars[i].sql, (struct chn_parameter){.name = "p", .value = scalars[i].value},
            scalars[i].expected);
    ask(&c, "SELECT {p:Nullable(UInt8)} IS NULL", (struct chn_parameter){.name = "p"}, "1\n");
    ask(&c, "SELECT hex({p:String})",
        (struct chn_parameter){.name = "p", .value = "a\0b", .n = 3}, "610062\n");

    /* Inside of arrays each string is quoted by itself. */
    static const char evil[] = "it's \\ a\ttab\nand\0more";
    char quoted[64], list[160];
    assert_true(chn_quote(quoted, sizeof quoted, evil, sizeof evil - 1) < sizeof quoted);
    assert_string_equal(quoted, "'it\\'s \\\\ a\\ttab\\nand\\0more'");
    snprintf(list, sizeof list, "['x',%s]", quoted);
    ask(&c, "SELECT hex({p:Array(String)}[2])",
        (struct chn_parameter){.name = "p", .value = list, .is_nested = true},
        "69742773205C2061097461620A616E64006D6F7265\n");
    snprintf(list, sizeof list, "{%s:[1,2]}", quoted);
    ask(&c, "SELECT mapValues({p:Map(String, Array(UInt8))})",
        (struct chn_parameter){.name = "p", .value = list, .is_nested = true}, "[[1,2]]\n");
    snprintf(list, sizeof list, "(7,%s)", quoted);
    ask(&c, "SELECT tupleElement({p:Tuple(UInt8, String)}, 1)",
        (struct chn_parameter){.name = "p", .value = list, .is_nested = true}, "7\n");
    client__close(&c);
}

/* --- What comes beside results --- */

struct events {
    unsigned n;
    int64_t selected_rows, inserted_rows;
    unsigned n_gauges;
    bool done, ok;
};

static void on_event(struct chn_conn *conn, void *data, const struct chn_profile_event *event) {
    struct events *events = data;
    (void)conn;
    events->n++;
    assert_true(event->name.n > 0 && event->host.n > 0 && event->time_s > 1700000000);
    if (event->name.n == 12 && memcmp(event->name.data, "SelectedRows", 12) == 0)
        events->selected_rows += event->value;
    if (event->name.n == 12 && memcmp(event->name.data, "InsertedRows", 12) == 0)
        events->inserted_rows += event->value;
    events->n_gauges += event->is_gauge;
}

static void on_events_query(struct chn_conn *conn, void *data,
                            const struct chn_query_result *result) {
    struct events *events = data;
    (void)conn;
    events->done = true;
    events->ok = result->err == NULL;
    if (result->err != NULL) return;
    assert_int_equal(result->progress.read_rows, 100000);
    assert_int_equal(result->progress.total_rows, 100000);
    assert_int_equal(result->profile.rows, 1);
}

static void on_events_insert(struct chn_conn *conn, void *data,
                             const struct chn_insert_result *result) {
    struct events *events = data;
    (void)conn;
    events->done = true;
    events->ok = result->outcome == CHN_OK;
}

static void test_profile_events_and_progress_come(void **state) {
    (void)state;
    ONLY_EMBEDDED(server);
    struct client c;
    struct events events = {0};
    open_client(&c);
    const struct chn_query query = {.sql = "SELECT sum(number) FROM numbers(100000)",
                                    .on_profile_event = on_event};
    assert_int_equal(chn_conn__query(c.conn, &query, on_events_query, &events), 0);
    while (!events.done) uv_run(&c.loop, UV_RUN_ONCE);
    assert_true(events.ok);
    assert_in_range(events.n, 10, 10000);
    assert_in_range(events.n_gauges, 1, 1000);
    assert_int_equal(events.selected_rows, 100000);

    events = (struct events){0};
    run(&c, "DROP TABLE IF EXISTS counted");
    run(&c, "CREATE TABLE counted (n UInt8) ENGINE = MergeTree ORDER BY n");
    struct chn_builder *b = chn_builder__new("n", "UInt8", 100, NULL);
    for (unsigned i = 0; i < 3; i++) chn_builder__u64(b, i);
    struct chn_column column;
    chn_builder__column(b, &column);
    const struct chn_insert insert = {.table = "counted",
                                      .columns = &column,
                                      .n_columns = 1,
                                      .n_rows = 3,
                                      .on_profile_event = on_event};
    assert_int_equal(chn_conn__insert(c.conn, &insert, on_events_insert, &events), 0);
    while (!events.done) uv_run(&c.loop, UV_RUN_ONCE);
    assert_true(events.ok);
    assert_int_equal(events.inserted_rows, 3);
    run(&c, "INSERT INTO counted SELECT number FROM numbers(7)");
    assert_int_equal(c.query.progress.wrote_rows, 7);
    assert_int_equal(c.query.progress.wrote_bytes, 7);
    assert_true(c.query.progress.elapsed_ns > 0);
    chn_builder__free(b);
    client__close(&c);
}

/* --- The example of the README --- */

static void test_the_example_runs(void **state) {
    (void)state;
    const char *example = getenv("CHN_EXAMPLE");
    ONLY_EMBEDDED(server);
    assert_non_null(example);
    char command[600], out[256] = "";
    snprintf(command, sizeof command, "'%s' 127.0.0.1 %u", example, (unsigned)server.port);
    for (int i = 0; i < 2; i++) { /* The second time its rows are known by their token. */
        FILE *f = popen(command, "r");
        assert_non_null(f);
        out[fread(out, 1, sizeof out - 1, f)] = '\0';
        assert_int_equal(pclose(f), 0);
        assert_string_equal(out, "Mageblood 180.500000 [179,178]\n");
    }
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
        cmocka_unit_test(test_random_types_there_and_back),
        cmocka_unit_test(test_floats_are_printed_as_the_server_does),
        cmocka_unit_test(test_json_goes_as_text),
        cmocka_unit_test(test_parameters_of_many_types),
        cmocka_unit_test(test_profile_events_and_progress_come),
        cmocka_unit_test(test_the_example_runs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server__stop(&server);
    return failed;
}
