/* The descriptors of the bronze tables and the writers of the rows that decode does not make. The
 * order of the columns here is the order of the batch__ calls; batch.c asserts that they agree. */
#include "table_columns.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

static const struct column_desc raw_page_columns[] = {
    TIME("ingested_at"), WORD("realm"),   TEXT("cursor"),       TEXT("next_cursor"),
    U32("stash_count"),  TEXT("payload"), TEXT("payload_hash"), ORIGIN,
};

static const struct column_desc public_stash_columns[] = {
    TIME("ingest_ts"),
    TIME("ingested_at"),
    WORD("realm"),
    WORD("league"),
    WORD("league_key"),
    TEXT("cursor"),
    TEXT("next_cursor"),
    TEXT("stash_id"),
    TEXT("stash_name"),
    WORD("stash_type"),
    TEXT("listing_id"),
    TEXT("seller"),
    TEXT("item_id"),
    TEXT("item_type_id"),
    WORD("base_type"),
    TEXT("type_line"),
    TEXT("name"),
    WORD("rarity"),
    U8("frame_type"),
    U16("ilvl"),
    U8("identified"),
    U8("corrupted"),
    U32("stack_size"),
    TEXT("note"),
    WORD("price_currency"),
    PRICE("price_amount"),
    PRICE("price_total"),
    PRICE("price_lot"),
    WORD("price_kind"),
    WORD("price_source"),
    TIME("timestamp"),
    U64("mods_hash"),
    TEXT("extra"),
    WORD("price_none"),
    ORIGIN,
};

static const struct column_desc poeninja_columns[] = {
    TIME("sample_time_utc"),
    WORD("league"),
    WORD("league_key"),
    WORD("overview"),
    WORD("kind"),
    TEXT("detailsId"),
    TEXT("name"),
    TEXT("variant"),
    F64("chaosEquivalent"),
    F64("divineEquivalent"),
    F64("volume_chaos"),
    U32("listing_count"),
    {"sparkline", "Array(Float32)", COLUMN_ARR_F32},
    U8("stale"),
    TEXT("payload_hash"),
    ORIGIN,
};

static const struct column_desc checkpoint_columns[] = {
    WORD("service"),
    WORD("realm"),
    WORD("league"),
    WORD("endpoint"),
    TEXT("last_cursor_id"),
    TEXT("next_cursor_id"),
    TEXT("cursor_hash"),
    TIME("retrieved_at"),
    U32("retry_count"),
    WORD("retry_reason"),
    WORD("status"),
    U16("http_status"),
    U32("response_ms"),
    U64("rows"),
    U64("bytes"),
    U32("latency_ms"),
    ORIGIN,
};

static const struct column_desc request_columns[] = {
    TIME("requested_at"),
    TIME("ts"),
    WORD("service"),
    WORD("realm"),
    WORD("league"),
    WORD("endpoint"),
    WORD("http_method"),
    U16("status"),
    U32("attempts"),
    U32("response_ms"),
    U64("bytes"),
    WORD("rate_limit_policy"),
    TEXT("rate_limit_raw"),
    TEXT("rate_limit_state"),
    U32("retry_after_seconds"),
    TEXT("error"),
    ORIGIN,
};

static const struct column_desc quarantine_columns[] = {
    TIME("ts"),    WORD("source"), WORD("table_name"), WORD("reason"), TEXT("field"),
    TEXT("value"), TEXT("cursor"), TEXT("payload"),    ORIGIN,
};

const struct table_desc table_raw_public_stash_pages = {
    .name = "raw_public_stash_pages",
    .columns = raw_page_columns,
    .n_columns = N_OF(raw_page_columns),
    .about_pages = true,
};
const struct table_desc table_bronze_public_stash = {
    .name = "bronze_public_stash",
    .columns = public_stash_columns,
    .n_columns = N_OF(public_stash_columns),
};
const struct table_desc table_bronze_poeninja_snapshot = {
    .name = "bronze_poeninja_snapshot",
    .columns = poeninja_columns,
    .n_columns = N_OF(poeninja_columns),
};
const struct table_desc table_bronze_ingest_checkpoints = {
    .name = "bronze_ingest_checkpoints",
    .columns = checkpoint_columns,
    .n_columns = N_OF(checkpoint_columns),
    .about_pages = true,
    .after_data = true,
};
const struct table_desc table_bronze_requests = {
    .name = "bronze_requests",
    .columns = request_columns,
    .n_columns = N_OF(request_columns),
    .about_pages = true,
    .patient = true,
};
const struct table_desc table_bronze_quarantine = {
    .name = "bronze_quarantine",
    .columns = quarantine_columns,
    .n_columns = N_OF(quarantine_columns),
    .about_pages = true,
};

