-- Which rule made the keys of a listing event. Rows of an older souk keep theirs: they stay in the
-- groups in which they were counted, and no key of one rule equals one of another. The rules are in
-- src/sources/item_identity.h.

ALTER TABLE silver_listing_events
    ADD COLUMN IF NOT EXISTS `key_version` UInt8 DEFAULT 1 COMMENT 'Rule of item_key and fingerprint. 1: base type, name, frame, level and quality of gems, modifiers of magic and rare items. 2: also hybrids, variants, links, foil, influences, maps and more. Keys compare within one version' CODEC(ZSTD(1)) AFTER `fingerprint`;

ALTER TABLE silver_listing_events
    COMMENT COLUMN `item_key` 'What it is on the market: equal for items that compete, by the rule of key_version';

ALTER TABLE silver_listing_events
    COMMENT COLUMN `from_ts` 'It happened after this, the last time that everything was known of the stash; 1970: not known';

ALTER TABLE bronze_public_stash
    COMMENT COLUMN `mods_hash` 'xxh3-64 over all modifiers with their lists and flags, in any order, without placeholders (veiledMods) and skins; 0 without any. Until souk kept key_version: over the texts in order';

ALTER TABLE bronze_public_stash
    COMMENT COLUMN `frame_type` '0 normal, 1 magic, 2 rare, 3 unique, 4 gem, 5 currency, 6 card, more up to 13; from frameTypeId or rarity when not sent; 255 unknown';

ALTER TABLE bronze_public_stash
    COMMENT COLUMN `extra` 'JSON: modifiers as texts, their flags (modFlags), properties, influences, flags';

ALTER TABLE bronze_account_stash_snapshot
    COMMENT COLUMN `mods_hash` 'As in bronze_public_stash';

ALTER TABLE bronze_account_stash_snapshot
    COMMENT COLUMN `frame_type` 'As in bronze_public_stash; 255 unknown';
