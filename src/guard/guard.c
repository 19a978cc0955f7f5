/* The rules of the guard. Each condition of each subject (a source's stream, the store, the spool)
 * has a level; raising follows at once, clearing after GUARD_HEALTHY good evaluations.
 *
 * An incident is raised when its level changes and again with a fresh body: each REPEAT_NS at
 * first, then the more seldom the longer it lasts, as each is a record of the log, which must not
 * fill with them while nothing can be stored. The alerts room counts the repeats. */
#include "souk/guard.h"
#include "souk/core/log.h"
#include "souk/core/map.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define REPEAT_NS (5 * NS_PER_S)
#define REPEAT_MAX_NS (300 * NS_PER_S)
#define REPEAT_PART                                                                                \
    60 /* Of the time that it has lasted: what the body says is 2 % old at most.                   \
        */
#define STORE_AMBER_S 5.0
#define STORE_RED_S 60.0
#define SPOOL_AMBER 0.8
#define SPOOL_STUCK_S 10.0
#define CLOCK_AMBER_S 5.0
#define TEXT_MAX 400

enum rule {
    RULE_DRIFT,
    RULE_THROTTLED,
    RULE_DISABLED,
    RULE_REWIND,
    RULE_UNAVAILABLE,
    SOURCE_RULES
};
static const char *const rule_classes[] = {"drift", "throttled", "disabled", "rewind",
                                           "unavailable"};
static const char *const runbooks[] = {"/runbook#drift", "/runbook#throttled", "/runbook#disabled",
                                       "/runbook#rewind", "/runbook#unavailable"};

/** One condition of one subject. */
struct condition {
    enum guard_level level; /* As raised; GREEN: not raised. */
    unsigned n_good;        /* Good evaluations in a row. */
    bool settled; /* Raised or cleared in this run: no incident of an earlier one stands. */
    int64_t since_mono_ns, raised_mono_ns; /* At this level; last raised. */
};

struct subject {
    char name[64], stream[128];
    struct condition rules[SOURCE_RULES];
    enum guard_level level;
    char reason[128];
    bool wanted, counts; /* In the summary: somebody wants it, and it is there to be had. */
    struct group *group;
};

/** The streams of one source: it is as good as its worst. */
struct group {
    char name[64];
    enum guard_level worst;
    struct series *m_fresh[3];
};

struct guard {
    const struct clock *clock;
    struct metrics *metrics;
    struct alerts *alerts;
    struct subject *subjects[GUARD_SOURCES_MAX]; /* Owned. */
    size_t n_subjects;
    struct map by_name; /* Subjects, by name and stream. */
    struct group groups[GUARD_SOURCES_MAX];
    size_t n_groups;
    struct condition store, spool, clock_rule, mistimed, balance;
    unsigned n_unbalanced; /* Evaluations in a row. */
    unsigned n_stuck;      /* The same: a process that was stopped looks stuck, for one. */
    bool damage_stands;    /* An incident of a damaged log that nobody has acknowledged, */
    bool damage_told;      /* and that of this run is among those that were raised. */
    enum guard_level level;
    char summary[256];
    bool unjudged; /* There were more streams that somebody wants than can be judged. */
    struct series *m_level, *m_unjudged;
};

static const char *const level_names[] = {"green", "amber", "red"};
const char *guard_level__name(enum guard_level level) { return level_names[level]; }

