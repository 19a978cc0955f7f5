/* One connection to ClickHouse for those who may wait: each call runs the loop until it is done. */
#ifndef SOUK_REPLAY_WIRE_H
#define SOUK_REPLAY_WIRE_H

#include "souk/store_address.h" /* Hosts and TLS mean the same for all who connect. */

struct wire {
    uv_loop_t *loop;       /* Borrowed. */
    struct chn_conn *conn; /* Owned. */
    struct store_address address;
    enum chn_compression compression;
    /* The call under way. */
    bool done;
    int code;
    enum chn_outcome outcome;
    int32_t exception; /* ClickHouse's code; 0: none. */
    struct err err;
    struct chn_column columns[BATCH_COLUMNS_MAX];
    struct chn_slice parts[BATCH_COLUMNS_MAX][2];
};

/** Connects, to the first of the hosts that answers. @return 0, ERR_UNAVAILABLE, ERR_CONFIG where
 *  the authorities cannot be read, or ERR_REFUSED with the server's words. */
int wire__open(struct wire *w, uv_loop_t *loop, const struct store_options *options, struct err *e);
/** Runs @sql. @on_block may be NULL; it returns 0 to go on. @return as wire__open. */
int wire__query(struct wire *w, const char *sql,
                int (*on_block)(struct chn_conn *conn, void *data, const struct chn_block *block),
                void *data, struct err *e);
/** Inserts @b as one block under @token, again and again with the same token while the outcome is
 *  not certain or the server is busy, WIRE_TRIES times at most. @return as wire__open. */
int wire__insert(struct wire *w, const struct batch *b, const char *token, struct err *e);
#define WIRE_TRIES 8
/** Closes; accepts a zeroed struct. */
void wire__close(struct wire *w);

#endif
