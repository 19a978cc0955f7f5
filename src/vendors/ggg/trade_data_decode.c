/* A body of trade_data to rows of bronze_trade_metadata: an entry of a resource, or a listing.
 *
 * A resource is a list of groups with entries (static, items, stats) or filters, or a list of
 * entries (leagues). Items have no ids: their text is one. Entries with the id "sep" and no text
 * are lines between others, not things, and make no rows. change-ids makes none either: what it
 * says is in the cursor.
 *
 * An entry that breaks a rule is refused alone: the row goes to bronze_quarantine. */
#include "psapi_refusals.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include "trade_data_internal.h"
#include <stdio.h>
#include <string.h>

struct walk {
    const struct page *page;
    const struct decode_context *context;
    struct rows *out;
    struct refusals refusals;
    struct buf payload;
    uint32_t n_entries;
};

static bool read_text(yyjson_val *entry, const char *name, struct slice *out,
                      struct decode_fault *f) {
    return decode__str(yyjson_obj_get(entry, name), name, TRADE_TEXT_MAX, out, f);
}

/* A text that the row can do without. */
static void read_side(struct walk *w, yyjson_val *entry, const char *name, struct slice *out) {
    struct decode_fault f = {.kind = DECODE_FINE};
    if (!read_text(entry, name, out, &f)) decode__lose(&f, &w->out->n_fields_lost);
}

/* The entry as compact JSON. */
static bool write_payload(struct walk *w, yyjson_val *entry, struct decode_fault *f) {
    buf__clear(&w->payload);
    if (decode__write(&w->payload, entry, TRADE_PAYLOAD_MAX)) return true;
    return decode__failf(f, w->payload.len > TRADE_PAYLOAD_MAX ? DECODE_TOO_LONG : DECODE_TOO_DEEP,
                         NULL, "%s", "");
}

static void write_row(struct walk *w, struct trade_metadata_row *row) {
    const struct page *page = w->page;
    char hash[TABLES_HASH_SIZE];
    struct slice league_key = source__league_key(w->context, row->league);
    struct batch *b = rows__batch(w->out, &table_bronze_trade_metadata, league_key);
    if (b == NULL) return;
    row->wall_ns = row->retrieved_wall_ns = page->received_wall_ns;
    row->service = SLICE_LIT(TRADE_DATA_NAME);
    row->league_key = league_key;
    row->cursor = page->cursor_from;
    row->payload = buf__slice(&w->payload);
    if (row->trade_data_hash.len == 0) row->trade_data_hash = tables__hash(row->payload, hash);
    row->rate_limit_raw = page->limits_raw;
    row->http_status = page->http_status;
    row->origin =
        (struct row_origin){.src = TRADE_DATA_NAME, .lsn = page->lsn, .ord = w->n_entries};
    tables__trade_metadata_row(b, row);
}

/* Items of the trade site: "Ahkeli's Meadow Ruby Ring", or a base type alone. */
static bool read_item_id(yyjson_val *entry, char *scratch, size_t size, struct slice *out,
                         struct decode_fault *f) {
    struct slice name = {0}, type = {0};
    if (!read_text(entry, "text", out, f)) return false;
    if (out->len > 0) return true;
    if (!read_text(entry, "name", &name, f) || !read_text(entry, "type", &type, f)) return false;
    int n = snprintf(scratch, size, "%.*s%s%.*s", SLICE_FMT(name),
                     name.len > 0 && type.len > 0 ? " " : "", SLICE_FMT(type));
    *out = slice__of(scratch, n < 0 ? 0 : (size_t)n);
    return true;
}

/* A line between goods, or with a text a heading over some of them: no thing that trades. */
static bool is_separator(yyjson_val *entry) {
    return yyjson_equals_str(yyjson_obj_get(entry, "id"), "sep");
}

