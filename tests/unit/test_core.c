/* Errors, clock, map, metrics and log. */
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/log.h"
#include "souk/core/map.h"
#include "souk/core/metric.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_err_keeps_the_cause_behind_its_prefix(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(err__setf(&e, ERR_MALFORMED, "\"stashes\" is %s", "no array"), ERR_MALFORMED);
    assert_int_equal(err__prefixf(&e, "psapi: change %d", 7), ERR_MALFORMED);
    assert_string_equal(e.msg, "psapi: change 7: \"stashes\" is no array");
    for (int i = 0; i < 100; i++) err__prefixf(&e, "a long prefix %d", i);
    assert_true(strlen(e.msg) < sizeof e.msg);
    assert_string_equal(err__text(ERR_FULL), "full");
}

static void test_clock_prints_utc(void **state) {
    (void)state;
    char out[32];
    assert_string_equal(clock__iso(INT64_C(1795219034130) * NS_PER_MS, out, sizeof out),
                        "2026-11-20T23:57:14.130Z");
    assert_int_equal(clock__day(INT64_C(86400) * NS_PER_S), 1);
    assert_int_equal(clock__day(-1), -1);
}

static void test_map_is_bounded_and_finds_what_was_put(void **state) {
    (void)state;
    struct map m;
    int values[100];
    char key[16];
    assert_int_equal(map__init(&m, 100), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(map__put(&m, slice__str(key), &values[i]), 0);
    }
    assert_int_equal(map__put(&m, SLICE_LIT("one more"), values), ERR_FULL);
    assert_ptr_equal(map__get(&m, SLICE_LIT("key 42")), &values[42]);
    assert_null(map__get(&m, SLICE_LIT("key 420")));
    assert_int_equal(map__put(&m, SLICE_LIT("key 42"), &values[1]), 0); /* Replaces. */
    assert_ptr_equal(map__remove(&m, SLICE_LIT("key 42")), &values[1]);
    assert_null(map__remove(&m, SLICE_LIT("key 42")));
    assert_int_equal(m.n, 99);
    assert_int_equal(map__put(&m, SLICE_LIT("one more"), values), 0);
    map__fini(&m);
}

/* Keys of strangers come and go: the table must not fill with the marks of those that went. */
static void test_a_map_stays_small_while_keys_come_and_go(void **state) {
    (void)state;
    enum { LIVE = 500, ALL = 50000 };
    static int values[ALL];
    struct map m;
    struct ck_ht_stat st;
    char key[16];
    assert_int_equal(map__init(&m, LIVE), 0);
    for (int i = 0; i < ALL; i++) {
        if (i >= LIVE) {
            snprintf(key, sizeof key, "key %d", i - LIVE);
            assert_ptr_equal(map__remove(&m, slice__str(key)), &values[i - LIVE]);
        }
        snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(map__put(&m, slice__str(key), &values[i]), 0);
        assert_in_range(m.n_removed, 0, 64 + LIVE / 2);
    }
    for (int i = 0; i < ALL; i++) {
        snprintf(key, sizeof key, "key %d", i);
        assert_ptr_equal(map__get(&m, slice__str(key)), i < ALL - LIVE ? NULL : &values[i]);
    }
    ck_ht_stat(&m.ht, &st);
    assert_int_equal(st.n_entries, LIVE);
    for (int i = ALL - LIVE; i < ALL; i++) {
        snprintf(key, sizeof key, "key %d", i);
        assert_ptr_equal(map__remove(&m, slice__str(key)), &values[i]);
    }
    assert_int_equal(m.n, 0);
    map__fini(&m);
}

