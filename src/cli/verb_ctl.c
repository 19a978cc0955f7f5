/* souk ctl: what signals do, with an answer. */
#include "ask.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>

const char verb_ctl_help[] =
    "reload | loglevel debug|info|warn|error | flush | drain | release-rows\n\n"
    "Tells the running souk what signals tell it, and prints what it says.\n\n"
    "  reload    reads the configuration again, as SIGHUP does: all of it is applied, or none and\n"
    "            the answer says why, with file and line. May change while it runs: log.level,\n"
    "            alerts.*, the waits of sources (period_s, change_ids_s, late_s), and what stands "
    "in\n"
    "            hub.tokens_file: whoever used a token that is gone is sent away. Whatever else\n"
    "            differs is named and needs a restart\n"
    "  loglevel  what is logged from now on, until a reload or a restart\n"
    "  flush     sends what has been gathered for ClickHouse, whatever its age (batch.age_ms)\n"
    "  drain     ends souk as SIGTERM does\n"
    "  release-rows\n"
    "            sends the batches that are held for the times of their rows (souk status says "
    "so,\n"
    "            and an alert): ClickHouse then drops what is older than its table's TTL. Until\n"
    "            the next restart; a mended clock or a longer TTL lets them go by itself\n\n"
    "Needs a token with write scope where the hub has tokens.\n"
    "Exit codes: 0 done; 1 refused; 2 usage; 69 no souk answers; 78 configuration.\n";

int verb_ctl(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    struct settings settings;
    struct buf path = buf__init(256), body = buf__init(1 << 16);
    if (getopt_long(argc, argv, "", options, NULL) != -1) return refuse_option(c);
    const char *what = optind < argc ? argv[optind++] : "";
    bool level = strcmp(what, "loglevel") == 0 && optind < argc;
    if (!level && strcmp(what, "reload") != 0 && strcmp(what, "drain") != 0 &&
        strcmp(what, "release-rows") != 0 && strcmp(what, "flush") != 0) {
        fprintf(stderr,
                "souk: ctl takes reload, flush, drain, release-rows, or loglevel and a level; "
                "see souk ctl --help\n");
        return EXIT_USAGE;
    }
    buf__printf(&path, "/api/v1/%s", what);
    if (level) put_query(&path, "level", argv[optind++]);
    buf__u8(&path, 0);
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code == 0) {
        code = ask_hub(&settings, "POST", path.base, &body);
        if (code == 0 && c->json) print_json(buf__slice(&body));
        else if (code == 0) printf("done\n");
        settings__fini(&settings);
    }
    buf__fini(&body);
    buf__fini(&path);
    return code;
}
