/* See economy.h. The happy path of an advance: roll for a private tombstone (85 in 100, as two
 * recorded pages show) or an action on a public tab, mutate, note the tab as changed once.
 * Rendering shows the state after the whole advance, so a tab stands in a page once and its content
 * is what the next versions differ from. */
#include "economy.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_STASHES = 6000, N_ACCOUNTS = 2500, N_PRIVATE = 300000 };

static const char *const stash_types[] = {"PremiumStash",        "PremiumStash",  "PremiumStash",
                                          "QuadStash",           "CurrencyStash", "MapStash",
                                          "DivinationCardStash", "FragmentStash", "EssenceStash",
                                          "UniqueStash",         "NormalStash",   ""};
enum { N_STASH_TYPES = sizeof stash_types / sizeof stash_types[0] };

static void *zeroed(size_t n, size_t size) {
    void *p = calloc(n, size);
    if (p == NULL) abort();
    return p;
}

/** Price a thing worth @chaos each, in a lot of @stack, the way players do. */
static struct price make_price(struct economy *e, double chaos, unsigned stack) {
    struct price p = {.form = rng__below(&e->rng, 10) < 7 ? NOTE_PRICE : NOTE_BO, .lot = 1};
    double v = chaos * (0.85 + rng__below(&e->rng, 60) / 100.0), divine = e->rates[NOTE_DIVINE];
    uint32_t roll = rng__below(&e->rng, 100);
    p.style = (uint8_t)rng__below(&e->rng, 256);
    if (roll < 8) {
        p.form = NOTE_NONE;
    } else if (roll < 10) {
        p.form = NOTE_SKIP;
    } else if (roll < 13) {
        p.form = NOTE_BROKEN;
    } else if (roll < 18) { /* Another currency than the two that everybody uses. */
        size_t cur = 2 + rng__below(&e->rng, (uint32_t)n_note_currencies - 2);
        double amount = v / e->rates[cur];
        if (amount >= 1 && amount < 5000) {
            p.currency = (uint8_t)cur;
            p.hundredths = (uint32_t)amount * 100;
            return p;
        }
    }
    if (v < 1 || (stack > 4 && roll > 80)) {
        double total;
        p.lot = (uint16_t)(v < 0.2 ? 20 + rng__below(&e->rng, 40) : 2 + rng__below(&e->rng, 18));
        total = v * p.lot + 0.5;
        p.hundredths = total < 1 ? 100 : (uint32_t)(total < 1e6 ? total : 1e6) * 100;
    } else if (v >= 1.5 * divine) {
        double d = v / divine;
        p.currency = NOTE_DIVINE;
        p.hundredths = d < 10 ? (uint32_t)(d * 10) * 10 : (uint32_t)(d < 1e6 ? d : 1e6) * 100;
    } else {
        p.hundredths = (uint32_t)v * 100;
        if (v < 20 && roll > 93) p.hundredths += 50;
    }
    return p;
}

static struct price price_for(struct economy *e, const struct stash *s, const struct item *it) {
    const struct catalogue_item *base = &catalogue[it->base];
    double chaos = base->chaos * e->levels[it->base];
    if (s->tab_price.form != NOTE_NONE && rng__below(&e->rng, 4) != 0)
        return (struct price){.form = NOTE_NONE, .lot = 1};
    if (s->is_dump && rng__below(&e->rng, 10) != 0)
        return (struct price){.form = NOTE_NONE, .lot = 1};
    if (base->kind == ITEM_RARE) chaos *= 0.2 + (double)(mix64(it->serial, 7) % 300) / 100.0;
    return make_price(e, chaos, it->stack);
}

static void add_item(struct economy *e, struct stash *s) {
    bool used[256] = {false};
    struct item it = {.serial = e->next_serial++};
    uint8_t cell = 0;
    if (s->n_items >= STASH_ITEMS_MAX) return;
    it.base = (uint16_t)rng__below(&e->rng, (uint32_t)n_catalogue);
    it.stack = (uint16_t)(1 + rng__below(&e->rng, catalogue[it.base].stack_max));
    for (uint16_t i = 0; i < s->n_items; i++) used[s->items[i].cell] = true;
    while (used[cell]) cell++;
    it.cell = cell;
    it.price = price_for(e, s, &it);
    if (s->n_items == s->cap) {
        s->cap = (uint16_t)(s->cap == 0 ? 8 : s->cap * 2);
        s->items = realloc(s->items, s->cap * sizeof *s->items);
        if (s->items == NULL) abort();
    }
    s->items[s->n_items++] = it;
}

