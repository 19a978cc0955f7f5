/* One stream from plan to synced page: the real HTTP client, governor and spool, and a scripted server
 * on the same loop. The clock is set by hand: a millisecond a turn. */
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
};

/* Reading back what was kept. */

struct kept {
    size_t n_limits, n_pages, n_requests, n_stale, n_unchanged;
    struct request_facts last; /* Its slices are gone but for those below. */
    char status[32], cursor_to[64];
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

static void turn(struct fixture *f) {
    f->clock.mono_ns += NS_PER_MS;
    f->clock.wall_ns += NS_PER_MS;
    uv_run(&f->loop, UV_RUN_ONCE);
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

static void open_poller(struct fixture *f, const char *source, const struct script *script) {
    static const char *const realms[] = {"pc"}, *const leagues[] = {"Standard"}, *const kinds[] = {"exchange/Currency"};
    struct err e = {0};
    f->script = script;
    f->settings = (struct source_settings){.base_url = f->base_url, .seed_url = f->base_url, .start = "oldest",
                                           .realms = realms, .n_realms = 1, .leagues = leagues, .n_leagues = 1,
                                           .kinds = kinds, .n_kinds = 1, .period_ns = 20 * NS_PER_MS};
    const struct source_type *type = source__find(source);
    assert_int_equal(type->streams(&f->settings, f->streams, &e), 1);
    struct poller_deps deps = {.loop = &f->loop, .clock = &f->clock, .metrics = &f->metrics, .governor = f->governor,
                               .http = f->http, .spool = f->spool, .endpoint = find_endpoint, .endpoint_ctx = f};
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
    metrics__fini(&f->metrics);
    remove_dir(f->dir);
    free(f);
    return 0;
}

#define UNTIL(f, condition)                                                                                            \
    for (int turns = 0; !(condition); turn(f)) assert_true(turns++ < TURNS_MAX)

#define PAGE(next) "HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n{\"next_change_id\":\"" next "\",\"stashes\":[{}]}"
#define END(next) "HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"next_change_id\":\"" next "\",\"stashes\":[]}"
#define BAD "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{\"a\":1"
#define NINJA_OK "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 13\r\n\r\n{\"lines\":[1]}"

static void test_the_cursor_moves_once_a_page_is_synced(void **state) {
    static const struct script script = {{PAGE("1-1"), PAGE("1-2"), END("1-2")}, 3};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    for (int i = 0; status_of(f).counts.empty == 0; i++) { /* Never ahead of what is on disk. */
        assert_true(i < TURNS_MAX);
        turn(f);
        read_spool(f, &kept);
        const char *cursor = status_of(f).state->cursor;
        assert_true(kept.n_pages >= (size_t)(cursor[0] == '\0' ? 0 : cursor[2] - '0'));
    }
    assert_string_equal(status_of(f).state->cursor, "1-2");
    assert_true(status_of(f).state->caught_up);
    assert_int_equal(status_of(f).counts.fresh, 2);
    assert_int_equal(kept.n_pages, 2);
    assert_int_equal(f->limits_behind, 0); /* Each permit was synced before its request left. */
    assert_non_null(strstr(f->last_request, "?id=1-2 "));
    /* The end of the stream is asked for again, and moves nothing. */
    UNTIL(f, status_of(f).counts.empty == 3);
    assert_string_equal(status_of(f).state->cursor, "1-2");
}

static void test_a_bad_answer_leaves_the_cursor(void **state) {
    static const struct script script = {{PAGE("1-1"), BAD, PAGE("1-2"), END("1-2")}, 4};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).last_error[0] != '\0');
    assert_int_equal(status_of(f).counts.invalid, 1);
    assert_string_equal(status_of(f).state->cursor, "1-1");
    read_spool(f, &kept);
    assert_string_equal(kept.status, "invalid");
    assert_string_equal(kept.cursor_to, "1-1");
    UNTIL(f, status_of(f).counts.empty > 0); /* Asked again with the same cursor. */
    assert_string_equal(status_of(f).state->cursor, "1-2");
    assert_string_equal(status_of(f).last_error, "");
}

static void test_a_rewind_is_refused(void **state) {
    static const struct script script = {{PAGE("1-5"), PAGE("1-3"), PAGE("1-6"), END("1-6")}, 4};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).frozen);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_int_equal(status_of(f).counts.rewind, 1);
    assert_string_equal(status_of(f).state->cursor, "1-5");
    UNTIL(f, status_of(f).counts.empty > 0);
    assert_false(status_of(f).frozen);
    assert_string_equal(status_of(f).state->cursor, "1-6");
}

