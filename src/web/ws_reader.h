/* Turns bytes of a WebSocket client into messages: wslay parses and unmasks frames, this file
 * assembles messages and holds clients to RFC 6455 where wslay is lenient. No I/O, no clock. */
#ifndef SOUK_HUB_WS_READER_H
#define SOUK_HUB_WS_READER_H

#include "souk/core/buf.h"
#include <wslay/wslay.h>

/** Checks UTF-8 as it comes, so that an error is found at its first bad byte. */
struct utf8_state {
    unsigned n_left;      /* Continuation bytes that are due. */
    unsigned char lo, hi; /* Bounds of the next one. */
};

struct ws_reader {
    wslay_frame_context_ptr frames; /* Owned. 4 KiB: NULL between two frames. */
    struct slice in;                /* What is being fed. */
    struct buf message;             /* The text message that is being assembled; else empty. */
    struct utf8_state utf8;
    bool in_message, in_frame, stopped;
    struct wslay_frame_iocb head; /* Of the frame that is being read. */
    uint64_t n_got;               /* Bytes of its payload. */
    uint64_t n_fed, n_taken;      /* Bytes that came, and those of frames that wslay has told of. */
    uint64_t n_whole; /* Messages, and control frames outside of one, that were whole. */
    unsigned char control[125];
};

struct ws_reader_events {
    void (*on_text)(void *data, struct slice text);
    void (*on_ping)(void *data, struct slice payload);
    /** The peer closes; @code is 1005 when it gave none. Nothing follows. */
    void (*on_close)(void *data, int code);
};

/** @message_max: bytes of one message. Whoever says nothing costs no memory beyond @r. */
void ws_reader__init(struct ws_reader *r, size_t message_max);
void ws_reader__fini(struct ws_reader *r);
/** Reads all of @bytes. @return 0, or the code to close the connection with (1002, 1003, 1007,
 *  1009, 1011), after which everything is ignored. */
int ws_reader__feed(struct ws_reader *r, struct slice bytes, const struct ws_reader_events *events,
                    void *data);
/** Ignores everything from now on. May be called from an event. */
static inline void ws_reader__stop(struct ws_reader *r) { r->stopped = true; }
/** @return true when a frame, be it its header, or a fragmented message is only partly there. */
static inline bool ws_reader__is_partial(const struct ws_reader *r) {
    return r->in_frame || r->in_message || r->n_fed != r->n_taken;
}

#endif
