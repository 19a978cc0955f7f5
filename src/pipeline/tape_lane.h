/* The tape's lane: a reader of the log that never jumps. It takes pages of psapi through the tape
 * on the thread pool and hands the events to the store's FEED_TAPE.
 *
 * Exactly once, across crashes: what the tape says is a function of its snapshot and of the records
 * behind it. A snapshot is written only when every event of the records below its position is
 * stored: the lane stands still until that is so, then the thread pool writes it. The checkpoint
 * keeps the log from that position on. So after a crash the lane starts at the snapshot, the same
 * records make the same rows, and meet the seals that the log has of them: those acknowledged are
 * dropped, the others are sent again with their tokens.
 *
 * Where there is no snapshot, the tape starts empty at the log's low-water mark, and the checkpoint
 * says so, so that a crash before the first snapshot starts there again. When a snapshot that there
 * was is lost or damaged, rows would differ from those that were stored: pages up to the last seal
 * are then remembered and their events not told. Nothing is stored twice; batches that were sealed
 * and not acknowledged may lack. A snapshot of another log is removed. */
#ifndef SOUK_CLI_TAPE_LANE_H
#define SOUK_CLI_TAPE_LANE_H

#include "souk/decoder.h"
#include "souk/tape_records.h"
#include <uv.h>

struct app;

/** What a checkpoint says of where the tape starts. Written to the log: values stay. */
enum tape_origin {
    TAPE_ORIGIN_NONE = 0,     /* There was no tape. */
    TAPE_ORIGIN_EMPTY = 1,    /* Without memory, at lsn. */
    TAPE_ORIGIN_SNAPSHOT = 2, /* From a snapshot, which is of lsn or newer. */
};
struct tape_mark {
    enum tape_origin origin;
    uint64_t lsn, tell_from_lsn; /* See tape_records. */
};

/** What recovery knows when it has read the log. */
struct tape_start {
    struct tape_mark mark; /* The last checkpoint's. */
    uint64_t low_water_lsn;
    uint64_t behind_seals_lsn;     /* Behind the last page of all seals of its table; 0: none. */
    const char *followed;          /* At the low-water mark, */
    const char *snapshot_followed; /* and at the snapshot's position. */
};

enum tape_state {
    TAPE_OFF,
    TAPE_LOADING,
    TAPE_READING,
    TAPE_PAUSED, /* Waits until all it said is stored, to write a snapshot. */
    TAPE_SAVING,
};

struct tape_lane {
    struct app *app;
    enum tape_state state;
    char path[512];
    struct tape *tape;           /* Owned. The job's own while one runs. */
    struct tape_records records; /* The same. */
    struct decoder *decoder;     /* NULL before it is loaded. */
    struct tape_mark mark;       /* For the next checkpoint. */
    char *followed;              /* Owned: at mark.lsn. */
    struct tape_start start;     /* Texts owned, while TAPE_LOADING. */
    uv_work_t work;
    uint64_t work_lsn;
    int work_status;
    struct err work_err;
    int64_t work_ns, work_wall_ns; /* What it took; when the file was written. */
    int64_t tried_mono_ns;         /* When a snapshot was last written or tried. */
    int64_t snapshot_wall_ns;      /* 0: none. */
    int64_t save_ns;               /* What the last one took. */
    uint64_t saved_versions;       /* Of tape_status, when it was written. */
    bool stopping, stopped_saving;
    void (*close_cb)(void *data);
    /* After the last job. */
    struct tape_status status;
    uint64_t n_told[TAPE_KINDS], n_forgotten_told, n_undecodable_told;
    uint64_t n_held_told, n_partial_told, n_lost_told, n_forgotten_leagues_told, n_unnamed_told,
        n_crowded_told, n_refused_told;
    struct {
        struct series *items, *stashes, *bytes, *events[TAPE_KINDS], *forgotten, *snapshot,
            *failures, *undecodable, *lag, *held, *partial, *lost, *leagues, *forgotten_leagues,
            *crowded, *unnamed, *refused;
    } m;
};

/** Looks for the snapshot of this log. @return true with the position from which on the log has to
 *  be read for it; false when the tape is off or there is none that this log can go on from. */
bool tape_lane__find(struct app *a, uint64_t *lsn);
/** Starts loading on the thread pool, then reads. @start is copied. Does nothing when the tape is
 *  off. @return 0 or an error. */
int tape_lane__open(struct app *a, const struct tape_start *start, struct err *e);
/** There may be something to read, or room. */
void tape_lane__wake(struct app *a);
/** Once a second: reads on, writes the snapshot when it is due, measures. */
void tape_lane__second(struct app *a);
/** @return what a checkpoint says of it, with the leagues that are followed there. */
struct tape_mark tape_lane__mark(const struct app *a, const char **followed);
/** @return true while it loads, or has something synced to read and room for it. */
bool tape_lane__busy(const struct app *a);
/** On the way down, when all is stored: writes a last snapshot, when that takes a few seconds at
 *  most. @return true while that goes on: ask again. */
bool tape_lane__stop(struct app *a);
/** Appends the object "tape" of the status. */
void tape_lane__status_json(const struct app *a, struct buf *out);
/** Ends after the job in flight, then calls @cb with @a. */
void tape_lane__close(struct app *a, void (*cb)(void *data));

#endif
