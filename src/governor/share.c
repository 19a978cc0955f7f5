/* Whose turn it is: deficit round robin (Shreedhar and Varghese, 1995) between the classes of work
 * that wait for a policy's tokens, under ceilings, and earliest deadline first within a class. */
#include "governor_internal.h"

/* Endpoints of a policy that are looked at for a class, from the front of its queue; those behind
 * come in front as tokens go out. */
#define LOOK_MAX 64

static const uint32_t weights[CLASS__N] = {
    [CLASS_TAIL] = 4,        [CLASS_METADATA] = 2, [CLASS_BACKFILL] = 1,
    [CLASS_INTERACTIVE] = 4, [CLASS_PROBE] = 1,
};
static const double ceilings[CLASS__N] = {
    [CLASS_TAIL] = 1,        [CLASS_METADATA] = 0.5, [CLASS_BACKFILL] = 0.8,
    [CLASS_INTERACTIVE] = 1, [CLASS_PROBE] = 0.5,
};
static const char *const names[CLASS__N] = {"tail", "metadata", "backfill", "interactive", "probe"};

const char *permit_class__name(enum permit_class class) { return names[class]; }

enum permit_class permit_class__find(struct slice name) {
    for (int c = 0; c < CLASS__N; c++)
        if (slice__eq(name, slice__str(names[c]))) return (enum permit_class)c;
    return CLASS__N;
}

int64_t permit__deadline_ns(const struct permit *p) {
    static const int64_t later_ns[TIER__N] = {0, 10 * NS_PER_S, 60 * NS_PER_S};
    return p->asked_mono_ns + later_ns[p->tier];
}

static double ceiling_of(const struct governor *g, enum permit_class class) {
    double c = g->o.ceiling[class];
    return c > 0 && c <= 1 ? c : ceilings[class];
}

/* What the ceiling lets through: a token each @gap_ns, and a burst of @burst of them. */
static bool has_ceiling(const struct governor *g, const struct policy *p, enum permit_class class,
                        int64_t *gap_ns, int64_t *burst) {
    double ceiling = ceiling_of(g, class);
    int64_t pace_ns = policy__pace_ns(g, p);
    uint32_t fewest = RING_MAX;
    if (ceiling >= 1 || pace_ns == 0) return false; /* Without windows the rate is an endpoint's. */
    for (size_t i = 0; i < p->n_windows; i++) {
        uint32_t n = window__usable(&p->windows[i], g->o.utilisation, ceiling);
        if (n < fewest) fewest = n;
    }
    *gap_ns = (int64_t)((double)pace_ns / ceiling);
    *burst = fewest;
    return true;
}

int64_t share__ceiling_ns(const struct governor *g, const struct policy *p,
                          enum permit_class class) {
    int64_t gap_ns, burst;
    if (!has_ceiling(g, p, class, &gap_ns, &burst)) return LONG_AGO;
    return p->shares[class].full_ns - (burst - 1) * gap_ns;
}

void share__granted(const struct governor *g, struct policy *p, enum permit_class class,
                    uint32_t cost) {
    int64_t gap_ns, burst, now_ns = g->clock->mono_ns;
    struct share *s = &p->shares[class];
    if (!has_ceiling(g, p, class, &gap_ns, &burst)) return;
    s->full_ns = (s->full_ns > now_ns ? s->full_ns : now_ns) + gap_ns * cost;
}

void share__undone(const struct governor *g, struct policy *p, enum permit_class class,
                   uint32_t cost) {
    int64_t gap_ns, burst;
    if (has_ceiling(g, p, class, &gap_ns, &burst)) p->shares[class].full_ns -= gap_ns * cost;
}

static struct endpoint *first_of(const struct policy *p, enum permit_class class) {
    struct endpoint *ep = p->n_waiting_by_class[class] > 0 ? p->queue.head : NULL;
    for (int i = 0; ep != NULL && i < LOOK_MAX; i++, ep = ep->next)
        if (ep->n_waiting_by_class[class] > 0) return ep;
    return NULL;
}

static uint32_t cost_of(const struct endpoint *ep, enum permit_class class) {
    for (const struct permit *p = ep->head; p != NULL; p = p->next)
        if (p->class == class) return permit__cost(p);
    return 1;
}

/* One of @may has a deficit of its cost after at most as many rounds as it costs tokens, and no
 * cost is above RING_MAX. A class that has not used up its turn, but whose endpoint stands in its
 * host's queue already, keeps it: @return NULL.
 */
static struct endpoint *take_turn(struct policy *p, struct endpoint *const *may) {
    for (uint32_t i = 0; i < CLASS__N * (RING_MAX + 2); i++) {
        struct share *s = &p->shares[p->turn];
        struct endpoint *ep = may[p->turn];
        uint32_t cost = ep == NULL ? 0 : cost_of(ep, p->turn);
        if (ep == NULL && s->n_ready > 0 && s->deficit > 0) return NULL;
        if (ep != NULL && s->deficit >= cost) {
            s->deficit -= cost;
            ep->turn = p->turn;
            ep->turn_cost = cost;
            return ep;
        }
        p->turn = (enum permit_class)((p->turn + 1) % CLASS__N);
        if (may[p->turn] != NULL || p->shares[p->turn].n_ready > 0)
            p->shares[p->turn].deficit += weights[p->turn];
    }
    return NULL;
}

void share__not_taken(struct policy *p, const struct endpoint *ep) {
    p->shares[ep->turn].deficit += ep->turn_cost;
}

struct endpoint *share__next(struct governor *g, struct policy *p, int64_t *next_ns) {
    struct endpoint *may[CLASS__N] = {NULL};
    int n_may = 0;
    *next_ns = NEVER;
    for (int c = 0; c < CLASS__N; c++) {
        struct endpoint *ep = first_of(p, (enum permit_class)c);
        int64_t t = ep == NULL ? NEVER : share__ceiling_ns(g, p, (enum permit_class)c);
        /* Who wants nothing saves nothing. */
        if (ep == NULL && p->shares[c].n_ready == 0) p->shares[c].deficit = 0;
        if (ep == NULL) continue;
        if (t > g->clock->mono_ns) *next_ns = t < *next_ns ? t : *next_ns;
        else may[c] = ep, n_may++;
    }
    return n_may == 0 ? NULL : take_turn(p, may);
}
