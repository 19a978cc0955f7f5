/* Values as text. Dates are computed here, as the C library's calendar needs a lock and an
 * environment. */
#include "block.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct text {
    char *to;
    size_t n, capacity; /* @n counts on when the room is full. */
};

static void put(struct text *t, const char *data, size_t n) {
    if (t->n < t->capacity)
        memcpy(t->to + t->n, data, n < t->capacity - t->n ? n : t->capacity - t->n);
    t->n += n;
}

__attribute__((format(printf, 2, 3))) static void putf(struct text *t, const char *format, ...) {
    char piece[128];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    if (n > 0) put(t, piece, (size_t)n < sizeof piece ? (size_t)n : sizeof piece - 1);
}

/* Days since 1970 to year, month, day of the proleptic Gregorian calendar, counting years from
 * March. */
static void put_date(struct text *t, int64_t days) {
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    putf(t, "%04" PRId64 "-%02" PRId64 "-%02" PRId64, yoe + era * 400 + (month <= 2), month, day);
}

static void put_date_time(struct text *t, int64_t seconds) {
    int64_t day = seconds / 86400, second = seconds % 86400;
    if (second < 0) {
        second += 86400;
        day--;
    }
    put_date(t, day);
    putf(t, " %02" PRId64 ":%02" PRId64 ":%02" PRId64, second / 3600, second / 60 % 60,
         second % 60);
}

static void put_date_time64(struct text *t, int64_t ticks, uint32_t scale) {
    int64_t unit = 1;
    for (uint32_t i = 0; i < scale; i++) unit *= 10;
    int64_t seconds = ticks / unit, part = ticks % unit;
    if (part < 0) {
        part += unit;
        seconds--;
    }
    put_date_time(t, seconds);
    if (scale > 0) putf(t, ".%0*" PRId64, (int)scale, part);
}

/* A two's complement integer of any width, by long division, with a point before the last @scale
 * digits. */
