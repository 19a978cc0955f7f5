/* The server: listens, accepts, sweeps, closes.
 *
 * h2o parses HTTP/1.1 and hands every request to one handler (web_request.c); upgraded
 * connections go to web_socket.c. The rules about h2o 2.2.5 that this file keeps: HTTP/2 off in
 * both forms (its CVEs go with it), small bodies, TCP_NODELAY by hand, contexts disposed of only
 * when no connection is left, because h2o asserts that. */
#include "web_internal.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>

void web_conn__free(uv_handle_t *handle) {
    struct web_conn *c = (struct web_conn *)handle;
    struct web *w = c->web;
    web_guard__forget(c);
    if (c->prev != NULL) c->prev->next = c->next;
    else w->conns = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
    w->n_conns--;
    series__set(w->m_conns, (double)w->n_conns);
    free(c);
}

void web_conn__cut(struct web_conn *c) {
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0) shutdown(fd, SHUT_RDWR);
}

static void set_options(struct web_conn *c) {
    uv_os_fd_t fd;
    uv_tcp_nodelay(&c->tcp, 1);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0) return;
    unsigned timeout_ms = 15000; /* A peer that vanished or does not read. */
    int send_bytes = 128 << 10;  /* Caps how stale what the kernel holds can be. */
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
}

static bool is_loopback(const struct sockaddr_storage *sa) {
    if (sa->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)sa)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static void name_peer(struct web_conn *c) {
    struct sockaddr_storage sa;
    int len = sizeof sa;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&sa, &len) != 0) return;
    c->loopback = is_loopback(&sa);
    if (sa.ss_family == AF_INET) uv_ip4_name((struct sockaddr_in *)&sa, c->peer, sizeof c->peer);
    else uv_ip6_name((struct sockaddr_in6 *)&sa, c->peer, sizeof c->peer);
}

/* @return whether @c, which is in the list, may be served; if not, @why says what is full. Who was
 * refused takes nobody's place. */
static bool may_stay(const struct web *w, const struct web_conn *c, enum web_refusal *why) {
    size_t n_same = 0;
    for (const struct web_conn *o = w->conns; o != NULL; o = o->next)
        n_same += o->kind != WEB_CONN_REFUSED && strcmp(o->peer, c->peer) == 0;
    *why = WEB_REFUSED_ADDRESS;
    if (n_same > w->clients_per_ip_max) return false;
    *why = WEB_REFUSED_CAP;
    return w->n_conns - w->n_refused <= w->clients_max;
}

static void on_accept(uv_stream_t *listener, int status) {
    struct web *w = listener->data;
    enum web_refusal why = WEB_REFUSED_FDS;
    uv_os_fd_t fd;
    if (status != 0) { /* E.g. no descriptors left: the next one tells again. */
        if (status == UV_EMFILE || status == UV_ENFILE) {
            (void)web_guard__has_descriptors(w, -1);
            web__refused(w, WEB_REFUSED_FDS);
        }
        return;
    }
    struct web_conn *c = calloc(1, sizeof *c);
    if (c == NULL || uv_tcp_init(w->loop, &c->tcp) != 0) {
        free(c);
        w->accept_waits = true; /* Until it is taken libuv asks for no other. */
        return;
    }
    c->web = w;
    c->next = w->conns;
    if (c->next != NULL) c->next->prev = c;
    w->conns = c;
    w->n_conns++;
    series__set(w->m_conns, (double)w->n_conns);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
        uv_close((uv_handle_t *)&c->tcp, web_conn__free);
        return;
    }
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0 || !web_guard__has_descriptors(w, fd)) {
        web__refused(w, WEB_REFUSED_FDS);
        uv_close((uv_handle_t *)&c->tcp, web_conn__free); /* At once: others need it. */
        return;
    }
    name_peer(c);
    if (!may_stay(w, c, &why)) {
        web_guard__refuse(c, why);
        return;
    }
    set_options(c);
    c->sock = h2o_uv_socket_create((uv_stream_t *)&c->tcp, web_conn__free);
    c->sock->on_close.data = c; /* Our way back from h2o's sockets. */
    h2o_accept(&w->accept, c->sock);
    web_guard__arm(c);
}

