/* What the files of the web server share. Nobody else includes it. */
#ifndef SOUK_HUB_WEB_INTERNAL_H
#define SOUK_HUB_WEB_INTERNAL_H

#include "frame.h"
#include "souk/core/log.h"
#include "souk/web.h"
#include "ws_reader.h"
#include <h2o.h>
#include <h2o/http1.h>

#define WEB_ROUTES_MAX 64
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
#define WEB_HEAD_MAX ((size_t)16 << 10)   /* Of a request, h2o's own bound is 400 KiB. */
#define WEB_INPUT_MAX ((size_t)96 << 10)  /* Of one connection: a head, a body, what follows. */
#define WEB_INPUT_SMALL ((size_t)4 << 10) /* So much is read however full it is. */
#define WEB_INPUT_TOTAL_MAX ((size_t)16 << 20) /* Of all connections. */
#define WEB_ANSWERS_TOTAL_MAX                                                                      \
    ((size_t)64 << 20)                      /* Of all that were not static and are not out.        \
                                             */
#define WEB_DRAIN_BYTES ((size_t)512 << 10) /* Read from a refused peer before it is cut. */
#define WEB_REFUSED_MAX 64                  /* Refused connections that wait for their answer. */
#define WEB_PIPELINE_MAX 8                  /* Requests in a row that did not wait for answers. */
#define WEB_SHORT_NS (60 * NS_PER_S)        /* How long a lack of descriptors is remembered. */

enum web_conn_kind { WEB_CONN_HTTP, WEB_CONN_SOCKET, WEB_CONN_STREAM, WEB_CONN_REFUSED };

/** Why somebody was sent away; the label of souk_hub_refused_total. */
enum web_refusal {
    WEB_REFUSED_CAP,      /* hub.clients_max. */
    WEB_REFUSED_ADDRESS,  /* hub.clients_per_address. */
    WEB_REFUSED_PACE,     /* Handshakes of one address. */
    WEB_REFUSED_HEAD,     /* A head above WEB_HEAD_MAX. */
    WEB_REFUSED_BODY,     /* Input above WEB_INPUT_MAX. */
    WEB_REFUSED_MEMORY,   /* A total above its bound. */
    WEB_REFUSED_PIPELINE, /* Too many requests behind one another. */
    WEB_REFUSED_GONE,     /* Pipelined by a peer that has left. */
    WEB_REFUSED_FDS,      /* Few descriptors are left. */
    WEB_REFUSED_CLOSING,
    WEB_REFUSED__N
};

/** One TCP connection. Lives until its handle is closed. */
struct web_conn {
    uv_tcp_t tcp; /* First: the close callback frees by it. */
    struct web *web;
    struct web_conn *prev, *next;
    enum web_conn_kind kind;
    bool loopback;
    bool busy; /* A request is being answered. */
    char peer[INET6_ADDRSTRLEN];
    int64_t response_mono_ns;     /* When the response in flight was started; 0: none. */
    struct web_request *deferred; /* Waits for its owner's answer. HTTP/1.1: at most one. */
    int64_t deferred_mono_ns;
    size_t answer_bytes; /* Of the response in flight. */

    /* web_guard.c */
    h2o_socket_t *sock;     /* Borrowed from h2o; NULL when it was never given one. */
    h2o_socket_cb h2o_read; /* What the guard hands bytes on to. */
    struct web_conn *next_to_arm;
    bool arms_later;
    size_t input_bytes;   /* Read and not yet done with. */
    uint64_t done_turn;   /* The turn in which the last request ended; 0: none did. */
    unsigned n_pipelined; /* Requests in a row that were there before the answer to the last. */
    enum web_refusal refusal;
    bool refusal_said;
    int64_t refused_mono_ns; /* 0: it is not. */
    size_t drained_bytes;
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
    size_t clients_max, clients_per_ip_max, queued_bytes_max;
    double handshakes_per_s;
    char *hosts[WEB_HOSTS_MAX]; /* Owned. */
    size_t n_hosts;
    struct web_route routes[WEB_ROUTES_MAX];
    size_t n_routes;

