/* The environment, looked at from outside in: disk, ClickHouse, upstreams. */
#include "check_env.h"
#include "../service/app.h"
#include "souk/core/file.h"
#include "souk/schema.h"
#include "verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SKEW_WARN_MS 2000
#define DISK_FAIL_BYTES ((uint64_t)64 << 20)
#define SERVER_DISK_WARN_BYTES ((uint64_t)1 << 30)

static struct check *add(struct checks *c, const char *name, enum check_result result,
                         int exit_code) {
    static struct check spare; /* Beyond the bound, which is above what there is to check. */
    struct check *x = c->n < CHECKS_MAX ? &c->items[c->n++] : &spare;
    *x = (struct check){.result = result, .exit_code = result == CHECK_FAIL ? exit_code : 0};
    snprintf(x->name, sizeof x->name, "%s", name);
    return x;
}
#define WHAT(x, ...) snprintf((x)->what, sizeof(x)->what, __VA_ARGS__)
#define HINT(x, ...) snprintf((x)->hint, sizeof(x)->hint, __VA_ARGS__)

/* Servers say things in several lines; a check is one. */
static void say(struct check *x, const struct err *e) {
    WHAT(x, "%.*s", (int)strcspn(e->msg, "\r\n"), e->msg);
}

int check_env__exit_code(const struct checks *c) {
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].result == CHECK_FAIL) return c->items[i].exit_code;
    return 0;
}

size_t check_env__n_warnings(const struct checks *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += c->items[i].result == CHECK_WARN;
    return n;
}

/* The state directory. */

/* The nearest folder that is there: the state directory is made at the first start. */
static void existing(const char *path, char *out, size_t size) {
    snprintf(out, size, "%s", path);
    while (access(out, F_OK) != 0 && strcmp(out, "/") != 0 && strcmp(out, ".") != 0) {
        char *copy = strdup(out);
        if (copy == NULL) return;
        snprintf(out, size, "%s", dirname(copy));
        free(copy);
    }
}

static void check_state_dir(const struct config *config, struct checks *c) {
    char dir[1024];
    struct stat st;
    existing(config->state_dir, dir, sizeof dir);
    bool there = strcmp(dir, config->state_dir) == 0;
    bool good = stat(dir, &st) == 0 && S_ISDIR(st.st_mode) && access(dir, W_OK | X_OK) == 0;
    struct check *x = add(c, "state_dir", good ? CHECK_OK : CHECK_FAIL, EXIT_CANT_CREATE);
    if (!good) {
        WHAT(x, "%.120s is not a folder that this user (uid %d) may write to", dir, (int)getuid());
        HINT(x, "give it to the user that souk runs as, or set state_dir to another");
    } else {
        WHAT(x, there ? "%.200s can be written to" : "will be made in %.200s", dir);
    }
}

static void check_lock(const struct config *config, struct checks *c) {
    char path[1024], pid[32] = "";
    snprintf(path, sizeof path, "%s/spool/lock", config->state_dir);
    int fd = file__open(AT_FDCWD, path, O_RDONLY);
    /* Held for an instant; a shared one, so that two checks do not meet each other's. */
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    ssize_t n = locked ? pread(fd, pid, sizeof pid - 1, 0) : 0;
    if (n > 0) pid[strspn(pid, "0123456789")] = '\0'; /* Padded: it is written in place. */
    if (fd >= 0) close(fd);
    struct check *x = add(c, "state_dir.lock", CHECK_OK, 0);
    if (locked) WHAT(x, "held by a running souk, pid %s; a second one would end with 75", pid);
    else WHAT(x, "free");
}

static void check_disk(const struct config *config, struct checks *c) {
    char dir[1024];
    struct statvfs v;
    existing(config->state_dir, dir, sizeof dir);
    if (statvfs(dir, &v) != 0) return; /* The directory's check says what is wrong. */
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize,
             quota = (uint64_t)config->spool.quota_mib << 20;
    enum check_result result = free_bytes < DISK_FAIL_BYTES ? CHECK_FAIL
                               : free_bytes < quota         ? CHECK_WARN
                                                            : CHECK_OK;
    struct check *x = add(c, "state_dir.disk", result, EXIT_IO);
    WHAT(x, "%" PRIu64 " MiB free, spool.quota_mib is %" PRIu64, free_bytes >> 20, quota >> 20);
    if (result != CHECK_OK)
        HINT(x, "the disk is full before the quota is: free some, or lower spool.quota_mib");
}

