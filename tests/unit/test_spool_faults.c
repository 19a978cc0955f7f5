/* Disks that fail or are full while the spool writes. */
#include "test_spool_fixture.h"
#include <stdatomic.h>

/* What the next calls of the pool's threads return. */
struct faults {
    atomic_int sync_ok, n_sync_fails; /* Calls that pass first; calls that then fail. */
    atomic_int sync_errno;
    atomic_int n_write_fails, write_errno;
    atomic_int full;        /* No room for new segments; for writes too with 2. */
    atomic_int n_short;     /* Writes that take one byte less than half. */
    _Atomic ino_t poisoned; /* The file whose sync failed. */
    atomic_int n_poisoned_syncs;
    atomic_int n_syncs;
};

static ssize_t faulty_pwrite(void *data, int fd, const void *bytes, size_t len, off_t offset) {
    struct faults *x = data;
    if (atomic_load(&x->full) == 2) {
        errno = ENOSPC;
        return -1;
    }
    if (atomic_load(&x->n_write_fails) > 0) {
        atomic_fetch_sub(&x->n_write_fails, 1);
        errno = atomic_load(&x->write_errno);
        return -1;
    }
    if (atomic_load(&x->n_short) > 0 && len > 4) {
        atomic_fetch_sub(&x->n_short, 1);
        len = len / 2 - 1;
    }
    return pwrite(fd, bytes, len, offset);
}

static int faulty_fdatasync(void *data, int fd) {
    struct faults *x = data;
    atomic_fetch_add(&x->n_syncs, 1);
    struct stat st;
    if (fstat(fd, &st) != 0) return -1;
    if (st.st_ino == atomic_load(&x->poisoned)) atomic_fetch_add(&x->n_poisoned_syncs, 1);
    if (atomic_load(&x->sync_ok) > 0) atomic_fetch_sub(&x->sync_ok, 1);
    else if (atomic_load(&x->n_sync_fails) > 0) {
        atomic_fetch_sub(&x->n_sync_fails, 1);
        atomic_store(&x->poisoned, st.st_ino);
        errno = atomic_load(&x->sync_errno);
        return -1;
    }
    return fdatasync(fd);
}

static int faulty_fallocate(void *data, int fd, off_t len) {
    struct faults *x = data;
    if (atomic_load(&x->full) > 0) {
        errno = ENOSPC;
        return -1;
    }
    return fallocate(fd, 0, 0, len);
}

static void open_faulty(struct fixture *f, struct faults *x) {
    atomic_store(&x->sync_errno, EIO);
    atomic_store(&x->write_errno, EIO);
    f->io = spool_io_system;
    f->io.data = x;
    f->io.pwrite = faulty_pwrite;
    f->io.fdatasync = faulty_fdatasync;
    f->io.fallocate = faulty_fallocate;
    open_spool(f);
    /* Let the next segment be made, so that what fails below is what is meant. */
    while (uv_loop_alive(&f->loop)) uv_run(&f->loop, UV_RUN_ONCE);
}

static double errors(struct fixture *f, const char *op, const char *name) {
    return metrics__counter(&f->metrics, "souk_wal_errors_total", "", "op=\"%s\",errno=\"%s\"", op,
                            name)
        ->value;
}

static void check_all_there(struct fixture *f, size_t n) {
    unsigned char seen[1000] = {0};
    assert_int_equal(read_pages(f, seen, sizeof seen, NULL), n);
    for (size_t i = 0; i < n; i++) assert_int_equal(seen[i], 1);
}

