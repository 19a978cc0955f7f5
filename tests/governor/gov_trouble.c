/* Refusals: 429 in every shape, storms, an armed ban, block pages, and errors that are ours. Cases 15,
 * 16, 19 and 20. */
#include "score.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <cmocka.h>

static const struct venue_rule stash = {"Account", "15:10:60,30:300:300"};

static void date_in(const struct world *w, int64_t s, char out[64]) {
    time_t t = (time_t)(w->clock.wall_ns / S + s);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 64, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static void test_retry_after(void **state) {
    (void)state;
    static const struct {
        const char *value; /* Behind '+': a date so many seconds away. */
        int64_t least_s, most_s; /* Until the next request; most 0: never by itself. */
    } shapes[] = {
        {"7", 13, 16}, {" 7 ", 13, 16}, {"0", 6, 9}, {"+30", 36, 39}, {"+-30", 6, 9}, {"-1", 6, 9},
        {"soon", 6, 9}, {"1e12", 6, 9}, {"7.5", 6, 9}, {NULL, 6, 9}, {"1000000000000", 0, 0},
        {"99999999999999999999999", 0, 0}, {"86401", 0, 0}, {"86400", 86406, 86409},
    };
    uint64_t requests = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char date[64];
        struct world *w = world__new(i + 1, NULL);
        struct server s = {.status = 429, .retry_after = shapes[i].value};
        struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 3};
        if (shapes[i].value != NULL && shapes[i].value[0] == '+') {
            date_in(w, atoi(shapes[i].value + 1), date);
            s.retry_after = date;
        }
        world__load(w, &l);
        world__run(w, WORLD_START_NS + 500 * MS);
        assert_int_equal(s.n_arrived, 1);
        int64_t refused_ns = s.last_arrival_ns;
        s.status = 0;
        s.retry_after = NULL;
        if (shapes[i].most_s == 0) {
            world__run(w, WORLD_START_NS + 48 * 3600 * S);
            assert_int_equal(s.n_arrived, 1);
            assert_int_equal(world__status(w, "e").state, ENDPOINT_DISABLED);
            assert_int_equal(world__status(w, "e").next_mono_ns, INT64_MAX);
        } else {
            world__run(w, refused_ns + shapes[i].least_s * S);
            assert_int_equal(s.n_arrived, 1);
            world__run(w, refused_ns + shapes[i].most_s * S);
            assert_true(s.n_arrived > 1);
        }
        requests += s.n_arrived;
        world__free(w);
    }
    table__row("Retry-After in 14 shapes", 1, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 15, .what = "Retry-After in 14 shapes", .passed = true, .seeds = 1,
                                 .rows = requests, .recovery_s = -1});
}

/* One 429, waited out; then one alone; a second one suspends the policy and says so. */
static void test_recovery(void **state) {
    (void)state;
    struct world *w = world__new(3, NULL);
    struct server s = {.venue = venue__new("p", &stash, 1, 0, true)};
    struct load a = {.endpoint = world__endpoint(w, "a", NULL), .server = &s, .n_left = 1000};
    struct load b = {.endpoint = world__endpoint(w, "b", NULL), .server = &s, .n_left = 1000};
    world__load(w, &a);
    world__load(w, &b);
    world__run(w, WORLD_START_NS + 2 * S);
    s.status = 429;
    s.retry_after = "10";
    uint64_t before = s.n_429;
    while (s.n_429 == before) world__run(w, w->clock.mono_ns + 10 * MS);
    world__run(w, w->clock.mono_ns + 500 * MS); /* What was under way. */
    s.inflight_worst = 0;
    int64_t refused_ns = s.last_429_ns;
    uint64_t n = s.n_arrived;
    assert_true(s.n_429 <= 2);
    world__run(w, refused_ns + 75 * S); /* 10 s + the largest bucket, 60 s, + 1 s, + up to 1 s; or suspended. */
    if (s.n_429 == 1) {
        assert_int_equal(s.n_arrived, n + 1);
        assert_int_equal(s.inflight_worst, 1);
    }
    struct endpoint_status st = world__status(w, "a");
    assert_int_equal(st.state, ENDPOINT_PENALTY);
    assert_non_null(strstr(st.reason, "suspended"));
    assert_true(st.next_mono_ns - w->clock.mono_ns > 20 * S);
    s.status = 0;
    s.retry_after = NULL;
    n = s.n_arrived;
    s.inflight_worst = 0;
    while (s.n_arrived == n) world__run(w, w->clock.mono_ns + 100 * MS);
    assert_int_equal(s.inflight_worst, 1);
    world__run(w, w->clock.mono_ns + S);
    assert_int_equal(world__status(w, "a").state, ENDPOINT_RECOVER);
    world__run(w, w->clock.mono_ns + 200 * S);
    assert_true(s.n_arrived > n + 15);
    assert_int_equal(venue__books(s.venue).n_violations, 0);
    table__row("429 recovery: one alone, a second suspends", 1, s.n_arrived, 0, -1, true);
    world__free(w);
    venue__free(s.venue);
}

