/* Values from text, in the form that ClickHouse prints: the way back of text.c. */
#include "node.h"

#include <stdlib.h>

struct scan {
    const char *at, *end;
};

static bool take(struct scan *s, char c) {
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

/* From @min to @max digits, at most 18 of them. */
static bool take_digits(struct scan *s, size_t min, size_t max, int64_t *value) {
    size_t n = 0;
    *value = 0;
    for (; s->at < s->end && n < max && *s->at >= '0' && *s->at <= '9'; n++)
        *value = *value * 10 + (*s->at++ - '0');
    return n >= min;
}

/* Days since 1970 of the proleptic Gregorian calendar, counting years from March; the inverse of
 * text.c's put_date(). */
static bool take_date(struct scan *s, int64_t *days) {
    static const int64_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year, month, day;
    if (!take_digits(s, 4, 4, &year) || !take(s, '-') || !take_digits(s, 2, 2, &month) ||
        !take(s, '-') || !take_digits(s, 2, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1) return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > lengths[month - 1] + (leap && month == 2)) return false;
    int64_t y = month > 2 ? year : year - 1, era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400,
            doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    *days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    return true;
}

/* hh:mm:ss; the hours of a Time may have three digits. */
static bool take_clock(struct scan *s, size_t hour_digits, int64_t *seconds) {
    int64_t hour, minute, second;
    if (!take_digits(s, 1, hour_digits, &hour) || !take(s, ':') || !take_digits(s, 2, 2, &minute) ||
        !take(s, ':') || !take_digits(s, 2, 2, &second))
        return false;
    *seconds = hour * 3600 + minute * 60 + second;
    return minute < 60 && second < 60 && (hour_digits > 2 || hour < 24);
}

/* Ticks of 10^-@scale seconds from seconds and an optional fraction of at most @scale digits. */
static bool take_ticks(struct scan *s, int64_t seconds, uint32_t scale, int64_t *ticks) {
    int64_t unit = 1, fraction = 0;
    for (uint32_t i = 0; i < scale; i++) unit *= 10;
    if (take(s, '.')) {
        const char *first = s->at;
        if (!take_digits(s, 1, scale, &fraction)) return false;
        for (size_t i = (size_t)(s->at - first); i < scale; i++) fraction *= 10;
    }
    return !__builtin_mul_overflow(seconds, unit, ticks) &&
           !__builtin_add_overflow(*ticks, fraction, ticks);
}

static int put_time(struct chn_builder *b, struct scan s) {
    int64_t days = 0, seconds = 0, ticks;
    enum chn_kind kind = b->type->kind;
    bool is_clock = kind == CHN_TIME || kind == CHN_TIME64;
    bool negative = is_clock && take(&s, '-');
    if (!is_clock && !take_date(&s, &days)) return CHN_ERR_ARGUMENT;
    if (kind == CHN_DATE || kind == CHN_DATE32)
        return s.at == s.end ? chn_builder__i64(b, days) : CHN_ERR_ARGUMENT;
    if (!is_clock && !take(&s, ' ')) return CHN_ERR_ARGUMENT;
    if (!take_clock(&s, is_clock ? 3 : 2, &seconds) ||
        !take_ticks(&s, days * 86400 + seconds, b->type->scale, &ticks) || s.at != s.end)
        return CHN_ERR_ARGUMENT;
    return chn_builder__i64(b, negative ? -ticks : ticks);
}

/* --- Numbers --- */

static bool times_ten_plus(struct chn_wide *w, unsigned digit) {
    uint64_t carry = digit;
    for (size_t i = 0; i < 4; i++) {
        uint64_t low = (w->words[i] & UINT32_MAX) * 10 + carry;
        uint64_t high = (w->words[i] >> 32) * 10 + (low >> 32);
        w->words[i] = high << 32 | (low & UINT32_MAX);
        carry = high >> 32;
    }
    return carry == 0;
}

bool chn_wide__parse(const char *text, size_t n, uint32_t scale, struct chn_wide *value) {
    struct scan s = {text, text + n};
    bool negative = take(&s, '-'), any = false, in_fraction = false;
    uint32_t left = scale; /* Digits that the fraction still has. */
    *value = (struct chn_wide){{0}};
    for (; s.at < s.end; s.at++) {
        if (*s.at == '.' && !in_fraction && scale > 0) {
            in_fraction = true;
            continue;
        }
        if (*s.at < '0' || *s.at > '9') return false;
        any = true;
        if (in_fraction && left == 0) {
            if (*s.at != '0') return false; /* Rounding is for the caller to decide. */
            continue;
        }
        if (!times_ten_plus(value, (unsigned)(*s.at - '0'))) return false;
        left -= in_fraction;
    }
    for (; left > 0; left--)
        if (!times_ten_plus(value, 0)) return false;
    if (!any || !negative) return any;
    if (value->words[3] >> 63 != 0 &&
        (value->words[3] != (uint64_t)1 << 63 || value->words[2] != 0 || value->words[1] != 0 ||
         value->words[0] != 0))
        return false; /* Below -2^255. */
    uint64_t carry = 1;
    for (size_t i = 0; i < 4; i++) {
        value->words[i] = ~value->words[i] + carry;
        carry = carry != 0 && value->words[i] == 0;
    }
    return true;
}

static int put_number(struct chn_builder *b, const char *text, size_t n) {
    struct chn_wide value;
    if (!chn_wide__parse(text, n, b->type->scale, &value)) return CHN_ERR_ARGUMENT;
    /* Unsigned values may have the top bit; a minus tells what it means. */
    return chn_node__put_wide(b, &value, text[0] == '-');
}

static int put_float(struct chn_builder *b, const char *text, size_t n) {
    char copy[64], *end;
    if (n == 0 || n >= sizeof copy) return CHN_ERR_ARGUMENT;
    memcpy(copy, text, n);
    copy[n] = '\0';
    const char *word = copy + (copy[0] == '-');
    /* strtod() reads more than ClickHouse prints: spaces, hexadecimal, "infinity". */
    if (strcmp(word, "inf") != 0 && strcmp(word, "nan") != 0 &&
        (strspn(copy, "0123456789+-.eE") != n))
        return CHN_ERR_ARGUMENT;
    double value = strtod(copy, &end);
    return end == copy + n ? chn_builder__f64(b, value) : CHN_ERR_ARGUMENT;
}

static bool is_text(const char *text, size_t n, const char *word) {
    return n == strlen(word) && memcmp(text, word, n) == 0;
}

int chn_builder__text(struct chn_builder *b, const char *text, size_t n) {
    switch (b->type->kind) {
    case CHN_NULLABLE: {
        if (is_text(text, n, "NULL")) return chn_builder__null(b);
        int code = chn_node_make_room(b, 1);
        if (code != 0) return code;
        if ((code = chn_builder__text(&b->children[0], text, n)) != 0) {
            b->root->bytes--;
            return code;
        }
        b->data.data[b->data.n++] = 0;
        b->n++;
        return 0;
    }
    case CHN_LOW_CARDINALITY: {
        if (chn_dictionary_has_null(b) && is_text(text, n, "NULL")) return chn_builder__null(b);
        if (b->children[0].type->width == 0) return chn_builder__string(b, text, n);
        int code = chn_dictionary__begin(b);
        return code != 0 ? code
                         : chn_dictionary__end(b, chn_builder__text(&b->children[0], text, n));
    }
    case CHN_INT:
    case CHN_UINT:
    case CHN_DECIMAL: return put_number(b, text, n);
    case CHN_FLOAT: return put_float(b, text, n);
    case CHN_BOOL:
        if (is_text(text, n, "true")) return chn_builder__u64(b, 1);
        return is_text(text, n, "false") ? chn_builder__u64(b, 0) : CHN_ERR_ARGUMENT;
    case CHN_DATE:
    case CHN_DATE32:
    case CHN_DATETIME:
    case CHN_DATETIME64:
    case CHN_TIME:
    case CHN_TIME64: return put_time(b, (struct scan){text, text + n});
    default: return chn_builder__string(b, text, n);
    }
}
