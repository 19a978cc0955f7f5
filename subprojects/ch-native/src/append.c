/*
 * Values into columns. Every appender first goes through Nullable and LowCardinality to the leaf,
 * checks that the value fits there, and only then takes room for it.
 */
#include "node.h"

#include <arpa/inet.h>

static inline int put_fixed(struct chn_builder *b, uint64_t value) {
    int code = chn_node_make_room(b, b->type->width);
    if (code != 0) return code;
    chn_node_store(b->data.data + b->data.n, value, b->type->width);
    b->data.n += b->type->width;
    b->n++;
    return 0;
}

static int put_bytes(struct chn_builder *b, const void *data, size_t n, size_t n_zeros) {
    int code = chn_node_make_room(b, n + n_zeros);
    if (code != 0) return code;
    uint8_t *p = b->data.data + b->data.n;
    if (n > 0) memcpy(p, data, n);
    if (n_zeros > 0) memset(p + n, 0, n_zeros);
    b->data.n += n + n_zeros;
    b->n++;
    return 0;
}

/* Marks the value that was just appended below a Nullable as not NULL, or gives the room back. */
static inline int end_value(struct chn_builder *b, int code) {
    if (code != 0) {
        b->root->bytes--;
        return code;
    }
    b->data.data[b->data.n++] = 0;
    b->n++;
    return 0;
}

/*
 * A Nullable's value: room for its null byte is taken first, so that nothing has to be taken back
 * from the value when there is none. A dictionary's value is appended to its words.
 */
#define GO_THROUGH(b, call)                                                                        \
    do {                                                                                           \
        if ((b)->type->kind == CHN_NULLABLE) {                                                     \
            int code_ = chn_node_make_room((b), 1);                                                \
            return code_ != 0 ? code_ : end_value((b), (call));                                    \
        }                                                                                          \
        if ((b)->type->kind == CHN_LOW_CARDINALITY) {                                              \
            if ((b)->children[0].type->width == 0) return CHN_ERR_TYPE;                            \
            int code_ = chn_dictionary__begin(b);                                                  \
            return code_ != 0 ? code_ : chn_dictionary__end((b), (call));                          \
        }                                                                                          \
    } while (0)

/* --- Integers and Decimals --- */

struct chn_wide chn_wide__power_of_ten(uint32_t digits) {
    struct chn_wide w = {{1, 0, 0, 0}};
    for (uint32_t i = 0; i < digits; i++) {
        uint64_t carry = 0;
        for (size_t k = 0; k < 4; k++) { /* In halves, so that nothing wraps. */
            uint64_t low = (w.words[k] & UINT32_MAX) * 10 + carry;
            uint64_t high = (w.words[k] >> 32) * 10 + (low >> 32);
            w.words[k] = high << 32 | (low & UINT32_MAX);
            carry = high >> 32;
        }
    }
    return w;
}

static bool is_below(const struct chn_wide *a, const struct chn_wide *b) {
    for (size_t i = 4; i-- > 0;)
        if (a->words[i] != b->words[i]) return a->words[i] < b->words[i];
    return false;
}

static struct chn_wide negate(const struct chn_wide *a) {
    struct chn_wide result;
    uint64_t carry = 1;
    for (size_t i = 0; i < 4; i++) {
        result.words[i] = ~a->words[i] + carry;
        carry = carry != 0 && result.words[i] == 0;
    }
    return result;
}

static struct chn_wide widen(uint64_t low, uint64_t high, bool negative) {
    uint64_t rest = negative ? UINT64_MAX : 0;
    return (struct chn_wide){{low, high, rest, rest}};
}

/* Whether all bits of @w from @width bytes on are those of @fill. */
static bool is_filled(const struct chn_wide *w, uint32_t width, uint64_t fill) {
    if (width < 8 && w->words[0] >> (8 * width) != fill >> (8 * width)) return false;
    for (size_t i = width < 8 ? 1 : width / 8; i < 4; i++)
        if (w->words[i] != fill) return false;
    return true;
}

