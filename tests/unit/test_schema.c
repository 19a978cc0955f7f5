/* The expected schema: read from SQL, compared with what a server says, and what mends a difference. */
#include "souk/schema.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char one[] =
    "-- A comment; with a semicolon.\n"
    "CREATE TABLE IF NOT EXISTS t\n(\n"
    "  `ts` DateTime64(3, 'UTC') COMMENT 'When, or: a DEFAULT; of ) things' CODEC(DoubleDelta, ZSTD(1)),\n"
    "  `word` LowCardinality(String),\n"
    "  `pair` Tuple(a UInt8, b Array(Decimal(18, 6))) DEFAULT (1, []),\n"
    "  INDEX i word TYPE bloom_filter(0.01) GRANULARITY 4\n)\n"
    "ENGINE = MergeTree\nPARTITION BY (word, toYYYYMM(ts))\nORDER BY (ts, word)\n"
    "TTL toDateTime(ts) + INTERVAL 14 DAY\n"
    "SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1\nCOMMENT 'A table';\n";

static struct schema parse(const char *sql) {
    struct schema s = {0};
    struct err e = {0};
    if (schema__parse(&s, sql, &e) != 0) fail_msg("%s", e.msg);
    return s;
}

static void test_a_table_is_read_with_all_its_clauses(void **state) {
    (void)state;
    struct schema s = parse(one);
    assert_int_equal(s.n_tables, 1);
    const struct schema_table *t = schema__find(&s, "t");
    assert_non_null(t);
    assert_int_equal(t->n_columns, 3);
    assert_string_equal(t->columns[0].name, "ts");
    assert_string_equal(t->columns[0].type, "DateTime64(3, 'UTC')");
    assert_string_equal(t->columns[0].rest,
                        "COMMENT 'When, or: a DEFAULT; of ) things' CODEC(DoubleDelta, ZSTD(1))");
    assert_string_equal(t->columns[2].type, "Tuple(a UInt8, b Array(Decimal(18, 6)))");
    assert_string_equal(t->engine, "MergeTree");
    assert_string_equal(t->partition_key, "(word, toYYYYMM(ts))");
    assert_string_equal(t->order_key, "(ts, word)");
    assert_string_equal(t->ttl, "toDateTime(ts) + INTERVAL 14 DAY");
    assert_int_equal(t->window, 10000);
    schema__fini(&s);
}

static void test_later_statements_add_columns_and_replace_views(void **state) {
    (void)state;
    struct schema s = parse(one);
    struct err e = {0};
    assert_int_equal(schema__parse(&s, "ALTER TABLE t ADD COLUMN IF NOT EXISTS `n` UInt64 COMMENT 'x' AFTER ts, "
                                       "ADD COLUMN m String, COMMENT COLUMN `n` 'y, z';\nCREATE OR REPLACE VIEW v AS SELECT 1;\n"
                                       "CREATE OR REPLACE VIEW v AS SELECT 2;\n"
                                       "CREATE MATERIALIZED VIEW IF NOT EXISTS m TO t AS SELECT ts FROM v", &e), 0);
    assert_int_equal(s.n_tables, 3);
    assert_true(s.tables[2].is_view);
    assert_string_equal(s.tables[2].name, "m");
    assert_int_equal(s.tables[0].n_columns, 5);
    assert_string_equal(s.tables[0].columns[3].type, "UInt64");
    assert_string_equal(s.tables[0].columns[3].rest, "COMMENT 'x'");
    assert_string_equal(s.tables[0].columns[4].name, "m");
    assert_true(s.tables[1].is_view);
    assert_string_equal(s.tables[1].ddl, "CREATE OR REPLACE VIEW v AS SELECT 2");
    schema__fini(&s);
}

static void test_a_statement_that_is_not_known_is_an_error(void **state) {
    (void)state;
    static const char *const wrong[] = {"DROP TABLE t", "ALTER TABLE t ADD COLUMN a UInt8", "CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = Memory; ALTER TABLE t DROP COLUMN a", "CREATE TABLE IF NOT EXISTS t",
                                        "CREATE TABLE IF NOT EXISTS t (a UInt8", "CREATE TABLE IF NOT EXISTS t (a UInt8) WHAT"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct schema s = {0};
        struct err e = {0};
        assert_int_equal(schema__parse(&s, wrong[i], &e), ERR_SCHEMA);
        assert_true(e.msg[0] != '\0');
        schema__fini(&s);
    }
}

static void test_the_programs_own_migrations_can_be_read(void **state) {
    (void)state;
    struct schema s;
    struct err e = {0};
    size_t n;
    if (schema__expected(&s, &e) != 0) fail_msg("%s", e.msg);
    const struct table_desc *const *tables = tables__all(&n);
    for (size_t i = 0; i < n; i++) { /* What is written has a place, with the type it is written as. */
        const struct schema_table *t = schema__find(&s, tables[i]->name);
        char column[64];
        uint32_t days;
        assert_non_null(t);
        assert_true(t->window > 0);
        assert_true(expression__ttl(t->ttl, column, sizeof column, &days) && days > 0);
        assert_int_equal(t->n_columns, tables[i]->n_columns);
        for (size_t k = 0; k < t->n_columns; k++) {
            size_t at = 0; /* Added ones are the last of the table, and of a row in front of its origin. */
            while (at < t->n_columns && strcmp(t->columns[at].name, tables[i]->columns[k].name) != 0) at++;
            if (at == t->n_columns) fail_msg("%s has no column %s", t->name, tables[i]->columns[k].name);
            assert_string_equal(t->columns[at].type, tables[i]->columns[k].type);
        }
    }
    schema__fini(&s);
}

