/*
 * Builders: a tree of nodes like the type's, each with the bytes of its own stream. A dictionary
 * node keeps u32 keys and a hash table of what is in its dictionary; its keys are narrowed when the
 * column is taken.
 */
#include <ch_native/builder.h>

#include "city.h"
#include "wire.h"

#include <stdlib.h>

struct dictionary {
    uint32_t *slots; /* Key + 1; 0 is empty. A power of two of them. */
    size_t n_slots;
    struct chn_buf starts; /* Of each string's bytes in the child's data, uint64_t; its length lies
                              in @lengths. */
    struct chn_buf lengths;
    struct chn_buf narrow; /* The keys as they go out. */
    uint8_t head[16], tail[8];
};

struct chn_builder {
    const struct chn_type *type;
    struct chn_builder *root;
    uint64_t n;
    struct chn_buf data;
    struct chn_builder *children;
    uint32_t n_children;
    struct dictionary *dictionary;
    /* Of the root only. */
    char *name, *type_text;
    struct chn_type *owned_type;
    size_t bytes, bytes_max;
    struct chn_buf parts; /* struct chn_slice. */
};

static const uint8_t low_cardinality_prefix[8] = {1};

static bool make_node(struct chn_builder *b, struct chn_builder *root,
                      const struct chn_type *type) {
    b->root = root;
    b->type = type;
    uint32_t n_children = type->n_children;
    if (type->kind == CHN_LOW_CARDINALITY) {
        const struct chn_type *inner = type->children[0];
        if (inner->kind == CHN_NULLABLE) inner = inner->children[0];
        b->dictionary = calloc(1, sizeof *b->dictionary);
        b->children = calloc(1, sizeof *b->children);
        if (b->dictionary == NULL || b->children == NULL) return false;
        b->n_children = 1;
        return inner->kind == CHN_STRING && make_node(b->children, root, inner);
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
    if (b->dictionary == NULL) return;
    free(b->dictionary->slots);
    chn_buf__fini(&b->dictionary->starts);
    chn_buf__fini(&b->dictionary->lengths);
    chn_buf__fini(&b->dictionary->narrow);
    free(b->dictionary);
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
        chn_err__setf(err, CHN_ERR_TYPE, "builder of %.80s: cannot build %.100s", name, type);
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
    if (b->dictionary == NULL) return;
    if (b->dictionary->slots != NULL)
        memset(b->dictionary->slots, 0, b->dictionary->n_slots * sizeof(uint32_t));
    b->dictionary->starts.n = b->dictionary->lengths.n = b->dictionary->narrow.n = 0;
}

void chn_builder__reset(struct chn_builder *b) {
    reset_node(b);
    b->bytes = 0;
    b->parts.n = 0;
}

/* Room for @n more bytes of @b, within the column's bound. */
static inline int make_room(struct chn_builder *b, size_t n) {
    struct chn_builder *root = b->root;
    if (n > root->bytes_max || root->bytes > root->bytes_max - n) return CHN_ERR_LIMIT;
    if (!chn_buf__reserve(&b->data, n)) {
        b->data.failed = false; /* What is there is whole. */
        return CHN_ERR_MEMORY;
    }
    root->bytes += n;
    return 0;
}

static inline void store(uint8_t *p, uint64_t value, uint32_t bytes) {
    switch (bytes) { /* Constant sizes become one store. */
    case 1: p[0] = (uint8_t)value; break;
    case 2: chn_store_le(p, value, 2); break;
    case 4: chn_store_le(p, value, 4); break;
    case 8: chn_store_le(p, value, 8); break;
    default: break;
    }
}

static inline int put_fixed(struct chn_builder *b, uint64_t value) {
    int code = make_room(b, b->type->width);
    if (code != 0) return code;
    store(b->data.data + b->data.n, value, b->type->width);
    b->data.n += b->type->width;
    b->n++;
    return 0;
}

/*
 * A Nullable's value: room for its null byte is taken first, so that nothing has to be taken back
 * from the value when there is none.
 */
#define THROUGH_NULLABLE(b, call)                                                                  \
    do {                                                                                           \
        if ((b)->type->kind == CHN_NULLABLE) {                                                     \
            int code_ = make_room((b), 1);                                                         \
            return code_ != 0 ? code_ : end_value((b), (call));                                    \
        }                                                                                          \
    } while (0)

/* Marks the value that was just appended below a Nullable as not NULL, or gives the room back. */
static int end_value(struct chn_builder *b, int code) {
    if (code != 0) {
        b->root->bytes--;
        return code;
    }
    b->data.data[b->data.n++] = 0;
    b->n++;
    return 0;
}

int chn_builder__u64(struct chn_builder *b, uint64_t value) {
    const struct chn_type *type = b->type;
    switch (type->kind) {
    case CHN_UINT:
        if (type->width > 8) return chn_builder__i128(b, value, 0);
        if (type->width < 8 && value >> (8 * type->width) != 0) return CHN_ERR_ARGUMENT;
        return put_fixed(b, value);
    case CHN_DATETIME:
    case CHN_IPV4: return value <= UINT32_MAX ? put_fixed(b, value) : CHN_ERR_ARGUMENT;
    case CHN_DATE: return value <= UINT16_MAX ? put_fixed(b, value) : CHN_ERR_ARGUMENT;
    case CHN_BOOL: return value <= 1 ? put_fixed(b, value) : CHN_ERR_ARGUMENT;
    case CHN_NULLABLE:
        THROUGH_NULLABLE(b, chn_builder__u64(&b->children[0], value));
        return CHN_ERR_TYPE;
    case CHN_INT:
    case CHN_DATE32:
    case CHN_DATETIME64:
    case CHN_DECIMAL:
    case CHN_ENUM:
        if (type->width == 16) return chn_builder__i128(b, value, 0);
        return value <= INT64_MAX ? chn_builder__i64(b, (int64_t)value) : CHN_ERR_ARGUMENT;
    default: return CHN_ERR_TYPE;
    }
}

/* 10^digits - 1 bounds a Decimal. */
static bool fits_decimal(int64_t value, uint32_t digits) {
    int64_t bound = 1;
    for (uint32_t i = 0; i < digits; i++) bound *= 10;
    return value > -bound && value < bound;
}

int chn_builder__i64(struct chn_builder *b, int64_t value) {
    const struct chn_type *type = b->type;
    int64_t bound;
    switch (type->kind) {
    case CHN_INT:
        if (type->width == 16) return chn_builder__i128(b, (uint64_t)value, value < 0 ? -1 : 0);
        if (type->width > 16) return CHN_ERR_TYPE;
        bound = type->width == 8 ? INT64_MAX : ((int64_t)1 << (8 * type->width - 1)) - 1;
        return value >= -bound - 1 && value <= bound ? put_fixed(b, (uint64_t)value)
                                                     : CHN_ERR_ARGUMENT;
    case CHN_DATETIME64: return put_fixed(b, (uint64_t)value);
    case CHN_DATE32:
        return value >= INT32_MIN && value <= INT32_MAX ? put_fixed(b, (uint64_t)value)
                                                        : CHN_ERR_ARGUMENT;
    case CHN_DECIMAL:
        if (type->width == 16) return chn_builder__i128(b, (uint64_t)value, value < 0 ? -1 : 0);
        if (type->width > 16) return CHN_ERR_TYPE;
        return fits_decimal(value, type->precision) ? put_fixed(b, (uint64_t)value)
                                                    : CHN_ERR_ARGUMENT;
    case CHN_ENUM:
        for (uint32_t i = 0; i < type->n_names; i++)
            if (type->names[i].value == value) return put_fixed(b, (uint64_t)value);
        return CHN_ERR_ARGUMENT;
    case CHN_NULLABLE:
        THROUGH_NULLABLE(b, chn_builder__i64(&b->children[0], value));
        return CHN_ERR_TYPE;
    case CHN_UINT:
    case CHN_BOOL:
    case CHN_DATE:
    case CHN_DATETIME:
    case CHN_IPV4: return value >= 0 ? chn_builder__u64(b, (uint64_t)value) : CHN_ERR_ARGUMENT;
    default: return CHN_ERR_TYPE;
    }
}

int chn_builder__i128(struct chn_builder *b, uint64_t low, int64_t high) {
    enum chn_kind kind = b->type->kind;
    THROUGH_NULLABLE(b, chn_builder__i128(&b->children[0], low, high));
    if (b->type->width != 16 || (kind != CHN_INT && kind != CHN_UINT && kind != CHN_DECIMAL))
        return CHN_ERR_TYPE;
    int code = make_room(b, 16);
    if (code != 0) return code;
    chn_store_le(b->data.data + b->data.n, low, 8);
    chn_store_le(b->data.data + b->data.n + 8, (uint64_t)high, 8);
    b->data.n += 16;
    b->n++;
    return 0;
}

int chn_builder__f64(struct chn_builder *b, double value) {
    THROUGH_NULLABLE(b, chn_builder__f64(&b->children[0], value));
    if (b->type->kind != CHN_FLOAT) return CHN_ERR_TYPE;
    if (b->type->width == 4) {
        float narrow = (float)value;
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        return put_fixed(b, bits);
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_fixed(b, bits);
}

static int put_string(struct chn_builder *b, const void *data, size_t n) {
    size_t head = 1;
    for (size_t rest = n; rest >= 128; rest >>= 7) head++;
    int code = n <= SIZE_MAX / 4 ? make_room(b, head + n) : CHN_ERR_LIMIT;
    if (code != 0) return code;
    uint8_t *p = b->data.data + b->data.n;
    for (size_t rest = n;; rest >>= 7) {
        *p++ = (uint8_t)(rest < 128 ? rest : rest | 128u);
        if (rest < 128) break;
    }
    if (n > 0) memcpy(p, data, n);
    b->data.n += head + n;
    b->n++;
    return 0;
}

/* --- LowCardinality(String) and LowCardinality(Nullable(String)) --- */

static bool has_null_slot(const struct chn_builder *b) {
    return b->type->children[0]->kind == CHN_NULLABLE;
}

static int add_word(struct chn_builder *b, const void *data, size_t n) {
    struct dictionary *d = b->dictionary;
    struct chn_builder *words = &b->children[0];
    if (!chn_buf__reserve(&d->starts, 8) || !chn_buf__reserve(&d->lengths, 8))
        return CHN_ERR_MEMORY;
    int code = put_string(words, data, n);
    if (code != 0) return code;
    uint64_t start = words->data.n - n, length = n;
    chn_buf__put(&d->starts, &start, sizeof start);
    chn_buf__put(&d->lengths, &length, sizeof length);
    return 0;
}

static bool is_word(const struct chn_builder *b, uint32_t key, const void *data, size_t n) {
    uint64_t start, length;
    memcpy(&length, b->dictionary->lengths.data + (size_t)key * 8, sizeof length);
    if (length != n) return false;
    memcpy(&start, b->dictionary->starts.data + (size_t)key * 8, sizeof start);
    return n == 0 || memcmp(b->children[0].data.data + start, data, n) == 0;
}

static uint64_t hash_word(const void *data, size_t n) { return chn_city__hash128(data, n).low; }

/* Doubles the table when it is half full. */
static int grow_slots(struct chn_builder *b) {
    struct dictionary *d = b->dictionary;
    uint64_t n_words = b->children[0].n;
    if (d->n_slots > 0 && n_words < d->n_slots / 2) return 0;
    size_t n_slots = d->n_slots == 0 ? 64 : d->n_slots * 2;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL) return CHN_ERR_MEMORY;
    for (uint32_t key = has_null_slot(b); key < n_words;
         key++) { /* The NULL slot is found by nobody. */
        uint64_t start, length;
        memcpy(&start, d->starts.data + (size_t)key * 8, sizeof start);
        memcpy(&length, d->lengths.data + (size_t)key * 8, sizeof length);
        size_t i = hash_word(b->children[0].data.data + start, (size_t)length) & (n_slots - 1);
        while (slots[i] != 0) i = (i + 1) & (n_slots - 1);
        slots[i] = key + 1;
    }
    free(d->slots);
    d->slots = slots;
    d->n_slots = n_slots;
    return 0;
}

/* Key 0 is the default; with NULLs key 0 is the NULL and key 1 the default. */
static int begin_dictionary(struct chn_builder *b) {
    while (b->children[0].n < (has_null_slot(b) ? 2u : 1u)) {
        int code = add_word(b, "", 0);
        if (code != 0) return code;
    }
    if (b->dictionary->n_slots == 0) return grow_slots(b);
    uint32_t key = has_null_slot(b);
    size_t i = hash_word("", 0) & (b->dictionary->n_slots - 1);
    while (b->dictionary->slots[i] != 0) {
        if (is_word(b, b->dictionary->slots[i] - 1, "", 0)) return 0;
        i = (i + 1) & (b->dictionary->n_slots - 1);
    }
    b->dictionary->slots[i] = key + 1;
    return 0;
}

static int put_key(struct chn_builder *b, uint32_t key) {
    int code = make_room(b, 4);
    if (code != 0) return code;
    memcpy(b->data.data + b->data.n, &key, 4); /* Of this machine: narrowed later. */
    b->data.n += 4;
    b->n++;
    return 0;
}

static int put_word(struct chn_builder *b, const void *data, size_t n) {
    struct dictionary *d = b->dictionary;
    int code = b->n == 0 ? begin_dictionary(b) : 0;
    if (code != 0 || (code = grow_slots(b)) != 0) return code;
    size_t i = hash_word(data, n) & (d->n_slots - 1);
    for (; d->slots[i] != 0; i = (i + 1) & (d->n_slots - 1))
        if (is_word(b, d->slots[i] - 1, data, n)) return put_key(b, d->slots[i] - 1);
    uint32_t key = (uint32_t)b->children[0].n;
    code = add_word(b, data, n);
    if (code != 0) return code;
    d->slots[i] = key + 1;
    return put_key(b, key);
}

/* --- Other values --- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static int put_uuid_text(struct chn_builder *b, const char *text, size_t n) {
    uint8_t value[16];
    if (n != 36) return CHN_ERR_ARGUMENT;
    for (size_t i = 0, k = 0; i < 36; i += 2) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-') return CHN_ERR_ARGUMENT;
            i++;
        }
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0) return CHN_ERR_ARGUMENT;
        value[k++] = (uint8_t)(high << 4 | low);
    }
    return chn_builder__uuid(b, value);
}

int chn_builder__string(struct chn_builder *b, const void *data, size_t n) {
    const struct chn_type *type = b->type;
    switch (type->kind) {
    case CHN_STRING: return put_string(b, data, n);
    case CHN_LOW_CARDINALITY: return put_word(b, data, n);
    case CHN_NULLABLE:
        THROUGH_NULLABLE(b, chn_builder__string(&b->children[0], data, n));
        return CHN_ERR_TYPE;
    case CHN_UUID: return put_uuid_text(b, data, n);
    case CHN_FIXED_STRING: {
        if (n > type->width) return CHN_ERR_ARGUMENT;
        int code = make_room(b, type->width);
        if (code != 0) return code;
        uint8_t *p = b->data.data + b->data.n;
        if (n > 0) memcpy(p, data, n);
        memset(p + n, 0, type->width - n);
        b->data.n += type->width;
        b->n++;
        return 0;
    }
    case CHN_ENUM:
        for (uint32_t i = 0; i < type->n_names; i++)
            if (type->names[i].n == n && memcmp(type->names[i].name, data, n) == 0)
                return put_fixed(b, (uint64_t)(int64_t)type->names[i].value);
        return CHN_ERR_ARGUMENT;
    default: return CHN_ERR_TYPE;
    }
}

int chn_builder__uuid(struct chn_builder *b, const uint8_t value[16]) {
    THROUGH_NULLABLE(b, chn_builder__uuid(&b->children[0], value));
    if (b->type->kind != CHN_UUID) return CHN_ERR_TYPE;
    uint8_t wire[16];
    for (size_t i = 0; i < 8; i++) {
        wire[i] = value[7 - i];
        wire[8 + i] = value[15 - i];
    }
    return chn_builder__bytes(b, wire, sizeof wire);
}

int chn_builder__bytes(struct chn_builder *b, const void *data, size_t n) {
    THROUGH_NULLABLE(b, chn_builder__bytes(&b->children[0], data, n));
    if (b->type->width == 0) return CHN_ERR_TYPE;
    if (n != b->type->width) return CHN_ERR_ARGUMENT;
    int code = make_room(b, n);
    if (code != 0) return code;
    memcpy(b->data.data + b->data.n, data, n);
    b->data.n += n;
    b->n++;
    return 0;
}

int chn_builder__null(struct chn_builder *b) {
    if (b->type->kind == CHN_LOW_CARDINALITY && has_null_slot(b)) {
        int code = b->n == 0 ? begin_dictionary(b) : 0;
        return code != 0 ? code : put_key(b, 0);
    }
    if (b->type->kind != CHN_NULLABLE) return CHN_ERR_TYPE;
    int code = make_room(b, 1);
    if (code != 0) return code;
    code = chn_builder__default(&b->children[0]);
    if (code != 0) {
        b->root->bytes--;
        return code;
    }
    b->data.data[b->data.n++] = 1;
    b->n++;
    return 0;
}

int chn_builder__default(struct chn_builder *b) {
    switch (b->type->kind) {
    case CHN_NULLABLE: return chn_builder__null(b);
    case CHN_LOW_CARDINALITY: return has_null_slot(b) ? chn_builder__null(b) : put_word(b, "", 0);
    case CHN_STRING: return put_string(b, "", 0);
    case CHN_ARRAY:
    case CHN_MAP: return chn_builder__end(b);
    case CHN_ENUM: return put_fixed(b, (uint64_t)(int64_t)b->type->names[0].value);
    case CHN_TUPLE:
        for (uint32_t i = 0; i < b->n_children; i++) {
            int code = chn_builder__default(&b->children[i]);
            if (code != 0) return code;
        }
        return chn_builder__end(b);
    default: {
        int code = make_room(b, b->type->width);
        if (code != 0) return code;
        memset(b->data.data + b->data.n, 0, b->type->width);
        b->data.n += b->type->width;
        b->n++;
        return 0;
    }
    }
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
    if (b->type->kind == CHN_TUPLE) {
        if (b->children[0].n != b->n + 1) return CHN_ERR_ARGUMENT;
        b->n++;
        return 0;
    }
    if (b->type->kind != CHN_ARRAY && b->type->kind != CHN_MAP) return CHN_ERR_TYPE;
    int code = make_room(b, 8);
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
    if (b->dictionary != NULL) add_part(b, low_cardinality_prefix, sizeof low_cardinality_prefix);
    for (uint32_t i = 0; i < b->n_children; i++) add_prefixes(&b->children[i]);
}

/* Keys go out as narrow as the dictionary allows. */
static int add_dictionary(struct chn_builder *b) {
    struct dictionary *d = b->dictionary;
    uint64_t n_words = b->children[0].n;
    unsigned code = n_words <= 256 ? 0 : n_words <= 65536 ? 1 : 2, width = 1u << code;
    d->narrow.n = 0;
    if (!chn_buf__reserve(&d->narrow, (size_t)b->n * width)) return CHN_ERR_MEMORY;
    for (uint64_t i = 0; i < b->n; i++) {
        uint32_t key;
        memcpy(&key, b->data.data + i * 4, 4);
        store(d->narrow.data + i * width, key, width);
    }
    d->narrow.n = (size_t)b->n * width;
    chn_store_le(d->head, 0x600u | code, 8);
    chn_store_le(d->head + 8, n_words, 8);
    chn_store_le(d->tail, b->n, 8);
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
