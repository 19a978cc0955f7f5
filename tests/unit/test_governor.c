/* The governor against a server that counts for itself (test_governor_sim.h): the scenarios of
 * facts on rate limits § 3.6. The gate of all: no violation by the server's own books. */
#include "test_governor_sim.h"

static struct sim *new_with(const char *policy, size_t n, const struct sim_window *windows) {
    struct sim *sim = sim_new(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct endpoint_options o = sim_endpoint("stash");
    sim->ep = governor__endpoint(sim->g, &o);
    sim->server.policy = policy;
    sim->server.n_windows = n;
    for (size_t i = 0; i < n; i++) sim->server.windows[i] = windows[i];
    return sim;
}

static const struct sim_window stash[] = {
    {.rule = "Account",
     .limit = 15,
     .period_s = 10,
     .restriction_s = 60,
     .bucket_ns = 5 * S,
     .phase_ns = 1700 * MS},
    {.rule = "Account",
     .limit = 30,
     .period_s = 300,
     .restriction_s = 300,
     .bucket_ns = 60 * S,
     .phase_ns = 41 * S},
};
static const struct sim_window trade[] = {
    {.rule = "Ip",
     .limit = 8,
     .period_s = 10,
     .restriction_s = 60,
     .bucket_ns = 5 * S,
     .phase_ns = 1},
    {.rule = "Ip",
     .limit = 15,
     .period_s = 60,
     .restriction_s = 120,
     .bucket_ns = 60 * S,
     .phase_ns = 7 * S},
    {.rule = "Ip",
     .limit = 60,
     .period_s = 300,
     .restriction_s = 1800,
     .bucket_ns = 60 * S,
     .phase_ns = 59 * S},
    {.rule = "Account",
     .limit = 3,
     .period_s = 5,
     .restriction_s = 60,
     .bucket_ns = 5 * S,
     .phase_ns = 3 * S},
};
static const struct sim_window psapi[] = {
    {.rule = "Ip",
     .limit = 2,
     .period_s = 1,
     .restriction_s = 60,
     .bucket_ns = 5 * S,
     .phase_ns = 2 * S},
};

/** The least time for @n requests when each waits for the @limit-th before it, written down anew.
 */
static int64_t padded_optimum(const struct sim_window *w, size_t n_windows, size_t n,
                              int64_t latency_ns) {
    static int64_t sent[SIM_REQUESTS];
    for (size_t i = 0; i < n; i++) {
        sent[i] = i == 0 ? 0 : sent[i - 1] + 250 * MS;
        for (size_t k = 0; k < n_windows; k++) {
            if (i < w[k].limit) continue;
            bool first = k == 0 || strcmp(w[k].rule, w[k - 1].rule) != 0;
            int64_t t =
                sent[i - w[k].limit] + latency_ns + w[k].period_s * S + (first ? 6 : 61) * S;
            if (t > sent[i]) sent[i] = t;
        }
    }
    return sent[n - 1] + latency_ns;
}

static void check_burst(const struct sim_window *w, size_t n_windows, size_t n) {
    struct sim *sim = new_with("p", n_windows, w);
    int64_t start_ns = sim->clock.mono_ns;
    for (size_t i = 0; i < n; i++) sim_ask(sim);
    int64_t end_ns = sim_finish(sim, 24 * 3600 * S, 20 * MS);
    int64_t least_ns = padded_optimum(w, n_windows, n, sim->latency_ns);
    assert_int_equal(sim->server.n_violations, 0);
    assert_int_equal(sim->n_answered, n);
    assert_true(end_ns - start_ns >= least_ns - S);
    assert_true((double)(end_ns - start_ns) <= 1.05 * (double)least_ns);
    sim_free(sim);
}

static void test_saturation_is_fast_and_without_violation(void **state) {
    (void)state;
    check_burst(psapi, 1, 200);
    check_burst(stash, 2, 150);
    check_burst(trade, 4, 200);
    check_burst(trade, 3, 200);
    check_burst(trade, 1, 200);
}

static void test_every_bucket_phase_is_safe(void **state) {
    (void)state;
    for (int64_t phase_ms = 0; phase_ms < 5000; phase_ms += 250) {
        struct sim_window w = psapi[0];
        w.phase_ns = phase_ms * MS;
        struct sim *sim = new_with("psapi", 1, &w);
        for (size_t i = 0; i < 40; i++) sim_ask(sim);
        assert_true(sim_finish(sim, 3600 * S, 50 * MS) > 0);
        assert_int_equal(sim->server.n_violations, 0);
        sim_free(sim);
    }
}

static void test_first_request_goes_alone(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    sim->latency_ns = 3 * S;
    for (size_t i = 0; i < 5; i++) sim_ask(sim);
    sim_run(sim, 2900 * MS, 50 * MS);
    assert_int_equal(sim->n_sent, 1);
    sim_run(sim, 1000 * MS, 50 * MS);
    assert_int_equal(sim->n_sent, 3); /* Two in flight from now on. */
    sim_free(sim);
}

static void test_first_requests_of_a_host_take_turns(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    struct endpoint_options o = sim_endpoint("list");
    struct endpoint *other = governor__endpoint(sim->g, &o);
    sim->latency_ns = 3 * S;
    sim_ask(sim);
    sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, 2900 * MS, 50 * MS);
    assert_int_equal(sim->n_sent, 1);
    sim_run(sim, 500 * MS, 50 * MS);
    assert_int_equal(sim->n_sent, 2);
    sim_free(sim);
}

