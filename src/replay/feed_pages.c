/* Raw pages as records of the log that they came from, as far as they tell: bodies and cursors are
 * there, requests are not. Pages that could not be decoded never became raw pages.
 *
 * First the positions and sizes of all pages in the range, which is small, then their bodies in
 * groups of GROUP_BYTES_MAX: the server never sorts bodies, and we never hold many. */
#include "souk/journal.h"
#include "souk/replay.h"
#include "wire.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS_MAX ((size_t)4 << 20)
#define GROUP_ROWS_MAX 64
#define GROUP_BYTES_MAX ((uint64_t)16 << 20)

struct key {
    uint64_t lsn, bytes;
    int64_t wall_ms;
};
struct raw_page {
    uint64_t lsn;
    int64_t wall_ms;
    struct slice realm, cursor, next_cursor, payload; /* In the group's text. */
};
struct pages {
    struct wire wire;
    struct key *keys; /* Owned; by lsn. */
    size_t n_keys, cap_keys, next_key;
    struct raw_page *group; /* Owned; room for cap_group. */
    size_t n_group, cap_group, next_page;
    struct buf text, payload;
    bool failed; /* A block did not have what was asked for, or did not fit. */
};

/* Keys. */

static bool add_key(struct pages *p, const struct key *key) {
    if (p->n_keys == p->cap_keys) {
        size_t cap = p->cap_keys == 0 ? 1024 : p->cap_keys * 2;
        struct key *grown = cap > KEYS_MAX ? NULL : realloc(p->keys, cap * sizeof *grown);
        if (grown == NULL) return false;
        p->keys = grown;
        p->cap_keys = cap;
    }
    p->keys[p->n_keys++] = *key;
    return true;
}

static int on_keys(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct pages *p = data;
    (void)conn;
    for (uint64_t i = 0; i < chn_block__n_rows(block); i++) {
        struct key key;
        if (!chn_view__u64(chn_block__column(block, 0), i, &key.lsn) ||
            !chn_view__i64(chn_block__column(block, 1), i, &key.wall_ms) ||
            !chn_view__u64(chn_block__column(block, 2), i, &key.bytes) || !add_key(p, &key)) {
            p->failed = true;
            return 1;
        }
    }
    return 0;
}

static int64_t ceil_ms(int64_t ns) { return ns / NS_PER_MS + (ns % NS_PER_MS > 0); }

static int read_keys(struct pages *p, const struct replay_range *range, struct err *e) {
    char sql[512];
    /* A time in the table is whole milliseconds, as received: so is the range's. */
    snprintf(sql, sizeof sql,
             "SELECT lsn, toUnixTimestamp64Milli(ingested_at) AS t, toUInt64(length(payload)) "
             "FROM raw_public_stash_pages WHERE lsn >= %" PRIu64 " AND lsn < %" PRIu64
             " AND ingested_at >= fromUnixTimestamp64Milli(toInt64(%" PRId64 "))"
             " AND ingested_at < fromUnixTimestamp64Milli(toInt64(%" PRId64 "))"
             " ORDER BY lsn, t, realm, cursor",
             range->from_lsn, range->to_lsn == 0 ? UINT64_MAX : range->to_lsn,
             ceil_ms(range->from_wall_ns),
             range->to_wall_ns == 0 ? INT64_C(7258118400000) : ceil_ms(range->to_wall_ns));
    int code = wire__query(&p->wire, sql, on_keys, p, e);
    if (!p->failed) return code;
    return err__setf(e, ERR_LIMIT,
                     "raw_public_stash_pages: more than %zu pages, or not as expected", KEYS_MAX);
}

/* Groups. */

static struct slice keep(struct pages *p, const struct chn_view *view, uint64_t row) {
    struct chn_slice s;
    if (!chn_view__string(view, row, &s) || !buf__append(&p->text, s.data, s.n)) {
        p->failed = true;
        return (struct slice){0};
    }
    return slice__of(p->text.base + p->text.len - s.n, s.n);
}

static int on_pages(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct pages *p = data;
    (void)conn;
    for (uint64_t i = 0; i < chn_block__n_rows(block); i++) {
        if (p->n_group == p->cap_group) break; /* Came in after the keys were read. */
        struct raw_page *page = &p->group[p->n_group++];
        p->failed |= !chn_view__u64(chn_block__column(block, 0), i, &page->lsn) ||
                     !chn_view__i64(chn_block__column(block, 1), i, &page->wall_ms);
        page->realm = keep(p, chn_block__column(block, 2), i);
        page->cursor = keep(p, chn_block__column(block, 3), i);
        page->next_cursor = keep(p, chn_block__column(block, 4), i);
        page->payload = keep(p, chn_block__column(block, 5), i);
    }
    return p->failed;
}

/* Takes the next keys of a group off the list: all that share a position stay together. @return
 * their number, and how many bytes they need at most. */
