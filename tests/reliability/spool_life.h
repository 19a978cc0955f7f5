/* Lives of one spool on a model of a disk, for the reliability cases.
 *
 * A life opens the spool, checks that all that was ever promised is there, appends, and ends when
 * the machine stops, in the middle of whatever call it was at. What is promised: a page whose
 * callback said 0, unless it lies below the low-water mark of a checkpoint; and the payload of the
 * newest checkpoint. */
#ifndef SOUK_TESTS_SPOOL_LIFE_H
#define SOUK_TESTS_SPOOL_LIFE_H

#include "../lib/moved.h"
#include "../lib/disk_model.h"
#include "../lib/score.h"
#include "souk/core/log.h"
#include "souk/spool.h"
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Wants setjmp.h and stdarg.h before it. */
#include <cmocka.h>

#define LIFE_SEGMENT_BYTES (32u << 10)
#define LIFE_PAGES_MAX 20000u

enum page_state { PAGE_UNKNOWN, PAGE_APPENDED, PAGE_SYNCED };

struct life {
    struct disk_model *disk;
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool_options options;
    struct spool *spool;
    uint64_t random;
    uint32_t n_pages; /* Numbers given out so far. */
    unsigned char state[LIFE_PAGES_MAX];
    uint64_t lsn[LIFE_PAGES_MAX];
    uint64_t mark;           /* Low-water mark of the newest checkpoint that may have been synced. */
    uint32_t n_checkpoints;  /* Payloads are their numbers. */
    uint32_t checkpoint_min; /* The newest that is synced. */
    uint64_t n_lost, n_twice, n_promised;
    double recovery_max_s;
    bool closed;
    bool quiet_damage; /* Whether the disk itself was damaged, so that loss is no failure. */
};

