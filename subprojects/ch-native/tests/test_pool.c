/* The pool, with servers of our own that say hello, answer pings, and go away when told to. */
#include "packet.h"

#include <ch_native/ch_native.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PEERS_MAX = 16 };

struct fake {
    uv_tcp_t listener;
    uv_tcp_t *peers[PEERS_MAX]; /* Those that are open. */
    bool said_hello[PEERS_MAX];
    unsigned n_accepted, n_pings;
    bool silent; /* Says nothing more. */
    uint16_t port;
    char bytes[4096];
};

static void on_peer_closed(uv_handle_t *handle) { free(handle); }

static void hang_up(struct fake *f) {
    for (int i = 0; i < PEERS_MAX; i++)
        if (f->peers[i] != NULL) {
            uv_close((uv_handle_t *)f->peers[i], on_peer_closed);
            f->peers[i] = NULL;
        }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct fake *f = handle->data;
    (void)suggested;
    *buf = uv_buf_init(f->bytes, sizeof f->bytes);
}

static void on_heard(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct fake *f = stream->data;
    int at = 0;
    while (at < PEERS_MAX && f->peers[at] != (uv_tcp_t *)stream) at++;
    if (n < 0) {
        f->peers[at] = NULL;
        uv_close((uv_handle_t *)stream, on_peer_closed);
        return;
    }
    if (n == 0 || f->silent) return;
    struct chn_buf b = {0};
    if (!f->said_hello[at]) {
        chn_buf__put_u8(&b, 0);
        chn_buf__put_string(&b, "ClickHouse");
        chn_buf__put_varuint(&b, 26);
        chn_buf__put_varuint(&b, 7);
        chn_buf__put_varuint(&b, 54429);
        chn_buf__put_string(&b, "UTC");
        chn_buf__put_string(&b, "fake");
        chn_buf__put_varuint(&b, 2);
        f->said_hello[at] = true;
    } else if (n == 1 && buf->base[0] == 4) {
        chn_buf__put_u8(&b, 4);
        f->n_pings++;
    }
    uv_buf_t out = uv_buf_init((char *)b.data, (unsigned)b.n);
    if (b.n > 0) assert_int_equal(uv_try_write(stream, &out, 1), (int)b.n);
    chn_buf__fini(&b);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct fake *f = listener->data;
    int at = 0;
    assert_int_equal(status, 0);
    while (f->peers[at] != NULL) assert_true(++at < PEERS_MAX);
    f->peers[at] = malloc(sizeof(uv_tcp_t));
    f->said_hello[at] = false;
    uv_tcp_init(listener->loop, f->peers[at]);
    f->peers[at]->data = f;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)f->peers[at]), 0);
    uv_read_start((uv_stream_t *)f->peers[at], on_alloc, on_heard);
    f->n_accepted++;
}

static void fake__open(struct fake *f, uv_loop_t *loop) {
    struct sockaddr_in in;
    int n = sizeof in;
    *f = (struct fake){0};
    uv_ip4_addr("127.0.0.1", 0, &in);
    uv_tcp_init(loop, &f->listener);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&in, 0), 0);
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&in, &n);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 8, on_connection), 0);
    f->port = ntohs(in.sin_port);
}

/* --- The fixture: a loop, two servers, a pool on both --- */

struct fixture {
    uv_loop_t loop;
    struct fake fakes[2];
    struct chn_options conn;
    struct chn_pool_options options;
    struct chn_host hosts[2];
    struct chn_pool *pool;
    bool closed;
};

struct wish { /* For a connection. */
    uv_loop_t *loop;
    bool done;
    struct chn_conn *conn;
    struct chn_err err;
    unsigned order; /* As the how manieth it was told. */
};
static unsigned n_told;

static int setup(void **state) {
    struct fixture *x = calloc(1, sizeof *x);
    uv_loop_init(&x->loop);
    for (int i = 0; i < 2; i++) {
        fake__open(&x->fakes[i], &x->loop);
        x->hosts[i] = (struct chn_host){"127.0.0.1", x->fakes[i].port};
    }
    x->conn = (struct chn_options){.hosts = x->hosts, .n_hosts = 2, .query_ms = 100, .hello_ms = 100};
    x->options = (struct chn_pool_options){.conn = &x->conn,
                                           .n_max = 2,
                                           .order = CHN_POOL_FIRST_ALIVE,
                                           .backoff = {.base_ms = 5, .cap_ms = 20}};
    *state = x;
    return 0;
}

static void open_pool(struct fixture *x) {
    struct chn_err err = {0};
    x->pool = chn_pool__new(&x->loop, &x->options, &err);
    if (x->pool == NULL) fail_msg("%s", err.msg);
}

static void on_closed(void *data) { *(bool *)data = true; }

