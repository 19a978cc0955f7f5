/* Recovery's second half: what is done to a segment that was found damaged. */
#ifndef SOUK_SPOOL_MEND_H
#define SOUK_SPOOL_MEND_H

#include "format.h"
#include "io.h"

/* More than this is not copied to bad/; ranges then stay where they are, unread. */
#define BAD_BYTES_MAX (1ull << 30)

struct range {
    uint64_t from, to; /* Offsets. */
};

/** What a segment needs. */
struct mend {
    uint64_t segment;
    bool header;          /* Write the header page anew. */
    struct range *ranges; /* Owned. Damage between records, to become GAPs. */
    size_t n_ranges, ranges_cap;
    struct range tail; /* Damage behind the last record, to be cut off; empty when there is none. */
    bool end;          /* Let the segment end at end_at, with next_segment to follow. */
    uint64_t end_at, next_segment;
    bool cut; /* Cut the file off at end_at, and reserve the rest again. */
};

void mend__fini(struct mend *m);
/** Adds a damaged range. @return 0 or -ENOMEM. */
int mend__add(struct mend *m, uint64_t from, uint64_t to);
/** Copies every range to one file in @bad_fd ("offset length" and a line end before each), syncs
 * it, then mends the segment and syncs that. Where the copy fails, ranges and a damaged end of a
 * closed segment stay as they are. @return 0 or -errno. */
int mend__run(const struct mend *m, const struct spool_form *f, const struct spool_io *io,
              int dir_fd, int bad_fd);

/** Writes the bytes from @from to @to of @segment again as they are, and syncs the file. Blocks
 * that cannot be read are passed over. @return 0 or -errno. */
int mend__renew(const struct spool_io *io, int dir_fd, uint64_t segment, uint64_t from,
                uint64_t to);

#endif
