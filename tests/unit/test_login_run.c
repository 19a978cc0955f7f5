/* The login in the running process: which login an answer is kept for, what a disk that hangs or refuses holds up, and
 * what is said of it. The rooms that it asks are played by this file; the disk is a folder. */
#include "../../src/service/app.h"
#include "../../src/hub/call.h"
#include "../../src/streams/login.h"
#include "../../src/streams/login_file.h"
#include "souk/core/log.h"
#include "test_dir.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define FIRST "1111111111111111"
#define SECOND "2222222222222222"

struct fixture {
    struct app app;
    struct settings settings;
    struct config config;
    struct source_setup stashes;
    struct app_stream stream;
    struct login_file file;
    struct err err;
    char dir[64], next[128];
    int http, n_pokes;
};
static struct fixture *it; /* For what is played below. */

const struct source_setup *settings__source(const struct settings *s, const char *name) {
    (void)s, (void)name;
    return &it->stashes;
}
struct app_stream *app__stream(struct app *a, struct slice source, struct slice key) {
    (void)a, (void)source, (void)key;
    return &it->stream;
}
void poller__poke(struct poller *p) {
    (void)p;
    it->n_pokes++;
}
struct hub_reply *hub_args__later(const struct hub_args *args) { return (struct hub_reply *)(uintptr_t)args; }
void hub_reply__send(struct hub_reply *reply, int status, struct slice body) {
    (void)reply, (void)body;
    it->http = status;
}
int call__refuse(struct buf *out, int status, const char *code, const char *msg) {
    (void)out, (void)code, (void)msg;
    return status;
}

