/* The rule of identity; the header states it field by field. The happy path: one walk over the
 * item's keys collects what counts, then each fact that is there goes into the hash behind its tag,
 * so that no two lists of facts read alike and an absent one changes nothing. */
#include "item_identity.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

#define TEXT_MAX 1024 /* Of a text that is rewritten; behind it, it counts as it is. */

enum {
    FRAME_NORMAL,
    FRAME_MAGIC,
    FRAME_RARE,
    FRAME_UNIQUE,
    FRAME_GEM,
    FRAME_FOIL = 9,
    FRAME_FOIL_SUPPORTER
};
enum kind { KIND_GOODS, KIND_GEM, KIND_UNIQUE, KIND_MAP, KIND_EQUIPMENT };

/* Tags of facts. Stored keys are made of them: they never change within a version of the rule. */
enum fact {
    FACT_VERSION,
    FACT_BASE,
    FACT_NAME,
    FACT_FRAME,
    FACT_MAP,
    FACT_FLAGS,
    FACT_HYBRID,
    FACT_LEVEL,
    FACT_QUALITY,
    FACT_CORRUPTED,
    FACT_FOIL,
    FACT_IMPLICIT,
    FACT_EXPLICIT,
    FACT_ENCHANT,
    FACT_TIER,
    FACT_BLIGHT,
    FACT_MODS,
    FACT_ILVL_BAND,
    FACT_TALISMAN,
    FACT_UNIDENTIFIED,
    FACT_INFLUENCES,
    FACT_OTHER_INFLUENCES,
    FACT_LINKS,
    FACT_AREA_LEVEL,
    FACT_HEIST_TARGET,
    FACT_WINGS,
    FACT_FACTIONS,
    /* Of the fingerprint only. */
    FACT_TYPE_LINE,
    FACT_ITEM_NAME,
    FACT_ILVL,
    FACT_LATE_FLAGS,
    FACT_ANY_QUALITY,
    FACT_SOCKETS,
};

/* Bits of facts.flags, in this order; the last two are of the fingerprint only. */
static const struct slice flag_names[] = {
    {"fractured", 9}, {"synthesised", 11}, {"duplicated", 10},   {"mutated", 7},
    {"vestigial", 9}, {"memoryItem", 10},  {"foreseeing", 10},   {"replica", 7},
    {"ruthless", 8},  {"split", 5},        {"unmodifiable", 12},
};
#define N_FLAGS (sizeof flag_names / sizeof *flag_names)
#define SYNTHESISED (1u << 1)
#define KEY_FLAGS ((1u << (N_FLAGS - 2)) - 1)

/* They stand in influences, or beside it; in 2019 only beside it. */
static const struct slice influence_names[] = {
    {"shaper", 6}, {"elder", 5},   {"crusader", 8}, {"redeemer", 8},
    {"hunter", 6}, {"warlord", 7}, {"searing", 7},  {"tangled", 7},
};
#define N_INFLUENCES (sizeof influence_names / sizeof *influence_names)

struct facts {
    unsigned flags, influences;
    uint64_t other_influences;
    bool is_relic, has_use;
    uint64_t foil_variation, talisman_tier;
    yyjson_val *hybrid, *properties, *sockets, *logbook;
};

/* --- Texts --- */

