/* The rules of the guard: levels, hysteresis, and what it raises. */
#include "../lib/moved.h"
#include "souk/guard.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    struct guard *guard;
    struct guard_source source;
    struct guard_facts facts;
};

#define START_MS INT64_C(1795219000000)

static int setup(void **state) {
    static struct fixture f;
    struct err e;
    f = (struct fixture){.clock = {.mono_ns = NS_PER_S, .wall_ns = START_MS * NS_PER_MS}};
    metrics__init(&f.metrics);
    struct alerts_options options = {.seed = 1};
    alerts__open(&f.alerts, &f.clock, &f.metrics, &options, &e);
    guard__open(&f.guard, &f.clock, &f.metrics, f.alerts, &e);
    f.source = (struct guard_source){.name = "psapi",
                                     .stream = "pc",
                                     .enabled = true,
                                     .started_mono_ns = NS_PER_S,
                                     .last_success_mono_ns = NS_PER_S};
    f.facts = (struct guard_facts){
        .clock = {.venue = ""},
        .store = {.connected = true, .since_mono_ns = NS_PER_S, .rows_per_s = 1203},
        .spool = {.bytes = 1, .quota_bytes = 100}};
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    guard__free(f->guard);
    alerts__free(f->alerts);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    return 0;
}

static void pass(struct fixture *f, int seconds) {
    for (int i = 0; i < seconds; i++) {
        f->clock.mono_ns += NS_PER_S;
        f->clock.wall_ns += NS_PER_S;
        guard__judge(f->guard, &f->source);
        guard__evaluate(f->guard, &f->facts);
        alerts__tick(f->alerts);
    }
}

static size_t n_firing(const struct fixture *f, enum alert_sev sev) {
    struct alerts_summary s;
    alerts__summary(f->alerts, &s);
    return s.n_by_sev[sev];
}

static void test_guard_drift_goes_amber_then_red_and_recovers_slowly(void **state) {
    struct fixture *f = *state;
    const char *reason;
    pass(f, 20);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    assert_string_equal(guard__summary(f->guard), "1 of 1 stream fresh; 1,203 rows/s stored");
    pass(f, 1);
    assert_int_equal(guard__source(f->guard, "psapi", "pc", &reason), GUARD_AMBER);
    assert_string_equal(reason, "no answer for 21 s");
    assert_int_equal(n_firing(f, ALERT_WARNING), 1);
    pass(f, 40);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_int_equal(n_firing(f, ALERT_WARNING), 0);
    assert_string_equal(guard__summary(f->guard), "0 of 1 stream fresh; 1,203 rows/s stored");
    f->source.last_success_mono_ns = f->clock.mono_ns;
    pass(f, GUARD_HEALTHY - 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
}

static void test_guard_does_not_flap_at_the_edge(void **state) {
    struct fixture *f = *state;
    pass(f, 21);
    for (int i = 0; i < 20; i++) { /* Fresh for two evaluations, stale for one. */
        f->source.last_success_mono_ns = f->clock.mono_ns;
        pass(f, 2);
        f->source.last_success_mono_ns -= 30 * NS_PER_S;
        pass(f, 1);
    }
    uint64_t created = 0;
    for (uint64_t off = 1; off <= alerts__top(f->alerts); off++)
        created += memmem(alerts__event(f->alerts, off)->tail.base,
                          alerts__event(f->alerts, off)->tail.len, "\"created\"", 9) != NULL;
    assert_int_equal(created, 1);
}

/* The source goes on answering: no incident; it has died: the incident stands, and comes in time.
 */
static void test_guard_judges_ages_by_the_monotonic_clock(void **state) {
    static const int64_t jumps_s[] = {3600, -3600, 315360000, -315360000};
    struct fixture *f = *state;
    for (size_t i = 0; i < 4; i++) {
        f->source.last_success_mono_ns = f->clock.mono_ns;
        pass(f, 5);
        f->clock.wall_ns += jumps_s[i] * NS_PER_S;
        pass(f, 1);
        assert_int_equal(guard__level(f->guard), GUARD_GREEN);
        pass(f, 15); /* Its upstream died 21 s ago, whatever the clock says. */
        assert_int_equal(guard__level(f->guard), GUARD_AMBER);
        pass(f, 40);
        assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
        f->clock.wall_ns -= jumps_s[i] * NS_PER_S;
        pass(f, 10);
        assert_int_equal(n_firing(f, ALERT_CRITICAL), 1); /* Not resolved by a jump. */
        f->source.last_success_mono_ns = f->clock.mono_ns;
        pass(f, GUARD_HEALTHY);
        assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    }
    f->facts.store.connected = false;
    f->facts.store.since_mono_ns = f->clock.mono_ns;
    f->clock.wall_ns += 3600 * NS_PER_S;
    f->source.enabled = false;
    pass(f, 5);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    pass(f, 1);
    assert_int_equal(guard__level(f->guard), GUARD_AMBER);
}

static void test_guard_tells_of_a_wrong_clock_and_of_rows_that_are_held(void **state) {
    struct fixture *f = *state;
    f->facts.clock = (struct guard_clock){.skew_s = 3, .venue = "a.example"};
    pass(f, 3);
    assert_int_equal(alerts__top(f->alerts), 0);
    f->facts.clock.skew_s = -864000;
    f->facts.clock.corrected = true;
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_WARNING), 1);
    assert_non_null(strstr(guard__summary(f->guard), "; the clock is wrong"));
    f->facts.store.n_mistimed = 2;
    f->facts.store.mistimed = "bronze_requests: rows of 1970";
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    f->facts.clock = (struct guard_clock){.venue = "a.example"};
    f->facts.store.n_mistimed = 0;
    pass(f, GUARD_HEALTHY);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    assert_int_equal(n_firing(f, ALERT_CRITICAL) + n_firing(f, ALERT_WARNING), 0);
}

