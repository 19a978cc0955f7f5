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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_window_is_what_deduplicates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
