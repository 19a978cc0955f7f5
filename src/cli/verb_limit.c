/* souk limit: may I send now; if not, why not and until when. And the switches. */
#include "ask.h"
#include "limit_table.h"
#include "souk/core/clock.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define ANSWER_MAX ((size_t)4 << 20)

const char verb_limit_help[] =
    "[show [ENDPOINT] | show --markdown [--state]]\n"
    "       | pause ENDPOINT [--for DURATION] [--reason TEXT] | resume ENDPOINT\n"
    "       | kill ENDPOINT [--reason TEXT]\n\n"
    "Asks or steers the governor of the running souk.\n\n"
    "  show      for each endpoint: may a request go now; if not, why and until when; the policy\n"
    "            that the upstream announced, how much of each of its windows is used, who waits\n"
    "            --markdown: the policies that souk has learned, as a table; with --state from "
    "the\n"
    "            log on disk, without a running souk\n"
    "  pause     holds requests back, for good or for --for 90s, 5m, 2h; who waits goes on "
    "waiting\n"
    "  kill      refuses all requests until resume, also after a restart\n"
    "  resume    ends a pause, a kill, or the state that failures led to (401 twice, many 4xx)\n"
    "  --reason  is shown to whoever asks, and logged\n"
    "  --json    the answer of GET /api/v1/throttle\n\n"
    "What the server closed (429, Retry-After) stays closed: nothing here sends earlier than\n"
    "allowed. Changing needs a token with write scope where the hub has tokens.\n"
    "Exit codes: 0 done; 1 refused, or no such endpoint; 2 usage; 69 no souk answers; 78\n"
    "configuration.\n";

static void print_classes(yyjson_val *classes) {
    size_t i, max;
    yyjson_val *name, *c;
    bool any = false;
    yyjson_obj_foreach(classes, i, max, name, c) {
        if (answer_num(c, "waiting") < 1 && answer_num(c, "granted") < 1) continue;
        printf("%s%s %.0f waiting, %.0f sent", any ? "; " : "    classes: ", yyjson_get_str(name),
               answer_num(c, "waiting"), answer_num(c, "granted"));
        any = true;
    }
    if (any) printf("\n");
}

static void print_endpoint(yyjson_val *ep) {
    size_t i, max;
    yyjson_val *w, *wait = yyjson_obj_get(ep, "wait_ms");
    bool now = yyjson_is_num(wait) && yyjson_get_num(wait) <= 0;
    printf("%-24s %-4s %-9s %s\n", answer_text(ep, "endpoint"), now ? "yes" : "no",
           answer_text(ep, "state"), answer_text(ep, "reason"));
    if (!now && yyjson_is_num(wait)) {
        char iso[32];
        clock__iso((int64_t)answer_num(ep, "next_ms") * NS_PER_MS, iso, sizeof iso);
        printf("    next permitted at %s, in %.1f s\n", iso, yyjson_get_num(wait) / 1000);
    }
    printf("    policy %s, %.3f requests a second in the long run, %.0f under way\n",
           answer_text(ep, "policy")[0] == '\0' ? "(none announced)" : answer_text(ep, "policy"),
           answer_num(ep, "rate_per_s"), answer_num(ep, "inflight"));
    yyjson_arr_foreach(yyjson_obj_get(ep, "windows"), i, max, w)
        printf("    %-8s %3.0f of %3.0f used in %.0f s (broken: closed for %.0f s)\n",
               answer_text(w, "rule"), answer_num(w, "used"), answer_num(w, "limit"),
               answer_num(w, "period_s"), answer_num(w, "restriction_s"));
    print_classes(yyjson_obj_get(ep, "classes"));
    printf("    %.0f requests, %.0f throttled, %.0f errors\n", answer_num(ep, "requests"),
           answer_num(ep, "throttled"), answer_num(ep, "errors"));
}

static void print_throttler(yyjson_val *t) {
    char iso[40] = "";
    if (!yyjson_is_obj(t)) return;
    const char *state = answer_text(t, "state");
    clock__iso((int64_t)answer_num(t, "since_ms") * NS_PER_MS, iso, sizeof iso);
    if (strcmp(state, "away") == 0)
        printf("throttler %s: away since %s, own limits halved: %s\n", answer_text(t, "url"), iso,
               answer_text(t, "reason"));
    else if (strcmp(state, "up") == 0)
        printf("throttler %s: up since %s, %.0f of %.0f wishes granted\n", answer_text(t, "url"),
               iso, answer_num(t, "granted"), answer_num(t, "asked"));
    else printf("throttler %s: not asked yet\n", answer_text(t, "url"));
}

static int print_policies(const struct buf *json) {
    yyjson_doc *doc = plain_doc(yyjson_read(json->base, json->len, 0));
    yyjson_val *root = yyjson_doc_get_root(doc);
    limit_table__print(yyjson_is_arr(root) ? root : yyjson_obj_get(root, "policies"));
    yyjson_doc_free(doc);
    return 0;
}

