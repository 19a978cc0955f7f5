#include "wire.h"

#include <stdlib.h>

bool chn_buf__reserve(struct chn_buf *b, size_t more) {
    if (b->failed) return false;
    if (b->capacity - b->n >= more) return true;
    size_t wanted = b->n + more, capacity = b->capacity < 64 ? 64 : b->capacity;
    if (more > SIZE_MAX / 4 || wanted > SIZE_MAX / 4) {
        b->failed = true;
        return false;
    }
    while (capacity < wanted) capacity += capacity / 2 + 32;
    uint8_t *data = realloc(b->data, capacity);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void chn_buf__put(struct chn_buf *b, const void *data, size_t n) {
    if (n == 0 || !chn_buf__reserve(b, n)) return;
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

void chn_buf__put_u8(struct chn_buf *b, uint8_t value) {
    if (!chn_buf__reserve(b, 1)) return;
    b->data[b->n++] = value;
}

void chn_buf__put_le(struct chn_buf *b, uint64_t value, size_t bytes) {
    if (!chn_buf__reserve(b, bytes)) return;
    chn_store_le(b->data + b->n, value, bytes);
    b->n += bytes;
}

void chn_buf__put_varuint(struct chn_buf *b, uint64_t value) {
    if (!chn_buf__reserve(b, 10)) return;
    for (; value >= 128; value >>= 7) b->data[b->n++] = (uint8_t)(value | 128u);
    b->data[b->n++] = (uint8_t)value;
}

void chn_buf__put_bytes(struct chn_buf *b, const void *data, size_t n) {
    chn_buf__put_varuint(b, n);
    chn_buf__put(b, data, n);
}

void chn_buf__put_string(struct chn_buf *b, const char *text) {
    chn_buf__put_bytes(b, text, text == NULL ? 0 : strlen(text));
}

void chn_buf__drop(struct chn_buf *b, size_t n) {
    if (n == 0) return;
    memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
}

void chn_buf__fini(struct chn_buf *b) {
    free(b->data);
    *b = (struct chn_buf){0};
}

int chn_reader__u8(struct chn_reader *r, uint8_t *value) {
    if (r->at == r->end) return CHN_MORE;
    *value = *r->at++;
    return 0;
}

int chn_reader__le(struct chn_reader *r, size_t bytes, uint64_t *value) {
    if (chn_reader__left(r) < bytes) return CHN_MORE;
    *value = 0;
    for (size_t i = 0; i < bytes; i++) *value |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    return 0;
}

int chn_reader__varuint(struct chn_reader *r, uint64_t *value) {
    uint64_t v = 0;
    size_t left = chn_reader__left(r);
    for (size_t i = 0; i < 10; i++) {
        if (i == left) return CHN_MORE;
        uint8_t byte = r->at[i];
        if (i == 9 && byte > 1) return CHN_ERR_PROTOCOL; /* More than 64 bits. */
        v |= (uint64_t)(byte & 127u) << (7 * i);
        if (byte < 128) {
            r->at += i + 1;
            *value = v;
            return 0;
        }
    }
    return CHN_ERR_PROTOCOL;
}

int chn_reader__string(struct chn_reader *r, size_t bytes_max, struct chn_slice *value) {
    struct chn_reader ahead = *r;
    uint64_t n;
    int code = chn_reader__varuint(&ahead, &n);
    if (code != 0) return code;
    if (n > bytes_max) return CHN_ERR_LIMIT;
    if (chn_reader__left(&ahead) < n) return CHN_MORE;
    *value = (struct chn_slice){ahead.at, (size_t)n};
    r->at = ahead.at + n;
    return 0;
}