static int write_file(struct fixture *f, const char *id, const char *refresh, const char *user) {
    struct login_file file = {.client_id = "me", .scope = "account:stashes", .logged_in_s = 5};
    snprintf(file.id, sizeof file.id, "%s", id);
    snprintf(file.refresh, sizeof file.refresh, "%s", refresh);
    snprintf(file.username, sizeof file.username, "%s", user);
    return login_file__write(f->dir, &file, NULL, &f->err);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    it = f;
    snprintf(f->dir, sizeof f->dir, "/tmp/souk_login_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->next, sizeof f->next, "%s/login.json.next", f->dir);
    f->config.state_dir = f->dir;
    f->config.agent.client_id = (char *)(uintptr_t)"me";
    f->settings.config = &f->config;
    f->stashes.settings.account = "exile#1";
    snprintf(f->stream.spec.mark, sizeof f->stream.spec.mark, "L0000");
    f->stream.poller = (struct poller *)f; /* Somewhere. */
    f->app.settings = &f->settings;
    static int64_t n_tests; /* A line that comes again within seconds is left out. */
    f->app.clock.mono_ns = ++n_tests * 10000 * NS_PER_S;
    f->app.recovered = true;
    static FILE *nowhere;
    if (nowhere == NULL) nowhere = fopen("/dev/null", "we");
    log__setup(nowhere, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
    log__use_clock(&f->app.clock);
    log__keep(LOG_LEVEL_INFO);
    assert_int_equal(uv_loop_init(&f->app.loop), 0);
    assert_int_equal(metrics__init(&f->app.metrics), 0);
    assert_int_equal(write_file(f, FIRST, "ref-first-1", "exile#1"), 0);
    assert_int_equal(login_file__read(f->dir, &f->file, &f->err), 0);
    assert_int_equal(login__open(&f->app, &f->file), 0);
    assert_string_equal(f->file.refresh, ""); /* One copy is enough. */
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    log__use_clock(NULL);
    login__free(&f->app);
    metrics__fini(&f->app.metrics);
    assert_int_equal(uv_run(&f->app.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&f->app.loop), 0);
    remove_dir(f->dir);
    free(f);
    return 0;
}

static void keep(struct fixture *f, const char *id, const char *refresh) {
    char text[256];
    int n = snprintf(text, sizeof text, "{\"access_token\":\"tok-0123456789\",\"expires_in\":36000,\"refresh_token\":\"%s\"}",
                     refresh);
    login__keep_secret(&f->app, id, slice__of(text, (size_t)n));
}

static void assert_shown(struct fixture *f, const char *id, const char *refresh) {
    char got_id[LOGIN_ID_SIZE], got[256];
    assert_int_equal(login__refresh_token(&f->app, got_id, got, sizeof got, &f->err) == 0, id[0] != '\0');
    assert_string_equal(got_id, id);
    assert_string_equal(got, refresh);
    assert_int_equal(login__is_there(&f->app), id[0] != '\0');
}

static void assert_on_disk(struct fixture *f, const char *id, const char *refresh) {
    struct login_file got;
    assert_int_equal(login_file__read(f->dir, &got, &f->err), 0);
    assert_string_equal(got.id, id);
    assert_string_equal(got.refresh, refresh);
}

/* @return how renewals were counted, as "saved unsaved superseded". */
static const char *counted(struct fixture *f) {
    static char text[64];
    static const char *const words[] = {"saved", "unsaved", "superseded"};
    struct buf all = buf__init((size_t)1 << 20);
    int n[3];
    login__second(&f->app);
    assert_int_equal(uv_run(&f->app.loop, UV_RUN_DEFAULT), 0); /* It may have begun to write again. */
    metrics__expose(&f->app.metrics, &all);
    assert_true(buf__u8(&all, 0));
    for (int i = 0; i < 3; i++) {
        char name[96];
        snprintf(name, sizeof name, "souk_login_renewals_total{result=\"%s\"} ", words[i]);
        const char *at = strstr(all.base, name);
        assert_non_null(at);
        n[i] = atoi(at + strlen(name));
    }
    snprintf(text, sizeof text, "%d %d %d", n[0], n[1], n[2]);
    buf__fini(&all);
    return text;
}

/* @return whether a line of the log since the last look says @words. */
static bool was_said(const char *words) {
    static struct log_kept lines[LOG_KEPT_MAX];
    uint64_t dropped;
    bool said = false;
    size_t n = log__take(lines, LOG_KEPT_MAX, &dropped);
    for (size_t i = 0; i < n; i++) said |= strstr(lines[i].event, words) != NULL;
    return said;
}

/* POST /api/v1/login, up to its answer. */
static int tell(struct fixture *f) {
    struct hub_call call;
    struct buf out = buf__init(4096);
    assert_int_equal(login__calls(&f->app, &call), 1);
    f->http = 0;
    int now = call.fn(call.ctx, (const struct hub_args *)f, &out);
    while (now == 0 && f->http == 0) uv_run(&f->app.loop, UV_RUN_ONCE);
    buf__fini(&out);
    return now != 0 ? now : f->http;
}

static void test_a_renewal_is_shown_next_and_on_disk(void **state) {
    struct fixture *f = *state;
    assert_shown(f, FIRST, "ref-first-1");
    keep(f, FIRST, "ref-first-2");
    assert_shown(f, FIRST, "ref-first-2");
    assert_on_disk(f, FIRST, "ref-first-2");
    assert_string_equal(counted(f), "1 0 0");
}

/* The first one's request is under way, somebody logs in again, and souk is told; then the answer comes. */
static void test_an_answer_to_the_login_before_changes_nothing(void **state) {
    struct fixture *f = *state;
    assert_int_equal(write_file(f, SECOND, "ref-second-1", "exile#1"), 0);
    assert_int_equal(tell(f), 200);
    assert_int_equal(f->n_pokes, 1);
    assert_shown(f, SECOND, "ref-second-1");
    keep(f, FIRST, "ref-first-2");
    assert_shown(f, SECOND, "ref-second-1");
    assert_on_disk(f, SECOND, "ref-second-1");
    assert_string_equal(counted(f), "0 0 1");
    assert_true(was_said("somebody has logged in or out meanwhile"));
    keep(f, SECOND, "ref-second-2");
    assert_on_disk(f, SECOND, "ref-second-2");
    keep(f, "", "ref-nobody-1");
    assert_on_disk(f, SECOND, "ref-second-2");
}

/* The same, and the answer comes before souk is told. */
static void test_a_renewal_finds_another_login_on_disk(void **state) {
    struct fixture *f = *state;
    assert_int_equal(write_file(f, SECOND, "ref-second-1", "exile#1"), 0);
    keep(f, FIRST, "ref-first-2");
    assert_shown(f, SECOND, "ref-second-1");
    assert_on_disk(f, SECOND, "ref-second-1");
    assert_string_equal(counted(f), "0 0 1");
    assert_int_equal(tell(f), 200);
    assert_shown(f, SECOND, "ref-second-1");
}

/* What this process cannot go on with, it must not show either. */
static void test_a_renewal_finds_another_accounts_login_on_disk(void **state) {
    struct fixture *f = *state;
    assert_int_equal(write_file(f, SECOND, "ref-second-1", "other#2"), 0);
    keep(f, FIRST, "ref-first-2");
    assert_shown(f, "", "");
    assert_int_equal(tell(f), 409);
    assert_shown(f, "", "");
    assert_on_disk(f, SECOND, "ref-second-1");
}

static void test_what_is_not_used_is_not_renewed(void **state) {
    struct fixture *f = *state;
    struct login_file was;
    assert_int_equal(write_file(f, SECOND, "ref-second-1", "other#2"), 0);
    assert_int_equal(tell(f), 409);
    assert_shown(f, "", "");
    assert_int_equal(f->n_pokes, 0);
    assert_int_equal(login_file__remove(f->dir, &was, &f->err), 0);
    assert_int_equal(tell(f), 200); /* Logged out. */
    keep(f, FIRST, "ref-first-2");
    assert_int_equal(login_file__read(f->dir, &was, &f->err), ERR_NOT_FOUND);
}

/* What the disk did not take, tried again by the loop's second until it ends. */
static void retry(struct fixture *f) {
    f->app.clock.mono_ns += 60 * NS_PER_S;
    login__second(&f->app);
    assert_int_equal(uv_run(&f->app.loop, UV_RUN_DEFAULT), 0);
}

static void test_what_the_disk_refused_is_written_again(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->next, 0700), 0);
    keep(f, FIRST, "ref-first-2");
    assert_shown(f, FIRST, "ref-first-2");
    assert_on_disk(f, FIRST, "ref-first-1");
    assert_string_equal(counted(f), "0 1 0");
    assert_true(was_said("the login cannot be saved"));
    assert_int_equal(rmdir(f->next), 0);
    retry(f);
    assert_on_disk(f, FIRST, "ref-first-2");
    assert_true(was_said("the login is on disk again"));
    assert_string_equal(counted(f), "0 1 0"); /* One renewal. */
}

