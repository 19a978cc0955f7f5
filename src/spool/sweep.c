/* Which files of a folder are segments of this spool.
 *
 * The id that most headers bear is the spool's. A whole header under another name than its own is a
 * copied or swapped file: it gets its own name back where that is free, else it is set aside. */
#include "sweep.h"
#include "souk/core/file.h"
#include "souk/core/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLAIM ".claim" /* Suffix of a segment that waits for its own name. */

void sweep__fini(struct sweep *s) {
    free(s->files);
    *s = (struct sweep){0};
}

int set_file_aside(const struct spool_io *io, int dir_fd, int bad_fd, uint64_t segment,
                   const char *suffix, const char *why) {
    char from[SEGMENT_NAME_SIZE], to[SEGMENT_NAME_SIZE + 48];
    segment_name(segment, suffix, from);
    for (int i = 0; i < 10000; i++) {
        snprintf(to, sizeof to, "%016" PRIu64 ".%s%d", segment, why, i);
        if (faccessat(bad_fd, to, F_OK, 0) == 0) continue;
        return io->rename(io->data, dir_fd, from, bad_fd, to) == 0 ? 0 : -errno;
    }
    return -EEXIST;
}

static int fail(struct err *e, const char *what, const char *name) {
    return err__setf(e, ERR_IO, "spool: %s %s: %s", what, name, file__strerror(errno));
}

static int read_header(int dir_fd, const char *name, struct found *out, bool *gone, struct err *e) {
    unsigned char page[SEGMENT_HEADER] = {0};
    struct stat st;
    *gone = false;
    int fd = file__open(dir_fd, name, O_RDONLY);
    if (fd < 0 && errno == ENOENT) *gone = true;
    if (fd < 0) return *gone ? 0 : fail(e, "open", name);
    int rc = fstat(fd, &st) == 0 ? 0 : fail(e, "stat", name);
    if (rc == 0) {
        out->size = (uint64_t)st.st_size;
        out->mtime_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
        /* A header that cannot be read is treated as a damaged one. */
        ssize_t n = pread(fd, page, sizeof page, 0);
        out->n_copies = n <= 0 ? 0 : segment_header__decode(page, &out->header);
    }
    close(fd);
    return rc;
}

static int compare_found(const void *a, const void *b) {
    uint64_t x = ((const struct found *)a)->number, y = ((const struct found *)b)->number;
    return x < y ? -1 : x > y;
}

static int add_file(struct sweep *s, const struct found *file, struct err *e) {
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        struct found *files = realloc(s->files, cap * sizeof *files);
        if (files == NULL) return err__setf(e, ERR_NOMEM, "spool: list segments: out of memory");
        s->files = files;
        s->cap = cap;
    }
    s->files[s->n++] = *file;
    return 0;
}

int sweep__list(struct sweep *s, int dir_fd, uint64_t segment_max, const char *suffix,
                struct err *e) {
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) close(fd);
        return fail(e, "list", "folder");
    }
    int rc = 0;
    uint64_t number;
    for (struct dirent *d; rc == 0 && (d = readdir(dir)) != NULL;) {
        if (!segment_name__parse(d->d_name, suffix, &number)) continue;
        if (number > segment_max) continue; /* No position could say where it is. */
        struct found file = {.number = number};
        bool gone; /* Taken away by who owns the folder, since we listed it. */
        rc = read_header(dir_fd, d->d_name, &file, &gone, e);
        if (rc == 0 && !gone) rc = add_file(s, &file, e);
    }
    closedir(dir);
    if (s->n > 0) qsort(s->files, s->n, sizeof *s->files, compare_found);
    return rc;
}

const struct found *sweep__choose_id(const struct sweep *s) {
    const struct found *best = NULL;
    size_t best_votes = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->files[i].n_copies == 0) continue;
        /* Each id is counted once, at its first file, so strangers cost little. */
        size_t votes = 0;
        bool seen = false;
        for (size_t k = 0; k < s->n && !seen; k++) {
            if (s->files[k].n_copies == 0 ||
                memcmp(s->files[k].header.id, s->files[i].header.id, 16) != 0)
                continue;
            seen = k < i;
            votes++;
        }
        if (!seen && votes > best_votes) best = &s->files[i], best_votes = votes;
    }
    return best;
}

