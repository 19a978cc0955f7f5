/* Cases 6, 7, 8 and 64 for the spool: what disks, people and other versions leave in its folder.
 * The spool opens or refuses with a clear line; what was not hit is delivered, once; what was is
 * counted to the byte. Each kind of damage alone is in tests/unit/test_spool_recover.c. */
#include "../../src/spool/crc32c.h"
#include "../lib/score.h"
#include "../unit/test_spool_fixture.h"

#define PAGES_MAX 30000u

static uint64_t lsn_of[PAGES_MAX];
static unsigned char seen[PAGES_MAX], hit[PAGES_MAX];

static uint64_t extent_of(uint32_t i) { return record__extent(500 + i % 700); }

static void copy_segment(const char *from, const char *to) {
    static char bytes[SEGMENT_BYTES];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n = read(in, bytes, sizeof bytes);
    assert_true(n >= 0);
    assert_int_equal(write(out, bytes, (size_t)n), n);
    close(in);
    close(out);
}

/* @n pages in many segments, without STOP: as if the process had gone in the middle. The newest
 * segment is put back as it was before closing. */
static void fill(struct fixture *f, uint32_t n) {
    char tail[128], kept[160];
    f->options.quota_bytes = 1u << 30;
    open_spool(f);
    for (uint32_t i = 0; i < n; i++) {
        lsn_of[i] = append_n(f, SPOOL_PAGE, i, 500 + i % 700);
        if (i % 500 == 499) run_until_synced(f);
    }
    run_until_synced(f);
    segment_path(f, lsn_of[n - 1] / SEGMENT_BYTES, tail, sizeof tail);
    snprintf(kept, sizeof kept, "%s.kept", tail);
    copy_segment(tail, kept);
    uint64_t end_lsn = status_of(f).end_lsn;
    close_spool(f);
    /* STOP has room behind the last page, so no segment came after it. */
    assert_true(end_lsn % SEGMENT_BYTES + 2 * END_EXTENT < SEGMENT_BYTES);
    assert_int_equal(rename(kept, tail), 0);
}

/* Opens, counts pages that are lost without being hit, or come twice; closes. */
static struct spool_status open_and_count(struct fixture *f, uint32_t n, struct score *s) {
    memset(seen, 0, sizeof seen);
    int64_t start_ns = clock__stopwatch_ns();
    open_spool(f);
    double took_s = (double)(clock__stopwatch_ns() - start_ns) / (double)NS_PER_S;
    if (took_s > s->recovery_s) s->recovery_s = took_s;
    struct spool_status st = status_of(f);
    read_pages(f, seen, n, NULL);
    for (uint32_t i = 0; i < n; i++) {
        s->lost += seen[i] == 0 && !hit[i];
        s->twice += seen[i] > 1;
        s->rows += seen[i];
    }
    close_spool(f);
    return st;
}

static void check_quiet(const struct spool_status *st) {
    assert_true(st->was_clean);
    assert_int_equal(st->corrupt_bytes + st->torn_bytes, 0);
    /* A start that is gone is told of until a low-water mark lies above it: here is none. */
    assert_int_equal(st->n_missing, st->first_lsn / SEGMENT_BYTES - 1);
}

static void write_score(struct score *s) {
    s->passed = s->lost == 0 && s->twice == 0 && s->recovery_s < 5;
    score__write(s);
    print_message("%s: %" PRIu64 " times, %" PRIu64 " pages read, %" PRIu64 " lost, %" PRIu64
                  " twice, opening took at most %.3f s\n",
                  s->what, s->seeds, s->rows, s->lost, s->twice, s->recovery_s);
    assert_true(s->passed);
}

static void test_flipped_bits_are_counted_to_the_byte(void **state) {
    struct fixture *f = *state;
    uint32_t n_flips = (uint32_t)score__times(250, 1000), n = n_flips * 20;
    struct score s = {.case_number = 6, .what = "bits flipped in closed segments", .seeds = n_flips};
    uint64_t x = 88172645463325252u, corrupt = 0;
    char path[128];
    memset(hit, 0, sizeof hit);
    fill(f, n);
    uint64_t tail = lsn_of[n - 1] / SEGMENT_BYTES;
    for (uint32_t left = n_flips; left > 0;) {
        uint32_t i = (uint32_t)(next_random(&x) % n);
        if (hit[i] || lsn_of[i] / SEGMENT_BYTES >= tail) continue; /* A place is hit once. */
        hit[i] = 1;
        left--;
        corrupt += extent_of(i);
        segment_path(f, lsn_of[i] / SEGMENT_BYTES, path, sizeof path);
        flip_bit(path, (off_t)(lsn_of[i] % SEGMENT_BYTES + next_random(&x) % extent_of(i)),
                 (unsigned)(next_random(&x) % 8));
    }
    struct spool_status st = open_and_count(f, n, &s);
    assert_int_equal(st.corrupt_bytes, corrupt);
    assert_int_equal(st.torn_bytes + st.n_missing, 0);
    for (uint32_t i = 0; i < n; i++) assert_int_equal(seen[i], !hit[i]);
    st = open_and_count(f, n, &s);
    check_quiet(&st);
    write_score(&s);
}

