/* Parsing, and taking typed values out of a document one field at a time. */
#include "souk/decode.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* @return the 16 bits of the escape \uXXXX at @at of @body, or -1. */
static int32_t escaped_unit(struct slice body, size_t at) {
    if (at + 6 > body.len || body.base[at] != '\\' || body.base[at + 1] != 'u') return -1;
    char digits[5] = {0};
    for (size_t i = 0; i < 4; i++) {
        digits[i] = body.base[at + 2 + i];
        if (!is_hex(digits[i])) return -1;
    }
    return (int32_t)strtol(digits, NULL, 16);
}

/* Half a surrogate pair has no UTF-8 form, and players can put one into a name. One of them must
 * not keep a whole page out: each becomes U+FFFD, in place. @return how many there were. */
static size_t replace_lone_surrogates(struct slice body, char *copy) {
    size_t n = 0;
    for (size_t i = 0; i < body.len; i++) {
        if (body.base[i] != '\\') continue;
        int32_t unit = escaped_unit(body, i);
        bool high = unit >= 0xd800 && unit <= 0xdbff, low = unit >= 0xdc00 && unit <= 0xdfff;
        int32_t next = high ? escaped_unit(body, i + 6) : -1;
        if (high && next >= 0xdc00 && next <= 0xdfff) {
            i += 11; /* A whole pair. */
        } else if (high || low) {
            memcpy(copy + i + 2, "fffd", 4);
            n++;
            i += 5;
        } else {
            i++; /* The character behind the backslash is no start of an escape. */
        }
    }
    return n;
}

static yyjson_doc *read_repaired(struct slice body, yyjson_read_err *why) {
    char *copy = malloc(body.len);
    if (copy == NULL) {
        why->code = YYJSON_READ_ERROR_MEMORY_ALLOCATION;
        return NULL;
    }
    memcpy(copy, body.base, body.len);
    yyjson_doc *doc = NULL;
    if (replace_lone_surrogates(body, copy) > 0)
        doc = yyjson_read_opts(copy, body.len, YYJSON_READ_BIGNUM_AS_RAW, NULL, why);
    free(copy); /* The document has copies of its own. */
    return doc;
}

int decode__read(struct slice body, yyjson_doc **out, struct err *e) {
    *out = NULL;
    if (body.len > DECODE_BODY_MAX)
        return err__setf(e, ERR_LIMIT, "json: %zu bytes, at most %zu are read", body.len,
                         DECODE_BODY_MAX);
    if (body.len == 0) return err__setf(e, ERR_MALFORMED, "json: no bytes");
    yyjson_read_err why;
    /* The cast only drops const: yyjson copies the bytes unless it is told to work in place. */
    *out = yyjson_read_opts((char *)(uintptr_t)body.base, body.len, YYJSON_READ_BIGNUM_AS_RAW, NULL,
                            &why);
    if (*out == NULL && why.code == YYJSON_READ_ERROR_INVALID_STRING)
        *out = read_repaired(body, &why);
    if (*out != NULL) return 0;
    if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return err__setf(e, ERR_NOMEM, "json: no memory for %zu bytes", body.len);
    return err__setf(e, ERR_MALFORMED, "json: byte %zu: %s", why.pos, why.msg);
}

bool decode__is_html(struct slice body) {
    if (slice__starts(body, SLICE_LIT("\xef\xbb\xbf")))
        body = slice__of(body.base + 3, body.len - 3);
    for (size_t i = 0; i < body.len; i++) {
        char c = body.base[i];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return c == '<';
    }
    return false;
}

bool decode__failf(struct decode_fault *f, enum decode_fault_kind kind, yyjson_val *value,
                   const char *fmt, ...) {
    if (f->kind != DECODE_FINE) return false;
    f->kind = kind;
    f->value = value;
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->field, sizeof f->field, fmt, args);
    va_end(args);
    return false;
}

bool decode__lose(struct decode_fault *f, uint32_t *n_lost) {
    if (f->kind == DECODE_OUT_OF_RANGE) return false;
    *f = (struct decode_fault){.kind = DECODE_FINE};
    ++*n_lost;
    return true;
}

