/*
 * LowCardinality on the way out: a hash table from word to key. Words are Strings, found by where
 * they lie, or values of a fixed width, which are appended to the child first and taken back when
 * they are known, so that every appender serves for them.
 */
#include "city.h"
#include "node.h"

#include <stdlib.h>

static bool has_strings(const struct chn_builder *b) { return b->children[0].type->width == 0; }

static struct chn_slice word_at(const struct chn_builder *b, uint32_t key) {
    const struct chn_dictionary *d = b->dictionary;
    const struct chn_builder *words = &b->children[0];
    uint64_t start, length;
    if (!has_strings(b))
        return (struct chn_slice){words->data.data + (size_t)key * words->type->width,
                                  words->type->width};
    memcpy(&length, d->lengths.data + (size_t)key * 8, sizeof length);
    memcpy(&start, d->starts.data + (size_t)key * 8, sizeof start);
    return (struct chn_slice){words->data.data + start, (size_t)length};
}

static inline bool is_word(const struct chn_builder *b, uint32_t key, const void *data, size_t n,
                           bool are_strings) {
    const struct chn_builder *words = &b->children[0];
    if (!are_strings) return memcmp(words->data.data + (size_t)key * n, data, n) == 0;
    uint64_t start, length; /* Most differ in length, which is cheaper to see. */
    memcpy(&length, b->dictionary->lengths.data + (size_t)key * 8, sizeof length);
    if (length != n) return false;
    memcpy(&start, b->dictionary->starts.data + (size_t)key * 8, sizeof start);
    return n == 0 || memcmp(words->data.data + start, data, n) == 0;
}

static size_t hash_word(const void *data, size_t n) {
    return (size_t)chn_city__hash128(data, n).low;
}

static int add_string(struct chn_builder *b, const void *data, size_t n) {
    struct chn_dictionary *d = b->dictionary;
    struct chn_builder *words = &b->children[0];
    if (!chn_buf__reserve(&d->starts, 8) || !chn_buf__reserve(&d->lengths, 8))
        return CHN_ERR_MEMORY;
    int code = chn_node__put_string(words, data, n);
    if (code != 0) return code;
    uint64_t start = words->data.n - n, length = n;
    chn_buf__put(&d->starts, &start, sizeof start);
    chn_buf__put(&d->lengths, &length, sizeof length);
    return 0;
}

/* Doubles the table when it is half full. */
static int grow_slots(struct chn_builder *b) {
    struct chn_dictionary *d = b->dictionary;
    uint64_t n_words = b->children[0].n;
    if (d->n_slots > 0 && n_words < d->n_slots / 2) return 0;
    if (n_words >= UINT32_MAX / 2) return CHN_ERR_LIMIT; /* Keys are u32, and one is not a key. */
    size_t n_slots = d->n_slots == 0 ? 64 : d->n_slots * 2;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL) return CHN_ERR_MEMORY;
    for (uint32_t key = chn_dictionary_has_null(b); key < n_words;
         key++) { /* The NULL slot is found by nobody. */
        struct chn_slice word = word_at(b, key);
        size_t i = hash_word(word.data, word.n) & (n_slots - 1);
        while (slots[i] != 0) i = (i + 1) & (n_slots - 1);
        slots[i] = key + 1;
    }
    free(d->slots);
    d->slots = slots;
    d->n_slots = n_slots;
    return 0;
}

/* Where the word is in the table, or the empty slot where it belongs. */
static inline size_t find_slot(const struct chn_builder *b, const void *data, size_t n,
                               bool are_strings) {
    const struct chn_dictionary *d = b->dictionary;
    size_t i = hash_word(data, n) & (d->n_slots - 1);
    while (d->slots[i] != 0 && !is_word(b, d->slots[i] - 1, data, n, are_strings))
        i = (i + 1) & (d->n_slots - 1);
    return i;
}

