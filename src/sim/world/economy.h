/* The simulated market of one realm: accounts, stash tabs, listings that appear, change price,
 * shrink, sell, are hidden and come back, among many changes of tabs that nobody may see. It is a
 * function of the seed and of the sequence of advances alone: no clock, no I/O, no floating-point
 * function whose last bit depends on the machine. */
#ifndef SIM_ECONOMY_H
#define SIM_ECONOMY_H

#include "../wire/sim_buf.h"
#include "catalogue.h"

enum { ECONOMY_LEAGUES_MAX = 16, STASH_ITEMS_MAX = 144, ECONOMY_NOTE_MAX = 96 };

/** How an item's note reads. */
enum note_form { NOTE_NONE, NOTE_PRICE, NOTE_BO, NOTE_SKIP, NOTE_BROKEN };

struct price {
    uint8_t form;        /* enum note_form. */
    uint8_t currency;    /* Of note_currencies[]. */
    uint8_t style;       /* Which spelling; which broken note. */
    uint16_t lot;        /* More than 1: a fraction amount/lot. */
    uint32_t hundredths; /* The amount times 100. */
};
struct item {
    uint64_t serial; /* Its id, name, level and modifiers follow from it. */
    uint16_t base;   /* Of catalogue[]. */
    uint16_t stack;
    uint8_t cell; /* x * 12 + y. */
    struct price price;
};
struct stash {
    uint64_t serial;
    uint32_t account;
    uint8_t league, type, name;
    bool is_public, stays_empty;
    bool is_dump; /* Few of its items get a price of their own. */
    uint16_t n_items, cap;
    uint32_t changed_in;    /* The number of the advance that last changed it. */
    struct price tab_price; /* NOTE_NONE: the tab has a plain name. */
    struct item *items;
};
/** One entry of a page: a tab of @stashes, or a tombstone of one that was never public. */
struct change {
    bool is_private;
    uint32_t index;
};
struct economy {
    uint64_t seed;
    struct rng rng;
    struct span leagues[ECONOMY_LEAGUES_MAX]; /* Owned text. */
    size_t n_leagues;
    struct stash *stashes;
    uint32_t n_stashes, n_accounts;
    uint32_t *private_changed_in; /* By private tab. */
    double *levels;               /* Of each base: today's price over its first. */
    double *rates;                /* Of each note currency, chaos. */
    uint64_t next_serial;
    uint32_t n_advances;
    struct change *changes; /* Of the last advance. */
    size_t n_changes, changes_cap;
};

/** @return an economy in its first state. @leagues: 1 to 14 names, copied; two private leagues join
 * them. */
struct economy *economy__new(uint64_t seed, const struct span *leagues, size_t n_leagues);
void economy__free(struct economy *e);
/** Let @n things happen, each to another tab, and list them in @changes. At most half of the tabs.
 */
void economy__advance(struct economy *e, size_t n);
/** Append the JSON array of the stashes that the last advance changed, as the vendor shows them
 * now. The first
 *  @n_hostile priced items get an id that starts with "bad0bad0" and a price that no reader should
 * take. */
void economy__render(const struct economy *e, unsigned n_hostile, struct buf *out);
/** Write the note that @p makes to @out (NUL-terminated; empty for NOTE_NONE). @return its length.
 */
size_t economy__note(const struct price *p, char out[ECONOMY_NOTE_MAX]);
/** Every item whose id starts with this was made hostile on purpose: a reader may refuse it. */
#define HOSTILE_ID_PREFIX "bad0bad0"

/* item_json.c */
/** Append one item as JSON. @hostile is an index of hostile_notes[] or -1. */
void item__render(const struct economy *e, const struct stash *s, const struct item *it,
                  int hostile, struct buf *out);
/** Append the 64 hex digits of an id. @kind keeps stashes, private tabs and items apart. */
void id__render(uint64_t seed, char kind, uint64_t serial, struct buf *out);

#endif
