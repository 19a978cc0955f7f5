/* Reading the configuration again while it runs: SIGHUP, or POST /api/v1/reload, which answers with
 * the verdict. POST /api/v1/loglevel?level= and /api/v1/drain are beside it.
 *
 * The file is read and checked on the thread pool. Then all of it is applied, or none: what may
 * change are log.level, the ages of alerts.*, the periods (period_s, quick_s) of sources, and what
 * stands in hub.tokens_file, which is read with it: sessions of a token that is gone end. Anything
 * else that differs from what runs is named, and needs a restart. Calls that come meanwhile are one
 * more reading. */
#ifndef SOUK_CLI_RELOAD_H
#define SOUK_CLI_RELOAD_H

#include "souk/hub.h"

struct app;

/** @return 0 or ERR_NOMEM. */
int reload__open(struct app *a);
/** Begins to read, or notes that it has to be read once more. */
void reload__begin(struct app *a);
/** @return how many calls were written to @out, which has room for 5. */
size_t reload__calls(struct app *a, struct hub_call *out);
void reload__free(struct app *a);

#endif
