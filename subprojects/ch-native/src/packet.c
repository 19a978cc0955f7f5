/*
 * The packet parser. Packets other than data are small and are read when they are whole: strings
 * are skipped over in one step, so trying again with more bytes costs little. Blocks go through the
 * decoder, which keeps its own place.
 */
#include "packet.h"

#include "frame.h"
#include "gates.h"

#include <stdio.h>

enum {
    PACKET_HELLO = 0,
    PACKET_DATA = 1,
    PACKET_EXCEPTION = 2,
    PACKET_PROGRESS = 3,
    PACKET_PONG = 4,
    PACKET_END = 5,
    PACKET_PROFILE = 6,
    PACKET_TOTALS = 7,
    PACKET_EXTREMES = 8,
    PACKET_LOG = 10,
    PACKET_TABLE_COLUMNS = 11,
    PACKET_PROFILE_EVENTS = 14,
    PACKET_TIMEZONE = 17,
};

void chn_parser__init(struct chn_parser *p, uint32_t revision, size_t block_bytes_max) {
    *p = (struct chn_parser){.revision = revision};
    p->decoder.bytes_max = block_bytes_max;
    p->side.bytes_max = CHN_SIDE_BYTES_MAX;
}

void chn_parser__reset(struct chn_parser *p, uint32_t revision) {
    p->revision = revision;
    p->compressed = p->seen_hello = p->in_packet = p->in_block = false;
    p->carry.n = p->plain.n = 0;
    p->chunks = (struct chn_chunks_in){0};
    chn_decoder__reset(&p->decoder);
    chn_decoder__reset(&p->side);
}

void chn_parser__fini(struct chn_parser *p) {
    chn_buf__fini(&p->carry);
    chn_buf__fini(&p->plain);
    chn_decoder__fini(&p->decoder);
    chn_decoder__fini(&p->side);
}

/* Takes @n bytes to be parsed next: where they are, or behind what was kept. */
static int take_bytes(struct chn_parser *p, const void *data, size_t n, struct chn_err *err) {
    if (p->carry.n == 0) {
        p->in = (struct chn_reader){data, (const uint8_t *)data + n};
        return 0;
    }
    chn_buf__put(&p->carry, data, n);
    if (p->carry.failed)
        return chn_err__setf(err, CHN_ERR_MEMORY, "packet %d: no memory", p->packet);
    if (p->carry.n > CHN_CARRY_MAX)
        return chn_err__setf(err, CHN_ERR_LIMIT, "packet %d: more than %d bytes in one piece",
                             p->packet, CHN_CARRY_MAX);
    p->in = (struct chn_reader){p->carry.data, p->carry.data + p->carry.n};
    return 0;
}

int chn_parser__feed(struct chn_parser *p, const void *data, size_t n, struct chn_err *err) {
    if (!p->chunks.on) return take_bytes(p, data, n, err);
    p->chunks.raw = (struct chn_reader){data, (const uint8_t *)data + n};
    return 0; /* chn_parser__next() takes it piece by piece. */
}

/* --- Chunks --- */

int chn_parser__expect_chunks(struct chn_parser *p, struct chn_err *err) {
    if (chn_reader__left(&p->in) > 0)
        return chn_err__setf(err, CHN_ERR_PROTOCOL, "the server spoke before it was asked");
    p->chunks = (struct chn_chunks_in){.on = true, .dry = true};
    p->carry.n = 0;
    return 0;
}

static int end_chunked_packet(struct chn_parser *p, struct chn_err *err) {
    if (!p->chunks.packet_done)
        return chn_err__setf(err, CHN_ERR_PROTOCOL, "packet %d: its chunks end before it",
                             p->packet);
    p->chunks.packet_done = false;
    return 0;
}

