/* Alerts: incidents and the stream of their changes, the protocol alerts.v1.
 *
 * An incident is one alert from firing to resolved. Its fingerprint is a hash of its class and
 * labels; raising it again while it fires only counts (at most one event in 5 s). Every change of
 * state is an event with the next offset. Events, and the results of commands, go through
 * alerts_options.append first and are published once they are synced, so that offsets which a
 * client has seen survive a crash.
 *
 * When appending fails, or is not answered for ten seconds, alerts still go out: the stream gets a
 * new epoch (clients start again from a snapshot), commands are answered "unavailable", and each
 * tick tries to append the whole state, after which all is durable again. No I/O of its own; the
 * clock is the owner's. One thread. */
#ifndef SOUK_ALERTS_H
#define SOUK_ALERTS_H

#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/metric.h"

#define ALERTS_FIRING_MAX 5000
#define ALERTS_RECENT_MAX 200   /* Resolved and expired ones that alerts__list still shows. */
#define ALERTS_EVENTS_MAX 10000 /* Of the ring; and 24 h. */
#define ALERTS_MUTES_MAX 200
#define ALERTS_FLAGS_MAX 64
#define ALERTS_KEYS_MAX 10000 /* Idempotency keys of one principal; all principals: four times. */
#define ALERT_LABELS_MAX 8
#define ALERT_WHY_MAX 8
#define ALERT_STATS_MAX 8

enum alert_sev { ALERT_INFO, ALERT_WARNING, ALERT_CRITICAL, ALERT_SEVS };
enum alert_status { ALERT_FIRING, ALERT_RESOLVED, ALERT_EXPIRED };

struct alert_label {
    const char *key, *value;
};
/** Why it fires: @value @op @threshold held, e.g. lag_s 34 > 20. */
struct alert_why {
    const char *key, *op;
    double threshold, value;
};
struct alert_stat {
    const char *key;
    double value;
};

/** What a room says is wrong. Everything is borrowed for the call; long texts are cut. */
struct alert_signal {
    const char *class; /* drift, throttled, store_away, …: what mutes and filters name. */
    enum alert_sev sev;
    const char *title;                /* One line, what (127 bytes). */
    const char *body;                 /* What happened, since when, what to do (511 bytes). */
    const struct alert_label *labels; /* Identity. In any order. */
    size_t n_labels;
    const struct alert_why *why;
    size_t n_why;
    const struct alert_stat *stats; /* May be none. */
    size_t n_stats;
    bool stale;           /* The numbers are older than they should be. */
    int64_t ttl_ns;       /* Expires when it is not raised again for that long. 0: never. */
    bool double_confirm;  /* The client asks twice before it acts. */
    const char *reason;   /* Of double_confirm; may be NULL. */
    const char *runbook;  /* Path such as /runbook#drift; may be NULL. */
    int64_t seen_wall_ns; /* When the cause was received, for the latency metric. 0: unknown. */
};

/** One event of the stream. Valid as long as the ring holds it; never across a loop turn. */
struct alert_event {
    uint64_t off;
    int64_t ts_ms;
    bool is_flag;       /* A "flag" frame (also sent to filtered clients); else an "ev" frame. */
    enum alert_sev sev; /* Of an ev. */
    const char *class;  /* "" when a flag concerns no class. */
    struct slice tail; /* JSON that follows the off and prev members: "ts":…,"kind":…,"alert":{…} */
};

/** Told of each event once it may be shown, in order of offset, and of a new epoch, after which
 *  every reader must start from a snapshot. The owner embeds it; it must not free the room. */
struct alerts_listener {
    void *data;
    void (*on_event)(void *data, const struct alert_event *event);
    void (*on_epoch)(void *data);
    struct alerts_listener *next; /* The room's. */
};

/** How the durable log answers: @status 0 when the record is synced, negative when it never will
 *  be. Called once per accepted append, in order; may be called before append returns. */
typedef void (*alerts_synced_cb)(void *data, int status);

struct alerts_options {
    void *ctx; /* For append. */
    /** Appends one record. @json is borrowed for the call. @return 0 (and @synced will be called)
     *  or a negative code (and it will not). NULL: nothing is kept, everything is synced at once.
     */
    int (*append)(void *ctx, struct slice json, alerts_synced_cb synced, void *data);
    uint64_t seed; /* 0: epoch and mute ids are random; else they follow from it, for tests. */
};

/** A command of a client. Borrowed for the call. */
struct alert_command {
    struct slice principal; /* Who: keys are unique for each. At most 63 bytes. */
    struct slice key;       /* Idempotency key, 16 to 64 characters. */
    struct slice op;        /* ack, unack, snooze, unsnooze, mute, unmute, note, log, test */
    struct slice args;      /* A JSON object. */
};
/** The result: the members of a res frame behind "t" and "re", without braces, e.g.
 *  "ok":true,"off":1905,"alert":{…}. @result is borrowed for the call. */
