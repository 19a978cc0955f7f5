/* The tape: what every public stash held last, which turns the versions of a stash into what
 * happened to its items.
 *
 * The river sends a stash whole whenever anything in it changes. Beside its last version, a new one
 * says which items were listed, repriced, restacked and delisted. Why an item went is a guess with
 * a weight: the classes of removal below, each with the probability that it was a sale. A guess may
 * be taken back: an item that turns up in another stash was moved, an equal one of the same
 * seller was listed again, and both events name the listing whose sale they retract.
 *
 * Everything is a function of the versions in their order and the times that come with them, so the
 * same log makes the same events. One thread at a time; no I/O but the tape's own snapshot.
 *
 * Memory is bounded: TAPE_ITEM_BYTES an item, TAPE_STASH_BYTES and the seller's name a stash, and
 * fixed tables for recent removals, recent additions and asks. At the bound the stashes that were
 * not seen for the longest are forgotten and counted; what they held is then new when it is seen
 * again, and never counts as sold.
 *
 * What is not known is not gone. An item that could not be read, one that a partial version does
 * not hold, all of a stash with an item without an id: they stay as they were, without an event,
 * until a version says what became of them; what that says then lies between it and the last
 * version that said everything. A version that could not be read leaves its stash as it was. Held
 * items count against the 65,535 of a stash: a version that would exceed them is refused.
 *
 * Names are bounded too. A currency is a word of souk/currency.h; any other is no price. A league
 * is known while a stash is in it. There are 16,384 at most: when a new one comes, the 1,024
 * smallest are forgotten with their stashes, private ones first, so that it always finds a place.
 *
 * Items are known by their id, 64 hexadecimal digits; items without one (pages of 2016 and older)
 * cannot be followed and are counted. */
#ifndef SOUK_TAPE_H
#define SOUK_TAPE_H

#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/slice.h"

/* Bytes of memory of an item; of a stash, its place in the index and malloc's share apart. */
#define TAPE_ITEM_BYTES 72
#define TAPE_STASH_BYTES 88
#define TAPE_ID_BYTES 32 /* Of an id of 64 digits. */

enum tape_kind {
    TAPE_LISTED,   /* Not in the stash before. */
    TAPE_REPRICED, /* The price, or how it is asked, changed. */
    TAPE_RESTACKED,
    TAPE_DELISTED,
    TAPE_MOVED, /* The same item, seen in another stash within an hour: the listing goes on. */
    /* An equal item of the same seller within a day of a removal, unless the seller had more of
     * them on sale when it went: a shop's next one says nothing of the last. */
    TAPE_RELISTED,
};

/* Why an item went, and the probability that it was sold. The classes and weights follow what is
 * published on inferring sales from the river (qcksys, poe-goblin), reduced to what a diff shows.
 */
enum tape_removal {
    TAPE_NOT_REMOVED,
    TAPE_SOLD_NEAR, /* One or two priced items went, asked within 25 % of the market: 0.85. */
    TAPE_SOLD_OFF,  /* The same, asked outside of it, or the market is not known: 0.35. */
    TAPE_UNPRICED,  /* It had no price, and was not one of a bulk: 0. */
    TAPE_FEW,       /* Three or more priced items at once, and less than a bulk: 0.35. */
    /* Five at once or more, and at least a quarter of the tab, which is how people clear it: 0.10.
     */
    TAPE_BULK,
    TAPE_UNLISTED,    /* The stash is not public any more: 0. */
    TAPE_MOVED_AWAY,  /* It was seen in another stash before: 0. */
    TAPE_CATCHING_UP, /* The stream was not at its end for an hour: unusable, 0. */
    TAPE_PART,        /* A smaller stack: 0.5 times the share that went. */
};

/** One item of a version. Everything is borrowed for the call. */
struct tape_item {
    struct slice id; /* 64 hexadecimal digits, or it cannot be followed. */
    /* It is there, and no more is known of it: the rest is not looked at, and what was known of it
     * stays as it was. */
    bool unread;
    uint16_t key_version; /* Of the rule that made item_key and fingerprint; passed on. */
    uint64_t item_key;    /* What it is on the market: equal for items that compete. */
    /* Equal for items that a buyer could not tell apart; 0 for goods of which a seller has many
     * alike, as stacks of currency: one more of them says nothing about the one that went. */
    uint64_t fingerprint;
    uint64_t ask;          /* Equal when the same is asked in the same way, in the same lots. */
    struct slice currency; /* A word of souk/currency.h; "" when it is not priced. */
    int64_t price_e6;      /* Of one item, in millionths of the currency; 0 when not priced. */
    uint32_t stack_size;   /* 1 at least. */
};

/** One version of a stash. */
struct tape_version {
    struct slice realm, stash_id; /* stash_id: 64 hexadecimal digits. */
    /* There was a version, and no more is known of it: the rest is not looked at, the stash stays
     * as it was, and the end of the stream says nothing of it until its next version. */
    bool unread;
    bool is_public; /* false: a tombstone; what follows is then not looked at. */
    bool partial;   /* It may hold more than @items: what is not among them stays. */
    struct slice league, seller;
    const struct tape_item *items;
    size_t n_items;
    int64_t wall_ns; /* When its page was received. */
    bool caught_up;  /* tape__page's answer. */
};

