/* Rows in the middle of a batch. Values of fixed width are found by number; strings have to be
 * walked, as their lengths stand between them. */
#include "souk/core/batch_range.h"
#include "souk/core/clock.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>

static size_t width_of(enum column_kind kind) {
    switch (kind) {
    case COLUMN_U8: return 1;
    case COLUMN_U16: return 2;
    case COLUMN_U32:
    case COLUMN_I32:
    case COLUMN_F32: return 4;
    case COLUMN_U64:
    case COLUMN_I64:
    case COLUMN_F64: return 8;
    case COLUMN_STR:
    case COLUMN_ARR_F32: return 0;
    }
    return 0;
}

/* @return how many elements the arrays before @row have. */
static uint64_t elements_before(const struct column *c, size_t row) {
    if (row == 0) return 0;
    struct reader r = reader__of(buf__slice(&c->offs));
    r.pos = (row - 1) * 8;
    return reader__u64(&r);
}

void batch__seek(const struct batch *b, struct batch_mark *m, size_t row) {
    assert(row >= m->row && row <= b->n_rows);
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column *c = &b->columns[i];
        enum column_kind kind = b->table->columns[i].kind;
        if (kind == COLUMN_ARR_F32) {
            m->data[i] = (size_t)elements_before(c, row) * sizeof(float);
        } else if (kind != COLUMN_STR) {
            m->data[i] = row * width_of(kind);
        } else {
            struct reader r = reader__of(buf__slice(&c->data));
            r.pos = m->data[i];
            for (size_t at = m->row; at < row; at++) reader__bytes(&r, reader__varint(&r));
            assert(!r.failed);
            m->data[i] = r.pos;
        }
    }
    m->row = row;
}

int batch__copy(const struct batch *b, const struct batch_mark *from, const struct batch_mark *to,
                struct batch *out) {
    if (batch__init(out, b->table) != 0) return ERR_NOMEM;
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column *c = &b->columns[i];
        buf__append(&out->columns[i].data, c->data.base + from->data[i],
                    to->data[i] - from->data[i]);
        if (b->table->columns[i].kind != COLUMN_ARR_F32) continue;
        uint64_t before = elements_before(c, from->row);
        for (size_t row = from->row; row < to->row; row++)
            buf__u64(&out->columns[i].offs, elements_before(c, row + 1) - before);
    }
    out->n_rows = to->row - from->row;
    if (!batch__failed(out)) return 0;
    batch__fini(out);
    return ERR_NOMEM;
}

static int64_t int_at(enum column_kind kind, struct reader *r) {
    switch (kind) {
    case COLUMN_U8: return reader__u8(r);
    case COLUMN_U16: return reader__u16(r);
    case COLUMN_U32: return reader__u32(r);
    case COLUMN_I32: return (int32_t)reader__u32(r);
    default: return (int64_t)reader__u64(r);
    }
}

static void put_float(struct buf *out, double v) {
    if (isfinite(v)) buf__printf(out, "%.17g", v);
    else buf__append_str(out, "null"); /* JSON has no other word for it. */
}

static float float_at(struct reader *r) {
    uint32_t bits = reader__u32(r);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void put_cell(const struct column *c, enum column_kind kind, struct reader *r, size_t row,
                     struct buf *out) {
    uint64_t bits;
    double v;
    switch (kind) {
    case COLUMN_STR: buf__json_string(out, reader__string(r)); return;
    case COLUMN_F32: put_float(out, (double)float_at(r)); return;
    case COLUMN_F64:
        bits = reader__u64(r);
        memcpy(&v, &bits, sizeof v);
        put_float(out, v);
        return;
    case COLUMN_ARR_F32:
        buf__append_str(out, "[");
        for (uint64_t i = elements_before(c, row), n = elements_before(c, row + 1), k = i; k < n;
             k++) {
            if (k > i) buf__append_str(out, ",");
            put_float(out, (double)float_at(r));
        }
        buf__append_str(out, "]");
        return;
    case COLUMN_U64: buf__printf(out, "%" PRIu64, reader__u64(r)); return;
    default: buf__printf(out, "%" PRId64, int_at(kind, r)); return;
    }
}

void batch__row_json(const struct batch *b, const struct batch_mark *at, struct buf *out) {
    assert(at->row < b->n_rows);
    buf__append_str(out, "{");
    for (size_t i = 0; i < b->table->n_columns; i++) {
        struct reader r = reader__of(buf__slice(&b->columns[i].data));
        r.pos = at->data[i];
        if (i > 0) buf__append_str(out, ",");
        buf__json_string(out, slice__str(b->table->columns[i].name));
        buf__append_str(out, ":");
        put_cell(&b->columns[i], b->table->columns[i].kind, &r, at->row, out);
    }
    buf__append_str(out, "}");
}

static bool find(const struct batch *b, const char *name, size_t *i) {
    for (*i = 0; *i < b->table->n_columns; ++*i)
        if (strcmp(b->table->columns[*i].name, name) == 0) return true;
    return false;
}

bool batch__int(const struct batch *b, const struct batch_mark *at, const char *name,
                int64_t *out) {
    size_t i;
    if (at->row >= b->n_rows || !find(b, name, &i)) return false;
    enum column_kind kind = b->table->columns[i].kind;
    if (width_of(kind) == 0 || kind == COLUMN_F32 || kind == COLUMN_F64) return false;
    struct reader r = reader__of(buf__slice(&b->columns[i].data));
    r.pos = at->data[i];
    *out = int_at(kind, &r);
    return true;
}

bool batch__text(const struct batch *b, const struct batch_mark *at, const char *name,
                 struct slice *out) {
    size_t i;
    if (at->row >= b->n_rows || !find(b, name, &i) || b->table->columns[i].kind != COLUMN_STR)
        return false;
    struct reader r = reader__of(buf__slice(&b->columns[i].data));
    r.pos = at->data[i];
    *out = reader__string(&r);
    return true;
}

/* Both kinds of times, in the units that they are kept in. */
static const struct column *find_times(const struct batch *b, const char *name, bool *in_ms) {
    for (size_t i = 0; i < b->table->n_columns; i++) {
        const struct column_desc *d = &b->table->columns[i];
        if (strcmp(d->name, name) != 0) continue;
        *in_ms = d->kind == COLUMN_I64 && strncmp(d->type, "DateTime64(3", 12) == 0;
        bool in_s = d->kind == COLUMN_U32 && strncmp(d->type, "DateTime", 8) == 0;
        return *in_ms || in_s ? &b->columns[i] : NULL;
    }
    return NULL;
}

bool batch__times(const struct batch *b, const char *name, int64_t *oldest_ms, int64_t *newest_ms) {
    bool in_ms = false;
    const struct column *c = find_times(b, name, &in_ms);
    if (c == NULL || b->n_rows == 0) return false;
    *oldest_ms = INT64_MAX;
    *newest_ms = INT64_MIN;
    for (size_t i = 0; i < b->n_rows; i++) {
        int64_t v;
        uint32_t s;
        if (in_ms) memcpy(&v, c->data.base + i * sizeof v, sizeof v);
        else {
            memcpy(&s, c->data.base + i * sizeof s, sizeof s);
            v = (int64_t)s * MS_PER_S;
        }
        if (v < *oldest_ms) *oldest_ms = v;
        if (v > *newest_ms) *newest_ms = v;
    }
    return true;
}
