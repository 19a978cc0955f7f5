/* Appending and group commit, on the loop.
 *
 * Records go to the filling group; when it is 256 KiB, or 5 ms have passed since the last one
 * set out, and no job is in flight, it flies: the pool writes and syncs it while the other group
 * fills. Its callbacks run when it has landed, in order of position. A full disk lets it fly again
 * every 250 ms; a failed one ends the spool. */
#include "souk/core/log.h"
#include "spool_internal.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool spool__reserve_segment(struct spool *s) {
    if (s->n_segments < s->segments_cap) return true;
    size_t cap = s->segments_cap == 0 ? 64 : s->segments_cap * 2;
    struct segment *segments = realloc(s->segments, cap * sizeof *segments);
    if (segments == NULL) return false;
    s->segments = segments;
    s->segments_cap = cap;
    return true;
}

static void take_space(struct spool *s, uint64_t extent) {
    s->offset += extent;
    s->bytes += extent;
    spool__last_segment(s)->bytes = s->offset;
    spool__last_segment(s)->last_wall_ns = s->clock->wall_ns;
}

/* Ends the segment that is appended to and goes on in the next. */
static int roll(struct spool *s) {
    uint64_t number = spool__last_segment(s)->number;
    unsigned char next[8];
    put_le(next, number + 1, 8);
    struct slice part = slice__of((const char *)next, sizeof next);
    struct record_header h = {.len = sizeof next,
                              .lsn = spool__end_lsn(s),
                              .type = RECORD_END,
                              .wall_ns = s->clock->wall_ns};
    if (number >= form__segment_max(&s->form)) return ERR_LIMIT;
    if (!spool__reserve_segment(s)) return ERR_NOMEM;
    int rc = group__add(s->filling, &h, number, s->offset, &part, 1, NULL, NULL);
    if (rc != 0) return rc;
    take_space(s, END_EXTENT);
    s->segments[s->n_segments++] = (struct segment){.number = number + 1, .bytes = SEGMENT_HEADER};
    s->bytes += SEGMENT_HEADER;
    s->offset = SEGMENT_HEADER;
    spool__start_chore(s);
    return 0;
}

/* What would be written on and on while nothing is stored. */
static bool is_endless(unsigned type) {
    return type == SPOOL_ALERT || type == SPOOL_COMMAND || type == SPOOL_LIMITS;
}

static int check_headroom(const struct spool *s, uint64_t extent, struct err *e) {
    uint64_t most = s->quota_bytes + HEADROOM_SEGMENTS * s->form.segment_bytes;
    if (s->bytes + extent <= most) return 0;
    series__inc(s->metrics.refused_control);
    return err__setf(e, ERR_FULL,
                     "spool: append %" PRIu64 " bytes: %" PRIu64 " are in use, and the head-room "
                     "behind the quota ends at %" PRIu64,
                     extent, s->bytes, most);
}

static int check_quota(struct spool *s, unsigned type, uint64_t extent, struct err *e) {
    bool data = type_is_data(type);
    uint64_t pending = s->filling->bytes.len + s->flying->bytes.len + extent;
    if (data && s->disk_full)
        return err__setf(e, ERR_FULL, "spool: append %" PRIu64 " bytes: the disk is full", extent);
    if (data && !s->quota_full && s->bytes + extent > s->quota_bytes) {
        s->quota_full = true;
        spool__start_chore(s); /* Acknowledged segments may go. */
    }
    if (data && s->quota_full)
        return err__setf(e, ERR_FULL,
                         "spool: append %" PRIu64 " bytes: %" PRIu64 " of %" PRIu64 " are in use",
                         extent, s->bytes, s->quota_bytes);
    if (is_endless(type) && check_headroom(s, extent, e) != 0) return ERR_FULL;
    if (pending > (data ? PENDING_DATA_MAX : PENDING_MAX))
        return err__setf(e, ERR_FULL,
                         "spool: append %" PRIu64 " bytes: %" PRIu64 " wait for the disk", extent,
                         pending - extent);
    return 0;
}

