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

static void test_lag_is_the_difference_of_the_sums(void **state) {
    (void)state;
    uint64_t lag = 1;
    assert_true(lag__changes(SLICE_LIT("10-20-30"), SLICE_LIT("11-25-30"), &lag));
    assert_int_equal(lag, 6);
    assert_true(lag__changes(SLICE_LIT("11-25-30"), SLICE_LIT("10-20-30"), &lag));
    assert_int_equal(lag, 0); /* Ahead of a head that was asked for earlier. */
    assert_false(lag__changes(SLICE_LIT("10-20-30"), SLICE_LIT("10-20-30-40"), &lag));
    assert_false(lag__changes(SLICE_LIT("10-20-30"), SLICE_LIT(""), &lag));
    assert_false(lag__changes(SLICE_LIT(""), SLICE_LIT("1"), &lag));
    /* As long as they are today. */
    assert_true(lag__changes(SLICE_LIT("2000655906-1996622915-1930774387-2140863898-2077103178"),
                             SLICE_LIT("2000655907-1996622916-1930774388-2140863899-2077103179"), &lag));
    assert_int_equal(lag, 5);
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

static void test_a_stream_is_measured_against_its_head(void **state) {
    (void)state;
    struct lag l = {0};
    const int64_t s = INT64_C(1000000000);
    lag__measure(&l, 10 * s, false, SLICE_LIT("100-100"), SLICE_LIT(""));
    assert_true(l.measured);
    assert_true(l.changes == LAG_UNKNOWN && l.estimate_s == LAG_UNKNOWN);
    lag__measure(&l, 20 * s, false, SLICE_LIT("100-100"), SLICE_LIT("200-200"));
    assert_true(l.changes == 200);
    assert_true(l.estimate_s == LAG_UNKNOWN); /* No rate yet. */
    lag__measure(&l, 80 * s, false, SLICE_LIT("100-100"), SLICE_LIT("230-230"));
    assert_true(l.changes == 260);
    assert_true(l.estimate_s == 260); /* One change a second. */
    lag__measure(&l, 81 * s, true, SLICE_LIT("100-100"), SLICE_LIT("230-230"));
    assert_true(l.changes == 0 && l.estimate_s == 0); /* The head is ahead of the river itself. */
    lag__measure(&l, 82 * s, false, SLICE_LIT("1-1-1"), SLICE_LIT("230-230"));
    assert_true(l.changes == LAG_UNKNOWN && l.estimate_s == LAG_UNKNOWN);
    struct lag idle = {0};
    lag__measure(&idle, s, true, SLICE_LIT(""), SLICE_LIT(""));
    assert_true(idle.changes == 0 && idle.estimate_s == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_and_what_is_none),
        cmocka_unit_test(test_lag_is_the_difference_of_the_sums),
        cmocka_unit_test(test_the_head_of_a_realm),
        cmocka_unit_test(test_the_rate_is_of_the_last_minutes),
        cmocka_unit_test(test_a_stream_is_measured_against_its_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