static void test_failed_sync_is_not_tried_again_on_its_descriptor(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    struct spool_reader r;
    struct spool_record rec;
    char kept[128];
    open_faulty(f, &x);
    uint64_t first = append_n(f, SPOOL_PAGE, 0, 1000);
    run_until_synced(f);
    spool_reader__init(&r, f->spool, first); /* Has the old file open. */
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 1);
    atomic_store(&x.n_sync_fails, 1);
    uint64_t lsn = append_n(f, SPOOL_PAGE, 1, 1000);
    run_until_synced(f);
    assert_int_equal(f->n_synced, 2);
    assert_int_equal(f->last_lsn, lsn); /* It kept its place. */
    assert_int_equal(spool_reader__next(&r, UINT64_MAX, &rec, NULL), 1);
    assert_int_equal(rec.lsn, lsn);
    check_record(&rec);
    spool_reader__fini(&r);
    assert_int_equal(errors(f, "sync", "EIO"), 1);
    for (uint32_t i = 2; i < 200; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    assert_int_equal(atomic_load(&x.n_poisoned_syncs), 0);
    check_all_there(f, 200);
    snprintf(kept, sizeof kept, "%s/bad/0000000000000001.wal.eio0", f->dir);
    assert_true(file_size(kept) > 0);
    /* Later, once more: that is a first failure again. */
    atomic_store(&x.n_sync_fails, 1);
    append_n(f, SPOOL_PAGE, 200, 1000);
    run_until_synced(f);
    assert_false(status_of(f).failed);
    close_spool(f);
    open_spool(f);
    assert_true(status_of(f).was_clean);
    assert_int_equal(status_of(f).n_missing, 0);
    check_all_there(f, 201);
}

static void test_second_failure_in_a_row_stops_the_spool(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    struct err e = {0};
    open_faulty(f, &x);
    append_n(f, SPOOL_PAGE, 0, 1000);
    run_until_synced(f);
    atomic_store(&x.n_sync_fails, 2);
    append_n(f, SPOOL_PAGE, 1, 1000);
    append_n(f, SPOOL_PAGE, 2, 1000);
    run_until_synced(f);
    assert_true(status_of(f).failed);
    assert_int_equal(f->n_failed, 2);
    assert_int_equal(f->last_status, ERR_IO);
    assert_int_equal(spool__append(f->spool, SPOOL_ACK, 0, NULL, 0, NULL, NULL, &e), 0);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 1); /* What was synced can be read. */
    assert_int_equal(errors(f, "rewrite", "EIO"), 1);
    close_spool(f);
    open_spool(f);
    assert_false(status_of(f).was_clean);
    assert_true(read_pages(f, NULL, 0, NULL) >= 1);
    assert_int_equal(status_of(f).corrupt_bytes, 0);
}

