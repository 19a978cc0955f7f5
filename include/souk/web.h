/* Web: an HTTP/1.1 and WebSocket server on the loop, behind an interface of our own so that the
 * library below it (h2o 2.2.5 today) can be replaced.
 *
 * Handlers are found by method and full path. A request is answered once, now or later; a handler
 * that answers later asks to be told when the peer is gone. Every queue to a client is bounded:
 * WEB_FRAMES_MAX frames and WEB_QUEUE_BYTES_MAX bytes, and WEB_TOTAL_BYTES_MAX over all clients,
 * sockets and streams alike; a client that does not keep up is closed with 4008 and resumes. So is
 * every queue from one: a head of 16 KiB, a body, few pipelined requests, and 16 MiB of all of
 * them.
 *
 * HTTP/2 is off. Host must be a name we know, else 421: this stops DNS rebinding. */
#ifndef SOUK_WEB_H
#define SOUK_WEB_H

#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/metric.h"
#include <uv.h>

#define WEB_BODY_MAX ((size_t)16 << 10) /* Of a request: 413 above it. */
#define WEB_FRAMES_MAX 256
#define WEB_QUEUE_BYTES_MAX ((size_t)256 << 10)
#define WEB_TOTAL_BYTES_MAX ((size_t)64 << 20)
#define WEB_FLUSH_PER_TURN 256 /* Sockets written to before the loop polls, and behind. */
#define WEB_MESSAGE_MAX ((size_t)16 << 10) /* Of a client, over WebSocket: 1009 above it. */

struct web;
struct web_request;
struct web_socket;
struct web_stream;
struct frame; /* src/web/frame.h */

struct web_options {
    const char *host;         /* Numeric address to listen on. */
    uint16_t port;            /* 0: any. */
    const char *const *hosts; /* Names that Host may have besides 127.0.0.1, localhost, [::1]. */
    size_t n_hosts;
    size_t clients_max, clients_per_ip_max;
    double handshakes_per_s; /* Upgrades of one address, burst the same (at least 1). */
    size_t queued_bytes_max; /* To all clients. 0: WEB_TOTAL_BYTES_MAX. */
};

typedef void (*web_handler)(void *data, struct web_request *r);
typedef void (*web_close_cb)(void *data);

/** Listens. Options are copied. @return 0 or libuv's code with host and port named. */
int web__open(struct web **out, uv_loop_t *loop, const struct clock *clock, struct metrics *metrics,
              const struct web_options *options, struct err *e);
uint16_t web__port(const struct web *w);
/** @return whether connections were refused for want of descriptors within the last minute. */
bool web__is_short_of_descriptors(const struct web *w);
/** Adds a route; all of them before the loop runs. @path (static) is whole, or ends in * for what
 *  starts so. @method is GET (HEAD comes with it) or POST. Earlier routes win. */
void web__route(struct web *w, const char *method, const char *path, web_handler fn, void *data);
/** @cb is told, at least once a turn of the loop, that every frame queued by then is with the
 *  kernel, but for those of sockets that are stuck. One listener. */
void web__on_flushed(struct web *w, void (*cb)(void *data), void *data);
/** Refuses new connections from now on; open ones are served on. Idempotent. */
void web__stop_listening(struct web *w);
/** Ends all: sockets get Close 1001, streams end, 5 s later the rest is cut. Frees @w, calls @cb.
 */
void web__close(struct web *w, web_close_cb cb, void *data);

/* Requests. Slices are borrowed until the answer. */
struct slice web_request__method(const struct web_request *r);
struct slice web_request__path(const struct web_request *r); /* Without the query. */
/** @return the header's value; empty when there is none. @name is lower case. */
struct slice web_request__header(const struct web_request *r, const char *name);
/** Finds a parameter of the query, percent-decoded into @out (terminated). @return its length, or
 *  -1 when it is missing or does not fit. */
