/* A tab of the account's stash to rows of bronze_account_stash_snapshot, one an item.
 *
 *   {"stash":{"id","parent"?,"name","type","index"?,"metadata","children"?,"items"?}}   OAuth
 *   {"numTabs","tabs"?,"xLayout"?,"items"}       the older get-stash-items, for recorded bodies
 *   {"stashes":[...]}                            the list: no items, so no rows
 *   {"skipped":{"id","status","why"}}            what judge keeps in place of a tab
 *
 * Items are as in public stashes and are read by the same code. What is socketed in an item becomes
 * a row behind it. An item that breaks a rule is refused alone. */
#include "account_internal.h"
#include "psapi_item.h"
#include "psapi_refusals.h"
#include "souk/tables.h"
#include <stdio.h>

#define NAME_MAX_BYTES 512
#define DEPTH_MAX 4 /* Folders in folders. */
/* Where an item lies when that is not sent: 0 is the first column. So with the tab's index. */
#define PLACE_UNKNOWN UINT16_MAX
#define INDEX_UNKNOWN UINT32_MAX

bool account__is_id(yyjson_val *v) {
    if (!yyjson_is_str(v)) return false;
    struct slice s = decode__slice(v);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-' || c == '_'))
            return false;
    }
    return s.len > 0 && s.len <= ACCOUNT_ID_MAX;
}

static bool is_folder(yyjson_val *tab) {
    yyjson_val *type = yyjson_obj_get(tab, "type");
    return yyjson_is_true(yyjson_obj_get(yyjson_obj_get(tab, "metadata"), "folder")) ||
           yyjson_is_true(yyjson_obj_get(tab, "folder")) || yyjson_equals_str(type, "Folder");
}

static size_t walk_list(yyjson_val *tabs, int depth, account_tab_cb cb, void *ctx) {
    size_t i, n, n_bad = 0;
    yyjson_val *tab;
    yyjson_arr_foreach(tabs, i, n, tab) {
        yyjson_val *id = yyjson_obj_get(tab, "id"), *children = yyjson_obj_get(tab, "children");
        if (!account__is_id(id)) n_bad++;
        else if (!is_folder(tab)) cb(ctx, slice__of(NULL, 0), decode__slice(id));
        else if (yyjson_is_arr(children) && depth < DEPTH_MAX)
            n_bad += walk_list(children, depth + 1, cb, ctx);
        else if (!decode__is_absent(children)) n_bad++;
        else cb(ctx, slice__of(NULL, 0), decode__slice(id)); /* It shows them when it is asked. */
    }
    return n_bad;
}

size_t account__walk_list(yyjson_val *stashes, account_tab_cb cb, void *ctx) {
    return walk_list(stashes, 0, cb, ctx);
}

size_t account__walk_children(yyjson_val *stash, account_tab_cb cb, void *ctx) {
    size_t i, n, n_bad = 0;
    yyjson_val *child, *parent = yyjson_obj_get(stash, "id");
    yyjson_val *children = yyjson_obj_get(stash, "children");
    if (!account__is_id(parent)) return yyjson_arr_size(children);
    yyjson_arr_foreach(children, i, n, child) {
        yyjson_val *id = yyjson_obj_get(child, "id");
        yyjson_val *n_items = yyjson_obj_get(yyjson_obj_get(child, "metadata"), "items");
        bool empty = yyjson_is_uint(n_items) && yyjson_get_uint(n_items) == 0;
        if (!account__is_id(id)) n_bad++;
        else if (!empty && !yyjson_is_arr(yyjson_obj_get(child, "items")))
            cb(ctx, is_folder(stash) ? slice__of(NULL, 0) : decode__slice(parent),
               decode__slice(id));
    }
    return n_bad;
}

/* A tab as its items carry it. */
struct tab {
    struct slice id, parent, name, type;
    uint32_t index;
};

struct walk {
    const struct page *page;
    struct slice league_key, snapshot_id, payload_hash;
    struct psapi_scratch scratch;
    struct refusals refusals;
    uint32_t n_items; /* Refused ones too: the ordinal is the item's place in the body. */
};

struct place {
    uint32_t x, y, w, h;
};

/* A number that the row can do without; as it is when it is not sent, or not as a number. */
static bool read_side(struct walk *w, yyjson_val *json, const char *name, uint32_t max,
                      uint32_t *out, struct decode_fault *f) {
    return decode__u32(yyjson_obj_get(json, name), name, max, out, f) ||
           decode__lose(f, &w->refusals.rows->n_fields_lost);
}

