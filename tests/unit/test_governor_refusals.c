/* Refusals: of everybody (401, 403), which pass, and of one subject, which are that subject's. */
#include "test_governor_sim.h"

static struct sim *new_sim(void) {
    struct sim *sim = sim_new(&(struct governor_options){.seed = 7});
    struct endpoint_options o = sim_endpoint("e");
    sim->ep = governor__endpoint(sim->g, &o);
    return sim;
}

/* An owner that wants one thing for ever, and asks again a while after it was told no. */
static struct sim_request *want(struct sim *sim, int64_t for_ns, int64_t step_ns) {
    struct sim_request *r = sim_ask(sim);
    for (int64_t end_ns = sim->clock.mono_ns + for_ns; sim->clock.mono_ns < end_ns;) {
        sim_run(sim, step_ns, 100 * MS);
        if (r->answered || (r->told && !r->sent)) r = sim_ask(sim);
    }
    return r;
}

static void test_not_authorized_rests_probes_and_goes_on(void **state) {
    (void)state;
    static const int codes[] = {401, 403};
    for (size_t i = 0; i < 2; i++) {
        struct sim *sim = new_sim();
        sim->server.status = codes[i];
        want(sim, 20 * S, S);
        uint32_t n = sim->server.n_hits;
        assert_int_equal(n, 2);
        struct endpoint_status s = sim_status(sim);
        assert_int_equal(s.state, ENDPOINT_DISABLED);
        assert_true(s.unproven);
        int64_t wait_ns = s.next_mono_ns - sim->clock.mono_ns; /* It says when it asks again, */
        assert_in_range(wait_ns / S, 200, 300);
        assert_true(governor__refused_until_ns(sim->g, sim->ep) == s.next_mono_ns);
        want(sim, wait_ns - S, S);
        assert_int_equal(sim->server.n_hits, n);
        want(sim, 5 * S, S); /* and it does: once. */
        assert_int_equal(sim->server.n_hits, n + 1);
        assert_int_equal(sim_status(sim).state, ENDPOINT_DISABLED);
        wait_ns = sim_status(sim).next_mono_ns - sim->clock.mono_ns;
        assert_in_range(wait_ns / S, 500, 600); /* Twice as long. */
        sim->server.status = 0;
        want(sim, wait_ns - 2 * S, S);
        assert_true(sim_status(sim).unproven);
        want(sim, 30 * S, S);
        assert_true(sim->server.n_hits > n + 5); /* All is well again, by itself. */
        assert_false(sim_status(sim).unproven);
        assert_int_equal(governor__refused_until_ns(sim->g, sim->ep), 0);
        sim_free(sim);
    }
}

static void test_a_refused_endpoint_is_probed_once_an_hour_at_last(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    sim->server.status = 401;
    want(sim, 4 * 3600 * S, 60 * S);
    uint32_t n = sim->server.n_hits;
    assert_in_range(n, 6, 10);
    want(sim, 10 * 3600 * S, 60 * S);
    assert_in_range(sim->server.n_hits - n, 9, 11);
    sim_free(sim);
}

/* Not resolved by being due, nor by a person's word: by a good answer. */
static void test_it_is_unproven_until_an_answer(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    struct buf saved = buf__init(1 << 20);
    struct err e;
    sim->server.status = 401;
    want(sim, 20 * S, S);
    sim_run(sim, 1000 * S, S); /* The rest is over, and nobody asks. */
    assert_int_equal(sim_status(sim).state, ENDPOINT_PROBE);
    assert_true(sim_status(sim).unproven);
    assert_non_null(strstr(sim_status(sim).reason, "not authorized"));
    governor__save(sim->g, &saved);
    int64_t wall_ns = sim->clock.wall_ns;
    sim_free(sim);
    sim = new_sim();
    sim->clock.wall_ns = wall_ns + S;
    assert_int_equal(governor__restore(sim->g, buf__slice(&saved), &e), 0);
    assert_true(sim_status(sim).unproven);
    governor__resume(sim->g, sim->ep);
    assert_true(sim_status(sim).unproven);
    /* Several wait: one of them tells. */
    sim->server.status = 401;
    for (int i = 0; i < 5; i++) sim_ask(sim);
    sim_run(sim, 30 * S, 100 * MS);
    assert_in_range(sim->server.n_hits, 1, 2);
    buf__fini(&saved);
    sim_free(sim);
}

/* What does not pass by itself is off until somebody comes: it says so, asks nothing, and is well only when it was
 * answered. */
