/* A borrowed run of bytes. Whoever made it says how long it lives. */
#ifndef SOUK_CORE_SLICE_H
#define SOUK_CORE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *base; /* May be NULL when len is 0. Not terminated. */
    size_t len;
};

#define SLICE_LIT(s) ((struct slice){.base = "" s, .len = sizeof(s) - 1})
/* For printf's "%.*s". */
#define SLICE_FMT(s) (int)(s).len, (s).base == NULL ? "" : (s).base

static inline struct slice slice__of(const char *base, size_t len) {
    return (struct slice){.base = base, .len = len};
}
static inline struct slice slice__str(const char *z) {
    return (struct slice){.base = z, .len = z == NULL ? 0 : strlen(z)};
}
static inline bool slice__eq(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}
static inline bool slice__starts(struct slice a, struct slice prefix) {
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.base, prefix.base, prefix.len) == 0);
}
/** @return a terminated copy of @s, to be freed; NULL without memory. */
char *slice__dup(struct slice s);
/** Compares as ASCII without regard to case, as HTTP header names do. */
bool slice__ieq(struct slice a, struct slice b);
/** @return @s without spaces and tabs at both ends. */
struct slice slice__trim(struct slice s);
/** Parses all of @s as a decimal number. @return false when it is not one or exceeds int64. */
bool slice__int64(struct slice s, int64_t *out);
/** @return true when @s is well-formed UTF-8 (RFC 3629). */
bool slice__is_utf8(struct slice s);

#endif
