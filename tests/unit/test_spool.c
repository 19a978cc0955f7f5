/* The spool in good times: order, groups, reading, bounds, quota, retention, lock. */
#include "../../src/spool/crc32c.h"
#include "test_spool_fixture.h"

static void test_crc32c_matches_its_check_value(void **state) {
    (void)state;
    char zeros[32] = {0}, bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i * 7);
    assert_int_equal(crc32c__update(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c__update(0, zeros, sizeof zeros), 0x8a9136aa); /* RFC 3720, B.4. */
    for (size_t n = 0; n < sizeof bytes; n++) {
        uint32_t whole = crc32c__update(0, bytes, n);
        assert_int_equal(crc32c__update_table(0, bytes, n), whole);
        assert_int_equal(crc32c__update(crc32c__update(0, bytes, n / 2), bytes + n / 2, n - n / 2),
                         whole);
    }
}

static void test_records_come_back_after_reopening(void **state) {
    struct fixture *f = *state;
    unsigned char seen[500] = {0};
    char id[33];
    open_spool(f);
    snprintf(id, sizeof id, "%s", spool__store_id(f->spool));
    for (uint32_t i = 0; i < 500; i++) assert_true(append_n(f, SPOOL_PAGE, i, i * 7 % 3000) != 0);
    close_spool(f);
    assert_int_equal(f->n_synced, 500); /* Closing syncs what is pending, and tells. */
    open_spool(f);
    assert_true(status_of(f).was_clean);
    assert_int_equal(status_of(f).torn_bytes + status_of(f).corrupt_bytes, 0);
    assert_int_equal(status_of(f).n_missing, 0);
    assert_true(status_of(f).n_segments > 5);
    assert_string_equal(spool__store_id(f->spool), id);
    assert_int_equal(read_pages(f, seen, sizeof seen, NULL), 500);
    for (size_t i = 0; i < sizeof seen; i++) assert_int_equal(seen[i], 1);
    assert_true(append_n(f, SPOOL_PAGE, 1, 100) != 0);
    run_until_synced(f);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 501);
}

static void test_positions_name_their_records(void **state) {
    struct fixture *f = *state;
    struct spool_reader r;
    struct spool_record rec;
    uint64_t lsn[200];
    open_spool(f);
    for (uint32_t i = 0; i < 200; i++) lsn[i] = append_n(f, SPOOL_SEAL, i, 1000);
    run_until_synced(f);
    for (size_t i = 0; i < 200; i++) {
        spool_reader__init(&r, f->spool, lsn[i]);
        assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 1);
        assert_int_equal(rec.lsn, lsn[i]);
        assert_int_equal(rec.source, i);
        assert_int_equal(rec.type, SPOOL_SEAL);
        assert_int_equal(rec.wall_ns, f->clock.wall_ns);
        assert_int_equal(rec.payload.len, 1000);
        spool_reader__fini(&r);
    }
    spool_reader__fini(&(struct spool_reader){0});
}

static void test_small_appends_share_one_sync(void **state) {
    struct fixture *f = *state;
    f->options.segment_bytes = 1 << 20;
    open_spool(f);
    struct series *group =
        metrics__histogram_scaled(&f->metrics, "souk_wal_group_bytes", "", 1e6, "%s", "");
    for (uint32_t i = 0; i < 1000; i++) append_n(f, SPOOL_PAGE, i, 100);
    run_until_synced(f);
    assert_int_equal(group->count, 1);
    assert_int_equal(f->n_synced, 1000);
    /* 256 KiB go at once; what comes while they fly makes the next group. */
    for (uint32_t i = 0; i < 300; i++) append_n(f, SPOOL_PAGE, i, 1 << 10);
    run_until_synced(f);
    assert_int_equal(group->count, 3);
}

