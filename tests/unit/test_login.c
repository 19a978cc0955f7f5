/* A user's login: its file is for its owner alone and changes at once or not at all, and the port that waits for the
 * browser believes nobody but it. */
#include "../../src/cli/login_browser.h"
#include "../../src/streams/login_file.h"
#include "test_dir.h"
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>

struct fixture {
    char dir[64], path[128], next[128];
    struct err err;
    struct login_file file, read;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/souk_login_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/login.json", f->dir);
    snprintf(f->next, sizeof f->next, "%s/login.json.next", f->dir);
    f->file = (struct login_file){.id = "0123456789abcdef", .client_id = "me", .username = "exile \"q\"#1",
                                  .scope = "account:stashes", .refresh = "ref-01234567", .logged_in_s = 5,
                                  .renewed_s = 6, .access_until_s = 7};
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    remove_dir(f->dir);
    free(f);
    return 0;
}

static int write_it(struct fixture *f, const char *instead_of) {
    return login_file__write(f->dir, &f->file, instead_of, &f->err);
}
static int read_it(struct fixture *f) { return login_file__read(f->dir, &f->read, &f->err); }

/* Member by member: what is between them is anything. */
static void assert_same(const struct login_file *a, const struct login_file *b) {
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->client_id, b->client_id);
    assert_string_equal(a->username, b->username);
    assert_string_equal(a->scope, b->scope);
    assert_string_equal(a->refresh, b->refresh);
    assert_int_equal(a->logged_in_s, b->logged_in_s);
    assert_int_equal(a->renewed_s, b->renewed_s);
    assert_int_equal(a->access_until_s, b->access_until_s);
}

static void test_what_is_written_is_read(void **state) {
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(read_it(f), ERR_NOT_FOUND);
    assert_non_null(strstr(f->err.msg, "souk login account"));
    mode_t before = umask(0);
    assert_int_equal(write_it(f, NULL), 0);
    umask(before);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_not_equal(access(f->next, F_OK), 0);
    assert_int_equal(read_it(f), 0);
    assert_same(&f->read, &f->file);
    f->read = (struct login_file){.logged_in_s = 0};
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), 0);
    assert_same(&f->read, &f->file);
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), ERR_NOT_FOUND);
    assert_string_equal(f->read.refresh, "");
    assert_int_equal(read_it(f), ERR_NOT_FOUND);
    assert_string_equal(f->read.refresh, "");
}

static void test_a_renewal_never_replaces_another_login(void **state) {
    struct fixture *f = *state;
    assert_int_equal(write_it(f, f->file.id), ERR_REFUSED); /* Somebody has logged out. */
    assert_int_equal(read_it(f), ERR_NOT_FOUND);
    assert_int_equal(write_it(f, NULL), 0);
    snprintf(f->file.refresh, sizeof f->file.refresh, "ref-second");
    assert_int_equal(write_it(f, f->file.id), 0);
    struct login_file other = f->file;
    snprintf(other.id, sizeof other.id, "ffffffffffffffff");
    assert_int_equal(login_file__write(f->dir, &other, NULL, &f->err), 0); /* Somebody logs in again. */
    snprintf(f->file.refresh, sizeof f->file.refresh, "ref-third");
    assert_int_equal(write_it(f, f->file.id), ERR_REFUSED);
    assert_null(strstr(f->err.msg, "ref-"));
    assert_int_equal(read_it(f), 0);
    assert_string_equal(f->read.id, other.id);
    assert_string_equal(f->read.refresh, "ref-second");
}

static void test_what_cannot_be_written_leaves_what_was(void **state) {
    struct fixture *f = *state;
    assert_int_equal(write_it(f, NULL), 0);
    assert_int_equal(mkdir(f->next, 0700), 0); /* In the way, also for root. */
    snprintf(f->file.refresh, sizeof f->file.refresh, "ref-second");
    assert_int_equal(write_it(f, f->file.id), ERR_IO);
    assert_null(strstr(f->err.msg, "ref-"));
    assert_int_equal(read_it(f), 0);
    assert_string_equal(f->read.refresh, "ref-01234567");
    assert_int_equal(rmdir(f->next), 0);
    FILE *left = fopen(f->next, "w"); /* What a crash left is no hindrance. */
    fputs("half", left);
    fclose(left);
    assert_int_equal(write_it(f, f->file.id), 0);
    assert_int_equal(read_it(f), 0);
    assert_string_equal(f->read.refresh, "ref-second");
}

