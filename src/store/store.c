/* The store's face: batches in, acknowledgements out, and what is true of it now. */
#include "souk/core/log.h"
#include "store_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define TICK_MS 200
#define PATIENT_MAX_NS (50 * NS_PER_S)
#define HELD_AGAIN_NS (60 * NS_PER_S) /* A held batch is tried again: it may have been mended. */
#define MEMORY_MAX_DEFAULT                                                                         \
    ((size_t)32 << 20) /* Some four full batches; the log holds the rest.                          \
                        */

static void init_metrics(struct store *s, struct metrics *m) {
    for (size_t i = 0; i < s->options.n_tables; i++) {
        const char *t = s->options.tables[i]->name;
        s->tables[i].name = t;
        s->m[i] = (struct table_metrics){
            .stored = metrics__counter(m, "souk_batches_total", "Inserts by how they ended.",
                                       "table=\"%s\",result=\"stored\"", t),
            .failed =
                metrics__counter(m, "souk_batches_total", "", "table=\"%s\",result=\"failed\"", t),
            .rows_acked = metrics__counter(m, "souk_rows_acked_total",
                                           "Rows that ClickHouse acknowledged.", "table=\"%s\"", t),
            .batch_rows = metrics__histogram_scaled(m, "souk_batch_rows", "Rows of a batch.", 1000,
                                                    "table=\"%s\"", t),
            .batch_bytes = metrics__histogram_scaled(m, "souk_batch_bytes", "Bytes of a batch.",
                                                     1 << 20, "table=\"%s\"", t),
            .insert_seconds =
                metrics__histogram(m, "souk_insert_seconds",
                                   "From a batch sent to its acknowledgement.", "table=\"%s\"", t),
            .latency = metrics__histogram(m, "souk_ingest_latency_seconds",
                                          "From a page received to its rows acknowledged.",
                                          "table=\"%s\"", t),
            .retries = metrics__counter(m, "souk_insert_retries_total",
                                        "Inserts that are sent again.", "table=\"%s\"", t),
            .outstanding = metrics__gauge(m, "souk_batches_outstanding",
                                          "Batches sealed and not stored.", "table=\"%s\"", t),
            .refused = metrics__counter(m, "souk_rows_refused_total",
                                        "Rows that ClickHouse refused, each quarantined.",
                                        "table=\"%s\"", t),
            .search_inserts = metrics__counter(
                m, "souk_range_inserts_total",
                "Inserts of a part of a batch that was refused or too large.", "table=\"%s\"", t),
            .renewed = metrics__counter(
                m, "souk_inserts_renewed_total",
                "Inserts that were said to be stored and were not there: sent under another token.",
                "table=\"%s\"", t)};
    }
    s->m_mistimed = metrics__gauge(
        m, "souk_batches_mistimed",
        "Batches with rows older than their table keeps, or from the future: they wait.", "");
    s->m_elsewhere =
        metrics__gauge(m, "souk_batches_elsewhere",
                       "Batches that wait for the server that may have them already.", "");
    s->m_rests =
        metrics__counter(m, "souk_store_rests_total",
                         "Times that inserts waited as the server has too much to do.", "");
    s->m_held = metrics__gauge(m, "souk_batches_held",
                               "Batches with too many refused rows, which wait for somebody.", "");
}

size_t store__table_index(const struct store *s, const struct table_desc *table) {
    for (size_t i = 0; i < s->options.n_tables; i++)
        if (s->options.tables[i] == table) return i;
    return 0;
}

const char *store_state__name(enum store_state state) {
#define STATE_NAME(code, name, text) [code] = name,
    static const char *const names[] = {STORE_STATE_MAP(STATE_NAME)};
    return (unsigned)state < STORE_STATES ? names[state] : "?";
}

const char *store_state__text(enum store_state state) {
#define STATE_TEXT(code, name, text) [code] = text,
    static const char *const texts[] = {STORE_STATE_MAP(STATE_TEXT)};
    return (unsigned)state < STORE_STATES ? texts[state] : "?";
}

/* One refusal for a while is nothing yet: the next attempt goes well as a rule. */
static enum store_state resting(const struct store *s) {
    if (s->rest.n > 1) return s->rest.why;
    for (size_t i = 0; i < s->options.n_tables; i++)
        if (s->rests[i].n > 1) return s->rests[i].why;
    return STORE_CONNECTED;
}

