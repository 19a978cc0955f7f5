/* The firewall: rules that keep or refuse what upstreams send, and the count of what was refused.
 *
 * A rule never repairs a value. What breaks one becomes a row of bronze_quarantine with a reason
 * from the set below; nothing disappears without a row, or a row that says how much it stands for.
 *
 * Rules are pure and run on any thread; struct quality belongs to the loop. */
#ifndef SOUK_QUALITY_H
#define SOUK_QUALITY_H

#include "souk/core/batch.h"
#include "souk/core/metric.h"

#define QUALITY_REASONS(X)                                                                         \
    X(QUALITY_OK, "ok")                                                                            \
    X(QUALITY_WRONG_TYPE, "wrong_type")                                                            \
    X(QUALITY_MISSING_FIELD, "missing_field")                                                      \
    X(QUALITY_OUT_OF_RANGE, "out_of_range")                                                        \
    X(QUALITY_TOO_LONG, "too_long")                                                                \
    X(QUALITY_TOO_DEEP, "too_deep")                                                                \
    X(QUALITY_TOO_MANY, "too_many")                                                                \
    X(QUALITY_BAD_PRICE, "bad_price")                                                              \
    X(QUALITY_BAD_SIZE, "bad_size")                                                                \
    X(QUALITY_BAD_TIME, "bad_time")                                                                \
    X(QUALITY_CROSSED_BOOK, "crossed_book")                                                        \
    X(QUALITY_REJECTED, "rejected")                                                                \
    X(QUALITY_UNDECODABLE_PAGE, "undecodable_page")

#define QUALITY_ENUM(code, text) code,
enum quality_reason { QUALITY_REASONS(QUALITY_ENUM) QUALITY__N };
#undef QUALITY_ENUM

/** @return the reason's code as rows and metrics carry it, e.g. bad_price; never NULL. */
const char *quality__text(enum quality_reason reason);
/** @return the reason whose code is @text, or QUALITY__N. */
enum quality_reason quality__find(struct slice text);

/* What a note or a tab's name is as a price: PRICE_GOOD, or the reason why an item has none. Not
 * refusals: sellers write what they like. */
#define QUALITY_PRICE_VERDICTS(X)                                                                  \
    X(PRICE_GOOD, "")                                                                              \
    X(PRICE_ABSENT, "no_note")            /* Nothing is said, or free text. */                     \
    X(PRICE_SKIP, "skip")                 /* "~skip": the seller takes the item out. */            \
    X(PRICE_UNSET, "unset")               /* No amount or currency, or amount 0. */                \
    X(PRICE_UNREADABLE, "unreadable")     /* Begins as a price and cannot be one. */               \
    X(PRICE_UNKNOWN_WORD, "unknown_word") /* No currency is called that. */                        \
    X(PRICE_OUT_OF_RANGE, "out_of_range") /* More than we can hold, or rounds to 0. */             \
    X(PRICE_RATIO, "ratio")               /* The price of a lot, on what is no bulk good. */

#define QUALITY_ENUM(code, text) code,
enum price_verdict { QUALITY_PRICE_VERDICTS(QUALITY_ENUM) PRICE__N };
#undef QUALITY_ENUM
/** @return the verdict as rows and metrics carry it, e.g. unknown_word; "" for PRICE_GOOD. */
const char *quality__price_text(enum price_verdict verdict);

#define QUALITY_VALUE_MAX 1e12
/** A price or value as a number: finite, above 0, at most QUALITY_VALUE_MAX.
 *  @return QUALITY_OK or QUALITY_BAD_PRICE. */
enum quality_reason quality__value(double value);
/** A traded or offered amount: finite and not negative. @return QUALITY_OK or QUALITY_BAD_SIZE. */
enum quality_reason quality__size(double size);
/** A time that an upstream claims, against ours (both ns since 1970, UTC): at most a minute ahead
 *  of us, and not before 2013-01-23, when Path of Exile went public.
 *  @return QUALITY_OK or QUALITY_BAD_TIME. */
enum quality_reason quality__time(int64_t claimed_wall_ns, int64_t wall_ns);
/** Reads a time as upstreams write it: 2023-11-15T02:12:53.0081686Z, with any number of decimals or
 *  none, in UTC, of the years 1970 to 2199. @return false when @text is none (RFC 3339,
 * section 5.6, with Z alone). */
bool quality__utc(struct slice text, int64_t *wall_ns);
/** The best bid and ask of one book, each a value: the bid is below the ask.
 *  @return QUALITY_OK, QUALITY_BAD_PRICE or QUALITY_CROSSED_BOOK. */
enum quality_reason quality__book(double bid, double ask);

#define QUALITY_SOURCES_MAX 32
/** Counts of one process by source and reason. Its owner embeds it. */
struct quality {
    struct quality_source {
        const char *name; /* Borrowed; static. */
        struct series *quarantined[QUALITY__N];
        struct series *rows;
        struct series *gaps; /* Pieces that upstream did not have. */
        struct series *fields_lost;
    } sources[QUALITY_SOURCES_MAX];
    size_t n_sources;
    struct series *unpriced[PRICE__N];
};

/** Makes the series of @n_sources sources at 0: souk_source_rows_total{source},
 *  souk_source_gaps_total{source}, souk_source_fields_lost_total{source},
 *  souk_items_unpriced_total{reason} and souk_rows_quarantined_total{source,reason}. @names and @m
 *  are borrowed. @return 0, or ERR_FULL beyond QUALITY_SOURCES_MAX. */
int quality__init(struct quality *q, struct metrics *m, const char *const *names, size_t n_sources);
/** Counts what one page of @source became: its data rows, its rows about gaps, fields that could
 * not be read, items without a price by reason, and by reason what was refused. A refusal of reason
 * too_many stands for as many as its value says. An unknown source is ours to fix: it asserts. */
void quality__count(struct quality *q, const char *source, const struct rows *rows);

#endif
