/* psapi asks what it should, believes only what psapi promises, and makes one row an item. */
#include "../golden/golden.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const followed[] = {"Standard", "Hardcore"};
static const struct decode_context context = {.followed = followed, .n_followed = 2};

static struct source_settings settings(const char *start) {
    static const char *const realms[] = {"pc", "xbox"};
    return (struct source_settings){.base_url = "https://api.example",
                                    .seed_url = "https://www.example",
                                    .start = start,
                                    .realms = realms,
                                    .n_realms = 2,
                                    .period_ns = 10 * NS_PER_S,
                                    .use_oauth = true};
}

static void test_streams_are_one_a_realm(void **state) {
    (void)state;
    static struct stream_spec specs[STREAMS_MAX];
    struct source_settings s = settings("head");
    struct err e;
    const struct source_type *psapi = source__find("psapi");
    assert_int_equal(psapi->streams(&s, specs, &e), 2);
    assert_string_equal(specs[0].path, "/public-stash-tabs");
    assert_string_equal(specs[0].endpoint, "psapi");
    assert_string_equal(specs[1].path, "/public-stash-tabs/xbox");
    assert_string_equal(specs[1].key, "xbox");
    static const char *const wrong[] = {"pc", "poe2"};
    s.realms = wrong;
    assert_int_equal(psapi->streams(&s, specs, &e), ERR_CONFIG);
    static const char *const twice[] = {"pc", "pc"};
    s.realms = twice;
    assert_int_equal(psapi->streams(&s, specs, &e), ERR_CONFIG);
}

static void test_plan_seeds_asks_on_and_waits_at_the_end(void **state) {
    (void)state;
    const struct source_type *psapi = source__find("psapi");
    const struct stream_spec pc = {
        .key = "pc", .realm = "pc", .endpoint = "psapi", .path = "/public-stash-tabs"};
    struct stream_state at = {0};
    struct source_request r;
    struct source_settings s = settings("head");
    psapi->plan(&s, &pc, &at, &r);
    assert_true(r.seed);
    assert_string_equal(r.url, "https://www.example/api/trade/data/change-ids");
    assert_string_equal(r.endpoint, "trade_data");
    assert_int_equal(r.n_headers, 0); /* No token for a public resource. */

    s = settings("oldest");
    psapi->plan(&s, &pc, &at, &r);
    assert_false(r.seed);
    assert_string_equal(r.url, "https://api.example/public-stash-tabs");
    s = settings("1-2-3&x");
    psapi->plan(&s, &pc, &at, &r);
    assert_string_equal(r.url, "https://api.example/public-stash-tabs?id=1-2-3%26x");

    snprintf(at.cursor, sizeof at.cursor, "5-6-7");
    at.last_reply_mono_ns = 3 * NS_PER_S;
    psapi->plan(&s, &pc, &at, &r);
    assert_string_equal(r.url, "https://api.example/public-stash-tabs?id=5-6-7");
    assert_string_equal(r.scope, "service:psapi");
    assert_int_equal(r.not_before_mono_ns, 0); /* A page came: ask on at once. */
    at.caught_up = true;
    psapi->plan(&s, &pc, &at, &r);
    assert_int_equal(r.not_before_mono_ns, 13 * NS_PER_S);
}

/* change-ids names a head for pc. Another realm takes its own when it is there, and else begins at
 * the oldest page; a restart in between asks again. */
