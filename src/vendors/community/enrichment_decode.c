/* Pages of community sites to rows of bronze_enrichment.
 *
 *   poedb  one row a row of a table, or an item of a list. A column that is about gold is a cost; a
 *          row whose cost cannot be read is refused, never guessed. Columns that name modifiers,
 *          their texts and groups fill the fields of those names.
 *   wiki   {cargoquery[{title{id, stat_text, mod_groups, ...}}]}: one row a modifier. Its text has
 *          references, tags and links, which are taken out.
 *
 * What is kept begins with the name of the page and a line feed. */
#include "../ggg/psapi_refusals.h"
#include "enrichment_internal.h"
#include "poedb_page.h"
#include "souk/tables.h"
#include <stdio.h>

enum { TEXT_MAX = 4096, PAYLOAD_MAX = 32768, METADATA_MAX = 256 };

static const struct {
    const char *name, *licence,
        *attribution; /* Page or table goes to the end of the attribution. */
} sites[] = {
    [ENRICHMENT_POEDB] = {"poedb", "none stated", "https://poedb.tw/us/"},
    [ENRICHMENT_WIKI] = {"wiki", "CC BY-NC-SA 3.0",
                         "https://www.poewiki.net/wiki/Special:CargoTables/"},
};

static yyjson_val *find_rows(yyjson_val *root, struct err *e) {
    yyjson_val *rows = yyjson_obj_get(root, "cargoquery"),
               *info = yyjson_obj_get(yyjson_obj_get(root, "error"), "info");
    if (yyjson_is_arr(rows)) return rows;
    /* Mistakes and limits of the wiki come with status 200. */
    if (yyjson_is_str(info))
        err__setf(e, ERR_MALFORMED, "\"%.*s\"", SLICE_FMT(tables__cut(decode__slice(info), 80)));
    else err__setf(e, ERR_MALFORMED, "\"cargoquery\" is not an array");
    return NULL;
}

static int count_wiki(struct slice body, uint32_t *n, struct err *e) {
    yyjson_doc *doc;
    if (decode__is_html(body))
        return err__setf(e, ERR_MALFORMED, "a page for people instead of data");
    int code = decode__read(body, &doc, e);
    if (code != 0) return code;
    yyjson_val *rows = find_rows(yyjson_doc_get_root(doc), e);
    *n = (uint32_t)yyjson_arr_size(rows);
    yyjson_doc_free(doc);
    return rows == NULL ? ERR_MALFORMED : 0;
}

int enrichment__count(enum enrichment_site site, struct slice body, uint32_t *n, struct err *e) {
    if (site == ENRICHMENT_WIKI) return count_wiki(body, n, e);
    *n = 0;
    if (!decode__is_html(body) || !slice__is_utf8(body))
        return err__setf(e, ERR_MALFORMED, "not a page of HTML in UTF-8");
    struct poedb_page p;
    poedb_page__init(&p, body);
    while (poedb_page__next(&p)) ++*n;
    bool failed = poedb_page__failed(&p);
    poedb_page__fini(&p);
    return failed ? err__setf(e, ERR_NOMEM, "no memory for a page") : 0;
}

/* What all rows of a page share. */
struct context {
    const struct page *page;
    enum enrichment_site site;
    struct slice name; /* Of the page. */
    char attribution[256];
    struct refusals refusals;
    struct buf payload, text, scratch;
};

static void write_row(struct context *c, struct enrichment_row *row, size_t index) {
    row->retrieved_wall_ns = c->page->received_wall_ns;
    row->source = slice__str(sites[c->site].name);
    row->page = c->name;
    row->licence = slice__str(sites[c->site].licence);
    row->attribution = slice__str(c->attribution);
    row->stale = c->page->freshness == PAGE_STALE;
    row->payload = buf__slice(&c->payload);
    row->origin =
        (struct row_origin){.src = ENRICHMENT_NAME, .lsn = c->page->lsn, .ord = (uint32_t)index};
    struct batch *b = rows__batch(c->refusals.rows, &table_bronze_enrichment, SLICE_LIT(""));
    if (b != NULL) tables__enrichment_row(b, row);
}

/* poedb. */

static bool holds(struct slice text, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= text.len; i++)
        if (slice__ieq(slice__of(text.base + i, n), slice__str(word))) return true;
    return false;
}

