/* What the tests and the bench of the sources share: bodies from files, and reading cells of a
 * batch back. Header only. */
#ifndef SOUK_TESTS_GOLDEN_H
#define SOUK_TESTS_GOLDEN_H

#include "souk/core/batch.h"
#include "souk/source.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* Reads @file below the directory that the environment names in @root, through gzip where it is.
 * @return false when it is not there. @out is the caller's. */
static inline bool golden__load(const char *root, const char *file, struct buf *out) {
    char path[1024];
    const char *dir = getenv(root);
    if (dir == NULL) return false;
    snprintf(path, sizeof path, "%s/%s", dir, file);
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
