/* A page of public stashes as the tape wants it: one version a stash, in the order of the page.
 *
 * An item that breaks a rule is left out of its stash, as it is refused alone when rows are made;
 * so is a stash. What competes with what (item_key) and what is alike (fingerprint) is decided
 * here:
 *
 * - item_key is xxh3-64 of the base type, the name, the frame type, and what a buyer of that kind
 *   asks for first: level, quality and corruption of gems; all modifiers of identified magic and
 *   rare items, which so compete with their likes only.
 * - fingerprint adds item level, corruption, identification and all modifiers; it is 0 for what
 *   comes in stacks, of which a seller has many alike.
 *
 * Both are the same on any machine. Pure; it blocks for a page's decoding. */
#ifndef SOUK_PSAPI_VERSIONS_H
#define SOUK_PSAPI_VERSIONS_H

#include "souk/source.h"
#include "souk/tape.h"

/** Told one version, borrowed for the call. @return 0, or an error that ends the page. */
typedef int (*psapi_version_cb)(void *ctx, const struct tape_version *version);

struct psapi_versions_count {
    uint64_t n_stashes, n_items;                 /* Handed on, tombstones included. */
    uint64_t n_refused_stashes, n_refused_items; /* Broke a rule, or beyond the bound of a page. */
};

/** Hands the stashes of @page, a page of psapi, to @cb; @caught_up is passed on. Adds to @count.
 *  @return 0; ERR_MALFORMED with nothing handed on when it is no page of psapi; ERR_NOMEM; or what
 *  @cb returned. */
int psapi_versions__each(const struct page *page, bool caught_up, psapi_version_cb cb, void *ctx,
                         struct psapi_versions_count *count, struct err *e);

#endif
