/**
 * CityHash128 as of CityHash 1.0.2, which guards ClickHouse's compressed frames. Later releases of
 * CityHash give other values: a frame made with them is refused as CHECKSUM_DOESNT_MATCH.
 */
#ifndef CHN_CITY_H
#define CHN_CITY_H

#include <stddef.h>
#include <stdint.h>

struct chn_u128 {
    uint64_t low, high;
};

/** @return the hash of @n bytes at @data. On the wire the low half goes first, each half little
 * endian. */
struct chn_u128 chn_city__hash128(const void *data, size_t n);

#endif
