/* Server-sent events: a chunked response that lasts.
 *
 * h2o allows one write in flight, told by proceed; what comes meanwhile is queued here. It does not
 * read during a response, so a peer that left is noticed at the next write: owners write a
 * comment every few seconds. The state lives outside the request's pool, because h2o may free that
 * under us in the last send. */
#include "web_internal.h"
#include <stdlib.h>

#define KEPT_BYTES ((size_t)4 << 10)

struct web_stream {
    h2o_generator_t super; /* First: h2o hands it back. */
    struct web *web;
    struct web_conn *conn;
    h2o_req_t *req;
    struct web_stream *prev, *next;
    struct web_stream_events events;
    void *data;
    struct buf queue, in_flight;
    bool busy, ending, ended;
    bool in_drain; /* on_drain is on the stack: sending waits until it is back. */
    int64_t sent_mono_ns;
};

static void stream_free(struct web_stream *s) {
    struct web *w = s->web;
    if (s->prev != NULL) s->prev->next = s->next;
    else w->streams = s->next;
    if (s->next != NULL) s->next->prev = s->prev;
    w->n_streams--;
    w->queued_bytes -= s->queue.len + s->in_flight.len;
    struct web_stream_events events = s->events;
    void *data = s->data;
    buf__fini(&s->queue);
    buf__fini(&s->in_flight);
    free(s);
    events.on_closed(data);
}

static void pump(struct web_stream *s) {
    if (s->busy || s->in_drain || s->ended || (s->queue.len == 0 && !s->ending)) return;
    struct buf swap = s->in_flight;
    s->in_flight = s->queue;
    s->queue = swap;
    buf__clear(&s->queue);
    s->busy = true;
    s->ended = s->ending;
    s->sent_mono_ns = s->web->clock->mono_ns;
    h2o_iovec_t bytes = h2o_iovec_init(s->in_flight.base, s->in_flight.len);
    h2o_send(s->req, &bytes, bytes.len > 0 ? 1 : 0,
             s->ended ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
    /* Nothing may be touched here: the last send can free the request. */
}

static void on_proceed(h2o_generator_t *self, h2o_req_t *req) {
    (void)req;
    struct web_stream *s = (struct web_stream *)self;
    s->busy = false;
    s->web->queued_bytes -= s->in_flight.len;
    /* What a burst needed is not kept for every client. */
    if (s->in_flight.cap > KEPT_BYTES) buf__fini(&s->in_flight);
    else buf__clear(&s->in_flight);
    s->in_drain = true;
    if (!s->ending) s->events.on_drain(s->data);
    s->in_drain = false;
    pump(s);
}

static void on_stop(h2o_generator_t *self, h2o_req_t *req) {
    (void)req;
    struct web_stream *s = (struct web_stream *)self;
    s->ended = true; /* Freed when the request's pool goes, right behind this. */
}

static void on_pool_gone(void *p) { stream_free(*(struct web_stream **)p); }

struct web_stream *web_request__stream(struct web_request *r, const char *type,
                                       const struct web_stream_events *events, void *data) {
    struct web *w = r->web;
    if (slice__eq(web_request__method(r), SLICE_LIT("HEAD"))) {
        web_request__respond(r, 200, type, (struct slice){0}, true);
        return NULL;
    }
    /* What is pipelined behind an answer without an end would be kept as long. */
    bool follows = r->conn->input_bytes > WEB_HEAD_MAX;
    struct web_stream *s = w->n_streams < w->clients_max && !follows ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        web__refused(w, follows ? WEB_REFUSED_PIPELINE : WEB_REFUSED_CAP);
        r->req->http1_is_persistent = 0;
        web_request__set_header(r, "retry-after", SLICE_LIT("5"));
        web_request__error(r, 503, "unavailable", "too many streams");
        return NULL;
    }
    *s = (struct web_stream){.super = {on_proceed, on_stop},
                             .web = w,
                             .conn = r->conn,
                             .req = r->req,
                             .events = *events,
                             .data = data,
                             .queue = buf__init(WEB_QUEUE_BYTES_MAX),
                             .in_flight = buf__init(WEB_QUEUE_BYTES_MAX),
                             .next = w->streams,
                             .sent_mono_ns = w->clock->mono_ns};
    if (s->next != NULL) s->next->prev = s;
    w->streams = s;
    w->n_streams++;
    struct web_stream **slot = h2o_mem_alloc_shared(&r->req->pool, sizeof(void *), on_pool_gone);
    *slot = s;
    r->answered = true;
    r->conn->kind = WEB_CONN_STREAM;
    r->req->http1_is_persistent = 0;
    r->req->res.status = 200;
    r->req->res.reason = "OK";
    web_request__set_header(r, "content-type", slice__str(type));
    web_request__set_header(r, "cache-control", SLICE_LIT("no-store"));
    web_request__set_header(r, "x-content-type-options", SLICE_LIT("nosniff"));
    series__inc(w->m_requests[2]);
    h2o_start_response(r->req, &s->super);
    return s;
}

bool web_stream__write(struct web_stream *s, struct slice bytes) {
    if (s->ending || s->ended || s->queue.len + bytes.len > WEB_QUEUE_BYTES_MAX) return false;
    if (!buf__append_slice(&s->queue, bytes)) return false;
    struct web *w = s->web;
    w->queued_bytes += bytes.len;
    pump(s);
    if (w->queued_bytes > w->queued_bytes_max) web__shed(w);
    return true;
}

size_t web_stream__queued_bytes(const struct web_stream *s) { return s->queue.len; }

size_t web_stream__held_bytes(const struct web_stream *s) {
    return s->queue.len + s->in_flight.len;
}

struct web_stream *web__largest_stream(struct web *w) {
    struct web_stream *most = NULL;
    for (struct web_stream *s = w->streams; s != NULL; s = s->next)
        if (!s->ending && !s->ended &&
            (most == NULL || web_stream__held_bytes(s) > web_stream__held_bytes(most)))
            most = s;
    return most;
}

void web_stream__cut(struct web_stream *s) {
    s->web->queued_bytes -= s->queue.len;
    buf__fini(&s->queue);
    s->ending = true;
    web_conn__cut(s->conn); /* h2o hears of it from the write that is under way. */
    pump(s);
}

void web_stream__end(struct web_stream *s) {
    if (s->ending) return;
    s->ending = true;
    pump(s);
}

void web__sweep_streams(struct web *w) {
    for (struct web_stream *s = w->streams; s != NULL; s = s->next)
        if (s->busy && w->clock->mono_ns - s->sent_mono_ns > WEB_WRITE_NS) web_conn__cut(s->conn);
}

void web__close_streams(struct web *w) {
    for (struct web_stream *s = w->streams, *next; s != NULL; s = next) {
        next = s->next;
        web_stream__end(s);
    }
}
