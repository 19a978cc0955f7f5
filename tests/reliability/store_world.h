/* The whole path behind a page, under one clock set by hand: spool on a disk model, rows of pages,
 * store, server model. Pages are appended, lives end in crashes, and at the end every row of every
 * page that was promised must be on the server once: stored, or refused with a row that says so. */
#ifndef STORE_WORLD_H
#define STORE_WORLD_H

#include "../lib/moved.h"
#include "../lib/disk_model.h"
#include "../lib/score.h"
#include "../lib/server_model.h"
#include "souk/core/log.h"
#include "souk/core/refusal.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define WORLD_PAGES_MAX 200000u
#define WORLD_STUCK 200000

static const struct column_desc world_columns[] = {{"page", "UInt64", COLUMN_U64},
                                                   {"lsn", "UInt64", COLUMN_U64},
                                                   {"ord", "UInt32", COLUMN_U32},
                                                   {"ts", "DateTime64(3, 'UTC')", COLUMN_I64},
                                                   {"text", "String", COLUMN_STR}};
static const struct table_desc world_data = {.name = "data", .columns = world_columns, .n_columns = 5};
static const struct table_desc world_checks = {
    .name = "checks", .columns = world_columns, .n_columns = 5, .after_data = true};
static const struct table_desc world_refused = {.name = "refused", .columns = world_columns, .n_columns = 5};
static const struct table_desc *const world_tables[] = {&world_data, &world_checks, &world_refused};

struct world_page {
    uint32_t n_rows;
    bool promised; /* Its append was synced. */
    bool stored_before_check;
    uint32_t n_stored; /* Data rows on the server, or refused in the log. */
};

struct world_reader {
    bool open;
    uint64_t at, end; /* end 0: none. */
};

struct world {
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct disk_model *disk;
    struct spool_options spool_options;
    struct store_options options;
    struct spool *spool;
    struct store *store;
    struct server_model server, second; /* The other host, once world_add_host was called. */
    struct world_page *pages;
    uint32_t n_pages;
    unsigned rows_max;       /* Of a page. */
    unsigned poison_of;      /* One row of so many is refused; 0: none. */
    unsigned live_every;     /* A live feed is opened at one of so many steps; 0: never. */
    struct world_reader readers[FEEDS_PAGES];
    unsigned live;           /* The feed at the end of the log. */
    uint64_t seed;
    bool closed;
    uint64_t n_crashes, n_rows, n_lost, n_twice, n_ahead, n_refusals, n_feeds;
    uint64_t n_inserts, n_duplicates;
    size_t bytes_max;
};

static inline uint64_t world_random(struct world *w, uint64_t n) {
    w->seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = w->seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

static inline bool world_is_poison(const struct world *w, uint64_t page, uint64_t ord) {
    if (w->poison_of == 0) return false;
    uint64_t z = (page * 1000003 + ord + 17) * UINT64_C(0xbf58476d1ce4e5b9);
    return (z >> 33) % w->poison_of == 0;
}

static inline bool on_world_poison(void *ctx, const struct table_desc *t, uint64_t page, uint64_t ord) {
    return t == &world_data && world_is_poison(ctx, page, ord);
}

static inline void on_world_row(void *ctx, const struct table_desc *t, uint64_t page, uint64_t ord) {
    struct world *w = ctx;
    struct world_page *p = &w->pages[page];
    (void)ord;
    uint32_t n_poison = 0;
    if (t == &world_data) p->n_stored++;
    if (t != &world_checks) return;
    for (uint32_t i = 0; i < p->n_rows; i++) n_poison += world_is_poison(w, page, i);
    if (p->n_stored + n_poison < p->n_rows) w->n_ahead++; /* A cursor ahead of its data. */
}

static inline struct world *world_new(uint64_t seed) {
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->pages = calloc(WORLD_PAGES_MAX, sizeof *w->pages);
    assert_non_null(w->pages);
    log__setup(stderr, LOG_FORMAT_LOGFMT, (enum log_level)(LOG_LEVEL_ERROR + 1));
    w->seed = seed;
    w->rows_max = 8;
    w->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1700000000 * NS_PER_S};
    w->disk = disk_model__new(seed);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(metrics__init(&w->metrics), 0);
    w->spool_options = (struct spool_options){
        .dir = disk_model__dir(w->disk), .segment_bytes = 256 << 10, .quota_bytes = 64 << 20};
    server_model__init(&w->server, &w->clock, seed + 1, world_tables, 3);
    w->server.poison = on_world_poison;
    w->server.on_row = on_world_row;
    w->server.ctx = w;
    w->server.delay_max_ns = 50 * NS_PER_MS;
    w->options = (struct store_options){.host = "model", .port = 1, .user = "u", .password = "",
                                        .database = "d", .refusals = &world_refused,
                                        .tables = world_tables, .n_tables = 3, .rows_max = 60,
                                        .age_max_ns = 500 * NS_PER_MS, .memory_max = 64 << 10,
                                        .link = &server_model__link, .link_ctx = &w->server,
                                        .ticks_by_hand = true};
    return w;
}