/* Reads a size if one is due. @return 0, CHN_MORE or an error. */
static int read_chunk_size(struct chn_parser *p, struct chn_err *err) {
    struct chn_chunks_in *k = &p->chunks;
    while (k->left == 0) {
        uint8_t byte;
        if (chn_reader__u8(&k->raw, &byte) != 0) return CHN_MORE;
        k->size[k->n_size++] = byte;
        if (k->n_size < sizeof k->size) continue;
        k->n_size = 0;
        k->left = chn_load_u32(k->size);
        int code = k->left == 0 ? end_chunked_packet(p, err) : 0;
        if (code != 0) return code;
    }
    return 0;
}

/* The parser has run dry: gives it what there is of a chunk. @return 0, CHN_MORE or an error. */
static int take_chunk(struct chn_parser *p, struct chn_err *err) {
    struct chn_chunks_in *k = &p->chunks;
    int code = read_chunk_size(p, err);
    if (code != 0) return code;
    size_t n = chn_reader__left(&k->raw);
    if (n == 0) return CHN_MORE;
    if (k->packet_done)
        return chn_err__setf(err, CHN_ERR_PROTOCOL, "packet %d: its chunks go on behind it",
                             p->packet);
    if (n > k->left) n = k->left;
    const uint8_t *piece = k->raw.at;
    k->raw.at += n;
    k->left -= (uint32_t)n;
    k->dry = false;
    return take_bytes(p, piece, n, err);
}

/* Keeps what has not been read for the next feed. */
static int keep_rest(struct chn_parser *p, struct chn_err *err) {
    size_t left = chn_reader__left(&p->in);
    if (p->carry.n > 0) {
        chn_buf__drop(&p->carry, p->carry.n - left);
    } else {
        chn_buf__put(&p->carry, p->in.at, left);
    }
    p->in.at = p->in.end;
    p->chunks.dry = true;
    return p->carry.failed ? chn_err__setf(err, CHN_ERR_MEMORY, "packet %d: no memory", p->packet)
                           : CHN_MORE;
}

static void copy_cut(char *to, size_t capacity, struct chn_slice s) {
    size_t n = s.n < capacity - 1 ? s.n : capacity - 1;
    memcpy(to, s.data, n);
    to[n] = '\0';
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != 0) return code_;                                                              \
    } while (0)

/* Name, flags, text; a name without bytes ends it. */
static int skip_settings(struct chn_reader *r) {
    for (int i = 0; i <= CHN_SERVER_SETTINGS_MAX; i++) {
        struct chn_slice name, value;
        uint64_t flags;
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &name));
        if (name.n == 0) return 0;
        TRY(chn_reader__varuint(r, &flags));
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &value));
    }
    return CHN_ERR_LIMIT;
}

static int read_hello(struct chn_parser *p, struct chn_reader *r) {
    struct chn_server *s = &p->server;
    struct chn_slice text, more;
    uint64_t major, minor, revision, n;
    *s = (struct chn_server){0};
    TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &text));
    copy_cut(s->name, sizeof s->name, text);
    TRY(chn_reader__varuint(r, &major));
    TRY(chn_reader__varuint(r, &minor));
    TRY(chn_reader__varuint(r, &revision));
    if (major > INT32_MAX || minor > INT32_MAX || revision > INT32_MAX) return CHN_ERR_PROTOCOL;
    s->major = (uint32_t)major;
    s->minor = (uint32_t)minor;
    s->revision = (uint32_t)revision;
    s->negotiated = s->revision < p->revision ? s->revision : p->revision;
    if (chn_gate(s->negotiated, CHN_GATE_REPLICAS_VERSION)) TRY(chn_reader__varuint(r, &n));
    if (chn_gate(s->negotiated, CHN_GATE_TIMEZONE)) {
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &text));
        copy_cut(s->timezone, sizeof s->timezone, text);
    }
    if (chn_gate(s->negotiated, CHN_GATE_DISPLAY_NAME)) {
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &text));
        copy_cut(s->display_name, sizeof s->display_name, text);
    }
    if (chn_gate(s->negotiated, CHN_GATE_VERSION_PATCH)) {
        TRY(chn_reader__varuint(r, &n));
        s->patch = n > INT32_MAX ? 0 : (uint32_t)n;
    }
    if (chn_gate(s->negotiated, CHN_GATE_CHUNKS)) {
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &text));
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &more));
        copy_cut(p->server_sends, sizeof p->server_sends, text);
        copy_cut(p->server_takes, sizeof p->server_takes, more);
    }
    if (chn_gate(s->negotiated, CHN_GATE_PASSWORD_RULES)) {
        TRY(chn_reader__varuint(r, &n));
        if (n > CHN_PASSWORD_RULES_MAX) return CHN_ERR_LIMIT;
        for (uint64_t i = 0; i < n; i++) {
            TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &text));
            TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &more));
        }
    }
    if (chn_gate(s->negotiated, CHN_GATE_NONCE)) TRY(chn_reader__le(r, 8, &n));
    if (chn_gate(s->negotiated, CHN_GATE_SERVER_SETTINGS)) TRY(skip_settings(r));
    if (chn_gate(s->negotiated, CHN_GATE_PLAN_VERSION)) TRY(chn_reader__varuint(r, &n));
    if (chn_gate(s->negotiated, CHN_GATE_CLUSTER_VERSION)) TRY(chn_reader__varuint(r, &n));
    return 0;
}

