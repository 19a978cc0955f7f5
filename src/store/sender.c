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
#define REST_FIRST_NS                                                                              \
    (NS_PER_S / 2) /* Of a table's inserts, when the server has too much to do.                    \
                    */
#define REST_MAX_NS (30 * NS_PER_S)
#define PING_AGAIN_NS (5 * NS_PER_S) /* Of an idle connection. */
#define STALLED_NS                                                                                 \
    (10 * NS_PER_S) /* Without a sign of the server while it has something to do.                  \
                     */
#define ROAM_AGAIN_NS (10 * NS_PER_S) /* Between two looks at another host. */
#define PLACE_ANY "any"               /* Of servers that cannot be told apart. */
#define AGE_SCALE_MAX 32 /* Batches wait so many times longer while parts are too many. */
#define CHECK_AGAIN_NS (60 * NS_PER_S) /* Someone may take a deduplication window away. */
#define BACKOFF_MAX_NS (5 * NS_PER_S)
/* Between two looks for a block: the first attempt may be about to commit it. */
#define PROOF_AGAIN_NS (10 * NS_PER_S)

static const unsigned sender_next[] = {
    [SENDER_CLOSED] = 1u << SENDER_CONNECTING | 1u << SENDER_ENDED,
    [SENDER_CONNECTING] = 1u << SENDER_CHECKING | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_CHECKING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_READY] = 1u << SENDER_INSERTING | 1u << SENDER_LOOKING | 1u << SENDER_CHECKING |
                     1u << SENDER_PINGING | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_INSERTING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_LOOKING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_PINGING] = 1u << SENDER_READY | 1u << SENDER_CLOSED | 1u << SENDER_ENDED,
    [SENDER_ENDED] = 0,
};

static void move(struct sender *c, enum sender_state next) {
    assert(sender_next[c->state] & (1u << next));
    c->state = next;
    c->heard_mono_ns = c->store->clock->mono_ns; /* It has just answered, or is asked anew. */
    c->stalled = false;
    if (next != SENDER_ENDED) store__note_connection(c->store);
}

bool sender__is_live(const struct sender *c) {
    return c->checked && !c->stalled && c->state != SENDER_CLOSED &&
           c->state != SENDER_CONNECTING && c->state != SENDER_ENDED;
}

static int64_t doubled_ns(int64_t first_ns, int64_t max_ns, uint32_t n) {
    int64_t ns = first_ns;
    for (uint32_t i = 1; i < n && ns < max_ns; i++) ns *= 2;
    return ns < max_ns ? ns : max_ns;
}

static int64_t backoff_ns(struct store *s, uint32_t n) {
    return store__jitter(s, doubled_ns(BACKOFF_FIRST_NS, BACKOFF_MAX_NS, n));
}

/* The same failure is told once a minute, whatever numbers are in its text: ClickHouse can be away
 * for days. */
static bool is_news(struct store *s, enum store_state state) {
    if (s->close_cb != NULL) return false;
    if (s->logged == state && s->clock->mono_ns - s->logged_mono_ns < 60 * NS_PER_S) return false;
    s->logged = state;
    s->logged_mono_ns = s->clock->mono_ns;
    return true;
}

static void note_failure(struct sender *c, enum store_state why, const char *text) {
    struct store *s = c->store;
    c->n_failures++;
    c->connect_at_mono_ns = s->clock->mono_ns + backoff_ns(s, c->n_failures);
    s->held = why == STORE_HELD;
    s->silent = why == STORE_STALLED;
    snprintf(s->last_error, sizeof s->last_error, "%s", text);
    if (is_news(s, why))
        LOG_WARN("store", store_state__text(why), LOG_S("host", s->host),
                 LOG_I("port", s->options.port), LOG_S("err", text));
}

static void fail(struct sender *c, enum store_state why, const char *text) {
    note_failure(c, why, text);
    c->checked = false;
    move(c, SENDER_CLOSED);
}

/* Connecting and checking. */

/* Of a reply that leaves the connection of no use. */
static enum store_state trouble_of(const struct store_reply *r) {
    enum reply_class class = store_reply__class(r);
    if (class == REPLY_CONFIGURATION || class == REPLY_PARTITIONS) return STORE_HELD;
    if (r->outcome == STORE_REJECTED) return STORE_REFUSES;
    return r->silent ? STORE_STALLED : STORE_AWAY;
}