static void test_unsynced_records_are_not_seen(void **state) {
    struct fixture *f = *state;
    struct spool_reader r;
    struct spool_record rec;
    open_spool(f);
    append_n(f, SPOOL_PAGE, 1, 100);
    spool_reader__init(&r, f->spool, status_of(f).first_lsn);
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 0);
    run_until_synced(f);
    assert_int_equal(spool_reader__next(&r, status_of(f).first_lsn, &rec, NULL), 0);
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 1);
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 0);
    /* The same reader follows the log over many segments. */
    for (uint32_t i = 0; i < 300; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 1);
        assert_int_equal(rec.source, i);
        check_record(&rec);
    }
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 0);
    spool_reader__fini(&r);
}

static void test_sizes_are_bounded(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    struct slice big = {.base = NULL, .len = SPOOL_RECORD_MAX + 1};
    open_spool(f);
    assert_int_equal(spool__append(f->spool, SPOOL_ACK, 0, &big, 1, NULL, NULL, &e), 0);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_int_equal(append_n(f, SPOOL_ACK, 1, SEGMENT_BYTES), 0);
    size_t fits = SEGMENT_BYTES - SEGMENT_HEADER - RECORD_HEADER - END_EXTENT;
    assert_true(append_n(f, SPOOL_PAGE, 1, fits) != 0);
    assert_int_equal(append_n(f, SPOOL_PAGE, 1, fits + 1), 0);
    assert_true(append_n(f, SPOOL_PAGE, 2, 0) != 0);
    run_until_synced(f);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 2);
}

static void test_largest_record_comes_back(void **state) {
    struct fixture *f = *state;
    f->options.segment_bytes = f->options.quota_bytes = 0;
    open_spool(f);
    assert_true(append_n(f, SPOOL_PAGE, 7, SPOOL_RECORD_MAX) != 0);
    assert_true(append_n(f, SPOOL_PAGE, 8, SPOOL_RECORD_MAX - 100) != 0);
    /* 64 MiB wait: pages are refused, acknowledgements are not. */
    assert_int_equal(append_n(f, SPOOL_PAGE, 9, 1000), 0);
    assert_true(append_n(f, SPOOL_ACK, 9, 1000) != 0);
    close_spool(f);
    open_spool(f);
    assert_true(status_of(f).was_clean);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 2);
}

static void test_full_quota_refuses_pages_alone_until_there_is_room(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    f->options.quota_bytes = 4 * SEGMENT_BYTES;
    f->options.retain_ns = 3600 * NS_PER_S; /* Gives way. */
    open_spool(f);
    uint32_t n = 0;
    while (append_n(f, SPOOL_PAGE, n, 1000) != 0) {
        n++;
        run_until_synced(f);
    }
    assert_in_range(n, 200, 260);
    assert_true(status_of(f).full);
    assert_int_equal(append_n(f, SPOOL_FRAMES, n, 1000), 0);
    assert_int_equal(append_n(f, SPOOL_REQUEST, n, 10), 0);
    for (uint32_t i = 0; i < 20; i++) assert_true(append_n(f, SPOOL_ACK, i, 1000) != 0);
    run_until_synced(f);
    assert_true(spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("c"), &e) != 0);
    run_until_synced(f);
    while (status_of(f).full) uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(status_of(f).bytes < f->options.quota_bytes * 95 / 100);
    assert_true(append_n(f, SPOOL_PAGE, n, 1000) != 0);
}

static double refused(struct fixture *f, const char *records) {
    return metrics__counter(&f->metrics, "souk_wal_refused_total", "", "records=\"%s\"", records)->value;
}

/* What souk writes about itself while ClickHouse is away for weeks: it stays within the head-room behind the quota, and
 * what frees the log still goes through. */
