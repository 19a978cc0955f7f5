/* Cases 1, 2, 21, 39 to 46 for the store, against a model of a server: whatever fails between a page
 * and ClickHouse, each row is there once. */
#include "store_world.h"

struct tally {
    uint64_t n_crashes, n_seeds, n_rows, n_lost, n_twice, n_ahead, n_inserts, n_duplicates, n_refusals;
    uint64_t n_faults, n_feeds;
};

static void add_up(struct tally *t, struct world *w) {
    world_judge(w);
    t->n_seeds++;
    t->n_crashes += w->n_crashes;
    t->n_rows += w->n_rows;
    t->n_lost += w->n_lost;
    t->n_twice += w->n_twice;
    t->n_ahead += w->n_ahead;
    t->n_inserts += w->n_inserts;
    t->n_duplicates += w->n_duplicates;
    t->n_refusals += w->n_refusals;
    t->n_feeds += w->n_feeds;
    t->n_faults += w->server.n_lost + w->server.n_late + w->server.n_cut + w->server.n_refused + w->server.n_unproven;
}

static void score(int case_number, const char *what, const struct tally *t) {
    struct score s = {.case_number = case_number, .what = what,
                      .passed = t->n_lost + t->n_twice + t->n_ahead == 0, .kills = t->n_crashes,
                      .seeds = t->n_seeds, .rows = t->n_rows, .lost = t->n_lost, .twice = t->n_twice,
                      .recovery_s = -1};
    score__write(&s);
    print_message("%s: %" PRIu64 " crashes, %" PRIu64 " rows, %" PRIu64 " lost, %" PRIu64 " twice, %" PRIu64
                  " checkpoints ahead, %" PRIu64 " inserts, %" PRIu64 " deduplicated, %" PRIu64 " faults, %" PRIu64
                  " refused, %" PRIu64 " feeds\n",
                  what, t->n_crashes, t->n_rows, t->n_lost, t->n_twice, t->n_ahead, t->n_inserts, t->n_duplicates,
                  t->n_faults, t->n_refusals, t->n_feeds);
    assert_int_equal(t->n_lost, 0);
    assert_int_equal(t->n_twice, 0);
    assert_int_equal(t->n_ahead, 0);
    assert_true(t->n_rows > 0);
}

static void finish(struct world *w) {
    w->server.odds = (struct model_odds){0};
    assert_true(world_open(w));
    assert_true(world_drain(w));
    while (w->server.late != NULL) world_step(w, false); /* What was still on its way. */
}

/* Cases 1 and 2: the process, or the machine, ends at any call of the disk; the server has faults of
 * its own all the while, rows are refused, and a live feed comes and goes. */
static void test_killed_at_random(void **state) {
    (void)state;
    struct tally t = {0};
    uint64_t n_seeds = score__times(12, 400);
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        struct world *w = world_new(seed);
        w->server.odds = (struct model_odds){.lost = 60, .late = 30, .cut = 30, .not_sent = 20, .refuse = 40, .idle_cut = 5,
                                               .rolled_back = 20};
        w->poison_of = seed % 2 ? 60 : 0;
        w->live_every = seed % 3 ? 15 : 0;
        for (int life = 0; life < 8; life++)
            world_live(w, 60, 20 + world_random(w, 300), seed % 4 ? DISK_KILL : DISK_POWER_CUT);
        finish(w);
        add_up(&t, w);
        world_free(w);
    }
    assert_true(t.n_duplicates > 0); /* It would be empty if nothing was ever sent twice. */
    assert_true(t.n_refusals > 0 && t.n_feeds > 0);
    score(1, "killed at random, spool to server model with faults, refusals, two feeds", &t);
}

static void test_killed_at_every_call(void **state) {
    (void)state;
    struct tally t = {0};
    uint64_t k_max = score__times(40, 400);
    for (uint64_t k = 1; k <= k_max; k++) {
        struct world *w = world_new(7);
        w->server.odds = (struct model_odds){.lost = 100, .late = 50};
        w->poison_of = 40;
        world_live(w, 40, k, k % 2 ? DISK_KILL : DISK_POWER_CUT);
        finish(w);
        add_up(&t, w);
        world_free(w);
    }
    score(2, "stopped at every call of the disk, spool to server model", &t);
}

static void run_with_odds(int case_number, const char *what, struct model_odds odds, uint64_t n_faults) {
    struct tally t = {0};
    struct world *w = world_new((uint64_t)case_number);
    w->server.odds = odds;
    w->rows_max = 20;
    assert_true(world_open(w));
    while (w->server.n_lost + w->server.n_late + w->server.n_cut + w->server.n_refused + w->server.n_rolled_back +
               w->server.n_unproven <
           n_faults) {
        world_step(w, true);
        if (world_random(w, 20) == 0) world_checkpoint(w);
        /* Not more than it can take: with so many faults it falls behind. */
        if (world_random(w, 100) == 0) assert_true(world_drain(w));
    }
    w->server.odds = (struct model_odds){0};
    assert_true(world_drain(w));
    while (w->server.late != NULL) world_step(w, false); /* What was still on its way. */
    add_up(&t, w);
    score(case_number, what, &t);
    world_free(w);
}

