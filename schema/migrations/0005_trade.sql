-- What the trade site, a gateway or the tape tells of listings, and the trade site's own lists.
-- No Nullable: an absent word is '', an absent time is 1970-01-01.

CREATE TABLE IF NOT EXISTS bronze_trade_metadata
(
    `ts` DateTime64(3, 'UTC') COMMENT 'When it was received; when it happened for derived rows' CODEC(DoubleDelta, ZSTD(1)),
    `retrieved_at` DateTime64(3, 'UTC') COMMENT 'When the page that it comes from was received' CODEC(DoubleDelta, ZSTD(1)),
    `service` LowCardinality(String) COMMENT 'trade_data',
    `realm` LowCardinality(String) COMMENT 'pc, xbox or sony; empty where there is none',
    `league` LowCardinality(String) COMMENT 'League of the listing; empty for resources',
    `league_key` LowCardinality(String) COMMENT 'The league when it is followed, else other; bounds the partitions',
    `origin` LowCardinality(String) COMMENT 'remote (a gateway said it), derived (from the public stashes) or resource (a list of the trade site)',
    `cursor` String COMMENT 'Cursor that was asked; change id for derived rows, hash of the list before for resources' CODEC(ZSTD(1)),
    `trade_id` String COMMENT 'Id of the listing; id of the entry for resources' CODEC(ZSTD(1)),
    `item_id` String COMMENT 'Id of the item; id of the entry for resources' CODEC(ZSTD(1)),
    `item_type` LowCardinality(String) COMMENT 'As sent; name of the resource for resources; empty for derived rows',
    `variation_id` String COMMENT 'Variant of an item or choice of a modifier; market key in hex for derived rows' CODEC(ZSTD(1)),
    `trade_category` LowCardinality(String) COMMENT 'As sent; group for resources; kind of the event for derived rows',
    `listing_ts` DateTime64(3, 'UTC') COMMENT 'When the listing was first seen; 1970 for resources' CODEC(DoubleDelta, ZSTD(1)),
    `delist_ts` DateTime64(3, 'UTC') COMMENT 'When it was seen to be gone; 1970 while it is there' CODEC(DoubleDelta, ZSTD(1)),
    `trade_data_hash` String COMMENT 'As sent, else a hash of payload, 32 hex digits: xxh3-128, of derived rows SipHash-2-4-128' CODEC(ZSTD(1)),
    `price_change_flag` UInt8 COMMENT '1 when the price has changed' CODEC(ZSTD(1)),
    `rate_limit_raw` String COMMENT 'The rate-limit headers of the answer as they came; empty for derived rows' CODEC(ZSTD(1)),
    `http_status` UInt16 COMMENT 'HTTP status of the answer; 0 for derived rows' CODEC(ZSTD(1)),
    `payload` String COMMENT 'The entry as JSON; the canonical listing for derived rows' CODEC(ZSTD(3)),
    `src` LowCardinality(String) COMMENT 'Source; psapi for derived rows',
    `lsn` UInt64 COMMENT 'Log position of the page' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(Delta(4), ZSTD(1)),
    INDEX trade trade_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY (league_key, toYYYYMMDD(ts))
ORDER BY (origin, ts, lsn, ord)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Trade data and listing facts, as they came';

-- One row for each trade_id in each 24 hours, counted back from now: the newest. Resources name
-- their entries each in its own way, so there the resource and the variant belong to the id.
-- Listings of the last 7 days, as sorting all of them takes memory; lists of any age.
CREATE OR REPLACE VIEW v_trade_metadata_dedup AS
SELECT *
FROM bronze_trade_metadata
WHERE origin = 'resource' OR ts > now() - INTERVAL 7 DAY
ORDER BY ts DESC, lsn DESC, ord DESC
LIMIT 1 BY trade_id, if(origin = 'resource', concat(item_type, '/', variation_id), ''), intDiv(dateDiff('second', ts, now()), 86400);
