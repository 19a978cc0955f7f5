/* The property that the stream promises: under random events, filters,
 * disconnects, slow readers, restarts with and without a new epoch and repeated commands, the map
 * of each client ends equal to the server's, each event is applied at most once, and each command
 * takes effect exactly once. Clients here follow the client's side of the contract; frames go
 * through queues in memory, bounded like those of sockets. */
#include "../lib/moved.h"
#include "session.h"
#include "souk/alerts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include <cmocka.h>

#define CLIENTS 6
#define ALERTS 24
#define QUEUE 16
#define LOG_MAX 200000

struct entry {
    char id[32], json[2048];
    uint64_t ver;
};

struct client {
    struct session session;
    bool connected, closed; /* Closed by the server: it will connect again. */
    int close_code;
    struct frame *queue[QUEUE + 8];
    size_t n_queue;
    bool stuck;
    /* What the client knows. */
    char epoch[9];
    uint64_t mine;
    bool has_mine;
    enum alert_sev sev_min;
    struct entry map[ALERTS * 2];
    size_t n_map;
    bool in_snapshot;
    struct entry fresh[ALERTS * 2];
    size_t n_fresh;
    uint64_t applied_to; /* Highest offset applied in this epoch. */
    /* The command in flight, repeated with the same key until it is answered. */
    char key[32], args[96];
    bool wants;
    int n_ok, n_dup;
};

struct world {
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    struct sessions sessions;
    struct client clients[CLIENTS];
    char **log;
    size_t n_log;
    bool hold;
    struct {
        alerts_synced_cb cb;
        void *data;
    } held[4096];
    size_t n_held;
    uint64_t rng;
    unsigned n_keys;
    int n_notes; /* Commands that took effect, by the events they made. */
    struct alerts_listener counter;
};

static unsigned roll(struct world *w, unsigned n) {
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return (unsigned)(w->rng % n);
}

static int append(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    struct world *w = ctx;
    assert_true(w->n_log < LOG_MAX);
    w->log[w->n_log++] = slice__dup(json);
    if (!w->hold) {
        synced(data, 0);
        return 0;
    }
    assert_true(w->n_held < 4096);
    w->held[w->n_held].cb = synced;
    w->held[w->n_held++].data = data;
    return 0;
}

static void release(struct world *w) {
    size_t n = w->n_held;
    w->n_held = 0;
    for (size_t i = 0; i < n; i++) w->held[i].cb(w->held[i].data, 0);
}

/* --- The wire --- */

static bool io_has_room(void *ctx, size_t len) {
    struct client *c = ctx;
    (void)len;
    return c->connected && c->n_queue < QUEUE;
}
static bool io_send(void *ctx, struct frame *frame, uint64_t off) {
    struct client *c = ctx;
    (void)off;
    if (!io_has_room(ctx, frame->len)) return false;
    c->queue[c->n_queue++] = frame__ref(frame);
    return true;
}
static bool io_is_stuck(void *ctx) { return ((struct client *)ctx)->stuck; }
static void io_close(void *ctx, int code, const char *reason) {
    struct client *c = ctx;
    (void)reason;
    c->closed = true;
    c->close_code = code;
}
static const struct session_io io = {io_send, io_has_room, io_is_stuck, io_close};

static void disconnect(struct client *c) {
    if (!c->connected) return;
    c->connected = false;
    session__fini(&c->session, 1006);
    for (size_t i = 0; i < c->n_queue; i++) frame__unref(c->queue[i]); /* Lost on the way. */
    c->n_queue = 0;
    c->closed = c->in_snapshot = false;
}

static void say(struct client *c, const char *text) {
    session__on_text(&c->session, slice__str(text));
}

static void connect_client(struct world *w, struct client *c) {
    char text[256], resume[96] = "";
    struct principal who = {.read = true, .write = true};
    snprintf(who.name, sizeof who.name, "client%d", (int)(c - w->clients));
    c->connected = true;
    c->stuck = false;
    session__open(&c->session, &w->sessions, &who, &io, c);
    if (c->has_mine)
        snprintf(resume, sizeof resume, ",\"resume\":{\"epoch\":\"%s\",\"off\":%llu}", c->epoch,
                 (unsigned long long)c->mine);
    snprintf(text, sizeof text, "{\"t\":\"hello\",\"id\":1,\"sub\":{\"sev\":\"%s\"}%s}",
             alert_sev__name(c->sev_min), resume);
    say(c, text);
}

