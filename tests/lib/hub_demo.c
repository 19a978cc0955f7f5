/* A hub and an alerts room on their own, driven by lines on standard input, for tests of the wire:
 *
 *     raise CLASS SEV TITLE    clear CLASS    flag NAME CLASS 0|1    burst N    tick
 *     skip SECONDS             (moves the clocks forward)
 *     break / mend             (the log fails / works again)
 *     epoch                    quit
 *     fds N                    (holds N descriptors, as another room would)
 *
 *     hub_demo [--port N] [--token NAME:TOKEN:rw]… [--log FILE] [--per-ip N] [--handshakes N]
 *              [--local yes|no] [--clients N] [--metrics guarded]
 *
 * Each command is answered with a line "ok". The log is a file of JSON lines; it is read back at
 * the start. The dashboard's assets are the embedded ones. */
#include "souk/alerts.h"
#include "souk/hub.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct demo {
    uv_loop_t loop;
    struct clock clock;
    int64_t skipped_ns;
    struct metrics metrics;
    struct alerts *alerts;
    struct hub *hub;
    uv_timer_t tick;
    uv_pipe_t in;
    char line[65536];
    size_t n_line;
    FILE *log;
    bool broken, quitting;
    unsigned n_burst;
    int fds[1024], n_fds;
};

static void read_clock(struct demo *d) {
    clock__read(&d->clock);
    d->clock.mono_ns += d->skipped_ns;
    d->clock.wall_ns += d->skipped_ns;
}
static void on_tick(uv_timer_t *t) { alerts__tick(((struct demo *)t->data)->alerts); }

static int append(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    struct demo *d = ctx;
    if (d->broken) return ERR_IO;
    if (d->log != NULL) {
        fprintf(d->log, "%.*s\n", SLICE_FMT(json));
        fflush(d->log);
    }
    synced(data, 0);
    return 0;
}

static void restore(struct demo *d, const char *path) {
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    struct err e;
    while (f != NULL && (n = getline(&line, &cap, f)) > 0)
        if (alerts__restore(d->alerts, slice__of(line, (size_t)n - 1), &e) != 0)
            fprintf(stderr, "%s\n", e.msg);
    free(line);
    if (f != NULL) fclose(f);
    d->log = fopen(path, "a");
}

static void status_json(void *ctx, struct buf *out) {
    struct demo *d = ctx;
    buf__printf(out, "{\"version\":\"%s\",\"alerts\":%llu}", SOUK_VERSION,
                (unsigned long long)alerts__top(d->alerts));
}
static bool ready(void *ctx, struct buf *why) {
    struct demo *d = ctx;
    if (d->broken) buf__append_str(why, "the log is broken");
    return !d->broken;
}

static void on_closed(void *data) {
    struct demo *d = data;
    uv_close((uv_handle_t *)&d->tick, NULL);
    uv_close((uv_handle_t *)&d->in, NULL);
}

static void raise_one(struct demo *d, const char *class, const char *sev, const char *title) {
    struct alert_label label = {"service", class};
    struct alert_why why = {"lag_s", ">", 20, 34};
    struct alert_signal s = {.class = class,
                             .title = title,
                             .body = "Raised by a test.",
                             .sev = strcmp(sev, "critical") == 0  ? ALERT_CRITICAL
                                    : strcmp(sev, "warning") == 0 ? ALERT_WARNING
                                                                  : ALERT_INFO,
                             .labels = &label,
                             .n_labels = 1,
                             .why = &why,
                             .n_why = 1};
    alerts__raise(d->alerts, &s);
}

static void quit(struct demo *d) {
    if (d->quitting) return;
    d->quitting = true;
    hub__close(d->hub, on_closed, d);
}

static void hold_descriptors(struct demo *d, int n) {
    while (d->n_fds > 0) close(d->fds[--d->n_fds]);
    for (int fd = 0; d->n_fds < n && d->n_fds < 1024 && fd >= 0;)
        if ((fd = dup(1)) >= 0) d->fds[d->n_fds++] = fd;
}

