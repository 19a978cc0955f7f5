/* The command souk-sim audit: its options, the queries to ClickHouse over HTTP, and how the result
 * is printed. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ledger_audit.h"

static const char help[] =
    "souk-sim audit: compare what the simulator said with what ClickHouse holds\n"
    "\n"
    "  --ledger FILE       ledger.tsv of the simulator's state folder\n"
    "  --clickhouse URL    HTTP address (http://127.0.0.1:8123)\n"
    "  --database NAME     (poe_trade)\n"
    "  --user NAME         and --password-file FILE, whose first line it is\n"
    "  --until-durable     what lies after the last stored page or overview may be missing\n"
    "  --replaced          overviews of which nothing is stored may be missing, as after a kill\n"
    "  --json              print the result as JSON\n"
    "\n"
    "Exit code: 0 nothing lost, twice or unknown; 1 differences; 2 the comparison could not be "
    "made.\n";

static size_t on_body(char *data, size_t size, size_t n, void *arg) {
    struct tsv_reader *t = arg;
    return tsv_reader__take(t, data, size * n) == 0 ? size * n : 0;
}

/* Pages that a backfill fetched although another fetch had led to the same cursor before: their
 * rows are there again, under another log position, as somebody asked for. A backfill of its own
 * rows twice, or anything twice without one, stays twice. */
#define NO_REPEATS                                                                                 \
    "(src, lsn) NOT IN (SELECT src, lsn FROM (SELECT src, lsn, endsWith(service, '_backfill') AS " \
    "again, row_number() OVER (PARTITION BY src, replaceOne(service, '_backfill', ''), realm, "    \
    "next_cursor_id ORDER BY again, lsn) AS n FROM %s.bronze_ingest_checkpoints WHERE status = "   \
    "'ok') WHERE again AND n > 1)"

/** What is asked of each table; each %s stands for the database. */
static const struct {
    size_t n_fields;
    const char *query;
} queries[AUDIT_SOURCES] = {
    [AUDIT_PAGES] = {3, "SELECT cursor, next_cursor, toString(stash_count) FROM "
                        "%s.raw_public_stash_pages WHERE " NO_REPEATS},
    [AUDIT_STASH] = {3, "SELECT cursor, stash_id, item_id FROM %s.bronze_public_stash "
                        "WHERE " NO_REPEATS},
    [AUDIT_NINJA] = {5,
                     "SELECT league, kind, detailsId, payload_hash, toString(max(c)) FROM (SELECT "
                     "league, kind, detailsId, payload_hash, sample_time_utc, count() AS c FROM "
                     "%s.bronze_poeninja_snapshot WHERE stale = 0 GROUP BY league, kind, "
                     "detailsId, payload_hash, sample_time_utc) GROUP BY league, kind, "
                     "detailsId, payload_hash"},
    [AUDIT_EXCHANGE] =
        {5, "SELECT realm, toString(toUnixTimestamp(toDateTime(hour_ts))), league, "
            "market_id, toString(count()) FROM %s.bronze_exchange_events WHERE " NO_REPEATS
            " GROUP BY realm, hour_ts, league, market_id"},
    /* Listings come once; lists come again with every version. */
    [AUDIT_TRADE] = {4,
                     "SELECT origin, name, trade_id, toString(if(origin = 'remote', sum(c), "
                     "max(c))) FROM (SELECT origin, if(origin = 'remote', cursor, item_type) AS "
                     "name, trade_id, lsn, count() AS c FROM %s.bronze_trade_metadata WHERE "
                     "origin != 'derived' GROUP BY origin, name, trade_id, lsn) GROUP BY origin, "
                     "name, trade_id"},
    [AUDIT_ACCOUNT] = {4, "SELECT tab_id, item_id, payload_hash, toString(max(c)) FROM (SELECT "
                          "tab_id, item_id, payload_hash, lsn, count() AS c FROM "
                          "%s.bronze_account_stash_snapshot GROUP BY tab_id, item_id, "
                          "payload_hash, lsn) GROUP BY tab_id, item_id, payload_hash"},
    [AUDIT_LEAGUES] = {4,
                       "SELECT realm, league, payload_hash, toString(max(c)) FROM (SELECT realm, "
                       "league, payload_hash, lsn, count() AS c FROM %s.bronze_leagues GROUP BY "
                       "realm, league, payload_hash, lsn) GROUP BY realm, league, "
                       "payload_hash"},
    [AUDIT_ENRICHMENT] = {3, "SELECT source, key, toString(max(c)) FROM (SELECT source, key, lsn, "
                             "count() AS c FROM %s.bronze_enrichment WHERE stale = 0 GROUP BY "
                             "source, key, lsn) GROUP BY source, key"},
    [AUDIT_QUARANTINE] = {4, "SELECT table_name, cursor, field, payload FROM "
                             "%s.bronze_quarantine"},
};

