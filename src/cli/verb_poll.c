/* souk poll: a source is asked now, as far as limits allow. */
#include "ask.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>
#include <yyjson.h>

#define ANSWER_MAX ((size_t)256 << 10)

const char verb_poll_help[] =
    "SOURCE [STREAM]\n\n"
    "Has the running souk ask a source now, whatever its own pace says: a snapshot of the "
    "account's\n"
    "stash (account_stashes), a token and what is granted (oauth). All streams, or the one named "
    "as\n"
    "souk status names it. Limits hold: a request goes when its permit is there.\n\n"
    "  --json    the answer of POST /api/v1/sources/poll\n\n"
    "Needs a token with write scope where the hub has tokens.\n"
    "Exit codes: 0 asked; 1 refused, no such source or stream, or none of them can ask; 2 usage; "
    "69\n"
    "no souk answers; 78 configuration.\n";

/* @return 0 when any stream asks. */
static int print_streams(const struct buf *json) {
    yyjson_doc *doc = plain_doc(yyjson_read(json->base, json->len, 0));
    yyjson_val *s;
    size_t i, n;
    int code = EXIT_FAILURE;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "streams"), i, n, s) {
        bool asked = yyjson_is_true(yyjson_obj_get(s, "asked"));
        if (asked) code = 0;
        printf("%-32s %s\n", answer_text(s, "stream"), asked ? "asked" : answer_text(s, "reason"));
    }
    yyjson_doc_free(doc);
    return code;
}

int verb_poll(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    struct settings settings;
    if (getopt_long(argc, argv, "", options, NULL) != -1) return refuse_option(c);
    const char *source = optind < argc ? argv[optind++] : NULL;
    const char *stream = optind < argc ? argv[optind++] : NULL;
    if (source == NULL) {
        fprintf(stderr, "souk: poll takes a source; see souk poll --help\n");
        return EXIT_USAGE;
    }
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    struct buf path = buf__init(2048), body = buf__init(ANSWER_MAX);
    buf__append_str(&path, "/api/v1/sources/poll");
    put_query(&path, "source", source);
    if (stream != NULL) put_query(&path, "stream", stream);
    buf__u8(&path, 0);
    code = ask_hub(&settings, "POST", path.base, &body);
    if (code == 0 && c->json) print_json(buf__slice(&body));
    else if (code == 0) code = print_streams(&body);
    buf__fini(&path);
    buf__fini(&body);
    settings__fini(&settings);
    return code;
}
