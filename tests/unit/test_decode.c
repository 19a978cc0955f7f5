/* Fields are named when they are wrong, documents are written back whole or not at all, and the
 * descriptors say what the migrations create. */
#include "souk/decode.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static yyjson_doc *read_doc(const char *text) {
    yyjson_doc *doc;
    struct err e = {0};
    if (decode__read(slice__str(text), &doc, &e) != 0) fail_msg("%s", e.msg);
    return doc;
}

static void test_reading_refuses_what_is_not_json(void **state) {
    (void)state;
    static const char *const bad[] = {"",     "{",           "[1,]",    "NaN",      "[Infinity]",
                                      "'a'",  "{a:1}",       "[1]x",    "\"\x80\"", "\"\\ud80\"",
                                      "[01]", "/**/1",       "\"\\x\"", "\"a\nb\"", "[1 2]",
                                      "nul",  "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        yyjson_doc *doc;
        struct err e = {0};
        assert_int_equal(decode__read(slice__str(bad[i]), &doc, &e), ERR_MALFORMED);
        assert_null(doc);
        assert_true(strlen(e.msg) > 0);
    }
    struct slice huge = {.base = "x", .len = DECODE_BODY_MAX + 1};
    yyjson_doc *doc;
    assert_int_equal(decode__read(huge, &doc, NULL), ERR_LIMIT);
}

static void test_lone_surrogates_become_the_replacement_character(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"[\"a\\ud800b\"]", "a\xef\xbf\xbd" "b"},
        {"[\"\\uDC00\\ud83d\\ude00\"]", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {"[\"\\ud83d\\ud83d\\ude00\"]", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {"[\"\\\\ud800\\udfff\"]", "\\ud800\xef\xbf\xbd"}, /* The first is an escaped backslash. */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        yyjson_doc *doc = read_doc(cases[i][0]);
        assert_string_equal(yyjson_get_str(yyjson_arr_get_first(yyjson_doc_get_root(doc))), cases[i][1]);
        yyjson_doc_free(doc);
    }
}

static void test_fields_are_named_when_they_are_wrong(void **state) {
    (void)state;
    yyjson_doc *doc = read_doc("{\"s\":\"ab\",\"n\":5,\"neg\":-1,\"big\":123456789012345678901,"
                               "\"r\":1.5,\"b\":true,\"null\":null}");
    yyjson_val *root = yyjson_doc_get_root(doc);
    struct slice s = {0};
    uint32_t u = 7;
    double d = 0;
    bool b = false;
    struct decode_fault f = {0};
    assert_true(decode__str(yyjson_obj_get(root, "s"), "s", 2, &s, &f));
    assert_true(slice__eq(s, SLICE_LIT("ab")));
    assert_true(decode__u32(yyjson_obj_get(root, "null"), "null", 9, &u, &f));
    assert_true(decode__u32(yyjson_obj_get(root, "none"), "none", 9, &u, &f));
    assert_int_equal(u, 7); /* Absent fields leave it. */
    assert_true(decode__num(yyjson_obj_get(root, "r"), "r", &d, &f) && d == 1.5);
    assert_true(decode__bool(yyjson_obj_get(root, "b"), "b", &b, &f) && b);
    assert_int_equal(f.kind, DECODE_FINE);

    assert_false(decode__str(yyjson_obj_get(root, "s"), "s", 1, &s, &f));
    assert_int_equal(f.kind, DECODE_TOO_LONG);
    f = (struct decode_fault){0};
    assert_false(decode__u32(yyjson_obj_get(root, "neg"), "neg", 9, &u, &f));
    static const char text[] = "[8.0,9.0,8.5,-1.0,10.0,1e300,\"8\"]";
    yyjson_doc *reals = yyjson_read(text, sizeof text - 1, 0);
    static const int kinds[] = {DECODE_FINE, DECODE_FINE, DECODE_WRONG_TYPE, DECODE_OUT_OF_RANGE, DECODE_OUT_OF_RANGE,
                                DECODE_OUT_OF_RANGE, DECODE_WRONG_TYPE};
    for (size_t i = 0; i < 7; i++) { /* JSON has one kind of number: 8.0 is 8. */
        struct decode_fault fault = {.kind = DECODE_FINE};
        uint32_t n = 0;
        assert_true(decode__u32(yyjson_arr_get(yyjson_doc_get_root(reals), i), "n", 9, &n, &fault) == (kinds[i] == DECODE_FINE));
        assert_int_equal(fault.kind, kinds[i]);
        assert_int_equal(n, i < 2 ? 8 + i : 0);
    }
    yyjson_doc_free(reals);
    assert_int_equal(f.kind, DECODE_OUT_OF_RANGE);
    f = (struct decode_fault){0};
    assert_false(decode__num(yyjson_obj_get(root, "big"), "big", &d, &f));
    assert_int_equal(f.kind, DECODE_WRONG_TYPE);
    assert_string_equal(f.field, "big");
    struct err e;
    assert_int_equal(decode__err(&f, "page", &e), ERR_MALFORMED);
    assert_string_equal(e.msg, "page: \"big\" has the wrong type");
    yyjson_doc_free(doc);
}

