/* Opening a spool whose files a crash, a disk or a person has damaged. */
#include "../../src/spool/crc32c.h"
#include "test_spool_fixture.h"

#define N_PAGES 300u
#define N_FILES 64u

/* The files of a spool in memory, to start each round from the same state. */
struct snapshot {
    struct {
        uint64_t number;
        size_t size;
        unsigned char *bytes;
    } files[N_FILES];
    size_t n;
};

static void take_snapshot(const struct fixture *f, struct snapshot *s) {
    char path[128];
    *s = (struct snapshot){0};
    for (uint64_t number = 1; number < N_FILES; number++) {
        segment_path(f, number, path, sizeof path);
        int fd = open(path, O_RDONLY);
        if (fd < 0) continue;
        size_t size = (size_t)file_size(path);
        s->files[s->n].bytes = malloc(size);
        s->files[s->n].number = number;
        s->files[s->n].size = size;
        assert_int_equal(read(fd, s->files[s->n++].bytes, size), size);
        close(fd);
    }
}

static void restore_snapshot(const struct fixture *f, const struct snapshot *s) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", f->dir);
    remove_files(path);
    assert_int_equal(mkdir(f->dir, 0700), 0);
    for (size_t i = 0; i < s->n; i++) {
        segment_path(f, s->files[i].number, path, sizeof path);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_int_equal(write(fd, s->files[i].bytes, s->files[i].size), s->files[i].size);
        close(fd);
    }
}

static void free_snapshot(struct snapshot *s) {
    for (size_t i = 0; i < s->n; i++) free(s->files[i].bytes);
}

/* N_PAGES pages in many segments, as a crash leaves them: no STOP. */
static void make_pages(struct fixture *f, struct snapshot *s, uint64_t lsn[N_PAGES]) {
    open_spool(f);
    for (uint32_t i = 0; i < N_PAGES; i++) {
        lsn[i] = append_n(f, SPOOL_PAGE, i, 900 + i % 200);
        if (i % 50 == 49) run_until_synced(f);
    }
    take_snapshot(f, s);
    close_spool(f);
    restore_snapshot(f, s);
}

static uint64_t extent_of(uint32_t i) { return record__extent(900 + i % 200); }

/* Opens, expects the pages of which @lost says no, closes; then again without any new damage. */
static void check_pages(struct fixture *f, const unsigned char *lost, uint64_t corrupt_bytes,
                        uint64_t torn_bytes, uint32_t n_missing) {
    for (int round = 0; round < 2; round++) {
        unsigned char seen[N_PAGES] = {0};
        open_spool(f);
        struct spool_status st = status_of(f);
        assert_int_equal(st.corrupt_bytes, round == 0 ? corrupt_bytes : 0);
        assert_int_equal(st.torn_bytes, round == 0 ? torn_bytes : 0);
        assert_int_equal(st.n_missing, round == 0 ? n_missing : 0);
        assert_int_equal(st.was_clean, round == 1);
        read_pages(f, seen, N_PAGES, NULL);
        for (size_t i = 0; i < N_PAGES; i++)
            if (seen[i] != !lost[i]) fail_msg("page %zu was read %d times", i, seen[i]);
        /* It can be written to, and what is written is found, at a place of its own. */
        assert_true(append_n(f, SPOOL_PAGE, 5000, 10) >= st.end_lsn);
        close_spool(f);
    }
}

static void lose_segment(const struct fixture *f, const uint64_t lsn[N_PAGES], uint64_t number,
                         unsigned char *lost) {
    (void)f;
    for (size_t i = 0; i < N_PAGES; i++)
        if (lsn[i] / SEGMENT_BYTES == number) lost[i] = 1;
}

static void test_crash_between_groups_loses_nothing(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    uint64_t lsn[N_PAGES];
    make_pages(f, &s, lsn);
    check_pages(f, (unsigned char[N_PAGES]){0}, 0, 0, 0);
    free_snapshot(&s);
}

