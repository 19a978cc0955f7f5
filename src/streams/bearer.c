/* Tokens for the sources' requests: from the configuration, or from the source oauth, whose streams
 * are scopes.
 *
 * A token that an upstream answers with 401 is worth nothing any more: another is asked for at
 * once, for it may have been revoked. If that is refused too, the trouble is the vendor's, and it
 * passes: after APP_RENEW_NS another is asked for, and so on. Until then what needs it rests, and
 * is red. Only a scope that was never granted, or is not configured, is a normal state. */
#include "../service/app.h"
#include "souk/core/log.h"
#include "souk/oauth.h"
#include "souk/tables.h"
#include <stdio.h>

#define SOON_NS (10 * NS_PER_S) /* A token that comes within that time is on its way. */

#define OVER "the login is over; log in again: souk login account"

static int take_static(const struct source_setup *c, char *out, size_t size, struct err *e) {
    if ((size_t)snprintf(out, size, "%s", c->token) < size) return 0;
    return err__setf(e, ERR_REFUSED, "the token of %s is longer than %zu bytes", c->name, size);
}

static bool is_refused(const struct app_stream *s, const struct oauth_grant *grant) {
    char hash[TABLES_HASH_SIZE];
    tables__hash(grant->token, hash);
    return strcmp(hash, s->refused_token) == 0;
}

/* Asks for another token, unless that was done a short while ago. */
static void renew(struct app_stream *s) {
    int64_t now_ns = s->app->clock.mono_ns;
    if (s->renewed_mono_ns != 0 && now_ns - s->renewed_mono_ns < APP_RENEW_NS) return;
    s->renewed_mono_ns = now_ns;
    poller__poke(s->poller);
}

/* There is no token of @s that is good for anything: is one on its way? A failure of the moment
 * counts as that: what needs the token is late then, not switched off. */
static int none_yet(const struct app_stream *s, const char *why, struct err *e) {
    struct poller_status p;
    poller__status(s->poller, &p);
    bool soon = p.doing != POLL_IDLE || p.next_mono_ns - s->app->clock.mono_ns < SOON_NS;
    if (p.refused) why = "the token endpoint is disabled, see souk limit show oauth";
    else if (soon || p.state->n_failures > 0)
        return err__setf(e, ERR_UNAVAILABLE, "the token with scope %s is on its way", s->spec.kind);
    return err__setf(e, ERR_AUTH, "no token with scope %s: %s", s->spec.kind, why);
}

static int take_granted(struct app_stream *s, char *out, size_t size, struct err *e) {
    struct oauth_grant grant;
    struct poller_status p;
    oauth__read(poller__memo(s->poller), &grant);
    if (oauth__is_login(&s->spec) && !login__is_there(s->app))
        return err__setf(e, ERR_REFUSED, "nobody is logged in: souk login account");
    switch (grant.standing) {
    case OAUTH_GRANTED: break;
    case OAUTH_REFUSED:
        return err__setf(e, ERR_REFUSED, "scope %s is not granted (%.*s)", s->spec.kind,
                         SLICE_FMT(grant.reason));
    case OAUTH_DENIED:
        return err__setf(e, ERR_AUTH, "no token with scope %s: client id and secret are refused",
                         s->spec.kind);
    case OAUTH_ENDED: /* Or somebody has just logged in again. */
    case OAUTH_UNKNOWN:
        poller__status(s->poller, &p);
        return none_yet(s,
                        oauth__is_over(&s->spec, p.state)
                            ? OVER
                            : "client id and secret were refused within a day",
                        e);
    }
    if (is_refused(s, &grant)) {
        char why[96];
        renew(s);
        snprintf(
            why, sizeof why, "the server answers 401 to it; another is asked for in %lld s",
            (long long)((s->renewed_mono_ns + APP_RENEW_NS - s->app->clock.mono_ns) / NS_PER_S));
        return none_yet(s, why, e);
    }
    if (!oauth__is_good(&grant, s->app->clock.mono_ns)) return none_yet(s, "it has expired", e);
    if ((size_t)snprintf(out, size, "%.*s", SLICE_FMT(grant.token)) < size) return 0;
    return err__setf(e, ERR_REFUSED, "the token with scope %s is longer than %zu bytes",
                     s->spec.kind, size);
}