static const char *name_of(enum audit_table table) {
    return table == AUDIT_QUARANTINE ? "bronze_quarantine" : audit_table_names[table];
}

static void make_query(const struct audit_clickhouse *ch, enum audit_table table, struct buf *out) {
    const char *text = queries[table].query;
    for (const char *mark; (mark = strstr(text, "%s")) != NULL; text = mark + 2) {
        buf__add(out, text, (size_t)(mark - text));
        buf__adds(out, ch->database);
    }
    buf__adds(out, text);
    buf__adds(out, " FORMAT TabSeparated");
}

/** @return whether an answer says that there is no such table: ClickHouse's error 60. */
static bool says_no_table(const char *body) {
    return strstr(body, "Code: 60.") != NULL || strstr(body, "UNKNOWN_TABLE") != NULL;
}

int audit_clickhouse__rows(void *ctx, enum audit_table table,
                           void (*on_row)(void *arg, const struct span *f), void *arg,
                           struct sim_err *e) {
    const struct audit_clickhouse *ch = ctx;
    struct tsv_reader reader = {.on_row = on_row, .arg = arg};
    struct buf query = {0}, header = {0};
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    long status = 0;
    int rc = 0;
    CURLcode code;
    if (curl == NULL) return sim_err__setf(e, "audit: libcurl does not start");
    make_query(ch, table, &query);
    reader.n_fields = queries[table].n_fields;
    if (ch->user != NULL) {
        buf__addf(&header, "X-ClickHouse-User: %s", ch->user);
        headers = curl_slist_append(headers, header.at);
    }
    if (ch->password != NULL) {
        buf__reset(&header);
        buf__addf(&header, "X-ClickHouse-Key: %s", ch->password);
        headers = curl_slist_append(headers, header.at);
    }
    curl_easy_setopt(curl, CURLOPT_URL, ch->url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, query.at);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reader);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && reader.bad))
        rc =
            sim_err__setf(e, "audit %s: %s: %s", name_of(table), ch->url, curl_easy_strerror(code));
    else if (table >= AUDIT_EXCHANGE && reader.line.len > 0 && says_no_table(reader.line.at))
        rc = AUDIT_NO_TABLE;
    else if (reader.bad || status != 200 ||
             reader.line.len > 0) /* An error text has another shape, or no line end. */
        rc = sim_err__setf(e, "audit %s: status %ld: %.200s", name_of(table), status,
                           reader.line.len > 0 ? reader.line.at : "");
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    buf__fini(&reader.line);
    buf__fini(&query);
    buf__fini(&header);
    return rc;
}

static void print_report(const struct audit_report *r, bool json) {
    struct audit_count all = {0};
    if (json) printf("{\"clean\":%s,\"tables\":{", audit_report__clean(r) ? "true" : "false");
    else
        printf("%-30s %12s %12s %8s %8s %8s %8s\n", "table", "emitted", "stored", "lost", "twice",
               "unknown", "not due");
    for (int t = 0; t < AUDIT_TABLES; t++) {
        const struct audit_count *c = &r->tables[t];
        bool audited = !c->no_table || c->emitted > 0; /* Else nothing was served to lack. */
        if (!audited && !json) {
            printf("%-30s not audited: no such table\n", audit_table_names[t]);
            continue;
        }
        const char *fmt = json ? "%s\"%s\":{\"emitted\":%llu,\"stored\":%llu,\"lost\":%llu,"
                                 "\"twice\":%llu,\"unknown\":%llu,\"not_due\":%llu%s}"
                               : "%s%-30s %12llu %12llu %8llu %8llu %8llu %8llu%s\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        printf(fmt, json && t > 0 ? "," : "", audit_table_names[t], (unsigned long long)c->emitted,
               (unsigned long long)c->stored, (unsigned long long)c->lost,
               (unsigned long long)c->twice, (unsigned long long)c->unknown,
               (unsigned long long)c->not_due,
               audited && !c->no_table ? ""
               : json                  ? ",\"audited\":false"
                                       : "  no such table");
#pragma GCC diagnostic pop
        all.emitted += c->emitted;
        all.lost += c->lost;
        all.twice += c->twice;
        all.unknown += c->unknown;
    }
    if (json) {
        struct buf text = {0};
        buf__add_json(&text, r->named.len > 0 ? r->named.at : "", r->named.len);
        printf("},\"emitted\":%llu,\"lost\":%llu,\"twice\":%llu,\"unknown\":%llu,\"named\":%s}\n",
               (unsigned long long)all.emitted, (unsigned long long)all.lost,
               (unsigned long long)all.twice, (unsigned long long)all.unknown, text.at);
        buf__fini(&text);
        return;
    }
    if (r->named.len > 0) fputs(r->named.at, stdout);
    printf("%llu lost, %llu twice, %llu unknown in %llu rows\n", (unsigned long long)all.lost,
           (unsigned long long)all.twice, (unsigned long long)all.unknown,
           (unsigned long long)all.emitted);
}