static void test_who_waits_for_a_first_request_goes_on_behind_it(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct endpoint_options o = sim_endpoint("site");
    o.venue = "v";
    sim->ep = governor__endpoint(sim->g, &o);
    o = sim_endpoint("api");
    o.host = "elsewhere";
    o.venue = "v";
    struct endpoint *other = governor__endpoint(sim->g, &o);
    sim->server.status = 429; /* Of something in front of the site, which knows no policy. */
    sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    assert_int_equal(sim->n_answered, 1);
    sim->latency_ns = 100 * S; /* The first of the other is under way when the site is due again. */
    struct sim_server api = {0};
    assert_true(sim_ask_of(sim, other, &api, "") != NULL);
    sim_run(sim, S, 20 * MS);
    sim->latency_ns = S;
    sim->server.status = 0;
    struct sim_request *again = sim_ask(sim);
    sim_run(sim, 90 * S, 20 * MS);
    assert_false(again->sent); /* It may be about the same policy. */
    sim_run(sim, 20 * S, 20 * MS);
    assert_true(again->sent);
    sim_free(sim);
}

static void test_cold_start_with_residue(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    for (int i = 0; i < 13; i++) sim_hit(&sim->server, sim->clock.mono_ns - 2 * S);
    for (size_t i = 0; i < 60; i++) sim_ask(sim);
    assert_true(sim_finish(sim, 3600 * S, 20 * MS) > 0);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_a_policy_without_rules_is_no_licence(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    sim->server.no_rules = true; /* As a HEAD was answered once. */
    struct sim_request *first = sim_ask(sim);
    for (size_t i = 0; i < 10; i++) sim_ask(sim);
    sim_run(sim, 10 * S, 20 * MS);
    assert_string_equal(first->verdict.error, "a policy without rules");
    assert_in_range(sim->n_sent, 8, 11); /* One a second, alone: the rate for the unknown. */
    assert_true(sim_status(sim).n_errors > 0);
    sim->server.no_rules = false;
    sim_run(sim, 5 * S, 20 * MS);
    assert_int_equal(sim_status(sim).n_windows, 2);
    sim->server.no_rules = true;
    struct sim_request *later = sim_ask(sim);
    sim_run(sim, 60 * S, 20 * MS);
    assert_true(later->answered);
    assert_int_equal(sim_status(sim).n_windows, 2); /* The old windows stand. */
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_a_renamed_policy_keeps_its_history(void **state) {
    (void)state;
    struct sim *sim = new_with("old", 2, stash);
    for (size_t i = 0; i < 40; i++) sim_ask(sim);
    sim_run(sim, 3 * S, 20 * MS);
    sim->server.policy = "new";
    assert_true(sim_finish(sim, 3600 * S, 20 * MS) > 0);
    assert_string_equal(sim_status(sim).policy, "new");
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_endpoints_of_one_policy_share_it_in_turns(void **state) {
    (void)state;
    struct sim *sim = new_with("shared", 2, stash);
    struct endpoint_options o = sim_endpoint("list");
    struct endpoint *other = governor__endpoint(sim->g, &o);
    for (size_t i = 0; i < 100; i++) sim_ask(sim); /* Floods. */
    sim_run(sim, S, 20 * MS);
    struct sim_request *probe = sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, S, 20 * MS);
    assert_true(probe->sent);
    size_t n_before = sim->n_sent;
    for (size_t i = 0; i < 10; i++) sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, 400 * S, 20 * MS);
    size_t n_other = 0;
    for (size_t i = 101; i < sim->n_requests; i++) n_other += sim->requests[i].sent;
    assert_true(n_other >= 8); /* Behind 94 others it would have been none before 30 of theirs. */
    assert_true(sim->n_sent - n_before > n_other);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_limits_may_change_at_any_reply(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    for (size_t i = 0; i < 120; i++) sim_ask(sim);
    sim_run(sim, 2 * S, 20 * MS);
    sim->server.windows[1].limit = 12; /* Shrinks while few are spent. */
    sim_run(sim, 1500 * S, 20 * MS);
    /* Two may have been in flight when it shrank, but the counts were below it. */
    assert_int_equal(sim->server.n_violations, 0);
    assert_int_equal(sim_status(sim).windows[1].limit, 12);
    sim->server.windows[1].limit = 60; /* Grows. */
    sim->server.windows[2] = (struct sim_window){
        .rule = "Ip", .limit = 100, .period_s = 60, .restriction_s = 60, .bucket_ns = 5 * S};
    sim->server.n_windows = 3; /* And there is one more. */
    assert_true(sim_finish(sim, 3600 * S, 20 * MS) > 0);
    assert_int_equal(sim->server.n_violations, 0);
    assert_int_equal(sim_status(sim).n_windows, 3);
    sim_free(sim);
}

static void test_hits_of_others_take_tokens_away(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    for (size_t i = 0; i < 60; i++) sim_ask(sim);
    for (int k = 0; k < 6; k++) { /* Another tool spends a third, never at our last token. */
        sim_run(sim, S, 20 * MS);
        if (sim->server.windows[0].n < 8) sim_hit(&sim->server, sim->clock.mono_ns);
    }
    assert_true(sim_finish(sim, 3600 * S, 20 * MS) > 0);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_half_of_the_budget_eaten_by_another(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, &stash[1]); /* 30 in 300 s. */
    for (size_t i = 0; i < 200; i++) sim_ask(sim);
    int64_t next_ns = sim->clock.mono_ns;
    for (int i = 0; i < 3600 * 20; i++) {
        sim_step(sim, 50 * MS);
        if (sim->clock.mono_ns < next_ns) continue;
        next_ns += 20 * S; /* 15 in 300 s, and it keeps to the limits itself. */
        if (sim->server.windows[0].n < 28) sim_hit(&sim->server, sim->clock.mono_ns);
    }
    assert_in_range(sim->server.n_violations, 0, 1);
    assert_true(sim->n_sent >= 40); /* Half of what 300 + 60 + 1 s allow, and not starved. */
    sim_free(sim);
}

static void test_race_at_saturation_costs_one_429(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    for (size_t i = 0; i < 60; i++) sim_ask(sim);
    while (sim->n_answered < 14) sim_step(sim, 10 * MS);
    for (int i = 0; i < 16; i++) sim_hit(&sim->server, sim->clock.mono_ns);
    assert_true(sim_finish(sim, 3600 * S, 20 * MS) > 0);
    /* Those that were in flight, and nothing after the reply. */
    assert_in_range(sim->server.n_violations, 1, 2);
    assert_true(sim->server.n_arrived_restricted <= 2 * 2);
    sim_free(sim);
}

static void test_429_is_waited_out(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, psapi);
    sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    for (int i = 0; i < 4; i++)
        sim_hit(&sim->server, sim->clock.mono_ns); /* Another tool is banned. */
    struct sim_request *r = sim_ask(sim);
    sim_run(sim, 8 * S, 20 * MS);
    assert_int_equal(r->reply_status, 429);
    assert_true(r->verdict.throttled);
    assert_int_equal(sim_status(sim).state, ENDPOINT_PENALTY);
    struct sim_request *next = sim_ask(sim);
    assert_true(sim_finish(sim, 300 * S, 20 * MS) > 0);
    assert_int_equal(next->reply_status, 200);
    assert_int_equal(sim->server.n_violations, 1);
    sim_free(sim);
}

static void test_a_reply_never_lowers_a_hold(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    sim->latency_ns = 500 * MS;
    sim_ask(sim);
    sim_run(sim, 2 * S, 20 * MS);
    struct sim_request *a = sim_ask(sim), *b = sim_ask(sim);
    while (!b->sent) sim_step(sim, 20 * MS);
    sim->server.status = 429;
    sim->server.retry_after = "120";
    while (!a->answered) sim_step(sim, 20 * MS);
    int64_t hold_ns = sim_status(sim).next_mono_ns;
    assert_true(hold_ns >= sim->clock.mono_ns + 120 * S);
    sim->server.status = 200;
    sim->server.retry_after = "1";
    while (!b->answered) sim_step(sim, 20 * MS);
    assert_true(sim_status(sim).next_mono_ns >= hold_ns);
    sim_free(sim);
}

static int n_full(struct sim *sim, const char *what) {
    return (int)metrics__counter(&sim->metrics, "souk_governor_full_total", "", "what=\"%s\"", what)
        ->value;
}

/* A server that names a policy for every endpoint: beyond 1,024 they keep windows of their own. */
static void test_policies_and_endpoints_are_bounded(void **state) {
    (void)state;
    enum { POLICIES = 1024, MORE = 5, ENDPOINTS = 10000 };
    static const struct sim_window wide[] = {
        {.rule = "Ip", .limit = 4000, .period_s = 3600, .restriction_s = 60, .bucket_ns = S}};
    struct sim *sim = new_with("p", 1, wide);
    char name[32], policy[32];
    for (int i = 0; i < POLICIES + MORE; i++) {
        snprintf(name, sizeof name, "e%d", i);
        snprintf(policy, sizeof policy, "policy-%d", i);
        sim->server.policy = policy;
        struct endpoint_options o = sim_endpoint(name);
        sim_ask_of(sim, governor__endpoint(sim->g, &o), &sim->server, "");
        assert_true(sim_finish(sim, 3600 * S, 50 * MS) > 0);
    }
    struct endpoint_status st;
    governor__status(sim->g, POLICIES + MORE, &st);
    assert_string_equal(st.policy, "");
    assert_int_equal(st.n_windows, 1); /* What the server said holds all the same. */
    assert_int_equal(n_full(sim, "policy"), MORE);
    assert_int_equal(n_full(sim, "endpoint"), 0);
    int n = POLICIES + MORE + 1;
    for (struct endpoint_options o = sim_endpoint("more"); governor__endpoint(sim->g, &o) != NULL;) n++;
    assert_int_equal(n, ENDPOINTS);
    assert_int_equal(n_full(sim, "endpoint"), 1);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_hundreds_of_waiting_and_canceled(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    for (size_t i = 0; i < 256; i++) sim_ask(sim);
    assert_int_equal(sim_ask(sim)->status, ERR_FULL);
    assert_int_equal(n_full(sim, "waiter"), 1);
    sim_run(sim, 2 * S, 20 * MS);
    size_t n_sent = sim->n_sent, n = 0;
    for (size_t i = 0; i < 256; i++) {
        if (i % 8 == 0) continue;
        if (!sim->requests[i].sent) n++;
        governor__cancel(sim->g, &sim->requests[i].permit);
    }
    assert_int_equal(sim->n_canceled, 0); /* Not before the loop turns. */
    sim_step(sim, 0);
    assert_int_equal(sim->n_canceled, n);
    assert_true(sim_finish(sim, 3600 * S, 20 * MS) > 0);
    assert_int_equal(sim->server.n_violations, 0);
    assert_in_range(sim->n_sent, n_sent + 20, n_sent + 32);
    sim_free(sim);
}

static void test_undone_requests_give_their_tokens_back(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, psapi);
    sim_ask(sim);
    sim_run(sim, 10 * S, 20 * MS);
    sim->latency_ns = 3600 * S; /* Never sent on by the test. */
    for (int i = 0; i < 20; i++) {
        struct sim_request *r = sim_ask(sim);
        sim_run(sim, 300 * MS, 10 * MS);
        assert_true(r->sent);
        r->answered = true;
        governor__undo(sim->g, &r->permit);
    }
    assert_int_equal(sim_status(sim).windows[0].used, 0);
    sim_free(sim);
}

static void test_unanswered_requests_stay_counted(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, psapi);
    sim_ask(sim);
    sim_run(sim, 10 * S, 20 * MS);
    sim->latency_ns = 7200 * S;
    for (int i = 0; i < 4; i++) sim_ask(sim);
    sim_run(sim, 590 * S, 100 * MS);
    assert_int_equal(sim->n_sent, 3);
    assert_int_equal(sim_status(sim).n_inflight, 2);
    sim_run(sim, 20 * S, 100 * MS); /* Ten minutes: they are taken to have ended. */
    assert_int_equal(sim->n_sent, 5);
    sim->requests[1].reply_status = 200;
    sim_reply(&sim->requests[1]); /* Late, and still no harm. */
    assert_int_equal(sim_status(sim).n_inflight, 2);
    sim_free(sim);
}

