/* The running process: which rooms there are and how they are joined. */
#ifndef SOUK_CLI_APP_H
#define SOUK_CLI_APP_H

#include "lanes.h"
#include "settings.h"
#include "souk/alerts.h"
#include "souk/decoder.h"
#include "souk/governor.h"
#include "souk/guard.h"
#include "souk/hub.h"
#include "souk/poller.h"
#include "souk/quality.h"
#include "souk/spool.h"
#include "souk/store.h"
#include "tape_lane.h"
#include "throttle.h"
#include <uv.h>

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
};

/* A source of the configuration. */
struct app_source {
    const struct source_type *type;
    const char *off_reason; /* Enabled in the configuration, yet it cannot run: why, and what to do.
                               Else NULL. */
};

/* Where a stream stands that this run does not have: its source is switched off, or it has left the
 * configuration. It goes on there when it comes back. */
struct app_absent {
    char source[64], key[128];
    char cursor[CURSOR_MAX], etag[CURSOR_MAX];
};

#define APP_ABSENT_MAX 1024 /* More are dropped with a warning. */
#define APP_SOURCES_MAX 8
#define APP_ENDPOINTS_MAX 16

struct app {
    const struct settings *settings; /* Borrowed. */
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool *spool;
    struct governor *governor;
    struct throttle *throttle;
    struct http *http;
    struct store *store;
    struct lanes lanes;
    struct tape_lane tape;
    struct alerts *alerts;
    struct guard *guard;
    struct quality quality;
    struct hub *hub;
    struct app_source sources[APP_SOURCES_MAX];
    size_t n_sources;
    struct app_stream *streams; /* Owned. */
    size_t n_streams;
    struct {
        char name[64];
        struct endpoint *endpoint;
    } endpoints[APP_ENDPOINTS_MAX];
    size_t n_endpoints;
    struct app_absent *absent; /* Owned. */
    size_t n_absent;
    char *followed; /* Owned: followed leagues, a line each. */
    uv_timer_t second, checkpoint, deadline;
    uv_signal_t signals[5];
    int64_t started_wall_ns, started_mono_ns, stop_at_mono_ns;
    bool recovered, draining, stopped;
    bool closing; /* Rooms are going away: nobody asks them any more. */
    int n_to_close;
    uint64_t checkpointed_end; /* End of the log at the last checkpoint. */
    double rows_history[HISTORY_STEPS], pages_history[HISTORY_STEPS];
    size_t n_history;
    uint64_t history_rows, history_pages;
    int64_t work_ns[WORK__N]; /* Of this turn. */
    double cpu_ratio, lag_max_ns;
    int64_t cpu_before_ns, cpu_at_ns;
    struct {
        struct series *work[WORK__N];
        struct series *loop_lag, *iterations, *ready, *cpu, *rss, *fds, *start, *imbalance;
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
/** Opens all rooms in order, printing each stage with its time to the log. @return 0 or an error,
 *  after which the process has to end: what was opened stays so. */
int app__open(struct app *a, const struct settings *settings, struct err *e);
/** Reads the log from the low-water mark: cursors, seals, alerts. Part of app__open. */
int app__recover(struct app *a, struct err *e);
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
/** Label values of enum app_work. */
extern const char *const app_work_names[WORK__N];
/** Rows that a lane decoded, for the store's @feed. */
void app__take_rows(struct app *a, unsigned feed, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                    const struct request_facts *facts, struct rows *rows);
/** @return the stream of @source whose key is @key, or NULL. */
struct app_stream *app__stream(struct app *a, struct slice source, struct slice key);

#endif
