/* A spool in a folder of its own, a loop, and a clock set by hand. */
#ifndef TEST_SPOOL_FIXTURE_H
#define TEST_SPOOL_FIXTURE_H

#include "../lib/moved.h"
#include "../../src/spool/format.h"
#include "../../src/spool/io.h"
#include "souk/core/log.h"
#include "souk/spool.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* Wants setjmp.h and stdarg.h before it. */
#include <cmocka.h>

#define SEGMENT_BYTES (64u << 10)

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool_options options;
    struct spool_io io;
    struct spool *spool;
    size_t n_synced, n_failed; /* Callbacks. */
    int last_status;
    uint64_t last_lsn; /* Of the last callback, which must grow. */
    bool closed;
};

static inline int setup_in(void **state, const char *base) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "%.40s/souk_spool_XXXXXX", base);
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(metrics__init(&f->metrics), 0);
    f->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1000 * NS_PER_S};
    f->options = (struct spool_options){
        .dir = f->dir, .segment_bytes = SEGMENT_BYTES, .quota_bytes = 64 * SEGMENT_BYTES};
    f->io = spool_io_system;
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    *state = f;
    return 0;
}

static inline int fixture_setup(void **state) { return setup_in(state, "/tmp"); }

/* In memory where there is such a folder: hundreds of openings whose syncs tell nothing. */
static inline int fixture_setup_ram(void **state) {
    return setup_in(state, access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
}

static inline void remove_files(const char *dir) {
    char path[PATH_MAX + 300];
    DIR *d = opendir(dir);
    if (d == NULL) return;
    for (struct dirent *x; (x = readdir(d)) != NULL;) {
        if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%.*s/%s", PATH_MAX, dir, x->d_name);
        if (x->d_type == DT_DIR) remove_files(path);
        else unlink(path);
    }
    closedir(d);
    rmdir(dir);
}

static inline void on_test_closed(void *data) { ((struct fixture *)data)->closed = true; }

static inline void close_spool(struct fixture *f) {
    f->closed = false;
    spool__close(f->spool, on_test_closed, f);
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
    f->spool = NULL;
}

static inline int fixture_teardown(void **state) {
    struct fixture *f = *state;
    if (f->spool != NULL) close_spool(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    remove_files(f->dir);
    free(f);
    return 0;
}

static inline void open_spool(struct fixture *f) {
    struct err e = {0};
    if (spool__open_io(&f->spool, &f->loop, &f->clock, &f->metrics, &f->options, &f->io, &e) != 0)
        fail_msg("%s", e.msg);
    f->last_lsn = 0;
}

static inline void on_test_synced(void *data, uint64_t lsn, int status) {
    struct fixture *f = data;
    assert_true(lsn > f->last_lsn);
    f->last_lsn = lsn;
    f->last_status = status;
    if (status == 0) f->n_synced++;
    else f->n_failed++;
}

/* A record of @len bytes that all follow from @n, so that readers can check it. */
static inline uint64_t append_n(struct fixture *f, enum spool_type type, uint32_t n, size_t len) {
    struct err e = {0};
    char *bytes = malloc(len + 1);
    for (size_t i = 0; i < len; i++) bytes[i] = (char)(n * 31 + i);
    /* In two parts, which must come back as one. */
    struct slice parts[] = {slice__of(bytes, len / 3), slice__of(bytes + len / 3, len - len / 3)};
    uint64_t lsn = spool__append(f->spool, type, n, parts, 2, on_test_synced, f, &e);
    free(bytes);
    return lsn;
}

static inline void check_record(const struct spool_record *r) {
    for (size_t i = 0; i < r->payload.len; i++)
        if (r->payload.base[i] != (char)(r->source * 31 + i)) fail_msg("byte %zu differs", i);
}

static inline struct spool_status status_of(const struct fixture *f) {
    struct spool_status st;
    spool__status(f->spool, &st);
    return st;
}

/* Runs the loop until all that was appended is synced. */
static inline void run_until_synced(struct fixture *f) {
    while (status_of(f).synced_lsn < status_of(f).end_lsn && !status_of(f).failed)
        uv_run(&f->loop, UV_RUN_ONCE);
}

/* Reads all there is. Counts records of type PAGE; marks them in @seen (by source, may be NULL). */
static inline size_t read_pages(struct fixture *f, unsigned char *seen, size_t n_seen,
                                size_t *n_corrupt) {
    struct spool_reader r;
    struct spool_record rec;
    struct err e = {0};
    size_t n = 0;
    int rc;
    uint64_t at = 0;
    if (n_corrupt != NULL) *n_corrupt = 0;
    spool_reader__init(&r, f->spool, status_of(f).first_lsn);
    while ((rc = spool_reader__next(&r, UINT64_MAX, &rec, &e)) != 0) {
        assert_true(r.at > at); /* It always moves on. */
        at = r.at;
        if (rc == ERR_CORRUPT && n_corrupt != NULL) {
            ++*n_corrupt;
            continue;
        }
        if (rc != 1) fail_msg("%s", e.msg);
        if (rec.type != SPOOL_PAGE) continue;
        check_record(&rec);
        n++;
        if (seen != NULL && rec.source < n_seen) seen[rec.source]++;
    }
    spool_reader__fini(&r);
    return n;
}

static inline void segment_path(const struct fixture *f, uint64_t number, char *out, size_t size) {
    snprintf(out, size, "%s/%016" PRIu64 ".wal", f->dir, number);
}

static inline off_t file_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static inline void flip_bit(const char *path, off_t at, unsigned bit) {
    unsigned char c;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    c ^= (unsigned char)(1u << bit);
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

/* A small generator, so that a seed gives the same test everywhere. */
static inline uint64_t next_random(uint64_t *x) {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

#endif