/* A second server, which knows nothing of the first; connections fail over from one to the other. */
static inline void world_add_host(struct world *w) {
    static const char *const hosts[] = {"model", "second"};
    server_model__init(&w->second, &w->clock, w->seed + 2, world_tables, 3);
    snprintf(w->server.place, sizeof w->server.place, "server:first");
    snprintf(w->second.place, sizeof w->second.place, "server:second");
    w->second.on_row = on_world_row;
    w->second.ctx = w;
    w->second.delay_max_ns = w->server.delay_max_ns;
    w->server.second = &w->second;
    w->options.hosts = hosts;
    w->options.n_hosts = 2;
}

/* How often a row is stored, wherever. */
static inline uint32_t world_count(struct world *w, const struct table_desc *t, uint64_t page, uint64_t ord) {
    uint32_t n = server_model__count(&w->server, t, page, ord);
    return w->server.second == NULL ? n : n + server_model__count(&w->second, t, page, ord);
}

static inline void on_world_closed(void *data) { ((struct world *)data)->closed = true; }

static inline void world_idle(struct world *w) {
    while (uv_loop_alive(&w->loop) && !disk_model__stopped(w->disk)) uv_run(&w->loop, UV_RUN_ONCE);
}

static inline void world_close(struct world *w) {
    if (w->store != NULL) {
        w->closed = false;
        store__close(w->store, on_world_closed, w);
        while (!w->closed) uv_run(&w->loop, UV_RUN_ONCE);
        w->store = NULL;
    }
    if (w->spool != NULL) {
        w->closed = false;
        spool__close(w->spool, on_world_closed, w);
        while (!w->closed) uv_run(&w->loop, UV_RUN_ONCE);
        w->spool = NULL;
    }
}