static bool read_place(struct walk *w, yyjson_val *json, bool is_socketed, struct place *out,
                       struct decode_fault *f) {
    *out = (struct place){.x = PLACE_UNKNOWN, .y = is_socketed ? 0 : PLACE_UNKNOWN, .w = 1, .h = 1};
    return read_side(w, json, is_socketed ? "socket" : "x", PLACE_UNKNOWN - 1, &out->x, f) &&
           (is_socketed || read_side(w, json, "y", PLACE_UNKNOWN - 1, &out->y, f)) &&
           read_side(w, json, "w", UINT8_MAX, &out->w, f) &&
           read_side(w, json, "h", UINT8_MAX, &out->h, f);
}

static void write_item(struct walk *w, const struct tab *tab, const struct psapi_item *item,
                       const struct place *at, struct slice parent_item) {
    struct batch *b =
        rows__batch(w->refusals.rows, &table_bronze_account_stash_snapshot, w->league_key);
    if (b == NULL) return;
    const struct account_stash_row row = {
        .snapshot_id = w->snapshot_id,
        .captured_wall_ns = w->page->received_wall_ns,
        .account_hash = slice__str(w->page->stream->kind),
        .realm = slice__str(w->page->stream->realm),
        .league = slice__str(w->page->stream->league),
        .league_key = w->league_key,
        .tab_id = tab->id,
        .parent_tab_id = tab->parent,
        .tab_name = tab->name,
        .tab_index = tab->index,
        .tab_type = tab->type,
        .item_id = item->id,
        .parent_item_id = parent_item,
        .item_type_id = item->type_id,
        .base_type = item->base_type,
        .type_line = item->type_line,
        .name = item->name,
        .rarity = item->rarity,
        .frame_type = (uint8_t)item->frame_type,
        .ilvl = (uint16_t)item->ilvl,
        .identified = item->identified,
        .corrupted = item->corrupted,
        .stack_size = item->stack_size,
        .x = (uint16_t)at->x,
        .y = (uint16_t)at->y,
        .w = (uint8_t)at->w,
        .h = (uint8_t)at->h,
        .note = item->note.len > 0 ? item->note : item->forum_note,
        .mods_hash = item->mods_hash,
        .extra = item->extra,
        .payload_hash = w->payload_hash,
        .origin = {.src = ACCOUNT_NAME, .lsn = w->page->lsn, .ord = w->n_items},
    };
    tables__account_stash_row(b, &row);
}

/* @parent is the item that @json is socketed in, or NULL. */
static void walk_item(struct walk *w, const struct tab *tab, yyjson_val *json, const char *path,
                      yyjson_val *parent) {
    struct psapi_item item;
    struct place at;
    struct decode_fault fault = {.kind = DECODE_FINE};
    yyjson_val *parent_id = yyjson_obj_get(parent, "id");
    bool ok = psapi_item__read(json, &w->scratch, &item, &fault) &&
              read_place(w, json, parent != NULL, &at, &fault);
    if (psapi_scratch__no_memory(&w->scratch)) {
        w->refusals.rows->failed = w->refusals.rows->no_memory = true;
        return;
    }
    if (!ok) refusals__fault(&w->refusals, path, &fault, json);
    else
        write_item(w, tab, &item, &at,
                   yyjson_is_str(parent_id) ? decode__slice(parent_id) : slice__of(NULL, 0));
    w->n_items++;
}

static void walk_items(struct walk *w, const struct tab *tab, yyjson_val *items, const char *at) {
    size_t i, n;
    yyjson_val *item, *socketed;
    char path[96];
    yyjson_arr_foreach(items, i, n, item) {
        if (w->n_items >= ACCOUNT_ITEMS_MAX) {
            refusals__over(&w->refusals, n - i);
            return;
        }
        snprintf(path, sizeof path, "%s.items[%zu]", at, i);
        walk_item(w, tab, item, path, NULL);
        struct decode_list list = decode__list(yyjson_obj_get(item, "socketedItems"));
        for (size_t k = 0; (socketed = decode__next(&list)) != NULL; k++) {
            if (w->n_items >= ACCOUNT_ITEMS_MAX) {
                refusals__over(&w->refusals, list.left + 1);
                break;
            }
            snprintf(path, sizeof path, "%s.items[%zu].socketedItems[%zu]", at, i, k);
            walk_item(w, tab, socketed, path, item);
        }
    }
}

