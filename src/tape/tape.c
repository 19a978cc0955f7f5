/* Versions in, events out: the difference between what a stash held and what it holds. */
#include "tape_internal.h"
#include <stdlib.h>

#define MEMORY_DEFAULT ((size_t)1 << 30)
#define RECENT_DEFAULT (1u << 20)
#define MARKETS_DEFAULT (1u << 16)
#define COVERED_NS NS_PER_HOUR

#define SINGLE_MAX 2u
#define BULK_MIN 5u /* And a quarter of the tab. */
#define NEAR_PERCENT 25

/* One version on its way in. */
struct step {
    struct tape *t;
    const struct tape_version *v;
    tape_event_cb cb;
    void *ctx;
    struct stash *old;       /* What was known; NULL. */
    const struct item *next; /* The new items, ascending by id. */
    uint32_t n_next;
    const unsigned char *id;
    uint64_t seller_hash, stash_hash;
    uint32_t now_s;
    uint16_t league;
    size_t n_gone;          /* Without those that were seen elsewhere. */
    bool unchanged;         /* Nothing but removals. */
    bool partial;           /* What is not in it is not known. */
    bool lost;              /* Pages were lost since the version before. */
    bool gathered, crowded; /* What the seller has was looked at; was too much. */
    size_t n_alike;
    struct tape_event event; /* What all of them share is filled in. */
};

