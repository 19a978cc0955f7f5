-- Bronze: what the upstreams said, append-only, as received.
-- Every row ends with (src, lsn, ord): the source, the position in the spool of the record it comes
-- from, and its ordinal there. They are unique in a table. Runs inside the database, any number of times.
-- No Nullable: an absent word is '', an absent number is 0.

CREATE TABLE IF NOT EXISTS raw_public_stash_pages
(
    `ingested_at` DateTime64(3, 'UTC') COMMENT 'When the page was received' CODEC(DoubleDelta, ZSTD(1)),
    `realm` LowCardinality(String) COMMENT 'pc, xbox or sony',
    `cursor` String COMMENT 'Change id that was asked' CODEC(ZSTD(1)),
    `next_cursor` String COMMENT 'Change id that the page leads to' CODEC(ZSTD(1)),
    `stash_count` UInt32 COMMENT 'Stash changes in the page, tombstones included' CODEC(ZSTD(1)),
    `payload` String COMMENT 'The body, byte for byte' CODEC(ZSTD(6)),
    `payload_hash` String COMMENT 'xxh3-128 of payload, 32 hex digits' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the page' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Always 0: one row a page' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (realm, ingested_at, lsn)
TTL toDateTime(ingested_at) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Public stash pages as received; what replay reads';

CREATE TABLE IF NOT EXISTS bronze_public_stash
(
    `ingest_ts` DateTime64(3, 'UTC') COMMENT 'Equal to ingested_at; the name that older queries use' CODEC(DoubleDelta, ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') COMMENT 'When the page was received' CODEC(DoubleDelta, ZSTD(1)),
    `realm` LowCardinality(String) COMMENT 'pc, xbox or sony',
    `league` LowCardinality(String) COMMENT 'League of the stash, of the item when the stash names none',
    `league_key` LowCardinality(String) COMMENT 'The league when it is followed, else other; bounds the partitions',
    `cursor` String COMMENT 'Change id that was asked' CODEC(ZSTD(1)),
    `next_cursor` String COMMENT 'Change id that the page leads to' CODEC(ZSTD(1)),
    `stash_id` String COMMENT 'Stable id of the tab' CODEC(ZSTD(1)),
    `stash_name` String COMMENT 'Name of the tab; may hold a price' CODEC(ZSTD(1)),
    `stash_type` LowCardinality(String) COMMENT 'PremiumStash, QuadStash and so on',
    `listing_id` String COMMENT 'item_id, or stash id and place in it when the item has none' CODEC(ZSTD(1)),
    `seller` String COMMENT 'Account name' CODEC(ZSTD(1)),
    `item_id` String COMMENT 'Id of the item; changes with its owner' CODEC(ZSTD(1)),
    `item_type_id` String COMMENT 'Category and subcategories, joined with a dot; empty in old pages' CODEC(ZSTD(1)),
    `base_type` LowCardinality(String) COMMENT 'Base type; type_line without affixes is not derived',
    `type_line` String COMMENT 'Type line as shown, without set prefixes' CODEC(ZSTD(1)),
    `name` String COMMENT 'Name without set prefixes; empty for common items' CODEC(ZSTD(1)),
    `rarity` LowCardinality(String) COMMENT 'Normal, Magic, Rare, Unique; from frame_type when not sent; else empty',
    `frame_type` UInt8 COMMENT '0 normal, 1 magic, 2 rare, 3 unique, 4 gem, 5 currency, 6 card, more up to 13',
    `ilvl` UInt16 COMMENT 'Item level' CODEC(ZSTD(1)),
    `identified` UInt8 COMMENT '1 when identified' CODEC(ZSTD(1)),
    `corrupted` UInt8 COMMENT '1 when corrupted' CODEC(ZSTD(1)),
    `stack_size` UInt32 COMMENT 'Items in the stack; 1 when not sent' CODEC(ZSTD(1)),
    `note` String COMMENT 'The note of the item, else its forum note, as sent' CODEC(ZSTD(1)),
    `price_currency` LowCardinality(String) COMMENT 'Currency in its present spelling; empty when unpriced',
    `price_amount` Decimal(18, 6) COMMENT 'Price of one item: price_total / price_lot, half to even; 0 when unpriced' CODEC(ZSTD(1)),
    `price_total` Decimal(18, 6) COMMENT 'Price of one lot, as written; 0 when unpriced' CODEC(ZSTD(1)),
    `price_lot` Decimal(18, 6) COMMENT 'Items in one lot, as written, not reduced: the smallest deal; 0 when unpriced' CODEC(ZSTD(1)),
    `price_kind` LowCardinality(String) COMMENT 'price (fixed) or b/o (buyout); empty when unpriced',
    `price_source` LowCardinality(String) COMMENT 'note, forum_note or stash_name; empty when unpriced',
    `timestamp` DateTime64(3, 'UTC') COMMENT 'When the listing was seen; the page is about 5 minutes older' CODEC(DoubleDelta, ZSTD(1)),
    `mods_hash` UInt64 COMMENT 'xxh3-64 over all modifier texts in order; 0 without modifiers' CODEC(ZSTD(1)),
    `extra` String COMMENT 'JSON: modifiers as texts, properties, influences, flags' CODEC(ZSTD(3)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the page' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the item among all items of the page' CODEC(Delta(4), ZSTD(1)),
    INDEX listing listing_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX stash stash_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY (league_key, toYYYYMMDD(ingested_at))
ORDER BY (ingested_at, lsn, ord)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One row for each item of each public stash seen, priced or not; unlisted stashes give none';

CREATE TABLE IF NOT EXISTS bronze_poeninja_snapshot
(
    `sample_time_utc` DateTime64(3, 'UTC') COMMENT 'When the answer was received' CODEC(DoubleDelta, ZSTD(1)),
    `league` LowCardinality(String) COMMENT 'League that was asked',
    `league_key` LowCardinality(String) COMMENT 'The league when it is followed, else other',
    `overview` LowCardinality(String) COMMENT 'Shape of the answer: exchange, item or currency',
    `kind` LowCardinality(String) COMMENT 'Type that was asked: Currency, UniqueWeapon and so on',
    `detailsId` String COMMENT 'Slug of the line on the site' CODEC(ZSTD(1)),
    `name` String COMMENT 'Name of the item' CODEC(ZSTD(1)),
    `variant` String COMMENT 'Variant or gem level and quality; empty for most' CODEC(ZSTD(1)),
    `chaosEquivalent` Float64 COMMENT 'Value in chaos orbs; 0 when unknown' CODEC(ZSTD(1)),
    `divineEquivalent` Float64 COMMENT 'Value in divine orbs; 0 when unknown' CODEC(ZSTD(1)),
    `volume_chaos` Float64 COMMENT 'Traded volume in chaos orbs; exchange only, else 0' CODEC(ZSTD(1)),
    `listing_count` UInt32 COMMENT 'Listings behind the value; 0 when not sent' CODEC(ZSTD(1)),
    `sparkline` Array(Float32) COMMENT 'Change in percent, cumulative, a day apart; NaN where not known' CODEC(ZSTD(1)),
    `stale` UInt8 COMMENT '1 when the last values are repeated during an outage' CODEC(ZSTD(1)),
    `payload_hash` String COMMENT 'xxh3-128 of the body, 32 hex digits' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the answer' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the line in the answer' CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (league_key, toYYYYMMDD(sample_time_utc))
ORDER BY (kind, detailsId, sample_time_utc, lsn, ord)
TTL toDateTime(sample_time_utc) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'poe.ninja overviews, one row a line and sample';

CREATE TABLE IF NOT EXISTS bronze_ingest_checkpoints
(
    `service` LowCardinality(String) COMMENT 'Source',
    `realm` LowCardinality(String) COMMENT 'Realm; empty where there is none',
    `league` LowCardinality(String) COMMENT 'League; empty where there is none',
    `endpoint` LowCardinality(String) COMMENT 'Path that was asked',
    `last_cursor_id` String COMMENT 'Cursor that was asked' CODEC(ZSTD(1)),
    `next_cursor_id` String COMMENT 'Cursor that the answer leads to' CODEC(ZSTD(1)),
    `cursor_hash` String COMMENT 'xxh3-128 of next_cursor_id, 32 hex digits' CODEC(ZSTD(1)),
    `retrieved_at` DateTime64(3, 'UTC') COMMENT 'When the answer was complete' CODEC(DoubleDelta, ZSTD(1)),
    `retry_count` UInt32 COMMENT 'Attempts beyond the first' CODEC(ZSTD(1)),
    `retry_reason` LowCardinality(String) COMMENT 'Why there were more; empty when there were none',
    `status` LowCardinality(String) COMMENT 'What the answer meant: new, empty, unchanged, stale and so on',
    `http_status` UInt16 COMMENT 'HTTP status; 0 when there was no answer' CODEC(ZSTD(1)),
    `response_ms` UInt32 COMMENT 'From the request sent to the last byte of the answer' CODEC(ZSTD(1)),
    `rows` UInt64 COMMENT 'Rows that the page made' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes of the body, decoded' CODEC(ZSTD(1)),
    `latency_ms` UInt32 COMMENT 'From the request sent to the page safe on local disk' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the page' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(retrieved_at)
ORDER BY (service, realm, league, endpoint, retrieved_at, lsn, ord)
TTL toDateTime(retrieved_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row a page, written after its data: readers never see a cursor ahead of its rows';

CREATE TABLE IF NOT EXISTS bronze_requests
(
    `requested_at` DateTime64(3, 'UTC') COMMENT 'When the request was sent' CODEC(DoubleDelta, ZSTD(1)),
    `ts` DateTime64(3, 'UTC') COMMENT 'When it was answered or failed' CODEC(DoubleDelta, ZSTD(1)),
    `service` LowCardinality(String) COMMENT 'Source',
    `realm` LowCardinality(String) COMMENT 'Realm; empty where there is none',
    `league` LowCardinality(String) COMMENT 'League; empty where there is none',
    `endpoint` LowCardinality(String) COMMENT 'Path that was asked',
    `http_method` LowCardinality(String) COMMENT 'GET, POST and so on',
    `status` UInt16 COMMENT 'HTTP status; 0 when there was no answer' CODEC(ZSTD(1)),
    `attempts` UInt32 COMMENT 'Which attempt it was, from 1' CODEC(ZSTD(1)),
    `response_ms` UInt32 COMMENT 'From the request sent to the last byte of the answer' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes of the body, decoded' CODEC(ZSTD(1)),
    `rate_limit_policy` LowCardinality(String) COMMENT 'X-Rate-Limit-Policy',
    `rate_limit_raw` String COMMENT 'The rate-limit headers as they came' CODEC(ZSTD(1)),
    `rate_limit_state` String COMMENT 'The state headers as understood' CODEC(ZSTD(1)),
    `retry_after_seconds` UInt32 COMMENT 'Retry-After; 0 when not sent' CODEC(ZSTD(1)),
    `error` String COMMENT 'Why there was no good answer; empty when there was' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the record' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (service, endpoint, ts, lsn, ord)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every request, answered or not';

CREATE TABLE IF NOT EXISTS bronze_quarantine
(
    `ts` DateTime64(3, 'UTC') COMMENT 'When the page was received' CODEC(DoubleDelta, ZSTD(1)),
    `source` LowCardinality(String) COMMENT 'Source of the page',
    `table_name` LowCardinality(String) COMMENT 'Table that the row was meant for',
    `reason` LowCardinality(String) COMMENT 'Reason code, from a bounded set',
    `field` String COMMENT 'Path of what was refused' CODEC(ZSTD(1)),
    `value` String COMMENT 'What was refused, as text, at most 256 bytes' CODEC(ZSTD(1)),
    `cursor` String COMMENT 'Cursor of the page' CODEC(ZSTD(1)),
    `payload` String COMMENT 'The entry, at most 4096 bytes' CODEC(ZSTD(3)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the page' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the refusal in the page' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (source, reason, ts, lsn, ord)
TTL toDateTime(ts) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every row that the firewall refused, and why';