static uint64_t hash_of(struct slice s, uint64_t seed) {
    return XXH3_64bits_withSeed(s.len == 0 ? "" : s.base, s.len, seed);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Takes a piece of markup off @in at @at: <<...>> is nothing, [Word|shown] and [shown] are what is
 * shown. @return its length with @shown, or 0. */
static size_t markup_at(struct slice in, size_t at, struct slice *shown) {
    const char *from = in.base + at;
    size_t left = in.len - at;
    *shown = slice__of(NULL, 0);
    if (left >= 4 && from[0] == '<' && from[1] == '<') {
        const char *end = memmem(from, left, ">>", 2);
        return end == NULL ? 0 : (size_t)(end - from) + 2;
    }
    const char *end = *from == '[' ? memchr(from, ']', left) : NULL;
    if (end == NULL) return 0;
    const char *bar = memchr(from, '|', (size_t)(end - from));
    const char *text = bar == NULL ? from + 1 : bar + 1;
    *shown = slice__of(text, (size_t)(end - text));
    return (size_t)(end - from) + 1;
}

/* @return the number at @in's place @at, with its sign, as a length; 0 when there is none. */
static size_t number_at(struct slice in, size_t at) {
    size_t i = at;
    if ((in.base[i] == '+' || in.base[i] == '-') && i + 1 < in.len) i++;
    if (!is_digit(in.base[i])) return 0;
    while (i < in.len && (is_digit(in.base[i]) ||
                          (in.base[i] == '.' && i + 1 < in.len && is_digit(in.base[i + 1]))))
        i++;
    return i - at;
}

/* @return @in without markup and, when @mask, without numbers: in @room, or as it is. */
static struct slice plain_text(struct slice in, bool mask, char room[TEXT_MAX]) {
    size_t n = 0, i = 0;
    if (in.len == 0) return in;
    if (!mask && memchr(in.base, '[', in.len) == NULL && memchr(in.base, '<', in.len) == NULL)
        return in;
    while (i < in.len && n < TEXT_MAX) {
        struct slice shown;
        size_t step = markup_at(in, i, &shown);
        if (step == 0 && mask && (step = number_at(in, i)) > 0) shown = SLICE_LIT("#");
        else if (step == 0) shown = slice__of(in.base + i, step = 1);
        if (shown.len > TEXT_MAX - n) break;
        if (shown.len > 0) memcpy(room + n, shown.base, shown.len);
        n += shown.len;
        i += step;
    }
    return i == in.len ? slice__of(room, n) : in; /* Far longer than any: as it is. */
}

static uint64_t hash_plain(struct slice in, bool mask, uint64_t seed) {
    char room[TEXT_MAX];
    return hash_of(plain_text(in, mask, room), seed);
}

static bool has_text(struct slice s, const char *what) {
    return s.len > 0 && memmem(s.base, s.len, what, strlen(what)) != NULL;
}

/* --- Modifiers --- */

bool item_mod__read(yyjson_val *entry, struct item_mod *out) {
    *out = (struct item_mod){.text = entry};
    if (yyjson_is_str(entry)) return true;
    out->text = yyjson_obj_getn(entry, "description", 11);
    out->flags = yyjson_obj_getn(entry, "flags", 5); /* An empty one may be []. */
    if (yyjson_is_true(yyjson_obj_getn(out->flags, "fractured", 9))) out->kind = MOD_FRACTURED;
    else if (yyjson_is_true(yyjson_obj_getn(out->flags, "crafted", 7))) out->kind = MOD_CRAFTED;
    return yyjson_is_str(out->text);
}

bool item_mod__is_flag(yyjson_val *key, yyjson_val *value) {
    return yyjson_is_true(value) && !yyjson_equals_str(key, "fractured") &&
           !yyjson_equals_str(key, "crafted");
}

/* Sums are the same in any order. */
static uint64_t hash_flags(yyjson_val *flags) {
    uint64_t sum = 0;
    size_t i, n;
    yyjson_val *key, *v;
    if (flags == NULL) return 0; /* yyjson would step from it to its first member. */
    yyjson_obj_foreach(flags, i, n, key, v) {
        if (item_mod__is_flag(key, v)) sum += hash_of(decode__slice(key), 1);
    }
    return sum;
}

static bool is_redrawn(struct slice list) {
    return slice__eq(list, SLICE_LIT("veiledMods")) || slice__eq(list, SLICE_LIT("cosmeticMods"));
}

void mods_hash__add(struct mods_hash *h, struct slice list, const struct item_mod *mod) {
    if (is_redrawn(list)) return;
    h->sum +=
        hash_plain(decode__slice(mod->text), false, hash_of(list, 0) + hash_flags(mod->flags));
    h->n++;
}

void mods_hash__add_other(struct mods_hash *h, struct slice list, struct slice json) {
    if (is_redrawn(list)) return;
    h->sum += hash_of(json, hash_of(list, 2));
    h->n++;
}

uint64_t mods_hash__end(const struct mods_hash *h) {
    if (h->n == 0) return 0;
    uint64_t out = XXH3_64bits(h, sizeof *h);
    return out == 0 ? 1 : out;
}

/* Numbers that are no roll but make another good of it. Of sockets only those that the item has:
 * "+81% to Lightning Resistance when Socketed with a Blue Gem" is a roll. */
static bool counts_something(struct slice text) {
    static const char *const words[] = {"Passive Skill", "to Level of", "by Level",
                                        "maximum number of"};
    if (slice__starts(text, SLICE_LIT("Has ")) && has_text(text, "Socket")) return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (has_text(text, words[i])) return true;
    return false;
}

/* @return a hash of a list's modifiers that are not crafted, in any order; 0 without any. */
static uint64_t hash_list(yyjson_val *mods, bool mask) {
    struct mods_hash h = {0};
    struct decode_list list = decode__list(mods);
    yyjson_val *entry;
    while ((entry = decode__next(&list)) != NULL) {
        struct item_mod mod;
        if (!item_mod__read(entry, &mod) || mod.kind == MOD_CRAFTED) continue;
        struct slice text = decode__slice(mod.text);
        h.sum += hash_plain(text, mask && !counts_something(text), hash_flags(mod.flags));
        h.n++;
    }
    return mods_hash__end(&h);
}

/* --- Facts --- */

static bool says(yyjson_val *v) {
    return yyjson_is_true(v) || yyjson_get_len(v) > 0 ||
           (yyjson_is_num(v) && yyjson_get_num(v) != 0);
}

static int place_of(struct slice name, const struct slice *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (slice__eq(names[i], name)) return (int)i;
    return -1;
}

static void note_influences(struct facts *f, yyjson_val *influences) {
    size_t i, n;
    yyjson_val *key, *v;
    if (influences == NULL) return;
    yyjson_obj_foreach(influences, i, n, key, v) {
        if (!says(v)) continue;
        int at = place_of(decode__slice(key), influence_names, N_INFLUENCES);
        if (at >= 0) f->influences |= 1u << at;
        else f->other_influences += hash_of(decode__slice(key), 0);
    }
}

static struct facts collect(yyjson_val *json) {
    struct facts f = {0};
    size_t i, n;
    yyjson_val *key, *v;
    yyjson_obj_foreach(json, i, n, key, v) {
        struct slice k = decode__slice(key);
        int at;
        if (!says(v)) continue;
        if (slice__eq(k, SLICE_LIT("descrText"))) f.has_use = true;
        else if (slice__eq(k, SLICE_LIT("isRelic"))) f.is_relic = true;
        else if (slice__eq(k, SLICE_LIT("foilVariation"))) f.foil_variation = yyjson_get_uint(v);
        else if (slice__eq(k, SLICE_LIT("talismanTier"))) f.talisman_tier = yyjson_get_uint(v);
        else if (slice__eq(k, SLICE_LIT("influences"))) note_influences(&f, v);
        else if (slice__eq(k, SLICE_LIT("hybrid"))) f.hybrid = v;
        else if (slice__eq(k, SLICE_LIT("properties"))) f.properties = v;
        else if (slice__eq(k, SLICE_LIT("sockets"))) f.sockets = v;
        else if (slice__eq(k, SLICE_LIT("logbookMods"))) f.logbook = v;
        else if ((at = place_of(k, flag_names, N_FLAGS)) >= 0) f.flags |= 1u << at;
        else if ((at = place_of(k, influence_names, N_INFLUENCES)) >= 0) f.influences |= 1u << at;
    }
    return f;
}

static yyjson_val *first_of(yyjson_val *list) {
    struct decode_list at = decode__list(list);
    return decode__next(&at);
}

/* The first value of the property @name as it is shown, e.g. "20 (Max)"; or "". */
static struct slice property(const struct facts *f, struct slice name) {
    yyjson_val *p;
    struct decode_list list = decode__list(f->properties);
    char room[TEXT_MAX];
    while ((p = decode__next(&list)) != NULL) {
        yyjson_val *said = yyjson_obj_getn(p, "name", 4);
        if (!yyjson_is_str(said) || !slice__eq(plain_text(decode__slice(said), false, room), name))
            continue;
        yyjson_val *v = first_of(first_of(yyjson_obj_getn(p, "values", 6)));
        return yyjson_is_str(v) ? decode__slice(v) : (struct slice){0};
    }
    return (struct slice){0};
}

/* "20 (Max)" and "+20%" are 20; 0 when it is not there. */
static uint64_t number(const struct facts *f, struct slice name) {
    struct slice s = property(f, name);
    uint64_t out = 0;
    size_t i = s.len > 0 && s.base[0] == '+';
    for (; i < s.len && is_digit(s.base[i]) && out < 1000000; i++)
        out = out * 10 + (uint64_t)(s.base[i] - '0');
    return out;
}

static struct slice without(struct slice s, struct slice prefix) {
    if (!slice__starts(s, prefix)) return s;
    return slice__of(s.base + prefix.len, s.len - prefix.len);
}

/* The base type stands alone since 2020 or so; before, the type line holds it, with affixes in
 * magic items. */
static struct slice base_of(const struct psapi_item *item, enum kind kind) {
    struct slice s = item->base_type.len > 0 ? item->base_type : item->type_line;
    if (kind == KIND_GEM && item->type_line.len > 0) s = item->type_line;
    s = without(without(s, SLICE_LIT("Superior ")), SLICE_LIT("Synthesised "));
    if (kind == KIND_MAP)
        s = without(without(s, SLICE_LIT("Blighted ")), SLICE_LIT("Blight-ravaged "));
    return s;
}

static bool is_foil(const struct psapi_item *item, const struct facts *f) {
    return f->is_relic || f->foil_variation > 0 || item->frame_type == FRAME_FOIL ||
           item->frame_type == FRAME_FOIL_SUPPORTER;
}

static enum kind kind_of(const struct psapi_item *item, const struct facts *f) {
    if (item->is_stackable || item->stack_size > 1) return KIND_GOODS;
    if (item->frame_type == FRAME_GEM) return KIND_GEM;
    if (item->frame_type == FRAME_UNIQUE || is_foil(item, f)) return KIND_UNIQUE;
    if (item->frame_type > FRAME_UNIQUE && item->frame_type != PSAPI_FRAME_UNKNOWN)
        return KIND_GOODS;
    return number(f, SLICE_LIT("Map Tier")) > 0 ? KIND_MAP : KIND_EQUIPMENT;
}

static uint64_t ilvl_band(uint32_t ilvl) {
    static const uint8_t from[] = {50, 68, 75, 82, 83, 84, 85, 86};
    uint64_t band = 0;
    if (ilvl >= UINT16_MAX) return 0; /* No level of any item. */
    while (band < sizeof from && ilvl >= from[band]) band++;
    return band;
}

/* @return the sockets of the longest link when they are five or six, else 0. */
static uint64_t links_of(const struct facts *f) {
    unsigned n_of[16] = {0}, most = 0;
    struct decode_list list = decode__list(f->sockets);
    yyjson_val *socket;
    while ((socket = decode__next(&list)) != NULL) {
        yyjson_val *group = yyjson_obj_getn(socket, "group", 5);
        if (!yyjson_is_uint(group) || yyjson_get_uint(group) >= 16) continue;
        unsigned links = ++n_of[yyjson_get_uint(group)];
        if (links > most) most = links;
    }
    return most >= 5 ? most : 0;
}

static uint64_t hash_sockets(const struct facts *f) {
    uint64_t out = 0;
    struct decode_list list = decode__list(f->sockets);
    yyjson_val *socket;
    while ((socket = decode__next(&list)) != NULL) {
        yyjson_val *colour = yyjson_obj_getn(socket, "sColour", 7);
        if (!yyjson_is_str(colour)) colour = yyjson_obj_getn(socket, "attr", 4);
        const uint64_t group = yyjson_get_uint(yyjson_obj_getn(socket, "group", 5));
        out = hash_of(yyjson_is_str(colour) ? decode__slice(colour) : SLICE_LIT("?"),
                      out + group + 1);
    }
    return out;
}

static uint64_t hash_factions(const struct facts *f) {
    uint64_t sum = 0;
    struct decode_list list = decode__list(f->logbook);
    yyjson_val *area;
    while ((area = decode__next(&list)) != NULL) {
        yyjson_val *faction = yyjson_obj_getn(area, "faction", 7);
        yyjson_val *id = yyjson_obj_getn(faction, "id", 2);
        if (yyjson_is_str(id)) sum += hash_of(decode__slice(id), 0);
    }
    return sum;
}

/* --- The hash --- */

static void put_text(XXH3_state_t *h, enum fact tag, struct slice s) {
    if (s.len == 0) return;
    const uint64_t head[2] = {tag, s.len};
    XXH3_64bits_update(h, head, sizeof head);
    XXH3_64bits_update(h, s.base, s.len);
}

static void put_number(XXH3_state_t *h, enum fact tag, uint64_t v) {
    if (v == 0) return;
    const uint64_t fact[2] = {tag, v};
    XXH3_64bits_update(h, fact, sizeof fact);
}

static void put_gem(XXH3_state_t *h, const struct psapi_item *item, const struct facts *f) {
    yyjson_val *under = yyjson_obj_getn(f->hybrid, "baseTypeName", 12);
    if (yyjson_is_str(under)) put_text(h, FACT_HYBRID, decode__slice(under));
    put_number(h, FACT_LEVEL, number(f, SLICE_LIT("Level")));
    put_number(h, FACT_QUALITY, number(f, SLICE_LIT("Quality")));
    put_number(h, FACT_CORRUPTED, item->corrupted);
}

static void put_map(XXH3_state_t *h, const struct psapi_item *item, const struct facts *f) {
    bool ravaged = has_text(item->type_line, "Blight-ravaged ");
    put_number(h, FACT_MAP, 1);
    put_number(h, FACT_TIER, number(f, SLICE_LIT("Map Tier")));
    put_number(h, FACT_BLIGHT, ravaged ? 2 : has_text(item->type_line, "Blighted ") ? 1 : 0);
    put_number(h, FACT_IMPLICIT, hash_list(item->mods[MODS_IMPLICIT], false));
    put_number(h, FACT_ENCHANT, hash_list(item->mods[MODS_ENCHANT], false));
    put_number(h, FACT_CORRUPTED, item->corrupted);
}

static void put_worn(XXH3_state_t *h, const struct psapi_item *item, const struct facts *f) {
    put_number(h, FACT_UNIDENTIFIED, !item->identified);
    put_number(h, FACT_INFLUENCES, f->influences);
    put_number(h, FACT_OTHER_INFLUENCES, f->other_influences);
    put_number(h, FACT_LINKS, links_of(f));
}

static void put_unique(XXH3_state_t *h, const struct psapi_item *item, const struct facts *f) {
    put_worn(h, item, f);
    if (is_foil(item, f)) put_number(h, FACT_FOIL, f->foil_variation + 1);
    put_number(h, FACT_TIER, number(f, SLICE_LIT("Map Tier")));
    put_number(h, FACT_IMPLICIT, hash_list(item->mods[MODS_IMPLICIT], true));
    put_number(h, FACT_EXPLICIT, hash_list(item->mods[MODS_EXPLICIT], true));
    put_number(h, FACT_ENCHANT, hash_list(item->mods[MODS_ENCHANT], false));
}

static void put_equipment(XXH3_state_t *h, const struct psapi_item *item, const struct facts *f) {
    bool by_mods = item->frame_type == FRAME_MAGIC || item->frame_type == FRAME_RARE;
    put_worn(h, item, f);
    put_number(h, FACT_CORRUPTED, item->corrupted);
    if (by_mods && item->identified) {
        put_number(h, FACT_MODS, item->mods_hash);
        return;
    }
    if (!f->has_use || yyjson_get_len(item->mods[MODS_ENCHANT]) > 0)
        put_number(h, FACT_ILVL_BAND, ilvl_band(item->ilvl));
    put_number(h, FACT_TALISMAN, f->talisman_tier);
    put_number(h, FACT_IMPLICIT,
               hash_list(item->mods[MODS_IMPLICIT], (f->flags & SYNTHESISED) == 0));
    put_number(h, FACT_ENCHANT, hash_list(item->mods[MODS_ENCHANT], false));
}

static void put_key(XXH3_state_t *h, const struct psapi_item *item, const struct facts *f) {
    enum kind kind = kind_of(item, f);
    put_number(h, FACT_VERSION, ITEM_IDENTITY_VERSION);
    put_text(h, FACT_BASE, base_of(item, kind));
    if (item->frame_type != FRAME_RARE) put_text(h, FACT_NAME, item->name);
    if (kind == KIND_UNIQUE) put_number(h, FACT_FRAME, FRAME_UNIQUE);
    else if (kind != KIND_MAP) put_number(h, FACT_FRAME, item->frame_type);
    put_number(h, FACT_FLAGS, f->flags & KEY_FLAGS);
    put_number(h, FACT_AREA_LEVEL, number(f, SLICE_LIT("Area Level")));
    put_text(h, FACT_HEIST_TARGET, property(f, SLICE_LIT("Heist Target")));
    put_text(h, FACT_WINGS, property(f, SLICE_LIT("Wings Revealed")));
    put_number(h, FACT_FACTIONS, hash_factions(f));
    switch (kind) {
    case KIND_GOODS: break;
    case KIND_GEM: put_gem(h, item, f); break;
    case KIND_UNIQUE: put_unique(h, item, f); break;
    case KIND_MAP: put_map(h, item, f); break;
    case KIND_EQUIPMENT: put_equipment(h, item, f); break;
    }
}

struct item_identity item_identity__of(const struct psapi_item *item, yyjson_val *json) {
    struct item_identity out = {0};
    const struct facts f = collect(json);
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_64bits_reset(&h);
    put_key(&h, item, &f);
    out.key = XXH3_64bits_digest(&h);
    if (item->is_stackable || item->stack_size > 1) return out;
    put_text(&h, FACT_TYPE_LINE, item->type_line);
    put_text(&h, FACT_ITEM_NAME, item->name);
    put_number(&h, FACT_ILVL,
               (uint64_t)item->ilvl << 2 | (uint64_t)item->corrupted << 1 | item->identified);
    put_number(&h, FACT_MODS, item->mods_hash);
    put_number(&h, FACT_LATE_FLAGS, f.flags & ~KEY_FLAGS);
    put_number(&h, FACT_ANY_QUALITY, number(&f, SLICE_LIT("Quality")));
    put_number(&h, FACT_SOCKETS, hash_sockets(&f));
    out.fingerprint = XXH3_64bits_digest(&h) | 1; /* 0 says that it has none. */
    return out;
}
