/* The system calls that change a spool's files, in one place, so that tests can let them fail, and
 * can know what a disk would hold if the machine stopped between any two. Reading needs no seam:
 * it sees the page cache, as it does on a real machine. */
#ifndef SOUK_SPOOL_IO_H
#define SOUK_SPOOL_IO_H

#include "souk/spool.h"
#include <sys/types.h>

/** Each returns what its system call does: -1 with errno set on failure. Called from the loop's
 *  thread at opening, and from the pool's threads. */
struct spool_io {
    void *data; /* The owner's. */
    /** openat for writing, with O_CREAT and what else is in @flags. */
    int (*create)(void *data, int dir_fd, const char *name, int flags);
    ssize_t (*pwrite)(void *data, int fd, const void *bytes, size_t len, off_t offset);
    int (*fdatasync)(void *data, int fd);
    /** Reserves the first @len bytes. */
    int (*fallocate)(void *data, int fd, off_t len);
    int (*ftruncate)(void *data, int fd, off_t len);
    int (*rename)(void *data, int from_dir_fd, const char *from, int to_dir_fd, const char *to);
    int (*link)(void *data, int from_dir_fd, const char *from, int to_dir_fd, const char *to);
    int (*unlink)(void *data, int dir_fd, const char *name);
    /** fsync of a folder: names are durable from then on. */
    int (*sync_dir)(void *data, int dir_fd);
};

/** The system's own. */
extern const struct spool_io spool_io_system;

/** Writes all of @bytes, in as many calls as it takes. @return 0 or -errno. */
int io__write_all(const struct spool_io *io, int fd, const void *bytes, size_t len,
                  uint64_t offset);
/** Reserves the first @len bytes of @fd; where the file system cannot, makes it sparse and that
 *  long. @return 0 or -errno. */
int io__reserve(const struct spool_io *io, int fd, uint64_t len);
/** spool__open with the calls of @io, which outlives the spool. For tests. */
int spool__open_io(struct spool **out, uv_loop_t *loop, const struct clock *clock,
                   struct metrics *metrics, const struct spool_options *options,
                   const struct spool_io *io, struct err *e);

#endif
