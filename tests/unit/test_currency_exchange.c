/* currency_exchange goes from hour to hour, tells late from missing, and keeps every market. */
#include "../../src/vendors/ggg/currency_exchange_internal.h"
#include "../golden/golden.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define H INT64_C(1800000000) /* Of the digest in tests/data. */
static const char *const followed[] = {"Standard"};
static const struct decode_context context = {.followed = followed, .n_followed = 1};
static const char *const pc[] = {"pc"};
static const struct source_type *cx;

/* One stream against an upstream that the test plays. */
struct fixture {
    struct source_settings settings;
    struct stream_spec spec;
    struct stream_state at;
    struct source_request request;
    struct page_facts facts;
    struct buf memo, keep;
    struct err e;
};

static void set_up(struct fixture *f, const char *start, bool oauth, int64_t wall_s) {
    static struct stream_spec specs[STREAMS_MAX];
    *f = (struct fixture){.settings = {.base_url = "http://h/api", .start = start, .realms = pc, .n_realms = 1,
                                       .period_ns = 3600 * NS_PER_S, .quick_ns = 180 * NS_PER_S, .use_oauth = oauth}};
    assert_int_equal(cx->streams(&f->settings, specs, &f->e), 1);
    f->spec = specs[0];
    f->at.now = (struct clock){.mono_ns = 1000 * NS_PER_S, .wall_ns = wall_s * NS_PER_S};
}
static void assert_note(const struct fixture *f, const char *want) {
    struct buf out = buf__init(256);
    struct stream_state at = f->at;
    at.memo = buf__slice(&f->memo);
    cx->note(&f->settings, &f->spec, &at, &out);
    if (!slice__eq(buf__slice(&out), slice__str(want))) fail_msg("the note is %.*s", SLICE_FMT(buf__slice(&out)));
    buf__fini(&out);
}
static void tear_down(struct fixture *f) {
    buf__fini(&f->memo);
    buf__fini(&f->keep);
}
static void pass_s(struct fixture *f, int64_t s) {
    f->at.now.mono_ns += s * NS_PER_S;
    f->at.now.wall_ns += s * NS_PER_S;
}
/* @return the seconds until the next request, and checks what it asks for. */
static int64_t ask(struct fixture *f, const char *url) {
    f->at.memo = buf__slice(&f->memo);
    cx->plan(&f->settings, &f->spec, &f->at, &f->request);
    assert_string_equal(f->request.url, url);
    assert_int_equal(f->request.expect_status, 404);
    int64_t wait_ns = f->request.not_before_mono_ns - f->at.now.mono_ns;
    return f->request.not_before_mono_ns == 0 || wait_ns < 0 ? 0 : wait_ns / NS_PER_S;
}
/* As the poller does with an answer. */
static enum page_verdict answer(struct fixture *f, int status, const char *body) {
    const struct source_answer a = {.status = status, .body = slice__str(body)};
    f->at.memo = buf__slice(&f->memo);
    f->at.poked = f->at.unavailable = false;
    f->at.last_reply_mono_ns = f->at.now.mono_ns;
    int code = cx->judge(&f->spec, &f->at, &a, &f->facts, &f->e);
    enum page_verdict v = f->facts.verdict;
    if (v == PAGE_INVALID || v == PAGE_REWIND || v == PAGE_REPEAT) {
        assert_int_not_equal(code, 0);
        f->at.n_failures++;
    } else {
        f->at.n_failures = 0;
    }
    if (v == PAGE_NEW || v == PAGE_EMPTY) f->at.caught_up = v == PAGE_EMPTY;
    f->at.unavailable = v == PAGE_UNAVAILABLE;
    if (f->facts.memo.len > 0) {
        buf__fini(&f->memo);
        f->memo = f->facts.memo;
    }
    buf__fini(&f->keep);
    f->keep = f->facts.keep;
    if (v == PAGE_NEW) snprintf(f->at.cursor, sizeof f->at.cursor, "%s", f->facts.next_cursor);
    return v;
}
static const char *digest(int64_t next, const char *markets) {
    static char text[128];
    snprintf(text, sizeof text, "{\"next_change_id\":%lld,\"markets\":[%s]}", (long long)next, markets);
    return text;
}
static const char *url(int64_t hour) {
    static char text[64];
    snprintf(text, sizeof text, "http://h/api/currency-exchange/%lld", (long long)hour);
    return text;
}

