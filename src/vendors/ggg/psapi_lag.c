/* Change ids as counts. */
#include "souk/lag.h"
#include <string.h>

#define NS_PER_S_F 1e9

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

/* Changes that the head had counted at @mono_ns: of its last answer, at the rate of the last
 * minutes. */
static double head_at(uint64_t head, int64_t head_mono_ns, double rate_per_s, int64_t mono_ns) {
    return (double)head + rate_per_s * ((double)(mono_ns - head_mono_ns) / NS_PER_S_F);
}

static void note_end(struct lag *l, const struct lag_facts *f) {
    uint64_t sum;
    unsigned n_shards;
    if (f->end_mono_ns == 0 || f->end_mono_ns == l->end.mono_ns) return;
    if (!lag__sum(f->cursor, &sum, &n_shards)) return;
    l->end = (struct lag_end){.mono_ns = f->end_mono_ns, .sum = sum, .n_shards = n_shards};
}

/* At the end of the river the head is ahead of the cursor by the lead alone. */
static void learn_lead(struct lag *l, uint64_t head, unsigned n_shards, int64_t head_mono_ns,
                       double rate_per_s) {
    struct lag_end *end = &l->end;
    if (end->mono_ns == 0 || end->learned || end->n_shards != n_shards) return;
    double changes = head_at(head, head_mono_ns, rate_per_s, end->mono_ns) - (double)end->sum;
    double lead_ns = changes <= 0 ? 0 : changes / rate_per_s * NS_PER_S_F;
    end->learned = true;
    if (lead_ns > (double)LAG_LEAD_MAX_NS) return; /* No lead: something else is wrong. */
    l->lead_ns = (int64_t)lead_ns;
    l->has_lead = true;
}

static void set_lag(struct lag *l, double changes, double rate_per_s) {
    l->changes = changes;
    if (changes == 0) l->estimate_s = 0;
    else if (rate_per_s > 0) l->estimate_s = changes / rate_per_s;
}

void lag__measure(struct lag *l, int64_t mono_ns, const struct lag_facts *f) {
    uint64_t head, ours;
    unsigned n_head, n_ours;
    bool is_end = f->end_mono_ns != 0 && mono_ns - f->end_mono_ns <= LAG_END_NS;
    l->measured = true;
    l->changes = l->estimate_s = LAG_UNKNOWN;
    note_end(l, f);
    bool has_head = f->head_mono_ns != 0 && lag__sum(f->head, &head, &n_head);
    if (has_head) lag_meter__see(&l->meter, f->head_mono_ns, f->head);
    double rate_per_s = lag_meter__rate(&l->meter);
    if (has_head && rate_per_s > 0) learn_lead(l, head, n_head, f->head_mono_ns, rate_per_s);
    if (is_end) {
        set_lag(l, 0, rate_per_s);
        return;
    }
    if (!has_head || !lag__sum(f->cursor, &ours, &n_ours) || n_head != n_ours) return;
    int64_t lead_ns = l->has_lead ? l->lead_ns : LAG_LEAD_NS;
    double behind = head_at(head, f->head_mono_ns, rate_per_s, mono_ns - lead_ns) - (double)ours;
    if (behind > 0) set_lag(l, behind, rate_per_s);
    else if (l->has_lead) set_lag(l, 0, rate_per_s);
}
