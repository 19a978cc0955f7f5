/* Recovery. Segments are walked from the newest backwards until the one that the last checkpoint's
 * low-water mark lies in; older ones are not read. Each is read once, from its start, in a window.
 *
 * The highest segment that holds anything is the tail. What is damaged behind its last good record
 * is a write that a crash cut off; damage anywhere else was once whole and is set aside. Where a
 * file at the top is gone or unreadable, positions may have been given out that we cannot see any
 * more, so appending goes on in a segment above all, and no position is ever used twice. */
#include "recover.h"
#include "mend.h"
#include "souk/core/file.h"
#include "souk/core/log.h"
#include "sweep.h"
#include "view.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKPOINT_PREFIX 8u

/* What one segment was found to hold. */
struct scan {
    struct mend mend;
    uint64_t end;      /* Behind its last good record; where END stands when there is one. */
    uint64_t data_end; /* Behind the last byte that is not zero. */
    bool ended;
    uint64_t next; /* The segment that END names. */
    size_t n_records;
    unsigned last_type;
    uint64_t stop_synced_lsn; /* What the last STOP says was synced before it; 0 if nothing. */
    int64_t last_wall_ns;
    uint64_t data_end_lsn;
    uint64_t low_water_lsn;
    bool has_checkpoint;
};

struct work {
    struct recovery *r;
    struct spool_form *f;
    const struct spool_io *io;
    int dir_fd, bad_fd;
    struct spool_view view;
    uint64_t file_size; /* Of the segment in view. */
    struct err *e;
};

void recovery__fini(struct recovery *r) {
    free(r->segments);
    buf__fini(&r->checkpoint);
    *r = (struct recovery){0};
}

static int fail(struct work *w, const char *what, uint64_t segment, int err) {
    return err__setf(w->e, err == -ENOMEM ? ERR_NOMEM : ERR_IO, "spool: %s segment %" PRIu64 ": %s",
                     what, segment, file__strerror(-err));
}

static int take_checkpoint(struct work *w, const struct record_header *h, struct slice payload,
                           struct scan *s) {
    if (payload.len < CHECKPOINT_PREFIX) return 0;
    s->has_checkpoint = true;
    s->low_water_lsn = get_le((const unsigned char *)payload.base, CHECKPOINT_PREFIX);
    if (s->low_water_lsn > h->lsn) s->low_water_lsn = h->lsn;
    struct buf *b = &w->r->checkpoint;
    b->max = SPOOL_RECORD_MAX;
    buf__clear(b);
    return buf__append(b, payload.base + CHECKPOINT_PREFIX, payload.len - CHECKPOINT_PREFIX)
               ? 0
               : -ENOMEM;
}

static int take_record(struct work *w, const struct record_header *h, struct slice payload,
                       bool want_checkpoint, struct scan *s) {
    s->n_records++;
    s->last_type = h->type;
    if (h->type == RECORD_GAP) return 0;
    s->last_wall_ns = h->wall_ns;
    if (h->type == SPOOL_STOP)
        s->stop_synced_lsn = payload.len < 8 ? 0 : get_le((const unsigned char *)payload.base, 8);
    if (type_is_data(h->type)) s->data_end_lsn = h->lsn + record__extent(h->len);
    if (h->type == SPOOL_CHECKPOINT && want_checkpoint) return take_checkpoint(w, h, payload, s);
    return 0;
}

static int scan_segment(struct work *w, const struct found *file, bool want_checkpoint,
                        struct scan *s) {
    struct record_header h;
    struct slice payload;
    uint64_t next, written = 0;
    *s = (struct scan){.end = SEGMENT_HEADER,
                       .data_end = SEGMENT_HEADER,
                       .last_wall_ns = file->mtime_ns,
                       .mend.segment = file->number};
    int rc = view__open(&w->view, w->dir_fd, file->number);
    if (rc == 0) {
        w->file_size = w->view.limit;
        view__skip_reserved(&w->view);
        written = w->view.limit;
        w->view.limit = w->file_size; /* A sparse copy keeps the zeros of a record as a hole. */
    }
    while (rc == 0 && s->end < w->view.limit && !s->ended) {
        rc = view__record(&w->view, w->f, s->end, true, &h, &payload);
        if (rc < 0) break;
        if (rc == 1 && h.type == RECORD_END) {
            s->ended = true;
            s->next = payload.len < 8 ? 0 : get_le((const unsigned char *)payload.base, 8);
            rc = 0;
        } else if (rc == 1) {
            rc = take_record(w, &h, payload, want_checkpoint, s);
            s->end += record__extent(h.len);
        } else {
            if (w->view.limit > written) w->view.limit = written;
            rc = view__resync(&w->view, w->f, s->end + 8, true, &next);
            if (rc != 0 || next >= w->view.limit) break;
            w->view.limit = w->file_size;
            rc = mend__add(&s->mend, s->end, next);
            s->end = next;
        }
    }
    if (rc == 0 && !s->ended && s->end < w->view.limit)
        rc = view__data_end(&w->view, s->end, true, &s->data_end);
    if (s->data_end < s->end) s->data_end = s->end;
    if (s->ended && (s->next <= file->number || s->next > form__segment_max(w->f)))
        s->next = file->number + 1; /* Our END is never like that, but what follows relies on it. */
    return rc == 0 ? 0 : fail(w, "scan", file->number, rc);
}

