/* The store's face: batches in, acknowledgements out, and what is true of it now. */
#include "souk/core/log.h"
#include "store_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 200
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
                                          "Batches sealed and not stored.", "table=\"%s\"", t)};
    }
}

size_t store__table_index(const struct store *s, const struct table_desc *table) {
    for (size_t i = 0; i < s->options.n_tables; i++)
        if (s->options.tables[i] == table) return i;
    return 0;
}

void store__note_connection(struct store *s) {
    bool connected = false;
    for (size_t i = 0; i < STORE_CONNECTIONS; i++)
        connected |= s->senders[i].state == SENDER_READY ||
                     s->senders[i].state == SENDER_INSERTING ||
                     (s->senders[i].state == SENDER_CHECKING && s->senders[i].checked);
    connected = connected && !s->refusing; /* Between two refusals it is connected, to no avail. */
    if (connected == s->connected) return;
    s->connected = connected;
    s->since_wall_ns = s->clock->wall_ns;
    if (connected)
        LOG_INFO("store", "connected", LOG_S("server", s->server), LOG_S("database", s->database));
}

/* Seals. */

struct seal_wait {
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

static void on_seal_synced(void *data, uint64_t lsn, int status) {
    struct seal_wait *w = data;
    struct store *s = w->store;
    (void)lsn;
    s->n_sealing--;
    w->sealed->data = NULL;
    if (status == 0) w->sealed->state = SEALED_READY;
    free(w);
    if (s->ending) end_when_idle(s);
    else
        for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__pump(&s->senders[i]);
}

static bool write_seal(struct store *s, struct sealed *sealed) {
    struct seal_wait *w = malloc(sizeof *w);
    struct buf payload = buf__init(4096);
    struct err e = {0};
    seal__encode(&sealed->seal, &payload);
    struct slice part = buf__slice(&payload);
    if (w != NULL) *w = (struct seal_wait){.store = s, .sealed = sealed};
    bool ok = w != NULL && !payload.failed &&
              spool__append(s->spool, SPOOL_SEAL, 0, &part, 1, on_seal_synced, w, &e) != 0;
    if (ok) {
        s->n_sealing++;
        sealed->data = w;
    } else {
        if (!s->seal_failed)
            LOG_ERROR("store", "cannot seal a batch; tries again",
                      LOG_S("table", sealed->seal.table), LOG_E(&e));
        free(w);
    }
    s->seal_failed = !ok;
    buf__fini(&payload);
    return ok;
}

static void on_sealed(void *ctx, struct sealed *sealed) { write_seal(ctx, sealed); }

static void retry_seals(struct store *s) {
    for (struct sealed *x = s->batcher.first; x != NULL; x = x->next)
        if (x->state == SEALED_SEALING && x->data == NULL && !write_seal(s, x)) return;
}

static void note_refusals(struct store *s) {
    s->refusing = false;
    for (const struct sealed *x = s->batcher.first; x != NULL; x = x->next)
        s->refusing |= x->rejected && x->n_attempts >= STORE_REFUSALS;
    store__note_connection(s);
}

void store__acknowledge(struct store *s, struct sealed *sealed, int64_t took_ns) {
    size_t i = store__table_index(s, sealed->batch.table);
    struct buf payload = buf__init(256);
    struct err e = {0};
    buf__string(&payload, slice__str(sealed->seal.token));
    struct slice part = buf__slice(&payload);
    /* A lost ACK costs one more insert with the same token after a restart, no more. */
    if (payload.failed || spool__append(s->spool, SPOOL_ACK, 0, &part, 1, NULL, NULL, &e) == 0)
        LOG_WARN("store", "acknowledgement not logged", LOG_E(&e));
    buf__fini(&payload);
    s->tables[i].rows += sealed->batch.n_rows;
    s->tables[i].batches++;
    s->tables[i].last_ack_wall_ns = s->clock->wall_ns;
    s->rows += sealed->batch.n_rows;
    series__inc(s->m[i].stored);
    series__add(s->m[i].rows_acked, (double)sealed->batch.n_rows);
    series__observe(s->m[i].batch_rows, (double)sealed->batch.n_rows);
    series__observe(s->m[i].batch_bytes, (double)batch__bytes(&sealed->batch));
    series__observe(s->m[i].insert_seconds, (double)took_ns / (double)NS_PER_S);
    series__observe(s->m[i].latency,
                    (double)(s->clock->wall_ns - sealed->first_wall_ns) / (double)NS_PER_S);
    if (!sealed->matches)
        LOG_WARN("store",
                 "batch differs from its seal: pages were decoded otherwise before the restart",
                 LOG_S("table", sealed->seal.table), LOG_S("token", sealed->seal.token));
    batcher__stored(&s->batcher, sealed);
    if (!s->had_room && store__has_room(s)) {
        s->had_room = true;
        if (s->room_cb != NULL) s->room_cb(s->room_ctx);
    }
}

/* Opening, ticking, closing. */

static void on_tick(uv_timer_t *tick) {
    struct store *s = tick->data;
    batcher__cut(&s->batcher, false);
    retry_seals(s);
    note_refusals(s);
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__pump(&s->senders[i]);
    for (size_t i = 0; i < s->options.n_tables; i++) {
        size_t outstanding;
        batcher__open_rows(&s->batcher, s->tables[i].name, &outstanding);
        series__set(s->m[i].outstanding, (double)outstanding);
    }
}

void store__sender_ended(struct store *s) { end_when_idle(s); }

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
    return s->host == NULL || s->user == NULL || s->password == NULL || s->database == NULL
               ? ERR_NOMEM
               : 0;
}

