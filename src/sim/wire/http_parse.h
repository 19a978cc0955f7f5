/* HTTP/1.1 requests, parsed from bytes in memory (RFC 9112). It is strict: what a careful client
 * never sends is an error, so that a smuggled or sloppy request of the client under test is seen at
 * once. */
#ifndef SIM_HTTP_PARSE_H
#define SIM_HTTP_PARSE_H

#include "sim_buf.h"

enum { HTTP_HEAD_MAX = 16 * 1024, HTTP_BODY_MAX = 64 * 1024, HTTP_HEADERS_MAX = 64 };
enum { HTTP_SEGMENT_MAX = 96 }; /* Of a decoded path segment, with its NUL. */

struct http_header {
    struct span name, value; /* Value without the white space around it. */
};
/** One request. All spans borrow from the bytes that were parsed. */
struct http_request {
    struct span method, path,
        query; /* Path as sent; query without the '?', empty when there is none. */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t n_headers;
    struct span body;
    bool keep_alive;   /* From the version and Connection. */
    bool accepts_gzip; /* Accept-Encoding names gzip and does not forbid it with q=0. */
};

/** Parse one request from the start of @data.
 *  @return the bytes it takes (more than 0); 0 when it is not complete yet; or, negated, the HTTP
 * status that tells the client what was wrong: 400 malformed, 413 body too large, 431 head too
 * large, 501 Transfer-Encoding, 505 another version. After an error the connection cannot be used
 * on. */
long http__parse(const char *data, size_t n, struct http_request *out);
/** @return the first header of that name (compared without case), or a span with a NULL @at. */
struct span http__header(const struct http_request *r, const char *name);
/** Copy the decoded value of query parameter @key to @out, NUL-terminated, at most @cap bytes with
 * the NUL.
 *  @return its length; -1 when absent; -2 when it does not fit or is badly encoded (or holds a
 * NUL). */
long http__query(const struct http_request *r, const char *key, char *out, size_t cap);
/** Decode the segments of @rest, the part of a path behind what named its handler: "" or
 * "/a/b%20c".
 * @return how many there are; -1 when there are more than @n_max, or one is empty, too long or
 * badly encoded. */
int http__segments(struct span rest, char out[][HTTP_SEGMENT_MAX], int n_max);
/** @return the reason phrase of a status. */
const char *http__reason(int status);

#endif
