/* From a page's JSON to versions of stashes. The happy path: envelope, stash, its items, their
 * prices; then the callback. What can fail is counted and said to be unknown, as it is not gone: an
 * item with its id, a stash whose items have none to be known by, a stash that is not handed on. */
#include "souk/psapi_versions.h"
#include "item_identity.h"
#include "psapi_stash.h"
#include <assert.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct walk {
    const struct page *page;
    bool caught_up;
    psapi_version_cb cb;
    void *ctx;
    struct psapi_versions_count *count;
    struct psapi_scratch scratch;
    struct tape_item *items; /* Owned; of one stash. */
    size_t cap;
    uint64_t n_items; /* Of the page. */
    /* Hashes of the ids of the page's stashes, and those that are there twice. Owned. */
    uint64_t *seen;
    bool *is_twice;
    size_t seen_mask;
};

/* Which of two versions in one page is the later one is not said, so neither tells what went. A
 * table of at most two thirds; a page of 16 MiB has no more than some million stashes. */
static bool note_stashes(struct walk *w, yyjson_val *stashes) {
    size_t i, n, cap = 16, n_stashes = yyjson_arr_size(stashes);
    yyjson_val *stash;
    while (cap < n_stashes + n_stashes / 2) cap *= 2;
    w->seen = calloc(cap, sizeof *w->seen);
    w->is_twice = calloc(cap, sizeof *w->is_twice);
    w->seen_mask = cap - 1;
    if (w->seen == NULL || w->is_twice == NULL) return false;
    yyjson_arr_foreach(stashes, i, n, stash) {
        yyjson_val *id = yyjson_obj_getn(stash, "id", 2);
        if (!yyjson_is_str(id)) continue;
        uint64_t hash = XXH3_64bits(yyjson_get_str(id), yyjson_get_len(id)) | 1;
        size_t at = hash & w->seen_mask;
        while (w->seen[at] != 0 && w->seen[at] != hash) at = (at + 1) & w->seen_mask;
        w->is_twice[at] = w->seen[at] == hash;
        w->seen[at] = hash;
    }
    return true;
}

static bool is_twice(const struct walk *w, struct slice id) {
    if (id.len == 0) return false;
    uint64_t hash = XXH3_64bits(id.base, id.len) | 1;
    size_t at = hash & w->seen_mask;
    while (w->seen[at] != 0 && w->seen[at] != hash) at = (at + 1) & w->seen_mask;
    return w->is_twice[at];
}

static void note_unread(struct walk *w, yyjson_val *json, struct tape_version *v) {
    yyjson_val *id = yyjson_obj_getn(json, "id", 2);
    w->count->n_refused_items++;
    if (yyjson_is_str(id))
        w->items[v->n_items++] = (struct tape_item){.id = decode__slice(id), .unread = true};
    else v->partial = true;
}

static void hash_text(XXH3_state_t *h, struct slice s) {
    uint64_t len = s.len; /* In front, so that no two lists of texts read alike. */
    XXH3_64bits_update(h, &len, sizeof len);
    if (s.len > 0) XXH3_64bits_update(h, s.base, s.len);
}

static void hash_u64(XXH3_state_t *h, uint64_t v) { XXH3_64bits_update(h, &v, sizeof v); }

/* What is asked, and how: fixed or negotiable, in which lots. Not who says so, nor the words behind
 * it: the same price on a renamed tab is the same price. */
static uint64_t hash_ask(const struct price *price) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_64bits_reset(&h);
    hash_text(&h, price->kind);
    hash_text(&h, price->currency);
    hash_u64(&h, (uint64_t)price->total);
    hash_u64(&h, (uint64_t)price->lot);
    return XXH3_64bits_digest(&h);
}

