/**
 * A connection inside. conn.c connects, reads, times out and closes; query.c and insert.c are what
 * a ready connection is used for. A link is one TCP handle with its fate: a connection that is made
 * again gets a new link, and whatever the old one still calls back is recognised as dead.
 */
#ifndef CHN_CONN_H
#define CHN_CONN_H

#include "city.h"
#include "packet.h"
#include "request.h"

#include <ch_native/conn.h>

enum {
    CHN_READ_BYTES = 128 << 10,
    CHN_VERIFIED_MAX = 256,           /* Statements remembered as checked; the oldest goes. */
    CHN_PACK_ON_LOOP_MAX = 256 << 10, /* Raw bytes that may be compressed on the loop. */
    CHN_DRAIN_MS = 1000, /* After a failed write, for an exception that may still come. */
};

enum chn_state {
    CHN_CLOSED,
    CHN_RESOLVING,
    CHN_CONNECTING,
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

struct chn_link {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct chn_conn *conn;
    bool dead;         /* Its connection has let go of it. */
    unsigned n_writes; /* Not called back yet. */
    char bytes[CHN_READ_BYTES];
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
    char *host, *database, *user, *password, *client_name, *quota_key;
    char hostname[64];
    struct chn_options options; /* Numbers and callbacks; its strings are those above. */
    struct chn_client client;
    struct chn_parser parser;
    struct chn_link *link;                /* NULL when closed. */
    uv_timer_t timer;                     /* The deadline of the present state. */
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
    struct chn_u128 verified[CHN_VERIFIED_MAX];
    unsigned n_verified;
};

/** The only writer of the state; @ms is its deadline from now, 0 for none. */
void chn_conn__move(struct chn_conn *c, enum chn_state state, uint32_t ms);
/** Writes @n buffers to the link. @return 0 or an error with @err filled. */
int chn_conn__write(struct chn_conn *c, const uv_buf_t *bufs, unsigned n, struct chn_err *err);
/** Lets go of the link without a word: the state is closed afterwards. */
void chn_conn__drop(struct chn_conn *c);
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
