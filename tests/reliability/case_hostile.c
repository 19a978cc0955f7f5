/* Cases 47 and 48: bodies that no upstream should send, and commands that no client should. Every
 * rule of JSON broken once and more, in every place where a body can hold it, through judge and
 * decode of each source and through the hub's command parser: nothing breaks, nothing takes 5 s, a
 * page that is accepted can be decoded, a refused one makes no rows, and prices keep every digit. */
#include "../golden/golden.h"
#include "json_guard.h"
#include "../lib/score.h"
#include "session.h"
#include "souk/decode.h"
#include "souk/price_note.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SLOWEST_MAX_NS (5 * NS_PER_S)
#define RECEIVED_WALL_NS (INT64_C(1795262400) * NS_PER_S)

static uint64_t n_inputs, n_accepted;
static int64_t slowest_ns;

static const struct stream_spec psapi_stream = {.key = "pc", .realm = "pc"};
static const struct stream_spec ninja_streams[] = {
    {.key = "a", .league = "Standard", .kind = "exchange/Currency"},
    {.key = "b", .league = "Standard", .kind = "item/UniqueWeapon"},
    {.key = "c", .league = "Standard", .kind = "currency/Currency"}};

/* @return what judge says. @rows (may be NULL) gets what decode makes of an accepted page. */
static int feed(const char *source, const struct stream_spec *stream, struct slice body,
                struct rows *rows) {
    static const char *const followed[] = {"Standard"};
    static const struct decode_context context = {.followed = followed, .n_followed = 1};
    static const struct stream_state at = {.cursor = "1"};
    const struct source_type *type = source__find(source);
    const struct source_answer answer = {.status = 200, .body = body};
    const struct page page = {.stream = stream,
                              .cursor_from = SLICE_LIT("1"),
                              .cursor_to = SLICE_LIT("2"),
                              .received_wall_ns = RECEIVED_WALL_NS,
                              .body = body};
    struct page_facts facts;
    struct rows made = {0};
    struct err e = {0};
    int64_t start_ns = clock__stopwatch_ns();
    int judged = type->judge(stream, &at, &answer, &facts, &e);
    int decoded = type->decode(&page, &context, &made, &e);
    int64_t took_ns = clock__stopwatch_ns() - start_ns;
    if (took_ns > slowest_ns) slowest_ns = took_ns;
    n_inputs++;
    n_accepted += judged == 0;
    if (judged == 0 && strcmp(source, "psapi") == 0) assert_int_equal(decoded, 0);
    if (decoded != 0) assert_int_equal(rows__count(&made), 0);
    else assert_false(made.failed);
    if (rows != NULL && decoded == 0) *rows = made;
    else rows__fini(&made);
    return judged;
}

static void feed_all(struct slice body) {
    feed("psapi", &psapi_stream, body, NULL);
    for (size_t i = 0; i < 3; i++) feed("poe_ninja", &ninja_streams[i], body, NULL);
}

/* --- The hub's end: a client that says it. --- */

static bool io_send(void *ctx, struct frame *f, uint64_t off) {
    (void)ctx, (void)f, (void)off;
    return true;
}
static bool io_has_room(void *ctx, size_t len) {
    (void)ctx, (void)len;
    return true;
}
static bool io_is_stuck(void *ctx) {
    (void)ctx;
    return false;
}
static void io_close(void *ctx, int code, const char *reason) {
    (void)ctx, (void)code, (void)reason;
}
static const struct session_io io = {io_send, io_has_room, io_is_stuck, io_close};

static struct hub {
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    struct sessions all;
    unsigned n_keys;
} hub;

static int open_hub(void **state) {
    struct alerts_options options = {.seed = 1};
    struct err e;
    (void)state;
    hub.clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = RECEIVED_WALL_NS};
    if (metrics__init(&hub.metrics) != 0) return -1;
    if (alerts__open(&hub.alerts, &hub.clock, &hub.metrics, &options, &e) != 0) return -1;
    sessions__init(&hub.all, hub.alerts, &hub.clock, &hub.metrics);
    return 0;
}
static int close_hub(void **state) {
    (void)state;
    sessions__fini(&hub.all);
    alerts__free(hub.alerts);
    metrics__fini(&hub.metrics);
    return 0;
}

