/* POST /api/v1/login: somebody has logged in or out, so the file is read again. The happy path of
 * another login of the same account: its token is used from now on, and what was refused is asked
 * for again at once. Whose stash it is stands in rows, and whether there is a login decides which
 * streams there are: what changes those waits for a restart, and the answer says so.
 *
 * What can fail: the disk. A refresh token that it did not take is used from memory, and written
 * again until it is there. A disk that hangs holds up the pool's threads alone. */
#include "login.h"
#include "../hub/call.h"
#include "../service/app.h"
#include "login_file.h"
#include "souk/core/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_NS (10 * NS_PER_S)

enum kept { KEPT_SAVED, KEPT_UNSAVED, KEPT_SUPERSEDED, KEPT__N };

struct login {
    struct app *app;
    uv_mutex_t saving; /* For writers to the disk, on the pool: what is newest is written last. */
    uv_mutex_t lock;   /* Of what follows, which the pool's threads change; never held for long. */
    struct login_file now;
    bool unsaved;
    uint64_t n[KEPT__N]; /* How renewals ended. */
    char error[ERR_MSG_MAX];
    /* The loop's. */
    uv_work_t work;
    bool works;
    int64_t tried_mono_ns;
    uint64_t told[KEPT__N];
    struct hub_reply *reply;
    struct series *series[KEPT__N], *unsaved_series;
    /* The job's. */
    struct login_file read;
    struct err read_err;
    int status;
    enum kept saved;
};

int login__open(struct app *a, struct login_file *file) {
    static const char *const words[] = {"saved", "unsaved", "superseded"};
    struct login *l = calloc(1, sizeof *l);
    if (l == NULL || uv_mutex_init(&l->lock) != 0) {
        free(l);
        return ERR_NOMEM;
    }
    if (uv_mutex_init(&l->saving) != 0) {
        uv_mutex_destroy(&l->lock);
        free(l);
        return ERR_NOMEM;
    }
    l->app = a;
    l->work.data = l;
    if (file != NULL) {
        l->now = *file;
        explicit_bzero(file->refresh, sizeof file->refresh);
    }
    for (int i = 0; i < KEPT__N; i++)
        l->series[i] = metrics__counter(&a->metrics, "souk_login_renewals_total",
                                        "Renewals of the user's login by what became of the new "
                                        "refresh token.",
                                        "result=\"%s\"", words[i]);
    l->unsaved_series = metrics__gauge(
        &a->metrics, "souk_login_unsaved",
        "1 while the newest refresh token is in memory only: a restart loses it.", "");
    a->login = l;
    return 0;
}

void login__free(struct app *a) {
    if (a->login == NULL) return;
    uv_mutex_destroy(&a->login->saving);
    uv_mutex_destroy(&a->login->lock);
    explicit_bzero(a->login, sizeof *a->login);
    free(a->login);
    a->login = NULL;
}

bool login__is_there(const struct app *a) {
    uv_mutex_lock(&a->login->lock);
    bool there = a->login->now.id[0] != '\0';
    uv_mutex_unlock(&a->login->lock);
    return there;
}

int login__refresh_token(void *ctx, char id[LOGIN_ID_SIZE], char *out, size_t size, struct err *e) {
    struct login *l = ((struct app *)ctx)->login;
    uv_mutex_lock(&l->lock);
    bool there = l->now.id[0] != '\0';
    memcpy(id, l->now.id, LOGIN_ID_SIZE);
    if (out != NULL) snprintf(out, size, "%s", there ? l->now.refresh : "");
    uv_mutex_unlock(&l->lock);
    return there ? 0 : err__setf(e, ERR_REFUSED, "nobody is logged in: souk login account");
}

/* Whose login lies on disk instead of @was; none: an empty one. Another account's, or another
 * client's, is nothing that this process can go on with. */