static int teardown(void **state) {
    struct fixture *x = *state;
    if (x->pool != NULL && !x->closed) chn_pool__close(x->pool, on_closed, &x->closed);
    for (int i = 0; i < 2; i++) {
        hang_up(&x->fakes[i]);
        if (!uv_is_closing((uv_handle_t *)&x->fakes[i].listener))
            uv_close((uv_handle_t *)&x->fakes[i].listener, NULL);
    }
    uv_run(&x->loop, UV_RUN_DEFAULT);
    int failed = (x->pool != NULL && !x->closed) || uv_loop_close(&x->loop) != 0;
    free(x);
    return failed;
}

static void on_acquired(struct chn_pool *pool, void *data, struct chn_conn *conn,
                        const struct chn_err *err) {
    struct wish *w = data;
    (void)pool;
    assert_true((conn == NULL) == (err != NULL));
    w->done = true;
    w->conn = conn;
    if (err != NULL) w->err = *err;
    w->order = n_told++;
    uv_stop(w->loop); /* UV_RUN_ONCE would go on to wait for the next thing to happen. */
}

static void ask(struct fixture *x, struct wish *w, uint32_t ms) {
    *w = (struct wish){.loop = &x->loop};
    assert_int_equal(chn_pool__acquire(x->pool, ms, on_acquired, w), 0);
    assert_false(w->done); /* Never from within. */
}

static void wait_for(struct fixture *x, const struct wish *w) {
    while (!w->done) uv_run(&x->loop, UV_RUN_DEFAULT);
}

static struct chn_conn *get(struct fixture *x) {
    struct wish w;
    ask(x, &w, 5000);
    wait_for(x, &w);
    if (w.conn == NULL) fail_msg("%s", w.err.msg);
    assert_true(chn_conn__is_ready(w.conn));
    return w.conn;
}

static struct chn_pool_status status_of(struct fixture *x) {
    struct chn_pool_status s;
    chn_pool__status(x->pool, &s);
    return s;
}

/* --- Tests --- */

static void test_connections_are_bounded_and_the_line_is_in_order(void **state) {
    struct fixture *x = *state;
    struct wish wishes[5];
    open_pool(x);
    n_told = 0;
    for (int i = 0; i < 5; i++) ask(x, &wishes[i], 5000);
    wait_for(x, &wishes[1]);
    assert_int_equal(x->fakes[0].n_accepted, 2);
    assert_int_equal(status_of(x).n_lent, 2);
    assert_int_equal(status_of(x).n_waiting, 3);
    for (int i = 2; i < 5; i++) {
        chn_pool__release(x->pool, wishes[i - 2].conn);
        wait_for(x, &wishes[i]);
        assert_int_equal(wishes[i].order, i);
        assert_non_null(wishes[i].conn);
    }
    assert_int_equal(x->fakes[0].n_accepted, 2);
    assert_int_equal(x->fakes[1].n_accepted, 0); /* The first is alive. */
}

static void test_hosts_take_turns(void **state) {
    struct fixture *x = *state;
    x->options.order = CHN_POOL_ROUND_ROBIN;
    x->options.n_max = 4;
    open_pool(x);
    for (int i = 0; i < 4; i++) get(x);
    assert_int_equal(x->fakes[0].n_accepted, 2);
    assert_int_equal(x->fakes[1].n_accepted, 2);
}

static void test_a_dead_host_is_passed_over(void **state) {
    struct fixture *x = *state;
    open_pool(x);
    uv_close((uv_handle_t *)&x->fakes[0].listener, NULL);
    struct chn_conn *conn = get(x);
    assert_int_equal(chn_conn__host(conn).port, x->fakes[1].port);
    struct chn_pool_status s = status_of(x);
    assert_true(s.hosts[0].n_failures >= 1);
    assert_int_equal(s.hosts[0].error.code, CHN_ERR_LOST);
    assert_int_equal(s.hosts[1].n_connections, 1);
}

static void test_a_host_that_dies_later_is_passed_over(void **state) {
    struct fixture *x = *state;
    open_pool(x);
    chn_pool__release(x->pool, get(x));
    assert_int_equal(x->fakes[0].n_accepted, 1);
    uv_close((uv_handle_t *)&x->fakes[0].listener, NULL);
    hang_up(&x->fakes[0]);
    while (status_of(x).n_idle > 0) uv_run(&x->loop, UV_RUN_ONCE); /* Dropped though nobody asks. */
    assert_int_equal(chn_conn__host(get(x)).port, x->fakes[1].port);
}

static void test_the_dead_are_never_lent(void **state) {
    struct fixture *x = *state;
    open_pool(x);
    struct chn_conn *conn = get(x);
    hang_up(&x->fakes[0]); /* While it is lent, and nothing is asked of it. */
    while (!chn_conn__is_closed(conn)) uv_run(&x->loop, UV_RUN_ONCE);
    chn_pool__release(x->pool, conn);
    get(x);
    assert_int_equal(x->fakes[0].n_accepted, 2);
}

