/* What the audit knows of bronze_quarantine: rows that were refused, and so may be missing.
 *
 * A refused row is found by its name (an item's id, a market, what the ledger calls an entry) and,
 * in the river, by its page: a name that was refused once excuses one row of that name. A stash
 * that was refused whole excuses all of its items. A line of poe.ninja that had its detailsId from
 * the page's other list is known by its id alone, and stays a loss. */
#ifndef SIM_AUDIT_REFUSED_H
#define SIM_AUDIT_REFUSED_H

#include "ledger.h"
#include "ledger_audit.h"

struct refused {
    struct hash_set rows, taken; /* Each name and how many-th it is. */
    struct hash_set stashes;     /* Refused whole. */
};

/** Take a row of bronze_quarantine: table_name, cursor, field, payload. */
void refused__add(struct refused *r, const struct span *f);
/** @return whether a row of @table called @name was refused, and no other was excused by it.
 * @cursor is of the river's pages, empty for all others. */
bool refused__take(struct refused *r, enum audit_table table, struct span cursor, struct span name);
/** The same for an item of the river, by its stash, and
 * without an id by its place in it. */
bool refused__take_item(struct refused *r, struct span cursor, struct span stash, struct span place,
                        struct span item);
void refused__fini(struct refused *r);

#endif
