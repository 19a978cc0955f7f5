/* What others ask for the same thing: the reference that tells a sale from a withdrawal. Each
 * market keeps the last ask of ASKS_MAX sellers. */
#include "tape_internal.h"
#include <stdlib.h>

#define BUCKET 4u
#define SELLERS_MIN 3

int markets__init(struct markets *m, uint32_t n_max) {
    m->n_buckets = 1;
    while (m->n_buckets * BUCKET < n_max) m->n_buckets *= 2;
    m->slots = calloc((size_t)m->n_buckets * BUCKET, sizeof *m->slots);
    return m->slots == NULL ? ERR_NOMEM : 0;
}

void markets__fini(struct markets *m) { free(m->slots); }

size_t markets__bytes(const struct markets *m) {
    return (size_t)m->n_buckets * BUCKET * sizeof *m->slots;
}

uint64_t markets__key(const struct league *league, uint64_t item_key, uint16_t currency) {
    struct slice id = currency__id(currency);
    const uint64_t key[] = {item_key, league->hash, tape__hash(id.base, id.len)};
    uint64_t hash = tape__hash(key, sizeof key);
    return hash == 0 ? 1 : hash;
}

static struct market *bucket_of(const struct markets *m, uint64_t key) {
    return &m->slots[(size_t)(key & (m->n_buckets - 1)) * BUCKET];
}

static struct market *find(const struct markets *m, uint64_t key) {
    struct market *b = bucket_of(m, key);
    for (unsigned i = 0; i < BUCKET; i++)
        if (b[i].key == key) return &b[i];
    return NULL;
}

static uint32_t latest_s(const struct market *m) {
    uint32_t s = 0;
    for (int i = 0; i < ASKS_MAX; i++)
        if (m->asks[i].s > s) s = m->asks[i].s;
    return s;
}

static struct market *take_stalest(struct market *b) {
    struct market *out = &b[0];
    for (unsigned i = 0; i < BUCKET; i++) {
        if (b[i].key == 0) return &b[i];
        if (latest_s(&b[i]) < latest_s(out)) out = &b[i];
    }
    return out;
}

void markets__ask(struct markets *m, uint64_t key, uint64_t seller_hash, int64_t price_e6,
                  uint32_t s) {
    struct market *k = find(m, key);
    if (k == NULL) {
        k = take_stalest(bucket_of(m, key));
        *k = (struct market){.key = key};
    }
    int at = 0;
    for (int i = 0; i < ASKS_MAX; i++) {
        if (k->asks[i].seller_hash == seller_hash) {
            at = i;
            break;
        }
        if (k->asks[i].s < k->asks[at].s) at = i;
    }
    k->asks[at].seller_hash = seller_hash;
    k->asks[at].price_e6 = price_e6;
    k->asks[at].s = s;
}

int64_t markets__median(const struct markets *m, uint64_t key, uint64_t seller_hash, uint32_t s) {
    const struct market *k = find(m, key);
    int64_t prices[ASKS_MAX];
    int n = 0;
    for (int i = 0; k != NULL && i < ASKS_MAX; i++) {
        if (k->asks[i].s == 0 || k->asks[i].s + ASK_S < s || k->asks[i].seller_hash == seller_hash)
            continue;
        int at = n++;
        for (; at > 0 && prices[at - 1] > k->asks[i].price_e6; at--) prices[at] = prices[at - 1];
        prices[at] = k->asks[i].price_e6;
    }
    if (n < SELLERS_MIN) return 0;
    return n % 2 == 1 ? prices[n / 2] : prices[n / 2 - 1] + (prices[n / 2] - prices[n / 2 - 1]) / 2;
}