int tape__new(struct tape **out, const struct tape_options *options) {
    struct tape *t = calloc(1, sizeof *t);
    if (t == NULL) return ERR_NOMEM;
    t->options = *options;
    if (t->options.memory_max == 0) t->options.memory_max = MEMORY_DEFAULT;
    if (t->options.recent_max == 0) t->options.recent_max = RECENT_DEFAULT;
    if (t->options.markets_max == 0) t->options.markets_max = MARKETS_DEFAULT;
    if (stashes__init(t) != 0 || leagues__init(t) != 0 ||
        recent__init(&t->recent, t->options.recent_max) != 0 ||
        markets__init(&t->markets, t->options.markets_max) != 0) {
        tape__free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return 0;
}

void tape__free(struct tape *t) {
    if (t == NULL) return;
    stashes__fini(t);
    leagues__fini(t);
    recent__fini(&t->recent);
    markets__fini(&t->markets);
    free(t->scratch);
    free(t);
}

static struct coverage *coverage_of(struct tape *t, struct slice realm) {
    for (size_t i = 0; i < t->n_realms; i++)
        if (slice__eq(slice__str(t->realms[i].realm), realm)) return &t->realms[i];
    if (t->n_realms == REALMS_MAX || realm.len >= sizeof t->realms[0].realm) return NULL;
    struct coverage *c = &t->realms[t->n_realms++];
    *c = (struct coverage){0};
    memcpy(c->realm, realm.base, realm.len);
    return c;
}

static uint32_t cursor_hash(struct slice cursor) {
    uint32_t hash = (uint32_t)tape__hash(cursor.base, cursor.len);
    return hash == 0 ? 1 : hash;
}

bool tape__page(struct tape *t, struct slice realm, int64_t wall_ns, bool at_end) {
    struct coverage *c = coverage_of(t, realm);
    if (c == NULL) return false;
    if (wall_ns - c->last_page_ns > GAP_NS || wall_ns < c->last_page_ns) c->since_ns = 0;
    c->last_page_ns = wall_ns;
    if (at_end) {
        c->last_end_ns = wall_ns;
        if (c->since_ns == 0) c->since_ns = wall_ns;
    } else if (wall_ns - c->last_end_ns > GAP_NS) {
        c->since_ns = 0;
    }
    return c->since_ns != 0 && wall_ns - c->since_ns >= COVERED_NS;
}

void tape__lost(struct tape *t, struct slice realm, int64_t wall_ns) {
    struct coverage *c = coverage_of(t, realm);
    if (c == NULL) return;
    c->since_ns = c->last_end_ns = 0;
    c->lost_s = (uint32_t)(wall_ns / NS_PER_S);
    t->n_lost++;
}

void tape__follows(struct tape *t, struct slice realm, struct slice from, struct slice to) {
    struct coverage *c = coverage_of(t, realm);
    if (c == NULL) return;
    if (c->cursor_hash != 0 && c->cursor_hash != cursor_hash(from))
        tape__lost(t, realm, c->last_page_ns);
    c->cursor_hash = cursor_hash(to);
}

static void say(struct step *s, enum tape_kind kind, const struct item *item) {
    struct tape_event *e = &s->event;
    e->kind = kind;
    tape_id__write(item->id, e->listing_id);
    e->currency = currency__id(item->currency);
    e->item_key = item->item_key;
    e->fingerprint = item->fingerprint;
    e->key_version = item->key_version & (uint16_t)~TAPE_HELD;
    if (e->key_version == 0) e->key_version = 1;
    e->price_e6 = item->price_e6;
    e->stack_size = item->stack_size;
    e->listed_wall_ns = (int64_t)item->listed_s * NS_PER_S;
    s->t->n_events++;
    s->cb(s->ctx, e);
    e->removal = TAPE_NOT_REMOVED;
    e->sold_probability = 0;
    e->price_before_e6 = 0;
    e->stack_before = 0;
    e->retracts[0] = '\0';
}

static uint64_t equal_of(const struct step *s, const struct item *item) {
    const uint64_t key[2] = {s->seller_hash, item->fingerprint};
    return tape__hash(key, sizeof key);
}

static uint32_t ago(uint32_t now_s, uint32_t s) { return now_s > s ? now_s - s : 1; }

/* While versions were partial it may have gone long before this one. */
static bool was_seen_elsewhere(const struct step *s, const struct item *item) {
    uint32_t since_s = ago(s->now_s, MOVED_S);
    uint32_t known_s = (uint32_t)(s->old->seen_wall_ns / NS_PER_S);
    if (s->old->partial && known_s < since_s) since_s = known_s == 0 ? 1 : known_s;
    return recent__came_elsewhere(&s->t->recent, tape__hash(item->id, TAPE_ID_BYTES), s->stash_hash,
                                  since_s);
}

static bool is_near_market(const struct step *s, const struct item *item) {
    const struct league *league = &s->t->leagues[s->old->league];
    int64_t median =
        markets__median(&s->t->markets, markets__key(league, item->item_key, item->currency),
                        s->old->seller_hash, s->now_s);
    int64_t off = item->price_e6 > median ? item->price_e6 - median : median - item->price_e6;
    return median > 0 && off <= median / 100 * NEAR_PERCENT;
}

static bool is_bulk(const struct step *s) {
    return s->n_gone >= BULK_MIN && s->n_gone * 4 >= s->old->n_items;
}

static enum tape_removal classify(const struct step *s, const struct item *item) {
    if (!s->v->is_public) return TAPE_UNLISTED;
    if (was_seen_elsewhere(s, item)) return TAPE_MOVED_AWAY;
    if (!s->v->caught_up || s->lost) return TAPE_CATCHING_UP;
    if (is_bulk(s)) return TAPE_BULK;
    if (item->currency == 0) return TAPE_UNPRICED;
    if (s->n_gone > SINGLE_MAX) return TAPE_FEW;
    return s->unchanged && is_near_market(s, item) ? TAPE_SOLD_NEAR : TAPE_SOLD_OFF;
}

static double probability_of(enum tape_removal removal) {
    if (removal == TAPE_SOLD_NEAR) return 0.85;
    if (removal == TAPE_SOLD_OFF || removal == TAPE_FEW) return 0.35;
    return removal == TAPE_BULK ? 0.10 : 0;
}

/* Whether the seller had others like @item on sale when it went, itself not counted: one more of a
 * shop's goods says nothing of the one that went. Looked at as it was before this version. */
static bool is_of_a_shop(struct step *s, const struct item *item) {
    struct tape *t = s->t;
    if (!s->gathered) {
        s->crowded = !stashes__alike(t, s->old->seller_hash, &s->n_alike);
        t->n_crowded += s->crowded;
        s->gathered = true;
    }
    if (s->crowded) return true;
    size_t low = 0, high = s->n_alike;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->alike[mid] < item->fingerprint) low = mid + 1;
        else high = mid;
    }
    return low + 1 < s->n_alike && t->alike[low + 1] == item->fingerprint;
}