static int read_exception(struct chn_parser *p, struct chn_reader *r) {
    struct chn_exception *e = &p->exception;
    *e = (struct chn_exception){0};
    for (int depth = 0; depth < CHN_EXCEPTIONS_MAX; depth++) {
        uint64_t number;
        uint8_t nested;
        struct chn_slice name, message, stack;
        TRY(chn_reader__le(r, 4, &number));
        TRY(chn_reader__string(r, CHN_STRING_MAX, &name));
        TRY(chn_reader__string(r, CHN_STRING_MAX, &message));
        TRY(chn_reader__string(r, CHN_STRING_MAX, &stack));
        TRY(chn_reader__u8(r, &nested));
        e->n_nested = depth;
        if (depth == 0) {
            e->code = (int32_t)(uint32_t)number;
            copy_cut(e->name, sizeof e->name, name);
            copy_cut(e->message, sizeof e->message, message);
            copy_cut(e->stack, sizeof e->stack, stack);
        } else if (depth == 1) {
            e->nested_code = (int32_t)(uint32_t)number;
            copy_cut(e->nested_message, sizeof e->nested_message, message);
        }
        if (nested == 0) return 0;
    }
    return CHN_ERR_LIMIT;
}

static int read_progress(struct chn_parser *p, struct chn_reader *r) {
    struct chn_progress *g = &p->progress;
    *g = (struct chn_progress){0};
    TRY(chn_reader__varuint(r, &g->read_rows));
    TRY(chn_reader__varuint(r, &g->read_bytes));
    TRY(chn_reader__varuint(r, &g->total_rows));
    if (chn_gate(p->revision, CHN_GATE_TOTAL_BYTES)) TRY(chn_reader__varuint(r, &g->total_bytes));
    if (chn_gate(p->revision, CHN_GATE_WROTE_ROWS)) {
        TRY(chn_reader__varuint(r, &g->wrote_rows));
        TRY(chn_reader__varuint(r, &g->wrote_bytes));
    }
    if (chn_gate(p->revision, CHN_GATE_ELAPSED)) TRY(chn_reader__varuint(r, &g->elapsed_ns));
    return 0;
}

static int read_profile(struct chn_parser *p, struct chn_reader *r) {
    struct chn_profile *f = &p->profile;
    uint8_t applied, calculated;
    TRY(chn_reader__varuint(r, &f->rows));
    TRY(chn_reader__varuint(r, &f->blocks));
    TRY(chn_reader__varuint(r, &f->bytes));
    TRY(chn_reader__u8(r, &applied));
    TRY(chn_reader__varuint(r, &f->rows_before_limit));
    TRY(chn_reader__u8(r, &calculated));
    f->applied_limit = applied != 0;
    if (chn_gate(p->revision, CHN_GATE_BEFORE_AGGREGATION)) {
        uint64_t rows;
        TRY(chn_reader__u8(r, &applied));
        TRY(chn_reader__varuint(r, &rows));
    }
    return 0;
}

