/* Ranges of sealed batches: their records in the log, their rows, their tokens. A range's token is
 * made of the batch's and its bounds, so the same range sent again after a crash is the same block
 * with the same token. With a fence the bounds are those of the larger block that may be on its way
 * still. */
#include "souk/core/refusal.h"
#include "store_internal.h"
#include <inttypes.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* The first is written as long as it says all, so that earlier programs can read it. */
#define RANGE_VERSION 1
#define RANGE_VERSION_RENEWED 2
#define RANGE_VERSION_FENCED 3
#define PAYLOAD_MAX 4096 /* As bronze_quarantine keeps of an entry. */

void sealed__encode_range(const struct sealed *sealed, struct buf *out) {
    const struct search *s = &sealed->search;
    buf__u8(out, s->fence > 0       ? RANGE_VERSION_FENCED
                 : s->n_renewed > 0 ? RANGE_VERSION_RENEWED
                                    : RANGE_VERSION);
    buf__string(out, slice__str(sealed->seal.token));
    buf__u64(out, s->lo);
    buf__u64(out, s->hi);
    buf__u64(out, s->bad);
    buf__u64(out, s->step);
    buf__u32(out, s->n_inserts);
    buf__u64(out, s->n_refused);
    buf__u32(out, (uint32_t)sealed->code);
    buf__string(out, slice__str(sealed->why == NULL ? "" : sealed->why));
    if (s->n_renewed > 0 || s->fence > 0) buf__u32(out, s->n_renewed);
    if (s->fence == 0) return;
    buf__u64(out, s->fence);
    buf__u8(out, s->fence_whole);
}

int range__decode(struct slice payload, struct range *out) {
    struct reader r = reader__of(payload);
    *out = (struct range){.search.active = true};
    struct search *s = &out->search;
    uint8_t version = reader__u8(&r);
    if (version < RANGE_VERSION || version > RANGE_VERSION_FENCED) return ERR_CORRUPT;
    out->token = reader__string(&r);
    s->lo = reader__u64(&r);
    s->hi = reader__u64(&r);
    s->bad = reader__u64(&r);
    s->step = reader__u64(&r);
    s->n_inserts = reader__u32(&r);
    s->n_refused = reader__u64(&r);
    out->code = (int32_t)reader__u32(&r);
    out->why = reader__string(&r);
    if (version >= RANGE_VERSION_RENEWED) s->n_renewed = reader__u32(&r);
    if (version == RANGE_VERSION_FENCED) {
        s->fence = reader__u64(&r);
        s->fence_whole = reader__u8(&r) != 0;
    }
    bool sound = s->lo <= s->hi && (s->bad == 0 || s->bad > s->lo) &&
                 (version != RANGE_VERSION_FENCED || (s->fence >= s->hi && s->lo < s->hi)) &&
                 (!s->fence_whole || s->lo == 0);
    return r.failed || r.pos != r.len || out->token.len != 32 || !sound ? ERR_CORRUPT : 0;
}

const struct batch_mark *sealed__first(struct sealed *sealed) {
    batch__seek(&sealed->batch, &sealed->mark, sealed->search.active ? sealed->search.lo : 0);
    return &sealed->mark;
}

uint64_t sealed__asked(const struct sealed *x) {
    /* As a rule the block that was sent last is the one: the row behind it tells. */
    return x->there == x->search.hi ? x->there : x->there + (x->gone - x->there) / 2;
}

static void make_token(const struct sealed *sealed, char token[33]) {
    const struct search *s = &sealed->search;
    char bytes[64];
    struct buf b = {.base = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    if (s->fence_whole) {
        memcpy(token, sealed->seal.token, 33);
        return;
    }
    buf__append_str(&b, sealed->seal.token);
    buf__u64(&b, s->lo);
    buf__u64(&b, s->fence > 0 ? s->fence : s->hi);
    if (s->n_renewed > 0) buf__u32(&b, s->n_renewed);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(b.base, b.len));
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        token[2 * i] = "0123456789abcdef"[canonical.digest[i] >> 4];
        token[2 * i + 1] = "0123456789abcdef"[canonical.digest[i] & 15];
    }
    token[32] = '\0';
}

int sealed__range(struct sealed *sealed, struct batch *out, char token[33]) {
    struct batch_mark end = *sealed__first(sealed);
    make_token(sealed, token);
    batch__seek(&sealed->batch, &end, sealed->search.hi);
    return batch__copy(&sealed->batch, &sealed->mark, &end, out);
}

/* @json, or the start of it: what is cut is still UTF-8, as the cut is before a character. */
static struct slice cut(struct slice json) {
    if (json.len <= PAYLOAD_MAX) return json;
    size_t n = PAYLOAD_MAX;
    while (n > 0 && ((unsigned char)json.base[n] & 0xc0) == 0x80) n--;
    return slice__of(json.base, n);
}

int sealed__encode_refusal(struct sealed *sealed, int64_t wall_ns, struct buf *out) {
    const struct batch_mark *at = sealed__first(sealed);
    struct buf json = buf__init(BATCH_COLUMN_BYTES_MAX);
    struct slice src = {0};
    int64_t lsn = 0, ord = 0;
    batch__row_json(&sealed->batch, at, &json);
    batch__text(&sealed->batch, at, "src", &src);
    batch__int(&sealed->batch, at, "lsn", &lsn);
    batch__int(&sealed->batch, at, "ord", &ord);
    struct refusal r = {.token = slice__str(sealed->seal.token),
                        .row = sealed->search.lo,
                        .table = slice__str(sealed->seal.table),
                        .part = slice__str(sealed->seal.part),
                        .src = src,
                        .lsn = (uint64_t)lsn,
                        .ord = (uint64_t)ord,
                        .wall_ns = wall_ns,
                        .code = sealed->code,
                        .message = slice__str(sealed->why == NULL ? "" : sealed->why),
                        .payload = cut(buf__slice(&json))};
    refusal__encode(&r, out);
    int status = json.failed || out->failed ? ERR_NOMEM : 0;
    buf__fini(&json);
    return status;
}