static bool fits(const struct chn_builder *b, const struct chn_wide *value, bool negative) {
    uint32_t width = b->type->width, top = width * 8 - 1;
    if (b->type->kind == CHN_DECIMAL) {
        struct chn_wide size = negative ? negate(value) : *value;
        return is_below(&size, &b->bound);
    }
    if (b->type->kind == CHN_UINT) return !negative && is_filled(value, width, 0);
    bool top_bit = (value->words[top / 64] >> (top % 64) & 1) != 0;
    return top_bit == negative && is_filled(value, width, negative ? UINT64_MAX : 0);
}

int chn_node__put_wide(struct chn_builder *b, const struct chn_wide *value, bool is_signed) {
    GO_THROUGH(b, chn_node__put_wide(&b->children[0], value, is_signed));
    enum chn_kind kind = b->type->kind;
    bool negative = is_signed && value->words[3] >> 63 != 0;
    if (kind != CHN_INT && kind != CHN_UINT && kind != CHN_DECIMAL) return CHN_ERR_TYPE;
    if (!fits(b, value, negative)) return CHN_ERR_ARGUMENT;
    if (b->type->width <= 8) return put_fixed(b, value->words[0]);
    uint8_t bytes[32];
    for (size_t i = 0; i < 4; i++) chn_store_le(bytes + i * 8, value->words[i], 8);
    return put_bytes(b, bytes, b->type->width, 0);
}

static bool takes_unsigned(const struct chn_builder *b) {
    const struct chn_type *type = b->type;
    while (type->kind == CHN_NULLABLE || type->kind == CHN_LOW_CARDINALITY)
        type = type->children[0];
    return type->kind == CHN_UINT;
}

int chn_builder__i128(struct chn_builder *b, uint64_t low, int64_t high) {
    bool is_signed = !takes_unsigned(b);
    struct chn_wide value = widen(low, (uint64_t)high, is_signed && high < 0);
    return chn_node__put_wide(b, &value, is_signed);
}

int chn_builder__i256(struct chn_builder *b, const uint64_t words[4]) {
    struct chn_wide value = {{words[0], words[1], words[2], words[3]}};
    return chn_node__put_wide(b, &value, !takes_unsigned(b));
}

/* Apart from the appenders, whose common paths need no room for it. */
__attribute__((noinline)) static int put_widened(struct chn_builder *b, uint64_t value,
                                                 bool is_signed) {
    bool negative = is_signed && value >> 63 != 0;
    struct chn_wide wide = widen(value, negative ? UINT64_MAX : 0, negative);
    return chn_node__put_wide(b, &wide, is_signed);
}

int chn_builder__u64(struct chn_builder *b, uint64_t value) {
    const struct chn_type *type = b->type;
    switch (type->kind) {
    case CHN_UINT:
        if (type->width > 8) break;
        if (type->width < 8 && value >> (8 * type->width) != 0) return CHN_ERR_ARGUMENT;
        return put_fixed(b, value);
    case CHN_DATETIME:
    case CHN_IPV4: return value <= UINT32_MAX ? put_fixed(b, value) : CHN_ERR_ARGUMENT;
    case CHN_DATE: return value <= UINT16_MAX ? put_fixed(b, value) : CHN_ERR_ARGUMENT;
    case CHN_BOOL: return value <= 1 ? put_fixed(b, value) : CHN_ERR_ARGUMENT;
    case CHN_NULLABLE: {
        int code = chn_node_make_room(b, 1);
        return code != 0 ? code : end_value(b, chn_builder__u64(&b->children[0], value));
    }
    case CHN_LOW_CARDINALITY:
        GO_THROUGH(b, chn_builder__u64(&b->children[0], value));
        return CHN_ERR_TYPE;
    case CHN_INT:
    case CHN_DECIMAL:
        if (type->width > 8) break;
        __attribute__((fallthrough));
    case CHN_DATE32:
    case CHN_DATETIME64:
    case CHN_TIME:
    case CHN_TIME64:
    case CHN_ENUM:
        return value <= INT64_MAX ? chn_builder__i64(b, (int64_t)value) : CHN_ERR_ARGUMENT;
    default: return CHN_ERR_TYPE;
    }
    return put_widened(b, value, false);
}

