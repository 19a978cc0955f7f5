/* See account.h. Each place of a tab decides for itself what lies in it now: stacks grow and
 * shrink, gear is replaced by other gear, some places are empty for a while. */
#include "account.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "catalogue.h"
#include "economy.h"

enum { TABS = 12, CHILDREN_MAX = 4 };

/** A tab, or what holds tabs. */
struct tab {
    const char *name, *type, *colour; /* Colours have 2, 4 or 6 digits. */
    unsigned n_places, wide;          /* Places that may hold something; columns. */
    int kind;                         /* Of enum item_kind; -1 for any. */
    bool is_public;
    struct child {
        const char *name, *type;
        unsigned n_places;
        int kind;
    } children[CHILDREN_MAX];
};
static const struct tab tabs[TABS] = {
    {"Currency", "CurrencyStash", "ffd500", 20, 20, ITEM_CURRENCY, false, {{0}}},
    {"Fragments", "FragmentStash", "7c54", 8, 8, ITEM_FRAGMENT, false, {{0}}},
    {"Essences", "EssenceStash", "ff", 6, 6, ITEM_CURRENCY, false, {{0}}},
    {"Cards", "DivinationCardStash", "0080ff", 7, 7, ITEM_CARD, false, {{0}}},
    {"Maps",
     "MapStash",
     "a0a0a0",
     0,
     12,
     ITEM_MAP,
     false,
     {{"Strand Map (Tier 14)", "MapStash", 9, ITEM_MAP},
      {"Beach Map (Tier 16)", "MapStash", 7, ITEM_MAP}}},
    {"Uniques",
     "UniqueStash",
     "af6025",
     0,
     12,
     ITEM_UNIQUE,
     false,
     {{"Belt", "UniqueStash", 4, ITEM_UNIQUE}, {"Body Armour", "UniqueStash", 5, ITEM_UNIQUE}}},
    {"Dump (Remove-only)", "QuadStash", "c00000", 120, 24, -1, false, {{0}}},
    {"~b/o 5 chaos", "PremiumStash", "00ff00", 24, 12, -1, true, {{0}}},
    {"4", "NormalStash", "ffaa00", 18, 12, -1, false, {{0}}},
    {"Sets \xe2\x80\x93 \"old\"",
     "Folder",
     "202020",
     0,
     12,
     -1,
     false,
     {{"Gear", "PremiumStash", 10, ITEM_RARE},
      {"Blight", "BlightStash", 5, ITEM_CURRENCY},
      {"Flasks", "FlaskStash", 4, -1},
      {"Empty", "PremiumStash", 0, -1}}},
    {"Delve", "DelveStash", "5050a0", 6, 6, ITEM_CURRENCY, false, {{0}}},
    {"Gems", "GemStash", "1ba29b", 8, 8, ITEM_GEM, false, {{0}}},
};

/** @return what all of this view follows from. */
static uint64_t view_key(const struct account_view *v) {
    return mix64(mix64(v->seed, 4000 + (uint64_t)v->realm),
                 XXH3_64bits(v->league, strlen(v->league)));
}

/** Write the id of tab @t, or of its child @c (-1 for none): ten hex digits. */
static void tab_id(const struct account_view *v, int t, int c, char out[ACCOUNT_ID_MAX]) {
    uint64_t h = mix64(view_key(v), (uint64_t)(t * 16 + c + 1));
    snprintf(out, ACCOUNT_ID_MAX, "%010llx", (unsigned long long)(h & UINT64_C(0xffffffffff)));
}

