/* Cases 4, 5 and 10 for the spool: syncs that fail, a disk that is full for a while, syncs that take
 * seconds. */
#include "spool_life.h"

static void append_synced(struct life *l, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        assert_true(life_page(l));
        life_idle(l);
    }
}

static bool all_synced(const struct life *l) {
    for (uint32_t i = 0; i < l->n_pages; i++)
        if (l->state[i] != PAGE_SYNCED) return false;
    return true;
}

/* One failed sync, or two in a row, at the @nth sync. @return true when the spool stopped. */
static bool fail_syncs(struct life *l, uint64_t nth, uint64_t n_fail, double *restart_s) {
    struct disk_fault f = {
        .calls = DISK_SYNC, .n_pass = nth, .n_fail = n_fail, .errnum = EIO};
    assert_true(life_open(l));
    append_synced(l, 5);
    disk_model__set_fault(l->disk, &f);
    for (unsigned i = 0; i < 40 && !spool__has_failed(l->spool); i++) {
        if (!life_page(l)) break;
        life_idle(l);
    }
    bool failed = spool__has_failed(l->spool);
    if (!failed) assert_true(all_synced(l));
    life_close(l);
    assert_int_equal(disk_model__n_poisoned_syncs(l->disk), 0);
    /* The process ends with 74; what it leaves is read, and then the power goes too. */
    disk_model__crash(l->disk, DISK_KILL);
    int64_t start_ns = clock__stopwatch_ns();
    assert_true(life_open(l));
    *restart_s = (double)(clock__stopwatch_ns() - start_ns) / (double)NS_PER_S;
    life_check(l);
    append_synced(l, 1);
    life_close(l);
    disk_model__crash(l->disk, DISK_POWER_CUT);
    assert_true(life_open(l));
    life_check(l);
    return failed;
}

static void test_failed_syncs(void **state) {
    (void)state;
    struct score s = {.case_number = 4,
                      .what = "sync fails once, then twice in a row, at every sync",
                      .passed = true};
    uint64_t n = score__times(12, 40), n_stopped = 0;
    for (uint64_t n_fail = 1; n_fail <= 2; n_fail++) {
        for (uint64_t nth = 0; nth < n; nth++) {
            struct life *l = life_new(nth * 2 + n_fail);
            double restart_s;
            bool stopped = fail_syncs(l, nth, n_fail, &restart_s);
            if (n_fail == 1) assert_false(stopped);
            n_stopped += stopped;
            s.rows += l->n_promised;
            s.lost += l->n_lost;
            s.twice += l->n_twice;
            s.seeds++;
            if (restart_s > s.recovery_s) s.recovery_s = restart_s;
            life_free(l);
        }
    }
    s.passed = s.lost == 0 && s.twice == 0 && n_stopped > 0;
    score__write(&s);
    print_message("%s: %" PRIu64 " runs, %" PRIu64 " stopped, %" PRIu64 " pages, %" PRIu64
                  " lost, %" PRIu64 " twice\n",
                  s.what, s.seeds, n_stopped, s.rows, s.lost, s.twice);
    assert_true(s.passed);
}

static void on_ack(void *data, uint64_t lsn, int status) {
    (void)lsn;
    *(unsigned *)data += status == 0;
}

static void on_timer(uv_timer_t *timer) { *(bool *)timer->data = true; }
static void on_timer_closed(uv_handle_t *timer) { *(bool *)timer->data = false; }

/* Runs the loop for @ms of real time: what the spool tries again, it tries in real time. */
static void run_for(struct life *l, unsigned ms) {
    uv_timer_t timer;
    bool fired = false;
    uv_timer_init(&l->loop, &timer);
    timer.data = &fired;
    uv_update_time(&l->loop);
    uv_timer_start(&timer, on_timer, ms, 0);
    while (!fired) uv_run(&l->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, on_timer_closed);
    while (fired) uv_run(&l->loop, UV_RUN_NOWAIT);
    l->clock.mono_ns += (int64_t)ms * NS_PER_MS;
    l->clock.wall_ns += (int64_t)ms * NS_PER_MS;
}