bool decode__is_list(yyjson_val *v) {
    size_t i, n;
    yyjson_val *key, *entry;
    if (decode__is_absent(v) || yyjson_is_arr(v)) return true;
    if (!yyjson_is_obj(v)) return false;
    yyjson_obj_foreach(v, i, n, key, entry) {
        struct slice digits = decode__slice(key);
        for (size_t k = 0; k < digits.len; k++)
            if (digits.base[k] < '0' || digits.base[k] > '9') return false;
        if (digits.len == 0) return false;
    }
    return true;
}

struct decode_list decode__list(yyjson_val *v) {
    if (decode__is_absent(v) || !decode__is_list(v)) return (struct decode_list){0};
    bool keyed = yyjson_is_obj(v);
    size_t n = unsafe_yyjson_get_len(v);
    /* The entries lie behind their container, in an object each behind its key. */
    return (struct decode_list){
        .at = n == 0 ? NULL : unsafe_yyjson_get_first(v), .left = n, .keyed = keyed};
}

yyjson_val *decode__next(struct decode_list *list) {
    if (list->left == 0) return NULL;
    yyjson_val *entry = list->keyed ? list->at + 1 : list->at;
    if (--list->left > 0) list->at = unsafe_yyjson_get_next(entry);
    return entry;
}

int decode__err(const struct decode_fault *f, const char *where, struct err *e) {
    static const char *const texts[] = {
        [DECODE_FINE] = "is fine",
        [DECODE_MISSING] = "is missing",
        [DECODE_WRONG_TYPE] = "has the wrong type",
        [DECODE_OUT_OF_RANGE] = "is out of range",
        [DECODE_TOO_LONG] = "is too long",
        [DECODE_TOO_DEEP] = "is nested too deeply",
        [DECODE_TOO_MANY] = "has too many entries",
    };
    return err__setf(e, ERR_MALFORMED, "%s: \"%s\" %s", where, f->field, texts[f->kind]);
}

bool decode__need(yyjson_val *v, const char *name, struct decode_fault *f) {
    return decode__is_absent(v) ? decode__failf(f, DECODE_MISSING, v, "%s", name) : true;
}

bool decode__str(yyjson_val *v, const char *name, size_t len_max, struct slice *out,
                 struct decode_fault *f) {
    if (decode__is_absent(v)) return true;
    if (!yyjson_is_str(v)) return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    if (unsafe_yyjson_get_len(v) > len_max) return decode__failf(f, DECODE_TOO_LONG, v, "%s", name);
    *out = decode__slice(v);
    return true;
}

bool decode__bool(yyjson_val *v, const char *name, bool *out, struct decode_fault *f) {
    if (decode__is_absent(v)) return true;
    if (!yyjson_is_bool(v)) return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    *out = yyjson_is_true(v);
    return true;
}

bool decode__u32(yyjson_val *v, const char *name, uint32_t max, uint32_t *out,
                 struct decode_fault *f) {
    if (decode__is_absent(v)) return true;
    if (yyjson_is_sint(v)) return decode__failf(f, DECODE_OUT_OF_RANGE, v, "%s", name);
    double real = yyjson_is_real(v) ? unsafe_yyjson_get_real(v) : 0.5;
    if (!yyjson_is_uint(v) && real != floor(real)) /* 80.0 is 80, as JSON has one kind of number. */
        return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    if (yyjson_is_uint(v)) real = (double)unsafe_yyjson_get_uint(v);
    if (real < 0 || real > max) return decode__failf(f, DECODE_OUT_OF_RANGE, v, "%s", name);
    *out = (uint32_t)real;
    return true;
}

bool decode__num(yyjson_val *v, const char *name, double *out, struct decode_fault *f) {
    if (decode__is_absent(v)) return true;
    if (!yyjson_is_num(v)) return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    *out = yyjson_get_num(v);
    return isfinite(*out) ? true : decode__failf(f, DECODE_OUT_OF_RANGE, v, "%s", name);
}
