/*
 * Layers of columns. The happy path of each: read where the values belong (marks), have the values
 * read as a plain column, then spread them to the rows that they stand for. What can fail: marks
 * outside of the rows, types that cannot lie so, and results above the block's limit.
 */
#include "serial.h"

#include "frame.h"
#include "gates.h"

#define SPARSE_END (UINT64_C(1) << 62) /* Marks the last of the sparse numbers. */

static int bad(struct chn_decoder *d, struct chn_err *err, int code, const char *what) {
    return chn_decoder__bad(d, err, code, what);
}

static int judge(struct chn_decoder *d, struct chn_err *err, int code, const char *what) {
    return code < 0 ? bad(d, err, code, what) : code;
}

/* --- Which layers --- */

static int add_layer(struct chn_decoder *d, struct chn_view *v, enum chn_layer layer,
                     struct chn_err *err) {
    static const enum chn_gate gates[] = {[CHN_LAYER_SPARSE] = CHN_GATE_SPARSE,
                                          [CHN_LAYER_DETACHED] = CHN_GATE_DETACHED,
                                          [CHN_LAYER_REPLICATED] = CHN_GATE_REPLICATED};
    if (layer == CHN_LAYER_NONE) return 0;
    if (!chn_gate(d->revision, gates[layer]))
        return bad(d, err, CHN_ERR_PROTOCOL, "a layout that this revision does not have");
    if (v->n_layers == CHN_LAYERS_MAX || (v->n_layers > 0 && layer != CHN_LAYER_DETACHED))
        return bad(d, err, CHN_ERR_TYPE, "layouts on one another that are not known together");
    v->layers[v->n_layers++] = (uint8_t)layer;
    return 0;
}

/* The layers of one view: a code for the usual ones, or 5, their number, and each. */
static int read_own_kinds(struct chn_decoder *d, struct chn_reader *r, struct chn_view *v,
                          struct chn_err *err) {
    uint8_t code, layer;
    uint64_t n;
    int status = chn_reader__u8(r, &code);
    if (status != 0) return status;
    v->n_layers = 0;
    switch (code) {
    case 0: return 0;
    case 1: return add_layer(d, v, CHN_LAYER_SPARSE, err);
    case 2: return add_layer(d, v, CHN_LAYER_DETACHED, err);
    case 3:
        status = add_layer(d, v, CHN_LAYER_SPARSE, err);
        return status != 0 ? status : add_layer(d, v, CHN_LAYER_DETACHED, err);
    case 4: return add_layer(d, v, CHN_LAYER_REPLICATED, err);
    case 5: break;
    default: return bad(d, err, CHN_ERR_PROTOCOL, "a layout of an unknown kind");
    }
    if ((status = chn_reader__varuint(r, &n)) != 0)
        return judge(d, err, status, "bad number of layers");
    if (n > CHN_LAYERS_MAX + 1) return bad(d, err, CHN_ERR_LIMIT, "too many layers");
    for (uint64_t i = 0; i < n; i++) {
        if ((status = chn_reader__u8(r, &layer)) != 0) return status;
        if (layer > CHN_LAYER_REPLICATED)
            return bad(d, err, CHN_ERR_PROTOCOL, "a layout of an unknown kind");
        if ((status = add_layer(d, v, (enum chn_layer)layer, err)) != 0) return status;
    }
    return 0;
}

/* A tuple's own, then those of each of its elements. @top: the column itself. */
static int read_kinds(struct chn_decoder *d, struct chn_reader *r, struct chn_view *v, bool top,
                      struct chn_err *err) {
    int code = read_own_kinds(d, r, v, err);
    if (code != 0) return code;
    for (unsigned i = 0; i < v->n_layers; i++)
        if (v->layers[i] == CHN_LAYER_DETACHED && (!top || i + 1 < v->n_layers))
            return bad(d, err, CHN_ERR_PROTOCOL, "only a whole column can be packed by itself");
    if (v->type->kind != CHN_TUPLE) return 0;
    for (uint32_t i = 0; i < v->n_children && code == 0; i++)
        code = read_kinds(d, r, &v->children[i], false, err);
    return code;
}

int chn_serial__read_kinds(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    struct chn_reader ahead = *r;
    int code = read_kinds(d, &ahead, &d->block.columns[d->column].view, true, err);
    if (code == 0) r->at = ahead.at;
    return code;
}