bool web__may_handshake(struct web *w, const char *address) {
    struct web_peer *p = NULL;
    for (size_t i = 0; i < WEB_PEERS_MAX && p == NULL; i++)
        if (strcmp(w->peers[i].address, address) == 0) p = &w->peers[i];
    double burst = w->handshakes_per_s < 1 ? 1 : w->handshakes_per_s;
    if (p == NULL) { /* Forgets the oldest address. */
        p = &w->peers[w->next_peer++ % WEB_PEERS_MAX];
        *p = (struct web_peer){.tokens = burst, .mono_ns = w->clock->mono_ns};
        snprintf(p->address, sizeof p->address, "%s", address);
    }
    p->tokens += (double)(w->clock->mono_ns - p->mono_ns) / (double)NS_PER_S * w->handshakes_per_s;
    if (p->tokens > burst) p->tokens = burst;
    p->mono_ns = w->clock->mono_ns;
    if (p->tokens < 1) return false;
    p->tokens -= 1;
    return true;
}

static void finish(struct web *w) {
    /* h2o's own connections are gone with the last of ours. */
    h2o_context_dispose(&w->ctx);
    h2o_config_dispose(&w->conf);
    for (size_t i = 0; i < w->n_hosts; i++) free(w->hosts[i]);
    web_close_cb cb = w->close_cb;
    void *data = w->close_data;
    free(w);
    if (cb != NULL) cb(data);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct web *w = handle->data;
    if (--w->n_handles == 0) finish(w);
}

static void close_handles(struct web *w) {
    web__stop_listening(w);
    uv_close((uv_handle_t *)&w->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&w->flush, on_handle_closed);
    uv_close((uv_handle_t *)&w->flush_after, on_handle_closed);
    uv_close((uv_handle_t *)&w->spin, on_handle_closed);
}

static void on_sweep(uv_timer_t *timer) {
    struct web *w = timer->data;
    web__sweep_sockets(w);
    web__sweep_streams(w);
    web_guard__probe_descriptors(w);
    if (w->accept_waits && w->listening) {
        w->accept_waits = false;
        on_accept((uv_stream_t *)&w->listener, 0);
    }
    series__set(w->m_queue_bytes, (double)w->queued_bytes);
    series__set(w->m_input_bytes, (double)w->input_bytes);
    series__set(w->m_answer_bytes, (double)w->answer_bytes);
    bool late = w->closing && w->clock->mono_ns >= w->close_by_mono_ns;
    for (struct web_conn *c = w->conns; c != NULL; c = c->next) {
        /* A response that is not taken: h2o has no time-out for that phase. */
        bool stuck = c->kind == WEB_CONN_HTTP && c->response_mono_ns != 0 &&
                     w->clock->mono_ns - c->response_mono_ns > WEB_WRITE_NS;
        /* An idle keep-alive connection has nothing to lose when we end. */
        bool idle = w->closing && c->kind == WEB_CONN_HTTP && !c->busy;
        /* An owner who never answers must not keep the connection, nor us; and while it waits
         * nobody reads, so that a peer that left has to be looked for. */
        if (c->deferred != NULL &&
            (late || w->clock->mono_ns - c->deferred_mono_ns > WEB_DEFER_NS ||
             web_conn__peer_has_left(c)))
            web_request__give_up(c->deferred);
        if (late || stuck || idle) web_conn__cut(c);
        web_guard__arm(c); /* Where h2o began to read behind our back, as after a 100. */
        web_guard__sweep(c);
    }
    /* A socket outlives its connection until the next flush. */
    if (w->closing && w->n_conns == 0 && w->n_sockets == 0 && !uv_is_closing((uv_handle_t *)timer))
        close_handles(w);
}

static void on_flush(uv_prepare_t *prepare) {
    web__flush_sockets(prepare->data);
    web_guard__turn(prepare->data);
}

