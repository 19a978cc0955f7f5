/* Prices from pages to rows, and from pages through the tape to events: one page has a stash for
 * each way in which notes went wrong elsewhere. Inputs are our own. */
#include "../golden/golden.h"
#include "souk/psapi_versions.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include "souk/tape.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void load(const char *file, struct buf *body) {
    char path[128];
    snprintf(path, sizeof path, "tests/data/prices/%s", file);
    assert_true(golden__load("SOUK_SOURCE", path, body));
}

static struct page page_of(const struct stream_spec *stream, const struct buf *body, int64_t wall_ns) {
    return (struct page){.stream = stream, .cursor_from = SLICE_LIT("1-1-1-1-1"), .cursor_to = SLICE_LIT("2-2-2-2-2"),
                         .received_wall_ns = wall_ns, .lsn = 7, .http_status = 200, .body = buf__slice(body)};
}

static const struct stream_spec pc = {.key = "psapi/pc", .realm = "pc"};

static void decode(const struct buf *body, struct rows *rows) {
    const struct page page = page_of(&pc, body, INT64_C(1800000000) * NS_PER_S);
    struct err e = {0};
    *rows = (struct rows){0};
    if (source__find("psapi")->decode(&page, &(struct decode_context){0}, rows, &e) != 0) fail_msg("%s", e.msg);
}

struct expected {
    const char *tab;
    const char *amount, *currency, *source, *none; /* amount in chaos and so on, times 10^6. */
    int64_t total_e6, lot_e6;
};
#define M 1000000
#define GOOD(tab, total, currency, source) {tab, #total, currency, source, "", (int64_t)(total) * M, M}
#define NONE(tab, why) {tab, "0", "", "", why, 0, 0}

static const struct expected expected[] = {
    GOOD("suffixes", 777, "chaos", "note"),
    GOOD("suffixes", 2, "divine", "note"),
    GOOD("suffixes", 5, "chaos", "note"),
    GOOD("~price 40 chaos", 40, "chaos", "stash_name"), /* ~c/o 9 chaos */
    GOOD("~price 40 chaos", 40, "chaos", "stash_name"), /* ~price 9 */
    GOOD("~price 40 chaos", 40, "chaos", "stash_name"), /* ~price  chaos */
    GOOD("~price 40 chaos", 40, "chaos", "stash_name"), /* no note */
    NONE("~price 40 chaos", "skip"),
    GOOD("~price 40 chaos", 3, "chaos", "note"),
    GOOD("~price 40 chaos", 40, "chaos", "stash_name"), /* free text */
    GOOD("~price 40 chaos", 6, "alch", "forum_note"),   /* behind a note that cannot be read */
    NONE("shop 7", "unreadable"),
    NONE("shop 7", "unset"),
    NONE("shop 7", "unset"),
    NONE("shop 7", "no_note"),
    NONE("lots", "ratio"), /* a helmet at 22/10 */
    {"lots", "0.057143", "chaos", "note", "", 2 * M, 35 * M},
    {"~b/o 5000/2 chaos", "2500", "chaos", "stash_name", "", (int64_t)5000 * M, 2 * M},
    {"~b/o 5000/2 chaos", "2500", "chaos", "stash_name", "", (int64_t)5000 * M, 2 * M}, /* a stack of one */
    NONE("~b/o 5000/2 chaos", "ratio"),
    GOOD("~b/o 5000/2 chaos", 1999, "chaos", "note"),
    GOOD("words", 3, "lesser-eldritch-ember", "note"),
    GOOD("words", 3, "lesser-eldritch-ember", "note"),
    GOOD("words", 3, "lesser-eldritch-ichor", "note"),
    GOOD("words", 3, "lesser-eldritch-ichor", "note"),
    GOOD("words", 3, "greater-eldritch-ember", "note"),
    GOOD("words", 3, "greater-eldritch-ember", "note"),
    GOOD("words", 3, "greater-eldritch-ichor", "note"),
    GOOD("words", 3, "greater-eldritch-ichor", "note"),
    GOOD("words", 3, "grand-eldritch-ember", "note"),
    GOOD("words", 3, "grand-eldritch-ember", "note"),
    GOOD("words", 3, "grand-eldritch-ichor", "note"),
    GOOD("words", 3, "grand-eldritch-ichor", "note"),
    GOOD("words", 3, "exceptional-eldritch-ember", "note"),
    GOOD("words", 3, "exceptional-eldritch-ember", "note"),
    GOOD("words", 3, "exceptional-eldritch-ichor", "note"),
    GOOD("words", 3, "exceptional-eldritch-ichor", "note"),
    NONE("words", "unknown_word"), /* facetors */
    GOOD("short words", 5, "exalted", "note"),
    GOOD("short words", 5, "exalted", "note"),
    GOOD("short words", 5, "exalted", "note"),
    NONE("short words", "unknown_word"),
};
#define N_EXPECTED (sizeof expected / sizeof *expected)

