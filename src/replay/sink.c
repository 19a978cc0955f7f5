/* Rows into a database, each page once. The table souk_replays holds the names of what is there.
 * They go in behind the rows that they stand for; between the two, what is sent again has the same
 * rows and so the same token, and the tables' deduplication windows drop it. */
#include "row_hash.h"
#include "souk/core/batch_range.h"
#include "souk/core/map.h"
#include "souk/replay.h"
#include "souk/schema.h"
#include "wire.h"
#include <stdio.h>
#include <stdlib.h>

#define IDS_MAX ((size_t)8 << 20)
#define ID_LEN 32

static const struct column_desc id_columns[] = {{"id", "String", COLUMN_STR}};
static const struct table_desc table_replays = {
    .name = "souk_replays", .columns = id_columns, .n_columns = 1};
static const char create_table[] =
    "CREATE TABLE IF NOT EXISTS souk_replays (id String COMMENT 'xxh3-128 of a page or request') "
    "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 10000 "
    "COMMENT 'What souk replay has stored here; it stores nothing twice'";

struct ttl {
    char table[64], column[64];
    uint32_t days; /* 0: of a form that is not known. */
};

struct sink {
    struct wire wire;
    struct ttl ttls[STORE_TABLES_MAX]; /* Of the tables that have one. */
    size_t n_ttls;
    uint64_t server_ms;
    struct map ids;
    struct batch pending; /* Ids that are claimed and not in the table yet. */
    bool full;            /* The map could not take an id. */
};

static bool put_id(struct sink *s, struct slice id) {
    if (map__put(&s->ids, id, s) == 0) return true;
    s->full = true;
    return false;
}

static int on_ids(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct sink *s = data;
    struct chn_slice id;
    (void)conn;
    for (uint64_t i = 0; i < chn_block__n_rows(block); i++)
        if (chn_view__string(chn_block__column(block, 0), i, &id) && id.n == ID_LEN &&
            !put_id(s, slice__of((const char *)id.data, id.n)))
            return 1;
    return 0;
}

static bool claim(struct replay_sink *sink, const char *id) {
    struct sink *s = sink->self;
    if (map__get(&s->ids, slice__str(id)) != NULL) return false;
    put_id(s, slice__str(id));
    batch__begin(&s->pending);
    batch__cstr(&s->pending, id);
    batch__end(&s->pending);
    return true;
}

static int check_room(const struct sink *s, struct err *e) {
    if (!s->full) return 0;
    return err__setf(e, ERR_FULL, "souk_replays: more than %zu entries; replay into a new database",
                     IDS_MAX);
}

/* TTL, and what a server would do with old rows. */

static int on_ttls(struct chn_conn *conn, void *data, const struct chn_block *block) {
    struct sink *s = data;
    (void)conn;
    for (uint64_t i = 0; i < chn_block__n_rows(block); i++) {
        struct chn_slice name, engine;
        if (!chn_view__string(chn_block__column(block, 0), i, &name) ||
            !chn_view__string(chn_block__column(block, 1), i, &engine) ||
            !chn_view__u64(chn_block__column(block, 2), i, &s->server_ms))
            continue;
        struct slice full = slice__of((const char *)engine.data, engine.n);
        const char *at = memmem(full.base, full.len, " TTL ", 5);
        if (at == NULL || name.n >= sizeof s->ttls->table || s->n_ttls == STORE_TABLES_MAX)
            continue;
        struct ttl *t = &s->ttls[s->n_ttls++];
        *t = (struct ttl){0};
        memcpy(t->table, name.data, name.n);
        char text[256];
        const char *end = memmem(at, full.len - (size_t)(at - full.base), " SETTINGS ", 10);
        if (end == NULL) end = full.base + full.len;
        snprintf(text, sizeof text, "%.*s", (int)(end - at - 5), at + 5);
        if (!expression__ttl(text, t->column, sizeof t->column, &t->days)) t->days = 0;
    }
    return 0;
}

static int find_ttls(struct sink *s, struct err *e) {
    static const char sql[] =
        "SELECT name, engine_full, toUInt64(toUnixTimestamp64Milli(now64(3))) FROM system.tables "
        "WHERE database = currentDatabase() AND position(engine_full, ' TTL ') > 0 ORDER BY name";
    s->n_ttls = 0;
    return wire__query(&s->wire, sql, on_ttls, s, e);
}

