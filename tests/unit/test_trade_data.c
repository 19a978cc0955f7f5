/* trade_data asks what its path says, believes only lists, and falls back where the site gives
 * nothing; its entries become the rows that they should. */
#include "../../src/vendors/ggg/trade_data_internal.h"
#include "../golden/golden.h"
#include "souk/core/clock.h"
#include "souk/lag.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define WALL_NS (INT64_C(1800000000) * NS_PER_S)
static const char *const followed[] = {"Standard"};
static const struct decode_context context = {.followed = followed, .n_followed = 1};
static const struct source_type *trade;
static struct stream_spec specs[STREAMS_MAX];

static int find_source(void **state) {
    (void)state;
    trade = source__find("trade_data");
    return trade == NULL;
}

static struct source_settings settings(const char *path) {
    static const char *const kinds[] = {"static", "items", "stats", "leagues", "filters", "change-ids"};
    return (struct source_settings){.base_url = "https://www.example",
                                    .path = path,
                                    .kinds = kinds,
                                    .n_kinds = 6,
                                    .period_ns = 3600 * NS_PER_S,
                                    .quick_ns = 60 * NS_PER_S};
}

static struct source_settings resources(void) { return settings("/api/trade/data/{resource}"); }
static struct source_settings gateway(void) { return settings("/gateway/{cursor}/page"); }

static void test_streams_follow_the_path(void **state) {
    (void)state;
    struct source_settings s = resources();
    struct err e;
    assert_int_equal(trade->streams(&s, specs, &e), 6);
    assert_string_equal(specs[0].key, "static");
    assert_string_equal(specs[0].path, "/api/trade/data/static");
    assert_string_equal(specs[5].path, "/api/trade/data/change-ids");
    static const char *const twice[] = {"static", "static"};
    s.kinds = twice;
    s.n_kinds = 2;
    assert_int_equal(trade->streams(&s, specs, &e), ERR_CONFIG);
    s = gateway();
    assert_int_equal(trade->streams(&s, specs, &e), 1);
    assert_string_equal(specs[0].kind, "listings");
    assert_string_equal(specs[0].endpoint, "trade_gateway");
    assert_string_equal(specs[0].path, "/gateway/{cursor}/page");
    char path[200];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/', path[sizeof path - 1] = '\0';
    s.path = path;
    s.n_kinds = 1;
    assert_int_equal(trade->streams(&s, specs, &e), ERR_CONFIG);
}

static void test_resources_are_asked_now_and_then_with_their_etag(void **state) {
    (void)state;
    struct source_settings s = resources();
    struct stream_state at = {0};
    struct source_request r;
    struct err e;
    trade->streams(&s, specs, &e);
    trade->plan(&s, &specs[0], &at, &r);
    assert_string_equal(r.url, "https://www.example/api/trade/data/static");
    assert_string_equal(r.endpoint, "trade_data");
    assert_int_equal(r.class, SOURCE_METADATA);
    assert_int_equal(r.n_headers, 0);
    assert_int_equal(r.not_before_mono_ns, 0);
    at.last_reply_mono_ns = NS_PER_S;
    snprintf(at.etag, sizeof at.etag, "W/\"a\"");
    trade->plan(&s, &specs[0], &at, &r);
    assert_string_equal(r.headers[0], "If-None-Match: W/\"a\"");
    assert_int_equal(r.not_before_mono_ns, 3601 * NS_PER_S);
    trade->plan(&s, &specs[5], &at, &r);
    assert_int_equal(r.not_before_mono_ns, 61 * NS_PER_S);
    at.unavailable = true;
    trade->plan(&s, &specs[5], &at, &r);
    assert_int_equal(r.not_before_mono_ns, (6 * 3600 + 1) * NS_PER_S);
    at.poked = true;
    trade->plan(&s, &specs[5], &at, &r);
    assert_int_equal(r.not_before_mono_ns, 0);
}

