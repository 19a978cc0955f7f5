/* Case 51 for the store, against a model of a server that drops what is past a table's TTL as soon
 * as it has it: while the clocks of souk and of ClickHouse contradict each other, rows wait in the
 * log, and nothing is acknowledged that is not there. */
#include "souk/core/wall.h"
#include "store_world.h"

#define DAY_NS (86400 * NS_PER_S)
#define TTL_DAYS 14

static struct world *clock_world(uint64_t seed, int64_t server_off_ns) {
    struct world *w = world_new(seed);
    w->server.tells_time = true;
    w->server.off_ns = server_off_ns;
    for (size_t i = 0; i < 2; i++) server_model__table(&w->server, world_tables[i])->ttl_days = TTL_DAYS;
    w->server.odds = (struct model_odds){.lost = 40, .late = 20, .cut = 20, .idle_cut = 5};
    return w;
}

static uint64_t n_applied(struct world *w) {
    return server_model__table(&w->server, &world_data)->n_applied;
}

static double mistimed(const struct world *w) {
    struct store_status s;
    store__status(w->store, &s);
    assert_true((s.n_mistimed > 0) == (s.mistimed[0] != '\0'));
    assert_true(s.n_held >= s.n_mistimed);
    return (double)s.n_mistimed;
}

static double gauge(struct world *w, const char *line) {
    struct buf out = buf__init(1 << 20);
    metrics__expose(&w->metrics, &out);
    buf__u8(&out, 0);
    const char *at = strstr((const char *)out.base, line);
    assert_non_null(at);
    double v = strtod(at + strlen(line), NULL);
    buf__fini(&out);
    return v;
}

static void finish(struct world *w, const char *what, uint64_t n_seeds) {
    w->server.odds = (struct model_odds){0};
    assert_true(world_drain(w));
    while (w->server.late != NULL) world_step(w, false);
    world_judge(w);
    uint64_t n_expired = 0;
    for (size_t i = 0; i < w->server.n_tables; i++) n_expired += w->server.tables[i].n_expired;
    struct score s = {.case_number = 51, .what = what, .kills = w->n_crashes, .seeds = n_seeds, .rows = w->n_rows,
                      .lost = w->n_lost, .twice = w->n_twice, .recovery_s = -1,
                      .passed = w->n_lost + w->n_twice + w->n_ahead + n_expired == 0};
    score__write(&s);
    assert_int_equal(w->n_lost, 0);
    assert_int_equal(w->n_twice, 0);
    assert_int_equal(w->n_ahead, 0);
    assert_int_equal(n_expired, 0);
    assert_true(w->n_rows > 0);
    world_free(w);
}

/* Our clock is 100 days behind ClickHouse's: each row is past its TTL by the one that counts. */
static void test_rows_that_ttl_would_drop_wait_until_the_clock_is_mended(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world *w = clock_world(seed, 100 * DAY_NS);
        assert_true(world_open(w));
        for (int i = 0; i < 200; i++) {
            world_step(w, true);
            if (i % 20 == 0) world_checkpoint(w);
        }
        assert_int_equal(n_applied(w), 0);
        assert_true(mistimed(w) > 0);
        assert_true(gauge(w, "\nsouk_batches_mistimed ") > 0);
        moved__write(&w->metrics);
        assert_true(w->bytes_max <= 2 * w->options.memory_max); /* The log holds the rest. */
        world_crash(w, DISK_KILL);
        assert_true(world_open(w));
        for (int i = 0; i < 100; i++) world_step(w, true);
        assert_int_equal(n_applied(w), 0);
        w->server.off_ns = 0; /* Mended: it goes on by itself, at the latest with the next check. */
        finish(w, "100 days behind ClickHouse: rows wait in the log", 1);
    }
}

static void test_rows_wait_for_a_longer_ttl_too(void **state) {
    (void)state;
    struct world *w = clock_world(7, 100 * DAY_NS);
    assert_true(world_open(w));
    for (int i = 0; i < 100; i++) world_step(w, true);
    assert_int_equal(n_applied(w), 0);
    for (size_t i = 0; i < 2; i++) server_model__table(&w->server, world_tables[i])->ttl_days = 400;
    finish(w, "TTL made longer while rows wait", 1);
}

/* Our clock is ahead, and nobody but ClickHouse says so. */
static void test_rows_from_the_future_wait(void **state) {
    (void)state;
    struct world *w = clock_world(11, -10 * DAY_NS);
    struct wall wall;
    wall__init(&wall, &w->clock, &w->metrics);
    wall__apply(&wall, w->clock.wall_ns, 0);
    w->options.wall = &wall;
    assert_true(world_open(w));
    for (int i = 0; i < 200; i++) world_step(w, true);
    assert_int_equal(n_applied(w), 0);
    assert_true(mistimed(w) > 0);
    w->server.off_ns = 0;
    finish(w, "10 days ahead of ClickHouse: rows wait in the log", 1);
}

/* Somebody wants them gone: they are sent, and are not held any more. */
static void test_rows_are_let_go_by_hand(void **state) {
    (void)state;
    struct world *w = clock_world(13, 100 * DAY_NS);
    assert_true(world_open(w));
    for (int i = 0; i < 40; i++) world_step(w, true);
    assert_true(mistimed(w) > 0);
    assert_int_equal(store__release(w->store) > 0, true);
    for (int i = 0; i < 2000 && n_applied(w) == 0; i++) world_step(w, false);
    assert_true(n_applied(w) > 0);
    assert_true(server_model__table(&w->server, &world_data)->n_expired > 0);
    world_free(w);
}

/* Fresh rows of a good clock, and rows that are old but kept: nothing is held. */
static void test_nothing_is_held_while_the_clocks_agree(void **state) {
    (void)state;
    struct world *w = clock_world(17, 3 * NS_PER_S);
    assert_true(world_open(w));
    for (int i = 0; i < 200; i++) {
        world_step(w, true);
        assert_true(mistimed(w) == 0);
        if (i == 100) w->clock.wall_ns += DAY_NS; /* What was read before is a day old now. */
    }
    finish(w, "clocks that agree, and a day that is jumped", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_that_ttl_would_drop_wait_until_the_clock_is_mended),
        cmocka_unit_test(test_rows_wait_for_a_longer_ttl_too),
        cmocka_unit_test(test_rows_from_the_future_wait),
        cmocka_unit_test(test_rows_are_let_go_by_hand),
        cmocka_unit_test(test_nothing_is_held_while_the_clocks_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