static void test_a_block_page_halts_the_host(void **state) {
    (void)state;
    struct sim *sim = new_with(NULL, 0, NULL);
    struct endpoint_options o = sim_endpoint("list");
    struct endpoint *other = governor__endpoint(sim->g, &o);
    sim->server.status = 403;
    sim->block_page = true;
    sim_ask(sim);
    struct sim_request *waiting = sim_ask(sim);
    sim_run(sim, 2 * S, 20 * MS);
    assert_int_equal(sim->n_sent, 1);
    assert_int_equal(waiting->status, ERR_REFUSED);
    assert_int_equal(sim_ask_of(sim, other, &sim->server, "")->status, ERR_REFUSED);
    assert_int_equal(sim_status(sim).state, ENDPOINT_DISABLED);
    assert_non_null(strstr(sim_status(sim).reason, "block page"));
    sim_run(sim, 3600 * S, S);
    sim->block_page = false;
    sim->server.status = 200;
    struct sim_request *probe = sim_ask(sim), *second = sim_ask(sim);
    sim_run(sim, 60 * MS, 20 * MS);
    assert_true(probe->sent);
    assert_false(second->sent); /* One tells whether it is over. */
    sim_free(sim);
}

static void test_401_twice_disables_and_resume_enables(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    sim->server.status = 401;
    for (int i = 0; i < 5; i++) sim_ask(sim);
    sim_run(sim, 30 * S, 20 * MS);
    assert_in_range(sim->server.n_hits, 2, 3); /* One may have been in flight. */
    assert_int_equal(sim_status(sim).state, ENDPOINT_DISABLED);
    assert_int_equal(sim_ask(sim)->status, ERR_REFUSED);
    sim->server.status = 200;
    governor__resume(sim->g, sim->ep);
    struct sim_request *r = sim_ask(sim);
    sim_run(sim, 30 * S, 20 * MS);
    assert_int_equal(r->reply_status, 200);
    sim_free(sim);
}