int chn_builder__i64(struct chn_builder *b, int64_t value) {
    const struct chn_type *type = b->type;
    int64_t bound;
    switch (type->kind) {
    case CHN_INT:
        if (type->width > 8) break;
        bound = type->width == 8 ? INT64_MAX : ((int64_t)1 << (8 * type->width - 1)) - 1;
        return value >= -bound - 1 && value <= bound ? put_fixed(b, (uint64_t)value)
                                                     : CHN_ERR_ARGUMENT;
    case CHN_DATETIME64:
    case CHN_TIME64: return put_fixed(b, (uint64_t)value);
    case CHN_DATE32:
    case CHN_TIME:
        return value >= INT32_MIN && value <= INT32_MAX ? put_fixed(b, (uint64_t)value)
                                                        : CHN_ERR_ARGUMENT;
    case CHN_DECIMAL:
        if (type->width > 8) break;
        bound = (int64_t)b->bound.words[0]; /* At most 10^18. */
        return value > -bound && value < bound ? put_fixed(b, (uint64_t)value) : CHN_ERR_ARGUMENT;
    case CHN_ENUM:
        for (uint32_t i = 0; i < type->n_names; i++)
            if (type->names[i].value == value) return put_fixed(b, (uint64_t)value);
        return CHN_ERR_ARGUMENT;
    case CHN_NULLABLE: {
        int code = chn_node_make_room(b, 1);
        return code != 0 ? code : end_value(b, chn_builder__i64(&b->children[0], value));
    }
    case CHN_LOW_CARDINALITY:
        GO_THROUGH(b, chn_builder__i64(&b->children[0], value));
        return CHN_ERR_TYPE;
    case CHN_UINT:
    case CHN_BOOL:
    case CHN_DATE:
    case CHN_DATETIME:
    case CHN_IPV4: return value >= 0 ? chn_builder__u64(b, (uint64_t)value) : CHN_ERR_ARGUMENT;
    default: return CHN_ERR_TYPE;
    }
    return put_widened(b, (uint64_t)value, true);
}

/* --- Floating point --- */

/* The upper half of a Float32, rounded to the nearest, ties to even. */
static uint64_t to_bfloat16(uint32_t bits) {
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u; /* It stays a NaN. */
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

int chn_builder__f64(struct chn_builder *b, double value) {
    if (b->type->kind != CHN_FLOAT) {
        GO_THROUGH(b, chn_builder__f64(&b->children[0], value));
        return CHN_ERR_TYPE;
    }
    if (b->type->width < 8) {
        float narrow = (float)value;
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        return put_fixed(b, b->type->width == 2 ? to_bfloat16(bits) : bits);
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_fixed(b, bits);
}

/* --- Strings and what is written as one --- */

int chn_node__put_string(struct chn_builder *b, const void *data, size_t n) {
    size_t head = 1;
    for (size_t rest = n; rest >= 128; rest >>= 7) head++;
    int code = n <= SIZE_MAX / 4 ? chn_node_make_room(b, head + n) : CHN_ERR_LIMIT;
    if (code != 0) return code;
    uint8_t *p = b->data.data + b->data.n;
    for (size_t rest = n;; rest >>= 7) {
        *p++ = (uint8_t)(rest < 128 ? rest : rest | 128u);
        if (rest < 128) break;
    }
    if (n > 0) memcpy(p, data, n);
    b->data.n += head + n;
    b->n++;
    return 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static int put_uuid_text(struct chn_builder *b, const char *text, size_t n) {
    uint8_t value[16];
    if (n != 36) return CHN_ERR_ARGUMENT;
    for (size_t i = 0, k = 0; i < 36; i += 2) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-') return CHN_ERR_ARGUMENT;
            i++;
        }
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0) return CHN_ERR_ARGUMENT;
        value[k++] = (uint8_t)(high << 4 | low);
    }
    return chn_builder__uuid(b, value);
}