/* @return the text below the first heading that holds one of @words. */
static struct slice cell_under(const struct poedb_page *p, const char *const *words, size_t n) {
    for (size_t w = 0; w < n; w++)
        for (size_t i = 0; i < p->heads.n; i++)
            if (holds(poedb_cells__get(&p->heads, i), words[w]))
                return poedb_cells__get(&p->cells, i);
    return (struct slice){0};
}

/* @return the column of the gold cost, or POEDB_CELLS_MAX. Lists have no headings, and their costs
 * behind the name; so do tables of the page that is about nothing else. */
static size_t gold_column(const struct context *c, const struct poedb_page *p) {
    double cost;
    for (size_t i = 0; i < p->heads.n; i++)
        if (holds(poedb_cells__get(&p->heads, i), "gold")) return i;
    bool bare = p->heads.n == 0 && p->cells.n == 2 &&
                slice__eq(c->name, SLICE_LIT("Currency_Exchange")) &&
                poedb_page__cost(poedb_cells__get(&p->cells, 1), &cost);
    return bare ? 1 : POEDB_CELLS_MAX;
}

static int hex_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Links carry the game's id: data-hover="?s=Data%5CBaseItemTypes%2FMetadata%2FItems%2F...". */
static void add_metadata(struct buf *out, struct slice hover) {
    char id[METADATA_MAX];
    size_t n = 0;
    for (size_t i = 0; i < hover.len && n < sizeof id; i++) {
        char c = hover.base[i];
        int high = c == '%' && i + 2 < hover.len ? hex_of(hover.base[i + 1]) : -1;
        int low = high >= 0 ? hex_of(hover.base[i + 2]) : -1;
        if (low >= 0) {
            c = (char)(high * 16 + low);
            i += 2;
        }
        id[n++] = c == '\\' ? '/' : c;
    }
    char *at = memmem(id, n, "Metadata/Items/", 15);
    if (at == NULL) return;
    size_t len = 0, left = n - (size_t)(at - id);
    while (len < left && at[len] != '&' && at[len] != '"' && at[len] != '\'') len++;
    buf__append_str(out, ",\"metadata_id\":");
    buf__json_string(out, slice__of(at, len));
}

static void add_field(struct buf *out, const char *name, struct slice text) {
    if (text.len == 0) return;
    buf__printf(out, ",\"%s\":", name);
    buf__json_string(out, text);
}

static void write_payload(struct context *c, const struct poedb_page *p) {
    struct slice href = {0}, hover = {0};
    struct buf *out = &c->payload;
    buf__clear(out);
    buf__append_str(out, "{\"cells\":{");
    for (size_t i = 0; i < p->cells.n; i++) {
        struct slice head = poedb_cells__get(&p->heads, i);
        char number[24];
        snprintf(number, sizeof number, "%zu", i + 1);
        buf__append_str(out, i == 0 ? "" : ",");
        buf__json_string(out, head.len > 0 ? head : slice__str(number));
        buf__append_str(out, ":");
        buf__json_string(out, poedb_cells__get(&p->cells, i));
    }
    buf__append_str(out, "}");
    add_field(out, "category", slice__trim(buf__slice(&p->category)));
    add_field(out, "section", slice__trim(buf__slice(&p->section)));
    if (html_scan__attr(p->link, "href", &href)) add_field(out, "href", href);
    if (html_scan__attr(p->link, "data-hover", &hover)) add_metadata(out, hover);
    buf__append_str(out, "}");
}

/* Refuses the row: its payload is the entry, and the cell @column what is wrong with it. */
static void refuse_row(struct context *c, const struct poedb_page *p, enum quality_reason reason,
                       size_t index, size_t column) {
    char at[32], field[32] = "";
    struct err e;
    yyjson_doc *doc = NULL;
    snprintf(at, sizeof at, "rows[%zu]", index);
    if (column < p->cells.n) snprintf(field, sizeof field, "cells[%zu]", column);
    decode__read(buf__slice(&c->payload), &doc, &e);
    yyjson_val *root = yyjson_doc_get_root(doc), *value = NULL;
    if (column < p->cells.n) {
        yyjson_obj_iter it = yyjson_obj_iter_with(yyjson_obj_get(root, "cells"));
        yyjson_val *key = NULL;
        for (size_t i = 0; i <= column; i++) key = yyjson_obj_iter_next(&it);
        value = key == NULL ? NULL : yyjson_obj_iter_get_val(key);
    }
    refusals__add(&c->refusals, reason, at, field, value, root);
    yyjson_doc_free(doc);
}

