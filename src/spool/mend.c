/* Mending a segment: copy what is damaged to bad/, then make the segment readable from end to end,
 * so that the same damage is found, counted and reported once. Every step may be cut off by a
 * crash: what is then half mended is damage that the next opening finds. */
#include "mend.h"
#include "io.h"
#include "souk/core/file.h"
#include "souk/core/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 65536u
#define RENEW_CHUNK ((size_t)1 << 20)

void mend__fini(struct mend *m) {
    free(m->ranges);
    *m = (struct mend){0};
}

int mend__add(struct mend *m, uint64_t from, uint64_t to) {
    if (m->n_ranges == m->ranges_cap) {
        size_t cap = m->ranges_cap == 0 ? 16 : m->ranges_cap * 2;
        struct range *ranges = realloc(m->ranges, cap * sizeof *ranges);
        if (ranges == NULL) return -ENOMEM;
        m->ranges = ranges;
        m->ranges_cap = cap;
    }
    m->ranges[m->n_ranges++] = (struct range){from, to};
    return 0;
}

static uint64_t folder_bytes(int dir_fd) {
    uint64_t sum = 0;
    struct stat st;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) close(fd);
        return 0;
    }
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    closedir(dir);
    return sum;
}

static int copy_range(const struct spool_io *io, int from, int to, struct range r, uint64_t *at) {
    char chunk[CHUNK];
    int n = snprintf(chunk, sizeof chunk, "%" PRIu64 " %" PRIu64 "\n", r.from, r.to - r.from);
    int err = io__write_all(io, to, chunk, (size_t)n, *at);
    *at += (uint64_t)n;
    while (err == 0 && r.from < r.to) {
        size_t want = r.to - r.from < sizeof chunk ? (size_t)(r.to - r.from) : sizeof chunk;
        ssize_t got = pread(from, chunk, want, (off_t)r.from);
        if (got <= 0) {
            /* A block that the disk cannot give back is kept as zeros, to keep the lengths true. */
            memset(chunk, 0, want);
            got = (ssize_t)want;
        }
        err = io__write_all(io, to, chunk, (size_t)got, *at);
        *at += (uint64_t)got;
        r.from += (uint64_t)got;
    }
    return err;
}

static int copy_ranges(const struct mend *m, const struct spool_io *io, int fd, int bad_fd) {
    uint64_t sum = m->tail.to - m->tail.from, at = 0;
    for (size_t i = 0; i < m->n_ranges; i++) sum += m->ranges[i].to - m->ranges[i].from;
    if (sum == 0) return 0;
    if (folder_bytes(bad_fd) + sum > BAD_BYTES_MAX) return -ENOSPC;
    char name[SEGMENT_NAME_SIZE + 16];
    int to = -1;
    for (int i = 0; to < 0 && i < 10000; i++) {
        snprintf(name, sizeof name, "%016" PRIu64 ".ranges%d", m->segment, i);
        to = io->create(io->data, bad_fd, name, O_EXCL);
        if (to < 0 && errno != EEXIST) return -errno;
    }
    if (to < 0) return -EEXIST;
    int err = 0;
    for (size_t i = 0; err == 0 && i < m->n_ranges; i++)
        err = copy_range(io, fd, to, m->ranges[i], &at);
    if (err == 0 && m->tail.to > m->tail.from) err = copy_range(io, fd, to, m->tail, &at);
    if (err == 0 && io->fdatasync(io->data, to) != 0) err = -errno;
    close(to);
    if (err == 0 && io->sync_dir(io->data, bad_fd) != 0) err = -errno;
    if (err != 0) io->unlink(io->data, bad_fd, name);
    return err;
}

