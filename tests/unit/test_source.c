/* What all sources share, and what the table of sources promises of each of them. */
#include "souk/source.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_sources_are_sorted_and_found(void **state) {
    size_t n;
    const struct source_type *const *all = source__all(&n);
    (void)state;
    assert_true(n >= 2);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(source__find(all[i]->name), all[i]);
        if (i > 0) assert_true(strcmp(all[i - 1]->name, all[i]->name) < 0);
        assert_non_null(all[i]->tables[0]);
    }
    assert_null(source__find("nowhere"));
    assert_null(source__find(""));
}

/* Any body, whatever it is, makes a verdict and no rows that break the batch. */
static void test_judge_and_decode_survive_hostile_bodies(void **state) {
    static const char *const bodies[] = {"", "{", "[]", "null", "<html>", "{\"lines\":{}}", "{\"lines\":[null,[],{}]}",
                                         "{\"next_change_id\":5,\"stashes\":[]}",
                                         "{\"next_change_id\":\"1-1\",\"stashes\":[null,5,{\"id\":[]}]}",
                                         "{\"next_change_id\":\"1-1\",\"stashes\":[{\"items\":[[]]}]}\xff"};
    size_t n;
    const struct source_type *const *all = source__all(&n);
    static const char *kinds[1];
    static const char *const one[] = {"pc"}, *const leagues[] = {"Standard"};
    struct source_settings settings = {.base_url = "http://h", .seed_url = "http://h", .path = "/data/{resource}", .start = "oldest", .realms = one,
                                       .n_realms = 1, .leagues = leagues, .n_leagues = 1, .kinds = kinds, .n_kinds = 1,
                                       .client_id = "", .client_secret = "a secret", .login = "",
                                       .account = "", .period_ns = 1};
    struct stream_spec *specs = calloc(STREAMS_MAX, sizeof *specs);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct err e = {0};
        kinds[0] = strcmp(all[i]->name, "enrichment") == 0 ? "wiki/mods" : "exchange/Currency";
        assert_int_equal(all[i]->streams(&settings, specs, &e), 1);
        for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++) {
            struct stream_state at = {0};
            struct source_answer answer = {.status = 200, .body = slice__str(bodies[k])};
            struct page_facts facts;
            struct rows rows = {0};
            int code = all[i]->judge(&specs[0], &at, &answer, &facts, &e);
            if (code != 0) assert_int_equal(facts.verdict, PAGE_INVALID);
            buf__fini(&facts.memo);
            buf__fini(&facts.keep);
            struct page page = {.stream = &specs[0], .cursor_from = SLICE_LIT("1-0"), .cursor_to = SLICE_LIT("1-1"),
                                .received_wall_ns = NS_PER_S, .lsn = 1, .body = answer.body};
            struct decode_context context = {0};
            code = all[i]->decode(&page, &context, &rows, &e);
            if (code != 0) assert_int_equal(rows__count(&rows), 0);
            rows__fini(&rows);
            buf__fini(&facts.memo);
            buf__fini(&facts.keep);
        }
    }
    free(specs);
}

static void test_only_followed_leagues_are_partitions(void **state) {
    static const char *const followed[] = {"Standard", "A league whose name has sixty-four bytes or more is not a partition"};
    struct decode_context context = {.followed = followed, .n_followed = 2};
    (void)state;
    assert_true(slice__eq(source__league_key(&context, SLICE_LIT("Standard")), SLICE_LIT("Standard")));
    assert_true(slice__eq(source__league_key(&context, SLICE_LIT("standard")), SLICE_LIT("other")));
    assert_true(slice__eq(source__league_key(&context, SLICE_LIT("My private one (PL1)")), SLICE_LIT("other")));
    assert_true(slice__eq(source__league_key(&context, SLICE_LIT("")), SLICE_LIT("other")));
    assert_true(slice__eq(source__league_key(&context, slice__str(followed[1])), SLICE_LIT("other")));
}

static void test_urls_are_escaped_and_bounded(void **state) {
    char url[16] = "a";
    (void)state;
    assert_true(source__url_append(url, sizeof url, SLICE_LIT("B c&\xc3")));
    assert_string_equal(url, "aB%20c%26%C3");
    assert_true(source__url_append(url, sizeof url, SLICE_LIT("-._")));
    assert_string_equal(url, "aB%20c%26%C3-._");
    assert_false(source__url_append(url, sizeof url, SLICE_LIT("x")));
    assert_string_equal(url, "aB%20c%26%C3-._");
    char small[3] = "";
    assert_false(source__url_append(small, sizeof small, SLICE_LIT("%")));
    assert_string_equal(small, "");
}

static void test_headers_are_found_in_any_case(void **state) {
    const struct source_header headers[] = {{SLICE_LIT("ETag"), SLICE_LIT(" \"v\" ")}};
    struct source_answer answer = {.headers = headers, .n_headers = 1};
    (void)state;
    assert_true(slice__eq(source__header(&answer, SLICE_LIT("etag")), SLICE_LIT("\"v\"")));
    assert_int_equal(source__header(&answer, SLICE_LIT("e")).len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources_are_sorted_and_found),
        cmocka_unit_test(test_judge_and_decode_survive_hostile_bodies),
        cmocka_unit_test(test_only_followed_leagues_are_partitions),
        cmocka_unit_test(test_urls_are_escaped_and_bounded),
        cmocka_unit_test(test_headers_are_found_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