static void on_checked(void *data, const struct store_reply *reply,
                       const struct store_table_facts *tables) {
    struct sender *c = data;
    struct store *s = c->store;
    char problem[ERR_MSG_MAX];
    if (c->state == SENDER_ENDED) return;
    if (reply->outcome != STORE_STORED) {
        fail(c, trouble_of(reply), reply->text);
        return;
    }
    if (!store__judge_tables(s, tables, problem, sizeof problem)) {
        fail(c, STORE_HELD, problem);
        return;
    }
    memcpy(c->facts, tables, s->options.n_tables * sizeof *tables);
    s->held = s->silent = false;
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
    if (status != 0) fail(c, STORE_AWAY, "cannot ask for its tables");
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
    if (reply->outcome != STORE_STORED) fail(c, trouble_of(reply), reply->text);
    else if (!store__judge_server(c->store, server, problem, sizeof problem))
        fail(c, STORE_HELD, problem);
    else check_server(c);
}

static void on_lost(void *data, const char *text) {
    struct sender *c = data;
    if (c->state != SENDER_ENDED && c->state != SENDER_CLOSED) fail(c, STORE_AWAY, text);
}

/* Inserting. */

static bool is_for_size(enum reply_class class) {
    return class == REPLY_MEMORY || class == REPLY_PARTITIONS;
}

/* A plain MergeTree writes a token down before it commits the block. When it is stopped in between,
 * or the insert is cancelled, the block is gone and the token is not: what is sent again is taken
 * for a duplicate. Seen on 26.7; ClickHouse issue 27667 tells of the like. Replicated tables commit
 * both at once, and may not show them on another replica yet. */
static bool is_replicated(const struct sender *c, const struct sealed *x) {
    return c->facts[store__table_index(c->store, x->batch.table)].replicated;
}

/* A plain table has done with an insert when its exception comes, whatever became of it; replicas
 * may still be at it. */
static void doubt(const struct sender *c, struct sealed *x, const struct store_reply *reply) {
    bool over = reply->outcome == STORE_REJECTED && !is_replicated(c, x);
    if (reply->outcome == STORE_NOT_SENT || store_reply__proves_refusal(reply)) return;
    x->over = over && (!x->uncertain || x->over);
    x->uncertain = true;
}

static void remember_reply(struct sealed *x, const struct store_reply *reply,
                           enum reply_class class) {
    x->rejected =
        reply->outcome == STORE_REJECTED || reply->schema; /* Nobody sent it, as it cannot go in. */
    x->too_large = is_for_size(class);
    x->n_min = class == REPLY_PARTITIONS ? SEARCH_PARTITIONS_MIN : SEARCH_STEP_MIN;
    x->busy = class != REPLY_DATA && class != REPLY_CONFIGURATION && class != REPLY_PARTITIONS;
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
    return is_for_size(class) && rows_under_way(x) > x->n_min;
}

/* The server is there and has too much to do: inserts of the table wait, or of all tables, and the
 * longer the more often it said so. */
static void rest(struct store *s, size_t table, enum reply_class class) {
    static const enum store_state states[] = {[REPLY_RETRY] = STORE_REFUSES,
                                              [REPLY_BUSY] = STORE_BUSY,
                                              [REPLY_PARTS] = STORE_PARTS,
                                              [REPLY_MEMORY] = STORE_MEMORY};
    bool all = class == REPLY_BUSY || class == REPLY_MEMORY;
    struct store_rest *r = all ? &s->rest : &s->rests[table];
    if (s->clock->mono_ns < r->until_mono_ns) return; /* Sent before the last one was refused. */
    r->why = states[class];
    r->n++;
    r->until_mono_ns =
        s->clock->mono_ns + store__jitter(s, doubled_ns(REST_FIRST_NS, REST_MAX_NS, r->n));
    series__inc(s->m_rests);
    if (class == REPLY_PARTS && s->age_scale[table] < AGE_SCALE_MAX) s->age_scale[table] *= 2;
}

/* A block of @table is there, so it was taken. */
static void end_rest(struct store *s, size_t table) {
    s->rests[table] = s->rest = (struct store_rest){.why = STORE_CONNECTED};
}

