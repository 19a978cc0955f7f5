/**
 * A connection to a ClickHouse server over its native protocol, on the caller's uv_loop_t. Nothing
 * blocks.
 *
 * One request at a time: connect, ping, query or insert. A starter returns 0, which promises one
 * call of its callback from the loop, or a negative CHN_ERR_... code, and then the callback is not
 * called. Callbacks may start the next request or close the connection. What a request borrows must
 * stay as it is until its callback.
 *
 * The outcome of an insert is what matters most:
 *   CHN_OK        the server said end of stream: stored (or deduplicated, which is the same)
 *   CHN_REJECTED  the server sent an exception: nothing of a single-partition block is stored
 *   CHN_NOT_SENT  no byte of the block left this process
 *   CHN_UNKNOWN   anything else: send the same block with the same insert_deduplication_token again
 * The program must ignore SIGPIPE: libuv writes with write(2) and sendmsg(2) without MSG_NOSIGNAL.
 *
 * After anything but CHN_OK the connection is closed, as its state is not to be trusted; connect
 * again.
 */
#ifndef CH_NATIVE_CONN_H
#define CH_NATIVE_CONN_H

#include "block.h"
#include "builder.h"
#include "tls.h"

#include <uv.h>

enum {
    CHN_REVISION_MIN = 54412,     /* ClickHouse 18.16. */
    CHN_REVISION_DEFAULT = 54460, /* What is advertised unless told otherwise. */
    CHN_REVISION_MAX = 54488,     /* The last one of which every field is understood. */
    CHN_HOSTS_MAX = 16,
    CHN_ZSTD_LEVEL_MAX = 19,
};

/** Servers take any method in an insert. Results come as the query asks for, where settings can be
 * sent (54429); older servers choose themselves, LZ4 as a rule. */
enum chn_compression { CHN_NO_COMPRESSION, CHN_LZ4, CHN_ZSTD };

/** Packets in chunks, from revision 54470 on, in each direction. A proxy can forward them without
 * parsing; nothing else is gained by it. */
enum chn_chunks {
    CHN_CHUNKS_IF_ASKED,   /* Only where the server insists. */
    CHN_CHUNKS_IF_ALLOWED, /* Wherever the server does not refuse them. */
    CHN_CHUNKS_ALWAYS,     /* Else the connection fails. */
};

/** Where a server is. */
struct chn_host {
    const char *name; /* Name or address ["127.0.0.1"]. */
    uint16_t port;    /* [9000, with TLS 9440] */
};

struct chn_conn;

struct chn_server {
    char name[64], display_name[128], timezone[64];
    uint32_t major, minor, patch;
    uint32_t revision;          /* The server's own. */
    uint32_t negotiated;        /* The smaller of both. */
    bool chunks_out, chunks_in; /* What was agreed on. */
};

struct chn_progress { /* Sums since the request began. */
    uint64_t read_rows, read_bytes;
    uint64_t total_rows, total_bytes; /* What is to be read, as far as the server knows; bytes from
                                         revision 54463 on. */
    uint64_t wrote_rows, wrote_bytes; /* From revision 54420 on. */
    uint64_t elapsed_ns;              /* From revision 54460 on. */
};

/** What a query cost the server, e.g. SelectedRows or FileOpen; `system.events` explains them. */
struct chn_profile_event {
    struct chn_slice name, host; /* Borrowed for the call. */
    uint32_t time_s;             /* Of the server, UTC. */
    uint64_t thread_id;          /* 0: all of the query's. */
    bool is_gauge;               /* The value as it is now, e.g. MemoryTracker; else what came on
                                    top since the last packet. */
    int64_t value;
};

/** From revision 54451 on, of inserts from 54456 on. The connection may be closed in it. */
typedef void (*chn_profile_event_cb)(struct chn_conn *conn, void *data,
                                     const struct chn_profile_event *event);

struct chn_profile {
    uint64_t rows, blocks, bytes, rows_before_limit;
    bool applied_limit;
};

/** Told when a connection that was ready and idle is lost. Requests under way hear of it in their
 * callback instead. */
typedef void (*chn_lost_cb)(struct chn_conn *conn, void *data, const struct chn_err *err);

