/* Borrowed bytes: comparing, trimming, numbers, UTF-8. */
#include "souk/core/slice.h"
#include <stdlib.h>

char *slice__dup(struct slice s) {
    char *copy = malloc(s.len + 1);
    if (copy == NULL) return NULL;
    if (s.len > 0) memcpy(copy, s.base, s.len);
    copy[s.len] = '\0';
    return copy;
}

static unsigned char lower(char c) {
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

bool slice__ieq(struct slice a, struct slice b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.base[i]) != lower(b.base[i])) return false;
    return true;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

struct slice slice__trim(struct slice s) {
    while (s.len > 0 && is_blank(s.base[0])) s.base++, s.len--;
    while (s.len > 0 && is_blank(s.base[s.len - 1])) s.len--;
    return s;
}

bool slice__int64(struct slice s, int64_t *out) {
    bool minus = s.len > 0 && s.base[0] == '-';
    size_t i = minus ? 1 : 0;
    if (i >= s.len) return false;
    int64_t v = 0;
    for (; i < s.len; i++) {
        if (s.base[i] < '0' || s.base[i] > '9') return false;
        int digit = s.base[i] - '0';
        if (__builtin_mul_overflow(v, 10, &v)) return false;
        if (minus ? __builtin_sub_overflow(v, digit, &v) : __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

/* @return the length of the well-formed sequence at @p of @left bytes, or 0. */
static size_t utf8_len(const unsigned char *p, size_t left) {
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0; /* Overlong. */
    if (p[0] == 0xed && p[1] > 0x9f) return 0; /* Surrogates. */
    if (p[0] == 0xf0 && p[1] < 0x90) return 0; /* Overlong. */
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0; /* Beyond U+10FFFF. */
    return n;
}

bool slice__is_utf8(struct slice s) {
    const unsigned char *p = (const unsigned char *)s.base;
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_len(p + i, s.len - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}
