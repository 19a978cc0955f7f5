/* Pages in a real spool come out as rows, in the order of the log, and the same after a restart. */
#include "../lib/moved.h"
#include "souk/core/log.h"
#include "souk/core/refusal.h"
#include "souk/decoder.h"
#include "souk/tables.h"
#include "test_dir.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define TURNS_MAX 100000
#define TAKEN_MAX 256

/* What the decoder handed on: a line of text for each record, so that two runs can be compared. */
struct taken {
    uint64_t lsns[TAKEN_MAX];
    size_t n, n_rows, n_quarantined;
    struct buf text;
    char parts[TAKEN_MAX][64]; /* Of the stash rows of each record; the first one's. */
};

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool *spool;
    struct decoder *decoder;
    struct taken taken;
    size_t room; /* Records that may still be taken. */
    bool closed;
};

static void on_closed(void *data) { ((struct fixture *)data)->closed = true; }

static bool has_room(void *ctx) { return ((struct fixture *)ctx)->room > 0; }

static void take(void *ctx, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns, const struct request_facts *facts,
                 struct rows *rows) {
    struct fixture *f = ctx;
    struct taken *t = &f->taken;
    assert_true(next_lsn >= lsn);
    if (facts == NULL) { /* A position alone, or a row that was refused. */
        for (size_t i = 0; i < rows->n; i++) {
            assert_ptr_equal(rows->batches[i].batch.table, &table_bronze_quarantine);
            t->n_quarantined += rows->batches[i].batch.n_rows;
        }
        return;
    }
    assert_true(t->n < TAKEN_MAX);
    assert_true(t->n == 0 || lsn > t->lsns[t->n - 1]);
    assert_true(wall_ns > 0);
    if (f->room > 0) f->room--; /* A job in flight hands on what it has. */
    buf__printf(&t->text, "%.*s", SLICE_FMT(facts->status)); /* Borrowed memory that must still be there. */
    for (size_t i = 0; i < rows->n; i++) {
        char hash[33];
        const struct rows_batch *b = &rows->batches[i];
        batch__hash(&b->batch, hash);
        buf__printf(&t->text, " %s/%s/%zu/%s", b->batch.table->name, b->part, b->batch.n_rows, hash);
        t->n_rows += b->batch.n_rows;
        if (b->batch.table == &table_bronze_quarantine) t->n_quarantined += b->batch.n_rows;
        if (b->batch.table == &table_bronze_public_stash) snprintf(t->parts[t->n], sizeof t->parts[0], "%s", b->part);
    }
    buf__append_str(&t->text, "\n");
    t->lsns[t->n++] = lsn;
    rows__fini(rows);
}

static void open_spool(struct fixture *f) {
    struct err e = {0};
    struct spool_options options = {.dir = f->dir, .segment_bytes = 256 << 10, .quota_bytes = 16 << 20};
    if (spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &options, &e) != 0) fail_msg("%s", e.msg);
}

static void close_spool(struct fixture *f) {
    f->closed = false;
    spool__close(f->spool, on_closed, f);
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
}

static void open_decoder(struct fixture *f, const char *followed) {
    struct spool_status status;
    struct err e = {0};
    spool__status(f->spool, &status);
    struct decoder_deps deps = {.loop = &f->loop, .clock = &f->clock, .metrics = &f->metrics, .spool = f->spool,
                                .ctx = f, .has_room = has_room, .take = take};
    buf__clear(&f->taken.text);
    f->taken.n = f->taken.n_rows = f->taken.n_quarantined = 0;
    assert_int_equal(decoder__open(&f->decoder, &deps, status.first_lsn, 0, followed, &e), 0);
}

static void close_decoder(struct fixture *f) {
    f->closed = false;
    decoder__close(f->decoder, on_closed, f);
    f->decoder = NULL;
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/souk_decoder_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    f->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = 1700000000 * NS_PER_S};
    f->taken.text = buf__init(4 << 20);
    f->room = SIZE_MAX;
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(metrics__init(&f->metrics), 0);
    open_spool(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f->decoder != NULL) close_decoder(f);
    close_spool(f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    buf__fini(&f->taken.text);
    remove_dir(f->dir);
    free(f);
    return 0;
}

