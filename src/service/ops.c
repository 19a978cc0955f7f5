#include "ops.h"
#include "app.h"
#include "souk/core/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STATUS_EVERY_NS (30 * NS_PER_S)
#define RECORD_MAX ((size_t)1 << 20)

struct ops {
    int64_t all_mono_ns; /* When all were last due, */
    uint32_t round;      /* and how often that was. */
    struct buf rows;     /* Made since the last record. */
    size_t n_rows;
    struct log_kept lines[LOG_KEPT_MAX];
    struct series *kept[2], *refused[2]; /* Of poe_ingest_status, of proc_logs. */
};
enum { OPS_STATUS, OPS_LOGS };

int ops__open(struct app *a) {
    static const char *const tables[] = {"poe_ingest_status", "proc_logs"};
    struct ops *o = calloc(1, sizeof *o);
    if (o == NULL) return ERR_NOMEM;
    for (int i = 0; i < 2; i++) {
        const char *help = "Records of rows about souk itself, by what the spool said.";
        o->kept[i] = metrics__counter(&a->metrics, "souk_ops_records_total", help,
                                      "table=\"%s\",result=\"kept\"", tables[i]);
        o->refused[i] = metrics__counter(&a->metrics, "souk_ops_records_total", help,
                                         "table=\"%s\",result=\"refused\"", tables[i]);
    }
    o->all_mono_ns = a->clock.mono_ns;
    o->rows = buf__init(RECORD_MAX);
    a->ops = o;
    log__keep(LOG_LEVEL_WARN);
    return 0;
}

void ops__free(struct app *a) {
    if (a->ops == NULL) return;
    buf__fini(&a->ops->rows);
    free(a->ops);
    a->ops = NULL;
}

static bool append(struct app *a, int table, struct buf *json) {
    struct err e = {0};
    struct slice part = buf__slice(json);
    bool kept = !json->failed && spool__append(a->spool, SPOOL_OPS, 0, &part, 1, NULL, NULL, &e);
    series__inc(kept ? a->ops->kept[table] : a->ops->refused[table]);
    return kept;
}

/* The log's lines. */

static void put_line(struct buf *out, bool first, int64_t wall_ns, const char *level,
                     const char *room, const char *message, const char *fields) {
    buf__printf(out, "%s{\"ts\":%" PRId64 ",\"level\":\"%s\",\"room\":", first ? "" : ",",
                wall_ns / NS_PER_MS, level);
    buf__json_string(out, slice__str(room));
    buf__append_str(out, ",\"message\":");
    buf__json_string(out, slice__str(message));
    buf__append_str(out, ",\"fields\":");
    buf__json_string(out, slice__str(fields));
    buf__append_str(out, "}");
}

/* A line may have been written before it was known that the clock is wrong. */
static int64_t wall_of(const struct app *a, int64_t mono_ns) {
    return a->clock.wall_ns - (a->clock.mono_ns - mono_ns);
}

static void write_lines(struct app *a) {
    struct ops *o = a->ops;
    uint64_t dropped = 0;
    size_t n = log__take(o->lines, LOG_KEPT_MAX, &dropped);
    if (n == 0 && dropped == 0) return;
    struct buf out = buf__init(RECORD_MAX);
    buf__append_str(&out, "{\"table\":\"proc_logs\",\"rows\":[");
    for (size_t i = 0; i < n; i++)
        put_line(&out, i == 0, wall_of(a, o->lines[i].mono_ns), log_level__name(o->lines[i].level),
                 o->lines[i].room, o->lines[i].event, o->lines[i].fields);
    if (dropped > 0) {
        char fields[64];
        snprintf(fields, sizeof fields, "{\"suppressed\":%" PRIu64 "}", dropped);
        put_line(&out, n == 0, a->clock.wall_ns, "warn", "cli", "lines are left out", fields);
    }
    buf__append_str(&out, "]}");
    append(a, OPS_LOGS, &out);
    buf__fini(&out);
}

/* Where streams stand. */

void ops__forget(struct app_stream *s) { s->told = (struct ops_told){.state = NULL}; }

static void put_text(struct buf *out, const char *key, const char *text) {
    buf__printf(out, "\"%s\":", key);
    buf__json_string(out, slice__str(text));
    buf__append_str(out, ",");
}

static double rate(uint64_t n, int64_t ns) {
    return ns > 0 ? (double)n * (double)NS_PER_S / (double)ns : 0;
}

/* @return the requests since the last row. A backfill that goes on counts from 0 again. */
static uint64_t requests_since(const struct ops_told *t, const struct poller_status *p) {
    uint64_t n = p->counts.requests;
    return n < t->n_requests ? n : n - t->n_requests;
}