enum misuse { CUT_SHORT, ZERO, DELETE, DUPLICATE, SWAP, MISUSE_N };

static void hit_segment(uint32_t n, uint64_t segment) {
    for (uint32_t i = 0; i < n; i++)
        if (lsn_of[i] / SEGMENT_BYTES == segment) hit[i] = 1;
}

static void misuse(struct fixture *f, enum misuse how, uint32_t n, uint64_t n_segments,
                   uint64_t *x) {
    char path[128], other[128], third[160];
    uint64_t a = 1 + next_random(x) % n_segments, b = 1 + next_random(x) % n_segments;
    segment_path(f, a, path, sizeof path);
    segment_path(f, b, other, sizeof other);
    off_t size = file_size(path);
    switch (how) {
    case CUT_SHORT: {
        off_t cut = (off_t)(next_random(x) % (uint64_t)(size + 1));
        for (uint32_t i = 0; i < n; i++)
            if (lsn_of[i] / SEGMENT_BYTES == a &&
                lsn_of[i] % SEGMENT_BYTES + extent_of(i) > (uint64_t)cut)
                hit[i] = 1;
        assert_int_equal(truncate(path, cut), 0);
        return;
    }
    case ZERO:
        hit_segment(n, a);
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(truncate(path, size), 0);
        return;
    case DELETE:
        hit_segment(n, a);
        assert_int_equal(unlink(path), 0);
        return;
    case DUPLICATE: /* Over another, and above all. */
        if (a != b) {
            hit_segment(n, b);
            copy_segment(path, other);
        }
        segment_path(f, n_segments + 5, third, sizeof third);
        copy_segment(path, third);
        return;
    case SWAP:
        snprintf(third, sizeof third, "%s.swap", path);
        assert_int_equal(rename(path, third), 0);
        if (a != b) assert_int_equal(rename(other, path), 0);
        assert_int_equal(rename(third, a != b ? other : path), 0);
        return;
    case MISUSE_N: break;
    }
}

static void test_misused_segments(void **state) {
    struct fixture *f = *state;
    uint32_t n = 400;
    struct score s = {.case_number = 7,
                      .what = "segments cut, zeroed, deleted, duplicated, swapped",
                      .seeds = score__times(60, 1000)};
    uint64_t x = 2463534242u;
    for (uint64_t i = 0; i < s.seeds; i++) {
        memset(hit, 0, sizeof hit);
        fill(f, n);
        misuse(f, (enum misuse)(i % MISUSE_N), n, lsn_of[n - 1] / SEGMENT_BYTES, &x);
        open_and_count(f, n, &s);
        struct spool_status st = open_and_count(f, n, &s);
        check_quiet(&st);
        remove_files(f->dir);
        assert_int_equal(mkdir(f->dir, 0700), 0);
    }
    write_score(&s);
}

