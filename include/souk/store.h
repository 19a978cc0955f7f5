/* The store: takes rows in log order, batches and seals them, and sends each batch to ClickHouse
 * until it is acknowledged. The happy path: rows -> open batch -> SEAL synced -> one insert of one
 * block with its token -> ACK. Nothing is dropped: while ClickHouse is away, refuses us or lacks a
 * table, batches are held, has_room says no, and the spool grows instead of memory.
 *
 * A batch that is refused for its data is searched for the row (store_search.h). Its position in
 * the search is a RANGE record, synced before the range is sent; the row becomes a QUARANTINE
 * record, synced before the search goes on. So a crash anywhere resumes with the same range under
 * the same token. Before a refusal is acted on, the server is asked whether it has the rows all the
 * same: the reply of an earlier attempt may have been lost, or the exception may come from a view
 * behind the table.
 *
 * With several hosts a batch has a place (store_table_facts.place), which its seal says before it
 * is sent: once it may be there it goes nowhere else until it is certain that it is not, also after
 * a crash. Replicas of one another are one place. While a batch waits so, the second connection
 * tries the other hosts.
 *
 * What a server must be is checked on every new connection, and each minute: version 24.3 or newer,
 * all tables there, each with its deduplication window. What it lacks is in
 * store_status.last_error, and rows are held until it is mended.
 *
 * A batch with rows that the server would drop at once, because by its clock they are older than
 * their table's TTL, or with rows from the future, is held: it stays in the log, and goes by itself
 * when ClickHouse's clock is mended or the TTL is longer (a stamp of ours that was wrong stays as
 * it is), or when somebody lets it go. Its acknowledgement would be a promise that was broken
 * before it was given.
 *
 * After an outage two feeds bring rows: one from the end of the log, one from the backlog. Batches
 * of the backlog use one of the two connections as long as there is fresh data. A page's checkpoint
 * row comes after the page's own data in any case. While there is no backlog (gauge
 * souk_backlog_bytes is 0) it also comes after the data of all pages before it in the log; while
 * there is one it says nothing of earlier pages. Rows of derived tables (FEED_TAPE) wait for no
 * others, and no others wait for them. */
#ifndef SOUK_STORE_H
#define SOUK_STORE_H

#include "souk/batcher.h"
#include "souk/core/wall.h"
#include "souk/spool.h"
#include "souk/store_link.h"
#include <uv.h>

#define STORE_TABLES_MAX 64
#define STORE_CONNECTIONS 2 /* So many batches are under way; they may end in any order. */
#define STORE_VERSION_FLOOR_MAJOR 24
#define STORE_VERSION_FLOOR_MINOR 3

struct store;

enum store_delivery {
    STORE_EXACTLY_ONCE,  /* Nothing is inserted while a table has no deduplication window. */
    STORE_AT_LEAST_ONCE, /* A warning: what is sent again may be stored twice. */
};

struct store_tls {
    bool enabled, insecure;  /* Insecure: any certificate is believed. */
    const char *ca_file;     /* "" or NULL: the system's authorities. */
    const char *server_name; /* "" or NULL: the host's. */
};

struct store_options { /* Strings are copied. */
    const char *host;
    uint16_t port;
    const char *const *hosts; /* Each `name` or `name:port`, tried in this order; when there are any
                                 they take the place of @host. */
    size_t n_hosts;
    struct store_tls tls;
    const char *user, *password, *database;
    /* Read at each connection attempt, so that a rotated password needs no restart; its first line
     * replaces @password. "" or NULL: none. */
    const char *password_file;
    enum store_delivery delivery;
    bool lz4, zstd; /* Compress what is sent; at most one of them. */
    /* Takes the rows that ClickHouse refuses, as QUARANTINE records of the log; its own rows are
     * never searched. NULL: a refused batch is held. Borrowed; static. */
    const struct table_desc *refusals;
    const struct table_desc *const *tables; /* All that rows can be of. Borrowed; static. */
    size_t n_tables;
    size_t rows_max, bytes_max; /* Of a batch. 0: 50,000 and 8 MiB. */
    /* Of a batch with rows of a page; patient tables, and derived ones, wait five times as long,
     * but at most 50 s. 0: 1 s. */
    int64_t age_max_ns;
    size_t memory_max; /* Bytes of a feed's batches after which has_room says no; half of
                          it while pages come from two, a quarter for FEED_TAPE. 0: 32
                          MiB. */
    /* What is told the server's time, and says ours. NULL: the clock is believed. Borrowed. */
    struct wall *wall;
    const struct store_link_type *link; /* NULL: ch-native. */
    void *link_ctx;                     /* Its open's. */
    bool ticks_by_hand;                 /* No timer: whoever sets the clock calls store__tick. */
};

