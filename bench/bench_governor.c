/* How long acquire, a tick's grant and report take with 10,000 endpoints that share 100 policies of
 * four windows each. Says nanoseconds per permit, start to end, on a clock set by hand. */
#include "souk/core/log.h"
#include "souk/governor.h"
#include <stdio.h>
#include <stdlib.h>

#define N_ENDPOINTS 10000
#define N_PERMITS 200000

struct bench {
    struct clock clock;
    struct governor *g;
    struct permit permits[N_ENDPOINTS];
    struct endpoint *endpoints[N_ENDPOINTS];
    char policies[N_ENDPOINTS][16];
    size_t granted[N_ENDPOINTS], n_granted;
    uint64_t n_done;
    int64_t worst_tick_ns;
};

static void on_permit(struct permit *p, int status) {
    struct bench *b = p->data;
    if (status == 0) b->granted[b->n_granted++] = (size_t)(p - b->permits);
}

static void answer(struct bench *b, size_t i) {
    const struct governor_header headers[] = {
        {SLICE_LIT("x-rate-limit-policy"), slice__str(b->policies[i])},
        {SLICE_LIT("x-rate-limit-rules"), SLICE_LIT("Ip")},
        {SLICE_LIT("x-rate-limit-ip"),
         SLICE_LIT("50:10:60,150:60:300,300:300:1800,6000:21600:3600")},
        {SLICE_LIT("x-rate-limit-ip-state"), SLICE_LIT("1:10:0,1:60:0,1:300:0,1:21600:0")},
    };
    const struct governor_reply reply = {.status = 200,
                                         .dispatched = true,
                                         .headers = headers,
                                         .n_headers = 4,
                                         .done_mono_ns = b->clock.mono_ns};
    governor__report(b->g, &b->permits[i], &reply, NULL);
    b->n_done++;
    governor__acquire(b->g, b->endpoints[i], &b->permits[i], "", on_permit);
}

int main(void) {
    struct bench *b = calloc(1, sizeof *b);
    uv_loop_t loop;
    struct err e;
    const struct governor_options o = {.host_gap_ns = 1, .seed = 1};
    if (b == NULL || uv_loop_init(&loop) != 0) return 1;
    b->clock = (struct clock){.mono_ns = NS_PER_S, .wall_ns = INT64_C(1795262400) * NS_PER_S};
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    if (governor__open(&b->g, &loop, &b->clock, NULL, &o, &e) != 0) return 1;
    for (size_t i = 0; i < N_ENDPOINTS; i++) {
        char name[16], host[16];
        snprintf(name, sizeof name, "e%zu", i);
        snprintf(host, sizeof host, "h%zu", i % 100);
        snprintf(b->policies[i], sizeof b->policies[i], "p%zu", i % 100);
        b->endpoints[i] = governor__endpoint(
            b->g, &(struct endpoint_options){.name = name, .host = host, .inflight_max = 2});
        b->permits[i].data = b;
        governor__acquire(b->g, b->endpoints[i], &b->permits[i], "", on_permit);
    }
    int64_t start_ns = clock__stopwatch_ns();
    while (b->n_done < N_PERMITS) {
        int64_t tick_ns = clock__stopwatch_ns();
        governor__tick(b->g);
        tick_ns = clock__stopwatch_ns() - tick_ns;
        if (tick_ns > b->worst_tick_ns) b->worst_tick_ns = tick_ns;
        size_t n = b->n_granted;
        b->n_granted = 0;
        for (size_t i = 0; i < n; i++) answer(b, b->granted[i]);
        b->clock.mono_ns += 10 * NS_PER_MS;
    }
    int64_t took_ns = clock__stopwatch_ns() - start_ns;
    printf(
        "endpoints %d, permits %llu, %lld ns a permit (virtual time %lld s), worst tick %lld us\n",
        N_ENDPOINTS, (unsigned long long)b->n_done, (long long)(took_ns / N_PERMITS),
        (long long)(b->clock.mono_ns / NS_PER_S), (long long)(b->worst_tick_ns / 1000));
    governor__close(b->g, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(b);
    return 0;
}
