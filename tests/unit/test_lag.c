/* Change ids can be compared as counts, and what cannot be compared says so. */
#include "souk/lag.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_sums_and_what_is_none(void **state) {
    (void)state;
    uint64_t sum = 1;
    unsigned n = 0;
    assert_true(lag__sum(SLICE_LIT("1-20-300-4000-50000"), &sum, &n));
    assert_int_equal(sum, 54321);
    assert_int_equal(n, 5);
    assert_true(lag__sum(SLICE_LIT("007"), &sum, NULL));
    assert_int_equal(sum, 7);
    static const char *const wrong[] = {"", "-", "1-", "-1", "1--2", "a", "1-b", "1 2", "1=2", "9223372036854775807-1",
                                        "99999999999999999999", "1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (lag__sum(slice__str(wrong[i]), &sum, &n)) fail_msg("%s is a change id", wrong[i]);
}

static void test_the_head_of_a_realm(void **state) {
    (void)state;
    struct slice heads = SLICE_LIT("exchange=9,psapi=1-2,psapi-xbox=3-4,psapi-sony2=5");
    assert_true(slice__eq(lag__head(heads, "pc"), SLICE_LIT("1-2")));
    assert_true(slice__eq(lag__head(heads, "xbox"), SLICE_LIT("3-4")));
    assert_int_equal(lag__head(heads, "sony").len, 0);
    assert_int_equal(lag__head(SLICE_LIT(""), "pc").len, 0);
    assert_int_equal(lag__head(SLICE_LIT("psapi,=,,x=psapi"), "pc").len, 0);
}

static void see(struct lag_meter *m, int64_t s, uint64_t sum) {
    char id[64];
    snprintf(id, sizeof id, "%llu-7", (unsigned long long)sum);
    lag_meter__see(m, s * INT64_C(1000000000), slice__str(id));
}

static void test_the_rate_is_of_the_last_minutes(void **state) {
    (void)state;
    struct lag_meter m = {0};
    assert_true(lag_meter__rate(&m) == 0);
    see(&m, 100, 1000);
    assert_true(lag_meter__rate(&m) == 0);
    see(&m, 110, 9999); /* Too soon. */
    assert_true(lag_meter__rate(&m) == 0);
    see(&m, 150, 2000);
    assert_true(lag_meter__rate(&m) == 20);
    for (int i = 1; i <= 100; i++) see(&m, 150 + 60 * i, 2000 + (uint64_t)i * 60 * 80);
    assert_true(lag_meter__rate(&m) == 80); /* What was before is forgotten. */
    see(&m, 10000, 5);                      /* Went back: anew. */
    assert_true(lag_meter__rate(&m) == 0);
    lag_meter__see(&m, INT64_C(20000000000000), SLICE_LIT("5-5-5"));
    assert_true(lag_meter__rate(&m) == 0); /* Other shards: anew, too. */
    lag_meter__see(&m, INT64_C(20100000000000), SLICE_LIT("nonsense"));
    lag_meter__see(&m, INT64_C(20100000000000), SLICE_LIT("5-5-15"));
    assert_true(lag_meter__rate(&m) == 0.1);
}

#define S INT64_C(1000000000)

static const char *id_of(double sum, char out[64]) {
    snprintf(out, 64, "%llu-1000", (unsigned long long)sum);
    return out;
}

static void measure(struct lag *l, int64_t s, const char *cursor, int64_t end_s, const char *head, int64_t head_s) {
    lag__measure(l, s * S, &(struct lag_facts){.cursor = slice__str(cursor), .end_mono_ns = end_s * S,
                                               .head = slice__str(head), .head_mono_ns = head_s * S});
}

