/* What the governor costs, and how that grows: for 10, 100, 1,000 and 10,000 endpoints of 100
 * policies (or fewer) of four windows the time of an acquire, of the tick that grants, and of an
 * observed response, and the memory of an endpoint with a learned policy. Then how long saturating
 * load takes, against an optimum that is computed from the limits alone (tests/governor/optimum.c).
 * All on a clock set by hand.
 *
 *     bench_governor [ENDPOINTS] [ROUNDS]      (10000, the most; and 200000 requests each) */
#include "../tests/governor/optimum.h"
#include "souk/core/log.h"
#include "souk/governor.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ENDPOINTS_MAX 10000
#define ROUNDS 200000
#define S NS_PER_S
#define MS NS_PER_MS

struct bench {
    struct clock clock;
    uv_loop_t loop;
    struct governor *g;
    struct permit permits[ENDPOINTS_MAX];
    struct endpoint *endpoints[ENDPOINTS_MAX];
    char policies[ENDPOINTS_MAX][16];
    size_t granted[ENDPOINTS_MAX], n_granted;
    uint64_t n_done, n_turns;
    int64_t acquire_ns, report_ns, tick_ns, worst_tick_ns;
};

static void on_permit(struct permit *p, int status) {
    struct bench *b = p->data;
    if (status == 0) b->granted[b->n_granted++] = (size_t)(p - b->permits);
}

static struct governor_reply reply_of(struct bench *b, const char *policy,
                                      struct governor_header headers[4]) {
    headers[0] = (struct governor_header){SLICE_LIT("x-rate-limit-policy"), slice__str(policy)};
    headers[1] = (struct governor_header){SLICE_LIT("x-rate-limit-rules"), SLICE_LIT("Ip")};
    headers[2] =
        (struct governor_header){SLICE_LIT("x-rate-limit-ip"),
                                 SLICE_LIT("50:10:60,150:60:300,300:300:1800,6000:21600:3600")};
    headers[3] = (struct governor_header){SLICE_LIT("x-rate-limit-ip-state"),
                                          SLICE_LIT("1:10:0,1:60:0,1:300:0,1:21600:0")};
    return (struct governor_reply){.status = 200,
                                   .dispatched = true,
                                   .headers = headers,
                                   .n_headers = 4,
                                   .done_mono_ns = b->clock.mono_ns};
}

/* Time of this process alone: other programs of the machine do not count. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * S + t.tv_nsec;
}

static int open_all(struct bench *b, size_t n) {
    struct err e;
    const struct governor_options o = {.host_gap_ns = 1, .seed = 1};
    b->clock = (struct clock){.mono_ns = S, .wall_ns = INT64_C(1795262400) * S};
    if (uv_loop_init(&b->loop) != 0) return -1;
    if (governor__open(&b->g, &b->loop, &b->clock, NULL, &o, &e) != 0) return -1;
    for (size_t i = 0; i < n; i++) {
        char name[24], host[24];
        snprintf(name, sizeof name, "e%zu", i);
        snprintf(host, sizeof host, "h%zu", i % 100);
        snprintf(b->policies[i], sizeof b->policies[i], "p%zu", i % 100);
        b->endpoints[i] = governor__endpoint(
            b->g, &(struct endpoint_options){
                      .name = name, .host = host, .venue = "v", .inflight_max = 2});
        b->permits[i] = (struct permit){.data = b};
    }
    return 0;
}

static void close_all(struct bench *b) {
    governor__close(b->g, NULL, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    uv_loop_close(&b->loop);
}

/* A tick, then all that it granted is answered, then all of them ask again. */
static void turn(struct bench *b) {
    int64_t t0 = cpu_ns();
    governor__tick(b->g);
    int64_t t1 = cpu_ns();
    size_t n = b->n_granted;
    b->n_granted = 0;
    for (size_t i = 0; i < n; i++) {
        struct governor_header headers[4];
        struct governor_reply reply = reply_of(b, b->policies[b->granted[i]], headers);
        governor__report(b->g, &b->permits[b->granted[i]], &reply, NULL);
    }
    int64_t t2 = cpu_ns();
    for (size_t i = 0; i < n; i++)
        governor__acquire(b->g, b->endpoints[b->granted[i]], &b->permits[b->granted[i]], "",
                          on_permit);
    int64_t t3 = cpu_ns();
    if (n > 0) {
        b->tick_ns += t1 - t0;
        b->report_ns += t2 - t1;
        b->acquire_ns += t3 - t2;
        b->n_turns++;
    }
    if (t1 - t0 > b->worst_tick_ns) b->worst_tick_ns = t1 - t0;
    b->n_done += n;
    b->clock.mono_ns += 10 * MS;
}

static int measure(size_t n, size_t n_rounds) {
    struct bench *b = calloc(1, sizeof *b);
    if (b == NULL) return -1;
    size_t before = mallinfo2().uordblks;
    if (open_all(b, n) != 0) return -1;
    for (size_t i = 0; i < n; i++)
        governor__acquire(b->g, b->endpoints[i], &b->permits[i], "", on_permit);
    while (b->n_done < n * 2) turn(b); /* Everybody has learned, and sent. */
    size_t bytes = mallinfo2().uordblks - before;
    b->n_done = 0;
    b->n_turns = 0;
    b->acquire_ns = b->report_ns = b->tick_ns = b->worst_tick_ns = 0;
    while (b->n_done < n_rounds) turn(b);
    int64_t timer_ns = cpu_ns(); /* What looking at the clock costs itself. */
    for (int i = 0; i < 100000; i++) (void)cpu_ns();
    timer_ns = (cpu_ns() - timer_ns) / 100000 * (int64_t)b->n_turns;
    int64_t n_done = (int64_t)b->n_done;
    printf("%9zu %14lld %16lld %14lld %18lld %18zu\n", n,
           (long long)((b->acquire_ns - timer_ns) / n_done),
           (long long)((b->report_ns - timer_ns) / n_done),
           (long long)((b->tick_ns - timer_ns) / n_done), (long long)(b->worst_tick_ns / 1000),
           bytes / n);
    close_all(b);
    free(b);
    return 0;
}

