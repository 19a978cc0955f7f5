/* Reading a spool folder without owning it.
 *
 * Opening lists the files, finds the newest segment that holds a record (the tail) and where its
 * last one ends, and walks down until a checkpoint says what is acknowledged. Reading then goes
 * through the list, segment by segment. The owner may replace a segment's file by a rewritten one
 * under our feet: what looks damaged is opened again once, before it is believed. */
#include "recover.h"
#include "souk/core/file.h"
#include "souk/spool_scan.h"
#include "sweep.h"
#include "view.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKPOINT_PREFIX 8u

struct spool_scan {
    struct spool_form form;
    int dir_fd;             /* Owned. */
    struct sweep files;     /* Owned; this spool's segments, ascending. */
    size_t n_files;         /* Of them up to the tail; behind it are spares. */
    uint64_t tail_end;      /* Offset behind the last good record of the tail. */
    struct spool_view view; /* Owned. */
    struct buf checkpoint;  /* Owned. */
    struct spool_scan_info info;
    struct spool_scan_damage damage;
    size_t i;             /* Which file is read. */
    uint64_t offset;      /* In it, of the next record. */
    uint64_t expected;    /* The segment that must follow the one before; 0: any. */
    uint64_t from_lsn;    /* Records below are not wanted. */
    uint64_t reopened_at; /* Where damage made us open the file again. */
};

/* What one segment holds, as far as opening wants to know. */
struct outline {
    uint64_t end; /* Behind its last good record. */
    uint64_t data_end, data_end_lsn;
    size_t n_records;
    unsigned last_type;
    bool has_checkpoint;
};

static int fail(struct err *e, int err, const char *what, uint64_t segment) {
    return err__setf(e, err == -ENOMEM ? ERR_NOMEM : ERR_IO, "spool: %s segment %" PRIu64 ": %s",
                     what, segment, file__strerror(-err));
}

static int take_checkpoint(struct spool_scan *s, const struct record_header *h,
                           struct slice payload) {
    if (payload.len < CHECKPOINT_PREFIX) return 0;
    uint64_t low = get_le((const unsigned char *)payload.base, CHECKPOINT_PREFIX);
    s->info.low_water_lsn = low < h->lsn ? low : h->lsn;
    s->info.has_checkpoint = true;
    s->checkpoint.max = SPOOL_RECORD_MAX;
    buf__clear(&s->checkpoint);
    return buf__append(&s->checkpoint, payload.base + CHECKPOINT_PREFIX,
                       payload.len - CHECKPOINT_PREFIX)
               ? 0
               : -ENOMEM;
}

/* Walks one segment from end to end. @return 0 or -errno; -ENOENT when its file is gone. */
static int outline_segment(struct spool_scan *s, uint64_t segment, bool want_checkpoint,
                           struct outline *o) {
    struct record_header h;
    struct slice payload;
    uint64_t next;
    *o = (struct outline){.end = SEGMENT_HEADER, .data_end = SEGMENT_HEADER};
    int rc = view__open(&s->view, s->dir_fd, segment);
    while (rc == 0 && o->end < s->view.limit) {
        rc = view__record(&s->view, &s->form, o->end, true, &h, &payload);
        if (rc < 0) break;
        if (rc == 0) {
            rc = view__resync(&s->view, &s->form, o->end + 8, true, &next);
            if (rc != 0 || next >= s->view.limit) break;
            o->end = next;
            continue;
        }
        rc = 0;
        o->end += h.type == RECORD_END ? END_EXTENT : record__extent(h.len);
        o->last_type = h.type;
        o->n_records++;
        if (type_is_data(h.type)) o->data_end_lsn = h.lsn + record__extent(h.len);
        if (h.type == SPOOL_CHECKPOINT && want_checkpoint) {
            o->has_checkpoint = true;
            rc = take_checkpoint(s, &h, payload);
        }
        if (h.type == RECORD_END) break;
    }
    o->data_end = o->end;
    if (rc == 0 && o->last_type != RECORD_END && o->end < s->view.limit)
        rc = view__data_end(&s->view, o->end, true, &o->data_end);
    return rc;
}

/* Finds the tail, then the newest checkpoint. */
static int find_end(struct spool_scan *s, struct err *e) {
    struct outline o;
    bool searching = true;
    s->n_files = 0;
    for (size_t i = s->files.n; i-- > 0 && searching;) {
        uint64_t segment = s->files.files[i].number;
        int rc = outline_segment(s, segment, true, &o);
        if (rc == -ENOENT) continue; /* Retired since it was listed. */
        if (rc != 0) return fail(e, rc, "scan", segment);
        if (s->n_files == 0) {
            if (o.n_records == 0 && o.data_end == o.end) continue; /* A spare. */
            s->n_files = i + 1;
            s->tail_end = o.end;
            s->info.torn_bytes = o.data_end - o.end;
            s->info.was_clean = o.last_type == SPOOL_STOP && o.data_end == o.end;
            s->info.end_lsn = form__lsn(&s->form, segment, o.end);
        }
        if (s->info.data_end_lsn == 0) s->info.data_end_lsn = o.data_end_lsn;
        searching = !o.has_checkpoint;
    }
    view__close(&s->view);
    return 0;
}

