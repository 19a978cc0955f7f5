/* Whom a connection believes: certificates of every kind that has to be refused, and those that must
 * not be. Needs no ClickHouse. */
#include "certs.h"
#include "client.h"
#include "relay.h"

#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[] = "/tmp/chn-tls-XXXXXX";

static const char *file(const char *name) {
    static char paths[16][64];
    static unsigned i;
    char *path = paths[i++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s.pem", dir, name);
    return path;
}

/* Connects to @host at a relay with @cert. @return the code; the error is in @text. */
static int meet(const struct relay_options *relay, const struct chn_tls_options *options,
                const char *host, char text[256]) {
    struct relay r;
    struct client c;
    struct chn_err err = {0};
    assert_true(relay__start(&r, relay));
    struct chn_tls *tls = chn_tls__new(options, &err);
    if (tls == NULL) fail_msg("%s", err.msg);
    client__open(&c, &(struct chn_options){
                         .host = host, .port = r.port, .tls = tls, .hello_ms = 100});
    chn_tls__free(tls); /* The connection has its own share. */
    int code = client__connect(&c);
    snprintf(text, 256, "%s", c.err.msg);
    client__close(&c);
    relay__stop(&r);
    return code;
}

static void expect(const char *cert, const struct chn_tls_options *options, const char *host,
                   int code, const char *words) {
    char text[256];
    int got = meet(&(struct relay_options){.cert_file = file(cert)}, options, host, text);
    if (got != code || strstr(text, words) == NULL)
        fail_msg("%s: %d (%s), not %d (%s)", cert, got, text, code, words);
}

/* Nobody answers the hello behind the relay: with TLS agreed on, that is what fails. */
#define AGREED CHN_ERR_TIMEOUT, "saying hello"

static void test_a_good_certificate_is_believed(void **state) {
    (void)state;
    const struct chn_tls_options options = {.ca_file = file("ca")};
    expect("good", &options, "127.0.0.1", AGREED);
    expect("good", &options, "localhost", AGREED);
}

static void test_certificates_are_refused_with_the_reason(void **state) {
    (void)state;
    const struct chn_tls_options options = {.ca_file = file("ca")};
    expect("expired", &options, "127.0.0.1", CHN_ERR_TLS, "certificate of 127.0.0.1: expired at 2");
    expect("early", &options, "127.0.0.1", CHN_ERR_TLS, "not valid before 2");
    expect("wrong-host", &options, "127.0.0.1", CHN_ERR_TLS,
           "certificate of 127.0.0.1: is for another host (db.example, *.db.example)");
    expect("wrong-host", &options, "localhost", CHN_ERR_TLS,
           "certificate of localhost: is for another host (db.example");
    expect("stranger", &options, "127.0.0.1", CHN_ERR_TLS, "unknown authority");
    expect("ca", &options, "localhost", CHN_ERR_TLS, "another host");
    /* The system's authorities know none of ours. */
    expect("good", &(struct chn_tls_options){0}, "127.0.0.1", CHN_ERR_TLS, "unknown authority");
}

static void test_a_server_name_takes_the_place_of_the_host(void **state) {
    (void)state;
    struct chn_tls_options options = {.ca_file = file("ca"), .server_name = "db.example"};
    expect("wrong-host", &options, "127.0.0.1", AGREED);
    expect("good", &options, "127.0.0.1", CHN_ERR_TLS, "certificate of db.example: is for another");
    options.server_name = "a.db.example";
    expect("wrong-host", &options, "127.0.0.1", AGREED);
}

static void test_verification_goes_off_only_by_name(void **state) {
    (void)state;
    static const char *const certs[] = {"expired", "wrong-host", "stranger"};
    for (size_t i = 0; i < 3; i++)
        expect(certs[i], &(struct chn_tls_options){.insecure = true}, "127.0.0.1", AGREED);
}

static void test_old_versions_are_not_spoken(void **state) {
    (void)state;
    char text[256];
    const struct relay_options old = {.cert_file = file("good"), .version_max = TLS1_1_VERSION},
                               fair = {.cert_file = file("good"), .version_max = TLS1_2_VERSION};
    const struct chn_tls_options options = {.ca_file = file("ca")};
    assert_int_equal(meet(&old, &options, "127.0.0.1", text), CHN_ERR_TLS);
    assert_int_equal(meet(&fair, &options, "127.0.0.1", text), CHN_ERR_TIMEOUT);
}

static void test_a_client_certificate_is_shown(void **state) {
    (void)state;
    char text[256];
    const struct relay_options strict = {.cert_file = file("good"), .client_ca = file("ca")};
    struct chn_tls_options options = {.ca_file = file("ca"), .cert_file = file("client")};
    assert_int_equal(meet(&strict, &options, "127.0.0.1", text), CHN_ERR_TIMEOUT);
    options.cert_file = NULL;
    assert_int_equal(meet(&strict, &options, "127.0.0.1", text), CHN_ERR_TLS);
    assert_non_null(strstr(text, "certificate required"));
}

static void test_files_that_will_not_do_are_named(void **state) {
    (void)state;
    struct chn_err err;
    assert_null(chn_tls__new(&(struct chn_tls_options){.ca_file = file("none")}, &err));
    assert_int_equal(err.code, CHN_ERR_TLS);
    assert_non_null(strstr(err.msg, "none.pem"));
    assert_null(chn_tls__new(&(struct chn_tls_options){.cert_file = file("none")}, &err));
    assert_non_null(strstr(err.msg, "none.pem"));
    const struct chn_tls_options mixed = {.cert_file = file("client"), .key_file = file("good")};
    assert_null(chn_tls__new(&mixed, &err));
    assert_non_null(strstr(err.msg, "good.pem"));
}

static void on_connection(uv_stream_t *listener, int status) {
    static uv_tcp_t peer;
    static const char words[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)words, sizeof words - 1);
    assert_int_equal(status, 0);
    uv_tcp_init(listener->loop, &peer);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer), 0);
    uv_try_write((uv_stream_t *)&peer, &buf, 1);
    uv_close((uv_handle_t *)&peer, NULL);
    uv_close((uv_handle_t *)listener, NULL);
}

