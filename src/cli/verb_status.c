/* souk status: asks the running process and prints one screen.
 *
 * Three questions in this order: is what we have fresh (and how far behind the upstream is it), may
 * a request go now (if not, why and until when), and is it all stored. Whatever is off or not
 * available gets a line that says why and what to do. */
#include "ask.h"
#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "verbs.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <yyjson.h>

#define STATUS_MAX ((size_t)8 << 20)

const char verb_status_help[] =
    "\n\nAsks the running souk at the hub's address and prints one screen: sources with their age "
    "and how\n"
    "far they are behind the upstream's head, in changes and seconds where that is known; for "
    "each\n"
    "endpoint whether a request may go now, and if not, why and until when; spool, store, alerts.\n"
    "With --json: the JSON of /api/v1/status.\n"
    "Exit codes: 0 green; 1 amber; 2 red, and usage; 69 no souk answers; 77 it\n"
    "refuses: see hub.tokens_file and hub.open_to_local; 78 configuration.\n";

/* A string of the answer on one line: what servers say may hold anything, even what moves a
 * terminal's cursor. @return @out. */
static const char *plain(yyjson_val *obj, const char *key, char *out, size_t size) {
    snprintf(out, size, "%s", answer_text(obj, key));
    return err__plain(out, false);
}

/* A length of time as people read it: 0.4 s, 12 s, 3 min, 2 h 05 min, 4 d. */
static const char *span(double s, char *out, size_t size) {
    if (s < 0) s = 0;
    if (s < 10) snprintf(out, size, "%.1f s", s);
    else if (s < 120) snprintf(out, size, "%.0f s", s);
    else if (s < 7200) snprintf(out, size, "%.0f min", s / 60);
    else if (s < 48 * 3600)
        snprintf(out, size, "%d h %02d min", (int)(s / 3600), (int)(s / 60) % 60);
    else snprintf(out, size, "%.0f d", s / 86400);
    return out;
}

/* How far behind the head: what the cursor counts, and seconds, where the upstream lets us know. */
static const char *behind(yyjson_val *s, char *out, size_t size) {
    yyjson_val *changes = yyjson_obj_get(s, "lag_changes"),
               *seconds = yyjson_obj_get(s, "lag_estimate_s");
    char text[32];
    int n = snprintf(out, size, "-");
    if (yyjson_is_num(changes)) n = snprintf(out, size, "%.0f changes", yyjson_get_num(changes));
    if (yyjson_is_num(changes) && yyjson_is_num(seconds) && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", %s",
                 span(yyjson_get_num(seconds), text, sizeof text));
    return out;
}

static bool is_quiet(const char *state) {
    return strcmp(state, "off") == 0 || strcmp(state, "unavailable") == 0;
}

/* Why a stream is not what one would wish: its reason, else its last error; else what its source
 * says of it. */
static void print_trouble(yyjson_val *s, double now_ms) {
    char text[512], error[512], wait[32];
    const char *state = answer_text(s, "state");
    double next_ms = answer_num(s, "next_request_ms");
    plain(s, "reason", text, sizeof text);
    plain(s, "last_error", error, sizeof error);
    bool both = text[0] != '\0' && error[0] != '\0' && strstr(text, error) == NULL;
    if (text[0] == '\0') snprintf(text, sizeof text, "%s", error);
    if (text[0] == '\0') plain(s, "note", text, sizeof text);
    if (text[0] == '\0' && !is_quiet(state)) return;
    printf("    %s%s%s", is_quiet(state) ? state : "",
           is_quiet(state) && text[0] != '\0' ? ": " : "", text);
    if (both) printf("; %s", error);
    if (is_quiet(state) && next_ms > now_ms)
        printf("; asked again in %s", span((next_ms - now_ms) / 1000, wait, sizeof wait));
    printf("\n");
}

