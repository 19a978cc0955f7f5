/* What of a configuration may change while souk runs: the rest is named, and nothing of it is taken. */
#include "../../src/service/reload_diff.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *no_env(const char *name) { return strcmp(name, "CH_PASSWORD") == 0 ? "one" : NULL; }
static const char *other_env(const char *name) { return strcmp(name, "CH_PASSWORD") == 0 ? "two" : NULL; }

static struct config *parse(const char *yaml, config_env env) {
    static struct config_errors errors;
    struct config *c = NULL;
    if (config__parse("f", slice__str(yaml), env, &c, &errors) != 0) fail_msg("%s", errors.line[0]);
    return c;
}

static void expect(const char *now, const char *next, const char *why) {
    struct config *a = parse(now, no_env), *b = parse(next, no_env);
    struct buf out = buf__init(1 << 16);
    assert_int_equal(reload_diff__is_live(a, b, &out), why[0] == '\0');
    buf__append(&out, "", 1);
    assert_string_equal(out.base, why);
    buf__fini(&out);
    config__free(a);
    config__free(b);
}

#define BASE "leagues: [Standard]\nsources:\n  psapi:\n    realms: [pc]\n"

static void test_what_may_change_is_taken(void **state) {
    (void)state;
    expect(BASE, BASE, "");
    expect(BASE, BASE "    period_s: 7\n  trade_data: {period_s: 9000, change_ids_s: 11}\nlog: {level: debug}\n"
                 "alerts:\n  psapi: {amber_s: 100, red_s: 200}\n", "");
    struct config *a = parse(BASE, no_env), *b = parse(BASE "    period_s: 7\nlog: {level: debug}\n", no_env);
    reload_diff__take(a, b);
    assert_true(a->sources.psapi.period_s > 6.9 && a->log.level == CONFIG_LOG_DEBUG);
    config__free(a);
    config__free(b);
}

static void test_what_needs_a_restart_is_named(void **state) {
    (void)state;
    expect(BASE, BASE "hub: {port: 12345}\n", "hub.port differs and needs a restart");
    expect(BASE, "leagues: [Standard, Hardcore]\nsources:\n  psapi:\n    realms: [pc, sony]\n    period_s: 9\n",
           "leagues differs and needs a restart; sources.psapi.realms differs and needs a restart");
    expect(BASE "    enabled: true\n", BASE "    enabled: false\n", "sources.psapi.enabled differs and needs a restart");
    expect("leagues: [Standard, Hardcore]\n", "leagues: [Hardcore, Standard]\n", "leagues differs and needs a restart");
}

static void test_a_changed_secret_is_named_and_not_shown(void **state) {
    struct config *a = parse(BASE, no_env), *b = parse(BASE, other_env);
    struct buf out = buf__init(1 << 16);
    (void)state;
    assert_false(reload_diff__is_live(a, b, &out));
    buf__append(&out, "", 1);
    assert_string_equal(out.base, "clickhouse.password differs and needs a restart");
    buf__fini(&out);
    config__free(a);
    config__free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_may_change_is_taken),
        cmocka_unit_test(test_what_needs_a_restart_is_named),
        cmocka_unit_test(test_a_changed_secret_is_named_and_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
