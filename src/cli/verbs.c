/* run and version, and what all verbs share. */
#include "verbs.h"
#include "../service/app.h"
#include "souk/core/log.h"
#include <curl/curl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int exit_code_of(int code) {
    switch (code) {
    case ERR_CONFIG: return EXIT_CONFIG;
    case ERR_LOCKED: return EXIT_LOCKED;
    case ERR_CREATE: return EXIT_CANT_CREATE;
    case ERR_IO:
    case ERR_CORRUPT: return EXIT_IO;
    case ERR_UNAVAILABLE: return EXIT_UNAVAILABLE;
    default: return EXIT_FAILURE;
    }
}

int refuse_option(const struct command *c) {
    fprintf(stderr, "souk: see souk %s --help\n", c->verb);
    return EXIT_USAGE;
}

int refuse_rest(const struct command *c, int argc, char **argv) {
    if (optind >= argc) return 0;
    fprintf(stderr, "souk: %s does not take %s; see souk %s --help\n", c->verb, argv[optind],
            c->verb);
    return EXIT_USAGE;
}

void print_error(const struct err *e) {
    fprintf(stderr, "souk: %.*s\n", (int)strcspn(e->msg, "\r\n"), e->msg);
}

bool parse_duration(const char *text, int64_t *out_ns) {
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"", NS_PER_S},       {"s", NS_PER_S},        {"ms", NS_PER_MS},
                 {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S}, {"d", 86400 * NS_PER_S}};
    char *end;
    double v = strtod(text, &end);
    if (end == text || !(v > 0) || v > 1e9) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0) {
            *out_ns = (int64_t)(v * (double)units[i].ns);
            return true;
        }
    return false;
}

const char *find_config(const struct command *c) {
    if (c->config_path != NULL) return c->config_path;
    return access("souk.yaml", R_OK) == 0 ? "souk.yaml" : "/etc/souk/souk.yaml";
}

int load_config(const struct command *c, struct settings *out) {
    static const enum log_level levels[] = {[CONFIG_LOG_DEBUG] = LOG_LEVEL_DEBUG,
                                            [CONFIG_LOG_INFO] = LOG_LEVEL_INFO,
                                            [CONFIG_LOG_WARN] = LOG_LEVEL_WARN,
                                            [CONFIG_LOG_ERROR] = LOG_LEVEL_ERROR};
    struct config_errors errors = {0};
    struct config *config = NULL;
    struct err e = {0};
    *out = (struct settings){0};
    int code = config__load(find_config(c), &config, &errors);
    if (code == ERR_NOT_FOUND && c->config_path == NULL) {
        fprintf(stderr, "souk: there is neither souk.yaml here nor /etc/souk/souk.yaml; name the "
                        "configuration with --config\n");
        return EXIT_CONFIG;
    }
    if (code != 0) {
        for (size_t i = 0; i < errors.n; i++) fprintf(stderr, "souk: %s\n", errors.line[i]);
        if (errors.n_more > 0) fprintf(stderr, "souk: and %zu more\n", errors.n_more);
        return EXIT_CONFIG;
    }
    if (settings__init(out, config, &e) != 0) {
        fprintf(stderr, "souk: %s\n", e.msg);
        settings__fini(out);
        return EXIT_CONFIG;
    }
    out->path = find_config(c);
    bool json = c->log_format != NULL ? strcmp(c->log_format, "json") == 0
                                      : config->log.format == CONFIG_LOG_JSON;
    log__setup(stderr, json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT, levels[config->log.level]);
    return 0;
}

const char verb_version_help[] =
    "\n\nPrints the versions of souk and of the libraries it runs on.\n";

int verb_version(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    if (getopt_long(argc, argv, "", options, NULL) != -1) return refuse_option(c);
    int code = refuse_rest(c, argc, argv);
    if (code != 0) return code;
    const char *fmt = c->json ? "{\"souk\":\"%s\",\"libuv\":\"%s\",\"libcurl\":\"%s\"}\n"
                              : "souk %s (libuv %s, libcurl %s)\n";
    printf(fmt, SOUK_VERSION, uv_version_string(), curl_version_info(CURLVERSION_NOW)->version);
    return 0;
}

const char verb_run_help[] =
    "[--for DURATION] [--sources GLOB[,GLOB]]\n\nRuns the reactor in the foreground until SIGTERM "
    "or "
    "SIGINT.\n"
    "  --for DURATION  stop after that time: 90, 90s, 5m, 2h\n"
    "  --sources GLOB[,GLOB]  only sources whose name matches one of these; the others keep their\n"
    "                  cursors, and go on there when they run again\n"
    "Signals: TERM and INT drain (a second one ends at once), QUIT ends at once, HUP reads "
    "the\nconfiguration again (souk ctl reload --help says what may change), USR1 and USR2 write "
    "a\n"
    "state report.\n"
    "ClickHouse need not be up: the spool takes what comes until its quota.\n\n"
    "Exit codes: 0 stopped as asked; 1 failure, such as a port in use; 2 usage; 73 the state\n"
    "directory cannot be used; 74 the disk failed twice, or takes nothing while souk stops, or\n"
    "the log cannot be read; 75 locked by another souk; 78 configuration.\n";

static int open_and_run(struct settings *settings, int64_t for_ns) {
    static struct app *a; /* Static: what a failed start leaves open ends with the process. */
    struct err e = {0};
    a = calloc(1, sizeof *a);
    int code = a == NULL ? ERR_NOMEM : app__open(a, settings, &e);
    if (code != 0) {
        fprintf(stderr, "souk: %s\n", e.msg);
        return exit_code_of(code);
    }
    code = app__run(a, for_ns);
    app__free(a);
    return code;
}

/* A page's buffers are megabytes that live for milliseconds, on the loop and on the pool's threads.
 * Left alone, glibc gives each thread a heap of its own and keeps what is freed: ten times as much
 * as is in use. Large buffers so come from the system and go back at once. */
static void bound_heap(void) {
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

int take_login(struct settings *settings, struct err *e) {
    static struct login_file login; /* Outlives the settings. */
    int code = login_file__read(settings->config->state_dir, &login, e);
    if (code == 0) code = settings__take_login(settings, &login, e);
    if (code != 0) explicit_bzero(&login, sizeof login);
    return code;
}

int verb_run(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{"for", required_argument, NULL, 'f'},
                                            {"sources", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    int64_t for_ns = 0;
    const char *globs = "*";
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == '?') return refuse_option(c);
        if (opt == 's') globs = optarg;
        if (opt == 'f' && !parse_duration(optarg, &for_ns)) {
            fprintf(stderr, "souk: --for takes a duration such as 90s, 5m or 2h, not %s\n", optarg);
            return EXIT_USAGE;
        }
    }
    struct settings settings;
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    struct err e = {0};
    /* Without one souk runs as well, but for what only a user can grant. */
    code = take_login(&settings, &e);
    if (code != 0 && code != ERR_NOT_FOUND) LOG_WARN("cli", "the login is not used", LOG_E(&e));
    if ((code = settings__select(&settings, globs, &e)) != 0) {
        print_error(&e);
        settings__fini(&settings);
        return code == ERR_CONFIG ? EXIT_CONFIG : EXIT_USAGE;
    }
    bound_heap();
    code = open_and_run(&settings, for_ns);
    settings__fini(&settings);
    return code;
}
