/* The same records make the same hashes: whatever feeds them, however they are batched, each time;
 * and another record, order or cell makes others. */
#include "../../src/replay/row_hash.h"
#include "../golden/golden.h"
#include "souk/core/log.h"
#include "souk/journal.h"
#include "souk/replay.h"
#include "souk/tables.h"
#include "test_dir.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <zstd.h>
#include <cmocka.h>

#define RECORDS_MAX 64
#define WALL_NS (INT64_C(1767225600) * NS_PER_S)

/* Records in memory, told forwards or backwards. */
struct tape {
    struct spool_record records[RECORDS_MAX];
    struct buf payloads[RECORDS_MAX];
    size_t n, next;
    bool backwards;
    size_t damage_at; /* One ERR_CORRUPT before this record, counted from 1. */
};

static int next_of_tape(struct replay_feed *feed, struct spool_record *out, struct err *e) {
    struct tape *t = feed->self;
    if (t->damage_at > 0 && t->next + 1 == t->damage_at) {
        t->damage_at = 0;
        return err__setf(e, ERR_CORRUPT, "a range is damaged");
    }
    if (t->next == t->n) return 0;
    size_t i = t->backwards ? t->n - 1 - t->next : t->next;
    t->next++;
    *out = t->records[i];
    return 1;
}

static struct replay_feed feed_of(struct tape *t, bool has_requests) {
    t->next = 0;
    return (struct replay_feed){
        .name = "tape", .has_requests = has_requests, .self = t, .next = next_of_tape};
}

static struct buf *push(struct tape *t, uint16_t type) {
    assert_true(t->n < RECORDS_MAX);
    size_t i = t->n++;
    t->payloads[i] = buf__init(SPOOL_RECORD_MAX);
    t->records[i] = (struct spool_record){
        .lsn = 1000 + 10 * i, .next_lsn = 1010 + 10 * i, .type = type, .wall_ns = WALL_NS + (int64_t)i * NS_PER_S};
    return &t->payloads[i];
}

static void seal_payloads(struct tape *t) {
    for (size_t i = 0; i < t->n; i++) t->records[i].payload = buf__slice(&t->payloads[i]);
}

static void push_page(struct tape *t, struct slice body, int n) {
    char from[32], to[32];
    struct buf *out = push(t, SPOOL_PAGE);
    snprintf(from, sizeof from, "%d-1", n);
    snprintf(to, sizeof to, "%d-1", n + 1);
    struct request_facts f = {.flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT,
                              .source = SLICE_LIT("psapi"),
                              .stream = SLICE_LIT("pc"),
                              .service = SLICE_LIT("psapi"),
                              .realm = SLICE_LIT("pc"),
                              .path = SLICE_LIT("/public-stash-tabs"),
                              .method = SLICE_LIT("GET"),
                              .cursor_from = slice__str(from),
                              .cursor_to = slice__str(to),
                              .http_status = 200,
                              .attempts = 1,
                              .status = SLICE_LIT("ok"),
                              .requested_wall_ns = WALL_NS + n * NS_PER_S,
                              .received_wall_ns = WALL_NS + n * NS_PER_S + 7,
                              .body_bytes = body.len,
                              .retry_after_s = -1};
    journal__encode(&f, out);
    assert_int_equal(journal__compress(body, out), 0);
}

static void push_text(struct tape *t, uint16_t type, const char *text) {
    buf__append_str(push(t, type), text);
}

/* A page of @n_items, some of them wrong. */
static void make_body(struct buf *out, int page, int n_items) {
    static const char *const leagues[] = {"Standard", "Hardcore", "Allflame"};
    *out = buf__init(1 << 20);
    buf__printf(out, "{\"next_change_id\":\"%d-1\",\"stashes\":[", page + 1);
    for (int s = 0; s < 3; s++) {
        buf__printf(out, "%s{\"id\":\"s%d\",\"public\":true,\"accountName\":\"a%d\",\"stash\":\"~price %d chaos\","
                         "\"stashType\":\"PremiumStash\",\"league\":\"%s\",\"items\":[",
                    s == 0 ? "" : ",", page * 3 + s, s, s + page, leagues[s]);
        for (int i = 0; i < n_items; i++)
            buf__printf(out, "%s{\"id\":\"%064d\",\"typeLine\":\"Ring %d\",\"ilvl\":%s,\"note\":\"~b/o %d.5 divine\","
                             "\"explicitMods\":[\"+%d to Life\"]}",
                        i == 0 ? "" : ",", page * 1000 + s * 100 + i, i, i % 7 == 6 ? "-1" : "84", i + 1, i);
        buf__append_str(out, "]}");
    }
    buf__append_str(out, "]}");
    assert_false(out->failed);
}

