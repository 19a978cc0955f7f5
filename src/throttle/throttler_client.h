/* A souk that shares an address or a client id with others asks one of them, the throttler, before
 * each request (POE_THROTTLER_URL, THROTTLER_API_KEY); its face to the pollers is a gate.
 *
 *     own permit -> POST /api/v1/throttle/permit -> request -> POST /api/v1/throttle/report
 *
 * When the throttler does not answer within 2 s, or not as one does, it is away, and the own limits
 * are halved. Of each endpoint a request then leaves at the earliest 2 / rate_per_s after the one
 * before, where rate_per_s is what the windows that the own governor knows allow in the long run,
 * or the endpoint's rate where no window is known; all that the governor asks for holds besides. At
 * first it is silent for the shortest known window + 6 s (66 s at most), and at least that gap:
 * what the others sent last is not known, and the first reply tells. Each request that is due asks
 * again first. So two processes that lose their throttler together stay below what one of them may
 * send. An endpoint that the throttler does not have (404) is not shared: the own permit is enough.
 */
#ifndef SOUK_CLI_THROTTLER_CLIENT_H
#define SOUK_CLI_THROTTLER_CLIENT_H

#include "souk/governor.h"
#include "souk/http.h"
#include "souk/poller.h"

struct throttler;

struct throttler_options { /* All borrowed; they outlive it, apart from the strings. */
    struct http *http;
    const struct clock *clock;
    struct metrics *metrics;
    struct governor *governor;
    const char *url; /* Without a slash at its end. */
    const char *key; /* Sent as a bearer token; "": none. */
};

/** @return 0, ERR_NOMEM, or ERR_LIMIT when @url or @key is too long. */
int throttler__new(struct throttler **out, const struct throttler_options *options, struct err *e);
/** After its http has closed. Accepts NULL. */
void throttler__free(struct throttler *t);
/** @return what pollers ask; lives as long as @t. */
const struct gate *throttler__gate(struct throttler *t);
/** Appends an object: url, state (up, away, or unknown before the first answer), since_ms, reason,
 *  asked, granted, waited, alone. @t NULL: null. */
void throttler__put(const struct throttler *t, struct buf *out);
#endif