static void free_store(struct store *s) {
    batcher__fini(&s->batcher);
    free(s->host);
    free(s->user);
    free(s->password);
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
    s->had_room = true;
    s->since_wall_ns = clock->wall_ns;
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
    init_metrics(s, metrics);
    uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    uv_timer_start(&s->tick, on_tick, 0, TICK_MS);
    for (size_t i = 0; status == 0 && i < STORE_CONNECTIONS; i++)
        status = sender__init(&s->senders[i], s, e);
    *out = s; /* Also after an error: the caller closes it. */
    return status;
}

int store__recover_seal(struct store *s, struct slice payload) {
    struct seal seal;
    int status = seal__decode(payload, &seal);
    return status != 0 ? status : batcher__recover_seal(&s->batcher, &seal);
}

int store__recover_ack(struct store *s, struct slice payload) {
    struct reader r = reader__of(payload);
    struct slice token = reader__string(&r);
    char text[33];
    if (r.failed || token.len != 32) return ERR_CORRUPT;
    memcpy(text, token.base, 32);
    text[32] = '\0';
    batcher__recover_ack(&s->batcher, text);
    return 0;
}

void store__start(struct store *s, uint64_t lsn) { s->batcher.decoded_lsn = lsn; }

int store__rows(struct store *s, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                struct rows *rows) {
    return batcher__rows(&s->batcher, lsn, next_lsn, wall_ns, rows);
}

bool store__has_room(const struct store *s) {
    bool room = s->batcher.open_bytes + s->batcher.sealed_bytes < s->options.memory_max;
    if (!room) ((struct store *)s)->had_room = false; /* Someone waits to be told. */
    return room;
}

void store__on_room(struct store *s, void (*cb)(void *ctx), void *ctx) {
    s->room_cb = cb;
    s->room_ctx = ctx;
}

uint64_t store__low_water(const struct store *s) { return batcher__low_water(&s->batcher, false); }

int64_t store__imbalance(const struct store *s) { return batcher__imbalance(&s->batcher); }

void store__status(const struct store *s, struct store_status *out) {
    *out = (struct store_status){.connected = s->connected,
                                 .held = s->held || s->refusing,
                                 .since_wall_ns = s->since_wall_ns,
                                 .n_tables = s->options.n_tables,
                                 .n_sealed = s->batcher.n_sealed,
                                 .bytes = s->batcher.open_bytes + s->batcher.sealed_bytes,
                                 .rows = s->rows,
                                 .retries = s->retries};
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

bool store__flush(struct store *s) {
    batcher__cut(&s->batcher, true);
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__pump(&s->senders[i]);
    return s->batcher.n_sealed == 0 && s->batcher.open_rows == 0;
}

void store__close(struct store *s, void (*cb)(void *data), void *data) {
    s->close_cb = cb;
    s->close_data = data;
    s->ending = true;
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) sender__end(&s->senders[i]);
    end_when_idle(s);
}
