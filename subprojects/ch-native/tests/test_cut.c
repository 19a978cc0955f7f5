/*
 * A server of our own that speaks one conversation and hangs up after any number of its bytes:
 * whatever was said until then, an insert may be called stored only when the end of stream was
 * read.
 */
#include "client.h"
#include "packet.h"
#include "request.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { REVISION = 54460 };

/* It answers a hello, then the first empty packet (end of the external tables), then the second
 * (end of the rows). */
struct fake {
    uv_tcp_t listener, peer;
    bool has_peer;
    uint16_t port;
    struct chn_buf script, heard;
    size_t ends[3];       /* Of the script's three answers. */
    size_t said, allowed; /* Bytes; it hangs up once all that are allowed are out. */
    unsigned n_answered;
    char bytes[1 << 16];
};

static void on_peer_closed(uv_handle_t *handle) { ((struct fake *)handle->data)->has_peer = false; }

static void hang_up(struct fake *f) {
    if (f->has_peer && !uv_is_closing((uv_handle_t *)&f->peer))
        uv_close((uv_handle_t *)&f->peer, on_peer_closed);
}

static void say_next(struct fake *f) {
    size_t end = f->ends[f->n_answered++];
    size_t n = (end < f->allowed ? end : f->allowed) - f->said;
    uv_buf_t buf = uv_buf_init((char *)f->script.data + f->said, (unsigned)n);
    if (n > 0) assert_int_equal(uv_try_write((uv_stream_t *)&f->peer, &buf, 1), (int)n);
    f->said += n;
    if (f->said == f->allowed) hang_up(f);
}

static unsigned count_ends(const struct chn_buf *heard) {
    unsigned n = 0;
    for (size_t i = 0; i + sizeof chn_empty_packet <= heard->n; i++)
        n += memcmp(heard->data + i, chn_empty_packet, sizeof chn_empty_packet) == 0;
    return n;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct fake *f = handle->data;
    (void)suggested;
    *buf = uv_buf_init(f->bytes, sizeof f->bytes);
}

static void on_heard(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct fake *f = stream->data;
    if (n < 0) hang_up(f);
    if (n <= 0) return;
    chn_buf__put(&f->heard, buf->base, (size_t)n);
    while (f->has_peer && !uv_is_closing((uv_handle_t *)stream) && f->n_answered < 3 &&
           f->n_answered <= count_ends(&f->heard))
        say_next(f);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct fake *f = listener->data;
    assert_int_equal(status, 0);
    uv_tcp_init(listener->loop, &f->peer);
    f->peer.data = f;
    f->has_peer = true;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&f->peer), 0);
    uv_read_start((uv_stream_t *)&f->peer, on_alloc, on_heard);
}

static void write_script(struct fake *f) {
    struct chn_buf *b = &f->script;
    chn_buf__put_varuint(b, 0);
    chn_buf__put_string(b, "ClickHouse");
    chn_buf__put_varuint(b, 26);
    chn_buf__put_varuint(b, 7);
    chn_buf__put_varuint(b, REVISION);
    chn_buf__put_string(b, "UTC");
    chn_buf__put_string(b, "fake");
    chn_buf__put_varuint(b, 2);
    f->ends[0] = b->n;
    chn_buf__put(b, chn_empty_packet, 10);
    b->data[f->ends[0]] = 1; /* A data packet of the server. */
    chn_buf__put_varuint(b, 1);
    chn_buf__put_varuint(b, 0);
    chn_buf__put_string(b, "n");
    chn_buf__put_string(b, "UInt32");
    chn_buf__put_u8(b, 0);
    f->ends[1] = b->n;
    static const uint8_t progress[] = {3, 0, 0, 0, 3, 12, 9};
    chn_buf__put(b, progress, sizeof progress);
    chn_buf__put_u8(b, 5);
    f->ends[2] = b->n;
}

static void fake__open(struct fake *f, uv_loop_t *loop) {
    struct sockaddr_in in;
    int n = sizeof in;
    *f = (struct fake){0};
    write_script(f);
    uv_ip4_addr("127.0.0.1", 0, &in);
    assert_int_equal(uv_tcp_init(loop, &f->listener), 0);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&in, 0), 0);
    assert_int_equal(uv_tcp_getsockname(&f->listener, (struct sockaddr *)&in, &n), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 8, on_connection), 0);
    f->port = ntohs(in.sin_port);
}

static void fake__close(struct fake *f) {
    hang_up(f);
    uv_close((uv_handle_t *)&f->listener, NULL);
}

