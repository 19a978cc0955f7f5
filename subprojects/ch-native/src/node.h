/**
 * A builder inside: a tree of nodes like the type's, each with the bytes of its own stream.
 * builder.c makes, ends and takes them; append.c turns values into bytes; builder_text.c reads
 * values from text; dictionary.c keeps LowCardinality.
 */
#ifndef CHN_NODE_H
#define CHN_NODE_H

#include "wire.h"

#include <ch_native/builder.h>

/* 256 bits, two's complement, low word first. */
struct chn_wide {
    uint64_t words[4];
};

/*
 * Of LowCardinality: u32 keys lie in the node's data, the words in its child, and a hash table of
 * what is in the dictionary here. Keys are narrowed when the column is taken.
 */
struct chn_dictionary {
    uint32_t *slots; /* Key + 1; 0 is empty. A power of two of them. */
    size_t n_slots;
    struct chn_buf starts; /* Of each string's bytes in the child's data, uint64_t; its length lies
                              in @lengths. Both are empty when the words have a fixed width. */
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
    struct chn_dictionary *dictionary;
    struct chn_wide bound; /* Of a Decimal: 10^precision, which no value reaches. */
    /* Of the root only. */
    char *name, *type_text;
    struct chn_type *owned_type;
    size_t bytes, bytes_max;
    struct chn_buf parts; /* struct chn_slice. */
};

/* Room for @n more bytes of @b, within the column's bound. */
static inline int chn_node_make_room(struct chn_builder *b, size_t n) {
    struct chn_builder *root = b->root;
    if (n > root->bytes_max || root->bytes > root->bytes_max - n) return CHN_ERR_LIMIT;
    if (b->data.capacity - b->data.n < n && !chn_buf__reserve(&b->data, n)) {
        b->data.failed = false; /* What is there is whole. */
        return CHN_ERR_MEMORY;
    }
    root->bytes += n;
    return 0;
}

static inline void chn_node_store(uint8_t *p, uint64_t value, uint32_t bytes) {
    switch (bytes) { /* Constant sizes become one store. */
    case 1: p[0] = (uint8_t)value; break;
    case 2: chn_store_le(p, value, 2); break;
    case 4: chn_store_le(p, value, 4); break;
    case 8: chn_store_le(p, value, 8); break;
    default: break;
    }
}

/** Appends a string with its length before it: a String's row, or a word of a dictionary. */
int chn_node__put_string(struct chn_builder *b, const void *data, size_t n);

/** Whether key 0 of a dictionary is the NULL. */
static inline bool chn_dictionary_has_null(const struct chn_builder *b) {
    return b->type->children[0]->kind == CHN_NULLABLE;
}

/** A row that is the string @data; the words must be Strings. */
int chn_dictionary__put_string(struct chn_builder *b, const void *data, size_t n);
/**
 * A row of any fixed width: call begin, append the value to the child, call end with what the
 * appender said. A word that is known already is taken back from the child.
 */
int chn_dictionary__begin(struct chn_builder *b);
int chn_dictionary__end(struct chn_builder *b, int code);
/** A row of key 0: the NULL, or the default of a type without NULLs. */
int chn_dictionary__put_first(struct chn_builder *b);
void chn_dictionary__reset(struct chn_dictionary *d);
void chn_dictionary__free(struct chn_dictionary *d);
/** Narrows the keys and fills head and tail. @return 0 or CHN_ERR_MEMORY. */
int chn_dictionary__pack(struct chn_builder *b);

/** Digits with an optional sign and, for Decimals, a point, as a number times 10^@scale. @return
 * false unless it is one, of at most 256 bits. */
bool chn_wide__parse(const char *text, size_t n, uint32_t scale, struct chn_wide *value);
/** 10^@digits. */
struct chn_wide chn_wide__power_of_ten(uint32_t digits);
/** Appends to an integer or a Decimal. @is_signed: the top bit of @value is its sign. */
int chn_node__put_wide(struct chn_builder *b, const struct chn_wide *value, bool is_signed);

#endif
