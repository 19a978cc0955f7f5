/* Reading values out of blocks. Every accessor first finds the leaf: through Nullable, and through
 * dictionaries. */
#include "block.h"

enum chn_block_kind chn_block__kind(const struct chn_block *block) { return block->kind; }
uint64_t chn_block__n_rows(const struct chn_block *block) { return block->n_rows; }
size_t chn_block__n_columns(const struct chn_block *block) { return block->n_columns; }

const struct chn_view *chn_block__column(const struct chn_block *block, size_t i) {
    return i < block->n_columns ? &block->columns[i].view : NULL;
}

const char *chn_block__name(const struct chn_block *block, size_t i) {
    return i < block->n_columns ? block->columns[i].name : NULL;
}

const char *chn_block__type(const struct chn_block *block, size_t i) {
    return i < block->n_columns ? block->columns[i].type_text : NULL;
}

const struct chn_view *chn_block__find(const struct chn_block *block, const char *name) {
    for (size_t i = 0; i < block->n_columns; i++)
        if (strcmp(block->columns[i].name, name) == 0) return &block->columns[i].view;
    return NULL;
}

const struct chn_type *chn_view__type(const struct chn_view *view) { return view->type; }
uint64_t chn_view__n_rows(const struct chn_view *view) { return view->n; }

