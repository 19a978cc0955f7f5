/* Column-wise rows in ClickHouse's Native layout. */
#include "souk/core/batch.h"
#include <assert.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

int batch__init(struct batch *b, const struct table_desc *table) {
    assert(table->n_columns <= BATCH_COLUMNS_MAX);
    *b = (struct batch){.table = table, .columns = calloc(table->n_columns, sizeof *b->columns)};
    if (b->columns == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < table->n_columns; i++) {
        b->columns[i].data = buf__init(BATCH_COLUMN_BYTES_MAX);
        b->columns[i].offs = buf__init(BATCH_COLUMN_BYTES_MAX);
    }
    return 0;
}

void batch__fini(struct batch *b) {
    for (size_t i = 0; b->columns != NULL && i < b->table->n_columns; i++) {
        buf__fini(&b->columns[i].data);
        buf__fini(&b->columns[i].offs);
    }
    free(b->columns);
    *b = (struct batch){0};
}

void batch__clear(struct batch *b) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        buf__clear(&b->columns[i].data);
        buf__clear(&b->columns[i].offs);
    }
    b->n_rows = 0;
    b->at = 0;
}

void batch__begin(struct batch *b) {
    assert(b->at == 0);
    b->n_rows++;
}

void batch__end(struct batch *b) {
    assert(b->at == b->table->n_columns);
    b->at = 0;
}

static struct column *next_cell(struct batch *b, enum column_kind kind) {
    assert(b->at < b->table->n_columns);
    assert(b->table->columns[b->at].kind == kind);
    (void)kind;
    return &b->columns[b->at++];
}

void batch__u8(struct batch *b, uint8_t v) { buf__u8(&next_cell(b, COLUMN_U8)->data, v); }
void batch__u16(struct batch *b, uint16_t v) { buf__u16(&next_cell(b, COLUMN_U16)->data, v); }
void batch__u32(struct batch *b, uint32_t v) { buf__u32(&next_cell(b, COLUMN_U32)->data, v); }
void batch__i32(struct batch *b, int32_t v) {
    buf__u32(&next_cell(b, COLUMN_I32)->data, (uint32_t)v);
}
void batch__u64(struct batch *b, uint64_t v) { buf__u64(&next_cell(b, COLUMN_U64)->data, v); }
void batch__i64(struct batch *b, int64_t v) {
    buf__u64(&next_cell(b, COLUMN_I64)->data, (uint64_t)v);
}

static void append_f32(struct buf *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf__u32(b, bits);
}

void batch__f64(struct batch *b, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf__u64(&next_cell(b, COLUMN_F64)->data, bits);
}

void batch__str(struct batch *b, struct slice s) {
    buf__string(&next_cell(b, COLUMN_STR)->data, s);
}
void batch__cstr(struct batch *b, const char *z) { batch__str(b, slice__str(z)); }

void batch__f32s(struct batch *b, const float *v, size_t n) {
    struct column *c = next_cell(b, COLUMN_ARR_F32);
    for (size_t i = 0; i < n; i++) append_f32(&c->data, v[i]);
    buf__u64(&c->offs, c->data.len / sizeof(float));
}

/* All of it before the first byte is written: a batch whose columns have different lengths could
 * only be thrown away. */
static bool make_room(struct batch *b, const struct batch *from) {
    bool fits = true;
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column *src = &from->columns[i];
        struct column *to = &b->columns[i];
        if (src->data.len > 0) fits = buf__reserve(&to->data, src->data.len) != NULL && fits;
        if (src->offs.len > 0) fits = buf__reserve(&to->offs, src->offs.len) != NULL && fits;
    }
    return fits && !batch__failed(b);
}

/* @return why there was no room; @b is as it was. */
static int take_back(struct batch *b) {
    bool no_memory = false;
    for (size_t i = 0; i < b->table->n_columns; i++) {
        struct buf *bufs[] = {&b->columns[i].data, &b->columns[i].offs};
        for (size_t k = 0; k < 2; k++) {
            no_memory = no_memory || bufs[k]->no_memory;
            bufs[k]->failed = bufs[k]->no_memory = false;
        }
    }
    return no_memory ? ERR_NOMEM : ERR_FULL;
}

