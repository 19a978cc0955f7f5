/* Once a second: rates, history, what the guard sees, and the gauges that nobody pushes. */
#include "app.h"
#include "souk/core/log.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>

#define REFUSALS_TOLD 3 /* In a row: once or twice may be a blunder of the upstream's. */

static double seconds(int64_t ns) { return (double)ns / (double)NS_PER_S; }

static int64_t cpu_ns(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
           ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * NS_PER_US;
}

static void measure_cpu(struct app *a) {
    int64_t cpu = cpu_ns(), at = a->clock.mono_ns;
    if (a->cpu_at_ns != 0 && at > a->cpu_at_ns) {
        double now = (double)(cpu - a->cpu_before_ns) / (double)(at - a->cpu_at_ns);
        a->cpu_ratio = a->cpu_ratio * 0.9 + now * 0.1; /* About the last ten seconds. */
    }
    a->cpu_before_ns = cpu;
    a->cpu_at_ns = at;
}

/* How much a sum over streams grew in a step. It shrinks when a backfill has ended. */
static double growth(uint64_t now, uint64_t before) {
    return now > before ? (double)(now - before) / HISTORY_STEP_S : 0;
}

static void add_history(struct app *a, uint64_t rows, uint64_t pages) {
    if (a->n_history == HISTORY_STEPS) {
        memmove(a->rows_history, a->rows_history + 1,
                sizeof *a->rows_history * (HISTORY_STEPS - 1));
        memmove(a->pages_history, a->pages_history + 1,
                sizeof *a->pages_history * (HISTORY_STEPS - 1));
        a->n_history--;
    }
    a->rows_history[a->n_history] = growth(rows, a->history_rows);
    a->pages_history[a->n_history++] = growth(pages, a->history_pages);
    a->history_rows = rows;
    a->history_pages = pages;
}

static void measure_rates(struct app *a) {
    uint64_t rows = 0, pages = 0;
    for (size_t i = 0; i < app__n_streams(a); i++) {
        struct app_stream *s = app__stream_at(a, i);
        s->rows_per_s = s->rows_per_s * 0.8 + (double)(s->rows - s->rows_before) * 0.2;
        s->rows_before = s->rows;
        rows += s->rows;
        if (s->poller == NULL) continue;
        struct poller_status p;
        poller__status(s->poller, &p);
        pages += p.counts.fresh;
    }
    if ((a->clock.mono_ns / NS_PER_S) % HISTORY_STEP_S == 0) add_history(a, rows, pages);
}

/* A time of the monotonic clock that has not gone by yet; 0 for never. */
static int64_t again_ms(const struct app *a, int64_t mono_ns) {
    int64_t wait_ns = mono_ns - a->clock.mono_ns;
    if (mono_ns == INT64_MAX) return 0;
    return (a->clock.wall_ns + (wait_ns > 0 ? wait_ns : 0)) / NS_PER_MS;
}

/* A page that is larger than is taken, and the way on. */
static void judge_oversized(const struct app *a, const struct app_stream *s,
                            const struct poller_status *p, char text[ERR_MSG_MAX],
                            char say[ERR_MSG_MAX], struct guard_source *out) {
    bool cursor = s->type->cursor != NULL;
    snprintf(text, ERR_MSG_MAX, "the answer at %.90s is larger than limits.body_mib (%d) allows",
             p->state->cursor[0] == '\0' ? s->spec.path : p->state->cursor,
             (int)a->settings->config->limits.body_mib);
    int n = snprintf(say, ERR_MSG_MAX, "Raise it (%d at most) and start souk again",
                     CONFIG_BODY_MIB_MAX);
    snprintf(say + n, ERR_MSG_MAX - (size_t)n,
             cursor ? ", or leave the page out: souk cursor set %.20s %.40s CURSOR --reason TEXT."
                    : ", or do not ask for %.20s %.40s.",
             s->type->name, s->spec.key);
    out->disabled_reason = text;
    out->advice = say;
    out->again_ms = again_ms(a, p->next_mono_ns);
}