static enum store_state judge_state(const struct store *s, bool live, bool stalled) {
    if (!live && s->held) return STORE_HELD;
    if (!live && (stalled || s->silent)) return STORE_STALLED;
    /* Between a refusal and the next connection it is as it was. */
    if (!live && resting(s) != STORE_CONNECTED) return resting(s);
    if (!live) return s->last_error[0] == '\0' ? STORE_CONNECTING : STORE_AWAY;
    if (s->refusing) return STORE_HELD;
    if (resting(s) != STORE_CONNECTED) return resting(s);
    return s->n_elsewhere > 0 ? STORE_ELSEWHERE : STORE_CONNECTED;
}

void store__note_connection(struct store *s) {
    bool live = false, stalled = false;
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) {
        live |= sender__is_live(&s->senders[i]);
        stalled |= s->senders[i].stalled;
    }
    enum store_state was = s->state;
    s->state = judge_state(s, live, stalled);
    s->answers = live && !s->stuck && resting(s) == STORE_CONNECTED;
    if ((s->state == STORE_CONNECTED) == (was == STORE_CONNECTED)) return;
    s->since_wall_ns = s->clock->wall_ns;
    s->since_mono_ns = s->clock->mono_ns;
    if (s->state == STORE_CONNECTED)
        LOG_INFO("store", "connected", LOG_S("server", s->server), LOG_S("database", s->database));
}

int64_t store__jitter(struct store *s, int64_t ns) {
    s->jitter += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = s->jitter;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return ns - (int64_t)(z % (uint64_t)(ns / 4 + 1));
}

/* Records: what is said of a batch before it is sent. */

struct record_wait {
    struct store *store;
    struct sealed *sealed;
};

static void finish_close(uv_handle_t *tick);

static void end_when_idle(struct store *s) {
    if (!s->ending || s->n_senders_open > 0 || s->n_sealing > 0 ||
        uv_is_closing((uv_handle_t *)&s->tick))
        return;
    uv_timer_stop(&s->tick);
    uv_close((uv_handle_t *)&s->tick, finish_close);
}

static void pump_all(struct store *s) {
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__pump(&s->senders[i]);
}

static void acknowledge(struct store *s, struct sealed *sealed, int64_t took_ns);

/* The refusal of row search.lo is in the log. */
static void skip_row(struct store *s, struct sealed *x) {
    size_t i = store__table_index(s, x->batch.table);
    search__skip(&x->search, x->batch.n_rows);
    s->refused_rows++;
    s->tables[i].refused++;
    series__inc(s->m[i].refused);
}

static void on_record_synced(void *data, uint64_t lsn, int status) {
    struct record_wait *w = data;
    struct store *s = w->store;
    struct sealed *x = w->sealed;
    (void)lsn;
    s->n_sealing--;
    x->data = NULL;
    free(w);
    if (status == 0) {
        x->state = SEALED_READY;
        if (x->record == SEALED_REFUSAL) skip_row(s, x);
        if (search__done(&x->search, x->batch.n_rows)) acknowledge(s, x, 0);
    }
    if (s->ending) end_when_idle(s);
    else pump_all(s);
}

static int encode_record(struct store *s, struct sealed *x, struct buf *out) {
    switch (x->record) {
    case SEALED_SEAL: seal__encode(&x->seal, out); return 0;
    case SEALED_RANGE: sealed__encode_range(x, out); return 0;
    case SEALED_REFUSAL: return sealed__encode_refusal(x, s->clock->wall_ns, out);
    }
    return 0;
}

static bool write_record(struct store *s, struct sealed *x) {
    static const enum spool_type types[] = {[SEALED_SEAL] = SPOOL_SEAL,
                                            [SEALED_RANGE] = SPOOL_RANGE,
                                            [SEALED_REFUSAL] = SPOOL_QUARANTINE};
    struct record_wait *w = malloc(sizeof *w);
    struct buf payload = buf__init(64 << 10);
    struct err e = {0};
    bool ok = w != NULL && encode_record(s, x, &payload) == 0 && !payload.failed;
    struct slice part = buf__slice(&payload);
    if (ok) {
        *w = (struct record_wait){.store = s, .sealed = x};
        ok = spool__append(s->spool, types[x->record], 0, &part, 1, on_record_synced, w, &e) != 0;
    }
    if (ok) {
        s->n_sealing++;
        x->data = w;
    } else {
        if (!s->seal_failed)
            LOG_ERROR("store", "cannot seal a batch; tries again", LOG_S("table", x->seal.table),
                      LOG_E(&e));
        free(w);
    }
    s->seal_failed = !ok;
    buf__fini(&payload);
    return ok;
}