static void read_next(const char *dir, const struct login_file *was, struct login_file *out) {
    struct err ignored = {0};
    login_file__read(dir, out, &ignored);
    if (strcmp(out->client_id, was->client_id) != 0 || strcmp(out->username, was->username) != 0)
        *out = (struct login_file){.logged_in_s = 0};
}

/* Writes what is in memory; on the pool, without the lock, for the disk may hang. Somebody else's
 * login that lies there, or that it was removed, is what counts: this one is forgotten then. */
static enum kept save(struct login *l) {
    struct login_file mine, next = {.logged_in_s = 0};
    struct err e = {0};
    const char *dir = l->app->settings->config->state_dir;
    uv_mutex_lock(&l->saving);
    uv_mutex_lock(&l->lock);
    mine = l->now;
    uv_mutex_unlock(&l->lock);
    int code = mine.id[0] == '\0' ? ERR_REFUSED : login_file__write(dir, &mine, mine.id, &e);
    enum kept kept = code == 0 ? KEPT_SAVED : code == ERR_REFUSED ? KEPT_SUPERSEDED : KEPT_UNSAVED;
    if (kept == KEPT_SUPERSEDED) read_next(dir, &mine, &next);
    uv_mutex_lock(&l->lock);
    if (kept != KEPT_SAVED) snprintf(l->error, sizeof l->error, "%s", e.msg);
    /* Unless the loop has taken another one meanwhile. */
    if (strcmp(l->now.id, mine.id) != 0) kept = KEPT_SUPERSEDED;
    else if (kept == KEPT_SUPERSEDED) l->now = next;
    l->unsaved = kept == KEPT_UNSAVED;
    uv_mutex_unlock(&l->lock);
    uv_mutex_unlock(&l->saving);
    explicit_bzero(&mine, sizeof mine);
    explicit_bzero(&next, sizeof next);
    return kept;
}

static void count(struct login *l, enum kept kept) {
    uv_mutex_lock(&l->lock);
    l->n[kept]++;
    uv_mutex_unlock(&l->lock);
}

void login__keep_secret(void *ctx, const char *id, struct slice answer) {
    struct login *l = ((struct app *)ctx)->login;
    struct oauth_login got;
    struct err e = {0};
    struct clock now;
    if (oauth__parse_login(answer, &got, &e) != 0) return;
    clock__read(&now);
    uv_mutex_lock(&l->lock);
    bool ours = id[0] != '\0' && strcmp(id, l->now.id) == 0;
    if (ours) login_file__take(&l->now, &got, now.wall_ns / NS_PER_S);
    else snprintf(l->error, sizeof l->error, "the answer is to the token of the login before");
    uv_mutex_unlock(&l->lock);
    explicit_bzero(&got, sizeof got);
    count(l, ours ? save(l) : KEPT_SUPERSEDED);
}

/* What was counted as unsaved is not counted again when it is saved. */
static void on_save(uv_work_t *work) {
    struct login *l = work->data;
    uv_mutex_lock(&l->lock);
    bool unsaved = l->unsaved;
    uv_mutex_unlock(&l->lock);
    if (!unsaved) return;
    l->saved = save(l);
    if (l->saved == KEPT_SUPERSEDED) count(l, l->saved);
}

static void on_saved(uv_work_t *work, int status) {
    struct login *l = work->data;
    l->works = false;
    if (status == 0 && l->saved == KEPT_SAVED) LOG_INFO("cli", "the login is on disk again");
}

