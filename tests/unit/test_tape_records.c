/* Records through the tape: which count, what the rows say of their place, what is only remembered. */
#include "souk/tape_records.h"
#include "souk/listing_row.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ID(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define T0 (INT64_C(1700000000) * NS_PER_S)

struct fixture {
    struct tape_records t;
    struct followed followed;
    struct buf body, record;
    struct rows rows; /* Of the last record. */
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    *state = f;
    f->body = buf__init(1 << 20);
    f->record = buf__init(1 << 20);
    return tape__new(&f->t.tape, &options) == 0 ? followed__set(&f->followed, "Heist\n") : -1;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    rows__fini(&f->rows);
    tape__free(f->t.tape);
    followed__fini(&f->followed);
    buf__fini(&f->body);
    buf__fini(&f->record);
    free(f);
    return 0;
}

/* Takes a page of @source, or a request that brought none, from the cursor @from. @return the number of rows. */
static size_t take_from(struct fixture *f, const char *from, const char *source, const char *stream, uint64_t lsn,
                        const char *stashes, const char *status) {
    char body[8192];
    int n = snprintf(body, sizeof body, "{\"next_change_id\":\"1-2-3-4-5\",\"stashes\":[%s]}", stashes == NULL ? "" : stashes);
    struct buf packed = buf__init(1 << 20);
    struct request_facts facts = {.source = slice__str(source), .stream = slice__str(stream), .realm = SLICE_LIT("pc"),
                                        .cursor_from = slice__str(from), .cursor_to = SLICE_LIT("1-1-1-1-1"), .status = slice__str(status),
                                        .received_wall_ns = T0 + (int64_t)lsn * NS_PER_S, .retry_after_s = -1};
    if (strcmp(status, "set") == 0) {
        facts.method = SLICE_LIT(JOURNAL_CURSOR_METHOD);
        facts.flags = REQUEST_ADVANCES;
    }
    buf__clear(&f->record);
    journal__encode(&facts, &f->record);
    if (stashes != NULL) {
        assert_int_equal(journal__compress(slice__of(body, (size_t)n), &packed), 0);
        buf__append_slice(&f->record, buf__slice(&packed));
    }
    buf__fini(&packed);
    const struct spool_record rec = {.lsn = lsn, .next_lsn = lsn + 1, .type = stashes == NULL ? SPOOL_REQUEST : SPOOL_PAGE,
                                     .wall_ns = facts.received_wall_ns, .payload = buf__slice(&f->record)};
    rows__fini(&f->rows);
    assert_int_equal(tape_records__take(&f->t, &rec, &f->followed, &f->body, &f->rows), 0);
    return rows__count(&f->rows);
}

static size_t take_of(struct fixture *f, const char *source, const char *stream, uint64_t lsn, const char *stashes, const char *status) {
    return take_from(f, "1-1-1-1-1", source, stream, lsn, stashes, status);
}

static size_t take(struct fixture *f, const char *source, uint64_t lsn, const char *stashes, const char *status) {
    return take_of(f, source, "pc", lsn, stashes, status);
}

#define STASH(league, items)                                                                                           \
    "{\"id\":\"" ID("ab") "\",\"public\":true,\"accountName\":\"ann\",\"league\":\"" league "\",\"stash\":\"t\",\"items\":[" items "]}"
#define ITEM(c) "{\"id\":\"" ID(c) "\",\"typeLine\":\"Sword\",\"frameType\":0,\"note\":\"~price 1 chaos\"}"

static uint32_t ord_of(const struct batch *b, size_t row) {
    uint32_t v;
    memcpy(&v, b->columns[b->table->n_columns - 1].data.base + row * sizeof v, sizeof v);
    return v;
}