/* Beyond the bound all share one series, which is counted in no place: so that is told. */
static void test_series_beyond_the_bound_are_told(void **state) {
    (void)state;
    struct metrics m;
    struct buf out = buf__init(4 << 20);
    metrics__init(&m);
    for (int i = 0; i < METRIC_SERIES_MAX + 7; i++) {
        char name[32];
        snprintf(name, sizeof name, "souk_n%d_total", i % 64); /* Short lists. */
        series__inc(metrics__counter(&m, name, "N.", "k=\"%d\"", i));
    }
    metrics__expose(&m, &out);
    assert_true(buf__u8(&out, 0));
    assert_non_null(strstr(out.base, "\nsouk_metric_series 4096\n"));
    assert_non_null(strstr(out.base, "\nsouk_metric_series_refused_total 7\n"));
    buf__fini(&out);
    metrics__fini(&m);
}

static void test_metrics_expose_families_together(void **state) {
    (void)state;
    struct metrics m;
    metrics__init(&m);
    struct series *a = metrics__counter(&m, "souk_pages_total", "Pages.", "source=\"%s\"", "psapi");
    metrics__gauge(&m, "souk_ready", "Ready.", "");
    metrics__counter(&m, "souk_pages_total", "Pages.", "source=\"ninja\"");
    struct series *h = metrics__histogram(&m, "souk_wait_seconds", "Wait.", "k=\"v\"");
    assert_ptr_equal(a, metrics__counter(&m, "souk_pages_total", "", "source=\"psapi\""));
    series__inc(a);
    series__add(a, 2);
    series__observe(h, 0.02);
    series__observe(h, 1000);
    struct buf out = buf__init(1 << 16);
    metrics__expose(&m, &out);
    buf__append(&out, "", 1);
    assert_non_null(strstr(out.base, "# HELP souk_pages_total Pages.\n# TYPE souk_pages_total counter\n"
                                     "souk_pages_total{source=\"psapi\"} 3\n"
                                     "souk_pages_total{source=\"ninja\"} 0\n"));
    assert_non_null(strstr(out.base, "souk_wait_seconds_bucket{k=\"v\",le=\"0.01\"} 0\n"
                                     "souk_wait_seconds_bucket{k=\"v\",le=\"0.025\"} 1\n"));
    assert_non_null(strstr(out.base, "souk_wait_seconds_bucket{k=\"v\",le=\"+Inf\"} 2\n"
                                     "souk_wait_seconds_sum{k=\"v\"} 1000.02\n"
                                     "souk_wait_seconds_count{k=\"v\"} 2\n"));
    assert_non_null(strstr(out.base, "\nsouk_ready 0\n"));
    buf__fini(&out);
    metrics__fini(&m);
}

static char *log_one(enum log_format format, int times) {
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    static struct clock clock = {.wall_ns = INT64_C(1795219034130) * NS_PER_MS};
    clock.mono_ns += 100 * NS_PER_S;
    log__use_clock(&clock);
    log__setup(out, format, LOG_LEVEL_INFO);
    for (int i = 0; i < times; i++)
        LOG_WARN("core", "disk is \"full\"", LOG_S("path", "a b"), LOG_I("n", 7), LOG_F("r", 0.5));
    clock.mono_ns += 10 * NS_PER_S;
    LOG_WARN("core", "disk is \"full\"");
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
    log__use_clock(NULL);
    fclose(out);
    return text;
}

static void test_log_lines_repeat_at_most_once_in_ten_seconds(void **state) {
    (void)state;
    char *text = log_one(LOG_FORMAT_LOGFMT, 4);
    /* The two call sites share one string literal, hence one event; compilers may keep two. */
    assert_non_null(strstr(text, "ts=2026-11-20T23:57:14.130Z level=warn room=core "
                                 "event=\"disk is \\\"full\\\"\" path=\"a b\" n=7 r=0.5\n"));
    int n_lines = 0;
    for (const char *p = text; *p != '\0'; p++) n_lines += *p == '\n';
    assert_int_equal(n_lines, 2);
    free(text);
    text = log_one(LOG_FORMAT_JSON, 1);
    assert_non_null(strstr(text, "{\"ts\":\"2026-11-20T23:57:14.130Z\",\"level\":\"warn\",\"room\":\"core\","
                                 "\"event\":\"disk is \\\"full\\\"\",\"path\":\"a b\",\"n\":7,\"r\":0.5}\n"));
    free(text);
}