static void test_not_modified_repeats_the_last_body(void **state) {
    static const struct script script = {{NINJA_OK, "HTTP/1.1 304 Not Modified\r\n\r\n"}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests >= 3);
    assert_non_null(strstr(f->last_request, "If-None-Match: \"v1\""));
    read_spool(f, &kept);
    assert_true(kept.n_unchanged >= 1);
    assert_int_equal(status_of(f).counts.fresh, 1);
    assert_string_equal(status_of(f).state->etag, "\"v1\"");
}

static void test_after_a_restart_nothing_is_there_to_repeat(void **state) {
    static const struct script script = {{"HTTP/1.1 304 Not Modified\r\n\r\n", NINJA_OK}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__restore(f->poller, SLICE_LIT("\"v1\""), SLICE_LIT("\"v1\""));
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 1); /* Asked for without a condition, so the body came. */
    assert_null(strstr(f->last_request, "If-None-Match"));
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_int_equal(kept.n_unchanged, 0);
}

static void test_an_outage_shows_the_last_values_as_stale(void **state) {
    static const struct script script = {{NINJA_OK, "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n"}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.stale == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    read_spool(f, &kept);
    assert_int_equal(kept.n_stale, 1);
    assert_string_equal(kept.status, "error");
    assert_int_equal(kept.last.http_status, 503);
}

static void test_our_own_end_makes_no_stale_rows(void **state) {
    static const struct script script = {{NINJA_OK, NULL}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 2);
    for (int i = 0; i < 30; i++) turn(f); /* Longer than the period. */
    close_poller(f);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_int_equal(kept.n_stale, 0);
    assert_string_equal(kept.status, "error");
}

static void test_a_full_spool_keeps_the_page_waiting(void **state) {
    static const struct script script = {{PAGE("1-1"), END("1-1")}, 2};
    struct fixture *f = *state;
    static char filler[32 << 10];
    struct slice part = slice__of(filler, sizeof filler);
    struct err e = {0};
    struct kept kept;
    struct spool_status status;
    while (spool__append(f->spool, SPOOL_PAGE, 0, &part, 1, NULL, NULL, &e) != 0) turn(f);
    assert_int_equal(e.code, ERR_FULL);
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).spool_full);
    assert_int_equal(status_of(f).doing, POLL_KEEP);
    assert_string_equal(status_of(f).state->cursor, "");
    assert_int_equal(f->n_requests, 1);
    /* Room again, as everything below is stored. */
    UNTIL(f, (spool__status(f->spool, &status), status.synced_lsn == status.end_lsn));
    assert_true(spool__checkpoint(f->spool, status.synced_lsn, SLICE_LIT("x"), &e) != 0);
    UNTIL(f, status_of(f).counts.empty > 0);
    assert_string_equal(status_of(f).state->cursor, "1-1");
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_int_equal(f->n_requests, 2); /* The page was not asked for twice. */
}

static void test_it_can_be_closed_while_a_page_waits_for_the_spool(void **state) {
    static const struct script script = {{PAGE("1-1")}, 1};
    struct fixture *f = *state;
    static char filler[32 << 10];
    struct slice part = slice__of(filler, sizeof filler);
    struct err e = {0};
    while (spool__append(f->spool, SPOOL_PAGE, 0, &part, 1, NULL, NULL, &e) != 0) turn(f);
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).spool_full);
    close_poller(f);
}

static void test_it_can_be_closed_in_every_state(void **state) {
    static const struct script script = {{PAGE("1-1"), PAGE("1-2"), PAGE("1-3"), END("1-3")}, 4};
    static const enum poll_state states[] = {POLL_IDLE, POLL_WAIT, POLL_SAVE, POLL_FETCH, POLL_JUDGE, POLL_KEEP};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        f->n_requests = 0;
        open_poller(f, "psapi", &script);
        poller__start(f->poller);
        for (int k = 0; status_of(f).doing != states[i]; k++) {
            if (k == TURNS_MAX) fail_msg("never in state %d", (int)states[i]);
            turn(f);
        }
        close_poller(f);
    }
    assert_int_equal(http__inflight(f->http), 0);
    struct endpoint_status ep;
    governor__status(f->governor, 0, &ep); /* No permit is left behind. */
    assert_int_equal(ep.n_waiting + ep.n_inflight, 0);
}

