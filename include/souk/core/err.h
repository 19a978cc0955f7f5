/* Errors: a code and one line that says what was tried, on what, and why it failed.
 *
 * Callees fill a struct err and return its code; the room that decides what happens next logs it,
 * once. Codes are negative and clear of libuv's, which are passed on as they are. */
#ifndef SOUK_CORE_ERR_H
#define SOUK_CORE_ERR_H

#include <stdbool.h>

#define ERR_MAP(X)                                                                                 \
    X(ERR_CANCELED, "canceled")                                                                    \
    X(ERR_MALFORMED, "malformed payload")                                                          \
    X(ERR_CLOSED, "closed")                                                                        \
    X(ERR_FULL, "full")                                                                            \
    X(ERR_TIMEOUT, "timed out")                                                                    \
    X(ERR_LIMIT, "over a limit")                                                                   \
    X(ERR_CONFIG, "bad configuration")                                                             \
    X(ERR_NOT_FOUND, "not found")                                                                  \
    X(ERR_PROTOCOL, "protocol violation")                                                          \
    X(ERR_AUTH, "not authorized")                                                                  \
    X(ERR_SCHEMA, "schema mismatch")                                                               \
    X(ERR_CORRUPT, "corrupt data")                                                                 \
    X(ERR_REFUSED, "refused")                                                                      \
    X(ERR_IO, "input/output error")                                                                \
    X(ERR_LOCKED, "locked by another process")                                                     \
    X(ERR_UNAVAILABLE, "unavailable")                                                              \
    X(ERR_NOMEM, "out of memory")                                                                  \
    X(ERR_CREATE, "cannot be created")

#define ERR_CODE(code, text) code,
enum { ERR__BASE = -5000, ERR_MAP(ERR_CODE) ERR__END };
#undef ERR_CODE

#define ERR_MSG_MAX 256

struct err {
    int code;              /* Negative; 0 when nothing failed. */
    char msg[ERR_MSG_MAX]; /* E.g. psapi: change 2947-5321: "stashes" is not an array */
};

/** Makes a text fit for a terminal and a line of a log, in place: what servers and sellers say may
 * hold anything, even what moves a cursor. Control characters (C1 too), but line ends where @lines,
 * become spaces, and bytes that are no UTF-8 question marks.
 * @return @text. */
char *err__plain(char *text, bool lines);

/** Fills @e (which may be NULL) and returns @code. A longer message is cut. */
int err__setf(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** Puts "what: " in front of the message that @e has already. Returns its code. */
int err__prefixf(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** @return a short text of @code, ours or libuv's; never NULL. */
const char *err__text(int code);

#endif
