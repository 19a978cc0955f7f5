/* Reading price notes. Everything is borrowed from the text or static; nothing allocates. */
#include "souk/price_note.h"

__extension__ typedef unsigned __int128 u128;

struct decimal {
    uint64_t mantissa; /* At most 18 digits. */
    unsigned places;   /* At most 12. */
};
enum { DIGITS_MAX = 18, PLACES_MAX = 12 };
enum number { NUMBER_GOOD, NUMBER_NONE, NUMBER_BAD };

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
    return too_long ? NUMBER_BAD : NUMBER_GOOD;
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
    if (total->mantissa == 0 || lot->mantissa == 0) return false;
    out->total = divide((u128)total->mantissa * (u128)PRICE_SCALE, pow10_of(total->places));
    out->lot = divide((u128)lot->mantissa * (u128)PRICE_SCALE, pow10_of(lot->places));
    out->unit = divide((u128)total->mantissa * pow10_of(lot->places) * (u128)PRICE_SCALE,
                       (u128)lot->mantissa * pow10_of(total->places));
    return out->total > 0 && out->total <= PRICE_MAX && out->lot > 0 && out->lot <= PRICE_MAX &&
           out->unit > 0 && out->unit <= PRICE_MAX;
}

struct slice price_note__currency(struct slice currency) {
    static const struct {
        struct slice old, now;
    } aliases[] = {
        {SLICE_LIT("exa"), SLICE_LIT("exalted")},
        {SLICE_LIT("fuse"), SLICE_LIT("fusing")},
        {SLICE_LIT("chrom"), SLICE_LIT("chrome")},
        {SLICE_LIT("jew"), SLICE_LIT("jewellers")},
        {SLICE_LIT("mir"), SLICE_LIT("mirror")},
        {SLICE_LIT("engineers-orb"), SLICE_LIT("engineers")},
        {SLICE_LIT("orb-of-annulment"), SLICE_LIT("annul")},
        {SLICE_LIT("wis"), SLICE_LIT("wisdom")},
        {SLICE_LIT("port"), SLICE_LIT("portal")},
        {SLICE_LIT("scr"), SLICE_LIT("scrap")},
        {SLICE_LIT("whe"), SLICE_LIT("whetstone")},
        {SLICE_LIT("ba"), SLICE_LIT("bauble")},
        {SLICE_LIT("tra"), SLICE_LIT("transmute")},
        {SLICE_LIT("ete"), SLICE_LIT("eternal")},
    };
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (slice__eq(aliases[i].old, currency)) return aliases[i].now;
    return currency;
}

/* Reads a currency id off the front of @s: a letter, then letters, digits, _, - and '. */
static struct slice read_currency(struct slice *s) {
    struct slice word = {.base = s->base};
    if (s->len == 0 || !is_alpha(*s->base)) return word;
    while (word.len < s->len) {
        char c = s->base[word.len];
        if (!is_alpha(c) && !is_digit(c) && c != '_' && c != '-' && c != '\'') break;
        word.len++;
    }
    s->base += word.len, s->len -= word.len;
    return word;
}

enum price_verdict price_note__read(struct slice text, enum price_where where, struct price *out) {
    *out = (struct price){0};
    struct slice s = slice__trim(text);
    if (slice__starts(s, SLICE_LIT("~skip"))) return PRICE_SKIP;
    struct slice kind = SLICE_LIT("price");
    if (!skip_lit(&s, SLICE_LIT("~price"))) {
        if (!skip_lit(&s, SLICE_LIT("~b/o"))) return PRICE_ABSENT;
        kind = SLICE_LIT("b/o");
    }
    if (s.len == 0) return PRICE_UNSET;
    if (!is_blank(*s.base)) return PRICE_ABSENT; /* Another word, such as ~pricecheck. */
    skip_blanks(&s);

    struct decimal total, lot = {.mantissa = 1};
    enum number got = read_decimal(&s, &total);
    if (got == NUMBER_NONE && s.len > 0 && is_alpha(*s.base)) return PRICE_UNSET; /* No amount. */
    if (got != NUMBER_GOOD) return PRICE_BAD;
    bool ratio = skip_lit(&s, SLICE_LIT("/"));
    if (ratio && read_decimal(&s, &lot) != NUMBER_GOOD) return PRICE_BAD;
    if (s.len == 0) return PRICE_UNSET; /* No currency. */
    if (!is_blank(*s.base)) return PRICE_BAD;
    skip_blanks(&s);
    struct slice currency = read_currency(&s);
    if (currency.len == 0 || currency.len > PRICE_CURRENCY_MAX) return PRICE_BAD;
    if (s.len > 0 && (where == PRICE_IN_NOTE || !is_blank(*s.base))) return PRICE_BAD;
    if (ratio && where == PRICE_IN_TAB_NAME) return PRICE_UNSET; /* The game does not take it. */
    if (!ratio && total.mantissa == 0) return PRICE_UNSET;       /* Amount 0. */
    struct price price = {.kind = kind, .currency = price_note__currency(currency)};
    if (!make_price(&total, &lot, &price)) return PRICE_BAD;
    *out = price;
    return PRICE_GOOD;
}