static void make_tape(struct tape *t, int n_pages) {
    *t = (struct tape){0};
    push_text(t, SPOOL_CONFIG, "Standard\nHardcore\n");
    for (int n = 0; n < n_pages; n++) {
        struct buf body;
        make_body(&body, n, 5 + n % 9);
        push_page(t, buf__slice(&body), n);
        buf__fini(&body);
    }
    seal_payloads(t);
}

static void free_tape(struct tape *t) {
    for (size_t i = 0; i < t->n; i++) buf__fini(&t->payloads[i]);
}

static int run_options(struct replay_feed feed, const struct replay_options *o, struct replay_result *out) {
    struct replay *r;
    struct err e = {0};
    assert_int_equal(replay__new(&r, o, &e), 0);
    int code = replay__run(r, &feed, out, &e);
    replay__free(r);
    return code;
}

static void run(struct replay_feed feed, size_t rows_max, struct replay_result *out) {
    struct replay_options o = {.rows_max = rows_max};
    assert_int_equal(run_options(feed, &o, out), 0);
}

static const struct replay_table *table_of(const struct replay_result *r, const struct table_desc *t) {
    for (size_t i = 0; i < r->n_tables; i++)
        if (r->tables[i].table == t) return &r->tables[i];
    fail_msg("no rows of %s", t->name);
    return NULL;
}

static void assert_equal(const struct replay_result *a, const struct replay_result *b) {
    assert_string_equal(a->rows, b->rows);
    assert_string_equal(a->log, b->log);
    assert_int_equal(a->n_tables, b->n_tables);
    for (size_t i = 0; i < a->n_tables; i++) {
        assert_string_equal(a->tables[i].rows, b->tables[i].rows);
        assert_string_equal(a->tables[i].log, b->tables[i].log);
        assert_int_equal(a->tables[i].n_rows, b->tables[i].n_rows);
    }
}

static void test_hashes_do_not_depend_on_batches_or_runs(void **state) {
    (void)state;
    static const size_t rows_max[] = {1, 7, 100, 50000, 50000};
    struct replay_result first, again;
    struct tape t;
    make_tape(&t, 40);
    run(feed_of(&t, true), rows_max[0], &first);
    assert_int_equal(first.n_pages, 40);
    assert_int_equal(first.n_tables, 5);
    assert_int_equal(first.n_judged_otherwise, 0);
    assert_true(first.n_batches > 100);
    assert_true(first.refused[QUALITY_OUT_OF_RANGE] > 0);
    assert_int_equal(first.refused[QUALITY_OUT_OF_RANGE], table_of(&first, &table_bronze_quarantine)->n_rows);
    for (size_t i = 1; i < sizeof rows_max / sizeof *rows_max; i++) {
        run(feed_of(&t, true), rows_max[i], &again);
        assert_equal(&first, &again);
    }
    assert_true(again.n_batches < 10);
    free_tape(&t);
}

static void test_order_is_in_the_log_hash_alone(void **state) {
    (void)state;
    struct replay_result forwards, backwards;
    struct tape t;
    make_tape(&t, 5);
    t.n--, buf__fini(&t.payloads[t.n]); /* An even number of pages, so that none stays in place. */
    memmove(t.records, t.records + 1, sizeof *t.records * --t.n);
    buf__fini(&t.payloads[0]);
    memmove(t.payloads, t.payloads + 1, sizeof *t.payloads * t.n);
    run(feed_of(&t, true), 10, &forwards);
    t.backwards = true;
    run(feed_of(&t, true), 10, &backwards);
    assert_string_equal(forwards.rows, backwards.rows);
    assert_string_not_equal(forwards.log, backwards.log);
    free_tape(&t);
}

static void test_positions_are_in_the_log_hash_alone(void **state) {
    (void)state;
    struct replay_result here, there;
    struct tape t;
    make_tape(&t, 6);
    run(feed_of(&t, true), 10, &here);
    for (size_t i = 0; i < t.n; i++) t.records[i].lsn += 1 << 20, t.records[i].next_lsn += 1 << 20;
    run(feed_of(&t, true), 10, &there);
    assert_string_equal(here.rows, there.rows);
    assert_string_not_equal(here.log, there.log);
    /* Without requests the sum over all stays: it is of market data. */
    run(feed_of(&t, false), 10, &there);
    assert_string_equal(here.rows, there.rows);
    assert_int_equal(there.n_tables, 3);
    free_tape(&t);
}

