/* What the poller does besides a GET that its own permit allows: a HEAD first, somebody else's word, and
 * the turn that a stream deserves. */
#include "test_poller_fixture.h"


static const struct script empty = {{"HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"next_change_id\":\"1-1\",\"stashes\":[]}"}, 1};

/* A gate that the test is. */
struct guard {
    struct gate gate;
    struct gate_ask *asked;
    size_t n_asked, n_canceled, n_ended, n_unsent;
    int64_t waits_ns[4]; /* Of the first answers; then 0. */
    bool silent;
    int last_status;
};

static void on_ask(void *ctx, struct gate_ask *a) {
    struct guard *g = ctx;
    size_t i = g->n_asked++;
    g->asked = a;
    if (g->silent) return;
    a->permit = i < 4 && g->waits_ns[i] > 0 ? 0 : 7;
    a->cb(a, i < 4 ? g->waits_ns[i] : 0);
}
static void on_cancel(void *ctx, struct gate_ask *a) {
    struct guard *g = ctx;
    (void)a;
    g->n_canceled++;
}
static void on_end(void *ctx, struct gate_ask *a, const struct governor_reply *reply) {
    struct guard *g = ctx;
    assert_int_equal(a->permit, 7);
    g->n_ended += reply != NULL;
    g->n_unsent += reply == NULL;
    g->last_status = reply == NULL ? -1 : reply->status;
}

static struct guard *guard_new(struct fixture *f) {
    struct guard *g = calloc(1, sizeof *g);
    g->gate = (struct gate){on_ask, on_cancel, on_end, g};
    f->gate = &g->gate;
    return g;
}

static void start(struct fixture *f, const struct script *script) {
    open_source(f, source__find("psapi"), script);
    poller__restore(f->poller, SLICE_LIT("1-1"), SLICE_LIT(""));
    poller__start(f->poller);
}

static void test_each_request_has_the_word_of_the_gate(void **state) {
    struct fixture *f = *state;
    struct guard *g = guard_new(f);
    start(f, &empty);
    UNTIL(f, g->n_ended >= 3);
    assert_true(g->n_asked >= 3);
    assert_int_equal(g->last_status, 200);
    assert_true(f->n_requests <= g->n_asked);
    close_poller(f);
    assert_int_equal(g->n_ended + g->n_unsent + g->n_canceled, g->n_asked);
    free(g);
}

static void test_a_no_gives_the_token_back(void **state) {
    struct fixture *f = *state;
    struct guard *g = guard_new(f);
    g->waits_ns[0] = 300 * NS_PER_MS;
    g->waits_ns[1] = 200 * NS_PER_MS;
    start(f, &empty);
    UNTIL(f, g->n_asked == 1);
    struct endpoint_status st;
    governor__status(f->governor, 0, &st);
    assert_int_equal(st.n_inflight, 0);
    UNTIL(f, f->n_requests == 1);
    assert_int_equal(g->n_asked, 3);
    close_poller(f);
    free(g);
}

static void test_it_can_be_closed_while_the_gate_thinks(void **state) {
    struct fixture *f = *state;
    struct guard *g = guard_new(f);
    g->silent = true;
    start(f, &empty);
    UNTIL(f, g->n_asked == 1);
    close_poller(f);
    assert_int_equal(g->n_canceled, 1);
    assert_int_equal(f->n_requests, 0);
    struct endpoint_status st;
    governor__status(f->governor, 0, &st);
    assert_int_equal(st.n_inflight, 0);
    free(g);
}

#define LIMITS                                                                                                         \
    "X-Rate-Limit-Policy: p\r\nX-Rate-Limit-Rules: Ip\r\nX-Rate-Limit-Ip: 2:1:60\r\nX-Rate-Limit-Ip-State: 1:1:0\r\n"

static void use_head(struct fixture *f) {
    struct endpoint_options o = {.name = "headed", .host = "h2", .rate_per_s = 1000, .head_at_start = true};
    f->endpoint = governor__endpoint(f->governor, &o);
    assert_non_null(f->endpoint);
}

