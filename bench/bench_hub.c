/* How long an alert takes from a command to the clients that follow, and what a client costs.
 *
 *     bench_hub [COMMANDS] [CLIENTS]…          (200, and 10 100 1000 2000)
 *
 * For each number of clients a process serves the hub, its loop turned as souk run turns it and its
 * log synced by a thread without a disk; then another serves the same frames as plainly as libuv
 * can: no queue, no protocol, one write a client. Here are the clients: a tenth of them stop
 * reading. One sends command after command, each once the last was received and the server sleeps
 * again. Times are from the command to each receipt, and contain this process's turn. */
#include "raw_disk.h"
#include "souk/core/clock.h"
#include "souk/hub.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOW_EVERY 10 /* One of so many does not read. */
#define JOINING_MAX 64
#define PAUSE_MS 5
#define PATIENCE_NS (20 * NS_PER_S) /* Without any receipt. */
#define ID_BYTES 64

struct served { /* What a server tells of itself. */
    uint16_t port;
    char alert[ID_BYTES]; /* That commands are about. */
};

/* --- The hub --- */

struct log_entry {
    uv_work_t work;
    alerts_synced_cb synced;
    void *data;
};

static void on_sync(uv_work_t *work) { (void)work; }
static void on_synced(uv_work_t *work, int status) {
    struct log_entry *l = work->data;
    (void)status;
    l->synced(l->data, 0);
    free(l);
}
static int append(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    struct log_entry *l = malloc(sizeof *l);
    (void)json;
    if (l == NULL) return ERR_NOMEM;
    *l = (struct log_entry){.synced = synced, .data = data};
    l->work.data = l;
    return uv_queue_work(ctx, &l->work, on_sync, on_synced);
}

static void find_alert(struct alerts *a, struct served *out) {
    struct buf list = buf__init(1 << 20);
    alerts__list(a, SLICE_LIT("firing"), &list);
    char *at = list.len == 0 ? NULL : memmem(list.base, list.len, "\"id\":\"", 6);
    for (size_t i = 0; at != NULL && i + 1 < ID_BYTES && at[6 + i] != '"'; i++)
        out->alert[i] = at[6 + i];
    buf__fini(&list);
}

static void serve_hub(int tell_fd, size_t n_clients) {
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    struct hub *hub;
    struct err e = {0};
    struct served served = {0};
    uv_loop_init(&loop);
    clock__read(&clock);
    metrics__init(&metrics);
    struct alerts_options alerts_options = {.ctx = &loop, .append = append};
    struct hub_options options = {.clients_max = n_clients + 64,
                                  .clients_per_ip_max = n_clients + 64,
                                  .handshakes_per_s = 1e6,
                                  .messages_per_s = 1e6,
                                  .open_to_local = true};
    if (alerts__open(&alerts, &clock, &metrics, &alerts_options, &e) != 0 ||
        hub__open(&hub, &loop, &clock, &metrics, alerts, &options, &e) != 0) {
        fprintf(stderr, "bench_hub: %s\n", e.msg);
        _exit(1);
    }
    struct alert_signal signal = {.class = "bench", .sev = ALERT_WARNING, .title = "A bench runs"};
    alerts__raise(alerts, &signal);
    served.port = hub__port(hub);
    for (bool told = false;;) { /* Until it is ended. */
        struct pollfd fd = {.fd = uv_backend_fd(&loop), .events = POLLIN};
        poll(&fd, 1, uv_backend_timeout(&loop));
        clock__read(&clock);
        uv_run(&loop, UV_RUN_NOWAIT);
        if (told) continue;
        find_alert(alerts, &served);
        told = served.alert[0] != '\0';
        if (told && write(tell_fd, &served, sizeof served) != sizeof served) _exit(1);
    }
}

/* --- The same frames without a hub --- */

struct raw_client {
    uv_tcp_t tcp;
    bool upgraded, live;
    struct raw_client *next;
};
static struct {
    uv_loop_t loop;
    struct raw_client *clients;
    char chunk[65536];
    char event[65536];
    size_t event_bytes;
} raw;