static void remove_item(struct step *s, const struct item *item) {
    s->event.removal = classify(s, item);
    s->event.sold_probability = probability_of(s->event.removal);
    bool may_return = s->event.removal != TAPE_MOVED_AWAY;
    say(s, TAPE_DELISTED, item);
    if (!may_return) return;
    bool is_one = item->fingerprint != 0 && !is_of_a_shop(s, item);
    struct removal gone = {.equal = is_one ? equal_of(s, item) : 0,
                           .gone_s = s->now_s,
                           .listed_s = item->listed_s == 0 ? 1 : item->listed_s};
    memcpy(gone.id, item->id, TAPE_ID_BYTES);
    memcpy(gone.stash_id, s->old->id, TAPE_ID_BYTES);
    recent__add_removal(&s->t->recent, &gone);
}

static void note_addition(struct step *s, const struct item *item) {
    recent__add_addition(&s->t->recent, tape__hash(item->id, TAPE_ID_BYTES), s->stash_hash,
                         s->now_s);
}

static void add_item(struct step *s, struct item *item) {
    struct recent *r = &s->t->recent;
    if (item->key_version == TAPE_UNREAD) { /* It is here, so it was not sold where it was. */
        note_addition(s, item);
        return;
    }
    struct removal *gone = recent__by_id(r, item->id, ago(s->now_s, RELISTED_S));
    enum tape_kind kind = TAPE_LISTED;
    if (gone != NULL) {
        bool same_stash = memcmp(gone->stash_id, s->id, TAPE_ID_BYTES) == 0;
        kind = !same_stash && gone->gone_s + MOVED_S >= s->now_s ? TAPE_MOVED : TAPE_RELISTED;
    } else if (item->fingerprint != 0) {
        gone = recent__by_equal(r, equal_of(s, item), ago(s->now_s, RELISTED_S));
        if (gone != NULL) kind = TAPE_RELISTED;
    }
    if (gone != NULL) {
        tape_id__write(gone->id, s->event.retracts);
        if (kind == TAPE_MOVED) item->listed_s = gone->listed_s; /* The listing goes on. */
        recent__forget(gone);
    }
    say(s, kind, item);
    note_addition(s, item);
}

static bool has_price_changed(const struct item *a, const struct item *b) {
    return a->ask != b->ask || a->price_e6 != b->price_e6 || a->currency != b->currency;
}

static void change_item(struct step *s, const struct item *was, struct item *is) {
    is->listed_s = was->listed_s;
    if (has_price_changed(was, is)) {
        s->event.price_before_e6 = was->price_e6;
        say(s, TAPE_REPRICED, is);
    }
    if (was->stack_size == is->stack_size) return;
    s->event.stack_before = was->stack_size;
    if (was->stack_size > is->stack_size && is->currency != 0 && s->v->caught_up && !s->lost) {
        s->event.removal = TAPE_PART;
        s->event.sold_probability =
            0.5 * (double)(was->stack_size - is->stack_size) / (double)was->stack_size;
    }
    say(s, TAPE_RESTACKED, is);
}

/* What was not read in the version before may have changed before it. */
static void keep_item(struct step *s, const struct item *was, struct item *is) {
    int64_t from_wall_ns = s->event.from_wall_ns;
    if (was->key_version == TAPE_UNREAD) {
        s->event.from_wall_ns = 0;
        if (is->key_version != TAPE_UNREAD) add_item(s, is);
    } else {
        if (was->key_version & TAPE_HELD) s->event.from_wall_ns = (int64_t)was->listed_s * NS_PER_S;
        change_item(s, was, is);
    }
    s->event.from_wall_ns = from_wall_ns;
}

