/* Change ids as counts. */
#include "souk/lag.h"
#include <string.h>

/* Takes the number in front of the next '-' off @s. */
static bool take_count(struct slice *s, uint64_t *out) {
    size_t n = 0;
    *out = 0;
    for (; n < s->len && s->base[n] >= '0' && s->base[n] <= '9'; n++) {
        if (*out > (uint64_t)INT64_MAX / 10 - 1) return false;
        *out = *out * 10 + (uint64_t)(s->base[n] - '0');
    }
    bool last = n == s->len;
    if (n == 0 || (!last && (s->base[n] != '-' || n + 1 == s->len))) return false;
    size_t step = last ? n : n + 1;
    *s = slice__of(s->base + step, s->len - step);
    return true;
}

bool lag__sum(struct slice id, uint64_t *sum, unsigned *n_shards) {
    uint64_t total = 0, count;
    unsigned n = 0;
    if (id.len == 0) return false;
    while (id.len > 0) {
        if (!take_count(&id, &count) || ++n > LAG_SHARDS_MAX) return false;
        if (count > (uint64_t)INT64_MAX - total) return false;
        total += count;
    }
    *sum = total;
    if (n_shards != NULL) *n_shards = n;
    return true;
}

bool lag__changes(struct slice cursor, struct slice head, uint64_t *changes) {
    uint64_t ours, theirs;
    unsigned n_ours, n_theirs;
    if (!lag__sum(cursor, &ours, &n_ours) || !lag__sum(head, &theirs, &n_theirs)) return false;
    if (n_ours != n_theirs) return false;
    *changes = theirs > ours ? theirs - ours : 0;
    return true;
}

struct slice lag__head(struct slice heads, const char *realm) {
    struct slice none = {0};
    bool pc = strcmp(realm, "pc") == 0;
    while (heads.len > 0) {
        const char *comma = memchr(heads.base, ',', heads.len);
        size_t len = comma == NULL ? heads.len : (size_t)(comma - heads.base);
        struct slice pair = slice__of(heads.base, len);
        size_t step = comma == NULL ? len : len + 1;
        heads = slice__of(heads.base + step, heads.len - step);
        const char *eq = memchr(pair.base, '=', pair.len);
        if (eq == NULL) continue;
        struct slice name = slice__of(pair.base, (size_t)(eq - pair.base));
        struct slice id = slice__of(eq + 1, pair.len - name.len - 1);
        if (!slice__starts(name, SLICE_LIT("psapi"))) continue;
        struct slice rest = slice__of(name.base + 5, name.len - 5);
        if (pc ? rest.len == 0
               : rest.len > 0 && *rest.base == '-' &&
                     slice__eq(slice__of(rest.base + 1, rest.len - 1), slice__str(realm)))
            return id;
    }
    return none;
}

void lag_meter__see(struct lag_meter *m, int64_t mono_ns, struct slice id) {
    uint64_t sum;
    unsigned n_shards;
    if (!lag__sum(id, &sum, &n_shards)) return;
    const struct lag_sample *last = m->n > 0 ? &m->samples[(m->n - 1) % LAG_SAMPLES] : NULL;
    if (last != NULL && (n_shards != m->n_shards || sum < last->sum)) *m = (struct lag_meter){0};
    else if (last != NULL && mono_ns - last->mono_ns < LAG_SAMPLE_NS) return;
    m->n_shards = n_shards;
    m->samples[m->n++ % LAG_SAMPLES] = (struct lag_sample){.mono_ns = mono_ns, .sum = sum};
}

double lag_meter__rate(const struct lag_meter *m) {
    if (m->n < 2) return 0;
    const struct lag_sample *newest = &m->samples[(m->n - 1) % LAG_SAMPLES];
    const struct lag_sample *oldest = &m->samples[m->n > LAG_SAMPLES ? m->n % LAG_SAMPLES : 0];
    if (newest->mono_ns <= oldest->mono_ns) return 0;
    return (double)(newest->sum - oldest->sum) * 1e9 / (double)(newest->mono_ns - oldest->mono_ns);
}

void lag__measure(struct lag *l, int64_t mono_ns, bool caught_up, struct slice cursor,
                  struct slice head) {
    uint64_t changes = 0;
    if (head.len > 0) lag_meter__see(&l->meter, mono_ns, head);
    l->measured = true;
    l->changes = l->estimate_s = LAG_UNKNOWN;
    if (!caught_up && !lag__changes(cursor, head, &changes)) return;
    double rate_per_s = lag_meter__rate(&l->meter);
    l->changes = (double)changes;
    if (changes == 0) l->estimate_s = 0;
    else if (rate_per_s > 0) l->estimate_s = (double)changes / rate_per_s;
}