static double balance_after(uint64_t swallow, uint32_t poison_of, bool crash) {
    struct world *w = world_new(77);
    w->poison_of = poison_of;
    assert_true(world_open(w));
    w->server.swallow = swallow;
    for (int i = 0; i < 60; i++) {
        unsigned n = (unsigned)world_random(w, 4);
        w->clock.mono_ns += 100 * NS_PER_MS;
        w->clock.wall_ns += 100 * NS_PER_MS;
        while (n-- > 0) world_append(w);
        read_feed(w, 0);
        store__tick(w->store);
        server_model__step(&w->server);
        world_idle(w);
    }
    double rows = (double)store__imbalance(w->store);
    if (crash) { /* The books of the next run begin with what is in the log. */
        world_crash(w, DISK_KILL);
        disk_model__stop_after(w->disk, 0);
        assert_true(world_open(w));
        assert_true(world_drain(w)); /* Which looks at each step. */
        rows = (double)store__imbalance(w->store);
    }
    world_free(w);
    return rows;
}

/* All the cases here look at the balance at each step; this shows that it can be something else. A
 * server takes fewer rows than it was sent, and says yes: what replies confirm is counted by itself,
 * so the difference stays, whole batches or searched ones. */
static void test_the_balance_moves_when_rows_vanish(void **state) {
    (void)state;
    for (uint32_t poison_of = 0; poison_of <= 40; poison_of += 40) {
        assert_true(balance_after(0, poison_of, false) == 0);
        assert_true(balance_after(1, poison_of, false) == 1);
        assert_true(balance_after(25, poison_of, false) == 25);
        assert_true(balance_after(25, poison_of, true) == 0);
    }
}

static void test_lost_replies(void **state) {
    (void)state;
    run_with_odds(40, "applied, reply lost", (struct model_odds){.lost = 400}, score__times(200, 10000));
}

/* The server is stopped between the token and the block: what comes again passes for a duplicate. */
static void test_tokens_without_blocks(void **state) {
    (void)state;
    run_with_odds(41, "token remembered, block rolled back", (struct model_odds){.rolled_back = 200, .lost = 100, .late = 50},
                  score__times(200, 5000));
}

/* What comes in the middle of a write, or behind it: the block is there, or gone and its token is not,
 * or was never there. Nothing of that is in the exception. 1: none that is known. */
static const int32_t unproven_codes[] = {159, 160, 203, 209, 210, 225, 236, 241, 242, 243, 285, 286, 319, 394, 425,
                                         439, 999, 1000, 1001, 1002, 1};
#define N_UNPROVEN (sizeof unproven_codes / sizeof *unproven_codes)

static void test_an_exception_is_no_refusal(void **state) {
    (void)state;
    struct tally t = {0};
    /* The last three are of codes that prove it where no view is behind the table. */
    static const int32_t of_views[] = {10, 60, 252};
    for (size_t i = 0; i < N_UNPROVEN + 3; i++) {
        struct world *w = world_new(4100 + i);
        w->server.odds = (struct model_odds){.unproven = 300, .lost = i % 3 ? 0 : 50, .late = i % 3 ? 0 : 30};
        w->server.from_view = i >= N_UNPROVEN;
        w->server.unproven_code = i < N_UNPROVEN ? unproven_codes[i] : of_views[i - N_UNPROVEN];
        w->rows_max = 20;
        assert_true(world_open(w));
        while (w->server.n_unproven < score__times(60, 1000)) {
            world_step(w, true);
            if (world_random(w, 100) == 0) assert_true(world_drain(w));
        }
        w->server.odds = (struct model_odds){0};
        assert_true(world_drain(w));
        while (w->server.late != NULL) world_step(w, false);
        add_up(&t, w);
        world_free(w);
    }
    score(41, "exceptions in the middle of an insert and behind it", &t);
}

/* Blocks that are large enough to be sent in parts, and crashes in between. */
static void test_an_exception_is_no_refusal_of_a_large_block(void **state) {
    (void)state;
    struct tally t = {0};
    for (uint64_t seed = 0; seed < score__times(6, 60); seed++) {
        struct world *w = world_new(4200 + seed);
        w->options.rows_max = 4000;
        w->options.memory_max = 4 << 20;
        w->options.age_max_ns = 5 * NS_PER_S;
        w->rows_max = 400;
        for (int life = 0; life < 4; life++) {
            w->server.odds = (struct model_odds){.unproven = 300, .late = seed % 2 ? 100 : 0};
            w->server.unproven_code = seed % 3 == 0 ? 0 : 241;
            assert_true(world_open(w));
            for (int i = 0; i < 60; i++) world_step(w, true);
            disk_model__stop_after(w->disk, 10 + world_random(w, 150));
            for (int i = 0; i < 200 && !disk_model__stopped(w->disk); i++) world_step(w, false);
            world_crash(w, life % 2 ? DISK_KILL : DISK_POWER_CUT);
            disk_model__stop_after(w->disk, 0);
        }
        finish(w);
        assert_true(w->server.n_unproven > 0);
        add_up(&t, w);
        world_free(w);
    }
    score(41, "exceptions in the middle of large inserts, with crashes", &t);
}

