/* What a restart remembers. */
#include "test_governor_sim.h"

static const struct sim_window psapi = {.rule = "Ip",
                                        .limit = 2,
                                        .period_s = 1,
                                        .restriction_s = 60,
                                        .bucket_ns = 5 * S,
                                        .phase_ns = 2 * S};
static const struct sim_window slow = {.rule = "Account",
                                       .limit = 5,
                                       .period_s = 300,
                                       .restriction_s = 300,
                                       .bucket_ns = 5 * S,
                                       .phase_ns = 2 * S};

static struct sim *new_with(const struct sim_window *w) {
    struct sim *sim = sim_new(&(struct governor_options){.seed = 3});
    struct endpoint_options o = sim_endpoint("e");
    o.key_gap_ns = 60 * S;
    sim->ep = governor__endpoint(sim->g, &o);
    sim->server.policy = w == NULL ? NULL : "p";
    sim->server.n_windows = w == NULL ? 0 : 1;
    if (w != NULL) sim->server.windows[0] = *w;
    return sim;
}

/** Ends the process of @old, @down_ns long, and starts another one with what was saved last. */
static struct sim *restart(struct sim *old, struct slice saved, int64_t down_ns) {
    struct sim *sim = new_with(NULL);
    struct err e;
    sim->server = old->server;
    /* Another boot: the monotonic clock starts anew, the wall clock goes on. */
    sim->clock.wall_ns = old->clock.wall_ns + down_ns;
    sim->clock.mono_ns = 5 * S;
    /* The server's clock is the simulation's: it has to go on as well. */
    int64_t shift_ns = sim->clock.mono_ns - (old->clock.mono_ns + down_ns);
    for (size_t i = 0; i < sim->server.n_windows; i++) {
        struct sim_window *w = &sim->server.windows[i];
        for (size_t k = 0; k < w->n; k++) w->expires_ns[k] += shift_ns;
        w->restricted_ns += w->restricted_ns == 0 ? 0 : shift_ns;
        w->phase_ns = (w->phase_ns + shift_ns) % w->bucket_ns;
    }
    sim_free(old);
    assert_int_equal(governor__restore(sim->g, saved, &e), 0);
    return sim;
}

static void check_crash_loop(const struct sim_window *w, int64_t down_ns, bool is_answered) {
    struct sim *sim = new_with(w);
    struct buf saved = buf__init(1 << 20);
    size_t n_sent = 0;
    for (int i = 0; i < 500; i++) {
        sim_ask(sim);
        sim_run(sim, 40 * MS, 10 * MS);
        n_sent += sim->n_sent;
        if (sim->n_sent > 0 && !is_answered &&
            i > 2) { /* Saved at the grant, dead before the reply. */
            buf__clear(&saved);
            governor__save(sim->g, &saved);
            sim_run(sim, 20 * MS, 10 * MS); /* It reaches the server. */
        } else {
            sim_run(sim, 100 * MS, 10 * MS);
            buf__clear(&saved);
            governor__save(sim->g, &saved);
        }
        sim = restart(sim, buf__slice(&saved), down_ns);
        assert_int_equal(sim->server.n_violations, 0);
    }
    assert_true(n_sent > 3); /* Careful, not dead. */
    buf__fini(&saved);
    sim_free(sim);
}

/* Killed and started again in the same boot of the machine, with the wall clock set to another
 * time in between: what was sent is as old as it is. */
static void check_start_with_another_clock(int64_t wall_step_ns, int64_t down_ns) {
    struct sim *sim = sim_new(&(struct governor_options){.seed = 3, .boot_id = 77});
    struct sim *next = sim_new(&(struct governor_options){.seed = 3, .boot_id = 77});
    struct buf saved = buf__init(1 << 20);
    struct err e;
    struct endpoint_options o = sim_endpoint("e");
    sim->ep = governor__endpoint(sim->g, &o);
    next->ep = governor__endpoint(next->g, &o);
    sim->server.policy = "p";
    sim->server.n_windows = 1;
    sim->server.windows[0] = slow;
    for (int i = 0; i < 5; i++) {
        sim_ask(sim);
        sim_run(sim, 5 * S, 20 * MS);
    }
    assert_int_equal(sim->n_sent, 5); /* The window is used up. */
    governor__save(sim->g, &saved);
    next->server = sim->server;
    next->clock.mono_ns = sim->clock.mono_ns + down_ns;
    next->clock.wall_ns = sim->clock.wall_ns + down_ns + wall_step_ns;
    assert_int_equal(governor__restore(next->g, buf__slice(&saved), &e), 0);
    sim_free(sim);
    for (int i = 0; i < 5; i++) sim_ask(next);
    sim_run(next, 240 * S, 20 * MS);
    assert_int_equal(next->n_sent, down_ns > 310 * S ? 5 : 0);
    sim_run(next, 700 * S, 20 * MS);
    assert_int_equal(next->n_sent, 5); /* Careful, not dead. */
    assert_int_equal(next->server.n_violations, 0);
    buf__fini(&saved);
    sim_free(next);
}

