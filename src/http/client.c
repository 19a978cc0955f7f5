/* The client: libcurl's multi interface on libuv handles.
 *
 * libcurl names the sockets and the time it waits for; polls and a timer tell it when they are due.
 * Nothing may call into a multi from inside of its callbacks, and ours do what their owners like,
 * so starting, canceling and closing only leave a note, and the work handle acts on it in the next
 * turn of the loop. A turn starts, and calls back, a bounded number of requests. */
#include "http_internal.h"
#include <assert.h>
#include <stdlib.h>

enum { CONNECTS_DEFAULT = 16, CONNECTS_OPEN_MAX = 64, LOW_SPEED_S = 15, PER_TURN = 32 };
static const unsigned curl_oldest = 0x080b00; /* 8.11: WebSocket stable, timeouts of shutdowns. */

struct socket_poll {
    uv_poll_t poll;
    struct http *http;
    curl_socket_t fd;
};

static void on_work(uv_idle_t *idle);
static void wake(struct http *h) { uv_idle_start(&h->work, on_work); }

static void finish(struct http *h, struct http_exchange *x) {
    struct exchange_list *from = x->state == EXCHANGE_WAITING ? &h->waiting : &h->running;
    assert(x->state != EXCHANGE_FINISHED);
    if (x->state == EXCHANGE_RUNNING) curl_multi_remove_handle(h->multi, x->easy);
    TAILQ_REMOVE(from, x, link);
    TAILQ_INSERT_TAIL(&h->finished, x, link);
    x->state = EXCHANGE_FINISHED;
}

/* Takes what libcurl has finished off its list. Cheap: the callbacks come in deliver(). */
static void collect(struct http *h) {
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left)) != NULL;) {
        struct http_exchange *x = NULL;
        CURLcode result = m->data.result;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        exchange__settle(x, result);
        finish(h, x);
        wake(h);
    }
}

static void act(struct http *h, curl_socket_t fd, int events) {
    int running;
    curl_multi_socket_action(h->multi, fd, events, &running);
    collect(h);
}

static void on_timer(uv_timer_t *timer) { act(timer->data, CURL_SOCKET_TIMEOUT, 0); }

static int on_curl_timer(CURLM *multi, long timeout_ms, void *data) {
    (void)multi;
    struct http *h = data;
    uv_timer_stop(&h->timer);
    h->timeout_due = timeout_ms == 0;
    if (timeout_ms == 0) wake(h);
    else if (timeout_ms > 0) uv_timer_start(&h->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct socket_poll *p = poll->data;
    int mask = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE) mask |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE) mask |= CURL_CSELECT_OUT;
    act(p->http, p->fd, mask);
}

static void on_handle_closed(struct http *h) {
    assert(h->n_handles > 0);
    if (--h->n_handles > 0 || !h->closing) return;
    void (*cb)(void *) = h->close_cb;
    void *data = h->close_data;
    free(h->user_agent);
    free(h->ca_file);
    free(h);
    curl_global_cleanup();
    if (cb != NULL) cb(data);
}
static void on_poll_closed(uv_handle_t *handle) {
    struct socket_poll *p = handle->data;
    struct http *h = p->http;
    free(p);
    on_handle_closed(h);
}
static void on_closed(uv_handle_t *handle) { on_handle_closed(handle->data); }

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data) {
    (void)easy;
    struct http *h = data;
    struct socket_poll *p = socket_data;
    if (what == CURL_POLL_REMOVE) {
        if (p == NULL) return 0;
        curl_multi_assign(h->multi, fd, NULL);
        /* Stopped at once: libcurl closes the socket right after this call. */
        uv_poll_stop(&p->poll);
        uv_close((uv_handle_t *)&p->poll, on_poll_closed);
        return 0;
    }
    if (p == NULL) {
        p = calloc(1, sizeof *p);
        if (p == NULL) return -1;
        *p = (struct socket_poll){.http = h, .fd = fd, .poll.data = p};
        if (uv_poll_init_socket(h->loop, &p->poll, fd) != 0) {
            free(p);
            return -1;
        }
        h->n_handles++;
        curl_multi_assign(h->multi, fd, p);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&p->poll, events, on_poll) == 0 ? 0 : -1;
}

static void end_canceled(struct http *h) {
    struct exchange_list *lists[] = {&h->waiting, &h->running};
    h->any_canceled = false;
    for (size_t i = 0; i < 2; i++)
        for (struct http_exchange *x = TAILQ_FIRST(lists[i]), *next; x != NULL; x = next) {
            next = TAILQ_NEXT(x, link);
            if (x->canceled) finish(h, x);
        }
}

static void start_waiting(struct http *h) {
    for (int i = 0; i < PER_TURN; i++) {
        struct http_exchange *x = TAILQ_FIRST(&h->waiting);
        if (x == NULL) return;
        if (curl_multi_add_handle(h->multi, x->easy) != CURLM_OK) {
            exchange__settle(x, CURLE_OUT_OF_MEMORY);
            finish(h, x);
            continue;
        }
        TAILQ_REMOVE(&h->waiting, x, link);
        TAILQ_INSERT_TAIL(&h->running, x, link);
        x->state = EXCHANGE_RUNNING;
    }
}

