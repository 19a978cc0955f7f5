/* Times of rows against the clocks: a batch that the server would drop as soon as it has it is not
 * sent. Each batch is looked at once for its oldest and newest row, and then whenever it is due, or
 * each tick while it is held. */
#include "souk/core/log.h"
#include "store_internal.h"
#include <inttypes.h>
#include <stdio.h>

#define DAY_MS (INT64_C(86400) * MS_PER_S)
#define AHEAD_MS (600 * MS_PER_S) /* Clocks of two machines differ, but not by this. */

void store__told_time(struct store *s, int64_t server_wall_ns, int64_t asked_mono_ns) {
    bool quick = s->clock->mono_ns - asked_mono_ns <= WALL_SLOW_NS;
    s->server_offset_ns = server_wall_ns - s->clock->mono_ns;
    s->server_told = true;
    if (s->options.wall != NULL && quick)
        wall__told(s->options.wall, "clickhouse", server_wall_ns, s->clock->mono_ns, s->local);
}

/* What is later than this by much is from the future: by our clock, and where it is doubted by that
 * of the servers. */
static int64_t latest_ms(const struct store *s) {
    int64_t ns = s->options.wall == NULL ? s->clock->wall_ns : wall__cautious(s->options.wall);
    return ns / NS_PER_MS + AHEAD_MS;
}

bool store__is_mistimed(struct store *s, struct sealed *x) {
    size_t i = store__table_index(s, x->batch.table);
    bool was = x->mistimed;
    x->mistimed = false;
    if (x->released || s->ttl[i].days == 0 || !s->server_told) return false;
    if (!x->looked_at)
        x->timed = batch__times(&x->batch, s->ttl[i].column, &x->oldest_ms, &x->newest_ms);
    x->looked_at = true;
    if (!x->timed) return false;
    int64_t server_ms = (s->clock->mono_ns + s->server_offset_ns) / NS_PER_MS;
    bool old = x->oldest_ms + s->ttl[i].days * DAY_MS <= server_ms;
    x->mistimed = old || x->newest_ms > latest_ms(s);
    if (!x->mistimed) return false;
    char at[32], now[32];
    char text[ERR_MSG_MAX];
    snprintf(text, sizeof text, "%s: rows of %s, %s; ClickHouse's clock says %s", x->seal.table,
             clock__iso((old ? x->oldest_ms : x->newest_ms) * NS_PER_MS, at, sizeof at),
             old ? "older than its TTL" : "which is yet to come",
             clock__iso(server_ms * NS_PER_MS, now, sizeof now));
    if (!was)
        LOG_ERROR("store", "a batch is held for the times of its rows",
                  LOG_S("table", x->seal.table), LOG_I("rows", x->batch.n_rows),
                  LOG_S("why", text));
    if (s->mistimed[0] == '\0') snprintf(s->mistimed, sizeof s->mistimed, "%s", text);
    return true;
}

void store__judge_times(struct store *s) {
    size_t n = 0;
    s->mistimed[0] = '\0';
    for (struct sealed *x = s->batcher.first; x != NULL; x = x->next)
        n += x->mistimed && store__is_mistimed(s, x);
    series__set(s->m_mistimed, (double)n);
}

size_t store__release(struct store *s) {
    size_t n = 0;
    for (struct sealed *x = s->batcher.first; x != NULL; x = x->next) {
        if (!x->mistimed) continue;
        x->released = true;
        x->mistimed = false;
        n++;
    }
    s->mistimed[0] = '\0';
    return n;
}
