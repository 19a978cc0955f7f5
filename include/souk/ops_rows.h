/* Rows about souk itself: what an OPS record of the log holds, and how it becomes rows.
 *
 * Its payload is one JSON object, {"table":"proc_logs","rows":[{"ts":1732200000000,...}]}. A field
 * goes to the column of its name: times are milliseconds since 1970, UTC; what is missing is 0 or
 * ""; src is "souk", lsn the record's position and ord the place in the array. A table of this kind
 * is a descriptor in tables_ops.c, a migration, and a writer of such records. */
#ifndef SOUK_OPS_ROWS_H
#define SOUK_OPS_ROWS_H

#include "souk/core/batch.h"
#include "souk/spool.h"

#define OPS_ROWS_MAX 1024 /* In one record. */

/** Appends to @rows what the OPS record @rec says. A row that does not fit its table becomes a
 *  quarantine row with a reason, and so does a record that cannot be read. Pure: the same record,
 *  the same rows. @return 0; ERR_MALFORMED, with the quarantine row in @rows, when the record as a
 *  whole cannot be read; ERR_NOMEM. */
int ops_rows__make(const struct spool_record *rec, struct rows *rows);

#endif
