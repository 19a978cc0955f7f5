/* Seals make the same batches again after any crash: every row is stored once, whatever happens. */
#include "souk/batcher.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static const struct column_desc columns[] = {{"lsn", "UInt64", COLUMN_U64}, {"ord", "UInt32", COLUMN_U32}};
static const struct table_desc data_table = {.name = "data", .columns = columns, .n_columns = 2};
static const struct table_desc check_table = {
    .name = "checks", .columns = columns, .n_columns = 2, .after_data = true};
static const struct table_desc request_table = {
    .name = "requests", .columns = columns, .n_columns = 2, .patient = true};
static const struct table_desc derived_table = {
    .name = "events", .columns = columns, .n_columns = 2, .derived = true};

#define PAGES 60
#define TOKENS_MAX 4096

/* ClickHouse as far as this matters: rows by token, once. */
struct server {
    char tokens[TOKENS_MAX][33];
    size_t n_tokens, n_repeats;
    unsigned rows[2][PAGES]; /* By table and page. */
    uint64_t check_ahead;    /* Check rows that came before the data of their page. */
};

/* The log as far as this matters: synced seals and acks. */
struct fixture {
    struct clock clock;
    struct batcher b;
    struct seal seals[TOKENS_MAX];
    size_t n_seals;
    char acks[TOKENS_MAX][33];
    size_t n_acks;
    uint64_t checkpoint; /* Low-water mark of the last checkpoint. */
    struct server server;
    unsigned seed;
    unsigned live;        /* The feed at the end of the log. */
    uint64_t backlog_end; /* Of the other feed; 0 when there is no backlog. */
};

static unsigned pick(struct fixture *f, unsigned n) {
    f->seed = f->seed * 1103515245u + 12345u;
    return (f->seed >> 16) % n;
}

static void on_sealed(void *ctx, struct sealed *s) {
    struct fixture *f = ctx;
    assert_true(f->n_seals < TOKENS_MAX);
    snprintf(s->seal.place, sizeof s->seal.place, "here"); /* As the store does. */
    f->seals[f->n_seals++] = s->seal; /* Synced at once; tests of the spool show that it lasts. */
    struct buf bytes = buf__init(1000);
    struct seal again;
    seal__encode(&s->seal, &bytes);
    assert_int_equal(seal__decode(buf__slice(&bytes), &again), 0);
    assert_memory_equal(&again, &s->seal, sizeof again);
    assert_int_equal(seal__decode(slice__of(bytes.base, bytes.len - 1), &again), ERR_CORRUPT);
    buf__fini(&bytes);
    s->state = SEALED_READY;
}

static void start(struct fixture *f) {
    struct batcher_options options = {.store_id = "store", .rows_max = 20, .bytes_max = 1 << 20, .age_max_ns = 10};
    assert_int_equal(batcher__init(&f->b, &f->clock, &options), 0);
    f->b.on_sealed = on_sealed;
    f->b.ctx = f;
    batcher__open_feed(&f->b, 0, f->checkpoint);
    for (size_t i = 0; i < f->n_seals; i++)
        if (f->seals[i].last_lsn >= f->checkpoint)
            assert_int_equal(batcher__recover_seal(&f->b, &f->seals[i]), 0);
    for (size_t i = 0; i < f->n_acks; i++) batcher__recover_ack(&f->b, f->acks[i]);
}

/* Page @lsn always makes the same rows: lsn % 5 data rows and one check row. */
static void page(struct fixture *f, uint64_t lsn) {
    struct rows rows = {0};
    for (uint64_t i = 0; i < lsn % 5; i++) {
        struct batch *b = rows__batch(&rows, &data_table, lsn % 3 ? SLICE_LIT("Standard") : SLICE_LIT("other"));
        batch__begin(b), batch__u64(b, lsn), batch__u32(b, (uint32_t)i), batch__end(b);
    }
    struct batch *b = rows__batch(&rows, &check_table, (struct slice){0});
    batch__begin(b), batch__u64(b, lsn), batch__u32(b, 0), batch__end(b);
    assert_int_equal(batcher__rows(&f->b, 0, lsn, lsn + 1, (int64_t)lsn, &rows), 0);
}

