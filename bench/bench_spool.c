/* How fast the spool is beside the disk itself.
 *
 *     bench_spool [DIR] [RECORDS] [BYTES]
 *
 * First a raw loop writes the same bytes into a reserved file, a write and an fdatasync a group, as
 * plainly as it can be done; then the spool takes them, one record after another with 1 MiB in
 * flight. Then single records, each waiting for the one before: what a lone page pays. Then all is
 * read. */
#include "raw_disk.h"
#include "souk/core/log.h"
#include "souk/spool.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP ((size_t)256 << 10)
#define IN_FLIGHT_MAX ((size_t)1 << 20)
#define N_LONE 200u

struct bench {
    struct spool *spool;
    struct clock clock;
    struct slice payload;
    size_t n, n_sent, n_synced;
    int64_t *started_ns, *took_ns; /* Of each record. */
};

static void print_line(const char *what, size_t n_records, size_t n_bytes, int64_t total_ns,
                       double n_syncs, int64_t *took_ns, size_t n_took) {
    double s = (double)total_ns / 1e9;
    printf("%-22s %8zu records %8.1f MB/s %8.0f syncs/s", what, n_records,
           (double)n_bytes / 1e6 / s, n_syncs / s);
    if (n_took > 0) {
        sort_times(took_ns, n_took);
        printf("  p50 %.2f ms  p99 %.2f ms", (double)percentile(took_ns, n_took, 50) / 1e6,
               (double)percentile(took_ns, n_took, 99) / 1e6);
    }
    printf("\n");
}

static int run_raw(const char *dir, size_t n_bytes, size_t group) {
    struct raw_disk d;
    int rc = raw_disk__run(dir, n_bytes / group, group, &d);
    if (rc == 0)
        print_line(group == GROUP ? "raw 256 KiB" : "raw lone records", d.n, d.n * group,
                   d.total_ns, (double)d.n, d.took_ns, d.n);
    raw_disk__fini(&d);
    return rc;
}

static void on_synced(void *data, uint64_t lsn, int status) {
    struct bench *b = data;
    (void)lsn;
    if (status != 0) exit(1);
    b->took_ns[b->n_synced] = clock__stopwatch_ns() - b->started_ns[b->n_synced];
    b->n_synced++;
}

static void run_spool(struct bench *b, uv_loop_t *loop, struct metrics *m, const char *what,
                      size_t in_flight_max) {
    struct series *group = metrics__histogram_scaled(m, "souk_wal_group_bytes", "", 1e6, "%s", "");
    uint64_t syncs = group->count;
    struct err e;
    b->n_sent = b->n_synced = 0;
    int64_t start_ns = clock__stopwatch_ns();
    while (b->n_synced < b->n) {
        clock__read(&b->clock);
        while (b->n_sent < b->n && (b->n_sent - b->n_synced) * b->payload.len < in_flight_max) {
            b->started_ns[b->n_sent] = clock__stopwatch_ns();
            if (spool__append(b->spool, SPOOL_PAGE, 1, &b->payload, 1, on_synced, b, &e) == 0) {
                fprintf(stderr, "%s\n", e.msg);
                exit(1);
            }
            b->n_sent++;
        }
        uv_run(loop, UV_RUN_ONCE);
    }
    print_line(what, b->n, b->n * b->payload.len, clock__stopwatch_ns() - start_ns,
               (double)(group->count - syncs), b->took_ns, b->n);
}

static void run_reader(const struct bench *b) {
    struct spool_reader r;
    struct spool_record rec;
    struct spool_status st;
    struct err e;
    size_t n = 0, n_bytes = 0;
    spool__status(b->spool, &st);
    int64_t start_ns = clock__stopwatch_ns();
    spool_reader__init(&r, b->spool, st.first_lsn);
    for (; spool_reader__next(&r, UINT64_MAX, &rec, &e) == 1; n++) n_bytes += rec.payload.len;
    spool_reader__fini(&r);
    print_line("spool read", n, n_bytes, clock__stopwatch_ns() - start_ns, 0, NULL, 0);
}

int main(int argc, char **argv) {
    char made[] = "bench_spool_XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(made);
    struct bench b = {.n = argc > 2 ? strtoul(argv[2], NULL, 10) : 4000};
    size_t len = argc > 3 ? strtoul(argv[3], NULL, 10) : 50000;
    uv_loop_t loop;
    struct metrics m;
    struct err e;
    struct spool_options options = {.dir = dir, .quota_bytes = 64ull << 30};
    char *bytes = malloc(len + 1);
    size_t n_max = b.n > N_LONE ? b.n : N_LONE;
    b.started_ns = calloc(n_max, sizeof(int64_t));
    b.took_ns = calloc(n_max, sizeof(int64_t));
    if (dir == NULL || bytes == NULL || b.started_ns == NULL || b.took_ns == NULL || b.n == 0)
        return 1;
    for (size_t i = 0; i < len; i++) bytes[i] = (char)(i * 131);
    b.payload = slice__of(bytes, len);
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_WARN);
    if (run_raw(dir, b.n * len, GROUP) != 0) {
        perror("raw");
        return 1;
    }
    uv_loop_init(&loop);
    metrics__init(&m);
    clock__read(&b.clock);
    if (spool__open(&b.spool, &loop, &b.clock, &m, &options, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    run_spool(&b, &loop, &m, "spool", IN_FLIGHT_MAX);
    if (run_raw(dir, N_LONE * len, len) != 0) return 1;
    b.n = N_LONE;
    run_spool(&b, &loop, &m, "spool lone records", 1);
    run_reader(&b);
    spool__close(b.spool, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    int64_t start_ns = clock__stopwatch_ns();
    if (spool__open(&b.spool, &loop, &b.clock, &m, &options, &e) != 0) return 1;
    printf("%-22s %.1f ms\n", "opening it again", (double)(clock__stopwatch_ns() - start_ns) / 1e6);
    spool__close(b.spool, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    metrics__fini(&m);
    free(bytes);
    free(b.started_ns);
    free(b.took_ns);
    return 0;
}