static void test_late_success(void **state) {
    (void)state;
    run_with_odds(41, "no reply, applied late, retry overlaps", (struct model_odds){.late = 300, .lost = 50},
                  score__times(200, 5000));
}

static void test_partial_inserts(void **state) {
    (void)state;
    run_with_odds(42, "cut in the middle of a block", (struct model_odds){.cut = 300, .not_sent = 50},
                  score__times(200, 5000));
}

static void test_refusals_for_a_while(void **state) {
    (void)state;
    run_with_odds(43, "too many parts, memory, time-outs", (struct model_odds){.refuse = 400, .lost = 20},
                  score__times(200, 5000));
}

/* Too many parts makes batches larger; a block that is too large for the server's memory is sent in
 * parts. */
static void test_batches_follow_what_the_server_takes(void **state) {
    (void)state;
    struct tally t = {0};
    struct world *w = world_new(43);
    assert_true(world_open(w));
    w->server.code = 252;
    for (int i = 0; i < 100; i++) world_step(w, true);
    w->server.code = 0;
    struct model_table *data = server_model__table(&w->server, &world_data);
    uint64_t before = data->n_applied;
    size_t rows = data->n_rows;
    assert_true(world_drain(w));
    assert_true(data->n_rows - rows >= 40 * (data->n_applied - before)); /* Full ones, of 60 rows. */
    world_crash(w, DISK_KILL);
    w->options.rows_max = 8000;
    w->options.memory_max = 32 << 20;
    w->options.age_max_ns = 3600 * NS_PER_S;
    w->rows_max = 1000;
    w->server.memory_rows = 2500;
    assert_true(world_open(w));
    for (int i = 0; i < 60; i++) world_step(w, true);
    assert_true(world_drain(w));
    add_up(&t, w);
    score(43, "too many parts, then blocks that exceed the server's memory", &t);
    world_free(w);
}

/* A block that is on its way is never sent in parts: both would be stored. */
static void test_what_may_be_stored_is_not_split(void **state) {
    (void)state;
    struct tally t = {0};
    for (uint64_t seed = 0; seed < score__times(4, 40); seed++) {
        struct world *w = world_new(410 + seed);
        w->options.rows_max = 4000;
        w->options.memory_max = 4 << 20;
        w->options.age_max_ns = 5 * NS_PER_S;
        w->rows_max = 400;
        w->server.odds = (struct model_odds){.late = 300};
        assert_true(world_open(w));
        for (int i = 0; i < 200; i++) {
            w->server.memory_rows = i % 8 < 6 ? 1000 : 0; /* Short of memory now and then. */
            world_step(w, true);
        }
        w->server.odds = (struct model_odds){0};
        w->server.memory_rows = 0;
        assert_true(world_drain(w));
        while (w->server.late != NULL) world_step(w, false);
        assert_true(w->server.n_late > 0);
        add_up(&t, w);
        world_free(w);
    }
    score(41, "late success of blocks that are then too large", &t);
}

/* Its outcome is not certain, and from then on the server has no room for the whole of it: it is sent
 * in parts all the same, and again in the same parts after a crash. */
static void split_the_uncertain(uint64_t seed, bool partitions, struct tally *t) {
    struct world *w = world_new(seed);
    size_t *limit = partitions ? &w->server.partition_rows : &w->server.memory_rows;
    w->options.rows_max = 4000;
    w->options.memory_max = 4 << 20;
    w->options.age_max_ns = 5 * NS_PER_S;
    w->rows_max = 400;
    for (int life = 0; life < 4; life++) {
        w->server.odds = (struct model_odds){.late = 300, .lost = 200, .rolled_back = seed % 2 ? 100 : 0};
        *limit = 0;
        assert_true(world_open(w));
        for (int i = 0; i < 60; i++) world_step(w, true);
        *limit = partitions ? 30 : 1000;
        disk_model__stop_after(w->disk, 10 + world_random(w, 150));
        for (int i = 0; i < 200 && !disk_model__stopped(w->disk); i++) {
            world_step(w, false);
            if (world_random(w, 12) == 0) world_checkpoint(w);
        }
        world_crash(w, life % 2 ? DISK_KILL : DISK_POWER_CUT);
    }
    w->server.odds = (struct model_odds){0};
    disk_model__stop_after(w->disk, 0);
    assert_true(world_open(w));
    assert_true(world_drain(w)); /* With the limit as it is. */
    while (w->server.late != NULL) world_step(w, false);
    assert_true(w->server.n_late > 0 && w->server.n_lost > 0);
    add_up(t, w);
    world_free(w);
}

static void test_an_uncertain_batch_that_is_too_large_is_split(void **state) {
    (void)state;
    struct tally t = {0};
    for (uint64_t seed = 0; seed < score__times(6, 60); seed++) split_the_uncertain(4300 + seed, false, &t);
    for (uint64_t seed = 0; seed < score__times(3, 30); seed++) split_the_uncertain(4400 + seed, true, &t);
    assert_true(t.n_duplicates > 0);
    score(43, "uncertain, then too large for memory or partitions, with crashes", &t);
}

