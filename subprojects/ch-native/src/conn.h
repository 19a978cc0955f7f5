/**
 * A connection inside. conn.c is its life, connect.c how it comes to be ready, link.c its socket;
 * query.c and insert.c are what a ready connection is used for.
 */
#ifndef CHN_CONN_H
#define CHN_CONN_H

#include "city.h"
#include "link.h"
#include "packet.h"
#include "request.h"

#include <ch_native/conn.h>

enum {
    CHN_VERIFIED_MAX = 256,           /* Statements remembered as checked; the oldest goes. */
    CHN_PACK_ON_LOOP_MAX = 256 << 10, /* Raw bytes that may be compressed on the loop. */
    CHN_PACK_LEVEL_MAX = 3,           /* The same of ZSTD's levels. */
    CHN_BLOCK_SENT_MAX = 1 << 30,     /* Bytes; servers split what is above 256 MiB. */
    CHN_DRAIN_MS = 1000, /* After a failed write, for an exception that may still come. */
};

enum chn_state {
    CHN_CLOSED,
    CHN_RESOLVING,
    CHN_CONNECTING,
    CHN_SECURING, /* TLS. */
    CHN_HELLO,
    CHN_READY,
    CHN_PING,
    CHN_QUERY,
    CHN_CANCELING, /* A query that was told to stop. */
    CHN_PACKING,   /* Insert: compressing in the pool, nothing sent. */
    CHN_HEADER,    /* Insert: statement sent, waits for the table's columns. */
    CHN_SENDING,   /* Insert: block on its way to the kernel. */
    CHN_ACK,       /* Insert: all sent, waits for the end of stream. */
};

/* What runs in the thread pool: compression of one block. */
struct chn_packing {
    uv_work_t work;
    bool running;
    int code;
    struct chn_buf out;
};

struct chn_conn {
    uv_loop_t *loop;
    enum chn_state state;
    char *database, *user, *password, *client_name, *quota_key;
    struct chn_host *hosts; /* All that can be tried, at least one; their names are owned. */
    size_t n_hosts;
    size_t host_at;      /* The one that is connected to, or tried. */
    size_t n_hosts_left; /* To be tried by the connect under way, this one not counted. */
    const char *host;    /* Its name and port. */
    uint16_t port;
    char hostname[64];
    struct chn_options options; /* Numbers and callbacks; its strings are those above. */
    struct chn_client client;
    struct chn_parser parser;
    struct chn_link *link;                /* NULL when closed. */
    uv_timer_t timer;                     /* The deadline of the present state. */
    uint64_t deadline_ms, heard_ms;       /* uv_now() of it, and of the last bytes of the server. */
    uint32_t silence_ms;                  /* Allowed between two of those; 0: any. */
    uint64_t heard_bytes;                 /* Of this link. */
    uint64_t taken_bytes;                 /* By the kernel, when that was last looked at. */
    uv_getaddrinfo_t *resolver;           /* Not NULL while one runs. */
    struct addrinfo *addresses, *address; /* What is left to try. */
    unsigned n_open;                      /* Handles and works that still call back. */
    bool closing;
    chn_close_cb close_cb;
    void *close_data;

    /* The request under way. */
    union {
        chn_connect_cb connect;
        chn_ping_cb ping;
        chn_query_cb query;
        chn_insert_cb insert;
    } cb;
    void *cb_data;
    bool ended; /* The end of stream has come; waits for the writes' callbacks. */
    bool write_failed;
    struct chn_err err;  /* Of the write that failed, or of the cancel. */
    struct chn_buf head; /* Packets that are copied: queries and other small ones. */
    struct chn_query query;
    struct chn_query_result query_result;
    struct chn_insert insert;
    struct chn_insert_result insert_result;
    struct chn_buf insert_heads, insert_pieces, insert_columns, bufs;
    struct chn_packing packing;
    struct chn_u128 statement; /* Hash of table, names and types. */
    uint64_t block_bytes;
    bool block_sent, header_seen;
    uint8_t chunk_size[4]; /* Of the block's packet, where packets come in chunks. */
    struct chn_u128 verified[CHN_VERIFIED_MAX];
    unsigned n_verified;
};

/** The only writer of the state; @ms is its deadline from now, 0 for none. */
void chn_conn__move(struct chn_conn *c, enum chn_state state, uint32_t ms);
/** In the present state the server may not be silent for longer than @ms; 0: it may. */
void chn_conn__limit_silence(struct chn_conn *c, uint32_t ms);
/** Writes @n buffers to the link. @return 0 or an error with @err filled. */
int chn_conn__write(struct chn_conn *c, const uv_buf_t *bufs, unsigned n, struct chn_err *err);
/** Lets go of the link without a word: the state is closed afterwards. */
void chn_conn__drop(struct chn_conn *c);
/** Ends a connect, well or with @err. */
void chn_conn__end_connect(struct chn_conn *c, const struct chn_err *err,
                           const struct chn_exception *exception);
/** The present host will not do. @return whether another is being tried. */
bool chn_conn__try_next_host(struct chn_conn *c);
/** The server's hello has come: agrees with it, or fails. */
void chn_conn__on_hello(struct chn_conn *c);
/** Writes what is in @head. @return 0 or an error. */
int chn_conn__write_head(struct chn_conn *c, struct chn_err *err);
/** The connection is lost or unusable: drops the link, then ends the request, or tells on_lost. */
void chn_conn__fail(struct chn_conn *c, const struct chn_err *err);

/** One handle or work less that calls back; the last one frees a closed connection. */
void chn_conn__release(struct chn_conn *c);

/** For the requests' files: an event of the server, the end of a write, a failure. They end the
 * request if need be. */
void chn_query__on_event(struct chn_conn *c, enum chn_event event);
void chn_query__on_written(struct chn_conn *c);
void chn_query__fail(struct chn_conn *c, const struct chn_err *err);
void chn_insert__on_event(struct chn_conn *c, enum chn_event event);
void chn_insert__on_written(struct chn_conn *c);
void chn_insert__fail(struct chn_conn *c, const struct chn_err *err);
void chn_insert__fini(struct chn_conn *c);

static inline uint32_t chn_or(uint32_t value, uint32_t otherwise) {
    return value != 0 ? value : otherwise;
}

#endif
