/* The stashes in memory: found by id, kept in the order in which they were last seen. */
#include "tape_internal.h"
#include <stdlib.h>
#include <xxhash.h>

#define INDEX_MIN 1024u
#define MALLOC_SHARE 16u /* What an allocation costs beside its bytes. */

uint64_t tape__hash(const void *bytes, size_t len) { return XXH3_64bits(bytes, len); }

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

bool tape_id__read(struct slice s, unsigned char *id) {
    if (s.len != 2 * TAPE_ID_BYTES) return false;
    for (size_t i = 0; i < TAPE_ID_BYTES; i++) {
        int hi = hex_digit(s.base[2 * i]), lo = hex_digit(s.base[2 * i + 1]);
        if (hi < 0 || lo < 0) return false;
        id[i] = (unsigned char)(hi << 4 | lo);
    }
    return true;
}

void tape_id__write(const unsigned char *id, char out[65]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < TAPE_ID_BYTES; i++) {
        out[2 * i] = digits[id[i] >> 4];
        out[2 * i + 1] = digits[id[i] & 15];
    }
    out[64] = '\0';
}

int stashes__init(struct tape *t) {
    t->index_cap = INDEX_MIN;
    t->index = calloc(t->index_cap, sizeof(struct stash *));
    t->sellers = calloc(t->index_cap, sizeof(struct stash *));
    t->alike = malloc(ALIKE_MAX * sizeof *t->alike);
    return t->index == NULL || t->sellers == NULL || t->alike == NULL ? ERR_NOMEM : 0;
}

void stashes__fini(struct tape *t) {
    for (struct stash *s = t->oldest, *next; s != NULL; s = next) {
        next = s->newer;
        free(s);
    }
    free(t->index);
    free(t->sellers);
    free(t->alike);
}

static struct stash **chain_of(const struct tape *t, uint64_t seller_hash) {
    return &t->sellers[(size_t)seller_hash & (t->index_cap - 1)];
}

static void chain(struct tape *t, struct stash *s) {
    struct stash **head = chain_of(t, s->seller_hash);
    s->before = NULL;
    s->after = *head;
    if (s->after != NULL) s->after->before = s;
    *head = s;
}

static void unchain(struct tape *t, struct stash *s) {
    if (s->before != NULL) s->before->after = s->after;
    else *chain_of(t, s->seller_hash) = s->after;
    if (s->after != NULL) s->after->before = s->before;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool stashes__alike(struct tape *t, uint64_t seller_hash, size_t *n) {
    size_t n_seen = 0;
    *n = 0;
    for (struct stash *s = *chain_of(t, seller_hash); s != NULL; s = s->after) {
        if (++n_seen > ALIKE_MAX) return false;
        for (uint32_t i = 0; s->seller_hash == seller_hash && i < s->n_items; i++) {
            if (stash__items(s)[i].fingerprint == 0) continue;
            if (*n == ALIKE_MAX) return false;
            t->alike[(*n)++] = stash__items(s)[i].fingerprint;
        }
    }
    qsort(t->alike, *n, sizeof *t->alike, compare_u64);
    return true;
}

static size_t slot_of(const struct tape *t, const unsigned char *id) {
    size_t at = (size_t)tape__hash(id, TAPE_ID_BYTES) & (t->index_cap - 1);
    while (t->index[at] != NULL && memcmp(t->index[at]->id, id, TAPE_ID_BYTES) != 0)
        at = (at + 1) & (t->index_cap - 1);
    return at;
}

struct stash *stashes__find(const struct tape *t, const unsigned char *id) {
    return t->index[slot_of(t, id)];
}

static int grow_index(struct tape *t) {
    struct stash **old = t->index;
    size_t old_cap = t->index_cap;
    struct stash **bigger = calloc(old_cap * 2, sizeof *bigger);
    struct stash **sellers = calloc(old_cap * 2, sizeof *sellers);
    if (bigger == NULL || sellers == NULL) {
        free(bigger);
        free(sellers);
        return ERR_NOMEM;
    }
    free(t->sellers);
    t->sellers = sellers;
    t->index = bigger;
    t->index_cap = old_cap * 2;
    for (struct stash *s = t->oldest; s != NULL; s = s->newer) chain(t, s);
    for (size_t i = 0; i < old_cap; i++)
        if (old[i] != NULL) t->index[slot_of(t, old[i]->id)] = old[i];
    free(old);
    return 0;
}

static void unlink_stash(struct tape *t, struct stash *s) {
    if (s->older != NULL) s->older->newer = s->newer;
    else t->oldest = s->newer;
    if (s->newer != NULL) s->newer->older = s->older;
    else t->newest = s->older;
    unchain(t, s);
    leagues__leave(t, s->league);
    t->n_items -= s->n_items;
    t->stash_bytes -= stash__bytes(s->n_items, s->seller_len) + MALLOC_SHARE;
}

static void link_newest(struct tape *t, struct stash *s) {
    s->older = t->newest;
    s->newer = NULL;
    if (t->newest != NULL) t->newest->newer = s;
    else t->oldest = s;
    t->newest = s;
    chain(t, s);
    t->n_items += s->n_items;
    t->stash_bytes += stash__bytes(s->n_items, s->seller_len) + MALLOC_SHARE;
}

int stashes__put(struct tape *t, struct stash *s, struct stash *old) {
    if (old == NULL && t->n_stashes * 4 >= t->index_cap * 3 && grow_index(t) != 0) return ERR_NOMEM;
    t->index[slot_of(t, s->id)] = s;
    leagues__enter(t, s->league); /* Before @old leaves it. */
    if (old != NULL) {
        unlink_stash(t, old);
        free(old);
    } else {
        t->n_stashes++;
    }
    link_newest(t, s);
    return 0;
}

/* Moves back what was put behind the gap because of what was there (linear probing). */
static void close_gap(struct tape *t, size_t gap) {
    size_t mask = t->index_cap - 1;
    for (size_t at = (gap + 1) & mask; t->index[at] != NULL; at = (at + 1) & mask) {
        size_t home = (size_t)tape__hash(t->index[at]->id, TAPE_ID_BYTES) & mask;
        if (((at - home) & mask) < ((at - gap) & mask)) continue;
        t->index[gap] = t->index[at];
        t->index[at] = NULL;
        gap = at;
    }
}

void stashes__remove(struct tape *t, struct stash *s) {
    size_t at = slot_of(t, s->id);
    assert(t->index[at] == s);
    t->index[at] = NULL;
    close_gap(t, at);
    unlink_stash(t, s);
    t->n_stashes--;
    free(s);
}

/* What the bound is held against: a function of the content alone, not of how it came to be, so
 * that a tape from a snapshot forgets when the one that wrote it does. The index has at most 8/3
 * places a stash, and as many chains of sellers; the scratch of one version is not in it. */
size_t tape__bytes(const struct tape *t) {
    return sizeof *t + (INDEX_MIN + t->n_stashes * 3) * 2 * sizeof(struct stash *) +
           t->stash_bytes + leagues__bytes(t) + recent__bytes(&t->recent) +
           markets__bytes(&t->markets);
}

void stashes__make_room(struct tape *t) {
    while (t->oldest != NULL && t->oldest != t->newest && tape__bytes(t) > t->options.memory_max) {
        t->n_forgotten_stashes++;
        t->n_forgotten_items += t->oldest->n_items;
        stashes__remove(t, t->oldest);
    }
}
