/*
 * souk-clickhouse: runs the embedded ClickHouse and keeps it running.
 *
 * The happy path: lock the folder, check that the ports are free, start the engine, say `ready` on
 * standard output once the engine has answered a hello, wait for SIGTERM or SIGINT, end the engine,
 * exit 0. An engine that dies is started again after a growing pause; five deaths in half a minute
 * are too many (exit 1).
 *
 * Exit codes: 0 asked to end; 1 failed; 64 wrong usage; 69 no library; 75 the folder is in use.
 */
#include "engine.h"
#include "probe.h"
#include "workdir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 64,
    PROBE_GAP_MS = 50,
    PROBE_LIMIT_MS = 1000,   /* One attempt. */
    START_LIMIT_MS = 120000, /* From fork to hello; a cold disk reads half a gigabyte. */
    STOP_LIMIT_MS = 10000,   /* From SIGTERM to SIGKILL. */
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    DEATHS_MAX = 5, /* Within the window below. */
    DEATHS_WINDOW_MS = 30000,
};

struct options {
    const char *path, *library, *listen_host;
    int tcp_port, http_port;
    bool http, quiet, may_connect;
};

enum state { STATE_STARTING, STATE_READY, STATE_PAUSING, STATE_STOPPING };

struct launcher {
    struct options options;
    struct workdir dir;
    struct engine engine;
    struct probe probe;
    enum state state;
    char library[PATH_MAX];
    struct sockaddr_storage address; /* Of the native port. */
    socklen_t address_bytes;
    int signal_fd;
    int64_t started_ms, probed_ms; /* Of this engine; of the attempt under way or last made. */
    int64_t due_ms;                /* When to start again (pausing), to kill (stopping). */
    int64_t backoff_ms;
    int64_t death_ms[DEATHS_MAX]; /* The last deaths, a ring. */
    unsigned n_deaths;
    int exit_code;
    bool killed; /* SIGKILL has been sent. */
};

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("souk-clickhouse: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static void print_help(void) {
    puts("usage: souk-clickhouse --path DIR [options]\n"
         "\n"
         "Runs the embedded ClickHouse (libchdb) and keeps it running until SIGTERM or SIGINT.\n"
         "\n"
         "  --path DIR          folder of the data, the configuration, the lock, clickhouse.log "
         "and\n"
         "                      the password of the user souk (file password, made at the first "
         "start)\n"
         "  --tcp-port N        port of the native protocol (9000; 0 picks a free one)\n"
         "  --http-port N       port of HTTP (8123; 0 picks a free one)\n"
         "  --no-http           serve the native protocol only\n"
         "  --listen-host HOST  address to listen on (127.0.0.1); nothing is encrypted, so keep it "
         "on loopback\n"
         "  --allow-connect     let the engine connect to other hosts, as a cluster needs\n"
         "  --lib FILE          libchdb.so; else $SOUK_LIBCHDB, then the places where "
         "deploy/install puts it\n"
         "  --quiet             print no `ready` line\n"
         "  --help, --version");
}

static bool parse_port(const char *text, int *port) {
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0 || value > 65535) return false;
    *port = (int)value;
    return true;
}

/* @return -1 to go on, else the exit code. */
static int parse_options(struct options *o, int argc, char **argv) {
    enum {
        OPT_PATH = 256,
        OPT_TCP,
        OPT_HTTP,
        OPT_NO_HTTP,
        OPT_HOST,
        OPT_LIB,
        OPT_CONNECT,
        OPT_QUIET,
        OPT_HELP,
        OPT_VERSION
    };
    static const struct option table[] = {
        {"path", required_argument, NULL, OPT_PATH},
        {"tcp-port", required_argument, NULL, OPT_TCP},
        {"http-port", required_argument, NULL, OPT_HTTP},
        {"no-http", no_argument, NULL, OPT_NO_HTTP},
        {"listen-host", required_argument, NULL, OPT_HOST},
        {"lib", required_argument, NULL, OPT_LIB},
        {"allow-connect", no_argument, NULL, OPT_CONNECT},
        {"quiet", no_argument, NULL, OPT_QUIET},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {NULL, 0, NULL, 0},
    };
    *o = (struct options){
        .listen_host = "127.0.0.1", .tcp_port = 9000, .http_port = 8123, .http = true};
    for (int opt; (opt = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        bool ok = true;
        switch (opt) {
        case OPT_PATH: o->path = optarg; break;
        case OPT_TCP: ok = parse_port(optarg, &o->tcp_port); break;
        case OPT_HTTP: ok = parse_port(optarg, &o->http_port); break;
        case OPT_NO_HTTP: o->http = false; break;
        case OPT_HOST: o->listen_host = optarg; break;
        case OPT_LIB: o->library = optarg; break;
        case OPT_CONNECT: o->may_connect = true; break;
        case OPT_QUIET: o->quiet = true; break;
        case OPT_HELP: print_help(); return 0;
        case OPT_VERSION: puts("souk-clickhouse " SOUK_CLICKHOUSE_VERSION); return 0;
        default: return EXIT_USAGE; /* getopt has said why. */
        }
        if (!ok) {
            complain("%s: a port is a number from 0 to 65535", optarg);
            return EXIT_USAGE;
        }
    }
    if (o->path == NULL || optind != argc) {
        complain(o->path == NULL ? "--path is missing; see --help"
                                 : "unexpected argument; see --help");
        return EXIT_USAGE;
    }
    return -1;
}

/*
 * Binds @port once to see that it is free, and picks one when it is 0. Somebody else may take it
 * before the engine does; then the engine does not get ready, and its log says why.
 */
static int check_port(const char *host, int *port, struct sockaddr_storage *address,
                      socklen_t *address_bytes) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
    struct addrinfo *info = NULL;
    char service[8];
    snprintf(service, sizeof service, "%d", *port);
    int code = getaddrinfo(host, service, &hints, &info);
    if (code != 0) {
        complain("--listen-host %s: %s", host, gai_strerror(code));
        return EXIT_USAGE;
    }
    memcpy(address, info->ai_addr, info->ai_addrlen);
    *address_bytes = info->ai_addrlen;
    freeaddrinfo(info);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                 bind(fd, (struct sockaddr *)address, *address_bytes) == 0 && listen(fd, 1) == 0 &&
                 getsockname(fd, (struct sockaddr *)address, address_bytes) == 0;
    int error = errno;
    if (fd >= 0) close(fd);
    if (!bound) {
        complain("port %d of %s cannot be listened on: %s", *port, host, strerror(error));
        return 1;
    }
    in_port_t in_port = address->ss_family == AF_INET6 ? ((struct sockaddr_in6 *)address)->sin6_port
                                                       : ((struct sockaddr_in *)address)->sin_port;
    *port = ntohs(in_port);
    return 0;
}