static void insert(struct fixture *f, const struct sealed *s) {
    struct server *srv = &f->server;
    assert_true(s->matches);
    for (size_t i = 0; i < srv->n_tokens; i++)
        if (strcmp(srv->tokens[i], s->seal.token) == 0) {
            srv->n_repeats++;
            return;
        }
    assert_true(srv->n_tokens < TOKENS_MAX);
    memcpy(srv->tokens[srv->n_tokens++], s->seal.token, 33);
    bool check = s->batch.table == &check_table;
    struct reader r = reader__of(buf__slice(&s->batch.columns[0].data));
    for (size_t i = 0; i < s->batch.n_rows; i++) {
        uint64_t lsn = reader__u64(&r);
        srv->rows[check][lsn]++;
        if (check && srv->rows[0][lsn] != lsn % 5) srv->check_ahead++;
    }
}

static void send_one(struct fixture *f) {
    struct sealed *s = batcher__next(&f->b, 0, NULL);
    if (s == NULL) return;
    insert(f, s);
    if (pick(f, 4) == 0) return; /* The reply is lost: it will be sent again. */
    assert_true(f->n_acks < TOKENS_MAX);
    memcpy(f->acks[f->n_acks++], s->seal.token, 33);
    batcher__stored(&f->b, s);
}

static void test_every_row_is_stored_once_whatever_crashes(void **state) {
    (void)state;
    struct fixture *f = malloc(sizeof *f);
    size_t n_crashes = 0, n_repeats = 0;
    for (unsigned seed = 0; seed < 200; seed++) {
        *f = (struct fixture){.seed = seed};
        start(f);
        for (int step = 0; f->b.feeds[0].decoded_lsn < PAGES || f->b.n_sealed > 0 || f->b.open_rows > 0; step++) {
            assert_true(step < 20000);
            assert_true(batcher__imbalance(&f->b) == 0);
            f->clock.mono_ns += 1 + pick(f, 5);
            switch (pick(f, 8)) {
            case 0: batcher__cut(&f->b, false); break;
            case 1: send_one(f), send_one(f); break;
            case 2: f->checkpoint = batcher__low_water(&f->b); break;
            case 3:
                if (pick(f, 5) != 0) break;
                batcher__fini(&f->b); /* kill -9 */
                n_crashes++;
                start(f);
                break;
            default:
                if (f->b.feeds[0].decoded_lsn < PAGES) page(f, f->b.feeds[0].decoded_lsn);
                else batcher__cut(&f->b, true);
            }
        }
        for (uint64_t lsn = 0; lsn < PAGES; lsn++) {
            assert_int_equal(f->server.rows[0][lsn], lsn % 5);
            assert_int_equal(f->server.rows[1][lsn], 1);
        }
        assert_int_equal(f->server.check_ahead, 0); /* Readers never see a cursor ahead of its rows. */
        assert_int_equal(batcher__low_water(&f->b), PAGES);
        n_repeats += f->server.n_repeats;
        batcher__fini(&f->b);
    }
    assert_true(n_crashes > 200);
    assert_true(n_repeats > 200); /* The test would be empty if no batch was ever sent twice. */
    free(f);
}

static void feed_page(struct fixture *f, unsigned feed) {
    struct rows rows = {0};
    uint64_t lsn = f->b.feeds[feed].decoded_lsn;
    for (uint64_t i = 0; i < lsn % 5; i++) {
        struct batch *b = rows__batch(&rows, &data_table, lsn % 3 ? SLICE_LIT("Standard") : SLICE_LIT("other"));
        batch__begin(b), batch__u64(b, lsn), batch__u32(b, (uint32_t)i), batch__end(b);
    }
    struct batch *b = rows__batch(&rows, &check_table, (struct slice){0});
    batch__begin(b), batch__u64(b, lsn), batch__u32(b, 0), batch__end(b);
    assert_int_equal(batcher__rows(&f->b, feed, lsn, lsn + 1, (int64_t)lsn, &rows), 0);
    if (f->backlog_end == 0 || feed == f->live || lsn + 1 < f->backlog_end) return;
    batcher__close_feed(&f->b, feed);
    f->backlog_end = 0;
}