static int find_source(void **state) {
    (void)state;
    cx = source__find("currency_exchange");
    return cx == NULL;
}

static void test_hours_are_multiples_of_3600(void **state) {
    int64_t hour;
    (void)state;
    assert_true(exchange__hour(SLICE_LIT("1722027600"), &hour));
    assert_int_equal(hour, EXCHANGE_FIRST_HOUR);
    static const char *const wrong[] = {"", "0", "1722027601", "-3600", "+3600", "36 00", "3600x", "9999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(exchange__hour(slice__str(wrong[i]), &hour));
    assert_int_equal(exchange__last_complete((H + 3599) * NS_PER_S), H - 3600);
    assert_int_equal(exchange__last_complete((H + 3600) * NS_PER_S), H);
    assert_false(exchange__is_old(H, (H + 3 * 3600) * NS_PER_S));
    assert_true(exchange__is_old(H, (H + 3 * 3600 + 1) * NS_PER_S));
    char path[48] = "";
    assert_true(exchange__path(path, sizeof path, "poe2", H));
    assert_string_equal(path, "/currency-exchange/poe2/1800000000");
    char small[20] = "";
    assert_false(exchange__path(small, sizeof small, "pc", H));
}

static void test_cursors_are_hours_or_times(void **state) {
    char cursor[CURSOR_MAX];
    struct err e;
    (void)state;
    assert_int_equal(exchange__cursor("1800000000", cursor, &e), 0);
    assert_string_equal(cursor, "1800000000");
    /* All before the time is kept: the hour that it lies in is asked for. 1800000000 is 08:00. */
    assert_int_equal(exchange__cursor("2027-01-15T08:59:59Z", cursor, &e), 0);
    assert_string_equal(cursor, "1799996400");
    assert_int_equal(exchange__cursor("2027-01-15T09:00:00Z", cursor, &e), 0);
    assert_string_equal(cursor, "1800000000");
    assert_int_equal(exchange__cursor("2027-01-15T09:00Z", cursor, &e), 0);
    assert_string_equal(cursor, "1800000000");
    static const char *const wrong[] = {"", "1800000001", "latest", "2027-01-15", "2027-01-15 09:00Z", "2027-01-15T09:0xZ", "1970-01-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(exchange__cursor(wrong[i], cursor, &e), ERR_CONFIG);
    assert_true(exchange__reached("1800000000", "1800000000"));
    assert_true(exchange__reached("1800003600", "1800000000")); /* Over a gap. */
    assert_false(exchange__reached("1799996400", "1800000000"));
    assert_false(exchange__reached("", "1800000000"));
}

static void test_streams_are_realms(void **state) {
    static struct stream_spec specs[STREAMS_MAX];
    static const char *const realms[] = {"pc", "sony", "poe2"}, *const twice[] = {"pc", "pc"}, *const wrong[] = {"mac"};
    struct source_settings s = {.base_url = "http://h", .start = "oldest", .realms = realms, .n_realms = 3};
    struct err e;
    (void)state;
    assert_int_equal(cx->streams(&s, specs, &e), 3);
    assert_string_equal(specs[1].path, "/currency-exchange/sony");
    assert_string_equal(specs[1].endpoint, "currency_exchange"); /* One CDN, one pace. */
    s.use_oauth = true;
    assert_int_equal(cx->streams(&s, specs, &e), 3);
    assert_string_equal(specs[0].endpoint, "currency_exchange");
    assert_string_equal(specs[1].endpoint, "currency_exchange_sony");
    s.start = "1722027601";
    assert_int_equal(cx->streams(&s, specs, &e), ERR_CONFIG);
    s = (struct source_settings){.start = "latest", .realms = twice, .n_realms = 2};
    assert_int_equal(cx->streams(&s, specs, &e), ERR_CONFIG);
    s = (struct source_settings){.start = "latest", .realms = wrong, .n_realms = 1};
    assert_int_equal(cx->streams(&s, specs, &e), ERR_CONFIG);
}

static void test_the_latest_hour_is_followed_by_the_clock(void **state) {
    struct fixture f;
    (void)state;
    set_up(&f, "latest", false, H + 3600 + 60); /* The hour H is over, but too young to be there. */
    assert_int_equal(ask(&f, url(H - 3600)), 0);
    assert_note(&f, "");
    assert_null(f.request.scope);
    assert_int_equal(f.request.class, SOURCE_TAIL);
    assert_int_equal(answer(&f, 200, digest(H, "{}")), PAGE_NEW);
    assert_string_equal(f.at.cursor, "1799996400");
    assert_int_equal(ask(&f, url(H)), 120); /* quick_ns after its end. */
    pass_s(&f, 120);
    assert_int_equal(ask(&f, url(H)), 0);
    assert_int_equal(answer(&f, 404, digest(H, "")), PAGE_EMPTY); /* Late; the CDN's form. */
    assert_int_equal(ask(&f, url(H)), 180);
    pass_s(&f, 180);
    assert_int_equal(answer(&f, 200, digest(H, "")), PAGE_EMPTY); /* The API's: next is the id. */
    pass_s(&f, 180);
    assert_int_equal(answer(&f, 200, digest(H + 3600, "")), PAGE_EMPTY); /* Empty is never kept. */
    assert_int_equal(ask(&f, url(H)), 180);
    f.at.poked = true; /* Somebody wants it now. */
    assert_int_equal(ask(&f, url(H)), 0);
    assert_int_equal(answer(&f, 200, digest(H + 3600, "{}")), PAGE_NEW);
    assert_int_equal(ask(&f, url(H + 3600)), 3600 + 180 - 60 - 120 - 180 - 180);
    f.at.poked = true; /* What is not over cannot be there. */
    assert_true(ask(&f, url(H + 3600)) > 0);
    tear_down(&f);
}

static void test_behind_it_asks_on_at_once_as_backfill(void **state) {
    struct fixture f;
    (void)state;
    set_up(&f, "1799964000", false, H + 3600 + 600); /* Ten hours before H. */
    for (int64_t hour = H - 36000; hour <= H; hour += 3600) {
        assert_int_equal(ask(&f, url(hour)), 0);
        assert_int_equal(f.request.class, hour + 3 * 3600 < H + 3600 + 600 ? SOURCE_BACKFILL : SOURCE_TAIL);
        assert_int_equal(answer(&f, 200, digest(hour + 3600, "{}")), PAGE_NEW);
    }
    assert_int_equal(ask(&f, url(H + 3600)), 3600 - 600 + 180);
    assert_note(&f, "next is the hour 2027-01-15T09:00Z");
    snprintf(f.at.cursor, sizeof f.at.cursor, "1799992800");
    assert_note(&f, "2 hours behind, next is 2027-01-15T07:00Z");
    tear_down(&f);
    set_up(&f, "oldest", false, H);
    assert_int_equal(ask(&f, "http://h/api/currency-exchange"), 0); /* Upstream says which is its first. */
    assert_int_equal(answer(&f, 200, digest(EXCHANGE_FIRST_HOUR + 3600, "{}")), PAGE_NEW);
    assert_int_equal(ask(&f, url(EXCHANGE_FIRST_HOUR + 3600)), 0);
    tear_down(&f);
}

static void decode(struct fixture *f, const char *from, struct slice body, struct rows *rows) {
    const struct page page = {.stream = &f->spec, .cursor_from = slice__str(from), .cursor_to = slice__str(f->at.cursor),
                              .received_wall_ns = f->at.now.wall_ns, .lsn = 7, .body = body};
    *rows = (struct rows){0};
    if (cx->decode(&page, &context, rows, &f->e) != 0) fail_msg("%s", f->e.msg);
}

static void test_a_missing_hour_is_a_gap_once_a_later_one_is_there(void **state) {
    struct fixture f;
    struct rows rows;
    (void)state;
    set_up(&f, "1799964000", false, H);
    assert_int_equal(answer(&f, 200, digest(H - 36000 + 3600, "{}")), PAGE_NEW);
    assert_int_equal(ask(&f, url(H - 32400)), 0);
    assert_int_equal(answer(&f, 404, digest(H - 32400, "")), PAGE_EMPTY);
    assert_int_equal(ask(&f, url(H - 28800)), 0); /* Is the next one there? At once. */
    assert_int_equal(answer(&f, 404, "<html>gone"), PAGE_EMPTY); /* Removed: whatever the page says. */
    assert_int_equal(ask(&f, url(H - 25200)), 0);
    assert_note(&f, "hour 2027-01-14T23:00Z is missing, and 1 behind it: looks for a later one");
    const char *there = digest(H - 21600, "{}");
    assert_int_equal(answer(&f, 200, there), PAGE_NEW);
    decode(&f, "1799964000", slice__str(there), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_exchange_gaps, "");
    assert_int_equal(b->n_rows, 2);
    assert_int_equal(golden__int(b, "hour_ts", 0), (H - 32400) * 1000);
    assert_int_equal(golden__int(b, "hour_ts", 1), (H - 28800) * 1000);
    assert_int_equal(golden__int(b, "next_hour_ts", 1), (H - 25200) * 1000);
    assert_str(b, "reason", 0, "later_hour");
    assert_int_equal(golden__int(b, "ord", 1), 1);
    rows__fini(&rows);
    assert_int_equal(ask(&f, url(H - 21600)), 0); /* The search is over. */
    tear_down(&f);
}

static void test_a_pause_of_upstream_makes_no_gaps(void **state) {
    struct fixture f;
    (void)state;
    set_up(&f, "1799985600", false, H); /* Four hours: two of them could be late. */
    assert_int_equal(answer(&f, 404, digest(H - 14400, "")), PAGE_EMPTY);
    assert_int_equal(ask(&f, url(H - 10800)), 0);
    assert_int_equal(answer(&f, 404, digest(H - 10800, "")), PAGE_EMPTY);
    assert_int_equal(ask(&f, url(H - 14400)), 900); /* Nothing is published: from the start, later. */
    assert_note(&f, "hour 2027-01-15T04:00Z is missing, and nothing later is there yet");
    assert_string_equal(f.at.cursor, "");
    tear_down(&f);
}

static void test_a_day_without_digests_is_a_gap_of_a_day(void **state) {
    struct fixture f;
    struct rows rows;
    (void)state;
    set_up(&f, "1722027600", false, H);
    for (int64_t i = 0; i < EXCHANGE_SKIP_MAX - 1; i++) {
        assert_int_equal(ask(&f, url(EXCHANGE_FIRST_HOUR + i * 3600)), 0);
        assert_int_equal(answer(&f, 404, digest(EXCHANGE_FIRST_HOUR + i * 3600, "")), PAGE_EMPTY);
    }
    int64_t last = EXCHANGE_FIRST_HOUR + (EXCHANGE_SKIP_MAX - 1) * 3600;
    assert_int_equal(ask(&f, url(last)), 0);
    assert_int_equal(answer(&f, 404, digest(last, "")), PAGE_NEW);
    decode(&f, "", buf__slice(&f.keep), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_exchange_gaps, "");
    assert_int_equal(b->n_rows, EXCHANGE_SKIP_MAX);
    assert_int_equal(golden__int(b, "hour_ts", EXCHANGE_SKIP_MAX - 1), last * 1000);
    assert_str(b, "reason", 0, "day_missing");
    rows__fini(&rows);
    assert_int_equal(ask(&f, url(last + 3600)), 0);
    tear_down(&f);
    /* A wrong address has no hours at all, and makes no gaps. */
    set_up(&f, "1722027600", false, H);
    enum page_verdict v = PAGE_EMPTY;
    for (int i = 0; i < 2 * EXCHANGE_SKIP_MAX && v == PAGE_EMPTY; i++) v = answer(&f, 404, "{\"error\":{\"code\":1}}");
    assert_int_equal(v, PAGE_INVALID);
    assert_true(f.facts.too_old); /* What a backfill ends with. */
    assert_non_null(strstr(f.e.msg, "nothing so old: no hour of the 24 from 1722027600 on"));
    assert_int_equal(ask(&f, url(EXCHANGE_FIRST_HOUR)), 300);
    tear_down(&f);
}

/* The machine was started ten days ahead: hours that are yet to come are not missing, and are asked
 * for in their turn once they are over. Nobody else's word moves it ahead. */
static void test_hours_to_come_by_other_clocks_are_not_missing(void **state) {
    struct fixture f;
    char start[24];
    (void)state;
    snprintf(start, sizeof start, "%lld", (long long)H);
    set_up(&f, start, false, H + 2 * 3600 + 240 + 240 * 3600);
    f.at.cautious_wall_ns = (H + 2 * 3600 + 240) * NS_PER_S;
    assert_int_equal(ask(&f, url(H)), 0);
    assert_int_equal(answer(&f, 200, digest(H + 3600, "{}")), PAGE_NEW);
    assert_int_equal(ask(&f, url(H + 3600)), 0);
    assert_int_equal(answer(&f, 200, digest(H + 7200, "{}")), PAGE_NEW);
    for (int i = 0; i < 100; i++) { /* It is not over, whatever our clock says. */
        ask(&f, url(H + 7200));
        assert_int_equal(answer(&f, 404, digest(H + 7200, "")), PAGE_EMPTY);
    }
    f.at.now.wall_ns = f.at.cautious_wall_ns = (H + 3 * 3600 + 240) * NS_PER_S; /* Mended. */
    f.at.now.mono_ns += 1000 * NS_PER_S;
    assert_int_equal(ask(&f, url(H + 7200)), 0);
    assert_int_equal(answer(&f, 200, digest(H + 3 * 3600, "{}")), PAGE_NEW);
    f.at.cautious_wall_ns += 100 * 3600 * NS_PER_S; /* Later than ours: ours counts. */
    for (int i = 0; i < 30; i++) {
        ask(&f, url(H + 3 * 3600));
        assert_int_equal(answer(&f, 404, digest(H + 3 * 3600, "")), PAGE_EMPTY);
    }
    tear_down(&f);
}

static void test_other_hours_are_refused(void **state) {
    struct fixture f;
    (void)state;
    set_up(&f, "latest", false, H + 4000);
    assert_int_equal(answer(&f, 200, digest(H, "{}")), PAGE_NEW);
    assert_int_equal(answer(&f, 200, digest(H - 3600, "{}")), PAGE_REWIND);
    assert_int_equal(answer(&f, 200, digest(H, "{}")), PAGE_REPEAT);
    assert_int_equal(answer(&f, 200, digest(H + 7200, "{}")), PAGE_INVALID); /* Not over yet. */
    assert_int_equal(answer(&f, 404, digest(H + 3600, "{}")), PAGE_INVALID);
    assert_int_equal(answer(&f, 200, digest(H + 3601, "{}")), PAGE_INVALID);
    static const char *const bodies[] = {"", "{}", "[]", "null", "<html>", "{\"next_change_id\":1800003600",
                                         "{\"next_change_id\":1800003600}", "{\"next_change_id\":-3600,\"markets\":[]}",
                                         "{\"next_change_id\":1800003600.5,\"markets\":[]}",
                                         "{\"next_change_id\":1800003600,\"markets\":{}}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        assert_int_equal(answer(&f, 200, bodies[i]), PAGE_INVALID);
        assert_int_equal(f.facts.block_page, bodies[i][0] == '<');
        assert_int_equal(answer(&f, 404, bodies[i]), PAGE_INVALID); /* Of a recent hour. */
    }
    assert_string_equal(f.at.cursor, "1799996400");
    assert_int_equal(answer(&f, 200, digest(H + 3600, "{}")), PAGE_NEW);
    tear_down(&f);
}

static void test_the_cdn_is_left_alone_and_a_scope_can_lack(void **state) {
    struct fixture f;
    (void)state;
    static const int rest[] = {403, 405, 410, 503};
    set_up(&f, "latest", false, H + 4000);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(answer(&f, rest[i], i == 0 ? "<html>" : ""), PAGE_INVALID);
        assert_int_equal(ask(&f, url(H)), 300);
        assert_true(f.request.expect_4xx); /* Or the second 403 would be the end of the endpoint. */
    }
    assert_int_equal(answer(&f, 500, ""), PAGE_INVALID); /* The poller's own pace is enough. */
    assert_int_equal(ask(&f, url(H)), 0);
    assert_int_equal(answer(&f, 0, ""), PAGE_INVALID);
    tear_down(&f);
    set_up(&f, "latest", true, H + 4000);
    ask(&f, url(H));
    assert_string_equal(f.request.scope, "service:cxapi");
    assert_false(f.request.expect_4xx);
    assert_int_equal(answer(&f, 403, "{\"error\":{\"code\":6,\"message\":\"Forbidden\"}}"), PAGE_UNAVAILABLE);
    assert_int_equal(ask(&f, url(H)), 3600);
    assert_int_equal(answer(&f, 403, "<html>"), PAGE_INVALID); /* A block page says nothing of scopes. */
    assert_int_equal(answer(&f, 401, "{}"), PAGE_INVALID);
    tear_down(&f);
}

static void test_a_digest_becomes_rows(void **state) {
    struct fixture f;
    struct buf body;
    struct rows rows;
    (void)state;
    set_up(&f, "latest", false, H + 4000);
    assert_true(golden__load("SOUK_SOURCE", "tests/data/exchange/digest.json", &body));
    decode(&f, "1799996400", buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_exchange_events, "Standard");
    assert_int_equal(b->n_rows, 2);
    assert_null(golden__batch(&rows, &table_bronze_exchange_gaps, ""));
    assert_int_equal(golden__int(b, "hour_ts", 0), H * 1000);
    assert_int_equal(golden__int(b, "next_change_id", 0), H + 3600);
    assert_str(b, "realm", 0, "pc");
    assert_str(b, "base", 0, "Metadata/Items/Chaos");
    assert_str(b, "quote", 0, "Metadata/Items/Divine");
    assert_int_equal(golden__int(b, "volume_base", 0), 20140);
    assert_int_equal(golden__int(b, "volume_quote", 0), 100);
    /* Upstream's lowest is the higher one in divines per chaos. */
    assert_true(golden__f64(b, "lowest_ratio", 0) == 1.0 / 204);
    assert_true(golden__f64(b, "highest_ratio", 0) == 1.0 / 199);
    assert_int_equal(golden__int(b, "lowest_ratio_base", 0), 199);
    assert_int_equal(golden__int(b, "highest_stock_quote", 0), 60);
    assert_str(b, "base", 1, "chaos"); /* From market_id. */
    assert_str(b, "quote", 1, "frag");
    assert_true(golden__f64(b, "lowest_ratio", 1) == 0.5);
    assert_true(golden__f64(b, "highest_ratio", 1) == 2);
    b = golden__batch(&rows, &table_bronze_exchange_events, "other");
    assert_int_equal(b->n_rows, 1);
    assert_str(b, "league", 0, "Mine (PL12345)");
    assert_str(b, "base", 0, "a"); /* Its pair is a text: the market's id says it too. */
    assert_int_equal(rows.n_fields_lost, 1);
    assert_true(golden__f64(b, "lowest_ratio", 0) == 0);
    assert_int_equal(golden__int(b, "ord", 0), 2);
    static const char *const refused[][2] = {
        {"markets[3].volume_traded.base", "out_of_range"}, {"markets[4].lowest_ratio", "bad_price"},
        {"markets[5].volume_traded.quote", "missing_field"}, {"markets[6].market_pair", "missing_field"},
        {"markets[7].market_pair", "out_of_range"}, {"markets[8].league", "missing_field"},
        {"markets[9].league", "missing_field"}, {"markets[10].volume_traded.base", "wrong_type"},
        {"markets[11]", "wrong_type"}};
    b = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(b->n_rows, sizeof refused / sizeof *refused);
    for (size_t i = 0; i < b->n_rows; i++) {
        assert_str(b, "field", i, refused[i][0]);
        assert_str(b, "reason", i, refused[i][1]);
    }
    rows__fini(&rows);
    buf__fini(&body);
    tear_down(&f);
}

/* The markets of a digest: none refused, and what trades cleared at lies between the two ratios. */
static void check_markets(struct fixture *f, struct slice body, size_t n_markets) {
    struct rows rows;
    decode(f, "", body, &rows);
    assert_int_equal(golden__count(&rows, &table_bronze_exchange_events), n_markets);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    const struct batch *b = golden__batch(&rows, &table_bronze_exchange_events, "other");
    for (size_t i = 0; b != NULL && i < b->n_rows; i++) {
        double base = (double)golden__int(b, "volume_base", i), quote = (double)golden__int(b, "volume_quote", i);
        if (base == 0) continue;
        assert_true(quote / base >= golden__f64(b, "lowest_ratio", i) * (1 - 1e-12));
        assert_true(quote / base <= golden__f64(b, "highest_ratio", i) * (1 + 1e-12));
    }
    rows__fini(&rows);
}

/* Of the CDN and of OAuth, by paths and by the short ids of old digests. */
static void test_digests_become_rows(enum data_origin origin) {
    static const struct {
        enum data_origin origin;
        const char *file;
        bool oauth, dated; /* dated: of the hour 1785999600, which is then judged. */
        size_t n_markets;
    } digests[] = {
        {DATA_MADE, "cx/digest-allflame-2026-08-excerpt.json", false, true, 6},
        {DATA_MADE, "cx/digest-allflame-2026-08-excerpt.json", true, true, 6},
        {DATA_MADE, "cx/digest-short-ids-2024.json", true, true, 3},
        {DATA_MADE, "cx/digest-poe2.json", false, true, 2},
        {DATA_RECORDED, "cx/digest-allflame-2026-08-excerpt.json", false, true, 7},
        {DATA_RECORDED, "cx/digest-poe2-2026-07-excerpt.json", false, false, 2},
    };
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++) {
        struct fixture f;
        struct buf body;
        if (digests[i].origin != origin) continue;
        golden__body(origin, digests[i].file, &body);
        set_up(&f, "1785999600", digests[i].oauth, H);
        if (digests[i].dated) {
            assert_int_equal(ask(&f, url(1785999600)), 0);
            const struct source_answer a = {.status = 200, .body = buf__slice(&body)};
            assert_int_equal(cx->judge(&f.spec, &f.at, &a, &f.facts, &f.e), 0);
            assert_int_equal(f.facts.verdict, PAGE_NEW);
            assert_string_equal(f.facts.next_cursor, "1785999600");
            buf__fini(&f.facts.memo);
        }
        check_markets(&f, buf__slice(&body), digests[i].n_markets);
        buf__fini(&body);
        tear_down(&f);
    }
}
DATA_TESTS_OF(test_digests_become_rows)

