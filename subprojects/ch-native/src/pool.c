/*
 * The pool. All that happens sets one timer going, and the timer does all the work: it ends the
 * waits that took too long, lends what is idle, opens what is wanted, and sets itself for the next
 * moment that matters. So nobody is called back from within a call of its own.
 */
#include <ch_native/pool.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum slot_state { SLOT_EMPTY, SLOT_OPENING, SLOT_IDLE, SLOT_LENT, SLOT_CLOSING };

struct slot {
    struct chn_pool *pool;
    enum slot_state state;
    struct chn_conn *conn; /* NULL when empty. */
    size_t host;
    uint64_t born_ms, idle_ms; /* uv_now() when it was connected, and used last. */
};

struct host {
    char *name;
    uint16_t port;
    struct chn_backoff backoff;
    uint64_t retry_ms; /* uv_now() from which on it is tried again. */
    struct chn_err error;
};

struct waiter {
    struct waiter *next;
    uint64_t deadline_ms;
    chn_acquire_cb cb;
    void *data;
};

struct chn_pool {
    uv_loop_t *loop;
    struct chn_pool_options options;
    struct chn_options conn; /* Its strings are the copies below. */
    char *strings[5];        /* Database, user, password, client name, quota key. */
    struct slot slots[CHN_POOL_CONNECTIONS_MAX];
    struct host hosts[CHN_HOSTS_MAX];
    size_t n_hosts, next_host;
    struct waiter *first, *last;
    unsigned n_waiting;
    uv_timer_t timer;
    bool kicked, working, closing;
    unsigned n_open; /* The timer and the connections. */
    chn_close_cb close_cb;
    void *close_data;
};

static void on_timer(uv_timer_t *timer);

/* Has the work done in the next turn. */
static void kick(struct chn_pool *p) {
    if (p->closing) return;
    p->kicked = true;
    if (!p->working) uv_timer_start(&p->timer, on_timer, 0, 0);
}

/* --- Ends --- */

static void free_pool(struct chn_pool *p) {
    for (size_t i = 0; i < p->n_hosts; i++) free(p->hosts[i].name);
    if (p->strings[2] != NULL) { /* The password, not left in freed memory. */
        volatile char *c = p->strings[2];
        while (*c != '\0') *c++ = '\0';
    }
    for (size_t i = 0; i < sizeof p->strings / sizeof p->strings[0]; i++) free(p->strings[i]);
    chn_tls__free(p->conn.tls);
    free(p);
}

static void release_pool(struct chn_pool *p) {
    if (--p->n_open > 0) return;
    chn_close_cb cb = p->close_cb;
    void *data = p->close_data;
    free_pool(p);
    if (cb != NULL) cb(data);
}

static void on_slot_closed(void *data) {
    struct slot *s = data;
    s->state = SLOT_EMPTY;
    s->conn = NULL;
    kick(s->pool);
    release_pool(s->pool);
}

static void retire(struct slot *s) {
    if (s->state == SLOT_EMPTY || s->state == SLOT_CLOSING) return;
    s->state = SLOT_CLOSING;
    chn_conn__close(s->conn, on_slot_closed, s);
}

/* Takes the first in line out. */
static struct waiter take_waiter(struct chn_pool *p) {
    struct waiter *first = p->first, copy = *first;
    p->first = first->next;
    if (p->first == NULL) p->last = NULL;
    p->n_waiting--;
    free(first);
    return copy;
}

/* --- Opening --- */

static void on_lost(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct slot *s = data;
    (void)conn;
    s->pool->hosts[s->host].error = *err;
    if (s->state == SLOT_IDLE) retire(s); /* A lent one is seen to when it comes back. */
}

static void make_idle(struct slot *s) {
    s->state = SLOT_IDLE;
    s->idle_ms = uv_now(s->pool->loop);
    kick(s->pool);
}