static int check_room(struct spool *s, unsigned type, uint64_t extent, struct err *e) {
    int rc = check_quota(s, type, extent, e);
    if (rc != 0 && type_is_data(type)) series__inc(s->metrics.refused_data);
    return rc;
}

/* @return the position, or 0 with @e filled. */
static uint64_t append(struct spool *s, unsigned type, uint32_t source, const struct slice *parts,
                       size_t n_parts, spool_synced_cb cb, void *data, struct err *e) {
    uint64_t len = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].len > SPOOL_RECORD_MAX) len = SPOOL_RECORD_MAX;
        len += parts[i].len;
        if (len > SPOOL_RECORD_MAX) break;
    }
    uint64_t extent = record__extent(len);
    if (len > SPOOL_RECORD_MAX || SEGMENT_HEADER + extent + END_EXTENT > s->form.segment_bytes) {
        err__setf(e, ERR_LIMIT, "spool: append: a record of %" PRIu64 " bytes or more is too large",
                  len);
        return 0;
    }
    if (check_room(s, type, extent, e) != 0) return 0;
    int rc = 0;
    if (s->offset + extent + END_EXTENT > s->form.segment_bytes) rc = roll(s);
    struct record_header h = {.len = (uint32_t)len,
                              .lsn = spool__end_lsn(s),
                              .type = (uint16_t)type,
                              .source = source,
                              .wall_ns = s->clock->wall_ns};
    if (rc == 0)
        rc = group__add(s->filling, &h, spool__last_segment(s)->number, s->offset, parts, n_parts,
                        cb, data);
    if (rc != 0) {
        err__setf(e, rc, "spool: append %" PRIu64 " bytes: %s", extent, err__text(rc));
        return 0;
    }
    take_space(s, extent);
    s->n_records++;
    series__add(s->metrics.append_bytes, (double)extent);
    if (type_is_data(type)) {
        s->data_end_lsn = h.lsn + extent;
        if (s->oldest_wall_ns == 0) s->oldest_wall_ns = h.wall_ns;
    }
    spool__pump(s);
    return h.lsn;
}

static int check_open(const struct spool *s, struct err *e) {
    if (s->closing) return err__setf(e, ERR_CLOSED, "spool: append: it is being closed");
    if (s->failed) return err__setf(e, ERR_IO, "spool: append: an earlier write failed for good");
    return 0;
}

uint64_t spool__append(struct spool *s, enum spool_type type, uint32_t source,
                       const struct slice *parts, size_t n_parts, spool_synced_cb cb, void *data,
                       struct err *e) {
    assert((unsigned)type != 0 && (unsigned)type < RECORD_GAP);
    assert(type != SPOOL_CHECKPOINT && type != SPOOL_STOP);
    if (check_open(s, e) != 0) return 0;
    return append(s, (unsigned)type, source, parts, n_parts, cb, data, e);
}

/* What a checkpoint is until it is synced. */
struct checkpoint {
    struct spool *spool;
    uint64_t low_water_lsn;
    struct buf payload; /* Owned. */
};

static void on_checkpoint_synced(void *data, uint64_t lsn, int status) {
    struct checkpoint *c = data;
    struct spool *s = c->spool;
    (void)lsn;
    if (status == 0) {
        buf__fini(&s->checkpoint);
        s->checkpoint = c->payload;
        c->payload = (struct buf){0};
        s->has_checkpoint = true;
        if (c->low_water_lsn > s->low_water_lsn) s->low_water_lsn = c->low_water_lsn;
        /* What is left of the data, if any, is older than what the record says there. */
        if (s->data_end_lsn <= s->low_water_lsn) s->oldest_wall_ns = 0;
        else s->peek_wanted = true;
    }
    buf__fini(&c->payload);
    free(c);
}

