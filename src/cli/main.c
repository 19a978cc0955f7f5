/* souk's verbs. Data goes to standard output, logs and errors to standard error. */
#include "../service/app.h"
#include "souk/core/log.h"
#include "verbs.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct verb {
    const char *name, *brief;
    int (*run)(struct command *c, int argc, char **argv);
    const char *help; /* Behind the name: usage and text. */
};

static const struct verb verbs[] = {
    {"backfill", "fetches a stretch of a source's past", verb_backfill, verb_backfill_help},
    {"check", "reads the configuration, looks at what it names, and says what is wrong", verb_check,
     verb_check_help},
    {"ctl", "reloads or ends the running souk, or changes its log level", verb_ctl, verb_ctl_help},
    {"cursor", "says where each stream stands; sets, freezes and unfreezes it", verb_cursor,
     verb_cursor_help},
    {"limit", "says what waits and why; pauses, resumes and kills endpoints", verb_limit,
     verb_limit_help},
    {"login", "lets souk read the account's own stash; says who is logged in", verb_login,
     verb_login_help},
    {"logout", "forgets the login", verb_logout, verb_logout_help},
    {"poll", "has a source asked now, as far as limits allow", verb_poll, verb_poll_help},
    {"replay", "decodes again what was kept, and prints hashes of the rows", verb_replay,
     verb_replay_help},
    {"run", "runs the reactor in the foreground", verb_run, verb_run_help},
    {"schema", "compares the tables in ClickHouse with what souk expects, and mends them",
     verb_schema, verb_schema_help},
    {"status", "asks the running souk how it is", verb_status, verb_status_help},
    {"verify", "compares every sealed batch with the rows in ClickHouse", verb_verify,
     verb_verify_help},
    {"version", "prints the version", verb_version, verb_version_help},
    {"wal", "looks into the log on disk, and mends it", verb_wal, verb_wal_help},
};
#define N_VERBS (sizeof verbs / sizeof *verbs)

static void print_usage(FILE *out) {
    fprintf(
        out,
        "Usage: souk [--config PATH] [--json] [--log-format logfmt|json] VERB [OPTIONS]\n\n"
        "souk turns rate-limited market APIs into rows in ClickHouse and live alerts.\n\nVerbs:\n");
    for (size_t i = 0; i < N_VERBS; i++) fprintf(out, "  %-9s %s\n", verbs[i].name, verbs[i].brief);
    fprintf(
        out,
        "\nOptions:\n"
        "  --config PATH        configuration, YAML [souk.yaml; then /etc/souk/souk.yaml]\n"
        "  --json               print data as JSON where the verb has data; also behind the verb\n"
        "  --log-format FORMAT  logfmt or json, instead of what the configuration says\n"
        "  --help               this text; souk help VERB or souk VERB --help for a verb's\n\n"
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 warnings (check --deny-warnings), 69 a service "
        "is\n"
        "away, 73 no store, or it cannot be made, 74 input/output error, 75 locked by another "
        "souk,\n"
        "78 configuration.\n"
        "Environment: CH_HOST CH_PORT CH_USER CH_PASSWORD CH_DATABASE POE_CLIENT_ID "
        "POE_USER_AGENT\n"
        "POE_CURSOR_DIR override the configuration.\n");
}

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}

static int unknown_verb(const char *name) {
    fprintf(stderr, "souk: there is no verb %s; see souk --help\n", name);
    return EXIT_USAGE;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

/* One word for all verbs, wherever it stands: takes it out before they look at their options. */
static bool take_json(int *argc, char **argv) {
    int n = 0;
    bool found = false;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--json") == 0) found = true;
        else argv[n++] = argv[i];
    }
    argv[n] = NULL;
    *argc = n;
    return found;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},     {"json", no_argument, NULL, 'j'},
        {"log-format", required_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},          {NULL, 0, NULL, 0}};
    struct command c = {0};
    signal(SIGXFSZ, SIG_IGN); /* A file too large is an error of the write, which says so. */
    umask(077);               /* The log, cursors, tokens: nobody else's on this machine. */
    for (int opt; (opt = getopt_long(argc, argv, "+c:jh", options, NULL)) != -1;) {
        switch (opt) {
        case 'c': c.config_path = optarg; break;
        case 'j': c.json = true; break;
        case 'l': c.log_format = optarg; break;
        case 'v': return verb_version(&c, 0, NULL);
        case 'h': print_usage(stdout); return 0;
        default: fprintf(stderr, "souk: see souk --help\n"); return EXIT_USAGE;
        }
    }
    if (c.log_format != NULL && strcmp(c.log_format, "logfmt") != 0 &&
        strcmp(c.log_format, "json") != 0) {
        fprintf(stderr, "souk: --log-format takes logfmt or json, not %s\n", c.log_format);
        return EXIT_USAGE;
    }
    if (optind >= argc) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    bool help = strcmp(argv[optind], "help") == 0;
    if (help && ++optind >= argc) {
        print_usage(stdout);
        return 0;
    }
    const struct verb *verb = find_verb(argv[optind]);
    if (verb == NULL) return unknown_verb(argv[optind]);
    static char name[] = "souk"; /* In what getopt says. */
    argc -= optind;
    argv += optind;
    argv[0] = name;
    c.verb = verb->name;
    optind = 0; /* 0, not 1: getopt starts anew, and lets options stand behind arguments. */
    if (help || wants_help(argc, argv)) {
        printf("Usage: souk [--config PATH] %s%s%s", verb->name, verb->help[0] == '\n' ? "" : " ",
               verb->help);
        return 0;
    }
    c.json |= take_json(&argc, argv);
    return verb->run(&c, argc, argv);
}
