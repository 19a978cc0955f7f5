/* souk cursor: where each stream stands, asked of the running souk or read from the log; and what
 * people change of it, which only a running souk does. */
#include "../service/app.h"
#include "ask.h"
#include "souk/spool_scan.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MAX ((size_t)32 << 20) /* The hub says no more. */

const char verb_cursor_help[] =
    "get [SOURCE [STREAM]] | set SOURCE STREAM CURSOR --reason TEXT\n"
    "       | freeze SOURCE STREAM [--reason TEXT] | unfreeze SOURCE STREAM [--reason TEXT]\n\n"
    "Says where each stream stands, and changes it.\n\n"
    "  get       source, stream, state and cursor, of the running souk; when none runs, as the "
    "log\n"
    "            has it (state \"log\"). \"absent\": the stream is not in this run, and goes on "
    "there\n"
    "            when it comes back\n"
    "  set       the stream goes on at CURSOR, which must be one that its source could have made.\n"
    "            What lies between is not fetched; what was fetched before is fetched again, and\n"
    "            its rows come again with other positions\n"
    "  freeze    the stream asks nothing until unfreeze, also after a restart\n"
    "  --reason  is kept in the log and shown to whoever asks\n"
    "  --json    one object: {\"streams\":[...]}, or the stream that was changed\n\n"
    "A request that is under way ends first. Every change is a record of the log, and a row of\n"
    "bronze_requests with http_method CURSOR. Changing needs a running souk, and a token with\n"
    "write scope where the hub has tokens.\n"
    "Exit codes: 0 done; 1 refused, or no such stream; 2 usage; 69 no souk answers; 73 there is "
    "no\n"
    "log; 74 the log cannot be read; 78 configuration.\n";

struct wish {
    const char *what, *source, *stream, *cursor, *reason;
};

static int read_wish(const struct command *c, struct wish *w, int argc, char **argv) {
    static const struct option options[] = {{"reason", required_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    static const struct {
        const char *what;
        int least, most;
    } forms[] = {{"get", 0, 2}, {"set", 3, 3}, {"freeze", 2, 2}, {"unfreeze", 2, 2}};
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt != 'r') return refuse_option(c);
        w->reason = optarg;
    }
    w->what = optind < argc ? argv[optind++] : "get";
    int n = argc - optind;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(forms[i].what, w->what) != 0 || n < forms[i].least || n > forms[i].most)
            continue;
        w->source = n > 0 ? argv[optind] : NULL;
        w->stream = n > 1 ? argv[optind + 1] : NULL;
        w->cursor = n > 2 ? argv[optind + 2] : NULL;
        if (strcmp(w->what, "set") != 0 || (w->reason != NULL && w->reason[0] != '\0')) return 0;
        fprintf(stderr, "souk: cursor set needs --reason TEXT: it is kept in the log\n");
        return EXIT_USAGE;
    }
    fprintf(stderr, "souk: cursor takes get [SOURCE [STREAM]], set SOURCE STREAM CURSOR, or freeze "
                    "or unfreeze SOURCE STREAM; see souk cursor --help\n");
    return EXIT_USAGE;
}

/* The log's answer, when no souk runs. */

struct log_streams {
    struct absent_streams all; /* Owned. */
    bool no_memory;
};

static void take_stream(void *ctx, struct slice source, struct slice key,
                        const struct slice *cursor, struct slice hold) {
    struct log_streams *l = ctx;
    struct absent_stream *at = absent__put(&l->all, source, key);
    l->no_memory |= at == NULL;
    if (at == NULL) return;
    if (cursor != NULL) snprintf(at->cursor, sizeof at->cursor, "%.*s", SLICE_FMT(*cursor));
    else snprintf(at->hold, sizeof at->hold, "%.*s", SLICE_FMT(hold));
}

static void take_record(struct log_streams *l, const struct spool_record *rec) {
    struct request_facts f;
    struct slice body, hold;
    if (rec->type != SPOOL_PAGE && rec->type != SPOOL_REQUEST) return;
    if (journal__decode(rec->payload, &f, &body) != 0) return;
    if (f.flags & (REQUEST_ADVANCES | REQUEST_SEED))
        take_stream(l, f.source, f.stream, &f.cursor_to, (struct slice){0});
    if (journal__hold(&f, &hold)) take_stream(l, f.source, f.stream, NULL, hold);
}

/* The last checkpoint, then what came behind its low-water mark: what recovery does. */
static int read_log(const char *dir, struct log_streams *l, struct err *e) {
    struct spool_scan *scan;
    struct spool_scan_info info;
    struct spool_record rec;
    int code = spool_scan__open(&scan, dir, e);
    if (code != 0) return code;
    spool_scan__info(scan, &info);
    if (info.has_checkpoint && !app__checkpoint_each(info.checkpoint, take_stream, l))
        code = err__setf(e, ERR_CORRUPT, "the log's checkpoint is of another souk");
    if (info.has_checkpoint) spool_scan__seek(scan, info.low_water_lsn);
    while (code == 0 && ((code = spool_scan__next(scan, &rec, e)) == 1 || code == ERR_CORRUPT)) {
        if (code == 1) take_record(l, &rec);
        code = 0;
    }
    spool_scan__close(scan);
    if (code >= 0 && l->no_memory) return err__setf(e, ERR_NOMEM, "out of memory");
    absent__sweep(&l->all);
    return code < 0 ? code : 0;
}