static void test_the_budget_of_invalid_requests(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 2, stash);
    struct endpoint_options o = sim_endpoint("list");
    struct endpoint *other = governor__endpoint(sim->g, &o);
    sim->server.status = 404;
    for (int i = 0; i < 30; i++) sim_ask(sim);
    sim_run(sim, 400 * S, 20 * MS);
    assert_in_range(sim->server.n_hits, 10, 11);
    assert_non_null(strstr(sim_status(sim).reason, "invalid requests"));
    sim->server.status = 200;
    struct sim_request *r = sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, 400 * S, 20 * MS);
    assert_int_equal(r->reply_status, 200); /* Others are not affected. */
    sim_free(sim);
}

static void test_a_429_storm_is_probed_rarely(void **state) {
    (void)state;
    struct sim *sim = new_with(NULL, 0, NULL);
    sim->server.status = 429;
    for (int i = 0; i < 200; i++) sim_ask(sim);
    sim_run(sim, 600 * S, 50 * MS);
    assert_in_range(sim->server.n_hits, 3, 12);
    assert_true(sim_status(sim).rate_per_s < 0.1);
    assert_int_not_equal(sim_status(sim).state, ENDPOINT_DISABLED);
    sim->server.status = 200;
    sim_run(sim, 1500 * S, 50 * MS);
    assert_in_range(sim_status(sim).rate_per_s * 1000, 900, 1000); /* Back, step by step. */
    sim_free(sim);
}

