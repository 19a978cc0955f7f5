/* Commands of clients: each runs once for its idempotency key, and is answered when the log has it.
 *
 * A key remembers which alert and offset came of it, not the text of the answer: a repeated command
 * is answered with the alert as it is now and "dup":true. A command that was refused changed
 * nothing, so its key is not kept. */
#include "alerts_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define MUTE_MAX_MS (INT64_C(366) * DAY_MS)

struct run { /* One command while it runs. */
    struct alerts *a;
    const struct alert_command *command;
    yyjson_val *args;
    struct incident *incident; /* What it is about; may stay NULL. */
    struct record *record;
    const char *code, *msg; /* Of the refusal. */
    char mute[32];
    char by[64];
};

static int refuse(struct run *r, const char *code, const char *msg) {
    r->code = code;
    r->msg = msg;
    return -1;
}

static struct slice text_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    return slice__of(yyjson_get_str(v), yyjson_get_len(v) * (yyjson_is_str(v) ? 1u : 0u));
}

static struct incident *find(struct alerts *a, struct slice id) {
    return id.len == 0 ? NULL : map__get(&a->by_id, id);
}

/* for_s or until, as a wall time in ms. */
static int read_until(struct run *r, int64_t *until_ms) {
    yyjson_val *for_s = yyjson_obj_get(r->args, "for_s"), *until = yyjson_obj_get(r->args, "until");
    double ms = yyjson_is_num(for_s)   ? (double)now_ms(r->a) + yyjson_get_num(for_s) * 1000
                : yyjson_is_num(until) ? yyjson_get_num(until)
                                       : 0;
    if (!(ms > (double)now_ms(r->a)) || ms > (double)(now_ms(r->a) + MUTE_MAX_MS))
        return refuse(r, "bad_request", "for_s or until must lie within the next 366 days");
    *until_ms = (int64_t)ms;
    return 0;
}

static int run_ack(struct run *r) {
    r->incident->acked = true;
    r->incident->ack_ms = now_ms(r->a);
    SET_TEXT(r->incident->ack_by, slice__str(r->by));
    SET_TEXT(r->incident->ack_note, text_of(r->args, "note"));
    record__event(r->record, r->incident, KIND_ACKED);
    return 0;
}

static int run_unack(struct run *r) {
    if (!r->incident->acked) return 0;
    r->incident->acked = false;
    record__event(r->record, r->incident, KIND_UNACKED);
    return 0;
}

static int run_snooze(struct run *r) {
    int64_t until_ms = 0;
    if (read_until(r, &until_ms) != 0) return -1;
    r->incident->snooze_until_ms = until_ms;
    SET_TEXT(r->incident->snooze_by, slice__str(r->by));
    record__event(r->record, r->incident, KIND_SNOOZED);
    return 0;
}

static int run_unsnooze(struct run *r) {
    if (r->incident->snooze_until_ms == 0) return 0;
    r->incident->snooze_until_ms = 0;
    record__event(r->record, r->incident, KIND_WOKE);
    return 0;
}

static int run_note(struct run *r) {
    struct slice text = text_of(r->args, "text");
    if (text.len == 0) text = text_of(r->args, "note");
    if (text.len == 0) return refuse(r, "bad_request", "a note needs text");
    r->incident->note_ms = now_ms(r->a);
    SET_TEXT(r->incident->note, text);
    SET_TEXT(r->incident->note_by, slice__str(r->by));
    record__event(r->record, r->incident, KIND_UPDATED);
    return 0;
}

