#include "frame.h"

#include "city.h"

#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

enum { METHOD_NONE = 0x02, METHOD_LZ4 = 0x82, METHOD_ZSTD = 0x90 };

/* How to pack; the context is ZSTD's memory, NULL for LZ4. */
struct packer {
    ZSTD_CCtx *zstd;
    int level;
};

const uint8_t chn_frame_empty_block[36] = {
    0xa7, 0x83, 0xac, 0x6c, 0xd5, 0x5c, 0x7a, 0x7c, 0xb5, 0xac, 0x46, 0xbd,
    0xdb, 0x86, 0xe2, 0x14, 0x82, 0x14, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00,
    0x00, 0xa0, 0x01, 0x00, 0x02, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00,
};

static size_t bound_of(const struct packer *p, size_t n) {
    return p->zstd != NULL ? ZSTD_compressBound(n) : (size_t)LZ4_compressBound((int)n);
}

/* @return the bytes written to @to, 0 when it cannot. */
static size_t pack(const struct packer *p, const char *plain, size_t n, uint8_t *to, size_t room) {
    if (p->zstd == NULL) {
        int packed = LZ4_compress_default(plain, (char *)to, (int)n, (int)room);
        return packed > 0 ? (size_t)packed : 0;
    }
    size_t packed = ZSTD_compressCCtx(p->zstd, to, room, plain, n, p->level);
    return ZSTD_isError(packed) ? 0 : packed;
}

static int put_frame(const struct packer *p, struct chn_buf *out, const char *plain, size_t n) {
    size_t bound = bound_of(p, n);
    if (!chn_buf__reserve(out, CHN_FRAME_HEADER_BYTES + bound)) return CHN_ERR_MEMORY;
    uint8_t *frame = out->data + out->n;
    size_t packed = pack(p, plain, n, frame + CHN_FRAME_HEADER_BYTES, bound);
    if (packed == 0) return CHN_ERR_MEMORY; /* It cannot lack room. */
    frame[16] = p->zstd != NULL ? METHOD_ZSTD : METHOD_LZ4;
    chn_store_le(frame + 17, packed + 9, 4);
    chn_store_le(frame + 21, n, 4);
    struct chn_u128 hash = chn_city__hash128(frame + 16, packed + 9);
    chn_store_le(frame, hash.low, 8);
    chn_store_le(frame + 8, hash.high, 8);
    out->n += CHN_FRAME_HEADER_BYTES + packed;
    return 0;
}

static int put_frames(const struct packer *p, struct chn_buf *out, const struct chn_slice *plain,
                      size_t n_slices) {
    char *gathered = NULL; /* Small slices are gathered; a full mebibyte within one slice is
                              compressed in place. */
    size_t held = 0;
    int code = 0;
    for (size_t i = 0; i < n_slices && code == 0; i++) {
        const char *data = plain[i].data;
        size_t left = plain[i].n;
        while (left > 0 && code == 0) {
            if (held == 0 && left >= CHN_FRAME_PLAIN_MAX) {
                code = put_frame(p, out, data, CHN_FRAME_PLAIN_MAX);
                data += CHN_FRAME_PLAIN_MAX;
                left -= CHN_FRAME_PLAIN_MAX;
                continue;
            }
            if (gathered == NULL && (gathered = malloc(CHN_FRAME_PLAIN_MAX)) == NULL)
                return CHN_ERR_MEMORY;
            size_t take = CHN_FRAME_PLAIN_MAX - held < left ? CHN_FRAME_PLAIN_MAX - held : left;
            memcpy(gathered + held, data, take);
            held += take;
            data += take;
            left -= take;
            if (held == CHN_FRAME_PLAIN_MAX) {
                code = put_frame(p, out, gathered, held);
                held = 0;
            }
        }
    }
    if (code == 0 && held > 0) code = put_frame(p, out, gathered, held);
    free(gathered);
    return code;
}

int chn_frame__compress(struct chn_buf *out, const struct chn_slice *plain, size_t n_slices,
                        enum chn_compression method, int level) {
    struct packer p = {.level = level != 0 ? level : 1};
    if (method == CHN_ZSTD && (p.zstd = ZSTD_createCCtx()) == NULL) return CHN_ERR_MEMORY;
    int code = put_frames(&p, out, plain, n_slices);
    ZSTD_freeCCtx(p.zstd);
    return code;
}

/* @return whether @payload of @n bytes was @plain bytes, which are at @to now. */
static bool unpack(uint8_t method, const uint8_t *payload, size_t n, uint8_t *to, size_t plain) {
    uint8_t nothing; /* The libraries want a place even for nothing. */
    if (plain == 0) to = &nothing;
    if (method == METHOD_LZ4) {
        int got = LZ4_decompress_safe((const char *)payload, (char *)to, (int)n, (int)plain);
        return got >= 0 && (size_t)got == plain;
    }
    if (method == METHOD_ZSTD) return ZSTD_decompress(to, plain, payload, n) == plain;
    if (n == plain) memcpy(to, payload, n);
    return n == plain;
}

int chn_frame__read(struct chn_reader *r, struct chn_buf *out, struct chn_err *err) {
    if (chn_reader__left(r) < CHN_FRAME_HEADER_BYTES) return CHN_MORE;
    uint8_t method = r->at[16];
    size_t size = chn_load_u32(r->at + 17), plain = chn_load_u32(r->at + 21);
    if (method != METHOD_LZ4 && method != METHOD_ZSTD && method != METHOD_NONE)
        return chn_err__setf(err, CHN_ERR_PROTOCOL,
                             "compressed frame: method 0x%02x is not LZ4, ZSTD or none", method);
    if (plain > CHN_FRAME_PLAIN_ACCEPTED || size < 9 ||
        size > (size_t)LZ4_COMPRESSBOUND(CHN_FRAME_PLAIN_ACCEPTED) + 9)
        return chn_err__setf(err, CHN_ERR_LIMIT, "compressed frame: %zu bytes for %zu", size,
                             plain);
    if (chn_reader__left(r) < 16 + size) return CHN_MORE;
    struct chn_u128 hash = chn_city__hash128(r->at + 16, size);
    if (hash.low != chn_load_u64(r->at) || hash.high != chn_load_u64(r->at + 8))
        return chn_err__setf(err, CHN_ERR_PROTOCOL,
                             "compressed frame of %zu bytes: its checksum differs", size);
    if (!chn_buf__reserve(out, plain))
        return chn_err__setf(err, CHN_ERR_MEMORY, "compressed frame: no memory");
    const uint8_t *payload = r->at + CHN_FRAME_HEADER_BYTES;
    if (!unpack(method, payload, size - 9, plain == 0 ? NULL : out->data + out->n, plain))
        return chn_err__setf(err, CHN_ERR_PROTOCOL,
                             "compressed frame: its payload is not %s of %zu bytes",
                             method == METHOD_LZ4    ? "LZ4"
                             : method == METHOD_ZSTD ? "ZSTD"
                                                     : "a copy",
                             plain);
    out->n += plain;
    r->at += 16 + size;
    return 0;
}
