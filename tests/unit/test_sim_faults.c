/* Each scripted fault does what it says, none that spoils an answer reaches the ledger, and the
 * limits of each upstream are enforced and logged. */
#include <yyjson.h>
#include <zlib.h>

#include "test_sim.h"

static char *free_run[] = {"--rate", "max", "--limits", "off", "--page-changes", "50"};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    fixture__init(f, 6, free_run);
    f->options.state_dir = f->dir;
    fixture__open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture__fini(*state);
    free(*state);
    return 0;
}

/** @return pages in the ledger. */
static uint64_t n_ledger(const struct fixture *f) { return f->sim->ledger.n_pages; }

static void test_status_with_any_retry_after(void **state) {
    struct fixture *f = *state;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"status\",\"count\":2,\"value\":{\"status\":"
                      "429,\"retry_after\":\"-1\"}}");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture__page(f, "")->status, 429);
        assert_true(has_header(&f->reply, "Retry-After: -1\r\n"));
        assert_non_null(strstr(f->reply.body->data, "{\"error\":{\"code\":3,"));
    }
    assert_int_equal(n_ledger(f), 0);
    assert_int_equal(fixture__page(f, "")->status, 200); /* The count is spent. */
    assert_int_equal(n_ledger(f), 1);
    fixture__fault(f, "{\"target\":\"*\",\"kind\":\"status\",\"count\":1,\"value\":503}");
    assert_int_equal(fixture__page(f, "")->status, 503);
}

static void test_cloudflare_shows_html_and_no_limits(void **state) {
    struct fixture *f = *state;
    f->options.limits = true;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"status\",\"count\":1,\"value\":403}");
    assert_int_equal(fixture__page(f, "")->status, 403);
    assert_true(has_header(&f->reply, "cf-mitigated: challenge"));
    assert_false(has_header(&f->reply, "X-Rate-Limit"));
    assert_string_equal(f->reply.type, "text/html; charset=UTF-8");
}

static void test_a_fault_lasts_for_its_time(void **state) {
    struct fixture *f = *state;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"status\",\"for_ms\":1000,\"value\":500}");
    assert_int_equal(fixture__page(f, "")->status, 500);
    f->sim->clock.mono_ns += 999 * SIM_NS_PER_MS;
    assert_int_equal(fixture__page(f, "")->status, 500);
    f->sim->clock.mono_ns += 1 * SIM_NS_PER_MS;
    assert_int_equal(fixture__page(f, "")->status, 200);
}

static void test_wire_faults_plan_the_wire(void **state) {
    struct fixture *f = *state;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"stall\",\"count\":1}");
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"truncate\",\"count\":1,\"value\":1000}");
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"reset\",\"count\":1,\"value\":7}");
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"slow\",\"count\":1,\"value\":123}");
    assert_true(fixture__page(f, "")->stall);
    assert_true(fixture__page(f, "")->cut && f->reply.cut_bytes == 1000 && !f->reply.reset);
    assert_true(fixture__page(f, "")->cut && f->reply.cut_bytes == 7 && f->reply.reset);
    assert_int_equal(n_ledger(f), 0);
    assert_int_equal(fixture__page(f, "")->bytes_per_s, 123);
    assert_int_equal(n_ledger(f), 1); /* Slow but good. */
}

static void test_bodies_are_spoiled(void **state) {
    struct fixture *f = *state;
    static const char *const kinds[] = {"bad_json", "wrong_type", "html200", "empty_object"};
    for (size_t i = 0; i < 4; i++) {
        char json[120];
        yyjson_doc *doc;
        snprintf(json, sizeof json, "{\"target\":\"psapi\",\"kind\":\"%s\",\"count\":1}", kinds[i]);
        fixture__fault(f, json);
        assert_int_equal(fixture__page(f, "")->status, 200);
        doc = yyjson_read(f->reply.body->data, f->reply.body->len, 0);
        if (i == 0 || i == 2) assert_null(doc);
        if (i == 1) assert_true(yyjson_is_obj(yyjson_obj_get(yyjson_doc_get_root(doc), "stashes")));
        if (i == 3) assert_string_equal(f->reply.body->data, "{}");
        yyjson_doc_free(doc);
    }
    assert_int_equal(n_ledger(f), 0);
}

