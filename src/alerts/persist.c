/* What the log holds of the room: single records of events and keys, and the whole state. */
#include "alerts_internal.h"
#include <inttypes.h>
#include <stdlib.h>

static struct slice text_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    return yyjson_is_str(v) ? slice__of(yyjson_get_str(v), yyjson_get_len(v)) : (struct slice){0};
}

static int64_t int_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    return yyjson_is_int(v) ? yyjson_get_sint(v) : 0;
}

static uint64_t uint_of(yyjson_val *obj, const char *key) {
    int64_t v = int_of(obj, key);
    return v < 0 ? 0 : (uint64_t)v;
}

static enum alert_sev read_sev(struct slice name) {
    return slice__eq(name, SLICE_LIT("critical"))  ? ALERT_CRITICAL
           : slice__eq(name, SLICE_LIT("warning")) ? ALERT_WARNING
                                                   : ALERT_INFO;
}

static enum alert_status read_status(struct slice name) {
    return slice__eq(name, SLICE_LIT("resolved"))  ? ALERT_RESOLVED
           : slice__eq(name, SLICE_LIT("expired")) ? ALERT_EXPIRED
                                                   : ALERT_FIRING;
}

/* yyjson's loops want a container: what is missing or something else counts as an empty one. */
#define EACH_ITEM(arr, i, max, item)                                                               \
    if (yyjson_is_arr(arr)) yyjson_arr_foreach(arr, i, max, item)
#define EACH_MEMBER(obj, i, max, key, item)                                                        \
    if (yyjson_is_obj(obj)) yyjson_obj_foreach(obj, i, max, key, item)

static size_t read_labels(yyjson_val *obj, struct label *out) {
    size_t n = 0, i, max;
    yyjson_val *key, *value;
    EACH_MEMBER(obj, i, max, key, value) {
        if (n == ALERT_LABELS_MAX || !yyjson_is_str(value)) break;
        SET_TEXT(out[n].key, slice__of(yyjson_get_str(key), yyjson_get_len(key)));
        SET_TEXT(out[n].value, slice__of(yyjson_get_str(value), yyjson_get_len(value)));
        n++;
    }
    return n;
}

bool read_match(yyjson_val *match, struct mute *m) {
    if (!yyjson_is_obj(match)) return false;
    SET_TEXT(m->class, text_of(match, "class"));
    yyjson_val *labels = yyjson_obj_get(match, "labels");
    if (labels != NULL && (!yyjson_is_obj(labels) || yyjson_obj_size(labels) > ALERT_LABELS_MAX))
        return false;
    m->n_labels = read_labels(labels, m->labels);
    return m->n_labels == yyjson_obj_size(labels) && (m->class[0] != '\0' || m->n_labels > 0);
}

static void read_numbers(yyjson_val *v, struct incident *out) {
    size_t i, max;
    yyjson_val *key, *one;
    EACH_ITEM(yyjson_obj_get(v, "why"), i, max, one) {
        if (out->n_why == ALERT_WHY_MAX) break;
        SET_TEXT(out->why[out->n_why].key, text_of(one, "k"));
        SET_TEXT(out->why[out->n_why].op, text_of(one, "op"));
        out->why[out->n_why].threshold = yyjson_get_num(yyjson_obj_get(one, "thr"));
        out->why[out->n_why].value = yyjson_get_num(yyjson_obj_get(one, "val"));
        out->n_why++;
    }
    yyjson_val *stats = yyjson_obj_get(v, "stats");
    EACH_MEMBER(stats, i, max, key, one) {
        if (!yyjson_is_num(one) || out->n_stats == ALERT_STATS_MAX) continue;
        SET_TEXT(out->stats[out->n_stats].key, slice__of(yyjson_get_str(key), yyjson_get_len(key)));
        out->stats[out->n_stats++].value = yyjson_get_num(one);
    }
    out->stale = yyjson_is_true(yyjson_obj_get(stats, "stale"));
}