/* --- Detached --- */

bool chn_serial__is_detached(const struct chn_view *v) {
    return v->n_layers > 0 && v->layers[v->n_layers - 1] == CHN_LAYER_DETACHED;
}

static int unpack_blob(struct chn_decoder *d, struct chn_err *err) {
    struct chn_reader frames = {d->blob.data, d->blob.data + d->blob.n};
    while (chn_reader__left(&frames) > 0) {
        size_t before = d->unpacked.n;
        int code = chn_frame__read(&frames, &d->unpacked, err);
        if (code == CHN_MORE)
            return bad(d, err, CHN_ERR_PROTOCOL, "a packed column ends inside of a frame");
        if (code == 0) code = chn_decoder__charge(d, err, d->unpacked.n - before);
        if (code != 0) return code;
    }
    return 0;
}

int chn_serial__read_blob(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    struct chn_view *v = &d->block.columns[d->column].view;
    int code;
    if (d->blob_bytes == 0) {
        if ((code = chn_reader__varuint(r, &d->blob_bytes)) != 0)
            return judge(d, err, code, "bad size of a packed column");
        if (d->blob_bytes == 0)
            return bad(d, err, CHN_ERR_PROTOCOL, "a packed column without bytes");
    }
    if ((code = chn_decoder__copy(d, r, &d->blob, d->blob_bytes, err)) != 0) return code;
    if ((code = unpack_blob(d, err)) != 0) return code;
    if (d->unpacked.n == 0) return bad(d, err, CHN_ERR_PROTOCOL, "a packed column without values");
    struct chn_reader plain = {d->unpacked.data, d->unpacked.data + d->unpacked.n};
    code = chn_decoder__push(d, v, v->n_layers - 1u, d->block.n_rows, err);
    if (code == 0) code = chn_decoder__column(d, &plain, err);
    if (code == CHN_MORE || (code == 0 && chn_reader__left(&plain) > 0))
        return bad(d, err, CHN_ERR_PROTOCOL, "a packed column of another size than its rows");
    d->blob_bytes = 0;
    d->blob.n = d->unpacked.n = 0;
    return code;
}

/* --- Sparse --- */

/* Numbers of defaults until the one that ends them; f->at is the next row. */
static int read_sparse_marks(struct chn_decoder *d, struct chn_reader *r,
                             struct chn_decode_frame *f, struct chn_err *err) {
    struct chn_view *v = f->view;
    for (;;) {
        uint64_t n;
        int code = chn_reader__varuint(r, &n);
        if (code != 0) return judge(d, err, code, "bad number of defaults");
        bool last = (n & SPARSE_END) != 0;
        n &= ~SPARSE_END;
        if (n > v->n - f->at || (!last && n == v->n - f->at) || (last && n != v->n - f->at))
            return bad(d, err, CHN_ERR_PROTOCOL, "sparse values for another number of rows");
        if (last) return 0;
        uint64_t row = f->at + n;
        if ((code = chn_decoder__charge(d, err, sizeof row)) != 0) return code;
        chn_buf__put(&v->marks, &row, sizeof row);
        if (v->marks.failed) return bad(d, err, CHN_ERR_MEMORY, "no memory");
        f->at = row + 1;
    }
}

static uint64_t mark_at(const struct chn_view *v, uint64_t i) {
    uint64_t mark;
    memcpy(&mark, v->marks.data + i * sizeof mark, sizeof mark);
    return mark;
}

/* The values of @v, of fixed width, to the rows of @marks among @n; the others are 0. */
static int spread_fixed(struct chn_decoder *d, struct chn_view *v, const struct chn_view *marks,
                        uint64_t n, struct chn_err *err) {
    size_t width = v->type->width, n_values = marks->marks.n / sizeof(uint64_t);
    size_t more = (size_t)n * width - v->data.n;
    int code = chn_decoder__charge(d, err, more);
    if (code != 0) return code;
    if (!chn_buf__reserve(&v->data, more)) return bad(d, err, CHN_ERR_MEMORY, "no memory");
    memset(v->data.data + v->data.n, 0, more);
    v->data.n += more;
    for (size_t i = n_values; i-- > 0;) { /* From behind, so that none is overwritten. */
        uint8_t *from = v->data.data + i * width, *to = v->data.data + mark_at(marks, i) * width;
        if (from == to) continue;
        memcpy(to, from, width);
        memset(from, 0, width);
    }
    return 0;
}

