/* souk verify: what the log says was stored, against ClickHouse. */
#include "../service/app.h"
#include "souk/audit.h"
#include "verbs.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

const char verb_verify_help[] =
    "[--since DURATION|TIME] [--until DURATION|TIME] [--json]\n\n"
    "Compares the sealed batches of the log in the state directory with the rows in ClickHouse,\n"
    "row by row: exactly-once is shown, not claimed. The rows that must be there are made again\n"
    "from the log's pages; each row is compared over all its columns, by a hash that both sides\n"
    "compute. It changes nothing and takes no lock: run it beside a running souk, or without "
    "one.\n\n"
    "  --since, --until  only pages that were logged then: a time (2026-11-21T12:00:00Z,\n"
    "                    2026-11-21), or how long ago (90s, 5m, 2h, 7d) [all that the log holds]\n"
    "  --json            an object with version, store_id, from, to, tables and differences\n\n"
    "Named are, by batch, with up to 20 rows each as source/position/ordinal:\n"
    "  missing    acknowledged, and not there\n"
    "  twice      there more than once\n"
    "  wrong      there with another content\n"
    "  uncovered  there, from the time of this log, and of no page or batch of it: another souk\n"
    "             writes into the same database, or somebody inserted them\n"
    "Not equal either, though nobody's mistake: expired (acknowledged, and gone by the table's "
    "TTL).\n"
    "No differences, but counted: pending (read or sealed, not acknowledged yet),\n"
    "quarantined (refused by ClickHouse; in bronze_quarantine), damaged\n"
    "(their page is lost from the log), before (older than what was looked at). Rows whose pages\n"
    "have left the log (spool.retain_hours) are not judged. Rows do not carry the id of the log:\n"
    "after a state directory was deleted, only the time tells whose they are.\n\n"
    "Exit codes: 0 equal; 1 differences, or rows that TTL took, or ClickHouse refused a query; 2\n"
    "usage; 69 ClickHouse is\n"
    "away; 73 there is no log; 74 the log cannot be read; 78 configuration.\n";

/* A time in UTC, or a duration that is taken from @now_ns. */
static bool parse_when(const char *text, int64_t now_ns, int64_t *out_ns) {
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S",
                                        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
    int64_t ago_ns;
    if (parse_duration(text, &ago_ns)) {
        *out_ns = now_ns - ago_ns;
        return true;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (end == NULL || *end != '\0') continue;
        *out_ns = (int64_t)timegm(&tm) * NS_PER_S;
        return *out_ns > 0;
    }
    return false;
}

struct printer {
    bool json;
    size_t n;
    struct buf out; /* The differences, as JSON. */
};

static void print_row(struct buf *out, const struct audit_row *row, bool first) {
    buf__printf(out, "%s{\"what\":\"%s\",\"src\":", first ? "" : ",", audit_what__text(row->what));
    buf__json_string(out, slice__str(row->src));
    buf__printf(out, ",\"lsn\":%" PRIu64 ",\"ord\":%u}", row->lsn, row->ord);
}

static void add_json(struct printer *p, const struct audit_difference *d) {
    struct buf *out = &p->out;
    buf__printf(out, "%s{\"table\":\"%s\",\"sealed\":%s,\"part\":", p->n == 0 ? "" : ",", d->table,
                d->has_seal ? "true" : "false");
    buf__json_string(out, slice__str(d->part));
    buf__printf(out,
                ",\"first_lsn\":%" PRIu64 ",\"last_lsn\":%" PRIu64 ",\"expected\":%" PRIu64
                ",\"in_log\":%" PRIu64 ",\"found\":%" PRIu64 ",\"missing\":%" PRIu64
                ",\"twice\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"uncovered\":%" PRIu64 ",\"note\":",
                d->first_lsn, d->last_lsn, d->sealed_rows, d->log_rows, d->found_rows, d->missing,
                d->twice, d->wrong, d->uncovered);
    buf__json_string(out, slice__str(d->note));
    buf__append_str(out, ",\"rows\":[");
    for (size_t i = 0; i < d->n_rows; i++) print_row(out, &d->rows[i], i == 0);
    buf__append_str(out, "]}");
}

/* What the log and ClickHouse hold may be anybody's words. */
static const char *plain(const char *text, char out[192]) {
    snprintf(out, 192, "%s", text);
    return err__plain(out, false);
}