static void on_refused(struct sender *c, struct sealed *x, const struct store_reply *reply) {
    struct store *s = c->store;
    enum reply_class class = store_reply__class(reply);
    size_t i = store__table_index(s, x->batch.table);
    remember_reply(x, reply, class);
    doubt(c, x, reply);
    bool held = class == REPLY_CONFIGURATION || class == REPLY_PARTITIONS;
    bool answered = reply->outcome == STORE_REJECTED && !held;
    x->state = SEALED_READY;
    x->not_before_mono_ns = s->clock->mono_ns + backoff_ns(s, x->n_attempts);
    s->retries++;
    series__inc(s->m[i].retries);
    series__inc(s->m[i].failed);
    x->look = can_be_split(s, x, class);
    /* Smaller blocks may go at once. */
    if (answered && class != REPLY_DATA && !x->look) rest(s, i, class);
    enum store_state why = !answered           ? trouble_of(reply)
                           : s->rest.n > 0     ? s->rest.why
                           : s->rests[i].n > 0 ? s->rests[i].why
                                               : STORE_REFUSES;
    if (is_news(s, why))
        LOG_WARN("store", "insert will be repeated", LOG_S("state", store_state__name(why)),
                 LOG_S("table", x->seal.table), LOG_I("rows", rows_under_way(x)),
                 LOG_I("outcome", reply->outcome), LOG_S("token", x->seal.token),
                 LOG_S("err", reply->text));
    if (c->state == SENDER_ENDED) return;
    if (!answered && !x->look) {
        fail(c, why, reply->text);
        return;
    }
    /* ClickHouse is there: connect again at once, for other batches or other ranges. */
    if (x->look) x->not_before_mono_ns = s->clock->mono_ns;
    c->connect_at_mono_ns = s->clock->mono_ns;
    snprintf(s->last_error, sizeof s->last_error, "%s", reply->text);
    c->checked = false;
    move(c, SENDER_CLOSED);
    sender__pump(c);
}

/* Behind a fence it is not known which of two blocks was stored, on replicas neither. */
static bool needs_proof(const struct sender *c, const struct sealed *x) {
    return x->search.fence > 0 || (x->uncertain && !is_replicated(c, x));
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
    size_t i = store__table_index(s, x->batch.table);
    c->n_failures = 0;
    s->age_scale[i] = (s->age_scale[i] + 1) / 2;
    end_rest(s, i);
    /* An exception that says "deduplicated" closes the connection as any other does. */
    if (c->state != SENDER_ENDED)
        move(c, reply->outcome == STORE_STORED ? SENDER_READY : SENDER_CLOSED);
    if (needs_proof(c, x)) {
        x->state = SEALED_READY;
        x->look = x->proves = true;
        x->missed = false;
        x->there = 0;
    } else {
        store__stored(s, x, reply->n_rows, s->clock->mono_ns - c->sent_mono_ns);
    }
    if (c->state != SENDER_ENDED) sender__pump(c);
}

/* Rows [lo, there) of @x are known to be there, as the block that was taken is there; of the larger
 * blocks that may have been taken instead, none reaches beyond gone. Whatever it was, it is one
 * block, so that one row after another tells where it ends. @return whether that is known. */
static bool knows_end(struct sealed *x, bool found) {
    if (x->there == 0) {
        x->there = x->search.hi; /* Row lo is there, and no block that was sent is smaller. */
        x->gone = x->search.fence;
    } else {
        uint64_t asked = sealed__asked(x);
        if (found) x->there = asked + 1;
        else x->gone = asked;
    }
    return x->there >= x->gone;
}

/* @x was said to be stored. */
static void on_proof(struct sender *c, struct sealed *x, bool found) {
    struct store *s = c->store;
    bool reaching = x->search.fence > 0 && (found || x->there > 0);
    if (reaching) {
        x->look = !knows_end(x, found);
        if (x->look) return;
        x->proves = false;
        store__reached(s, x, x->there);
        return;
    }
    /* Another replica may not have it yet; it is asked until it does. */
    x->look = !found && (!x->missed || is_replicated(c, x));
    if (x->look) {
        x->missed = true;
        x->not_before_mono_ns = s->clock->mono_ns + PROOF_AGAIN_NS;
        return;
    }
    x->proves = false;
    if (found) store__stored(s, x, rows_under_way(x), 0);
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
        x->there = 0; /* Another server may know less: begin with the first row again. */
        x->not_before_mono_ns = s->clock->mono_ns + backoff_ns(s, x->n_attempts);
        fail(c, trouble_of(reply), reply->text);
        return;
    }
    move(c, SENDER_READY);
    bool proves = x->proves;
    x->look = false;
    if (found) end_rest(s, store__table_index(s, x->batch.table));
    if (proves) on_proof(c, x, found);
    else if (!found) store__split(s, x);
    /* The larger block was taken after all, or a smaller one under its token: see how far. */
    else if (x->search.fence > 0) {
        x->look = x->proves = true;
        x->there = 0;
    } else store__stored(s, x, rows_under_way(x), 0);
    sender__pump(c);
}

