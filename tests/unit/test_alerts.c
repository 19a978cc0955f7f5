/* Incidents, commands, and what survives a restart or a log that fails. */
#include "../lib/moved.h"
#include "souk/alerts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LOG_MAX 4096

struct fixture {
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    char *log[LOG_MAX];
    size_t n_log;
    bool broken, hold; /* Appends fail; are synced later. */
    struct {
        alerts_synced_cb cb;
        void *data;
    } held[64];
    size_t n_held;
    char result[4096];
    int n_results;
    bool ok;
};

static int append(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    struct fixture *f = ctx;
    if (f->broken) return ERR_IO;
    assert_true(f->n_log < LOG_MAX);
    f->log[f->n_log++] = slice__dup(json);
    if (f->hold) {
        f->held[f->n_held].cb = synced;
        f->held[f->n_held++].data = data;
    } else {
        synced(data, 0);
    }
    return 0;
}

static void release(struct fixture *f, int status) {
    size_t n = f->n_held;
    f->n_held = 0;
    for (size_t i = 0; i < n; i++) f->held[i].cb(f->held[i].data, status);
}

static void open_alerts(struct fixture *f) {
    struct err e;
    struct alerts_options options = {.ctx = f, .append = append, .seed = 42};
    assert_int_equal(alerts__open(&f->alerts, &f->clock, &f->metrics, &options, &e), 0);
}

static int setup(void **state) {
    static struct fixture f;
    f = (struct fixture){.clock = {.wall_ns = INT64_C(1795219000000) * NS_PER_MS}};
    metrics__init(&f.metrics);
    open_alerts(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    alerts__free(f->alerts);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    for (size_t i = 0; i < f->n_log; i++) free(f->log[i]);
    return 0;
}

static void restart(struct fixture *f) {
    struct err e;
    alerts__free(f->alerts);
    open_alerts(f);
    for (size_t i = 0; i < f->n_log; i++)
        assert_int_equal(alerts__restore(f->alerts, slice__str(f->log[i]), &e), 0);
}

static int raise_as(struct fixture *f, const char *class, enum alert_sev sev) {
    struct alert_label labels[] = {{"source", "psapi"}, {"league", "Standard"}};
    struct alert_why why = {"lag_s", ">", 20, 34.5};
    struct alert_signal s = {.class = class,
                             .sev = sev,
                             .title = "Lag \"34\" s",
                             .body = "Since noon.",
                             .labels = labels,
                             .n_labels = 2,
                             .why = &why,
                             .n_why = 1};
    return alerts__raise(f->alerts, &s);
}

static void clear(struct fixture *f, const char *class) {
    struct alert_label labels[] = {{"league", "Standard"}, {"source", "psapi"}}; /* Any order. */
    alerts__clear(f->alerts, class, labels, 2);
}

static void on_result(void *data, bool ok, struct slice result) {
    struct fixture *f = data;
    f->ok = ok;
    f->n_results++;
    snprintf(f->result, sizeof f->result, "%.*s", SLICE_FMT(result));
}

static bool command_of(struct fixture *f, const char *principal, const char *key, const char *op,
                       const char *args) {
    struct alert_command c = {.principal = slice__str(principal),
                              .key = slice__str(key),
                              .op = slice__str(op),
                              .args = slice__str(args)};
    int before = f->n_results;
    alerts__command(f->alerts, &c, on_result, f);
    return f->n_results == before + 1 && f->ok;
}

static bool command(struct fixture *f, const char *key, const char *op, const char *args) {
    return command_of(f, "tester", key, op, args);
}

static bool last_is(const struct fixture *f, const char *text) {
    const struct alert_event *e = alerts__event(f->alerts, alerts__top(f->alerts));
    return e != NULL && memmem(e->tail.base, e->tail.len, text, strlen(text)) != NULL;
}

static void first_id(void *ctx, const struct alert_view *view) {
    char *id = ctx;
    if (id[0] == '\0') snprintf(id, 32, "%s", view->id);
}

static const char *about(const struct fixture *f, char out[128], const char *more) {
    char id[32] = "";
    alerts__each(f->alerts, false, first_id, id);
    snprintf(out, 128, "{\"alert\":\"%s\"%s}", id, more);
    return out;
}

static void pass(struct fixture *f, int64_t s) {
    f->clock.wall_ns += s * NS_PER_S;
    f->clock.mono_ns += s * NS_PER_S;
    alerts__tick(f->alerts);
}

static void test_alerts_repeat_is_counted_not_told(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++) raise_as(f, "drift", ALERT_WARNING);
    assert_int_equal(alerts__top(f->alerts), 1);
    pass(f, 4);
    assert_int_equal(alerts__top(f->alerts), 1);
    pass(f, 1);
    assert_int_equal(alerts__top(f->alerts), 2);
    assert_true(last_is(f, "\"kind\":\"updated\""));
    assert_true(last_is(f, "\"count\":50"));
    pass(f, 60); /* Nothing new: nothing told. */
    assert_int_equal(alerts__top(f->alerts), 2);
}