static bool holds_nothing(const struct scan *s) {
    return s->n_records == 0 && s->mend.n_ranges == 0 && !s->ended;
}

static int add_segment(struct work *w, uint64_t number, uint64_t bytes, int64_t last_wall_ns) {
    struct recovery *r = w->r;
    if (r->n_segments == r->cap) {
        size_t cap = r->cap == 0 ? 64 : r->cap * 2;
        struct segment *segments = realloc(r->segments, cap * sizeof *segments);
        if (segments == NULL) return fail(w, "list", number, -ENOMEM);
        r->segments = segments;
        r->cap = cap;
    }
    r->segments[r->n_segments++] = (struct segment){number, bytes, last_wall_ns};
    return 0;
}

/* Counts what is damaged in a segment, and mends it. */
static int mend_segment(struct work *w, struct scan *s) {
    struct mend *m = &s->mend;
    uint64_t corrupt = 0;
    for (size_t i = 0; i < m->n_ranges; i++) corrupt += m->ranges[i].to - m->ranges[i].from;
    if (!m->cut) corrupt += m->tail.to - m->tail.from;
    else w->r->torn_bytes += m->tail.to - m->tail.from;
    w->r->corrupt_bytes += corrupt;
    if (corrupt > 0)
        LOG_WARN("spool", "damaged bytes set aside", LOG_I("segment", m->segment),
                 LOG_I("bytes", corrupt), LOG_I("ranges", m->n_ranges));
    if (m->cut && m->tail.to > m->tail.from)
        LOG_WARN("spool", "torn tail cut off", LOG_I("segment", m->segment),
                 LOG_I("offset", m->tail.from), LOG_I("bytes", m->tail.to - m->tail.from));
    if (m->n_ranges == 0 && !m->header && !m->end && !m->cut) return 0;
    int err = mend__run(m, w->f, w->io, w->dir_fd, w->bad_fd);
    return err == 0 ? 0 : fail(w, "mend", m->segment, err);
}

/* A segment below the tail: lets it end where its records do, with @above to follow. */
static int close_segment(struct work *w, struct scan *s, uint64_t above) {
    uint64_t next = s->ended ? s->next : s->mend.segment + 1;
    /* A file that was cut to its length ends where its END did, so zeros in it are damage too. */
    if (!s->ended && w->file_size > s->end && w->file_size < w->f->segment_bytes)
        s->data_end = w->file_size;
    if (!s->ended && s->data_end > s->end) s->mend.tail = (struct range){s->end, s->data_end};
    if (!s->ended && s->data_end == s->end) {
        LOG_WARN("spool", "segment is cut short", LOG_I("segment", s->mend.segment),
                 LOG_I("bytes", s->end));
        w->r->n_missing++;
    }
    if (above > next) {
        LOG_WARN("spool", "segments are gone", LOG_I("first", next), LOG_I("count", above - next));
        w->r->n_missing += (uint32_t)(above - next);
    }
    if (!s->ended || above != next) {
        s->mend.end = true;
        s->mend.end_at = s->end;
        s->mend.next_segment = above;
    }
    return mend_segment(w, s);
}

/* Takes away the empty segments above the tail: appending goes on above them. */
static void drop_spares(const struct work *w, const struct sweep *sweep) {
    char name[SEGMENT_NAME_SIZE];
    for (size_t i = 0; i < sweep->n; i++) {
        segment_name(sweep->files[i].number, ".wal", name);
        if (sweep->files[i].spare) w->io->unlink(w->io->data, w->dir_fd, name);
    }
}

