/* Texts that name hosts, and what is no host; a file of authorities that cannot be used. */
#include "souk/store_address.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void test_a_host_may_have_a_port(void **state) {
    (void)state;
    static const struct {
        const char *text, *name; /* NULL: refused. */
        uint16_t port;
    } table[] = {{"a.example", "a.example", 9000}, {"a.example:9440", "a.example", 9440}, {"127.0.0.1:1", "127.0.0.1", 1},
                 {"::1", "::1", 9000}, {"[::1]", "::1", 9000}, {"[fe80::1]:65535", "fe80::1", 65535},
                 {"", NULL, 0}, {":9000", NULL, 0}, {"a:", NULL, 0}, {"a:0", NULL, 0}, {"a:65536", NULL, 0}, {"a:x", NULL, 0},
                 {"[::1", NULL, 0}, {"[::1]9000", NULL, 0}, {"http://a", NULL, 0}, {"u@a", NULL, 0}, {"a b", NULL, 0}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char name[64];
        uint16_t port = 9000;
        assert_int_equal(store_address__parse(table[i].text, name, sizeof name, &port), table[i].name != NULL);
        if (table[i].name == NULL) continue;
        assert_string_equal(name, table[i].name);
        assert_int_equal(port, table[i].port);
    }
    char small[4];
    uint16_t port;
    assert_false(store_address__parse("abcd", small, sizeof small, &port));
}

static void test_options_become_what_a_connection_wants(void **state) {
    (void)state;
    static const char *const hosts[] = {"a:1", "b"}, *const wrong[] = {"a:1", "b:c"};
    struct store_options o = {.port = 9000, .hosts = hosts, .n_hosts = 2};
    struct chn_options options = {0};
    struct store_address p;
    struct err e;
    assert_int_equal(store_address__init(&p, &o, &e), 0);
    store_address__apply(&p, &options);
    assert_int_equal(options.n_hosts, 2);
    assert_string_equal(options.hosts[1].name, "b");
    assert_int_equal(options.hosts[1].port, 9000);
    assert_null(options.tls);
    store_address__fini(&p);
    o.hosts = wrong;
    assert_int_equal(store_address__init(&p, &o, &e), ERR_CONFIG);
    assert_non_null(strstr(e.msg, "b:c"));
    o = (struct store_options){.tls = {.enabled = true, .ca_file = "/nonexistent.pem"}};
    assert_int_equal(store_address__init(&p, &o, &e), ERR_CONFIG);
    assert_non_null(strstr(e.msg, "/nonexistent.pem"));
    assert_null(p.tls);
    char dir[] = "/tmp/souk_address_XXXXXX", fifo[64];
    assert_non_null(mkdtemp(dir));
    snprintf(fifo, sizeof fifo, "%s/ca", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    o.tls.ca_file = fifo;
    alarm(120); /* Without the mend it hangs. */
    assert_int_equal(store_address__init(&p, &o, &e), ERR_CONFIG);
    alarm(0);
    assert_non_null(strstr(e.msg, "it is no regular file"));
    unlink(fifo);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_host_may_have_a_port),
                                       cmocka_unit_test(test_options_become_what_a_connection_wants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
