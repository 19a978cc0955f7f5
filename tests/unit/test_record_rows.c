/* What records become: requests rows about themselves, broken pages and refused rows a quarantine row,
 * others nothing. Sound pages are shown by test_decoder and test_replay, which take this way too. */
#include "souk/core/refusal.h"
#include "souk/record_rows.h"
#include "souk/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct spool_record record(enum spool_type type, const struct buf *payload) {
    return (struct spool_record){.lsn = 4096, .next_lsn = 8192, .type = (uint16_t)type, .wall_ns = 5 * NS_PER_S,
                                 .payload = buf__slice(payload)};
}

static const struct batch *batch_of(const struct rows *rows, const struct table_desc *table) {
    for (size_t i = 0; i < rows->n; i++)
        if (rows->batches[i].batch.table == table) return &rows->batches[i].batch;
    return NULL;
}

static void put_facts(struct buf *out) {
    const struct request_facts facts = {.source = {"psapi", 5}, .stream = {"pc", 2}, .status = {"ok", 2},
                                        .http_status = 200, .received_wall_ns = NS_PER_S, .retry_after_s = -1};
    journal__encode(&facts, out);
}

static void test_a_request_is_a_row_of_its_own(void **state) {
    (void)state;
    struct record_decoder *d = record_decoder__new("Standard\n");
    struct buf payload = buf__init(1 << 16);
    struct rows rows;
    put_facts(&payload);
    struct spool_record rec = record(SPOOL_REQUEST, &payload);
    assert_int_equal(record_decoder__rows(d, &rec, &rows), 0);
    assert_int_equal(rows__count(&rows), 1);
    assert_non_null(batch_of(&rows, &table_bronze_requests));
    rows__fini(&rows);
    record_decoder__free(d);
    buf__fini(&payload);
}

static void test_a_page_that_cannot_be_decoded_is_quarantined(void **state) {
    (void)state;
    struct record_decoder *d = record_decoder__new("");
    struct buf payload = buf__init(1 << 16);
    struct rows rows;
    put_facts(&payload);
    buf__append_str(&payload, "no zstd at all");
    struct spool_record rec = record(SPOOL_PAGE, &payload);
    assert_int_equal(record_decoder__rows(d, &rec, &rows), 0);
    const struct batch *b = batch_of(&rows, &table_bronze_quarantine);
    assert_non_null(b);
    assert_int_equal(b->n_rows, 1);
    rows__fini(&rows);
    payload.len = 3; /* Not even the facts can be read. */
    rec = record(SPOOL_PAGE, &payload);
    assert_int_equal(record_decoder__rows(d, &rec, &rows), 0);
    assert_non_null(batch_of(&rows, &table_bronze_quarantine));
    rows__fini(&rows);
    record_decoder__free(d);
    buf__fini(&payload);
}

static void test_a_refused_row_is_quarantined(void **state) {
    (void)state;
    struct record_decoder *d = record_decoder__new("");
    struct buf payload = buf__init(1 << 16);
    const struct refusal refusal = {.token = SLICE_LIT("0123456789abcdef0123456789abcdef"), .row = 3,
                                    .table = SLICE_LIT("bronze_public_stash"), .part = SLICE_LIT(""),
                                    .src = SLICE_LIT("psapi"), .lsn = 77, .ord = 2, .wall_ns = NS_PER_S, .code = 469,
                                    .message = SLICE_LIT("no"), .payload = SLICE_LIT("{}")};
    struct rows rows = {0};
    refusal__encode(&refusal, &payload);
    struct spool_record rec = record(SPOOL_QUARANTINE, &payload);
    assert_int_equal(record_decoder__rows(d, &rec, &rows), 0);
    assert_int_equal(batch_of(&rows, &table_bronze_quarantine)->n_rows, 1);
    rows__fini(&rows);
    payload.len--;
    rec = record(SPOOL_QUARANTINE, &payload);
    assert_int_equal(record_rows__refusal(&rec, &rows), ERR_MALFORMED);
    assert_int_equal(rows__count(&rows), 0);
    rows__fini(&rows);
    record_decoder__free(d);
    buf__fini(&payload);
}

static void test_other_records_make_no_rows(void **state) {
    (void)state;
    struct record_decoder *d = record_decoder__new("");
    struct buf payload = buf__init(1 << 16);
    struct rows rows;
    buf__append_str(&payload, "Settlers\nStandard\n");
    static const enum spool_type types[] = {SPOOL_CONFIG, SPOOL_SEAL, SPOOL_ACK, SPOOL_LIMITS, SPOOL_STOP};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct spool_record rec = record(types[i], &payload);
        assert_int_equal(record_decoder__rows(d, &rec, &rows), 0);
        assert_int_equal(rows__count(&rows), 0);
    }
    record_decoder__free(d);
    buf__fini(&payload);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_request_is_a_row_of_its_own),
                                       cmocka_unit_test(test_a_page_that_cannot_be_decoded_is_quarantined),
                                       cmocka_unit_test(test_a_refused_row_is_quarantined),
                                       cmocka_unit_test(test_other_records_make_no_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