static void test_torn_tail_is_cut_off_at_every_byte(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    char path[128];
    open_spool(f);
    append_n(f, SPOOL_PAGE, 1, 50);
    uint64_t last = append_n(f, SPOOL_PAGE, 2, 301) % SEGMENT_BYTES;
    run_until_synced(f);
    take_snapshot(f, &s);
    close_spool(f);
    segment_path(f, 1, path, sizeof path);
    uint64_t extent = record__extent(301);
    for (uint64_t cut = 0; cut <= extent; cut++) {
        for (int garbage = 0; garbage < 2; garbage++) {
            restore_snapshot(f, &s);
            unsigned char rest[400];
            memset(rest, garbage ? 0xa5 : 0, sizeof rest);
            int fd = open(path, O_WRONLY);
            assert_true(pwrite(fd, rest, extent - cut, (off_t)(last + cut)) >= 0);
            close(fd);
            open_spool(f);
            /* Bytes 302 to 304 of the payload are its padding, zeros anyway. */
            bool whole = cut >= (garbage ? extent : RECORD_HEADER + 301);
            assert_int_equal(read_pages(f, NULL, 0, NULL), whole ? 2 : 1);
            struct spool_status st = status_of(f);
            assert_int_equal(st.corrupt_bytes, 0);
            uint64_t torn = garbage ? extent : cut; /* Up to the last byte that is not zero. */
            while (!garbage && torn > 0 && s.files[0].bytes[last + torn - 1] == 0) torn--;
            assert_int_equal(st.torn_bytes, whole ? 0 : (torn + 7) & ~7ull);
            assert_int_equal(st.end_lsn % SEGMENT_BYTES, whole ? last + extent : last);
            append_n(f, SPOOL_PAGE, 3, 40);
            run_until_synced(f);
            assert_int_equal(read_pages(f, NULL, 0, NULL), whole ? 3 : 2);
            close_spool(f);
        }
    }
    free_snapshot(&s);
}

static void test_flipped_bits_cost_their_record_alone(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    uint64_t lsn[N_PAGES], x = 88172645463325252u;
    char path[128];
    make_pages(f, &s, lsn);
    uint64_t closed = lsn[N_PAGES - 1] / SEGMENT_BYTES - 1; /* Segments 1 to this are closed. */
    assert_true(closed >= 4);
    for (int round = 0; round < 50; round++) {
        unsigned char lost[N_PAGES] = {0}, lost_end[N_FILES] = {0};
        uint64_t corrupt = 0;
        restore_snapshot(f, &s);
        for (int flip = 0; flip < 20; flip++) {
            uint64_t number = 1 + next_random(&x) % closed;
            segment_path(f, number, path, sizeof path);
            uint64_t size = (uint64_t)file_size(path) - SEGMENT_HEADER;
            uint64_t at = SEGMENT_HEADER + next_random(&x) % size, hit = N_PAGES;
            for (uint64_t i = 0; i < N_PAGES; i++)
                if (lsn[i] <= number * SEGMENT_BYTES + at &&
                    number * SEGMENT_BYTES + at < lsn[i] + extent_of((uint32_t)i))
                    hit = i;
            if (hit < N_PAGES ? lost[hit] : lost_end[number]) continue; /* Flips must not undo. */
            flip_bit(path, (off_t)at, (unsigned)(next_random(&x) % 8));
            if (hit < N_PAGES) lost[hit] = 1;
            else lost_end[number] = 1;
            corrupt += hit < N_PAGES ? extent_of((uint32_t)hit) : END_EXTENT;
        }
        check_pages(f, lost, corrupt, 0, 0);
    }
    free_snapshot(&s);
}

static void test_damaged_headers_are_mended(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    uint64_t lsn[N_PAGES];
    char path[128];
    make_pages(f, &s, lsn);
    /* One copy in every segment, the newest too; then both in one. */
    for (size_t i = 0; i < s.n; i++) {
        segment_path(f, s.files[i].number, path, sizeof path);
        flip_bit(path, i % 2 == 0 ? 20 : SEGMENT_HEADER_COPY + 30, 1);
    }
    check_pages(f, (unsigned char[N_PAGES]){0}, 0, 0, 0);
    restore_snapshot(f, &s);
    segment_path(f, 2, path, sizeof path);
    flip_bit(path, 3, 1);
    flip_bit(path, SEGMENT_HEADER_COPY + 3, 1);
    check_pages(f, (unsigned char[N_PAGES]){0}, 0, 0, 0);
    free_snapshot(&s);
}

static void test_zeroed_range_is_set_aside_with_a_copy(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    uint64_t lsn[N_PAGES];
    unsigned char lost[N_PAGES] = {0};
    char path[128], zeros[3000] = {0};
    struct stat st;
    make_pages(f, &s, lsn);
    segment_path(f, 2, path, sizeof path);
    size_t first = 0;
    while (lsn[first] / SEGMENT_BYTES < 2) first++;
    int fd = open(path, O_WRONLY);
    assert_true(pwrite(fd, zeros, sizeof zeros, (off_t)(lsn[first + 5] % SEGMENT_BYTES)) > 0);
    close(fd);
    uint64_t corrupt = 0;
    for (size_t i = first + 5; lsn[i] < lsn[first + 5] + sizeof zeros; i++)
        lost[i] = 1, corrupt += extent_of((uint32_t)i);
    check_pages(f, lost, corrupt, 0, 0);
    snprintf(path, sizeof path, "%s/bad/0000000000000002.ranges0", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_size > corrupt);
    free_snapshot(&s);
}