static bool refuses_what_it_has(void *ctx, const struct table_desc *t, uint64_t page, uint64_t ord) {
    struct world *w = ctx;
    return t == &world_data && server_model__count(&w->server, t, page, ord) > 0;
}

/* Stored, the reply lost, and then somebody adds a rule: the exception is not believed. */
static void test_a_rule_that_came_after_the_rows(void **state) {
    (void)state;
    struct tally t = {0};
    struct world *w = world_new(411);
    assert_true(world_open(w));
    w->server.odds.lost = 1000;
    while (w->server.n_lost < 1) world_step(w, w->n_pages < 5);
    w->server.odds.lost = 0;
    w->server.poison = refuses_what_it_has;
    while (w->server.n_found < 1) world_step(w, false);
    w->server.poison = NULL;
    assert_true(world_drain(w));
    add_up(&t, w);
    score(40, "reply lost, then a rule that the stored rows break", &t);
    world_free(w);
}

static struct store_status status_of(const struct world *w) {
    struct store_status s;
    store__status(w->store, &s);
    return s;
}

static void run_for(struct world *w, int n_steps, bool append) {
    for (int i = 0; i < n_steps; i++) world_step(w, append);
}

/* Holds all it has, says why, and goes on by itself when @mend is done. */
static void expect_hold(struct world *w, const char *why) {
    run_for(w, 200, true);
    size_t rows = server_model__table(&w->server, &world_data)->n_rows;
    int64_t since_ns = status_of(w).since_mono_ns;
    run_for(w, 200, true);
    /* Connecting again for the next try is no end of it: an alert goes by how long it has lasted. */
    assert_int_equal(status_of(w).since_mono_ns, since_ns);
    assert_int_equal(server_model__table(&w->server, &world_data)->n_rows, rows); /* Nothing goes in. */
    assert_true(status_of(w).held);
    assert_false(status_of(w).connected);
    if (strstr(status_of(w).last_error, why) == NULL) fail_msg("%s", status_of(w).last_error);
}

static void expect_release(struct world *w, int case_number, const char *what) {
    struct tally t = {0};
    assert_true(world_drain(w));
    run_for(w, 20, false);
    assert_false(status_of(w).held);
    assert_true(status_of(w).connected);
    add_up(&t, w);
    score(case_number, what, &t);
    world_free(w);
}

static struct world *begin(uint64_t seed) {
    struct world *w = world_new(seed);
    w->options.memory_max = 8 << 10; /* Held rows stay in the log. */
    assert_true(world_open(w));
    run_for(w, 50, true);
    return w;
}

static void drop_connections(struct world *w) {
    w->server.down = true;
    run_for(w, 3, false);
    w->server.down = false;
}

static void test_a_rotated_password(void **state) {
    (void)state;
    struct world *w = begin(21);
    w->server.deny = 516;
    drop_connections(w);
    expect_hold(w, "516");
    w->server.deny = 0;
    expect_release(w, 21, "authentication fails, then is mended");
}

static void test_a_forgotten_window(void **state) {
    (void)state;
    struct world *w = begin(44);
    server_model__table(&w->server, &world_data)->window = 0;
    drop_connections(w);
    expect_hold(w, "has no deduplication window");
    server_model__table(&w->server, &world_data)->window = 1000;
    expect_release(w, 44, "deduplication window gone, then set again");
}

static void test_at_least_once_inserts_without_a_window(void **state) {
    (void)state;
    struct world *w = world_new(44);
    w->options.delivery = STORE_AT_LEAST_ONCE;
    server_model__table(&w->server, &world_data)->window = 0;
    assert_true(world_open(w));
    run_for(w, 100, true);
    assert_true(world_drain(w));
    assert_false(status_of(w).held);
    world_free(w);
}

static void test_a_column_is_removed(void **state) {
    (void)state;
    struct world *w = begin(46);
    server_model__table(&w->server, &world_data)->column = 16;
    expect_hold(w, "16");
    server_model__table(&w->server, &world_data)->column = 0;
    expect_release(w, 46, "column removed, then there again");
}

static void test_a_column_has_another_type(void **state) {
    (void)state;
    struct world *w = begin(47);
    server_model__table(&w->server, &world_data)->type_changed = true;
    expect_hold(w, "column");
    server_model__table(&w->server, &world_data)->type_changed = false;
    expect_release(w, 46, "column of another type, then as it was");
}

/* The quarantine's own rows are never taken apart: that would never end. */
static void test_a_quarantine_that_refuses_holds(void **state) {
    (void)state;
    struct world *w = world_new(45);
    w->poison_of = 30;
    assert_true(world_open(w));
    server_model__table(&w->server, &world_refused)->column = 469;
    run_for(w, 300, true);
    assert_true(status_of(w).held);
    assert_int_equal(status_of(w).n_held, 0);
    server_model__table(&w->server, &world_refused)->column = 0;
    expect_release(w, 45, "the quarantine refuses, then takes");
}

/* Case 45: one poison row in a batch of 50,000. */
static uint64_t poison_at;
static bool is_poison_at(void *ctx, const struct table_desc *t, uint64_t page, uint64_t ord) {
    (void)ctx, (void)page;
    return t == &world_data && ord == poison_at;
}

