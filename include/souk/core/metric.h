/* Metrics in Prometheus' model: families of series, exposed as text format 0.0.4.
 *
 * A series is found or made once, at start-up, and then touched through its pointer, which stays
 * valid as long as the registry. Names and labels follow Prometheus: base units,
 * counters end in _total, label values from bounded sets only. One thread. */
#ifndef SOUK_CORE_METRIC_H
#define SOUK_CORE_METRIC_H

#include "souk/core/buf.h"
#include "souk/core/map.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_SERIES_MAX 4096
#define METRIC_BUCKETS 16 /* .001 .0025 .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10 30 60 300 */

struct series {
    struct metric_family *family; /* Borrowed. */
    char *labels;                 /* Owned. Without braces: a="b",c="d"; "" for none. */
    double value;                 /* Counters and gauges; a histogram's sum. */
    uint64_t count;               /* Histograms: observations. */
    uint64_t buckets[METRIC_BUCKETS];
    struct series *next;
};

struct metric_family {
    char *name, *help; /* Owned. */
    enum metric_kind kind;
    double scale;          /* Histograms: bucket bounds are multiplied with it; 1 for seconds. */
    struct series *series; /* In order of creation. */
    struct metric_family *next;
};

struct metrics {
    struct map families;
    struct metric_family *first, *last;
    size_t n_series;
    uint64_t n_refused;     /* Series beyond METRIC_SERIES_MAX. */
    struct series overflow; /* What a series beyond METRIC_SERIES_MAX is counted in. */
};

int metrics__init(struct metrics *m);
void metrics__fini(struct metrics *m);
/** Find or make a series. @labels is printf-formatted text such as source="psapi"; the values must
 *  be free of quotes, backslashes and line ends (use metric__label for text from outside). The
 *  help of the first call stands. Never NULL: beyond the bound all share one series. */
struct series *metrics__counter(struct metrics *m, const char *name, const char *help,
                                const char *labels_fmt, ...) __attribute__((format(printf, 4, 5)));
struct series *metrics__gauge(struct metrics *m, const char *name, const char *help,
                              const char *labels_fmt, ...) __attribute__((format(printf, 4, 5)));
/** A histogram of seconds. */
struct series *metrics__histogram(struct metrics *m, const char *name, const char *help,
                                  const char *labels_fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** A histogram with bucket bounds of @scale times the usual ones, for bytes and rows. */
struct series *metrics__histogram_scaled(struct metrics *m, const char *name, const char *help,
                                         double scale, const char *labels_fmt, ...)
    __attribute__((format(printf, 5, 6)));
/** Copies @value into @out (at most @size bytes, terminated), escaped for use between quotes. */
const char *metric__label(struct slice value, char *out, size_t size);

static inline void series__add(struct series *s, double v) { s->value += v; }
static inline void series__inc(struct series *s) { s->value += 1; }
static inline void series__set(struct series *s, double v) { s->value = v; }
void series__observe(struct series *s, double v);

/** Appends every family in text format 0.0.4: HELP, TYPE, then its series. */
void metrics__expose(const struct metrics *m, struct buf *out);

#endif
