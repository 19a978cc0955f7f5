/* Once a second: rates, history, and the gauges that nobody pushes. */
#include "app.h"
#include "souk/core/log.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>

static double seconds(int64_t ns) { return (double)ns / (double)NS_PER_S; }

static int64_t cpu_ns(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
           ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * NS_PER_US;
}

static void measure_cpu(struct app *a) {
    int64_t cpu = cpu_ns(), at = a->clock.mono_ns;
    if (a->cpu_at_ns != 0 && at > a->cpu_at_ns) {
        double now = (double)(cpu - a->cpu_before_ns) / (double)(at - a->cpu_at_ns);
        a->cpu_ratio = a->cpu_ratio * 0.9 + now * 0.1; /* About the last ten seconds. */
    }
    a->cpu_before_ns = cpu;
    a->cpu_at_ns = at;
}

/* How much a sum over streams grew in a step. It shrinks when a backfill has ended. */
static double growth(uint64_t now, uint64_t before) {
    return now > before ? (double)(now - before) / HISTORY_STEP_S : 0;
}

static void add_history(struct app *a, uint64_t rows, uint64_t pages) {
    if (a->n_history == HISTORY_STEPS) {
        memmove(a->rows_history, a->rows_history + 1,
                sizeof *a->rows_history * (HISTORY_STEPS - 1));
        memmove(a->pages_history, a->pages_history + 1,
                sizeof *a->pages_history * (HISTORY_STEPS - 1));
        a->n_history--;
    }
    a->rows_history[a->n_history] = growth(rows, a->history_rows);
    a->pages_history[a->n_history++] = growth(pages, a->history_pages);
    a->history_rows = rows;
    a->history_pages = pages;
}

static void measure_rates(struct app *a) {
    uint64_t rows = 0, pages = 0;
    for (size_t i = 0; i < app__n_streams(a); i++) {
        struct app_stream *s = app__stream_at(a, i);
        s->rows_per_s = s->rows_per_s * 0.8 + (double)(s->rows - s->rows_before) * 0.2;
        s->rows_before = s->rows;
        rows += s->rows;
        pages += s->seen.n_fresh;
    }
    if ((a->clock.mono_ns / NS_PER_S) % HISTORY_STEP_S == 0) add_history(a, rows, pages);
}

/* Batches are acknowledged every few seconds, so about the last ten count. */
static void measure_stored(struct app *a) {
    struct store_status store;
    store__status(a->store, &store);
    a->stored_per_s = 0;
    for (size_t i = 0; i < store.n_tables; i++) {
        uint64_t rows = store.tables[i].rows, came = rows - a->stored[i].rows_before;
        double rate = a->stored[i].rows_per_s * 0.9 + (double)came * 0.1;
        if (came == 0 && rate < 0.05) rate = 0; /* It has stopped, and is not said to trickle. */
        a->stored[i].rows_before = rows;
        a->stored[i].rows_per_s = rate;
        a->stored_per_s += rate;
    }
}

void app__second(struct app *a) {
    measure_cpu(a);
    measure_rates(a);
    measure_stored(a);
    app__watch(a);
    alerts__tick(a->alerts);
    throttle__tick(a->throttle);
    backfill__second(a);
    login__second(a);
    if (!a->closing) {
        lanes__second(a);
        tape_lane__second(a);
    }
    a->lag_max_ns *= 0.8; /* What status shows fades; the histogram keeps all. */
}

static double count_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    double n = 0;
    if (dir == NULL) return 0;
    while (readdir(dir) != NULL) n++;
    closedir(dir);
    return n - 3; /* ".", ".." and the directory itself. */
}

void app__before_scrape(void *ctx) {
    struct app *a = ctx;
    size_t rss = 0;
    uv_resident_set_memory(&rss);
    if (!a->closing) governor__measure(a->governor);
    app__measure_scopes(a);
    series__set(a->m.absent, (double)a->absent.n);
    lanes__measure_balance(a);
    series__set(a->m.rss, (double)rss);
    series__set(a->m.cpu, seconds(cpu_ns()));
    series__set(a->m.fds, count_fds());
    series__set(a->m.ready, a->recovered && !a->draining);
    series__set(a->m.state[0], !a->recovered);
    series__set(a->m.state[1], a->recovered && !a->draining && guard__level(a->guard) != GUARD_RED);
    series__set(a->m.state[2], a->draining);
    series__set(a->m.state[3], a->recovered && !a->draining && guard__level(a->guard) == GUARD_RED);
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++)
        series__set(a->m.log[level], (double)log__count((enum log_level)level));
}
