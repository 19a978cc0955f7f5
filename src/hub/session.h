/* One client of the alert stream: the protocol alerts.v1 without a socket.
 *
 * A session reads events from the ring of the alerts room at its own pace: resume is a place in the
 * ring, a snapshot is a row of frames that unfiltered sessions share. What it sends goes through
 * session_io, which a WebSocket, an SSE stream or a test implements. */
#ifndef SOUK_HUB_SESSION_H
#define SOUK_HUB_SESSION_H

#include "../web/frame.h"
#include "souk/hub.h"

#define SESSION_HELLO_NS (5 * NS_PER_S)
#define SESSION_HB_NS (5 * NS_PER_S)
#define SESSION_MESSAGE_MAX 4096
#define SESSION_RATE_PER_S 5.0 /* Unless it is set otherwise. */
#define SESSION_BURST_S 4.0    /* What may come at once, in seconds of the rate. */
#define SESSION_CLASSES_MAX 16
#define SESSION_COMMANDS_MAX 32
#define SNAPSHOT_CHUNK_MAX ((size_t)56 << 10)
#define FRAME_CACHE 64
#define FANOUTS_MAX 256 /* Events on their way whose beginning is known one by one. */

struct session_io {
    /** Queues a frame (taking a reference). @off: the position after it, 0 for none. */
    bool (*send)(void *ctx, struct frame *frame, uint64_t off);
    bool (*has_room)(void *ctx, size_t len);
    bool (*is_stuck)(void *ctx); /* The peer does not read. */
    void (*close)(void *ctx, int code, const char *reason);
};

/** When @n events were appended that are not yet written to all who follow. */
struct fanout {
    int64_t start_ns; /* Of clock__stopwatch_ns(). */
    size_t n;
};

struct principal {
    bool read, write;
    char name[HUB_TOKEN_NAME_MAX + 1];
    uint64_t token; /* Which one it came with, by hub_secret's id; 0: with none. */
};

/** Frames of the whole state at one offset. */
struct snapshot {
    unsigned refs;
    uint64_t off;
    size_t n, cap;
    struct frame **frames; /* snap_begin, snap …, snap_end */
};

/** What all sessions share. */
struct sessions {
    struct alerts *alerts;     /* Borrowed. */
    const struct clock *clock; /* Borrowed. */
    struct session *first;
    size_t n_live;         /* Past hello. */
    double messages_per_s; /* Of each; set before the first joins. */
    uint64_t next_sid;
    struct frame *cache[FRAME_CACHE]; /* Live, unfiltered frames by offset. */
    uint64_t cache_off[FRAME_CACHE];
    struct snapshot *snapshot; /* The last one, unfiltered; NULL for none. */
    struct alerts_listener listener;
    struct fanout fanouts[FANOUTS_MAX]; /* A full table counts the next with its last. */
    size_t n_fanouts;
    /** Redeems a ticket of hello. @return false when it is not good. */
    bool (*redeem)(void *ctx, struct slice ticket, struct principal *out);
    void *ctx;
    struct series *m_clients, *m_resume[2], *m_dropped[6], *m_lag, *m_fanout;
};

enum session_state { SESSION_HELLO, SESSION_SNAPSHOT, SESSION_REPLAY, SESSION_LIVE, SESSION_DONE };

struct session_command;

struct session {
    struct sessions *all;
    struct session *prev, *next;
    const struct session_io *io;
    void *io_ctx;
    enum session_state state;
    struct principal who;
    uint64_t sid;
    enum alert_sev sev_min;
    char (*classes)[64]; /* Owned; NULL for all of them. */
    size_t n_classes;
    uint64_t next_off; /* Of the event to look at next. */
    uint64_t sent;     /* Offset of the last stream frame, or the resume point. */
    uint64_t live_at;  /* Events up to here are replay. */
    struct snapshot *snapshot;
    size_t snapshot_at;
    double tokens;
    unsigned n_over; /* Messages over the rate. */
    int64_t tokens_mono_ns, opened_mono_ns, hb_mono_ns;
    struct session_command *commands; /* Not answered yet. */
    size_t n_commands;
    bool pumping;
};

/** Everything is borrowed. */
void sessions__init(struct sessions *all, struct alerts *alerts, const struct clock *clock,
                    struct metrics *metrics);
void sessions__fini(struct sessions *all);
/** Time-outs and heartbeats; about once a second or more often. */
void sessions__tick(struct sessions *all);
/** All that was queued is with the kernel, but for clients that do not read. */
void sessions__flushed(struct sessions *all);
/** Says bye to everybody. */
void sessions__bye(struct sessions *all, const char *code);

/** Closes those whose token @is_good says no to. @return how many. */
size_t sessions__end(struct sessions *all, bool (*is_good)(const void *ctx, uint64_t token),
                     const void *ctx);

/** A client has connected as @who (who->read false: hello must bring a ticket). */
void session__open(struct session *s, struct sessions *all, const struct principal *who,
                   const struct session_io *io, void *io_ctx);
/** The connection is gone; commands in flight stand. @code: of the close. */
void session__fini(struct session *s, int code);
/** A text message of the client. */
void session__on_text(struct session *s, struct slice text);
/** Starts without hello (SSE), from @epoch and @off if they can be resumed. */
void session__start(struct session *s, struct slice epoch, uint64_t off, bool has_off);
/** Sends what there is room for. */
void session__pump(struct session *s);

#endif