int guard__open(struct guard **out, const struct clock *clock, struct metrics *metrics,
                struct alerts *alerts, struct err *e) {
    struct guard *g = calloc(1, sizeof *g);
    *out = g;
    if (g == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    if (map__init(&g->by_name, GUARD_SOURCES_MAX) != 0)
        return err__setf(e, ERR_NOMEM, "out of memory");
    g->clock = clock;
    g->metrics = metrics;
    g->alerts = alerts;
    g->m_level = metrics__gauge(metrics, "souk_guard_level", "0 green, 1 amber, 2 red", "%s", "");
    g->m_unjudged =
        metrics__counter(metrics, "souk_guard_unjudged_total",
                         "Looks at streams that were not judged, as there are too many.", "%s", "");
    snprintf(g->summary, sizeof g->summary, "nothing judged yet");
    return 0;
}

void guard__free(struct guard *g) {
    if (g == NULL) return;
    for (size_t i = 0; i < g->n_subjects; i++) free(g->subjects[i]);
    map__fini(&g->by_name);
    free(g);
}

/* What an alert says; filled by the rules. */
struct finding {
    enum guard_level level;
    bool sure; /* Something good was seen in this run: an incident of an earlier one is over. */
    char title[128], body[TEXT_MAX];
    struct alert_why why;
};

static int64_t repeat_ns(int64_t lasts_ns) {
    int64_t ns = lasts_ns / REPEAT_PART;
    return ns < REPEAT_NS ? REPEAT_NS : ns > REPEAT_MAX_NS ? REPEAT_MAX_NS : ns;
}

static void apply(struct guard *g, struct condition *c, const struct finding *f, const char *class,
                  const char *runbook, const struct alert_label *labels, size_t n_labels) {
    if (f->level == GUARD_GREEN) {
        bool is_over = c->level != GUARD_GREEN || (!c->settled && f->sure);
        if (!is_over || ++c->n_good < GUARD_HEALTHY) return;
        *c = (struct condition){.settled = true};
        alerts__clear(g->alerts, class, labels, n_labels);
        return;
    }
    c->n_good = 0;
    c->settled = true;
    int64_t now_ns = g->clock->mono_ns;
    if (c->level == f->level && now_ns - c->raised_mono_ns < repeat_ns(now_ns - c->since_mono_ns))
        return;
    if (c->level != f->level) c->since_mono_ns = now_ns;
    c->level = f->level;
    c->raised_mono_ns = g->clock->mono_ns;
    struct alert_signal s = {.class = class,
                             .sev = f->level == GUARD_RED ? ALERT_CRITICAL : ALERT_WARNING,
                             .title = f->title,
                             .body = f->body,
                             .labels = labels,
                             .n_labels = n_labels,
                             .why = &f->why,
                             .n_why = f->why.key != NULL,
                             .runbook = runbook,
                             .seen_wall_ns = g->clock->wall_ns};
    alerts__raise(g->alerts, &s);
}

/* A time for people: 12:34:56 UTC. */
static const char *clock_text(int64_t ms, char out[40]) {
    if (ms <= 0) return "the start";
    char iso[40];
    clock__iso(ms * NS_PER_MS, iso, sizeof iso);
    snprintf(out, 40, "%.8s UTC", iso + 11);
    return out;
}

/* By the monotonic clock: what the wall clock says may change at any time. */
static double age_s(const struct guard *g, int64_t since_mono_ns) {
    double s = (double)(g->clock->mono_ns - since_mono_ns) / (double)NS_PER_S;
    return s < 0 ? 0 : s;
}

/* Since when its silence counts. */
static int64_t answered_ns(const struct guard_source *s) {
    return s->last_success_mono_ns > 0 ? s->last_success_mono_ns : s->started_mono_ns;
}

/* Ages at which silence is amber and red. */
static double amber_s(const struct guard_source *s) { return s->amber_s > 0 ? s->amber_s : 20; }
static double red_s(const struct guard_source *s) { return s->red_s > 0 ? s->red_s : 60; }

static double silence_s(const struct guard *g, const struct guard_source *s) {
    return age_s(g, answered_ns(s));
}

static bool is_waiting(const struct guard_source *s) {
    return s->awaits != NULL && s->awaits[0] != '\0';
}

static bool is_halted(const struct guard_source *s) {
    return s->halted != NULL && s->halted[0] != '\0';
}

static bool is_disabled(const struct guard_source *s) {
    return s->disabled_reason != NULL && s->disabled_reason[0] != '\0';
}

/* What follows says nothing where all is well: texts are made for those who read them. */

static void judge_drift(const struct guard *g, const struct guard_source *s, struct finding *f) {
    double age = silence_s(g, s);
    char at[40];
    f->level = s->unavailable     ? GUARD_GREEN /* It did answer, and is left alone for hours. */
               : age > red_s(s)   ? GUARD_RED
               : age > amber_s(s) ? GUARD_AMBER
                                  : GUARD_GREEN;
    if (f->level == GUARD_GREEN) return;
    f->why = (struct alert_why){"lag_s", ">", f->level == GUARD_RED ? red_s(s) : amber_s(s), age};
    snprintf(f->title, sizeof f->title, "No answer from %s %s for %.0f s", s->name, s->stream, age);
    snprintf(
        f->body, sizeof f->body,
        "The last good answer came at %s. %s%s Rows of this source are stale until it answers. %s",
        clock_text(s->last_success_ms, at),
        s->throttled    ? "The upstream has blocked us for a while."
        : is_waiting(s) ? s->awaits
                        : "The endpoint is not blocked by a rate limit.",
        is_waiting(s) && !s->throttled ? "." : "",
        is_disabled(s) ? "It is switched off: another alert says why, and how it goes on."
        : is_halted(s) ? "Somebody stopped it by hand: souk limit resume lets it go on."
        : is_waiting(s)
            ? "A program that takes a permit has to report it, and until then nothing is asked, "
              "for 60 s at most: souk limit show names the endpoint."
            : "Check the network and the upstream's status page; souk keeps trying "
              "at the pace the upstream allows.");
}

static void judge_throttled(const struct guard_source *s, struct finding *f) {
    char until[40];
    f->level = s->throttled ? GUARD_AMBER : GUARD_GREEN;
    if (f->level == GUARD_GREEN) return;
    snprintf(f->title, sizeof f->title, "%s %s is throttled by the upstream", s->name, s->stream);
    snprintf(f->body, sizeof f->body,
             "The upstream answered that we ask too much, and nothing is asked until %s. souk "
             "resumes by itself. If this repeats, look for another program behind the same address "
             "or account, and lower the target rate.",
             s->blocked_until_ms > 0 ? clock_text(s->blocked_until_ms, until)
                                     : "it allows it again");
}

/* It ends when the governor, or the stream, has had a good answer: while nothing is asked, nothing
 * is known to be over. */
static void judge_disabled(const struct guard_source *s, struct finding *f) {
    char at[40];
    f->level = is_disabled(s) ? GUARD_RED : GUARD_GREEN;
    if (f->level == GUARD_GREEN) return;
    snprintf(f->title, sizeof f->title, "%s %s is switched off", s->name, s->stream);
    if (s->again_ms > 0) {
        snprintf(f->body, sizeof f->body,
                 "souk rests because of errors: %.160s. It asks again by itself at %s, once%s%s",
                 s->disabled_reason, clock_text(s->again_ms, at),
                 s->advice == NULL ? ", and " : ". ",
                 s->advice == NULL ? "goes on if that is answered well. If it lasts, look at "
                                     "credentials, rights, and what is asked for."
                                   : s->advice);
        return;
    }
    snprintf(f->body, sizeof f->body,
             "souk stopped asking because of errors that asking again would not cure: %.160s. "
             "Correct the cause (credentials, address, permissions, the cursor), then let it ask "
             "again: souk limit show names the endpoint, souk limit resume opens it.",
             s->disabled_reason);
}

static void judge_rewind(const struct guard_source *s, struct finding *f) {
    char at[40];
    f->level = s->rewound ? GUARD_RED : GUARD_GREEN;
    if (f->level == GUARD_GREEN) return;
    snprintf(f->title, sizeof f->title, "The cursor of %s %s went backwards", s->name, s->stream);
    snprintf(f->body, sizeof f->body,
             "The upstream answered with a cursor behind ours; it last advanced at %s. The source "
             "is frozen so that nothing is read twice. Compare with the upstream's head, then set "
             "the cursor with souk cursor set and a reason.",
             clock_text(s->last_advance_ms, at));
}

static void judge_unavailable(const struct guard_source *s, struct finding *f) {
    bool falls_back = s->unavailable && s->instead != NULL;
    f->level = falls_back ? GUARD_AMBER : GUARD_GREEN;
    if (!falls_back) return;
    snprintf(f->title, sizeof f->title, "%s %s is not available: %s", s->name, s->stream,
             s->instead);
    snprintf(
        f->body, sizeof f->body,
        "The upstream does not give this (%.120s), so its rows are %s until it does. souk asks "
        "again every few hours, and at once with: souk poll %s %s. Check that the configured "
        "address and path are right; if they are, nothing needs to be done.",
        s->why == NULL ? "" : s->why, s->instead, s->name, s->stream);
}

/* The key of a subject: name and stream with a byte between them that is in neither. */
static struct slice key_of(const char *name, const char *stream, char out[256]) {
    int n = snprintf(out, 256, "%.63s\x1f%.127s", name, stream);
    return slice__of(out, (size_t)n);
}

static struct group *get_group(struct guard *g, const char *name) {
    for (size_t i = 0; i < g->n_groups; i++)
        if (strcmp(g->groups[i].name, name) == 0) return &g->groups[i];
    struct group *group = &g->groups[g->n_groups++]; /* No more than there are subjects. */
    char source[128];
    snprintf(group->name, sizeof group->name, "%s", name);
    metric__label(slice__str(group->name), source, sizeof source);
    for (int k = 0; k < 3; k++)
        group->m_fresh[k] = metrics__gauge(g->metrics, "souk_source_freshness",
                                           "1 for the level of a source's worst stream",
                                           "source=\"%s\",level=\"%s\"", source, level_names[k]);
    return group;
}

/* A backfill that has ended, or what somebody has switched off, makes room for what is @wanted. */
static struct subject **find_place(struct guard *g, bool wanted) {
    if (g->n_subjects < GUARD_SOURCES_MAX) return &g->subjects[g->n_subjects];
    for (size_t i = 0; wanted && i < g->n_subjects; i++) {
        char text[256];
        struct subject *u = g->subjects[i];
        if (u->wanted) continue;
        map__remove(&g->by_name, key_of(u->name, u->stream, text));
        free(u);
        return &g->subjects[i];
    }
    return NULL;
}

static struct subject *get_subject(struct guard *g, const struct guard_source *s) {
    char text[256];
    struct slice key = key_of(s->name, s->stream, text);
    struct subject *u = map__get(&g->by_name, key);
    if (u != NULL) return u;
    struct subject **place = find_place(g, s->enabled);
    u = place == NULL ? NULL : calloc(1, sizeof *u);
    if (u == NULL || map__put(&g->by_name, key, u) != 0) {
        free(u);
        return NULL;
    }
    snprintf(u->name, sizeof u->name, "%s", s->name);
    snprintf(u->stream, sizeof u->stream, "%s", s->stream);
    u->group = get_group(g, u->name);
    if (place == &g->subjects[g->n_subjects]) g->n_subjects++;
    return *place = u;
}

static void set_level(struct subject *u, const struct finding *found, const struct guard_source *s,
                      double age) {
    u->level = GUARD_GREEN;
    u->reason[0] = '\0';
    for (int k = 0; k < SOURCE_RULES; k++) {
        /* Recovering ones stay at their level until they are cleared. */
        enum guard_level level =
            found[k].level > u->rules[k].level ? found[k].level : u->rules[k].level;
        /* Switched off is why there is no answer, and says more. */
        bool is_cause = k == RULE_DISABLED && level == u->level && level != GUARD_GREEN;
        if (level <= u->level && !is_cause) continue;
        u->level = level;
        if (k == RULE_DRIFT && found[k].level == GUARD_GREEN)
            snprintf(u->reason, sizeof u->reason, "recovering");
        else if (k == RULE_DRIFT && is_halted(s))
            snprintf(u->reason, sizeof u->reason, "%.120s", s->halted);
        else if (k == RULE_DRIFT)
            snprintf(u->reason, sizeof u->reason, "no answer for %.0f s", age);
        else if (k == RULE_THROTTLED)
            snprintf(u->reason, sizeof u->reason, "throttled by the upstream");
        else if (k == RULE_REWIND)
            snprintf(u->reason, sizeof u->reason, "frozen: the cursor went backwards");
        else if (k == RULE_UNAVAILABLE && found[k].level == GUARD_GREEN)
            snprintf(u->reason, sizeof u->reason, "available again");
        else if (k == RULE_UNAVAILABLE)
            snprintf(u->reason, sizeof u->reason, "not available: %s", s->instead);
        else if (found[k].level == GUARD_GREEN) snprintf(u->reason, sizeof u->reason, "recovering");
        else snprintf(u->reason, sizeof u->reason, "%.120s", s->disabled_reason);
    }
}

static void clear_subject(struct guard *g, struct subject *u) {
    struct alert_label labels[] = {{"source", u->name}, {"stream", u->stream}};
    for (int k = 0; k < SOURCE_RULES; k++) {
        if (u->rules[k].level != GUARD_GREEN) alerts__clear(g->alerts, rule_classes[k], labels, 2);
        u->rules[k] = (struct condition){0};
    }
    u->level = GUARD_GREEN;
    u->reason[0] = '\0';
}

/* When a source that is well has to be judged again although nothing is told of it: when its
 * silence becomes too long. Not by itself while nobody wants it, or its upstream does not give it.
 */
static int64_t due_ns(const struct guard_source *s) {
    if (!s->enabled || s->unavailable) return INT64_MAX;
    return answered_ns(s) + (int64_t)(amber_s(s) * (double)NS_PER_S);
}

int64_t guard__judge(struct guard *g, const struct guard_source *s) {
    struct subject *u = get_subject(g, s);
    if (u == NULL) {
        if (!s->enabled) return INT64_MAX;
        if (!g->unjudged) LOG_WARN("guard", "too many sources to judge", LOG_S("source", s->name));
        g->unjudged = true;
        series__inc(g->m_unjudged);
        return INT64_MAX;
    }
    u->wanted = s->enabled;
    /* What an upstream does not give is no failure, and not fresh either. */
    u->counts = s->enabled && !(s->unavailable && s->instead == NULL);
    if (!s->enabled) {
        clear_subject(g, u);
        return due_ns(s);
    }
    struct alert_label labels[] = {{"source", u->name}, {"stream", u->stream}};
    struct finding found[SOURCE_RULES] = {0};
    bool calm = true;
    for (int k = 0; k < SOURCE_RULES; k++) found[k].sure = s->last_success_mono_ns > 0;
    judge_throttled(s, &found[RULE_THROTTLED]);
    judge_disabled(s, &found[RULE_DISABLED]);
    judge_rewind(s, &found[RULE_REWIND]);
    judge_unavailable(s, &found[RULE_UNAVAILABLE]);
    judge_drift(g, s, &found[RULE_DRIFT]);
    for (int k = 0; k < SOURCE_RULES; k++) {
        struct condition *c = &u->rules[k];
        apply(g, c, &found[k], rule_classes[k], runbooks[k], labels, 2);
        calm &= c->level == GUARD_GREEN && (c->settled || !found[k].sure);
    }
    set_level(u, found, s, silence_s(g, s));
    return calm ? due_ns(s) : g->clock->mono_ns;
}

static void judge_store(struct guard *g, const struct guard_store *s) {
    struct finding f = {0};
    char at[40];
    double age = age_s(g, s->since_mono_ns);
    f.sure = s->connected;
    if (!s->connected && age > STORE_AMBER_S) f.level = age > STORE_RED_S ? GUARD_RED : GUARD_AMBER;
    f.why =
        (struct alert_why){"away_s", ">", f.level == GUARD_RED ? STORE_RED_S : STORE_AMBER_S, age};
    const char *text = s->text == NULL ? "ClickHouse is away" : s->text;
    snprintf(f.title, sizeof f.title, "%.80s, for %.0f s", text, age);
    snprintf(f.body, sizeof f.body,
             "%.80s since %s%s%.120s. Pages are kept on local disk and nothing is "
             "lost while the spool has room; it is sent when ClickHouse takes it. Check that the "
             "server runs, has room, and that its address and password are right.",
             text, clock_text(s->since_ms, at),
             s->last_error != NULL && s->last_error[0] != '\0' ? ": " : "",
             s->last_error != NULL ? s->last_error : "");
    apply(g, &g->store, &f, "store_away", "/runbook#store_away", NULL, 0);
}

static void judge_spool(struct guard *g, const struct guard_spool *s) {
    struct finding f = {0};
    f.sure = true;
    double ratio = s->quota_bytes > 0 ? (double)s->bytes / (double)s->quota_bytes : 0;
    g->n_stuck = s->unsynced_s >= SPOOL_STUCK_S ? g->n_stuck + 1 : 0;
    bool stuck = g->n_stuck >= 2;
    f.level = s->full || s->failed || stuck ? GUARD_RED
              : ratio >= SPOOL_AMBER        ? GUARD_AMBER
                                            : GUARD_GREEN;
    f.why = (struct alert_why){"used_ratio", ">=", s->full ? 1 : SPOOL_AMBER, ratio};
    if (stuck) f.why = (struct alert_why){"unsynced_s", ">=", SPOOL_STUCK_S, s->unsynced_s};
    snprintf(f.title, sizeof f.title,
             s->failed ? "The spool has failed"
             : stuck   ? "The disk has taken nothing for %.0f s"
                       : "The spool is %.0f %% full",
             stuck ? s->unsynced_s : ratio * 100);
    snprintf(f.body, sizeof f.body, "%s",
             s->failed ? "Writing to the local disk failed, so nothing new is fetched: a page that "
                         "is not on disk could be lost. Check the disk and its free space, then "
                         "restart souk."
             : stuck ? "What must be safe before a request leaves cannot be written, so nothing is "
                       "fetched. The disk has no room, not even for a segment of the log, or it "
                       "hangs: make room, or look at the system's log. souk goes on by itself."
             : s->full
                 ? "Its quota is used up, so the sources pause; the upstreams keep the data. "
                   "Bring ClickHouse back, or raise the quota if the disk has room."
                 : "ClickHouse takes less than the sources bring. When the quota is used up the "
                   "sources pause. Check ClickHouse, or raise the quota if the disk has room.");
    apply(g, &g->spool, &f, "spool", "/runbook#spool", NULL, 0);
}

static void judge_clock(struct guard *g, const struct guard_clock *c) {
    double off_s = c->skew_s < 0 ? -c->skew_s : c->skew_s;
    struct finding f = {.sure = c->venue[0] != '\0' || off_s > 0};
    bool wrong = c->corrected || c->disputed || off_s > CLOCK_AMBER_S;
    f.level = wrong ? GUARD_AMBER : GUARD_GREEN;
    f.why = (struct alert_why){"skew_s", ">", CLOCK_AMBER_S, off_s};
    snprintf(f.title, sizeof f.title, "The clock of this machine is %.0f s %s", off_s,
             c->skew_s < 0 ? "ahead" : "behind");
    snprintf(f.body, sizeof f.body, "%s%.60s%s",
             c->corrected
                 ? "Rows carry the time that servers tell, or that ran on when the clock jumped; "
                   "nothing is lost. Said by "
                 : "Rows carry the time of this machine. Said by ",
             c->venue[0] == '\0' ? "the time since the start" : c->venue,
             c->corrected
                 ? ". Mend the clock (run NTP); souk follows it by itself once it is right."
             : c->disputed ? ", which alone proves nothing: one of the two is wrong. Compare both "
                             "with a third clock, and run NTP."
                           : ". Run NTP on this machine.");
    apply(g, &g->clock_rule, &f, "clock", "/runbook#clock", NULL, 0);
}

static void judge_mistimed(struct guard *g, const struct guard_store *s) {
    struct finding f = {.sure = s->connected};
    f.level = s->n_mistimed > 0 ? GUARD_RED : GUARD_GREEN;
    f.why = (struct alert_why){"batches", ">", 0, (double)s->n_mistimed};
    snprintf(f.title, sizeof f.title, "%zu batches are held for the times of their rows",
             s->n_mistimed);
    snprintf(
        f.body, sizeof f.body,
        "%.120s. They stay in the log. Where ClickHouse's clock or a TTL is the cause, they go "
        "by themselves once that is mended. Rows that souk stamped while its own clock was "
        "wrong keep their stamps and wait for that time, or for souk ctl release-rows, which "
        "sends them as they are.",
        s->mistimed == NULL ? "" : s->mistimed);
    apply(g, &g->mistimed, &f, "rows_held", "/runbook#rows_held", NULL, 0);
}

static void judge_balance(struct guard *g, const struct guard_store *s) {
    struct finding f = {.sure = true};
    g->n_unbalanced = s->unbalanced_rows == 0 ? 0 : g->n_unbalanced + 1;
    if (g->n_unbalanced >= GUARD_UNBALANCED) f.level = GUARD_RED;
    f.why = (struct alert_why){"unbalanced_rows", "!=", 0, (double)s->unbalanced_rows};
    snprintf(f.title, sizeof f.title, "%" PRId64 " rows are not accounted for", s->unbalanced_rows);
    snprintf(f.body, sizeof f.body,
             "Rows that were decoded are neither stored nor refused nor held in memory, or there "
             "are too many: a mistake of souk's own. The pages are in the log: souk verify names "
             "what ClickHouse lacks, and a restart decodes again what is not acknowledged. Please "
             "report it with the log of this run.");
    apply(g, &g->balance, &f, "imbalance", "/runbook#imbalance", NULL, 0);
}

/* What was lost does not come back by itself, so nothing good ends this but a person who knows of
 * it. It is found once, by the start that mends the log: later starts know it by its incident. */
static void judge_damage(struct guard *g, const struct guard_spool *s) {
    bool acked, fires = alerts__fires(g->alerts, "log_damaged", NULL, 0, &acked);
    bool is_new = (s->damaged_bytes > 0 || s->n_missing > 0) && !g->damage_told;
    /* Also before another is raised: they have acknowledged what an earlier start had found. */
    if (fires && acked) alerts__clear(g->alerts, "log_damaged", NULL, 0);
    g->damage_stands = is_new || (fires && !acked);
    if (!is_new) return;
    char body[TEXT_MAX];
    struct alert_why why = {"damaged_bytes", ">", 0, (double)s->damaged_bytes};
    snprintf(body, sizeof body,
             "The start found %" PRIu64 " damaged bytes, which it copied to spool/bad, and %" PRIu32
             " segments gone or cut short. Pages in there that ClickHouse did not have yet are "
             "lost: souk verify names what it lacks. Look at the disk and at the system's log. "
             "This stays until somebody acknowledges it.",
             s->damaged_bytes, s->n_missing);
    struct alert_signal signal = {.class = "log_damaged",
                                  .sev = ALERT_CRITICAL,
                                  .title = "The log was damaged, and rows may be lost",
                                  .body = body,
                                  .why = &why,
                                  .n_why = 1,
                                  .runbook = "/runbook#log_damaged",
                                  .seen_wall_ns = g->clock->wall_ns};
    g->damage_told = alerts__raise(g->alerts, &signal) == 0;
}

/* 1234567 as 1,234,567. */
static void print_grouped(double v, char out[40]) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%.0f", v < 0 ? 0 : v > 1e15 ? 1e15 : v), k = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = '\0';
}

