/* One stash of a page: its own fields and the prices of its items. Internal to the psapi source. */
#ifndef SOUK_SOURCES_PSAPI_STASH_H
#define SOUK_SOURCES_PSAPI_STASH_H

#include "psapi_internal.h"
#include "psapi_item.h"

struct psapi_stash {
    struct slice id, name, type, seller, league;
    bool listed;       /* false: a tombstone. */
    bool name_lost;    /* It is there, and unreadable: so may be a price. */
    yyjson_val *items; /* An array, or absent. */
    struct price_tab tab;
    uint32_t n_fields_lost;
};

/** Reads @json into @out, whose strings are good as long as @json's document. Fields of another
 *  shape than promised are lost and counted, but for id, public and items, without which nothing is
 *  known of the stash. @return false with @f filled when one of those breaks a rule. */
bool psapi_stash__read(yyjson_val *json, struct psapi_stash *out, struct decode_fault *f);
/** Reads the price in the stash's own name; to be done before prices of items are asked for. */
void psapi_stash__price_tab(struct psapi_stash *stash);
/** price_note__resolve for an item of @stash. */
enum price_verdict psapi_stash__price(const struct psapi_stash *stash,
                                      const struct psapi_item *item, struct price *out,
                                      enum price_source *source);

#endif
