/* souk replay: records that were kept once, decoded again; hashes on standard output. What it
 * prints there depends on the records alone: how long it took goes to the log. */
#include "../service/app.h"
#include "souk/core/log.h"
#include "souk/replay.h"
#include "verbs.h"
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char verb_replay_help[] =
    "[--pages | --bodies DIR | --spool DIR] [--from POSITION] [--to POSITION]\n"
    "                   [--source GLOB] [--into DATABASE|null] [--force] [--speed N|max]\n\n"
    "Takes records that were kept, decodes them as the running souk does, and prints how many "
    "rows\n"
    "they make, by table, with hashes that are equal on every run and every machine.\n\n"
    "What is replayed:\n"
    "  (nothing)        the spool in state_dir, as far as it reaches back; a souk may be running\n"
    "  --spool DIR      another spool folder, e.g. a copy\n"
    "  --pages          raw_public_stash_pages in the configured database: bodies of psapi, "
    "without\n"
    "                   requests\n"
    "  --bodies DIR     recorded bodies, as souk-sim --replay takes them: DIR/psapi/page-*.json,\n"
    "                   stashes*.json, stash-quad*.json, stash-history*.jsonl and\n"
    "                   DIR/ninja/overview*.json, each plain, .gz or .zst, in this order and by\n"
    "                   name; page-REALM@MS@CURSOR.json says when it was received and what was "
    "asked\n"
    "  --from, --to     from inclusive, to exclusive: a position in the log (digits), or a time "
    "UTC\n"
    "                   when it was received: 2026-11-21, 2026-11-21T12:30, "
    "2026-11-21T12:30:00.5Z.\n"
    "                   Positions of --bodies count from 1\n"
    "  --source GLOB    only sources whose name matches, or source/stream: poe_ninja/Standard/*\n\n"
    "What becomes of it:\n"
    "  --into null      nothing: rows are counted and hashed [default]\n"
    "  --into DATABASE  rows are stored there. The database is made and brought up to date first,\n"
    "                   and its tables lose their TTL: they keep what they are given, however "
    "old.\n"
    "                   Its table souk_replays says what is in it, so that a second replay of the\n"
    "                   same pages adds nothing. The configured database is refused\n"
    "  --force          stores into the configured database too; rows that a running souk stored\n"
    "                   there come a second time, as it does not fill souk_replays. Its tables "
    "keep\n"
    "                   their TTL, and rows that it would drop at once are refused\n"
    "  --speed N        N times as fast as it was received; max does not wait [max]\n\n"
    "Hashes, 32 hex digits (xxh3-128):\n"
    "  rows  which rows there are, whatever their order and their position in a log (column lsn).\n"
    "        Equal for the spool, the raw pages that it made, and the bodies of those pages, if "
    "the\n"
    "        same leagues are followed. The sum over all tables leaves out bronze_requests and\n"
    "        bronze_ingest_checkpoints, as only a spool knows requests\n"
    "  log   rows with their positions, in order. Equal for the same spool\n\n"
    "Followed leagues, which are in the rows, are those that the spool notes; for pages and "
    "bodies\n"
    "those of the configuration. Alerts and guard are not replayed: they judge a running process.\n"
    "Nor is what ClickHouse refused of a batch: it is a row like the others here.\n"
    "With --json: one JSON object, version 1.\n"
    "Exit codes: 0 all was replayed; 1 a part of the log was damaged, or the server refused; 2 "
    "usage,\n"
    "also for the configured database without --force; 69 ClickHouse is away; 74 the folder "
    "cannot\n"
    "be read, or there is nothing of the kind in it; 78 configuration.\n";

struct replay_command {
    bool json, pages, force;
    const char *spool, *bodies, *into;
    double speed; /* 0: max. */
    struct replay_options options;
};

/* The loop's side: pacing and progress. */
struct pace {
    uv_loop_t *loop;
    uv_timer_t timer;
    double speed;
    bool is_terminal, fired;
    int64_t started_ns, drawn_ns;     /* Stopwatch. */
    int64_t last_wall_ns, virtual_ns; /* Of the record before; since the first one. */
    uint64_t n;
};

static bool take_position(const char *text, uint64_t *lsn, int64_t *wall_ns) {
    char *end;
    if (text[0] != '\0' && strspn(text, "0123456789") == strlen(text)) {
        *lsn = strtoull(text, &end, 10);
        return *lsn < UINT64_MAX;
    }
    return replay__parse_time(text, wall_ns);
}

static bool take_speed(const char *text, double *out) {
    char *end;
    *out = 0;
    if (strcmp(text, "max") == 0) return true;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0.001 && *out <= 1e9;
}

