/* Golden bytes as text: two digits a byte, spaces where they help the eye. */
#ifndef CHN_TESTS_HEX_H
#define CHN_TESTS_HEX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* @return how many bytes @hex makes at @to; more than @capacity fails the test. */
static inline size_t from_hex(const char *hex, uint8_t *to, size_t capacity) {
    size_t n = 0;
    for (unsigned value; *hex != '\0'; hex++) {
        if (*hex == ' ') continue;
        assert_true(n < capacity && sscanf(hex, "%2x", &value) == 1);
        to[n++] = (uint8_t)value;
        hex++;
    }
    return n;
}

/* Fails unless the @n bytes at @data are those of @hex, at most 1,024. */
static inline void assert_hex(const void *data, size_t n, const char *hex) {
    uint8_t expected[1024];
    size_t expected_n = from_hex(hex, expected, sizeof expected);
    assert_int_equal(n, expected_n);
    assert_memory_equal(data, expected, n);
}

#endif
