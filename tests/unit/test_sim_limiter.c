/* The limiter against scenarios worked out by hand. Times in the comments are seconds. */
#include "test_sim.h"

#define S SIM_NS_PER_S
#define MS SIM_NS_PER_MS

static struct limiter l; /* 32 KiB: not for the stack. */

static void start(const char *triples, int64_t bucket_ns, int64_t phase_ns) {
    struct sim_err err = {""};
    if (limiter__init(&l, "p", "Ip", triples, bucket_ns, phase_ns, &err) != 0)
        fail_msg("%s", err.msg);
}

static void test_without_buckets_a_hit_leaves_after_its_period(void **state) {
    (void)state;
    start("2:1:60", 0, 0);
    assert_false(limiter__hit(&l, 0).refused);
    assert_false(limiter__hit(&l, 400 * MS).refused);
    assert_int_equal(limiter__hits(&l, 0, 999 * MS), 2);
    assert_int_equal(limiter__hits(&l, 0, 1000 * MS), 1); /* The hit of 0 is out at 1.0 exactly. */
    assert_false(limiter__hit(&l, 1000 * MS).refused);
    assert_int_equal(limiter__hits(&l, 0, 1000 * MS), 2);
}

static void test_expiry_is_rounded_up_to_the_hidden_bucket(void **state) {
    (void)state;
    start("2:1:60", 5 * S, 0);
    limiter__hit(&l, 100 * MS);  /* Would leave at 1.1: leaves at 5. */
    limiter__hit(&l, 4500 * MS); /* Would leave at 5.5: leaves at 10. */
    assert_int_equal(limiter__hits(&l, 0, 4999 * MS), 2);
    assert_int_equal(limiter__hits(&l, 0, 5000 * MS), 1);
    assert_int_equal(limiter__hits(&l, 0, 9999 * MS), 1);
    assert_int_equal(limiter__hits(&l, 0, 10000 * MS), 0);
}

static void test_the_phase_moves_the_bucket_borders(void **state) {
    (void)state;
    start("2:1:60", 5 * S, 2 * S); /* Borders at 2, 7, 12. */
    limiter__hit(&l, 0);           /* Would leave at 1: leaves at 2. */
    limiter__hit(&l, 1500 * MS);   /* Would leave at 2.5: leaves at 7. */
    assert_int_equal(limiter__hits(&l, 0, 1999 * MS), 2);
    assert_int_equal(limiter__hits(&l, 0, 2000 * MS), 1);
    assert_int_equal(limiter__hits(&l, 0, 7000 * MS), 0);
}

static void test_later_windows_have_buckets_of_a_minute(void **state) {
    (void)state;
    start("15:10:60,30:300:300", 5 * S, 0);
    limiter__hit(&l, 1 * S); /* Leaves the first at 15, the second at 360 (301 rounded up). */
    assert_int_equal(limiter__hits(&l, 0, 14 * S), 1);
    assert_int_equal(limiter__hits(&l, 0, 15 * S), 0);
    assert_int_equal(limiter__hits(&l, 1, 359 * S), 1);
    assert_int_equal(limiter__hits(&l, 1, 360 * S), 0);
}

static void test_the_state_counts_the_request_itself(void **state) {
    struct buf b = {0};
    (void)state;
    start("2:1:60,30:300:300", 0, 0);
    limiter__hit(&l, 0);
    limiter__headers(&l, 0, &b);
    assert_string_equal(
        b.at,
        "X-Rate-Limit-Policy: p\r\nX-Rate-Limit-Rules: Ip\r\nX-Rate-Limit-Ip: 2:1:60,30:300:300\r\n"
        "X-Rate-Limit-Ip-State: 1:1:0,1:300:0\r\n");
    buf__fini(&b);
}

static void test_a_breach_restricts_and_says_so(void **state) {
    struct buf b = {0};
    struct limit_verdict v;
    (void)state;
    start("2:1:60", 0, 0);
    limiter__hit(&l, 0);
    limiter__hit(&l, 10 * MS);
    v = limiter__hit(&l, 20 * MS);
    assert_true(v.refused);
    assert_false(v.was_restricted);
    assert_int_equal(v.hits, 3);
    assert_int_equal(v.retry_after_s, 60);
    limiter__headers(&l, 20 * MS, &b);
    assert_non_null(strstr(b.at, "X-Rate-Limit-Ip-State: 3:1:60\r\n"));
    v = limiter__hit(&l,
                     30 * S); /* Half way: refused again, another violation, and 30.02 are left. */
    assert_true(v.refused && v.was_restricted);
    assert_int_equal(v.retry_after_s, 31);
    assert_int_equal(l.n_violations, 2);
    assert_true(limiter__hit(&l, 60 * S + 19 * MS).refused);
    assert_false(limiter__hit(&l, 62 * S).refused);
    buf__fini(&b);
}

