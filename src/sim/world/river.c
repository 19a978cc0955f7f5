/* See river.h. Making a page: let the economy advance by what is due, render, append to the log,
 * keep. Reading the log back repeats the advances (cheap, nothing is rendered) so that the economy
 * stands where it stood. A torn end of the log, left by a kill, is cut off: that page was never
 * answered. */
#include "river.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

/** A page in the log. Little-endian machines only read their own logs, so it is written as it lies
 * in memory. */
struct log_head {
    uint32_t magic, n_changes, raw_len, z_len, n_hostile, zero;
    uint64_t index, hash; /* Of the raw body. */
};
enum { LOG_MAGIC = 0x47415053, BODY_BYTES_MAX = 64 << 20 };

static void write_cursor(const uint64_t shards[RIVER_SHARDS], char out[CURSOR_MAX]) {
    snprintf(out, CURSOR_MAX, "%" PRIu64 "-%" PRIu64 "-%" PRIu64 "-%" PRIu64 "-%" PRIu64, shards[0],
             shards[1], shards[2], shards[3], shards[4]);
}

void river__cursor(const struct river *r, size_t index, char out[CURSOR_MAX]) {
    write_cursor(index < r->n_pages ? r->pages[index].shards : r->tail, out);
}

static void add_page(struct river *r, uint32_t n_changes, uint32_t raw_len, uint32_t z_len,
                     int64_t offset, uint32_t n_hostile) {
    struct river_page *p;
    uint64_t left = n_changes > 0 ? n_changes : 1;
    if (r->n_pages == r->pages_cap) {
        r->pages_cap = r->pages_cap == 0 ? 256 : r->pages_cap * 2;
        r->pages = realloc(r->pages, r->pages_cap * sizeof *r->pages);
        if (r->pages == NULL) abort();
    }
    p = &r->pages[r->n_pages];
    *p = (struct river_page){.offset = offset,
                             .n_changes = n_changes,
                             .raw_len = raw_len,
                             .z_len = z_len,
                             .n_hostile = n_hostile};
    memcpy(p->shards, r->tail, sizeof p->shards);
    for (size_t i = 0; i < RIVER_SHARDS;
         i++) { /* Each change belongs to one shard; none goes back. */
        uint64_t share = i + 1 == RIVER_SHARDS ? left
                                               : mix64(r->o.seed + r->n_pages, i) %
                                                     (2 * left / (RIVER_SHARDS - i) + 1);
        if (share > left) share = left;
        r->tail[i] += share;
        left -= share;
    }
    r->n_pages++;
}

static void keep(struct river *r, size_t index, struct body *body) {
    while (r->n_kept > 0 &&
           (r->n_kept == RIVER_KEPT_MAX || r->kept_bytes + body->len > RIVER_KEPT_BYTES_MAX ||
            (r->log != NULL && r->n_kept >= 16))) {
        struct kept_page *old = &r->kept[r->first_kept];
        r->kept_bytes -= old->body->len;
        body__unref(old->body);
        r->first_kept = (r->first_kept + 1) % RIVER_KEPT_MAX;
        r->n_kept--;
    }
    r->kept[(r->first_kept + r->n_kept) % RIVER_KEPT_MAX] =
        (struct kept_page){.index = index, .body = body__ref(body)};
    r->n_kept++;
    r->kept_bytes += body->len;
}

/** Append a page to the log. It is in the page cache of the system, and so outlives this process,
 * before it is served. */
static int log_page(struct river *r, const struct body *body, uint32_t n_changes,
                    uint32_t n_hostile, int64_t *offset, uint32_t *z_len, struct sim_err *e) {
    size_t bound = ZSTD_compressBound(body->len), z;
    struct log_head head = {.magic = LOG_MAGIC,
                            .n_changes = n_changes,
                            .raw_len = (uint32_t)body->len,
                            .n_hostile = n_hostile,
                            .index = r->n_pages,
                            .hash = XXH3_64bits(body->data, body->len)};
    void *packed = malloc(bound);
    int rc = 0;
    if (packed == NULL) abort();
    z = ZSTD_compress(packed, bound, body->data, body->len, 1);
    if (ZSTD_isError(z)) abort();
    head.z_len = *z_len = (uint32_t)z;
    *offset = ftell(r->log) + (int64_t)sizeof head;
    if (fwrite(&head, sizeof head, 1, r->log) != 1 || fwrite(packed, 1, z, r->log) != z ||
        fflush(r->log) != 0)
        rc = sim_err__setf(e, "page log of %s: %s", r->o.realm, strerror(errno));
    free(packed);
    return rc;
}

static struct body *envelope(struct river *r, size_t index, struct span stashes) {
    char next[CURSOR_MAX];
    river__cursor(r, index + 1, next);
    buf__reset(&r->scratch);
    buf__addf(&r->scratch, "{\"next_change_id\":\"%s\",\"stashes\":", next);
    buf__add(&r->scratch, stashes.at, stashes.len);
    buf__addc(&r->scratch, '}');
    return body__new(r->scratch.at, r->scratch.len);
}

