/* The server changes its mind, and others use the same budget. Cases 14 and 17. */
#include "score.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct venue_rule stash = {"Account", "15:10:60,30:300:300"};

enum change { HALVED, DOUBLED, RENAMED, RENAMED_AND_HALVED, FEWER_WINDOWS, MORE_WINDOWS, CHANGE__N };
static const char *const change_names[CHANGE__N] = {
    "policy halved", "policy doubled", "policy renamed", "policy renamed and halved",
    "policy loses a window", "policy gains a window"};

static void change(struct server *s, enum change what) {
    static const char *const triples[CHANGE__N] = {
        [HALVED] = "7:10:60,15:300:300", [DOUBLED] = "30:10:60,60:300:300",
        [RENAMED_AND_HALVED] = "7:10:60,15:300:300", [FEWER_WINDOWS] = "15:10:60",
        [MORE_WINDOWS] = "10:10:60,25:60:120,30:300:300"};
    if (triples[what] != NULL) venue__limits(s->venue, 0, triples[what]);
    if (what == RENAMED || what == RENAMED_AND_HALVED) venue__rename(s->venue, "another");
}

static void run_change(enum change what, uint64_t seed, uint64_t *requests, uint64_t *violations) {
    struct world *w = world__new(seed, NULL);
    struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)world__random(w, 60000) * MS, true)};
    struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 100000};
    world__load(w, &l);
    world__run(w, WORLD_START_NS + (int64_t)(200 + world__random(w, 600)) * S);
    uint64_t before = venue__books(s.venue).n_violations;
    assert_int_equal(before, 0);
    change(&s, what);
    world__run(w, w->clock.mono_ns + 1800 * S);
    struct venue_books books = venue__books(s.venue);
    assert_true(books.n_violations <= 1); /* The reply that tells of it. */
    assert_int_equal(books.n_restricted, 0);
    *requests += books.n_requests;
    *violations += books.n_violations;
    world__free(w);
    venue__free(s.venue);
}

static void test_changes(void **state) {
    (void)state;
    uint64_t seeds = score__times(12, 500), all = 0;
    for (int what = 0; what < CHANGE__N; what++) {
        uint64_t requests = 0, violations = 0;
        for (uint64_t seed = 1; seed <= seeds; seed++)
            run_change((enum change)what, seed, &requests, &violations);
        table__row(change_names[what], seeds, requests, violations, -1, true);
        all += requests;
        if (what == DOUBLED || what == RENAMED || what == FEWER_WINDOWS) assert_int_equal(violations, 0);
    }
    score__write(&(struct score){.case_number = 14, .what = "halved, doubled, renamed, windows more and fewer",
                                 .passed = true, .seeds = seeds * CHANGE__N, .rows = all, .recovery_s = -1});
}

/* The new pace holds from the next response on: no more than the new windows, and as many. */
static void test_the_new_pace(void **state) {
    (void)state;
    struct world *w = world__new(1, NULL);
    struct venue_rule rule = {"Ip", "10:10:60"};
    struct server s = {.venue = venue__new("p", &rule, 1, 0, true)};
    struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 100000};
    world__load(w, &l);
    world__run(w, WORLD_START_NS + 160 * S);
    uint64_t n = s.n_arrived;
    assert_in_range(n, 95, 110); /* 10 in 16 s. */
    venue__limits(s.venue, 0, "20:10:60");
    world__run(w, w->clock.mono_ns + 160 * S);
    assert_in_range(s.n_arrived - n, 185, 215);
    assert_int_equal(venue__books(s.venue).n_violations, 0);
    world__free(w);
    venue__free(s.venue);
}

struct other {
    struct server *server;
    int64_t every_ns, n;
    int64_t until_ns;
};

static void on_other(struct world *w, void *data) {
    struct other *o = data;
    venue__others(o->server->venue, w->clock.mono_ns, o->n);
    if (w->clock.mono_ns < o->until_ns) world__at(w, w->clock.mono_ns + o->every_ns, on_other, o);
}

/* Another tool sends now and then: its hits show in the next state, and ours go down. */
static void test_hits_of_another_tool(void **state) {
    (void)state;
    uint64_t seeds = score__times(20, 500), requests = 0, violations = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)world__random(w, 60000) * MS, true)};
        struct endpoint_options o = world__vendor("e");
        struct load l = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .n_left = 100000};
        struct other other = {.server = &s, .every_ns = 40 * S, .n = 1,
                              .until_ns = WORLD_START_NS + 3600 * S};
        world__at(w, WORLD_START_NS + (int64_t)world__random(w, 40) * S, on_other, &other);
        world__load(w, &l);
        world__run(w, WORLD_START_NS + 3600 * S);
        struct venue_books books = venue__books(s.venue);
        assert_true(books.n_violations <= 1);
        assert_int_equal(books.n_restricted, 0);
        requests += books.n_requests;
        violations += books.n_violations;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("hits of another tool (at most 1 each)", seeds, requests, violations, -1, true);
}

/* Half of the budget is eaten from the start, evenly. */
static void test_half_of_the_budget(void **state) {
    (void)state;
    uint64_t seeds = score__times(20, 500), requests = 0, violations = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct venue_rule rule = {"Ip", "30:60:60"};
        struct server s = {.venue = venue__new("p", &rule, 1, (int64_t)world__random(w, 5000) * MS, true)};
        struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 100000};
        struct other other = {.server = &s, .every_ns = 4 * S, .n = 1, .until_ns = WORLD_START_NS + 1800 * S};
        world__at(w, WORLD_START_NS, on_other, &other);
        world__load(w, &l);
        world__run(w, WORLD_START_NS + 2 * 66 * S); /* Two windows to settle. */
        uint64_t settling = venue__books(s.venue).n_violations;
        world__run(w, WORLD_START_NS + 1800 * S);
        struct venue_books books = venue__books(s.venue);
        assert_true(books.n_violations <= 1);
        assert_int_equal(books.n_violations, settling);
        requests += books.n_requests;
        violations += books.n_violations;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("another tool eats half (at most 1 each)", seeds, requests, violations, -1, true);
    score__write(&(struct score){.case_number = 17, .what = "another tool eats half of the budget", .passed = true,
                                 .seeds = seeds, .rows = requests, .recovery_s = -1});
}

/* The other takes the last tokens while our request is under way: nobody could know. One 429 is the
 * other's doing; none must follow from it. */
static void test_race_at_saturation(void **state) {
    (void)state;
    uint64_t seeds = score__times(20, 500), requests = 0, refused = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct server s = {.venue = venue__new("p", &stash, 1, (int64_t)world__random(w, 60000) * MS, true)};
        struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .n_left = 100};
        world__load(w, &l);
        w->latency_ns = 600 * MS; /* So that one is always under way. */
        while (s.n_arrived < 13 || s.n_inflight == 0) world__run(w, w->clock.mono_ns + 10 * MS);
        venue__others(s.venue, w->clock.mono_ns, 2);
        assert_true(world__finish(w, WORLD_START_NS + 5000 * S));
        struct venue_books books = venue__books(s.venue);
        assert_true(books.n_violations <= 1);
        assert_int_equal(books.n_restricted, 0);
        requests += books.n_requests;
        refused += books.n_violations;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("race for the last token (at most 1 each)", seeds, requests, refused, -1, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes), cmocka_unit_test(test_the_new_pace),
        cmocka_unit_test(test_hits_of_another_tool), cmocka_unit_test(test_half_of_the_budget),
        cmocka_unit_test(test_race_at_saturation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
