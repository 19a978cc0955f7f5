/* The loop, signals and the way down. Stopping: pollers end their requests, what is synced is
 * decoded, the store sends what ClickHouse takes in time, a last checkpoint is written, clients are
 * told, the spool writes STOP. A second signal ends at once; the log makes that safe. */
#include "../cli/verbs.h"
#include "app.h"
#include "reload.h"
#include "souk/core/log.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECKPOINT_EVERY_MS 5000
#define DECODE_PATIENCE_NS (3 * NS_PER_S)
#define STORE_PATIENCE_NS (6 * NS_PER_S) /* Both together: below 10 s, behind a login's 5 s. */
#define START_LOOK_MS 10
#define START_PATIENCE_NS (NS_PER_S / 2)
#define LAG_WARN_NS (5 * NS_PER_MS)

size_t app__n_streams(const struct app *a) { return a->n_streams + backfill__n(a); }

struct app_stream *app__stream_at(struct app *a, size_t i) {
    return i < a->n_streams ? &a->streams[i] : backfill__stream(a, i - a->n_streams);
}

/* A stream's key in the map: its source and its own, with a byte between them that is in neither.
 * Longer ones than any stream can have are cut, and found to be nobody's. */
static struct slice index_key(struct slice source, struct slice key, char out[256]) {
    int n = snprintf(out, 256, "%.*s\x1f%.*s", SLICE_FMT(source), SLICE_FMT(key));
    return slice__of(out, n < 256 ? (size_t)n : 255);
}

int app__index_streams(struct app *a) {
    char text[256];
    int code = map__init(&a->by_key, (size_t)APP_SOURCES_MAX * STREAMS_MAX);
    for (size_t i = 0; i < a->n_streams && code == 0; i++) {
        struct app_stream *s = &a->streams[i];
        code = map__put(&a->by_key,
                        index_key(slice__str(s->type->name), slice__str(s->spec.key), text), s);
    }
    return code;
}

struct app_stream *app__stream(struct app *a, struct slice source, struct slice key) {
    char text[256];
    struct app_stream *found = map__get(&a->by_key, index_key(source, key, text));
    if (found != NULL) return found;
    for (size_t i = 0; i < backfill__n(a); i++) {
        struct app_stream *s = backfill__stream(a, i);
        if (slice__eq(slice__str(s->type->name), source) && slice__eq(slice__str(s->spec.key), key))
            return s;
    }
    return NULL;
}

static void count_rows(struct app *a, const struct request_facts *facts, uint64_t lsn,
                       const struct rows *rows) {
    struct app_stream *s = app__stream(a, facts->source, facts->stream);
    if (s == NULL) return;
    quality__count(&a->quality, s->type->name, rows);
    s->rows += rows__count_data(rows);
    backfill__count(a, s, facts, lsn, rows);
}

void app__take_rows(struct app *a, unsigned feed, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                    const struct request_facts *facts, struct rows *rows) {
    int64_t since_ns = clock__stopwatch_ns();
    if (facts != NULL) count_rows(a, facts, lsn, rows);
    int status = store__rows(a->store, feed, lsn, next_lsn, wall_ns, rows);
    a->work_ns[WORK_ROWS] += clock__stopwatch_ns() - since_ns;
    if (status == 0) return;
    /* Going on would skip rows: the log has them, so the next start begins here. */
    LOG_ERROR("cli", "rows cannot be kept in memory; ending", LOG_S("err", err__text(status)));
    _exit(1);
}

/* The way down, one step after another. */

static void finish(struct app *a) {
    a->stopped = true;
    uv_stop(&a->loop);
}

static void on_spool_closed(void *data) {
    struct app *a = data;
    a->spool = NULL;
    alerts__free(a->alerts);
    a->alerts = NULL;
    throttle__free(a->throttle);
    a->throttle = NULL;
    throttler__free(a->throttler);
    a->throttler = NULL;
    finish(a);
}

static void close_spool(void *data) {
    struct app *a = data;
    if (--a->n_to_close > 0) return;
    spool__close(a->spool, on_spool_closed, a);
}

static void on_store_closed(void *data) {
    struct app *a = data;
    a->store = NULL;
    a->n_to_close = 3;
    throttle__stop(a->throttle);
    hub__close(a->hub, close_spool, a);
    http__close(a->http, close_spool, a);
    governor__close(a->governor, close_spool, a);
    a->hub = NULL;
    a->http = NULL;
    a->governor = NULL;
}

/* After the decoders, whose jobs in flight still hand their rows to the store. */
static void on_tape_closed(void *data) {
    struct app *a = data;
    store__close(a->store, on_store_closed, a);
}

static void on_lanes_closed(void *data) { tape_lane__close(data, on_tape_closed); }

/* First what is synced is decoded, then what is decoded is stored, each as far as time allows; the
 * last checkpoint comes while the store still knows its low-water mark. */
