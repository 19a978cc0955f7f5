/* The trade site's own lists (https://www.pathofexile.com/api/trade/data) in the shapes of 2026,
 * and the pages of a gateway that tells of listings by cursor: functions of the seed and a number
 * alone. */
#ifndef SIM_TRADE_DATA_H
#define SIM_TRADE_DATA_H

#include "../wire/sim_buf.h"

enum {
    TRADE_PAGE_ROWS = 50,     /* Listings of a page of the gateway. */
    TRADE_PAGE_S = 20,        /* A new page comes that often. */
    TRADE_PAGES_FIRST = 12,   /* Pages that wait at the first start. */
    TRADE_VERSION_BUILDS = 20 /* The lists change that often. */
};

/** @return the list @name (static, items, stats, leagues, filters) as {"result":[...]} with one
 * reference, or NULL when there is no such list. @version changes one entry of each. */
struct body *trade__resource(const char *name, const struct span *leagues, size_t n_leagues,
                             int64_t version);
/** @return page @page of listings as {"result":[...],"next_cursor":...} with one reference.
 * @start_s is when page 0 was made, UTC. */
struct body *trade__page(uint64_t seed, const struct span *leagues, size_t n_leagues, uint64_t page,
                         int64_t start_s);
/** @return the empty answer at the end, which names @page again. */
struct body *trade__end(uint64_t page);
/** Read the cursor of a page; "" is the first. @return whether it is one. */
bool trade__cursor(const char *text, uint64_t *page);

#endif
