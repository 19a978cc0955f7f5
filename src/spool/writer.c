/* Taking groups to the disk.
 *
 * A group is runs of records, one a segment. A run is written, then synced; the last of a segment
 * closes it. When a write or a sync fails, the kernel may have dropped the pages and forgotten that
 * they were dirty, so that a later sync of the same descriptor succeeds without them. The segment's
 * synced part and the run in memory then go to a new file, which takes the old one's name once it
 * is synced; the old one stays under bad/. Positions thus stay what the writers of records were
 * told. */
#include "writer.h"
#include "souk/core/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP_BYTES_MAX ((size_t)192 << 20) /* Clear of the bounds that spool__append checks. */
#define RESERVE_NAME "reserve"
#define COPY_CHUNK ((size_t)1 << 20)

void group__fini(struct group *g) {
    buf__fini(&g->bytes);
    free(g->runs);
    free(g->waiters);
    *g = (struct group){0};
}

void group__clear(struct group *g) {
    /* What one large burst took is given back; the usual size is kept. */
    if (g->bytes.cap > COPY_CHUNK) buf__fini(&g->bytes);
    buf__clear(&g->bytes);
    g->n_runs = g->n_runs_done = g->n_waiters = g->n_faults = 0;
}

static bool grow(void **items, size_t *cap, size_t n, size_t size) {
    if (n < *cap) return true;
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *p = realloc(*items, more * size);
    if (p == NULL) return false;
    *items = p;
    *cap = more;
    return true;
}

int group__add(struct group *g, const struct record_header *h, uint64_t segment, uint64_t offset,
               const struct slice *parts, size_t n_parts, spool_synced_cb cb, void *data) {
    size_t extent = (size_t)record__extent(h->len), at = g->bytes.len;
    g->bytes.max = GROUP_BYTES_MAX;
    if (!grow((void **)&g->runs, &g->runs_cap, g->n_runs, sizeof *g->runs) ||
        !grow((void **)&g->waiters, &g->waiters_cap, g->n_waiters, sizeof *g->waiters))
        return ERR_NOMEM;
    unsigned char *p = (unsigned char *)buf__reserve(&g->bytes, extent);
    if (p == NULL) {
        g->bytes.failed = false; /* What it holds is whole. */
        return ERR_NOMEM;
    }
    record__encode(p, h);
    size_t n = RECORD_HEADER;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].len > 0) memcpy(p + n, parts[i].base, parts[i].len);
        n += parts[i].len;
    }
    memset(p + n, 0, extent - n);
    g->bytes.len += extent;
    struct run *last = g->n_runs == 0 ? NULL : &g->runs[g->n_runs - 1];
    if (last == NULL || last->segment != segment) {
        last = &g->runs[g->n_runs++];
        *last = (struct run){.segment = segment, .offset = offset, .at = at};
    }
    last->len += extent;
    last->ends = h->type == RECORD_END;
    if (cb != NULL)
        g->waiters[g->n_waiters++] = (struct waiter){.lsn = h->lsn, .cb = cb, .data = data};
    g->end_lsn = h->lsn + extent;
    return 0;
}

static bool disk_full(int err) { return err == -ENOSPC || err == -EDQUOT; }

static void note(struct group *g, enum spool_op op, int err) {
    if (g->n_faults < FAULTS_MAX) g->faults[g->n_faults++] = (struct fault){op, -err};
}

int reserve__create(const struct spool_form *f, const struct spool_io *io, int dir_fd) {
    int fd = io->create(io->data, dir_fd, RESERVE_NAME, O_TRUNC);
    if (fd < 0) return -errno;
    /* A sparse file would reserve nothing. */
    int err = io->fallocate(io->data, fd, (off_t)f->segment_bytes) == 0 ? 0 : -errno;
    close(fd);
    if (err != 0) io->unlink(io->data, dir_fd, RESERVE_NAME);
    return err;
}