static void test_one_poison_row_in_50000(void **state) {
    (void)state;
    static const uint64_t places[] = {0, 1, 24999, 25000, 32767, 32768, 49998, 49999};
    struct score s = {.case_number = 45, .what = "one poison row in 50,000", .passed = true, .recovery_s = -1};
    uint64_t worst = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct world *w = world_new(i);
        w->options.rows_max = 50000;
        w->options.memory_max = 32 << 20;
        w->server.poison = is_poison_at;
        poison_at = places[i];
        assert_true(world_open(w));
        world_append(w);
        w->pages[0].n_rows = 50000;
        world_idle(w);
        /* The record says less: the rows are made here. */
        struct rows rows = {0};
        struct spool_status st;
        spool__status(w->spool, &st);
        for (uint32_t k = 0; k < 50000; k++) put_row(&rows, &world_data, "Standard", 0, st.first_lsn, k);
        assert_int_equal(store__rows(w->store, 0, st.first_lsn, st.end_lsn, w->clock.wall_ns, &rows), 0);
        w->readers[0].at = st.end_lsn;
        assert_true(world_drain(w));
        struct model_table *t = server_model__table(&w->server, &world_data);
        assert_int_equal(t->n_rows, 49999);
        assert_int_equal(server_model__count(&w->server, &world_data, 0, poison_at), 0);
        assert_int_equal(server_model__count(&w->server, &world_refused, 0, poison_at), 1);
        assert_int_equal(status_of(w).refused_rows, 1);
        if (t->n_inserts - 1 > worst) worst = t->n_inserts - 1;
        s.rows += t->n_rows;
        s.seeds++;
        world_free(w);
    }
    print_message("one poison row in 50,000 costs at most %" PRIu64 " further inserts\n", worst);
    s.passed = worst <= 17;
    score__write(&s);
    assert_true(worst <= 17);
}

/* More than a tenth: somebody has to look. Nothing is lost, and what is mended goes on by itself. */
static void test_too_many_poison_rows_hold_the_batch(void **state) {
    (void)state;
    struct world *w = world_new(46);
    w->options.rows_max = 200;
    w->rows_max = 50;
    w->poison_of = 2;
    assert_true(world_open(w));
    run_for(w, 30, true);
    struct store_status s = status_of(w);
    for (int i = 0; i < 30000 && (i < 3000 || s.n_searched > 0); i++) {
        world_step(w, false);
        s = status_of(w);
    }
    assert_int_equal(s.n_searched, 0);
    assert_true(s.held && s.n_held > 0);
    moved__write(&w->metrics); /* souk_batches_held. */
    uint64_t refused = s.refused_rows;
    run_for(w, 1000, false);
    assert_int_equal(status_of(w).refused_rows, refused);
    w->server.poison = NULL;
    assert_true(world_drain(w));
    size_t n = 0, n_rows = 0;
    for (uint32_t page = 0; page < w->n_pages; page++) {
        n_rows += w->pages[page].n_rows;
        for (uint32_t i = 0; i < w->pages[page].n_rows; i++) {
            uint32_t k = server_model__count(&w->server, &world_data, page, i) +
                         server_model__count(&w->server, &world_refused, page, i);
            assert_int_equal(k, 1);
            n += k;
        }
    }
    assert_int_equal(n, n_rows);
    world_free(w);
}

/* Case 39, in the small: memory is flat while the server is away; on return the live feed is ahead
 * of the backlog. */
static void test_away_for_an_hour(void **state) {
    (void)state;
    struct tally t = {0};
    struct world *w = world_new(39);
    assert_true(world_open(w));
    run_for(w, 50, true);
    w->server.down = true;
    run_for(w, (int)score__times(1500, 36000), true);
    assert_true(w->bytes_max < 80 << 10);
    w->server.down = false;
    while (!status_of(w).connected) world_step(w, true);
    open_live(w);
    unsigned live = w->live;
    uint32_t n_old = w->n_pages;
    run_for(w, 20, true);
    uint32_t fresh = w->n_pages - 1;
    while (server_model__count(&w->server, &world_checks, fresh, 0) == 0) world_step(w, true);
    assert_true(w->readers[1 - live].open); /* Fresh rows are there before the backlog is. */
    assert_true(fresh >= n_old);
    assert_true(store__low_water(w->store) < w->readers[1 - live].end);
    assert_true(world_drain(w));
    assert_true(w->bytes_max < 80 << 10);
    add_up(&t, w);
    score(39, "server away, memory flat, fresh rows first on return", &t);
    world_free(w);
}

/* Two hosts that are strangers: replies of the first are lost, then it is away. What may be there
 * waits for it, also after a crash; everything else goes on at the second. */
