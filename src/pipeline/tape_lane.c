/* Loading, reading, pausing, saving. What can fail: the snapshot cannot be read (the tape starts
 * empty, and says so once), or not be written (said, counted, tried again at the next time; the log
 * is kept for it); memory within a page, which ends the process: the next one starts from the
 * snapshot. */
#include "tape_lane.h"
#include "../service/app.h"
#include "souk/core/log.h"
#include "souk/listing_row.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAUSE_MAX_NS (30 * NS_PER_S) /* Then what was said is not stored soon: it reads on. */
#define STOP_SAVE_MAX_NS (3 * NS_PER_S)
#define SAVE_BYTES_PER_S 100e6 /* What a slow disk takes. */
#define RECENT_MAX (1u << 20)  /* With a memory of 1 GiB or more; less with less. */

static struct tape_lane *lane_of(const struct app *a) { return &((struct app *)a)->tape; }

static const struct config *config_of(const struct tape_lane *l) {
    return l->app->settings->config;
}

static void init_metrics(struct tape_lane *l) {
    struct metrics *m = &l->app->metrics;
    l->m.items = metrics__gauge(m, "souk_tape_items", "Items that the tape remembers.", "");
    l->m.stashes = metrics__gauge(m, "souk_tape_stashes", "Stashes that the tape remembers.", "");
    l->m.bytes = metrics__gauge(m, "souk_tape_bytes", "Memory of the tape.", "");
    l->m.lag = metrics__gauge(m, "souk_tape_lag_seconds",
                              "Age of the record that the tape reads next; 0: none waits.", "");
    for (int i = 0; i < TAPE_KINDS; i++)
        l->m.events[i] = metrics__counter(m, "souk_tape_events_total", "Listing events by kind.",
                                          "kind=\"%s\"", listing__kind((enum tape_kind)i));
    l->m.forgotten = metrics__counter(m, "souk_tape_forgotten_total",
                                      "Items forgotten at the bound of memory.", "");
    l->m.held = metrics__counter(m, "souk_tape_held_items_total",
                                 "Items kept as they were, as a page did not say what became of "
                                 "them.",
                                 "");
    l->m.partial =
        metrics__counter(m, "souk_tape_partial_versions_total",
                         "Versions of stashes that did not say everything that they hold.", "");
    l->m.lost = metrics__counter(m, "souk_tape_lost_pages_total",
                                 "Times that pages of a stream were lost or skipped: what went "
                                 "meanwhile counts as no sale.",
                                 "");
    l->m.leagues =
        metrics__gauge(m, "souk_tape_leagues", "Leagues that the stashes of the tape are in.", "");
    l->m.forgotten_leagues = metrics__counter(m, "souk_tape_forgotten_leagues_total",
                                              "Leagues forgotten, with their stashes, to make "
                                              "room for new ones.",
                                              "");
    l->m.unnamed = metrics__counter(m, "souk_tape_unnamed_total",
                                    "Currencies that nobody knows and leagues too long to be "
                                    "names: left out.",
                                    "");
    l->m.crowded = metrics__counter(m, "souk_tape_crowded_total",
                                    "Versions whose seller has more items or stashes than are "
                                    "compared: nothing of theirs is told to be listed again.",
                                    "");
    l->m.refused = metrics__counter(m, "souk_tape_refused_stashes_total",
                                    "Stashes that the tape cannot follow: they break a rule, or "
                                    "are beyond the bound of a page or of a stash.",
                                    "");
    l->m.undecodable = metrics__counter(m, "souk_tape_pages_undecodable_total",
                                        "Pages that the tape had to leave out.", "");
    l->m.snapshot = metrics__gauge(m, "souk_tape_snapshot_timestamp_seconds",
                                   "When the last snapshot was written, since 1970; 0: never.", "");
    l->m.failures = metrics__counter(m, "souk_tape_snapshot_failures_total",
                                     "Snapshots that could not be written or read.", "");
}

