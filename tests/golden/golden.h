/* What the tests and the bench of the sources share: bodies from files, and reading cells of a
 * batch back. Header only. */
#ifndef SOUK_TESTS_GOLDEN_H
#define SOUK_TESTS_GOLDEN_H

#include "../lib/data_dir.h"
#include "souk/core/batch.h"
#include "souk/source.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* Reads the file at @path, through gzip where it is. @return false when it is not there. @out is
 * the caller's. */
static inline bool golden__read(const char *path, struct buf *out) {
    gzFile f = gzopen(path, "rb");
    if (f == NULL) return false;
    *out = buf__init((size_t)64 << 20);
    for (;;) {
        char *at = buf__reserve(out, (size_t)1 << 18);
        assert(at != NULL);
        int n = gzread(f, at, 1 << 18);
        assert(n >= 0);
        if (n == 0) break;
        out->len += (size_t)n;
    }
    gzclose(f);
    return true;
}

/* Reads @file below the directory that the environment names in @root, as golden__read(). */
static inline bool golden__load(const char *root, const char *file, struct buf *out) {
    char path[2048];
    const char *dir = getenv(root);
    if (dir == NULL) return false;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return golden__read(path, out);
}

/* Reads the body @file of @origin, which must be there. @out is the caller's. */
static inline void golden__body(enum data_origin origin, const char *file, struct buf *out) {
    char path[2048];
    data__path(origin, file, path, sizeof path);
    if (!golden__read(path, out)) {
        fprintf(stderr, "no %s\n", path);
        abort();
    }
}

/* Adds a line for each batch: @file, table, part, rows, hash of the rows. */
static inline void golden__digest(const struct rows *rows, const char *file, struct buf *out) {
    for (size_t i = 0; i < rows->n; i++) {
        char hash[33];
        const struct batch *b = &rows->batches[i].batch;
        batch__hash(b, hash);
        buf__printf(out, "%s %s %s %zu %s\n", file, b->table->name, rows->batches[i].part,
                    b->n_rows, hash);
    }
}

/* Compares what the bodies of @origin make with the lines of tests/golden/NAME.digest, or
 * NAME_recorded.digest. tests/golden/refresh sets SOUK_GOLDEN_REFRESH: then the file becomes @got.
 * @return whether they are equal; what differs was printed. */
static inline bool golden__same(const char *name, enum data_origin origin, const struct buf *got) {
    char file[128], path[2048];
    struct buf want = {0};
    assert(got->len > 0 && !got->failed);
    snprintf(file, sizeof file, "tests/golden/%s%s.digest", name,
             origin == DATA_RECORDED ? "_recorded" : "");
    if (getenv("SOUK_GOLDEN_REFRESH") != NULL) {
        snprintf(path, sizeof path, "%s/%s", getenv("SOUK_SOURCE"), file);
        FILE *out = fopen(path, "wb");
        bool written = out != NULL && fwrite(got->base, 1, got->len, out) == got->len;
        return out != NULL && fclose(out) == 0 && written;
    }
    bool same =
        golden__load("SOUK_SOURCE", file, &want) && slice__eq(buf__slice(got), buf__slice(&want));
    if (!same)
        fprintf(stderr,
                "the rows are not those of %s; when that is meant, run tests/golden/refresh. They "
                "are\n%.*s",
                file, SLICE_FMT(buf__slice(got)));
    buf__fini(&want);
    return same;
}

/* Puts a bare array of stashes into the envelope that psapi sends. */
static inline void golden__envelope(struct buf *stashes) {
    struct buf page = buf__init((size_t)64 << 20);
    buf__append_str(&page, "{\"next_change_id\":\"2-2-2-2-2\",\"stashes\":");
    buf__append_slice(&page, buf__slice(stashes));
    buf__append_str(&page, "}");
    assert(!page.failed);
    buf__fini(stashes);
    *stashes = page;
}

/* Cells. @return the bytes of a cell; numbers as their 64 bits. */
static inline size_t golden__column(const struct batch *b, const char *name) {
    for (size_t i = 0; i < b->table->n_columns; i++)
        if (strcmp(b->table->columns[i].name, name) == 0) return i;
    assert(false && "no such column");
    return 0;
}
static inline struct slice golden__str(const struct batch *b, const char *column, size_t row) {
    struct reader r = reader__of(buf__slice(&b->columns[golden__column(b, column)].data));
    struct slice s = {0};
    for (size_t i = 0; i <= row; i++) s = reader__string(&r);
    assert(!r.failed);
    return s;
}
static inline int64_t golden__int(const struct batch *b, const char *column, size_t row) {
    static const size_t widths[] = {
        [COLUMN_U8] = 1,  [COLUMN_U16] = 2, [COLUMN_U32] = 4, [COLUMN_I32] = 4,
        [COLUMN_U64] = 8, [COLUMN_I64] = 8, [COLUMN_F64] = 8, [COLUMN_STR] = 0,
    };
    size_t c = golden__column(b, column), width = widths[b->table->columns[c].kind];
    uint64_t v = 0;
    assert(width > 0 && row < b->n_rows);
    memcpy(&v, b->columns[c].data.base + row * width, width); /* Little-endian, as the tests run. */
    return (int64_t)v;
}
static inline double golden__f64(const struct batch *b, const char *column, size_t row) {
    int64_t bits = golden__int(b, column, row);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
/* @return the batch of @table and @part, or NULL. */
static inline const struct batch *golden__batch(const struct rows *rows,
                                                const struct table_desc *table, const char *part) {
    for (size_t i = 0; i < rows->n; i++)
        if (rows->batches[i].batch.table == table && strcmp(rows->batches[i].part, part) == 0)
            return &rows->batches[i].batch;
    return NULL;
}
/* @return rows of @table in all parts. */
static inline size_t golden__count(const struct rows *rows, const struct table_desc *table) {
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++)
        if (rows->batches[i].batch.table == table) n += rows->batches[i].batch.n_rows;
    return n;
}

#endif