static void assert_text(const struct batch *b, const char *column, size_t row, const char *want) {
    struct slice got = golden__str(b, column, row);
    if (!slice__eq(got, slice__str(want))) fail_msg("row %zu: %s is %.*s, not %s", row, column, SLICE_FMT(got), want);
}

static void test_each_row_has_its_price_or_the_reason_why_not(void **state) {
    (void)state;
    struct buf body;
    struct rows rows;
    load("page.json", &body);
    decode(&body, &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "other");
    assert_int_equal(b->n_rows, N_EXPECTED);
    uint32_t n_by_reason[PRICE__N] = {0};
    for (size_t i = 0; i < N_EXPECTED; i++) {
        const struct expected *x = &expected[i];
        char amount[32];
        int64_t e6 = golden__int(b, "price_amount", i);
        snprintf(amount, sizeof amount, e6 % M == 0 ? "%lld" : "%lld.%06lld", (long long)(e6 / M), (long long)(e6 % M));
        assert_text(b, "stash_name", i, x->tab);
        assert_text(b, "price_currency", i, x->currency);
        assert_text(b, "price_source", i, x->source);
        assert_text(b, "price_none", i, x->none);
        assert_string_equal(amount, x->amount);
        assert_int_equal(golden__int(b, "price_total", i), x->total_e6);
        assert_int_equal(golden__int(b, "price_lot", i), x->lot_e6);
        for (unsigned v = 0; v < PRICE__N; v++)
            n_by_reason[v] += strcmp(quality__price_text((enum price_verdict)v), x->none) == 0;
    }
    for (unsigned v = 0; v < PRICE__N; v++) assert_int_equal(rows.n_unpriced[v], n_by_reason[v]);
    /* A note that is no price is no fault. */
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    assert_int_equal(rows.n_fields_lost, 0);
    rows__fini(&rows);
    buf__fini(&body);
}

struct told {
    struct tape *tape;
    size_t n_listed, n_repriced, n_other;
};

static void on_event(void *ctx, const struct tape_event *event) {
    struct told *t = ctx;
    t->n_listed += event->kind == TAPE_LISTED;
    t->n_repriced += event->kind == TAPE_REPRICED;
    t->n_other += event->kind != TAPE_LISTED && event->kind != TAPE_REPRICED;
    assert_true(slice__eq(event->currency, SLICE_LIT("chaos")));
}

static int on_version(void *ctx, const struct tape_version *v) {
    struct told *t = ctx;
    struct err e = {0};
    if (tape__version(t->tape, v, on_event, t, &e) != 0) fail_msg("%s", e.msg);
    return 0;
}

static void tell(struct told *t, const char *file, int64_t wall_s) {
    struct buf body;
    struct err e = {0};
    struct psapi_versions_count count = {0};
    load(file, &body);
    const struct page page = page_of(&pc, &body, wall_s * NS_PER_S);
    t->n_listed = t->n_repriced = t->n_other = 0;
    assert_int_equal(psapi_versions__each(&page, true, on_version, t, &count, &e), 0);
    assert_int_equal(count.n_items, 2);
    buf__fini(&body);
}

static void test_words_behind_a_price_are_no_change_of_it(void **state) {
    (void)state;
    struct told t = {0};
    assert_int_equal(tape__new(&t.tape, &(struct tape_options){.recent_max = 64, .markets_max = 64}), 0);
    tell(&t, "renamed-1.json", 1800000000);
    assert_int_equal(t.n_listed, 2);
    /* The tab is remove-only now, and a note has words behind its price. */
    tell(&t, "renamed-2.json", 1800000060);
    assert_int_equal(t.n_listed + t.n_repriced + t.n_other, 0);
    /* Negotiable now, in the tab alone: how it is asked is a change. */
    tell(&t, "renamed-3.json", 1800000120);
    assert_int_equal(t.n_repriced, 1);
    assert_int_equal(t.n_listed + t.n_other, 0);
    tape__free(t.tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_row_has_its_price_or_the_reason_why_not),
        cmocka_unit_test(test_words_behind_a_price_are_no_change_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
