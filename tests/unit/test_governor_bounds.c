/* What a tick may do at most, and what a request may cost at most: nothing that comes from outside
 * makes it go on for ever. */
#include "test_governor_sim.h"

#define ENDPOINTS 3000 /* Each needs four steps: two of its policy, two of its host. */

static const struct sim_window psapi[] = {{.rule = "Ip", .limit = 2, .period_s = 1, .restriction_s = 60, .bucket_ns = S, .phase_ns = 1}};
static const struct sim_window stash[] = {
    {.rule = "Account", .limit = 15, .period_s = 10, .restriction_s = 60, .bucket_ns = 5 * S, .phase_ns = 1700 * MS},
    {.rule = "Account", .limit = 30, .period_s = 300, .restriction_s = 300, .bucket_ns = 60 * S, .phase_ns = 41 * S},
};

static struct sim *new_with(size_t n, const struct sim_window *windows) {
    struct sim *sim = sim_new(&(struct governor_options){.utilisation = 1, .seed = 7});
    struct endpoint_options o = sim_endpoint("e");
    sim->ep = governor__endpoint(sim->g, &o);
    sim->server.policy = "p";
    sim->server.n_windows = n;
    for (size_t i = 0; i < n; i++) sim->server.windows[i] = windows[i];
    return sim;
}

/* A grant of @cost tokens that the server counts as one request: only the governor's side is looked at. */
static struct sim_request *ask_for(struct sim *sim, struct endpoint *ep, uint32_t cost, enum permit_class class, int *code) {
    assert_true(sim->n_requests < SIM_REQUESTS);
    struct sim_request *r = &sim->requests[sim->n_requests++];
    *r = (struct sim_request){.sim = sim, .server = &sim->server, .used = true, .permit.data = r,
                              .permit.cost = cost, .permit.class = class};
    *code = governor__acquire(sim->g, ep, &r->permit, "", sim_on_permit);
    if (*code != 0) {
        r->told = true;
        r->status = *code;
    }
    return r;
}

/* A token is out, and a request needs all of them: it used to go to and fro between the queues of its policy and its
 * host within one tick, for ever. */
static void test_one_that_needs_all_tokens_waits_for_the_last(void **state) {
    (void)state;
    struct sim *sim = new_with(1, psapi);
    int code;
    sim_ask(sim);
    sim_run(sim, 60 * S, 20 * MS); /* The windows are known. */
    assert_int_equal(governor__cost_max(sim->g, sim->ep), 2);
    struct sim_request *one = sim_ask(sim);
    sim_run(sim, S, 20 * MS);
    assert_true(one->answered);
    struct sim_request *two = ask_for(sim, sim->ep, 2, CLASS_TAIL, &code), *next = sim_ask(sim);
    assert_int_equal(code, 0);
    sim_run(sim, 3 * S, 20 * MS);
    assert_false(two->sent || next->sent); /* It waits in front: nobody takes the one that is left. */
    sim_run(sim, 60 * S, 20 * MS);
    assert_true(two->sent && next->sent);
    assert_true(two->sent_ns >= one->reply_ns + S);
    assert_true(next->sent_ns > two->sent_ns);
    assert_int_equal(sim->server.n_violations, 0);
    sim_free(sim);
}

static void test_what_no_window_holds_is_refused(void **state) {
    (void)state;
    struct sim *sim = new_with(2, stash);
    int code;
    struct permit p = {.cost = 16};
    struct sim_request *first = sim_ask(sim);
    struct sim_request *early = ask_for(sim, sim->ep, 100, CLASS_TAIL, &code); /* No window is known yet. */
    assert_int_equal(code, 0);
    struct sim_request *fits = ask_for(sim, sim->ep, 15, CLASS_TAIL, &code);
    sim_run(sim, S, 20 * MS);
    assert_true(first->answered);
    assert_int_equal(early->status, ERR_LIMIT); /* Told as soon as it was known. */
    assert_false(early->sent);
    assert_int_equal(governor__cost_max(sim->g, sim->ep), 15); /* The smallest window's. */
    ask_for(sim, sim->ep, 16, CLASS_TAIL, &code);
    assert_int_equal(code, ERR_LIMIT);
    assert_int_equal(governor__try(sim->g, sim->ep, &p, ""), ERR_LIMIT);
    sim_run(sim, 400 * S, 20 * MS);
    assert_true(fits->sent);
    /* The windows shrink while it waits. */
    sim->server.windows[0].limit = 5;
    struct sim_request *teller = sim_ask(sim), *big = ask_for(sim, sim->ep, 15, CLASS_TAIL, &code);
    assert_int_equal(code, 0);
    sim_run(sim, 400 * S, 20 * MS);
    assert_true(teller->sent);
    assert_int_equal(big->status, ERR_LIMIT);
    sim_free(sim);
}