static void say(struct slice text) {
    static const struct principal who = {.read = true, .write = true, .name = "me"};
    struct session s;
    char *copy = slice__dup(text);
    int64_t start_ns = clock__stopwatch_ns();
    session__open(&s, &hub.all, &who, &io, &s);
    session__on_text(&s, SLICE_LIT("{\"t\":\"hello\",\"id\":1}"));
    session__on_text(&s, slice__of(copy, text.len));
    session__fini(&s, 1006);
    int64_t took_ns = clock__stopwatch_ns() - start_ns;
    if (took_ns > slowest_ns) slowest_ns = took_ns;
    n_inputs++;
    free(copy);
}

/* As a message, as arguments of a command, and as the hello of another client. */
static void say_all(struct slice value) {
    struct buf text = buf__init((size_t)20 << 20);
    say(value);
    buf__printf(&text, "{\"t\":\"cmd\",\"id\":2,\"op\":\"mute\",\"key\":\"0123456789-%010u\",\"args\":",
                hub.n_keys++);
    buf__append_slice(&text, value);
    buf__append_str(&text, "}");
    say(buf__slice(&text));
    buf__fini(&text);
}

/* --- Every rule once. y: JSON; n: not JSON; i: RFC 8259 leaves it open. --- */

static const struct {
    char verdict;
    const char *text;
} texts[] = {
    /* Structure. */
    {'y', "[]"}, {'y', "{}"}, {'y', " [ 1 , 2 ] "}, {'y', "\t\r\n[]\t\r\n"}, {'y', "null"}, {'y', "\"a\""}, {'y', "0"},
    {'n', ""}, {'n', " "}, {'n', "["}, {'n', "]"}, {'n', "{"}, {'n', "}"}, {'n', "[[]"}, {'n', "[]]"}, {'n', "[}"},
    {'n', "{]"}, {'n', "[1,]"}, {'n', "[,1]"}, {'n', "[1,,2]"}, {'n', "[,]"}, {'n', "[1 2]"}, {'n', "[1;2]"},
    {'n', "[1:2]"}, {'n', "{\"a\"}"}, {'n', "{\"a\":}"}, {'n', "{\"a\":1,}"}, {'n', "{,\"a\":1}"}, {'n', "{\"a\" 1}"},
    {'n', "{\"a\"::1}"}, {'n', "{\"a\":1:2}"}, {'n', "{\"a\",1}"}, {'n', "{\"a\":1 \"b\":2}"}, {'n', "{:1}"},
    {'n', "{1:1}"}, {'n', "{a:1}"}, {'n', "{'a':1}"}, {'n', "{null:1}"}, {'n', "{[]:1}"}, {'n', "[] []"}, {'n', "1 2"},
    {'n', "[]x"}, {'n', "[],"}, {'n', "{}#"}, {'n', "/**/[]"}, {'n', "[]//"}, {'n', "[/*x*/]"}, {'n', "#[]"},
    {'n', "\v[]"}, {'n', "\f[]"}, {'n', "\xc2\xa0[]"}, {'n', "\xe2\x80\x8b[]"}, {'n', "[\xef\xbc\x91]"}, {'n', "*"},
    {'n', "[*]"}, {'n', "<[]>"}, {'n', "[\"a\""}, {'n', "{\"a\":\"b\""}, {'n', "{\"a\":[}"}, {'n', "(1)"},
    /* Literals. */
    {'y', "[true,false,null]"}, {'n', "[True]"}, {'n', "[TRUE]"}, {'n', "[tru]"}, {'n', "[truex]"}, {'n', "[fals]"},
    {'n', "[nul]"}, {'n', "[nil]"}, {'n', "[undefined]"}, {'n', "[NaN]"}, {'n', "[nan]"}, {'n', "[Infinity]"},
    {'n', "[-Infinity]"}, {'n', "[-NaN]"}, {'n', "[inf]"}, {'n', "[t rue]"},
    /* Numbers. */
    {'y', "[0]"}, {'y', "[-0]"}, {'y', "[-1]"}, {'y', "[1.0]"}, {'y', "[1e5]"}, {'y', "[1E+5]"}, {'y', "[1e-5]"},
    {'y', "[0.0000000000000000000000000000000000000001]"}, {'y', "[12345678901234567890]"},
    {'y', "[123456789012345678901234567890]"}, {'y', "[-9223372036854775808]"}, {'y', "[18446744073709551616]"},
    {'y', "[1e400]"}, {'y', "[-1e400]"}, {'y', "[1e-400]"}, {'y', "[1e99999999999999999999]"}, {'y', "[0e0]"},
    {'n', "[01]"}, {'n', "[-01]"}, {'n', "[00]"}, {'n', "[+1]"}, {'n', "[.5]"}, {'n', "[-.5]"}, {'n', "[1.]"},
    {'n', "[1.e1]"}, {'n', "[1e]"}, {'n', "[1e+]"}, {'n', "[1e-]"}, {'n', "[e1]"}, {'n', "[1e1.5]"}, {'n', "[1.2.3]"},
    {'n', "[-]"}, {'n', "[--1]"}, {'n', "[- 1]"}, {'n', "[1-]"}, {'n', "[0x10]"}, {'n', "[0b1]"}, {'n', "[1_000]"},
    {'n', "[1,000.5.]"}, {'n', "[1f]"}, {'n', "[1L]"}, {'n', "[0.1.]"}, {'n', "[1 .5]"}, {'n', "[1e 5]"},
    /* Strings. */
    {'y', "[\"\"]"}, {'y', "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"}, {'y', "[\"\\u0041\\u00e9\\u20ac\"]"},
    {'y', "[\"\\ud83d\\ude00\"]"}, {'y', "[\"\\u0000\"]"}, {'y', "[\"\x7f\"]"}, {'y', "[\"\xc3\xa9\"]"},
    {'y', "[\"\xf0\x9f\x98\x80\"]"}, {'y', "[\"\xef\xbf\xbf\"]"}, {'y', "[\"\xe2\x80\xa8\"]"},
    {'n', "[\"]"}, {'n', "[\"a]"}, {'n', "['a']"}, {'n', "[a]"}, {'n', "[\"a\"b]"}, {'n', "[\"\\\"]"}, {'n', "[\"\\x41\"]"},
    {'n', "[\"\\v\"]"}, {'n', "[\"\\'\"]"}, {'n', "[\"\\0\"]"}, {'n', "[\"\\a\"]"}, {'n', "[\"\\ \"]"}, {'n', "[\"\\u\"]"},
    {'n', "[\"\\u1\"]"}, {'n', "[\"\\u12\"]"}, {'n', "[\"\\u123\"]"}, {'n', "[\"\\u123g\"]"}, {'n', "[\"\\U0041\"]"},
    {'n', "[\"\\u{41}\"]"}, {'n', "[\\\"a\"]"}, {'n', "[\"\\\xc3\xa9\"]"}, {'n', "[\"\\u00\xc3\xa9\"]"},
    /* Half a pair has no form in UTF-8; ours is U+FFFD (souk/decode.h). */
    {'i', "[\"\\ud800\"]"}, {'i', "[\"\\udc00\"]"}, {'i', "[\"\\ud800\\ud800\"]"}, {'i', "[\"\\ud800\\u0041\"]"},
    {'i', "[\"\\udc00\\ud800\"]"}, {'i', "[\"\\ud800\\n\"]"}, {'i', "[\"a\\udfff\"]"}, {'n', "[\"\\ud800\\u\"]"},
    {'n', "[\"\\ud800\\\"]"}, {'n', "[\"\\ud8\"]"},
    /* Equal keys, and keys of odd shape. */
    {'y', "{\"a\":1,\"a\":2}"}, {'y', "{\"\":1}"}, {'y', "{\"\\u0000\":1,\"\":2}"}, {'y', "{\"a\":{\"a\":{\"a\":{}}}}"},
    /* Other encodings. */
    {'i', "\xef\xbb\xbf[]"}, {'n', "\xff\xfe[\0]\0"}, {'n', "\xfe\xff\0[\0]"}, {'n', "\xef\xbb[]"},
};

