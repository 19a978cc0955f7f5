/**
 * The primitives of the wire: a growable buffer to write to, a reader over borrowed bytes,
 * little-endian loads.
 *
 * VarUInt is LEB128: 7 bits a byte, low ones first, at most 10 bytes. A String is a VarUInt length
 * and that many bytes. Fixed-width numbers are little endian. (ClickHouse,
 * docs/en/interfaces/specs/NativeProtocol.md.)
 */
#ifndef CHN_WIRE_H
#define CHN_WIRE_H

#include <ch_native/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CHN_MORE = 1 }; /* Of readers and decoders: feed more bytes and call again. */

static inline uint32_t chn_load_u32(const void *p) {
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t chn_load_u64(const void *p) {
    return chn_load_u32(p) | (uint64_t)chn_load_u32((const uint8_t *)p + 4) << 32;
}

static inline void chn_store_le(uint8_t *p, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)(value >> (8 * i));
}

/** Bytes on the heap. Zeroed is empty. Writes are sticky: after the first that fails, `failed`
 * stays set. */
struct chn_buf {
    uint8_t *data;
    size_t n, capacity;
    bool failed;
};

/** Makes room for @more bytes, at most SIZE_MAX / 2 in all. @return whether there is. */
bool chn_buf__reserve(struct chn_buf *b, size_t more);
void chn_buf__put(struct chn_buf *b, const void *data, size_t n);
void chn_buf__put_u8(struct chn_buf *b, uint8_t value);
void chn_buf__put_le(struct chn_buf *b, uint64_t value, size_t bytes);
void chn_buf__put_varuint(struct chn_buf *b, uint64_t value);
/** @text may be NULL, which is the empty string. */
void chn_buf__put_string(struct chn_buf *b, const char *text);
void chn_buf__put_bytes(struct chn_buf *b, const void *data,
                        size_t n); /* With its length before it. */
/** Drops the first @n bytes. */
void chn_buf__drop(struct chn_buf *b, size_t n);
void chn_buf__fini(struct chn_buf *b);

/** Reads borrowed bytes. Its functions return 0, CHN_MORE, or CHN_ERR_PROTOCOL / CHN_ERR_LIMIT, and
 * move only on 0. */
struct chn_reader {
    const uint8_t *at, *end;
};

static inline size_t chn_reader__left(const struct chn_reader *r) {
    return (size_t)(r->end - r->at);
}
int chn_reader__u8(struct chn_reader *r, uint8_t *value);
int chn_reader__le(struct chn_reader *r, size_t bytes, uint64_t *value); /* 1 to 8 bytes. */
int chn_reader__varuint(struct chn_reader *r, uint64_t *value);
/** @bytes_max: more than this is CHN_ERR_LIMIT. @value points into the reader's bytes. */
int chn_reader__string(struct chn_reader *r, size_t bytes_max, struct chn_slice *value);

#endif
