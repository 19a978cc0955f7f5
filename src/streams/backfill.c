#include "backfill.h"
#include "../hub/call.h"
#include "../service/app.h"
#include "souk/core/log.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum backfill_state { BACKFILL_RUNS, BACKFILL_STOPPED, BACKFILL_DONE, BACKFILL_TOO_OLD };
/* What they are called once the poller has ended: one that was not told to is stopped. */
static const char *const ended_words[] = {[BACKFILL_RUNS] = "stopped",
                                          [BACKFILL_STOPPED] = "stopped",
                                          [BACKFILL_DONE] = "done",
                                          [BACKFILL_TOO_OLD] = "too_old"};

struct backfill {
    struct app_stream stream; /* Its poller is NULL once it has ended. */
    char from[CURSOR_MAX], until[CURSOR_MAX];
    char start[CURSOR_MAX]; /* Where this run began: from, or where an earlier one ended. */
    char cursor[CURSOR_MAX], error[ERR_MSG_MAX]; /* Of the end. */
    double budget;
    enum backfill_state state;
    int64_t started_wall_ns, started_mono_ns, ended_mono_ns;
    struct poller_counts counts; /* Of the end. */
    /* What was decoded. */
    uint64_t pages_before; /* Of earlier runs. */
    uint64_t pages, entries, rows, bytes, gaps, hash, first_lsn, last_lsn;
    int64_t first_wall_ns, last_wall_ns;
    char decoded_to[CURSOR_MAX];
};

struct backfills {
    struct backfill *slots[BACKFILLS_MAX]; /* Owned. */
    size_t n;
};

int backfill__open(struct app *a) {
    a->backfills = calloc(1, sizeof *a->backfills);
    return a->backfills == NULL ? ERR_NOMEM : 0;
}

size_t backfill__n(const struct app *a) { return a->backfills == NULL ? 0 : a->backfills->n; }

struct app_stream *backfill__stream(struct app *a, size_t i) {
    return &a->backfills->slots[i]->stream;
}

void backfill__free(struct app *a) {
    for (size_t i = 0; i < backfill__n(a); i++) free(a->backfills->slots[i]);
    free(a->backfills);
    a->backfills = NULL;
}

static struct backfill *backfill_of(struct app *a, const struct app_stream *s) {
    for (size_t i = 0; i < backfill__n(a); i++)
        if (&a->backfills->slots[i]->stream == s) return a->backfills->slots[i];
    return NULL;
}

/* Sums of hashes are the same for every order; a page counts by what it leads from and to, and by
 * what came of it. */
static uint64_t hash_page(const struct request_facts *f, size_t n_rows) {
    struct buf b = buf__init(4096);
    buf__string(&b, f->cursor_from);
    buf__string(&b, f->cursor_to);
    buf__u64(&b, f->body_bytes);
    buf__u64(&b, n_rows);
    uint64_t hash = XXH3_64bits(b.base, b.len);
    buf__fini(&b);
    return hash;
}

void backfill__count(struct app *a, struct app_stream *s, const struct request_facts *f,
                     uint64_t lsn, const struct rows *rows) {
    struct backfill *b = backfill_of(a, s);
    if (b == NULL || !(f->flags & REQUEST_ADVANCES) || f->http_status != 200) return;
    if (b->pages > 0 && !slice__eq(f->cursor_from, slice__str(b->decoded_to))) b->gaps++;
    snprintf(b->decoded_to, sizeof b->decoded_to, "%.*s", SLICE_FMT(f->cursor_to));
    if (b->pages++ == 0) {
        b->first_lsn = lsn;
        b->first_wall_ns = f->received_wall_ns;
    }
    b->last_lsn = lsn;
    b->last_wall_ns = f->received_wall_ns;
    b->entries += f->n_entries;
    b->rows += rows__count_data(rows);
    b->bytes += f->body_bytes;
    b->hash += hash_page(f, rows__count(rows));
}

/* Its way down. */

_Static_assert(ABSENT_SPARE >= BACKFILLS_MAX, "each that runs may be stopped");