/* What we read of the tail came from the page cache, and a process that was killed, or whose sync
 * failed, leaves bytes there that no disk holds and that a sync alone does not bring back. Before
 * anybody relies on them they are written again. Segments below were synced before it was begun. */
static int renew_tail(struct work *w, const struct scan *s) {
    uint64_t start = form__lsn(w->f, s->mend.segment, SEGMENT_HEADER), from = SEGMENT_HEADER;
    if (w->r->was_clean && s->stop_synced_lsn > start &&
        s->stop_synced_lsn <= form__lsn(w->f, s->mend.segment, s->end))
        from = form__offset(w->f, s->stop_synced_lsn);
    uint64_t to = s->end + (s->ended ? END_EXTENT : 0);
    int err = mend__renew(w->io, w->dir_fd, s->mend.segment, from, to);
    if (err == -ENOSPC || err == -EDQUOT) {
        /* Where writing in place takes room, a full disk must not keep us from starting. */
        LOG_WARN("spool", "newest segment not written again", LOG_S("why", strerror(-err)));
        err = 0;
    }
    return err == 0 ? 0 : fail(w, "write again", s->mend.segment, err);
}

/* The tail, which is file @at: decides where appending goes on. */
static int close_tail(struct work *w, struct scan *s, const struct sweep *sweep, size_t at) {
    struct recovery *r = w->r;
    uint64_t number = s->mend.segment, follows = s->ended ? s->next : number + 1;
    uint64_t last_spare = follows - 1;
    bool jump = sweep->set_aside_top;
    for (size_t i = at + 1; i < sweep->n; i++)
        if (sweep->files[i].spare && sweep->files[i].number != ++last_spare) jump = true;
    r->was_clean = s->last_type == SPOOL_STOP && !jump;
    if (!s->ended && s->data_end > s->end) s->mend.tail = (struct range){s->end, s->data_end};
    if (jump) {
        /* Positions up to the highest name may have been given out. Empty segments are in the way.
         */
        follows = sweep->highest + 1;
        drop_spares(w, sweep);
        r->last_file = follows - 1;
        r->n_missing++;
        LOG_WARN("spool", "newest segment is gone", LOG_I("goes_on_in", follows));
        s->mend.end = true;
        s->mend.end_at = s->end;
        s->mend.next_segment = follows;
    } else {
        r->last_file = last_spare;
        s->mend.end_at = s->end;
        /* Also where nothing is torn: the file may be shorter than its segment. */
        s->mend.cut = !s->ended && (s->data_end > s->end || w->file_size < w->f->segment_bytes);
    }
    int rc = mend_segment(w, s);
    if (rc == 0) rc = renew_tail(w, s);
    if (rc == 0 && (jump || s->ended)) {
        rc = add_segment(w, follows, SEGMENT_HEADER, s->last_wall_ns);
        r->next_offset = SEGMENT_HEADER;
        if (rc == 0) rc = add_segment(w, number, s->end + END_EXTENT, s->last_wall_ns);
    } else if (rc == 0) {
        r->next_offset = s->end;
        rc = add_segment(w, number, s->end, s->last_wall_ns);
    }
    return rc;
}

/* No segment holds anything: appending starts in the lowest empty one, or in one above all names.
 */
static int start_empty(struct work *w, const struct sweep *sweep) {
    struct recovery *r = w->r;
    uint64_t number = sweep->highest + 1, last = sweep->highest;
    bool jump = sweep->set_aside_top;
    for (size_t i = 0; i < sweep->n && !jump; i++) {
        if (i == 0) number = last = sweep->files[0].number;
        else if (sweep->files[i].number != ++last) jump = true;
    }
    if (jump) {
        drop_spares(w, sweep);
        number = sweep->highest + 1;
        last = sweep->highest;
    }
    r->last_file = last;
    r->next_offset = SEGMENT_HEADER;
    return add_segment(w, number, SEGMENT_HEADER, 0);
}

/* One segment, from the newest down. @above is the number of the one above that is kept, 0 at
 * first. */
