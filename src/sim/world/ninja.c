/* See ninja.h. Prices swing in triangle waves of several lengths plus a little noise, each from a
 * hash: arithmetic that is the same on every machine. */
#include "ninja.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "catalogue.h"

/** Types whose things are not in the catalogue get made-up ones of the usual price. */
struct made_up {
    const char *path, *type, *name, *slug;
    unsigned n;
    double chaos;
};
static const struct made_up made_ups[] = {
    {"exchange", "Currency", "Tainted Currency", "tainted-currency", 30, 3},
    {"exchange", "Fragment", "Timeless Emblem", "timeless-emblem", 12, 9},
    {"exchange", "Scarab", "Gilded Scarab", "gilded-scarab", 40, 4},
    {"exchange", "Essence", "Deafening Essence", "deafening-essence", 25, 2},
    {"exchange", "DivinationCard", "The Wager", "the-wager", 40, 6},
    {"exchange", "Oil", "Amber Oil", "amber-oil", 13, 2},
    {"exchange", "Fossil", "Pristine Fossil", "pristine-fossil", 24, 4},
    {"exchange", "Resonator", "Prime Resonator", "prime-resonator", 6, 5},
    {"exchange", "DeliriumOrb", "Delirium Orb", "delirium-orb", 18, 4},
    {"exchange", "Tattoo", "Tattoo of the Ngamahu", "tattoo-of-the-ngamahu", 20, 3},
    {"exchange", "Omen", "Omen of Fortune", "omen-of-fortune", 10, 12},
    {"exchange", "AllflameEmber", "Allflame Ember", "allflame-ember", 14, 8},
    {"exchange", "Runegraft", "Runegraft of the Fortress", "runegraft-of-the-fortress", 9, 7},
    {"exchange", "Artifact", "Greater Artifact", "greater-artifact", 16, 0.3},
    {"exchange", "Astrolabe", "Astrolabe", "astrolabe", 8, 30},
    {"exchange", "Ducat", "Ducat", "ducat", 4, 1},
    {"exchange", "EnshroudingCrystal", "Enshrouding Crystal", "enshrouding-crystal", 5, 15},
    {"item", "UniqueWeapon", "Oathblade", "oathblade", 40, 20},
    {"item", "UniqueArmour", "Ward of Days", "ward-of-days", 40, 15},
    {"item", "UniqueAccessory", "Band of Debt", "band-of-debt", 20, 40},
    {"item", "UniqueFlask", "Draught", "draught", 8, 6},
    {"item", "UniqueJewel", "Eye of Dusk", "eye-of-dusk", 20, 30},
    {"item", "SkillGem", "Awakened Support", "awakened-support", 40, 60},
    {"item", "BaseType", "Twilight Regalia", "twilight-regalia", 40, 50},
    {"item", "Map", "Cortex Map", "cortex-map", 20, 5},
    {"item", "Invitation", "Incandescent Invitation", "incandescent-invitation", 5, 80},
    {"item", "DivinationCard", "The Wager", "the-wager", 20, 6},
    {"currency", "Currency", "Tainted Currency", "tainted-currency", 10, 3},
    {"currency", "Fragment", "Timeless Emblem", "timeless-emblem", 6, 9},
};

/** Whether a thing of the catalogue is listed under @type. */
static bool is_of_type(const struct catalogue_item *c, const char *path, const char *type) {
    bool item = strcmp(path, "item") == 0;
    if (strcmp(type, "Currency") == 0) return !item && c->kind == ITEM_CURRENCY;
    if (strcmp(type, "Fragment") == 0) return !item && c->kind == ITEM_FRAGMENT;
    if (strcmp(type, "DivinationCard") == 0) return c->kind == ITEM_CARD;
    if (!item) return false;
    if (strcmp(type, "SkillGem") == 0) return c->kind == ITEM_GEM;
    if (strcmp(type, "Map") == 0) return c->kind == ITEM_MAP;
    if (c->kind != ITEM_UNIQUE) return false;
    if (strcmp(type, "UniqueWeapon") == 0) return strcmp(c->category, "weapons") == 0;
    if (strcmp(type, "UniqueArmour") == 0) return strcmp(c->category, "armour") == 0;
    if (strcmp(type, "UniqueAccessory") == 0) return strcmp(c->category, "accessories") == 0;
    if (strcmp(type, "UniqueFlask") == 0) return strcmp(c->category, "flasks") == 0;
    return strcmp(type, "UniqueJewel") == 0 && strcmp(c->category, "jewels") == 0;
}

