/* The governor for people and for other processes: what waits and why, pausing and killing, and
 * permits over HTTP. */
#ifndef SOUK_CLI_THROTTLE_H
#define SOUK_CLI_THROTTLE_H

#include "souk/governor.h"
#include "souk/hub.h"
#include "throttler_client.h"

struct throttle;

/** Told, once, whether what a save was asked for is on disk. */
typedef void (*throttle_saved_cb)(void *data, bool ok);
/** Makes the governor's state durable, then calls @cb; before a permit leaves, or a crash loop
 * could give out more than there is. @return false, without a call, when it cannot. */
typedef bool (*throttle_save)(void *ctx, throttle_saved_cb cb, void *data);

/** For a hub that opens before the governor does. @clock is borrowed. @return 0 or ERR_NOMEM. */
int throttle__new(struct throttle **out, const struct clock *clock, throttle_save save, void *ctx);
/** From here on it answers with more than "not ready". */
void throttle__start(struct throttle *t, struct governor *g);
/** Whom this process asks itself (NULL: nobody), for GET /api/v1/throttle. Borrowed. */
void throttle__set_throttler(struct throttle *t, const struct throttler *throttler);
/** Counts the permits that are out as ended. Before the governor closes; calls are then refused. */
void throttle__stop(struct throttle *t);
/** After the hub has closed. */
void throttle__free(struct throttle *t);
/** The calls of the hub: GET /api/v1/throttle; POST /permit, /report, /pause, /resume, /kill.
 *  @t is their ctx. @return how many were written to @out, which has room for 8. */
size_t throttle__calls(struct throttle *t, struct hub_call *out);
/** Ends permits that nobody reported in time; once a second. */
void throttle__tick(struct throttle *t);
/** Appends what @g has learned of policies, as an array. */
void throttle__put_policies(const struct governor *g, struct buf *out);
#endif
