/*
 * The life of a connection. The happy path: resolve the name, connect to the first address that
 * answers, send the hello, read the server's, send the addendum, be ready; then events of the
 * parser go to whoever's request is under way. What can fail ends in chn_conn__fail(): the link is
 * dropped and the request told, once.
 */
#include "conn.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const uint32_t state_next[] = {
    [CHN_CLOSED] = 1u << CHN_RESOLVING,
    [CHN_RESOLVING] = 1u << CHN_CONNECTING | 1u << CHN_CLOSED,
    [CHN_CONNECTING] = 1u << CHN_CONNECTING | 1u << CHN_HELLO | 1u << CHN_CLOSED,
    [CHN_HELLO] = 1u << CHN_READY | 1u << CHN_CLOSED,
    [CHN_READY] = 1u << CHN_PING | 1u << CHN_QUERY | 1u << CHN_PACKING | 1u << CHN_HEADER |
                  1u << CHN_SENDING | 1u << CHN_CLOSED,
    [CHN_PING] = 1u << CHN_READY | 1u << CHN_CLOSED,
    [CHN_QUERY] = 1u << CHN_READY | 1u << CHN_CANCELING | 1u << CHN_CLOSED,
    [CHN_CANCELING] = 1u << CHN_READY | 1u << CHN_CLOSED,
    [CHN_PACKING] = 1u << CHN_HEADER | 1u << CHN_SENDING | 1u << CHN_CLOSED,
    [CHN_HEADER] = 1u << CHN_SENDING | 1u << CHN_CLOSED,
    [CHN_SENDING] = 1u << CHN_ACK | 1u << CHN_READY | 1u << CHN_CLOSED,
    [CHN_ACK] = 1u << CHN_READY | 1u << CHN_CLOSED,
};

static const char *const state_names[] = {
    [CHN_CLOSED] = "closed",
    [CHN_RESOLVING] = "resolving the name",
    [CHN_CONNECTING] = "connecting",
    [CHN_HELLO] = "saying hello",
    [CHN_READY] = "idle",
    [CHN_PING] = "ping",
    [CHN_QUERY] = "query",
    [CHN_CANCELING] = "cancel",
    [CHN_PACKING] = "compressing",
    [CHN_HEADER] = "waiting for the table's columns",
    [CHN_SENDING] = "sending",
    [CHN_ACK] = "waiting for the acknowledgement",
};

static void on_timeout(uv_timer_t *timer) {
    struct chn_conn *c = timer->data;
    if (c->write_failed) { /* No exception came after it. */
        struct chn_err err = c->err;
        chn_conn__fail(c, &err);
        return;
    }
    struct chn_err err;
    chn_err__setf(&err, CHN_ERR_TIMEOUT, "%s:%u: %s took too long%s", c->host, c->options.port,
                  state_names[c->state],
                  c->state == CHN_HELLO ? " (is this the port of the native protocol?)" : "");
    chn_conn__fail(c, &err);
}

void chn_conn__move(struct chn_conn *c, enum chn_state state, uint32_t ms) {
    assert(state_next[c->state] & (1u << state));
    c->state = state;
    if (ms == 0) uv_timer_stop(&c->timer);
    else {
        uv_update_time(c->loop); /* A turn that took long must not eat the time of this state. */
        uv_timer_start(&c->timer, on_timeout, ms, 0);
    }
}

/* --- Closing --- */

static void free_conn(struct chn_conn *c) {
    chn_parser__fini(&c->parser);
    chn_buf__fini(&c->head);
    chn_insert__fini(c);
    uv_freeaddrinfo(c->addresses);
    if (c->password != NULL) { /* Not left in freed memory. */
        volatile char *p = c->password;
        while (*p != '\0') *p++ = '\0';
    }
    char *strings[] = {c->host, c->database, c->user, c->password, c->client_name, c->quota_key};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) free(strings[i]);
    free(c);
}

void chn_conn__release(struct chn_conn *c) {
    if (--c->n_open > 0) return;
    chn_close_cb cb = c->close_cb;
    void *data = c->close_data;
    free_conn(c);
    if (cb != NULL) cb(data);
}

