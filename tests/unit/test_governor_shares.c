/* Classes of work that share one policy: nobody starves, ceilings hold, somebody who is in charge can
 * pause and kill, and what comes back does not come back at once. The server counts for itself. */
#include "test_governor_sim.h"

static const struct sim_window stash[] = {
    {.rule = "Account", .limit = 15, .period_s = 10, .restriction_s = 60, .bucket_ns = 5 * S, .phase_ns = 1700 * MS},
    {.rule = "Account", .limit = 30, .period_s = 300, .restriction_s = 300, .bucket_ns = 60 * S, .phase_ns = 41 * S},
};

static struct sim *new_sim(const struct governor_options *options) {
    struct sim *sim = sim_new(options);
    struct endpoint_options o = sim_endpoint("stash");
    sim->ep = governor__endpoint(sim->g, &o);
    sim->server.policy = "p";
    sim->server.n_windows = 2;
    for (size_t i = 0; i < 2; i++) sim->server.windows[i] = stash[i];
    return sim;
}

static struct sim_request *ask_as(struct sim *sim, struct endpoint *ep, enum permit_class class, enum permit_tier tier) {
    assert_true(sim->n_requests < SIM_REQUESTS);
    struct sim_request *r = &sim->requests[sim->n_requests++];
    *r = (struct sim_request){.sim = sim, .server = &sim->server, .used = true, .permit.data = r,
                              .permit.class = class, .permit.tier = tier};
    assert_int_equal(governor__acquire(sim->g, ep, &r->permit, "", sim_on_permit), 0);
    return r;
}

static size_t n_sent(const struct sim *sim, enum permit_class class) {
    size_t n = 0;
    for (size_t i = 0; i < sim->n_requests; i++)
        n += sim->requests[i].sent && sim->requests[i].permit.class == class;
    return n;
}