static void add_new(struct series *counter, uint64_t n, uint64_t *n_told) {
    series__add(counter, (double)(n - *n_told));
    *n_told = n;
}

/* After a job: what it left may be looked at. */
static void note_status(struct tape_lane *l) {
    tape__status(l->tape, &l->status);
    for (int i = 0; i < TAPE_KINDS; i++) {
        series__add(l->m.events[i], (double)(l->records.n_told[i] - l->n_told[i]));
        l->n_told[i] = l->records.n_told[i];
    }
    series__add(l->m.forgotten, (double)(l->status.n_forgotten_items - l->n_forgotten_told));
    l->n_forgotten_told = l->status.n_forgotten_items;
    add_new(l->m.held, l->status.n_held, &l->n_held_told);
    add_new(l->m.partial, l->status.n_partial, &l->n_partial_told);
    add_new(l->m.lost, l->status.n_lost, &l->n_lost_told);
    add_new(l->m.crowded, l->status.n_crowded, &l->n_crowded_told);
    add_new(l->m.forgotten_leagues, l->status.n_forgotten_leagues, &l->n_forgotten_leagues_told);
    add_new(l->m.refused, l->records.count.n_refused_stashes, &l->n_refused_told);
    add_new(l->m.unnamed, l->status.n_unnamed, &l->n_unnamed_told);
    series__add(l->m.undecodable, (double)(l->records.n_undecodable - l->n_undecodable_told));
    l->n_undecodable_told = l->records.n_undecodable;
}

static void note_snapshot(struct tape_lane *l, int64_t wall_ns) {
    l->snapshot_wall_ns = wall_ns;
    series__set(l->m.snapshot, (double)wall_ns / (double)NS_PER_S);
}

/* The log is kept from there on. */
static void set_mark(struct tape_lane *l, struct tape_mark mark) {
    l->mark = mark;
    spool__keep(l->app->spool, mark.lsn);
}

/* Finding the snapshot. */

static void set_path(struct app *a) {
    snprintf(a->tape.path, sizeof a->tape.path, "%.400s/tape.%.16s.snapshot",
             a->settings->config->state_dir, spool__store_id(a->spool));
}

/* Those of logs that are gone: nobody can go on from them. */
static void remove_others(const struct app *a) {
    const char *own = strrchr(a->tape.path, '/') + 1;
    DIR *dir = opendir(a->settings->config->state_dir);
    char path[1024];
    if (dir == NULL) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *end = strstr(entry->d_name, ".snapshot");
        if (strncmp(entry->d_name, "tape.", 5) != 0 || end == NULL ||
            strcmp(entry->d_name, own) == 0)
            continue;
        snprintf(path, sizeof path, "%.400s/%.500s", a->settings->config->state_dir, entry->d_name);
        if (unlink(path) == 0)
            LOG_INFO("tape", "snapshot of another log is removed", LOG_S("path", path));
    }
    closedir(dir);
}

bool tape_lane__find(struct app *a, uint64_t *lsn) {
    struct spool_status st;
    struct err e = {0};
    if (!a->settings->config->tape.enabled) return false;
    set_path(a);
    remove_others(a);
    spool__status(a->spool, &st);
    if (tape__peek(a->tape.path, lsn, &e) != 0) return false;
    return *lsn >= st.first_lsn && *lsn <= st.synced_lsn;
}

/* Reading. */

static void end_if_broken(const struct tape_lane *l) {
    if (!l->records.broken) return;
    LOG_ERROR("tape", "no memory for a page; ending", LOG_I("lsn", decoder__at(l->decoder)));
    _exit(1); /* The log has it, and the next start begins at the snapshot. */
}

/* Asked between two jobs only. One that broke with its first record hands nothing on. */
static bool has_room(void *ctx) {
    struct tape_lane *l = ctx;
    end_if_broken(l);
    return l->state == TAPE_READING && store__has_room(l->app->store, FEED_TAPE);
}

