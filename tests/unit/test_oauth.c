/* Tokens: what is asked and when, what each answer means, and that a secret goes nowhere but into
 * the request and the memo. */
#include "souk/oauth.h"
#include "../golden/golden.h"
#include "souk/source.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TOKEN "tok-0123456789abcdef.ABC_~+/="
#define SECRET "s3cr&t=+ value"
#define HOUR_NS (3600 * NS_PER_S)
#define WEEK_NS (7 * 24 * HOUR_NS)
#define NOW_S INT64_C(1800000000)

static const char *const scopes[] = {"service:psapi", "account:stashes"};
static const struct source_type *oauth;

struct fixture {
    struct source_settings settings;
    struct stream_spec specs[STREAMS_MAX];
    struct stream_state at;
    struct source_request request;
    struct page_facts facts;
    struct buf memo; /* What was last remembered. */
    struct err err;
};

static void set_up_streams(struct fixture *f) {
    assert_int_equal(oauth->streams(&f->settings, f->specs, &f->err), 2);
}

static int begin(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    oauth = source__find("oauth");
    f->settings = (struct source_settings){.base_url = "https://www.example",
                                           .kinds = scopes,
                                           .n_kinds = 2,
                                           .period_ns = WEEK_NS,
                                           .client_id = "my souk",
                                           .client_secret = SECRET,
                                           .login = ""};
    f->at.now = (struct clock){.mono_ns = HOUR_NS, .wall_ns = NOW_S * NS_PER_S};
    set_up_streams(f);
    *state = f;
    return 0;
}

static int end(void **state) {
    struct fixture *f = *state;
    buf__fini(&f->memo);
    buf__fini(&f->facts.keep);
    buf__fini(&f->facts.secret);
    free(f);
    return 0;
}

static int64_t plan(struct fixture *f) {
    oauth->plan(&f->settings, &f->specs[0], &f->at, &f->request);
    return f->request.not_before_mono_ns;
}

/* Judges an answer and does to the state what the poller does. */
static int judge(struct fixture *f, int status, const char *body) {
    struct source_answer answer = {.status = status, .body = slice__str(body)};
    buf__fini(&f->facts.keep);
    buf__fini(&f->facts.secret);
    f->err = (struct err){0};
    int code = oauth->judge(&f->specs[0], &f->at, &answer, &f->facts, &f->err);
    f->at.last_reply_mono_ns = f->at.now.mono_ns;
    f->at.n_failures = f->facts.verdict == PAGE_NEW ? 0 : f->at.n_failures + 1;
    if (f->facts.verdict == PAGE_NEW)
        snprintf(f->at.cursor, sizeof f->at.cursor, "%s", f->facts.next_cursor);
    if (f->facts.memo.len > 0) {
        buf__fini(&f->memo);
        f->memo = f->facts.memo;
        f->at.memo = buf__slice(&f->memo);
    }
    return code;
}

static struct oauth_grant grant_of(const struct fixture *f) {
    struct oauth_grant g;
    oauth__read(f->at.memo, &g);
    return g;
}

static void assert_text(struct slice got, const char *want) {
    if (!slice__eq(got, slice__str(want))) fail_msg("%.*s is not %s", SLICE_FMT(got), want);
}

static void test_each_scope_is_asked_for_alone(void **state) {
    struct fixture *f = *state;
    assert_string_equal(f->specs[0].key, "service:psapi");
    assert_string_equal(f->specs[1].key, "account:stashes");
    assert_int_equal(plan(f), 0);
    assert_string_equal(f->request.method, "POST");
    assert_string_equal(f->request.url, "https://www.example/oauth/token");
    assert_string_equal(f->request.body, "client_id=my%20souk&client_secret=s3cr%26t%3D%2B%20value&"
                                         "grant_type=client_credentials&scope=service%3Apsapi");
    assert_true(f->request.expect_4xx);
    assert_null(f->request.scope); /* It is what brings tokens. */

    char *longer = calloc(1, 2000);
    memset(longer, 'x', 1999);
    f->settings.client_secret = longer;
    assert_int_equal(oauth->streams(&f->settings, f->specs, &f->err), ERR_CONFIG);
    assert_null(strstr(f->err.msg, "xxx"));
    free(longer);
    static const char *const twice[] = {"service:psapi", "service:psapi"};
    f->settings.client_secret = SECRET;
    f->settings.kinds = twice;
    assert_int_equal(oauth->streams(&f->settings, f->specs, &f->err), ERR_CONFIG);
}

