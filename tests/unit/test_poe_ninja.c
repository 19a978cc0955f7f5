/* poe_ninja asks with the raw ETag, and its three shapes become the same rows. */
#include "../golden/golden.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <yyjson.h>

static const char *const followed[] = {"Standard"};
static const struct decode_context context = {.followed = followed, .n_followed = 1};
static const struct source_type *ninja;

static int find_ninja(void **state) {
    (void)state;
    ninja = source__find("poe_ninja");
    return ninja == NULL;
}

static void test_streams_are_leagues_times_kinds(void **state) {
    (void)state;
    static struct stream_spec specs[STREAMS_MAX];
    static const char *const leagues[] = {"Standard", "Hardcore Allflame"};
    static const char *const kinds[] = {"exchange/Currency", "item/UniqueWeapon",
                                        "currency/Currency"};
    struct source_settings s = {.base_url = "https://poe.example",
                                .leagues = leagues,
                                .n_leagues = 2,
                                .kinds = kinds,
                                .n_kinds = 3,
                                .period_ns = 60 * NS_PER_S};
    struct err e;
    assert_int_equal(ninja->streams(&s, specs, &e), 6);
    assert_string_equal(specs[0].key, "Standard/exchange/Currency");
    assert_string_equal(specs[4].path, "/poe1/api/economy/stash/current/item/overview");

    struct stream_state at = {0};
    struct source_request r;
    ninja->plan(&s, &specs[3], &at, &r);
    assert_string_equal(r.url, "https://poe.example/poe1/api/economy/exchange/current/"
                               "overview?league=Hardcore%20Allflame&type=Currency");
    assert_int_equal(r.n_headers, 0);
    assert_int_equal(r.not_before_mono_ns, 0);
    assert_string_equal(r.gap_key, "Hardcore Allflame/Currency");
    snprintf(at.etag, sizeof at.etag, "W/ab89be24");
    at.last_reply_mono_ns = 5;
    ninja->plan(&s, &specs[3], &at, &r);
    assert_string_equal(r.headers[0], "If-None-Match: W/ab89be24"); /* No quotes are added. */
    assert_int_equal(r.not_before_mono_ns, 60 * NS_PER_S + 5);

    static const char *const wrong[] = {"exchange/Currency", "stash/Currency", "item/"};
    s.kinds = wrong;
    assert_int_equal(ninja->streams(&s, specs, &e), ERR_CONFIG);
    s.n_kinds = 200;
    assert_int_equal(ninja->streams(&s, specs, &e), ERR_CONFIG);
}

static void test_judge(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *etag, *body;
        int code;
        enum page_verdict verdict;
        const char *next;
        bool block_page;
    } cases[] = {
        {200, "W/new", "{\"lines\":[{}]}", 0, PAGE_NEW, "W/new", false},
        {200, NULL, "{\"lines\":[{}]}", 0, PAGE_NEW, "xxh3-", false},
        {200, "W/new", "{\"lines\":[]}", 0, PAGE_EMPTY, "W/new", false},
        {304, NULL, "", 0, PAGE_UNCHANGED, "W/old", false},
        {200, "W/new", "{\"lines\":{}}", ERR_MALFORMED, PAGE_INVALID, "", false},
        {200, "W/new", "{}", ERR_MALFORMED, PAGE_INVALID, "", false},
        {200, "W/new", "<html>", ERR_MALFORMED, PAGE_INVALID, "", true},
        {403, NULL, "<html>", ERR_PROTOCOL, PAGE_INVALID, "", true},
        {500, NULL, "", ERR_PROTOCOL, PAGE_INVALID, "", false},
    };
    const struct stream_spec stream = {.kind = "exchange/Currency"};
    const struct stream_state at = {.cursor = "W/old", .etag = "W/old"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct source_header header = {SLICE_LIT("ETag"), slice__str(cases[i].etag)};
        const struct source_answer answer = {.status = cases[i].status,
                                             .headers = &header,
                                             .n_headers = cases[i].etag != NULL,
                                             .body = slice__str(cases[i].body)};
        struct page_facts facts;
        struct err e;
        assert_int_equal(ninja->judge(&stream, &at, &answer, &facts, &e), cases[i].code);
        assert_int_equal(facts.verdict, cases[i].verdict);
        assert_int_equal(facts.block_page, cases[i].block_page);
        assert_true(slice__starts(slice__str(facts.next_cursor), slice__str(cases[i].next)));
    }
}

