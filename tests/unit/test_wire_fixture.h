/* A loop that a server and its raw TCP clients share: what goes over the wire is written down byte
 * by byte. The clock is set by hand, a millisecond a turn; the number of turns is bounded. */
#ifndef TEST_WIRE_FIXTURE_H
#define TEST_WIRE_FIXTURE_H

#include "../lib/moved.h"
#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/metric.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include <cmocka.h>
#include <malloc.h>
#include <poll.h>

#define TURNS_MAX 400 /* A turn waits for something to happen, or for a timer of the server. */
#define PEERS_MAX 8
#define PEER_BYTES_MAX ((size_t)8 << 20)

/* The key and its answer that RFC 6455, 1.3 gives. */
#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define WS_UPGRADE(path, version, more)                                                            \
    "GET " path " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"    \
    "Sec-WebSocket-Version: " version "\r\nSec-WebSocket-Key: " WS_KEY "\r\n"                      \
    "Sec-WebSocket-Protocol: alerts.v1\r\n" more "\r\n"

/* A client. What it has been sent waits in @in until it is taken. */
struct peer {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct buf in;
    int connect_status;
    bool connected, ended; /* Told of the connection; of its end. */
    char chunk[65536];
};

struct wire {
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct peer *peers[PEERS_MAX]; /* Owned. */
    size_t n_peers;
    int n_closed; /* Servers that told so. */
};

static inline void wire__init(struct wire *w) {
    *w = (struct wire){.clock = {.mono_ns = NS_PER_S, .wall_ns = 1700000000 * NS_PER_S}};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(metrics__init(&w->metrics), 0);
}

static inline void turn(struct wire *w) {
    w->clock.mono_ns += NS_PER_MS;
    w->clock.wall_ns += NS_PER_MS;
    uv_run(&w->loop, UV_RUN_ONCE);
}

/* As souk turns its loop: whatever is left to an earlier phase of the next turn sleeps first. */
static inline void turn_as_souk(struct wire *w) {
    struct pollfd fd = {.fd = uv_backend_fd(&w->loop), .events = POLLIN};
    poll(&fd, 1, uv_backend_timeout(&w->loop));
    w->clock.mono_ns += NS_PER_MS;
    w->clock.wall_ns += NS_PER_MS;
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

#define UNTIL(wire, condition)                                                                     \
    for (int turns = 0; !(condition); turn(wire)) assert_true(turns++ < TURNS_MAX)

static inline void on_server_closed(void *wire) { ((struct wire *)wire)->n_closed++; }

/* --- Clients --- */

static inline void on_peer_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out) {
    struct peer *p = handle->data;
    (void)size;
    *out = uv_buf_init(p->chunk, sizeof p->chunk);
}
static inline void on_peer_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes) {
    struct peer *p = stream->data;
    if (n < 0) {
        p->ended = true;
        uv_read_stop(stream);
        return;
    }
    assert_true(buf__append(&p->in, bytes->base, (size_t)n));
}
static inline void peer__read(struct peer *p) {
    assert_int_equal(uv_read_start((uv_stream_t *)&p->tcp, on_peer_alloc, on_peer_read), 0);
}
static inline void on_peer_connect(uv_connect_t *connect, int status) {
    struct peer *p = connect->data;
    p->connected = true;
    p->connect_status = status;
}

/* Connects to 127.0.0.1; connect_status says how it went. */
static inline struct peer *peer__new(struct wire *w, uint16_t port) {
    struct sockaddr_in at;
    assert_true(w->n_peers < PEERS_MAX);
    struct peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    w->peers[w->n_peers++] = p;
    p->in = buf__init(PEER_BYTES_MAX);
    assert_int_equal(uv_tcp_init(&w->loop, &p->tcp), 0);
    p->tcp.data = p->connect.data = p;
    assert_int_equal(uv_ip4_addr("127.0.0.1", port, &at), 0);
    assert_int_equal(
        uv_tcp_connect(&p->connect, &p->tcp, (const struct sockaddr *)&at, on_peer_connect), 0);
    UNTIL(w, p->connected);
    if (p->connect_status == 0) peer__read(p);
    return p;
}

static inline void on_peer_closed(uv_handle_t *handle) {
    struct peer *p = handle->data;
    buf__fini(&p->in);
    free(p);
}
/* Ends the connection, and @p. */
static inline void peer__close(struct wire *w, struct peer *p) {
    for (size_t i = 0; i < w->n_peers; i++)
        if (w->peers[i] == p) w->peers[i] = w->peers[--w->n_peers];
    uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

/* Once the server is closed: ends all and checks that nothing is left on the loop. */
static inline void wire__fini(struct wire *w) {
    int n_closed = w->n_closed;
    while (w->n_peers > 0) peer__close(w, w->peers[0]);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(w->n_closed, n_closed);
    moved__write(&w->metrics);
    metrics__fini(&w->metrics);
}

/* Hands @bytes to the kernel. @return how many of them it took. */
static inline size_t peer__push(struct peer *p, struct slice bytes) {
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes.base, (unsigned)bytes.len);
    int n = uv_try_write((uv_stream_t *)&p->tcp, &buf, 1);
    if (n == UV_EAGAIN) return 0;
    assert_true(n > 0);
    return (size_t)n;
}
static inline void peer__say(struct wire *w, struct peer *p, struct slice bytes) {
    size_t done = 0;
    UNTIL(w, (done += peer__push(p, slice__of(bytes.base + done, bytes.len - done))) == bytes.len);
}