/* What switches a stream off beside its endpoint: no token that is taken, or it rests because what
 * it asks for is refused. */
static void judge_stream(const struct app *a, const struct app_stream *s,
                         const struct poller_status *p, char text[ERR_MSG_MAX],
                         char advice[ERR_MSG_MAX], struct guard_source *out) {
    out->disabled_reason = app__why_disabled(s);
    if (out->disabled_reason[0] != '\0') {
        out->again_ms = again_ms(a, p->next_mono_ns);
    } else if (p->tokenless) {
        snprintf(text, ERR_MSG_MAX, "%s", p->last_error);
        out->disabled_reason = text;
        out->again_ms = again_ms(a, app__token_again_ns(a, p));
    } else if (p->n_oversized > 0) {
        judge_oversized(a, s, p, text, advice, out);
    } else if (p->n_refusals >= REFUSALS_TOLD) {
        snprintf(text, ERR_MSG_MAX, "what it asks for is refused: HTTP %u, %u times in a row",
                 p->refused_http, p->n_refusals);
        out->disabled_reason = text;
        out->again_ms = again_ms(a, p->next_mono_ns);
    }
}

/* Disabled or blocked, as the governor says of the stream's endpoint. */
static void judge_endpoint(struct app *a, const char *name, struct guard_source *out) {
    static char reasons[APP_ENDPOINTS_MAX][128];
    for (size_t i = 0; i < governor__n_endpoints(a->governor) && i < APP_ENDPOINTS_MAX; i++) {
        struct endpoint_status ep;
        governor__status(a->governor, i, &ep);
        if (strcmp(ep.name, name) != 0) continue;
        bool waits = ep.next_mono_ns != INT64_MAX && ep.next_mono_ns > a->clock.mono_ns;
        out->throttled = ep.state == ENDPOINT_PENALTY;
        if (waits)
            out->blocked_until_ms =
                (a->clock.wall_ns + ep.next_mono_ns - a->clock.mono_ns) / NS_PER_MS;
        snprintf(reasons[i], sizeof reasons[i], "%s", ep.reason);
        if (ep.state == ENDPOINT_DISABLED || ep.unproven) {
            out->disabled_reason = reasons[i];
            out->again_ms = again_ms(a, ep.state == ENDPOINT_DISABLED ? ep.next_mono_ns : 0);
            /* Also one that its upstream does not give: off is more than that. */
            out->enabled |= out->unavailable && out->again_ms == 0;
        } else if (ep.state == ENDPOINT_KILLED || ep.paused) out->halted = reasons[i];
        return;
    }
}

/* Rows a second over the last ten seconds or so. */
static double recent_rate(const struct app *a) {
    size_t n = a->n_history < 5 ? a->n_history : 5;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a->rows_history[a->n_history - 1 - i];
    return sum / (double)n;
}

/* Not to be asked for freshness: what somebody has frozen or waits to be asked for, or was never
 * granted a token. The status says why. What should bring rows and is kept from it is no such. */
static bool rests(const struct poller_status *p) {
    bool quiet = p->quiet && !p->tokenless;
    bool sleeps = p->doing == POLL_IDLE && p->next_mono_ns == INT64_MAX && !p->refused && !p->quiet;
    return p->held || quiet || p->done || sleeps;
}