static void test_a_long_rest_is_followed_by_a_ping(void **state) {
    struct fixture *x = *state;
    x->options.ping_after_ms = 1;
    open_pool(x);
    chn_pool__release(x->pool, get(x));
    uint64_t until = uv_now(&x->loop) + 2;
    while (uv_now(&x->loop) < until) uv_run(&x->loop, UV_RUN_NOWAIT);
    chn_pool__release(x->pool, get(x));
    assert_true(x->fakes[0].n_pings >= 1);
    assert_int_equal(x->fakes[0].n_accepted, 1);
    /* One that does not answer is not lent; and as its host does not say hello either, the other
     * host's is. */
    x->fakes[0].silent = true;
    until = uv_now(&x->loop) + 2;
    while (uv_now(&x->loop) < until) uv_run(&x->loop, UV_RUN_NOWAIT);
    assert_int_equal(chn_conn__host(get(x)).port, x->fakes[1].port);
}

static void count_result(struct chn_conn *conn, void *data, const struct chn_query_result *result) {
    (void)conn;
    assert_int_equal(result->err->code, CHN_ERR_CANCELED);
    ++*(unsigned *)data;
}

static void test_a_request_under_way_is_not_lent_on(void **state) {
    struct fixture *x = *state;
    open_pool(x);
    struct chn_conn *conn = get(x);
    const struct chn_query query = {.sql = "SELECT 1"};
    unsigned n_results = 0;
    assert_int_equal(chn_conn__query(conn, &query, count_result, &n_results), 0);
    chn_pool__release(x->pool, conn);
    assert_int_equal(n_results, 1); /* Canceled. */
    get(x);
    assert_int_equal(x->fakes[0].n_accepted, 2);
}

static void test_waiting_has_an_end(void **state) {
    struct fixture *x = *state;
    struct wish w;
    open_pool(x);
    uv_close((uv_handle_t *)&x->fakes[0].listener, NULL);
    uv_close((uv_handle_t *)&x->fakes[1].listener, NULL);
    ask(x, &w, 60);
    wait_for(x, &w);
    assert_int_equal(w.err.code, CHN_ERR_TIMEOUT);
    assert_non_null(strstr(w.err.msg, "connection refused"));
    assert_true(status_of(x).hosts[0].n_failures > 1); /* It was tried again and again. */
}

static void test_a_full_pool_says_so(void **state) {
    struct fixture *x = *state;
    struct wish w;
    x->options.n_max = 1;
    x->options.waiters_max = 1;
    open_pool(x);
    get(x);
    ask(x, &w, 30);
    assert_int_equal(chn_pool__acquire(x->pool, 10, on_acquired, NULL), CHN_ERR_LIMIT);
    wait_for(x, &w);
    assert_int_equal(w.err.code, CHN_ERR_TIMEOUT);
    assert_non_null(strstr(w.err.msg, "in use"));
}

static void test_the_old_are_not_kept(void **state) {
    struct fixture *x = *state;
    x->options.age_max_ms = 1;
    open_pool(x);
    struct chn_conn *conn = get(x);
    uint64_t until = uv_now(&x->loop) + 2;
    while (uv_now(&x->loop) < until) uv_run(&x->loop, UV_RUN_NOWAIT);
    chn_pool__release(x->pool, conn);
    get(x);
    assert_int_equal(x->fakes[0].n_accepted, 2);
}

static void test_closing_tells_everybody(void **state) {
    struct fixture *x = *state;
    struct wish waiting;
    open_pool(x);
    struct chn_conn *conn = get(x);
    get(x);
    ask(x, &waiting, 5000);
    chn_pool__close(x->pool, on_closed, &x->closed);
    assert_true(waiting.done);
    assert_int_equal(waiting.err.code, CHN_ERR_CANCELED);
    chn_pool__release(x->pool, conn); /* Too late, and harmless. */
    assert_int_equal(chn_pool__acquire(x->pool, 1, on_acquired, NULL), CHN_ERR_NOT_READY);
    while (!x->closed) uv_run(&x->loop, UV_RUN_ONCE);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_connections_are_bounded_and_the_line_is_in_order),
        TEST(test_hosts_take_turns),
        TEST(test_a_dead_host_is_passed_over),
        TEST(test_a_host_that_dies_later_is_passed_over),
        TEST(test_the_dead_are_never_lent),
        TEST(test_a_long_rest_is_followed_by_a_ping),
        TEST(test_a_request_under_way_is_not_lent_on),
        TEST(test_waiting_has_an_end),
        TEST(test_a_full_pool_says_so),
        TEST(test_the_old_are_not_kept),
        TEST(test_closing_tells_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