static void test_an_outage_of_weeks_fills_the_headroom_and_no_more(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    static const enum spool_type endless[] = {SPOOL_ALERT, SPOOL_LIMITS, SPOOL_COMMAND};
    size_t n_kept = 0, n_refused = 0, n_checkpoints = 0;
    f->options.quota_bytes = 4 * SEGMENT_BYTES;
    open_spool(f);
    for (uint32_t n = 0; append_n(f, SPOOL_PAGE, n, 1000) != 0; n++) run_until_synced(f);
    uint64_t most = f->options.quota_bytes + 2 * SEGMENT_BYTES, stored = status_of(f).synced_lsn;
    for (int minute = 0; minute < 21 * 24 * 60; minute += 30) {
        f->clock.mono_ns += 1800 * NS_PER_S;
        f->clock.wall_ns += 1800 * NS_PER_S;
        bool kept = append_n(f, endless[minute / 30 % 3], (uint32_t)minute, 600) != 0;
        n_kept += kept;
        n_refused += !kept;
        n_checkpoints += spool__checkpoint(f->spool, 0, SLICE_LIT("nothing is stored"), &e) != 0;
        run_until_synced(f);
        assert_true(status_of(f).bytes <= most + SEGMENT_BYTES / 16);
    }
    assert_true(n_kept > 100 && n_refused > 100 && n_checkpoints > 100 && n_checkpoints < 900);
    assert_int_equal(e.code, ERR_FULL);
    assert_int_equal(append_n(f, SPOOL_OPS, 0, 10), 0);
    assert_true(refused(f, "control") >= (double)n_refused);
    assert_true(refused(f, "data") >= 2);
    static const enum spool_type needed[] = {SPOOL_SEAL, SPOOL_ACK, SPOOL_RANGE, SPOOL_QUARANTINE};
    for (size_t i = 0; i < 4; i++) assert_true(append_n(f, needed[i], 1, 600) != 0);
    run_until_synced(f);
    assert_true(spool__checkpoint(f->spool, stored, SLICE_LIT("stored"), &e) != 0);
    for (int i = 0; i < 5000 && status_of(f).full; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
    assert_false(status_of(f).full);
    assert_true(append_n(f, SPOOL_ALERT, 1, 600) != 0);
    assert_true(append_n(f, SPOOL_PAGE, 1, 600) != 0);
}

static void test_checkpoint_is_found_and_old_segments_retire(void **state) {
    struct fixture *f = *state;
    struct slice payload;
    f->options.retain_ns = 60 * NS_PER_S;
    open_spool(f);
    assert_false(spool__last_checkpoint(f->spool, &payload));
    for (uint32_t i = 0; i < 300; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    uint64_t first = status_of(f).first_lsn, mark = status_of(f).synced_lsn;
    assert_int_equal(status_of(f).oldest_unacked_wall_ns, f->clock.wall_ns);
    assert_true(spool__checkpoint(f->spool, mark, SLICE_LIT("cursors"), NULL) != 0);
    run_until_synced(f);
    assert_true(spool__last_checkpoint(f->spool, &payload));
    assert_true(slice__eq(payload, SLICE_LIT("cursors")));
    assert_int_equal(status_of(f).low_water_lsn, mark);
    assert_int_equal(status_of(f).unacked_bytes, 0);
    assert_int_equal(status_of(f).oldest_unacked_wall_ns, 0);
    assert_int_equal(status_of(f).first_lsn, first); /* Kept for replay. */
    close_spool(f);

    open_spool(f);
    assert_true(spool__last_checkpoint(f->spool, &payload));
    assert_true(slice__eq(payload, SLICE_LIT("cursors")));
    assert_int_equal(status_of(f).low_water_lsn, mark);
    assert_int_equal(status_of(f).first_lsn, first);
    f->clock.wall_ns += 61 * NS_PER_S;
    append_n(f, SPOOL_PAGE, 1, 100);
    run_until_synced(f);
    assert_int_equal(status_of(f).oldest_unacked_wall_ns, f->clock.wall_ns);
    /* Files of the last run bear the machine's time: set the clock behind it. */
    f->clock.wall_ns = INT64_MAX / 2;
    spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("later"), NULL);
    while (status_of(f).n_segments > 1) uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(status_of(f).first_lsn > first);
    assert_true(status_of(f).bytes <= SEGMENT_BYTES);
    close_spool(f);
    open_spool(f);
    assert_true(spool__last_checkpoint(f->spool, &payload));
    assert_true(slice__eq(payload, SLICE_LIT("later")));
    assert_int_equal(status_of(f).n_missing, 0);
    assert_int_equal(read_pages(f, NULL, 0, NULL) <= 60, 1);
}

static void test_segments_are_kept_for_whoever_reads_on(void **state) {
    struct fixture *f = *state;
    struct spool_record rec;
    struct err e;
    f->options.retain_ns = 0;
    f->options.keep_all = true;
    open_spool(f);
    for (uint32_t i = 0; i < 300; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    uint64_t first = status_of(f).first_lsn, keep = 0;
    f->clock.wall_ns += NS_PER_S;
    assert_true(spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("x"), NULL) != 0);
    run_until_synced(f);
    append_n(f, SPOOL_PAGE, 1, 100);
    run_until_synced(f);
    assert_int_equal(status_of(f).first_lsn, first);
    struct spool_reader r;
    spool_reader__init(&r, f->spool, first); /* A record in the middle. */
    for (int i = 0; i < 150; i++) assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, &e), 1);
    keep = rec.lsn;
    spool_reader__fini(&r);
    spool__keep(f->spool, keep);
    f->clock.wall_ns = INT64_MAX / 2;
    spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("y"), NULL);
    while (status_of(f).first_lsn == first) uv_run(&f->loop, UV_RUN_ONCE);
    run_until_synced(f);
    assert_true(status_of(f).first_lsn <= keep);
    spool_reader__init(&r, f->spool, keep);
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, &e), 1);
    assert_int_equal(rec.lsn, keep);
    spool_reader__fini(&r);
    spool__keep(f->spool, UINT64_MAX);
    spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("z"), NULL);
    while (status_of(f).n_segments > 1) uv_run(&f->loop, UV_RUN_ONCE);
}