static void test_the_recorded_price_is_that_of_its_day(void **state) {
    (void)state;
    struct fixture f;
    struct buf body;
    struct rows rows;
    DATA_OR_SKIP(DATA_RECORDED);
    golden__body(DATA_RECORDED, "cx/digest-allflame-2026-08-excerpt.json", &body);
    set_up(&f, "1785999600", false, H);
    decode(&f, "", buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_exchange_events, "other");
    double vwap =
        (double)golden__int(b, "volume_base", 0) / (double)golden__int(b, "volume_quote", 0);
    assert_true(vwap > 201.3 && vwap < 201.5);
    rows__fini(&rows);
    buf__fini(&body);
    tear_down(&f);
}

/* An hour that still runs is answered with 404, and a past one in which nobody traded with no
 * markets. */
static void test_hours_without_markets_make_no_rows(void **state) {
    static const struct {
        const char *file;
        int status;
    } hours[] = {{"cx/digest-running-hour.json", 404}, {"cx/digest-nothing-traded.json", 200}};
    (void)state;
    for (size_t i = 0; i < sizeof hours / sizeof *hours; i++) {
        struct fixture f;
        struct buf body;
        golden__body(DATA_MADE, hours[i].file, &body);
        buf__append(&body, "", 1);
        set_up(&f, "1785999600", false, 1785999600 + 1800 + 3600 * (int64_t)i);
        enum page_verdict v = answer(&f, hours[i].status, body.base);
        if (v != PAGE_EMPTY) fail_msg("%s: %d", hours[i].file, v);
        assert_string_equal(f.at.cursor, "");
        check_markets(&f, slice__of(body.base, body.len - 1), 0);
        buf__fini(&body);
        tear_down(&f);
    }
}

