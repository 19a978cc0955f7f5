/* One window of a policy: a ring of the times at which its live tokens were spent. */
#include "governor_internal.h"
#include <stdlib.h>

int64_t window__span_ns(const struct window *w) {
    return (int64_t)w->period_s * NS_PER_S + w->hidden_ns + SAFETY_NS;
}

uint32_t window__usable(const struct window *w, double utilisation, double share) {
    /* Rounded down, head-room costs at most its share: 1 of 30 tokens rather than 2. Of a small
     * window all are used: one of two would be half, and others' hits show in the next State
     * anyway. The tiny addend keeps 1 - 0.96 of 25 from being a hair below 1. */
    uint32_t spare = (uint32_t)((double)w->limit * (1 - utilisation) + 1e-9);
    uint32_t n = (uint32_t)((double)(w->limit - spare) * share);
    if (n < 1) n = 1;
    return n < RING_MAX ? n : RING_MAX;
}

static int64_t *slot(const struct window *w, uint32_t i) { return &w->ring[(w->at + i) % w->cap]; }

static bool grow(struct window *w) {
    uint32_t cap = w->cap == 0 ? 8 : w->cap * 2;
    int64_t *ring = cap > RING_MAX ? NULL : malloc(cap * sizeof *ring);
    if (ring == NULL) return false;
    for (uint32_t i = 0; i < w->n; i++) ring[i] = *slot(w, i);
    free(w->ring);
    w->ring = ring;
    w->cap = cap;
    w->at = 0;
    return true;
}

static void drop_oldest(struct window *w) {
    w->n_foreign -= (uint32_t)(*slot(w, 0) & 1);
    w->at = (w->at + 1) % w->cap;
    w->n--;
}

static void spend(struct window *w, int64_t spent_ns) {
    if (w->n == w->cap && !grow(w)) {
        if (w->cap < RING_MAX) { /* What cannot be counted must not be spent again. */
            int64_t back_ns = spent_ns + window__span_ns(w);
            if (back_ns > w->blind_ns) w->blind_ns = back_ns;
            return;
        }
        drop_oldest(w); /* No more than RING_MAX are ever used: it may go. */
    }
    uint32_t i = w->n++;
    w->n_foreign += (uint32_t)(spent_ns & 1);
    for (; i > 0 && *slot(w, i - 1) > spent_ns; i--) *slot(w, i) = *slot(w, i - 1);
    *slot(w, i) = spent_ns;
}

void window__spend(struct window *w, int64_t spent_ns) { spend(w, spent_ns & ~INT64_C(1)); }

void window__spend_foreign(struct window *w, int64_t spent_ns) { spend(w, spent_ns | 1); }

uint32_t window__own(struct window *w, int64_t now_ns) {
    uint32_t n = window__live(w, now_ns);
    return n - w->n_foreign;
}

uint32_t window__live(struct window *w, int64_t now_ns) {
    int64_t span_ns = window__span_ns(w);
    while (w->n > 0 && *slot(w, 0) + span_ns <= now_ns) drop_oldest(w);
    return w->n;
}

uint32_t window__certain(const struct window *w, int64_t now_ns) {
    int64_t since_ns = now_ns - (int64_t)w->period_s * NS_PER_S;
    uint32_t low = 0, high = w->n; /* The first that is younger. */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (*slot(w, mid) > since_ns) high = mid;
        else low = mid + 1;
    }
    return w->n - low;
}

int64_t window__next_ns(struct window *w, double utilisation, double share, uint32_t pending,
                        int64_t now_ns) {
    uint32_t usable = window__usable(w, utilisation, share), n = window__live(w, now_ns);
    if (w->blind_ns > now_ns) return pending >= usable ? NEVER : w->blind_ns;
    if (pending >= usable) return NEVER;
    if (n + pending < usable) return now_ns;
    /* The (usable - pending)-th newest has to come back first. */
    return *slot(w, n - (usable - pending)) + window__span_ns(w);
}

void window__merge(struct window *w, const struct window *from) {
    if (from->blind_ns > w->blind_ns) w->blind_ns = from->blind_ns;
    uint32_t both = w->n < from->n ? w->n : from->n;
    for (uint32_t k = 1; k <= both; k++) {
        int64_t *mine = slot(w, w->n - k), theirs = *slot(from, from->n - k);
        if (theirs <= *mine) continue;
        w->n_foreign += (uint32_t)(theirs & 1) - (uint32_t)(*mine & 1);
        *mine = theirs;
    }
    for (uint32_t k = both + 1; k <= from->n; k++) spend(w, *slot(from, from->n - k));
}

void window__fini(struct window *w) {
    free(w->ring);
    *w = (struct window){0};
}
