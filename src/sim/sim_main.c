/* souk-sim: reads the command line, joins the simulated upstreams to a server and to the time, and
 * runs until it is told to stop by SIGTERM, SIGINT or POST /_sim/stop. Exit code 0 after a clean
 * stop with the ledger flushed, 1 when it cannot start, 2 for a wrong command line. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "judge/ledger_audit.h"
#include "sim.h"

struct program {
    struct options options;
    struct sim sim;
    struct server server;
    uv_loop_t loop;
    uv_timer_t flush;
    uv_signal_t term, interrupt;
    uint64_t start_hr;
    int64_t start_wall_ns;
    bool stopping;
    int exit_code;
};

static struct sim_clock read_clock(const struct program *p) {
    double scaled = (double)(uv_hrtime() - p->start_hr) * p->options.speed;
    struct sim_clock c = {.mono_ns = (int64_t)scaled,
                          .wall_ns = p->start_wall_ns + (int64_t)scaled};
    return c;
}

static void stop(struct program *p) {
    if (p->stopping) return;
    p->stopping = true;
    server__close(&p->server);
    uv_close((uv_handle_t *)&p->flush, NULL);
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void on_signal(uv_signal_t *h, int signum) {
    (void)signum;
    stop(h->data);
}

static void on_flush(uv_timer_t *t) {
    struct program *p = t->data;
    struct sim_err err;
    if (ledger__flush(&p->sim.ledger, &err) !=
        0) { /* A ledger with holes proves nothing: say so and end. */
        fprintf(stderr, "souk-sim: %s\n", err.msg);
        p->exit_code = 1;
        stop(p);
    } else if (p->sim.stop_wanted) {
        stop(p);
    }
}

static void on_request(void *owner, const struct http_request *q, struct reply *r) {
    struct program *p = owner;
    p->sim.clock = read_clock(p);
    sim__handle(&p->sim, q, r);
}

static int serve(struct program *p) {
    struct sim_err err;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    p->start_wall_ns =
        now.tv_sec * SIM_NS_PER_S + now.tv_nsec + p->options.clock_offset_s * SIM_NS_PER_S;
    p->start_hr = uv_hrtime();
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&p->loop);
    p->server.owner = p;
    p->server.handle = on_request;
    p->server.gzip_level = p->options.gzip ? 1 : 0;
    if (server__init(&p->server, &p->loop, p->options.host, p->options.port, &err) != 0) {
        fprintf(stderr, "souk-sim: %s\n", err.msg);
        uv_run(&p->loop, UV_RUN_DEFAULT);
        uv_loop_close(&p->loop);
        return 1;
    }
    uv_timer_init(&p->loop, &p->flush);
    uv_signal_init(&p->loop, &p->term);
    uv_signal_init(&p->loop, &p->interrupt);
    p->flush.data = p->term.data = p->interrupt.data = p;
    if (sim__init(&p->sim, &p->options, read_clock(p), &err) != 0) {
        fprintf(stderr, "souk-sim: %s\n", err.msg);
        p->exit_code = 1;
        stop(p);
    } else {
        uv_timer_start(&p->flush, on_flush, LEDGER_FLUSH_MS, LEDGER_FLUSH_MS);
        uv_signal_start(&p->term, on_signal, SIGTERM);
        uv_signal_start(&p->interrupt, on_signal, SIGINT);
        if (!p->options.quiet) {
            printf("souk-sim: ready on http://%s:%d seed %llu%s%s%s, pages %zu\n", p->options.host,
                   server__port(&p->server), (unsigned long long)p->options.seed,
                   p->options.replay_dir != NULL ? ", replay with synthetic cursors" : "",
                   p->options.limits ? "" : ", limits off", p->options.rate_max ? ", rate max" : "",
                   p->sim.rivers[REALM_PC].n_pages);
            if (p->options.replay_dir != NULL) {
                struct buf told = {0};
                sim__tell_recorded(&p->sim, &told);
                printf("souk-sim: %s\n", told.at);
                buf__fini(&told);
            }
            fflush(stdout);
        }
    }
    uv_run(&p->loop, UV_RUN_DEFAULT);
    uv_loop_close(&p->loop);
    sim__fini(&p->sim);
    return p->exit_code;
}

int main(int argc, char **argv) {
    struct sim_err err;
    struct program *p;
    int rc;
    umask(077);
    if (argc > 1 && strcmp(argv[1], "audit") == 0) return audit__main(argc - 1, argv + 1);
    p = calloc(1, sizeof *p);
    if (p == NULL) return 1;
    if (options__parse(&p->options, argc, argv, &err) != 0) {
        fprintf(stderr, "souk-sim: %s; see --help\n", err.msg);
        rc = 2;
    } else if (p->options.help) {
        fputs(options__help(), stdout);
        rc = 0;
    } else if (p->options.version) {
        puts("souk-sim " SOUK_VERSION);
        rc = 0;
    } else {
        rc = serve(p);
    }
    free(p);
    return rc;
}
