-- What operators look at first: where each stream stands and how old it is.

CREATE OR REPLACE VIEW v_ops_recent_cursors AS
SELECT
    service,
    realm,
    league,
    endpoint,
    last_cursor_id,
    next_cursor_id,
    retrieved_at,
    status,
    http_status,
    rows,
    bytes,
    retry_count,
    retry_reason
FROM bronze_ingest_checkpoints
ORDER BY service ASC, retrieved_at DESC, lsn DESC, ord DESC
LIMIT 10 BY service;

-- A stream that was asked in the last 7 days; older ones are no longer run. Lag counts from the last
-- answer that was good, an empty page included: idle is not stale.
CREATE OR REPLACE VIEW v_ops_ingest_health AS
SELECT
    service,
    realm,
    league,
    endpoint,
    last_ingest_ts,
    greatest(0, dateDiff('millisecond', last_ingest_ts, now64(3, 'UTC'))) / 1000 AS lag_seconds,
    multiIf(lag_seconds <= 20, 'green', lag_seconds <= 60, 'amber', 'red') AS severity,
    toUInt8(lag_seconds > 60) AS divines_per_attention_minute_risk_flag
FROM
(
    SELECT
        service,
        realm,
        league,
        endpoint,
        max(retrieved_at) AS last_ingest_ts
    FROM bronze_ingest_checkpoints
    WHERE retrieved_at > now() - INTERVAL 7 DAY AND status != 'stale'
    GROUP BY service, realm, league, endpoint
);