/* The parts of a map tab have no name of their own; the map has. */
static struct slice name_of(yyjson_val *stash) {
    yyjson_val *name = yyjson_obj_get(stash, "name");
    yyjson_val *map = yyjson_obj_get(yyjson_obj_get(stash, "metadata"), "map");
    if (!yyjson_is_str(name) || yyjson_get_len(name) == 0) name = yyjson_obj_get(map, "name");
    return yyjson_is_str(name) ? tables__cut(decode__slice(name), NAME_MAX_BYTES)
                               : slice__of(NULL, 0);
}

static bool read_tab(struct walk *w, yyjson_val *stash, struct tab *out, struct decode_fault *f) {
    uint32_t *n_lost = &w->refusals.rows->n_fields_lost;
    yyjson_val *id = yyjson_obj_get(stash, "id"), *parent = yyjson_obj_get(stash, "parent");
    if (decode__is_absent(parent)) parent = yyjson_obj_get(stash, "folder");
    out->name = name_of(stash);
    if (!decode__need(id, "id", f) || !decode__str(id, "id", ACCOUNT_ID_MAX, &out->id, f))
        return false;
    if (!decode__str(parent, "parent", ACCOUNT_ID_MAX, &out->parent, f)) decode__lose(f, n_lost);
    if (!decode__str(yyjson_obj_get(stash, "type"), "type", NAME_MAX_BYTES, &out->type, f))
        decode__lose(f, n_lost);
    return read_side(w, stash, "index", INDEX_UNKNOWN - 1, &out->index, f);
}

/* A tab, and the parts of it that carry their items along. */
static void walk_stash(struct walk *w, yyjson_val *stash, const char *at) {
    struct tab tab = {.index = INDEX_UNKNOWN}, part;
    struct decode_fault f = {.kind = DECODE_FINE};
    size_t i, n;
    yyjson_val *child;
    char path[48];
    if (!read_tab(w, stash, &tab, &f)) {
        refusals__fault(&w->refusals, at, &f, stash);
        return;
    }
    walk_items(w, &tab, yyjson_obj_get(stash, "items"), at);
    yyjson_arr_foreach(yyjson_obj_get(stash, "children"), i, n, child) {
        part = (struct tab){.parent = tab.id, .type = tab.type, .index = tab.index};
        snprintf(path, sizeof path, "%s.children[%zu]", at, i);
        if (!account__is_id(yyjson_obj_get(child, "id")))
            refusals__add(&w->refusals, QUALITY_WRONG_TYPE, path, "id", yyjson_obj_get(child, "id"),
                          child);
        else if (!read_tab(w, child, &part, &f)) {
            refusals__fault(&w->refusals, path, &f, child);
            f = (struct decode_fault){.kind = DECODE_FINE};
        } else walk_items(w, &part, yyjson_obj_get(child, "items"), path);
    }
}

/* In the older shape a tab does not name itself: the layout tells its type, and the list of tabs,
 * where there is one, which of them is meant. */