/* As souk run takes it: what needs a login is quiet without one. */
static void check_login(struct settings *settings, struct checks *c) {
    struct err e = {0};
    int code = take_login(settings, &e);
    if (code == ERR_NOT_FOUND) return; /* A source that wants one says so. */
    struct check *x = add(c, "login", code == 0 ? CHECK_OK : CHECK_WARN, 0);
    if (code == 0) WHAT(x, "a user is logged in");
    else say(x, &e);
    if (code != 0) HINT(x, "souk login account");
}

/* Names. */

static bool resolves(const char *host, char *why, size_t size) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int code = getaddrinfo(host, NULL, &hints, &found);
    snprintf(why, size, "%s", code == 0 ? "" : gai_strerror(code));
    if (found != NULL) freeaddrinfo(found);
    return code == 0;
}

static bool check_name(struct checks *c, const char *name, const char *host) {
    char why[128];
    bool good = resolves(host, why, sizeof why);
    struct check *x = add(c, name, good ? CHECK_OK : CHECK_FAIL, EXIT_UNAVAILABLE);
    if (good) WHAT(x, "%.120s resolves", host);
    else WHAT(x, "%.120s does not resolve: %.80s", host, why);
    if (!good) HINT(x, "check the name in the configuration, and the machine's name servers");
    return good;
}

static void check_upstreams(const struct settings *settings, struct checks *c) {
    for (size_t i = 0; i < settings->n_sources; i++) {
        const struct source_setup *s = &settings->sources[i];
        const char *urls[] = {s->settings.base_url, s->settings.seed_url};
        char before[256] = "";
        if (!s->enabled) continue;
        for (size_t k = 0; k < 2; k++) {
            char host[256], name[64];
            const char *p = urls[k] == NULL ? NULL : strstr(urls[k], "://");
            if (p == NULL) continue;
            p += 3;
            size_t n = *p == '[' ? strcspn(++p, "]") : strcspn(p, ":/");
            snprintf(host, sizeof host, "%.*s", (int)n, p);
            if (strcmp(host, before) == 0) continue;
            snprintf(before, sizeof before, "%s", host);
            snprintf(name, sizeof name, "source.%s.%s", s->name, k == 0 ? "dns" : "seed_dns");
            check_name(c, name, host);
        }
        const char *why = settings__why_off(settings, s);
        if (why != NULL) {
            char name[64];
            snprintf(name, sizeof name, "source.%s.token", s->name);
            struct check *x = add(c, name, CHECK_WARN, 0);
            WHAT(x, "a souk started with this environment leaves the source quiet");
            HINT(x, "%s", why);
        }
    }
}

/* ClickHouse. */

struct server {
    char version[64];
    int64_t now_ms, asked_ms;
    uint64_t free_bytes;
    bool is_old;
};

static int64_t now_ms(void) {
    struct clock clock;
    clock__read(&clock);
    return clock.wall_ns / NS_PER_MS;
}

static void on_server(void *data, const struct slice *cells, size_t n_cells) {
    struct server *s = data;
    int major = 0, minor = 0;
    int64_t bytes = 0;
    if (n_cells != 3) return;
    snprintf(s->version, sizeof s->version, "%.*s", SLICE_FMT(cells[0]));
    slice__int64(cells[1], &s->now_ms);
    s->free_bytes = slice__int64(cells[2], &bytes) ? (uint64_t)bytes : UINT64_MAX;
    s->is_old = sscanf(s->version, "%d.%d", &major, &minor) != 2 ||
                major < STORE_VERSION_FLOOR_MAJOR ||
                (major == STORE_VERSION_FLOOR_MAJOR && minor < STORE_VERSION_FLOOR_MINOR);
}

static void hint_at_connection(struct check *x, int status, bool tls) {
    if (status == ERR_REFUSED)
        HINT(x, "check clickhouse.user and the password (CH_USER, CH_PASSWORD), and what that user "
                "may do");
    else if (status == ERR_CONFIG)
        HINT(x, "mend clickhouse.tls: ca_file is a PEM file that souk's user may read");
    else if (strstr(x->what, "TLS") != NULL)
        HINT(x, "mend clickhouse.tls (ca_file, server_name), or the port: 9440 as a rule with TLS");
    else
        HINT(x, "start it, or mend clickhouse.host, hosts and port (the native protocol, %s)",
             tls ? "9440 with TLS as a rule" : "9000 as a rule");
}

