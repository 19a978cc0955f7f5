/* Log lines: formatting, and the limit on repeated warnings. */
#include "souk/core/log.h"
#include "souk/core/buf.h"
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#define LINE_MAX_BYTES 4096
#define REPEAT_NS (10 * NS_PER_S)
#define REPEAT_SLOTS 128

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* The thread pool logs too, rarely; one lock keeps lines whole. It is not on the data path. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    FILE *out;
    enum log_format format;
    enum log_level lowest;
    const struct clock *clock;
    uint64_t counts[4];
    struct {
        const char *room, *event;
        int64_t since_ns;
        uint64_t n_suppressed;
    } repeats[REPEAT_SLOTS];
} state = {.lowest = LOG_LEVEL_INFO};

void log__setup(FILE *out, enum log_format format, enum log_level lowest) {
    state.out = out;
    state.format = format;
    state.lowest = lowest;
}

void log__use_clock(const struct clock *clock) { state.clock = clock; }

uint64_t log__count(enum log_level level) { return state.counts[level]; }

/* @return true when this line may go out now, with the number that were held back before it. */
static bool may_write(const char *room, const char *event, int64_t mono_ns,
                      uint64_t *n_suppressed) {
    size_t slot = (((uintptr_t)room >> 3) * 31 + ((uintptr_t)event >> 3)) % REPEAT_SLOTS;
    bool same = state.repeats[slot].room == room && state.repeats[slot].event == event;
    if (same && mono_ns - state.repeats[slot].since_ns < REPEAT_NS) {
        state.repeats[slot].n_suppressed++;
        return false;
    }
    *n_suppressed = same ? state.repeats[slot].n_suppressed : 0;
    state.repeats[slot].room = room;
    state.repeats[slot].event = event;
    state.repeats[slot].since_ns = mono_ns;
    state.repeats[slot].n_suppressed = 0;
    return true;
}

static bool needs_quotes(struct slice s) {
    if (s.len == 0) return true;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.base[i];
        if (c <= ' ' || c == '"' || c == '=' || c >= 0x7f || c == '\\') return true;
    }
    return false;
}

static void put_str(struct buf *b, struct slice s, bool json) {
    if (json || needs_quotes(s)) buf__json_string(b, s);
    else buf__append_slice(b, s);
}

static void put_field(struct buf *b, const struct log_field *f, bool json) {
    if (json) buf__printf(b, ",\"%s\":", f->key);
    else buf__printf(b, " %s=", f->key);
    struct slice s = f->s;
    if (s.len > 512) s.len = 512;
    switch (f->kind) {
    case LOG_FIELD_STR: put_str(b, s, json); return;
    case LOG_FIELD_INT: buf__printf(b, "%" PRId64, f->i); return;
    case LOG_FIELD_NUM:
        if (isfinite(f->f)) buf__printf(b, "%.6g", f->f);
        else buf__append_str(b, "null");
        return;
    }
}

static void write_line(enum log_level level, const char *room, const char *event,
                       const struct log_field *fields, size_t n, int64_t wall_ns,
                       uint64_t n_suppressed) {
    char bytes[LINE_MAX_BYTES], when[32];
    struct buf b = {.base = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    bool json = state.format == LOG_FORMAT_JSON;
    clock__iso(wall_ns, when, sizeof when);
    const char *fmt = json ? "{\"ts\":\"%s\",\"level\":\"%s\",\"room\":\"%s\",\"event\":"
                           : "ts=%s level=%s room=%s event=";
    char head[160];
    snprintf(head, sizeof head, fmt, when, level_names[level], room);
    buf__append_str(&b, head);
    put_str(&b, slice__str(event), json);
    for (size_t i = 1; i < n; i++) { /* Field 0 only keeps the macro's array from being empty. */
        size_t before = b.len;
        put_field(&b, &fields[i], json);
        if (b.failed || b.len > sizeof bytes - 64) {
            b.len = before;
            b.failed = false;
            break;
        }
    }
    if (n_suppressed > 0) {
        struct log_field f = LOG_I("suppressed", n_suppressed);
        put_field(&b, &f, json);
    }
    buf__append_str(&b, json ? "}\n" : "\n");
    FILE *out = state.out == NULL ? stderr : state.out;
    fwrite(bytes, 1, b.len, out);
    fflush(out);
}

void log__write(enum log_level level, const char *room, const char *event,
                const struct log_field *fields, size_t n) {
    pthread_mutex_lock(&lock);
    struct clock now;
    if (state.clock != NULL) now = *state.clock;
    else clock__read(&now);
    uint64_t n_suppressed = 0;
    state.counts[level]++;
    bool limited = level >= LOG_LEVEL_WARN;
    if (level >= state.lowest && (!limited || may_write(room, event, now.mono_ns, &n_suppressed)))
        write_line(level, room, event, fields, n, now.wall_ns, n_suppressed);
    pthread_mutex_unlock(&lock);
}
