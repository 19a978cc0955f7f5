/* Lanes, open batches and seals. The happy path: batcher__rows puts a page's rows into the open
 * batches of their lanes, batcher__cut seals what is large or old enough, batcher__next hands
 * batches to the sender in order. Recovery plans lanes with the seals of the log first. */
#include "souk/batcher.h"
#include "souk/core/refusal.h"
#include "store_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* A seal from the log whose rows are on their way again. */
struct planned {
    struct seal seal;
    struct batch batch;
    int64_t first_wall_ns;
    bool stored;          /* An ACK was found: its rows are dropped when they come by. */
    struct search search; /* As the log says. */
    int32_t code;
    char *why; /* Owned. */
    struct planned *next;
};

struct lane {
    const struct table_desc *table; /* NULL until rows come, when recovery made the lane. */
    char name[64], part[64];
    int32_t day;
    unsigned feed;
    struct batch open;
    uint64_t first_lsn, last_lsn; /* Of the open batch. */
    int64_t first_wall_ns, opened_mono_ns;
    struct planned *plan;             /* In order of position. */
    struct planned *put[FEEDS_PAGES]; /* Where recovery put the last of each feed, as it seems. */
    struct planned *skip;             /* All plans up to this one are stored; NULL: not known. */
    struct lane *next;
};

int batcher__init(struct batcher *b, const struct clock *clock,
                  const struct batcher_options *options) {
    *b = (struct batcher){.options = *options, .clock = clock};
    b->feeds[0].open = true;
    int status = map__init(&b->plans_by_token, PLANS_MAX);
    return status != 0 ? status : map__init(&b->lanes_by_key, LANES_MAX);
}

static void free_sealed(struct sealed *s) {
    batch__fini(&s->batch);
    free(s->why);
    free(s);
}

static void free_planned(struct planned *p) {
    batch__fini(&p->batch);
    free(p->why);
    free(p);
}

static void free_lane(struct lane *l) {
    for (struct planned *p = l->plan, *next; p != NULL; p = next) {
        next = p->next;
        free_planned(p);
    }
    batch__fini(&l->open);
    free(l);
}

void batcher__fini(struct batcher *b) {
    for (struct lane *l = b->lanes, *next; l != NULL; l = next) {
        next = l->next;
        free_lane(l);
    }
    for (struct sealed *s = b->first, *next; s != NULL; s = next) {
        next = s->next;
        free_sealed(s);
    }
    map__fini(&b->lanes_by_key);
    map__fini(&b->plans_by_token);
    *b = (struct batcher){0};
}

static size_t lane_key(char *out, size_t size, unsigned feed, const char *table, const char *part,
                       int32_t day) {
    int n = snprintf(out, size, "%s\n%s\n%d\n%u", table, part, day, feed);
    assert(n > 0 && (size_t)n < size);
    return (size_t)n;
}

static struct lane *get_lane(struct batcher *b, unsigned feed, const char *table, const char *part,
                             int32_t day) {
    char key[176];
    struct slice k = slice__of(key, lane_key(key, sizeof key, feed, table, part, day));
    struct lane *l = map__get(&b->lanes_by_key, k);
    if (l != NULL) return l;
    l = calloc(1, sizeof *l);
    if (l == NULL) return NULL;
    snprintf(l->name, sizeof l->name, "%s", table);
    snprintf(l->part, sizeof l->part, "%s", part);
    l->day = day;
    l->feed = feed;
    if (map__put(&b->lanes_by_key, k, l) != 0) {
        free(l);
        return NULL;
    }
    /* At the end, so that batches of one page are cut in the order in which decode made them. */
    struct lane **at = &b->lanes;
    while (*at != NULL) at = &(*at)->next;
    *at = l;
    b->n_lanes++;
    return l;
}

