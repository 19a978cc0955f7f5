/* The real HTTP client, governor and spool, and a scripted server on the same loop. The clock is set by
 * hand: a millisecond a turn. */
#ifndef TEST_POLLER_FIXTURE_H
#define TEST_POLLER_FIXTURE_H

#include "../lib/moved.h"
#include "souk/core/log.h"
#include "souk/poller.h"
#include "test_dir.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define TURNS_MAX 20000
#define SEGMENT_BYTES (64u << 10)

/* What the server says to the n-th request; the last one again and again. NULL: it says nothing. */
struct script {
    const char *answers[8];
    size_t n;
};

struct peer {
    uv_tcp_t tcp;
    struct fixture *f;
    char in[4096];
    size_t n_in;
};

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    uv_timer_t beat;
    uv_tcp_t listener;
    struct peer *peers[16];
    size_t n_peers;
    char base_url[64];
    const struct script *script;
    size_t n_requests, limits_behind; /* Requests that came before their permit was synced. */
    char last_request[4096];
    struct spool *spool;
    struct governor *governor;
    struct endpoint *endpoint;
    struct http *http;
    struct source_settings settings;
    struct stream_spec streams[STREAMS_MAX];
    struct poller *poller;
    int n_closed;
    int (*bearer)(void *ctx, const char *source, const char *scope, char *out, size_t size, struct err *e);
    void (*bearer_refused)(void *ctx, const char *source, const char *scope, const char *token);
    int (*refresh_token)(void *ctx, char id[LOGIN_ID_SIZE], char *out, size_t size, struct err *e);
    void (*keep_secret)(void *ctx, const char *id, struct slice secret);
    const struct gate *gate; /* NULL: none. */
    size_t body_max;
    void *data; /* The test's own. */
};

/* Reading back what was kept. */

struct kept {
    size_t n_limits, n_pages, n_requests, n_stale, n_unchanged;
    struct request_facts last; /* Its slices are gone but for those below. */
    char status[32], cursor_to[64], path[64];
};

static void read_spool(struct fixture *f, struct kept *out) {
    struct spool_status status;
    struct spool_reader r;
    struct spool_record rec;
    struct err e;
    *out = (struct kept){0};
    spool__status(f->spool, &status);
    spool_reader__init(&r, f->spool, status.first_lsn);
    while (spool_reader__next(&r, status.synced_lsn, &rec, &e) == 1) {
        struct slice body;
        out->n_limits += rec.type == SPOOL_LIMITS;
        if (rec.type != SPOOL_PAGE && rec.type != SPOOL_REQUEST) continue;
        if (journal__decode(rec.payload, &out->last, &body) != 0) continue; /* The filler of a test. */
        out->n_pages += rec.type == SPOOL_PAGE;
        out->n_requests += rec.type == SPOOL_REQUEST;
        out->n_stale += rec.type == SPOOL_PAGE && out->last.freshness == PAGE_STALE;
        out->n_unchanged += rec.type == SPOOL_PAGE && out->last.freshness == PAGE_REVALIDATED;
        snprintf(out->status, sizeof out->status, "%.*s", SLICE_FMT(out->last.status));
        snprintf(out->path, sizeof out->path, "%.*s", SLICE_FMT(out->last.path));
        snprintf(out->cursor_to, sizeof out->cursor_to, "%.*s", SLICE_FMT(out->last.cursor_to));
    }
    spool_reader__fini(&r);
}

/* The server. */

static void on_peer_closed(uv_handle_t *h) { free(h->data); }
static void on_written(uv_write_t *w, int status) {
    (void)status;
    free(w);
}