static void test_guard_watches_store_and_spool(void **state) {
    struct fixture *f = *state;
    f->facts.store = (struct guard_store){.connected = false,
                                          .since_mono_ns = NS_PER_S,
                                          .last_error = "connection refused",
                                          .rows_per_s = -1};
    f->source.enabled = false;
    pass(f, 5);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    pass(f, 1);
    assert_int_equal(guard__level(f->guard), GUARD_AMBER);
    pass(f, 56);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    f->facts.store.connected = true;
    f->facts.store.since_mono_ns = f->clock.mono_ns;
    pass(f, GUARD_HEALTHY);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    f->facts.spool.bytes = 80;
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_WARNING), 1);
    f->facts.spool.full = true;
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_string_equal(guard__summary(f->guard), "0 of 0 streams fresh; the spool is full");
}

static void test_guard_tells_of_rows_that_are_not_accounted_for(void **state) {
    struct fixture *f = *state;
    f->source.last_success_ms = START_MS + 60000;
    f->facts.store.unbalanced_rows = -2; /* Too many are as bad as too few. */
    pass(f, GUARD_UNBALANCED - 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
    f->facts.store.unbalanced_rows = 0;
    pass(f, 1);
    f->facts.store.unbalanced_rows = 7;
    pass(f, GUARD_UNBALANCED - 1); /* It begins anew. */
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    assert_non_null(strstr(guard__summary(f->guard), "rows are not accounted for"));
    f->facts.store.unbalanced_rows = 0;
    pass(f, GUARD_HEALTHY);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
}

/* Not full by its quota, and yet nothing can be made safe. */
static void test_guard_tells_of_a_disk_that_takes_nothing(void **state) {
    struct fixture *f = *state;
    f->source.enabled = false;
    f->facts.spool.unsynced_s = 9;
    pass(f, 5);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    f->facts.spool.unsynced_s = 60;
    pass(f, 1); /* The process was stopped for a minute, and the disk has not had its turn yet. */
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    pass(f, 1);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_non_null(strstr(guard__summary(f->guard), "the disk takes nothing"));
    f->facts.spool.unsynced_s = 0;
    pass(f, GUARD_HEALTHY);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
}

static bool damage_fires(const struct fixture *f) {
    bool acked;
    return alerts__fires(f->alerts, "log_damaged", NULL, 0, &acked);
}

static void ack_damage(struct fixture *f, const char *key) {
    struct buf list = buf__init(1 << 20), args = buf__init(256);
    alerts__list(f->alerts, SLICE_LIT("firing"), &list);
    buf__u8(&list, 0);
    const char *id = memmem(list.base, list.len, "\"al_", 4);
    assert_non_null(id);
    buf__printf(&args, "{\"alert\":%.*s}", (int)(strchr(id + 1, '"') + 1 - id), id);
    alerts__command(f->alerts,
                    &(struct alert_command){.principal = SLICE_LIT("somebody"),
                                            .key = slice__str(key),
                                            .op = SLICE_LIT("ack"),
                                            .args = buf__slice(&args)},
                    NULL, NULL);
    buf__fini(&list);
    buf__fini(&args);
}

/* Nothing that happens by itself ends it, also not a restart that finds a log that is whole. */
static void test_guard_tells_of_a_damaged_log_until_somebody_knows(void **state) {
    struct fixture *f = *state;
    struct err e;
    f->source.enabled = false; /* Nothing else fires. */
    f->facts.spool.damaged_bytes = 4096;
    pass(f, 10);
    assert_true(damage_fires(f));
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    assert_non_null(strstr(guard__summary(f->guard), "the log was damaged"));
    f->facts.spool.damaged_bytes = 0;
    guard__free(f->guard);
    guard__open(&f->guard, &f->clock, &f->metrics, f->alerts, &e);
    pass(f, 10);
    assert_true(damage_fires(f));
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    ack_damage(f, "somebody-knows-1");
    f->facts.spool.n_missing = 1; /* What the next start finds is another thing. */
    guard__free(f->guard);
    guard__open(&f->guard, &f->clock, &f->metrics, f->alerts, &e);
    pass(f, 10);
    assert_true(damage_fires(f));
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    ack_damage(f, "somebody-knows-2");
    pass(f, 1);
    assert_false(damage_fires(f));
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
}

static void test_guard_tells_throttling_disabling_and_rewinds(void **state) {
    struct fixture *f = *state;
    f->source.throttled = true;
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_WARNING), 1);
    f->source.throttled = false;
    f->source.disabled_reason = "401 Unauthorized";
    f->source.rewound = true;
    pass(f, 3);
    assert_int_equal(n_firing(f, ALERT_WARNING), 0);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 2);
    const char *reason;
    f->source.rewound = false; /* No answer for a long time either: the reason is the cause. */
    pass(f, 100);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 2);
    assert_int_equal(guard__source(f->guard, "psapi", "pc", &reason), GUARD_RED);
    assert_string_equal(reason, "401 Unauthorized");
    f->source.disabled_reason = NULL;
    f->source.halted = "killed: by hand";
    pass(f, GUARD_HEALTHY);
    guard__source(f->guard, "psapi", "pc", &reason);
    assert_string_equal(reason, "killed: by hand");
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    f->source.enabled = false; /* Nobody wants it any more: its incidents end. */
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 0);
}

