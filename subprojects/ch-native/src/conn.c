/*
 * The life of a connection. The happy path: it is made, connected (connect.c), and then events of
 * the parser go to whoever's request is under way. What can fail ends in chn_conn__fail(): the link
 * is dropped and the request told, once.
 */
#include "conn.h"

#include <assert.h>
#include <stdlib.h>

static const uint32_t state_next[] = {
    [CHN_CLOSED] = 1u << CHN_RESOLVING,
    [CHN_RESOLVING] = 1u << CHN_CONNECTING | 1u << CHN_CLOSED,
    [CHN_CONNECTING] =
        1u << CHN_CONNECTING | 1u << CHN_SECURING | 1u << CHN_HELLO | 1u << CHN_CLOSED,
    [CHN_SECURING] = 1u << CHN_HELLO | 1u << CHN_CLOSED,
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
    [CHN_SECURING] = "agreeing on TLS",
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
    uint64_t now = uv_now(c->loop);
    if (c->state == CHN_SENDING && chn_link__taken(c->link) > c->taken_bytes) {
        c->taken_bytes = chn_link__taken(c->link); /* It still reads, which is all it has to do. */
        c->heard_ms = now;
    }
    uint64_t silent_until = c->heard_ms + c->silence_ms;
    bool is_silent = c->silence_ms != 0 && silent_until <= now;
    if (now < c->deadline_ms && !is_silent) { /* It has been heard of since. */
        uint64_t until =
            c->silence_ms != 0 && silent_until < c->deadline_ms ? silent_until : c->deadline_ms;
        uv_timer_start(&c->timer, on_timeout, until - now, 0);
        return;
    }
    struct chn_err err;
    chn_err__setf(&err, CHN_ERR_TIMEOUT, "%.80s:%u: %s %s%s", c->host, c->port,
                  state_names[c->state],
                  !is_silent                ? "took too long"
                  : c->state == CHN_SENDING ? "stalled: the server has stopped reading"
                                            : "heard nothing for too long",
                  c->state == CHN_HELLO      ? " (is this the port of the native protocol?)"
                  : c->state == CHN_SECURING ? " (is this the port with TLS?)"
                                             : "");
    chn_conn__fail(c, &err);
}

void chn_conn__move(struct chn_conn *c, enum chn_state state, uint32_t ms) {
    assert(state_next[c->state] & (1u << state));
    c->state = state;
    c->silence_ms = 0;
    if (ms == 0) uv_timer_stop(&c->timer);
    else {
        uv_update_time(c->loop); /* A turn that took long must not eat the time of this state. */
        c->deadline_ms = uv_now(c->loop) + ms;
        uv_timer_start(&c->timer, on_timeout, ms, 0);
    }
}

