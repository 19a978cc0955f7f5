/* Who goes first, queues that are canceled, and limiters that count by the minute. Cases 18 and 22. */
#include "score.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static const struct venue_rule minute = {"Ip", "10:15:60,30:60:300"};

/* A flood of backfill beside a stream's tail, and beside everything at once. */
static void test_a_flood(void **state) {
    (void)state;
    uint64_t seeds = score__times(10, 300), requests = 0;
    static const double least[CLASS__N] = {[CLASS_TAIL] = 4 / 12.0, [CLASS_METADATA] = 2 / 12.0,
                                           [CLASS_BACKFILL] = 1 / 12.0, [CLASS_INTERACTIVE] = 4 / 12.0,
                                           [CLASS_PROBE] = 1 / 12.0};
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct server s = {.venue = venue__new("p", &minute, 1, (int64_t)seed * S, true)};
        struct endpoint *ep = world__endpoint(w, "e", NULL);
        struct load l[CLASS__N];
        bool all = seed % 2 == 0;
        for (int c = 0; c < CLASS__N; c++) {
            bool wants = all || c == CLASS_TAIL || c == CLASS_BACKFILL;
            l[c] = (struct load){.endpoint = ep, .server = &s, .class = (enum permit_class)c,
                                 .queue_max = c == CLASS_BACKFILL ? 150 : 20, .n_left = wants ? 100000 : 0};
            world__load(w, &l[c]);
        }
        world__run(w, WORLD_START_NS + 7200 * S);
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        for (int c = 0; c < CLASS__N; c++) {
            if (l[c].n_sent == 0) continue;
            double share = (double)l[c].n_sent / (double)s.n_arrived;
            assert_true(share >= least[c] * 0.9);
        }
        if (!all) assert_true(l[CLASS_TAIL].n_sent >= 3 * l[CLASS_BACKFILL].n_sent);
        assert_true(l[CLASS_BACKFILL].n_sent > 0);
        requests += s.n_arrived;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("a class floods, the others keep their share", seeds, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 22, .what = "backfill floods beside tail and beside all", .passed = true,
                                 .seeds = seeds, .rows = requests, .recovery_s = -1});
}

/* Who has little to send waits no longer for a flood than for one token. */
static void test_little_work_is_served_at_once(void **state) {
    (void)state;
    struct world *w = world__new(1, NULL);
    struct venue_rule rule = {"Ip", "2:1:60"};
    struct server s = {.venue = venue__new("p", &rule, 1, 0, true)}, own = {.venue = s.venue};
    struct endpoint *ep = world__endpoint(w, "e", NULL);
    struct load flood = {.endpoint = ep, .server = &s, .class = CLASS_BACKFILL, .queue_max = 200, .n_left = 100000};
    world__load(w, &flood);
    world__run(w, WORLD_START_NS + 60 * S);
    for (int i = 0; i < 20; i++) {
        struct load one = {.endpoint = ep, .server = &own, .class = CLASS_TAIL, .n_left = 1};
        int64_t asked_ns = w->clock.mono_ns;
        world__load(w, &one);
        while (one.n_done == 0) world__run(w, w->clock.mono_ns + 50 * MS);
        assert_true(w->clock.mono_ns - asked_ns <= 15 * S); /* A token comes back each 7 s at most, twice. */
        world__run(w, w->clock.mono_ns + 30 * S);
        w->loads = one.next; /* It ends here. */
    }
    assert_int_equal(venue__books(s.venue).n_violations, 0);
    world__free(w);
    venue__free(s.venue);
}

/* Half of the lasting rate is all that metadata may take; whoever asks why it waits is told so. */
static void test_a_ceiling_is_said(void **state) {
    (void)state;
    struct world *w = world__new(1, NULL);
    struct venue_rule rule = {"Account", "15:10:60,30:300:300"};
    struct server s = {.venue = venue__new("p", &rule, 1, 0, true)};
    struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .class = CLASS_METADATA, .n_left = 1000};
    world__load(w, &l);
    world__run(w, WORLD_START_NS + 40 * S);
    struct endpoint_status st = world__status(w, "e");
    assert_string_equal(endpoint_state__name(st.state), "paced");
    assert_non_null(strstr(st.reason, "for the ceiling of class metadata"));
    uint64_t n = s.n_arrived;
    world__run(w, st.next_mono_ns - 100 * MS);
    assert_int_equal(s.n_arrived, n);
    world__run(w, st.next_mono_ns + 300 * MS);
    assert_int_equal(s.n_arrived, n + 1); /* When it said. */
    world__free(w);
    venue__free(s.venue);
}