struct store_table_status {
    const char *name;
    uint64_t rows, batches;        /* Stored since the start. */
    uint64_t refused;              /* Rows, by ClickHouse. */
    size_t open_rows, outstanding; /* Rows not sealed; batches not stored. */
    int64_t last_ack_wall_ns;      /* 0: never. */
};
#define STORE_STATE_MAP(X)                                                                         \
    X(STORE_CONNECTING, "connecting", "ClickHouse is not connected yet")                           \
    X(STORE_CONNECTED, "connected", "ClickHouse is connected")                                     \
    X(STORE_AWAY, "away", "ClickHouse is away")                                                    \
    X(STORE_STALLED, "stalled", "ClickHouse has stopped answering")                                \
    X(STORE_PARTS, "too_many_parts", "ClickHouse has too many parts")                              \
    X(STORE_MEMORY, "out_of_memory", "ClickHouse is short of memory")                              \
    X(STORE_BUSY, "busy", "ClickHouse has too many queries")                                       \
    X(STORE_REFUSES, "refuses", "ClickHouse refuses inserts")                                      \
    X(STORE_ELSEWHERE, "elsewhere", "Batches wait for the server that may have them")              \
    X(STORE_HELD, "held", "ClickHouse is not as it should be")
#define STORE_STATE_CODE(code, name, text) code,
/** What is true of the store, the worst first where several are. */
enum store_state { STORE_STATE_MAP(STORE_STATE_CODE) STORE_STATES };
/** @return its name in status and metrics; in words. */
const char *store_state__name(enum store_state state);
const char *store_state__text(enum store_state state);

struct store_status {
    enum store_state state;
    bool connected; /* Checked and able to insert: the state is STORE_CONNECTED. */
    bool answers;   /* The same, but that a held batch may wait: all others go in. */
    bool held;      /* It answers, but schema, version or authorization is wrong, or it refuses a
                     * batch again and again. */
    int64_t since_wall_ns, since_mono_ns; /* When connected last changed. */
    char server[96];                      /* ClickHouse 26.7.2; "" before the first. */
    char last_error[ERR_MSG_MAX];
    struct store_table_status tables[STORE_TABLES_MAX];
    size_t n_tables, n_sealed, bytes;
    uint64_t rows, retries, refused_rows;
    size_t n_elsewhere; /* Batches that wait for the server that may have them. */
    size_t n_searched,
        n_held;        /* Batches whose rows are searched; that wait for somebody to look. */
    size_t n_mistimed; /* Of n_held: for the times of their rows. */
    char mistimed[ERR_MSG_MAX];    /* What of the first of them; "" for none. */
    uint64_t feed_rows[FEEDS_MAX]; /* Taken of each feed since the start. */
    size_t feed_bytes[FEEDS_MAX];  /* Of its batches in memory. */
};

/** Opens the store; it connects when the loop runs. @return 0 or an error with @e filled. */
int store__open(struct store **out, uv_loop_t *loop, const struct clock *clock,
                struct metrics *metrics, struct spool *spool, const struct store_options *options,
                struct err *e);
/** Recovery, in log order, before the first rows: the SEAL, ACK, RANGE and QUARANTINE records from
 *  the low-water mark on; others are not its. @return 0 or ERR_CORRUPT, ERR_NOMEM. */
