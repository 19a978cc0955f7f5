/* Values as text. Dates are computed here, as the C library's calendar needs a lock and an
 * environment. */
#include "block.h"

#include <ch_native/conn.h>

#include <arpa/inet.h>
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

/* The shortest digits that read back as the same number, as ClickHouse writes them: exponents below
 * 1e-6 and from 1e21 on only. */
static void put_float(struct text *t, double value, uint32_t width) {
    char piece[40], digits[24] = "0";
    size_t n = 0;
    if (!isfinite(value)) {
        if (isnan(value)) put(t, "nan", 3);
        else putf(t, "%s", value < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 1;; precision++) {
        snprintf(piece, sizeof piece, "%.*e", precision - 1, value);
        if (precision == 17 || strtod(piece, NULL) == value) break;
        if (width < 8 && (double)strtof(piece, NULL) == value) break;
    }
    for (const char *c = piece; *c != 'e'; c++) /* A decimal comma is not a digit either. */
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    long exponent = strtol(strchr(piece, 'e') + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0') n--;
    if (signbit(value)) put(t, "-", 1);
    if (exponent < -6 || exponent >= 21) {
        put(t, digits, 1);
        if (n > 1) put(t, ".", 1);
        put(t, digits + 1, n - 1);
        putf(t, "e%ld", exponent);
    } else if (exponent < 0) {
        putf(t, "0.%.*s%.*s", (int)-exponent - 1, "000000", (int)n, digits);
    } else {
        for (size_t i = 0; i <= (size_t)exponent || i < n; i++) {
            if (i == (size_t)exponent + 1) put(t, ".", 1);
            put(t, i < n ? digits + i : "0", 1);
        }
    }
}

static void put_ipv6(struct text *t, const uint8_t *p) {
    char piece[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, p, piece, sizeof piece) != NULL) put(t, piece, strlen(piece));
}

/* Of a Time: hours may go to 999. */
static void put_clock(struct text *t, int64_t ticks, uint32_t scale) {
    uint64_t unit = 1, size = ticks < 0 ? 0 - (uint64_t)ticks : (uint64_t)ticks;
    for (uint32_t i = 0; i < scale; i++) unit *= 10;
    uint64_t seconds = size / unit;
    putf(t, "%s%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, ticks < 0 ? "-" : "", seconds / 3600,
         seconds / 60 % 60, seconds % 60);
    if (scale > 0) putf(t, ".%0*" PRIu64, (int)scale, size % unit);
}

static void put_value(struct text *t, const struct chn_view *v, uint64_t row, bool quoted);

static void put_string(struct text *t, struct chn_slice s, bool quoted) {
    static const char from[] = "\b\f\n\r\t\0\\'", into[] = "bfnrt0\\'";
    if (!quoted) {
        put(t, s.data, s.n);
        return;
    }
    put(t, "'", 1);
    for (size_t i = 0; i < s.n; i++) {
        const char *c = (const char *)s.data + i;
        const char *known = memchr(from, *c, sizeof from - 1);
        if (known != NULL) put(t, "\\", 1);
        put(t, known != NULL ? &into[known - from] : c, 1);
    }
    put(t, "'", 1);
}

static void put_number(struct text *t, const struct chn_view *v, uint64_t row) {
    struct chn_slice bytes = {"", 0};
    double f = 0;
    const struct chn_type *type = v->type;
    if (type->kind == CHN_FLOAT) {
        chn_view__f64(v, row, &f);
        put_float(t, f, type->width);
        return;
    }
    chn_view__bytes(v, row, &bytes);
    put_wide(t, bytes.data, bytes.n, type->kind != CHN_UINT, type->scale);
}

/* What is quoted inside of arrays, maps and tuples. */
static void put_quotable(struct text *t, const struct chn_view *v, uint64_t row) {
    struct chn_slice bytes = {"", 0};
    int64_t i = 0;
    uint64_t u = 0;
    uint8_t uuid[16] = {0};
    switch (v->type->kind) {
    case CHN_DATE:
    case CHN_DATE32:
        chn_view__i64(v, row, &i);
        put_date(t, i);
        break;
    case CHN_DATETIME:
    case CHN_DATETIME64:
        chn_view__i64(v, row, &i);
        put_date_time64(t, i, v->type->scale);
        break;
    case CHN_TIME:
    case CHN_TIME64:
        chn_view__i64(v, row, &i);
        put_clock(t, i, v->type->scale);
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
    default: /* IPv6. */ chn_view__bytes(v, row, &bytes); put_ipv6(t, bytes.data);
    }
}

static void put_leaf(struct text *t, const struct chn_view *v, uint64_t row, bool quoted) {
    struct chn_slice bytes = {"", 0};
    uint64_t u = 0;
    switch (v->type->kind) {
    case CHN_BOOL:
        chn_view__u64(v, row, &u);
        putf(t, "%s", u != 0 ? "true" : "false");
        break;
    case CHN_UINT:
    case CHN_INT:
    case CHN_DECIMAL:
    case CHN_FLOAT: put_number(t, v, row); break;
    case CHN_STRING:
    case CHN_FIXED_STRING:
    case CHN_ENUM:
    case CHN_JSON:
        chn_view__string(v, row, &bytes);
        put_string(t, bytes, quoted && v->type->kind != CHN_JSON);
        break;
    default:
        if (quoted) put(t, "'", 1);
        put_quotable(t, v, row);
        if (quoted) put(t, "'", 1);
    }
}

static void put_nested(struct text *t, const struct chn_view *v, uint64_t row) {
    uint64_t first = row, n = 1;
    if (v->type->kind == CHN_TUPLE) {
        if (v->n_children == 0) put(t, "(", 1);
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

size_t chn_quote(char *to, size_t capacity, const void *data, size_t n) {
    struct text t = {.to = to, .capacity = capacity > 0 ? capacity - 1 : 0};
    put_string(&t, (struct chn_slice){data, n}, true);
    if (capacity > 0) to[t.n < t.capacity ? t.n : t.capacity] = '\0';
    return t.n;
}