static void raw_write(struct raw_client *c, const char *bytes, size_t n) {
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n);
    (void)uv_try_write((uv_stream_t *)&c->tcp, &buf, 1); /* Who does not read goes without. */
}
static void on_raw_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out) {
    (void)handle;
    (void)size;
    *out = uv_buf_init(raw.chunk, sizeof raw.chunk);
}
static void on_raw_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes) {
    static const char ok[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    struct raw_client *c = (struct raw_client *)stream;
    (void)bytes;
    if (n < 0) {
        uv_read_stop(stream);
    } else if (!c->upgraded) {
        c->upgraded = true;
        raw_write(c, ok, sizeof ok - 1);
    } else if (!c->live) {
        c->live = true;
        raw_write(c, "\x81\x0c{\"t\":\"live\"}", 14);
    } else {
        for (struct raw_client *o = raw.clients; o != NULL; o = o->next)
            raw_write(o, raw.event, raw.event_bytes);
    }
}
static void on_raw_connection(uv_stream_t *listener, int status) {
    struct raw_client *c = status == 0 ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) return;
    uv_tcp_init(listener->loop, &c->tcp);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) return;
    uv_tcp_nodelay(&c->tcp, 1);
    c->next = raw.clients;
    raw.clients = c;
    uv_read_start((uv_stream_t *)&c->tcp, on_raw_alloc, on_raw_read);
}
static void serve_raw(int tell_fd, size_t event_bytes) {
    static uv_tcp_t listener;
    struct sockaddr_in at;
    struct served served = {0};
    int len = sizeof at;
    raw.event_bytes = event_bytes;
    memset(raw.event, ' ', event_bytes);
    memcpy(raw.event, "\x81\x7e", 2);
    raw.event[2] = (char)((event_bytes - 4) >> 8);
    raw.event[3] = (char)((event_bytes - 4) & 0xff);
    memcpy(raw.event + 4, "{\"t\":\"ev\",", 10);
    uv_loop_init(&raw.loop);
    uv_tcp_init(&raw.loop, &listener);
    uv_ip4_addr("127.0.0.1", 0, &at);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&at, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, 4096, on_raw_connection) != 0 ||
        uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len) != 0)
        _exit(1);
    served.port = ntohs(at.sin_port);
    if (write(tell_fd, &served, sizeof served) != sizeof served) _exit(1);
    uv_run(&raw.loop, UV_RUN_DEFAULT);
    _exit(1);
}

/* --- The clients --- */

struct client {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct run *run;
    bool slow, upgraded, live, ended;
    unsigned n_end; /* Bytes seen of the empty line behind the handshake's answer. */
    unsigned char head[10];
    unsigned n_head;
    size_t left; /* Of the payload. */
    char kind[10];
    unsigned n_kind;
    bool in_payload;
};

struct run {
    uv_loop_t loop;
    pid_t server;
    struct served served;
    struct client *clients;
    size_t n_clients, n_asked, n_live, n_fast, n_ended;
    size_t n_commands, n_got; /* Receipts of the last one. */
    int64_t said_ns, *took_ns;
    size_t n_took;
    size_t event_bytes;
};

struct figures {
    double p50_ms, p99_ms, cpu_us, kib;
};

static void fail(const char *what) {
    fprintf(stderr, "bench_hub: %s\n", what);
    exit(1);
}

static void say(struct client *c, const char *text) {
    char frame[512];
    size_t n = strlen(text), at = 2;
    frame[0] = (char)0x81;
    frame[1] = (char)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) frame[at++] = (char)(n >> 8), frame[at++] = (char)(n & 0xff);
    memset(frame + at, 0, 4); /* A mask that changes nothing. */
    memcpy(frame + at + 4, text, n);
    uv_buf_t buf = uv_buf_init(frame, (unsigned)(at + 4 + n));
    if (uv_try_write((uv_stream_t *)&c->tcp, &buf, 1) != (int)buf.len) fail("cannot write");
}

static void on_frame(struct client *c, size_t bytes) {
    struct run *r = c->run;
    if (memcmp(c->kind, "{\"t\":\"live", 10) == 0) {
        c->live = true;
        r->n_live++;
        if (c->slow) uv_read_stop((uv_stream_t *)&c->tcp);
    } else if (memcmp(c->kind, "{\"t\":\"ev\",", 10) == 0 && r->n_commands > 0) {
        r->took_ns[r->n_took++] = clock__stopwatch_ns() - r->said_ns;
        r->n_got++;
        r->event_bytes = bytes;
    }
}

static size_t head_size(const struct client *c) {
    unsigned len = c->n_head < 2 ? 0 : c->head[1];
    return len == 126 ? 4 : len == 127 ? 10 : 2;
}

