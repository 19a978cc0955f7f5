/* /api/v1/status: what every room says of itself, as one JSON object. Times are ms UTC. */
#include "app.h"
#include <inttypes.h>
#include <stdio.h>

static void put_key(struct buf *out, const char *key, bool *first) {
    buf__append_str(out, *first ? "\"" : ",\"");
    buf__append_str(out, key);
    buf__append_str(out, "\":");
    *first = false;
}

static void put_text(struct buf *out, const char *key, const char *text, bool *first) {
    put_key(out, key, first);
    buf__json_string(out, slice__str(text));
}

static void put_u64(struct buf *out, const char *key, uint64_t v, bool *first) {
    put_key(out, key, first);
    buf__printf(out, "%" PRIu64, v);
}

static void put_ms(struct buf *out, const char *key, int64_t wall_ns, bool *first) {
    put_key(out, key, first);
    buf__printf(out, "%" PRId64, wall_ns / NS_PER_MS);
}

static void put_num(struct buf *out, const char *key, double v, bool *first) {
    put_key(out, key, first);
    buf__printf(out, "%.6g", v);
}

static void put_bool(struct buf *out, const char *key, bool v, bool *first) {
    put_key(out, key, first);
    buf__append_str(out, v ? "true" : "false");
}

/* A time of the monotonic clock as wall time; 0 for "never" stays 0. */
static int64_t wall_of(const struct app *a, int64_t mono_ns) {
    if (mono_ns == 0 || mono_ns == INT64_MAX) return 0;
    return a->clock.wall_ns + (mono_ns - a->clock.mono_ns);
}

const char *app__stream_state(const struct poller_status *p) {
    if (p->refused || p->quiet) return "off";
    if (p->done) return "done";
    if (p->held) return "held";
    if (p->frozen) return "frozen";
    if (p->seeding && p->state->cursor[0] == '\0') return "seeding";
    if (p->spool_full || p->state->n_failures > 0) return "waiting";
    if (p->state->unavailable) return "unavailable";
    return p->state->caught_up ? "caught_up" : "live";
}

static void put_pages(struct buf *out, const struct poller_counts *c) {
    bool first = true;
    buf__append_str(out, "{");
    put_u64(out, "new", c->fresh, &first);
    put_u64(out, "empty", c->empty, &first);
    put_u64(out, "unchanged", c->unchanged, &first);
    put_u64(out, "repeat", c->repeat, &first);
    put_u64(out, "rewind", c->rewind, &first);
    put_u64(out, "invalid", c->invalid, &first);
    put_u64(out, "stale", c->stale, &first);
    put_u64(out, "unavailable", c->unavailable, &first);
    buf__append_str(out, "}");
}

/* What the source itself says of the stream, in words. */
static void put_note(const struct app *a, const struct app_stream *s, const struct poller_status *p,
                     struct buf *out) {
    struct buf note = buf__init(512);
    const struct source_setup *c = settings__source(a->settings, p->source);
    if (s->type->note != NULL && c != NULL) s->type->note(&c->settings, &s->spec, p->state, &note);
    buf__json_string(out, buf__slice(&note));
    buf__fini(&note);
}

static void put_lag(struct buf *out, const char *key, double v, bool *first) {
    put_key(out, key, first);
    if (v == LAG_UNKNOWN) buf__append_str(out, "null");
    else buf__printf(out, "%.0f", v);
}

/* When a stream asks again, as far as that is known: not while its endpoint refuses everything, of
 * which the poller hears only when it is due. 0: it is asking, or nobody knows. */
static int64_t next_request_ns(const struct app *a, const struct poller_status *p) {
    const struct endpoint *ep = governor__find(a->governor, p->endpoint);
    int64_t until_ns = ep == NULL ? 0 : governor__refused_until_ns(a->governor, ep);
    if (p->doing != POLL_IDLE) return 0;
    return wall_of(a, until_ns > p->next_mono_ns ? until_ns : p->next_mono_ns);
}

