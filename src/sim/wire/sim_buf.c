/* See buf.h. Everything here is memory only; the one way to fail is to run out of it, which aborts.
 */
#include "sim_buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

int sim_err__setf(struct sim_err *e, const char *fmt, ...) {
    va_list args;
    if (e == NULL) return -1;
    va_start(args, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, args);
    va_end(args);
    return -1;
}

bool span__is(struct span s, const char *text) {
    return strlen(text) == s.len && (s.len == 0 || memcmp(s.at, text, s.len) == 0);
}

bool span__is_nocase(struct span s, const char *text) {
    return strlen(text) == s.len && (s.len == 0 || strncasecmp(s.at, text, s.len) == 0);
}

void buf__fini(struct buf *b) {
    free(b->at);
    *b = (struct buf){.max = b->max};
}

void buf__reset(struct buf *b) {
    b->len = 0;
    b->overflow = false;
}

char *buf__room(struct buf *b, size_t n) {
    size_t max = b->max == 0 ? (size_t)256 << 20 : b->max;
    if (b->overflow || n > max || b->len > max - n) {
        b->overflow = true;
        return NULL;
    }
    if (b->len + n + 1 > b->cap) {
        size_t cap = b->cap < 256 ? 256 : b->cap;
        while (cap < b->len + n + 1) cap *= 2;
        b->at = realloc(b->at, cap);
        if (b->at == NULL) abort();
        b->cap = cap;
    }
    return b->at + b->len;
}

void buf__add(struct buf *b, const void *data, size_t n) {
    char *to = buf__room(b, n);
    if (to == NULL) return;
    if (n > 0) memcpy(to, data, n);
    b->len += n;
    b->at[b->len] = '\0';
}

void buf__adds(struct buf *b, const char *text) { buf__add(b, text, strlen(text)); }

void buf__addc(struct buf *b, char c) { buf__add(b, &c, 1); }

void buf__addf(struct buf *b, const char *fmt, ...) {
    va_list args, again;
    int n;
    va_start(args, fmt);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0) {
        char *to = buf__room(b, (size_t)n);
        if (to != NULL) {
            vsnprintf(to, (size_t)n + 1, fmt, again);
            b->len += (size_t)n;
        }
    }
    va_end(again);
}

void buf__add_u64(struct buf *b, uint64_t v) {
    char digits[20];
    size_t n = 0;
    do {
        digits[sizeof digits - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    buf__add(b, digits + sizeof digits - n, n);
}

void buf__add_hex64(struct buf *b, uint64_t v) {
    static const char hex[] = "0123456789abcdef";
    char digits[16];
    for (int i = 15; i >= 0; i--, v >>= 4) digits[i] = hex[v & 15];
    buf__add(b, digits, sizeof digits);
}

void buf__add_json(struct buf *b, const char *text, size_t n) {
    buf__addc(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            char two[2] = {'\\', (char)c};
            buf__add(b, two, 2);
        } else if (c < 0x20) {
            buf__addf(b, "\\u%04x", c);
        } else {
            size_t run = i;
            while (run < n && (unsigned char)text[run] >= 0x20 && text[run] != '"' &&
                   text[run] != '\\')
                run++;
            buf__add(b, text + i, run - i);
            i = run - 1;
        }
    }
    buf__addc(b, '"');
}

void buf__add_tsv(struct buf *b, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        switch (text[i]) {
        case '\t': buf__add(b, "\\t", 2); break;
        case '\n': buf__add(b, "\\n", 2); break;
        case '\r': buf__add(b, "\\r", 2); break;
        case '\0': buf__add(b, "\\0", 2); break;
        case '\\': buf__add(b, "\\\\", 2); break;
        default: buf__addc(b, text[i]);
        }
    }
}

struct body *body__new(const void *data, size_t n) {
    struct body *b = malloc(sizeof *b + n + 1);
    if (b == NULL) abort();
    b->n_refs = 1;
    b->len = n;
    if (data != NULL && n > 0) memcpy(b->data, data, n);
    b->data[n] = '\0';
    return b;
}

struct body *body__ref(struct body *b) {
    b->n_refs++;
    return b;
}

void body__unref(struct body *b) {
    if (b == NULL) return;
    assert(b->n_refs > 0);
    if (--b->n_refs == 0) free(b);
}

struct body *body__gzip(const struct body *b, int level) {
    z_stream z = {0};
    struct body *out, *fit;
    uLong bound;
    if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    bound = deflateBound(&z, (uLong)b->len);
    out = body__new(NULL, bound);
    z.next_in = (Bytef *)(uintptr_t)b->data;
    z.avail_in = (uInt)b->len;
    z.next_out = (Bytef *)out->data;
    z.avail_out = (uInt)bound;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) abort();
    out->len = (size_t)z.total_out;
    deflateEnd(&z);
    fit = realloc(out, sizeof *out + out->len + 1);
    return fit != NULL ? fit : out;
}

uint64_t rng__next(struct rng *r) {
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t rng__below(struct rng *r, uint32_t n) {
    return (uint32_t)(((rng__next(r) >> 32) * n) >> 32);
}

uint64_t mix64(uint64_t a, uint64_t b) {
    struct rng r = {.state = a};
    r.state = rng__next(&r) ^ b;
    return rng__next(&r);
}
