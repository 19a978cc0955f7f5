/* A window over the bytes of one segment, for readers and recovery. */
#ifndef SOUK_SPOOL_VIEW_H
#define SOUK_SPOOL_VIEW_H

#include "format.h"

/** Opens @segment in the folder @dir_fd. Closes what was open. The limit is the file's size.
 *  @return 0, or -errno. */
int view__open(struct spool_view *v, int dir_fd, uint64_t segment);
/** Sets the limit to the file's size as it is now. @return 0 or -errno. */
int view__whole(struct spool_view *v);
/** Lowers the limit to behind the last byte that was ever written, where the file system knows it.
 *  To be called before anything is read, since what is read ahead counts as written. */
void view__skip_reserved(struct spool_view *v);
void view__close(struct spool_view *v);
void view__fini(struct spool_view *v);
/** @return @len bytes at @offset, borrowed until the next call. NULL when they do not all lie below
 *  the limit (@err 0) or cannot be read (@err -errno). With @tolerant, blocks that the disk cannot
 *  read are zeros. */
const unsigned char *view__bytes(struct spool_view *v, uint64_t offset, size_t len, bool tolerant,
                                 int *err);
/** Checks the record at @offset. @return 1 with @out and @payload (may be NULL; borrowed until the
 *  next call) filled, 0 when there is none, -errno when it cannot be read. */
int view__record(struct spool_view *v, const struct spool_form *f, uint64_t offset, bool tolerant,
                 struct record_header *out, struct slice *payload);
/** Looks for the next good record at or behind @offset, a multiple of 8. @return 0 with its place,
 * or the limit, in @found; -errno. */
int view__resync(struct spool_view *v, const struct spool_form *f, uint64_t offset, bool tolerant,
                 uint64_t *found);
/** Looks for the last byte that is not zero at or behind @offset. @return 0 with the offset behind
 *  it, rounded up to 8, in @end (@offset when all is zero); -errno. */
int view__data_end(struct spool_view *v, uint64_t offset, bool tolerant, uint64_t *end);

#endif