static int make_rows(void *ctx, const struct spool_record *rec, const struct followed *followed,
                     struct buf *body, struct rows *rows) {
    struct tape_lane *l = ctx;
    return tape_records__take(&l->records, rec, followed, body, rows);
}

static void take_rows(void *ctx, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                      const struct request_facts *facts, struct rows *rows) {
    struct tape_lane *l = ctx;
    (void)facts;
    end_if_broken(l);
    app__take_rows(l->app, FEED_TAPE, lsn, next_lsn, wall_ns, NULL, rows);
    if (lsn == next_lsn) note_status(l); /* The last of a job. */
}

static int set_followed(struct tape_lane *l, const char *text) {
    char *copy = strdup(text);
    if (copy == NULL) return ERR_NOMEM;
    free(l->followed);
    l->followed = copy;
    return 0;
}

static void start_reading(struct tape_lane *l, uint64_t from_lsn) {
    struct app *a = l->app;
    struct err e = {0};
    struct decoder_deps deps = {.loop = &a->loop,
                                .clock = &a->clock,
                                .metrics = &a->metrics,
                                .spool = a->spool,
                                .ctx = l,
                                .has_room = has_room,
                                .take = take_rows,
                                .make = make_rows};
    if (decoder__open(&l->decoder, &deps, from_lsn, 0, l->followed, &e) != 0) {
        LOG_ERROR("tape", "cannot read the log; ending", LOG_E(&e));
        _exit(1);
    }
    store__open_feed(a->store, FEED_TAPE, from_lsn);
    l->state = TAPE_READING;
    l->tried_mono_ns = a->clock.mono_ns;
    note_status(l);
    LOG_INFO("tape", "reads", LOG_I("from_lsn", from_lsn), LOG_I("items", l->status.n_items),
             LOG_I("stashes", l->status.n_stashes));
    decoder__wake(l->decoder);
}

/* Without a snapshot. */
static struct tape_mark empty_mark(const struct tape_lane *l) {
    const struct tape_start *s = &l->start;
    if (s->mark.origin == TAPE_ORIGIN_EMPTY) return s->mark; /* As before the crash. */
    return (struct tape_mark){
        .origin = TAPE_ORIGIN_EMPTY, .lsn = s->low_water_lsn, .tell_from_lsn = s->behind_seals_lsn};
}

static void finish_close(struct tape_lane *l);
static void close_decoder(struct tape_lane *l);

static void free_start(struct tape_lane *l) {
    free((char *)l->start.followed);
    free((char *)l->start.snapshot_followed);
    l->start = (struct tape_start){0};
}