static void test_a_start_with_another_wall_clock_forgets_nothing(void **state) {
    static const int64_t steps_ns[] = {0, 3600 * S, -3600 * S, 864000 * S, INT64_C(315360000) * S};
    (void)state;
    for (size_t i = 0; i < sizeof steps_ns / sizeof *steps_ns; i++) {
        check_start_with_another_clock(steps_ns[i], 2 * S);
        check_start_with_another_clock(steps_ns[i], 600 * S); /* And what is over is over. */
    }
}

static void test_a_crash_loop_cannot_burst(void **state) {
    (void)state;
    check_crash_loop(&psapi, 100 * MS, true);
    check_crash_loop(&psapi, S, true);
    check_crash_loop(&slow, S, true);
    check_crash_loop(&slow, 3 * S, true);
    check_crash_loop(&slow, 3 * S, false);
}

static void test_holds_and_budgets_survive(void **state) {
    (void)state;
    struct sim *sim = new_with(&psapi);
    struct buf saved = buf__init(1 << 20);
    sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    sim->server.status = 404;
    sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    sim->server.status = 429;
    sim->server.retry_after = "600";
    sim_ask(sim);
    sim_run(sim, 10 * S, 20 * MS);
    int64_t left_ns = sim_status(sim).next_mono_ns - sim->clock.mono_ns;
    governor__save(sim->g, &saved);
    sim = restart(sim, buf__slice(&saved), 100 * S);
    struct endpoint_status s = sim_status(sim);
    assert_int_equal(s.state, ENDPOINT_PENALTY);
    assert_string_equal(s.policy, "p");
    assert_int_equal((s.next_mono_ns - sim->clock.mono_ns) / S, (left_ns - 100 * S) / S);
    sim->server.status = 404;
    sim->server.retry_after = NULL;
    for (int i = 0; i < 12; i++) sim_ask(sim);
    sim_run(sim, 560 * S, 50 * MS); /* The one from before counts: nine are left. */
    assert_in_range(sim->n_sent, 9, 10);
    buf__fini(&saved);
    sim_free(sim);
}

static void test_key_gaps_survive(void **state) {
    (void)state;
    struct sim *sim = new_with(NULL);
    struct buf saved = buf__init(1 << 20);
    sim_ask_of(sim, sim->ep, &sim->server, "a");
    sim_run(sim, S, 20 * MS);
    governor__save(sim->g, &saved);
    sim = restart(sim, buf__slice(&saved), 10 * S);
    struct sim_request *r = sim_ask_of(sim, sim->ep, &sim->server, "a");
    sim_run(sim, 48 * S, 20 * MS);
    assert_false(r->sent);
    sim_run(sim, 3 * S, 20 * MS);
    assert_true(r->sent);
    buf__fini(&saved);
    sim_free(sim);
}

static void test_a_disabled_endpoint_stays_disabled(void **state) {
    (void)state;
    struct sim *sim = new_with(&psapi);
    struct buf saved = buf__init(1 << 20);
    sim->server.status = 401;
    sim_ask(sim);
    sim_ask(sim);
    sim_run(sim, 20 * S, 20 * MS);
    governor__save(sim->g, &saved);
    sim = restart(sim, buf__slice(&saved), 10 * S);
    assert_int_equal(sim_ask(sim)->status, ERR_REFUSED);
    assert_non_null(strstr(sim_status(sim).reason, "not authorized"));
    buf__fini(&saved);
    sim_free(sim);
}

