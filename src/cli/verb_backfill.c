/* souk backfill: asks the running souk for a stretch of a source's past, shows how far it is, and
 * reports what came. */
#include "../streams/backfill.h"
#include "ask.h"
#include "souk/core/clock.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)4 << 20)
#define LOOK_EVERY_NS (NS_PER_S / 2)
#define ROW_EVERY_S 10 /* Between two progress rows where there is no terminal. */
#define STORED_WITHIN_S 120

const char verb_backfill_help[] =
    "SOURCE [STREAM] --from CURSOR [--to CURSOR] [--budget R]\n"
    "         [--verify] [--detach]\n"
    "       | SOURCE [STREAM] --from CURSOR --to CURSOR --stop | (nothing: lists them)\n\n"
    "Fetches a stretch of a source's past beside the stream that follows the present, under the\n"
    "same limits, with a pace of its own. The running souk does it; this verb starts it, shows a\n"
    "bar with the time left on a terminal and a progress row each 10 s elsewhere, and reports.\n\n"
    "  --from    where to begin: a change id, an hour, whatever is a cursor of the source; with\n"
    "            sources by hour also a time such as 2026-11-20T15:00Z\n"
    "  --to      where to end [where the stream stands now]\n"
    "  --budget  requests a second, at most 100 [0.8]; the upstream's limits hold in any case\n"
    "  --verify  compare what came with ClickHouse afterwards, row by row (souk verify)\n"
    "  --detach  start it and return at once\n"
    "  --stop    end it; its cursor stays\n"
    "  --json    progress and report as one object a line\n\n"
    "Ctrl-C ends this verb and leaves the backfill running. The same command again goes on with\n"
    "it, also after a stop or a restart of souk, which begins no backfill by itself: its cursor "
    "is\n"
    "in the log as KEY@backfill/FROM-TO (souk cursor get). No page of it is fetched twice.\n"
    "What has come to its end is forgotten at the next start, and would begin anew then. While\n"
    "1,024 streams keep such places, a further backfill is refused. Pages\n"
    "that the main stream has had are fetched all the same, and their rows come again with other\n"
    "positions (lsn): queries over such a stretch count by listing or page, not by row. Its rows "
    "of\n"
    "bronze_requests and bronze_ingest_checkpoints have the service SOURCE_backfill.\n"
    "The report: pages, entries, rows and bytes; gaps between the cursors of its pages; "
    "duplicates,\n"
    "0 since every page is in the log once; and a sum of hashes over cursors, sizes and rows of\n"
    "its pages, equal for equal pages in any order.\n\n"
    "When upstream has nothing for a whole day behind where it stands, it ends as too_old.\n\n"
    "Exit codes: 0 done (or started, with --detach); 1 refused, gaps, too old, or --verify found\n"
    "differences; 2 usage; 69 no souk answers: the same command goes on; 78 configuration.\n";

struct wish {
    const char *source, *stream, *from, *until, *budget;
    bool verify, detach, stop;
};