static void on_pinged(void *data, const struct store_reply *reply) {
    struct sender *c = data;
    if (c->state == SENDER_ENDED) return;
    if (reply->outcome != STORE_STORED) {
        fail(c, trouble_of(reply), reply->text);
        return;
    }
    move(c, SENDER_READY);
    sender__pump(c);
}

static void put_back(struct sender *c, struct sealed *x, int status) {
    struct store *s = c->store;
    c->sealed = NULL;
    batch__fini(&c->range);
    x->state = SEALED_READY;
    x->not_before_mono_ns = s->clock->mono_ns + backoff_ns(s, x->n_attempts);
    LOG_ERROR("store", "cannot start a request", LOG_S("table", x->seal.table),
              LOG_I("status", status));
    move(c, SENDER_READY);
}

static void look_for(struct sender *c, struct sealed *x) {
    move(c, SENDER_LOOKING);
    struct batch_mark at = *sealed__first(x);
    if (x->proves && x->there > 0) batch__seek(&x->batch, &at, sealed__asked(x));
    int status = c->type->find(c->link, &x->batch, &at);
    if (status == 0) return;
    x->look = status != ERR_SCHEMA; /* A table without positions cannot be asked: held, */
    bool believed = x->proves && !x->look;
    put_back(c, x, status);
    if (!believed) return;
    x->proves = false; /* or believed. */
    store__stored(c->store, x, rows_under_way(x), 0);
}

/* Places. */

static const char *place_at(const struct sender *c, const struct sealed *x) {
    const char *place = c->facts[store__table_index(c->store, x->batch.table)].place;
    return place[0] == '\0' ? PLACE_ANY : place;
}

/* @return whether nothing is known that keeps @x from this connection's server. */
static bool may_go(const struct sender *c, const struct sealed *x) {
    const char *here = place_at(c, x), *bound = x->seal.place;
    return c->store->options.delivery == STORE_AT_LEAST_ONCE || x->seal.old ||
           strcmp(here, PLACE_ANY) == 0 || strcmp(bound, PLACE_ANY) == 0 ||
           strcmp(bound, here) == 0;
}

void store__place(const struct store *s, struct sealed *x) {
    const struct sender *at = NULL;
    for (size_t i = 0; i < STORE_CONNECTIONS && at == NULL; i++)
        if (sender__is_live(&s->senders[i])) at = &s->senders[i];
    snprintf(x->seal.place, sizeof x->seal.place, "%s", at == NULL ? "" : place_at(at, x));
}

/* @return whether @x, whose place is another than that of @c, has to go to its own. */
static bool is_bound(const struct sealed *x) {
    return x->seal.place[0] != '\0' && (x->uncertain || x->search.active || x->look);
}

static bool is_place_served(const struct store *s, const struct sealed *x) {
    for (size_t i = 0; i < STORE_CONNECTIONS; i++)
        if (sender__is_live(&s->senders[i]) &&
            strcmp(place_at(&s->senders[i], x), x->seal.place) == 0)
            return true;
    return false;
}

/* A batch_filter: what this connection may send now. */
static bool takes(void *ctx, const struct sealed *x) {
    const struct sender *c = ctx;
    const struct store *s = c->store;
    const struct store_rest *r = &s->rests[store__table_index(s, x->batch.table)];
    bool rests = s->clock->mono_ns < r->until_mono_ns || s->clock->mono_ns < s->rest.until_mono_ns;
    /* After a rest one insert tries, not one a connection. */
    for (size_t i = 0; i < STORE_CONNECTIONS && (s->rest.n > 0 || r->n > 0); i++) {
        const struct sealed *other = s->senders[i].sealed;
        rests |= other != NULL && (s->rest.n > 0 || other->batch.table == x->batch.table);
    }
    if (rests && !x->look && !search__done(&x->search, x->batch.n_rows)) return false;
    if (may_go(c, x)) return true;
    return !is_bound(x) && (x->seal.place[0] == '\0' || !is_place_served(s, x));
}

static bool is_nowhere(const struct store *s, const struct sealed *x) {
    bool live = false;
    for (size_t i = 0; i < STORE_CONNECTIONS; i++) {
        const struct sender *c = &s->senders[i];
        if (!sender__is_live(c)) continue;
        live = true;
        if (may_go(c, x) || !is_bound(x)) return false;
    }
    return live;
}