static void test_strangers_never_both_get_a_batch(void **state) {
    (void)state;
    struct tally t = {0};
    bool waited = false;
    for (uint64_t seed = 0; seed < score__times(8, 80); seed++) {
        struct world *w = world_new(1100 + seed);
        world_add_host(w);
        assert_true(world_open(w));
        w->server.odds = (struct model_odds){.lost = 200, .late = seed % 2 ? 100 : 0};
        run_for(w, 60, true);
        while (w->server.n_lost == 0) world_step(w, true);
        w->server.odds.lost = 1000;
        uint64_t n_lost = w->server.n_lost;
        for (int i = 0; i < 100 && w->server.n_lost == n_lost; i++) world_step(w, true);
        w->server.down = true;
        size_t before = server_model__table(&w->second, &world_data)->n_rows;
        run_for(w, 200, true);
        assert_true(server_model__table(&w->second, &world_data)->n_rows > before);
        waited |= status_of(w).state == STORE_ELSEWHERE && status_of(w).n_elsewhere > 0;
        if (seed % 3 == 0) {
            world_crash(w, DISK_KILL);
            assert_true(world_open(w));
            run_for(w, 200, true);
        }
        w->server.odds = (struct model_odds){0};
        w->server.down = false;
        assert_true(world_drain(w));
        while (w->server.late != NULL || w->second.late != NULL) world_step(w, false);
        run_for(w, 10, false);
        assert_int_equal(status_of(w).n_elsewhere, 0);
        add_up(&t, w);
        world_free(w);
    }
    assert_true(waited);
    score(40, "reply lost, then failover to a stranger", &t);
}

/* The first of two strangers answers with an exception, perhaps after it has stored the block, and is
 * away again and again. */
static void test_strangers_and_exceptions(void **state) {
    (void)state;
    struct tally t = {0};
    for (size_t i = 0; i < N_UNPROVEN; i++) {
        struct world *w = world_new(1150 + i);
        world_add_host(w);
        w->server.odds.unproven = w->second.odds.unproven = 400;
        w->server.unproven_code = w->second.unproven_code = unproven_codes[i];
        assert_true(world_open(w));
        for (int round = 0; round < 8; round++) {
            uint64_t n = w->server.n_unproven;
            w->server.down = false;
            for (int k = 0; k < 600 && w->server.n_unproven < n + 3; k++) world_step(w, true);
            w->server.down = true;
            run_for(w, 60, true);
        }
        assert_true(w->server.n_unproven > 8 && server_model__table(&w->second, &world_data)->n_rows > 0);
        w->server.down = false;
        w->server.odds = w->second.odds = (struct model_odds){0};
        assert_true(world_drain(w));
        assert_int_equal(status_of(w).n_elsewhere, 0);
        add_up(&t, w);
        world_free(w);
    }
    score(40, "an exception, then failover to a stranger", &t);
}

/* A server that proved that it has not got a batch keeps nobody from giving it to another. */
static void test_a_proven_refusal_binds_nothing(void **state) {
    (void)state;
    static const int32_t codes[] = {201, 202, 252, 60, 497, 164, 6};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct world *w = world_new(1170 + i);
        world_add_host(w);
        w->options.refusals = NULL; /* Nothing is taken apart. */
        assert_true(world_open(w));
        w->server.code = codes[i];
        run_for(w, 60, true);
        assert_true(server_model__table(&w->server, &world_data)->n_inserts > 0);
        w->server.down = true;
        assert_true(world_drain(w));
        world_judge(w);
        assert_int_equal(w->n_lost + w->n_twice, 0);
        assert_int_equal(w->server.n_asked + w->second.n_asked, 0);
        world_free(w);
    }
}

/* Whoever says at least once has said what to do about a server that never comes back. */
static void test_at_least_once_waits_for_no_server(void **state) {
    (void)state;
    struct world *w = world_new(1200);
    world_add_host(w);
    w->options.delivery = STORE_AT_LEAST_ONCE;
    assert_true(world_open(w));
    w->server.odds.lost = 1000;
    while (w->server.n_lost < 2) world_step(w, true);
    w->server.down = true;
    assert_true(world_drain(w));
    world_judge(w);
    assert_int_equal(w->n_lost, 0);
    world_free(w);
}

static void advance(struct world *w, int64_t seconds) {
    int64_t until_ns = w->clock.mono_ns + seconds * NS_PER_S;
    while (w->clock.mono_ns < until_ns) world_step(w, false);
}

/* A server that neither reads nor answers is noticed in seconds, with batches under way or idle. */
static void test_a_server_that_stands_still_is_not_connected(void **state) {
    (void)state;
    for (int idle = 0; idle < 2; idle++) {
        struct tally t = {0};
        struct world *w = world_new(1300 + (uint64_t)idle);
        assert_true(world_open(w));
        run_for(w, 50, true);
        assert_true(world_drain(w));
        advance(w, 20);
        assert_int_equal(status_of(w).state, STORE_CONNECTED);
        if (idle) assert_true(w->server.n_pings > 0);
        w->server.frozen = true;
        if (!idle) run_for(w, 5, true);
        advance(w, 20);
        struct store_status s = status_of(w);
        assert_int_equal(s.state, STORE_STALLED);
        assert_string_equal(store_state__name(s.state), "stalled");
        assert_false(s.connected || s.answers);
        assert_non_null(strstr(s.last_error, "neither read nor answered"));
        w->server.frozen = false;
        assert_true(world_drain(w));
        run_for(w, 20, false);
        assert_int_equal(status_of(w).state, STORE_CONNECTED);
        add_up(&t, w);
        score(43, idle ? "an idle server stands still" : "a server stands still with inserts under way", &t);
        world_free(w);
    }
}