static void on_connect(struct chn_conn *conn, void *data, const struct chn_err *err,
                       const struct chn_exception *exception) {
    struct slot *s = data;
    struct host *h = &s->pool->hosts[s->host];
    (void)conn;
    (void)exception;
    if (s->state != SLOT_OPENING) return; /* It is being closed. */
    if (err == NULL) {
        chn_backoff__reset(&h->backoff);
        h->retry_ms = 0;
        s->born_ms = uv_now(s->pool->loop);
        make_idle(s);
        return;
    }
    h->error = *err;
    /* One more, as a pause of 0 must not have the other hosts passed over. */
    h->retry_ms = uv_now(s->pool->loop) + chn_backoff__next_ms(&h->backoff) + 1;
    retire(s);
}

static void on_ping(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct slot *s = data;
    (void)conn;
    if (s->state != SLOT_OPENING) return;
    if (err == NULL) {
        make_idle(s);
        return;
    }
    s->pool->hosts[s->host].error = *err;
    retire(s);
}

/* @return a host that can be tried now, or n_hosts. */
static size_t pick_host(struct chn_pool *p) {
    bool in_turn = p->options.order == CHN_POOL_ROUND_ROBIN;
    for (size_t i = 0; i < p->n_hosts; i++) {
        size_t at = in_turn ? (p->next_host + i) % p->n_hosts : i;
        if (p->hosts[at].retry_ms > uv_now(p->loop)) continue;
        if (in_turn) p->next_host = at + 1;
        return at;
    }
    return p->n_hosts;
}

static void open_slot(struct chn_pool *p, struct slot *s, size_t host) {
    struct chn_options options = p->conn;
    struct host *h = &p->hosts[host];
    options.host = h->name;
    options.port = h->port;
    options.on_lost = on_lost;
    options.data = s;
    s->host = host;
    s->conn = chn_conn__new(p->loop, &options, &h->error);
    int code = CHN_ERR_MEMORY;
    if (s->conn != NULL) {
        p->n_open++;
        s->state = SLOT_OPENING;
        if ((code = chn_conn__connect(s->conn, on_connect, s)) == 0) return;
        chn_err__setf(&h->error, code, "%.80s:%u: %s", h->name, h->port, chn_err__text(code));
    }
    h->retry_ms = uv_now(p->loop) + chn_backoff__next_ms(&h->backoff) + 1;
    if (s->conn != NULL) retire(s);
}

/* --- The work --- */

/* The idle connection to lend next: of the first host, or the one that rested longest. */
static struct slot *pick_idle(struct chn_pool *p) {
    struct slot *best = NULL;
    for (unsigned i = 0; i < p->options.n_max; i++) {
        struct slot *s = &p->slots[i];
        if (s->state != SLOT_IDLE) continue;
        bool better =
            best == NULL || (p->options.order == CHN_POOL_FIRST_ALIVE ? s->host < best->host
                                                                      : s->idle_ms < best->idle_ms);
        if (better) best = s;
    }
    return best;
}

