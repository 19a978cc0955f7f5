/* The bronze tables: what a row is, column by column, in the order in which rows are written.
 *
 * psapi fills raw_public_stash_pages and bronze_public_stash, poe_ninja fills
 * bronze_poeninja_snapshot, and whoever refuses an entry fills bronze_quarantine; decode makes
 * these rows. The poller makes the rows of bronze_ingest_checkpoints and bronze_requests.
 * currency_exchange fills bronze_exchange_events and bronze_exchange_gaps, leagues and enrichment
 * the tables of their names.
 *
 * Names and meanings: schema/migrations/. Every row ends with src, lsn, ord: the
 * source, the position in its log and the ordinal there, which together are unique in a table. */
#ifndef SOUK_TABLES_H
#define SOUK_TABLES_H

#include "souk/core/batch.h"

extern const struct table_desc table_raw_public_stash_pages;
extern const struct table_desc table_bronze_public_stash;
extern const struct table_desc table_bronze_poeninja_snapshot;
extern const struct table_desc table_bronze_ingest_checkpoints; /* after_data */
extern const struct table_desc table_bronze_requests;
extern const struct table_desc table_bronze_quarantine;
extern const struct table_desc table_bronze_exchange_events;
extern const struct table_desc table_bronze_exchange_gaps;
extern const struct table_desc table_bronze_leagues;
extern const struct table_desc table_bronze_enrichment;
extern const struct table_desc table_bronze_account_stash_snapshot; /* 0006_account.sql, */
extern const struct table_desc table_ops_scope_audit;               /* and so is this. */
extern const struct table_desc table_bronze_trade_metadata;
extern const struct table_desc table_poe_ingest_status; /* latest_wins */
extern const struct table_desc table_proc_logs;
extern const struct table_desc table_silver_listing_events; /* derived; its rows: listing_row.h */

/* Longest refused payload and value that a quarantine row keeps; longer ones are cut between two
 * characters. */
#define QUARANTINE_PAYLOAD_MAX 4096
#define QUARANTINE_VALUE_MAX 256

/** Where a row comes from. Strings of all row structs are borrowed for the call; times are
 *  nanoseconds since 1970 UTC and are stored in milliseconds. */
struct row_origin {
    const char *src; /* The source's name. */
    uint64_t lsn;    /* Of the record in the log that the row comes from. */
    uint32_t ord;    /* Counts the rows of that record in this table from 0. */
};

/** One page, as received. */
struct raw_page_row {
    int64_t ingested_wall_ns;
    struct slice realm, cursor, next_cursor;
    uint32_t stash_count; /* Tombstones included. */
    struct slice payload;
    struct slice payload_hash; /* tables__hash of payload. */
    struct row_origin origin;
};

/** One page or answer that moved, or tried to move, a cursor. */
struct checkpoint_row {
    struct slice service, realm, league, endpoint;
    struct slice last_cursor_id, next_cursor_id;
    struct slice cursor_hash; /* tables__hash of next_cursor_id. */
    int64_t retrieved_wall_ns;
    uint32_t retry_count; /* Attempts beyond the first. */
    struct slice retry_reason, status;
    uint16_t http_status;
    uint32_t response_ms; /* From the request sent to the last byte of its answer. */
    uint64_t rows, bytes;
    uint32_t latency_ms; /* From the request sent to the page synced. */
    struct row_origin origin;
};

/** One request, answered or not. */
struct request_row {
    int64_t requested_wall_ns; /* Sent. */
    int64_t done_wall_ns;      /* Answered or failed: column ts. */
    struct slice service, realm, league, endpoint, http_method;
    uint16_t status; /* HTTP; 0 when there was no answer. */
    uint32_t attempts, response_ms;
    uint64_t bytes;
    struct slice rate_limit_policy, rate_limit_raw, rate_limit_state;
    uint32_t retry_after_seconds;
    struct slice error;
    struct row_origin origin;
};

/** One entry, or one field of an entry, that the firewall refused. */
struct quarantine_row {
    int64_t wall_ns; /* Column ts. */
    struct slice source, table_name;
    struct slice reason; /* Of include/souk/quality.h. */
    struct slice field;  /* Path of what was refused, e.g. stashes[3].items[0].ilvl. */
    struct slice value;  /* As text; cut at QUARANTINE_VALUE_MAX. */
    struct slice cursor;
    struct slice payload; /* The entry; cut at QUARANTINE_PAYLOAD_MAX. */
    struct row_origin origin;
};

/** One market of one hour of the currency exchange. Of each pair [0] is the base's, [1] the
 * quote's; all numbers as sent, 0 without trades. */
