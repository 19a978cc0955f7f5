/* What the files of this room share. */
#ifndef SOUK_STORE_INTERNAL_H
#define SOUK_STORE_INTERNAL_H

#include "souk/store.h"
#include <ch_native/conn.h>

/** Fills seal->token from its other fields and the id of the spool that holds its rows. */
void seal__make_token(struct seal *seal, const char *store_id);

/** Takes the next statement of @at, without blanks, comments in front and its semicolon. @return
 *  false at the end. */
bool sql__next(const char **at, struct slice *statement);
/** @return where the statement at @p ends: at a semicolon outside of quotes and comments, or at the
 *  end of the text. */
const char *sql__statement_end(const char *p);
/** @return @p behind blanks and comments, at most @end. */
const char *sql__skip_blank(const char *p, const char *end);

enum sender_state {
    SENDER_CLOSED,
    SENDER_CONNECTING,
    SENDER_CHECKING,
    SENDER_READY,
    SENDER_INSERTING,
    SENDER_ENDED
};

#define STORE_REFUSALS 3 /* Of one batch, after which somebody has to look. */

/* One connection: connects, checks the server, sends one batch at a time. */
struct sender {
    struct store *store;
    struct chn_conn *conn; /* Owned; NULL once ended. */
    enum sender_state state;
    int64_t connect_at_mono_ns;
    uint32_t n_failures;
    bool checked; /* The server was as it should be on this connection; it is asked again now and
                     then. */
    int64_t check_at_mono_ns;
    struct sealed *sealed; /* In flight. */
    int64_t sent_mono_ns;
    uint64_t tables_seen; /* Bits of the store's tables that the server has as they should be. */
    char problem[ERR_MSG_MAX];
    char statement[128];
    struct chn_column columns[BATCH_COLUMNS_MAX];
    struct chn_slice parts[BATCH_COLUMNS_MAX][2];
};

struct table_metrics {
    struct series *stored, *failed, *rows_acked, *batch_rows, *batch_bytes, *insert_seconds,
        *latency, *retries, *outstanding;
};

struct store {
    uv_loop_t *loop;
    const struct clock *clock;
    struct spool *spool;
    struct batcher batcher;
    struct store_options options;
    char *host, *user, *password, *database; /* Owned. */
    struct sender senders[STORE_CONNECTIONS];
    struct store_table_status tables[STORE_TABLES_MAX];
    struct table_metrics m[STORE_TABLES_MAX];
    uv_timer_t tick;
    size_t n_sealing; /* SEAL records on their way to disk. */
    bool connected, held, had_room;
    bool refusing;          /* A batch was refused STORE_REFUSALS times in a row. */
    bool seal_failed;       /* The spool does not take seals. */
    int64_t logged_mono_ns; /* When a failure was last logged. */
    int64_t since_wall_ns;
    char server[96], last_error[ERR_MSG_MAX];
    uint64_t rows, retries;
    void (*room_cb)(void *ctx);
    void *room_ctx;
    void (*close_cb)(void *data);
    void *close_data;
    int n_senders_open;
    bool ending;
};

/** Opens the connection object and plans the first attempt. */
int sender__init(struct sender *c, struct store *s, struct err *e);
/** Connects when it is due, sends when there is something to send. */
void sender__pump(struct sender *c);
/** Closes for good; store__sender_ended is called when nothing refers to it any more. */
void sender__end(struct sender *c);
void store__sender_ended(struct store *s);
/** A sender's state or the last error changed. */
void store__note_connection(struct store *s);
/** @return the place of @table in the options' list. */
size_t store__table_index(const struct store *s, const struct table_desc *table);
/** @sealed is stored: writes its ACK, counts, frees it. */
void store__acknowledge(struct store *s, struct sealed *sealed, int64_t took_ns);

#endif