static void test_truncated_zeroed_and_deleted_segments(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    uint64_t lsn[N_PAGES];
    char path[128];
    make_pages(f, &s, lsn);
    size_t first = 0, last = N_PAGES - 1;
    while (lsn[first] / SEGMENT_BYTES < 2) first++;
    segment_path(f, 2, path, sizeof path);

    { /* Cut between two records. */
        unsigned char lost[N_PAGES] = {0};
        lose_segment(f, lsn, 2, lost);
        for (size_t i = first; i < first + 10; i++) lost[i] = 0;
        assert_int_equal(truncate(path, (off_t)(lsn[first + 10] % SEGMENT_BYTES)), 0);
        check_pages(f, lost, 0, 0, 1);
    }
    { /* Cut inside a record: what is left of it is damage. */
        unsigned char lost[N_PAGES] = {0};
        restore_snapshot(f, &s);
        lose_segment(f, lsn, 2, lost);
        for (size_t i = first; i < first + 10; i++) lost[i] = 0;
        assert_int_equal(truncate(path, (off_t)(lsn[first + 10] % SEGMENT_BYTES) + 104), 0);
        check_pages(f, lost, 104, 0, 0);
    }
    { /* Nothing left of it. */
        unsigned char lost[N_PAGES] = {0};
        restore_snapshot(f, &s);
        lose_segment(f, lsn, 2, lost);
        assert_int_equal(truncate(path, 0), 0);
        check_pages(f, lost, 0, 0, 1);
    }
    { /* All zeros. */
        unsigned char lost[N_PAGES] = {0};
        restore_snapshot(f, &s);
        lose_segment(f, lsn, 2, lost);
        off_t size = file_size(path);
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(truncate(path, size), 0);
        check_pages(f, lost, (uint64_t)size, 0, 1);
    }
    { /* Gone, two of them. */
        unsigned char lost[N_PAGES] = {0};
        restore_snapshot(f, &s);
        lose_segment(f, lsn, 2, lost);
        lose_segment(f, lsn, 3, lost);
        unlink(path);
        segment_path(f, 3, path, sizeof path);
        unlink(path);
        check_pages(f, lost, 0, 0, 2);
    }
    { /* The newest: gone while the empty one above it stands; then all zeros. */
        unsigned char lost[N_PAGES] = {0};
        restore_snapshot(f, &s);
        lose_segment(f, lsn, lsn[last] / SEGMENT_BYTES, lost);
        segment_path(f, lsn[last] / SEGMENT_BYTES, path, sizeof path);
        assert_int_equal(s.files[s.n - 1].number, lsn[last] / SEGMENT_BYTES + 1);
        unlink(path);
        check_pages(f, lost, 0, 0, 1);
        restore_snapshot(f, &s);
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(truncate(path, SEGMENT_BYTES), 0);
        check_pages(f, lost, SEGMENT_BYTES, 0, 1);
    }
    free_snapshot(&s);
}

/* What lies below the low-water mark goes by itself, and says nothing. What it does not lie below is
 * missed, until a mark says that nobody waits for it. */
static void test_the_oldest_segment_is_missed_where_it_was_not_retired(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    struct err e;
    uint64_t lsn[N_PAGES];
    char path[128];
    make_pages(f, &s, lsn);
    segment_path(f, 1, path, sizeof path);
    unlink(path);
    open_spool(f);
    assert_int_equal(status_of(f).n_missing, 1);
    const struct series *missed =
        metrics__counter(&f->metrics, "souk_wal_missing_segments_total", "", "%s", "");
    assert_int_equal(missed->value, 1);
    assert_true(spool__checkpoint(f->spool, status_of(f).low_water_lsn, SLICE_LIT("x"), &e) > 0);
    run_until_synced(f);
    close_spool(f);
    open_spool(f);
    assert_int_equal(status_of(f).n_missing, 0);
    uint64_t mark = status_of(f).low_water_lsn;
    assert_int_equal(mark / SEGMENT_BYTES, 2);
    close_spool(f);
    segment_path(f, 2, path, sizeof path); /* That of the mark itself, and the next. */
    unlink(path);
    segment_path(f, 3, path, sizeof path);
    unlink(path);
    open_spool(f);
    assert_int_equal(status_of(f).n_missing, 2);
    assert_true(spool__checkpoint(f->spool, lsn[N_PAGES - 1], SLICE_LIT("x"), &e) > 0);
    run_until_synced(f);
    close_spool(f);
    open_spool(f);
    assert_int_equal(status_of(f).n_missing, 0);
    close_spool(f);
    free_snapshot(&s);
}