static int spread_strings(struct chn_decoder *d, struct chn_view *v, const struct chn_view *marks,
                          uint64_t n, struct chn_err *err) {
    size_t n_values = marks->marks.n / sizeof(uint64_t), more = (size_t)n * 8 - v->ends.n;
    int code = chn_decoder__charge(d, err, more);
    if (code != 0) return code;
    if (!chn_buf__reserve(&v->ends, more)) return bad(d, err, CHN_ERR_MEMORY, "no memory");
    v->ends.n += more;
    uint64_t end = v->data.n; /* Of the rows behind the value that is moved next. */
    for (size_t row = (size_t)n, i = n_values; row-- > 0;) {
        bool has_value = i > 0 && mark_at(marks, i - 1) == row;
        uint64_t before = 0;
        if (has_value && i > 1) memcpy(&before, v->ends.data + (i - 2) * 8, 8);
        memcpy(v->ends.data + row * 8, &end, 8);
        if (!has_value) continue;
        end = before;
        i--;
    }
    return 0;
}

/* Gives @v, which has the values alone, all of @n rows. */
static int spread(struct chn_decoder *d, struct chn_view *v, const struct chn_view *marks,
                  uint64_t n, struct chn_err *err) {
    int code;
    v->n = n;
    if (v->type->kind == CHN_STRING) {
        code = spread_strings(d, v, marks, n, err);
        v->n_done = n;
        return code;
    }
    if (v->type->kind != CHN_NULLABLE) return spread_fixed(d, v, marks, n, err);
    if ((code = chn_decoder__charge(d, err, (size_t)n)) != 0) return code;
    if (!chn_buf__reserve(&v->data, (size_t)n)) return bad(d, err, CHN_ERR_MEMORY, "no memory");
    memset(v->data.data, 1, (size_t)n);
    v->data.n = (size_t)n;
    for (size_t i = 0; i < marks->marks.n / sizeof(uint64_t); i++)
        v->data.data[mark_at(marks, i)] = 0;
    return spread(d, &v->children[0], marks, n, err);
}

static bool can_be_sparse(const struct chn_decoder *d, const struct chn_view *v) {
    if (v->type->kind == CHN_NULLABLE)
        return chn_gate(d->revision, CHN_GATE_SPARSE_NULLABLE) &&
               (v->children[0].type->kind == CHN_STRING || v->children[0].type->width > 0);
    return v->type->kind == CHN_STRING || v->type->width > 0;
}

static int read_sparse(struct chn_decoder *d, struct chn_reader *r, struct chn_decode_frame *f,
                       struct chn_err *err) {
    struct chn_view *v = f->view;
    int code;
    if (f->step == 0) {
        if (!can_be_sparse(d, v)) return bad(d, err, CHN_ERR_TYPE, "sparse values of this type");
        f->wanted = v->n;
        f->step = 1;
    }
    if (f->step == 1) {
        if ((code = read_sparse_marks(d, r, f, err)) != 0) return code;
        f->step = 2;
        bool is_nullable = v->type->kind == CHN_NULLABLE; /* Its map of nulls is not there. */
        code = chn_decoder__push(d, is_nullable ? &v->children[0] : v,
                                 is_nullable ? 0 : f->n_layers - 1, v->marks.n / sizeof(uint64_t),
                                 err);
        return code != 0 ? code : CHN_MORE + 1;
    }
    code = spread(d, v, v, f->wanted, err);
    v->marks.n = 0;
    return code;
}

/* --- Replicated --- */

/* The rows of @from that @rows (u64, @n of them) name, one after the other, in @to. */
static int gather(struct chn_decoder *d, const struct chn_view *from, const struct chn_buf *rows,
                  struct chn_view *to, struct chn_err *err);

static uint64_t row_at(const struct chn_buf *rows, size_t i) {
    uint64_t row;
    memcpy(&row, rows->data + i * sizeof row, sizeof row);
    return row;
}