/* Lanes are per day and feed: without this, yesterday's would stay for ever. */
static void drop_idle_lanes(struct batcher *b, int32_t today) {
    for (struct lane **at = &b->lanes; *at != NULL;) {
        struct lane *l = *at;
        bool idle = l->day < today || !b->feeds[l->feed].open;
        if (!idle || l->open.n_rows > 0 || l->plan != NULL) {
            at = &l->next;
            continue;
        }
        char key[176];
        map__remove(&b->lanes_by_key,
                    slice__of(key, lane_key(key, sizeof key, l->feed, l->name, l->part, l->day)));
        *at = l->next;
        b->n_lanes--;
        free_lane(l);
    }
}

/* Where @p belongs, which starts at @lsn. Two feeds sealed side by side, so the log has them out of
 * order; a feed's own come in order, so its next is right behind the nearest of the last two. */
static struct planned **place_of(struct lane *l, uint64_t lsn, struct planned *p) {
    size_t near = 0;
    for (size_t i = 1; i < FEEDS_PAGES; i++) {
        const struct planned *x = l->put[i], *y = l->put[near];
        if (x == NULL || x->seal.first_lsn >= lsn) continue;
        if (y == NULL || y->seal.first_lsn >= lsn || x->seal.first_lsn > y->seal.first_lsn)
            near = i;
    }
    struct planned *before = l->put[near];
    if (before != NULL && before->seal.first_lsn >= lsn) before = NULL;
    /* In front of all that are known: another feed's, whose own are still to come. */
    if (before == NULL)
        for (size_t i = 0; i < FEEDS_PAGES; i++)
            if (l->put[i] == NULL) near = i;
    l->put[near] = p;
    struct planned **at = before == NULL ? &l->plan : &before->next;
    while (*at != NULL && (*at)->seal.first_lsn < lsn) at = &(*at)->next;
    return at;
}

static int recover_seal(struct batcher *b, unsigned feed, const struct seal *seal) {
    /* Written twice, as its first sync failed or it went elsewhere: one batch all the same. */
    struct planned *again = map__get(&b->plans_by_token, slice__str(seal->token));
    if (again != NULL) {
        memcpy(again->seal.place, seal->place, sizeof seal->place);
        return 0;
    }
    struct lane *l = get_lane(b, feed, seal->table, seal->part, seal->day);
    struct planned *p = l == NULL ? NULL : calloc(1, sizeof *p);
    if (p == NULL) return ERR_NOMEM;
    p->seal = *seal;
    int status = map__put(&b->plans_by_token, slice__str(seal->token), p);
    if (status != 0) {
        free(p);
        return status;
    }
    struct planned **at = place_of(l, seal->first_lsn, p);
    p->next = *at;
    *at = p;
    l->skip = NULL;
    if (feed != FEED_TAPE && seal->last_lsn > b->recovered_lsn) b->recovered_lsn = seal->last_lsn;
    return 0;
}

int batcher__recover_seal(struct batcher *b, const struct seal *seal) {
    return recover_seal(b, 0, seal);
}

int batcher__recover_tape_seal(struct batcher *b, const struct seal *seal) {
    return recover_seal(b, FEED_TAPE, seal);
}

void batcher__recover_ack(struct batcher *b, const char *token) {
    struct planned *p = map__get(&b->plans_by_token, slice__str(token));
    if (p != NULL) p->stored = true;
}

int batcher__recover_range(struct batcher *b, struct slice payload) {
    struct range r;
    if (range__decode(payload, &r) != 0) return ERR_CORRUPT;
    struct planned *p = map__get(&b->plans_by_token, r.token);
    if (p == NULL || r.search.hi > p->seal.n_rows || r.search.bad > p->seal.n_rows) return 0;
    p->search = r.search;
    p->code = r.code; /* A row may turn out to be bad without being refused again. */
    free(p->why);
    p->why = slice__dup(r.why);
    return 0;
}

int batcher__recover_refusal(struct batcher *b, struct slice payload) {
    struct refusal r;
    if (refusal__decode(payload, &r) != 0) return ERR_CORRUPT;
    struct planned *p = map__get(&b->plans_by_token, r.token);
    if (p != NULL) search__recover_refused(&p->search, r.row, p->seal.n_rows);
    return 0;
}

