/* See ledger.h. Rows come from parsing the very bytes that were sent: whatever made them, the
 * ledger tells what a correct reader must have found. */
#include "ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#include <yyjson.h>

bool hash_set__add(struct hash_set *s, uint64_t h) {
    size_t at;
    if (h == 0) h = 1;
    if (2 * (s->n + 1) > s->cap) {
        struct hash_set wider = {.cap = s->cap == 0 ? 1024 : s->cap * 2};
        wider.at = calloc(wider.cap, sizeof *wider.at);
        if (wider.at == NULL) abort();
        for (size_t i = 0; i < s->cap; i++)
            if (s->at[i] != 0) hash_set__add(&wider, s->at[i]);
        free(s->at);
        *s = wider;
    }
    for (at = h & (s->cap - 1); s->at[at] != 0; at = (at + 1) & (s->cap - 1))
        if (s->at[at] == h) return false;
    s->at[at] = h;
    s->n++;
    return true;
}

bool hash_set__has(const struct hash_set *s, uint64_t h) {
    if (h == 0) h = 1;
    for (size_t at = h & (s->cap - 1); s->cap > 0 && s->at[at] != 0; at = (at + 1) & (s->cap - 1))
        if (s->at[at] == h) return true;
    return false;
}

void hash_set__fini(struct hash_set *s) {
    free(s->at);
    memset(s, 0, sizeof *s);
}

static uint64_t page_key(struct span realm, struct span cursor) {
    return XXH3_64bits_withSeed(cursor.at, cursor.len, XXH3_64bits(realm.at, realm.len));
}

static uint64_t ninja_key(struct span league, struct span type, uint64_t hash) {
    return mix64(XXH3_64bits_withSeed(league.at, league.len, XXH3_64bits(type.at, type.len)), hash);
}

/** Split a line at its tabs. @return the number of fields, at most @max. */
static size_t split(struct span line, struct span *out, size_t max) {
    size_t n = 0;
    for (;;) {
        const char *tab = line.len > 0 ? memchr(line.at, '\t', line.len) : NULL;
        if (n == max) return n;
        out[n++] = (struct span){line.at, tab != NULL ? (size_t)(tab - line.at) : line.len};
        if (tab == NULL) return n;
        line = (struct span){tab + 1, line.len - (size_t)(tab - line.at) - 1};
    }
}

/** Read what is written already. @return 0, with @good the end of the last complete group of lines.
 */
static int recover(struct ledger *l, long *good) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    long at = 0;
    *good = 0;
    while ((n = getline(&line, &cap, l->file)) > 0) {
        struct span f[8], whole = {line, (size_t)n - 1};
        size_t n_fields;
        if (line[n - 1] != '\n') break; /* Torn. */
        at += n;
        n_fields = split(whole, f, 8);
        if (n_fields == 7 && span__is(f[0], "psapi-page")) {
            hash_set__add(&l->written, page_key(f[1], f[2]));
            *good = at;
        } else if (n_fields == 6 && span__is(f[0], "ninja")) {
            /* The key is the lower half of the 32 digits. */
            uint64_t hash = f[3].len == 32 ? strtoull(f[3].at + 16, NULL, 16) : 0;
            hash_set__add(&l->written, ninja_key(f[1], f[2], hash));
            *good = at;
        } else if (n_fields == 6 && span__is(f[0], "body")) {
            hash_set__add(&l->written, ledger__body_key(f[1], f[2], f[3], f[4]));
            *good = at;
        }
    }
    free(line);
    return 0;
}

int ledger__init(struct ledger *l, const char *dir, struct sim_err *e) {
    char path[1024];
    long good;
    memset(l, 0, sizeof *l);
    if (dir == NULL) return 0;
    snprintf(path, sizeof path, "%s/ledger.tsv", dir);
    l->file = fopen(path, "a+b");
    if (l->file == NULL) return sim_err__setf(e, "ledger %s: %s", path, strerror(errno));
    if (fseek(l->file, 0, SEEK_SET) != 0 || recover(l, &good) != 0 ||
        ftruncate(fileno(l->file), good) != 0 || fseek(l->file, 0, SEEK_END) != 0) {
        sim_err__setf(e, "ledger %s: %s", path, strerror(errno));
        ledger__fini(l);
        return -1;
    }
    snprintf(path, sizeof path, "%s/violations.jsonl", dir);
    l->violations = fopen(path, "ab");
    if (l->violations == NULL) {
        sim_err__setf(e, "violation log %s: %s", path, strerror(errno));
        ledger__fini(l);
        return -1;
    }
    return 0;
}

void ledger__fini(struct ledger *l) {
    if (l->file != NULL) {
        ledger__flush(l, NULL);
        fclose(l->file);
    }
    if (l->violations != NULL) fclose(l->violations);
    buf__fini(&l->lines);
    hash_set__fini(&l->written);
    memset(l, 0, sizeof *l);
}

int ledger__flush(struct ledger *l, struct sim_err *e) {
    if (l->lines.len > 0) {
        if (l->lines.overflow) l->failed = true;
        if (l->file != NULL &&
            (fwrite(l->lines.at, 1, l->lines.len, l->file) != l->lines.len || fflush(l->file) != 0))
            l->failed = true;
        buf__reset(&l->lines);
    }
    return l->failed ? sim_err__setf(e, "ledger.tsv cannot be written: %s", strerror(errno)) : 0;
}

static void add_field(struct buf *b, const char *text, size_t n) {
    buf__addc(b, '\t');
    buf__add_tsv(b, text, n);
}

