/* leagues are asked for once a period, kept when they change and else once a day, in every shape.
 */
#include "../golden/golden.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW_S INT64_C(1800000000)
static const struct source_type *leagues;
static const char *const realms[] = {"pc", "xbox"};
static const struct source_settings open_form = {
    .base_url = "http://h/api", .realms = realms, .n_realms = 2, .period_ns = 86400 * NS_PER_S};

static int find_source(void **state) {
    (void)state;
    leagues = source__find("leagues");
    return leagues == NULL;
}

static enum page_verdict judge(const struct stream_spec *s, const struct stream_state *at,
                               int status, const char *body, struct page_facts *facts) {
    struct err e = {0};
    const struct source_answer answer = {.status = status, .body = slice__str(body)};
    int code = leagues->judge(s, at, &answer, facts, &e);
    assert_int_equal(code == 0,
                     facts->verdict != PAGE_INVALID && facts->verdict != PAGE_UNAVAILABLE);
    assert_int_equal(code != 0, e.msg[0] != '\0');
    return facts->verdict;
}

static void test_each_form_has_its_path(void **state) {
    static struct stream_spec specs[STREAMS_MAX];
    static const char *const twice[] = {"pc", "pc"};
    struct stream_state at = {.now = {.mono_ns = 5, .wall_ns = NOW_S * NS_PER_S}};
    struct source_request r;
    struct err e;
    (void)state;
    assert_int_equal(leagues->streams(&open_form, specs, &e), 2);
    leagues->plan(&open_form, &specs[1], &at, &r);
    assert_string_equal(r.url, "http://h/api/leagues?type=main&realm=xbox");
    assert_null(r.scope);
    assert_int_equal(r.class, SOURCE_METADATA);
    assert_int_equal(r.not_before_mono_ns, 0);
    struct source_settings s = open_form;
    s.use_oauth = true;
    assert_int_equal(leagues->streams(&s, specs, &e), 2);
    leagues->plan(&s, &specs[0], &at, &r);
    assert_string_equal(r.url, "http://h/api/league?realm=pc");
    assert_string_equal(r.scope, "service:leagues");
    s.realms = twice;
    assert_int_equal(leagues->streams(&s, specs, &e), ERR_CONFIG);
}

static void test_a_list_is_asked_for_once_a_period_across_restarts(void **state) {
    static struct stream_spec specs[STREAMS_MAX];
    struct stream_state at = {.now = {.mono_ns = NS_PER_S, .wall_ns = NOW_S * NS_PER_S}};
    struct source_request r;
    struct page_facts facts;
    struct err e;
    (void)state;
    leagues->streams(&open_form, specs, &e);
    assert_int_equal(judge(&specs[0], &at, 200, "[{}]", &facts), PAGE_NEW);
    assert_int_equal(facts.n_entries, 1);
    snprintf(at.cursor, sizeof at.cursor, "%s", facts.next_cursor);
    at.now.wall_ns += 100 * NS_PER_S; /* Started again. */
    leagues->plan(&open_form, &specs[0], &at, &r);
    assert_int_equal(r.not_before_mono_ns, (1 + 86400 - 100) * NS_PER_S);
    at.poked = true;
    leagues->plan(&open_form, &specs[0], &at, &r);
    assert_int_equal(r.not_before_mono_ns, 0);
    at.poked = false;
    at.now.wall_ns -= 1000 * NS_PER_S; /* A clock that was wrong keeps nobody waiting. */
    leagues->plan(&open_form, &specs[0], &at, &r);
    assert_int_equal(r.not_before_mono_ns, 0);
    at.last_reply_mono_ns = 7 * NS_PER_S;
    leagues->plan(&open_form, &specs[0], &at, &r);
    assert_int_equal(r.not_before_mono_ns, (7 + 86400) * NS_PER_S);
    static const int64_t waits_s[] = {60, 120, 240};
    for (uint32_t i = 0; i < 3; i++) {
        at.n_failures = i + 1;
        leagues->plan(&open_form, &specs[0], &at, &r);
        assert_int_equal(r.not_before_mono_ns, (7 + waits_s[i]) * NS_PER_S);
    }
    at.n_failures = 1000;
    leagues->plan(&open_form, &specs[0], &at, &r);
    assert_int_equal(r.not_before_mono_ns, (7 + 86400) * NS_PER_S);
}

