/* The committed bodies make the committed digests, and recorded pages make as many rows as they
 * hold items, the same on each run. */
#include "../golden/golden.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <yyjson.h>

static const char *const followed[] = {"Standard", "Hardcore"};
static const struct decode_context context = {.followed = followed, .n_followed = 2};

static void decode(const char *source, const char *kind, struct slice body, struct rows *rows) {
    struct stream_spec stream = {.realm = "pc", .league = "Standard"};
    snprintf(stream.kind, sizeof stream.kind, "%s", kind);
    const struct page page = {.stream = &stream,
                              .cursor_from = SLICE_LIT("1-1"),
                              .cursor_to = SLICE_LIT("2-2"),
                              .received_wall_ns = INT64_C(1800000000) * NS_PER_S,
                              .lsn = 5,
                              .body = body};
    struct err e = {0};
    *rows = (struct rows){0};
    if (source__find(source)->decode(&page, &context, rows, &e) != 0) fail_msg("%s", e.msg);
}

/* One line a batch: table, part, rows, hash of the rows. */
static void digest(const struct rows *rows, const char *file, struct buf *out) {
    for (size_t i = 0; i < rows->n; i++) {
        char hash[33];
        const struct batch *b = &rows->batches[i].batch;
        batch__hash(b, hash);
        buf__printf(out, "%s %s %s %zu %s\n", file, b->table->name, rows->batches[i].part,
                    b->n_rows, hash);
    }
}

static void test_committed_bodies_make_committed_digests(void **state) {
    (void)state;
    static const char *const bodies[][3] = {
        {"psapi", "", "tests/data/psapi/page.json"},
        {"poe_ninja", "exchange/Currency", "tests/data/ninja/exchange.json"},
        {"poe_ninja", "item/UniqueAccessory", "tests/data/ninja/item.json"},
        {"poe_ninja", "currency/Currency", "tests/data/ninja/currency.json"},
    };
    struct buf got = buf__init(1 << 20), want;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct buf body;
        struct rows rows;
        assert_true(golden__load("SOUK_SOURCE", bodies[i][2], &body));
        decode(bodies[i][0], bodies[i][1], buf__slice(&body), &rows);
        digest(&rows, bodies[i][2], &got);
        rows__fini(&rows);
        buf__fini(&body);
    }
    assert_true(golden__load("SOUK_SOURCE", "tests/golden/sources.digest", &want));
    if (!slice__eq(buf__slice(&got), buf__slice(&want)))
        fail_msg("the rows have changed; when that is meant, the new digests are\n%.*s",
                 SLICE_FMT(buf__slice(&got)));
    buf__fini(&got);
    buf__fini(&want);
}

struct recorded {
    const char *file;
    bool bare; /* The array of stashes without its envelope. */
    size_t n_stashes, n_items, n_by_note, n_by_tab, n_refused;
};

static size_t count_str(const struct rows *rows, const char *column, const char *value) {
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const struct batch *b = &rows->batches[i].batch;
        if (b->table != &table_bronze_public_stash) continue;
        struct reader r = reader__of(buf__slice(&b->columns[golden__column(b, column)].data));
        for (size_t row = 0; row < b->n_rows; row++)
            n += slice__eq(reader__string(&r), slice__str(value));
    }
    return n;
}

static void check_recorded(const struct recorded *page) {
    struct buf body, first = buf__init(1 << 16), again = buf__init(1 << 16);
    struct rows rows;
    assert_true(golden__load("SOUK_SHARED_DATA", page->file, &body));
    if (page->bare) golden__envelope(&body);
    decode("psapi", "", buf__slice(&body), &rows);
    const struct batch *raw = golden__batch(&rows, &table_raw_public_stash_pages, "");
    print_message("%s\n", page->file);
    assert_int_equal(golden__int(raw, "stash_count", 0), page->n_stashes);
    assert_int_equal(golden__count(&rows, &table_bronze_public_stash), page->n_items);
    assert_int_equal(count_str(&rows, "price_source", "note"), page->n_by_note);
    assert_int_equal(count_str(&rows, "price_source", "stash_name"), page->n_by_tab);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), page->n_refused);
    digest(&rows, page->file, &first);
    rows__fini(&rows);
    decode("psapi", "", buf__slice(&body), &rows);
    digest(&rows, page->file, &again);
    assert_true(slice__eq(buf__slice(&first), buf__slice(&again)));
    rows__fini(&rows);
    buf__fini(&first);
    buf__fini(&again);
    buf__fini(&body);
}

