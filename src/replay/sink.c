/* Rows into a database, each page once. The table souk_replays holds the names of what is there.
 * They go in behind the rows that they stand for; between the two, what is sent again has the same
 * rows and so the same token, and the tables' deduplication windows drop it. */
#include "row_hash.h"
#include "souk/core/map.h"
#include "souk/replay.h"
#include "wire.h"
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

struct sink {
    struct wire wire;
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

static int insert(struct replay_sink *sink, const struct sealed *sealed, const char *token,
                  struct err *e) {
    struct sink *s = sink->self;
    int code = check_room(s, e);
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

int replay_sink__open(struct replay_sink *out, uv_loop_t *loop, const struct store_options *store,
                      struct err *e) {
    int n = store__migrate(loop, store, false, NULL, e);
    if (n < 0) return n;
    struct sink *s = calloc(1, sizeof *s);
    if (s == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    *out = (struct replay_sink){
        .self = s, .claim = claim, .insert = insert, .commit = commit, .close = close_sink};
    int code = map__init(&s->ids, IDS_MAX);
    if (code == 0) code = batch__init(&s->pending, &table_replays);
    if (code != 0) err__setf(e, code, "out of memory");
    if (code == 0) code = wire__open(&s->wire, loop, store, e);
    if (code == 0) code = wire__query(&s->wire, create_table, NULL, NULL, e);
    if (code == 0) code = wire__query(&s->wire, "SELECT id FROM souk_replays", on_ids, s, e);
    if (code == 0 || s->full) code = s->full ? check_room(s, e) : 0;
    if (code != 0) close_sink(out);
    return code;
}