static void test_a_retry_that_comes_too_late_says_so(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->next, 0700), 0);
    keep(f, FIRST, "ref-first-2");
    assert_string_equal(counted(f), "0 1 0");
    assert_int_equal(rmdir(f->next), 0);
    assert_int_equal(write_file(f, SECOND, "ref-second-1", "exile#1"), 0);
    was_said("");
    retry(f);
    assert_string_equal(counted(f), "0 1 1");
    assert_shown(f, SECOND, "ref-second-1");
    struct log_kept lines[8];
    uint64_t dropped;
    size_t n = log__take(lines, 8, &dropped);
    assert_int_equal(n, 1);
    assert_non_null(strstr(lines[0].event, "somebody has logged in or out meanwhile"));
}

static void *renew(void *data) {
    keep(data, FIRST, "ref-first-2");
    return NULL;
}

/* The folder's lock stands for any disk that hangs: what runs on the loop goes on. */
static void test_a_disk_that_hangs_does_not_hold_up_the_loop(void **state) {
    struct fixture *f = *state;
    pthread_t thread;
    char id[LOGIN_ID_SIZE], token[64] = "";
    int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(pthread_create(&thread, NULL, renew, f), 0);
    for (int i = 0; strcmp(token, "ref-first-2") != 0; i++) { /* It is in memory, and on its way to the disk. */
        assert_true(i < 60000);
        assert_int_equal(login__refresh_token(&f->app, id, token, sizeof token, &f->err), 0);
        usleep(1000);
    }
    for (int i = 0; i < 100; i++) {
        f->app.clock.mono_ns += 60 * NS_PER_S;
        login__second(&f->app);
        assert_true(login__is_there(&f->app));
        assert_int_equal(login__refresh_token(&f->app, id, token, sizeof token, &f->err), 0);
        usleep(1000);
    }
    assert_on_disk(f, FIRST, "ref-first-1");
    assert_int_equal(flock(fd, LOCK_UN), 0);
    pthread_join(thread, NULL);
    close(fd);
    assert_on_disk(f, FIRST, "ref-first-2");
    assert_string_equal(counted(f), "1 0 0");
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_renewal_is_shown_next_and_on_disk),
        TEST(test_an_answer_to_the_login_before_changes_nothing),
        TEST(test_a_renewal_finds_another_login_on_disk),
        TEST(test_a_renewal_finds_another_accounts_login_on_disk),
        TEST(test_what_is_not_used_is_not_renewed),
        TEST(test_what_the_disk_refused_is_written_again),
        TEST(test_a_retry_that_comes_too_late_says_so),
        TEST(test_a_disk_that_hangs_does_not_hold_up_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
