/* Items as the vendor writes them (https://www.pathofexile.com/developer/docs/reference#type-Item).
 * An item's name, level, sockets and modifiers follow from its serial, so that the same item reads
 * the same in every page; both ages of modifiers occur: plain strings, and since 3.29 objects whose
 * `flags` may be missing, filled, {} or []. */
#include "economy.h"

#include <stdio.h>
#include <string.h>

void id__render(uint64_t seed, char kind, uint64_t serial, struct buf *out) {
    struct rng r = {.state = mix64(seed ^ ((uint64_t)(unsigned char)kind << 56), serial)};
    for (int i = 0; i < 4; i++) buf__add_hex64(out, rng__next(&r));
}

static void render_id(const struct economy *e, const struct item *it, int hostile,
                      struct buf *out) {
    size_t from;
    buf__adds(out, ",\"id\":\"");
    from = out->len;
    id__render(e->seed, 'I', it->serial, out);
    if (hostile >= 0 && !out->overflow)
        memcpy(out->at + from, HOSTILE_ID_PREFIX, sizeof HOSTILE_ID_PREFIX - 1);
    buf__addc(out, '"');
}

static void render_mods(const char *key, struct rng *r, unsigned n, bool new_shape,
                        struct buf *out) {
    buf__addf(out, ",\"%s\":[", key);
    for (unsigned i = 0; i < n; i++) {
        const struct mod_text *m = &mod_texts[rng__below(r, (uint32_t)n_mod_texts)];
        unsigned lo = 1 + rng__below(r, m->max), hi = lo + rng__below(r, m->max);
        char text[96];
        uint32_t flags = rng__below(r, 10);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text, m->fmt, lo,
                 hi); /* The formats are catalogue.c's own, with two numbers at most. */
#pragma GCC diagnostic pop
        if (i > 0) buf__addc(out, ',');
        if (!new_shape) {
            buf__addf(out, "\"%s\"", text);
            continue;
        }
        buf__addf(out, "{\"description\":\"%s\"", text);
        if (flags == 0) buf__adds(out, ",\"flags\":{\"crafted\":true}");
        else if (flags == 1) buf__adds(out, ",\"flags\":{\"fractured\":true}");
        else if (flags == 2) buf__adds(out, ",\"flags\":[]");
        else if (flags == 3) buf__adds(out, ",\"flags\":{}");
        buf__addc(out, '}');
    }
    buf__addc(out, ']');
}

static void render_names(const struct catalogue_item *base, struct rng *r, bool identified,
                         struct buf *out) {
    char name[64] = "";
    const char *rarity = "Normal", *type = base->type_line;
    char long_type[96];
    if (base->kind == ITEM_UNIQUE) {
        rarity = "Unique";
        if (identified) snprintf(name, sizeof name, "%s", base->name);
    } else if (base->kind == ITEM_RARE) {
        rarity = "Rare";
        if (identified)
            snprintf(name, sizeof name, "%s %s",
                     rare_prefixes[rng__below(r, (uint32_t)n_rare_prefixes)],
                     rare_suffixes[rng__below(r, (uint32_t)n_rare_suffixes)]);
    } else if (base->kind == ITEM_MAGIC) {
        rarity = "Magic";
        snprintf(long_type, sizeof long_type, "Chemist's %s of Adrenaline", base->type_line);
        type = long_type;
    }
    buf__addf(out, ",\"name\":\"%s\",\"typeLine\":\"%s\",\"baseType\":\"%s\"", name, type,
              base->type_line);
    if (base->kind >= ITEM_MAP && base->kind != ITEM_GEM)
        buf__addf(out, ",\"rarity\":\"%s\"", rarity);
}

static int frame_type(enum item_kind kind) {
    switch (kind) {
    case ITEM_CURRENCY: return 5;
    case ITEM_CARD: return 6;
    case ITEM_GEM: return 4;
    case ITEM_UNIQUE: return 3;
    case ITEM_RARE: return 2;
    case ITEM_MAGIC: return 1;
    case ITEM_FRAGMENT:
    case ITEM_MAP:
    case ITEM_NORMAL: return 0;
    }
    return 0;
}

static void render_gear(const struct catalogue_item *base, struct rng *r, bool new_shape,
                        bool identified, struct buf *out) {
    unsigned prefixes = 1 + rng__below(r, 3), suffixes = 1 + rng__below(r, 3);
    bool socketed = strcmp(base->category, "armour") == 0 || strcmp(base->category, "weapons") == 0;
    if (socketed) {
        unsigned n = 1 + rng__below(r, 6);
        buf__adds(out, ",\"sockets\":[");
        for (unsigned i = 0; i < n; i++)
            buf__addf(out, "%s{\"group\":%u,\"attr\":\"%c\",\"sColour\":\"%c\"}", i > 0 ? "," : "",
                      i / 3, "SDI"[i % 3], "RGB"[i % 3]);
        buf__adds(out, "],\"socketedItems\":[]");
    }
    buf__addf(out,
              ",\"requirements\":[{\"name\":\"Level\",\"values\":[[\"%u\",0]],\"displayMode\":0,"
              "\"type\":62}]",
              10 + rng__below(r, 60));
    if (rng__below(r, 2) == 0) render_mods("implicitMods", r, 1, new_shape, out);
    if (identified && base->kind != ITEM_NORMAL)
        render_mods("explicitMods", r, prefixes + suffixes, new_shape, out);
    if (base->kind == ITEM_UNIQUE)
        buf__adds(out, ",\"flavourText\":[\"What was owed\\r\",\"is paid.\"]");
    buf__addf(out, ",\"extended\":{\"category\":\"%s\",\"subcategories\":[", base->category);
    if (base->subcategory[0] != '\0') buf__addf(out, "\"%s\"", base->subcategory);
    buf__addf(out, "],\"prefixes\":%u,\"suffixes\":%u}", prefixes, suffixes);
}