static void test_a_page_makes_an_event_a_change(void **state) {
    struct fixture *f = *state;
    assert_int_equal(take(f, "psapi", 10, STASH("Heist", ITEM("01") "," ITEM("02")), "ok"), 2);
    assert_int_equal(f->rows.n, 1);
    assert_string_equal(f->rows.batches[0].part, "Heist");
    assert_ptr_equal(f->rows.batches[0].batch.table, &table_silver_listing_events);
    assert_int_equal(ord_of(&f->rows.batches[0].batch, 0), 0);
    assert_int_equal(ord_of(&f->rows.batches[0].batch, 1), 1);
    assert_int_equal(take(f, "psapi", 11, STASH("Heist", ITEM("01") "," ITEM("02")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 12, STASH("Heist", ITEM("02")), "ok"), 1);
    assert_int_equal(f->t.n_told[TAPE_LISTED], 2);
    assert_int_equal(f->t.n_told[TAPE_DELISTED], 1);
    assert_int_equal(f->t.n_pages, 3);
    assert_int_equal(take(f, "psapi", 13, STASH("Private (PL1)", ITEM("02")), "ok"), 0); /* No change of the item. */
    assert_int_equal(take(f, "psapi", 14, STASH("Private (PL1)", ITEM("02") "," ITEM("03")), "ok"), 1);
    assert_string_equal(f->rows.batches[0].part, "other");
}

static void test_other_records_make_none(void **state) {
    struct fixture *f = *state;
    assert_int_equal(take(f, "poe_ninja", 10, STASH("Heist", ITEM("01")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 11, NULL, "error"), 0);
    assert_int_equal(take(f, "psapi", 12, NULL, "empty"), 0);
    assert_int_equal(f->t.n_pages, 0);
    const struct spool_record seal = {.lsn = 13, .next_lsn = 14, .type = SPOOL_SEAL};
    struct rows rows;
    assert_int_equal(tape_records__take(&f->t, &seal, &f->followed, &f->body, &rows), 0);
    assert_int_equal(rows.n, 0);
}

/* A version of yesterday is no news: nothing was sold, and what is there now is not listed again. */
static void test_a_backfill_tells_nothing(void **state) {
    struct fixture *f = *state;
    struct tape_status st;
    assert_int_equal(take(f, "psapi", 10, STASH("Heist", ITEM("01") "," ITEM("02")), "ok"), 2);
    assert_int_equal(take_of(f, "psapi", "pc@backfill/1-1-1-1-1-2-2-2-2-2", 11, STASH("Heist", ITEM("03")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 12, STASH("Heist", ITEM("01") "," ITEM("02")), "ok"), 0);
    tape__status(f->t.tape, &st);
    assert_int_equal(st.n_versions, 2);
    /* Nor does it hide that the stream itself was silent. */
    uint64_t lsn = 100;
    for (; lsn < 3700; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
    for (int i = 0; i < 4; i++, lsn += 100) take_of(f, "psapi", "pc@backfill/1-1-1-1-1-2-2-2-2-2", lsn, NULL, "empty");
    take(f, "psapi", lsn, STASH("Heist", ITEM("02")), "ok");
    assert_false(tape__page(f->t.tape, SLICE_LIT("pc"), T0 + (int64_t)lsn * NS_PER_S, false));
}

/* @return whether a row of the last record says @removal. */
static bool says_removal(const struct fixture *f, struct slice removal) {
    const struct batch *b = &f->rows.batches[0].batch;
    for (size_t i = 0; i < b->table->n_columns; i++)
        if (strcmp(b->table->columns[i].name, "removal") == 0) {
            struct reader r = reader__of(buf__slice(&b->columns[i].data));
            return slice__eq(reader__string(&r), removal);
        }
    return false;
}

/* An hour of pages with the end met between them: removals count from then on. */
static void test_empty_pages_are_the_end_of_the_stream(void **state) {
    struct fixture *f = *state;
    uint64_t lsn = 0;
    take(f, "psapi", lsn, STASH("Heist", ITEM("01") "," ITEM("02")), "ok");
    for (; lsn < 3700; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
    assert_int_equal(take(f, "psapi", lsn, STASH("Heist", ITEM("02")), "ok"), 1);
    assert_true(says_removal(f, SLICE_LIT("sold_off"))); /* Not catching_up. */
}

/* Set back, the stream brings what the stash held before: what is not in it was not sold. */
static void test_nothing_is_sold_when_a_cursor_is_set_by_hand(void **state) {
    struct fixture *f = *state;
    uint64_t lsn = 0;
    take(f, "psapi", lsn, STASH("Heist", ITEM("01") "," ITEM("02")), "ok");
    for (; lsn < 3700; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
    assert_int_equal(take(f, "psapi", lsn++, NULL, "set"), 0);
    assert_int_equal(take(f, "psapi", lsn++, STASH("Heist", ITEM("02")), "ok"), 1);
    assert_true(says_removal(f, SLICE_LIT("catching_up")));
    for (uint64_t end = lsn + 3700; lsn < end; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
    assert_int_equal(take(f, "psapi", lsn, STASH("Heist", ITEM("03")), "ok"), 2);
    assert_true(says_removal(f, SLICE_LIT("sold_off")));
}

/* Its stashes are not known from then on: an hour of coverage later nothing that went was sold. */
static void test_a_page_that_is_lost_is_not_a_sale(void **state) {
    struct fixture *f = *state;
    static const char *const from[] = {"1-1-1-1-1", "9-9-9-9-9"}; /* Where the page before led; elsewhere. */
    for (int lost = 0; lost < 2; lost++) {
        uint64_t lsn = (uint64_t)lost * 100000;
        take(f, "psapi", lsn, STASH("Heist", ITEM("01") "," ITEM("02") "," ITEM("03")), "ok");
        for (; lsn % 100000 < 3700; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
        take_from(f, from[lost], "psapi", "pc", lsn++, "{\"id\":\"" ID("cd") "\",\"public\":false}", "ok");
        for (uint64_t end = lsn + 3700; lsn < end; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
        assert_int_equal(take(f, "psapi", lsn++, STASH("Heist", ITEM("02") "," ITEM("03")), "ok"), 1);
        assert_true(says_removal(f, lost ? SLICE_LIT("catching_up") : SLICE_LIT("sold_off")));
    }
}

static void test_a_page_that_cannot_be_decoded_is_not_a_sale(void **state) {
    struct fixture *f = *state;
    struct tape_status st;
    uint64_t lsn = 0;
    take(f, "psapi", lsn, STASH("Heist", ITEM("01") "," ITEM("02")), "ok");
    for (; lsn < 3700; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
    struct buf packed = buf__init(1 << 20);
    struct rows rows;
    const struct request_facts facts = {.source = SLICE_LIT("psapi"), .stream = SLICE_LIT("pc"), .realm = SLICE_LIT("pc"),
                                        .cursor_from = SLICE_LIT("1-1-1-1-1"), .cursor_to = SLICE_LIT("1-1-1-1-1"),
                                        .received_wall_ns = T0 + (int64_t)lsn * NS_PER_S, .retry_after_s = -1};
    buf__clear(&f->record);
    journal__encode(&facts, &f->record);
    assert_int_equal(journal__compress(SLICE_LIT("{\"stashes\":7}"), &packed), 0);
    buf__append_slice(&f->record, buf__slice(&packed));
    const struct spool_record rec = {.lsn = lsn, .next_lsn = lsn + 1, .type = SPOOL_PAGE, .payload = buf__slice(&f->record)};
    assert_int_equal(tape_records__take(&f->t, &rec, &f->followed, &f->body, &rows), ERR_MALFORMED);
    tape__status(f->t.tape, &st);
    assert_int_equal(st.n_lost, 1);
    for (uint64_t end = lsn + 3800; lsn < end; lsn += 100) take(f, "psapi", lsn, NULL, "empty");
    assert_int_equal(take(f, "psapi", lsn, STASH("Heist", ITEM("02")), "ok"), 1);
    assert_true(says_removal(f, SLICE_LIT("catching_up")));
    buf__fini(&packed);
}

/* Refused once, as in quarantine, it is neither gone nor back. */
static void test_an_item_that_is_refused_once_makes_no_event(void **state) {
    struct fixture *f = *state;
    take(f, "psapi", 10, STASH("Heist", ITEM("01") "," ITEM("02")), "ok");
    assert_int_equal(take(f, "psapi", 11, STASH("Heist", "{\"id\":\"" ID("01") "\",\"name\":7}," ITEM("02")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 12, STASH("Heist", "{\"id\":7,\"typeLine\":\"Sword\"}," ITEM("02")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 13, STASH("Heist", "null," ITEM("02")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 14, STASH("Heist", ITEM("01") "," ITEM("02")), "ok"), 0);
    assert_int_equal(f->t.count.n_refused_items, 3);
    assert_int_equal(f->t.n_told[TAPE_LISTED], 2);
}

/* Placeholders are drawn anew for each reply; the item is the same, and its owner's second listing of
 * it takes the removal back. */
static void test_veiled_placeholders_do_not_hide_a_relisting(void **state) {
    struct fixture *f = *state;
#define VEILED(c, a, b)                                                                                                \
    "{\"id\":\"" ID(c) "\",\"name\":\"Gale Knot\",\"typeLine\":\"Topaz Ring\",\"frameType\":2,\"ilvl\":81,\"explicitMods\":[{"             \
    "\"description\":\"+31 to maximum Mana\"}],\"veiled\":true,\"veiledMods\":[\"" a "\",\"" b "\"],\"note\":\"~price 7 chaos\"}"
    assert_int_equal(take(f, "psapi", 10, STASH("Heist", VEILED("0a", "Suffix02", "Prefix04")), "ok"), 1);
    assert_int_equal(take(f, "psapi", 11, STASH("Heist", VEILED("0a", "Suffix05", "Prefix01") "," ITEM("02")), "ok"), 1);
    assert_int_equal(take(f, "psapi", 12, STASH("Heist", ITEM("02")), "ok"), 1);
    assert_int_equal(f->t.n_told[TAPE_DELISTED], 1);
    assert_int_equal(take(f, "psapi", 13, STASH("Heist", VEILED("0b", "Suffix03", "Prefix02") "," ITEM("02")), "ok"), 1);
    assert_int_equal(f->t.n_told[TAPE_RELISTED], 1);
}

static void test_what_was_told_before_is_only_remembered(void **state) {
    struct fixture *f = *state;
    f->t.tell_from_lsn = 12;
    assert_int_equal(take(f, "psapi", 10, STASH("Heist", ITEM("01")), "ok"), 0);
    assert_int_equal(take(f, "psapi", 11, STASH("Heist", ITEM("01") "," ITEM("02")), "ok"), 0);
    assert_int_equal(f->t.n_untold, 2);
    assert_int_equal(take(f, "psapi", 12, STASH("Heist", ITEM("02")), "ok"), 1); /* One went; nothing is listed again. */
    assert_int_equal(f->t.n_told[TAPE_DELISTED], 1);
    assert_int_equal(f->t.n_told[TAPE_LISTED], 0);
}

static void test_a_page_that_cannot_be_decoded_is_left_out(void **state) {
    struct fixture *f = *state;
    struct rows rows;
    const struct request_facts facts = {.source = SLICE_LIT("psapi"), .stream = SLICE_LIT("pc"), .realm = SLICE_LIT("pc"),
                                        .retry_after_s = -1};
    journal__encode(&facts, &f->record);
    buf__append_str(&f->record, "not zstd");
    const struct spool_record rec = {.lsn = 5, .next_lsn = 6, .type = SPOOL_PAGE, .payload = buf__slice(&f->record)};
    assert_int_equal(tape_records__take(&f->t, &rec, &f->followed, &f->body, &rows), ERR_MALFORMED);
    assert_int_equal(rows.n, 0);
    assert_int_equal(f->t.n_undecodable, 1);
    assert_false(f->t.broken);
}

/* Half of a page was taken in: again, it would say less, and the batches sealed before would not be the same. */
static void test_a_broken_tape_takes_nothing_more(void **state) {
    struct fixture *f = *state;
    struct rows rows;
    struct tape_status st;
    take(f, "psapi", 10, STASH("Heist", ITEM("01")), "ok");
    const struct spool_record rec = {.lsn = 11, .next_lsn = 12, .type = SPOOL_PAGE, .payload = buf__slice(&f->record)};
    f->t.broken = true;
    assert_int_equal(tape_records__take(&f->t, &rec, &f->followed, &f->body, &rows), ERR_NOMEM);
    assert_int_equal(rows.n, 0);
    tape__status(f->t.tape, &st);
    assert_int_equal(st.n_versions, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_page_makes_an_event_a_change),
        TEST(test_other_records_make_none),
        TEST(test_a_backfill_tells_nothing),
        TEST(test_empty_pages_are_the_end_of_the_stream),
        TEST(test_nothing_is_sold_when_a_cursor_is_set_by_hand),
        TEST(test_a_page_that_is_lost_is_not_a_sale),
        TEST(test_a_page_that_cannot_be_decoded_is_not_a_sale),
        TEST(test_an_item_that_is_refused_once_makes_no_event),
        TEST(test_veiled_placeholders_do_not_hide_a_relisting),
        TEST(test_what_was_told_before_is_only_remembered),
        TEST(test_a_page_that_cannot_be_decoded_is_left_out),
        TEST(test_a_broken_tape_takes_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