static void test_expressions_are_the_same_however_they_are_spelt(void **state) {
    (void)state;
    assert_true(expression__same("(a, `b`)", "a, b"));
    assert_true(expression__same("toDateTime(ts) + INTERVAL 14 DAY", "toDateTime(ts) + toIntervalDay(14)"));
    assert_false(expression__same("toDateTime(ts) + INTERVAL 14 DAY", "toDateTime(ts) + toIntervalDay(15)"));
    assert_false(expression__same("(a)(b)", "a)(b"));
    assert_false(expression__same("a, b", "b, a"));
    assert_true(expression__same("", ""));
    char column[64];
    uint32_t days;
    assert_true(expression__ttl("toDateTime(x) + toIntervalDay(7)", column, sizeof column, &days));
    assert_string_equal(column, "x");
    assert_int_equal(days, 7);
    assert_false(expression__ttl("toDateTime(x) + toIntervalDay(7) WHERE y", column, sizeof column, &days));
    assert_false(expression__ttl("x + toIntervalMonth(7)", column, sizeof column, &days));
    assert_false(expression__ttl("", column, sizeof column, &days));
}

/* @return the only difference between @one and @live, to be checked and freed by the caller. */
static struct schema_diff compare(const char *live_sql) {
    struct schema want = parse(one), live = parse(live_sql);
    struct schema_diff d = {0};
    struct err e = {0};
    assert_int_equal(schema__compare("db", &want, &live, &d, &e), 0);
    schema__fini(&want);
    schema__fini(&live);
    return d;
}

#define LIVE(columns, window)                                                                                          \
    "CREATE TABLE IF NOT EXISTS t (" columns ") ENGINE = MergeTree PARTITION BY (word, toYYYYMM(ts)) "                 \
    "ORDER BY (ts, word) TTL toDateTime(ts) + toIntervalDay(14) SETTINGS non_replicated_deduplication_window = " window
#define TS "ts DateTime64(3, 'UTC')"
#define PAIR "pair Tuple(a UInt8, b Array(Decimal(18,6)))"

static void test_places_and_additions_of_columns_are_no_difference(void **state) {
    (void)state;
    struct schema_diff d = compare(LIVE(PAIR ", mine String, word LowCardinality(String), " TS, "20000"));
    assert_int_equal(d.n, 0);
    schema_diff__fini(&d);
}

static void test_each_difference_is_told_with_what_mends_it(void **state) {
    (void)state;
    struct schema_diff d = compare(LIVE(TS ", " PAIR, "10000"));
    assert_int_equal(d.n, 1);
    assert_int_equal(d.items[0].kind, SCHEMA_COLUMN);
    assert_true(d.items[0].additive);
    assert_string_equal(d.items[0].statement,
                        "ALTER TABLE db.t ADD COLUMN IF NOT EXISTS `word` LowCardinality(String) AFTER `ts`");
    schema_diff__fini(&d);

    d = compare(LIVE(TS ", word String, " PAIR, "0"));
    assert_int_equal(d.n, 2);
    assert_int_equal(d.items[0].kind, SCHEMA_TYPE);
    assert_false(d.items[0].additive);
    assert_int_equal(d.items[1].kind, SCHEMA_WINDOW);
    assert_true(d.items[1].additive);
    assert_string_equal(d.items[1].statement, "ALTER TABLE db.t MODIFY SETTING non_replicated_deduplication_window = 10000");
    schema_diff__fini(&d);

    d = compare("");
    assert_int_equal(d.n, 1);
    assert_int_equal(d.items[0].kind, SCHEMA_TABLE);
    assert_non_null(strstr(d.items[0].statement, "CREATE TABLE IF NOT EXISTS db.t\n"));
    schema_diff__fini(&d);
}

static void test_a_replicated_table_is_of_the_same_family(void **state) {
    (void)state;
    struct schema_diff d = compare("CREATE TABLE IF NOT EXISTS t (" TS ", word LowCardinality(String), " PAIR ") ENGINE = "
                                   "ReplicatedMergeTree('/a', 'b') PARTITION BY (word, toYYYYMM(ts)) ORDER BY (ts, word) "
                                   "TTL toDateTime(ts) + toIntervalDay(14) SETTINGS non_replicated_deduplication_window = 1");
    assert_int_equal(d.n, 0);
    schema_diff__fini(&d);
    d = compare("CREATE TABLE IF NOT EXISTS t (" TS ") ENGINE = ReplacingMergeTree ORDER BY ts");
    assert_int_equal(d.n, 1);
    assert_int_equal(d.items[0].kind, SCHEMA_ENGINE);
    assert_non_null(strstr(d.items[0].statement, "EXCHANGE TABLES db.t_new AND db.t"));
    schema_diff__fini(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_is_read_with_all_its_clauses),
        cmocka_unit_test(test_later_statements_add_columns_and_replace_views),
        cmocka_unit_test(test_a_statement_that_is_not_known_is_an_error),
        cmocka_unit_test(test_the_programs_own_migrations_can_be_read),
        cmocka_unit_test(test_expressions_are_the_same_however_they_are_spelt),
        cmocka_unit_test(test_places_and_additions_of_columns_are_no_difference),
        cmocka_unit_test(test_each_difference_is_told_with_what_mends_it),
        cmocka_unit_test(test_a_replicated_table_is_of_the_same_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