static void copy_file(const struct snapshot *s, uint64_t from, const char *to) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->files[i].number != from) continue;
        int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(fd, s->files[i].bytes, s->files[i].size), s->files[i].size);
        close(fd);
    }
}

static void test_duplicated_and_swapped_segments(void **state) {
    struct fixture *f = *state;
    struct snapshot s;
    uint64_t lsn[N_PAGES];
    char path[128], other[128];
    make_pages(f, &s, lsn);
    /* Two that changed places get their own back. */
    segment_path(f, 2, path, sizeof path);
    segment_path(f, 3, other, sizeof other);
    copy_file(&s, 2, other);
    copy_file(&s, 3, path);
    check_pages(f, (unsigned char[N_PAGES]){0}, 0, 0, 0);
    { /* A copy over another one costs that one. */
        unsigned char lost[N_PAGES] = {0};
        restore_snapshot(f, &s);
        lose_segment(f, lsn, 3, lost);
        copy_file(&s, 2, other);
        check_pages(f, lost, 0, 0, 1);
    }
    { /* A copy above all: appending goes on above it, once. */
        restore_snapshot(f, &s);
        segment_path(f, 40, path, sizeof path);
        copy_file(&s, 2, path);
        check_pages(f, (unsigned char[N_PAGES]){0}, 0, 0, 1);
    }
    free_snapshot(&s);
}

/* Fills a spool, keeps it as @strange, and fills another one in its place. */
static void make_two_spools(struct fixture *f, struct snapshot *strange, uint64_t *other_lsn,
                            struct snapshot *s, uint64_t *lsn) {
    make_pages(f, strange, other_lsn);
    remove_files(f->dir);
    assert_int_equal(mkdir(f->dir, 0700), 0);
    make_pages(f, s, lsn);
}

static void test_strangers_and_odd_names_are_left_out(void **state) {
    struct fixture *f = *state;
    struct snapshot s, strange;
    uint64_t lsn[N_PAGES], other_lsn[N_PAGES];
    char path[128];
    make_two_spools(f, &strange, other_lsn, &s, lsn);
    restore_snapshot(f, &s);
    static const char *const names[] = {"9999999999999999.wal", "0000000000000000.wal", "12.wal",
                                        "0000000000000099.tmp", "core"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        copy_file(&strange, 1, path);
    }
    check_pages(f, (unsigned char[N_PAGES]){0}, 0, 0, 0);
    /* A segment of another spool, in place of one of ours. */
    unsigned char lost[N_PAGES] = {0};
    restore_snapshot(f, &s);
    lose_segment(f, lsn, 2, lost);
    segment_path(f, 2, path, sizeof path);
    copy_file(&strange, 2, path);
    check_pages(f, lost, (uint64_t)strange.files[1].size, 0, 1);
    free_snapshot(&s);
    free_snapshot(&strange);
}

static void test_stale_bytes_are_no_records(void **state) {
    struct fixture *f = *state;
    struct snapshot s, strange;
    uint64_t lsn[N_PAGES], other_lsn[N_PAGES];
    char path[128];
    make_two_spools(f, &strange, other_lsn, &s, lsn);
    uint64_t newest = lsn[N_PAGES - 1] / SEGMENT_BYTES;
    uint64_t end = lsn[N_PAGES - 1] % SEGMENT_BYTES + extent_of(N_PAGES - 1);
    segment_path(f, newest, path, sizeof path);
    for (int round = 0; round < 2; round++) {
        restore_snapshot(f, &s);
        /* Whole records: of an older segment of ours, or of another spool's same segment. */
        const unsigned char *bytes = round == 0 ? s.files[1].bytes : strange.files[1].bytes;
        size_t from = round == 0 ? SEGMENT_HEADER : (size_t)end, len = SEGMENT_BYTES / 8;
        uint64_t number = round == 0 ? newest : 2;
        assert_true(end + len < SEGMENT_BYTES);
        unsigned char lost[N_PAGES] = {0};
        if (number == newest) {
            int fd = open(path, O_WRONLY);
            assert_int_equal(pwrite(fd, bytes + from, len, (off_t)end), len);
            close(fd);
            open_spool(f);
            assert_in_range(status_of(f).torn_bytes, len - 8, len);
            assert_int_equal(status_of(f).end_lsn, newest * SEGMENT_BYTES + end);
        } else {
            /* Over records of ours at the very same places. */
            char closed[128];
            segment_path(f, 2, closed, sizeof closed);
            size_t first = 0;
            while (lsn[first] / SEGMENT_BYTES < 2) first++;
            assert_int_equal(lsn[first], other_lsn[first]);
            int fd = open(closed, O_WRONLY);
            uint64_t at = lsn[first] % SEGMENT_BYTES, n = extent_of((uint32_t)first);
            assert_int_equal(pwrite(fd, bytes + at, n, (off_t)at), n);
            close(fd);
            lost[first] = 1;
            open_spool(f);
            assert_int_equal(status_of(f).corrupt_bytes, n);
        }
        unsigned char seen[N_PAGES] = {0};
        read_pages(f, seen, N_PAGES, NULL);
        for (size_t i = 0; i < N_PAGES; i++) assert_int_equal(seen[i], !lost[i]);
        close_spool(f);
    }
    free_snapshot(&s);
    free_snapshot(&strange);
}