static void test_without_headers_the_ceiling_is_the_rate(void **state) {
    (void)state;
    struct sim *sim = new_with(NULL, 0, NULL);
    for (int i = 0; i < 100; i++) sim_ask(sim);
    sim_run(sim, 50 * S, 10 * MS);
    /* Each a second after the answer to the one before, which takes less than a tenth of one. */
    assert_in_range(sim->n_sent, 50 * 10 / 11, 50);
    for (size_t i = 1; i < sim->n_sent; i++)
        assert_true(sim->sent_ns[i] - sim->sent_ns[i - 1] >= S);
    sim_free(sim);
}

static void test_keys_are_spaced_and_block_nobody(void **state) {
    (void)state;
    struct sim *sim = sim_new(NULL);
    struct endpoint_options o = sim_endpoint("ninja");
    o.key_gap_ns = 60 * S;
    sim->ep = governor__endpoint(sim->g, &o);
    struct sim_request *a = sim_ask_of(sim, sim->ep, &sim->server, "league/a");
    struct sim_request *again = sim_ask_of(sim, sim->ep, &sim->server, "league/a");
    struct sim_request *b = sim_ask_of(sim, sim->ep, &sim->server, "league/b");
    sim_run(sim, 5 * S, 20 * MS);
    assert_true(a->sent && b->sent && !again->sent);
    sim_run(sim, 54 * S, 20 * MS);
    assert_false(again->sent);
    sim_run(sim, 2 * S, 20 * MS);
    assert_true(again->sent);
    sim_free(sim);
}

