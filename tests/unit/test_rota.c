/* Rounds over many things: what a turn visits, and that nobody is passed over. Work is counted. */
#include "../../src/service/rota.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define THINGS 240

struct world {
    struct rota rota;
    bool needs[THINGS];
    unsigned visits[THINGS];
    size_t n_visits; /* In this turn. */
};

static bool needs(void *ctx, size_t i) { return ((struct world *)ctx)->needs[i]; }

static void visit(void *ctx, size_t i) {
    struct world *w = ctx;
    w->visits[i]++;
    w->n_visits++;
    w->needs[i] = false;
}

static bool turn(struct world *w, size_t n) {
    w->n_visits = 0;
    bool over = rota__go_on(&w->rota, n, needs, visit, w);
    assert_true(w->n_visits <= ROTA_VISITS_MAX);
    return over;
}

/* @return turns of a whole round. */
static unsigned go_round(struct world *w, size_t n) {
    unsigned n_turns = 1;
    rota__begin(&w->rota);
    while (!turn(w, n)) n_turns++;
    assert_false(w->rota.runs);
    return n_turns;
}

static void test_all_are_visited_a_few_a_turn(void **state) {
    struct world w = {0};
    (void)state;
    memset(w.needs, true, sizeof w.needs);
    assert_int_equal(go_round(&w, THINGS), THINGS / ROTA_VISITS_MAX);
    for (size_t i = 0; i < THINGS; i++) assert_int_equal(w.visits[i], 1);
}

static void test_what_needs_nothing_is_not_visited(void **state) {
    struct world w = {0};
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < THINGS; i += 40) w.needs[i] = true;
    assert_int_equal(go_round(&w, THINGS), 1);
    assert_int_equal(go_round(&w, THINGS), 1);
    for (size_t i = 0; i < THINGS; i++) n += w.visits[i];
    assert_int_equal(n, THINGS / 40);
}

/* Turns are rare, and all need something again at once: the last come before the first again. */
static void test_a_round_that_lasts_is_ended_before_the_next(void **state) {
    struct world w = {0};
    (void)state;
    for (unsigned second = 0; second < 300; second++) {
        memset(w.needs, true, sizeof w.needs);
        rota__begin(&w.rota);
        turn(&w, THINGS);
    }
    for (size_t i = 0; i < THINGS; i++)
        assert_int_equal(w.visits[i], 300 * ROTA_VISITS_MAX / THINGS);
}

/* Backfills end while a round runs. */
static void test_there_may_be_fewer_than_before(void **state) {
    struct world w = {0};
    (void)state;
    memset(w.needs, true, sizeof w.needs);
    rota__begin(&w.rota);
    assert_false(turn(&w, THINGS));
    assert_true(turn(&w, ROTA_VISITS_MAX / 2));
    assert_int_equal(w.n_visits, 0);
    assert_true(turn(&w, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_are_visited_a_few_a_turn),
        cmocka_unit_test(test_what_needs_nothing_is_not_visited),
        cmocka_unit_test(test_a_round_that_lasts_is_ended_before_the_next),
        cmocka_unit_test(test_there_may_be_fewer_than_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
