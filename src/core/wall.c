/* Which clock is believed. The happy path: wall__apply follows an even system clock, and every
 * witness agrees with it. See wall.h for what happens else. */
#include "souk/core/wall.h"
#include "souk/core/log.h"
#include <stdio.h>

static int64_t distance(int64_t a, int64_t b) {
    int64_t d;
    if (__builtin_sub_overflow(a, b, &d) || d == INT64_MIN) return INT64_MAX;
    return d < 0 ? -d : d;
}

void wall__init(struct wall *w, struct clock *clock, struct metrics *metrics) {
    *w = (struct wall){.clock = clock, .metrics = metrics};
    w->m_jumps = metrics__counter(metrics, "souk_clock_jump_total",
                                  "Jumps of the system's wall clock by more than 2 s.", "");
    w->m_unheard =
        metrics__counter(metrics, "souk_clock_witnesses_unheard_total",
                         "Times that were told by servers beyond the 32 that are compared.", "");
    w->m_corrected = metrics__gauge(metrics, "souk_clock_correction_seconds",
                                    "The time worked with less the system's; 0: that one.", "");
}

/* @return whether what @x said counts now. */
static bool counts(const struct wall *w, const struct wall_witness *x) {
    if (w->clock->mono_ns - x->at_mono_ns > WALL_EVIDENCE_NS) return false;
    return !x->local || distance(x->offset_ns, w->system_offset_ns) > WALL_AGREE_NS;
}

/* The witness that most others agree with, of several the one nearest to the system's clock.
 * @return how many agree, itself included; 0: there is none. */
static size_t best_of(const struct wall *w, int64_t *offset_ns) {
    size_t best = 0;
    for (size_t i = 0; i < w->n_witnesses; i++) {
        const struct wall_witness *x = &w->witnesses[i];
        size_t n = 0;
        if (!counts(w, x)) continue;
        for (size_t k = 0; k < w->n_witnesses; k++)
            n += counts(w, &w->witnesses[k]) &&
                 distance(x->offset_ns, w->witnesses[k].offset_ns) <= WALL_AGREE_NS;
        bool nearer = n == best && distance(x->offset_ns, w->system_offset_ns) <
                                       distance(*offset_ns, w->system_offset_ns);
        if (n < best || (n == best && !nearer)) continue;
        best = n;
        *offset_ns = x->offset_ns;
    }
    return best;
}

static void move(struct wall *w, enum wall_mode mode, int64_t offset_ns) {
    static const char *const says[] = {"the system's clock is followed",
                                       "the system's clock jumped; time goes on as before",
                                       "the system's clock is wrong; what servers say is taken"};
    bool steps = distance(offset_ns, w->offset_ns) > WALL_JUMP_NS;
    if ((w->mode != mode || steps) && w->read)
        LOG_WARN(
            "clock", says[mode],
            LOG_F("system_off_s", (double)(w->system_offset_ns - offset_ns) / (double)NS_PER_S),
            LOG_F("step_s", (double)(offset_ns - w->offset_ns) / (double)NS_PER_S));
    if (mode == WALL_KEPT && w->mode != WALL_KEPT) w->kept_since_ns = w->clock->mono_ns;
    w->mode = mode;
    w->offset_ns = offset_ns;
}

static void settle(struct wall *w) {
    int64_t best_ns = 0;
    size_t n = best_of(w, &best_ns);
    w->disputed = false;
    if (n == 0) {
        bool near = distance(w->offset_ns, w->system_offset_ns) <= WALL_JUMP_NS;
        bool waited = w->clock->mono_ns - w->kept_since_ns >= WALL_DOUBT_NS;
        if (near || (w->mode == WALL_KEPT && waited)) move(w, WALL_SYSTEM, w->system_offset_ns);
    } else if (distance(best_ns, w->system_offset_ns) <= WALL_AGREE_NS) {
        move(w, WALL_SYSTEM, w->system_offset_ns);
    } else if (n >= 2 || w->mode != WALL_SYSTEM) {
        /* The time that was kept over a jump is a witness, too. */
        bool agrees = distance(w->offset_ns, best_ns) <= WALL_AGREE_NS;
        bool waited = w->clock->mono_ns - w->kept_since_ns >= WALL_DOUBT_NS;
        if (agrees || n >= 2) move(w, WALL_WITNESS, agrees ? w->offset_ns : best_ns);
        else w->disputed = true; /* Three say three different things. */
        if (w->disputed && w->mode == WALL_KEPT && waited)
            move(w, WALL_SYSTEM, w->system_offset_ns);
    } else {
        w->disputed = true;
    }
}