/* The engine is asked where it can be reached: at the wildcard address that is loopback. */
static void aim_at_loopback(struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        if (in->sin_addr.s_addr == htonl(INADDR_ANY)) in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
        if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)) in6->sin6_addr = in6addr_loopback;
    }
}

static void start_engine(struct launcher *l) {
    l->started_ms = now_ms();
    l->probed_ms = 0;
    l->killed = false;
    l->state = STATE_STARTING;
    int code =
        engine__start(&l->engine, &(struct engine_options){.library = l->library,
                                                           .folder = l->dir.path,
                                                           .http = l->options.http,
                                                           .may_connect = l->options.may_connect});
    if (code == 0) return;
    complain("cannot start the engine: %s", strerror(-code));
    l->exit_code = 1;
}

static void begin_stop(struct launcher *l) {
    if (l->state == STATE_STOPPING) return;
    probe__stop(&l->probe);
    l->state = STATE_STOPPING;
    l->due_ms = now_ms() + STOP_LIMIT_MS;
    if (l->engine.pid != 0) kill(l->engine.pid, SIGTERM);
    else l->exit_code = 0;
}

static void drain_terminal(struct launcher *l) {
    char text[4096];
    ssize_t n;
    while (l->engine.terminal_fd >= 0 && (n = read(l->engine.terminal_fd, text, sizeof text)) > 0)
        workdir__log(&l->dir, text, (size_t)n);
}

