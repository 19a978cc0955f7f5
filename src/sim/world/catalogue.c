/* See catalogue.h. Names of currency and bases are the game's own; prices are round numbers of the
 * right size. */
#include "catalogue.h"

#define CURRENCY(name, slug, chaos, stack)                                                         \
    { "", name, slug, "currency", "", ITEM_CURRENCY, chaos, stack, 1, 1 }
#define FRAGMENT(name, slug, chaos)                                                                \
    { "", name, slug, "maps", "fragment", ITEM_FRAGMENT, chaos, 10, 1, 1 }
#define CARD(name, slug, chaos, stack)                                                             \
    { "", name, slug, "cards", "", ITEM_CARD, chaos, stack, 1, 1 }
#define MAP(name, slug, chaos)                                                                     \
    { "", name, slug, "maps", "", ITEM_MAP, chaos, 1, 1, 1 }
#define GEM(name, slug, chaos)                                                                     \
    { "", name, slug, "gems", "supportgem", ITEM_GEM, chaos, 1, 1, 1 }
#define UNIQUE(name, base, slug, cat, sub, chaos, w, h)                                            \
    { name, base, slug, cat, sub, ITEM_UNIQUE, chaos, 1, w, h }
#define RARE(base, slug, cat, sub, chaos, w, h)                                                    \
    { "", base, slug, cat, sub, ITEM_RARE, chaos, 1, w, h }

