/* Where streams stand that this run does not have: their source is switched off, they have left the
 * configuration, or they are backfills that somebody has stopped. They go on there when they come
 * back, so a place is never given up for want of another: the table holds all that the log says,
 * and what bounds it is that no backfill is begun while it holds ABSENT_MAX (streams of the
 * configuration have bounds of their own). A backfill that has reached its end does not come back,
 * and has no place. */
#ifndef SOUK_CLI_ABSENT_H
#define SOUK_CLI_ABSENT_H

#include "souk/poller.h"

#define ABSENT_MAX 1024 /* With so many, no backfill is begun that is not one of them. */
#define ABSENT_SPARE 8  /* Places that absent__reserve makes sure of. */

struct absent_stream {
    char source[64], key[128];
    char cursor[CURSOR_MAX], etag[CURSOR_MAX];
    char hold[POLLER_REASON_MAX]; /* Frozen by hand: why. "": it is not. */
};

/** Zeroed: empty. */
struct absent_streams {
    struct absent_stream *list; /* Owned. */
    size_t n, cap;
};

void absent__fini(struct absent_streams *t);
/** @return the stream @key of @source, or NULL; valid until the table changes. */
struct absent_stream *absent__find(const struct absent_streams *t, struct slice source,
                                   struct slice key);
/** @return the same, made when it is not there; NULL without memory. Texts too long for it, which
 *  no souk writes, are cut. */
struct absent_stream *absent__put(struct absent_streams *t, struct slice source, struct slice key);
/** Makes sure that the next ABSENT_SPARE streams find memory. @return 0 or ERR_NOMEM. */
int absent__reserve(struct absent_streams *t);
/** Forgets @s: the stream runs again. */
void absent__drop(struct absent_streams *t, struct absent_stream *s);
/** Forgets backfills that have reached their end, as older versions kept them, and as one stands
 *  whose end the log has and no checkpoint yet. One whose key holds a hash in place of its stretch
 *  stays, as its end is not known. @return how many. */
size_t absent__sweep(struct absent_streams *t);

#endif