/** Strings are copied. 0 and NULL mean the default in brackets. */
struct chn_options {
    const char *host;             /* Name or address ["127.0.0.1"]. */
    uint16_t port;                /* [9000, with TLS 9440] */
    const struct chn_host *hosts; /* In place of host and port: at most CHN_HOSTS_MAX. */
    size_t n_hosts;               /* Each connect tries all of them, from the one that
                                     was connected last on. */
    struct chn_tls *tls;          /* Shared with this connection; NULL: no TLS. */
    enum chn_chunks chunks;
    const char *database, *user, *password; /* ["default", "default", ""] */
    const char *client_name;                /* For the server's logs ["ch-native"]. */
    const char *quota_key;                  /* [""] */
    uint32_t revision;      /* To advertise, CHN_REVISION_MIN to CHN_REVISION_MAX [54460]. */
    uint32_t connect_ms;    /* Resolve and connect, each address [5000]. */
    uint32_t tls_ms;        /* Connected to TLS agreed on [5000]. */
    uint32_t hello_ms;      /* Hello sent to hello received [5000]. */
    uint32_t header_ms;     /* Insert statement sent to the table's columns [10000]. */
    uint32_t send_ms;       /* Block to the kernel [60000]. */
    uint32_t stall_ms;      /* While sending: longest time in which the kernel takes nothing, as
                               the server has stopped reading; noticed within twice that [none]. */
    uint32_t ack_ms;        /* Block sent to end of stream [60000]. */
    uint32_t query_ms;      /* A query, a ping, a cancel from start to end [60000]. */
    uint32_t ping_ms;       /* A ping [query_ms]. */
    size_t block_bytes_max; /* Of one result block's values [256 MiB]. */
    chn_lost_cb on_lost;    /* May be NULL. */
    void *data;             /* For on_lost. */
};

/** @return a connection that is closed yet, or NULL with @err filled (CHN_ERR_ARGUMENT,
 * CHN_ERR_MEMORY). */
struct chn_conn *chn_conn__new(uv_loop_t *loop, const struct chn_options *options,
                               struct chn_err *err);

typedef void (*chn_close_cb)(void *data);
/**
 * Closes for good and frees. A request under way hears CHN_ERR_CANCELED first, before this
 * returns unless the thread pool has it. @cb (may be NULL) is the last that happens.
 */
void chn_conn__close(struct chn_conn *conn, chn_close_cb cb, void *data);

/** @err is NULL when the connection is ready. @exception is set when the server refused, e.g. for a
 * wrong password. */
typedef void (*chn_connect_cb)(struct chn_conn *conn, void *data, const struct chn_err *err,
                               const struct chn_exception *exception);
/** Connects, also again after a loss. CHN_ERR_BUSY unless it is closed. */
int chn_conn__connect(struct chn_conn *conn, chn_connect_cb cb, void *data);

bool chn_conn__is_ready(const struct chn_conn *conn);  /* A request can be started. */
bool chn_conn__is_closed(const struct chn_conn *conn); /* chn_conn__connect() can be called. */
/** The host that it is connected to, or tried last. */
struct chn_host chn_conn__host(const struct chn_conn *conn);
/** Bytes that the kernel took of what was sent, and that came from the server, on the present link:
 * it grows as long as the server reads or answers. 0 when closed. */
uint64_t chn_conn__moved(const struct chn_conn *conn);
/** What the server said of itself; zeroed before the first hello. */
const struct chn_server *chn_conn__server(const struct chn_conn *conn);

typedef void (*chn_ping_cb)(struct chn_conn *conn, void *data, const struct chn_err *err);
int chn_conn__ping(struct chn_conn *conn, chn_ping_cb cb, void *data);

/** Flags: 1 important (an unknown name is an exception), 0 an unknown name is ignored. */
struct chn_setting {
    const char *name, *value;
    unsigned flags;
};

/**
 * A value for `{name:Type}` in the query, from revision 54459 (ClickHouse 22.x) on. It is sent as
 * data and cannot end the literal that it is in, so that any bytes may be in it. The server reads
 * it as the type says: text for a String, `2024-05-01` for a Date, `1.25`, `true`, a table's name
 * for an Identifier.
 */
struct chn_parameter {
    const char *name;
    const char *value; /* NULL is the value NULL. */
    size_t n;          /* Bytes of @value [up to its 0]. */
    bool is_nested;    /* For arrays, maps and tuples: @value is their literal, e.g. ['a','it\'s'],
                          with each string in it as chn_quote() makes it. */
};

/**
 * Writes @n bytes as a string literal of SQL with its quotes: for statements, and for the strings
 * in nested parameters. @to receives at most @capacity bytes with the closing 0.
 * @return the bytes of the whole literal without the 0; @capacity or more means that it was cut.
 */
size_t chn_quote(char *to, size_t capacity, const void *data, size_t n);