/* Whether the list of what fires has @text in it. */
static bool is_told(const struct fixture *f, const char *text) {
    struct buf all = buf__init(1 << 20);
    alerts__list(f->alerts, SLICE_LIT("firing"), &all);
    buf__u8(&all, 0);
    bool found = strstr(all.base, text) != NULL;
    buf__fini(&all);
    return found;
}

static void test_a_permit_that_is_out_is_the_cause_that_is_told(void **state) {
    struct fixture *f = *state;
    f->source.awaits = "waits for a reply: 1 of its permits is out";
    pass(f, 100);
    assert_true(is_told(f, "waits for a reply: 1 of its permits is out. Rows"));
    assert_true(is_told(f, "has to report it"));
    assert_false(is_told(f, "not blocked by a rate limit"));
    assert_false(is_told(f, "Check the network"));
}

static void test_guard_says_whether_it_goes_on_by_itself(void **state) {
    struct fixture *f = *state;
    f->source.disabled_reason = "not authorized: HTTP 401 twice in a row";
    f->source.again_ms = START_MS + 300000;
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
    assert_int_equal(guard__source(f->guard, "psapi", "pc", NULL), GUARD_RED);
    assert_true(is_told(f, "asks again by itself at"));
    assert_false(is_told(f, "souk limit resume"));
    f->source.again_ms = 0; /* It is off for good: a person is needed. */
    pass(f, 6);
    assert_true(is_told(f, "souk limit resume"));
    assert_false(is_told(f, "by itself"));
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
}

static void test_what_is_not_given_is_not_fresh(void **state) {
    struct fixture *f = *state;
    pass(f, 1);
    assert_non_null(strstr(guard__summary(f->guard), "1 of 1 stream fresh"));
    f->source.unavailable = true; /* A normal state, and no rows. */
    pass(f, 1);
    assert_non_null(strstr(guard__summary(f->guard), "0 of 0 streams fresh"));
}

static void test_guard_tells_what_is_not_available_and_what_stands_in(void **state) {
    struct fixture *f = *state;
    const char *reason;
    f->source.name = "trade_data";
    f->source.unavailable = true; /* A normal state, where nothing stands in for it. */
    pass(f, 100);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN); /* Nor is it late. */
    f->source.instead = "derived from the tape";
    f->source.why = "status 404";
    pass(f, 10);
    assert_int_equal(guard__source(f->guard, "trade_data", "pc", &reason), GUARD_AMBER);
    assert_string_equal(reason, "not available: derived from the tape");
    assert_int_equal(n_firing(f, ALERT_WARNING), 1);
    struct alerts_summary s;
    alerts__summary(f->alerts, &s);
    assert_string_equal(s.last_title, "trade_data pc is not available: derived from the tape");
    f->source.unavailable = false;
    f->source.last_success_mono_ns = f->clock.mono_ns;
    pass(f, 1);
    guard__source(f->guard, "trade_data", "pc", &reason);
    assert_string_equal(reason, "available again");
    pass(f, GUARD_HEALTHY);
    assert_int_equal(n_firing(f, ALERT_WARNING), 0);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
}