/* Bytes that are no UTF-8, as they could stand in a string. */
static const char *const not_utf8[] = {
    "\x80", "\xbf", "\xc3", "\xc3\x28", "\xc0\x80", "\xc1\xbf", "\xe2\x82", "\xe2\x28\xa1", "\xe2\x82\x28", "\xe0\x80\x80",
    "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\xbd\xed\xb8\x80", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
    "\xf0\x9f\x98", "\xf0\x28\x8c\xbc", "\xf0\x90\x28\xbc", "\xf0\x28\x8c\x28", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
    "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", "\xc3\xc3\xa9", "a\xe9z"};

/* Where a value can stand in a page; %s is the value. */
static const char *const places[] = {
    "{\"next_change_id\":\"2\",\"stashes\":%s}",
    "{\"next_change_id\":%s,\"stashes\":[]}",
    "{\"next_change_id\":\"2\",\"stashes\":[%s]}",
    "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":%s,\"public\":true,\"items\":[]}]}",
    "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"stash\":%s,\"items\":[{\"typeLine\":\"R\"}]}]}",
    "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":%s,\"items\":[%s]}]}",
    "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"items\":[{\"typeLine\":%s}]}]}",
    "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"items\":[{\"typeLine\":\"R\",\"note\":%s,"
    "\"ilvl\":%s,\"sockets\":%s}]}]}",
    "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"items\":[{\"typeLine\":\"R\",\"extended\":%s,"
    "\"explicitMods\":%s,\"properties\":%s,\"someMods\":%s,\"stackSize\":%s,\"category\":%s}]}]}",
    "{\"lines\":%s}",
    "{\"core\":{\"primary\":\"chaos\",\"rates\":%s},\"items\":%s,\"lines\":[{\"id\":\"divine\",\"primaryValue\":%s}]}",
    "{\"core\":%s,\"lines\":[{\"id\":%s,\"primaryValue\":1,\"sparkline\":{\"data\":%s}}]}",
    "{\"lines\":[{\"name\":%s,\"detailsId\":\"d\",\"chaosValue\":%s,\"listingCount\":%s},"
    "{\"currencyTypeName\":%s,\"chaosEquivalent\":%s,\"receive\":%s}]}"};

