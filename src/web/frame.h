/* A WebSocket frame as it goes on the wire, shared by all clients that get it (RFC 6455, 5.2).
 * Frames of a server are not masked, so one copy serves everybody. */
#ifndef SOUK_HUB_FRAME_H
#define SOUK_HUB_FRAME_H

#include "souk/core/slice.h"

struct frame {
    unsigned refs;
    bool is_close;
    size_t len;        /* Of bytes. */
    size_t payload_at; /* Where the payload starts in them. */
    char bytes[];
};

enum { FRAME_TEXT = 0x1, FRAME_CLOSE = 0x8, FRAME_PING = 0x9, FRAME_PONG = 0xA };

/** A frame with one reference, owned by the caller. @return NULL without memory. */
struct frame *frame__new(int opcode, struct slice payload);
/** A close frame. @reason is cut to what fits in a control frame. */
struct frame *frame__close(int code, const char *reason);
static inline struct frame *frame__ref(struct frame *f) {
    f->refs++;
    return f;
}
/** Gives a reference back. Accepts NULL. */
void frame__unref(struct frame *f);
static inline struct slice frame__payload(const struct frame *f) {
    return (struct slice){.base = f->bytes + f->payload_at, .len = f->len - f->payload_at};
}

#endif
