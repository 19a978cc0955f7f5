/* Opening, releasing and describing a spool. */
#include "souk/core/file.h"
#include "souk/core/log.h"
#include "spool_internal.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES_SCALE 1e6 /* Buckets of groups: 1 KB to 300 MB. */

/* The folder cannot be had, which is another thing than a disk that fails. */
static int fail(struct err *e, const char *what, const char *dir) {
    return err__setf(e, ERR_CREATE, "spool: %s %s: %s", what, dir, file__strerror(errno));
}

/* mkdir -p. */
static int make_dirs(const char *dir, struct err *e) {
    char path[4096];
    size_t len = strlen(dir);
    if (len == 0 || len >= sizeof path)
        return err__setf(e, ERR_CONFIG, "spool: the folder's name has %zu bytes", len);
    memcpy(path, dir, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        path[i] = '\0';
        if (mkdir(path, 0750) != 0 && errno != EEXIST) return fail(e, "make folder", path);
        path[i] = dir[i];
    }
    return 0;
}

/* Locks the file @fd. @return 0, ERR_LOCKED with the holder's pid, or ERR_CREATE. */
static int lock_file(int fd, int how, const char *dir, struct err *e) {
    char text[32] = {0};
    if (flock(fd, how | LOCK_NB) == 0) return 0;
    if (errno != EWOULDBLOCK) return fail(e, "lock", dir);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    return err__setf(e, ERR_LOCKED, "spool: %s is held by pid %ld", dir, pid);
}

int spool__check_lock(const char *dir, struct err *e) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/lock", dir) >= sizeof path) return 0;
    int fd = file__open(AT_FDCWD, path, O_RDONLY);
    if (fd < 0) return 0; /* Nobody was ever here. */
    int rc = lock_file(fd, LOCK_SH, dir, e);
    close(fd);
    return rc == ERR_LOCKED ? rc : 0;
}

static int take_lock(struct spool *s, const char *dir, struct err *e) {
    char text[32];
    s->lock_fd = file__open(s->dir_fd, "lock", O_RDWR | O_CREAT);
    if (s->lock_fd < 0) return fail(e, "open lock of", dir);
    int rc = lock_file(s->lock_fd, LOCK_EX, dir, e);
    if (rc != 0) return rc;
    /* The lock is what counts; the pid in the file is for whoever is refused, and a full disk must
     * not keep us from starting. */
    int n = snprintf(text, sizeof text, "%-20ld\n", (long)getpid());
    if (pwrite(s->lock_fd, text, (size_t)n, 0) != n)
        LOG_WARN("spool", "pid not written into the lock", LOG_S("why", strerror(errno)));
    return 0;
}

static int open_dirs(struct spool *s, const char *dir, struct err *e) {
    int rc = make_dirs(dir, e);
    if (rc != 0) return rc;
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) return fail(e, "open folder", dir);
    /* Root may write where the mode says no, but not on a read-only file system. */
    if (faccessat(s->dir_fd, ".", W_OK | X_OK, 0) != 0) return fail(e, "write in folder", dir);
    rc = take_lock(s, dir, e);
    if (rc != 0) return rc;
    if (mkdirat(s->dir_fd, "bad", 0750) != 0 && errno != EEXIST)
        return fail(e, "make bad/ in", dir);
    s->bad_fd = openat(s->dir_fd, "bad", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->bad_fd < 0 ? fail(e, "open bad/ in", dir) : 0;
}

