#include "frame.h"

#include "city.h"

#include <lz4.h>
#include <stdlib.h>

enum { METHOD_NONE = 0x02, METHOD_LZ4 = 0x82 };

const uint8_t chn_frame_empty_block[36] = {
    0xa7, 0x83, 0xac, 0x6c, 0xd5, 0x5c, 0x7a, 0x7c, 0xb5, 0xac, 0x46, 0xbd,
    0xdb, 0x86, 0xe2, 0x14, 0x82, 0x14, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00,
    0x00, 0xa0, 0x01, 0x00, 0x02, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00,
};

static int put_frame(struct chn_buf *out, const char *plain, size_t n) {
    int bound = LZ4_compressBound((int)n);
    if (!chn_buf__reserve(out, CHN_FRAME_HEADER_BYTES + (size_t)bound)) return CHN_ERR_MEMORY;
    uint8_t *frame = out->data + out->n;
    int packed = LZ4_compress_default(plain, (char *)frame + CHN_FRAME_HEADER_BYTES, (int)n, bound);
    if (packed <= 0) return CHN_ERR_MEMORY; /* It cannot lack room. */
    frame[16] = METHOD_LZ4;
    chn_store_le(frame + 17, (uint64_t)packed + 9, 4);
    chn_store_le(frame + 21, n, 4);
    struct chn_u128 hash = chn_city__hash128(frame + 16, (size_t)packed + 9);
    chn_store_le(frame, hash.low, 8);
    chn_store_le(frame + 8, hash.high, 8);
    out->n += CHN_FRAME_HEADER_BYTES + (size_t)packed;
    return 0;
}

int chn_frame__compress(struct chn_buf *out, const struct chn_slice *plain, size_t n_slices) {
    char *gathered = NULL; /* Small slices are gathered; a full mebibyte within one slice is
                              compressed in place. */
    size_t held = 0;
    int code = 0;
    for (size_t i = 0; i < n_slices && code == 0; i++) {
        const char *data = plain[i].data;
        size_t left = plain[i].n;
        while (left > 0 && code == 0) {
            if (held == 0 && left >= CHN_FRAME_PLAIN_MAX) {
                code = put_frame(out, data, CHN_FRAME_PLAIN_MAX);
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
                code = put_frame(out, gathered, held);
                held = 0;
            }
        }
    }
    if (code == 0 && held > 0) code = put_frame(out, gathered, held);
    free(gathered);
    return code;
}

int chn_frame__read(struct chn_reader *r, struct chn_buf *out, struct chn_err *err) {
    if (chn_reader__left(r) < CHN_FRAME_HEADER_BYTES) return CHN_MORE;
    uint8_t method = r->at[16];
    size_t size = chn_load_u32(r->at + 17), plain = chn_load_u32(r->at + 21);
    if (method != METHOD_LZ4 && method != METHOD_NONE)
        return chn_err__setf(err, CHN_ERR_PROTOCOL,
                             "compressed frame: method 0x%02x is neither LZ4 nor none", method);
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
    if (method == METHOD_NONE) {
        if (size - 9 != plain)
            return chn_err__setf(err, CHN_ERR_PROTOCOL, "stored frame: %zu bytes for %zu", size - 9,
                                 plain);
        chn_buf__put(out, payload, plain);
    } else {
        char *to = plain == 0
                       ? (char *)&method
                       : (char *)out->data + out->n; /* LZ4 wants a place even for nothing. */
        int n = LZ4_decompress_safe((const char *)payload, to, (int)(size - 9), (int)plain);
        if (n < 0 || (size_t)n != plain)
            return chn_err__setf(err, CHN_ERR_PROTOCOL,
                                 "compressed frame: its payload is not LZ4 of %zu bytes", plain);
        out->n += plain;
    }
    r->at += 16 + size;
    return 0;
}