static void test_hundreds_with_cancellations(void **state) {
    (void)state;
    uint64_t seeds = score__times(10, 200), requests = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct server s = {.venue = venue__new("p", &minute, 1, (int64_t)seed * S, true)};
        struct load l = {.endpoint = world__endpoint(w, "e", NULL), .server = &s, .queue_max = 250, .n_left = 600};
        size_t canceled = 0;
        world__load(w, &l);
        for (int i = 0; i < 30; i++) {
            world__run(w, w->clock.mono_ns + (int64_t)world__random(w, 60000) * MS);
            canceled += world__cancel(w, &l, world__random(w, 30));
        }
        assert_true(world__finish(w, WORLD_START_NS + 100000 * S));
        assert_true(canceled > 100);
        assert_int_equal(l.n_done + canceled, 600);
        assert_int_equal(s.n_arrived, l.n_done);
        assert_int_equal(world__status(w, "e").n_waiting, 0);
        assert_int_equal(venue__books(s.venue).n_violations, 0);
        requests += s.n_arrived;
        world__free(w);
        venue__free(s.venue);
    }
    table__row("hundreds queued, with cancellations", seeds, requests, 0, -1, true);
}

/* Counts by the minute of its own clock, which is up to 30 s away from ours. */
struct aligned {
    int64_t offset_ns, minute;
    uint32_t limit, n;
    uint64_t n_over;
};

static int judge_aligned(struct server *s, struct world *w) {
    struct aligned *a = s->data;
    int64_t now_minute = (w->clock.wall_ns + a->offset_ns) / (60 * S);
    if (now_minute != a->minute) a->n = 0;
    a->minute = now_minute;
    if (++a->n <= a->limit) return 200;
    a->n_over++;
    return 429;
}

static void tell_aligned(struct server *s, struct world *w, char out[VENUE_HEADERS_MAX]) {
    struct aligned *a = s->data;
    (void)w;
    snprintf(out, VENUE_HEADERS_MAX,
             "X-Rate-Limit-Policy: m\r\nX-Rate-Limit-Rules: Ip\r\nX-Rate-Limit-Ip: %u:60:120\r\n"
             "X-Rate-Limit-Ip-State: %u:60:0\r\n",
             a->limit, a->n);
}

static void test_aligned_minutes(void **state) {
    (void)state;
    uint64_t seeds = score__times(20, 500), requests = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct world *w = world__new(seed, NULL);
        struct aligned a = {.limit = 60, .offset_ns = (int64_t)world__random(w, 60001) * MS - 30 * S};
        bool told = seed % 2 == 0;
        struct server s = {.judge = judge_aligned, .tell = told ? tell_aligned : NULL, .data = &a};
        struct endpoint_options o = world__vendor("e");
        o.rate_per_s = 0.95 * 60 / 60; /* What a venue without headers is configured to. */
        struct load l = {.endpoint = world__endpoint(w, "e", &o), .server = &s, .n_left = 100000};
        world__load(w, &l);
        world__run(w, WORLD_START_NS + 3600 * S);
        assert_int_equal(a.n_over, 0);
        /* Untold, the pace counts from the answer: 3600 / (1 / 0.95 + a round trip of 0.12) = 3070. */
        assert_true(s.n_arrived >= 3000);
        requests += s.n_arrived;
        world__free(w);
    }
    table__row("limiter by wall minutes, clock up to 30 s off", seeds, requests, 0, -1, true);
    score__write(&(struct score){.case_number = 18, .what = "aligned minutes for an hour, with headers and without",
                                 .passed = true, .seeds = seeds, .rows = requests, .recovery_s = -1});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flood), cmocka_unit_test(test_little_work_is_served_at_once),
        cmocka_unit_test(test_a_ceiling_is_said), cmocka_unit_test(test_hundreds_with_cancellations), cmocka_unit_test(test_aligned_minutes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
