/* WebSockets: the handshake, and a writer of our own.
 *
 * h2o's writer copies each message for each client, writes header and payload apart and has no
 * limit. Here frames are shared, wait in a ring, and go out together: a socket with something to
 * send joins a list, which is worked off before the loop polls and again right behind, at most
 * WEB_FLUSH_PER_TURN sockets each time so that other work gets its share. While the list holds
 * anybody the loop does not sleep, whichever phase it is in. What the kernel does not take goes to
 * one uv_write; until that is back the socket is stuck, and its owner decides (the hub closes it
 * with 4008).
 *
 * A socket is never freed below a callback: it is marked dead and freed by the next flush. */
#include "web_internal.h"
#include <openssl/sha.h>
#include <stdlib.h>

#define WRITE_BUFS_MAX 64
#define RING_FEW 4u /* So many frames wait without memory of their own. */
#define RING_MAX ((unsigned)WEB_FRAMES_MAX + 4) /* Some places are kept for pongs and Close. */

struct web_socket {
    struct web *web;
    struct web_conn *conn; /* Owned by h2o's socket. */
    h2o_socket_t *sock;    /* NULL before the handshake is out, and once it is closed. */
    struct web_socket *prev, *next, *next_dirty;
    struct web_socket_events events;
    void *data;
    struct ws_reader reader;
    struct frame *few[RING_FEW], **ring; /* @ring is owned; NULL while @few is the ring. */
    unsigned ring_size, head, n_frames;
    size_t bytes;     /* Of all frames in the ring. */
    size_t head_sent; /* Bytes of the first one that are out already. */
    uv_write_t write;
    unsigned n_in_flight; /* Frames that uv_write holds. */
    bool dirty, opened, closing, dead, peer_closed;
    bool close_sent; /* Nothing goes out behind a Close. */
    int close_code;
    uint64_t n_whole; /* Messages that the reader had seen whole when it was last asked. */
    double pings;
    int64_t pings_mono_ns, heard_mono_ns, pinged_mono_ns, partial_mono_ns, write_mono_ns,
        close_mono_ns;
};

static void on_spin(uv_idle_t *idle) { (void)idle; }

static void mark_dirty(struct web_socket *s) {
    if (s->dirty) return;
    struct web *w = s->web;
    s->dirty = true;
    s->next_dirty = NULL;
    *w->dirty_at = s;
    w->dirty_at = &s->next_dirty;
    uv_idle_start(&w->spin, on_spin); /* No flush may come before the loop next sleeps. */
}

static struct frame *ring_at(const struct web_socket *s, unsigned i) {
    return (s->ring != NULL ? s->ring : s->few)[(s->head + i) % s->ring_size];
}

static bool ring_grow(struct web_socket *s) {
    unsigned size = s->ring_size * 4 < RING_MAX ? s->ring_size * 4 : RING_MAX;
    assert(s->n_frames < size);
    struct frame **ring = malloc(size * sizeof(struct frame *));
    if (ring == NULL) return false;
    for (unsigned i = 0; i < s->n_frames; i++) ring[i] = ring_at(s, i);
    free(s->ring);
    s->ring = ring;
    s->ring_size = size;
    s->head = 0;
    return true;
}

static void ring_clear(struct web_socket *s) {
    assert(s->n_frames == 0);
    free(s->ring);
    s->ring = NULL;
    s->ring_size = RING_FEW;
    s->head = 0;
}

/* @return false without memory. */
static bool ring_push(struct web_socket *s, struct frame *f) {
    if (s->n_frames == s->ring_size && !ring_grow(s)) return false;
    (s->ring != NULL ? s->ring : s->few)[(s->head + s->n_frames) % s->ring_size] = frame__ref(f);
    s->n_frames++;
    s->bytes += f->len;
    s->web->queued_bytes += f->len;
    if (f->is_close) s->close_sent = true;
    mark_dirty(s);
    return true;
}

static void account_gone(struct web_socket *s, struct frame *f) {
    s->bytes -= f->len;
    s->web->queued_bytes -= f->len;
    frame__unref(f);
}

