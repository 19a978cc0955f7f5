/* The configurations are compared as config__print writes them, each key on a line of its own,
 * after what may change was made equal. */
#include "reload_diff.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define PRINTED_MAX ((size_t)4 << 20)
#define CLAUSES_MAX 10
#define DEPTH_MAX 16
#define PATH_SIZE 160
#define ENTRIES_MAX 512

void reload_diff__take(struct config *to, const struct config *next) {
    to->log.level = next->log.level;
    to->alerts = next->alerts;
    to->sources.psapi.period_s = next->sources.psapi.period_s;
    to->sources.poe_ninja.period_s = next->sources.poe_ninja.period_s;
    struct config_source *mine[] = {&to->sources.trade_data, &to->sources.currency_exchange,
                                    &to->sources.account_stashes, &to->sources.leagues,
                                    &to->sources.enrichment};
    const struct config_source *theirs[] = {
        &next->sources.trade_data, &next->sources.currency_exchange, &next->sources.account_stashes,
        &next->sources.leagues, &next->sources.enrichment};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) {
        mine[i]->period_s = theirs[i]->period_s;
        mine[i]->quick_s = theirs[i]->quick_s;
    }
}

/* One line of a printed configuration, and the keys above it. */
struct place {
    const char *at, *end;
    struct slice line, keys[DEPTH_MAX];
    size_t indents[DEPTH_MAX], depth;
};

static bool next_line(struct place *p) {
    if (p->at == p->end) return false;
    const char *stop = memchr(p->at, '\n', (size_t)(p->end - p->at));
    if (stop == NULL) stop = p->end;
    p->line = slice__of(p->at, (size_t)(stop - p->at));
    p->at = stop < p->end ? stop + 1 : stop;
    size_t indent = 0;
    while (indent < p->line.len && p->line.base[indent] == ' ') indent++;
    struct slice key = slice__of(p->line.base + indent, p->line.len - indent);
    const char *colon = memchr(key.base, ':', key.len);
    if (key.len == 0 || key.base[0] == '-' || colon == NULL) return true; /* Of a list. */
    key.len = (size_t)(colon - key.base);
    while (p->depth > 0 && p->indents[p->depth - 1] >= indent) p->depth--;
    if (p->depth == DEPTH_MAX) return true;
    p->indents[p->depth] = indent;
    p->keys[p->depth++] = key;
    return true;
}

static void put_path(const struct place *p, char *out, size_t size) {
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < p->depth && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%.*s", i == 0 ? "" : ".",
                                SLICE_FMT(p->keys[i]));
}

/* A key with all that stands under it and is no key itself. */
struct entry {
    char path[PATH_SIZE];
    uint64_t hash;
};
struct entries {
    struct entry at[ENTRIES_MAX];
    size_t n;
};

/* @return whether there was room for all. */
static bool flatten(const struct buf *text, struct entries *out) {
    struct place p = {.at = text->base, .end = text->base + text->len};
    char path[PATH_SIZE];
    out->n = 0;
    while (next_line(&p)) {
        put_path(&p, path, sizeof path);
        if (out->n == 0 || strcmp(out->at[out->n - 1].path, path) != 0) {
            if (out->n == ENTRIES_MAX) return false;
            struct entry *e = &out->at[out->n++];
            e->hash = 0;
            memcpy(e->path, path, sizeof path);
        }
        struct entry *e = &out->at[out->n - 1];
        e->hash = XXH3_64bits_withSeed(p.line.base, p.line.len, e->hash);
    }
    return true;
}

static const struct entry *find(const struct entries *list, const char *path) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->at[i].path, path) == 0) return &list->at[i];
    return NULL;
}

static void add_clause(struct buf *why, const char *path, size_t *n) {
    if (++*n <= CLAUSES_MAX)
        buf__printf(why, "%s%s differs and needs a restart", *n == 1 ? "" : "; ", path);
}

static bool compare(const struct buf *a, const struct buf *b, struct buf *why, size_t *n) {
    struct entries *x = calloc(2, sizeof *x), *y = x + 1;
    bool good = x != NULL && flatten(a, x) && flatten(b, y);
    for (size_t i = 0; good && i < x->n; i++) {
        const struct entry *other = find(y, x->at[i].path);
        if (other == NULL || other->hash != x->at[i].hash) add_clause(why, x->at[i].path, n);
    }
    for (size_t i = 0; good && i < y->n; i++)
        if (find(x, y->at[i].path) == NULL) add_clause(why, y->at[i].path, n);
    free(x);
    return good;
}

/* Not printed, or printed as stars. */
static void compare_secrets(const struct config *now, const struct config *next, struct buf *why,
                            size_t *n) {
    const struct {
        const char *name, *now, *next;
    } secrets[] = {
        {"clickhouse.password", now->clickhouse.password, next->clickhouse.password},
        {"POE_CLIENT_SECRET", now->client_secret, next->client_secret},
        {"POE_THROTTLER_URL", now->throttler_url, next->throttler_url},
        {"THROTTLER_API_KEY", now->throttler_api_key, next->throttler_api_key},
        {"the variable in sources.psapi.token_env", now->psapi_token, next->psapi_token},
        {"the user agent", now->user_agent, next->user_agent},
    };
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (strcmp(secrets[i].now, secrets[i].next) != 0) add_clause(why, secrets[i].name, n);
}

bool reload_diff__is_live(const struct config *now, const struct config *next, struct buf *why) {
    struct buf a = buf__init(PRINTED_MAX), b = buf__init(PRINTED_MAX);
    struct config shown = *next; /* Shares the pointers. */
    size_t n = 0;
    reload_diff__take(&shown, now);
    if (config__print(now, &a) != 0 || config__print(&shown, &b) != 0 ||
        !compare(&a, &b, why, &n)) {
        buf__append_str(why, "no memory to compare it");
        n = 1;
    } else {
        compare_secrets(now, next, why, &n);
    }
    buf__fini(&a);
    buf__fini(&b);
    return n == 0;
}