static void export_levels(struct guard *g) {
    for (size_t i = 0; i < g->n_groups; i++) g->groups[i].worst = GUARD_GREEN;
    for (size_t i = 0; i < g->n_subjects; i++)
        if (g->subjects[i]->level > g->subjects[i]->group->worst)
            g->subjects[i]->group->worst = g->subjects[i]->level;
    for (size_t i = 0; i < g->n_groups; i++)
        for (int k = 0; k < 3; k++)
            series__set(g->groups[i].m_fresh[k], k == (int)g->groups[i].worst);
}

static void sum_up(struct guard *g, const struct guard_facts *facts) {
    size_t n = 0, n_fresh = 0;
    g->level = g->store.level > g->spool.level ? g->store.level : g->spool.level;
    if (g->mistimed.level > g->level) g->level = g->mistimed.level;
    if (g->clock_rule.level > g->level) g->level = g->clock_rule.level;
    if (g->balance.level > g->level) g->level = g->balance.level;
    if (g->damage_stands) g->level = GUARD_RED;
    if (g->unjudged && g->level == GUARD_GREEN) g->level = GUARD_AMBER; /* Not known is not well. */
    for (size_t i = 0; i < g->n_subjects; i++) {
        const struct subject *u = g->subjects[i];
        if (!u->counts) continue;
        n++;
        n_fresh += u->level == GUARD_GREEN;
        if (u->level > g->level) g->level = u->level;
    }
    char rows[40];
    print_grouped(facts->store.rows_per_s, rows);
    char store[120] = "";
    if (g->store.level != GUARD_GREEN)
        snprintf(store, sizeof store, "; %.80s, pages wait on disk",
                 facts->store.text == NULL || facts->store.connected ? "ClickHouse is away"
                                                                     : facts->store.text);
    const char *spool = facts->spool.failed             ? "; the spool has failed"
                        : g->n_stuck >= 2               ? "; the disk takes nothing"
                        : facts->spool.full             ? "; the spool is full"
                        : g->spool.level != GUARD_GREEN ? "; the spool fills"
                                                        : "";
    const char *balance = g->balance.level != GUARD_GREEN ? "; rows are not accounted for" : "";
    const char *damage = g->damage_stands ? "; the log was damaged" : "";
    int at = snprintf(g->summary, sizeof g->summary, "%zu of %zu stream%s fresh", n_fresh, n,
                      n == 1 ? "" : "s");
    if (store[0] == '\0' && facts->store.rows_per_s >= 0)
        at += snprintf(g->summary + at, sizeof g->summary - (size_t)at, "; %s rows/s stored", rows);
    snprintf(g->summary + at, sizeof g->summary - (size_t)at, "%s%s%s%s%s%s%s", store, spool,
             damage, balance, g->unjudged ? "; there are more than can be judged" : "",
             g->mistimed.level != GUARD_GREEN ? "; rows are held for their times" : "",
             g->clock_rule.level != GUARD_GREEN ? "; the clock is wrong" : "");
    series__set(g->m_level, (double)g->level);
    export_levels(g);
}

void guard__evaluate(struct guard *g, const struct guard_facts *facts) {
    judge_store(g, &facts->store);
    judge_spool(g, &facts->spool);
    judge_damage(g, &facts->spool);
    judge_mistimed(g, &facts->store);
    judge_clock(g, &facts->clock);
    judge_balance(g, &facts->store);
    sum_up(g, facts);
}

enum guard_level guard__source(const struct guard *g, const char *name, const char *stream,
                               const char **reason) {
    char text[256];
    /* The map is searched only; its functions do not know const. */
    const struct subject *u =
        map__get(&((struct guard *)(uintptr_t)g)->by_name, key_of(name, stream, text));
    if (reason != NULL)
        *reason = u != NULL     ? u->reason
                  : g->unjudged ? "not judged: there are too many streams"
                                : "";
    return u != NULL ? u->level : g->unjudged ? GUARD_AMBER : GUARD_GREEN;
}

enum guard_level guard__level(const struct guard *g) { return g->level; }
const char *guard__summary(const struct guard *g) { return g->summary; }
