/* Reading a spool folder without owning it: no lock is taken and nothing is changed, so it works
 * beside a running souk, on a copy, and on a folder that a crash left behind. For `souk wal`,
 * `souk verify` and `souk replay`.
 *
 * What there is to read is decided at opening: up to the last good record of the newest segment
 * that holds one. Beside a running souk that may include records that are written and not synced
 * yet; segments that it retires meanwhile are passed over. Damage is told once a range and passed;
 * mending is recovery's (spool.h). All functions block: not for the loop. */
#ifndef SOUK_SPOOL_SCAN_H
#define SOUK_SPOOL_SCAN_H

#include "souk/spool.h"

struct spool_scan;

struct spool_scan_info {
    char store_id[33];       /* 32 hex digits; empty where no segment was ever made. */
    uint32_t format_version; /* 0 where no segment was ever made, as is the next. */
    uint64_t segment_bytes;
    uint64_t first_lsn, end_lsn; /* Of what is there; behind the last good record. */
    uint64_t low_water_lsn;      /* Of the newest checkpoint; first_lsn where there is none. */
    uint64_t data_end_lsn;       /* Behind the newest page, slice or request of the segments that
                                    were searched for the checkpoint; 0 when there is none. */
    uint32_t n_segments;         /* That hold anything. */
    uint32_t n_spares;           /* Empty ones, kept ready. */
    uint32_t n_strangers;        /* Files left out: of another spool, or under another's name. */
    uint64_t file_bytes;         /* Sum of the sizes of all of them. */
    uint64_t torn_bytes;         /* Behind the last good record, cut off by the next opening. */
    bool has_checkpoint;         /* Whether low_water_lsn and checkpoint are a record's. */
    bool was_clean;              /* The last record is STOP: nobody writes, and all is synced. */
    struct slice checkpoint;     /* What its writer put there. Borrowed until close. */
    uint64_t gap_bytes; /* Set aside by earlier recoveries, as far as was read until now. */
};

/** Where the last ERR_CORRUPT of spool_scan__next was. */
struct spool_scan_damage {
    uint64_t segment;
    uint64_t from, to; /* Offsets in it; the whole segment is gone where both are 0. */
};

/** Opens the folder @dir. On success @out is owned by the caller and ended by spool_scan__close.
 *  @return 0; ERR_NOT_FOUND when there is no such folder; ERR_CORRUPT for another format version;
 *  ERR_IO; ERR_NOMEM. */
int spool_scan__open(struct spool_scan **out, const char *dir, struct err *e);
void spool_scan__info(const struct spool_scan *s, struct spool_scan_info *out);
/** Goes on at the first record at or behind @lsn, which need not be a record's position. A scan
 *  starts at first_lsn. */
void spool_scan__seek(struct spool_scan *s, uint64_t lsn);
/** Reads the next record. Its payload is borrowed until the next call; a CHECKPOINT's is its
 *  writer's.
 *  @return 1 with @out filled; 0 at the end of what was there at opening; ERR_CORRUPT with @e
 * filled where a damaged range or a missing segment was passed, the next call goes on behind it;
 * ERR_IO or ERR_NOMEM with @e filled, where the next call tries again. */
int spool_scan__next(struct spool_scan *s, struct spool_record *out, struct err *e);
/** Fills @out after an ERR_CORRUPT. */
void spool_scan__damage(const struct spool_scan *s, struct spool_scan_damage *out);
/** @s may be NULL. */
void spool_scan__close(struct spool_scan *s);

#endif
