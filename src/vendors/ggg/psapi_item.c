/* From the JSON of an item to struct psapi_item.
 *
 * Each key is looked at once: a perfect hash of its length and two characters names the handler.
 * Modifiers come in two shapes, as texts (until 3.28) and as objects with a description and flags
 * (since 3.29); both become lists of texts, crafted and fractured ones in lists of their own, so
 * that equal modifiers hash equally in both; other flags go to modFlags. Keys that are not known
 * are kept when they say true, or when their name ends in Mods; what else is new stays in the raw
 * page. How modifiers are hashed is in item_identity.c. */
#include "psapi_item.h"
#include "item_identity.h"
#include <assert.h>

enum item_key {
    KEY_UNKNOWN,
    KEY_ID,
    KEY_NAME,
    KEY_NOTE,
    KEY_ILVL,
    KEY_ITEM_LEVEL,
    KEY_TYPE_LINE,
    KEY_BASE_TYPE,
    KEY_RARITY,
    KEY_FRAME_TYPE,
    KEY_FRAME_TYPE_ID,
    KEY_IDENTIFIED,
    KEY_CORRUPTED,
    KEY_STACK_SIZE,
    KEY_MAX_STACK_SIZE,
    KEY_FORUM_NOTE,
    KEY_LEAGUE,
    KEY_EXTENDED,
    KEY_CATEGORY,
    KEY_SOCKETS,
    KEY_ENCHANT,
    KEY_IMPLICIT,
    KEY_EXPLICIT,
    KEY_CRAFTED,
    KEY_FRACTURED,
    KEY_VERBATIM, /* Goes to extra as it is. */
};

/* Length, first character, and the one at a third of the length. The factors were searched for; two
 * keys in one slot would not compile (-Woverride-init). */
#define KEY_HASH(len, first, third)                                                                \
    (((unsigned)(len)*7 + (unsigned char)(first)*8u + (unsigned char)(third)*13u) & 127)
#define SLOT(text, first, third, id)                                                               \
    [KEY_HASH(sizeof(text) - 1, first, third)] = {text, sizeof(text) - 1, id}
static const struct {
    const char *text;
    size_t len;
    enum item_key key;
} key_slots[128] = {
    SLOT("id", 'i', 'i', KEY_ID),
    SLOT("name", 'n', 'a', KEY_NAME),
    SLOT("note", 'n', 'o', KEY_NOTE),
    SLOT("ilvl", 'i', 'l', KEY_ILVL),
    SLOT("itemLevel", 'i', 'm', KEY_ITEM_LEVEL),
    SLOT("typeLine", 't', 'p', KEY_TYPE_LINE),
    SLOT("baseType", 'b', 's', KEY_BASE_TYPE),
    SLOT("rarity", 'r', 'r', KEY_RARITY),
    SLOT("frameType", 'f', 'm', KEY_FRAME_TYPE),
    SLOT("frameTypeId", 'f', 'm', KEY_FRAME_TYPE_ID),
    SLOT("identified", 'i', 'n', KEY_IDENTIFIED),
    SLOT("corrupted", 'c', 'r', KEY_CORRUPTED),
    SLOT("stackSize", 's', 'c', KEY_STACK_SIZE),
    SLOT("forum_note", 'f', 'u', KEY_FORUM_NOTE),
    SLOT("league", 'l', 'a', KEY_LEAGUE),
    SLOT("extended", 'e', 't', KEY_EXTENDED),
    SLOT("category", 'c', 't', KEY_CATEGORY),
    SLOT("sockets", 's', 'c', KEY_SOCKETS),
    SLOT("enchantMods", 'e', 'h', KEY_ENCHANT),
    SLOT("implicitMods", 'i', 'i', KEY_IMPLICIT),
    SLOT("explicitMods", 'e', 'i', KEY_EXPLICIT),
    SLOT("craftedMods", 'c', 'f', KEY_CRAFTED),
    SLOT("fracturedMods", 'f', 't', KEY_FRACTURED),
    SLOT("properties", 'p', 'p', KEY_VERBATIM),
    SLOT("additionalProperties", 'a', 'o', KEY_VERBATIM),
    SLOT("notableProperties", 'n', 'l', KEY_VERBATIM),
    SLOT("noteableProperties", 'n', 'l', KEY_VERBATIM),
    SLOT("influences", 'i', 'l', KEY_VERBATIM),
    SLOT("talismanTier", 't', 's', KEY_VERBATIM),
    SLOT("hybrid", 'h', 'b', KEY_VERBATIM),
    SLOT("incubatedItem", 'i', 'b', KEY_VERBATIM),
    SLOT("scourged", 's', 'o', KEY_VERBATIM),
    SLOT("crucible", 'c', 'u', KEY_VERBATIM),
    SLOT("maxStackSize", 'm', 't', KEY_MAX_STACK_SIZE),
    SLOT("gemSockets", 'g', 'S', KEY_VERBATIM),
    SLOT("foilVariation", 'f', 'V', KEY_VERBATIM),
    SLOT("x", 'x', 'x', KEY_VERBATIM),
    SLOT("y", 'y', 'y', KEY_VERBATIM),
    SLOT("w", 'w', 'w', KEY_VERBATIM),
    SLOT("h", 'h', 'h', KEY_VERBATIM),
    SLOT("inventoryId", 'i', 'e', KEY_VERBATIM),
    SLOT("rewards", 'r', 'w', KEY_VERBATIM),
};

