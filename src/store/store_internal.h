/* What the files of this room share. */
#ifndef SOUK_STORE_INTERNAL_H
#define SOUK_STORE_INTERNAL_H

#include "souk/store.h"

/** Asks for name, engine_full and place of each table of the current database. */
extern const char store_places_sql[];
/** @return whether a table whose engine_full is the @n bytes at @engine stores a token once. */
bool engine_deduplicates(const char *engine, size_t n);
/** @return whether such a table keeps its tokens with its parts, for all replicas. */
bool engine_is_replicated(const char *engine, size_t n);
/** Fills ttl_column and ttl_days of @out from the same text. */
void engine_ttl(const char *engine, size_t n, struct store_table_facts *out);
/** Fills seal->token from its other fields and the id of the spool that holds its rows. */
void seal__make_token(struct seal *seal, const char *store_id);

enum sender_state {
    SENDER_CLOSED,
    SENDER_CONNECTING,
    SENDER_CHECKING,
    SENDER_READY,
    SENDER_INSERTING,
    SENDER_LOOKING,
    SENDER_PINGING,
    SENDER_ENDED
};

#define STORE_REFUSALS 3 /* Of one batch, after which somebody has to look. */

/** What a reply asks for. */
enum reply_class {
    REPLY_STORED,
    REPLY_RETRY,         /* Time mends it. */
    REPLY_BUSY,          /* The same; the server has too much to do. */
    REPLY_PARTS,         /* Time mends it, and fewer inserts do. */
    REPLY_MEMORY,        /* Time may mend it, and smaller inserts do. */
    REPLY_PARTITIONS,    /* Smaller inserts mend it, or somebody has to. */
    REPLY_CONFIGURATION, /* Somebody has to mend it. */
    REPLY_DATA,          /* A row is to blame. */
};
enum reply_class store_reply__class(const struct store_reply *r);
/** @return whether an exception's words, in @size bytes, may name a view behind the table. */
bool exception_is_from_view(const char *message, size_t size);
/** @return whether an exception shows that nothing of its insert was written, a token neither. One
 *  that can come in the middle of a write, or behind it, shows nothing, nor does an unknown one. */
bool store_reply__proves_refusal(const struct store_reply *r);

/* One connection: connects, checks the server, sends one batch at a time. */
struct sender {
    struct store *store;
    const struct store_link_type *type;
    struct store_link *link; /* Owned; NULL once ended. */
    enum sender_state state;
    int64_t connect_at_mono_ns;
    uint32_t n_failures;
    bool checked; /* The server was as it should be on this connection; it is asked again now and
                     then. */
    int64_t check_at_mono_ns;
    int64_t asked_mono_ns; /* When it was last checked. */
    uint64_t jumps_seen;   /* Of the wall clock, when it was last checked. */
    struct sealed *sealed; /* In flight. */
    struct batch range;    /* What is sent of it when that is not the whole. Owned. */
    int64_t sent_mono_ns;
    int64_t heard_mono_ns; /* When the server last read or answered, as far as we looked, */
    uint64_t progress;     /* and what the link said of it then. */
    bool stalled;          /* It has been silent for too long, though it has something to do. */
    unsigned first_host;   /* Where the next connect begins. */
    int64_t roam_at_mono_ns;
    /* The server's tables, as the last check found them. */
    struct store_table_facts facts[STORE_TABLES_MAX];
};

/* Why the inserts of one table, or of all, wait though the server answers. */
struct store_rest {
    enum store_state why; /* STORE_CONNECTED: they do not. */
    uint32_t n;           /* Refusals in a row. */
    int64_t until_mono_ns;
};

struct table_metrics {
    struct series *stored, *failed, *rows_acked, *batch_rows, *batch_bytes, *insert_seconds,
        *latency, *retries, *outstanding, *refused, *search_inserts, *renewed;
};