static void test_an_unchanged_list_is_kept_once_a_day(void **state) {
    const struct stream_spec s = {.realm = "pc", .kind = "public", .path = "/leagues"};
    struct stream_state at = {.now = {.wall_ns = NOW_S * NS_PER_S}};
    struct page_facts facts;
    (void)state;
    assert_int_equal(judge(&s, &at, 200, "[{\"id\":\"A\"}]", &facts), PAGE_NEW);
    assert_true(slice__starts(slice__str(facts.next_cursor), SLICE_LIT("1800000000-")));
    snprintf(at.cursor, sizeof at.cursor, "%s", facts.next_cursor);
    at.now.wall_ns += 86399 * NS_PER_S;
    assert_int_equal(judge(&s, &at, 200, "[{\"id\":\"A\"}]", &facts), PAGE_UNCHANGED);
    assert_int_equal(judge(&s, &at, 200, "[{\"id\":\"B\"}]", &facts), PAGE_NEW);
    at.now.wall_ns += NS_PER_S;
    assert_int_equal(judge(&s, &at, 200, "[{\"id\":\"A\"}]", &facts), PAGE_NEW);
    assert_int_equal(judge(&s, &at, 200, "[]", &facts), PAGE_EMPTY);
}

static void test_what_is_not_given_is_a_state(void **state) {
    const struct stream_spec open = {.kind = "public", .path = "/leagues"},
                             oauth = {.kind = "oauth", .path = "/league"};
    const struct stream_state at = {0};
    struct page_facts facts;
    (void)state;
    assert_int_equal(judge(&oauth, &at, 403, "{\"error\":{\"code\":6}}", &facts), PAGE_UNAVAILABLE);
    assert_int_equal(judge(&oauth, &at, 403, "<html>", &facts), PAGE_INVALID);
    assert_true(facts.block_page);
    assert_int_equal(judge(&open, &at, 403, "{}", &facts), PAGE_INVALID);
    assert_int_equal(judge(&open, &at, 404, "{\"error\":{\"code\":1}}", &facts), PAGE_UNAVAILABLE);
    static const int failures[] = {0, 400, 401, 429, 500, 503};
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
        assert_int_equal(judge(&oauth, &at, failures[i], "", &facts), PAGE_INVALID);
    static const char *const bodies[] = {
        "", "{}", "null", "<html>", "[{", "{\"leagues\":{}}", "{\"error\":{\"code\":3}}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_int_equal(judge(&open, &at, 200, bodies[i], &facts), PAGE_INVALID);
}

static void decode(struct slice body, struct rows *rows) {
    static const struct stream_spec s = {.realm = "pc", .kind = "public"};
    const struct page page = {
        .stream = &s, .received_wall_ns = NOW_S * NS_PER_S, .lsn = 3, .body = body};
    static const struct decode_context context = {0};
    struct err e = {0};
    *rows = (struct rows){0};
    if (leagues->decode(&page, &context, rows, &e) != 0) fail_msg("%s", e.msg);
}

static void test_a_list_becomes_rows(void **state) {
    struct buf body;
    struct rows rows;
    (void)state;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/leagues/public.json", &body));
    decode(buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_leagues, "");
    assert_int_equal(b->n_rows, 6);
    assert_str(b, "league", 0, "Standard");
    assert_str(b, "realm", 0, "pc");
    assert_int_equal(golden__int(b, "start_at", 0), INT64_C(1358974800000));
    assert_int_equal(golden__int(b, "end_at", 0), 0);
    assert_str(b, "rules", 0, "[]");
    assert_int_equal(golden__int(b, "is_event", 0), 0);
    assert_str(b, "category", 1, "Made up");
    assert_int_equal(golden__int(b, "is_current", 1), 1);
    assert_int_equal(golden__int(b, "is_event", 1), 1);
    assert_str(
        b, "rules", 1,
        "[{\"id\":\"Hardcore\",\"name\":\"Hardcore\",\"description\":\"\\\"One\\\" life\"}]");
    assert_str(b, "payload", 2, "{\"id\":\"Short\",\"text\":\"Short\"}");
    assert_str(b, "realm", 2, "pc"); /* That of the request. */
    /* A time and rules that are none cost themselves; [] is an empty category. */
    assert_str(b, "league", 3, "Bad time");
    assert_int_equal(golden__int(b, "start_at", 3), 0);
    assert_str(b, "league", 4, "Bad rules");
    assert_str(b, "rules", 4, "[]");
    assert_str(b, "league", 5, "Bad category");
    assert_str(b, "category", 5, "");
    assert_int_equal(rows.n_fields_lost, 2);
    static const char *const refused[][2] = {{"leagues[4].id", "missing_field"},
                                             {"leagues[5].id", "missing_field"},
                                             {"leagues[8]", "wrong_type"}};
    b = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(b->n_rows, sizeof refused / sizeof *refused);
    for (size_t i = 0; i < b->n_rows; i++) {
        assert_str(b, "field", i, refused[i][0]);
        assert_str(b, "reason", i, refused[i][1]);
    }
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_a_list_without_end_is_bounded_and_says_so(void **state) {
    enum { BOUND = 10000, MORE = 7 };
    struct buf body = buf__init(4 << 20);
    struct rows rows;
    (void)state;
    buf__append_str(&body, "[");
    for (int i = 0; i < BOUND + MORE; i++)
        buf__printf(&body, "%s{\"id\":\"Ours (PL%d)\"}", i == 0 ? "" : ",", i);
    buf__append_str(&body, "]");
    decode(buf__slice(&body), &rows);
    assert_int_equal(golden__batch(&rows, &table_bronze_leagues, "")->n_rows, BOUND);
    const struct batch *b = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(b->n_rows, 1);
    assert_str(b, "reason", 0, "too_many");
    assert_str(b, "value", 0, "7");
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_lists_of_every_age_become_rows(enum data_origin origin) {
    static const struct {
        enum data_origin origin;
        const char *file;
        size_t n;
        int64_t start_at; /* Of the last league, ms; 0: the list has no times. */
    } files[] = {
        {DATA_MADE, "psapi/leagues-2019.json", 8, INT64_C(1559937600000)},
        {DATA_MADE, "trade/data-leagues-2020.json", 4, 0},
        {DATA_MADE, "trade/leagues-poe1-2026-08.json", 6, 0},
        {DATA_RECORDED, "psapi/leagues-2019.json", 8,
         INT64_C(1559937600000)}, /* Legion began on 2019-06-07. */
        {DATA_RECORDED, "trade/data-leagues-2020-delirium.json.gz", 4, 0},
        {DATA_RECORDED, "trade/leagues-poe1-2026-08.json", 8, 0},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const struct stream_spec s = {.kind = "public"};
        const struct stream_state at = {.now = {.wall_ns = NOW_S * NS_PER_S}};
        struct page_facts facts;
        struct buf body;
        struct rows rows;
        if (files[i].origin != origin) continue;
        golden__body(origin, files[i].file, &body);
        buf__append(&body, "", 1); /* Terminated, for judge() above. */
        assert_int_equal(judge(&s, &at, 200, body.base, &facts), PAGE_NEW);
        decode(slice__of(body.base, body.len - 1), &rows);
        const struct batch *b = golden__batch(&rows, &table_bronze_leagues, "");
        assert_int_equal(b->n_rows, files[i].n);
        assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
        assert_int_equal(golden__int(b, "start_at", files[i].n - 1), files[i].start_at);
        rows__fini(&rows);
        buf__fini(&body);
    }
}
DATA_TESTS_OF(test_lists_of_every_age_become_rows)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_form_has_its_path),
        cmocka_unit_test(test_a_list_is_asked_for_once_a_period_across_restarts),
        cmocka_unit_test(test_an_unchanged_list_is_kept_once_a_day),
        cmocka_unit_test(test_what_is_not_given_is_a_state),
        cmocka_unit_test(test_a_list_becomes_rows),
        cmocka_unit_test(test_a_list_without_end_is_bounded_and_says_so),
        DATA_TESTS(test_lists_of_every_age_become_rows),
    };
    return cmocka_run_group_tests(tests, find_source, NULL);
}