static bool walk_entry(struct walk *w, struct slice group, yyjson_val *entry,
                       struct decode_fault *f) {
    char scratch[2 * TRADE_TEXT_MAX + 2];
    struct trade_metadata_row row = {.origin_kind = SLICE_LIT("resource")};
    if (!yyjson_is_obj(entry)) return decode__failf(f, DECODE_WRONG_TYPE, entry, "%s", "");
    if (is_separator(entry)) return true;
    if (!read_text(entry, "id", &row.item_id, f)) return false;
    if (row.item_id.len == 0 && !read_item_id(entry, scratch, sizeof scratch, &row.item_id, f))
        return false;
    if (row.item_id.len == 0) return decode__failf(f, DECODE_MISSING, NULL, "id");
    /* Variants of a map or gem; the choices of a modifier. */
    read_side(w, entry, "disc", &row.variation_id);
    if (row.variation_id.len == 0) read_side(w, entry, "optionText", &row.variation_id);
    read_side(w, entry, "realm", &row.realm);
    if (!write_payload(w, entry, f)) return false;
    row.trade_id = row.item_id;
    row.item_type = slice__str(w->page->stream->kind);
    row.trade_category = group;
    write_row(w, &row);
    return true;
}

/* A time as RFC 3339 in UTC, or as seconds or milliseconds since 1970; absent is 0. */
static bool read_time(const struct walk *w, yyjson_val *entry, const char *name, int64_t *wall_ns,
                      struct decode_fault *f) {
    yyjson_val *v = yyjson_obj_get(entry, name);
    *wall_ns = 0;
    if (decode__is_absent(v)) return true;
    if (yyjson_is_str(v)) {
        if (!quality__utc(decode__slice(v), wall_ns))
            return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    } else if (yyjson_is_uint(v) && yyjson_get_uint(v) < UINT64_C(10000000000000)) {
        bool is_ms = yyjson_get_uint(v) >= UINT64_C(100000000000);
        *wall_ns = (int64_t)yyjson_get_uint(v) * (is_ms ? NS_PER_MS : 0);
        if (!is_ms && yyjson_get_uint(v) < UINT64_C(9000000000))
            *wall_ns = (int64_t)yyjson_get_uint(v) * NS_PER_S;
    } else {
        return decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
    }
    if (quality__time(*wall_ns, w->page->received_wall_ns) != QUALITY_OK)
        return decode__failf(f, DECODE_OUT_OF_RANGE, v, "%s", name);
    return true;
}

static bool walk_listing(struct walk *w, yyjson_val *entry, struct decode_fault *f) {
    struct trade_metadata_row row = {.origin_kind = SLICE_LIT("remote")};
    const struct {
        const char *name;
        struct slice *out;
    } texts[] = {{"item_type", &row.item_type},
                 {"variation_id", &row.variation_id},
                 {"trade_category", &row.trade_category},
                 {"realm", &row.realm},
                 {"league", &row.league},
                 {"trade_data_hash", &row.trade_data_hash}};
    if (!yyjson_is_obj(entry)) return decode__failf(f, DECODE_WRONG_TYPE, entry, "%s", "");
    if (!read_text(entry, "trade_id", &row.trade_id, f) ||
        !read_text(entry, "item_id", &row.item_id, f))
        return false;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        read_side(w, entry, texts[i].name, texts[i].out);
    if (row.trade_id.len == 0) return decode__failf(f, DECODE_MISSING, NULL, "trade_id");
    if (row.item_id.len == 0) return decode__failf(f, DECODE_MISSING, NULL, "item_id");
    if (!read_time(w, entry, "listing_ts", &row.listing_wall_ns, f)) return false;
    if (row.listing_wall_ns == 0) return decode__failf(f, DECODE_MISSING, NULL, "listing_ts");
    /* No side field: without it the listing would seem to be there still. */
    if (!read_time(w, entry, "delist_ts", &row.delist_wall_ns, f)) return false;
    yyjson_val *flag = yyjson_obj_get(entry, "price_change_flag");
    row.price_changed = TRADE_FLAG_UNKNOWN;
    if (yyjson_is_bool(flag)) row.price_changed = yyjson_is_true(flag);
    else if (yyjson_is_uint(flag) && yyjson_get_uint(flag) <= 1)
        row.price_changed = yyjson_get_uint(flag) == 1;
    else if (!decode__is_absent(flag)) w->out->n_fields_lost++;
    if (!write_payload(w, entry, f)) return false;
    write_row(w, &row);
    return true;
}

