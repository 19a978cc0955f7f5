/* Incidents: raise, clear, and what time does to them. */
#include "alerts_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static void list_push(struct incident_list *l, struct incident *i) {
    i->prev = l->last;
    i->next = NULL;
    if (l->last == NULL) l->first = i;
    else l->last->next = i;
    l->last = i;
    l->n++;
}

static void list_remove(struct incident_list *l, struct incident *i) {
    if (i->prev == NULL) l->first = i->next;
    else i->prev->next = i->next;
    if (i->next == NULL) l->last = i->prev;
    else i->next->prev = i->prev;
    l->n--;
}

void incident__free(struct incident *i) {
    free(i->json);
    free(i);
}

struct incident *incident__add(struct alerts *a, struct incident *from) {
    struct incident *i = malloc(sizeof *i);
    if (i == NULL) return NULL;
    *i = *from;
    if (map__put(&a->by_fp, slice__str(i->fp), i) != 0) {
        free(i);
        return NULL;
    }
    if (map__put(&a->by_id, slice__str(i->id), i) != 0) {
        map__remove(&a->by_fp, slice__str(i->fp));
        free(i);
        return NULL;
    }
    list_push(&a->firing, i);
    return i;
}

void incident__end(struct alerts *a, struct incident *i, enum alert_status status) {
    i->status = status;
    map__remove(&a->by_fp, slice__str(i->fp));
    list_remove(&a->firing, i);
    list_push(&a->recent, i);
}

void incident__trim(struct alerts *a) {
    for (struct incident *i = a->recent.first, *next; i != NULL; i = next) {
        next = i->next;
        bool old = now_ms(a) - i->event_ms > DAY_MS;
        if (a->recent.n <= ALERTS_RECENT_MAX && !old) return;
        if (i->n_pending > 0 || i->untold != 0) continue;
        list_remove(&a->recent, i);
        map__remove(&a->by_id, slice__str(i->id));
        incident__free(i);
    }
}

static int by_key(const void *x, const void *y) {
    return strcmp(((const struct label *)x)->key, ((const struct label *)y)->key);
}

/* Sorted, so that the order in which a room names labels does not matter. */
static void set_identity(struct incident *i, const char *class, const struct alert_label *labels,
                         size_t n) {
    SET_TEXT(i->class, slice__str(class));
    i->n_labels = n < ALERT_LABELS_MAX ? n : ALERT_LABELS_MAX;
    for (size_t k = 0; k < i->n_labels; k++) {
        SET_TEXT(i->labels[k].key, slice__str(labels[k].key));
        SET_TEXT(i->labels[k].value, slice__str(labels[k].value));
    }
    qsort(i->labels, i->n_labels, sizeof *i->labels, by_key);
    char text[64 + ALERT_LABELS_MAX * sizeof(struct label) + 64];
    size_t len = (size_t)snprintf(text, sizeof text, "%s", i->class) + 1;
    for (size_t k = 0; k < i->n_labels; k++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s\x1f%s\x1e", i->labels[k].key,
                                i->labels[k].value);
    snprintf(i->fp, sizeof i->fp, "%016" PRIx64, (uint64_t)XXH3_64bits(text, len));
}

static void set_details(struct incident *i, const struct alert_signal *s) {
    SET_TEXT(i->title, slice__str(s->title));
    SET_TEXT(i->body, slice__str(s->body));
    SET_TEXT(i->reason, slice__str(s->reason));
    SET_TEXT(i->runbook, slice__str(s->runbook));
    i->n_why = s->n_why < ALERT_WHY_MAX ? s->n_why : ALERT_WHY_MAX;
    for (size_t k = 0; k < i->n_why; k++) {
        SET_TEXT(i->why[k].key, slice__str(s->why[k].key));
        SET_TEXT(i->why[k].op, slice__str(s->why[k].op));
        i->why[k].threshold = s->why[k].threshold;
        i->why[k].value = s->why[k].value;
    }
    i->n_stats = s->n_stats < ALERT_STATS_MAX ? s->n_stats : ALERT_STATS_MAX;
    for (size_t k = 0; k < i->n_stats; k++) {
        SET_TEXT(i->stats[k].key, slice__str(s->stats[k].key));
        i->stats[k].value = s->stats[k].value;
    }
    i->stale = s->stale;
    i->double_confirm = s->double_confirm;
    i->ttl_ms = s->ttl_ns / NS_PER_MS;
}

/* The id follows from fingerprint, time and place in the stream, so that a replay gives the same.
 */
static void set_id(struct alerts *a, struct incident *i) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    char text[64];
    int n = snprintf(text, sizeof text, "%s %" PRId64 " %" PRIu64, i->fp, i->first_ms, a->off + 1);
    uint64_t v = XXH3_64bits(text, (size_t)n);
    memcpy(i->id, "al_", 3);
    for (int k = 3; k < 16; k++, v >>= 5) i->id[k] = digits[v & 31];
    i->id[16] = '\0';
}

static void raise_again(struct alerts *a, struct incident *i, const struct alert_signal *s) {
    bool escalates = s->sev > i->sev;
    struct record *r;
    i->count++;
    i->last_ms = now_ms(a);
    i->counted = true;
    i->sev = s->sev;
    set_details(i, s);
    if (!escalates && now_ms(a) - i->event_ms < UPDATE_GAP_MS) return; /* tick() tells later. */
    record__begin(a, &r);
    r->seen_wall_ns = s->seen_wall_ns;
    if (escalates) {
        i->acked = false;
        i->snooze_until_ms = 0;
    }
    record__event(r, i, escalates ? KIND_ESCALATED : KIND_UPDATED);
    record__commit(r);
}

