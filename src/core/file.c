#include "souk/core/file.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0640

int file__open(int dir_fd, const char *path, int flags) {
    struct stat st;
    /* Emptied only when it is known to be a file. */
    int fd =
        openat(dir_fd, path, (flags & ~O_TRUNC) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, FILE_MODE);
    if (fd < 0) {
        if (errno == ENXIO) errno = FILE_NOT_REGULAR; /* A FIFO without a reader, or a socket. */
        return -1;
    }
    int err = fstat(fd, &st) != 0      ? errno
              : !S_ISREG(st.st_mode)   ? FILE_NOT_REGULAR
              : (flags & O_TRUNC) == 0 ? 0
              : ftruncate(fd, 0) != 0  ? errno
                                       : 0;
    if (err == 0) return fd;
    close(fd);
    errno = err;
    return -1;
}

FILE *file__stream(const char *path, int flags) {
    int fd = file__open(AT_FDCWD, path, flags);
    FILE *file = fd < 0 ? NULL : fdopen(fd, (flags & O_ACCMODE) == O_RDONLY ? "rb" : "wb");
    if (file != NULL || fd < 0) return file;
    int err = errno;
    close(fd);
    errno = err;
    return NULL;
}

ssize_t file__read(const char *path, void *out, size_t size) {
    int fd = file__open(AT_FDCWD, path, O_RDONLY);
    if (fd < 0) return -1;
    size_t n = 0;
    ssize_t got = 1;
    while (n < size && got != 0) {
        got = read(fd, (char *)out + n, size - n);
        if (got < 0 && errno != EINTR) break;
        if (got > 0) n += (size_t)got;
    }
    int err = errno;
    close(fd);
    errno = err;
    return got < 0 && n < size ? -1 : (ssize_t)n;
}

const char *file__strerror(int errnum) {
    return errnum == FILE_NOT_REGULAR ? "it is no regular file" : strerror(errnum);
}
