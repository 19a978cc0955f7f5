/* See audit.h. Three passes: the stored pages and overviews (what is durable), the ledger (what
 * must be there and what may be missing), the stored rows. A second look at the ledger and at the
 * source names the first differences, so that no key text is kept in memory for rows that are
 * right. */
#include "ledger_audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* For the streaming state on the stack. */
#include <xxhash.h>

#include "../world/economy.h"
#include "audit_refused.h"
#include "ledger.h"

const char *const audit_table_names[AUDIT_TABLES] = {
    [AUDIT_PAGES] = "raw_public_stash_pages",   [AUDIT_STASH] = "bronze_public_stash",
    [AUDIT_NINJA] = "bronze_poeninja_snapshot", [AUDIT_EXCHANGE] = "bronze_exchange_events",
    [AUDIT_TRADE] = "bronze_trade_metadata",    [AUDIT_ACCOUNT] = "bronze_account_stash_snapshot",
    [AUDIT_LEAGUES] = "bronze_leagues",         [AUDIT_ENRICHMENT] = "bronze_enrichment"};

/** How rows of a table are compared. */
static const struct {
    const char *line;  /* The ledger's word for a row; NULL for those of pages and overviews. */
    size_t key_fields; /* Of a stored row; of a ledger line, behind its first word. */
    bool counted;      /* A stored row ends with how often it is there. */
    bool comes_again;  /* One key is served, and stored, any number of times. */
} shapes[AUDIT_TABLES] = {
    [AUDIT_PAGES] = {NULL, 3, false, false},     [AUDIT_STASH] = {NULL, 3, false, false},
    [AUDIT_NINJA] = {NULL, 4, true, false},      [AUDIT_EXCHANGE] = {"exchange", 4, true, false},
    [AUDIT_TRADE] = {"trade", 3, true, true},    [AUDIT_ACCOUNT] = {"account", 3, true, true},
    [AUDIT_LEAGUES] = {"league", 3, true, true}, [AUDIT_ENRICHMENT] = {"enrichment", 2, true, true},
};

/** One row: its key's hash, and for emitted rows where the ledger has it. */
struct entry {
    uint64_t hi, lo;
    uint64_t offset : 63, optional : 1;
};
struct entries {
    struct entry *at;
    size_t n, cap;
};
/** One page or overview of the ledger, in its order. */
struct unit {
    uint64_t key, next; /* Pages: hashes of cursor and next cursor. Overviews: of the body, and of
                           league and type. */
    bool stored, required, has_before;
    bool comes_again; /* Of shapes[]. */
};
struct units {
    struct unit *at;
    size_t n, cap;
};
struct audit {
    struct entries emitted[AUDIT_TABLES], stored[AUDIT_TABLES];
    struct units pages, overviews, bodies;
    struct hash_set stored_units; /* Cursors of stored pages, bodies of stored overviews, and of the
                                     other kinds what names a body: body_key(). */
    struct hash_set optional_units;
    struct entries pending[AUDIT_TABLES]; /* Rows of the ledger whose body line has not come yet. */
    struct hash_set in_body;              /* Keys of those rows, each with how often it came. */
    struct refused refused;
    unsigned flags;
    struct audit_report *report;
    enum audit_table table;               /* While rows of it come in. */
    struct entry wanted[AUDIT_NAMED_MAX]; /* Keys to name at the second look at the source;
                                             @optional marks unknown ones. */
    size_t n_wanted;
};

static void *grown(void *at, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return at;
    *cap = *cap < 1024 ? 1024 : *cap + *cap / 2;
    at = realloc(at, *cap * size);
    if (at == NULL) abort();
    return at;
}