static void put_in_place(const char *place, struct slice value, struct buf *out) {
    buf__clear(out);
    for (const char *at; (at = strstr(place, "%s")) != NULL; place = at + 2) {
        buf__append(out, place, (size_t)(at - place));
        buf__append_slice(out, value);
    }
    buf__append_str(out, place);
}

static void feed_everywhere(struct slice value) {
    struct buf body = buf__init((size_t)64 << 20);
    feed_all(value);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        put_in_place(places[i], value, &body);
        assert_false(body.failed);
        feed_all(buf__slice(&body));
    }
    say_all(value);
    buf__fini(&body);
}

static void check_verdict(char verdict, struct slice text) {
    yyjson_doc *doc = NULL;
    struct err e = {0};
    int code = decode__read(text, &doc, &e);
    if (verdict == 'y' && code != 0) fail_msg("refused: %.*s: %s", SLICE_FMT(text), e.msg);
    if (verdict == 'n' && code != ERR_MALFORMED) fail_msg("accepted: %.*s", SLICE_FMT(text));
    assert_true((code == 0) == (doc != NULL));
    yyjson_doc_free(doc);
}

static void test_every_rule_of_json(void **state) {
    (void)state;
    char text[64];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_verdict(texts[i].verdict, slice__str(texts[i].text));
        feed_everywhere(slice__str(texts[i].text));
    }
    for (unsigned c = 0; c < 0x20; c++) { /* Control characters: in a string, escaped, outside. */
        int n = snprintf(text, sizeof text, "[\"a%cb\"]", (char)c);
        check_verdict('n', slice__of(text, (size_t)n));
        feed_everywhere(slice__of(text, (size_t)n));
        n = snprintf(text, sizeof text, "[\"\\u%04x\"]", c);
        check_verdict('y', slice__of(text, (size_t)n));
        feed_everywhere(slice__of(text, (size_t)n));
        n = snprintf(text, sizeof text, "[%c]", (char)c);
        check_verdict(c == '\t' || c == '\n' || c == '\r' ? 'y' : 'n', slice__of(text, (size_t)n));
    }
    for (size_t i = 0; i < sizeof not_utf8 / sizeof *not_utf8; i++) {
        int n = snprintf(text, sizeof text, "[\"%s\"]", not_utf8[i]);
        check_verdict('n', slice__of(text, (size_t)n));
        feed_everywhere(slice__of(text, (size_t)n));
        n = snprintf(text, sizeof text, "{\"%s\":1}", not_utf8[i]);
        check_verdict('n', slice__of(text, (size_t)n));
        feed_everywhere(slice__of(text, (size_t)n));
    }
}