static void on_sealed(void *ctx, struct sealed *sealed) {
    store__place(ctx, sealed);
    write_record(ctx, sealed);
}

/* What is about souk itself, and what is derived later in any case, waits longer, for the sake of
 * fewer parts; but it is there within a minute, unless the server has too many parts: then all wait
 * longer. */
static int64_t age_ns(void *ctx, const struct table_desc *table) {
    const struct store *s = ctx;
    int64_t ns = s->options.age_max_ns,
            patient_ns = 5 * ns < PATIENT_MAX_NS ? 5 * ns : PATIENT_MAX_NS;
    if ((table->patient || table->derived) && patient_ns > ns) ns = patient_ns;
    return ns * s->age_scale[store__table_index(s, table)];
}

static void retry_records(struct store *s) {
    for (struct sealed *x = s->batcher.first; x != NULL; x = x->next)
        if (x->state == SEALED_SEALING && x->data == NULL && !write_record(s, x)) return;
}

static void record(struct store *s, struct sealed *x, enum sealed_record what) {
    x->record = what;
    x->state = SEALED_SEALING;
    write_record(s, x);
}

static void note_refusals(struct store *s) {
    size_t n_held = 0;
    s->stuck = false;
    for (const struct sealed *x = s->batcher.first; x != NULL; x = x->next) {
        n_held += x->search.held;
        s->stuck |= x->rejected && !x->busy && !x->search.held && x->n_attempts >= STORE_REFUSALS;
    }
    s->refusing = s->stuck || n_held > 0;
    series__set(s->m_held, (double)n_held);
    store__note_connection(s);
}

/* What became of a batch. */

static void make_room(struct store *s) {
    bool told = false;
    for (unsigned i = 0; i < FEEDS_MAX; i++) {
        if (!s->no_room[i] || !store__has_room(s, i)) continue;
        s->no_room[i] = false;
        told = true;
    }
    if (told && s->room_cb != NULL) s->room_cb(s->room_ctx);
}

static void count_stored(struct store *s, const struct sealed *x, int64_t took_ns) {
    size_t i = store__table_index(s, x->batch.table);
    uint64_t n_rows = x->batch.n_rows - x->search.n_refused;
    s->tables[i].rows += n_rows;
    s->tables[i].batches++;
    s->tables[i].last_ack_wall_ns = s->clock->wall_ns;
    s->rows += n_rows;
    series__inc(s->m[i].stored);
    series__add(s->m[i].rows_acked, (double)n_rows);
    series__observe(s->m[i].batch_rows, (double)x->batch.n_rows);
    series__observe(s->m[i].batch_bytes, (double)batch__bytes(&x->batch));
    series__observe(s->m[i].insert_seconds, (double)took_ns / (double)NS_PER_S);
    series__observe(s->m[i].latency,
                    (double)(s->clock->wall_ns - x->first_wall_ns) / (double)NS_PER_S);
}

static void acknowledge(struct store *s, struct sealed *x, int64_t took_ns) {
    struct buf payload = buf__init(256);
    struct err e = {0};
    buf__string(&payload, slice__str(x->seal.token));
    struct slice part = buf__slice(&payload);
    /* A lost ACK costs one more insert with the same token after a restart, no more. */
    if (payload.failed || spool__append(s->spool, SPOOL_ACK, 0, &part, 1, NULL, NULL, &e) == 0)
        LOG_WARN("store", "acknowledgement not logged", LOG_E(&e));
    buf__fini(&payload);
    count_stored(s, x, took_ns);
    if (!x->matches)
        LOG_WARN("store",
                 "batch differs from its seal: pages were decoded otherwise before the restart",
                 LOG_S("table", x->seal.table), LOG_S("token", x->seal.token));
    batcher__stored(&s->batcher, x);
    make_room(s);
}

/* The search knows more: row lo is bad, or another range is next. What it says is in the log before
 * it is acted on. */
