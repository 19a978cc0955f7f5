/* Finding out, at opening, what a folder of segments holds, and mending it. */
#ifndef SOUK_SPOOL_RECOVER_H
#define SOUK_SPOOL_RECOVER_H

#include "format.h"
#include "io.h"

struct segment {
    uint64_t number;
    uint64_t bytes;       /* Used, header included. */
    int64_t last_wall_ns; /* Of its last record, or when its file was last written. */
};

struct recovery {
    struct segment *segments; /* Owned; ascending, the last is where appending goes on. */
    size_t n_segments, cap;
    uint64_t next_offset; /* In the last segment, whose file may be yet to be made. */
    uint64_t last_file;   /* Highest segment that has a file; empty ones are kept ready. */
    uint64_t low_water_lsn;
    struct buf checkpoint; /* Owned; the last one's payload. */
    bool has_checkpoint, was_clean;
    uint64_t data_end_lsn; /* Behind the last page, slice or request; 0 when there is none. */
    uint64_t torn_bytes, corrupt_bytes;
    uint32_t n_missing;
};

void recovery__fini(struct recovery *r);
/** Reads the folder @dir_fd, mends what is damaged (with copies in @bad_fd), and fills @f, whose
 *  segment size is set already, and @r. Blocks. An empty folder gets a new id and starts at segment
 *  1. @return 0 or the code in @e. */
int recover(struct recovery *r, struct spool_form *f, const struct spool_io *io, int dir_fd,
            int bad_fd, struct err *e);
/** @return true when records of @type are what a full spool refuses. */
static inline bool type_is_data(unsigned type) {
    return type == SPOOL_PAGE || type == SPOOL_FRAMES || type == SPOOL_REQUEST || type == SPOOL_OPS;
}
/** Reads the header at @lsn, for its wall time. @return 0 or -errno; -ENOENT when none is there. */
int read_wall_ns(const struct spool_form *f, int dir_fd, uint64_t lsn, int64_t *wall_ns);

#endif