static void write_poedb_row(struct context *c, const struct poedb_page *p, size_t index) {
    static const char *const ids[] = {"mod id", "modid", "mod_id", "code"},
                             *const texts[] = {"description", "modifier", "stat", "text", "mod"},
                             *const groups[] = {"group", "family"};
    struct enrichment_row row = {0};
    size_t gold = gold_column(c, p);
    write_payload(c, p);
    for (size_t i = 0; i < p->cells.n && row.key.len == 0; i++)
        row.key = poedb_cells__get(&p->cells, i);
    if (p->too_many) {
        refuse_row(c, p, QUALITY_TOO_MANY, index, POEDB_CELLS_MAX);
        return;
    }
    if (gold != POEDB_CELLS_MAX) {
        struct slice cost = poedb_cells__get(&p->cells, gold);
        if (!poedb_page__cost(cost, &row.gold_per_unit)) {
            refuse_row(c, p, cost.len == 0 ? QUALITY_MISSING_FIELD : QUALITY_WRONG_TYPE, index,
                       gold);
            return;
        }
    } else {
        row.mod_id = cell_under(p, ids, sizeof ids / sizeof *ids);
        row.mod_description = cell_under(p, texts, sizeof texts / sizeof *texts);
        row.craft_group = cell_under(p, groups, sizeof groups / sizeof *groups);
    }
    write_row(c, &row, index);
}

static int decode_poedb(struct context *c, struct slice body, struct err *e) {
    struct poedb_page p;
    uint64_t n_over = 0;
    poedb_page__init(&p, body);
    for (size_t i = 0; poedb_page__next(&p); i++) {
        if (i >= ENRICHMENT_ROWS_MAX) n_over++;
        else write_poedb_row(c, &p, i);
    }
    if (n_over > 0) refusals__over(&c->refusals, n_over);
    bool failed = poedb_page__failed(&p);
    poedb_page__fini(&p);
    return failed ? err__setf(e, ERR_NOMEM, ENRICHMENT_NAME ": no memory for a page") : 0;
}

/* wiki. */

/* Takes references, tags and links out: &lt;br&gt;, <br>, [[Page|text]]. */
static struct slice plain_text(struct context *c, struct slice raw) {
    struct html_token t;
    buf__clear(&c->scratch);
    buf__clear(&c->text);
    html_scan__text(&c->scratch, raw, TEXT_MAX);
    struct html_scan scan = html_scan__of(buf__slice(&c->scratch));
    while (html_scan__next(&scan, &t))
        html_scan__text(&c->text, t.kind == HTML_TEXT ? t.text : SLICE_LIT(" "), TEXT_MAX);
    char *text = c->text.base;
    size_t len = 0;
    for (size_t i = 0; i < c->text.len; i++) { /* Writes behind where it reads. */
        bool opens = c->text.len - i > 2 && text[i] == '[' && text[i + 1] == '[';
        char *end = opens ? memmem(text + i, c->text.len - i, "]]", 2) : NULL;
        if (end == NULL) {
            text[len++] = text[i];
            continue;
        }
        char *from = text + i + 2, *bar = memchr(from, '|', (size_t)(end - from));
        if (bar != NULL) from = bar + 1;
        size_t n = (size_t)(end - from);
        memmove(text + len, from, n);
        len += n;
        i = (size_t)(end - text) + 1;
    }
    return slice__trim(slice__of(text, len));
}

/* A field by its name; Cargo shows blanks for underscores where no other name was asked for. */
static bool read_field(yyjson_val *title, const char *name, struct slice *out,
                       struct decode_fault *f) {
    char shown[32];
    yyjson_val *v = yyjson_obj_get(title, name);
    size_t i = 0;
    for (; name[i] != '\0' && i + 1 < sizeof shown; i++)
        shown[i] = (char)(name[i] == '_' ? ' ' : name[i]);
    shown[i] = '\0';
    if (v == NULL) v = yyjson_obj_get(title, shown);
    return decode__str(v, name, TEXT_MAX, out, f);
}