static void on_load(uv_work_t *work) {
    struct tape_lane *l = work->data;
    int64_t since_ns = clock__stopwatch_ns();
    struct stat st;
    l->work_status = tape__load(l->tape, l->path, &l->work_lsn, &l->work_err);
    l->work_wall_ns = stat(l->path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * NS_PER_S : 0;
    l->work_ns = clock__stopwatch_ns() - since_ns;
}

static void start_empty(struct tape_lane *l, const char *why) {
    struct tape_mark mark = empty_mark(l);
    bool lost = l->start.mark.origin == TAPE_ORIGIN_SNAPSHOT;
    if (lost) {
        series__inc(l->m.failures);
        LOG_WARN("tape",
                 "the snapshot is lost: what is seen first counts as listed; batches of listing "
                 "events that were sealed and not acknowledged cannot be made again",
                 LOG_S("err", why), LOG_I("from_lsn", mark.lsn),
                 LOG_I("tells_from_lsn", mark.tell_from_lsn));
    } else if (mark.lsn > 0) {
        LOG_INFO("tape", "starts without a snapshot", LOG_I("from_lsn", mark.lsn));
    }
    set_mark(l, mark);
    l->records.tell_from_lsn = mark.tell_from_lsn;
    /* In front of the first seal: whoever meets that knows from where its rows were made. */
    l->app->checkpointed_end = 0;
    app__checkpoint(l->app);
    start_reading(l, mark.lsn);
}

static void on_loaded(uv_work_t *work, int status) {
    struct tape_lane *l = work->data;
    (void)status;
    l->state = TAPE_OFF;
    if (l->close_cb != NULL) {
        free_start(l);
        finish_close(l);
        return;
    }
    if (l->work_status == 0) {
        char *followed = (char *)l->start.snapshot_followed;
        free(l->followed);
        l->followed = followed;
        l->start.snapshot_followed = NULL;
        set_mark(l, (struct tape_mark){.origin = TAPE_ORIGIN_SNAPSHOT, .lsn = l->work_lsn});
        note_snapshot(l, l->work_wall_ns);
        LOG_INFO("tape", "snapshot is read",
                 LOG_F("seconds", (double)l->work_ns / (double)NS_PER_S));
        start_reading(l, l->work_lsn);
    } else {
        start_empty(l, l->work_err.msg);
    }
    free_start(l);
}

int tape_lane__open(struct app *a, const struct tape_start *start, struct err *e) {
    struct tape_lane *l = &a->tape;
    const struct config *c = a->settings->config;
    uint64_t lsn;
    l->app = a;
    if (!c->tape.enabled) return 0;
    uint32_t recent_max = RECENT_MAX;
    while (recent_max > 1024 && (int64_t)(recent_max >> 10) > c->tape.memory_mib) recent_max /= 2;
    const struct tape_options options = {.memory_max = (size_t)c->tape.memory_mib << 20,
                                         .recent_max = recent_max,
                                         .markets_max = recent_max / 16};
    l->start = *start;
    l->start.followed = strdup(start->followed);
    l->start.snapshot_followed = strdup(start->snapshot_followed);
    if (l->start.followed == NULL || l->start.snapshot_followed == NULL ||
        set_followed(l, start->followed) != 0 || tape__new(&l->tape, &options) != 0) {
        free_start(l);
        return err__setf(e, ERR_NOMEM, "tape: out of memory");
    }
    init_metrics(l);
    l->records = (struct tape_records){.tape = l->tape};
    /* While it loads, a checkpoint keeps what either outcome needs. */
    struct tape_mark mark = start->mark;
    if (mark.origin != TAPE_ORIGIN_EMPTY) mark.lsn = start->low_water_lsn;
    if (!tape_lane__find(a, &lsn)) {
        start_empty(l, "there is none that this log can go on from");
        free_start(l);
        return 0;
    }
    if (lsn < mark.lsn) {
        mark.lsn = lsn;
        if (set_followed(l, start->snapshot_followed) != 0)
            return err__setf(e, ERR_NOMEM, "tape: out of memory");
    }
    set_mark(l, mark);
    l->state = TAPE_LOADING;
    l->work.data = l;
    int code = uv_queue_work(&a->loop, &l->work, on_load, on_loaded);
    return code == 0 ? 0 : err__setf(e, code, "tape: %s", uv_strerror(code));
}

void tape_lane__wake(struct app *a) {
    if (a->tape.decoder != NULL && a->tape.close_cb == NULL) decoder__wake(a->tape.decoder);
}

/* Saving. */

static void on_save(uv_work_t *work) {
    struct tape_lane *l = work->data;
    int64_t since_ns = clock__stopwatch_ns();
    l->work_status = tape__save(l->tape, l->path, l->work_lsn, &l->work_err);
    l->work_ns = clock__stopwatch_ns() - since_ns;
}

static void on_saved(uv_work_t *work, int status) {
    struct tape_lane *l = work->data;
    (void)status;
    l->state = TAPE_READING;
    l->stopped_saving = l->stopping;
    if (l->work_status == 0) {
        l->save_ns = l->work_ns;
        l->saved_versions = l->status.n_versions;
        note_snapshot(l, l->app->clock.wall_ns);
        if (set_followed(l, decoder__followed_at(l->decoder, l->work_lsn)) == 0)
            set_mark(l, (struct tape_mark){.origin = TAPE_ORIGIN_SNAPSHOT, .lsn = l->work_lsn});
        LOG_INFO("tape", "snapshot is written", LOG_I("lsn", l->work_lsn),
                 LOG_I("items", l->status.n_items),
                 LOG_F("seconds", (double)l->save_ns / (double)NS_PER_S));
    } else {
        series__inc(l->m.failures);
        LOG_WARN("tape", "no snapshot", LOG_E(&l->work_err));
    }
    if (l->close_cb != NULL) close_decoder(l);
    else decoder__wake(l->decoder);
}

/* @return true when everything that the tape said so far is stored, and it says nothing more. */
static bool is_settled(const struct tape_lane *l) {
    if (decoder__works(l->decoder)) return false;
    end_if_broken(l); /* No snapshot of half a page. */
    return store__feed_low_water(l->app->store, FEED_TAPE) >= decoder__at(l->decoder);
}

static void save(struct tape_lane *l) {
    l->tried_mono_ns = l->app->clock.mono_ns;
    l->work_lsn = decoder__at(l->decoder);
    l->work.data = l;
    l->state = TAPE_SAVING;
    if (uv_queue_work(&l->app->loop, &l->work, on_save, on_saved) != 0) l->state = TAPE_READING;
}

/* There is something new, and it may be kept: below tell_from_lsn the memory alone is new. Without
 * a new version the log from the last mark on says the same, as long as it is not much. */
static bool is_worth_saving(const struct tape_lane *l) {
    struct spool_status spool;
    uint64_t at = decoder__at(l->decoder);
    spool__status(l->app->spool, &spool);
    bool news = l->status.n_versions != l->saved_versions ||
                spool.end_lsn - l->mark.lsn > spool.quota_bytes / 8;
    return news && at >= l->records.tell_from_lsn &&
           (l->mark.origin != TAPE_ORIGIN_SNAPSHOT || at > l->mark.lsn);
}

static void consider_snapshot(struct tape_lane *l) {
    struct app *a = l->app;
    int64_t every_ns = (int64_t)(config_of(l)->tape.snapshot_minutes * 60 * (double)NS_PER_S);
    struct store_status store;
    struct spool_status spool;
    spool__status(a->spool, &spool);
    /* Sooner when the log that is kept for it takes much of the quota. */
    if (spool.end_lsn - l->mark.lsn > spool.quota_bytes / 4 && every_ns > 30 * NS_PER_S)
        every_ns = 30 * NS_PER_S;
    if (l->state == TAPE_PAUSED) {
        if (is_settled(l)) save(l);
        else if (a->clock.mono_ns - l->tried_mono_ns > PAUSE_MAX_NS) {
            l->state = TAPE_READING; /* From now on, or it would pause again in a second. */
            l->tried_mono_ns = a->clock.mono_ns;
        }
        return;
    }
    if (l->state != TAPE_READING || a->clock.mono_ns - l->tried_mono_ns < every_ns ||
        !is_worth_saving(l))
        return;
    store__status(a->store, &store);
    if (!store.answers) return; /* What was said waits for ClickHouse. */
    l->state = TAPE_PAUSED;
    l->tried_mono_ns = a->clock.mono_ns;
}

void tape_lane__second(struct app *a) {
    struct tape_lane *l = &a->tape;
    if (l->decoder == NULL || l->close_cb != NULL) return;
    if (!a->draining) consider_snapshot(l);
    tape_lane__wake(a);
    series__set(l->m.items, (double)l->status.n_items);
    series__set(l->m.stashes, (double)l->status.n_stashes);
    series__set(l->m.leagues, (double)l->status.n_leagues);
    series__set(l->m.bytes, (double)l->status.bytes);
    series__set(l->m.lag, (double)decoder__lag_ns(l->decoder) / (double)NS_PER_S);
}

bool tape_lane__stop(struct app *a) {
    struct tape_lane *l = &a->tape;
    if (l->state == TAPE_SAVING) return true;
    if (l->decoder == NULL || l->stopped_saving) return false;
    l->stopping = true;
    double takes_s = (double)l->status.bytes / SAVE_BYTES_PER_S;
    if (l->save_ns > 0) takes_s = (double)l->save_ns / (double)NS_PER_S;
    if (takes_s * (double)NS_PER_S > (double)STOP_SAVE_MAX_NS || !is_worth_saving(l)) return false;
    l->state = TAPE_PAUSED;
    if (decoder__works(l->decoder)) return true; /* It hands over soon, and reads no more. */
    if (!is_settled(l)) return false;
    save(l);
    return l->state == TAPE_SAVING;
}

/* For others. */

struct tape_mark tape_lane__mark(const struct app *a, const char **followed) {
    const struct tape_lane *l = &a->tape;
    *followed = l->followed == NULL ? "" : l->followed;
    return l->mark;
}

bool tape_lane__busy(const struct app *a) {
    const struct tape_lane *l = &a->tape;
    if (l->state == TAPE_LOADING) return true;
    return l->decoder != NULL &&
           (decoder__works(l->decoder) || (decoder__busy(l->decoder) && has_room(lane_of(a))));
}

void tape_lane__status_json(const struct app *a, struct buf *out) {
    static const char *const states[] = {[TAPE_OFF] = "off",
                                         [TAPE_LOADING] = "loading",
                                         [TAPE_READING] = "reading",
                                         [TAPE_PAUSED] = "pausing",
                                         [TAPE_SAVING] = "saving"};
    const struct tape_lane *l = &a->tape;
    uint64_t n_events = 0;
    double lag_s = l->decoder == NULL ? 0 : (double)decoder__lag_ns(l->decoder) / (double)NS_PER_S;
    for (int i = 0; i < TAPE_KINDS; i++) n_events += l->n_told[i];
    buf__printf(
        out,
        "{\"state\":\"%s\",\"read_lsn\":%llu,\"items\":%llu,\"stashes\":%llu,\"bytes\":%llu,"
        "\"memory_max\":%llu,\"events\":%llu,\"lag_s\":%.3f,\"snapshot_ms\":%lld,"
        "\"snapshot_took_ms\":%lld,\"snapshot_failures\":%.0f,\"forgotten\":%llu,"
        "\"untracked\":%llu,\"undecodable\":%llu,\"held\":%llu,\"partial\":%llu,\"lost\":%llu}",
        states[l->state], (unsigned long long)(l->decoder == NULL ? 0 : decoder__at(l->decoder)),
        (unsigned long long)l->status.n_items, (unsigned long long)l->status.n_stashes,
        (unsigned long long)l->status.bytes, (unsigned long long)l->status.memory_max,
        (unsigned long long)n_events, lag_s, (long long)(l->snapshot_wall_ns / NS_PER_MS),
        (long long)(l->save_ns / NS_PER_MS), l->m.failures == NULL ? 0 : l->m.failures->value,
        (unsigned long long)l->status.n_forgotten_items, (unsigned long long)l->status.n_untracked,
        (unsigned long long)l->n_undecodable_told, (unsigned long long)l->status.n_held,
        (unsigned long long)l->status.n_partial, (unsigned long long)l->status.n_lost);
}

/* Closing. */

static void finish_close(struct tape_lane *l) {
    void (*cb)(void *) = l->close_cb;
    tape__free(l->tape);
    free(l->followed);
    l->tape = NULL;
    l->followed = NULL;
    l->decoder = NULL;
    cb(l->app);
}

static void on_decoder_closed(void *data) { finish_close(data); }

static void close_decoder(struct tape_lane *l) {
    if (l->decoder == NULL) finish_close(l);
    else decoder__close(l->decoder, on_decoder_closed, l);
}

void tape_lane__close(struct app *a, void (*cb)(void *data)) {
    struct tape_lane *l = &a->tape;
    l->app = a;
    l->close_cb = cb;
    if (l->state == TAPE_LOADING || l->state == TAPE_SAVING) return; /* Its job ends first. */
    close_decoder(l);
}
