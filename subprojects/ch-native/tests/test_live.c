/* Against real servers: `test_chn_live embedded` and `test_chn_live old`. Exits 77 (skipped) where there is none. */
#include "client.h"
#include "servers.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct server server;
static const uint32_t revisions[] = {54412, 54429, 54460, 54464};
enum { N_REVISIONS = sizeof revisions / sizeof revisions[0] };

static struct chn_options options_at(uint32_t revision) {
    return (struct chn_options){.port = server.port, .revision = revision};
}

static void open_at(struct client *c, uint32_t revision) {
    struct chn_options options = options_at(revision);
    client__open(c, &options);
    if (client__connect(c) != 0) fail_msg("%s", c->err.msg);
}

static void run_sql(struct client *c, const char *sql) {
    if (client__sql(c, sql, CHN_NO_COMPRESSION) != 0) fail_msg("%s", c->err.msg);
}

static void test_hello_at_every_revision(void **state) {
    (void)state;
    for (int i = 0; i < N_REVISIONS; i++) {
        struct client c;
        open_at(&c, revisions[i]);
        const struct chn_server *s = chn_conn__server(c.conn);
        assert_true(s->negotiated == (s->revision < revisions[i] ? s->revision : revisions[i]));
        assert_string_equal(s->name, "ClickHouse");
        assert_int_equal(s->major, server.embedded ? 26 : 18);
        assert_int_equal(client__ping(&c), 0);
        run_sql(&c, "SELECT 1 + 1");
        assert_string_equal(c.text, "2\n");
        assert_int_equal(client__ping(&c), 0);
        client__close(&c);
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    const char *why = argc > 1 && strcmp(argv[1], "old") == 0 ? server__start_old(&server) : server__start_embedded(&server);
    if (why != NULL) {
        printf("skipped: %s\n", why);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_at_every_revision),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server__stop(&server);
    return failed;
}
