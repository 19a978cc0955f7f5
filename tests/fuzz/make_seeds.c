/* Writes well-formed inputs for the targets whose format is not text: `make_seeds DIR` fills
 * DIR/journal, DIR/seal and DIR/governor_state. */
#include "../../src/governor/governor_internal.h"
#include "../../src/store/store_internal.h"
#include "souk/batcher.h"
#include "souk/journal.h"
#include <stdlib.h>
#include <sys/stat.h>

static void write_seed(const char *dir, const char *target, const char *name, struct slice bytes) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, target);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s", dir, target, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes.base, 1, bytes.len, f) != bytes.len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static void write_journal(const char *dir) {
    struct buf b = buf__init(1 << 20);
    struct request_facts f = {.flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT,
                              .source = SLICE_LIT("psapi"),
                              .stream = SLICE_LIT("pc"),
                              .service = SLICE_LIT("psapi"),
                              .realm = SLICE_LIT("pc"),
                              .path = SLICE_LIT("/public-stash-tabs"),
                              .method = SLICE_LIT("GET"),
                              .cursor_from = SLICE_LIT("1-2"),
                              .cursor_to = SLICE_LIT("3-4"),
                              .http_status = 200,
                              .attempts = 1,
                              .status = SLICE_LIT("ok"),
                              .requested_wall_ns = 1795262400 * NS_PER_S,
                              .received_wall_ns = 1795262401 * NS_PER_S,
                              .n_entries = 1,
                              .policy = SLICE_LIT("psapi-request-limit"),
                              .limits_raw = SLICE_LIT("2:1:60"),
                              .retry_after_s = -1};
    journal__encode(&f, &b);
    journal__compress(SLICE_LIT("{\"next_change_id\":\"3-4\",\"stashes\":[]}"), &b);
    write_seed(dir, "journal", "page", buf__slice(&b));
    buf__clear(&b);
    f.http_status = 429;
    f.flags = 0;
    f.error = SLICE_LIT("answered 429");
    f.retry_after_s = 60;
    journal__encode(&f, &b);
    write_seed(dir, "journal", "request", buf__slice(&b));
    buf__fini(&b);
}

static void write_seal(const char *dir) {
    struct buf b = buf__init(4096);
    struct seal s = {.table = "bronze_public_stash",
                     .part = "Standard",
                     .day = 20778,
                     .first_lsn = 67108928,
                     .last_lsn = 67109928,
                     .n_rows = 50000,
                     .hash = "0123456789abcdef0123456789abcdef"};
    seal__make_token(&s, "00112233445566778899aabbccddeeff");
    seal__encode(&s, &b);
    write_seed(dir, "seal", "seal", buf__slice(&b));
    buf__fini(&b);
}

static void on_permit(struct permit *p, int status) { (void)p, (void)status; }

/* Without the magic, the version and the checksum, which the target puts there itself. */
static void write_state(const char *dir, struct governor *g, const char *name) {
    struct buf b = buf__init(1 << 20);
    governor__save(g, &b);
    write_seed(dir, "governor_state", name, slice__of(b.base + 8, b.len - 16));
    buf__fini(&b);
}

static void write_states(const char *dir) {
    struct clock clock = {.mono_ns = 100 * NS_PER_S, .wall_ns = INT64_C(1795262390) * NS_PER_S};
    struct endpoint_options options = {.name = "psapi", .host = "a", .key_gap_ns = NS_PER_S};
    static const struct governor_header headers[] = {
        {SLICE_LIT("X-Rate-Limit-Policy"), SLICE_LIT("psapi-request-limit")},
        {SLICE_LIT("X-Rate-Limit-Rules"), SLICE_LIT("Ip")},
        {SLICE_LIT("X-Rate-Limit-Ip"), SLICE_LIT("2:1:60,30:60:300")},
        {SLICE_LIT("X-Rate-Limit-Ip-State"), SLICE_LIT("1:1:0,1:60:0")}};
    struct metrics metrics;
    struct governor *g;
    struct err e;
    uv_loop_t loop;
    uv_loop_init(&loop);
    metrics__init(&metrics);
    if (governor__open(&g, &loop, &clock, &metrics, NULL, &e) != 0) abort();
    struct endpoint *ep = governor__endpoint(g, &options);
    struct permit permit = {0};
    if (ep == NULL || governor__acquire(g, ep, &permit, "Standard/Currency", on_permit) != 0)
        abort();
    governor__tick(g);
    if (!permit.granted) abort();
    write_state(dir, g, "in-flight");
    struct governor_reply reply = {.status = 200,
                                   .dispatched = true,
                                   .headers = headers,
                                   .n_headers = 4,
                                   .done_mono_ns = clock.mono_ns};
    governor__report(g, &permit, &reply, NULL);
    write_state(dir, g, "learned");
    governor__close(g, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    metrics__fini(&metrics);
}

int main(int argc, char **argv) {
    if (argc != 2) return 64;
    mkdir(argv[1], 0755);
    write_journal(argv[1]);
    write_seal(argv[1]);
    write_states(argv[1]);
    return 0;
}