/* A quarter of the windows is let in after a trouble: what fits them only when they are whole waits for that. */
static void test_a_costly_one_waits_until_all_is_well_again(void **state) {
    (void)state;
    struct sim *sim = new_with(2, stash);
    int code;
    sim_ask(sim);
    sim_run(sim, 400 * S, 20 * MS);
    sim->server.status = 429; /* Twice in a row. */
    for (int i = 0; i < 2; i++) {
        sim_ask(sim);
        sim_run(sim, 900 * S, 100 * MS);
    }
    sim->server.status = 0;
    sim_ask(sim);
    for (int i = 0; sim->n_answered < 4; i++) {
        assert_true(i < 60000);
        sim_step(sim, 100 * MS);
    }
    assert_int_equal(sim_status(sim).state, ENDPOINT_RECOVER);
    struct sim_request *costly = ask_for(sim, sim->ep, 14, CLASS_TAIL, &code);
    assert_int_equal(code, 0);
    sim_run(sim, 900 * S, 100 * MS);
    assert_true(costly->sent);
    sim_free(sim);
}

struct crowd {
    struct permit permits[ENDPOINTS];
    size_t n_granted;
    struct permit *order[ENDPOINTS];
};

static void on_crowd(struct permit *p, int status) {
    struct crowd *c = p->data;
    assert_int_equal(status, 0);
    c->order[c->n_granted++] = p;
}

/* More is due than one tick may do: the rest waits for the next ticks, in its order, and the bound is counted. */
static void test_a_tick_ends_at_its_bound(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.seed = 7});
    struct crowd *c = calloc(1, sizeof *c);
    struct buf text = buf__init(1 << 20);
    for (size_t i = 0; i < ENDPOINTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "e%zu", i);
        struct endpoint_options o = {.name = name, .host = name};
        struct endpoint *ep = governor__endpoint(sim->g, &o);
        assert_non_null(ep);
        c->permits[i].data = c;
        assert_int_equal(governor__acquire(sim->g, ep, &c->permits[i], "", on_crowd), 0);
    }
    governor__tick(sim->g);
    assert_true(c->n_granted < ENDPOINTS);
    assert_true(governor__due_ns(sim->g) <= sim->clock.mono_ns); /* It is not forgotten. */
    int n_ticks = 1;
    for (; c->n_granted < ENDPOINTS; n_ticks++) {
        assert_true(n_ticks < 100);
        governor__tick(sim->g);
    }
    assert_true(n_ticks > 1);
    for (size_t i = 0; i < ENDPOINTS; i++) assert_ptr_equal(c->order[i], &c->permits[i]);
    metrics__expose(&sim->metrics, &text);
    buf__u8(&text, 0);
    const char *cuts = strstr(text.base, "\nsouk_governor_tick_cuts_total ");
    assert_non_null(cuts);
    assert_true(atoi(cuts + sizeof "\nsouk_governor_tick_cuts_total " - 1) >= 1);
    buf__fini(&text);
    sim_free(sim);
    free(c);
}

/* The same on a loop: one run of its timers does no more than one tick. A timer that is set to 0 in a timer's
 * callback would be called in the same run. */
static void test_a_cut_tick_lets_the_loop_go_on(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.seed = 7});
    struct crowd *c = calloc(1, sizeof *c);
    for (size_t i = 0; i < ENDPOINTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "e%zu", i);
        struct endpoint_options o = {.name = name, .host = name};
        c->permits[i].data = c;
        assert_int_equal(governor__acquire(sim->g, governor__endpoint(sim->g, &o), &c->permits[i], "", on_crowd), 0);
    }
    size_t n_most = 0;
    while (c->n_granted < ENDPOINTS) {
        size_t before = c->n_granted;
        uv_run(&sim->loop, UV_RUN_NOWAIT);
        if (c->n_granted - before > n_most) n_most = c->n_granted - before;
    }
    assert_true(n_most < ENDPOINTS / 2);
    sim_free(sim);
    free(c);
}

/* Whoever asks again as soon as it was granted, and takes its time for that, cannot keep the loop in one tick. */
static void on_greedy(struct permit *p, int status) {
    struct sim_request *r = p->data;
    if (status != 0) return;
    r->sim->n_sent++;
    r->sim->clock.mono_ns += 2; /* Behind the gap of its host. */
    governor__undo(r->sim->g, p);
    assert_true(r->sim->n_sent < 100000); /* It is still the same tick. */
    assert_int_equal(governor__acquire(r->sim->g, p->endpoint, p, "", on_greedy), 0);
}

