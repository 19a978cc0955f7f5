/* What is done on the thread pool beside the groups: the next segment is made before it is needed,
 * acknowledged ones are taken away, and the reserve is kept. One chore is in flight at a time. A
 * full disk is found here first, while the segment at hand still has room for acknowledgements. */
#include "souk/core/log.h"
#include "spool_internal.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Above this part of the quota, retention gives way: it must not stop the intake. */
#define PRESSURE_NUM 3u
#define PRESSURE_DEN 4u

void spool__measure_disk(struct spool *s) {
    struct statvfs st;
    if (fstatvfs(s->dir_fd, &st) == 0)
        atomic_store(&s->disk_free_bytes, (uint64_t)st.f_bavail * st.f_frsize);
}

static void run_chore(uv_work_t *work) {
    struct spool *s = work->data;
    struct chore *c = &s->chore;
    for (; c->n_retired < c->n_retire; c->n_retired++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(c->retire[c->n_retired], ".wal", name);
        if (s->io->unlink(s->io->data, s->dir_fd, name) == 0 || errno == ENOENT) continue;
        c->retire_err = -errno;
        break;
    }
    /* Room is made first: what was just freed may hold the new segment. */
    if (c->n_retired > 0 && s->io->sync_dir(s->io->data, s->dir_fd) != 0) c->retire_err = -errno;
    if (c->create != 0)
        c->create_err = segment__create(&s->form, s->io, s->dir_fd, c->create, c->wall_ns);
    if (c->create_err == -EEXIST) c->create_err = 0;
    if (c->reserve && c->create_err == 0) {
        c->reserve_err = reserve__create(&s->form, s->io, s->dir_fd);
        /* A job that ran into a full disk meanwhile may have taken it at once. */
        if (c->reserve_err == 0 && !reserve__exists(s->dir_fd)) c->reserve_err = -ENOENT;
    }
    if (c->peek_lsn != 0 && read_wall_ns(&s->form, s->dir_fd, c->peek_lsn, &c->peeked_wall_ns) != 0)
        c->peeked_wall_ns = 0;
    spool__measure_disk(s);
}

static void forget_retired(struct spool *s) {
    size_t n = s->chore.n_retired;
    if (n == 0) return;
    for (size_t i = 0; i < n; i++) s->bytes -= s->segments[i].bytes;
    memmove(s->segments, s->segments + n, (s->n_segments - n) * sizeof *s->segments);
    s->n_segments -= n;
    LOG_INFO("spool", "segments retired", LOG_I("count", n), LOG_I("left", s->n_segments));
}

static void on_chore_timer(uv_timer_t *timer) { spool__start_chore(timer->data); }

static void on_chore_done(uv_work_t *work, int status) {
    struct spool *s = work->data;
    struct chore *c = &s->chore;
    (void)status;
    c->busy = false;
    forget_retired(s);
    if (s->quota_full && s->bytes < s->quota_bytes / 100 * 95) s->quota_full = false;
    if (c->peek_lsn != 0 && c->peek_lsn == s->low_water_lsn && s->oldest_wall_ns != 0 &&
        c->peeked_wall_ns != 0)
        s->oldest_wall_ns = c->peeked_wall_ns;
    if (c->retire_err != 0) spool__count_error(s, OP_RETIRE, c->retire_err);
    if (c->create != 0 && c->create_err == 0) {
        s->last_file = c->create;
        if (!s->retrying) s->disk_full = false;
    } else if (c->create_err != 0) {
        spool__count_error(s, OP_CREATE, c->create_err);
        bool full = c->create_err == -ENOSPC || c->create_err == -EDQUOT;
        if (!s->disk_full)
            LOG_WARN("spool", "next segment not made", LOG_S("why", strerror(-c->create_err)));
        if (full) s->disk_full = true;
    }
    if (c->reserve && c->create_err == 0) {
        s->has_reserve = c->reserve_err == 0;
        if (!s->has_reserve) s->reserve_at_mono_ns = s->clock->mono_ns + RESERVE_RETRY_NS;
    }
    bool again = c->create_err != 0 || c->retire_err != 0;
    if (again && !s->closing) uv_timer_start(&s->chore_timer, on_chore_timer, CHORE_RETRY_MS, 0);
    else if (!again) spool__start_chore(s);
    spool__pump(s);
    spool__update_metrics(s);
    spool__finish_close(s);
}

/* Picks acknowledged segments, oldest first, that need not be kept. */
static void pick_retired(struct spool *s, struct chore *c) {
    uint64_t lsn = s->keep_lsn < s->low_water_lsn ? s->keep_lsn : s->low_water_lsn;
    uint64_t low = form__segment(&s->form, lsn);
    uint64_t synced = form__segment(&s->form, atomic_load(&s->synced_lsn)), bytes = s->bytes;
    for (size_t i = 0; i + 1 < s->n_segments && c->n_retire < RETIRE_MAX; i++) {
        const struct segment *g = &s->segments[i];
        if (g->number >= low || g->number >= synced) return;
        bool pressed = s->quota_full || bytes > s->quota_bytes / PRESSURE_DEN * PRESSURE_NUM;
        if (!pressed && s->clock->wall_ns - g->last_wall_ns < s->retain_ns) return;
        c->retire[c->n_retire++] = g->number;
        bytes -= g->bytes;
    }
}

void spool__start_chore(struct spool *s) {
    struct chore *c = &s->chore;
    if (c->busy || s->closing || s->failed) return;
    if (uv_is_active((uv_handle_t *)&s->chore_timer)) return; /* Something failed: not before it. */
    c->n_retire = c->n_retired = 0;
    c->create_err = c->retire_err = c->reserve_err = 0;
    /* Not while a job may be making the same one. */
    bool behind = s->last_file <= spool__last_segment(s)->number;
    c->create = behind && !s->busy ? s->last_file + 1 : 0;
    /* Pages come before it, and a job may be about to take it. */
    c->reserve =
        !s->has_reserve && !s->disk_full && !s->busy && s->clock->mono_ns >= s->reserve_at_mono_ns;
    pick_retired(s, c);
    c->peek_lsn = s->peek_wanted ? s->low_water_lsn : 0;
    if (c->create == 0 && c->n_retire == 0 && c->peek_lsn == 0 && !c->reserve) return;
    s->peek_wanted = false;
    c->wall_ns = s->clock->wall_ns;
    c->busy = true;
    c->work.data = s;
    int rc = uv_queue_work(s->loop, &c->work, run_chore, on_chore_done);
    assert(rc == 0);
}
