/* Refusals as bytes: a version, then the fields in the order of the struct. */
#include "souk/core/refusal.h"

#define REFUSAL_VERSION 1

void refusal__encode(const struct refusal *r, struct buf *out) {
    buf__u8(out, REFUSAL_VERSION);
    buf__string(out, r->token);
    buf__u64(out, r->row);
    buf__string(out, r->table);
    buf__string(out, r->part);
    buf__string(out, r->src);
    buf__u64(out, r->lsn);
    buf__u64(out, r->ord);
    buf__u64(out, (uint64_t)r->wall_ns);
    buf__u32(out, (uint32_t)r->code);
    buf__string(out, r->message);
    buf__string(out, r->payload);
}

int refusal__decode(struct slice payload, struct refusal *out) {
    struct reader in = reader__of(payload);
    *out = (struct refusal){0};
    if (reader__u8(&in) != REFUSAL_VERSION) return ERR_CORRUPT;
    out->token = reader__string(&in);
    out->row = reader__u64(&in);
    out->table = reader__string(&in);
    out->part = reader__string(&in);
    out->src = reader__string(&in);
    out->lsn = reader__u64(&in);
    out->ord = reader__u64(&in);
    out->wall_ns = (int64_t)reader__u64(&in);
    out->code = (int32_t)reader__u32(&in);
    out->message = reader__string(&in);
    out->payload = reader__string(&in);
    return in.failed || in.pos != in.len || out->token.len != 32 ? ERR_CORRUPT : 0;
}