static void print_sources(yyjson_val *sources, double now_ms) {
    size_t i, max;
    yyjson_val *s;
    printf("\n%-18s %-28s %-11s %-6s %9s %20s %10s %8s  %s\n", "SOURCE", "STREAM", "STATE", "LEVEL",
           "AGE", "BEHIND", "ROWS", "ROWS/s", "CURSOR");
    yyjson_arr_foreach(sources, i, max, s) {
        char name[64], stream[128], cursor[128], age[32], lag[64];
        double seen_ms = answer_num(s, "last_success_ms");
        plain(s, "cursor", cursor, sizeof cursor);
        printf("%-18s %-28.28s %-11s %-6s %9s %20s %10.0f %8.1f  %.40s\n",
               plain(s, "name", name, sizeof name), plain(s, "stream", stream, sizeof stream),
               answer_text(s, "state"), answer_text(s, "level"),
               seen_ms > 0         ? span((now_ms - seen_ms) / 1000, age, sizeof age)
               : cursor[0] == '\0' ? "never"
                                   : "-", /* Not since the start: it goes on from its cursor. */
               behind(s, lag, sizeof lag), answer_num(s, "rows"), answer_num(s, "rows_per_s"),
               cursor);
        print_trouble(s, now_ms);
    }
}

/* "now", "in 12 s", "never" until somebody resumes it, "later" while a reply decides. */
static const char *may_send(yyjson_val *ep, char *out, size_t size) {
    yyjson_val *wait = yyjson_obj_get(ep, "wait_ms");
    const char *state = answer_text(ep, "state");
    char text[32];
    bool for_good = yyjson_get_bool(yyjson_obj_get(ep, "paused")) || strcmp(state, "killed") == 0 ||
                    strcmp(state, "disabled") == 0;
    if (!yyjson_is_num(wait)) return for_good ? "never" : "later";
    if (yyjson_get_num(wait) <= 0) return "now";
    snprintf(out, size, "in %s", span(yyjson_get_num(wait) / 1000, text, sizeof text));
    return out;
}

static void print_why(yyjson_val *ep, const char *may) {
    char why[160], iso[32];
    double next_ms = answer_num(ep, "next_ms");
    printf("    %s", plain(ep, "reason", why, sizeof why));
    if (next_ms > 0 && strncmp(may, "in ", 3) == 0) {
        clock__iso((int64_t)next_ms * NS_PER_MS, iso, sizeof iso);
        printf("; next at %s", iso);
    }
    if (strcmp(may, "never") == 0) printf("; souk limit resume %s", answer_text(ep, "name"));
    printf("\n");
}

static void print_limits(yyjson_val *endpoints) {
    size_t i, k, max, n;
    yyjson_val *ep, *w;
    printf("\n%-24s %-9s %-9s %9s %6s  %s\n", "ENDPOINT", "STATE", "MAY SEND", "REQUESTS", "429",
           "USED OF EACH WINDOW");
    yyjson_arr_foreach(endpoints, i, max, ep) {
        char name[64], rule[32], text[48];
        const char *may = may_send(ep, text, sizeof text);
        yyjson_val *windows = yyjson_obj_get(ep, "windows");
        printf("%-24s %-9s %-9s %9.0f %6.0f ", plain(ep, "name", name, sizeof name),
               answer_text(ep, "state"), may, answer_num(ep, "requests"),
               answer_num(ep, "throttled"));
        yyjson_arr_foreach(windows, k, n, w) printf(
            "%s %s %.0f/%.0f in %.0f s", k == 0 ? "" : ",", plain(w, "rule", rule, sizeof rule),
            answer_num(w, "used"), answer_num(w, "limit"), answer_num(w, "period_s"));
        if (yyjson_arr_size(windows) == 0)
            printf(" none announced, %.2g a second", answer_num(ep, "rate_per_s"));
        printf("\n");
        if (strcmp(may, "now") != 0) print_why(ep, may);
        else if (answer_num(ep, "waiting") >= 1)
            printf("    %.0f waiting: work in the background keeps an even pace\n",
                   answer_num(ep, "waiting"));
    }
}

static void print_tape(yyjson_val *tape) {
    char lag[32];
    if (tape == NULL || strcmp(answer_text(tape, "state"), "off") == 0) return;
    printf("tape   %.0f items in %.0f stashes, %.1f MiB, %.0f events, %s behind\n",
           answer_num(tape, "items"), answer_num(tape, "stashes"),
           answer_num(tape, "bytes") / 1048576, answer_num(tape, "events"),
           span(answer_num(tape, "lag_s"), lag, sizeof lag));
}