static void test_realms_without_a_head_begin_at_the_oldest_page(void **state) {
    (void)state;
    const struct source_type *psapi = source__find("psapi");
    const struct stream_spec xbox = {
        .key = "xbox", .realm = "xbox", .endpoint = "psapi_xbox", .path = "/public-stash-tabs/xbox"};
    struct source_settings s = settings("head");
    struct stream_state at = {0};
    struct source_request r;
    struct page_facts facts;
    struct err e;
    psapi->plan(&s, &xbox, &at, &r);
    assert_true(r.seed);
    struct source_answer answer = {
        .seed = true, .status = 200, .body = SLICE_LIT("{\"psapi\":\"7-7\",\"psapi-xbox\":\"8-8\"}")};
    assert_int_equal(psapi->judge(&xbox, &at, &answer, &facts, &e), 0);
    assert_string_equal(facts.next_cursor, "8-8");
    assert_int_equal(facts.memo.len, 0);

    answer.body = SLICE_LIT("{\"psapi\":\"7-7\"}");
    assert_int_equal(psapi->judge(&xbox, &at, &answer, &facts, &e), 0);
    assert_int_equal(facts.verdict, PAGE_SEEDED);
    assert_string_equal(facts.next_cursor, "");
    at.memo = buf__slice(&facts.memo);
    at.last_reply_mono_ns = NS_PER_S;
    psapi->plan(&s, &xbox, &at, &r);
    assert_false(r.seed);
    assert_int_equal(r.not_before_mono_ns, 0);
    assert_string_equal(r.url, "https://api.example/public-stash-tabs/xbox");
    assert_string_equal(r.endpoint, "psapi_xbox");
    snprintf(at.cursor, sizeof at.cursor, "1-1"); /* Then on, as everybody. */
    psapi->plan(&s, &xbox, &at, &r);
    assert_string_equal(r.url, "https://api.example/public-stash-tabs/xbox?id=1-1");
    buf__fini(&facts.memo);

    answer.body = SLICE_LIT("{\"error\":1}"); /* Not an answer about heads at all. */
    assert_int_equal(psapi->judge(&xbox, &at, &answer, &facts, &e), ERR_MALFORMED);
    answer.body = SLICE_LIT("{\"psapi\":\"7-7\",\"psapi-xbox\":8}");
    assert_int_equal(psapi->judge(&xbox, &at, &answer, &facts, &e), ERR_MALFORMED);
}

struct judged {
    const char *cursor, *header, *body;
    bool seed;
    int status, code;
    enum page_verdict verdict;
    const char *next;
};