static void append(struct fixture *f, enum spool_type type, struct slice a, struct slice b) {
    struct slice parts[] = {a, b};
    struct err e = {0};
    if (spool__append(f->spool, type, 0, parts, 2, NULL, NULL, &e) == 0) fail_msg("%s", e.msg);
}

static void append_page(struct fixture *f, const char *body) {
    struct buf meta = buf__init(1 << 20), packed = buf__init(1 << 20);
    struct request_facts facts = {.flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT, .source = SLICE_LIT("psapi"),
                                  .stream = SLICE_LIT("pc"), .service = SLICE_LIT("psapi"), .realm = SLICE_LIT("pc"),
                                  .path = SLICE_LIT("/public-stash-tabs"), .method = SLICE_LIT("GET"),
                                  .cursor_from = SLICE_LIT("1-1"), .cursor_to = SLICE_LIT("1-2"), .http_status = 200,
                                  .attempts = 1, .status = SLICE_LIT("ok"), .requested_wall_ns = f->clock.wall_ns,
                                  .received_wall_ns = f->clock.wall_ns, .retry_after_s = -1};
    journal__encode(&facts, &meta);
    assert_int_equal(journal__compress(slice__str(body), &packed), 0);
    append(f, SPOOL_PAGE, buf__slice(&meta), buf__slice(&packed));
    buf__fini(&meta);
    buf__fini(&packed);
}

#define STASH(league)                                                                                                  \
    "{\"next_change_id\":\"1-2\",\"stashes\":[{\"id\":\"s\",\"public\":true,\"accountName\":\"a\",\"stash\":\"t\","      \
    "\"stashType\":\"PremiumStash\",\"league\":\"" league "\",\"items\":[{\"id\":\"i\",\"league\":\"" league "\","        \
    "\"name\":\"\",\"typeLine\":\"Chaos Orb\",\"baseType\":\"Chaos Orb\",\"frameType\":5,\"w\":1,\"h\":1,\"ilvl\":0,"     \
    "\"identified\":true,\"x\":0,\"y\":0,\"inventoryId\":\"Stash1\"}]}]}"