void spool__keep(struct spool *s, uint64_t lsn) {
    s->keep_lsn = lsn;
    spool__start_chore(s); /* A full spool takes no record whose sync would do it. */
}

uint64_t spool__checkpoint(struct spool *s, uint64_t low_water_lsn, struct slice payload,
                           struct err *e) {
    unsigned char prefix[8];
    if (check_open(s, e) != 0) return 0;
    assert(low_water_lsn <= atomic_load(&s->synced_lsn));
    if (low_water_lsn <= s->low_water_lsn &&
        check_headroom(s, record__extent(sizeof prefix + payload.len), e) != 0)
        return 0;
    put_le(prefix, low_water_lsn, sizeof prefix);
    struct slice parts[] = {slice__of((const char *)prefix, sizeof prefix), payload};
    struct checkpoint *c = calloc(1, sizeof *c);
    if (c != NULL) *c = (struct checkpoint){s, low_water_lsn, buf__init(SPOOL_RECORD_MAX)};
    if (c == NULL ||
        (payload.len <= SPOOL_RECORD_MAX && !buf__append_slice(&c->payload, payload))) {
        err__setf(e, ERR_NOMEM, "spool: checkpoint: out of memory");
        free(c);
        return 0;
    }
    uint64_t lsn = append(s, SPOOL_CHECKPOINT, 0, parts, 2, on_checkpoint_synced, c, e);
    if (lsn == 0) {
        buf__fini(&c->payload);
        free(c);
    }
    return lsn;
}

static void tell_waiters(struct group *g, int status) {
    /* A callback may append, never to this group: its list stays put. */
    size_t n = g->n_waiters;
    g->n_waiters = 0;
    for (size_t i = 0; i < n; i++) {
        struct waiter w = g->waiters[i];
        w.cb(w.data, w.lsn, status);
    }
    group__clear(g);
}

/* Nobody's record in either group will be synced. */
static void give_up(struct spool *s, int status) {
    s->retrying = false;
    tell_waiters(s->flying, status);
    tell_waiters(s->filling, status);
}

static void on_group_timer(uv_timer_t *timer) {
    struct spool *s = timer->data;
    s->due = true;
    spool__pump(s);
}

static void run_group(uv_work_t *work) {
    struct spool *s = work->data;
    writer__run(&s->writer, s->flying);
    spool__measure_disk(s);
}

static void take_result(struct spool *s) {
    struct group *g = s->flying;
    for (size_t i = 0; i < g->n_faults; i++)
        spool__count_error(s, g->faults[i].op, -g->faults[i].err);
    const char *why = g->n_faults > 0 ? strerror(g->faults[g->n_faults - 1].err) : "";
    if (s->writer.segment > s->last_file) s->last_file = s->writer.segment;
    if (s->writer.took_reserve) {
        LOG_WARN("spool", "disk is full; the reserve was given up");
        s->writer.took_reserve = s->has_reserve = false;
        s->disk_full = true; /* Until the next segment is made ahead again. */
        s->reserve_at_mono_ns = s->clock->mono_ns + RESERVE_RETRY_NS;
    }
    series__observe(s->metrics.sync_seconds, (double)g->took_ns / (double)NS_PER_S);
    if (g->result == GROUP_RETRY) {
        if (!s->disk_full) LOG_WARN("spool", "disk is full; intake pauses", LOG_S("why", why));
        s->disk_full = s->retrying = true;
        if (s->closing) give_up(s, ERR_CANCELED);
        else uv_timer_start(&s->group_timer, on_group_timer, RETRY_MS, 0);
        return;
    }
    if (g->result == GROUP_FAILED) {
        LOG_ERROR("spool", "write failed twice; the spool stops", LOG_S("why", why));
        s->failed = true;
        give_up(s, ERR_IO);
        return;
    }
    if (g->n_faults > 0)
        LOG_WARN("spool", "write failed; segment rewritten", LOG_I("segment", s->writer.segment),
                 LOG_S("why", why));
    if (s->retrying) {
        /* What was set aside ahead may still be missing; the chore finds out. */
        s->disk_full = s->last_file <= spool__last_segment(s)->number;
        s->retrying = false;
    }
    series__observe(s->metrics.group_bytes, (double)g->bytes.len);
    atomic_store(&s->synced_lsn, g->end_lsn);
    tell_waiters(g, 0);
}