static bool check_connection(uv_loop_t *loop, const struct store_options *options,
                             const char *where, struct server *server, struct checks *c) {
    struct store_options any = *options;
    struct err e = {0};
    any.database = "default"; /* Ours may not be there yet. */
    int64_t before_ms = now_ms();
    int status = store__ask(loop, &any,
                            "SELECT version(), toUnixTimestamp64Milli(now64(3)), "
                            "(SELECT toString(min(free_space)) FROM system.disks)",
                            on_server, server, &e);
    server->asked_ms = before_ms + (now_ms() - before_ms) / 2;
    bool ours = status == ERR_REFUSED || status == ERR_CONFIG;
    struct check *x = add(c, "clickhouse.connect", status == 0 ? CHECK_OK : CHECK_FAIL,
                          ours ? EXIT_CONFIG : EXIT_UNAVAILABLE);
    if (status == 0) {
        WHAT(x, "%.100s answers user %.60s%s", where, options->user,
             !options->tls.enabled   ? ""
             : options->tls.insecure ? " over TLS, its certificate not verified"
                                     : " over TLS");
        return true;
    }
    say(x, &e);
    hint_at_connection(x, status, options->tls.enabled);
    return false;
}

/* Each host of the list by itself: souk takes the first that answers, so that one which is down is
 * a warning, unless all are. @return whether any answers; @server is the first that does. */
static bool check_hosts(uv_loop_t *loop, const struct store_options *options, struct server *server,
                        struct checks *c) {
    size_t first = c->n;
    bool any = false;
    for (size_t i = 0; i < options->n_hosts; i++) {
        struct store_options one = *options;
        struct server other = {.free_bytes = UINT64_MAX}; /* Only of the first it is asked more. */
        one.hosts = &options->hosts[i];
        one.n_hosts = 1;
        any |= check_connection(loop, &one, options->hosts[i], any ? &other : server, c);
    }
    for (size_t i = first; any && i < c->n; i++)
        if (c->items[i].result == CHECK_FAIL && c->items[i].exit_code == EXIT_UNAVAILABLE) {
            c->items[i].result = CHECK_WARN;
            c->items[i].exit_code = 0;
        }
    return any;
}

static bool check_clickhouse(uv_loop_t *loop, const struct store_options *options,
                             struct server *server, struct checks *c) {
    char where[320];
    if (options->n_hosts > 0) return check_hosts(loop, options, server, c);
    snprintf(where, sizeof where, "%.250s:%u", options->host, options->port);
    return check_name(c, "clickhouse.dns", options->host) &&
           check_connection(loop, options, where, server, c);
}

static void check_server(const struct server *s, struct checks *c) {
    struct check *x = add(c, "clickhouse.version", s->is_old ? CHECK_FAIL : CHECK_OK, EXIT_CONFIG);
    WHAT(x, "ClickHouse %s, %d.%d or newer is needed", s->version, STORE_VERSION_FLOOR_MAJOR,
         STORE_VERSION_FLOOR_MINOR);
    if (s->is_old) HINT(x, "upgrade the server");
    int64_t skew_ms = s->now_ms - s->asked_ms;
    bool skewed = llabs(skew_ms) > SKEW_WARN_MS;
    x = add(c, "clickhouse.clock", skewed ? CHECK_WARN : CHECK_OK, 0);
    WHAT(x, "its clock is %+.3f s from ours", (double)skew_ms / 1000);
    if (skewed)
        HINT(x,
             "freshness is computed there and rows are timed here, and rows that its clock takes "
             "for older than their TTL are held: run NTP on both");
    if (s->free_bytes == UINT64_MAX) return;
    bool low = s->free_bytes < SERVER_DISK_WARN_BYTES;
    x = add(c, "clickhouse.disk", low ? CHECK_WARN : CHECK_OK, 0);
    WHAT(x, "%" PRIu64 " MiB free", s->free_bytes >> 20);
    if (low) HINT(x, "inserts fail when it is full, and wait in the spool: make room there");
}

