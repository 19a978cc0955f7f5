/* The descriptor of bronze_trade_metadata and the writer of its rows. */
#include "souk/core/clock.h"
#include "souk/tables.h"

static const struct column_desc trade_metadata_columns[] = {
    {"ts", "DateTime64(3, 'UTC')", COLUMN_I64},
    {"retrieved_at", "DateTime64(3, 'UTC')", COLUMN_I64},
    {"service", "LowCardinality(String)", COLUMN_STR},
    {"realm", "LowCardinality(String)", COLUMN_STR},
    {"league", "LowCardinality(String)", COLUMN_STR},
    {"league_key", "LowCardinality(String)", COLUMN_STR},
    {"origin", "LowCardinality(String)", COLUMN_STR},
    {"cursor", "String", COLUMN_STR},
    {"trade_id", "String", COLUMN_STR},
    {"item_id", "String", COLUMN_STR},
    {"item_type", "LowCardinality(String)", COLUMN_STR},
    {"variation_id", "String", COLUMN_STR},
    {"trade_category", "LowCardinality(String)", COLUMN_STR},
    {"listing_ts", "DateTime64(3, 'UTC')", COLUMN_I64},
    {"delist_ts", "DateTime64(3, 'UTC')", COLUMN_I64},
    {"trade_data_hash", "String", COLUMN_STR},
    {"price_change_flag", "UInt8", COLUMN_U8},
    {"rate_limit_raw", "String", COLUMN_STR},
    {"http_status", "UInt16", COLUMN_U16},
    {"payload", "String", COLUMN_STR},
    {"src", "LowCardinality(String)", COLUMN_STR},
    {"lsn", "UInt64", COLUMN_U64},
    {"ord", "UInt32", COLUMN_U32},
};

const struct table_desc table_bronze_trade_metadata = {
    .name = "bronze_trade_metadata",
    .columns = trade_metadata_columns,
    .n_columns = sizeof trade_metadata_columns / sizeof *trade_metadata_columns,
    .ours = "origin != 'derived'",
};

void tables__trade_metadata_row(struct batch *b, const struct trade_metadata_row *row) {
    batch__begin(b);
    batch__i64(b, row->wall_ns / NS_PER_MS);
    batch__i64(b, row->retrieved_wall_ns / NS_PER_MS);
    batch__str(b, row->service);
    batch__str(b, row->realm);
    batch__str(b, row->league);
    batch__str(b, row->league_key);
    batch__str(b, row->origin_kind);
    batch__str(b, row->cursor);
    batch__str(b, row->trade_id);
    batch__str(b, row->item_id);
    batch__str(b, row->item_type);
    batch__str(b, row->variation_id);
    batch__str(b, row->trade_category);
    batch__i64(b, row->listing_wall_ns / NS_PER_MS);
    batch__i64(b, row->delist_wall_ns / NS_PER_MS);
    batch__str(b, row->trade_data_hash);
    batch__u8(b, row->price_changed);
    batch__str(b, tables__cut(row->rate_limit_raw, RATE_LIMIT_RAW_MAX));
    batch__u16(b, row->http_status);
    batch__str(b, row->payload);
    batch__cstr(b, row->origin.src);
    batch__u64(b, row->origin.lsn);
    batch__u32(b, row->origin.ord);
    batch__end(b);
}