static void test_retry_after_alone_is_too_short(void **state) {
    struct limit_verdict v;
    (void)state;
    start("1:1:60", 5 * S, 0);
    limiter__hit(&l, 0);
    v = limiter__hit(&l, 1 * S); /* Restricted to 61, which rounds up to 65. */
    assert_int_equal(v.retry_after_s, 60);
    assert_true(limiter__hit(&l, 61 * S).refused);
    assert_true(
        limiter__hit(&l, 64900 * MS).refused); /* Counted, so it must age: 65.9 rounds up to 70. */
    assert_false(limiter__hit(&l, 70 * S).refused);
}

static void test_penalties_double_and_are_forgotten(void **state) {
    int64_t at = 0, penalties[7];
    (void)state;
    start("1:1:10", 0, 0);
    for (int i = 0; i < 7; i++) {
        assert_false(limiter__hit(&l, at).refused);
        penalties[i] = limiter__hit(&l, at).retry_after_s;
        at += penalties[i] * S + 2 * S;
    }
    assert_int_equal(penalties[0], 10);
    assert_int_equal(penalties[1], 20);
    assert_int_equal(penalties[2], 40);
    assert_int_equal(penalties[3], 80);
    assert_int_equal(penalties[4], 160);
    assert_int_equal(penalties[5], 160); /* Sixteen times is the most. */
    at += (LIMITER_MEMORY_S + 200) * S;
    assert_false(limiter__hit(&l, at).refused);
    assert_int_equal(limiter__hit(&l, at).retry_after_s, 10);
}

static void test_every_window_must_agree(void **state) {
    struct limit_verdict v = {0};
    int64_t at = 0;
    (void)state;
    start("5:1:10,8:100:300", 0, 0);
    for (int i = 0; i < 8; i++, at += 2 * S) assert_false(limiter__hit(&l, at).refused);
    v = limiter__hit(&l, at); /* The short window is empty; the long one is full. */
    assert_true(v.refused);
    assert_int_equal(v.window, 1);
    assert_int_equal(v.hits, 9);
    assert_int_equal(v.retry_after_s, 300);
}

/** Run a client for an hour: it keeps @max sends in flight and asks again @pad_ns after the oldest
 * came back.
 *  @return the requests that it got through. */
static int run_client(int64_t pad_ns) {
    int64_t sends[2] = {-1000 * S, -1000 * S}, at = 0;
    int n = 0;
    for (; at < 3600 * S; n++) {
        if (sends[n % 2] + pad_ns > at) at = sends[n % 2] + pad_ns;
        sends[n % 2] = at;
        limiter__hit(&l, at);
        at += 150 * MS; /* The answer. */
    }
    return n;
}

static void test_a_padded_client_never_breaches(void **state) {
    int64_t phase;
    (void)state;
    for (phase = 0; phase < 5 * S; phase += 333 * MS) { /* Wherever the hidden borders lie. */
        start("2:1:60", 5 * S, phase);
        assert_in_range(run_client(6 * S), 1150, 1250); /* Two in each 6 s. */
        assert_int_equal(l.n_violations, 0);
    }
    start("2:1:60", 5 * S, 0);
    run_client(3 * S);
    assert_true(l.n_violations > 0); /* The period alone is not enough. */
}

static void test_limits_change_and_hits_stay(void **state) {
    struct sim_err err;
    (void)state;
    start("4:10:60", 0, 0);
    limiter__hit(&l, 0);
    limiter__hit(&l, 1 * S);
    assert_int_equal(limiter__set_triples(&l, "2:10:60", &err), 0);
    assert_true(limiter__hit(&l, 2 * S).refused);
    assert_int_equal(limiter__set_triples(&l, "nonsense", &err), -1);
    assert_int_equal(limiter__set_triples(&l, "1:1:1,", &err), -1);
    assert_int_equal(limiter__set_triples(&l, "0:1:1", &err), -1);
    assert_int_equal(limiter__set_triples(&l, "1:1:1,1:1:1,1:1:1,1:1:1,1:1:1", &err), -1);
    assert_int_equal(l.windows[0].limit, 2);
}

static void test_the_ring_forgets_the_oldest(void **state) {
    (void)state;
    start("100000:60:60", 0, 0);
    for (int64_t i = 0; i < LIMITER_HITS_MAX + 10; i++) limiter__hit(&l, i);
    assert_int_equal(limiter__hits(&l, 0, LIMITER_HITS_MAX + 10), LIMITER_HITS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_buckets_a_hit_leaves_after_its_period),
        cmocka_unit_test(test_expiry_is_rounded_up_to_the_hidden_bucket),
        cmocka_unit_test(test_the_phase_moves_the_bucket_borders),
        cmocka_unit_test(test_later_windows_have_buckets_of_a_minute),
        cmocka_unit_test(test_the_state_counts_the_request_itself),
        cmocka_unit_test(test_a_breach_restricts_and_says_so),
        cmocka_unit_test(test_retry_after_alone_is_too_short),
        cmocka_unit_test(test_penalties_double_and_are_forgotten),
        cmocka_unit_test(test_every_window_must_agree),
        cmocka_unit_test(test_a_padded_client_never_breaches),
        cmocka_unit_test(test_limits_change_and_hits_stay),
        cmocka_unit_test(test_the_ring_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