void login__second(struct app *a) {
    struct login *l = a->login;
    uint64_t n[KEPT__N];
    char why[ERR_MSG_MAX];
    uv_mutex_lock(&l->lock);
    bool unsaved = l->unsaved;
    memcpy(n, l->n, sizeof n);
    snprintf(why, sizeof why, "%s", l->error);
    uv_mutex_unlock(&l->lock);
    series__set(l->unsaved_series, unsaved);
    if (n[KEPT_UNSAVED] > l->told[KEPT_UNSAVED])
        LOG_ERROR("cli", "the login cannot be saved, a restart would lose it", LOG_S("err", why));
    if (n[KEPT_SUPERSEDED] > l->told[KEPT_SUPERSEDED])
        LOG_WARN("cli", "somebody has logged in or out meanwhile", LOG_S("err", why));
    for (int i = 0; i < KEPT__N; i++) {
        series__add(l->series[i], (double)(n[i] - l->told[i]));
        l->told[i] = n[i];
    }
    if (!unsaved || l->works || a->clock.mono_ns - l->tried_mono_ns < AGAIN_NS) return;
    l->tried_mono_ns = a->clock.mono_ns;
    l->saved = KEPT_UNSAVED;
    l->works = uv_queue_work(&a->loop, &l->work, on_save, on_saved) == 0;
}

static void on_read(uv_work_t *work) {
    struct login *l = work->data;
    l->read_err = (struct err){0};
    l->status = login_file__read(l->app->settings->config->state_dir, &l->read, &l->read_err);
}

/* @return NULL when what was read is used from now on; else why it is not. */
static const char *take(struct login *l, struct app_stream *s) {
    const struct source_setup *stashes = settings__source(l->app->settings, "account_stashes");
    if (l->status == ERR_NOT_FOUND) return NULL; /* Logged out: it stops asking. */
    if (l->status != 0) return l->read_err.msg;
    if (s == NULL || !oauth__is_login(&s->spec))
        return "it runs without a login: restart souk, and it uses this one";
    if (strcmp(l->read.client_id, l->app->settings->config->agent.client_id) != 0)
        return "the login is of another client id";
    if (strcmp(l->read.username, stashes->settings.account) != 0)
        return "it is another account's login: restart souk, and it uses this one";
    return NULL;
}

static void on_read_done(uv_work_t *work, int status) {
    struct login *l = work->data;
    struct app *a = l->app;
    struct buf out = buf__init(1024);
    l->works = false;
    if (status != 0) l->status = ERR_CANCELED;
    struct app_stream *s = app__stream(a, SLICE_LIT("oauth"), SLICE_LIT(OAUTH_LOGIN_SCOPE));
    const char *why = a->closing ? "it is ending" : take(l, s);
    /* What is not used must not be renewed either: its tokens are somebody else's. */
    uv_mutex_lock(&l->lock);
    bool another = strcmp(l->now.id, l->read.id) != 0;
    if (another && why == NULL) l->now = l->read;
    else if (another) l->now = (struct login_file){.logged_in_s = 0};
    if (another) l->unsaved = false;
    uv_mutex_unlock(&l->lock);
    bool there = why == NULL && l->read.id[0] != '\0';
    if (there && another && s->poller != NULL) poller__poke(s->poller);
    LOG_INFO("cli", "somebody logged in or out", LOG_I("used", there),
             LOG_S("why", why == NULL ? "" : why));
    int http = 200;
    if (why != NULL) http = call__refuse(&out, 409, "restart", why);
    else buf__printf(&out, "{\"login\":%s}", there ? "true" : "false");
    hub_reply__send(l->reply, http, buf__slice(&out));
    buf__fini(&out);
    explicit_bzero(l->read.refresh, sizeof l->read.refresh);
}

static int post_login(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    struct login *l = a->login;
    if (!a->recovered || a->draining)
        return call__refuse(out, 503, "unavailable", "it is starting or ending");
    if (l->works) return call__refuse(out, 503, "full", "the login is being read or written");
    l->reply = hub_args__later(args);
    if (l->reply == NULL) return call__refuse(out, 503, "unavailable", "out of memory");
    l->works = uv_queue_work(&a->loop, &l->work, on_read, on_read_done) == 0;
    return 0;
}

size_t login__calls(struct app *a, struct hub_call *out) {
    *out = (struct hub_call){"POST", "/api/v1/login", true, post_login, a};
    return 1;
}
