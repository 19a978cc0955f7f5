#include "random_types.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

uint64_t draw__below(struct draw *d, uint64_t n) { /* SplitMix64. */
    uint64_t z = d->seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % n;
}

static void put(struct script *s, const void *data, size_t n) {
    assert_true(s->n + n < sizeof s->bytes);
    memcpy(s->bytes + s->n, data, n);
    s->n += n;
    s->bytes[s->n] = '\0';
}

__attribute__((format(printf, 2, 3))) static void putf(struct script *s, const char *format, ...) {
    char piece[256];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    assert_true(n >= 0 && (size_t)n < sizeof piece);
    put(s, piece, (size_t)n);
}

/* --- Types --- */

static const char *const old_leaves[] = {
    "Int8",   "Int16",   "Int32",   "Int64",           "UInt8",           "UInt16",
    "UInt32", "UInt64",  "Float32", "Float64",         "String",          "FixedString(5)",
    "Date",   "DateTime('UTC')", "UUID", "Decimal(9, 4)", "Decimal(18, 6)",
    "Enum8('price' = -2, 'b/o' = 3)", "Enum16('it\\'s' = 300, '' = -300)"};
static const char *const new_leaves[] = {
    "Decimal(38, 10)", "Int128",  "Int256",   "UInt128",        "UInt256",       "Decimal(76, 20)", "Decimal(25, 3)",
    "Bool",    "IPv4",     "IPv6",           "Date32",        "Time",            "Time64(3)",
    "Time64(9)", "BFloat16", "DateTime64(3, 'UTC')", "DateTime64(9, 'UTC')", "DateTime64(0, 'UTC')"};
static const char *const words[] = {"String",  "FixedString(5)", "Date", "DateTime('UTC')",
                                    "Int16",   "UInt64",         "Int128", "UInt256",
                                    "Float64", "Date32",         "IPv4", "IPv6",
                                    "UUID",    "Bool",           "Time"};
static const char *const keys[] = {"String", "LowCardinality(String)", "Int32", "UInt64",
                                   "UUID",   "FixedString(5)",         "Date"};
#define PICK(d, list) list[draw__below((d), sizeof list / sizeof list[0])]

static void draw_leaf(struct draw *d, struct script *to) {
    const char *leaf = d->modern && draw__below(d, 2) == 0 ? PICK(d, new_leaves)
                                                           : PICK(d, old_leaves);
    switch (draw__below(d, d->modern ? 6 : 4)) {
    case 0: putf(to, "Nullable(%s)", leaf); break;
    case 4: putf(to, "LowCardinality(%s)", PICK(d, words)); break;
    case 5: putf(to, "LowCardinality(Nullable(%s))", PICK(d, words)); break;
    default: putf(to, "%s", leaf);
    }
}

void draw__type(struct draw *d, unsigned depth, struct script *to) {
    unsigned n = 1 + (unsigned)draw__below(d, 3);
    if (depth == 0 || draw__below(d, 3) == 0) {
        draw_leaf(d, to);
        return;
    }
    switch (draw__below(d, d->modern ? 3 : 2)) {
    case 0:
        putf(to, "Array(");
        size_t from = to->n;
        do { /* Old servers take an array of tuples for Nested, and split it. */
            to->n = from;
            draw__type(d, depth - 1, to);
        } while (!d->modern && strncmp(to->bytes + from, "Tuple", 5) == 0);
        break;
    case 1:
        putf(to, "Tuple(");
        for (unsigned i = 0; i < n; i++) {
            if (i > 0) putf(to, ", ");
            draw__type(d, depth - 1, to);
        }
        break;
    default:
        putf(to, "Map(%s, ", PICK(d, keys));
        draw__type(d, depth - 1, to);
    }
    putf(to, ")");
}

/* --- Values --- */

/* From 1 to @max digits, the last one not 0, with @scale of them behind a point and a 0 before it
 * if need be, as the server prints them. */
static void put_digits(struct draw *d, struct script *s, bool may_be_negative, uint32_t max,
                       uint32_t scale) {
    char digits[80];
    size_t n = 1 + (size_t)draw__below(d, max), at = 0;
    for (size_t i = 0; i < n; i++)
        digits[i] = (char)('0' + (i == 0 || i + 1 == n ? 1 + draw__below(d, 9) : draw__below(d, 10)));
    if (may_be_negative && draw__below(d, 2) == 0) putf(s, "-");
    if (n <= scale) putf(s, "0");
    for (; at + scale < n; at++) put(s, digits + at, 1);
    if (scale == 0) return;
    putf(s, ".");
    for (size_t i = n; i < scale; i++) putf(s, "0");
    put(s, digits + at, n - at);
}

static void put_time_of(struct script *s, int64_t seconds, const char *format) {
    char piece[32];
    struct tm tm;
    time_t t = (time_t)seconds;
    assert_non_null(gmtime_r(&t, &tm));
    put(s, piece, strftime(piece, sizeof piece, format, &tm));
}