static int judge(const struct stream_state *at, int status, const char *body, struct page_facts *facts) {
    struct err e = {0};
    const struct source_answer answer = {.status = status, .body = slice__str(body)};
    return trade->judge(&specs[0], at, &answer, facts, &e);
}

static void test_a_resource_is_kept_when_it_changed(void **state) {
    (void)state;
    struct source_settings s = resources();
    struct stream_state at = {0};
    struct page_facts facts;
    struct err e;
    trade->streams(&s, specs, &e);
    static const char body[] = "{\"result\":[{\"id\":\"a\",\"entries\":[{\"id\":\"x\"},{\"id\":\"y\"}]},{\"id\":\"b\"}]}";
    const struct source_header etag = {SLICE_LIT("ETag"), SLICE_LIT("W/\"1\"")};
    const struct source_answer answer = {.status = 200, .headers = &etag, .n_headers = 1, .body = slice__str(body)};
    assert_int_equal(trade->judge(&specs[0], &at, &answer, &facts, &e), 0);
    assert_int_equal(facts.verdict, PAGE_NEW);
    assert_int_equal(facts.n_entries, 3);
    assert_string_equal(facts.etag, "W/\"1\"");
    assert_int_equal(strncmp(facts.next_cursor, "xxh3-", 5), 0);
    snprintf(at.cursor, sizeof at.cursor, "%s", facts.next_cursor);
    assert_int_equal(judge(&at, 200, body, &facts), 0);
    assert_int_equal(facts.verdict, PAGE_UNCHANGED);
    assert_int_equal(judge(&at, 200, "[{\"id\":\"z\"}]", &facts), 0); /* A bare list. */
    assert_int_equal(facts.verdict, PAGE_NEW);
    static const char *const wrong[] = {"",  "{",          "{}",          "[]",  "{\"result\":[]}", "{\"result\":{}}",
                                        "5", "{\"result\":[{\"entries\":[]}]}", "<html>", "{\"result\":[{\"id\":1}]"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(judge(&at, 200, wrong[i], &facts), ERR_MALFORMED);
        assert_int_equal(facts.verdict, PAGE_INVALID);
    }
}