int alerts__raise(struct alerts *a, const struct alert_signal *s) {
    struct incident fresh = {
        .sev = s->sev, .count = 1, .first_ms = now_ms(a), .last_ms = now_ms(a)};
    set_identity(&fresh, s->class, s->labels, s->n_labels);
    struct incident *i = map__get(&a->by_fp, slice__str(fresh.fp));
    if (i != NULL) {
        raise_again(a, i, s);
        return 0;
    }
    set_details(&fresh, s);
    set_id(a, &fresh);
    i = a->firing.n < ALERTS_FIRING_MAX ? incident__add(a, &fresh) : NULL;
    if (i == NULL) {
        series__inc(a->m_refused);
        return ERR_FULL;
    }
    struct record *r;
    record__begin(a, &r);
    r->seen_wall_ns = s->seen_wall_ns;
    record__event(r, i, KIND_CREATED);
    record__commit(r);
    return 0;
}

static void end_incident(struct alerts *a, struct record *r, struct incident *i,
                         enum alert_status status) {
    incident__end(a, i, status);
    i->acked = false;
    i->snooze_until_ms = 0;
    record__event(r, i, status == ALERT_RESOLVED ? KIND_RESOLVED : KIND_EXPIRED);
}

void alerts__clear(struct alerts *a, const char *class, const struct alert_label *labels,
                   size_t n_labels) {
    struct incident key = {0};
    set_identity(&key, class, labels, n_labels);
    struct incident *i = map__get(&a->by_fp, slice__str(key.fp));
    if (i == NULL) return;
    struct record *r;
    record__begin(a, &r);
    end_incident(a, r, i, ALERT_RESOLVED);
    record__commit(r);
}

bool alerts__fires(const struct alerts *a, const char *class, const struct alert_label *labels,
                   size_t n_labels, bool *acked) {
    struct incident key = {0};
    set_identity(&key, class, labels, n_labels);
    /* The map is searched only; its functions do not know const. */
    const struct incident *i =
        map__get(&((struct alerts *)(uintptr_t)a)->by_fp, slice__str(key.fp));
    *acked = i != NULL && i->acked;
    return i != NULL;
}

void alerts__flag(struct alerts *a, const char *name, const char *class, bool value,
                  int64_t auto_resume_ms) {
    size_t i = 0;
    while (i < a->n_flags &&
           (strcmp(a->flags[i].name, name) != 0 || strcmp(a->flags[i].class, class) != 0))
        i++;
    bool is_set = i < a->n_flags;
    if (is_set == value || (value && a->n_flags == ALERTS_FLAGS_MAX)) return;
    struct record *r;
    record__begin(a, &r);
    bool told = record__flag(r, name, value, class, auto_resume_ms, (struct slice){0});
    if (told && value) {
        struct flag *f = &a->flags[a->n_flags++];
        *f = (struct flag){.auto_resume_ms = auto_resume_ms};
        SET_TEXT(f->name, slice__str(name));
        SET_TEXT(f->class, slice__str(class));
    } else if (told) {
        a->flags[i] = a->flags[--a->n_flags];
    }
    record__commit(r);
}

bool unmute(struct alerts *a, struct record *r, struct mute **at) {
    struct mute *m = *at;
    struct buf extra = buf__init(ALERT_JSON_MAX);
    buf__append_str(&extra, ",\"mute\":");
    render_mute(m, &extra);
    bool told = !extra.failed && record__flag(r, "mute", false, m->class, 0, buf__slice(&extra));
    buf__fini(&extra);
    if (!told) return false;
    *at = m->next;
    a->n_mutes--;
    for (struct incident *i = a->firing.first; i != NULL; i = i->next)
        if (mute__matches(m, i)) record__event(r, i, KIND_UNMUTED);
    free(m);
    return true;
}

static void tick_incident(struct alerts *a, struct record *r, struct incident *i) {
    if (i->ttl_ms > 0 && i->last_ms + i->ttl_ms <= now_ms(a)) {
        end_incident(a, r, i, ALERT_EXPIRED);
        return;
    }
    if (i->snooze_until_ms != 0 && i->snooze_until_ms <= now_ms(a)) {
        i->snooze_until_ms = 0;
        record__event(r, i, KIND_WOKE);
    }
    if (i->counted && now_ms(a) - i->event_ms >= UPDATE_GAP_MS) record__event(r, i, KIND_UPDATED);
}

static void age_ring(struct alerts *a) {
    while (a->oldest <= a->top &&
           a->ring[a->oldest % ALERTS_EVENTS_MAX]->pub.ts_ms < now_ms(a) - DAY_MS) {
        free_event(a->ring[a->oldest % ALERTS_EVENTS_MAX]);
        a->ring[a->oldest++ % ALERTS_EVENTS_MAX] = NULL;
    }
}

void alerts__tick(struct alerts *a) {
    struct record *r;
    record__begin(a, &r);
    tell_untold(a, r);
    for (struct mute **at = &a->mutes; *at != NULL;) {
        bool over = (*at)->until_ms != 0 && (*at)->until_ms <= now_ms(a);
        if (!over || !unmute(a, r, at)) at = &(*at)->next;
    }
    for (struct incident *i = a->firing.first, *next; i != NULL; i = next) {
        next = i->next;
        tick_incident(a, r, i);
    }
    record__commit(r);
    age_ring(a);
    key__age(a);
    incident__trim(a);
    abandon_pending(a);
    heal(a);
    count_gauges(a);
}
