/* The overviews of poe.ninja, in the shapes that its site asks for. A body is a function of (seed,
 * league, type, build): no state, so any build can be made again. */
#ifndef SIM_NINJA_H
#define SIM_NINJA_H

#include "../wire/sim_buf.h"

/** @return the overview of @type at @path ("exchange", "item" or "currency"), with one reference;
 * NULL when that path has no such type. */
struct body *ninja__overview(uint64_t seed, const char *league, const char *path, const char *type,
                             int64_t build);
/** @return the list of leagues as a body with one reference. */
struct body *ninja__leagues(const struct span *leagues, size_t n);

#endif
