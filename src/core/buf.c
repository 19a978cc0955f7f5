/* Growable bounded buffers, and reading back what was written to them. */
#include "souk/core/buf.h"
#include <stdio.h>
#include <stdlib.h>

void buf__fini(struct buf *b) {
    free(b->base);
    *b = (struct buf){.max = b->max};
}

void buf__clear(struct buf *b) {
    b->len = 0;
    b->failed = b->no_memory = false;
}

char *buf__grow(struct buf *b, size_t more) {
    if (b->failed) return NULL;
    if (more > b->max - b->len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + more, cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need) cap += cap / 2;
    if (cap > b->max) cap = b->max;
    char *base = realloc(b->base, cap);
    if (base == NULL) {
        b->failed = b->no_memory = true;
        return NULL;
    }
    b->base = base;
    b->cap = cap;
    return base + b->len;
}

bool buf__append_slice(struct buf *b, struct slice s) { return buf__append(b, s.base, s.len); }
bool buf__append_str(struct buf *b, const char *z) { return buf__append(b, z, strlen(z)); }

bool buf__vprintf(struct buf *b, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *at = n < 0 ? NULL : buf__reserve(b, (size_t)n + 1);
    if (at != NULL) {
        vsnprintf(at, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return at != NULL;
}

bool buf__printf(struct buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    bool ok = buf__vprintf(b, fmt, args);
    va_end(args);
    return ok;
}

bool buf__json_string(struct buf *b, struct slice s) {
    buf__append(b, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.base[i];
        size_t n = 1;
        bool escaped = c < 0x20 || c == 0x7f; /* What would steer a terminal. */
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            i++;
            continue;
        }
        if (c >= 0x80) {
            /* The longest prefix of up to four bytes that is one whole character. */
            for (n = 2; n <= 4 && i + n <= s.len; n++)
                if (slice__is_utf8(slice__of(s.base + i, n))) break;
            bool whole = n <= 4 && i + n <= s.len;
            bool c1 = whole && n == 2 && c == 0xc2 && (unsigned char)s.base[i + 1] < 0xa0;
            if (whole && !c1) {
                i += n;
                continue;
            }
            if (c1) c = (unsigned char)s.base[i + 1]; /* Its number, as U+0080 to U+009F go. */
            escaped = c1;
            n = c1 ? 2 : 1;
        }
        buf__append(b, s.base + from, i - from);
        if (c == '"' || c == '\\') buf__printf(b, "\\%c", c);
        else if (c == '\n') buf__append(b, "\\n", 2);
        else if (c == '\t') buf__append(b, "\\t", 2);
        else if (escaped) buf__printf(b, "\\u%04x", c);
        else buf__append(b, "\xef\xbf\xbd", 3);
        i += n;
        from = i;
    }
    buf__append(b, s.base == NULL ? "" : s.base + from, s.len - from);
    return buf__append(b, "\"", 1);
}

static inline bool append_le(struct buf *b, uint64_t v, size_t width) {
    char *at = buf__reserve(b, width);
    if (at == NULL) return false;
    for (size_t i = 0; i < width; i++) at[i] = (char)(v >> (8 * i));
    b->len += width;
    return true;
}

bool buf__u8(struct buf *b, uint8_t v) { return buf__append(b, &v, 1); }
bool buf__u16(struct buf *b, uint16_t v) { return append_le(b, v, 2); }
bool buf__u32(struct buf *b, uint32_t v) { return append_le(b, v, 4); }
bool buf__u64(struct buf *b, uint64_t v) { return append_le(b, v, 8); }

static char *put_varint(char *at, uint64_t v) {
    while (v >= 0x80) {
        *at++ = (char)(v | 0x80);
        v >>= 7;
    }
    *at++ = (char)v;
    return at;
}

bool buf__varint(struct buf *b, uint64_t v) {
    char *at = buf__reserve(b, 10);
    if (at == NULL) return false;
    b->len += (size_t)(put_varint(at, v) - at);
    return true;
}

bool buf__string(struct buf *b, struct slice s) {
    char *start = buf__reserve(b, s.len + 10);
    if (start == NULL) return false;
    char *at = start;
    if (s.len < 0x80) *at++ = (char)s.len;
    else at = put_varint(at, s.len);
    buf__copy(at, s.base, s.len);
    b->len += (size_t)(at - start) + s.len;
    return true;
}

struct slice reader__bytes(struct reader *r, size_t len) {
    if (r->failed || r->len - r->pos < len) {
        r->failed = true;
        return (struct slice){0};
    }
    struct slice s = slice__of(r->base + r->pos, len);
    r->pos += len;
    return s;
}

static uint64_t read_le(struct reader *r, size_t width) {
    struct slice s = reader__bytes(r, width);
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) v |= (uint64_t)(unsigned char)s.base[i] << (8 * i);
    return v;
}

uint8_t reader__u8(struct reader *r) { return (uint8_t)read_le(r, 1); }
uint16_t reader__u16(struct reader *r) { return (uint16_t)read_le(r, 2); }
uint32_t reader__u32(struct reader *r) { return (uint32_t)read_le(r, 4); }
uint64_t reader__u64(struct reader *r) { return read_le(r, 8); }

uint64_t reader__varint(struct reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader__u8(r);
        if (r->failed) return 0;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    r->failed = true;
    return 0;
}

struct slice reader__string(struct reader *r) {
    uint64_t len = reader__varint(r);
    if (len > r->len) r->failed = true;
    return reader__bytes(r, r->failed ? SIZE_MAX : (size_t)len);
}

struct slice reader__rest(const struct reader *r) {
    if (r->failed || r->pos == r->len) return (struct slice){0};
    return slice__of(r->base + r->pos, r->len - r->pos);
}