/** What happened to one item. Slices are borrowed for the call. */
struct tape_event {
    enum tape_kind kind;
    enum tape_removal removal;
    double sold_probability; /* 0 but for removals and smaller stacks. */
    char listing_id[65], stash_id[65];
    char retracts[65]; /* MOVED, RELISTED: the listing whose removal was none; else "". */
    struct slice realm, league, seller, currency;
    uint64_t item_key, fingerprint;
    uint16_t key_version;              /* Of both; 1 for what an older snapshot remembered. */
    int64_t price_e6, price_before_e6; /* Before: REPRICED only. */
    uint32_t stack_size, stack_before; /* Before: RESTACKED only. */
    int64_t listed_wall_ns;            /* When the listing was first seen. */
    /* It happened after from (0: not known) and not after to. From is when the stash was last
     * known: its own last version, or a later end of the stream. The river itself is 5 minutes
     * late. */
    int64_t from_wall_ns, to_wall_ns;
};
typedef void (*tape_event_cb)(void *ctx, const struct tape_event *event);

struct tape_options {
    size_t memory_max;    /* Bytes of everything but the scratch of one version. 0: 1 GiB. */
    uint32_t recent_max;  /* Removals that can be taken back, and additions. 0: 1 Mi. */
    uint32_t markets_max; /* Markets whose asks are known. 0: 64 Ki. */
};

struct tape_status {
    uint64_t n_stashes, n_items, bytes, memory_max;
    uint64_t n_versions, n_events, n_untracked; /* Items without an id, since the start. */
    uint64_t n_forgotten_stashes, n_forgotten_items;
    uint64_t n_partial; /* Versions that did not say everything of their stash. */
    uint64_t n_held;    /* Items that such a version did not speak of, kept as they were. */
    uint64_t n_lost;    /* Times that pages of a stream were lost or skipped. */
    uint64_t n_leagues; /* That its stashes are in. */
    uint64_t n_forgotten_leagues;
    /* Versions whose seller has more stashes or items than are compared, 16,384: what went counts
     * as a shop's, and takes no sale back by being equal. */
    uint64_t n_crowded;
    uint64_t n_unnamed; /* Currencies that nobody knows, leagues that are no text of 128 bytes. */
};

struct tape;

/** @return 0 with an empty tape in @out, owned by the caller; ERR_NOMEM. */
int tape__new(struct tape **out, const struct tape_options *options);
void tape__free(struct tape *t);
/** A page of @realm was received at @wall_ns; @at_end: it had no stashes, so that everything before
 *  it has been seen. To be called once a page, before its versions.
 *  @return whether removals count from here: the stream's pages came without a gap of five minutes,
 *  and its end was met at least every five minutes, for an hour. */
bool tape__page(struct tape *t, struct slice realm, int64_t wall_ns, bool at_end);
/** The page to come leads from the cursor @from to @to. When @from is not where the page before
 * led, pages between them are lost, as by tape__lost; whatever the reason, as a damaged log, a
 * skipped record or a snapshot that the log does not go on from. To be called before tape__page. */
void tape__follows(struct tape *t, struct slice realm, struct slice from, struct slice to);
/** Pages of @realm are lost, or somebody moved its stream, so that versions may come again that are
 *  older than what is known. What the stashes held meanwhile is not known: removals count again
 *  after an hour of coverage, those of a stash not before a second version since. */
void tape__lost(struct tape *t, struct slice realm, int64_t wall_ns);
/** Takes one version in and tells @cb what happened, items in the order of their ids: what went,
 *  changed and came. @return 0; ERR_MALFORMED for a stash without an id; ERR_LIMIT for more than
 *  65,535 items, held ones included; ERR_NOMEM with the stash forgotten. */
int tape__version(struct tape *t, const struct tape_version *v, tape_event_cb cb, void *ctx,
                  struct err *e);
void tape__status(const struct tape *t, struct tape_status *out);

/** Writes everything to @path through a file beside it, synced and renamed, with @lsn, the position
 *  behind the last page taken in. Blocks. @return 0, or ERR_IO with @e filled. */
int tape__save(const struct tape *t, const char *path, uint64_t lsn, struct err *e);
/** Reads @lsn from the head of the snapshot at @path, no more: the rest may be damaged. @return 0;
 *  ERR_IO (also when there is none); ERR_CORRUPT. */
int tape__peek(const char *path, uint64_t *lsn, struct err *e);
/** Fills @t, which is empty, from @path. @return 0 with @lsn; ERR_IO (also when there is none);
 *  ERR_CORRUPT for a file that is damaged or of another version, with @t empty again. */
int tape__load(struct tape *t, const char *path, uint64_t *lsn, struct err *e);

#endif