static void append_sealed(struct batcher *b, struct sealed *s) {
    if (b->last == NULL) b->first = s;
    else b->last->next = s;
    b->last = s;
    b->n_sealed++;
    b->sealed_bytes += batch__bytes(&s->batch);
    b->feeds[s->feed].bytes += batch__bytes(&s->batch);
}

static int cut_lane(struct batcher *b, struct lane *l) {
    struct sealed *s = calloc(1, sizeof *s);
    if (s == NULL) return ERR_NOMEM; /* Tried again at the next cut. */
    b->open_bytes -= batch__bytes(&l->open);
    b->feeds[l->feed].bytes -= batch__bytes(&l->open);
    b->open_rows -= l->open.n_rows;
    *s = (struct sealed){.batch = l->open,
                         .state = SEALED_SEALING,
                         .feed = l->feed,
                         .matches = true,
                         .first_wall_ns = l->first_wall_ns,
                         .sealed_mono_ns = b->clock->mono_ns};
    l->open = (struct batch){0};
    struct seal *seal = &s->seal;
    snprintf(seal->table, sizeof seal->table, "%s", l->name);
    snprintf(seal->part, sizeof seal->part, "%s", l->part);
    seal->day = l->day;
    seal->first_lsn = l->first_lsn;
    seal->last_lsn = l->last_lsn;
    seal->n_rows = s->batch.n_rows;
    batch__hash(&s->batch, seal->hash);
    seal__make_token(seal, b->options.store_id);
    append_sealed(b, s);
    b->on_sealed(b->ctx, s);
    return 0;
}

/* Rows of @s that the search has put behind it: stored, or refused for good. */
static uint64_t n_settled(const struct sealed *s) {
    if (!s->search.active) return 0;
    return s->search.lo < s->batch.n_rows ? s->search.lo : s->batch.n_rows;
}

/* The batch of the lane's first plan is whole again: it is sealed already, so it is ready at once.
 * Rows in front of it were of no seal: they must not end up in one with rows behind it. */
static int finish_planned(struct batcher *b, struct lane *l) {
    struct planned *p = l->plan;
    if (l->open.n_rows > 0 && cut_lane(b, l) != 0) return ERR_NOMEM;
    bool gone = p->stored || p->batch.n_rows == 0;
    struct sealed *s = gone ? NULL : calloc(1, sizeof *s);
    if (!gone && s == NULL) return ERR_NOMEM; /* The lane keeps it. */
    l->plan = p->next;
    memset(l->put, 0, sizeof l->put);
    if (l->skip == p) l->skip = NULL;
    if (gone) {
        free_planned(p);
        return 0;
    }
    char hash[33];
    batch__hash(&p->batch, hash);
    *s = (struct sealed){.seal = p->seal,
                         .batch = p->batch,
                         .state = SEALED_READY,
                         .feed = l->feed,
                         .search = p->search,
                         .code = p->code,
                         .why = p->why,
                         /* Without a place it was never sent. */
                         .uncertain = p->seal.old || p->seal.place[0] != '\0',
                         .first_wall_ns = p->first_wall_ns,
                         .sealed_mono_ns = b->clock->mono_ns,
                         .matches = strcmp(hash, p->seal.hash) == 0};
    if (s->search.hi > s->batch.n_rows) s->search.hi = s->batch.n_rows;
    if (s->search.bad > s->batch.n_rows) s->search.bad = s->batch.n_rows;
    b->n_settled_before += n_settled(s);
    free(p);
    append_sealed(b, s);
    return 0;
}

/* Seals whose last page has gone by are whole, also when decoding no longer makes rows of it. */
static int finish_passed(struct batcher *b, unsigned feed, uint64_t decoded_lsn) {
    for (struct lane *l = b->lanes; l != NULL; l = l->next)
        while (l->feed == feed && l->plan != NULL && l->plan->seal.last_lsn < decoded_lsn)
            if (finish_planned(b, l) != 0) return ERR_NOMEM;
    return 0;
}

static int add_to_plan(struct batcher *b, struct planned *p, const struct batch *rows,
                       int64_t wall_ns) {
    if (p->stored) {
        b->n_dropped_as_stored += rows->n_rows;
        return 0;
    }
    if (p->batch.columns == NULL && batch__init(&p->batch, rows->table) != 0) return ERR_NOMEM;
    if (p->first_wall_ns == 0) p->first_wall_ns = wall_ns;
    return batch__append(&p->batch, rows);
}