/* @return false without memory; an item that breaks a rule is counted, and true. */
static bool walk_item(struct walk *w, const struct psapi_stash *stash, yyjson_val *json,
                      struct tape_version *v) {
    struct psapi_item item;
    struct decode_fault fault = {.kind = DECODE_FINE};
    struct price price;
    enum price_source source;
    if (!psapi_item__read(json, &w->scratch, &item, &fault)) {
        if (psapi_scratch__no_memory(&w->scratch)) return false;
        note_unread(w, json, v);
        return true;
    }
    enum price_verdict verdict = psapi_stash__price(stash, &item, &price, &source);
    /* Half of what is asked for would look like another price, or like a sale of part of it. */
    if (item.offer_lost || (stash->name_lost && verdict != PRICE_GOOD)) {
        note_unread(w, json, v);
        return true;
    }
    struct tape_item *out = &w->items[v->n_items++];
    *out = (struct tape_item){.id = item.id, .stack_size = item.stack_size};
    if (out->stack_size == 0) out->stack_size = 1; /* As it was sent: it is there. */
    if (verdict == PRICE_GOOD) {
        out->currency = price.currency;
        out->price_e6 = price.unit;
        out->ask = hash_ask(&price);
    }
    const struct item_identity identity = item_identity__of(&item, json);
    out->item_key = identity.key;
    out->fingerprint = identity.fingerprint;
    out->key_version = ITEM_IDENTITY_VERSION;
    if (v->league.len == 0) v->league = item.league;
    return true;
}

static bool make_room(struct walk *w, size_t n) {
    if (n <= w->cap) return true;
    struct tape_item *grown = realloc(w->items, n * sizeof *grown);
    if (grown == NULL) return false;
    w->items = grown;
    w->cap = n;
    return true;
}

static int refuse_stash(struct walk *w, yyjson_val *json) {
    yyjson_val *id = yyjson_obj_getn(json, "id", 2);
    w->count->n_refused_stashes++;
    if (!yyjson_is_str(id)) return 0;
    const struct tape_version v = {.realm = slice__str(w->page->stream->realm),
                                   .stash_id = decode__slice(id),
                                   .unread = true,
                                   .wall_ns = w->page->received_wall_ns,
                                   .caught_up = w->caught_up};
    return w->cb(w->ctx, &v);
}

static int walk_stash(struct walk *w, yyjson_val *json) {
    struct psapi_stash stash;
    struct decode_fault fault = {.kind = DECODE_FINE};
    if (!psapi_stash__read(json, &stash, &fault)) return refuse_stash(w, json);
    struct tape_version v = {.realm = slice__str(w->page->stream->realm),
                             .stash_id = stash.id,
                             .is_public = stash.listed,
                             .league = stash.league,
                             .seller = stash.seller,
                             .wall_ns = w->page->received_wall_ns,
                             .caught_up = w->caught_up};
    bool twice = is_twice(w, stash.id);
    size_t i, n = stash.listed ? yyjson_arr_size(stash.items) : 0;
    yyjson_val *item;
    v.partial = twice;
    /* Half a stash would look like a withdrawal, and so would one whose unlisting may be the older
     * of its two versions. */
    if (w->n_items + n > PSAPI_ITEMS_MAX || (twice && !stash.listed)) return refuse_stash(w, json);
    w->n_items += n;
    if (!make_room(w, n)) return ERR_NOMEM;
    if (n > 0) {
        psapi_stash__price_tab(&stash);
        yyjson_arr_foreach(stash.items, i, n, item) {
            if (!walk_item(w, &stash, item, &v)) return ERR_NOMEM;
        }
    }
    v.items = w->items;
    w->count->n_stashes++;
    w->count->n_items += v.n_items;
    return w->cb(w->ctx, &v);
}

int psapi_versions__each(const struct page *page, bool caught_up, psapi_version_cb cb, void *ctx,
                         struct psapi_versions_count *count, struct err *e) {
    yyjson_doc *doc;
    yyjson_val *stashes, *stash;
    struct slice next;
    struct walk w = {.page = page, .caught_up = caught_up, .cb = cb, .ctx = ctx, .count = count};
    int code = decode__read(page->body, &doc, e);
    if (code == 0) code = psapi__envelope(yyjson_doc_get_root(doc), &next, &stashes, e);
    if (code != 0) {
        yyjson_doc_free(doc);
        return code;
    }
    psapi_scratch__init(&w.scratch);
    if (!note_stashes(&w, stashes)) code = ERR_NOMEM;
    size_t i, n;
    yyjson_arr_foreach(stashes, i, n, stash) {
        if (code == 0) code = walk_stash(&w, stash);
    }
    if (code == ERR_NOMEM) err__setf(e, code, "psapi: no memory for the stashes of a page");
    psapi_scratch__fini(&w.scratch);
    free(w.items);
    free(w.seen);
    free(w.is_twice);
    yyjson_doc_free(doc);
    return code;
}