static void test_what_is_off_for_good_says_so(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *retry_after, *reason;
    } ways[] = {{405, NULL, "disabled: 10 invalid requests in 10 min, last HTTP 405"},
                {404, NULL, "disabled: 10 invalid requests in 10 min, last HTTP 404"}, /* Nobody said it is a subject's. */
                {429, "90000", "disabled: the server asked for more than 24 h of silence"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct sim *sim = new_sim();
        sim->server.status = ways[i].status;
        sim->server.retry_after = ways[i].retry_after;
        want(sim, 100 * S, S);
        uint32_t n = sim->server.n_hits;
        assert_string_equal(sim_status(sim).reason, ways[i].reason);
        want(sim, 100 * 3600 * S, 1200 * S);
        assert_int_equal(sim->server.n_hits, n);
        assert_int_equal(sim_status(sim).state, ENDPOINT_DISABLED);
        assert_true(governor__refused_until_ns(sim->g, sim->ep) == INT64_MAX);
        assert_true(sim_status(sim).next_mono_ns == INT64_MAX); /* It promises nothing. */
        sim->server.status = 0;
        sim->server.retry_after = NULL;
        governor__resume(sim->g, sim->ep);
        assert_true(sim_status(sim).unproven);
        want(sim, 60 * S, S);
        assert_false(sim_status(sim).unproven);
        sim_free(sim);
    }
}

/* What a person stopped is no failure. */
static void test_a_kill_is_not_unproven(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    governor__kill(sim->g, sim->ep, "test");
    assert_false(sim_status(sim).unproven);
    governor__resume(sim->g, sim->ep);
    assert_int_equal(sim_status(sim).state, ENDPOINT_OPEN);
    sim_free(sim);
}

/* Streams of one endpoint, each of one subject; they rest for @rest_ns after a refusal. */
struct subject {
    struct permit permit;
    struct sim *sim;
    int status; /* What it is answered. */
    uint32_t n_asked;
    int64_t rest_ns, due_ns;
    bool refused, asks, sent;
};

static void on_subject(struct permit *p, int status) {
    struct subject *s = p->data;
    s->asks = false;
    s->sent = status == 0;
    if (status != 0) s->due_ns = s->sim->clock.mono_ns + 5 * S;
}

static void run_subjects(struct sim *sim, struct subject *subjects, size_t n, int64_t for_ns) {
    for (int64_t end_ns = sim->clock.mono_ns + for_ns; sim->clock.mono_ns < end_ns;) {
        sim->clock.mono_ns += 500 * MS;
        sim->clock.wall_ns += 500 * MS;
        for (size_t i = 0; i < n; i++) {
            struct subject *s = &subjects[i];
            if (s->sent) {
                struct governor_reply reply = {.status = s->status, .dispatched = true, .subject = true,
                                               .done_mono_ns = sim->clock.mono_ns};
                s->sent = false;
                s->n_asked++;
                s->refused = s->status != 200;
                s->due_ns = sim->clock.mono_ns + (s->refused ? s->rest_ns : 60 * S);
                governor__report(sim->g, &s->permit, &reply, NULL);
            } else if (!s->asks && sim->clock.mono_ns >= s->due_ns) {
                s->permit.data = s;
                s->permit.proven = s->n_asked > 0 && !s->refused;
                s->asks = governor__acquire(sim->g, sim->ep, &s->permit, "", on_subject) == 0;
                if (!s->asks) s->due_ns = sim->clock.mono_ns + 5 * S;
            }
        }
        governor__tick(sim->g);
    }
}

static void test_one_dead_subject_stops_nobody_else(void **state) {
    (void)state;
    static const int codes[] = {400, 404, 410, 422};
    for (size_t c = 0; c < 4; c++) {
        struct sim *sim = new_sim();
        struct subject subjects[5] = {{.status = codes[c]}, {.status = 200}, {.status = 200}, {.status = 200}, {.status = 200}};
        for (size_t i = 0; i < 5; i++) subjects[i].sim = sim, subjects[i].rest_ns = 30 * S;
        run_subjects(sim, subjects, 5, 3600 * S);
        for (size_t i = 1; i < 5; i++) assert_in_range(subjects[i].n_asked, 50, 61);
        assert_int_not_equal(sim_status(sim).state, ENDPOINT_DISABLED);
        sim_free(sim);
    }
}

/* Two hundred dead subjects, each of which may ask twice a minute: the vendor sees 30 refusals in 10 minutes, and
 * those that are well do not notice. */