static void test_stale_bytes_are_never_records(void **state) {
    struct fixture *f = *state;
    uint32_t n = 300;
    struct score s = {.case_number = 8,
                      .what = "bytes of older segments and of another spool in reserved space",
                      .seeds = score__times(40, 500)};
    static char bytes[SEGMENT_BYTES], stranger[SEGMENT_BYTES];
    char path[128];
    uint64_t x = 88172645463325252u;
    memset(hit, 0, sizeof hit);
    fill(f, n);
    segment_path(f, 2, path, sizeof path);
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, stranger, sizeof stranger) > 0);
    close(fd);
    for (uint64_t round = 0; round < s.seeds; round++) {
        remove_files(f->dir);
        assert_int_equal(mkdir(f->dir, 0700), 0);
        fill(f, n);
        uint64_t tail = lsn_of[n - 1] / SEGMENT_BYTES;
        uint64_t end = lsn_of[n - 1] % SEGMENT_BYTES + extent_of(n - 1);
        segment_path(f, 1 + next_random(&x) % (tail - 1), path, sizeof path);
        fd = open(path, O_RDONLY);
        assert_true(read(fd, bytes, sizeof bytes) > 0);
        close(fd);
        /* At the very place that they were written for, or at any other. */
        const char *from = round % 2 == 0 ? bytes : stranger;
        uint64_t at = round % 3 == 0 ? end : SEGMENT_HEADER + (next_random(&x) % 20000 & ~7ull);
        size_t len = (size_t)(SEGMENT_BYTES - (at > end ? at : end));
        segment_path(f, tail, path, sizeof path);
        fd = open(path, O_WRONLY);
        assert_true(pwrite(fd, from + at, len, (off_t)end) > 0);
        close(fd);
        struct spool_status st = open_and_count(f, n, &s);
        assert_int_equal(st.end_lsn, tail * SEGMENT_BYTES + end);
        assert_int_equal(st.corrupt_bytes, 0);
    }
    write_score(&s);
}

/* Makes @path's header one of format @version. */
static void set_version(const char *path, uint32_t version) {
    unsigned char page[SEGMENT_HEADER];
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, page, sizeof page, 0), sizeof page);
    for (unsigned copy = 0; copy <= SEGMENT_HEADER_COPY; copy += SEGMENT_HEADER_COPY) {
        put_le(page + copy + 8, version, 4);
        put_le(page + copy + 72, crc32c__update(0, page + copy, 72), 4);
    }
    assert_int_equal(pwrite(fd, page, sizeof page, 0), sizeof page);
    close(fd);
}

static void test_other_versions_are_refused_and_left_alone(void **state) {
    struct fixture *f = *state;
    uint32_t n = 300;
    struct score s = {.case_number = 64,
                      .what = "spool of an older and of a newer format, and back"};
    char path[128], want[64];
    memset(hit, 0, sizeof hit);
    fill(f, n);
    uint64_t tail = lsn_of[n - 1] / SEGMENT_BYTES;
    for (uint32_t version = 0; version <= FORMAT_VERSION + 1; version += 2) {
        /* The newest segment alone, as after an upgrade; then all. */
        for (int all = 0; all < 2; all++) {
            struct err e = {0};
            for (uint64_t i = all ? 1 : tail; i <= tail; i++) {
                segment_path(f, i, path, sizeof path);
                set_version(path, version);
            }
            assert_int_equal(spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &f->options,
                                         &e),
                             ERR_CORRUPT);
            snprintf(want, sizeof want, "has format version %u, this souk reads %u", version,
                     FORMAT_VERSION);
            assert_non_null(strstr(e.msg, want));
            for (uint64_t i = all ? 1 : tail; i <= tail; i++) {
                segment_path(f, i, path, sizeof path);
                set_version(path, FORMAT_VERSION);
            }
            s.seeds++;
        }
    }
    /* Back at its own version nothing is missing: refusing has changed nothing. */
    struct spool_status st = open_and_count(f, n, &s);
    assert_int_equal(st.corrupt_bytes + st.torn_bytes + st.n_missing, 0);
    write_score(&s);
}

static void on_nothing(void *data, uint64_t lsn, int status) { (void)data, (void)lsn, (void)status; }

/* Records of kinds that only a later souk writes are passed on as they are, and harm nothing. */
static void test_unknown_records_are_passed(void **state) {
    struct fixture *f = *state;
    struct score s = {.case_number = 64, .what = "records of unknown types", .seeds = 1};
    struct slice part = SLICE_LIT("from the future");
    memset(hit, 0, sizeof hit);
    open_spool(f);
    for (uint32_t i = 0; i < 100; i++) {
        append_n(f, SPOOL_PAGE, i, 500 + i % 700);
        struct err e = {0};
        assert_true(spool__append(f->spool, (enum spool_type)(200 + i), i, &part, 1, on_nothing,
                                  NULL, &e) != 0);
    }
    close_spool(f);
    struct spool_status st = open_and_count(f, 100, &s);
    check_quiet(&st);
    write_score(&s);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup_ram, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_flipped_bits_are_counted_to_the_byte),
        T(test_misused_segments),
        T(test_stale_bytes_are_never_records),
        T(test_other_versions_are_refused_and_left_alone),
        T(test_unknown_records_are_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
