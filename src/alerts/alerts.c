/* The room's life, its listeners, and how its published state is read. */
#include "alerts_internal.h"
#include <inttypes.h>
#include <stdlib.h>

static const char *const states[] = {"firing", "acked", "snoozed", "muted"};
enum { STATE_FIRING, STATE_ACKED, STATE_SNOOZED, STATE_MUTED, STATES };

void set_text(char *out, size_t size, struct slice text) {
    size_t n = text.len < size - 1 ? text.len : size - 1;
    /* Not in the middle of a character. */
    while (n > 0 && n < text.len && ((unsigned char)text.base[n] & 0xc0) == 0x80) n--;
    if (n > 0) memcpy(out, text.base, n);
    out[n] = '\0';
}

static void init_metrics(struct alerts *a, struct metrics *m) {
    for (int sev = 0; sev < ALERT_SEVS; sev++)
        for (int s = 0; s < STATES; s++)
            a->m_alerts[sev][s] = metrics__gauge(
                m, "souk_alerts", "Open incidents; acked, snoozed and muted ones also fire",
                "state=\"%s\",severity=\"%s\"", states[s], alert_sev__name((enum alert_sev)sev));
    for (int k = 0; k < KINDS; k++)
        a->m_events[k] =
            metrics__counter(m, "souk_alert_events_total", "Events of the alert stream",
                             "kind=\"%s\"", alert_kind__name((enum alert_kind)k));
    a->m_e2e =
        metrics__histogram(m, "souk_alert_e2e_seconds",
                           "From the cause being received to the event being durable", "%s", "");
    a->m_mutes = metrics__gauge(m, "souk_muted_signals", "Mute rules in force", "%s", "");
    a->m_refused = metrics__counter(m, "souk_alerts_refused_total",
                                    "Signals refused because too many incidents fire", "%s", "");
    a->m_keys = metrics__gauge(m, "souk_alert_command_keys",
                               "Keys of commands that are remembered, so that each has its effect "
                               "once",
                               "%s", "");
    a->m_broken = metrics__gauge(m, "souk_alert_log_failed",
                                 "1 while events go out without the durable log", "%s", "");
}

