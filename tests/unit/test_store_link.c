/* Whether a table stores a token once, from what system.tables says of it. */
#include "store_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_a_window_is_what_deduplicates(void **state) {
    (void)state;
    static const struct {
        const char *engine;
        bool does;
    } table[] = {
        {"MergeTree ORDER BY a SETTINGS index_granularity = 8192", false},
        {"MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192", true},
        {"MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 0", false},
        {"MergeTree ORDER BY a SETTINGS replicated_deduplication_window = 100", false}, /* Of no use there. */
        {"ReplicatedMergeTree('/a', '{replica}') ORDER BY a", true},                     /* 10000 unless told. */
        {"ReplicatedMergeTree('/a', '{replica}') ORDER BY a SETTINGS replicated_deduplication_window = 0", false},
        {"ReplicatedMergeTree('/a', '{replica}') ORDER BY a SETTINGS non_replicated_deduplication_window = 0", true},
        {"SharedMergeTree('/a', '{replica}') ORDER BY a SETTINGS replicated_deduplication_window = 50", true},
        {"Null", false},
        {"", false},
        {"MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = ", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_int_equal(engine_deduplicates(table[i].engine, strlen(table[i].engine)), table[i].does);
}

/* Whether nothing was written is known of what is asked before a block is, and of nothing else. */
static void test_what_an_exception_proves(void **state) {
    (void)state;
    static const int32_t early[] = {6, 16, 27, 60, 62, 115, 164, 201, 202, 252, 469, 497, 516},
                         others[] = {159, 160, 209, 210, 236, 241, 243, 319, 389, 394, 999, 1000, 0, -1, 123456};
    for (size_t i = 0; i < sizeof early / sizeof early[0]; i++) {
        struct store_reply r = {.outcome = STORE_REJECTED, .code = early[i], .text = ""};
        assert_true(store_reply__proves_refusal(&r));
        r.from_view = true;
        assert_false(store_reply__proves_refusal(&r));
        r = (struct store_reply){.outcome = STORE_UNKNOWN, .code = early[i], .text = ""};
        assert_false(store_reply__proves_refusal(&r));
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(store_reply__proves_refusal(&(struct store_reply){.outcome = STORE_REJECTED, .code = others[i]}));
    char cut[64] = "";
    assert_false(exception_is_from_view("DB::Exception: Table d.t does not exist", 1024));
    assert_true(exception_is_from_view("Table d.t does not exist: while pushing to view d.v", 1024));
    memset(cut, 'x', sizeof cut - 1);
    assert_true(exception_is_from_view(cut, sizeof cut));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_window_is_what_deduplicates),
                                       cmocka_unit_test(test_what_an_exception_proves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
