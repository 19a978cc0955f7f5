/* Reading records in order, on any thread, beside the writer. Bytes below the synced position never
 * change, so all that is shared is that position, and the generation of the files: a rewritten
 * segment is opened again. */
#include "souk/core/file.h"
#include "spool_internal.h"
#include "view.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

void spool_reader__init(struct spool_reader *r, const struct spool *s, uint64_t from_lsn) {
    *r = (struct spool_reader){.spool = s, .at = from_lsn};
}

void spool_reader__fini(struct spool_reader *r) {
    view__fini(&r->view);
    *r = (struct spool_reader){0};
}

static int fail(struct err *e, int err, const char *what, uint64_t lsn) {
    return err__setf(e, err == -ENOMEM ? ERR_NOMEM : ERR_IO, "spool: %s at %" PRIu64 ": %s", what,
                     lsn, file__strerror(-err));
}

/* Looks for the lowest segment above @segment that there is. @return 0 with it, or 0, in @next. */
static int find_next(const struct spool *s, uint64_t segment, uint64_t *next) {
    uint64_t number;
    int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int err = -errno;
        if (fd >= 0) close(fd);
        return err;
    }
    *next = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (segment_name__parse(d->d_name, ".wal", &number) && number > segment &&
            number <= form__segment_max(&s->form) && (*next == 0 || number < *next))
            *next = number;
    closedir(dir);
    return 0;
}

/* Opens the segment of r->at, or the next that there is. @return 0 with r->at inside an open
 * segment or at @until; -errno. */
static int open_at(struct spool_reader *r, uint64_t until) {
    const struct spool *s = r->spool;
    unsigned generation = atomic_load(&s->generation);
    if (r->generation != generation) view__close(&r->view);
    r->generation = generation;
    for (;;) {
        uint64_t segment = form__segment(&s->form, r->at), next = 0;
        if (r->view.segment == segment) return 0;
        int err = view__open(&r->view, s->dir_fd, segment);
        if (err != -ENOENT) return err;
        err = find_next(s, segment, &next);
        if (err != 0) return err;
        r->at = next == 0 ? until : form__lsn(&s->form, next, SEGMENT_HEADER);
        if (r->at >= until) {
            r->at = until;
            return 0;
        }
    }
}

/* Moves over what is no record at r->at, which lies below @until. @return ERR_CORRUPT, 0 when
 * nothing but the end of the file was there, or -errno in @err. */
static int skip_damage(struct spool_reader *r, uint64_t until, int *err, struct err *e) {
    const struct spool_form *f = &r->spool->form;
    uint64_t segment = r->view.segment, offset = form__offset(f, r->at), found, from = r->at;
    if (offset < r->view.limit) {
        *err = view__resync(&r->view, f, (offset + 8) & ~7ull, false, &found);
        if (*err != 0) return 0;
    } else {
        found = r->view.limit;
    }
    if (found < r->view.limit) r->at = form__lsn(f, segment, found);
    else r->at = form__lsn(f, segment + 1, SEGMENT_HEADER);
    if (r->at > until) r->at = until;
    if (offset >= r->view.limit) return 0; /* Cut short where a record ended. */
    return err__setf(e, ERR_CORRUPT,
                     "spool: no record at %" PRIu64 ": segment %" PRIu64
                     " is damaged from byte %" PRIu64 " on",
                     from, segment, offset);
}

/* Fills @out from a good record. @return false when readers do not see its kind. */
static bool take_record(struct spool_reader *r, const struct record_header *h, struct slice payload,
                        struct spool_record *out) {
    const struct spool_form *f = &r->spool->form;
    if (h->type == RECORD_END) {
        uint64_t next = payload.len < 8 ? 0 : get_le((const unsigned char *)payload.base, 8);
        if (next <= r->view.segment || next > form__segment_max(f)) next = r->view.segment + 1;
        r->at = form__lsn(f, next, SEGMENT_HEADER);
        return false;
    }
    r->at += record__extent(h->len);
    if (h->type == RECORD_GAP) return false;
    if (h->type == SPOOL_CHECKPOINT && payload.len >= 8) {
        payload.base += 8; /* The low-water mark is ours. */
        payload.len -= 8;
    }
    *out = (struct spool_record){.lsn = h->lsn,
                                 .next_lsn = r->at,
                                 .type = h->type,
                                 .source = h->source,
                                 .wall_ns = h->wall_ns,
                                 .payload = payload};
    return true;
}

int spool_reader__next(struct spool_reader *r, uint64_t until_lsn, struct spool_record *out,
                       struct err *e) {
    const struct spool_form *f = &r->spool->form;
    struct record_header h;
    struct slice payload;
    uint64_t synced = atomic_load(&r->spool->synced_lsn);
    if (until_lsn > synced) until_lsn = synced;
    for (;;) {
        if (r->at >= until_lsn) return 0;
        int err = open_at(r, until_lsn);
        if (err != 0) return fail(e, err, "open segment", r->at);
        if (r->at >= until_lsn) return 0;
        uint64_t offset = form__offset(f, r->at);
        if (offset < SEGMENT_HEADER) {
            r->at += SEGMENT_HEADER - offset;
            continue;
        }
        /* Behind until_lsn the segment may be half written, and must not get into the window. */
        if (form__segment(f, until_lsn) == r->view.segment)
            r->view.limit = form__offset(f, until_lsn);
        else if (offset >= r->view.limit && (err = view__whole(&r->view)) != 0)
            return fail(e, err, "stat segment", r->at);
        int rc = view__record(&r->view, f, offset, false, &h, &payload);
        if (rc == 1 && take_record(r, &h, payload, out)) return 1;
        if (rc == 1) continue;
        if (rc < 0) return fail(e, rc, "read segment", r->at);
        rc = skip_damage(r, until_lsn, &err, e);
        if (err != 0) return fail(e, err, "read segment", r->at);
        if (rc != 0) return rc;
    }
}
