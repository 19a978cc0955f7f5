/* Which items are the same goods. Two hashes, both pure functions of the item's JSON, the same on
 * any machine of one byte order (all that souk runs on are little-endian); and the hash of its
 * modifiers, which stands in a column of its own.
 *
 * key: what competes on the market. It is made of these fields and no others; what is absent, empty
 * or default ([], {}, null, false, 0) adds nothing, so that an old and a new shape of one thing
 * agree. "Masked" texts have their numbers and signs left out, as these are rolls.
 *
 * - Every item: the base (baseType, else typeLine, without "Superior " and "Synthesised "); the
 *   name, but of rare items, whose names are random words; the frame (frameType, frameTypeId or
 *   rarity); the flags fractured, synthesised, duplicated (mirrored), mutated, vestigial,
 *   memoryItem, foreseeing, replica, ruthless; Area Level, Heist Target, Wings Revealed; the
 *   factions of a logbook. Of stacks, cards, prophecies and what else has no rarity: no more.
 * - Gems: typeLine in place of the base (transfigured and alternate qualities),
 *   hybrid.baseTypeName (Vaal forms), level, quality, corrupted.
 * - Uniques: foil (isRelic, frame 9 or 10, foilVariation; all with the frame of a unique); masked
 *   implicit and explicit modifiers, which are the variant, where numbers stay that count passive
 *   skills, the item's own sockets or levels (Voices with 1 to 7, two abyssal sockets); enchantments in full. What
 *   is crafted onto it does not count, and corruption only by the implicit modifier that it gave:
 *   without one, the recorded asks are the same.
 * - Maps, which have a Map Tier and are not unique: the base without "Blighted " and
 *   "Blight-ravaged ", which of these it is, tier, implicit modifiers and enchantments in full
 *   (whose boss or influence), corrupted; neither the rarity nor what is rolled.
 * - Identified magic and rare items: all modifiers in full, so that such an item competes with its
 *   like only; corrupted.
 * - Normal and unidentified items: the band of item level (50, 68, 75, 82, 83, 84, 85, 86 and up,
 *   where better modifiers begin), but of what says how it is used (fragments and flasks, in
 *   descrText) and is no cluster jewel; masked implicit modifiers, in full when synthesised;
 *   enchantments in full (the passives of a cluster jewel); tier of a talisman; corrupted.
 * - Uniques, magic, rare and normal items: whether identified, influences, five or six linked
 *   sockets.
 *
 * fingerprint: what a buyer could not tell apart. The key, and type line, name, item level,
 * corruption, identification, all modifiers, split, unmodifiable, quality, sockets with colours and
 * links. 0 for what comes in stacks, of which a seller has many alike.
 *
 * mods_hash: all modifiers with their lists and flags (mutated, vestigial, ...), in any order and
 * either shape; 0 without any.
 *
 * Never part of any: veiledMods, placeholders that the server draws anew for each reply;
 * cosmeticMods; the order of modifiers; note, name of the tab, icon, position, owner, experience,
 * what is in the sockets; markup as <<set:MS>> and [Word|shown]. */
#ifndef SOUK_SOURCES_ITEM_IDENTITY_H
#define SOUK_SOURCES_ITEM_IDENTITY_H

#include "psapi_item.h"

/* Of the rule above; goes up with each change of it, and stands beside each key that is stored. 1
 * was base, name and frame, level and quality of gems, all modifiers of magic and rare items; 2 took
 * each number beside the word Socket for a count. */
#define ITEM_IDENTITY_VERSION 3

struct item_identity {
    uint64_t key, fingerprint;
};

/** @item was read from @json. */
struct item_identity item_identity__of(const struct psapi_item *item, yyjson_val *json);

enum item_mod_kind { MOD_PLAIN, MOD_CRAFTED, MOD_FRACTURED };
/** One modifier, of a text (until 3.28) or an object with a description and flags (since 3.29). */
struct item_mod {
    yyjson_val *text, *flags; /* Borrowed; flags may be anything. */
    enum item_mod_kind kind;  /* What its flags say. */
};
/** @return false when @entry is neither. */
bool item_mod__read(yyjson_val *entry, struct item_mod *out);
/** @return whether this entry of a modifier's flags is set, and no list of its own says so. */
bool item_mod__is_flag(yyjson_val *key, yyjson_val *value);

/** A hash of modifiers in any order. Begins as zeros. */
struct mods_hash {
    uint64_t sum, n;
};
void mods_hash__add(struct mods_hash *h, struct slice list, const struct item_mod *mod);
/** An entry that is no modifier in either shape, as it is written. */
void mods_hash__add_other(struct mods_hash *h, struct slice list, struct slice json);
uint64_t mods_hash__end(const struct mods_hash *h);

#endif