/** @return a triangle wave in [-1, 1] of @period builds. */
static double wave(int64_t build, uint32_t period, uint64_t phase) {
    uint64_t at = ((uint64_t)build + phase) % period;
    double x = (double)at / period;
    return x < 0.5 ? 4 * x - 1 : 3 - 4 * x;
}

static double price_at(uint64_t key, double chaos, int64_t build) {
    double noise = (double)(mix64(key, (uint64_t)build) % 2001) / 100000.0 - 0.01;
    return chaos * (0.8 + (double)(key % 400) / 1000.0) *
           (1 + 0.15 * wave(build, 97, key >> 8) + 0.08 * wave(build, 31, key >> 20) + noise);
}

static void add_price(struct buf *b, double v) {
    if (v >= 1000) buf__addf(b, "%.0f", v);
    else if (v >= 100) buf__addf(b, "%.1f", v);
    else if (v >= 1) buf__addf(b, "%.2f", v);
    else buf__addf(b, "%.5f", v);
}

/** Add {"totalChange":..,"data":[..]}: seven days, cumulative; thin ones miss days, the thinnest
 * have none. */
static void add_spark(struct buf *b, const char *name, uint64_t key, int64_t build) {
    double first = price_at(key, 1, build - 700), last = 0;
    unsigned missing = key % 29 == 0 ? 7 : key % 7 == 0 ? (unsigned)(key % 5) : 0;
    buf__addf(b, "\"%s\":{\"data\":[", name);
    for (unsigned i = 0; i < 7 && missing < 7; i++) {
        last = (price_at(key, 1, build - 100 * (6 - (int)i)) / first - 1) * 100;
        if (i > 0) buf__addc(b, ',');
        if (i < missing) buf__adds(b, "null");
        else buf__addf(b, "%.2f", last);
    }
    buf__addf(b, "],\"totalChange\":%.2f}", missing < 7 ? last : 0.0);
}

/** One thing with a price, from the catalogue or made up. */
struct line {
    const char *name, *base, *slug;
    uint64_t key;
    double chaos, divine; /* Chaos of it; chaos of a divine. */
    unsigned number;
};

static void add_exchange_line(struct buf *b, const struct line *l, int64_t build) {
    bool in_divine = l->chaos > 20 * l->divine;
    buf__addf(b, "{\"id\":\"%s\",\"primaryValue\":", l->slug);
    add_price(b, l->chaos);
    buf__addf(b, ",\"volumePrimaryValue\":%llu,\"maxVolumeCurrency\":\"%s\",\"maxVolumeRate\":",
              (unsigned long long)(1000 + mix64(l->key, (uint64_t)build) % 900000),
              in_divine ? "divine" : "chaos");
    add_price(b, in_divine ? l->divine / l->chaos : 1 / l->chaos);
    buf__addc(b, ',');
    add_spark(b, "sparkline", l->key, build);
    buf__addc(b, '}');
}

static void add_item_line(struct buf *b, const struct line *l, int64_t build) {
    uint64_t n = 1 + l->key % 399;
    buf__addf(b, "{\"id\":%u,\"name\":\"%s\",\"icon\":\"https://web.poecdn.com/gen/image/%s.png\",",
              90000 + l->number, l->name, l->slug);
    if (l->base[0] != '\0') buf__addf(b, "\"baseType\":\"%s\",", l->base);
    if (l->key % 3 == 0) buf__addf(b, "\"levelRequired\":%u,", (unsigned)(l->key % 70));
    buf__adds(b, "\"itemClass\":3,");
    add_spark(b, "sparkLine", l->key, build);
    buf__adds(b, ",\"chaosValue\":");
    add_price(b, l->chaos);
    buf__adds(b, ",\"exaltedValue\":");
    add_price(b, l->chaos / 1.67);
    buf__addf(b, ",\"divineValue\":%.2f,\"count\":%llu,\"detailsId\":\"%s\",\"listingCount\":%llu}",
              l->chaos / l->divine, (unsigned long long)n, l->slug,
              (unsigned long long)(n + mix64(l->key, (uint64_t)build) % 50));
}