static inline uint64_t life_random(struct life *l) {
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

static inline struct life *life_new(uint64_t seed) {
    struct life *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->disk = disk_model__new(seed);
    l->random = seed * 0x9e3779b97f4a7c15u + 2463534242u;
    for (int i = 0; i < 8; i++) life_random(l);
    l->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1000 * NS_PER_S};
    l->options = (struct spool_options){.dir = disk_model__dir(l->disk),
                                        .segment_bytes = LIFE_SEGMENT_BYTES,
                                        .quota_bytes = 64 * LIFE_SEGMENT_BYTES};
    assert_int_equal(uv_loop_init(&l->loop), 0);
    assert_int_equal(metrics__init(&l->metrics), 0);
    log__setup(fopen("/dev/null", "w"), LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    return l;
}

/* Each step is a while later, so that a group leaves at once. */
static inline void life_idle(struct life *l) {
    while (uv_loop_alive(&l->loop) && !disk_model__stopped(l->disk))
        uv_run(&l->loop, UV_RUN_ONCE);
    l->clock.mono_ns += NS_PER_S;
    l->clock.wall_ns += NS_PER_S;
}

static inline void on_life_closed(void *data) { ((struct life *)data)->closed = true; }

static inline void life_close(struct life *l) {
    if (l->spool == NULL) return;
    l->closed = false;
    spool__close(l->spool, on_life_closed, l);
    while (!l->closed) uv_run(&l->loop, UV_RUN_ONCE);
    l->spool = NULL;
}

static inline void life_free(struct life *l) {
    life_close(l);
    assert_int_equal(uv_loop_close(&l->loop), 0);
    moved__write(&l->metrics);
    metrics__fini(&l->metrics);
    disk_model__free(l->disk);
    free(l);
}

struct life_note {
    struct life *life;
    uint32_t page;
};

static inline void on_life_synced(void *data, uint64_t lsn, int status) {
    struct life_note *n = data;
    assert_int_equal(lsn, n->life->lsn[n->page]);
    if (status == 0) {
        n->life->state[n->page] = PAGE_SYNCED;
        n->life->n_promised++;
    }
    free(n);
}

/* What page @i holds. @return its length. */
static inline size_t life_payload(uint32_t i, char *out) {
    size_t len = (size_t)(i * 2654435761u % 3000);
    for (size_t k = 0; k < len; k++) out[k] = (char)(i * 31 + k * 7);
    return len;
}

/* @return false when the spool takes no page now. */
static inline bool life_page(struct life *l) {
    char bytes[3000];
    struct err e = {0};
    uint32_t i = l->n_pages;
    assert_true(i < LIFE_PAGES_MAX);
    struct slice part = slice__of(bytes, life_payload(i, bytes));
    struct life_note *n = malloc(sizeof *n);
    *n = (struct life_note){l, i};
    uint64_t lsn = spool__append(l->spool, SPOOL_PAGE, i, &part, 1, on_life_synced, n, &e);
    if (lsn == 0) {
        free(n);
        return false;
    }
    l->lsn[i] = lsn;
    l->state[i] = PAGE_APPENDED;
    l->n_pages++;
    return true;
}

/* Acknowledges a part of what is there. */
static inline void life_checkpoint(struct life *l) {
    struct spool_status st;
    struct err e = {0};
    spool__status(l->spool, &st);
    uint64_t mark = st.low_water_lsn;
    for (uint32_t i = 0; i < l->n_pages; i++)
        if (l->state[i] == PAGE_SYNCED && l->lsn[i] > mark && life_random(l) % 4 == 0) {
            mark = l->lsn[i];
            break;
        }
    char text[16];
    int len = snprintf(text, sizeof text, "%u", l->n_checkpoints + 1);
    if (mark > st.synced_lsn) mark = st.synced_lsn;
    if (spool__checkpoint(l->spool, mark, slice__of(text, (size_t)len), &e) == 0) return;
    l->n_checkpoints++;
    if (mark > l->mark) l->mark = mark;
}

/* Opens the spool and holds it against what was promised. @return false when the machine stopped
 * on the way. */
static inline bool life_open(struct life *l) {
    struct err e = {0};
    int64_t start_ns = clock__stopwatch_ns();
    int rc = spool__open_io(&l->spool, &l->loop, &l->clock, &l->metrics, &l->options,
                            disk_model__io(l->disk), &e);
    double took_s = (double)(clock__stopwatch_ns() - start_ns) / (double)NS_PER_S;
    if (took_s > l->recovery_max_s) l->recovery_max_s = took_s;
    if (rc != 0 && disk_model__stopped(l->disk)) return false;
    if (rc != 0) fail_msg("the spool does not open: %s", e.msg);
    return true;
}

static inline void life_check(struct life *l) {
    static unsigned char seen[LIFE_PAGES_MAX];
    struct spool_reader r;
    struct spool_record rec;
    struct spool_status st;
    struct err e = {0};
    char want[3000];
    int rc;
    memset(seen, 0, sizeof seen);
    spool__status(l->spool, &st);
    spool_reader__init(&r, l->spool, st.first_lsn);
    uint64_t at = 0;
    while ((rc = spool_reader__next(&r, UINT64_MAX, &rec, &e)) != 0) {
        assert_true(r.at > at);
        at = r.at;
        if (rc == ERR_CORRUPT && rec.lsn < l->mark) continue; /* Below it nobody mends. */
        if (rc != 1) fail_msg("reading: %s", e.msg);
        if (rec.type != SPOOL_PAGE) continue;
        assert_true(rec.source < l->n_pages);
        assert_int_equal(rec.lsn, l->lsn[rec.source]);
        assert_int_equal(rec.payload.len, life_payload(rec.source, want));
        assert_memory_equal(rec.payload.base, want, rec.payload.len);
        seen[rec.source]++;
    }
    spool_reader__fini(&r);
    for (uint32_t i = 0; i < l->n_pages; i++) {
        l->n_twice += seen[i] > 1;
        if (l->state[i] == PAGE_SYNCED && seen[i] == 0) {
            if (l->lsn[i] >= l->mark) {
                l->n_lost++;
                if (getenv("LIFE_VERBOSE") != NULL)
                    print_message("page %u at %" PRIu64 " is lost; mark %" PRIu64 ", first %" PRIu64
                                  ", end %" PRIu64 "\n",
                                  i, l->lsn[i], l->mark, st.first_lsn, st.end_lsn);
            }
            l->state[i] = PAGE_UNKNOWN; /* Counted once. */
        } else if (l->state[i] == PAGE_APPENDED) {
            /* What came through is as good as synced from here on. */
            l->state[i] = seen[i] > 0 ? PAGE_SYNCED : PAGE_UNKNOWN;
        }
    }
    assert_true(st.low_water_lsn <= st.end_lsn);
}

/* The life itself: pages, in bursts and alone, checkpoints, acknowledgements. Ends when the machine
 * stops, or after @n_steps. */
static inline void life_live(struct life *l, unsigned n_steps) {
    char bytes[200] = {0};
    struct slice part = slice__of(bytes, sizeof bytes);
    struct err e;
    for (unsigned i = 0; i < n_steps && !disk_model__stopped(l->disk); i++) {
        for (uint64_t n = 1 + life_random(l) % 12; n > 0; n--)
            if (!life_page(l)) break;
        if (life_random(l) % 3 == 0)
            spool__append(l->spool, SPOOL_SEAL, 0, &part, 1, NULL, NULL, &e);
        if (life_random(l) % 4 == 0) life_checkpoint(l);
        life_idle(l);
    }
}

#endif
