/* What souk writes of its streams: each row speaks of its own stream, whichever others came and went meanwhile. The
 * rooms that it asks are played by this file. */
#include "../../src/service/app.h"
#include "../../src/service/ops.h"
#include "souk/core/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct buf written;

uint64_t spool__append(struct spool *s, enum spool_type type, uint32_t source, const struct slice *parts, size_t n,
                       spool_synced_cb cb, void *data, struct err *e) {
    (void)s, (void)type, (void)source, (void)cb, (void)data, (void)e;
    buf__clear(&written);
    for (size_t i = 0; i < n; i++) buf__append_slice(&written, parts[i]);
    return 1;
}

enum guard_level guard__source(const struct guard *g, const char *name, const char *stream, const char **reason) {
    (void)g, (void)name, (void)stream, (void)reason;
    return GUARD_GREEN;
}

const char *app__stream_state(const struct poller_status *p) { return p->doing == POLL_IDLE ? "waiting" : "polling"; }
size_t app__n_streams(const struct app *a) { return a->n_streams; }
struct app_stream *app__stream_at(struct app *a, size_t i) { return &a->streams[i]; }
void poller__status(const struct poller *p, struct poller_status *out) { *out = *(const struct poller_status *)p; }

#define STREAMS 6
#define EVERY_NS (30 * NS_PER_S)

struct fixture {
    struct app app;
    struct source_type type;
    struct stream_state state;
    struct app_stream streams[STREAMS];
    struct poller_status status[STREAMS]; /* What stands for their pollers. */
};

static void begin(struct fixture *f, size_t i) {
    f->streams[i] = (struct app_stream){.app = &f->app, .type = &f->type};
    snprintf(f->streams[i].spec.key, sizeof f->streams[i].spec.key, "stream-%zu", i);
    f->status[i] = (struct poller_status){.source = "psapi", .stream = &f->streams[i].spec, .state = &f->state,
                                          .last_cursor = ""};
    f->streams[i].poller = (struct poller *)&f->status[i];
}

static void end(struct fixture *f, size_t i) {
    f->streams[i].poller = NULL;
    ops__forget(&f->streams[i]);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    written = buf__init((size_t)1 << 20);
    f->type.name = "psapi";
    f->app.clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1000 * NS_PER_S};
    f->app.started_mono_ns = f->app.clock.mono_ns;
    f->app.spool = (struct spool *)f; /* Somewhere. */
    f->app.streams = f->streams;
    f->app.n_streams = STREAMS;
    assert_int_equal(metrics__init(&f->app.metrics), 0);
    assert_int_equal(ops__open(&f->app), 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    ops__free(&f->app);
    metrics__fini(&f->app.metrics);
    buf__fini(&written);
    free(f);
    return 0;
}

/* All rows are due: 30 s later, with so many requests more of each. */
static void write_all(struct fixture *f, const unsigned more[STREAMS]) {
    f->app.clock.mono_ns += EVERY_NS;
    f->app.clock.wall_ns += EVERY_NS;
    ops__second(&f->app);
    for (size_t i = 0; i < STREAMS; i++) {
        if (f->streams[i].poller == NULL) continue;
        f->status[i].counts.requests += more[i];
        assert_true(ops__is_due(&f->app, &f->streams[i]));
        ops__look(&f->app, &f->streams[i], &f->status[i]);
        assert_false(ops__is_due(&f->app, &f->streams[i]));
    }
    ops__write(&f->app);
}

/* @return the rate that was written of stream @i; -1 when there is no row of it. */
static double rate_of(size_t i) {
    char name[64];
    assert_true(buf__u8(&written, 0));
    written.len--;
    snprintf(name, sizeof name, "\"stream\":\"stream-%zu\"", i);
    const char *row = strstr(written.base, name), *rate = row == NULL ? NULL : strstr(row, "\"request_rate\":");
    return rate == NULL ? -1 : strtod(rate + strlen("\"request_rate\":"), NULL);
}

#define ASSERT_RATE(i, per_30_s) assert_true(rate_of(i) > (per_30_s) / 30.0 - 1e-4 && rate_of(i) < (per_30_s) / 30.0 + 1e-4)

static void test_a_row_is_of_its_own_stream_whoever_ends(void **state) {
    struct fixture *f = *state;
    for (size_t i = 0; i < 4; i++) begin(f, i);
    write_all(f, (const unsigned[STREAMS]){30, 60, 90, 120});
    end(f, 1);
    end(f, 0);
    begin(f, 4); /* Others take room. */
    begin(f, 5);
    write_all(f, (const unsigned[STREAMS]){0, 0, 9, 12, 300, 600});
    assert_true(rate_of(0) == -1);
    ASSERT_RATE(2, 9);
    ASSERT_RATE(3, 12);
    write_all(f, (const unsigned[STREAMS]){0, 0, 15, 18, 3, 6});
    ASSERT_RATE(2, 15);
    ASSERT_RATE(3, 18);
    ASSERT_RATE(4, 3);
    ASSERT_RATE(5, 6);
}

static void test_what_goes_on_begins_anew(void **state) {
    struct fixture *f = *state;
    begin(f, 0);
    begin(f, 1);
    write_all(f, (const unsigned[STREAMS]){300, 30});
    end(f, 0);
    write_all(f, (const unsigned[STREAMS]){0, 6});
    f->status[0].counts.requests = 0; /* Its poller is another. */
    f->streams[0].poller = (struct poller *)&f->status[0];
    write_all(f, (const unsigned[STREAMS]){600, 9});
    ASSERT_RATE(0, 200); /* Of souk's 90 s. */
    ASSERT_RATE(1, 9);
    write_all(f, (const unsigned[STREAMS]){3, 12});
    ASSERT_RATE(0, 3);
    ASSERT_RATE(1, 12);
}

static void test_only_a_change_is_written_in_between(void **state) {
    struct fixture *f = *state;
    begin(f, 0);
    write_all(f, (const unsigned[STREAMS]){30});
    buf__clear(&written);
    ops__look(&f->app, &f->streams[0], &f->status[0]);
    ops__write(&f->app);
    assert_int_equal(written.len, 0);
    f->status[0].doing = POLL_FETCH;
    ops__look(&f->app, &f->streams[0], &f->status[0]);
    ops__write(&f->app);
    assert_true(rate_of(0) == 0);
    ops__last(&f->app, "stopped");
    assert_non_null(strstr(written.base, "\"state\":\"stopped\""));
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_row_is_of_its_own_stream_whoever_ends),
        TEST(test_what_goes_on_begins_anew),
        TEST(test_only_a_change_is_written_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