static bool is_database(const char *name) {
    size_t n = strlen(name),
           ok = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_");
    return n > 0 && n < 64 && ok == n && (name[0] < '0' || name[0] > '9');
}

static int bad_value(const char *option, const char *wanted, const char *got) {
    fprintf(stderr, "souk: %s takes %s, not %s\n", option, wanted, got);
    return EXIT_USAGE;
}

static int take_option(struct replay_command *c, int opt, const char *value) {
    static const char position[] = "a position in the log or a time such as 2026-11-21T12:30:00Z";
    struct replay_range *range = &c->options.range;
    switch (opt) {
    case 'f':
        if (take_position(value, &range->from_lsn, &range->from_wall_ns)) return 0;
        return bad_value("--from", position, value);
    case 't':
        if (take_position(value, &range->to_lsn, &range->to_wall_ns) &&
            (range->to_lsn > 0 || range->to_wall_ns > 0))
            return 0; /* 0 would be no end. */
        return bad_value("--to", position, value);
    case 'x':
        if (take_speed(value, &c->speed)) return 0;
        return bad_value("--speed", "max or a number from 0.001 to 1e9", value);
    case 'i':
        c->into = strcmp(value, "null") == 0 ? NULL : value;
        if (c->into == NULL || is_database(value)) return 0;
        return bad_value("--into", "null or a database's name of letters, digits and _", value);
    case 's': c->options.sources = value; return 0;
    case 'S': c->spool = value; return 0;
    case 'b': c->bodies = value; return 0;
    case 'p': c->pages = true; return 0;
    case 'F': c->force = true; return 0;
    default: fprintf(stderr, "souk: see souk replay --help\n"); return EXIT_USAGE;
    }
}

static int parse(struct replay_command *c, int argc, char **argv) {
    static const struct option options[] = {
        {"from", required_argument, NULL, 'f'},   {"to", required_argument, NULL, 't'},
        {"speed", required_argument, NULL, 'x'},  {"into", required_argument, NULL, 'i'},
        {"source", required_argument, NULL, 's'}, {"spool", required_argument, NULL, 'S'},
        {"bodies", required_argument, NULL, 'b'}, {"pages", no_argument, NULL, 'p'},
        {"force", no_argument, NULL, 'F'},        {NULL, 0, NULL, 0}};
    int code = 0;
    for (int opt; code == 0 && (opt = getopt_long(argc, argv, "", options, NULL)) != -1;)
        code = take_option(c, opt, optarg);
    if (code != 0) return code;
    if ((c->spool != NULL) + (c->bodies != NULL) + c->pages > 1) {
        fprintf(stderr, "souk: --spool, --pages and --bodies exclude each other\n");
        return EXIT_USAGE;
    }
    return 0;
}

/* Pacing. */

static void on_time(uv_timer_t *timer) { ((struct pace *)timer->data)->fired = true; }

/* On the loop, so that a connection lost meanwhile is noticed. */
static void wait_ms(struct pace *p, uint64_t ms) {
    p->fired = false;
    uv_timer_start(&p->timer, on_time, ms, 0);
    while (!p->fired) uv_run(p->loop, UV_RUN_ONCE);
}

static void draw(struct pace *p, int64_t wall_ns) {
    char time[32];
    int64_t now_ns = clock__stopwatch_ns();
    if (!p->is_terminal || now_ns - p->drawn_ns < NS_PER_S / 5) return;
    p->drawn_ns = now_ns;
    fprintf(stderr, "\r%" PRIu64 " records, %s", p->n, clock__iso(wall_ns, time, sizeof time));
}

static int on_step(void *ctx, int64_t wall_ns, struct err *e) {
    struct pace *p = ctx;
    (void)e;
    if (p->n > 0 && wall_ns > p->last_wall_ns) p->virtual_ns += wall_ns - p->last_wall_ns;
    p->last_wall_ns = wall_ns;
    p->n++;
    draw(p, wall_ns);
    if (p->speed <= 0) return 0;
    double due_ns = (double)p->virtual_ns / p->speed;
    double wait_ns = due_ns - (double)(clock__stopwatch_ns() - p->started_ns);
    if (wait_ns > 0) wait_ms(p, (uint64_t)(wait_ns / (double)NS_PER_MS) + 1);
    return 0;
}

static void init_pace(struct pace *p, uv_loop_t *loop, double speed) {
    *p = (struct pace){.loop = loop,
                       .speed = speed,
                       .is_terminal = isatty(STDERR_FILENO) == 1,
                       .started_ns = clock__stopwatch_ns()};
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
}

