/** Packets from the server: a parser that is fed bytes and gives one event after the other. */
#ifndef CHN_PACKET_H
#define CHN_PACKET_H

#include "block.h"

#include <ch_native/conn.h>

enum chn_event {
    CHN_EVENT_HELLO,     /* @server. */
    CHN_EVENT_BLOCK,     /* @decoder.block. */
    CHN_EVENT_EXCEPTION, /* @exception. */
    CHN_EVENT_PROGRESS,  /* @progress: what came on top. */
    CHN_EVENT_PONG,
    CHN_EVENT_END,            /* End of stream. */
    CHN_EVENT_PROFILE,        /* @profile. */
    CHN_EVENT_PROFILE_EVENTS, /* @side.block. */
    CHN_EVENT_OTHER,          /* Logs, table columns, time zone: read and dropped. */
};

/** Chunked packets: u32 size and that many bytes, any number of times, then the size 0. */
struct chn_chunks_in {
    bool on;
    bool dry;              /* All that was taken is read, or kept until more comes. */
    bool packet_done;      /* The packet is over, but the size 0 has not come. */
    struct chn_reader raw; /* The fed bytes; what is parsed is a piece of them. */
    uint8_t size[4];       /* Of a size that came in part. */
    unsigned n_size;       /* Bytes of it. */
    uint32_t left;         /* Bytes of this chunk still to come. */
};

struct chn_parser {
    uint32_t revision; /* The client's until the hello, the negotiated one afterwards. */
    bool compressed;   /* Of the query under way. */
    bool seen_hello;
    struct chn_chunks_in chunks;
    struct chn_buf carry; /* Bytes that are not a whole item yet. */
    struct chn_buf plain; /* Of compressed frames, not yet read. */
    struct chn_reader in; /* What is being parsed: the fed bytes, or @carry. */
    bool in_packet, in_block;
    uint8_t packet;                   /* Its type. */
    struct chn_decoder decoder, side; /* @side: of logs and profile events, which come between. */
    struct chn_server server;
    char server_sends[32], server_takes[32]; /* How it will have chunks, from 54470 on. */
    struct chn_exception exception;
    struct chn_progress progress;
    struct chn_profile profile;
};

/** From now on packets come in chunks: right after the hello, of which nothing may be left. @return
 * 0, or CHN_ERR_PROTOCOL with @err filled. */
int chn_parser__expect_chunks(struct chn_parser *p, struct chn_err *err);

void chn_parser__init(struct chn_parser *p, uint32_t revision, size_t block_bytes_max);
/** For a new connection: forgets all but memory. */
void chn_parser__reset(struct chn_parser *p, uint32_t revision);
void chn_parser__fini(struct chn_parser *p);

/** Feeds bytes; then call chn_parser__next() until it no longer returns 0. The bytes are borrowed
 * until then. */
int chn_parser__feed(struct chn_parser *p, const void *data, size_t n, struct chn_err *err);

/** @return 0 with @event, CHN_MORE (the rest has been kept), or an error with @err filled: then the
 * stream is lost. */
int chn_parser__next(struct chn_parser *p, enum chn_event *event, struct chn_err *err);

#endif