static void walk_legacy(struct walk *w, yyjson_val *root) {
    static const struct {
        const char *key, *type;
    } layouts[] = {
        {"quadLayout", "QuadStash"},
        {"currencyLayout", "CurrencyStash"},
        {"fragmentLayout", "FragmentStash"},
        {"essenceLayout", "EssenceStash"},
        {"mapLayout", "MapStash"},
        {"divinationLayout", "DivinationCardStash"},
        {"delveLayout", "DelveStash"},
        {"blightLayout", "BlightStash"},
        {"metamorphLayout", "MetamorphStash"},
        {"deliriumLayout", "DeliriumStash"},
        {"ultimatumLayout", "UltimatumStash"},
        {"flaskLayout", "FlaskStash"},
        {"gemLayout", "GemStash"},
    };
    struct tab tab = {.index = INDEX_UNKNOWN};
    size_t i, n;
    yyjson_val *entry;
    for (i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (!decode__is_absent(yyjson_obj_get(root, layouts[i].key)))
            tab.type = slice__str(layouts[i].type);
    yyjson_arr_foreach(yyjson_obj_get(root, "tabs"), i, n, entry) {
        yyjson_val *type = yyjson_obj_get(entry, "type"), *name = yyjson_obj_get(entry, "n");
        yyjson_val *id = yyjson_obj_get(entry, "id");
        if (!yyjson_is_true(yyjson_obj_get(entry, "selected"))) continue;
        if (yyjson_is_str(type)) tab.type = tables__cut(decode__slice(type), NAME_MAX_BYTES);
        if (yyjson_is_str(name)) tab.name = tables__cut(decode__slice(name), NAME_MAX_BYTES);
        struct decode_fault f = {.kind = DECODE_FINE};
        read_side(w, entry, "i", INDEX_UNKNOWN - 1, &tab.index, &f);
        if (account__is_id(id)) tab.id = decode__slice(id);
    }
    walk_items(w, &tab, yyjson_obj_get(root, "items"), "");
}

struct list_count {
    size_t n;
};

static void count_tab(void *ctx, struct slice parent, struct slice id) {
    struct list_count *c = ctx;
    (void)parent;
    (void)id;
    c->n++;
}

/* The list makes no rows, but what judge had to leave out of it is counted. */
static void walk_tabs(struct walk *w, yyjson_val *stashes) {
    struct list_count c = {0};
    size_t n_bad = account__walk_list(stashes, count_tab, &c);
    if (n_bad > 0) refusals__over(&w->refusals, n_bad);
    if (c.n > ACCOUNT_TABS_MAX) refusals__over(&w->refusals, c.n - ACCOUNT_TABS_MAX);
}

/* A tab that was gone is no refusal; one that could not be read is. */
static void walk_skipped(struct walk *w, yyjson_val *skipped) {
    yyjson_val *status = yyjson_obj_get(skipped, "status");
    if (yyjson_is_uint(status) && yyjson_get_uint(status) == 200)
        refusals__add(&w->refusals, QUALITY_REJECTED, "stash", "id", yyjson_obj_get(skipped, "id"),
                      skipped);
}

/* "1786003200/3/12" -> "1786003200" */
static struct slice snapshot_of(struct slice cursor) {
    const char *slash = cursor.len == 0 ? NULL : memchr(cursor.base, '/', cursor.len);
    return slash == NULL ? cursor : slice__of(cursor.base, (size_t)(slash - cursor.base));
}

static int walk_root(struct walk *w, yyjson_val *root, struct err *e) {
    yyjson_val *stash = yyjson_obj_get(root, "stash"), *list = yyjson_obj_get(root, "stashes");
    yyjson_val *skipped = yyjson_obj_get(root, "skipped");
    if (yyjson_is_obj(stash)) walk_stash(w, stash, "stash");
    else if (yyjson_is_arr(list)) walk_tabs(w, list);
    else if (yyjson_is_obj(skipped)) walk_skipped(w, skipped);
    else if (yyjson_is_arr(yyjson_obj_get(root, "items"))) walk_legacy(w, root);
    else return err__setf(e, ERR_MALFORMED, ACCOUNT_NAME ": neither a tab nor a list of tabs");
    return 0;
}

int account__decode(const struct page *page, const struct decode_context *context, struct rows *out,
                    struct err *e) {
    char hash[TABLES_HASH_SIZE];
    struct walk w = {.page = page,
                     .league_key = source__league_key(context, slice__str(page->stream->league)),
                     .snapshot_id = snapshot_of(page->cursor_to),
                     .payload_hash = tables__hash(page->body, hash)};
    yyjson_doc *doc;
    int code = decode__read(page->body, &doc, e);
    if (code != 0) return err__prefixf(e, ACCOUNT_NAME);
    psapi_scratch__init(&w.scratch);
    refusals__init(&w.refusals, page, ACCOUNT_NAME, table_bronze_account_stash_snapshot.name, out);
    code = walk_root(&w, yyjson_doc_get_root(doc), e);
    out->n_fields_lost += w.scratch.n_fields_lost;
    refusals__end(&w.refusals);
    refusals__fini(&w.refusals);
    psapi_scratch__fini(&w.scratch);
    yyjson_doc_free(doc);
    if (code == 0 && refusals__rows_failed(out)) {
        code = rows__no_memory(out) ? ERR_NOMEM : ERR_LIMIT;
        rows__fini(out);
        err__setf(e, code, ACCOUNT_NAME ": the rows of one tab do not fit");
    }
    return code;
}