/* Whose time it is, where that is not plain; what waits for it. */
static void print_clock(yyjson_val *root) {
    yyjson_val *clock = yyjson_obj_get(root, "clock"), *store = yyjson_obj_get(root, "store");
    char who[80], why[256];
    double skew_s = answer_num(clock, "farthest_skew_s");
    bool even = strcmp(answer_text(clock, "follows"), "system") == 0;
    if (!even || skew_s > 5 || skew_s < -5)
        printf("clock  this machine's is %+.1f s off %s; %s\n", -skew_s,
               plain(clock, "farthest", who, sizeof who)[0] == '\0' ? "the time since the start"
                                                                    : who,
               !even                                                ? "souk corrects it"
               : yyjson_get_bool(yyjson_obj_get(clock, "disputed")) ? "one of the two is wrong"
                                                                    : "run NTP");
    if (answer_num(store, "mistimed_batches") > 0)
        printf("held   %.0f batches: %s; they go by themselves once ClickHouse's clock or a "
               "TTL is mended, or by souk ctl release-rows\n",
               answer_num(store, "mistimed_batches"), plain(store, "mistimed", why, sizeof why));
}

static void print_store(yyjson_val *root) {
    size_t i, max;
    yyjson_val *spool = yyjson_obj_get(root, "spool"), *store = yyjson_obj_get(root, "store"), *t;
    printf("\nspool  %.1f of %.0f MiB, %.1f MiB not acknowledged\n",
           answer_num(spool, "bytes") / 1048576, answer_num(spool, "quota_bytes") / 1048576,
           answer_num(spool, "unacked_bytes") / 1048576);
    char error[256];
    plain(store, "last_error", error, sizeof error);
    print_tape(yyjson_obj_get(root, "tape"));
    print_clock(root);
    printf("store  %s %s%s%s\n\n%-30s %12s %9s %8s  rows since the start, a second lately\n",
           answer_text(store, "state"), answer_text(store, "server"), error[0] == '\0' ? "" : " ",
           error, "TABLE", "ROWS", "ROWS/s", "WAITING");
    yyjson_arr_foreach(yyjson_obj_get(store, "tables"), i, max, t)
        printf("%-30s %12.0f %9.1f %8.0f\n", answer_text(t, "name"), answer_num(t, "rows"),
               answer_num(t, "rows_per_s"), answer_num(t, "outstanding"));
    yyjson_val *alerts = yyjson_obj_get(root, "alerts"), *last = yyjson_obj_get(alerts, "last");
    printf("\nalerts %.0f firing, %.0f critical; last: %s\n", answer_num(alerts, "firing"),
           answer_num(alerts, "critical"),
           answer_text(last, "title")[0] == '\0' ? "none" : answer_text(last, "title"));
}

static int print_status(const struct buf *json) {
    yyjson_doc *doc = plain_doc(yyjson_read(json->base, json->len, 0));
    yyjson_val *root = yyjson_doc_get_root(doc), *summary = yyjson_obj_get(root, "summary");
    if (root == NULL) {
        fprintf(stderr, "souk: the answer is not JSON; is another program on that port?\n");
        return EXIT_UNAVAILABLE;
    }
    printf("souk %s, %s: %s\n", answer_text(root, "version"), answer_text(root, "state"),
           answer_text(summary, "text"));
    print_sources(yyjson_obj_get(root, "sources"), answer_num(root, "now_ms"));
    print_limits(yyjson_obj_get(root, "endpoints"));
    print_store(root);
    const char *level = answer_text(summary, "level");
    int code = strcmp(level, "green") == 0 ? 0 : strcmp(level, "amber") == 0 ? 1 : 2;
    yyjson_doc_free(doc);
    return code;
}

int verb_status(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    struct settings settings;
    if (getopt_long(argc, argv, "", options, NULL) != -1) return refuse_option(c);
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    struct buf body = buf__init(STATUS_MAX);
    code = ask_hub(&settings, "GET", "/api/v1/status", &body);
    if (code != 0) {
        code = code == EXIT_FAILURE ? EXIT_REFUSED : code; /* 1 is amber here. */
    } else if (c->json) {
        print_json(buf__slice(&body));
    } else {
        code = print_status(&body);
    }
    buf__fini(&body);
    settings__fini(&settings);
    return code;
}
