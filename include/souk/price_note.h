/* Prices in the notes of items and in the names of stash tabs. Exact: decimal text and integers of
 * 128 bits, no floating point.
 *
 * Grammar (the game's price dialog, and what the indexers of the stash river read):
 *
 *     note    = ( "~price" | "~b/o" ) blanks amount blanks currency
 *     amount  = decimal [ "/" decimal ]     total price, and the size of the lot that it buys
 *     decimal = digits [ "." digits ] | "." digits
 *
 * "~price 2/35 chaos" asks 2 chaos for 35 items; both numbers are kept as written, because they
 * are the smallest deal. A tab's name may have more text behind a price and may not hold a ratio.
 */
#ifndef SOUK_PRICE_NOTE_H
#define SOUK_PRICE_NOTE_H

#include "souk/core/slice.h"

#define PRICE_SCALE INT64_C(1000000)                  /* Decimal(18, 6). */
#define PRICE_MAX (INT64_C(1000000000) * PRICE_SCALE) /* A total, a lot and a unit price. */
#define PRICE_CURRENCY_MAX 64

enum price_verdict {
    PRICE_ABSENT, /* Not about a price: free text, or nothing. */
    PRICE_SKIP,   /* "~skip": the seller does not want it priced. */
    PRICE_UNSET,  /* What the dialog leaves without an amount or currency, or with amount 0. */
    PRICE_BAD,    /* Claims to be a price and cannot be one. */
    PRICE_GOOD,
};

struct price {
    struct slice kind;     /* "price" or "b/o"; static. */
    struct slice currency; /* In its present spelling: static, or borrowed from the note. */
    int64_t total, lot;    /* As written, times PRICE_SCALE; lot is 1 without a ratio. */
    int64_t unit;          /* total / lot times PRICE_SCALE, rounded half to even. */
};

enum price_where { PRICE_IN_NOTE, PRICE_IN_TAB_NAME };

/** Reads @text. *out is set when the verdict is PRICE_GOOD, and zero otherwise. A number has at
 *  most 18 digits and 12 decimals; a total or lot with more than 6 decimals is rounded half to even
 *  on its own, and the unit price is made from the unrounded ones. Amounts above PRICE_MAX, and
 *  those that round to 0, are PRICE_BAD. */
enum price_verdict price_note__read(struct slice text, enum price_where where, struct price *out);

/** @return the present id of @currency, e.g. exalted for exa; @currency itself when it has not
 *  changed. The trade site's static ids of 2019 against those of 2026. */
struct slice price_note__currency(struct slice currency);

#endif
