/**
 * Random column types and random values of them: each value is appended to a builder, and written
 * down as the server must print it, by other means than the library's.
 */
#ifndef CHN_TESTS_RANDOM_TYPES_H
#define CHN_TESTS_RANDOM_TYPES_H

#include <ch_native/ch_native.h>

struct draw {
    uint64_t seed;
    bool modern; /* False: only what ClickHouse 18.16 has. */
};

/** A text that grows no further than its room; tests check that it did not want to. */
struct script {
    char bytes[1 << 14];
    size_t n;
};

/** @return a number below @n. */
uint64_t draw__below(struct draw *d, uint64_t n);
/** Writes the name of a type that is at most @depth deep. */
void draw__type(struct draw *d, unsigned depth, struct script *to);
/** Appends a value to @b, which is of @type, and writes its text behind what is in @text. */
void draw__value(struct draw *d, struct chn_builder *b, const struct chn_type *type,
                 struct script *text);

#endif
