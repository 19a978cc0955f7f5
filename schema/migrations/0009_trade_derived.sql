-- What the tape says of listings, as trade data: the vendor has no such resource, and where a gateway
-- is away these rows stand in for it. Filled in the server, from each block of events that comes in;
-- a block that is sent again is known by its token, here as there.
-- trade_id and item_id are the item's id, listing_ts is when it was first seen, delist_ts when it was
-- seen to be gone, trade_data_hash is over what a buyer sees of the listing.

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_trade_metadata_derived TO bronze_trade_metadata AS
SELECT
    ts,
    ts AS retrieved_at,
    'trade_data' AS service,
    realm,
    league,
    league_key,
    'derived' AS origin,
    cursor,
    listing_id AS trade_id,
    listing_id AS item_id,
    '' AS item_type,
    lower(hex(item_key)) AS variation_id,
    kind AS trade_category,
    listing_ts,
    delist_ts,
    payload,
    lower(hex(sipHash128(payload))) AS trade_data_hash,
    toUInt8(kind = 'repriced') AS price_change_flag,
    '' AS rate_limit_raw,
    toUInt16(0) AS http_status,
    src,
    lsn,
    ord
FROM
(
    SELECT
        *,
        concat(
            '{"stash":"', stash_id,
            '","price":"', toString(price_amount),
            '","currency":', toJSONString(toString(price_currency)),
            ',"stack":', toString(stack_size),
            ',"delisted":', if(kind = 'delisted', 'true', 'false'),
            '}') AS payload
    FROM silver_listing_events
);
