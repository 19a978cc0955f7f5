/* The registry of metrics and its text exposition (Prometheus text format 0.0.4). */
#include "souk/core/metric.h"
#include "souk/core/err.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const double bounds[METRIC_BUCKETS] = {.001, .0025, .005, .01, .025, .05, .1, .25,
                                              .5,   1,     2.5,  5,   10,   30,  60, 300};
static const char *const kind_names[] = {"counter", "gauge", "histogram"};

int metrics__init(struct metrics *m) {
    *m = (struct metrics){0};
    return map__init(&m->families, 512);
}

void metrics__fini(struct metrics *m) {
    for (struct metric_family *f = m->first, *f_next; f != NULL; f = f_next) {
        f_next = f->next;
        for (struct series *s = f->series, *s_next; s != NULL; s = s_next) {
            s_next = s->next;
            free(s->labels);
            free(s);
        }
        free(f->name);
        free(f->help);
        free(f);
    }
    map__fini(&m->families);
    *m = (struct metrics){0};
}

static struct metric_family *get_family(struct metrics *m, const char *name, const char *help,
                                        enum metric_kind kind, double scale) {
    struct metric_family *f = map__get(&m->families, slice__str(name));
    if (f != NULL) return f->kind == kind ? f : NULL;
    f = calloc(1, sizeof *f);
    if (f == NULL) return NULL;
    *f = (struct metric_family){.kind = kind, .scale = scale};
    f->name = strdup(name);
    f->help = strdup(help);
    if (f->name == NULL || f->help == NULL || map__put(&m->families, slice__str(name), f) != 0) {
        free(f->name);
        free(f->help);
        free(f);
        return NULL;
    }
    if (m->last == NULL) m->first = f;
    else m->last->next = f;
    m->last = f;
    return f;
}

static struct series *get_series(struct metrics *m, const char *name, const char *help,
                                 enum metric_kind kind, double scale, const char *fmt,
                                 va_list args) {
    char labels[512];
    vsnprintf(labels, sizeof labels, fmt, args);
    struct metric_family *f = get_family(m, name, help, kind, scale);
    m->overflow.family = f == NULL ? m->overflow.family : f;
    if (f == NULL) {
        m->n_refused++;
        return &m->overflow;
    }
    struct series **at = &f->series;
    for (; *at != NULL; at = &(*at)->next)
        if (strcmp((*at)->labels, labels) == 0) return *at;
    struct series *s = m->n_series < METRIC_SERIES_MAX ? calloc(1, sizeof *s) : NULL;
    char *copy = s == NULL ? NULL : strdup(labels);
    if (copy == NULL) {
        free(s);
        m->n_refused++;
        return &m->overflow;
    }
    *s = (struct series){.family = f, .labels = copy};
    m->n_series++;
    return *at = s;
}

#define GET_SERIES(kind, scale)                                                                    \
    va_list args;                                                                                  \
    va_start(args, labels_fmt);                                                                    \
    struct series *s = get_series(m, name, help, kind, scale, labels_fmt, args);                   \
    va_end(args);                                                                                  \
    return s

struct series *metrics__counter(struct metrics *m, const char *name, const char *help,
                                const char *labels_fmt, ...) {
    GET_SERIES(METRIC_COUNTER, 1);
}
struct series *metrics__gauge(struct metrics *m, const char *name, const char *help,
                              const char *labels_fmt, ...) {
    GET_SERIES(METRIC_GAUGE, 1);
}
struct series *metrics__histogram(struct metrics *m, const char *name, const char *help,
                                  const char *labels_fmt, ...) {
    GET_SERIES(METRIC_HISTOGRAM, 1);
}
struct series *metrics__histogram_scaled(struct metrics *m, const char *name, const char *help,
                                         double scale, const char *labels_fmt, ...) {
    GET_SERIES(METRIC_HISTOGRAM, scale);
}

const char *metric__label(struct slice value, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < value.len && n + 3 < size; i++) {
        char c = value.base[i];
        if (c == '"' || c == '\\') out[n++] = '\\';
        out[n++] = (unsigned char)c < 0x20 ? ' ' : c;
    }
    out[n] = '\0';
    return out;
}

void series__observe(struct series *s, double v) {
    double scale = s->family == NULL ? 1 : s->family->scale;
    s->value += v;
    s->count++;
    for (size_t i = 0; i < METRIC_BUCKETS; i++)
        if (v <= bounds[i] * scale) {
            s->buckets[i]++;
            return;
        }
}

static void expose_value(struct buf *out, double v) {
    if (isfinite(v) && v == floor(v) && fabs(v) < 1e15)
        buf__printf(out, " %" PRId64 "\n", (int64_t)v);
    else if (isnan(v)) buf__append_str(out, " NaN\n");
    else if (isinf(v)) buf__append_str(out, v > 0 ? " +Inf\n" : " -Inf\n");
    else buf__printf(out, " %.17g\n", v);
}

static void expose_histogram(struct buf *out, const struct series *s) {
    const char *comma = s->labels[0] == '\0' ? "" : ",";
    uint64_t below = 0;
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        below += s->buckets[i];
        buf__printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", s->family->name, s->labels,
                    comma, bounds[i] * s->family->scale, below);
    }
    buf__printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", s->family->name, s->labels, comma,
                s->count);
    const char *open = s->labels[0] == '\0' ? "" : "{", *close = s->labels[0] == '\0' ? "" : "}";
    buf__printf(out, "%s_sum%s%s%s", s->family->name, open, s->labels, close);
    expose_value(out, s->value);
    buf__printf(out, "%s_count%s%s%s %" PRIu64 "\n", s->family->name, open, s->labels, close,
                s->count);
}

/* Not series themselves, as they must show when there is room for none. */
static void expose_bound(const struct metrics *m, struct buf *out) {
    buf__printf(out,
                "# HELP souk_metric_series Series of metrics; at most %d.\n"
                "# TYPE souk_metric_series gauge\nsouk_metric_series %zu\n"
                "# HELP souk_metric_series_refused_total Times that a series was asked for beyond "
                "that: its values are in no place.\n"
                "# TYPE souk_metric_series_refused_total counter\n"
                "souk_metric_series_refused_total %" PRIu64 "\n",
                METRIC_SERIES_MAX, m->n_series, m->n_refused);
}

void metrics__expose(const struct metrics *m, struct buf *out) {
    for (const struct metric_family *f = m->first; f != NULL; f = f->next) {
        if (f->series == NULL) continue;
        buf__printf(out, "# HELP %s ", f->name);
        for (const char *p = f->help; *p != '\0'; p++) {
            if (*p == '\\') buf__append(out, "\\\\", 2);
            else if (*p == '\n') buf__append(out, "\\n", 2);
            else buf__append(out, p, 1);
        }
        buf__printf(out, "\n# TYPE %s %s\n", f->name, kind_names[f->kind]);
        for (const struct series *s = f->series; s != NULL; s = s->next) {
            if (f->kind == METRIC_HISTOGRAM) {
                expose_histogram(out, s);
                continue;
            }
            buf__append_str(out, f->name);
            if (s->labels[0] != '\0') buf__printf(out, "{%s}", s->labels);
            expose_value(out, s->value);
        }
    }
    expose_bound(m, out);
}