static void on_difference(void *ctx, const struct audit_difference *d) {
    struct printer *p = ctx;
    char text[192];
    if (p->json) {
        add_json(p, d);
        p->n++;
        return;
    }
    printf("%s", d->table);
    if (d->has_seal)
        printf("%s%s: batch %" PRIu64 "..%" PRIu64 ": %" PRIu64 " rows expected, %" PRIu64 " found",
               d->part[0] == '\0' ? "" : " ", plain(d->part, text), d->first_lsn, d->last_lsn,
               d->sealed_rows, d->found_rows);
    else printf(": rows of no batch of this log");
    const uint64_t counts[] = {d->missing, d->twice, d->wrong, d->uncovered};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i] > 0)
            printf(", %" PRIu64 " %s", counts[i], audit_what__text((enum audit_what)i));
    printf("\n");
    if (d->note[0] != '\0') printf("  %s\n", plain(d->note, text));
    for (size_t i = 0; i < d->n_rows; i++) {
        const struct audit_row *row = &d->rows[i];
        printf("  %-9s  %s/%" PRIu64 "/%u\n", audit_what__text(row->what),
               row->src[0] == '\0' ? "?" : plain(row->src, text), row->lsn, row->ord);
    }
    p->n++;
}

/* What TTL took is no mistake, and it is not there either. */
static uint64_t count_expired(const struct audit_report *r) {
    uint64_t n = 0;
    for (size_t i = 0; i < r->n_tables; i++) n += r->tables[i].expired;
    return n;
}

static void print_text(const struct audit_report *r) {
    char from[32], to[32];
    printf("log %s, positions %" PRIu64 " to %" PRIu64 ", %s to %s, %" PRIu64 " records\n",
           r->store_id, r->from_lsn, r->to_lsn, clock__iso(r->from_wall_ns, from, sizeof from),
           clock__iso(r->to_wall_ns, to, sizeof to), r->n_records);
    printf("%-29s %9s %9s %9s %7s | %11s %11s %9s %9s %9s %9s %9s\n", "TABLE", "BATCHES", "EQUAL",
           "DIFFERENT", "PENDING", "ROWS", "EQUAL", "MISSING", "TWICE", "WRONG", "UNCOVERED",
           "PENDING");
    for (size_t i = 0; i < r->n_tables; i++) {
        const struct audit_table *t = &r->tables[i];
        printf("%-29s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %7" PRIu64 " | %11" PRIu64
               " %11" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n",
               t->name, t->batches, t->batches_equal, t->batches_different, t->batches_pending,
               t->rows, t->equal, t->missing, t->twice, t->wrong, t->uncovered, t->pending);
    }
    for (size_t i = 0; i < r->n_tables; i++) {
        const struct audit_table *t = &r->tables[i];
        if (t->counted_only && t->batches > 0)
            printf("%s: rows are counted by batch; their content is not compared, as it depends on "
                   "all of the log before\n",
                   t->name);
        if (t->expired > 0)
            printf("%s: %" PRIu64 " rows are gone, past the table's TTL\n", t->name, t->expired);
        if (t->quarantined > 0)
            printf("%s: %" PRIu64 " rows were refused by ClickHouse; see bronze_quarantine\n",
                   t->name, t->quarantined);
        if (t->damaged > 0)
            printf("%s: %" PRIu64 " rows are there whose pages the log has lost\n", t->name,
                   t->damaged);
        if (t->before > 0)
            printf("%s: %" PRIu64 " rows are from before, and not judged\n", t->name, t->before);
    }
    if (r->damaged_bytes > 0)
        printf("%" PRIu64 " bytes of the log are damaged or missing; see souk wal verify\n",
               r->damaged_bytes);
    if (r->seals_partial > 0)
        printf("%" PRIu64 " batches have pages outside of what was read\n", r->seals_partial);
    if (r->to_lsn == 0) printf("nothing was logged then\n");
    uint64_t n_expired = count_expired(r);
    if (r->n_differences > 0) printf("%" PRIu64 " differences\n", r->n_differences);
    else if (n_expired > 0)
        printf("not equal: %" PRIu64 " rows were dropped by their tables' TTL\n", n_expired);
    else printf("equal\n");
}