static void test_a_token_is_kept_in_memory_alone(void **state) {
    struct fixture *f = *state;
    assert_int_equal(judge(f, 200, "{\"access_token\":\"" TOKEN "\",\"token_type\":\"Bearer\","
                                   "\"expires_in\":2419200,\"scope\":\"service:cxapi service:psapi\"}"), 0);
    struct oauth_grant g = grant_of(f);
    assert_int_equal(g.standing, OAUTH_GRANTED);
    assert_text(g.token, TOKEN);
    assert_true(g.life_ns == 28 * 24 * HOUR_NS);
    assert_int_equal(f->facts.verdict, PAGE_NEW);
    assert_string_equal(f->facts.next_cursor, "1800000000/granted");
    assert_text(buf__slice(&f->facts.keep), "{\"scope\":\"service:psapi\",\"available\":true,\"status\":200,"
                                            "\"detail\":\"granted\",\"expires_in\":2419200}");
    assert_true(oauth__is_good(&g, f->at.now.mono_ns + 28 * 24 * HOUR_NS - 1));
    assert_false(oauth__is_good(&g, f->at.now.mono_ns + 28 * 24 * HOUR_NS));
}

static void test_it_is_renewed_before_it_ends(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *life;
        int64_t wait_ns;
    } cases[] = {{"36000", 8 * HOUR_NS},     /* 80 %. */
                 {"2419200", WEEK_NS},       /* The audit is weekly. */
                 {"null", WEEK_NS},          /* It does not say. */
                 {"1", 30 * NS_PER_S}};      /* Never in a hurry. */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"access_token\":\"" TOKEN "\",\"expires_in\":%s}", cases[i].life);
        assert_int_equal(judge(f, 200, body), 0);
        assert_int_equal(grant_of(f).standing, OAUTH_GRANTED);
        assert_true(plan(f) == f->at.now.mono_ns + cases[i].wait_ns);
    }
    f->at.poked = true; /* Somebody was told 401. */
    assert_int_equal(plan(f), 0);
    f->at.poked = false;
    /* A failure of the moment keeps the token and tries again, ever more slowly. */
    assert_int_equal(judge(f, 503, "{}"), ERR_PROTOCOL);
    assert_int_equal(grant_of(f).standing, OAUTH_GRANTED);
    assert_true(plan(f) == f->at.now.mono_ns + 30 * NS_PER_S);
    for (int i = 0; i < 20; i++) judge(f, 0, "");
    assert_true(plan(f) == f->at.now.mono_ns + 960 * NS_PER_S);
}

static void test_a_scope_that_is_not_granted_is_a_state(void **state) {
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *body, *reason;
    } cases[] = {
        {400, "{\"error\":\"invalid_scope\",\"error_description\":\"" SECRET "\"}", "invalid_scope"},
        {403, "{\"error\":\"unauthorized_client\"}", "unauthorized_client"},
        {200, "{\"access_token\":\"" TOKEN "\",\"scope\":\"service:psapi2 service\"}", "scope_not_in_answer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(judge(f, cases[i].status, cases[i].body), 0);
        assert_int_equal(f->facts.verdict, PAGE_NEW);
        assert_string_equal(f->facts.next_cursor, "1800000000/refused");
        struct oauth_grant g = grant_of(f);
        assert_int_equal(g.standing, OAUTH_REFUSED);
        assert_text(g.reason, cases[i].reason);
        assert_null(memmem(f->facts.keep.base, f->facts.keep.len, SECRET, strlen(SECRET)));
        assert_null(memmem(f->facts.keep.base, f->facts.keep.len, TOKEN, strlen(TOKEN)));
        assert_true(plan(f) == f->at.now.mono_ns + WEEK_NS);
    }
    struct buf note = buf__init(256);
    oauth->note(&f->settings, &f->specs[0], &f->at, &note);
    assert_text(buf__slice(&note), "scope service:psapi is not granted (scope_not_in_answer)");
    buf__fini(&note);
    /* A start looks anew. */
    f->at = (struct stream_state){.cursor = "1800000000/refused", .now = f->at.now};
    assert_int_equal(plan(f), 0);
}