static void fake__fini(struct fake *f) {
    chn_buf__fini(&f->script);
    chn_buf__fini(&f->heard);
}

struct fixture {
    struct client client;
    struct fake fake;
    struct chn_builder *builder;
    struct chn_column column;
    struct chn_insert insert;
};

static void on_lost(struct chn_conn *conn, void *data, const struct chn_err *err) {
    struct fixture *x = data;
    assert_ptr_equal(conn, x->client.conn);
    x->client.n_lost++;
    x->client.err = *err;
}

/* The loop must be there before the fake's port is, which the client's options hold: the client is
 * opened by hand. */
static void fixture__open(struct fixture *x, size_t allowed) {
    *x = (struct fixture){0};
    uv_loop_init(&x->client.loop);
    fake__open(&x->fake, &x->client.loop);
    x->fake.allowed = allowed < x->fake.script.n
                          ? allowed
                          : x->fake.script.n + 1; /* One more: it never hangs up. */
    const struct chn_options options = {
        .port = x->fake.port, .revision = REVISION, .on_lost = on_lost, .data = x};
    x->client.conn = chn_conn__new(&x->client.loop, &options, NULL);
    x->builder = chn_builder__new("n", "UInt32", 1024, NULL);
    for (unsigned i = 0; i < 3; i++) chn_builder__u64(x->builder, i);
    assert_int_equal(chn_builder__column(x->builder, &x->column), 0);
    x->insert =
        (struct chn_insert){.table = "t", .columns = &x->column, .n_columns = 1, .n_rows = 3};
}

static void fixture__close(struct fixture *x) {
    fake__close(&x->fake);
    client__close(&x->client);
    fake__fini(&x->fake);
    chn_builder__free(x->builder);
}

static void test_an_insert_cut_anywhere_is_never_called_stored(void **state) {
    (void)state;
    static struct fixture x;
    size_t n_bytes = SIZE_MAX, hello = 0, header = 0;
    unsigned outcomes[4] = {0};
    for (size_t cut = 1; cut <= n_bytes; cut++) {
        fixture__open(&x, cut);
        n_bytes = x.fake.script.n;
        hello = x.fake.ends[0];
        header = x.fake.ends[1];
        int code = client__connect(&x.client);
        if (cut < hello) {
            assert_int_equal(code, CHN_ERR_LOST);
        } else {
            assert_int_equal(code, 0);
            x.client.done = false;
            if (chn_conn__insert(x.client.conn, &x.insert, client__on_insert, &x.client) == 0) {
                client__wait(&x.client);
                outcomes[x.client.outcome]++;
                /* Rows leave only when the whole header has come, and only the last byte says that
                 * they are stored. */
                assert_int_equal(x.client.outcome, cut == n_bytes  ? CHN_OK
                                                   : cut >= header ? CHN_UNKNOWN
                                                                   : CHN_NOT_SENT);
            }
        }
        fixture__close(&x);
    }
    assert_int_equal(outcomes[CHN_OK], 1);
    assert_int_equal(outcomes[CHN_UNKNOWN], n_bytes - header);
    assert_int_equal(outcomes[CHN_NOT_SENT], header - hello);
}

static void test_an_early_end_of_stream_is_not_believed(void **state) {
    (void)state;
    static struct fixture x;
    fixture__open(&x, SIZE_MAX);
    x.fake.script.data[x.fake.ends[0]] = 5; /* In place of the header. */
    assert_int_equal(client__connect(&x.client), 0);
    assert_int_equal(client__insert(&x.client, &x.insert), CHN_NOT_SENT);
    assert_int_equal(x.client.err.code, CHN_ERR_PROTOCOL);
    fixture__close(&x);
}

static void test_a_lost_idle_connection_is_told(void **state) {
    (void)state;
    static struct fixture x;
    fixture__open(&x, SIZE_MAX);
    assert_int_equal(client__connect(&x.client), 0);
    assert_int_equal(x.client.n_lost, 0);
    hang_up(&x.fake);
    while (x.client.n_lost == 0) uv_run(&x.client.loop, UV_RUN_ONCE);
    assert_int_equal(x.client.err.code, CHN_ERR_LOST);
    assert_true(chn_conn__is_closed(x.client.conn));
    fixture__close(&x);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_insert_cut_anywhere_is_never_called_stored),
        cmocka_unit_test(test_an_early_end_of_stream_is_not_believed),
        cmocka_unit_test(test_a_lost_idle_connection_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