/* A feed whose open batches fill its share of the memory has room again with the next cut, and not when they are old:
 * a half of the memory is more than the tape ever has. */
static void test_a_feed_without_room_has_some_soon(void **state) {
    (void)state;
    static const struct table_desc tape = {.name = "tape", .columns = world_columns, .n_columns = 5, .derived = true};
    static const struct table_desc *const tables[] = {&world_data, &world_checks, &world_refused, &tape};
    static const unsigned feeds[][2] = {{0, 0}, {FEED_TAPE, FEED_TAPE}, {0, 1}}; /* Which fills; which is open as well. */
    for (size_t i = 0; i < sizeof feeds / sizeof *feeds; i++) {
        struct world *w = world_new(1470 + i);
        unsigned feed = feeds[i][0];
        server_model__fini(&w->server);
        server_model__init(&w->server, &w->clock, 1, tables, 4);
        w->options.tables = tables;
        w->options.n_tables = 4;
        w->options.rows_max = 50000;
        w->options.age_max_ns = 20 * NS_PER_S;
        assert_true(world_open(w));
        w->readers[0].open = false; /* The rows are made here. */
        for (int k = 0; k < 2000; k++) world_append(w);
        world_idle(w);
        struct spool_status st;
        spool__status(w->spool, &st);
        if (feeds[i][1] == FEED_TAPE) store__open_feed(w->store, FEED_TAPE, st.first_lsn);
        if (feeds[i][1] == 1) store__open_feed(w->store, 1, st.end_lsn);
        struct spool_reader r;
        struct spool_record rec;
        struct err e = {0};
        spool_reader__init(&r, w->spool, st.first_lsn);
        while (store__has_room(w->store, feed)) {
            struct rows rows = {0};
            assert_int_equal(spool_reader__next(&r, st.synced_lsn, &rec, &e), 1);
            for (uint32_t k = 0; k < 20; k++)
                put_row(&rows, feed == FEED_TAPE ? &tape : &world_data, "", 0, rec.lsn, k);
            assert_int_equal(store__rows(w->store, feed, rec.lsn, rec.next_lsn, w->clock.wall_ns, &rows), 0);
        }
        spool_reader__fini(&r);
        int64_t from_ns = w->clock.mono_ns;
        while (!store__has_room(w->store, feed)) world_step(w, false);
        print_message("feed %u has room again after %.1f s\n", feed, (double)(w->clock.mono_ns - from_ns) / NS_PER_S);
        assert_true(w->clock.mono_ns - from_ns < 5 * NS_PER_S);
        world_free(w);
    }
}

/* Refused twice, and then found to be there: the table has nothing to rest for, and no insert that would say so. */
static void test_what_is_found_ends_a_rest(void **state) {
    (void)state;
    struct world *w = world_new(1480);
    assert_true(world_open(w));
    do world_append(w);
    while (w->pages[w->n_pages - 1].n_rows == 0); /* One batch of data, and no more. */
    w->server.odds.lost = 1000;
    while (w->server.n_lost < 1) world_step(w, false);
    w->server.odds.lost = 0;
    w->server.code = 999;
    for (int i = 0; i < 2000 && status_of(w).state != STORE_REFUSES; i++) world_step(w, false);
    assert_int_equal(status_of(w).state, STORE_REFUSES);
    w->server.code = 6;
    for (int i = 0; i < 2000 && w->server.n_found < 1; i++) world_step(w, false);
    assert_true(w->server.n_found > 0);
    w->server.code = 0;
    assert_true(world_drain(w));
    run_for(w, 20, false);
    assert_int_equal(status_of(w).state, STORE_CONNECTED);
    assert_true(status_of(w).answers);
    world_free(w);
}

/* Parts run out by the bound of one partition, or of all; that makes no batch smaller. */
static void test_too_many_parts_are_not_partitions(void **state) {
    (void)state;
    static const char *const texts[] = {
        "Too many parts (3003 with average size of 1.00 KiB) in table 'd.data'. Merges are processing significantly "
        "slower than inserts",
        "Too many parts (100001) in all partitions in total in table 'd.data'. This indicates wrong choice of partition "
        "key. The threshold can be modified with 'max_parts_in_total' setting"};
    for (size_t i = 0; i < 2; i++) {
        struct tally t = {0};
        struct world *w = world_new(1450 + i);
        assert_true(world_open(w));
        run_for(w, 50, true);
        w->server.code = 252;
        w->server.code_text = texts[i];
        run_for(w, 300, true);
        assert_int_equal(status_of(w).state, STORE_PARTS);
        assert_int_equal(status_of(w).n_searched, 0);
        w->server.code = 0;
        assert_true(world_drain(w));
        add_up(&t, w);
        assert_true(t.n_inserts * 5 < t.n_rows);
        score(43, "too many parts, of one partition or of all", &t);
        world_free(w);
    }
}

