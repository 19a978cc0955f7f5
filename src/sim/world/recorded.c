/* See replay.h. The folder is that of the data samples: whole pages with or without their envelope,
 * loose stashes, and the history of one stash as one page a line. */
#include "recorded.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <yyjson.h>
#include <zlib.h>

#include "../sim.h"

enum { FILE_BYTES_MAX = 64 << 20 };

int replay__read_file(const char *path, struct buf *out, struct sim_err *e) {
    gzFile f = gzopen(path, "rb");
    int n = 1;
    buf__reset(out);
    out->max = FILE_BYTES_MAX;
    if (f == NULL) return sim_err__setf(e, "replay %s: %s", path, strerror(errno));
    while (n > 0) {
        char *room = buf__room(out, 1 << 16);
        if (room == NULL) break;
        n = gzread(f, room, 1 << 16);
        if (n > 0) out->len += (size_t)n;
    }
    gzclose(f);
    if (n != 0) return sim_err__setf(e, "replay %s: cannot be read, or has more than 64 MiB", path);
    buf__add(out, "", 0);
    return 0;
}

static void add_missing_str(yyjson_mut_doc *doc, yyjson_mut_val *stash, const char *key,
                            const char *value) {
    if (yyjson_mut_obj_get(stash, key) != NULL) return;
    yyjson_mut_obj_add_val(doc, stash, key,
                           value != NULL ? yyjson_mut_strcpy(doc, value) : yyjson_mut_null(doc));
}

/** Complete what the origin of a file had dropped: id from file and place, league from the first
 * item, the rest null. */
static void complete_stash(yyjson_mut_doc *doc, yyjson_mut_val *stash, uint64_t file_key,
                           size_t place) {
    yyjson_mut_val *first = yyjson_mut_arr_get_first(yyjson_mut_obj_get(stash, "items"));
    if (yyjson_mut_obj_get(stash, "id") == NULL) {
        struct buf id = {0};
        id__render(file_key, 'R', place, &id);
        add_missing_str(doc, stash, "id", id.at);
        buf__fini(&id);
    }
    if (yyjson_mut_obj_get(stash, "public") == NULL)
        yyjson_mut_obj_add_bool(doc, stash, "public", true);
    add_missing_str(doc, stash, "league", yyjson_mut_get_str(yyjson_mut_obj_get(first, "league")));
    add_missing_str(doc, stash, "accountName", NULL);
    add_missing_str(doc, stash, "stashType", "PremiumStash");
}

/** Take one recorded page: an object with `stashes`, an array of stashes, or one stash. */
static int add_page(struct river_options *o, yyjson_val *root, uint64_t file_key) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    yyjson_val *stashes = yyjson_is_obj(root) ? yyjson_obj_get(root, "stashes") : root, *stash;
    size_t i, n, len;
    char *text;
    if (yyjson_is_obj(root) && stashes == NULL) {
        yyjson_mut_arr_append(list, yyjson_val_mut_copy(doc, root));
    } else {
        yyjson_arr_foreach(stashes, i, n, stash) {
            if (yyjson_is_obj(stash)) yyjson_mut_arr_append(list, yyjson_val_mut_copy(doc, stash));
        }
    }
    n = yyjson_mut_arr_size(list);
    for (i = 0; i < n; i++) complete_stash(doc, yyjson_mut_arr_get(list, i), file_key, i);
    yyjson_mut_doc_set_root(doc, list);
    text = yyjson_mut_write(doc, 0, &len);
    yyjson_mut_doc_free(doc);
    if (text == NULL) return -1;
    if (n > 0) {
        o->replay = realloc(o->replay, (o->n_replay + 1) * sizeof *o->replay);
        o->replay_changes =
            realloc(o->replay_changes, (o->n_replay + 1) * sizeof *o->replay_changes);
        if (o->replay == NULL || o->replay_changes == NULL) abort();
        o->replay[o->n_replay] = body__new(text, len);
        o->replay_changes[o->n_replay++] = n;
    }
    free(text);
    return 0;
}

static int add_file(struct river_options *o, const char *path, struct sim_err *e) {
    const char *name = strrchr(path, '/') + 1;
    uint64_t file_key = XXH3_64bits(name, strlen(name));
    bool lines = strstr(name, ".jsonl") != NULL;
    struct buf text = {0};
    int rc = replay__read_file(path, &text, e);
    for (size_t at = 0; rc == 0 && at < text.len;) {
        const char *end = lines ? memchr(text.at + at, '\n', text.len - at) : NULL;
        size_t n = end != NULL ? (size_t)(end - text.at) - at : text.len - at;
        yyjson_doc *doc = yyjson_read(text.at + at, n, 0);
        yyjson_val *root = yyjson_doc_get_root(doc), *response = yyjson_obj_get(root, "response");
        if (doc == NULL || add_page(o, response != NULL ? response : root, file_key) != 0)
            rc = sim_err__setf(e, "replay %s: not JSON at byte %zu", path, at);
        yyjson_doc_free(doc);
        at += n + 1;
    }
    buf__fini(&text);
    return rc;
}