static void test_failed_write_is_rewritten_too(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    open_faulty(f, &x);
    for (uint32_t i = 0; i < 100; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    atomic_store(&x.n_write_fails, 1);
    for (uint32_t i = 100; i < 200; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    assert_int_equal(f->n_synced, 200);
    check_all_there(f, 200);
}

static void test_failure_over_a_segment_border(void **state) {
    struct fixture *f = *state;
    /* Each sync of a group that spans segments fails once, in its own run. */
    for (int at = 0; at < 6; at++) {
        static struct faults x; /* Teardown closes the spool, which still calls it. */
        memset(&x, 0, sizeof x);
        f->n_synced = 0;
        open_faulty(f, &x);
        atomic_store(&x.sync_ok, at);
        atomic_store(&x.n_sync_fails, 1);
        for (uint32_t i = 0; i < 200; i++) append_n(f, SPOOL_PAGE, i, 1000);
        run_until_synced(f);
        assert_false(status_of(f).failed);
        assert_int_equal(f->n_synced, 200);
        check_all_there(f, 200);
        close_spool(f);
        open_spool(f);
        assert_int_equal(status_of(f).corrupt_bytes + status_of(f).n_missing, 0);
        check_all_there(f, 200);
        close_spool(f);
        remove_files(f->dir);
        assert_int_equal(mkdir(f->dir, 0700), 0);
    }
}

static void test_short_writes_are_finished(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    open_faulty(f, &x);
    atomic_store(&x.n_short, 30);
    for (uint32_t i = 0; i < 100; i++) append_n(f, SPOOL_PAGE, i, 1000);
    run_until_synced(f);
    check_all_there(f, 100);
}

static void test_full_disk_pauses_pages_and_goes_on(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    struct err e = {0};
    open_faulty(f, &x);
    atomic_store(&x.full, 1);
    uint32_t n = 0;
    /* The segment that is reserved fills; then pages are refused. */
    while (n < 500 && append_n(f, SPOOL_PAGE, n, 1000) != 0) {
        n++;
        run_until_synced(f);
        for (int i = 0; i < 3; i++) uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_in_range(n, 50, 130);
    assert_true(status_of(f).full);
    assert_true(errors(f, "create", "ENOSPC") > 0);
    /* Acknowledgements find room in what is set aside. */
    for (uint32_t i = 0; i < 10; i++) assert_true(append_n(f, SPOOL_ACK, i, 100) != 0);
    run_until_synced(f);
    assert_false(status_of(f).failed);
    /* More of them than fit wait in memory, for the disk. */
    size_t before = f->n_synced;
    for (uint32_t i = 0; i < 200; i++) assert_true(append_n(f, SPOOL_ACK, i, 1000) != 0);
    for (int i = 0; i < 20; i++) uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(status_of(f).synced_lsn < status_of(f).end_lsn);
    /* Each try is a new one; what waits has waited since the first. */
    f->clock.mono_ns += 60 * NS_PER_S;
    for (int i = 0; i < 20; i++) uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(status_of(f).unsynced_ns >= 60 * NS_PER_S);
    atomic_store(&x.full, 0);
    run_until_synced(f);
    while (status_of(f).unsynced_ns != 0) uv_run(&f->loop, UV_RUN_ONCE);
    while (status_of(f).full) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->n_synced, before + 200);
    assert_int_equal(f->n_failed, 0);
    assert_true(spool__append(f->spool, SPOOL_PAGE, 0, NULL, 0, NULL, NULL, &e) != 0);
    close_spool(f);
    open_spool(f);
    assert_true(status_of(f).was_clean);
    assert_int_equal(read_pages(f, NULL, 0, NULL), n + 1);
}

static void test_closing_on_a_full_disk_cancels(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    open_faulty(f, &x);
    append_n(f, SPOOL_PAGE, 0, 1000);
    run_until_synced(f);
    atomic_store(&x.full, 2);
    append_n(f, SPOOL_PAGE, 1, 1000);
    for (int i = 0; i < 4; i++) uv_run(&f->loop, UV_RUN_ONCE);
    close_spool(f);
    assert_int_equal(f->n_synced, 1);
    assert_int_equal(f->n_failed, 1);
    assert_int_equal(f->last_status, ERR_CANCELED);
    atomic_store(&x.full, 0);
    open_spool(f);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 1);
}

static void test_full_disk_at_a_rewrite_waits(void **state) {
    struct fixture *f = *state;
    static struct faults x; /* Teardown closes the spool, which still calls it. */
    memset(&x, 0, sizeof x);
    open_faulty(f, &x);
    append_n(f, SPOOL_PAGE, 0, 1000);
    run_until_synced(f);
    atomic_store(&x.full, 1);
    atomic_store(&x.n_sync_fails, 1);
    append_n(f, SPOOL_PAGE, 1, 1000);
    while (atomic_load(&x.n_sync_fails) > 0) uv_run(&f->loop, UV_RUN_ONCE);
    while (!status_of(f).full) uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->n_synced, 1);
    atomic_store(&x.full, 0);
    run_until_synced(f);
    assert_int_equal(f->n_synced, 2);
    assert_int_equal(atomic_load(&x.n_poisoned_syncs), 0);
    check_all_there(f, 2);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_failed_sync_is_not_tried_again_on_its_descriptor),
        T(test_second_failure_in_a_row_stops_the_spool),
        T(test_failed_write_is_rewritten_too),
        T(test_failure_over_a_segment_border),
        T(test_short_writes_are_finished),
        T(test_full_disk_pauses_pages_and_goes_on),
        T(test_closing_on_a_full_disk_cancels),
        T(test_full_disk_at_a_rewrite_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
