/* Builds frames: two bytes of header, an extended length where it is needed, the payload. */
#include "frame.h"
#include <stdlib.h>

struct frame *frame__new(int opcode, struct slice payload) {
    size_t head = payload.len < 126 ? 2 : payload.len <= UINT16_MAX ? 4 : 10;
    struct frame *f = malloc(sizeof *f + head + payload.len);
    if (f == NULL) return NULL;
    *f = (struct frame){.refs = 1,
                        .is_close = opcode == FRAME_CLOSE,
                        .len = head + payload.len,
                        .payload_at = head};
    f->bytes[0] = (char)(0x80 | opcode);
    if (head == 2) {
        f->bytes[1] = (char)payload.len;
    } else if (head == 4) {
        f->bytes[1] = 126;
        f->bytes[2] = (char)(payload.len >> 8);
        f->bytes[3] = (char)(payload.len & 0xff);
    } else {
        f->bytes[1] = 127;
        for (int i = 0; i < 8; i++) f->bytes[2 + i] = (char)((uint64_t)payload.len >> (56 - 8 * i));
    }
    if (payload.len > 0) memcpy(f->bytes + head, payload.base, payload.len);
    return f;
}

struct frame *frame__close(int code, const char *reason) {
    char payload[125];
    size_t n = strlen(reason);
    if (n > sizeof payload - 2) n = sizeof payload - 2;
    payload[0] = (char)(code >> 8);
    payload[1] = (char)(code & 0xff);
    memcpy(payload + 2, reason, n);
    return frame__new(FRAME_CLOSE, slice__of(payload, n + 2));
}

void frame__unref(struct frame *f) {
    if (f != NULL && --f->refs == 0) free(f);
}
