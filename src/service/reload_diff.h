/* What of a configuration may change while souk runs, and what differs otherwise. Pure. */
#ifndef SOUK_CLI_RELOAD_DIFF_H
#define SOUK_CLI_RELOAD_DIFF_H

#include "souk/config.h"

/** @return whether @next differs from @now only in what may change while it runs; else appends to
 *  @why a clause for each key that needs a restart, at most ten. */
bool reload_diff__is_live(const struct config *now, const struct config *next, struct buf *why);
/** Copies what may change from @next to @to. */
void reload_diff__take(struct config *to, const struct config *next);

#endif
