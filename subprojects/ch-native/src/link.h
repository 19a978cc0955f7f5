/**
 * A link is one TCP handle with its fate, with or without TLS: a connection that is made again gets
 * a new link, and whatever the old one still calls back is recognised as dead.
 *
 * Without TLS what is written goes to the kernel from where it lies. With TLS it is encrypted in
 * pieces of LINK_CIPHER_BYTES, one on its way at a time, so that a large block neither holds the
 * loop up nor is copied as a whole.
 */
#ifndef CHN_LINK_H
#define CHN_LINK_H

#include "tls.h"

#include <uv.h>

struct chn_conn;

enum {
    LINK_READ_BYTES = 128 << 10,
    LINK_CIPHER_BYTES = 256 << 10,
    LINK_KEEPALIVE_S = 60, /* Of silence, until the kernel asks whether the peer is there. */
};

struct chn_link_write;

struct chn_link {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct chn_conn *conn;
    bool dead; /* Its connection has let go of it. */
    uint64_t
        given; /* Bytes handed to libuv; what the kernel has not taken of them is in its queue. */
    unsigned n_writes;                   /* Not called back yet. */
    struct chn_tls_session *tls;         /* NULL without TLS. */
    bool secure;                         /* TLS is agreed on. */
    struct chn_link_write *first, *last; /* TLS: not encrypted yet. */
    struct chn_link_write *sealed; /* TLS: encrypted, and the last of it not with the kernel. */
    struct chn_buf out;            /* TLS: ciphertext on its way. */
    uv_write_t out_req;
    bool out_busy;
    char bytes[LINK_READ_BYTES];
};

/** Connects; chn_conn__on_linked() will be told. @host is whom a certificate must name, @tls may be
 * NULL. @return the link, or NULL with @err filled. */
struct chn_link *chn_link__open(struct chn_conn *conn, uv_loop_t *loop, const struct sockaddr *to,
                                struct chn_tls *tls, const char *host, struct chn_err *err);
/** Starts to read, and to agree on TLS if there is to be any: then chn_conn__on_secure() follows.
 * @return 0 or an error. */
int chn_link__start(struct chn_link *link, struct chn_err *err);
/** Writes @n buffers, whose bytes are borrowed until chn_conn__on_written() or the link's end.
 * @return 0 or an error with @err filled. */
int chn_link__write(struct chn_link *link, const uv_buf_t *bufs, unsigned n, struct chn_err *err);
/** @return how many bytes the kernel has taken so far. */
uint64_t chn_link__taken(const struct chn_link *link);
/** Lets go of it: nothing is told any more, but chn_conn__release() when it is gone. */
void chn_link__close(struct chn_link *link);

/* What a link tells its connection, never once it is dead. */
void chn_conn__on_linked(struct chn_conn *conn, int status);
void chn_conn__on_secure(struct chn_conn *conn);
void chn_conn__on_bytes(struct chn_conn *conn, const void *data, size_t n);
/** All that was written is with the kernel (0), or a write has failed (libuv's code). */
void chn_conn__on_written(struct chn_conn *conn, int status);
/** Nothing more will be read; @err says why. */
void chn_conn__on_end(struct chn_conn *conn, const struct chn_err *err);

#endif
