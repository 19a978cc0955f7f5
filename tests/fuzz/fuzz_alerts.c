/* Commands of clients and records of the log, one a line, in any order and any bytes: the room
 * neither breaks nor loses the thread. The first character of a line says what it is: c a command
 * ({"key","op","args"}), r a record to restore, t a second that passes, a an alert that is raised.
 * At the end the state is saved, and other rooms take it and say the same. */
#include "souk/alerts.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    size_t n_answers;
};

static void on_result(void *data, bool ok, struct slice result) {
    struct fuzz *f = data;
    (void)ok;
    f->n_answers++;
    assert(result.len > 0);
}

static struct slice text_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    return yyjson_is_str(v) ? slice__of(yyjson_get_str(v), yyjson_get_len(v)) : slice__of("", 0);
}

static void run_command(struct fuzz *f, struct slice line) {
    yyjson_doc *doc = yyjson_read(line.base, line.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *args = yyjson_obj_get(root, "args");
    size_t len = 0, before = f->n_answers;
    char *text = args == NULL ? NULL : yyjson_val_write(args, 0, &len);
    struct alert_command c = {.principal = SLICE_LIT("fuzz"),
                              .key = text_of(root, "key"),
                              .op = text_of(root, "op"),
                              .args = text == NULL ? SLICE_LIT("{}") : slice__of(text, len)};
    alerts__command(f->alerts, &c, on_result, f);
    assert(f->n_answers == before + 1); /* Without a log every command is answered at once. */
    free(text);
    yyjson_doc_free(doc);
}

static void raise_one(struct fuzz *f, struct slice line) {
    char class[32];
    snprintf(class, sizeof class, "%.*s", (int)(line.len < 8 ? line.len : 8), line.base);
    struct alert_label label = {"stream", "pc"};
    struct alert_signal s = {.class = class,
                             .sev = (enum alert_sev)(line.len % ALERT_SEVS),
                             .title = "t",
                             .body = "b",
                             .labels = &label,
                             .n_labels = 1};
    if (line.len % 5 == 4) alerts__clear(f->alerts, class, &label, 1);
    else alerts__raise(f->alerts, &s);
}

static void run_line(struct fuzz *f, struct slice line) {
    struct err e;
    struct slice rest = slice__of(line.base + 1, line.len - 1);
    if (line.base[0] == 'c') run_command(f, rest);
    else if (line.base[0] == 'r') alerts__restore(f->alerts, rest, &e);
    else if (line.base[0] == 'a') raise_one(f, rest);
    else if (line.base[0] == 't') {
        f->clock.mono_ns += NS_PER_S * (int64_t)line.len * (int64_t)line.len;
        f->clock.wall_ns += NS_PER_S * (int64_t)line.len * (int64_t)line.len;
        alerts__tick(f->alerts);
    }
}

static void open_room(struct fuzz *f) {
    struct err e;
    struct alerts_options options = {.seed = 1};
    metrics__init(&f->metrics);
    if (alerts__open(&f->alerts, &f->clock, &f->metrics, &options, &e) != 0) abort();
}

static void close_room(struct fuzz *f) {
    alerts__free(f->alerts);
    metrics__fini(&f->metrics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz f = {
        .clock = {.mono_ns = NS_PER_S, .wall_ns = INT64_C(1795219000000) * NS_PER_MS}};
    struct fuzz again = f;
    struct slice rest = slice__of((const char *)data, size);
    struct buf saved = buf__init((size_t)32 << 20), second = buf__init((size_t)32 << 20);
    struct err e;
    open_room(&f);
    while (rest.len > 0) {
        const char *end = memchr(rest.base, '\n', rest.len);
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.base);
        if (len > 0) run_line(&f, slice__of(rest.base, len));
        len += end != NULL;
        rest = slice__of(rest.base + len, rest.len - len);
    }
    alerts__save(f.alerts, &saved);
    assert(!saved.failed);
    close_room(&f);
    /* The first restart forgets what is a day old; from then on nothing changes any more. */
    for (int round = 0; round < 2; round++) {
        again.clock = f.clock;
        open_room(&again);
        assert(alerts__restore(again.alerts, buf__slice(&saved), &e) == 0);
        buf__clear(&second);
        alerts__save(again.alerts, &second);
        assert(!second.failed);
        close_room(&again);
        assert(round == 0 || slice__eq(buf__slice(&saved), buf__slice(&second)));
        buf__clear(&saved);
        buf__append_slice(&saved, buf__slice(&second));
    }
    buf__fini(&saved);
    buf__fini(&second);
    return 0;
}