/** Make the next page, of @n changes. @return it with one reference, or NULL with why. */
static struct body *make_page(struct river *r, size_t n, struct sim_err *e) {
    size_t index = r->n_pages;
    uint32_t n_hostile = r->economy != NULL ? r->n_hostile_next : 0, z_len = 0;
    int64_t offset = -1;
    struct buf stashes = {.max = BODY_BYTES_MAX};
    struct body *body;
    if (r->economy != NULL) {
        economy__advance(r->economy, n);
        economy__render(r->economy, n_hostile, &stashes);
        assert(!stashes.overflow);
    } else {
        buf__add(&stashes, r->o.replay[index]->data, r->o.replay[index]->len);
    }
    add_page(r, (uint32_t)n, 0, 0, -1,
             n_hostile); /* First, because the body tells the next cursor. */
    body = envelope(r, index, (struct span){stashes.at, stashes.len});
    buf__fini(&stashes);
    if (r->log != NULL) {
        r->n_pages = index; /* The log counts from what is on disk. */
        if (log_page(r, body, (uint32_t)n, n_hostile, &offset, &z_len, e) != 0) {
            body__unref(body);
            memcpy(r->tail, r->pages[index].shards, sizeof r->tail);
            return NULL;
        }
        r->n_pages = index + 1;
    }
    r->pages[index].raw_len = (uint32_t)body->len;
    r->pages[index].z_len = z_len;
    r->pages[index].offset = offset;
    r->n_hostile_next = 0;
    r->n_flowed += n;
    keep(r, index, body);
    return body;
}

struct body *river__page(struct river *r, size_t index, struct sim_err *e) {
    const struct river_page *p = &r->pages[index];
    struct body *body;
    void *packed;
    size_t got;
    for (size_t i = r->n_kept; i-- > 0;) {
        const struct kept_page *k = &r->kept[(r->first_kept + i) % RIVER_KEPT_MAX];
        if (k->index == index) return body__ref(k->body);
    }
    if (r->o.n_replay > 0)
        return envelope(r, index, (struct span){r->o.replay[index]->data, r->o.replay[index]->len});
    if (r->log == NULL) {
        sim_err__setf(e, "page %zu of %s is no longer kept; --state keeps all", index, r->o.realm);
        return NULL;
    }
    packed = malloc(p->z_len);
    body = body__new(NULL, p->raw_len);
    if (packed == NULL) abort();
    got = pread(fileno(r->log), packed, p->z_len, p->offset) == (ssize_t)p->z_len
              ? ZSTD_decompress(body->data, p->raw_len, packed, p->z_len)
              : 0;
    free(packed);
    if (got != p->raw_len) {
        body__unref(body);
        sim_err__setf(e, "page %zu of %s cannot be read back from its log", index, r->o.realm);
        return NULL;
    }
    keep(r, index, body);
    return body;
}

/** @return how many changes the next page may hold at @now_ns; 0 when there is none. */
static size_t n_due(const struct river *r, int64_t now_ns) {
    double flowed;
    if (r->frozen || r->n_pages >= RIVER_PAGES_MAX) return 0;
    if (r->o.n_replay > 0) return r->n_pages < r->o.n_replay ? r->o.replay_changes[r->n_pages] : 0;
    if (r->o.rate_max) return r->o.page_changes_max;
    flowed = (double)r->o.backlog + (double)(now_ns - r->start_ns) / 1e9 * r->o.changes_per_s -
             (double)r->n_flowed;
    if (flowed < 1) return 0;
    return flowed > (double)r->o.page_changes_max ? r->o.page_changes_max : (size_t)flowed;
}

/** @return the page number of @cursor, n_pages for the tail, or SIZE_MAX. Cursors rise in sum, so
 * halves are enough. */
static size_t find_cursor(const struct river *r, const char *cursor) {
    uint64_t shards[RIVER_SHARDS], sum = 0;
    size_t lo = 0, hi = r->n_pages;
    const char *at = cursor;
    char check[CURSOR_MAX];
    if (cursor[0] == '\0') return 0;
    for (size_t i = 0; i < RIVER_SHARDS; i++) {
        char *end;
        if (*at < '0' || *at > '9') return SIZE_MAX;
        shards[i] = strtoull(at, &end, 10);
        sum += shards[i];
        if (*end != (i + 1 == RIVER_SHARDS ? '\0' : '-')) return SIZE_MAX;
        at = end + 1;
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        uint64_t mid_sum = 0;
        for (size_t i = 0; i < RIVER_SHARDS; i++) mid_sum += r->pages[mid].shards[i];
        if (mid_sum < sum) lo = mid + 1;
        else hi = mid;
    }
    river__cursor(r, lo, check);
    return strcmp(check, cursor) == 0 ? lo : SIZE_MAX;
}