const struct catalogue_item catalogue[] = {
    CURRENCY("Chaos Orb", "chaos-orb", 1, 20),
    CURRENCY("Divine Orb", "divine-orb", 200, 20),
    CURRENCY("Exalted Orb", "exalted-orb", 12, 20),
    CURRENCY("Mirror of Kalandra", "mirror-of-kalandra", 170000, 10),
    CURRENCY("Orb of Annulment", "orb-of-annulment", 8, 20),
    CURRENCY("Orb of Alchemy", "orb-of-alchemy", 0.12, 20),
    CURRENCY("Vaal Orb", "vaal-orb", 0.6, 20),
    CURRENCY("Orb of Fusing", "orb-of-fusing", 0.15, 20),
    CURRENCY("Chromatic Orb", "chromatic-orb", 0.05, 20),
    CURRENCY("Jeweller's Orb", "jewellers-orb", 0.06, 20),
    CURRENCY("Orb of Scouring", "orb-of-scouring", 0.5, 30),
    CURRENCY("Orb of Regret", "orb-of-regret", 0.7, 40),
    CURRENCY("Gemcutter's Prism", "gemcutters-prism", 1.3, 20),
    CURRENCY("Sacred Orb", "sacred-orb", 9, 10),
    CURRENCY("Awakener's Orb", "awakeners-orb", 260, 10),
    CURRENCY("Stacked Deck", "stacked-deck", 1.9, 20),
    CURRENCY("Deafening Essence of Wrath", "deafening-essence-of-wrath", 3, 9),
    CURRENCY("Deafening Essence of Greed", "deafening-essence-of-greed", 2.5, 9),
    CURRENCY("Opalescent Oil", "opalescent-oil", 5, 10),
    CURRENCY("Golden Oil", "golden-oil", 35, 10),
    CURRENCY("Aetheric Fossil", "aetheric-fossil", 2, 20),
    CURRENCY("Faceted Fossil", "faceted-fossil", 60, 20),
    CURRENCY("Fine Delirium Orb", "fine-delirium-orb", 4, 10),
    CURRENCY("Accelerating Catalyst", "accelerating-catalyst", 2, 10),
    FRAGMENT("Sacrifice at Midnight", "sacrifice-at-midnight", 2),
    FRAGMENT("Mortal Hope", "mortal-hope", 14),
    FRAGMENT("Fragment of the Phoenix", "fragment-of-the-phoenix", 6),
    FRAGMENT("Fragment of the Minotaur", "fragment-of-the-minotaur", 6),
    FRAGMENT("The Maven's Writ", "the-mavens-writ", 35),
    FRAGMENT("Screaming Invitation", "screaming-invitation", 80),
    FRAGMENT("Gilded Ambush Scarab", "gilded-ambush-scarab", 3),
    FRAGMENT("Simulacrum", "simulacrum", 45),
    CARD("The Doctor", "the-doctor", 900, 8),
    CARD("The Nurse", "the-nurse", 100, 8),
    CARD("House of Mirrors", "house-of-mirrors", 18000, 9),
    CARD("Rain of Chaos", "rain-of-chaos", 0.2, 8),
    CARD("The Gambler", "the-gambler", 0.4, 5),
    CARD("The Hoarder", "the-hoarder", 1.5, 12),
    CARD("Lucky Connections", "lucky-connections", 0.25, 7),
    MAP("Strand Map", "strand-map", 1.5),
    MAP("Beach Map", "beach-map", 1),
    MAP("Fortress Map", "fortress-map", 3),
    MAP("Crimson Temple Map", "crimson-temple-map", 4),
    MAP("Forge of the Phoenix Map", "forge-of-the-phoenix-map", 15),
    GEM("Empower Support", "empower-support", 150),
    GEM("Enlighten Support", "enlighten-support", 250),
    GEM("Spell Echo Support", "spell-echo-support", 30),
    GEM("Awakened Multistrike Support", "awakened-multistrike-support", 500),
    UNIQUE("Mageblood", "Heavy Belt", "mageblood-heavy-belt", "accessories", "belt", 45000, 2, 1),
    UNIQUE("Headhunter", "Leather Belt", "headhunter-leather-belt", "accessories", "belt", 9000, 2,
           1),
    UNIQUE("Tabula Rasa", "Simple Robe", "tabula-rasa-simple-robe", "armour", "chest", 9, 2, 3),
    UNIQUE("Goldrim", "Leather Cap", "goldrim-leather-cap", "armour", "helmet", 1, 2, 2),
    UNIQUE("Ralakesh's Impatience", "Riveted Boots", "ralakeshs-impatience-riveted-boots", "armour",
           "boots", 400, 2, 2),
    UNIQUE("Devoto's Devotion", "Nightmare Bascinet", "devotos-devotion-nightmare-bascinet",
           "armour", "helmet", 3, 2, 2),
    UNIQUE("Aegis Aurora", "Champion Kite Shield", "aegis-aurora-champion-kite-shield", "armour",
           "shield", 15, 2, 3),
    UNIQUE("Rumi's Concoction", "Granite Flask", "rumis-concoction-granite-flask", "flasks", "", 4,
           1, 2),
    UNIQUE("Bottled Faith", "Sulphur Flask", "bottled-faith-sulphur-flask", "flasks", "", 600, 1,
           2),
    UNIQUE("Grand Spectrum", "Crimson Jewel", "grand-spectrum-crimson-jewel", "jewels", "", 5, 1,
           1),
    UNIQUE("Watcher's Eye", "Prismatic Jewel", "watchers-eye-prismatic-jewel", "jewels", "", 300, 1,
           1),
    UNIQUE("Voidforge", "Infernal Sword", "voidforge-infernal-sword", "weapons", "twosword", 700, 2,
           4),
    UNIQUE("Kaom's Heart", "Glorious Plate", "kaoms-heart-glorious-plate", "armour", "chest", 30, 2,
           3),
    RARE("Vermillion Ring", "vermillion-ring", "accessories", "ring", 40, 1, 1),
    RARE("Two-Stone Ring", "two-stone-ring", "accessories", "ring", 12, 1, 1),
    RARE("Onyx Amulet", "onyx-amulet", "accessories", "amulet", 20, 1, 1),
    RARE("Stygian Vise", "stygian-vise", "accessories", "belt", 25, 2, 1),
    RARE("Titanium Spirit Shield", "titanium-spirit-shield", "armour", "shield", 18, 2, 2),
    RARE("Vaal Regalia", "vaal-regalia", "armour", "chest", 35, 2, 3),
    RARE("Conqueror's Helmet", "conquerors-helmet", "armour", "helmet", 8, 2, 2),
    RARE("Sorcerer's Gloves", "sorcerers-gloves", "armour", "gloves", 6, 2, 2),
    RARE("Imbued Wand", "imbued-wand", "weapons", "wand", 15, 1, 3),
    RARE("Jewelled Foil", "jewelled-foil", "weapons", "onesword", 9, 1, 4),
    RARE("Large Cluster Jewel", "large-cluster-jewel", "jewels", "cluster", 30, 1, 1),
    RARE("Cobalt Jewel", "cobalt-jewel", "jewels", "", 4, 1, 1),
    {"", "Quicksilver Flask", "quicksilver-flask", "flasks", "", ITEM_MAGIC, 2, 1, 1, 2},
    {"", "Twilight Regalia", "twilight-regalia", "armour", "chest", ITEM_NORMAL, 60, 1, 2, 3},
};
const size_t n_catalogue = sizeof catalogue / sizeof catalogue[0];

