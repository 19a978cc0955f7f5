/* What souk writes is what the schema says: names, types and order of the columns, and the settings
 * that the store relies on. */
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char *schema; /* The migrations that make tables of rows, one behind the other. */

static int read_schema(void **state) {
    static const char *const files[] = {"0001_bronze.sql", "0008_listing_events.sql"};
    const char *top = getenv("SOUK_SOURCE");
    size_t n = 0;
    (void)state;
    schema = calloc(1, 1 << 20);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/schema/migrations/%s", top == NULL ? "." : top, files[i]);
        FILE *in = fopen(path, "r");
        if (in == NULL) return -1;
        n += fread(schema + n, 1, (1 << 20) - 1 - n, in);
        fclose(in);
    }
    return n > 0 ? 0 : -1;
}
static int free_schema(void **state) {
    (void)state;
    free(schema);
    return 0;
}

static const char *create_of(const struct table_desc *t) {
    char text[128];
    snprintf(text, sizeof text, "CREATE TABLE IF NOT EXISTS %s\n", t->name);
    const char *at = strstr(schema, text);
    if (at == NULL) fail_msg("the schema has no %s", t->name);
    return at;
}

static void test_columns_are_those_of_the_schema(void **state) {
    size_t n;
    const struct table_desc *const *tables = tables__all(&n);
    (void)state;
    assert_int_equal(n, 7);
    for (size_t i = 0; i < n; i++) {
        const char *at = create_of(tables[i]), *end = strstr(at, "\n)\n");
        size_t n_columns = 0;
        assert_non_null(end);
        for (; (at = strchr(at, '`')) != NULL && at < end; at = strchr(at, '\n'), n_columns++) {
            assert_true(n_columns < tables[i]->n_columns);
            char want[128];
            const struct column_desc *c = &tables[i]->columns[n_columns];
            snprintf(want, sizeof want, "`%s` %s ", c->name, c->type);
            if (strncmp(at, want, strlen(want)) != 0)
                fail_msg("%s: %.60s is not %s", tables[i]->name, at, want);
        }
        assert_int_equal(n_columns, tables[i]->n_columns);
    }
}

static void test_tables_deduplicate_and_end_with_the_origin(void **state) {
    size_t n;
    const struct table_desc *const *tables = tables__all(&n);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        const char *at = create_of(tables[i]), *end = strstr(at + 1, "CREATE TABLE");
        const char *window = strstr(at, "non_replicated_deduplication_window = ");
        assert_true(window != NULL && (end == NULL || window < end));
        const struct column_desc *last = &tables[i]->columns[tables[i]->n_columns - 3];
        assert_string_equal(last[0].name, "src");
        assert_string_equal(last[1].name, "lsn");
        assert_string_equal(last[2].name, "ord");
        assert_int_equal(tables[i]->after_data, tables[i] == &table_bronze_ingest_checkpoints);
        if (i > 0) assert_true(strcmp(tables[i - 1]->name, tables[i]->name) < 0);
    }
}

static void test_rows_fill_every_column(void **state) {
    struct rows rows = {0};
    struct row_origin origin = {.src = "psapi", .lsn = 9, .ord = 1};
    (void)state;
    struct quarantine_row q = {.wall_ns = 5, .origin = origin};
    char *big = calloc(1, 10000);
    q.payload = slice__of(big, 10000); /* Cut, not refused. */
    tables__quarantine_row(rows__batch(&rows, &table_bronze_quarantine, (struct slice){0}), &q);
    tables__raw_page_row(rows__batch(&rows, &table_raw_public_stash_pages, (struct slice){0}),
                         &(struct raw_page_row){.origin = origin});
    tables__checkpoint_row(rows__batch(&rows, &table_bronze_ingest_checkpoints, (struct slice){0}),
                           &(struct checkpoint_row){.origin = origin});
    tables__request_row(rows__batch(&rows, &table_bronze_requests, (struct slice){0}),
                        &(struct request_row){.origin = origin});
    assert_int_equal(rows__count(&rows), 4);
    for (size_t i = 0; i < rows.n; i++) {
        assert_false(batch__failed(&rows.batches[i].batch));
        assert_true(batch__bytes(&rows.batches[i].batch) < 3 * QUARANTINE_PAYLOAD_MAX);
    }
    rows__fini(&rows);
    free(big);
}

static void test_hashes_are_stable(void **state) {
    char a[TABLES_HASH_SIZE], b[TABLES_HASH_SIZE];
    (void)state;
    assert_string_equal(tables__hash(SLICE_LIT(""), a).base, "99aa06d3014798d86001c324468d497f"); /* XXH3-128 of nothing, seed 0. */
    tables__hash(SLICE_LIT("1-1"), a);
    tables__hash(SLICE_LIT("1-2"), b);
    assert_int_equal(strlen(a), 32);
    assert_string_not_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_those_of_the_schema),
        cmocka_unit_test(test_tables_deduplicate_and_end_with_the_origin),
        cmocka_unit_test(test_rows_fill_every_column),
        cmocka_unit_test(test_hashes_are_stable),
    };
    return cmocka_run_group_tests(tests, read_schema, free_schema);
}