static void test_many_dead_subjects_do_not_hammer(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    struct buf text = buf__init(1 << 20);
    enum { N = 204 };
    struct subject *subjects = calloc(N, sizeof *subjects);
    for (size_t i = 0; i < N; i++)
        subjects[i] = (struct subject){.sim = sim, .status = i < 4 ? 200 : 404, .rest_ns = 30 * S};
    run_subjects(sim, subjects, 4, 60 * S);
    run_subjects(sim, subjects, N, 3700 * S); /* To the end of a burst. */
    uint32_t refused = 0;
    for (size_t i = 4; i < N; i++) refused += subjects[i].n_asked;
    assert_in_range(refused, 100, 7 * 30 + 2);
    for (size_t i = 0; i < 4; i++) assert_in_range(subjects[i].n_asked, 45, 62);
    assert_int_not_equal(sim_status(sim).state, ENDPOINT_DISABLED);
    metrics__expose(&sim->metrics, &text);
    buf__u8(&text, 0);
    char line[96];
    snprintf(line, sizeof line, "\nsouk_subject_refusals_total{venue=\"api.test\"} %u\n", refused);
    assert_non_null(strstr(text.base, line));
    assert_non_null(strstr(text.base, "\nsouk_subject_refusals_remaining{venue=\"api.test\"} 0\n"));
    /* A restart does not begin anew. */
    struct buf saved = buf__init(1 << 20);
    struct err e;
    governor__save(sim->g, &saved);
    int64_t wall_ns = sim->clock.wall_ns;
    for (size_t i = 0; i < N; i++)
        if (subjects[i].asks) governor__cancel(sim->g, &subjects[i].permit);
    governor__tick(sim->g);
    sim_free(sim);
    sim = new_sim();
    sim->clock.wall_ns = wall_ns;
    assert_int_equal(governor__restore(sim->g, buf__slice(&saved), &e), 0);
    for (size_t i = 0; i < N; i++) subjects[i] = (struct subject){.sim = sim, .status = 404, .rest_ns = 30 * S};
    run_subjects(sim, subjects, N, 30 * S);
    refused = 0;
    for (size_t i = 0; i < N; i++) refused += subjects[i].n_asked;
    assert_in_range(refused, 0, 4);
    assert_non_null(strstr(sim_status(sim).reason, "30 subjects refused in 10 min"));
    for (size_t i = 0; i < N; i++)
        if (subjects[i].asks) governor__cancel(sim->g, &subjects[i].permit);
    governor__tick(sim->g);
    free(subjects);
    buf__fini(&saved);
    buf__fini(&text);
    sim_free(sim);
}

/* A person who resumes begins with a whole budget: what was refused before holds nobody up. */
static void test_resume_gives_the_venue_its_budget_back(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    enum { N = 40 };
    struct subject *subjects = calloc(N, sizeof *subjects);
    for (size_t i = 0; i < N; i++) subjects[i] = (struct subject){.sim = sim, .status = 404, .rest_ns = 600 * S};
    run_subjects(sim, subjects, N, 200 * S);
    uint32_t n = 0, after = 0;
    for (size_t i = 0; i < N; i++) n += subjects[i].n_asked;
    assert_int_equal(n, 30);
    assert_non_null(strstr(sim_status(sim).reason, "30 subjects refused in 10 min"));
    governor__resume(sim->g, sim->ep);
    run_subjects(sim, subjects, N, 60 * S);
    for (size_t i = 0; i < N; i++) after += subjects[i].n_asked;
    assert_int_equal(after, N);
    for (size_t i = 0; i < N; i++)
        if (subjects[i].asks) governor__cancel(sim->g, &subjects[i].permit);
    governor__tick(sim->g);
    free(subjects);
    sim_free(sim);
}

/* What a person said of it is said until the person resumes, whatever its host answers to others. */
static void test_a_kill_keeps_its_words(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    struct endpoint_options o = sim_endpoint("other"), gone = sim_endpoint("gone");
    struct endpoint *other = governor__endpoint(sim->g, &o), *off = governor__endpoint(sim->g, &gone);
    struct endpoint_status s;
    sim->server.status = 422;
    for (int i = 0; i < 10; i++) sim_ask_of(sim, off, &sim->server, "");
    sim_run(sim, 60 * S, 100 * MS);
    governor__kill(sim->g, sim->ep, "the vendor asked");
    sim->server.status = 403;
    sim->block_page = true;
    sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, 5 * S, 100 * MS);
    assert_string_equal(sim_status(sim).reason, "killed: the vendor asked");
    governor__status(sim->g, 1, &s);
    assert_non_null(strstr(s.reason, "block page"));
    governor__status(sim->g, 2, &s);
    assert_non_null(strstr(s.reason, "invalid requests"));
    governor__kill(sim->g, off, "by hand"); /* A person's words take the place of others. */
    governor__status(sim->g, 2, &s);
    assert_string_equal(s.reason, "killed: by hand");
    sim_free(sim);
}