static bool read_alert(yyjson_val *v, struct incident *out) {
    *out = (struct incident){.ver = uint_of(v, "ver"),
                             .count = uint_of(v, "count"),
                             .first_ms = int_of(v, "first_ts"),
                             .last_ms = int_of(v, "last_ts"),
                             .sev = read_sev(text_of(v, "sev")),
                             .status = read_status(text_of(v, "status"))};
    SET_TEXT(out->id, text_of(v, "id"));
    SET_TEXT(out->fp, text_of(v, "fp"));
    SET_TEXT(out->class, text_of(v, "class"));
    SET_TEXT(out->title, text_of(v, "title"));
    SET_TEXT(out->body, text_of(v, "body"));
    out->n_labels = read_labels(yyjson_obj_get(v, "labels"), out->labels);
    read_numbers(v, out);
    yyjson_val *guard = yyjson_obj_get(v, "guard"), *ack = yyjson_obj_get(v, "ack"),
               *snooze = yyjson_obj_get(v, "snooze"), *note = yyjson_obj_get(v, "note");
    out->double_confirm = yyjson_is_true(yyjson_obj_get(guard, "double_confirm"));
    SET_TEXT(out->reason, text_of(guard, "reason"));
    SET_TEXT(out->runbook, text_of(yyjson_obj_get(v, "links"), "runbook"));
    int64_t expires_ms = int_of(v, "expires_ts");
    if (expires_ms > out->last_ms) out->ttl_ms = expires_ms - out->last_ms;
    out->acked = yyjson_is_obj(ack);
    out->ack_ms = int_of(ack, "ts");
    SET_TEXT(out->ack_by, text_of(ack, "by"));
    SET_TEXT(out->ack_note, text_of(ack, "note"));
    out->snooze_until_ms = int_of(snooze, "until_ts");
    SET_TEXT(out->snooze_by, text_of(snooze, "by"));
    out->note_ms = int_of(note, "ts");
    SET_TEXT(out->note, text_of(note, "text"));
    SET_TEXT(out->note_by, text_of(note, "by"));
    out->event_ms = out->last_ms;
    out->event_sev = out->sev;
    return out->id[0] != '\0' && out->fp[0] != '\0';
}

/* Puts a restored alert where it belongs; one that is known takes the new state. */
static struct incident *put_alert(struct alerts *a, yyjson_val *v) {
    struct incident read;
    if (!read_alert(v, &read)) return NULL;
    struct incident *i = map__get(&a->by_id, slice__str(read.id));
    if (i == NULL) {
        enum alert_status status = read.status;
        read.status = ALERT_FIRING;
        bool fits =
            map__get(&a->by_fp, slice__str(read.fp)) == NULL && a->firing.n < ALERTS_FIRING_MAX;
        if (fits && (i = incident__add(a, &read)) == NULL) a->restore_no_memory = true;
        if (i != NULL && status != ALERT_FIRING) incident__end(a, i, status);
        return i;
    }
    /* It is found by its fingerprint, and what has ended does not fire again under the same id. */
    if (strcmp(i->fp, read.fp) != 0) return NULL;
    if (i->status != ALERT_FIRING) read.status = i->status;
    if (i->status == ALERT_FIRING && read.status != ALERT_FIRING) incident__end(a, i, read.status);
    read.prev = i->prev;
    read.next = i->next;
    read.n_pending = i->n_pending;
    read.untold = i->untold;
    read.event_sev = i->event_sev;
    read.json = i->json;
    read.json_len = i->json_len;
    read.json_sev = i->json_sev;
    read.json_status = i->json_status;
    *i = read;
    return i;
}

static void put_mute(struct alerts *a, yyjson_val *v, bool value) {
    struct slice id = text_of(v, "id");
    struct mute **at = &a->mutes;
    while (*at != NULL && !slice__eq(slice__str((*at)->id), id)) at = &(*at)->next;
    struct mute *m = *at;
    if (!value && m != NULL) {
        *at = m->next;
        free(m);
        a->n_mutes--;
    }
    if (!value || m != NULL || a->n_mutes >= ALERTS_MUTES_MAX) return;
    m = calloc(1, sizeof *m);
    if (m == NULL) a->restore_no_memory = true;
    if (m == NULL) return;
    if (!read_match(yyjson_obj_get(v, "match"), m) || id.len == 0) {
        free(m);
        return;
    }
    SET_TEXT(m->id, id);
    SET_TEXT(m->reason, text_of(v, "reason"));
    SET_TEXT(m->by, text_of(v, "by"));
    m->made_ms = int_of(v, "ts");
    m->until_ms = int_of(v, "until_ts");
    *at = m;
    a->n_mutes++;
}

static void put_flag(struct alerts *a, yyjson_val *v) {
    bool value = yyjson_is_true(yyjson_obj_get(v, "value"));
    struct slice name = text_of(v, "name"), class = text_of(v, "class");
    if (slice__eq(name, SLICE_LIT("mute"))) {
        put_mute(a, yyjson_obj_get(v, "mute"), value);
        return;
    }
    size_t i = 0;
    while (i < a->n_flags && (!slice__eq(slice__str(a->flags[i].name), name) ||
                              !slice__eq(slice__str(a->flags[i].class), class)))
        i++;
    if (!value && i < a->n_flags) a->flags[i] = a->flags[--a->n_flags];
    if (!value || i < a->n_flags || a->n_flags == ALERTS_FLAGS_MAX) return;
    struct flag *f = &a->flags[a->n_flags++];
    *f = (struct flag){.auto_resume_ms = int_of(v, "auto_resume_at")};
    SET_TEXT(f->name, name);
    SET_TEXT(f->class, class);
}

