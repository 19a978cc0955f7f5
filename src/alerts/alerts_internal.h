/* What the files of the alerts room share. Nobody else includes it. */
#ifndef SOUK_ALERTS_INTERNAL_H
#define SOUK_ALERTS_INTERNAL_H

#include "souk/alerts.h"
#include "souk/core/log.h"
#include "souk/core/map.h"
#include <yyjson.h>

#define UPDATE_GAP_MS 5000
#define DAY_MS INT64_C(86400000)
#define ALERT_JSON_MAX ((size_t)48 << 10) /* Twice the worst case. */
#define RECORD_MAX ((size_t)32 << 20)
#define KEYS_TOTAL_MAX (4 * (size_t)ALERTS_KEYS_MAX)
#define PRINCIPALS_MAX 64

enum alert_kind {
    KIND_CREATED,
    KIND_UPDATED,
    KIND_ESCALATED,
    KIND_ACKED,
    KIND_UNACKED,
    KIND_SNOOZED,
    KIND_WOKE,
    KIND_MUTED,
    KIND_UNMUTED,
    KIND_RESOLVED,
    KIND_EXPIRED,
    KINDS,
};

struct label {
    char key[32], value[96];
};

/** One alert from firing to its end. */
struct incident {
    struct incident *prev, *next; /* In firing or recent, oldest first. */
    unsigned n_pending;           /* Events that are not published yet and point here. */
    char id[32], fp[24], class[64];
    enum alert_sev sev;
    enum alert_status status;
    uint64_t ver, count;
    char title[128], body[512];
    struct label labels[ALERT_LABELS_MAX]; /* Sorted by key. */
    size_t n_labels;
    struct {
        char key[32], op[4];
        double threshold, value;
    } why[ALERT_WHY_MAX];
    size_t n_why;
    struct {
        char key[32];
        double value;
    } stats[ALERT_STATS_MAX];
    size_t n_stats;
    bool stale, double_confirm;
    char reason[96], runbook[96];
    int64_t first_ms, last_ms, ttl_ms; /* ttl_ms 0: never expires. */
    bool acked;
    char ack_by[64], ack_note[256];
    int64_t ack_ms;
    int64_t snooze_until_ms; /* 0: not snoozed. */
    char snooze_by[64];
    char note[256], note_by[64];
    int64_t note_ms;
    int64_t event_ms;         /* Of its last event. */
    enum alert_sev event_sev; /* As that said. */
    bool counted;             /* Was raised again since. */
    int untold;               /* Kind of an event that found no memory, plus 1; 0: none. */
    /* As published: what snapshots show. */
    char *json; /* Owned; NULL before the first event is out. */
    size_t json_len;
    enum alert_sev json_sev;
    enum alert_status json_status;
};

struct mute {
    struct mute *next;
    char id[32], class[64]; /* "" or *: any. */
    struct label labels[ALERT_LABELS_MAX];
    size_t n_labels;
    int64_t until_ms, made_ms; /* until_ms 0: for ever. */
    char reason[128], by[64];
};

struct flag {
    char name[32], class[64];
    int64_t auto_resume_ms;
};

/** An event from when it happens until the ring forgets it. */
struct event {
    struct alert_event pub; /* Its tail points into text. */
    struct event *next;
    struct incident *incident; /* NULL for flags, and once published. */
    enum alert_sev sev;        /* As the alert object says. */
    enum alert_status status;
    char class[64];
    size_t alert_at, alert_len; /* The alert object in text. */
    char *json; /* Owned: a copy of it, which its incident gets when it is published. */
    char text[];
};

struct waiter {
    struct waiter *next;
    alert_result_cb cb; /* NULL once forgotten. */
    void *data;
    bool dup;
};

enum key_state { KEY_PENDING, KEY_DURABLE, KEY_FAILED };

/** An idempotency key and what came of it. */
struct key_entry {
    struct key_entry *prev, *next; /* Oldest first. */
    char name[64 + 1 + 64 + 1];    /* Principal, a zero, key. */
    size_t name_len, principal_len;
    uint64_t hash; /* Of op and args. */
    enum key_state state;
    uint64_t off;
    char alert[32], mute[32];
    int64_t at_ms;
    struct waiter *waiters;
};