static void render_plain(const struct catalogue_item *base, const struct item *it, struct rng *r,
                         int hostile, struct buf *out) {
    if (base->stack_max > 1) {
        if (hostile == 1) buf__adds(out, ",\"stackSize\":-3");
        else buf__addf(out, ",\"stackSize\":%u", it->stack);
        buf__addf(out, ",\"maxStackSize\":%u", base->stack_max);
        buf__addf(out,
                  ",\"properties\":[{\"name\":\"Stack "
                  "Size\",\"values\":[[\"%u/%u\",0]],\"displayMode\":0,\"type\":32}]",
                  it->stack, base->stack_max);
        buf__adds(out,
                  ",\"descrText\":\"Right click this item then left click another to apply it.\"");
    } else if (base->kind == ITEM_GEM) {
        buf__addf(out,
                  ",\"support\":true,\"properties\":[{\"name\":\"Support\",\"values\":[],"
                  "\"displayMode\":0},{\"name\":"
                  "\"Level\",\"values\":[[\"%u\",0]],\"displayMode\":0,\"type\":5},{\"name\":"
                  "\"Quality\",\"values\":"
                  "[[\"+%u%%\",1]],\"displayMode\":0,\"type\":6}]",
                  1 + rng__below(r, 21), 1 + rng__below(r, 20));
    } else if (base->kind == ITEM_MAP) {
        buf__addf(out,
                  ",\"properties\":[{\"name\":\"Map "
                  "Tier\",\"values\":[[\"%u\",0]],\"displayMode\":0,\"type\":1}]",
                  1 + rng__below(r, 16));
    }
    buf__addf(out, ",\"extended\":{\"category\":\"%s\"", base->category);
    if (base->subcategory[0] != '\0')
        buf__addf(out, ",\"subcategories\":[\"%s\"]", base->subcategory);
    buf__addc(out, '}');
}

void item__render(const struct economy *e, const struct stash *s, const struct item *it,
                  int hostile, struct buf *out) {
    const struct catalogue_item *base = &catalogue[it->base];
    struct rng r = {.state = mix64(e->seed, it->serial)};
    bool gear = base->kind >= ITEM_UNIQUE;
    bool identified = rng__below(&r, 20) != 0, corrupted = rng__below(&r, 12) == 0;
    bool new_shape = rng__below(&r, 4) != 0,
         fractured = base->kind == ITEM_RARE && rng__below(&r, 6) == 0;
    char note[ECONOMY_NOTE_MAX];
    size_t note_len = economy__note(&it->price, note);
    uint64_t art = rng__next(&r);
    buf__addf(out,
              "{\"verified\":false,\"w\":%u,\"h\":%u,\"icon\":\"https://web.poecdn.com/gen/image/"
              "WzI1LDE0LHsiZiI6IjJE%llx/%s.png\"",
              base->w, base->h, (unsigned long long)art, base->ninja_id);
    buf__adds(out, ",\"league\":");
    buf__add_json(out, e->leagues[s->league].at, e->leagues[s->league].len);
    render_id(e, it, hostile, out);
    render_names(base, &r, identified || !gear, out);
    buf__addf(out, ",\"identified\":%s,\"ilvl\":%u", identified || !gear ? "true" : "false",
              gear ? 60 + rng__below(&r, 27) : 0);
    if (corrupted && gear) buf__adds(out, ",\"corrupted\":true");
    if (fractured) buf__adds(out, ",\"fractured\":true");
    if (hostile >= 0) {
        buf__adds(out, ",\"note\":");
        buf__add_json(out, hostile_notes[hostile], strlen(hostile_notes[hostile]));
    } else if (note_len > 0) {
        /* A forum price comes instead of a note, now and then. */
        buf__adds(out, it->price.style % 41 == 0 ? ",\"forum_note\":" : ",\"note\":");
        buf__add_json(out, note, note_len);
    }
    if (gear) render_gear(base, &r, new_shape, identified, out);
    else render_plain(base, it, &r, hostile, out);
    /* A price that is none leaves an item to be read; every other hostile item is impossible too.
     */
    buf__addf(out, ",\"frameType\":%d,\"x\":%u,\"y\":%u,\"inventoryId\":\"Stash%u\"}",
              hostile >= 0 && hostile % 2 == 1 ? 1000 : frame_type(base->kind), it->cell / 12u,
              it->cell % 12u, 1 + (unsigned)(s->serial % 40));
}
