/* A session of a compliant client (facts on rate limits § 3.4): its reply headers drive
 * the governor, which must reach 90 % of its speed and never be earlier than the padding rule
 * allows. */
#include "../lib/data_dir.h"
#include "test_governor_sim.h"
#include <yyjson.h>
#include <zlib.h>

#define BYTES_MAX ((size_t)4 << 20)

static yyjson_doc *read_session(const char *path) {
    gzFile file = gzopen(path, "rb");
    assert_non_null(file);
    char *text = malloc(BYTES_MAX);
    assert_non_null(text);
    int n = gzread(file, text, BYTES_MAX);
    gzclose(file);
    yyjson_doc *doc = n <= 0 ? NULL : yyjson_read(text, (size_t)n, 0);
    free(text);
    return doc;
}

static int64_t ms_of(yyjson_val *record, const char *key) {
    return yyjson_get_sint(yyjson_obj_get(record, key));
}

static void report(struct sim *sim, struct sim_request *r, yyjson_val *record) {
    struct governor_header headers[32];
    size_t i, max, n = 0;
    yyjson_val *key, *val;
    yyjson_obj_foreach(yyjson_obj_get(record, "headers"), i, max, key, val) {
        assert_in_range(n, 0, 31);
        headers[n++] =
            (struct governor_header){slice__of(yyjson_get_str(key), yyjson_get_len(key)),
                                     slice__of(yyjson_get_str(val), yyjson_get_len(val))};
    }
    struct governor_reply reply = {.status = (int)ms_of(record, "status"),
                                   .dispatched = true,
                                   .headers = headers,
                                   .n_headers = n,
                                   .done_mono_ns = sim->clock.mono_ns};
    r->answered = true;
    sim->n_answered++;
    governor__report(sim->g, &r->permit, &reply, &r->verdict);
    assert_string_equal(r->verdict.error, "");
}

/** Replays the requests of one endpoint, one in flight, in the order recorded. */
static void replay(yyjson_val *records, const char *endpoint) {
    static yyjson_val *replies[SIM_REQUESTS];
    static int64_t done_ns[SIM_REQUESTS];
    struct sim *sim = sim_new(&(struct governor_options){.utilisation = 1});
    struct endpoint_options o = sim_endpoint(endpoint);
    size_t i, max, n = 0;
    yyjson_val *r;
    yyjson_arr_foreach(records, i, max, r) {
        bool wanted = yyjson_equals_str(yyjson_obj_get(r, "endpoint"), endpoint) &&
                      yyjson_equals_str(yyjson_obj_get(r, "kind"), "reply");
        if (wanted && n < SIM_REQUESTS) replies[n++] = r;
    }
    assert_true(n > 30);
    sim->ep = governor__endpoint(sim->g, &o);
    int64_t start_ns = sim->clock.mono_ns;
    for (size_t k = 0; k < n; k++) {
        struct sim_request *q = sim_ask(sim);
        sim->latency_ns = (ms_of(replies[k], "received_ms") - ms_of(replies[k], "sent_ms")) * MS;
        while (!q->sent || q->reply_ns > sim->clock.mono_ns) {
            sim->clock.mono_ns += 10 * MS;
            sim->clock.wall_ns += 10 * MS;
            governor__tick(sim->g);
        }
        done_ns[k] = sim->clock.mono_ns;
        report(sim, q, replies[k]);
        assert_false(q->verdict.throttled);
        struct endpoint_status s = sim_status(sim);
        for (uint32_t w = 0; w < s.n_windows; w++) {
            if (k < s.windows[w].limit) continue;
            int64_t least_ns = s.windows[w].period_s * S + (w == 0 ? 6 : 61) * S;
            assert_true(q->sent_ns >= done_ns[k - s.windows[w].limit] + least_ns);
        }
    }
    int64_t ours_ns = sim->clock.mono_ns - start_ns;
    int64_t theirs_ns = (ms_of(replies[n - 1], "received_ms") - ms_of(replies[0], "sent_ms")) * MS;
    print_message("%s: %zu requests, %.1f s recorded, %.1f s here\n", endpoint, n,
                  (double)theirs_ns / (double)S, (double)ours_ns / (double)S);
    assert_true((double)ours_ns <= (double)theirs_ns / 0.9);
    sim_free(sim);
}

static void test_a_session(enum data_origin origin) {
    char path[2048];
    data__path(origin,
               origin == DATA_MADE ? "ratelimit/session.json.gz"
                                   : "ratelimit/capture-oauth-vpn-2026-08-13.json.gz",
               path, sizeof path);
    yyjson_doc *doc = read_session(path);
    assert_non_null(doc);
    yyjson_val *records = yyjson_obj_get(yyjson_doc_get_root(doc), "records");
    replay(records, "get-stash");
    replay(records, "get-character");
    yyjson_doc_free(doc);
}
DATA_TESTS_OF(test_a_session)

int main(void) {
    const struct CMUnitTest tests[] = {DATA_TESTS(test_a_session)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