static void test_wrong_credentials_are_not_tried_for_a_day(void **state) {
    struct fixture *f = *state;
    assert_int_equal(judge(f, 400, "{\"error\":\"invalid_client\"}"), 0);
    assert_int_equal(grant_of(f).standing, OAUTH_DENIED);
    assert_int_equal(strncmp(f->at.cursor, "1800000000/denied/", 18), 0);
    assert_true(plan(f) == f->at.now.mono_ns + 24 * HOUR_NS);
    /* Nor by another process. */
    struct stream_state after = {.now = {.mono_ns = 5, .wall_ns = (NOW_S + 6 * 3600) * NS_PER_S}};
    memcpy(after.cursor, f->at.cursor, sizeof after.cursor);
    f->at = after;
    assert_true(plan(f) == 5 + 18 * HOUR_NS);
    f->at.now.wall_ns = 0; /* A clock that was set back by years: a day from whenever it is asked never ends. */
    assert_int_equal(plan(f), 0);
    f->at.now.wall_ns = (NOW_S + 24 * 3600) * NS_PER_S;
    assert_int_equal(plan(f), 0);
    /* Until they change, or somebody says so. */
    f->at.now.wall_ns = NOW_S * NS_PER_S;
    f->at.poked = true;
    assert_int_equal(plan(f), 0);
    f->at.poked = false;
    f->settings.client_secret = "another";
    set_up_streams(f);
    assert_int_equal(plan(f), 0);
}

static void test_what_is_no_answer_is_a_failure(void **state) {
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *body;
    } cases[] = {
        {200, ""},
        {200, "{\"access_token\":\"" TOKEN},
        {200, "{}"},
        {200, "[]"},
        {200, "{\"access_token\":17}"},
        {200, "{\"access_token\":\"short\"}"},
        {200, "{\"access_token\":\"" TOKEN "\\r\\nX-Evil: 1\"}"},
        {200, "{\"access_token\":\"" TOKEN "\",\"token_type\":\"mac\"}"},
        {200, "{\"access_token\":\"" TOKEN "\",\"expires_in\":-1}"},
        {200, "{\"access_token\":\"" TOKEN "\",\"expires_in\":1e300}"},
        {200, "{\"access_token\":\"" TOKEN "\",\"expires_in\":\"soon\"}"},
        {200, "<html>"},
        {403, "<!doctype html>"},
        {429, "{\"error\":{\"code\":3,\"message\":\"Rate limit exceeded\"}}"},
        {500, "{\"error\":\"invalid_client\"}"},
        {404, "{}"},
        {0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_not_equal(judge(f, cases[i].status, cases[i].body), 0);
        assert_int_equal(f->facts.verdict, PAGE_INVALID);
        assert_int_equal(grant_of(f).standing, OAUTH_UNKNOWN);
        assert_null(strstr(f->err.msg, "tok-")); /* Errors are logged and kept. */
    }
    /* A refusal need not be JSON. */
    assert_int_equal(judge(f, 401, "no"), 0);
    assert_text(grant_of(f).reason, "http_401");
    assert_int_equal(judge(f, 401, "{\"error\":{\"code\":8,\"message\":\"Unauthorized\"}}"), 0);
    assert_text(grant_of(f).reason, "error 8");
}

/* From here on somebody is logged in, and the client is a public one: it has no secret. */
static void log_in(struct fixture *f, const char *login) {
    f->settings.client_secret = "";
    f->settings.login = login;
    snprintf(f->at.login, sizeof f->at.login, "%s", login); /* As the poller does. */
    assert_int_equal(oauth->streams(&f->settings, f->specs, &f->err), 1);
    assert_string_equal(f->specs[0].key, "account:stashes");
    assert_true(oauth__is_login(&f->specs[0]));
}

#define REFRESH "ref-0123456789"