static void test_full_disk_for_a_while(void **state) {
    (void)state;
    struct life *l = life_new(5);
    struct spool_status st;
    struct err e = {0};
    assert_true(life_open(l));
    append_synced(l, 20);
    spool__status(l->spool, &st);
    assert_true(st.has_reserve);
    /* Others fill the disk: what is there stays, nothing new fits. */
    disk_model__set_capacity(l->disk, 1);
    uint32_t before = l->n_pages;
    for (unsigned i = 0; i < 200 && life_page(l); i++) run_for(l, 10);
    assert_true(l->n_pages - before < 100);
    spool__status(l->spool, &st);
    assert_true(st.full);
    assert_false(st.failed);
    /* Far more acknowledgements than the segment at hand holds: the reserve takes them. */
    unsigned n_acked = 0, n_acks = 40;
    char bytes[900] = {0};
    struct slice part = slice__of(bytes, sizeof bytes);
    /* The reserve's blocks are free for us from then on. */
    disk_model__set_capacity(l->disk, 0);
    spool__status(l->spool, &st);
    uint64_t used = disk_model__used_bytes(l->disk);
    disk_model__set_capacity(l->disk, used);
    for (unsigned i = 0; i < n_acks; i++) {
        assert_true(spool__append(l->spool, SPOOL_ACK, 0, &part, 1, on_ack, &n_acked, &e) != 0);
        if (i % 8 == 7) run_for(l, 1);
    }
    run_for(l, 50);
    assert_int_equal(n_acked, n_acks);
    spool__status(l->spool, &st);
    assert_false(st.has_reserve);
    assert_false(life_page(l));
    spool__status(l->spool, &st);
    assert_true(st.full);
    /* Room again: intake goes on by itself. */
    disk_model__set_capacity(l->disk, 0);
    int64_t start_ns = clock__stopwatch_ns();
    do {
        run_for(l, 20);
        spool__status(l->spool, &st);
    } while (st.full && clock__stopwatch_ns() - start_ns < 10 * NS_PER_S);
    double recovery_s = (double)(clock__stopwatch_ns() - start_ns) / (double)NS_PER_S;
    assert_true(life_page(l));
    run_for(l, 50);
    assert_int_equal(l->state[l->n_pages - 1], PAGE_SYNCED);
    life_close(l);
    assert_true(life_open(l));
    life_check(l);
    struct score s = {.case_number = 5,
                      .what = "disk full, then freed: intake pauses, acknowledgements fit",
                      .passed = l->n_lost == 0 && l->n_twice == 0 && recovery_s < 1.5,
                      .seeds = 1,
                      .rows = l->n_promised,
                      .lost = l->n_lost,
                      .twice = l->n_twice,
                      .recovery_s = recovery_s};
    score__write(&s);
    print_message("%s: goes on after %.2f s, %u acknowledgements while full\n", s.what, recovery_s,
                  n_acked);
    assert_true(s.passed);
    life_free(l);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void on_tick(uv_timer_t *timer) { ++*(unsigned *)timer->data; }

/* What a turn of the loop takes while each sync takes seconds, with pages, alerts and checkpoints
 * coming in. */
static void test_slow_syncs_keep_the_loop_free(void **state) {
    (void)state;
    enum { TURNS_MAX = 200000 };
    struct life *l = life_new(6);
    static double turn_ms[TURNS_MAX];
    unsigned n_ticks = 0, n_alerts = 0;
    size_t n_turns = 0;
    unsigned delay_ms = (unsigned)score__times(500, 5000);
    int64_t for_ns = (int64_t)score__times(3, 120) * NS_PER_S;
    uv_timer_t tick;
    struct err e = {0};
    struct slice alert = SLICE_LIT("{\"kind\":\"fired\"}");
    assert_true(life_open(l));
    append_synced(l, 3);
    disk_model__set_sync_delay(l->disk, delay_ms);
    uv_timer_init(&l->loop, &tick);
    tick.data = &n_ticks;
    uv_timer_start(&tick, on_tick, 10, 10);
    int64_t start_ns = clock__stopwatch_ns();
    unsigned n_sent = 0;
    while (clock__stopwatch_ns() - start_ns < for_ns && n_turns < TURNS_MAX) {
        int64_t turn_ns = clock__stopwatch_ns();
        l->clock.mono_ns = turn_ns;
        if (n_ticks % 10 == 0) life_page(l);
        if (n_ticks % 50 == 0 && n_sent < 60) {
            n_sent++;
            spool__append(l->spool, SPOOL_ALERT, 0, &alert, 1, on_ack, &n_alerts, &e);
        }
        unsigned ticks_before = n_ticks;
        int64_t wait_ns = (int64_t)uv_backend_timeout(&l->loop) * NS_PER_MS;
        uv_run(&l->loop, UV_RUN_ONCE);
        if (wait_ns < 0) wait_ns = 0;
        double ms = (double)(clock__stopwatch_ns() - turn_ns - wait_ns) / (double)NS_PER_MS;
        if (ticks_before != n_ticks) turn_ms[n_turns++] = ms > 0 ? ms : 0;
    }
    qsort(turn_ms, n_turns, sizeof *turn_ms, compare_doubles);
    double p99_ms = turn_ms[n_turns * 99 / 100];
    uv_close((uv_handle_t *)&tick, NULL);
    disk_model__set_sync_delay(l->disk, 0);
    life_close(l); /* Tells all who wait. */
    assert_int_equal(n_alerts, n_sent);
    assert_true(life_open(l));
    life_check(l);
    struct score s = {.case_number = 10,
                      .what = "each sync takes seconds: the loop stays free",
                      .passed = p99_ms < 50 && l->n_lost == 0 && n_turns > 50,
                      .seeds = 1,
                      .rows = l->n_promised,
                      .lost = l->n_lost,
                      .twice = l->n_twice,
                      .recovery_s = p99_ms / 1000};
    score__write(&s);
    print_message("%s: %zu turns, p99 %.2f ms over what the timer asked for, syncs of %u ms\n",
                  s.what, n_turns, p99_ms, delay_ms);
    assert_true(s.passed);
    life_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_syncs),
        cmocka_unit_test(test_full_disk_for_a_while),
        cmocka_unit_test(test_slow_syncs_keep_the_loop_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
