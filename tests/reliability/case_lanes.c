/* Case 39 for the lanes of the program: what becomes of the backlog while one of its batches is held. */
#include "../lib/moved.h"
#include "app.h"
#include "souk/config.h"
#include "souk/journal.h"
#include "store_world.h"

struct fixture {
    struct world *w;
    struct app *app;
    struct config config;
    struct settings settings;
    uint32_t n_pages;
    uint64_t held_below; /* Rows of pages in front of it are refused. */
    size_t n_lose;       /* So many rows get lost between decoder and store. */
    bool closed;
};
static struct fixture *fixture; /* app__take_rows knows the app alone. */

/* Each request becomes one row whose page is its place among all, each refusal one of its own. */
void app__take_rows(struct app *a, unsigned feed, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                    const struct request_facts *facts, struct rows *rows) {
    struct rows own = {0};
    for (size_t i = 0; facts == NULL && i < rows->n; i++) put_row(&own, &world_refused, "", 0, lsn, (uint32_t)lsn);
    bool lose = facts != NULL && fixture->n_lose > 0;
    if (facts != NULL && !lose) put_row(&own, &world_data, "", facts->attempts, lsn, 0);
    fixture->n_lose -= lose;
    rows__fini(rows);
    assert_int_equal(store__rows(a->store, feed, lsn, next_lsn, wall_ns, &own), 0);
}

static bool is_refused(void *ctx, const struct table_desc *t, uint64_t page, uint64_t ord) {
    (void)ctx, (void)ord;
    return t == &world_data && page < fixture->held_below;
}

static void append_request(struct fixture *f) {
    struct buf meta = buf__init(1 << 16);
    struct err e = {0};
    struct request_facts facts = {.source = SLICE_LIT("psapi"), .stream = SLICE_LIT("pc"), .attempts = f->n_pages++,
                                  .retry_after_s = -1};
    journal__encode(&facts, &meta);
    struct slice part = buf__slice(&meta);
    if (spool__append(f->w->spool, SPOOL_REQUEST, 0, &part, 1, NULL, NULL, &e) == 0) fail_msg("%s", e.msg);
    buf__fini(&meta);
}

/* A tenth of a second: records come, lanes and store do what is due. */
static void step(struct fixture *f, int i, bool append) {
    struct world *w = f->w;
    w->clock.mono_ns += NS_PER_S / 10;
    w->clock.wall_ns += NS_PER_S / 10;
    f->app->clock = w->clock;
    for (int k = 0; append && k < 4; k++) append_request(f);
    world_idle(w);
    if (i % 10 == 0) lanes__second(f->app);
    lanes__wake(f->app);
    store__tick(w->store);
    server_model__step(&w->server);
    world_idle(w);
    while (uv_loop_alive(&f->app->loop)) uv_run(&f->app->loop, UV_RUN_ONCE);
    assert_int_equal(store__imbalance(w->store), 0);
}

static void run_steps(struct fixture *f, int n, bool append) {
    for (int i = 0; i < n; i++) step(f, i, append);
}

static void on_lanes_closed(void *data) {
    (void)data;
    fixture->closed = true;
}

static void open_lanes(struct fixture *f) {
    struct app *a = f->app;
    struct spool_status st;
    struct err e = {0};
    a->spool = f->w->spool;
    a->store = f->w->store;
    a->lanes = (struct lanes){0};
    spool__status(a->spool, &st);
    uint64_t from = st.low_water_lsn > st.first_lsn ? st.low_water_lsn : st.first_lsn;
    assert_int_equal(lanes__open(a, from, "Standard\n", &e), 0);
}

static void close_lanes(struct fixture *f) {
    f->closed = false;
    lanes__close(f->app, on_lanes_closed);
    while (!f->closed) uv_run(&f->app->loop, UV_RUN_ONCE);
}

static uint64_t backlog_bytes(const struct fixture *f) {
    struct lanes_status s;
    lanes__status(f->app, &s);
    return s.backlog_bytes;
}

static size_t n_held(const struct fixture *f) {
    struct store_status s;
    store__status(f->app->store, &s);
    return s.n_held;
}

static void go_away_and_come_back(struct fixture *f) {
    uint64_t before = f->app->lanes.n_jumps;
    f->w->server.down = true;
    run_steps(f, 200, true);
    f->w->server.down = false;
    for (int i = 0; i < 1000 && f->app->lanes.n_jumps == before; i++) step(f, i, true);
    assert_true(f->app->lanes.n_jumps > before);
}

/* A batch of the backlog waits for somebody: all that is behind it goes on, in as many ranges as
 * there are, and the low-water mark stays at it. */
