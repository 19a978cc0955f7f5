/* Looks at the streams. Each second a round begins over all of them, and visits those of which
 * something has changed since the last look (its poller's revision, what the governor says of its
 * endpoint), or for which it is time by itself: what a second costs follows from what happens in
 * it, not from how many streams there are. The round ends with what is said of all together. */
#include "app.h"
#include <stdio.h>

#define REFUSALS_TOLD 3 /* In a row: once or twice may be a blunder of the upstream's. */

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

/* Asks the governor of each endpoint once, however many streams it has. */
static void watch_endpoints(struct app *a) {
    for (size_t i = 0; i < governor__n_endpoints(a->governor) && i < APP_ENDPOINTS_MAX; i++) {
        struct app_endpoint *w = &a->watched[i], before = *w;
        struct endpoint_status ep;
        governor__status(a->governor, i, &ep);
        bool waits = ep.next_mono_ns != INT64_MAX && ep.next_mono_ns > a->clock.mono_ns;
        w->name = ep.name;
        w->throttled = ep.state == ENDPOINT_PENALTY;
        w->awaits = ep.next_mono_ns == INT64_MAX && ep.n_inflight > 0;
        w->blocked_until_ms =
            waits ? (a->clock.wall_ns + ep.next_mono_ns - a->clock.mono_ns) / NS_PER_MS : 0;
        w->off = ep.state == ENDPOINT_DISABLED || ep.unproven;
        w->again_ms = again_ms(a, ep.state == ENDPOINT_DISABLED ? ep.next_mono_ns : 0);
        w->halted = !w->off && (ep.state == ENDPOINT_KILLED || ep.paused);
        snprintf(w->reason, sizeof w->reason, "%s", ep.reason);
        w->mark += before.throttled != w->throttled || before.off != w->off ||
                   before.halted != w->halted || (before.again_ms == 0) != (w->again_ms == 0);
    }
}

static size_t find_endpoint(const struct app *a, const char *name) {
    size_t i = 0;
    while (i < APP_ENDPOINTS_MAX && a->watched[i].name != NULL &&
           strcmp(a->watched[i].name, name) != 0)
        i++;
    return i < APP_ENDPOINTS_MAX && a->watched[i].name == NULL ? APP_ENDPOINTS_MAX : i;
}

/* Disabled or blocked, as the governor says of the stream's endpoint. */
static void judge_endpoint(const struct app_endpoint *w, struct guard_source *out) {
    out->throttled = w->throttled;
    if (w->blocked_until_ms != 0) out->blocked_until_ms = w->blocked_until_ms;
    if (w->off) {
        out->disabled_reason = w->reason;
        out->again_ms = w->again_ms;
        /* Also one that its upstream does not give: off is more than that. */
        out->enabled |= out->unavailable && out->again_ms == 0;
    } else if (w->halted) out->halted = w->reason;
}

/* Not to be asked for freshness: what somebody has frozen or waits to be asked for, or was never
 * granted a token. The status says why. What should bring rows and is kept from it is no such. */
static bool rests(const struct poller_status *p) {
    bool quiet = p->quiet && !p->tokenless;
    bool sleeps = p->doing == POLL_IDLE && p->next_mono_ns == INT64_MAX && !p->refused && !p->quiet;
    return p->held || quiet || p->done || sleeps;
}

static int64_t judge(struct app *a, const struct app_stream *s, const struct poller_status *p) {
    const struct source_setup *c = settings__source(a->settings, p->source);
    char off[ERR_MSG_MAX], advice[ERR_MSG_MAX];
    struct guard_source source = {
        .name = p->source,
        .stream = s->spec.key,
        /* What is not granted is no failure, and nobody waits for it. */
        .enabled = (!rests(p) || (!p->held && app__why_disabled(s)[0] != '\0')) &&
                   !(c->settings.use_oauth && p->state->unavailable),
        .started_mono_ns = a->started_mono_ns,
        /* What was fetched in an earlier run says nothing about this one's health. */
        .last_success_mono_ns = p->last_success_mono_ns,
        .last_success_ms = (p->last_success_mono_ns != 0 ? p->last_success_wall_ns : 0) / NS_PER_MS,
        .last_new_ms = p->last_new_wall_ns / NS_PER_MS,
        .last_advance_ms = p->last_advance_wall_ns / NS_PER_MS,
        .amber_s = s->amber_s,
        .red_s = s->red_s,
        .caught_up = p->state->caught_up,
        .rewound = p->frozen,
        .unavailable = p->state->unavailable,
        .instead = s->type->instead,
        .why = p->last_error};
    judge_stream(a, s, p, off, advice, &source);
    if (s->seen.endpoint < APP_ENDPOINTS_MAX) {
        const struct app_endpoint *w = &a->watched[s->seen.endpoint];
        judge_endpoint(w, &source);
        /* While it queues, the request that it waits for is not its own. */
        if (w->awaits && !w->off && !w->halted && p->doing == POLL_ASK) source.awaits = w->reason;
    }
    return guard__judge(a->guard, &source);
}