static void on_bytes(struct client *c, const char *p, size_t n) {
    static const char end[] = "\r\n\r\n";
    while (n > 0) {
        if (!c->upgraded) {
            c->n_end = *p == end[c->n_end] ? c->n_end + 1 : *p == '\r';
            p++, n--;
            if (c->n_end < 4) continue;
            c->upgraded = true;
            say(c, "{\"t\":\"hello\",\"id\":1}");
        } else if (!c->in_payload) {
            c->head[c->n_head++] = (unsigned char)*p;
            p++, n--;
            if (c->n_head < head_size(c)) continue;
            c->left = head_size(c) == 2 ? c->head[1] : 0;
            for (size_t i = 2; i < head_size(c); i++) c->left = c->left << 8 | c->head[i];
            c->in_payload = c->left > 0;
            c->n_kind = 0;
            if (!c->in_payload) c->n_head = 0;
        } else {
            size_t take = n < c->left ? n : c->left;
            for (size_t i = 0; i < take && c->n_kind < sizeof c->kind; i++)
                c->kind[c->n_kind++] = p[i];
            p += take, n -= take, c->left -= take;
            if (c->left > 0) continue;
            size_t bytes = head_size(c);
            for (size_t i = 2, len = 0; i <= head_size(c); i++) {
                if (i == head_size(c)) bytes += i == 2 ? c->head[1] : len;
                else len = len << 8 | c->head[i];
            }
            on_frame(c, bytes);
            c->in_payload = false;
            c->n_head = 0;
        }
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out) {
    static char chunk[65536];
    (void)handle;
    (void)size;
    *out = uv_buf_init(chunk, sizeof chunk);
}
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes) {
    struct client *c = stream->data;
    if (n >= 0) {
        on_bytes(c, bytes->base, (size_t)n);
        return;
    }
    uv_read_stop(stream);
    c->ended = true;
    c->run->n_ended++;
}
static void on_connect(uv_connect_t *connect, int status) {
    static const char ask[] =
        "GET /ws/alerts HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: alerts.v1\r\n\r\n";
    struct client *c = connect->data;
    if (status != 0) fail(uv_strerror(status));
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)ask, sizeof ask - 1);
    if (uv_try_write((uv_stream_t *)&c->tcp, &buf, 1) != (int)buf.len) fail("cannot write");
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static void ask_one(struct run *r) {
    struct client *c = &r->clients[r->n_asked];
    struct sockaddr_in at;
    uv_os_fd_t fd;
    int little = 4096;
    c->run = r;
    c->slow = r->n_asked % SLOW_EVERY == SLOW_EVERY - 1;
    r->n_fast += !c->slow;
    uv_tcp_init_ex(&r->loop, &c->tcp, AF_INET);
    if (c->slow && uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    c->tcp.data = c->connect.data = c;
    uv_ip4_addr("127.0.0.1", r->served.port, &at);
    int code = uv_tcp_connect(&c->connect, &c->tcp, (struct sockaddr *)&at, on_connect);
    if (code != 0) fail(uv_strerror(code));
    r->n_asked++;
}

static void on_pause(uv_timer_t *timer) { *(bool *)timer->data = true; }
static void pause_for(struct run *r, uint64_t ms) {
    static uv_timer_t timer;
    bool over = false;
    uv_timer_init(&r->loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_pause, ms, 0);
    while (!over) uv_run(&r->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

/* Polls now and then, so that a server that says nothing is noticed. */
static void await(struct run *r, const size_t *count, size_t want) {
    static uv_timer_t timer;
    bool waste;
    int64_t since_ns = clock__stopwatch_ns();
    uv_timer_init(&r->loop, &timer);
    timer.data = &waste;
    uv_timer_start(&timer, on_pause, 1000, 1000);
    while (*count < want) {
        uv_run(&r->loop, UV_RUN_ONCE);
        if (clock__stopwatch_ns() - since_ns > PATIENCE_NS) fail("the server does not answer");
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

static int64_t cpu_ns_of(pid_t pid) {
    clockid_t id;
    struct timespec t;
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &t) != 0) fail("no CPU clock");
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}
static double rss_kib(pid_t pid) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%*s %ld", &pages) != 1) fail("no /proc/PID/statm");
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static void start_server(struct run *r, size_t n_clients, size_t event_bytes) {
    int fds[2];
    if (pipe(fds) != 0) fail("no pipe");
    r->server = fork();
    if (r->server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* It serves for ever, and the other may fail. */
        close(fds[0]);
        if (event_bytes == 0) serve_hub(fds[1], n_clients);
        else serve_raw(fds[1], event_bytes);
    }
    close(fds[1]);
    if (r->server < 0 || read(fds[0], &r->served, sizeof r->served) != sizeof r->served)
        fail("the server does not start");
    close(fds[0]);
}

static void close_client(uv_handle_t *handle, void *arg) {
    (void)arg;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* @event_bytes: 0 for the hub; the length of its frames for the other. @return that length. */
static size_t measure(size_t n_clients, size_t n_commands, size_t event_bytes,
                      struct figures *out) {
    struct run r = {.n_clients = n_clients};
    start_server(&r, n_clients, event_bytes); /* Before there is a loop here. */
    uv_loop_init(&r.loop);
    r.clients = calloc(n_clients, sizeof *r.clients);
    r.took_ns = calloc(n_clients * n_commands, sizeof *r.took_ns);
    if (r.clients == NULL || r.took_ns == NULL) fail("out of memory");
    ask_one(&r); /* What the first one makes is not the price of the others. */
    await(&r, &r.n_live, 1);
    double kib = rss_kib(r.server);
    while (r.n_asked < n_clients) {
        for (size_t i = 0; i < JOINING_MAX && r.n_asked < n_clients; i++) ask_one(&r);
        await(&r, &r.n_live, r.n_asked);
    }
    pause_for(&r, 300);
    out->kib = (rss_kib(r.server) - kib) / (double)(n_clients - 1);
    int64_t cpu_ns = cpu_ns_of(r.server);
    for (size_t i = 0; i < n_commands; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"t\":\"cmd\",\"id\":%zu,\"key\":\"key-of-the-bench-%zu\",\"op\":\"ack\","
                 "\"args\":{\"alert\":\"%s\"}}",
                 i, i, r.served.alert);
        r.n_commands++;
        r.n_got = 0;
        r.said_ns = clock__stopwatch_ns();
        say(&r.clients[0], text);
        await(&r, &r.n_got, r.n_fast);
        pause_for(&r, PAUSE_MS);
    }
    sort_times(r.took_ns, r.n_took);
    out->p50_ms = (double)percentile(r.took_ns, r.n_took, 50) / 1e6;
    out->p99_ms = (double)percentile(r.took_ns, r.n_took, 99) / 1e6;
    out->cpu_us = (double)(cpu_ns_of(r.server) - cpu_ns) / 1e3 / (double)(n_commands * n_clients);
    if (r.n_ended > 0) fail("a client that reads was closed");
    kill(r.server, SIGKILL);
    waitpid(r.server, NULL, 0);
    uv_walk(&r.loop, close_client, NULL);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    uv_loop_close(&r.loop);
    free(r.clients);
    free(r.took_ns);
    return r.event_bytes;
}

static void print_line(const char *what, size_t n_clients, const struct figures *f) {
    printf("%-4s %5zu clients   command to receipt p50 %7.2f ms  p99 %7.2f ms   %6.2f us of CPU a "
           "message   %6.1f KiB a client\n",
           what, n_clients, f->p50_ms, f->p99_ms, f->cpu_us, f->kib);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const size_t usual[] = {10, 100, 1000, 2000};
    struct rlimit limit;
    long n_commands = argc > 1 ? atol(argv[1]) : 200;
    size_t n_sizes = argc > 2 ? (size_t)argc - 2 : sizeof usual / sizeof *usual;
    signal(SIGPIPE, SIG_IGN);
    if (n_commands < 1 || n_commands > 5000) fail("COMMANDS is 1 to 5000");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (size_t i = 0; i < n_sizes; i++) {
        long n = argc > 2 ? atol(argv[2 + i]) : (long)usual[i];
        struct figures hub, plain;
        if (n < 2 || n > 5000) fail("CLIENTS is 2 to 5000");
        size_t event_bytes = measure((size_t)n, (size_t)n_commands, 0, &hub);
        print_line("hub", (size_t)n, &hub);
        measure((size_t)n, (size_t)n_commands, event_bytes, &plain);
        print_line("raw", (size_t)n, &plain);
        printf("     %5ld clients   hub : raw p50 %.2f, p99 %.2f, CPU %.2f   frames of %zu B\n", n,
               hub.p50_ms / plain.p50_ms, hub.p99_ms / plain.p99_ms, hub.cpu_us / plain.cpu_us,
               event_bytes);
    }
    return 0;
}
