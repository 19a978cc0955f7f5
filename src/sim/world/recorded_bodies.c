/* See replay.h: the recorded bodies of trade data, the exchange and an account. What the origin of
 * a recording had stripped or shaped in another way is put into the shape of the route: a bare
 * array becomes {"result":...}, the tabs of the legacy API become those of the OAuth API with short
 * ids. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include "../sim.h"
#include "recorded.h"

static void add_text(struct ninja_recorded **out, size_t *n, const char *path, const char *type,
                     const struct buf *text) {
    struct ninja_recorded *one;
    *out = realloc(*out, (*n + 1) * sizeof **out);
    if (*out == NULL) abort();
    one = &(*out)[(*n)++];
    memset(one, 0, sizeof *one);
    snprintf(one->path, sizeof one->path, "%s", path);
    snprintf(one->type, sizeof one->type, "%s", type);
    one->body = body__new(text->at, text->len);
}

/** Read a file of the recording as JSON: @name or @other, with .json or .json.gz. @return NULL with
 * @rc 0 when none is there, and with -1 when it is broken. */
static yyjson_doc *read_json(const char *dir, const char *name, const char *other, int *rc,
                             struct sim_err *e) {
    char path[1024] = "";
    struct buf text = {0};
    yyjson_doc *doc = NULL;
    bool there = false;
    *rc = 0;
    for (int i = 0; i < 4 && !there; i++) {
        snprintf(path, sizeof path, "%s/%s.json%s", dir, i < 2 ? name : other, i % 2 ? ".gz" : "");
        there = access(path, R_OK) == 0;
    }
    if (!there) return NULL;
    *rc = replay__read_file(path, &text, e);
    if (*rc == 0) doc = yyjson_read(text.at, text.len, YYJSON_READ_NUMBER_AS_RAW);
    if (*rc == 0 && doc == NULL) *rc = sim_err__setf(e, "replay %s: not JSON", path);
    buf__fini(&text);
    return doc;
}

static void add_value(struct buf *b, yyjson_val *v) {
    size_t len;
    char *text = yyjson_val_write(v, 0, &len);
    if (text == NULL) abort();
    buf__add(b, text, len);
    free(text);
}

static int load_trade(const char *dir, struct ninja_recorded **out, size_t *n, struct sim_err *e) {
    static const char *const files[][2] = {{"static", "trade/data-static-2026-08"},
                                           {"stats", "trade/data-stats-2026-08"},
                                           {"filters", "trade/data-filters-2026-08"},
                                           {"items", "trade/data-items-2019-12"},
                                           {"leagues", "trade/leagues-poe1-2026-08"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int rc;
        char other[64];
        snprintf(other, sizeof other, "trade/%s", files[i][0]);
        yyjson_doc *doc = read_json(dir, files[i][1], other, &rc, e);
        yyjson_val *root = yyjson_doc_get_root(doc);
        struct buf b = {0};
        if (rc != 0) return -1;
        if (doc == NULL) continue;
        if (yyjson_is_arr(root)) buf__adds(&b, "{\"result\":");
        add_value(&b, root);
        if (yyjson_is_arr(root)) buf__addc(&b, '}');
        add_text(out, n, "trade", files[i][0], &b);
        buf__fini(&b);
        yyjson_doc_free(doc);
    }
    return 0;
}

/** Keep the markets alone: every hour shows them under its own number. */
static int load_exchange(const char *dir, struct ninja_recorded **out, size_t *n,
                         struct sim_err *e) {
    int rc;
    yyjson_doc *doc =
        read_json(dir, "cx/digest-allflame-2026-08-excerpt", "exchange/digest", &rc, e);
    yyjson_val *markets = yyjson_obj_get(yyjson_doc_get_root(doc), "markets");
    if (markets != NULL) {
        struct buf b = {0};
        add_value(&b, markets);
        add_text(out, n, "cx", "pc", &b);
        buf__fini(&b);
    }
    yyjson_doc_free(doc);
    return rc;
}

/** Add the head of a tab: {"id":...,"index":i, without its end. */
static void add_tab(struct buf *b, yyjson_val *tab, size_t i, char id[11]) {
    const char *name = yyjson_get_str(yyjson_obj_get(tab, "n"));
    const char *type = yyjson_get_str(yyjson_obj_get(tab, "type"));
    const char *long_id = yyjson_get_str(yyjson_obj_get(tab, "id"));
    /* Some ids of the recording are the same. */
    snprintf(id, 11, "%.8s%02x", long_id != NULL ? long_id : "00000000", (unsigned)i & 0xff);
    buf__addf(b, "{\"id\":\"%s\",\"name\":", id);
    buf__add_json(b, name != NULL ? name : "", name != NULL ? strlen(name) : 0);
    buf__adds(b, ",\"type\":");
    buf__add_json(b, type != NULL ? type : "", type != NULL ? strlen(type) : 0);
    buf__addf(b, ",\"index\":%zu,\"metadata\":{\"colour\":\"ffaa00\"}", i);
}

static int load_account(const char *dir, struct ninja_recorded **out, size_t *n,
                        struct sim_err *e) {
    int rc;
    yyjson_doc *doc =
        read_json(dir, "account/stash-items-legacy-all-types", "account/legacy", &rc, e);
    yyjson_val *root = yyjson_doc_get_root(doc), *tab;
    yyjson_val *tabs = yyjson_obj_get(yyjson_obj_get(root, "stash_0"), "tabs");
    struct buf list = {0}, one = {0};
    size_t i, m;
    char id[11], key[24];
    if (tabs == NULL) {
        yyjson_doc_free(doc);
        return rc;
    }
    buf__adds(&list, "{\"stashes\":[");
    yyjson_arr_foreach(tabs, i, m, tab) {
        yyjson_val *items;
        if (i > 0) buf__addc(&list, ',');
        add_tab(&list, tab, i, id);
        buf__addc(&list, '}');
        snprintf(key, sizeof key, "stash_%zu", i);
        items = yyjson_obj_get(yyjson_obj_get(root, key), "items");
        buf__reset(&one);
        buf__adds(&one, "{\"stash\":");
        add_tab(&one, tab, i, id);
        buf__adds(&one, ",\"items\":");
        if (items != NULL) add_value(&one, items);
        else buf__adds(&one, "[]");
        buf__adds(&one, "}}");
        add_text(out, n, "account", id, &one);
    }
    buf__adds(&list, "]}");
    add_text(out, n, "account", "list", &list);
    buf__fini(&list);
    buf__fini(&one);
    yyjson_doc_free(doc);
    return 0;
}

int replay__load_bodies(const char *dir, struct ninja_recorded **out, size_t *n,
                        struct sim_err *e) {
    if (load_trade(dir, out, n, e) != 0 || load_exchange(dir, out, n, e) != 0) return -1;
    return load_account(dir, out, n, e);
}
