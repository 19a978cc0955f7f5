/* What a server must be before souk inserts: new enough, with all tables, each with its
 * deduplication window. */
#include "souk/core/log.h"
#include "store_internal.h"
#include <stdio.h>

bool store__judge_server(struct store *s, const struct store_server *v, char *problem,
                         size_t size) {
    snprintf(s->server, sizeof s->server, "%s", v->name);
    bool old = v->major < STORE_VERSION_FLOOR_MAJOR ||
               (v->major == STORE_VERSION_FLOOR_MAJOR && v->minor < STORE_VERSION_FLOOR_MINOR);
    if (old)
        snprintf(problem, size, "%s at %s:%u is too old: souk needs ClickHouse %d.%d or newer",
                 v->name, s->host, s->options.port, STORE_VERSION_FLOOR_MAJOR,
                 STORE_VERSION_FLOOR_MINOR);
    return !old;
}

bool store__judge_tables(struct store *s, const struct store_table_facts *tables, char *problem,
                         size_t size) {
    static const char window[] =
        "table %s.%s has no deduplication window, so a repeated insert would be stored twice; "
        "run: ALTER TABLE %s.%s MODIFY SETTING non_replicated_deduplication_window = 10000";
    const char *without = NULL;
    for (size_t i = 0; i < s->options.n_tables; i++) {
        const char *name = s->options.tables[i]->name;
        snprintf(s->ttl[i].column, sizeof s->ttl[i].column, "%s", tables[i].ttl_column);
        s->ttl[i].days = tables[i].ttl_days;
        if (!tables[i].exists) {
            snprintf(problem, size, "table %s.%s is missing; run: souk schema apply --yes",
                     s->database, name);
            return false;
        }
        if (!tables[i].deduplicates && without == NULL) without = name;
    }
    bool lacks = without != NULL;
    if (lacks) snprintf(problem, size, window, s->database, without, s->database, without);
    if (lacks && s->options.delivery == STORE_AT_LEAST_ONCE && !s->warned_window)
        LOG_WARN("store", "delivery is at least once", LOG_S("reason", problem));
    s->warned_window = lacks;
    return !lacks || s->options.delivery == STORE_AT_LEAST_ONCE;
}