/* Takes @sent bytes off the front of the ring. */
static void ring_pop(struct web_socket *s, size_t sent) {
    series__add(s->web->m_bytes, (double)sent);
    s->head_sent += sent;
    while (s->n_frames > 0 && s->head_sent >= ring_at(s, 0)->len) {
        struct frame *f = ring_at(s, 0);
        s->head_sent -= f->len;
        s->head = (s->head + 1) % s->ring_size;
        s->n_frames--;
        series__inc(s->web->m_frames);
        account_gone(s, f);
    }
    if (s->n_frames == 0) ring_clear(s);
}

/* Drops what has not been started, for a Close that must not wait behind it. */
static void ring_drop(struct web_socket *s) {
    unsigned keep = s->n_in_flight > 0 ? s->n_in_flight : s->head_sent > 0 ? 1 : 0;
    while (s->n_frames > keep) account_gone(s, ring_at(s, --s->n_frames));
}

static void kill_socket(struct web_socket *s, int code) {
    if (s->dead) return;
    s->dead = true;
    if (s->close_code == 0) s->close_code = code;
    ws_reader__stop(&s->reader);
    mark_dirty(s);
}

static void on_written(uv_write_t *write, int status) {
    struct web_socket *s = write->data;
    size_t sent = 0;
    for (unsigned i = 0; i < s->n_in_flight; i++) sent += ring_at(s, i)->len;
    s->n_in_flight = 0;
    if (s->sock == NULL) { /* Closed meanwhile; the reaper waits for us. */
        mark_dirty(s);
        return;
    }
    if (status != 0) {
        kill_socket(s, 1006);
        return;
    }
    ring_pop(s, sent - s->head_sent);
    mark_dirty(s);
    if (!s->closing && !s->dead) s->events.on_drain(s->data);
}

static unsigned gather(const struct web_socket *s, uv_buf_t *bufs) {
    unsigned n = s->n_frames < WRITE_BUFS_MAX ? s->n_frames : WRITE_BUFS_MAX;
    for (unsigned i = 0; i < n; i++) {
        struct frame *f = ring_at(s, i);
        size_t skip = i == 0 ? s->head_sent : 0;
        bufs[i] = uv_buf_init(f->bytes + skip, (unsigned)(f->len - skip));
    }
    return n;
}

/* After an error of the peer: closing with unread bytes would reset the connection and destroy the
 * Close that tells why, so we end our half and read on, for WEB_CLOSE_NS at most. */
static void half_close(struct web_socket *s) {
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&s->conn->tcp, &fd) == 0) shutdown(fd, SHUT_WR);
}

/* Writes what the kernel takes; hands the rest to uv_write. */
static void flush(struct web_socket *s) {
    uv_buf_t bufs[WRITE_BUFS_MAX];
    uv_stream_t *stream = (uv_stream_t *)&s->conn->tcp;
    while (s->n_frames > 0 && s->n_in_flight == 0) {
        unsigned n = gather(s, bufs);
        int sent = uv_try_write(stream, bufs, n);
        if (sent >= 0) {
            ring_pop(s, (size_t)sent);
            continue;
        }
        if (sent != UV_EAGAIN) {
            kill_socket(s, 1006);
            return;
        }
        s->write.data = s;
        s->write_mono_ns = s->web->clock->mono_ns;
        s->n_in_flight = n;
        if (uv_write(&s->write, stream, bufs, n, on_written) != 0) {
            s->n_in_flight = 0;
            kill_socket(s, 1006);
            return;
        }
    }
    if (s->n_frames > 0) return;
    /* After Close is out and the peer's has come (or never will), the connection has no use. */
    if (s->close_sent && s->peer_closed) kill_socket(s, 1006);
    else if (s->close_sent && s->reader.stopped) half_close(s);
    else if (!s->closing) s->events.on_drain(s->data);
}