static void test_rewind_and_repeat_tell_a_wrong_cursor_with_content(void **state) {
    struct fixture *f = *state;
    char cursors[5][CURSOR_MAX] = {""}, got[CURSOR_MAX], line[120];
    for (int i = 0; i < 4; i++) next_cursor(fixture__page(f, cursors[i]), cursors[i + 1]);
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"rewind\",\"count\":1,\"value\":2}");
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"repeat\",\"count\":1}");
    next_cursor(fixture__page(f, cursors[4]), got);
    assert_string_equal(got, cursors[2]);
    snprintf(line, sizeof line, "X-Next-Change-Id: %s\r\n", got);
    assert_true(has_header(&f->reply, line));
    assert_null(strstr(f->reply.body->data, "\"stashes\":[]"));
    next_cursor(fixture__page(f, cursors[4]), got);
    assert_string_equal(got, cursors[4]);
    assert_null(strstr(f->reply.body->data, "\"stashes\":[]"));
    {
        yyjson_doc *doc = yyjson_read(f->reply.body->data, f->reply.body->len, 0);
        assert_non_null(doc); /* Valid JSON: only the cursor is wrong. */
        yyjson_doc_free(doc);
    }
    assert_int_equal(n_ledger(f), 4);
    fixture__page(f, cursors[4]);
    assert_int_equal(n_ledger(f), 5);
}

static void test_a_bomb_is_small_and_large(void **state) {
    struct fixture *f = *state;
    static unsigned char out[1 << 16];
    const struct reply *r;
    z_stream z = {0};
    uint64_t n = 0;
    int rc;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"gzip_bomb\",\"count\":1,\"value\":4}");
    r = fixture__page(f, "");
    assert_non_null(r->encoded);
    assert_true(r->encoded->len < 16384);
    inflateInit2(&z, 15 + 16);
    z.next_in = (unsigned char *)r->encoded->data;
    z.avail_in = (unsigned)r->encoded->len;
    do {
        z.next_out = out;
        z.avail_out = sizeof out;
        rc = inflate(&z, Z_NO_FLUSH);
        n += sizeof out - z.avail_out;
    } while (rc == Z_OK);
    inflateEnd(&z);
    assert_int_equal(rc, Z_STREAM_END);
    assert_int_equal(n / 1048576, 4);
}

static void test_headers_grow_and_vanish(void **state) {
    struct fixture *f = *state;
    f->options.limits = true;
    fixture__fault(f,
                   "{\"target\":\"psapi\",\"kind\":\"big_header\",\"count\":1,\"value\":100000}");
    assert_true(fixture__page(f, "")->headers.len > 100000);
    f->sim->clock.mono_ns += 20 * SIM_NS_PER_S;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"drop_headers\",\"count\":1}");
    assert_int_equal(fixture__page(f, "")->status, 200);
    assert_false(has_header(&f->reply, "X-Rate-Limit"));
    assert_true(has_header(&f->reply, "X-Next-Change-Id"));
    assert_int_equal(n_ledger(f), 1);
}

static void test_limits_change_by_fault(void **state) {
    struct fixture *f = *state;
    f->options.limits = true;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"limits\",\"value\":\"5:10:60,9:100:300\"}");
    fixture__page(f, "");
    assert_true(has_header(
        &f->reply,
        "X-Rate-Limit-Ip: 5:10:60,9:100:300\r\nX-Rate-Limit-Ip-State: 1:10:0,1:100:0\r\n"));
    assert_int_equal(fixture__send(f, "POST", "/_sim/fault", "",
                                   "{\"target\":\"psapi\",\"kind\":\"limits\",\"value\":\"5\"}",
                                   true)
                         ->status,
                     400);
    assert_int_equal(
        fixture__send(f, "POST", "/_sim/fault", "",
                      "{\"target\":\"poe_ninja\",\"kind\":\"limits\",\"value\":\"5:1:1\"}", true)
            ->status,
        400);
}

