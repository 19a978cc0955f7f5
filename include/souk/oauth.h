/* What the source oauth knows of a scope: its streams are the scopes of sources.oauth.scopes, one
 * request to the token endpoint each, so that one that is not granted does not take the others
 * with it.
 *
 * Client credentials grant: RFC 6749, sections 4.4 (request), 5.1 (answer), 5.2 (errors), and
 * https://www.pathofexile.com/developer/docs/authorization. Such a grant has no refresh token worth
 * keeping (section 4.4.3): asking again with the credentials is the refresh.
 *
 * While a user is logged in (souk login account), the scope OAUTH_LOGIN_SCOPE comes from that login
 * instead: RFC 6749, section 6. Its refresh token is good once, and each answer brings the next. */
#ifndef SOUK_OAUTH_H
#define SOUK_OAUTH_H

#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/slice.h"
#include "souk/source.h"

#define OAUTH_LOGIN_SCOPE "account:stashes" /* What only a user can grant. */
#define OAUTH_TOKEN_MAX 4000                /* Bytes; fits POLLER_BEARER_MAX. */

enum oauth_standing {
    OAUTH_UNKNOWN, /* Not asked yet. */
    OAUTH_GRANTED,
    OAUTH_REFUSED, /* The scope is not granted: a normal state. Asked again with the next audit. */
    OAUTH_DENIED,  /* The credentials are wrong: asked again a day later, or when they change. */
    OAUTH_ENDED,   /* The login's refresh token is not taken: not asked again until another. */
};

struct oauth_grant {
    enum oauth_standing standing;
    char login[LOGIN_ID_SIZE]; /* Whose refresh token was shown for it; "": nobody's. */
    int64_t asked_mono_ns;
    int64_t life_ns;    /* How long the token is good for; 0: the server did not say. */
    struct slice token; /* OAUTH_GRANTED. A secret. Borrowed from the memo. */
    struct slice
        reason; /* OAUTH_REFUSED, OAUTH_DENIED, OAUTH_ENDED: the error code, as invalid_scope. */
};

/** Reads the memo of a stream of the source oauth (poller__memo). An empty one is OAUTH_UNKNOWN. */
void oauth__read(struct slice memo, struct oauth_grant *out);
/** @return whether the token of @grant is still good at @now_mono_ns. */
bool oauth__is_good(const struct oauth_grant *grant, int64_t now_mono_ns);
/** @return whether the tokens of @stream come from a user's login. */
bool oauth__is_login(const struct stream_spec *stream);
/** @return whether the login that there is for @stream is over, as the vendor said to this process
 *  or to one before it. Another login is not. */
bool oauth__is_over(const struct stream_spec *stream, const struct stream_state *state);

/* What the token endpoint says of a login. Nothing of it may be logged or kept but by its owner. */
struct oauth_login {
    char refresh[OAUTH_TOKEN_MAX + 1]; /* "": the one before stays good (RFC 6749, section 6). */
    char username[128];                /* UTF-8 without control characters; "": it does not say. */
    char scope[1024];                  /* "": as asked for. */
    int64_t life_s;                    /* Of the access token; 0: it does not say. */
};
/** Reads an answer of status 200. A side field that is not as it should be is left out: the refresh
 *  token is worth more than they are. @return 0, or ERR_MALFORMED, with nothing of the answer in
 *  @e, when it is no JSON object or its refresh token is none. */
int oauth__parse_login(struct slice body, struct oauth_login *out, struct err *e);

#endif
