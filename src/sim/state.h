/* The one fact sheet of a state folder: which seed and leagues its pages came from, and when it
 * began. */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include "options.h"

/** Make @dir if needed; write @start_wall_ns there, or read what an earlier run wrote. @return 0,
 * or -1 with why: also when that run had another seed or other leagues, because its pages would not
 * fit. */
int state__open(const char *dir, const struct options *o, int64_t *start_wall_ns,
                struct sim_err *e);

#endif
