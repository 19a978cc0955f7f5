/* Time, read once a loop turn and passed on.
 *
 * Deadlines use mono_ns, rows carry wall_ns (UTC). Only this file's functions read the system's
 * clocks; tests and replay set the fields by hand. */
#ifndef SOUK_CORE_CLOCK_H
#define SOUK_CORE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define MS_PER_S INT64_C(1000)

struct clock {
    int64_t mono_ns, wall_ns; /* Set once a loop turn. */
};

/** Reads CLOCK_MONOTONIC and CLOCK_REALTIME into @c: what the system says. The running souk reads
 *  through wall.h, which knows whether that can be believed. */
void clock__read(struct clock *c);
/** Reads the monotonic clock now, for measuring how long something took; never for deadlines. */
int64_t clock__stopwatch_ns(void);
/** @return how long the machine has slept since it was started, which CLOCK_MONOTONIC does not
 *  count. 0 where the system cannot say. */
int64_t clock__suspended_ns(void);
/** @return a number for this start of the machine, the same in all processes until the next: within
 *  it the monotonic clock is one. 0 where the system cannot say. */
uint64_t clock__boot_id(void);
/** Writes @wall_ns as 2026-11-21T12:34:56.789Z into @out (25 bytes or more). Returns @out. */
char *clock__iso(int64_t wall_ns, char *out, size_t out_size);
/** @return days since 1970-01-01 of @wall_ns, UTC; what partitions are keyed by. */
int32_t clock__day(int64_t wall_ns);

#endif