static void test_a_slow_reply_moves_its_key_on(void **state) {
    (void)state;
    struct sim *sim = sim_new(NULL);
    struct endpoint_options o = sim_endpoint("ninja");
    o.key_gap_ns = 60 * S;
    sim->ep = governor__endpoint(sim->g, &o);
    sim->latency_ns = 8 * S; /* The server may have counted it at the end of these. */
    struct sim_request *a = sim_ask_of(sim, sim->ep, &sim->server, "league/a");
    struct sim_request *again = sim_ask_of(sim, sim->ep, &sim->server, "league/a");
    sim_run(sim, 67 * S, 20 * MS);
    assert_true(a->sent && !again->sent);
    sim_run(sim, 2 * S, 20 * MS);
    assert_true(again->sent);
    sim_free(sim);
}

static void test_global_rate_and_host_gap(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.global_rate_per_s = 0.5});
    struct endpoint *eps[4];
    for (size_t i = 0; i < 4; i++) {
        char name[8], host[16];
        snprintf(name, sizeof name, "e%zu", i);
        snprintf(host, sizeof host, "h%zu.test", i / 2);
        struct endpoint_options o = {
            .name = name, .host = host, .rate_per_s = 100, .use_global_rate = true};
        eps[i] = governor__endpoint(sim->g, &o);
        for (size_t k = 0; k < 20; k++) sim_ask_of(sim, eps[i], &sim->server, "");
    }
    sim_run(sim, 60 * S, 20 * MS);
    assert_in_range(sim->n_sent, 28, 31);
    for (size_t i = 1; i < sim->n_sent; i++)
        assert_true(sim->sent_ns[i] - sim->sent_ns[i - 1] >= 2 * S);
    sim_free(sim);
}

static void note_grant(struct permit *p, int status) { *(int *)p->data += status == 0; }

static void test_late_departures_keep_the_rate(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.host_gap_ns = 250 * MS});
    struct endpoint_options o = {.name = "slow", .host = "h.test", .rate_per_s = 2, .inflight_max = 4};
    struct endpoint *ep = governor__endpoint(sim->g, &o);
    struct governor_reply ok = {.status = 200};
    int n_granted = 0;
    struct permit first = {.data = &n_granted},
                  two[2] = {{.data = &n_granted}, {.data = &n_granted}};
    assert_int_equal(governor__acquire(sim->g, ep, &first, "", note_grant), 0);
    governor__tick(sim->g);
    assert_int_equal(governor__depart(sim->g, &first), 0);
    governor__report(sim->g, &first, &ok, NULL); /* From here on more than one may fly. */
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(governor__acquire(sim->g, ep, &two[i], "", note_grant), 0);
    for (int ms = 0; ms < 5000; ms += 100) {
        sim->clock.mono_ns += 100 * MS;
        governor__tick(sim->g);
    }
    assert_int_equal(n_granted, 3);
    /* Half a second apart when they were granted; what they waited for came at once for both. */
    assert_int_equal(governor__depart(sim->g, &two[0]), 0);
    assert_int_equal(governor__depart(sim->g, &two[1]), S / 2);
    sim->clock.mono_ns += S / 2;
    assert_int_equal(governor__depart(sim->g, &two[1]), 0);
    for (size_t i = 0; i < 2; i++) governor__report(sim->g, &two[i], &ok, NULL);
    sim_free(sim);
}

