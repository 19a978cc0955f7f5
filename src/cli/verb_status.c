/* souk status: asks the running process and prints one screen. */
#include "ask.h"
#include "souk/core/buf.h"
#include "verbs.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <yyjson.h>

#define STATUS_MAX ((size_t)8 << 20)

const char verb_status_help[] =
    "\n\nAsks the running souk at the hub's address and prints one screen: sources, freshness, "
    "cursors,\n"
    "rate limits, spool, store, alerts. With --json: the JSON of /api/v1/status.\n"
    "Exit codes: 0 green; 1 amber; 2 red, and usage; 69 no souk answers; 78 configuration.\n";

static void print_sources(yyjson_val *sources) {
    size_t i, max;
    yyjson_val *s;
    printf("\n%-10s %-32s %-9s %-6s %8s %10s %9s  %s\n", "SOURCE", "STREAM", "STATE", "LEVEL",
           "AGE s", "ROWS", "ROWS/s", "CURSOR");
    yyjson_arr_foreach(sources, i, max, s) {
        printf("%-10s %-32.32s %-9s %-6s %8.1f %10.0f %9.1f  %.48s\n", answer_text(s, "name"),
               answer_text(s, "stream"), answer_text(s, "state"), answer_text(s, "level"),
               answer_num(s, "lag_s"), answer_num(s, "rows"), answer_num(s, "rows_per_s"),
               answer_text(s, "cursor"));
        if (answer_text(s, "last_error")[0] != '\0')
            printf("           %s\n", answer_text(s, "last_error"));
    }
}

static void print_limits(yyjson_val *endpoints) {
    size_t i, k, max, n;
    yyjson_val *ep, *w;
    printf("\n%-20s %-9s %9s %9s  %s\n", "ENDPOINT", "STATE", "REQUESTS", "THROTTLED", "WINDOWS");
    yyjson_arr_foreach(endpoints, i, max, ep) {
        printf("%-20s %-9s %9.0f %9.0f ", answer_text(ep, "name"), answer_text(ep, "state"),
               answer_num(ep, "requests"), answer_num(ep, "throttled"));
        yyjson_arr_foreach(yyjson_obj_get(ep, "windows"), k, n, w)
            printf(" %s %.0f/%.0f in %.0f s", answer_text(w, "rule"), answer_num(w, "used"),
                   answer_num(w, "limit"), answer_num(w, "period_s"));
        printf("  %s\n", answer_text(ep, "reason"));
    }
}

static void print_store(yyjson_val *root) {
    size_t i, max;
    yyjson_val *spool = yyjson_obj_get(root, "spool"), *store = yyjson_obj_get(root, "store"), *t;
    printf("\nspool  %.1f of %.0f MiB, %.1f MiB not acknowledged\n",
           answer_num(spool, "bytes") / 1048576, answer_num(spool, "quota_bytes") / 1048576,
           answer_num(spool, "unacked_bytes") / 1048576);
    char error[256]; /* Servers say things in several lines. */
    snprintf(error, sizeof error, "%s", answer_text(store, "last_error"));
    error[strcspn(error, "\r\n")] = '\0';
    printf("store  %s %s %s\n\n%-30s %12s %9s %8s\n", answer_text(store, "state"),
           answer_text(store, "server"), error, "TABLE", "ROWS", "ROWS/s", "WAITING");
    yyjson_arr_foreach(yyjson_obj_get(store, "tables"), i, max, t)
        printf("%-30s %12.0f %9.1f %8.0f\n", answer_text(t, "name"), answer_num(t, "rows"),
               answer_num(t, "rows_per_s"), answer_num(t, "outstanding"));
    yyjson_val *alerts = yyjson_obj_get(root, "alerts"), *last = yyjson_obj_get(alerts, "last");
    printf("\nalerts %.0f firing, %.0f critical; last: %s\n", answer_num(alerts, "firing"),
           answer_num(alerts, "critical"),
           answer_text(last, "title")[0] == '\0' ? "none" : answer_text(last, "title"));
}

static int print_status(const struct buf *json) {
    yyjson_doc *doc = yyjson_read(json->base, json->len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *summary = yyjson_obj_get(root, "summary");
    if (root == NULL) {
        fprintf(stderr, "souk: the answer is not JSON; is another program on that port?\n");
        return EXIT_UNAVAILABLE;
    }
    printf("souk %s, %s: %s\n", answer_text(root, "version"), answer_text(root, "state"),
           answer_text(summary, "text"));
    print_sources(yyjson_obj_get(root, "sources"));
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
        code = EXIT_UNAVAILABLE;
    } else if (c->json) {
        printf("%.*s\n", SLICE_FMT(buf__slice(&body)));
    } else {
        code = print_status(&body);
    }
    buf__fini(&body);
    settings__fini(&settings);
    return code;
}