void chn_conn__limit_silence(struct chn_conn *c, uint32_t ms) {
    c->silence_ms = ms;
    c->heard_ms = uv_now(c->loop);
    if (ms != 0 && c->heard_ms + ms < c->deadline_ms) uv_timer_start(&c->timer, on_timeout, ms, 0);
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
    for (size_t i = 0; i < c->n_hosts; i++) free((char *)(uintptr_t)c->hosts[i].name);
    free(c->hosts);
    chn_tls__free(c->options.tls);
    char *strings[] = {c->database, c->user, c->password, c->client_name, c->quota_key};
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

static void on_timer_closed(uv_handle_t *handle) { chn_conn__release(handle->data); }

void chn_conn__drop(struct chn_conn *c) {
    if (c->link != NULL) {
        chn_link__close(c->link);
        c->link = NULL;
    }
    if (c->resolver != NULL) {
        uv_cancel((uv_req_t *)c->resolver);
        c->resolver->data = NULL; /* It frees itself; it has the connection in its own field. */
        c->resolver = NULL;
    }
    if (c->state != CHN_CLOSED) chn_conn__move(c, CHN_CLOSED, 0);
    c->heard_bytes = c->taken_bytes = 0;
    c->n_verified = 0; /* Another server may answer next time. */
    c->write_failed = false;
}

void chn_conn__fail(struct chn_conn *c, const struct chn_err *err) {
    enum chn_state was = c->state;
    chn_conn__drop(c);
    switch (was) {
    case CHN_CLOSED: break;
    case CHN_RESOLVING:
    case CHN_CONNECTING:
    case CHN_SECURING:
    case CHN_HELLO:
        if (err->code != CHN_ERR_CANCELED && !c->closing && chn_conn__try_next_host(c)) break;
        chn_conn__end_connect(c, err, err->code == CHN_ERR_EXCEPTION ? &c->parser.exception : NULL);
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
    chn_err__setf(&err, CHN_ERR_CANCELED, "%.80s:%u: closed during %s", c->host, c->port,
                  state_names[c->state]);
    chn_conn__fail(c, &err);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void chn_conn__cancel(struct chn_conn *c) {
    struct chn_err err;
    if (c->state == CHN_CLOSED || c->state == CHN_READY || c->state == CHN_CANCELING) return;
    chn_err__setf(&err, CHN_ERR_CANCELED, "%.80s:%u: canceled during %s", c->host, c->port,
                  state_names[c->state]);
    if (c->state != CHN_QUERY) {
        chn_conn__fail(c, &err);
        return;
    }
    static const uint8_t whole[] = {3}, chunked[] = {1, 0, 0, 0, 3, 0, 0, 0, 0};
    bool is_chunked = c->parser.server.chunks_out;
    c->err = err;
    chn_conn__move(c, CHN_CANCELING, chn_or(c->options.query_ms, 60000));
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)(is_chunked ? chunked : whole),
                               is_chunked ? sizeof chunked : sizeof whole);
    if (chn_conn__write(c, &buf, 1, &err) != 0) chn_conn__fail(c, &err);
}

/* --- Writing and reading --- */

void chn_conn__on_written(struct chn_conn *c, int status) {
    if (status < 0) {
        /* The server may have closed after it sent why: go on reading until its end, but not for
         * long. */
        chn_err__setf(&c->err, CHN_ERR_LOST, "%.80s:%u: write: %s", c->host, c->port,
                      uv_strerror(status));
        c->write_failed = true;
        uv_timer_start(&c->timer, on_timeout, CHN_DRAIN_MS, 0);
        return;
    }
    if (c->write_failed) return;
    if (c->state == CHN_QUERY || c->state == CHN_CANCELING) chn_query__on_written(c);
    else if (c->state == CHN_SENDING) chn_insert__on_written(c);
}

int chn_conn__write(struct chn_conn *c, const uv_buf_t *bufs, unsigned n, struct chn_err *err) {
    struct chn_err why;
    int code = chn_link__write(c->link, bufs, n, &why);
    if (code == 0) return 0;
    return chn_err__setf(err, code, "%.80s:%u: %.150s", c->host, c->port, why.msg);
}

int chn_conn__write_head(struct chn_conn *c, struct chn_err *err) {
    if (c->head.failed)
        return chn_err__setf(err, CHN_ERR_MEMORY, "%.80s:%u: no memory", c->host, c->port);
    uv_buf_t buf = uv_buf_init((char *)c->head.data, (unsigned)c->head.n);
    return c->head.n == 0 ? 0 : chn_conn__write(c, &buf, 1, err);
}

static void on_unexpected(struct chn_conn *c, enum chn_event event) {
    struct chn_err err;
    if (event == CHN_EVENT_EXCEPTION)
        chn_err__setf(&err, CHN_ERR_EXCEPTION, "%.80s:%u: code %d: %.150s", c->host, c->port,
                      c->parser.exception.code, c->parser.exception.message);
    else
        chn_err__setf(&err, CHN_ERR_PROTOCOL, "%.80s:%u: unexpected packet of type %d during %s",
                      c->host, c->port, c->parser.packet, state_names[c->state]);
    chn_conn__fail(c, &err);
}

static void on_event(struct chn_conn *c, enum chn_event event) {
    switch (c->state) {
    case CHN_HELLO:
        if (event == CHN_EVENT_HELLO) chn_conn__on_hello(c);
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

void chn_conn__on_bytes(struct chn_conn *c, const void *data, size_t n) {
    struct chn_link *link = c->link;
    struct chn_err err;
    c->heard_ms = uv_now(c->loop);
    c->heard_bytes += n;
    int code = chn_parser__feed(&c->parser, data, n, &err);
    while (code == 0) {
        enum chn_event event;
        code = chn_parser__next(&c->parser, &event, &err);
        if (code == 0) on_event(c, event);
        if (link->dead) return; /* @c may be on another link by now, or be freed. */
    }
    if (code < 0) chn_conn__fail(c, &err);
}

void chn_conn__on_end(struct chn_conn *c, const struct chn_err *why) {
    struct chn_err err = *why;
    if (c->write_failed) err = c->err; /* The first sign of it. */
    else if (err.code == CHN_ERR_LOST)
        chn_err__setf(&err, CHN_ERR_LOST, "%.200s during %s", why->msg, state_names[c->state]);
    chn_conn__fail(c, &err);
}

int chn_conn__ping(struct chn_conn *c, chn_ping_cb cb, void *data) {
    struct chn_err err;
    if (c->state != CHN_READY) return c->state == CHN_CLOSED ? CHN_ERR_NOT_READY : CHN_ERR_BUSY;
    c->head.n = 0;
    chn_request__ping(&c->head, c->parser.server.chunks_out);
    int code = chn_conn__write_head(c, &err);
    if (code != 0) return code;
    c->cb.ping = cb;
    c->cb_data = data;
    chn_conn__move(c, CHN_PING, chn_or(c->options.ping_ms, chn_or(c->options.query_ms, 60000)));
    return 0;
}

/* --- Making --- */

static char *copy_or(const char *text, const char *otherwise) {
    return strdup(text != NULL ? text : otherwise);
}

/* Copies the list of hosts, or the one host. */
static bool copy_hosts(struct chn_conn *c, const struct chn_options *o) {
    struct chn_host one = {o->host, o->port};
    const struct chn_host *hosts = o->n_hosts > 0 ? o->hosts : &one;
    size_t n = o->n_hosts > 0 ? o->n_hosts : 1;
    c->hosts = calloc(n, sizeof *c->hosts);
    if (c->hosts == NULL) return false;
    for (size_t i = 0; i < n; i++) {
        uint16_t otherwise = o->tls != NULL ? 9440 : 9000;
        c->hosts[i].name = copy_or(hosts[i].name, "127.0.0.1");
        c->hosts[i].port = hosts[i].port != 0 ? hosts[i].port : otherwise;
        c->n_hosts++;
        if (c->hosts[i].name == NULL) return false;
    }
    c->host = c->hosts[0].name;
    c->port = c->hosts[0].port;
    return true;
}

struct chn_conn *chn_conn__new(uv_loop_t *loop, const struct chn_options *options,
                               struct chn_err *err) {
    uint32_t revision = chn_or(options->revision, CHN_REVISION_DEFAULT);
    if (revision < CHN_REVISION_MIN || revision > CHN_REVISION_MAX) {
        chn_err__setf(err, CHN_ERR_ARGUMENT, "revision %u is not from %d to %d", revision,
                      CHN_REVISION_MIN, CHN_REVISION_MAX);
        return NULL;
    }
    if (options->n_hosts > CHN_HOSTS_MAX) {
        chn_err__setf(err, CHN_ERR_ARGUMENT, "%zu hosts, %d are the most", options->n_hosts,
                      CHN_HOSTS_MAX);
        return NULL;
    }
    struct chn_conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        chn_err__setf(err, CHN_ERR_MEMORY, "connection: no memory");
        return NULL;
    }
    c->loop = loop;
    c->options = *options;
    c->options.tls = chn_tls__share(options->tls);
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
    bool whole = copy_hosts(c, options) && c->database != NULL && c->user != NULL &&
                 c->password != NULL && c->client_name != NULL && c->quota_key != NULL;
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
struct chn_host chn_conn__host(const struct chn_conn *c) {
    return (struct chn_host){c->host, c->port};
}
uint64_t chn_conn__moved(const struct chn_conn *c) {
    return c->link == NULL ? 0 : chn_link__taken(c->link) + c->heard_bytes;
}
const struct chn_server *chn_conn__server(const struct chn_conn *c) { return &c->parser.server; }
