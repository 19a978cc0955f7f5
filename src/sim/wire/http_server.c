/* See http_server.h. A connection reads into a fixed buffer, hands one parsed request to the owner,
 * and sends the reply in chunks: one chunk for all of it usually, more when it is slowed. Its one
 * timer serves delay, pace and idling, of which only one is on at a time. Whatever fails on a
 * socket closes that connection only. */
#include "http_server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct connection {
    struct server *server;
    struct connection *next, **prev;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    int n_open; /* Handles that are not closed yet. */
    bool busy;  /* A reply is under way. */
    bool closing, reading, keep_alive, turned_away;
    struct reply reply;
    struct buf head;   /* Status line and headers of the reply. */
    struct body *body; /* What is sent after it; one reference; may be NULL. */
    size_t sent, end;  /* Of the whole reply; @end is where to stop. */
    size_t chunk;      /* Being written now. */
    size_t in_len;
    char in[HTTP_HEAD_MAX + HTTP_BODY_MAX];
};

static void take_requests(struct connection *c);

void reply__fini(struct reply *r) {
    buf__fini(&r->headers);
    body__unref(r->body);
    body__unref(r->encoded);
    memset(r, 0, sizeof *r);
}

static void on_handle_closed(uv_handle_t *h) {
    struct connection *c = h->data;
    if (--c->n_open > 0) return;
    reply__fini(&c->reply);
    buf__fini(&c->head);
    body__unref(c->body);
    free(c);
}

static void tell_done(struct connection *c, bool whole) {
    void (*done)(void *, uint64_t, bool) = c->reply.done;
    c->reply.done = NULL;
    if (done != NULL) done(c->server->owner, c->reply.token, whole);
}

static void close_connection(struct connection *c, bool reset) {
    if (c->closing) return;
    c->closing = true;
    tell_done(c, false);
    *c->prev = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
    c->server->n_connections--;
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    if (reset && uv_tcp_close_reset(&c->tcp, on_handle_closed) == 0) return;
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
}

static void on_idle(uv_timer_t *t) { close_connection(t->data, false); }

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out) {
    struct connection *c = h->data;
    (void)hint;
    out->base = c->in + c->in_len;
    out->len = sizeof c->in - c->in_len;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct connection *c = stream->data;
    (void)buf;
    if (n < 0) {
        close_connection(c, false);
        return;
    }
    c->in_len += (size_t)n;
    if (c->in_len == sizeof c->in) { /* A pipelining client waits in the kernel from here. */
        uv_read_stop(stream);
        c->reading = false;
    }
    if (!c->busy && n > 0) take_requests(c);
}

static void start_reading(struct connection *c) {
    if (c->reading || c->closing || c->in_len == sizeof c->in) return;
    c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
    if (!c->reading) close_connection(c, false);
}

static void finish_reply(struct connection *c) {
    bool whole = !c->reply.cut;
    if (c->reply.cut || c->reply.close || !c->keep_alive) {
        bool reset = c->reply.reset;
        tell_done(c, whole);
        close_connection(c, reset);
        return;
    }
    tell_done(c, whole);
    reply__fini(&c->reply);
    buf__reset(&c->head);
    body__unref(c->body);
    c->body = NULL;
    c->busy = false;
    uv_timer_start(&c->timer, on_idle, SERVER_IDLE_MS, 0);
    start_reading(c);
    if (!c->closing) take_requests(c);
}

static void send_chunk(struct connection *c);

static void on_pace(uv_timer_t *t) { send_chunk(t->data); }

static void on_written(uv_write_t *w, int status) {
    struct connection *c = w->data;
    if (c->closing) return;
    if (status < 0) {
        close_connection(c, false);
        return;
    }
    c->sent += c->chunk;
    if (c->sent >= c->end) {
        finish_reply(c);
    } else {
        uint64_t wait_ms = (uint64_t)c->chunk * 1000 / (uint64_t)c->reply.bytes_per_s;
        uv_timer_start(&c->timer, on_pace, wait_ms, 0);
    }
}

/** Write the next chunk: at a bounded speed, as much as a twentieth of a second holds, at least a
 * byte. */
static void send_chunk(struct connection *c) {
    uv_buf_t bufs[2];
    unsigned n_bufs = 0;
    size_t from = c->sent, to = c->end;
    if (c->sent >= c->end) { /* Cut before the first byte. */
        finish_reply(c);
        return;
    }
    if (c->reply.bytes_per_s > 0) {
        size_t chunk = (size_t)c->reply.bytes_per_s / 20;
        if (chunk == 0) chunk = 1;
        if (to - from > chunk) to = from + chunk;
    }
    c->chunk = to - from;
    if (from < c->head.len) {
        size_t stop = to < c->head.len ? to : c->head.len;
        bufs[n_bufs++] = uv_buf_init(c->head.at + from, (unsigned)(stop - from));
        from = stop;
    }
    if (from < to)
        bufs[n_bufs++] = uv_buf_init(c->body->data + (from - c->head.len), (unsigned)(to - from));
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, n_bufs, on_written) != 0)
        close_connection(c, false);
}