/* --- What is large or deep. --- */

static void repeat(struct buf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) buf__append_str(out, text);
}

static void test_nesting_and_size_cost_no_more_than_their_bytes(void **state) {
    (void)state;
    static const struct {
        const char *before, *open, *middle, *close, *behind;
    } shapes[] = {{"", "[", "", "]", ""},
                  {"", "[", "", "", ""},
                  {"", "{\"a\":", "1", "}", ""},
                  {"", "[{\"a\":", "1", "}]", ""},
                  {"[", "\"\\ud800\",", "1", "", "]"},
                  {"[\"", "\\u0000", "", "", "\"]"},
                  {"[", "9", "", "", "]"},
                  {"[1e", "9", "", "", "]"},
                  {"[0.", "0", "1", "", "]"},
                  {"{\"", "k", "\":1}", "", ""},
                  {"{", "\"a\":1,", "\"a\":2}", "", ""},
                  {"[", "{\"id\":\"a\",\"typeLine\":\"R\"},", "1]", "", ""},
                  {"[\"", "\xf0\x9f\x98\x80", "", "", "\"]"},
                  {"", " ", "[]", "", ""}};
    const size_t sizes[] = {10000, 100000, 2000000}, n_sizes = score__full() ? 3 : 2;
    struct buf value = buf__init((size_t)64 << 20);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t k = 0; k < n_sizes; k++) {
            size_t n = sizes[k];
            while (n * (strlen(shapes[i].open) + strlen(shapes[i].close)) > ((size_t)1 << 20) && !score__full()) n /= 2;
            buf__clear(&value);
            buf__append_str(&value, shapes[i].before);
            repeat(&value, shapes[i].open, n);
            buf__append_str(&value, shapes[i].middle);
            repeat(&value, shapes[i].close, n);
            buf__append_str(&value, shapes[i].behind);
            if (k == 0) feed_everywhere(buf__slice(&value));
            else feed_all(buf__slice(&value));
            /* In the place where the most is done with it. */
            struct buf body = buf__init((size_t)256 << 20);
            put_in_place(places[8], buf__slice(&value), &body);
            feed_all(buf__slice(&body));
            put_in_place(places[10], buf__slice(&value), &body);
            feed_all(buf__slice(&body));
            buf__fini(&body);
        }
    buf__fini(&value);
}

/* --- Real pages, broken. --- */

static const struct {
    const char *file, *source;
    const struct stream_spec *stream;
} pages[] = {{"tests/data/psapi/page.json", "psapi", &psapi_stream},
             {"tests/data/ninja/exchange.json", "poe_ninja", &ninja_streams[0]},
             {"tests/data/ninja/item.json", "poe_ninja", &ninja_streams[1]},
             {"tests/data/ninja/currency.json", "poe_ninja", &ninja_streams[2]}};

static void test_a_page_cut_anywhere_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct buf page;
        if (!golden__load("SOUK_SOURCE", pages[i].file, &page)) fail_msg("%s: set SOUK_SOURCE", pages[i].file);
        assert_int_equal(feed(pages[i].source, pages[i].stream, buf__slice(&page), NULL), 0);
        size_t whole = page.len;
        while (whole > 0 && strchr(" \n", page.base[whole - 1]) != NULL) whole--;
        for (size_t len = 0; len < whole; len++) {
            char *copy = malloc(len + 1); /* Of its own size, so that a read behind it is seen. */
            memcpy(copy, page.base, len);
            assert_int_not_equal(feed(pages[i].source, pages[i].stream, slice__of(copy, len), NULL), 0);
            free(copy);
        }
        buf__fini(&page);
    }
}