static void on_group_done(uv_work_t *work, int status) {
    struct spool *s = work->data;
    (void)status; /* We never cancel it. */
    take_result(s);
    s->busy = false;
    spool__start_chore(s);
    spool__pump(s);
    spool__update_metrics(s);
    spool__finish_close(s);
}

/* Whether a run of @g goes to the segment that the chore is just making. */
static bool needs_chore(const struct spool *s, const struct group *g) {
    return s->chore.busy && s->chore.create != 0 && g->n_runs > 0 &&
           g->runs[g->n_runs - 1].segment >= s->chore.create;
}

/* Groups set out GROUP_WAIT_MS apart, so that many small records cost few syncs. After a pause the
 * first waits for nobody but those of its own turn: a lone page is synced at once. */
static uint64_t group_wait_ms(const struct spool *s) {
    int64_t since_ns = s->clock->mono_ns - s->group_mono_ns;
    if (s->group_mono_ns == 0 || since_ns >= (int64_t)GROUP_WAIT_MS * NS_PER_MS) return 0;
    if (since_ns < 0) return GROUP_WAIT_MS;
    return GROUP_WAIT_MS - (uint64_t)(since_ns / NS_PER_MS);
}

void spool__pump(struct spool *s) {
    if (s->busy || s->failed) return;
    if (!s->retrying) {
        if (s->filling->n_runs == 0) return;
        if (s->filling->bytes.len < GROUP_BYTES && !s->due && !s->closing) {
            if (!uv_is_active((uv_handle_t *)&s->group_timer))
                uv_timer_start(&s->group_timer, on_group_timer, group_wait_ms(s), 0);
            return;
        }
        if (needs_chore(s, s->filling)) return; /* Its end pumps again. */
        struct group *g = s->flying;
        s->flying = s->filling;
        s->filling = g;
        s->flying_mono_ns = s->clock->mono_ns;
    } else if ((!s->due && !s->closing) || needs_chore(s, s->flying)) {
        return;
    }
    uv_timer_stop(&s->group_timer);
    s->due = false;
    s->busy = true;
    s->flying->wall_ns = s->clock->wall_ns;
    s->group_mono_ns = s->clock->mono_ns;
    s->work.data = s;
    int rc = uv_queue_work(s->loop, &s->work, run_group, on_group_done);
    assert(rc == 0); /* It fails for a missing function alone. */
}

void spool__close(struct spool *s, spool_close_cb cb, void *data) {
    assert(!s->closing);
    s->closing = true;
    s->close_cb = cb;
    s->close_data = data;
    /* What STOP says is synced, the next opening need not make durable again. */
    unsigned char synced[8];
    put_le(synced, atomic_load(&s->synced_lsn), sizeof synced);
    struct slice part = slice__of((const char *)synced, sizeof synced);
    if (!s->failed) append(s, SPOOL_STOP, 0, &part, 1, NULL, NULL, NULL);
    spool__pump(s);
    spool__finish_close(s);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct spool *s = handle->data;
    if (--s->n_open_timers > 0) return;
    spool_close_cb cb = s->close_cb;
    void *data = s->close_data;
    spool__free(s);
    if (cb != NULL) cb(data);
}

void spool__finish_close(struct spool *s) {
    if (!s->closing || s->stopped || s->busy || s->chore.busy) return;
    if (!s->failed && (s->retrying || s->filling->n_runs > 0)) return;
    s->stopped = true;
    uv_close((uv_handle_t *)&s->group_timer, on_timer_closed);
    uv_close((uv_handle_t *)&s->chore_timer, on_timer_closed);
}
