/* A page of public stashes to rows: one of raw_public_stash_pages, and one of bronze_public_stash
 * for each item of each listed stash. Unlisted stashes (tombstones) make no rows; they are in
 * stash_count and in the raw page, and the tape turns them into events.
 *
 * An entry that breaks a rule is refused alone: the row goes to bronze_quarantine. A page whose
 * envelope is not what psapi promises makes no rows at all. */
#include "psapi_internal.h"
#include "psapi_refusals.h"
#include "psapi_stash.h"
#include "souk/tables.h"
#include <stdio.h>

struct walk {
    const struct page *page;
    const struct decode_context *context;
    struct rows *out;
    struct psapi_scratch scratch;
    struct refusals refusals;
    struct slice realm;
    int64_t received_ms;
    uint32_t n_items;
    size_t n_expected; /* Items in the page, for sizing. */
};

bool psapi_stash__read(yyjson_val *json, struct psapi_stash *out, struct decode_fault *f) {
    *out = (struct psapi_stash){.listed = true};
    if (!yyjson_is_obj(json)) return decode__failf(f, DECODE_WRONG_TYPE, json, "%s", "");
    size_t i, n;
    yyjson_val *key, *v;
    yyjson_obj_foreach(json, i, n, key, v) {
        struct slice k = decode__slice(key);
        bool ok = true;
        struct slice *side = NULL;
        if (slice__eq(k, SLICE_LIT("id"))) ok = decode__str(v, "id", PSAPI_TEXT_MAX, &out->id, f);
        else if (slice__eq(k, SLICE_LIT("public"))) ok = decode__bool(v, "public", &out->listed, f);
        else if (slice__eq(k, SLICE_LIT("accountName"))) side = &out->seller;
        else if (slice__eq(k, SLICE_LIT("stash"))) side = &out->name;
        else if (slice__eq(k, SLICE_LIT("stashType"))) side = &out->type;
        else if (slice__eq(k, SLICE_LIT("league"))) side = &out->league;
        else if (slice__eq(k, SLICE_LIT("items"))) out->items = v;
        if (!ok) return false;
        if (side == NULL || decode__str(v, "", PSAPI_TEXT_MAX, side, f)) continue;
        decode__lose(f, &out->n_fields_lost);
        out->name_lost |= side == &out->name;
    }
    if (!out->listed) return true;
    /* An empty tab says []; one that says nothing is not known to be empty. */
    return decode__need(out->items, "items", f) &&
           (yyjson_is_arr(out->items) || decode__failf(f, DECODE_WRONG_TYPE, out->items, "items"));
}

void psapi_stash__price_tab(struct psapi_stash *stash) {
    stash->tab.verdict = price_note__read(stash->name, &stash->tab.price);
}

enum price_verdict psapi_stash__price(const struct psapi_stash *stash,
                                      const struct psapi_item *item, struct price *out,
                                      enum price_source *source) {
    const struct price_notes said = {.note = item->note,
                                     .forum_note = item->forum_note,
                                     .tab = &stash->tab,
                                     .is_bulk = item->is_stackable};
    return price_note__resolve(&said, out, source);
}

/* Takes the memory for the rows of a page at once: growing 36 columns step by step copies each of
 * them twice. Only the first partitions get it, as most items lie there; what is not written to is
 * never resident. */
static void reserve_columns(const struct walk *w, struct batch *b) {
    enum { BATCHES_MAX = 4, ROWS_MAX = 20000, TEXT_BYTES = 24, EXTRA_BYTES = 400 };
    size_t n_rows = w->n_expected < ROWS_MAX ? w->n_expected : ROWS_MAX;
    if (w->out->n > BATCHES_MAX) return;
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column_desc *c = &b->table->columns[i];
        size_t width = c->kind != COLUMN_STR ? 8 : TEXT_BYTES;
        if (strcmp(c->name, "extra") == 0) width = EXTRA_BYTES;
        buf__reserve(&b->columns[i].data, n_rows * width);
    }
}

static void write_item(struct walk *w, const struct psapi_stash *stash,
                       const struct psapi_item *item, size_t index) {
    static const char *const sources[] = {[PRICE_FROM_NOWHERE] = "",
                                          [PRICE_FROM_NOTE] = "note",
                                          [PRICE_FROM_FORUM] = "forum_note",
                                          [PRICE_FROM_TAB] = "stash_name"};
    const struct page *page = w->page;
    struct slice league = stash->league.len > 0 ? stash->league : item->league;
    struct slice league_key = source__league_key(w->context, league);
    struct batch *b = rows__batch(w->out, &table_bronze_public_stash, league_key);
    if (b == NULL) return;
    if (b->n_rows == 0) reserve_columns(w, b);
    struct price price;
    enum price_source source;
    enum price_verdict verdict = psapi_stash__price(stash, item, &price, &source);
    w->out->n_unpriced[verdict]++; /* Priced ones too, which nobody asks for. */
    char listing[PSAPI_TEXT_MAX + 24];
    struct slice listing_id = item->id;
    if (listing_id.len == 0) {
        int n = snprintf(listing, sizeof listing, "%.*s:%zu", SLICE_FMT(stash->id), index);
        listing_id = slice__of(listing, (size_t)n);
    }
    batch__begin(b);
    batch__i64(b, w->received_ms);
    batch__i64(b, w->received_ms);
    batch__str(b, w->realm);
    batch__str(b, league);
    batch__str(b, league_key);
    batch__str(b, page->cursor_from);
    batch__str(b, page->cursor_to);
    batch__str(b, stash->id);
    batch__str(b, stash->name);
    batch__str(b, stash->type);
    batch__str(b, listing_id);
    batch__str(b, stash->seller);
    batch__str(b, item->id);
    batch__str(b, item->type_id);
    batch__str(b, item->base_type);
    batch__str(b, item->type_line);
    batch__str(b, item->name);
    batch__str(b, item->rarity);
    batch__u8(b, (uint8_t)item->frame_type);
    batch__u16(b, (uint16_t)item->ilvl);
    batch__u8(b, item->identified);
    batch__u8(b, item->corrupted);
    batch__u32(b, item->stack_size);
    batch__str(b, item->note.len > 0 ? item->note : item->forum_note);
    batch__str(b, price.currency);
    batch__i64(b, price.unit);
    batch__i64(b, price.total);
    batch__i64(b, price.lot);
    batch__str(b, price.kind);
    batch__cstr(b, sources[source]);
    batch__i64(b, w->received_ms);
    batch__u64(b, item->mods_hash);
    batch__str(b, item->extra);
    batch__cstr(b, quality__price_text(verdict));
    batch__str(b, SLICE_LIT(PSAPI_NAME));
    batch__u64(b, page->lsn);
    batch__u32(b, w->n_items);
    batch__end(b);
}

