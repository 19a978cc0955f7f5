/* souk check: the configuration, and with --env what it names. */
#include "check_env.h"
#include "souk/core/err.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>

const char verb_check_help[] =
    "[--env] [--print] [--deny-warnings] [--json]\n\n"
    "Reads the configuration and prints every error with its file and line, and a warning for\n"
    "each door that it leaves open: a hub without tokens, or that listens beyond this machine.\n\n"
    "  --env            also looks at what the configuration names, a line each: the state\n"
    "                   directory (may it be written to, who holds its lock, is there room for\n"
    "                   the spool's quota), the user's login, ClickHouse (name, TLS, connection "
    "and\n"
    "                   password, version, clock, disk, tables, keys and deduplication windows;\n"
    "                   each of clickhouse.hosts by itself, where one that is down is a warning),\n"
    "                   and the names of the enabled upstreams. Upstreams are not asked anything.\n"
    "  --print          prints the configuration as souk understands it, defaults and all\n"
    "  --deny-warnings  exit code 3 when there are warnings and no failures\n"
    "  --json           an object with version, config and checks, most of them of --env: each "
    "with\n"
    "                   name, result (ok, warn, fail), what and hint\n\n"
    "Exit codes: 0 all is well; 2 usage; 3 warnings, with --deny-warnings; 69 a name does not\n"
    "resolve or ClickHouse does not answer; 73 the state directory cannot be used; 74 its disk is\n"
    "full; 78 the configuration is bad, the authorities' file cannot be read, ClickHouse refuses\n"
    "the user or is too old, or a table or its deduplication window is missing. With several\n"
    "failures, that of the first line counts.\n"
    "Nothing is changed. Safe beside a running souk, and in ExecStartPre=.\n";

static const char *const results[] = {
    [CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_FAIL] = "fail"};

static void print_text(const struct checks *c) {
    for (size_t i = 0; i < c->n; i++) {
        struct check copy = c->items[i], *x = &copy; /* Servers have had their say in it. */
        err__plain(x->what, false);
        err__plain(x->hint, false);
        printf("%-4s  %-32s  %s\n", results[x->result], x->name, x->what);
        if (x->hint[0] != '\0') printf("      %-32s  -> %s\n", "", x->hint);
    }
}

static void print_json(const char *config, const struct checks *c) {
    struct buf b = buf__init((size_t)1 << 20);
    buf__append_str(&b, "{\"version\":1,\"config\":");
    buf__json_string(&b, slice__str(config));
    buf__append_str(&b, ",\"checks\":[");
    for (size_t i = 0; i < c->n; i++) {
        const struct check *x = &c->items[i];
        buf__printf(&b, "%s{\"name\":", i == 0 ? "" : ",");
        buf__json_string(&b, slice__str(x->name));
        buf__printf(&b, ",\"result\":\"%s\",\"what\":", results[x->result]);
        buf__json_string(&b, slice__str(x->what));
        buf__append_str(&b, ",\"hint\":");
        buf__json_string(&b, slice__str(x->hint));
        buf__append_str(&b, "}");
    }
    buf__append_str(&b, "]}");
    printf("%.*s\n", SLICE_FMT(buf__slice(&b)));
    buf__fini(&b);
}

int verb_check(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{"env", no_argument, NULL, 'e'},
                                            {"print", no_argument, NULL, 'p'},
                                            {"deny-warnings", no_argument, NULL, 'd'},
                                            {NULL, 0, NULL, 0}};
    bool env = false, print = false, deny = false;
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == '?') return refuse_option(c);
        env |= opt == 'e';
        print |= opt == 'p';
        deny |= opt == 'd';
    }
    if (print && c->json) {
        fprintf(stderr, "souk: --print and --json exclude each other\n");
        return EXIT_USAGE;
    }
    struct settings settings;
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    struct buf text = buf__init(CONFIG_BYTES_MAX);
    struct checks checks = {0};
    if (print && config__print(settings.config, &text) == 0)
        printf("%.*s", SLICE_FMT(buf__slice(&text)));
    else if (!c->json) printf("%s: ok\n", find_config(c));
    buf__fini(&text);
    if (env) check_env__run(&settings, &checks);
    check_hub__run(&settings, &checks);
    if (c->json) print_json(find_config(c), &checks);
    else print_text(&checks);
    code = check_env__exit_code(&checks);
    if (code == 0 && deny && check_env__n_warnings(&checks) > 0) code = EXIT_WARNINGS;
    settings__fini(&settings);
    return code;
}
