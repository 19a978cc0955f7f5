/* Committed and recorded bodies of currency_exchange, leagues and enrichment make the rows whose
 * hashes are in tests/golden/exchange.digest: one line a batch. */
#include "../golden/golden.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    const char *source, *key, *kind, *root, *file, *first_line;
} bodies[] = {
    {"currency_exchange", "pc", "cdn/latest", "SOUK_SOURCE", "tests/data/exchange/digest.json", ""},
    {"leagues", "pc", "public", "SOUK_SOURCE", "tests/data/leagues/public.json", ""},
    {"enrichment", "poedb", "poedb", "SOUK_SOURCE", "tests/data/enrichment/list.html", "Currency_Exchange\n"},
    {"enrichment", "poedb", "poedb", "SOUK_SOURCE", "tests/data/enrichment/table.html", "Modifiers\n"},
    {"enrichment", "wiki", "wiki", "SOUK_SOURCE", "tests/data/enrichment/mods.json", "mods\n"},
    {"currency_exchange", "pc", "cdn/latest", "SOUK_SHARED_DATA", "poe/cx/digest-allflame-2026-08-excerpt.json", ""},
    {"currency_exchange", "poe2", "cdn/latest", "SOUK_SHARED_DATA", "poe/cx/digest-poe2-2026-07-excerpt.json", ""},
    {"leagues", "pc", "public", "SOUK_SHARED_DATA", "poe/psapi/leagues-2019.json", ""},
    {"leagues", "pc", "public", "SOUK_SHARED_DATA", "poe/trade/data-leagues-2020-delirium.json.gz", ""},
    {"leagues", "pc", "public", "SOUK_SHARED_DATA", "poe/trade/leagues-poe1-2026-08.json", ""},
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
    if (source__find(bodies[i].source)->decode(&page, &context, rows, &e) != 0) fail_msg("%s: %s", bodies[i].file, e.msg);
    buf__fini(&body);
}

static void add_digest(const struct rows *rows, const char *file, struct buf *out) {
    for (size_t i = 0; i < rows->n; i++) {
        char hash[33];
        const struct batch *b = &rows->batches[i].batch;
        batch__hash(b, hash);
        buf__printf(out, "%s %s %s %zu %s\n", file, b->table->name, rows->batches[i].part, b->n_rows, hash);
    }
}

static void check(const char *root) {
    struct buf got = buf__init(1 << 16), want;
    size_t n_bodies = 0;
    assert_true(golden__load("SOUK_SOURCE", "tests/golden/exchange.digest", &want));
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct buf file;
        struct rows rows;
        if (strcmp(bodies[i].root, root) != 0) continue;
        if (!golden__load(root, bodies[i].file, &file)) fail_msg("no %s", bodies[i].file);
        for (int again = 0; again < 2; again++) { /* The same on each run. */
            size_t before = got.len;
            decode(i, buf__slice(&file), &rows);
            add_digest(&rows, bodies[i].file, &got);
            rows__fini(&rows);
            if (again == 0) continue;
            assert_int_equal(got.len - before, before - n_bodies);
            assert_memory_equal(got.base + before, got.base + n_bodies, got.len - before);
            got.len = before;
        }
        n_bodies = got.len;
        buf__fini(&file);
    }
    assert_true(got.len > 0);
    if (memmem(want.base, want.len, got.base, got.len) == NULL) {
        print_message("the rows have changed; when that is meant, the new digests are\n");
        fwrite(got.base, 1, got.len, stderr);
        fail();
    }
    buf__fini(&got);
    buf__fini(&want);
}

static void test_committed_bodies_make_committed_digests(void **state) {
    (void)state;
    check("SOUK_SOURCE");
}

static void test_recorded_bodies_make_committed_digests(void **state) {
    (void)state;
    if (getenv("SOUK_SHARED_DATA") == NULL) {
        print_message("no shared data\n");
        skip();
    }
    check("SOUK_SHARED_DATA");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed_bodies_make_committed_digests),
        cmocka_unit_test(test_recorded_bodies_make_committed_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
