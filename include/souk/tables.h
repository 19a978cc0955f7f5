/* The bronze tables: what a row is, column by column, in the order in which rows are written.
 *
 * psapi fills raw_public_stash_pages and bronze_public_stash, poe_ninja fills
 * bronze_poeninja_snapshot, and whoever refuses an entry fills bronze_quarantine; decode makes
 * these rows. The poller makes the rows of bronze_ingest_checkpoints and bronze_requests.
 *
 * Names and meanings: schema/migrations/0001_bronze.sql. Every row ends with src, lsn, ord: the
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

/** Append one row. @b is a batch of the table of the same name, and is told to have failed
 *  (batch__failed) when the row did not fit. */
void tables__raw_page_row(struct batch *b, const struct raw_page_row *row);
void tables__checkpoint_row(struct batch *b, const struct checkpoint_row *row);
void tables__request_row(struct batch *b, const struct request_row *row);
void tables__quarantine_row(struct batch *b, const struct quarantine_row *row);

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