static void reap(struct web_socket *s) {
    struct web *w = s->web;
    if (s->sock != NULL) {
        h2o_socket_t *sock = s->sock;
        s->sock = NULL;
        h2o_socket_close(sock); /* A write in flight still calls back. */
    }
    if (s->n_in_flight > 0) return;
    if (s->prev != NULL) s->prev->next = s->next;
    else w->sockets = s->next;
    if (s->next != NULL) s->next->prev = s->prev;
    w->n_sockets--;
    while (s->n_frames > 0) account_gone(s, ring_at(s, --s->n_frames));
    ring_clear(s);
    ws_reader__fini(&s->reader);
    s->events.on_closed(s->data, s->close_code);
    free(s);
}

void web__flush_sockets(struct web *w) {
    struct web_socket *todo = w->dirty, **rest_at = w->dirty_at;
    w->dirty = NULL; /* Who has more to send after its turn joins the new list. */
    w->dirty_at = &w->dirty;
    for (int n = 0; todo != NULL && n < WEB_FLUSH_PER_TURN; n++) {
        struct web_socket *s = todo;
        todo = s->next_dirty;
        s->dirty = false;
        if (s->dead) reap(s);
        else flush(s);
    }
    if (todo != NULL) { /* The rest comes first in the next turn. */
        *rest_at = w->dirty;
        if (w->dirty == NULL) w->dirty_at = rest_at;
        w->dirty = todo;
    }
    if (w->dirty != NULL) return;
    uv_idle_stop(&w->spin);
    if (w->on_flushed != NULL) w->on_flushed(w->flushed_data);
}

static void on_text(void *data, struct slice text) {
    struct web_socket *s = data;
    if (!s->closing) s->events.on_text(s->data, text);
}

static void on_ping(void *data, struct slice payload) {
    struct web_socket *s = data;
    int64_t now_ns = s->web->clock->mono_ns;
    s->pings += (double)(now_ns - s->pings_mono_ns) / (double)NS_PER_S * WEB_PINGS_PER_S;
    if (s->pings > WEB_PINGS_BURST) s->pings = WEB_PINGS_BURST;
    s->pings_mono_ns = now_ns;
    s->pings -= 1;
    if (s->pings < 0) {
        web_socket__close(s, 1008, "too many pings");
        return;
    }
    if (s->closing || s->n_frames >= WEB_FRAMES_MAX + 2) return;
    struct frame *pong = frame__new(FRAME_PONG, payload);
    if (pong != NULL) (void)ring_push(s, pong); /* Without memory the peer asks again. */
    frame__unref(pong);
}

static void on_close(void *data, int code) {
    struct web_socket *s = data;
    s->peer_closed = true;
    if (s->close_code == 0) s->close_code = code;
    if (s->close_sent) { /* The answer to ours. */
        mark_dirty(s);
        return;
    }
    web_socket__close(s, code == 1005 ? 1000 : code, "");
}

static const struct ws_reader_events reader_events = {on_text, on_ping, on_close};

static void read_input(struct web_socket *s) {
    if (s->dead) return;
    h2o_buffer_t **input = &s->sock->input;
    struct slice bytes = slice__of((*input)->bytes, (*input)->size);
    if (bytes.len == 0) return;
    s->heard_mono_ns = s->web->clock->mono_ns;
    int code = ws_reader__feed(&s->reader, bytes, &reader_events, s);
    h2o_buffer_consume(input, bytes.len);
    /* The deadline is that of one message: it starts anew behind each that became whole. */
    bool anew = s->partial_mono_ns == 0 || s->reader.n_whole != s->n_whole;
    s->n_whole = s->reader.n_whole;
    s->partial_mono_ns = !ws_reader__is_partial(&s->reader) ? 0
                         : anew                             ? s->heard_mono_ns
                                                            : s->partial_mono_ns;
    if (code != 0) web_socket__close(s, code, "protocol violation");
}

static void on_read(h2o_socket_t *sock, const char *err) {
    struct web_socket *s = sock->data;
    if (s->dead) return;
    if (err != NULL) kill_socket(s, 1006);
    else read_input(s);
}

