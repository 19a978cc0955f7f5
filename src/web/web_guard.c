/* What a connection may cost before and between its requests.
 *
 * h2o takes a head of 400 KB, parses whatever comes, and reads on for peers that were refused. So
 * its read callback is wrapped: bytes that wait for their request to become whole have a bound each
 * and one over all, and a peer beyond it is answered once, in the words of a fixed text, and heard
 * no more. A connection over a cap never meets the parser at all. Whoever was refused is drained
 * for a moment before the end, because closing with unread bytes would destroy the answer.
 *
 * Descriptors: the numbers that the kernel hands out are the lowest free ones, so a number near the
 * limit means that few are left. Those are kept for the log, ClickHouse and the upstreams. */
#include "web_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#define FDS_KEPT_MAX 256
#define TELL_NS (60 * NS_PER_S) /* Between two lines in the log about the same. */

void web__refused(struct web *w, enum web_refusal why) { series__inc(w->m_refused[why]); }

/* --- An answer without a request --- */

static const struct {
    const char *status, *code, *msg;
} refusals[] = {
    [WEB_REFUSED_CAP] = {"503 Service Unavailable", "unavailable", "too many connections"},
    [WEB_REFUSED_ADDRESS] = {"503 Service Unavailable", "unavailable",
                             "too many connections of this address"},
    [WEB_REFUSED_MEMORY] = {"503 Service Unavailable", "unavailable",
                            "requests of others fill the memory for them"},
    [WEB_REFUSED_HEAD] = {"431 Request Header Fields Too Large", "too_large",
                          "the head of a request has at most 16 KiB"},
    [WEB_REFUSED_BODY] = {"413 Payload Too Large", "too_large", "the request is too large"}};

static void say_refusal(struct web_conn *c, enum web_refusal why) {
    char body[160], text[512];
    int n = snprintf(body, sizeof body, "{\"error\":{\"code\":\"%s\",\"msg\":\"%s\"}}\n",
                     refusals[why].code, refusals[why].msg);
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %s\r\nconnection: close\r\nretry-after: 5\r\n"
                       "content-type: application/json\r\nx-content-type-options: nosniff\r\n"
                       "content-length: %d\r\n\r\n%s",
                       refusals[why].status, n, body);
    uv_buf_t out = uv_buf_init(text, (unsigned)len);
    uv_os_fd_t fd;
    (void)uv_try_write((uv_stream_t *)&c->tcp, &out, 1); /* All of it, or the peer is gone. */
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0) shutdown(fd, SHUT_WR);
    c->refusal_said = true;
}

/* @return false when the peer has been listened to for long enough. */
static bool drain(struct web_conn *c, size_t n) {
    c->drained_bytes += n;
    return c->drained_bytes <= WEB_DRAIN_BYTES;
}

/* --- Connections that are refused before anything is parsed --- */

static void end_refused(struct web_conn *c) {
    if (!uv_is_closing((uv_handle_t *)&c->tcp)) uv_close((uv_handle_t *)&c->tcp, web_conn__free);
}

static void on_refused_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out) {
    static char waste[4096]; /* Nobody reads it. */
    (void)handle;
    (void)size;
    *out = uv_buf_init(waste, sizeof waste);
}

static void on_refused_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes) {
    struct web_conn *c = (struct web_conn *)stream; /* Its first member. */
    (void)bytes;
    if (n > 0 && !c->refusal_said) say_refusal(c, c->refusal);
    if (n < 0 || !drain(c, (size_t)n)) end_refused(c);
}

void web_guard__refuse(struct web_conn *c, enum web_refusal why) {
    struct web *w = c->web;
    web__refused(w, why);
    c->kind = WEB_CONN_REFUSED;
    c->refusal = why;
    c->refused_mono_ns = w->clock->mono_ns;
    w->n_refused++;
    /* Some are told politely; a flood is not. */
    if (w->n_refused > WEB_REFUSED_MAX ||
        uv_read_start((uv_stream_t *)&c->tcp, on_refused_alloc, on_refused_read) != 0)
        end_refused(c);
}

/* --- What h2o may read --- */

void web_guard__note_input(struct web_conn *c, size_t bytes) {
    c->web->input_bytes += bytes - c->input_bytes;
    c->input_bytes = bytes;
}

static bool has_whole_head(const h2o_buffer_t *in) {
    return memmem(in->bytes, WEB_HEAD_MAX, "\r\n\r\n", 4) != NULL ||
           memmem(in->bytes, WEB_HEAD_MAX, "\n\n", 2) != NULL;
}

/* @return whether what has come is within bounds; if not, @why says which it breaks. */
static bool is_within(const struct web_conn *c, const h2o_buffer_t *in, enum web_refusal *why) {
    *why = WEB_REFUSED_HEAD;
    if (in->size > WEB_HEAD_MAX && !has_whole_head(in)) return false;
    *why = WEB_REFUSED_BODY;
    if (in->size > WEB_INPUT_MAX) return false;
    *why = WEB_REFUSED_MEMORY; /* Small requests pass in any case: they are few bytes a cap. */
    return in->size <= WEB_INPUT_SMALL || c->web->input_bytes <= WEB_INPUT_TOTAL_MAX;
}