static struct entry hash_key(enum audit_table table, const struct span *f, size_t n) {
    XXH3_state_t state;
    XXH128_hash_t h;
    struct entry out = {0};
    XXH3_128bits_reset_withSeed(&state, (XXH64_hash_t)table);
    for (size_t i = 0; i < n; i++) {
        XXH3_128bits_update(&state, f[i].at, f[i].len);
        XXH3_128bits_update(&state, "\t", 1);
    }
    h = XXH3_128bits_digest(&state);
    out.hi = h.high64;
    out.lo = h.low64;
    return out;
}

static uint64_t hash_text(struct span s, uint64_t seed) {
    return XXH3_64bits_withSeed(s.at, s.len, seed);
}

static uint64_t overview_key(struct span league, struct span type, struct span hash) {
    return mix64(mix64(hash_text(league, 1), hash_text(type, 2)), hash_text(hash, 3));
}

/** @return what a body of kind @kind is called: by what was asked, which for kinds that come again
 * is not enough, so that there its hash belongs to it. */
static uint64_t body_key(const char *kind, struct span a, struct span b, struct span hash) {
    uint64_t key = XXH3_64bits_withSeed(kind, strlen(kind), 4);
    return mix64(mix64(key, hash_text(a, 5)), mix64(hash_text(b, 6), hash_text(hash, 7)));
}

/** @return the table that rows of bodies of kind @name go to; AUDIT_TABLES when it is none. */
static enum audit_table table_of_kind(struct span name) {
    static const enum audit_table tables[LEDGER_KINDS] = {
        [LEDGER_EXCHANGE] = AUDIT_EXCHANGE, [LEDGER_TRADES] = AUDIT_TRADE,
        [LEDGER_RESOURCE] = AUDIT_TRADE,    [LEDGER_ACCOUNT] = AUDIT_ACCOUNT,
        [LEDGER_LEAGUES] = AUDIT_LEAGUES,   [LEDGER_POEDB] = AUDIT_ENRICHMENT,
        [LEDGER_WIKI] = AUDIT_ENRICHMENT};
    for (int i = 0; i < LEDGER_KINDS; i++)
        if (span__is(name, ledger_kind_names[i])) return tables[i];
    return AUDIT_TABLES;
}

/** @return whether bodies of that kind are given out once, so that the asked one names them. */
static bool is_once(struct span kind) {
    return span__is(kind, ledger_kind_names[LEDGER_EXCHANGE]) ||
           span__is(kind, ledger_kind_names[LEDGER_TRADES]);
}

static const struct span nothing = {"", 0};

/** Undo TabSeparated escapes in place. */
static void unescape(struct span *f) {
    char *to, *out;
    if (f->len == 0 || memchr(f->at, '\\', f->len) == NULL) return;
    to = out = (char *)(uintptr_t)f->at; /* The line is the reader's own buffer. */
    for (size_t i = 0; i < f->len; i++) {
        char c = f->at[i];
        if (c == '\\' && i + 1 < f->len) {
            c = f->at[++i];
            c = c == 't'   ? '\t'
                : c == 'n' ? '\n'
                : c == 'r' ? '\r'
                : c == '0' ? '\0'
                : c == 'b' ? '\b'
                : c == 'f' ? '\f'
                           : c;
        }
        *out++ = c;
    }
    f->len = (size_t)(out - to);
}

/** Split and unescape a line without its end. @return the number of fields, at most @max + 1. */
static size_t split_line(char *line, size_t n, struct span *f, size_t max) {
    size_t n_fields = 0;
    for (;;) {
        char *tab = n > 0 ? memchr(line, '\t', n) : NULL;
        size_t len = tab != NULL ? (size_t)(tab - line) : n;
        if (n_fields < max) {
            f[n_fields] = (struct span){line, len};
            unescape(&f[n_fields]);
        }
        n_fields++;
        if (tab == NULL || n_fields > max) return n_fields;
        n -= len + 1;
        line = tab + 1;
    }
}