static void test_what_others_could_have_read_or_written_is_not_used(void **state) {
    struct fixture *f = *state;
    char elsewhere[128];
    assert_int_equal(write_it(f, NULL), 0);
    assert_int_equal(chmod(f->path, 0640), 0);
    assert_int_equal(read_it(f), ERR_REFUSED);
    assert_string_equal(f->read.id, "");
    chmod(f->path, 0600);
    snprintf(elsewhere, sizeof elsewhere, "%s/other", f->dir);
    assert_int_equal(rename(f->path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, f->path), 0);
    assert_int_equal(read_it(f), ERR_IO);
    unlink(f->path);
    static const char *const wrong[] = {"", "{", "[]", "{\"version\":2}", "{\"version\":1,\"id\":\"0123456789abcdef\"}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        FILE *out = fopen(f->path, "w");
        fputs(wrong[i], out);
        fclose(out);
        chmod(f->path, 0600);
        assert_int_equal(read_it(f), ERR_CORRUPT);
        assert_string_equal(f->read.id, "");
    }
}

/* Whatever is in its place goes, and what can still be read can be withdrawn. */
static void test_what_is_removed_is_read_if_it_can_be(void **state) {
    struct fixture *f = *state;
    assert_int_equal(write_it(f, NULL), 0);
    assert_int_equal(chmod(f->path, 0644), 0); /* Others have seen it: all the more. */
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), 0);
    assert_same(&f->read, &f->file);
    assert_int_not_equal(access(f->path, F_OK), 0);
    FILE *out = fopen(f->path, "w");
    fputs("{\"version\":1,\"refresh_token\":\"ref-\"", out);
    fclose(out);
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), ERR_CORRUPT);
    assert_int_not_equal(access(f->path, F_OK), 0);
    assert_string_equal(f->read.id, "");
    assert_int_equal(symlink("/etc/hostname", f->path), 0);
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), ERR_CORRUPT);
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), ERR_NOT_FOUND);
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(login_file__remove(f->dir, &f->read, &f->err), ERR_IO);
}

static void test_an_error_is_of_what_failed(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0700), 0); /* A file takes no folder's place. */
    assert_int_equal(write_it(f, NULL), ERR_IO);
    if (strstr(f->err.msg, strerror(EISDIR)) == NULL) fail_msg("%s", f->err.msg);
    assert_int_not_equal(access(f->next, F_OK), 0);
}

static void test_a_silent_answer_keeps_what_was(void **state) {
    struct fixture *f = *state;
    struct oauth_login got = {.life_s = 36000};
    login_file__take(&f->file, &got, 100);
    assert_string_equal(f->file.refresh, "ref-01234567");
    assert_string_equal(f->file.scope, "account:stashes");
    assert_true(f->file.renewed_s == 100 && f->file.access_until_s == 36100);
    got = (struct oauth_login){.refresh = "ref-next-one", .username = "renamed#1"};
    login_file__take(&f->file, &got, 200);
    assert_string_equal(f->file.refresh, "ref-next-one");
    assert_string_equal(f->file.username, "renamed#1");
    assert_true(f->file.access_until_s == 0); /* Unknown. */
}

/* The browser. */

#define STATE "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
#define WRONG "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFg"

struct visits {
    struct login_browser *browser;
    uint16_t port; /* 0: the browser's. */
    const char *requests[140];
    size_t n;
    int statuses[140];
    pthread_t thread;
};

