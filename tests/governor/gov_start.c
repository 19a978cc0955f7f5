/* The first seconds: what others left behind, HEAD as the vendor sanctions it, header sets that lack
 * something, and restarts, which must not multiply a budget. Case 12. */
#include "score.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct venue_rule stash = {"Account", "15:10:60,30:300:300"};

static struct endpoint_options with_head(void) {
    struct endpoint_options o = world__vendor("e");
    o.head_at_start = true;
    return o;
}

/* Another program of the account was busy just before: HEAD tells, and nothing is broken, even when
 * all is used up. Without HEAD the first request is at most one too many. */
static void start_with_residue(bool head, uint64_t seeds, uint64_t *requests, uint64_t *violations) {
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct endpoint_options o = head ? with_head() : world__vendor("e");
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)seed * 1300 * MS, true)};
        int64_t busy_ns = WORLD_START_NS - (int64_t)world__random(w, 200) * S;
        venue__others(s.venue, busy_ns, 1 + (int64_t)world__random(w, 30));
        struct load l = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .may_head = head, .n_left = 90};
        world__load(w, &l);
        assert_true(world__finish(w, WORLD_START_NS + 5000 * S));
        assert_int_equal(s.n_heads, head);
        assert_true(venue__books(s.venue).n_violations <= !head);
        assert_false(s.head_in_company);
        *requests += s.n_arrived;
        *violations += venue__books(s.venue).n_violations;
        world__free(w);
        venue__free(s.venue);
    }
}

static void test_cold_start_with_residue(void **state) {
    (void)state;
    uint64_t seeds = score__times(40, 1000), requests = 0, violations = 0;
    start_with_residue(true, seeds, &requests, &violations);
    assert_int_equal(violations, 0);
    table__row("cold start with residue, told by HEAD", seeds, requests, violations, -1, true);
    requests = violations = 0;
    start_with_residue(false, seeds, &requests, &violations);
    table__row("cold start with residue, no HEAD (at most 1 each)", seeds, requests, violations, -1, true);
}

/* The name of a policy and nothing else, as was seen in December 2023. */
static void test_degraded_head(void **state) {
    (void)state;
    uint64_t requests = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *w = world__new(seed, NULL);
        struct endpoint_options o = with_head();
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)seed * S, true), .head_degraded = true};
        struct load l = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .may_head = true, .n_left = 61};
        world__load(w, &l);
        while (s.n_heads == 0 || s.n_inflight > 0) world__run(w, w->clock.mono_ns + 10 * MS);
        assert_string_equal(w->last.error, "a policy without rules");
        struct endpoint_status st = world__status(w, "e");
        assert_int_equal(st.n_windows, 0);
        assert_true(st.next_mono_ns > w->clock.mono_ns); /* 0.8/s and alone, not free. */
        assert_true(world__finish(w, WORLD_START_NS + 3000 * S));
        assert_int_equal(s.n_heads, 1); /* Never again. */
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        requests += s.n_arrived;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("degraded HEAD", 10, requests, 0, -1, true);
}

/* Later replies lose their rules: the old windows stay. From the start: slowly, one at a time. */
static void test_degraded_replies(void **state) {
    (void)state;
    uint64_t requests = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        bool always = seed % 2 == 0;
        struct world *w = world__new(seed, NULL);
        struct venue_rule wide = {"Ip", always ? "60:60:60" : "15:10:60,30:300:300"};
        struct server s = {.venue = venue__new("p", &wide, 1, (int64_t)seed * S, true), .degraded = always};
        struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 100};
        world__load(w, &l);
        world__run(w, WORLD_START_NS + 5 * S);
        s.degraded = true;
        assert_true(world__finish(w, WORLD_START_NS + 3000 * S));
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        assert_true(world__status(w, "e").n_errors > 0);
        if (always) assert_int_equal(s.inflight_worst, 1);
        requests += s.n_arrived;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("replies that lack their rules", 10, requests, 0, -1, true);
}

/* HEADs of many endpoints: one after another, with nothing beside them. A reply with an error is not
 * asked for again. */