/* --- The client's side of the contract --- */

static void put(struct entry *map, size_t *n, yyjson_val *alert, bool firing) {
    const char *id = yyjson_get_str(yyjson_obj_get(alert, "id"));
    uint64_t ver = yyjson_get_uint(yyjson_obj_get(alert, "ver"));
    size_t i = 0;
    while (i < *n && strcmp(map[i].id, id) != 0) i++;
    if (i < *n && map[i].ver >= ver) return;
    if (!firing) {
        if (i < *n) map[i] = map[--*n];
        return;
    }
    if (i == *n) ++*n;
    assert_true(*n <= ALERTS * 2);
    snprintf(map[i].id, sizeof map[i].id, "%s", id);
    map[i].ver = ver;
    char *text = yyjson_val_write(alert, 0, NULL);
    snprintf(map[i].json, sizeof map[i].json, "%s", text);
    free(text);
}

static enum alert_sev sev_of(yyjson_val *alert) {
    const char *name = yyjson_get_str(yyjson_obj_get(alert, "sev"));
    return strcmp(name, "critical") == 0  ? ALERT_CRITICAL
           : strcmp(name, "warning") == 0 ? ALERT_WARNING
                                          : ALERT_INFO;
}

static void on_stream_frame(struct client *c, yyjson_val *m) {
    uint64_t off = yyjson_get_uint(yyjson_obj_get(m, "off")),
             prev = yyjson_get_uint(yyjson_obj_get(m, "prev"));
    assert_true(prev == c->mine); /* On one connection there is never a gap. */
    assert_true(off > c->applied_to);
    c->mine = c->applied_to = off;
    yyjson_val *alert = yyjson_obj_get(m, "alert");
    if (alert == NULL) return;
    bool firing = yyjson_equals_str(yyjson_obj_get(alert, "status"), "firing");
    put(c->map, &c->n_map, alert, firing && sev_of(alert) >= c->sev_min);
}

static void on_message(struct client *c, struct slice text) {
    yyjson_doc *doc = yyjson_read(text.base, text.len, 0);
    assert_non_null(doc);
    yyjson_val *m = yyjson_doc_get_root(doc), *one;
    const char *t = yyjson_get_str(yyjson_obj_get(m, "t"));
    size_t i, max;
    if (strcmp(t, "welcome") == 0) {
        const char *epoch = yyjson_get_str(yyjson_obj_get(m, "epoch"));
        if (yyjson_equals_str(yyjson_obj_get(m, "mode"), "snapshot")) c->has_mine = false;
        else assert_string_equal(epoch, c->epoch);
        snprintf(c->epoch, sizeof c->epoch, "%s", epoch);
    } else if (strcmp(t, "snap_begin") == 0) {
        c->n_fresh = 0;
        c->in_snapshot = true;
    } else if (strcmp(t, "snap") == 0) {
        assert_true(c->in_snapshot);
        yyjson_arr_foreach(yyjson_obj_get(m, "alerts"), i, max, one)
            put(c->fresh, &c->n_fresh, one, true);
    } else if (strcmp(t, "snap_end") == 0) { /* Only a whole snapshot replaces what we know. */
        memcpy(c->map, c->fresh, sizeof c->map);
        c->n_map = c->n_fresh;
        c->mine = c->applied_to = yyjson_get_uint(yyjson_obj_get(m, "off"));
        c->has_mine = true;
        c->in_snapshot = false;
    } else if (strcmp(t, "ev") == 0 || strcmp(t, "flag") == 0) {
        on_stream_frame(c, m);
    } else if (strcmp(t, "res") == 0 && c->wants) {
        bool ok = yyjson_is_true(yyjson_obj_get(m, "ok"));
        c->n_ok += ok;
        c->n_dup += yyjson_is_true(yyjson_obj_get(m, "dup"));
        c->wants = false;
    }
    yyjson_doc_free(doc);
}

static void deliver(struct world *w, struct client *c, size_t n) {
    (void)w;
    for (; n > 0 && c->n_queue > 0; n--) {
        struct frame *f = c->queue[0];
        memmove(c->queue, c->queue + 1, --c->n_queue * sizeof *c->queue);
        on_message(c, frame__payload(f));
        frame__unref(f);
    }
    if (c->connected && !c->closed) session__pump(&c->session);
}

