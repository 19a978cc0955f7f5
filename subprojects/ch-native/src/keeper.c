/* Reconnecting. One timer: it is either waiting to connect, or off. */
#include <ch_native/keeper.h>

#include <stdlib.h>

struct chn_keeper {
    struct chn_conn *conn;
    struct chn_backoff backoff;
    uv_timer_t timer;
    chn_keeper_cb cb;
    void *data;
    bool waiting, closing;
    chn_close_cb close_cb;
    void *close_data;
    int n_open; /* Connection and timer. */
};

/* SplitMix64: good enough to spread clients. */
static uint64_t next_random(uint64_t *seed) {
    if (*seed == 0 && (uv_random(NULL, NULL, seed, sizeof *seed, 0, NULL) != 0 || *seed == 0))
        *seed = uv_hrtime() | 1;
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t chn_backoff__next_ms(struct chn_backoff *b) {
    uint64_t base = b->base_ms != 0 ? b->base_ms : 100, cap = b->cap_ms != 0 ? b->cap_ms : 10000;
    uint64_t bound = b->n_failures < 20 ? base << b->n_failures : cap;
    if (bound > cap) bound = cap;
    if (b->n_failures < 20) b->n_failures++;
    return (uint32_t)(next_random(&b->seed) % (bound + 1));
}

void chn_backoff__reset(struct chn_backoff *b) { b->n_failures = 0; }

static void on_timer(uv_timer_t *timer);

static void wait_and_connect(struct chn_keeper *k) {
    if (k->waiting || k->closing) return;
    k->waiting = true;
    uv_timer_start(&k->timer, on_timer, chn_backoff__next_ms(&k->backoff), 0);
}

static void on_connect(struct chn_conn *conn, void *data, const struct chn_err *err,
                       const struct chn_exception *exception) {
    struct chn_keeper *k = data;
    (void)conn;
    (void)exception;
    if (k->closing) return;
    if (err == NULL) chn_backoff__reset(&k->backoff);
    else wait_and_connect(k);
    k->cb(k, k->data, err == NULL, err);
}

static void on_timer(uv_timer_t *timer) {
    struct chn_keeper *k = timer->data;
    k->waiting = false;
    if (k->closing || chn_conn__is_ready(k->conn)) return;
    if (chn_conn__connect(k->conn, on_connect, k) != 0) wait_and_connect(k);
}

static void on_lost(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct chn_keeper *k = data;
    (void)conn;
    wait_and_connect(k);
    k->cb(k, k->data, false, err);
}

void chn_keeper__check(struct chn_keeper *k, const struct chn_err *err) {
    if (k->closing || k->waiting || !chn_conn__is_closed(k->conn)) return;
    wait_and_connect(k);
    k->cb(k, k->data, false, err);
}

struct chn_keeper *chn_keeper__new(uv_loop_t *loop, const struct chn_options *options,
                                   const struct chn_backoff *backoff, chn_keeper_cb cb, void *data,
                                   struct chn_err *err) {
    struct chn_keeper *k = calloc(1, sizeof *k);
    if (k == NULL) {
        chn_err__setf(err, CHN_ERR_MEMORY, "keeper: no memory");
        return NULL;
    }
    struct chn_options mine = *options;
    mine.on_lost = on_lost;
    mine.data = k;
    k->conn = chn_conn__new(loop, &mine, err);
    if (k->conn == NULL) {
        free(k);
        return NULL;
    }
    if (backoff != NULL) k->backoff = *backoff;
    k->cb = cb;
    k->data = data;
    k->n_open = 2;
    uv_timer_init(loop, &k->timer); /* Cannot fail. */
    k->timer.data = k;
    k->waiting = true;
    uv_timer_start(&k->timer, on_timer, 0, 0); /* The first time at once. */
    return k;
}

struct chn_conn *chn_keeper__conn(struct chn_keeper *k) {
    return k->conn;
}

static void release(struct chn_keeper *k) {
    if (--k->n_open > 0) return;
    chn_close_cb cb = k->close_cb;
    void *data = k->close_data;
    free(k);
    if (cb != NULL) cb(data);
}

static void on_conn_closed(void *data) { release(data); }
static void on_timer_closed(uv_handle_t *timer) { release(timer->data); }

void chn_keeper__close(struct chn_keeper *k, chn_close_cb cb, void *data) {
    k->closing = true;
    k->close_cb = cb;
    k->close_data = data;
    uv_close((uv_handle_t *)&k->timer, on_timer_closed);
    chn_conn__close(k->conn, on_conn_closed, k);
}