static void init_metrics(struct spool_metrics *x, struct metrics *m) {
    static const char *const ops[OP__N] = {"create", "write", "sync", "rewrite", "retire"};
    static const char *const errnos[ERRNO__N] = {"EIO", "ENOSPC", "other"};
    x->append_bytes =
        metrics__counter(m, "souk_wal_append_bytes_total", "Bytes appended.", "%s", "");
    x->sync_seconds =
        metrics__histogram(m, "souk_wal_sync_seconds", "Writing and syncing one group.", "%s", "");
    x->group_bytes = metrics__histogram_scaled(m, "souk_wal_group_bytes", "Bytes of one group.",
                                               BYTES_SCALE, "%s", "");
    x->size = metrics__gauge(m, "souk_wal_size_bytes", "Bytes of all segments.", "%s", "");
#define REFUSED(what)                                                                              \
    metrics__counter(m, "souk_wal_refused_total", "Appends refused as the log or disk is full.",   \
                     "records=\"" what "\"")
    x->refused_data = REFUSED("data");
    x->refused_control = REFUSED("control");
#undef REFUSED
    x->limit = metrics__gauge(m, "souk_wal_limit_bytes", "The quota.", "%s", "");
    x->disk_free =
        metrics__gauge(m, "souk_wal_disk_free_bytes", "Bytes free where the spool is.", "%s", "");
    x->segments = metrics__gauge(m, "souk_wal_segments", "Segments.", "%s", "");
    x->unacked = metrics__gauge(m, "souk_wal_unacked_bytes",
                                "Bytes from the low-water mark to the end.", "%s", "");
    x->oldest_unacked =
        metrics__gauge(m, "souk_wal_oldest_unacked_timestamp_seconds",
                       "When the oldest data that waits came; 0 for none.", "%s", "");
    x->corrupt = metrics__counter(m, "souk_wal_corrupt_bytes_total",
                                  "Damaged bytes set aside by recovery.", "%s", "");
    x->missing = metrics__counter(m, "souk_wal_missing_segments_total",
                                  "Segments that recovery found gone or cut short.", "%s", "");
    x->torn_tails = metrics__counter(m, "souk_wal_torn_tails_total",
                                     "Unfinished writes cut off by recovery.", "%s", "");
    x->recovery_seconds =
        metrics__gauge(m, "souk_wal_recovery_seconds", "How long the last opening took.", "%s", "");
    for (int op = 0; op < OP__N; op++)
        for (int i = 0; i < ERRNO__N; i++)
            x->errors[op][i] =
                metrics__counter(m, "souk_wal_errors_total", "Failed file operations.",
                                 "op=\"%s\",errno=\"%s\"", ops[op], errnos[i]);
}

void spool__count_error(struct spool *s, enum spool_op op, int err) {
    enum errno_label label = err == -EIO ? ERRNO_EIO : err == -ENOSPC ? ERRNO_ENOSPC : ERRNO_OTHER;
    series__inc(s->metrics.errors[op][label]);
}

/* Moves what recovery found into @s. */
static void adopt(struct spool *s, struct recovery *r) {
    s->segments = r->segments;
    s->n_segments = r->n_segments;
    s->segments_cap = r->cap;
    s->checkpoint = r->checkpoint;
    s->has_checkpoint = r->has_checkpoint;
    r->segments = NULL;
    r->checkpoint = (struct buf){0};
    for (size_t i = 0; i < s->n_segments; i++) s->bytes += s->segments[i].bytes;
    s->offset = r->next_offset;
    s->last_file = r->last_file;
    s->was_clean = r->was_clean;
    s->data_end_lsn = r->data_end_lsn;
    s->torn_bytes = r->torn_bytes;
    s->corrupt_bytes = r->corrupt_bytes;
    s->n_missing = r->n_missing;
    uint64_t end = spool__end_lsn(s);
    s->low_water_lsn = r->low_water_lsn < end ? r->low_water_lsn : end;
    atomic_init(&s->synced_lsn, end);
    if (s->data_end_lsn > s->low_water_lsn &&
        read_wall_ns(&s->form, s->dir_fd, s->low_water_lsn, &s->oldest_wall_ns) != 0)
        /* The mark stands at an END or a gap: what waits came when the next record did, at least.
         */
        for (size_t i = 0; i < s->n_segments && s->oldest_wall_ns == 0; i++)
            if (s->segments[i].number >= form__segment(&s->form, s->low_water_lsn))
                s->oldest_wall_ns = s->segments[i].last_wall_ns;
}

