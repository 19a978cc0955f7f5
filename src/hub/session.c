/* The sending side of a session: snapshot or replay, then live events, heartbeats and bye.
 *
 * Nothing is skipped: when a live event finds no room and the peer does not read, the session is
 * closed with 4008 and the client resumes; when the ring has forgotten what a session still has to
 * send, likewise. */
#include "session.h"
#include "session_internal.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

double sessions__burst(const struct sessions *all) {
    double n = floor(all->messages_per_s * SESSION_BURST_S);
    return n < 1 ? 1 : n; /* Or hello would never come. */
}

bool session__wants(const struct session *s, enum alert_sev sev, const char *class) {
    if (sev < s->sev_min) return false;
    if (s->n_classes == 0) return true;
    for (size_t i = 0; i < s->n_classes; i++)
        if (strcmp(s->classes[i], class) == 0) return true;
    return false;
}

bool session__send(struct session *s, struct slice text, uint64_t off) {
    struct frame *f = frame__new(FRAME_TEXT, text);
    bool ok = f != NULL && s->io->send(s->io_ctx, f, off);
    frame__unref(f);
    return ok;
}

void session__close(struct session *s, int code, const char *reason) {
    if (s->state == SESSION_DONE) return;
    if (s->state != SESSION_HELLO) s->all->n_live--;
    series__set(s->all->m_clients, (double)s->all->n_live);
    s->state = SESSION_DONE;
    int why = code == 4008                   ? DROP_SLOW
              : code == 4010                 ? DROP_GAP
              : code == 4029                 ? DROP_RATE
              : code == 4408 || code == 4400 ? DROP_HELLO
              : code == 4401 || code == 4403 ? DROP_AUTH
                                             : DROP_OTHER;
    series__inc(s->all->m_dropped[why]);
    s->io->close(s->io_ctx, code, reason);
}

static void render_event(const struct alert_event *e, uint64_t prev, bool replay, struct buf *out) {
    buf__printf(out, "{\"t\":\"%s\",\"off\":%" PRIu64 ",\"prev\":%" PRIu64 ",%s%.*s}",
                e->is_flag ? "flag" : "ev", e->off, prev, replay ? "\"replay\":true," : "",
                SLICE_FMT(e->tail));
}

/* @return a frame of @e for this session, with a reference for the caller; the usual one is made
 * once and shared. */
static struct frame *event_frame(struct session *s, const struct alert_event *e) {
    bool replay = e->off <= s->live_at, common = !replay && s->sent + 1 == e->off;
    struct frame **slot = &s->all->cache[e->off % FRAME_CACHE];
    uint64_t *slot_off = &s->all->cache_off[e->off % FRAME_CACHE];
    if (common && *slot != NULL && *slot_off == e->off) return frame__ref(*slot);
    struct buf text = buf__init(64 << 10);
    render_event(e, s->sent, replay, &text);
    struct frame *f = text.failed ? NULL : frame__new(FRAME_TEXT, buf__slice(&text));
    buf__fini(&text);
    if (f != NULL && common) {
        frame__unref(*slot);
        *slot = frame__ref(f);
        *slot_off = e->off;
    }
    return f;
}

/* @return false without memory: the pump tries again. */
static bool send_live(struct session *s) {
    char text[64];
    int n = snprintf(text, sizeof text, "{\"t\":\"live\",\"off\":%" PRIu64 "}", s->next_off - 1);
    if (!session__send(s, slice__of(text, (size_t)n), 0)) return false;
    s->state = SESSION_LIVE;
    return true;
}

/* @return false when there is no more room now. */
static bool pump_snapshot(struct session *s) {
    struct snapshot *snap = s->snapshot;
    while (s->snapshot_at < snap->n) {
        struct frame *f = snap->frames[s->snapshot_at];
        bool last = s->snapshot_at + 1 == snap->n;
        if (!s->io->has_room(s->io_ctx, f->len) || !s->io->send(s->io_ctx, f, last ? snap->off : 0))
            return false;
        s->snapshot_at++;
    }
    if (!s->io->has_room(s->io_ctx, 64)) return false;
    s->sent = s->live_at = snap->off;
    s->next_off = snap->off + 1;
    if (!send_live(s)) return false;
    snapshot__unref(snap);
    s->snapshot = NULL;
    return true;
}

static bool pump_event(struct session *s) {
    const struct alert_event *e = alerts__event(s->all->alerts, s->next_off);
    if (e == NULL) {
        session__close(s, 4008, "slow consumer");
        return false;
    }
    if (!e->is_flag && !session__wants(s, e->sev, e->class)) {
        s->next_off++;
        return true;
    }
    struct frame *f = event_frame(s, e);
    bool ok = f != NULL && s->io->has_room(s->io_ctx, f->len) && s->io->send(s->io_ctx, f, e->off);
    frame__unref(f);
    if (ok) {
        s->sent = e->off;
        s->next_off++;
    } else if (s->state == SESSION_LIVE && s->io->is_stuck(s->io_ctx)) {
        session__close(s, 4008, "slow consumer");
    }
    return ok;
}

