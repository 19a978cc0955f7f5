/* A row's digest is xxh3-128 over its cells in column order, each as ClickHouse's Native format has
 * it, without the column lsn; the seed is xxh3-64 of the table's and the columns' names and types.
 * Sums do not depend on order or on where batches were cut, and count a row that is there twice
 * twice. The chain is xxh3-128 over (chain so far, lsn, digest), 40 bytes little-endian. */
#include "row_hash.h"
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static const size_t widths[] = {
    [COLUMN_U8] = 1,  [COLUMN_U16] = 2, [COLUMN_U32] = 4, [COLUMN_I32] = 4, [COLUMN_U64] = 8,
    [COLUMN_I64] = 8, [COLUMN_F32] = 4, [COLUMN_F64] = 8, [COLUMN_STR] = 0, [COLUMN_ARR_F32] = 0,
};

static uint64_t seed_of(const struct table_desc *t, struct buf *scratch) {
    buf__clear(scratch);
    buf__string(scratch, slice__str(t->name));
    for (size_t i = 0; i < t->n_columns; i++) {
        buf__string(scratch, slice__str(t->columns[i].name));
        buf__string(scratch, slice__str(t->columns[i].type));
    }
    return XXH3_64bits(scratch->base, scratch->len);
}

/* Appends the next cell of a column to @out as it stands in the batch; arrays get their length. */
static void take_cell(const struct column_desc *d, struct reader *data, struct reader *offs,
                      struct buf *out) {
    size_t from = data->pos;
    if (d->kind == COLUMN_STR) {
        reader__string(data);
    } else if (d->kind == COLUMN_ARR_F32) {
        uint64_t end = reader__u64(offs) * sizeof(float);
        buf__u64(out, end - from);
        reader__bytes(data, (size_t)end - from);
    } else {
        reader__bytes(data, widths[d->kind]);
    }
    buf__append(out, data->base + from, data->pos - from);
}

static void chain(struct row_hash *h, uint64_t lsn, XXH128_hash_t digest) {
    char bytes[40];
    struct buf b = {.base = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    buf__u64(&b, h->chain_low);
    buf__u64(&b, h->chain_high);
    buf__u64(&b, lsn);
    buf__u64(&b, digest.low64);
    buf__u64(&b, digest.high64);
    XXH128_hash_t next = XXH3_128bits(b.base, b.len);
    h->chain_low = next.low64;
    h->chain_high = next.high64;
}

static void sum(struct row_hash *h, XXH128_hash_t digest) {
    h->low += digest.low64;
    h->high += digest.high64 + (h->low < digest.low64);
    h->n_rows++;
}

/* @return the place of the column lsn, or n_columns. */
static size_t position_column(const struct table_desc *t) {
    size_t i = 0;
    while (i < t->n_columns && strcmp(t->columns[i].name, "lsn") != 0) i++;
    return i;
}

int row_hash__add(struct row_hash *h, struct row_hash *also, const struct batch *b,
                  struct buf *cells) {
    struct reader data[BATCH_COLUMNS_MAX], offs[BATCH_COLUMNS_MAX];
    const struct table_desc *t = b->table;
    uint64_t seed = seed_of(t, cells);
    size_t position = position_column(t);
    for (size_t i = 0; i < t->n_columns; i++) {
        data[i] = reader__of(buf__slice(&b->columns[i].data));
        offs[i] = reader__of(buf__slice(&b->columns[i].offs));
    }
    for (size_t row = 0; row < b->n_rows; row++) {
        uint64_t lsn = 0;
        buf__clear(cells);
        for (size_t i = 0; i < t->n_columns; i++) {
            if (i == position) lsn = reader__u64(&data[i]);
            else take_cell(&t->columns[i], &data[i], &offs[i], cells);
        }
        if (cells->failed) return ERR_NOMEM;
        XXH128_hash_t digest = XXH3_128bits_withSeed(cells->base, cells->len, seed);
        sum(h, digest);
        chain(h, lsn, digest);
        if (also != NULL) sum(also, digest);
    }
    return 0;
}

void row_hash__text(uint64_t low, uint64_t high, char out[ROW_HASH_SIZE]) {
    for (int i = 0; i < 16; i++) {
        out[i] = "0123456789abcdef"[high >> (60 - 4 * i) & 15];
        out[16 + i] = "0123456789abcdef"[low >> (60 - 4 * i) & 15];
    }
    out[32] = '\0';
}

void row_hash__bytes(struct slice bytes, char out[ROW_HASH_SIZE]) {
    XXH128_hash_t hash = XXH3_128bits(bytes.base, bytes.len);
    row_hash__text(hash.low64, hash.high64, out);
}
