/* Checkpoints, and recovery from them. A checkpoint says below which position every row of pages is
 * stored, and from where on the tape needs the log, which may be further back; it carries what
 * later records only change: cursors, the governor's state, alerts, and the leagues that were
 * followed at the low-water mark. Recovery reads it, then every record behind the mark. */
#include "app.h"
#include "souk/core/log.h"
#include "souk/tables.h"
#include <stdio.h>
#include <stdlib.h>

#define CHECKPOINT_VERSION 1

static void put_streams(struct app *a, struct buf *out) {
    uint32_t n = (uint32_t)a->absent.n;
    for (size_t i = 0; i < app__n_streams(a); i++) n += app__stream_at(a, i)->poller != NULL;
    buf__u32(out, n);
    for (size_t i = 0; i < a->absent.n; i++) {
        buf__string(out, slice__str(a->absent.list[i].source));
        buf__string(out, slice__str(a->absent.list[i].key));
        buf__string(out, slice__str(a->absent.list[i].cursor));
        buf__string(out, slice__str(a->absent.list[i].etag));
    }
    for (size_t i = 0; i < app__n_streams(a); i++) {
        struct poller_status p;
        if (app__stream_at(a, i)->poller == NULL) continue;
        poller__status(app__stream_at(a, i)->poller, &p);
        buf__string(out, slice__str(p.source));
        buf__string(out, slice__str(p.stream->key));
        buf__string(out, slice__str(p.state->cursor));
        buf__string(out, slice__str(p.state->etag));
    }
}

static void put_hold(struct buf *out, const char *source, const char *key, const char *why,
                     uint32_t *n) {
    if (why[0] == '\0') return;
    buf__string(out, slice__str(source));
    buf__string(out, slice__str(key));
    buf__string(out, slice__str(why));
    ++*n;
}

/* Streams that are frozen by hand. */
static void put_holds(struct app *a, struct buf *out) {
    struct buf list = buf__init(SPOOL_RECORD_MAX);
    uint32_t n = 0;
    for (size_t i = 0; i < a->absent.n; i++)
        put_hold(&list, a->absent.list[i].source, a->absent.list[i].key, a->absent.list[i].hold,
                 &n);
    for (size_t i = 0; i < app__n_streams(a); i++) {
        const struct app_stream *s = app__stream_at(a, i);
        if (s->poller != NULL)
            put_hold(&list, s->type->name, s->spec.key, poller__hold(s->poller), &n);
    }
    buf__u32(out, n);
    buf__append_slice(out, buf__slice(&list));
    out->failed |= list.failed;
    buf__fini(&list);
}

void app__checkpoint(struct app *a) {
    struct spool_status status;
    if (a->closing) return; /* Without pollers it would say that no stream has a cursor. */
    spool__status(a->spool, &status);
    if (status.end_lsn == a->checkpointed_end || status.failed) return;
    uint64_t low_water = store__low_water(a->store);
    const char *tape_followed;
    struct tape_mark tape = tape_lane__mark(a, &tape_followed);
    /* While nothing can be stored, another would free nothing, and fill the log further. */
    if (status.full && !a->draining && low_water == a->checkpointed_low_water &&
        tape.lsn == a->checkpointed_tape)
        return;
    struct buf payload = buf__init(SPOOL_RECORD_MAX), part = buf__init(SPOOL_RECORD_MAX);
    buf__u8(&payload, CHECKPOINT_VERSION);
    put_streams(a, &payload);
    governor__save(a->governor, &part);
    buf__string(&payload, buf__slice(&part));
    buf__clear(&part);
    alerts__save(a->alerts, &part);
    buf__string(&payload, buf__slice(&part));
    buf__string(&payload, slice__str(lanes__followed_at(a, low_water)));
    put_holds(a, &payload); /* From here on: not in those of older versions. */
    buf__u8(&payload, (uint8_t)tape.origin);
    buf__u64(&payload, tape.lsn);
    buf__u64(&payload, tape.tell_from_lsn);
    buf__string(&payload, slice__str(tape_followed));
    struct err e = {0};
    if (payload.failed || part.failed) {
        LOG_ERROR("cli", "checkpoint is too large", LOG_I("bytes", payload.len));
    } else if (spool__checkpoint(a->spool, low_water, buf__slice(&payload), &e) == 0) {
        LOG_WARN("cli", "no checkpoint", LOG_E(&e));
    } else {
        spool__status(a->spool, &status);
        a->checkpointed_end = status.end_lsn;
        a->checkpointed_low_water = low_water;
        a->checkpointed_tape = tape.lsn;
    }
    buf__fini(&payload);
    buf__fini(&part);
}