static void count_elsewhere(struct store *s) {
    s->n_elsewhere = 0;
    for (const struct sealed *x = s->batcher.first; x != NULL; x = x->next)
        s->n_elsewhere += x->state == SEALED_READY && is_nowhere(s, x);
    series__set(s->m_elsewhere, (double)s->n_elsewhere);
    if (s->n_elsewhere > 0)
        snprintf(s->last_error, sizeof s->last_error,
                 "%zu batches may be stored at a server of clickhouse.hosts that is not connected: "
                 "they wait for it, and no other gets them",
                 s->n_elsewhere);
}

/* The second connection looks at another host: when batches wait for one, or to come back to where
 * the first one is. */
static bool roams(struct sender *c) {
    struct store *s = c->store;
    const struct sender *main = &s->senders[0];
    if (c == main || s->options.n_hosts < 2 || s->clock->mono_ns < c->roam_at_mono_ns) return false;
    bool apart = sender__is_live(main) && strcmp(main->facts[0].place, c->facts[0].place) != 0;
    if (s->n_elsewhere == 0 && !apart) return false;
    c->roam_at_mono_ns = s->clock->mono_ns + store__jitter(s, ROAM_AGAIN_NS);
    c->first_host++;
    c->connect_at_mono_ns = s->clock->mono_ns;
    c->checked = false;
    move(c, SENDER_CLOSED);
    return true;
}

void sender__watch(struct sender *c) {
    struct store *s = c->store;
    bool idle = c->state == SENDER_READY || c->state == SENDER_CLOSED || c->state == SENDER_ENDED;
    uint64_t progress = idle ? c->progress : c->type->progress(c->link);
    if (progress != c->progress) {
        c->progress = progress;
        c->heard_mono_ns = s->clock->mono_ns;
    }
    bool stalled = !idle && s->clock->mono_ns - c->heard_mono_ns >= STALLED_NS;
    if (stalled && !c->stalled) {
        snprintf(s->last_error, sizeof s->last_error,
                 "it has neither read nor answered for %d s, though something is under way",
                 (int)(STALLED_NS / NS_PER_S));
        if (is_news(s, STORE_STALLED))
            LOG_WARN("store", store_state__text(STORE_STALLED), LOG_S("host", s->host),
                     LOG_I("port", s->options.port), LOG_S("err", s->last_error));
    }
    c->stalled = stalled;
    if (c == &s->senders[0]) count_elsewhere(s);
}

static void ping(struct sender *c) {
    move(c, SENDER_PINGING);
    int status = c->type->ping(c->link);
    if (status != 0) fail(c, STORE_AWAY, "cannot ask whether it is there");
}

/* Sends what is due. A batch that needs nothing sent any more makes way for the next. */
static void send_next(struct sender *c) {
    struct store *s = c->store;
    unsigned feed = c == &s->senders[0] ? s->prefer : (s->prefer + 1) % FEEDS_PAGES;
    const struct batch_filter filter = {takes, c};
    struct sealed *x = batcher__next(&s->batcher, feed, &filter);
    if (x == NULL) {
        if (s->clock->mono_ns - c->heard_mono_ns >= PING_AGAIN_NS) ping(c);
        return;
    }
    if (search__done(&x->search, x->batch.n_rows)) { /* All but its ACK was logged. */
        store__stored(s, x, 0, 0);
        sender__pump(c);
        return;
    }
    if (store__is_mistimed(s, x)) { /* Held, and so not the next any more. */
        sender__pump(c);
        return;
    }
    /* The log says where it may be, before it may be there. */
    if ((x->seal.place[0] == '\0' && !x->seal.old) || !may_go(c, x)) {
        snprintf(x->seal.place, sizeof x->seal.place, "%s", place_at(c, x));
        store__move(s, x);
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
        if (roams(c)) sender__pump(c);
        else if (jumped || s->clock->mono_ns >= c->check_at_mono_ns) check_server(c);
        else send_next(c);
        return;
    }
    if (c->state != SENDER_CLOSED || s->clock->mono_ns < c->connect_at_mono_ns) return;
    move(c, SENDER_CONNECTING);
    int status = c->type->connect(c->link, c->first_host);
    if (status != 0) fail(c, STORE_AWAY, "cannot start to connect");
}

int sender__init(struct sender *c, struct store *s, struct err *e) {
    struct store_link_events events = {.data = c,
                                       .on_lost = on_lost,
                                       .on_connected = on_connected,
                                       .on_checked = on_checked,
                                       .on_time = on_time,
                                       .on_inserted = on_inserted,
                                       .on_found = on_found,
                                       .on_pinged = on_pinged};
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