static void test_a_page_with_any_byte_changed(void **state) {
    (void)state;
    static const char bytes[] = {'"', '\\', '{', '}', '[', ']', ',', ':', '0', '-', '\0', '\x80', '\xff', ' '};
    size_t step = score__full() ? 1 : 3;
    for (size_t i = 0; i < 4; i++) {
        struct buf page;
        if (!golden__load("SOUK_SOURCE", pages[i].file, &page)) fail_msg("%s: set SOUK_SOURCE", pages[i].file);
        for (size_t at = 0; at < page.len; at++) {
            char was = page.base[at];
            for (size_t k = at % step; k < sizeof bytes; k += step) {
                page.base[at] = bytes[k];
                feed(pages[i].source, pages[i].stream, buf__slice(&page), NULL);
            }
            page.base[at] = was;
        }
        buf__fini(&page);
    }
}

/* --- Prices to the last digit. --- */

static uint64_t seed = 1;
static unsigned pick(unsigned n) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

/* A note's number written digit by digit, and the same number as an integer of millionths, made
 * from the same digits and by no arithmetic on fractions. */
static int64_t make_price(char text[32]) {
    unsigned n_before = 1 + pick(9), n_behind = pick(7), n = 0;
    int64_t value = 0;
    for (unsigned i = 0; i < n_before; i++) {
        unsigned digit = i == 0 && n_before > 1 ? 1 + pick(9) : pick(10);
        text[n++] = (char)('0' + digit);
        value = value * 10 + digit;
    }
    if (n_behind > 0) text[n++] = '.';
    for (unsigned i = 0; i < 6; i++) {
        unsigned digit = i < n_behind ? pick(10) : 0;
        if (i < n_behind) text[n++] = (char)('0' + digit);
        value = value * 10 + digit;
    }
    text[n] = '\0';
    return value;
}

static void test_prices_keep_every_digit(void **state) {
    (void)state;
    enum { ITEMS = 500 };
    static int64_t want[ITEMS];
    for (uint64_t round = score__times(4, 200); round > 0; round--) {
        struct buf body = buf__init(1 << 20);
        struct rows rows = {0};
        buf__append_str(&body, "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,"
                               "\"league\":\"Standard\",\"items\":[");
        for (size_t i = 0; i < ITEMS; i++) {
            char price[32];
            do want[i] = make_price(price);
            while (want[i] == 0);
            buf__printf(&body, "%s{\"typeLine\":\"R\",\"note\":\"~price %s chaos\",\"properties\":"
                               "[%s,1e400,12345678901234567890123]}",
                        i == 0 ? "" : ",", price, price);
        }
        buf__append_str(&body, "]}]}");
        assert_int_equal(feed("psapi", &psapi_stream, buf__slice(&body), &rows), 0);
        const struct batch *b = NULL;
        for (size_t i = 0; i < rows.n; i++)
            if (rows.batches[i].batch.table == &table_bronze_public_stash) b = &rows.batches[i].batch;
        assert_non_null(b);
        assert_int_equal(b->n_rows, ITEMS);
        for (size_t i = 0; i < ITEMS; i++) {
            assert_int_equal(golden__int(b, "price_total", i), want[i]);
            assert_int_equal(golden__int(b, "price_amount", i), want[i]);
            struct slice extra = golden__str(b, "extra", i);
            /* What fits no number of ours stays as it was written. */
            assert_non_null(memmem(extra.base, extra.len, ",1e400,12345678901234567890123]", 31));
        }
        rows__fini(&rows);
        buf__fini(&body);
    }
}

static void test_nothing_took_5_s(void **state) {
    (void)state;
    assert_true(slowest_ns < SLOWEST_MAX_NS);
    fprintf(stderr, "%" PRIu64 " inputs, %" PRIu64 " pages accepted, slowest %" PRId64 " ms\n", n_inputs, n_accepted,
            slowest_ns / NS_PER_MS);
}