static void go_on(struct store *s, struct sealed *x, bool refuse_row, int64_t took_ns) {
    uint64_t n_rows = x->batch.n_rows;
    x->uncertain = false;
    x->rejected = false;
    x->n_attempts = 0;
    if (search__done(&x->search, n_rows)) {
        acknowledge(s, x, took_ns);
    } else if (!refuse_row) {
        record(s, x, SEALED_RANGE);
    } else if (x->search.n_refused < search__refused_max(n_rows)) {
        LOG_WARN("store", "a row is refused", LOG_S("table", x->seal.table),
                 LOG_I("row", x->search.lo), LOG_S("token", x->seal.token),
                 LOG_S("err", x->why == NULL ? "" : x->why));
        record(s, x, SEALED_REFUSAL);
    } else { /* It is not one row: better wait for somebody than take a batch apart. */
        if (!x->search.held)
            LOG_ERROR("store", "too many rows of a batch are refused; it is held",
                      LOG_S("table", x->seal.table), LOG_I("refused", x->search.n_refused),
                      LOG_I("rows", n_rows), LOG_S("err", x->why == NULL ? "" : x->why));
        x->search.held = true;
        x->not_before_mono_ns = s->clock->mono_ns + HELD_AGAIN_NS;
        snprintf(s->last_error, sizeof s->last_error, "%.200s: %llu rows refused in one batch",
                 x->why == NULL ? "" : x->why, (unsigned long long)x->search.n_refused);
    }
}

void store__stored(struct store *s, struct sealed *x, uint64_t n_rows, int64_t took_ns) {
    s->n_confirmed += n_rows;
    if (!x->search.active || search__done(&x->search, x->batch.n_rows)) {
        acknowledge(s, x, took_ns);
        return;
    }
    x->state = SEALED_READY;
    go_on(s, x, search__stored(&x->search, x->batch.n_rows), took_ns);
}

void store__reached(struct store *s, struct sealed *x, uint64_t end) {
    s->n_confirmed += end - x->search.lo; /* Seen there, row by row. */
    x->state = SEALED_READY;
    go_on(s, x, search__reached(&x->search, end, x->batch.n_rows), 0);
}

void store__split(struct store *s, struct sealed *x) {
    uint64_t n_rows = x->batch.n_rows;
    if (x->too_large) {
        bool uncertain = (x->uncertain && !x->over) || x->search.fence > 0;
        if (search__too_large(&x->search, n_rows, x->n_min, uncertain)) go_on(s, x, false, 0);
        return;
    }
    if (!x->search.active) search__begin(&x->search, n_rows);
    go_on(s, x, search__refused(&x->search, n_rows), 0);
}

void store__move(struct store *s, struct sealed *x) { record(s, x, SEALED_SEAL); }

void store__renew(struct store *s, struct sealed *x) {
    size_t i = store__table_index(s, x->batch.table);
    LOG_WARN("store", "an insert that was said to be stored is not there; it is sent anew",
             LOG_S("table", x->seal.table), LOG_S("token", x->seal.token));
    series__inc(s->m[i].renewed);
    search__renew(&x->search, x->batch.n_rows);
    x->uncertain = x->rejected = false;
    x->n_attempts = 0;
    record(s, x, SEALED_RANGE);
}

/* Opening, ticking, closing. */

static void on_tick(uv_timer_t *tick) { store__tick(tick->data); }

void store__tick(struct store *s) {
    if (s->ending) return;
    batcher__cut(&s->batcher, false);
    retry_records(s);
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__watch(&s->senders[i]);
    note_refusals(s);
    store__judge_times(s);
    pump_all(s);
    for (size_t i = 0; i < s->options.n_tables; i++) {
        size_t outstanding;
        batcher__open_rows(&s->batcher, s->tables[i].name, &outstanding);
        series__set(s->m[i].outstanding, (double)outstanding);
    }
}

void store__sender_ended(struct store *s) { end_when_idle(s); }

