/** Profile events and progress: numbers that come beside a result. */
#ifndef CHN_PROFILE_H
#define CHN_PROFILE_H

#include "block.h"

#include <ch_native/conn.h>

/** Reads row @row of a block of profile events. @return false when it lacks a name or a value. */
bool chn_profile_event__read(const struct chn_block *block, uint64_t row,
                             struct chn_profile_event *event);

/** Calls @cb (may be NULL) for each row of a block of profile events; a row that lacks a name or a
 * value is passed over. Stops when the request that they belong to is gone. */
void chn_profile_events__tell(struct chn_conn *c, const struct chn_block *block,
                              chn_profile_event_cb cb);

/** Adds an increment to the sums; they stay at their largest value rather than wrap. */
void chn_progress__add(struct chn_progress *sums, const struct chn_progress *more);

#endif