static struct item take_item(struct economy *e, struct stash *s) {
    uint16_t i = (uint16_t)rng__below(&e->rng, s->n_items);
    struct item it = s->items[i];
    memmove(&s->items[i], &s->items[i + 1], (size_t)(s->n_items - i - 1) * sizeof it);
    s->n_items--;
    return it;
}

/** Let one price of the market wander. Multiplication alone, so that every machine gets the same
 * bits. */
static void wander(struct economy *e) {
    size_t i = rng__below(&e->rng, (uint32_t)(n_catalogue + n_note_currencies));
    double step = 0.98 + rng__below(&e->rng, 4001) / 100000.0, *at, first;
    if (i < n_catalogue) {
        at = &e->levels[i];
        first = 1;
    } else {
        at = &e->rates[i - n_catalogue];
        first = note_currencies[i - n_catalogue].chaos;
    }
    if (i == n_catalogue + NOTE_CHAOS) return; /* Chaos is the measure. */
    *at *= step;
    if (*at > 3 * first) *at = 3 * first;
    if (*at < first / 3) *at = first / 3;
}

static void mark(struct economy *e, struct stash *s, uint32_t index) {
    s->changed_in = e->n_advances;
    e->changes[e->n_changes++] = (struct change){.index = index};
}

/** The other tab of a move: the first other one of the account that this advance has not touched.
 */
static struct stash *sibling(struct economy *e, uint32_t index, uint32_t *out) {
    uint32_t account = e->stashes[index].account;
    for (uint32_t i = account; i < e->n_stashes; i += e->n_accounts) {
        struct stash *s = &e->stashes[i];
        if (i == index || s->changed_in == e->n_advances || !s->is_public || s->stays_empty)
            continue;
        if (s->league != e->stashes[index].league || s->n_items >= STASH_ITEMS_MAX) continue;
        *out = i;
        return s;
    }
    return NULL;
}

static void act_on_listings(struct economy *e, struct stash *s, uint32_t index, size_t left) {
    uint32_t roll = rng__below(&e->rng, 100), other_index = 0;
    struct item *it;
    struct stash *other;
    if (s->n_items == 0 || (roll < 34 && s->n_items < 90)) { /* List one to three things. */
        for (uint32_t n = 1 + rng__below(&e->rng, 3); n > 0; n--) add_item(e, s);
    } else if (roll < 62) { /* Sell one, rarely two. */
        take_item(e, s);
        if (s->n_items > 0 && rng__below(&e->rng, 8) == 0) take_item(e, s);
    } else if (roll < 84) { /* Ask for another price. */
        it = &s->items[rng__below(&e->rng, s->n_items)];
        it->price = price_for(e, s, it);
    } else if (roll < 92) { /* Sell a part of a stack, or top it up. */
        it = &s->items[rng__below(&e->rng, s->n_items)];
        it->stack = (uint16_t)(1 + rng__below(&e->rng, catalogue[it->base].stack_max));
    } else if (roll < 94) { /* Withdraw a part at once: what is not a sale. */
        for (uint32_t n = s->n_items / 3u + 1; n > 0 && s->n_items > 0; n--) take_item(e, s);
    } else if (roll < 97) { /* Give the tab another price, or a plain name. */
        s->tab_price = rng__below(&e->rng, 2) == 0 ? make_price(e, 5, 1)
                                                   : (struct price){.form = NOTE_NONE, .lot = 1};
        s->name = (uint8_t)rng__below(&e->rng, (uint32_t)n_tab_names);
    } else if (left >= 2 &&
               (other = sibling(e, index, &other_index)) != NULL) { /* Move: the id stays. */
        struct item moved = take_item(e, s);
        bool used[256] = {false};
        moved.cell = 0;
        for (uint16_t i = 0; i < other->n_items; i++) used[other->items[i].cell] = true;
        while (used[moved.cell]) moved.cell++;
        if (other->n_items == other->cap) {
            other->cap = (uint16_t)(other->cap == 0 ? 8 : other->cap * 2);
            other->items = realloc(other->items, other->cap * sizeof moved);
            if (other->items == NULL) abort();
        }
        other->items[other->n_items++] = moved;
        mark(e, other, other_index);
    }
    mark(e, s, index);
}

static void act_on_tab(struct economy *e, size_t left) {
    uint32_t index = rng__below(&e->rng, e->n_stashes);
    struct stash *s = &e->stashes[index];
    if (s->changed_in == e->n_advances) return; /* A page shows a tab once. */
    if (!s->is_public) {
        if (rng__below(&e->rng, 2) == 0) return;
        s->is_public = true; /* Listed again: the same things, some with another price. */
        for (uint16_t i = 0; i < s->n_items; i++)
            if (rng__below(&e->rng, 4) == 0) s->items[i].price = price_for(e, s, &s->items[i]);
        mark(e, s, index);
    } else if (rng__below(&e->rng, 100) < 6) {
        s->is_public = false;
        mark(e, s, index);
    } else if (s->stays_empty) {
        mark(e, s, index);
    } else {
        act_on_listings(e, s, index, left);
    }
}