static int run_mute(struct run *r) {
    struct alerts *a = r->a;
    struct mute read = {.made_ms = now_ms(a)};
    if (a->n_mutes >= ALERTS_MUTES_MAX) return refuse(r, "unavailable", "200 mute rules exist");
    if (!read_match(yyjson_obj_get(r->args, "match"), &read))
        return refuse(r, "bad_request", "match needs a class or labels");
    if (!yyjson_is_true(yyjson_obj_get(r->args, "forever")) && read_until(r, &read.until_ms) != 0)
        return -1;
    SET_TEXT(read.reason, text_of(r->args, "reason"));
    SET_TEXT(read.by, slice__str(r->by));
    char text[160];
    int n = snprintf(text, sizeof text, "%.*s %" PRIu64 " %" PRId64,
                     (int)(r->command->key.len < 64 ? r->command->key.len : 64),
                     r->command->key.base, a->off, now_ms(a));
    snprintf(read.id, sizeof read.id, "mu_%016" PRIx64, (uint64_t)XXH3_64bits(text, (size_t)n));
    struct mute *m = malloc(sizeof *m), **at = &a->mutes;
    if (m == NULL) return refuse(r, "unavailable", "out of memory");
    *m = read;
    struct buf extra = buf__init(ALERT_JSON_MAX);
    buf__append_str(&extra, ",\"mute\":");
    render_mute(m, &extra);
    bool told = !extra.failed &&
                record__flag(r->record, "mute", true, m->class, m->until_ms, buf__slice(&extra));
    buf__fini(&extra);
    if (!told) {
        free(m);
        return refuse(r, "unavailable", "out of memory");
    }
    while (*at != NULL) at = &(*at)->next;
    *at = m;
    a->n_mutes++;
    SET_TEXT(r->mute, slice__str(m->id));
    for (struct incident *i = a->firing.first; i != NULL; i = i->next)
        if (mute__matches(m, i)) record__event(r->record, i, KIND_MUTED);
    return 0;
}

static int run_unmute(struct run *r) {
    struct slice id = text_of(r->args, "mute");
    struct mute **at = &r->a->mutes;
    while (*at != NULL && !slice__eq(slice__str((*at)->id), id)) at = &(*at)->next;
    if (*at == NULL) return refuse(r, "not_found", "there is no such mute rule");
    SET_TEXT(r->mute, id);
    return unmute(r->a, r->record, at) ? 0 : refuse(r, "unavailable", "out of memory");
}

static int run_log(struct run *r) {
    /* What clients measured (attention, double confirmations): durable, no event. */
    if (text_of(r->args, "event_name").len == 0)
        return refuse(r, "bad_request", "log needs event_name");
    return 0;
}

static int run_test(struct run *r) {
    struct slice sev = text_of(r->args, "sev");
    enum alert_sev s = slice__eq(sev, SLICE_LIT("critical"))  ? ALERT_CRITICAL
                       : slice__eq(sev, SLICE_LIT("warning")) ? ALERT_WARNING
                                                              : ALERT_INFO;
    struct alert_label label = {"by", r->by};
    struct alert_signal signal = {
        .class = "test",
        .sev = s,
        .title = "Test alert",
        .body = "Somebody asked for a test alert. Nothing is wrong; it ends by itself in a minute.",
        .labels = &label,
        .n_labels = 1,
        .ttl_ns = 60 * NS_PER_S};
    if (alerts__raise(r->a, &signal) != 0) return refuse(r, "unavailable", "too many alerts fire");
    return 0;
}

static const struct op {
    const char *name;
    bool about_alert; /* Needs args.alert, firing. */
    int (*run)(struct run *r);
} ops[] = {
    {"ack", true, run_ack},           {"unack", true, run_unack}, {"snooze", true, run_snooze},
    {"unsnooze", true, run_unsnooze}, {"note", true, run_note},   {"mute", false, run_mute},
    {"unmute", false, run_unmute},    {"log", false, run_log},    {"test", false, run_test}};

static const struct op *find_op(struct slice name) {
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (slice__eq(name, slice__str(ops[i].name))) return &ops[i];
    return NULL;
}

static int run_op(struct run *r) {
    const struct op *op = find_op(r->command->op);
    if (op == NULL) return refuse(r, "unknown_op", "unknown op");
    r->incident = find(r->a, text_of(r->args, "alert"));
    if (op->about_alert) {
        if (r->incident == NULL || r->incident->status != ALERT_FIRING)
            return refuse(r, "not_found", "no such alert is firing");
        yyjson_val *ver = yyjson_obj_get(r->args, "ver");
        if (ver != NULL && (!yyjson_is_uint(ver) || yyjson_get_uint(ver) != r->incident->ver))
            return refuse(r, "stale_version", "the alert has changed since");
    }
    return op->run(r);
}

static void count(struct alerts *a, struct slice op, bool ok) {
    const struct op *known = find_op(op);
    series__inc(metrics__counter(a->metrics, "souk_alert_commands_total", "Commands of clients",
                                 "op=\"%s\",result=\"%s\"", known == NULL ? "unknown" : known->name,
                                 ok ? "ok" : "error"));
}

/* --- Keys --- */