static void add_currency_line(struct buf *b, const struct line *l, int64_t build) {
    static const char *const sides[] = {"pay", "receive"};
    buf__addf(b, "{\"currencyTypeName\":\"%s\"", l->name);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 0 && l->key % 11 == 0) continue; /* Nobody pays with it. */
        buf__addf(b,
                  ",\"%s\":{\"id\":0,\"league_id\":300,\"pay_currency_id\":%u,\"get_currency_id\":%"
                  "u,\"sample_time_utc\":"
                  "\"2026-08-15T00:00:00Z\",\"count\":%u,\"value\":",
                  sides[i], i == 0 ? l->number : 1, i == 0 ? 1 : l->number,
                  (unsigned)(5 + l->key % 100));
        if (i == 0) buf__addf(b, "%.8f", 1 / l->chaos);
        else add_price(b, l->chaos * 1.01);
        buf__addf(b, ",\"data_point_count\":1,\"includes_secondary\":true,\"listing_count\":%u}",
                  (unsigned)(10 + mix64(l->key, (uint64_t)build) % 400));
    }
    buf__addc(b, ',');
    add_spark(b, "paySparkLine", l->key, build);
    buf__addc(b, ',');
    add_spark(b, "receiveSparkLine", l->key + 1, build);
    buf__adds(b, ",\"chaosEquivalent\":");
    add_price(b, l->chaos);
    buf__addf(b, ",\"detailsId\":\"%s\"}", l->slug);
}

enum { LINES_MAX = 256 };

/** What one overview lists. */
struct listing {
    struct line lines[LINES_MAX];
    char names[LINES_MAX][48], slugs[LINES_MAX][48];
    size_t n;
};

static bool list_lines(struct listing *all, uint64_t seed, const char *path, const char *type,
                       int64_t build, double divine) {
    bool known = false;
    for (size_t i = 0; i < n_catalogue && all->n < LINES_MAX; i++) {
        const struct catalogue_item *c = &catalogue[i];
        struct line *l = &all->lines[all->n];
        if (!is_of_type(c, path, type)) continue;
        *l = (struct line){.slug = c->ninja_id,
                           .number = (unsigned)i,
                           .divine = divine,
                           .key = mix64(seed, 1000 + i)};
        l->name = c->name[0] != '\0' ? c->name : c->type_line;
        l->base = c->name[0] != '\0' ? c->type_line : "";
        l->chaos = strcmp(c->ninja_id, "divine-orb") == 0 ? divine
                   : i == 0                               ? 1
                                                          : price_at(l->key, c->chaos, build);
        /* The exchange form knows the two measures by short ids. */
        if (strcmp(path, "exchange") == 0 && i < 2) l->slug = i == 0 ? "chaos" : "divine";
        all->n++;
    }
    for (size_t k = 0; k < sizeof made_ups / sizeof made_ups[0]; k++) {
        const struct made_up *m = &made_ups[k];
        if (strcmp(m->path, path) != 0 || strcmp(m->type, type) != 0) continue;
        known = true;
        for (unsigned i = 0; i < m->n && all->n < LINES_MAX; i++, all->n++) {
            struct line *l = &all->lines[all->n];
            snprintf(all->names[all->n], sizeof all->names[0], "%s %u", m->name, i + 1);
            snprintf(all->slugs[all->n], sizeof all->slugs[0], "%s-%u", m->slug, i + 1);
            *l = (struct line){.name = all->names[all->n],
                               .slug = all->slugs[all->n],
                               .base = "",
                               .divine = divine,
                               .number = 1000 + (unsigned)k * 100 + i,
                               .key = mix64(seed, 5000 + k * 100 + i)};
            l->chaos = price_at(l->key, m->chaos * (double)(1 + l->key % 9), build);
        }
    }
    return known;
}