/* A full spool takes no pages, and without news nobody writes a checkpoint: what is kept no more goes at once. */
static void test_a_full_spool_has_room_when_nothing_is_kept(void **state) {
    struct fixture *f = *state;
    f->options.quota_bytes = 4 * SEGMENT_BYTES;
    f->options.keep_all = true;
    open_spool(f);
    for (uint32_t n = 0; append_n(f, SPOOL_PAGE, n, 1000) != 0; n++) run_until_synced(f);
    assert_true(spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("c"), NULL) != 0);
    run_until_synced(f);
    for (int i = 0; i < 100; i++) uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_true(status_of(f).full);
    spool__keep(f->spool, status_of(f).synced_lsn);
    for (int i = 0; i < 2000 && status_of(f).full; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
    assert_false(status_of(f).full);
    assert_true(append_n(f, SPOOL_PAGE, 1, 1000) != 0);
}

static void test_segments_below_the_low_water_mark_are_not_read_at_opening(void **state) {
    struct fixture *f = *state;
    char path[128];
    size_t n_corrupt;
    f->options.retain_ns = INT64_MAX / 2;
    open_spool(f);
    for (uint32_t i = 0; i < 300; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    spool__checkpoint(f->spool, status_of(f).synced_lsn, SLICE_LIT("c"), NULL);
    close_spool(f);
    segment_path(f, 1, path, sizeof path);
    flip_bit(path, 8000, 3);
    open_spool(f);
    assert_int_equal(status_of(f).corrupt_bytes, 0);
    /* A replay that comes by is told, and goes on. */
    assert_int_equal(read_pages(f, NULL, 0, &n_corrupt), 299);
    assert_int_equal(n_corrupt, 1);
}

static void test_second_instance_names_the_first(void **state) {
    struct fixture *f = *state;
    char want[64];
    open_spool(f);
    snprintf(want, sizeof want, "held by pid %ld", (long)getpid());
    pid_t pid = fork();
    if (pid == 0) {
        struct spool *other;
        struct err e = {0};
        if (spool__check_lock(f->dir, &e) != ERR_LOCKED || strstr(e.msg, want) == NULL) _exit(2);
        int rc = spool__open(&other, &f->loop, &f->clock, &f->metrics, &f->options, &e);
        _exit(rc == ERR_LOCKED && strstr(e.msg, want) != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close_spool(f);
    assert_int_equal(spool__check_lock(f->dir, NULL), 0);
    assert_int_equal(spool__check_lock("/none/such", NULL), 0);
    open_spool(f);
}

static void test_bad_options_and_folders_are_refused(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    char path[128];
    open_spool(f);
    append_n(f, SPOOL_PAGE, 1, 10);
    close_spool(f);
    struct spool_options o = f->options;
    o.segment_bytes = 2 * SEGMENT_BYTES;
    assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &o, &e), ERR_CONFIG);
    o = f->options;
    o.quota_bytes = SEGMENT_BYTES;
    assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &o, &e), ERR_CONFIG);
    o = f->options;
    o.dir = "/proc/none/spool"; /* Not even root may. */
    assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &o, &e), ERR_CREATE);
    snprintf(path, sizeof path, "%s/lock/spool", f->dir); /* Below a file. */
    o.dir = path;
    assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &o, &e), ERR_CREATE);
    assert_null(f->spool);
    snprintf(path, sizeof path, "%s/a/b/c", f->dir); /* Made. */
    assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &o, &e), 0);
}