static void test_documents_are_written_back(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2,0.1,1e+300,true,false,null,\"q\\\"\\\\\\n\\u0001\"],\"\xc3\xab\":{},"
        "\"n\":-9223372036854775808,\"big\":123456789012345678901}";
    struct buf out = buf__init(1 << 20);
    yyjson_doc *doc = read_doc(text);
    assert_true(decode__write(&out, yyjson_doc_get_root(doc), SIZE_MAX));
    assert_true(slice__eq(buf__slice(&out), slice__str(text)));
    yyjson_doc_free(doc);

    char deep[201];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    deep[200] = '\0';
    doc = read_doc(deep);
    buf__clear(&out);
    assert_false(decode__write(&out, yyjson_doc_get_root(doc), SIZE_MAX));
    assert_int_equal(out.len, 2 * DECODE_DEPTH_MAX + 4); /* The rest is null. */
    yyjson_doc_free(doc);

    doc = read_doc("[1,2,3,4,5,6,7,8,9]");
    buf__clear(&out);
    assert_false(decode__write(&out, yyjson_doc_get_root(doc), 4));
    assert_in_range(out.len, 4, 8);
    yyjson_doc_free(doc);
    buf__fini(&out);
}

static void test_texts_are_cut_between_characters(void **state) {
    (void)state;
    struct slice s = SLICE_LIT("a\xc3\xab\xe2\x82\xac");
    static const size_t lens[] = {0, 1, 1, 3, 3, 3, 6, 6};
    for (size_t max = 0; max < 8; max++) assert_int_equal(tables__cut(s, max).len, lens[max]);
}

static void test_lists_in_all_the_shapes_in_which_they_come(void **state) {
    (void)state;
    static const struct {
        const char *text, *entries; /* NULL: no list. */
    } lists[] = {{"[]", ""},       {"{}", ""},           {"null", ""},       {"[1,[2],3]", "1[2]3"}, {"{\"0\":1,\"1\":{\"a\":2},\"7\":3}", "1{\"a\":2}3"},
                 {"{\"a\":1}", NULL}, {"{\"\":1}", NULL}, {"{\"0\":1,\"x\":2}", NULL}, {"\"text\"", NULL},  {"7", NULL}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        yyjson_doc *doc = yyjson_read(lists[i].text, strlen(lists[i].text), 0);
        yyjson_val *v = yyjson_doc_get_root(doc), *entry;
        struct buf got = buf__init(256);
        struct decode_list list = decode__list(v);
        while ((entry = decode__next(&list)) != NULL) decode__write(&got, entry, SIZE_MAX);
        assert_int_equal(decode__is_list(v), lists[i].entries != NULL);
        assert_true(slice__eq(buf__slice(&got), slice__str(lists[i].entries == NULL ? "" : lists[i].entries)));
        buf__fini(&got);
        yyjson_doc_free(doc);
    }
    assert_true(decode__is_list(NULL));
}

static void test_a_shape_is_lost_and_an_impossible_number_is_not(void **state) {
    (void)state;
    uint32_t n_lost = 0;
    struct decode_fault f = {.kind = DECODE_FINE};
    decode__failf(&f, DECODE_WRONG_TYPE, NULL, "%s", "a");
    assert_true(decode__lose(&f, &n_lost));
    assert_int_equal(f.kind, DECODE_FINE);
    decode__failf(&f, DECODE_OUT_OF_RANGE, NULL, "%s", "b");
    assert_false(decode__lose(&f, &n_lost));
    assert_string_equal(f.field, "b");
    assert_int_equal(n_lost, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_refuses_what_is_not_json),
        cmocka_unit_test(test_lone_surrogates_become_the_replacement_character),
        cmocka_unit_test(test_fields_are_named_when_they_are_wrong),
        cmocka_unit_test(test_documents_are_written_back),
        cmocka_unit_test(test_texts_are_cut_between_characters),
        cmocka_unit_test(test_lists_in_all_the_shapes_in_which_they_come),
        cmocka_unit_test(test_a_shape_is_lost_and_an_impossible_number_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