/** Lay out the reply's head and decide where it ends. */
static void compose(struct connection *c, const struct http_request *q) {
    struct reply *r = &c->reply;
    bool is_head = q != NULL && span__is(q->method, "HEAD");
    bool no_body = r->status == 204 || r->status == 304;
    bool gzipped = false;
    time_t now = r->date_ns != 0 ? (time_t)(r->date_ns / SIM_NS_PER_S) : time(NULL);
    struct tm utc;
    char date[64];
    if (r->encoded != NULL) {
        c->body = body__ref(r->encoded);
        gzipped = true;
    } else if (r->body != NULL && r->may_gzip && c->server->gzip_level > 0 && q != NULL &&
               q->accepts_gzip) {
        c->body = body__gzip(r->body, c->server->gzip_level);
        gzipped = true;
    } else if (r->body != NULL) {
        c->body = body__ref(r->body);
    }
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    buf__addf(&c->head, "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: souk-sim\r\n", r->status,
              http__reason(r->status), date);
    if (r->type != NULL && !no_body) buf__addf(&c->head, "Content-Type: %s\r\n", r->type);
    if (gzipped && !no_body)
        buf__adds(&c->head, "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
    if (!no_body)
        buf__addf(&c->head, "Content-Length: %zu\r\n", c->body != NULL ? c->body->len : 0);
    if (r->close || !c->keep_alive) buf__adds(&c->head, "Connection: close\r\n");
    if (r->headers.len > 0) buf__add(&c->head, r->headers.at, r->headers.len);
    buf__adds(&c->head, "\r\n");
    if (is_head || no_body) {
        body__unref(c->body);
        c->body = NULL;
    }
    c->sent = 0;
    c->end = c->head.len + (c->body != NULL ? c->body->len : 0);
    if (r->cut && r->cut_bytes < c->end) c->end = r->cut_bytes;
    else r->cut = false;
}

static void begin_reply(struct connection *c, const struct http_request *q) {
    c->busy = true;
    uv_timer_stop(&c->timer);
    if (c->reply.stall) return; /* The client has to give up; on_read() sees it leave. */
    compose(c, q);
    if (c->reply.delay_ms > 0) uv_timer_start(&c->timer, on_pace, (uint64_t)c->reply.delay_ms, 0);
    else send_chunk(c);
}

static void turn_away(struct connection *c, int status) {
    c->keep_alive = false;
    c->reply.status = status;
    c->reply.close = true;
    c->reply.type = "application/json";
    c->reply.body = body__new("{\"error\":{\"code\":2,\"message\":\"Bad request\"}}", 44);
    begin_reply(c, NULL);
}

static void take_requests(struct connection *c) {
    struct http_request q;
    long used;
    if (c->in_len == 0) return;
    used = http__parse(c->in, c->in_len, &q);
    if (used == 0) return;
    if (used < 0) {
        c->server->n_bad++;
        c->in_len = 0;
        turn_away(c, (int)-used);
        return;
    }
    c->keep_alive = q.keep_alive && !c->turned_away;
    if (c->turned_away) {
        c->reply.status = 503;
        c->reply.close = true;
    } else {
        c->server->handle(c->server->owner, &q, &c->reply);
    }
    begin_reply(c, &q); /* It needs @q, and so the bytes in @c->in, for the last time. */
    /* Whether or not the connection is closing, its memory lives until the close callbacks. */
    memmove(c->in, c->in + used, c->in_len - (size_t)used);
    c->in_len -= (size_t)used;
    start_reading(c);
}

static void on_connection(uv_stream_t *stream, int status) {
    struct server *s = stream->data;
    struct connection *c;
    if (status < 0 || s->closing) return;
    c = calloc(1, sizeof *c);
    if (c == NULL) return;
    c->server = s;
    c->tcp.data = c->timer.data = c->write.data = c;
    uv_timer_init(s->loop, &c->timer);
    uv_tcp_init(s->loop, &c->tcp);
    c->n_open = 2;
    c->next = s->connections;
    c->prev = &s->connections;
    if (c->next != NULL) c->next->prev = &c->next;
    s->connections = c;
    s->n_connections++;
    if (uv_accept(stream, (uv_stream_t *)&c->tcp) != 0) {
        close_connection(c, false);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    if (s->n_connections >
        SERVER_CONNECTIONS_MAX) { /* A 503 tells more than a silent close, but must not add up. */
        s->n_refused++;
        if (s->n_connections > 2 * SERVER_CONNECTIONS_MAX) {
            close_connection(c, true);
            return;
        }
        c->turned_away = true;
    }
    uv_timer_start(&c->timer, on_idle, SERVER_IDLE_MS, 0);
    start_reading(c);
}

int server__init(struct server *s, uv_loop_t *loop, const char *host, int port, struct sim_err *e) {
    struct sockaddr_in addr;
    int rc;
    s->loop = loop;
    s->tcp.data = s;
    if (uv_ip4_addr(host, port, &addr) != 0)
        return sim_err__setf(e, "listen on %s: not an IPv4 address", host);
    if ((rc = uv_tcp_init(loop, &s->tcp)) != 0)
        return sim_err__setf(e, "listen: %s", uv_strerror(rc));
    rc = uv_tcp_bind(&s->tcp, (const struct sockaddr *)&addr, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&s->tcp, 128, on_connection);
    if (rc != 0) {
        uv_close((uv_handle_t *)&s->tcp, NULL);
        return sim_err__setf(e, "listen on %s:%d: %s", host, port, uv_strerror(rc));
    }
    return 0;
}

int server__port(const struct server *s) {
    struct sockaddr_storage addr;
    int n = (int)sizeof addr;
    if (uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&addr, &n) != 0) return -1;
    return ntohs(((const struct sockaddr_in *)&addr)->sin_port);
}

void server__close(struct server *s) {
    struct connection *c, *next;
    if (s->closing) return;
    s->closing = true;
    uv_close((uv_handle_t *)&s->tcp, NULL);
    for (c = s->connections; c != NULL; c = next) {
        next = c->next;
        close_connection(c, false);
    }
}
