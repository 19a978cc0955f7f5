/* Prices in the notes of items and in the names of stash tabs, read as the trade site reads them.
 * Exact: decimal text and integers of 128 bits, no floating point.
 *
 *     note    = ( "~price" | "~b/o" ) blanks amount blanks currency [ blanks anything ]
 *     amount  = decimal [ "/" decimal ]     total price, and the size of the lot that it buys
 *     decimal = digits [ "." digits ] | "." digits
 *
 * "~price 2/35 chaos" asks 2 chaos for 35 items; both numbers are kept as written, because they
 * are the smallest deal. The currency is a word of souk/currency.h. Words behind it change nothing:
 * sellers write them, and the game adds " (Remove-only)" to the names of tabs. */
#ifndef SOUK_PRICE_NOTE_H
#define SOUK_PRICE_NOTE_H

#include "souk/core/slice.h"
#include "souk/quality.h"

#define PRICE_SCALE INT64_C(1000000)                  /* Decimal(18, 6). */
#define PRICE_MAX (INT64_C(1000000000) * PRICE_SCALE) /* A total, a lot and a unit price. */

struct price {
    struct slice kind;     /* "price" or "b/o"; static. */
    struct slice currency; /* Its present id; static. */
    uint16_t number;       /* The same in souk/currency.h. */
    bool is_ratio;         /* A lot was named, be it of 1. */
    int64_t total, lot;    /* As written, times PRICE_SCALE; lot is 1 without a ratio. */
    int64_t unit;          /* total / lot times PRICE_SCALE, rounded half to even. */
};

/** Reads @text, a note or a name. *out is set when the verdict is PRICE_GOOD, and zero otherwise. A
 *  number has at most 18 digits and 12 decimals; a total or lot with more than 6 decimals is
 * rounded half to even on its own, and the unit price is made from the unrounded ones. Amounts
 * above PRICE_MAX, and those that round to 0, are PRICE_OUT_OF_RANGE. Never PRICE_RATIO. */
enum price_verdict price_note__read(struct slice text, struct price *out);

/** A name of a tab, read once for all of its items. */
struct price_tab {
    enum price_verdict verdict;
    struct price price;
};
/** Where a price was written. */
enum price_source { PRICE_FROM_NOWHERE, PRICE_FROM_NOTE, PRICE_FROM_FORUM, PRICE_FROM_TAB };
/** All that is said of the price of one item. */
struct price_notes {
    struct slice note, forum_note;
    const struct price_tab *tab;
    bool is_bulk; /* It stacks: only such goods have the price of a lot. */
};
/** What the site makes of @said: the item's note speaks first, then its forum note, then the tab. A
 *  note that the site cannot read has no effect, as if it were not there. ~skip takes the item out,
 *  and so does the price of a lot on what does not trade in bulk: the tab's price is not asked
 * then.
 *  @return PRICE_GOOD with @out and @source, or the reason why there is no price. */
enum price_verdict price_note__resolve(const struct price_notes *said, struct price *out,
                                       enum price_source *source);

#endif