/* memcmp for texts of 1 to 24 bytes of equal length, without a call: two or three loads that may
 * overlap. */
static inline bool same_text(const char *a, const char *b, size_t len) {
    uint64_t x, y, z, w;
    if (len >= 8) {
        memcpy(&x, a, 8), memcpy(&y, b, 8);
        memcpy(&z, a + len - 8, 8), memcpy(&w, b + len - 8, 8);
        if (x != y || z != w) return false;
        if (len <= 16) return true;
        memcpy(&x, a + 8, 8), memcpy(&y, b + 8, 8);
        return x == y;
    }
    if (len >= 4) {
        uint32_t p, q, r, s;
        memcpy(&p, a, 4), memcpy(&q, b, 4);
        memcpy(&r, a + len - 4, 4), memcpy(&s, b + len - 4, 4);
        return p == q && r == s;
    }
    for (size_t i = 0; i < len; i++)
        if (a[i] != b[i]) return false;
    return true;
}

static enum item_key find_key(const char *text, size_t len) {
    if (len == 0) return KEY_UNKNOWN;
    unsigned slot = KEY_HASH(len, text[0], text[len / 3]);
    if (key_slots[slot].len != len || !same_text(key_slots[slot].text, text, len))
        return KEY_UNKNOWN;
    return key_slots[slot].key;
}

void psapi_scratch__init(struct psapi_scratch *s) {
    s->n_fields_lost = 0;
    s->extra = buf__init(2 * DECODE_BODY_MAX);
    s->mod_flags = buf__init(PSAPI_EXTRA_MAX + 1);
    s->type_id = buf__init(PSAPI_TEXT_MAX);
}

void psapi_scratch__fini(struct psapi_scratch *s) {
    buf__fini(&s->extra);
    buf__fini(&s->mod_flags);
    buf__fini(&s->type_id);
}

bool psapi_scratch__no_memory(const struct psapi_scratch *s) {
    return s->extra.no_memory || s->mod_flags.no_memory || s->type_id.no_memory;
}

static void extra_key(struct buf *extra, struct slice key) {
    char *at = buf__reserve(extra, key.len + 4);
    if (at == NULL) return;
    *at++ = extra->len == 0 ? '{' : ',';
    *at++ = '"';
    buf__copy(at, key.base, key.len);
    at += key.len;
    *at++ = '"';
    *at++ = ':';
    extra->len += key.len + 4;
}

/* For keys from outside, which may need escapes. */
static void extra_key_of(struct buf *extra, yyjson_val *key) {
    buf__append(extra, extra->len == 0 ? "{" : ",", 1);
    decode__write_str(extra, key);
    buf__append(extra, ":", 1);
}

/* The 2017 client put <<set:MS>><<set:M>><<set:S>> in front of names. */
static struct slice strip_sets(struct slice s) {
    while (slice__starts(s, SLICE_LIT("<<set:"))) {
        const char *end = memmem(s.base, s.len, ">>", 2);
        if (end == NULL) break;
        s = slice__of(end + 2, s.len - (size_t)(end + 2 - s.base));
    }
    return s;
}