static struct endpoint_status headed(struct fixture *f) {
    struct endpoint_status st;
    governor__status(f->governor, 1, &st);
    return st;
}

static void test_head_first_and_once(void **state) {
    struct fixture *f = *state;
    static const struct script script = {
        {"HTTP/1.1 204 No Content\r\n" LIMITS "\r\n",
         "HTTP/1.1 200 OK\r\n" LIMITS "Content-Length: 37\r\n\r\n{\"next_change_id\":\"1-1\",\"stashes\":[]}"}, 2};
    struct kept kept;
    use_head(f);
    start(f, &script);
    UNTIL(f, f->n_requests == 1);
    assert_memory_equal(f->last_request, "HEAD /", 6);
    UNTIL(f, headed(f).n_windows == 1);
    read_spool(f, &kept);
    assert_int_equal(kept.n_requests, 0);
    UNTIL(f, f->n_requests == 3);
    assert_memory_equal(f->last_request, "GET /", 5);
    assert_int_equal(status_of(f).counts.errors, 0);
    close_poller(f);
    read_spool(f, &kept);
    assert_true(kept.n_requests >= 3); /* The HEAD is a record as well. */
}

static void test_no_head_where_somebody_else_governs(void **state) {
    struct fixture *f = *state;
    struct guard *g = guard_new(f);
    use_head(f);
    start(f, &empty);
    UNTIL(f, f->n_requests == 2);
    assert_memory_equal(f->last_request, "GET /", 5);
    assert_true(g->n_asked >= 2);
    close_poller(f);
    free(g);
}

static void test_a_head_without_limits_is_said_and_not_repeated(void **state) {
    struct fixture *f = *state;
    static const struct script script = {
        {"HTTP/1.1 204 No Content\r\nX-Rate-Limit-Policy: p\r\n\r\n",
         "HTTP/1.1 200 OK\r\n" LIMITS "Content-Length: 37\r\n\r\n{\"next_change_id\":\"1-1\",\"stashes\":[]}"}, 2};
    use_head(f);
    start(f, &script);
    UNTIL(f, headed(f).n_errors == 1);
    assert_int_equal(headed(f).n_windows, 0);
    UNTIL(f, f->n_requests == 2);
    assert_memory_equal(f->last_request, "GET /", 5);
    UNTIL(f, headed(f).n_windows == 1);
    close_poller(f);
}

static void test_tiers_follow_what_changes(void **state) {
    (void)state;
    struct poller_recent r = {0};
    enum permit_tier tier = TIER_HOT;
    assert_int_equal(poller_recent__tier(&r, TIER_HOT), TIER_WARM);
    for (int i = 0; i < 3; i++) poller_recent__add(&r, true);
    assert_int_equal(poller_recent__tier(&r, TIER_WARM), TIER_WARM);
    poller_recent__add(&r, false);
    assert_int_equal(poller_recent__tier(&r, TIER_WARM), TIER_HOT); /* 3 of 4. */
    for (int i = 0; i < 8; i++) poller_recent__add(&r, false);
    assert_int_equal(poller_recent__tier(&r, TIER_HOT), TIER_HOT); /* 3 of 12: a quarter. */
    assert_int_equal(poller_recent__tier(&r, TIER_WARM), TIER_WARM);
    for (int i = 0; i < 20; i++) {
        tier = poller_recent__tier(&r, tier);
        poller_recent__add(&r, false);
    }
    assert_int_equal(poller_recent__tier(&r, tier), TIER_COLD);
    poller_recent__add(&r, true);
    assert_int_equal(poller_recent__tier(&r, TIER_COLD), TIER_WARM);
    for (int i = 0; i < 7; i++) poller_recent__add(&r, true);
    assert_int_equal(poller_recent__tier(&r, TIER_WARM), TIER_HOT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_request_has_the_word_of_the_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_no_gives_the_token_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_can_be_closed_while_the_gate_thinks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_first_and_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_head_without_limits_is_said_and_not_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_head_where_somebody_else_governs, setup, teardown),
        cmocka_unit_test(test_tiers_follow_what_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