static void put_key(struct alerts *a, yyjson_val *v) {
    struct slice principal = text_of(v, "p"), key = text_of(v, "k");
    if (principal.len == 0 || principal.len > 63 || key.len == 0 || key.len > 64) return;
    char name[64 + 1 + 64];
    memcpy(name, principal.base, principal.len);
    name[principal.len] = '\0';
    memcpy(name + principal.len + 1, key.base, key.len);
    if (map__get(&a->keys, slice__of(name, principal.len + 1 + key.len)) != NULL) return;
    struct key_entry *k = key__add(a, principal, key);
    if (k == NULL) a->restore_no_memory = true;
    if (k == NULL) return;
    k->state = KEY_DURABLE;
    k->hash = yyjson_get_uint(yyjson_obj_get(v, "h"));
    k->off = uint_of(v, "off");
    k->at_ms = int_of(v, "at");
    SET_TEXT(k->alert, text_of(v, "alert"));
    SET_TEXT(k->mute, text_of(v, "mute"));
}

/* Writes @v again behind @before; what the ring and snapshots hold is text. */
static void add_json(struct buf *out, const char *before, yyjson_val *v) {
    size_t len = 0;
    char *text = yyjson_val_write(v, 0, &len);
    buf__append_str(out, before);
    if (text != NULL) buf__append(out, text, len);
    else out->failed = out->no_memory = true;
    free(text);
}

static void put_event(struct alerts *a, yyjson_val *v) {
    bool is_flag = yyjson_is_true(yyjson_obj_get(v, "flag"));
    uint64_t off = uint_of(v, "off");
    if (off == 0 || off <= a->off) return; /* A state that was saved later knows it already. */
    yyjson_val *alert = yyjson_obj_get(v, "alert");
    struct incident *i = NULL;
    if (is_flag) put_flag(a, v);
    else if ((i = put_alert(a, alert)) == NULL) return;
    struct buf text = buf__init(ALERT_JSON_MAX);
    size_t at = 0, n, max;
    yyjson_val *key, *value;
    EACH_MEMBER(v, n, max, key, value) {
        struct slice name = slice__of(yyjson_get_str(key), yyjson_get_len(key));
        if (slice__eq(name, SLICE_LIT("off")) || slice__eq(name, SLICE_LIT("flag"))) continue;
        if (text.len > 0) buf__append_str(&text, ",");
        buf__json_string(&text, name);
        buf__append_str(&text, ":");
        if (value == alert) at = text.len;
        add_json(&text, "", value);
    }
    struct event *e = text.failed ? NULL : calloc(1, sizeof *e + text.len);
    char *json = e == NULL || i == NULL || text.len == at ? NULL : malloc(text.len - at);
    if (e == NULL || (i != NULL && json == NULL)) {
        a->restore_no_memory = a->restore_no_memory || !text.failed || text.no_memory;
        buf__fini(&text);
        free(json);
        free(e);
        return;
    }
    if (text.len > 0) memcpy(e->text, text.base, text.len);
    e->pub = (struct alert_event){.off = off,
                                  .ts_ms = int_of(v, "ts"),
                                  .is_flag = is_flag,
                                  .class = e->class,
                                  .tail = slice__of(e->text, text.len)};
    e->alert_at = at;
    e->alert_len = text.len - at;
    e->json = json;
    if (json != NULL) memcpy(json, text.base + at, text.len - at);
    SET_TEXT(e->class, i == NULL ? text_of(v, "class") : slice__str(i->class));
    if (i != NULL) {
        e->incident = i;
        e->status = i->status;
        e->sev = i->sev;
        e->pub.sev = i->event_sev > i->sev ? i->event_sev : i->sev;
        i->event_sev = i->sev;
        i->event_ms = e->pub.ts_ms;
        i->n_pending++;
    }
    buf__fini(&text);
    a->off = off;
    publish_event(a, e);
}

static void put_saved_alert(struct alerts *a, yyjson_val *v) {
    struct incident *i = put_alert(a, v);
    if (i == NULL) return;
    struct buf text = buf__init(ALERT_JSON_MAX);
    add_json(&text, "", v);
    a->restore_no_memory = a->restore_no_memory || text.no_memory;
    free(i->json);
    i->json = text.base; /* Taken. */
    i->json_len = text.len;
    i->json_sev = i->sev;
    i->json_status = i->status;
}

static void forget_all(struct alerts *a) {
    while (a->firing.first != NULL) incident__end(a, a->firing.first, ALERT_EXPIRED);
    for (struct incident *i = a->recent.first, *next; i != NULL; i = next) {
        next = i->next;
        map__remove(&a->by_id, slice__str(i->id));
        incident__free(i);
    }
    a->recent = (struct incident_list){0};
    while (a->mutes != NULL) {
        struct mute *m = a->mutes;
        a->mutes = m->next;
        free(m);
    }
    a->n_mutes = a->n_flags = 0;
    while (a->key_first != NULL) key__remove(a, a->key_first);
}