static void test_damage_while_open_is_told_and_passed(void **state) {
    struct fixture *f = *state;
    size_t n_corrupt;
    char path[128];
    open_spool(f);
    for (uint32_t i = 0; i < 200; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    segment_path(f, 2, path, sizeof path);
    flip_bit(path, 10000, 0);
    assert_int_equal(read_pages(f, NULL, 0, &n_corrupt), 199);
    assert_int_equal(n_corrupt, 1);
    unlink(path);
    assert_in_range(read_pages(f, NULL, 0, &n_corrupt), 120, 160);
    assert_int_equal(n_corrupt, 0);
}

static void test_other_versions_are_refused(void **state) {
    struct fixture *f = *state;
    unsigned char page[SEGMENT_HEADER];
    struct spool_form form = {.segment_bytes = SEGMENT_BYTES};
    struct err e = {0};
    char path[128];
    form__init(&form, (const unsigned char *)"0123456789abcdef", SEGMENT_BYTES);
    segment_header__encode(&form, 1, 0, page);
    for (unsigned copy = 0; copy <= SEGMENT_HEADER_COPY; copy += SEGMENT_HEADER_COPY) {
        put_le(page + copy + 8, 2, 4);
        put_le(page + copy + 72, crc32c__update(0, page + copy, 72), 4);
    }
    segment_path(f, 1, path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, page, sizeof page), sizeof page);
    close(fd);
    assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &f->options, &e),
                     ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "version 2"));
    assert_true(file_size(path) == SEGMENT_HEADER); /* Left as it is. */
}

/* A FIFO in the place of a file would keep the start waiting for ever, without a word. */
static void test_what_is_no_file_is_refused_by_name(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    char paths[2][128];
    alarm(120); /* Without the mend it hangs. */
    open_spool(f);
    append_n(f, SPOOL_PAGE, 3, 100);
    run_until_synced(f);
    close_spool(f);
    segment_path(f, 1, paths[0], sizeof paths[0]);
    snprintf(paths[1], sizeof paths[1], "%s/lock", f->dir);
    for (size_t i = 0; i < 2; i++) {
        char aside[160];
        snprintf(aside, sizeof aside, "%s.aside", paths[i]);
        assert_int_equal(rename(paths[i], aside), 0);
        assert_int_equal(mkfifo(paths[i], 0600), 0);
        int code = spool__open_io(&f->spool, &f->loop, &f->clock, &f->metrics, &f->options, &f->io, &e);
        assert_true(code == ERR_IO || code == ERR_CREATE);
        assert_non_null(strstr(e.msg, "it is no regular file"));
        assert_int_equal(rename(aside, paths[i]), 0);
    }
    alarm(0);
    open_spool(f); /* And goes on when it is there again. */
    assert_int_equal(status_of(f).corrupt_bytes, 0);
    close_spool(f);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup_ram, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_crash_between_groups_loses_nothing),
        T(test_torn_tail_is_cut_off_at_every_byte),
        T(test_flipped_bits_cost_their_record_alone),
        T(test_damaged_headers_are_mended),
        T(test_zeroed_range_is_set_aside_with_a_copy),
        T(test_truncated_zeroed_and_deleted_segments),
        T(test_the_oldest_segment_is_missed_where_it_was_not_retired),
        T(test_duplicated_and_swapped_segments),
        T(test_strangers_and_odd_names_are_left_out),
        T(test_stale_bytes_are_no_records),
        T(test_damage_while_open_is_told_and_passed),
        T(test_other_versions_are_refused),
        T(test_what_is_no_file_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