static void test_other_clients_and_new_names(void **state) {
    struct fixture *f = *state;
    f->options.limits = true;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"phantom\",\"value\":1}");
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"policy\",\"value\":\"renamed\"}");
    assert_int_equal(fixture__page(f, "")->status, 200);
    assert_true(has_header(&f->reply, "X-Rate-Limit-Policy: renamed\r\n"));
    assert_true(
        has_header(&f->reply, "X-Rate-Limit-Ip-State: 2:1:0\r\n")); /* Somebody else was first. */
    assert_int_equal(f->sim->ledger.n_violations, 0);
    assert_int_equal(fixture__page(f, "")->status, 429);
    assert_int_equal(f->sim->ledger.n_violations, 1);
}

static void test_rewind_and_repeat_at_the_end(void **state) {
    struct fixture *f = *state;
    char cursors[4][CURSOR_MAX] = {""}, got[CURSOR_MAX];
    for (int i = 0; i < 3; i++) next_cursor(fixture__page(f, cursors[i]), cursors[i + 1]);
    sim__freeze(f->sim, true);
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"rewind\",\"count\":1,\"value\":1}");
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"repeat\",\"count\":1}");
    next_cursor(fixture__page(f, cursors[3]), got);
    assert_string_equal(got, cursors[2]);
    next_cursor(fixture__page(f, cursors[3]), got);
    assert_string_equal(got, cursors[3]);
    assert_null(strstr(f->reply.body->data, "\"stashes\":[]"));
    assert_int_equal(count_of(f->reply.headers.at, "X-Next-Change-Id"), 1);
    next_cursor(fixture__page(f, cursors[3]), got);
    assert_non_null(strstr(f->reply.body->data, "\"stashes\":[]"));
}

static void test_bad_prices_are_marked_and_last(void **state) {
    struct fixture *f = *state;
    char *first, *text;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"bad_price\",\"count\":1,\"value\":4}");
    first = strdup(fixture__page(f, "")->body->data);
    assert_int_equal(count_of(first, "\"id\":\"" HOSTILE_ID_PREFIX), 4);
    fixture__close(f);
    fixture__open(f);
    assert_string_equal(fixture__page(f, "")->body->data,
                        first); /* A page never changes, hostile or not. */
    fixture__close(f);
    text = read_text(f, "ledger.tsv");
    assert_int_equal(count_of(text, "\t" HOSTILE_ID_PREFIX), 4);
    free(first);
    free(text);
}

