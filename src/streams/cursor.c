#include "cursor.h"
#include "../hub/call.h"
#include "../service/app.h"
#include "souk/core/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A change whose answer waits until it is synced. */
struct change {
    struct app *app;
    struct hub_reply *reply;
    char source[64], key[128];
};

static void put_text(struct buf *out, const char *key, const char *text) {
    buf__printf(out, "\"%s\":", key);
    buf__json_string(out, slice__str(text));
    buf__append_str(out, ",");
}

static void put_stream(const struct app_stream *s, struct buf *out) {
    struct poller_status p;
    poller__status(s->poller, &p);
    buf__append_str(out, "{");
    put_text(out, "source", s->type->name);
    put_text(out, "stream", s->spec.key);
    put_text(out, "state", app__stream_state(&p));
    put_text(out, "cursor", p.state->cursor);
    put_text(out, "last_cursor", p.last_cursor);
    put_text(out, "frozen", poller__hold(s->poller));
    buf__printf(out, "\"last_advance_ms\":%" PRId64 "}", p.last_advance_wall_ns / NS_PER_MS);
}

static void put_absent(const struct absent_stream *s, struct buf *out) {
    buf__append_str(out, "{");
    put_text(out, "source", s->source);
    put_text(out, "stream", s->key);
    put_text(out, "state", "absent");
    put_text(out, "cursor", s->cursor);
    put_text(out, "last_cursor", "");
    put_text(out, "frozen", s->hold);
    buf__append_str(out, "\"last_advance_ms\":0}");
}

static int get_all(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    size_t n = 0;
    (void)args;
    if (!a->recovered || a->closing)
        return call__refuse(out, 503, "unavailable", "it is starting or ending");
    buf__append_str(out, "{\"streams\":[");
    for (size_t i = 0; i < app__n_streams(a); i++) {
        if (app__stream_at(a, i)->poller == NULL) continue;
        if (n++ > 0) buf__append_str(out, ",");
        put_stream(app__stream_at(a, i), out);
    }
    for (size_t i = 0; i < a->absent.n; i++) {
        if (n++ > 0) buf__append_str(out, ",");
        put_absent(&a->absent.list[i], out);
    }
    buf__append_str(out, "]}");
    return 200;
}

static void on_changed(void *data, int status) {
    struct change *c = data;
    struct buf out = buf__init(8192);
    struct app_stream *s = app__stream(c->app, slice__str(c->source), slice__str(c->key));
    int http = 200;
    if (status != 0 || s == NULL || s->poller == NULL)
        http =
            call__refuse(&out, 503, "unavailable",
                         status == ERR_CANCELED ? "it is ending: nothing has changed"
                                                : "the log does not take it: nothing has changed");
    else put_stream(s, &out);
    hub_reply__send(c->reply, http, buf__slice(&out));
    buf__fini(&out);
    free(c);
}

static struct app_stream *find_stream(struct app *a, const struct hub_args *args, struct buf *out,
                                      int *status) {
    char source[64], key[128], msg[256];
    if (!a->recovered || a->draining) {
        *status = call__refuse(out, 503, "unavailable", "it is starting or ending");
        return NULL;
    }
    if (hub_args__text(args, "source", source, sizeof source) <= 0 ||
        hub_args__text(args, "stream", key, sizeof key) <= 0) {
        *status = call__refuse(out, 400, "bad_request", "source or stream is missing");
        return NULL;
    }
    struct app_stream *s = app__stream(a, slice__str(source), slice__str(key));
    if (s != NULL && s->poller != NULL && !s->closing) return s;
    snprintf(msg, sizeof msg, "no stream %.100s of %.60s runs here; GET /api/v1/cursor lists them",
             key, source);
    *status = call__refuse(out, 404, "not_found", msg);
    return NULL;
}

static int steer(struct app *a, const struct hub_args *args, struct buf *out,
                 enum poller_steer what) {
    static const char *const names[] = {"set", "freeze", "unfreeze"};
    char reason[128], cursor[CURSOR_MAX] = "", why[POLLER_REASON_MAX];
    struct err e = {0};
    int status = 0;
    struct app_stream *s = find_stream(a, args, out, &status);
    if (s == NULL) return status;
    bool has_reason = hub_args__text(args, "reason", reason, sizeof reason) > 0;
    if (what == POLLER_SET && !has_reason)
        return call__refuse(out, 400, "bad_request", "reason is missing, or longer than 127 bytes");
    if (what == POLLER_SET && hub_args__text(args, "cursor", cursor, sizeof cursor) <= 0)
        return call__refuse(out, 400, "bad_request", "cursor is missing, or too long");
    snprintf(why, sizeof why, "%s (by %.40s)", has_reason ? reason : "no reason given",
             hub_args__who(args));
    struct change *c = calloc(1, sizeof *c);
    if (c == NULL) return call__refuse(out, 503, "unavailable", "out of memory");
    *c = (struct change){.app = a, .reply = hub_args__later(args)};
    snprintf(c->source, sizeof c->source, "%s", s->type->name);
    snprintf(c->key, sizeof c->key, "%s", s->spec.key);
    int code = c->reply == NULL ? err__setf(&e, ERR_NOMEM, "out of memory")
                                : poller__steer(s->poller, what, cursor, why, on_changed, c, &e);
    if (code == 0) {
        LOG_WARN("cli", "cursor is changed by hand", LOG_S("source", s->type->name),
                 LOG_S("stream", s->spec.key), LOG_S("what", names[what]), LOG_S("cursor", cursor),
                 LOG_S("reason", why));
        return 0;
    }
    status = call__refuse(out,
                          code == ERR_NOMEM    ? 503
                          : code == ERR_CONFIG ? 400
                                               : 409,
                          code == ERR_CONFIG ? "bad_request" : "refused", e.msg);
    struct hub_reply *reply = c->reply;
    free(c);
    if (reply == NULL) return status;
    hub_reply__send(reply, status, buf__slice(out));
    return 0;
}

static int post_set(void *ctx, const struct hub_args *args, struct buf *out) {
    return steer(ctx, args, out, POLLER_SET);
}
static int post_freeze(void *ctx, const struct hub_args *args, struct buf *out) {
    return steer(ctx, args, out, POLLER_FREEZE);
}
static int post_unfreeze(void *ctx, const struct hub_args *args, struct buf *out) {
    return steer(ctx, args, out, POLLER_UNFREEZE);
}

size_t cursor__calls(struct app *a, struct hub_call *out) {
    const struct hub_call calls[] = {
        {"GET", "/api/v1/cursor", false, get_all, a},
        {"POST", "/api/v1/cursor/set", true, post_set, a},
        {"POST", "/api/v1/cursor/freeze", true, post_freeze, a},
        {"POST", "/api/v1/cursor/unfreeze", true, post_unfreeze, a},
    };
    memcpy(out, calls, sizeof calls);
    return sizeof calls / sizeof calls[0];
}