/* An IPv6 column takes 1.2.3.4 as ::ffff:1.2.3.4. */
static int put_address(struct chn_builder *b, const char *data, size_t n) {
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16] = {[10] = 0xff, [11] = 0xff};
    if (n >= sizeof text || memchr(data, 0, n) != NULL) return CHN_ERR_ARGUMENT;
    memcpy(text, data, n);
    text[n] = '\0';
    bool is_v4 = inet_pton(AF_INET, text, bytes + 12) == 1;
    if (b->type->kind == CHN_IPV4)
        return is_v4 ? put_fixed(b, (uint64_t)bytes[12] << 24 | (uint64_t)bytes[13] << 16 |
                                        (uint64_t)bytes[14] << 8 | bytes[15])
                     : CHN_ERR_ARGUMENT;
    if (!is_v4 && inet_pton(AF_INET6, text, bytes) != 1) return CHN_ERR_ARGUMENT;
    return put_bytes(b, bytes, sizeof bytes, 0);
}

int chn_builder__string(struct chn_builder *b, const void *data, size_t n) {
    const struct chn_type *type = b->type;
    switch (type->kind) {
    case CHN_STRING:
    case CHN_JSON: return chn_node__put_string(b, data, n);
    case CHN_LOW_CARDINALITY:
        if (b->children[0].type->kind == CHN_STRING) return chn_dictionary__put_string(b, data, n);
        __attribute__((fallthrough));
    case CHN_NULLABLE:
        GO_THROUGH(b, chn_builder__string(&b->children[0], data, n));
        return CHN_ERR_TYPE;
    case CHN_UUID: return put_uuid_text(b, data, n);
    case CHN_IPV4:
    case CHN_IPV6: return put_address(b, data, n);
    case CHN_FIXED_STRING:
        return n <= type->width ? put_bytes(b, data, n, type->width - n) : CHN_ERR_ARGUMENT;
    case CHN_ENUM:
        for (uint32_t i = 0; i < type->n_names; i++)
            if (type->names[i].n == n && memcmp(type->names[i].name, data, n) == 0)
                return put_fixed(b, (uint64_t)(int64_t)type->names[i].value);
        return CHN_ERR_ARGUMENT;
    default: return CHN_ERR_TYPE;
    }
}

int chn_builder__uuid(struct chn_builder *b, const uint8_t value[16]) {
    GO_THROUGH(b, chn_builder__uuid(&b->children[0], value));
    if (b->type->kind != CHN_UUID) return CHN_ERR_TYPE;
    uint8_t wire[16];
    for (size_t i = 0; i < 8; i++) {
        wire[i] = value[7 - i];
        wire[8 + i] = value[15 - i];
    }
    return put_bytes(b, wire, sizeof wire, 0);
}

int chn_builder__bytes(struct chn_builder *b, const void *data, size_t n) {
    GO_THROUGH(b, chn_builder__bytes(&b->children[0], data, n));
    if (b->type->width == 0) return CHN_ERR_TYPE;
    return n == b->type->width ? put_bytes(b, data, n, 0) : CHN_ERR_ARGUMENT;
}

/* --- NULLs and defaults --- */

int chn_builder__null(struct chn_builder *b) {
    if (b->type->kind == CHN_LOW_CARDINALITY && chn_dictionary_has_null(b))
        return chn_dictionary__put_first(b);
    if (b->type->kind != CHN_NULLABLE) return CHN_ERR_TYPE;
    int code = chn_node_make_room(b, 1);
    if (code != 0) return code;
    if ((code = end_value(b, chn_builder__default(&b->children[0]))) == 0)
        b->data.data[b->data.n - 1] = 1;
    return code;
}

int chn_builder__default(struct chn_builder *b) {
    switch (b->type->kind) {
    case CHN_NULLABLE: return chn_builder__null(b);
    case CHN_LOW_CARDINALITY: return chn_dictionary__put_first(b);
    case CHN_STRING: return chn_node__put_string(b, "", 0);
    case CHN_JSON: return chn_node__put_string(b, "{}", 2);
    case CHN_ARRAY:
    case CHN_MAP: return chn_builder__end(b);
    case CHN_ENUM: return put_fixed(b, (uint64_t)(int64_t)b->type->names[0].value);
    case CHN_TUPLE:
        for (uint32_t i = 0; i < b->n_children; i++) {
            int code = chn_builder__default(&b->children[i]);
            if (code != 0) return code;
        }
        return chn_builder__end(b);
    default: return put_bytes(b, NULL, 0, b->type->width);
    }
}
