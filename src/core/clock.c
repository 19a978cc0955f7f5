/* The only reader of the system's clocks. */
#include "souk/core/clock.h"
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static int64_t read_ns(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void clock__read(struct clock *c) {
    c->mono_ns = read_ns(CLOCK_MONOTONIC);
    c->wall_ns = read_ns(CLOCK_REALTIME);
}

int64_t clock__stopwatch_ns(void) { return read_ns(CLOCK_MONOTONIC); }

int64_t clock__suspended_ns(void) {
#ifdef CLOCK_BOOTTIME
    int64_t ns = read_ns(CLOCK_BOOTTIME) - read_ns(CLOCK_MONOTONIC);
    return ns > NS_PER_MS ? ns : 0; /* Two readings are some ns apart. */
#else
    return 0;
#endif
}

uint64_t clock__boot_id(void) {
    unsigned long long high = 0, low = 0;
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re"); /* 8-4-4-4-12 hex digits. */
    if (f == NULL) return 0;
    unsigned a, b, c, d;
    bool ok = fscanf(f, "%8x-%4x-%4x-%4x-%12llx", &a, &b, &c, &d, &low) == 5;
    fclose(f);
    if (!ok) return 0;
    high = (unsigned long long)a << 32 | b << 16 | c;
    return high ^ (low << 16 | d);
}

char *clock__iso(int64_t wall_ns, char *out, size_t out_size) {
    int64_t s = wall_ns / NS_PER_S, ns = wall_ns % NS_PER_S;
    if (ns < 0) s--, ns += NS_PER_S;
    time_t t = (time_t)s;
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL) tm = (struct tm){.tm_mday = 1, .tm_year = 70};
    snprintf(out, out_size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ns / NS_PER_MS));
    return out;
}

int32_t clock__day(int64_t wall_ns) {
    int64_t day_ns = 86400 * NS_PER_S;
    int64_t day = wall_ns / day_ns;
    return (int32_t)(wall_ns % day_ns < 0 ? day - 1 : day);
}