int tsv_reader__take(struct tsv_reader *t, const char *data, size_t n) {
    struct span f[AUDIT_FIELDS_MAX];
    while (n > 0 && !t->bad) {
        const char *end = memchr(data, '\n', n);
        size_t len = end != NULL ? (size_t)(end - data) : n;
        t->line.max = 1 << 20;
        buf__add(&t->line, data, len);
        data += len + (end != NULL);
        n -= len + (end != NULL);
        if (t->line.overflow) t->bad = true;
        if (end == NULL || t->bad) break;
        if (split_line(t->line.at, t->line.len, f, t->n_fields) != t->n_fields) {
            t->bad = true;
            break;
        }
        t->on_row(t->arg, f);
        t->n_rows++;
        buf__reset(&t->line);
    }
    return t->bad ? -1 : 0;
}

/* The ledger. */

/** A ledger line: its kind and its fields. */
struct ledger_line {
    size_t n;
    struct span f[8];
    uint64_t offset;
};

/** Read @ledger from its start. A torn last line is no line. */
static int each_line(FILE *ledger, void (*on_line)(struct audit *, struct ledger_line *),
                     struct audit *a, struct sim_err *e) {
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;
    uint64_t offset = 0;
    if (fseek(ledger, 0, SEEK_SET) != 0) return sim_err__setf(e, "ledger: %s", strerror(errno));
    while ((n = getline(&text, &cap, ledger)) > 0) {
        struct ledger_line line = {.offset = offset};
        offset += (uint64_t)n;
        if (text[n - 1] != '\n') break;
        text[n - 1] = '\0';
        line.n = split_line(text, (size_t)n - 1, line.f, 8);
        on_line(a, &line);
    }
    free(text);
    return 0;
}

static void on_unit(struct audit *a, struct ledger_line *l) {
    struct units *u = NULL;
    struct unit one = {0};
    if (l->n == 7 && span__is(l->f[0], "psapi-page")) {
        u = &a->pages;
        one.key = hash_text(l->f[2], 0);
        one.next = hash_text(l->f[3], 0);
    } else if (l->n == 6 && span__is(l->f[0], "ninja")) {
        u = &a->overviews;
        one.key = overview_key(l->f[1], l->f[2], l->f[3]);
        one.next = mix64(hash_text(l->f[1], 1), hash_text(l->f[2], 2));
        if (u->n > 0 && u->at[u->n - 1].key == one.key) return; /* One body, many lines. */
    } else if (l->n == 6 && span__is(l->f[0], "body") && table_of_kind(l->f[1]) != AUDIT_TABLES) {
        bool once = is_once(l->f[1]);
        char kind[16];
        u = &a->bodies;
        snprintf(kind, sizeof kind, "%.*s", (int)l->f[1].len, l->f[1].at);
        one.key = body_key(kind, l->f[2], l->f[3], once ? nothing : l->f[4]);
        /* What follows what: the hours of a realm, the pages of the gateway, the versions of a list
         * or tab. */
        one.next =
            body_key(kind, span__is(l->f[1], "trades") ? nothing : l->f[2], nothing, nothing);
        one.comes_again = !once;
    } else {
        return;
    }
    one.stored = hash_set__has(&a->stored_units, one.key);
    u->at = grown(u->at, u->n, &u->cap, sizeof *u->at);
    u->at[u->n++] = one;
}

static struct entry *add_entry(struct entries *to) {
    to->at = grown(to->at, to->n, &to->cap, sizeof *to->at);
    memset(&to->at[to->n], 0, sizeof *to->at);
    return &to->at[to->n++];
}

static void emit(struct audit *a, enum audit_table table, const struct span *key, size_t n,
                 uint64_t offset, bool optional) {
    struct entries *to = &a->emitted[table];
    struct entry one = hash_key(table, key, n);
    one.offset = offset & (UINT64_MAX >> 1);
    one.optional = optional;
    *add_entry(to) = one;
}

/** @return @key told apart from @ordinal others of one body that are the same. */
static struct entry numbered(struct entry key, uint64_t ordinal) {
    if (ordinal > 0) key.lo = mix64(key.lo, ordinal);
    return key;
}