static void test_judge_believes_only_promised_answers(void **state) {
    (void)state;
    static const struct judged cases[] = {
        {"1-1", NULL, "{\"next_change_id\":\"2-1\",\"stashes\":[{}]}", false, 200, 0, PAGE_NEW,
         "2-1"},
        {"1-1", "2-1", "{\"next_change_id\":\"2-1\",\"stashes\":[{}]}", false, 200, 0, PAGE_NEW,
         "2-1"},
        {"1-1", "3-1", "{\"next_change_id\":\"2-1\",\"stashes\":[{}]}", false, 200, ERR_PROTOCOL,
         PAGE_INVALID, ""},
        {"1-1", "1-1", "{\"next_change_id\":\"1-1\",\"stashes\":[]}", false, 200, 0, PAGE_EMPTY,
         "1-1"},
        {"1-1", NULL, "{\"next_change_id\":\"1-1\",\"stashes\":[{}]}", false, 200, 0, PAGE_REPEAT,
         "1-1"},
        /* One shard behind is behind, even when another is ahead, and even without stashes. */
        {"5-10", NULL, "{\"next_change_id\":\"6-9\",\"stashes\":[{}]}", false, 200, ERR_PROTOCOL,
         PAGE_REWIND, ""},
        {"5-10", NULL, "{\"next_change_id\":\"4-10\",\"stashes\":[]}", false, 200, ERR_PROTOCOL,
         PAGE_REWIND, ""},
        {"9-9", NULL, "{\"next_change_id\":\"010-9\",\"stashes\":[{}]}", false, 200, 0, PAGE_NEW,
         "010-9"},
        {"99999999999999999999-1", NULL,
         "{\"next_change_id\":\"99999999999999999998-1\",\"stashes\":[{}]}", false, 200,
         ERR_PROTOCOL, PAGE_REWIND, ""},
        /* A changed number of shards, and ids that are no numbers, are taken as they are. */
        {"5-10", NULL, "{\"next_change_id\":\"1-1-1\",\"stashes\":[{}]}", false, 200, 0, PAGE_NEW,
         "1-1-1"},
        {"b", NULL, "{\"next_change_id\":\"a\",\"stashes\":[{}]}", false, 200, 0, PAGE_NEW, "a"},
        {"1", NULL, "{}", false, 200, ERR_MALFORMED, PAGE_INVALID, ""},
        {"1", NULL, "[]", false, 200, ERR_MALFORMED, PAGE_INVALID, ""},
        {"1", NULL, "", false, 200, ERR_MALFORMED, PAGE_INVALID, ""},
        {"1", NULL, "{\"next_change_id\":2,\"stashes\":[]}", false, 200, ERR_MALFORMED,
         PAGE_INVALID, ""},
        {"1", NULL, "{\"next_change_id\":\"2\",\"stashes\":{}}", false, 200, ERR_MALFORMED,
         PAGE_INVALID, ""},
        {"1", NULL, "{\"next_change_id\":\"2\\u0000\",\"stashes\":[]}", false, 200, ERR_MALFORMED,
         PAGE_INVALID, ""},
        {"1", NULL, "{\"next_change_id\":\"2\",\"stashes\":[", false, 200, ERR_MALFORMED,
         PAGE_INVALID, ""},
        {"1", NULL, "{\"next_change_id\":\"2\",\"stashes\":[\"\\ud800\"]}", false, 200, 0,
         PAGE_NEW, "2"},
        {"1", NULL, "{\"next_change_id\":\"2\",\"stashes\":[1e400,123456789012345678901]}", false,
         200, 0, PAGE_NEW, "2"},
        {"1", NULL, "{\"next_change_id\":\"2\",\"stashes\":[NaN]}", false, 200, ERR_MALFORMED,
         PAGE_INVALID, ""},
        {"1", NULL, "{\"next_change_id\":\"2\",\"stashes\":[]}", false, 503, ERR_PROTOCOL,
         PAGE_INVALID, ""},
        {"", NULL, "{\"psapi\":\"7-7\",\"x\":1}", true, 200, 0, PAGE_SEEDED, "7-7"},
        {"", NULL, "{\"psapi\":7}", true, 200, ERR_MALFORMED, PAGE_INVALID, ""},
    };
    const struct source_type *psapi = source__find("psapi");
    const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct judged *c = &cases[i];
        const struct source_header header = {SLICE_LIT("X-Next-Change-ID"), slice__str(c->header)};
        struct stream_state at = {0};
        snprintf(at.cursor, sizeof at.cursor, "%s", c->cursor);
        const struct source_answer answer = {.seed = c->seed,
                                             .status = c->status,
                                             .headers = &header,
                                             .n_headers = c->header != NULL,
                                             .body = slice__str(c->body)};
        struct page_facts facts;
        struct err e = {0};
        int code = psapi->judge(&pc, &at, &answer, &facts, &e);
        if (code != c->code || facts.verdict != c->verdict)
            print_message("case %zu: %s\n", i, e.msg);
        assert_int_equal(code, c->code);
        assert_int_equal(facts.verdict, c->verdict);
        assert_string_equal(facts.next_cursor, c->next);
        assert_false(facts.block_page);
    }
}

static void test_a_cursor_that_cannot_be_kept_is_refused(void **state) {
    (void)state;
    const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    const struct stream_state at = {.cursor = "1-1"};
    for (int len = CURSOR_MAX - 1; len <= CURSOR_MAX; len++) {
        char cursor[CURSOR_MAX + 1], body[CURSOR_MAX + 64];
        struct page_facts facts;
        struct err e;
        memset(cursor, '9', (size_t)len);
        cursor[1] = '-';
        cursor[len] = '\0';
        snprintf(body, sizeof body, "{\"next_change_id\":\"%s\",\"stashes\":[{}]}", cursor);
        const struct source_answer answer = {.status = 200, .body = slice__str(body)};
        bool fits = len < CURSOR_MAX;
        assert_int_equal(source__find("psapi")->judge(&pc, &at, &answer, &facts, &e) == 0, fits);
        assert_int_equal(facts.verdict, fits ? PAGE_NEW : PAGE_INVALID);
        assert_string_equal(facts.next_cursor, fits ? cursor : "");
    }
}

