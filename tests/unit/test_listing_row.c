/* An event as a row: its words, and cells in the order of the columns. */
#include "souk/core/clock.h"
#include "souk/listing_row.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct tape_event event(enum tape_kind kind, enum tape_removal removal, double p) {
    return (struct tape_event){.kind = kind, .removal = removal, .sold_probability = p};
}

static void test_a_reason_is_a_removal_and_how_sure_it_is(void **state) {
    (void)state;
    static const struct {
        enum tape_kind kind;
        enum tape_removal removal;
        double p;
        const char *reason;
    } cases[] = {
        {TAPE_DELISTED, TAPE_SOLD_NEAR, 0.85, "sold_likely"}, {TAPE_DELISTED, TAPE_SOLD_OFF, 0.35, "unknown"},
        {TAPE_DELISTED, TAPE_UNLISTED, 0, "stash_private"},   {TAPE_DELISTED, TAPE_MOVED_AWAY, 0, "moved"},
        {TAPE_DELISTED, TAPE_CATCHING_UP, 0, "unknown"},      {TAPE_DELISTED, TAPE_BULK, 0.1, "unknown"},
        {TAPE_DELISTED, TAPE_FEW, 0.35, "unknown"},
        {TAPE_DELISTED, TAPE_UNPRICED, 0, "unknown"},         {TAPE_RESTACKED, TAPE_PART, 0.5, ""},
        {TAPE_LISTED, TAPE_NOT_REMOVED, 0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tape_event e = event(cases[i].kind, cases[i].removal, cases[i].p);
        assert_string_equal(listing__reason(&e), cases[i].reason);
    }
    assert_string_equal(listing__kind(TAPE_RELISTED), "relisted");
    assert_string_equal(listing__removal(TAPE_CATCHING_UP), "catching_up");
    assert_string_equal(listing__removal(TAPE_FEW), "few");
    assert_string_equal(listing__removal(TAPE_NOT_REMOVED), "");
}

static int64_t i64_of(const struct batch *b, const char *name, size_t row) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        int64_t v;
        if (strcmp(b->table->columns[i].name, name) != 0) continue;
        memcpy(&v, b->columns[i].data.base + row * sizeof v, sizeof v);
        return v;
    }
    fail_msg("no column %s", name);
    return 0;
}

static void test_cells_are_where_their_columns_are(void **state) {
    (void)state;
    struct batch b;
    assert_int_equal(batch__init(&b, &table_silver_listing_events), 0);
    struct tape_event e = event(TAPE_DELISTED, TAPE_SOLD_NEAR, 0.85);
    e.currency = SLICE_LIT("divine");
    e.item_key = UINT64_MAX;
    e.key_version = 2;
    e.price_e6 = 1500000;
    e.price_before_e6 = 7;
    e.listed_wall_ns = 5 * NS_PER_S;
    e.from_wall_ns = 6 * NS_PER_S;
    e.to_wall_ns = 8 * NS_PER_S;
    e.stack_size = 3;
    const struct row_origin origin = {.src = "psapi", .lsn = 77, .ord = 4};
    listing__row(&b, &e, SLICE_LIT("other"), SLICE_LIT("1-2-3"), &origin);
    e.kind = TAPE_LISTED;
    e.removal = TAPE_NOT_REMOVED;
    listing__row(&b, &e, SLICE_LIT("other"), SLICE_LIT("1-2-3"), &origin);
    assert_false(batch__failed(&b));
    assert_int_equal(b.n_rows, 2);
    assert_string_equal(b.table->columns[9].name, "key_version");
    assert_int_equal(b.columns[9].data.base[0], 2);
    assert_int_equal(i64_of(&b, "ts", 0), 8000);
    assert_int_equal(i64_of(&b, "item_key", 0), -1);
    assert_int_equal(i64_of(&b, "price_amount", 0), 1500000);
    assert_int_equal(i64_of(&b, "price_before", 0), 7);
    assert_int_equal(i64_of(&b, "price_chaos", 0), 0); /* No rate is known. */
    assert_int_equal(i64_of(&b, "listing_ts", 0), 5000);
    assert_int_equal(i64_of(&b, "from_ts", 0), 6000);
    assert_int_equal(i64_of(&b, "delist_ts", 0), 8000);
    assert_int_equal(i64_of(&b, "delist_ts", 1), 0); /* It is there. */
    assert_int_equal(i64_of(&b, "lsn", 1), 77);
    assert_true(table_silver_listing_events.derived);
    batch__fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_reason_is_a_removal_and_how_sure_it_is),
                                       cmocka_unit_test(test_cells_are_where_their_columns_are)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