static void put_text(struct buf *out, const char *key, const char *text) {
    buf__printf(out, "\"%s\":", key);
    buf__json_string(out, slice__str(text));
    buf__append_str(out, ",");
}

/* In the form of GET /api/v1/cursor. */
static void put_log(const struct log_streams *l, struct buf *out) {
    buf__append_str(out, "{\"streams\":[");
    for (size_t i = 0; i < l->all.n; i++) {
        buf__append_str(out, i == 0 ? "{" : ",{");
        put_text(out, "source", l->all.list[i].source);
        put_text(out, "stream", l->all.list[i].key);
        put_text(out, "state", "log");
        put_text(out, "cursor", l->all.list[i].cursor);
        put_text(out, "frozen", l->all.list[i].hold);
        buf__append_str(out, "\"last_cursor\":\"\",\"last_advance_ms\":0}");
    }
    buf__append_str(out, "]}");
}

static int ask_log(const char *dir, struct buf *out) {
    struct log_streams l = {0};
    struct err e = {0};
    int code = read_log(dir, &l, &e);
    if (code == 0) put_log(&l, out);
    else print_error(&e);
    absent__fini(&l.all);
    if (code == ERR_NOT_FOUND) return EXIT_CANT_CREATE;
    return code == 0 ? 0 : exit_code_of(code);
}

static int get(const struct settings *settings, struct buf *out) {
    char dir[512];
    struct err e = {0};
    snprintf(dir, sizeof dir, "%s/spool", settings->config->state_dir);
    if (spool__check_lock(dir, &e) == ERR_LOCKED)
        return ask_hub(settings, "GET", "/api/v1/cursor", out);
    return ask_log(dir, out);
}

static int change(const struct settings *settings, const struct wish *w, struct buf *out) {
    struct buf path = buf__init(4096);
    buf__printf(&path, "/api/v1/cursor/%s", w->what);
    put_query(&path, "source", w->source);
    put_query(&path, "stream", w->stream);
    if (w->cursor != NULL) put_query(&path, "cursor", w->cursor);
    if (w->reason != NULL) put_query(&path, "reason", w->reason);
    buf__u8(&path, 0);
    int code = path.failed ? EXIT_USAGE : ask_hub(settings, "POST", path.base, out);
    buf__fini(&path);
    return code;
}

static bool is_wanted(const struct wish *w, yyjson_val *s) {
    bool get = strcmp(w->what, "get") == 0;
    if (get && w->source != NULL && strcmp(w->source, answer_text(s, "source")) != 0) return false;
    return !get || w->stream == NULL || strcmp(w->stream, answer_text(s, "stream")) == 0;
}

static void print_stream(yyjson_val *s) {
    const char *cursor = answer_text(s, "cursor"), *frozen = answer_text(s, "frozen");
    printf("%-18s %-32s %-12s %s\n", answer_text(s, "source"), answer_text(s, "stream"),
           answer_text(s, "state"), cursor[0] == '\0' ? "-" : cursor);
    if (frozen[0] != '\0') printf("    frozen: %s\n", frozen);
}

static int print_answer(const struct wish *w, const struct buf *json, bool as_json) {
    yyjson_doc *doc = plain_doc(yyjson_read(json->base, json->len, 0));
    yyjson_val *root = yyjson_doc_get_root(doc), *list = yyjson_obj_get(root, "streams"), *s;
    size_t i, max, n = 0;
    if (list == NULL) {
        if (as_json) print_json(buf__slice(json));
        else print_stream(root);
        yyjson_doc_free(doc);
        return 0;
    }
    if (as_json) printf("{\"streams\":[");
    yyjson_arr_foreach(list, i, max, s) {
        if (!is_wanted(w, s)) continue;
        if (!as_json) {
            if (n++ == 0) printf("%-18s %-32s %-12s %s\n", "SOURCE", "STREAM", "STATE", "CURSOR");
            print_stream(s);
            continue;
        }
        char *text = yyjson_val_write(s, 0, NULL);
        printf("%s%s", n++ == 0 ? "" : ",", text == NULL ? "{}" : text);
        free(text);
    }
    if (as_json) printf("]}\n");
    yyjson_doc_free(doc);
    if (n > 0 || w->source == NULL) return 0;
    fprintf(stderr, "souk: no stream %s%s%s is known; see souk cursor get\n", w->source,
            w->stream == NULL ? "" : " ", w->stream == NULL ? "" : w->stream);
    return EXIT_FAILURE;
}

int verb_cursor(struct command *c, int argc, char **argv) {
    struct wish w = {0};
    struct settings settings;
    int code = read_wish(c, &w, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    struct buf body = buf__init(ANSWER_MAX);
    code = strcmp(w.what, "get") == 0 ? get(&settings, &body) : change(&settings, &w, &body);
    if (code == 0) code = print_answer(&w, &body, c->json);
    buf__fini(&body);
    settings__fini(&settings);
    return code;
}