/* Walks both versions, ascending by id: first to @count what changed, then to say it. */
static void walk(struct step *s, struct item *next, bool count) {
    struct item *old = s->old == NULL ? NULL : stash__items(s->old);
    uint32_t n_old = s->old == NULL ? 0 : s->old->n_items, i = 0, k = 0;
    while (i < n_old || k < s->n_next) {
        int order = i == n_old       ? 1
                    : k == s->n_next ? -1
                                     : memcmp(old[i].id, next[k].id, TAPE_ID_BYTES);
        if (order < 0) {
            bool told = old[i].key_version != TAPE_UNREAD; /* Else nobody knows of it. */
            if (told && !count) remove_item(s, &old[i]);
            else if (told && !was_seen_elsewhere(s, &old[i])) s->n_gone++;
            i++;
        } else if (order > 0) {
            if (!count) add_item(s, &next[k]);
            else s->unchanged = false;
            k++;
        } else {
            if (!count) keep_item(s, &old[i], &next[k]);
            else if (has_price_changed(&old[i], &next[k]) ||
                     old[i].stack_size != next[k].stack_size)
                s->unchanged = false;
            i++, k++;
        }
    }
}

static int compare_items(const void *a, const void *b) {
    return memcmp(((const struct item *)a)->id, ((const struct item *)b)->id, TAPE_ID_BYTES);
}

static int make_room(struct tape *t, size_t n) {
    if (n <= t->scratch_cap) return 0;
    struct item *more = realloc(t->scratch, n * sizeof *more);
    if (more == NULL) return ERR_NOMEM;
    t->scratch = more;
    t->scratch_cap = n;
    return 0;
}

static struct item read_item(struct tape *t, const struct tape_item *in, uint32_t now_s) {
    if (in->unread) return (struct item){.key_version = TAPE_UNREAD};
    struct item out = {.item_key = in->item_key,
                       .fingerprint = in->fingerprint,
                       .currency = currency__find(in->currency),
                       .stack_size = in->stack_size,
                       .listed_s = now_s,
                       .ask = (uint32_t)in->ask,
                       .key_version = in->key_version};
    if (out.currency == CURRENCY_NONE && in->currency.len > 0) {
        out.ask = 0; /* Whatever the word is, it is no price. */
        t->n_unnamed++;
    }
    out.price_e6 = out.currency == CURRENCY_NONE ? 0 : in->price_e6;
    return out;
}

/* Two of one id that differ: it is there, and which of them it is is not known. */
static uint32_t merge_twins(struct item *items, uint32_t n) {
    uint32_t kept = n > 0;
    for (uint32_t i = 1; i < n; i++) {
        struct item *before = &items[kept - 1];
        if (memcmp(items[i].id, before->id, TAPE_ID_BYTES) != 0) items[kept++] = items[i];
        else if (memcmp(&items[i], before, sizeof *before) != 0) before->key_version = TAPE_UNREAD;
    }
    return kept;
}

/* Fills the scratch with the version's items, sorted, each id once. */
static int read_items(struct step *s) {
    struct tape *t = s->t;
    const struct tape_version *v = s->v;
    uint32_t n = 0, n_old = s->old == NULL ? 0 : s->old->n_items;
    if (make_room(t, v->n_items + n_old) != 0) return ERR_NOMEM;
    for (size_t i = 0; i < v->n_items; i++) {
        struct item *item = &t->scratch[n];
        *item = read_item(t, &v->items[i], s->now_s);
        if (!tape_id__read(v->items[i].id, item->id)) {
            t->n_untracked++;
            s->partial = true; /* It may be any that is missing. */
            continue;
        }
        n++;
    }
    if (n > 1) qsort(t->scratch, n, sizeof *t->scratch, compare_items);
    s->n_next = merge_twins(t->scratch, n);
    return 0;
}

