/* From a page's JSON to versions of stashes. The happy path: envelope, stash, its items, their
 * prices; then the callback. What can fail is left out and counted. */
#include "souk/psapi_versions.h"
#include "psapi_stash.h"
#include <assert.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FRAME_MAGIC = 1, FRAME_RARE = 2, FRAME_GEM = 4 };

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
};

static void hash_text(XXH3_state_t *h, struct slice s) {
    uint64_t len = s.len; /* In front, so that no two lists of texts read alike. */
    XXH3_64bits_update(h, &len, sizeof len);
    if (s.len > 0) XXH3_64bits_update(h, s.base, s.len);
}

static void hash_u64(XXH3_state_t *h, uint64_t v) { XXH3_64bits_update(h, &v, sizeof v); }

/* The first value of the property @name as it is shown, e.g. "20 (Max)"; or "". */
static struct slice property(yyjson_val *json, struct slice name) {
    yyjson_val *list = yyjson_obj_getn(json, "properties", 10), *p;
    size_t i, n;
    if (!yyjson_is_arr(list)) return (struct slice){0};
    yyjson_arr_foreach(list, i, n, p) {
        yyjson_val *said = yyjson_obj_getn(p, "name", 4);
        if (!yyjson_is_str(said) || !slice__eq(decode__slice(said), name)) continue;
        yyjson_val *v = yyjson_arr_get_first(yyjson_obj_getn(p, "values", 6));
        v = yyjson_is_arr(v) ? yyjson_arr_get_first(v) : NULL;
        return yyjson_is_str(v) ? decode__slice(v) : (struct slice){0};
    }
    return (struct slice){0};
}

/* The base type stands alone since 2017 or so; in older pages the type line holds it, with affixes
 * in magic items. */
static struct slice base_of(const struct psapi_item *item) {
    return item->base_type.len > 0 ? item->base_type : item->type_line;
}

static void hash_market(XXH3_state_t *h, const struct psapi_item *item, yyjson_val *json) {
    bool by_mods = item->frame_type == FRAME_MAGIC || item->frame_type == FRAME_RARE;
    XXH3_64bits_reset(h);
    hash_text(h, base_of(item));
    /* Names of rare items are random words. */
    hash_text(h, item->frame_type == FRAME_RARE ? (struct slice){0} : item->name);
    hash_u64(h, item->frame_type);
    if (item->frame_type == FRAME_GEM) {
        hash_text(h, property(json, SLICE_LIT("Level")));
        hash_text(h, property(json, SLICE_LIT("Quality")));
        hash_u64(h, item->corrupted);
    }
    if (by_mods) hash_u64(h, item->mods_hash);
}

static void name_item(const struct psapi_item *item, yyjson_val *json, struct tape_item *out) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    hash_market(&h, item, json);
    out->item_key = XXH3_64bits_digest(&h);
    if (item->is_stackable) return;
    hash_text(&h, item->type_line);
    hash_text(&h, item->name);
    hash_u64(&h, (uint64_t)item->ilvl << 2 | (uint64_t)item->corrupted << 1 | item->identified);
    hash_u64(&h, item->mods_hash);
    out->fingerprint = XXH3_64bits_digest(&h) | 1; /* 0 says that it has none. */
}

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

/* @return false without memory; an item that breaks a rule is counted and true. */
static bool walk_item(struct walk *w, const struct psapi_stash *stash, yyjson_val *json,
                      struct tape_version *v) {
    struct psapi_item item;
    struct decode_fault fault = {.kind = DECODE_FINE};
    struct price price;
    enum price_source source;
    if (!psapi_item__read(json, &w->scratch, &item, &fault)) {
        if (psapi_scratch__no_memory(&w->scratch)) return false;
        w->count->n_refused_items++;
        return true;
    }
    struct tape_item *out = &w->items[v->n_items++];
    enum price_verdict verdict = psapi_stash__price(stash, &item, &price, &source);
    *out = (struct tape_item){.id = item.id, .stack_size = item.stack_size};
    if (out->stack_size == 0) out->stack_size = 1;
    if (verdict == PRICE_GOOD) {
        out->currency = price.currency;
        out->price_e6 = price.unit;
        out->ask = hash_ask(&price);
    }
    name_item(&item, json, out);
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

static int walk_stash(struct walk *w, yyjson_val *json) {
    struct psapi_stash stash;
    struct decode_fault fault = {.kind = DECODE_FINE};
    if (!psapi_stash__read(json, &stash, &fault)) {
        w->count->n_refused_stashes++;
        return 0;
    }
    struct tape_version v = {.realm = slice__str(w->page->stream->realm),
                             .stash_id = stash.id,
                             .is_public = stash.listed,
                             .league = stash.league,
                             .seller = stash.seller,
                             .wall_ns = w->page->received_wall_ns,
                             .caught_up = w->caught_up};
    size_t i, n = stash.listed ? yyjson_arr_size(stash.items) : 0;
    yyjson_val *item;
    /* Half a stash would look like a withdrawal. */
    if (w->n_items + n > PSAPI_ITEMS_MAX) {
        w->count->n_refused_stashes++;
        return 0;
    }
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
    size_t i, n;
    yyjson_arr_foreach(stashes, i, n, stash) {
        code = walk_stash(&w, stash);
        if (code != 0) break;
    }
    if (code == ERR_NOMEM) err__setf(e, code, "psapi: no memory for the stashes of a page");
    psapi_scratch__fini(&w.scratch);
    free(w.items);
    yyjson_doc_free(doc);
    return code;
}