static void test_an_owner_that_never_has_enough_does_not_keep_the_loop(void **state) {
    (void)state;
    struct sim *sim = sim_new(&(struct governor_options){.host_gap_ns = 1, .seed = 7});
    struct endpoint_options o = {.name = "e", .host = "h", .rate_per_s = 1e12, .inflight_max = 2};
    struct sim_request *r = &sim->requests[sim->n_requests++];
    sim->ep = governor__endpoint(sim->g, &o);
    *r = (struct sim_request){.sim = sim, .permit.data = r};
    assert_int_equal(governor__acquire(sim->g, sim->ep, &r->permit, "", on_greedy), 0);
    sim->clock.mono_ns += S;
    governor__tick(sim->g);
    size_t n = sim->n_sent;
    assert_in_range(n, 100, 4096); /* It was served again and again, and the tick came to its end. */
    uv_run(&sim->loop, UV_RUN_NOWAIT);
    assert_in_range(sim->n_sent - n, 1, 2 * 4096); /* So did one run of the loop's timers. */
    sim_free(sim);
}

/* While every place is taken by a key in its gap, one more waits for the first that ends: no gap is forgotten. */
static void test_keys_in_their_gap_are_bounded(void **state) {
    (void)state;
    enum { KEYS = 1024 };
    struct sim *sim = sim_new(&(struct governor_options){.host_gap_ns = 1});
    struct endpoint_options o = sim_endpoint("ninja");
    struct series *full = metrics__counter(&sim->metrics, "souk_governor_full_total", "", "what=\"key\"");
    char key[16];
    o.key_gap_ns = 10000 * S;
    sim->ep = governor__endpoint(sim->g, &o);
    int64_t began_ns = sim->clock.mono_ns;
    for (int i = 0; i < KEYS; i++) {
        assert_true(full->value < 0.5);
        snprintf(key, sizeof key, "league/%d", i);
        sim_ask_of(sim, sim->ep, &sim->server, key);
        assert_true(sim_finish(sim, 60 * S, 500 * MS) > 0);
    }
    assert_true(sim->clock.mono_ns - began_ns < 5000 * S && full->value > 0.5);
    struct sim_request *more = sim_ask_of(sim, sim->ep, &sim->server, "league/more");
    sim_run(sim, 4000 * S, 10 * S);
    assert_false(more->sent);
    sim_run(sim, 6100 * S, 10 * S);
    assert_true(more->sent);
    sim_free(sim);
}

/* What cannot be kept whole is not believed in part, and counted. */
static void test_headers_that_say_too_much_are_counted(void **state) {
    (void)state;
    struct sim *sim = sim_new(NULL);
    struct endpoint_options o = sim_endpoint("e");
    struct series *wrong = metrics__counter(&sim->metrics, "souk_ratelimit_headers_wrong_total", "", "");
    char windows[512] = "", states[512] = "";
    for (int i = 1; i <= 17; i++) {
        snprintf(windows + strlen(windows), sizeof windows - strlen(windows), "%s9:%d:60", i == 1 ? "" : ",", i);
        snprintf(states + strlen(states), sizeof states - strlen(states), "%s1:%d:0", i == 1 ? "" : ",", i);
    }
    const struct governor_header headers[] = {{SLICE_LIT("X-Rate-Limit-Policy"), SLICE_LIT("p")},
                                              {SLICE_LIT("X-Rate-Limit-Rules"), SLICE_LIT("Ip")},
                                              {SLICE_LIT("X-Rate-Limit-Ip"), slice__str(windows)},
                                              {SLICE_LIT("X-Rate-Limit-Ip-State"), slice__str(states)}};
    sim->ep = governor__endpoint(sim->g, &o);
    struct sim_request *r = sim_ask(sim);
    while (!r->sent) sim_step(sim, 20 * MS);
    assert_true(wrong->value < 0.5);
    struct governor_reply reply = {.status = 200, .dispatched = true, .headers = headers, .n_headers = 4,
                                   .done_mono_ns = sim->clock.mono_ns};
    governor__report(sim->g, &r->permit, &reply, &r->verdict);
    r->answered = true;
    assert_string_equal(r->verdict.error, "too many windows at rule Ip");
    assert_int_equal(sim_status(sim).n_windows, 0);
    assert_true(wrong->value > 0.5 && wrong->value < 1.5);
    sim_free(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_needs_all_tokens_waits_for_the_last),
        cmocka_unit_test(test_what_no_window_holds_is_refused),
        cmocka_unit_test(test_a_costly_one_waits_until_all_is_well_again),
        cmocka_unit_test(test_a_tick_ends_at_its_bound),
        cmocka_unit_test(test_keys_in_their_gap_are_bounded),
        cmocka_unit_test(test_headers_that_say_too_much_are_counted),
        cmocka_unit_test(test_a_cut_tick_lets_the_loop_go_on),
        cmocka_unit_test(test_an_owner_that_never_has_enough_does_not_keep_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
