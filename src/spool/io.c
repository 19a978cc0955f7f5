/* The system calls that change files. */
#include "io.h"
#include "souk/core/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int system_create(void *data, int dir_fd, const char *name, int flags) {
    (void)data;
    return file__open(dir_fd, name, O_RDWR | O_CREAT | flags);
}

static ssize_t system_pwrite(void *data, int fd, const void *bytes, size_t len, off_t offset) {
    (void)data;
    return pwrite(fd, bytes, len, offset);
}

static int system_fdatasync(void *data, int fd) {
    (void)data;
    return fdatasync(fd);
}

static int system_fallocate(void *data, int fd, off_t len) {
    (void)data;
    return fallocate(fd, 0, 0, len);
}

static int system_ftruncate(void *data, int fd, off_t len) {
    (void)data;
    return ftruncate(fd, len);
}

static int system_rename(void *data, int from_dir_fd, const char *from, int to_dir_fd,
                         const char *to) {
    (void)data;
    return renameat(from_dir_fd, from, to_dir_fd, to);
}

static int system_link(void *data, int from_dir_fd, const char *from, int to_dir_fd,
                       const char *to) {
    (void)data;
    return linkat(from_dir_fd, from, to_dir_fd, to, 0);
}

static int system_unlink(void *data, int dir_fd, const char *name) {
    (void)data;
    return unlinkat(dir_fd, name, 0);
}

static int system_sync_dir(void *data, int dir_fd) {
    (void)data;
    return fsync(dir_fd);
}

const struct spool_io spool_io_system = {.create = system_create,
                                         .pwrite = system_pwrite,
                                         .fdatasync = system_fdatasync,
                                         .fallocate = system_fallocate,
                                         .ftruncate = system_ftruncate,
                                         .rename = system_rename,
                                         .link = system_link,
                                         .unlink = system_unlink,
                                         .sync_dir = system_sync_dir};

int io__write_all(const struct spool_io *io, int fd, const void *bytes, size_t len,
                  uint64_t offset) {
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = io->pwrite(io->data, fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        if (n == 0) return -EIO; /* A regular file that takes nothing would keep us here. */
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int io__reserve(const struct spool_io *io, int fd, uint64_t len) {
    int err = io->fallocate(io->data, fd, (off_t)len) == 0 ? 0 : -errno;
    if (err == -EOPNOTSUPP || err == -EINVAL || err == -ENOSYS)
        err = io->ftruncate(io->data, fd, (off_t)len) == 0 ? 0 : -errno;
    return err;
}
