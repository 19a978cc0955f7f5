/* How far the streams are behind: psapi in changes, against the heads that trade_data asks for;
 * everything else by the age of its last good answer. */
#include "../service/app.h"

#define HEAD_AGE_MAX_NS (600 * NS_PER_S) /* A head that is older says too little. */

/* The heads as change-ids said last, when that was in this run and not long ago; else empty.
 * @return when it was; else 0. */
static int64_t find_heads(struct app *a, char out[CURSOR_MAX]) {
    const struct app_stream *s = app__stream(a, SLICE_LIT("trade_data"), SLICE_LIT("change-ids"));
    struct poller_status p;
    out[0] = '\0';
    if (s == NULL || s->poller == NULL) return 0;
    poller__status(s->poller, &p);
    int64_t at_ns = p.last_success_mono_ns;
    if (at_ns == 0 || a->clock.mono_ns - at_ns > HEAD_AGE_MAX_NS) return 0;
    memcpy(out, p.state->cursor, CURSOR_MAX);
    return at_ns;
}

/* The wall clock counts only for what was before this run. */
int64_t app__silence_ns(const struct app *a, const struct poller_status *p) {
    if (p->last_success_mono_ns != 0) return a->clock.mono_ns - p->last_success_mono_ns;
    int64_t before_ns =
        p->last_success_wall_ns == 0 ? 0 : a->started_wall_ns - p->last_success_wall_ns;
    return a->clock.mono_ns - a->started_mono_ns + (before_ns > 0 ? before_ns : 0);
}

/* Seconds that @s is behind: by its changes where they are known. */
static double behind_s(const struct app *a, const struct app_stream *s) {
    if (s->lag.measured && s->lag.estimate_s != LAG_UNKNOWN) return s->lag.estimate_s;
    return (double)(a->clock.mono_ns - s->seen.answered_mono_ns) / (double)NS_PER_S;
}

static struct series *lag_series(struct app *a, size_t i) {
    if (a->m.cursor_lag_s[i] == NULL)
        a->m.cursor_lag_s[i] = metrics__gauge(
            &a->metrics, "souk_cursor_lag_seconds",
            "How far the worst stream of a source is behind its head, or, where that is not known, "
            "how old its last good answer is.",
            "source=\"%s\"", a->sources[i].type->name);
    return a->m.cursor_lag_s[i];
}

/* An end that an earlier run met says nothing of now. */
static void measure_changes(struct app *a, struct app_stream *s, const char *heads,
                            int64_t head_mono_ns) {
    struct poller_status p;
    poller__status(s->poller, &p);
    const struct lag_facts facts = {
        .cursor = slice__str(p.state->cursor),
        .end_mono_ns = p.state->caught_up ? p.last_success_mono_ns : 0,
        .head = lag__head(slice__str(heads), s->spec.realm),
        .head_mono_ns = head_mono_ns,
    };
    lag__measure(&s->lag, a->clock.mono_ns, &facts);
}

void app__measure_lag(struct app *a) {
    char heads[CURSOR_MAX];
    int64_t head_mono_ns = find_heads(a, heads);
    double worst_s[APP_SOURCES_MAX] = {0}, worst_changes = LAG_UNKNOWN;
    for (size_t i = 0; i < a->n_streams; i++) {
        struct app_stream *s = &a->streams[i];
        size_t at = s->source;
        if (s->poller == NULL) continue;
        if (strcmp(s->type->name, "psapi") == 0) measure_changes(a, s, heads, head_mono_ns);
        if (s->lag.measured && s->lag.changes > worst_changes) worst_changes = s->lag.changes;
        double s_behind = behind_s(a, s);
        if (s_behind > worst_s[at]) worst_s[at] = s_behind;
        series__set(lag_series(a, at), worst_s[at]);
    }
    if (worst_changes == LAG_UNKNOWN && a->m.cursor_lag_changes == NULL) return;
    if (a->m.cursor_lag_changes == NULL)
        a->m.cursor_lag_changes =
            metrics__gauge(&a->metrics, "souk_cursor_lag_changes",
                           "Changes between the cursor of the worst stream and its head; -1 when "
                           "it is not known any more.",
                           "source=\"psapi\"");
    series__set(a->m.cursor_lag_changes, worst_changes);
}