/* What recovery finds on its way. */
struct recovery {
    struct app *a;
    struct buf limits; /* The governor's last state. */
    struct buf alerts; /* The last checkpoint's state, then each event since, as strings. */
    char *followed;    /* At the low-water mark. Owned. */
    uint64_t from_lsn, low_water_lsn, snapshot_lsn; /* Where reading starts; rows; the tape. */
    /* What was followed at the tape's mark, and at its snapshot. Owned; NULL: nobody said so. */
    char *tape_followed, *snapshot_followed;
    struct tape_mark tape;
    uint64_t behind_tape_seals_lsn;
    char *latest;   /* The last CONFIG record's. Owned. */
    bool no_memory; /* Something of the above is missing: the start must not go on without it. */
    size_t n_pages, n_seals, n_records;
};

static void set_text(char *out, size_t size, struct slice s) {
    snprintf(out, size, "%.*s", SLICE_FMT(s));
}

/* Without its place, pages that an enabled source had taken would be taken again once it is back.
 */
static struct absent_stream *make_absent(struct recovery *r, struct slice source,
                                         struct slice key) {
    struct absent_stream *at = absent__put(&r->a->absent, source, key);
    if (at == NULL) r->no_memory = true;
    return at;
}

static void keep_absent(struct recovery *r, struct slice source, struct slice key,
                        struct slice cursor, struct slice etag) {
    struct absent_stream *at = make_absent(r, source, key);
    if (at == NULL) return;
    set_text(at->cursor, sizeof at->cursor, cursor);
    set_text(at->etag, sizeof at->etag, etag);
}

static void keep_hold(struct recovery *r, struct slice source, struct slice key,
                      struct slice hold) {
    struct app_stream *s = app__stream(r->a, source, key);
    if (s != NULL) {
        poller__restore_hold(s->poller, hold);
        return;
    }
    struct absent_stream *at = make_absent(r, source, key);
    if (at != NULL) set_text(at->hold, sizeof at->hold, hold);
}

static void set_dup(struct recovery *r, char **text, struct slice s) {
    free(*text);
    *text = slice__dup(s);
    r->no_memory = r->no_memory || *text == NULL;
}

static void take_tape(struct recovery *r, struct reader *in) {
    r->tape.origin = (enum tape_origin)reader__u8(in);
    r->tape.lsn = reader__u64(in);
    r->tape.tell_from_lsn = reader__u64(in);
    set_dup(r, &r->tape_followed, reader__string(in));
}

/* @first: the last checkpoint, before the log is read. Those met on the way know the limits and
 * alerts better than the records in front of them; of cursors the records know more, as a page may
 * be appended and not applied yet. */
