/* Rows of silver_listing_events: what the tape says of one item, as the table holds it. Names and
 * meanings: schema/migrations/0008_listing_events.sql. */
#ifndef SOUK_LISTING_ROW_H
#define SOUK_LISTING_ROW_H

#include "souk/tables.h"
#include "souk/tape.h"

/** @return the word of the column kind; of the column removal ("" for TAPE_NOT_REMOVED). */
const char *listing__kind(enum tape_kind kind);
const char *listing__removal(enum tape_removal removal);
/** @return the word of the column delist_reason for @event: "" unless it is DELISTED. */
const char *listing__reason(const struct tape_event *event);
/** Appends @event to @b, a batch of table_silver_listing_events for the partition @league_key.
 *  @cursor is its page's. @b is told to have failed (batch__failed) when the row did not fit. */
void listing__row(struct batch *b, const struct tape_event *event, struct slice league_key,
                  struct slice cursor, const struct row_origin *origin);

#endif