static void put_stream(const struct app *a, const struct app_stream *s, struct buf *out) {
    struct poller_status p;
    poller__status(s->poller, &p);
    const char *reason = "";
    enum guard_level level = guard__source(a->guard, p.source, s->spec.key, &reason);
    bool first = true;
    buf__append_str(out, "{");
    put_text(out, "name", p.source, &first);
    put_text(out, "stream", s->spec.key, &first);
    put_text(out, "service", s->spec.service, &first);
    put_text(out, "league", s->spec.league, &first);
    put_text(out, "state", app__stream_state(&p), &first);
    put_text(out, "level", guard_level__name(level), &first);
    put_text(out, "reason", reason, &first);
    put_text(out, "cursor", p.state->cursor, &first);
    put_ms(out, "last_success_ms", p.last_success_wall_ns, &first);
    put_ms(out, "last_new_ms", p.last_new_wall_ns, &first);
    put_ms(out, "last_advance_ms", p.last_advance_wall_ns, &first);
    put_num(out, "lag_s", (double)app__silence_ns(a, &p) / (double)NS_PER_S, &first);
    if (s->lag.measured) { /* null: there is nothing to compare with. */
        put_lag(out, "lag_changes", s->lag.changes, &first);
        put_lag(out, "lag_estimate_s", s->lag.estimate_s, &first);
    }
    put_key(out, "pages", &first);
    put_pages(out, &p.counts);
    put_u64(out, "rows", s->rows, &first);
    put_num(out, "rows_per_s", s->rows_per_s, &first);
    put_u64(out, "bytes", p.body_bytes, &first);
    put_u64(out, "errors", p.counts.errors, &first);
    put_text(out, "last_error", p.last_error, &first);
    put_key(out, "note", &first);
    put_note(a, s, &p, out);
    put_ms(out, "next_request_ms", next_request_ns(a, &p), &first);
    buf__append_str(out, "}");
}

/* A source that cannot run, as one line that says why. */
static void put_off(const struct app_source *s, struct buf *out) {
    static const struct poller_counts none;
    bool first = true;
    buf__append_str(out, "{");
    put_text(out, "name", s->type->name, &first);
    put_text(out, "stream", "", &first);
    put_text(out, "service", s->type->name, &first);
    put_text(out, "league", "", &first);
    put_text(out, "state", "off", &first);
    put_text(out, "level", "green", &first);
    put_text(out, "reason", s->off_reason, &first);
    put_text(out, "cursor", "", &first);
    static const char *const zeros[] = {"last_success_ms", "last_new_ms", "last_advance_ms",
                                        "lag_s",           "rows",        "rows_per_s",
                                        "bytes",           "errors",      "next_request_ms"};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) put_u64(out, zeros[i], 0, &first);
    put_key(out, "pages", &first);
    put_pages(out, &none);
    put_text(out, "last_error", s->off_reason, &first);
    put_text(out, "note", "", &first);
    buf__append_str(out, "}");
}

static void put_endpoint(const struct app *a, const struct endpoint_status *ep, struct buf *out) {
    bool first = true;
    buf__append_str(out, "{");
    put_text(out, "name", ep->name, &first);
    put_text(out, "host", ep->host, &first);
    put_text(out, "policy", ep->policy, &first);
    put_text(out, "state", endpoint_state__name(ep->state), &first);
    put_text(out, "reason", ep->reason, &first);
    put_ms(out, "next_ms", wall_of(a, ep->next_mono_ns), &first);
    /* How long until one may go; null when only a reply, or somebody's word, can tell. */
    put_key(out, "wait_ms", &first);
    int64_t wait_ns = ep->next_mono_ns - a->clock.mono_ns;
    if (ep->next_mono_ns == INT64_MAX) buf__append_str(out, "null");
    else buf__printf(out, "%" PRId64, wait_ns <= 0 ? 0 : (wait_ns + NS_PER_MS - 1) / NS_PER_MS);
    put_bool(out, "paused", ep->paused, &first);
    put_u64(out, "inflight", ep->n_inflight, &first);
    put_u64(out, "waiting", ep->n_waiting, &first);
    put_num(out, "rate_per_s", ep->rate_per_s, &first);
    put_key(out, "windows", &first);
    for (uint32_t i = 0; i < ep->n_windows; i++) {
        const struct governor_window_status *w = &ep->windows[i];
        bool inner = true;
        buf__append_str(out, i == 0 ? "[{" : ",{");
        put_text(out, "rule", w->rule, &inner);
        put_u64(out, "limit", w->limit, &inner);
        put_u64(out, "used", w->used, &inner);
        put_u64(out, "period_s", w->period_s, &inner);
        put_u64(out, "restriction_s", w->restriction_s, &inner);
        buf__append_str(out, "}");
    }
    buf__append_str(out, ep->n_windows == 0 ? "[]" : "]");
    put_u64(out, "requests", ep->n_requests, &first);
    put_u64(out, "throttled", ep->n_throttled, &first);
    put_u64(out, "errors", ep->n_errors, &first);
    buf__append_str(out, "}");
}