/** Take a row of a body. Whether it may be missing is known at its body line, which follows. */
static void hold_row(struct audit *a, const struct ledger_line *l) {
    for (int t = AUDIT_EXCHANGE; t < AUDIT_TABLES; t++) {
        struct entry key;
        uint64_t ordinal = 0;
        if (!span__is(l->f[0], shapes[t].line) || l->n != shapes[t].key_fields + 1) continue;
        key = hash_key((enum audit_table)t, l->f + 1, shapes[t].key_fields);
        while (shapes[t].comes_again && !hash_set__add(&a->in_body, numbered(key, ordinal).lo))
            ordinal++;
        key = numbered(key, ordinal);
        key.optional = refused__take(&a->refused, (enum audit_table)t, nothing,
                                     l->f[t == AUDIT_EXCHANGE ? 4
                                          : t == AUDIT_TRADE  ? 3
                                                              : 2]);
        key.offset = l->offset & (UINT64_MAX >> 1);
        *add_entry(&a->pending[t]) = key;
    }
}

static void end_body(struct audit *a, const struct ledger_line *l) {
    enum audit_table t = table_of_kind(l->f[1]);
    char kind[16];
    bool optional;
    snprintf(kind, sizeof kind, "%.*s", (int)l->f[1].len, l->f[1].at);
    optional = hash_set__has(
        &a->optional_units, body_key(kind, l->f[2], l->f[3], is_once(l->f[1]) ? nothing : l->f[4]));
    for (size_t i = 0; t != AUDIT_TABLES && i < a->pending[t].n; i++) {
        a->pending[t].at[i].optional |= optional;
        *add_entry(&a->emitted[t]) = a->pending[t].at[i];
    }
    for (int i = 0; i < AUDIT_TABLES; i++) a->pending[i].n = 0;
    hash_set__fini(&a->in_body);
}

static void on_emitted(struct audit *a, struct ledger_line *l) {
    if (l->n == 8 && span__is(l->f[0], "psapi")) {
        struct span key[] = {l->f[2], l->f[4], l->f[6]};
        bool hostile = l->f[6].len >= sizeof HOSTILE_ID_PREFIX - 1 &&
                       memcmp(l->f[6].at, HOSTILE_ID_PREFIX, sizeof HOSTILE_ID_PREFIX - 1) == 0;
        emit(a, AUDIT_STASH, key, 3, l->offset,
             refused__take_item(&a->refused, l->f[2], l->f[4], l->f[5], l->f[6]) || hostile ||
                 hash_set__has(&a->optional_units, hash_text(l->f[2], 0)));
    } else if (l->n == 7 && span__is(l->f[0], "psapi-page")) {
        struct span key[] = {l->f[2], l->f[3], l->f[4]};
        emit(a, AUDIT_PAGES, key, 3, l->offset,
             hash_set__has(&a->optional_units, hash_text(l->f[2], 0)));
    } else if (l->n == 6 && span__is(l->f[0], "ninja")) {
        struct span key[] = {l->f[1], l->f[2], l->f[4], l->f[3]};
        emit(a, AUDIT_NINJA, key, 4, l->offset,
             refused__take(&a->refused, AUDIT_NINJA, nothing, l->f[4]) ||
                 hash_set__has(&a->optional_units, overview_key(l->f[1], l->f[2], l->f[3])));
    } else if (l->n == 6 && span__is(l->f[0], "body")) {
        end_body(a, l);
    } else {
        hold_row(a, l);
    }
}

/* What must be there. */

/** A map from a page's cursor to its place, by open addressing; SIZE_MAX marks a free place. */
struct page_map {
    size_t *at, cap;
};

static size_t page_map__find(const struct page_map *m, const struct units *u, uint64_t key) {
    for (size_t i = key & (m->cap - 1); m->at[i] != SIZE_MAX; i = (i + 1) & (m->cap - 1))
        if (u->at[m->at[i]].key == key) return m->at[i];
    return SIZE_MAX;
}