static bool is_large(const struct batcher *b, const struct lane *l) {
    return l->open.n_rows >= b->options.rows_max || batch__bytes(&l->open) >= b->options.bytes_max;
}

static int add_rows(struct batcher *b, unsigned feed, uint64_t lsn, int64_t wall_ns,
                    struct rows_batch *rb) {
    struct batch *rows = &rb->batch;
    if (rows->n_rows == 0) return 0;
    struct lane *l = get_lane(b, feed, rows->table->name, rb->part, clock__day(wall_ns));
    if (l == NULL) return ERR_NOMEM;
    l->table = rows->table;
    if (l->plan != NULL && lsn >= l->plan->seal.first_lsn && lsn <= l->plan->seal.last_lsn)
        return add_to_plan(b, l->plan, rows, wall_ns);
    bool spans = l->open.n_rows > 0 && l->first_lsn < b->feeds[feed].opened_lsn;
    if (spans && cut_lane(b, l) != 0) return ERR_NOMEM;
    /* What would exceed one atomic block by far goes into a block of its own. */
    if (l->open.n_rows > 0 && l->open.n_rows + rows->n_rows > 4 * b->options.rows_max)
        cut_lane(b, l);
    if (l->open.columns == NULL) {
        l->open = *rows; /* The first page's columns become the open batch as they are. */
        *rows = (struct batch){0};
        l->first_lsn = lsn;
        l->first_wall_ns = wall_ns;
        l->opened_mono_ns = b->clock->mono_ns;
        b->open_rows += l->open.n_rows;
        b->open_bytes += batch__bytes(&l->open);
        b->feeds[feed].bytes += batch__bytes(&l->open);
    } else {
        size_t before = batch__bytes(&l->open);
        int status = batch__append(&l->open, rows);
        if (status != 0) return status;
        b->open_rows += rows->n_rows;
        b->open_bytes += batch__bytes(&l->open) - before;
        b->feeds[feed].bytes += batch__bytes(&l->open) - before;
    }
    l->last_lsn = lsn;
    if (is_large(b, l)) cut_lane(b, l);
    return 0;
}

int batcher__rows(struct batcher *b, unsigned feed, uint64_t lsn, uint64_t next_lsn,
                  int64_t wall_ns, struct rows *rows) {
    struct feed *f = &b->feeds[feed];
    assert(f->open && lsn >= f->decoded_lsn);
    b->n_taken += rows__count(rows);
    f->n_taken += rows__count(rows);
    map__fini(&b->plans_by_token); /* Recovery is over; plans go away from here on. */
    int status = finish_passed(b, feed, lsn);
    for (size_t i = 0; status == 0 && i < rows->n; i++)
        status = add_rows(b, feed, lsn, wall_ns, &rows->batches[i]);
    rows__fini(rows);
    f->decoded_lsn = next_lsn;
    if (status == 0) status = finish_passed(b, feed, next_lsn);
    return status;
}

void batcher__open_feed(struct batcher *b, unsigned feed, uint64_t lsn) {
    bool first = (feed == 0 || feed == FEED_TAPE) && b->feeds[feed].n_taken == 0;
    assert(first || b->recovered_lsn == 0 || lsn > b->recovered_lsn);
    b->feeds[feed].open = true;
    b->feeds[feed].opened_lsn = lsn;
    b->feeds[feed].decoded_lsn = lsn;
}

void batcher__close_feed(struct batcher *b, unsigned feed) {
    b->feeds[feed].open =
        false; /* What cannot be cut for lack of memory is cut at the next tick. */
    for (struct lane *l = b->lanes; l != NULL; l = l->next)
        if (l->feed == feed && l->open.n_rows > 0) cut_lane(b, l);
}

bool batcher__feed_waits(const struct batcher *b, unsigned feed) {
    return b->feeds[feed].bytes > 0;
}