/* Saturating load. */

struct run {
    struct bench *b;
    const char *triples;
    size_t n_left, n_answered, n_windows;
    int64_t sent_ns[2], rtt_ns;
    bool flying[2];
    uint32_t limits[4], periods[4];
};

static void on_turn(struct permit *p, int status) {
    struct run *r = p->data;
    size_t i = (size_t)(p - r->b->permits);
    if (status != 0) return;
    r->sent_ns[i] = r->b->clock.mono_ns;
    r->flying[i] = true;
}

static void ask(struct run *r, size_t i) {
    if (r->n_left == 0) return;
    r->n_left--;
    governor__acquire(r->b->g, r->b->endpoints[0], &r->b->permits[i], "", on_turn);
}

static void end(struct run *r, size_t i) {
    char state[128] = "";
    struct governor_header headers[4];
    size_t at = 0;
    struct governor_reply reply = reply_of(r->b, "p", headers);
    for (size_t k = 0; k < r->n_windows; k++)
        at += (size_t)snprintf(state + at, sizeof state - at, "%s1:%u:0", k == 0 ? "" : ",",
                               r->periods[k]);
    headers[2].value = slice__str(r->triples);
    headers[3].value = slice__str(state);
    r->flying[i] = false;
    r->n_answered++;
    governor__report(r->b->g, &r->b->permits[i], &reply, NULL);
    ask(r, i);
}

static int saturate(const char *triples, size_t n) {
    struct bench *b = calloc(1, sizeof *b);
    struct run r = {.b = b, .triples = triples, .n_left = n, .rtt_ns = 120 * MS};
    struct optimum o = {.gap_ns = 250 * MS, .inflight_max = 2};
    if (b == NULL || open_all(b, 0) != 0) return -1;
    close_all(b);
    struct err e;
    if (uv_loop_init(&b->loop) != 0) return -1;
    if (governor__open(&b->g, &b->loop, &b->clock, NULL, NULL, &e) != 0) return -1;
    b->endpoints[0] = governor__endpoint(
        b->g, &(struct endpoint_options){.name = "e", .host = "h", .inflight_max = 2});
    optimum__add(&o, triples);
    const char *at = triples;
    for (int used = 0;
         sscanf(at, "%u:%u:%*u%n", &r.limits[r.n_windows], &r.periods[r.n_windows], &used) == 2;
         at += used) {
        r.n_windows++;
        if (at[used] == ',') used++;
    }
    int64_t start_ns = b->clock.mono_ns;
    for (size_t i = 0; i < 2; i++) {
        b->permits[i].data = &r;
        ask(&r, i);
    }
    while (r.n_answered < n) {
        int64_t due_ns = governor__due_ns(b->g);
        for (size_t i = 0; i < 2; i++)
            if (r.flying[i] && r.sent_ns[i] + r.rtt_ns < due_ns) due_ns = r.sent_ns[i] + r.rtt_ns;
        if (due_ns > b->clock.mono_ns) b->clock.mono_ns = due_ns;
        for (size_t i = 0; i < 2; i++)
            if (r.flying[i] && r.sent_ns[i] + r.rtt_ns <= b->clock.mono_ns) end(&r, i);
        governor__tick(b->g);
    }
    double took_s = (double)(b->clock.mono_ns - start_ns) / (double)S;
    double best_s = (double)optimum__total_ns(&o, n, r.rtt_ns) / (double)S;
    printf("%-50s %8zu %10.0f %10.0f %8.3f\n", triples, n, took_s, best_s, took_s / best_s);
    close_all(b);
    free(b);
    return 0;
}

int main(int argc, char **argv) {
    size_t n_endpoints = argc > 1 ? strtoul(argv[1], NULL, 10) : ENDPOINTS_MAX;
    size_t n_rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : ROUNDS;
    static const struct {
        const char *triples;
        size_t n;
    } loads[] = {{"2:1:60", 301},
                 {"15:10:60,30:300:300", 301},
                 {"10:15:60,30:60:300", 601},
                 {"5:15:60,10:90:300,30:300:1800", 301},
                 {"5:10:60,15:60:300,30:300:1800,600:21600:3600", 1801},
                 {"12:4:10,16:12:300,50:300:300,1000:21600:1800", 3001}};
    if (n_endpoints > ENDPOINTS_MAX || n_rounds == 0) return 1;
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    printf("%9s %14s %16s %14s %18s %18s\n", "endpoints", "ns an acquire", "ns a response",
           "ns a grant", "worst tick [us]", "bytes an endpoint");
    for (size_t n = 10; n <= n_endpoints; n *= 10)
        if (measure(n, n_rounds) != 0) return 1;
    printf("\n%-50s %8s %10s %10s %8s\n", "saturating load", "requests", "took [s]", "best [s]",
           "ratio");
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        if (saturate(loads[i].triples, loads[i].n) != 0) return 1;
    return 0;
}