static void restore_state(struct alerts *a, yyjson_val *root, struct slice epoch) {
    size_t i, max;
    yyjson_val *v;
    uint64_t off = uint_of(root, "off");
    bool same = slice__eq(slice__str(a->epoch), epoch) && a->top == off;
    forget_all(a);
    if (!same) {
        clear_ring(a);
        a->off = a->top = off;
        a->oldest = off + 1;
    }
    SET_TEXT(a->epoch, epoch);
    EACH_ITEM(yyjson_obj_get(root, "alerts"), i, max, v) put_saved_alert(a, v);
    EACH_ITEM(yyjson_obj_get(root, "flags"), i, max, v) put_flag(a, v);
    EACH_ITEM(yyjson_obj_get(root, "mutes"), i, max, v) put_mute(a, v, true);
    EACH_ITEM(yyjson_obj_get(root, "keys"), i, max, v) put_key(a, v);
}

int alerts__restore(struct alerts *a, struct slice json, struct err *e) {
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)json.base, json.len, 0, NULL, &why);
    yyjson_val *root = yyjson_doc_get_root(doc);
    struct slice epoch = text_of(root, "epoch");
    if (int_of(root, "v") != 1 || epoch.len != 8) {
        yyjson_doc_free(doc);
        bool no_memory = doc == NULL && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION;
        return err__setf(e, no_memory ? ERR_NOMEM : ERR_MALFORMED, "alert record of %zu bytes: %s",
                         json.len, doc == NULL ? why.msg : "not a record of version 1");
    }
    a->restore_no_memory = false;
    if (yyjson_is_true(yyjson_obj_get(root, "save"))) {
        restore_state(a, root, epoch);
    } else {
        size_t i, max;
        yyjson_val *v;
        if (!slice__eq(slice__str(a->epoch), epoch)) {
            clear_ring(a);
            SET_TEXT(a->epoch, epoch);
        }
        EACH_ITEM(yyjson_obj_get(root, "events"), i, max, v) put_event(a, v);
        put_key(a, yyjson_obj_get(root, "key"));
    }
    yyjson_doc_free(doc);
    incident__trim(a);
    if (!a->restore_no_memory) return 0;
    return err__setf(e, ERR_NOMEM, "alert record of %zu bytes: no memory", json.len);
}

void render_key(const struct key_entry *k, struct buf *out) {
    buf__append_str(out, "{\"p\":");
    buf__json_string(out, slice__of(k->name, k->principal_len));
    buf__append_str(out, ",\"k\":");
    buf__json_string(out,
                     slice__of(k->name + k->principal_len + 1, k->name_len - k->principal_len - 1));
    buf__printf(out, ",\"h\":%" PRIu64 ",\"off\":%" PRIu64 ",\"at\":%" PRId64, k->hash, k->off,
                k->at_ms);
    if (k->alert[0] != '\0') {
        buf__append_str(out, ",\"alert\":");
        buf__json_string(out, slice__str(k->alert));
    }
    if (k->mute[0] != '\0') {
        buf__append_str(out, ",\"mute\":");
        buf__json_string(out, slice__str(k->mute));
    }
    buf__append_str(out, "}");
}

/* What was counted but not told yet is told now: else the saved state and the last event of an
 * incident would differ under the same version. */
static void tell_counted(struct alerts *a) {
    struct record *r;
    record__begin(a, &r);
    tell_untold(a, r);
    for (struct incident *i = a->firing.first; i != NULL; i = i->next)
        if (i->counted) record__event(r, i, KIND_UPDATED);
    record__commit(r);
}

void alerts__save(struct alerts *a, struct buf *out) {
    tell_counted(a);
    buf__printf(out, "{\"v\":1,\"save\":true,\"epoch\":\"%s\",\"off\":%" PRIu64 ",\"alerts\":[",
                a->epoch, a->off);
    bool any = false;
    for (int n = 0; n < 2; n++)
        for (const struct incident *i = (n == 0 ? &a->recent : &a->firing)->first; i != NULL;
             i = i->next) {
            if (any) buf__append_str(out, ",");
            any = true;
            render_alert(a, i, out);
        }
    buf__append_str(out, "],");
    alerts__switches(a, out);
    buf__append_str(out, ",\"keys\":[");
    for (const struct key_entry *k = a->key_first; k != NULL; k = k->next) {
        if (k != a->key_first) buf__append_str(out, ",");
        render_key(k, out);
    }
    buf__append_str(out, "]}");
}