/* {"weapons":["bow"]} until 2020; {"category":"weapons","subcategories":["bow"]} since. */
static void read_category(struct buf *out, yyjson_val *name, yyjson_val *subs) {
    size_t i, n;
    yyjson_val *sub;
    buf__clear(out);
    if (!yyjson_is_str(name)) return;
    buf__append_slice(out, decode__slice(name));
    if (subs == NULL) return;
    yyjson_arr_foreach(subs, i, n, sub) {
        if (!yyjson_is_str(sub)) continue;
        buf__append(out, ".", 1);
        buf__append_slice(out, decode__slice(sub));
    }
}

/* Sockets as the trade site writes them: links are dashes, groups are apart: "R-G-B W". */
static bool read_sockets(struct buf *extra, yyjson_val *sockets, struct decode_fault *f) {
    yyjson_val *socket;
    int64_t group_before = -1;
    if (!decode__is_list(sockets)) return decode__failf(f, DECODE_WRONG_TYPE, sockets, "sockets");
    if (yyjson_get_len(sockets) == 0) return true;
    extra_key(extra, SLICE_LIT("sockets"));
    buf__append(extra, "\"", 1);
    struct decode_list list = decode__list(sockets);
    for (size_t i = 0; (socket = decode__next(&list)) != NULL; i++) {
        yyjson_val *group = yyjson_obj_getn(socket, "group", 5);
        yyjson_val *colour = yyjson_obj_getn(socket, "sColour", 7);
        if (colour == NULL) colour = yyjson_obj_getn(socket, "attr", 4);
        if (!yyjson_is_uint(group) || unsafe_yyjson_get_uint(group) > 1000)
            return decode__failf(f, DECODE_WRONG_TYPE, group, "sockets[%zu].group", i);
        int64_t this_group = (int64_t)unsafe_yyjson_get_uint(group);
        if (i > 0) buf__append(extra, this_group == group_before ? "-" : " ", 1);
        group_before = this_group;
        char c =
            '?'; /* No colour is known for some, such as attr false of abyssal sockets in 2018. */
        if (yyjson_is_str(colour) && unsafe_yyjson_get_len(colour) > 0)
            c = *unsafe_yyjson_get_str(colour);
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))) c = '?';
        buf__append(extra, &c, 1);
    }
    return buf__append(extra, "\"", 1);
}

struct mods_writer {
    struct psapi_scratch *s;
    struct mods_hash *hash;
    struct slice name; /* Of the list. */
    bool open;         /* The list has an entry. */
};

/* What a modifier's flags say beyond the list that it is in, a line each of modFlags. */
static void write_flags(struct psapi_scratch *s, const struct item_mod *mod) {
    size_t i, n;
    yyjson_val *key, *v;
    struct buf *out = &s->mod_flags;
    if (mod->flags == NULL) return;
    yyjson_obj_foreach(mod->flags, i, n, key, v) {
        if (!item_mod__is_flag(key, v)) continue;
        buf__append_str(out, out->len == 0 ? "{\"flag\":" : ",{\"flag\":");
        decode__write_str(out, key);
        buf__append_str(out, ",\"mod\":");
        decode__write_str(out, mod->text);
        buf__append(out, "}", 1);
    }
}

static void write_mod(struct mods_writer *w, const struct item_mod *mod) {
    if (!w->open) {
        extra_key(&w->s->extra, w->name);
        buf__append(&w->s->extra, "[", 1);
        w->open = true;
    } else {
        buf__append(&w->s->extra, ",", 1);
    }
    decode__write_str(&w->s->extra, mod->text);
    write_flags(w->s, mod);
    mods_hash__add(w->hash, w->name, mod);
}

/* Writes the entries of @mods which are of @kind, or all of them when @kind is negative. Adds to
 * @n_others how many were not. */
static void write_mods(struct mods_writer *w, yyjson_val *mods, int kind, size_t *n_others) {
    yyjson_val *entry;
    struct decode_list list = decode__list(mods);
    while ((entry = decode__next(&list)) != NULL) {
        struct item_mod mod;
        if (!item_mod__read(entry, &mod)) { /* Explicit ones are walked again: counted once. */
            if (kind <= MOD_PLAIN) w->s->n_fields_lost++;
            continue;
        }
        if (kind < 0 || kind == (int)mod.kind) write_mod(w, &mod);
        else ++*n_others;
    }
}