/** Find the files of @pattern below @dir, sorted by name. @dir is taken as it is written. */
static void find_files(const char *dir, const char *pattern, glob_t *out) {
    char text[2048];
    size_t n = 0;
    for (; *dir != '\0' && n + 2 < sizeof text; dir++) {
        if (strchr("*?[]\\", *dir) != NULL) text[n++] = '\\';
        text[n++] = *dir;
    }
    snprintf(text + n, sizeof text - n, "/%s", pattern);
    *out = (glob_t){0};
    if (glob(text, 0, NULL, out) != 0) out->gl_pathc = 0;
}

int replay__load_pages(const char *dir, struct river_options *o, struct sim_err *e) {
    static const char *const patterns[] = {"psapi/page*.json*", "psapi/stashes*.json*",
                                           "psapi/stash-quad*.json*",
                                           "psapi/stash-history*.jsonl*"};
    int rc = 0;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0] && rc == 0; i++) {
        glob_t found;
        find_files(dir, patterns[i], &found);
        for (size_t k = 0; k < found.gl_pathc && rc == 0; k++)
            rc = add_file(o, found.gl_pathv[k], e);
        globfree(&found);
    }
    if (rc != 0) {
        for (size_t i = 0; i < o->n_replay; i++) body__unref(o->replay[i]);
        free(o->replay);
        free(o->replay_changes);
        o->replay = NULL;
        o->replay_changes = NULL;
        o->n_replay = 0;
    }
    return rc;
}

static void add_recorded(struct ninja_recorded **out, size_t *n, const char *path, const char *type,
                         yyjson_val *v) {
    size_t len;
    char *text = yyjson_val_write(v, 0, &len);
    struct ninja_recorded *one;
    if (text == NULL) return;
    *out = realloc(*out, (*n + 1) * sizeof **out);
    if (*out == NULL) abort();
    one = &(*out)[(*n)++];
    memset(one, 0, sizeof *one);
    snprintf(one->path, sizeof one->path, "%s", path);
    snprintf(one->type, sizeof one->type, "%s", type);
    one->body = body__new(text, len);
    free(text);
}

/** Turn a name of the recording, e.g. unique-armour, into the type of the path, UniqueArmour. */
static void type_of(const char *name, char out[32]) {
    size_t n = 0;
    bool upper = true;
    for (; *name != '\0' && n + 1 < 32; name++) {
        if (*name == '-') upper = true;
        else {
            out[n++] = upper && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
            upper = false;
        }
    }
    out[n] = '\0';
}

/** Add single overviews: exchange.json, item.json and currency.json for any type,
 * exchange@Fragment.json for one; each as it is or with .gz. */
static int load_overviews(const char *dir, const char *path, struct ninja_recorded **out, size_t *n,
                          struct sim_err *e) {
    static const char *const ends[] = {".json", ".json.gz", "@*.json", "@*.json.gz"};
    struct buf text = {0};
    int rc = 0;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0] && rc == 0; i++) {
        char pattern[64], type[32] = "";
        glob_t found;
        snprintf(pattern, sizeof pattern, "ninja/%s%s", path, ends[i]);
        find_files(dir, pattern, &found);
        for (size_t k = 0; k < found.gl_pathc && rc == 0; k++) {
            const char *name = strrchr(found.gl_pathv[k], '/') + 1, *at = strchr(name, '@');
            yyjson_doc *doc;
            rc = replay__read_file(found.gl_pathv[k], &text, e);
            if (rc != 0) break;
            /* Numbers stay as they were written, also those that fit no type. */
            doc = yyjson_read(text.at, text.len, YYJSON_READ_NUMBER_AS_RAW);
            if (at != NULL) snprintf(type, sizeof type, "%.*s", (int)strcspn(at + 1, "."), at + 1);
            if (yyjson_is_arr(yyjson_obj_get(yyjson_doc_get_root(doc), "lines")))
                add_recorded(out, n, path, type, yyjson_doc_get_root(doc));
            else rc = sim_err__setf(e, "replay %s: is no overview", found.gl_pathv[k]);
            yyjson_doc_free(doc);
        }
        globfree(&found);
    }
    buf__fini(&text);
    return rc;
}

int replay__load_ninja(const char *dir, struct ninja_recorded **out, size_t *n, struct sim_err *e) {
    static const char *const single[] = {"exchange", "item", "currency"};
    char path[1024], type[32];
    struct buf text = {0};
    yyjson_doc *doc;
    yyjson_val *key, *v;
    size_t i, m;
    snprintf(path, sizeof path, "%s/ninja/overview-2026-08-new-shapes.json.gz", dir);
    for (size_t k = 0; k < sizeof single / sizeof single[0]; k++)
        if (load_overviews(dir, single[k], out, n, e) != 0) return -1;
    if (access(path, R_OK) != 0) return 0;
    if (replay__read_file(path, &text, e) != 0) return -1;
    doc = yyjson_read(text.at, text.len, 0);
    yyjson_obj_foreach(yyjson_doc_get_root(doc), i, m, key, v) {
        type_of(yyjson_get_str(key), type);
        add_recorded(out, n, yyjson_obj_get(v, "core") != NULL ? "exchange" : "item", type, v);
    }
    yyjson_doc_free(doc);
    buf__fini(&text);
    return 0;
}