static void test_bad_requests_for_faults_are_refused(void **state) {
    struct fixture *f = *state;
    static const char *const bodies[] = {
        "",
        "[]",
        "{}",
        "{\"target\":\"psapi\"}",
        "{\"target\":\"nobody\",\"kind\":\"stall\"}",
        "{\"target\":\"psapi\",\"kind\":\"nothing\"}",
        "{\"target\":\"psapi\",\"kind\":\"status\",\"value\":200}",
        "{\"target\":\"psapi\",\"kind\":\"status\",\"value\":429,\"retry_after\":\"1\\r\\nX: y\"}",
        "{\"target\":\"psapi\",\"kind\":\"slow\",\"value\":0}",
        "{\"target\":\"psapi\",\"kind\":\"truncate\",\"value\":-5}",
        "{\"target\":\"psapi\",\"kind\":\"truncate\",\"value\":[1]}",
        "{\"target\":\"psapi\",\"kind\":\"gzip_bomb\",\"value\":100000}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        if (fixture__send(f, "POST", "/_sim/fault", "", bodies[i], true)->status != 400)
            fail_msg("case %zu", i);
    for (int i = 0; i < FAULTS_MAX; i++)
        fixture__fault(f, "{\"target\":\"oauth\",\"kind\":\"stall\"}");
    assert_int_equal(fixture__send(f, "POST", "/_sim/fault", "",
                                   "{\"target\":\"oauth\",\"kind\":\"stall\"}", true)
                         ->status,
                     400);
    fixture__send(f, "DELETE", "/_sim/fault", "", "", true);
    assert_int_equal(f->sim->faults.n, 0);
}

static void test_river_limits_are_enforced_and_logged(void **state) {
    struct fixture *f = *state;
    char *text;
    f->options.limits = true;
    assert_int_equal(fixture__page(f, "")->status, 200);
    assert_int_equal(fixture__page(f, "")->status, 200);
    assert_int_equal(fixture__page(f, "")->status, 429);
    assert_true(has_header(&f->reply, "X-Rate-Limit-Ip-State: 3:1:60\r\nRetry-After: 60\r\n"));
    assert_int_equal(fixture__send(f, "HEAD", "/public-stash-tabs", TEST_AGENT, "", true)->status,
                     204); /* Does not count. */
    assert_int_equal(f->sim->psapi[REALM_PC].n_requests, 3);
    f->sim->clock.mono_ns += 10 * SIM_NS_PER_S;
    assert_int_equal(fixture__page(f, "")->status, 429);
    assert_int_equal(fixture__get(f, "/public-stash-tabs/xbox")->status, 200); /* Another policy. */
    fixture__close(f);
    text = read_text(f, "violations.jsonl");
    assert_int_equal(count_of(text, "\n"), 2);
    assert_non_null(strstr(
        text, "\"path\":\"/"
              "public-stash-tabs\",\"policy\":\"public-stash-tabs-request-limit-pc\",\"window\":"
              "\"2:1:60\",\"hits\":3,\"while_restricted\":false}"));
    assert_int_equal(count_of(text, "\"while_restricted\":true"), 1);
    free(text);
}

static void test_identity_is_asked_first(void **state) {
    struct fixture *f = *state;
    char token[200], headers[300];
    assert_int_equal(
        fixture__send(f, "GET", "/public-stash-tabs", "User-Agent: curl/8\r\n", "", true)->status,
        403);
    assert_non_null(strstr(f->reply.body->data, "\"code\":6"));
    f->options.require_token = true;
    assert_int_equal(fixture__page(f, "")->status, 401);
    fixture__send(f, "POST", "/oauth/token", "",
                  "client_id=a&client_secret=sim-secret&grant_type=client_credentials&scope=service:psapi",
                  true);
    assert_int_equal(f->reply.status, 200);
    assert_int_equal(sscanf(f->reply.body->data, "{\"access_token\":\"%199[^\"]\"", token), 1);
    snprintf(headers, sizeof headers, "%sAuthorization: Bearer %s\r\n", TEST_AGENT, token);
    assert_int_equal(fixture__send(f, "GET", "/public-stash-tabs?id=", headers, "", true)->status,
                     200);
    assert_int_equal(fixture__send(f, "POST", "/oauth/token", "", "grant_type=x", true)->status,
                     400);
    assert_int_equal(fixture__send(f, "DELETE", "/public-stash-tabs", TEST_AGENT, "", true)->status,
                     405);
}

static const char overview[] =
    "/poe1/api/economy/exchange/current/overview?league=Allflame&type=Currency";

static void test_ninja_revalidates_and_rebuilds(void **state) {
    struct fixture *f = *state;
    char tag[80], headers[200], *first;
    f->sim->clock.mono_ns += SIM_NS_PER_S;
    assert_int_equal(fixture__get(f, overview)->status, 200);
    first = strdup(f->reply.body->data);
    assert_int_equal(sscanf(f->reply.headers.at, "ETag: %79[^\r]", tag), 1);
    assert_memory_equal(tag, "W/", 2);
    assert_null(strchr(tag, '"'));
    snprintf(headers, sizeof headers, "If-None-Match: %s\r\n", tag);
    assert_int_equal(fixture__send(f, "GET", overview, headers, "", true)->status, 304);
    assert_null(f->reply.body);
    f->sim->clock.wall_ns += 60 * SIM_NS_PER_S; /* The next build. */
    assert_int_equal(fixture__send(f, "GET", overview, headers, "", true)->status, 200);
    assert_string_not_equal(f->reply.body->data, first);
    assert_int_equal(f->sim->ledger.n_ninja_bodies, 2);
    fixture__get(f, overview);
    assert_int_equal(f->sim->ledger.n_ninja_bodies, 2); /* Each body once. */
    fixture__send(f, "POST", "/_sim/freeze", "", "{\"on\":true}", true);
    f->sim->clock.wall_ns += 600 * SIM_NS_PER_S;
    fixture__get(f, overview);
    assert_int_equal(f->sim->ledger.n_ninja_bodies, 2);
    free(first);
}

static void test_ninja_paths_and_shapes(void **state) {
    static const struct {
        const char *target;
        int status;
    } cases[] = {
        {"/poe1/api/economy/leagues", 200},
        {"/poe1/api/economy/stash/current/item/overview?league=Standard&type=UniqueWeapon", 200},
        {"/poe1/api/economy/stash/current/currency/overview?league=Standard&type=Currency", 200},
        {"/poe1/api/economy/exchange/current/overview?league=Standard&type=Scarab", 200},
        {"/poe1/api/economy/exchange/current/overview?league=Standard&type=Nothing", 404},
        {"/poe1/api/economy/exchange/current/overview?league=Nowhere&type=Scarab", 404},
        {"/poe1/api/economy/exchange/current/overview?league=Standard", 404},
        {"/poe1/api/economy/", 404},
        {"/api/data/currencyoverview?league=Standard&type=Currency", 404},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        yyjson_doc *doc;
        if (fixture__get(f, cases[i].target)->status != cases[i].status)
            fail_msg("case %zu: %d", i, f->reply.status);
        if (f->reply.status != 200) continue;
        doc = yyjson_read(f->reply.body->data, f->reply.body->len, 0);
        assert_non_null(doc);
        if (i > 0)
            assert_true(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "lines")) > 5);
        else assert_true(yyjson_arr_size(yyjson_doc_get_root(doc)) == 4);
        yyjson_doc_free(doc);
    }
}

