#include "native_rows.h"

#include <string.h>

const char native_table_columns[] = "ts DateTime, id String, league String, seller String, item "
                                    "String, price Float64, stack UInt32, currency String, "
                                    "hash FixedString(32)";

static const struct {
    const char *text;
    size_t n;
} leagues[] = {{"Standard", 8}, {"Hardcore", 8}, {"Settlers", 8}, {"Hardcore Settlers", 17}},
  currencies[] = {{"chaos", 5}, {"divine", 6}, {"exalted", 7}, {"mirror", 6}, {"vaal", 4}},
  items[] = {{"Headhunter", 10},
             {"Mageblood", 9},
             {"Exalted Orb", 11},
             {"Timeworn Reliquary Key", 22},
             {"Watcher's Eye", 13},
             {"Ancient Orb", 11},
             {"The Apothecary", 14},
             {"Large Cluster Jewel", 19},
             {"Blueprint: Bunker", 17},
             {"Orb of Conflict", 15},
             {"Sacred Crystallised Lifeforce", 29},
             {"Mirror Shard", 12}};

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

void native_rows__next(struct native_row *row, uint64_t *seed) {
    static const char digits[] = "0123456789abcdef";
    uint64_t r = next_random(seed);
    row->ts = 1700000000u + (uint32_t)(r % 864000u);
    row->stack = (uint32_t)(r >> 32 & 63) + 1;
    row->price = (double)(r >> 20 & 0xffff) / 8;
    row->league = leagues[r >> 38 & 3].text;
    row->league_bytes = leagues[r >> 38 & 3].n;
    row->item = items[(r >> 40 & 255) % 12].text;
    row->item_bytes = items[(r >> 40 & 255) % 12].n;
    row->currency = currencies[(r >> 48 & 255) % 5].text;
    row->currency_bytes = currencies[(r >> 48 & 255) % 5].n;
    for (size_t i = 0; i < NATIVE_ID_BYTES; i += 16) {
        uint64_t word = next_random(seed);
        for (size_t k = 0; k < 16; k++, word >>= 4) row->id[i + k] = digits[word & 15];
        memcpy(row->hash + i / 2, &seed[0], 8);
    }
    memcpy(row->seller, "seller", 6);
    uint32_t number = (uint32_t)(r >> 16 & 0xffff);
    size_t n = 6;
    for (uint32_t unit = 10000; unit > 0; unit /= 10)
        row->seller[n++] = (char)('0' + number / unit % 10);
    memcpy(row->seller + n, "#1234", 5);
    row->seller_bytes = n + 5;
}
