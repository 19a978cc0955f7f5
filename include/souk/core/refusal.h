/* What a QUARANTINE record of the log says: one row of a sealed batch that ClickHouse refuses. The
 * store writes it before it goes on with the batch's other rows; the decoder makes a row of
 * bronze_quarantine of it, so that the refusal is delivered as once as any row. */
#ifndef SOUK_CORE_REFUSAL_H
#define SOUK_CORE_REFUSAL_H

#include "souk/core/buf.h"
#include "souk/core/err.h"

#define REFUSAL_REASON "rejected_by_store"

struct refusal {
    struct slice token;       /* Of the batch; 32 hex digits. */
    uint64_t row;             /* Of the batch, from 0. */
    struct slice table, part; /* Of the batch. */
    struct slice src;         /* The row's source; "" when its table has none. */
    uint64_t lsn, ord;        /* The row's origin. */
    int64_t wall_ns;          /* When it was refused. */
    int32_t code;             /* ClickHouse's error code. */
    struct slice message;     /* Its words, cut. */
    struct slice payload;     /* The row as an object in JSON, cut. */
};

/** Appends @r to @out. */
void refusal__encode(const struct refusal *r, struct buf *out);
/** Reads it back; slices point into @payload. @return 0 or ERR_CORRUPT. */
int refusal__decode(struct slice payload, struct refusal *out);

#endif
