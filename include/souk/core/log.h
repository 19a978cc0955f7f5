/* The log: one event a line, on standard error, as logfmt or as JSON lines.
 *
 *     LOG_INFO("store", "batch stored", LOG_S("table", name), LOG_I("rows", n));
 *
 * An event of level warn or error repeats at most once in 10 s; the next line says how many were
 * suppressed. Every line is counted by level, suppressed or not. */
#ifndef SOUK_CORE_LOG_H
#define SOUK_CORE_LOG_H

#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/slice.h"
#include <stdio.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_NUM } kind;
    struct slice s;
    int64_t i;
    double f;
};
#define LOG_S(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .s = slice__str(v)})
#define LOG_SL(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .s = (v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .i = (int64_t)(v)})
#define LOG_F(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_NUM, .f = (double)(v)})
/* The line of a struct err. */
#define LOG_E(e) LOG_S("err", (e)->msg)

#define LOG__AT(level, room, event, ...)                                                           \
    log__write(level, room, event, (const struct log_field[]){{0}, ##__VA_ARGS__},                 \
               sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field))
#define LOG_DEBUG(room, event, ...) LOG__AT(LOG_LEVEL_DEBUG, room, event, ##__VA_ARGS__)
#define LOG_INFO(room, event, ...) LOG__AT(LOG_LEVEL_INFO, room, event, ##__VA_ARGS__)
#define LOG_WARN(room, event, ...) LOG__AT(LOG_LEVEL_WARN, room, event, ##__VA_ARGS__)
#define LOG_ERROR(room, event, ...) LOG__AT(LOG_LEVEL_ERROR, room, event, ##__VA_ARGS__)

/** Sets where lines go, how they look and the lowest level that is written. Before it is called,
 *  lines go to standard error as logfmt from level info. @out is borrowed. */
void log__setup(FILE *out, enum log_format format, enum log_level lowest);
/** Lets lines carry @clock's times instead of the system's, which may be wrong: souk's is
 * corrected. Lines of other threads may be as old as the clock's last turn. Borrowed; NULL: the
 * system's. */
void log__use_clock(const struct clock *clock);
/** Writes one line; use the macros. The first of @n fields is skipped. @event says what happened.
 */
void log__write(enum log_level level, const char *room, const char *event,
                const struct log_field *fields, size_t n);
/* Lines for a table of them. */
#define LOG_KEPT_MAX 64 /* Between two calls of log__take; what exceeds it is counted. */
struct log_kept {
    enum log_level level;
    int64_t mono_ns, wall_ns; /* Of the line; the first tells its age whatever the clock does. */
    char room[24], event[160];
    char fields[1024]; /* A JSON object; fields that do not fit are left out. */
};
/** Keeps the lines from @lowest up that are written, in a bounded store, for log__take. */
void log__keep(enum log_level lowest);
/** Moves up to @max of the kept lines, oldest first, to @out, on any thread. @dropped: how many
 *  there was no room for since the last call. @return how many were moved. */
size_t log__take(struct log_kept *out, size_t max, uint64_t *dropped);
/** Changes the lowest level that is written. */
void log__set_level(enum log_level lowest);
/** @return what @level is called: debug, info, warn, error. */
const char *log_level__name(enum log_level level);
/** @return how many lines of @level there were since the start, suppressed ones included. */
uint64_t log__count(enum log_level level);

#endif
