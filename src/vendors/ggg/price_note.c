/* Reading price notes. What is said of a currency is static; nothing allocates. */
#include "souk/price_note.h"
#include "souk/currency.h"

__extension__ typedef unsigned __int128 u128;

struct decimal {
    uint64_t mantissa; /* At most 18 digits. */
    unsigned places;   /* At most 12. */
};
enum { DIGITS_MAX = 18, PLACES_MAX = 12 };
enum number { NUMBER_NONE, NUMBER_BAD, NUMBER_LONG, NUMBER_GOOD }; /* LONG: well formed. */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static void skip_blanks(struct slice *s) {
    while (s->len > 0 && is_blank(*s->base)) s->base++, s->len--;
}

static bool skip_lit(struct slice *s, struct slice lit) {
    if (!slice__starts(*s, lit)) return false;
    s->base += lit.len, s->len -= lit.len;
    return true;
}

/* Reads a decimal off the front of @s. */
static enum number read_decimal(struct slice *s, struct decimal *out) {
    *out = (struct decimal){0};
    unsigned n_digits = 0, n_zeros = 0; /* Significant ones; zeros at the end of the decimals. */
    bool any = false, point = false, too_long = false;
    for (; s->len > 0; s->base++, s->len--) {
        char c = *s->base;
        if (c == '.') {
            if (point) return NUMBER_BAD;
            point = true;
            continue;
        }
        if (!is_digit(c)) break;
        any = true;
        if (point && c == '0') { /* Counts only when another digit follows. */
            if (n_zeros < 1000) n_zeros++;
            continue;
        }
        unsigned n_pending = point ? n_zeros : 0;
        for (n_zeros = 0; n_pending > 0 && !too_long; n_pending--) {
            out->places++;
            if (out->mantissa > 0) out->mantissa *= 10, n_digits++;
            too_long = n_digits > DIGITS_MAX || out->places > PLACES_MAX;
        }
        if (too_long) continue;
        if (point) out->places++;
        if (out->mantissa > 0 || c != '0') n_digits++;
        too_long = n_digits > DIGITS_MAX || out->places > PLACES_MAX;
        if (!too_long) out->mantissa = out->mantissa * 10 + (uint64_t)(c - '0');
    }
    if (!any) return point ? NUMBER_BAD : NUMBER_NONE;
    if (s->base[-1] == '.') return NUMBER_BAD; /* A point is followed by a digit. */
    return too_long ? NUMBER_LONG : NUMBER_GOOD;
}

static u128 pow10_of(unsigned n) {
    u128 p = 1;
    while (n-- > 0) p *= 10;
    return p;
}

/* @return @num / @den rounded half to even; more than PRICE_MAX as PRICE_MAX + 1. */
static int64_t divide(u128 num, u128 den) {
    u128 q = num / den, rest = num % den;
    if (rest > den - rest || (rest == den - rest && (q & 1) == 1)) q++;
    return q > (u128)PRICE_MAX ? PRICE_MAX + 1 : (int64_t)q;
}

/* 10^18 * 10^12 * 10^6 is below 2^128. */
static bool make_price(const struct decimal *total, const struct decimal *lot, struct price *out) {
    out->total = divide((u128)total->mantissa * (u128)PRICE_SCALE, pow10_of(total->places));
    out->lot = divide((u128)lot->mantissa * (u128)PRICE_SCALE, pow10_of(lot->places));
    out->unit = divide((u128)total->mantissa * pow10_of(lot->places) * (u128)PRICE_SCALE,
                       (u128)lot->mantissa * pow10_of(total->places));
    return out->total > 0 && out->total <= PRICE_MAX && out->lot > 0 && out->lot <= PRICE_MAX &&
           out->unit > 0 && out->unit <= PRICE_MAX;
}

/* Reads a word off the front of @s, up to the next blank. */
static struct slice read_word(struct slice *s) {
    struct slice word = {.base = s->base};
    while (word.len < s->len && !is_blank(s->base[word.len])) word.len++;
    s->base += word.len, s->len -= word.len;
    return word;
}

