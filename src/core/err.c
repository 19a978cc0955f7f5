/* Error codes and messages. */
#include "souk/core/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

char *err__plain(char *text, bool lines) {
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0; /* U+0080 to U+009F. */
        if (c1) at[1] = ' ';
        if (c1 || (at[0] < 0x20 && !(lines && at[0] == '\n')) || at[0] == 0x7f) at[0] = ' ';
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
    err__plain(what, false);
    size_t n = strnlen(what, sizeof what);
    if (n > sizeof e->msg - 3) n = sizeof e->msg - 3;
    memcpy(e->msg, what, n);
    memcpy(e->msg + n, ": ", 2);
    size_t rest = sizeof e->msg - n - 3, old_len = strnlen(old, sizeof old);
    if (old_len > rest) old_len = rest;
    memcpy(e->msg + n + 2, old, old_len);
    e->msg[n + 2 + old_len] = '\0';
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
