/* Documents back to compact JSON, for the columns that keep what we do not take apart. The same
 * value gives the same bytes: keys stay in order, numbers take the shortest form that reads back.
 */
#include "souk/decode.h"
#include <stdio.h>
#include <stdlib.h>

static inline char *put(char *at, const char *bytes, size_t n) {
    buf__copy(at, bytes, n);
    return at + n;
}

/* Most strings came without escapes and need none, which yyjson remembers. */
static inline bool is_plain(yyjson_val *v) {
    return unsafe_yyjson_get_subtype(v) == YYJSON_SUBTYPE_NOESC;
}

static inline char *put_plain(char *at, yyjson_val *v) {
    size_t len = unsafe_yyjson_get_len(v);
    *at++ = '"';
    at = put(at, unsafe_yyjson_get_str(v), len);
    *at++ = '"';
    return at;
}

static char *put_escaped(char *at, yyjson_val *v) {
    size_t len = unsafe_yyjson_get_len(v);
    const char *from = unsafe_yyjson_get_str(v);
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)from[i];
        if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else if (c == '\n') {
            at = put(at, "\\n", 2);
        } else if (c < 0x20) {
            at = put(at, "\\u00", 4);
            *at++ = "0123456789abcdef"[c >> 4];
            *at++ = "0123456789abcdef"[c & 15];
        } else {
            *at++ = (char)c; /* yyjson has checked that it is UTF-8. */
        }
    }
    *at++ = '"';
    return at;
}

/* The string with one byte in front and one behind it, 0 for none: a comma, a colon. */
static inline void write_str(struct buf *out, yyjson_val *v, char before, char behind) {
    size_t len = unsafe_yyjson_get_len(v);
    bool plain = is_plain(v);
    char *start = buf__reserve(out, (plain ? len : 6 * len) + 4), *at = start;
    if (start == NULL) return;
    if (before != 0) *at++ = before;
    at = plain ? put_plain(at, v) : put_escaped(at, v);
    if (behind != 0) *at++ = behind;
    out->len += (size_t)(at - start);
}

void decode__write_str(struct buf *out, yyjson_val *v) { write_str(out, v, 0, 0); }

static void write_uint(struct buf *out, uint64_t n, bool negative) {
    char text[24], *to = buf__reserve(out, sizeof text);
    size_t at = sizeof text;
    if (to == NULL) return;
    if (n < 10 && !negative) { /* Most are. */
        *to = (char)('0' + n);
        out->len++;
        return;
    }
    do text[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    if (negative) text[--at] = '-';
    memcpy(to, text + at, sizeof text - at);
    out->len += sizeof text - at;
}

static void write_real(struct buf *out, double v) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    buf__append_str(out, text);
}

/* Recursion is bounded by DECODE_DEPTH_MAX. @return false when something was left out. */
static bool write_value(struct buf *out, yyjson_val *v, size_t len_max, int depth) {
    if (out->failed || out->len > len_max) return false;
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_STR: write_str(out, v, 0, 0); return true;
    case YYJSON_TYPE_RAW: return buf__append_slice(out, decode__slice(v));
    case YYJSON_TYPE_BOOL:
        return yyjson_is_true(v) ? buf__append(out, "true", 4) : buf__append(out, "false", 5);
    case YYJSON_TYPE_NUM:
        if (yyjson_is_uint(v)) write_uint(out, unsafe_yyjson_get_uint(v), false);
        else if (yyjson_is_sint(v)) write_uint(out, 0 - unsafe_yyjson_get_uint(v), true);
        else write_real(out, unsafe_yyjson_get_real(v));
        return true;
    case YYJSON_TYPE_ARR:
    case YYJSON_TYPE_OBJ: break;
    default: return buf__append(out, "null", 4);
    }
    if (depth >= DECODE_DEPTH_MAX) {
        buf__append(out, "null", 4);
        return false;
    }
    bool whole = true, is_obj = yyjson_is_obj(v);
    size_t i, n;
    yyjson_val *key, *child;
    buf__append(out, is_obj ? "{" : "[", 1);
    if (is_obj) {
        yyjson_obj_foreach(v, i, n, key, child) {
            write_str(out, key, i > 0 ? ',' : 0, ':');
            whole = write_value(out, child, len_max, depth + 1) && whole;
            if (out->len > len_max) return false;
        }
    } else {
        yyjson_arr_foreach(v, i, n, child) {
            if (yyjson_is_str(child)) { /* Most are: without another call. */
                write_str(out, child, i > 0 ? ',' : 0, 0);
                if (out->failed || out->len > len_max) return false;
                continue;
            }
            if (i > 0) buf__append(out, ",", 1);
            whole = write_value(out, child, len_max, depth + 1) && whole;
            if (out->len > len_max) return false;
        }
    }
    buf__append(out, is_obj ? "}" : "]", 1);
    return whole;
}

bool decode__write(struct buf *out, yyjson_val *v, size_t len_max) {
    return write_value(out, v, len_max, 0) && !out->failed;
}
