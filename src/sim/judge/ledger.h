/* What the simulator really said, and what was done wrong to it: two append-only files in the state
 * folder.
 *
 * ledger.tsv, one line a row, fields escaped as ClickHouse's TabSeparated does:
 *   psapi       realm cursor next_cursor stash_id ordinal item_id note-or-tab-name
 *   psapi-page  realm cursor next_cursor n_stashes n_items xxh3-64 of the body (hex)
 *   ninja       league type xxh3-128 of the body (hex) detailsId value-as-printed
 *   exchange    realm hour league market_id
 *   trade       remote cursor trade_id, or: resource name-of-the-resource entry-id
 *   account     tab_id item_id xxh3-128 of the body (hex)
 *   league      realm league xxh3-128 of the body (hex)
 *   enrichment  source key
 *   body        kind a b xxh3-128 n_rows: completes the rows of the five kinds before it
 * The cursor is the one that a client asks with: empty for the oldest page, which is asked without
 * an id. The rows of a page come before its page line, which completes them. A page is written
 * once, at its first service in full; a ninja body once for each (league, type, hash). Lines are
 * handed to the system with the page that they are of, so that killing the simulator leaves no page
 * out that a client may hold. violations.jsonl: one JSON object a breach: time, path, policy,
 * window, hits. */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include <stdio.h>

#include "../wire/sim_buf.h"

enum { LEDGER_FLUSH_MS = 100 };

/** What a body of the sources without pages or overviews holds; @a and @b of ledger__add_body. */
enum ledger_kind {
    LEDGER_EXCHANGE, /* a: realm, b: hour. Once for each (a, b). */
    LEDGER_TRADES,   /* a: cursor. Once for each. */
    LEDGER_RESOURCE, /* a: its name. This and the rest: once for each content. */
    LEDGER_ACCOUNT,  /* a: tab id. Items and what is in their sockets. */
    LEDGER_LEAGUES,  /* a: realm. */
    LEDGER_POEDB,    /* a: the page's name. Rows are the names in its first column. */
    LEDGER_WIKI,     /* a: the table's name. Rows are the ids of its mods. */
    LEDGER_KINDS
};

/** Hashes of what is written already. */
struct hash_set {
    uint64_t *at; /* 0 marks a free place. */
    size_t n, cap;
};
/** Add @h. @return whether it is new. */
bool hash_set__add(struct hash_set *s, uint64_t h);
bool hash_set__has(const struct hash_set *s, uint64_t h);
void hash_set__fini(struct hash_set *s);

struct ledger {
    FILE *file, *violations; /* NULL without a state folder: counted only. */
    struct buf lines;        /* Written at the next flush. */
    struct hash_set written;
    bool failed; /* A write failed: the ledger has a hole and proves nothing any more. */
    uint64_t n_pages, n_rows, n_ninja_bodies, n_ninja_rows, n_violations;
    uint64_t n_bodies, n_body_rows; /* Of ledger__add_body. */
};

/** Open both files in @dir (NULL keeps none). What a kill left half written at the end is cut off.
 * @return 0 or -1. */
int ledger__init(struct ledger *l, const char *dir, struct sim_err *e);
/** Flush and close. */
void ledger__fini(struct ledger *l);
/** Write the rows of a page that was served in full, unless it was before. The rows are read from
 * the body itself. */
void ledger__add_page(struct ledger *l, const char *realm, const char *cursor, const char *next,
                      const struct body *body);
/** The same for an overview of poe.ninja: its lines by detailsId. Lines of the exchange form have
 * an id only; the item of that id has the detailsId, or else the id stands for it. */
void ledger__add_ninja(struct ledger *l, const char *league, const char *type,
                       const struct body *body);
/** The same for a body of the other sources; what @a and @b are is said at enum ledger_kind. */
void ledger__add_body(struct ledger *l, enum ledger_kind kind, const char *a, const char *b,
                      const struct body *body);
struct yyjson_val;
/** Append what the ledger calls an entry of a list of the trade site: its id, or of items, which
 * have none, what is shown of them. */
void ledger__entry_name(struct yyjson_val *entry, struct buf *out);
/** @return the key under which a body is remembered as written. */
uint64_t ledger__body_key(struct span kind, struct span a, struct span b, struct span hash);
extern const char *const ledger_kind_names[LEDGER_KINDS];
/** Write a violation at once. @window is e.g. "2:1:60". */
void ledger__add_violation(struct ledger *l, int64_t wall_ns, const char *path, const char *policy,
                           const char *window, int64_t hits, bool while_restricted);
/** Hand buffered lines to the system. @return 0, or -1 when the disk did not take them, now or ever
 * before. */
int ledger__flush(struct ledger *l, struct sim_err *e);

#endif