static bool read_mod(struct context *c, yyjson_val *json, struct enrichment_row *row,
                     struct decode_fault *f) {
    struct slice text = {0};
    if (!yyjson_is_obj(json)) return decode__failf(f, DECODE_WRONG_TYPE, json, "%s", "");
    yyjson_val *title = yyjson_obj_get(json, "title");
    if (!decode__need(title, "title", f)) return false;
    if (!yyjson_is_obj(title)) return decode__failf(f, DECODE_WRONG_TYPE, title, "title");
    uint32_t *n_lost = &c->refusals.rows->n_fields_lost;
    if (!read_field(title, "id", &row->mod_id, f)) return false;
    if (!read_field(title, "stat_text", &text, f)) decode__lose(f, n_lost);
    if (!read_field(title, "mod_groups", &row->craft_group, f)) decode__lose(f, n_lost);
    if (row->mod_id.len == 0) return decode__failf(f, DECODE_MISSING, NULL, "title.id");
    buf__clear(&c->payload);
    if (!decode__write(&c->payload, title, PAYLOAD_MAX))
        return decode__failf(f, DECODE_TOO_LONG, title, "title");
    row->key = row->mod_id;
    row->mod_description = plain_text(c, text);
    return true;
}

static int decode_wiki(struct context *c, struct slice body, struct err *e) {
    yyjson_doc *doc;
    int code = decode__read(body, &doc, e);
    if (code != 0) return err__prefixf(e, ENRICHMENT_NAME);
    size_t i, n;
    yyjson_val *json, *rows = find_rows(yyjson_doc_get_root(doc), e);
    if (rows == NULL) code = err__prefixf(e, ENRICHMENT_NAME);
    yyjson_arr_foreach(rows, i, n, json) {
        if (i >= ENRICHMENT_ROWS_MAX) {
            refusals__over(&c->refusals, n - i);
            break;
        }
        struct decode_fault f = {.kind = DECODE_FINE};
        struct enrichment_row row = {0};
        char at[32];
        snprintf(at, sizeof at, "cargoquery[%zu]", i);
        if (read_mod(c, json, &row, &f)) write_row(c, &row, i);
        else refusals__fault(&c->refusals, at, &f, json);
    }
    yyjson_doc_free(doc);
    return code;
}

int enrichment__decode(const struct page *page, const struct decode_context *context,
                       struct rows *out, struct err *e) {
    (void)context;
    const char *feed = memchr(page->body.base, '\n', page->body.len);
    size_t n = feed == NULL ? 0 : (size_t)(feed - page->body.base);
    if (n == 0 || n > 128)
        return err__setf(e, ERR_MALFORMED, ENRICHMENT_NAME ": the name of the page is missing");
    struct context c = {.page = page,
                        .site = enrichment__site(page->stream->key),
                        .name = slice__of(page->body.base, n),
                        .payload = buf__init(2 * DECODE_BODY_MAX),
                        .text = buf__init(2 * TEXT_MAX),
                        .scratch = buf__init(2 * TEXT_MAX)};
    struct slice body = slice__of(feed + 1, page->body.len - n - 1);
    snprintf(c.attribution, sizeof c.attribution, "%s%.*s", sites[c.site].attribution,
             SLICE_FMT(c.name));
    refusals__init(&c.refusals, page, ENRICHMENT_NAME, table_bronze_enrichment.name, out);
    int code = c.site == ENRICHMENT_WIKI ? decode_wiki(&c, body, e) : decode_poedb(&c, body, e);
    refusals__end(&c.refusals);
    refusals__fini(&c.refusals);
    bool no_memory = c.payload.no_memory || c.text.no_memory || c.scratch.no_memory;
    if (code == 0 && (no_memory || c.payload.failed || refusals__rows_failed(out))) {
        code = no_memory || rows__no_memory(out) ? ERR_NOMEM : ERR_LIMIT;
        err__setf(e, code, ENRICHMENT_NAME ": the rows of one page do not fit");
    }
    if (code != 0) rows__fini(out);
    buf__fini(&c.payload);
    buf__fini(&c.text);
    buf__fini(&c.scratch);
    return code;
}