static int restore_checkpoint(struct recovery *r, struct slice payload, bool first, struct err *e) {
    struct reader in = reader__of(payload);
    if (reader__u8(&in) != CHECKPOINT_VERSION)
        return err__setf(e, ERR_CORRUPT,
                         "checkpoint of another version: this spool was written by another souk");
    uint32_t n = reader__u32(&in);
    for (uint32_t i = 0; i < n && !in.failed; i++) {
        struct slice source = reader__string(&in), key = reader__string(&in);
        struct slice cursor = reader__string(&in), etag = reader__string(&in);
        if (in.failed || !first) continue;
        struct app_stream *s = app__stream(r->a, source, key);
        if (s != NULL) poller__restore(s->poller, cursor, etag);
        else keep_absent(r, source, key, cursor, etag); /* Switched off for now, perhaps. */
    }
    struct slice governor = reader__string(&in), alerts = reader__string(&in),
                 followed = reader__string(&in);
    if (in.failed) return err__setf(e, ERR_CORRUPT, "checkpoint is cut short");
    buf__clear(&r->limits);
    buf__append_slice(&r->limits, governor);
    buf__clear(&r->alerts); /* Events before it are in it. */
    buf__string(&r->alerts, alerts);
    if (!first) return 0;
    set_dup(r, &r->followed, followed);
    n = in.pos < in.len ? reader__u32(&in) : 0; /* None in what earlier versions wrote. */
    for (uint32_t i = 0; i < n && !in.failed; i++) {
        struct slice source = reader__string(&in), key = reader__string(&in);
        struct slice why = reader__string(&in);
        if (!in.failed) keep_hold(r, source, key, why);
    }
    if (!in.failed && in.pos < in.len) take_tape(r, &in);
    if (in.failed || r->tape.origin > TAPE_ORIGIN_SNAPSHOT)
        return err__setf(e, ERR_CORRUPT, "checkpoint is cut short");
    return 0;
}

bool app__checkpoint_followed(struct slice payload, struct slice *out) {
    struct reader in = reader__of(payload);
    if (reader__u8(&in) != CHECKPOINT_VERSION) return false;
    uint32_t n = reader__u32(&in);
    for (uint32_t i = 0; i < n && !in.failed; i++)
        for (int k = 0; k < 4; k++) reader__string(&in); /* A stream's source, key, cursor, tag. */
    reader__string(&in);                                 /* The governor's state, */
    reader__string(&in);                                 /* and the alerts. */
    *out = reader__string(&in);
    return !in.failed;
}

bool app__checkpoint_each(struct slice payload,
                          void (*each)(void *ctx, struct slice source, struct slice key,
                                       const struct slice *cursor, struct slice hold),
                          void *ctx) {
    struct reader in = reader__of(payload);
    if (reader__u8(&in) != CHECKPOINT_VERSION) return false;
    uint32_t n = reader__u32(&in);
    for (uint32_t i = 0; i < n && !in.failed; i++) {
        struct slice source = reader__string(&in), key = reader__string(&in);
        struct slice cursor = reader__string(&in);
        reader__string(&in); /* The tag. */
        if (!in.failed) each(ctx, source, key, &cursor, (struct slice){0});
    }
    for (int k = 0; k < 3; k++) reader__string(&in); /* Governor, alerts, leagues. */
    n = in.pos < in.len ? reader__u32(&in) : 0;
    for (uint32_t i = 0; i < n && !in.failed; i++) {
        struct slice source = reader__string(&in), key = reader__string(&in);
        struct slice hold = reader__string(&in);
        if (!in.failed) each(ctx, source, key, NULL, hold);
    }
    return !in.failed;
}

static void take_config(struct recovery *r, const struct spool_record *rec) {
    set_dup(r, &r->latest, rec->payload);
    if (rec->lsn < r->snapshot_lsn) set_dup(r, &r->snapshot_followed, rec->payload);
}

/* Seals of the tape's table wait for its lane; without one, nobody makes their rows again. */
static int take_seal(struct recovery *r, const struct spool_record *rec, struct err *e) {
    struct seal seal;
    r->n_seals++;
    if (seal__decode(rec->payload, &seal) == 0 &&
        strcmp(seal.table, table_silver_listing_events.name) == 0) {
        if (!r->a->settings->config->tape.enabled) return 0;
        if (seal.last_lsn >= r->behind_tape_seals_lsn) r->behind_tape_seals_lsn = seal.last_lsn + 1;
    }
    int code = store__recover(r->a->store, rec);
    if (code == 0) return 0;
    return err__setf(e, code, "seal at position %llu cannot be taken up: %s",
                     (unsigned long long)rec->lsn, err__text(code));
}

