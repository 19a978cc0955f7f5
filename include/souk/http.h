/* HTTP requests on the loop: libcurl's multi interface behind request objects.
 *
 * A request asks once, never retries and parses nothing of its body. HTTP/2, gzip, brotli and zstd,
 * keep-alive, deadlines and body limits are handled here. It calls back exactly once, from the
 * loop, with a status, an error or ERR_CANCELED. Every function may be called inside a callback.
 *
 * Redirects are answers like others. http_proxy, https_proxy and no_proxy of the environment are
 * honoured. What is refused as a protocol error beyond libcurl's own checks follows RFC 9112
 * section 6.3: a Content-Length beside a Transfer-Encoding, and two Content-Length that differ.
 * What nobody below notices, so decoders must: a compressed stream that stops early inside of a
 * message that is whole, and a body that ends with its connection, having no length. */
#ifndef SOUK_HTTP_H
#define SOUK_HTTP_H

#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/metric.h"
#include <uv.h>

#define HTTP_HEADERS_MAX 128
#define HTTP_HEADER_BYTES_MAX ((size_t)64 << 10)
#define HTTP_BODY_MAX_DEFAULT ((size_t)16 << 20)
#define HTTP_INFLIGHT_MAX 256 /* Requests at a time; http__start refuses more. */
#define HTTP_LABELS_MAX 64    /* Pairs of source and class in the metrics. */

struct http; /* The client: one a process. */

struct http_options {
    const char *user_agent; /* Sent with every request. Required. */
    long connects_max;      /* Cached connections. 0: 16. */
    const char *ca_file;    /* NULL: the system's. */
    long low_speed_s;       /* Give up after so long below 64 B/s. 0: 15 s. A server that thinks
                             * longer than this before its first byte is given up, too. */
};

/** Opens the client. @return 0, or an error with @e filled (a libcurl that is too old, say). */
int http__open(struct http **out, uv_loop_t *loop, const struct clock *clock,
               struct metrics *metrics, const struct http_options *options, struct err *e);
/** Makes the series of a pair of labels, so that they are there before its first request. */
void http__declare(struct http *h, const char *source, const char *class_name);
/** Cancels what is in flight (their callbacks run with ERR_CANCELED), then calls @cb and frees. */
void http__close(struct http *h, void (*cb)(void *data), void *data);

struct http_header {
    struct slice name, value; /* Name as received; value without blanks at its ends. */
};

struct http_response {
    int status;     /* 100..599; 0 when no response was read. */
    struct err err; /* .code 0 when the whole response was read, whatever its status. */
    /* "", or timeout, connect, tls, dns, reset, truncated, too_large, encoding, protocol, nomem,
     * canceled. */
    const char *err_kind;
    const struct http_header
        *headers; /* Of the last response (after no redirects: none are followed). */
    size_t n_headers;
    /* Decoded; empty after an error. The callback may take it (copy the struct and zero this). */
    struct buf body;
    int64_t sent_mono_ns, first_byte_mono_ns, done_mono_ns;
    uint64_t wire_bytes; /* Bytes of the body on the wire. */
    bool dispatched;     /* The request may have reached the server. */
};

struct http_request;
typedef void (*http_headers_cb)(struct http_request *r, const struct http_response *so_far);
typedef void (*http_done_cb)(struct http_request *r, struct http_response *response);

struct http_request {
    void *data;         /* The owner's. */
    const char *method; /* GET, HEAD or POST. Strings are borrowed until @done_cb. */
    const char *url;
    const char *const *headers; /* "Name: value" lines; n_headers of them. */
    size_t n_headers;
    struct slice body;          /* POST. */
    int64_t timeout_ns;         /* For the whole exchange. 0: 30 s. */
    int64_t connect_timeout_ns; /* 0: 10 s. */
    size_t body_max;            /* 0: HTTP_BODY_MAX_DEFAULT. Applies to the decoded body too. */
    const char *source;         /* Metric labels of souk_http_*: from bounded sets. Or NULL. */
    const char *class_name;
    http_headers_cb headers_cb; /* Optional: all headers are in, the body is not. */
    http_done_cb done_cb;
    struct http_exchange *exchange; /* The client's. NULL when idle. */
};

/** Starts @r, which its owner keeps until done_cb. @return 0, which promises that call, or an error
 *  with @e filled: ERR_MALFORMED (URL, method or header line), ERR_FULL, ERR_CLOSED, ERR_NOMEM. */
int http__start(struct http *h, struct http_request *r, struct err *e);
/** Ends @r early: its callback runs soon, from the loop, with ERR_CANCELED. Does nothing when idle.
 */
void http__cancel(struct http *h, struct http_request *r);
/** @return the value of the header @name (any case) in @resp, or an empty slice. */
struct slice http__header(const struct http_response *resp, const char *name);
/** @return requests in flight. */
size_t http__inflight(const struct http *h);

#endif
