/* Case 62, rows: a day of pages, at the pace that psapi allows, replayed three times, each time cut
 * into other batches, makes equal rows in equal order: hash for hash, table by table. A day has
 * 24,685 pages; each commit replays its first quarter of an hour. */
#include "../lib/river_pages.h"
#include "../lib/score.h"
#include "souk/core/log.h"
#include "souk/replay.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { PAGES_A_DAY = 24685, PAGES_PER_COMMIT = 257 };

/* Makes the day page by page. */
struct day {
    uint64_t seed;
    int n, n_pages;
    struct buf body, packed, payload;
};

static int next(struct replay_feed *feed, struct spool_record *out, struct err *e) {
    struct day *d = feed->self;
    (void)e;
    if (d->n == d->n_pages) return 0;
    river_pages__make(&d->body, &d->seed, d->n, 6);
    buf__clear(&d->packed);
    assert_int_equal(journal__compress(buf__slice(&d->body), &d->packed), 0);
    river_pages__record(out, &d->payload, d->n++, d->body.len, buf__slice(&d->packed));
    return 1;
}

static void run(size_t rows_max, struct replay_result *out) {
    struct day day = {.seed = 62,
                      .n_pages = (int)score__times(PAGES_PER_COMMIT, PAGES_A_DAY),
                      .body = buf__init(1 << 20),
                      .packed = buf__init(1 << 20),
                      .payload = buf__init(1 << 20)};
    struct replay_feed feed = {.name = "day", .has_requests = true, .self = &day, .next = next};
    struct replay_options options = {.followed = "Standard\nHardcore\n", .rows_max = rows_max};
    struct replay *r;
    struct err e = {0};
    assert_int_equal(replay__new(&r, &options, &e), 0);
    assert_int_equal(replay__run(r, &feed, out, &e), 0);
    replay__free(r);
    buf__fini(&day.body);
    buf__fini(&day.packed);
    buf__fini(&day.payload);
}

static void test_a_day_replayed_three_times_is_equal(void **state) {
    (void)state;
    static const size_t rows_max[] = {50000, 977, 13};
    struct replay_result results[3];
    uint64_t n_rows = 0;
    bool equal = true;
    for (size_t i = 0; i < 3; i++) {
        run(rows_max[i], &results[i]);
        equal = equal && strcmp(results[0].rows, results[i].rows) == 0 && strcmp(results[0].log, results[i].log) == 0 &&
                results[0].n_tables == results[i].n_tables;
        for (size_t t = 0; equal && t < results[i].n_tables; t++)
            equal = strcmp(results[0].tables[t].rows, results[i].tables[t].rows) == 0 &&
                    strcmp(results[0].tables[t].log, results[i].tables[t].log) == 0;
    }
    for (size_t t = 0; t < results[0].n_tables; t++) n_rows += results[0].tables[t].n_rows;
    assert_true(results[2].n_batches > results[0].n_batches);
    assert_int_equal(results[0].n_tables, 5);
    assert_int_equal(results[0].n_judged_otherwise, 0);
    score__write(&(struct score){.case_number = 62,
                                 .what = "a day of pages replayed three times, rows and order",
                                 .passed = equal,
                                 .seeds = 1,
                                 .rows = n_rows * 3,
                                 .recovery_s = -1});
    print_message("%llu pages, %llu rows: rows %s, log %s\n", (unsigned long long)results[0].n_pages,
                  (unsigned long long)n_rows, results[0].rows, results[0].log);
    assert_true(equal);
}

int main(void) {
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_day_replayed_three_times_is_equal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
