/* Which clock is believed: witnesses, jumps, and what a wrong clock changes. Clocks set by hand. */
#include "../lib/moved.h"
#include "souk/core/log.h"
#include "souk/core/wall.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TRUE_NS (INT64_C(1795219000) * NS_PER_S) /* What the time is when the monotonic clock says 0. */
#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)

struct fixture {
    struct clock clock;
    struct metrics metrics;
    struct wall wall;
    int64_t off_ns, slept_ns; /* Of the machine's wall clock; what it has slept. */
};

static int setup(void **state) {
    static struct fixture f;
    f = (struct fixture){.clock = {.mono_ns = 100 * NS_PER_S}};
    log__setup(stderr, LOG_FORMAT_LOGFMT, (enum log_level)(LOG_LEVEL_ERROR + 1));
    metrics__init(&f.metrics);
    wall__init(&f.wall, &f.clock, &f.metrics);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    moved__write(&((struct fixture *)*state)->metrics);
    metrics__fini(&((struct fixture *)*state)->metrics);
    return 0;
}

static int64_t truth(const struct fixture *f) { return TRUE_NS + f->clock.mono_ns; }

static void pass(struct fixture *f, int64_t s) {
    f->clock.mono_ns += s * NS_PER_S;
    wall__apply(&f->wall, truth(f) + f->off_ns, f->slept_ns);
}

static void tell(struct fixture *f, const char *name, int64_t off_ns) {
    wall__told(&f->wall, name, truth(f) + off_ns, f->clock.mono_ns, false);
}

/* What the time worked with is off, in seconds. */
static double off_s(const struct fixture *f) {
    return (double)(f->clock.wall_ns - truth(f)) / (double)NS_PER_S;
}

static double metric(struct fixture *f, const char *line) {
    struct buf out = buf__init(1 << 16);
    metrics__expose(&f->metrics, &out);
    buf__u8(&out, 0);
    const char *at = strstr((const char *)out.base, line);
    assert_non_null(at);
    double v = strtod(at + strlen(line), NULL);
    buf__fini(&out);
    return v;
}

static void test_wall_follows_an_even_clock(void **state) {
    struct fixture *f = *state;
    struct wall_status s;
    pass(f, 0);
    for (int i = 0; i < 1000; i++) {
        f->off_ns += NS_PER_MS; /* Slewed. A leap second is one second. */
        if (i == 500) f->off_ns -= NS_PER_S;
        pass(f, 1);
    }
    assert_true(off_s(f) > -0.001 && off_s(f) < 0.001);
    wall__status(&f->wall, &s);
    assert_int_equal(s.mode, WALL_SYSTEM);
    assert_int_equal(s.n_jumps, 0);
}

static void test_wall_is_corrected_by_two_witnesses_and_not_by_one(void **state) {
    struct fixture *f = *state;
    struct wall_status s;
    f->off_ns = 10 * DAY_NS; /* Started ahead. */
    pass(f, 0);
    tell(f, "upstream", 0);
    assert_true(off_s(f) > 863990);
    assert_int_equal(wall__cautious(&f->wall), truth(f)); /* What is not over by any is not over. */
    wall__status(&f->wall, &s);
    assert_true(s.disputed && s.n_witnesses == 1 && s.skew_ns == -10 * DAY_NS);
    assert_string_equal(s.farthest, "upstream");
    tell(f, "clickhouse", NS_PER_S / 4);
    assert_true(off_s(f) > -1 && off_s(f) < 1); /* In the same turn. */
    pass(f, 1);
    assert_true(off_s(f) > -1 && off_s(f) < 1);
    wall__status(&f->wall, &s);
    assert_int_equal(s.mode, WALL_WITNESS);
    assert_false(s.disputed);
    assert_true(metric(f, "\nsouk_clock_skew_seconds{venue=\"upstream\"} ") == -864000);
    assert_true(metric(f, "\nsouk_clock_correction_seconds ") < -863990);
    f->off_ns = 0; /* Mended. */
    pass(f, 1);
    wall__status(&f->wall, &s);
    assert_int_equal(s.mode, WALL_SYSTEM);
    assert_true(off_s(f) == 0);
    assert_true(metric(f, "\nsouk_clock_jump_total ") == 1);
}

static void test_wall_goes_on_evenly_when_the_clock_jumps(void **state) {
    static const int64_t jumps[] = {HOUR_NS, -HOUR_NS, 10 * 365 * DAY_NS};
    for (size_t i = 0; i < 3; i++) {
        struct fixture *f = *state;
        struct wall_status s;
        teardown(state);
        setup(state);
        pass(f, 0);
        tell(f, "upstream", 0);
        pass(f, 10);
        f->off_ns = jumps[i];
        pass(f, 1);
        assert_true(off_s(f) > -1 && off_s(f) < 1); /* One witness and the time that went on. */
        pass(f, 600);
        tell(f, "upstream", 0);
        assert_true(off_s(f) > -1 && off_s(f) < 1);
        wall__status(&f->wall, &s);
        assert_int_equal(s.mode, WALL_WITNESS);
        assert_int_equal(s.n_jumps, 1);
        f->off_ns = 0;
        pass(f, 1);
        wall__status(&f->wall, &s);
        assert_int_equal(s.mode, WALL_SYSTEM);
    }
}