static void test_ninja_rates_are_enforced(void **state) {
    struct fixture *f = *state;
    f->options.limits = true;
    f->sim->clock.mono_ns = 1000 * SIM_NS_PER_S;
    assert_int_equal(fixture__get(f, overview)->status, 200);
    f->sim->clock.mono_ns += 500 * SIM_NS_PER_MS;
    assert_int_equal(fixture__get(f, "/poe1/api/economy/leagues")->status,
                     429); /* Two in a second. */
    f->sim->clock.mono_ns += SIM_NS_PER_S;
    assert_int_equal(fixture__get(f, "/poe1/api/economy/leagues")->status, 200);
    f->sim->clock.mono_ns += 50 * SIM_NS_PER_S;
    assert_int_equal(fixture__get(f, overview)->status, 429); /* The same again after 51.5 s. */
    f->sim->clock.mono_ns += 4 * SIM_NS_PER_S;
    assert_int_equal(fixture__get(f, overview)->status, 200);
    assert_int_equal(f->sim->ledger.n_violations, 2);
}

static void test_status_tells_what_happened(void **state) {
    struct fixture *f = *state;
    yyjson_doc *doc;
    yyjson_val *root;
    fixture__page(f, "");
    fixture__fault(f, "{\"target\":\"oauth\",\"kind\":\"stall\",\"count\":3}");
    fixture__get(f, "/_sim/status");
    doc = yyjson_read(f->reply.body->data, f->reply.body->len, 0);
    root = yyjson_doc_get_root(doc);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "pages_served")), 1);
    assert_true(yyjson_get_uint(yyjson_obj_get(root, "rows_emitted")) > 0);
    assert_int_equal(
        yyjson_get_uint(yyjson_obj_get(yyjson_obj_get(root, "requests"), "public-stash-tabs")), 1);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "faults")), 1);
    assert_false(yyjson_get_bool(yyjson_obj_get(root, "frozen")));
    yyjson_doc_free(doc);
    fixture__send(f, "POST", "/_sim/stop", "", "", true);
    assert_true(f->sim->stop_wanted);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_status_with_any_retry_after),
        CASE(test_cloudflare_shows_html_and_no_limits),
        CASE(test_a_fault_lasts_for_its_time),
        CASE(test_wire_faults_plan_the_wire),
        CASE(test_bodies_are_spoiled),
        CASE(test_rewind_and_repeat_tell_a_wrong_cursor_with_content),
        CASE(test_a_bomb_is_small_and_large),
        CASE(test_headers_grow_and_vanish),
        CASE(test_limits_change_by_fault),
        CASE(test_other_clients_and_new_names),
        CASE(test_rewind_and_repeat_at_the_end),
        CASE(test_bad_prices_are_marked_and_last),
        CASE(test_bad_requests_for_faults_are_refused),
        CASE(test_river_limits_are_enforced_and_logged),
        CASE(test_identity_is_asked_first),
        CASE(test_ninja_revalidates_and_rebuilds),
        CASE(test_ninja_paths_and_shapes),
        CASE(test_ninja_rates_are_enforced),
        CASE(test_status_tells_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
