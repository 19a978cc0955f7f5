/* Streams that do not run keep their places, however many there are; backfills at their end have
 * none. */
#include "../../src/streams/absent.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define OLD_MAX 1024 /* Where earlier versions began to drop cursors. */

static void put(struct absent_streams *t, const char *source, const char *key, const char *cursor) {
    struct absent_stream *s = absent__put(t, slice__str(source), slice__str(key));
    assert_non_null(s);
    snprintf(s->cursor, sizeof s->cursor, "%s", cursor);
}

static const char *cursor_of(const struct absent_streams *t, const char *source, const char *key) {
    const struct absent_stream *s = absent__find(t, slice__str(source), slice__str(key));
    return s == NULL ? NULL : s->cursor;
}

static void test_no_cursor_is_dropped_for_want_of_a_place(void **state) {
    struct absent_streams t = {0};
    char key[128];
    (void)state;
    for (int i = 0; i < 3 * OLD_MAX; i++) {
        snprintf(key, sizeof key, "pc@backfill/%d-%d", i + 1, i + 100);
        put(&t, "psapi", key, key + strlen("pc@backfill/")); /* No id: never at its end. */
    }
    put(&t, "psapi", "pc", "7-7");
    assert_int_equal(t.n, 3 * OLD_MAX + 1);
    for (int i = 0; i < 3 * OLD_MAX; i++) {
        snprintf(key, sizeof key, "pc@backfill/%d-%d", i + 1, i + 100);
        assert_string_equal(cursor_of(&t, "psapi", key), key + strlen("pc@backfill/"));
    }
    put(&t, "psapi", "pc", "8-8"); /* The same place. */
    assert_int_equal(t.n, 3 * OLD_MAX + 1);
    assert_string_equal(cursor_of(&t, "psapi", "pc"), "8-8");
    absent__fini(&t);
}

static void test_ended_backfills_of_an_older_log_are_forgotten(void **state) {
    struct absent_streams t = {0};
    char key[128], cursor[32];
    (void)state;
    for (int i = 0; i < OLD_MAX; i++) { /* Hours: each second one is at its end or behind it. */
        snprintf(key, sizeof key, "pc@backfill/%d-%d", 3600 * (i + 400000), 3600 * (i + 400010));
        snprintf(cursor, sizeof cursor, "%d", 3600 * (i + 400009 + (i % 2 == 0 ? 0 : 1 + i % 3)));
        put(&t, "currency_exchange", key, cursor);
    }
    put(&t, "psapi", "pc", "9-9-9");
    put(&t, "psapi", "pc@backfill/1-2-3-5-6-7", "5-6-7");      /* Reached. */
    put(&t, "psapi", "pc@backfill/1-2-3-5-6-8", "5-6-7");      /* A shard lies behind. */
    put(&t, "psapi", "pc@backfill/1-2-3-5-6-9", "");           /* Only frozen by hand. */
    put(&t, "psapi", "pc@backfill/0123456789abcdef", "9-9-9"); /* A hash: unknown. */
    put(&t, "gone", "pc@backfill/1-2", "3");                   /* Of no source of ours. */
    put(&t, "poe_ninja", "Standard@backfill/1-2", "3");        /* It has no past. */
    assert_int_equal(absent__sweep(&t), OLD_MAX / 2 + 1);
    assert_int_equal(t.n, OLD_MAX / 2 + 6);
    for (int i = 0; i < OLD_MAX; i++) {
        snprintf(key, sizeof key, "pc@backfill/%d-%d", 3600 * (i + 400000), 3600 * (i + 400010));
        assert_int_equal(cursor_of(&t, "currency_exchange", key) != NULL, i % 2 == 0);
    }
    assert_null(cursor_of(&t, "psapi", "pc@backfill/1-2-3-5-6-7"));
    assert_string_equal(cursor_of(&t, "psapi", "pc@backfill/1-2-3-5-6-8"), "5-6-7");
    assert_string_equal(cursor_of(&t, "psapi", "pc@backfill/0123456789abcdef"), "9-9-9");
    assert_string_equal(cursor_of(&t, "psapi", "pc"), "9-9-9");
    assert_int_equal(absent__sweep(&t), 0);
    absent__fini(&t);
}

static void test_reserved_places_need_no_memory(void **state) {
    struct absent_streams t = {0};
    char key[16];
    (void)state;
    assert_int_equal(absent__reserve(&t), 0);
    struct absent_stream *list = t.list;
    for (int i = 0; i < ABSENT_SPARE; i++) {
        snprintf(key, sizeof key, "%d", i);
        put(&t, "psapi", key, "1");
    }
    assert_ptr_equal(t.list, list);
    absent__drop(&t, absent__find(&t, SLICE_LIT("psapi"), SLICE_LIT("3")));
    assert_int_equal(t.n, ABSENT_SPARE - 1);
    assert_null(cursor_of(&t, "psapi", "3"));
    assert_non_null(cursor_of(&t, "psapi", "7"));
    absent__fini(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_cursor_is_dropped_for_want_of_a_place),
        cmocka_unit_test(test_ended_backfills_of_an_older_log_are_forgotten),
        cmocka_unit_test(test_reserved_places_need_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
