/** What all of ch-native shares: error codes, errors, byte slices, server exceptions. */
#ifndef CH_NATIVE_BASE_H
#define CH_NATIVE_BASE_H

#include <stddef.h>
#include <stdint.h>

/* Of this library, as it also tells the server. */
#define CHN_VERSION_MAJOR 0
#define CHN_VERSION_MINOR 2
#define CHN_VERSION_PATCH 0
#define CHN_VERSION "0.2.0"

#define CHN_ERR_MAP(X)                                                                             \
    X(CHN_ERR_MEMORY, "out of memory")                                                             \
    X(CHN_ERR_ARGUMENT, "invalid argument")   /* The caller's mistake. */                          \
    X(CHN_ERR_BUSY, "a request is under way") /* One request a connection. */                      \
    X(CHN_ERR_NOT_READY, "not connected")                                                          \
    X(CHN_ERR_CANCELED, "canceled")                                                                \
    X(CHN_ERR_TIMEOUT, "timed out")                                                                \
    X(CHN_ERR_LOST, "connection lost") /* Resolve, connect, read, write. */                        \
    X(CHN_ERR_PROTOCOL, "malformed or unexpected packet")                                          \
    X(CHN_ERR_LIMIT, "a limit was exceeded")                                                       \
    X(CHN_ERR_TYPE, "unsupported or other column type")                                            \
    X(CHN_ERR_SCHEMA, "the table lacks a column or has another type for it")                       \
    X(CHN_ERR_EXCEPTION, "exception from the server")                                              \
    X(CHN_ERR_TLS, "no TLS with this server") /* Its certificate, or no common ground. */

#define CHN_ERR_CODE(code, text) code,
enum {
    CHN_ERR__BASE = -7000,
    CHN_ERR_MAP(CHN_ERR_CODE) CHN_ERR__END
}; /* Clear of libuv's codes. */
#undef CHN_ERR_CODE

struct chn_err {
    int code;      /* CHN_ERR_..., or 0. */
    char msg[256]; /* One line, for people: what was tried, on what, why. */
};

/** Bytes that somebody else owns. */
struct chn_slice {
    const void *data;
    size_t n; /* Bytes. */
};

/** An exception that the server sent (packet 2). */
struct chn_exception {
    int32_t code;       /* ClickHouse's own, e.g. 60 for UNKNOWN_TABLE. */
    char name[64];      /* E.g. DB::Exception. */
    char message[1024]; /* Cut if longer. */
    char stack[2048];   /* Cut if longer, often empty. */
    int n_nested;       /* Further exceptions in its chain; the first of them is kept below. */
    int32_t nested_code;
    char nested_message[256];
};

/** Fills @err (may be NULL) with @code and a formatted line. @return @code. */
__attribute__((format(printf, 3, 4))) int chn_err__setf(struct chn_err *err, int code,
                                                        const char *format, ...);

/** @return what a CHN_ERR_... code says in general; "ok" for 0. */
const char *chn_err__text(int code);

#endif
