/* enrichment asks little, asks for more only after successes, and reads tables, lists and JSON. */
#include "../../src/vendors/community/enrichment_internal.h"
#include "../../src/vendors/community/poedb_page.h"
#include "../golden/golden.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW_S INT64_C(1800000000)
#define DAY_S INT64_C(86400)
static const struct source_type *enrichment;

static int find_source(void **state) {
    (void)state;
    enrichment = source__find("enrichment");
    return enrichment == NULL;
}

static struct source_settings settings_of(const char *const *pages, size_t n) {
    return (struct source_settings){.base_url = "http://p/us", .other_url = "http://w/w", .kinds = pages, .n_kinds = n,
                                    .period_ns = DAY_S * NS_PER_S};
}

static void test_each_site_is_a_stream(void **state) {
    static struct stream_spec specs[STREAMS_MAX];
    static const char *const pages[] = {"poedb/Currency_Exchange", "wiki/mods", "poedb/Modifiers"};
    struct source_settings s = settings_of(pages, 3);
    struct stream_state at = {.now = {.mono_ns = 1, .wall_ns = NOW_S * NS_PER_S}};
    struct source_request r;
    struct err e;
    (void)state;
    assert_int_equal(enrichment->streams(&s, specs, &e), 2);
    assert_string_equal(specs[0].key, "poedb");
    assert_string_equal(specs[0].path, "/Currency_Exchange,Modifiers");
    assert_string_equal(specs[0].endpoint, "enrichment");
    assert_null(specs[0].base_url);
    assert_string_equal(specs[1].endpoint, "enrichment_wiki");
    assert_string_equal(specs[1].base_url, "http://w/w");
    enrichment->plan(&s, &specs[0], &at, &r);
    assert_string_equal(r.url, "http://p/us/Currency_Exchange");
    assert_int_equal(r.class, SOURCE_METADATA);
    enrichment->plan(&s, &specs[1], &at, &r);
    assert_true(slice__starts(slice__str(r.url), SLICE_LIT("http://w/w/api.php?action=cargoquery&format=json&tables=mods&fields=mods.id%3Did,")));
    assert_non_null(strstr(r.url, "&limit=500&offset=0"));
    static const char *const wrong[] = {"poedb/", "poedb/a/b", "poedb/a,b", "wiki/items", "site/x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        s.kinds = &wrong[i];
        s.n_kinds = 1;
        assert_int_equal(enrichment->streams(&s, specs, &e), ERR_CONFIG);
    }
    static const char *const long_page[] = {"poedb/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    const char *many[4] = {long_page[0], long_page[0], long_page[0], long_page[0]};
    s.kinds = many;
    s.n_kinds = 4;
    assert_int_equal(enrichment->streams(&s, specs, &e), ERR_CONFIG);
}

/* One stream whose upstream the test plays. */
struct fixture {
    struct source_settings settings;
    struct stream_spec spec;
    struct stream_state at;
    struct source_request request;
};

static void set_up(struct fixture *f, const char *const *pages, size_t n) {
    static struct stream_spec specs[STREAMS_MAX];
    struct err e;
    *f = (struct fixture){.settings = settings_of(pages, n)};
    f->at.now = (struct clock){.mono_ns = NS_PER_S, .wall_ns = NOW_S * NS_PER_S};
    assert_int_equal(enrichment->streams(&f->settings, specs, &e), 1);
    f->spec = specs[0];
}
/* @return the seconds until the next request. */
static int64_t ask(struct fixture *f) {
    enrichment->plan(&f->settings, &f->spec, &f->at, &f->request);
    int64_t wait_ns = f->request.not_before_mono_ns - f->at.now.mono_ns;
    return wait_ns < 0 ? 0 : wait_ns / NS_PER_S;
}
static enum page_verdict answer(struct fixture *f, int status, struct slice body, struct buf *keep) {
    const struct source_answer a = {.status = status, .body = body};
    struct page_facts facts;
    struct err e = {0};
    f->at.last_reply_mono_ns = f->at.now.mono_ns;
    f->at.poked = false;
    int code = enrichment->judge(&f->spec, &f->at, &a, &facts, &e);
    assert_int_equal(code == 0, facts.verdict == PAGE_NEW);
    if (facts.verdict == PAGE_NEW) snprintf(f->at.cursor, sizeof f->at.cursor, "%s", facts.next_cursor);
    f->at.n_failures = facts.verdict == PAGE_NEW ? 0 : f->at.n_failures + 1;
    assert_int_equal(facts.memo.len, 0);
    if (keep != NULL) *keep = facts.keep;
    else buf__fini(&facts.keep);
    return facts.verdict;
}
static void pass_s(struct fixture *f, int64_t s) {
    f->at.now.mono_ns += s * NS_PER_S;
    f->at.now.wall_ns += s * NS_PER_S;
}
#define ROWS SLICE_LIT("<table><tr><td>a</td></tr></table>")

static void test_a_page_joins_with_three_successes_and_leaves_with_a_failure(void **state) {
    static const char *const pages[] = {"poedb/A", "poedb/B", "poedb/C"};
    struct fixture f;
    (void)state;
    set_up(&f, pages, 3);
    for (int day = 0; day < 2; day++) { /* Once a day, the first page alone. */
        assert_int_equal(ask(&f), 0);
        assert_string_equal(f.request.url, "http://p/us/A");
        assert_int_equal(answer(&f, 200, ROWS, NULL), PAGE_NEW);
        assert_int_equal(ask(&f), DAY_S);
        pass_s(&f, DAY_S);
    }
    assert_int_equal(answer(&f, 200, ROWS, NULL), PAGE_NEW); /* The third in a row. */
    assert_int_equal(ask(&f), 0);
    assert_string_equal(f.request.url, "http://p/us/B");
    assert_int_equal(answer(&f, 200, ROWS, NULL), PAGE_NEW);
    assert_int_equal(ask(&f), DAY_S);
    pass_s(&f, DAY_S);
    assert_int_equal(answer(&f, 200, ROWS, NULL), PAGE_NEW);
    assert_int_equal(answer(&f, 200, ROWS, NULL), PAGE_NEW); /* The sixth. */
    assert_int_equal(ask(&f), 0);
    assert_string_equal(f.request.url, "http://p/us/C");
    struct buf out = buf__init(128);
    enrichment->note(&f.settings, &f.spec, &f.at, &out);
    assert_true(slice__eq(buf__slice(&out), SLICE_LIT("6 successes in a row: up to 3 requests a round")));
    buf__fini(&out);
    assert_int_equal(answer(&f, 404, SLICE_LIT("<html>no"), NULL), PAGE_INVALID);
    assert_int_equal(ask(&f), 60);
    assert_string_equal(f.request.url, "http://p/us/A");
    assert_int_equal(answer(&f, 429, SLICE_LIT(""), NULL), PAGE_INVALID);
    assert_int_equal(ask(&f), 120);
    pass_s(&f, 120);
    assert_int_equal(answer(&f, 200, ROWS, NULL), PAGE_NEW);
    assert_int_equal(ask(&f), DAY_S); /* One page again. */
    /* Started again: the day counts from the last round. */
    pass_s(&f, 1000);
    f.at.last_reply_mono_ns = 0;
    assert_int_equal(ask(&f), DAY_S - 1000);
    f.at.poked = true;
    assert_int_equal(ask(&f), 0);
    f.at.poked = false;
    static const char *const wrong[] = {"s1.d1", "s9999.d1.p0.o0.t0", "s1.d1.p0.o9999999.t0", "s1.d0.p0.o0.t-5", "x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(f.at.cursor, sizeof f.at.cursor, "%s", wrong[i]);
        assert_int_equal(ask(&f), 0);
        assert_string_equal(f.request.url, "http://p/us/A");
    }
    snprintf(f.at.cursor, sizeof f.at.cursor, "s9.d2.p7.o0.t0"); /* The list was longer once. */
    ask(&f);
    assert_string_equal(f.request.url, "http://p/us/A");
}

static void test_tables_of_the_wiki_come_in_chunks(void **state) {
    static const char *const pages[] = {"wiki/mods"};
    struct fixture f;
    struct buf full = buf__init(1 << 20);
    (void)state;
    buf__append_str(&full, "{\"cargoquery\":[{}");
    for (int i = 1; i < 500; i++) buf__append_str(&full, ",{}");
    buf__append_str(&full, "]}");
    set_up(&f, pages, 1);
    for (int day = 0; day < 3; day++) {
        assert_int_equal(ask(&f), 0);
        assert_non_null(strstr(f.request.url, "&offset=0"));
        assert_int_equal(answer(&f, 200, buf__slice(&full), NULL), PAGE_NEW);
        if (day < 2) pass_s(&f, ask(&f));
    }
    assert_int_equal(ask(&f), 0);
    assert_non_null(strstr(f.request.url, "&offset=500"));
    assert_int_equal(answer(&f, 200, SLICE_LIT("{\"cargoquery\":[]}"), NULL), PAGE_NEW); /* The end. */
    assert_int_equal(ask(&f), DAY_S);
    assert_non_null(strstr(f.request.url, "&offset=0"));
    static const char *const wrong[] = {"", "{}", "[]", "<html>", "{\"cargoquery\":{}}", "{\"cargoquery\":[]}",
                                        "{\"error\":{\"code\":\"ratelimited\",\"info\":\"You've exceeded your rate limit.\"}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(answer(&f, 200, slice__str(wrong[i]), NULL), PAGE_INVALID);
    buf__fini(&full);
    static const char *const poedb[] = {"poedb/A"};
    set_up(&f, poedb, 1);
    static const char *const no_rows[] = {"", "{}", "<html>", "<table><tr><th>a</th></tr></table>", "<table><tr><td>\xff</td></tr></table>"};
    for (size_t i = 0; i < sizeof no_rows / sizeof *no_rows; i++)
        assert_int_equal(answer(&f, 200, slice__str(no_rows[i]), NULL), PAGE_INVALID);
}

static void decode(const struct fixture *f, const struct buf *keep, enum page_freshness freshness, struct rows *rows) {
    const struct page page = {.stream = &f->spec, .received_wall_ns = NOW_S * NS_PER_S, .lsn = 4, .freshness = freshness,
                              .body = buf__slice(keep)};
    static const struct decode_context context = {0};
    struct err e = {0};
    *rows = (struct rows){0};
    if (enrichment->decode(&page, &context, rows, &e) != 0) fail_msg("%s", e.msg);
}
/* The rows of a file in tests/data, the way they take through judge. */
static void rows_of(const char *page, const char *file, enum page_freshness freshness, struct rows *rows) {
    struct fixture f;
    struct buf body, keep;
    set_up(&f, &page, 1);
    assert_true(golden__load("SOUK_SOURCE", file, &body));
    assert_int_equal(answer(&f, 200, buf__slice(&body), &keep), PAGE_NEW);
    decode(&f, &keep, freshness, rows);
    buf__fini(&keep);
    buf__fini(&body);
}

static void test_a_list_of_gold_costs_becomes_rows(void **state) {
    struct rows rows;
    (void)state;
    rows_of("poedb/Currency_Exchange", "tests/data/enrichment/list.html", PAGE_STALE, &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_enrichment, "");
    assert_int_equal(b->n_rows, 3);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    assert_str(b, "source", 0, "poedb");
    assert_str(b, "page", 0, "Currency_Exchange");
    assert_str(b, "key", 0, "Chaos Orb");
    assert_true(golden__f64(b, "gold_per_unit", 0) == 15);
    assert_str(b, "licence", 0, "none stated");
    assert_str(b, "attribution", 0, "https://poedb.tw/us/Currency_Exchange");
    assert_int_equal(golden__int(b, "stale", 0), 1);
    assert_str(b, "payload", 0,
               "{\"cells\":{\"1\":\"Chaos Orb\",\"2\":\"15\"},\"category\":\"Currency & more\",\"section\":\"Currency\","
               "\"href\":\"Chaos_Orb\",\"metadata_id\":\"Metadata/Items/Currency/CurrencyRerollRare\"}");
    assert_str(b, "key", 1, "Rogue's Marker");
    assert_true(golden__f64(b, "gold_per_unit", 1) == 0.001);
    assert_str(b, "key", 2, "Mirror of Kalandra"); /* Its list never ends. */
    assert_true(golden__f64(b, "gold_per_unit", 2) == 25000);
    rows__fini(&rows);
}

static void test_a_page_without_end_is_bounded_and_says_so(void **state) {
    static const char *const pages[] = {"wiki/mods", "poedb/Currency_Exchange"};
    struct buf bodies[2] = {buf__init(8 << 20), buf__init(8 << 20)};
    struct rows rows;
    (void)state;
    buf__append_str(&bodies[0], "{\"cargoquery\":[");
    put_many(&bodies[0], ENRICHMENT_ROWS_MAX + 7, "{\"title\":{\"id\":\"LifeT1\",\"name\":\"Hale\"}}");
    buf__append_str(&bodies[0], "]}");
    buf__append_str(&bodies[1], "<table><tr><th>Name</th></tr>");
    for (int i = 0; i < ENRICHMENT_ROWS_MAX + 7; i++) buf__append_str(&bodies[1], "<tr><td>Chaos Orb</td></tr>");
    buf__append_str(&bodies[1], "</table>");
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct buf keep;
        set_up(&f, &pages[i], 1);
        assert_int_equal(answer(&f, 200, buf__slice(&bodies[i]), &keep), PAGE_NEW);
        decode(&f, &keep, PAGE_FRESH, &rows);
        assert_bounded(&rows, &table_bronze_enrichment, ENRICHMENT_ROWS_MAX, "7");
        rows__fini(&rows);
        buf__fini(&keep);
        buf__fini(&bodies[i]);
    }
}

static void test_tables_become_rows(void **state) {
    struct rows rows;
    (void)state;
    rows_of("poedb/Modifiers", "tests/data/enrichment/table.html", PAGE_FRESH, &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_enrichment, "");
    assert_int_equal(b->n_rows, 3);
    assert_str(b, "key", 0, "LifeT1");
    assert_str(b, "mod_id", 0, "LifeT1");
    assert_str(b, "mod_description", 0, "+(100\xe2\x80\x93" "109) to maximum Life");
    assert_str(b, "craft_group", 0, "IncreasedLife");
    assert_int_equal(golden__int(b, "stale", 0), 0);
    assert_str(b, "mod_id", 1, "FireT1");
    assert_str(b, "payload", 1,
               "{\"cells\":{\"Mod ID\":\"FireT1\",\"Name\":\"Fire\",\"Description\":\"+1%\"},\"category\":\"Modifiers\",\"href\":\"x\"}");
    assert_str(b, "key", 2, "Divine Orb");
    assert_str(b, "mod_id", 2, "");
    assert_true(golden__f64(b, "gold_per_unit", 2) == 250);
    assert_str(b, "payload", 2,
               "{\"cells\":{\"Name\":\"Divine Orb\",\"Gold fee\":\"250\"},\"category\":\"Modifiers\",\"href\":\"/us/Divine\","
               "\"metadata_id\":\"Metadata/Items/Currency/CurrencyModValues\"}");
    b = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(b->n_rows, 3);
    assert_str(b, "reason", 0, "wrong_type");
    assert_str(b, "field", 0, "rows[3].cells[1]");
    assert_str(b, "value", 0, "?");
    assert_str(b, "reason", 1, "missing_field");
    assert_str(b, "reason", 2, "too_many");
    rows__fini(&rows);
}

static void test_modifiers_become_rows(void **state) {
    struct rows rows;
    (void)state;
    rows_of("wiki/mods", "tests/data/enrichment/mods.json", PAGE_FRESH, &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_enrichment, "");
    assert_int_equal(b->n_rows, 2);
    assert_str(b, "key", 0, "LifeT1");
    assert_str(b, "mod_description", 0, "+(100-109) to maximum Life pool second line");
    assert_str(b, "craft_group", 0, "IncreasedLife");
    assert_str(b, "licence", 0, "CC BY-NC-SA 3.0");
    assert_str(b, "craft_group", 1, "A,B");
    assert_str(b, "mod_description", 1, ""); /* A list, which costs itself. */
    assert_int_equal(rows.n_fields_lost, 1);
    static const char *const refused[][2] = {{"cargoquery[2].title.id", "missing_field"}, {"cargoquery[3].title.id", "missing_field"},
                                             {"cargoquery[4].id", "wrong_type"},          {"cargoquery[5].title", "wrong_type"},
                                             {"cargoquery[6].title", "missing_field"},    {"cargoquery[7]", "wrong_type"}};
    b = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(b->n_rows, sizeof refused / sizeof *refused);
    for (size_t i = 0; i < b->n_rows; i++) {
        assert_str(b, "field", i, refused[i][0]);
        assert_str(b, "reason", i, refused[i][1]);
    }
    rows__fini(&rows);
}

static void test_html_is_read_as_browsers_do(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } texts[] = {{"a &amp; b", "a & b"}, {"&#39;&#x27;&apos;", "'''"}, {"&nbsp;x&nbsp;", "x "}, {"&unknown; &", "&unknown; &"},
                 {"&#xD800;&#99999999;", "\xef\xbf\xbd\xef\xbf\xbd"}, {" \t\n x \r y", "x y"}, {"&#233;", "\xc3\xa9"},
                 {"&#x1F600;", "\xf0\x9f\x98\x80"}, {"&#x;&#;", "&#x;&#;"}, {"&#8364;", "\xe2\x82\xac"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf out = buf__init(64);
        html_scan__text(&out, slice__str(texts[i].text), 64);
        if (!slice__eq(buf__slice(&out), slice__str(texts[i].want))) fail_msg("%s became %.*s", texts[i].text, SLICE_FMT(buf__slice(&out)));
        buf__fini(&out);
    }
    struct slice v = {0};
    assert_true(html_scan__attr(SLICE_LIT(" A=1 b='x \"y' c = \"z>\" d/"), "c", &v));
    assert_true(slice__eq(v, SLICE_LIT("z>")));
    assert_true(html_scan__attr(SLICE_LIT(" A=1 b='x \"y'"), "a", &v) && slice__eq(v, SLICE_LIT("1")));
    assert_true(html_scan__attr(SLICE_LIT(" A=1 b='x \"y'"), "b", &v) && slice__eq(v, SLICE_LIT("x \"y")));
    assert_true(html_scan__attr(SLICE_LIT(" d"), "d", &v) && v.len == 0);
    assert_false(html_scan__attr(SLICE_LIT("a=b"), "b", &v));
    static const struct {
        const char *text;
        double cost; /* Below 0: none. */
    } costs[] = {{"15", 15}, {" 25,000 ", 25000}, {"1/1000", 0.001}, {"0.5", 0.5}, {"0", 0}, {"", -1}, {"-1", -1}, {"1/0", -1}, {"1/", -1},
                 {"/2", -1}, {"1/2/3", -1}, {"1.2.3", -1}, {"1e3", -1}, {",5", -1}, {"new", -1}, {"11111111111111111111111111", -1}};
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        double cost = -1;
        bool is_cost = poedb_page__cost(slice__str(costs[i].text), &cost);
        assert_int_equal(is_cost, costs[i].cost >= 0);
        if (is_cost) assert_true(cost == costs[i].cost);
    }
    /* The end of the page ends what is open, wherever it is. */
    static const char page[] = "<h5>a</h5><!-- c --><table x='>'><tr><th>h</th></tr><tr><td><a href=\"u\">v&amp;</a>"
                               "<table><tr><td>w</td></tr></table><script>x</script></td></tr>";
    for (size_t n = 0; n < sizeof page; n++) {
        struct poedb_page p;
        size_t n_rows = 0;
        char *copy = malloc(n + 1); /* Of just that size, so that a read beyond it is found. */
        memcpy(copy, page, n);
        poedb_page__init(&p, slice__of(copy, n));
        while (poedb_page__next(&p)) n_rows++;
        assert_false(poedb_page__failed(&p));
        assert_true(n_rows <= 2);
        poedb_page__fini(&p);
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_site_is_a_stream),
        cmocka_unit_test(test_a_page_joins_with_three_successes_and_leaves_with_a_failure),
        cmocka_unit_test(test_tables_of_the_wiki_come_in_chunks),
        cmocka_unit_test(test_a_list_of_gold_costs_becomes_rows),
        cmocka_unit_test(test_a_page_without_end_is_bounded_and_says_so),
        cmocka_unit_test(test_tables_become_rows),
        cmocka_unit_test(test_modifiers_become_rows),
        cmocka_unit_test(test_html_is_read_as_browsers_do),
    };
    return cmocka_run_group_tests(tests, find_source, NULL);
}
