-- What stored words mean, after corrections: as comments, so that whoever reads a column finds it there.

ALTER TABLE silver_listing_events
    COMMENT COLUMN `removal` 'Class of the removal: sold_near, sold_off, unpriced, few (3 or more priced ones at once, less than bulk), bulk (5 or more, and a quarter of the tab; before few was kept: 3 or more), unlisted, moved_away, catching_up, part; empty when nothing went';

ALTER TABLE silver_listing_events
    COMMENT COLUMN `kind` 'listed, repriced, restacked, delisted, moved (the same item in another stash), relisted (an equal one of the same seller, who had no other of it on sale when the one went)';

ALTER TABLE silver_listing_events
    COMMENT COLUMN `from_ts` 'It happened after this, when the stash was last known: its own last version that said everything, or a later end of the stream; 1970: not known';

ALTER TABLE silver_listing_events
    COMMENT COLUMN `key_version` 'Rule of item_key and fingerprint. 1: base type, name, frame, level and quality of gems, modifiers of magic and rare items. 2: also hybrids, variants, links, foil, influences, maps and more. 3: of numbers beside sockets only how many an item has makes another good, not what a gem in one gives. Keys compare within one version';