typedef void (*alert_result_cb)(void *data, bool ok, struct slice result);

struct alerts;

/** @clock and @metrics are borrowed. @return 0 or ERR_NOMEM. @out is freed by alerts__free. */
int alerts__open(struct alerts **out, const struct clock *clock, struct metrics *metrics,
                 const struct alerts_options *options, struct err *e);
/** Frees all; callbacks of commands that wait are not called. No append may be outstanding: the
 *  owner ends the log first (which answers every append). Accepts NULL. */
void alerts__free(struct alerts *a);

/** Feeds back one record (of append, or a text of alerts__save), in the order of appending, before
 *  anything is raised. @return 0; ERR_MALFORMED, when nothing has changed; or ERR_NOMEM, when the
 *  room knows a part and should be freed. */
int alerts__restore(struct alerts *a, struct slice json, struct err *e);
/** Writes the whole durable state as one record for alerts__restore: what makes older records
 *  unnecessary. Appends an event for what was only counted so far; includes what is appended but
 *  not yet synced. @out needs 32 MiB at most. */
void alerts__save(struct alerts *a, struct buf *out);

/** The condition holds. Makes the incident, or counts it, or escalates it.
 *  @return 0, or ERR_FULL when ALERTS_FIRING_MAX fire or there is no memory (counted). */
int alerts__raise(struct alerts *a, const struct alert_signal *signal);
/** The condition is over: resolves the incident if it fires. */
void alerts__clear(struct alerts *a, const char *class, const struct alert_label *labels,
                   size_t n_labels);
/** @return whether an incident of @class and @labels fires, and in @acked whether somebody has
 *  acknowledged it. */
bool alerts__fires(const struct alerts *a, const char *class, const struct alert_label *labels,
                   size_t n_labels, bool *acked);
/** Sets or clears a flag such as stale_data for a class ("" for none); repeating does nothing.
 *  @auto_resume_ms: when it will end by itself, as far as known; 0 otherwise. */
void alerts__flag(struct alerts *a, const char *name, const char *class, bool value,
                  int64_t auto_resume_ms);
/** Expires, wakes, unmutes, publishes counted updates, ages the ring. Call about once a second. */
void alerts__tick(struct alerts *a);

/** Runs a command once per key. @cb is called exactly once, possibly before this returns, unless
 *  alerts__forget came first. */
void alerts__command(struct alerts *a, const struct alert_command *command, alert_result_cb cb,
                     void *data);
/** The owner of @data goes away: results for it are not delivered. The commands stand. */
void alerts__forget(struct alerts *a, const void *data);

void alerts__subscribe(struct alerts *a, struct alerts_listener *listener);
void alerts__unsubscribe(struct alerts *a, struct alerts_listener *listener);

/* The stream, as far as it is published. */
const char *alerts__epoch(const struct alerts *a); /* 8 characters. Borrowed. */
uint64_t alerts__top(const struct alerts *a);      /* Offset of the last event; 0 for none. */
uint64_t alerts__oldest(const struct alerts *a);   /* Of the ring; top + 1 when it is empty. */
/** @return the event at @off, or NULL when the ring does not hold it. */
const struct alert_event *alerts__event(const struct alerts *a, uint64_t off);

struct alert_view {
    const char *id, *class;
    enum alert_sev sev;
    enum alert_status status;
    struct slice json; /* The alert object. */
};
/** Calls @fn for each firing alert (and, if @recent, each one that ended lately), as published,
 *  oldest first. @fn must not change the room. */
void alerts__each(const struct alerts *a, bool recent,
                  void (*fn)(void *ctx, const struct alert_view *view), void *ctx);
/** Appends the members "flags":[…],"mutes":[…] of the state as published. */
void alerts__switches(const struct alerts *a, struct buf *out);
/** Appends {"epoch":…,"off":…,"alerts":[…]}. @status: "" for all, firing, resolved, expired. */
void alerts__list(const struct alerts *a, struct slice status, struct buf *out);

struct alerts_summary {
    size_t n_firing, n_by_sev[ALERT_SEVS]; /* Of firing ones. */
    size_t n_unacked_critical;
    char last_title[128]; /* Of the newest incident; "" when there was none. */
    enum alert_sev last_sev;
    int64_t last_ts_ms;
};
void alerts__summary(const struct alerts *a, struct alerts_summary *out);
const char *alert_sev__name(enum alert_sev sev);

#endif
