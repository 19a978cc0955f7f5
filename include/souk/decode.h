/* JSON to values, with the path of the field that failed. The parser is yyjson with nothing
 * non-standard allowed; it keeps its stack in memory that it allocates, so nesting cannot exhaust
 * ours, and it takes at most about 17 bytes for each byte of a hostile body.
 *
 * What RFC 8259 leaves open is decided here: a key that occurs twice counts with its last value
 * where fields are walked and its first where they are looked up; numbers that fit neither 64 bits
 * nor a finite double stay text (yyjson's raw type) and are the wrong type for every field; half a
 * surrogate pair (\ud800) becomes U+FFFD, as it has no form in UTF-8.
 *
 * Pure functions, any thread. */
#ifndef SOUK_DECODE_H
#define SOUK_DECODE_H

#include "souk/core/buf.h"
#include "souk/core/err.h"
#include <yyjson.h>

#define DECODE_BODY_MAX ((size_t)64 << 20)
#define DECODE_DEPTH_MAX 32 /* Of values that are written out again. */
#define DECODE_FIELD_MAX 96

/** Parses @body. @return 0 and a document that the caller frees with yyjson_doc_free, or
 *  ERR_LIMIT, ERR_MALFORMED (with the byte and what is wrong there) or ERR_NOMEM, and NULL. */
int decode__read(struct slice body, yyjson_doc **out, struct err *e);
/** @return true when @body starts like a page for people: blanks or a byte-order mark, then '<'. */
bool decode__is_html(struct slice body);

enum decode_fault_kind {
    DECODE_FINE,
    DECODE_MISSING,
    DECODE_WRONG_TYPE,
    DECODE_OUT_OF_RANGE,
    DECODE_TOO_LONG,
    DECODE_TOO_DEEP,
    DECODE_TOO_MANY,
};
/** What is wrong with an entry. The first fault stands. */
struct decode_fault {
    enum decode_fault_kind kind;
    char field[DECODE_FIELD_MAX]; /* Path below the entry, e.g. explicitMods[2].description. */
    yyjson_val *value;            /* Borrowed from the document; NULL when missing. */
};
/** Notes a fault at the path that @fmt makes, unless there is one already. @return false. */
bool decode__failf(struct decode_fault *f, enum decode_fault_kind kind, yyjson_val *value,
                   const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/** A side field of an unexpected shape costs itself, not its entry: takes the fault back and counts
 *  it in @n_lost. @return false, with the fault as it is, for a number that is one and impossible
 *  (DECODE_OUT_OF_RANGE): that is no shape but a claim, and a claim is refused. */
bool decode__lose(struct decode_fault *f, uint32_t *n_lost);
/** Notes in @e that the field @f of @where is wrong. @return ERR_MALFORMED. */
int decode__err(const struct decode_fault *f, const char *where, struct err *e);

/* Values of fields. @v may be NULL; it and null mean that the field is absent, which leaves @out as
 * it is. @name is for the fault. All return false, with the fault noted, when @v is something
 * else or breaks the bound. Strings are borrowed from the document. */
bool decode__str(yyjson_val *v, const char *name, size_t len_max, struct slice *out,
                 struct decode_fault *f);
bool decode__bool(yyjson_val *v, const char *name, bool *out, struct decode_fault *f);
bool decode__u32(yyjson_val *v, const char *name, uint32_t max, uint32_t *out,
                 struct decode_fault *f);
/** Any finite number. */
bool decode__num(yyjson_val *v, const char *name, double *out, struct decode_fault *f);
/** As the others, and the field must be there. */
bool decode__need(yyjson_val *v, const char *name, struct decode_fault *f);

/** A list, as it should be or as the vendor's servers may send it: an array, or an object that is
 *  keyed by index. {} is an empty one, and so is an absent value. */
bool decode__is_list(yyjson_val *v);
struct decode_list {
    yyjson_val *at;
    size_t left;
    bool keyed;
};
/** To walk one: anything but a list has no entries. */
struct decode_list decode__list(yyjson_val *v);
/** @return the next entry, or NULL at the end. */
yyjson_val *decode__next(struct decode_list *list);

static inline struct slice decode__slice(yyjson_val *v) {
    return slice__of(unsafe_yyjson_get_str(v), unsafe_yyjson_get_len(v));
}
static inline bool decode__is_absent(yyjson_val *v) { return v == NULL || yyjson_is_null(v); }

/** Appends @v as compact JSON. Stops early, with what is written so far, once @out is longer than
 *  @len_max. Containers deeper than DECODE_DEPTH_MAX become null.
 *  @return false when that happened or @out failed; the text is not to be trusted then. */
bool decode__write(struct buf *out, yyjson_val *v, size_t len_max);
/** Appends the string @v with its quotes. */
void decode__write_str(struct buf *out, yyjson_val *v);

#endif