static void keep_place(struct app *a, const struct app_stream *s, const struct poller_status *p) {
    struct absent_stream *at =
        absent__put(&a->absent, slice__str(s->type->name), slice__str(s->spec.key));
    assert(at != NULL); /* Reserved before it began. */
    snprintf(at->cursor, sizeof at->cursor, "%s", p->state->cursor);
    snprintf(at->etag, sizeof at->etag, "%s", p->state->etag);
    snprintf(at->hold, sizeof at->hold, "%s", poller__hold(s->poller));
}

static void on_closed(void *data) {
    struct app_stream *s = data;
    struct app *a = s->app;
    struct backfill *b = backfill_of(a, s);
    struct poller_status p;
    poller__status(s->poller, &p);
    snprintf(b->cursor, sizeof b->cursor, "%s", p.state->cursor);
    snprintf(b->error, sizeof b->error, "%s", p.last_error);
    b->counts = p.counts;
    b->ended_mono_ns = a->clock.mono_ns;
    if (b->state == BACKFILL_STOPPED || b->state == BACKFILL_RUNS)
        keep_place(a, s, &p); /* What has ended does not come back. */
    poller__free(s->poller);
    s->poller = NULL;
    s->closing = false;
    ops__forget(s);
    LOG_INFO("cli", "backfill ends", LOG_S("stream", s->spec.key), LOG_S("cursor", b->cursor),
             LOG_S("state", ended_words[b->state]));
    if (a->draining) app__poller_closed(a);
}

static void end(struct backfill *b, enum backfill_state state) {
    b->state = state;
    b->stream.closing = true;
    poller__close(b->stream.poller, on_closed, &b->stream);
}

void backfill__second(struct app *a) {
    for (size_t i = 0; i < backfill__n(a) && !a->draining; i++) {
        struct backfill *b = a->backfills->slots[i];
        struct poller_status p;
        if (b->stream.poller == NULL || b->stream.closing) continue;
        poller__status(b->stream.poller, &p);
        if (p.done) end(b, BACKFILL_DONE);
        else if (p.too_old) end(b, BACKFILL_TOO_OLD);
    }
}

/* What it says of itself. */

/* The numbers in a cursor, summed: hours, or the shards of a change id, which only grow. */
static double place_of(const char *cursor) {
    double sum = 0;
    for (const char *at = cursor; *at != '\0';) {
        char *behind;
        if (*at < '0' || *at > '9') {
            at++;
            continue;
        }
        sum += strtod(at, &behind);
        at = behind;
    }
    return sum;
}

static double part_done(const struct backfill *b, const char *from, const char *cursor) {
    double start = place_of(from), whole = place_of(b->until) - start;
    double done = whole > 0 && cursor[0] != '\0' ? (place_of(cursor) - start) / whole : 0;
    return done < 0 ? 0 : done > 1 ? 1 : done;
}

static void put_text(struct buf *out, const char *key, const char *text) {
    buf__printf(out, "\"%s\":", key);
    buf__json_string(out, slice__str(text));
    buf__append_str(out, ",");
}

static void put_eta(const struct app *a, const struct backfill *b, const char *cursor,
                    struct buf *out) {
    double here = part_done(b, b->start, cursor);
    double took_s = (double)(a->clock.mono_ns - b->started_mono_ns) / (double)NS_PER_S;
    if (b->stream.poller == NULL) buf__append_str(out, "\"eta_s\":0,");
    else if (here > 0) buf__printf(out, "\"eta_s\":%.1f,", took_s * (1 - here) / here);
    else buf__append_str(out, "\"eta_s\":null,");
}