static void on_guarded_read(h2o_socket_t *sock, const char *err) {
    struct web_conn *c = conn_of(sock);
    enum web_refusal why;
    if (err == NULL) web_guard__note_input(c, sock->input->size);
    if (err == NULL && !c->refusal_said && !is_within(c, sock->input, &why)) {
        web__refused(c->web, why);
        c->refused_mono_ns = c->web->clock->mono_ns;
        say_refusal(c, why);
    }
    if (err == NULL && c->refusal_said) { /* The parser sees no more of it. */
        if (!drain(c, sock->input->size)) err = h2o_socket_error_closed;
        h2o_buffer_consume(&sock->input, sock->input->size);
        web_guard__note_input(c, 0);
        if (err == NULL) return;
    }
    h2o_socket_cb read = c->h2o_read;
    read(sock, err);
    if (!uv_is_closing((uv_handle_t *)&c->tcp) && sock->input != NULL)
        web_guard__note_input(c, sock->input->size);
}

void web_guard__arm(struct web_conn *c) {
    h2o_socket_t *sock = c->sock;
    if (c->kind != WEB_CONN_HTTP || uv_is_closing((uv_handle_t *)&c->tcp)) return;
    web_guard__note_input(c, sock->input->size);
    if (sock->_cb.read == NULL || sock->_cb.read == on_guarded_read) return;
    c->h2o_read = sock->_cb.read;
    sock->_cb.read = on_guarded_read;
}

void web_guard__arm_later(struct web_conn *c) {
    if (c->arms_later) return;
    c->arms_later = true;
    c->next_to_arm = c->web->to_arm;
    c->web->to_arm = c;
}

void web_guard__turn(struct web *w) {
    w->n_turns++;
    while (w->to_arm != NULL) {
        struct web_conn *c = w->to_arm;
        w->to_arm = c->next_to_arm;
        c->arms_later = false;
        web_guard__arm(c);
    }
}

void web_guard__forget(struct web_conn *c) {
    for (struct web_conn **at = &c->web->to_arm; *at != NULL; at = &(*at)->next_to_arm)
        if (*at == c) {
            *at = c->next_to_arm;
            break;
        }
    web_guard__note_input(c, 0);
    if (c->kind == WEB_CONN_REFUSED) c->web->n_refused--;
}

bool web_conn__peer_has_left(const struct web_conn *c) {
    uv_os_fd_t fd;
    if (uv_fileno((const uv_handle_t *)&c->tcp, &fd) != 0) return true;
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void web_guard__sweep(struct web_conn *c) {
    struct web *w = c->web;
    bool late = c->refused_mono_ns != 0 && w->clock->mono_ns - c->refused_mono_ns > WEB_CLOSE_NS;
    if (late && c->kind == WEB_CONN_REFUSED) end_refused(c);
    else if (late) web_conn__cut(c);
}

/* --- Descriptors --- */

static void tell_short(struct web *w) {
    int64_t now_ns = w->clock->mono_ns;
    if (w->short_mono_ns == 0 || now_ns - w->short_told_mono_ns > TELL_NS) {
        w->short_told_mono_ns = now_ns;
        LOG_ERROR("hub", "descriptors are short: connections are refused",
                  LOG_I("limit", (int64_t)w->fds_max), LOG_I("kept", (int64_t)w->fds_kept),
                  LOG_I("connections", (int64_t)w->n_conns));
    }
    w->short_mono_ns = now_ns;
}

static void read_limit(struct web *w) {
    struct rlimit limit;
    w->fds_max = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < SIZE_MAX / 2
                     ? (size_t)limit.rlim_cur
                     : SIZE_MAX / 2;
    w->fds_kept = w->fds_max / 4 < FDS_KEPT_MAX ? w->fds_max / 4 : FDS_KEPT_MAX;
}

void web_guard__bound_by_descriptors(struct web *w) {
    read_limit(w);
    size_t most = w->fds_max - w->fds_kept;
    if (w->clients_max <= most) return;
    LOG_WARN("hub", "fewer clients than configured: descriptors are limited (ulimit -n)",
             LOG_I("clients_max", (int64_t)w->clients_max), LOG_I("now", (int64_t)most),
             LOG_I("limit", (int64_t)w->fds_max));
    w->clients_max = most;
}

bool web_guard__has_descriptors(struct web *w, int fd) {
    if (fd >= 0 && (size_t)fd + w->fds_kept < w->fds_max) return true;
    tell_short(w);
    return false;
}

void web_guard__probe_descriptors(struct web *w) {
    uv_os_fd_t listener;
    if (!w->listening || uv_fileno((uv_handle_t *)&w->listener, &listener) != 0) return;
    read_limit(w); /* It may be changed from outside: prlimit. */
    int fd = fcntl(listener, F_DUPFD_CLOEXEC, 0);
    /* libuv throws away connections for which there is no descriptor, and tells nobody. */
    (void)web_guard__has_descriptors(w, fd);
    if (fd >= 0) close(fd);
    series__set(w->m_fds_short, web__is_short_of_descriptors(w));
}