static void add_head(struct buf *b, const struct account_view *v, int t, int c) {
    const struct tab *tab = &tabs[t];
    char id[ACCOUNT_ID_MAX];
    const char *name = c < 0 ? tab->name : tab->children[c].name;
    tab_id(v, t, c, id);
    buf__addf(b, "{\"id\":\"%s\"", id);
    if (c >= 0) {
        tab_id(v, t, -1, id);
        buf__addf(b, ",\"%s\":\"%s\"", strcmp(tab->type, "Folder") == 0 ? "folder" : "parent", id);
    }
    buf__adds(b, ",\"name\":");
    buf__add_json(b, name, strlen(name));
    buf__addf(b, ",\"type\":\"%s\",\"index\":%d,\"metadata\":{",
              c < 0 ? tab->type : tab->children[c].type, c < 0 ? t : c);
    if (tab->is_public) buf__adds(b, "\"public\":true,");
    if (c < 0 && strcmp(tab->type, "Folder") == 0) buf__adds(b, "\"folder\":true,");
    if (c >= 0 && strcmp(tab->type, "MapStash") == 0)
        buf__addf(b, "\"map\":{\"section\":\"tier\",\"index\":%d},\"items\":%u,", c,
                  tab->children[c].n_places);
    buf__addf(b, "\"colour\":\"%s\"}", tab->colour);
}

static void add_children(struct buf *b, const struct account_view *v, int t) {
    buf__adds(b, ",\"children\":[");
    for (int c = 0; c < CHILDREN_MAX && tabs[t].children[c].name != NULL; c++) {
        if (c > 0) buf__addc(b, ',');
        add_head(b, v, t, c);
        buf__addc(b, '}');
    }
    buf__addc(b, ']');
}

struct body *account__list(const struct account_view *v) {
    struct buf b = {0};
    struct body *out;
    buf__adds(&b, "{\"stashes\":[");
    for (int t = 0; t < TABS; t++) {
        if (t > 0) buf__addc(&b, ',');
        add_head(&b, v, t, -1);
        if (tabs[t].children[0].name != NULL) add_children(&b, v, t);
        buf__addc(&b, '}');
    }
    buf__adds(&b, "]}");
    out = body__new(b.at, b.len);
    buf__fini(&b);
    return out;
}

/** @return a thing of @kind (-1: any) that belongs to place @key. */
static const struct catalogue_item *thing_of(int kind, uint64_t key) {
    size_t n = 0, wanted;
    for (size_t i = 0; i < n_catalogue; i++) n += kind < 0 || (int)catalogue[i].kind == kind;
    wanted = key % n;
    for (size_t i = 0;; i++)
        if ((kind < 0 || (int)catalogue[i].kind == kind) && wanted-- == 0) return &catalogue[i];
}

/** Add what sets gear apart: sockets, a gem in the first of them, and modifiers as 3.29 has them.
 */
static void add_gear(struct buf *b, const struct account_view *v, uint64_t serial) {
    const struct mod_text *mod = &mod_texts[serial % n_mod_texts];
    char text[160];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, mod->fmt, 1 + (unsigned)(serial % mod->max),
             1 + (unsigned)(serial % mod->max));
#pragma GCC diagnostic pop
    buf__adds(b, ",\"explicitMods\":[{\"description\":");
    buf__add_json(b, text, strlen(text));
    buf__adds(b, serial % 2 == 0 ? "}]" : ",\"flags\":{\"crafted\":true}}]");
    if (serial % 3 != 0) return;
    buf__adds(b,
              ",\"sockets\":[{\"group\":0,\"attr\":\"S\",\"sColour\":\"R\"},{\"group\":0,"
              "\"attr\":\"D\",\"sColour\":\"G\"}],\"socketedItems\":[{\"verified\":false,\"w\":1,"
              "\"h\":1,\"icon\":\"https://web.poecdn.com/gen/image/gem.png\",\"support\":true,"
              "\"id\":\"");
    id__render(v->seed, 'G', serial, b);
    buf__adds(b, "\",\"name\":\"\",\"typeLine\":\"Empower Support\",\"baseType\":\"Empower "
                 "Support\",\"identified\":true,\"ilvl\":0,\"frameType\":4,\"socket\":0,\"colour\":"
                 "\"S\"}]");
}

