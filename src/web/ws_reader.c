/* The receiving side of RFC 6455 for a server. Text only: alerts.v1 has no binary messages.
 *
 * wslay's frame layer checks lengths, control frames' sizes and reserved opcodes' shape; what it
 * leaves open is decided here: masks, RSV bits, opcodes, order of fragments, UTF-8 and close
 * payloads. It reports a frame once a byte of its payload is there; until then only the count of
 * bytes tells that one has begun, so that the caller can time it out. */
#include "ws_reader.h"
#include <limits.h>

static ssize_t on_recv(uint8_t *buf, size_t len, int flags, void *data) {
    (void)flags;
    struct ws_reader *r = data;
    size_t n = len < r->in.len ? len : r->in.len;
    if (n == 0) return -1; /* Nothing now. */
    memcpy(buf, r->in.base, n);
    r->in.base += n;
    r->in.len -= n;
    return (ssize_t)n;
}

void ws_reader__init(struct ws_reader *r, size_t message_max) {
    *r = (struct ws_reader){.message = buf__init(message_max)};
}

static void free_frames(struct ws_reader *r) {
    if (r->frames != NULL) wslay_frame_context_free(r->frames);
    r->frames = NULL;
}

void ws_reader__fini(struct ws_reader *r) {
    free_frames(r);
    buf__fini(&r->message);
    *r = (struct ws_reader){.stopped = true};
}

static bool utf8_push(struct utf8_state *u, const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = p[i];
        if (u->n_left > 0) {
            if (c < u->lo || c > u->hi) return false;
            u->n_left--;
            u->lo = 0x80;
            u->hi = 0xbf;
            continue;
        }
        if (c < 0x80) continue;
        u->lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80; /* No overlong forms, */
        u->hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf; /* surrogates, or beyond U+10FFFF. */
        if (c >= 0xc2 && c <= 0xdf) u->n_left = 1;
        else if (c >= 0xe0 && c <= 0xef) u->n_left = 2;
        else if (c >= 0xf0 && c <= 0xf4) u->n_left = 3;
        else return false;
    }
    return true;
}

/* RFC 6455, 7.4: 1000-2999 as registered (1004-1006 and 1015 never on the wire), 3000-4999 free.
 * 1012 to 1014 are registered since. */
static bool is_close_code(int code) {
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static int end_control(struct ws_reader *r, const struct ws_reader_events *ev, void *data) {
    struct slice payload = slice__of((char *)r->control, (size_t)r->n_got);
    if (r->head.opcode == WSLAY_PING) ev->on_ping(data, payload);
    if (r->head.opcode != WSLAY_CONNECTION_CLOSE) return 0;
    int code = payload.len == 0 ? 1005 : payload.len == 1 ? 0 : r->control[0] << 8 | r->control[1];
    if (payload.len > 0 && !is_close_code(code)) return 1002;
    if (payload.len > 2 && !slice__is_utf8(slice__of(payload.base + 2, payload.len - 2)))
        return 1007;
    r->stopped = true;
    ev->on_close(data, code);
    return 0;
}

static int start_frame(struct ws_reader *r, const struct wslay_frame_iocb *io) {
    if (!io->mask || io->rsv != 0) return 1002;
    r->head = *io;
    r->n_got = 0;
    r->in_frame = true;
    size_t len = io->payload_length < 126 ? 0 : io->payload_length <= UINT16_MAX ? 2 : 8;
    r->n_taken += 2 + len + 4; /* The header, with its mask. */
    switch (io->opcode) {
    case WSLAY_TEXT_FRAME:
        if (r->in_message) return 1002;
        r->in_message = true;
        r->utf8 = (struct utf8_state){0};
        buf__clear(&r->message);
        break;
    case WSLAY_CONTINUATION_FRAME:
        if (!r->in_message) return 1002;
        break;
    case WSLAY_BINARY_FRAME: return r->in_message ? 1002 : 1003;
    case WSLAY_PING:
    case WSLAY_PONG:
    case WSLAY_CONNECTION_CLOSE:
        return io->fin && io->payload_length <= sizeof r->control ? 0 : 1002;
    default: return 1002;
    }
    return io->payload_length > r->message.max - r->message.len ? 1009 : 0;
}

static int take(struct ws_reader *r, const struct wslay_frame_iocb *io,
                const struct ws_reader_events *ev, void *data) {
    int code = r->in_frame ? 0 : start_frame(r, io);
    if (code != 0) return code;
    bool control = r->head.opcode >= WSLAY_CONNECTION_CLOSE;
    r->n_taken += io->data_length;
    if (control) {
        if (io->data_length > 0) memcpy(r->control + r->n_got, io->data, io->data_length);
    } else {
        if (!utf8_push(&r->utf8, io->data, io->data_length)) return 1007;
        if (!buf__append(&r->message, io->data, io->data_length)) return 1011;
    }
    r->n_got += io->data_length;
    if (r->n_got < r->head.payload_length) return 0;
    r->in_frame = false;
    if (control) {
        r->n_whole += !r->in_message;
        return end_control(r, ev, data);
    }
    if (!r->head.fin) return 0;
    if (r->utf8.n_left > 0) return 1007;
    r->in_message = false;
    r->n_whole++;
    ev->on_text(data, buf__slice(&r->message));
    buf__fini(&r->message); /* Most clients say little. */
    return 0;
}

int ws_reader__feed(struct ws_reader *r, struct slice bytes, const struct ws_reader_events *events,
                    void *data) {
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = on_recv};
    int code = 0;
    if (r->stopped) return 0;
    r->in = bytes;
    r->n_fed += bytes.len;
    if (r->frames == NULL && wslay_frame_context_init(&r->frames, &callbacks, r) != 0) code = 1011;
    while (!r->stopped && code == 0) {
        struct wslay_frame_iocb io = {0};
        ssize_t n = wslay_frame_recv(r->frames, &io);
        if (n == WSLAY_ERR_WANT_READ) break;
        code = n < 0 ? (n == WSLAY_ERR_NOMEM ? 1011 : 1002) : take(r, &io, events, data);
    }
    if (code != 0) r->stopped = true;
    /* wslay knows frames, not messages: between two of them it has nothing to remember. */
    if (r->stopped || (!r->in_frame && r->n_fed == r->n_taken)) free_frames(r);
    return code;
}