static int gather_fixed(struct chn_decoder *d, const struct chn_view *from,
                        const struct chn_buf *rows, size_t width, struct chn_view *to,
                        struct chn_err *err) {
    size_t n = rows->n / sizeof(uint64_t);
    int code = chn_decoder__charge(d, err, n * width);
    if (code != 0) return code;
    for (size_t i = 0; i < n; i++)
        chn_buf__put(&to->data, from->data.data + row_at(rows, i) * width, width);
    return to->data.failed ? bad(d, err, CHN_ERR_MEMORY, "no memory") : 0;
}

static int gather_strings(struct chn_decoder *d, const struct chn_view *from,
                          const struct chn_buf *rows, struct chn_view *to, struct chn_err *err) {
    size_t n = rows->n / sizeof(uint64_t);
    for (size_t i = 0; i < n; i++) {
        uint64_t row = row_at(rows, i), first = row > 0 ? row_at(&from->ends, row - 1) : 0,
                 bytes = row_at(&from->ends, row) - first;
        int code = chn_decoder__charge(d, err, (size_t)bytes + sizeof(uint64_t));
        if (code != 0) return code;
        if (bytes > 0) chn_buf__put(&to->data, from->data.data + first, (size_t)bytes);
        uint64_t end = to->data.n;
        chn_buf__put(&to->ends, &end, sizeof end);
    }
    to->n_done = n;
    return to->data.failed || to->ends.failed ? bad(d, err, CHN_ERR_MEMORY, "no memory") : 0;
}

static int gather_children(struct chn_decoder *d, const struct chn_view *from,
                           const struct chn_buf *rows, struct chn_view *to, struct chn_err *err) {
    int code = 0;
    for (uint32_t i = 0; i < from->n_children && code == 0; i++)
        code = gather(d, &from->children[i], rows, &to->children[i], err);
    return code;
}

/* Arrays and maps: new ends, and the rows of the elements. */
static int gather_ranges(struct chn_decoder *d, const struct chn_view *from,
                         const struct chn_buf *rows, struct chn_view *to, struct chn_err *err) {
    struct chn_buf elements = {0};
    uint64_t end = 0;
    int code = 0;
    for (size_t i = 0; i < rows->n / sizeof(uint64_t) && code == 0; i++) {
        uint64_t row = row_at(rows, i),
                 first = row > 0 ? chn_load_u64(from->data.data + (row - 1) * 8) : 0,
                 last = chn_load_u64(from->data.data + row * 8);
        if (end + (last - first) > CHN_ROWS_MAX) {
            code = bad(d, err, CHN_ERR_LIMIT, "too many array elements");
            break;
        }
        end += last - first;
        code = chn_decoder__charge(d, err, (size_t)(last - first + 1) * 8);
        for (uint64_t k = first; k < last && code == 0; k++) chn_buf__put(&elements, &k, sizeof k);
        chn_buf__put_le(&to->data, end, 8);
    }
    if (code == 0 && (elements.failed || to->data.failed))
        code = bad(d, err, CHN_ERR_MEMORY, "no memory");
    if (code == 0) code = gather_children(d, from, &elements, to, err);
    chn_buf__fini(&elements);
    return code;
}

static int gather(struct chn_decoder *d, const struct chn_view *from, const struct chn_buf *rows,
                  struct chn_view *to, struct chn_err *err) {
    int code;
    to->n = rows->n / sizeof(uint64_t);
    switch (from->type->kind) {
    case CHN_STRING:
    case CHN_JSON: return gather_strings(d, from, rows, to, err);
    case CHN_ARRAY:
    case CHN_MAP: return gather_ranges(d, from, rows, to, err);
    case CHN_TUPLE:
        if (from->n_children == 0) return gather_fixed(d, from, rows, from->type->width, to, err);
        return gather_children(d, from, rows, to, err);
    case CHN_NULLABLE:
        code = gather_fixed(d, from, rows, 1, to, err);
        return code != 0 ? code : gather_children(d, from, rows, to, err);
    case CHN_LOW_CARDINALITY: /* The dictionary stays, the keys are gathered. */
        to->key_width = from->key_width;
        return gather_fixed(d, from, rows, from->key_width, to, err);
    default:
        if (from->type->width == 0)
            return bad(d, err, CHN_ERR_TYPE, "replicated values of this type");
        return gather_fixed(d, from, rows, from->type->width, to, err);
    }
}

