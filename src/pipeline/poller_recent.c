/* Which streams change often: from that follows who goes first among those of one class. */
#include "souk/poller.h"

void poller_recent__add(struct poller_recent *r, bool fresh) {
    r->fresh = (uint16_t)(r->fresh << 1 | (fresh ? 1 : 0));
    if (r->n < 16) r->n++;
}

enum permit_tier poller_recent__tier(const struct poller_recent *r, enum permit_tier now) {
    int fresh = __builtin_popcount(r->fresh);
    if (r->n < 4) return TIER_WARM;
    if (fresh * 2 >= r->n) return TIER_HOT;
    if (now == TIER_HOT && fresh * 4 >= r->n) return TIER_HOT;
    return fresh == 0 && r->n == 16 ? TIER_COLD : TIER_WARM;
}