static void on_flush_after(uv_check_t *check) { web__flush_sockets(check->data); }

void web__shed(struct web *w) {
    struct web_socket *socket = web__largest_socket(w);
    struct web_stream *stream = web__largest_stream(w);
    size_t of_socket = socket == NULL ? 0 : web_socket__queued_bytes(socket);
    size_t of_stream = stream == NULL ? 0 : web_stream__held_bytes(stream);
    if (stream != NULL && of_stream >= of_socket) web_stream__cut(stream);
    else if (socket != NULL) web_socket__close(socket, 4008, "slow consumer");
}

static void init_metrics(struct web *w, struct metrics *m) {
    static const char *const classes[] = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};
    w->m_conns = metrics__gauge(m, "souk_hub_connections", "TCP connections of the hub", "%s", "");
    w->m_queue_bytes = metrics__gauge(m, "souk_hub_ws_queue_bytes",
                                      "Bytes queued for WebSocket clients", "%s", "");
    w->m_frames = metrics__counter(m, "souk_hub_ws_frames_out_total",
                                   "Frames sent to WebSocket clients", "%s", "");
    w->m_bytes = metrics__counter(m, "souk_hub_ws_bytes_out_total",
                                  "Bytes sent to WebSocket clients", "%s", "");
    static const char *const refusals[WEB_REFUSED__N] = {
        "clients", "address",  "handshakes", "head",        "body",
        "memory",  "pipeline", "gone",       "descriptors", "closing"};
    for (size_t i = 0; i < WEB_REFUSED__N; i++)
        w->m_refused[i] = metrics__counter(m, "souk_hub_refused_total",
                                           "Connections and requests refused, by what was full",
                                           "reason=\"%s\"", refusals[i]);
    w->m_input_bytes =
        metrics__gauge(m, "souk_hub_input_bytes",
                       "Bytes read of requests that are not whole or not answered", "%s", "");
    w->m_answer_bytes = metrics__gauge(m, "souk_hub_answer_bytes",
                                       "Bytes of answers that are not out yet", "%s", "");
    w->m_fds_short = metrics__gauge(
        m, "souk_hub_descriptors_short",
        "1 while so few descriptors are left that connections are refused", "%s", "");
    for (size_t i = 1; i < 6; i++)
        w->m_requests[i] =
            metrics__counter(m, "souk_hub_requests_total", "Requests answered by the hub",
                             "code=\"%s\"", classes[i]);
}

static void init_h2o(struct web *w) {
    signal(SIGPIPE, SIG_IGN);
    h2o_config_init(&w->conf);
    w->conf.http1.upgrade_to_http2 = 0;
    w->conf.http2.callbacks.request_shutdown = NULL; /* Its timer would outlive the context. */
    w->conf.max_request_entity_size = 64 * 1024;
    w->conf.http1.req_timeout = 10000;
    w->conf.handshake_timeout = 5000;
    w->conf.server_name = h2o_iovec_init(H2O_STRLIT(""));
    h2o_hostconf_t *host =
        h2o_config_register_host(&w->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    struct web_handler_slot *slot = (struct web_handler_slot *)h2o_create_handler(
        h2o_config_register_path(host, "/", 0), sizeof *slot);
    slot->super.on_req = web__on_request;
    slot->web = w;
    h2o_context_init(&w->ctx, w->loop, &w->conf);
    w->accept.ctx = &w->ctx;
    w->accept.hosts = w->conf.hosts;
}

static int bind_and_listen(struct web *w, const struct web_options *o, struct err *e) {
    struct sockaddr_storage sa = {0};
    int len = sizeof sa;
    int code = uv_ip4_addr(o->host, o->port, (struct sockaddr_in *)&sa);
    if (code != 0) code = uv_ip6_addr(o->host, o->port, (struct sockaddr_in6 *)&sa);
    if (code != 0) return err__setf(e, ERR_CONFIG, "\"%s\" is not an IP address", o->host);
    code = uv_tcp_bind(&w->listener, (struct sockaddr *)&sa, 0);
    if (code == 0) code = uv_listen((uv_stream_t *)&w->listener, 4096, on_accept);
    if (code == 0) code = uv_tcp_getsockname(&w->listener, (struct sockaddr *)&sa, &len);
    if (code != 0)
        return err__setf(e, code, "listen on %s port %u: %s", o->host, (unsigned)o->port,
                         code == UV_EADDRINUSE ? "the port is in use by another process"
                                               : uv_strerror(code));
    w->port = ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
                                            : ((struct sockaddr_in6 *)&sa)->sin6_port);
    w->listening = true;
    return 0;
}