/* --- The world --- */

static void count_notes(void *data, const struct alert_event *e) {
    struct world *w = data;
    w->n_notes += memmem(e->tail.base, e->tail.len, "\"note\":{", 8) != NULL &&
                  memmem(e->tail.base, e->tail.len, "\"kind\":\"updated\"", 16) != NULL &&
                  memmem(e->tail.base, e->tail.len, "\"class\":\"noted\"", 15) != NULL;
}
static void ignore_epoch(void *data) { (void)data; }

static void open_server(struct world *w, unsigned seed) {
    struct err e;
    struct alerts_options options = {.ctx = w, .append = append, .seed = seed};
    assert_int_equal(alerts__open(&w->alerts, &w->clock, &w->metrics, &options, &e), 0);
}

static void start_server(struct world *w) {
    w->counter =
        (struct alerts_listener){.data = w, .on_event = count_notes, .on_epoch = ignore_epoch};
    alerts__subscribe(w->alerts, &w->counter);
    sessions__init(&w->sessions, w->alerts, &w->clock, &w->metrics);
}

static void restart(struct world *w, bool lose_log) {
    struct err e;
    release(w); /* What was appended counts as synced; a torn tail is the log's to cut. */
    for (int i = 0; i < CLIENTS; i++) disconnect(&w->clients[i]);
    uint64_t next_sid = w->sessions.next_sid;
    sessions__fini(&w->sessions);
    alerts__free(w->alerts);
    if (lose_log) {
        for (size_t i = 0; i < w->n_log; i++) free(w->log[i]);
        w->n_log = 0;
        for (int i = 0; i < CLIENTS; i++)
            w->clients[i].wants = false; /* Their keys are lost too. */
    }
    open_server(w, roll(w, 1u << 30) + 1);
    for (size_t i = 0; i < w->n_log; i++)
        assert_int_equal(alerts__restore(w->alerts, slice__str(w->log[i]), &e), 0);
    start_server(w);
    w->sessions.next_sid = next_sid;
}

static void compact(struct world *w) {
    struct buf save = buf__init(32 << 20);
    if (w->n_held > 0) return;
    alerts__save(w->alerts, &save);
    for (size_t i = 0; i < w->n_log; i++) free(w->log[i]);
    w->log[0] = slice__dup(buf__slice(&save));
    w->n_log = 1;
    buf__fini(&save);
}

static void random_signal(struct world *w) {
    char class[16];
    snprintf(class, sizeof class, "c%u", roll(w, ALERTS));
    struct alert_signal s = {.class = class,
                             .sev = (enum alert_sev)roll(w, 3),
                             .title = "t",
                             .body = "b",
                             .ttl_ns = roll(w, 2) * 30 * NS_PER_S};
    if (roll(w, 3) == 0) alerts__clear(w->alerts, class, NULL, 0);
    else alerts__raise(w->alerts, &s);
    if (roll(w, 20) == 0) alerts__flag(w->alerts, "stale_data", class, roll(w, 2) == 0, 0);
}

static void find_noted(void *ctx, const struct alert_view *view) {
    if (strcmp(view->class, "noted") == 0) snprintf(ctx, 32, "%s", view->id);
}

/* A note on an alert that always fires; said again and again, also after reconnecting. */
static void random_command(struct world *w, struct client *c) {
    if (!c->wants) {
        char id[32] = "";
        alerts__each(w->alerts, false, find_noted, id);
        if (id[0] == '\0') return;
        snprintf(c->key, sizeof c->key, "key-%012u", ++w->n_keys);
        snprintf(c->args, sizeof c->args, "{\"alert\":\"%s\",\"text\":\"n\"}", id);
        c->wants = true;
    }
    char text[256];
    snprintf(text, sizeof text,
             "{\"t\":\"cmd\",\"id\":9,\"key\":\"%s\",\"op\":\"note\",\"args\":%s}", c->key,
             c->args);
    say(c, text);
}

static void step_client(struct world *w, struct client *c) {
    if (c->closed) disconnect(c);
    if (!c->connected) {
        if (roll(w, 4) == 0) connect_client(w, c);
        return;
    }
    switch (roll(w, 12)) {
    case 0: disconnect(c); break;
    case 1: c->stuck = !c->stuck; break;
    case 2: random_command(w, c); break;
    default:
        if (!c->stuck) deliver(w, c, roll(w, 6));
    }
}