/* Puts what was known in the place of what this version does not say. */
static void hold_unknown(struct step *s) {
    struct item *next = s->t->scratch, *old = s->old == NULL ? NULL : stash__items(s->old);
    uint32_t n_old = s->old == NULL ? 0 : s->old->n_items, n = s->n_next, i = 0, k = 0;
    while (k < n || i < n_old) {
        int order = i == n_old ? 1 : k == n ? -1 : memcmp(old[i].id, next[k].id, TAPE_ID_BYTES);
        bool unread = order >= 0 && next[k].key_version == TAPE_UNREAD;
        struct item *hold = NULL;
        if (order == 0 && unread) hold = &next[k];
        else if (order < 0 && s->partial) hold = &next[s->n_next++];
        if (unread) s->unchanged = false;
        if (hold != NULL) {
            *hold = old[i];
            if (hold->key_version != TAPE_UNREAD) hold->key_version |= TAPE_HELD;
            s->t->n_held++;
        }
        if (order >= 0) k++;
        if (order <= 0) i++;
    }
    if (s->partial) s->unchanged = false;
    if (s->n_next > n) qsort(next, s->n_next, sizeof *next, compare_items);
    s->t->n_partial += s->partial;
}

static void note_asks(const struct step *s) {
    for (uint32_t i = 0; i < s->n_next; i++) {
        const struct item *item = &s->next[i];
        if (item->price_e6 > 0 && (item->key_version & TAPE_HELD) == 0)
            markets__ask(&s->t->markets,
                         markets__key(&s->t->leagues[s->league], item->item_key, item->currency),
                         s->seller_hash, item->price_e6, s->now_s);
    }
}

static int store_version(struct step *s) {
    size_t seller_len = s->v->seller.len < SELLER_MAX ? s->v->seller.len : SELLER_MAX;
    struct stash *new = malloc(stash__bytes(s->n_next, seller_len));
    if (new == NULL) return ERR_NOMEM;
    *new = (struct stash){.seller_hash = s->seller_hash,
                          .seen_wall_ns = s->v->wall_ns,
                          .partial = s->partial,
                          .n_items = s->n_next,
                          .league = s->league,
                          .seller_len = (uint8_t)seller_len};
    if (s->partial) new->seen_wall_ns = s->old == NULL ? 0 : s->old->seen_wall_ns;
    memcpy(new->id, s->id, TAPE_ID_BYTES);
    if (s->n_next > 0) memcpy(new->tail, s->next, s->n_next * sizeof(struct item));
    if (seller_len > 0)
        memcpy(new->tail + s->n_next * sizeof(struct item), s->v->seller.base, seller_len);
    if (stashes__put(s->t, new, s->old) == 0) return 0;
    free(new);
    return ERR_NOMEM;
}

/* The end of the stream says of each stash that it is as it was last seen; of one whose last
 * version did not say everything, or came before pages that are lost, it says nothing. */
static int64_t known_until(const struct step *s, const struct coverage *c) {
    if (s->old == NULL) return 0;
    int64_t seen_ns = s->old->seen_wall_ns;
    if (c == NULL || s->old->partial || s->lost || c->last_end_ns > s->v->wall_ns) return seen_ns;
    return c->last_end_ns > seen_ns ? c->last_end_ns : seen_ns;
}

static void fill_event(struct step *s, const struct coverage *c) {
    const struct tape_version *v = s->v;
    struct tape_event *e = &s->event;
    tape_id__write(s->id, e->stash_id);
    e->realm = v->realm;
    e->league = v->is_public ? v->league : leagues__name(s->t, s->old->league);
    e->seller = v->is_public ? v->seller : slice__of(stash__seller(s->old), s->old->seller_len);
    e->from_wall_ns = known_until(s, c);
    e->to_wall_ns = v->wall_ns;
}