static bool is_word(struct slice s, struct slice word) {
    return skip_lit(&s, word) && (s.len == 0 || is_blank(*s.base));
}

enum price_verdict price_note__read(struct slice text, struct price *out) {
    *out = (struct price){0};
    struct slice s = slice__trim(text), kind = SLICE_LIT("price");
    if (s.base != text.base) return PRICE_ABSENT; /* The sign comes first, or it is none. */
    if (is_word(s, SLICE_LIT("~skip"))) return PRICE_SKIP;
    if (!slice__starts(s, SLICE_LIT("~"))) return PRICE_ABSENT;
    if (!is_word(s, SLICE_LIT("~price"))) {
        if (!is_word(s, SLICE_LIT("~b/o"))) return PRICE_UNREADABLE; /* ~c/o, ~pricecheck. */
        kind = SLICE_LIT("b/o");
    }
    s = slice__of(s.base + 1 + kind.len, s.len - 1 - kind.len);
    skip_blanks(&s);

    struct decimal total, lot = {.mantissa = 1};
    enum number got = read_decimal(&s, &total), lot_got = NUMBER_GOOD;
    if (got == NUMBER_NONE && (s.len == 0 || is_alpha(*s.base)))
        return PRICE_UNSET; /* No amount. */
    bool ratio = skip_lit(&s, SLICE_LIT("/"));
    if (ratio) lot_got = read_decimal(&s, &lot);
    if (got <= NUMBER_BAD || lot_got <= NUMBER_BAD) return PRICE_UNREADABLE;
    if (s.len == 0) return PRICE_UNSET; /* No currency. */
    if (!is_blank(*s.base)) return PRICE_UNREADABLE;
    skip_blanks(&s);
    uint16_t number = currency__find(read_word(&s)); /* What follows it does not matter. */
    if (number == CURRENCY_NONE) return PRICE_UNKNOWN_WORD;
    if (got == NUMBER_LONG || lot_got == NUMBER_LONG) return PRICE_OUT_OF_RANGE;
    if (lot.mantissa == 0) return PRICE_UNREADABLE;
    if (total.mantissa == 0) return PRICE_UNSET;
    struct price price = {
        .kind = kind, .currency = currency__id(number), .number = number, .is_ratio = ratio};
    if (!make_price(&total, &lot, &price)) return PRICE_OUT_OF_RANGE;
    *out = price;
    return PRICE_GOOD;
}

/* @return whether the site looks no further than to what was read as @verdict. */
static bool ends_search(enum price_verdict verdict) {
    return verdict == PRICE_GOOD || verdict == PRICE_SKIP || verdict == PRICE_OUT_OF_RANGE;
}

enum price_verdict price_note__resolve(const struct price_notes *said, struct price *out,
                                       enum price_source *source) {
    enum price_verdict first = PRICE_ABSENT, verdict = PRICE_ABSENT;
    struct price price = {0};
    const struct slice notes[] = {said->note, said->forum_note};
    enum price_source from = PRICE_FROM_NOTE;
    for (; from < PRICE_FROM_TAB; from++) {
        verdict = price_note__read(notes[from - PRICE_FROM_NOTE], &price);
        if (first == PRICE_ABSENT) first = verdict;
        if (ends_search(verdict)) break;
    }
    if (from == PRICE_FROM_TAB) {
        verdict = said->tab->verdict;
        price = said->tab->price;
        if (!ends_search(verdict) && first != PRICE_ABSENT)
            verdict = first; /* The nearest reason. */
    }
    if (verdict == PRICE_GOOD && price.is_ratio && !said->is_bulk) verdict = PRICE_RATIO;
    *out = verdict == PRICE_GOOD ? price : (struct price){0};
    *source = verdict == PRICE_GOOD ? from : PRICE_FROM_NOWHERE;
    return verdict;
}