/* Keeps the files of our spool that bear their own name. */
static int list_segments(struct spool_scan *s, const char *dir, struct err *e) {
    struct sweep *w = &s->files;
    int rc = sweep__list(w, s->dir_fd, UINT64_MAX, ".wal", e);
    if (rc != 0) return err__prefixf(e, "%s", dir);
    const struct found *best = sweep__choose_id(w);
    if (best == NULL) {
        s->info.n_strangers = (uint32_t)w->n;
        w->n = 0;
        return 0;
    }
    if (best->header.version != FORMAT_VERSION)
        return err__setf(e, ERR_CORRUPT,
                         "spool: %s has format version %" PRIu32 ", this souk reads %u", dir,
                         best->header.version, FORMAT_VERSION);
    if (best->header.segment_bytes < 2 * SEGMENT_HEADER || best->header.segment_bytes > UINT32_MAX)
        return err__setf(e, ERR_CORRUPT, "spool: %s has segments of %" PRIu64 " bytes", dir,
                         best->header.segment_bytes);
    form__init(&s->form, best->header.id, best->header.segment_bytes);
    s->info.format_version = best->header.version;
    s->info.segment_bytes = best->header.segment_bytes;
    memcpy(s->info.store_id, s->form.id_hex, sizeof s->info.store_id);
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct found *f = &w->files[i];
        /* Where no header can be read, the records themselves say whose they are. */
        bool ours = f->number <= form__segment_max(&s->form) &&
                    (f->n_copies == 0 ||
                     (memcmp(f->header.id, s->form.id, 16) == 0 && f->header.segment == f->number));
        s->info.file_bytes += ours ? f->size : 0;
        s->info.n_strangers += !ours;
        if (ours) w->files[n++] = *f;
    }
    w->n = n;
    return 0;
}

int spool_scan__open(struct spool_scan **out, const char *dir, struct err *e) {
    *out = NULL;
    struct spool_scan *s = calloc(1, sizeof *s);
    if (s == NULL) return err__setf(e, ERR_NOMEM, "spool: read %s: out of memory", dir);
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (s->dir_fd < 0)
        rc = err__setf(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "spool: open %s: %s", dir,
                       strerror(errno));
    if (rc == 0) rc = list_segments(s, dir, e);
    if (rc == 0) rc = find_end(s, e);
    if (rc != 0) {
        spool_scan__close(s);
        return rc;
    }
    s->info.n_segments = (uint32_t)s->n_files;
    s->info.n_spares = (uint32_t)(s->files.n - s->n_files);
    if (s->files.n > 0) {
        s->info.first_lsn = form__lsn(&s->form, s->files.files[0].number, SEGMENT_HEADER);
        if (s->n_files == 0) s->info.end_lsn = s->info.first_lsn;
        if (s->info.low_water_lsn < s->info.first_lsn) s->info.low_water_lsn = s->info.first_lsn;
    }
    s->offset = SEGMENT_HEADER;
    *out = s;
    return 0;
}

void spool_scan__info(const struct spool_scan *s, struct spool_scan_info *out) {
    *out = s->info;
    out->checkpoint = buf__slice(&s->checkpoint);
}

/* Goes on at @offset of the file @i, whose records below @lsn are not wanted. */
static void go_to(struct spool_scan *s, size_t i, uint64_t offset, uint64_t lsn) {
    s->i = i;
    s->offset = offset;
    s->from_lsn = lsn;
    s->expected = s->reopened_at = 0;
}

void spool_scan__seek(struct spool_scan *s, uint64_t lsn) {
    struct record_header h;
    size_t i = 0;
    if (s->files.n == 0) return;
    uint64_t segment = form__segment(&s->form, lsn), offset = form__offset(&s->form, lsn);
    while (i < s->n_files && s->files.files[i].number < segment) i++;
    go_to(s, i, SEGMENT_HEADER, lsn);
    if (i == s->n_files || s->files.files[i].number != segment || offset < SEGMENT_HEADER) return;
    /* A record's own position saves walking up to it. */
    if (s->view.segment != segment && view__open(&s->view, s->dir_fd, segment) != 0) return;
    if (view__record(&s->view, &s->form, offset, true, &h, NULL) == 1) s->offset = offset;
}