static void end_pace(struct pace *p, const struct replay_result *r) {
    double took_s = (double)(clock__stopwatch_ns() - p->started_ns) / (double)NS_PER_S;
    if (p->is_terminal) fprintf(stderr, "\r\033[K");
    LOG_INFO("replay", "done", LOG_F("seconds", took_s), LOG_I("pages", r->n_pages),
             LOG_F("pages_per_s", (double)r->n_pages / took_s),
             LOG_F("mb_per_s", (double)r->body_bytes / took_s / 1e6),
             LOG_I("batches", r->n_batches));
    uv_close((uv_handle_t *)&p->timer, NULL);
}

/* Printing. */

static uint64_t refused_rows(const struct replay_result *r) {
    uint64_t n = 0;
    for (unsigned i = 0; i < QUALITY__N; i++) n += r->refused[i];
    return n;
}

static void print_text(const struct replay_command *c, const struct replay_feed *feed,
                       const struct replay_result *r) {
    char from[32], to[32];
    printf("%s: %" PRIu64 " requests, %" PRIu64 " of them with pages, %" PRIu64 " bytes of JSON\n",
           feed->name, r->n_requests, r->n_pages, r->body_bytes);
    if (r->n_requests > 0)
        printf("received from %s to %s\n", clock__iso(r->first_wall_ns, from, sizeof from),
               clock__iso(r->last_wall_ns, to, sizeof to));
    printf("\n%-29s %10s %10s  %-32s  %s\n", "TABLE", "ROWS", "STORED", "HASH rows", "HASH log");
    for (size_t i = 0; i < r->n_tables; i++) {
        const struct replay_table *t = &r->tables[i];
        char stored[24] = "-";
        if (c->into != NULL) snprintf(stored, sizeof stored, "%" PRIu64, t->n_stored);
        printf("%-29s %10" PRIu64 " %10s  %s  %s\n", t->table->name, t->n_rows, stored, t->rows,
               t->log);
    }
    printf("\nquarantined   %" PRIu64, refused_rows(r));
    for (unsigned i = 0; i < QUALITY__N; i++)
        if (r->refused[i] > 0)
            printf(", %s %" PRIu64, quality__text((enum quality_reason)i), r->refused[i]);
    printf("\n");
    if (c->into != NULL)
        printf("stored        into %s; %" PRIu64 " were there already\n", c->into, r->n_known);
    if (r->n_damaged > 0) printf("damaged       %" PRIu64 " ranges, passed over\n", r->n_damaged);
    if (feed->n_refused > 0) printf("refused       %" PRIu64 " bodies\n", feed->n_refused);
    if (r->n_judged_otherwise > 0)
        printf("judged anew   %" PRIu64 " pages would not be kept as they were\n",
               r->n_judged_otherwise);
    if (r->n_unjudged > 0)
        printf("not judged    %" PRIu64 " pages: their sources judge an answer once, by what they "
               "remember\n",
               r->n_unjudged);
    printf("not replayed  alerts, guard%s\n", feed->has_requests ? "" : ", requests");
    printf("rows          %s\nlog           %s\n", r->rows, r->log);
}

static void print_json(const struct replay_command *c, const struct replay_feed *feed,
                       const struct replay_result *r) {
    printf("{\"version\":1,\"feed\":\"%s\",\"requests\":%" PRIu64 ",\"pages\":%" PRIu64
           ",\"body_bytes\":%" PRIu64 ",\"first_received_ms\":%" PRId64
           ",\"last_received_ms\":%" PRId64 ",\"tables\":[",
           feed->name, r->n_requests, r->n_pages, r->body_bytes, r->first_wall_ns / NS_PER_MS,
           r->last_wall_ns / NS_PER_MS);
    for (size_t i = 0; i < r->n_tables; i++) {
        const struct replay_table *t = &r->tables[i];
        printf("%s{\"name\":\"%s\",\"rows\":%" PRIu64 ",\"stored\":%" PRIu64
               ",\"rows_hash\":\"%s\",\"log_hash\":\"%s\"}",
               i == 0 ? "" : ",", t->table->name, t->n_rows, t->n_stored, t->rows, t->log);
    }
    printf("],\"quarantined\":{\"total\":%" PRIu64, refused_rows(r));
    for (unsigned i = 0; i < QUALITY__N; i++)
        if (r->refused[i] > 0)
            printf(",\"%s\":%" PRIu64, quality__text((enum quality_reason)i), r->refused[i]);
    printf("},\"into\":");
    if (c->into == NULL) printf("null");
    else printf("\"%s\"", c->into);
    printf(",\"already_stored\":%" PRIu64 ",\"undecodable_pages\":%" PRIu64
           ",\"refused_bodies\":%" PRIu64 ",\"judged_otherwise\":%" PRIu64
           ",\"not_judged\":%" PRIu64 ",\"damaged_ranges\":%" PRIu64
           ",\"not_replayed\":[\"alerts\",\"guard\"%s],\"rows_hash\":\"%s\",\"log_hash\":\"%s\"}\n",
           r->n_known, r->n_undecodable, feed->n_refused, r->n_judged_otherwise, r->n_unjudged,
           r->n_damaged, feed->has_requests ? "" : ",\"requests\"", r->rows, r->log);
}

