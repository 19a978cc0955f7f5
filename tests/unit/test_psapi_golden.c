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

struct recorded {
    enum data_origin origin;
    const char *file;
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

/* Puts what was stored without its envelope, stashes or one stash, into one. */
static void put_into_envelope(struct buf *body) {
    yyjson_doc *doc = yyjson_read(body->base, body->len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool is_page = yyjson_obj_get(root, "stashes") != NULL, is_stash = yyjson_is_obj(root);
    yyjson_doc_free(doc);
    if (is_page) return;
    if (is_stash) {
        struct buf list = buf__init((size_t)64 << 20);
        buf__append_str(&list, "[");
        buf__append_slice(&list, buf__slice(body));
        buf__append_str(&list, "]");
        buf__fini(body);
        *body = list;
    }
    golden__envelope(body);
}

/* Counts by other means than the room's. */
static size_t count_items(struct slice body, size_t *n_stashes) {
    yyjson_doc *doc = yyjson_read(body.base, body.len, 0);
    yyjson_val *stashes = yyjson_obj_get(yyjson_doc_get_root(doc), "stashes"), *stash;
    size_t i, n, n_items = 0;
    yyjson_arr_foreach(stashes, i, n, stash) n_items +=
        yyjson_arr_size(yyjson_obj_get(stash, "items"));
    *n_stashes = n;
    yyjson_doc_free(doc);
    return n_items;
}

/* A row for each item, nothing refused, the same on each run. */
static void check_page(const struct recorded *page, struct buf *out) {
    struct buf body, again = buf__init(1 << 16);
    struct rows rows;
    size_t n_stashes, before = out->len;
    golden__body(page->origin, page->file, &body);
    put_into_envelope(&body);
    size_t n_items = count_items(buf__slice(&body), &n_stashes);
    print_message("%s\n", page->file);
    assert_true(n_stashes > 0 && n_items > 0);
    for (int run = 0; run < 2; run++) {
        struct buf *to = run == 0 ? out : &again;
        decode("psapi", "", buf__slice(&body), &rows);
        const struct batch *raw = golden__batch(&rows, &table_raw_public_stash_pages, "");
        assert_int_equal(golden__int(raw, "stash_count", 0), n_stashes);
        assert_int_equal(golden__count(&rows, &table_bronze_public_stash), n_items);
        assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
        buf__printf(to,
                    "%s has %zu stashes, %zu items, %zu prices by note, %zu by the tab's name\n",
                    page->file, n_stashes, n_items, count_str(&rows, "price_source", "note"),
                    count_str(&rows, "price_source", "stash_name"));
        golden__digest(&rows, page->file, to);
        rows__fini(&rows);
    }
    assert_int_equal(out->len - before, again.len);
    assert_memory_equal(out->base + before, again.base, again.len);
    buf__fini(&again);
    buf__fini(&body);
}

static void test_bodies_make_committed_digests(enum data_origin origin) {
    static const char *const by_hand[][3] = {
        {"psapi", "", "tests/data/psapi/page.json"},
        {"poe_ninja", "exchange/Currency", "tests/data/ninja/exchange.json"},
        {"poe_ninja", "item/UniqueAccessory", "tests/data/ninja/item.json"},
        {"poe_ninja", "currency/Currency", "tests/data/ninja/currency.json"},
        {"poe_ninja", "currency/Currency", "tests/data/made/ninja/legacy-currency-2019.json"},
        {"poe_ninja", "item/UniqueArmour", "tests/data/made/ninja/legacy-items-2019.json"},
        {"poe_ninja", "exchange/Currency", "tests/data/made/ninja/exchange-overview-2026.json"},
    };
    static const struct recorded pages[] = {
        {DATA_MADE, "psapi/page-2024.stashes.json.gz"},
        {DATA_MADE, "psapi/page-2019.json.gz"},
        {DATA_MADE, "psapi/page-2019-small.json.gz"},
        {DATA_MADE, "psapi/page-2017.json.gz"},
        {DATA_MADE, "psapi/stashes-2017.json.gz"},
        {DATA_MADE, "psapi/stashes-unique.json.gz"},
        {DATA_MADE, "psapi/stashes-full.json.gz"},
        {DATA_MADE, "psapi/stash-quad.json.gz"},
        {DATA_RECORDED, "psapi/page-pc-2024-04.stashes.json.gz"},
        {DATA_RECORDED, "psapi/page-pc-2019-tombstones.json.gz"},
        {DATA_RECORDED, "psapi/page-pc-2017-harbinger.json.gz"},
        {DATA_RECORDED, "psapi/page-small-2019.json.gz"},
        {DATA_RECORDED, "psapi/stashes-2017-harbinger-1.json.gz"},
        {DATA_RECORDED, "psapi/stashes-pom-a.json.gz"},
        {DATA_RECORDED, "psapi/stashes-pom-c.json.gz"},
        {DATA_RECORDED, "psapi/stash-quad-2018.json.gz"},
    };
    struct buf got = buf__init(1 << 20);
    for (size_t i = 0; origin == DATA_MADE && i < sizeof by_hand / sizeof *by_hand; i++) {
        struct buf body;
        struct rows rows;
        assert_true(golden__load("SOUK_SOURCE", by_hand[i][2], &body));
        decode(by_hand[i][0], by_hand[i][1], buf__slice(&body), &rows);
        golden__digest(&rows, by_hand[i][2], &got);
        rows__fini(&rows);
        buf__fini(&body);
    }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (pages[i].origin == origin) check_page(&pages[i], &got);
    assert_true(golden__same("sources", origin, &got));
    buf__fini(&got);
}
DATA_TESTS_OF(test_bodies_make_committed_digests)

static void assert_str(const struct batch *b, const char *column, size_t row, const char *want) {
    struct slice got = golden__str(b, column, row);
    if (!slice__eq(got, slice__str(want)))
        fail_msg("%s[%zu] is %.*s, not %s", column, row, SLICE_FMT(got), want);
}

/* The first rare ring of the page with a whole price, as it stands in the file. */
static void test_an_item_is_read_exactly_made(void **state) {
    (void)state;
    struct buf body;
    struct rows rows;
    golden__body(DATA_MADE, "psapi/page-2024.stashes.json.gz", &body);
    golden__envelope(&body);
    decode("psapi", "", buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    size_t row = 0;
    while (
        row < b->n_rows &&
        !slice__eq(golden__str(b, "item_id", row),
                   SLICE_LIT("5184c0b727250da4de66283f43780ff12d6c4cdd0ec5df385900fefc57f6cbde")))
        row++;
    assert_true(row < b->n_rows);
    assert_str(b, "stash_id", row,
               "10bbac9cfded031edbe9095b73ec0e90bf71a8452664f36d0c2a33ac24f19da9");
    assert_str(b, "seller", row, "IthdorHul796");
    assert_str(b, "stash_name", row, "~skip");
    assert_str(b, "name", row, "Hulgar Lum");
    assert_str(b, "base_type", row, "Beryl Ring");
    assert_str(b, "rarity", row, "Rare");
    assert_str(b, "item_type_id", row, "accessories.ring");
    assert_str(b, "note", row, "~b/o 345 fusing");
    assert_str(b, "price_kind", row, "b/o");
    assert_str(b, "price_currency", row, "fusing");
    assert_int_equal(golden__int(b, "price_amount", row), 345000000);
    assert_int_equal(golden__int(b, "ilvl", row), 57);
    assert_int_equal(golden__int(b, "corrupted", row), 1);
    assert_int_equal(golden__int(b, "frame_type", row), 2);
    assert_str(b, "extra", row,
               "{\"w\":1,\"h\":1,\"prefixes\":2,\"suffixes\":2,\"x\":1,\"y\":0,"
               "\"inventoryId\":\"Stash19\","
               "\"explicitMods\":[\"51% increased Attack Speed\",\"Regenerate 13 Life per second\","
               "\"47% increased Rarity of Items found\",\"65% increased Attack Speed\"]}");
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_an_item_is_read_exactly_recorded(void **state) {
    (void)state;
    DATA_OR_SKIP(DATA_RECORDED);
    struct buf body;
    struct rows rows;
    golden__body(DATA_RECORDED, "psapi/page-pc-2024-04.stashes.json.gz", &body);
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
static void test_items_of_2026_are_accepted(enum data_origin origin) {
    static const struct {
        size_t n_rows;
        const char *base_type, *extra; /* Of the second. */
    } want[] = {
        [DATA_MADE] = {18, "Banded Hood",
                       "{\"prefixes\":1,\"suffixes\":3,\"fractured\":true,\"w\":2,\"h\":2,"
                       "\"explicitMods\":[\"+48 to maximum Mana\",\"16% increased Attack Speed\"],"
                       "\"craftedMods\":[\"Adds 47 to 99 Cold Damage\",\"+6 to Strength\"],"
                       "\"fracturedMods\":[\"62% increased Attack Speed\"]}"},
        [DATA_RECORDED] =
            {9, "Helical Ring",
             "{\"fractured\":true,\"prefixes\":1,\"suffixes\":4,\"explicitMods\":[\"Grants Level "
             "20 "
             "Aspect of Lunaris Skill\",\"+93 to Strength\",\"+52% to Chaos Resistance\"],"
             "\"craftedMods\":[\"+55 to maximum Life\"],\"fracturedMods\":[\"+63% to Lightning "
             "Resistance\"]}"},
    };
    struct buf file, body = buf__init(1 << 20), got = buf__init(1 << 16);
    struct rows rows;
    golden__body(origin,
                 origin == DATA_MADE ? "psapi/items-2026.json"
                                     : "psapi/item-excerpts-pc-2026-10-07.json",
                 &file);
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
    assert_int_equal(b->n_rows, want[origin].n_rows);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    assert_int_equal(rows.n_fields_lost, 0);
    assert_str(b, "base_type", 1, want[origin].base_type);
    assert_str(b, "listing_id", 1, "0:1");
    assert_str(b, "extra", 1, want[origin].extra);
    golden__digest(&rows, "items", &got);
    assert_true(golden__same("items_2026", origin, &got));
    buf__fini(&got);
    rows__fini(&rows);
    yyjson_doc_free(doc);
    buf__fini(&file);
    buf__fini(&body);
}

DATA_TESTS_OF(test_items_of_2026_are_accepted)

/* 33 versions of one stash with their cursors, over 11 days. */
static void test_cursors_move_forward_only(enum data_origin origin) {
    static const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    const struct source_type *psapi = source__find("psapi");
    struct stream_state at = {0}, last = {0};
    struct page_facts facts;
    struct err e;
    struct buf file;
    size_t n_pages = 0;
    golden__body(origin,
                 origin == DATA_MADE ? "psapi/stash-history.pages.jsonl.gz"
                                     : "psapi/stash-history-heist-2020-11.pages.jsonl.gz",
                 &file);
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
DATA_TESTS_OF(test_cursors_move_forward_only)

int main(void) {
    const struct CMUnitTest tests[] = {
        DATA_TESTS(test_bodies_make_committed_digests),
        cmocka_unit_test(test_an_item_is_read_exactly_made),
        cmocka_unit_test(test_an_item_is_read_exactly_recorded),
        DATA_TESTS(test_items_of_2026_are_accepted),
        DATA_TESTS(test_cursors_move_forward_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
