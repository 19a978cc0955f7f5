/* What the files of this room share. */
#ifndef SOUK_TAPE_INTERNAL_H
#define SOUK_TAPE_INTERNAL_H

#include "souk/core/map.h"
#include "souk/currency.h"
#include "souk/tape.h"
#include <assert.h>

#define NS_PER_HOUR (3600 * NS_PER_S)
#define MOVED_S 3600u     /* Within which an item elsewhere was moved, */
#define RELISTED_S 86400u /* and an equal one was listed again. */
#define ASK_S 86400u      /* How long an ask counts. */
#define GAP_NS (300 * NS_PER_S)
#define REALMS_MAX 8
/* Private ones, as "Ours (PL12345)", come by the thousand and are anybody's to make. */
#define LEAGUES_MAX 16384u
#define LEAGUE_NAME_MAX 128u /* Bytes. */
#define SELLER_MAX 64u       /* Bytes kept of a seller's name. */
#define ITEMS_MAX 65535u     /* Of a stash. */
#define ALIKE_MAX 16384u     /* Items, and stashes, of a seller that are compared. */

/** An item as it is kept. Times are seconds since 1970: half of the size, and exact enough for what
 * is known to minutes. */
struct item {
    unsigned char id[TAPE_ID_BYTES];
    uint64_t item_key, fingerprint;
    int64_t price_e6;
    uint32_t stack_size, listed_s;
    uint32_t ask;      /* Half of what the version says. */
    uint16_t currency; /* A number of souk/currency.h. */
    /* 0 is 1, of a snapshot that did not have it. With the bit TAPE_HELD: the last version did not
     * say what it is, and it is as it was before. TAPE_UNREAD: nothing but the id was ever known.
     */
    uint16_t key_version;
};
#define TAPE_HELD 0x8000u
#define TAPE_UNREAD UINT16_MAX
_Static_assert(sizeof(struct item) == TAPE_ITEM_BYTES, "as the header says");

struct stash {
    unsigned char id[TAPE_ID_BYTES];
    struct stash *older, *newer;  /* By when it was last seen. */
    struct stash *before, *after; /* In the chain of its seller's hash. */
    uint64_t seller_hash;
    int64_t seen_wall_ns; /* Of the last version that said everything; 0: there was none. */
    uint32_t n_items;
    uint16_t league; /* In leagues. */
    uint8_t partial; /* The last version did not say everything. */
    uint8_t seller_len;
    /* Its items, ascending by id, then the seller's name. */
    _Alignas(8) unsigned char tail[];
};
_Static_assert(sizeof(struct stash) == TAPE_STASH_BYTES, "as the header says");

static inline struct item *stash__items(struct stash *s) { return (struct item *)s->tail; }
static inline const char *stash__seller(const struct stash *s) {
    return (const char *)s->tail + (size_t)s->n_items * sizeof(struct item);
}
static inline size_t stash__bytes(uint32_t n_items, size_t seller_len) {
    return sizeof(struct stash) + (size_t)n_items * sizeof(struct item) + seller_len;
}

/** A removal that may be taken back. */
struct removal {
    unsigned char id[TAPE_ID_BYTES], stash_id[TAPE_ID_BYTES];
    uint64_t equal;                     /* Of seller and fingerprint. */
    uint32_t gone_s, listed_s;          /* gone_s 0: free. */
    uint32_t next_by_id, next_by_equal; /* In its chains; index + 1. */
};
/** An item that came lately, for one that is then seen to leave elsewhere. */
struct addition {
    uint64_t id_hash, stash_hash;
    uint32_t came_s, next; /* In its chain; index + 1. */
};
/** The last of each, oldest overwritten first, found by hash. */
struct recent {
    uint32_t n_max, mask;
    struct removal *removals;   /* Owned; a ring. */
    uint32_t *by_id, *by_equal; /* Owned; heads of chains, index + 1. */
    struct addition *additions; /* Owned; a ring. */
    uint32_t *by_addition;
    uint32_t removal_at, addition_at;
};

#define ASKS_MAX 8
/** The last asks for one item in one league and currency, of different sellers. */
struct market {
    uint64_t key; /* 0: free. */
    struct {
        uint64_t seller_hash;
        int64_t price_e6;
        uint32_t s;
    } asks[ASKS_MAX];
};
struct markets {
    struct market *slots; /* Owned; a table of buckets of 4, the stalest overwritten. */
    uint32_t n_buckets;   /* A power of two. */
};

/** A league that a stash is in. */
struct league {
    char *name; /* Owned; NULL: free. */
    uint64_t hash;
    uint32_t n_stashes;
    uint16_t next_free; /* 0: none. */
    bool is_private;
};