static void print_json(struct printer *p, const struct audit_report *r) {
    char from[32], to[32];
    struct buf b = buf__init((size_t)1 << 20);
    buf__printf(&b,
                "{\"version\":1,\"equal\":%s,\"store_id\":\"%s\",\"from_lsn\":%" PRIu64
                ",\"to_lsn\":%" PRIu64 ",\"from\":\"%s\",\"to\":\"%s\",\"records\":%" PRIu64
                ",\"damaged_bytes\":%" PRIu64 ",\"batches_partial\":%" PRIu64
                ",\"n_differences\":%" PRIu64 ",\"tables\":[",
                r->n_differences + count_expired(r) == 0 ? "true" : "false", r->store_id,
                r->from_lsn, r->to_lsn, clock__iso(r->from_wall_ns, from, sizeof from),
                clock__iso(r->to_wall_ns, to, sizeof to), r->n_records, r->damaged_bytes,
                r->seals_partial, r->n_differences);
    for (size_t i = 0; i < r->n_tables; i++) {
        const struct audit_table *t = &r->tables[i];
        buf__printf(&b,
                    "%s{\"table\":\"%s\",\"batches\":%" PRIu64 ",\"batches_equal\":%" PRIu64
                    ",\"batches_different\":%" PRIu64 ",\"batches_pending\":%" PRIu64
                    ",\"rows\":%" PRIu64 ",\"equal\":%" PRIu64 ",\"missing\":%" PRIu64
                    ",\"twice\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"uncovered\":%" PRIu64
                    ",\"pending\":%" PRIu64 ",\"expired\":%" PRIu64 ",\"quarantined\":%" PRIu64
                    ",\"damaged\":%" PRIu64 ",\"before\":%" PRIu64 ",\"counted_only\":%s}",
                    i == 0 ? "" : ",", t->name, t->batches, t->batches_equal, t->batches_different,
                    t->batches_pending, t->rows, t->equal, t->missing, t->twice, t->wrong,
                    t->uncovered, t->pending, t->expired, t->quarantined, t->damaged, t->before,
                    t->counted_only ? "true" : "false");
    }
    printf("%.*s],\"differences\":[%.*s]}\n", SLICE_FMT(buf__slice(&b)),
           SLICE_FMT(buf__slice(&p->out)));
    buf__fini(&b);
}

static int verify(const struct settings *settings, int64_t since_ns, int64_t until_ns, bool json) {
    char dir[1024], *followed = app__followed(settings->config);
    struct store_options store;
    struct audit_report report;
    struct printer printer = {.json = json, .out = buf__init((size_t)64 << 20)};
    struct err e = {0};
    uv_loop_t loop;
    snprintf(dir, sizeof dir, "%s/spool", settings->config->state_dir);
    app__store_options(settings->config, &store);
    struct audit_options options = {.spool_dir = dir,
                                    .store = &store,
                                    .since_wall_ns = since_ns,
                                    .until_wall_ns = until_ns,
                                    .followed = followed == NULL ? "" : followed,
                                    .followed_of = app__checkpoint_followed,
                                    .ctx = &printer,
                                    .on_difference = on_difference};
    uv_loop_init(&loop);
    int status = audit__run(&loop, &options, &report, &e), code;
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (status != 0) {
        print_error(&e);
        code = status == ERR_NOT_FOUND ? EXIT_CANT_CREATE : exit_code_of(status);
    } else {
        if (json) print_json(&printer, &report);
        else print_text(&report);
        code = report.n_differences > 0 || count_expired(&report) > 0;
    }
    buf__fini(&printer.out);
    free(followed);
    return code;
}

int verb_verify(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{"since", required_argument, NULL, 's'},
                                            {"until", required_argument, NULL, 'u'},
                                            {NULL, 0, NULL, 0}};
    int64_t since_ns = 0, until_ns = 0;
    struct clock now;
    clock__read(&now);
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == '?') return refuse_option(c);
        if ((opt == 's' || opt == 'u') &&
            !parse_when(optarg, now.wall_ns, opt == 's' ? &since_ns : &until_ns)) {
            fprintf(stderr, "souk: --%s takes 90s, 5m, 2h, 7d or 2026-11-21T12:00:00Z, not %s\n",
                    opt == 's' ? "since" : "until", optarg);
            return EXIT_USAGE;
        }
    }
    if (until_ns > 0 && until_ns < since_ns) {
        fprintf(stderr, "souk: --until lies before --since\n");
        return EXIT_USAGE;
    }
    struct settings settings;
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    code = verify(&settings, since_ns, until_ns, c->json);
    settings__fini(&settings);
    return code;
}