int web_request__query(const struct web_request *r, const char *name, char *out, size_t size);
struct slice web_request__body(const struct web_request *r);
struct slice web_request__host(const struct web_request *r); /* As sent; known to be allowed. */
/** The peer's address, of this machine perhaps: behind a proxy here everybody's. */
bool web_request__is_loopback(const struct web_request *r);
/** @return whether a program on this machine asks for itself, as far as can be seen: from loopback,
 *  without the headers of a proxy, and in HTTP/1.1, since proxies that add none speak 1.0. */
bool web_request__is_local(const struct web_request *r);
const char *web_request__peer(const struct web_request *r); /* The peer's address, as text. */

/** Adds a header to the answer. Copies @value; @name is static and lower case. */
void web_request__set_header(struct web_request *r, const char *name, struct slice value);
/** @return false when there are no more than @i headers. Borrowed until it ends. */
bool web_request__header_at(const struct web_request *r, size_t i, struct slice *name,
                            struct slice *value);
/** Answers. Copies @body, unless @is_static says that it outlives the server. */
void web_request__respond(struct web_request *r, int status, const char *type, struct slice body,
                          bool is_static);
/** Answers {"error":{"code":…,"msg":…}}. */
void web_request__error(struct web_request *r, int status, const char *code, const char *msg);
/** @return whether the client takes gzip (RFC 9110, 12.5.3; q=0 says no). */
bool web_request__takes_gzip(const struct web_request *r);
/** For an answer that comes later: @cb is called when the request ends without one: the client is
 *  gone (who ends its half of the connection is), or 30 s have passed, or the server has ended its
 * grace; then it is answered 503. */
void web_request__defer(struct web_request *r, void (*cb)(void *data), void *data);

/* WebSocket, RFC 6455. */
struct web_socket_events {
    /** The handshake is through; sending may begin. */
    void (*on_open)(void *data, struct web_socket *s);
    /** A whole text message, valid UTF-8. */
    void (*on_text)(void *data, struct slice text);
    /** There is room again after a flush. */
    void (*on_drain)(void *data);
    /** The end, once, the last call; also when on_open never came. @code as closed, 1006 when cut,
     *  0 when the handshake was refused. */
    void (*on_closed)(void *data, int code);
};
/** @return true when the request asks for an upgrade to a WebSocket, well-formed or not. */
bool web_request__is_upgrade(const struct web_request *r);
/** Upgrades, or answers why not (400, 426, 503) and calls on_closed before it returns.
 *  @protocol: the subprotocol that the client must offer. */
void web_request__upgrade(struct web_request *r, const char *protocol,
                          const struct web_socket_events *events, void *data);
/** Queues @frame, taking a reference. @return false when the queue is full, it is closing, or there
 *  is no memory. */
bool web_socket__send(struct web_socket *s, struct frame *frame);
/** @return true when a frame of @len bytes would fit now. */
bool web_socket__has_room(const struct web_socket *s, size_t len);
/** @return true when the kernel does not take what is queued: the peer does not read. */
bool web_socket__is_stuck(const struct web_socket *s);
size_t web_socket__queued_bytes(const struct web_socket *s);
/** Sends Close after what is queued (4008: instead of it) and ends within 2 s. Idempotent. */
void web_socket__close(struct web_socket *s, int code, const char *reason);

/* A response without an end: server-sent events. */
struct web_stream_events {
    void (*on_drain)(void *data);  /* What was written is on its way; more may be. */
    void (*on_closed)(void *data); /* The end, once, the last call. */
};
/** Starts a 200 answer. @return NULL when it was answered already: refused (caps), or HEAD. */
struct web_stream *web_request__stream(struct web_request *r, const char *type,
                                       const struct web_stream_events *events, void *data);
/** Queues bytes (copied). @return false when WEB_QUEUE_BYTES_MAX would be exceeded. */
bool web_stream__write(struct web_stream *s, struct slice bytes);
size_t web_stream__queued_bytes(const struct web_stream *s);
/** Ends it after what is queued. on_closed follows. */
void web_stream__end(struct web_stream *s);

#endif