/* The live feed leaves some pages to the backlog and goes on behind them. */
static void jump(struct fixture *f) {
    uint64_t at = f->b.feeds[f->live].decoded_lsn, to = at + 2 + pick(f, 15);
    unsigned other = 1 - f->live;
    if (to <= f->b.recovered_lsn) to = f->b.recovered_lsn + 1; /* The end of the log lies behind them. */
    if (f->backlog_end != 0 || to >= PAGES || batcher__feed_waits(&f->b, other)) return;
    batcher__open_feed(&f->b, other, to);
    f->live = other;
    f->backlog_end = to;
}

/* After a crash one feed reads all again, and meets the seals of both out of order. */
static void test_two_feeds_store_every_row_once_whatever_crashes(void **state) {
    (void)state;
    struct fixture *f = malloc(sizeof *f);
    size_t n_crashes = 0, n_jumps = 0, n_out_of_order = 0;
    for (unsigned seed = 0; seed < 300; seed++) {
        *f = (struct fixture){.seed = seed};
        start(f);
        for (int step = 0;; step++) {
            uint64_t at = f->b.feeds[f->live].decoded_lsn;
            if (at >= PAGES && f->backlog_end == 0 && f->b.n_sealed == 0 && f->b.open_rows == 0) break;
            assert_true(step < 20000);
            assert_true(batcher__imbalance(&f->b) == 0);
            f->clock.mono_ns += 1 + pick(f, 5);
            switch (pick(f, 9)) {
            case 0: batcher__cut(&f->b, false); break;
            case 1: send_one(f), send_one(f); break;
            case 2: f->checkpoint = batcher__low_water(&f->b); break;
            case 3:
                if (pick(f, 5) != 0) break;
                batcher__fini(&f->b); /* kill -9 */
                n_crashes++;
                f->live = 0;
                f->backlog_end = 0;
                start(f);
                break;
            case 4:
                n_jumps += f->backlog_end == 0;
                jump(f);
                break;
            case 5:
                if (f->backlog_end != 0) feed_page(f, 1 - f->live);
                break;
            default:
                if (at < PAGES) feed_page(f, f->live);
                else if (f->backlog_end != 0) feed_page(f, 1 - f->live);
                else batcher__cut(&f->b, true);
            }
        }
        for (size_t i = 1; i < f->n_seals; i++) n_out_of_order += f->seals[i].first_lsn < f->seals[i - 1].first_lsn;
        for (uint64_t lsn = 0; lsn < PAGES; lsn++) {
            assert_int_equal(f->server.rows[0][lsn], lsn % 5);
            assert_int_equal(f->server.rows[1][lsn], 1);
        }
        assert_int_equal(f->server.check_ahead, 0);
        assert_int_equal(batcher__low_water(&f->b), PAGES);
        batcher__fini(&f->b);
    }
    assert_true(n_crashes > 200 && n_jumps > 200 && n_out_of_order > 200);
    free(f);
}

static void test_a_batch_is_cut_by_rows_and_by_age(void **state) {
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    for (uint64_t lsn = 1; lsn < 40 && f->b.n_sealed == 0; lsn++) page(f, lsn);
    assert_int_equal(f->b.n_sealed, 1);
    assert_true(f->b.first->batch.n_rows >= 20);
    f->clock.mono_ns = 9;
    batcher__cut(&f->b, false);
    assert_int_equal(f->b.n_sealed, 1);
    f->clock.mono_ns = 10;
    batcher__cut(&f->b, false);
    assert_int_equal(f->b.open_rows, 0);
    batcher__fini(&f->b);
    free(f);
}

/* While ClickHouse is away for hours, a small batch a second would make memory and log of nothing but
 * batches. */
static void test_age_cuts_no_more_while_batches_wait(void **state) {
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    for (uint64_t lsn = 0; lsn < 1000; lsn++) {
        page(f, lsn);
        f->clock.mono_ns += 100;
        batcher__cut(&f->b, false);
    }
    size_t n_full = 0, n_small = 0;
    for (const struct sealed *s = f->b.first; s != NULL; s = s->next)
        s->batch.n_rows >= 20 ? n_full++ : n_small++;
    assert_int_equal(n_small, 2 * SEALED_BY_AGE_MAX);
    assert_true(n_full <= (2000 + 1000) / 20);
    while (f->b.n_sealed > 0) { /* It is back: what waits is sent, and age cuts again. */
        struct sealed *s = batcher__next(&f->b, 0, NULL);
        if (s == NULL) break;
        batcher__stored(&f->b, s);
    }
    batcher__cut(&f->b, false);
    assert_int_equal(f->b.open_rows, 0);
    batcher__fini(&f->b);
    free(f);
}