static void answer(struct peer *p) {
    struct fixture *f = p->f;
    struct kept kept;
    size_t at = f->n_requests < f->script->n ? f->n_requests : f->script->n - 1;
    const char *text = f->script->answers[at];
    memcpy(f->last_request, p->in, p->n_in + 1);
    p->n_in = 0;
    f->n_requests++;
    read_spool(f, &kept);
    f->limits_behind += kept.n_limits < f->n_requests;
    if (text == NULL) return;
    uv_write_t *w = calloc(1, sizeof *w);
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
    assert_int_equal(uv_write(w, (uv_stream_t *)&p->tcp, &b, 1, on_written), 0);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out) {
    struct peer *p = h->data;
    (void)hint;
    *out = uv_buf_init(p->in + p->n_in, (unsigned)(sizeof p->in - 1 - p->n_in));
}
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    struct peer *p = s->data;
    (void)b;
    if (n < 0) {
        uv_read_stop(s); /* Closed with the fixture. */
        return;
    }
    p->n_in += (size_t)n;
    p->in[p->n_in] = '\0';
    if (strstr(p->in, "\r\n\r\n") != NULL) answer(p);
}
static void on_connection(uv_stream_t *listener, int status) {
    struct fixture *f = listener->data;
    struct peer *p = calloc(1, sizeof *p);
    assert_int_equal(status, 0);
    p->f = f;
    uv_tcp_init(&f->loop, &p->tcp);
    p->tcp.data = p;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
    assert_true(f->n_peers < sizeof f->peers / sizeof *f->peers);
    f->peers[f->n_peers++] = p;
    uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

/* The fixture. */

static void on_beat(uv_timer_t *t) { (void)t; }
static void on_closed(void *data) { ((struct fixture *)data)->n_closed++; }

/* Whether a stream says the same of itself in both. */
static bool is_same(const struct poller_status *x, const struct stream_state *x_state, const struct poller_status *y) {
    return memcmp(x_state, y->state, sizeof *x_state) == 0 && memcmp(&x->counts, &y->counts, sizeof x->counts) == 0 &&
           x->doing == y->doing && x->body_bytes == y->body_bytes && x->entries == y->entries &&
           x->started_wall_ns == y->started_wall_ns && x->last_success_wall_ns == y->last_success_wall_ns &&
           x->last_new_wall_ns == y->last_new_wall_ns && x->last_advance_wall_ns == y->last_advance_wall_ns &&
           x->last_success_mono_ns == y->last_success_mono_ns && x->next_mono_ns == y->next_mono_ns &&
           x->frozen == y->frozen && x->held == y->held && x->seeding == y->seeding && x->spool_full == y->spool_full &&
           x->refused == y->refused && x->quiet == y->quiet && x->tokenless == y->tokenless &&
           x->n_refusals == y->n_refusals && x->refused_http == y->refused_http && x->done == y->done &&
           x->throttled_wall_ns == y->throttled_wall_ns && strcmp(x->last_error, y->last_error) == 0;
}

/* In each turn of each test: who looks only when the revision has changed misses nothing. */
static void turn(struct fixture *f) {
    struct poller_status before, after;
    static struct stream_state state;
    const struct poller *p = f->poller;
    uint64_t revision = p == NULL ? 0 : poller__revision(p);
    if (p != NULL) {
        poller__status(p, &before);
        memcpy(&state, before.state, sizeof state);
    }
    f->clock.mono_ns += NS_PER_MS;
    f->clock.wall_ns += NS_PER_MS;
    uv_run(&f->loop, UV_RUN_ONCE);
    if (p == NULL || f->poller != p) return;
    poller__status(p, &after);
    assert_true(is_same(&before, &state, &after) || poller__revision(p) != revision);
}

static struct endpoint *find_endpoint(void *ctx, const char *name) {
    (void)name;
    return ((struct fixture *)ctx)->endpoint;
}

static void open_spool(struct fixture *f) {
    struct err e = {0};
    struct spool_options options = {.dir = f->dir, .segment_bytes = SEGMENT_BYTES, .quota_bytes = 16 * SEGMENT_BYTES};
    if (spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &options, &e) != 0) fail_msg("%s", e.msg);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    snprintf(f->dir, sizeof f->dir, "/tmp/souk_poller_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    f->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1700000000 * NS_PER_S};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(metrics__init(&f->metrics), 0);
    uv_timer_init(&f->loop, &f->beat);
    uv_timer_start(&f->beat, on_beat, 1, 1);
    struct sockaddr_in addr;
    uv_ip4_addr("127.0.0.1", 0, &addr);
    uv_tcp_init(&f->loop, &f->listener);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 16, on_connection), 0);
    int len = sizeof addr;
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&addr, &len);
    snprintf(f->base_url, sizeof f->base_url, "http://127.0.0.1:%d", ntohs(addr.sin_port));
    open_spool(f);
    struct governor_options limits = {.host_gap_ns = 50 * NS_PER_MS};
    struct endpoint_options endpoint = {.name = "e", .host = "h", .rate_per_s = 1000, .hidden_first_ns = 1};
    assert_int_equal(governor__open(&f->governor, &f->loop, &f->clock, NULL, &limits, &e), 0);
    f->endpoint = governor__endpoint(f->governor, &endpoint);
    assert_non_null(f->endpoint);
    struct http_options http = {.user_agent = "test"};
    assert_int_equal(http__open(&f->http, &f->loop, &f->clock, &f->metrics, &http, &e), 0);
    *state = f;
    return 0;
}

