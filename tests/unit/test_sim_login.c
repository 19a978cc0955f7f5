/* A user's login at the simulator: the page that asks, a code that is good once and for its maker
 * alone, refresh tokens that are good once, and the end of it all. */
#include "test_sim.h"

/* RFC 7636, appendix B. */
#define VERIFIER "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define CHALLENGE "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
#define REDIRECT "http%3A%2F%2F127.0.0.1%3A29999%2Fcallback"
#define ASK                                                                                        \
    "/oauth/authorize?client_id=me&response_type=code&state=st%20ate&redirect_uri=" REDIRECT       \
    "&code_challenge=" CHALLENGE "&code_challenge_method=S256&scope=account%3Astashes"
static char scopes[] = "--scopes", all[] = "account:stashes,oauth:revoke", guard[] = "--require-token";

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    fixture__init(f, 3, (char *[]){scopes, all, guard});
    f->options.state_dir = f->dir;
    fixture__open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture__fini(*state);
    free(*state);
    return 0;
}

static int post(struct fixture *f, const char *target, const char *form) {
    return fixture__send(f, "POST", target, "", form, true)->status;
}

/** Press "Allow" and take the code. */
static void allow(struct fixture *f, const char *target, char code[17]) {
    assert_int_equal(post(f, target, "answer=allow"), 302);
    const char *at = strstr(f->reply.headers.at, "Location: http://127.0.0.1:29999/callback?code=");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "Location: http://127.0.0.1:29999/callback?code=%16[0-9a-f]&state=st%%20ate\r\n", code), 1);
    assert_non_null(strstr(at, "&state=st%20ate\r\n"));
}

static int exchange(struct fixture *f, const char *code, const char *verifier) {
    char form[400];
    snprintf(form, sizeof form,
             "client_id=me&grant_type=authorization_code&redirect_uri=%s&code=%s&code_verifier=%s", REDIRECT, code,
             verifier);
    return post(f, "/oauth/token", form);
}

static void text_of(const struct fixture *f, const char *key, char out[120]) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", key);
    const char *at = strstr(f->reply.body->data, pattern);
    if (at == NULL) fail_msg("no %s in %s", key, f->reply.body->data);
    assert_int_equal(sscanf(at + strlen(pattern), "%119[^\"]", out), 1);
}

static int refresh(struct fixture *f, const char *token) {
    char form[300];
    snprintf(form, sizeof form, "client_id=me&grant_type=refresh_token&refresh_token=%s", token);
    return post(f, "/oauth/token", form);
}

static int get_stash(struct fixture *f, const char *token) {
    char headers[300];
    snprintf(headers, sizeof headers, TEST_AGENT "Authorization: Bearer %s\r\n", token);
    return fixture__send(f, "GET", "/stash/Standard", headers, "", true)->status;
}

static void test_the_page_asks(void **state) {
    struct fixture *f = *state;
    assert_int_equal(fixture__get(f, ASK)->status, 200);
    assert_non_null(strstr(f->reply.body->data, ">Allow</button>"));
    assert_int_equal(post(f, ASK, "answer=deny"), 302);
    assert_non_null(strstr(f->reply.headers.at, "?error=access_denied&state="));
    static const char *const wrong[] = {
        "/oauth/authorize",
        "/oauth/authorize?client_id=me&response_type=code&state=x&redirect_uri=http%3A%2F%2Fevil.example%2F"
        "&code_challenge=" CHALLENGE "&code_challenge_method=S256&scope=account%3Astashes",
        "/oauth/authorize?client_id=me&response_type=code&state=x&redirect_uri=" REDIRECT
        "&code_challenge=" VERIFIER "&code_challenge_method=plain&scope=account%3Astashes",
        "/oauth/authorize?client_id=me&response_type=code&state=x&redirect_uri=" REDIRECT
        "&code_challenge=" CHALLENGE "&code_challenge_method=S256&scope=service%3Apsapi",
        "/oauth/authorize?client_id=me&response_type=code&redirect_uri=" REDIRECT
        "&code_challenge=" CHALLENGE "&code_challenge_method=S256&scope=account%3Astashes"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(fixture__get(f, wrong[i])->status, 400);
        assert_int_equal(post(f, wrong[i], "answer=allow"), 400);
    }
}