/* Key 0 is the default; with NULLs key 0 is the NULL and key 1 the default. */
static int make_defaults(struct chn_builder *b) {
    bool has_null = chn_dictionary_has_null(b);
    while (b->children[0].n < (has_null ? 2u : 1u)) {
        int code = has_strings(b) ? add_string(b, "", 0) : chn_builder__default(&b->children[0]);
        if (code != 0) return code;
    }
    if (b->dictionary->n_slots == 0) return grow_slots(b);
    struct chn_slice word = word_at(b, has_null);
    size_t i = find_slot(b, word.data, word.n, has_strings(b));
    if (b->dictionary->slots[i] == 0) b->dictionary->slots[i] = (uint32_t)has_null + 1;
    return 0;
}

/* Room in the table for one more word. */
static inline int begin(struct chn_builder *b) {
    int code = b->n == 0 ? make_defaults(b) : 0;
    if (code != 0) return code;
    return b->children[0].n < b->dictionary->n_slots / 2 ? 0 : grow_slots(b);
}

int chn_dictionary__begin(struct chn_builder *b) { return begin(b); }

static int put_key(struct chn_builder *b, uint32_t key) {
    int code = chn_node_make_room(b, 4);
    if (code != 0) return code;
    memcpy(b->data.data + b->data.n, &key, 4); /* Of this machine: narrowed later. */
    b->data.n += 4;
    b->n++;
    return 0;
}

int chn_dictionary__put_string(struct chn_builder *b, const void *data, size_t n) {
    struct chn_dictionary *d = b->dictionary;
    int code = begin(b);
    if (code != 0) return code;
    size_t i = find_slot(b, data, n, true);
    if (d->slots[i] != 0) return put_key(b, d->slots[i] - 1);
    uint32_t key = (uint32_t)b->children[0].n;
    if ((code = add_string(b, data, n)) != 0) return code;
    d->slots[i] = key + 1;
    return put_key(b, key);
}

int chn_dictionary__end(struct chn_builder *b, int code) {
    struct chn_builder *words = &b->children[0];
    uint32_t width = words->type->width;
    if (code != 0) return code;
    const uint8_t *word = words->data.data + words->data.n - width;
    size_t i = find_slot(b, word, width, false);
    if (b->dictionary->slots[i] == 0) {
        b->dictionary->slots[i] = (uint32_t)words->n; /* Its key is one less. */
    } else {
        words->data.n -= width;
        words->n--;
        b->root->bytes -= width;
    }
    return put_key(b, b->dictionary->slots[i] - 1);
}

int chn_dictionary__put_first(struct chn_builder *b) {
    int code = b->n == 0 ? make_defaults(b) : 0;
    return code != 0 ? code : put_key(b, 0);
}

void chn_dictionary__reset(struct chn_dictionary *d) {
    if (d->slots != NULL) memset(d->slots, 0, d->n_slots * sizeof(uint32_t));
    d->starts.n = d->lengths.n = d->narrow.n = 0;
}

void chn_dictionary__free(struct chn_dictionary *d) {
    if (d == NULL) return;
    free(d->slots);
    chn_buf__fini(&d->starts);
    chn_buf__fini(&d->lengths);
    chn_buf__fini(&d->narrow);
    free(d);
}

int chn_dictionary__pack(struct chn_builder *b) {
    struct chn_dictionary *d = b->dictionary;
    uint64_t n_words = b->children[0].n;
    unsigned code = n_words <= 256 ? 0 : n_words <= 65536 ? 1 : 2, width = 1u << code;
    d->narrow.n = 0;
    if (!chn_buf__reserve(&d->narrow, (size_t)b->n * width)) {
        d->narrow.failed = false;
        return CHN_ERR_MEMORY;
    }
    for (uint64_t i = 0; i < b->n; i++) {
        uint32_t key;
        memcpy(&key, b->data.data + i * 4, 4);
        chn_node_store(d->narrow.data + i * width, key, width);
    }
    d->narrow.n = (size_t)b->n * width;
    chn_store_le(d->head, 0x600u | code, 8); /* Additional keys, and a dictionary of this block. */
    chn_store_le(d->head + 8, n_words, 8);
    chn_store_le(d->tail, b->n, 8);
    return 0;
}
