/* The search is arithmetic on a range: pure, and the same after a crash, as what it stands at is in
 * the log before it is acted on. */
#include "souk/store_search.h"
#include <assert.h>

static uint32_t log2_up(uint64_t n) {
    uint32_t k = 0;
    while ((UINT64_C(1) << k) < n) k++;
    return k;
}

/* The largest power of two below @n: the rest is the smaller part and takes fewer steps, which pays
 * for asking once more about a row that was only inferred. */
static uint64_t first_part(uint64_t n) { return UINT64_C(1) << (log2_up(n) - 1); }

/* Sets hi to the end of the next range. @return true when row lo is known to be bad without having
 * been sent alone, and no insert is left to ask. */
static bool plan_range(struct search *s, uint64_t n_rows) {
    bool found = false;
    if (s->bad == 0) {
        s->hi = n_rows;
    } else if (s->bad - s->lo == 1) {
        /* One step is kept for the rows behind it. */
        found = s->n_inserts + 2 > log2_up(n_rows) + 1;
        s->hi = s->bad;
    } else {
        s->hi = s->lo + first_part(s->bad - s->lo);
    }
    if (s->step > 0 && s->hi - s->lo > s->step) s->hi = s->lo + s->step;
    return found;
}

void search__begin(struct search *s, uint64_t n_rows) {
    *s = (struct search){.active = true, .hi = n_rows};
}

bool search__stored(struct search *s, uint64_t n_rows) { return search__reached(s, s->hi, n_rows); }

bool search__reached(struct search *s, uint64_t end, uint64_t n_rows) {
    assert(s->active && s->lo < end && end <= n_rows);
    s->held = false;
    s->n_inserts++;
    s->lo = end;
    s->fence = 0;
    s->fence_whole = false;
    if (s->bad <= s->lo) s->bad = 0; /* What was refused before is taken now: it was mended. */
    if (s->bad == 0 && s->step > 0 && s->n_inserts >= SEARCH_GROW_AFTER) {
        s->step *= 2; /* What made the server short may be over. */
        s->n_inserts = 0;
    }
    return s->lo < n_rows && plan_range(s, n_rows);
}

bool search__refused(struct search *s, uint64_t n_rows) {
    assert(s->active);
    s->n_inserts = s->bad == 0 ? 0 : s->n_inserts + 1; /* 0: a new search begins. */
    s->bad = s->hi;
    if (s->hi - s->lo == 1) return true;
    plan_range(s, n_rows);
    return false;
}

void search__skip(struct search *s, uint64_t n_rows) {
    s->n_refused++;
    s->lo++;
    s->fence =
        0; /* Row lo - 1 is refused whoever sends it, and with it what went together with it. */
    s->fence_whole = false;
    s->bad = 0;
    s->n_inserts = 0;
    if (s->lo < n_rows) plan_range(s, n_rows);
    else s->hi = s->lo;
}

void search__recover_refused(struct search *s, uint64_t row, uint64_t n_rows) {
    if (row >= n_rows) return;
    if (!s->active) search__begin(s, n_rows);
    if (row < s->lo) return;
    s->lo = row;
    search__skip(s, n_rows);
}

bool search__too_large(struct search *s, uint64_t n_rows, uint64_t n_min, bool uncertain) {
    uint64_t n = (s->active ? s->hi - s->lo : n_rows);
    if (n <= n_min) return false;
    bool whole = !s->active;
    if (whole) search__begin(s, n_rows);
    if (uncertain && s->fence == 0) {
        s->fence = s->hi;
        s->fence_whole = whole;
    }
    s->step = n / 2 < n_min ? n_min : n / 2;
    if (s->bad == 0) s->n_inserts = 0;
    plan_range(s, n_rows);
    return true;
}

void search__renew(struct search *s, uint64_t n_rows) {
    if (!s->active) search__begin(s, n_rows);
    s->fence = 0; /* The new token is of what is sent now. */
    s->fence_whole = false;
    s->n_renewed++;
}

uint64_t search__refused_max(uint64_t n_rows) {
    uint64_t n = n_rows / 10;
    return n < 8 ? 8 : n > 1000 ? 1000 : n;
}