static size_t count_sealed(const struct batcher *b, const char *table) {
    size_t n = 0;
    for (const struct sealed *s = b->first; s != NULL; s = s->next)
        n += strcmp(s->seal.table, table) == 0;
    return n;
}

static int64_t age_of(const struct batcher *b, const struct lane *l) {
    return b->age_ns == NULL || l->table == NULL ? b->options.age_max_ns
                                                 : b->age_ns(b->ctx, l->table);
}

/* @return whether the open batches of @feed alone take so much memory that there is no room for
 * more. */
static bool is_crowded(const struct batcher *b, unsigned feed) {
    size_t bytes = 0;
    if (b->feeds[feed].crowd_bytes == 0) return false;
    for (const struct lane *l = b->lanes; l != NULL; l = l->next)
        if (l->feed == feed && l->open.n_rows > 0) bytes += batch__bytes(&l->open);
    return bytes >= b->feeds[feed].crowd_bytes;
}

/* Tables that are cut at the common age are cut together with the first of their feed that is old
 * enough: rows of checkpoints wait for the data in front of them, and the parts are as many. */
void batcher__cut(struct batcher *b, bool everything) {
    bool due[FEEDS_MAX], crowded[FEEDS_MAX];
    for (unsigned i = 0; i < FEEDS_MAX; i++) {
        due[i] = crowded[i] = is_crowded(b, i);
        b->feeds[i].crowd_bytes = 0;
    }
    for (struct lane *l = b->lanes; l != NULL; l = l->next) {
        int64_t age_ns = age_of(b, l);
        if (l->open.n_rows > 0 && age_ns <= b->options.age_max_ns &&
            b->clock->mono_ns - l->opened_mono_ns >= age_ns)
            due[l->feed] = true;
    }
    for (struct lane *l = b->lanes; l != NULL; l = l->next) {
        int64_t age_ns = age_of(b, l);
        bool last = everything || !b->feeds[l->feed].open || crowded[l->feed];
        bool old = b->clock->mono_ns - l->opened_mono_ns >= age_ns ||
                   (due[l->feed] && age_ns <= b->options.age_max_ns);
        if (l->open.n_rows == 0 || (!last && !old)) continue;
        if (last || count_sealed(b, l->name) < SEALED_BY_AGE_MAX) cut_lane(b, l);
    }
    drop_idle_lanes(b, clock__day(b->clock->wall_ns) - 1);
}

/* Rows of such tables are no page's data: no checkpoint waits for them. */
static bool is_aside(const struct table_desc *t) {
    return t != NULL && (t->after_data || t->patient);
}

/* @return the first plan of @l that is not stored. Weeks of stored ones may stand in front of it
 * when one batch was held: they are passed once, not at each question. */
static const struct planned *first_missing(struct lane *l) {
    struct planned *p = l->skip == NULL ? l->plan : l->skip->next;
    for (; p != NULL && p->stored; p = p->next) l->skip = p;
    return p;
}

/* The position below which @feed (FEEDS_MAX: every feed of pages) misses no row; of data tables
 * only, or of all. */
static uint64_t low_water(const struct batcher *b, unsigned feed, bool data_only) {
    uint64_t low = UINT64_MAX;
    bool any = feed == FEEDS_MAX;
    for (unsigned i = 0; i < FEEDS_MAX; i++)
        if ((any ? i != FEED_TAPE : i == feed) && b->feeds[i].open && b->feeds[i].decoded_lsn < low)
            low = b->feeds[i].decoded_lsn;
    for (struct lane *l = b->lanes; l != NULL; l = l->next) {
        if (any ? l->feed == FEED_TAPE : l->feed != feed) continue;
        if (data_only && is_aside(l->table)) continue;
        if (l->open.n_rows > 0 && l->first_lsn < low) low = l->first_lsn;
        const struct planned *p = first_missing(l);
        if (p != NULL && p->seal.first_lsn < low) low = p->seal.first_lsn;
    }
    for (const struct sealed *s = b->first; s != NULL; s = s->next) {
        if (any ? s->feed == FEED_TAPE : s->feed != feed) continue;
        if (data_only && is_aside(s->batch.table)) continue;
        if (s->seal.first_lsn < low) low = s->seal.first_lsn;
    }
    return low;
}