int web__open(struct web **out, uv_loop_t *loop, const struct clock *clock, struct metrics *metrics,
              const struct web_options *o, struct err *e) {
    *out = NULL;
    struct web *w = calloc(1, sizeof *w);
    if (w == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    w->loop = loop;
    w->clock = clock;
    w->clients_max = o->clients_max;
    w->clients_per_ip_max = o->clients_per_ip_max;
    w->handshakes_per_s = o->handshakes_per_s;
    w->queued_bytes_max = o->queued_bytes_max > 0 ? o->queued_bytes_max : WEB_TOTAL_BYTES_MAX;
    w->dirty_at = &w->dirty;
    for (size_t i = 0; i < o->n_hosts && w->n_hosts < WEB_HOSTS_MAX; i++)
        w->hosts[w->n_hosts++] = strdup(o->hosts[i]);
    init_metrics(w, metrics);
    web_guard__bound_by_descriptors(w);
    init_h2o(w);
    w->listener.data = w->sweep.data = w->flush.data = w->flush_after.data = w->spin.data = w;
    uv_tcp_init(loop, &w->listener);
    uv_timer_init(loop, &w->sweep);
    uv_prepare_init(loop, &w->flush);
    uv_check_init(loop, &w->flush_after);
    uv_idle_init(loop, &w->spin);
    w->n_handles = 5;
    int code = bind_and_listen(w, o, e);
    if (code != 0) {
        w->listening = true; /* So that its handle is closed too. */
        close_handles(w);    /* Frees @w once the loop has run. */
        return code;
    }
    uv_timer_start(&w->sweep, on_sweep, 250, 250);
    uv_prepare_start(&w->flush, on_flush);
    uv_check_start(&w->flush_after, on_flush_after);
    *out = w;
    return 0;
}

bool web__is_short_of_descriptors(const struct web *w) {
    return w->short_mono_ns != 0 && w->clock->mono_ns - w->short_mono_ns < WEB_SHORT_NS;
}

void web__on_flushed(struct web *w, void (*cb)(void *data), void *data) {
    w->on_flushed = cb;
    w->flushed_data = data;
}

uint16_t web__port(const struct web *w) { return w->port; }

void web__route(struct web *w, const char *method, const char *path, web_handler fn, void *data) {
    assert(w->n_routes < WEB_ROUTES_MAX);
    size_t len = strlen(path);
    bool is_prefix = path[len - 1] == '*';
    w->routes[w->n_routes++] = (struct web_route){.method = method,
                                                  .path = path,
                                                  .path_len = len - is_prefix,
                                                  .is_prefix = is_prefix,
                                                  .fn = fn,
                                                  .data = data};
}

void web__stop_listening(struct web *w) {
    if (!w->listening) return;
    w->listening = false;
    uv_close((uv_handle_t *)&w->listener, on_handle_closed);
}

void web__close(struct web *w, web_close_cb cb, void *data) {
    assert(!w->closing);
    w->closing = true;
    w->close_cb = cb;
    w->close_data = data;
    w->close_by_mono_ns = w->clock->mono_ns + WEB_GRACE_NS;
    web__stop_listening(w);
    h2o_context_request_shutdown(&w->ctx); /* Answers become Connection: close. */
    web__close_sockets(w);
    web__close_streams(w);
    uv_timer_start(&w->sweep, on_sweep, 0, 50);
}
