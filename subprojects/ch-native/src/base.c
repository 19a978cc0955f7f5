#include <ch_native/base.h>

#include <stdarg.h>
#include <stdio.h>

int chn_err__setf(struct chn_err *err, int code, const char *format, ...) {
    if (err == NULL) return code;
    err->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err->msg, sizeof err->msg, format, arguments);
    va_end(arguments);
    return code;
}

const char *chn_err__text(int code) {
    switch (code) {
#define CODE_TEXT(code, text)                                                                      \
    case code: return text;
        CHN_ERR_MAP(CODE_TEXT)
#undef CODE_TEXT
    case 0: return "ok";
    default: return "unknown error";
    }
}
