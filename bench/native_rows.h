/** Rows like those of the public stash feed, for benches: random ids and hashes, few leagues and
 * currencies. */
#ifndef SOUK_BENCH_NATIVE_ROWS_H
#define SOUK_BENCH_NATIVE_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum { NATIVE_ID_BYTES = 64, NATIVE_HASH_BYTES = 32 };

struct native_row {
    uint32_t ts; /* Seconds. */
    uint32_t stack;
    double price;
    char id[NATIVE_ID_BYTES]; /* Hexadecimal. */
    uint8_t hash[NATIVE_HASH_BYTES];
    char seller[24];
    size_t seller_bytes;
    const char *league, *item, *currency;
    size_t league_bytes, item_bytes, currency_bytes;
};

/** The columns of the table that takes them, as SQL. */
extern const char native_table_columns[];

/** Fills @row from @seed, which it moves on: the same seeds give the same rows. */
void native_rows__next(struct native_row *row, uint64_t *seed);

#endif