static void test_judge_knows_a_block_page(void **state) {
    (void)state;
    const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    const struct stream_state at = {.cursor = "1"};
    const struct source_answer answer = {
        .status = 200, .body = SLICE_LIT("\r\n <!DOCTYPE html><title>Just a moment")};
    struct page_facts facts;
    struct err e;
    assert_int_equal(source__find("psapi")->judge(&pc, &at, &answer, &facts, &e), ERR_MALFORMED);
    assert_true(facts.block_page);
}

static void decode(struct slice body, struct rows *rows) {
    static const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    const struct page page = {.stream = &pc,
                              .cursor_from = SLICE_LIT("10-20-30-40-50"),
                              .cursor_to = SLICE_LIT("11-20-30-40-50"),
                              .received_wall_ns = INT64_C(1800000000123) * NS_PER_MS,
                              .lsn = 77,
                              .body = body};
    struct err e = {0};
    *rows = (struct rows){0};
    int code = source__find("psapi")->decode(&page, &context, rows, &e);
    if (code != 0) print_message("%s\n", e.msg);
    assert_int_equal(code, 0);
}

static void test_decode_makes_the_expected_rows(void **state) {
    (void)state;
    struct buf body;
    struct rows rows;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/psapi/page.json", &body));
    decode(buf__slice(&body), &rows);

    const struct batch *raw = golden__batch(&rows, &table_raw_public_stash_pages, "");
    assert_int_equal(raw->n_rows, 1);
    assert_int_equal(golden__int(raw, "stash_count", 0),
                     5); /* The tombstone and a refused one too. */
    assert_true(slice__eq(golden__str(raw, "payload", 0), buf__slice(&body)));
    assert_str(raw, "next_cursor", 0, "11-20-30-40-50");
    assert_int_equal(golden__str(raw, "payload_hash", 0).len, 32);

    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    assert_int_equal(b->n_rows, 3);
    assert_int_equal(golden__int(b, "ingested_at", 0), INT64_C(1800000000123));
    assert_int_equal(golden__int(b, "ingest_ts", 0), INT64_C(1800000000123));
    assert_int_equal(golden__int(b, "timestamp", 0), INT64_C(1800000000123));
    assert_str(b, "realm", 0, "pc");
    assert_str(b, "league", 0, "Standard");
    assert_str(b, "cursor", 0, "10-20-30-40-50");
    assert_str(b, "stash_id", 0, "aa02");
    assert_str(b, "stash_name", 0, "~b/o 5 chaos r3");
    assert_str(b, "stash_type", 0, "QuadStash");
    assert_str(b, "listing_id", 0, "i1");
    assert_str(b, "seller", 0, "Seller#1");
    assert_str(b, "name", 0, "Doom Nail"); /* Without set prefixes. */
    assert_str(b, "rarity", 0, "Rare");
    assert_str(b, "item_type_id", 0, "accessories.ring");
    assert_int_equal(golden__int(b, "ilvl", 0), 84);
    assert_int_equal(golden__int(b, "identified", 0), 1);
    assert_int_equal(golden__int(b, "corrupted", 0), 0);
    assert_int_equal(golden__int(b, "corrupted", 1), 1);
    assert_str(b, "note", 0, "~price 1.5 exa obo");
    assert_str(b, "price_currency", 0, "exalted");
    assert_str(b, "price_kind", 0, "price");
    assert_str(b, "price_source", 0, "note");
    assert_str(b, "price_none", 0, "");
    assert_int_equal(golden__int(b, "price_amount", 0), 1500000);
    assert_int_equal(golden__int(b, "price_total", 0), 1500000);
    assert_int_equal(golden__int(b, "price_lot", 0), 1000000);
    assert_int_equal(golden__int(b, "lsn", 0), 77);
    assert_str(
        b, "extra", 0,
        "{\"prefixes\":1,\"suffixes\":3,\"sockets\":\"R-G B\",\"x\":3,\"y\":1,\"w\":1,\"h\":1,"
        "\"inventoryId\":\"Stash7\",\"shaper\":true,\"someNewFlag\":true,"
        "\"implicitMods\":[\"+29% to Fire Resistance\"],"
        "\"explicitMods\":[\"+10 to Strength\",\"+55 to maximum Life\"],"
        "\"craftedMods\":[\"+14% to Cold Resistance\"],"
        "\"fracturedMods\":[\"5% increased Attack Speed\"]}");
    /* No note of its own: the tab's price, with text behind it. */
    assert_str(b, "price_source", 1, "stash_name");
    assert_str(b, "price_kind", 1, "b/o");
    assert_int_equal(golden__int(b, "price_amount", 1), 5000000);
    assert_str(b, "extra", 1,
               "{\"newMods\":[\"brand \\\"new\\\"\",{\"mods\":[\"kept\"]}],"
               "\"implicitMods\":[\"+29% to Fire Resistance\"],"
               "\"explicitMods\":[\"+10 to Strength\",\"+55 to maximum Life\"],"
               "\"craftedMods\":[\"+14% to Cold Resistance\"],"
               "\"fracturedMods\":[\"5% increased Attack Speed\"]}");
    /* No id: the stash and the place in it. Free text says nothing of the price. */
    assert_str(b, "listing_id", 2, "aa02:2");
    assert_str(b, "item_id", 2, "");
    assert_str(b, "price_source", 2, "stash_name");
    assert_int_equal(golden__int(b, "price_amount", 2), 5000000);
    assert_int_equal(golden__int(b, "stack_size", 2), 12);
    assert_int_equal(golden__int(b, "ord", 2), 2);
    assert_int_equal(golden__int(b, "mods_hash", 2), 0);
    assert_str(b, "extra", 2,
               "{\"properties\":[{\"name\":\"Stack Size\",\"values\":[[\"12/10\",0]],"
               "\"displayMode\":0,\"progress\":0.5,\"n\":-7}]}");

    const struct batch *other = golden__batch(&rows, &table_bronze_public_stash, "other");
    /* i3, i5, i6, i8 and i9, each without the field that is no such thing; and the item of the stash
     * whose seller is a number. */
    assert_int_equal(other->n_rows, 6);
    assert_str(other, "league", 0, "My Private (PL123)");
    assert_str(other, "league_key", 0, "other");
    assert_str(other, "seller", 0, "Zo\xc3\xab");
    assert_str(other, "price_kind", 0, "");
    assert_int_equal(golden__int(other, "ord", 0), 3);
    assert_str(other, "item_id", 0, "i3"); /* Its item level was a text: unknown, not 0. */
    assert_int_equal(golden__int(other, "ilvl", 0), 65535);
    assert_str(other, "price_none", 1, "unreadable");
    assert_str(other, "price_none", 2, "unset");
    assert_int_equal(golden__int(other, "ilvl", 2), 65535); /* Not sent. */
    assert_str(other, "item_id", 3, "i8"); /* The modifier that is one stays. */
    assert_str(other, "extra", 3, "{\"explicitMods\":[\"ok\"]}");
    assert_int_equal(golden__int(other, "stack_size", 3), 1);
    assert_str(other, "item_id", 4, "i9");
    assert_int_equal(golden__int(other, "stack_size", 4), 0); /* More than fits: unknown. */
    assert_str(other, "item_id", 5, "gone");
    assert_str(other, "seller", 5, "");
    assert_int_equal(rows.n_fields_lost, 4);

    const struct batch *hc = golden__batch(&rows, &table_bronze_public_stash, "Hardcore");
    assert_int_equal(hc->n_rows, 1); /* The league of the item, as the stash names none. */
    assert_str(hc, "price_currency", 0, "fusing");
    assert_int_equal(golden__int(hc, "price_amount", 0), 500000);
    assert_str(hc, "rarity", 0, "Unique");
    assert_str(hc, "item_type_id", 0, "weapons.bow");

    const struct batch *q = golden__batch(&rows, &table_bronze_quarantine, "");
    static const char *const refused[][2] = {
        {"stashes[2].items[1].frameType", "out_of_range"}, /* No shape: a claim, and impossible. */
        {"stashes[2].items[4].typeLine", "missing_field"},
        {"stashes[2].items[5]", "wrong_type"},
    };
    assert_int_equal(q->n_rows, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_str(q, "field", i, refused[i][0]);
        assert_str(q, "reason", i, refused[i][1]);
        assert_str(q, "cursor", i, "10-20-30-40-50");
        assert_int_equal(golden__int(q, "ord", i), i);
    }
    assert_str(q, "payload", 0,
               "{\"id\":\"i4\",\"typeLine\":\"Exalted Orb\",\"ilvl\":84,\"frameType\":300}");
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_equal_modifiers_hash_equally_in_both_shapes(void **state) {
    (void)state;
    struct buf body;
    struct rows rows;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/psapi/page.json", &body));
    decode(buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    /* i2 has one list more, newMods; without it the two would be equal. */
    assert_int_not_equal(golden__int(b, "mods_hash", 0), golden__int(b, "mods_hash", 1));
    rows__fini(&rows);
    char *at = memmem(body.base, body.len, "\"newMods\"", 9);
    at[4] = 'X', at[5] = 'X', at[6] = 'X', at[7] = 'X'; /* Not a list of modifiers any more. */
    decode(buf__slice(&body), &rows);
    b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    assert_int_equal(golden__int(b, "mods_hash", 0), golden__int(b, "mods_hash", 1));
    assert_int_not_equal(golden__int(b, "mods_hash", 0), 0);
    rows__fini(&rows);
    buf__fini(&body);
}

/* Shapes of 2026: the word for the frame, flags of modifiers, [] for an empty object and {} for an
 * empty list, lists keyed by index, sockets without a colour. */
static void test_new_shapes_lose_no_row(void **state) {
    (void)state;
    static const char page[] =
        "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"s\",\"public\":true,\"league\":\"Standard\",\"stash\":\"t\","
        "\"items\":["
        "{\"typeLine\":\"Orb\",\"frameTypeId\":\"Currency\",\"stackSize\":3,\"note\":\"~price 2 alch\"},"
        "{\"typeLine\":\"Maul\",\"rarity\":\"Rare\",\"extended\":[],\"mutated\":true,\"crucible\":{\"nodes\":{\"0\":{"
        "\"skill\":1}}},\"explicitMods\":[{\"description\":\"a\\nb\",\"flags\":{\"mutated\":true}},{\"description\":\"c\","
        "\"flags\":[]},{\"description\":\"d\",\"flags\":{\"crafted\":true,\"vestigial\":true}}],\"sockets\":[{\"group\":0,"
        "\"attr\":false,\"sColour\":\"A\"},{\"group\":1,\"type\":\"rune\"}],\"note\":\"~price 6 chaos\"},"
        "{\"typeLine\":\"Ring\",\"hybrid\":[],\"influences\":[],\"properties\":null,\"sockets\":[],\"implicitMods\":null,"
        "\"enchantMods\":{},\"socketedItems\":null,\"note\":\"~price 7 chaos\"},"
        "{\"typeLine\":\"Gem\",\"frameTypeId\":\"Gem\"},{\"typeLine\":\"?\",\"frameTypeId\":[\"Gem\"]},"
        "{\"typeLine\":\"Hat\",\"oddMods\":[{\"description\":\"a\",\"flags\":{\"mutated\":true}},"
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],\"newMods\":{\"1\":\"b\"},"
        "\"implicitMods\":{\"0\":\"c\"}}]}]}";
    struct rows rows;
    decode(slice__str(page), &rows);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "Standard");
    static const int frames[] = {5, 2, 255, 4, 255, 255};
    static const int64_t prices[] = {2000000, 6000000, 7000000, 0, 0, 0};
    assert_int_equal(b->n_rows, 6);
    assert_int_equal(rows.n_fields_lost, 2); /* A word that is a list; a list that is too deep. */
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(golden__int(b, "frame_type", i) & 255, frames[i]);
        assert_int_equal(golden__int(b, "price_amount", i), prices[i]);
    }
    assert_str(b, "extra", 1,
               "{\"mutated\":true,\"crucible\":{\"nodes\":{\"0\":{\"skill\":1}}},\"sockets\":\"A ?\","
               "\"explicitMods\":[\"a\\nb\",\"c\"],\"craftedMods\":[\"d\"],\"modFlags\":[{\"flag\":\"mutated\",\"mod\":\"a\\nb\"},"
               "{\"flag\":\"vestigial\",\"mod\":\"d\"}]}");
    assert_str(b, "extra", 5, "{\"newMods\":[\"b\"],\"implicitMods\":[\"c\"]}"); /* No flag of what was lost. */
    rows__fini(&rows);
}