static int read_wish(const struct command *c, struct wish *w, int argc, char **argv) {
    static const struct option options[] = {{"from", required_argument, NULL, 'f'},
                                            {"to", required_argument, NULL, 't'},
                                            {"budget", required_argument, NULL, 'b'},
                                            {"verify", no_argument, NULL, 'v'},
                                            {"detach", no_argument, NULL, 'd'},
                                            {"stop", no_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (opt) {
        case 'f': w->from = optarg; break;
        case 't': w->until = optarg; break;
        case 'b': w->budget = optarg; break;
        case 'v': w->verify = true; break;
        case 'd': w->detach = true; break;
        case 's': w->stop = true; break;
        default: return refuse_option(c);
        }
    }
    w->source = optind < argc ? argv[optind++] : NULL;
    w->stream = optind < argc ? argv[optind++] : NULL;
    int code = refuse_rest(c, argc, argv);
    if (code != 0 || (w->source == NULL && w->from == NULL)) return code;
    char *end;
    double r = w->budget == NULL ? BACKFILL_BUDGET : strtod(w->budget, &end);
    if (w->budget != NULL &&
        (*end != '\0' || !(r >= BACKFILL_BUDGET_MIN) || r > BACKFILL_BUDGET_MAX)) {
        fprintf(stderr, "souk: --budget takes requests a second, 0.00001 to 100, not %s\n",
                w->budget);
        return EXIT_USAGE;
    }
    if (w->source != NULL && w->from != NULL && (!w->stop || w->until != NULL)) return 0;
    fprintf(stderr, "souk: backfill takes SOURCE and --from, with --stop also --to; see souk "
                    "backfill --help\n");
    return EXIT_USAGE;
}

static int post(const struct settings *settings, const struct wish *w, struct buf *out) {
    struct buf path = buf__init(8192);
    buf__append_str(&path, w->stop ? "/api/v1/backfill/stop" : "/api/v1/backfill");
    put_query(&path, "source", w->source);
    if (w->stream != NULL) put_query(&path, "stream", w->stream);
    put_query(&path, "from", w->from);
    if (w->until != NULL) put_query(&path, "to", w->until);
    if (w->budget != NULL) put_query(&path, "budget", w->budget);
    buf__u8(&path, 0);
    buf__clear(out);
    int code = path.failed ? EXIT_USAGE : ask_hub(settings, "POST", path.base, out);
    buf__fini(&path);
    return code;
}

static void print_eta(char *out, size_t size, yyjson_val *b) {
    double s = answer_num(b, "eta_s");
    if (yyjson_is_num(yyjson_obj_get(b, "eta_s")))
        snprintf(out, size, "%02d:%02d:%02d left", (int)(s / 3600), (int)(s / 60) % 60,
                 (int)s % 60);
    else snprintf(out, size, "time left unknown");
}

static void print_bar(yyjson_val *b) {
    char bar[31], eta[48];
    int full = (int)(answer_num(b, "progress") * 30);
    for (int i = 0; i < 30; i++) bar[i] = i < full ? '#' : '.';
    bar[30] = '\0';
    print_eta(eta, sizeof eta, b);
    printf("\r\033[K[%s] %5.1f %%  %.0f pages  %s  %s", bar, answer_num(b, "progress") * 100,
           answer_num(b, "pages"), eta, answer_text(b, "last_error"));
    fflush(stdout);
}

static void print_row(yyjson_val *b) {
    char eta[48];
    print_eta(eta, sizeof eta, b);
    printf("%s %5.1f %% at %s, %.0f pages, %.0f rows, %s%s%s\n", answer_text(b, "state"),
           answer_num(b, "progress") * 100, answer_text(b, "cursor"), answer_num(b, "pages"),
           answer_num(b, "rows"), eta, answer_text(b, "last_error")[0] == '\0' ? "" : ": ",
           answer_text(b, "last_error"));
    fflush(stdout);
}

static void print_value(yyjson_val *b) {
    char *text = yyjson_val_write(b, 0, NULL);
    if (text != NULL) printf("%s\n", text);
    fflush(stdout);
    free(text);
}

static void print_report(yyjson_val *b) {
    printf("%s %s to %s\n", answer_text(b, "key"), answer_text(b, "from"), answer_text(b, "to"));
    printf("  state       %s at %s\n", answer_text(b, "state"), answer_text(b, "cursor"));
    if (strcmp(answer_text(b, "state"), "too_old") == 0)
        printf("  why         %s\n", answer_text(b, "last_error"));
    printf("  requests    %.0f, %.0f of them no good, %.0f brought nothing\n",
           answer_num(b, "requests"), answer_num(b, "errors"), answer_num(b, "empty"));
    printf("  pages       %.0f with %.0f entries, %.0f bytes\n", answer_num(b, "pages"),
           answer_num(b, "entries"), answer_num(b, "bytes"));
    printf("  rows        %.0f\n", answer_num(b, "rows"));
    printf("  gaps        %.0f\n  duplicates  0\n", answer_num(b, "gaps"));
    printf("  hash        %s\n", answer_text(b, "hash"));
    if (answer_num(b, "pages") < 1 && strcmp(answer_text(b, "state"), "done") == 0)
        printf("  all of it had been fetched before\n");
}

/* @return the backfill @key in the answer of GET, or NULL. Borrowed from @doc. */
static yyjson_val *find(yyjson_doc *doc, const char *source, const char *key) {
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "backfills"), *b;
    size_t i, max;
    yyjson_arr_foreach(list, i, max, b) if (strcmp(answer_text(b, "source"), source) == 0 &&
                                            strcmp(answer_text(b, "key"), key) == 0) return b;
    return NULL;
}

/* What one look found. */
struct look {
    yyjson_doc *doc; /* Owned. */
    yyjson_val *b;   /* Borrowed from it. */
};

static int look(const struct settings *settings, const struct wish *w, const char *key,
                struct look *out) {
    struct buf body = buf__init(ANSWER_MAX);
    yyjson_doc_free(out->doc);
    *out = (struct look){0};
    int code = ask_hub(settings, "GET", "/api/v1/backfill", &body);
    if (code == 0) out->doc = plain_doc(yyjson_read(body.base, body.len, 0));
    out->b = find(out->doc, w->source, key);
    if (code == 0 && out->b == NULL) code = post(settings, w, &body); /* Souk began anew. */
    buf__fini(&body);
    return code;
}

static void nap(void) {
    struct timespec t = {.tv_nsec = LOOK_EVERY_NS};
    nanosleep(&t, NULL);
}