static void put_spool(const struct app *a, struct buf *out) {
    struct spool_status s;
    spool__status(a->spool, &s);
    bool first = true;
    buf__append_str(out, "{");
    put_u64(out, "bytes", s.bytes, &first);
    put_u64(out, "quota_bytes", s.quota_bytes, &first);
    put_u64(out, "unacked_bytes", s.unacked_bytes, &first);
    put_u64(out, "segments", s.n_segments, &first);
    put_u64(out, "disk_free_bytes", s.disk_free_bytes, &first);
    put_ms(out, "oldest_unacked_ms", s.oldest_unacked_wall_ns, &first);
    put_u64(out, "records", s.n_records, &first);
    put_u64(out, "torn_bytes", s.torn_bytes, &first);
    put_u64(out, "corrupt_bytes", s.corrupt_bytes, &first);
    put_u64(out, "missing_segments", s.n_missing, &first);
    put_bool(out, "full", s.full, &first);
    put_bool(out, "failed", s.failed, &first);
    put_u64(out, "pages_waiting", lanes__busy(a) ? 1 : 0, &first);
    put_u64(out, "decoded_lsn", lanes__at(a), &first);
    put_u64(out, "synced_lsn", s.synced_lsn, &first);
    put_u64(out, "low_water_lsn", s.low_water_lsn, &first);
    buf__append_str(out, "}");
}

/* To the millisecond, whether it is one or ten years. */
static void put_seconds(struct buf *out, const char *key, int64_t ns, bool *first) {
    put_key(out, key, first);
    buf__printf(out, "%.3f", (double)ns / (double)NS_PER_S);
}

static void put_clock(const struct app *a, struct buf *out) {
    static const char *const modes[] = {"system", "kept", "servers"};
    struct wall_status s;
    wall__status(&a->wall, &s);
    bool first = true;
    buf__append_str(out, "{");
    put_text(out, "follows", modes[s.mode], &first);
    put_seconds(out, "skew_s", s.skew_ns, &first);
    put_seconds(out, "correction_s", s.correction_ns, &first);
    put_bool(out, "disputed", s.disputed, &first);
    put_u64(out, "witnesses", s.n_witnesses, &first);
    put_text(out, "farthest", s.farthest, &first);
    put_seconds(out, "farthest_skew_s", s.farthest_skew_ns, &first);
    put_u64(out, "jumps", s.n_jumps, &first);
    buf__append_str(out, "}");
}

static void put_lanes(const struct app *a, struct buf *out) {
    struct lanes_status s;
    bool first = true, live = true, backlog = true;
    lanes__status(a, &s);
    buf__append_str(out, "{");
    put_key(out, "live", &first);
    buf__append_str(out, "{");
    put_num(out, "lag_s", s.live_lag_s, &live);
    put_u64(out, "rows", s.rows[0], &live);
    buf__append_str(out, "}");
    put_key(out, "backlog", &first);
    buf__append_str(out, "{");
    put_num(out, "lag_s", s.backlog_lag_s, &backlog);
    put_u64(out, "rows", s.rows[1], &backlog);
    put_u64(out, "bytes", s.backlog_bytes, &backlog);
    if (s.backlog_eta_s >= 0) put_num(out, "eta_s", s.backlog_eta_s, &backlog);
    buf__append_str(out, "}}");
}

static void put_store(const struct app *a, struct buf *out) {
    struct store_status s;
    store__status(a->store, &s);
    bool first = true;
    buf__append_str(out, "{");
    put_text(out, "state", store_state__name(s.state), &first);
    if (a->stored_per_s >= 0) put_num(out, "rows_per_s", a->stored_per_s, &first);
    put_text(out, "server", s.server, &first);
    put_ms(out, "since_ms", s.since_wall_ns, &first);
    put_text(out, "last_error", s.connected ? "" : s.last_error, &first);
    put_u64(out, "bytes", s.bytes, &first);
    put_u64(out, "outstanding", s.n_sealed, &first);
    put_u64(out, "retries", s.retries, &first);
    put_u64(out, "refused_rows", s.refused_rows, &first);
    put_u64(out, "searched_batches", s.n_searched, &first);
    put_u64(out, "held_batches", s.n_held, &first);
    put_u64(out, "elsewhere_batches", s.n_elsewhere, &first);
    put_u64(out, "mistimed_batches", s.n_mistimed, &first);
    put_text(out, "mistimed", s.mistimed, &first);
    put_key(out, "lanes", &first);
    put_lanes(a, out);
    put_key(out, "tables", &first);
    buf__append_str(out, "[");
    for (size_t i = 0; i < s.n_tables; i++) {
        const struct store_table_status *t = &s.tables[i];
        bool inner = true;
        buf__append_str(out, i == 0 ? "{" : ",{");
        put_text(out, "name", t->name, &inner);
        put_u64(out, "rows", t->rows, &inner);
        put_num(out, "rows_per_s", a->stored[i].rows_per_s, &inner);
        put_u64(out, "batches", t->batches, &inner);
        put_u64(out, "refused", t->refused, &inner);
        put_u64(out, "open_rows", t->open_rows, &inner);
        put_u64(out, "outstanding", t->outstanding, &inner);
        put_ms(out, "last_ack_ms", t->last_ack_wall_ns, &inner);
        buf__append_str(out, "}");
    }
    buf__append_str(out, "]}");
}

