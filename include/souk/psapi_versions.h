/* A page of public stashes as the tape wants it: one version a stash, in the order of the page.
 *
 * What cannot be read is not gone. An item that breaks a rule is handed on as unread when its id
 * can be read; when not, its stash is partial, and so is a stash that is twice in the page, as
 * nothing says which version is the later one. A stash that breaks a rule itself, or is beyond the
 * bound of a page, is not handed on: nothing is known of it. An unlisting beside another version of
 * its stash neither.
 *
 * What competes with what (item_key) and what is alike (fingerprint): vendors/ggg/item_identity.h.
 *
 * Pure; it blocks for a page's decoding. */
#ifndef SOUK_PSAPI_VERSIONS_H
#define SOUK_PSAPI_VERSIONS_H

#include "souk/source.h"
#include "souk/tape.h"

/** Told one version, borrowed for the call. @return 0, or an error that ends the page. */
typedef int (*psapi_version_cb)(void *ctx, const struct tape_version *version);

struct psapi_versions_count {
    uint64_t n_stashes, n_items;                 /* Handed on, tombstones included. */
    uint64_t n_refused_stashes, n_refused_items; /* Broke a rule, or beyond the bound of a page:
                                                  not known, which is not gone. */
};

/** Hands the stashes of @page, a page of psapi, to @cb; @caught_up is passed on. Adds to @count.
 *  @return 0; ERR_MALFORMED with nothing handed on when it is no page of psapi; ERR_NOMEM; or what
 *  @cb returned. */
int psapi_versions__each(const struct page *page, bool caught_up, psapi_version_cb cb, void *ctx,
                         struct psapi_versions_count *count, struct err *e);

#endif