static int take_record(struct recovery *r, const struct spool_record *rec, struct err *e) {
    struct request_facts facts;
    struct slice body;
    r->n_records++;
    switch (rec->type) {
    case SPOOL_PAGE:
    case SPOOL_REQUEST:
        if (journal__decode(rec->payload, &facts, &body) != 0)
            return 0; /* decode quarantines it. */
        struct app_stream *s = app__stream(r->a, facts.source, facts.stream);
        if (s != NULL) poller__replay(s->poller, &facts);
        else if (facts.flags & (REQUEST_ADVANCES | REQUEST_SEED))
            keep_absent(r, facts.source, facts.stream, facts.cursor_to, facts.etag);
        struct slice hold;
        if (s == NULL && journal__hold(&facts, &hold))
            keep_hold(r, facts.source, facts.stream, hold);
        r->n_pages += rec->type == SPOOL_PAGE;
        return 0;
    case SPOOL_SEAL: return take_seal(r, rec, e);
    case SPOOL_ACK:
    case SPOOL_RANGE:
    case SPOOL_QUARANTINE: /* What was left out is sent again, with the same token. */
        store__recover(r->a->store, rec);
        return 0;
    case SPOOL_LIMITS:
        buf__clear(&r->limits);
        buf__append_slice(&r->limits, rec->payload);
        return 0;
    case SPOOL_CHECKPOINT: return restore_checkpoint(r, rec->payload, false, e);
    case SPOOL_ALERT: buf__string(&r->alerts, rec->payload); return 0;
    case SPOOL_CONFIG: take_config(r, rec); return 0;
    default: return 0;
    }
}

static void restore_limits(struct recovery *r) {
    struct err e = {0};
    if (r->limits.len > 0 && governor__restore(r->a->governor, buf__slice(&r->limits), &e) != 0)
        LOG_WARN("cli", "rate-limit state is lost; all buckets count as spent", LOG_E(&e));
}

static int restore_alerts(struct recovery *r, struct err *e) {
    struct reader in = reader__of(buf__slice(&r->alerts));
    while (in.pos < in.len && !in.failed) {
        struct slice json = reader__string(&in);
        int code = json.len == 0 ? 0 : alerts__restore(r->a->alerts, json, e);
        if (code == ERR_NOMEM) return code;
        if (code != 0) LOG_WARN("cli", "alert event cannot be restored", LOG_E(e));
    }
    return 0;
}

/* The log's own words for what decoding depends on from now on. */
static int append_config(struct recovery *r, struct err *e) {
    const char *known = r->latest != NULL ? r->latest : r->followed;
    if (known != NULL && strcmp(known, r->a->followed) == 0) return 0;
    struct slice text = slice__str(r->a->followed);
    return spool__append(r->a->spool, SPOOL_CONFIG, 0, &text, 1, NULL, NULL, e) == 0 ? e->code : 0;
}

/* @return @there, else what was followed at the low-water mark. */
static const char *followed_or(const struct recovery *r, const char *there) {
    if (there != NULL) return there;
    return r->followed != NULL ? r->followed : r->a->followed;
}

/* Rows go on at the low-water mark. The tape may need what is in front of it: from its snapshot on,
 * or from where it started empty. */
static void find_start(struct recovery *r, const struct spool_status *status) {
    uint64_t low_water =
        status->low_water_lsn > status->first_lsn ? status->low_water_lsn : status->first_lsn;
    r->low_water_lsn = r->from_lsn = low_water;
    if (tape_lane__find(r->a, &r->snapshot_lsn)) {
        if (r->snapshot_lsn < r->from_lsn) r->from_lsn = r->snapshot_lsn;
        if (r->tape_followed != NULL)
            set_dup(r, &r->snapshot_followed, slice__str(r->tape_followed));
    }
    if (r->tape.origin == TAPE_ORIGIN_EMPTY && r->tape.lsn < status->first_lsn)
        r->tape = (struct tape_mark){.origin = TAPE_ORIGIN_NONE}; /* What it read is gone. */
    /* Also for what is followed at a snapshot that is newer than the mark. */
    if (r->tape.origin != TAPE_ORIGIN_NONE && r->tape.lsn >= status->first_lsn &&
        r->tape.lsn < r->from_lsn)
        r->from_lsn = r->tape.lsn;
}