static void test_a_page_that_was_received_is_kept_at_the_end(void **state) {
    static const struct script script = {{PAGE("1-1"), END("1-1")}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).doing == POLL_JUDGE);
    close_poller(f);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_string_equal(kept.cursor_to, "1-1");
}

static void test_a_disabled_endpoint_is_asked_again_later(void **state) {
    static const struct script script = {{"HTTP/1.1 403 No\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"}, 1};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).refused); /* A block page: the governor disables the host. */
    assert_int_equal(status_of(f).doing, POLL_IDLE);
    assert_true(status_of(f).next_mono_ns > f->clock.mono_ns);
    assert_int_equal(f->n_requests, 1);
}

static void test_the_first_cursor_comes_from_the_seed(void **state) {
    static const struct script script = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"psapi\":\"7-1\"}", PAGE("7-2"), END("7-2")}, 3};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    f->settings.start = "head";
    poller__start(f->poller);
    UNTIL(f, status_of(f).state->cursor[0] != '\0');
    assert_string_equal(status_of(f).state->cursor, "7-1");
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 0);
    assert_string_equal(kept.status, "seeded");
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "/public-stash-tabs?id=7-1 "));
}

static void test_a_log_is_replayed_to_the_same_cursor(void **state) {
    static const struct script script = {{PAGE("1-1")}, 1};
    struct fixture *f = *state;
    struct request_facts facts = {.flags = REQUEST_SEED, .cursor_to = SLICE_LIT("7-1")};
    open_poller(f, "psapi", &script);
    poller__restore(f->poller, SLICE_LIT("6-1"), SLICE_LIT("e"));
    poller__replay(f->poller, &facts);
    assert_string_equal(status_of(f).state->cursor, "7-1");
    facts = (struct request_facts){.cursor_to = SLICE_LIT("9-9"), .http_status = 200, .received_wall_ns = 5};
    poller__replay(f->poller, &facts); /* It moved nothing. */
    assert_string_equal(status_of(f).state->cursor, "7-1");
    assert_true(status_of(f).last_success_wall_ns == 5);
    poller__start(f->poller);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
struct steered {
    int n, status;
};
static void on_steered(void *data, int status) {
    struct steered *s = data;
    s->n++;
    s->status = status;
}

static void steer(struct fixture *f, enum poller_steer what, const char *cursor, const char *reason) {
    struct steered done = {0};
    struct err e = {0};
    if (poller__steer(f->poller, what, cursor, reason, on_steered, &done, &e) != 0) fail_msg("%s", e.msg);
    UNTIL(f, done.n == 1);
    assert_int_equal(done.status, 0);
}

/* What a restart makes of the log: all its requests, in order, told to a poller of its own. */
static void replay_into(struct fixture *f, struct poller *p) {
    struct spool_status status;
    struct spool_reader r;
    struct spool_record rec;
    struct request_facts facts;
    struct slice body;
    struct err e;
    spool__status(f->spool, &status);
    spool_reader__init(&r, f->spool, status.first_lsn);
    while (spool_reader__next(&r, status.synced_lsn, &rec, &e) == 1)
        if ((rec.type == SPOOL_PAGE || rec.type == SPOOL_REQUEST) && journal__decode(rec.payload, &facts, &body) == 0)
            poller__replay(p, &facts);
    spool_reader__fini(&r);
}

static void test_a_cursor_is_set_by_hand(void **state) {
    static const struct script script = {{PAGE("1-1"), END("1-1"), END("1-1"), END("1-1"), PAGE("7-9"), END("7-9")}, 6};
    struct fixture *f = *state;
    struct kept kept;
    struct err e;
    open_poller(f, "psapi", &script);
    f->settings.period_ns = 3600 * NS_PER_S; /* It waits at the end of the stream. */
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.empty == 1 && status_of(f).doing == POLL_IDLE);
    static const char *const bad[] = {"", "here", "1-", "-1", "1--2", "1-2 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(poller__steer(f->poller, POLLER_SET, bad[i], "why", on_steered, NULL, &e), ERR_CONFIG);
    f->n_requests = 4;
    steer(f, POLLER_SET, "7-8", "a test");
    read_spool(f, &kept);
    assert_string_equal(kept.status, "set");
    assert_string_equal(kept.cursor_to, "7-8");
    UNTIL(f, status_of(f).counts.empty == 2 && status_of(f).doing == POLL_IDLE); /* At once, not in an hour. */
    assert_string_equal(status_of(f).state->cursor, "7-9");
    assert_string_equal(status_of(f).last_cursor, "7-8");
    steer(f, POLLER_SET, "3-4", "back again"); /* A person may go back; what follows is no rewind. */
    UNTIL(f, status_of(f).doing == POLL_IDLE && status_of(f).counts.empty == 3);
    assert_int_equal(status_of(f).counts.rewind, 0);
}

static void test_frozen_by_hand_asks_nothing_and_survives_a_restart(void **state) {
    static const struct script script = {{END("1-1")}, 1};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 2);
    steer(f, POLLER_FREEZE, "", "the venue asked us"); /* In the middle of a request, or of a wait. */
    assert_true(status_of(f).held);
    assert_string_equal(status_of(f).last_error, "frozen: the venue asked us");
    size_t n = f->n_requests;
    for (int i = 0; i < 500; i++) turn(f);
    poller__poke(f->poller);
    for (int i = 0; i < 500; i++) turn(f);
    assert_int_equal(f->n_requests, n);
    close_poller(f);
    open_poller(f, "psapi", &script);
    replay_into(f, f->poller);
    poller__start(f->poller);
    for (int i = 0; i < 500; i++) turn(f);
    assert_int_equal(f->n_requests, n);
    assert_string_equal(poller__hold(f->poller), "the venue asked us");
    steer(f, POLLER_SET, "5-6", "on from here"); /* It stays frozen. */
    assert_true(status_of(f).held);
    steer(f, POLLER_UNFREEZE, "", "");
    UNTIL(f, f->n_requests > n);
    assert_non_null(strstr(f->last_request, "?id=5-6 "));
    close_poller(f);
    open_poller(f, "psapi", &script);
    replay_into(f, f->poller);
    assert_string_equal(poller__hold(f->poller), "");
    poller__start(f->poller);
}