static void test_storm(void **state) {
    (void)state;
    uint64_t seeds = score__times(30, 1000), requests = 0, most = 0;
    double until_asked_s = 0, recovery_s = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)seed * S, true)};
        struct load a = {.endpoint = world__endpoint(w, "a", NULL), .server = &s, .n_left = 10000};
        struct load b = {.endpoint = world__endpoint(w, "b", NULL), .server = &s, .n_left = 10000};
        world__load(w, &a);
        world__load(w, &b);
        world__run(w, WORLD_START_NS + 100 * S);
        uint64_t before = s.n_arrived;
        s.status = 429;
        s.silent = true;
        int64_t end_ns = w->clock.mono_ns + 600 * S;
        world__run(w, end_ns);
        uint64_t probes = s.n_arrived - before;
        assert_in_range(probes, 2, 12);
        if (probes > most) most = probes;
        s.status = 0;
        while (s.n_arrived == before + probes) world__run(w, w->clock.mono_ns + 100 * MS);
        double asked_s = (double)(w->clock.mono_ns - end_ns) / (double)S;
        int64_t answered_ns = w->clock.mono_ns;
        while (a.n_failed + b.n_failed > 0 && s.n_arrived < before + probes + 3) /* Both have been served. */
            world__run(w, w->clock.mono_ns + 100 * MS);
        double s_more = (double)(w->clock.mono_ns - answered_ns) / (double)S;
        if (asked_s > until_asked_s) until_asked_s = asked_s;
        if (s_more > recovery_s) recovery_s = s_more;
        requests += s.n_arrived;
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        world__free(w);
        venue__free(s.venue);
    }
    assert_true(recovery_s <= 10);
    print_message("at most %llu probes; asked again at most %.0f s after the end\n", (unsigned long long)most,
                  until_asked_s);
    assert_true(until_asked_s <= 600);
    table__row("429 to everything for 10 min", seeds, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 16, .what = "429 for 10 min; recovery counts from the first answer",
                                 .passed = true, .seeds = seeds, .rows = requests, .recovery_s = recovery_s});
}

/* A ban of a day for whoever asks while restricted, or is refused three times in ten minutes. */
struct ban {
    uint64_t n_restricted;
    int64_t refused_ns[3];
    bool banned;
};

static int judge_ban(struct server *s, struct world *w) {
    struct ban *ban = s->data;
    struct venue_books books = venue__books(s->venue);
    if (books.n_violations > s->n_violations) {
        s->n_violations = books.n_violations;
        ban->refused_ns[2] = ban->refused_ns[1];
        ban->refused_ns[1] = ban->refused_ns[0];
        ban->refused_ns[0] = w->clock.mono_ns;
        ban->banned |= ban->refused_ns[2] > w->clock.mono_ns - 600 * S;
        ban->banned |= books.n_restricted > 0;
        return ban->banned ? 418 : 429;
    }
    return ban->banned ? 418 : 200;
}

static void on_burst(struct world *w, void *data) {
    struct server *s = data;
    venue__others(s->venue, w->clock.mono_ns, 1 + (int64_t)world__random(w, 12));
    world__at(w, w->clock.mono_ns + (int64_t)(300 + world__random(w, 3000)) * S, on_burst, s);
}

static void test_armed_ban(void **state) {
    (void)state;
    uint64_t seeds = score__times(4, 50), requests = 0, violations = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct ban ban = {.refused_ns = {-S * 100000, -S * 100000, -S * 100000}};
        struct world *w = world__new(seed, NULL);
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)seed * S, true), .judge = judge_ban, .data = &ban};
        struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 1000000};
        world__at(w, WORLD_START_NS + 100 * S, on_burst, &s);
        world__load(w, &l);
        world__run(w, WORLD_START_NS + 24 * 3600 * S);
        assert_false(ban.banned);
        assert_true(s.n_arrived > 4000);
        requests += s.n_arrived;
        violations += venue__books(s.venue).n_violations;
        assert_int_equal(venue__books(s.venue).n_restricted, 0);
        world__free(w);
        venue__free(s.venue);
    }
    table__row("24 h with an escalating ban armed, and another tool", seeds, requests, violations, -1, true);
    score__write(&(struct score){.case_number = 19, .what = "ban armed for 24 h, another tool in bursts", .passed = true,
                                 .seeds = seeds, .rows = requests, .recovery_s = -1});
}

/* Owners whose wishes were refused ask again now and then. */
static void run_in_steps(struct world *w, int64_t until_ns) {
    while (w->clock.mono_ns < until_ns) world__run(w, w->clock.mono_ns + S);
}

