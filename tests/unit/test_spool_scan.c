/* Reading a spool folder that somebody else owns, or that a crash left behind. */
#include "souk/spool_scan.h"
#include "test_spool_fixture.h"

#define N_PAGES 300u

static struct spool_scan *open_scan(const struct fixture *f, struct spool_scan_info *info) {
    struct spool_scan *s;
    struct err e = {0};
    if (spool_scan__open(&s, f->dir, &e) != 0) fail_msg("%s", e.msg);
    spool_scan__info(s, info);
    return s;
}

/* Reads on to the end. @return how many pages came; damaged ranges are counted and, the last one,
 * kept. */
static size_t scan_pages(struct spool_scan *s, unsigned char *seen, size_t *n_damaged,
                         struct spool_scan_damage *damage) {
    struct spool_record rec;
    struct err e = {0};
    size_t n = 0;
    uint64_t at = 0;
    int rc;
    *n_damaged = 0;
    while ((rc = spool_scan__next(s, &rec, &e)) != 0) {
        if (rc == ERR_CORRUPT) {
            ++*n_damaged;
            assert_true(*n_damaged < 10000);
            spool_scan__damage(s, damage);
            continue;
        }
        if (rc != 1) fail_msg("%s", e.msg);
        assert_true(rec.lsn > at);
        at = rec.lsn;
        if (rec.type != SPOOL_PAGE) continue;
        check_record(&rec);
        if (seen != NULL) seen[rec.source]++;
        n++;
    }
    return n;
}

static void fill(struct fixture *f, uint64_t lsn[N_PAGES]) {
    f->options.retain_ns = INT64_MAX / 2;
    open_spool(f);
    for (uint32_t i = 0; i < N_PAGES; i++) {
        f->clock.wall_ns += NS_PER_S;
        lsn[i] = append_n(f, SPOOL_PAGE, i, 900 + i % 200);
        if (i == 200) {
            run_until_synced(f);
            struct err e;
            assert_true(spool__checkpoint(f->spool, lsn[150], SLICE_LIT("cursors"), &e) != 0);
        }
    }
    run_until_synced(f);
}

static void test_scan_reads_beside_the_owner(void **state) {
    struct fixture *f = *state;
    struct spool_scan_info info;
    struct spool_scan_damage damage;
    uint64_t lsn[N_PAGES];
    unsigned char seen[N_PAGES + 1] = {0};
    size_t n_damaged;
    fill(f, lsn);
    struct spool_status st = status_of(f);
    struct spool_scan *s = open_scan(f, &info);
    assert_string_equal(info.store_id, spool__store_id(f->spool));
    assert_int_equal(info.first_lsn, st.first_lsn);
    assert_int_equal(info.end_lsn, st.end_lsn);
    assert_int_equal(info.low_water_lsn, lsn[150]);
    assert_int_equal(info.n_segments, st.n_segments);
    assert_int_equal(info.segment_bytes, SEGMENT_BYTES);
    assert_true(slice__eq(info.checkpoint, SLICE_LIT("cursors")));
    assert_false(info.was_clean);
    assert_int_equal(info.torn_bytes, 0);
    /* What the owner adds meanwhile is not this scan's. */
    append_n(f, SPOOL_PAGE, N_PAGES, 500);
    run_until_synced(f);
    assert_int_equal(scan_pages(s, seen, &n_damaged, &damage), N_PAGES);
    assert_int_equal(n_damaged, 0);
    for (size_t i = 0; i < N_PAGES; i++) assert_int_equal(seen[i], 1);
    struct spool_record rec;
    assert_int_equal(spool_scan__next(s, &rec, NULL), 0); /* And stays at its end. */
    spool_scan__close(s);
    close_spool(f);
    s = open_scan(f, &info);
    assert_true(info.was_clean);
    assert_int_equal(scan_pages(s, NULL, &n_damaged, &damage), N_PAGES + 1);
    spool_scan__close(s);
    open_spool(f);
    assert_true(status_of(f).was_clean); /* Nothing was changed by looking. */
}

static void test_scan_seeks_positions(void **state) {
    struct fixture *f = *state;
    struct spool_scan_info info;
    struct spool_record rec;
    uint64_t lsn[N_PAGES];
    fill(f, lsn);
    struct spool_scan *s = open_scan(f, &info);
    for (size_t i = N_PAGES; i-- > 0;) {
        /* At a record, and between it and the one before. */
        for (uint64_t back = 0; back <= 8; back += 8) {
            spool_scan__seek(s, lsn[i] - back);
            do assert_int_equal(spool_scan__next(s, &rec, NULL), 1);
            while (rec.type != SPOOL_PAGE);
            assert_int_equal(rec.lsn, lsn[i]);
        }
    }
    spool_scan__seek(s, UINT64_MAX);
    assert_int_equal(spool_scan__next(s, &rec, NULL), 0);
    spool_scan__seek(s, 0);
    assert_int_equal(spool_scan__next(s, &rec, NULL), 1);
    assert_int_equal(rec.lsn, lsn[0]);
    spool_scan__close(s);
}

