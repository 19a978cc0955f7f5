/* The wall clock as evidence, not as truth.
 *
 * The time that souk works with (clock.wall_ns) runs with the monotonic clock. It follows the
 * system's wall clock while that runs evenly; a jump is followed only when a witness says that it
 * is right. Witnesses are the servers that souk talks to anyway: the Date of replies, and
 * ClickHouse. What is kept of each is how far its time is from the monotonic clock, so that a jump
 * of ours shows against all of them at once.
 *
 *   WALL_SYSTEM   the system's clock is followed: a witness agrees, or none is known
 *   WALL_KEPT     the system's clock jumped: time goes on as before it, until witnesses settle it,
 *                 or none has come within WALL_DOUBT_NS (then the jump is followed)
 *   WALL_WITNESS  two witnesses agree with each other and not with the system: theirs is taken
 *
 * One witness that contradicts an even clock proves nothing: either may be wrong. It is disputed
 * then, which is told, and wall__cautious says the earlier time of both. A store on this machine
 * that agrees with the system's clock reads the same clock, and is none.
 *
 * What a suspended machine's monotonic clock did not see makes evidence worthless: it is dropped,
 * and the system's clock is believed. */
#ifndef SOUK_CORE_WALL_H
#define SOUK_CORE_WALL_H

#include "souk/core/clock.h"
#include "souk/core/metric.h"

#define WALL_WITNESSES_MAX 32             /* More are not heard; counted. */
#define WALL_JUMP_NS (2 * NS_PER_S)       /* Between two readings. */
#define WALL_SLOW_NS (2 * NS_PER_S)       /* An answer that took longer says too little. */
#define WALL_AGREE_NS (30 * NS_PER_S)     /* Less is no contradiction. */
#define WALL_DOUBT_NS (60 * NS_PER_S)     /* A jump without witnesses is followed after this. */
#define WALL_EVIDENCE_NS (900 * NS_PER_S) /* Older evidence is no more. */

enum wall_mode { WALL_SYSTEM, WALL_KEPT, WALL_WITNESS };

struct wall_witness {
    char name[64];
    int64_t offset_ns;  /* Its time less the monotonic clock's. */
    int64_t at_mono_ns; /* When it was heard. */
    bool local;         /* It may read the clock that we read. */
    struct series *m_skew;
};

struct wall {
    struct clock *clock; /* Borrowed; its wall_ns is set. */
    struct metrics *metrics;
    enum wall_mode mode;
    int64_t offset_ns, system_offset_ns; /* Of the time worked with; of the system's. */
    int64_t suspended_ns;                /* Which the monotonic clock has not seen. */
    int64_t kept_since_ns;
    bool read;     /* Once at least. */
    bool disputed; /* A single witness contradicts. */
    struct wall_witness witnesses[WALL_WITNESSES_MAX];
    size_t n_witnesses;
    uint64_t n_jumps, n_unheard;
    struct series *m_jumps, *m_unheard, *m_corrected;
};

/** What is known of the clocks; for people. */
struct wall_status {
    enum wall_mode mode;
    bool disputed;
    size_t n_witnesses;   /* With evidence that counts. */
    int64_t skew_ns;      /* Of the system's clock: what most witnesses say less what it says. */
    const char *farthest; /* The witness that contradicts it most; "" when there is none. */
    int64_t farthest_skew_ns;
    int64_t correction_ns; /* Time worked with less the system's. */
    uint64_t n_jumps;
};

/** Borrows both. Registers souk_clock_jump_total and, for each witness as it is heard,
 *  souk_clock_skew_seconds{venue}. */
void wall__init(struct wall *w, struct clock *clock, struct metrics *metrics);
/** Reads the system's clocks into the clock; once a turn of the loop. */
void wall__read(struct wall *w);
/** The half of wall__read that needs no system: @clock->mono_ns is set, the system's wall clock
 *  says @system_wall_ns, and the machine has slept @suspended_ns since it was started. */
void wall__apply(struct wall *w, int64_t system_wall_ns, int64_t suspended_ns);
/** A server's time was @server_wall_ns when the monotonic clock said @at_mono_ns. @local: it may
 *  run on this machine. The clock's wall_ns may change with this call. */
void wall__told(struct wall *w, const char *name, int64_t server_wall_ns, int64_t at_mono_ns,
                bool local);
/** @return the time worked with, or what the best evidence says when that is earlier: what is not
 *  over by this is not over. */
int64_t wall__cautious(const struct wall *w);
void wall__status(const struct wall *w, struct wall_status *out);

#endif