/** Walk each cursor chain of the ledger; pages up to the last stored one of their chain are
 * required. */
static void find_required_pages(struct units *u) {
    struct page_map m = {.cap = 1024};
    while (m.cap < 2 * u->n + 2) m.cap *= 2;
    m.at = malloc(m.cap * sizeof *m.at);
    if (m.at == NULL) abort();
    memset(m.at, 0xff, m.cap * sizeof *m.at);
    for (size_t i = 0; i < u->n; i++) {
        size_t to = u->at[i].key & (m.cap - 1);
        while (m.at[to] != SIZE_MAX) to = (to + 1) & (m.cap - 1);
        m.at[to] = i;
    }
    for (size_t i = 0; i < u->n; i++) {
        size_t next = page_map__find(&m, u, u->at[i].next);
        if (next != SIZE_MAX && next != i) u->at[next].has_before = true;
    }
    for (size_t i = 0; i < u->n; i++) {
        size_t last = SIZE_MAX;
        if (u->at[i].has_before) continue;
        /* Cursors rise, so a chain has no loop; the count guards against a ledger that lies. */
        for (size_t at = i, k = 0; at != SIZE_MAX && k < u->n;
             at = page_map__find(&m, u, u->at[at].next), k++)
            if (u->at[at].stored) last = at;
        for (size_t at = i; last != SIZE_MAX; at = page_map__find(&m, u, u->at[at].next)) {
            u->at[at].required = true;
            if (at == last) break;
        }
    }
    free(m.at);
}

static void find_optional(struct audit *a) {
    struct hash_set later = {0}; /* Leagues and types of which a later overview is stored. */
    bool durable = a->flags & AUDIT_UNTIL_DURABLE, replaced = a->flags & AUDIT_REPLACED;
    find_required_pages(&a->pages);
    for (size_t i = 0; durable && i < a->pages.n; i++)
        if (!a->pages.at[i].required) hash_set__add(&a->optional_units, a->pages.at[i].key);
    for (size_t i = a->overviews.n; i-- > 0;) {
        const struct unit *u = &a->overviews.at[i];
        if (u->stored) hash_set__add(&later, u->next);
        if (durable && !hash_set__has(&later, u->next)) hash_set__add(&a->optional_units, u->key);
        if (replaced && !u->stored) hash_set__add(&a->optional_units, u->key);
    }
    for (size_t i = a->bodies.n; i-- > 0;) {
        const struct unit *u = &a->bodies.at[i];
        bool is_last = !hash_set__has(&later, u->next);
        /* Nothing tells which version of a list a stored row is of: the last may be missing. */
        if (u->stored || u->comes_again) hash_set__add(&later, u->next);
        if (durable && !u->stored && is_last) hash_set__add(&a->optional_units, u->key);
        if (replaced && u->comes_again) hash_set__add(&a->optional_units, u->key);
    }
    hash_set__fini(&later);
}

/* What is there. */

static void on_stored(void *arg, const struct span *f) {
    struct audit *a = arg;
    struct entries *to = &a->stored[a->table];
    unsigned long count = 1;
    if (a->table == AUDIT_PAGES) hash_set__add(&a->stored_units, hash_text(f[0], 0));
    if (a->table == AUDIT_NINJA) hash_set__add(&a->stored_units, overview_key(f[0], f[1], f[3]));
    if (shapes[a->table].counted) {
        char digits[24];
        struct span n = f[shapes[a->table].key_fields];
        snprintf(digits, sizeof digits, "%.*s", (int)(n.len < 23 ? n.len : 23), n.at);
        count = strtoul(digits, NULL, 10);
        if (count > 1000) count = 1000; /* Enough to be wrong. */
    }
    if (a->table == AUDIT_EXCHANGE)
        hash_set__add(&a->stored_units,
                      body_key(ledger_kind_names[LEDGER_EXCHANGE], f[0], f[1], nothing));
    if (a->table == AUDIT_TRADE && span__is(f[0], "remote"))
        hash_set__add(&a->stored_units,
                      body_key(ledger_kind_names[LEDGER_TRADES], f[1], nothing, nothing));
    for (unsigned long i = 0; i < count; i++) {
        struct entry key = hash_key(a->table, f, shapes[a->table].key_fields);
        bool again = shapes[a->table].comes_again;
        *add_entry(to) = again ? numbered(key, i) : key;
        to->at[to->n - 1].optional = again && i > 0; /* One too many, if it is not known. */
    }
}