static void sweep_absent(struct app *a) {
    size_t n = absent__sweep(&a->absent);
    if (n > 0) LOG_INFO("cli", "backfills that have ended are forgotten", LOG_I("n", n));
    if (a->absent.n >= ABSENT_MAX)
        LOG_WARN("cli", "so many streams do not run that no backfill is begun",
                 LOG_I("streams", a->absent.n), LOG_I("limit", ABSENT_MAX));
}

static int read_log(struct recovery *r, struct err *e) {
    struct app *a = r->a;
    struct spool_status status;
    spool__status(a->spool, &status);
    struct slice checkpoint;
    if (spool__last_checkpoint(a->spool, &checkpoint)) {
        int code = restore_checkpoint(r, checkpoint, true, e);
        if (code != 0) return code;
    }
    find_start(r, &status);
    struct spool_reader reader;
    spool_reader__init(&reader, a->spool, r->from_lsn);
    struct spool_record rec;
    int code;
    while ((code = spool_reader__next(&reader, status.synced_lsn, &rec, e)) != 0) {
        if (code == ERR_CORRUPT) { /* Damage since opening: the reader stands behind it. */
            LOG_ERROR("cli", "damaged record is skipped", LOG_I("lsn", reader.at), LOG_E(e));
            continue;
        }
        if (code == 1) code = take_record(r, &rec, e);
        if (code != 0) break;
    }
    spool_reader__fini(&reader);
    if (code == 0 && (r->no_memory || r->limits.no_memory || r->alerts.no_memory))
        code = err__setf(e, ERR_NOMEM, "recovery: no memory for what the log says");
    if (code != 0) return code;
    sweep_absent(a);
    store__start(a->store, r->low_water_lsn);
    /* A spool without a checkpoint starts with the CONFIG record of its first run. */
    return lanes__open(a, r->low_water_lsn, followed_or(r, r->followed), e);
}

static int open_tape(struct recovery *r, struct err *e) {
    const struct tape_start start = {
        .mark = r->tape,
        .low_water_lsn = r->low_water_lsn,
        .behind_seals_lsn = r->behind_tape_seals_lsn,
        .followed = followed_or(r, r->tape.origin == TAPE_ORIGIN_EMPTY ? r->tape_followed : NULL),
        .snapshot_followed = followed_or(r, r->snapshot_followed)};
    return tape_lane__open(r->a, &start, e);
}

int app__recover(struct app *a, struct err *e) {
    struct recovery r = {
        .a = a, .limits = buf__init(SPOOL_RECORD_MAX), .alerts = buf__init((size_t)256 << 20)};
    int64_t started_ns = clock__stopwatch_ns();
    int code = read_log(&r, e);
    if (code == 0) {
        restore_limits(&r);
        code = restore_alerts(&r, e);
    }
    if (code == 0) code = append_config(&r, e);
    if (code == 0)
        code = open_tape(&r, e); /* It may write a checkpoint, of all that is restored. */
    if (code == 0)
        LOG_INFO("cli", "recovered", LOG_I("records", r.n_records), LOG_I("pages", r.n_pages),
                 LOG_I("seals", r.n_seals),
                 LOG_F("seconds", (double)(clock__stopwatch_ns() - started_ns) / (double)NS_PER_S));
    buf__fini(&r.alerts);
    buf__fini(&r.limits);
    free(r.followed);
    free(r.tape_followed);
    free(r.snapshot_followed);
    free(r.latest);
    return code;
}