static void test_a_stream_is_measured_against_its_head(void **state) {
    (void)state;
    struct lag l = {0};
    measure(&l, 10, "100-100", 0, "", 0);
    assert_true(l.measured);
    assert_true(l.changes == LAG_UNKNOWN && l.estimate_s == LAG_UNKNOWN);
    measure(&l, 20, "100-100", 0, "200-200", 20);
    assert_true(l.changes == 200);
    assert_true(l.estimate_s == LAG_UNKNOWN); /* No rate yet. */
    measure(&l, 21, "200-201", 0, "200-200", 20);
    assert_true(l.changes == LAG_UNKNOWN); /* Ahead of a head of a while ago: by what it has grown is not known. */
    measure(&l, 80, "100-100", 0, "800-200", 80); /* Ten changes a second, and five minutes of lead. */
    assert_true(l.changes == LAG_UNKNOWN);
    measure(&l, 81, "0-100", 81, "800-200", 80); /* The end, after all: the head is ahead of the river itself. */
    assert_true(l.changes == 0 && l.estimate_s == 0);
    measure(&l, 90, "50-100", 0, "800-200", 80); /* The end was 910 changes, so 91 seconds, behind the head. */
    assert_true(l.changes == 40 && l.estimate_s == 4);
    measure(&l, 91, "1-1-1", 0, "800-200", 80);
    assert_true(l.changes == LAG_UNKNOWN && l.estimate_s == LAG_UNKNOWN);
    /* As long as they are today. */
    struct lag l5 = {0};
    measure(&l5, 2, "2000655906-1996622915-1930774387-2140863898-2077103178", 0,
            "2000655907-1996622916-1930774388-2140863899-2077103179", 1);
    assert_true(l5.changes == 5);
    measure(&l5, 3, "2000655906-1996622915-1930774387-2140863898", 0,
            "2000655907-1996622916-1930774388-2140863899-2077103179", 1);
    assert_true(l5.changes == LAG_UNKNOWN);
    struct lag idle = {0};
    measure(&idle, 1, "", 1, "", 0);
    assert_true(idle.changes == 0 && idle.estimate_s == 0);
    measure(&idle, 70, "", 1, "", 0);
    assert_true(idle.changes == LAG_UNKNOWN); /* The end of a minute ago is not the end. */
}

/* A river of 40 changes a second, of which the stream takes 28.4, whose head is asked once a minute and is
 * @lead_s ahead. @return the worst error from the second head on. */
static double run_away(int lead_s, bool met_end, size_t *n_zero, size_t *n_unknown) {
    struct lag l = {0};
    char cursor[64], head[64];
    double worst = 0, at = 40 * 1000.0;
    *n_zero = *n_unknown = 0;
    for (int s = 1; s <= 900; s++) {
        int asked_s = s - s % 60 == 0 ? 1 : s - s % 60;
        double river = 40.0 * (1000 + s), truth;
        if (s == 5) at = river; /* At its end, once. */
        else at += 28.4;
        if (at > river) at = river;
        truth = river - at;
        measure(&l, s, id_of(at, cursor), s == 5 && met_end ? s : 0, id_of(40.0 * (1000 + asked_s + lead_s), head), asked_s);
        if (s <= 60 || s == 5) continue;
        if (l.changes == LAG_UNKNOWN) {
            (*n_unknown)++;
            continue;
        }
        *n_zero += l.changes == 0;
        double error = l.changes > truth ? l.changes - truth : truth - l.changes;
        if (error > worst) worst = error;
        if (l.estimate_s < l.changes / 41 || l.estimate_s > l.changes / 39) fail_msg("%g s at %d s", l.estimate_s, s);
    }
    return worst;
}

static void test_a_river_that_runs_away_is_seen_to(void **state) {
    (void)state;
    size_t n_zero, n_unknown;
    for (int lead_s = 0; lead_s <= 300; lead_s += 300) {
        double worst = run_away(lead_s, true, &n_zero, &n_unknown);
        if (worst > 80) fail_msg("wrong by %g changes with a lead of %d s", worst, lead_s);
        assert_int_equal(n_zero, 0);
        assert_int_equal(n_unknown, 0);
    }
    /* No end was met: five minutes of lead are taken off, and what is left of nothing is not known. */
    assert_true(run_away(300, false, &n_zero, &n_unknown) < 80);
    assert_int_equal(n_zero, 0);
    assert_int_equal(n_unknown, 0);
    run_away(0, false, &n_zero, &n_unknown);
    assert_int_equal(n_zero, 0);
    assert_true(n_unknown > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_and_what_is_none),
        cmocka_unit_test(test_the_head_of_a_realm),
        cmocka_unit_test(test_the_rate_is_of_the_last_minutes),
        cmocka_unit_test(test_a_stream_is_measured_against_its_head),
        cmocka_unit_test(test_a_river_that_runs_away_is_seen_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