static bool address_is_local(const char *host) {
    static const char *const starts[] = {"127.", "localhost", "::1", "[::1]", "0.0.0.0"};
    for (size_t i = 0; host != NULL && i < sizeof starts / sizeof *starts; i++)
        if (strncmp(host, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

static int copy_options(struct store *s, const struct store_options *options) {
    s->options = *options;
    if (s->options.rows_max == 0) s->options.rows_max = 50000;
    if (s->options.bytes_max == 0) s->options.bytes_max = (size_t)8 << 20;
    if (s->options.age_max_ns == 0) s->options.age_max_ns = NS_PER_S;
    if (s->options.memory_max == 0) s->options.memory_max = MEMORY_MAX_DEFAULT;
    s->host = strdup(options->host);
    s->user = strdup(options->user);
    s->password = strdup(options->password);
    s->database = strdup(options->database);
    s->password_file = strdup(options->password_file == NULL ? "" : options->password_file);
    s->options.host = s->host; /* For the links. */
    s->options.user = s->user;
    s->options.password = s->password;
    s->options.password_file = s->password_file;
    s->options.database = s->database;
    return s->password_file == NULL || s->host == NULL || s->user == NULL || s->password == NULL ||
                   s->database == NULL
               ? ERR_NOMEM
               : 0;
}

static bool is_local(const struct store_options *options) {
    bool local = address_is_local(options->host);
    for (size_t i = 0; i < options->n_hosts; i++) local |= address_is_local(options->hosts[i]);
    return local;
}

static void free_store(struct store *s) {
    batcher__fini(&s->batcher);
    free(s->host);
    free(s->user);
    free(s->password);
    free(s->password_file);
    free(s->database);
    free(s);
}

int store__open(struct store **out, uv_loop_t *loop, const struct clock *clock,
                struct metrics *metrics, struct spool *spool, const struct store_options *options,
                struct err *e) {
    assert(options->n_tables <= STORE_TABLES_MAX);
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL || copy_options(s, options) != 0) {
        free(s);
        return err__setf(e, ERR_NOMEM, "store: out of memory");
    }
    s->loop = loop;
    s->clock = clock;
    s->spool = spool;
    s->since_wall_ns = clock->wall_ns;
    s->since_mono_ns = clock->mono_ns;
    s->local = is_local(options);
    struct batcher_options batches = {.store_id = spool__store_id(spool),
                                      .rows_max = s->options.rows_max,
                                      .bytes_max = s->options.bytes_max,
                                      .age_max_ns = s->options.age_max_ns};
    int status = batcher__init(&s->batcher, clock, &batches);
    if (status != 0) {
        free_store(s);
        return err__setf(e, status, "store: out of memory");
    }
    s->batcher.ctx = s;
    s->batcher.on_sealed = on_sealed;
    s->batcher.age_ns = age_ns;
    s->jitter = XXH3_64bits(batches.store_id, strlen(batches.store_id));
    for (size_t i = 0; i < s->options.n_tables; i++) {
        s->age_scale[i] = 1;
        s->rests[i].why = STORE_CONNECTED;
    }
    init_metrics(s, metrics);
    uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    if (!options->ticks_by_hand) uv_timer_start(&s->tick, on_tick, 0, TICK_MS);
    for (size_t i = 0; status == 0 && i < STORE_CONNECTIONS; i++)
        status = sender__init(&s->senders[i], s, e);
    *out = s; /* Also after an error: the caller closes it. */
    return status;
}

static int recover_seal(struct store *s, struct slice payload) {
    struct seal seal;
    int status = seal__decode(payload, &seal);
    if (status != 0) return status;
    for (size_t i = 0; i < s->options.n_tables; i++)
        if (s->options.tables[i]->derived && strcmp(s->options.tables[i]->name, seal.table) == 0)
            return batcher__recover_tape_seal(&s->batcher, &seal);
    return batcher__recover_seal(&s->batcher, &seal);
}

static int recover_ack(struct store *s, struct slice payload) {
    struct reader r = reader__of(payload);
    struct slice token = reader__string(&r);
    char text[33];
    if (r.failed || token.len != 32) return ERR_CORRUPT;
    memcpy(text, token.base, 32);
    text[32] = '\0';
    batcher__recover_ack(&s->batcher, text);
    return 0;
}

int store__recover(struct store *s, const struct spool_record *rec) {
    switch (rec->type) {
    case SPOOL_SEAL: return recover_seal(s, rec->payload);
    case SPOOL_ACK: return recover_ack(s, rec->payload);
    case SPOOL_RANGE: return batcher__recover_range(&s->batcher, rec->payload);
    case SPOOL_QUARANTINE: return batcher__recover_refusal(&s->batcher, rec->payload);
    default: return 0;
    }
}

void store__start(struct store *s, uint64_t lsn) { batcher__open_feed(&s->batcher, 0, lsn); }

void store__open_feed(struct store *s, unsigned feed, uint64_t lsn) {
    batcher__open_feed(&s->batcher, feed, lsn);
}

void store__close_feed(struct store *s, unsigned feed) { batcher__close_feed(&s->batcher, feed); }

bool store__feed_open(const struct store *s, unsigned feed) { return s->batcher.feeds[feed].open; }

bool store__feed_waits(const struct store *s, unsigned feed) {
    return batcher__feed_waits(&s->batcher, feed);
}

void store__prefer(struct store *s, unsigned feed) { s->prefer = feed; }

int store__rows(struct store *s, unsigned feed, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                struct rows *rows) {
    return batcher__rows(&s->batcher, feed, lsn, next_lsn, wall_ns, rows);
}

bool store__has_room(const struct store *s, unsigned feed) {
    size_t n_open = 0;
    for (unsigned i = 0; i < FEEDS_PAGES; i++) n_open += s->batcher.feeds[i].open;
    size_t max = s->options.memory_max / (feed == FEED_TAPE ? 4 : n_open > 1 ? n_open : 1);
    bool room = s->batcher.feeds[feed].bytes < max;
    if (!room) { /* Someone waits to be told. */
        ((struct store *)s)->no_room[feed] = true;
        ((struct store *)s)->batcher.feeds[feed].crowd_bytes = max / 2 + 1; /* Of its own. */
    }
    return room;
}

void store__on_room(struct store *s, void (*cb)(void *ctx), void *ctx) {
    s->room_cb = cb;
    s->room_ctx = ctx;
}

uint64_t store__low_water(const struct store *s) { return batcher__low_water(&s->batcher); }

uint64_t store__feed_low_water(const struct store *s, unsigned feed) {
    return batcher__feed_low_water(&s->batcher, feed);
}

int64_t store__imbalance(const struct store *s) {
    const struct batcher *b = &s->batcher;
    uint64_t out = s->n_confirmed + s->refused_rows;
    uint64_t met_again = b->n_dropped_as_stored + b->n_settled_before;
    return (int64_t)(b->n_taken - out - met_again - batcher__owed(b));
}

uint64_t store__n_taken(const struct store *s) { return s->batcher.n_taken; }

void store__status(const struct store *s, struct store_status *out) {
    *out = (struct store_status){.state = s->state,
                                 .connected = s->state == STORE_CONNECTED,
                                 .answers = s->answers,
                                 .held = s->state == STORE_HELD || s->held || s->refusing,
                                 .n_elsewhere = s->n_elsewhere,
                                 .since_wall_ns = s->since_wall_ns,
                                 .since_mono_ns = s->since_mono_ns,
                                 .n_tables = s->options.n_tables,
                                 .n_sealed = s->batcher.n_sealed,
                                 .bytes = s->batcher.open_bytes + s->batcher.sealed_bytes,
                                 .rows = s->rows,
                                 .retries = s->retries,
                                 .refused_rows = s->refused_rows};
    for (unsigned i = 0; i < FEEDS_MAX; i++) {
        out->feed_rows[i] = s->batcher.feeds[i].n_taken;
        out->feed_bytes[i] = s->batcher.feeds[i].bytes;
    }
    for (const struct sealed *x = s->batcher.first; x != NULL; x = x->next) {
        out->n_searched += x->search.active && !x->search.held;
        out->n_held += x->search.held || x->mistimed;
        out->n_mistimed += x->mistimed;
    }
    if (out->n_mistimed > 0) snprintf(out->mistimed, sizeof out->mistimed, "%s", s->mistimed);
    snprintf(out->server, sizeof out->server, "%s", s->server);
    snprintf(out->last_error, sizeof out->last_error, "%s", s->last_error);
    for (size_t i = 0; i < s->options.n_tables; i++) {
        out->tables[i] = s->tables[i];
        out->tables[i].open_rows =
            batcher__open_rows(&s->batcher, s->tables[i].name, &out->tables[i].outstanding);
    }
}

static void finish_close(uv_handle_t *tick) {
    struct store *s = tick->data;
    void (*cb)(void *) = s->close_cb;
    void *data = s->close_data;
    if (s->batcher.n_sealed > 0)
        LOG_INFO("store", "batches wait for the next start", LOG_I("batches", s->batcher.n_sealed));
    free_store(s);
    cb(data);
}

void store__cut(struct store *s) {
    batcher__cut(&s->batcher, true);
    pump_all(s);
}

bool store__flush(struct store *s) {
    store__cut(s);
    return s->batcher.n_sealed == 0 && s->batcher.open_rows == 0;
}

void store__close(struct store *s, void (*cb)(void *data), void *data) {
    s->close_cb = cb;
    s->close_data = data;
    s->ending = true;
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__end(&s->senders[i]);
    end_when_idle(s);
}
