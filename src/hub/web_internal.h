/* What the files of the web server share. Nobody else includes it. */
#ifndef SOUK_HUB_WEB_INTERNAL_H
#define SOUK_HUB_WEB_INTERNAL_H

#include "frame.h"
#include "souk/core/log.h"
#include "souk/web.h"
#include "ws_reader.h"
#include <h2o.h>
#include <h2o/http1.h>

#define WEB_ROUTES_MAX 48
#define WEB_HOSTS_MAX 16
#define WEB_PEERS_MAX 256           /* Addresses whose handshakes are counted. */
#define WEB_GRACE_NS (5 * NS_PER_S) /* Of web__close. */
#define WEB_CLOSE_NS (2 * NS_PER_S) /* For a close handshake. */
#define WEB_PING_NS (20 * NS_PER_S)
#define WEB_SILENCE_NS (45 * NS_PER_S)
#define WEB_PARTIAL_NS (5 * NS_PER_S)
#define WEB_WRITE_NS (15 * NS_PER_S)
#define WEB_DEFER_NS (30 * NS_PER_S) /* For an answer that comes later. */
#define WEB_PINGS_BURST 20.0
#define WEB_PINGS_PER_S 2.0

enum web_conn_kind { WEB_CONN_HTTP, WEB_CONN_SOCKET, WEB_CONN_STREAM };

/** One TCP connection. Lives until its handle is closed. */
struct web_conn {
    uv_tcp_t tcp; /* First: the close callback frees by it. */
    struct web *web;
    struct web_conn *prev, *next;
    enum web_conn_kind kind;
    bool refused; /* Over a cap: every request gets 503. */
    bool loopback;
    bool busy; /* A request is being answered. */
    char peer[INET6_ADDRSTRLEN];
    int64_t response_mono_ns;     /* When the response in flight was started; 0: none. */
    struct web_request *deferred; /* Waits for its owner's answer. HTTP/1.1: at most one. */
    int64_t deferred_mono_ns;
};

struct web_route {
    const char *method, *path;
    size_t path_len;
    bool is_prefix;
    web_handler fn;
    void *data;
};

/** Handshakes of one address: a token bucket. */
struct web_peer {
    char address[INET6_ADDRSTRLEN];
    double tokens;
    int64_t mono_ns;
};

struct web {
    uv_loop_t *loop;
    const struct clock *clock;
    uint16_t port;
    size_t clients_max, clients_per_ip_max;
    double handshakes_per_s;
    char *hosts[WEB_HOSTS_MAX]; /* Owned. */
    size_t n_hosts;
    struct web_route routes[WEB_ROUTES_MAX];
    size_t n_routes;

    uv_tcp_t listener;
    uv_timer_t sweep;
    uv_prepare_t flush;
    uv_idle_t spin; /* Runs while sockets wait for their turn, so that the loop does not sleep. */
    int n_handles;  /* Not yet closed ones of the four above. */
    bool listening, closing;
    int64_t close_by_mono_ns;
    web_close_cb close_cb;
    void *close_data;

    h2o_globalconf_t conf;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept;

    struct web_conn *conns;
    size_t n_conns;
    struct web_socket *sockets;           /* All that are open, also closing ones. */
    struct web_socket *dirty, **dirty_at; /* First in, first out. */
    struct web_stream *streams;
    size_t n_sockets, n_streams, queued_bytes;
    struct web_peer peers[WEB_PEERS_MAX];
    size_t next_peer;

    struct series *m_conns, *m_queue_bytes, *m_frames, *m_bytes, *m_refused, *m_requests[6];
};

struct web_request {
    h2o_req_t *req;
    struct web *web;
    struct web_conn *conn;
    void (*on_gone)(void *data);
    void *data;
    bool answered;
};

struct web_handler_slot { /* What h2o calls; it finds its server behind the base. */
    h2o_handler_t super;
    struct web *web;
};

/* web_server.c */
static inline struct web_conn *conn_of(h2o_socket_t *sock) { return sock->on_close.data; }
/** Cuts a connection whose peer does not cooperate; its owner hears of it by an error. */
void web_conn__cut(struct web_conn *c);
/** Spends a handshake of @address. @return false when it has none left. */
bool web__may_handshake(struct web *w, const char *address);

/* web_request.c */
/** Answers 503 in the place of an owner who did not, and tells it. */
void web_request__give_up(struct web_request *r);
int web__on_request(h2o_handler_t *self, h2o_req_t *req);

/* web_socket.c */
void web__flush_sockets(struct web *w);
void web__sweep_sockets(struct web *w);
void web__close_sockets(struct web *w);

/* web_stream.c */
void web__sweep_streams(struct web *w);
void web__close_streams(struct web *w);

#endif
