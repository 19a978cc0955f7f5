-- What souk says of itself: where each stream stands, and what its log warned of.

CREATE TABLE IF NOT EXISTS poe_ingest_status
(
    `service` LowCardinality(String) COMMENT 'Source',
    `realm` LowCardinality(String) COMMENT 'Realm; empty where there is none',
    `league` LowCardinality(String) COMMENT 'League; empty where there is none',
    `stream` String COMMENT 'Key of the stream in its source' CODEC(ZSTD(1)),
    `endpoint` LowCardinality(String) COMMENT 'Path that it asks',
    `state` LowCardinality(String) COMMENT 'live, caught_up, waiting, frozen, held, unavailable, off and so on',
    `reason` String COMMENT 'Why it is not well; empty when it is' CODEC(ZSTD(1)),
    `last_cursor` String COMMENT 'Cursor in front of the present one' CODEC(ZSTD(1)),
    `next_change_id` String COMMENT 'Cursor that is asked for next' CODEC(ZSTD(1)),
    `request_rate` Float64 COMMENT 'Requests a second since the row before' CODEC(ZSTD(1)),
    `error_count` UInt64 COMMENT 'Answers that were no good, since the start' CODEC(ZSTD(1)),
    `last_ingest_time` DateTime64(3, 'UTC') COMMENT 'When a new page was last kept; 1970-01-01 for never' CODEC(DoubleDelta, ZSTD(1)),
    `avg_req_per_sec` Float64 COMMENT 'Requests a second since the start' CODEC(ZSTD(1)),
    `stalled_since` DateTime64(3, 'UTC') COMMENT 'Since when it is too old; 1970-01-01 while it is fresh' CODEC(DoubleDelta, ZSTD(1)),
    `updated_at` DateTime64(3, 'UTC') COMMENT 'When this was so' CODEC(DoubleDelta, ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Room that wrote the row',
    `lsn` UInt64 COMMENT 'Log position of the record' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (service, realm, league, stream)
TTL toDateTime(updated_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Where each stream stands, each 30 s and at every change of state: the latest row of a stream wins (FINAL)';

CREATE TABLE IF NOT EXISTS proc_logs
(
    `ts` DateTime64(3, 'UTC') COMMENT 'When it was said' CODEC(DoubleDelta, ZSTD(1)),
    `level` LowCardinality(String) COMMENT 'warn or error',
    `room` LowCardinality(String) COMMENT 'Part of souk that said it',
    `message` String COMMENT 'What happened' CODEC(ZSTD(1)),
    `fields` String COMMENT 'JSON object of what belongs to it' CODEC(ZSTD(3)),
    `src` LowCardinality(String) COMMENT 'Room that wrote the row',
    `lsn` UInt64 COMMENT 'Log position of the record' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, lsn, ord)
TTL toDateTime(ts) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Warnings and errors of the log; repeats within 10 s are counted in the next line';