static void expire_waiters(struct chn_pool *p) {
    struct waiter **at = &p->first, *due = NULL, **end = &due, *last = NULL;
    while (*at != NULL) { /* First taken out, then told: a callback may change the line. */
        struct waiter *w = *at;
        if (w->deadline_ms > uv_now(p->loop)) {
            last = w;
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = NULL;
        *end = w;
        end = &w->next;
        p->n_waiting--;
    }
    p->last = last;
    struct chn_err err;
    const char *why = "all connections are in use";
    for (size_t i = 0; i < p->n_hosts; i++)
        if (p->hosts[i].backoff.n_failures > 0) why = p->hosts[i].error.msg;
    chn_err__setf(&err, CHN_ERR_TIMEOUT, "no connection in time: %.200s", why);
    while (due != NULL) {
        struct waiter w = *due;
        free(due);
        due = w.next;
        w.cb(p, w.data, NULL, &err);
    }
}

static void lend(struct chn_pool *p) {
    struct slot *s;
    while (p->first != NULL && (s = pick_idle(p)) != NULL && !p->closing) {
        if (!chn_conn__is_ready(s->conn)) {
            retire(s);
        } else if (uv_now(p->loop) - s->idle_ms >= p->options.ping_after_ms) {
            s->state = SLOT_OPENING;
            if (chn_conn__ping(s->conn, on_ping, s) != 0) retire(s);
        } else {
            struct waiter w = take_waiter(p);
            s->state = SLOT_LENT;
            w.cb(p, w.data, s->conn, NULL);
        }
    }
}

static void open_wanted(struct chn_pool *p) {
    unsigned n_opening = 0;
    for (unsigned i = 0; i < p->options.n_max; i++) n_opening += p->slots[i].state == SLOT_OPENING;
    for (unsigned i = 0; i < p->options.n_max && n_opening < p->n_waiting; i++) {
        if (p->slots[i].state != SLOT_EMPTY) continue;
        size_t host = pick_host(p);
        if (host == p->n_hosts) return;
        open_slot(p, &p->slots[i], host);
        n_opening++;
    }
}

/* The next moment that matters to those in line: a deadline, or a host that may be tried again. */
static void set_timer(struct chn_pool *p) {
    uint64_t now = uv_now(p->loop), next = UINT64_MAX;
    for (const struct waiter *w = p->first; w != NULL; w = w->next)
        if (w->deadline_ms < next) next = w->deadline_ms;
    for (size_t i = 0; p->first != NULL && i < p->n_hosts; i++)
        if (p->hosts[i].retry_ms > now && p->hosts[i].retry_ms < next) next = p->hosts[i].retry_ms;
    if (p->kicked) uv_timer_start(&p->timer, on_timer, 0, 0);
    else if (next != UINT64_MAX)
        uv_timer_start(&p->timer, on_timer, next > now ? next - now : 0, 0);
}

static void on_timer(uv_timer_t *timer) {
    struct chn_pool *p = timer->data;
    p->kicked = false;
    p->working = true;
    expire_waiters(p);
    if (!p->closing) lend(p);
    if (!p->closing) open_wanted(p);
    p->working = false;
    if (!p->closing) set_timer(p);
}

/* --- The face --- */

int chn_pool__acquire(struct chn_pool *p, uint32_t timeout_ms, chn_acquire_cb cb, void *data) {
    if (p->closing) return CHN_ERR_NOT_READY;
    if (p->n_waiting == p->options.waiters_max) return CHN_ERR_LIMIT;
    struct waiter *w = malloc(sizeof *w);
    if (w == NULL) return CHN_ERR_MEMORY;
    uv_update_time(p->loop); /* A turn that took long must not eat the time of the wait. */
    *w = (struct waiter){.deadline_ms = uv_now(p->loop) + timeout_ms, .cb = cb, .data = data};
    if (p->first == NULL) p->first = w;
    else p->last->next = w;
    p->last = w;
    p->n_waiting++;
    kick(p);
    return 0;
}

void chn_pool__release(struct chn_pool *p, struct chn_conn *conn) {
    struct slot *s = NULL;
    if (p->closing) return; /* It is being closed, and its borrower has just heard of that. */
    for (unsigned i = 0; i < p->options.n_max; i++)
        if (p->slots[i].conn == conn) s = &p->slots[i];
    assert(s != NULL && s->state == SLOT_LENT);
    bool is_old = uv_now(p->loop) - s->born_ms >= p->options.age_max_ms;
    if (chn_conn__is_ready(conn) && !is_old) make_idle(s);
    else retire(s);
}

void chn_pool__status(const struct chn_pool *p, struct chn_pool_status *out) {
    uint64_t now = uv_now(p->loop);
    *out = (struct chn_pool_status){.n_hosts = p->n_hosts, .n_waiting = p->n_waiting};
    for (size_t i = 0; i < p->n_hosts; i++) {
        const struct host *h = &p->hosts[i];
        out->hosts[i] = (struct chn_pool_host){.name = h->name,
                                               .port = h->port,
                                               .n_failures = h->backoff.n_failures,
                                               .error = h->error};
        if (h->retry_ms > now) out->hosts[i].retry_ms = (uint32_t)(h->retry_ms - now);
    }
    for (unsigned i = 0; i < p->options.n_max; i++) {
        const struct slot *s = &p->slots[i];
        out->n_idle += s->state == SLOT_IDLE;
        out->n_lent += s->state == SLOT_LENT;
        out->n_opening += s->state == SLOT_OPENING;
        if (s->conn != NULL && s->state != SLOT_CLOSING) out->hosts[s->host].n_connections++;
    }
}

static void on_timer_closed(uv_handle_t *timer) { release_pool(timer->data); }

void chn_pool__close(struct chn_pool *p, chn_close_cb cb, void *data) {
    struct chn_err err;
    assert(!p->closing);
    p->closing = true;
    p->close_cb = cb;
    p->close_data = data;
    chn_err__setf(&err, CHN_ERR_CANCELED, "the pool is closed");
    while (p->first != NULL) {
        struct waiter w = take_waiter(p);
        w.cb(p, w.data, NULL, &err);
    }
    for (unsigned i = 0; i < p->options.n_max; i++) retire(&p->slots[i]);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

/* @text NULL stays NULL, which means the connection's default. */
static const char *keep(struct chn_pool *p, size_t i, const char *text, bool *whole) {
    if (text == NULL) return NULL;
    p->strings[i] = strdup(text);
    *whole = *whole && p->strings[i] != NULL;
    return p->strings[i];
}

static bool copy_options(struct chn_pool *p, const struct chn_options *o) {
    struct chn_host one = {o->host, o->port};
    const struct chn_host *hosts = o->n_hosts > 0 ? o->hosts : &one;
    size_t n = o->n_hosts > 0 ? o->n_hosts : 1;
    bool whole = true;
    p->conn = *o;
    p->conn.hosts = NULL;
    p->conn.n_hosts = 0;
    p->conn.tls = chn_tls__share(o->tls);
    p->conn.database = keep(p, 0, o->database, &whole);
    p->conn.user = keep(p, 1, o->user, &whole);
    p->conn.password = keep(p, 2, o->password, &whole);
    p->conn.client_name = keep(p, 3, o->client_name, &whole);
    p->conn.quota_key = keep(p, 4, o->quota_key, &whole);
    for (size_t i = 0; i < n; i++) {
        struct host *h = &p->hosts[p->n_hosts++];
        uint16_t otherwise = o->tls != NULL ? 9440 : 9000;
        h->name = strdup(hosts[i].name != NULL ? hosts[i].name : "127.0.0.1");
        h->port = hosts[i].port != 0 ? hosts[i].port : otherwise;
        h->backoff = p->options.backoff;
        whole = whole && h->name != NULL;
    }
    return whole;
}

struct chn_pool *chn_pool__new(uv_loop_t *loop, const struct chn_pool_options *options,
                               struct chn_err *err) {
    if (options->n_max > CHN_POOL_CONNECTIONS_MAX || options->waiters_max > CHN_POOL_WAITERS_MAX ||
        options->conn->n_hosts > CHN_HOSTS_MAX) {
        chn_err__setf(err, CHN_ERR_ARGUMENT,
                      "pool: more connections, waiters or hosts than can be");
        return NULL;
    }
    struct chn_pool *p = calloc(1, sizeof *p);
    if (p == NULL) {
        chn_err__setf(err, CHN_ERR_MEMORY, "pool: no memory");
        return NULL;
    }
    p->loop = loop;
    p->options = *options;
    if (p->options.n_max == 0) p->options.n_max = 4;
    if (p->options.waiters_max == 0) p->options.waiters_max = 64;
    if (p->options.ping_after_ms == 0) p->options.ping_after_ms = 10000;
    if (p->options.age_max_ms == 0) p->options.age_max_ms = 600000;
    if (!copy_options(p, options->conn) || uv_timer_init(loop, &p->timer) != 0) {
        free_pool(p);
        chn_err__setf(err, CHN_ERR_MEMORY, "pool: no memory");
        return NULL;
    }
    for (unsigned i = 0; i < p->options.n_max; i++) p->slots[i].pool = p;
    p->timer.data = p;
    p->n_open = 1;
    return p;
}