static int64_t unit_of(uint32_t scale) {
    int64_t unit = 1;
    for (uint32_t i = 0; i < scale; i++) unit *= 10;
    return unit;
}

static int add_time(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                    struct script *s) {
    int64_t unit = unit_of(type->scale), low = -2208988800, span = 4102444800 - low; /* 1900-2100 */
    int64_t day = (low + (int64_t)draw__below(d, (uint64_t)span)) / 86400, seconds, part;
    switch (type->kind) {
    case CHN_DATE:
        day = (int64_t)draw__below(d, d->modern ? 65536 : 45000); /* 18.16 knows no 2149. */
        put_time_of(s, day * 86400, "%Y-%m-%d");
        return chn_builder__u64(b, (uint64_t)day);
    case CHN_DATE32: put_time_of(s, day * 86400, "%Y-%m-%d"); return chn_builder__i64(b, day);
    case CHN_DATETIME:
        seconds = (int64_t)draw__below(d, UINT32_MAX);
        put_time_of(s, seconds, "%Y-%m-%d %H:%M:%S");
        return chn_builder__i64(b, seconds);
    case CHN_DATETIME64:
        seconds = day * 86400 + (int64_t)draw__below(d, 86400);
        part = (int64_t)draw__below(d, (uint64_t)unit);
        put_time_of(s, seconds, "%Y-%m-%d %H:%M:%S");
        if (type->scale > 0) putf(s, ".%0*" PRId64, (int)type->scale, part);
        return chn_builder__i64(b, seconds * unit + part);
    default: /* Time and Time64: up to 999 hours in both directions. */
        seconds = (int64_t)draw__below(d, 3600000);
        part = (int64_t)draw__below(d, (uint64_t)unit);
        bool negative = draw__below(d, 2) == 0 && seconds > 0;
        putf(s, "%s%02" PRId64 ":%02" PRId64 ":%02" PRId64, negative ? "-" : "", seconds / 3600,
             seconds / 60 % 60, seconds % 60);
        if (type->scale > 0) putf(s, ".%0*" PRId64, (int)type->scale, part);
        int64_t ticks = seconds * unit + part;
        return chn_builder__i64(b, negative ? -ticks : ticks);
    }
}

static int add_number(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                      struct script *s) {
    static const uint32_t digits[] = {[1] = 2, [2] = 4, [4] = 9, [8] = 18, [16] = 38, [32] = 76};
    size_t from = s->n;
    if (type->kind == CHN_DECIMAL) {
        put_digits(d, s, true, type->precision, type->scale);
        return chn_builder__text(b, s->bytes + from, s->n - from);
    }
    if (type->width <= 8 && draw__below(d, 2) == 0) {
        uint64_t bits = draw__below(d, UINT64_MAX) >> draw__below(d, 64);
        if (type->kind == CHN_UINT) {
            if (type->width < 8) bits &= ((uint64_t)1 << (8 * type->width)) - 1;
            putf(s, "%" PRIu64, bits);
            return chn_builder__u64(b, bits);
        }
        int64_t value = (int64_t)bits;
        if (type->width == 1) value = (int8_t)bits;
        if (type->width == 2) value = (int16_t)bits;
        if (type->width == 4) value = (int32_t)bits;
        putf(s, "%" PRId64, value);
        return chn_builder__i64(b, value);
    }
    put_digits(d, s, type->kind == CHN_INT, digits[type->width], 0);
    return chn_builder__text(b, s->bytes + from, s->n - from);
}

/* Quarters, which are exact in all of them and short as text; of a BFloat16 small ones. */
static int add_float(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                     struct script *s) {
    static const char *const ends[] = {"", ".25", ".5", ".75"};
    int64_t quarters = (int64_t)draw__below(d, type->width == 2 ? 128 : 4000000);
    bool negative = draw__below(d, 2) == 0 && quarters > 0;
    putf(s, "%s%" PRId64 "%s", negative ? "-" : "", quarters / 4, ends[quarters % 4]);
    return chn_builder__f64(b, (double)(negative ? -quarters : quarters) / 4);
}

/* Text of bytes, escaped as in an array when @quoted. */
static void put_text(struct script *s, const char *data, size_t n, bool quoted) {
    static const char from[] = "\b\f\n\r\t\\'", to[] = "bfnrt\\'";
    if (quoted) putf(s, "'");
    for (size_t i = 0; i < n; i++) {
        const char *special = data[i] != '\0' ? strchr(from, data[i]) : NULL;
        if (quoted && data[i] == '\0') putf(s, "\\0");
        else if (quoted && special != NULL) putf(s, "\\%c", to[special - from]);
        else put(s, data + i, 1);
    }
    if (quoted) putf(s, "'");
}

