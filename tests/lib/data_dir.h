/* Where tests find the bodies that upstreams have answered with: those that tests/data/make made,
 * which are always there, and recorded ones, which are not committed and add to them. Header only.
 *
 * A test of such bodies runs once for each (DATA_TESTS), so that nothing is shown by recorded data
 * alone. Its program is in the list data_tests of its meson.build, which has tests/run start it a
 * second time with the recorded data hidden. */
#ifndef SOUK_TESTS_DATA_DIR_H
#define SOUK_TESTS_DATA_DIR_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum data_origin { DATA_MADE, DATA_RECORDED };

/* @return the folder that has psapi/, trade/ and the like; lives until the next call. */
static inline const char *data__dir(enum data_origin origin) {
    static char dir[1024];
    const char *source = getenv("SOUK_SOURCE"), *shared = getenv("SOUK_SHARED_DATA");
    if (source == NULL) source = ".";
    if (origin == DATA_MADE) snprintf(dir, sizeof dir, "%s/tests/data/made", source);
    else if (shared != NULL) snprintf(dir, sizeof dir, "%s/poe", shared);
    else snprintf(dir, sizeof dir, "%s/../shared/data/poe", source);
    return dir;
}

/* Writes where @file of @origin is to @path. */
static inline void data__path(enum data_origin origin, const char *file, char *path, size_t size) {
    snprintf(path, size, "%s/%s", data__dir(origin), file);
}

static inline bool data__is_there(enum data_origin origin) {
    return access(data__dir(origin), R_OK) == 0;
}

/* Skips the test of bodies that are not here. tests/lib/tally.py knows the words. */
#define DATA_OR_SKIP(origin)                                                                       \
    do {                                                                                           \
        if ((origin) == DATA_RECORDED && !data__is_there(DATA_RECORDED)) {                         \
            print_message("no recorded data at %s\n", data__dir(DATA_RECORDED));                   \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

/* Two cmocka tests of @f: of what is made, and of what was recorded. @f(enum data_origin). */
#define DATA_TESTS_OF(f)                                                                           \
    static void f##_made(void **state) {                                                           \
        (void)state;                                                                               \
        f(DATA_MADE);                                                                              \
    }                                                                                              \
    static void f##_recorded(void **state) {                                                       \
        (void)state;                                                                               \
        DATA_OR_SKIP(DATA_RECORDED);                                                               \
        f(DATA_RECORDED);                                                                          \
    }
#define DATA_TESTS(f) cmocka_unit_test(f##_made), cmocka_unit_test(f##_recorded)

#endif