static int connect_to(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Sends each request, and notes the status; the one that is let in is answered by the test. */
static void *visit(void *data) {
    struct visits *v = data;
    uint16_t port = v->port != 0 ? v->port : v->browser->port;
    for (size_t i = 0; i < v->n; i++) {
        char text[9000], answer[64] = "";
        int fd = connect_to(port);
        int n = snprintf(text, sizeof text, v->requests[i], port);
        if (send(fd, text, (size_t)n, MSG_NOSIGNAL) == n && recv(fd, answer, sizeof answer - 1, MSG_WAITALL) > 0)
            sscanf(answer, "HTTP/1.1 %d", &v->statuses[i]);
        close(fd);
    }
    return NULL;
}

static int wait_for(struct visits *v, char code[LOGIN_CODE_MAX], struct err *e) {
    pthread_create(&v->thread, NULL, visit, v);
    int came = login_browser__wait(v->browser, STATE, 60000, code, e);
    login_browser__show(v->browser, 200, "Logged in as <b>.");
    login_browser__close(v->browser);
    return came;
}

#define HOST "Host: 127.0.0.1:%d\r\n\r\n"

static void test_only_the_browser_is_let_in(void **state) {
    struct fixture *f = *state;
    struct login_browser b;
    char code[LOGIN_CODE_MAX] = "";
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1/back", &f->err), 0);
    struct visits v = {
        .browser = &b,
        .requests = {"GET /back?code=evil&state=" WRONG " HTTP/1.1\r\n" HOST,
                     "GET /back?code=evil HTTP/1.1\r\n" HOST,
                     "GET /back?code=evil&state=" STATE " HTTP/1.1\r\nHost: evil.example:%d\r\n\r\n",
                     "GET /back?code=evil&state=" STATE " HTTP/1.1\r\nHost: localhost:%d\r\n\r\n",
                     "GET /back?code=evil&state=" STATE " HTTP/1.1\r\nHost: 127.0.0.1:%1$d\r\nHost: 127.0.0.1:%1$d\r\n\r\n",
                     "GET /back?code=evil&state=" STATE " HTTP/1.1\r\n\r\n",
                     "POST /back?code=evil&state=" STATE " HTTP/1.1\r\n" HOST,
                     "GET /backwards?code=evil&state=" STATE " HTTP/1.1\r\n" HOST,
                     "GET /favicon.ico HTTP/1.1\r\n" HOST,
                     "GET /back?code=evil&code=evil&state=" STATE " HTTP/1.1\r\n" HOST,
                     "GET /back?code=e%%0Avil&state=" STATE " HTTP/1.1\r\n" HOST,
                     "GET /back?state=" STATE " HTTP/1.1\r\n" HOST,
                     "hello\r\n\r\n",
                     "GET /back?code=go%%2Fod&state=" STATE " HTTP/1.1\r\nhost:127.0.0.1:%d \r\n\r\n"},
        .n = 14};
    if (wait_for(&v, code, &f->err) != 0) fail_msg("%s", f->err.msg);
    pthread_join(v.thread, NULL);
    assert_string_equal(code, "go/od");
    static const int want[] = {400, 400, 421, 421, 421, 421, 400, 404, 404, 400, 400, 400, 421, 200};
    for (size_t i = 0; i < v.n; i++)
        if (v.statuses[i] != want[i]) fail_msg("request %zu: %d", i, v.statuses[i]);
}

/* Not for others: one that listens elsewhere is never asked for without its port. */
static void test_the_schemes_own_port_is_left_out(void **state) {
    struct fixture *f = *state;
    struct login_browser b;
    char code[LOGIN_CODE_MAX] = "";
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1", &f->err), 0);
    struct visits v = {.browser = &b, .port = b.port, .n = 2,
                       .requests = {"GET /?code=evil&state=" STATE " HTTP/1.1\r\nHost: evil.example\r\n\r\n",
                                    "GET /?code=good&state=" STATE " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"}};
    b.port = 80; /* As it would be, if this test were allowed to listen there. */
    assert_int_equal(wait_for(&v, code, &f->err), 0);
    pthread_join(v.thread, NULL);
    assert_string_equal(code, "good");
    assert_int_equal(v.statuses[0], 421);
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1", &f->err), 0);
    v = (struct visits){.browser = &b, .n = 2,
                        .requests = {"GET /?code=evil&state=" STATE " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                                     "GET /?code=good&state=" STATE " HTTP/1.1\r\n" HOST}};
    assert_int_equal(wait_for(&v, code, &f->err), 0);
    pthread_join(v.thread, NULL);
    assert_int_equal(v.statuses[0], 421);
}

static void test_a_no_is_a_no(void **state) {
    struct fixture *f = *state;
    struct login_browser b;
    char code[LOGIN_CODE_MAX] = "";
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1", &f->err), 0);
    struct visits v = {.browser = &b,
                       .requests = {"GET /?error=access_denied&state=" STATE " HTTP/1.1\r\n" HOST}, .n = 1};
    assert_int_equal(wait_for(&v, code, &f->err), ERR_REFUSED);
    pthread_join(v.thread, NULL);
    assert_string_equal(code, "");
}

static void test_guessing_comes_to_an_end(void **state) {
    struct fixture *f = *state;
    struct login_browser b;
    char code[LOGIN_CODE_MAX] = "";
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1/", &f->err), 0);
    struct visits v = {.browser = &b, .n = 100};
    for (size_t i = 0; i < v.n; i++) v.requests[i] = "GET /?code=a&state=b HTTP/1.1\r\n" HOST;
    assert_int_equal(wait_for(&v, code, &f->err), ERR_REFUSED);
    pthread_join(v.thread, NULL);
    assert_non_null(strstr(f->err.msg, "100 requests"));
}

static void test_who_says_nothing_holds_nobody_up(void **state) {
    struct fixture *f = *state;
    struct login_browser b;
    char code[LOGIN_CODE_MAX] = "", *big = calloc(1, 9000);
    int silent[12];
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1/", &f->err), 0);
    memset(big, 'x', 8500); /* More than a head may have: turned away. */
    for (size_t i = 0; i < 8; i++) silent[i] = connect_to(b.port);
    struct visits v = {.browser = &b, .requests = {big, "GET /?code=good&state=" STATE " HTTP/1.1\r\n" HOST}, .n = 2};
    assert_int_equal(wait_for(&v, code, &f->err), 0);
    pthread_join(v.thread, NULL);
    assert_string_equal(code, "good");
    assert_int_equal(v.statuses[1], 200);
    for (size_t i = 0; i < 8; i++) close(silent[i]);
    free(big);
}

static void test_nobody_comes(void **state) {
    struct fixture *f = *state;
    struct login_browser b;
    char code[LOGIN_CODE_MAX];
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1/", &f->err), 0);
    assert_int_equal(login_browser__wait(&b, STATE, 20, code, &f->err), ERR_TIMEOUT);
    login_browser__close(&b);
}

static void test_where_it_may_come_back_to(void **state) {
    struct fixture *f = *state;
    struct login_browser b, other;
    char text[192], want[192];
    static const char *const wrong[] = {"http://localhost/", "https://127.0.0.1/", "http://127.0.0.1.evil.example/",
                                        "http://127.0.0.1:0/", "http://127.0.0.1:70000/", "http://127.0.0.1:/", "",
                                        "http://127.0.0.1/a?b=c", "http://127.0.0.1/a b", "http://0.0.0.0/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(login_browser__open(&b, wrong[i], &f->err), ERR_CONFIG);
    assert_int_equal(login_browser__open(&b, "http://127.0.0.1/a/b", &f->err), 0);
    login_browser__redirect(&b, text, sizeof text);
    snprintf(want, sizeof want, "http://127.0.0.1:%d/a/b", b.port);
    assert_string_equal(text, want);
    assert_int_equal(login_browser__open(&other, text, &f->err), ERR_CREATE); /* It is in use. */
    login_browser__close(&b);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_written_is_read),
        TEST(test_a_renewal_never_replaces_another_login),
        TEST(test_what_cannot_be_written_leaves_what_was),
        TEST(test_what_others_could_have_read_or_written_is_not_used),
        TEST(test_what_is_removed_is_read_if_it_can_be),
        TEST(test_an_error_is_of_what_failed),
        TEST(test_a_silent_answer_keeps_what_was),
        TEST(test_only_the_browser_is_let_in),
        TEST(test_the_schemes_own_port_is_left_out),
        TEST(test_a_no_is_a_no),
        TEST(test_guessing_comes_to_an_end),
        TEST(test_who_says_nothing_holds_nobody_up),
        TEST(test_nobody_comes),
        TEST(test_where_it_may_come_back_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
