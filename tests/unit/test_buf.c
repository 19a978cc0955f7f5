/* Buffers keep their bound, and readers read back exactly what was written. */
#include "souk/core/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_buf_refuses_to_exceed_its_bound(void **state) {
    (void)state;
    struct buf b = buf__init(10);
    assert_true(buf__append_str(&b, "12345678"));
    assert_false(buf__append_str(&b, "901"));
    assert_true(b.failed);
    assert_false(buf__append_str(&b, "9")); /* Stays failed until it is cleared. */
    assert_int_equal(b.len, 8);
    buf__clear(&b);
    assert_true(buf__append_str(&b, "1234567890"));
    buf__fini(&b);
}

static void test_reader_reads_back_what_buf_wrote(void **state) {
    (void)state;
    struct buf b = buf__init(1000);
    static const uint64_t numbers[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        buf__varint(&b, numbers[i]);
        buf__u8(&b, (uint8_t)numbers[i]);
        buf__u16(&b, (uint16_t)numbers[i]);
        buf__u32(&b, (uint32_t)numbers[i]);
        buf__u64(&b, numbers[i]);
    }
    buf__string(&b, SLICE_LIT("souk"));
    struct reader r = reader__of(buf__slice(&b));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_true(reader__varint(&r) == numbers[i]);
        assert_int_equal(reader__u8(&r), (uint8_t)numbers[i]);
        assert_int_equal(reader__u16(&r), (uint16_t)numbers[i]);
        assert_int_equal(reader__u32(&r), (uint32_t)numbers[i]);
        assert_true(reader__u64(&r) == numbers[i]);
    }
    assert_true(slice__eq(reader__string(&r), SLICE_LIT("souk")));
    assert_false(r.failed);
    reader__u8(&r);
    assert_true(r.failed); /* Past the end. */
    buf__fini(&b);
}

static void test_reader_refuses_a_string_longer_than_the_input(void **state) {
    (void)state;
    static const char bytes[] = "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
                                "abc";
    struct reader r = reader__of(slice__of(bytes, sizeof bytes - 1));
    assert_int_equal(reader__string(&r).len, 0);
    assert_true(r.failed);
}

static void test_json_string_escapes_and_repairs(void **state) {
    (void)state;
    struct buf b = buf__init(1000);
    buf__json_string(&b, SLICE_LIT("a\"b\\c\n\x01 \xc3\xa9 \xff \xed\xa0\x80"));
    buf__append(&b, "", 1);
    assert_string_equal(b.base, "\"a\\\"b\\\\c\\n\\u0001 \xc3\xa9 \xef\xbf\xbd "
                                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    buf__clear(&b); /* What steers a terminal is escaped, as whoever prints it does not look. */
    buf__json_string(&b, SLICE_LIT("\x1b\x7f\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0\xc2"));
    buf__append(&b, "", 1);
    assert_string_equal(b.base, "\"\\u001b\\u007f\\u0080\\u009b\\u009f\xc2\xa0\xef\xbf\xbd\"");
    buf__fini(&b);
}

static void test_int64_takes_whole_numbers_only(void **state) {
    (void)state;
    int64_t v;
    assert_true(slice__int64(SLICE_LIT("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_true(slice__int64(SLICE_LIT("9223372036854775807"), &v));
    assert_false(slice__int64(SLICE_LIT("9223372036854775808"), &v));
    assert_false(slice__int64(SLICE_LIT(""), &v));
    assert_false(slice__int64(SLICE_LIT("-"), &v));
    assert_false(slice__int64(SLICE_LIT("12a"), &v));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_refuses_to_exceed_its_bound),
        cmocka_unit_test(test_reader_reads_back_what_buf_wrote),
        cmocka_unit_test(test_reader_refuses_a_string_longer_than_the_input),
        cmocka_unit_test(test_json_string_escapes_and_repairs),
        cmocka_unit_test(test_int64_takes_whole_numbers_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