/* A packet that is not a block, whole or not at all. */
static int read_small(struct chn_parser *p, struct chn_reader *r, enum chn_event *event) {
    struct chn_slice text;
    *event = CHN_EVENT_OTHER;
    switch (p->packet) {
    case PACKET_HELLO: *event = CHN_EVENT_HELLO; return read_hello(p, r);
    case PACKET_EXCEPTION: *event = CHN_EVENT_EXCEPTION; return read_exception(p, r);
    case PACKET_PROGRESS: *event = CHN_EVENT_PROGRESS; return read_progress(p, r);
    case PACKET_PONG: *event = CHN_EVENT_PONG; return 0;
    case PACKET_END: *event = CHN_EVENT_END; return 0;
    case PACKET_PROFILE: *event = CHN_EVENT_PROFILE; return read_profile(p, r);
    case PACKET_TABLE_COLUMNS:
        TRY(chn_reader__string(r, CHN_HELLO_STRING_MAX, &text));
        return chn_reader__string(r, CHN_STRING_MAX, &text);
    default: /* PACKET_TIMEZONE. */ return chn_reader__string(r, CHN_HELLO_STRING_MAX, &text);
    }
}

static bool is_block(uint8_t packet) {
    return packet == PACKET_DATA || packet == PACKET_TOTALS || packet == PACKET_EXTREMES ||
           packet == PACKET_LOG || packet == PACKET_PROFILE_EVENTS;
}

/* Feeds the decoder from frames. A frame ends with its block at the latest. */
static int read_framed_block(struct chn_parser *p, struct chn_decoder *d, struct chn_err *err) {
    for (;;) {
        int code = CHN_MORE;
        if (p->plain.n > 0) {
            struct chn_reader plain = {p->plain.data, p->plain.data + p->plain.n};
            code = chn_decoder__feed(d, &plain, err);
            if (code < 0) return code;
            chn_buf__drop(&p->plain, p->plain.n - chn_reader__left(&plain));
        }
        if (code == 0) {
            if (p->plain.n == 0) return 0;
            return chn_err__setf(err, CHN_ERR_PROTOCOL,
                                 "compressed block: %zu bytes follow it in its frame", p->plain.n);
        }
        if ((code = chn_frame__read(&p->in, &p->plain, err)) != 0) return code;
    }
}

static bool is_side(uint8_t packet) {
    return packet == PACKET_LOG || packet == PACKET_PROFILE_EVENTS;
}

/* Whether the body of the packet comes in frames. */
static bool is_framed(const struct chn_parser *p) {
    if (!p->compressed) return false;
    if (!is_side(p->packet) && p->packet != PACKET_TABLE_COLUMNS) return true;
    return chn_gate(p->revision, CHN_GATE_PACKED_SIDE);
}

/* Table columns in frames: two strings, of no use here. */
static int read_framed_columns(struct chn_parser *p, struct chn_err *err) {
    for (;;) {
        struct chn_reader plain = {0};
        struct chn_slice text;
        int code = CHN_MORE;
        if (p->plain.n > 0) {
            plain = (struct chn_reader){p->plain.data, p->plain.data + p->plain.n};
            code = chn_reader__string(&plain, CHN_HELLO_STRING_MAX, &text);
        }
        if (code == 0) code = chn_reader__string(&plain, CHN_STRING_MAX, &text);
        if (code == 0 && chn_reader__left(&plain) > 0) code = CHN_ERR_PROTOCOL;
        if (code == 0) p->plain.n = 0;
        if (code < 0) chn_err__setf(err, code, "packet %d: malformed or too long", p->packet);
        if (code != CHN_MORE) return code;
        if ((code = chn_frame__read(&p->in, &p->plain, err)) != 0) return code;
    }
}