/* What waitpid said, in words. */
static void describe_death(int status, char text[static 128]) {
    if (!WIFSIGNALED(status)) snprintf(text, 128, "exited with code %d", WEXITSTATUS(status));
    else if (WTERMSIG(status) == SIGILL)
        snprintf(text, 128, "died of an illegal instruction (it needs a processor with AVX2)");
    else
        snprintf(text, 128, "died of signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
}

static void on_death(struct launcher *l, int status) {
    drain_terminal(l);
    engine__forget(&l->engine);
    probe__stop(&l->probe);
    if (l->state == STATE_STOPPING) {
        l->exit_code = 0;
        return;
    }
    char text[128];
    describe_death(status, text);
    if (WIFEXITED(status) && WEXITSTATUS(status) == ENGINE_EXIT_NO_LIBRARY &&
        l->state == STATE_STARTING) {
        l->exit_code = ENGINE_EXIT_NO_LIBRARY; /* The child has said why. */
        return;
    }
    int64_t now = now_ms();
    if (now - l->started_ms > DEATHS_WINDOW_MS) l->backoff_ms = BACKOFF_MIN_MS;
    l->death_ms[l->n_deaths++ % DEATHS_MAX] = now;
    int64_t oldest =
        l->death_ms[l->n_deaths % DEATHS_MAX]; /* The one that the next death will overwrite. */
    if (l->n_deaths >= DEATHS_MAX && now - oldest <= DEATHS_WINDOW_MS) {
        complain("the engine %s: %d deaths in %d s, giving up; see %s", text, DEATHS_MAX,
                 DEATHS_WINDOW_MS / 1000, l->dir.log_file);
        l->exit_code = 1;
        return;
    }
    complain("the engine %s after %.1f s; starting again in %" PRId64 " ms", text,
             (double)(now - l->started_ms) / 1000, l->backoff_ms);
    l->state = STATE_PAUSING;
    l->due_ms = now + l->backoff_ms;
    l->backoff_ms = l->backoff_ms * 2 < BACKOFF_MAX_MS ? l->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void on_signal(struct launcher *l) {
    struct signalfd_siginfo info;
    while (read(l->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD) begin_stop(l);
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == l->engine.pid) on_death(l, status);
}

static void on_ready(struct launcher *l) {
    l->state = STATE_READY;
    if (!l->options.quiet) {
        printf("ready tcp=%s:%d", l->options.listen_host, l->options.tcp_port);
        if (l->options.http) printf(" http=%s:%d", l->options.listen_host, l->options.http_port);
        printf(" version=%s in %.2f s\n", l->probe.version,
               (double)(now_ms() - l->started_ms) / 1000);
        fflush(stdout);
    }
    probe__stop(&l->probe);
}

static void on_time(struct launcher *l) {
    int64_t now = now_ms();
    switch (l->state) {
    case STATE_STARTING:
        if (now - l->started_ms > START_LIMIT_MS && !l->killed) {
            complain("the engine did not answer within %d s; see %s", START_LIMIT_MS / 1000,
                     l->dir.log_file);
            l->killed = true;
            kill(l->engine.pid, SIGKILL);
        }
        if (now - l->probed_ms >= (l->probe.fd >= 0 ? PROBE_LIMIT_MS : PROBE_GAP_MS)) {
            l->probed_ms = now;
            probe__start(&l->probe, (struct sockaddr *)&l->address, l->address_bytes);
        }
        break;
    case STATE_PAUSING:
        if (now >= l->due_ms) start_engine(l);
        break;
    case STATE_STOPPING:
        if (now >= l->due_ms && !l->killed && l->engine.pid != 0) {
            complain("the engine did not end within %d s: killed", STOP_LIMIT_MS / 1000);
            l->killed = true;
            kill(l->engine.pid, SIGKILL);
        }
        break;
    case STATE_READY: break;
    }
}

static void turn(struct launcher *l) {
    struct pollfd fds[] = {
        {.fd = l->signal_fd, .events = POLLIN},
        {.fd = l->engine.terminal_fd, .events = POLLIN},
        {.fd = l->probe.fd, .events = probe__events(&l->probe)},
    };
    int timeout_ms = l->state == STATE_READY ? -1 : PROBE_GAP_MS;
    if (poll(fds, 3, timeout_ms) < 0 && errno != EINTR) {
        complain("poll: %s", strerror(errno));
        l->exit_code = 1;
        return;
    }
    if (fds[1].revents & POLLIN) drain_terminal(l);
    else if (fds[1].revents != 0) {
        close(l->engine.terminal_fd); /* Hung up: its death follows. */
        l->engine.terminal_fd = -1;
    }
    if (fds[2].revents != 0 && l->state == STATE_STARTING) {
        int answer = probe__step(&l->probe, WORKDIR_USER, l->dir.password);
        if (answer > 0) on_ready(l);
        if (answer < 0) probe__stop(&l->probe);
    }
    if (fds[0].revents != 0) on_signal(l);
    if (l->exit_code < 0) on_time(l);
}

static int prepare(struct launcher *l) {
    char error[512];
    if (!engine__find_library(l->options.library, l->library)) {
        complain("libchdb.so is not there%s%s: run deploy/install --run, or name it with --lib or "
                 "$SOUK_LIBCHDB",
                 l->options.library != NULL ? " as " : "",
                 l->options.library != NULL ? l->options.library : "");
        return ENGINE_EXIT_NO_LIBRARY;
    }
    int code = workdir__open(&l->dir, l->options.path, error);
    if (code != 0) {
        complain("%s", error);
        return code;
    }
    struct sockaddr_storage http_address;
    socklen_t http_bytes;
    code = check_port(l->options.listen_host, &l->options.tcp_port, &l->address, &l->address_bytes);
    if (code == 0 && l->options.http)
        code =
            check_port(l->options.listen_host, &l->options.http_port, &http_address, &http_bytes);
    if (code != 0) return code;
    aim_at_loopback(&l->address);
    code = workdir__write_config(&l->dir, l->options.listen_host, l->options.tcp_port,
                                 l->options.http ? l->options.http_port : 0, error);
    if (code != 0) {
        complain("%s", error);
        return code;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    l->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (l->signal_fd < 0) {
        complain("signalfd: %s", strerror(errno));
        return 1;
    }
    return -1;
}

int main(int argc, char **argv) {
    static struct launcher l;
    int code = parse_options(&l.options, argc, argv);
    if (code >= 0) return code;
    umask(077); /* The engine's too, and so of all that it writes. */
    l.probe.fd = l.engine.terminal_fd = l.signal_fd = -1;
    l.dir.lock_fd = l.dir.log_fd = -1;
    l.backoff_ms = BACKOFF_MIN_MS;
    l.exit_code = prepare(&l);
    if (l.exit_code < 0) start_engine(&l);
    while (l.exit_code < 0) turn(&l);
    workdir__close(&l.dir);
    return l.exit_code;
}
