/* Records of requests and pages as bytes. The fields stand in the order of struct request_facts; a
 * version byte in front tells later readers what to expect. */
#include "souk/journal.h"
#include <stdio.h>
#include <zstd.h>
#include <zstd_errors.h>

#define JOURNAL_VERSION 1
#define COMPRESSION_LEVEL 3 /* About 8:1 on psapi pages at 300 MB/s; level 1 saves little time. */

static void encode_strings(const struct request_facts *f, struct buf *out) {
    const struct slice strings[] = {
        f->source, f->stream, f->service,     f->realm,        f->league, f->kind,
        f->path,   f->method, f->cursor_from, f->cursor_to,    f->etag,   f->retry_reason,
        f->status, f->policy, f->limits_raw,  f->limits_state, f->error};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) buf__string(out, strings[i]);
}

void journal__encode(const struct request_facts *f, struct buf *out) {
    buf__u8(out, JOURNAL_VERSION);
    size_t len_at = out->len;
    buf__u32(out, 0); /* Bytes of what follows; set below. */
    buf__u32(out, f->flags);
    buf__u8(out, f->freshness);
    buf__u16(out, f->http_status);
    buf__u32(out, f->attempts);
    buf__u64(out, (uint64_t)f->requested_wall_ns);
    buf__u64(out, (uint64_t)f->received_wall_ns);
    buf__u64(out, f->response_us);
    buf__u64(out, f->first_byte_us);
    buf__u64(out, f->wire_bytes);
    buf__u64(out, f->body_bytes);
    buf__u32(out, f->n_entries);
    buf__u64(out, (uint64_t)f->retry_after_s);
    encode_strings(f, out);
    if (out->failed) return;
    size_t len = out->len - len_at - 4;
    for (size_t i = 0; i < 4; i++) out->base[len_at + i] = (char)(unsigned char)(len >> (8 * i));
}

int journal__decode(struct slice payload, struct request_facts *out, struct slice *body) {
    struct reader outer = reader__of(payload);
    *out = (struct request_facts){0};
    *body = (struct slice){0};
    if (reader__u8(&outer) != JOURNAL_VERSION) return ERR_CORRUPT;
    uint32_t len = reader__u32(&outer);
    struct reader r = reader__of(reader__bytes(&outer, len));
    if (outer.failed) return ERR_CORRUPT;
    out->flags = reader__u32(&r);
    out->freshness = reader__u8(&r);
    out->http_status = reader__u16(&r);
    out->attempts = reader__u32(&r);
    out->requested_wall_ns = (int64_t)reader__u64(&r);
    out->received_wall_ns = (int64_t)reader__u64(&r);
    out->response_us = reader__u64(&r);
    out->first_byte_us = reader__u64(&r);
    out->wire_bytes = reader__u64(&r);
    out->body_bytes = reader__u64(&r);
    out->n_entries = reader__u32(&r);
    out->retry_after_s = (int64_t)reader__u64(&r);
    struct slice *const strings[] = {
        &out->source,       &out->stream,       &out->service, &out->realm,       &out->league,
        &out->kind,         &out->path,         &out->method,  &out->cursor_from, &out->cursor_to,
        &out->etag,         &out->retry_reason, &out->status,  &out->policy,      &out->limits_raw,
        &out->limits_state, &out->error};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) *strings[i] = reader__string(&r);
    *body = reader__rest(&outer);
    return r.failed ? ERR_CORRUPT : 0;
}

bool journal__hold(const struct request_facts *facts, struct slice *reason) {
    *reason = (struct slice){0};
    if (!slice__eq(facts->method, SLICE_LIT(JOURNAL_CURSOR_METHOD))) return false;
    if (slice__eq(facts->status, SLICE_LIT("unfrozen"))) return true;
    *reason = facts->error;
    return slice__eq(facts->status, SLICE_LIT("frozen"));
}

bool journal__is_backfill(const struct request_facts *facts) {
    for (struct slice s = facts->stream; s.len > 0; s.base++, s.len--)
        if (slice__starts(s, SLICE_LIT(JOURNAL_BACKFILL))) return true;
    return false;
}

void journal__stream(const struct request_facts *f, struct stream_spec *out) {
    *out = (struct stream_spec){0};
    snprintf(out->key, sizeof out->key, "%.*s", SLICE_FMT(f->stream));
    snprintf(out->realm, sizeof out->realm, "%.*s", SLICE_FMT(f->realm));
    snprintf(out->league, sizeof out->league, "%.*s", SLICE_FMT(f->league));
    snprintf(out->kind, sizeof out->kind, "%.*s", SLICE_FMT(f->kind));
    snprintf(out->service, sizeof out->service, "%.*s", SLICE_FMT(f->service));
    snprintf(out->path, sizeof out->path, "%.*s", SLICE_FMT(f->path));
}

int journal__compress(struct slice body, struct buf *out) {
    size_t bound = ZSTD_compressBound(body.len);
    char *at = buf__reserve(out, bound);
    if (at == NULL) return ERR_NOMEM;
    size_t n = ZSTD_compress(at, bound, body.base, body.len, COMPRESSION_LEVEL);
    if (ZSTD_isError(n)) return ERR_NOMEM;
    out->len += n;
    return 0;
}

int journal__decompress(struct slice compressed, size_t max, struct buf *out) {
    unsigned long long size = ZSTD_getFrameContentSize(compressed.base, compressed.len);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN) return ERR_CORRUPT;
    if (size > max) return ERR_LIMIT;
    char *at = buf__reserve(out, (size_t)size + 1);
    if (at == NULL) return ERR_NOMEM;
    size_t n = ZSTD_decompress(at, (size_t)size, compressed.base, compressed.len);
    if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation) return ERR_NOMEM;
    if (ZSTD_isError(n) || n != size) return ERR_CORRUPT;
    out->len += n;
    return 0;
}