static void put_row(struct app *a, const struct app_stream *s, const struct poller_status *p,
                    const char *state, struct ops_told *t, struct buf *out) {
    const char *reason = "";
    int64_t now_ns = a->clock.mono_ns, age_ns = now_ns - a->started_mono_ns;
    enum guard_level level = guard__source(a->guard, p->source, s->spec.key, &reason);
    bool stalled = level == GUARD_AMBER || level == GUARD_RED;
    if (!stalled) t->stalled_wall_ns = 0;
    else if (t->stalled_wall_ns == 0) /* Since it last brought something. */
        t->stalled_wall_ns =
            a->clock.wall_ns - (now_ns - (p->last_success_mono_ns != 0 ? p->last_success_mono_ns
                                                                       : a->started_mono_ns));
    buf__append_str(out, "{");
    put_text(out, "service", s->spec.service);
    put_text(out, "realm", s->spec.realm);
    put_text(out, "league", s->spec.league);
    put_text(out, "stream", s->spec.key);
    put_text(out, "endpoint", s->spec.path);
    put_text(out, "state", state);
    put_text(out, "reason", p->last_error[0] != '\0' ? p->last_error : reason);
    put_text(out, "last_cursor", p->last_cursor);
    put_text(out, "next_change_id", p->state->cursor);
    buf__printf(out,
                "\"request_rate\":%.6g,\"error_count\":%" PRIu64 ",\"last_ingest_time\":%" PRId64
                ",\"avg_req_per_sec\":%.6g,\"stalled_since\":%" PRId64 ",\"updated_at\":%" PRId64
                "}",
                t->at_mono_ns == 0 ? rate(p->counts.requests, age_ns)
                                   : rate(requests_since(t, p), now_ns - t->at_mono_ns),
                p->counts.errors + p->counts.invalid + p->counts.rewind + p->counts.repeat,
                p->last_new_wall_ns / NS_PER_MS, rate(p->counts.requests, age_ns),
                t->stalled_wall_ns / NS_PER_MS, a->clock.wall_ns / NS_PER_MS);
    t->state = state;
    t->n_requests = p->counts.requests;
    t->at_mono_ns = now_ns;
}

/* What changes while the spool is full is written with all others later. */
static void write_rows(struct app *a) {
    struct ops *o = a->ops;
    if (o->n_rows == 0) return;
    buf__append_str(&o->rows, "]}");
    append(a, OPS_STATUS, &o->rows);
    buf__fini(&o->rows);
    o->rows = buf__init(RECORD_MAX);
    o->n_rows = 0;
}

/* @last: instead of the state of a stream that is well; else NULL. */
static void look(struct app *a, struct app_stream *s, const struct poller_status *p, bool all,
                 const char *last) {
    struct ops *o = a->ops;
    struct ops_told *t = &s->told;
    const char *state = app__stream_state(p);
    bool well = p->state->n_failures == 0 && !p->refused && !p->quiet && !p->done && !p->frozen &&
                !p->held && !p->state->unavailable;
    if (last != NULL && well) state = last;
    s->told.round = o->round;
    if (!all && t->state == state) return;
    buf__append_str(&o->rows,
                    o->n_rows++ == 0 ? "{\"table\":\"poe_ingest_status\",\"rows\":[" : ",");
    put_row(a, s, p, state, t, &o->rows);
    if (o->rows.len > RECORD_MAX / 2) write_rows(a); /* As many streams as there may be. */
}

static bool is_open(const struct app *a) { return a->ops != NULL && a->spool != NULL; }

void ops__second(struct app *a) {
    if (!is_open(a) || a->clock.mono_ns - a->ops->all_mono_ns < STATUS_EVERY_NS) return;
    a->ops->all_mono_ns = a->clock.mono_ns;
    a->ops->round++;
}

bool ops__is_due(const struct app *a, const struct app_stream *s) {
    return is_open(a) && s->told.round != a->ops->round;
}

void ops__look(struct app *a, struct app_stream *s, const struct poller_status *p) {
    if (is_open(a)) look(a, s, p, ops__is_due(a, s), NULL);
}

void ops__write(struct app *a) {
    if (!is_open(a)) return;
    write_rows(a);
    write_lines(a);
}

void ops__last(struct app *a, const char *state) {
    if (!is_open(a)) return;
    for (size_t i = 0; i < app__n_streams(a); i++) {
        struct app_stream *s = app__stream_at(a, i);
        struct poller_status p;
        if (s->poller == NULL) continue;
        poller__status(s->poller, &p);
        look(a, s, &p, true, state);
    }
    ops__write(a);
}
