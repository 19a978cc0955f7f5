/* One connection to ClickHouse. The happy path: connect, check the server, insert one batch after
 * another. What can fail: connecting (again, later, with backoff), the check (held: rows wait until
 * the server is as it should be), an insert: same block, same token, until its outcome is certain.
 * What was refused for its data, or as too large, is asked for first, and then searched. */
#include "souk/core/log.h"
#include "store_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_FIRST_NS (NS_PER_S / 5)
#define CHECK_AGAIN_NS (60 * NS_PER_S) /* Someone may take a deduplication window away. */
#define BACKOFF_MAX_NS (5 * NS_PER_S)
/* Between two looks for a block: the first attempt may be about to commit it. */
#define PROOF_AGAIN_NS (10 * NS_PER_S)

static const unsigned sender_next[] = {
    [SENDER_CLOSED] = 1u << SENDER_CONNECTING | 1u << SENDER_ENDED,
    [SENDER_CONNECTING] = 1u << SENDER_CHECKING | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_CHECKING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_READY] = 1u << SENDER_INSERTING | 1u << SENDER_LOOKING | 1u << SENDER_CHECKING |
                     1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_INSERTING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_LOOKING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_ENDED] = 0,
};

static void move(struct sender *c, enum sender_state next) {
    assert(sender_next[c->state] & (1u << next));
    c->state = next;
    if (next != SENDER_ENDED) store__note_connection(c->store);
}

static int64_t backoff_ns(uint32_t n) {
    int64_t ns = BACKOFF_FIRST_NS;
    for (uint32_t i = 1; i < n && ns < BACKOFF_MAX_NS; i++) ns *= 2;
    return ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
}

/* The same failure is told once a minute: ClickHouse can be away for days. */
static bool is_news(struct store *s, const char *text) {
    if (s->close_cb != NULL) return false;
    if (strcmp(s->last_error, text) == 0 && s->clock->mono_ns - s->logged_mono_ns < 60 * NS_PER_S)
        return false;
    s->logged_mono_ns = s->clock->mono_ns;
    return true;
}

static void note_failure(struct sender *c, bool held, const char *text) {
    struct store *s = c->store;
    c->n_failures++;
    c->connect_at_mono_ns = s->clock->mono_ns + backoff_ns(c->n_failures);
    s->held = held;
    if (is_news(s, text))
        LOG_WARN("store", held ? "ClickHouse is not as it should be" : "ClickHouse is away",
                 LOG_S("host", s->host), LOG_I("port", s->options.port), LOG_S("err", text));
    snprintf(s->last_error, sizeof s->last_error, "%s", text);
}

static void fail(struct sender *c, bool held, const char *text) {
    note_failure(c, held, text);
    move(c, SENDER_CLOSED);
}

/* Connecting and checking. */

static bool is_configuration(const struct store_reply *r) {
    return store_reply__class(r) == REPLY_CONFIGURATION;
}

static void on_checked(void *data, const struct store_reply *reply,
                       const struct store_table_facts *tables) {
    struct sender *c = data;
    struct store *s = c->store;
    char problem[ERR_MSG_MAX];
    if (c->state == SENDER_ENDED) return;
    if (reply->outcome != STORE_STORED) {
        fail(c, is_configuration(reply), reply->text);
        return;
    }
    if (!store__judge_tables(s, tables, problem, sizeof problem)) {
        fail(c, true, problem);
        return;
    }
    s->held = false;
    c->checked = true;
    c->check_at_mono_ns = s->clock->mono_ns + CHECK_AGAIN_NS;
    move(c, SENDER_READY); /* The backoff stays until an insert has gone well. */
    sender__pump(c);
}

static uint64_t n_jumps(const struct store *s) {
    return s->options.wall == NULL ? 0 : s->options.wall->n_jumps;
}

static void check_server(struct sender *c) {
    c->jumps_seen = n_jumps(c->store);
    c->asked_mono_ns = c->store->clock->mono_ns;
    move(c, SENDER_CHECKING);
    int status = c->type->check(c->link);
    if (status != 0) fail(c, false, "cannot ask for its tables");
}

static void on_time(void *data, int64_t server_wall_ns) {
    struct sender *c = data;
    if (c->state != SENDER_ENDED) store__told_time(c->store, server_wall_ns, c->asked_mono_ns);
}

static void on_connected(void *data, const struct store_reply *reply,
                         const struct store_server *server) {
    struct sender *c = data;
    char problem[ERR_MSG_MAX];
    if (c->state == SENDER_ENDED) return;
    c->checked = false;
    if (reply->outcome != STORE_STORED) fail(c, is_configuration(reply), reply->text);
    else if (!store__judge_server(c->store, server, problem, sizeof problem))
        fail(c, true, problem);
    else check_server(c);
}