int store__recover(struct store *s, const struct spool_record *rec);
/** All rows below @lsn are stored: where feed 0 goes on. Before the first rows. */
void store__start(struct store *s, uint64_t lsn);
/** @feed brings rows from @lsn on; see batcher__open_feed. */
void store__open_feed(struct store *s, unsigned feed, uint64_t lsn);
/** @feed brings no more; another is open. */
void store__close_feed(struct store *s, unsigned feed);
/** @return true while @feed may bring rows; while it has batches that are not stored. */
bool store__feed_open(const struct store *s, unsigned feed);
bool store__feed_waits(const struct store *s, unsigned feed);
/** The feed whose batches go first; the other is the backlog. 0 at first. */
void store__prefer(struct store *s, unsigned feed);
/** Rows of the record at @lsn; see batcher__rows. */
int store__rows(struct store *s, unsigned feed, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                struct rows *rows);
/** @return false while there is more of @feed in memory than there should be. */
bool store__has_room(const struct store *s, unsigned feed);
/** Cuts, seals and sends what is due; its timer calls it, and so do tests whose clock is set by
 *  hand. */
void store__tick(struct store *s);
/** Called, at most once a turn, when has_room becomes true again. */
void store__on_room(struct store *s, void (*cb)(void *ctx), void *ctx);
/** @return the position below which every row of pages is stored; for checkpoints. */
uint64_t store__low_water(const struct store *s);
/** @return the same of @feed alone, while it is open. */
uint64_t store__feed_low_water(const struct store *s, unsigned feed);
/** @return rows taken, less rows that replies said are stored, rows refused and logged, rows met
 *  again after a restart, and rows in memory: 0 at every moment, or a mistake of ours. Walks what
 *  is in memory: for a scrape, not for each row. */
int64_t store__imbalance(const struct store *s);
/** @return rows that store__rows was given, of all feeds. */
uint64_t store__n_taken(const struct store *s);
void store__status(const struct store *s, struct store_status *out);
/** Lets go the batches that are held for the times of their rows. @return how many. */
size_t store__release(struct store *s);
/** Seals all open batches now, whatever their age. */
void store__cut(struct store *s);
/** Seals all open batches and goes on sending. @return true when everything is stored. */
bool store__flush(struct store *s);
/** Ends the connections, then calls @cb and frees. What is not stored is sent after the next start.
 */
void store__close(struct store *s, void (*cb)(void *data), void *data);

/* One statement after another, for schema work; on a connection of its own. */
struct store_query;
/** Told each row as text cells (borrowed), then NULL cells and a status: 0, or an error in @e. */
typedef void (*store_row_cb)(void *data, const struct slice *cells, size_t n_cells, int status,
                             const struct err *e);
/** Runs @sql. @return 0, which promises the final call, or an error. @options->database may be "".
 */
int store__query(uv_loop_t *loop, const struct store_options *options, const char *sql,
                 store_row_cb cb, void *data, struct err *e);
/** A row's text cells, borrowed. */
typedef void (*store_ask_cb)(void *data, const struct slice *cells, size_t n_cells);
/** store__query that waits for the end, running @loop: for verbs. @cb may be NULL. A cell is cut at
 *  64 KiB. @return 0 or an error with @e filled. */
int store__ask(uv_loop_t *loop, const struct store_options *options, const char *sql,
               store_ask_cb cb, void *data, struct err *e);

/** Asks the (first) host of @options for the place of each of its tables (store_table_facts.place),
 *  "" for one that is not there. Blocks, running @loop. @return 0 or an error with @e filled. */
int store__places(uv_loop_t *loop, const struct store_options *options,
                  char out[STORE_TABLES_MAX][STORE_PLACE_MAX], struct err *e);

/** Compares two expressions as ClickHouse would print them: blanks, back quotes, outer parentheses
 *  and the two spellings of an interval (INTERVAL 14 DAY, toIntervalDay(14)) do not count. */
bool expression__same(const char *a, const char *b);
/** Reads a TTL of the form toDateTime(COLUMN) + INTERVAL N DAY. @return false for any other. */
bool expression__ttl(const char *ttl, char *column, size_t size, uint32_t *days);

#endif