/** Add the item of one place. @return false when nothing lies there now. */
static bool add_item(struct buf *b, const struct account_view *v, uint64_t place, int kind,
                     unsigned x, unsigned y, bool first) {
    static const unsigned frames[] = {
        [ITEM_CURRENCY] = 5, [ITEM_CARD] = 6, [ITEM_FRAGMENT] = 0, [ITEM_MAP] = 2,   [ITEM_GEM] = 4,
        [ITEM_UNIQUE] = 3,   [ITEM_RARE] = 2, [ITEM_MAGIC] = 1,    [ITEM_NORMAL] = 0};
    const struct catalogue_item *c = thing_of(kind, place);
    /* Places change at different times, each after 1 to 8 periods. */
    uint64_t period = (uint64_t)(v->at_ns / SIM_NS_PER_S / ACCOUNT_PERIOD_S);
    uint64_t turn = (period + place % 8) / (1 + place % 8), now = mix64(place, turn);
    bool stacks = c->stack_max > 1;
    if (now % 9 == 0) return false;
    if (!first) buf__addc(b, ',');
    buf__addf(b,
              "{\"verified\":false,\"w\":%u,\"h\":%u,\"icon\":\"https://web.poecdn.com/gen/image/"
              "%s.png\"",
              c->w, c->h, c->ninja_id);
    if (stacks)
        buf__addf(b, ",\"stackSize\":%u,\"maxStackSize\":%u",
                  1 + (unsigned)(now % (c->stack_max * 3)), c->stack_max);
    buf__adds(b, ",\"league\":");
    buf__add_json(b, v->league, strlen(v->league));
    buf__adds(b, ",\"id\":\"");
    id__render(v->seed, 'A', stacks ? place : now, b); /* A stack stays the same item. */
    buf__adds(b, "\",\"name\":");
    buf__add_json(b, c->name, strlen(c->name));
    buf__adds(b, ",\"typeLine\":");
    buf__add_json(b, c->type_line, strlen(c->type_line));
    buf__adds(b, ",\"baseType\":");
    buf__add_json(b, c->type_line, strlen(c->type_line));
    buf__addf(b, ",\"identified\":true,\"ilvl\":%u", stacks ? 0 : 60 + (unsigned)(now % 26));
    if (now % 5 == 0) buf__addf(b, ",\"note\":\"~b/o %u chaos\"", 1 + (unsigned)(now % 40));
    if (c->kind == ITEM_RARE || c->kind == ITEM_UNIQUE) add_gear(b, v, now);
    buf__addf(b, ",\"frameType\":%u,\"x\":%u,\"y\":%u,\"inventoryId\":\"Stash1\"}", frames[c->kind],
              x, y);
    return true;
}

static void add_items(struct buf *b, const struct account_view *v, int t, int c) {
    const struct tab *tab = &tabs[t];
    unsigned n = c < 0 ? tab->n_places : tab->children[c].n_places;
    int kind = c < 0 ? tab->kind : tab->children[c].kind;
    uint64_t of_tab = mix64(view_key(v), 7000 + (uint64_t)(t * 16 + c + 1));
    bool first = true;
    buf__adds(b, ",\"items\":[");
    for (unsigned i = 0; i < n; i++)
        if (add_item(b, v, mix64(of_tab, i), kind, i % tab->wide, i / tab->wide, first))
            first = false;
    buf__addc(b, ']');
}

/** Find the tab or child of that id. @return false when there is none. */
static bool find(const struct account_view *v, const char *id, int *t, int *c) {
    char own[ACCOUNT_ID_MAX];
    for (*t = 0; *t < TABS; ++*t)
        for (*c = -1; *c < CHILDREN_MAX; ++*c) {
            if (*c >= 0 && tabs[*t].children[*c].name == NULL) break;
            tab_id(v, *t, *c, own);
            if (strcmp(own, id) == 0) return true;
        }
    return false;
}

struct body *account__tab(const struct account_view *v, const char *id, const char *sub) {
    struct buf b = {0};
    struct body *out;
    int t, c, parent;
    if (!find(v, id, &t, &c)) return NULL;
    parent = t;
    if (sub != NULL && (c >= 0 || !find(v, sub, &t, &c) || c < 0 || t != parent)) return NULL;
    buf__adds(&b, "{\"stash\":");
    add_head(&b, v, t, c);
    if (c < 0 && tabs[t].children[0].name != NULL) add_children(&b, v, t);
    if (c >= 0 || strcmp(tabs[t].type, "Folder") != 0) add_items(&b, v, t, c);
    buf__adds(&b, "}}");
    out = body__new(b.at, b.len);
    buf__fini(&b);
    return out;
}