static void put_alerts(const struct app *a, struct buf *out) {
    struct alerts_summary s;
    alerts__summary(a->alerts, &s);
    bool first = true, inner = true;
    buf__append_str(out, "{");
    put_u64(out, "firing", s.n_firing, &first);
    put_u64(out, "critical", s.n_by_sev[ALERT_CRITICAL], &first);
    put_key(out, "last", &first);
    buf__append_str(out, "{");
    put_text(out, "title", s.last_title, &inner);
    put_text(out, "sev", s.last_title[0] == '\0' ? "" : alert_sev__name(s.last_sev), &inner);
    put_u64(out, "ts_ms", (uint64_t)s.last_ts_ms, &inner);
    buf__append_str(out, "}}");
}

static void put_series(struct buf *out, const char *key, const double *values, size_t n,
                       bool *first) {
    put_key(out, key, first);
    for (size_t i = 0; i < n; i++) buf__printf(out, "%s%.4g", i == 0 ? "[" : ",", values[i]);
    buf__append_str(out, n == 0 ? "[]" : "]");
}

static void put_status(struct app *a, struct buf *out) {
    bool first = true, inner = true;
    buf__append_str(out, "{");
    put_text(out, "version", SOUK_VERSION, &first);
    put_ms(out, "now_ms", a->clock.wall_ns, &first);
    put_ms(out, "started_ms", a->started_wall_ns, &first);
    if (a->closing) { /* The rooms that know more are going away. */
        put_text(out, "state", "draining", &first);
        buf__append_str(out, "}");
        return;
    }
    enum guard_level level = guard__level(a->guard);
    put_text(out, "state",
             a->draining          ? "draining"
             : level == GUARD_RED ? "degraded"
                                  : "running",
             &first);
    put_key(out, "summary", &first);
    buf__append_str(out, "{");
    put_text(out, "level", guard_level__name(level), &inner);
    put_text(out, "text", guard__summary(a->guard), &inner);
    buf__append_str(out, "}");
    put_key(out, "clock", &first);
    put_clock(a, out);
    put_key(out, "sources", &first);
    buf__append_str(out, "[");
    size_t n = 0;
    for (size_t i = 0; i < app__n_streams(a); i++) {
        if (app__stream_at(a, i)->poller == NULL) continue;
        if (n++ > 0) buf__append_str(out, ",");
        put_stream(a, app__stream_at(a, i), out);
    }
    for (size_t i = 0; i < a->n_sources; i++) {
        if (a->sources[i].off_reason == NULL) continue;
        if (n++ > 0) buf__append_str(out, ",");
        put_off(&a->sources[i], out);
    }
    buf__append_str(out, "]");
    put_key(out, "endpoints", &first);
    buf__append_str(out, "[");
    for (size_t i = 0; i < governor__n_endpoints(a->governor); i++) {
        struct endpoint_status ep;
        governor__status(a->governor, i, &ep);
        if (i > 0) buf__append_str(out, ",");
        put_endpoint(a, &ep, out);
    }
    buf__append_str(out, "]");
    put_key(out, "spool", &first);
    put_spool(a, out);
    put_key(out, "store", &first);
    put_store(a, out);
    put_key(out, "tape", &first);
    tape_lane__status_json(a, out);
    put_key(out, "alerts", &first);
    put_alerts(a, out);
    put_key(out, "history", &first);
    buf__append_str(out, "{");
    inner = true;
    put_u64(out, "step_s", HISTORY_STEP_S, &inner);
    put_series(out, "rows_per_s", a->rows_history, a->n_history, &inner);
    put_series(out, "pages_per_s", a->pages_history, a->n_history, &inner);
    buf__append_str(out, "}");
    put_key(out, "process", &first);
    buf__append_str(out, "{");
    inner = true;
    size_t rss = 0;
    uv_resident_set_memory(&rss);
    put_num(out, "cpu_ratio", a->cpu_ratio, &inner);
    put_u64(out, "rss_bytes", rss, &inner);
    put_num(out, "loop_lag_ms", a->lag_max_ns / (double)NS_PER_MS, &inner);
    buf__append_str(out, "}}");
}

void app__status_json(void *ctx, struct buf *out) {
    struct app *a = ctx;
    int64_t since_ns = clock__stopwatch_ns();
    put_status(a, out);
    a->work_ns[WORK_STATUS] += clock__stopwatch_ns() - since_ns;
}
