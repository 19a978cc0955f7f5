/* What the store needs of a connection to ClickHouse, so that tests can drive it against a model of
 * a server under a clock set by hand. The real one is ch-native's (src/store/link_native.c).
 *
 * One request at a time: a starter returns 0, which promises one call of its callback from the loop
 * (never from within the starter), or a negative code, and then the callback is not called. After
 * an insert that is not STORED, and whenever the connection is lost, it is closed: connect again.
 */
#ifndef SOUK_STORE_LINK_H
#define SOUK_STORE_LINK_H

#include "souk/core/batch_range.h"
#include <uv.h>

#define STORE_PLACE_MAX 64 /* Bytes of a place's name and its 0. */

enum store_outcome {
    STORE_STORED,   /* Of an insert: stored, or deduplicated, which is the same. Else: done. */
    STORE_REJECTED, /* The server sent an exception. */
    STORE_NOT_SENT, /* Nothing of it left this process. */
    STORE_UNKNOWN,  /* Anything else: perhaps it was applied. */
};

struct store_reply {
    enum store_outcome outcome;
    int32_t code; /* ClickHouse's error code; 0 when there was no exception. */
    bool schema;  /* The table's columns are not what the batch has. */
    bool
        from_view; /* The exception may come from a view that the block reached behind its table. */
    bool silent;   /* It did not answer, or stopped reading, within the time that it has. */
    const char *text; /* One line for people; borrowed for the call. */
    uint64_t n_rows;  /* Of an insert: rows that went out in its block. */
};

struct store_server {
    char name[96]; /* E.g. ClickHouse 26.7.2. */
    uint32_t major, minor;
};

/** What is known of one of the store's tables on the server. */
struct store_table_facts {
    bool exists, deduplicates;
    bool replicated; /* Tokens and parts are committed together, elsewhere. */
    /* Rows whose time in this column is so many days old are dropped by the server, at once when
     * it gets them as late as that. 0: it keeps all, or its TTL is of another form. */
    char ttl_column[64];
    uint32_t ttl_days;
    /* Where rows of this table go: the same name for all replicas of one another, and another for
     * each server that stands alone. "": not told apart, any server will do. */
    char place[STORE_PLACE_MAX];
};

struct store_link; /* The implementation's. */
struct store_options;

/** Told by a link; @data is the owner's. */
struct store_link_events {
    void *data;
    /** An idle connection was lost. */
    void (*on_lost)(void *data, const char *text);
    /** @server is NULL unless @reply is STORED. */
    void (*on_connected)(void *data, const struct store_reply *reply,
                         const struct store_server *server);
    /** @tables are in the order of the store's options; NULL unless @reply is STORED. */
    void (*on_checked)(void *data, const struct store_reply *reply,
                       const struct store_table_facts *tables);
    /** In front of on_checked: the server's time, as it was when it answered. May be missing. */
    void (*on_time)(void *data, int64_t server_wall_ns);
    void (*on_inserted)(void *data, const struct store_reply *reply);
    void (*on_found)(void *data, const struct store_reply *reply, bool found);
    void (*on_pinged)(void *data, const struct store_reply *reply);
};

struct store_link_type {
    /** Makes a link that is closed yet. @options and @ctx are borrowed for its life. @return NULL
     *  with @e filled. */
    struct store_link *(*open)(void *ctx, uv_loop_t *loop, const struct store_options *options,
                               const struct store_link_events *events, struct err *e);
    /** Connects anew, whatever was before: to the @first-th of the hosts (modulo how many there
     *  are), and where that fails to the others. Ends with on_connected. */
    int (*connect)(struct store_link *link, unsigned first);
    /** Asks which of the store's tables there are. Ends with on_checked. */
    int (*check)(struct store_link *link);
    /** Inserts @batch, borrowed until on_inserted, as one block under @token. */
    int (*insert)(struct store_link *link, const struct batch *batch, const char *token);
    /** Asks whether the row of @batch at @at is in its table: a block is stored whole or not at
     *  all, so one row tells of all. Rows are told apart by src, lsn, ord and their times. Ends
     *  with on_found. @return ERR_SCHEMA when the table has no lsn and ord. */
    int (*find)(struct store_link *link, const struct batch *batch, const struct batch_mark *at);
    /** Asks whether anybody is there. Ends with on_pinged, soon in any case. */
    int (*ping)(struct store_link *link);
    /** @return a number that changes as long as the server reads what is sent, or answers. */
    uint64_t (*progress)(const struct store_link *link);
    /** Closes for good and frees; no event but those before @cb follows, a request under way hears
     *  UNKNOWN. */
    void (*close)(struct store_link *link, void (*cb)(void *data), void *data);
};

extern const struct store_link_type store_link_native;

#endif
