/* Tokens for the sources' requests: from the configuration. */
#include "app.h"
#include "souk/core/log.h"
#include <stdio.h>

int app__bearer(void *ctx, const char *source, const char *scope, char *out, size_t size,
                struct err *e) {
    struct app *a = ctx;
    const struct source_setup *c = settings__source(a->settings, source);
    if (c != NULL && c->token[0] != '\0') {
        if ((size_t)snprintf(out, size, "%s", c->token) < size) return 0;
        return err__setf(e, ERR_REFUSED, "the token of %s is longer than %zu bytes", source, size);
    }
    return err__setf(e, ERR_REFUSED,
                     "no OAuth token with scope %s: set POE_CLIENT_ID and POE_CLIENT_SECRET",
                     scope);
}

void app__bearer_refused(void *ctx, const char *source, const char *scope) {
    (void)ctx;
    LOG_WARN("cli", "token is refused", LOG_S("source", source), LOG_S("scope", scope));
}