static void on_upgraded(void *data, h2o_socket_t *sock, size_t n_request) {
    struct web_socket *s = data;
    if (sock == NULL) { /* The 101 did not go out; h2o closes the connection. */
        kill_socket(s, 1006);
        return;
    }
    h2o_buffer_consume(&sock->input, n_request);
    s->sock = sock;
    s->conn = conn_of(sock);
    s->conn->kind = WEB_CONN_SOCKET;
    web_guard__note_input(s->conn, 0); /* From here on all is read at once. */
    sock->data = s;
    s->opened = true;
    s->heard_mono_ns = s->pinged_mono_ns = s->web->clock->mono_ns;
    h2o_socket_read_start(sock, on_read);
    if (s->closing) { /* The server began to close while the handshake was under way. */
        s->closing = false;
        web_socket__close(s, 1001, "shutdown");
        return;
    }
    s->events.on_open(s->data, s);
    read_input(s); /* Frames that came with the handshake. */
}

bool web_request__is_upgrade(const struct web_request *r) {
    return r->req->upgrade.base != NULL || web_request__header(r, "sec-websocket-key").len > 0;
}

static bool offers(struct slice list, const char *protocol) {
    while (list.len > 0) {
        const char *comma = memchr(list.base, ',', list.len);
        size_t n = comma == NULL ? list.len : (size_t)(comma - list.base);
        if (slice__eq(slice__trim(slice__of(list.base, n)), slice__str(protocol))) return true;
        list = slice__of(list.base + n + (comma != NULL), list.len - n - (comma != NULL));
    }
    return false;
}

