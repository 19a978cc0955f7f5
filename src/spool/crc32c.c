/* CRC-32C. The instruction where there is one, else eight table look-ups for eight bytes. */
#include "crc32c.h"
#include <stdbool.h>
#include <string.h>
#include <uv.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1EDC6F41 with its bits reversed. */

static uint32_t table[8][256];
static bool has_instruction;
static uv_once_t once = UV_ONCE_INIT;

static void fill_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (size_t k = 1; k < 8; k++)
        for (size_t i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
#if defined(__x86_64__)
    has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

static uint64_t load_le64(const unsigned char *p) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint32_t crc32c__update_table(uint32_t crc, const void *bytes, size_t len) {
    const unsigned char *p = bytes;
    uv_once(&once, fill_table);
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v = load_le64(p) ^ crc;
        crc = 0;
        for (unsigned k = 0; k < 8; k++) crc ^= table[7 - k][v >> (8 * k) & 0xff];
    }
    for (; len > 0; p++, len--) crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc, const unsigned char *p,
                                                               size_t len) {
    uint64_t wide = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        wide = __builtin_ia32_crc32di(wide, v);
    }
    uint32_t narrow = (uint32_t)wide;
    for (; len > 0; p++, len--) narrow = __builtin_ia32_crc32qi(narrow, *p);
    return ~narrow;
}
#endif

uint32_t crc32c__update(uint32_t crc, const void *bytes, size_t len) {
    uv_once(&once, fill_table);
#if defined(__x86_64__)
    if (has_instruction) return update_sse42(crc, bytes, len);
#endif
    return crc32c__update_table(crc, bytes, len);
}