static void test_what_is_gone_is_unavailable_and_what_fails_is_not(void **state) {
    (void)state;
    struct source_settings s = gateway();
    struct stream_state at = {0};
    struct page_facts facts;
    struct err e;
    trade->streams(&s, specs, &e);
    static const struct {
        int status;
        const char *body;
        enum page_verdict verdict;
    } cases[] = {{404, "{\"error\":1}", PAGE_UNAVAILABLE}, {410, "", PAGE_UNAVAILABLE},    {444, "", PAGE_UNAVAILABLE},
                 {403, " <html>", PAGE_UNAVAILABLE},       {403, "{}", PAGE_INVALID},      {401, "", PAGE_INVALID},
                 {429, "{\"error\":{}}", PAGE_INVALID},    {500, "<html>", PAGE_INVALID},  {0, "", PAGE_INVALID},
                 {302, "", PAGE_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_not_equal(judge(&at, cases[i].status, cases[i].body, &facts), 0);
        assert_int_equal(facts.verdict, cases[i].verdict);
    }
    at.n_failures = 1; /* Closed without an answer, again. */
    assert_int_equal(judge(&at, 0, "", &facts), ERR_UNAVAILABLE);
    assert_int_equal(facts.verdict, PAGE_UNAVAILABLE);
    const struct source_header challenge = {SLICE_LIT("CF-Mitigated"), SLICE_LIT("challenge")};
    const struct source_answer answer = {.status = 403, .headers = &challenge, .n_headers = 1};
    trade->judge(&specs[0], &at, &answer, &facts, &e);
    assert_int_equal(facts.verdict, PAGE_UNAVAILABLE);
    assert_non_null(trade->instead);
}

static void test_heads_are_the_cursor_of_change_ids(void **state) {
    (void)state;
    struct source_settings s = resources();
    struct stream_state at = {0};
    struct page_facts facts;
    struct err e;
    trade->streams(&s, specs, &e);
    specs[0] = specs[5];
    assert_int_equal(judge(&at, 200, "{\"psapi\":\"1-2\",\"x\":5,\"y z\":\"1\",\"cx\":\"9\"}", &facts), 0);
    assert_int_equal(facts.verdict, PAGE_NEW);
    assert_string_equal(facts.next_cursor, "psapi=1-2,cx=9");
    assert_true(slice__eq(lag__head(slice__str(facts.next_cursor), "pc"), SLICE_LIT("1-2")));
    snprintf(at.cursor, sizeof at.cursor, "%s", facts.next_cursor);
    assert_int_equal(judge(&at, 200, "{\"psapi\":\"1-2\",\"cx\":\"9\"}", &facts), 0);
    assert_int_equal(facts.verdict, PAGE_UNCHANGED);
    assert_int_equal(judge(&at, 200, "{\"x\":5}", &facts), ERR_MALFORMED);
    assert_int_equal(judge(&at, 200, "[]", &facts), ERR_MALFORMED);
    struct buf big = buf__init(1 << 16); /* What does not fit is left out; the rest stands. */
    buf__append_str(&big, "{\"psapi\":\"1-3\",\"b\":\"");
    for (int i = 0; i < 250; i++) buf__append_str(&big, "1");
    buf__append_str(&big, "\",\"c\":\"2\"}");
    buf__append(&big, "", 1);
    assert_int_equal(judge(&at, 200, big.base, &facts), 0);
    assert_string_equal(facts.next_cursor, "psapi=1-3,c=2");
    buf__fini(&big);
    struct rows rows = {0};
    const struct page page = {.stream = &specs[0], .body = SLICE_LIT("{\"psapi\":\"1-2\"}")};
    assert_int_equal(trade->decode(&page, &context, &rows, &e), 0);
    assert_int_equal(rows__count(&rows), 0);
    rows__fini(&rows);
}

/* A gateway: page a leads to b, whose last page leads nowhere and grows. */
static void test_cursors_are_walked_to_the_end(void **state) {
    (void)state;
    struct source_settings s = gateway();
    struct stream_state at = {0};
    struct source_request r;
    struct page_facts facts;
    struct err e;
    trade->streams(&s, specs, &e);
    trade->plan(&s, &specs[0], &at, &r);
    assert_string_equal(r.url, "https://www.example/gateway//page");
    assert_int_equal(r.expect_status, 404);
    assert_int_equal(judge(&at, 200, "{\"result\":[{}],\"next_cursor\":\"b/2\"}", &facts), 0);
    assert_int_equal(facts.verdict, PAGE_NEW);
    assert_string_equal(facts.next_cursor, "b/2");
    snprintf(at.cursor, sizeof at.cursor, "%s", facts.next_cursor);
    at.last_reply_mono_ns = NS_PER_S;
    at.memo = buf__slice(&facts.memo);
    trade->plan(&s, &specs[0], &at, &r);
    assert_string_equal(r.url, "https://www.example/gateway/b%2F2/page");
    assert_int_equal(r.not_before_mono_ns, NS_PER_S); /* At once. */
    buf__fini(&facts.memo);
    struct stream_state longest = {0}; /* The longest that is taken goes out whole. */
    memset(longest.cursor, '/', CURSOR_MAX - 1);
    trade->plan(&s, &specs[0], &longest, &r);
    assert_int_equal(strlen(r.url), strlen("https://www.example/gateway//page") + 3 * (CURSOR_MAX - 1));
    assert_string_equal(r.url + strlen(r.url) - 8, "%2F/page");
    /* The last page: kept once, then it is the end until it changes. */
    static const char last[] = "{\"result\":[{}]}";
    assert_int_equal(judge(&at, 200, last, &facts), 0);
    assert_int_equal(facts.verdict, PAGE_NEW);
    assert_string_equal(facts.next_cursor, "b/2");
    snprintf(at.etag, sizeof at.etag, "%s", facts.etag);
    at.memo = buf__slice(&facts.memo);
    trade->plan(&s, &specs[0], &at, &r);
    assert_int_equal(r.not_before_mono_ns, 61 * NS_PER_S);
    assert_int_equal(r.n_headers, 0); /* That is no ETag of the server. */
    buf__fini(&facts.memo);
    at.memo = (struct slice){0};
    assert_int_equal(judge(&at, 200, last, &facts), 0);
    assert_int_equal(facts.verdict, PAGE_EMPTY);
    assert_int_equal(judge(&at, 200, "{\"result\":[{},{}],\"next_cursor\":\"b/2\"}", &facts), 0);
    assert_int_equal(facts.verdict, PAGE_NEW);
    buf__fini(&facts.memo);
    assert_int_equal(judge(&at, 200, "{\"result\":[]}", &facts), 0);
    assert_int_equal(facts.verdict, PAGE_EMPTY);
    assert_int_equal(judge(&at, 200, "{\"result\":[],\"next_cursor\":5}", &facts), ERR_MALFORMED);
    assert_int_equal(judge(&at, 200, "{\"result\":[],\"next_cursor\":\"a b\"}", &facts), ERR_MALFORMED);
    assert_int_equal(judge(&at, 200, "{\"next_cursor\":\"c\"}", &facts), ERR_MALFORMED);
}

static void decode_body(const char *kind, struct slice body, struct rows *rows) {
    struct err e = {0};
    struct stream_spec stream = {.key = "k"};
    snprintf(stream.kind, sizeof stream.kind, "%s", kind);
    const struct page page = {.stream = &stream,
                              .cursor_from = SLICE_LIT("c1"),
                              .cursor_to = SLICE_LIT("c2"),
                              .received_wall_ns = WALL_NS,
                              .http_status = 200,
                              .limits_raw = SLICE_LIT("x-rate-limit-ip: 12:4:10"),
                              .lsn = 5,
                              .body = body};
    *rows = (struct rows){0};
    if (trade->decode(&page, &context, rows, &e) != 0) fail_msg("%s", e.msg);
}

static void decode(const char *kind, const char *file, struct rows *rows) {
    struct buf body;
    char path[128];
    snprintf(path, sizeof path, "tests/data/trade/%s", file);
    assert_true(golden__load("SOUK_SOURCE", path, &body));
    decode_body(kind, buf__slice(&body), rows);
    buf__fini(&body);
}

static void test_entries_without_end_are_bounded_and_say_so(void **state) {
    struct buf body = buf__init(8 << 20);
    struct rows rows;
    (void)state;
    buf__append_str(&body, "{\"result\":[{\"id\":\"a\",\"entries\":[");
    put_many(&body, TRADE_ENTRIES_MAX / 2, "{\"id\":\"x\",\"text\":\"X\"}");
    buf__append_str(&body, "]},{\"id\":\"b\",\"entries\":["); /* Of the body, not of a group. */
    put_many(&body, TRADE_ENTRIES_MAX / 2 + 7, "{\"id\":\"y\",\"text\":\"Y\"}");
    buf__append_str(&body, "]}]}");
    decode_body("static", buf__slice(&body), &rows);
    assert_bounded(&rows, &table_bronze_trade_metadata, TRADE_ENTRIES_MAX, "7");
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_entries_become_rows(void **state) {
    (void)state;
    struct rows rows;
    decode("static", "static.json", &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_trade_metadata, "other");
    assert_int_equal(b->n_rows, 3); /* Three are refused, and neither a separator nor a heading is a thing. */
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 3);
    assert_str(b, "origin", 0, "resource");
    assert_str(b, "service", 0, "trade_data");
    assert_str(b, "trade_id", 0, "chaos");
    assert_str(b, "item_id", 1, "divine");
    assert_str(b, "item_type", 0, "static");
    assert_str(b, "trade_category", 0, "Currency");
    assert_str(b, "trade_category", 2, "Cards");
    assert_str(b, "payload", 1, "{\"id\":\"divine\",\"text\":\"Divine Orb\"}");
    assert_str(b, "rate_limit_raw", 0, "x-rate-limit-ip: 12:4:10");
    assert_str(b, "cursor", 0, "c1");
    assert_int_equal(golden__int(b, "http_status", 0), 200);
    assert_int_equal(golden__int(b, "listing_ts", 0), 0);
    assert_int_equal(golden__int(b, "ts", 0), WALL_NS / NS_PER_MS);
    assert_int_equal(golden__int(b, "ord", 1), 2);
    assert_int_equal(golden__str(b, "trade_data_hash", 0).len, 32);
    const struct batch *q = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_str(q, "reason", 0, "wrong_type");
    assert_str(q, "field", 0, "result[0].entries[3].id");
    assert_str(q, "reason", 1, "missing_field");
    assert_str(q, "reason", 2, "wrong_type");
    rows__fini(&rows);

    decode("items", "items.json", &rows);
    b = golden__batch(&rows, &table_bronze_trade_metadata, "other");
    assert_int_equal(b->n_rows, 3);
    assert_str(b, "trade_id", 0, "Ahkeli's Meadow Ruby Ring");
    assert_str(b, "trade_id", 1, "Ruby Ring");
    assert_str(b, "trade_id", 2, "Arctic Map");
    assert_str(b, "variation_id", 2, "warfortheatlas");
    assert_str(b, "trade_category", 0, "accessory");
    rows__fini(&rows);

    decode("stats", "stats.json", &rows);
    b = golden__batch(&rows, &table_bronze_trade_metadata, "other");
    assert_int_equal(b->n_rows, 3);
    assert_str(b, "variation_id", 2, "Arsenal");
    assert_str(b, "trade_category", 2, "");
    rows__fini(&rows);

    decode("filters", "filters.json", &rows);
    b = golden__batch(&rows, &table_bronze_trade_metadata, "other");
    assert_int_equal(b->n_rows, 2);
    assert_str(b, "trade_category", 1, "type_filters");
    rows__fini(&rows);

    decode("leagues", "leagues.json", &rows);
    b = golden__batch(&rows, &table_bronze_trade_metadata, "other");
    assert_int_equal(b->n_rows, 2);
    assert_str(b, "realm", 1, "xbox");
    rows__fini(&rows);
}

static void test_listings_become_rows(void **state) {
    (void)state;
    struct rows rows;
    decode("listings", "listings.json", &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_trade_metadata, "Standard");
    assert_int_equal(b->n_rows, 1);
    assert_str(b, "origin", 0, "remote");
    assert_str(b, "trade_id", 0, "t1");
    assert_str(b, "item_id", 0, "i1");
    assert_str(b, "item_type", 0, "currency");
    assert_str(b, "variation_id", 0, "v");
    assert_str(b, "trade_category", 0, "exchange");
    assert_str(b, "trade_data_hash", 0, "abc");
    assert_int_equal(golden__int(b, "price_change_flag", 0), 1);
    assert_int_equal(golden__int(b, "listing_ts", 0), INT64_C(1791374400000));
    assert_int_equal(golden__int(b, "delist_ts", 0), 0);
    b = golden__batch(&rows, &table_bronze_trade_metadata, "other");
    assert_int_equal(b->n_rows, 2);
    assert_int_equal(golden__int(b, "price_change_flag", 0), 0);
    assert_str(b, "trade_id", 1, "t7"); /* Its flag is 2: not known, which is not 0. */
    assert_int_equal(golden__int(b, "price_change_flag", 1), 255);
    assert_str(b, "item_type", 1, ""); /* A list, and the realm an object. */
    assert_int_equal(rows.n_fields_lost, 3);
    assert_str(b, "league", 0, "Far away");
    assert_int_equal(golden__int(b, "listing_ts", 0), INT64_C(1791374400000));
    assert_int_equal(golden__int(b, "delist_ts", 0), INT64_C(1791374460500));
    assert_int_equal(golden__str(b, "trade_data_hash", 0).len, 32);
    const struct batch *q = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(q->n_rows, 5);
    static const char *const fields[] = {"result[2].listing_ts", "result[3].trade_id", "result[4].listing_ts",
                                         "result[5].listing_ts", "result[7]"};
    static const char *const reasons[] = {"missing_field", "missing_field", "wrong_type", "out_of_range",
                                          "wrong_type"};
    for (size_t i = 0; i < 5; i++) {
        assert_str(q, "field", i, fields[i]);
        assert_str(q, "reason", i, reasons[i]);
    }
    rows__fini(&rows);
}

static void test_a_page_that_is_none_makes_no_rows(void **state) {
    (void)state;
    static const struct stream_spec stream = {.kind = "static"};
    static const char *const bodies[] = {"", "{}", "<html>", "{\"result\":5}", "[1"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct rows rows = {0};
        struct err e;
        const struct page page = {.stream = &stream, .body = slice__str(bodies[i])};
        assert_int_equal(trade->decode(&page, &context, &rows, &e), ERR_MALFORMED);
        assert_int_equal(rows__count(&rows), 0);
        rows__fini(&rows);
    }
}

/* The bodies written by hand, and bodies of 2019, 2020 and 2026 with the entries that they hold.
 * Lists of 2026 were stored without their envelope, and the stats without their groups. */
static const struct {
    enum data_origin origin;
    const char *kind, *file;
    size_t n_entries, n_separators;
} lists[] = {
    {DATA_MADE, "static", "data-static-2026-08.json.gz", 122, 5},
    {DATA_MADE, "static", "data-static-2019.json.gz", 95, 0},
    {DATA_MADE, "items", "data-items-2019-12.json.gz", 126, 0},
    {DATA_MADE, "items", "data-items-2019-09.json.gz", 86, 0},
    {DATA_MADE, "stats", "data-stats-2026-08.json.gz", 300, 0},
    {DATA_MADE, "stats", "data-stats-2019.json.gz", 180, 0},
    {DATA_MADE, "filters", "data-filters-2026-08.json.gz", 5, 0},
    {DATA_MADE, "leagues", "data-leagues-2020.json", 4, 0},
    {DATA_MADE, "leagues", "leagues-poe1-2026-08.json", 6, 0},
    {DATA_RECORDED, "static", "data-static-2026-08.json.gz", 1434, 23},
    {DATA_RECORDED, "static", "data-static-2019-12.json.gz", 1265, 0},
    {DATA_RECORDED, "items", "data-items-2019-12.json.gz", 4231, 0},
    {DATA_RECORDED, "items", "data-items-2019-09.json.gz", 3863, 0},
    {DATA_RECORDED, "stats", "data-stats-2026-08.json.gz", 18279, 0},
    {DATA_RECORDED, "stats", "data-stats-2019-12.json.gz", 5263, 0},
    {DATA_RECORDED, "stats", "data-stats-2019-09.json.gz", 4809, 0},
    {DATA_RECORDED, "filters", "data-filters-2026-08.json.gz", 93, 0},
    {DATA_RECORDED, "leagues", "data-leagues-2020-delirium.json.gz", 4, 0},
    {DATA_RECORDED, "leagues", "leagues-poe1-2026-08.json", 8, 0},
};

static void check_list(size_t i, struct buf *digest) {
    struct buf body;
    struct rows rows = {0};
    struct stream_state at = {0};
    struct page_facts facts;
    struct err e = {0};
    char path[128];
    snprintf(path, sizeof path, "trade/%s", lists[i].file);
    golden__body(lists[i].origin, path, &body);
    struct stream_spec stream = {.key = "k"};
    snprintf(stream.kind, sizeof stream.kind, "%s", lists[i].kind);
    const struct source_answer answer = {.status = 200, .body = buf__slice(&body)};
    if (trade->judge(&stream, &at, &answer, &facts, &e) != 0) fail_msg("%s: %s", path, e.msg);
    assert_int_equal(facts.verdict, PAGE_NEW);
    if (facts.n_entries != lists[i].n_entries)
        fail_msg("%s has %u entries", path, facts.n_entries);
    const struct page page = {.stream = &stream,
                              .received_wall_ns = WALL_NS,
                              .http_status = 200,
                              .lsn = 5,
                              .body = buf__slice(&body)};
    if (trade->decode(&page, &context, &rows, &e) != 0) fail_msg("%s: %s", path, e.msg);
    assert_int_equal(golden__count(&rows, &table_bronze_trade_metadata),
                     lists[i].n_entries - lists[i].n_separators);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    golden__digest(&rows, lists[i].file, digest);
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_bodies_of_every_age_make_committed_digests(enum data_origin origin) {
    static const char *const by_hand[] = {"static",  "items",   "stats",
                                          "filters", "leagues", "listings"};
    struct buf got = buf__init(1 << 16);
    for (size_t i = 0; origin == DATA_MADE && i < sizeof by_hand / sizeof *by_hand; i++) {
        struct rows rows;
        char file[64];
        snprintf(file, sizeof file, "%s.json", by_hand[i]);
        decode(by_hand[i], file, &rows);
        golden__digest(&rows, file, &got);
        rows__fini(&rows);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i].origin == origin) check_list(i, &got);
    assert_true(golden__same("trade", origin, &got));
    buf__fini(&got);
}
DATA_TESTS_OF(test_bodies_of_every_age_make_committed_digests)

/* Truncated anywhere, a body is refused as a whole or read as a whole. */
static void test_truncated_bodies_are_refused(void **state) {
    (void)state;
    struct buf body;
    struct stream_state at = {0};
    struct page_facts facts;
    struct err e;
    static const struct stream_spec stream = {.kind = "static"};
    assert_true(golden__load("SOUK_SOURCE", "tests/data/trade/static.json", &body));
    size_t end = body.len;
    while (end > 0 && body.base[end - 1] == '\n') end--;
    for (size_t len = 0; len < end; len++) {
        char *cut = malloc(len + 1); /* Of its own length, so that a read beyond it is seen. */
        memcpy(cut, body.base, len);
        const struct source_answer answer = {.status = 200, .body = slice__of(cut, len)};
        assert_int_not_equal(trade->judge(&stream, &at, &answer, &facts, &e), 0);
        assert_int_equal(facts.verdict, PAGE_INVALID);
        free(cut);
    }
    buf__fini(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_follow_the_path),
        cmocka_unit_test(test_resources_are_asked_now_and_then_with_their_etag),
        cmocka_unit_test(test_a_resource_is_kept_when_it_changed),
        cmocka_unit_test(test_what_is_gone_is_unavailable_and_what_fails_is_not),
        cmocka_unit_test(test_heads_are_the_cursor_of_change_ids),
        cmocka_unit_test(test_cursors_are_walked_to_the_end),
        cmocka_unit_test(test_entries_become_rows),
        cmocka_unit_test(test_entries_without_end_are_bounded_and_say_so),
        cmocka_unit_test(test_listings_become_rows),
        cmocka_unit_test(test_a_page_that_is_none_makes_no_rows),
        DATA_TESTS(test_bodies_of_every_age_make_committed_digests),
        cmocka_unit_test(test_truncated_bodies_are_refused),
    };
    return cmocka_run_group_tests(tests, find_source, NULL);
}
