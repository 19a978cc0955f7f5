/* Builders as trees: made like their type, reset, ended row by row, and taken as a column. */
#include "node.h"

#include <stdlib.h>

/* Of LowCardinality: dictionaries of their own in each block. Of JSON: documents as text. Both are
 * written before any data of their column. */
static const uint8_t version_prefix[8] = {1};

static bool make_node(struct chn_builder *b, struct chn_builder *root,
                      const struct chn_type *type) {
    b->root = root;
    b->type = type;
    uint32_t n_children = type->n_children;
    if (type->kind == CHN_DECIMAL) b->bound = chn_wide__power_of_ten(type->precision);
    if (type->kind == CHN_LOW_CARDINALITY) {
        const struct chn_type *inner = type->children[0];
        if (inner->kind == CHN_NULLABLE) inner = inner->children[0];
        b->dictionary = calloc(1, sizeof *b->dictionary);
        b->children = calloc(1, sizeof *b->children);
        if (b->dictionary == NULL || b->children == NULL) return false;
        b->n_children = 1;
        return make_node(b->children, root, inner);
    }
    if (n_children == 0) return true;
    b->children = calloc(n_children, sizeof *b->children);
    if (b->children == NULL) return false;
    for (uint32_t i = 0; i < n_children; i++) {
        b->n_children = i + 1;
        if (!make_node(&b->children[i], root, type->children[i])) return false;
    }
    return true;
}

static void free_node(struct chn_builder *b) {
    for (uint32_t i = 0; i < b->n_children; i++) free_node(&b->children[i]);
    free(b->children);
    chn_buf__fini(&b->data);
    chn_dictionary__free(b->dictionary);
}

void chn_builder__free(struct chn_builder *b) {
    if (b == NULL) return;
    free_node(b);
    chn_type__free(b->owned_type);
    chn_buf__fini(&b->parts);
    free(b->name);
    free(b->type_text);
    free(b);
}

struct chn_builder *chn_builder__new(const char *name, const char *type, size_t bytes_max,
                                     struct chn_err *err) {
    struct chn_type *parsed = chn_type__parse(type, strlen(type), err);
    if (parsed == NULL) return NULL;
    struct chn_builder *b = calloc(1, sizeof *b);
    if (b == NULL) {
        chn_type__free(parsed);
        chn_err__setf(err, CHN_ERR_MEMORY, "builder of %.80s: no memory", name);
        return NULL;
    }
    b->owned_type = parsed;
    b->bytes_max = bytes_max;
    b->name = strdup(name);
    b->type_text = strdup(type);
    if (b->name == NULL || b->type_text == NULL || !make_node(b, b, parsed)) {
        chn_err__setf(err, CHN_ERR_MEMORY, "builder of %.80s: no memory", name);
        chn_builder__free(b);
        return NULL;
    }
    return b;
}

static void reset_node(struct chn_builder *b) {
    b->n = 0;
    b->data.n = 0;
    b->data.failed = false;
    for (uint32_t i = 0; i < b->n_children; i++) reset_node(&b->children[i]);
    if (b->dictionary != NULL) chn_dictionary__reset(b->dictionary);
}

void chn_builder__reset(struct chn_builder *b) {
    reset_node(b);
    b->bytes = 0;
    b->parts.n = 0;
}

struct chn_builder *chn_builder__child(struct chn_builder *b, uint32_t i) {
    bool nested =
        b->type->kind == CHN_ARRAY || b->type->kind == CHN_MAP || b->type->kind == CHN_TUPLE;
    return nested && i < b->n_children ? &b->children[i] : NULL;
}

/* Whether the children of a nested node have the same number of rows. */
static bool is_even(const struct chn_builder *b) {
    for (uint32_t i = 1; i < b->n_children; i++)
        if (b->children[i].n != b->children[0].n) return false;
    return true;
}

int chn_builder__end(struct chn_builder *b) {
    if (!is_even(b)) return CHN_ERR_ARGUMENT;
    if (b->type->kind == CHN_TUPLE && b->n_children == 0) { /* Its rows are a byte each. */
        int code = chn_node_make_room(b, 1);
        if (code != 0) return code;
        b->data.data[b->data.n++] = '0';
        b->n++;
        return 0;
    }
    if (b->type->kind == CHN_TUPLE) {
        if (b->children[0].n != b->n + 1) return CHN_ERR_ARGUMENT;
        b->n++;
        return 0;
    }
    if (b->type->kind != CHN_ARRAY && b->type->kind != CHN_MAP) return CHN_ERR_TYPE;
    int code = chn_node_make_room(b, 8);
    if (code != 0) return code;
    chn_store_le(b->data.data + b->data.n, b->children[0].n, 8);
    b->data.n += 8;
    b->n++;
    return 0;
}

uint64_t chn_builder__n_rows(const struct chn_builder *b) { return b->n; }
size_t chn_builder__n_bytes(const struct chn_builder *b) { return b->root->bytes; }

/* --- Taking the column --- */

static void add_part(struct chn_builder *b, const void *data, size_t n) {
    if (n > 0)
        chn_buf__put(&b->root->parts, &(struct chn_slice){data, n}, sizeof(struct chn_slice));
}

static void add_prefixes(struct chn_builder *b) {
    if (b->type->kind == CHN_LOW_CARDINALITY || b->type->kind == CHN_JSON)
        add_part(b, version_prefix, sizeof version_prefix);
    for (uint32_t i = 0; i < b->n_children; i++) add_prefixes(&b->children[i]);
}

static int add_dictionary(struct chn_builder *b) {
    struct chn_dictionary *d = b->dictionary;
    int code = chn_dictionary__pack(b);
    if (code != 0) return code;
    add_part(b, d->head, sizeof d->head);
    add_part(b, b->children[0].data.data, b->children[0].data.n);
    add_part(b, d->tail, sizeof d->tail);
    add_part(b, d->narrow.data, d->narrow.n);
    return 0;
}

static int add_data(struct chn_builder *b) {
    if (b->dictionary != NULL) return b->n > 0 ? add_dictionary(b) : 0;
    add_part(b, b->data.data, b->data.n);
    if (b->type->kind == CHN_ARRAY || b->type->kind == CHN_MAP) {
        uint64_t ended = b->n > 0 ? chn_load_u64(b->data.data + (b->n - 1) * 8) : 0;
        if (!is_even(b) || ended != b->children[0].n) return CHN_ERR_ARGUMENT;
    } else if (b->n_children > 0 && (!is_even(b) || b->children[0].n != b->n)) {
        return CHN_ERR_ARGUMENT;
    }
    for (uint32_t i = 0; i < b->n_children; i++) {
        int code = add_data(&b->children[i]);
        if (code != 0) return code;
    }
    return 0;
}

int chn_builder__column(struct chn_builder *b, struct chn_column *column) {
    b->parts.n = 0;
    b->parts.failed = false;
    if (b->n > 0) add_prefixes(b);
    int code = add_data(b);
    if (code == 0 && b->parts.failed) code = CHN_ERR_MEMORY;
    if (code != 0) return code;
    *column = (struct chn_column){
        .name = b->name,
        .type = b->type_text,
        .parts = (const struct chn_slice *)(const void *)b->parts.data,
        .n_parts = b->parts.n / sizeof(struct chn_slice),
    };
    return 0;
}
