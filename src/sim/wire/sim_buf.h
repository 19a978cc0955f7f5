/* Bytes that grow up to a bound, shared bodies, one-line errors and seeded random numbers: what
 * every file of the simulator leans on. It has its own so that it can judge souk without trusting
 * souk's code. */
#ifndef SIM_BUF_H
#define SIM_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_NS_PER_MS INT64_C(1000000)
#define SIM_NS_PER_S INT64_C(1000000000)

/** What failed, on what, and why, in one line. */
struct sim_err {
    char msg[320];
};
/** Fills @e (which may be NULL). @return -1, so that a callee can return it. */
int sim_err__setf(struct sim_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** The simulator's time, set once for each event; tests set it by hand. */
struct sim_clock {
    int64_t mono_ns; /* Since the start, times --speed. */
    int64_t wall_ns; /* UTC since 1970, running at the same speed. */
};

/** Borrowed bytes. */
struct span {
    const char *at;
    size_t len;
};
#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})
/** @return whether @s and the C string @text hold the same bytes. */
bool span__is(struct span s, const char *text);
/** The same, ASCII letters compared without case. */
bool span__is_nocase(struct span s, const char *text);

/** Bytes that grow. More than @max bytes are not taken and @overflow is set; running out of memory
 * aborts. */
struct buf {
    char *at; /* Owned. Always followed by a NUL once anything was added. */
    size_t len, cap;
    size_t max; /* 0 means 256 MiB. */
    bool overflow;
};
void buf__fini(struct buf *b);
void buf__reset(struct buf *b); /* Empties it and keeps the memory. */
/** @return @n writable bytes at the end, not counted yet; NULL past the bound. */
char *buf__room(struct buf *b, size_t n);
void buf__add(struct buf *b, const void *data, size_t n);
void buf__adds(struct buf *b, const char *text);
void buf__addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf__addc(struct buf *b, char c);
void buf__add_u64(struct buf *b, uint64_t v);
/** Adds @v in lower-case hex, 16 digits. */
void buf__add_hex64(struct buf *b, uint64_t v);
/** Adds @text as a JSON string with its quotes. */
void buf__add_json(struct buf *b, const char *text, size_t n);
/** Adds @text with \t, \n, \r, \0 and backslash escaped, as ClickHouse's TabSeparated writes them.
 */
void buf__add_tsv(struct buf *b, const char *text, size_t n);

/** A body that pages, replies and connections share. */
struct body {
    int n_refs;
    size_t len;
    char data[];
};
/** @return a body with one reference, its content a copy of @data (or uninitialised when @data is
 * NULL). */
struct body *body__new(const void *data, size_t n);
struct body *body__ref(struct body *b);
void body__unref(struct body *b); /* NULL is fine. */
/** @return @b compressed as gzip, with one reference. @level is 1 to 9. */
struct body *body__gzip(const struct body *b, int level);

/** splitmix64: small, seedable, the same everywhere. */
struct rng {
    uint64_t state;
};
uint64_t rng__next(struct rng *r);
/** @return a number in [0, n); 0 when @n is 0. The bias is below n / 2^32, which no test here can
 * see. */
uint32_t rng__below(struct rng *r, uint32_t n);
/** @return a number that depends on both and looks like neither. */
uint64_t mix64(uint64_t a, uint64_t b);

#endif