static void test_a_login_brings_the_token_that_only_a_user_grants(void **state) {
    struct fixture *f = *state;
    assert_false(oauth__is_login(&f->specs[0]) || oauth__is_login(&f->specs[1]));
    f->settings.login = "1122334455667788"; /* With a secret, the other scopes are asked for with that. */
    set_up_streams(f);
    assert_true(oauth__is_login(&f->specs[1]) && !oauth__is_login(&f->specs[0]));
    log_in(f, "1122334455667788");
    assert_int_equal(plan(f), 0);
    assert_true(f->request.login); /* The refresh token is the poller's to add. */
    assert_string_equal(f->request.body, "client_id=my%20souk&grant_type=refresh_token");
    const char *body = "{\"access_token\":\"" TOKEN "\",\"expires_in\":36000,\"refresh_token\":\"" REFRESH
                       "\",\"username\":\"exile#1\",\"scope\":\"account:stashes\"}";
    assert_int_equal(judge(f, 200, body), 0);
    assert_int_equal(grant_of(f).standing, OAUTH_GRANTED);
    assert_text(grant_of(f).token, TOKEN);
    assert_text(buf__slice(&f->facts.secret), body);
    assert_null(memmem(f->facts.keep.base, f->facts.keep.len, REFRESH, strlen(REFRESH)));
    assert_null(memmem(f->memo.base, f->memo.len, REFRESH, strlen(REFRESH)));
    assert_true(plan(f) == f->at.now.mono_ns + 8 * HOUR_NS);
    /* What is spent is spent, whatever else is wrong with the answer: the next one has to be kept. */
    assert_int_not_equal(judge(f, 200, "{\"access_token\":7,\"refresh_token\":\"" REFRESH "\"}"), 0);
    assert_true(f->facts.secret.len > 0);
    assert_int_equal(judge(f, 200, "{\"access_token\":\"" TOKEN "\",\"refresh_token\":\"" REFRESH
                                   "\",\"scope\":\"account:profile\"}"), 0);
    assert_int_equal(grant_of(f).standing, OAUTH_REFUSED);
    assert_true(f->facts.secret.len > 0);
    assert_int_not_equal(judge(f, 503, body), 0);
    assert_int_equal(f->facts.secret.len, 0);
}

static void test_a_token_that_cannot_be_kept_is_refused(void **state) {
    struct fixture *f = *state;
    struct buf body = buf__init(2 * OAUTH_TOKEN_MAX);
    for (int len = OAUTH_TOKEN_MAX; len <= OAUTH_TOKEN_MAX + 1; len++) {
        buf__clear(&body);
        buf__append_str(&body, "{\"access_token\":\"");
        for (int i = 0; i < len; i++) buf__u8(&body, 'a');
        buf__append_str(&body, "\",\"expires_in\":36000}");
        buf__u8(&body, 0);
        assert_int_equal(judge(f, 200, body.base) == 0, len == OAUTH_TOKEN_MAX);
    }
    buf__fini(&body);
}

static void test_a_login_that_is_over_is_not_tried_again(void **state) {
    struct fixture *f = *state;
    log_in(f, "1122334455667788");
    /* The vendor's servers say no for a while now and then: that ends no login. */
    assert_int_not_equal(judge(f, 401, "{\"error\":{\"code\":8,\"message\":\"Unauthorized\"}}"), 0);
    assert_int_not_equal(judge(f, 400, "no"), 0);
    assert_int_equal(grant_of(f).standing, OAUTH_UNKNOWN);
    assert_int_equal(judge(f, 401, "{\"error\":\"invalid_client\"}"), 0);
    assert_int_equal(grant_of(f).standing, OAUTH_DENIED); /* The client is wrong: the login may be good. */
    assert_true(plan(f) == f->at.now.mono_ns + 24 * HOUR_NS);
    assert_int_equal(judge(f, 400, "{\"error\":\"invalid_grant\"}"), 0);
    assert_int_equal(grant_of(f).standing, OAUTH_ENDED);
    assert_true(plan(f) == INT64_MAX);
    struct buf note = buf__init(256);
    oauth->note(&f->settings, &f->specs[0], &f->at, &note);
    assert_non_null(memmem(note.base, note.len, "log in again: souk login account", 32));
    f->at.poked = true; /* Nor because somebody asks for it by hand. */
    assert_true(plan(f) == INT64_MAX);
    /* Nor by the next process, whatever the time. */
    f->at = (struct stream_state){.now = f->at.now, .login = "1122334455667788"};
    memcpy(f->at.cursor, f->facts.next_cursor, sizeof f->at.cursor);
    f->at.now.wall_ns += INT64_C(30) * 24 * HOUR_NS;
    assert_true(plan(f) == INT64_MAX);
    buf__clear(&note);
    oauth->note(&f->settings, &f->specs[0], &f->at, &note);
    assert_non_null(memmem(note.base, note.len, "log in again: souk login account", 32));
    buf__fini(&note);
    assert_true(oauth__is_over(&f->specs[0], &f->at));
    f->at.login[0] = '\0'; /* Somebody has logged out: nothing is over, and nothing is asked for. */
    assert_false(oauth__is_over(&f->specs[0], &f->at));
    log_in(f, "8877665544332211"); /* Or in again before it started. */
    assert_int_equal(plan(f), 0);
}

