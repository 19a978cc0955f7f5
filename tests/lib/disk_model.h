/* A disk for the spool that can fail, fill up, and lose power.
 *
 * The model sits under struct spool_io (src/spool/io.h). The files are real ones in a folder in
 * memory, so readers see what a page cache would show; beside them the model keeps what is durable:
 * bytes that were synced, names of folders that were synced, and in order what was not yet. From
 * that a crash builds a folder as a disk could hold it: each 512-byte sector of an unsynced write is
 * there or is not, whatever came later (so writes are lost, torn and reordered), an unsynced change
 * of a file's length too, and unsynced changes of names either stop at some point or are a subset.
 *
 * How to use it:
 *
 *     struct disk_model *disk = disk_model__new(seed);
 *     options.dir = disk_model__dir(disk);
 *     spool__open_io(&spool, &loop, &clock, &metrics, &options, disk_model__io(disk), &e);
 *     disk_model__stop_after(disk, k);       // the k-th call from here on is cut off half-way
 *     ... run the loop until it idles or disk_model__stopped(disk) ...
 *     spool__close(spool, ...); run the loop;  // changes nothing any more
 *     disk_model__crash(disk, DISK_POWER_CUT); // the folder is now what the disk kept
 *     spool__open_io(...)                      // and the next life begins
 *     disk_model__free(disk);
 *
 * The same seed and the same calls give the same folder. For that the program must let the loop go
 * idle between its steps, and set UV_THREADPOOL_SIZE=1 before it uses libuv (disk_model__new does).
 * One thread at a time may call the functions below; the pool's calls are locked. */
#ifndef SOUK_TESTS_DISK_MODEL_H
#define SOUK_TESTS_DISK_MODEL_H

#include "../../src/spool/io.h"
#include <stdbool.h>
#include <stdint.h>

struct disk_model;

enum disk_call {
    DISK_CREATE = 1,
    DISK_WRITE = 2,
    DISK_SYNC = 4,
    DISK_RESERVE = 8,
    DISK_TRUNCATE = 16,
    DISK_RENAME = 32,
    DISK_LINK = 64,
    DISK_UNLINK = 128,
    DISK_SYNC_DIR = 256,
    DISK_ANY = 511
};

/** What the next calls return. A failed sync drops what it should have made durable: readers still
 *  see it, no later sync brings it back (that is what Linux does). */
struct disk_fault {
    unsigned calls;  /* Which, bits of enum disk_call. */
    uint64_t n_pass; /* Of those pass first. */
    uint64_t n_fail; /* Of those then fail. */
    int errnum;      /* With this. 0: writes take less than half of their bytes instead. */
};

enum disk_crash {
    DISK_KILL,     /* The process alone ended: the page cache survives. */
    DISK_POWER_CUT /* What was not synced is lost, torn or reordered. */
};

/** Makes a disk with an empty folder, in memory where there is such a file system. Fails the
 *  program when it cannot. */
struct disk_model *disk_model__new(uint64_t seed);
/** Removes the folder too. */
void disk_model__free(struct disk_model *d);
const char *disk_model__dir(const struct disk_model *d);
/** For spool__open_io. Borrowed. */
const struct spool_io *disk_model__io(struct disk_model *d);
/** Replaces the fault that was set before. */
void disk_model__set_fault(struct disk_model *d, const struct disk_fault *f);
/** Calls fail with ENOSPC that would let all files together exceed @bytes. 0: without limit. */
void disk_model__set_capacity(struct disk_model *d, uint64_t bytes);
/** Each sync sleeps that long, on the thread that calls it. */
void disk_model__set_sync_delay(struct disk_model *d, unsigned ms);
/** The machine stops at the @k-th call from here on (1 is the next): a write takes part of its
 *  bytes, other calls do nothing; it and all later ones fail with EIO. 0: never. */
void disk_model__stop_after(struct disk_model *d, uint64_t k);
bool disk_model__stopped(const struct disk_model *d);
/** @return calls until now. */
uint64_t disk_model__n_calls(const struct disk_model *d);
/** @return bytes of all files, as the capacity counts them. */
uint64_t disk_model__used_bytes(const struct disk_model *d);
/** @return syncs of a file that had a failed one before: must stay 0. */
uint64_t disk_model__n_poisoned_syncs(const struct disk_model *d);
/** Ends a life: to be called when the spool is closed. Faults are taken back, the machine runs. */
void disk_model__crash(struct disk_model *d, enum disk_crash kind);

#endif