static void test_alerts_escalation_breaks_ack_and_snooze(void **state) {
    struct fixture *f = *state;
    char args[128];
    raise_as(f, "drift", ALERT_WARNING);
    assert_true(command(f, "key-0000000000-1", "ack", about(f, args, "")));
    assert_true(command(f, "key-0000000000-2", "snooze", about(f, args, ",\"for_s\":900")));
    pass(f, 6);
    raise_as(f, "drift", ALERT_WARNING); /* Equal severity keeps both. */
    assert_true(last_is(f, "\"ack\":{\"by\":\"tester\""));
    raise_as(f, "drift", ALERT_CRITICAL);
    assert_true(last_is(f, "\"kind\":\"escalated\""));
    assert_true(last_is(f, "\"ack\":null,\"snooze\":null"));
    clear(f, "drift");
    assert_true(last_is(f, "\"kind\":\"resolved\""));
    assert_false(command(f, "key-0000000000-3", "ack", about(f, args, "")));
    assert_non_null(strstr(f->result, "not_found"));
}

static void test_alerts_snooze_ends_and_alerts_expire(void **state) {
    struct fixture *f = *state;
    char args[128];
    struct alert_signal s = {
        .class = "listing", .title = "t", .body = "b", .ttl_ns = 60 * NS_PER_S};
    alerts__raise(f->alerts, &s);
    assert_true(command(f, "key-0000000000-1", "snooze", about(f, args, ",\"for_s\":30")));
    pass(f, 30);
    assert_true(last_is(f, "\"kind\":\"woke\""));
    pass(f, 30);
    assert_true(last_is(f, "\"kind\":\"expired\""));
    struct buf out = buf__init(1 << 20);
    alerts__list(f->alerts, SLICE_LIT("expired"), &out);
    assert_non_null(memmem(out.base, out.len, "\"status\":\"expired\"", 18));
    buf__fini(&out);
}

static void test_alerts_commands_have_bounds(void **state) {
    struct fixture *f = *state;
    char args[128];
    static const char *const bad[][2] = {{"snooze", ""},
                                         {"snooze", ",\"for_s\":-1"},
                                         {"snooze", ",\"for_s\":1e300"},
                                         {"snooze", ",\"until\":5"},
                                         {"note", ""},
                                         {"ack", ",\"ver\":9"},
                                         {"ack", ",\"ver\":\"1\""},
                                         {"mute", ""},
                                         {"mute", ",\"match\":{}"},
                                         {"unmute", ",\"mute\":\"mu_x\""},
                                         {"log", ""},
                                         {"dance", ""}};
    raise_as(f, "drift", ALERT_WARNING);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(command(f, "key-0000000000-x", bad[i][0], about(f, args, bad[i][1])));
    assert_false(command(f, "short", "log", "{\"event_name\":\"x\"}"));
    assert_false(command(f, "key-0000000000-x", "log", "[]"));
    assert_int_equal(alerts__top(f->alerts), 1);
    assert_int_equal(f->n_log, 1);
    char key[32];
    for (int i = 0; i < ALERTS_MUTES_MAX; i++) {
        snprintf(key, sizeof key, "key-%012d", i);
        assert_true(command(f, key, "mute", "{\"match\":{\"class\":\"none\"},\"forever\":true}"));
    }
    assert_false(command(f, "key-one-too-many", "mute",
                         "{\"match\":{\"class\":\"none\"},\"forever\":true}"));
    for (int i = 0; i < ALERTS_FIRING_MAX - 1; i++) {
        snprintf(key, sizeof key, "c%d", i);
        f->n_log = f->n_log > 300 ? (free(f->log[f->n_log - 1]), f->n_log - 1) : f->n_log;
        assert_int_equal(raise_as(f, key, ALERT_INFO), 0);
    }
    assert_int_equal(raise_as(f, "one more", ALERT_INFO), ERR_FULL);
}

static void log_as(struct fixture *f, const char *principal, int i) {
    char key[32];
    snprintf(key, sizeof key, "key-%012d", i);
    assert_true(command_of(f, principal, key, "log", "{\"event_name\":\"x\"}"));
    while (f->n_log > 0) free(f->log[--f->n_log]);
}

/* The oldest keys of whoever has too many go, and of all when all have too many: nobody's fill the
 * memory, and whoever has few keeps them. */