static int put_gap(const struct spool_form *f, const struct spool_io *io, uint64_t segment, int fd,
                   struct range r) {
    unsigned char p[RECORD_HEADER];
    record__encode(p, &(struct record_header){.len = (uint32_t)(r.to - r.from - RECORD_HEADER),
                                              .lsn = form__lsn(f, segment, r.from),
                                              .type = RECORD_GAP});
    record__seal(f, segment, r.from, p);
    return io__write_all(io, fd, p, sizeof p, r.from);
}

static int put_end(const struct spool_form *f, const struct spool_io *io, const struct mend *m,
                   int fd) {
    unsigned char p[END_EXTENT];
    record__encode(p, &(struct record_header){.len = 8,
                                              .lsn = form__lsn(f, m->segment, m->end_at),
                                              .type = RECORD_END});
    put_le(p + RECORD_HEADER, m->next_segment, 8);
    record__seal(f, m->segment, m->end_at, p);
    int err = io__write_all(io, fd, p, sizeof p, m->end_at);
    if (err == 0 && io->ftruncate(io->data, fd, (off_t)(m->end_at + sizeof p)) != 0) err = -errno;
    return err;
}

int mend__run(const struct mend *m, const struct spool_form *f, const struct spool_io *io,
              int dir_fd, int bad_fd) {
    char name[SEGMENT_NAME_SIZE];
    segment_name(m->segment, ".wal", name);
    int fd = file__open(dir_fd, name, O_RDWR);
    if (fd < 0) return -errno;
    int err = 0, copy_err = copy_ranges(m, io, fd, bad_fd);
    if (copy_err != 0)
        LOG_WARN("spool", "damaged bytes not copied", LOG_I("segment", m->segment),
                 LOG_S("why", strerror(-copy_err)));
    if (m->header) {
        unsigned char page[SEGMENT_HEADER];
        struct clock now;
        clock__read(&now);
        segment_header__encode(f, m->segment, now.wall_ns, page);
        err = io__write_all(io, fd, page, sizeof page, 0);
    }
    if (copy_err == 0)
        for (size_t i = 0; err == 0 && i < m->n_ranges; i++)
            err = put_gap(f, io, m->segment, fd, m->ranges[i]);
    /* An END over a damaged tail would destroy the only copy of it. */
    if (err == 0 && m->end && (copy_err == 0 || m->tail.to == m->tail.from))
        err = put_end(f, io, m, fd);
    if (err == 0 && m->cut) {
        if (io->ftruncate(io->data, fd, (off_t)m->end_at) != 0) err = -errno;
        /* Without the space reserved again, a full disk is found at the write instead. */
        else if (io->fallocate(io->data, fd, (off_t)f->segment_bytes) != 0 &&
                 io->ftruncate(io->data, fd, (off_t)f->segment_bytes) != 0)
            err = -errno;
    }
    if (err == 0 && io->fdatasync(io->data, fd) != 0) err = -errno;
    close(fd);
    return err;
}

int mend__renew(const struct spool_io *io, int dir_fd, uint64_t segment, uint64_t from,
                uint64_t to) {
    char name[SEGMENT_NAME_SIZE];
    unsigned char *chunk = malloc(RENEW_CHUNK);
    segment_name(segment, ".wal", name);
    int fd = file__open(dir_fd, name, O_RDWR);
    int err = fd < 0 ? -errno : chunk == NULL ? -ENOMEM : 0;
    while (err == 0 && from < to) {
        size_t want = to - from < RENEW_CHUNK ? (size_t)(to - from) : RENEW_CHUNK;
        ssize_t n = pread(fd, chunk, want, (off_t)from);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) break;
        if (n < 0 && errno == EIO) {
            from = (from | (CHUNK - 1)) + 1;
            continue;
        }
        if (n < 0) err = -errno;
        else err = io__write_all(io, fd, chunk, (size_t)n, from);
        from += n < 0 ? 0 : (uint64_t)n;
    }
    if (err == 0 && io->fdatasync(io->data, fd) != 0) err = -errno;
    if (fd >= 0) close(fd);
    free(chunk);
    return err;
}
