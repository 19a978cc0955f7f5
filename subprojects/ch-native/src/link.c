/*
 * The socket of a connection. The happy path: connect, agree on TLS if there is to be any, hand
 * over what is read, send what is written. What can fail is told to the connection once, which then
 * lets go of the link.
 */
#include "link.h"

#include "conn.h"

#include <stdlib.h>

struct chn_link_write {
    uv_write_t req; /* Without TLS. */
    struct chn_link *link;
    struct chn_link_write *next;
    unsigned n, at; /* Buffers, and the first that is not all encrypted. */
    size_t offset;  /* Into that one. */
    uv_buf_t bufs[];
};

/* --- Closing --- */

static void free_writes(struct chn_link_write *write) {
    while (write != NULL) {
        struct chn_link_write *next = write->next;
        free(write);
        write = next;
    }
}

static void on_closed(uv_handle_t *handle) {
    struct chn_link *link = handle->data;
    struct chn_conn *conn = link->conn;
    free_writes(link->first);
    free_writes(link->sealed);
    chn_buf__fini(&link->out);
    chn_tls_session__free(link->tls);
    free(link);
    chn_conn__release(conn);
}

/* A last word, if it can be said at once: the link is not waited for. */
static void say_goodbye(struct chn_link *link) {
    if (!link->secure || link->out_busy || link->first != NULL) return;
    chn_tls_session__finish(link->tls);
    link->out.n = 0;
    if (chn_tls_session__take(link->tls, &link->out) != 0 || link->out.n == 0) return;
    uv_buf_t buf = {.base = (char *)link->out.data, .len = link->out.n};
    uv_try_write((uv_stream_t *)&link->tcp, &buf, 1);
}

void chn_link__close(struct chn_link *link) {
    if (link->tls != NULL) say_goodbye(link);
    link->dead = true;
    uv_close((uv_handle_t *)&link->tcp, on_closed);
}

/* --- Writing --- */

static void note_written(struct chn_link *link, int status) {
    if (!link->dead && (link->n_writes == 0 || status < 0))
        chn_conn__on_written(link->conn, status);
}

static void on_plain_written(uv_write_t *req, int status) {
    struct chn_link_write *write = (struct chn_link_write *)(void *)req;
    struct chn_link *link = write->link;
    free(write);
    link->n_writes--;
    note_written(link, status);
}

static void end_link(struct chn_link *link, const struct chn_err *err) {
    struct chn_err full;
    struct chn_host host = chn_conn__host(link->conn);
    chn_err__setf(&full, err->code, "%.80s:%u: %.150s", host.name, host.port, err->msg);
    chn_conn__on_end(link->conn, &full);
}

/* Encrypts until a piece is full. @return 0 or an error. */
static int encrypt_some(struct chn_link *link, struct chn_err *err) {
    int code = chn_tls_session__take(link->tls, &link->out); /* The handshake's and alerts. */
    while (code == 0 && link->first != NULL && link->secure) {
        struct chn_link_write *write = link->first;
        if (write->at == write->n) { /* All of it is encrypted: it is done when this is sent. */
            link->first = write->next;
            write->next = link->sealed;
            link->sealed = write;
            continue;
        }
        if (link->out.n >= LINK_CIPHER_BYTES) break;
        const uv_buf_t *buf = &write->bufs[write->at];
        size_t n = buf->len - write->offset;
        if (n > 16 << 10) n = 16 << 10; /* One record. */
        code = chn_tls_session__write(link->tls, buf->base + write->offset, n, err);
        if (code != 0) return code;
        write->offset += n;
        if (write->offset == buf->len) {
            write->at++;
            write->offset = 0;
        }
        code = chn_tls_session__take(link->tls, &link->out);
    }
    return code == 0 ? 0 : chn_err__setf(err, CHN_ERR_MEMORY, "TLS: no memory");
}

static void on_cipher_written(uv_write_t *req, int status);

/* Sends the next piece of ciphertext if none is on its way. @return 0 or an error. */
static int pump(struct chn_link *link, struct chn_err *err) {
    if (link->out_busy) return 0;
    link->out.n = 0;
    int code = encrypt_some(link, err);
    if (code != 0) return code;
    if (link->out.n == 0) return 0;
    uv_buf_t buf = {.base = (char *)link->out.data, .len = link->out.n};
    link->out_req.data = link;
    code = uv_write(&link->out_req, (uv_stream_t *)&link->tcp, &buf, 1, on_cipher_written);
    if (code != 0) return chn_err__setf(err, CHN_ERR_LOST, "write: %s", uv_strerror(code));
    link->given += buf.len;
    link->out_busy = true;
    return 0;
}

static void on_cipher_written(uv_write_t *req, int status) {
    struct chn_link *link = req->data;
    struct chn_err err;
    link->out_busy = false;
    if (link->dead) return;
    bool had_any = link->sealed != NULL;
    for (struct chn_link_write *write = link->sealed; write != NULL; write = write->next)
        link->n_writes--;
    free_writes(link->sealed);
    link->sealed = NULL;
    if (status < 0) {
        note_written(link, status);
        return;
    }
    if (pump(link, &err) != 0) end_link(link, &err);
    else if (had_any) note_written(link, 0);
}