/* Days of seals of two feeds, side by side, all stored but the first: the low-water mark could not
 * move. Taking them up again, and asking for the next batch, must not cost the square of them. */
static void test_many_seals_are_taken_up_fast(void **state) {
    (void)state;
    static const uint64_t n = 40000;
    struct fixture *f = calloc(1, sizeof *f);
    struct batcher_options options = {.store_id = "store", .rows_max = 20, .bytes_max = 1 << 20, .age_max_ns = 10};
    assert_int_equal(batcher__init(&f->b, &f->clock, &options), 0);
    f->b.on_sealed = on_sealed;
    f->b.ctx = f;
    clock_t began = clock();
    for (uint64_t i = 0; i < 2 * n; i++) { /* The backlog's in front, the live feed's behind it. */
        uint64_t lsn = i % 2 ? n + i / 2 : i / 2;
        struct seal seal = {.table = "checks", .first_lsn = lsn, .last_lsn = lsn, .n_rows = 1};
        snprintf(seal.token, sizeof seal.token, "%032llx", (unsigned long long)lsn);
        assert_int_equal(batcher__recover_seal(&f->b, &seal), 0);
        if (lsn != 2) batcher__recover_ack(&f->b, seal.token);
    }
    assert_int_equal(batcher__low_water(&f->b), 0);
    for (uint64_t lsn = 0; lsn < 4000; lsn++) {
        page(f, lsn);
        assert_true(batcher__low_water(&f->b) <= 2);
        struct sealed *s = batcher__next(&f->b, 0, NULL);
        if (lsn > 2 && s != NULL && s->batch.table == &data_table) batcher__stored(&f->b, s);
        if (f->n_seals > TOKENS_MAX / 2) f->n_seals = 0;
        assert_int_equal(batcher__imbalance(&f->b), 0);
    }
    double took_s = (double)(clock() - began) / CLOCKS_PER_SEC;
    assert_true(took_s < 2);
    struct sealed *s = f->b.first;
    while (s != NULL && s->batch.table != &check_table) s = s->next;
    assert_non_null(s); /* The one that is not stored. */
    assert_int_equal(s->seal.first_lsn, 2);
    assert_int_equal(f->b.n_dropped_as_stored, 3999);
    batcher__fini(&f->b);
    free(f);
}

/* Event pages: every third page makes a row of the derived table. */
static void tell(struct fixture *f, uint64_t lsn) {
    struct rows rows = {0};
    struct batch *b = lsn % 3 == 0 ? rows__batch(&rows, &derived_table, SLICE_LIT("Standard")) : NULL;
    if (b != NULL) batch__begin(b), batch__u64(b, lsn), batch__u32(b, 0), batch__end(b);
    assert_int_equal(batcher__rows(&f->b, FEED_TAPE, lsn, lsn + 1, (int64_t)lsn, &rows), 0);
}

static struct sealed *next_of_table(struct fixture *f, const struct table_desc *table) {
    for (struct sealed *s = f->b.first; s != NULL; s = s->next)
        if (s->batch.table == table) return s;
    return NULL;
}

/* A backlog keeps batches ready for hours; the tape's go between them. */
static void test_the_tape_has_its_turn_while_pages_wait(void **state) {
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    batcher__open_feed(&f->b, FEED_TAPE, 0);
    int told = 0;
    for (uint64_t lsn = 0; lsn < 60; lsn++) {
        page(f, lsn), tell(f, lsn);
        batcher__cut(&f->b, true);
        if (lsn < 20) continue;
        struct sealed *s = batcher__next(&f->b, 0, NULL); /* One goes, more come. */
        assert_non_null(s);
        told += s->feed == FEED_TAPE;
        insert(f, s);
        batcher__stored(&f->b, s);
    }
    assert_in_range(told, 4, 5);
    assert_true(f->b.n_sealed > 60);
    batcher__fini(&f->b);
    free(f);
}