static int check_form(const struct sweep *s, const struct spool_form *f, struct err *e) {
    for (size_t i = 0; i < s->n; i++) {
        const struct segment_header *h = &s->files[i].header;
        if (s->files[i].n_copies == 0) continue;
        if (h->version != FORMAT_VERSION)
            return err__setf(e, ERR_CORRUPT,
                             "spool: segment %" PRIu64 " has format version %" PRIu32
                             ", this souk reads %u",
                             s->files[i].number, h->version, FORMAT_VERSION);
        if (h->segment_bytes != f->segment_bytes)
            return err__setf(e, ERR_CONFIG,
                             "spool: was made with segments of %" PRIu64 " bytes, not %" PRIu64,
                             h->segment_bytes, f->segment_bytes);
    }
    return 0;
}

static int drop_file(struct sweep *s, const struct spool_io *io, int dir_fd, int bad_fd,
                     const struct found *file, const char *suffix, const char *why, struct err *e) {
    LOG_WARN("spool", "segment set aside", LOG_I("segment", file->number), LOG_S("why", why),
             LOG_I("bytes", file->size));
    s->lost_bytes += file->size;
    if (set_file_aside(io, dir_fd, bad_fd, file->number, suffix, why) != 0)
        return fail(e, "set aside", why);
    return 0;
}

/* Second pass: segments that wait for their name get it, or go where there is one already. */
static int settle_claims(struct sweep *s, const struct spool_form *f, const struct spool_io *io,
                         int dir_fd, int bad_fd, struct err *e) {
    struct sweep claims = {0};
    char from[SEGMENT_NAME_SIZE], to[SEGMENT_NAME_SIZE];
    int rc = sweep__list(&claims, dir_fd, form__segment_max(f), CLAIM, e);
    for (size_t i = 0; rc == 0 && i < claims.n; i++) {
        struct found *c = &claims.files[i];
        segment_name(c->number, CLAIM, from);
        segment_name(c->header.segment, ".wal", to);
        bool ours = c->n_copies > 0 && memcmp(c->header.id, f->id, sizeof f->id) == 0;
        if (!ours || faccessat(dir_fd, to, F_OK, 0) == 0) {
            rc = drop_file(s, io, dir_fd, bad_fd, c, CLAIM, ours ? "duplicate" : "stranger", e);
            /* A copy of what is there loses nothing. */
            if (ours) s->lost_bytes -= c->size;
        } else if (io->rename(io->data, dir_fd, from, dir_fd, to) != 0) {
            rc = fail(e, "rename", from);
        }
    }
    sweep__fini(&claims);
    return rc;
}

/* Files that were never finished. */
static void drop_unfinished(const struct spool_io *io, int dir_fd) {
    uint64_t number;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) close(fd);
        return; /* What is listed next says why. */
    }
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (segment_name__parse(d->d_name, ".tmp", &number))
            io->unlink(io->data, dir_fd, d->d_name);
    closedir(dir);
}

int sweep__run(struct sweep *s, struct spool_form *f, const struct spool_io *io, int dir_fd,
               int bad_fd, struct err *e) {
    char from[SEGMENT_NAME_SIZE], to[SEGMENT_NAME_SIZE];
    unsigned char id[16];
    *s = (struct sweep){0};
    drop_unfinished(io, dir_fd);
    int rc = sweep__list(s, dir_fd, form__segment_max(f), ".wal", e);
    if (rc == 0) rc = check_form(s, f, e);
    if (rc != 0) return rc;
    const struct found *best = sweep__choose_id(s);
    if (best != NULL) memcpy(id, best->header.id, sizeof id);
    else if (getrandom(id, sizeof id, 0) != sizeof id) return fail(e, "make", "id");
    form__init(f, id, f->segment_bytes);

    for (size_t i = 0; rc == 0 && i < s->n; i++) {
        const struct found *file = &s->files[i];
        if (file->number > s->highest) s->highest = file->number;
        if (file->n_copies == 0 && best == NULL)
            rc = drop_file(s, io, dir_fd, bad_fd, file, ".wal", "headless", e);
        else if (file->n_copies == 0) continue;
        else if (memcmp(file->header.id, id, sizeof id) != 0)
            rc = drop_file(s, io, dir_fd, bad_fd, file, ".wal", "stranger", e);
        else if (file->header.segment != file->number) {
            segment_name(file->number, ".wal", from);
            segment_name(file->number, CLAIM, to);
            if (io->rename(io->data, dir_fd, from, dir_fd, to) != 0) rc = fail(e, "rename", from);
        }
    }
    if (rc == 0) rc = settle_claims(s, f, io, dir_fd, bad_fd, e);
    if (rc != 0) return rc;
    s->n = 0;
    rc = sweep__list(s, dir_fd, form__segment_max(f), ".wal", e);
    s->set_aside_top = s->highest > (s->n == 0 ? 0 : s->files[s->n - 1].number);
    return rc;
}
