/* One item of a public stash: taken off its JSON in one pass over the keys, then written as a row.
 * Internal to the psapi source. */
#ifndef SOUK_SOURCES_PSAPI_ITEM_H
#define SOUK_SOURCES_PSAPI_ITEM_H

#include "souk/decode.h"
#include "souk/price_note.h"

#define PSAPI_TEXT_MAX 1024                 /* Names, notes, ids. */
#define PSAPI_EXTRA_MAX ((size_t)256 << 10) /* The JSON of one item's further fields. */
#define PSAPI_ILVL_UNKNOWN UINT16_MAX
#define PSAPI_FRAME_UNKNOWN 255u /* Neither frameType, frameTypeId nor rarity says. */

/* Lists of modifiers in the order in which they are written. */
enum psapi_mods {
    MODS_ENCHANT,
    MODS_IMPLICIT,
    MODS_EXPLICIT,
    MODS_CRAFTED,
    MODS_FRACTURED,
    MODS__N
};

struct psapi_item {
    struct slice id, name, type_line, base_type, rarity, frame_type_id, note, forum_note, league;
    uint32_t ilvl;       /* PSAPI_ILVL_UNKNOWN when it is not sent; 0 is what currency has. */
    uint32_t frame_type; /* 0 to 13, more to come, or PSAPI_FRAME_UNKNOWN. */
    uint32_t stack_size; /* 1 when it is not sent, 0 when it cannot be read. */
    bool identified, corrupted;
    bool offer_lost;           /* Its note, forum note or stack size is there, and unreadable. */
    bool is_stackable;         /* It says how many there are, or can be. */
    yyjson_val *mods[MODS__N]; /* Lists as decode__list walks them, or NULL. */
    uint64_t mods_hash;        /* See item_identity.h. */
    struct slice extra;        /* Of the scratch. */
    struct slice type_id;      /* Of the scratch. */
};

/** Memory that items are taken apart in; one for a page. */
struct psapi_scratch {
    struct buf extra, mod_flags, type_id;
    uint32_t n_fields_lost; /* Of all items so far. */
};
void psapi_scratch__init(struct psapi_scratch *s);
void psapi_scratch__fini(struct psapi_scratch *s);
/** @return true when the last item did not fit for want of memory, not for its size. */
bool psapi_scratch__no_memory(const struct psapi_scratch *s);

/** Reads @json into @out, whose strings are good until @json's document or the next call with @s
 *  goes. Unknown keys are never an error. Only an item that cannot be told from others is refused:
 *  one whose id is no text, that has no name at all, or that claims an impossible number. Any other
 *  field of an unexpected shape is lost, as if it had not been sent, and counted in @s; who
 * compares two versions looks at offer_lost. @return false with @f filled when the item is refused.
 */
bool psapi_item__read(yyjson_val *json, struct psapi_scratch *s, struct psapi_item *out,
                      struct decode_fault *f);

#endif
