/* The descriptors of the tables about souk itself. Their rows are written by ops_rows.c, which goes
 * by the names here, so a table of this kind needs no function of its own. */
#include "table_columns.h"

static const struct column_desc status_columns[] = {
    WORD("service"),        WORD("realm"),         WORD("league"),     TEXT("stream"),
    WORD("endpoint"),       WORD("state"),         TEXT("reason"),     TEXT("last_cursor"),
    TEXT("next_change_id"), F64("request_rate"),   U64("error_count"), TIME("last_ingest_time"),
    F64("avg_req_per_sec"), TIME("stalled_since"), TIME("updated_at"), ORIGIN,
};

static const struct column_desc log_columns[] = {
    TIME("ts"), WORD("level"), WORD("room"), TEXT("message"), TEXT("fields"), ORIGIN,
};

const struct table_desc table_poe_ingest_status = {
    .name = "poe_ingest_status",
    .columns = status_columns,
    .n_columns = N_OF(status_columns),
    .patient = true,
    .latest_wins = true,
};
const struct table_desc table_proc_logs = {
    .name = "proc_logs",
    .columns = log_columns,
    .n_columns = N_OF(log_columns),
    .patient = true,
};