static void take(struct walk *w, const char *at, struct slice group, yyjson_val *entry) {
    struct decode_fault fault = {0};
    if (w->n_entries >= TRADE_ENTRIES_MAX) {
        refusals__over(&w->refusals, 1);
        return;
    }
    bool is_listing = strcmp(w->page->stream->kind, TRADE_LISTINGS) == 0;
    bool ok = is_listing ? walk_listing(w, entry, &fault) : walk_entry(w, group, entry, &fault);
    if (!ok) refusals__fault(&w->refusals, at, &fault, entry);
    w->n_entries++; /* Refused ones too: the ordinal is the entry's place in the body. */
}

/* The word that names a group: its id, or what is shown of it. */
static struct slice group_name(yyjson_val *group) {
    static const char *const names[] = {"id", "label", "title"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        yyjson_val *v = yyjson_obj_get(group, names[i]);
        if (yyjson_get_len(v) > 0 && yyjson_is_str(v))
            return tables__cut(decode__slice(v), TRADE_TEXT_MAX);
    }
    return SLICE_LIT("");
}

static void walk_result(struct walk *w, yyjson_val *list) {
    size_t i, n, k, m;
    yyjson_val *group, *entry;
    char at[64];
    bool is_listing = strcmp(w->page->stream->kind, TRADE_LISTINGS) == 0;
    yyjson_arr_foreach(list, i, n, group) {
        yyjson_val *entries = is_listing ? NULL : trade_data__entries(group);
        snprintf(at, sizeof at, "result[%zu]", i);
        if (entries == NULL) take(w, at, SLICE_LIT(""), group);
        struct slice name = group_name(group);
        if (entries == NULL) continue;
        yyjson_arr_foreach(entries, k, m, entry) {
            snprintf(at, sizeof at, "result[%zu].%s[%zu]", i,
                     yyjson_obj_get(group, "entries") == entries ? "entries" : "filters", k);
            take(w, at, name, entry);
        }
    }
}

int trade_data__decode(const struct page *page, const struct decode_context *context,
                       struct rows *out, struct err *e) {
    yyjson_doc *doc;
    if (strcmp(page->stream->kind, TRADE_HEADS) == 0) return 0;
    int code = decode__read(page->body, &doc, e);
    if (code != 0) return code;
    yyjson_val *list = trade_data__result(yyjson_doc_get_root(doc), e);
    if (list == NULL) {
        yyjson_doc_free(doc);
        return ERR_MALFORMED;
    }
    struct walk w = {
        .page = page, .context = context, .out = out, .payload = buf__init(2 * DECODE_BODY_MAX)};
    refusals__init(&w.refusals, page, TRADE_DATA_NAME, table_bronze_trade_metadata.name, out);
    walk_result(&w, list);
    refusals__end(&w.refusals);
    refusals__fini(&w.refusals);
    out->failed = out->failed || w.payload.failed;
    out->no_memory = out->no_memory || w.payload.no_memory;
    buf__fini(&w.payload);
    yyjson_doc_free(doc);
    if (!refusals__rows_failed(out)) return 0;
    bool no_memory = rows__no_memory(out);
    rows__fini(out);
    return no_memory ? err__setf(e, ERR_NOMEM, "trade_data: no memory for the rows of a body")
                     : err__setf(e, ERR_LIMIT, "trade_data: the rows of one body do not fit");
}