/* NTP sets a clock that was wrong from the start: the jump is right. */
static void test_wall_follows_a_jump_to_the_truth(void **state) {
    struct fixture *f = *state;
    f->off_ns = -100 * DAY_NS;
    pass(f, 0);
    tell(f, "upstream", 0);
    pass(f, 5);
    f->off_ns = 0;
    pass(f, 1);
    assert_true(off_s(f) == 0);
}

static void test_wall_follows_a_jump_that_nobody_contradicts_after_a_minute(void **state) {
    struct fixture *f = *state;
    pass(f, 0);
    f->off_ns = HOUR_NS;
    pass(f, 1);
    pass(f, 58);
    assert_true(off_s(f) == 0);
    pass(f, 3);
    assert_true(off_s(f) == 3600);
}

static void test_wall_takes_no_witness_that_reads_the_same_clock(void **state) {
    struct fixture *f = *state;
    f->off_ns = DAY_NS;
    pass(f, 0);
    wall__told(&f->wall, "clickhouse", truth(f) + DAY_NS, f->clock.mono_ns, true);
    tell(f, "upstream", 0);
    tell(f, "other", 0);
    assert_true(off_s(f) == 0);
    /* It would be one if it said something else. */
    wall__told(&f->wall, "clickhouse", truth(f), f->clock.mono_ns, true);
    struct wall_status s;
    wall__status(&f->wall, &s);
    assert_int_equal(s.n_witnesses, 3);
}

static void test_wall_is_not_moved_by_a_single_liar(void **state) {
    struct fixture *f = *state;
    pass(f, 0);
    tell(f, "liar", -9 * DAY_NS);
    assert_true(off_s(f) == 0);
    tell(f, "upstream", 0);
    assert_true(off_s(f) == 0);
    assert_int_equal(wall__cautious(&f->wall), truth(f)); /* Most say so. */
    wall__told(&f->wall, "liar", INT64_MAX, f->clock.mono_ns, false);
    wall__told(&f->wall, "other liar", 0, f->clock.mono_ns, false);
    assert_true(off_s(f) == 0);
    pass(f, 1);
    assert_true(off_s(f) == 0);
}

static void test_wall_forgets_what_was_before_a_sleep(void **state) {
    struct fixture *f = *state;
    struct wall_status s;
    pass(f, 0);
    tell(f, "upstream", 0);
    tell(f, "other", 0);
    f->off_ns = f->slept_ns = 2 * HOUR_NS; /* Which the monotonic clock has not seen. */
    pass(f, 1);
    assert_true(off_s(f) == 7200); /* The truth has slept, too: the system's clock is right. */
    wall__status(&f->wall, &s);
    assert_int_equal(s.mode, WALL_SYSTEM);
    assert_int_equal(s.n_jumps, 0);
    assert_int_equal(s.n_witnesses, 0);
}

static void test_wall_lets_evidence_grow_old(void **state) {
    struct fixture *f = *state;
    struct wall_status s;
    f->off_ns = DAY_NS;
    pass(f, 0);
    tell(f, "upstream", 0);
    pass(f, WALL_EVIDENCE_NS / NS_PER_S + 1);
    wall__status(&f->wall, &s);
    assert_int_equal(s.n_witnesses, 0);
    assert_false(s.disputed);
}

static void test_wall_hears_so_many_witnesses_and_counts_the_others(void **state) {
    struct fixture *f = *state;
    char name[32];
    pass(f, 0);
    for (int i = 0; i < WALL_WITNESSES_MAX + 7; i++) {
        snprintf(name, sizeof name, "host-%d", i);
        tell(f, name, 0);
    }
    tell(f, "host-3", 0); /* A known one is heard again. */
    assert_int_equal(f->wall.n_witnesses, WALL_WITNESSES_MAX);
    assert_true(metric(f, "\nsouk_clock_witnesses_unheard_total ") == 7);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_wall_follows_an_even_clock),
        T(test_wall_is_corrected_by_two_witnesses_and_not_by_one),
        T(test_wall_goes_on_evenly_when_the_clock_jumps),
        T(test_wall_follows_a_jump_to_the_truth),
        T(test_wall_follows_a_jump_that_nobody_contradicts_after_a_minute),
        T(test_wall_takes_no_witness_that_reads_the_same_clock),
        T(test_wall_is_not_moved_by_a_single_liar),
        T(test_wall_forgets_what_was_before_a_sleep),
        T(test_wall_lets_evidence_grow_old),
        T(test_wall_hears_so_many_witnesses_and_counts_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