static void read_mods(struct psapi_item *item, struct psapi_scratch *s, struct mods_hash *hash) {
    static const struct slice names[MODS__N] = {
        [MODS_ENCHANT] = {"enchantMods", 11},     [MODS_IMPLICIT] = {"implicitMods", 12},
        [MODS_EXPLICIT] = {"explicitMods", 12},   [MODS_CRAFTED] = {"craftedMods", 11},
        [MODS_FRACTURED] = {"fracturedMods", 13},
    };
    size_t n_flagged = 0, n_ignored = 0;
    for (int list = 0; list < MODS__N; list++) {
        struct mods_writer w = {.s = s, .hash = hash, .name = names[list]};
        int flagged = list == MODS_CRAFTED ? MOD_CRAFTED : MOD_FRACTURED;
        if (list == MODS_EXPLICIT) write_mods(&w, item->mods[list], MOD_PLAIN, &n_flagged);
        else if (list > MODS_EXPLICIT && n_flagged > 0)
            write_mods(&w, item->mods[MODS_EXPLICIT], flagged, &n_ignored);
        if (list != MODS_EXPLICIT) write_mods(&w, item->mods[list], -1, &n_ignored);
        if (w.open) buf__append(&s->extra, "]", 1);
    }
    if (s->mod_flags.len == 0) return;
    extra_key(&s->extra, SLICE_LIT("modFlags"));
    buf__append(&s->extra, "[", 1);
    buf__append_slice(&s->extra, buf__slice(&s->mod_flags));
    buf__append(&s->extra, "]", 1);
}

/* Lists that we do not know by name. Entries which are not texts in either shape stay as they are,
 * as in logbookMods, and are hashed as they are written. */
static bool read_other_mods(struct psapi_scratch *s, struct mods_hash *hash, yyjson_val *key,
                            yyjson_val *mods, struct decode_fault *f) {
    yyjson_val *entry;
    struct slice name = decode__slice(key);
    struct decode_list list = decode__list(mods);
    extra_key_of(&s->extra, key);
    buf__append(&s->extra, "[", 1);
    for (size_t i = 0; (entry = decode__next(&list)) != NULL; i++) {
        struct item_mod mod;
        if (i > 0) buf__append(&s->extra, ",", 1);
        size_t from = s->extra.len;
        if (item_mod__read(entry, &mod)) {
            decode__write_str(&s->extra, mod.text);
            write_flags(s, &mod);
            mods_hash__add(hash, name, &mod);
            continue;
        }
        if (!decode__write(&s->extra, entry, SIZE_MAX))
            return decode__failf(f, DECODE_TOO_DEEP, entry, "%.80s[%zu]",
                                 unsafe_yyjson_get_str(key), i);
        mods_hash__add_other(hash, name, slice__of(s->extra.base + from, s->extra.len - from));
    }
    return buf__append(&s->extra, "]", 1);
}

static bool set_mods(struct psapi_item *item, int list, yyjson_val *v, const char *name,
                     struct decode_fault *f) {
    if (decode__is_absent(v)) return true;
    if (!decode__is_list(v)) return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    item->mods[list] = v;
    return true;
}

static bool read_unknown(struct psapi_scratch *s, struct mods_hash *hash, yyjson_val *key,
                         yyjson_val *v, struct decode_fault *f) {
    struct slice name = decode__slice(key);
    if (name.len > 64) return true;
    if (yyjson_is_true(v)) {
        extra_key_of(&s->extra, key);
        return buf__append(&s->extra, "true", 4);
    }
    bool mods = name.len > 4 && memcmp(name.base + name.len - 4, "Mods", 4) == 0;
    if (mods && decode__is_list(v) && yyjson_get_len(v) > 0)
        return read_other_mods(s, hash, key, v, f);
    return true;
}

