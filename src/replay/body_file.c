/* Listing does not sort by the locale, and takes neither dates nor sizes of files: a copy of the
 * folder reads the same anywhere. What can fail: a folder or file that cannot be read, one that is
 * cut short or too large. */
#include "body_file.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

static const struct {
    const char *folder, *prefix, *suffix;
    enum body_file_kind kind;
} patterns[] = {
    {"psapi", "page-", ".json", BODY_FILE_PAGE},
    {"psapi", "stashes", ".json", BODY_FILE_PAGE},
    {"psapi", "stash-quad", ".json", BODY_FILE_PAGE},
    {"psapi", "stash-history", ".jsonl", BODY_FILE_PAGES},
    {"ninja", "overview", ".json", BODY_FILE_OVERVIEW},
};
#define N_PATTERNS (sizeof patterns / sizeof *patterns)

static bool ends_with(struct slice s, const char *suffix) {
    size_t n = strlen(suffix);
    return s.len >= n && memcmp(s.base + s.len - n, suffix, n) == 0;
}

static bool matches(const char *name, size_t i) {
    struct slice s = slice__str(name);
    if (!slice__starts(s, slice__str(patterns[i].prefix))) return false;
    if (ends_with(s, ".gz")) s.len -= 3;
    else if (ends_with(s, ".zst")) s.len -= 4;
    return ends_with(s, patterns[i].suffix);
}

static int add(struct body_files *f, const char *dir, const char *name, size_t rank) {
    if (f->n == BODY_FILES_MAX) return ERR_LIMIT;
    if (f->n == f->cap) {
        size_t cap = f->cap == 0 ? 64 : f->cap * 2;
        struct body_file *grown = realloc(f->files, cap * sizeof *grown);
        if (grown == NULL) return ERR_NOMEM;
        f->files = grown;
        f->cap = cap;
    }
    struct body_file *one = &f->files[f->n];
    *one = (struct body_file){.kind = patterns[rank].kind, .rank = rank};
    if (asprintf(&one->path, "%s/%s", dir, name) < 0) return ERR_NOMEM;
    one->name = one->path + strlen(dir) + 1;
    f->n++;
    return 0;
}

static int list_folder(struct body_files *f, const char *dir, const char *folder, struct err *e) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", dir, folder) >= (int)sizeof path)
        return err__setf(e, ERR_LIMIT, "%s: the path is too long", dir);
    DIR *d = opendir(path);
    if (d == NULL && errno == ENOENT) return 0;
    if (d == NULL) return err__setf(e, ERR_IO, "%s: %s", path, strerror(errno));
    int code = 0;
    for (struct dirent *x; code == 0 && (x = readdir(d)) != NULL;)
        for (size_t i = 0; code == 0 && i < N_PATTERNS; i++)
            if (strcmp(patterns[i].folder, folder) == 0 && matches(x->d_name, i)) {
                code = add(f, path, x->d_name, i);
                break;
            }
    closedir(d);
    return code == 0 ? 0 : err__setf(e, code, "%s: %s", path, err__text(code));
}

static int by_rank_and_name(const void *a, const void *b) {
    const struct body_file *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return strcmp(x->name, y->name);
}

int body_files__list(struct body_files *out, const char *dir, struct err *e) {
    *out = (struct body_files){0};
    int code = list_folder(out, dir, "psapi", e);
    if (code == 0) code = list_folder(out, dir, "ninja", e);
    if (code == 0 && out->n == 0)
        code = err__setf(e, ERR_NOT_FOUND, "%s: no psapi/page-*.json or the like", dir);
    if (code != 0) {
        body_files__fini(out);
        return code;
    }
    qsort(out->files, out->n, sizeof *out->files, by_rank_and_name);
    return 0;
}

void body_files__fini(struct body_files *f) {
    for (size_t i = 0; i < f->n; i++) free(f->files[i].path);
    free(f->files);
    *f = (struct body_files){0};
}

static int read_gzip(const char *path, struct buf *out, struct err *e) {
    gzFile f = gzopen(path, "rb"); /* Reads plain files too. */
    if (f == NULL) return err__setf(e, ERR_IO, "%s: %s", path, strerror(errno));
    int n = 1;
    while (n > 0) {
        char *at = buf__reserve(out, 1 << 18);
        if (at == NULL) break;
        n = gzread(f, at, 1 << 18);
        if (n > 0) out->len += (size_t)n;
    }
    int status = gzclose(f);
    if (out->failed) return err__setf(e, ERR_LIMIT, "%s: too large", path);
    if (n < 0 || status != Z_OK) return err__setf(e, ERR_IO, "%s: cannot be read whole", path);
    return 0;
}

static int unpack_zstd(const char *path, FILE *f, ZSTD_DStream *z, struct buf *out, struct err *e) {
    char in[1 << 16];
    size_t left = 0; /* Of a frame: 0 where one ends. */
    for (size_t n; (n = fread(in, 1, sizeof in, f)) > 0;) {
        ZSTD_inBuffer from = {.src = in, .size = n};
        while (from.pos < from.size) {
            char *at = buf__reserve(out, 1 << 18);
            if (at == NULL) return err__setf(e, ERR_LIMIT, "%s: too large", path);
            ZSTD_outBuffer to = {.dst = at, .size = 1 << 18};
            left = ZSTD_decompressStream(z, &to, &from);
            out->len += to.pos;
            if (ZSTD_isError(left))
                return err__setf(e, ERR_IO, "%s: %s", path, ZSTD_getErrorName(left));
        }
    }
    if (ferror(f) || left != 0) return err__setf(e, ERR_IO, "%s: cannot be read whole", path);
    return 0;
}

static int read_zstd(const char *path, struct buf *out, struct err *e) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) return err__setf(e, ERR_IO, "%s: %s", path, strerror(errno));
    ZSTD_DStream *z = ZSTD_createDStream();
    int code =
        z == NULL ? err__setf(e, ERR_NOMEM, "out of memory") : unpack_zstd(path, f, z, out, e);
    ZSTD_freeDStream(z);
    fclose(f);
    return code;
}

int body_file__read(const char *path, struct buf *out, struct err *e) {
    buf__clear(out);
    out->max = BODY_FILE_BYTES_MAX;
    return ends_with(slice__str(path), ".zst") ? read_zstd(path, out, e) : read_gzip(path, out, e);
}