static void test_a_digest_without_end_is_bounded_and_says_so(void **state) {
#define BOTH(name) ",\"" name "\":{\"a\":1,\"b\":2}"
    struct fixture f;
    struct rows rows;
    struct buf body = buf__init(32 << 20);
    (void)state;
    set_up(&f, "latest", false, H + 4000);
    buf__printf(&body, "{\"next_change_id\":%lld,\"markets\":[", (long long)H + 3600);
    put_many(&body, EXCHANGE_MARKETS_MAX + 7,
             "{\"league\":\"Standard\",\"market_id\":\"a|b\"" BOTH("volume_traded") BOTH("lowest_ratio") BOTH("highest_ratio")
                 BOTH("lowest_stock") BOTH("highest_stock") "}");
    buf__append_str(&body, "]}");
    decode(&f, "1799996400", buf__slice(&body), &rows);
    assert_bounded(&rows, &table_bronze_exchange_events, EXCHANGE_MARKETS_MAX, "7");
    rows__fini(&rows);
    buf__fini(&body);
    tear_down(&f);
#undef BOTH
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hours_are_multiples_of_3600),
        cmocka_unit_test(test_cursors_are_hours_or_times),
        cmocka_unit_test(test_streams_are_realms),
        cmocka_unit_test(test_the_latest_hour_is_followed_by_the_clock),
        cmocka_unit_test(test_behind_it_asks_on_at_once_as_backfill),
        cmocka_unit_test(test_a_missing_hour_is_a_gap_once_a_later_one_is_there),
        cmocka_unit_test(test_a_pause_of_upstream_makes_no_gaps),
        cmocka_unit_test(test_a_day_without_digests_is_a_gap_of_a_day),
        cmocka_unit_test(test_hours_to_come_by_other_clocks_are_not_missing),
        cmocka_unit_test(test_other_hours_are_refused),
        cmocka_unit_test(test_the_cdn_is_left_alone_and_a_scope_can_lack),
        cmocka_unit_test(test_a_digest_becomes_rows),
        cmocka_unit_test(test_a_digest_without_end_is_bounded_and_says_so),
        DATA_TESTS(test_digests_become_rows),
        cmocka_unit_test(test_the_recorded_price_is_that_of_its_day),
        cmocka_unit_test(test_hours_without_markets_make_no_rows),
    };
    return cmocka_run_group_tests(tests, find_source, NULL);
}