static void on_lost(void *data, const char *text) {
    struct sender *c = data;
    if (c->state != SENDER_ENDED && c->state != SENDER_CLOSED) fail(c, false, text);
}

/* Inserting. */

static void remember_reply(struct sealed *x, const struct store_reply *reply,
                           enum reply_class class) {
    x->rejected = reply->outcome == STORE_REJECTED;
    x->too_large = class == REPLY_MEMORY;
    if (reply->outcome == STORE_UNKNOWN) x->uncertain = true;
    if (class != REPLY_DATA) return;
    free(x->why);
    x->why = strdup(reply->text); /* Without memory it goes without words. */
    x->code = reply->code;
}

static size_t rows_under_way(const struct sealed *x) {
    return x->search.active ? (size_t)(x->search.hi - x->search.lo) : x->batch.n_rows;
}

/* @return true when something can be done about @x but sending the same again. */
static bool can_be_split(const struct store *s, const struct sealed *x, enum reply_class class) {
    if (class == REPLY_DATA)
        return s->options.refusals != NULL && x->batch.table != s->options.refusals;
    /* Another split of what may be stored already could store rows twice. */
    return class == REPLY_MEMORY && !x->uncertain && rows_under_way(x) > SEARCH_STEP_MIN;
}

static void on_refused(struct sender *c, struct sealed *x, const struct store_reply *reply) {
    struct store *s = c->store;
    enum reply_class class = store_reply__class(reply);
    size_t i = store__table_index(s, x->batch.table);
    remember_reply(x, reply, class);
    x->state = SEALED_READY;
    x->not_before_mono_ns = s->clock->mono_ns + backoff_ns(x->n_attempts);
    s->retries++;
    series__inc(s->m[i].retries);
    series__inc(s->m[i].failed);
    if (class == REPLY_PARTS && s->batcher.age_scale < AGE_SCALE_MAX) s->batcher.age_scale *= 2;
    if (is_news(s, reply->text))
        LOG_WARN("store", "insert will be repeated", LOG_S("table", x->seal.table),
                 LOG_I("rows", rows_under_way(x)), LOG_I("outcome", reply->outcome),
                 LOG_S("token", x->seal.token), LOG_S("err", reply->text));
    x->look = can_be_split(s, x, class);
    if (c->state == SENDER_ENDED) return;
    if (class == REPLY_DATA && x->look) { /* ClickHouse is well: it is this batch. */
        x->not_before_mono_ns = s->clock->mono_ns;
        c->connect_at_mono_ns = s->clock->mono_ns;
        snprintf(s->last_error, sizeof s->last_error, "%s", reply->text);
        move(c, SENDER_CLOSED);
        sender__pump(c);
        return;
    }
    fail(c, class == REPLY_CONFIGURATION, reply->text);
}

/* A plain MergeTree writes a token down before it commits the block. When it is stopped in between,
 * or the insert is cancelled, the block is gone and the token is not: what is sent again is taken
 * for a duplicate. Seen on 26.7; ClickHouse issue 27667 tells of the like. Replicated tables commit
 * both at once, and may not show them on another replica yet. */
static bool needs_proof(const struct store *s, const struct sealed *x) {
    return x->uncertain && !s->replicated[store__table_index(s, x->batch.table)];
}

static void on_inserted(void *data, const struct store_reply *reply) {
    struct sender *c = data;
    struct store *s = c->store;
    struct sealed *x = c->sealed;
    c->sealed = NULL;
    batch__fini(&c->range);
    if (store_reply__class(reply) != REPLY_STORED) {
        on_refused(c, x, reply);
        return;
    }
    c->n_failures = 0;
    s->batcher.age_scale = (s->batcher.age_scale + 1) / 2;
    /* An exception that says "deduplicated" closes the connection as any other does. */
    if (c->state != SENDER_ENDED)
        move(c, reply->outcome == STORE_STORED ? SENDER_READY : SENDER_CLOSED);
    if (needs_proof(s, x)) {
        x->state = SEALED_READY;
        x->look = x->proves = true;
        x->missed = false;
    } else {
        store__stored(s, x, s->clock->mono_ns - c->sent_mono_ns);
    }
    if (c->state != SENDER_ENDED) sender__pump(c);
}

/* @x was said to be stored. */
static void on_proof(struct store *s, struct sealed *x, bool found) {
    x->look = !found && !x->missed;
    if (x->look) {
        x->missed = true;
        x->not_before_mono_ns = s->clock->mono_ns + PROOF_AGAIN_NS;
        return;
    }
    x->proves = false;
    if (found) store__stored(s, x, 0);
    else store__renew(s, x);
}