static int take_version(struct step *s, struct err *e) {
    struct tape *t = s->t;
    const struct tape_version *v = s->v;
    s->old = stashes__find(t, s->id);
    if (!v->is_public && s->old == NULL) return 0; /* Nine of ten tombstones: never seen before. */
    s->now_s = (uint32_t)(v->wall_ns / NS_PER_S);
    s->stash_hash = tape__hash(s->id, TAPE_ID_BYTES);
    s->unchanged = true;
    const struct coverage *c = coverage_of(t, v->realm);
    /* No version that said everything counts as one before the loss. */
    s->lost = c != NULL && s->old != NULL && s->old->seen_wall_ns / NS_PER_S <= c->lost_s;
    s->partial = v->is_public && v->partial;
    if (v->is_public && read_items(s) != 0) {
        if (s->old != NULL) stashes__remove(t, s->old);
        return err__setf(e, ERR_NOMEM, "out of memory");
    }
    if (s->partial && s->old != NULL && s->n_next + s->old->n_items > ITEMS_MAX) {
        s->old->partial = true;
        return err__setf(e, ERR_LIMIT, "stash %.8s: too many items to keep what is not known of it",
                         v->stash_id.base);
    }
    if (v->is_public) hold_unknown(s);
    s->next = t->scratch;
    s->seller_hash = v->is_public ? tape__hash(v->seller.base, v->seller.len) : s->old->seller_hash;
    fill_event(s, c);
    walk(s, t->scratch, true);
    walk(s, t->scratch, false);
    int rc = 0;
    if (!v->is_public) {
        stashes__remove(t, s->old);
    } else {
        note_asks(s);
        rc = store_version(s);
        if (rc != 0 && s->old != NULL) stashes__remove(t, s->old);
    }
    stashes__make_room(t);
    return rc == 0 ? 0 : err__setf(e, rc, "out of memory");
}

int tape__version(struct tape *t, const struct tape_version *v, tape_event_cb cb, void *ctx,
                  struct err *e) {
    unsigned char id[TAPE_ID_BYTES];
    if (!tape_id__read(v->stash_id, id))
        return err__setf(e, ERR_MALFORMED, "stash \"%.*s\" (expected 64 hexadecimal digits)",
                         (int)(v->stash_id.len < 80 ? v->stash_id.len : 80), v->stash_id.base);
    if (v->unread || v->n_items > ITEMS_MAX) {
        struct stash *stash = stashes__find(t, id);
        if (stash != NULL) stash->partial = true;
        if (v->unread) return 0;
        return err__setf(e, ERR_LIMIT, "stash %.8s has %zu items (at most %u)", v->stash_id.base,
                         v->n_items, ITEMS_MAX);
    }
    t->n_versions++;
    struct step s = {.t = t, .v = v, .cb = cb, .ctx = ctx, .id = id};
    /* First of all: it may forget stashes. */
    if (v->is_public) s.league = leagues__number(t, v->league);
    int rc = take_version(&s, e);
    leagues__tidy(t, s.league);
    return rc;
}

void tape__status(const struct tape *t, struct tape_status *out) {
    *out = (struct tape_status){.n_stashes = t->n_stashes,
                                .n_items = t->n_items,
                                .bytes = tape__bytes(t),
                                .memory_max = t->options.memory_max,
                                .n_versions = t->n_versions,
                                .n_events = t->n_events,
                                .n_untracked = t->n_untracked,
                                .n_forgotten_stashes = t->n_forgotten_stashes,
                                .n_forgotten_items = t->n_forgotten_items,
                                .n_partial = t->n_partial,
                                .n_held = t->n_held,
                                .n_lost = t->n_lost,
                                .n_leagues = t->leagues_by_name.n,
                                .n_forgotten_leagues = t->n_forgotten_leagues,
                                .n_unnamed = t->n_unnamed,
                                .n_crowded = t->n_crowded};
}