struct compare {
    struct client *c;
    size_t n;
};

static void compare_one(void *ctx, const struct alert_view *view) {
    struct compare *k = ctx;
    if (view->sev < k->c->sev_min) return;
    k->n++;
    size_t i = 0;
    while (i < k->c->n_map && strcmp(k->c->map[i].id, view->id) != 0) i++;
    if (i == k->c->n_map) fail_msg("client misses %s", view->id);
    yyjson_doc *doc = yyjson_read(view->json.base, view->json.len, 0);
    char *text = yyjson_val_write(yyjson_doc_get_root(doc), 0, NULL);
    assert_string_equal(text, k->c->map[i].json);
    free(text);
    yyjson_doc_free(doc);
}

static void settle(struct world *w) {
    w->hold = false;
    release(w);
    for (int round = 0; round < 200; round++)
        for (int i = 0; i < CLIENTS; i++) {
            struct client *c = &w->clients[i];
            if (c->closed) disconnect(c);
            if (!c->connected) connect_client(w, c);
            c->stuck = false;
            deliver(w, c, QUEUE);
            w->clock.mono_ns += NS_PER_S; /* For the rate of messages. */
            if (c->wants && !c->closed && c->session.state == SESSION_LIVE) random_command(w, c);
        }
    for (int i = 0; i < CLIENTS; i++) {
        struct compare k = {.c = &w->clients[i]};
        assert_int_equal(k.c->session.state, SESSION_LIVE);
        assert_false(k.c->wants);
        alerts__each(w->alerts, false, compare_one, &k);
        assert_int_equal(k.n, k.c->n_map);
    }
}

static void run_world(unsigned seed, int steps, bool lose_logs) {
    struct world *w = calloc(1, sizeof *w);
    w->log = calloc(LOG_MAX, sizeof *w->log);
    w->rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    w->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = INT64_C(1795219000000) * NS_PER_MS};
    metrics__init(&w->metrics);
    open_server(w, seed);
    start_server(w);
    for (int i = 0; i < CLIENTS; i++) w->clients[i].sev_min = (enum alert_sev)(i % 3);
    struct alert_signal noted = {
        .class = "noted", .sev = ALERT_CRITICAL, .title = "n", .body = "b"};
    alerts__raise(w->alerts, &noted);
    for (int step = 0; step < steps; step++) {
        w->clock.wall_ns += (int64_t)roll(w, 500) * NS_PER_MS;
        w->clock.mono_ns += (int64_t)roll(w, 500) * NS_PER_MS;
        for (unsigned n = roll(w, 4); n > 0; n--) random_signal(w);
        if (roll(w, 5) == 0) alerts__tick(w->alerts);
        if (roll(w, 7) == 0) w->hold = !w->hold;
        if (!w->hold) release(w);
        if (roll(w, 150) == 0) {
            bool lose = lose_logs && roll(w, 2) == 0;
            restart(w, lose);
            if (lose) alerts__raise(w->alerts, &noted);
        }
        if (roll(w, 200) == 0) compact(w);
        for (int i = 0; i < CLIENTS; i++) step_client(w, &w->clients[i]);
        if (step % 500 == 499) settle(w);
    }
    settle(w);
    /* Where no log was lost, every key took effect once: as many notes as keys. */
    if (!lose_logs) assert_int_equal(w->n_notes, w->n_keys);
    assert_true(w->n_keys > 10);
    for (int i = 0; i < CLIENTS; i++) disconnect(&w->clients[i]);
    for (size_t i = 0; i < w->n_log; i++) free(w->log[i]);
    sessions__fini(&w->sessions);
    alerts__free(w->alerts);
    moved__write(&w->metrics);
    metrics__fini(&w->metrics);
    free(w->log);
    free(w);
}

static void test_session_every_client_ends_with_the_servers_map(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 8; seed++) run_world(seed, 1500, false);
}

static void test_session_also_when_the_log_is_lost(void **state) {
    (void)state;
    for (unsigned seed = 101; seed <= 106; seed++) run_world(seed, 1500, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_every_client_ends_with_the_servers_map),
        cmocka_unit_test(test_session_also_when_the_log_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
