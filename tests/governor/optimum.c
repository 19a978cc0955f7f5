/* See optimum.h. */
#include "optimum.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define S INT64_C(1000000000)

void optimum__add(struct optimum *o, const char *triples) {
    for (int i = 0, used = 0; *triples != '\0'; i++, triples += used) {
        unsigned limit, period_s, restriction_s;
        int n = sscanf(triples, "%u:%u:%u%n", &limit, &period_s, &restriction_s, &used);
        assert(n == 3 && o->n_windows < OPTIMUM_WINDOWS_MAX);
        (void)n;
        if (triples[used] == ',') used++;
        o->windows[o->n_windows].limit = limit;
        o->windows[o->n_windows++].span_ns = (period_s + (i == 0 ? 5 : 60) + 1) * S;
    }
}

int64_t optimum__total_ns(const struct optimum *o, size_t n, int64_t rtt_ns) {
    int64_t *t = calloc(n, sizeof *t), total_ns;
    assert(t != NULL && n > 0);
    for (size_t k = 1; k < n; k++) {
        t[k] = t[k - 1] + o->gap_ns;
        if (k >= o->inflight_max && t[k - o->inflight_max] + rtt_ns > t[k])
            t[k] = t[k - o->inflight_max] + rtt_ns;
        for (size_t i = 0; i < o->n_windows; i++) {
            uint32_t limit = o->windows[i].limit;
            if (k < limit) continue;
            int64_t back_ns = t[k - limit] + rtt_ns + o->windows[i].span_ns;
            if (back_ns > t[k]) t[k] = back_ns;
        }
    }
    total_ns = t[n - 1] + rtt_ns;
    free(t);
    return total_ns;
}

static int later_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

int64_t optimum__eligible_ns(const struct optimum *o, const int64_t *sent_ns,
                             const int64_t *replied_ns, size_t k, int64_t asked_ns, double spare) {
    int64_t t = asked_ns;
    if (k == 0) return t;
    if (sent_ns[k - 1] + o->gap_ns > t) t = sent_ns[k - 1] + o->gap_ns;
    /* Replies may overtake each other by a few, so the last few beyond the limit are looked at. */
    size_t most = o->inflight_max;
    for (size_t i = 0; i < o->n_windows; i++)
        if (o->windows[i].limit > most) most = o->windows[i].limit;
    most += 8;
    if (most > k) most = k;
    int64_t *ends = calloc(most, sizeof *ends);
    assert(ends != NULL);
    for (size_t i = 0; i < most; i++) ends[i] = replied_ns[k - 1 - i];
    qsort(ends, most, sizeof *ends, later_first);
    if (most >= o->inflight_max && ends[o->inflight_max - 1] > t) t = ends[o->inflight_max - 1];
    for (size_t i = 0; i < o->n_windows; i++) {
        uint32_t limit = o->windows[i].limit;
        limit -= (uint32_t)((double)limit * spare + 1e-9);
        if (most < limit) continue;
        int64_t back_ns = ends[limit - 1] + o->windows[i].span_ns;
        if (back_ns > t) t = back_ns;
    }
    free(ends);
    return t;
}
