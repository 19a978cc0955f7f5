/* A growable buffer with a bound. Reaching the bound, or the end of memory, makes it fail: every
 * later append is refused until buf__clear, so callers may check once at the end. */
#ifndef SOUK_CORE_BUF_H
#define SOUK_CORE_BUF_H

#include "souk/core/slice.h"
#include <stdarg.h>

struct buf {
    char *base; /* Owned. Not terminated. */
    size_t len, cap, max;
    bool failed;    /* An append did not fit. */
    bool no_memory; /* ... as there was no memory; false when the bound was reached. */
};

/** A buffer that may grow to @max bytes. Memory is taken at the first append. */
static inline struct buf buf__init(size_t max) { return (struct buf){.max = max}; }
/** Frees the bytes; @b can be used again. Accepts a zeroed buffer. */
void buf__fini(struct buf *b);
/** Empties @b and keeps its memory. */
void buf__clear(struct buf *b);
/* What buf__reserve does when there is no room yet. */
char *buf__grow(struct buf *b, size_t more);
/** Makes room for @more bytes behind len. @return where they start, or NULL (and failed is set).
 *  Inline, as buf__append is: decoding a page appends some 200,000 times. */
static inline char *buf__reserve(struct buf *b, size_t more) {
    if (b->base != NULL && !b->failed && b->cap - b->len >= more) return b->base + b->len;
    return buf__grow(b, more);
}
/* memcpy whose short copies, most of them, are two moves that may overlap instead of a call. */
static inline void buf__copy(char *to, const char *from, size_t n) {
    if (n > 64) {
        memcpy(to, from, n);
    } else if (n > 32) { /* Ids are 64 digits. */
        char a[32], z[32];
        memcpy(a, from, 32), memcpy(z, from + n - 32, 32);
        memcpy(to, a, 32), memcpy(to + n - 32, z, 32);
    } else if (n >= 16) {
        char a[16], z[16];
        memcpy(a, from, 16), memcpy(z, from + n - 16, 16);
        memcpy(to, a, 16), memcpy(to + n - 16, z, 16);
    } else if (n >= 8) {
        uint64_t a, z;
        memcpy(&a, from, 8), memcpy(&z, from + n - 8, 8);
        memcpy(to, &a, 8), memcpy(to + n - 8, &z, 8);
    } else if (n >= 4) {
        uint32_t a, z;
        memcpy(&a, from, 4), memcpy(&z, from + n - 4, 4);
        memcpy(to, &a, 4), memcpy(to + n - 4, &z, 4);
    } else {
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    }
}
/** Append. @return false, and failed is set, when @b would exceed its bound. */
static inline bool buf__append(struct buf *b, const void *bytes, size_t len) {
    if (len == 0) return !b->failed;
    char *at = buf__reserve(b, len);
    if (at == NULL) return false;
    buf__copy(at, bytes, len);
    b->len += len;
    return true;
}
bool buf__append_slice(struct buf *b, struct slice s);
bool buf__append_str(struct buf *b, const char *z);
bool buf__printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf__vprintf(struct buf *b, const char *fmt, va_list args);
/** Appends @s as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
bool buf__json_string(struct buf *b, struct slice s);
/** Little-endian numbers, LEB128 (as ClickHouse's VarUInt), and a VarUInt length with its bytes. */
bool buf__u8(struct buf *b, uint8_t v);
bool buf__u16(struct buf *b, uint16_t v);
bool buf__u32(struct buf *b, uint32_t v);
bool buf__u64(struct buf *b, uint64_t v);
bool buf__varint(struct buf *b, uint64_t v);
bool buf__string(struct buf *b, struct slice s);

static inline struct slice buf__slice(const struct buf *b) {
    return (struct slice){.base = b->base, .len = b->len};
}

/* Reading back what the functions above wrote: every call checks bounds, and the first that does
 * not fit sets failed and returns zeroes from then on. */
struct reader {
    const char *base;
    size_t len, pos;
    bool failed;
};
static inline struct reader reader__of(struct slice s) {
    return (struct reader){.base = s.base, .len = s.len};
}
uint8_t reader__u8(struct reader *r);
uint16_t reader__u16(struct reader *r);
uint32_t reader__u32(struct reader *r);
uint64_t reader__u64(struct reader *r);
uint64_t reader__varint(struct reader *r);
struct slice reader__string(struct reader *r);
struct slice reader__bytes(struct reader *r, size_t len);
/** @return what is left, without moving. */
struct slice reader__rest(const struct reader *r);

#endif
