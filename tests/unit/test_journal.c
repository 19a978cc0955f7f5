/* Records say again exactly what was written; damaged ones are refused. */
#include "souk/journal.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const struct request_facts facts = {
    .flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT, .source = {"psapi", 5}, .stream = {"pc", 2},
    .service = {"psapi", 5}, .realm = {"pc", 2}, .path = {"/public-stash-tabs", 18}, .method = {"GET", 3},
    .cursor_from = {"1-2", 3}, .cursor_to = {"1-3", 3}, .freshness = PAGE_FRESH, .http_status = 200, .attempts = 3,
    .retry_reason = {"http_503", 8}, .status = {"ok", 2}, .requested_wall_ns = 1000 * NS_PER_S,
    .received_wall_ns = 1001 * NS_PER_S, .response_us = 999000, .first_byte_us = 5000, .wire_bytes = 10, .body_bytes = 42,
    .n_entries = 7, .policy = {"p", 1}, .retry_after_s = -1};

static void test_facts_come_back_as_they_were(void **state) {
    (void)state;
    struct buf b = buf__init(1 << 20);
    journal__encode(&facts, &b);
    buf__append_str(&b, "BODY");
    struct request_facts again;
    struct slice body;
    assert_int_equal(journal__decode(buf__slice(&b), &again, &body), 0);
    assert_true(slice__eq(body, SLICE_LIT("BODY")));
    assert_true(slice__eq(again.cursor_to, facts.cursor_to));
    assert_true(slice__eq(again.retry_reason, facts.retry_reason));
    assert_true(again.received_wall_ns == facts.received_wall_ns);
    assert_true(again.retry_after_s == -1);
    assert_int_equal(again.attempts, 3);
    assert_int_equal(again.flags, facts.flags);
    assert_int_equal(again.error.len, 0);
    for (size_t cut = 0; cut < b.len - 4; cut++)
        assert_int_equal(journal__decode(slice__of(b.base, cut), &again, &body), ERR_CORRUPT);
    buf__fini(&b);
}

static void test_bodies_are_bounded_when_decompressed(void **state) {
    (void)state;
    struct buf raw = buf__init(1 << 20), packed = buf__init(1 << 20), out = buf__init(1 << 20);
    for (int i = 0; i < 10000; i++) buf__append_str(&raw, "0123456789");
    assert_int_equal(journal__compress(buf__slice(&raw), &packed), 0);
    assert_true(packed.len < raw.len / 10);
    assert_int_equal(journal__decompress(buf__slice(&packed), 99999, &out), ERR_LIMIT);
    assert_int_equal(journal__decompress(buf__slice(&packed), 100000, &out), 0);
    assert_true(slice__eq(buf__slice(&raw), buf__slice(&out)));
    buf__clear(&out);
    packed.base[packed.len / 2] ^= 0x55;
    packed.base[packed.len - 1] ^= 0x55;
    assert_int_not_equal(journal__decompress(slice__of(packed.base, packed.len / 2), 100000, &out), 0);
    assert_int_equal(journal__decompress(SLICE_LIT("not zstd"), 100000, &out), ERR_CORRUPT);
    buf__fini(&raw), buf__fini(&packed), buf__fini(&out);
}

static void test_a_page_makes_a_request_row_and_a_checkpoint_row(void **state) {
    (void)state;
    struct rows rows = {0};
    journal__rows(&facts, 4096, 12, &rows);
    assert_int_equal(rows.n, 2);
    assert_ptr_equal(rows.batches[0].batch.table, &table_bronze_requests);
    assert_ptr_equal(rows.batches[1].batch.table, &table_bronze_ingest_checkpoints);
    assert_true(table_bronze_ingest_checkpoints.after_data);
    rows__fini(&rows);
    struct request_facts idle = facts;
    idle.flags = 0;
    journal__rows(&idle, 4096, 0, &rows);
    assert_int_equal(rows.n, 1);
    rows__fini(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_come_back_as_they_were),
        cmocka_unit_test(test_bodies_are_bounded_when_decompressed),
        cmocka_unit_test(test_a_page_makes_a_request_row_and_a_checkpoint_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
