/* The tables of migration 0004: the currency exchange, the leagues, the enrichment. As in tables.c
 * the columns and the cells of a row have one order. */
#include "../table_columns.h"

static const struct column_desc exchange_columns[] = {
    TIME("recorded_at"),
    WORD("realm"),
    TIME("hour_ts"),
    U64("next_change_id"),
    WORD("league"),
    WORD("league_key"),
    TEXT("market_id"),
    WORD("base"),
    WORD("quote"),
    U64("volume_base"),
    U64("volume_quote"),
    F64("lowest_ratio"),
    F64("highest_ratio"),
    U64("lowest_ratio_base"),
    U64("lowest_ratio_quote"),
    U64("highest_ratio_base"),
    U64("highest_ratio_quote"),
    U64("lowest_stock"),
    U64("highest_stock"),
    U64("lowest_stock_quote"),
    U64("highest_stock_quote"),
    ORIGIN,
};
static const struct column_desc exchange_gap_columns[] = {
    TIME("recorded_at"),  WORD("realm"),  TIME("hour_ts"),
    TIME("next_hour_ts"), WORD("reason"), ORIGIN,
};
static const struct column_desc league_columns[] = {
    TIME("retrieved_at"), WORD("league"),       WORD("realm"),    TIME("start_at"), TIME("end_at"),
    TIME("register_at"),  WORD("category"),     U8("is_current"), U8("is_event"),   TEXT("rules"),
    TEXT("payload"),      TEXT("payload_hash"), ORIGIN,
};
static const struct column_desc enrichment_columns[] = {
    TIME("retrieved_at"),
    WORD("source"),
    WORD("page"),
    TEXT("key"),
    TEXT("mod_id"),
    TEXT("mod_description"),
    TEXT("craft_group"),
    F64("gold_per_unit"),
    WORD("licence"),
    TEXT("attribution"),
    U8("stale"),
    TEXT("payload"),
    ORIGIN,
};

const struct table_desc table_bronze_exchange_events = {
    .name = "bronze_exchange_events",
    .columns = exchange_columns,
    .n_columns = N_OF(exchange_columns),
};
const struct table_desc table_bronze_exchange_gaps = {
    .name = "bronze_exchange_gaps",
    .columns = exchange_gap_columns,
    .n_columns = N_OF(exchange_gap_columns),
    .about_pages = true,
};
const struct table_desc table_bronze_leagues = {
    .name = "bronze_leagues",
    .columns = league_columns,
    .n_columns = N_OF(league_columns),
};
const struct table_desc table_bronze_enrichment = {
    .name = "bronze_enrichment",
    .columns = enrichment_columns,
    .n_columns = N_OF(enrichment_columns),
};

void tables__exchange_row(struct batch *b, const struct exchange_row *row) {
    batch__begin(b);
    write_time(b, row->recorded_wall_ns);
    batch__str(b, row->realm);
    write_time(b, row->hour_wall_ns);
    batch__u64(b, row->next_change_id);
    batch__str(b, row->league);
    batch__str(b, row->league_key);
    batch__str(b, row->market_id);
    batch__str(b, row->base);
    batch__str(b, row->quote);
    batch__u64(b, row->volume[0]);
    batch__u64(b, row->volume[1]);
    batch__f64(b, row->ratio_low);
    batch__f64(b, row->ratio_high);
    batch__u64(b, row->lowest_ratio[0]);
    batch__u64(b, row->lowest_ratio[1]);
    batch__u64(b, row->highest_ratio[0]);
    batch__u64(b, row->highest_ratio[1]);
    batch__u64(b, row->lowest_stock[0]);
    batch__u64(b, row->highest_stock[0]);
    batch__u64(b, row->lowest_stock[1]);
    batch__u64(b, row->highest_stock[1]);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__exchange_gap_row(struct batch *b, const struct exchange_gap_row *row) {
    batch__begin(b);
    write_time(b, row->recorded_wall_ns);
    batch__str(b, row->realm);
    write_time(b, row->hour_wall_ns);
    write_time(b, row->next_hour_wall_ns);
    batch__str(b, row->reason);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__league_row(struct batch *b, const struct league_row *row) {
    batch__begin(b);
    write_time(b, row->retrieved_wall_ns);
    batch__str(b, row->league);
    batch__str(b, row->realm);
    write_time(b, row->start_wall_ns);
    write_time(b, row->end_wall_ns);
    write_time(b, row->register_wall_ns);
    batch__str(b, row->category);
    batch__u8(b, row->is_current);
    batch__u8(b, row->is_event);
    batch__str(b, row->rules);
    batch__str(b, row->payload);
    batch__str(b, row->payload_hash);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__enrichment_row(struct batch *b, const struct enrichment_row *row) {
    batch__begin(b);
    write_time(b, row->retrieved_wall_ns);
    batch__str(b, row->source);
    batch__str(b, row->page);
    batch__str(b, row->key);
    batch__str(b, row->mod_id);
    batch__str(b, row->mod_description);
    batch__str(b, row->craft_group);
    batch__f64(b, row->gold_per_unit);
    batch__str(b, row->licence);
    batch__str(b, row->attribution);
    batch__u8(b, row->stale);
    batch__str(b, row->payload);
    write_origin(b, &row->origin);
    batch__end(b);
}
