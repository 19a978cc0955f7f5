/* What went and came lately. Rings: the oldest is overwritten first, so the tables never grow; each
 * entry hangs in chains by hash, and is taken out of them before its place is used again. */
#include "tape_internal.h"
#include <stdlib.h>

int recent__init(struct recent *r, uint32_t n_max) {
    uint32_t n_heads = 1;
    while (n_heads < n_max) n_heads *= 2;
    *r = (struct recent){.n_max = n_max, .mask = n_heads - 1};
    r->removals = calloc(n_max, sizeof *r->removals);
    r->additions = calloc(n_max, sizeof *r->additions);
    r->by_id = calloc(n_heads, sizeof *r->by_id);
    r->by_equal = calloc(n_heads, sizeof *r->by_equal);
    r->by_addition = calloc(n_heads, sizeof *r->by_addition);
    if (r->removals != NULL && r->additions != NULL && r->by_id != NULL && r->by_equal != NULL &&
        r->by_addition != NULL)
        return 0;
    recent__fini(r);
    return ERR_NOMEM;
}

void recent__fini(struct recent *r) {
    free(r->removals);
    free(r->additions);
    free(r->by_id);
    free(r->by_equal);
    free(r->by_addition);
    *r = (struct recent){0};
}

size_t recent__bytes(const struct recent *r) {
    return (size_t)r->n_max * (sizeof *r->removals + sizeof *r->additions) +
           ((size_t)r->mask + 1) * 3 * sizeof(uint32_t);
}

static uint32_t *head_of(const struct recent *r, uint32_t *heads, uint64_t hash) {
    return &heads[(uint32_t)(hash >> 32) & r->mask];
}

static uint64_t id_hash(const unsigned char *id) { return tape__hash(id, TAPE_ID_BYTES); }

static void unchain_removal(struct recent *r, uint32_t at) {
    const struct removal *gone = &r->removals[at];
    for (uint32_t *p = head_of(r, r->by_id, id_hash(gone->id)); *p != 0;
         p = &r->removals[*p - 1].next_by_id)
        if (*p == at + 1) {
            *p = gone->next_by_id;
            break;
        }
    for (uint32_t *p = head_of(r, r->by_equal, gone->equal); *p != 0;
         p = &r->removals[*p - 1].next_by_equal)
        if (*p == at + 1) {
            *p = gone->next_by_equal;
            break;
        }
}

void recent__add_removal(struct recent *r, const struct removal *gone) {
    uint32_t at = r->removal_at;
    r->removal_at = at + 1 == r->n_max ? 0 : at + 1;
    if (r->removals[at].listed_s != 0) unchain_removal(r, at);
    r->removals[at] = *gone;
    uint32_t *head = head_of(r, r->by_id, id_hash(gone->id));
    r->removals[at].next_by_id = *head;
    *head = at + 1;
    head = head_of(r, r->by_equal, gone->equal);
    r->removals[at].next_by_equal = *head;
    *head = at + 1;
}

struct removal *recent__by_id(struct recent *r, const unsigned char *id, uint32_t since_s) {
    for (uint32_t i = *head_of(r, r->by_id, id_hash(id)); i != 0;
         i = r->removals[i - 1].next_by_id) {
        struct removal *gone = &r->removals[i - 1];
        if (gone->gone_s >= since_s && gone->gone_s != 0 &&
            memcmp(gone->id, id, TAPE_ID_BYTES) == 0)
            return gone;
    }
    return NULL;
}

struct removal *recent__by_equal(struct recent *r, uint64_t equal, uint32_t since_s) {
    for (uint32_t i = *head_of(r, r->by_equal, equal); i != 0;
         i = r->removals[i - 1].next_by_equal) {
        struct removal *gone = &r->removals[i - 1];
        if (gone->gone_s >= since_s && gone->gone_s != 0 && gone->equal == equal) return gone;
    }
    return NULL;
}

void recent__forget(struct removal *gone) { gone->gone_s = 0; }

void recent__add_addition(struct recent *r, uint64_t hash, uint64_t stash_hash, uint32_t came_s) {
    uint32_t at = r->addition_at;
    struct addition *a = &r->additions[at];
    r->addition_at = at + 1 == r->n_max ? 0 : at + 1;
    if (a->came_s != 0)
        for (uint32_t *p = head_of(r, r->by_addition, a->id_hash); *p != 0;
             p = &r->additions[*p - 1].next)
            if (*p == at + 1) {
                *p = a->next;
                break;
            }
    uint32_t *head = head_of(r, r->by_addition, hash);
    *a = (struct addition){
        .id_hash = hash, .stash_hash = stash_hash, .came_s = came_s, .next = *head};
    *head = at + 1;
}

bool recent__came_elsewhere(const struct recent *r, uint64_t hash, uint64_t stash_hash,
                            uint32_t since_s) {
    for (uint32_t i = *head_of(r, r->by_addition, hash); i != 0; i = r->additions[i - 1].next) {
        const struct addition *a = &r->additions[i - 1];
        if (a->id_hash == hash && a->stash_hash != stash_hash && a->came_s >= since_s) return true;
    }
    return false;
}
