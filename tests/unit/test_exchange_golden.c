/* Bodies of currency_exchange, leagues and enrichment make the rows whose hashes are committed in
 * tests/golden: one line a batch. */
#include "../golden/golden.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    enum data_origin origin;
    const char *source, *key, *kind, *file, *first_line;
} bodies[] = {
    /* Written by hand, beside those that are made. */
    {DATA_MADE, "currency_exchange", "pc", "cdn/latest", "../exchange/digest.json", ""},
    {DATA_MADE, "leagues", "pc", "public", "../leagues/public.json", ""},
    {DATA_MADE, "enrichment", "poedb", "poedb", "../enrichment/list.html", "Currency_Exchange\n"},
    {DATA_MADE, "enrichment", "poedb", "poedb", "../enrichment/table.html", "Modifiers\n"},
    {DATA_MADE, "enrichment", "wiki", "wiki", "../enrichment/mods.json", "mods\n"},
    {DATA_MADE, "currency_exchange", "pc", "cdn/latest", "cx/digest-allflame-2026-08-excerpt.json",
     ""},
    {DATA_MADE, "currency_exchange", "pc", "oauth/latest",
     "cx/digest-allflame-2026-08-excerpt.json", ""},
    {DATA_MADE, "currency_exchange", "pc", "oauth/oldest", "cx/digest-short-ids-2024.json", ""},
    {DATA_MADE, "currency_exchange", "poe2", "cdn/latest", "cx/digest-poe2.json", ""},
    {DATA_MADE, "leagues", "pc", "public", "psapi/leagues-2019.json", ""},
    {DATA_MADE, "leagues", "pc", "public", "trade/data-leagues-2020.json", ""},
    {DATA_MADE, "leagues", "pc", "public", "trade/leagues-poe1-2026-08.json", ""},
    {DATA_RECORDED, "currency_exchange", "pc", "cdn/latest",
     "cx/digest-allflame-2026-08-excerpt.json", ""},
    {DATA_RECORDED, "currency_exchange", "poe2", "cdn/latest",
     "cx/digest-poe2-2026-07-excerpt.json", ""},
    {DATA_RECORDED, "leagues", "pc", "public", "psapi/leagues-2019.json", ""},
    {DATA_RECORDED, "leagues", "pc", "public", "trade/data-leagues-2020-delirium.json.gz", ""},
    {DATA_RECORDED, "leagues", "pc", "public", "trade/leagues-poe1-2026-08.json", ""},
};

static void decode(size_t i, struct slice file, struct rows *rows) {
    static const char *const followed[] = {"Standard", "Allflame"};
    static const struct decode_context context = {.followed = followed, .n_followed = 2};
    struct stream_spec stream = {.league = ""};
    struct buf body = buf__init(1 << 24);
    struct err e = {0};
    snprintf(stream.key, sizeof stream.key, "%s", bodies[i].key);
    snprintf(stream.realm, sizeof stream.realm, "%s", bodies[i].key);
    snprintf(stream.kind, sizeof stream.kind, "%s", bodies[i].kind);
    buf__append_str(&body, bodies[i].first_line);
    buf__append_slice(&body, file);
    const struct page page = {.stream = &stream,
                              .received_wall_ns = INT64_C(1800000000) * NS_PER_S,
                              .lsn = 5,
                              .body = buf__slice(&body)};
    *rows = (struct rows){0};
    if (source__find(bodies[i].source)->decode(&page, &context, rows, &e) != 0)
        fail_msg("%s: %s", bodies[i].file, e.msg);
    buf__fini(&body);
}

static void test_bodies_make_committed_digests(enum data_origin origin) {
    struct buf got = buf__init(1 << 16), again = buf__init(1 << 16);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct buf file;
        struct rows rows;
        if (bodies[i].origin != origin) continue;
        golden__body(origin, bodies[i].file, &file);
        for (int run = 0; run < 2; run++) { /* The same on each run. */
            decode(i, buf__slice(&file), &rows);
            assert_true(rows__count(&rows) > 0);
            golden__digest(&rows, bodies[i].file, run == 0 ? &got : &again);
            rows__fini(&rows);
        }
        buf__fini(&file);
    }
    assert_true(slice__eq(buf__slice(&got), buf__slice(&again)));
    assert_true(golden__same("exchange", origin, &got));
    buf__fini(&got);
    buf__fini(&again);
}
DATA_TESTS_OF(test_bodies_make_committed_digests)

int main(void) {
    const struct CMUnitTest tests[] = {DATA_TESTS(test_bodies_make_committed_digests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