struct store {
    uv_loop_t *loop;
    const struct clock *clock;
    struct spool *spool;
    struct batcher batcher;
    struct store_options options;
    char *host, *user, *password, *password_file, *database; /* Owned. */
    struct sender senders[STORE_CONNECTIONS];
    struct store_table_status tables[STORE_TABLES_MAX];
    struct store_rest rests[STORE_TABLES_MAX];
    struct store_rest rest;               /* Of all tables. */
    unsigned age_scale[STORE_TABLES_MAX]; /* Of the age at which batches are cut: more than 1 while
                                             there are too many parts. */
    size_t n_elsewhere;                   /* Batches that wait for the server they may be at. */
    uint64_t jitter;                      /* State of the generator. */
    struct table_metrics m[STORE_TABLES_MAX];
    uv_timer_t tick;
    size_t n_sealing;               /* SEAL records on their way to disk. */
    enum store_state state, logged; /* As it is, and as it was last told. */
    bool held;                      /* The last connection failed as something has to be mended, */
    bool silent;                    /* or as nobody answered in time. */
    bool no_room[FEEDS_MAX];        /* Somebody waits to be told. */
    bool warned_window;
    unsigned prefer;        /* The feed whose batches go first. */
    bool refusing;          /* A batch is held, or was refused STORE_REFUSALS times in a row: */
    bool stuck;             /* the latter. */
    bool answers;           /* A connection takes inserts, whatever becomes of held batches. */
    bool seal_failed;       /* The spool does not take seals. */
    int64_t logged_mono_ns; /* When a failure was last logged. */
    /* When each table drops rows, as the last check found it, and the server's time less the
     * monotonic clock's. */
    struct {
        char column[64];
        uint32_t days;
    } ttl[STORE_TABLES_MAX];
    int64_t server_offset_ns;
    bool server_told;           /* Else its time is not known. */
    bool local;                 /* It may run on this machine, and read our clock. */
    char mistimed[ERR_MSG_MAX]; /* Of the first batch that is held for its rows' times. */
    struct series *m_mistimed;
    int64_t since_wall_ns, since_mono_ns;
    char server[96], last_error[ERR_MSG_MAX];
    uint64_t rows, retries, refused_rows;
    struct series *m_held, *m_elsewhere, *m_rests;
    uint64_t n_confirmed; /* Rows that replies said are stored; not derived from the batches. */
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
/** The server said its time, in answer to what was asked at @asked_mono_ns. */
void store__told_time(struct store *s, int64_t server_wall_ns, int64_t asked_mono_ns);
/** @return true when the server would drop rows of @x at once, or they are from the future, and
 *  nobody has let them go: @x is held. */
bool store__is_mistimed(struct store *s, struct sealed *x);
/** Looks at all batches that are held for that. */
void store__judge_times(struct store *s);
/** Looks whether connections stand still, and which batches wait for another server. */
void sender__watch(struct sender *c);
/** @return whether it is connected to a server that is as it should be. */
bool sender__is_live(const struct sender *c);
/** @return @ns less a random part of up to a quarter: so that not all come back at once. */
int64_t store__jitter(struct store *s, int64_t ns);
/** Names the place to which a batch that is sealed now goes, in @sealed's seal. */
void store__place(const struct store *s, struct sealed *sealed);
/** The seal of @sealed names another place than before: writes that down, and then it is sent. */
void store__move(struct store *s, struct sealed *sealed);
/** @return the place of @table in the options' list. */
size_t store__table_index(const struct store *s, const struct table_desc *table);
/** What was sent of @sealed last is stored, @n_rows of it: goes on with the rest, or writes its
 * ACK, counts and frees it. */
void store__stored(struct store *s, struct sealed *sealed, uint64_t n_rows, int64_t took_ns);
/** The rows [lo, @end) of a range with a fence are stored: goes on behind them. */
void store__reached(struct store *s, struct sealed *sealed, uint64_t end);
/** What was sent of @sealed last was refused, and the server does not have it: searches for the row
 *  or makes blocks smaller, as its code asks for. */
void store__split(struct store *s, struct sealed *sealed);
/** What was sent of @sealed last was said to be stored, and is not there: ClickHouse remembers the
 *  token of a block that it rolled back. Sends it under another. */
void store__renew(struct store *s, struct sealed *sealed);
/** @return true when the server, or its tables, are as they should be; else @problem says what to
 *  do. */
bool store__judge_server(struct store *s, const struct store_server *v, char *problem, size_t size);
bool store__judge_tables(struct store *s, const struct store_table_facts *tables, char *problem,
                         size_t size);

#endif