static bool needs_look(void *ctx, size_t i) {
    struct app *a = ctx;
    const struct app_stream *s = app__stream_at(a, i);
    if (s->poller == NULL) return false;
    return poller__revision(s->poller) != s->seen.revision ||
           s->seen.due_mono_ns <= a->clock.mono_ns ||
           (s->seen.endpoint < APP_ENDPOINTS_MAX &&
            a->watched[s->seen.endpoint].mark != s->seen.endpoint_mark) ||
           (!a->draining && ops__is_due(a, s));
}

static void look(void *ctx, size_t i) {
    struct app *a = ctx;
    struct app_stream *s = app__stream_at(a, i);
    struct poller_status p;
    poller__status(s->poller, &p);
    s->seen.revision = poller__revision(s->poller);
    s->seen.endpoint = find_endpoint(a, p.endpoint);
    if (s->seen.endpoint < APP_ENDPOINTS_MAX)
        s->seen.endpoint_mark = a->watched[s->seen.endpoint].mark;
    s->seen.answered_mono_ns = a->clock.mono_ns - app__silence_ns(a, &p);
    s->seen.n_fresh = p.counts.fresh;
    /* Backfills are nobody's freshness. */
    s->seen.due_mono_ns = i < a->n_streams ? judge(a, s, &p) : INT64_MAX;
    if (!a->draining) ops__look(a, s, &p);
}

static void judge_rest(struct app *a) {
    struct store_status store;
    store__status(a->store, &store);
    struct spool_status spool;
    spool__status(a->spool, &spool);
    struct wall_status wall;
    wall__status(&a->wall, &wall);
    struct guard_facts facts = {
        .clock = {.skew_s = (double)wall.skew_ns / (double)NS_PER_S,
                  .corrected = wall.mode != WALL_SYSTEM,
                  .disputed = wall.disputed,
                  .venue = wall.farthest},
        .store = {.connected = store.connected,
                  .since_mono_ns = store.since_mono_ns,
                  .text = store_state__text(store.state),
                  .since_ms = store.since_wall_ns / NS_PER_MS,
                  .n_mistimed = store.n_mistimed,
                  .mistimed = store.mistimed,
                  .last_error = store.last_error,
                  .rows_per_s = a->stored_per_s,
                  .unbalanced_rows = lanes__measure_balance(a)},
        .spool = {.bytes = spool.bytes,
                  .quota_bytes = spool.quota_bytes,
                  .full = spool.full,
                  .failed = spool.failed,
                  .unsynced_s = (double)spool.unsynced_ns / (double)NS_PER_S,
                  .damaged_bytes = spool.corrupt_bytes,
                  .n_missing = spool.n_missing}};
    guard__evaluate(a->guard, &facts);
}

static void go_on(uv_idle_t *idle) {
    struct app *a = idle->data;
    int64_t since_ns = clock__stopwatch_ns();
    if (rota__go_on(&a->rota, app__n_streams(a), needs_look, look, a)) {
        uv_idle_stop(idle);
        app__measure_lag(a);
        judge_rest(a);
        ops__write(a);
    }
    a->work_ns[WORK_SECOND] += clock__stopwatch_ns() - since_ns;
}

void app__watch(struct app *a) {
    if (a->closing) return;
    watch_endpoints(a);
    ops__second(a);
    rota__begin(&a->rota);
    uv_idle_start(&a->looking, go_on);
}

void app__stop_watching(struct app *a) { uv_idle_stop(&a->looking); }
