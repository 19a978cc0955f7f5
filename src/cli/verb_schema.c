/* souk schema: compares ClickHouse with what this program expects, and adds what is missing. */
#include "../service/app.h"
#include "souk/core/err.h"
#include "souk/schema.h"
#include "verbs.h"
#include <getopt.h>
#include <stdio.h>

const char verb_schema_help[] =
    "diff|apply|ddl [--yes] [--json]\n\n"
    "Compares the database in ClickHouse with the schema that this souk writes into.\n\n"
    "  diff   names each difference, and the statement that mends it. Compared are: database,\n"
    "         migrations, tables and views, columns by name and type wherever they stand, engine\n"
    "         family, partition key, order key, TTL and deduplication window. Comments, codecs,\n"
    "         indexes, and tables and columns of your own are not.\n"
    "  apply  prints what it would add; with --yes it does so: migrations, tables, columns and\n"
    "         deduplication windows. It never changes a type, a key, an engine or a TTL: for "
    "these\n"
    "         it prints the statement to run by hand, when souk is stopped and a backup is there.\n"
    "  ddl    prints the whole schema as SQL, without asking a server.\n\n"
    "Options:\n"
    "  --yes   apply: change the database\n"
    "  --json  diff: an object with version, database and differences, each with kind, table,\n"
    "          column, what, statement, additive, and harmful: whether rows would be lost, held "
    "or\n"
    "          stored twice, and not only cost time or space\n\n"
    "Exit codes: 0 no differences, or all mended; 1 differences (diff), or some are left to be\n"
    "mended by hand (apply), or the server refused a statement; 2 usage, and apply without --yes\n"
    "where there is something to do; 69 ClickHouse is away; 78 configuration.\n\n"
    "Migrations only add. Each is recorded in the table souk_migrations with a checksum.\n";

static void print_text(const struct schema_diff *d) {
    for (size_t i = 0; i < d->n; i++) {
        const struct schema_difference *x = &d->items[i];
        char table[256];
        snprintf(table, sizeof table, "%s", x->table); /* What the server has. */
        err__plain(table, false);
        err__plain(x->what, false);
        err__plain(x->statement, true);
        printf("%s%s%s\n", table, table[0] == '\0' ? "" : ": ", x->what);
        if (x->statement[0] == '\0') continue;
        if (x->kind == SCHEMA_MIGRATION) { /* It is no statement, but this verb. */
            printf("  %s\n", x->statement);
            continue;
        }
        printf("  %s:\n", x->additive ? "souk schema apply --yes runs" : "to be run by hand");
        for (const char *p = x->statement; *p != '\0';) {
            size_t n = strcspn(p, "\n");
            printf("    %.*s\n", (int)n, p);
            p += n + (p[n] == '\n');
        }
    }
}

static void print_json(const char *database, const struct schema_diff *d) {
    struct buf b = buf__init((size_t)64 << 20);
    buf__append_str(&b, "{\"version\":1,\"database\":");
    buf__json_string(&b, slice__str(database));
    buf__append_str(&b, ",\"differences\":[");
    for (size_t i = 0; i < d->n; i++) {
        const struct schema_difference *x = &d->items[i];
        buf__printf(&b, "%s{\"kind\":\"%s\",\"table\":", i == 0 ? "" : ",",
                    schema_kind__text(x->kind));
        buf__json_string(&b, slice__str(x->table));
        buf__append_str(&b, ",\"column\":");
        buf__json_string(&b, slice__str(x->column));
        buf__append_str(&b, ",\"what\":");
        buf__json_string(&b, slice__str(x->what));
        buf__append_str(&b, ",\"statement\":");
        buf__json_string(&b, slice__str(x->statement));
        buf__printf(&b, ",\"additive\":%s,\"harmful\":%s}", x->additive ? "true" : "false",
                    x->harmful ? "true" : "false");
    }
    buf__append_str(&b, "]}");
    printf("%.*s\n", SLICE_FMT(buf__slice(&b)));
    buf__fini(&b);
}

static int diff(uv_loop_t *loop, const struct store_options *options, bool json, struct err *e) {
    struct schema_diff d;
    int status = schema__diff(loop, options, &d, e);
    if (status != 0) return status;
    if (json) print_json(options->database, &d);
    else print_text(&d);
    if (!json && d.n == 0) printf("database %s is as it should be\n", options->database);
    else if (!json) printf("%zu differences\n", d.n);
    int code = d.n > 0;
    schema_diff__fini(&d);
    return code;
}

/* What apply leaves is named like a difference, so that the statement is at hand. */
static int apply(uv_loop_t *loop, const struct store_options *options, bool yes, struct err *e) {
    int n = schema__apply(loop, options, !yes, stdout, e);
    struct schema_diff d;
    int status = n < 0 ? n : schema__diff(loop, options, &d, e);
    if (status != 0) return status;
    size_t n_left = 0;
    for (size_t i = 0; i < d.n; i++) {
        if (yes || !d.items[i].additive) {
            struct schema_diff one = {.items = &d.items[i], .n = 1};
            print_text(&one);
            n_left++;
        }
    }
    schema_diff__fini(&d);
    if (!yes && n > 0) {
        fprintf(stderr, "souk: nothing was changed; add --yes to do this\n");
        return EXIT_USAGE;
    }
    if (n_left == 0)
        printf("database %s is up to date (%d applied)\n", options->database, yes ? n : 0);
    else fprintf(stderr, "souk: %zu differences are left, which apply does not touch\n", n_left);
    return n_left > 0;
}

int verb_schema(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{"yes", no_argument, NULL, 'y'}, {NULL, 0, NULL, 0}};
    bool yes = false;
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == '?') return refuse_option(c);
        yes |= opt == 'y';
    }
    const char *what = optind + 1 == argc ? argv[optind] : "";
    bool is_apply = strcmp(what, "apply") == 0, is_ddl = strcmp(what, "ddl") == 0;
    if (!is_apply && !is_ddl && strcmp(what, "diff") != 0) {
        fprintf(stderr, "souk: schema takes diff, apply or ddl; see souk schema --help\n");
        return EXIT_USAGE;
    }
    struct settings settings;
    int code = load_config(c, &settings);
    if (code != 0) return code;
    struct store_options store;
    uv_loop_t loop;
    struct err e = {0};
    app__store_options(settings.config, &store);
    uv_loop_init(&loop);
    if (is_ddl) schema__print(store.database, stdout);
    else if (is_apply) code = apply(&loop, &store, yes, &e);
    else code = diff(&loop, &store, c->json, &e);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (code < 0) {
        print_error(&e);
        code = exit_code_of(e.code);
    }
    settings__fini(&settings);
    return code;
}