static void on_link_closed(uv_handle_t *handle) {
    struct chn_link *link = handle->data;
    struct chn_conn *c = link->conn;
    free(link);
    chn_conn__release(c);
}

static void on_timer_closed(uv_handle_t *handle) { chn_conn__release(handle->data); }

void chn_conn__drop(struct chn_conn *c) {
    if (c->link != NULL) {
        c->link->dead = true;
        uv_close((uv_handle_t *)&c->link->tcp, on_link_closed);
        c->link = NULL;
    }
    if (c->resolver != NULL) {
        uv_cancel((uv_req_t *)c->resolver);
        c->resolver->data = NULL; /* It frees itself; it has the connection in its own field. */
        c->resolver = NULL;
    }
    if (c->state != CHN_CLOSED) chn_conn__move(c, CHN_CLOSED, 0);
    c->n_verified = 0; /* Another server may answer next time. */
    c->write_failed = false;
}

static void end_connect(struct chn_conn *c, const struct chn_err *err,
                        const struct chn_exception *exception) {
    chn_connect_cb cb = c->cb.connect;
    void *data = c->cb_data;
    uv_freeaddrinfo(c->addresses);
    c->addresses = c->address = NULL;
    cb(c, data, err, exception);
}

void chn_conn__fail(struct chn_conn *c, const struct chn_err *err) {
    enum chn_state was = c->state;
    chn_conn__drop(c);
    switch (was) {
    case CHN_CLOSED: break;
    case CHN_RESOLVING:
    case CHN_CONNECTING:
    case CHN_HELLO:
        end_connect(c, err, err->code == CHN_ERR_EXCEPTION ? &c->parser.exception : NULL);
        break;
    case CHN_READY:
        if (c->options.on_lost != NULL && !c->closing) c->options.on_lost(c, c->options.data, err);
        break;
    case CHN_PING: c->cb.ping(c, c->cb_data, err); break;
    case CHN_QUERY:
    case CHN_CANCELING: chn_query__fail(c, err); break;
    case CHN_PACKING:
    case CHN_HEADER:
    case CHN_SENDING:
    case CHN_ACK: chn_insert__fail(c, err); break;
    }
}