/* While it ran somebody logs in again. Whatever came of the first request, and whatever the old login's last one
 * brings in the end, the new one is asked for. */
static void test_another_login_begins_anew(void **state) {
    struct fixture *f = *state;
    static const char *const olds[] = {"{\"error\":\"invalid_grant\"}", "{\"error\":\"unauthorized_client\"}"};
    for (size_t i = 0; i < 2; i++) {
        f->at = (struct stream_state){.now = f->at.now};
        log_in(f, "1122334455667788");
        assert_int_equal(judge(f, 400, olds[i]), 0);
        assert_true(plan(f) > f->at.now.mono_ns + HOUR_NS);
        snprintf(f->at.login, sizeof f->at.login, "8877665544332211"); /* Its stream stays as it was made. */
        assert_int_equal(plan(f), 0);
        assert_false(oauth__is_over(&f->specs[0], &f->at));
        struct buf note = buf__init(256);
        oauth->note(&f->settings, &f->specs[0], &f->at, &note);
        assert_int_equal(note.len, 0);
        buf__fini(&note);
        assert_int_not_equal(judge(f, 503, "{}"), 0); /* The request that was poked for. */
        assert_true(plan(f) == f->at.now.mono_ns + 30 * NS_PER_S);
        assert_int_not_equal(judge(f, 0, ""), 0);
        assert_true(plan(f) == f->at.now.mono_ns + 60 * NS_PER_S);
        assert_int_equal(judge(f, 200, "{\"access_token\":\"" TOKEN "\",\"expires_in\":36000}"), 0);
        assert_true(plan(f) == f->at.now.mono_ns + 8 * HOUR_NS);
    }
    /* A token that the login before brought: the new one is asked for at once, and once. */
    snprintf(f->at.login, sizeof f->at.login, "aaaaaaaaaaaaaaaa");
    assert_int_equal(plan(f), 0);
    assert_int_equal(judge(f, 400, "{\"error\":\"invalid_grant\"}"), 0);
    assert_true(plan(f) == INT64_MAX);
    /* The next process knows which one ended, whichever was there when this one began. */
    f->at.memo = slice__of(NULL, 0);
    assert_true(plan(f) == INT64_MAX);
    snprintf(f->at.login, sizeof f->at.login, "8877665544332211");
    assert_int_equal(plan(f), 0);
}

/* A wrong secret is the client's, whoever is logged in: a right one is tried at once. */
static void test_a_logins_client_is_asked_again_when_it_changes(void **state) {
    struct fixture *f = *state;
    struct stream_state after = {.now = f->at.now};
    log_in(f, "1122334455667788");
    f->settings.client_secret = "wrong";
    f->settings.kinds = scopes + 1;
    f->settings.n_kinds = 1;
    assert_int_equal(oauth->streams(&f->settings, f->specs, &f->err), 1);
    assert_int_equal(judge(f, 401, "{\"error\":\"invalid_client\"}"), 0);
    memcpy(after.cursor, f->at.cursor, sizeof after.cursor);
    memcpy(after.login, f->at.login, sizeof after.login);
    f->at = after; /* The next process. */
    assert_true(plan(f) == f->at.now.mono_ns + 24 * HOUR_NS);
    f->settings.client_secret = SECRET;
    assert_int_equal(oauth->streams(&f->settings, f->specs, &f->err), 1);
    assert_int_equal(plan(f), 0);
}

