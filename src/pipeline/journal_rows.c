/* Rows about requests themselves, made from their records: bronze_requests for each, and
 * bronze_ingest_checkpoints for each page. */
#include "souk/journal.h"
#include "souk/tables.h"
#include <stdio.h>

static uint32_t ms_of(uint64_t us) {
    uint64_t ms = us / 1000;
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static uint32_t clamp_seconds(int64_t s) {
    if (s < 0) return 0;
    return s > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

static void add_request(const struct request_facts *f, const struct row_origin *origin,
                        struct rows *out) {
    struct batch *b = rows__batch(out, &table_bronze_requests, (struct slice){0});
    if (b == NULL) return;
    struct request_row row = {.requested_wall_ns = f->requested_wall_ns,
                              .done_wall_ns = f->received_wall_ns,
                              .service = f->service,
                              .realm = f->realm,
                              .league = f->league,
                              .endpoint = f->path,
                              .http_method = f->method,
                              .status = f->http_status,
                              .attempts = f->attempts,
                              .response_ms = ms_of(f->response_us),
                              /* A repeated body (304, outage) was not sent with this answer. */
                              .bytes = f->freshness == PAGE_FRESH ? f->body_bytes : 0,
                              .rate_limit_policy = f->policy,
                              .rate_limit_raw = f->limits_raw,
                              .rate_limit_state = f->limits_state,
                              .retry_after_seconds = clamp_seconds(f->retry_after_s),
                              .error = f->error,
                              .origin = *origin};
    tables__request_row(b, &row);
}

static void add_checkpoint(const struct request_facts *f, const struct row_origin *origin,
                           size_t n_rows, struct rows *out) {
    struct batch *b = rows__batch(out, &table_bronze_ingest_checkpoints, (struct slice){0});
    if (b == NULL) return;
    char hash[TABLES_HASH_SIZE];
    struct checkpoint_row row = {.service = f->service,
                                 .realm = f->realm,
                                 .league = f->league,
                                 .endpoint = f->path,
                                 .last_cursor_id = f->cursor_from,
                                 .next_cursor_id = f->cursor_to,
                                 .cursor_hash = tables__hash(f->cursor_to, hash),
                                 .retrieved_wall_ns = f->received_wall_ns,
                                 .retry_count = f->attempts > 0 ? f->attempts - 1 : 0,
                                 .retry_reason = f->retry_reason,
                                 .status = f->status,
                                 .http_status = f->http_status,
                                 .response_ms = ms_of(f->response_us),
                                 .rows = n_rows,
                                 .bytes = f->body_bytes,
                                 .latency_ms = ms_of(f->response_us),
                                 .origin = *origin};
    tables__checkpoint_row(b, &row);
}

void journal__rows(const struct request_facts *f, uint64_t lsn, size_t n_rows, struct rows *out) {
    char src[64];
    snprintf(src, sizeof src, "%.*s", SLICE_FMT(f->source));
    struct row_origin origin = {.src = src, .lsn = lsn, .ord = 0};
    add_request(f, &origin, out);
    if (f->flags & REQUEST_CHECKPOINT) add_checkpoint(f, &origin, n_rows, out);
}
