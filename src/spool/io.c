/* The system calls that write. */
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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

const struct spool_io spool_io_system = {
    .pwrite = system_pwrite, .fdatasync = system_fdatasync, .fallocate = system_fallocate};

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