struct chn_query {
    const char *sql;
    const char *query_id; /* [the server's choice] */
    const struct chn_setting
        *settings; /* Not sent to servers below 54429, which would misread them. Unless named here,
                      send_profile_events is 0 (see on_profile_event) and, on servers of revision
                      54473 and up, output_format_native_write_json_as_string is 1. */
    size_t n_settings;
    const struct chn_parameter *parameters;
    size_t n_parameters;
    enum chn_compression compression; /* Of the result. */
    uint32_t timeout_ms;              /* [the connection's query_ms] */
    /* The server is told to give up at timeout_ms as well (max_execution_time, in whole seconds,
     * rounded up), unless the settings name that, or this is set: for users who may not change
     * settings. */
    bool no_server_deadline;
    uint32_t silence_ms; /* Longest time without any packet; a server that runs a SELECT sends its
                            progress ten times a second, one that runs DDL nothing [0: none]. */
    /** A block with columns; it may have no rows (the first one of a SELECT). Not 0 cancels the
     * query. May be NULL. */
    int (*on_block)(struct chn_conn *conn, void *data, const struct chn_block *block);
    void (*on_progress)(struct chn_conn *conn, void *data,
                        const struct chn_progress *sums); /* May be NULL. */
    chn_profile_event_cb on_profile_event;                /* Asks for them; may be NULL. */
};

struct chn_query_result {
    const struct chn_err *err; /* NULL when all is well. */
    const struct chn_exception
        *exception;  /* Not NULL with CHN_ERR_EXCEPTION; the connection stays ready then. */
    uint64_t n_rows; /* In data blocks. */
    struct chn_progress progress;
    struct chn_profile profile;
};

typedef void (*chn_query_cb)(struct chn_conn *conn, void *data,
                             const struct chn_query_result *result);
/** Any statement but an INSERT with data. The query is copied; only what its callbacks use has to
 * live on. */
int chn_conn__query(struct chn_conn *conn, const struct chn_query *query, chn_query_cb cb,
                    void *data);

enum chn_outcome { CHN_OK, CHN_REJECTED, CHN_NOT_SENT, CHN_UNKNOWN };
const char *chn_outcome__text(enum chn_outcome outcome);

struct chn_insert {
    const char *table; /* As in SQL, e.g. `poe_trade.bronze`: the caller quotes what needs it. */
    const struct chn_column *columns;
    size_t n_columns;
    uint64_t n_rows; /* Of each column. At most 1,048,449 rows and 256 MiB stay one block in the
                        server; 1 GiB is CHN_ERR_LIMIT. */
    const char *query_id; /* [the server's choice] */
    const struct chn_setting
        *settings; /* async_insert, send_profile_events and
                      input_format_defaults_for_omitted_fields are 0 unless named here. */
    size_t n_settings;
    enum chn_compression compression;      /* Above 256 KiB it is done in the thread pool. */
    int level;                             /* ZSTD's, 1 to CHN_ZSTD_LEVEL_MAX [1]. */
    uint32_t ack_ms;                       /* [the connection's] */
    chn_profile_event_cb on_profile_event; /* Asks for them; may be NULL. */
};

struct chn_insert_result {
    enum chn_outcome outcome;
    const struct chn_err *err;             /* NULL with CHN_OK. */
    const struct chn_exception *exception; /* Not NULL when the server sent one. */
    struct chn_progress progress;
    uint64_t sent_bytes; /* On the wire, of the block. */
    bool pipelined;      /* Statement and block went in one write. */
};

typedef void (*chn_insert_cb)(struct chn_conn *conn, void *data,
                              const struct chn_insert_result *result);
/**
 * Inserts one block. The server drops columns that it does not know in silence, so the first insert
 * of a statement on a connection waits for the table's columns and compares (CHN_ERR_SCHEMA,
 * CHN_NOT_SENT when they differ); later ones send statement and block in one write and compare when
 * the columns come.
 * @insert is copied, its strings included; the columns and their bytes are borrowed until @cb.
 */
int chn_conn__insert(struct chn_conn *conn, const struct chn_insert *insert, chn_insert_cb cb,
                     void *data);

/**
 * Ends the request under way early; its callback hears CHN_ERR_CANCELED. A query is asked to stop,
 * and the connection stays usable. Anything else closes it, as a server may store part of a
 * canceled insert, and calls back before this returns (an insert in the thread pool: when the pool
 * is done). Nothing when nothing is under way.
 */
void chn_conn__cancel(struct chn_conn *conn);

#endif