static bool read_extended(struct psapi_scratch *s, yyjson_val *v, struct decode_fault *f) {
    if (decode__is_absent(v)) return true;
    if (yyjson_is_arr(v) && yyjson_arr_size(v) == 0) return true; /* An empty object, as sent. */
    if (!yyjson_is_obj(v)) return decode__failf(f, DECODE_WRONG_TYPE, v, "extended");
    yyjson_val *category = yyjson_obj_getn(v, "category", 8);
    if (category != NULL)
        read_category(&s->type_id, category, yyjson_obj_getn(v, "subcategories", 13));
    static const struct slice counts[] = {{"prefixes", 8}, {"suffixes", 8}};
    for (size_t i = 0; i < 2; i++) {
        yyjson_val *n = yyjson_obj_getn(v, counts[i].base, counts[i].len);
        if (!yyjson_is_uint(n)) continue;
        extra_key(&s->extra, counts[i]);
        decode__write(&s->extra, n, SIZE_MAX);
    }
    return true;
}

static bool read_field(struct psapi_item *item, struct psapi_scratch *s, struct mods_hash *hash,
                       yyjson_val *key, yyjson_val *v, struct decode_fault *f) {
    const char *name = unsafe_yyjson_get_str(key);
    switch (find_key(name, unsafe_yyjson_get_len(key))) {
    case KEY_ID: return decode__str(v, name, PSAPI_TEXT_MAX, &item->id, f);
    case KEY_NAME: return decode__str(v, name, PSAPI_TEXT_MAX, &item->name, f);
    case KEY_NOTE: return decode__str(v, name, PSAPI_TEXT_MAX, &item->note, f);
    case KEY_FORUM_NOTE: return decode__str(v, name, PSAPI_TEXT_MAX, &item->forum_note, f);
    case KEY_TYPE_LINE: return decode__str(v, name, PSAPI_TEXT_MAX, &item->type_line, f);
    case KEY_BASE_TYPE: return decode__str(v, name, PSAPI_TEXT_MAX, &item->base_type, f);
    case KEY_RARITY: return decode__str(v, name, PSAPI_TEXT_MAX, &item->rarity, f);
    case KEY_LEAGUE: return decode__str(v, name, PSAPI_TEXT_MAX, &item->league, f);
    case KEY_ILVL: return decode__u32(v, name, PSAPI_ILVL_UNKNOWN - 1, &item->ilvl, f);
    case KEY_ITEM_LEVEL:
        return (item->ilvl > 0 && item->ilvl != PSAPI_ILVL_UNKNOWN) ||
               decode__u32(v, name, PSAPI_ILVL_UNKNOWN - 1, &item->ilvl, f);
    case KEY_FRAME_TYPE: return decode__u32(v, name, UINT8_MAX, &item->frame_type, f);
    case KEY_FRAME_TYPE_ID: return decode__str(v, name, PSAPI_TEXT_MAX, &item->frame_type_id, f);
    case KEY_STACK_SIZE:
        if (decode__is_absent(v)) return true;
        item->is_stackable = true;
        item->stack_size = 0; /* Until it could be read. */
        return decode__u32(v, name, UINT32_MAX, &item->stack_size, f);
    case KEY_IDENTIFIED: return decode__bool(v, name, &item->identified, f);
    case KEY_CORRUPTED: return decode__bool(v, name, &item->corrupted, f);
    case KEY_ENCHANT: return set_mods(item, MODS_ENCHANT, v, name, f);
    case KEY_IMPLICIT: return set_mods(item, MODS_IMPLICIT, v, name, f);
    case KEY_EXPLICIT: return set_mods(item, MODS_EXPLICIT, v, name, f);
    case KEY_CRAFTED: return set_mods(item, MODS_CRAFTED, v, name, f);
    case KEY_FRACTURED: return set_mods(item, MODS_FRACTURED, v, name, f);
    case KEY_EXTENDED: return read_extended(s, v, f);
    case KEY_CATEGORY: {
        yyjson_obj_iter it = yyjson_obj_iter_with(v);
        yyjson_val *category = yyjson_obj_iter_next(&it);
        if (category != NULL)
            read_category(&s->type_id, category, yyjson_obj_iter_get_val(category));
        return true;
    }
    case KEY_SOCKETS: return decode__is_absent(v) || read_sockets(&s->extra, v, f);
    case KEY_MAX_STACK_SIZE:
        item->is_stackable = item->is_stackable || yyjson_is_uint(v);
        __attribute__((fallthrough));
    case KEY_VERBATIM:
        if (decode__is_absent(v)) return true;
        extra_key(&s->extra, decode__slice(key));
        if (decode__write(&s->extra, v, SIZE_MAX)) return true;
        return decode__failf(f, DECODE_TOO_DEEP, v, "%s", name);
    case KEY_UNKNOWN: break;
    }
    return read_unknown(s, hash, key, v, f);
}