static bool is_key(struct slice key) { /* 16 bytes in base64. */
    if (key.len != 24 || memcmp(key.base + 22, "==", 2) != 0) return false;
    for (size_t i = 0; i < 22; i++) {
        char c = key.base[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

static void accept_key(struct slice key, char out[32]) {
    unsigned char text[24 + 36], digest[SHA_DIGEST_LENGTH];
    memcpy(text, key.base, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    SHA1(text, sizeof text, digest);
    h2o_base64_encode(out, digest, sizeof digest, 0);
    out[28] = '\0';
}

/* @return false when the request was answered with why not. */
static bool may_upgrade(struct web_request *r, const char *protocol, struct slice *key) {
    struct web *w = r->web;
    if (!slice__eq(web_request__header(r, "sec-websocket-version"), SLICE_LIT("13"))) {
        web_request__set_header(r, "sec-websocket-version", SLICE_LIT("13"));
        web_request__error(r, 426, "unsupported_version", "WebSocket version 13 is what we speak");
        return false;
    }
    *key = web_request__header(r, "sec-websocket-key");
    struct slice upgrade = slice__of(r->req->upgrade.base, r->req->upgrade.len);
    if (!slice__ieq(upgrade, SLICE_LIT("websocket")) || !is_key(*key)) {
        web_request__error(r, 400, "bad_request", "not a WebSocket handshake");
        return false;
    }
    if (!offers(web_request__header(r, "sec-websocket-protocol"), protocol)) {
        web_request__error(r, 400, "bad_request", "the subprotocol must be alerts.v1");
        return false;
    }
    if (w->n_sockets >= w->clients_max || !web__may_handshake(w, r->conn->peer)) {
        web__refused(w, w->n_sockets >= w->clients_max ? WEB_REFUSED_CAP : WEB_REFUSED_PACE);
        web_request__set_header(r, "retry-after", SLICE_LIT("1"));
        web_request__error(r, 503, "unavailable", "too many connections");
        return false;
    }
    return true;
}

void web_request__upgrade(struct web_request *r, const char *protocol,
                          const struct web_socket_events *events, void *data) {
    struct web *w = r->web;
    struct slice key;
    if (!may_upgrade(r, protocol, &key)) {
        events->on_closed(data, 0);
        return;
    }
    struct web_socket *s = calloc(1, sizeof *s);
    if (s == NULL) {
        web_request__error(r, 503, "unavailable", "out of memory");
        events->on_closed(data, 0);
        return;
    }
    ws_reader__init(&s->reader, WEB_MESSAGE_MAX);
    s->ring_size = RING_FEW;
    s->web = w;
    s->conn = r->conn;
    s->events = *events;
    s->data = data;
    s->pings = WEB_PINGS_BURST;
    s->pings_mono_ns = w->clock->mono_ns;
    s->next = w->sockets;
    if (s->next != NULL) s->next->prev = s;
    w->sockets = s;
    w->n_sockets++;
    char accept[32];
    accept_key(key, accept);
    r->answered = true;
    r->req->res.status = 101;
    r->req->res.reason = "Switching Protocols";
    web_request__set_header(r, "upgrade", SLICE_LIT("websocket"));
    web_request__set_header(r, "sec-websocket-accept", slice__str(accept));
    web_request__set_header(r, "sec-websocket-protocol", slice__str(protocol));
    series__inc(w->m_requests[1]);
    h2o_http1_upgrade(r->req, NULL, 0, on_upgraded, s);
}

size_t web_socket__queued_bytes(const struct web_socket *s) { return s->bytes; }

bool web_socket__is_stuck(const struct web_socket *s) { return s->n_in_flight > 0; }

bool web_socket__has_room(const struct web_socket *s, size_t len) {
    /* An empty queue takes any frame, so that a large one cannot wait for ever. */
    return !s->closing && !s->dead && s->n_frames < WEB_FRAMES_MAX &&
           (s->n_frames == 0 || s->bytes + len <= WEB_QUEUE_BYTES_MAX);
}

struct web_socket *web__largest_socket(struct web *w) {
    struct web_socket *most = NULL;
    for (struct web_socket *s = w->sockets; s != NULL; s = s->next)
        if (!s->closing && !s->dead && (most == NULL || s->bytes > most->bytes)) most = s;
    return most;
}

bool web_socket__send(struct web_socket *s, struct frame *frame) {
    if (!web_socket__has_room(s, frame->len) || !ring_push(s, frame)) return false;
    if (s->web->queued_bytes > s->web->queued_bytes_max) web__shed(s->web);
    return true;
}

void web_socket__close(struct web_socket *s, int code, const char *reason) {
    if (s->closing || s->dead) return;
    s->closing = true;
    s->close_mono_ns = s->web->clock->mono_ns;
    if (s->close_code == 0) s->close_code = code;
    if (!s->opened) return; /* on_upgraded goes on. */
    if (code == 4008) ring_drop(s);
    struct frame *f = frame__close(code, reason);
    if (f == NULL || !ring_push(s, f)) kill_socket(s, 1006);
    frame__unref(f);
}

static void sweep_socket(struct web_socket *s, int64_t now_ns) {
    if (!s->opened || s->dead) return;
    bool late_close = s->closing && now_ns - s->close_mono_ns > WEB_CLOSE_NS;
    bool late_write = s->n_in_flight > 0 && now_ns - s->write_mono_ns > WEB_WRITE_NS;
    if (late_close || late_write || now_ns - s->heard_mono_ns > WEB_SILENCE_NS) {
        web_conn__cut(s->conn);
        kill_socket(s, 1006);
        return;
    }
    if (s->closing) return;
    if (s->partial_mono_ns != 0 && now_ns - s->partial_mono_ns > WEB_PARTIAL_NS) {
        web_socket__close(s, 1008, "a message took too long");
        return;
    }
    if (now_ns - s->pinged_mono_ns < WEB_PING_NS) return;
    s->pinged_mono_ns = now_ns;
    struct frame *ping = frame__new(FRAME_PING, (struct slice){0});
    if (ping != NULL && s->n_frames < WEB_FRAMES_MAX) (void)ring_push(s, ping);
    frame__unref(ping);
}

void web__sweep_sockets(struct web *w) {
    for (struct web_socket *s = w->sockets; s != NULL; s = s->next)
        sweep_socket(s, w->clock->mono_ns);
}

void web__close_sockets(struct web *w) {
    for (struct web_socket *s = w->sockets; s != NULL; s = s->next)
        web_socket__close(s, 1001, "shutdown");
}
