/* What the source oauth knows of a scope: its streams are the scopes of sources.oauth.scopes, one
 * request to the token endpoint each, so that one that is not granted does not take the others
 * with it.
 *
 * Client credentials grant: RFC 6749, sections 4.4 (request), 5.1 (answer), 5.2 (errors), and
 * https://www.pathofexile.com/developer/docs/authorization. Such a grant has no refresh token worth
 * keeping (section 4.4.3): asking again with the credentials is the refresh. */
#ifndef SOUK_OAUTH_H
#define SOUK_OAUTH_H

#include "souk/core/clock.h"
#include "souk/core/slice.h"

enum oauth_standing {
    OAUTH_UNKNOWN, /* Not asked yet. */
    OAUTH_GRANTED,
    OAUTH_REFUSED, /* The scope is not granted: a normal state. Asked again with the next audit. */
    OAUTH_DENIED,  /* The credentials are wrong: asked again a day later, or when they change. */
};

struct oauth_grant {
    enum oauth_standing standing;
    int64_t asked_mono_ns;
    int64_t life_ns;     /* How long the token is good for; 0: the server did not say. */
    struct slice token;  /* OAUTH_GRANTED. A secret. Borrowed from the memo. */
    struct slice reason; /* OAUTH_REFUSED, OAUTH_DENIED: the error code, as invalid_scope. */
};

/** Reads the memo of a stream of the source oauth (poller__memo). An empty one is OAUTH_UNKNOWN. */
void oauth__read(struct slice memo, struct oauth_grant *out);
/** @return whether the token of @grant is still good at @now_mono_ns. */
bool oauth__is_good(const struct oauth_grant *grant, int64_t now_mono_ns);

#endif
