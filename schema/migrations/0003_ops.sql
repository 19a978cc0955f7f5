-- Logs of what happened to alerts and streams. Append-only; the present state is a view over them.

CREATE TABLE IF NOT EXISTS ops_alert_log
(
    `ts` DateTime64(3, 'UTC') COMMENT 'When it happened' CODEC(DoubleDelta, ZSTD(1)),
    `alert_id` String COMMENT 'Which rule, on what; the same over all its incidents' CODEC(ZSTD(1)),
    `incident_id` String COMMENT 'One alert from firing to resolved' CODEC(ZSTD(1)),
    `event` LowCardinality(String) COMMENT 'fired, repeated, acked, snoozed, muted or resolved',
    `severity` LowCardinality(String) COMMENT 'info, warning or critical',
    `league` LowCardinality(String) COMMENT 'League; empty for health alerts',
    `item_id` String COMMENT 'Item; empty for health alerts' CODEC(ZSTD(1)),
    `ack_state` LowCardinality(String) COMMENT 'State after the event',
    `source` LowCardinality(String) COMMENT 'Where it came from: souk, NiceGUI, overlay and so on',
    `actor` String COMMENT 'Who did it; empty when nobody did' CODEC(ZSTD(1)),
    `snooze_minutes` UInt32 COMMENT 'For how long; 0 when not snoozed' CODEC(ZSTD(1)),
    `attention_minute_delta` Float64 COMMENT 'Minutes of attention that the event cost or saved' CODEC(ZSTD(1)),
    `payload` String COMMENT 'JSON of the alert at that moment' CODEC(ZSTD(3)),
    `src` LowCardinality(String) COMMENT 'Room that wrote the row',
    `lsn` UInt64 COMMENT 'Log position of the record' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, alert_id, lsn, ord)
TTL toDateTime(ts) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every event in the life of every alert';

CREATE TABLE IF NOT EXISTS ops_drift_log
(
    `triggered_at` DateTime64(3, 'UTC') COMMENT 'When the stream was found to be too old' CODEC(DoubleDelta, ZSTD(1)),
    `service` LowCardinality(String) COMMENT 'Source',
    `endpoint` LowCardinality(String) COMMENT 'Path',
    `cursor` String COMMENT 'Where it stood' CODEC(ZSTD(1)),
    `lag_seconds` Float64 COMMENT 'How old it was' CODEC(ZSTD(1)),
    `reason` LowCardinality(String) COMMENT 'What was found',
    `restart_action` LowCardinality(String) COMMENT 'What was done about it',
    `recovered_at` DateTime64(3, 'UTC') COMMENT 'When it was fresh again; 1970-01-01 while it is not' CODEC(DoubleDelta, ZSTD(1)),
    `recovery_ms` UInt64 COMMENT 'From triggered_at to recovered_at; 0 while it is not' CODEC(ZSTD(1)),
    `src` LowCardinality(String) COMMENT 'Room that wrote the row',
    `lsn` UInt64 COMMENT 'Log position of the record' CODEC(Delta(8), ZSTD(1)),
    `ord` UInt32 COMMENT 'Ordinal of the row at that position' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(triggered_at)
ORDER BY (triggered_at, service, endpoint, lsn, ord)
TTL toDateTime(triggered_at) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every time a stream drifted, and how it came back';