static int add_string(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                      struct script *s, bool quoted) {
    static const char *const parts[] = {"chaos", "it's", "\\", "\t",  "\n\r", "\b\f", "a b",
                                        "\x01",  "ä",    "漢", "NUL", "\"",   "`",    "\x7f"};
    char data[512];
    size_t n = 0, wanted = draw__below(d, 10) == 0 ? 200 : (size_t)draw__below(d, 12);
    if (type->kind == CHN_ENUM) {
        const struct chn_enum_name *name = &type->names[draw__below(d, type->n_names)];
        put_text(s, name->name, name->n, quoted);
        return draw__below(d, 2) == 0 ? chn_builder__i64(b, name->value)
                                      : chn_builder__string(b, name->name, name->n);
    }
    if (type->kind == CHN_FIXED_STRING) {
        for (; n < type->width; n++) data[n] = (char)('a' + draw__below(d, 3));
    } else {
        while (n < wanted) {
            const char *part = PICK(d, parts);
            size_t k = draw__below(d, 20) == 0 ? 1 : strlen(part); /* A 0 byte now and then. */
            memcpy(data + n, k == 1 && strlen(part) > 1 ? "\0" : part, k);
            n += k;
        }
    }
    put_text(s, data, n, quoted);
    return chn_builder__string(b, data, n);
}

static int add_address(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                       struct script *s) {
    uint8_t bytes[16] = {0};
    char text[64];
    for (size_t i = 0; i < 16; i++)
        if (draw__below(d, 3) != 0) bytes[i] = (uint8_t)draw__below(d, 256);
    if (draw__below(d, 3) == 0) memset(bytes + 2, 0, 10); /* A run of zeros. */
    switch (type->kind) {
    case CHN_UUID:
        for (size_t i = 0; i < 16; i++)
            snprintf(text + 2 * i + (i > 3) + (i > 5) + (i > 7) + (i > 9), 4, "%02x%s", bytes[i],
                     i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
        put(s, text, 36);
        return draw__below(d, 2) == 0 ? chn_builder__uuid(b, bytes)
                                      : chn_builder__string(b, text, 36);
    case CHN_IPV4:
        inet_ntop(AF_INET, bytes, text, sizeof text);
        put(s, text, strlen(text));
        return chn_builder__string(b, text, strlen(text));
    default:
        inet_ntop(AF_INET6, bytes, text, sizeof text);
        put(s, text, strlen(text));
        return draw__below(d, 2) == 0 ? chn_builder__bytes(b, bytes, 16)
                                      : chn_builder__text(b, text, strlen(text));
    }
}

static void add_value(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                      struct script *s, bool quoted);

static void add_nested(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                       struct script *s) {
    bool is_tuple = type->kind == CHN_TUPLE, is_map = type->kind == CHN_MAP;
    size_t n = is_tuple ? 1 : (size_t)draw__below(d, 4);
    putf(s, is_tuple ? "(" : is_map ? "{" : "[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) putf(s, ",");
        for (uint32_t k = 0; k < type->n_children; k++) {
            if (k > 0) putf(s, is_map ? ":" : ",");
            add_value(d, chn_builder__child(b, k), type->children[k], s, true);
        }
    }
    putf(s, is_tuple ? ")" : is_map ? "}" : "]");
    assert_int_equal(chn_builder__end(b), 0);
}

static void add_value(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                      struct script *s, bool quoted) {
    while (type->kind == CHN_NULLABLE || type->kind == CHN_LOW_CARDINALITY) {
        if (type->kind == CHN_NULLABLE && draw__below(d, 3) == 0) {
            putf(s, "NULL");
            assert_int_equal(chn_builder__null(b), 0);
            return;
        }
        type = type->children[0];
    }
    int code;
    size_t from = s->n;
    switch (type->kind) {
    case CHN_ARRAY:
    case CHN_MAP:
    case CHN_TUPLE: add_nested(d, b, type, s); return;
    case CHN_INT:
    case CHN_UINT:
    case CHN_DECIMAL: code = add_number(d, b, type, s); break;
    case CHN_FLOAT: code = add_float(d, b, type, s); break;
    case CHN_BOOL:
        code = chn_builder__u64(b, from % 2);
        putf(s, from % 2 == 1 ? "true" : "false");
        break;
    case CHN_STRING:
    case CHN_FIXED_STRING:
    case CHN_ENUM: code = add_string(d, b, type, s, quoted); break;
    default:
        if (quoted) putf(s, "'");
        code = type->kind == CHN_UUID || type->kind == CHN_IPV4 || type->kind == CHN_IPV6
                   ? add_address(d, b, type, s)
                   : add_time(d, b, type, s);
        if (quoted) putf(s, "'");
    }
    if (code != 0) fail_msg("append %s: %s", s->bytes + from, chn_err__text(code));
}

void draw__value(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                 struct script *text) {
    text->n = 0;
    text->bytes[0] = '\0';
    add_value(d, b, type, text, false);
}
