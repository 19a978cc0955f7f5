/* Hashes of one table's rows; see replay.h for what they promise. */
#ifndef SOUK_REPLAY_ROW_HASH_H
#define SOUK_REPLAY_ROW_HASH_H

#include "souk/core/batch.h"

#define ROW_HASH_SIZE 33

struct row_hash {
    uint64_t n_rows;
    uint64_t low, high; /* Sum of the rows' digests modulo 2^128. */
    uint64_t chain_low, chain_high;
};

/** Adds the rows of @b to @h, and to the sum of @also when it is not NULL. @cells is scratch space.
 *  @return 0 or ERR_NOMEM. */
int row_hash__add(struct row_hash *h, struct row_hash *also, const struct batch *b,
                  struct buf *cells);
/** Writes a sum or a chain as 32 hex digits and a zero. */
void row_hash__text(uint64_t low, uint64_t high, char out[ROW_HASH_SIZE]);
/** Writes xxh3-128 of @bytes as 32 hex digits and a zero. */
void row_hash__bytes(struct slice bytes, char out[ROW_HASH_SIZE]);

#endif