static const struct slice rarities[] = {{"Normal", 6}, {"Magic", 5}, {"Rare", 4}, {"Unique", 6}};
#define N_RARITIES (sizeof rarities / sizeof *rarities)

/* @return the number that frameTypeId, which is taking the place of frameType, stands for. */
static uint32_t frame_of_word(struct slice word) {
    static const struct slice words[] = {
        {"Normal", 6},
        {"Magic", 5},
        {"Rare", 4},
        {"Unique", 6},
        {"Gem", 3},
        {"Currency", 8},
        {"DivinationCard", 14},
        {"Quest", 5},
        {"Prophecy", 8},
        {"Foil", 4},
        {"SupporterFoil", 13},
        {"Necropolis", 10},
        {"Gold", 4},
        {"BreachSkill", 11},
    };
    for (uint32_t i = 0; i < sizeof words / sizeof *words; i++)
        if (slice__eq(words[i], word)) return i;
    return PSAPI_FRAME_UNKNOWN;
}

/* The number speaks first, then the word, then the rarity, which about 70 % of items have. */
static void settle_frame(struct psapi_item *item) {
    if (item->frame_type == PSAPI_FRAME_UNKNOWN)
        item->frame_type = frame_of_word(item->frame_type_id);
    for (uint32_t i = 0; i < N_RARITIES && item->frame_type == PSAPI_FRAME_UNKNOWN; i++)
        if (slice__eq(rarities[i], item->rarity)) item->frame_type = i;
    if (item->rarity.len == 0 && item->frame_type < N_RARITIES)
        item->rarity = rarities[item->frame_type];
}

bool psapi_item__read(yyjson_val *json, struct psapi_scratch *s, struct psapi_item *out,
                      struct decode_fault *f) {
    *out = (struct psapi_item){.identified = true,
                               .ilvl = PSAPI_ILVL_UNKNOWN,
                               .stack_size = 1,
                               .frame_type = PSAPI_FRAME_UNKNOWN};
    struct mods_hash hash = {0};
    buf__clear(&s->extra);
    buf__clear(&s->mod_flags);
    buf__clear(&s->type_id);
    if (!yyjson_is_obj(json)) return decode__failf(f, DECODE_WRONG_TYPE, json, "%s", "");
    size_t i, n;
    yyjson_val *key, *v;
    yyjson_obj_foreach(json, i, n, key, v) {
        struct mods_hash hash_before = hash;
        size_t extra_len = s->extra.len, flags_len = s->mod_flags.len;
        if (read_field(out, s, &hash, key, v, f)) continue;
        enum item_key lost = find_key(unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key));
        hash = hash_before;
        s->extra.len = extra_len, s->mod_flags.len = flags_len;
        if (lost == KEY_ID || !decode__lose(f, &s->n_fields_lost)) return false;
        out->offer_lost |= lost == KEY_NOTE || lost == KEY_FORUM_NOTE || lost == KEY_STACK_SIZE;
    }
    out->name = strip_sets(out->name);
    out->type_line = strip_sets(out->type_line);
    settle_frame(out);
    if (out->type_line.len == 0 && out->base_type.len == 0 && out->name.len == 0)
        return decode__failf(f, DECODE_MISSING, NULL, "typeLine");
    read_mods(out, s, &hash);
    buf__append(&s->extra, s->extra.len == 0 ? "{}" : "}", s->extra.len == 0 ? 2 : 1);
    if (s->extra.failed || s->mod_flags.failed || s->extra.len > PSAPI_EXTRA_MAX)
        return decode__failf(f, DECODE_TOO_LONG, NULL, "extra");
    if (s->type_id.failed) return decode__failf(f, DECODE_TOO_LONG, NULL, "category");
    out->mods_hash = mods_hash__end(&hash);
    out->extra = buf__slice(&s->extra);
    out->type_id = buf__slice(&s->type_id);
    return true;
}