static int read_block(struct chn_parser *p, enum chn_event *event, struct chn_err *err) {
    struct chn_decoder *d = is_side(p->packet) ? &p->side : &p->decoder;
    if (!p->in_block) {
        struct chn_slice table;
        int code = chn_reader__string(&p->in, CHN_HELLO_STRING_MAX, &table);
        if (code < 0) return chn_err__setf(err, code, "packet %d: bad table name", p->packet);
        if (code != 0) return code;
        p->in_block = true;
        d->revision = p->revision;
    }
    int code = is_framed(p) ? read_framed_block(p, d, err) : chn_decoder__feed(d, &p->in, err);
    if (code != 0) return code;
    p->in_block = false;
    d->block.kind = p->packet == PACKET_TOTALS     ? CHN_BLOCK_TOTALS
                    : p->packet == PACKET_EXTREMES ? CHN_BLOCK_EXTREMES
                                                   : CHN_BLOCK_DATA;
    *event = is_side(p->packet) ? CHN_EVENT_OTHER : CHN_EVENT_BLOCK;
    if (p->packet == PACKET_PROFILE_EVENTS) *event = CHN_EVENT_PROFILE_EVENTS;
    return 0;
}

static int refuse_packet(struct chn_parser *p, struct chn_err *err) {
    if (!p->seen_hello)
        return chn_err__setf(err, CHN_ERR_PROTOCOL,
                             "the first byte is %d, no answer to a hello: not the port of "
                             "ClickHouse's native protocol%s",
                             p->packet,
                             p->packet == 'H'    ? " (it speaks HTTP)"
                             : p->packet == 0x15 ? " (it wants TLS)"
                                                 : "");
    return chn_err__setf(err, CHN_ERR_PROTOCOL, "unexpected packet of type %d", p->packet);
}

static bool is_known(const struct chn_parser *p) {
    if (!p->seen_hello) return p->packet == PACKET_HELLO || p->packet == PACKET_EXCEPTION;
    if (p->packet == PACKET_TIMEZONE) return chn_gate(p->revision, CHN_GATE_TIMEZONE_UPDATE);
    return is_block(p->packet) || p->packet == PACKET_TABLE_COLUMNS ||
           (p->packet >= PACKET_EXCEPTION && p->packet <= PACKET_PROFILE);
}

/* The next event out of @in. */
static int read_event(struct chn_parser *p, enum chn_event *event, struct chn_err *err) {
    if (!p->in_packet) {
        if (chn_reader__left(&p->in) == 0) return keep_rest(p, err);
        if (p->chunks.packet_done)
            return chn_err__setf(err, CHN_ERR_PROTOCOL, "packet %d: its chunks go on behind it",
                                 p->packet);
        p->packet = *p->in.at++; /* A VarUInt, but all known types are below 128. */
        p->in_packet = true;
        if (!is_known(p)) return refuse_packet(p, err);
    }
    int code;
    if (is_block(p->packet)) {
        code = read_block(p, event, err);
    } else if (p->packet == PACKET_TABLE_COLUMNS && is_framed(p)) {
        *event = CHN_EVENT_OTHER;
        code = read_framed_columns(p, err);
    } else {
        struct chn_reader ahead = p->in;
        code = read_small(p, &ahead, event);
        if (code < 0)
            chn_err__setf(err, code, "packet of type %d: malformed or too long", p->packet);
        if (code == 0) p->in.at = ahead.at;
    }
    if (code == CHN_MORE) return keep_rest(p, err);
    if (code != 0) return code;
    p->in_packet = false;
    p->chunks.packet_done = p->chunks.on;
    if (*event == CHN_EVENT_HELLO) {
        p->seen_hello = true;
        p->revision = p->server.negotiated;
    }
    return 0;
}

int chn_parser__next(struct chn_parser *p, enum chn_event *event, struct chn_err *err) {
    /* What was kept is not looked at again before more has come. */
    int code = p->chunks.on && p->chunks.dry ? CHN_MORE : read_event(p, event, err);
    while (code == CHN_MORE && p->chunks.on) {
        if ((code = take_chunk(p, err)) != 0) return code;
        code = read_event(p, event, err);
    }
    return code;
}