static void on_deadline(uv_timer_t *timer) {
    struct app *a = timer->data;
    int64_t now_ns = a->clock.mono_ns;
    lanes__wake(a);
    tape_lane__wake(a);
    /* What is not synced yet, such as the last status rows, is for nobody to decode. */
    struct spool_status log;
    spool__status(a->spool, &log);
    bool busy =
        lanes__busy(a) || tape_lane__busy(a) || (log.synced_lsn < log.end_lsn && !log.failed);
    if (busy && now_ns < a->stop_at_mono_ns) return;
    struct store_status store;
    store__status(a->store, &store);
    /* Nobody is there to take it: the log keeps it for the next start. */
    bool may_wait = store.answers && now_ns < a->stop_at_mono_ns + STORE_PATIENCE_NS;
    bool stored = store__flush(a->store);
    store__status(a->store, &store);
    if (!stored && may_wait && store.n_sealed > store.n_held) return;
    if (tape_lane__stop(a)) return;
    uv_timer_stop(timer);
    app__checkpoint(a); /* Reads the cursors of the closed pollers. */
    for (size_t i = 0; i < app__n_streams(a); i++) {
        struct app_stream *s = app__stream_at(a, i);
        poller__free(s->poller);
        s->poller = NULL;
    }
    a->closing = true;
    app__stop_watching(a);
    uv_timer_stop(&a->second);
    lanes__close(a, on_lanes_closed);
}

void app__poller_closed(void *app) {
    struct app *a = app;
    if (--a->n_to_close > 0) return;
    ops__last(a, "stopped");
    a->stop_at_mono_ns = a->clock.mono_ns + DECODE_PATIENCE_NS;
    uv_timer_start(&a->deadline, on_deadline, 0, 20);
}

/* A poller that waits for a sync, a last checkpoint and STOP have no deadline of their own: none is
 * needed while the disk takes anything at all. What was synced is kept, as it is by a kill. */
static void on_patience(uv_timer_t *timer) {
    struct app *a = timer->data;
    struct spool_status log = {0};
    if (a->spool != NULL) spool__status(a->spool, &log);
    if (log.unsynced_ns < APP_SYNC_PATIENCE_NS ||
        a->clock.mono_ns - a->drain_mono_ns < APP_SYNC_PATIENCE_NS)
        return;
    LOG_ERROR("cli", "the disk takes nothing; ending without a last checkpoint",
              LOG_F("seconds", (double)log.unsynced_ns / (double)NS_PER_S),
              LOG_I("exit_code", EXIT_IO));
    _exit(EXIT_IO);
}

void app__drain(struct app *a) {
    if (a->draining) {
        LOG_WARN("cli", "ends at once; the log keeps what was not sent");
        _exit(1);
    }
    LOG_INFO("cli", "draining");
    a->draining = true;
    a->drain_mono_ns = a->clock.mono_ns;
    uv_timer_start(&a->patience, on_patience, 500, 500);
    uv_timer_stop(
        &a->deadline); /* That of --for, which would end the way down as a second signal does. */
    a->n_to_close = 1;
    for (size_t i = 0; i < app__n_streams(a); i++) {
        struct app_stream *s = app__stream_at(a, i);
        if (s->poller == NULL) continue;
        a->n_to_close++;
        if (!s->closing) poller__close(s->poller, app__poller_closed, a);
    }
    app__poller_closed(a);
}

static void report_state(struct app *a) {
    struct buf out = buf__init(1 << 20);
    app__status_json(a, &out);
    fprintf(stderr, "%.*s\n", SLICE_FMT(buf__slice(&out)));
    buf__fini(&out);
}

static void on_signal(uv_signal_t *signal, int signum) {
    struct app *a = signal->data;
    switch (signum) {
    case SIGTERM:
    case SIGINT: app__drain(a); return;
    case SIGQUIT: _exit(0);
    case SIGUSR1:
    case SIGUSR2: report_state(a); return;
    case SIGHUP: reload__begin(a); return;
    }
}

static void on_second(uv_timer_t *timer) {
    struct app *a = timer->data;
    int64_t since_ns = clock__stopwatch_ns();
    app__second(a);
    a->work_ns[WORK_SECOND] += clock__stopwatch_ns() - since_ns;
}
static void on_checkpoint(uv_timer_t *timer) {
    struct app *a = timer->data;
    int64_t since_ns = clock__stopwatch_ns();
    if (!a->draining) app__checkpoint(a);
    a->work_ns[WORK_CHECKPOINT] += clock__stopwatch_ns() - since_ns;
}
static void on_for(uv_timer_t *timer) {
    uv_timer_stop(timer);
    app__drain(timer->data);
}

static int64_t thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

const char *const app_work_names[WORK__N] = {"rows", "second", "checkpoint", "status", "other"};

/* Says what a turn was spent on, and which of it was longest when it was too long. Much less
 * @cpu_ns than @took_ns: others had the processor. */