static void test_the_tapes_feed_is_apart(void **state) {
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    batcher__open_feed(&f->b, FEED_TAPE, 0);
    for (uint64_t lsn = 0; lsn < 30; lsn++) page(f, lsn);
    for (uint64_t lsn = 0; lsn < 10; lsn++) tell(f, lsn); /* It is behind. */
    batcher__cut(&f->b, true);
    struct sealed *event = next_of_table(f, &derived_table);
    assert_non_null(event);
    assert_int_equal(event->feed, FEED_TAPE);
    assert_int_equal(event->batch.n_rows, 4);
    struct seal seal = event->seal;
    assert_int_equal(batcher__feed_low_water(&f->b, FEED_TAPE), 0);
    assert_int_equal(batcher__low_water(&f->b), 0);
    /* Pages go first, and neither they nor their check rows wait for the tape. */
    for (int n = 0; n < 100; n++) {
        struct sealed *s = batcher__next(&f->b, 1, NULL);
        if (s == event) break;
        assert_non_null(s);
        insert(f, s);
        batcher__stored(&f->b, s);
    }
    assert_ptr_equal(f->b.first, event);
    assert_int_equal(f->server.check_ahead, 0);
    assert_int_equal(batcher__low_water(&f->b), 30);
    assert_int_equal(batcher__feed_low_water(&f->b, FEED_TAPE), 0);
    assert_true(batcher__feed_waits(&f->b, FEED_TAPE));
    batcher__fini(&f->b);

    /* After a crash the pages start at their mark, and the tape in front of it: same batch, same token. */
    struct batcher_options options = {.store_id = "store", .rows_max = 20, .bytes_max = 1 << 20, .age_max_ns = 10};
    assert_int_equal(batcher__init(&f->b, &f->clock, &options), 0);
    f->b.on_sealed = on_sealed;
    f->b.ctx = f;
    assert_int_equal(batcher__recover_tape_seal(&f->b, &seal), 0);
    batcher__open_feed(&f->b, 0, 30);
    batcher__open_feed(&f->b, FEED_TAPE, 0);
    assert_int_equal(batcher__low_water(&f->b), 30); /* The tape's seal does not hold it. */
    for (uint64_t lsn = 30; lsn < 40; lsn++) page(f, lsn);
    for (uint64_t lsn = 0; lsn < 13; lsn++) tell(f, lsn);
    event = next_of_table(f, &derived_table);
    assert_non_null(event);
    assert_true(event->matches && event->uncertain);
    assert_string_equal(event->seal.token, seal.token);
    batcher__stored(&f->b, event);
    assert_int_equal(batcher__feed_low_water(&f->b, FEED_TAPE), 12); /* The row of 12 is of another batch. */
    batcher__fini(&f->b);

    /* A snapshot behind the seal: nobody makes its rows again, as they are stored. */
    assert_int_equal(batcher__init(&f->b, &f->clock, &options), 0);
    f->b.on_sealed = on_sealed;
    f->b.ctx = f;
    assert_int_equal(batcher__recover_tape_seal(&f->b, &seal), 0);
    batcher__open_feed(&f->b, FEED_TAPE, 11);
    tell(f, 11);
    assert_int_equal(batcher__feed_low_water(&f->b, FEED_TAPE), 12);
    assert_null(f->b.first);
    assert_int_equal(batcher__imbalance(&f->b), 0);
    batcher__fini(&f->b);
    free(f);
}

/* A seal may be written again with another place; one without was never sent, so that its batch is
 * nowhere. The token is of neither. */
static void test_a_seal_says_where_its_batch_may_be(void **state) {
    (void)state;
    static const char *const places[] = {"", "here", "there"};
    for (size_t i = 0; i < 3; i++) {
        struct fixture *f = calloc(1, sizeof *f);
        start(f);
        page(f, 3), page(f, 4);
        batcher__cut(&f->b, true);
        struct seal seal = f->seals[0];
        batcher__fini(&f->b);
        struct batcher_options options = {.store_id = "store", .rows_max = 20, .bytes_max = 1 << 20, .age_max_ns = 10};
        assert_int_equal(batcher__init(&f->b, &f->clock, &options), 0);
        f->b.on_sealed = on_sealed;
        f->b.ctx = f;
        seal.place[0] = '\0';
        assert_int_equal(batcher__recover_seal(&f->b, &seal), 0);
        snprintf(seal.place, sizeof seal.place, "%s", places[i]);
        assert_int_equal(batcher__recover_seal(&f->b, &seal), 0);
        page(f, 3), page(f, 4), page(f, 5);
        struct sealed *s = next_of_table(f, &data_table);
        assert_string_equal(s->seal.place, places[i]);
        assert_string_equal(s->seal.token, seal.token);
        assert_int_equal(s->uncertain, i > 0);
        assert_true(s->matches);
        batcher__fini(&f->b);
        free(f);
    }
}