static inline void world_free(struct world *w) {
    world_close(w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    server_model__fini(&w->server);
    if (w->server.second != NULL || w->second.n_tables > 0) server_model__fini(&w->second);
    moved__write(&w->metrics);
    metrics__fini(&w->metrics);
    disk_model__free(w->disk);
    free(w->pages);
    free(w);
}

/* Opens spool and store and reads the log as the program does. @return false when the disk stopped
 * in between. */
static inline bool world_open(struct world *w) {
    struct err e = {0};
    int rc = spool__open_io(&w->spool, &w->loop, &w->clock, &w->metrics, &w->spool_options,
                            disk_model__io(w->disk), &e);
    if (rc != 0 && disk_model__stopped(w->disk)) return false;
    if (rc != 0) fail_msg("the spool does not open: %s", e.msg);
    assert_int_equal(store__open(&w->store, &w->loop, &w->clock, &w->metrics, w->spool, &w->options, &e), 0);
    struct spool_status st;
    spool__status(w->spool, &st);
    uint64_t from = st.low_water_lsn > st.first_lsn ? st.low_water_lsn : st.first_lsn;
    struct spool_reader r;
    struct spool_record rec;
    spool_reader__init(&r, w->spool, from);
    while ((rc = spool_reader__next(&r, st.synced_lsn, &rec, &e)) == 1)
        assert_int_equal(store__recover(w->store, &rec), 0);
    assert_int_equal(rc, 0);
    spool_reader__fini(&r);
    store__start(w->store, from);
    memset(w->readers, 0, sizeof w->readers);
    w->readers[0] = (struct world_reader){.open = true, .at = from};
    w->live = 0;
    return true;
}

/* Pages. */

struct world_note {
    struct world *world;
    uint32_t page;
};

static inline void on_world_synced(void *data, uint64_t lsn, int status) {
    struct world_note *n = data;
    (void)lsn;
    if (status == 0) n->world->pages[n->page].promised = true;
    free(n);
}

static inline void world_append(struct world *w) {
    char bytes[16];
    struct buf b = {.base = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    struct err e = {0};
    assert_true(w->n_pages < WORLD_PAGES_MAX);
    uint32_t page = w->n_pages++;
    w->pages[page].n_rows = (uint32_t)world_random(w, w->rows_max + 1);
    buf__u32(&b, page);
    buf__u32(&b, w->pages[page].n_rows);
    struct slice part = buf__slice(&b);
    struct world_note *n = malloc(sizeof *n);
    assert_non_null(n);
    *n = (struct world_note){w, page};
    if (spool__append(w->spool, SPOOL_PAGE, 0, &part, 1, on_world_synced, n, &e) == 0) free(n);
}

static inline void put_row_at(struct rows *rows, const struct table_desc *t, const char *part, uint64_t page,
                              uint64_t lsn, uint32_t ord, int64_t wall_ns) {
    struct batch *b = rows__batch(rows, t, slice__str(part));
    assert_non_null(b);
    batch__begin(b), batch__u64(b, page), batch__u64(b, lsn), batch__u32(b, ord);
    batch__i64(b, wall_ns / NS_PER_MS);
    batch__str(b, slice__str(ord % 2 ? "odd" : "")), batch__end(b);
}

static inline void put_row(struct rows *rows, const struct table_desc *t, const char *part, uint64_t page,
                           uint64_t lsn, uint32_t ord) {
    put_row_at(rows, t, part, page, lsn, ord, 1700000000 * NS_PER_S);
}

static inline void make_rows(const struct spool_record *rec, struct rows *rows) {
    if (rec->type == SPOOL_PAGE) {
        struct reader r = reader__of(rec->payload);
        uint32_t page = reader__u32(&r), n_rows = reader__u32(&r);
        const char *part = page % 3 == 0 ? "other" : "Standard";
        for (uint32_t i = 0; i < n_rows; i++) put_row_at(rows, &world_data, part, page, rec->lsn, i, rec->wall_ns);
        put_row_at(rows, &world_checks, "", page, rec->lsn, 0, rec->wall_ns);
    } else if (rec->type == SPOOL_QUARANTINE) {
        struct refusal x;
        unsigned long long page = 0;
        assert_int_equal(refusal__decode(rec->payload, &x), 0);
        assert_int_equal(x.code, 469);
        assert_int_equal(sscanf(x.payload.base, "{\"page\":%llu", &page), 1);
        put_row(rows, &world_refused, "", page, rec->lsn, (uint32_t)x.ord);
    }
}

static inline void read_feed(struct world *w, unsigned feed) {
    struct world_reader *f = &w->readers[feed];
    struct spool_status st;
    struct spool_reader r;
    struct spool_record rec;
    struct err e = {0};
    if (!f->open) return;
    spool__status(w->spool, &st);
    uint64_t until = f->end != 0 && f->end < st.synced_lsn ? f->end : st.synced_lsn;
    spool_reader__init(&r, w->spool, f->at);
    while (store__has_room(w->store, feed) && spool_reader__next(&r, until, &rec, &e) == 1) {
        struct rows rows = {0};
        make_rows(&rec, &rows);
        assert_int_equal(store__rows(w->store, feed, rec.lsn, rec.next_lsn, rec.wall_ns, &rows), 0);
        f->at = rec.next_lsn;
    }
    spool_reader__fini(&r);
    if (f->end == 0 || f->at < f->end) return;
    f->open = false; /* The backlog is worked off. */
    store__close_feed(w->store, feed);
}

static inline void open_live(struct world *w) {
    unsigned other = 1 - w->live;
    struct spool_status st;
    spool__status(w->spool, &st);
    if (w->readers[other].open || w->readers[w->live].at >= st.synced_lsn) return;
    w->readers[w->live].end = st.synced_lsn;
    w->readers[other] = (struct world_reader){.open = true, .at = st.synced_lsn};
    store__open_feed(w->store, other, st.synced_lsn);
    store__prefer(w->store, other);
    w->live = other;
    w->n_feeds++;
}

static inline void world_step(struct world *w, bool append) {
    int64_t ns = (int64_t)world_random(w, (uint64_t)(200 * NS_PER_MS));
    struct store_status st;
    w->clock.mono_ns += ns;
    w->clock.wall_ns += ns;
    for (uint64_t n = append ? world_random(w, 4) : 0; n > 0; n--) world_append(w);
    if (w->live_every > 0 && world_random(w, w->live_every) == 0) open_live(w);
    read_feed(w, 0);
    read_feed(w, 1);
    store__tick(w->store);
    server_model__step(&w->server);
    world_idle(w);
    assert_true(store__imbalance(w->store) == 0);
    store__status(w->store, &st);
    if (st.bytes > w->bytes_max) w->bytes_max = st.bytes;
}

static inline void world_checkpoint(struct world *w) {
    struct err e = {0};
    spool__checkpoint(w->spool, store__low_water(w->store), SLICE_LIT("x"), &e);
}

static inline void world_crash(struct world *w, enum disk_crash kind) {
    if (!disk_model__stopped(w->disk)) disk_model__stop_after(w->disk, 1);
    server_model__orphan(&w->server);
    world_close(w);
    disk_model__crash(w->disk, kind);
    w->n_crashes++;
}

/* One life of up to @n_steps, which ends at the disk's @k-th call (0: after the steps). */
static inline void world_live(struct world *w, unsigned n_steps, uint64_t k, enum disk_crash kind) {
    disk_model__stop_after(w->disk, k);
    if (world_open(w))
        for (unsigned i = 0; i < n_steps && !disk_model__stopped(w->disk); i++) {
            world_step(w, true);
            if (world_random(w, 12) == 0) world_checkpoint(w);
        }
    world_crash(w, kind);
}

static inline bool all_read(const struct world *w) {
    struct spool_status st;
    spool__status(w->spool, &st);
    for (unsigned i = 0; i < FEEDS_PAGES; i++)
        if (w->readers[i].open && w->readers[i].at < (w->readers[i].end ? w->readers[i].end : st.end_lsn)) return false;
    return st.synced_lsn == st.end_lsn;
}

/* Goes on until everything is stored. @return false when it does not come to an end. */
static inline bool world_drain(struct world *w) {
    for (unsigned i = 0; i < WORLD_STUCK; i++) {
        bool read = all_read(w);
        if (store__flush(w->store) && read && all_read(w)) return true;
        world_step(w, false);
    }
    return false;
}

/* Compares what was promised with what the server has. */
static inline void world_judge(struct world *w) {
    for (uint32_t page = 0; page < w->n_pages; page++) {
        const struct world_page *p = &w->pages[page];
        uint32_t checks = world_count(w, &world_checks, page, 0);
        bool there = p->promised || checks > 0;
        w->n_twice += checks > 1;
        w->n_lost += there && checks == 0;
        for (uint32_t i = 0; i < p->n_rows; i++) {
            uint32_t stored = world_count(w, &world_data, page, i);
            uint32_t refused = world_count(w, &world_refused, page, i);
            bool poison = world_is_poison(w, page, i);
            w->n_rows += there;
            w->n_refusals += refused;
            w->n_twice += stored + refused > 1;
            w->n_lost += there && (poison ? refused : stored) == 0;
        }
    }
    for (size_t i = 0; i < w->server.n_tables; i++) {
        w->n_inserts += w->server.tables[i].n_inserts;
        w->n_duplicates += w->server.tables[i].n_duplicates;
    }
}

#endif