/* The first line of a statement; the rest is in schema diff. */
static void check_schema(uv_loop_t *loop, const struct store_options *options, struct checks *c) {
    struct schema_diff diff;
    struct err e = {0};
    int status = schema__diff(loop, options, &diff, &e);
    if (status != 0) {
        struct check *x = add(c, "clickhouse.schema", CHECK_FAIL,
                              status == ERR_REFUSED ? EXIT_CONFIG : exit_code_of(status));
        say(x, &e);
        HINT(x, "the user must be able to read system.tables and system.columns");
        return;
    }
    bool window = false;
    for (size_t i = 0; i < diff.n; i++) {
        const struct schema_difference *d = &diff.items[i];
        bool minor =
            !d->harmful || (d->kind == SCHEMA_WINDOW && options->delivery == STORE_AT_LEAST_ONCE);
        char name[64];
        window |= d->kind == SCHEMA_WINDOW;
        snprintf(name, sizeof name, "clickhouse.%s", schema_kind__text(d->kind));
        struct check *x = add(c, name, minor ? CHECK_WARN : CHECK_FAIL, EXIT_CONFIG);
        WHAT(x, "%s%s%.180s", d->table, d->table[0] == '\0' ? "" : ": ", d->what);
        if (d->kind == SCHEMA_WINDOW && !minor)
            HINT(x, "souk run inserts nothing in exactly-once mode until it has one: %.200s",
                 d->statement);
        else
            HINT(x, d->additive ? "souk schema apply --yes" : "souk schema diff has the statement");
    }
    if (diff.n == 0) {
        struct check *x = add(c, "clickhouse.schema", CHECK_OK, 0);
        WHAT(x, "database %s has all tables, as they should be", options->database);
    }
    if (!window && diff.n == 0) {
        struct check *x = add(c, "clickhouse.deduplication_window", CHECK_OK, 0);
        WHAT(x, "every table has its window: a repeated insert is stored once");
    }
    schema_diff__fini(&diff);
}

/* Whether the hosts that answer are replicas of one another. Where they are not, a batch that may
 * be at one of them waits for it when another takes over. */
static void check_places(uv_loop_t *loop, const struct store_options *options, struct checks *c) {
    static char first[STORE_TABLES_MAX][STORE_PLACE_MAX], other[STORE_TABLES_MAX][STORE_PLACE_MAX];
    const char *first_host = NULL;
    for (size_t i = 0; i < options->n_hosts; i++) {
        struct store_options one = *options;
        struct err e = {0};
        one.hosts = &options->hosts[i];
        one.n_hosts = 1;
        if (store__places(loop, &one, first_host == NULL ? first : other, &e) != 0) continue;
        if (first_host == NULL) {
            first_host = options->hosts[i];
            continue;
        }
        const char *apart = NULL;
        for (size_t k = 0; k < options->n_tables && apart == NULL; k++)
            if (strcmp(first[k], other[k]) != 0) apart = options->tables[k]->name;
        struct check *x = add(c, "clickhouse.replicas", apart == NULL ? CHECK_OK : CHECK_WARN, 0);
        if (apart == NULL) {
            bool same =
                strncmp(first[0], "replicas:", 9) != 0 && strncmp(first[0], "shared:", 7) != 0;
            WHAT(x, "%.60s and %.60s are %s", first_host, options->hosts[i],
                 same ? "the same server" : "replicas of one another");
            continue;
        }
        WHAT(x, "%.60s and %.60s are strangers: their %.60s are not replicas of one another",
             first_host, options->hosts[i], apart);
        HINT(x, "nothing is stored twice, but after a failover rows are spread over both, and what "
                "may be at the one waits for it: use Replicated tables, or one host");
    }
}

void check_env__run(struct settings *settings, struct checks *out) {
    struct store_options options;
    struct server server = {.free_bytes = UINT64_MAX};
    uv_loop_t loop;
    *out = (struct checks){0};
    check_state_dir(settings->config, out);
    check_lock(settings->config, out);
    check_disk(settings->config, out);
    check_login(settings, out);
    app__store_options(settings->config, &options);
    uv_loop_init(&loop);
    if (check_clickhouse(&loop, &options, &server, out)) {
        check_server(&server, out);
        check_schema(&loop, &options, out);
        check_places(&loop, &options, out);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    check_upstreams(settings, out);
}
