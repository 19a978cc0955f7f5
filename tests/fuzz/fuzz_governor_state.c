/* Any bytes as the governor's saved state, behind a checksum that is right: refused, or taken
 * within its bounds; either way the governor saves a state that the next one takes, and still
 * grants in the end. */
#include "../../src/governor/governor_internal.h"
#include "souk/core/log.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct governor *open_one(uv_loop_t *loop, const struct clock *clock, struct metrics *m) {
    struct governor_options options = {.seed = 1};
    struct endpoint_options psapi = {.name = "psapi", .host = "a", .use_global_rate = true},
                            ninja = {.name = "poe_ninja", .host = "b", .key_gap_ns = NS_PER_S};
    struct governor *g;
    struct err e;
    if (governor__open(&g, loop, clock, m, &options, &e) != 0) abort();
    if (governor__endpoint(g, &psapi) == NULL || governor__endpoint(g, &ninja) == NULL) abort();
    return g;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *nowhere;
    if (nowhere == NULL) {
        nowhere = fopen("/dev/null", "w");
        log__setup(nowhere, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    }
    struct clock clock = {.mono_ns = 100 * NS_PER_S, .wall_ns = INT64_C(1795262400) * NS_PER_S};
    struct buf saved = buf__init(size + 64), again = buf__init((size_t)8 << 20);
    buf__u32(&saved, 0x564f4753u); /* Magic and version, as save.c writes them. */
    buf__u32(&saved, 1);
    buf__append(&saved, data, size);
    buf__u64(&saved, XXH3_64bits(saved.base, saved.len));
    for (int round = 0; round < 2; round++) {
        uv_loop_t loop;
        struct metrics metrics;
        struct err e;
        uv_loop_init(&loop);
        metrics__init(&metrics);
        struct governor *g = open_one(&loop, &clock, &metrics);
        int code = governor__restore(g, buf__slice(round == 0 ? &saved : &again), &e);
        assert(round == 0 ? code == 0 || code == ERR_CORRUPT : code == 0);
        buf__clear(&again);
        governor__save(g, &again);
        assert(!again.failed);
        governor__close(g, NULL, NULL);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        metrics__fini(&metrics);
    }
    buf__fini(&saved);
    buf__fini(&again);
    return 0;
}