/* --- Case 48: well-formed and impossible. --- */

static const struct bad {
    const char *source;
    const struct stream_spec *stream;
    const char *body, *reason, *field;
} bads[] = {
    {"poe_ninja", &ninja_streams[1],
     "{\"lines\":[{\"name\":\"G\",\"detailsId\":\"g\",\"chaosValue\":1},{\"name\":\"B\",\"detailsId\":\"b\",\"chaosValue\":0}]}",
     "bad_price", "lines[1].chaosValue"},
    {"poe_ninja", &ninja_streams[1],
     "{\"lines\":[{\"name\":\"G\",\"detailsId\":\"g\",\"chaosValue\":1},{\"name\":\"B\",\"detailsId\":\"b\",\"chaosValue\":-3}]}",
     "bad_price", "lines[1].chaosValue"},
    {"poe_ninja", &ninja_streams[1],
     "{\"lines\":[{\"name\":\"G\",\"detailsId\":\"g\",\"chaosValue\":1},{\"name\":\"B\",\"detailsId\":\"b\",\"chaosValue\":1e13}]}",
     "bad_price", "lines[1].chaosValue"},
    {"poe_ninja", &ninja_streams[1],
     "{\"lines\":[{\"name\":\"G\",\"detailsId\":\"g\",\"chaosValue\":1},{\"name\":\"B\",\"detailsId\":\"b\",\"chaosValue\":1,\"divineValue\":-1}]}",
     "bad_price", "lines[1].divineValue"},
    {"poe_ninja", &ninja_streams[1],
     "{\"lines\":[{\"name\":\"G\",\"detailsId\":\"g\",\"chaosValue\":1},{\"name\":\"B\",\"detailsId\":\"b\",\"chaosValue\":1,\"listingCount\":-1}]}",
     "out_of_range", "lines[1].listingCount"},
    {"poe_ninja", &ninja_streams[0],
     "{\"core\":{\"primary\":\"chaos\"},\"lines\":[{\"id\":\"g\",\"primaryValue\":2},{\"id\":\"b\",\"primaryValue\":2,\"volumePrimaryValue\":-7}]}",
     "bad_size", "lines[1].volumePrimaryValue"},
    {"poe_ninja", &ninja_streams[0],
     "{\"core\":{\"primary\":\"chaos\"},\"lines\":[{\"id\":\"g\",\"primaryValue\":2},{\"id\":\"b\",\"primaryValue\":0}]}",
     "bad_price", "lines[1].primaryValue"},
    {"poe_ninja", &ninja_streams[2], /* 1970. */
     "{\"lines\":[{\"currencyTypeName\":\"G\",\"chaosEquivalent\":1},{\"currencyTypeName\":\"B\",\"chaosEquivalent\":1,"
     "\"receive\":{\"sample_time_utc\":\"1970-01-01T00:00:00Z\"}}]}",
     "bad_time", "lines[1].receive.sample_time_utc"},
    {"poe_ninja", &ninja_streams[2], /* A day ahead of us: 2026-11-21T12:00:00Z and a day. */
     "{\"lines\":[{\"currencyTypeName\":\"G\",\"chaosEquivalent\":1,\"receive\":{\"sample_time_utc\":\"2026-11-21T11:59:00.5Z\"}},"
     "{\"currencyTypeName\":\"B\",\"chaosEquivalent\":1,\"receive\":{\"sample_time_utc\":\"2026-11-22T12:00:00Z\"}}]}",
     "bad_time", "lines[1].receive.sample_time_utc"},
    {"psapi", &psapi_stream,
     "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"items\":[{\"typeLine\":\"G\"},{\"typeLine\":\"B\",\"stackSize\":-5}]}]}",
     "out_of_range", "stashes[0].items[1].stackSize"},
    {"psapi", &psapi_stream,
     "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"items\":[{\"typeLine\":\"G\"},{\"typeLine\":\"B\",\"ilvl\":-1}]}]}",
     "out_of_range", "stashes[0].items[1].ilvl"},
};

