/* The leagues that the stashes in memory are in, each counted by its stashes and forgotten with the
 * last of them. Strangers make leagues: when all places are taken, those with the fewest stashes
 * go, many at once, as it takes a walk over all stashes. Which ones follows from what the tape
 * holds, not from the numbers: a tape from a snapshot, which counts anew, forgets the same. */
#include "tape_internal.h"
#include <ctype.h>
#include <stdlib.h>

#define FORGET_SHARE 16u
#define SHARE_BYTES 64u /* What the map and malloc take beside the name, twice. */

int leagues__init(struct tape *t) {
    t->leagues = calloc(LEAGUES_MAX, sizeof *t->leagues);
    if (t->leagues == NULL || map__init(&t->leagues_by_name, LEAGUES_MAX) != 0) return ERR_NOMEM;
    for (uint32_t i = 1; i + 1 < LEAGUES_MAX; i++) t->leagues[i].next_free = (uint16_t)(i + 1);
    t->free_league = 1;
    t->leagues[0].name = strdup("");
    return t->leagues[0].name == NULL ? ERR_NOMEM : 0;
}

void leagues__fini(struct tape *t) {
    for (uint32_t i = 0; t->leagues != NULL && i < LEAGUES_MAX; i++) free(t->leagues[i].name);
    free(t->leagues);
    map__fini(&t->leagues_by_name);
}

size_t leagues__bytes(const struct tape *t) {
    return LEAGUES_MAX * sizeof *t->leagues + t->league_bytes;
}

static size_t bytes_of(struct slice name) { return 2 * name.len + SHARE_BYTES; }

/* Ends as "(PL12345)". */
static bool is_private(struct slice name) {
    size_t n = name.len, digits = 0;
    if (n == 0 || name.base[n - 1] != ')') return false;
    for (n--; n > 0 && isdigit((unsigned char)name.base[n - 1]); n--) digits++;
    return digits > 0 && n >= 3 && memcmp(name.base + n - 3, "(PL", 3) == 0;
}

static void forget(struct tape *t, uint16_t number) {
    struct league *l = &t->leagues[number];
    struct slice name = slice__str(l->name);
    t->league_bytes -= bytes_of(name);
    map__remove(&t->leagues_by_name, name);
    free(l->name);
    *l = (struct league){.next_free = t->free_league};
    t->free_league = number;
}

void leagues__enter(struct tape *t, uint16_t number) { t->leagues[number].n_stashes++; }

void leagues__leave(struct tape *t, uint16_t number) {
    t->leagues[number].n_stashes--;
    leagues__tidy(t, number);
}

void leagues__tidy(struct tape *t, uint16_t number) {
    const struct league *l = &t->leagues[number];
    if (number != 0 && l->name != NULL && l->n_stashes == 0) forget(t, number); /* Once. */
}

static int compare_leagues(const void *a, const void *b) {
    const struct league *x = *(struct league *const *)a, *y = *(struct league *const *)b;
    if (x->is_private != y->is_private) return x->is_private ? -1 : 1;
    if (x->n_stashes != y->n_stashes) return x->n_stashes < y->n_stashes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void forget_smallest(struct tape *t) {
    struct league **order = malloc(LEAGUES_MAX * sizeof(struct league *));
    bool *doomed = calloc(LEAGUES_MAX, sizeof *doomed);
    uint32_t n = 0;
    for (uint32_t i = 1; order != NULL && i < LEAGUES_MAX; i++) order[n++] = &t->leagues[i];
    if (n > 0 && doomed != NULL) {
        qsort(order, n, sizeof(struct league *), compare_leagues);
        n = LEAGUES_MAX / FORGET_SHARE;
        for (uint32_t i = 0; i < n; i++) doomed[order[i] - t->leagues] = true;
        for (struct stash *s = t->oldest, *next; s != NULL; s = next) {
            next = s->newer;
            if (!doomed[s->league]) continue;
            t->n_forgotten_stashes++;
            t->n_forgotten_items += s->n_items;
            stashes__remove(t, s);
        }
        t->n_forgotten_leagues += n;
    }
    free(order);
    free(doomed);
}

uint16_t leagues__number(struct tape *t, struct slice name) {
    if (name.len == 0) return 0;
    /* It ends at a zero byte as text, and in a snapshot: two names would be one. */
    bool is_name = name.len <= LEAGUE_NAME_MAX && memchr(name.base, 0, name.len) == NULL;
    void *known = is_name ? map__get(&t->leagues_by_name, name) : NULL;
    if (known != NULL) return (uint16_t)(uintptr_t)known;
    if (is_name && t->free_league == 0) forget_smallest(t);
    uint16_t number = t->free_league;
    char *copy = is_name && number != 0 ? slice__dup(name) : NULL;
    if (copy == NULL || map__put(&t->leagues_by_name, name, (void *)(uintptr_t)number) != 0) {
        free(copy);
        t->n_unnamed++;
        return 0;
    }
    struct league *l = &t->leagues[number];
    t->free_league = l->next_free;
    *l = (struct league){
        .name = copy, .hash = tape__hash(name.base, name.len), .is_private = is_private(name)};
    t->league_bytes += bytes_of(name);
    return number;
}