static void test_alerts_keys_of_commands_are_bounded(void **state) {
    struct fixture *f = *state;
    const struct series *n = metrics__gauge(&f->metrics, "souk_alert_command_keys", "", "%s", "");
    char name[16];
    log_as(f, "other", 1);
    for (int i = 0; i < ALERTS_KEYS_MAX; i++) log_as(f, "tester", i);
    assert_int_equal(n->value, ALERTS_KEYS_MAX + 1);
    log_as(f, "tester", ALERTS_KEYS_MAX);
    assert_int_equal(n->value, ALERTS_KEYS_MAX + 1);
    log_as(f, "tester", 1); /* Still known. */
    assert_non_null(strstr(f->result, "\"dup\":true"));
    log_as(f, "tester", 0); /* The one that went. */
    assert_null(strstr(f->result, "\"dup\":true"));
    log_as(f, "other", 1);
    assert_non_null(strstr(f->result, "\"dup\":true"));
    for (int i = 0; i < 4 * ALERTS_KEYS_MAX; i++) { /* More names than are counted apart. */
        snprintf(name, sizeof name, "p%d", i % 100);
        log_as(f, name, i / 100);
        assert_true(n->value <= 4 * ALERTS_KEYS_MAX);
    }
    assert_int_equal(n->value, 4 * ALERTS_KEYS_MAX);
}

static void test_alerts_show_only_what_is_synced(void **state) {
    struct fixture *f = *state;
    char args[128];
    raise_as(f, "drift", ALERT_WARNING);
    f->hold = true;
    assert_false(command(f, "key-0000000000-1", "ack", about(f, args, "")));
    assert_false(command(f, "key-0000000000-1", "ack", about(f, args, ""))); /* While it waits. */
    assert_int_equal(f->n_results, 0);
    assert_int_equal(alerts__top(f->alerts), 1);
    release(f, 0);
    assert_int_equal(f->n_results, 2);
    assert_non_null(strstr(f->result, "\"dup\":true"));
    assert_int_equal(alerts__top(f->alerts), 2);
    command(f, "key-0000000000-2", "unack", about(f, args, ""));
    alerts__forget(f->alerts, f);
    release(f, 0);
    assert_int_equal(f->n_results, 2); /* The command stands; nobody is told. */
    assert_true(last_is(f, "\"kind\":\"unacked\""));
}

static void test_alerts_restart_from_records_and_from_a_saved_state(void **state) {
    struct fixture *f = *state;
    char args[128], epoch[9];
    raise_as(f, "drift", ALERT_WARNING);
    raise_as(f, "other", ALERT_CRITICAL);
    assert_true(
        command(f, "key-0000000000-1", "ack", about(f, args, ",\"note\":\"on \\\"it\\\"\"")));
    assert_true(command(f, "key-0000000000-2", "mute",
                        "{\"match\":{\"class\":\"other\"},\"for_s\":600,\"reason\":\"r\"}"));
    alerts__flag(f->alerts, "stale_data", "drift", true, 5);
    clear(f, "other");
    snprintf(epoch, sizeof epoch, "%s", alerts__epoch(f->alerts));
    uint64_t top = alerts__top(f->alerts);
    struct buf before = buf__init(1 << 20), after = buf__init(1 << 20), save = buf__init(32 << 20);
    alerts__list(f->alerts, (struct slice){0}, &before);
    alerts__switches(f->alerts, &before);
    for (int round = 0; round < 2; round++) {
        if (round == 1) { /* All that is left of the log is the saved state. */
            alerts__save(f->alerts, &save);
            for (size_t i = 0; i < f->n_log; i++) free(f->log[i]);
            f->log[0] = slice__dup(buf__slice(&save));
            f->n_log = 1;
        }
        restart(f);
        buf__clear(&after);
        alerts__list(f->alerts, (struct slice){0}, &after);
        alerts__switches(f->alerts, &after);
        assert_true(slice__eq(buf__slice(&before), buf__slice(&after)));
        assert_string_equal(alerts__epoch(f->alerts), epoch);
        assert_int_equal(alerts__top(f->alerts), top);
        assert_true(
            command(f, "key-0000000000-1", "ack", about(f, args, ",\"note\":\"on \\\"it\\\"\"")));
        assert_non_null(strstr(f->result, "\"dup\":true,\"off\":3"));
        assert_false(command(f, "key-0000000000-1", "unack", about(f, args, "")));
        assert_non_null(strstr(f->result, "key_reuse"));
        assert_int_equal(alerts__top(f->alerts), top);
    }
    raise_as(f, "drift", ALERT_WARNING); /* The same incident goes on. */
    pass(f, 10);
    assert_true(last_is(f, "\"count\":2"));
    buf__fini(&before);
    buf__fini(&after);
    buf__fini(&save);
}

