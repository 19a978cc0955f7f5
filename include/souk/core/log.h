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
/** Lets lines carry @clock's wall time instead of the system's; for tests and replay. Borrowed. */
void log__use_clock(const struct clock *clock);
/** Writes one line; use the macros. The first of @n fields is skipped. @event says what happened.
 */
void log__write(enum log_level level, const char *room, const char *event,
                const struct log_field *fields, size_t n);
/** @return how many lines of @level there were since the start, suppressed ones included. */
uint64_t log__count(enum log_level level);

#endif
