/* The stash tabs of one account in one league, as the OAuth API shows them
 * (https://www.pathofexile.com/developer/docs/reference): a tree of tabs of many types, whose
 * contents change slowly and are a function of seed, realm, league and time alone. */
#ifndef SIM_ACCOUNT_H
#define SIM_ACCOUNT_H

#include "../wire/sim_buf.h"

enum { ACCOUNT_ID_MAX = 11, ACCOUNT_PERIOD_S = 600 };

/** Which account's view: one realm and league of it. */
struct account_view {
    uint64_t seed;
    int realm;
    const char *league; /* Borrowed. */
    int64_t at_ns;      /* UTC. Contents change every ACCOUNT_PERIOD_S. */
};
/** @return {"stashes":[...]}: the tree without items, with one reference. */
struct body *account__list(const struct account_view *v);
/** @return {"stash":{...,"items":[...]}} of tab @id, or of its child @sub (NULL for none), with one
 * reference; NULL when there is no such tab. A child can be asked by its own id, too. */
struct body *account__tab(const struct account_view *v, const char *id, const char *sub);

#endif