/** What one append carries: events, a command's key, or the whole state. */
struct record {
    struct record *next;
    struct alerts *alerts;
    struct event *first, **last;
    size_t n_events;
    struct key_entry *key; /* NULL: no command. */
    bool done, heals;
    unsigned n_ticks; /* As the first in line: a process that was stopped has not waited. */
    bool abandoned;   /* It was told of without the log, which has yet to answer; then it goes. */
    bool lost;        /* There was no memory for a record: it takes nothing. */
    bool short_of;    /* An event found no memory: the log must not say that this is all. */
    int status;
    int64_t seen_wall_ns;
};

struct incident_list {
    struct incident *first, *last;
    size_t n;
};

struct alerts {
    const struct clock *clock;
    struct alerts_options options;
    char epoch[9];
    uint64_t rng;
    uint64_t off;         /* Of the last event that happened. */
    uint64_t top, oldest; /* Published; of the ring. */
    struct event **ring;  /* ALERTS_EVENTS_MAX; an event sits at its offset modulo that. */
    struct incident_list firing, recent;
    struct map by_fp, by_id; /* Firing; firing and recent. */
    struct mute *mutes;
    size_t n_mutes;
    struct flag flags[ALERTS_FLAGS_MAX];
    size_t n_flags;
    struct map keys;
    struct key_entry *key_first, *key_last;
    size_t n_keys;
    struct {
        char name[64];
        size_t n_keys;
    } principals[PRINCIPALS_MAX];
    struct record *pending, **pending_at;
    struct record lost;     /* Stands in where there is no memory for a record. */
    size_t n_untold;        /* Incidents with an event that is still to be told. */
    bool restore_no_memory; /* Since alerts__restore began. */
    bool draining;          /* drain() is on the stack. */
    bool broken;            /* Appends fail; see alerts.h. */
    size_t n_abandoned;     /* Records that the log has yet to answer. */
    struct alerts_listener *listeners;
    struct series *m_alerts[ALERT_SEVS][4], *m_events[KINDS], *m_e2e, *m_mutes, *m_refused,
        *m_broken, *m_keys;
    struct metrics *metrics;
};

static inline int64_t now_ms(const struct alerts *a) { return a->clock->wall_ns / NS_PER_MS; }

/* Copies text into a fixed field: cut at a whole UTF-8 character. */
void set_text(char *out, size_t size, struct slice text);
#define SET_TEXT(field, text) set_text((field), sizeof(field), (text))

/* render.c */
const char *alert_kind__name(enum alert_kind kind);
void render_alert(const struct alerts *a, const struct incident *i, struct buf *out);
void render_mute(const struct mute *m, struct buf *out);
void render_flag(const struct flag *f, struct buf *out);
bool mute__matches(const struct mute *m, const struct incident *i);

/* records.c: events on their way to the log and to listeners.
 *
 * Without memory nothing is lost but time: an event that cannot be made is noted in its incident
 * and told by a later tick, and a flag that cannot be told is not changed. */
void record__begin(struct alerts *a, struct record **out);
/** Adds an event about @i, whose ver grows; without memory it is told later. */
void record__event(struct record *r, struct incident *i, enum alert_kind kind);
/** Adds a flag event; @extra: further members with a leading comma, or "". @return false when there
 *  was no memory: the caller must not change the flag then. */
bool record__flag(struct record *r, const char *name, bool value, const char *class,
                  int64_t auto_resume_ms, struct slice extra);
/** Appends @r, or drops it when it holds nothing. Frees it once it is published. */
void record__commit(struct record *r);
/** Tells what found no memory before. */
void tell_untold(struct alerts *a, struct record *r);
void publish_event(struct alerts *a, struct event *e);
void free_event(struct event *e);
void clear_ring(struct alerts *a);
void new_epoch(struct alerts *a);
void heal(struct alerts *a);
/** What has waited too long for the log is told of without it. */
void abandon_pending(struct alerts *a);

/* incidents.c */
struct incident *incident__add(struct alerts *a, struct incident *from);
void incident__end(struct alerts *a, struct incident *i, enum alert_status status);
void incident__trim(struct alerts *a);
void incident__free(struct incident *i);
/** @return false without memory: the rule stands. */
bool unmute(struct alerts *a, struct record *r, struct mute **at);
void count_gauges(struct alerts *a);

/* commands.c */
struct key_entry *key__add(struct alerts *a, struct slice principal, struct slice key);
void key__remove(struct alerts *a, struct key_entry *k);
void key__age(struct alerts *a);
void key__settle(struct alerts *a, struct key_entry *k, int status);

/* persist.c */
void render_key(const struct key_entry *k, struct buf *out);
bool read_match(yyjson_val *match, struct mute *m);

#endif