static void put_backfill(struct app *a, const struct backfill *b, struct buf *out) {
    struct poller_status p = {0};
    struct poller_counts counts = b->counts;
    const char *cursor = b->cursor, *error = b->error;
    if (b->stream.poller != NULL) {
        poller__status(b->stream.poller, &p);
        counts = p.counts;
        cursor = p.state->cursor;
        error = p.last_error;
    }
    bool finishing = b->state == BACKFILL_DONE &&
                     (b->stream.poller != NULL || b->pages - b->pages_before < counts.fresh);
    buf__append_str(out, "{");
    put_text(out, "source", b->stream.type->name);
    put_text(out, "key", b->stream.spec.key);
    put_text(out, "from", b->from);
    put_text(out, "to", b->until);
    put_text(out, "cursor", cursor);
    put_text(out, "state",
             finishing                                               ? "finishing"
             : b->state != BACKFILL_RUNS || b->stream.poller == NULL ? ended_words[b->state]
             : p.held                                                ? "held"
                                                                     : "running");
    put_text(out, "last_error", error);
    put_eta(a, b, cursor, out);
    buf__printf(
        out,
        "\"budget\":%.6g,\"progress\":%.4f,\"requests\":%" PRIu64 ",\"errors\":%" PRIu64
        ",\"empty\":%" PRIu64 ",\"pages\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"rows\":%" PRIu64
        ",\"bytes\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"hash\":\"%016" PRIx64
        "\",\"stored\":%s,\"started_ms\":%" PRId64 ",\"first_ms\":%" PRId64 ",\"last_ms\":%" PRId64
        "}",
        b->budget, part_done(b, b->from, cursor), counts.requests,
        counts.errors + counts.invalid + counts.rewind + counts.repeat,
        counts.empty + counts.unavailable, b->pages, b->entries, b->rows, b->bytes, b->gaps,
        b->hash, b->pages == 0 || store__low_water(a->store) > b->last_lsn ? "true" : "false",
        b->started_wall_ns / NS_PER_MS, b->first_wall_ns / NS_PER_MS, b->last_wall_ns / NS_PER_MS);
}

/* Its start. */

static bool is_ready(const struct app *a, struct buf *out, int *status) {
    if (a->recovered && !a->draining) return true;
    *status = call__refuse(out, 503, "unavailable", "it is starting or ending");
    return false;
}

static int get_all(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    int status;
    (void)args;
    if (!is_ready(a, out, &status)) return status;
    buf__append_str(out, "{\"backfills\":[");
    for (size_t i = 0; i < backfill__n(a); i++) {
        if (i > 0) buf__append_str(out, ",");
        put_backfill(a, a->backfills->slots[i], out);
    }
    buf__append_str(out, "]}");
    return 200;
}

/* The main stream that is meant: by its key, or the only one of the source. */
static struct app_stream *find_main(struct app *a, const struct hub_args *args, struct buf *out,
                                    int *status) {
    char source[64], key[128] = "", msg[256];
    struct app_stream *found = NULL;
    size_t n = 0;
    if (hub_args__text(args, "source", source, sizeof source) <= 0) {
        *status = call__refuse(out, 400, "bad_request", "source is missing");
        return NULL;
    }
    bool named = hub_args__text(args, "stream", key, sizeof key) > 0;
    for (size_t i = 0; i < a->n_streams; i++) {
        struct app_stream *s = &a->streams[i];
        if (strcmp(s->type->name, source) != 0 || s->poller == NULL) continue;
        if (named && strcmp(s->spec.key, key) != 0) continue;
        found = s;
        n++;
    }
    if (n == 1 && found->type->reached != NULL && found->type->cursor != NULL) return found;
    if (n == 0)
        snprintf(msg, sizeof msg, "no stream %.60s%s%.60s runs here", key, named ? " of " : "of ",
                 source);
    else if (n > 1)
        snprintf(msg, sizeof msg,
                 "%.60s has %zu streams: name one; souk cursor get %.60s lists them", source, n,
                 source);
    else snprintf(msg, sizeof msg, "%.60s has no past to ask for", source);
    *status = call__refuse(out, n == 0 ? 404 : 400, n == 0 ? "not_found" : "bad_request", msg);
    return NULL;
}

struct wish {
    struct app_stream *of;
    char from[CURSOR_MAX], until[CURSOR_MAX], key[128];
    double budget;
};

static int read_budget(const struct hub_args *args, double *out) {
    char text[32], *end;
    *out = BACKFILL_BUDGET;
    if (hub_args__text(args, "budget", text, sizeof text) <= 0) return 0;
    *out = strtod(text, &end);
    return *end == '\0' && *out >= BACKFILL_BUDGET_MIN && *out <= BACKFILL_BUDGET_MAX ? 0
                                                                                      : ERR_CONFIG;
}

