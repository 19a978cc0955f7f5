/* A bounded hash map from bytes to a pointer: Concurrency Kit's hash table behind our names. The
 * map copies its keys. One thread. */
#ifndef SOUK_CORE_MAP_H
#define SOUK_CORE_MAP_H

#include "souk/core/slice.h"
#include <ck_ht.h>

struct map {
    ck_ht_t ht;
    size_t n, n_max;
    size_t n_removed; /* Since the table was made: how many marks of removed keys it may hold. */
    bool ready;
};

/** A map of at most @n_max entries. @return 0 or ERR_NOMEM. */
int map__init(struct map *m, size_t n_max);
/** Frees the keys; values are the caller's, who walks the map first. Accepts a zeroed map. */
void map__fini(struct map *m);
/** @return the value of @key, or NULL. */
void *map__get(struct map *m, struct slice key);
/** Sets @key to @value, which is not NULL. @return 0, ERR_FULL or ERR_NOMEM. */
int map__put(struct map *m, struct slice key, void *value);
/** Takes @key out. @return its value, or NULL. */
void *map__remove(struct map *m, struct slice key);

#endif