static void open_source(struct fixture *f, const struct source_type *type, const struct script *script) {
    static const char *const realms[] = {"pc"}, *const leagues[] = {"Standard"}, *const kinds[] = {"exchange/Currency"};
    struct err e = {0};
    f->script = script;
    f->settings = (struct source_settings){.base_url = f->base_url, .seed_url = f->base_url, .start = "oldest",
                                           .realms = realms, .n_realms = 1, .leagues = leagues, .n_leagues = 1,
                                           .kinds = kinds, .n_kinds = 1, .period_ns = 20 * NS_PER_MS};
    assert_int_equal(type->streams(&f->settings, f->streams, &e), 1);
    struct poller_deps deps = {.loop = &f->loop, .clock = &f->clock, .metrics = &f->metrics, .governor = f->governor,
                               .http = f->http, .spool = f->spool, .endpoint = find_endpoint, .endpoint_ctx = f,
                               .bearer = f->bearer, .bearer_refused = f->bearer_refused, .bearer_ctx = f, .refresh_token = f->refresh_token,
                               .keep_secret = f->keep_secret, .login_ctx = f, .gate = f->gate, .body_max = f->body_max};
    assert_int_equal(poller__open(&f->poller, &deps, type, &f->settings, &f->streams[0], &e), 0);
}

static struct poller_status status_of(struct fixture *f) {
    struct poller_status s;
    poller__status(f->poller, &s);
    return s;
}

static void close_poller(struct fixture *f) {
    int before = f->n_closed;
    poller__close(f->poller, on_closed, f);
    for (int i = 0; f->n_closed == before; i++) {
        assert_true(i < TURNS_MAX);
        turn(f);
    }
    assert_int_equal(status_of(f).doing, POLL_STOPPED);
    poller__free(f->poller);
    f->poller = NULL;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f->poller != NULL) close_poller(f);
    f->n_closed = 0;
    http__close(f->http, on_closed, f);
    governor__close(f->governor, on_closed, f);
    spool__close(f->spool, on_closed, f);
    uv_close((uv_handle_t *)&f->listener, NULL);
    for (size_t i = 0; i < f->n_peers; i++) uv_close((uv_handle_t *)&f->peers[i]->tcp, on_peer_closed);
    while (f->n_closed < 3) turn(f);
    uv_close((uv_handle_t *)&f->beat, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    remove_dir(f->dir);
    free(f);
    return 0;
}

#define UNTIL(f, condition)                                                                                            \
    for (int turns = 0; !(condition); turn(f)) assert_true(turns++ < TURNS_MAX)

#endif