/* @return 0, or the status of a refusal. */
static int read_wish(struct app *a, const struct hub_args *args, struct wish *w, struct buf *out) {
    char from[CURSOR_MAX], until[CURSOR_MAX];
    struct err e = {0};
    int status = 0, n;
    if (!is_ready(a, out, &status)) return status;
    w->of = find_main(a, args, out, &status);
    if (w->of == NULL) return status;
    if (hub_args__text(args, "from", from, sizeof from) <= 0)
        return call__refuse(out, 400, "bad_request", "from is missing, or too long");
    if (hub_args__text(args, "to", until, sizeof until) <= 0) { /* Up to where it stands now. */
        struct poller_status p;
        poller__status(w->of->poller, &p);
        snprintf(until, sizeof until, "%s", p.state->cursor);
    }
    if (w->of->type->cursor(from, w->from, &e) != 0 ||
        w->of->type->cursor(until, w->until, &e) != 0)
        return call__refuse(out, 400, "bad_request", e.msg);
    if (w->of->type->reached(w->from, w->until))
        return call__refuse(out, 400, "bad_request", "from does not lie before to");
    if (read_budget(args, &w->budget) != 0)
        return call__refuse(out, 400, "bad_request", "budget is requests a second, 0.00001 to 100");
    n = snprintf(w->key, sizeof w->key, "%s" JOURNAL_BACKFILL "%s-%s", w->of->spec.key, w->from,
                 w->until);
    if (n >= (int)sizeof w->key) { /* Long ids: by their hash. */
        char both[2 * CURSOR_MAX];
        n = snprintf(both, sizeof both, "%s-%s", w->from, w->until);
        n = snprintf(w->key, sizeof w->key, "%.80s" JOURNAL_BACKFILL "%016" PRIx64, w->of->spec.key,
                     (uint64_t)XXH3_64bits(both, (size_t)n));
    }
    return 0;
}

static struct backfill *find(struct app *a, const char *source, const char *key) {
    for (size_t i = 0; i < backfill__n(a); i++) {
        const struct app_stream *s = &a->backfills->slots[i]->stream;
        if (strcmp(s->type->name, source) == 0 && strcmp(s->spec.key, key) == 0)
            return a->backfills->slots[i];
    }
    return NULL;
}

/* A place for another: a new one, or that of the one that ended first. */
static struct backfill *find_place(struct app *a) {
    struct backfills *all = a->backfills;
    struct backfill *oldest = NULL;
    if (all->n < BACKFILLS_MAX) {
        struct backfill *b = calloc(1, sizeof *b);
        if (b != NULL) all->slots[all->n++] = b;
        return b;
    }
    for (size_t i = 0; i < all->n; i++) {
        struct backfill *b = all->slots[i];
        if (b->stream.poller == NULL &&
            (oldest == NULL || b->ended_mono_ns < oldest->ended_mono_ns))
            oldest = b;
    }
    return oldest;
}

static int start(struct app *a, struct backfill *b, struct err *e) {
    struct app_stream *s = &b->stream;
    const struct source_setup *c = settings__source(a->settings, s->type->name);
    struct poller_bound bound = {.until = b->until,
                                 .gap_ns = (int64_t)((double)NS_PER_S / b->budget)};
    struct poller_deps deps;
    app__poller_deps(a, &deps);
    if (absent__reserve(&a->absent) != 0) return err__setf(e, ERR_NOMEM, "out of memory");
    int code = poller__open(&s->poller, &deps, s->type, &c->settings, &s->spec, e);
    if (code != 0) return code;
    poller__bound(s->poller, &bound);
    struct absent_stream *earlier =
        absent__find(&a->absent, slice__str(s->type->name), slice__str(s->spec.key));
    snprintf(b->start, sizeof b->start, "%s", earlier == NULL ? b->from : earlier->cursor);
    poller__restore(s->poller, slice__str(b->start),
                    slice__str(earlier == NULL ? "" : earlier->etag));
    if (earlier != NULL) {
        poller__restore_hold(s->poller, slice__str(earlier->hold));
        absent__drop(&a->absent, earlier);
    }
    b->state = BACKFILL_RUNS;
    b->pages_before = b->pages;
    b->started_wall_ns = a->clock.wall_ns;
    b->started_mono_ns = a->clock.mono_ns;
    b->error[0] = '\0';
    LOG_INFO("cli", "backfill starts", LOG_S("stream", s->spec.key), LOG_S("cursor", b->start),
             LOG_F("requests_per_s", b->budget));
    poller__start(s->poller);
    return 0;
}