static void run_until_quiet(struct fixture *f) {
    struct spool_status status;
    for (int i = 0;; i++) { /* Everything synced, everything read. */
        assert_true(i < TURNS_MAX);
        decoder__wake(f->decoder);
        spool__status(f->spool, &status);
        if (status.synced_lsn == status.end_lsn && !decoder__busy(f->decoder)) return;
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

/* What it made is counted where it is made, not where it is taken. */
static double n_made(struct fixture *f) {
    return metrics__counter(&f->metrics, "souk_rows_decoded_total", "", "%s", "")->value;
}

static void test_rows_come_in_order_and_are_the_same_after_a_restart(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 150; i++) append_page(f, i % 2 ? STASH("Standard") : STASH("Elsewhere"));
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    assert_int_equal(f->taken.n, 150);
    assert_string_equal(f->taken.parts[0], "other");
    assert_string_equal(f->taken.parts[1], "Standard");
    assert_int_equal(f->taken.n_quarantined, 0);
    assert_true(f->taken.n_rows > 4 * 150 - 1); /* Raw page, item, request, checkpoint. */
    assert_true(n_made(f) == (double)f->taken.n_rows);
    char *first = strndup(f->taken.text.base, f->taken.text.len);
    size_t len = f->taken.text.len;
    close_decoder(f);
    close_spool(f);
    open_spool(f);
    f->clock.wall_ns += 3600 * NS_PER_S; /* Rows carry the page's times, not the decoder's. */
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    assert_int_equal(f->taken.text.len, len);
    assert_memory_equal(f->taken.text.base, first, len);
    assert_true(n_made(f) == 2 * (double)f->taken.n_rows);
    free(first);
}

static void test_what_cannot_be_decoded_is_told_in_quarantine(void **state) {
    struct fixture *f = *state;
    struct buf meta = buf__init(1 << 20);
    struct request_facts unknown = {.source = SLICE_LIT("gone"), .received_wall_ns = f->clock.wall_ns};
    journal__encode(&unknown, &meta);
    append_page(f, "{\"not\":\"a page\"}");
    append(f, SPOOL_PAGE, buf__slice(&meta), SLICE_LIT("not zstd"));
    append(f, SPOOL_PAGE, SLICE_LIT("\x01\xff\xff\xff\xff"), SLICE_LIT("no record at all"));
    append(f, SPOOL_REQUEST, slice__of(meta.base, meta.len - 3), (struct slice){0});
    append_page(f, STASH("Standard"));
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    assert_int_equal(f->taken.n, 5); /* Nothing stops what comes behind. */
    assert_int_equal(f->taken.n_quarantined, 4);
    assert_string_equal(f->taken.parts[4], "Standard");
    buf__fini(&meta);
}

static void test_a_config_record_changes_the_partitions_behind_it(void **state) {
    struct fixture *f = *state;
    append_page(f, STASH("Standard"));
    append_page(f, STASH("Hardcore"));
    append(f, SPOOL_CONFIG, SLICE_LIT("Hardcore\n"), (struct slice){0});
    append_page(f, STASH("Standard"));
    append_page(f, STASH("Hardcore"));
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    static const char *const expected[] = {"Standard", "other", "other", "Hardcore"};
    for (size_t i = 0; i < 4; i++) assert_string_equal(f->taken.parts[i], expected[i]);
    /* A checkpoint says what was followed at its mark, and so recovery decodes alike. */
    assert_string_equal(decoder__followed_at(f->decoder, f->taken.lsns[1]), "Standard\n");
    assert_string_equal(decoder__followed_at(f->decoder, f->taken.lsns[2]), "Hardcore\n");
}

static void test_a_refused_row_becomes_one_of_the_quarantine(void **state) {
    struct fixture *f = *state;
    struct buf bytes = buf__init(1 << 20);
    struct refusal r = {.token = SLICE_LIT("0123456789abcdef0123456789abcdef"), .row = 3, .table = SLICE_LIT("t"),
                        .src = SLICE_LIT("psapi"), .lsn = 9, .ord = 1, .code = 469, .message = SLICE_LIT("no"),
                        .payload = SLICE_LIT("{}")};
    refusal__encode(&r, &bytes);
    append(f, SPOOL_QUARANTINE, buf__slice(&bytes), (struct slice){0});
    append(f, SPOOL_QUARANTINE, SLICE_LIT("no refusal"), (struct slice){0});
    append_page(f, STASH("Standard"));
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    assert_int_equal(f->taken.n, 1); /* What cannot be read is said in the log, and passed over. */
    assert_int_equal(f->taken.n_quarantined, 1);
    assert_true(metrics__counter(&f->metrics, "souk_pages_undecodable_total", "", "")->value > 0.5); /* And counted. */
    buf__fini(&bytes);
}

static void test_it_ends_where_it_is_told(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) append_page(f, STASH("Standard"));
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    uint64_t end = f->taken.lsns[40];
    close_decoder(f);
    open_decoder(f, "Standard\n");
    decoder__end_at(f->decoder, end);
    assert_false(decoder__ended(f->decoder));
    run_until_quiet(f);
    assert_true(decoder__ended(f->decoder));
    assert_int_equal(decoder__at(f->decoder), end);
    assert_int_equal(f->taken.n, 40);
    assert_int_equal(decoder__lag_ns(f->decoder), 0); /* There is nothing behind its end. */
}

static void test_it_goes_on_behind_a_gap(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) append_page(f, STASH("Standard"));
    open_decoder(f, "Standard\n");
    run_until_quiet(f);
    uint64_t end = f->taken.lsns[10], from = f->taken.lsns[50], until = f->taken.lsns[60];
    close_decoder(f);
    open_decoder(f, "Standard\n");
    decoder__end_at(f->decoder, end);
    run_until_quiet(f);
    decoder__go_on(f->decoder, from, until);
    assert_false(decoder__ended(f->decoder));
    run_until_quiet(f);
    assert_true(decoder__ended(f->decoder));
    assert_int_equal(f->taken.n, 20);
    assert_true(f->taken.lsns[9] < end);
    assert_int_equal(f->taken.lsns[10], from);
}

