/* Jumps and ranges. Who decodes what, and the context of each, is decided here; what the rows
 * become is the store's. What can fail: a decoder that cannot be made, which is tried again each
 * second. */
#include "lanes.h"
#include "../service/app.h"
#include "souk/core/log.h"

static struct lane *live_lane(struct app *a) { return &a->lanes.lane[a->lanes.live]; }
static struct lane *other_lane(struct app *a) { return &a->lanes.lane[1 - a->lanes.live]; }
static const struct lane *live_of(const struct app *a) { return &a->lanes.lane[a->lanes.live]; }
static const struct lane *backlog_of(const struct app *a) {
    return &a->lanes.lane[1 - a->lanes.live];
}

static bool has_room(void *ctx) {
    const struct lane *l = ctx;
    return store__has_room(l->app->store, l->feed);
}

static void take_rows(void *ctx, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                      const struct request_facts *facts, struct rows *rows) {
    struct lane *l = ctx;
    series__add(l->app->lanes.m.rows[l != live_lane(l->app)], (double)rows__count(rows));
    l->at = next_lsn;
    app__take_rows(l->app, l->feed, lsn, next_lsn, wall_ns, facts, rows);
}

static int open_decoder(struct lane *l, struct lane_range range, const char *followed,
                        struct err *e) {
    struct app *a = l->app;
    struct decoder_deps deps = {.loop = &a->loop,
                                .clock = &a->clock,
                                .metrics = &a->metrics,
                                .spool = a->spool,
                                .ctx = l,
                                .has_room = has_room,
                                .take = take_rows};
    l->range = range;
    l->at = range.from;
    return decoder__open(&l->decoder, &deps, range.from, range.until, followed, e);
}

static void init_metrics(struct app *a) {
    static const char *const names[] = {"live", "backlog"};
    struct lanes *s = &a->lanes;
    for (int i = 0; i < 2; i++) {
        s->m.lag[i] = metrics__gauge(&a->metrics, "souk_lane_lag_seconds",
                                     "Age of the record that is decoded next; 0: none waits.",
                                     "lane=\"%s\"", names[i]);
        s->m.rows[i] = metrics__counter(&a->metrics, "souk_lane_rows_total", "Rows decoded.",
                                        "lane=\"%s\"", names[i]);
    }
    s->m.bytes = metrics__gauge(&a->metrics, "souk_backlog_bytes",
                                "Bytes of the log that the live lane left for later.", "");
    s->m.jumps = metrics__counter(&a->metrics, "souk_lane_jumps_total",
                                  "Times the live lane went to the end of the log.", "");
    s->m.decoded = metrics__counter(&a->metrics, "souk_rows_decoded_total",
                                    "Rows that the records of the log became.", "");
    for (int i = 0; i < 2; i++)
        s->m.unbalanced[i] = metrics__gauge(
            &a->metrics, "souk_pipeline_imbalance_rows",
            "Rows that came into a stage, less those that it handed on, refused with a record, met "
            "again after a restart or still has: must be 0.",
            "stage=\"%s\"", i == 0 ? "decode" : "store");
}

int lanes__open(struct app *a, uint64_t from_lsn, const char *followed, struct err *e) {
    struct spool_status st;
    spool__status(a->spool, &st);
    for (unsigned i = 0; i < FEEDS_PAGES; i++)
        a->lanes.lane[i] = (struct lane){.app = a, .feed = i};
    a->lanes.opened_lsn = st.end_lsn;
    init_metrics(a);
    return open_decoder(&a->lanes.lane[0], (struct lane_range){.from = from_lsn}, followed, e);
}

void lanes__wake(struct app *a) {
    for (unsigned i = 0; i < FEEDS_PAGES; i++) {
        struct lane *l = &a->lanes.lane[i];
        if (l->decoder != NULL && !l->closing) decoder__wake(l->decoder);
    }
}

/* Jumping. */

static void log_jump(struct app *a, struct lane_range left) {
    a->lanes.n_jumps++;
    series__inc(a->lanes.m.jumps);
    LOG_INFO("cli", "fresh pages go first; the rest follows beside them",
             LOG_I("backlog_bytes", left.until - left.from), LOG_I("from_lsn", left.from));
}

/* The lane's decoder becomes the backlog's, and the other lane begins at the end of the log. */
static void start_backlog(struct app *a, uint64_t end) {
    struct lane *old = live_lane(a), *fresh = other_lane(a);
    struct lane_range left = {.from = old->at, .until = end};
    struct err e = {0};
    if (open_decoder(fresh, (struct lane_range){.from = end}, a->followed, &e) != 0) {
        fresh->decoder = NULL;
        LOG_WARN("cli", "no second decoder", LOG_E(&e));
        return;
    }
    decoder__end_at(old->decoder, end); /* A job under way ends before it. */
    old->range = left;
    store__open_feed(a->store, fresh->feed, end);
    store__prefer(a->store, fresh->feed);
    a->lanes.live = fresh->feed;
    log_jump(a, left);
    decoder__wake(fresh->decoder);
}