/* An endpoint all of whose subjects are gone answers, and is no more tried one request at a time. */
static void test_a_refused_subject_is_an_answer(void **state) {
    (void)state;
    static const int before[] = {500, 429};
    for (size_t i = 0; i < 2; i++) {
        struct sim *sim = new_sim();
        sim->server.status = before[i];
        for (int n = 0; n < 4; n++) {
            sim_ask(sim);
            sim_run(sim, 300 * S, 100 * MS);
        }
        sim->server.status = 404;
        sim->subject = true;
        sim_ask(sim);
        sim_run(sim, 1200 * S, 100 * MS);
        sim_ask(sim);
        sim_run(sim, 1200 * S, 100 * MS);
        assert_int_equal(sim->n_answered, 6);
        assert_int_not_equal(sim_status(sim).state, ENDPOINT_PROBE);
        assert_int_equal(sim_status(sim).state, ENDPOINT_OPEN);
        sim_free(sim);
    }
}

/* The end of a block says nothing of who was told that it is not authorized. */
static void test_the_end_of_a_block_authorizes_nobody(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    struct endpoint_options o = sim_endpoint("other");
    struct endpoint *other = governor__endpoint(sim->g, &o);
    sim->server.status = 403;
    for (int i = 0; i < 2; i++) {
        sim_ask(sim);
        sim_run(sim, 30 * S, 100 * MS);
    }
    assert_int_equal(sim_status(sim).state, ENDPOINT_DISABLED);
    sim->block_page = true;
    sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, 5 * S, 100 * MS);
    sim->block_page = false;
    sim->server.status = 0;
    sim_run(sim, 3700 * S, 500 * MS); /* Both rests are over. */
    sim_ask_of(sim, other, &sim->server, "");
    sim_run(sim, 60 * S, 100 * MS);
    assert_true(sim_status(sim).unproven);
    sim_ask(sim);
    sim_run(sim, 60 * S, 100 * MS);
    assert_false(sim_status(sim).unproven);
    sim_free(sim);
}

/* 401 is never one subject's, whatever its owner says. */
static void test_a_subject_cannot_hide_a_refused_token(void **state) {
    (void)state;
    struct sim *sim = new_sim();
    struct subject s = {.sim = sim, .status = 401, .rest_ns = S};
    run_subjects(sim, &s, 1, 60 * S);
    assert_int_equal(s.n_asked, 2);
    assert_int_equal(sim_status(sim).state, ENDPOINT_DISABLED);
    sim_free(sim);
}

/* A network that is away for an hour: each try is seconds after the last, however many there were, and no server's
 * trouble is taken for that. */
static void test_without_a_response_it_is_tried_again_within_seconds(void **state) {
    (void)state;
    static const struct {
        int status;
        uint32_t least, most;
    } table[] = {{0, 400, 1000}, {503, 5, 30}};
    for (size_t i = 0; i < 2; i++) {
        struct sim *sim = new_sim();
        struct subject s = {.sim = sim, .status = table[i].status};
        run_subjects(sim, &s, 1, 3600 * S);
        assert_in_range(s.n_asked, table[i].least, table[i].most);
        int64_t wait_ns = sim_status(sim).next_mono_ns - sim->clock.mono_ns;
        if (table[i].status == 0) assert_true(wait_ns <= 8 * S);
        sim_free(sim);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_authorized_rests_probes_and_goes_on),
        cmocka_unit_test(test_a_refused_endpoint_is_probed_once_an_hour_at_last),
        cmocka_unit_test(test_it_is_unproven_until_an_answer),
        cmocka_unit_test(test_what_is_off_for_good_says_so),
        cmocka_unit_test(test_resume_gives_the_venue_its_budget_back),
        cmocka_unit_test(test_a_kill_keeps_its_words),
        cmocka_unit_test(test_a_refused_subject_is_an_answer),
        cmocka_unit_test(test_the_end_of_a_block_authorizes_nobody),
        cmocka_unit_test(test_a_kill_is_not_unproven),
        cmocka_unit_test(test_one_dead_subject_stops_nobody_else),
        cmocka_unit_test(test_many_dead_subjects_do_not_hammer),
        cmocka_unit_test(test_a_subject_cannot_hide_a_refused_token),
        cmocka_unit_test(test_without_a_response_it_is_tried_again_within_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