/* Run with other sources once, or twice: what is known of the one that was away is not lost. */
static void test_who_is_away_for_a_run_is_not_forgotten(void **state) {
    (void)state;
    struct sim *sim = new_with(&psapi);
    struct buf saved = buf__init(1 << 20);
    struct err e;
    sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    sim->server.status = 401;
    sim_ask(sim);
    sim_ask(sim);
    sim_run(sim, 20 * S, 20 * MS);
    assert_string_equal(sim_status(sim).policy, "p");
    governor__save(sim->g, &saved);
    for (int i = 0; i < 2; i++) {
        struct sim *other = sim_new(&(struct governor_options){.seed = 3});
        other->clock.wall_ns = sim->clock.wall_ns + (i + 1) * S;
        assert_int_equal(governor__restore(other->g, buf__slice(&saved), &e), 0);
        buf__clear(&saved);
        governor__save(other->g, &saved);
        sim_free(other);
    }
    sim = restart(sim, buf__slice(&saved), 3 * S);
    struct endpoint_status s = sim_status(sim);
    assert_string_equal(s.policy, "p");
    assert_non_null(strstr(s.reason, "not authorized"));
    assert_int_equal(sim_ask(sim)->status, ERR_REFUSED);
    buf__clear(&saved);
    governor__save(sim->g, &saved); /* It is back, and told of once. */
    sim = restart(sim, buf__slice(&saved), S);
    assert_string_equal(sim_status(sim).policy, "p");
    buf__fini(&saved);
    sim_free(sim);
}

static void test_every_damage_is_noticed(void **state) {
    (void)state;
    struct sim *sim = new_with(&psapi);
    struct buf saved = buf__init(1 << 20);
    struct err e;
    sim_ask_of(sim, sim->ep, &sim->server, "a");
    sim_run(sim, S, 20 * MS);
    governor__save(sim->g, &saved);
    for (size_t i = 0; i < saved.len; i++) {
        saved.base[i] ^= 1;
        assert_int_equal(governor__restore(sim->g, buf__slice(&saved), &e), ERR_CORRUPT);
        saved.base[i] ^= 1;
        assert_int_equal(governor__restore(sim->g, slice__of(saved.base, i), &e), ERR_CORRUPT);
    }
    buf__fini(&saved);
    sim_free(sim);
}

static void test_damage_makes_careful(void **state) {
    (void)state;
    struct sim *sim = new_with(&psapi);
    struct err e;
    assert_int_equal(governor__restore(sim->g, SLICE_LIT("nonsense, and long enough"), &e),
                     ERR_CORRUPT);
    for (int i = 0; i < 3; i++) sim_ask(sim);
    sim_run(sim, 65 * S, 50 * MS);
    assert_int_equal(sim->n_sent, 0);
    sim_run(sim, 3 * S, 50 * MS);
    assert_int_equal(sim->n_sent, 1); /* And the window that it showed is taken to be full. */
    sim_run(sim, 8 * S, 50 * MS);
    assert_true(sim->n_sent > 1);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_a_wall_clock_set_back_frees_nothing(void **state) {
    (void)state;
    struct sim *sim = new_with(&slow);
    struct buf saved = buf__init(1 << 20);
    for (int i = 0; i < 5; i++) sim_ask(sim);
    sim_run(sim, 60 * S, 20 * MS);
    assert_int_equal(sim->n_sent, 5);
    governor__save(sim->g, &saved);
    sim = restart(sim, buf__slice(&saved), -86400 * S);
    assert_int_equal(sim_status(sim).windows[0].used, 5); /* A minute old when they were saved. */
    assert_in_range((sim_status(sim).next_mono_ns - sim->clock.mono_ns) / S, 245, 246);
    buf__fini(&saved);
    sim_free(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_start_with_another_wall_clock_forgets_nothing),
        cmocka_unit_test(test_a_crash_loop_cannot_burst),
        cmocka_unit_test(test_holds_and_budgets_survive),
        cmocka_unit_test(test_key_gaps_survive),
        cmocka_unit_test(test_a_disabled_endpoint_stays_disabled),
        cmocka_unit_test(test_who_is_away_for_a_run_is_not_forgotten),
        cmocka_unit_test(test_every_damage_is_noticed),
        cmocka_unit_test(test_damage_makes_careful),
        cmocka_unit_test(test_a_wall_clock_set_back_frees_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
