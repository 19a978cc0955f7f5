/* Where rows are. A place has one name, whichever of its servers is asked: replicas of one another
 * share their path in the keeper, and in the cloud the table's id; a server that stands alone has
 * an id of its own. The embedded engine has none, but its database has. Names are hashed by the
 * server, as paths can be long. */
#include "store_internal.h"
#include <stdio.h>

const char store_places_sql[] =
    "SELECT name, engine_full, concat(whose.1, ':', hex(sipHash128(whose.2))) AS place, "
    "toUInt64(toUnixTimestamp64Milli(now64(3))) AS now_ms FROM ("
    "SELECT t.name AS name, t.engine_full AS engine_full, "
    "multiIf(t.engine LIKE 'Replicated%', ('replicas', concat(r.zookeeper_name, ':', "
    "r.zookeeper_path)), "
    "t.engine LIKE 'Shared%', ('shared', toString(t.uuid)), "
    "serverUUID() != toUUID('00000000-0000-0000-0000-000000000000'), "
    "('server', toString(serverUUID())), "
    "('database', (SELECT toString(any(uuid)) FROM system.databases WHERE name = "
    "currentDatabase()))) AS whose "
    "FROM system.tables AS t LEFT JOIN system.replicas AS r "
    "ON r.database = t.database AND r.table = t.name "
    "WHERE t.database = currentDatabase())";

struct places {
    const struct store_options *options;
    char (*out)[STORE_PLACE_MAX];
};

static void on_place(void *data, const struct slice *cells, size_t n_cells) {
    const struct places *p = data;
    if (n_cells < 3) return;
    for (size_t i = 0; i < p->options->n_tables; i++)
        if (slice__eq(cells[0], slice__str(p->options->tables[i]->name)))
            snprintf(p->out[i], STORE_PLACE_MAX, "%.*s", SLICE_FMT(cells[2]));
}

int store__places(uv_loop_t *loop, const struct store_options *options,
                  char out[STORE_TABLES_MAX][STORE_PLACE_MAX], struct err *e) {
    struct places p = {options, out};
    memset(out, 0, STORE_TABLES_MAX * sizeof *out);
    return store__ask(loop, options, store_places_sql, on_place, &p, e);
}
