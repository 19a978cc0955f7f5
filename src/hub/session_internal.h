/* What the files of the session share. */
#ifndef SOUK_HUB_SESSION_INTERNAL_H
#define SOUK_HUB_SESSION_INTERNAL_H

#include "session.h"
#include <yyjson.h>

enum { DROP_SLOW, DROP_GAP, DROP_RATE, DROP_HELLO, DROP_AUTH, DROP_OTHER };

struct session_command {
    struct session *session;
    struct session_command *next;
    int64_t id;
};

/** @return how many messages of a client may come at once. */
double sessions__burst(const struct sessions *all);
/** @return true when the session's filter lets an alert through. */
bool session__wants(const struct session *s, enum alert_sev sev, const char *class);
/** The state now; @filter NULL: all of it. One reference, the caller's. @return NULL without
 * memory. */
struct snapshot *snapshot__build(struct alerts *alerts, const struct session *filter);
void snapshot__unref(struct snapshot *snap);
/** Sends one text frame; errors of the queue are the pump's to see. */
bool session__send(struct session *s, struct slice text, uint64_t off);
void session__close(struct session *s, int code, const char *reason);

#endif
