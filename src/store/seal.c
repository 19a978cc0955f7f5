/* Seals as bytes, and the token that names a batch for good. */
#include "souk/batcher.h"
#include "store_internal.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

/* The first is what tokens are made of, and what an earlier souk wrote: it says nothing of places.
 */
#define SEAL_VERSION 1
#define SEAL_VERSION_PLACED 2

static void encode(const struct seal *seal, uint8_t version, struct buf *out) {
    buf__u8(out, version);
    buf__string(out, slice__str(seal->table));
    buf__string(out, slice__str(seal->part));
    buf__u32(out, (uint32_t)seal->day);
    buf__u64(out, seal->first_lsn);
    buf__u64(out, seal->last_lsn);
    buf__u64(out, seal->n_rows);
    buf__string(out, slice__str(seal->hash));
    buf__string(out, slice__str(seal->token));
}

void seal__encode(const struct seal *seal, struct buf *out) {
    encode(seal, seal->old ? SEAL_VERSION : SEAL_VERSION_PLACED, out);
    if (!seal->old) buf__string(out, slice__str(seal->place));
}

static void take_string(struct reader *r, char *out, size_t size) {
    struct slice s = reader__string(r);
    if (s.len >= size) r->failed = true;
    size_t n = r->failed ? 0 : s.len;
    if (n > 0) memcpy(out, s.base, n);
    out[n] = '\0';
}

int seal__decode(struct slice payload, struct seal *out) {
    struct reader r = reader__of(payload);
    *out = (struct seal){0};
    uint8_t version = reader__u8(&r);
    if (version != SEAL_VERSION && version != SEAL_VERSION_PLACED) return ERR_CORRUPT;
    out->old = version == SEAL_VERSION;
    take_string(&r, out->table, sizeof out->table);
    take_string(&r, out->part, sizeof out->part);
    out->day = (int32_t)reader__u32(&r);
    out->first_lsn = reader__u64(&r);
    out->last_lsn = reader__u64(&r);
    out->n_rows = reader__u64(&r);
    take_string(&r, out->hash, sizeof out->hash);
    take_string(&r, out->token, sizeof out->token);
    if (!out->old) take_string(&r, out->place, sizeof out->place);
    return r.failed || r.pos != r.len ? ERR_CORRUPT : 0;
}

void seal__make_token(struct seal *seal, const char *store_id) {
    char bytes[512];
    struct buf b = {.base = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    seal->token[0] = '\0';
    buf__string(&b, slice__str(store_id));
    encode(seal, SEAL_VERSION, &b);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(b.base, b.len));
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        seal->token[2 * i] = "0123456789abcdef"[canonical.digest[i] >> 4];
        seal->token[2 * i + 1] = "0123456789abcdef"[canonical.digest[i] & 15];
    }
    seal->token[32] = '\0';
}