static int recover_segment(struct work *w, struct sweep *sweep, size_t i, uint64_t *above) {
    struct recovery *r = w->r;
    struct found *file = &sweep->files[i];
    struct scan s;
    int rc = scan_segment(w, file, !r->has_checkpoint, &s);
    if (rc == 0 && s.has_checkpoint) {
        r->has_checkpoint = true;
        r->low_water_lsn = s.low_water_lsn;
    }
    if (r->data_end_lsn == 0) r->data_end_lsn = s.data_end_lsn;
    s.mend.header = file->n_copies < 2;
    if (rc != 0) {
    } else if (file->n_copies == 0 && holds_nothing(&s)) {
        LOG_WARN("spool", "unreadable segment set aside", LOG_I("segment", file->number),
                 LOG_I("bytes", file->size));
        r->corrupt_bytes += file->size;
        int err = set_file_aside(w->io, w->dir_fd, w->bad_fd, file->number, ".wal", "unreadable");
        if (err != 0) rc = fail(w, "set aside", file->number, err);
        if (*above == 0) sweep->set_aside_top = true;
    } else if (*above == 0 && holds_nothing(&s) && s.data_end == SEGMENT_HEADER) {
        file->spare = true;
    } else if (*above == 0) {
        rc = close_tail(w, &s, sweep, i);
        *above = file->number;
    } else {
        rc = close_segment(w, &s, *above);
        if (rc == 0) rc = add_segment(w, file->number, s.end + END_EXTENT, s.last_wall_ns);
        *above = file->number;
    }
    mend__fini(&s.mend);
    return rc;
}

/* Segments go when they lie below the low-water mark, and only then: whatever is gone above it, and
 * below the first that is here, was taken away by somebody. The positions of a new log begin in
 * segment 1, and so does its mark. */
static void count_lost_start(struct recovery *r, const struct spool_form *f) {
    uint64_t wanted = r->has_checkpoint ? form__segment(f, r->low_water_lsn) : 1;
    uint64_t first = r->segments[0].number;
    if (wanted == 0) wanted = 1; /* A mark of 0: nothing was ever acknowledged. */
    if (first <= wanted) return;
    LOG_WARN("spool", "segments are gone", LOG_I("first", wanted), LOG_I("count", first - wanted));
    r->n_missing += (uint32_t)(first - wanted);
}

static int compare_segments(const void *a, const void *b) {
    uint64_t x = ((const struct segment *)a)->number, y = ((const struct segment *)b)->number;
    return x < y ? -1 : x > y;
}

int recover(struct recovery *r, struct spool_form *f, const struct spool_io *io, int dir_fd,
            int bad_fd, struct err *e) {
    struct work w = {.r = r, .f = f, .io = io, .dir_fd = dir_fd, .bad_fd = bad_fd, .e = e};
    struct sweep sweep;
    uint64_t above = 0;
    *r = (struct recovery){0};
    int rc = sweep__run(&sweep, f, io, dir_fd, bad_fd, e);
    r->corrupt_bytes = sweep.lost_bytes;
    for (size_t i = sweep.n; rc == 0 && i-- > 0;) {
        const struct found *file = &sweep.files[i];
        if (r->has_checkpoint && file->number < form__segment(f, r->low_water_lsn))
            rc = add_segment(&w, file->number, file->size, file->mtime_ns);
        else rc = recover_segment(&w, &sweep, i, &above);
    }
    if (rc == 0 && r->n_segments == 0) rc = start_empty(&w, &sweep);
    view__fini(&w.view);
    sweep__fini(&sweep);
    if (rc != 0) return rc;
    if (io->sync_dir(io->data, dir_fd) != 0)
        return err__setf(e, ERR_IO, "spool: sync folder: %s", strerror(errno));
    qsort(r->segments, r->n_segments, sizeof *r->segments, compare_segments);
    count_lost_start(r, f);
    uint64_t first = form__lsn(f, r->segments[0].number, SEGMENT_HEADER);
    if (r->low_water_lsn < first) r->low_water_lsn = first;
    return 0;
}

int read_wall_ns(const struct spool_form *f, int dir_fd, uint64_t lsn, int64_t *wall_ns) {
    struct spool_view v = {0};
    struct record_header h;
    int rc = view__open(&v, dir_fd, form__segment(f, lsn));
    if (rc == 0) rc = view__record(&v, f, form__offset(f, lsn), false, &h, NULL);
    view__fini(&v);
    if (rc < 0) return rc;
    if (rc == 0 || h.type >= RECORD_GAP) return -ENOENT;
    *wall_ns = h.wall_ns;
    return 0;
}
