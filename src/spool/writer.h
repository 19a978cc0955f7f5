/* The writing end, on the thread pool: takes one group of records at a time to the disk. One job is
 * in flight at a time and owns the writer until it is done. */
#ifndef SOUK_SPOOL_WRITER_H
#define SOUK_SPOOL_WRITER_H

#include "format.h"
#include "io.h"
#include <stdatomic.h>

#define FAULTS_MAX 4

/* Where something failed: the labels of souk_wal_errors_total. */
enum spool_op { OP_CREATE, OP_WRITE, OP_SYNC, OP_REWRITE, OP_RETIRE, OP__N };

struct fault {
    enum spool_op op;
    int err; /* errno, positive. */
};

struct waiter {
    uint64_t lsn;
    spool_synced_cb cb;
    void *data;
};

/** Records of one segment that lie behind each other. */
struct run {
    uint64_t segment, offset;
    size_t at, len; /* In the group's bytes. */
    bool ends;      /* Closes the segment. */
};

/** What one sync makes durable. Owned by the loop, or by the job in flight. */
struct group {
    struct buf bytes;
    struct run *runs; /* Owned. */
    size_t n_runs, runs_cap;
    struct waiter *waiters; /* Owned. */
    size_t n_waiters, waiters_cap;
    uint64_t end_lsn; /* Position behind its last record. */
    int64_t wall_ns;  /* When it was handed to the job. */
    /* The job's results. */
    size_t n_runs_done;
    enum { GROUP_SYNCED, GROUP_RETRY, GROUP_FAILED } result; /* Retry: the disk is full. */
    struct fault faults[FAULTS_MAX];
    size_t n_faults;
    int64_t took_ns;
};

struct writer {
    const struct spool_form *form; /* Borrowed, as are the next two. */
    const struct spool_io *io;
    _Atomic unsigned *generation; /* Moves when a segment's file is replaced. */
    int dir_fd, bad_fd;           /* Borrowed. */
    int fd;                       /* Owned; of segment. */
    uint64_t segment;             /* 0: none is open. */
    bool poisoned;                /* A sync of fd failed: it says nothing true any more. */
    bool failed_last;             /* The last group went through only by rewriting. */
    bool took_reserve;            /* The disk was full, and the reserve made room. */
};

void group__fini(struct group *g);
/** Empties @g and keeps its memory. */
void group__clear(struct group *g);
/** Adds one record of @parts to @g, for @segment and @offset. @return 0 or ERR_NOMEM, with @g as it
 *  was. @cb may be NULL. */
int group__add(struct group *g, const struct record_header *h, uint64_t segment, uint64_t offset,
               const struct slice *parts, size_t n_parts, spool_synced_cb cb, void *data);

/** Seals, writes and syncs the runs of @g that are not done. Blocks; runs on the pool. */
void writer__run(struct writer *w, struct group *g);
void writer__close(struct writer *w);
/** Makes the empty segment @segment: reserved, with its header, durable under its name. Blocks.
 *  @return 0 or -errno; -EEXIST when there is one. */
int segment__create(const struct spool_form *f, const struct spool_io *io, int dir_fd,
                    uint64_t segment, int64_t wall_ns);
/** Makes the reserve: a file as large as a segment that is given up when the disk is full and the
 *  writer needs room for what may not wait: acknowledgements, checkpoints, STOP. Blocks. @return 0
 *  or -errno. */
int reserve__create(const struct spool_form *f, const struct spool_io *io, int dir_fd);
/** @return true when there is one. */
bool reserve__exists(int dir_fd);

#endif