static const struct table_desc *const all_tables[] = {
    &table_bronze_account_stash_snapshot,
    &table_bronze_enrichment,
    &table_bronze_exchange_events,
    &table_bronze_exchange_gaps,
    &table_bronze_ingest_checkpoints,
    &table_bronze_leagues,
    &table_bronze_poeninja_snapshot,
    &table_bronze_public_stash,
    &table_bronze_quarantine,
    &table_bronze_requests,
    &table_bronze_trade_metadata,
    &table_ops_scope_audit,
    &table_poe_ingest_status,
    &table_proc_logs,
    &table_raw_public_stash_pages,
    &table_silver_listing_events,
};

const struct table_desc *const *tables__all(size_t *n) {
    *n = N_OF(all_tables);
    return all_tables;
}

struct slice tables__hash(struct slice bytes, char out[TABLES_HASH_SIZE]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.base, bytes.len));
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        out[2 * i] = "0123456789abcdef"[canonical.digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[canonical.digest[i] & 15];
    }
    out[TABLES_HASH_SIZE - 1] = '\0';
    return slice__of(out, TABLES_HASH_SIZE - 1);
}

struct slice tables__cut(struct slice s, size_t max) {
    if (s.len <= max) return s;
    size_t len = max;
    /* Back to the start of the character that the cut would split; four bytes is the longest. */
    for (int i = 0; i < 3 && len > 0 && ((unsigned char)s.base[len] & 0xc0) == 0x80; i++) len--;
    return slice__of(s.base, len);
}

void tables__raw_page_row(struct batch *b, const struct raw_page_row *row) {
    batch__begin(b);
    write_time(b, row->ingested_wall_ns);
    batch__str(b, row->realm);
    batch__str(b, row->cursor);
    batch__str(b, row->next_cursor);
    batch__u32(b, row->stash_count);
    batch__str(b, row->payload);
    batch__str(b, row->payload_hash);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__checkpoint_row(struct batch *b, const struct checkpoint_row *row) {
    batch__begin(b);
    batch__str(b, row->service);
    batch__str(b, row->realm);
    batch__str(b, row->league);
    batch__str(b, row->endpoint);
    batch__str(b, row->last_cursor_id);
    batch__str(b, row->next_cursor_id);
    batch__str(b, row->cursor_hash);
    write_time(b, row->retrieved_wall_ns);
    batch__u32(b, row->retry_count);
    batch__str(b, row->retry_reason);
    batch__str(b, row->status);
    batch__u16(b, row->http_status);
    batch__u32(b, row->response_ms);
    batch__u64(b, row->rows);
    batch__u64(b, row->bytes);
    batch__u32(b, row->latency_ms);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__request_row(struct batch *b, const struct request_row *row) {
    batch__begin(b);
    write_time(b, row->requested_wall_ns);
    write_time(b, row->done_wall_ns);
    batch__str(b, row->service);
    batch__str(b, row->realm);
    batch__str(b, row->league);
    batch__str(b, row->endpoint);
    batch__str(b, row->http_method);
    batch__u16(b, row->status);
    batch__u32(b, row->attempts);
    batch__u32(b, row->response_ms);
    batch__u64(b, row->bytes);
    batch__str(b, row->rate_limit_policy);
    batch__str(b, row->rate_limit_raw);
    batch__str(b, row->rate_limit_state);
    batch__u32(b, row->retry_after_seconds);
    batch__str(b, row->error);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__quarantine_row(struct batch *b, const struct quarantine_row *row) {
    batch__begin(b);
    write_time(b, row->wall_ns);
    batch__str(b, row->source);
    batch__str(b, row->table_name);
    batch__str(b, row->reason);
    batch__str(b, row->field);
    batch__str(b, tables__cut(row->value, QUARANTINE_VALUE_MAX));
    batch__str(b, row->cursor);
    batch__str(b, tables__cut(row->payload, QUARANTINE_PAYLOAD_MAX));
    write_origin(b, &row->origin);
    batch__end(b);
}