static const char *item_slug(const struct line *l) {
    if (strcmp(l->slug, "chaos") == 0) return "chaos-orb";
    return strcmp(l->slug, "divine") == 0 ? "divine-orb" : l->slug;
}

struct body *ninja__overview(uint64_t seed, const char *league, const char *path, const char *type,
                             int64_t build) {
    static struct listing
        all; /* Large for a stack; there is one loop and no call comes back in here. */
    uint64_t market = mix64(seed, XXH3_64bits(league, strlen(league)));
    double divine = price_at(mix64(market, 1001), 200, build);
    bool exchange = strcmp(path, "exchange") == 0, currency = strcmp(path, "currency") == 0;
    struct buf b = {0};
    struct body *out;
    all.n = 0;
    if (!list_lines(&all, market, path, type, build, divine)) return NULL;
    buf__addc(&b, '{');
    if (exchange)
        buf__addf(&b,
                  "\"core\":{\"items\":[{\"id\":\"chaos\",\"name\":\"Chaos "
                  "Orb\",\"image\":\"/gen/image/c.png\",\"category\":"
                  "\"Currency\",\"detailsId\":\"chaos-orb\"},{\"id\":\"divine\",\"name\":\"Divine "
                  "Orb\",\"image\":\"/gen/image/d.png\","
                  "\"category\":\"Currency\",\"detailsId\":\"divine-orb\"}],\"rates\":{\"divine\":%"
                  ".6f},\"primary\":\"chaos\","
                  "\"secondary\":\"divine\"},",
                  1 / divine);
    buf__adds(&b, "\"lines\":[");
    for (size_t i = 0; i < all.n; i++) {
        if (i > 0) buf__addc(&b, ',');
        if (exchange) add_exchange_line(&b, &all.lines[i], build);
        else if (currency) add_currency_line(&b, &all.lines[i], build);
        else add_item_line(&b, &all.lines[i], build);
    }
    buf__addc(&b, ']');
    for (size_t i = 0; i < all.n && (exchange || currency); i++) {
        const struct line *l = &all.lines[i];
        if (i == 0) buf__adds(&b, exchange ? ",\"items\":[" : ",\"currencyDetails\":[");
        if (i > 0) buf__addc(&b, ',');
        if (exchange)
            buf__addf(&b,
                      "{\"id\":\"%s\",\"name\":\"%s\",\"image\":\"/gen/image/"
                      "%s.png\",\"category\":\"%s\",\"detailsId\":\"%s\"}",
                      l->slug, l->name, l->slug, type, item_slug(l));
        else
            buf__addf(&b,
                      "{\"id\":%u,\"icon\":\"https://web.poecdn.com/image/"
                      "%s.png\",\"name\":\"%s\",\"tradeId\":\"%s\"}",
                      l->number, l->slug, l->name, l->slug);
        if (i + 1 == all.n) buf__addc(&b, ']');
    }
    buf__addc(&b, '}');
    out = body__new(b.at, b.len);
    buf__fini(&b);
    return out;
}

struct body *ninja__leagues(const struct span *leagues, size_t n) {
    struct buf b = {0};
    struct body *out;
    buf__addc(&b, '[');
    for (size_t i = 0; i < n; i++) {
        buf__adds(&b, i > 0 ? ",{\"id\":" : "{\"id\":");
        buf__add_json(&b, leagues[i].at, leagues[i].len);
        buf__adds(&b, ",\"name\":");
        buf__add_json(&b, leagues[i].at, leagues[i].len);
        buf__addc(&b, '}');
    }
    buf__addc(&b, ']');
    out = body__new(b.at, b.len);
    buf__fini(&b);
    return out;
}
