/* See exchange.h. A price is a base times two triangle waves and a little noise of the hour; the
 * ratio pair of an hour lies around it in whole numbers, so that the quotient of the volumes is
 * always inside, as it is upstream. Thin markets miss hours, and some have an hour with orders and
 * no trade: zeros. */
#include "exchange_markets.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define CURRENCY "Metadata/Items/Currency/"
const struct exchange_item exchange_items[] = {
    {CURRENCY "CurrencyRerollRare", "chaos", "Chaos Orb", 1, 15},
    {CURRENCY "CurrencyModValues", "divine", "Divine Orb", 200, 250},
    {CURRENCY "CurrencyAddModToRare", "exalted", "Exalted Orb", 12, 20},
    {CURRENCY "CurrencyDuplicate", "mirror", "Mirror of Kalandra", 170000, 25000},
    {CURRENCY "CurrencyRemoveMod", "annul", "Orb of Annulment", 8, 250},
    {CURRENCY "CurrencyUpgradeToRare", "alch", "Orb of Alchemy", 0.12, 15},
    {CURRENCY "CurrencyCorrupt", "vaal", "Vaal Orb", 0.6, 20},
    {CURRENCY "CurrencyRerollSocketLinks", "fusing", "Orb of Fusing", 0.15, 15},
    {CURRENCY "CurrencyRerollSocketColours", "chrome", "Chromatic Orb", 0.05, 20},
    {CURRENCY "CurrencyRerollSocketNumbers", "jewellers", "Jeweller's Orb", 0.06, 10},
    {CURRENCY "CurrencyConvertToNormal", "scour", "Orb of Scouring", 0.5, 15},
    {CURRENCY "CurrencyPassiveRefund", "regret", "Orb of Regret", 0.7, 20},
    {CURRENCY "CurrencyUpgradeMagicToRare", "regal", "Regal Orb", 0.3, 20},
    {CURRENCY "CurrencyRerollImplicit", "blessed", "Blessed Orb", 0.4, 35},
    {CURRENCY "CurrencyRerollUnique", "ancient-orb", "Ancient Orb", 6, 250},
    {CURRENCY "CurrencyRerollDefences", "sacred-orb", "Sacred Orb", 9, 250},
    {"Metadata/Items/DivinationCards/DivinationCardDeck", "stacked-deck", "Stacked Deck", 1.9, 35},
    {CURRENCY "CurrencyIdentification", "wisdom", "Scroll of Wisdom", 0.01, 1},
    {"Metadata/Items/Heist/HeistCoin", "rogues-marker", "Rogue's Marker", 0.004, 0.001},
    {"Metadata/Items/MapFragments/CurrencyShaperFragment1", "fragment-of-the-phoenix",
     "Fragment of the Phoenix", 6, 250},
    {"Metadata/Items/MapFragments/CurrencyMavenKey", "the-mavens-writ", "The Maven's Writ", 35,
     1000},
    {"Metadata/Items/Scarabs/ScarabStrongboxNew1", "ambush-scarab", "Ambush Scarab", 0.8, 75},
    {"Metadata/Items/Scarabs/ScarabBreachNew2", "breach-scarab-of-the-dreamer",
     "Breach Scarab of the Dreamer", 14, 350},
    {CURRENCY "Mushrune2", "sepia-oil", "Sepia Oil", 0.2, 25},
};
const size_t n_exchange_items = sizeof exchange_items / sizeof exchange_items[0];
static const char private_league[] = "Foo (PL12345)";

/** One market of one hour. */
struct market {
    const struct exchange_item *quote, *item;
    uint64_t key; /* Of this market, whatever the hour. */
    uint64_t now; /* Of this market and hour. */
    double price; /* Of the item in the quote. */
};

/** @return a triangle wave in [-1, 1] of @period hours. */
static double wave(int64_t hour, uint32_t period, uint64_t phase) {
    double x = (double)(((uint64_t)hour + phase) % period) / period;
    return x < 0.5 ? 4 * x - 1 : 3 - 4 * x;
}

static double price_at(uint64_t key, double chaos, int64_t hour) {
    double noise = (double)(mix64(key, (uint64_t)hour) % 2001) / 100000.0 - 0.01;
    return chaos * (0.8 + (double)(key % 400) / 1000.0) *
           (1 + 0.10 * wave(hour, 211, key >> 8) + 0.05 * wave(hour, 29, key >> 20) + noise);
}

