/* The running process: which rooms there are and how they are joined. */
#ifndef SOUK_CLI_APP_H
#define SOUK_CLI_APP_H

#include "../pipeline/lanes.h"
#include "../pipeline/tape_lane.h"
#include "../streams/absent.h"
#include "../streams/backfill.h"
#include "../streams/login.h"
#include "../throttle/throttle.h"
#include "../throttle/throttler_client.h"
#include "ops.h"
#include "rota.h"
#include "settings.h"
#include "souk/alerts.h"
#include "souk/core/map.h"
#include "souk/core/wall.h"
#include "souk/decoder.h"
#include "souk/governor.h"
#include "souk/guard.h"
#include "souk/hub.h"
#include "souk/lag.h"
#include "souk/poller.h"
#include "souk/quality.h"
#include "souk/spool.h"
#include "souk/store.h"
#include "souk/tables.h"
#include <uv.h>

#define APP_SYNC_PATIENCE_NS (8 * NS_PER_S) /* For a disk that takes nothing. */
#define HISTORY_STEPS 150
#define HISTORY_STEP_S 2

/* What a turn of the loop is spent on, as far as it is ours to say; the rest is network and
 * clients. */
enum app_work { WORK_ROWS, WORK_SECOND, WORK_CHECKPOINT, WORK_STATUS, WORK_OTHER, WORK__N };

/* One stream of an enabled source. */
struct app_stream {
    struct app *app;
    struct stream_spec spec;
    const struct source_type *type;
    struct poller *poller; /* NULL once closed. */
    double amber_s, red_s;
    uint64_t rows; /* Decoded since the start. */
    double rows_per_s;
    uint64_t rows_before;
    /* Of a stream of the source oauth: the token that an upstream refused, by its hash, and when
     * another was asked for because of that. */
    char refused_token[TABLES_HASH_SIZE];
    int64_t renewed_mono_ns;
    struct lag lag; /* psapi: in changes. */
    bool closing;   /* Its poller ends by itself, and tells app__poller_closed while draining. */
    size_t source;  /* Which of app.sources it is of. */
    /* What was seen of it at the last look; see watch.c. */
    struct {
        uint64_t revision; /* Of its poller. */
        size_t endpoint;   /* Which of the governor's; none: APP_ENDPOINTS_MAX. */
        uint32_t endpoint_mark;
        int64_t due_mono_ns;      /* It is looked at then, although nothing has changed. */
        int64_t answered_mono_ns; /* Since when it is silent; see app__silence_ns. */
        uint64_t n_fresh;         /* Pages with something new. */
    } seen;
    struct ops_told told; /* Ops's own. */
};

/* What the governor last said of an endpoint, as far as its streams are judged by it. */
struct app_endpoint {
    const char *name;
    bool throttled, off, halted, awaits;
    int64_t blocked_until_ms, again_ms;
    char reason[128];
    uint32_t mark; /* Changes when one of the three does, or whether it goes on by itself. */
};

/* A source of the configuration. */
struct app_source {
    const struct source_type *type;
    const char *off_reason; /* Enabled in the configuration, yet it cannot run: why, and what to do.
                               Else NULL. */
};

#define APP_SOURCES_MAX 16
#define APP_ENDPOINTS_MAX 64
#define APP_RENEW_NS (300 * NS_PER_S) /* Between two tokens because of 401. */

struct app {
    struct settings *settings; /* Borrowed; reload changes what may change while it runs. */
    uv_loop_t loop;
    struct clock clock;
    struct wall wall; /* Sets the clock. */
    struct metrics metrics;
    struct spool *spool;
    struct governor *governor;
    struct throttle *throttle;
    struct throttler *throttler; /* NULL: nobody else is asked. */
    struct http *http;
    struct store *store;
    struct lanes lanes;
    struct tape_lane tape;
    struct alerts *alerts;
    struct guard *guard;
    struct quality quality;
    struct hub *hub;
    struct ops *ops;
    struct backfills *backfills;
    struct reload *reload;
    struct login *login;
    struct app_source sources[APP_SOURCES_MAX];
    size_t n_sources;
    struct app_stream *streams; /* Owned. */
    size_t n_streams;
    struct map by_key; /* Streams, for app__stream. */
    struct rota rota;  /* Looks at streams. */
    uv_idle_t looking; /* Keeps the loop turning while a round runs. */
    struct app_endpoint watched[APP_ENDPOINTS_MAX];
    struct {
        char name[64];
        struct endpoint *endpoint;
    } endpoints[APP_ENDPOINTS_MAX];
    size_t n_endpoints;
    struct absent_streams absent; /* Owned. */
    char *followed;               /* Owned: followed leagues, a line each. */
    uv_timer_t second, checkpoint, deadline, begin;
    uv_timer_t patience; /* On the way down: looks whether the disk still takes anything. */
    uv_signal_t signals[6];
    int64_t started_wall_ns, started_mono_ns, run_mono_ns, stop_at_mono_ns, drain_mono_ns;
    bool recovered, draining, stopped;
    bool closing; /* Rooms are going away: nobody asks them any more. */
    int n_to_close;
    /* At the last checkpoint: the end of the log, what is stored, and the tape's mark. */
    uint64_t checkpointed_end, checkpointed_low_water, checkpointed_tape;
    double rows_history[HISTORY_STEPS], pages_history[HISTORY_STEPS];
    size_t n_history;
    uint64_t history_rows, history_pages;
    /* Rows a second that ClickHouse has acknowledged lately: by table as in store_status, and of
     * all that are said to be stored. Negative: not measured yet. */
    struct {
        uint64_t rows_before;
        double rows_per_s;
    } stored[STORE_TABLES_MAX];
    double stored_per_s;
    int64_t work_ns[WORK__N]; /* Of this turn. */
    double cpu_ratio, lag_max_ns;
    int64_t cpu_before_ns, cpu_at_ns;
    struct {
        struct series *work[WORK__N];
        struct series *cursor_lag_s[APP_SOURCES_MAX], *cursor_lag_changes;
        struct series *loop_lag, *iterations, *ready, *cpu, *rss, *fds, *start, *absent;
        struct series *log[4];
        struct series *state[4];
    } m;
};