static void test_alerts_refuse_records_that_are_none(void **state) {
    struct fixture *f = *state;
    static const char *const bad[] = {"",
                                      "{}",
                                      "[]",
                                      "{\"v\":2,\"epoch\":\"abcdefgh\"}",
                                      "{\"v\":1}",
                                      "{\"v\":1,\"epoch\":\"short\"}",
                                      "{\"v\":1,\"epoch\":\"abcdefgh\""};
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(alerts__restore(f->alerts, slice__str(bad[i]), &e), ERR_MALFORMED);
    /* Odd contents are skipped, not trusted. */
    assert_int_equal(
        alerts__restore(f->alerts,
                        SLICE_LIT("{\"v\":1,\"epoch\":\"abcdefgh\",\"events\":[1,{},{\"off\":-1},"
                                  "{\"off\":3,\"alert\":7},{\"off\":4,\"flag\":true}],\"key\":[]}"),
                        &e),
        0);
    assert_int_equal(raise_as(f, "drift", ALERT_INFO), 0);
}

static int n_epochs;
static void on_event(void *data, const struct alert_event *event) { (void)data, (void)event; }
static void on_epoch(void *data) { (void)data, n_epochs++; }

static void test_alerts_go_out_when_the_log_fails_and_heal(void **state) {
    struct fixture *f = *state;
    char args[128], epoch[9];
    struct alerts_listener listener = {.on_event = on_event, .on_epoch = on_epoch};
    n_epochs = 0;
    alerts__subscribe(f->alerts, &listener);
    raise_as(f, "drift", ALERT_WARNING);
    snprintf(epoch, sizeof epoch, "%s", alerts__epoch(f->alerts));
    f->broken = true;
    raise_as(f, "other", ALERT_CRITICAL);
    moved__write(&f->metrics); /* souk_alert_log_failed. */
    assert_int_equal(alerts__top(f->alerts), 2);
    assert_int_equal(n_epochs, 1);
    assert_string_not_equal(alerts__epoch(f->alerts), epoch);
    assert_false(command(f, "key-0000000000-1", "ack", about(f, args, "")));
    assert_non_null(strstr(f->result, "\"unavailable\""));
    pass(f, 1);
    pass(f, 1);
    assert_int_equal(n_epochs,
                     1); /* Trying in vain to heal does not send the clients away again. */
    f->broken = false;
    pass(f, 1);
    assert_true(command(f, "key-0000000000-1", "ack", about(f, args, "")));
    assert_non_null(strstr(f->result, "\"dup\":true"));
    snprintf(epoch, sizeof epoch, "%s", alerts__epoch(f->alerts));
    restart(f);
    assert_string_equal(alerts__epoch(f->alerts), epoch);
    struct alerts_summary s;
    alerts__summary(f->alerts, &s);
    assert_int_equal(s.n_firing, 2);
}

/* A disk without room neither takes nor refuses: who waits for it is told all the same. */
static void test_alerts_do_not_wait_for_a_log_that_does_not_answer(void **state) {
    struct fixture *f = *state;
    struct alert_signal s = {.class = "spool", .sev = ALERT_CRITICAL, .title = "full", .body = ""};
    struct buf list = buf__init(1 << 16);
    f->hold = true;
    assert_int_equal(alerts__raise(f->alerts, &s), 0);
    for (int i = 0; i < 9; i++) {
        f->clock.mono_ns += NS_PER_S;
        alerts__tick(f->alerts);
    }
    alerts__list(f->alerts, SLICE_LIT("firing"), &list);
    assert_null(memmem(list.base, list.len, "\"full\"", 6)); /* It may answer yet. */
    for (int i = 0; i < 60; i++) {
        f->clock.mono_ns += NS_PER_S;
        alerts__tick(f->alerts);
    }
    buf__clear(&list);
    alerts__list(f->alerts, SLICE_LIT("firing"), &list);
    assert_non_null(memmem(list.base, list.len, "\"full\"", 6));
    assert_int_equal(f->n_log, 1); /* It is not given more and more meanwhile. */
    f->hold = false;
    release(f, 0);
    alerts__tick(f->alerts);
    assert_int_equal(f->n_log, 2); /* The whole state, and all is durable again. */
    assert_int_equal(metrics__gauge(&f->metrics, "souk_alert_log_failed", "", "%s", "")->value, 0);
    buf__fini(&list);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_alerts_repeat_is_counted_not_told),
        T(test_alerts_escalation_breaks_ack_and_snooze),
        T(test_alerts_snooze_ends_and_alerts_expire),
        T(test_alerts_commands_have_bounds),
        T(test_alerts_keys_of_commands_are_bounded),
        T(test_alerts_show_only_what_is_synced),
        T(test_alerts_restart_from_records_and_from_a_saved_state),
        T(test_alerts_refuse_records_that_are_none),
        T(test_alerts_go_out_when_the_log_fails_and_heal),
        T(test_alerts_do_not_wait_for_a_log_that_does_not_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