/** Add "name":{quote:a,item:b}. */
static void add_pair(struct buf *b, const struct market *m, const char *name, uint64_t quote,
                     uint64_t item) {
    buf__addf(b, ",\"%s\":{\"%s\":%llu,\"%s\":%llu}", name, m->quote->id, (unsigned long long)quote,
              m->item->id, (unsigned long long)item);
}

static void add_market(struct buf *b, const struct market *m, const char *league) {
    uint64_t low[2], high[2], n_items = 0, n_quote = 0, stock = 3 + m->now % 4000;
    if (m->price >= 1) { /* So much of the quote for one, or for ten of it. */
        low[1] = high[1] = m->price >= 20 ? 1 : 10;
        low[0] = (uint64_t)floor(m->price * 0.95 * (double)low[1]);
        high[0] = (uint64_t)ceil(m->price * 1.06 * (double)high[1]);
    } else { /* One of the quote for so many. */
        low[0] = high[0] = 1;
        low[1] = (uint64_t)ceil(1 / (m->price * 0.95));
        high[1] = (uint64_t)floor(1 / (m->price * 1.06));
        if (high[1] == 0) high[1] = 1;
    }
    if (m->now % 17 != 0) { /* Otherwise nothing was traded. */
        n_items = 100 + m->now % 5000;
        if (m->price < 1) n_items = (uint64_t)ceil((double)n_items / m->price);
        n_quote = (uint64_t)llround((double)n_items * m->price);
    } else {
        low[0] = low[1] = high[0] = high[1] = 0;
    }
    buf__adds(b, "{\"league\":");
    buf__add_json(b, league, strlen(league));
    buf__addf(b, ",\"market_id\":\"%s|%s\",\"market_pair\":[\"%s\",\"%s\"]", m->quote->id,
              m->item->id, m->quote->id, m->item->id);
    add_pair(b, m, "volume_traded", n_quote, n_items);
    add_pair(b, m, "lowest_stock", stock / 2, stock);
    add_pair(b, m, "highest_stock", stock, stock * 2);
    /* "Lowest" is the vendor's word for one side; on some markets it is the dearest. */
    if (m->key % 5 == 0) {
        add_pair(b, m, "lowest_ratio", high[0], high[1]);
        add_pair(b, m, "highest_ratio", low[0], low[1]);
    } else {
        add_pair(b, m, "lowest_ratio", low[0], low[1]);
        add_pair(b, m, "highest_ratio", high[0], high[1]);
    }
    buf__addc(b, '}');
}

/** Add the markets of one league: each thing against chaos, and against divines as well. */
static void add_league(struct buf *b, uint64_t seed, const char *league, int64_t hour,
                       bool *first) {
    uint64_t of_league = mix64(seed, XXH3_64bits(league, strlen(league)));
    double divine = price_at(mix64(of_league, 1001), exchange_items[EXCHANGE_DIVINE].chaos, hour);
    for (size_t quote = EXCHANGE_CHAOS; quote <= EXCHANGE_DIVINE; quote++) {
        for (size_t i = quote + 1; i < n_exchange_items; i++) {
            struct market m = {.quote = &exchange_items[quote], .item = &exchange_items[i]};
            m.key = mix64(of_league, 1000 + i + 500 * quote);
            m.now = mix64(m.key, (uint64_t)hour);
            m.price = i == EXCHANGE_DIVINE ? divine : price_at(m.key, m.item->chaos, hour);
            if (quote == EXCHANGE_DIVINE) m.price /= divine;
            if (m.key % 4 == 0 && m.now % 3 != 0) continue;            /* Thin: not this hour. */
            if (quote == EXCHANGE_DIVINE && m.price < 0.002) continue; /* Nobody asks for that. */
            if (!*first) buf__addc(b, ',');
            *first = false;
            add_market(b, &m, league);
        }
    }
}

struct body *exchange__digest(uint64_t seed, int realm, const struct span *leagues,
                              size_t n_leagues, int64_t hour_s) {
    struct buf b = {0};
    struct body *out;
    bool first = true;
    uint64_t of_realm = realm == 0 ? seed : mix64(seed, (uint64_t)realm);
    buf__addf(&b, "{\"next_change_id\":%lld,\"markets\":[", (long long)(hour_s + EXCHANGE_HOUR_S));
    for (size_t i = 0; i <= n_leagues; i++) {
        char name[80];
        struct span league = i < n_leagues ? leagues[i] : SPAN(private_league);
        snprintf(name, sizeof name, "%.*s", (int)league.len, league.at);
        add_league(&b, of_realm, name, hour_s / EXCHANGE_HOUR_S, &first);
    }
    buf__adds(&b, "]}");
    out = body__new(b.at, b.len);
    buf__fini(&b);
    return out;
}
