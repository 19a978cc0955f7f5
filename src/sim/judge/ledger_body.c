/* The ledger lines of bodies that are neither pages nor overviews: digests of the exchange, trade
 * data, account tabs, leagues and pages of others. As in ledger.c, rows come from parsing the bytes
 * that were sent. */
#include <string.h>
#include <xxhash.h>
#include <yyjson.h>

#include "ledger.h"

const char *const ledger_kind_names[LEDGER_KINDS] = {
    [LEDGER_EXCHANGE] = "exchange", [LEDGER_TRADES] = "trades",   [LEDGER_RESOURCE] = "resource",
    [LEDGER_ACCOUNT] = "account",   [LEDGER_LEAGUES] = "leagues", [LEDGER_POEDB] = "poedb",
    [LEDGER_WIKI] = "wiki"};

/** A body while its rows are written. */
struct writer {
    struct ledger *l;
    const char *a, *b;
    char hash[33]; /* Of the body. */
    uint64_t n_rows;
};

uint64_t ledger__body_key(struct span kind, struct span a, struct span b, struct span hash) {
    uint64_t key =
        mix64(XXH3_64bits_withSeed(kind.at, kind.len, 7),
              mix64(XXH3_64bits_withSeed(a.at, a.len, 8), XXH3_64bits_withSeed(b.at, b.len, 9)));
    /* An hour and a page of trades are given out once and never change. */
    if (span__is(kind, ledger_kind_names[LEDGER_EXCHANGE]) ||
        span__is(kind, ledger_kind_names[LEDGER_TRADES]))
        return key;
    return mix64(key, XXH3_64bits(hash.at, hash.len));
}

/** Write one row: the name of its kind and up to four fields; the last ones may be NULL. */
static void add_row(struct writer *w, const char *name, const char *f1, const char *f2,
                    const char *f3, const char *f4) {
    const char *const fields[] = {f1, f2, f3, f4};
    w->n_rows++;
    if (w->l->file == NULL) return;
    buf__adds(&w->l->lines, name);
    for (size_t i = 0; i < 4 && fields[i] != NULL; i++) {
        buf__addc(&w->l->lines, '\t');
        buf__add_tsv(&w->l->lines, fields[i], strlen(fields[i]));
    }
    buf__addc(&w->l->lines, '\n');
}

/** @return the text of a member; "" when it is none. */
static const char *text_of(yyjson_val *v, const char *key) {
    const char *s = yyjson_get_str(yyjson_obj_get(v, key));
    return s != NULL ? s : "";
}

static void add_exchange(struct writer *w, yyjson_val *root) {
    yyjson_val *market;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(root, "markets"), i, n, market) {
        add_row(w, "exchange", w->a, w->b, text_of(market, "league"), text_of(market, "market_id"));
    }
}

static void add_trades(struct writer *w, yyjson_val *root) {
    yyjson_val *one;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(root, "result"), i, n, one) {
        add_row(w, "trade", "remote", w->a, text_of(one, "trade_id"), NULL);
    }
}

void ledger__entry_name(yyjson_val *entry, struct buf *out) {
    const char *id = text_of(entry, "id"), *text = text_of(entry, "text");
    const char *name = text_of(entry, "name"), *type = text_of(entry, "type");
    if (*id != '\0' || *text != '\0') buf__adds(out, *id != '\0' ? id : text);
    else buf__addf(out, "%s%s%s", name, *name != '\0' && *type != '\0' ? " " : "", type);
}

/** One entry of a list of the trade site. "sep" is a line or a heading between entries. */
static void add_entry(struct writer *w, yyjson_val *one) {
    struct buf name = {0};
    if (strcmp(text_of(one, "id"), "sep") == 0) return;
    ledger__entry_name(one, &name);
    add_row(w, "trade", "resource", w->a, name.at != NULL ? name.at : "", NULL);
    buf__fini(&name);
}

/** Groups hold entries, or filters; leagues are entries without a group. */
static void add_entries(struct writer *w, yyjson_val *list) {
    yyjson_val *one, *entry;
    size_t i, n, k, m;
    yyjson_arr_foreach(list, i, n, one) {
        yyjson_val *inner = yyjson_obj_get(one, "entries");
        if (inner == NULL) inner = yyjson_obj_get(one, "filters");
        if (!yyjson_is_arr(inner)) add_entry(w, one);
        yyjson_arr_foreach(inner, k, m, entry) { add_entry(w, entry); }
    }
}