static void test_any_other_cell_is_another_hash(void **state) {
    (void)state;
    static const struct column_desc columns[] = {
        {"a", "UInt8", COLUMN_U8},   {"b", "String", COLUMN_STR},
        {"lsn", "UInt64", COLUMN_U64}, {"c", "Array(Float32)", COLUMN_ARR_F32},
        {"d", "Float64", COLUMN_F64}};
    static const struct table_desc table = {.name = "t", .columns = columns, .n_columns = 5};
    struct buf cells = buf__init(1 << 20);
    char seen[8][ROW_HASH_SIZE];
    size_t n = 0;
    for (int change = 0; change < 7; change++) {
        struct batch b;
        struct row_hash h = {0};
        const float floats[] = {1, 2};
        assert_int_equal(batch__init(&b, &table), 0);
        for (int row = 0; row < 2; row++) {
            bool it = row == 1;
            batch__begin(&b);
            batch__u8(&b, it && change == 1);
            batch__cstr(&b, it && change == 2 ? "bc" : "b");
            batch__u64(&b, it && change == 3 ? 10 : 9);
            batch__f32s(&b, floats, it && change == 4 ? 1 : 2);
            batch__f64(&b, it && change == 5 ? -0.0 : 0.0);
            batch__end(&b);
        }
        assert_int_equal(row_hash__add(&h, NULL, &b, &cells), 0);
        if (change == 6) assert_int_equal(row_hash__add(&h, NULL, &b, &cells), 0); /* All rows twice. */
        row_hash__text(h.low, h.high, seen[n]);
        for (size_t i = 0; i < n; i++) {
            if (change == 3) assert_string_equal(seen[0], seen[n]); /* The position. */
            else assert_string_not_equal(seen[i], seen[n]);
        }
        if (change != 3) n++;
        batch__fini(&b);
    }
    buf__fini(&cells);
}

static void test_a_range_takes_what_lies_in_it(void **state) {
    (void)state;
    struct replay_result got;
    struct tape t;
    make_tape(&t, 10); /* Records at 1010 to 1100, a second apart. */
    struct replay_options o = {.range = {.from_lsn = 1030, .to_lsn = 1060}};
    assert_int_equal(run_options(feed_of(&t, true), &o, &got), 0);
    assert_int_equal(got.n_pages, 3);
    assert_true(got.first_wall_ns == WALL_NS + 2 * NS_PER_S + 7);
    o.range = (struct replay_range){.from_wall_ns = WALL_NS + 2 * NS_PER_S + 7, .to_wall_ns = WALL_NS + 6 * NS_PER_S + 7};
    assert_int_equal(run_options(feed_of(&t, true), &o, &got), 0);
    assert_int_equal(got.n_pages, 4);
    o = (struct replay_options){.sources = "poe_*"};
    assert_int_equal(run_options(feed_of(&t, true), &o, &got), 0);
    assert_int_equal(got.n_requests, 0);
    o.sources = "psapi/p?";
    assert_int_equal(run_options(feed_of(&t, true), &o, &got), 0);
    assert_int_equal(got.n_pages, 10);
    free_tape(&t);
}

static void test_followed_leagues_are_those_of_the_log(void **state) {
    (void)state;
    struct replay_result by_log, by_options;
    struct tape t;
    make_tape(&t, 4);
    struct replay_options o = {.followed = "Allflame\n"};
    assert_int_equal(run_options(feed_of(&t, true), &o, &by_log), 0);
    t.records[0].type = SPOOL_STOP; /* No word in the log. */
    assert_int_equal(run_options(feed_of(&t, true), &o, &by_options), 0);
    assert_string_not_equal(by_log.rows, by_options.rows);
    o.followed = "Standard\nHardcore\n";
    assert_int_equal(run_options(feed_of(&t, true), &o, &by_options), 0);
    assert_equal(&by_log, &by_options);
    free_tape(&t);
}