static size_t *principal_count(struct alerts *a, struct slice name) {
    size_t i = 0;
    while (i < PRINCIPALS_MAX - 1 && a->principals[i].name[0] != '\0' &&
           !slice__eq(slice__str(a->principals[i].name), name))
        i++;
    /* The last place counts everybody who came too late for one of their own. */
    SET_TEXT(a->principals[i].name, name);
    return &a->principals[i].n_keys;
}

void key__remove(struct alerts *a, struct key_entry *k) {
    if (k->prev == NULL) a->key_first = k->next;
    else k->prev->next = k->next;
    if (k->next == NULL) a->key_last = k->prev;
    else k->next->prev = k->prev;
    series__set(a->m_keys, (double)--a->n_keys);
    size_t *n = principal_count(a, slice__of(k->name, k->principal_len));
    if (*n > 0) --*n;
    map__remove(&a->keys, slice__of(k->name, k->name_len));
    for (struct waiter *w = k->waiters, *next; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
    free(k);
}

/* Forgets the oldest settled key (of one principal, when @of is not empty). */
static void forget_oldest(struct alerts *a, struct slice of) {
    for (struct key_entry *k = a->key_first; k != NULL; k = k->next)
        if (k->state != KEY_PENDING &&
            (of.len == 0 || slice__eq(slice__of(k->name, k->principal_len), of))) {
            key__remove(a, k);
            return;
        }
}

struct key_entry *key__add(struct alerts *a, struct slice principal, struct slice key) {
    if (*principal_count(a, principal) >= ALERTS_KEYS_MAX) forget_oldest(a, principal);
    if (a->n_keys >= KEYS_TOTAL_MAX) forget_oldest(a, (struct slice){0});
    struct key_entry *k = calloc(1, sizeof *k);
    if (k == NULL) return NULL;
    memcpy(k->name, principal.base, principal.len);
    memcpy(k->name + principal.len + 1, key.base, key.len);
    k->principal_len = principal.len;
    k->name_len = principal.len + 1 + key.len;
    if (map__put(&a->keys, slice__of(k->name, k->name_len), k) != 0) {
        free(k);
        return NULL;
    }
    k->at_ms = now_ms(a);
    k->prev = a->key_last;
    if (k->prev == NULL) a->key_first = k;
    else k->prev->next = k;
    a->key_last = k;
    series__set(a->m_keys, (double)++a->n_keys);
    ++*principal_count(a, principal);
    return k;
}

void key__age(struct alerts *a) {
    while (a->key_first != NULL && a->key_first->state != KEY_PENDING &&
           a->key_first->at_ms < now_ms(a) - DAY_MS)
        key__remove(a, a->key_first);
}

/* An answer that was cut short is no JSON, and none at all would leave the client waiting. */
static void give_answer(const struct waiter *w, bool ok, const struct buf *out) {
    if (w->cb == NULL) return;
    if (!out->failed) w->cb(w->data, ok, buf__slice(out));
    else
        w->cb(w->data, false,
              SLICE_LIT("\"ok\":false,\"err\":{\"code\":\"unavailable\",\"msg\":\"out of memory\","
                        "\"retry\":true}"));
}

static void answer_error(struct waiter *w, const char *code, const char *msg, bool retry,
                         const struct incident *i) {
    struct buf out = buf__init(ALERT_JSON_MAX);
    buf__printf(&out, "\"ok\":false,\"err\":{\"code\":\"%s\",\"msg\":", code);
    buf__json_string(&out, slice__str(msg));
    buf__printf(&out, ",\"retry\":%s}", retry ? "true" : "false");
    if (i != NULL && i->json != NULL)
        buf__printf(&out, ",\"alert\":%.*s", (int)i->json_len, i->json);
    give_answer(w, false, &out);
    buf__fini(&out);
}

static void answer(struct alerts *a, const struct key_entry *k, struct waiter *w) {
    const struct incident *i = find(a, slice__str(k->alert));
    if (k->state == KEY_FAILED) {
        answer_error(w, "unavailable", "the log does not take commands now", true, i);
        return;
    }
    struct buf out = buf__init(ALERT_JSON_MAX);
    buf__printf(&out, "\"ok\":true%s,\"off\":%" PRIu64, w->dup ? ",\"dup\":true" : "", k->off);
    if (i != NULL && i->json != NULL)
        buf__printf(&out, ",\"alert\":%.*s", (int)i->json_len, i->json);
    if (k->mute[0] != '\0') {
        buf__append_str(&out, ",\"mute\":");
        buf__json_string(&out, slice__str(k->mute));
    }
    give_answer(w, true, &out);
    buf__fini(&out);
}

void key__settle(struct alerts *a, struct key_entry *k, int status) {
    k->state = status == 0 ? KEY_DURABLE : KEY_FAILED;
    while (k->waiters != NULL) {
        struct waiter *w = k->waiters;
        k->waiters = w->next;
        answer(a, k, w);
        free(w);
    }
}

static int wait_for(struct key_entry *k, const struct waiter *waiter) {
    struct waiter *w = malloc(sizeof *w), **at = &k->waiters;
    if (w == NULL) return ERR_NOMEM;
    *w = *waiter;
    w->next = NULL;
    while (*at != NULL) at = &(*at)->next;
    *at = w;
    return 0;
}

static bool is_key(struct slice key) {
    if (key.len < 16 || key.len > 64) return false;
    for (size_t i = 0; i < key.len; i++)
        if (key.base[i] <= ' ' || key.base[i] > '~') return false;
    return true;
}

/* What remembers the command, and who waits for it, comes first: what has changed something must
 * never be answered with "try again". */
static void run_new(struct run *r, struct waiter *w, uint64_t hash) {
    struct alerts *a = r->a;
    struct key_entry *k = key__add(a, r->command->principal, r->command->key);
    if (k == NULL || wait_for(k, w) != 0) {
        if (k != NULL) key__remove(a, k);
        count(a, r->command->op, false);
        answer_error(w, "unavailable", "out of memory", true, NULL);
        return;
    }
    record__begin(a, &r->record);
    int code = r->record->lost ? refuse(r, "unavailable", "out of memory") : run_op(r);
    count(a, r->command->op, code == 0);
    if (code != 0) { /* Refused before anything changed. */
        key__remove(a, k);
        record__commit(r->record);
        answer_error(w, r->code, r->msg, strcmp(r->code, "unavailable") == 0, r->incident);
        return;
    }
    k->hash = hash;
    k->off = a->off;
    if (r->incident != NULL) SET_TEXT(k->alert, slice__str(r->incident->id));
    SET_TEXT(k->mute, slice__str(r->mute));
    r->record->key = k;
    record__commit(r->record);
}

void alerts__command(struct alerts *a, const struct alert_command *c, alert_result_cb cb,
                     void *data) {
    struct waiter w = {.cb = cb, .data = data};
    char name[64 + 1 + 64];
    if (!is_key(c->key) || c->principal.len == 0 || c->principal.len > 63) {
        answer_error(&w, "bad_request", "key must have 16 to 64 printable characters", false, NULL);
        return;
    }
    yyjson_read_err why = {0};
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)c->args.base, c->args.len, 0, NULL, &why);
    if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
        bool no_memory = doc == NULL && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION;
        yyjson_doc_free(doc);
        if (no_memory) answer_error(&w, "unavailable", "out of memory", true, NULL);
        else answer_error(&w, "bad_request", "args must be an object", false, NULL);
        return;
    }
    uint64_t hash =
        XXH3_64bits_withSeed(c->args.base, c->args.len, XXH3_64bits(c->op.base, c->op.len));
    memcpy(name, c->principal.base, c->principal.len);
    name[c->principal.len] = '\0';
    memcpy(name + c->principal.len + 1, c->key.base, c->key.len);
    struct key_entry *k = map__get(&a->keys, slice__of(name, c->principal.len + 1 + c->key.len));
    if (k != NULL) {
        w.dup = true;
        if (k->hash != hash)
            answer_error(&w, "key_reuse", "the key was used for another command", false, NULL);
        else if (k->state != KEY_PENDING) answer(a, k, &w);
        else if (wait_for(k, &w) != 0) answer_error(&w, "unavailable", "out of memory", true, NULL);
    } else {
        struct run r = {.a = a, .command = c, .args = yyjson_doc_get_root(doc)};
        SET_TEXT(r.by, c->principal);
        run_new(&r, &w, hash);
    }
    yyjson_doc_free(doc);
}

void alerts__forget(struct alerts *a, const void *data) {
    for (const struct record *r = a->pending; r != NULL; r = r->next)
        for (struct waiter *w = r->key == NULL ? NULL : r->key->waiters; w != NULL; w = w->next)
            if (w->data == data) w->cb = NULL;
}
