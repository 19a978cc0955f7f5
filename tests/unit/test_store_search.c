/* The search finds each refused row, settles every other, and costs what its header promises. */
#include "souk/store_search.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS_MAX 100000u

struct run {
    unsigned char bad[ROWS_MAX], settled[ROWS_MAX]; /* settled: 1 stored, 2 refused. */
    uint64_t n_rows, n_inserts;
};

static void settle(struct run *r, uint64_t lo, uint64_t hi, unsigned char how) {
    for (uint64_t i = lo; i < hi; i++) {
        assert_int_equal(r->settled[i], 0); /* Once. */
        r->settled[i] = how;
    }
}

static bool holds_bad(const struct run *r, uint64_t lo, uint64_t hi) { return memchr(r->bad + lo, 1, hi - lo) != NULL; }

/* @mended_after inserts nothing is refused any more; 0: never. */
static void run(struct run *r, uint64_t mended_after) {
    struct search s;
    search__begin(&s, r->n_rows);
    bool found = search__refused(&s, r->n_rows); /* The whole batch was. */
    while (!search__done(&s, r->n_rows)) {
        assert_true(r->n_inserts < 10 * r->n_rows + 100);
        if (found) {
            settle(r, s.lo, s.lo + 1, 2);
            search__skip(&s, r->n_rows);
            found = false;
            continue;
        }
        assert_true(s.lo < s.hi && s.hi <= r->n_rows);
        r->n_inserts++;
        bool refused = holds_bad(r, s.lo, s.hi) && (mended_after == 0 || r->n_inserts <= mended_after);
        if (refused) {
            found = search__refused(&s, r->n_rows);
        } else {
            settle(r, s.lo, s.hi, 1);
            found = search__stored(&s, r->n_rows);
        }
    }
}

static void check(const struct run *r) {
    for (uint64_t i = 0; i < r->n_rows; i++) assert_int_equal(r->settled[i], r->bad[i] ? 2 : 1);
}

static uint64_t log2_up(uint64_t n) {
    uint64_t k = 0;
    while ((1u << k) < n) k++;
    return k;
}

static void test_one_bad_row_costs_the_logarithm_and_one(void **state) {
    (void)state;
    struct run *r = malloc(sizeof *r);
    for (uint64_t n = 1; n <= 300; n++)
        for (uint64_t at = 0; at < n; at++) {
            *r = (struct run){.n_rows = n};
            r->bad[at] = 1;
            run(r, 0);
            check(r);
            assert_true(r->n_inserts <= log2_up(n) + 1);
        }
    free(r);
}

static void test_many_bad_rows_are_all_found(void **state) {
    (void)state;
    struct run *r = malloc(sizeof *r);
    unsigned seed = 1;
    for (int i = 0; i < 300; i++) {
        *r = (struct run){.n_rows = 1 + (unsigned)rand_r(&seed) % 2000};
        uint64_t n_bad = 1 + (unsigned)rand_r(&seed) % 50, n = 0;
        for (uint64_t k = 0; k < n_bad; k++) r->bad[(unsigned)rand_r(&seed) % r->n_rows] = 1;
        for (uint64_t k = 0; k < r->n_rows; k++) n += r->bad[k];
        run(r, 0);
        check(r);
        assert_true(r->n_inserts <= n * (log2_up(r->n_rows) + 1));
    }
    free(r);
}

/* Somebody drops the constraint in the middle: a good row that was only inferred is asked for. */
static void test_a_rule_that_goes_away_refuses_nobody(void **state) {
    (void)state;
    struct run *r = malloc(sizeof *r);
    *r = (struct run){.n_rows = 50000};
    r->bad[49000] = 1;
    struct search s;
    search__begin(&s, r->n_rows);
    assert_false(search__refused(&s, r->n_rows));
    uint64_t n = 0;
    while (!search__done(&s, r->n_rows)) {
        assert_false(search__stored(&s, r->n_rows));
        n++;
    }
    assert_true(n <= 17);
    free(r);
}