static void test_it_stops_while_there_is_no_room(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 200; i++) append_page(f, STASH("Standard"));
    f->room = 1;
    open_decoder(f, "");
    while (f->taken.n == 0) { /* One job's worth at most, whose size is bounded. */
        decoder__wake(f->decoder);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    size_t n = f->taken.n;
    assert_true(n >= 1 && n <= 64);
    decoder__wake(f->decoder);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->taken.n, n);
    f->room = SIZE_MAX;
    run_until_quiet(f);
    assert_int_equal(f->taken.n, 200);
}

static void test_it_can_be_closed_while_a_job_runs(void **state) {
    struct fixture *f = *state;
    struct spool_status status;
    for (int i = 0; i < 100; i++) append_page(f, STASH("Standard"));
    open_decoder(f, "");
    for (int i = 0; i < TURNS_MAX; i++) {
        spool__status(f->spool, &status);
        if (status.synced_lsn == status.end_lsn) break;
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    decoder__wake(f->decoder);
    assert_true(decoder__busy(f->decoder));
    close_decoder(f);
    assert_true(f->taken.n > 0); /* The job's rows were handed on before the end. */
}

struct maker {
    struct fixture *f;
    uint64_t lsns[TAKEN_MAX];
    size_t n, n_taken;
    size_t fails_at; /* This call has no memory. */
};

static int make(void *ctx, const struct spool_record *rec, const struct followed *followed, struct buf *body,
                struct rows *rows) {
    struct maker *m = ctx;
    assert_int_equal(rec->type, SPOOL_PAGE);
    assert_int_equal(followed->n, 1);
    assert_true(body->max > 0);
    *rows = (struct rows){0};
    if (m->n == m->fails_at) {
        m->fails_at = SIZE_MAX;
        return ERR_NOMEM;
    }
    m->lsns[m->n++] = rec->lsn;
    struct batch *b = rows__batch(rows, &table_bronze_quarantine, (struct slice){0});
    const struct quarantine_row row = {.origin = {.src = "x", .lsn = rec->lsn}};
    tables__quarantine_row(b, &row);
    return 0;
}

static bool maker_has_room(void *ctx) { return ((struct maker *)ctx)->f->room > 0; }

static void take_made(void *ctx, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns, const struct request_facts *facts,
                      struct rows *rows) {
    struct maker *m = ctx;
    assert_null(facts);
    assert_true(wall_ns > 0 && next_lsn >= lsn);
    if (rows->n == 0) return;
    assert_int_equal(lsn, m->lsns[m->n_taken++]);
    rows__fini(rows);
}

/* Somebody else's rows: each page once and in order, also when memory was short. */
static void test_rows_can_be_made_by_somebody_else(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    struct spool_status status;
    struct maker m = {.f = f, .fails_at = SIZE_MAX};
    struct decoder_deps deps = {.loop = &f->loop, .clock = &f->clock, .metrics = &f->metrics, .spool = f->spool, .ctx = &m,
                                .has_room = maker_has_room, .take = take_made, .make = make};
    for (int i = 0; i < 100; i++) append_page(f, STASH("Standard"));
    spool__status(f->spool, &status);
    assert_int_equal(decoder__open(&f->decoder, &deps, status.first_lsn, 0, "Standard\n", &e), 0);
    run_until_quiet(f);
    assert_false(decoder__works(f->decoder));
    assert_int_equal(m.n, 100);
    assert_int_equal(m.n_taken, 100);
    m.n = m.n_taken = 0;
    close_decoder(f);

    m.fails_at = 10;
    assert_int_equal(decoder__open(&f->decoder, &deps, status.first_lsn, 0, "Standard\n", &e), 0);
    for (int i = 0; i < TURNS_MAX && m.n_taken < 10; i++) {
        decoder__wake(f->decoder);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(m.n_taken, 10); /* What came before it; it is tried again later. */
    close_decoder(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_rows_come_in_order_and_are_the_same_after_a_restart),
        TEST(test_what_cannot_be_decoded_is_told_in_quarantine),
        TEST(test_a_config_record_changes_the_partitions_behind_it),
        TEST(test_a_refused_row_becomes_one_of_the_quarantine),
        TEST(test_it_ends_where_it_is_told),
        TEST(test_it_goes_on_behind_a_gap),
        TEST(test_it_stops_while_there_is_no_room),
        TEST(test_it_can_be_closed_while_a_job_runs),
        TEST(test_rows_can_be_made_by_somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
