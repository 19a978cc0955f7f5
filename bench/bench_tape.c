/*
 * What does the tape cost: items a second, bytes an item, and how both grow to ten million items?
 *
 *     bench_tape [ITEMS]
 *
 * Stashes of 1 to 60 items are first all seen once, then seen again with a tenth of their items
 * changed, at each of the sizes; then the snapshot is written and read. Items are made before the
 * clock starts, apart from their ids, which are written as digits for the call (what a page has).
 */
#include "souk/tape.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STASH_ITEMS_MAX 60u
#define ROUND_ITEMS 500000u /* Of versions seen again, a size. */

struct bench {
    struct tape *tape;
    uint64_t n_events, n_items;
    uint32_t n_stashes;
    int64_t wall_ns;
    char ids[STASH_ITEMS_MAX][65], stash_id[65];
    struct tape_item items[STASH_ITEMS_MAX];
};

static uint64_t mix(uint64_t x) { /* splitmix64's last steps. */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void write_id(char *out, uint64_t a, uint64_t b) {
    static const char digits[] = "0123456789abcdef";
    for (unsigned w = 0; w < 4; w++) {
        uint64_t v = mix(a * 4 + w + mix(b));
        for (unsigned i = 0; i < 16; i++) out[w * 16 + i] = digits[v >> (4 * i) & 15];
    }
    out[64] = '\0';
}

static void on_event(void *ctx, const struct tape_event *event) {
    (void)event;
    ((struct bench *)ctx)->n_events++;
}

static uint32_t items_of(uint32_t stash) { return 1 + (uint32_t)(mix(stash) % STASH_ITEMS_MAX); }

/* One version of @stash; a tenth of its items are those of @age. */
static void see(struct bench *b, uint32_t stash, uint32_t age) {
    struct err e;
    uint32_t n = items_of(stash);
    write_id(b->stash_id, stash, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t r = mix((uint64_t)stash << 8 | i);
        uint32_t a = r % 10 == age % 10 ? age : 0;
        write_id(b->ids[i], (uint64_t)stash << 8 | i, 1 + a);
        b->items[i] = (struct tape_item){.id = slice__of(b->ids[i], 64),
                                         .item_key = r % 5000,
                                         .fingerprint = r | 1,
                                         .ask = 5,
                                         .currency = SLICE_LIT("chaos"),
                                         .price_e6 = (int64_t)(r % 100 + 1) * 1000000,
                                         .stack_size = 1};
    }
    const struct tape_version v = {.realm = SLICE_LIT("pc"),
                                   .stash_id = slice__of(b->stash_id, 64),
                                   .is_public = true,
                                   .league = SLICE_LIT("Settlers"),
                                   .seller = slice__of(b->stash_id, 14),
                                   .items = b->items,
                                   .n_items = n,
                                   .wall_ns = b->wall_ns,
                                   .caught_up = true};
    b->wall_ns += NS_PER_MS;
    b->n_items += n;
    if (tape__version(b->tape, &v, on_event, b, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
}

static size_t resident_bytes(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    if (f != NULL) fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void run_size(struct bench *b, uint64_t n_items, size_t base_bytes) {
    struct tape_status st;
    int64_t from_ns = clock__stopwatch_ns();
    uint64_t before = b->n_items;
    for (tape__status(b->tape, &st); st.n_items < n_items; tape__status(b->tape, &st))
        see(b, b->n_stashes++, 0);
    double fill_s = (double)(clock__stopwatch_ns() - from_ns) / 1e9,
           filled = (double)(b->n_items - before);
    uint64_t events = b->n_events;
    before = b->n_items;
    from_ns = clock__stopwatch_ns();
    for (uint32_t i = 0; b->n_items - before < ROUND_ITEMS; i++)
        see(b, (uint32_t)(mix(i) % b->n_stashes), 1 + i % 9);
    double again_s = (double)(clock__stopwatch_ns() - from_ns) / 1e9;
    size_t resident = resident_bytes();
    tape__status(b->tape, &st);
    printf("%9llu items %8llu stashes  first seen %5.2f M items/s  seen again %5.2f M items/s  "
           "%4.1f %% events  %6.1f bytes an item, %6.1f resident\n",
           (unsigned long long)st.n_items, (unsigned long long)st.n_stashes, filled / fill_s / 1e6,
           (double)(b->n_items - before) / again_s / 1e6,
           100.0 * (double)(b->n_events - events) / (double)(b->n_items - before),
           (double)st.bytes / (double)st.n_items,
           (double)(resident - base_bytes) / (double)st.n_items);
    fflush(stdout);
}

static int run_snapshot(struct bench *b) {
    char path[] = "bench_tape_XXXXXX";
    struct tape *again;
    struct err e = {0};
    uint64_t lsn;
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    int64_t from_ns = clock__stopwatch_ns();
    int rc = tape__save(b->tape, path, 1, &e);
    double save_s = (double)(clock__stopwatch_ns() - from_ns) / 1e9;
    struct stat written = {0};
    stat(path, &written);
    tape__free(b->tape);
    b->tape = NULL;
    if (rc == 0) rc = tape__new(&again, &(struct tape_options){0});
    from_ns = clock__stopwatch_ns();
    if (rc == 0) {
        rc = tape__load(again, path, &lsn, &e);
        tape__free(again);
    }
    if (rc != 0) fprintf(stderr, "%s\n", e.msg);
    else
        printf("snapshot of %.0f MB: written and synced in %.2f s, read in %.2f s\n",
               (double)written.st_size / 1e6, save_s,
               (double)(clock__stopwatch_ns() - from_ns) / 1e9);
    close(fd);
    unlink(path);
    return rc != 0;
}

int main(int argc, char **argv) {
    uint64_t n_max = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    static struct bench b = {.wall_ns = INT64_C(1700000000) * NS_PER_S};
    size_t base_bytes = resident_bytes();
    if (tape__new(&b.tape, &(struct tape_options){0}) != 0) return 1;
    for (uint64_t n = 10000; n < n_max; n *= 10) run_size(&b, n, base_bytes);
    run_size(&b, n_max, base_bytes);
    return run_snapshot(&b);
}