static void run_line(struct demo *d, char *line) {
    char a[64] = "", b[64] = "", c[512] = "";
    read_clock(d);
    if (sscanf(line, "raise %63s %63s %511[^\n]", a, b, c) == 3) raise_one(d, a, b, c);
    else if (sscanf(line, "clear %63s", a) == 1)
        alerts__clear(d->alerts, a, &(struct alert_label){"service", a}, 1);
    else if (sscanf(line, "flag %63s %63s %63s", a, b, c) == 3)
        alerts__flag(d->alerts, a, b, c[0] == '1', 0);
    else if (sscanf(line, "burst %63s", a) == 1) {
        for (int i = 0; i < atoi(a); i++) {
            snprintf(b, sizeof b, "burst_%u", d->n_burst++ % 4000);
            raise_one(d, b, i % 2 == 0 ? "warning" : "critical", "A burst of alerts, one of many");
        }
    } else if (sscanf(line, "skip %63s", a) == 1) {
        d->skipped_ns += atoi(a) * NS_PER_S;
        read_clock(d);
    } else if (strcmp(line, "tick") == 0) alerts__tick(d->alerts);
    else if (strcmp(line, "break") == 0) d->broken = true;
    else if (strcmp(line, "mend") == 0) d->broken = false;
    else if (strcmp(line, "epoch") == 0)
        printf("%s %llu\n", alerts__epoch(d->alerts), (unsigned long long)alerts__top(d->alerts));
    else if (sscanf(line, "fds %63s", a) == 1) hold_descriptors(d, atoi(a));
    else if (strcmp(line, "quit") == 0) quit(d);
    printf("ok\n");
    fflush(stdout);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
    struct demo *d = handle->data;
    (void)size;
    *buf = uv_buf_init(d->line + d->n_line, (unsigned)(sizeof d->line - 1 - d->n_line));
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct demo *d = stream->data;
    (void)buf;
    if (n < 0) {
        uv_read_stop(stream);
        quit(d);
        return;
    }
    d->n_line += (size_t)n;
    d->line[d->n_line] = '\0';
    for (char *end; (end = strchr(d->line, '\n')) != NULL;) {
        *end = '\0';
        run_line(d, d->line);
        d->n_line -= (size_t)(end + 1 - d->line);
        memmove(d->line, end + 1, d->n_line + 1);
    }
}

/* As souk run does it: asleep outside of uv_run, then one clock for all of a turn. */
static void turn(struct demo *d) {
    struct pollfd fd = {.fd = uv_backend_fd(&d->loop), .events = POLLIN};
    poll(&fd, 1, uv_backend_timeout(&d->loop));
    read_clock(d);
    uv_run(&d->loop, UV_RUN_NOWAIT);
}

static void fail(const struct err *e) {
    fprintf(stderr, "hub_demo: %s\n", e->msg);
    exit(1);
}

static void take_args(int argc, char **argv, struct hub_options *o, struct hub_token *tokens,
                      const char **log) {
    const char *local = NULL; /* Unless it is said: this machine may ask when there is no token. */
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0) o->port = (uint16_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--log") == 0) *log = argv[i + 1];
        else if (strcmp(argv[i], "--per-ip") == 0)
            o->clients_per_ip_max = (size_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--handshakes") == 0) o->handshakes_per_s = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--local") == 0) local = argv[i + 1];
        else if (strcmp(argv[i], "--clients") == 0) o->clients_max = (size_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--metrics") == 0) o->guard_metrics = true;
        else if (strcmp(argv[i], "--token") == 0 && o->n_tokens < 4) {
            struct hub_token *t = &tokens[o->n_tokens++];
            t->name = strtok(argv[i + 1], ":");
            t->token = strtok(NULL, ":");
            t->write = strcmp(strtok(NULL, ":"), "rw") == 0;
        }
    }
    o->tokens = tokens;
    if (local == NULL) o->open_to_local = o->n_tokens == 0;
    else o->open_to_local = strcmp(local, "yes") == 0;
}

int main(int argc, char **argv) {
    static struct demo d;
    struct err e = {0};
    const char *log = NULL;
    struct hub_token tokens[4] = {0};
    struct hub_options options = {.ctx = &d, .status_json = status_json, .ready = ready};
    struct alerts_options alerts_options = {.ctx = &d, .append = append};
    take_args(argc, argv, &options, tokens, &log);
    uv_loop_init(&d.loop);
    read_clock(&d);
    metrics__init(&d.metrics);
    if (alerts__open(&d.alerts, &d.clock, &d.metrics, &alerts_options, &e) != 0) fail(&e);
    if (log != NULL) restore(&d, log);
    if (hub__open(&d.hub, &d.loop, &d.clock, &d.metrics, d.alerts, &options, &e) != 0) fail(&e);
    d.tick.data = d.in.data = &d;
    uv_timer_init(&d.loop, &d.tick);
    uv_timer_start(&d.tick, on_tick, 200, 200);
    uv_pipe_init(&d.loop, &d.in, 0);
    uv_pipe_open(&d.in, 0);
    uv_read_start((uv_stream_t *)&d.in, on_alloc, on_input);
    printf("port %u\n", hub__port(d.hub));
    fflush(stdout);
    while (uv_loop_alive(&d.loop)) turn(&d);
    alerts__free(d.alerts);
    metrics__fini(&d.metrics);
    if (d.log != NULL) fclose(d.log);
    return uv_loop_close(&d.loop) == 0 ? 0 : 1;
}