int alerts__open(struct alerts **out, const struct clock *clock, struct metrics *metrics,
                 const struct alerts_options *options, struct err *e) {
    *out = NULL;
    struct alerts *a = calloc(1, sizeof *a);
    if (a == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    a->clock = clock;
    a->metrics = metrics;
    a->options = *options;
    a->rng = options->seed;
    a->oldest = 1;
    a->pending_at = &a->pending;
    a->ring = calloc(ALERTS_EVENTS_MAX, sizeof *a->ring);
    if (a->ring == NULL || map__init(&a->by_fp, ALERTS_FIRING_MAX) != 0 ||
        map__init(&a->by_id, ALERTS_FIRING_MAX + 2 * ALERTS_RECENT_MAX + 4096) != 0 ||
        map__init(&a->keys, KEYS_TOTAL_MAX) != 0) {
        alerts__free(a);
        return err__setf(e, ERR_NOMEM, "out of memory");
    }
    new_epoch(a);
    init_metrics(a, metrics);
    *out = a;
    return 0;
}

static void free_list(struct incident_list *list) {
    for (struct incident *i = list->first, *next; i != NULL; i = next) {
        next = i->next;
        incident__free(i);
    }
}

void alerts__free(struct alerts *a) {
    if (a == NULL) return;
    for (struct record *r = a->pending, *next; r != NULL; r = next) {
        next = r->next;
        for (struct event *e = r->first, *e_next; e != NULL; e = e_next) {
            e_next = e->next;
            free_event(e);
        }
        free(r);
    }
    while (a->key_first != NULL) key__remove(a, a->key_first);
    for (struct mute *m = a->mutes, *next; m != NULL; m = next) {
        next = m->next;
        free(m);
    }
    if (a->ring != NULL) clear_ring(a);
    free(a->ring);
    free_list(&a->firing);
    free_list(&a->recent);
    map__fini(&a->by_fp);
    map__fini(&a->by_id);
    map__fini(&a->keys);
    free(a);
}

void alerts__subscribe(struct alerts *a, struct alerts_listener *listener) {
    listener->next = a->listeners;
    a->listeners = listener;
}

void alerts__unsubscribe(struct alerts *a, struct alerts_listener *listener) {
    for (struct alerts_listener **at = &a->listeners; *at != NULL; at = &(*at)->next)
        if (*at == listener) {
            *at = listener->next;
            return;
        }
}

const char *alerts__epoch(const struct alerts *a) { return a->epoch; }
uint64_t alerts__top(const struct alerts *a) { return a->top; }
uint64_t alerts__oldest(const struct alerts *a) { return a->oldest; }

const struct alert_event *alerts__event(const struct alerts *a, uint64_t off) {
    if (off < a->oldest || off > a->top) return NULL;
    return &a->ring[off % ALERTS_EVENTS_MAX]->pub;
}

static void each_in(const struct incident_list *list, bool firing, bool recent,
                    void (*fn)(void *ctx, const struct alert_view *view), void *ctx) {
    for (const struct incident *i = list->first; i != NULL; i = i->next) {
        if (i->json == NULL || !(i->json_status == ALERT_FIRING ? firing : recent)) continue;
        struct alert_view view = {.id = i->id,
                                  .class = i->class,
                                  .sev = i->json_sev,
                                  .status = i->json_status,
                                  .json = slice__of(i->json, i->json_len)};
        fn(ctx, &view);
    }
}

void alerts__each(const struct alerts *a, bool recent,
                  void (*fn)(void *ctx, const struct alert_view *view), void *ctx) {
    /* What has ended but is not published yet still shows as firing. */
    each_in(&a->recent, true, recent, fn, ctx);
    each_in(&a->firing, true, recent, fn, ctx);
}

void alerts__switches(const struct alerts *a, struct buf *out) {
    buf__append_str(out, "\"flags\":[");
    for (size_t i = 0; i < a->n_flags; i++) {
        if (i > 0) buf__append_str(out, ",");
        render_flag(&a->flags[i], out);
    }
    buf__append_str(out, "],\"mutes\":[");
    for (const struct mute *m = a->mutes; m != NULL; m = m->next) {
        render_mute(m, out);
        if (m->next != NULL) buf__append_str(out, ",");
    }
    buf__append_str(out, "]");
}

struct list_ctx {
    struct buf *out;
    struct slice status;
    bool any;
};

static void list_one(void *ctx, const struct alert_view *view) {
    static const char *const names[] = {"firing", "resolved", "expired"};
    struct list_ctx *l = ctx;
    if (l->status.len > 0 && !slice__eq(l->status, slice__str(names[view->status]))) return;
    if (l->any) buf__append_str(l->out, ",");
    l->any = true;
    buf__append_slice(l->out, view->json);
}

void alerts__list(const struct alerts *a, struct slice status, struct buf *out) {
    struct list_ctx ctx = {.out = out, .status = status};
    buf__printf(out, "{\"epoch\":\"%s\",\"off\":%" PRIu64 ",\"alerts\":[", a->epoch, a->top);
    alerts__each(a, true, list_one, &ctx);
    buf__append_str(out, "]}");
}

void alerts__summary(const struct alerts *a, struct alerts_summary *out) {
    *out = (struct alerts_summary){0};
    const struct incident *newest = a->recent.last;
    for (const struct incident *i = a->firing.first; i != NULL; i = i->next) {
        out->n_firing++;
        out->n_by_sev[i->sev]++;
        out->n_unacked_critical += i->sev == ALERT_CRITICAL && !i->acked;
        if (newest == NULL || i->first_ms >= newest->first_ms) newest = i;
    }
    if (newest == NULL) return;
    SET_TEXT(out->last_title, slice__str(newest->title));
    out->last_sev = newest->sev;
    out->last_ts_ms = newest->first_ms;
}

static bool is_muted(const struct alerts *a, const struct incident *i) {
    for (const struct mute *m = a->mutes; m != NULL; m = m->next)
        if (mute__matches(m, i)) return true;
    return false;
}

void count_gauges(struct alerts *a) {
    size_t n[ALERT_SEVS][STATES] = {0};
    for (const struct incident *i = a->firing.first; i != NULL; i = i->next) {
        n[i->sev][STATE_FIRING]++;
        n[i->sev][STATE_ACKED] += i->acked;
        n[i->sev][STATE_SNOOZED] += i->snooze_until_ms != 0;
        n[i->sev][STATE_MUTED] += is_muted(a, i);
    }
    for (int sev = 0; sev < ALERT_SEVS; sev++)
        for (int s = 0; s < STATES; s++) series__set(a->m_alerts[sev][s], (double)n[sev][s]);
    series__set(a->m_mutes, (double)a->n_mutes);
}