static void put_wide(struct text *t, const uint8_t *p, size_t bytes, bool is_signed,
                     uint32_t scale) {
    uint32_t words[8] = {0}; /* Little endian. */
    bool negative = is_signed && (p[bytes - 1] & 0x80) != 0;
    for (size_t i = 0; i < bytes; i++) words[i / 4] |= (uint32_t)p[i] << (8 * (i % 4));
    if (negative) {
        for (size_t i = bytes; i < sizeof words; i++) words[i / 4] |= 0xffu << (8 * (i % 4));
        uint64_t carry = 1;
        for (size_t i = 0; i < 8; i++) {
            carry += (uint32_t)~words[i];
            words[i] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    char digits[96];
    size_t n = 0;
    for (bool any = true; any || n <= scale;) {
        uint64_t rest = 0;
        any = false;
        for (size_t i = 8; i-- > 0;) {
            rest = rest << 32 | words[i];
            words[i] = (uint32_t)(rest / 10);
            rest %= 10;
            any = any || words[i] != 0;
        }
        digits[sizeof digits - ++n] = (char)('0' + rest);
    }
    if (negative) put(t, "-", 1);
    put(t, digits + sizeof digits - n, n - scale);
    if (scale == 0) return;
    put(t, ".", 1);
    put(t, digits + sizeof digits - scale, scale);
}

/* The shortest digits that read back as the same number. */
static void put_float(struct text *t, double value, bool is_float) {
    char piece[40];
    for (int digits = is_float ? 6 : 15; digits <= (is_float ? 9 : 17); digits++) {
        snprintf(piece, sizeof piece, "%.*g", digits, value);
        if (is_float ? (double)strtof(piece, NULL) == value : strtod(piece, NULL) == value) break;
        if (isnan(value)) break;
    }
    put(t, isnan(value) ? "nan" : piece, isnan(value) ? 3 : strlen(piece));
}

static void put_ipv6(struct text *t, const uint8_t *p) {
    for (size_t i = 0; i < 16; i += 2)
        putf(t, i == 0 ? "%x" : ":%x", (unsigned)(p[i] << 8 | p[i + 1]));
}

static void put_value(struct text *t, const struct chn_view *v, uint64_t row, bool quoted);

static void put_quoted(struct text *t, struct chn_slice s, bool quoted) {
    if (!quoted) {
        put(t, s.data, s.n);
        return;
    }
    put(t, "'", 1);
    for (size_t i = 0; i < s.n; i++) {
        const char *c = (const char *)s.data + i;
        if (*c == '\'' || *c == '\\') put(t, "\\", 1);
        put(t, c, 1);
    }
    put(t, "'", 1);
}

static void put_leaf(struct text *t, const struct chn_view *v, uint64_t row, bool quoted) {
    struct chn_slice bytes = {"", 0};
    int64_t i = 0;
    uint64_t u = 0;
    double f = 0;
    uint8_t uuid[16];
    const struct chn_type *type = v->type;
    chn_view__bytes(v, row, &bytes);
    switch (type->kind) {
    case CHN_BOOL:
        chn_view__u64(v, row, &u);
        putf(t, "%s", u != 0 ? "true" : "false");
        break;
    case CHN_UINT: put_wide(t, bytes.data, bytes.n, false, 0); break;
    case CHN_INT: put_wide(t, bytes.data, bytes.n, true, 0); break;
    case CHN_DECIMAL: put_wide(t, bytes.data, bytes.n, true, type->scale); break;
    case CHN_FLOAT:
        chn_view__f64(v, row, &f);
        put_float(t, f, type->width == 4);
        break;
    case CHN_DATE:
    case CHN_DATE32:
        chn_view__i64(v, row, &i);
        if (quoted) put(t, "'", 1);
        put_date(t, i);
        if (quoted) put(t, "'", 1);
        break;
    case CHN_DATETIME:
    case CHN_DATETIME64:
        chn_view__i64(v, row, &i);
        if (quoted) put(t, "'", 1);
        put_date_time64(t, i, type->scale);
        if (quoted) put(t, "'", 1);
        break;
    case CHN_UUID:
        chn_view__uuid(v, row, uuid);
        for (size_t k = 0; k < 16; k++)
            putf(t, k == 4 || k == 6 || k == 8 || k == 10 ? "-%02x" : "%02x", uuid[k]);
        break;
    case CHN_IPV4:
        chn_view__u64(v, row, &u);
        putf(t, "%u.%u.%u.%u", (unsigned)(u >> 24), (unsigned)(u >> 16 & 255),
             (unsigned)(u >> 8 & 255), (unsigned)(u & 255));
        break;
    case CHN_IPV6: put_ipv6(t, bytes.data); break;
    default: chn_view__string(v, row, &bytes); put_quoted(t, bytes, quoted);
    }
}

static void put_nested(struct text *t, const struct chn_view *v, uint64_t row) {
    uint64_t first = row, n = 1;
    if (v->type->kind == CHN_TUPLE) {
        for (uint32_t i = 0; i < v->n_children; i++) {
            put(t, i == 0 ? "(" : ",", 1);
            put_value(t, &v->children[i], row, true);
        }
        put(t, ")", 1);
        return;
    }
    const struct chn_view *values = NULL, *keys = NULL;
    bool is_map = chn_view__map(v, row, &keys, &values, &first, &n);
    if (!is_map) chn_view__array(v, row, &values, &first, &n);
    put(t, is_map ? "{" : "[", 1);
    for (uint64_t i = first; i < first + n; i++) {
        if (i > first) put(t, ",", 1);
        if (is_map) {
            put_value(t, keys, i, true);
            put(t, ":", 1);
        }
        put_value(t, values, i, true);
    }
    put(t, is_map ? "}" : "]", 1);
}

static void put_value(struct text *t, const struct chn_view *v, uint64_t row, bool quoted) {
    if (v->type->kind == CHN_NOTHING || chn_view__is_null(v, row)) {
        put(t, "NULL", 4);
        return;
    }
    if (v->type->kind == CHN_ARRAY || v->type->kind == CHN_MAP || v->type->kind == CHN_TUPLE) {
        put_nested(t, v, row);
        return;
    }
    while (v->type->kind == CHN_NULLABLE || v->type->kind == CHN_LOW_CARDINALITY) {
        if (v->type->kind == CHN_LOW_CARDINALITY) {
            uint64_t key = 0;
            for (size_t i = 0; i < v->key_width; i++)
                key |= (uint64_t)v->data.data[row * v->key_width + i] << (8 * i);
            row = key;
        }
        v = &v->children[0];
        if (v->type->kind == CHN_NOTHING) break;
    }
    put_leaf(t, v, row, quoted);
}

long chn_view__text(const struct chn_view *view, uint64_t row, char *to, size_t capacity) {
    if (view == NULL || row >= view->n) return -1;
    struct text t = {.to = to, .capacity = capacity > 0 ? capacity - 1 : 0};
    put_value(&t, view, row, false);
    if (capacity > 0) to[t.n < t.capacity ? t.n : t.capacity] = '\0';
    return (long)t.n;
}