static int tell_damage(struct spool_scan *s, uint64_t segment, uint64_t from, uint64_t to,
                       struct err *e) {
    s->damage = (struct spool_scan_damage){segment, from, to};
    if (to == 0) return err__setf(e, ERR_CORRUPT, "spool: segment %" PRIu64 " is gone", segment);
    if (from == to)
        return err__setf(e, ERR_CORRUPT, "spool: segment %" PRIu64 " is cut short at byte %" PRIu64,
                         segment, from);
    return err__setf(e, ERR_CORRUPT,
                     "spool: segment %" PRIu64 " is damaged from byte %" PRIu64 " to %" PRIu64,
                     segment, from, to);
}

static void next_file(struct spool_scan *s, uint64_t expected) {
    s->i++;
    s->offset = SEGMENT_HEADER;
    s->expected = expected;
}

/* Opens the file that is to be read. @return 1 when it is, 0 when it is gone and passed; an error
 * when one that should precede it is not there. */
static int open_file(struct spool_scan *s, struct err *e) {
    uint64_t segment = s->files.files[s->i].number;
    if (s->expected != 0 && segment > s->expected) {
        /* One message a run of missing segments; the count is in the position that follows. */
        uint64_t missing = s->expected;
        s->expected = 0;
        return tell_damage(s, missing, 0, 0, e);
    }
    if (s->view.segment != segment) {
        int err = view__open(&s->view, s->dir_fd, segment);
        if (err == -ENOENT) {
            next_file(s, 0);
            return 0;
        }
        if (err != 0) return fail(e, err, "open", segment);
    }
    if (s->i + 1 == s->n_files && s->view.limit > s->tail_end) s->view.limit = s->tail_end;
    return 1;
}

/* Passes what is no record at s->offset. @return 0 when nothing is to be told, else an error. */
static int skip_damage(struct spool_scan *s, struct err *e) {
    uint64_t segment = s->view.segment, from = s->offset, found;
    bool tail = s->i + 1 == s->n_files;
    if (tail && from >= s->tail_end) {
        next_file(s, 0);
        return 0;
    }
    if (s->reopened_at != form__lsn(&s->form, segment, from)) {
        s->reopened_at = form__lsn(&s->form, segment, from);
        view__close(&s->view);
        return 0;
    }
    int err = view__resync(&s->view, &s->form, (from + 8) & ~7ull, true, &found);
    if (err != 0) return fail(e, err, "read", segment);
    if (found < s->view.limit) {
        s->offset = found;
    } else {
        if (from > found) from = found; /* Cut short in the middle of a record's header. */
        next_file(s, segment + 1);
    }
    if (form__lsn(&s->form, segment, found) <= s->from_lsn) return 0;
    return tell_damage(s, segment, from, found, e);
}

/* Fills @out from a good record. @return false when readers do not see its kind. */
static bool take_record(struct spool_scan *s, const struct record_header *h, struct slice payload,
                        struct spool_record *out) {
    uint64_t segment = s->view.segment;
    if (h->type == RECORD_END) {
        uint64_t next = payload.len < 8 ? 0 : get_le((const unsigned char *)payload.base, 8);
        if (next <= segment || next > form__segment_max(&s->form)) next = segment + 1;
        next_file(s, next);
        return false;
    }
    s->offset += record__extent(h->len);
    if (h->type == RECORD_GAP) s->info.gap_bytes += record__extent(h->len);
    if (h->type == RECORD_GAP || h->lsn < s->from_lsn) return false;
    if (h->type == SPOOL_CHECKPOINT && payload.len >= CHECKPOINT_PREFIX) {
        payload.base += CHECKPOINT_PREFIX; /* The low-water mark is the spool's. */
        payload.len -= CHECKPOINT_PREFIX;
    }
    *out = (struct spool_record){.lsn = h->lsn,
                                 .next_lsn = form__lsn(&s->form, segment, s->offset),
                                 .type = h->type,
                                 .source = h->source,
                                 .wall_ns = h->wall_ns,
                                 .payload = payload};
    return true;
}

int spool_scan__next(struct spool_scan *s, struct spool_record *out, struct err *e) {
    struct record_header h;
    struct slice payload;
    while (s->i < s->n_files) {
        int rc = open_file(s, e);
        if (rc < 0) return rc;
        if (rc == 0) continue;
        rc = view__record(&s->view, &s->form, s->offset, true, &h, &payload);
        if (rc < 0) return fail(e, rc, "read", s->view.segment);
        if (rc == 1 && take_record(s, &h, payload, out)) return 1;
        if (rc == 0 && (rc = skip_damage(s, e)) != 0) return rc;
    }
    return 0;
}

void spool_scan__damage(const struct spool_scan *s, struct spool_scan_damage *out) {
    *out = s->damage;
}

void spool_scan__close(struct spool_scan *s) {
    if (s == NULL) return;
    view__fini(&s->view);
    sweep__fini(&s->files);
    buf__fini(&s->checkpoint);
    if (s->dir_fd >= 0) close(s->dir_fd);
    free(s);
}