/* Swaps what the views hold, level by level, but for dictionaries, which stay with @v. */
static void swap_values(struct chn_view *v, struct chn_view *w) {
    struct chn_buf data = v->data, ends = v->ends;
    v->data = w->data;
    v->ends = w->ends;
    v->n = w->n;
    v->n_done = w->n_done;
    w->data = data;
    w->ends = ends;
    if (v->type->kind == CHN_LOW_CARDINALITY) return;
    for (uint32_t i = 0; i < v->n_children; i++) swap_values(&v->children[i], &w->children[i]);
}

static int replicate(struct chn_decoder *d, struct chn_view *v, uint64_t n_elements,
                     struct chn_err *err) {
    struct chn_view copy;
    for (size_t i = 0; i < v->marks.n / sizeof(uint64_t); i++)
        if (row_at(&v->marks, i) >= n_elements)
            return bad(d, err, CHN_ERR_PROTOCOL, "an index outside of the values");
    if (!chn_view__init(&copy, v->type)) {
        chn_view__fini(&copy);
        return bad(d, err, CHN_ERR_MEMORY, "no memory");
    }
    int code = gather(d, v, &v->marks, &copy, err);
    if (code == 0) swap_values(v, &copy);
    chn_view__fini(&copy);
    return code;
}

/* The indexes came as @width bytes each in @data: as u64 in @marks. */
static int widen_indexes(struct chn_decoder *d, struct chn_view *v, size_t width,
                         struct chn_err *err) {
    int code = chn_decoder__charge(d, err, (size_t)v->n * sizeof(uint64_t));
    if (code != 0) return code;
    v->marks.n = 0;
    for (uint64_t i = 0; i < v->n; i++) {
        struct chn_reader r = {v->data.data + i * width, v->data.data + (i + 1) * width};
        uint64_t index;
        chn_reader__le(&r, width, &index);
        chn_buf__put(&v->marks, &index, sizeof index);
    }
    v->data.n = 0;
    return v->marks.failed ? bad(d, err, CHN_ERR_MEMORY, "no memory") : 0;
}

static int read_replicated(struct chn_decoder *d, struct chn_reader *r, struct chn_decode_frame *f,
                           struct chn_err *err) {
    struct chn_view *v = f->view;
    uint64_t n;
    int code;
    if (f->step == 0) { /* Rows and width. */
        struct chn_reader ahead = *r;
        uint8_t width;
        code = chn_reader__varuint(&ahead, &n);
        if (code == 0) code = chn_reader__u8(&ahead, &width);
        if (code != 0) return judge(d, err, code, "bad number of rows");
        if (n != v->n) return bad(d, err, CHN_ERR_PROTOCOL, "indexes for another number of rows");
        if (width != 1 && width != 2 && width != 4 && width != 8)
            return bad(d, err, CHN_ERR_PROTOCOL, "indexes of an unknown width");
        f->at = width;
        f->step = 1;
        r->at = ahead.at;
    }
    if (f->step == 1) {
        if ((code = chn_decoder__copy(d, r, &v->data, v->n * f->at, err)) != 0) return code;
        if ((code = widen_indexes(d, v, (size_t)f->at, err)) != 0) return code;
        f->step = 2;
    }
    if (f->step == 2) {
        if ((code = chn_reader__varuint(r, &n)) != 0)
            return judge(d, err, code, "bad number of values");
        if (n > CHN_ROWS_MAX) return bad(d, err, CHN_ERR_LIMIT, "too many values");
        f->wanted = n;
        f->step = 3;
        code = chn_decoder__push(d, v, f->n_layers - 1, n, err);
        return code != 0 ? code : CHN_MORE + 1;
    }
    code = replicate(d, v, f->wanted, err);
    v->marks.n = 0;
    return code;
}

int chn_serial__read(struct chn_decoder *d, struct chn_reader *r, struct chn_decode_frame *f,
                     struct chn_err *err) {
    switch (f->view->layers[f->n_layers - 1]) {
    case CHN_LAYER_SPARSE: return read_sparse(d, r, f, err);
    case CHN_LAYER_REPLICATED: return read_replicated(d, r, f, err);
    default: return bad(d, err, CHN_ERR_PROTOCOL, "a packed column within another");
    }
}
