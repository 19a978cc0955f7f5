-- Silver: what happened to the listings of public stashes, as the tape sees it: each version of a
-- stash beside the one before it. A row is never changed; a guess that was taken back is named by a
-- later row (retracts). Every row ends with (src, lsn, ord): the source, the position in the spool
-- of the page that showed it, and its ordinal there. They are unique in the table.
-- No Nullable: an absent word is '', an absent number is 0, an absent time is 1970.

CREATE TABLE IF NOT EXISTS silver_listing_events
(
    `ts` DateTime64(3, 'UTC') COMMENT 'When the page that showed it was received; it happened before' CODEC(DoubleDelta, ZSTD(1)),
    `realm` LowCardinality(String) COMMENT 'pc, xbox or sony',
    `league` LowCardinality(String) COMMENT 'League of the stash, of its first item when the stash names none',
    `league_key` LowCardinality(String) COMMENT 'The league when it is followed, else other; bounds the partitions',
    `stash_id` String COMMENT 'Stable id of the tab' CODEC(ZSTD(1)),
    `listing_id` String COMMENT 'Id of the item' CODEC(ZSTD(1)),
    `seller` String COMMENT 'Account name; its first 64 bytes for what went with its stash' CODEC(ZSTD(1)),
    `item_key` UInt64 COMMENT 'What it is on the market: xxh3-64 of base type, name, rarity class, and level and quality of gems; equal for items that compete' CODEC(ZSTD(1)),
    `fingerprint` UInt64 COMMENT 'Equal for items that a buyer could not tell apart; 0 for stackable goods' CODEC(ZSTD(1)),
    `kind` LowCardinality(String) COMMENT 'listed, repriced, restacked, delisted, moved (the same item in another stash), relisted (an equal one of the same seller)',
    `price_currency` LowCardinality(String) COMMENT 'Currency in its present spelling; empty when unpriced',
    `price_amount` Decimal(18, 6) COMMENT 'Price of one item, the last one asked of what went; 0 when unpriced' CODEC(ZSTD(1)),
    `price_before` Decimal(18, 6) COMMENT 'repriced: the amount before, in the currency of then; else 0' CODEC(ZSTD(1)),
    `price_chaos` Decimal(18, 6) COMMENT 'Price in chaos orbs; 0 until a rate is known: rates are joined later' CODEC(ZSTD(1)),
    `price_divine` Decimal(18, 6) COMMENT 'Price in divine orbs; 0 until a rate is known: rates are joined later' CODEC(ZSTD(1)),
    `stack_size` UInt32 COMMENT 'Items in the stack; of what went, the last seen' CODEC(ZSTD(1)),
    `stack_before` UInt32 COMMENT 'restacked: items before; else 0' CODEC(ZSTD(1)),
    `listing_ts` DateTime64(3, 'UTC') COMMENT 'When the listing was first seen, to the second' CODEC(DoubleDelta, ZSTD(1)),
    `delist_ts` DateTime64(3, 'UTC') COMMENT 'delisted: equal to ts; else 1970' CODEC(DoubleDelta, ZSTD(1)),
    `delist_reason` LowCardinality(String) COMMENT 'delisted: sold_likely (probability 0.5 or more), stash_private, moved, unknown; else empty',
    `removal` LowCardinality(String) COMMENT 'Class of the removal: sold_near, sold_off, unpriced, bulk, unlisted, moved_away, catching_up, part; empty when nothing went',
    `sold_probability` Float64 COMMENT 'That what went was sold; 0 when nothing went' CODEC(ZSTD(1)),
    `retracts` String COMMENT 'moved, relisted: the listing whose removal was no sale; else empty' CODEC(ZSTD(1)),
    `from_ts` DateTime64(3, 'UTC') COMMENT 'It happened after this; 1970: not known' CODEC(DoubleDelta, ZSTD(1)),
    `to_ts` DateTime64(3, 'UTC') COMMENT 'It happened not after this; the river itself is about 5 minutes late' CODEC(DoubleDelta, ZSTD(1)),
    `cursor` String COMMENT 'Change id of the page' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the page' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the event among all of the page' CODEC(Delta(4), ZSTD(1)),
    INDEX listing listing_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX stash stash_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY (league_key, toYYYYMMDD(ts))
ORDER BY (item_key, ts, lsn, ord)
TTL toDateTime(ts) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Listing events: one row a change of an item in a public stash';
