/* Recorded bodies served instead of a simulated market: the river's pages in a fixed order under
 * synthetic cursors, and poe.ninja's overviews by type. */
#ifndef SIM_REPLAY_H
#define SIM_REPLAY_H

#include "river.h"

struct ninja_recorded;

/** Read DIR/psapi into o->replay. Stashes without an id get one that follows from their file and
 * place; all else stays as it was recorded. Blocks: for the start only. @return 0, or -1 with why;
 * no recorded page at all is an error. */
int replay__load_pages(const char *dir, struct river_options *o, struct sim_err *e);
/** Read DIR/ninja into a list (owned by the caller, each body with one reference). @return 0 or -1.
 */
int replay__load_ninja(const char *dir, struct ninja_recorded **out, size_t *n, struct sim_err *e);

#endif