static uint64_t load_le(const uint8_t *p, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static int64_t load_signed(const uint8_t *p, size_t bytes) {
    uint64_t value = load_le(p, bytes);
    if (bytes < 8 && (value >> (8 * bytes - 1) & 1) != 0) value |= UINT64_MAX << (8 * bytes);
    return (int64_t)value;
}

/* Moves (@v, @row) to the leaf. @return false when there is no such row, or it is NULL (then @null
 * is set). */
static bool find_leaf(const struct chn_view **v, uint64_t *row, bool *null) {
    *null = false;
    if (*v == NULL) return false;
    for (;;) {
        if (*row >= (*v)->n) return false;
        if ((*v)->type->kind == CHN_NULLABLE) {
            if ((*v)->data.data[*row] != 0) {
                *null = true;
                return false;
            }
        } else if ((*v)->type->kind == CHN_LOW_CARDINALITY) {
            uint64_t key = load_le((*v)->data.data + *row * (*v)->key_width, (*v)->key_width);
            if (key == 0 && (*v)->type->children[0]->kind == CHN_NULLABLE) {
                *null = true;
                return false;
            }
            *row = key;
        } else {
            return true;
        }
        *v = &(*v)->children[0];
    }
}

static const uint8_t *find_fixed(const struct chn_view **v, uint64_t *row) {
    bool null;
    if (!find_leaf(v, row, &null) || (*v)->type->width == 0) return NULL;
    return (*v)->data.data + *row * (*v)->type->width;
}

bool chn_view__is_null(const struct chn_view *view, uint64_t row) {
    bool null;
    find_leaf(&view, &row, &null);
    return null;
}

bool chn_view__u64(const struct chn_view *view, uint64_t row, uint64_t *value) {
    const uint8_t *p = find_fixed(&view, &row);
    if (p == NULL || view->type->width > 8) return false;
    switch (view->type->kind) {
    case CHN_UINT:
    case CHN_BOOL:
    case CHN_DATE:
    case CHN_DATETIME:
    case CHN_IPV4: *value = load_le(p, view->type->width); return true;
    default: return false;
    }
}

bool chn_view__i64(const struct chn_view *view, uint64_t row, int64_t *value) {
    uint64_t u;
    if (chn_view__u64(view, row, &u)) {
        *value = (int64_t)u;
        return u <= INT64_MAX;
    }
    const uint8_t *p = find_fixed(&view, &row);
    if (p == NULL || view->type->width > 8) return false;
    switch (view->type->kind) {
    case CHN_INT:
    case CHN_DATE32:
    case CHN_DATETIME64:
    case CHN_TIME:
    case CHN_TIME64:
    case CHN_DECIMAL:
    case CHN_ENUM: *value = load_signed(p, view->type->width); return true;
    default: return false;
    }
}

/* Any number as 256 bits. */
static bool load_wide(const struct chn_view *view, uint64_t row, uint64_t words[4],
                      bool *is_signed) {
    const uint8_t *p = find_fixed(&view, &row);
    uint64_t u;
    int64_t i = 0;
    if (p == NULL) return false;
    if (view->type->width <= 8) {
        *is_signed = !chn_view__u64(view, row, &u);
        if (*is_signed && !chn_view__i64(view, row, &i)) return false;
        words[0] = *is_signed ? (uint64_t)i : u;
        words[1] = words[2] = words[3] = i < 0 ? UINT64_MAX : 0;
        return true;
    }
    *is_signed = view->type->kind == CHN_INT || view->type->kind == CHN_DECIMAL;
    if (!*is_signed && view->type->kind != CHN_UINT) return false;
    size_t n = view->type->width / 8;
    for (size_t k = 0; k < n; k++) words[k] = chn_load_u64(p + k * 8);
    uint64_t rest = *is_signed && words[n - 1] >> 63 != 0 ? UINT64_MAX : 0;
    for (size_t k = n; k < 4; k++) words[k] = rest;
    return true;
}

bool chn_view__i256(const struct chn_view *view, uint64_t row, uint64_t words[4]) {
    bool is_signed;
    return load_wide(view, row, words, &is_signed);
}

bool chn_view__i128(const struct chn_view *view, uint64_t row, uint64_t *low, int64_t *high) {
    uint64_t words[4];
    bool is_signed;
    if (!load_wide(view, row, words, &is_signed)) return false;
    uint64_t rest = is_signed && words[1] >> 63 != 0 ? UINT64_MAX : 0;
    if (words[2] != rest || words[3] != rest) return false;
    *low = words[0];
    *high = (int64_t)words[1];
    return true;
}

bool chn_view__f64(const struct chn_view *view, uint64_t row, double *value) {
    const uint8_t *p = find_fixed(&view, &row);
    if (p == NULL || view->type->kind != CHN_FLOAT) return false;
    if (view->type->width < 8) {
        uint32_t bits = view->type->width == 4 ? chn_load_u32(p) : (uint32_t)load_le(p, 2) << 16;
        float f;
        memcpy(&f, &bits, sizeof f);
        *value = (double)f;
    } else {
        uint64_t bits = chn_load_u64(p);
        memcpy(value, &bits, sizeof *value);
    }
    return true;
}

bool chn_view__string(const struct chn_view *view, uint64_t row, struct chn_slice *value) {
    bool null;
    if (!find_leaf(&view, &row, &null)) return false;
    if (view->type->kind == CHN_STRING || view->type->kind == CHN_JSON) {
        uint64_t first = 0, end;
        if (row > 0) memcpy(&first, view->ends.data + (row - 1) * sizeof first, sizeof first);
        memcpy(&end, view->ends.data + row * sizeof end, sizeof end);
        *value = (struct chn_slice){end > first ? (const void *)(view->data.data + first) : "",
                                    (size_t)(end - first)};
        return true;
    }
    if (view->type->kind == CHN_FIXED_STRING) {
        *value = (struct chn_slice){view->data.data + row * view->type->width, view->type->width};
        return true;
    }
    if (view->type->kind != CHN_ENUM) return false;
    int64_t number = load_signed(view->data.data + row * view->type->width, view->type->width);
    for (uint32_t i = 0; i < view->type->n_names; i++) {
        if (view->type->names[i].value != number) continue;
        *value = (struct chn_slice){view->type->names[i].name, view->type->names[i].n};
        return true;
    }
    return false;
}

bool chn_view__uuid(const struct chn_view *view, uint64_t row, uint8_t value[16]) {
    const uint8_t *p = find_fixed(&view, &row);
    if (p == NULL || view->type->kind != CHN_UUID) return false;
    for (size_t i = 0; i < 8; i++) { /* Two u64, each half reversed. */
        value[i] = p[7 - i];
        value[8 + i] = p[15 - i];
    }
    return true;
}

bool chn_view__bytes(const struct chn_view *view, uint64_t row, struct chn_slice *value) {
    const uint8_t *p = find_fixed(&view, &row);
    if (p == NULL) return false;
    *value = (struct chn_slice){p, view->type->width};
    return true;
}

static bool find_range(const struct chn_view *view, uint64_t row, uint64_t *first, uint64_t *n) {
    if (row >= view->n) return false;
    *first = row == 0 ? 0 : chn_load_u64(view->data.data + (row - 1) * 8);
    *n = chn_load_u64(view->data.data + row * 8) - *first;
    return true;
}

bool chn_view__array(const struct chn_view *view, uint64_t row, const struct chn_view **values,
                     uint64_t *first, uint64_t *n) {
    if (view == NULL || view->type->kind != CHN_ARRAY || !find_range(view, row, first, n))
        return false;
    *values = &view->children[0];
    return true;
}

bool chn_view__map(const struct chn_view *view, uint64_t row, const struct chn_view **keys,
                   const struct chn_view **values, uint64_t *first, uint64_t *n) {
    if (view == NULL || view->type->kind != CHN_MAP || !find_range(view, row, first, n))
        return false;
    *keys = &view->children[0];
    *values = &view->children[1];
    return true;
}

const struct chn_view *chn_view__element(const struct chn_view *view, uint32_t i) {
    return view != NULL && view->type->kind == CHN_TUPLE && i < view->n_children
               ? &view->children[i]
               : NULL;
}
