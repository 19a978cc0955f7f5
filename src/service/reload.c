#include "reload.h"
#include "../hub/call.h"
#include "app.h"
#include "reload_diff.h"
#include "souk/core/log.h"
#include <stdio.h>
#include <stdlib.h>

#define WAITERS_MAX 8

struct reload {
    struct app *app;
    uv_work_t work;
    bool reads, again;
    /* The job's own while it reads. */
    struct settings next; /* Zeroed when there is none. */
    struct config_errors errors;
    struct err err; /* Of what is beside the file itself: hub.tokens_file. */
    int status;
    struct hub_reply *waiters[WAITERS_MAX]; /* Of this reading... */
    size_t n_waiters;
    struct hub_reply *later[WAITERS_MAX]; /* ... and of the one after it. */
    size_t n_later;
    struct series *successful, *success_at, *total[2];
};

int reload__open(struct app *a) {
    struct metrics *m = &a->metrics;
    struct reload *r = calloc(1, sizeof *r);
    if (r == NULL) return ERR_NOMEM;
    r->app = a;
    r->work.data = r;
    r->successful = metrics__gauge(m, "souk_config_last_reload_successful",
                                   "1 when the configuration was last read and applied.", "");
    r->success_at = metrics__gauge(m, "souk_config_last_reload_success_timestamp_seconds",
                                   "When the configuration was last applied.", "");
    const char *help = "Readings of the configuration while it runs, by how they ended.";
    r->total[0] =
        metrics__counter(m, "souk_config_reloads_total", help, "result=\"%s\"", "applied");
    r->total[1] =
        metrics__counter(m, "souk_config_reloads_total", help, "result=\"%s\"", "refused");
    series__set(r->successful, 1);
    series__set(r->success_at, (double)a->clock.wall_ns / (double)NS_PER_S);
    a->reload = r;
    return 0;
}

void reload__free(struct app *a) {
    if (a->reload == NULL) return;
    settings__fini(&a->reload->next);
    free(a->reload);
    a->reload = NULL;
}

static void on_read(uv_work_t *work) {
    struct reload *r = work->data;
    struct config *config;
    r->errors = (struct config_errors){0};
    r->err = (struct err){0};
    r->status = config__load(r->app->settings->path, &config, &r->errors);
    if (r->status == 0) r->status = settings__init(&r->next, config, &r->err);
}

/* What the rooms are told. */
static void apply(struct app *a, struct settings *fresh) {
    /* Only numbers and tokens are taken: all else that points into a configuration stays. */
    for (size_t i = 0; i < a->settings->n_sources; i++) {
        struct source_setup *s = &a->settings->sources[i];
        const struct source_setup *f = settings__source(fresh, s->name);
        if (f == NULL) continue;
        s->settings.period_ns = f->settings.period_ns;
        s->settings.quick_ns = f->settings.quick_ns;
        s->amber_s = f->amber_s;
        s->red_s = f->red_s;
    }
    for (size_t i = 0; i < a->n_streams; i++) {
        const struct source_setup *s = settings__source(a->settings, a->streams[i].type->name);
        a->streams[i].amber_s = s->amber_s;
        a->streams[i].seen.due_mono_ns = 0; /* By what holds now. */
        a->streams[i].red_s = s->red_s;
        if (a->streams[i].poller != NULL && !a->draining) poller__replan(a->streams[i].poller);
    }
    reload_diff__take(a->settings->config, fresh->config);
    settings__swap_tokens(a->settings, fresh);
    log__set_level((enum log_level)fresh->config->log.level); /* The same words, the same order. */
}

/* @return whether the hub has taken them: it changes nothing when it has not. */
static bool take_tokens(struct app *a, const struct settings *fresh, struct buf *why) {
    struct hub_tokens_change change = {0};
    struct err e = {0};
    if (a->hub == NULL) return true; /* It takes them when it opens. */
    if (hub__set_tokens(a->hub, fresh->tokens, fresh->n_tokens, &change, &e) != 0) {
        LOG_ERROR("cli", "tokens are not read again", LOG_S("err", e.msg));
        buf__printf(why, "hub.tokens_file: %s", e.msg);
        return false;
    }
    if (change.n_new + change.n_gone > 0)
        LOG_WARN("cli", "hub.tokens_file has changed", LOG_I("new", (int64_t)change.n_new),
                 LOG_I("gone", (int64_t)change.n_gone),
                 LOG_I("sessions_ended", (int64_t)change.n_ended));
    return true;
}

/* @return whether it was applied; @why says what not. */
static bool judge(struct reload *r, struct buf *why) {
    struct app *a = r->app;
    for (size_t i = 0; r->status != 0 && i < r->errors.n; i++) {
        LOG_ERROR("cli", "configuration is not read again", LOG_S("err", r->errors.line[i]));
        buf__printf(why, "%s%s", i == 0 ? "" : "; ", r->errors.line[i]);
    }
    if (r->status != 0 && r->errors.n == 0) {
        const char *err = r->err.msg[0] != '\0' ? r->err.msg : err__text(r->status);
        LOG_ERROR("cli", "configuration is not read again", LOG_S("err", err));
        buf__append_str(why, err);
    }
    if (r->status != 0) return false;
    if (!reload_diff__is_live(a->settings->config, r->next.config, why)) {
        LOG_ERROR("cli", "configuration is not applied: the running one stays",
                  LOG_SL("err", buf__slice(why)));
        return false;
    }
    if (!take_tokens(a, &r->next, why)) return false;
    apply(a, &r->next);
    LOG_INFO("cli", "configuration is applied", LOG_S("path", a->settings->path));
    return true;
}

