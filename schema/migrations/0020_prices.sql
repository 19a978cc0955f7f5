-- Why an item has no price; and what stands where a number was not sent, or was none: a value that
-- no upstream sends, as 0 means something.

ALTER TABLE bronze_public_stash
    ADD COLUMN IF NOT EXISTS `price_none` LowCardinality(String) COMMENT 'Why there is no price: no_note, skip, unset (no amount or word, or 0), unreadable, unknown_word, out_of_range, ratio (the price of a lot on what does not stack); empty when priced';

ALTER TABLE bronze_public_stash
    COMMENT COLUMN `ilvl` 'Item level; 0 for what has none, 65535 when not sent',
    COMMENT COLUMN `stack_size` 'Items in the stack; 1 when not sent, 0 when it could not be read';

ALTER TABLE bronze_account_stash_snapshot
    COMMENT COLUMN `tab_index` 'Place of the tab in the stash, from 0; 4294967295 when not sent',
    COMMENT COLUMN `ilvl` 'Item level; 0 for what has none, 65535 when not sent',
    COMMENT COLUMN `stack_size` 'Items in the stack; 1 when not sent, 0 when it could not be read',
    COMMENT COLUMN `x` 'Column in the tab, slot in a special tab; socket of a socketed item; 65535 when not sent',
    COMMENT COLUMN `y` 'Row in the tab; 65535 when not sent';

ALTER TABLE bronze_poeninja_snapshot
    COMMENT COLUMN `volume_chaos` 'Traded volume in chaos orbs; exchange only, else 0; NaN when not sent';

ALTER TABLE bronze_trade_metadata
    COMMENT COLUMN `price_change_flag` '1 when the price has changed, 255 when a listing does not say';