/* A bound that is lifted: blocks are large again before long, in the middle of a batch. */
static void test_small_blocks_grow_when_the_bound_is_lifted(void **state) {
    (void)state;
    struct tally t = {0};
    struct world *w = world_new(1460);
    w->options.rows_max = 8000;
    w->options.memory_max = 32 << 20;
    w->options.age_max_ns = 3600 * NS_PER_S;
    w->rows_max = 1000;
    w->server.partition_rows = 1;
    assert_true(world_open(w));
    run_for(w, 60, true);
    while (server_model__table(&w->server, &world_data)->n_rows < 10) world_step(w, false);
    w->server.partition_rows = 0;
    struct model_table *data = server_model__table(&w->server, &world_data);
    uint64_t n_inserts = data->n_inserts;
    assert_true(world_drain(w));
    print_message("%zu rows after the bound was lifted: %" PRIu64 " inserts\n", data->n_rows, data->n_inserts - n_inserts);
    assert_true(data->n_inserts - n_inserts < 200);
    add_up(&t, w);
    score(43, "too many partitions in a block, then the bound is lifted", &t);
    world_free(w);
}

/* It is there and has too much to do: that is what status says, and it is asked less and less. */
static void test_a_server_with_too_much_to_do_is_asked_seldom(void **state) {
    (void)state;
    static const struct {
        int32_t code;
        enum store_state state;
        uint64_t n_max; /* Inserts in ten minutes: 7 until the rest is 30 s less a quarter at most. */
    } cases[] = {{252, STORE_PARTS, 3 * 40}, {241, STORE_MEMORY, 40 + 3}, {202, STORE_BUSY, 40 + 3},
                 {999, STORE_REFUSES, 3 * 40}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tally t = {0};
        struct world *w = world_new(1400 + i);
        assert_true(world_open(w));
        run_for(w, 50, true);
        w->server.code = cases[i].code;
        uint64_t n = 0, n_asked = w->server.n_asked;
        for (size_t k = 0; k < 3; k++) n -= w->server.tables[k].n_inserts;
        run_for(w, 20, true);
        advance(w, 600);
        for (size_t k = 0; k < 3; k++) n += w->server.tables[k].n_inserts;
        struct store_status s = status_of(w);
        print_message("code %d: %" PRIu64 " inserts in ten minutes\n", (int)cases[i].code, n);
        assert_int_equal(s.state, cases[i].state);
        assert_false(s.connected);
        assert_true(n > 10 && n <= cases[i].n_max);
        assert_int_equal(w->server.n_asked, n_asked); /* For no block as long as none was taken, */
        w->server.code = 0;
        assert_true(world_drain(w));
        /* and then at most once for each insert of what was under way: one a table and connection. */
        assert_true(w->server.n_asked - n_asked <= 3 * STORE_CONNECTIONS);
        if (cases[i].code == 252 || cases[i].code == 202) assert_int_equal(w->server.n_asked, n_asked);
        run_for(w, 20, false);
        assert_int_equal(status_of(w).state, STORE_CONNECTED);
        add_up(&t, w);
        score(43, store_state__text(cases[i].state), &t);
        world_free(w);
    }
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]); /* One case alone. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_poison_row_in_50000),
        cmocka_unit_test(test_the_balance_moves_when_rows_vanish),
        cmocka_unit_test(test_killed_at_random),
        cmocka_unit_test(test_killed_at_every_call),
        cmocka_unit_test(test_lost_replies),
        cmocka_unit_test(test_tokens_without_blocks),
        cmocka_unit_test(test_an_exception_is_no_refusal),
        cmocka_unit_test(test_an_exception_is_no_refusal_of_a_large_block),
        cmocka_unit_test(test_late_success),
        cmocka_unit_test(test_partial_inserts),
        cmocka_unit_test(test_refusals_for_a_while),
        cmocka_unit_test(test_batches_follow_what_the_server_takes),
        cmocka_unit_test(test_what_may_be_stored_is_not_split),
        cmocka_unit_test(test_an_uncertain_batch_that_is_too_large_is_split),
        cmocka_unit_test(test_strangers_never_both_get_a_batch),
        cmocka_unit_test(test_strangers_and_exceptions),
        cmocka_unit_test(test_a_proven_refusal_binds_nothing),
        cmocka_unit_test(test_at_least_once_waits_for_no_server),
        cmocka_unit_test(test_a_server_that_stands_still_is_not_connected),
        cmocka_unit_test(test_a_server_with_too_much_to_do_is_asked_seldom),
        cmocka_unit_test(test_a_feed_without_room_has_some_soon),
        cmocka_unit_test(test_what_is_found_ends_a_rest),
        cmocka_unit_test(test_too_many_parts_are_not_partitions),
        cmocka_unit_test(test_small_blocks_grow_when_the_bound_is_lifted),
        cmocka_unit_test(test_a_rule_that_came_after_the_rows),
        cmocka_unit_test(test_a_rotated_password),
        cmocka_unit_test(test_a_forgotten_window),
        cmocka_unit_test(test_at_least_once_inserts_without_a_window),
        cmocka_unit_test(test_a_column_is_removed),
        cmocka_unit_test(test_a_column_has_another_type),
        cmocka_unit_test(test_a_quarantine_that_refuses_holds),
        cmocka_unit_test(test_too_many_poison_rows_hold_the_batch),
        cmocka_unit_test(test_away_for_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
