-- The currency exchange's hours, the leagues, and what other sites know of the game.
-- As in 0001: rows end with (src, lsn, ord), an absent word is '', an absent number is 0.

-- A digest never changes and may be removed upstream: what is kept here is the only copy, so rows stay
-- for ten years, and partitions are months: ten years of days would be too many.
CREATE TABLE IF NOT EXISTS bronze_exchange_events
(
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'When the digest was received' CODEC(DoubleDelta, ZSTD(1)),
    `realm` LowCardinality(String) COMMENT 'pc, xbox, sony or poe2',
    `hour_ts` DateTime64(3, 'UTC') COMMENT 'Start of the hour that the digest is about' CODEC(DoubleDelta, ZSTD(1)),
    `next_change_id` UInt64 COMMENT 'As sent: unix time of the next hour' CODEC(Delta(8), ZSTD(1)),
    `league` LowCardinality(String) COMMENT 'League of the market, private ones included',
    `league_key` LowCardinality(String) COMMENT 'The league when it is followed, else other',
    `market_id` String COMMENT 'As sent: base and quote joined by |' CODEC(ZSTD(1)),
    `base` LowCardinality(String) COMMENT 'First of the pair: a Metadata path, a short id in old digests',
    `quote` LowCardinality(String) COMMENT 'Second of the pair',
    `volume_base` UInt64 COMMENT 'Units of base that changed hands; 0 without trades' CODEC(ZSTD(1)),
    `volume_quote` UInt64 COMMENT 'Units of quote that changed hands; volume_quote / volume_base is what trades cleared at' CODEC(ZSTD(1)),
    `lowest_ratio` Float64 COMMENT 'Lower of the two ratios as quote per base; 0 without trades' CODEC(ZSTD(1)),
    `highest_ratio` Float64 COMMENT 'Higher of the two ratios as quote per base; 0 without trades' CODEC(ZSTD(1)),
    `lowest_ratio_base` UInt64 COMMENT 'Upstream lowest_ratio of base, as sent: its lowest can be the dearest price' CODEC(ZSTD(1)),
    `lowest_ratio_quote` UInt64 COMMENT 'Upstream lowest_ratio of quote, as sent' CODEC(ZSTD(1)),
    `highest_ratio_base` UInt64 COMMENT 'Upstream highest_ratio of base, as sent' CODEC(ZSTD(1)),
    `highest_ratio_quote` UInt64 COMMENT 'Upstream highest_ratio of quote, as sent' CODEC(ZSTD(1)),
    `lowest_stock` UInt64 COMMENT 'Least stock of base on offer in the hour' CODEC(ZSTD(1)),
    `highest_stock` UInt64 COMMENT 'Most stock of base on offer in the hour' CODEC(ZSTD(1)),
    `lowest_stock_quote` UInt64 COMMENT 'Least stock of quote on offer in the hour' CODEC(ZSTD(1)),
    `highest_stock_quote` UInt64 COMMENT 'Most stock of quote on offer in the hour' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the digest' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the market in the digest' CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (league_key, toYYYYMM(hour_ts))
ORDER BY (realm, base, quote, league, hour_ts, lsn, ord)
TTL toDateTime(hour_ts) + INTERVAL 3650 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Currency exchange: one row a market, league and hour; a market without a row had no trades';

CREATE TABLE IF NOT EXISTS bronze_exchange_gaps
(
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'When it was certain that the hour is not there' CODEC(DoubleDelta, ZSTD(1)),
    `realm` LowCardinality(String) COMMENT 'pc, xbox, sony or poe2',
    `hour_ts` DateTime64(3, 'UTC') COMMENT 'Start of the hour whose digest is missing' CODEC(DoubleDelta, ZSTD(1)),
    `next_hour_ts` DateTime64(3, 'UTC') COMMENT 'Start of the first later hour that is there; the last missing one when none was found for a day' CODEC(DoubleDelta, ZSTD(1)),
    `reason` LowCardinality(String) COMMENT 'later_hour: a later one is published; day_missing: a whole day of hours is not',
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the answer' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Counts the missing hours of that answer' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour_ts)
ORDER BY (realm, hour_ts, lsn, ord)
TTL toDateTime(hour_ts) + INTERVAL 3650 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Hours of the currency exchange that upstream did not have when they were asked for';

-- An hour that was asked for twice, as by a backfill, is here once: a published hour never changes.
CREATE OR REPLACE VIEW v_exchange_events AS
SELECT
    realm,
    hour_ts,
    league,
    market_id,
    min(recorded_at) AS recorded_at,
    any(next_change_id) AS next_change_id,
    any(base) AS base,
    any(quote) AS quote,
    any(volume_base) AS volume_base,
    any(volume_quote) AS volume_quote,
    any(lowest_ratio) AS lowest_ratio,
    any(highest_ratio) AS highest_ratio,
    any(lowest_stock) AS lowest_stock,
    any(highest_stock) AS highest_stock,
    any(lowest_stock_quote) AS lowest_stock_quote,
    any(highest_stock_quote) AS highest_stock_quote
FROM bronze_exchange_events
GROUP BY realm, hour_ts, league, market_id;

-- What a backfill has to ask for again: hours that were missing and have not come since.
CREATE OR REPLACE VIEW v_exchange_gaps AS
SELECT
    realm,
    hour_ts,
    max(recorded_at) AS last_asked_at,
    any(reason) AS reason
FROM bronze_exchange_gaps
WHERE (realm, hour_ts) NOT IN (SELECT realm, hour_ts FROM bronze_exchange_events)
GROUP BY realm, hour_ts
ORDER BY realm ASC, hour_ts ASC;

CREATE TABLE IF NOT EXISTS bronze_leagues
(
    `retrieved_at` DateTime64(3, 'UTC') COMMENT 'When the list was received' CODEC(DoubleDelta, ZSTD(1)),
    `league` LowCardinality(String) COMMENT 'Id of the league, which is its name',
    `realm` LowCardinality(String) COMMENT 'pc, xbox, sony or poe2; that of the request when not sent',
    `start_at` DateTime64(3, 'UTC') COMMENT 'When it starts; 1970 when not sent' CODEC(ZSTD(1)),
    `end_at` DateTime64(3, 'UTC') COMMENT 'When it ends; 1970 for permanent leagues and when not sent' CODEC(ZSTD(1)),
    `register_at` DateTime64(3, 'UTC') COMMENT 'When one may join; 1970 when not sent' CODEC(ZSTD(1)),
    `category` LowCardinality(String) COMMENT 'category.id; empty in old lists',
    `is_current` UInt8 COMMENT '1 when category.current is set',
    `is_event` UInt8 COMMENT '1 for events and timed events',
    `rules` String COMMENT 'JSON array of {id, name, description}, as sent' CODEC(ZSTD(3)),
    `payload` String COMMENT 'JSON: the league as sent' CODEC(ZSTD(3)),
    `payload_hash` String COMMENT 'xxh3-128 of the whole list, 32 hex digits' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the list' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the league in the list' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(retrieved_at)
ORDER BY (realm, league, retrieved_at, lsn, ord)
TTL toDateTime(retrieved_at) + INTERVAL 3650 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Leagues as listed, whenever the list changed and else once a day';

CREATE TABLE IF NOT EXISTS bronze_enrichment
(
    `retrieved_at` DateTime64(3, 'UTC') COMMENT 'When the row was made' CODEC(DoubleDelta, ZSTD(1)),
    `source` LowCardinality(String) COMMENT 'poedb or wiki',
    `page` LowCardinality(String) COMMENT 'Page or table that was asked: Currency_Exchange, mods',
    `key` String COMMENT 'What the row is about: the name of an item, the id of a modifier' CODEC(ZSTD(1)),
    `mod_id` String COMMENT 'Id of the modifier; empty when the row is about none' CODEC(ZSTD(1)),
    `mod_description` String COMMENT 'Text of the modifier, without markup' CODEC(ZSTD(1)),
    `craft_group` String COMMENT 'Group whose members exclude each other' CODEC(ZSTD(1)),
    `gold_per_unit` Float64 COMMENT 'Gold for one unit received on the exchange; 0 when the row has none' CODEC(ZSTD(1)),
    `licence` LowCardinality(String) COMMENT 'Licence of the text, as the site states it',
    `attribution` String COMMENT 'Page to name as the origin' CODEC(ZSTD(1)),
    `stale` UInt8 COMMENT '1 when the last values are repeated as the site does not answer',
    `payload` String COMMENT 'JSON: the cells or fields of the row' CODEC(ZSTD(3)),
    `src` LowCardinality(String) COMMENT 'Source',
    `lsn` UInt64 COMMENT 'Log position of the answer' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Index of the row in the page' CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(retrieved_at)
ORDER BY (source, page, key, retrieved_at, lsn, ord)
TTL toDateTime(retrieved_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What community sites publish, with licence and attribution';
