/* Hourly digests of the currency exchange: a function of seed, realm and hour alone. Also what
 * other routes need to know of the things traded there: their names, and what gold they cost. */
#ifndef SIM_EXCHANGE_H
#define SIM_EXCHANGE_H

#include "../wire/sim_buf.h"

enum { EXCHANGE_HOUR_S = 3600 };

/** One thing that the exchange trades. */
struct exchange_item {
    const char *id;       /* Metadata path. */
    const char *trade_id; /* Of the trade site's static list. */
    const char *name;
    double chaos; /* A usual price at the start. */
    double gold;  /* For each unit received. */
};
extern const struct exchange_item exchange_items[];
extern const size_t n_exchange_items;
enum { EXCHANGE_CHAOS, EXCHANGE_DIVINE }; /* The first two of exchange_items[]. */

/** @return the digest of the hour that begins at @hour_s (UTC), with one reference: the markets of
 * all @leagues and of one private league. @realm is a number of realm_names[]. */
struct body *exchange__digest(uint64_t seed, int realm, const struct span *leagues,
                              size_t n_leagues, int64_t hour_s);

#endif