struct exchange_row {
    int64_t recorded_wall_ns, hour_wall_ns;
    uint64_t next_change_id; /* Unix time in seconds. */
    struct slice realm, league, league_key, market_id, base, quote;
    uint64_t volume[2], lowest_ratio[2], highest_ratio[2], lowest_stock[2], highest_stock[2];
    double ratio_low, ratio_high; /* Quote per base. */
    struct row_origin origin;
};

/** One hour of the currency exchange that is not there. */
struct exchange_gap_row {
    int64_t recorded_wall_ns, hour_wall_ns, next_hour_wall_ns;
    struct slice realm, reason;
    struct row_origin origin;
};

struct league_row {
    int64_t retrieved_wall_ns;
    struct slice league, realm;
    int64_t start_wall_ns, end_wall_ns, register_wall_ns; /* 0: not sent. */
    struct slice category;
    bool is_current, is_event;
    struct slice rules, payload, payload_hash;
    struct row_origin origin;
};

struct enrichment_row {
    int64_t retrieved_wall_ns;
    struct slice source, page, key, mod_id, mod_description, craft_group;
    double gold_per_unit;
    struct slice licence, attribution;
    bool stale;
    struct slice payload;
    struct row_origin origin;
};

/** One item of a tab of the account's own stash. */
struct account_stash_row {
    struct slice snapshot_id;
    int64_t captured_wall_ns;
    struct slice account_hash, realm, league, league_key;
    struct slice tab_id, parent_tab_id, tab_name;
    uint32_t tab_index;
    struct slice tab_type, item_id, parent_item_id, item_type_id, base_type, type_line, name;
    struct slice rarity;
    uint8_t frame_type;
    uint16_t ilvl;
    bool identified, corrupted;
    uint32_t stack_size;
    uint16_t x, y; /* Columns and rows; of a socketed item the socket and 0. */
    uint8_t w, h;
    struct slice note;
    uint64_t mods_hash;
    struct slice extra;
    struct slice payload_hash; /* tables__hash of the tab's body. */
    struct row_origin origin;
};

/** One answer of the token endpoint about one scope. */
struct scope_audit_row {
    int64_t wall_ns; /* Column ts. */
    struct slice scope;
    bool available;
    uint16_t http_status;
    struct slice detail;
    uint32_t expires_in_s; /* 0: no token, or not said. */
    struct row_origin origin;
};

#define TRADE_FLAG_UNKNOWN 255
#define RATE_LIMIT_RAW_MAX 512 /* Of a row that repeats it; longer ones are cut. */
/** One listing as the trade site, a gateway or the tape tells of it, or an entry of a resource. */
struct trade_metadata_row {
    int64_t wall_ns;           /* Column ts: when it was received, or happened. */
    int64_t retrieved_wall_ns; /* When its page was received. */
    struct slice service, realm, league, league_key;
    struct slice origin_kind; /* Column origin: remote, derived or resource. */
    struct slice cursor, trade_id, item_id, item_type, variation_id, trade_category;
    int64_t listing_wall_ns, delist_wall_ns; /* 0: not listed; not delisted. */
    struct slice trade_data_hash;
    uint8_t price_changed; /* 0, 1, or TRADE_FLAG_UNKNOWN: the listing does not say. */
    struct slice rate_limit_raw;
    uint16_t http_status; /* 0: nothing was asked for it. */
    struct slice payload;
    struct row_origin origin;
};

/** Append one row. @b is a batch of the table of the same name, and is told to have failed
 *  (batch__failed) when the row did not fit. */
void tables__raw_page_row(struct batch *b, const struct raw_page_row *row);
void tables__checkpoint_row(struct batch *b, const struct checkpoint_row *row);
void tables__request_row(struct batch *b, const struct request_row *row);
void tables__quarantine_row(struct batch *b, const struct quarantine_row *row);
void tables__exchange_row(struct batch *b, const struct exchange_row *row);
void tables__exchange_gap_row(struct batch *b, const struct exchange_gap_row *row);
void tables__league_row(struct batch *b, const struct league_row *row);
void tables__enrichment_row(struct batch *b, const struct enrichment_row *row);
void tables__account_stash_row(struct batch *b, const struct account_stash_row *row);
void tables__scope_audit_row(struct batch *b, const struct scope_audit_row *row);
void tables__trade_metadata_row(struct batch *b, const struct trade_metadata_row *row);

#define TABLES_HASH_SIZE 33
/** Writes xxh3-128 of @bytes as 32 hex digits and a zero to @out, and returns it as a slice of
 *  @out. It is what the columns payload_hash and cursor_hash hold. */
struct slice tables__hash(struct slice bytes, char out[TABLES_HASH_SIZE]);

/** @return @s without its end so that it has at most @max bytes and, when it was UTF-8, still is.
 */
struct slice tables__cut(struct slice s, size_t max);

/** @return all descriptors above, in the order of their names, and their number. */
const struct table_desc *const *tables__all(size_t *n);

#endif
