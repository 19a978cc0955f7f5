/* The firewall refuses what cannot be, and counts what was refused. */
#include "../lib/moved.h"
#include "souk/core/clock.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_rules(void **state) {
    (void)state;
    const int64_t now = INT64_C(1800000000) * NS_PER_S;
    int64_t claimed;
    assert_int_equal(quality__value(0), QUALITY_BAD_PRICE);
    assert_int_equal(quality__value(-1), QUALITY_BAD_PRICE);
    assert_int_equal(quality__value(NAN), QUALITY_BAD_PRICE);
    assert_int_equal(quality__value(INFINITY), QUALITY_BAD_PRICE);
    assert_int_equal(quality__value(1e-9), QUALITY_OK);
    assert_int_equal(quality__size(-0.5), QUALITY_BAD_SIZE);
    assert_int_equal(quality__size(0), QUALITY_OK);
    assert_int_equal(quality__time(0, now), QUALITY_BAD_TIME);
    assert_int_equal(quality__time(now + 86400 * NS_PER_S, now), QUALITY_BAD_TIME);
    assert_int_equal(quality__time(now - 300 * NS_PER_S, now), QUALITY_OK);
    assert_true(quality__utc(SLICE_LIT("1970-01-01T00:00:00Z"), &claimed) && claimed == 0);
    assert_true(quality__utc(SLICE_LIT("2024-02-29T23:59:60.5Z"), &claimed));
    assert_true(claimed == INT64_C(1709251200) * NS_PER_S + NS_PER_S / 2);
    assert_true(quality__utc(SLICE_LIT("2023-11-15T02:12:53.0081686Z"), &claimed));
    assert_true(claimed == INT64_C(1700014373008168600));
    static const char *const no_times[] = {"", "2023-11-15", "2023-11-15T02:12:53", "2023-11-15 02:12:53Z",
                                           "2023-13-15T02:12:53Z", "2023-00-15T02:12:53Z", "9999-11-15T02:12:53Z",
                                           "2023-11-15T24:12:53Z", "2023-11-15T02:12:53.Z", "-023-11-15T02:12:53Z",
                                           "2023-11-15T02:12:53.1Z ", "2023-11-15T02:12:53+01:00"};
    for (size_t i = 0; i < sizeof no_times / sizeof *no_times; i++)
        assert_false(quality__utc(slice__str(no_times[i]), &claimed));
    assert_int_equal(quality__book(2, 1), QUALITY_CROSSED_BOOK);
    assert_int_equal(quality__book(1, 1), QUALITY_CROSSED_BOOK);
    assert_int_equal(quality__book(0, 1), QUALITY_BAD_PRICE);
    assert_int_equal(quality__book(1, 2), QUALITY_OK);
    for (unsigned i = 0; i < QUALITY__N; i++)
        assert_int_equal(quality__find(slice__str(quality__text((enum quality_reason)i))), i);
    assert_int_equal(quality__find(SLICE_LIT("nonsense")), QUALITY__N);
}

static void add_refusal(struct rows *rows, const char *reason, const char *value) {
    const struct quarantine_row row = {
        .reason = slice__str(reason), .value = slice__str(value), .origin = {.src = "psapi"}};
    tables__quarantine_row(rows__batch(rows, &table_bronze_quarantine, SLICE_LIT("")), &row);
}

static void test_counts_come_from_the_rows(void **state) {
    (void)state;
    static const char *const names[] = {"poe_ninja", "psapi"};
    struct metrics m;
    struct quality q;
    struct rows rows = {0};
    assert_int_equal(metrics__init(&m), 0);
    assert_int_equal(quality__init(&q, &m, names, 2), 0);
    add_refusal(&rows, "bad_price", "x");
    add_refusal(&rows, "bad_price", "");
    add_refusal(&rows, "too_many", "4000");
    const struct raw_page_row page = {.origin = {.src = "psapi"}};
    tables__raw_page_row(rows__batch(&rows, &table_raw_public_stash_pages, SLICE_LIT("")), &page);
    tables__exchange_gap_row(rows__batch(&rows, &table_bronze_exchange_gaps, SLICE_LIT("")),
                             &(struct exchange_gap_row){.origin = {.src = "psapi"}});
    tables__checkpoint_row(rows__batch(&rows, &table_bronze_ingest_checkpoints, SLICE_LIT("")),
                           &(struct checkpoint_row){.origin = {.src = "psapi"}});
    for (int i = 0; i < 7; i++)
        tables__league_row(rows__batch(&rows, &table_bronze_leagues, SLICE_LIT("")),
                           &(struct league_row){.origin = {.src = "psapi"}});
    rows.n_fields_lost = 5;
    for (unsigned v = 0; v < PRICE__N; v++) rows.n_unpriced[v] = 10 + v;
    quality__count(&q, "psapi", &rows);
    for (unsigned v = PRICE_GOOD + 1; v < PRICE__N; v++) {
        assert_true(quality__price_text((enum price_verdict)v)[0] != '\0');
        assert_int_equal(q.unpriced[v]->value, 10 + v);
    }

    struct buf text = buf__init(1 << 20);
    metrics__expose(&m, &text);
    buf__append(&text, "", 1);
    static const char *const lines[] = {
        "souk_rows_quarantined_total{source=\"psapi\",reason=\"bad_price\"} 2\n",
        "souk_rows_quarantined_total{source=\"psapi\",reason=\"too_many\"} 4000\n",
        "souk_rows_quarantined_total{source=\"psapi\",reason=\"wrong_type\"} 0\n",
        "souk_rows_quarantined_total{source=\"poe_ninja\",reason=\"bad_price\"} 0\n",
        "souk_source_rows_total{source=\"psapi\"} 7\n",
        "souk_source_gaps_total{source=\"psapi\"} 1\n",
        "souk_source_fields_lost_total{source=\"psapi\"} 5\n",
        "souk_source_fields_lost_total{source=\"poe_ninja\"} 0\n",
        "souk_items_unpriced_total{reason=\"skip\"} 12\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strstr(text.base, lines[i]) == NULL) fail_msg("not exposed: %s", lines[i]);
    buf__fini(&text);
    rows__fini(&rows);
    moved__write(&m);
    metrics__fini(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_counts_come_from_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