static void test_a_port_without_tls_is_said(void **state) {
    (void)state;
    struct client c;
    struct sockaddr_in in;
    int n = sizeof in;
    static uv_tcp_t listener;
    struct chn_tls *tls = chn_tls__new(&(struct chn_tls_options){.insecure = true}, NULL);
    struct chn_options options = {.tls = tls};
    uv_loop_t loop;
    uv_loop_init(&loop);
    uv_ip4_addr("127.0.0.1", 0, &in);
    uv_tcp_init(&loop, &listener);
    assert_int_equal(uv_tcp_bind(&listener, (struct sockaddr *)&in, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&listener, 1, on_connection), 0);
    uv_tcp_getsockname(&listener, (struct sockaddr *)&in, &n);
    options.port = ntohs(in.sin_port);
    c = (struct client){0};
    struct chn_conn *conn = chn_conn__new(&loop, &options, NULL);
    assert_int_equal(chn_conn__connect(conn, client__on_connect, &c), 0);
    while (!c.done) uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(c.err.code, CHN_ERR_TLS);
    assert_non_null(strstr(c.err.msg, "port without TLS"));
    chn_conn__close(conn, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    chn_tls__free(tls);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL) return 1;
    certs__write(dir);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_certificate_is_believed),
        cmocka_unit_test(test_certificates_are_refused_with_the_reason),
        cmocka_unit_test(test_a_server_name_takes_the_place_of_the_host),
        cmocka_unit_test(test_verification_goes_off_only_by_name),
        cmocka_unit_test(test_old_versions_are_not_spoken),
        cmocka_unit_test(test_a_client_certificate_is_shown),
        cmocka_unit_test(test_files_that_will_not_do_are_named),
        cmocka_unit_test(test_a_port_without_tls_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0 ? 1 : failed;
}
