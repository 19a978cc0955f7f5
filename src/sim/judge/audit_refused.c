/* See audit_refused.h. */
#include "audit_refused.h"

#include <string.h>
#include <xxhash.h>
#include <yyjson.h>

#include "../world/economy.h"

static uint64_t hash_of(enum audit_table table, struct span cursor, struct span name) {
    return mix64(mix64((uint64_t)table + 1, XXH3_64bits_withSeed(cursor.at, cursor.len, 11)),
                 XXH3_64bits_withSeed(name.at, name.len, 12));
}

/** @return the place of the next one of @hash in @s, to be added. */
static uint64_t next_of(struct hash_set *s, uint64_t hash) {
    uint64_t n = 0;
    while (!hash_set__add(s, mix64(hash, n))) n++;
    return mix64(hash, n);
}

static const char *text_of(yyjson_val *v, const char *key) {
    const char *s = yyjson_get_str(yyjson_obj_get(v, key));
    return s != NULL ? s : "";
}

/** Write to @out what the ledger calls the refused entry @v of @table. */
static void name_of(enum audit_table table, yyjson_val *v, struct buf *out) {
    const char *id = text_of(v, "id");
    if (table == AUDIT_EXCHANGE) id = text_of(v, "market_id");
    if (table == AUDIT_NINJA && *text_of(v, "detailsId") != '\0') id = text_of(v, "detailsId");
    if (table == AUDIT_TRADE && *text_of(v, "trade_id") != '\0') id = text_of(v, "trade_id");
    if (table == AUDIT_TRADE && *id == '\0') ledger__entry_name(v, out);
    else buf__adds(out, id);
}

/** The same of a payload that was cut at its bound, so that it is not JSON: its first id. */
static void name_of_cut(struct span payload, struct buf *out) {
    static const char mark[] = "\"id\":\"";
    const char *at = memmem(payload.at, payload.len, mark, sizeof mark - 1), *end;
    if (at == NULL) return;
    at += sizeof mark - 1;
    end = memchr(at, '"', payload.len - (size_t)(at - payload.at));
    if (end != NULL) buf__add(out, at, (size_t)(end - at));
}

/* What names an item that has no id: its place in its stash, as in stashes[2].items[5]. */
static void name_of_place(struct span place, struct buf *out) {
    buf__addf(out, "\n%.*s", (int)place.len, place.at);
}

static struct span span_of(const struct buf *b) {
    return (struct span){b->at != NULL ? b->at : "", b->len};
}

void refused__add(struct refused *r, const struct span *f) {
    struct buf name = {0};
    enum audit_table table = AUDIT_PAGES;
    while (table < AUDIT_TABLES && !span__is(f[0], audit_table_names[table])) table++;
    if (table == AUDIT_TABLES) return;
    /* Numbers stay as they were written, also those that fit no type. */
    yyjson_doc *doc = yyjson_read(f[3].at, f[3].len, YYJSON_READ_NUMBER_AS_RAW);
    if (doc != NULL) name_of(table, yyjson_doc_get_root(doc), &name);
    else name_of_cut(f[3], &name);
    yyjson_doc_free(doc);
    const char *item = memmem(f[2].at, f[2].len, ".items[", 7);
    if (table == AUDIT_STASH && item != NULL && name.len == 0)
        name_of_place((struct span){item + 7, strspn(item + 7, "0123456789")}, &name);
    uint64_t hash =
        hash_of(table, table == AUDIT_STASH ? f[1] : (struct span){"", 0}, span_of(&name));
    buf__fini(&name);
    if (table == AUDIT_STASH && item == NULL) hash_set__add(&r->stashes, hash);
    else next_of(&r->rows, hash);
}

bool refused__take(struct refused *r, enum audit_table table, struct span cursor,
                   struct span name) {
    if (r->rows.n == 0) return false;
    return hash_set__has(&r->rows, next_of(&r->taken, hash_of(table, cursor, name)));
}

bool refused__take_item(struct refused *r, struct span cursor, struct span stash, struct span place,
                        struct span item) {
    struct buf name = {0};
    if (item.len == 0) name_of_place(place, &name);
    bool was = hash_set__has(&r->stashes, hash_of(AUDIT_STASH, cursor, stash)) ||
               refused__take(r, AUDIT_STASH, cursor, item.len == 0 ? span_of(&name) : item);
    buf__fini(&name);
    return was;
}

void refused__fini(struct refused *r) {
    hash_set__fini(&r->rows);
    hash_set__fini(&r->taken);
    hash_set__fini(&r->stashes);
}