uint64_t batcher__low_water(const struct batcher *b) { return low_water(b, FEEDS_MAX, false); }

uint64_t batcher__feed_low_water(const struct batcher *b, unsigned feed) {
    return low_water(b, feed, false);
}

/* @s would have its table searched twice at once: then the first in the list goes on, so that no
 * two wait for each other. Else batches do not wait: each is one insert under a token of its own,
 * and the low-water mark is that of the oldest, in whatever order they end. */
static bool has_to_wait(const struct batcher *b, const struct sealed *s) {
    bool behind = false;
    for (const struct sealed *x = b->first; x != NULL; x = x->next) {
        behind |= x == s;
        if (x == s || x->batch.table != s->batch.table) continue;
        bool searched = x->search.active && !x->search.held;
        if (!behind && searched && (s->look || s->search.active)) return true;
    }
    return false;
}

static struct sealed *next_of(struct batcher *b, unsigned feed, const struct batch_filter *filter) {
    uint64_t data_low = low_water(b, feed, true);
    for (struct sealed *s = b->first; s != NULL; s = s->next) {
        if (s->feed != feed) continue;
        if (s->state != SEALED_READY || s->not_before_mono_ns > b->clock->mono_ns) continue;
        if (s->mistimed) continue;
        if (s->batch.table->after_data && data_low <= s->seal.last_lsn) continue;
        if (has_to_wait(b, s)) continue;
        if (filter != NULL && !filter->takes(filter->ctx, s)) continue;
        return s;
    }
    return NULL;
}

struct sealed *batcher__next(struct batcher *b, unsigned feed, const struct batch_filter *filter) {
    struct sealed *s = b->tape_passed < TAPE_PASSED_MAX ? NULL : next_of(b, FEED_TAPE, filter);
    if (s == NULL) s = next_of(b, feed, filter);
    for (unsigned i = 0; s == NULL && i < FEEDS_MAX; i++)
        if (i != feed) s = next_of(b, i, filter);
    if (s != NULL && s->feed == FEED_TAPE) b->tape_passed = 0;
    else if (s != NULL && b->tape_passed < TAPE_PASSED_MAX) b->tape_passed++;
    return s;
}

void batcher__stored(struct batcher *b, struct sealed *sealed) {
    struct sealed **at = &b->first, *before = NULL;
    while (*at != NULL && *at != sealed) {
        before = *at;
        at = &(*at)->next;
    }
    assert(*at == sealed);
    *at = sealed->next;
    if (b->last == sealed) b->last = before;
    b->n_sealed--;
    b->n_stored += sealed->batch.n_rows;
    b->sealed_bytes -= batch__bytes(&sealed->batch);
    b->feeds[sealed->feed].bytes -= batch__bytes(&sealed->batch);
    free_sealed(sealed);
}

/* Rows counted where they lie. */
static uint64_t count_held(const struct batcher *b) {
    uint64_t n = 0;
    for (const struct sealed *s = b->first; s != NULL; s = s->next) n += s->batch.n_rows;
    for (const struct lane *l = b->lanes; l != NULL; l = l->next) {
        n += l->open.n_rows;
        if (l->plan != NULL) n += l->plan->batch.n_rows; /* Those behind it have none yet. */
    }
    return n;
}

int64_t batcher__imbalance(const struct batcher *b) {
    return (int64_t)(b->n_taken - b->n_stored - b->n_dropped_as_stored - count_held(b));
}

uint64_t batcher__owed(const struct batcher *b) {
    uint64_t n = count_held(b);
    for (const struct sealed *s = b->first; s != NULL; s = s->next) n -= n_settled(s);
    return n;
}

size_t batcher__open_rows(const struct batcher *b, const char *table, size_t *outstanding) {
    size_t n = 0;
    for (const struct lane *l = b->lanes; l != NULL; l = l->next)
        if (strcmp(l->name, table) == 0) n += l->open.n_rows;
    *outstanding = count_sealed(b, table);
    return n;
}