static void on_lane_closed(void *data);

static void close_lane(struct lane *l) {
    l->closing = true;
    decoder__close(l->decoder, on_lane_closed, l);
}

/* The live decoder handed on its last rows: it goes on at the end of the log, and what it leaves
 * out is a range more. The backlog's feed holds the low-water mark at or below that range. */
static void jump_again(struct lane *l) {
    struct app *a = l->app;
    struct spool_status st;
    struct err e = {0};
    spool__status(a->spool, &st);
    struct lane_range left = {.from = l->at, .until = st.synced_lsn};
    bool jumps = left.from < left.until && a->lanes.n_ranges < LANES_RANGES_MAX;
    uint64_t from = jumps ? left.until : left.from, at = l->at;
    if (open_decoder(l, (struct lane_range){.from = from}, a->followed, &e) != 0) {
        l->decoder = NULL;
        l->at = at; /* Tried again in a second. */
        LOG_WARN("cli", "no decoder", LOG_E(&e));
        return;
    }
    if (jumps) {
        if (!store__feed_open(a->store, other_lane(a)->feed))
            store__open_feed(a->store, other_lane(a)->feed, left.from);
        store__close_feed(a->store, l->feed); /* No batch spans what it leaves out. */
        store__open_feed(a->store, l->feed, from);
        a->lanes.ranges[a->lanes.n_ranges++] = left;
        log_jump(a, left);
    }
    decoder__wake(l->decoder);
}

/* The store's feed goes on where the first range begins, which no longer waits. */
static struct lane_range take_range(struct lane *l) {
    struct app *a = l->app;
    struct lanes *s = &a->lanes;
    struct lane_range range = s->ranges[0];
    store__open_feed(a->store, l->feed, range.from);
    memmove(s->ranges, s->ranges + 1, --s->n_ranges * sizeof *s->ranges);
    return range;
}

/* The backlog has no decoder: it gets one when there is a range for it. */
static void next_range(struct lane *l) {
    struct app *a = l->app;
    struct lanes *s = &a->lanes;
    struct err e = {0};
    if (s->n_ranges == 0) {
        LOG_INFO("cli", "backlog is worked off");
        return;
    }
    if (open_decoder(l, s->ranges[0], a->followed, &e) != 0) {
        l->decoder = NULL;
        LOG_WARN("cli", "no decoder", LOG_E(&e));
        return;
    }
    take_range(l);
    decoder__wake(l->decoder);
}

static void on_lane_closed(void *data) {
    struct lane *l = data;
    struct app *a = l->app;
    struct lanes *s = &a->lanes;
    bool is_live = l == live_lane(a);
    l->closing = false;
    l->decoder = NULL;
    if (s->close_cb == NULL) {
        if (is_live) jump_again(l);
        else next_range(l);
        return;
    }
    for (unsigned i = 0; i < FEEDS_PAGES; i++)
        if (s->lane[i].decoder != NULL) return;
    s->close_cb(a);
}

/* The backlog's range is decoded: cut what is open, and go on with the next. That does not wait for
 * the batches, of which one may be held for days. After the last range the decoder stays for what
 * it knows of the context until all is stored, as the low-water mark is still behind it. */
static void end_range(struct lane *l) {
    struct app *a = l->app;
    if (store__feed_open(a->store, l->feed)) store__close_feed(a->store, l->feed);
    if (a->lanes.n_ranges > 0) {
        l->range = take_range(l);
        l->at = l->range.from;
        decoder__go_on(l->decoder, l->range.from, l->range.until);
    } else if (!store__feed_waits(a->store, l->feed)) {
        close_lane(l);
    }
}

static bool is_far_behind(const struct app *a, const struct spool_status *st) {
    const struct lane *l = live_of(a);
    double lag_s = (double)decoder__lag_ns(l->decoder) / (double)NS_PER_S;
    uint64_t bytes = st->synced_lsn > l->at ? st->synced_lsn - l->at : 0;
    return lag_s > a->settings->config->batch.live_after_s ||
           bytes > (uint64_t)a->settings->config->batch.live_after_mib << 20;
}