static void append_again(void *data, uint64_t lsn, int status) {
    struct fixture *f = data;
    assert_int_equal(status, 0);
    (void)lsn;
    struct err e;
    if (++f->n_synced < 50)
        assert_true(spool__append(f->spool, SPOOL_PAGE, 0, NULL, 0, append_again, f, &e) != 0);
    else spool__close(f->spool, on_test_closed, f);
}

static void test_callbacks_may_append_and_close(void **state) {
    struct fixture *f = *state;
    struct err e;
    open_spool(f);
    assert_true(spool__append(f->spool, SPOOL_PAGE, 0, NULL, 0, append_again, f, &e) != 0);
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->n_synced, 50);
    open_spool(f);
    assert_true(status_of(f).was_clean);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 50);
}

static void test_metrics_are_there_from_the_start(void **state) {
    struct fixture *f = *state;
    struct buf out = buf__init(1 << 20);
    open_spool(f);
    metrics__expose(&f->metrics, &out);
    buf__append(&out, "", 1);
    static const char *const names[] = {"souk_wal_append_bytes_total 0\n",
                                        "souk_wal_limit_bytes 4194304\n",
                                        "souk_wal_segments 1\n",
                                        "souk_wal_torn_tails_total 0\n",
                                        "souk_wal_errors_total{op=\"sync\",errno=\"EIO\"} 0\n",
                                        "souk_wal_sync_seconds_count 0\n"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strstr(out.base, names[i]) == NULL) fail_msg("no %s", names[i]);
    buf__fini(&out);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_matches_its_check_value),
        T(test_records_come_back_after_reopening),
        T(test_positions_name_their_records),
        T(test_small_appends_share_one_sync),
        T(test_unsynced_records_are_not_seen),
        T(test_sizes_are_bounded),
        T(test_largest_record_comes_back),
        T(test_full_quota_refuses_pages_alone_until_there_is_room),
        T(test_an_outage_of_weeks_fills_the_headroom_and_no_more),
        T(test_checkpoint_is_found_and_old_segments_retire),
        T(test_segments_are_kept_for_whoever_reads_on),
        T(test_a_full_spool_has_room_when_nothing_is_kept),
        T(test_segments_below_the_low_water_mark_are_not_read_at_opening),
        T(test_second_instance_names_the_first),
        T(test_bad_options_and_folders_are_refused),
        T(test_callbacks_may_append_and_close),
        T(test_metrics_are_there_from_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