static void add_str(struct buf *b, yyjson_val *v) {
    const char *s = yyjson_get_str(v);
    add_field(b, s != NULL ? s : "", s != NULL ? yyjson_get_len(v) : 0);
}

/** The text that prices an item: its note, else its forum note, else the name of its tab. */
static yyjson_val *price_text(yyjson_val *item, yyjson_val *stash) {
    yyjson_val *v = yyjson_obj_get(item, "note");
    if (!yyjson_is_str(v)) v = yyjson_obj_get(item, "forum_note");
    if (!yyjson_is_str(v)) v = yyjson_obj_get(stash, "stash");
    return v;
}

void ledger__add_page(struct ledger *l, const char *realm, const char *cursor, const char *next,
                      const struct body *body) {
    yyjson_doc *doc;
    yyjson_val *stash, *item;
    size_t i, n, k, m;
    uint64_t n_stashes = 0, n_items = 0;
    if (!hash_set__add(&l->written, page_key((struct span){realm, strlen(realm)},
                                             (struct span){cursor, strlen(cursor)})))
        return;
    doc = yyjson_read(body->data, body->len, 0);
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "stashes"), i, n, stash) {
        n_stashes++;
        yyjson_arr_foreach(yyjson_obj_get(stash, "items"), k, m, item) {
            n_items++;
            if (l->file == NULL) continue;
            buf__addf(&l->lines, "psapi\t%s\t%s\t%s", realm, cursor, next);
            add_str(&l->lines, yyjson_obj_get(stash, "id"));
            buf__addc(&l->lines, '\t');
            buf__add_u64(&l->lines, k);
            add_str(&l->lines, yyjson_obj_get(item, "id"));
            add_str(&l->lines, price_text(item, stash));
            buf__addc(&l->lines, '\n');
        }
    }
    yyjson_doc_free(doc);
    l->n_pages++;
    l->n_rows += n_items;
    if (l->file == NULL) return;
    buf__addf(&l->lines, "psapi-page\t%s\t%s\t%s\t%llu\t%llu\t%016llx\n", realm, cursor, next,
              (unsigned long long)n_stashes, (unsigned long long)n_items,
              (unsigned long long)XXH3_64bits(body->data, body->len));
}

/** @return the detailsId of a line: its own, or in the exchange form that of the item which the
 * line's id names. */
static yyjson_val *details_id(yyjson_val *root, yyjson_val *line) {
    yyjson_val *own = yyjson_obj_get(line, "detailsId"), *id = yyjson_obj_get(line, "id"), *item;
    size_t i, n;
    if (yyjson_is_str(own) || !yyjson_is_str(id)) return own;
    yyjson_arr_foreach(yyjson_obj_get(root, "items"), i, n, item) {
        yyjson_val *item_id = yyjson_obj_get(item, "id");
        if (yyjson_is_str(item_id) && strcmp(yyjson_get_str(item_id), yyjson_get_str(id)) == 0 &&
            yyjson_is_str(yyjson_obj_get(item, "detailsId")))
            return yyjson_obj_get(item, "detailsId");
    }
    return id;
}

void ledger__add_ninja(struct ledger *l, const char *league, const char *type,
                       const struct body *body) {
    static const char *const values[] = {"primaryValue", "chaosEquivalent", "chaosValue"};
    XXH128_hash_t full = XXH3_128bits(body->data, body->len);
    uint64_t hash = full.low64;
    yyjson_doc *doc;
    yyjson_val *line;
    size_t i, n;
    if (!hash_set__add(&l->written, ninja_key((struct span){league, strlen(league)},
                                              (struct span){type, strlen(type)}, hash)))
        return;
    doc = yyjson_read(body->data, body->len, YYJSON_READ_NUMBER_AS_RAW);
    l->n_ninja_bodies++;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "lines"), i, n, line) {
        yyjson_val *id = details_id(yyjson_doc_get_root(doc), line), *value = NULL;
        for (size_t k = 0; k < 3 && value == NULL; k++) value = yyjson_obj_get(line, values[k]);
        l->n_ninja_rows++;
        if (l->file == NULL) continue;
        buf__adds(&l->lines, "ninja");
        add_field(&l->lines, league, strlen(league));
        add_field(&l->lines, type, strlen(type));
        buf__addf(&l->lines, "\t%016llx%016llx", (unsigned long long)full.high64,
                  (unsigned long long)full.low64);
        add_str(&l->lines, id);
        add_field(&l->lines, yyjson_is_raw(value) ? yyjson_get_raw(value) : "",
                  yyjson_is_raw(value) ? yyjson_get_len(value) : 0);
        buf__addc(&l->lines, '\n');
    }
    yyjson_doc_free(doc);
}

void ledger__add_violation(struct ledger *l, int64_t wall_ns, const char *path, const char *policy,
                           const char *window, int64_t hits, bool while_restricted) {
    struct buf line = {0};
    struct tm utc;
    time_t s = (time_t)(wall_ns / SIM_NS_PER_S);
    char when[32];
    l->n_violations++;
    if (l->violations == NULL) return;
    gmtime_r(&s, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    buf__addf(&line, "{\"time\":\"%s.%03dZ\",\"path\":", when,
              (int)(wall_ns % SIM_NS_PER_S / SIM_NS_PER_MS));
    buf__add_json(&line, path, strlen(path));
    buf__addf(&line,
              ",\"policy\":\"%s\",\"window\":\"%s\",\"hits\":%lld,\"while_restricted\":%s}\n",
              policy, window, (long long)hits, while_restricted ? "true" : "false");
    fwrite(line.at, 1, line.len, l->violations);
    fflush(l->violations);
    buf__fini(&line);
}