static void test_scan_names_damage_and_goes_on(void **state) {
    struct fixture *f = *state;
    struct spool_scan_info info;
    struct spool_scan_damage damage;
    uint64_t lsn[N_PAGES];
    char path[128];
    size_t n_damaged, at = 100;
    fill(f, lsn);
    uint64_t segment = lsn[at] / SEGMENT_BYTES, offset = lsn[at] % SEGMENT_BYTES;
    segment_path(f, segment, path, sizeof path);
    flip_bit(path, (off_t)offset + 100, 2);
    struct spool_scan *s = open_scan(f, &info);
    assert_int_equal(scan_pages(s, NULL, &n_damaged, &damage), N_PAGES - 1);
    assert_int_equal(n_damaged, 1);
    assert_int_equal(damage.segment, segment);
    assert_int_equal(damage.from, offset);
    assert_int_equal(damage.to, lsn[at + 1] % SEGMENT_BYTES);
    spool_scan__close(s);
    flip_bit(path, (off_t)offset + 100, 2);

    /* Cut in a record, then gone. */
    size_t n_in = 0, n_left = 0;
    for (size_t i = 0; i < N_PAGES; i++) {
        n_in += lsn[i] / SEGMENT_BYTES == segment;
        n_left += lsn[i] / SEGMENT_BYTES == segment && i < at;
    }
    assert_int_equal(truncate(path, (off_t)offset + 200), 0);
    s = open_scan(f, &info);
    assert_int_equal(scan_pages(s, NULL, &n_damaged, &damage), N_PAGES - n_in + n_left);
    assert_int_equal(n_damaged, 1);
    assert_int_equal(damage.to, offset + 200);
    spool_scan__close(s);
    unlink(path);
    s = open_scan(f, &info);
    assert_int_equal(scan_pages(s, NULL, &n_damaged, &damage), N_PAGES - n_in);
    assert_int_equal(n_damaged, 1);
    assert_int_equal(damage.segment, segment);
    assert_int_equal(damage.to, 0);
    spool_scan__close(s);
}

static void test_scan_ends_before_a_torn_tail(void **state) {
    struct fixture *f = *state;
    struct spool_scan_info info;
    struct spool_scan_damage damage;
    uint64_t lsn[N_PAGES];
    char path[128];
    size_t n_damaged;
    fill(f, lsn);
    uint64_t end = status_of(f).end_lsn;
    segment_path(f, end / SEGMENT_BYTES, path, sizeof path);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "half a record", 13, (off_t)(end % SEGMENT_BYTES)), 13);
    close(fd);
    struct spool_scan *s = open_scan(f, &info);
    assert_int_equal(info.end_lsn, end);
    assert_int_equal(info.torn_bytes, 16);
    assert_int_equal(scan_pages(s, NULL, &n_damaged, &damage), N_PAGES);
    assert_int_equal(n_damaged, 0);
    spool_scan__close(s);
}

static void test_scan_passes_segments_that_go_while_it_reads(void **state) {
    struct fixture *f = *state;
    struct spool_scan_info info;
    struct spool_scan_damage damage;
    uint64_t lsn[N_PAGES];
    char path[128];
    size_t n_damaged, n_in = 0;
    fill(f, lsn);
    struct spool_scan *s = open_scan(f, &info);
    for (uint64_t segment = 1; segment <= 2; segment++) {
        segment_path(f, segment, path, sizeof path);
        unlink(path);
        for (size_t i = 0; i < N_PAGES; i++) n_in += lsn[i] / SEGMENT_BYTES == segment;
    }
    assert_int_equal(scan_pages(s, NULL, &n_damaged, &damage), N_PAGES - n_in);
    assert_int_equal(n_damaged, 0);
    spool_scan__close(s);
}

static void test_scan_of_nothing(void **state) {
    struct fixture *f = *state;
    struct spool_scan_info info;
    struct spool_scan *s;
    struct spool_record rec;
    struct err e = {0};
    s = open_scan(f, &info); /* A folder without a spool. */
    assert_int_equal(info.n_segments + info.n_spares, 0);
    assert_int_equal(info.first_lsn, info.end_lsn);
    spool_scan__seek(s, 12345);
    assert_int_equal(spool_scan__next(s, &rec, &e), 0);
    spool_scan__close(s);
    assert_int_equal(spool_scan__open(&s, "/none/such", &e), ERR_NOT_FOUND);
    assert_int_equal(spool_scan__open(&s, "/dev/null", &e), ERR_IO);
    assert_null(s);
    spool_scan__close(NULL);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup_ram, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_scan_reads_beside_the_owner),
        T(test_scan_seeks_positions),
        T(test_scan_names_damage_and_goes_on),
        T(test_scan_ends_before_a_torn_tail),
        T(test_scan_passes_segments_that_go_while_it_reads),
        T(test_scan_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