static bool entry_less(const struct entry *a, const struct entry *b) {
    return a->hi != b->hi ? a->hi < b->hi : a->lo < b->lo;
}

/** Sort in place: the keys are hashes, so a plain quicksort meets no bad order, and needs no second
 * array. */
static void sort_entries(struct entry *at, size_t n) {
    while (n > 16) {
        struct entry pivot = at[n / 2], swap;
        size_t i = 0, j = n - 1;
        for (;; i++, j--) {
            while (entry_less(&at[i], &pivot)) i++;
            while (entry_less(&pivot, &at[j])) j--;
            if (i >= j) break;
            swap = at[i];
            at[i] = at[j];
            at[j] = swap;
        }
        j++; /* The first of the upper part. */
        if (j < n - j) {
            sort_entries(at, j);
            at += j;
            n -= j;
        } else {
            sort_entries(at + j, n - j);
            n = j;
        }
    }
    for (size_t i = 1; i < n; i++) {
        struct entry one = at[i];
        size_t k = i;
        for (; k > 0 && entry_less(&one, &at[k - 1]); k--) at[k] = at[k - 1];
        at[k] = one;
    }
}

static bool same_key(const struct entry *a, const struct entry *b) {
    return a->hi == b->hi && a->lo == b->lo;
}

static void name_lost(struct audit *a, enum audit_table table, FILE *ledger, uint64_t offset) {
    char line[1024];
    if (a->report->n_named >= AUDIT_NAMED_MAX || fseek(ledger, (long)offset, SEEK_SET) != 0 ||
        fgets(line, sizeof line, ledger) == NULL)
        return;
    line[strcspn(line, "\n")] = '\0';
    buf__addf(&a->report->named, "lost     %s: %s\n", audit_table_names[table], line);
    a->report->n_named++;
}

/** Remember a key that is stored too often, to be named when the source is read again. */
static void want_name(struct audit *a, const struct entry *key, bool unknown) {
    if (a->n_wanted == AUDIT_NAMED_MAX) return;
    a->wanted[a->n_wanted] = *key;
    a->wanted[a->n_wanted++].optional = unknown;
}

static void on_wanted(void *arg, const struct span *f) {
    struct audit *a = arg;
    struct entry key = hash_key(a->table, f, shapes[a->table].key_fields);
    for (size_t i = 0; i < a->n_wanted; i++) {
        bool found = same_key(&key, &a->wanted[i]);
        for (uint64_t k = 1; shapes[a->table].comes_again && !found && k < 4; k++) {
            struct entry next = numbered(key, k);
            found = same_key(&next, &a->wanted[i]);
        }
        if (!found || a->report->n_named >= AUDIT_NAMED_MAX) continue;
        buf__addf(&a->report->named, "%s %s:", a->wanted[i].optional ? "unknown " : "twice   ",
                  audit_table_names[a->table]);
        for (size_t k = 0; k < shapes[a->table].key_fields; k++)
            buf__addf(&a->report->named, " %.*s", (int)f[k].len, f[k].at);
        buf__addc(&a->report->named, '\n');
        a->report->n_named++;
        a->wanted[i] = a->wanted[--a->n_wanted]; /* Once is enough. */
        return;
    }
}

