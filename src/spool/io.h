/* The system calls that write, in one place, so that tests can let them fail. */
#ifndef SOUK_SPOOL_IO_H
#define SOUK_SPOOL_IO_H

#include "souk/spool.h"
#include <sys/types.h>

struct spool_io {
    void *data; /* The owner's. */
    ssize_t (*pwrite)(void *data, int fd, const void *bytes, size_t len, off_t offset);
    int (*fdatasync)(void *data, int fd);
    int (*fallocate)(void *data, int fd, off_t len);
};

/** The system's own. */
extern const struct spool_io spool_io_system;

/** Writes all of @bytes, in as many calls as it takes. @return 0 or -errno. */
int io__write_all(const struct spool_io *io, int fd, const void *bytes, size_t len,
                  uint64_t offset);
/** spool__open with the calls of @io, which outlives the spool. For tests. */
int spool__open_io(struct spool **out, uv_loop_t *loop, const struct clock *clock,
                   struct metrics *metrics, const struct spool_options *options,
                   const struct spool_io *io, struct err *e);

#endif