static int64_t age_of_table(void *ctx, const struct table_desc *t) {
    (void)ctx;
    return t == &request_table ? 40 : 10;
}

static void put(struct fixture *f, const struct table_desc *table, uint64_t lsn) {
    struct rows rows = {0};
    struct batch *b = rows__batch(&rows, table, (struct slice){0});
    batch__begin(b), batch__u64(b, lsn), batch__u32(b, 0), batch__end(b);
    assert_int_equal(batcher__rows(&f->b, 0, lsn, lsn + 1, 0, &rows), 0);
}

static size_t n_sealed_of(struct fixture *f, const struct table_desc *table) {
    size_t outstanding;
    batcher__open_rows(&f->b, table->name, &outstanding);
    return outstanding;
}

/* Tables have ages of their own; what is of the common one goes together, so that checkpoints need not
 * wait for data that came behind the first. Nobody waits for a patient table. */
static void test_tables_are_cut_at_their_own_age(void **state) {
    (void)state;
    struct fixture *f = calloc(1, sizeof *f);
    start(f);
    f->b.age_ns = age_of_table;
    put(f, &request_table, 1);
    put(f, &data_table, 2);
    f->clock.mono_ns = 9;
    put(f, &check_table, 3);
    put(f, &data_table, 4);
    batcher__cut(&f->b, false);
    assert_int_equal(f->n_seals, 0);
    f->clock.mono_ns = 10;
    batcher__cut(&f->b, false);
    assert_int_equal(n_sealed_of(f, &data_table), 1);
    assert_int_equal(n_sealed_of(f, &check_table), 1);
    assert_int_equal(n_sealed_of(f, &request_table), 0);
    for (int i = 0; i < 2; i++) {
        next_of_table(f, i == 0 ? &data_table : &check_table)->state = SEALED_READY;
        struct sealed *s = batcher__next(&f->b, 0, NULL);
        assert_ptr_equal(s->batch.table, i == 0 ? &data_table : &check_table); /* Though a request waits. */
        batcher__stored(&f->b, s);
    }
    assert_int_equal(batcher__low_water(&f->b), 1); /* It counts as what is stored, all the same. */
    f->clock.mono_ns = 40;
    batcher__cut(&f->b, false);
    assert_int_equal(n_sealed_of(f, &request_table), 1);
    batcher__fini(&f->b);

    /* Without room for more, age is not waited for; unless what is open is a small part of it. */
    f->n_seals = 0;
    f->checkpoint = 0;
    start(f);
    put(f, &data_table, 1), put(f, &data_table, 2);
    f->b.feeds[0].crowd_bytes = 3 * 12;
    batcher__cut(&f->b, false);
    assert_int_equal(f->n_seals, 0);
    put(f, &data_table, 3);
    f->b.feeds[0].crowd_bytes = 3 * 12;
    batcher__cut(&f->b, false);
    assert_int_equal(f->n_seals, 1);
    batcher__fini(&f->b);
    free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seal_says_where_its_batch_may_be),
        cmocka_unit_test(test_tables_are_cut_at_their_own_age),
        cmocka_unit_test(test_the_tapes_feed_is_apart),
        cmocka_unit_test(test_the_tape_has_its_turn_while_pages_wait),
        cmocka_unit_test(test_every_row_is_stored_once_whatever_crashes),
        cmocka_unit_test(test_two_feeds_store_every_row_once_whatever_crashes),
        cmocka_unit_test(test_a_batch_is_cut_by_rows_and_by_age),
        cmocka_unit_test(test_age_cuts_no_more_while_batches_wait),
        cmocka_unit_test(test_many_seals_are_taken_up_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