/* After the ids are known, before the migrations make tables that have one again. */
static int refuse_ttls(struct sink *s, const char *database, struct err *e) {
    if (s->ids.n == 0 || s->n_ttls == 0) return 0;
    return err__setf(
        e, ERR_REFUSED,
        "%.60s.%s has a TTL: rows that souk_replays notes as stored may be gone; replay "
        "into a new database",
        database, s->ttls[0].table);
}

static int remove_ttls(struct sink *s, struct err *e) {
    int code = find_ttls(s, e);
    for (size_t i = 0; code == 0 && i < s->n_ttls; i++) {
        char sql[160];
        snprintf(sql, sizeof sql, "ALTER TABLE `%s` REMOVE TTL", s->ttls[i].table);
        code = wire__query(&s->wire, sql, NULL, NULL, e);
    }
    s->n_ttls = 0;
    return code;
}

static int check_times(const struct sink *s, const struct batch *b, struct err *e) {
    for (size_t i = 0; i < s->n_ttls; i++) {
        const struct ttl *t = &s->ttls[i];
        int64_t oldest_ms, newest_ms;
        if (t->days == 0 || strcmp(t->table, b->table->name) != 0) continue;
        if (!batch__times(b, t->column, &oldest_ms, &newest_ms)) continue;
        if (oldest_ms + (int64_t)t->days * 86400 * MS_PER_S > (int64_t)s->server_ms) continue;
        return err__setf(e, ERR_REFUSED,
                         "%s: rows older than its TTL of %u days would be dropped at once; replay "
                         "into another database",
                         t->table, t->days);
    }
    return 0;
}

static int insert(struct replay_sink *sink, const struct sealed *sealed, const char *token,
                  struct err *e) {
    struct sink *s = sink->self;
    int code = check_room(s, e);
    if (code == 0) code = check_times(s, &sealed->batch, e);
    return code != 0 ? code : wire__insert(&s->wire, &sealed->batch, token, e);
}

static int commit(struct replay_sink *sink, struct err *e) {
    struct sink *s = sink->self;
    char token[ROW_HASH_SIZE];
    int code = check_room(s, e);
    if (code != 0 || s->pending.n_rows == 0) return code;
    batch__hash(&s->pending, token);
    code = wire__insert(&s->wire, &s->pending, token, e);
    if (code == 0) batch__clear(&s->pending);
    return code;
}

static void close_sink(struct replay_sink *sink) {
    struct sink *s = sink->self;
    if (s == NULL) return;
    wire__close(&s->wire);
    map__fini(&s->ids);
    batch__fini(&s->pending);
    free(s);
    *sink = (struct replay_sink){0};
}

static int make_database(uv_loop_t *loop, const struct store_options *store, struct err *e) {
    struct store_options any = *store;
    char sql[128];
    any.database = "default";
    snprintf(sql, sizeof sql, "CREATE DATABASE IF NOT EXISTS `%.63s`", store->database);
    return store__ask(loop, &any, sql, NULL, NULL, e);
}

static int read_ids(struct sink *s, struct err *e) {
    int code = wire__query(&s->wire, create_table, NULL, NULL, e);
    if (code == 0) code = wire__query(&s->wire, "SELECT id FROM souk_replays", on_ids, s, e);
    return s->full ? check_room(s, e) : code;
}

int replay_sink__open(struct replay_sink *out, uv_loop_t *loop, const struct store_options *store,
                      bool is_live, struct err *e) {
    int n = 0, code = make_database(loop, store, e);
    if (code != 0) return code;
    struct sink *s = calloc(1, sizeof *s);
    if (s == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    *out = (struct replay_sink){
        .self = s, .claim = claim, .insert = insert, .commit = commit, .close = close_sink};
    code = map__init(&s->ids, IDS_MAX);
    if (code == 0) code = batch__init(&s->pending, &table_replays);
    if (code != 0) err__setf(e, code, "out of memory");
    if (code == 0) code = wire__open(&s->wire, loop, store, e);
    if (code == 0) code = read_ids(s, e);
    if (code == 0 && !is_live) code = find_ttls(s, e);
    if (code == 0 && !is_live) code = refuse_ttls(s, store->database, e);
    if (code == 0) n = schema__migrate(loop, store, false, NULL, e);
    if (code == 0 && n < 0) code = n;
    if (code == 0) code = is_live ? find_ttls(s, e) : remove_ttls(s, e);
    if (code != 0) close_sink(out);
    return code;
}
