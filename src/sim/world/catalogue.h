/* What the simulated market trades: base items with a first price, words for names, modifier texts.
 * Data only. */
#ifndef SIM_CATALOGUE_H
#define SIM_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum item_kind {
    ITEM_CURRENCY,
    ITEM_CARD,
    ITEM_FRAGMENT,
    ITEM_MAP,
    ITEM_GEM,
    ITEM_UNIQUE,
    ITEM_RARE,
    ITEM_MAGIC,
    ITEM_NORMAL
};

struct catalogue_item {
    const char *name;      /* Of uniques; empty otherwise. */
    const char *type_line; /* For gear also the base type. */
    const char *ninja_id;  /* Slug. */
    const char *category, *subcategory;
    enum item_kind kind;
    double chaos; /* A usual price at the start. */
    unsigned stack_max, w, h;
};
extern const struct catalogue_item catalogue[];
extern const size_t n_catalogue;

/** The words that notes use, with the spelling of old tabs where there is one, and a usual worth in
 * chaos. */
struct note_currency {
    const char *word, *old_word;
    double chaos;
};
extern const struct note_currency note_currencies[];
extern const size_t n_note_currencies;
enum { NOTE_CHAOS, NOTE_DIVINE, NOTE_EXALTED }; /* The first three of note_currencies[]. */

/** Modifier texts with one or two %u to fill with numbers up to @max. */
struct mod_text {
    const char *fmt;
    unsigned max;
};
extern const struct mod_text mod_texts[];
extern const size_t n_mod_texts;

extern const char *const rare_prefixes[], *const rare_suffixes[];
extern const size_t n_rare_prefixes, n_rare_suffixes;
/** Notes and tab names that look like prices and are none. */
extern const char *const broken_notes[];
extern const size_t n_broken_notes;
/** Notes whose amount no careful reader takes; used by the bad_price fault only. */
extern const char *const hostile_notes[];
extern const size_t n_hostile_notes;
extern const char *const tab_names[];
extern const size_t n_tab_names;

#endif
