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
    bool keeps;
    enum log_level keep_lowest;
    struct log_kept kept[LOG_KEPT_MAX];
    size_t n_kept;
    uint64_t n_dropped;
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

static void keep_line(enum log_level level, const char *room, const char *event,
                      const struct log_field *fields, size_t n, const struct clock *now,
                      uint64_t n_suppressed) {
    if (state.n_kept == LOG_KEPT_MAX) {
        state.n_dropped++;
        return;
    }
    struct log_kept *k = &state.kept[state.n_kept++];
    struct buf b = {.base = k->fields, .cap = sizeof k->fields, .max = sizeof k->fields};
    k->level = level;
    k->mono_ns = now->mono_ns;
    k->wall_ns = now->wall_ns;
    snprintf(k->room, sizeof k->room, "%s", room);
    snprintf(k->event, sizeof k->event, "%s", event);
    struct log_field suppressed = LOG_I("suppressed", n_suppressed);
    for (size_t i = 1; i <= n; i++) {
        size_t before = b.len;
        if (i == n && n_suppressed == 0) break;
        put_field(&b, i < n ? &fields[i] : &suppressed, true);
        if (!b.failed && b.len < sizeof k->fields - 2) continue;
        b.len = before;
        b.failed = false;
    }
    if (b.len == 0) b.base[b.len++] = '{';
    b.base[0] = '{'; /* Where the first field's comma stands. */
    b.base[b.len] = '}';
    b.base[b.len + 1] = '\0';
}

void log__keep(enum log_level lowest) {
    pthread_mutex_lock(&lock);
    state.keeps = true;
    state.keep_lowest = lowest;
    pthread_mutex_unlock(&lock);
}

size_t log__take(struct log_kept *out, size_t max, uint64_t *dropped) {
    pthread_mutex_lock(&lock);
    size_t n = state.n_kept < max ? state.n_kept : max;
    memcpy(out, state.kept, n * sizeof *out);
    memmove(state.kept, state.kept + n, (state.n_kept - n) * sizeof *out);
    state.n_kept -= n;
    *dropped = state.n_dropped;
    state.n_dropped = 0;
    pthread_mutex_unlock(&lock);
    return n;
}

void log__set_level(enum log_level lowest) {
    pthread_mutex_lock(&lock);
    state.lowest = lowest;
    pthread_mutex_unlock(&lock);
}

const char *log_level__name(enum log_level level) { return level_names[level]; }

void log__write(enum log_level level, const char *room, const char *event,
                const struct log_field *fields, size_t n) {
    pthread_mutex_lock(&lock);
    struct clock now;
    if (state.clock != NULL) {
        __atomic_load(&state.clock->mono_ns, &now.mono_ns, __ATOMIC_RELAXED);
        __atomic_load(&state.clock->wall_ns, &now.wall_ns, __ATOMIC_RELAXED);
    } else clock__read(&now);
    uint64_t n_suppressed = 0;
    state.counts[level]++;
    bool limited = level >= LOG_LEVEL_WARN;
    bool keep = state.keeps && level >= state.keep_lowest;
    if ((level >= state.lowest || keep) &&
        (!limited || may_write(room, event, now.mono_ns, &n_suppressed))) {
        if (level >= state.lowest)
            write_line(level, room, event, fields, n, now.wall_ns, n_suppressed);
        if (keep) keep_line(level, room, event, fields, n, &now, n_suppressed);
    }
    pthread_mutex_unlock(&lock);
}
