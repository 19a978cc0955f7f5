-- Rows of before the column are not priced for it: their emptiness says nothing.

ALTER TABLE bronze_public_stash
    COMMENT COLUMN `price_none` 'Why there is no price: no_note, skip, unset (no amount or word, or 0), unreadable, unknown_word, out_of_range, ratio (the price of a lot on what does not stack). Empty when priced (price_currency is not empty then), and in all rows that were stored before there was this column';