static void deliver(struct http *h) {
    for (int i = 0; i < PER_TURN; i++) {
        struct http_exchange *x = TAILQ_FIRST(&h->finished);
        if (x == NULL) return;
        struct http_request *r = x->request;
        TAILQ_REMOVE(&h->finished, x, link);
        h->n_inflight--;
        r->exchange = NULL; /* Idle before the call: the callback may start it again, or free it. */
        if (x->canceled) exchange__settle_canceled(x);
        x->response.done_mono_ns = h->clock->mono_ns;
        stats__count(x);
        r->done_cb(r, &x->response);
        exchange__free(x);
    }
}

static void tear_down(struct http *h) {
    curl_multi_cleanup(h->multi); /* Closes the idle connections, and so their polls. */
    h->multi = NULL;
    uv_close((uv_handle_t *)&h->timer, on_closed);
    uv_close((uv_handle_t *)&h->work, on_closed);
}

static void on_work(uv_idle_t *idle) {
    struct http *h = idle->data;
    uv_idle_stop(idle);
    if (h->any_canceled) end_canceled(h);
    start_waiting(h);
    if (h->timeout_due) {
        h->timeout_due = false;
        act(h, CURL_SOCKET_TIMEOUT, 0);
    }
    deliver(h);
    if (h->closing && h->n_inflight == 0) tear_down(h);
    else if (!TAILQ_EMPTY(&h->waiting) || !TAILQ_EMPTY(&h->finished) || h->any_canceled ||
             h->timeout_due)
        wake(h);
}

int http__open(struct http **out, uv_loop_t *loop, const struct clock *clock,
               struct metrics *metrics, const struct http_options *options, struct err *e) {
    *out = NULL;
    const curl_version_info_data *version = curl_version_info(CURLVERSION_NOW);
    if (version->version_num < curl_oldest)
        return err__setf(e, ERR_UNAVAILABLE, "libcurl %s is too old: 8.11 or later is needed",
                         version->version);
    if (options->user_agent == NULL || options->user_agent[0] == '\0')
        return err__setf(e, ERR_CONFIG, "http: no User-Agent given");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return err__setf(e, ERR_UNAVAILABLE, "libcurl %s does not start", version->version);
    struct http *h = calloc(1, sizeof *h);
    CURLM *multi = curl_multi_init();
    char *agent = strdup(options->user_agent);
    char *ca_file = options->ca_file == NULL ? NULL : strdup(options->ca_file);
    if (h == NULL || multi == NULL || agent == NULL ||
        (ca_file == NULL && options->ca_file != NULL)) {
        free(h);
        free(agent);
        free(ca_file);
        if (multi != NULL) curl_multi_cleanup(multi);
        curl_global_cleanup();
        return err__setf(e, ERR_NOMEM, "http: out of memory");
    }
    *h = (struct http){.loop = loop,
                       .clock = clock,
                       .metrics = metrics,
                       .multi = multi,
                       .user_agent = agent,
                       .ca_file = ca_file,
                       .low_speed_s = options->low_speed_s > 0 ? options->low_speed_s : LOW_SPEED_S,
                       .timer.data = h,
                       .work.data = h};
    TAILQ_INIT(&h->waiting);
    TAILQ_INIT(&h->running);
    TAILQ_INIT(&h->finished);
    uv_timer_init(loop, &h->timer); /* These two cannot fail. */
    uv_idle_init(loop, &h->work);
    h->n_handles = 2;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS,
                      options->connects_max > 0 ? options->connects_max : (long)CONNECTS_DEFAULT);
    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTS_OPEN_MAX);
    *out = h;
    return 0;
}

void http__close(struct http *h, void (*cb)(void *data), void *data) {
    assert(!h->closing);
    h->closing = true;
    h->close_cb = cb;
    h->close_data = data;
    struct http_exchange *x;
    TAILQ_FOREACH(x, &h->waiting, link) x->canceled = true;
    TAILQ_FOREACH(x, &h->running, link) x->canceled = true;
    TAILQ_FOREACH(x, &h->finished, link) x->canceled = true;
    h->any_canceled = true;
    wake(h);
}

int http__start(struct http *h, struct http_request *r, struct err *e) {
    assert(r->exchange == NULL);
    assert(r->done_cb != NULL);
    if (h->closing)
        return err__setf(e, ERR_CLOSED, "%s %s: the client is closed", r->method, r->url);
    if (h->n_inflight >= HTTP_INFLIGHT_MAX)
        return err__setf(e, ERR_FULL, "http: %d requests are in flight", HTTP_INFLIGHT_MAX);
    struct http_exchange *x;
    int rc = exchange__new(&x, h, r, e);
    if (rc != 0) return rc;
    x->stats = stats__get(h, r->source, r->class_name);
    series__add(x->stats->inflight, 1);
    TAILQ_INSERT_TAIL(&h->waiting, x, link);
    h->n_inflight++;
    r->exchange = x;
    wake(h);
    return 0;
}

void http__cancel(struct http *h, struct http_request *r) {
    if (r->exchange == NULL) return;
    r->exchange->canceled = true;
    h->any_canceled = true;
    wake(h);
}

size_t http__inflight(const struct http *h) { return h->n_inflight; }