/* The first request may be as late on its way as its answer says, and the next one be fast. */
static void test_a_pace_counts_from_the_answer(void **state) {
    (void)state;
    struct sim *sim = sim_new(NULL);
    struct endpoint_options o = {.name = "slow", .host = "h.test", .rate_per_s = 1};
    struct endpoint *ep = governor__endpoint(sim->g, &o);
    struct governor_reply ok = {.status = 200};
    int n_granted = 0;
    struct permit first = {.data = &n_granted}, second = {.data = &n_granted};
    assert_int_equal(governor__acquire(sim->g, ep, &first, "", note_grant), 0);
    governor__tick(sim->g);
    assert_int_equal(governor__depart(sim->g, &first), 0);
    sim->clock.mono_ns += 600 * MS;
    governor__report(sim->g, &first, &ok, NULL);
    assert_int_equal(governor__acquire(sim->g, ep, &second, "", note_grant), 0);
    sim->clock.mono_ns += 990 * MS;
    governor__tick(sim->g);
    assert_int_equal(n_granted, 1);
    sim->clock.mono_ns += 10 * MS;
    governor__tick(sim->g);
    assert_int_equal(n_granted, 2);
    governor__report(sim->g, &second, &ok, NULL);
    sim_free(sim);
}

/* Nobody announces the limit, and a network may deliver together what it was given a second apart. */
static void test_a_slow_pace_has_one_in_flight(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.host_gap_ns = 250 * MS});
    struct endpoint_options o = {.name = "slow", .host = "h.test", .rate_per_s = 1, .inflight_max = 4};
    struct endpoint *ep = governor__endpoint(sim->g, &o);
    struct governor_reply ok = {.status = 200};
    int n_granted = 0;
    struct permit three[3] = {{.data = &n_granted}, {.data = &n_granted}, {.data = &n_granted}};
    for (size_t i = 0; i < 3; i++) assert_int_equal(governor__acquire(sim->g, ep, &three[i], "", note_grant), 0);
    for (int n = 1; n <= 3; n++) {
        for (int ms = 0; ms < 20000; ms += 100) { /* However long the network keeps it. */
            sim->clock.mono_ns += 100 * MS;
            governor__tick(sim->g);
        }
        assert_int_equal(n_granted, n);
        assert_int_equal(governor__depart(sim->g, &three[n - 1]), 0);
        governor__report(sim->g, &three[n - 1], &ok, NULL);
    }
    sim_free(sim);
}

static void test_paced_work_is_even(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.utilisation = 1});
    struct endpoint_options o = sim_endpoint("backfill");
    o.paced = true;
    sim->ep = governor__endpoint(sim->g, &o);
    sim->server.policy = "p";
    sim->server.n_windows = 2;
    memcpy(sim->server.windows, stash, sizeof stash);
    for (size_t i = 0; i < 90; i++) sim_ask(sim);
    int64_t start_ns = sim->clock.mono_ns, end_ns = sim_finish(sim, 7200 * S, 20 * MS);
    assert_int_equal(sim->server.n_violations, 0);
    for (size_t i = 2; i < sim->n_sent; i++) /* 361 s / 30. */
        assert_in_range((sim->sent_ns[i] - sim->sent_ns[i - 1]) / MS, 12000, 12200);
    assert_true(end_ns - start_ns < 90 * 12200 * MS);
    sim_free(sim);
}

