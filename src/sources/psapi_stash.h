/* One stash of a page: its own fields and the prices of its items. Internal to the psapi source. */
#ifndef SOUK_SOURCES_PSAPI_STASH_H
#define SOUK_SOURCES_PSAPI_STASH_H

#include "psapi_internal.h"
#include "psapi_item.h"

struct psapi_stash {
    struct slice id, name, type, seller, league;
    bool listed;       /* false: a tombstone. */
    yyjson_val *items; /* An array, or absent. */
    struct price tab_price;
    enum price_verdict tab_verdict;
};

/** Where a price was written. */
enum { FROM_NOWHERE, FROM_NOTE, FROM_FORUM, FROM_TAB };

/** Reads @json into @out, whose strings are good as long as @json's document. @return false with @f
 *  filled when a field breaks a rule. */
bool psapi_stash__read(yyjson_val *json, struct psapi_stash *out, struct decode_fault *f);
/** Reads the price in the stash's own name; to be done before prices of items are asked for. */
void psapi_stash__price_tab(struct psapi_stash *stash);
/** The item's note speaks first, then its forum note, then the name of the tab. A note that is
 *  about a price ends the search, good or not; free text passes on to the forum note. The tab's
 *  price is for items without any note of their own.
 *  @return where the price was written; @verdict says whether it is one. */
int psapi_stash__price(const struct psapi_stash *stash, const struct psapi_item *item,
                       struct price *out, enum price_verdict *verdict);

#endif
