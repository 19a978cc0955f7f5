/* The spool itself, for the files of this room. */
#ifndef SOUK_SPOOL_INTERNAL_H
#define SOUK_SPOOL_INTERNAL_H

#include "recover.h"
#include "writer.h"

#define GROUP_BYTES ((size_t)256 << 10) /* Goes to the disk at once. */
#define GROUP_WAIT_MS 5u                /* Goes to the disk this long after the one before. */
#define RETRY_MS 250u                   /* Between attempts while the disk is full. */
#define CHORE_RETRY_MS 500u
#define RESERVE_RETRY_NS (10 * NS_PER_S)
/* Bytes in memory that are not synced: beyond the first, pages are refused; beyond the second, all.
 */
#define PENDING_DATA_MAX ((size_t)64 << 20)
#define PENDING_MAX ((size_t)128 << 20)
#define QUOTA_DEFAULT (4ull << 30)
#define HEADROOM_SEGMENTS 2 /* Behind the quota. */
#define SEGMENT_DEFAULT (64ull << 20)
#define SEGMENT_MIN                                                                                \
    (16ull << 10)      /* For tests; a segment holds its header, a record and its END.             \
                        */
#define RETIRE_MAX 64u /* Segments that one chore takes away. */

/* Labels of souk_wal_errors_total. */
enum errno_label { ERRNO_EIO, ERRNO_ENOSPC, ERRNO_OTHER, ERRNO__N };

struct spool_metrics {
    struct series *append_bytes, *sync_seconds, *group_bytes;
    struct series *size, *limit, *disk_free, *segments, *unacked, *oldest_unacked;
    struct series *refused_data, *refused_control;
    struct series *corrupt, *missing, *torn_tails, *recovery_seconds;
    struct series *errors[OP__N][ERRNO__N];
};

/** What is done on the pool beside the groups: the next segment is made, old ones are taken away.
 */
struct chore {
    uv_work_t work;
    bool busy;
    uint64_t create;             /* Segment to make; 0 for none. */
    bool reserve;                /* Make the reserve. */
    uint64_t retire[RETIRE_MAX]; /* Segments to take away, ascending. */
    size_t n_retire, n_retired;
    uint64_t peek_lsn; /* Whose record's wall time is wanted; 0 for none. */
    int64_t wall_ns;   /* When it was started; then that record's, or 0. */
    int64_t peeked_wall_ns;
    int create_err, retire_err, reserve_err; /* -errno. */
};

struct spool {
    struct spool_form form;
    uv_loop_t *loop; /* Borrowed, as is the next. */
    const struct clock *clock;
    const struct spool_io *io; /* Borrowed. */
    uint64_t quota_bytes;
    int64_t retain_ns;
    int dir_fd, bad_fd, lock_fd; /* Owned. */

    /* Where the next record goes. The last segment of the table is the one that is appended to. */
    struct segment *segments; /* Owned; ascending. Empty ones that are kept ready are not in it. */
    size_t n_segments, segments_cap;
    uint64_t offset;
    uint64_t last_file; /* Highest segment that has a file. */
    uint64_t bytes;     /* Sum over segments. */

    struct group groups[2];
    struct group *filling, *flying; /* What appends go to; what the job has. */
    struct writer writer;           /* The job's while busy. */
    uv_work_t work;
    bool busy;     /* A job is in flight, or its callbacks run. */
    bool retrying; /* flying waits for room on the disk. */
    bool due;      /* filling is old enough. */
    struct chore chore;
    int64_t group_mono_ns; /* When the last group set out; 0 before the first. */
    int64_t
        flying_mono_ns; /* When the one in flight first did, however often it was tried since. */
    uv_timer_t group_timer, chore_timer;
    int n_open_timers;

    _Atomic uint64_t synced_lsn; /* Read by readers, on any thread. */
    _Atomic unsigned generation;

    uint64_t low_water_lsn, data_end_lsn;
    uint64_t keep_lsn;      /* Segments from here on stay, below the low-water mark too. */
    int64_t oldest_wall_ns; /* 0: no data waits. */
    bool peek_wanted;       /* The low-water mark moved: oldest_wall_ns is to be read anew. */
    struct buf checkpoint;  /* Owned; the last synced one's payload. */
    bool has_checkpoint;

    bool has_reserve;
    int64_t reserve_at_mono_ns; /* When to try again to make it. */
    bool quota_full, disk_full, failed, was_clean, closing, stopped;
    uint64_t n_records, torn_bytes, corrupt_bytes;
    _Atomic uint64_t disk_free_bytes; /* Written by both kinds of job. */
    uint32_t n_missing;
    spool_close_cb close_cb;
    void *close_data;
    struct spool_metrics metrics;
};

/** Writes the gauges. */
void spool__update_metrics(struct spool *s);
/** Counts a failure; @err is negative. */
void spool__count_error(struct spool *s, enum spool_op op, int err);
/** Releases everything; the handles are closed. */
void spool__free(struct spool *s);
/** Starts the chore when there is something for it. */
void spool__start_chore(struct spool *s);
/** Asks the file system how much is free. Any thread; blocks. */
void spool__measure_disk(struct spool *s);
/** Starts a group's job when one is due. */
void spool__pump(struct spool *s);
/** Goes on closing when nothing is in flight any more. */
void spool__finish_close(struct spool *s);
/** Makes room for one more segment in the table. */
bool spool__reserve_segment(struct spool *s);
static inline struct segment *spool__last_segment(const struct spool *s) {
    return &s->segments[s->n_segments - 1];
}
static inline uint64_t spool__end_lsn(const struct spool *s) {
    return form__lsn(&s->form, spool__last_segment(s)->number, s->offset);
}

#endif