struct coverage {
    char realm[8];
    uint32_t cursor_hash;                        /* Of where the last page led; 0: not known. */
    uint32_t lost_s;                             /* When pages were lost last; 0: never. */
    int64_t last_page_ns, last_end_ns, since_ns; /* since 0: not covered. */
};

struct tape {
    struct tape_options options;
    struct stash **index; /* Owned; open addressing, a power of two. */
    size_t index_cap, n_stashes;
    struct stash **sellers; /* Owned; as many heads of chains as the index has places. */
    struct stash *oldest, *newest;
    size_t n_items, stash_bytes;
    struct league *leagues; /* Owned; LEAGUES_MAX. 0 is "". */
    uint16_t free_league;
    struct map leagues_by_name;
    size_t league_bytes;
    struct coverage realms[REALMS_MAX];
    size_t n_realms;
    struct recent recent;
    struct markets markets;
    struct item *scratch; /* Owned; the new version's items. */
    uint64_t *alike;      /* Owned; ALIKE_MAX, of the version's seller. */
    size_t scratch_cap;
    uint64_t n_versions, n_events, n_untracked, n_forgotten_stashes, n_forgotten_items;
    uint64_t n_partial, n_held, n_lost, n_forgotten_leagues, n_unnamed, n_crowded;
};

/** Reads 64 hexadecimal digits. @return false when @s is anything else. */
bool tape_id__read(struct slice s, unsigned char *id);
void tape_id__write(const unsigned char *id, char out[65]);
uint64_t tape__hash(const void *bytes, size_t len);

/* stashes.c: the index and the order of age. */
int stashes__init(struct tape *t);
void stashes__fini(struct tape *t);
struct stash *stashes__find(const struct tape *t, const unsigned char *id);
/** Puts @s, allocated with stash__bytes, in the place of @old (may be NULL), which is freed, as the
 *  newest. @return 0 or ERR_NOMEM with both as they were. */
int stashes__put(struct tape *t, struct stash *s, struct stash *old);
void stashes__remove(struct tape *t, struct stash *s);
/** Fills t->alike with the fingerprints of what @seller_hash has in public stashes, ascending, in
 *  @n. @return false when there are more items or stashes than ALIKE_MAX. */
bool stashes__alike(struct tape *t, uint64_t seller_hash, size_t *n);
/** Forgets the oldest until everything fits. */
void stashes__make_room(struct tape *t);
size_t tape__bytes(const struct tape *t);

/* leagues.c */
int leagues__init(struct tape *t);
void leagues__fini(struct tape *t);
size_t leagues__bytes(const struct tape *t);
/** @return the number of @name, with a place for it if it has none: when all are taken, the
 * smallest leagues are forgotten with their stashes, private ones first, so that pointers to
 * stashes do not outlive the call. 0 for "", and, counted, when it is too long, has a zero byte, or
 * there is no memory. */
uint16_t leagues__number(struct tape *t, struct slice name);
static inline struct slice leagues__name(const struct tape *t, uint16_t number) {
    return slice__str(t->leagues[number].name);
}
/** Stash by stash. Without any a league is forgotten. */
void leagues__enter(struct tape *t, uint16_t number);
void leagues__leave(struct tape *t, uint16_t number);
/** After leagues__number: forgets it when no stash came. */
void leagues__tidy(struct tape *t, uint16_t number);

/* recent.c */
int recent__init(struct recent *r, uint32_t n_max);
void recent__fini(struct recent *r);
size_t recent__bytes(const struct recent *r);
void recent__add_removal(struct recent *r, const struct removal *gone);
/** @return the removal of @id not before @since_s, or NULL. */
struct removal *recent__by_id(struct recent *r, const unsigned char *id, uint32_t since_s);
/** @return the latest removal of an equal item not before @since_s, or NULL. */
struct removal *recent__by_equal(struct recent *r, uint64_t equal, uint32_t since_s);
/** It was taken back: it is found no more. */
void recent__forget(struct removal *gone);
void recent__add_addition(struct recent *r, uint64_t id_hash, uint64_t stash_hash, uint32_t came_s);
/** @return whether the item came to a stash other than @stash_hash not before @since_s. */
bool recent__came_elsewhere(const struct recent *r, uint64_t id_hash, uint64_t stash_hash,
                            uint32_t since_s);

/* markets.c */
int markets__init(struct markets *m, uint32_t n_max);
void markets__fini(struct markets *m);
size_t markets__bytes(const struct markets *m);
/** The same in every build: of what @league and @currency mean, not of their numbers. */
uint64_t markets__key(const struct league *league, uint64_t item_key, uint16_t currency);
void markets__ask(struct markets *m, uint64_t key, uint64_t seller_hash, int64_t price_e6,
                  uint32_t s);
/** @return the median of what at least three other sellers asked in the last day, or 0. */
int64_t markets__median(const struct markets *m, uint64_t key, uint64_t seller_hash, uint32_t s);

#endif