/* Each that runs may be stopped, and its place is kept then: it is refused beforehand or never. */
static bool has_room(struct app *a, const struct wish *w, struct buf *out) {
    size_t n = a->absent.n;
    char msg[256];
    for (size_t i = 0; i < backfill__n(a); i++) n += backfill__stream(a, i)->poller != NULL;
    if (n < ABSENT_MAX ||
        absent__find(&a->absent, slice__str(w->of->type->name), slice__str(w->key)) != NULL)
        return true;
    snprintf(msg, sizeof msg,
             "%zu streams that do not run keep their places, of %d: this backfill of %.60s is not "
             "begun; let stopped ones go on to their end (souk cursor get lists them)",
             n, ABSENT_MAX, w->of->type->name);
    LOG_WARN("cli", "backfill is refused", LOG_S("stream", w->key), LOG_S("why", msg));
    call__refuse(out, 503, "full", msg);
    return false;
}

static int post_start(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    struct wish w;
    struct err e = {0};
    int status = read_wish(a, args, &w, out);
    if (status != 0) return status;
    struct backfill *b = find(a, w.of->type->name, w.key);
    if (b == NULL) {
        if (!has_room(a, &w, out)) return 503;
        b = find_place(a);
        if (b == NULL) return call__refuse(out, 503, "full", "8 backfills run; stop one");
        *b = (struct backfill){.stream = {.app = a, .spec = w.of->spec, .type = w.of->type}};
        snprintf(b->stream.spec.key, sizeof b->stream.spec.key, "%s", w.key);
        /* Another service: its pages must not make the main stream look fresh. */
        snprintf(b->stream.spec.service, sizeof b->stream.spec.service, "%.20s_backfill",
                 w.of->spec.service);
        snprintf(b->from, sizeof b->from, "%s", w.from);
        snprintf(b->until, sizeof b->until, "%s", w.until);
    }
    if (b->stream.closing) return call__refuse(out, 409, "refused", "it is just ending: ask again");
    if (b->stream.poller == NULL && b->state != BACKFILL_DONE) {
        b->budget = w.budget;
        if (start(a, b, &e) != 0) return call__refuse(out, 503, "unavailable", e.msg);
    }
    put_backfill(a, b, out);
    return 200;
}

/* By its key, or by what it was started with. */
static int post_stop(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    struct wish w = {0};
    char source[64];
    int status;
    if (!is_ready(a, out, &status)) return status;
    if (hub_args__text(args, "source", source, sizeof source) <= 0)
        return call__refuse(out, 400, "bad_request", "source is missing");
    if (hub_args__text(args, "key", w.key, sizeof w.key) <= 0) {
        status = read_wish(a, args, &w, out);
        if (status != 0) return status;
    }
    struct backfill *b = find(a, source, w.key);
    if (b == NULL || b->stream.poller == NULL)
        return call__refuse(out, 404, "not_found", "no such backfill runs");
    LOG_WARN("cli", "backfill is stopped", LOG_S("stream", w.key),
             LOG_S("by", hub_args__who(args)));
    if (!b->stream.closing) end(b, BACKFILL_STOPPED);
    put_backfill(a, b, out);
    return 200;
}

size_t backfill__calls(struct app *a, struct hub_call *out) {
    const struct hub_call calls[] = {
        {"GET", "/api/v1/backfill", false, get_all, a},
        {"POST", "/api/v1/backfill", true, post_start, a},
        {"POST", "/api/v1/backfill/stop", true, post_stop, a},
    };
    memcpy(out, calls, sizeof calls);
    return sizeof calls / sizeof calls[0];
}