int spool__open_io(struct spool **out, uv_loop_t *loop, const struct clock *clock,
                   struct metrics *metrics, const struct spool_options *options,
                   const struct spool_io *io, struct err *e) {
    int64_t start_ns = clock__stopwatch_ns();
    uint64_t segment_bytes = options->segment_bytes == 0 ? SEGMENT_DEFAULT : options->segment_bytes;
    uint64_t quota_bytes = options->quota_bytes == 0 ? QUOTA_DEFAULT : options->quota_bytes;
    *out = NULL;
    if (segment_bytes < SEGMENT_MIN || segment_bytes > UINT32_MAX || segment_bytes % 4096 != 0)
        return err__setf(e, ERR_CONFIG, "spool: segments of %" PRIu64 " bytes", segment_bytes);
    /* The segment that is appended to cannot be retired: a quota of one could stay full for good.
     */
    if (quota_bytes / 2 < segment_bytes)
        return err__setf(e, ERR_CONFIG,
                         "spool: a quota of %" PRIu64 " bytes is less than two segments",
                         quota_bytes);
    struct spool *s = calloc(1, sizeof *s);
    if (s == NULL) return err__setf(e, ERR_NOMEM, "spool: open: out of memory");
    struct recovery r = {0};
    s->loop = loop;
    s->clock = clock;
    s->io = io;
    s->quota_bytes = quota_bytes;
    s->retain_ns = options->retain_ns;
    s->keep_lsn = options->keep_all ? 0 : UINT64_MAX;
    s->form.segment_bytes = segment_bytes;
    s->dir_fd = s->bad_fd = s->lock_fd = -1;
    s->filling = &s->groups[0];
    s->flying = &s->groups[1];
    init_metrics(&s->metrics, metrics);
    int rc = open_dirs(s, options->dir, e);
    if (rc == 0) rc = recover(&r, &s->form, s->io, s->dir_fd, s->bad_fd, e);
    if (rc != 0) {
        recovery__fini(&r);
        spool__free(s);
        return rc;
    }
    adopt(s, &r);
    recovery__fini(&r);
    s->writer = (struct writer){.form = &s->form,
                                .io = io,
                                .generation = &s->generation,
                                .dir_fd = s->dir_fd,
                                .bad_fd = s->bad_fd};
    /* These two fail for a loop that is not one. */
    rc = uv_timer_init(loop, &s->group_timer);
    assert(rc == 0);
    rc = uv_timer_init(loop, &s->chore_timer);
    assert(rc == 0);
    s->group_timer.data = s->chore_timer.data = s;
    s->n_open_timers = 2;
    s->has_reserve = reserve__exists(s->dir_fd);
    series__add(s->metrics.corrupt, (double)s->corrupt_bytes);
    series__add(s->metrics.missing, (double)s->n_missing);
    if (s->torn_bytes > 0) series__inc(s->metrics.torn_tails);
    series__set(s->metrics.recovery_seconds,
                (double)(clock__stopwatch_ns() - start_ns) / (double)NS_PER_S);
    spool__measure_disk(s);
    spool__update_metrics(s);
    spool__start_chore(s);
    *out = s;
    return 0;
}

int spool__open(struct spool **out, uv_loop_t *loop, const struct clock *clock,
                struct metrics *metrics, const struct spool_options *options, struct err *e) {
    return spool__open_io(out, loop, clock, metrics, options, &spool_io_system, e);
}

void spool__free(struct spool *s) {
    writer__close(&s->writer);
    group__fini(&s->groups[0]);
    group__fini(&s->groups[1]);
    buf__fini(&s->checkpoint);
    free(s->segments);
    if (s->bad_fd >= 0) close(s->bad_fd);
    if (s->dir_fd >= 0) close(s->dir_fd);
    if (s->lock_fd >= 0) close(s->lock_fd); /* Last: another may open the spool from here on. */
    free(s);
}

static uint64_t unacked_bytes(const struct spool *s) {
    return s->data_end_lsn <= s->low_water_lsn ? 0 : spool__end_lsn(s) - s->low_water_lsn;
}

void spool__update_metrics(struct spool *s) {
    const struct spool_metrics *m = &s->metrics;
    series__set(m->size, (double)s->bytes);
    series__set(m->limit, (double)s->quota_bytes);
    series__set(m->disk_free, (double)atomic_load(&s->disk_free_bytes));
    series__set(m->segments, (double)s->n_segments);
    series__set(m->unacked, (double)unacked_bytes(s));
    series__set(m->oldest_unacked, (double)s->oldest_wall_ns / (double)NS_PER_S);
}

void spool__status(const struct spool *s, struct spool_status *out) {
    *out = (struct spool_status){
        .bytes = s->bytes,
        .quota_bytes = s->quota_bytes,
        .unacked_bytes = unacked_bytes(s),
        .disk_free_bytes = atomic_load(&s->disk_free_bytes),
        .first_lsn = form__lsn(&s->form, s->segments[0].number, SEGMENT_HEADER),
        .end_lsn = spool__end_lsn(s),
        .synced_lsn = atomic_load(&s->synced_lsn),
        .low_water_lsn = s->low_water_lsn,
        .n_segments = (uint32_t)s->n_segments,
        .n_records = s->n_records,
        .torn_bytes = s->torn_bytes,
        .corrupt_bytes = s->corrupt_bytes,
        .n_missing = s->n_missing,
        .oldest_unacked_wall_ns = s->oldest_wall_ns,
        .was_clean = s->was_clean,
        .full = s->quota_full || s->disk_full,
        .failed = s->failed,
        .unsynced_ns = s->busy || s->retrying ? s->clock->mono_ns - s->flying_mono_ns : 0,
        .has_reserve = s->has_reserve,
    };
}

bool spool__last_checkpoint(const struct spool *s, struct slice *payload) {
    *payload = buf__slice(&s->checkpoint);
    return s->has_checkpoint;
}

bool spool__has_failed(const struct spool *s) { return s->failed; }

const char *spool__store_id(const struct spool *s) { return s->form.id_hex; }