void economy__advance(struct economy *e, size_t n) {
    assert(n <= e->n_stashes / 2);
    e->n_advances++;
    e->n_changes = 0;
    if (n + 1 > e->changes_cap) {
        e->changes_cap = n + 1;
        e->changes = realloc(e->changes, e->changes_cap * sizeof *e->changes);
        if (e->changes == NULL) abort();
    }
    while (e->n_changes < n) {
        wander(e);
        if (rng__below(&e->rng, 100) < 84) {
            uint32_t i = rng__below(&e->rng, N_PRIVATE);
            if (e->private_changed_in[i] == e->n_advances) continue;
            e->private_changed_in[i] = e->n_advances;
            e->changes[e->n_changes++] = (struct change){.is_private = true, .index = i};
        } else {
            act_on_tab(e, n - e->n_changes);
        }
    }
}

struct economy *economy__new(uint64_t seed, const struct span *leagues, size_t n_leagues) {
    struct economy *e = zeroed(1, sizeof *e);
    struct buf name = {0};
    assert(n_leagues >= 1 && n_leagues + 2 <= ECONOMY_LEAGUES_MAX);
    e->seed = seed;
    e->rng.state = mix64(seed, 1);
    for (size_t i = 0; i < n_leagues + 2; i++) {
        char *copy;
        buf__reset(&name);
        if (i < n_leagues) buf__add(&name, leagues[i].at, leagues[i].len);
        else
            buf__addf(&name, "%s (PL%u)", i == n_leagues ? "friends only" : "BPL \"race\"",
                      40000 + (unsigned)(mix64(seed, i) % 30000));
        copy = malloc(name.len + 1);
        if (copy != NULL) {
            memcpy(copy, name.at, name.len);
            copy[name.len] = '\0';
        }
        if (copy == NULL) abort();
        e->leagues[i] = (struct span){copy, name.len};
    }
    e->n_leagues = n_leagues + 2;
    buf__fini(&name);
    e->levels = zeroed(n_catalogue, sizeof *e->levels);
    e->rates = zeroed(n_note_currencies, sizeof *e->rates);
    for (size_t i = 0; i < n_catalogue; i++) e->levels[i] = 0.8 + rng__below(&e->rng, 400) / 1000.0;
    for (size_t i = 0; i < n_note_currencies; i++) e->rates[i] = note_currencies[i].chaos;
    e->n_stashes = N_STASHES;
    e->n_accounts = N_ACCOUNTS;
    e->stashes = zeroed(e->n_stashes, sizeof *e->stashes);
    e->private_changed_in = zeroed(N_PRIVATE, sizeof *e->private_changed_in);
    for (uint32_t i = 0; i < e->n_stashes; i++) {
        struct stash *s = &e->stashes[i];
        uint32_t roll = rng__below(&e->rng, 100);
        s->serial = i;
        s->account = i % e->n_accounts;
        /* An account plays in one league: two thirds in the first, few in private ones. */
        s->league =
            (uint8_t)(mix64(seed, s->account) % 3 < 2
                          ? 0
                          : mix64(seed, s->account + UINT64_C(1) * N_ACCOUNTS) % e->n_leagues);
        s->type = (uint8_t)rng__below(&e->rng, N_STASH_TYPES);
        s->name = (uint8_t)rng__below(&e->rng, (uint32_t)n_tab_names);
        s->is_public = roll < 85;
        s->stays_empty = rng__below(&e->rng, 100) < 48;
        s->is_dump = rng__below(&e->rng, 100) < 65;
        s->tab_price = (struct price){.form = NOTE_NONE, .lot = 1};
        if (rng__below(&e->rng, 7) == 0) s->tab_price = make_price(e, 5, 1);
        if (s->stays_empty) continue;
        for (uint32_t n = rng__below(&e->rng, 70); n > 0; n--) add_item(e, s);
    }
    return e;
}

void economy__free(struct economy *e) {
    if (e == NULL) return;
    for (uint32_t i = 0; i < e->n_stashes; i++) free(e->stashes[i].items);
    for (size_t i = 0; i < e->n_leagues; i++) free((void *)(uintptr_t)e->leagues[i].at);
    free(e->stashes);
    free(e->private_changed_in);
    free(e->levels);
    free(e->rates);
    free(e->changes);
    free(e);
}

