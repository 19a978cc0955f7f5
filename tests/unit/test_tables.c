/* What souk writes is what the schema says: names, types and order of the columns, and the settings
 * that the store relies on. */
#include "souk/tables.h"
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char *schema; /* All migrations. */

static int read_schema(void **state) {
    char path[512];
    (void)state;
    const char *top = getenv("SOUK_SOURCE");
    glob_t files;
    size_t n = 0, size = 1 << 20;
    snprintf(path, sizeof path, "%s/schema/migrations/*.sql", top == NULL ? "." : top);
    if (glob(path, 0, NULL, &files) != 0) return -1;
    schema = calloc(1, size);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        FILE *in = fopen(files.gl_pathv[i], "r");
        if (in == NULL) return -1;
        n += fread(schema + n, 1, size - 1 - n, in);
        fclose(in);
    }
    globfree(&files);
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

/* @return whether a later migration adds the column. */
static bool is_added(const struct column_desc *c) {
    char text[128];
    snprintf(text, sizeof text, "ADD COLUMN IF NOT EXISTS `%s` %s ", c->name, c->type);
    return strstr(schema, text) != NULL;
}

static void test_columns_are_those_of_the_schema(void **state) {
    size_t n;
    const struct table_desc *const *tables = tables__all(&n);
    (void)state;
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        const char *at = create_of(tables[i]), *end = strstr(at, "\n)\n");
        size_t n_columns = 0;
        assert_non_null(end);
        for (; (at = strchr(at, '`')) != NULL && at < end; at = strchr(at, '\n'), n_columns++) {
            while (n_columns < tables[i]->n_columns && is_added(&tables[i]->columns[n_columns])) n_columns++;
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
    tables__exchange_row(rows__batch(&rows, &table_bronze_exchange_events, SLICE_LIT("other")),
                         &(struct exchange_row){.origin = origin});
    tables__exchange_gap_row(rows__batch(&rows, &table_bronze_exchange_gaps, (struct slice){0}),
                             &(struct exchange_gap_row){.origin = origin});
    tables__league_row(rows__batch(&rows, &table_bronze_leagues, (struct slice){0}),
                       &(struct league_row){.origin = origin});
    tables__enrichment_row(rows__batch(&rows, &table_bronze_enrichment, (struct slice){0}),
                           &(struct enrichment_row){.origin = origin});
    tables__account_stash_row(
        rows__batch(&rows, &table_bronze_account_stash_snapshot, SLICE_LIT("Standard")),
        &(struct account_stash_row){.origin = origin});
    tables__scope_audit_row(rows__batch(&rows, &table_ops_scope_audit, (struct slice){0}),
                            &(struct scope_audit_row){.origin = origin});
    tables__trade_metadata_row(rows__batch(&rows, &table_bronze_trade_metadata, SLICE_LIT("other")),
                               &(struct trade_metadata_row){.origin = origin});
    assert_int_equal(rows__count(&rows), 11);
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
