/* An HTTP/1.1 server on libuv streams that can send a reply well or badly: late, slowly, cut, reset
 * or never. It knows no path; its owner fills one struct reply for each request. Pipelined requests
 * are answered in order, one at a time. */
#ifndef SIM_HTTP_SERVER_H
#define SIM_HTTP_SERVER_H

#include <uv.h>

#include "http_parse.h"

enum { SERVER_CONNECTIONS_MAX = 256, SERVER_IDLE_MS = 120 * 1000 };

/** What goes back, and how it goes over the wire. The owner fills it; the server fini()s it. */
struct reply {
    int status;
    const char *type;   /* Content-Type, static text; NULL sends none. */
    struct buf headers; /* Further lines, each with \r\n. Owned. */
    struct body *body;  /* Identity bytes, one reference; NULL is an empty body. */
    struct body
        *encoded;     /* Sent instead with Content-Encoding: gzip; one reference; usually NULL. */
    bool may_gzip;    /* Compress when the client accepts it. */
    int64_t date_ns;  /* The Date header, UTC since 1970; 0 is now. */
    int64_t delay_ms; /* Before the first byte. */
    int64_t bytes_per_s; /* 0 is as fast as the socket takes it. */
    bool cut;            /* Stop after @cut_bytes of the whole reply, then close. */
    bool reset;          /* Close with RST instead of FIN; needs @cut. */
    bool stall;          /* Send nothing; wait until the client leaves. */
    bool close;          /* Close after this reply. */
    size_t cut_bytes;
    /** Told once how it went: @whole is true when the last byte was handed to the socket. NULL is
     * fine. */
    void (*done)(void *owner, uint64_t token, bool whole);
    uint64_t token; /* The owner's, for @done. */
};
void reply__fini(struct reply *r);

struct connection;
struct server {
    void *owner;
    /** Answer @q into @r, which is zeroed. Called from the loop; must not block for long. */
    void (*handle)(void *owner, const struct http_request *q, struct reply *r);
    uv_loop_t *loop; /* Borrowed. */
    uv_tcp_t tcp;
    struct connection *connections; /* A list, newest first. */
    size_t n_connections;
    int gzip_level; /* 0 never compresses. */
    bool closing;
    uint64_t n_refused; /* Connections above the limit. */
    uint64_t n_bad;     /* Requests that did not parse. */
};

/** Listen on @host:@port (0 picks a port). @return 0, or -1 with why in @e; then nothing stays
 * open. */
int server__init(struct server *s, uv_loop_t *loop, const char *host, int port, struct sim_err *e);
/** @return the port listened on. */
int server__port(const struct server *s);
/** Stop listening and close all connections; the loop then runs empty. Replies under way are told
 * not whole. */
void server__close(struct server *s);

#endif
