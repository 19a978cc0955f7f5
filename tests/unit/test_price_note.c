/* Price notes read as the game and the indexers read them, exactly. */
#include "../golden/golden.h"
#include "souk/price_note.h"
#include <setjmp.h>
#include <stdarg.h>
#include <yyjson.h>

#include <cmocka.h>

struct noted {
    const char *text;
    enum price_verdict verdict;
    int64_t total, lot, unit;
    const char *currency;
};

static void check(const struct noted *c, enum price_where where) {
    struct price p;
    enum price_verdict verdict = price_note__read(slice__str(c->text), where, &p);
    if (verdict != c->verdict) print_message("%s\n", c->text);
    assert_int_equal(verdict, c->verdict);
    assert_int_equal(p.total, c->total);
    assert_int_equal(p.lot, c->lot);
    assert_int_equal(p.unit, c->unit);
    assert_true(slice__eq(p.currency, slice__str(c->currency)));
    assert_true(p.kind.len > 0 || verdict != PRICE_GOOD);
}

static void test_notes(void **state) {
    (void)state;
    static const struct noted cases[] = {
        {"~price 10 chaos", PRICE_GOOD, 10000000, 1000000, 10000000, "chaos"},
        {"~b/o 050 chaos", PRICE_GOOD, 50000000, 1000000, 50000000, "chaos"},
        {"~price 2/35 chaos", PRICE_GOOD, 2000000, 35000000, 57143, "chaos"},
        {"~b/o 01.323 exalted", PRICE_GOOD, 1323000, 1000000, 1323000, "exalted"},
        {"~price .5 mir", PRICE_GOOD, 500000, 1000000, 500000, "mirror"},
        {" ~price  1.5   jew \t", PRICE_GOOD, 1500000, 1000000, 1500000, "jewellers"},
        {"~price 0.33333333 divine", PRICE_GOOD, 333333, 1000000, 333333, "divine"},
        {"~price 1.10000000000000000000 chaos", PRICE_GOOD, 1100000, 1000000, 1100000, "chaos"},
        /* Half to even: 0.0000005 is 0 and refused, 0.0000015 and 0.0000025 are 0.000002. */
        {"~price 0.0000005 chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~price 0.0000015 chaos", PRICE_GOOD, 2, 1000000, 2, "chaos"},
        {"~price 0.0000025 chaos", PRICE_GOOD, 2, 1000000, 2, "chaos"},
        {"~price 0.00000250000001 chaos", PRICE_BAD, 0, 0, 0, ""}, /* 14 decimals. */
        {"~price 0.000002500001 chaos", PRICE_GOOD, 3, 1000000, 3, "chaos"},
        {"~price 1000000000 chaos", PRICE_GOOD, PRICE_MAX, 1000000, PRICE_MAX, "chaos"},
        {"~price 1000000001 chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~price 99999999999999999999999999 chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~price 1/3000000 chaos", PRICE_BAD, 0, 0, 0, ""}, /* Rounds to 0. */
        {"~price -5 chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~price 5chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~price 5 chaos!", PRICE_BAD, 0, 0, 0, ""},
        {"~price 5 chaos r3", PRICE_BAD, 0, 0, 0, ""}, /* Only in a tab's name. */
        {"~price 1/ chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~price . chaos", PRICE_BAD, 0, 0, 0, ""},
        {"~b/o 0 chaos", PRICE_UNSET, 0, 0, 0, ""},
        {"~b/o 6", PRICE_UNSET, 0, 0, 0, ""},
        {"~price  chaos", PRICE_UNSET, 0, 0, 0, ""},
        {"~price", PRICE_UNSET, 0, 0, 0, ""},
        {"~pricecheck 5 chaos", PRICE_ABSENT, 0, 0, 0, ""},
        {"~skip", PRICE_SKIP, 0, 0, 0, ""},
        {"", PRICE_ABSENT, 0, 0, 0, ""},
        {"100c", PRICE_ABSENT, 0, 0, 0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(&cases[i], PRICE_IN_NOTE);
    static const struct noted tabs[] = {
        {"~b/o 1 chaos r3", PRICE_GOOD, 1000000, 1000000, 1000000, "chaos"},
        {"~b/o 1 chaos (Remove-only)", PRICE_GOOD, 1000000, 1000000, 1000000, "chaos"},
        {"~b/o 60/60 chaos", PRICE_UNSET, 0, 0, 0, ""},
        {"~b/o 1 chaos!", PRICE_BAD, 0, 0, 0, ""},
        {"Shop", PRICE_ABSENT, 0, 0, 0, ""},
    };
    for (size_t i = 0; i < sizeof tabs / sizeof *tabs; i++) check(&tabs[i], PRICE_IN_TAB_NAME);
}

static yyjson_doc *load_json(enum data_origin origin, const char *file) {
    struct buf body;
    golden__body(origin, file, &body);
    yyjson_doc *doc = yyjson_read(body.base, body.len, 0);
    buf__fini(&body);
    assert_non_null(doc);
    return doc;
}

static struct slice text_at(yyjson_val *arr, size_t i) {
    yyjson_val *v = yyjson_arr_get(arr, i);
    return slice__of(yyjson_get_str(v), yyjson_get_len(v));
}

/* A decimal text of the corpus in millionths, by other means than the room's. */
static int64_t micros(struct slice s) {
    char text[32];
    assert_true(s.len < sizeof text);
    memcpy(text, s.base, s.len);
    text[s.len] = '\0';
    return (int64_t)(strtod(text, NULL) * 1e6 + 0.5);
}

static void test_collected_cases(enum data_origin origin) {
    yyjson_doc *doc = load_json(origin, "notes/price-note-cases.json");
    yyjson_val *root = yyjson_doc_get_root(doc), *c;
    size_t i, n;
    struct price p;
    yyjson_arr_foreach(yyjson_obj_get(root, "valid"), i, n, c) {
        assert_int_equal(price_note__read(text_at(c, 0), PRICE_IN_NOTE, &p), PRICE_GOOD);
        assert_true(slice__eq(p.kind, text_at(c, 1)));
        assert_int_equal(p.total, micros(text_at(c, 2)));
        assert_int_equal(p.lot, micros(text_at(c, 3)));
        assert_true(slice__eq(p.currency, price_note__currency(text_at(c, 4))));
    }
    assert_true(n >= 9);
    yyjson_arr_foreach(yyjson_obj_get(root, "invalid"), i, n, c) {
        struct slice text = slice__of(yyjson_get_str(c), yyjson_get_len(c));
        assert_int_not_equal(price_note__read(text, PRICE_IN_NOTE, &p), PRICE_GOOD);
    }
    assert_true(n >= 11);
    yyjson_val *key;
    yyjson_obj_foreach(yyjson_obj_get(root, "aliases"), i, n, key, c) {
        struct slice old = slice__of(yyjson_get_str(key), yyjson_get_len(key));
        assert_true(slice__eq(price_note__currency(old), slice__str(yyjson_get_str(c))));
    }
    yyjson_doc_free(doc);
}
DATA_TESTS_OF(test_collected_cases)

static void test_notes_fall_into_known_classes(enum data_origin origin) {
    static const struct {
        size_t n, n_integer, n_ratio, n_decimal, n_broken, n_free;
    } want[] = {[DATA_MADE] = {233, 179, 30, 20, 2, 2}, [DATA_RECORDED] = {255, 213, 22, 15, 3, 2}};
    yyjson_doc *doc = load_json(origin, origin == DATA_MADE ? "notes/price-notes.json.gz"
                                                            : "notes/price-notes-observed.json.gz");
    yyjson_val *note;
    size_t i, n, n_integer = 0, n_ratio = 0, n_decimal = 0, n_broken = 0, n_free = 0;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "notes"), i, n, note) {
        struct slice text = slice__str(yyjson_get_str(yyjson_obj_get(note, "note")));
        const char *class = yyjson_get_str(yyjson_obj_get(note, "class"));
        struct price p;
        enum price_verdict verdict = price_note__read(text, PRICE_IN_NOTE, &p);
        /* "~b/o 0 chaos" is well formed and unpriced. */
        bool priced =
            verdict == PRICE_GOOD || (verdict == PRICE_UNSET && memchr(text.base, '0', text.len));
        const char *slash = strrchr(text.base, '/');
        bool ratio = slash != NULL && slash[1] >= '0' && slash[1] <= '9';
        bool decimal = memchr(text.base, '.', text.len) != NULL;
        n_free += verdict == PRICE_ABSENT;
        n_broken += verdict != PRICE_ABSENT && !priced;
        n_ratio += priced && ratio;
        n_decimal += priced && !ratio && decimal;
        n_integer += priced && !ratio && !decimal;
        if (strcmp(class, "free-text") == 0) assert_int_equal(verdict, PRICE_ABSENT);
        if (strcmp(class, "tilde-other") == 0) assert_int_equal(verdict, PRICE_UNSET);
    }
    assert_int_equal(n, want[origin].n);
    assert_int_equal(n_integer, want[origin].n_integer);
    assert_int_equal(n_ratio, want[origin].n_ratio);
    assert_int_equal(n_decimal, want[origin].n_decimal);
    assert_int_equal(n_broken, want[origin].n_broken);
    assert_int_equal(n_free, want[origin].n_free);
    yyjson_doc_free(doc);
}
DATA_TESTS_OF(test_notes_fall_into_known_classes)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notes),
        DATA_TESTS(test_collected_cases),
        DATA_TESTS(test_notes_fall_into_known_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