/* Looks on until it has ended. @return 0 with the last look in @l, or an exit code. */
static int follow(const struct command *c, const struct settings *settings, const struct wish *w,
                  const char *key, struct look *l) {
    bool tty = isatty(STDOUT_FILENO) && !c->json;
    time_t told = 0;
    for (;; nap()) {
        int code = look(settings, w, key, l);
        if (code != 0) return code;
        if (l->b == NULL) continue;
        const char *state = answer_text(l->b, "state");
        bool ended = strcmp(state, "done") == 0 || strcmp(state, "stopped") == 0 ||
                     strcmp(state, "too_old") == 0;
        if (tty) print_bar(l->b);
        else if (!ended && time(NULL) - told >= ROW_EVERY_S) {
            told = time(NULL);
            if (c->json) print_value(l->b);
            else print_row(l->b);
        }
        if (!ended) continue;
        if (tty) printf("\n");
        return 0;
    }
}

/* Waits until ClickHouse has all of it, then compares the time in which its pages were logged. */
static int verify(struct command *c, const struct settings *settings, const struct wish *w,
                  const char *key, struct look *l) {
    time_t since = time(NULL);
    if (answer_num(l->b, "pages") < 1) return 0;
    while (!yyjson_get_bool(yyjson_obj_get(l->b, "stored"))) {
        if (time(NULL) - since > STORED_WITHIN_S) {
            fprintf(stderr, "souk: ClickHouse does not have all of it yet; see souk status, then "
                            "souk verify\n");
            return EXIT_UNAVAILABLE;
        }
        nap();
        int code = look(settings, w, key, l);
        if (code != 0) return code;
        if (l->b == NULL) return EXIT_UNAVAILABLE;
    }
    char from[40], to[40], since_option[] = "--since", until_option[] = "--until", name[] = "souk";
    time_t first = (time_t)(answer_num(l->b, "first_ms") / 1000),
           last = (time_t)(answer_num(l->b, "last_ms") / 1000) + 1;
    struct tm tm;
    strftime(from, sizeof from, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&first, &tm));
    strftime(to, sizeof to, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&last, &tm));
    char *argv[] = {name, since_option, from, until_option, to, NULL};
    optind = 0;
    return verb_verify(c, 5, argv);
}

static int list(const struct command *c, const struct settings *settings, struct buf *body) {
    int code = ask_hub(settings, "GET", "/api/v1/backfill", body);
    if (code != 0) return code;
    yyjson_doc *doc = plain_doc(yyjson_read(body->base, body->len, 0));
    yyjson_val *all = yyjson_obj_get(yyjson_doc_get_root(doc), "backfills"), *b;
    size_t i, max;
    if (c->json) print_json(buf__slice(body));
    else if (yyjson_arr_size(all) == 0) printf("no backfill since the start of souk\n");
    yyjson_arr_foreach(all, i, max, b) if (!c->json) print_report(b);
    yyjson_doc_free(doc);
    return 0;
}

static int stop(const struct command *c, const struct settings *settings, const struct wish *w,
                struct buf *body) {
    int code = post(settings, w, body);
    if (code != 0) return code;
    yyjson_doc *doc = plain_doc(yyjson_read(body->base, body->len, 0));
    yyjson_val *b = yyjson_doc_get_root(doc);
    if (c->json) print_value(b);
    else printf("%s is stopped at %s\n", answer_text(b, "key"), answer_text(b, "cursor"));
    yyjson_doc_free(doc);
    return 0;
}

static int run(struct command *c, const struct settings *settings, struct wish *w,
               struct buf *body) {
    char key[128], until[512];
    struct look l = {0};
    int code = post(settings, w, body);
    if (code != 0) return code;
    yyjson_doc *doc = plain_doc(yyjson_read(body->base, body->len, 0));
    snprintf(key, sizeof key, "%s", answer_text(yyjson_doc_get_root(doc), "key"));
    snprintf(until, sizeof until, "%s", answer_text(yyjson_doc_get_root(doc), "to"));
    w->until = until; /* As of now, should souk begin anew. */
    if (!c->json)
        printf("%s, %.3g requests a second; Ctrl-C leaves it running, --stop ends it\n", key,
               answer_num(yyjson_doc_get_root(doc), "budget"));
    if (w->detach && c->json) print_value(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    if (w->detach) return 0;
    code = follow(c, settings, w, key, &l);
    if (code == 0) {
        if (c->json) print_value(l.b);
        else print_report(l.b);
        if (answer_num(l.b, "gaps") > 0 || strcmp(answer_text(l.b, "state"), "too_old") == 0)
            code = EXIT_FAILURE;
        int verdict = w->verify ? verify(c, settings, w, key, &l) : 0;
        if (verdict != 0) code = verdict;
    }
    yyjson_doc_free(l.doc);
    return code;
}

int verb_backfill(struct command *c, int argc, char **argv) {
    struct wish w = {0};
    struct settings settings;
    int code = read_wish(c, &w, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    struct buf body = buf__init(ANSWER_MAX);
    if (w.source == NULL) code = list(c, &settings, &body);
    else if (w.stop) code = stop(c, &settings, &w, &body);
    else code = run(c, &settings, &w, &body);
    buf__fini(&body);
    settings__fini(&settings);
    return code;
}
