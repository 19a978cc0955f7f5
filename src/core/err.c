/* Error codes and messages. */
#include "souk/core/err.h"
#include "souk/core/slice.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

/* @return the bytes of the character at @at, 0 when it is none of UTF-8. */
static size_t char_bytes(const char *at) {
    for (size_t n = 1; n <= 4 && at[n - 1] != '\0'; n++)
        if (slice__is_utf8(slice__of(at, n))) return n;
    return 0;
}

char *err__plain(char *text, bool lines) {
    for (char *at = text; *at != '\0';) {
        size_t n = char_bytes(at);
        unsigned char c = (unsigned char)at[0];
        bool control = n == 1 && (c < 0x20 || c == 0x7f) && !(lines && c == '\n');
        bool c1 = n == 2 && c == 0xc2 && (unsigned char)at[1] < 0xa0; /* U+0080 to U+009F. */
        if (n == 0) *at = '?';
        if (control || c1) memset(at, ' ', n);
        at += n == 0 ? 1 : n;
    }
    return text;
}

int err__setf(struct err *e, int code, const char *fmt, ...) {
    if (e == NULL) return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, args);
    va_end(args);
    err__plain(e->msg, false);
    e->code = code;
    return code;
}

int err__prefixf(struct err *e, const char *fmt, ...) {
    if (e == NULL) return ERR__BASE;
    char old[ERR_MSG_MAX], what[ERR_MSG_MAX];
    memcpy(old, e->msg, sizeof old);
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    size_t n = strnlen(what, sizeof what);
    if (n > sizeof e->msg - 3) n = sizeof e->msg - 3;
    memcpy(e->msg, what, n);
    memcpy(e->msg + n, ": ", 2);
    size_t rest = sizeof e->msg - n - 3, old_len = strnlen(old, sizeof old);
    if (old_len > rest) old_len = rest;
    memcpy(e->msg + n + 2, old, old_len);
    e->msg[n + 2 + old_len] = '\0';
    err__plain(e->msg, false); /* The cut, too, may have gone through a character. */
    return e->code;
}

const char *err__text(int code) {
    if (code == 0) return "ok";
    switch (code) {
#define ERR_TEXT(c, text)                                                                          \
    case c: return text;
        ERR_MAP(ERR_TEXT)
#undef ERR_TEXT
    default: return code < 0 ? uv_strerror(code) : "unknown error";
    }
}
