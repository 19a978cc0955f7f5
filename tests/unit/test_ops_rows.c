/* OPS records become rows by the names of the columns; what does not fit is quarantined with a reason. */
#include "souk/ops_rows.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static int make(const char *json, struct rows *rows) {
    struct spool_record rec = {.lsn = 4096, .next_lsn = 8192, .type = SPOOL_OPS, .wall_ns = 5 * NS_PER_S,
                               .payload = slice__str(json)};
    *rows = (struct rows){0};
    return ops_rows__make(&rec, rows);
}

static const struct batch *batch_of(const struct rows *rows, const struct table_desc *table) {
    for (size_t i = 0; i < rows->n; i++)
        if (rows->batches[i].batch.table == table) return &rows->batches[i].batch;
    return NULL;
}

/* @return the number in column @name of the first row. */
static int64_t number_in(const struct batch *b, const char *name) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        int64_t v = 0;
        if (strcmp(b->table->columns[i].name, name) != 0) continue;
        memcpy(&v, b->columns[i].data.base, b->table->columns[i].kind == COLUMN_U32 ? 4 : 8);
        return v;
    }
    fail_msg("no column %s", name);
    return 0;
}

static const char status_json[] =
    "{\"table\":\"poe_ingest_status\",\"rows\":[{\"service\":\"psapi\",\"stream\":\"pc\",\"state\":\"live\","
    "\"request_rate\":0.5,\"error_count\":3,\"updated_at\":1732200000123},{\"service\":\"psapi\"}]}";

static void test_fields_go_to_columns_of_their_names(void **state) {
    struct rows rows;
    (void)state;
    assert_int_equal(make(status_json, &rows), 0);
    const struct batch *b = batch_of(&rows, &table_poe_ingest_status);
    assert_non_null(b);
    assert_int_equal(b->n_rows, 2);
    assert_int_equal(number_in(b, "updated_at"), 1732200000123);
    assert_int_equal(number_in(b, "error_count"), 3);
    assert_int_equal(number_in(b, "stalled_since"), 0); /* Missing. */
    assert_int_equal(number_in(b, "lsn"), 4096);
    assert_memory_equal(b->columns[0].data.base, "\5psapi", 6);
    char first[33], again[33];
    batch__hash(b, first);
    rows__fini(&rows);
    assert_int_equal(make(status_json, &rows), 0);
    batch__hash(batch_of(&rows, &table_poe_ingest_status), again);
    assert_string_equal(first, again);
    rows__fini(&rows);
}

static void test_a_row_that_does_not_fit_is_quarantined_alone(void **state) {
    static const char *const bad[] = {"{\"ts\":\"today\"}", "{\"ts\":1.5}", "{\"message\":7}", "17",
                                      "{\"ts\":18446744073709551615}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char json[256];
        struct rows rows;
        snprintf(json, sizeof json, "{\"table\":\"proc_logs\",\"rows\":[%s,{\"ts\":1,\"level\":\"warn\"}]}", bad[i]);
        assert_int_equal(make(json, &rows), 0);
        assert_int_equal(batch_of(&rows, &table_bronze_quarantine)->n_rows, 1);
        assert_int_equal(batch_of(&rows, &table_proc_logs)->n_rows, 1);
        assert_int_equal(number_in(batch_of(&rows, &table_proc_logs), "ord"), 1);
        rows__fini(&rows);
    }
}

static void test_a_record_that_cannot_be_read_is_quarantined(void **state) {
    static const char *const bad[] = {"", "{", "[]", "{\"rows\":[]}", "{\"table\":\"proc_logs\"}",
                                      "{\"table\":\"of_a_later_souk\",\"rows\":[{}]}", "{\"table\":\"proc_logs\",\"rows\":{}}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rows rows;
        assert_int_equal(make(bad[i], &rows), ERR_MALFORMED);
        assert_int_equal(rows__count(&rows), 1);
        assert_non_null(batch_of(&rows, &table_bronze_quarantine));
        rows__fini(&rows);
    }
}

static void test_rows_of_one_record_are_bounded(void **state) {
    struct buf json = buf__init(1 << 20);
    struct rows rows;
    (void)state;
    buf__append_str(&json, "{\"table\":\"proc_logs\",\"rows\":[{}");
    for (int i = 0; i < OPS_ROWS_MAX; i++) buf__append_str(&json, ",{}");
    buf__append(&json, "]}", 3);
    assert_int_equal(make(json.base, &rows), ERR_MALFORMED);
    assert_null(batch_of(&rows, &table_proc_logs));
    rows__fini(&rows);
    buf__fini(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_go_to_columns_of_their_names),
        cmocka_unit_test(test_a_row_that_does_not_fit_is_quarantined_alone),
        cmocka_unit_test(test_a_record_that_cannot_be_read_is_quarantined),
        cmocka_unit_test(test_rows_of_one_record_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