static void test_a_held_batch_does_not_stop_the_backlog(void **state) {
    (void)state;
    struct fixture *f = fixture = calloc(1, sizeof *f);
    f->w = world_new(391);
    f->w->options.memory_max = 11 << 10; /* Of rows of some 30 bytes. */
    f->w->server.poison = is_refused;
    f->held_below = 100;
    assert_true(world_open(f->w));
    f->config.batch.live_after_s = 3;
    f->config.batch.live_after_mib = 1000;
    f->settings.config = &f->config;
    struct app *a = f->app = calloc(1, sizeof *a);
    a->settings = &f->settings;
    a->clock = f->w->clock;
    a->followed = strdup("Standard\n");
    assert_int_equal(uv_loop_init(&a->loop), 0);
    assert_int_equal(metrics__init(&a->metrics), 0);
    open_lanes(f);

    go_away_and_come_back(f);
    go_away_and_come_back(f);
    run_steps(f, 3000, false);
    assert_true(n_held(f) > 0);
    go_away_and_come_back(f); /* Fresh pages go first also while a batch is held. */
    run_steps(f, 3000, false);
    struct spool_status st;
    assert_true(n_held(f) > 0);
    assert_int_equal(backlog_bytes(f), 0);
    /* Those that follow the refused ones may share their batch, and of the last ones a batch is open:
     * with SEALED_BY_AGE_MAX of them held, age does not cut. */
    for (uint32_t page = (uint32_t)f->held_below + 200; page < f->n_pages - 60; page++)
        assert_int_equal(server_model__count(&f->w->server, &world_data, page, 0), 1);
    spool__status(a->spool, &st);
    assert_true(store__low_water(a->store) < st.end_lsn / 2);
    assert_string_equal(lanes__followed_at(a, store__low_water(a->store)), "Standard\n");

    /* A crash forgets the ranges: all is read again, and nothing stored twice. */
    world_checkpoint(f->w);
    world_idle(f->w);
    close_lanes(f);
    world_crash(f->w, DISK_KILL);
    disk_model__stop_after(f->w->disk, 0);
    assert_true(world_open(f->w));
    open_lanes(f);
    run_steps(f, 100, true);

    f->held_below = 0; /* Mended: it goes on by itself. */
    run_steps(f, 3000, false);
    size_t n_stored = 0;
    for (uint32_t page = 0; page < f->n_pages; page++)
        n_stored += server_model__count(&f->w->server, &world_data, page, 0) == 1;
    struct model_table *refused = server_model__table(&f->w->server, &world_refused);
    assert_int_equal(n_stored + refused->n_rows, f->n_pages);
    assert_int_equal(server_model__table(&f->w->server, &world_data)->n_rows, n_stored);
    spool__status(a->spool, &st);
    assert_int_equal(store__low_water(a->store), st.synced_lsn);
    struct score score = {.case_number = 39, .what = "a batch of the backlog is held, then a crash", .passed = true,
                          .kills = 1, .seeds = 1, .rows = n_stored, .recovery_s = -1};
    score__write(&score);

    close_lanes(f);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&a->loop), 0);
    moved__write(&a->metrics);
    metrics__fini(&a->metrics);
    free(a->followed);
    free(a);
    world_free(f->w);
    free(f);
}

static double unbalanced(struct fixture *f, int stage) {
    lanes__measure_balance(f->app);
    return f->app->lanes.m.unbalanced[stage]->value;
}

/* souk_pipeline_imbalance_rows of both stages: 0 while two lanes run, a batch is searched and rows
 * are in flight; then rows vanish in front of the store, and behind it. */
static void test_the_balance_shows_where_rows_vanish(void **state) {
    (void)state;
    struct fixture *f = fixture = calloc(1, sizeof *f);
    f->w = world_new(392);
    f->w->options.memory_max = 1 << 10;
    f->w->server.poison = is_refused;
    f->held_below = 2;
    assert_true(world_open(f->w));
    f->config.batch.live_after_s = 3;
    f->config.batch.live_after_mib = 1000;
    f->settings.config = &f->config;
    struct app *a = f->app = calloc(1, sizeof *a);
    a->settings = &f->settings;
    a->clock = f->w->clock;
    a->followed = strdup("Standard\n");
    assert_int_equal(uv_loop_init(&a->loop), 0);
    assert_int_equal(metrics__init(&a->metrics), 0);
    open_lanes(f);
    for (int i = 0; i < 50; i++) {
        step(f, i, true);
        assert_true(unbalanced(f, 0) == 0 && unbalanced(f, 1) == 0);
    }
    go_away_and_come_back(f);
    assert_true(unbalanced(f, 0) == 0 && unbalanced(f, 1) == 0);
    assert_true(a->lanes.m.decoded->value > 0);
    f->n_lose = 3;
    run_steps(f, 20, true);
    assert_int_equal(f->n_lose, 0);
    assert_true(unbalanced(f, 0) == 3 && unbalanced(f, 1) == 0);
    f->w->server.swallow = 5;
    for (int i = 0; i < 2000 && f->w->server.swallow > 0; i++) {
        append_request(f);
        f->w->clock.mono_ns += NS_PER_S / 10;
        f->w->clock.wall_ns += NS_PER_S / 10;
        a->clock = f->w->clock;
        world_idle(f->w);
        lanes__wake(a);
        store__tick(f->w->store);
        server_model__step(&f->w->server);
        world_idle(f->w);
        while (uv_loop_alive(&a->loop)) uv_run(&a->loop, UV_RUN_ONCE);
    }
    assert_true(unbalanced(f, 0) == 3 && unbalanced(f, 1) == 5);
    assert_int_equal(lanes__measure_balance(a), 3);

    close_lanes(f);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&a->loop), 0);
    moved__write(&a->metrics);
    metrics__fini(&a->metrics);
    free(a->followed);
    free(a);
    world_free(f->w);
    free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_balance_shows_where_rows_vanish),
        cmocka_unit_test(test_a_held_batch_does_not_stop_the_backlog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