/* An incident outlives the process; the condition may be over when it comes back. */
static void test_guard_ends_what_was_left_from_an_earlier_run(void **state) {
    struct fixture *f = *state;
    struct err e;
    f->source.unavailable = true;
    f->source.instead = "derived from the tape";
    f->facts.store.connected = false;
    pass(f, 10);
    assert_int_equal(n_firing(f, ALERT_WARNING), 2);
    guard__free(f->guard);
    assert_int_equal(guard__open(&f->guard, &f->clock, &f->metrics, f->alerts, &e), 0);
    f->source.unavailable = false;
    f->source.last_success_mono_ns = 0; /* Not asked yet: nobody knows. */
    f->source.started_mono_ns = f->facts.store.since_mono_ns = f->clock.mono_ns;
    pass(f, 4);
    assert_int_equal(n_firing(f, ALERT_WARNING), 2);
    f->source.last_success_mono_ns = f->clock.mono_ns;
    f->facts.store.connected = true;
    pass(f, GUARD_HEALTHY - 1);
    assert_int_equal(n_firing(f, ALERT_WARNING), 2);
    pass(f, 1);
    assert_int_equal(n_firing(f, ALERT_WARNING), 0);
}

static int count_append(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    *(size_t *)ctx += json.len > 0;
    synced(data, 0);
    return 0;
}

/* Each repeat is a record of the log, which takes nothing else while ClickHouse is away for days.
 */
static void test_an_incident_of_days_is_told_of_more_and_more_seldom(void **state) {
    struct fixture *f = *state;
    struct err e;
    size_t n_records = 0;
    guard__free(f->guard);
    alerts__free(f->alerts);
    struct alerts_options options = {.seed = 1, .ctx = &n_records, .append = count_append};
    alerts__open(&f->alerts, &f->clock, &f->metrics, &options, &e);
    guard__open(&f->guard, &f->clock, &f->metrics, f->alerts, &e);
    f->facts.store = (struct guard_store){.since_mono_ns = f->clock.mono_ns};
    f->source.enabled = false;
    pass(f, 300);
    assert_in_range(n_records, 50, 70); /* Each five seconds at first, */
    pass(f, 3600 - 300);
    assert_in_range(n_records, 150, 350);
    pass(f, 86400 - 3600);
    size_t day = n_records;
    assert_in_range(day, 300, 900);
    pass(f, 86400);
    assert_in_range(n_records - day, 250, 300); /* and each five minutes in the end. */
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 1);
}

static void test_guard_says_what_to_do_with_a_page_that_is_too_large(void **state) {
    struct fixture *f = *state;
    struct buf out = buf__init(1 << 20);
    pass(f, 1);
    f->source.disabled_reason = "the answer at 1-2-3 is larger than limits.body_mib (32) allows";
    f->source.advice =
        "Raise it, or leave the page out: souk cursor set psapi pc CURSOR --reason TEXT.";
    f->source.again_ms = START_MS + 60000;
    pass(f, 1);
    assert_int_equal(guard__level(f->guard), GUARD_RED);
    alerts__save(f->alerts, &out);
    buf__append(&out, "", 1);
    assert_non_null(strstr(out.base, "the answer at 1-2-3 is larger"));
    assert_non_null(strstr(out.base, "souk cursor set psapi pc CURSOR --reason TEXT."));
    buf__fini(&out);
}

/* Streams that are judged only when they say that they are due reach the same levels at the same
 * seconds as one that is judged each second, and the calm ones cost nothing meanwhile. */
