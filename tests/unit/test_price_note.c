/* Price notes read as the trade site reads them, exactly; and the words that are currencies. */
#include "../golden/golden.h"
#include "souk/currency.h"
#include "souk/price_note.h"
#include <setjmp.h>
#include <stdarg.h>
#include <yyjson.h>

#include <cmocka.h>

#define FIELDS 5
#define ROWS_MIN 600 /* So that a truncated file is noticed. */

/* The fields of @line, which are apart by tabs. */
static void split(struct slice line, struct slice out[FIELDS]) {
    for (size_t i = 0; i < FIELDS; i++) {
        const char *tab = memchr(line.base, '\t', line.len);
        size_t n = tab == NULL ? line.len : (size_t)(tab - line.base);
        assert_true((tab == NULL) == (i == FIELDS - 1));
        out[i] = slice__of(line.base, n);
        if (tab != NULL) line = slice__of(tab + 1, line.len - n - 1);
    }
}

static void print_amount(struct buf *out, const char *before, int64_t e6) {
    buf__printf(out, "%s%lld.%06lld", before, (long long)(e6 / PRICE_SCALE),
                (long long)(e6 % PRICE_SCALE));
}

/* What the last field of a line says. */
static void print_price(struct buf *out, const struct slice in[FIELDS]) {
    static const char *const sources[] = {"", "note", "forum_note", "tab"};
    struct price_tab tab;
    struct price p;
    enum price_source source;
    tab.verdict = price_note__read(in[1], &tab.price);
    const struct price_notes said = {.note = in[2],
                                     .forum_note = in[3],
                                     .tab = &tab,
                                     .is_bulk = slice__eq(in[0], SLICE_LIT("bulk"))};
    enum price_verdict verdict = price_note__resolve(&said, &p, &source);
    buf__clear(out);
    assert_true((verdict == PRICE_GOOD) == (source != PRICE_FROM_NOWHERE));
    if (verdict != PRICE_GOOD) {
        buf__printf(out, "- %s", quality__price_text(verdict));
        assert_int_equal(p.total | p.lot | p.unit | (int64_t)p.currency.len, 0);
        return;
    }
    buf__printf(out, "%s %.*s", sources[source], SLICE_FMT(p.kind));
    print_amount(out, " ", p.total);
    print_amount(out, " / ", p.lot);
    print_amount(out, " = ", p.unit);
    buf__printf(out, " %.*s", SLICE_FMT(p.currency));
}

static void test_every_note_of_the_list_has_the_price_that_the_site_gives_it(void **state) {
    (void)state;
    struct buf file, got = buf__init(1024);
    size_t n = 0, n_wrong = 0;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/prices/notes.tsv", &file));
    for (struct slice left = buf__slice(&file); left.len > 0;) {
        const char *end = memchr(left.base, '\n', left.len);
        assert_non_null(end);
        struct slice line = slice__of(left.base, (size_t)(end - left.base)), fields[FIELDS];
        left = slice__of(end + 1, left.len - line.len - 1);
        if (slice__starts(line, SLICE_LIT("#"))) continue;
        split(line, fields);
        print_price(&got, fields);
        n++;
        if (slice__eq(buf__slice(&got), fields[FIELDS - 1])) continue;
        n_wrong++;
        print_message("%.*s\n    is read as: %.*s\n", SLICE_FMT(line), SLICE_FMT(buf__slice(&got)));
    }
    assert_true(n >= ROWS_MIN);
    assert_int_equal(n_wrong, 0);
    buf__fini(&file);
    buf__fini(&got);
}

static void test_each_word_means_one_currency_and_each_number_has_one_id(void **state) {
    (void)state;
    uint16_t n = currency__count(), n_ids = 0;
    assert_true(n > 2500);
    assert_int_equal(currency__id(CURRENCY_NONE).len, 0);
    assert_int_equal(currency__id(n).len, 0);
    assert_int_equal(currency__id(UINT16_MAX).len, 0);
    struct slice before = SLICE_LIT("");
    for (uint16_t i = 1; i < n; i++) {
        struct slice id = currency__id(i);
        if (id.len == 0) continue; /* Another word for one. */
        n_ids++;
        assert_int_equal(currency__find(id), i);
        assert_true(id.len <= CURRENCY_ID_MAX);
        size_t len = before.len < id.len ? before.len : id.len;
        int order = len == 0 ? -1 : memcmp(before.base, id.base, len);
        assert_true(order < 0 ||
                    (order == 0 && before.len < id.len)); /* Or the search would miss some. */
        before = id;
    }
    assert_true(n_ids > 2500);
    static const char *const none[] = {
        "",      "facetors",
        "ex",    "excep",
        "Chaos", "chaos\0x",
        "sep",   "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (i != 5) assert_int_equal(currency__find(slice__str(none[i])), CURRENCY_NONE);
    assert_int_equal(currency__find(slice__of("chaos\0x", 7)), CURRENCY_NONE);
    assert_int_equal(currency__find(slice__of("chaosx", 5)),
                     currency__find(SLICE_LIT("chaos"))); /* Not terminated. */
}

static yyjson_doc *load_json(enum data_origin origin, const char *file) {
    struct buf body;
    golden__body(origin, file, &body);
    yyjson_doc *doc = yyjson_read(body.base, body.len, 0);
    buf__fini(&body);
    assert_non_null(doc);
    return doc;
}

static struct slice text_of(yyjson_val *v) {
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
        assert_int_equal(price_note__read(text_of(yyjson_arr_get(c, 0)), &p), PRICE_GOOD);
        assert_true(slice__eq(p.kind, text_of(yyjson_arr_get(c, 1))));
        assert_int_equal(p.total, micros(text_of(yyjson_arr_get(c, 2))));
        assert_int_equal(p.lot, micros(text_of(yyjson_arr_get(c, 3))));
        assert_int_equal(p.number, currency__find(text_of(yyjson_arr_get(c, 4))));
    }
    assert_true(n >= 9);
    yyjson_arr_foreach(yyjson_obj_get(root, "invalid"), i, n, c)
        assert_int_not_equal(price_note__read(text_of(c), &p), PRICE_GOOD);
    assert_true(n >= 11);
    yyjson_val *key;
    yyjson_obj_foreach(yyjson_obj_get(root, "aliases"), i, n, key, c)
        assert_true(slice__eq(currency__id(currency__find(text_of(key))), text_of(c)));
    yyjson_doc_free(doc);
}
DATA_TESTS_OF(test_collected_cases)