int batch__append(struct batch *b, const struct batch *from) {
    assert(b->table == from->table && b->at == 0 && from->at == 0);
    if (!make_room(b, from)) return take_back(b);
    for (size_t i = 0; i < b->table->n_columns; i++) {
        struct column *to = &b->columns[i];
        const struct column *src = &from->columns[i];
        uint64_t shift = to->data.len / sizeof(float);
        struct reader r = reader__of(buf__slice(&src->offs));
        while (r.pos < r.len) buf__u64(&to->offs, reader__u64(&r) + shift);
        buf__append(&to->data, src->data.base, src->data.len);
    }
    b->n_rows += from->n_rows;
    return 0;
}

size_t batch__bytes(const struct batch *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->table->n_columns; i++)
        n += b->columns[i].data.len + b->columns[i].offs.len;
    return n;
}

bool batch__failed(const struct batch *b) {
    for (size_t i = 0; i < b->table->n_columns; i++)
        if (b->columns[i].data.failed || b->columns[i].offs.failed) return true;
    return false;
}

void batch__hash(const struct batch *b, char out[33]) {
    XXH3_state_t on_stack, *state = &on_stack; /* Half a KiB; a hash must not need memory. */
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, b->table->name, strlen(b->table->name));
    uint64_t n_rows = b->n_rows;
    XXH3_128bits_update(state, &n_rows, sizeof n_rows);
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column *c = &b->columns[i];
        XXH3_128bits_update(state, b->table->columns[i].name, strlen(b->table->columns[i].name));
        if (c->offs.len > 0) XXH3_128bits_update(state, c->offs.base, c->offs.len);
        if (c->data.len > 0) XXH3_128bits_update(state, c->data.base, c->data.len);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        out[2 * i] = "0123456789abcdef"[canonical.digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[canonical.digest[i] & 15];
    }
    out[32] = '\0';
}

struct batch *rows__batch(struct rows *r, const struct table_desc *table, struct slice part) {
    for (size_t i = 0; i < r->n; i++)
        if (r->batches[i].batch.table == table && slice__eq(slice__str(r->batches[i].part), part))
            return &r->batches[i].batch;
    if (r->n == r->cap && r->cap < ROWS_BATCHES_MAX) {
        size_t cap = r->cap == 0 ? 8 : r->cap * 2;
        struct rows_batch *grown = realloc(r->batches, cap * sizeof *grown);
        if (grown != NULL) r->batches = grown, r->cap = cap;
    }
    if (r->n == r->cap || part.len >= sizeof r->batches->part) {
        r->failed = true;
        if (r->n == r->cap && r->cap < ROWS_BATCHES_MAX) r->no_memory = true;
        return NULL;
    }
    struct rows_batch *rb = &r->batches[r->n];
    *rb = (struct rows_batch){0};
    if (batch__init(&rb->batch, table) != 0) {
        r->failed = r->no_memory = true;
        return NULL;
    }
    if (part.len > 0) memcpy(rb->part, part.base, part.len);
    r->n++;
    return &rb->batch;
}

size_t rows__count(const struct rows *r) {
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) n += r->batches[i].batch.n_rows;
    return n;
}

size_t rows__count_data(const struct rows *r) {
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct batch *b = &r->batches[i].batch;
        if (!b->table->about_pages) n += b->n_rows;
    }
    return n;
}

bool rows__no_memory(const struct rows *r) {
    if (r->no_memory) return true;
    for (size_t i = 0; i < r->n; i++) {
        const struct batch *b = &r->batches[i].batch;
        for (size_t k = 0; k < b->table->n_columns; k++)
            if (b->columns[k].data.no_memory || b->columns[k].offs.no_memory) return true;
    }
    return false;
}

void rows__fini(struct rows *r) {
    for (size_t i = 0; i < r->n; i++) batch__fini(&r->batches[i].batch);
    free(r->batches);
    *r = (struct rows){0};
}