static void test_heads_go_alone(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "f", "g"};
    uint64_t requests = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world *w = world__new(seed, NULL);
        struct server s[6] = {0};
        struct load l[6];
        for (size_t i = 0; i < 6; i++) {
            struct endpoint_options o = with_head();
            o.host = i % 2 == 0 ? "api.test" : "www.test";
            o.venue = "vendor";
            s[i].venue = venue__new(names[i], &stash, 1, (int64_t)i * S, true);
            if (i == 3) s[i].head_status = 503;
            l[i] = (struct load){.endpoint = world__endpoint(w, names[i], &o), .server = &s[i],
                                 .may_head = i != 5, .n_left = 31};
            world__load(w, &l[i]);
        }
        assert_true(world__finish(w, WORLD_START_NS + 3000 * S));
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(s[i].n_heads, i != 5);
            assert_false(s[i].head_in_company);
            assert_true(s[i].inflight_worst <= 2);
            assert_int_equal(venue__books(s[i].venue).n_violations, 0);
            assert_int_equal(venue__books(s[i].venue).n_ceiling, 0);
            requests += s[i].n_arrived;
        }
        world__free(w);
        for (size_t i = 0; i < 6; i++) venue__free(s[i].venue);
    }
    table__row("wire shape: HEADs alone, two in flight", 20, requests, 0, -1, true);
}

/* Somebody who cannot send HEAD was first: then there is nothing left to ask for. */
static void test_no_head_once_all_is_known(void **state) {
    (void)state;
    struct world *w = world__new(1, NULL);
    struct endpoint_options o = with_head();
    struct server s = {.venue = venue__new("p", &stash, 1, 0, true)};
    struct endpoint *ep = world__endpoint(w, "e", &o);
    struct load first = {.endpoint = ep, .server = &s, .n_left = 1};
    struct load later = {.endpoint = ep, .server = &s, .may_head = true, .n_left = 30};
    world__load(w, &first);
    assert_true(world__finish(w, WORLD_START_NS + 10 * S));
    world__load(w, &later);
    assert_true(world__finish(w, WORLD_START_NS + 1000 * S));
    assert_int_equal(s.n_heads, 0);
    assert_int_equal(venue__books(s.venue).n_violations, 0);
    world__free(w);
    venue__free(s.venue);
}

/* After a while others may have used the budget: HEAD tells. Right after a restart it is not asked. */
static void test_head_again_after_a_while(void **state) {
    (void)state;
    for (int away_s = 10; away_s <= 120; away_s += 110) {
        struct buf saved = buf__init(1 << 20);
        struct world *w = world__new(1, NULL);
        struct endpoint_options o = with_head();
        struct server s = {.venue = venue__new("p", &stash, 1, 0, true)};
        struct load before = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .may_head = true, .n_left = 10};
        world__load(w, &before);
        assert_true(world__finish(w, WORLD_START_NS + 100 * S));
        world__crash(w, &saved);
        if (away_s > 60) venue__others(s.venue, w->clock.mono_ns + 60 * S, 20);
        w->clock.mono_ns += away_s * S;
        w->clock.wall_ns += away_s * S;
        struct load after = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .may_head = true, .n_left = 60};
        world__restore(w, &saved);
        world__load(w, &after);
        assert_true(world__finish(w, w->clock.mono_ns + 2000 * S));
        assert_int_equal(s.n_heads, away_s > 60 ? 2 : 1);
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        buf__fini(&saved);
        world__free(w);
        venue__free(s.venue);
    }
}

/* A crash at a random moment, again and again, each time with the state of the last grant. */
static void test_a_crash_loop(void **state) {
    (void)state;
    uint64_t seeds = score__times(3, 20), restarts = score__times(200, 10000), requests = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct buf saved = buf__init(1 << 20);
        struct world *w = world__new(seed, NULL);
        struct endpoint_options o = with_head();
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)seed * 11 * S, true)};
        for (uint64_t i = 0; i < restarts; i++) {
            struct load l = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .may_head = true,
                             .n_left = 1000000};
            if (i > 0) world__restore(w, &saved);
            world__load(w, &l);
            world__run(w, w->clock.mono_ns + (int64_t)world__random(w, 2000) * MS);
            world__crash(w, &saved);
        }
        requests += s.n_arrived;
        assert_true(s.n_arrived > restarts / 20);
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        assert_true(s.n_heads <= 1); /* Not a HEAD a restart. */
        buf__fini(&saved);
        world__free(w);
        venue__free(s.venue);
    }
    table__row("crash loop", seeds, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 12, .what = "crash loop of the governor, virtual", .passed = true,
                                 .kills = seeds * restarts, .seeds = seeds, .rows = requests, .recovery_s = -1});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cold_start_with_residue), cmocka_unit_test(test_degraded_head),
        cmocka_unit_test(test_degraded_replies), cmocka_unit_test(test_heads_go_alone),
        cmocka_unit_test(test_head_again_after_a_while), cmocka_unit_test(test_no_head_once_all_is_known), cmocka_unit_test(test_a_crash_loop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