static void run_guard(struct app *a) {
    static struct guard_source sources[GUARD_SOURCES_MAX];
    static char why[GUARD_SOURCES_MAX][ERR_MSG_MAX], off[GUARD_SOURCES_MAX][ERR_MSG_MAX];
    static char advice[GUARD_SOURCES_MAX][ERR_MSG_MAX];
    size_t n = 0;
    for (size_t i = 0; i < a->n_streams && n < GUARD_SOURCES_MAX; i++) {
        const struct app_stream *s = &a->streams[i];
        if (s->poller == NULL) continue;
        struct poller_status p;
        poller__status(s->poller, &p);
        const struct source_setup *c = settings__source(a->settings, p.source);
        snprintf(why[n], sizeof why[n], "%s", p.last_error);
        sources[n] = (struct guard_source){
            .name = p.source,
            .stream = s->spec.key,
            /* What is not granted is no failure, and nobody waits for it. */
            .enabled = !rests(&p) && !(c->settings.use_oauth && p.state->unavailable),
            /* What was fetched in an earlier run says nothing about this one's health. */
            .last_success_mono_ns = p.last_success_mono_ns,
            .last_success_ms =
                (p.last_success_mono_ns != 0 ? p.last_success_wall_ns : 0) / NS_PER_MS,
            .last_new_ms = p.last_new_wall_ns / NS_PER_MS,
            .last_advance_ms = p.last_advance_wall_ns / NS_PER_MS,
            .amber_s = s->amber_s,
            .red_s = s->red_s,
            .caught_up = p.state->caught_up,
            .rewound = p.frozen,
            .unavailable = p.state->unavailable,
            .instead = s->type->instead,
            .why = why[n]};
        judge_stream(a, s, &p, off[n], advice[n], &sources[n]);
        judge_endpoint(a, p.endpoint, &sources[n++]);
    }
    struct store_status store;
    store__status(a->store, &store);
    struct spool_status spool;
    spool__status(a->spool, &spool);
    double rate = a->n_history > 0 ? recent_rate(a) : -1;
    struct wall_status wall;
    wall__status(&a->wall, &wall);
    struct guard_facts facts = {.started_mono_ns = a->started_mono_ns,
                                .clock = {.skew_s = (double)wall.skew_ns / (double)NS_PER_S,
                                          .corrected = wall.mode != WALL_SYSTEM,
                                          .disputed = wall.disputed,
                                          .venue = wall.farthest},
                                .sources = sources,
                                .n_sources = n,
                                .store = {.connected = store.connected,
                                          .since_mono_ns = store.since_mono_ns,
                                          .text = store_state__text(store.state),
                                          .since_ms = store.since_wall_ns / NS_PER_MS,
                                          .n_mistimed = store.n_mistimed,
                                          .mistimed = store.mistimed,
                                          .last_error = store.last_error,
                                          .rows_per_s = rate},
                                .spool = {.bytes = spool.bytes,
                                          .quota_bytes = spool.quota_bytes,
                                          .full = spool.full,
                                          .failed = spool.failed}};
    guard__evaluate(a->guard, &facts);
}

void app__second(struct app *a) {
    measure_cpu(a);
    measure_rates(a);
    app__measure_lag(a);
    run_guard(a);
    alerts__tick(a->alerts);
    throttle__tick(a->throttle);
    backfill__second(a);
    if (!a->closing) {
        lanes__second(a);
        tape_lane__second(a);
        ops__second(a);
    }
    a->lag_max_ns *= 0.8; /* What status shows fades; the histogram keeps all. */
}

static double count_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    double n = 0;
    if (dir == NULL) return 0;
    while (readdir(dir) != NULL) n++;
    closedir(dir);
    return n - 3; /* ".", ".." and the directory itself. */
}

void app__before_scrape(void *ctx) {
    struct app *a = ctx;
    size_t rss = 0;
    uv_resident_set_memory(&rss);
    if (!a->closing) governor__measure(a->governor);
    app__measure_scopes(a);
    series__set(a->m.absent, (double)a->absent.n);
    series__set(a->m.rss, (double)rss);
    series__set(a->m.cpu, seconds(cpu_ns()));
    series__set(a->m.fds, count_fds());
    series__set(a->m.ready, a->recovered && !a->draining);
    series__set(a->m.state[0], !a->recovered);
    series__set(a->m.state[1], a->recovered && !a->draining && guard__level(a->guard) != GUARD_RED);
    series__set(a->m.state[2], a->draining);
    series__set(a->m.state[3], a->recovered && !a->draining && guard__level(a->guard) == GUARD_RED);
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++)
        series__set(a->m.log[level], (double)log__count((enum log_level)level));
}