/* Running. */

static int open_feed(struct replay_feed *feed, const struct replay_command *c, uv_loop_t *loop,
                     const struct config *config, struct err *e) {
    if (c->bodies != NULL) return replay_feed__bodies(feed, c->bodies, e);
    if (c->pages) {
        struct store_options store;
        app__store_options(config, &store);
        return replay_feed__pages(feed, loop, &store, &c->options.range, e);
    }
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/spool", config->state_dir);
    return replay_feed__spool(feed, c->spool != NULL ? c->spool : dir, app__checkpoint_followed, e);
}

static int open_sink(struct replay_sink *sink, const struct replay_command *c, uv_loop_t *loop,
                     const struct config *config, struct err *e) {
    struct store_options store;
    if (c->into == NULL) return 0;
    app__store_options(config, &store);
    store.database = c->into;
    bool is_live = strcmp(c->into, config->clickhouse.database) == 0;
    return replay_sink__open(sink, loop, &store, is_live, e);
}

static int run_replay(struct replay_command *c, struct replay_feed *feed, uv_loop_t *loop,
                      struct replay_result *result, struct err *e) {
    struct replay *r = NULL;
    struct pace pace;
    c->options.step = on_step;
    c->options.ctx = &pace;
    int code = replay__new(&r, &c->options, e);
    if (code != 0) return code;
    init_pace(&pace, loop, c->speed);
    code = replay__run(r, feed, result, e);
    end_pace(&pace, result);
    uv_run(loop, UV_RUN_NOWAIT); /* The timer's end. */
    replay__free(r);
    return code;
}

/* Not having the folder is a failure of input, not of ours. */
static int exit_code_of_replay(int code) {
    return code == ERR_NOT_FOUND ? EXIT_IO : exit_code_of(code);
}

static int replay_all(struct replay_command *c, const struct config *config) {
    struct replay_feed feed = {0};
    struct replay_sink sink = {0};
    struct replay_result result = {0};
    struct err e = {0};
    uv_loop_t loop;
    uv_loop_init(&loop);
    int code = open_feed(&feed, c, &loop, config, &e);
    if (code == 0) code = open_sink(&sink, c, &loop, config, &e);
    if (code == 0) {
        c->options.sink = c->into == NULL ? NULL : &sink;
        code = run_replay(c, &feed, &loop, &result, &e);
    }
    if (code != 0) {
        print_error(&e);
        code = exit_code_of_replay(code);
    } else if (c->json) {
        print_json(c, &feed, &result);
    } else {
        print_text(c, &feed, &result);
    }
    if (code == 0 && result.n_damaged > 0) {
        fprintf(stderr, "souk: %" PRIu64 " ranges of the log are damaged\n", result.n_damaged);
        code = EXIT_FAILURE;
    }
    if (sink.close != NULL) sink.close(&sink);
    if (feed.close != NULL) feed.close(&feed);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return code;
}

int verb_replay(struct command *command, int argc, char **argv) {
    struct replay_command c = {.json = command->json};
    int code = parse(&c, argc, argv);
    if (code == 0) code = refuse_rest(command, argc, argv);
    if (code != 0) return code;
    struct settings settings;
    code = load_config(command, &settings);
    if (code != 0) return code;
    const struct config *config = settings.config;
    if (c.into != NULL && strcmp(c.into, config->clickhouse.database) == 0 && !c.force) {
        fprintf(stderr,
                "souk: %s is the configured database: rows that are in it would come twice; name "
                "another, or add --force\n",
                c.into);
        settings__fini(&settings);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    char *followed = app__followed(config);
    c.options.followed = followed;
    c.options.rows_max = (size_t)config->batch.rows;
    c.options.bytes_max = (size_t)config->batch.bytes_mib << 20;
    code = replay_all(&c, config);
    free(followed);
    settings__fini(&settings);
    return code;
}