    uv_tcp_t listener;
    uv_timer_t sweep;
    uv_prepare_t flush;     /* What timers queued, and what was left over, before the loop polls. */
    uv_check_t flush_after; /* What the poll phase queued: nobody sleeps in between. */
    uv_idle_t spin; /* Runs while sockets wait for their turn, so that the loop does not sleep. */
    int n_handles;  /* Not yet closed ones of the five above. */
    void (*on_flushed)(void *data);
    void *flushed_data;
    bool listening, closing;
    bool accept_waits; /* A connection for which there was no memory. */
    int64_t close_by_mono_ns;
    web_close_cb close_cb;
    void *close_data;

    h2o_globalconf_t conf;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept;

    struct web_conn *conns, *to_arm;
    size_t n_conns, n_refused; /* All, and those of kind WEB_CONN_REFUSED. */
    size_t input_bytes, answer_bytes;
    uint64_t n_turns; /* Of the loop. */
    size_t fds_max, fds_kept;
    int64_t short_mono_ns, short_told_mono_ns; /* When descriptors were last short; 0: never. */
    struct web_socket *sockets;                /* All that are open, also closing ones. */
    struct web_socket *dirty, **dirty_at;      /* First in, first out. */
    struct web_stream *streams;
    size_t n_sockets, n_streams, queued_bytes;
    struct web_peer peers[WEB_PEERS_MAX];
    size_t next_peer;

    struct series *m_conns, *m_queue_bytes, *m_frames, *m_bytes, *m_requests[6], *m_input_bytes,
        *m_answer_bytes, *m_fds_short, *m_refused[WEB_REFUSED__N];
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

void web_conn__free(uv_handle_t *handle);
/** Too much is queued for all clients together: the one with most of it goes. */
void web__shed(struct web *w);

/* web_guard.c */
/** Counts a refusal. */
void web__refused(struct web *w, enum web_refusal why);
/** Sends a connection away that h2o has not seen: an answer to its first bytes, then the end. */
void web_guard__refuse(struct web_conn *c, enum web_refusal why);
/** Takes its place before h2o's read callback, if h2o reads; otherwise with the next turn. */
void web_guard__arm(struct web_conn *c);
void web_guard__arm_later(struct web_conn *c);
/** Before the loop waits. */
void web_guard__turn(struct web *w);
void web_guard__sweep(struct web_conn *c);
void web_guard__note_input(struct web_conn *c, size_t bytes);
/** @c is about to be freed. */
void web_guard__forget(struct web_conn *c);
/** @return whether the peer has ended its half of the connection, or all of it. */
bool web_conn__peer_has_left(const struct web_conn *c);
/** Lowers clients_max to what the limit of descriptors leaves. */
void web_guard__bound_by_descriptors(struct web *w);
/** @fd: of a new connection, or a negative error. @return false, and told, when it is one
 *  of those that are kept for others. */
bool web_guard__has_descriptors(struct web *w, int fd);
void web_guard__probe_descriptors(struct web *w);

/* web_request.c */
/** Answers 503 in the place of an owner who did not, and tells it. */
void web_request__give_up(struct web_request *r);
int web__on_request(h2o_handler_t *self, h2o_req_t *req);

/* web_socket.c */
/** Writes for at most WEB_FLUSH_PER_TURN sockets, and tells when none is left waiting. */
void web__flush_sockets(struct web *w);
void web__sweep_sockets(struct web *w);
void web__close_sockets(struct web *w);
/** @return the open socket with most bytes in its queue, NULL for none. */
struct web_socket *web__largest_socket(struct web *w);

/* web_stream.c */
void web__sweep_streams(struct web *w);
void web__close_streams(struct web *w);
struct web_stream *web__largest_stream(struct web *w);
/** @return what is queued and what is on its way: all that counts towards the total. */
size_t web_stream__held_bytes(const struct web_stream *s);
/** Ends it at once, with what it had queued. */
void web_stream__cut(struct web_stream *s);

#endif
