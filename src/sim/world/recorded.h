/* Recorded bodies served instead of a simulated market: the river's pages in a fixed order under
 * synthetic cursors, poe.ninja's overviews by type, and where they are there the trade site's
 * lists, one digest of the exchange for all hours, and an account's tabs for all leagues. */
#ifndef SIM_REPLAY_H
#define SIM_REPLAY_H

#include "river.h"

struct ninja_recorded;

/** Read DIR/psapi into o->replay. Stashes without an id get one that follows from their file and
 * place; all else stays as it was recorded. Blocks: for the start only. @return 0, without a
 * page where none is recorded, or -1 with why. */
int replay__load_pages(const char *dir, struct river_options *o, struct sim_err *e);
/** Read DIR/ninja into a list (owned by the caller, each body with one reference). @return 0 or -1.
 */
int replay__load_ninja(const char *dir, struct ninja_recorded **out, size_t *n, struct sim_err *e);
/** Add what DIR/trade, DIR/cx and DIR/account have to that list; files that are not there are left
 * out. Paths and types: "trade" and the resource; "cx" and the realm, the markets of any hour;
 * "account" and the tab's id or "list". @return 0, or -1 when a file is broken. */
int replay__load_bodies(const char *dir, struct ninja_recorded **out, size_t *n, struct sim_err *e);
/** Read a gzip or plain file of at most 64 MiB whole. @return 0 or -1. */
int replay__read_file(const char *path, struct buf *out, struct sim_err *e);

#endif