static void test_guard_judges_only_what_is_due(void **state) {
    enum { STREAMS = 240, SECONDS = 70 };
    static struct guard_source sources[STREAMS];
    static int64_t due_ns[STREAMS];
    struct fixture *f = *state;
    char names[STREAMS][16];
    size_t n_judged = 0;
    for (int i = 0; i < STREAMS; i++) {
        snprintf(names[i], sizeof names[i], "s%d", i);
        sources[i] = f->source;
        sources[i].stream = names[i];
        due_ns[i] = 0;
    }
    for (int second = 1; second <= SECONDS; second++) {
        f->clock.mono_ns += NS_PER_S;
        f->clock.wall_ns += NS_PER_S;
        guard__judge(f->guard, &f->source);
        for (int i = 0; i < STREAMS; i++) {
            bool is_told = i > 0 && (second + i) % 10 == 0; /* All but the first go on answering. */
            if (is_told) sources[i].last_success_mono_ns = f->clock.mono_ns;
            if (!is_told && due_ns[i] > f->clock.mono_ns) continue;
            due_ns[i] = guard__judge(f->guard, &sources[i]);
            n_judged++;
        }
        guard__evaluate(f->guard, &f->facts);
        assert_int_equal(guard__source(f->guard, "psapi", "s0", NULL),
                         guard__source(f->guard, "psapi", "pc", NULL));
        assert_int_equal(guard__source(f->guard, "psapi", "s1", NULL), GUARD_GREEN);
    }
    assert_int_equal(guard__source(f->guard, "psapi", "s0", NULL), GUARD_RED);
    assert_int_equal(n_firing(f, ALERT_CRITICAL), 2);
    assert_string_equal(guard__summary(f->guard), "239 of 241 streams fresh; 1,203 rows/s stored");
    /* A tenth a second, three at first, and the one that stands: not each each second. */
    assert_true(n_judged <= STREAMS * (SECONDS / 10 + GUARD_HEALTHY) + SECONDS);
}

static enum guard_level judged(struct fixture *f, int i, bool enabled, const char **reason) {
    char stream[32];
    snprintf(stream, sizeof stream, "b%d", i);
    struct guard_source s = f->source;
    s.stream = stream;
    s.enabled = enabled;
    s.last_success_mono_ns = f->clock.mono_ns;
    guard__judge(f->guard, &s);
    return guard__source(f->guard, "psapi", stream, reason);
}

/* What nobody judges is not green: neither for itself nor for the whole. */
static void test_streams_beyond_the_bound_are_not_green(void **state) {
    struct fixture *f = *state;
    const char *reason;
    pass(f, 1);
    for (int i = 0; i < GUARD_SOURCES_MAX; i++)
        judged(f, i, false, &reason); /* Backfills that ended. */
    for (int i = 0; i < GUARD_SOURCES_MAX - 1; i++)
        assert_int_equal(judged(f, 1000 + i, true, &reason), GUARD_GREEN);
    guard__evaluate(f->guard, &f->facts);
    assert_int_equal(guard__level(f->guard), GUARD_GREEN);
    assert_int_equal(
        metrics__counter(&f->metrics, "souk_guard_unjudged_total", "", "%s", "")->value, 0);
    assert_int_equal(judged(f, 5000, false, &reason), GUARD_GREEN); /* Nobody wants it. */
    assert_int_equal(judged(f, 5001, true, &reason), GUARD_AMBER);
    assert_string_equal(reason, "not judged: there are too many streams");
    assert_int_equal(
        metrics__counter(&f->metrics, "souk_guard_unjudged_total", "", "%s", "")->value, 1);
    guard__evaluate(f->guard, &f->facts);
    assert_int_equal(guard__level(f->guard), GUARD_AMBER);
    assert_string_equal(
        guard__summary(f->guard),
        "256 of 256 streams fresh; 1,203 rows/s stored; there are more than can be judged");
    assert_int_equal(judged(f, 1000, true, &reason), GUARD_GREEN);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_guard_drift_goes_amber_then_red_and_recovers_slowly),
        T(test_guard_does_not_flap_at_the_edge),
        T(test_guard_judges_ages_by_the_monotonic_clock),
        T(test_guard_tells_of_a_wrong_clock_and_of_rows_that_are_held),
        T(test_guard_watches_store_and_spool),
        T(test_guard_tells_of_rows_that_are_not_accounted_for),
        T(test_guard_tells_of_a_disk_that_takes_nothing),
        T(test_guard_tells_of_a_damaged_log_until_somebody_knows),
        T(test_guard_tells_throttling_disabling_and_rewinds),
        T(test_a_permit_that_is_out_is_the_cause_that_is_told),
        T(test_guard_says_whether_it_goes_on_by_itself),
        T(test_an_incident_of_days_is_told_of_more_and_more_seldom),
        T(test_guard_says_what_to_do_with_a_page_that_is_too_large),
        T(test_what_is_not_given_is_not_fresh),
        T(test_guard_tells_what_is_not_available_and_what_stands_in),
        T(test_guard_ends_what_was_left_from_an_earlier_run),
        T(test_guard_judges_only_what_is_due),
        T(test_streams_beyond_the_bound_are_not_green),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