static void test_notes_fall_into_known_classes(enum data_origin origin) {
    /* Of the recorded ones three are without an amount, and one is of 0. */
    static const struct {
        size_t n, n_ratios, n_free, n_unset, n_good;
    } want[] = {[DATA_MADE] = {233, 30, 2, 2, 229}, [DATA_RECORDED] = {255, 22, 2, 4, 249}};
    yyjson_doc *doc = load_json(origin, origin == DATA_MADE ? "notes/price-notes.json.gz"
                                                            : "notes/price-notes-observed.json.gz");
    yyjson_val *note;
    size_t i, n, n_of[PRICE__N] = {0}, n_ratios = 0;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "notes"), i, n, note) {
        struct price p;
        enum price_verdict verdict = price_note__read(text_of(yyjson_obj_get(note, "note")), &p);
        n_of[verdict]++;
        n_ratios += p.is_ratio;
        const char *class = yyjson_get_str(yyjson_obj_get(note, "class"));
        if (strcmp(class, "free-text") == 0) assert_int_equal(verdict, PRICE_ABSENT);
        if (verdict == PRICE_UNKNOWN_WORD)
            print_message("%s\n", yyjson_get_str(yyjson_obj_get(note, "note")));
    }
    assert_int_equal(n, want[origin].n);
    assert_int_equal(n_ratios, want[origin].n_ratios);
    assert_int_equal(n_of[PRICE_ABSENT], want[origin].n_free);
    assert_int_equal(n_of[PRICE_UNSET], want[origin].n_unset);
    assert_int_equal(n_of[PRICE_GOOD], want[origin].n_good);
    yyjson_doc_free(doc);
}
DATA_TESTS_OF(test_notes_fall_into_known_classes)

/* The site's own lists: each id of the recorded ones is a currency here. Of the made ones, whose
 * other ids are made up, those of the first group are. */
static void test_every_static_id_is_known(enum data_origin origin) {
    static const char *const files[][2] = {
        [DATA_MADE] = {"trade/data-static-2019.json.gz", "trade/data-static-2026-08.json.gz"},
        [DATA_RECORDED] = {"trade/data-static-2019-12.json.gz",
                           "trade/data-static-2026-08.json.gz"},
    };
    size_t n_known = 0, n_unknown = 0;
    for (size_t f = 0; f < 2; f++) {
        yyjson_doc *doc = load_json(origin, files[origin][f]);
        yyjson_val *group, *entry;
        size_t i, n, k, m;
        yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "result"), i, n, group) {
            yyjson_arr_foreach(yyjson_obj_get(group, "entries"), k, m, entry) {
                struct slice id = text_of(yyjson_obj_get(entry, "id"));
                if (slice__eq(id, SLICE_LIT("sep"))) continue;
                bool known = currency__find(id) != CURRENCY_NONE;
                if (!known && origin == DATA_RECORDED) print_message("%.*s\n", SLICE_FMT(id));
                n_known += known;
                n_unknown += !known;
            }
        }
        yyjson_doc_free(doc);
    }
    if (origin == DATA_RECORDED) {
        assert_int_equal(n_unknown, 0);
        assert_true(n_known > 2500);
    } else {
        assert_int_equal(n_known, 15);
    }
}
DATA_TESTS_OF(test_every_static_id_is_known)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_note_of_the_list_has_the_price_that_the_site_gives_it),
        cmocka_unit_test(test_each_word_means_one_currency_and_each_number_has_one_id),
        DATA_TESTS(test_collected_cases),
        DATA_TESTS(test_notes_fall_into_known_classes),
        DATA_TESTS(test_every_static_id_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