static void add_items(struct writer *w, yyjson_val *items) {
    yyjson_val *item, *inner;
    size_t i, n;
    yyjson_arr_foreach(items, i, n, item) {
        add_row(w, "account", w->a, text_of(item, "id"), w->hash, NULL);
        inner = yyjson_obj_get(item, "socketedItems");
        if (inner != NULL) add_items(w, inner);
    }
}

static void add_leagues(struct writer *w, yyjson_val *root) {
    yyjson_val *list = yyjson_is_arr(root) ? root : yyjson_obj_get(root, "leagues"), *league;
    size_t i, n;
    yyjson_arr_foreach(list, i, n, league) {
        add_row(w, "league", w->a, text_of(league, "id"), w->hash, NULL);
    }
}

static void add_wiki(struct writer *w, yyjson_val *root) {
    yyjson_val *one;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(root, "cargoquery"), i, n, one) {
        add_row(w, "enrichment", "wiki", text_of(yyjson_obj_get(one, "title"), "id"), NULL, NULL);
    }
}

/** Copy HTML text to @out with the one entity undone that the simulator writes. */
static void undo_entities(struct span text, char *out) {
    static const char quote[] = "&#039;";
    for (size_t i = 0; i < text.len; i++) {
        bool is_quote =
            text.len - i >= sizeof quote - 1 && memcmp(text.at + i, quote, sizeof quote - 1) == 0;
        *out++ = is_quote ? '\'' : text.at[i];
        if (is_quote) i += sizeof quote - 2;
    }
    *out = '\0';
}

/** The names of a page's table: what stands in the link of each row's first cell. The simulator's
 * own page is that regular; this is no reader of HTML. */
static void add_poedb(struct writer *w, const struct body *body) {
    static const char row[] = "<tr><td><a ";
    const char *at = body->data, *end = body->data + body->len;
    char name[128];
    while ((at = memmem(at, (size_t)(end - at), row, sizeof row - 1)) != NULL) {
        const char *from = memchr(at, '"', (size_t)(end - at)), *to = NULL;
        if (from != NULL) from = memchr(from, '>', (size_t)(end - from));
        if (from != NULL) to = memchr(from, '<', (size_t)(end - from));
        if (to == NULL || (size_t)(to - from) > sizeof name) return;
        undo_entities((struct span){from + 1, (size_t)(to - from) - 1}, name);
        add_row(w, "enrichment", "poedb", name, NULL, NULL);
        at = to;
    }
}

void ledger__add_body(struct ledger *l, enum ledger_kind kind, const char *a, const char *b,
                      const struct body *body) {
    XXH128_hash_t full = XXH3_128bits(body->data, body->len);
    const char *name = ledger_kind_names[kind];
    struct writer w = {.l = l, .a = a, .b = b};
    yyjson_doc *doc;
    yyjson_val *root;
    snprintf(w.hash, sizeof w.hash, "%016llx%016llx", (unsigned long long)full.high64,
             (unsigned long long)full.low64);
    if (!hash_set__add(&l->written,
                       ledger__body_key((struct span){name, strlen(name)},
                                        (struct span){a, strlen(a)}, (struct span){b, strlen(b)},
                                        (struct span){w.hash, 32})))
        return;
    doc = kind == LEDGER_POEDB ? NULL : yyjson_read(body->data, body->len, 0);
    root = yyjson_doc_get_root(doc);
    switch (kind) {
    case LEDGER_EXCHANGE: add_exchange(&w, root); break;
    case LEDGER_TRADES: add_trades(&w, root); break;
    case LEDGER_RESOURCE:
        add_entries(&w, yyjson_is_arr(root) ? root : yyjson_obj_get(root, "result"));
        break;
    case LEDGER_ACCOUNT:
        add_items(&w, yyjson_obj_get(yyjson_obj_get(root, "stash"), "items"));
        break;
    case LEDGER_LEAGUES: add_leagues(&w, root); break;
    case LEDGER_POEDB: add_poedb(&w, body); break;
    case LEDGER_WIKI: add_wiki(&w, root); break;
    case LEDGER_KINDS: break;
    }
    yyjson_doc_free(doc);
    l->n_bodies++;
    l->n_body_rows += w.n_rows;
    if (l->file == NULL) return;
    buf__addf(&l->lines, "body\t%s\t", name);
    buf__add_tsv(&l->lines, a, strlen(a));
    buf__addc(&l->lines, '\t');
    buf__add_tsv(&l->lines, b, strlen(b));
    buf__addf(&l->lines, "\t%s\t%llu\n", w.hash, (unsigned long long)w.n_rows);
}
