-- What a token opens: the tabs of an account's own stash, and which scopes are granted at all.
-- As in 0001: (src, lsn, ord) is unique in a table, no Nullable, any number of times.

CREATE TABLE IF NOT EXISTS bronze_account_stash_snapshot
(
    `snapshot_id` String COMMENT 'Unix time of the list of tabs that the snapshot began with; unique in its realm and league' CODEC(ZSTD(1)),
    `captured_at` DateTime64(3, 'UTC') COMMENT 'When the tab was received' CODEC(DoubleDelta, ZSTD(1)),
    `account_hash` LowCardinality(String) COMMENT 'xxh3-128 of the OAuth client that asked, 32 hex digits; never a name',
    `realm` LowCardinality(String) COMMENT 'pc, xbox or sony',
    `league` LowCardinality(String) COMMENT 'League that was asked',
    `league_key` LowCardinality(String) COMMENT 'The league when it is followed, else other; bounds the partitions',
    `tab_id` String COMMENT 'Id of the tab that holds the item' CODEC(ZSTD(1)),
    `parent_tab_id` String COMMENT 'Folder, map or unique tab that the tab is a part of; else empty' CODEC(ZSTD(1)),
    `tab_name` String COMMENT 'Name of the tab; of a map tab the map' CODEC(ZSTD(1)),
    `tab_index` UInt32 COMMENT 'Place of the tab in the stash, from 0' CODEC(ZSTD(1)),
    `tab_type` LowCardinality(String) COMMENT 'PremiumStash, QuadStash, CurrencyStash and so on',
    `item_id` String COMMENT 'Id of the item; empty in stacks of some special tabs' CODEC(ZSTD(1)),
    `parent_item_id` String COMMENT 'Item that it is socketed in; else empty' CODEC(ZSTD(1)),
    `item_type_id` String COMMENT 'Category and subcategories, joined with a dot; empty when not sent' CODEC(ZSTD(1)),
    `base_type` LowCardinality(String) COMMENT 'Base type; empty when not sent',
    `type_line` String COMMENT 'Type line as shown, without set prefixes' CODEC(ZSTD(1)),
    `name` String COMMENT 'Name without set prefixes; empty for common items' CODEC(ZSTD(1)),
    `rarity` LowCardinality(String) COMMENT 'Normal, Magic, Rare, Unique; from frame_type when not sent; else empty',
    `frame_type` UInt8 COMMENT '0 normal, 1 magic, 2 rare, 3 unique, 4 gem, 5 currency, 6 card, more up to 13',
    `ilvl` UInt16 COMMENT 'Item level' CODEC(ZSTD(1)),
    `identified` UInt8 COMMENT '1 when identified' CODEC(ZSTD(1)),
    `corrupted` UInt8 COMMENT '1 when corrupted' CODEC(ZSTD(1)),
    `stack_size` UInt32 COMMENT 'Items in the stack; 1 when not sent' CODEC(ZSTD(1)),
    `x` UInt16 COMMENT 'Column in the tab, slot in a special tab; socket of a socketed item' CODEC(ZSTD(1)),
    `y` UInt16 COMMENT 'Row in the tab' CODEC(ZSTD(1)),
    `w` UInt8 COMMENT 'Columns that it takes' CODEC(ZSTD(1)),
    `h` UInt8 COMMENT 'Rows that it takes' CODEC(ZSTD(1)),
    `note` String COMMENT 'The note of the item, else its forum note, as sent' CODEC(ZSTD(1)),
    `mods_hash` UInt64 COMMENT 'xxh3-64 over all modifier texts in order; 0 without modifiers' CODEC(ZSTD(1)),
    `extra` String COMMENT 'JSON: modifiers as texts, properties, influences, flags' CODEC(ZSTD(3)),
    `payload_hash` String COMMENT 'xxh3-128 of the body of the tab, 32 hex digits: equal when nothing has changed' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the tab' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the item among all items of the tab, socketed ones behind their own' CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (league_key, toYYYYMMDD(captured_at))
ORDER BY (realm, league, snapshot_id, tab_id, lsn, ord)
TTL toDateTime(captured_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One row for each item of each tab of each snapshot of an account; gated by account:stashes';

CREATE TABLE IF NOT EXISTS ops_scope_audit
(
    `ts` DateTime64(3, 'UTC') COMMENT 'When the token endpoint answered' CODEC(DoubleDelta, ZSTD(1)),
    `scope` LowCardinality(String) COMMENT 'OAuth scope that was asked for, as service:psapi',
    `available` UInt8 COMMENT '1 when a token with the scope was given',
    `http_status` UInt16 COMMENT 'HTTP status of the answer' CODEC(ZSTD(1)),
    `detail` LowCardinality(String) COMMENT 'granted, or the error code of RFC 6749, as invalid_scope',
    `expires_in_s` UInt32 COMMENT 'How long the token is good for; 0 without one, or when not said' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the record' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Always 0: one row an answer' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (scope, ts, lsn, ord)
TTL toDateTime(ts) + INTERVAL 730 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Which scopes were granted: at the start, weekly, and with each new token; never a token';
