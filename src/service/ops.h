/* What souk writes about itself: where each stream stands (poe_ingest_status), each 30 s and at
 * every change of state, and the warnings of its log (proc_logs), once a second. Both go through
 * the log as OPS records, so they are stored exactly once as pages are.
 *
 * Bounded: 64 lines a second, the rest is counted in a line of its own. A full spool refuses these
 * records as it refuses pages: rows of a state are then written later, lines are lost and counted
 * (souk_ops_records_total{result="refused"}); nothing is logged about it, which would make more. */
#ifndef SOUK_CLI_OPS_H
#define SOUK_CLI_OPS_H

#include <stdbool.h>
#include <stdint.h>

struct app;
struct app_stream;
struct poller_status;
struct ops;

/* What was last said of a stream, which has it in itself: it goes with its stream, and nobody
 * else's place moves. */
struct ops_told {
    const char *state; /* Static. NULL: nothing yet. */
    uint32_t round;    /* In which it was last looked at. */
    uint64_t n_requests;
    int64_t at_mono_ns, stalled_wall_ns;
};

/** Starts to keep the log's warnings. @return 0 or ERR_NOMEM. */
int ops__open(struct app *a);
/** Once a second, before streams are looked at: whether all rows are due. */
void ops__second(struct app *a);
/** @return whether @s has to be looked at for its row although nothing has changed. */
bool ops__is_due(const struct app *a, const struct app_stream *s);
/** Makes a row of @s when its state has changed, or all are due. */
void ops__look(struct app *a, struct app_stream *s, const struct poller_status *p);
/** Writes the rows that were made, and the log's lines. */
void ops__write(struct app *a);
/** The last rows: every stream as it stands, with @state for those that were well. */
void ops__last(struct app *a, const char *state);
/** @s has ended: when it goes on, it begins anew. */
void ops__forget(struct app_stream *s);
/** Accepts that there is none. */
void ops__free(struct app *a);

#endif
