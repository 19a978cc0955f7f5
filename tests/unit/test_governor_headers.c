/* Rate-limit headers as bytes: the grammar, what is refused, Retry-After, and corpora of header
 * sets. */
#include "../../src/governor/headers.h"
#include "../lib/data_dir.h"
#include "test_governor_sim.h"
#include <yyjson.h>

#define WALL_NS (INT64_C(1795262400) * S) /* Sat, 21 Nov 2026 12:00:00 GMT */

static struct rate_headers read_text(const char *const *pairs) {
    struct governor_header headers[32];
    struct rate_headers h;
    size_t n = 0;
    for (; pairs[0] != NULL; pairs += 2)
        headers[n++] = (struct governor_header){slice__str(pairs[0]), slice__str(pairs[1])};
    rate_headers__read(&h, headers, n, WALL_NS);
    return h;
}
#define READ(...) read_text((const char *const[]){__VA_ARGS__, NULL})

static void test_any_case_and_spaces(void **state) {
    (void)state;
    struct rate_headers h =
        READ("x-rate-limit-policy", " trade ", "X-RATE-LIMIT-RULES", "ip ,ACCOUNT",
             "X-Rate-Limit-IP", "8:10:60 , 15:60:120", "x-rate-limit-ip-state", "1:10:0, 2:60:5",
             "x-rate-limit-account", "3:5:60", "x-rate-limit-account-state", "1:5:0");
    assert_string_equal(h.error, "");
    assert_true(h.complete);
    assert_string_equal(h.policy, "trade");
    assert_int_equal(h.n_windows, 3);
    assert_string_equal(h.windows[1].rule, "Ip");
    assert_int_equal(h.windows[1].active_s, 5);
    assert_int_equal(h.windows[1].hits, 2);
    assert_false(h.windows[1].first);
    assert_string_equal(h.windows[2].rule, "Account");
    assert_true(h.windows[2].first);
}

static void test_what_cannot_be_read_is_no_licence(void **state) {
    (void)state;
    const char *bad[] = {
        "",
        "8",
        "8:10",
        "8:10:60:1",
        "0:10:60",
        "8:0:60",
        "-8:10:60",
        "8:10:x",
        "8:10:60,,",
        "99999999999:10:60",
        "8:99999999:60",
        "+8:10:60",
        "8::60",
        ("1:1:1,1:2:1,1:3:1,1:4:1,1:5:1,1:6:1,1:7:1,1:8:1,1:9:1,1:10:1,1:11:1,1:12:1,"
         "1:13:1,1:14:1,1:15:1,1:16:1,1:17:1")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rate_headers h = READ("X-Rate-Limit-Policy", "p", "X-Rate-Limit-Rules", "Ip",
                                     "X-Rate-Limit-Ip", bad[i], "X-Rate-Limit-Ip-State", "1:10:0");
        assert_true(h.seen);
        assert_false(h.complete);
        assert_int_equal(h.n_windows, 0);
        assert_string_not_equal(h.error, "");
    }
    struct rate_headers h = READ("X-Rate-Limit-Policy", "p", "X-Rate-Limit-Rules", "Ip,Account",
                                 "X-Rate-Limit-Ip", "8:10:60", "X-Rate-Limit-Ip-State", "1:10:0");
    assert_false(h.complete); /* One of two is missing. */
    h = READ("X-Rate-Limit-Policy", "p", "X-Rate-Limit-Rules", "Ip\"x\"", "X-Rate-Limit-Ip",
             "1:1:1");
    assert_false(h.complete);
}

/* Eight rules and sixteen windows; what says more is not believed at all. */
static void test_rules_and_windows_are_bounded(void **state) {
    (void)state;
#define RULE(name, windows, state) "X-Rate-Limit-" name, windows, "X-Rate-Limit-" name "-State", state
#define TWO(name) RULE(name, "8:10:60,9:20:60", "1:10:0,1:20:0")
#define SEVEN TWO("a"), TWO("b"), TWO("c"), TWO("d"), TWO("e"), TWO("f"), TWO("g")
    struct rate_headers h = READ("X-Rate-Limit-Rules", "a,b,c,d,e,f,g,h", SEVEN, TWO("h"));
    assert_true(h.complete);
    assert_int_equal(h.n_windows, 16);
    h = READ("X-Rate-Limit-Rules", "a,b,c,d,e,f,g,h", SEVEN, RULE("h", "8:10:60,9:20:60,9:30:60", "1:10:0,1:20:0,1:30:0"));
    assert_false(h.complete);
    assert_string_equal(h.error, "too many windows at rule H");
    h = READ("X-Rate-Limit-Rules", "a,b,c,d,e,f,h,i,j", TWO("a"), TWO("b"), TWO("c"), TWO("d"), TWO("e"), TWO("f"),
             RULE("h", "8:10:60", "1:10:0"), RULE("i", "8:10:60", "1:10:0"), RULE("j", "8:10:60", "1:10:0"));
    assert_false(h.complete);
    assert_string_equal(h.error, "unreadable list of rules");
#undef RULE
#undef TWO
#undef SEVEN
}