/** Merge the two sorted sides of a table. */
static void compare(struct audit *a, enum audit_table table, FILE *ledger) {
    struct entries *em = &a->emitted[table], *st = &a->stored[table];
    struct audit_count *c = &a->report->tables[table];
    size_t i = 0, j = 0;
    c->emitted = em->n;
    c->stored = st->n;
    sort_entries(em->at, em->n);
    sort_entries(st->at, st->n);
    while (i < em->n || j < st->n) {
        struct entry key = j == st->n || (i < em->n && !entry_less(&st->at[j], &em->at[i]))
                               ? em->at[i]
                               : st->at[j];
        size_t n_em = 0, n_st = 0, n_optional = 0;
        bool one_too_many = false;
        for (; i < em->n && same_key(&em->at[i], &key); i++, n_em++)
            n_optional += em->at[i].optional;
        for (; j < st->n && same_key(&st->at[j], &key); j++, n_st++)
            one_too_many |= st->at[j].optional;
        if (shapes[table].comes_again && n_em > 0) { /* Once is enough, and due if it ever was. */
            n_optional = n_optional == n_em;
            n_em = 1;
        }
        if (n_st < n_em) {
            size_t missing = n_em - n_st, allowed = missing < n_optional ? missing : n_optional;
            c->not_due += allowed;
            c->lost += missing - allowed;
            if (missing > allowed) name_lost(a, table, ledger, key.offset);
        } else if (n_em == 0 && one_too_many) {
            c->twice += n_st;
            want_name(a, &key, false);
        } else if (n_em == 0) {
            c->unknown += n_st;
            want_name(a, &key, true);
        } else if (n_st > n_em) {
            c->twice += n_st - n_em;
            want_name(a, &key, false);
        }
    }
}

static void on_refused(void *arg, const struct span *f) { refused__add(arg, f); }

static int run(struct audit *a, FILE *ledger, const struct audit_source *source,
               struct sim_err *e) {
    if (source->rows(source->ctx, AUDIT_QUARANTINE, on_refused, &a->refused, e) < 0) return -1;
    for (int t = 0; t < AUDIT_TABLES; t++) {
        int rc;
        a->table = (enum audit_table)t;
        rc = source->rows(source->ctx, a->table, on_stored, a, e);
        if (rc != 0 && rc != AUDIT_NO_TABLE) return -1;
        a->report->tables[t].no_table = rc == AUDIT_NO_TABLE;
    }
    if (a->flags != 0) {
        if (each_line(ledger, on_unit, a, e) != 0) return -1;
        find_optional(a);
    }
    if (each_line(ledger, on_emitted, a, e) != 0) return -1;
    for (int t = 0; t < AUDIT_TABLES; t++) {
        a->table = (enum audit_table)t;
        a->n_wanted = 0;
        compare(a, a->table, ledger);
        if (a->n_wanted > 0 && source->rows(source->ctx, a->table, on_wanted, a, e) != 0) return -1;
    }
    return 0;
}

int audit__run(FILE *ledger, const struct audit_source *source, unsigned flags,
               struct audit_report *out, struct sim_err *e) {
    struct audit a = {.flags = flags, .report = out};
    int rc;
    memset(out, 0, sizeof *out);
    rc = run(&a, ledger, source, e);
    for (int t = 0; t < AUDIT_TABLES; t++) {
        free(a.emitted[t].at);
        free(a.pending[t].at);
        free(a.stored[t].at);
    }
    free(a.pages.at);
    free(a.overviews.at);
    free(a.bodies.at);
    hash_set__fini(&a.in_body);
    hash_set__fini(&a.stored_units);
    hash_set__fini(&a.optional_units);
    refused__fini(&a.refused);
    return rc;
}

void audit_report__fini(struct audit_report *r) { buf__fini(&r->named); }

bool audit_report__clean(const struct audit_report *r) {
    for (int t = 0; t < AUDIT_TABLES; t++)
        if (r->tables[t].lost + r->tables[t].twice + r->tables[t].unknown > 0) return false;
    return true;
}