static size_t take_keys(struct pages *p, size_t *bytes) {
    enum { TEXTS_BYTES = 1024 }; /* Realm and cursors. */
    size_t n = 0;
    *bytes = 0;
    for (; p->next_key + n < p->n_keys; n++) {
        const struct key *key = &p->keys[p->next_key + n];
        bool is_new = n == 0 || key->lsn != key[-1].lsn;
        if (n > 0 && is_new && (n >= GROUP_ROWS_MAX || *bytes + key->bytes > GROUP_BYTES_MAX))
            break;
        *bytes += (size_t)key->bytes + TEXTS_BYTES;
    }
    p->next_key += n;
    return n;
}

static int read_group(struct pages *p, struct err *e) {
    const struct key *first = &p->keys[p->next_key];
    size_t bytes, n = take_keys(p, &bytes);
    const struct key *last = first + n - 1;
    int64_t from_ms = first->wall_ms, to_ms = first->wall_ms;
    for (const struct key *k = first; k <= last; k++) {
        if (k->wall_ms < from_ms) from_ms = k->wall_ms;
        if (k->wall_ms > to_ms) to_ms = k->wall_ms;
    }
    if (n > p->cap_group) {
        struct raw_page *grown = realloc(p->group, n * sizeof *grown);
        if (grown == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
        p->group = grown;
    }
    p->cap_group = n;
    p->n_group = p->next_page = 0;
    buf__clear(&p->text);
    /* Pages point into the text, which so must not move. */
    if (buf__reserve(&p->text, bytes + 1) == NULL)
        return err__setf(e, ERR_NOMEM, "raw_public_stash_pages: a page is too large");
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT lsn, toUnixTimestamp64Milli(ingested_at) AS t, toString(realm), cursor, "
             "next_cursor, payload FROM raw_public_stash_pages WHERE lsn BETWEEN %" PRIu64
             " AND %" PRIu64 " AND ingested_at BETWEEN fromUnixTimestamp64Milli(toInt64(%" PRId64
             ")) AND fromUnixTimestamp64Milli(toInt64(%" PRId64 "))"
             " ORDER BY lsn, t, realm, cursor",
             first->lsn, last->lsn, from_ms, to_ms);
    int code = wire__query(&p->wire, sql, on_pages, p, e);
    if (p->failed)
        return err__setf(e, ERR_SCHEMA, "raw_public_stash_pages: columns are not as expected");
    return code;
}

static int make_record(struct pages *p, const struct raw_page *page, struct spool_record *out,
                       struct err *e) {
    struct request_facts facts = {.source = SLICE_LIT("psapi"),
                                  .stream = page->realm,
                                  .service = SLICE_LIT("psapi"),
                                  .realm = page->realm,
                                  .method = SLICE_LIT("GET"),
                                  .cursor_from = page->cursor,
                                  .cursor_to = page->next_cursor,
                                  .freshness = PAGE_FRESH,
                                  .flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT,
                                  .status = SLICE_LIT("ok"),
                                  .http_status = 200,
                                  .attempts = 1,
                                  .requested_wall_ns = page->wall_ms * NS_PER_MS,
                                  .received_wall_ns = page->wall_ms * NS_PER_MS,
                                  .body_bytes = page->payload.len,
                                  .retry_after_s = -1};
    buf__clear(&p->payload);
    journal__encode(&facts, &p->payload);
    if (journal__compress(page->payload, &p->payload) != 0 || p->payload.failed)
        return err__setf(e, ERR_NOMEM, "out of memory");
    *out = (struct spool_record){.lsn = page->lsn,
                                 .next_lsn = page->lsn + 1,
                                 .type = SPOOL_PAGE,
                                 .wall_ns = facts.received_wall_ns,
                                 .payload = buf__slice(&p->payload)};
    return 1;
}

static int next(struct replay_feed *feed, struct spool_record *out, struct err *e) {
    struct pages *p = feed->self;
    while (p->next_page == p->n_group) {
        if (p->next_key == p->n_keys) return 0;
        int code = read_group(p, e);
        if (code != 0) return code;
    }
    return make_record(p, &p->group[p->next_page++], out, e);
}

static void close_feed(struct replay_feed *feed) {
    struct pages *p = feed->self;
    if (p == NULL) return;
    wire__close(&p->wire);
    free(p->keys);
    free(p->group);
    buf__fini(&p->text);
    buf__fini(&p->payload);
    free(p);
    *feed = (struct replay_feed){0};
}

int replay_feed__pages(struct replay_feed *out, uv_loop_t *loop, const struct store_options *store,
                       const struct replay_range *range, struct err *e) {
    struct pages *p = calloc(1, sizeof *p);
    if (p == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    p->text = buf__init((size_t)256 << 20);
    p->payload = buf__init(SPOOL_RECORD_MAX);
    *out = (struct replay_feed){.name = "pages", .self = p, .next = next, .close = close_feed};
    int code = wire__open(&p->wire, loop, store, e);
    if (code == 0) code = read_keys(p, range, e);
    if (code != 0) close_feed(out);
    return code;
}