static void test_metrics_follow(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, psapi);
    struct buf text = buf__init(1 << 20);
    sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    governor__measure(sim->g);
    metrics__expose(&sim->metrics, &text);
    buf__u8(&text, 0);
    const char *labels = "{venue=\"api.test\",policy=\"p\",window=\"Ip 1s\"}";
    char line[160];
    snprintf(line, sizeof line, "souk_ratelimit_limit%s 2\n", labels);
    assert_non_null(strstr(text.base, line));
    snprintf(line, sizeof line, "souk_ratelimit_used%s 1\n", labels);
    assert_non_null(strstr(text.base, line));
    assert_non_null(
        strstr(text.base, "souk_endpoint_disabled{venue=\"api.test\",class=\"stash\"} 0\n"));
    assert_non_null(strstr(
        text.base, "souk_invalid_budget_remaining{venue=\"api.test\",class=\"stash\"} 10\n"));
    buf__fini(&text);
    sim_free(sim);
}

static void test_the_timer_calls_by_itself(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, psapi);
    sim_ask(sim);
    struct sim_request *canceled = sim_ask(sim);
    governor__cancel(sim->g, &canceled->permit);
    uv_run(&sim->loop, UV_RUN_NOWAIT);
    assert_int_equal(sim->n_sent, 1);
    assert_int_equal(canceled->status, ERR_CANCELED);
    struct sim_request *left = sim_ask(sim);
    sim_free(sim); /* The second is told that it is over; the first is let go. */
    (void)left;
}

static void test_status_says_why(void **state) {
    (void)state;
    struct sim *sim = new_with("p", 1, psapi);
    for (int i = 0; i < 3; i++) sim_ask(sim);
    sim_run(sim, 2 * S, 20 * MS);
    struct endpoint_status s = sim_status(sim);
    assert_int_equal(s.state, ENDPOINT_PACED);
    assert_non_null(strstr(s.reason, "for Ip 2:1:60"));
    assert_int_equal(s.n_waiting, 1);
    assert_int_equal(s.windows[0].used, 2);
    sim_free(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saturation_is_fast_and_without_violation),
        cmocka_unit_test(test_every_bucket_phase_is_safe),
        cmocka_unit_test(test_first_request_goes_alone),
        cmocka_unit_test(test_first_requests_of_a_host_take_turns),
        cmocka_unit_test(test_who_waits_for_a_first_request_goes_on_behind_it),
        cmocka_unit_test(test_cold_start_with_residue),
        cmocka_unit_test(test_a_policy_without_rules_is_no_licence),
        cmocka_unit_test(test_a_renamed_policy_keeps_its_history),
        cmocka_unit_test(test_endpoints_of_one_policy_share_it_in_turns),
        cmocka_unit_test(test_limits_may_change_at_any_reply),
        cmocka_unit_test(test_hits_of_others_take_tokens_away),
        cmocka_unit_test(test_half_of_the_budget_eaten_by_another),
        cmocka_unit_test(test_race_at_saturation_costs_one_429),
        cmocka_unit_test(test_429_is_waited_out),
        cmocka_unit_test(test_a_reply_never_lowers_a_hold),
        cmocka_unit_test(test_policies_and_endpoints_are_bounded),
        cmocka_unit_test(test_hundreds_of_waiting_and_canceled),
        cmocka_unit_test(test_undone_requests_give_their_tokens_back),
        cmocka_unit_test(test_unanswered_requests_stay_counted),
        cmocka_unit_test(test_a_block_page_halts_the_host),
        cmocka_unit_test(test_401_twice_disables_and_resume_enables),
        cmocka_unit_test(test_the_budget_of_invalid_requests),
        cmocka_unit_test(test_a_429_storm_is_probed_rarely),
        cmocka_unit_test(test_without_headers_the_ceiling_is_the_rate),
        cmocka_unit_test(test_keys_are_spaced_and_block_nobody),
        cmocka_unit_test(test_a_slow_reply_moves_its_key_on),
        cmocka_unit_test(test_global_rate_and_host_gap),
        cmocka_unit_test(test_late_departures_keep_the_rate),
        cmocka_unit_test(test_a_pace_counts_from_the_answer),
        cmocka_unit_test(test_a_slow_pace_has_one_in_flight),
        cmocka_unit_test(test_paced_work_is_even),
        cmocka_unit_test(test_metrics_follow),
        cmocka_unit_test(test_the_timer_calls_by_itself),
        cmocka_unit_test(test_status_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