const struct note_currency note_currencies[] = {
    {"chaos", NULL, 1},        {"divine", NULL, 200},     {"exalted", "exa", 12},
    {"alch", NULL, 0.12},      {"fusing", "fuse", 0.15},  {"vaal", NULL, 0.6},
    {"mirror", "mir", 170000}, {"chrome", "chrom", 0.05}, {"jewellers", "jew", 0.06},
    {"annul", NULL, 8},        {"regret", NULL, 0.7},     {"gcp", NULL, 1.3},
    {"scour", NULL, 0.5},      {"grand-echor", NULL, 9},
};
const size_t n_note_currencies = sizeof note_currencies / sizeof note_currencies[0];

const struct mod_text mod_texts[] = {
    {"+%u to maximum Life", 129},
    {"+%u to maximum Energy Shield", 90},
    {"+%u to Strength", 58},
    {"+%u to Intelligence", 58},
    {"+%u%% to Fire Resistance", 48},
    {"+%u%% to Cold Resistance", 48},
    {"+%u%% to Lightning Resistance", 48},
    {"+%u%% to Chaos Resistance", 35},
    {"+%u to Accuracy Rating", 480},
    {"%u%% increased Armour", 110},
    {"%u%% increased Spell Damage", 109},
    {"%u%% increased Rarity of Items found", 28},
    {"Regenerate %u Life per second", 40},
    {"Adds %u to %u Fire Damage to Attacks", 30},
    {"%u%% increased Attack Speed", 16},
    {"+%u%% to Global Critical Strike Multiplier", 38},
    {"%u%% increased Movement Speed", 35},
    {"+%u to Level of all Minion Skill Gems", 2},
    {"Gain %u Life per Enemy Killed", 70},
    {"%u%% increased Stun and Block Recovery", 28},
};
const size_t n_mod_texts = sizeof mod_texts / sizeof mod_texts[0];

const char *const rare_prefixes[] = {
    "Horror", "Victory",   "Morbid", "Kraken", "Doom",   "Gale",     "Empyrean", "Rune",
    "Storm",  "Vengeance", "Dread",  "Beast",  "Corpse", "Hypnotic", "Sol",      "Phoenix"};
const size_t n_rare_prefixes = sizeof rare_prefixes / sizeof rare_prefixes[0];
const char *const rare_suffixes[] = {"Nail", "Locket", "Braid", "Grasp", "Ward",  "Spiral",
                                     "Cord", "Shell",  "Hold",  "Turn",  "Crest", "Song",
                                     "Bite", "Weaver", "Loop",  "Knot"};
const size_t n_rare_suffixes = sizeof rare_suffixes / sizeof rare_suffixes[0];

const char *const broken_notes[] = {
    "~price  chaos",
    "~b/o  chaos",
    "~b/o  exa",
    "~b/o 13..1 chaos",
    "~b/o 13//1 chaos",
    "~b/o 13/123/1 chaos",
    "~b/o 1/0 chaos",
    "~b/o 0/1 chaos",
    "~b/o >10 chaos",
    "~price  poe",
    "~b/o 6",
    "100c",
    "you can find me in game",
    "~b/o 0 chaos",
    "\"best\\offer\"\tpls",
};
const size_t n_broken_notes = sizeof broken_notes / sizeof broken_notes[0];

const char *const hostile_notes[] = {
    "~price 1e400 chaos",
    "~price -5 chaos",
    "~price 99999999999999999999999999 chaos",
    "~price NaN divine",
    "~price 0.0000000000000000000000000001 mirror",
    "~price 1/99999999999999999999 chaos",
    "~b/o 5 \xf0\x9f\x92\xb0",
};
const size_t n_hostile_notes = sizeof hostile_notes / sizeof hostile_notes[0];

const char *const tab_names[] = {"$",
                                 "Sale",
                                 "dump",
                                 "Maps",
                                 "Currency",
                                 "Jewel",
                                 "1",
                                 "2",
                                 "cards",
                                 "\xd0\xa2\xd0\xbe\xd1\x80\xd0\xb3",
                                 "\xe0\xb8\x88\xe0\xb8\xb4\xe0\xb8\xa7",
                                 "quad",
                                 "~skip",
                                 "fast sell",
                                 "MB & friends"};
const size_t n_tab_names = sizeof tab_names / sizeof tab_names[0];