static void test_what_a_login_says_is_read_with_care(void **state) {
    struct oauth_login got;
    struct err e = {0};
    (void)state;
#define READ(text) oauth__parse_login(slice__str(text), &got, &e)
    assert_int_equal(READ("{\"refresh_token\":\"" REFRESH "\",\"username\":\"Äxile#1\",\"expires_in\":36000,"
                          "\"scope\":\"account:stashes oauth:revoke\"}"), 0);
    assert_string_equal(got.refresh, REFRESH);
    assert_string_equal(got.username, "Äxile#1");
    assert_string_equal(got.scope, "account:stashes oauth:revoke");
    assert_int_equal(got.life_s, 36000);
    /* The token is worth more than what stands beside it. */
    assert_int_equal(READ("{\"refresh_token\":\"" REFRESH "\",\"username\":\"a\\nb\",\"expires_in\":-1,\"scope\":[]}"), 0);
    assert_string_equal(got.username, "");
    assert_string_equal(got.scope, "");
    assert_int_equal(got.life_s, 0);
    assert_int_equal(READ("{\"username\":\"exile\"}"), 0);
    assert_string_equal(got.refresh, ""); /* The one before stays good. */
    static const char *const wrong[] = {"", "[]", "{\"refresh_token\":5}", "{\"refresh_token\":\"ref-0123456789&x=1\"}",
                                        "{\"refresh_token\":\"short\"}", "{\"refresh_token\":\"ref-0123456789"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(READ(wrong[i]), ERR_MALFORMED);
        assert_null(strstr(e.msg, "ref-")); /* Errors are logged. */
        assert_string_equal(got.refresh, "");
    }
#undef READ
}

static void test_an_audit_is_a_row(void **state) {
    struct fixture *f = *state;
    struct rows rows = {0};
    struct decode_context context = {0};
    assert_int_equal(judge(f, 400, "{\"error\":\"invalid_scope\"}"), 0);
    struct page page = {.stream = &f->specs[0],
                        .received_wall_ns = NOW_S * NS_PER_S,
                        .lsn = 7,
                        .body = buf__slice(&f->facts.keep)};
    assert_int_equal(oauth->decode(&page, &context, &rows, &f->err), 0);
    assert_int_equal(rows__count(&rows), 1);
    const struct batch *b = golden__batch(&rows, &table_ops_scope_audit, "");
    assert_true(golden__int(b, "ts", 0) == NOW_S * 1000);
    assert_text(golden__str(b, "scope", 0), "service:psapi");
    assert_int_equal(golden__int(b, "available", 0), 0);
    assert_int_equal(golden__int(b, "http_status", 0), 400);
    assert_text(golden__str(b, "detail", 0), "invalid_scope");
    assert_int_equal(golden__int(b, "expires_in_s", 0), 0);
    assert_text(golden__str(b, "src", 0), "oauth");
    rows__fini(&rows);
    page.body = SLICE_LIT("{\"scope\":5}");
    assert_int_equal(oauth->decode(&page, &context, &rows, &f->err), ERR_MALFORMED);
    assert_int_equal(rows__count(&rows), 0);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_each_scope_is_asked_for_alone),
        TEST(test_a_token_is_kept_in_memory_alone),
        TEST(test_it_is_renewed_before_it_ends),
        TEST(test_a_scope_that_is_not_granted_is_a_state),
        TEST(test_wrong_credentials_are_not_tried_for_a_day),
        TEST(test_what_is_no_answer_is_a_failure),
        TEST(test_a_login_brings_the_token_that_only_a_user_grants),
        TEST(test_a_token_that_cannot_be_kept_is_refused),
        TEST(test_a_login_that_is_over_is_not_tried_again),
        TEST(test_another_login_begins_anew),
        TEST(test_a_logins_client_is_asked_again_when_it_changes),
        TEST(test_what_a_login_says_is_read_with_care),
        TEST(test_an_audit_is_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