static bool have_shared_data(void) {
    struct buf probe;
    if (!golden__load("SOUK_SHARED_DATA", "poe/README.md", &probe)) {
        print_message("no shared data\n");
        return false;
    }
    buf__fini(&probe);
    return true;
}

static void test_recorded_pages_make_a_row_for_each_item(void **state) {
    (void)state;
    if (!have_shared_data()) skip();
    static const struct recorded pages[] = {
        {"poe/psapi/page-pc-2024-04.stashes.json.gz", true, 893, 2868, 247, 292, 0},
        {"poe/psapi/page-pc-2019-tombstones.json.gz", false, 1041, 2385, 143, 176, 0},
        {"poe/psapi/page-pc-2017-harbinger.json.gz", false, 21, 1292, 276, 172, 0},
        {"poe/psapi/page-small-2019.json.gz", false, 5, 40, 2, 24, 0},
        {"poe/psapi/stashes-2017-harbinger-1.json.gz", true, 86, 1685, 730, 710, 0},
        {"poe/psapi/stashes-pom-a.json.gz", true, 44, 115, 21, 26, 0},
        {"poe/psapi/stashes-pom-c.json.gz", true, 1, 1, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) check_recorded(&pages[i]);
}

static void assert_str(const struct batch *b, const char *column, size_t row, const char *want) {
    struct slice got = golden__str(b, column, row);
    if (!slice__eq(got, slice__str(want)))
        fail_msg("%s[%zu] is %.*s, not %s", column, row, SLICE_FMT(got), want);
}

static void test_a_recorded_item_is_read_exactly(void **state) {
    (void)state;
    if (!have_shared_data()) skip();
    struct buf body;
    struct rows rows;
    assert_true(
        golden__load("SOUK_SHARED_DATA", "poe/psapi/page-pc-2024-04.stashes.json.gz", &body));
    golden__envelope(&body);
    decode("psapi", "", buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    assert_int_equal(b->n_rows, 2423);
    assert_int_equal(golden__batch(&rows, &table_bronze_public_stash, "Hardcore")->n_rows, 445);
    size_t row = 0; /* The 310th item of the page. */
    while (row < b->n_rows && golden__int(b, "ord", row) != 310) row++;
    assert_str(b, "stash_id", row,
               "18950d36c704f7eae7ede84e32cb38bd56aea16b714ee75566c80107498be38a");
    assert_str(b, "item_id", row,
               "14d4189dc0cbf2f029c48858231bf16d321158c1c83a867bfddcc1fd4a547d72");
    assert_str(b, "seller", row, "kyosuke77");
    assert_str(b, "stash_name", row, "Sell own prices 3");
    assert_str(b, "name", row, "Horror Nail");
    assert_str(b, "base_type", row, "Sapphire Ring");
    assert_str(b, "rarity", row, "Rare");
    assert_str(b, "item_type_id", row, "accessories.ring");
    assert_str(b, "note", row, "~b/o 3 chaos");
    assert_str(b, "price_kind", row, "b/o");
    assert_str(b, "price_currency", row, "chaos");
    assert_int_equal(golden__int(b, "price_amount", row), 3000000);
    assert_int_equal(golden__int(b, "ilvl", row), 70);
    assert_int_equal(golden__int(b, "frame_type", row), 2);
    assert_str(
        b, "extra", row,
        "{\"w\":1,\"h\":1,\"prefixes\":2,\"suffixes\":2,\"x\":0,\"y\":6,\"inventoryId\":"
        "\"Stash1\",\"implicitMods\":[\"+27% to Cold Resistance\"],\"explicitMods\":[\"Adds 4 "
        "to 7 Physical Damage to Attacks\",\"8% increased Fire Damage\",\"+260 to Accuracy "
        "Rating\",\"+41 to maximum Life\"]}");
    rows__fini(&rows);
    buf__fini(&body);
}

/* Items of October 2026 have modifiers as objects. */
static void test_items_of_2026_are_accepted(void **state) {
    (void)state;
    if (!have_shared_data()) skip();
    struct buf file, body = buf__init(1 << 20);
    struct rows rows;
    assert_true(
        golden__load("SOUK_SHARED_DATA", "poe/psapi/item-excerpts-pc-2026-10-07.json", &file));
    yyjson_doc *doc = yyjson_read(file.base, file.len, 0);
    yyjson_val *page;
    size_t i, n;
    buf__append_str(&body, "[");
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "pages"), i, n, page) {
        char *items = yyjson_val_write(yyjson_obj_get(page, "items"), 0, NULL);
        buf__printf(&body, "%s{\"id\":\"%zu\",\"league\":\"Standard\",\"items\":%s}",
                    i == 0 ? "" : ",", i, items);
        free(items);
    }
    buf__append_str(&body, "]");
    golden__envelope(&body);
    decode("psapi", "", buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    assert_int_equal(b->n_rows, 9);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    assert_str(b, "base_type", 1, "Helical Ring");
    assert_str(b, "listing_id", 1, "0:1");
    assert_str(
        b, "extra", 1,
        "{\"fractured\":true,\"prefixes\":1,\"suffixes\":4,\"explicitMods\":[\"Grants Level 20 "
        "Aspect of Lunaris Skill\",\"+93 to Strength\",\"+52% to Chaos Resistance\"],"
        "\"craftedMods\":[\"+55 to maximum Life\"],\"fracturedMods\":[\"+63% to Lightning "
        "Resistance\"]}");
    rows__fini(&rows);
    yyjson_doc_free(doc);
    buf__fini(&file);
    buf__fini(&body);
}

/* 33 versions of one stash with their real cursors, over 11 days. */
static void test_recorded_cursors_move_forward_only(void **state) {
    (void)state;
    if (!have_shared_data()) skip();
    static const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    const struct source_type *psapi = source__find("psapi");
    struct stream_state at = {0}, last = {0};
    struct page_facts facts;
    struct err e;
    struct buf file;
    size_t n_pages = 0;
    assert_true(golden__load("SOUK_SHARED_DATA",
                             "poe/psapi/stash-history-heist-2020-11.pages.jsonl.gz", &file));
    for (size_t from = 0; from < file.len; n_pages++) {
        const char *end = memchr(file.base + from, '\n', file.len - from);
        size_t len = end == NULL ? file.len - from : (size_t)(end - file.base) - from;
        yyjson_doc *doc = yyjson_read(file.base + from, len, 0);
        yyjson_val *root = yyjson_doc_get_root(doc);
        size_t body_len;
        char *body = yyjson_val_write(yyjson_obj_get(root, "response"), 0, &body_len);
        const struct source_answer answer = {.status = 200, .body = slice__of(body, body_len)};
        snprintf(at.cursor, sizeof at.cursor, "%s", yyjson_get_str(yyjson_obj_get(root, "id")));
        assert_int_equal(psapi->judge(&pc, &at, &answer, &facts, &e), 0);
        assert_int_equal(facts.verdict, PAGE_NEW);
        if (n_pages > 0) { /* What this page leads to lies ahead of where the one before led. */
            assert_int_equal(psapi->judge(&pc, &last, &answer, &facts, &e), 0);
            assert_int_equal(facts.verdict, PAGE_NEW);
        }
        snprintf(last.cursor, sizeof last.cursor, "%s", facts.next_cursor);
        assert_int_equal(psapi->judge(&pc, &last, &answer, &facts, &e), 0);
        assert_int_equal(facts.verdict, PAGE_REPEAT);
        free(body);
        yyjson_doc_free(doc);
        from += len + 1;
    }
    assert_int_equal(n_pages, 33);
    /* The first page again, after the last. */
    const char *end = memchr(file.base, '\n', file.len);
    yyjson_doc *doc = yyjson_read(file.base, (size_t)(end - file.base), 0);
    size_t body_len;
    char *body =
        yyjson_val_write(yyjson_obj_get(yyjson_doc_get_root(doc), "response"), 0, &body_len);
    const struct source_answer answer = {.status = 200, .body = slice__of(body, body_len)};
    assert_int_equal(psapi->judge(&pc, &last, &answer, &facts, &e), ERR_PROTOCOL);
    assert_int_equal(facts.verdict, PAGE_REWIND);
    assert_string_equal(facts.next_cursor, "");
    free(body);
    yyjson_doc_free(doc);
    buf__fini(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed_bodies_make_committed_digests),
        cmocka_unit_test(test_recorded_pages_make_a_row_for_each_item),
        cmocka_unit_test(test_a_recorded_item_is_read_exactly),
        cmocka_unit_test(test_items_of_2026_are_accepted),
        cmocka_unit_test(test_recorded_cursors_move_forward_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
