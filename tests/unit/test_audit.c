/* The audit's words and its first refusals; what it finds is shown against a real ClickHouse by
 * tests/integration/test_verbs.py. */
#include "souk/audit.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_differences_have_a_word_each(void **state) {
    (void)state;
    assert_string_equal(audit_what__text(AUDIT_MISSING), "missing");
    assert_string_equal(audit_what__text(AUDIT_TWICE), "twice");
    assert_string_equal(audit_what__text(AUDIT_WRONG), "wrong");
    assert_string_equal(audit_what__text(AUDIT_UNCOVERED), "uncovered");
}

static void test_without_a_server_there_is_nothing_to_compare_with(void **state) {
    (void)state;
    const struct table_desc *const tables[] = {&table_bronze_requests};
    struct store_options store = {.host = "127.0.0.1", .port = 1, .user = "", .password = "", .database = "d",
                                  .tables = tables, .n_tables = 1};
    static struct audit_report report;
    struct err e = {0};
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct audit_options options = {.spool_dir = ".", .store = &store, .followed = ""};
    assert_int_equal(audit__run(&loop, &options, &report, &e), ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, "127.0.0.1"));
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_differences_have_a_word_each),
                                       cmocka_unit_test(test_without_a_server_there_is_nothing_to_compare_with)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
