/*
 * CityHash128 1.0.2. Inputs of 128 bytes and more run a loop that mixes 64 bytes a step into seven
 * words; shorter ones run a Murmur-like loop of 16 bytes a step. Words are read little endian
 * whatever the machine is.
 */
#include "city.h"

#include "wire.h"

static const uint64_t k0 = 0xc3a5c85c97cb3127u, k1 = 0xb492b66fbe98f273u, k2 = 0x9ae16a3b2f90404fu,
                      k3 = 0xc949d7c7509e6557u;

static uint64_t load(const uint8_t *p) { return chn_load_u64(p); }

static uint64_t rotate(uint64_t x, unsigned bits) {
    return bits == 0 ? x : x >> bits | x << (64 - bits);
}

static uint64_t mix(uint64_t x) { return x ^ x >> 47; }

/* Two words to one. */
static uint64_t join(uint64_t u, uint64_t v) {
    const uint64_t k = 0x9ddfea08eb382d69u;
    uint64_t a = mix((u ^ v) * k);
    return mix((v ^ a) * k) * k;
}

static uint64_t hash_up_to_16(const uint8_t *p, size_t n) {
    if (n > 8) {
        uint64_t last = load(p + n - 8);
        return join(load(p), rotate(last + n, (unsigned)n)) ^ last;
    }
    if (n >= 4) return join(n + ((uint64_t)chn_load_u32(p) << 3), chn_load_u32(p + n - 4));
    if (n == 0) return k2;
    uint64_t y = p[0] + ((uint64_t)p[n >> 1] << 8), z = n + ((uint64_t)p[n - 1] << 2);
    return mix(y * k2 ^ z * k3) * k2;
}

/* Mixes 32 bytes with two seeds, fast rather than well. */
static struct chn_u128 mix_32(const uint8_t *p, uint64_t a, uint64_t b) {
    uint64_t z = load(p + 24);
    a += load(p);
    b = rotate(b + a + z, 21);
    uint64_t first = a;
    a += load(p + 8) + load(p + 16);
    b += rotate(a, 44);
    return (struct chn_u128){a + z, b + first};
}

static struct chn_u128 hash_short(const uint8_t *p, size_t n, struct chn_u128 seed) {
    uint64_t a = seed.low, b = seed.high, c, d;
    if (n <= 16) {
        a = mix(a * k1) * k1;
        c = b * k1 + hash_up_to_16(p, n);
        d = mix(a + (n >= 8 ? load(p) : c));
    } else {
        c = join(load(p + n - 8) + k1, a);
        d = join(b + n, c + load(p + n - 16));
        a += d;
        for (size_t done = 0; done < n - 16; done += 16, p += 16) {
            a = (a ^ mix(load(p) * k1) * k1) * k1;
            b ^= a;
            c = (c ^ mix(load(p + 8) * k1) * k1) * k1;
            d ^= c;
        }
    }
    a = join(a, c);
    b = join(d, b);
    return (struct chn_u128){a ^ b, join(b, a)};
}

static struct chn_u128 hash_long(const uint8_t *p, size_t n, struct chn_u128 seed) {
    uint64_t x = seed.low, y = seed.high, z = n * k1;
    struct chn_u128 v, w;
    v.low = rotate(y ^ k1, 49) * k1 + load(p);
    v.high = rotate(v.low, 42) * k1 + load(p + 8);
    w.low = rotate(y + z, 35) * k1 + x;
    w.high = rotate(x + load(p + 88), 53) * k1;
    for (; n >= 128; n -= 128) {
        for (int half = 0; half < 2; half++, p += 64) {
            x = rotate(x + y + v.low + load(p + 16), 37) * k1 ^ w.high;
            y = rotate(y + v.high + load(p + 48), 42) * k1 ^ v.low;
            z = rotate(z ^ w.low, 33);
            v = mix_32(p, v.high * k1, x + w.low);
            w = mix_32(p + 32, z + w.high, y);
            uint64_t swap = z;
            z = x;
            x = swap;
        }
    }
    y += rotate(w.low, 37) * k0 + z;
    x += rotate(v.low + z, 49) * k0;
    /* The rest from its end in steps of 32; the last step reaches back into what the loop above has
     * seen. */
    const uint8_t *end = p + n;
    for (size_t done = 0; done < n;) {
        done += 32;
        y = rotate(y - x, 42) * k0 + v.high;
        w.low += load(end - done + 16);
        x = rotate(x, 49) * k0 + w.low;
        w.low += v.low;
        v = mix_32(end - done, v.low, v.high);
    }
    x = join(x, v.low);
    y = join(y, w.low);
    return (struct chn_u128){join(x + v.high, w.high) + y, join(x + w.high, y + v.high)};
}

static struct chn_u128 hash_seeded(const uint8_t *p, size_t n, struct chn_u128 seed) {
    return n < 128 ? hash_short(p, n, seed) : hash_long(p, n, seed);
}

struct chn_u128 chn_city__hash128(const void *data, size_t n) {
    const uint8_t *p = data;
    if (n >= 16) return hash_seeded(p + 16, n - 16, (struct chn_u128){load(p) ^ k3, load(p + 8)});
    if (n >= 8) return hash_seeded(p, 0, (struct chn_u128){load(p) ^ n * k0, load(p + n - 8) ^ k1});
    return hash_seeded(p, n, (struct chn_u128){k0, k1});
}