static void test_a_wrong_state_is_said_and_not_believed(void **state) {
    (void)state;
    const char *bad[] = {"", "1:11:0", "1:10:0,1:60:0", "x", "1:10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rate_headers h = READ("X-Rate-Limit-Rules", "Ip", "X-Rate-Limit-Ip", "8:10:60",
                                     "X-Rate-Limit-Ip-State", bad[i]);
        assert_true(h.complete); /* The limits are good. */
        assert_string_not_equal(h.error, "");
    }
}

static void test_retry_after(void **state) {
    (void)state;
    const struct {
        const char *text;
        int64_t want_ns;
    } cases[] = {
        {"10", 10 * S},
        {"0", 0},
        {"-1", -1},
        {"1e12", -1},
        {"soon", -1},
        {"", -1},
        {"1000000000000", INT64_MAX / 2},
        {"99999999999999999999999999", INT64_MAX / 2},
        {"Sat, 21 Nov 2026 12:00:30 GMT", 30 * S},
        {"Saturday, 21-Nov-26 12:00:30 GMT", 30 * S},
        {"Sat Nov 21 12:00:30 2026", 30 * S},
        {"Sat, 21 Nov 2026 11:59:00 GMT", 0},
        {"Sat, 21 Foo 2026 11:59:00 GMT", -1},
        {"Sat, 21 Nov 2026 25:59:00 GMT", -1},
        {"Sat, 21 Nov 2026 12:00:30 GMT and more", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rate_headers h = READ("Retry-After", cases[i].text);
        assert_int_equal(h.retry_after_ns, cases[i].want_ns);
    }
    /* By the server's own clock, which is an hour ahead of ours. */
    struct rate_headers h = READ("Date", "Sat, 21 Nov 2026 13:00:00 GMT", "Retry-After",
                                 "Sat, 21 Nov 2026 13:00:30 GMT");
    assert_int_equal(h.retry_after_ns, 30 * S);
}

static void test_the_servers_time_is_its_date_and_what_a_cache_added(void **state) {
    (void)state;
    int64_t at = INT64_C(1795266000) * S; /* 2026-11-21 13:00. */
    struct rate_headers h = READ("date", "Sat, 21 Nov 2026 13:00:00 GMT");
    assert_int_equal(h.date_wall_ns, at);
    h = READ("Date", "Sat, 21 Nov 2026 13:00:00 GMT", "Age", "30");
    assert_int_equal(h.date_wall_ns, at + 30 * S);
    static const char *const ages[] = {"-1", "x", "99999999999999999999", "4294967296"};
    for (size_t i = 0; i < 4; i++) {
        h = READ("Date", "Sat, 21 Nov 2026 13:00:00 GMT", "Age", ages[i]);
        assert_int_equal(h.date_wall_ns, 0); /* Not to be believed. */
    }
    h = READ("Date", "Fri, 31 Dec 9999 23:59:59 GMT", "Age", "2147483647");
    assert_int_equal(h.date_wall_ns, 0);
    h = READ("Date", "yesterday");
    assert_int_equal(h.date_wall_ns, 0);
    h = READ("Age", "5");
    assert_int_equal(h.date_wall_ns, 0);
}

static void test_retry_after_is_waited_for(void **state) {
    (void)state;
    const struct {
        const char *text;
        int64_t least_ns; /* -1: disabled. */
    } cases[] = {
        {"30", 30 * S + 6 * S}, {"0", 6 * S},         {"-1", 6 * S},
        {"nonsense", 6 * S},    {NULL, 6 * S},        {"1000000000000", -1},
        {"86401", -1},          {"86400", 86400 * S}, {"Sat, 01 Jan 2000 00:00:00 GMT", 6 * S}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sim *sim = sim_new(&(struct governor_options){.seed = i});
        struct endpoint_options o = sim_endpoint("e");
        sim->ep = governor__endpoint(sim->g, &o);
        sim->server.status = 429;
        sim->server.retry_after = cases[i].text;
        sim_ask(sim);
        sim_run(sim, 130 * MS, 10 * MS);
        assert_int_equal(sim->n_answered, 1);
        struct endpoint_status s = sim_status(sim);
        if (cases[i].least_ns < 0) {
            assert_int_equal(s.state, ENDPOINT_DISABLED);
            assert_true(s.next_mono_ns == INT64_MAX);
            assert_int_equal(sim_ask(sim)->status, ERR_REFUSED);
        } else {
            int64_t wait_ns = s.next_mono_ns - sim->clock.mono_ns;
            assert_int_equal(s.state, ENDPOINT_PENALTY);
            assert_true(wait_ns > cases[i].least_ns); /* Jitter is positive only. */
            assert_true(wait_ns < cases[i].least_ns + 10 * S);
        }
        sim_free(sim);
    }
}

static void test_http_date_of_all_months(void **state) {
    (void)state;
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t last_ns = 0, t = 0;
    for (int m = 0; m < 12; m++) {
        char text[64];
        snprintf(text, sizeof text, "Mon, 28 %.3s 2028 00:00:00 GMT", names + 3 * m);
        assert_true(http_date__parse(slice__str(text), &t));
        if (m > 0) assert_in_range((t - last_ns) / (86400 * S), 29, 31);
        last_ns = t;
    }
    assert_true(http_date__parse(SLICE_LIT("Sun, 06 Nov 1994 08:49:37 GMT"), &t));
    assert_int_equal(t / S, 784111777); /* The example of RFC 9110. */
}

static void test_verdict_is_bounded_and_printable(void **state) {
    (void)state;
    char value[600];
    struct governor_verdict v;
    struct rate_headers h;
    memset(value, 'x', sizeof value);
    value[3] = '\n';
    struct governor_header headers[4];
    for (size_t i = 0; i < 4; i++)
        headers[i] =
            (struct governor_header){SLICE_LIT("X-Rate-Limit-Ip"), slice__of(value, sizeof value)};
    rate_headers__read(&h, headers, 4, WALL_NS);
    rate_headers__print(&h, headers, 4, &v);
    assert_int_equal(strlen(v.raw), sizeof v.raw - 1);
    assert_null(memchr(v.raw, '\n', 30));
}

static void check_case(yyjson_val *c) {
    struct governor_header headers[32];
    struct rate_headers h;
    struct governor_verdict v;
    size_t i, max, n = 0;
    yyjson_val *key, *val;
    yyjson_obj_foreach(yyjson_obj_get(c, "headers"), i, max, key, val) {
        assert_in_range(n, 0, 31);
        headers[n++] =
            (struct governor_header){slice__of(yyjson_get_str(key), yyjson_get_len(key)),
                                     slice__of(yyjson_get_str(val), yyjson_get_len(val))};
    }
    rate_headers__read(&h, headers, n, WALL_NS);
    rate_headers__print(&h, headers, n, &v);
    bool named = yyjson_obj_get(yyjson_obj_get(c, "headers"), "X-Rate-Limit-Policy") != NULL;
    bool rules = yyjson_obj_get(yyjson_obj_get(c, "headers"), "X-Rate-Limit-Rules") != NULL;
    if (!named) return;
    assert_int_equal(h.complete, rules);
    if (rules) assert_true(h.n_windows > 0 && v.state[0] != '\0');
    else assert_string_not_equal(h.error, "");
}

static void test_corpus(enum data_origin origin) {
    char path[2048];
    data__path(origin, "ratelimit/header-corpus.json", path, sizeof path);
    yyjson_doc *doc = yyjson_read_file(path, 0, NULL, NULL);
    assert_non_null(doc);
    size_t i, max;
    yyjson_val *c;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "cases"), i, max, c) check_case(c);
    assert_true(max > 10);
    yyjson_doc_free(doc);
}
DATA_TESTS_OF(test_corpus)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_case_and_spaces),
        cmocka_unit_test(test_what_cannot_be_read_is_no_licence),
        cmocka_unit_test(test_rules_and_windows_are_bounded),
        cmocka_unit_test(test_a_wrong_state_is_said_and_not_believed),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_retry_after_is_waited_for),
        cmocka_unit_test(test_the_servers_time_is_its_date_and_what_a_cache_added),
        cmocka_unit_test(test_http_date_of_all_months),
        cmocka_unit_test(test_verdict_is_bounded_and_printable),
        DATA_TESTS(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