void session__pump(struct session *s) {
    if (s->pumping || s->state == SESSION_HELLO || s->state == SESSION_DONE) return;
    s->pumping = true;
    bool more = s->state != SESSION_SNAPSHOT || pump_snapshot(s);
    while (more) {
        if (s->state == SESSION_REPLAY && s->next_off > s->live_at) {
            if (!s->io->has_room(s->io_ctx, 64) || !send_live(s)) break;
        }
        more = s->next_off <= alerts__top(s->all->alerts) && pump_event(s);
    }
    s->pumping = false;
}

void session__start(struct session *s, struct slice epoch, uint64_t off, bool has_off) {
    struct alerts *a = s->all->alerts;
    uint64_t top = alerts__top(a);
    bool resumes = has_off && slice__eq(epoch, slice__str(alerts__epoch(a))) && off <= top &&
                   off + 1 >= alerts__oldest(a) && top - off <= ALERTS_EVENTS_MAX;
    struct buf text = buf__init(2048);
    buf__printf(&text,
                "{\"t\":\"welcome\",\"re\":1,\"proto\":\"alerts.v1\",\"sid\":\"s_%" PRIu64
                "\",\"epoch\":\"%s\",\"off\":%" PRIu64 ",\"mode\":\"%s\",\"recovered\":%s,"
                "\"hb_ms\":%d,\"limits\":{\"msg\":%d,\"rate\":%d,\"burst\":%d},"
                "\"scopes\":[\"alerts:read\"%s],\"features\":[\"mute\",\"why\",\"log\"]}",
                s->sid, alerts__epoch(a), top, resumes ? "replay" : "snapshot",
                resumes ? "true" : "false", (int)(SESSION_HB_NS / NS_PER_MS), SESSION_MESSAGE_MAX,
                (int)ceil(s->all->messages_per_s), (int)sessions__burst(s->all),
                s->who.write ? ",\"alerts:write\"" : "");
    bool welcomed = !text.failed && session__send(s, buf__slice(&text), 0);
    buf__fini(&text);
    if (!welcomed) {
        session__close(s, 1011, "out of memory");
        return;
    }
    series__inc(s->all->m_resume[resumes ? 0 : 1]);
    s->all->n_live++;
    series__set(s->all->m_clients, (double)s->all->n_live);
    s->hb_mono_ns = s->all->clock->mono_ns;
    if (resumes) {
        s->state = SESSION_REPLAY;
        s->sent = off;
        s->next_off = off + 1;
        s->live_at = top;
    } else {
        s->state = SESSION_SNAPSHOT;
        bool shared = s->sev_min == ALERT_INFO && s->n_classes == 0;
        struct snapshot *cached = s->all->snapshot;
        if (shared && cached != NULL && cached->off == top) {
            cached->refs++;
            s->snapshot = cached;
        } else {
            s->snapshot = snapshot__build(a, shared ? NULL : s);
            if (s->snapshot == NULL) {
                session__close(s, 1011, "out of memory");
                return;
            }
            if (shared) {
                snapshot__unref(cached);
                s->all->snapshot = s->snapshot;
                s->snapshot->refs++;
            }
        }
    }
    session__pump(s);
}

void session__open(struct session *s, struct sessions *all, const struct principal *who,
                   const struct session_io *io, void *io_ctx) {
    *s = (struct session){.all = all,
                          .io = io,
                          .io_ctx = io_ctx,
                          .who = *who,
                          .sid = ++all->next_sid,
                          .tokens = sessions__burst(all),
                          .tokens_mono_ns = all->clock->mono_ns,
                          .opened_mono_ns = all->clock->mono_ns,
                          .next = all->first};
    if (s->next != NULL) s->next->prev = s;
    all->first = s;
}

void session__fini(struct session *s, int code) {
    if (s->all == NULL) return;
    if (s->state != SESSION_DONE) {
        if (s->state != SESSION_HELLO) s->all->n_live--;
        series__set(s->all->m_clients, (double)s->all->n_live);
        if (code != 1000 && code != 1001 && code != 0)
            series__inc(s->all->m_dropped[code == 4010 ? DROP_GAP : DROP_OTHER]);
    }
    while (s->commands != NULL) {
        struct session_command *c = s->commands;
        s->commands = c->next;
        alerts__forget(s->all->alerts, c);
        free(c);
    }
    snapshot__unref(s->snapshot);
    free(s->classes);
    if (s->prev != NULL) s->prev->next = s->next;
    else s->all->first = s->next;
    if (s->next != NULL) s->next->prev = s->prev;
    *s = (struct session){0};
}

/* --- All of them --- */

static void on_event(void *data, const struct alert_event *event) {
    (void)event;
    struct sessions *all = data;
    if (all->n_live > 0 && all->n_fanouts < FANOUTS_MAX)
        all->fanouts[all->n_fanouts++] = (struct fanout){.start_ns = clock__stopwatch_ns()};
    if (all->n_live > 0) all->fanouts[all->n_fanouts - 1].n++;
    for (struct session *s = all->first, *next; s != NULL; s = next) {
        next = s->next;
        session__pump(s);
    }
}