int app__bearer(void *ctx, const char *source, const char *scope, char *out, size_t size,
                struct err *e) {
    struct app *a = ctx;
    const struct source_setup *c = settings__source(a->settings, source);
    if (c != NULL && c->token[0] != '\0') return take_static(c, out, size, e);
    struct app_stream *s = app__stream(a, SLICE_LIT("oauth"), slice__str(scope));
    if (s != NULL && s->poller != NULL) return take_granted(s, out, size, e);
    const struct source_setup *oauth = settings__source(a->settings, "oauth");
    if (oauth != NULL && oauth->enabled)
        return err__setf(e, ERR_REFUSED, "scope %s is not in sources.oauth.scopes", scope);
    return err__setf(e, ERR_REFUSED,
                     "no OAuth token with scope %s: set POE_CLIENT_ID and POE_CLIENT_SECRET",
                     scope);
}

const char *app__why_disabled(const struct app_stream *s) {
    struct oauth_grant grant;
    if (strcmp(s->type->name, "oauth") != 0) return "";
    struct poller_status p;
    poller__status(s->poller, &p);
    if (oauth__is_over(&s->spec, p.state)) return OVER;
    oauth__read(poller__memo(s->poller), &grant);
    return grant.standing == OAUTH_DENIED ? "client id and secret are refused" : "";
}

int64_t app__token_again_ns(const struct app *a, const struct poller_status *p) {
    const struct app_stream *s =
        p->scope == NULL
            ? NULL
            : app__stream((struct app *)(uintptr_t)a, SLICE_LIT("oauth"), slice__str(p->scope));
    struct oauth_grant grant;
    struct poller_status tokens;
    if (s == NULL || s->poller == NULL) return INT64_MAX;
    oauth__read(poller__memo(s->poller), &grant);
    if (is_refused(s, &grant)) return s->renewed_mono_ns + APP_RENEW_NS;
    poller__status(s->poller, &tokens);
    return tokens.next_mono_ns;
}

void app__measure_scopes(struct app *a) {
    for (size_t i = 0; i < a->n_streams; i++) {
        const struct app_stream *s = &a->streams[i];
        if (strcmp(s->type->name, "oauth") != 0 || s->poller == NULL) continue;
        struct oauth_grant grant;
        oauth__read(poller__memo(s->poller), &grant);
        series__set(metrics__gauge(&a->metrics, "souk_oauth_scope_granted",
                                   "1 when there is a token with the scope that is still good.",
                                   "scope=\"%s\"", s->spec.kind),
                    oauth__is_good(&grant, a->clock.mono_ns) && !is_refused(s, &grant) &&
                        (!oauth__is_login(&s->spec) || login__is_there(a)));
    }
}

void app__bearer_refused(void *ctx, const char *source, const char *scope, const char *token) {
    struct app *a = ctx;
    LOG_WARN("cli", "token is refused", LOG_S("source", source), LOG_S("scope", scope));
    const struct source_setup *c = settings__source(a->settings, source);
    struct app_stream *s = app__stream(a, SLICE_LIT("oauth"), slice__str(scope));
    if (s == NULL || s->poller == NULL || (c != NULL && c->token[0] != '\0')) return;
    struct oauth_grant grant;
    oauth__read(poller__memo(s->poller), &grant);
    if (grant.standing != OAUTH_GRANTED || is_refused(s, &grant)) return;
    /* Renewed while the request was under way: the one that is there now was not refused. */
    if (!slice__eq(grant.token, slice__str(token))) return;
    tables__hash(grant.token, s->refused_token);
    renew(s);
}
