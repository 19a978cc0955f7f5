/* The model keeps rows in a table of counts, and tokens in the order in which they came. */
#include "server_model.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum model_op { MODEL_IDLE, MODEL_CONNECT, MODEL_CHECK, MODEL_INSERT, MODEL_FIND, MODEL_PING };

struct model_link {
    struct server_model *home, *server; /* Which the links are listed at; to which it is connected. */
    const struct store_options *options;
    struct store_link_events to;
    enum model_op op;
    int64_t due_ns;
    bool connected, orphan;
    const struct batch *batch; /* Borrowed. */
    struct batch_mark mark;
    char token[33];
    struct model_link *next;
};

/* A block whose client no longer waits. */
struct model_late {
    struct batch batch;
    char token[33];
    int64_t due_ns;
    struct model_late *next;
};

uint64_t server_model__random(struct server_model *m, uint64_t n) {
    m->seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = m->seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

static bool happens(struct server_model *m, unsigned per_mille) {
    return per_mille > 0 && server_model__random(m, 1000) < per_mille;
}

struct model_table *server_model__table(struct server_model *m, const struct table_desc *desc) {
    for (size_t i = 0; i < m->n_tables; i++)
        if (m->tables[i].desc == desc) return &m->tables[i];
    abort();
}

/* Rows. */

static struct model_row *find_row(const struct model_table *t, uint64_t page, uint64_t ord) {
    size_t at = (size_t)((page * UINT64_C(0x9e3779b97f4a7c15)) ^ (ord * UINT64_C(0xc2b2ae3d27d4eb4f))) >> 7;
    for (;; at++) {
        struct model_row *r = &t->rows[at % t->cap];
        if (r->n == 0 || (r->page == page && r->ord == ord)) return r;
    }
}

static void grow(struct model_table *t) {
    struct model_table old = *t;
    t->cap = old.cap == 0 ? 1024 : old.cap * 2;
    t->rows = calloc(t->cap, sizeof *t->rows);
    if (t->rows == NULL) abort();
    for (size_t i = 0; i < old.cap; i++)
        if (old.rows[i].n > 0) *find_row(t, old.rows[i].page, old.rows[i].ord) = old.rows[i];
    free(old.rows);
}

static void add_row(struct server_model *m, struct model_table *t, uint64_t page, uint64_t ord) {
    if (2 * (t->n_rows + 1) > t->cap) grow(t);
    struct model_row *r = find_row(t, page, ord);
    if (r->n++ > 0) return;
    r->page = page;
    r->ord = (uint32_t)ord;
    t->n_rows++;
    if (m->on_row != NULL) m->on_row(m->ctx, t->desc, page, ord);
}

uint32_t server_model__count(struct server_model *m, const struct table_desc *desc, uint64_t page,
                             uint64_t ord) {
    const struct model_table *t = server_model__table(m, desc);
    return t->cap == 0 ? 0 : find_row(t, page, ord)->n;
}

/* Blocks. */

static void key_of(const struct batch *b, const struct batch_mark *at, uint64_t *page, uint64_t *ord) {
    int64_t p, o;
    if (!batch__int(b, at, "page", &p) || !batch__int(b, at, "ord", &o)) abort();
    *page = (uint64_t)p;
    *ord = (uint64_t)o;
}

#define MODEL_PARTITIONS (-252) /* Stands for 252 with the text that tells it from too many parts. */

/* @return the code that the block is refused with, or 0. */
static int32_t judge(struct server_model *m, struct model_table *t, const struct batch *b) {
    struct batch_mark at = {0};
    if (m->code != 0) return m->code;
    if (t->missing) return 60;
    if (t->column != 0) return t->column;
    if (m->memory_rows > 0 && b->n_rows > m->memory_rows) return 241;
    if (m->partition_rows > 0 && b->n_rows > m->partition_rows) return MODEL_PARTITIONS;
    for (size_t row = 0; m->poison != NULL && row < b->n_rows; row++) {
        uint64_t page, ord;
        batch__seek(b, &at, row);
        key_of(b, &at, &page, &ord);
        if (m->poison(m->ctx, t->desc, page, ord)) return 469;
    }
    return 0;
}

static bool known(const struct model_table *t, const char *token) {
    size_t first = t->n_tokens > t->window ? t->n_tokens - t->window : 0;
    for (size_t i = first; i < t->n_tokens; i++)
        if (strcmp(t->tokens[i], token) == 0) return true;
    return false;
}

/* @return false when the token is known already. */
static bool remember(struct model_table *t, const char *token) {
    if (t->window > 0 && known(t, token)) {
        t->n_duplicates++;
        return false;
    }
    if (t->n_tokens % 256 == 0) t->tokens = realloc(t->tokens, (t->n_tokens + 256) * sizeof *t->tokens);
    if (t->tokens == NULL) abort();
    memcpy(t->tokens[t->n_tokens++], token, 33);
    return true;
}

static bool is_expired(const struct server_model *m, const struct model_table *t, const struct batch *b,
                       const struct batch_mark *at) {
    int64_t ms;
    if (t->ttl_days == 0 || !batch__int(b, at, "ts", &ms)) return false;
    return ms * NS_PER_MS + t->ttl_days * 86400 * NS_PER_S <= m->clock->wall_ns + m->off_ns;
}

static void apply(struct server_model *m, const struct batch *b, const char *token) {
    struct model_table *t = server_model__table(m, b->table);
    struct batch_mark at = {0};
    if (!remember(t, token)) return;
    t->n_applied++;
    for (size_t row = 0; row < b->n_rows; row++) {
        uint64_t page, ord;
        batch__seek(b, &at, row);
        key_of(b, &at, &page, &ord);
        if (is_expired(m, t, b, &at)) t->n_expired++;
        else add_row(m, t, page, ord);
    }
}

static void apply_late(struct server_model *m, const struct batch *b, const char *token) {
    struct batch_mark from = {0}, to = {0};
    struct model_late *x = calloc(1, sizeof *x);
    batch__seek(b, &to, b->n_rows);
    if (x == NULL || batch__copy(b, &from, &to, &x->batch) != 0) abort();
    memcpy(x->token, token, sizeof x->token);
    x->due_ns = m->clock->mono_ns + 1 + (int64_t)server_model__random(m, (uint64_t)(20 * NS_PER_S));
    x->next = m->late;
    m->late = x;
}

static void apply_due(struct server_model *m) {
    for (struct model_late **at = &m->late; *at != NULL;) {
        struct model_late *x = *at;
        if (x->due_ns > m->clock->mono_ns) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        if (judge(m, server_model__table(m, x->batch.table), &x->batch) == 0) apply(m, &x->batch, x->token);
        batch__fini(&x->batch);
        free(x);
    }
}

/* Replies. */

static void fail_insert(struct model_link *l, enum store_outcome outcome, int32_t code, const char *text) {
    char line[256];
    snprintf(line, sizeof line, "%s", text);
    if (code != 0) snprintf(line, sizeof line, "code %d: %s", (int)code, text);
    struct store_reply r = {.outcome = outcome, .code = code, .text = line};
    l->connected = false;
    l->to.on_inserted(l->to.data, &r);
}

/* Something came in the middle of the write, or behind it. */
static void answer_unproven(struct model_link *l, struct model_table *t) {
    static const int32_t codes[] = {159, 209, 210, 225, 236, 241, 243, 319, 394, 439, 999, 1000, 1002};
    struct server_model *m = l->server;
    int32_t code = m->unproven_code != 0 ? m->unproven_code : codes[server_model__random(m, sizeof codes / sizeof *codes)];
    uint64_t fate = server_model__random(m, 3);
    if (fate == 0 && judge(m, t, l->batch) == 0) apply(m, l->batch, l->token);
    if (fate == 1) remember(t, l->token);
    m->n_unproven++;
    struct store_reply r = {.outcome = STORE_REJECTED, .code = code, .from_view = m->from_view, .text = "in the middle"};
    l->connected = false;
    l->to.on_inserted(l->to.data, &r);
}

static void answer_insert(struct model_link *l) {
    static const int32_t codes[] = {159, 209, 210, 241, 242, 252, 319, 1000};
    struct server_model *m = l->server;
    struct model_table *t = server_model__table(m, l->batch->table);
    t->n_inserts++;
    if (m->down || happens(m, m->odds.not_sent)) {
        fail_insert(l, STORE_NOT_SENT, 0, "connection lost");
    } else if (t->type_changed) {
        struct store_reply r = {.outcome = STORE_NOT_SENT, .schema = true, .text = "column lsn is String"};
        l->connected = false;
        l->to.on_inserted(l->to.data, &r);
    } else if (happens(m, m->odds.cut)) {
        m->n_cut++;
        fail_insert(l, STORE_UNKNOWN, 0, "connection lost");
    } else if (happens(m, m->odds.late)) {
        m->n_late++;
        apply_late(m, l->batch, l->token);
        fail_insert(l, STORE_UNKNOWN, 0, "timed out");
    } else if (happens(m, m->odds.rolled_back)) {
        m->n_rolled_back += remember(t, l->token);
        fail_insert(l, STORE_UNKNOWN, 0, "connection lost");
    } else if (happens(m, m->odds.unproven)) {
        answer_unproven(l, t);
    } else if (happens(m, m->odds.refuse)) {
        m->n_refused++;
        fail_insert(l, STORE_REJECTED, codes[server_model__random(m, sizeof codes / sizeof *codes)], "no");
    } else {
        int32_t code = judge(m, t, l->batch);
        if (code == 0) apply(m, l->batch, l->token);
        else m->n_poisoned += code == 469;
        if (happens(m, m->odds.lost)) {
            m->n_lost++;
            fail_insert(l, STORE_UNKNOWN, 0, "connection lost");
        } else if (code == MODEL_PARTITIONS) {
            fail_insert(l, STORE_REJECTED, 252, "Too many partitions for single INSERT block");
        } else if (code != 0) {
            fail_insert(l, STORE_REJECTED, code, m->code_text != NULL ? m->code_text : code == 252 ? "Too many parts" : "refused");
        } else {
            uint64_t n_swallowed = m->swallow < l->batch->n_rows ? m->swallow : l->batch->n_rows;
            m->swallow -= n_swallowed;
            struct store_reply r = {.outcome = STORE_STORED, .text = "", .n_rows = l->batch->n_rows - n_swallowed};
            l->to.on_inserted(l->to.data, &r);
        }
    }
}

static void answer_connect(struct model_link *l) {
    struct server_model *m = l->server;
    bool wrong = m->password[0] != '\0' && strcmp(m->password, l->options->password) != 0;
    int32_t code = m->deny != 0 ? m->deny : wrong ? 516 : 0;
    struct store_server server = {.name = "ClickHouse 26.7.2", .major = 26, .minor = 7};
    struct store_reply r = {.text = ""};
    if (m->down) r = (struct store_reply){.outcome = STORE_NOT_SENT, .text = "connection refused"};
    else if (code != 0) r = (struct store_reply){.outcome = STORE_REJECTED, .code = code, .text = "code 516: denied"};
    l->connected = r.outcome == STORE_STORED;
    l->to.on_connected(l->to.data, &r, l->connected ? &server : NULL);
}

static void answer_check(struct model_link *l) {
    struct server_model *m = l->server;
    struct store_table_facts facts[MODEL_TABLES_MAX];
    struct store_reply r = {.text = ""};
    for (size_t i = 0; i < m->n_tables; i++) {
        struct model_table *t = server_model__table(m, l->options->tables[i]);
        facts[i] = (struct store_table_facts){.exists = !t->missing, .deduplicates = t->window > 0,
                                              .ttl_column = "ts", .ttl_days = t->ttl_days};
        snprintf(facts[i].place, sizeof facts[i].place, "%s", m->place);
    }
    if (m->down) r = (struct store_reply){.outcome = STORE_NOT_SENT, .text = "connection lost"};
    l->connected = !m->down;
    if (m->tells_time && !m->down) l->to.on_time(l->to.data, m->clock->wall_ns + m->off_ns);
    l->to.on_checked(l->to.data, &r, m->down ? NULL : facts);
}

static void answer_find(struct model_link *l) {
    struct server_model *m = l->server;
    uint64_t page, ord;
    struct store_reply r = {.text = ""};
    key_of(l->batch, &l->mark, &page, &ord);
    bool found = server_model__count(m, l->batch->table, page, ord) > 0;
    m->n_asked++;
    if (m->down || happens(m, m->odds.cut)) {
        r = (struct store_reply){.outcome = STORE_NOT_SENT, .text = "connection lost"};
        l->connected = false;
    } else {
        m->n_found += found;
    }
    l->to.on_found(l->to.data, &r, found);
}

static void answer_ping(struct model_link *l) {
    struct store_reply r = {.text = ""};
    if (l->server->down) r = (struct store_reply){.outcome = STORE_NOT_SENT, .text = "connection lost"};
    l->connected = !l->server->down;
    l->server->n_pings++;
    l->to.on_pinged(l->to.data, &r);
}

static void answer(struct model_link *l) {
    enum model_op op = l->op;
    l->op = MODEL_IDLE; /* Before the call: it may ask for more. */
    switch (op) {
    case MODEL_CONNECT: answer_connect(l); return;
    case MODEL_CHECK: answer_check(l); return;
    case MODEL_INSERT: answer_insert(l); return;
    case MODEL_FIND: answer_find(l); return;
    case MODEL_PING: answer_ping(l); return;
    case MODEL_IDLE: return;
    }
}

void server_model__step(struct server_model *m) {
    apply_due(m);
    if (m->second != NULL) apply_due(m->second);
    for (struct model_link *l = m->links, *next; l != NULL; l = next) {
        next = l->next;
        if (l->orphan) continue;
        if (l->server->frozen) continue;
        if (l->op != MODEL_IDLE && l->due_ns <= m->clock->mono_ns) {
            answer(l);
        } else if (l->op == MODEL_IDLE && l->connected && (l->server->down || happens(m, m->odds.idle_cut))) {
            l->connected = false;
            l->to.on_lost(l->to.data, "connection lost");
        }
    }
}

int64_t server_model__next_ns(const struct server_model *m) {
    int64_t next = INT64_MAX;
    for (const struct model_link *l = m->links; l != NULL; l = l->next)
        if (l->op != MODEL_IDLE && l->due_ns < next) next = l->due_ns;
    return next;
}

void server_model__orphan(struct server_model *m) {
    for (struct model_link *l = m->links; l != NULL; l = l->next) {
        struct server_model *at = l->server;
        if (l->op == MODEL_INSERT && !l->orphan) {
            uint64_t fate = server_model__random(at, 3);
            if (fate == 0 && judge(at, server_model__table(at, l->batch->table), l->batch) == 0)
                apply(at, l->batch, l->token);
            if (fate == 1) apply_late(at, l->batch, l->token);
        }
        l->orphan = true;
    }
}

/* The link. */

static struct store_link *open_link(void *ctx, uv_loop_t *loop, const struct store_options *options,
                                    const struct store_link_events *events, struct err *e) {
    struct server_model *m = ctx;
    struct model_link *l = calloc(1, sizeof *l);
    (void)loop;
    if (l == NULL) {
        err__setf(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    *l = (struct model_link){.home = m, .server = m, .options = options, .to = *events, .next = m->links};
    m->links = l;
    return (struct store_link *)l;
}

static int start(struct store_link *link, enum model_op op) {
    struct model_link *l = (struct model_link *)link;
    struct server_model *m = l->server;
    assert(l->op == MODEL_IDLE);
    l->op = op;
    l->due_ns = m->clock->mono_ns;
    if (m->delay_max_ns > 0) l->due_ns += 1 + (int64_t)server_model__random(m, (uint64_t)m->delay_max_ns);
    return 0;
}

static int connect_link(struct store_link *link, unsigned first) {
    struct model_link *l = (struct model_link *)link;
    struct server_model *hosts[] = {l->home, l->home->second};
    size_t n = l->home->second == NULL ? 1 : 2;
    l->server = hosts[first % n];
    if (n > 1 && l->server->down) l->server = hosts[(first + 1) % n];
    return start(link, MODEL_CONNECT);
}
static int ping_link(struct store_link *link) { return start(link, MODEL_PING); }
static uint64_t progress_of(const struct store_link *link) {
    (void)link;
    return 0;
}
static int check_link(struct store_link *link) { return start(link, MODEL_CHECK); }

static int insert_link(struct store_link *link, const struct batch *batch, const char *token) {
    struct model_link *l = (struct model_link *)link;
    assert(l->connected && batch->n_rows > 0);
    l->batch = batch;
    memcpy(l->token, token, sizeof l->token);
    return start(link, MODEL_INSERT);
}

static int find_link(struct store_link *link, const struct batch *batch, const struct batch_mark *at) {
    struct model_link *l = (struct model_link *)link;
    assert(l->connected);
    l->batch = batch;
    l->mark = *at;
    return start(link, MODEL_FIND);
}

static void close_link(struct store_link *link, void (*cb)(void *data), void *data) {
    struct model_link *l = (struct model_link *)link, **at = &l->home->links;
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    struct store_reply r = {.outcome = STORE_UNKNOWN, .text = "canceled"};
    if (l->op == MODEL_INSERT) {
        if (!l->orphan && server_model__random(l->server, 2) == 0) apply_late(l->server, l->batch, l->token);
        l->to.on_inserted(l->to.data, &r);
    }
    free(l);
    cb(data);
}

const struct store_link_type server_model__link = {.open = open_link,
                                                   .connect = connect_link,
                                                   .check = check_link,
                                                   .insert = insert_link,
                                                   .find = find_link,
                                                   .ping = ping_link,
                                                   .progress = progress_of,
                                                   .close = close_link};

void server_model__init(struct server_model *m, const struct clock *clock, uint64_t seed,
                        const struct table_desc *const *tables, size_t n_tables) {
    assert(n_tables <= MODEL_TABLES_MAX);
    *m = (struct server_model){.clock = clock, .seed = seed, .n_tables = n_tables};
    for (size_t i = 0; i < n_tables; i++)
        m->tables[i] = (struct model_table){.desc = tables[i], .window = 1000};
}

void server_model__fini(struct server_model *m) {
    assert(m->links == NULL);
    for (struct model_late *x = m->late, *next; x != NULL; x = next) {
        next = x->next;
        batch__fini(&x->batch);
        free(x);
    }
    for (size_t i = 0; i < m->n_tables; i++) {
        free(m->tables[i].rows);
        free(m->tables[i].tokens);
    }
    *m = (struct server_model){0};
}