static void test_log_lines_are_kept_up_to_a_bound(void **state) {
    static struct log_kept kept[LOG_KEPT_MAX];
    struct clock clock = {.mono_ns = 1000 * NS_PER_S, .wall_ns = 5 * NS_PER_S};
    char *text = NULL, big[600];
    size_t size;
    uint64_t dropped;
    (void)state;
    FILE *out = open_memstream(&text, &size);
    log__use_clock(&clock);
    log__setup(out, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
    log__keep(LOG_LEVEL_WARN);
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    LOG_INFO("test", "not kept");
    LOG_WARN("test", "bare");
    LOG_WARN("test", "full", LOG_S("a", "say \"so\""), LOG_I("n", 7));
    LOG_ERROR("test", "long", LOG_S("a", big), LOG_S("b", big), LOG_I("n", 7)); /* b has no room beside a. */
    assert_int_equal(log__take(kept, LOG_KEPT_MAX, &dropped), 3);
    assert_int_equal(dropped, 0);
    assert_string_equal(kept[0].fields, "{}");
    assert_string_equal(kept[0].event, "bare");
    assert_true(kept[0].wall_ns == 5 * NS_PER_S);
    assert_string_equal(kept[1].fields, "{\"a\":\"say \\\"so\\\"\",\"n\":7}");
    assert_int_equal(kept[2].level, LOG_LEVEL_ERROR);
    assert_string_equal(kept[2].fields + strlen(kept[2].fields) - 8, "\",\"n\":7}");
    assert_null(strstr(kept[2].fields, "\"b\""));
    for (int i = 0; i < LOG_KEPT_MAX + 5; i++) { /* One each ten seconds is no repeat. */
        clock.mono_ns += 11 * NS_PER_S;
        LOG_WARN("test", "often");
    }
    assert_int_equal(log__take(kept, 3, &dropped), 3);
    assert_int_equal(dropped, 5);
    assert_int_equal(log__take(kept, LOG_KEPT_MAX, &dropped), LOG_KEPT_MAX - 3);
    assert_int_equal(dropped, 0);
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
    log__use_clock(NULL);
    fclose(out);
    free(text);
}

/* What a server says of itself may steer a terminal: no error holds anything that does. */
static void test_an_error_is_one_plain_line(void **state) {
    (void)state;
    struct err e;
    err__setf(&e, ERR_REFUSED, "it said: %s", "a\x1b[2Jb\r\nc\x7f\xc2\x9b" "d\xc3\xa9");
    assert_string_equal(e.msg, "it said: a [2Jb  c   d\xc3\xa9");
    err__prefixf(&e, "of %s", "x\x1b]0;y\a");
    assert_string_equal(e.msg, "of x ]0;y : it said: a [2Jb  c   d\xc3\xa9");
    char cut[] = "\x9b" "31m\xc3(\xed\xa0\x80\xe2\x82"; /* Some terminals take a lone byte for the whole. */
    assert_string_equal(err__plain(cut, false), "?31m?(?????");
    char lines[] = "a\x1b\nb\tc";
    assert_string_equal(err__plain(lines, true), "a \nb c");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_is_one_plain_line),
        cmocka_unit_test(test_err_keeps_the_cause_behind_its_prefix),
        cmocka_unit_test(test_clock_prints_utc),
        cmocka_unit_test(test_map_is_bounded_and_finds_what_was_put),
        cmocka_unit_test(test_a_map_stays_small_while_keys_come_and_go),
        cmocka_unit_test(test_series_beyond_the_bound_are_told),
        cmocka_unit_test(test_metrics_expose_families_together),
        cmocka_unit_test(test_log_lines_repeat_at_most_once_in_ten_seconds),
        cmocka_unit_test(test_log_lines_are_kept_up_to_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
