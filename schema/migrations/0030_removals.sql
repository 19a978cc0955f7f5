-- What stored words mean, after corrections: as comments, so that whoever reads a column finds it there.

ALTER TABLE silver_listing_events
    COMMENT COLUMN `removal` 'Class of the removal: sold_near, sold_off, unpriced, few (3 or more priced ones at once, less than bulk), bulk (5 or more, and a quarter of the tab; before few was kept: 3 or more), unlisted, moved_away, catching_up, part; empty when nothing went';

ALTER TABLE silver_listing_events
    COMMENT COLUMN `kind` 'listed, repriced, restacked, delisted, moved (the same item in another stash), relisted (an equal one of the same seller, who had no other of it on sale when the one went)';

ALTER TABLE silver_listing_events
    COMMENT COLUMN `from_ts` 'It happened after this, when the stash was last known: its own last version that said everything, or a later end of the stream; 1970: not known';
