/* souk-sim audit: does ClickHouse hold what the simulator said, each row once?
 *
 * The ledger and the stored rows are reduced to 128-bit hashes of their keys (24 bytes a row),
 * sorted, and merged as multisets: 10 million rows on each side take about 0.5 GB. Keys:
 *   raw_public_stash_pages         cursor, next_cursor, stash_count
 *   bronze_public_stash            cursor, stash_id, item_id (items without an id count under "")
 *   bronze_poeninja_snapshot       league, kind, detailsId, payload_hash, where stale = 0; stored
 *                                  twice when it is there twice at one sample time
 *   bronze_exchange_events         realm, hour, league, market_id
 *   bronze_trade_metadata          origin, cursor or name of the resource, trade_id; derived rows
 *                                  are souk's own and not looked at
 *   bronze_account_stash_snapshot  tab_id, item_id, payload_hash
 *   bronze_leagues                 realm, league, payload_hash
 *   bronze_enrichment              source, key, where stale = 0
 * Pages that a backfill fetched again are left out.
 * A row that is in bronze_quarantine may be missing, by audit_refused.h; but not be there twice.
 * A row whose item id begins with HOSTILE_ID_PREFIX was spoiled on purpose and may be missing
 * (quarantined), but must not be there twice. Resources, tabs, leagues and enrichment are served
 * and stored again and again under the same keys: there a key must be stored at least once, and is
 * twice when one page gave it more often than its body holds it. A table that the database has not
 * is not audited when nothing was served for it; else all of its rows are lost. */
#ifndef SIM_AUDIT_H
#define SIM_AUDIT_H

#include <stdio.h>

#include "../wire/sim_buf.h"

enum audit_table {
    AUDIT_PAGES,
    AUDIT_STASH,
    AUDIT_NINJA,
    AUDIT_EXCHANGE,
    AUDIT_TRADE,
    AUDIT_ACCOUNT,
    AUDIT_LEAGUES,
    AUDIT_ENRICHMENT,
    AUDIT_TABLES,
    AUDIT_QUARANTINE = AUDIT_TABLES, /* Is asked for, and not compared. */
    AUDIT_SOURCES
};
enum { AUDIT_FIELDS_MAX = 6, AUDIT_NAMED_MAX = 10, AUDIT_NO_TABLE = 1 };

/** Where the stored rows come from. */
struct audit_source {
    void *ctx;
    /** Call @on_row for each stored row of @table, fields unescaped and borrowed:
     *  pages: cursor, next_cursor, stash_count; stash: cursor, stash_id, item_id;
     *  ninja: league, kind, detailsId, payload_hash, count (most at one sample time);
     *  exchange: realm, hour, league, market_id, count; trade: origin, cursor or resource,
     * trade_id, count; account: tab_id, item_id, payload_hash, count; leagues: realm, league,
     *  payload_hash, count; enrichment:
     * source, key, count; quarantine: table_name, cursor, field, payload. A count is that of rows
     * with one key; of keys that come again and again, most at one log position.
     *  @return 0, AUDIT_NO_TABLE when there is no such table, or -1 with why. */
    int (*rows)(void *ctx, enum audit_table table, void (*on_row)(void *arg, const struct span *f),
                void *arg, struct sim_err *e);
};
struct audit_count {
    uint64_t emitted, stored, lost, twice, unknown;
    uint64_t not_due; /* Missing, and allowed to be: behind the last durable page, spoiled on
                         purpose, or in bronze_quarantine. */
    bool no_table;
};
struct audit_report {
    struct audit_count tables[AUDIT_TABLES];
    struct buf named; /* The first differences, one a line: what, table, key. Owned. */
    size_t n_named;
};

enum audit_flag {
    /* Pages after the last stored one of their cursor chain, and overviews after the last stored
     * one of their league and type, may be missing. */
    AUDIT_UNTIL_DURABLE = 1,
    /* Overviews of which no row is stored may be missing: a client that was killed between the
     * answer and its disk asks again and is given a newer one, since an overview has no cursor. */
    AUDIT_REPLACED = 2,
};

/** Compare @ledger (a stream at its start, seekable) with @source; @flags are of enum audit_flag.
 *  @return 0 when the comparison was made (the report tells its result), -1 with why when it could
 * not be made. */
int audit__run(FILE *ledger, const struct audit_source *source, unsigned flags,
               struct audit_report *out, struct sim_err *e);
void audit_report__fini(struct audit_report *r);
/** @return whether nothing is lost, twice or unknown. */
bool audit_report__clean(const struct audit_report *r);
extern const char *const audit_table_names[AUDIT_TABLES];

/** Read rows out of a TabSeparated stream that comes in pieces; used by the ClickHouse source and
 * by tests. */
struct tsv_reader {
    size_t n_fields; /* Wanted in each line. */
    void (*on_row)(void *arg, const struct span *f);
    void *arg;
    struct buf line; /* The incomplete last line. Owned. */
    uint64_t n_rows;
    bool bad; /* A line had another number of fields: an error text in the stream. */
};
/** Take the next piece. @return 0, or -1 when the stream is not what was asked for; the bad line is
 * in @line. */
int tsv_reader__take(struct tsv_reader *t, const char *data, size_t n);

/** A source that asks ClickHouse over HTTP. */
struct audit_clickhouse {
    const char *url, *database, *user, *password; /* Borrowed; user and password may be NULL. */
};
int audit_clickhouse__rows(void *ctx, enum audit_table table,
                           void (*on_row)(void *arg, const struct span *f), void *arg,
                           struct sim_err *e);
/** The command. @return the exit code: 0 clean, 1 differences, 2 could not compare. */
int audit__main(int argc, char **argv);

#endif