static void consider_jump(struct app *a) {
    struct lane *l = live_lane(a), *other = other_lane(a);
    struct spool_status st;
    struct store_status store;
    spool__status(a->spool, &st);
    store__status(a->store, &store);
    if (!store.answers || l->closing || st.synced_lsn <= a->lanes.opened_lsn) return;
    if (l->decoder == NULL) { /* It could not be made when it jumped. */
        jump_again(l);
        return;
    }
    if (!is_far_behind(a, &st)) return;
    if (other->decoder == NULL && a->lanes.n_ranges == 0) {
        start_backlog(a, st.synced_lsn);
    } else if (a->lanes.n_ranges < LANES_RANGES_MAX) {
        close_lane(l); /* Its position is known once its job has ended. */
    }
}

void lanes__on_room(struct app *a) {
    /* Before it reads on, or it may catch up between two seconds with fresh pages last. */
    if (!a->draining && a->lanes.close_cb == NULL) consider_jump(a);
    lanes__wake(a);
}

static void measure(struct app *a) {
    struct lanes *s = &a->lanes;
    struct lanes_status st;
    lanes__status(a, &st);
    double done =
        s->bytes_before > st.backlog_bytes ? (double)(s->bytes_before - st.backlog_bytes) : 0;
    s->bytes_per_s = st.backlog_bytes == 0 ? 0 : s->bytes_per_s * 0.9 + done * 0.1;
    s->bytes_before = st.backlog_bytes;
    series__set(s->m.lag[0], st.live_lag_s);
    series__set(s->m.lag[1], st.backlog_lag_s);
    series__set(s->m.bytes, (double)st.backlog_bytes);
}

void lanes__second(struct app *a) {
    if (!a->draining && a->lanes.close_cb == NULL) {
        struct lane *backlog = other_lane(a);
        consider_jump(a);
        if (backlog->decoder == NULL && a->lanes.n_ranges > 0) next_range(backlog);
        if (backlog == other_lane(a) && backlog->decoder != NULL && !backlog->closing &&
            decoder__ended(backlog->decoder))
            end_range(backlog);
        lanes__wake(a);
    }
    measure(a);
}

/* Rows are counted where they are made, where they are taken and where a reply says that they are
 * stored, each by itself; what is under way is counted where it lies. */
int64_t lanes__measure_balance(struct app *a) {
    const struct lanes *s = &a->lanes;
    if (s->m.decoded == NULL || a->store == NULL) return 0; /* Not open yet, or closed already. */
    int64_t decode = (int64_t)s->m.decoded->value - (int64_t)store__n_taken(a->store);
    int64_t store = store__imbalance(a->store);
    series__set(s->m.unbalanced[0], (double)decode);
    series__set(s->m.unbalanced[1], (double)store);
    return decode != 0 ? decode : store;
}

bool lanes__busy(const struct app *a) {
    for (unsigned i = 0; i < FEEDS_PAGES; i++)
        if (a->lanes.lane[i].decoder != NULL && decoder__busy(a->lanes.lane[i].decoder))
            return true;
    return false;
}

uint64_t lanes__at(const struct app *a) { return live_of(a)->at; }

const char *lanes__followed_at(const struct app *a, uint64_t lsn) {
    const struct lane *backlog = backlog_of(a), *live = live_of(a);
    if (backlog->decoder != NULL) return decoder__followed_at(backlog->decoder, lsn);
    return live->decoder == NULL ? a->followed : decoder__followed_at(live->decoder, lsn);
}

void lanes__status(const struct app *a, struct lanes_status *out) {
    const struct lanes *s = &a->lanes;
    const struct lane *live = live_of(a), *backlog = backlog_of(a);
    *out = (struct lanes_status){.backlog_eta_s = -1};
    if (live->decoder != NULL)
        out->live_lag_s = (double)decoder__lag_ns(live->decoder) / (double)NS_PER_S;
    if (backlog->decoder != NULL) {
        out->backlog_lag_s = (double)decoder__lag_ns(backlog->decoder) / (double)NS_PER_S;
        out->backlog_bytes = backlog->range.until - backlog->at;
    }
    for (size_t i = 0; i < s->n_ranges; i++)
        out->backlog_bytes += s->ranges[i].until - s->ranges[i].from;
    if (out->backlog_bytes == 0) out->backlog_eta_s = 0;
    else if (s->bytes_per_s >= 1) out->backlog_eta_s = (double)out->backlog_bytes / s->bytes_per_s;
    for (int i = 0; i < 2; i++) out->rows[i] = (uint64_t)s->m.rows[i]->value;
}

void lanes__close(struct app *a, void (*cb)(void *data)) {
    bool any = false;
    a->lanes.close_cb = cb;
    for (unsigned i = 0; i < FEEDS_PAGES; i++) {
        struct lane *l = &a->lanes.lane[i];
        any |= l->decoder != NULL;
        if (l->decoder != NULL && !l->closing) close_lane(l);
    }
    if (!any) cb(a);
}