/* Sellers write what they like: the item stays, and says why it has no price. */
static void test_impossible_notes_are_no_prices(void **state) {
    (void)state;
    static const char *const notes[][2] = {{"~price -5 chaos", "unreadable"},
                                           {"~b/o 0/5 chaos", "unset"},
                                           {"~b/o 5/0 chaos", "unreadable"},
                                           {"~price 1e3 chaos", "unreadable"},
                                           {"~b/o 99999999999 chaos", "out_of_range"}};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        struct rows rows = {0};
        char body[512];
        snprintf(body, sizeof body,
                 "{\"next_change_id\":\"2\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"items\":[{\"typeLine\":\"B\","
                 "\"stackSize\":5,\"note\":\"%s\"}]}]}",
                 notes[i][0]);
        assert_int_equal(feed("psapi", &psapi_stream, slice__str(body), &rows), 0);
        const struct batch *kept = golden__batch(&rows, &table_bronze_public_stash, "other");
        assert_non_null(kept);
        assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
        assert_true(slice__eq(golden__str(kept, "price_none", 0), slice__str(notes[i][1])));
        assert_int_equal(golden__int(kept, "price_amount", 0), 0);
        assert_int_equal(golden__str(kept, "price_currency", 0).len, 0);
        rows__fini(&rows);
    }
}

static void test_impossible_values_are_quarantined_with_a_reason(void **state) {
    (void)state;
    struct alerts_summary before, after;
    alerts__summary(hub.alerts, &before);
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        const struct bad *bad = &bads[i];
        struct rows rows = {0};
        /* The page is sound: its cursor moves, and what is good in it is kept. */
        assert_int_equal(feed(bad->source, bad->stream, slice__str(bad->body), &rows), 0);
        const struct batch *kept = NULL, *refused = NULL;
        for (size_t k = 0; k < rows.n; k++) {
            const struct batch *b = &rows.batches[k].batch;
            if (b->table == &table_bronze_quarantine) refused = b;
            else if (b->table != &table_raw_public_stash_pages) kept = b;
        }
        if (kept == NULL || refused == NULL) fail_msg("%s", bad->body);
        assert_int_equal(kept->n_rows, 1);
        assert_int_equal(refused->n_rows, 1);
        if (!slice__eq(golden__str(refused, "reason", 0), slice__str(bad->reason)) ||
            !slice__eq(golden__str(refused, "field", 0), slice__str(bad->field)))
            fail_msg("%s: %.*s at %.*s", bad->body, SLICE_FMT(golden__str(refused, "reason", 0)),
                     SLICE_FMT(golden__str(refused, "field", 0)));
        assert_true(golden__str(refused, "value", 0).len > 0);
        assert_true(golden__str(refused, "payload", 0).len > 0);
        rows__fini(&rows);
    }
    alerts__summary(hub.alerts, &after);
    assert_memory_equal(&before, &after, sizeof before);
}

int main(void) {
    const struct CMUnitTest json_tests[] = {
        cmocka_unit_test(test_every_rule_of_json),
        cmocka_unit_test(test_nesting_and_size_cost_no_more_than_their_bytes),
        cmocka_unit_test(test_a_page_cut_anywhere_is_refused),
        cmocka_unit_test(test_a_page_with_any_byte_changed),
        cmocka_unit_test(test_prices_keep_every_digit),
        cmocka_unit_test(test_nothing_took_5_s),
    };
    const struct CMUnitTest value_tests[] = {
        cmocka_unit_test(test_impossible_values_are_quarantined_with_a_reason),
        cmocka_unit_test(test_impossible_notes_are_no_prices),
    };
    int failed = cmocka_run_group_tests(json_tests, open_hub, close_hub);
    score__write(&(struct score){.case_number = 47,
                                 .what = "hostile JSON through judge, decode and the hub's commands",
                                 .passed = failed == 0,
                                 .seeds = n_inputs,
                                 .recovery_s = -1});
    int bad = cmocka_run_group_tests(value_tests, open_hub, close_hub);
    score__write(&(struct score){.case_number = 48,
                                 .what = "impossible sizes, prices and times",
                                 .passed = bad == 0,
                                 .seeds = sizeof bads / sizeof *bads,
                                 .recovery_s = -1});
    return failed + bad;
}