enum river_answer river__get(struct river *r, const char *cursor, int64_t now_ns,
                             struct body **body, size_t *index, struct sim_err *e) {
    size_t at = find_cursor(r, cursor);
    /* Replayed pages are known ahead: a cursor from before a restart is found by going on to it. */
    while (at == SIZE_MAX && r->n_pages < r->o.n_replay) {
        struct body *made = make_page(r, r->o.replay_changes[r->n_pages], e);
        body__unref(made);
        at = find_cursor(r, cursor);
    }
    if (at == SIZE_MAX) {
        sim_err__setf(e, "cursor was never given out");
        return RIVER_UNKNOWN;
    }
    *index = at;
    if (at < r->n_pages) {
        *body = river__page(r, at, e);
        return *body != NULL ? RIVER_PAGE : RIVER_UNKNOWN;
    }
    if (n_due(r, now_ns) == 0) return RIVER_END;
    *body = make_page(r, n_due(r, now_ns), e);
    return *body != NULL ? RIVER_PAGE : RIVER_UNKNOWN;
}

void river__head(struct river *r, int64_t now_ns, char out[CURSOR_MAX]) {
    for (int i = 0; i < 40 && !r->o.rate_max && r->o.n_replay == 0 && n_due(r, now_ns) > 0; i++) {
        struct body *b = make_page(r, n_due(r, now_ns), NULL);
        if (b == NULL) break;
        body__unref(b);
    }
    river__cursor(r, r->n_pages, out);
}

/** Read the log back. @return 0, or -1 when it belongs to another seed or cannot be read. */
static int recover(struct river *r, const char *path, struct sim_err *e) {
    struct log_head head;
    int64_t good = 0;
    while (fread(&head, sizeof head, 1, r->log) == 1) {
        char *packed;
        bool whole;
        if (head.magic != LOG_MAGIC || head.index != r->n_pages || head.raw_len > BODY_BYTES_MAX ||
            head.n_changes > 3000 || head.z_len > ZSTD_compressBound(BODY_BYTES_MAX))
            break;
        packed = malloc(head.z_len + 1u);
        if (packed == NULL) abort();
        whole = fread(packed, 1, head.z_len, r->log) == head.z_len;
        free(packed);
        if (!whole) break;
        add_page(r, head.n_changes, head.raw_len, head.z_len, good + (int64_t)sizeof head,
                 head.n_hostile);
        economy__advance(r->economy, head.n_changes);
        good += (int64_t)sizeof head + head.z_len;
    }
    if (fflush(r->log) != 0 || ftruncate(fileno(r->log), good) != 0 ||
        fseek(r->log, good, SEEK_SET) != 0)
        return sim_err__setf(e, "page log %s: %s", path, strerror(errno));
    return 0;
}

int river__init(struct river *r, const struct river_options *o, int64_t now_ns, struct sim_err *e) {
    uint64_t realm_seed = o->seed;
    memset(r, 0, sizeof *r);
    for (const char *c = o->realm; *c != '\0'; c++)
        realm_seed = mix64(realm_seed, (uint64_t)(unsigned char)*c);
    r->o = *o;
    r->o.seed = realm_seed;
    r->start_ns = now_ns;
    for (size_t i = 0; i < RIVER_SHARDS; i++)
        r->tail[i] = UINT64_C(3100000000) + mix64(realm_seed, 100 + i) % 400000000;
    if (o->n_replay > 0) return 0; /* Recorded pages come in a fixed order: nothing to log. */
    r->economy = economy__new(realm_seed, o->leagues, o->n_leagues);
    if (o->state_dir != NULL) {
        char path[1024];
        snprintf(path, sizeof path, "%s/pages-%s.log", o->state_dir, o->realm);
        r->log = fopen(path, "a+b");
        if (r->log == NULL || fseek(r->log, 0, SEEK_SET) != 0) {
            sim_err__setf(e, "page log %s: %s", path, strerror(errno));
            river__fini(r);
            return -1;
        }
        if (recover(r, path, e) != 0) {
            river__fini(r);
            return -1;
        }
    }
    if (r->n_pages > 0) r->o.backlog = 0; /* It flowed before. */
    return 0;
}

void river__fini(struct river *r) {
    for (size_t i = 0; i < r->n_kept; i++)
        body__unref(r->kept[(r->first_kept + i) % RIVER_KEPT_MAX].body);
    for (size_t i = 0; i < r->o.n_replay; i++) body__unref(r->o.replay[i]);
    free(r->o.replay);
    free(r->o.replay_changes);
    economy__free(r->economy);
    free(r->pages);
    buf__fini(&r->scratch);
    if (r->log != NULL) fclose(r->log);
    memset(r, 0, sizeof *r);
}