static void test_refusals_of_a_page_are_bounded_and_counted(void **state) {
    (void)state;
    struct buf body = buf__init(1 << 20);
    struct rows rows;
    buf__append_str(&body, "{\"next_change_id\":\"2\",\"stashes\":[0");
    for (int i = 1; i < 5000; i++) buf__append_str(&body, ",0");
    buf__append_str(&body, "]}");
    decode(buf__slice(&body), &rows);
    const struct batch *q = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(q->n_rows, 1001);
    assert_str(q, "reason", 1000, "too_many");
    assert_str(q, "value", 1000, "4000");
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_decode_survives_nesting(void **state) {
    (void)state;
    enum { DEPTH = 10000 };
    struct buf body = buf__init(1 << 20);
    struct rows rows;
    buf__append_str(&body, "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"s\",\"items\":[{"
                           "\"typeLine\":\"a\",\"unknown\":");
    for (int i = 0; i < DEPTH; i++) buf__append_str(&body, "[");
    for (int i = 0; i < DEPTH; i++) buf__append_str(&body, "]");
    buf__append_str(&body, "},{\"typeLine\":\"b\",\"properties\":");
    for (int i = 0; i < DEPTH; i++) buf__append_str(&body, "{\"k\":");
    buf__append_str(&body, "1");
    for (int i = 0; i < DEPTH; i++) buf__append_str(&body, "}");
    buf__append_str(&body, "}]}]}");
    decode(buf__slice(&body), &rows);
    assert_int_equal(golden__count(&rows, &table_bronze_public_stash), 2);
    const struct batch *b = golden__batch(&rows, &table_bronze_public_stash, "other");
    assert_str(b, "extra", 1, "{}"); /* What was too deep is lost, and nothing of it is left. */
    assert_int_equal(rows.n_fields_lost, 1);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_a_malformed_page_makes_no_rows(void **state) {
    (void)state;
    static const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    static const char *const bodies[] = {"", "{}", "{\"next_change_id\":\"1\",\"stashes\":[{}",
                                         "{\"next_change_id\":\"1\",\"stashes\":[\"\\ud8\"]}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const struct page page = {.stream = &pc, .body = slice__str(bodies[i])};
        struct rows rows = {0};
        struct err e = {0};
        assert_int_equal(source__find("psapi")->decode(&page, &context, &rows, &e), ERR_MALFORMED);
        assert_int_equal(rows__count(&rows), 0);
        assert_true(strlen(e.msg) > 0);
        rows__fini(&rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_are_one_a_realm),
        cmocka_unit_test(test_plan_seeds_asks_on_and_waits_at_the_end),
        cmocka_unit_test(test_realms_without_a_head_begin_at_the_oldest_page),
        cmocka_unit_test(test_judge_believes_only_promised_answers),
        cmocka_unit_test(test_a_cursor_that_cannot_be_kept_is_refused),
        cmocka_unit_test(test_judge_knows_a_block_page),
        cmocka_unit_test(test_decode_makes_the_expected_rows),
        cmocka_unit_test(test_equal_modifiers_hash_equally_in_both_shapes),
        cmocka_unit_test(test_new_shapes_lose_no_row),
        cmocka_unit_test(test_refusals_of_a_page_are_bounded_and_counted),
        cmocka_unit_test(test_decode_survives_nesting),
        cmocka_unit_test(test_a_malformed_page_makes_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