static void test_what_cannot_be_decoded_is_counted_and_kept(void **state) {
    (void)state;
    struct replay_result got;
    struct tape t;
    make_tape(&t, 2);
    push_page(&t, SLICE_LIT("{\"next_change_id\":\"3-1\"}"), 2); /* No stashes. */
    push_text(&t, SPOOL_PAGE, "what is this");
    seal_payloads(&t);
    t.damage_at = 2;
    run(feed_of(&t, true), 10, &got);
    assert_int_equal(got.n_pages, 4);
    assert_int_equal(got.n_undecodable, 2);
    assert_int_equal(got.n_damaged, 1);
    assert_int_equal(got.refused[QUALITY_UNDECODABLE_PAGE], 1); /* The other's source is not known. */
    assert_int_equal(table_of(&got, &table_bronze_quarantine)->n_rows, 2);
    free_tape(&t);
}

static void test_a_page_that_would_be_judged_otherwise_is_counted(void **state) {
    (void)state;
    struct replay_result got;
    struct tape t;
    struct buf body;
    make_tape(&t, 2);
    make_body(&body, 7, 3); /* Leads to 8-1, and the log says 3-1. */
    push_page(&t, buf__slice(&body), 2);
    seal_payloads(&t);
    run(feed_of(&t, true), 10, &got);
    assert_int_equal(got.n_judged_otherwise, 1);
    assert_int_equal(got.n_pages, 3);
    buf__fini(&body);
    free_tape(&t);
}

/* A database as far as this matters: tokens that it has seen, rows that it holds, names of pages. */
#define TOKENS_MAX 4096
struct server {
    char tokens[TOKENS_MAX][33], ids[TOKENS_MAX][33];
    size_t n_tokens, n_ids, n_committed;
    uint64_t n_rows;
    unsigned n_calls, fail_at; /* Fails that call, before or after it took effect. */
    bool after;
};

static bool has(char (*list)[33], size_t n, const char *text) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], text) == 0) return true;
    return false;
}

static bool claim(struct replay_sink *sink, const char *id) {
    struct server *s = sink->self;
    if (has(s->ids, s->n_ids, id)) return false;
    assert_true(s->n_ids < TOKENS_MAX);
    memcpy(s->ids[s->n_ids++], id, 33);
    return true;
}

/* @return whether the call under way fails; @effect: whether it takes effect. */
static bool fails(struct server *s, bool *effect) {
    bool now = ++s->n_calls == s->fail_at;
    *effect = !now || s->after;
    return now;
}

static int insert(struct replay_sink *sink, const struct sealed *sealed, const char *token, struct err *e) {
    struct server *s = sink->self;
    bool effect, failed = fails(s, &effect);
    if (effect && !has(s->tokens, s->n_tokens, token)) {
        assert_true(s->n_tokens < TOKENS_MAX);
        memcpy(s->tokens[s->n_tokens++], token, 33);
        s->n_rows += sealed->batch.n_rows;
    }
    return failed ? err__setf(e, ERR_UNAVAILABLE, "cut off") : 0;
}

static int commit(struct replay_sink *sink, struct err *e) {
    struct server *s = sink->self;
    bool effect, failed = fails(s, &effect);
    if (effect) s->n_committed = s->n_ids;
    return failed ? err__setf(e, ERR_UNAVAILABLE, "cut off") : 0;
}

static int run_into(struct server *s, struct tape *t, struct replay_range range, struct replay_result *out) {
    struct replay_sink sink = {.self = s, .claim = claim, .insert = insert, .commit = commit};
    struct replay_options o = {.sink = &sink, .rows_max = 60, .range = range};
    s->n_ids = s->n_committed; /* What was claimed and not committed is forgotten with the process. */
    s->n_calls = 0;
    return run_options(feed_of(t, true), &o, out);
}

static uint64_t all_rows(const struct replay_result *r) {
    uint64_t n = 0;
    for (size_t i = 0; i < r->n_tables; i++) n += r->tables[i].n_rows;
    return n;
}

static void test_each_page_is_stored_once_whatever_the_ranges(void **state) {
    (void)state;
    struct server *s = calloc(1, sizeof *s);
    struct replay_result got;
    struct tape t;
    make_tape(&t, 20);
    run(feed_of(&t, true), 10, &got);
    uint64_t want = all_rows(&got);
    assert_int_equal(run_into(s, &t, (struct replay_range){.from_lsn = 1050, .to_lsn = 1120}, &got), 0);
    assert_int_equal(s->n_rows, all_rows(&got));
    assert_int_equal(got.n_known, 0);
    assert_int_equal(run_into(s, &t, (struct replay_range){.from_lsn = 1080, .to_lsn = 1150}, &got), 0);
    assert_int_equal(got.n_known, 4);
    assert_int_equal(run_into(s, &t, (struct replay_range){0}, &got), 0);
    assert_int_equal(s->n_rows, want);
    assert_int_equal(run_into(s, &t, (struct replay_range){0}, &got), 0);
    assert_int_equal(s->n_rows, want);
    assert_int_equal(got.n_known, 20);
    for (size_t i = 0; i < got.n_tables; i++) assert_int_equal(got.tables[i].n_stored, 0);
    free_tape(&t);
    free(s);
}