size_t economy__note(const struct price *p, char out[ECONOMY_NOTE_MAX]) {
    const struct note_currency *cur = &note_currencies[p->currency];
    const char *word = cur->old_word != NULL && p->style % 3 == 0 ? cur->old_word : cur->word;
    const char *lead = p->form == NOTE_BO ? "~b/o" : "~price";
    uint32_t whole = p->hundredths / 100, part = p->hundredths % 100;
    int n = 0;
    out[0] = '\0';
    switch ((enum note_form)p->form) {
    case NOTE_NONE: return 0;
    case NOTE_SKIP: n = snprintf(out, ECONOMY_NOTE_MAX, "~skip "); break;
    case NOTE_BROKEN:
        n = snprintf(out, ECONOMY_NOTE_MAX, "%s", broken_notes[p->style % n_broken_notes]);
        break;
    case NOTE_PRICE:
    case NOTE_BO:
        if (p->lot > 1)
            n = snprintf(out, ECONOMY_NOTE_MAX, "%s %u/%u %s", lead, whole, p->lot, word);
        else if (part == 0 && p->style % 37 == 0)
            n = snprintf(out, ECONOMY_NOTE_MAX, "%s 0%u %s", lead, whole, word);
        else if (part == 0) n = snprintf(out, ECONOMY_NOTE_MAX, "%s %u %s", lead, whole, word);
        else if (part % 10 == 0)
            n = snprintf(out, ECONOMY_NOTE_MAX, "%s %u.%u %s", lead, whole, part / 10, word);
        else n = snprintf(out, ECONOMY_NOTE_MAX, "%s %u.%02u %s", lead, whole, part, word);
        break;
    }
    return n > 0 ? (size_t)n : 0;
}

/** A tombstone in one of the three shapes on record: of 2019, of 2024, and what the documentation
 * promises. */
static void render_tombstone(const struct economy *e, char kind, uint64_t serial, const char *type,
                             struct span league, struct buf *out) {
    uint64_t shape = mix64(e->seed ^ (uint64_t)(unsigned char)kind, serial) % 10;
    buf__adds(out, "{\"id\":\"");
    id__render(e->seed, kind, serial, out);
    buf__adds(out, "\",\"public\":false");
    if (shape < 2) {
        buf__adds(out, "}");
        return;
    }
    buf__adds(out,
              ",\"accountName\":null,\"stash\":null,\"lastCharacterName\":null,\"stashType\":\"");
    buf__adds(out, type);
    buf__adds(out, "\",\"league\":");
    if (shape == 2) buf__add_json(out, league.at, league.len);
    else buf__adds(out, "null");
    buf__adds(out, ",\"items\":[]}");
}

static void render_stash(const struct economy *e, const struct stash *s, unsigned *n_hostile,
                         struct buf *out) {
    char tab[ECONOMY_NOTE_MAX];
    size_t tab_len = economy__note(&s->tab_price, tab);
    const char *name = tab_len > 0 ? tab : tab_names[s->name];
    struct span league = e->leagues[s->league];
    if (!s->is_public) {
        render_tombstone(e, 'S', s->serial, stash_types[s->type], league, out);
        return;
    }
    buf__adds(out, "{\"id\":\"");
    id__render(e->seed, 'S', s->serial, out);
    buf__addf(out, "\",\"public\":true,\"accountName\":\"Exile%llx#%04u\",\"lastCharacterName\":",
              (unsigned long long)(mix64(e->seed, s->account) >> 40), s->account % 10000);
    if (s->account % 3 == 0) buf__adds(out, "null");
    else buf__addf(out, "\"Runner_%u\"", s->account);
    buf__adds(out, ",\"stash\":");
    buf__add_json(out, name, strlen(name));
    buf__addf(out, ",\"stashType\":\"%s\",\"league\":", stash_types[s->type]);
    buf__add_json(out, league.at, league.len);
    buf__adds(out, ",\"items\":[");
    for (uint16_t i = 0; i < s->n_items; i++) {
        bool hostile = *n_hostile > 0 && s->items[i].price.form != NOTE_NONE;
        if (i > 0) buf__addc(out, ',');
        item__render(e, s, &s->items[i], hostile ? (int)(*n_hostile % n_hostile_notes) : -1, out);
        *n_hostile -= hostile;
    }
    buf__adds(out, "]}");
}

void economy__render(const struct economy *e, unsigned n_hostile, struct buf *out) {
    buf__addc(out, '[');
    for (size_t i = 0; i < e->n_changes; i++) {
        const struct change *c = &e->changes[i];
        if (i > 0) buf__addc(out, ',');
        if (c->is_private)
            render_tombstone(e, 'P', c->index, stash_types[c->index % N_STASH_TYPES],
                             e->leagues[c->index % e->n_leagues], out);
        else render_stash(e, &e->stashes[c->index], &n_hostile, out);
    }
    buf__addc(out, ']');
}
