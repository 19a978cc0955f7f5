/* What the files of the account_stashes source share. */
#ifndef SOUK_SOURCES_ACCOUNT_INTERNAL_H
#define SOUK_SOURCES_ACCOUNT_INTERNAL_H

#include "souk/decode.h"
#include "souk/source.h"

#define ACCOUNT_NAME "account_stashes"
#define ACCOUNT_TABS_MAX 4096 /* Of one snapshot; an account has some hundred. */
#define ACCOUNT_ITEMS_MAX                                                                          \
    100000 /* Of one body; the largest tab holds 576, special ones some hundred. */
#define ACCOUNT_ID_MAX 64

/** @return whether @v is an id that may go into a path: 1 to 64 letters, digits, - and _. */
bool account__is_id(yyjson_val *v);

/** Called for each tab that has to be asked for, in the order of the stash. @parent is "" for one
 *  of the list. */
typedef void (*account_tab_cb)(void *ctx, struct slice parent, struct slice id);
/** Walks the tabs of a list ({"stashes":[...]}): folders give what is in them, other tabs
 *  themselves. @return how many entries could not be read. */
size_t account__walk_list(yyjson_val *stashes, account_tab_cb cb, void *ctx);
/** Walks the children of the tab @stash, which it shows without their items: each wants a request
 *  of its own. Those that say that they are empty do not. @return as account__walk_list. */
size_t account__walk_children(yyjson_val *stash, account_tab_cb cb, void *ctx);

int account__decode(const struct page *page, const struct decode_context *context, struct rows *out,
                    struct err *e);

#endif
