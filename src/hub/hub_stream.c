/* The alert stream over WebSocket and over server-sent events: both put a session on a wire. */
#include "hub_internal.h"
#include <inttypes.h>
#include <stdlib.h>

/* --- WebSocket --- */

struct ws_client {
    struct session session;
    struct web_socket *socket; /* NULL before the handshake is out. */
};

static bool ws_send(void *ctx, struct frame *frame, uint64_t off) {
    struct ws_client *c = ctx;
    (void)off;
    return c->socket != NULL && web_socket__send(c->socket, frame);
}
static bool ws_has_room(void *ctx, size_t len) {
    struct ws_client *c = ctx;
    return c->socket != NULL && web_socket__has_room(c->socket, len);
}
static bool ws_is_stuck(void *ctx) {
    struct ws_client *c = ctx;
    return c->socket != NULL && web_socket__is_stuck(c->socket);
}
static void ws_close(void *ctx, int code, const char *reason) {
    struct ws_client *c = ctx;
    if (c->socket != NULL) web_socket__close(c->socket, code, reason);
}
static const struct session_io ws_io = {ws_send, ws_has_room, ws_is_stuck, ws_close};

static void on_ws_open(void *data, struct web_socket *s) {
    struct ws_client *c = data;
    c->socket = s;
    if (c->session.state == SESSION_DONE) /* Its token went while the handshake was under way. */
        web_socket__close(s, 4401, "the token is no longer good");
}
static void on_ws_text(void *data, struct slice text) {
    struct ws_client *c = data;
    session__on_text(&c->session, text);
}
static void on_ws_drain(void *data) {
    struct ws_client *c = data;
    session__pump(&c->session);
}
static void on_ws_closed(void *data, int code) {
    struct ws_client *c = data;
    session__fini(&c->session, code);
    free(c);
}

static void get_ws(void *data, struct web_request *r) {
    static const struct web_socket_events events = {on_ws_open, on_ws_text, on_ws_drain,
                                                    on_ws_closed};
    struct hub *h = data;
    struct principal who;
    if (!hub__identify(h, r, &who)) return;
    /* A page may bring a ticket in hello; a program has no excuse for coming without a token. */
    if (!who.read && web_request__header(r, "origin").len == 0) {
        web_request__set_header(r, "www-authenticate", SLICE_LIT("Bearer"));
        web_request__error(r, 401, "unauthenticated", "a bearer token is needed");
        return;
    }
    if (!web_request__is_upgrade(r)) {
        web_request__set_header(r, "upgrade", SLICE_LIT("websocket"));
        web_request__error(r, 426, "upgrade_required", "this is a WebSocket endpoint");
        return;
    }
    struct ws_client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        web_request__error(r, 503, "unavailable", "out of memory");
        return;
    }
    session__open(&c->session, &h->sessions, &who, &ws_io, c);
    web_request__upgrade(r, "alerts.v1", &events, c);
}

/* --- Server-sent events --- */

struct sse_client {
    struct session session;
    struct hub *hub;
    struct web_stream *stream; /* NULL once it has ended. */
};

static bool sse_send(void *ctx, struct frame *frame, uint64_t off) {
    struct sse_client *c = ctx;
    struct slice json = frame__payload(frame);
    if (c->stream == NULL) return false;
    struct buf text = buf__init(WEB_QUEUE_BYTES_MAX);
    if (slice__starts(json, SLICE_LIT("{\"t\":\"hb\""))) buf__append_str(&text, ": hb\n");
    if (off > 0) buf__printf(&text, "id: %s:%" PRIu64 "\n", alerts__epoch(c->hub->alerts), off);
    buf__append_str(&text, "data: ");
    buf__append_slice(&text, json);
    buf__append_str(&text, "\n\n");
    bool ok = !text.failed && web_stream__write(c->stream, buf__slice(&text));
    buf__fini(&text);
    return ok;
}
static bool sse_has_room(void *ctx, size_t len) {
    struct sse_client *c = ctx;
    return c->stream != NULL &&
           web_stream__queued_bytes(c->stream) + len + 128 <= WEB_QUEUE_BYTES_MAX;
}
static bool sse_is_stuck(void *ctx) {
    struct sse_client *c = ctx;
    return c->stream != NULL && web_stream__queued_bytes(c->stream) > 0;
}
static void sse_close(void *ctx, int code, const char *reason) {
    struct sse_client *c = ctx;
    (void)code;
    (void)reason; /* The client reconnects with its last id. */
    if (c->stream != NULL) web_stream__end(c->stream);
}
static const struct session_io sse_io = {sse_send, sse_has_room, sse_is_stuck, sse_close};

static void on_sse_drain(void *data) {
    struct sse_client *c = data;
    session__pump(&c->session);
}
static void on_sse_closed(void *data) {
    struct sse_client *c = data;
    c->stream = NULL;
    session__fini(&c->session, 1000);
    free(c);
}

static void get_sse(void *data, struct web_request *r) {
    static const struct web_stream_events events = {on_sse_drain, on_sse_closed};
    struct hub *h = data;
    struct principal who;
    char since[64] = "";
    if (!hub__authorize(h, r, false, &who)) return;
    struct slice last = web_request__header(r, "last-event-id");
    if (last.len > 0 && last.len < sizeof since) memcpy(since, last.base, last.len);
    else if (web_request__query(r, "since", since, sizeof since) < 0) since[0] = '\0';
    struct sse_client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        web_request__error(r, 503, "unavailable", "out of memory");
        return;
    }
    c->hub = h;
    c->stream = web_request__stream(r, "text/event-stream", &events, c);
    if (c->stream == NULL) {
        free(c);
        return;
    }
    session__open(&c->session, &h->sessions, &who, &sse_io, c);
    web_stream__write(c->stream, SLICE_LIT("retry: 1000\n\n"));
    const char *colon = strchr(since, ':');
    int64_t off = -1;
    bool good = colon != NULL && slice__int64(slice__str(colon + 1), &off) && off >= 0;
    session__start(&c->session, slice__of(since, good ? (size_t)(colon - since) : 0),
                   good ? (uint64_t)off : 0, good);
}

void hub__route_stream(struct hub *h) {
    web__route(h->web, "GET", "/ws/alerts", get_ws, h);
    web__route(h->web, "GET", "/ws", get_ws, h);
    web__route(h->web, "GET", "/sse/alerts", get_sse, h);
    web__route(h->web, "GET", "/sse", get_sse, h);
}