static void test_a_code_is_good_once_and_for_its_maker(void **state) {
    struct fixture *f = *state;
    char code[17], text[120];
    allow(f, ASK, code);
    assert_int_equal(exchange(f, code, VERIFIER), 200);
    text_of(f, "username", text);
    assert_string_equal(text, "exile#1234");
    text_of(f, "access_token", text);
    assert_int_equal(get_stash(f, text), 200);
    assert_int_equal(exchange(f, code, VERIFIER), 400); /* Spent. */
    allow(f, ASK, code);
    assert_int_equal(exchange(f, code, "e" VERIFIER), 400);
    assert_non_null(strstr(f->reply.body->data, "invalid_grant"));
    assert_int_equal(exchange(f, code, VERIFIER), 400); /* Nor again, when a thief has tried it. */
    allow(f, ASK, code);
    f->sim->clock.wall_ns += 31 * SIM_NS_PER_S;
    assert_int_equal(exchange(f, code, VERIFIER), 400);
    /* The list of codes is bounded, and the oldest gives way. */
    char newer[17];
    allow(f, ASK, code);
    for (int i = 0; i < LOGIN_CODES_MAX; i++) allow(f, ASK, newer);
    assert_int_equal(exchange(f, code, VERIFIER), 400);
    assert_int_equal(exchange(f, newer, VERIFIER), 200);
}

static void test_a_refresh_token_is_good_once(void **state) {
    struct fixture *f = *state;
    char code[17], first[120], second[120];
    allow(f, ASK, code);
    assert_int_equal(exchange(f, code, VERIFIER), 200);
    text_of(f, "refresh_token", first);
    assert_int_equal(refresh(f, first), 200);
    text_of(f, "refresh_token", second);
    assert_string_not_equal(first, second);
    assert_int_equal(refresh(f, first), 400);
    assert_non_null(strstr(f->reply.body->data, "invalid_grant"));
    assert_int_equal(refresh(f, second), 200); /* The others still stand. */
    text_of(f, "refresh_token", first);
    first[strlen(first) - 1] ^= 1;
    assert_int_equal(refresh(f, first), 400); /* One that it did not make. */
    /* After a restart it goes by what is shown. */
    fixture__close(f);
    fixture__open(f);
    first[strlen(first) - 1] ^= 1;
    assert_int_equal(refresh(f, first), 200);
}

static void test_a_login_can_be_ended(void **state) {
    struct fixture *f = *state;
    char code[17], token[120], access[120], form[300];
    allow(f, ASK, code);
    assert_int_equal(exchange(f, code, VERIFIER), 200);
    text_of(f, "refresh_token", token);
    snprintf(form, sizeof form, "client_id=me&token_type_hint=refresh_token&token=%s", token);
    assert_int_equal(post(f, "/oauth/token/revoke", form), 403); /* It was not asked for. */
    allow(f, ASK "%20oauth%3Arevoke", code);
    assert_int_equal(exchange(f, code, VERIFIER), 200);
    text_of(f, "refresh_token", token);
    text_of(f, "access_token", access);
    assert_int_equal(get_stash(f, access), 200);
    snprintf(form, sizeof form, "client_id=me&token_type_hint=refresh_token&token=%s", token);
    assert_int_equal(post(f, "/oauth/token/revoke", form), 200);
    assert_int_equal(refresh(f, token), 400);
    assert_int_equal(get_stash(f, access), 401);
    assert_int_equal(post(f, "/oauth/token/revoke", "client_id=me&token=unknown"), 200);
    assert_int_equal(post(f, "/oauth/token/revoke", "client_id=me"), 400);
    assert_int_equal(fixture__get(f, "/oauth/token/revoke")->status, 405);
}

static void test_without_a_secret_there_is_no_other_grant(void **state) {
    struct fixture *f = *state;
    assert_int_equal(post(f, "/oauth/token", "client_id=me&grant_type=client_credentials&scope=account%3Astashes"), 400);
    assert_non_null(strstr(f->reply.body->data, "invalid_client"));
    assert_int_equal(post(f, "/oauth/token", "client_id=me&grant_type=password"), 400);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_page_asks), TEST(test_a_code_is_good_once_and_for_its_maker),
        TEST(test_a_refresh_token_is_good_once), TEST(test_a_login_can_be_ended),
        TEST(test_without_a_secret_there_is_no_other_grant)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