static void on_found(void *data, const struct store_reply *reply, bool found) {
    struct sender *c = data;
    struct store *s = c->store;
    struct sealed *x = c->sealed;
    c->sealed = NULL;
    x->state = SEALED_READY;
    if (c->state == SENDER_ENDED) return;
    if (reply->outcome != STORE_STORED) {
        x->not_before_mono_ns = s->clock->mono_ns + backoff_ns(x->n_attempts);
        fail(c, is_configuration(reply), reply->text);
        return;
    }
    move(c, SENDER_READY);
    bool proves = x->proves;
    x->look = false;
    if (proves) on_proof(s, x, found);
    else if (found) store__stored(s, x, 0);
    else store__split(s, x);
    sender__pump(c);
}

static void put_back(struct sender *c, struct sealed *x, int status) {
    struct store *s = c->store;
    c->sealed = NULL;
    batch__fini(&c->range);
    x->state = SEALED_READY;
    x->not_before_mono_ns = s->clock->mono_ns + backoff_ns(x->n_attempts);
    LOG_ERROR("store", "cannot start a request", LOG_S("table", x->seal.table),
              LOG_I("status", status));
    move(c, SENDER_READY);
}

static void look_for(struct sender *c, struct sealed *x) {
    move(c, SENDER_LOOKING);
    int status = c->type->find(c->link, &x->batch, sealed__first(x));
    if (status == 0) return;
    x->look = status != ERR_SCHEMA; /* A table without positions cannot be asked: held, */
    bool believed = x->proves && !x->look;
    put_back(c, x, status);
    if (!believed) return;
    x->proves = false; /* or believed. */
    store__stored(c->store, x, 0);
}

/* Sends what is due. A batch that needs nothing sent any more makes way for the next. */
static void send_next(struct sender *c) {
    struct store *s = c->store;
    unsigned feed = c == &s->senders[0] ? s->prefer : (s->prefer + 1) % FEEDS_PAGES;
    struct sealed *x = batcher__next(&s->batcher, feed);
    if (x == NULL) return;
    if (search__done(&x->search, x->batch.n_rows)) { /* All but its ACK was logged. */
        store__stored(s, x, 0);
        sender__pump(c);
        return;
    }
    if (store__is_mistimed(s, x)) { /* Held, and so not the next any more. */
        sender__pump(c);
        return;
    }
    x->state = SEALED_SENDING;
    c->sealed = x;
    c->sent_mono_ns = s->clock->mono_ns;
    if (x->look) {
        look_for(c, x);
        return;
    }
    x->n_attempts++;
    move(c, SENDER_INSERTING);
    char token[33];
    const struct batch *b = &x->batch;
    memcpy(token, x->seal.token, sizeof token);
    int status = 0;
    if (x->search.active) {
        status = sealed__range(x, &c->range, token);
        b = &c->range;
        series__inc(s->m[store__table_index(s, x->batch.table)].search_inserts);
    }
    if (status == 0) status = c->type->insert(c->link, b, token);
    if (status != 0) put_back(c, x, status);
}

void sender__pump(struct sender *c) {
    struct store *s = c->store;
    if (s->ending) return;
    if (c->state == SENDER_READY) {
        /* Whose clock jumped, and where ClickHouse's is now, is known before anything is sent. */
        bool jumped = c->jumps_seen != n_jumps(s);
        if (jumped || s->clock->mono_ns >= c->check_at_mono_ns) check_server(c);
        else send_next(c);
        return;
    }
    if (c->state != SENDER_CLOSED || s->clock->mono_ns < c->connect_at_mono_ns) return;
    move(c, SENDER_CONNECTING);
    int status = c->type->connect(c->link);
    if (status != 0) fail(c, false, "cannot start to connect");
}

int sender__init(struct sender *c, struct store *s, struct err *e) {
    struct store_link_events events = {.data = c,
                                       .on_lost = on_lost,
                                       .on_connected = on_connected,
                                       .on_checked = on_checked,
                                       .on_time = on_time,
                                       .on_inserted = on_inserted,
                                       .on_found = on_found};
    *c = (struct sender){.store = s,
                         .type = s->options.link == NULL ? &store_link_native : s->options.link};
    c->link = c->type->open(s->options.link_ctx, s->loop, &s->options, &events, e);
    if (c->link == NULL) return e == NULL ? ERR_NOMEM : e->code;
    s->n_senders_open++;
    return 0;
}

static void on_ended(void *data) {
    struct sender *c = data;
    c->link = NULL;
    c->store->n_senders_open--;
    store__sender_ended(c->store);
}

void sender__end(struct sender *c) {
    if (c->link == NULL || c->state == SENDER_ENDED) return;
    move(c, SENDER_ENDED);
    c->type->close(c->link, on_ended, c);
}
