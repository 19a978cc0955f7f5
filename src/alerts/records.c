/* Events on their way: what happened is rendered once, appended to the durable log, and published
 * to the ring and to listeners when the log has it, in order.
 *
 * What can fail is the log: it refuses, or it answers not at all, as on a disk without room. Then
 * clients could have seen offsets that a restart hands out again; so the epoch changes (every
 * client starts from a snapshot), events go out without the log, and heal() tries to append the
 * whole state under the new epoch until that works. */
#include "alerts_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define LOG_PATIENCE_TICKS 10

static uint64_t next_random(struct alerts *a) {
    uint64_t v = 0;
    if (a->options.seed == 0 && getrandom(&v, sizeof v, 0) == (ssize_t)sizeof v) return v;
    a->rng += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    v = (a->rng ^ a->rng >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
    return v ^ v >> 31;
}

void new_epoch(struct alerts *a) {
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz012345";
    uint64_t v = next_random(a);
    for (int i = 0; i < 8; i++, v >>= 5) a->epoch[i] = digits[v & 31];
    a->epoch[8] = '\0';
}

void clear_ring(struct alerts *a) {
    for (; a->oldest <= a->top; a->oldest++) {
        free_event(a->ring[a->oldest % ALERTS_EVENTS_MAX]);
        a->ring[a->oldest % ALERTS_EVENTS_MAX] = NULL;
    }
}

void free_event(struct event *e) {
    if (e != NULL) free(e->json);
    free(e);
}

void record__begin(struct alerts *a, struct record **out) {
    struct record *r = calloc(1, sizeof *r);
    if (r == NULL) {
        a->lost = (struct record){.lost = true};
        r = &a->lost;
    }
    r->alerts = a;
    r->last = &r->first;
    *out = r;
}

static void add_event(struct record *r, struct event *e) {
    struct alerts *a = r->alerts;
    e->pub.off = ++a->off;
    e->pub.ts_ms = now_ms(a);
    e->pub.class = e->class;
    *r->last = e;
    r->last = &e->next;
    r->n_events++;
}

/* @alert_at: where the alert object starts, which goes to the end; text->len for none. @return NULL
 * without memory. All that publishing needs is taken here, where there is a way back. */
static struct event *new_event(const struct buf *text, size_t alert_at) {
    struct event *e = text->failed ? NULL : calloc(1, sizeof *e + text->len);
    if (e == NULL) return NULL;
    memcpy(e->text, text->base, text->len);
    e->pub.tail = slice__of(e->text, text->len);
    e->alert_at = alert_at;
    e->alert_len = text->len - alert_at;
    if (e->alert_len == 0) return e;
    e->json = malloc(e->alert_len);
    if (e->json == NULL) {
        free(e);
        return NULL;
    }
    memcpy(e->json, e->text + alert_at, e->alert_len);
    return e;
}

/* A client must hear of an alert before it hears of changes, and of its end above all. */
static void tell_later(struct record *r, struct incident *i, enum alert_kind kind) {
    struct alerts *a = r->alerts;
    bool ends = kind == KIND_RESOLVED || kind == KIND_EXPIRED;
    a->n_untold += i->untold == 0;
    if (i->untold != KIND_CREATED + 1 || ends) i->untold = (int)kind + 1;
    r->short_of = true;
}

void tell_untold(struct alerts *a, struct record *r) {
    if (a->n_untold == 0) return;
    struct incident *const lists[] = {a->recent.first, a->firing.first};
    for (size_t n = 0; n < 2; n++)
        for (struct incident *i = lists[n]; i != NULL; i = i->next)
            if (i->untold != 0) record__event(r, i, (enum alert_kind)(i->untold - 1));
}

void record__event(struct record *r, struct incident *i, enum alert_kind kind) {
    struct alerts *a = r->alerts;
    struct buf text = buf__init(ALERT_JSON_MAX);
    i->ver++; /* As the event says; taken back when there is none. */
    buf__printf(&text, "\"ts\":%" PRId64 ",\"kind\":\"%s\",\"alert\":", now_ms(a),
                alert_kind__name(kind));
    size_t at = text.len;
    render_alert(a, i, &text);
    struct event *e = r->lost ? NULL : new_event(&text, at);
    buf__fini(&text);
    if (e == NULL) {
        i->ver--;
        tell_later(r, i, kind);
        return;
    }
    a->n_untold -= i->untold != 0;
    i->untold = 0;
    i->event_ms = now_ms(a);
    i->counted = false;
    e->incident = i;
    e->status = i->status;
    e->sev = i->sev;
    e->pub.sev = i->event_sev > i->sev ? i->event_sev : i->sev;
    i->event_sev = i->sev;
    SET_TEXT(e->class, slice__str(i->class));
    i->n_pending++;
    add_event(r, e);
    series__inc(a->m_events[kind]);
}

bool record__flag(struct record *r, const char *name, bool value, const char *class,
                  int64_t auto_resume_ms, struct slice extra) {
    struct buf text = buf__init(ALERT_JSON_MAX);
    buf__printf(&text, "\"ts\":%" PRId64 ",\"name\":", now_ms(r->alerts));
    buf__json_string(&text, slice__str(name));
    buf__printf(&text, ",\"value\":%s,\"class\":", value ? "true" : "false");
    buf__json_string(&text, slice__str(class));
    if (auto_resume_ms != 0) buf__printf(&text, ",\"auto_resume_at\":%" PRId64, auto_resume_ms);
    buf__append_slice(&text, extra);
    struct event *e = r->lost ? NULL : new_event(&text, text.len);
    buf__fini(&text);
    if (e == NULL) return false;
    e->pub.is_flag = true;
    SET_TEXT(e->class, slice__str(class));
    add_event(r, e);
    return true;
}

void publish_event(struct alerts *a, struct event *e) {
    struct incident *i = e->incident;
    if (i != NULL) {
        free(i->json);
        i->json = e->json; /* Taken. */
        e->json = NULL;
        i->json_len = e->alert_len;
        i->json_sev = e->sev;
        i->json_status = e->status;
        if (i->n_pending > 0) i->n_pending--;
        e->incident = NULL;
    }
    if (a->top + 1 != e->pub.off) { /* Only after a restore that starts in the middle. */
        clear_ring(a);
        a->oldest = e->pub.off;
    }
    if (e->pub.off - a->oldest >= ALERTS_EVENTS_MAX) {
        free_event(a->ring[a->oldest % ALERTS_EVENTS_MAX]);
        a->oldest++;
    }
    a->ring[e->pub.off % ALERTS_EVENTS_MAX] = e;
    a->top = e->pub.off;
    for (struct alerts_listener *l = a->listeners; l != NULL; l = l->next)
        l->on_event(l->data, &e->pub);
}

static void break_log(struct alerts *a, int status) {
    if (a->broken) return;
    a->broken = true;
    series__set(a->m_broken, 1);
    LOG_ERROR("alerts", "the log does not take events; they go out without it",
              LOG_S("err", err__text(status)));
    clear_ring(a);
    new_epoch(a);
    for (struct alerts_listener *l = a->listeners; l != NULL; l = l->next) l->on_epoch(l->data);
}

/* An attempt to heal failed and nothing was appended behind it: the log has nothing of this epoch,
 * so clients, who know it, need not start again. */
static void stay_broken(struct alerts *a) {
    a->broken = true;
    series__set(a->m_broken, 1);
}

static void end_record(struct alerts *a, struct record *r) {
    if (r->status != 0 && r->heals && a->pending == NULL) stay_broken(a);
    else if (r->status != 0) break_log(a, r->status);
    for (struct event *e = r->first, *next; e != NULL; e = next) {
        next = e->next;
        publish_event(a, e);
    }
    if (r->heals && r->status == 0) {
        /* The state that was saved had the keys of commands that failed to be logged. */
        for (struct key_entry *k = a->key_first; k != NULL; k = k->next)
            if (k->state == KEY_FAILED) k->state = KEY_DURABLE;
        LOG_INFO("alerts", "the log takes events again");
    }
    if (r->seen_wall_ns != 0)
        series__observe(a->m_e2e, (double)(a->clock->wall_ns - r->seen_wall_ns) / (double)NS_PER_S);
    if (r->key != NULL) key__settle(a, r->key, r->status);
    r->first = NULL;
    r->key = NULL;
    if (!r->abandoned) free(r);
}

/* Publishes what is synced, in order. Listeners may cause further records: no recursion. */
static void drain(struct alerts *a) {
    if (a->draining) return;
    a->draining = true;
    while (a->pending != NULL && a->pending->done) {
        struct record *r = a->pending;
        a->pending = r->next;
        if (a->pending == NULL) a->pending_at = &a->pending;
        end_record(a, r);
    }
    a->draining = false;
    incident__trim(a);
}

void abandon_pending(struct alerts *a) {
    struct record *r = a->pending;
    if (r == NULL || r->done || ++r->n_ticks < LOG_PATIENCE_TICKS) return;
    for (; r != NULL; r = r->next) {
        if (r->done) continue;
        r->abandoned = r->done = true;
        r->status = ERR_UNAVAILABLE;
        a->n_abandoned++;
    }
    drain(a);
}

static void on_synced(void *data, int status) {
    struct record *r = data;
    if (r->abandoned) { /* What it says, if the log has it now, is of an epoch that is over. */
        r->alerts->n_abandoned--;
        free(r);
        return;
    }
    r->done = true;
    r->status = status;
    drain(r->alerts);
}

static void render_record(const struct record *r, struct buf *out) {
    buf__printf(out, "{\"v\":1,\"epoch\":\"%s\",\"events\":[", r->alerts->epoch);
    for (const struct event *e = r->first; e != NULL; e = e->next)
        buf__printf(out, "%s{\"off\":%" PRIu64 "%s,%.*s}", e == r->first ? "" : ",", e->pub.off,
                    e->pub.is_flag ? ",\"flag\":true" : "", SLICE_FMT(e->pub.tail));
    buf__append_str(out, "]");
    if (r->key != NULL) {
        buf__append_str(out, ",\"key\":");
        render_key(r->key, out);
    }
    buf__append_str(out, "}");
}

static void queue_record(struct record *r) {
    struct alerts *a = r->alerts;
    r->next = NULL;
    *a->pending_at = r;
    a->pending_at = &r->next;
}

static void append_record(struct record *r, struct slice json) {
    struct alerts *a = r->alerts;
    if (a->options.append == NULL) {
        on_synced(r, 0);
        return;
    }
    int code = a->options.append(a->options.ctx, json, on_synced, r);
    if (code != 0) on_synced(r, code);
}

void record__commit(struct record *r) {
    struct alerts *a = r->alerts;
    if (r->lost) return;
    if (r->n_events == 0 && r->key == NULL) {
        free(r);
        return;
    }
    queue_record(r);
    if (a->broken || (r->short_of && r->key != NULL)) {
        /* A command of which the log would hold the key and not the change is not done yet. */
        on_synced(r, a->broken ? ERR_UNAVAILABLE : ERR_NOMEM);
        return;
    }
    struct buf json = buf__init(RECORD_MAX);
    render_record(r, &json);
    if (json.failed) on_synced(r, ERR_LIMIT);
    else append_record(r, buf__slice(&json));
    buf__fini(&json);
}

void heal(struct alerts *a) {
    if (!a->broken || a->options.append == NULL || a->pending != NULL) return;
    if (a->n_abandoned > 0)
        return; /* It has enough to write, and no use for another whole state. */
    struct record *r;
    struct buf json = buf__init(RECORD_MAX);
    record__begin(a, &r);
    if (r->lost) return;
    r->heals = true;
    alerts__save(a, &json);
    a->broken = false; /* What follows is appended behind it; its own failure tells. */
    series__set(a->m_broken, 0);
    queue_record(r);
    if (json.failed) on_synced(r, ERR_LIMIT);
    else append_record(r, buf__slice(&json));
    buf__fini(&json);
}