void chn_conn__close(struct chn_conn *c, chn_close_cb cb, void *data) {
    assert(!c->closing);
    c->closing = true;
    c->close_cb = cb;
    c->close_data = data;
    struct chn_err err;
    chn_err__setf(&err, CHN_ERR_CANCELED, "%s:%u: closed during %s", c->host, c->options.port,
                  state_names[c->state]);
    chn_conn__fail(c, &err);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void chn_conn__cancel(struct chn_conn *c) {
    struct chn_err err;
    if (c->state == CHN_CLOSED || c->state == CHN_READY || c->state == CHN_CANCELING) return;
    chn_err__setf(&err, CHN_ERR_CANCELED, "%s:%u: canceled during %s", c->host, c->options.port,
                  state_names[c->state]);
    if (c->state != CHN_QUERY) {
        chn_conn__fail(c, &err);
        return;
    }
    static uint8_t packet[] = {3};
    c->err = err;
    chn_conn__move(c, CHN_CANCELING, chn_or(c->options.query_ms, 60000));
    uv_buf_t buf = uv_buf_init((char *)packet, sizeof packet);
    if (chn_conn__write(c, &buf, 1, &err) != 0) chn_conn__fail(c, &err);
}

/* --- Writing and reading --- */

struct chn_write {
    uv_write_t req;
    struct chn_link *link;
};

static void on_written(uv_write_t *req, int status) {
    struct chn_write *write = (struct chn_write *)(void *)req;
    struct chn_link *link = write->link;
    free(write);
    link->n_writes--;
    if (link->dead) return;
    struct chn_conn *c = link->conn;
    if (status < 0) {
        /* The server may have closed after it sent why: go on reading until its end, but not for
         * long. */
        chn_err__setf(&c->err, CHN_ERR_LOST, "%s:%u: write: %s", c->host, c->options.port,
                      uv_strerror(status));
        c->write_failed = true;
        uv_timer_start(&c->timer, on_timeout, CHN_DRAIN_MS, 0);
        return;
    }
    if (link->n_writes > 0 || c->write_failed) return;
    if (c->state == CHN_QUERY || c->state == CHN_CANCELING) chn_query__on_written(c);
    else if (c->state == CHN_SENDING) chn_insert__on_written(c);
}

int chn_conn__write(struct chn_conn *c, const uv_buf_t *bufs, unsigned n, struct chn_err *err) {
    struct chn_write *write = malloc(sizeof *write);
    if (write == NULL)
        return chn_err__setf(err, CHN_ERR_MEMORY, "%s:%u: write: no memory", c->host,
                             c->options.port);
    write->link = c->link;
    int code = uv_write(&write->req, (uv_stream_t *)&c->link->tcp, bufs, n, on_written);
    if (code == 0) {
        c->link->n_writes++;
        return 0;
    }
    free(write);
    return chn_err__setf(err, CHN_ERR_LOST, "%s:%u: write: %s", c->host, c->options.port,
                         uv_strerror(code));
}

static int write_head(struct chn_conn *c, struct chn_err *err) {
    if (c->head.failed)
        return chn_err__setf(err, CHN_ERR_MEMORY, "%s:%u: no memory", c->host, c->options.port);
    uv_buf_t buf = uv_buf_init((char *)c->head.data, (unsigned)c->head.n);
    return c->head.n == 0 ? 0 : chn_conn__write(c, &buf, 1, err);
}

static void on_hello(struct chn_conn *c) {
    struct chn_err err;
    const struct chn_server *s = &c->parser.server;
    if (s->revision < CHN_REVISION_MIN) {
        chn_err__setf(&err, CHN_ERR_PROTOCOL,
                      "%s:%u: server %.60s %u.%u speaks revision %u, %d is the oldest supported",
                      c->host, c->options.port, s->name, s->major, s->minor, s->revision,
                      CHN_REVISION_MIN);
        chn_conn__fail(c, &err);
        return;
    }
    c->head.n = 0;
    chn_request__addendum(&c->head, &c->client, s->negotiated);
    if (write_head(c, &err) != 0) {
        chn_conn__fail(c, &err);
        return;
    }
    chn_conn__move(c, CHN_READY, 0);
    end_connect(c, NULL, NULL);
}

static void on_unexpected(struct chn_conn *c, enum chn_event event) {
    struct chn_err err;
    if (event == CHN_EVENT_EXCEPTION)
        chn_err__setf(&err, CHN_ERR_EXCEPTION, "%s:%u: code %d: %.150s", c->host, c->options.port,
                      c->parser.exception.code, c->parser.exception.message);
    else
        chn_err__setf(&err, CHN_ERR_PROTOCOL, "%s:%u: unexpected packet of type %d during %s",
                      c->host, c->options.port, c->parser.packet, state_names[c->state]);
    chn_conn__fail(c, &err);
}

static void on_event(struct chn_conn *c, enum chn_event event) {
    switch (c->state) {
    case CHN_HELLO:
        if (event == CHN_EVENT_HELLO) on_hello(c);
        else on_unexpected(c, event);
        break;
    case CHN_PING:
        if (event == CHN_EVENT_PONG) {
            chn_conn__move(c, CHN_READY, 0);
            c->cb.ping(c, c->cb_data, NULL);
        } else if (event != CHN_EVENT_PROGRESS) { /* Old servers may send a late one. */
            on_unexpected(c, event);
        }
        break;
    case CHN_QUERY:
    case CHN_CANCELING: chn_query__on_event(c, event); break;
    case CHN_HEADER:
    case CHN_SENDING:
    case CHN_ACK: chn_insert__on_event(c, event); break;
    default: on_unexpected(c, event);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct chn_link *link = handle->data;
    *buf = uv_buf_init(link->bytes, sizeof link->bytes);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct chn_link *link = stream->data;
    struct chn_conn *c = link->conn;
    struct chn_err err;
    if (link->dead || n == 0) return;
    if (n < 0) {
        if (c->write_failed) err = c->err; /* The first sign of it. */
        else
            chn_err__setf(&err, CHN_ERR_LOST,
                          "%s:%u: the server closed the connection during %s (%s)", c->host,
                          c->options.port, state_names[c->state], uv_strerror((int)n));
        chn_conn__fail(c, &err);
        return;
    }
    int code = chn_parser__feed(&c->parser, buf->base, (size_t)n, &err);
    while (code == 0) {
        enum chn_event event;
        code = chn_parser__next(&c->parser, &event, &err);
        if (code == 0) on_event(c, event);
        if (link->dead) return; /* @c may be on another link by now. */
    }
    if (code < 0) chn_conn__fail(c, &err);
}

/* --- Connecting --- */

static void try_address(struct chn_conn *c, const struct chn_err *last);

static void on_connected(uv_connect_t *req, int status) {
    struct chn_link *link = req->data;
    struct chn_conn *c = link->conn;
    struct chn_err err;
    if (link->dead) return;
    if (status < 0) {
        chn_err__setf(&err, CHN_ERR_LOST, "%s:%u: connect: %s", c->host, c->options.port,
                      uv_strerror(status));
        link->dead = true;
        uv_close((uv_handle_t *)&link->tcp, on_link_closed);
        c->link = NULL;
        try_address(c, &err);
        return;
    }
    uv_tcp_nodelay(&link->tcp,
                   1); /* Else a small last segment waits 40 ms for an acknowledgement. */
    chn_conn__move(c, CHN_HELLO, chn_or(c->options.hello_ms, 5000));
    chn_parser__reset(&c->parser, c->client.advertised);
    c->head.n = 0;
    chn_request__hello(&c->head, &c->client);
    int code = uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    if (code != 0)
        chn_err__setf(&err, CHN_ERR_LOST, "%s:%u: read: %s", c->host, c->options.port,
                      uv_strerror(code));
    if (code == 0) code = write_head(c, &err);
    if (code != 0) chn_conn__fail(c, &err);
}

/* Tries the next address; @last is why the one before did not do. */
static void try_address(struct chn_conn *c, const struct chn_err *last) {
    struct chn_err err = *last;
    for (; c->address != NULL; c->address = c->address->ai_next) {
        struct chn_link *link = calloc(1, sizeof *link);
        if (link == NULL) break;
        link->conn = c;
        link->tcp.data = link->connect.data = link;
        int code = uv_tcp_init(c->loop, &link->tcp);
        if (code != 0) {
            free(link);
            chn_err__setf(&err, CHN_ERR_LOST, "%s:%u: socket: %s", c->host, c->options.port,
                          uv_strerror(code));
            break;
        }
        c->n_open++;
        c->link = link;
        code = uv_tcp_connect(&link->connect, &link->tcp, c->address->ai_addr, on_connected);
        if (code == 0) {
            c->address = c->address->ai_next;
            chn_conn__move(c, CHN_CONNECTING, chn_or(c->options.connect_ms, 5000));
            return;
        }
        chn_err__setf(&err, CHN_ERR_LOST, "%s:%u: connect: %s", c->host, c->options.port,
                      uv_strerror(code));
        link->dead = true;
        uv_close((uv_handle_t *)&link->tcp, on_link_closed);
        c->link = NULL;
    }
    chn_conn__fail(c, &err);
}

struct resolver {
    uv_getaddrinfo_t req; /* First: chn_conn's pointer is to it. Its data is the connection, NULL
                             once dropped. */
    struct chn_conn *conn;
};

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *addresses) {
    struct resolver *resolver = (struct resolver *)(void *)req;
    struct chn_conn *c = resolver->conn;
    bool dropped = req->data == NULL;
    free(resolver);
    if (dropped) {
        uv_freeaddrinfo(addresses);
    } else {
        c->resolver = NULL;
        c->addresses = c->address = addresses;
        struct chn_err err;
        chn_err__setf(&err, CHN_ERR_LOST, "%s:%u: resolve: %s", c->host, c->options.port,
                      status < 0 ? uv_strerror(status) : "no address");
        if (status < 0) chn_conn__fail(c, &err);
        else try_address(c, &err);
    }
    chn_conn__release(c);
}

int chn_conn__connect(struct chn_conn *c, chn_connect_cb cb, void *data) {
    if (c->state != CHN_CLOSED || c->packing.running || c->closing) return CHN_ERR_BUSY;
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (resolver == NULL) return CHN_ERR_MEMORY;
    resolver->conn = c;
    resolver->req.data = c;
    char service[8];
    snprintf(service, sizeof service, "%u", c->options.port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int code = uv_getaddrinfo(c->loop, &resolver->req, on_resolved, c->host, service, &hints);
    if (code != 0) {
        free(resolver);
        return CHN_ERR_LOST;
    }
    c->n_open++;
    c->resolver = &resolver->req;
    c->cb.connect = cb;
    c->cb_data = data;
    chn_conn__move(c, CHN_RESOLVING, chn_or(c->options.connect_ms, 5000));
    return 0;
}

int chn_conn__ping(struct chn_conn *c, chn_ping_cb cb, void *data) {
    struct chn_err err;
    if (c->state != CHN_READY) return c->state == CHN_CLOSED ? CHN_ERR_NOT_READY : CHN_ERR_BUSY;
    c->head.n = 0;
    chn_request__ping(&c->head);
    int code = write_head(c, &err);
    if (code != 0) return code;
    c->cb.ping = cb;
    c->cb_data = data;
    chn_conn__move(c, CHN_PING, chn_or(c->options.query_ms, 60000));
    return 0;
}

/* --- Making --- */

static char *copy_or(const char *text, const char *otherwise) {
    return strdup(text != NULL ? text : otherwise);
}

struct chn_conn *chn_conn__new(uv_loop_t *loop, const struct chn_options *options,
                               struct chn_err *err) {
    uint32_t revision = chn_or(options->revision, CHN_REVISION_DEFAULT);
    if (revision < CHN_REVISION_MIN || revision > CHN_REVISION_MAX) {
        chn_err__setf(err, CHN_ERR_ARGUMENT, "revision %u is not from %d to %d", revision,
                      CHN_REVISION_MIN, CHN_REVISION_MAX);
        return NULL;
    }
    struct chn_conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        chn_err__setf(err, CHN_ERR_MEMORY, "connection: no memory");
        return NULL;
    }
    c->loop = loop;
    c->options = *options;
    if (c->options.port == 0) c->options.port = 9000;
    c->host = copy_or(options->host, "127.0.0.1");
    c->database = copy_or(options->database, "default");
    c->user = copy_or(options->user, "default");
    c->password = copy_or(options->password, "");
    c->client_name = copy_or(options->client_name, "ch-native");
    c->quota_key = copy_or(options->quota_key, "");
    size_t n = sizeof c->hostname;
    if (uv_os_gethostname(c->hostname, &n) != 0) c->hostname[0] = '\0';
    c->client = (struct chn_client){c->client_name, c->quota_key, c->database, c->user,
                                    c->password,    c->hostname,  revision};
    chn_parser__init(&c->parser, revision,
                     options->block_bytes_max != 0 ? options->block_bytes_max : (size_t)256 << 20);
    bool whole = c->host != NULL && c->database != NULL && c->user != NULL && c->password != NULL &&
                 c->client_name != NULL && c->quota_key != NULL;
    if (!whole || uv_timer_init(loop, &c->timer) != 0) {
        free_conn(c);
        chn_err__setf(err, CHN_ERR_MEMORY, "connection: no memory");
        return NULL;
    }
    c->timer.data = c;
    c->n_open = 1;
    return c;
}

bool chn_conn__is_ready(const struct chn_conn *c) { return c->state == CHN_READY && !c->closing; }
bool chn_conn__is_closed(const struct chn_conn *c) {
    return c->state == CHN_CLOSED && !c->packing.running && !c->closing;
}
const struct chn_server *chn_conn__server(const struct chn_conn *c) { return &c->parser.server; }