/** What the store is told of @config. */
void app__store_options(const struct config *c, struct store_options *out);
/** @return the followed leagues of @config, a line each; to be freed. NULL without memory. */
char *app__followed(const struct config *c);
/** Finds the leagues that were followed at a checkpoint's low-water mark. @out is borrowed from
 *  @payload. @return false for a checkpoint of another version. */
bool app__checkpoint_followed(struct slice payload, struct slice *out);
/** Where a stream stands, as a checkpoint's @payload says it: told for every stream, then again,
 *  with no cursor and @hold, for those that are frozen by hand. Slices are borrowed.
 *  @return false for a checkpoint of another version. */
bool app__checkpoint_each(struct slice payload,
                          void (*each)(void *ctx, struct slice source, struct slice key,
                                       const struct slice *cursor, struct slice hold),
                          void *ctx);
/** Opens all rooms in order, printing each stage with its time to the log. @return 0 or an error,
 *  after which the process has to end: what was opened stays so. */
int app__open(struct app *a, struct settings *settings, struct err *e);
/** Reads the log from the low-water mark: cursors, seals, alerts. Part of app__open. */
int app__recover(struct app *a, struct err *e);
/** What a poller needs of the rooms. */
void app__poller_deps(struct app *a, struct poller_deps *out);
/** A poller is closed while draining. */
void app__poller_closed(void *app);
/** Begins the way down, as a signal does. */
void app__drain(struct app *a);
/** Appends a checkpoint when something has changed since the last one. */
void app__checkpoint(struct app *a);
/** Runs until a signal, the end of --for, or a failure. @return the exit code. */
int app__run(struct app *a, int64_t for_ns);
/** Frees @a after app__run, so that what a sanitizer then finds is a leak. */
void app__free(struct app *a);
/** The object of /api/v1/status. */
void app__status_json(void *ctx, struct buf *out);
/** Brings gauges that nobody pushes up to date. */
void app__before_scrape(void *ctx);
/** Once a second: rates, history, guard, alerts, batches. */
void app__second(struct app *a);
/** @return how long ago the stream of @p had its last good answer, of an earlier run where this one
 *  has had none; since the start where there was never one. */
int64_t app__silence_ns(const struct app *a, const struct poller_status *p);
/** Begins a round of looks at the streams: guard, rows about them. It ends some turns later, with
 *  what is said of all of them together. Once a second. */
void app__watch(struct app *a);
/** No round goes on: pollers are going away. */
void app__stop_watching(struct app *a);
/** Measures how far the streams are behind their heads, at the end of a round. */
void app__measure_lag(struct app *a);
/** Label values of enum app_work. */
extern const char *const app_work_names[WORK__N];
/** Rows that a lane decoded, for the store's @feed. */
void app__take_rows(struct app *a, unsigned feed, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                    const struct request_facts *facts, struct rows *rows);
/** What pollers ask for tokens; see poller_deps. */
int app__bearer(void *ctx, const char *source, const char *scope, char *out, size_t size,
                struct err *e);
void app__bearer_refused(void *ctx, const char *source, const char *scope, const char *token);
/** Brings souk_oauth_scope_granted{scope} up to date. */
void app__measure_scopes(struct app *a);
/** @return why somebody has to do something before @s, whose poller runs, goes on; "" for nothing.
 */
const char *app__why_disabled(const struct app_stream *s);
/** @return when another token is asked for, for a stream that is tokenless; INT64_MAX when not by
 *  itself. */
int64_t app__token_again_ns(const struct app *a, const struct poller_status *p);
/** @return how many streams there are, those that run for a time only included; and the one at @i,
 *  which may change once the loop runs. */
size_t app__n_streams(const struct app *a);
struct app_stream *app__stream_at(struct app *a, size_t i);
/** @return one word for where a stream stands; static. */
const char *app__stream_state(const struct poller_status *p);
/** Streams of the configuration are found by their keys from here on. @return 0 or ERR_NOMEM. */
int app__index_streams(struct app *a);
/** @return the stream of @source whose key is @key, or NULL. */
struct app_stream *app__stream(struct app *a, struct slice source, struct slice key);

#endif