static void walk_item(struct walk *w, const struct psapi_stash *stash, size_t stash_index,
                      yyjson_val *json, size_t index) {
    struct psapi_item item;
    struct decode_fault fault = {.kind = DECODE_FINE};
    char at[64];
    if (!psapi_item__read(json, &w->scratch, &item, &fault)) {
        if (psapi_scratch__no_memory(&w->scratch)) { /* Nothing is wrong with the item. */
            w->out->failed = w->out->no_memory = true;
            return;
        }
        snprintf(at, sizeof at, "stashes[%zu].items[%zu]", stash_index, index);
        refusals__fault(&w->refusals, at, &fault, json);
        return;
    }
    write_item(w, stash, &item, index);
}

static void walk_stash(struct walk *w, yyjson_val *json, size_t stash_index) {
    struct psapi_stash stash;
    struct decode_fault fault = {.kind = DECODE_FINE};
    char at[32];
    if (!psapi_stash__read(json, &stash, &fault)) {
        snprintf(at, sizeof at, "stashes[%zu]", stash_index);
        refusals__fault(&w->refusals, at, &fault, json);
        return;
    }
    w->out->n_fields_lost += stash.n_fields_lost;
    if (!stash.listed) return;
    psapi_stash__price_tab(&stash);
    size_t i, n;
    yyjson_val *item;
    yyjson_arr_foreach(stash.items, i, n, item) {
        if (w->n_items >= PSAPI_ITEMS_MAX) {
            refusals__over(&w->refusals, n - i);
            return;
        }
        walk_item(w, &stash, stash_index, item, i);
        w->n_items++; /* Refused ones too: the ordinal is the item's place in the page. */
    }
}

static void write_raw(struct walk *w, size_t n_stashes) {
    const struct page *page = w->page;
    struct batch *b = rows__batch(w->out, &table_raw_public_stash_pages, SLICE_LIT(""));
    if (b == NULL) return;
    char hash[TABLES_HASH_SIZE];
    const struct raw_page_row row = {
        .ingested_wall_ns = page->received_wall_ns,
        .realm = w->realm,
        .cursor = page->cursor_from,
        .next_cursor = page->cursor_to,
        .stash_count = (uint32_t)n_stashes,
        .payload = page->body,
        .payload_hash = tables__hash(page->body, hash),
        .origin = {.src = PSAPI_NAME, .lsn = page->lsn, .ord = 0},
    };
    tables__raw_page_row(b, &row);
}

int psapi__decode(const struct page *page, const struct decode_context *context, struct rows *out,
                  struct err *e) {
    yyjson_doc *doc;
    yyjson_val *stashes, *stash;
    struct slice next;
    int code = decode__read(page->body, &doc, e);
    if (code == 0) code = psapi__envelope(yyjson_doc_get_root(doc), &next, &stashes, e);
    if (code != 0) {
        yyjson_doc_free(doc);
        return code;
    }
    struct walk w = {.page = page,
                     .context = context,
                     .out = out,
                     .realm = slice__str(page->stream->realm),
                     .received_ms = page->received_wall_ns / NS_PER_MS};
    psapi_scratch__init(&w.scratch);
    refusals__init(&w.refusals, page, PSAPI_NAME, table_bronze_public_stash.name, out);
    write_raw(&w, yyjson_arr_size(stashes));
    size_t i, n;
    yyjson_arr_foreach(stashes, i, n, stash) {
        w.n_expected += yyjson_arr_size(yyjson_obj_getn(stash, "items", 5));
    }
    yyjson_arr_foreach(stashes, i, n, stash) walk_stash(&w, stash, i);
    out->n_fields_lost += w.scratch.n_fields_lost;
    refusals__end(&w.refusals);
    refusals__fini(&w.refusals);
    psapi_scratch__fini(&w.scratch);
    yyjson_doc_free(doc);
    if (!refusals__rows_failed(out)) return 0;
    bool no_memory = rows__no_memory(out);
    rows__fini(out);
    if (no_memory) return err__setf(e, ERR_NOMEM, "psapi: no memory for the rows of a page");
    return err__setf(e, ERR_LIMIT, "psapi: the rows of one page do not fit");
}
