/* How fast a replay goes: pages from the log, packed as the spool has them, through judge, decode,
 * quality, hash and batches, on one thread and without a database.
 *
 * The measure is the pace at which psapi lets anyone download pages: two in seven seconds, which a
 * replay should exceed tenfold by far, as a day is to be replayed over a cup of coffee. The page is
 * the recorded one of April 2024 where the shared data is, else a made one of its size. */
#include "../tests/golden/golden.h"
#include "../tests/lib/river_pages.h"
#include "souk/core/log.h"
#include "souk/replay.h"
#include <time.h>

enum { PAGES = 200, STASHES = 900 };
#define PACE_PER_S (2.0 / 7)
#define PAGES_A_DAY (86400 * PACE_PER_S)

struct pages {
    struct buf packed, payload;
    size_t body_bytes;
    int n, n_pages;
};

static int next(struct replay_feed *feed, struct spool_record *out, struct err *e) {
    struct pages *p = feed->self;
    (void)e;
    if (p->n == p->n_pages) return 0;
    river_pages__record(out, &p->payload, p->n++, p->body_bytes, buf__slice(&p->packed));
    return 1;
}

/* @return whether the page is a recorded one. */
static bool load_page(struct buf *out) {
    if (golden__load("SOUK_SHARED_DATA", "poe/psapi/page-pc-2024-04.stashes.json.gz", out)) {
        golden__envelope(out);
        return true;
    }
    uint64_t seed = 1;
    *out = buf__init((size_t)16 << 20);
    river_pages__make(out, &seed, 0, STASHES);
    return false;
}

int main(int argc, char **argv) {
    struct buf body;
    bool recorded = load_page(&body);
    struct pages pages = {.packed = buf__init((size_t)16 << 20),
                          .payload = buf__init((size_t)16 << 20),
                          .body_bytes = body.len,
                          .n_pages = argc > 1 ? atoi(argv[1]) : PAGES};
    struct replay_feed feed = {.name = "bench", .has_requests = true, .self = &pages, .next = next};
    struct replay_options options = {.followed = "Standard\nHardcore\n"};
    struct replay_result result;
    struct replay *r;
    struct err e = {0};
    log__setup(stderr, LOG_FORMAT_LOGFMT,
               LOG_LEVEL_ERROR); /* One page, many cursors: the judge wonders. */
    if (journal__compress(buf__slice(&body), &pages.packed) != 0 ||
        replay__new(&r, &options, &e) != 0)
        return 1;
    int64_t started_ns = clock__stopwatch_ns();
    clock_t cpu = clock();
    int code = replay__run(r, &feed, &result, &e);
    double took_s = (double)(clock__stopwatch_ns() - started_ns) / (double)NS_PER_S;
    double cpu_s = (double)(clock() - cpu) / CLOCKS_PER_SEC;
    if (code != 0) {
        fprintf(stderr, "bench_replay: %s\n", e.msg);
        return 1;
    }
    uint64_t n_rows = 0;
    for (size_t i = 0; i < result.n_tables; i++) n_rows += result.tables[i].n_rows;
    double per_s = (double)result.n_pages / took_s;
    printf("%s page of %zu kB: %llu pages, %llu rows in %.2f s\n", recorded ? "recorded" : "made",
           body.len / 1000, (unsigned long long)result.n_pages, (unsigned long long)n_rows, took_s);
    printf("%.1f pages/s, %.0f MB/s of JSON, %.0f rows/s, %.1f ms of CPU a page\n", per_s,
           (double)result.body_bytes / took_s / 1e6, (double)n_rows / took_s,
           cpu_s * 1e3 / (double)result.n_pages);
    printf("%.0f times psapi's pace of 2 pages in 7 s; a day's %.0f pages in %.0f s\n",
           per_s / PACE_PER_S, PAGES_A_DAY, PAGES_A_DAY / per_s);
    replay__free(r);
    buf__fini(&body);
    buf__fini(&pages.packed);
    buf__fini(&pages.payload);
    return 0;
}