void sessions__flushed(struct sessions *all) {
    int64_t now_ns = all->n_fanouts > 0 ? clock__stopwatch_ns() : 0;
    for (size_t i = 0; i < all->n_fanouts; i++)
        for (size_t j = 0; j < all->fanouts[i].n; j++)
            series__observe(all->m_fanout,
                            (double)(now_ns - all->fanouts[i].start_ns) / (double)NS_PER_S);
    all->n_fanouts = 0;
}

static void forget_frames(struct sessions *all) {
    for (size_t i = 0; i < FRAME_CACHE; i++) {
        frame__unref(all->cache[i]);
        all->cache[i] = NULL;
    }
    snapshot__unref(all->snapshot);
    all->snapshot = NULL;
}

static void on_epoch(void *data) {
    struct sessions *all = data;
    forget_frames(all);
    for (struct session *s = all->first, *next; s != NULL; s = next) {
        next = s->next;
        if (s->state != SESSION_HELLO) session__close(s, 4010, "the stream starts anew");
    }
}

void sessions__init(struct sessions *all, struct alerts *alerts, const struct clock *clock,
                    struct metrics *m) {
    static const char *const reasons[] = {"slow", "gap", "rate", "hello", "auth", "other"};
    static const char *const modes[] = {"replay", "snapshot"};
    *all =
        (struct sessions){.alerts = alerts, .clock = clock, .messages_per_s = SESSION_RATE_PER_S};
    all->listener =
        (struct alerts_listener){.data = all, .on_event = on_event, .on_epoch = on_epoch};
    alerts__subscribe(alerts, &all->listener);
    all->m_clients =
        metrics__gauge(m, "souk_alert_clients", "Clients that follow the alert stream", "%s", "");
    for (size_t i = 0; i < 6; i++)
        all->m_dropped[i] =
            metrics__counter(m, "souk_alert_client_dropped_total", "Clients closed by us or lost",
                             "reason=\"%s\"", reasons[i]);
    for (size_t i = 0; i < 2; i++)
        all->m_resume[i] = metrics__counter(m, "souk_alert_resume_total",
                                            "How clients got the state when they joined",
                                            "result=\"%s\"", modes[i]);
    all->m_lag = metrics__histogram_scaled(m, "souk_alert_client_lag_events",
                                           "Events a client was behind when it told its position",
                                           1000, "%s", "");
    all->m_fanout = metrics__histogram(m, "souk_alert_fanout_seconds",
                                       "From an event's append to the last write to a client "
                                       "that reads; none while nobody follows",
                                       "%s", "");
}

void sessions__fini(struct sessions *all) {
    if (all->alerts == NULL) return;
    alerts__unsubscribe(all->alerts, &all->listener);
    forget_frames(all);
}

static void beat(struct session *s) {
    char text[160];
    struct alerts *a = s->all->alerts;
    if (!s->io->has_room(s->io_ctx, sizeof text)) return;
    int n = snprintf(text, sizeof text,
                     "{\"t\":\"hb\",\"epoch\":\"%s\",\"off\":%" PRIu64 ",\"sent\":%" PRIu64
                     ",\"ts\":%" PRId64 "}",
                     alerts__epoch(a), alerts__top(a), s->sent, s->all->clock->wall_ns / NS_PER_MS);
    session__send(s, slice__of(text, (size_t)n), 0);
}

void sessions__tick(struct sessions *all) {
    int64_t now_ns = all->clock->mono_ns;
    for (struct session *s = all->first, *next; s != NULL; s = next) {
        next = s->next;
        if (s->state == SESSION_HELLO && now_ns - s->opened_mono_ns >= SESSION_HELLO_NS)
            session__close(s, 4408, "no hello within 5 s");
        session__pump(s); /* What found no memory before. */
        if (s->state != SESSION_LIVE || now_ns - s->hb_mono_ns < SESSION_HB_NS) continue;
        s->hb_mono_ns = now_ns;
        beat(s);
    }
}

size_t sessions__end(struct sessions *all, bool (*is_good)(const void *ctx, uint64_t token),
                     const void *ctx) {
    size_t n = 0;
    for (struct session *s = all->first, *next; s != NULL; s = next) {
        next = s->next;
        if (s->state == SESSION_DONE || is_good(ctx, s->who.token)) continue;
        session__close(s, 4401, "the token is no longer good");
        n++;
    }
    return n;
}

void sessions__bye(struct sessions *all, const char *code) {
    char text[96];
    int n = snprintf(text, sizeof text,
                     "{\"t\":\"bye\",\"code\":\"%s\",\"reconnect_ms\":[250,3000]}", code);
    for (struct session *s = all->first; s != NULL; s = s->next)
        if (s->state != SESSION_HELLO && s->state != SESSION_DONE)
            session__send(s, slice__of(text, (size_t)n), 0);
}