static void measure_turn(struct app *a, int64_t took_ns, int64_t cpu_ns) {
    size_t longest = WORK_OTHER;
    a->work_ns[WORK_OTHER] = took_ns;
    for (size_t i = 0; i < WORK_OTHER; i++) a->work_ns[WORK_OTHER] -= a->work_ns[i];
    for (size_t i = 0; i < WORK__N; i++) {
        if (a->work_ns[i] > a->work_ns[longest]) longest = i;
        if (a->work_ns[i] > 0)
            series__observe(a->m.work[i], (double)a->work_ns[i] / (double)NS_PER_S);
    }
    series__inc(a->m.iterations);
    series__observe(a->m.loop_lag, (double)took_ns / (double)NS_PER_S);
    if ((double)took_ns > a->lag_max_ns) a->lag_max_ns = (double)took_ns;
    if (took_ns > LAG_WARN_NS)
        LOG_WARN("cli", "a turn of the loop took long",
                 LOG_F("ms", (double)took_ns / (double)NS_PER_MS),
                 LOG_F("cpu_ms", (double)cpu_ns / (double)NS_PER_MS),
                 LOG_S("mostly", app_work_names[longest]),
                 LOG_F("mostly_ms", (double)a->work_ns[longest] / (double)NS_PER_MS));
    memset(a->work_ns, 0, sizeof a->work_ns);
}

/* One turn: wait, read the clock, run what is due. The backend is waited for here, outside of
 * uv_run, so that every callback of a turn sees the time at which the turn began. So the sleep
 * comes before timers, idle and prepare handles: a room that leaves work to one of these has an
 * idle handle or a timer of 0 run meanwhile, or it would wait for whatever wakes the loop next. */
static void run_turn(struct app *a) {
    struct pollfd fd = {.fd = uv_backend_fd(&a->loop), .events = POLLIN};
    poll(&fd, 1, uv_backend_timeout(&a->loop));
    wall__read(&a->wall);
    int64_t cpu_ns = thread_cpu_ns();
    uv_run(&a->loop, UV_RUN_NOWAIT);
    measure_turn(a, clock__stopwatch_ns() - a->clock.mono_ns, thread_cpu_ns() - cpu_ns);
}

/* Nothing can be made safe any more: every page would be fetched in vain, every alert and every
 * acknowledgement forgotten. What was synced is on disk, and a new process starts from there. */
static void end_at_once(void) {
    LOG_ERROR("cli", "the spool failed to write twice in a row; ending",
              LOG_I("exit_code", EXIT_IO),
              LOG_S("hint", "what was synced is kept; check the disk, then start souk again"));
    _exit(EXIT_IO);
}

/* The first page carries a time, too: ClickHouse is given a moment to say what it is. A source's
 * own first answer is the other witness. */
static void on_start(uv_timer_t *timer) {
    struct app *a = timer->data;
    bool waited = a->clock.mono_ns - a->run_mono_ns >= START_PATIENCE_NS;
    if (!a->draining && a->wall.n_witnesses == 0 && !waited) return;
    uv_timer_stop(timer);
    for (size_t i = 0; i < a->n_streams && !a->draining; i++) poller__start(a->streams[i].poller);
}

int app__run(struct app *a, int64_t for_ns) {
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
    signal(SIGPIPE, SIG_IGN);
    a->run_mono_ns = a->clock.mono_ns;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        uv_signal_init(&a->loop, &a->signals[i]);
        a->signals[i].data = a;
        uv_signal_start(&a->signals[i], on_signal, signals[i]);
        uv_unref((uv_handle_t *)&a->signals[i]);
    }
    uv_timer_start(&a->second, on_second, 1000, 1000);
    uv_timer_start(&a->checkpoint, on_checkpoint, CHECKPOINT_EVERY_MS, CHECKPOINT_EVERY_MS);
    if (for_ns > 0) uv_timer_start(&a->deadline, on_for, (uint64_t)(for_ns / NS_PER_MS), 0);
    uv_timer_start(&a->begin, on_start, 0, START_LOOK_MS);
    lanes__wake(a);
    log__use_clock(&a->clock); /* Its lines say the time that rows do. */
    while (!a->stopped) {
        run_turn(a);
        if (a->spool != NULL && spool__has_failed(a->spool)) end_at_once();
    }
    LOG_INFO("cli", "stopped",
             LOG_F("seconds", (double)(a->clock.mono_ns - a->started_mono_ns) / (double)NS_PER_S));
    log__use_clock(NULL);
    return 0;
}

static void close_handle(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

void app__free(struct app *a) {
    uv_walk(&a->loop, close_handle, NULL); /* Our own timers and signals; the rooms' are gone. */
    uv_run(&a->loop, UV_RUN_DEFAULT);
    uv_loop_close(&a->loop);
    guard__free(a->guard);
    metrics__fini(&a->metrics);
    ops__free(a);
    backfill__free(a);
    reload__free(a);
    login__free(a);
    absent__fini(&a->absent);
    map__fini(&a->by_key);
    free(a->streams);
    free(a->followed);
    free(a);
}
