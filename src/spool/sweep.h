/* Recovery's first half: which files of a folder are segments of this spool. */
#ifndef SOUK_SPOOL_SWEEP_H
#define SOUK_SPOOL_SWEEP_H

#include "format.h"
#include "io.h"

struct found {
    uint64_t number;
    uint64_t size;
    int64_t mtime_ns;
    int n_copies; /* Of the header that are whole. */
    struct segment_header header;
    bool spare; /* Set by recovery: an empty segment above the tail. */
};

struct sweep {
    struct found *files; /* Owned; ascending. */
    size_t n, cap;
    uint64_t highest;    /* Highest number that any file bore, those set aside included. */
    uint64_t lost_bytes; /* Of files that are none of this spool's. */
    bool set_aside_top;  /* A file with a number above all that are left was set aside. */
};

/** Lists the folder @dir_fd; takes away unfinished files; decides whose spool it is and fills the
 * id of @f; gives segments under a wrong name their own back; sets strangers aside in @bad_fd. A
 * file whose header is unreadable stays, with n_copies 0, when another file names the spool.
 *  @return 0 or the code in @e: ERR_CORRUPT for another format version, ERR_CONFIG for another
 *  segment size, ERR_IO, ERR_NOMEM. */
int sweep__run(struct sweep *s, struct spool_form *f, const struct spool_io *io, int dir_fd,
               int bad_fd, struct err *e);
void sweep__fini(struct sweep *s);
/** Adds the files of the folder @dir_fd whose names are a segment's up to @segment_max with
 *  @suffix, sorted, with their headers. Changes nothing. @return 0, ERR_IO or ERR_NOMEM. */
int sweep__list(struct sweep *s, int dir_fd, uint64_t segment_max, const char *suffix,
                struct err *e);
/** @return a file of the spool that most of the folder's headers name, the oldest where two tie;
 *  NULL when no header can be read. */
const struct found *sweep__choose_id(const struct sweep *s);
/** Moves the file of @segment with @suffix to @bad_fd, under a name that is free there. @why
 * becomes part of it. @return 0 or -errno. */
int set_file_aside(const struct spool_io *io, int dir_fd, int bad_fd, uint64_t segment,
                   const char *suffix, const char *why);

#endif