static void decode(const char *league, const char *kind, struct slice body,
                   enum page_freshness freshness, struct rows *rows) {
    struct stream_spec stream = {.service = "poe_ninja"};
    snprintf(stream.league, sizeof stream.league, "%s", league);
    snprintf(stream.kind, sizeof stream.kind, "%s", kind);
    const struct page page = {.stream = &stream,
                              .cursor_from = SLICE_LIT("W/a"),
                              .cursor_to = SLICE_LIT("W/b"),
                              .received_wall_ns = INT64_C(1800000000123) * NS_PER_MS,
                              .lsn = 9,
                              .freshness = freshness,
                              .body = body};
    struct err e = {0};
    *rows = (struct rows){0};
    int code = ninja->decode(&page, &context, rows, &e);
    if (code != 0) print_message("%s\n", e.msg);
    assert_int_equal(code, 0);
}

static void test_exchange_rows(void **state) {
    (void)state;
    struct buf body;
    struct rows rows;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/ninja/exchange.json", &body));
    decode("Standard", "exchange/Currency", buf__slice(&body), PAGE_STALE, &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_poeninja_snapshot, "Standard");
    assert_int_equal(b->n_rows, 3);
    assert_int_equal(golden__int(b, "sample_time_utc", 0), INT64_C(1800000000123));
    assert_str(b, "overview", 0, "exchange");
    assert_str(b, "kind", 0, "Currency");
    assert_str(b, "detailsId", 0, "divine-orb");
    assert_str(b, "name", 1, "Orb of Alchemy"); /* The first of two with one id. */
    assert_str(b, "detailsId", 2, "nameless");
    assert_str(b, "name", 2, "");
    assert_true(golden__f64(b, "chaosEquivalent", 0) == 200.5);
    assert_true(golden__f64(b, "divineEquivalent", 0) == 1);
    /* By the divine line, not by the rounded rate. */
    assert_true(golden__f64(b, "divineEquivalent", 2) == 4.01 / 200.5);
    assert_true(golden__f64(b, "volume_chaos", 0) == 1000);
    assert_true(isnan(golden__f64(b, "volume_chaos", 2))); /* A text: not known, which is not 0. */
    assert_int_equal(rows.n_fields_lost, 1);
    assert_int_equal(golden__int(b, "stale", 0), 1);
    assert_int_equal(golden__int(b, "ord", 2), 2);
    const struct column *spark = &b->columns[golden__column(b, "sparkline")];
    assert_memory_equal(spark->offs.base, "\3\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0", 24);
    float points[3];
    memcpy(points, spark->data.base, sizeof points);
    assert_true(points[0] == 0.5f && isnan(points[1]) && points[2] == -1);

    static const char *const refused[][2] = {
        {"lines[3].primaryValue", "bad_price"},
        {"lines[4].volumePrimaryValue", "bad_size"},
        {"lines[5].primaryValue", "wrong_type"},
        {"lines[6].id", "missing_field"},
        {"lines[7]", "wrong_type"},
        {"lines[8].primaryValue", "wrong_type"},
    };
    const struct batch *q = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(q->n_rows, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_str(q, "field", i, refused[i][0]);
        assert_str(q, "reason", i, refused[i][1]);
    }
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_item_and_currency_rows(void **state) {
    (void)state;
    struct buf body;
    struct rows rows;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/ninja/item.json", &body));
    decode("Private", "item/UniqueAccessory", buf__slice(&body), PAGE_FRESH, &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_poeninja_snapshot, "other");
    assert_int_equal(b->n_rows, 2);
    assert_str(b, "league", 0, "Private");
    assert_str(b, "variant", 0, "5 Flasks");
    assert_true(golden__f64(b, "divineEquivalent", 0) == 1635);
    assert_int_equal(golden__int(b, "listing_count", 0), 6);
    assert_int_equal(golden__int(b, "listing_count", 1), 9); /* count stands in. */
    assert_true(golden__f64(b, "divineEquivalent", 1) == 0); /* Unknown. */
    assert_int_equal(golden__int(b, "stale", 0), 0);
    assert_str(golden__batch(&rows, &table_bronze_quarantine, ""), "field", 0,
               "lines[2].chaosValue");
    rows__fini(&rows);
    buf__fini(&body);

    assert_true(golden__load("SOUK_SOURCE", "tests/data/ninja/currency.json", &body));
    decode("Standard", "currency/Currency", buf__slice(&body), PAGE_REVALIDATED, &rows);
    b = golden__batch(&rows, &table_bronze_poeninja_snapshot, "Standard");
    assert_int_equal(b->n_rows, 2);
    assert_str(b, "name", 0, "Mirror of Kalandra");
    assert_true(golden__f64(b, "divineEquivalent", 0) == 850);
    assert_int_equal(golden__int(b, "listing_count", 0), 143);
    assert_int_equal(golden__int(b, "stale", 0), 0);
    rows__fini(&rows);
    buf__fini(&body);
}

/* Each line of @overview must become a row of @kind. @return how many. */
static size_t check_overview(yyjson_val *overview, const char *kind) {
    size_t len, n_lines = yyjson_arr_size(yyjson_obj_get(overview, "lines"));
    struct rows rows;
    char *text = yyjson_val_write(overview, 0, &len);
    decode("Standard", kind, slice__of(text, len), PAGE_FRESH, &rows);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    assert_int_equal(golden__count(&rows, &table_bronze_poeninja_snapshot), n_lines);
    rows__fini(&rows);
    free(text);
    return n_lines;
}

static yyjson_doc *read_body(enum data_origin origin, const char *file) {
    struct buf body;
    golden__body(origin, file, &body);
    yyjson_doc *doc = yyjson_read(body.base, body.len, 0);
    assert_non_null(doc);
    buf__fini(&body);
    return doc;
}

static void test_answers_are_accepted_whole(enum data_origin origin) {
    static const struct {
        const char *key, *kind;
        size_t n[2]; /* By origin. */
    } several[] = {
        {"currency", "exchange/Currency", {4, 5}},
        {"fragment", "exchange/Fragment", {2, 2}},
        {"base-type", "item/BaseType", {24, 73}},
        {"invitation", "item/Invitation", {2, 2}},
        {"skill-gem", "item/SkillGem", {9, 10}},
        {"unique-accessory", "item/UniqueAccessory", {4, 4}},
        {"unique-armour", "item/UniqueArmour", {1, 4}},
        {"unique-flask", "item/UniqueFlask", {3, 3}},
    };
    static const struct {
        enum data_origin origin;
        const char *file, *kind;
        size_t n;
    } alone[] = {
        {DATA_MADE, "ninja/exchange-overview-2026.json", "exchange/Currency", 3},
        {DATA_MADE, "ninja/legacy-currency-2019.json", "currency/Currency", 5},
        {DATA_MADE, "ninja/legacy-items-2019.json", "item/UniqueArmour", 8},
        {DATA_RECORDED, "ninja/legacy-2017-08-currency-standard.json.gz", "currency/Currency", 37},
        {DATA_RECORDED, "ninja/legacy-2019-12-currencyoverview.json.gz", "currency/Currency", 60},
        {DATA_RECORDED, "ninja/legacy-2019-12-currencyoverview_fragment.json.gz",
         "currency/Fragment", 56},
        {DATA_RECORDED, "ninja/legacy-2020-01-itemoverview.json.gz", "item/UniqueArmour", 234},
        {DATA_RECORDED, "ninja/legacy-2023-11-beasts.json.gz", "item/Beast", 194},
        {DATA_RECORDED, "ninja/legacy-2023-11-currency.json.gz", "currency/Currency", 108},
        {DATA_RECORDED, "ninja/legacy-2023-11-fragments.json.gz", "currency/Fragment", 69},
        {DATA_RECORDED, "ninja/legacy-2023-11-invitations.json.gz", "item/Invitation", 11},
        {DATA_RECORDED, "ninja/legacy-2023-11-maps.json.gz", "item/Map", 367},
        {DATA_RECORDED, "ninja/exchange-overview-2026-08-15-excerpt.json", "exchange/Currency", 3},
    };
    yyjson_doc *doc = read_body(origin, "ninja/overview-2026-08-new-shapes.json.gz");
    assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(doc)), sizeof several / sizeof *several);
    for (size_t i = 0; i < sizeof several / sizeof *several; i++) {
        yyjson_val *overview = yyjson_obj_get(yyjson_doc_get_root(doc), several[i].key);
        assert_int_equal(check_overview(overview, several[i].kind), several[i].n[origin]);
    }
    yyjson_doc_free(doc);
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        if (alone[i].origin != origin) continue;
        doc = read_body(origin, alone[i].file);
        assert_int_equal(check_overview(yyjson_doc_get_root(doc), alone[i].kind), alone[i].n);
        yyjson_doc_free(doc);
    }
}
DATA_TESTS_OF(test_answers_are_accepted_whole)

static void test_an_overview_without_end_is_bounded_and_says_so(void **state) {
    enum { BOUND = 50000, MORE = 7 };
    struct buf body = buf__init(8 << 20);
    struct rows rows;
    (void)state;
    buf__append_str(&body, "{\"lines\":[");
    put_many(&body, BOUND + MORE, "{\"detailsId\":\"a\",\"name\":\"A\",\"chaosValue\":2}");
    buf__append_str(&body, "]}");
    decode("Standard", "item/UniqueWeapon", buf__slice(&body), PAGE_FRESH, &rows);
    assert_bounded(&rows, &table_bronze_poeninja_snapshot, BOUND, "7");
    rows__fini(&rows);
    buf__fini(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_are_leagues_times_kinds),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_exchange_rows),
        cmocka_unit_test(test_item_and_currency_rows),
        cmocka_unit_test(test_an_overview_without_end_is_bounded_and_says_so),
        DATA_TESTS(test_answers_are_accepted_whole),
    };
    return cmocka_run_group_tests(tests, find_ninja, NULL);
}