static inline bool peer__has(const struct peer *p, const char *text) {
    return p->in.len > 0 && memmem(p->in.base, p->in.len, text, strlen(text)) != NULL;
}
static inline size_t peer__count(const struct peer *p, const char *text) {
    size_t n = 0, len = strlen(text);
    for (size_t i = 0; i + len <= p->in.len; i++) n += memcmp(p->in.base + i, text, len) == 0;
    return n;
}

/* How much the process holds: of ASan's heap, or of glibc's. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
static inline size_t heap_bytes(void) {
    if (__sanitizer_get_current_allocated_bytes != NULL)
        return __sanitizer_get_current_allocated_bytes();
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* --- HTTP --- */

/* @return where the body of the first answer starts, 0 when its head is not whole. */
static inline size_t peer__body_at(const struct peer *p) {
    const char *end = p->in.len == 0 ? NULL : memmem(p->in.base, p->in.len, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - p->in.base) + 4;
}
/* @return the value of the first answer's header, empty when there is none. */
static inline struct slice peer__header(const struct peer *p, const char *name) {
    const char *at = p->in.base, *end = at + peer__body_at(p);
    while (at < end) {
        const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
        const char *colon = memchr(at, ':', (size_t)(stop - at));
        if (colon != NULL && slice__ieq(slice__of(at, (size_t)(colon - at)), slice__str(name)))
            return slice__trim(slice__of(colon + 1, (size_t)(stop - colon - 1)));
        at = stop + 2;
    }
    return (struct slice){0};
}
static inline int64_t peer__length(const struct peer *p) {
    int64_t n = 0;
    struct slice text = peer__header(p, "content-length");
    return text.len > 0 && slice__int64(text, &n) ? n : 0;
}
static inline struct slice peer__body(const struct peer *p) {
    size_t at = peer__body_at(p);
    return slice__of(p->in.base + at, p->in.len - at);
}

/* Sends a request on a fresh buffer and waits for the whole answer. @return its status. */
static inline int peer__ask(struct wire *w, struct peer *p, const char *request) {
    buf__clear(&p->in);
    peer__say(w, p, slice__str(request));
    bool head = strncmp(request, "HEAD ", 5) == 0;
    UNTIL(w, p->ended || peer__body_at(p) > 0);
    assert_true(peer__body_at(p) > 0);
    int64_t body_bytes = head ? 0 : peer__length(p);
    UNTIL(w, p->ended || (int64_t)peer__body(p).len >= body_bytes);
    assert_int_equal(peer__body(p).len, body_bytes);
    int64_t status; /* What came in is not terminated. */
    assert_true(p->in.len >= 12);
    assert_true(slice__int64(slice__of(p->in.base + sizeof "HTTP/1.1", 3), &status));
    return (int)status;
}

static inline void assert_header(const struct peer *p, const char *name, const char *want) {
    struct slice got = peer__header(p, name);
    if (!slice__eq(got, slice__str(want)))
        fail_msg("%s is \"%.*s\", not \"%s\"", name, SLICE_FMT(got), want);
}
static inline void assert_body(const struct peer *p, const char *want) {
    struct slice got = peer__body(p);
    if (!slice__eq(got, slice__str(want)))
        fail_msg("the body is \"%.*s\", not \"%s\"", SLICE_FMT(got), want);
}
/* The answer is {"error":{"code":@code,…}}. */
static inline void assert_error(const struct peer *p, const char *code) {
    char want[80];
    int n = snprintf(want, sizeof want, "{\"error\":{\"code\":\"%s\",\"msg\":\"", code);
    assert_header(p, "content-type", "application/json");
    struct slice got = peer__body(p);
    if (!slice__starts(got, slice__of(want, (size_t)n)))
        fail_msg("the body is \"%.*s\", not an error \"%s\"", SLICE_FMT(got), code);
}

/* --- WebSocket (RFC 6455, 5.2) --- */

/* Sends one whole frame of at most 65,535 bytes, masked with zeroes. */
static inline void peer__frame(struct wire *w, struct peer *p, int opcode, struct slice payload) {
    struct buf out = buf__init(80 << 10);
    buf__u8(&out, (uint8_t)(0x80 | opcode));
    if (payload.len < 126) {
        buf__u8(&out, (uint8_t)(0x80 | payload.len));
    } else {
        buf__u8(&out, 0x80 | 126);
        buf__u8(&out, (uint8_t)(payload.len >> 8));
        buf__u8(&out, (uint8_t)payload.len);
    }
    buf__u32(&out, 0);
    buf__append_slice(&out, payload);
    assert_false(out.failed);
    peer__say(w, p, buf__slice(&out));
    buf__fini(&out);
}

/* Finds the first whole frame of @opcode behind the handshake's answer. */
static inline bool peer__find(const struct peer *p, int opcode, struct slice *payload) {
    size_t at = peer__body_at(p);
    const unsigned char *b = (const unsigned char *)p->in.base;
    while (at > 0 && at + 2 <= p->in.len) {
        size_t len = b[at + 1], head = len == 126 ? 4 : len == 127 ? 10 : 2;
        assert_true(len <= 127); /* A server does not mask. */
        if (at + head > p->in.len) return false;
        if (head > 2) len = 0;
        for (size_t i = 2; i < head; i++) len = len << 8 | b[at + i];
        if (at + head + len > p->in.len) return false;
        *payload = slice__of(p->in.base + at + head, len);
        if ((b[at] & 0xF) == opcode) return true;
        at += head + len;
    }
    return false;
}

/* @return the code of the Close that has come, 0 for none. */
static inline int peer__close_code(const struct peer *p) {
    struct slice s;
    if (!peer__find(p, 0x8, &s)) return 0;
    assert_true(s.len >= 2);
    return (unsigned char)s.base[0] << 8 | (unsigned char)s.base[1];
}

#endif