static void test_a_flood_leaves_the_others_their_share(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    for (size_t i = 0; i < 200; i++) ask_as(sim, sim->ep, CLASS_TAIL, TIER_HOT);
    for (size_t i = 0; i < 20; i++) ask_as(sim, sim->ep, CLASS_BACKFILL, TIER_HOT);
    for (size_t i = 0; i < 20; i++) ask_as(sim, sim->ep, CLASS_METADATA, TIER_HOT);
    sim_run(sim, 1000 * S, 20 * MS);
    size_t all = sim->n_sent;
    assert_true(all >= 80);
    /* 4 : 2 : 1, within one round. */
    assert_in_range(n_sent(sim, CLASS_BACKFILL), all / 7 - 2, all / 7 + 2);
    assert_in_range(n_sent(sim, CLASS_METADATA), all * 2 / 7 > 20 ? 20 : all * 2 / 7 - 2, all * 2 / 7 + 2);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_shares_hold_between_endpoints_of_a_policy(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct endpoint_options o = sim_endpoint("list");
    struct endpoint *other = governor__endpoint(sim->g, &o);
    sim_ask_of(sim, other, &sim->server, "");
    sim_ask(sim);
    sim_run(sim, 400 * S, 20 * MS); /* Both know their policy; the windows are free again. */
    for (size_t i = 0; i < 200; i++) ask_as(sim, sim->ep, CLASS_BACKFILL, TIER_HOT);
    for (size_t i = 0; i < 60; i++) ask_as(sim, other, CLASS_TAIL, TIER_HOT);
    size_t before = sim->n_sent;
    sim_run(sim, 370 * S, 20 * MS);
    size_t backfill = n_sent(sim, CLASS_BACKFILL), all = sim->n_sent - before;
    assert_true(all >= 30);
    assert_in_range(backfill, all / 5 - 2, all / 5 + 2); /* 1 of 5, though its queue is longer. */
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_who_is_alone_takes_what_its_ceiling_allows(void **state) {
    (void)state;
    static const struct {
        enum permit_class class;
        double ceiling, from, to; /* Of what TAIL gets in the same time. */
    } table[] = {{CLASS_BACKFILL, 0, 0.7, 0.92}, {CLASS_BACKFILL, 0.3, 0.2, 0.4}, {CLASS_METADATA, 0, 0.4, 0.6},
                 {CLASS_INTERACTIVE, 0, 1, 1}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t n[2];
        for (int k = 0; k < 2; k++) {
            struct governor_options o = {.utilisation = 1, .seed = 7};
            o.ceiling[table[i].class] = table[i].ceiling;
            struct sim *sim = new_sim(&o);
            for (size_t r = 0; r < 250; r++) ask_as(sim, sim->ep, k == 0 ? CLASS_TAIL : table[i].class, TIER_HOT);
            sim_run(sim, 1800 * S, 50 * MS);
            n[k] = sim->n_sent;
            assert_int_equal(sim->server.n_violations, 0);
            sim_free(sim);
        }
        assert_true((double)n[1] >= table[i].from * (double)n[0] && (double)n[1] <= table[i].to * (double)n[0]);
    }
}

static void test_what_is_undone_is_not_of_the_ceiling(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    sim_ask(sim);
    sim_run(sim, 400 * S, 20 * MS); /* The policy is known; its windows are free again. */
    struct permit p = {.class = CLASS_BACKFILL};
    for (int i = 0; i < 100; i++) { /* Somebody else who governs the address says no each time. */
        assert_int_equal(governor__try(sim->g, sim->ep, &p, ""), 0);
        governor__undo(sim->g, &p);
        sim_run(sim, S, 20 * MS);
    }
    struct sim_request *r = ask_as(sim, sim->ep, CLASS_BACKFILL, TIER_HOT);
    sim_run(sim, S, 20 * MS);
    assert_true(r->sent);
    sim_free(sim);
}

static void test_somebody_who_waits_for_it_is_soon_served(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    for (size_t i = 0; i < 200; i++) ask_as(sim, sim->ep, CLASS_BACKFILL, TIER_HOT);
    sim_run(sim, 60 * S, 20 * MS);
    struct sim_request *r = ask_as(sim, sim->ep, CLASS_INTERACTIVE, TIER_HOT);
    size_t before = sim->n_sent;
    sim_run(sim, 400 * S, 20 * MS);
    assert_true(r->sent);
    size_t overtaken = 0;
    for (size_t i = 0; i < sim->n_requests; i++)
        overtaken += sim->requests[i].sent && sim->requests[i].sent_ns < r->sent_ns;
    assert_true(overtaken <= before + 1); /* One may have been ready already. */
    sim_free(sim);
}

static void test_hot_before_cold_and_cold_all_the_same(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct sim_request *cold = ask_as(sim, sim->ep, CLASS_TAIL, TIER_COLD), *warm = ask_as(sim, sim->ep, CLASS_TAIL, TIER_WARM),
                       *hot = ask_as(sim, sim->ep, CLASS_TAIL, TIER_HOT);
    sim_run(sim, 5 * S, 20 * MS);
    assert_true(hot->sent && warm->sent && cold->sent);
    assert_true(hot->sent_ns < warm->sent_ns && warm->sent_ns < cold->sent_ns);
    /* A stream of hot ones that never ends does not keep it out: its deadline comes. */
    for (int i = 0; i < 60; i++) ask_as(sim, sim->ep, CLASS_TAIL, TIER_HOT);
    cold = ask_as(sim, sim->ep, CLASS_TAIL, TIER_COLD);
    for (int i = 0; i < 100 && !cold->sent; i++) {
        sim_run(sim, 10 * S, 50 * MS);
        ask_as(sim, sim->ep, CLASS_TAIL, TIER_HOT);
    }
    assert_true(cold->sent);
    sim_free(sim);
}

static void test_a_permit_that_is_out_is_named(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct permit p = {.class = CLASS_TAIL};
    assert_int_equal(governor__try(sim->g, sim->ep, &p, ""), 0);
    assert_string_equal(sim_status(sim).reason, "waits for a reply: 1 of its permits is out");
    governor__undo(sim->g, &p);
    assert_null(strstr(sim_status(sim).reason, "out"));
    sim_free(sim);
}

static void test_try_takes_a_token_or_says_when(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    sim_ask(sim);
    sim_run(sim, 20 * S, 20 * MS);
    struct permit permits[40] = {0};
    size_t n = 0;
    for (int i = 0; i < 40; i++) {
        sim_run(sim, S, 20 * MS);
        int rc = governor__try(sim->g, sim->ep, &permits[i], "");
        assert_true(rc == 0 || rc == ERR_UNAVAILABLE);
        if (rc != 0) {
            struct endpoint_status st = sim_status(sim);
            assert_true(st.next_mono_ns > sim->clock.mono_ns);
            assert_non_null(strstr(st.reason, "waits"));
            continue;
        }
        n++;
        sim_hit(&sim->server, sim->clock.mono_ns);
        struct sim_text t = {.n = 0};
        sim_headers(&sim->server, sim->clock.mono_ns, &t);
        governor__report(sim->g, &permits[i],
                         &(struct governor_reply){.status = 200, .headers = t.headers, .n_headers = t.n,
                                                  .done_mono_ns = sim->clock.mono_ns}, NULL);
    }
    assert_in_range(n, 25, 30);
    assert_int_equal(sim->server.n_violations, 0);
    struct sim_request *waiting = sim_ask(sim); /* Who queues is not overtaken. */
    assert_int_equal(governor__try(sim->g, sim->ep, &permits[39], ""), ERR_UNAVAILABLE);
    sim_run(sim, 400 * S, 20 * MS);
    assert_true(waiting->sent);
    governor__kill(sim->g, sim->ep, "test");
    assert_int_equal(governor__try(sim->g, sim->ep, &permits[39], ""), ERR_REFUSED);
    sim_free(sim);
}

static void test_a_request_may_cost_more_than_one(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    sim_ask(sim);
    sim_run(sim, 400 * S, 20 * MS);
    struct permit big = {.cost = 20}, more = {.cost = 11}, small = {.cost = 10};
    /* 20 of 15 in the first window can never go; then 11 and 4 may not be had in one. */
    assert_int_equal(governor__try(sim->g, sim->ep, &big, ""), ERR_LIMIT);
    assert_int_equal(governor__try(sim->g, sim->ep, &more, ""), 0);
    sim_run(sim, S, 20 * MS);
    assert_int_equal(governor__try(sim->g, sim->ep, &small, ""), ERR_UNAVAILABLE);
    governor__report(sim->g, &more, &(struct governor_reply){.status = 200, .done_mono_ns = sim->clock.mono_ns}, NULL);
    assert_int_equal(sim_status(sim).windows[0].used, 11);
    sim_free(sim);
}

static void test_pause_holds_and_kill_refuses(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct sim_request *r = sim_ask(sim);
    governor__pause(sim->g, sim->ep, 100 * S, "a maintenance");
    sim_run(sim, 99 * S, 20 * MS);
    assert_false(r->sent);
    assert_non_null(strstr(sim_status(sim).reason, "paused: a maintenance"));
    sim_run(sim, 2 * S, 20 * MS);
    assert_true(r->sent);
    governor__pause(sim->g, sim->ep, INT64_MAX, "for good");
    r = sim_ask(sim);
    sim_run(sim, 1000 * S, 50 * MS);
    assert_false(r->sent);
    governor__resume(sim->g, sim->ep);
    sim_run(sim, S, 20 * MS);
    assert_true(r->sent);
    r = sim_ask(sim);
    governor__kill(sim->g, sim->ep, "the vendor asked");
    sim_run(sim, S, 20 * MS);
    assert_true(r->told && !r->sent);
    assert_int_equal(sim_status(sim).state, ENDPOINT_KILLED);
    assert_string_equal(sim_status(sim).reason, "killed: the vendor asked");
    sim_free(sim);
}

static void test_a_kill_survives_a_restart(void **state) {
    (void)state;
    struct buf saved = buf__init(1 << 16);
    struct err e;
    struct sim *sim = new_sim(&(struct governor_options){.seed = 7});
    governor__kill(sim->g, sim->ep, "the vendor asked");
    governor__save(sim->g, &saved);
    sim_free(sim);
    sim = new_sim(&(struct governor_options){.seed = 7});
    assert_int_equal(governor__restore(sim->g, buf__slice(&saved), &e), 0);
    assert_int_equal(sim_status(sim).state, ENDPOINT_KILLED);
    governor__resume(sim->g, sim->ep);
    governor__pause(sim->g, sim->ep, 50 * S, "later");
    buf__clear(&saved);
    governor__save(sim->g, &saved);
    sim_free(sim);
    sim = new_sim(&(struct governor_options){.seed = 7});
    assert_int_equal(governor__restore(sim->g, buf__slice(&saved), &e), 0);
    struct sim_request *r = sim_ask(sim);
    sim_run(sim, 49 * S, 20 * MS);
    assert_false(r->sent);
    sim_run(sim, 2 * S, 20 * MS);
    assert_true(r->sent);
    sim_free(sim);
    buf__fini(&saved);
}

static void test_after_an_outage_it_comes_back_in_stages(void **state) {
    (void)state;
    struct sim *sim = new_sim(&(struct governor_options){.utilisation = 1, .seed = 7});
    sim_ask(sim);
    sim_run(sim, 400 * S, 20 * MS);
    for (int i = 0; i < 200; i++) sim_ask(sim);
    sim->server.status = 503;
    sim_run(sim, 400 * S, 50 * MS);
    assert_int_equal(sim_status(sim).state, ENDPOINT_BACKOFF);
    sim->server.status = 200;
    while (sim_status(sim).state == ENDPOINT_BACKOFF || sim_status(sim).state == ENDPOINT_PROBE) sim_step(sim, 20 * MS);
    while (sim->n_answered < sim->n_sent) sim_step(sim, 20 * MS);
    size_t before = sim->n_sent;
    sim_run(sim, 10 * S, 20 * MS);
    assert_in_range(sim->n_sent - before, 1, 4); /* A quarter of 15. */
    assert_int_equal(sim_status(sim).state, ENDPOINT_RECOVER);
    sim_run(sim, 600 * S, 50 * MS);
    assert_int_not_equal(sim_status(sim).state, ENDPOINT_RECOVER);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_a_host_has_so_many_under_way(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.seed = 7, .host_inflight_max = 2, .host_gap_ns = 1});
    struct endpoint_options o = sim_endpoint("a");
    struct endpoint *eps[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    o.rate_per_s = 100;
    for (int i = 0; i < 4; i++) {
        o.name = names[i];
        eps[i] = governor__endpoint(sim->g, &o);
        sim_ask_of(sim, eps[i], &sim->server, "");
    }
    sim_run(sim, 10 * S, 20 * MS); /* All have been answered once. */
    assert_int_equal(sim->n_answered, 4);
    sim->latency_ns = 3600 * S;
    for (int i = 0; i < 8; i++) sim_ask_of(sim, eps[i % 4], &sim->server, "");
    sim_run(sim, 10 * S, 20 * MS);
    assert_int_equal(sim->n_sent, 6);
    sim_free(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_permit_that_is_out_is_named),
        cmocka_unit_test(test_a_flood_leaves_the_others_their_share),
        cmocka_unit_test(test_shares_hold_between_endpoints_of_a_policy),
        cmocka_unit_test(test_who_is_alone_takes_what_its_ceiling_allows),
        cmocka_unit_test(test_what_is_undone_is_not_of_the_ceiling),
        cmocka_unit_test(test_somebody_who_waits_for_it_is_soon_served),
        cmocka_unit_test(test_hot_before_cold_and_cold_all_the_same),
        cmocka_unit_test(test_try_takes_a_token_or_says_when),
        cmocka_unit_test(test_a_request_may_cost_more_than_one),
        cmocka_unit_test(test_pause_holds_and_kill_refuses),
        cmocka_unit_test(test_a_kill_survives_a_restart),
        cmocka_unit_test(test_after_an_outage_it_comes_back_in_stages),
        cmocka_unit_test(test_a_host_has_so_many_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
