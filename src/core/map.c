/* The map over ck_ht. Keys are copied with their length in front, since ck_ht keeps the pointer
 * that it is given and limits a key's length to 16 bits.
 *
 * ck_ht marks the place of what is removed, and never frees the mark: where keys come and go, in
 * the end every search for a new one walks a quarter of the table. So the table is made anew when
 * the marks are half as many as the entries: a constant share of each removal. */
#include "souk/core/map.h"
#include "souk/core/err.h"
#include <stdlib.h>

static void *ht_malloc(size_t size) { return malloc(size); }
static void ht_free(void *p, size_t size, bool defer) {
    (void)size, (void)defer;
    free(p);
}
static struct ck_malloc allocator = {.malloc = ht_malloc, .free = ht_free};

#define MARKS_MIN 64

static bool make_table(ck_ht_t *ht, size_t n) {
    unsigned mode = CK_HT_MODE_BYTESTRING | CK_HT_WORKLOAD_DELETE;
    return ck_ht_init(ht, mode, NULL, &allocator, n * 2 + 16, 0x736f756b);
}

int map__init(struct map *m, size_t n_max) {
    *m = (struct map){.n_max = n_max};
    if (!make_table(&m->ht, 0)) return ERR_NOMEM;
    m->ready = true;
    return 0;
}

void map__fini(struct map *m) {
    if (!m->ready) return;
    ck_ht_iterator_t it = CK_HT_ITERATOR_INITIALIZER;
    ck_ht_entry_t *entry;
    while (ck_ht_next(&m->ht, &it, &entry)) free(ck_ht_entry_key(entry));
    ck_ht_destroy(&m->ht);
    *m = (struct map){0};
}

static bool find(struct map *m, struct slice key, ck_ht_hash_t *hash, ck_ht_entry_t *entry) {
    if (key.len == 0 || key.len > UINT16_MAX) return false;
    ck_ht_hash(hash, &m->ht, key.base, (uint16_t)key.len);
    ck_ht_entry_key_set(entry, key.base, (uint16_t)key.len);
    return ck_ht_get_spmc(&m->ht, *hash, entry);
}

void *map__get(struct map *m, struct slice key) {
    ck_ht_hash_t hash;
    ck_ht_entry_t entry;
    return find(m, key, &hash, &entry) ? ck_ht_entry_value(&entry) : NULL;
}

int map__put(struct map *m, struct slice key, void *value) {
    ck_ht_hash_t hash;
    ck_ht_entry_t entry;
    if (key.len == 0 || key.len > UINT16_MAX) return ERR_LIMIT;
    char *copy;
    bool old = find(m, key, &hash, &entry);
    if (old) {
        copy = ck_ht_entry_key(&entry);
    } else {
        if (m->n >= m->n_max) return ERR_FULL;
        copy = malloc(key.len);
        if (copy == NULL) return ERR_NOMEM;
        memcpy(copy, key.base, key.len);
    }
    ck_ht_hash(&hash, &m->ht, copy, (uint16_t)key.len);
    ck_ht_entry_set(&entry, hash, copy, (uint16_t)key.len, value);
    if (!ck_ht_set_spmc(&m->ht, hash, &entry)) {
        if (!old) free(copy);
        return ERR_NOMEM;
    }
    m->n += !old;
    return 0;
}

/* Without memory the old one serves on. */
static void remake(struct map *m) {
    ck_ht_t fresh;
    ck_ht_iterator_t it = CK_HT_ITERATOR_INITIALIZER;
    ck_ht_entry_t *entry, copy;
    ck_ht_hash_t hash;
    if (!make_table(&fresh, m->n)) return;
    while (ck_ht_next(&m->ht, &it, &entry)) {
        char *key = ck_ht_entry_key(entry);
        uint16_t len = ck_ht_entry_key_length(entry);
        ck_ht_hash(&hash, &fresh, key, len);
        ck_ht_entry_set(&copy, hash, key, len, ck_ht_entry_value(entry));
        if (!ck_ht_set_spmc(&fresh, hash, &copy)) {
            ck_ht_destroy(&fresh);
            return;
        }
    }
    ck_ht_destroy(&m->ht);
    m->ht = fresh;
    m->n_removed = 0;
}

void *map__remove(struct map *m, struct slice key) {
    ck_ht_hash_t hash;
    ck_ht_entry_t entry;
    if (!find(m, key, &hash, &entry)) return NULL;
    char *copy = ck_ht_entry_key(&entry);
    void *value = ck_ht_entry_value(&entry);
    ck_ht_entry_key_set(&entry, copy, (uint16_t)key.len);
    if (!ck_ht_remove_spmc(&m->ht, hash, &entry)) return NULL;
    free(copy);
    m->n--;
    if (++m->n_removed > MARKS_MIN + m->n / 2) remake(m);
    return value;
}
