/* Saturating load under every policy that was observed (facts on rate limits, 3.2), for many phases
 * of the counting buckets: no violation, no longer than 1.05 of the optimum, and no request that
 * could have gone 500 ms before. Case 13. */
#include "score.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct shape {
    const char *name;
    struct venue_rule rules[VENUE_RULES_MAX];
    size_t n_rules, n_requests;
};
/* Enough requests for several of the longest windows, or the last window would cost nothing. */
static const struct shape shapes[] = {
    {"one window 2:1:60", {{"Ip", "2:1:60"}}, 1, 301},
    {"one window 60:30:30", {{"Ip", "60:30:30"}}, 1, 1201},
    {"stash list 10:15, 30:60", {{"Account", "10:15:60,30:60:300"}}, 1, 601},
    {"stash 15:10, 30:300", {{"Account", "15:10:60,30:300:300"}}, 1, 301},
    {"character 5:10, 30:300", {{"Account", "5:10:60,30:300:300"}}, 1, 301},
    {"three windows", {{"Ip", "5:15:60,10:90:300,30:300:1800"}}, 1, 301},
    {"trade search, four windows", {{"Ip", "5:10:60,15:60:300,30:300:1800,600:21600:3600"}}, 1, 1801},
    {"trade fetch, two rules",
     {{"Ip", "12:4:10,16:12:300,50:300:300,1000:21600:1800"}, {"Account", "6:4:10"}}, 2, 3001},
    {"legacy stash, two rules",
     {{"Account", "30:60:60,100:1800:600"}, {"Ip", "45:60:120,180:1800:600"}}, 2, 1001},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

struct result {
    uint64_t seeds, requests, violations, ceiling;
    double ratio;
    int64_t lateness_ns;
    double used_least; /* Of the padded rate. */
};

static void saturate(const struct shape *shape, uint64_t seed, struct result *r) {
    struct world *w = world__new(seed, NULL);
    int64_t phase_ns = (int64_t)world__random(w, 60000) * MS;
    struct server s = {.venue = venue__new("p", shape->rules, shape->n_rules, phase_ns, true)};
    struct optimum o = {.gap_ns = 250 * MS, .inflight_max = 2};
    for (size_t i = 0; i < shape->n_rules; i++) optimum__add(&o, shape->rules[i].triples);
    struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = shape->n_requests};
    world__load(w, &l);
    assert_true(world__finish(w, WORLD_START_NS + 400000 * S));
    double best_s = (double)optimum__total_ns(&o, shape->n_requests, w->latency_ns) / (double)S;
    double ratio = (double)(w->clock.mono_ns - WORLD_START_NS) / (double)S / best_s;
    int64_t late_ns = world__lateness_ns(w, &o, 0.04);
    if (ratio > r->ratio) r->ratio = ratio;
    if (late_ns > r->lateness_ns) r->lateness_ns = late_ns;
    assert_int_equal(l.n_done, shape->n_requests);
    assert_true(s.inflight_worst <= 2);
    r->seeds++;
    r->requests += shape->n_requests;
    r->violations += venue__books(s.venue).n_violations;
    r->ceiling += venue__books(s.venue).n_ceiling;
    world__free(w);
    venue__free(s.venue);
}

static void test_saturation(void **state) {
    (void)state;
    struct result all = {0};
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct result r = {0};
        uint64_t seeds = score__times(shapes[i].n_requests > 1000 ? 3 : 12, 500);
        for (uint64_t seed = 1; seed <= seeds; seed++) saturate(&shapes[i], seed, &r);
        bool passed = r.violations == 0 && r.ceiling == 0 && r.ratio <= 1.05 &&
                      r.lateness_ns <= 500 * MS;
        char name[64];
        snprintf(name, sizeof name, "saturated: %s", shapes[i].name);
        table__row(name, r.seeds, r.requests, r.violations, r.ratio, passed);
        print_message("%s: ratio %.3f, latest %.0f ms\n", shapes[i].name, r.ratio,
                      (double)r.lateness_ns / (double)MS);
        assert_int_equal(r.violations, 0);
        assert_int_equal(r.ceiling, 0);
        assert_true(r.ratio <= 1.05);
        assert_true(r.lateness_ns <= 500 * MS);
        all.seeds += r.seeds;
        all.requests += r.requests;
        if (r.ratio > all.ratio) all.ratio = r.ratio;
    }
    score__write(&(struct score){.case_number = 13, .what = "saturating load on 9 policies, phases at random",
                                 .passed = true, .seeds = all.seeds, .rows = all.requests,
                                 .recovery_s = -1});
}

/* Three times as much as the limits let through, from three endpoints of one policy. */
static void test_three_times_over(void **state) {
    (void)state;
    uint64_t requests = 0;
    double least = 2;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct world *w = world__new(seed, NULL);
        struct venue_rule rule = {"Ip", "10:15:60,30:60:300"};
        struct server s = {.venue = venue__new("p", &rule, 1, (int64_t)seed * 7 * S, true)};
        struct load loads[3];
        static const char *const names[] = {"a", "b", "c"};
        for (int i = 0; i < 3; i++) {
            loads[i] = (struct load){.endpoint = world__endpoint(w, names[i], NULL), .server = &s, .n_left = 100000};
            world__load(w, &loads[i]);
        }
        world__run(w, WORLD_START_NS + 3600 * S);
        uint64_t n = venue__books(s.venue).n_requests;
        /* What padding allows: 30 tokens in 60 + 60 + 1 s, one round trip each. */
        double used = (double)n / (3600.0 / (121 + 0.12) * 30);
        if (used < least) least = used;
        for (int i = 0; i < 3; i++) assert_true(loads[i].n_done > n / 4);
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        requests += n;
        world__free(w);
        venue__free(s.venue);
    }
    assert_true(least >= 0.95);
    table__row("three endpoints want three times as much", 6, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 13, .what = "three times the load from three endpoints of a policy",
                                 .passed = true, .seeds = 6, .rows = requests, .recovery_s = -1});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_saturation), cmocka_unit_test(test_three_times_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