static void test_a_change_that_comes_too_late_is_answered(void **state) {
    static const struct script script = {{NULL}, 1};
    struct fixture *f = *state;
    struct steered first = {0};
    struct err e;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 1); /* The server says nothing: the request hangs. */
    assert_int_equal(poller__steer(f->poller, POLLER_FREEZE, "", "why", on_steered, &first, &e), 0);
    assert_int_equal(poller__steer(f->poller, POLLER_UNFREEZE, "", "", on_steered, NULL, &e), ERR_REFUSED);
    assert_int_equal(first.n, 0);
    close_poller(f);
    assert_int_equal(first.n, 1);
    assert_int_equal(first.status, ERR_CANCELED);
}

static void test_a_backfill_ends_where_it_was_told_to(void **state) {
    static const struct script script = {{PAGE("1-2"), PAGE("1-3"), PAGE("1-4"), PAGE("1-5")}, 4};
    static const struct poller_bound bound = {.until = "1-4", .gap_ns = 300 * NS_PER_MS};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__bound(f->poller, &bound);
    poller__restore(f->poller, SLICE_LIT("1-1"), SLICE_LIT(""));
    int64_t since_ns = f->clock.mono_ns;
    poller__start(f->poller);
    UNTIL(f, status_of(f).done);
    assert_string_equal(status_of(f).state->cursor, "1-4");
    assert_int_equal(f->n_requests, 3);
    assert_true(f->clock.mono_ns - since_ns >= 600 * NS_PER_MS); /* Three requests, two gaps. */
    for (int i = 0; i < 1000; i++) turn(f);
    assert_int_equal(f->n_requests, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_cursor_moves_once_a_page_is_synced),
        TEST(test_a_bad_answer_leaves_the_cursor),
        TEST(test_a_rewind_is_refused),
        TEST(test_not_modified_repeats_the_last_body),
        TEST(test_after_a_restart_nothing_is_there_to_repeat),
        TEST(test_an_outage_shows_the_last_values_as_stale),
        TEST(test_our_own_end_makes_no_stale_rows),
        TEST(test_a_full_spool_keeps_the_page_waiting),
        TEST(test_it_can_be_closed_while_a_page_waits_for_the_spool),
        TEST(test_it_can_be_closed_in_every_state),
        TEST(test_a_page_that_was_received_is_kept_at_the_end),
        TEST(test_a_disabled_endpoint_is_asked_again_later),
        TEST(test_the_first_cursor_comes_from_the_seed),
        TEST(test_a_log_is_replayed_to_the_same_cursor),
        TEST(test_a_cursor_is_set_by_hand),
        TEST(test_frozen_by_hand_asks_nothing_and_survives_a_restart),
        TEST(test_a_change_that_comes_too_late_is_answered),
        TEST(test_a_backfill_ends_where_it_was_told_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