bool reserve__exists(int dir_fd) {
    struct stat st;
    return fstatat(dir_fd, RESERVE_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0;
}

/* Opens NNN.tmp with its space reserved. On a full disk the reserve is given up for it, unless
 * @took_reserve is NULL. @return the descriptor or -errno. */
static int open_tmp(const struct spool_form *f, const struct spool_io *io, int dir_fd,
                    const char *name, bool *took_reserve) {
    int fd = io->create(io->data, dir_fd, name, O_TRUNC);
    if (fd < 0) return -errno;
    int err = io__reserve(io, fd, f->segment_bytes);
    if (took_reserve != NULL && disk_full(err) && io->unlink(io->data, dir_fd, RESERVE_NAME) == 0) {
        *took_reserve = true;
        err = io__reserve(io, fd, f->segment_bytes);
    }
    if (err == 0) return fd;
    close(fd);
    io->unlink(io->data, dir_fd, name);
    return err;
}

static int create_segment(const struct spool_form *f, const struct spool_io *io, int dir_fd,
                          uint64_t segment, int64_t wall_ns, bool *took_reserve) {
    char tmp[SEGMENT_NAME_SIZE], name[SEGMENT_NAME_SIZE];
    unsigned char page[SEGMENT_HEADER];
    segment_name(segment, ".tmp", tmp);
    segment_name(segment, ".wal", name);
    if (faccessat(dir_fd, name, F_OK, 0) == 0) return -EEXIST;
    int fd = open_tmp(f, io, dir_fd, tmp, took_reserve);
    if (fd < 0) return fd;
    segment_header__encode(f, segment, wall_ns, page);
    int err = io__write_all(io, fd, page, sizeof page, 0);
    if (err == 0 && io->fdatasync(io->data, fd) != 0) err = -errno;
    close(fd);
    if (err == 0 && io->rename(io->data, dir_fd, tmp, dir_fd, name) != 0) err = -errno;
    if (err != 0) {
        io->unlink(io->data, dir_fd, tmp);
        return err;
    }
    return io->sync_dir(io->data, dir_fd) == 0 ? 0 : -errno;
}

int segment__create(const struct spool_form *f, const struct spool_io *io, int dir_fd,
                    uint64_t segment, int64_t wall_ns) {
    return create_segment(f, io, dir_fd, segment, wall_ns, NULL);
}

void writer__close(struct writer *w) {
    if (w->segment != 0) close(w->fd);
    w->segment = 0;
    w->poisoned = false;
}

static int open_segment(struct writer *w, uint64_t segment, int64_t wall_ns) {
    if (w->segment == segment) return 0;
    char name[SEGMENT_NAME_SIZE];
    int err = create_segment(w->form, w->io, w->dir_fd, segment, wall_ns, &w->took_reserve);
    if (err != 0 && err != -EEXIST) return err;
    segment_name(segment, ".wal", name);
    int fd = file__open(w->dir_fd, name, O_RDWR);
    if (fd < 0) return -errno;
    writer__close(w);
    w->fd = fd;
    w->segment = segment;
    return 0;
}

/* Copies the first @len bytes of the segment's file to @to. */
static int copy_synced(struct writer *w, uint64_t segment, int to, uint64_t len) {
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment, ".wal", name);
    int from = file__open(w->dir_fd, name, O_RDONLY);
    if (from < 0) return -errno;
    char *chunk = malloc(COPY_CHUNK);
    int err = chunk == NULL ? -ENOMEM : 0;
    for (uint64_t at = 0; err == 0 && at < len;) {
        size_t want = len - at < COPY_CHUNK ? (size_t)(len - at) : COPY_CHUNK;
        ssize_t n = pread(from, chunk, want, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) err = n < 0 ? -errno : -EIO;
        else err = io__write_all(w->io, to, chunk, (size_t)n, at);
        at += n > 0 ? (uint64_t)n : 0;
    }
    free(chunk);
    close(from);
    return err;
}