static void test_records_that_cannot_be_read_are_told_apart(void **state) {
    (void)state;
    struct server *s = calloc(1, sizeof *s);
    struct replay_result got;
    struct tape t = {0};
    push_text(&t, SPOOL_PAGE, "one");
    push_text(&t, SPOOL_PAGE, "another");
    seal_payloads(&t);
    assert_int_equal(run_into(s, &t, (struct replay_range){0}, &got), 0);
    assert_int_equal(table_of(&got, &table_bronze_quarantine)->n_stored, 2);
    assert_int_equal(table_of(&got, &table_bronze_requests)->n_stored, 2);
    assert_int_equal(run_into(s, &t, (struct replay_range){0}, &got), 0);
    assert_int_equal(table_of(&got, &table_bronze_quarantine)->n_stored, 0);
    free_tape(&t);
    free(s);
}

static void test_each_page_is_stored_once_wherever_it_was_cut_off(void **state) {
    (void)state;
    struct server *s = calloc(1, sizeof *s);
    struct replay_result got;
    struct tape t;
    make_tape(&t, 12);
    run(feed_of(&t, true), 10, &got);
    uint64_t want = all_rows(&got);
    for (int after = 0; after < 2; after++) {
        unsigned k = 1;
        for (int code = 1; code != 0; k++) {
            *s = (struct server){.fail_at = k, .after = after};
            code = run_into(s, &t, (struct replay_range){0}, &got);
            assert_true(code == 0 || code == ERR_UNAVAILABLE);
            s->fail_at = 0;
            assert_int_equal(run_into(s, &t, (struct replay_range){0}, &got), 0);
            assert_int_equal(s->n_rows, want);
        }
        assert_true(k > 20); /* It was cut off at many places. */
    }
    free_tape(&t);
    free(s);
}

static void test_times_are_read_without_a_time_zone(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"1970-01-01", 0},
                {"2026-11-21", INT64_C(1795219200) * NS_PER_S},
                {"2026-11-21T12:30", INT64_C(1795264200) * NS_PER_S},
                {"2026-11-21 12:30:15", INT64_C(1795264215) * NS_PER_S},
                {"2026-11-21T12:30:15.25Z", INT64_C(1795264215) * NS_PER_S + 250 * NS_PER_MS},
                {"2024-02-29T00:00:00.000000001Z", INT64_C(1709164800) * NS_PER_S + 1}};
    static const char *const bad[] = {"",           "2026",          "2026-13-01",       "2026-02-29",
                                      "1969-12-31", "2026-11-21T",   "2026-11-21T24:00", "2026-11-21T12:60",
                                      "2300-01-01", "2026-11-21Z12", "2026-1-1",         "2026-11-21T12:00:00+01:00"};
    int64_t ns;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(replay__parse_time(good[i].text, &ns));
        assert_true(ns == good[i].ns);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(replay__parse_time(bad[i], &ns));
}

int main(void) {
    log__setup(fopen("/dev/null", "w"), LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes_do_not_depend_on_batches_or_runs),
        cmocka_unit_test(test_order_is_in_the_log_hash_alone),
        cmocka_unit_test(test_positions_are_in_the_log_hash_alone),
        cmocka_unit_test(test_any_other_cell_is_another_hash),
        cmocka_unit_test(test_a_range_takes_what_lies_in_it),
        cmocka_unit_test(test_followed_leagues_are_those_of_the_log),
        cmocka_unit_test(test_what_cannot_be_decoded_is_counted_and_kept),
        cmocka_unit_test(test_a_page_that_would_be_judged_otherwise_is_counted),
        cmocka_unit_test(test_each_page_is_stored_once_whatever_the_ranges),
        cmocka_unit_test(test_records_that_cannot_be_read_are_told_apart),
        cmocka_unit_test(test_each_page_is_stored_once_wherever_it_was_cut_off),
        cmocka_unit_test(test_times_are_read_without_a_time_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
