/* Backfills: a stretch of a source's past, fetched by a stream of its own beside the one that
 * follows the present, under the same governor, with class backfill and a pace of its own.
 *
 * GET  /api/v1/backfill                                          those of this run, with progress
 * POST /api/v1/backfill?source=&stream=&from=&to=&budget=        starts one, or goes on with it
 * POST /api/v1/backfill/stop?source=&key=                        ends it; its cursor stays
 *
 * Its stream has the key KEY@backfill/FROM-TO, under which its cursor is in the log: the same call
 * after a stop or a restart goes on there. Once it has reached its end its cursor is gone, and in
 * another run the same call fetches the stretch anew. With ABSENT_MAX places taken none is begun.
 * Its pages are pages like others: their rows carry their own positions, so what the main stream
 * has had already comes a second time. */
#ifndef SOUK_CLI_BACKFILL_H
#define SOUK_CLI_BACKFILL_H

#include "souk/hub.h"
#include "souk/journal.h"

struct app;
struct app_stream;
struct backfills;

#define BACKFILLS_MAX 8     /* At a time; one that has ended makes room for the next. */
#define BACKFILL_BUDGET 0.8 /* Requests a second, unless somebody says otherwise. */
#define BACKFILL_BUDGET_MAX 100.0
#define BACKFILL_BUDGET_MIN 1e-5 /* One a day or so: less would be no pace but an end. */

/** @return 0 or ERR_NOMEM. */
int backfill__open(struct app *a);
/** Their streams, in the manner of the app's; one that has ended has no poller. */
size_t backfill__n(const struct app *a);
struct app_stream *backfill__stream(struct app *a, size_t i);
/** A page or request of @s was decoded, if @s is a backfill's. */
void backfill__count(struct app *a, struct app_stream *s, const struct request_facts *facts,
                     uint64_t lsn, const struct rows *rows);
/** Ends those that have come to their end; once a second. */
void backfill__second(struct app *a);
/** @return how many calls were written to @out, which has room for 3. */
size_t backfill__calls(struct app *a, struct hub_call *out);
void backfill__free(struct app *a);

#endif