/* Puts a new file with the synced part of @run's segment and @run itself in the segment's place. */
static int rewrite(struct writer *w, const struct run *run, const struct group *g) {
    char tmp[SEGMENT_NAME_SIZE], name[SEGMENT_NAME_SIZE], kept[SEGMENT_NAME_SIZE + 16];
    segment_name(run->segment, ".tmp", tmp);
    segment_name(run->segment, ".wal", name);
    int fd = open_tmp(w->form, w->io, w->dir_fd, tmp, &w->took_reserve);
    if (fd < 0) return fd;
    int err;
    if (run->offset == SEGMENT_HEADER) {
        /* Nothing of it is synced but its header, if that much. */
        unsigned char page[SEGMENT_HEADER];
        segment_header__encode(w->form, run->segment, g->wall_ns, page);
        err = io__write_all(w->io, fd, page, sizeof page, 0);
    } else {
        err = copy_synced(w, run->segment, fd, run->offset);
    }
    if (err == 0) err = io__write_all(w->io, fd, g->bytes.base + run->at, run->len, run->offset);
    if (err == 0 && w->io->fdatasync(w->io->data, fd) != 0) err = -errno;
    if (err == 0) {
        /* Keeping the old file is for whoever looks into the disk; the new one has all of it. */
        for (int i = 0; i < 16; i++) {
            snprintf(kept, sizeof kept, "%s.eio%d", name, i);
            if (w->io->link(w->io->data, w->dir_fd, name, w->bad_fd, kept) == 0 || errno != EEXIST)
                break;
        }
        if (w->io->rename(w->io->data, w->dir_fd, tmp, w->dir_fd, name) != 0) err = -errno;
    }
    if (err != 0) {
        close(fd);
        w->io->unlink(w->io->data, w->dir_fd, tmp);
        return err;
    }
    writer__close(w);
    w->fd = fd;
    w->segment = run->segment;
    atomic_fetch_add(w->generation, 1);
    return w->io->sync_dir(w->io->data, w->dir_fd) == 0 ? 0 : -errno;
}

/* Writes and syncs @run where it belongs. @op says what failed. */
static int write_run(struct writer *w, const struct run *run, const struct group *g,
                     enum spool_op *op) {
    *op = OP_CREATE;
    int err = open_segment(w, run->segment, g->wall_ns);
    if (err != 0) return err;
    *op = OP_WRITE;
    err = io__write_all(w->io, w->fd, g->bytes.base + run->at, run->len, run->offset);
    if (err != 0) return err;
    *op = OP_SYNC;
    return w->io->fdatasync(w->io->data, w->fd) == 0 ? 0 : -errno;
}

static void seal_run(const struct writer *w, const struct run *run, struct group *g) {
    for (size_t done = 0; done < run->len;) {
        unsigned char *p = (unsigned char *)g->bytes.base + run->at + done;
        record__seal(w->form, run->segment, run->offset + done, p);
        done += (size_t)record__extent(get_le(p, 4));
    }
}

/* @return 0, or -errno with GROUP_RETRY or GROUP_FAILED in @g. */
static int take_run(struct writer *w, const struct run *run, struct group *g) {
    enum spool_op op = OP_REWRITE;
    bool replace = w->poisoned && w->segment == run->segment;
    int err = replace ? -EIO : write_run(w, run, g, &op);
    if (err == 0) {
        w->failed_last = false;
        return 0;
    }
    if (!replace) {
        note(g, op, err);
        /* A full disk refuses the write itself, so nothing was promised and nothing is lost. */
        if (op != OP_SYNC && disk_full(err)) {
            g->result = GROUP_RETRY;
            return err;
        }
        w->poisoned = w->segment == run->segment;
        if (w->failed_last) {
            g->result = GROUP_FAILED;
            return err;
        }
        w->failed_last = true;
    }
    err = rewrite(w, run, g);
    if (err == 0) return 0;
    note(g, OP_REWRITE, err);
    g->result = disk_full(err) && w->poisoned ? GROUP_RETRY : GROUP_FAILED;
    return err;
}

void writer__run(struct writer *w, struct group *g) {
    int64_t start_ns = clock__stopwatch_ns();
    g->result = GROUP_SYNCED;
    g->n_faults = 0;
    for (; g->n_runs_done < g->n_runs; g->n_runs_done++) {
        const struct run *run = &g->runs[g->n_runs_done];
        seal_run(w, run, g);
        if (take_run(w, run, g) != 0) break;
        /* What was reserved behind the end goes back. A crash before this leaves zeros. */
        if (run->ends && w->io->ftruncate(w->io->data, w->fd, (off_t)(run->offset + run->len)) != 0)
            note(g, OP_RETIRE, -errno);
    }
    g->took_ns = clock__stopwatch_ns() - start_ns;
}