static void answer(struct hub_reply **waiters, size_t *n, bool applied, const struct buf *why) {
    for (size_t i = 0; i < *n; i++) {
        struct buf out = buf__init(1 << 16);
        char msg[2048];
        snprintf(msg, sizeof msg, "%.*s", SLICE_FMT(buf__slice(why)));
        if (applied) buf__append_str(&out, "{\"ok\":true}");
        else call__refuse(&out, 409, "refused", msg);
        hub_reply__send(waiters[i], applied ? 200 : 409, buf__slice(&out));
        buf__fini(&out);
    }
    *n = 0;
}

static void on_done(uv_work_t *work, int status) {
    struct reload *r = work->data;
    struct app *a = r->app;
    struct buf why = buf__init(1 << 16);
    if (status != 0) r->status = ERR_CANCELED;
    bool applied = !a->closing && judge(r, &why);
    settings__fini(&r->next);
    r->reads = false;
    series__set(r->successful, applied);
    series__inc(r->total[applied ? 0 : 1]);
    if (applied) series__set(r->success_at, (double)a->clock.wall_ns / (double)NS_PER_S);
    answer(r->waiters, &r->n_waiters, applied, &why);
    bool again = r->again;
    r->again = false;
    memcpy(r->waiters, r->later, sizeof r->later);
    r->n_waiters = r->n_later;
    r->n_later = 0;
    if (again && !a->closing) reload__begin(a);
    buf__clear(&why);
    buf__append_str(&why, "it is ending: nothing was read");
    if (!r->reads) answer(r->waiters, &r->n_waiters, false, &why);
    buf__fini(&why);
}

void reload__begin(struct app *a) {
    struct reload *r = a->reload;
    if (a->draining) return;
    r->again |= r->reads; /* The file may have changed behind what was read of it. */
    if (r->reads) return;
    r->reads = uv_queue_work(&a->loop, &r->work, on_read, on_done) == 0;
}

static int post_reload(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    struct reload *r = a->reload;
    if (!a->recovered || a->draining)
        return call__refuse(out, 503, "unavailable", "it is starting or ending");
    struct hub_reply **list = r->reads ? r->later : r->waiters;
    size_t *n = r->reads ? &r->n_later : &r->n_waiters;
    if (*n == WAITERS_MAX) return call__refuse(out, 503, "full", "others wait for a reload");
    struct hub_reply *reply = hub_args__later(args);
    if (reply == NULL) return call__refuse(out, 503, "unavailable", "out of memory");
    list[(*n)++] = reply;
    reload__begin(a);
    return 0;
}

static int post_level(void *ctx, const struct hub_args *args, struct buf *out) {
    char text[16];
    (void)ctx;
    if (hub_args__text(args, "level", text, sizeof text) > 0)
        for (int l = LOG_LEVEL_DEBUG; l <= LOG_LEVEL_ERROR; l++)
            if (strcmp(text, log_level__name((enum log_level)l)) == 0) {
                log__set_level((enum log_level)l);
                buf__printf(out, "{\"level\":\"%s\"}", text);
                return 200;
            }
    return call__refuse(out, 400, "bad_request", "level is one of debug, info, warn, error");
}

static int post_drain(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    LOG_WARN("cli", "asked to drain", LOG_S("by", hub_args__who(args)));
    if (!a->draining) app__drain(a);
    buf__append_str(out, "{\"ok\":true}");
    return 200;
}

static int post_release(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    if (a->store == NULL || a->closing)
        return call__refuse(out, 503, "unavailable", "it is starting or ending");
    size_t n = store__release(a->store);
    LOG_WARN("cli", "batches held for the times of their rows are let go",
             LOG_I("batches", (int64_t)n), LOG_S("by", hub_args__who(args)));
    buf__printf(out, "{\"released\":%zu}", n);
    return 200;
}

/* For whoever wants to look at the rows now: what has been fetched so far need not get older first.
 */
static int post_flush(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    (void)args;
    if (!a->recovered || a->closing)
        return call__refuse(out, 503, "unavailable", "it is starting or ending");
    store__cut(a->store);
    buf__append_str(out, "{\"ok\":true}");
    return 200;
}

size_t reload__calls(struct app *a, struct hub_call *out) {
    const struct hub_call calls[] = {
        {"POST", "/api/v1/reload", true, post_reload, a},
        {"POST", "/api/v1/loglevel", true, post_level, a},
        {"POST", "/api/v1/drain", true, post_drain, a},
        {"POST", "/api/v1/release-rows", true, post_release, a},
        {"POST", "/api/v1/flush", true, post_flush, a},
    };
    memcpy(out, calls, sizeof calls);
    return sizeof calls / sizeof calls[0];
}