int chn_link__write(struct chn_link *link, const uv_buf_t *bufs, unsigned n, struct chn_err *err) {
    size_t list = link->tls != NULL ? n * sizeof *bufs : 0;
    struct chn_link_write *write = malloc(sizeof *write + list);
    if (write == NULL) return chn_err__setf(err, CHN_ERR_MEMORY, "write: no memory");
    *write = (struct chn_link_write){.link = link, .n = n};
    link->n_writes++;
    int code;
    if (link->tls == NULL) {
        code = uv_write(&write->req, (uv_stream_t *)&link->tcp, bufs, n, on_plain_written);
        for (unsigned i = 0; i < n && code == 0; i++) link->given += bufs[i].len;
        if (code == 0) return 0;
        link->n_writes--;
        free(write);
        return chn_err__setf(err, CHN_ERR_LOST, "write: %s", uv_strerror(code));
    }
    memcpy(write->bufs, bufs, list);
    if (link->first == NULL) link->first = write;
    else link->last->next = write;
    link->last = write;
    return pump(link, err); /* After an error the link is closed, which frees what waits. */
}

uint64_t chn_link__taken(const struct chn_link *link) {
    return link->given - uv_stream_get_write_queue_size((const uv_stream_t *)&link->tcp);
}

/* --- Reading --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct chn_link *link = handle->data;
    (void)suggested;
    *buf = uv_buf_init(link->bytes, sizeof link->bytes);
}

/* @return whether TLS is agreed on and the link still there. */
static bool go_on_agreeing(struct chn_link *link, struct chn_err *err) {
    if (link->secure) return true;
    int code = chn_tls_session__handshake(link->tls, err);
    struct chn_err ignored;
    if (code < 0) {
        pump(link, &ignored); /* The alert that says why. */
        end_link(link, err);
        return false;
    }
    link->secure = code == 0;
    if (pump(link, err) != 0) {
        end_link(link, err);
        return false;
    }
    if (code == 0) chn_conn__on_secure(link->conn);
    return link->secure && !link->dead;
}

static void on_cipher(struct chn_link *link, size_t n) {
    struct chn_err err;
    if (chn_tls_session__put(link->tls, link->bytes, n) != 0) {
        chn_err__setf(&err, CHN_ERR_MEMORY, "TLS: no memory");
        end_link(link, &err);
        return;
    }
    if (!go_on_agreeing(link, &err)) return;
    for (;;) {
        const void *plain;
        size_t n_plain;
        int code = chn_tls_session__read(link->tls, &plain, &n_plain, &err);
        if (code == 0) chn_conn__on_bytes(link->conn, plain, n_plain);
        if (link->dead) return;
        if (code == 0) continue;
        if (code == CHN_ERR_LOST)
            chn_err__setf(&err, CHN_ERR_LOST, "the server closed the connection");
        if (code == CHN_MORE) code = pump(link, &err); /* What TLS itself has to answer. */
        if (code != 0) end_link(link, &err);
        return;
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct chn_link *link = stream->data;
    struct chn_err err;
    if (link->dead || n == 0) return;
    if (n > 0) {
        if (link->tls == NULL) chn_conn__on_bytes(link->conn, buf->base, (size_t)n);
        else on_cipher(link, (size_t)n);
        return;
    }
    if (link->tls != NULL) /* Who is in between can cut: TLS has a word for a proper end. */
        chn_err__setf(&err, CHN_ERR_LOST, "the connection was cut off, without TLS's goodbye (%s)",
                      uv_strerror((int)n));
    else
        chn_err__setf(&err, CHN_ERR_LOST, "the server closed the connection (%s)",
                      uv_strerror((int)n));
    end_link(link, &err);
}

/* --- Opening --- */

static void on_connected(uv_connect_t *req, int status) {
    struct chn_link *link = req->data;
    if (!link->dead) chn_conn__on_linked(link->conn, status);
}

struct chn_link *chn_link__open(struct chn_conn *conn, uv_loop_t *loop, const struct sockaddr *to,
                                struct chn_tls *tls, const char *host, struct chn_err *err) {
    struct chn_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        chn_err__setf(err, CHN_ERR_MEMORY, "no memory");
        return NULL;
    }
    link->conn = conn;
    link->tcp.data = link->connect.data = link;
    if (tls != NULL && (link->tls = chn_tls_session__new(tls, host, err)) == NULL) {
        free(link);
        return NULL;
    }
    int code = uv_tcp_init(loop, &link->tcp);
    if (code != 0) {
        chn_err__setf(err, CHN_ERR_LOST, "socket: %s", uv_strerror(code));
        chn_tls_session__free(link->tls);
        free(link);
        return NULL;
    }
    conn->n_open++;
    code = uv_tcp_connect(&link->connect, &link->tcp, to, on_connected);
    if (code == 0) return link;
    chn_err__setf(err, CHN_ERR_LOST, "connect: %s", uv_strerror(code));
    chn_link__close(link);
    return NULL;
}

int chn_link__start(struct chn_link *link, struct chn_err *err) {
    /* Without it a small last segment waits 40 ms for an acknowledgement. */
    uv_tcp_nodelay(&link->tcp, 1);
    uv_tcp_keepalive(&link->tcp, 1, LINK_KEEPALIVE_S);
    int code = uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    if (code != 0) return chn_err__setf(err, CHN_ERR_LOST, "read: %s", uv_strerror(code));
    if (link->tls == NULL) return 0;
    code = chn_tls_session__handshake(link->tls, err);
    return code < 0 ? code : pump(link, err);
}