static bool is_identifier(const char *s) {
    return *s != '\0' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
               strlen(s);
}

/* @return @text, or NULL with errno set. */
static const char *read_first_line(const char *path, char *text, int capacity) {
    FILE *f = fopen(path, "re");
    if (f == NULL) return NULL;
    errno = 0;
    bool got = fgets(text, capacity, f) != NULL;
    if (!got && errno == 0) errno = ENODATA;
    int error = errno;
    fclose(f);
    errno = error;
    if (!got) return NULL;
    text[strcspn(text, "\r\n")] = '\0';
    return text;
}

int audit__main(int argc, char **argv) {
    struct audit_clickhouse ch = {.url = "http://127.0.0.1:8123", .database = "poe_trade"};
    struct audit_source source = {.ctx = &ch, .rows = audit_clickhouse__rows};
    struct audit_report report;
    struct sim_err err;
    const char *path = NULL, *password_file = NULL;
    char password[1024];
    unsigned flags = 0;
    bool json = false;
    FILE *ledger;
    int rc;
    for (int i = 1; i < argc; i++) {
        const char **value = NULL;
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--until-durable") == 0) flags |= AUDIT_UNTIL_DURABLE;
        else if (strcmp(argv[i], "--replaced") == 0) flags |= AUDIT_REPLACED;
        else if (strcmp(argv[i], "--json") == 0) json = true;
        else if (strcmp(argv[i], "--ledger") == 0) value = &path;
        else if (strcmp(argv[i], "--clickhouse") == 0) value = &ch.url;
        else if (strcmp(argv[i], "--database") == 0) value = &ch.database;
        else if (strcmp(argv[i], "--user") == 0) value = &ch.user;
        else if (strcmp(argv[i], "--password-file") == 0) value = &password_file;
        if (value != NULL && i + 1 < argc) {
            *value = argv[++i];
        } else if (value != NULL ||
                   (strcmp(argv[i], "--until-durable") != 0 && strcmp(argv[i], "--replaced") != 0 &&
                    strcmp(argv[i], "--json") != 0)) {
            fprintf(stderr,
                    "souk-sim audit: %s: no such option, or its value is missing; see --help\n",
                    argv[i]);
            return 2;
        }
    }
    if (password_file != NULL) {
        ch.password = read_first_line(password_file, password, sizeof password);
        if (ch.password == NULL) {
            fprintf(stderr, "souk-sim audit: %s: %s\n", password_file, strerror(errno));
            return 2;
        }
    }
    if (path == NULL || !is_identifier(ch.database)) {
        fprintf(stderr,
                "souk-sim audit: --ledger is missing, or --database is no name; see --help\n");
        return 2;
    }
    ledger = fopen(path, "rb");
    if (ledger == NULL) {
        fprintf(stderr, "souk-sim audit: %s: %s\n", path, strerror(errno));
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    rc = audit__run(ledger, &source, flags, &report, &err);
    if (rc == 0) {
        print_report(&report, json);
        rc = audit_report__clean(&report) ? 0 : 1;
    } else {
        fprintf(stderr, "souk-sim audit: %s\n", err.msg);
        rc = 2;
    }
    audit_report__fini(&report);
    curl_global_cleanup();
    fclose(ledger);
    return rc;
}
