/* From the configuration's words to what the rooms are told; tokens, which must never fail open. */
#include "../../src/service/settings.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static const char *no_env(const char *name) {
    (void)name;
    return NULL;
}

/* @return what settings__init says of a tokens file of @n bytes of @text. */
static int load(struct settings *s, const char *text, size_t n, struct err *e) {
    static struct config_errors errors;
    char path[] = "/tmp/souk_tokens_XXXXXX", yaml[128];
    struct config *config;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    snprintf(yaml, sizeof yaml, "hub:\n  tokens_file: %s\n", path);
    if (config__parse("f", slice__str(yaml), no_env, &config, &errors) != 0) fail_msg("%s", errors.line[0]);
    *e = (struct err){0};
    int code = settings__init(s, config, e);
    unlink(path);
    return code;
}

static void refuse(const char *text, size_t n, const char *part) {
    struct settings s;
    struct err e;
    assert_int_equal(load(&s, text, n, &e), ERR_CONFIG);
    if (strstr(e.msg, part) == NULL) fail_msg("%s does not say %s", e.msg, part);
    settings__fini(&s);
}
#define REFUSE(text, part) refuse(text, sizeof(text) - 1, part)

static void test_tokens_are_read(void **state) {
    static const char text[] = "# who may come in\n\nann  0123456789abcdef\r\nbob\tfedcba9876543210 write";
    struct settings s;
    struct err e;
    (void)state;
    if (load(&s, text, sizeof text - 1, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(s.n_tokens, 2);
    assert_string_equal(s.tokens[0].name, "ann");
    assert_string_equal(s.tokens[0].token, "0123456789abcdef");
    assert_false(s.tokens[0].write);
    assert_string_equal(s.tokens[1].name, "bob");
    assert_true(s.tokens[1].write);
    settings__fini(&s);
}

static void test_what_is_no_token_is_refused_with_its_line(void **state) {
    (void)state;
    REFUSE("ann 0123456789abcdef\nbob short\n", ":2: expected");
    REFUSE("ann\n", ":1: expected");
    REFUSE("ann 0123456789abcdef read\n", ":1: expected");
    REFUSE("ann 0123456789abcdef write too\n", ":1: expected");
    REFUSE("ann 0123456789abcdef\n\0bob fedcba9876543210\n", "expected");
    REFUSE("ann 0123456789abcdef\nbob fedcba9876543210\nann aaaaaaaaaaaaaaaa write\n", ":3: the name is there already");
    REFUSE("ann 0123456789abcdef\nbob 0123456789abcdef write\n", ":2: the token is there already");
    REFUSE("a123456789b123456789c123456789d123456789e123456789f123456789g123 0123456789abcdef\n",
           ":1: the name has more than 63 bytes");
    REFUSE("", "expected 1 to");
    char *big = malloc(70000), *at = big;
    memset(big, '#', 70000);
    refuse(big, 70000, "expected 1 to");
    for (int i = 0; i <= HUB_TOKENS_MAX; i++) at += sprintf(at, "n%d 0123456789abcdef%d\n", i, i);
    refuse(big, (size_t)(at - big), "more than 16 tokens");
    free(big);
}

static void test_a_tokens_file_is_a_file(void **state) {
    static struct config_errors errors;
    struct config *config;
    struct settings s;
    struct err e = {0};
    char path[] = "/tmp/souk_tokens_XXXXXX", yaml[128];
    (void)state;
    alarm(120); /* Without the mend it hangs. */
    close(mkstemp(path));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(yaml, sizeof yaml, "hub:\n  tokens_file: %s\n", path);
    assert_int_equal(config__parse("f", slice__str(yaml), no_env, &config, &errors), 0);
    assert_int_equal(settings__init(&s, config, &e), ERR_CONFIG);
    assert_non_null(strstr(e.msg, "cannot be read: it is no regular file"));
    settings__fini(&s);
    unlink(path);
    alarm(0);
}

/* A file that was meant to close the door and holds no token must not leave it open. */
static void test_a_file_without_tokens_is_refused(void **state) {
    (void)state;
    REFUSE("# nobody yet\n\n", "no token");
}

static void test_sources_are_set_up(void **state) {
    static struct config_errors errors;
    struct config *config;
    struct settings s;
    struct err e;
    (void)state;
    assert_int_equal(config__parse("f", SLICE_LIT("sources:\n  psapi:\n    period_s: 2.5\n"), no_env, &config, &errors), 0);
    assert_int_equal(settings__init(&s, config, &e), 0);
    assert_int_equal(s.n_tokens, 0);
    const struct source_setup *psapi = settings__source(&s, "psapi"), *ninja = settings__source(&s, "poe_ninja");
    assert_non_null(psapi);
    assert_non_null(ninja);
    assert_null(settings__source(&s, "nowhere"));
    assert_true(psapi->settings.period_ns == 2500 * NS_PER_MS);
    assert_true(ninja->key_gap_ns == 60 * NS_PER_S); /* Whatever is configured: the upstream's rule. */
    for (size_t i = 0; i < s.n_sources; i++) assert_non_null(source__find(s.sources[i].name));
    settings__fini(&s);
    settings__fini(&s); /* Zeroed now. */
}

/* A source that needs a token runs when there is one, or a secret to get one with. */
static void test_what_needs_a_token_says_so(void **state) {
    static struct config_errors errors;
    struct config *config;
    struct settings s;
    struct err e;
    (void)state;
    assert_int_equal(config__parse("f", SLICE_LIT("sources:\n  account_stashes:\n    enabled: true\n"), no_env, &config,
                                   &errors), 0);
    assert_int_equal(settings__init(&s, config, &e), 0);
    struct source_setup *stashes = (struct source_setup *)(uintptr_t)settings__source(&s, "account_stashes");
    assert_true(stashes->enabled && stashes->settings.client_id[0] != '\0');
    assert_non_null(strstr(settings__why_off(&s, stashes), "account:stashes"));
    assert_null(settings__why_off(&s, settings__source(&s, "psapi"))); /* The simulator asks for none. */
    assert_false(settings__source(&s, "oauth")->enabled);
    stashes->token = "a token";
    assert_null(settings__why_off(&s, stashes));
    settings__fini(&s);
}

/* A login opens the account's stash and no more, without a secret, and only for the client that it was granted to. */
static void test_a_login_opens_what_only_a_user_can(void **state) {
    static struct config_errors errors;
    static struct login_file login = {.id = "1122334455667788", .client_id = "other", .username = "exile#1234"};
    struct config *config;
    struct settings s;
    struct err e;
    (void)state;
    assert_int_equal(config__parse("f", SLICE_LIT("agent: {client_id: mine}\nsources:\n  account_stashes:\n    enabled: true\n"),
                                   no_env, &config, &errors), 0);
    assert_int_equal(settings__init(&s, config, &e), 0);
    const struct source_setup *stashes = settings__source(&s, "account_stashes"), *oauth = settings__source(&s, "oauth");
    assert_non_null(strstr(settings__why_off(&s, stashes), "souk login account"));
    assert_int_equal(settings__take_login(&s, &login, &e), ERR_REFUSED);
    assert_non_null(strstr(e.msg, "other"));
    assert_true(!oauth->enabled && settings__why_off(&s, stashes) != NULL && stashes->settings.account[0] == '\0');
    snprintf(login.client_id, sizeof login.client_id, "mine");
    assert_int_equal(settings__take_login(&s, &login, &e), 0);
    assert_true(oauth->enabled);
    assert_string_equal(oauth->settings.login, "1122334455667788");
    assert_string_equal(stashes->settings.account, "exile#1234");
    assert_null(settings__why_off(&s, stashes));
    settings__fini(&s);
}

/* Whoever is on the way could take the refresh token, whichever configuration goes by the same state_dir. */
static void test_a_login_goes_to_nobody_on_the_way(void **state) {
    static struct config_errors errors;
    static struct login_file login = {.id = "1122334455667788", .client_id = "mine", .username = "exile#1234"};
    static const struct {
        const char *url;
        bool fine;
    } cases[] = {{"http://tokens.example", false}, {"http://10.0.0.1:80", false}, {"http://127.0.0.1.example", false},
                 {"http://localhost.example", false}, {"https://tokens.example", true}, {"http://127.0.0.1:8000", true},
                 {"http://localhost/oauth", true}, {"http://[::1]:8000", true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *config;
        struct settings s;
        struct err e = {0};
        char yaml[256];
        snprintf(yaml, sizeof yaml, "agent: {client_id: mine}\nsources:\n  oauth: {base_url: \"%s\"}\n", cases[i].url);
        if (config__parse("f", slice__str(yaml), no_env, &config, &errors) != 0) fail_msg("%s", errors.line[0]);
        assert_int_equal(settings__init(&s, config, &e), 0);
        bool was = settings__source(&s, "oauth")->enabled;
        int code = settings__take_login(&s, &login, &e);
        if ((code == 0) != cases[i].fine) fail_msg("%s: %d", cases[i].url, code);
        if (!cases[i].fine) assert_non_null(strstr(e.msg, "expected https"));
        if (!cases[i].fine) assert_int_equal(settings__source(&s, "oauth")->enabled, was);
        assert_int_equal(settings__private_oauth(s.config, &e) == 0, cases[i].fine);
        settings__fini(&s);
    }
}

static void test_sources_are_selected_by_name(void **state) {
    static struct config_errors errors;
    struct config *config;
    struct settings s;
    struct err e;
    (void)state;
    assert_int_equal(config__parse("f", SLICE_LIT("leagues: [Standard]\n"), no_env, &config, &errors), 0);
    assert_int_equal(settings__init(&s, config, &e), 0);
    assert_int_equal(settings__select(&s, "poe_n*,psapi", &e), 0);
    assert_true(settings__source(&s, "psapi")->enabled && settings__source(&s, "poe_ninja")->enabled);
    assert_int_equal(settings__select(&s, "psapi,moon*", &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "\"moon*\"; there are "));
    assert_non_null(strstr(e.msg, "poe_ninja"));
    static const char *const none[] = {"", ",", "psapi,,poe_ninja"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_int_equal(settings__select(&s, none[i], &e), ERR_NOT_FOUND);
    assert_int_equal(settings__select(&s, "ps?pi", &e), 0);
    assert_true(settings__source(&s, "psapi")->enabled);
    assert_false(settings__source(&s, "poe_ninja")->enabled);
    assert_true(settings__source(&s, "poe_ninja")->left_out);
    assert_false(settings__source(&s, "psapi")->left_out);
    assert_int_equal(settings__select(&s, "poe_ninja", &e), ERR_CONFIG); /* Switched off by now. */
    settings__fini(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_are_read),
        cmocka_unit_test(test_what_is_no_token_is_refused_with_its_line),
        cmocka_unit_test(test_a_tokens_file_is_a_file),
        cmocka_unit_test(test_a_file_without_tokens_is_refused),
        cmocka_unit_test(test_sources_are_set_up),
        cmocka_unit_test(test_what_needs_a_token_says_so),
        cmocka_unit_test(test_a_login_opens_what_only_a_user_can),
        cmocka_unit_test(test_a_login_goes_to_nobody_on_the_way),
        cmocka_unit_test(test_sources_are_selected_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