static int print_saved(const struct command *c, const struct settings *settings) {
    char dir[4096];
    struct err e = {0};
    struct buf json = buf__init(ANSWER_MAX);
    snprintf(dir, sizeof dir, "%s/spool", settings->config->state_dir);
    int rc = limit_table__read(dir, &json, &e), code = rc == 0 ? 0 : EXIT_FAILURE;
    if (rc != 0) fprintf(stderr, "souk: %s\n", e.msg);
    else if (c->json) print_json(buf__slice(&json));
    else code = print_policies(&json);
    buf__fini(&json);
    return code;
}

static int print_all(const struct buf *json, const char *only) {
    yyjson_doc *doc = plain_doc(yyjson_read(json->base, json->len, 0));
    yyjson_val *root = yyjson_doc_get_root(doc), *list = yyjson_obj_get(root, "endpoints"), *ep;
    size_t i, max;
    int code = only == NULL ? 0 : EXIT_FAILURE;
    bool headed = false;
    if (list == NULL && root != NULL) {
        print_endpoint(root);
        code = 0;
    }
    yyjson_arr_foreach(list, i, max, ep) {
        if (only != NULL && strcmp(answer_text(ep, "endpoint"), only) != 0) continue;
        if (!headed) printf("%-24s %-4s %-9s %s\n", "ENDPOINT", "NOW", "STATE", "WHY");
        headed = true;
        print_endpoint(ep);
        code = 0;
    }
    if (only == NULL) print_throttler(yyjson_obj_get(root, "throttler"));
    if (code != 0) fprintf(stderr, "souk: there is no endpoint %s; see souk limit show\n", only);
    yyjson_doc_free(doc);
    return code;
}

struct wish {
    const char *what, *endpoint, *reason;
    int64_t for_ns;
    bool markdown, state;
};

static bool is_known(const char *what) {
    static const char *const known[] = {"show", "pause", "resume", "kill"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(what, known[i]) == 0) return true;
    return false;
}

static int read_wish(const struct command *c, struct wish *w, int argc, char **argv) {
    static const struct option options[] = {{"for", required_argument, NULL, 'f'},
                                            {"reason", required_argument, NULL, 'r'},
                                            {"markdown", no_argument, NULL, 'm'},
                                            {"state", no_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == 'r') {
            w->reason = optarg;
        } else if (opt == 'm') {
            w->markdown = true;
        } else if (opt == 's') {
            w->state = true;
        } else if (opt != 'f') {
            return refuse_option(c);
        } else if (!parse_duration(optarg, &w->for_ns)) {
            fprintf(stderr, "souk: --for takes a duration like 90s, not %s\n", optarg);
            return EXIT_USAGE;
        }
    }
    w->what = optind < argc ? argv[optind++] : "show";
    w->endpoint = optind < argc ? argv[optind++] : NULL;
    bool table = w->markdown || w->state;
    if (table && (strcmp(w->what, "show") != 0 || w->endpoint != NULL || !w->markdown)) {
        fprintf(stderr,
                "souk: limit show --markdown [--state] takes neither an endpoint nor more\n");
        return EXIT_USAGE;
    }
    if (is_known(w->what) && (w->endpoint != NULL || strcmp(w->what, "show") == 0))
        return refuse_rest(c, argc, argv);
    fprintf(stderr, "souk: limit takes show, or pause, resume or kill and an endpoint; see souk "
                    "limit --help\n");
    return EXIT_USAGE;
}

static void make_path(const struct wish *w, struct buf *path) {
    buf__append_str(path, "/api/v1/throttle");
    if (strcmp(w->what, "show") == 0) {
        buf__u8(path, 0);
        return;
    }
    buf__printf(path, "/%s", w->what);
    put_query(path, "endpoint", w->endpoint);
    if (w->reason != NULL) put_query(path, "reason", w->reason);
    if (w->for_ns > 0) {
        char seconds[24];
        snprintf(seconds, sizeof seconds, "%lld",
                 (long long)((w->for_ns + NS_PER_S - 1) / NS_PER_S));
        put_query(path, "for_s", seconds);
    }
    buf__u8(path, 0);
}

int verb_limit(struct command *c, int argc, char **argv) {
    struct wish w = {0};
    struct settings settings;
    int code = read_wish(c, &w, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    if (w.state) {
        code = print_saved(c, &settings);
        settings__fini(&settings);
        return code;
    }
    struct buf path = buf__init(2048), body = buf__init(ANSWER_MAX);
    make_path(&w, &path);
    bool show = strcmp(w.what, "show") == 0;
    code = ask_hub(&settings, show ? "GET" : "POST", path.base, &body);
    if (code == 0 && c->json) print_json(buf__slice(&body));
    else if (code == 0 && w.markdown) code = print_policies(&body);
    else if (code == 0) code = print_all(&body, show ? w.endpoint : NULL);
    buf__fini(&path);
    buf__fini(&body);
    settings__fini(&settings);
    return code;
}