static void test_block_page(void **state) {
    (void)state;
    struct world *w = world__new(5, NULL);
    struct server s = {.venue = venue__new("p", &stash, 1, 0, true)};
    struct load a = {.endpoint = world__endpoint(w, "a", NULL), .server = &s, .n_left = 1000};
    struct load b = {.endpoint = world__endpoint(w, "b", NULL), .server = &s, .n_left = 1000};
    world__load(w, &a);
    world__load(w, &b);
    world__run(w, WORLD_START_NS + 2 * S);
    s.block_page = true;
    uint64_t n = s.n_arrived;
    run_in_steps(w, WORLD_START_NS + 3590 * S);
    assert_true(s.n_arrived <= n + 2); /* One, and what was under way. */
    assert_int_equal(world__status(w, "b").state, ENDPOINT_DISABLED);
    n = s.n_arrived;
    run_in_steps(w, WORLD_START_NS + 3700 * S);
    assert_int_equal(s.n_arrived, n + 1); /* A probe, and longer silence. */
    run_in_steps(w, WORLD_START_NS + 3700 * S + 7000 * S);
    assert_int_equal(s.n_arrived, n + 1);
    table__row("a block page halts the host", 1, s.n_arrived, 0, -1, true);
    world__free(w);
    venue__free(s.venue);
}

static void test_errors_that_are_ours(void **state) {
    (void)state;
    static const int codes[] = {400, 401, 403, 404, 405, 410, 422};
    uint64_t requests = 0;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct world *w = world__new(i + 1, NULL);
        struct venue_rule rule = {"Ip", "10:15:60,30:60:300"};
        struct server bad = {.venue = venue__new("bad", &rule, 1, 0, true), .status = codes[i]};
        struct server good = {.venue = venue__new("good", &rule, 1, 0, true)};
        struct load a = {.endpoint = world__endpoint(w, "bad", NULL), .server = &bad, .n_left = 1000};
        struct load b = {.endpoint = world__endpoint(w, "good", NULL), .server = &good, .n_left = 100000};
        world__load(w, &a);
        world__load(w, &b);
        world__run(w, WORLD_START_NS + 3600 * S);
        bool auth = codes[i] == 401 || codes[i] == 403;
        /* One of two under way may be over the last. Who is not authorized is tried again after 5, 10 and 20 minutes. */
        assert_in_range(bad.n_arrived, auth ? 2 : 10, auth ? 6 : 11);
        assert_int_equal(world__status(w, "bad").state, ENDPOINT_DISABLED);
        assert_true(good.n_arrived > 800); /* 29 in 121 s, as without the other. */
        assert_int_equal(venue__books(good.venue).n_violations + venue__books(bad.venue).n_violations, 0);
        requests += bad.n_arrived + good.n_arrived;
        world__free(w);
        venue__free(bad.venue);
        venue__free(good.venue);
    }
    table__row("401 and other 4xx do not loop", 7, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 20, .what = "permanent 4xx of 7 kinds beside a good endpoint",
                                 .passed = true, .seeds = 7, .rows = requests, .recovery_s = -1});
}

/* Ten endpoints of one venue fail at once: nobody tries thrice when the venue's retries are spent. And
 * one that is well pays them back. */
static void test_the_retry_budget(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    struct world *w = world__new(9, NULL);
    struct server bad = {.status = 503}, good = {0};
    struct load l[10];
    for (size_t i = 0; i < 10; i++) {
        struct endpoint_options o = world__vendor(names[i]);
        o.venue = "v";
        l[i] = (struct load){.endpoint = world__endpoint(w, names[i], &o), .server = &bad, .n_left = 1000};
        world__load(w, &l[i]);
    }
    world__run(w, WORLD_START_NS + 7 * S);
    assert_true(world__status(w, "a").retries_left < 14);
    /* Seven are paid for; the others waited for 8 s and more after their first failure. */
    assert_in_range(bad.n_arrived, 10, 17);
    assert_int_equal(world__status(w, "j").state, ENDPOINT_BACKOFF);
    struct endpoint_options o = world__vendor("good");
    o.venue = "v";
    o.host = "other.test";
    struct load well = {.endpoint = world__endpoint(w, "good", &o), .server = &good, .n_left = 1000};
    for (size_t i = 0; i < 10; i++) governor__kill(w->g, l[i].endpoint, "test");
    world__load(w, &well);
    world__run(w, WORLD_START_NS + 200 * S);
    assert_int_equal(world__status(w, "good").retries_left, 100);
    table__row("a venue in trouble spends its retries", 1, bad.n_arrived, 0, -1, true);
    world__free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_after), cmocka_unit_test(test_recovery), cmocka_unit_test(test_storm),
        cmocka_unit_test(test_armed_ban), cmocka_unit_test(test_block_page),
        cmocka_unit_test(test_errors_that_are_ours), cmocka_unit_test(test_the_retry_budget)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