static void test_a_block_that_is_too_large_is_halved_to_a_bound(void **state) {
    (void)state;
    struct search s;
    search__begin(&s, 10000);
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    assert_int_equal(s.hi, 5000);
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    assert_int_equal(s.hi, 1250);
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    assert_int_equal(s.hi, SEARCH_STEP_MIN);
    assert_false(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    for (uint64_t at = 0; at < SEARCH_GROW_AFTER * SEARCH_STEP_MIN; at += SEARCH_STEP_MIN) {
        assert_int_equal(s.lo, at);
        assert_int_equal(s.hi, at + SEARCH_STEP_MIN);
        assert_false(search__stored(&s, 10000));
    }
    assert_int_equal(s.hi - s.lo, 2 * SEARCH_STEP_MIN); /* It was taken so often that more may be, */
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    for (int i = 0; i < SEARCH_GROW_AFTER; i++) { /* or not: asked again after as many. */
        assert_int_equal(s.hi - s.lo, SEARCH_STEP_MIN);
        assert_false(search__stored(&s, 10000));
    }
    assert_int_equal(s.hi, 10000);
    assert_false(search__stored(&s, 10000));
    assert_true(search__done(&s, 10000));
}

/* What made it short is over: from one row a block it is back at large ones in few inserts. */
static void test_blocks_grow_again(void **state) {
    (void)state;
    struct search s = {0};
    uint64_t n = 0;
    while (search__too_large(&s, 50000, SEARCH_PARTITIONS_MIN, false)) n++;
    assert_int_equal(s.hi, 1);
    for (n = 0; !search__done(&s, 50000); n++) assert_false(search__stored(&s, 50000));
    assert_true(n <= SEARCH_GROW_AFTER * 16);
    search__begin(&s, 1000); /* A search for a row counts for itself. */
    s.step = 100;
    s.hi = 100;
    for (int i = 0; i < SEARCH_GROW_AFTER - 1; i++) assert_false(search__stored(&s, 1000));
    assert_false(search__refused(&s, 1000));
    while (s.bad > 0 && s.bad - s.lo > 1) assert_false(search__stored(&s, 1000));
    assert_int_equal(s.step, 100);
}

/* Found by case_store: a refusal whose row was only inferred has no range of its own in the log, and
 * the row was refused again after a restart. */
static void test_a_logged_refusal_settles_all_before_it(void **state) {
    (void)state;
    struct search s = {0};
    search__recover_refused(&s, 0, 1); /* A batch of one row needs no range at all. */
    assert_true(search__done(&s, 1));
    assert_int_equal(s.n_refused, 1);
    s = (struct search){.active = true, .lo = 8, .hi = 12, .bad = 16, .n_refused = 2};
    search__recover_refused(&s, 13, 20);
    assert_int_equal(s.lo, 14);
    assert_int_equal(s.n_refused, 3);
    assert_int_equal(s.bad, 0);
    assert_int_equal(s.hi, 20);
    search__recover_refused(&s, 13, 20); /* Written twice. */
    search__recover_refused(&s, 25, 20); /* Of no row. */
    assert_int_equal(s.lo, 14);
    assert_int_equal(s.n_refused, 3);
}

/* A larger block may be on its way: its parts go under its token until one was taken, and the search
 * goes on wherever that one ends. */
static void test_a_fence_stands_until_rows_are_there(void **state) {
    (void)state;
    struct search s = {0};
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, true));
    assert_true(s.fence == 10000 && s.fence_whole && s.lo == 0 && s.hi == 5000);
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, true));
    assert_true(s.fence == 10000 && s.fence_whole && s.hi == 2500); /* Under the first one's token still. */
    assert_false(search__reached(&s, 5000, 10000));
    assert_true(s.lo == 5000 && s.hi == 7500 && s.fence == 0 && !s.fence_whole);
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, true));
    assert_true(s.fence == 7500 && !s.fence_whole && s.lo == 5000 && s.hi == 6250);
    assert_false(search__reached(&s, 7500, 10000));
    assert_true(search__too_large(&s, 10000, SEARCH_STEP_MIN, false));
    assert_int_equal(s.fence, 0); /* What is certainly not there needs none. */
    search__renew(&s, 10000);
    assert_int_equal(s.fence, 0);
    struct search one = {0};
    assert_false(search__too_large(&one, 1, SEARCH_PARTITIONS_MIN, true));
    assert_false(one.active);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bad_row_costs_the_logarithm_and_one),
        cmocka_unit_test(test_many_bad_rows_are_all_found),
        cmocka_unit_test(test_a_rule_that_goes_away_refuses_nobody),
        cmocka_unit_test(test_a_block_that_is_too_large_is_halved_to_a_bound),
        cmocka_unit_test(test_blocks_grow_again),
        cmocka_unit_test(test_a_fence_stands_until_rows_are_there),
        cmocka_unit_test(test_a_logged_refusal_settles_all_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