static void measure(struct wall *w) {
    for (size_t i = 0; i < w->n_witnesses; i++)
        series__set(w->witnesses[i].m_skew,
                    (double)(w->witnesses[i].offset_ns - w->system_offset_ns) / (double)NS_PER_S);
    series__set(w->m_corrected, (double)(w->offset_ns - w->system_offset_ns) / (double)NS_PER_S);
}

void wall__apply(struct wall *w, int64_t system_wall_ns, int64_t suspended_ns) {
    int64_t mono_ns = w->clock->mono_ns, before_ns = w->system_offset_ns;
    w->system_offset_ns = system_wall_ns - mono_ns;
    int64_t slept_ns = suspended_ns - w->suspended_ns;
    w->suspended_ns = suspended_ns;
    bool jumped = w->read && distance(w->system_offset_ns, before_ns) > WALL_JUMP_NS;
    if (!w->read) {
        w->offset_ns = w->system_offset_ns;
    } else if (slept_ns > WALL_JUMP_NS) {
        LOG_INFO("clock", "the machine slept", LOG_F("s", (double)slept_ns / (double)NS_PER_S));
        w->n_witnesses = 0;
        move(w, WALL_SYSTEM, w->system_offset_ns);
    } else if (jumped) {
        w->n_jumps++;
        series__inc(w->m_jumps);
        LOG_WARN("clock", "the wall clock jumped",
                 LOG_F("by_s", (double)(w->system_offset_ns - before_ns) / (double)NS_PER_S));
        if (w->mode == WALL_SYSTEM) move(w, WALL_KEPT, w->offset_ns);
    } else if (w->mode == WALL_SYSTEM) {
        w->offset_ns = w->system_offset_ns;
    }
    w->read = true;
    settle(w);
    measure(w);
    w->clock->wall_ns = mono_ns + w->offset_ns;
}

void wall__read(struct wall *w) {
    int64_t suspended_ns = clock__suspended_ns();
    clock__read(w->clock);
    wall__apply(w, w->clock->wall_ns, suspended_ns);
}

static struct wall_witness *find(struct wall *w, const char *name) {
    for (size_t i = 0; i < w->n_witnesses; i++)
        if (strncmp(w->witnesses[i].name, name, sizeof w->witnesses[i].name - 1) == 0)
            return &w->witnesses[i];
    if (w->n_witnesses == WALL_WITNESSES_MAX) return NULL;
    struct wall_witness *x = &w->witnesses[w->n_witnesses++];
    *x = (struct wall_witness){0};
    snprintf(x->name, sizeof x->name, "%s", name);
    char venue[160];
    metric__label(slice__str(x->name), venue, sizeof venue);
    x->m_skew = metrics__gauge(w->metrics, "souk_clock_skew_seconds",
                               "What a server's clock says less what this machine's says.",
                               "venue=\"%s\"", venue);
    return x;
}

void wall__told(struct wall *w, const char *name, int64_t server_wall_ns, int64_t at_mono_ns,
                bool local) {
    struct wall_witness *x = find(w, name);
    if (x == NULL) {
        w->n_unheard++;
        series__inc(w->m_unheard);
        return;
    }
    x->offset_ns = server_wall_ns - at_mono_ns;
    x->at_mono_ns = at_mono_ns;
    x->local = local;
    settle(w);
    measure(w);
    w->clock->wall_ns = w->clock->mono_ns + w->offset_ns;
}

int64_t wall__cautious(const struct wall *w) {
    int64_t offset_ns = 0;
    bool known = best_of(w, &offset_ns) > 0;
    return w->clock->mono_ns + (known && offset_ns < w->offset_ns ? offset_ns : w->offset_ns);
}

void wall__status(const struct wall *w, struct wall_status *out) {
    int64_t best_ns = 0;
    *out = (struct wall_status){.mode = w->mode,
                                .disputed = w->disputed,
                                .farthest = "",
                                .correction_ns = w->offset_ns - w->system_offset_ns,
                                .n_jumps = w->n_jumps};
    if (best_of(w, &best_ns) > 0) out->skew_ns = best_ns - w->system_offset_ns;
    else if (w->mode != WALL_SYSTEM) out->skew_ns = out->correction_ns;
    for (size_t i = 0; i < w->n_witnesses; i++) {
        const struct wall_witness *x = &w->witnesses[i];
        if (!counts(w, x)) continue;
        out->n_witnesses++;
        if (distance(x->offset_ns, w->system_offset_ns) <= distance(out->farthest_skew_ns, 0))
            continue;
        out->farthest = x->name;
        out->farthest_skew_ns = x->offset_ns - w->system_offset_ns;
    }
}
