/* The river: pages are a function of the seed and the requests, never change, and survive a
 * restart; the ledger counts each once. */
#include <xxhash.h>
#include <yyjson.h>

#include "../lib/data_dir.h"
#include "test_sim.h"

static char *max_rate[] = {"--rate", "max", "--limits",       "off",
                           "--seed", "42",  "--page-changes", "200"};

/** @return a hash of @n pages read in a row. */
static uint64_t read_pages(struct fixture *f, int n, char cursor[CURSOR_MAX]) {
    uint64_t h = 0;
    for (int i = 0; i < n; i++) {
        const struct reply *r = fixture__page(f, cursor);
        assert_int_equal(r->status, 200);
        h = XXH3_64bits_withSeed(r->body->data, r->body->len, h);
        next_cursor(r, cursor);
    }
    return h;
}

static void test_the_same_seed_gives_the_same_pages(void **state) {
    struct fixture a, b, c;
    char ca[CURSOR_MAX] = "", cb[CURSOR_MAX] = "", cc[CURSOR_MAX] = "";
    char *other_seed[] = {"--rate", "max", "--limits",       "off",
                          "--seed", "43",  "--page-changes", "200"};
    uint64_t ha, hb, hc;
    (void)state;
    fixture__init(&a, 8, max_rate);
    fixture__init(&b, 8, max_rate);
    fixture__init(&c, 8, other_seed);
    fixture__open(&a);
    fixture__open(&b);
    fixture__open(&c);
    ha = read_pages(&a, 10, ca);
    b.sim->clock.mono_ns = 12345; /* Time has no part in it. */
    hb = read_pages(&b, 10, cb);
    hc = read_pages(&c, 10, cc);
    assert_true(ha == hb);
    assert_string_equal(ca, cb);
    assert_true(ha != hc);
    fixture__fini(&a);
    fixture__fini(&b);
    fixture__fini(&c);
}

static void test_a_page_never_changes(void **state) {
    struct fixture f;
    char cursors[12][CURSOR_MAX] = {""}, next[CURSOR_MAX] = "";
    uint64_t hashes[12];
    (void)state;
    fixture__init(&f, 8, max_rate);
    fixture__open(&f);
    for (int i = 0; i < 12; i++) {
        strcpy(cursors[i], next);
        hashes[i] = read_pages(&f, 1, next);
    }
    for (int i = 11; i >= 0; i--) {
        char again[CURSOR_MAX];
        strcpy(again, cursors[i]);
        assert_true(read_pages(&f, 1, again) == hashes[i]);
    }
    assert_int_equal(fixture__page(&f, "1-2-3-4-5")->status, 400);
    assert_int_equal(fixture__page(&f, "x")->status, 400);
    fixture__fini(&f);
}

/** Read a page as a client would and check the shapes that
 * https://www.pathofexile.com/developer/docs/reference promises. */
static void check_page(const struct reply *r, size_t *n_changes, size_t *n_tombstones,
                       size_t *n_empty) {
    yyjson_doc *doc = yyjson_read(r->body->data, r->body->len, 0);
    yyjson_val *stashes = yyjson_obj_get(yyjson_doc_get_root(doc), "stashes"), *s, *it;
    size_t i, n, k, m;
    assert_non_null(doc);
    assert_true(yyjson_is_arr(stashes));
    yyjson_arr_foreach(stashes, i, n, s) {
        (*n_changes)++;
        assert_int_equal(yyjson_get_len(yyjson_obj_get(s, "id")), 64);
        if (!yyjson_get_bool(yyjson_obj_get(s, "public"))) {
            (*n_tombstones)++;
            assert_true(yyjson_is_null(yyjson_obj_get(s, "accountName")) ||
                        yyjson_obj_get(s, "accountName") == NULL);
            assert_int_equal(yyjson_arr_size(yyjson_obj_get(s, "items")), 0);
            continue;
        }
        *n_empty += yyjson_arr_size(yyjson_obj_get(s, "items")) == 0;
        yyjson_arr_foreach(yyjson_obj_get(s, "items"), k, m, it) {
            assert_int_equal(yyjson_get_len(yyjson_obj_get(it, "id")), 64);
            assert_true(yyjson_is_str(yyjson_obj_get(it, "typeLine")));
            assert_true(yyjson_is_uint(yyjson_obj_get(it, "frameType")));
            assert_true(yyjson_get_uint(yyjson_obj_get(it, "x")) < 12 &&
                        yyjson_get_uint(yyjson_obj_get(it, "y")) < 12);
        }
    }
    yyjson_doc_free(doc);
}

static void test_pages_look_like_the_vendors(void **state) {
    struct fixture f;
    char cursor[CURSOR_MAX] = "";
    size_t n_changes = 0, n_tombstones = 0, n_empty = 0;
    (void)state;
    fixture__init(&f, 8, max_rate);
    fixture__open(&f);
    for (int i = 0; i < 20; i++) {
        const struct reply *r = fixture__page(&f, cursor);
        char line[120];
        check_page(r, &n_changes, &n_tombstones, &n_empty);
        next_cursor(r, cursor);
        snprintf(line, sizeof line, "X-Next-Change-Id: %s\r\n", cursor);
        assert_true(has_header(r, line));
    }
    assert_int_equal(n_changes, 20 * 200);
    assert_in_range(n_tombstones * 100 / n_changes, 80, 92); /* 84 to 91 were measured. */
    assert_in_range(n_empty * 100 / (n_changes - n_tombstones), 35, 65);
    fixture__fini(&f);
}

static void test_the_end_is_empty_until_something_happens(void **state) {
    struct fixture f;
    char *words[] = {"--rate", "10", "--limits", "off", "--backlog", "700"};
    char cursor[CURSOR_MAX] = "", same[CURSOR_MAX];
    const struct reply *r;
    (void)state;
    fixture__init(&f, 6, words);
    fixture__open(&f);
    read_pages(&f, 2, cursor); /* 500 and 200. */
    r = fixture__page(&f, cursor);
    next_cursor(r, same);
    assert_string_equal(cursor, same);
    assert_non_null(strstr(r->body->data, "\"stashes\":[]"));
    f.sim->clock.mono_ns += 3 * SIM_NS_PER_S; /* Thirty changes. */
    r = fixture__page(&f, cursor);
    assert_null(strstr(r->body->data, "\"stashes\":[]"));
    next_cursor(r, same);
    assert_string_not_equal(cursor, same);
    assert_int_equal(f.sim->rivers[REALM_PC].pages[2].n_changes, 30);
    fixture__fini(&f);
}

static void test_freeze_stops_time(void **state) {
    struct fixture f;
    char *words[] = {"--rate", "10", "--limits", "off", "--backlog", "100"};
    char cursor[CURSOR_MAX] = "";
    (void)state;
    fixture__init(&f, 6, words);
    fixture__open(&f);
    read_pages(&f, 1, cursor);
    fixture__send(&f, "POST", "/_sim/freeze", "", "{\"on\":true}", true);
    f.sim->clock.mono_ns += 100 * SIM_NS_PER_S;
    assert_non_null(strstr(fixture__page(&f, cursor)->body->data, "\"stashes\":[]"));
    fixture__send(&f, "POST", "/_sim/freeze", "", "{\"on\":false}", true);
    assert_non_null(strstr(fixture__page(&f, cursor)->body->data,
                           "\"stashes\":[]")); /* Nothing happened meanwhile. */
    f.sim->clock.mono_ns += SIM_NS_PER_S;
    assert_null(strstr(fixture__page(&f, cursor)->body->data, "\"stashes\":[]"));
    fixture__fini(&f);
}

static void test_a_restart_goes_on(void **state) {
    struct fixture whole, cut;
    char cw[CURSOR_MAX] = "", cc[CURSOR_MAX] = "", first[CURSOR_MAX] = "", *text, *text_cut;
    uint64_t hw, hc, h0;
    (void)state;
    fixture__init(&whole, 8, max_rate);
    fixture__init(&cut, 8, max_rate);
    whole.options.state_dir = whole.dir;
    cut.options.state_dir = cut.dir;
    fixture__open(&whole);
    fixture__open(&cut);
    read_pages(&whole, 5, cw);
    h0 = read_pages(&cut, 1, first);
    strcpy(cc, first);
    read_pages(&cut, 4, cc);
    fixture__close(&cut);
    fixture__open(&cut); /* Same seed, same folder. */
    assert_int_equal(cut.sim->rivers[REALM_PC].n_pages, 5);
    strcpy(first, "");
    assert_true(read_pages(&cut, 1, first) == h0); /* From the log, and not in the ledger again. */
    hw = read_pages(&whole, 5, cw);
    hc = read_pages(&cut, 5, cc);
    assert_true(hw == hc);
    fixture__close(&whole);
    fixture__close(&cut);
    text = read_text(&whole, "ledger.tsv");
    text_cut = read_text(&cut, "ledger.tsv");
    assert_string_equal(text, text_cut);
    assert_int_equal(count_of(text, "psapi-page\t"), 10);
    free(text);
    free(text_cut);
    fixture__fini(&whole);
    fixture__fini(&cut);
}

static void test_a_torn_log_is_cut_off(void **state) {
    struct fixture f;
    char cursor[CURSOR_MAX] = "", path[100];
    FILE *log;
    (void)state;
    fixture__init(&f, 8, max_rate);
    f.options.state_dir = f.dir;
    fixture__open(&f);
    read_pages(&f, 3, cursor);
    fixture__close(&f);
    snprintf(path, sizeof path, "%s/pages-pc.log", f.dir);
    log = fopen(path, "ab");
    fwrite("SPAG half a head", 1, 16, log);
    fclose(log);
    snprintf(path, sizeof path, "%s/ledger.tsv", f.dir);
    log = fopen(path, "ab");
    fputs("psapi\tpc\t1-2\t3-4\tstash\t0\titem\tnote\npsapi\tpc\t1-",
          log); /* Rows whose page line never came. */
    fclose(log);
    fixture__open(&f);
    assert_int_equal(f.sim->rivers[REALM_PC].n_pages, 3);
    read_pages(&f, 1, cursor);
    fixture__close(&f);
    {
        char *text = read_text(&f, "ledger.tsv");
        assert_int_equal(count_of(text, "psapi-page\t"), 4);
        assert_int_equal(count_of(text, "\t1-2\t"), 0);
        free(text);
    }
    fixture__fini(&f);
}

static void test_another_seed_cannot_use_the_folder(void **state) {
    struct fixture f;
    struct sim_err err;
    struct sim_clock now = {0};
    (void)state;
    fixture__init(&f, 8, max_rate);
    f.options.state_dir = f.dir;
    fixture__open(&f);
    fixture__close(&f);
    f.options.seed = 7;
    f.sim = calloc(1, sizeof *f.sim);
    assert_int_equal(sim__init(f.sim, &f.options, now, &err), -1);
    assert_non_null(strstr(err.msg, "--seed 42"));
    fixture__fini(&f);
}

static void test_the_ledger_has_each_page_once_and_only_if_whole(void **state) {
    struct fixture f;
    char *text, next[CURSOR_MAX];
    size_t n_rows = 0;
    yyjson_doc *doc;
    yyjson_val *s;
    size_t i, n;
    (void)state;
    fixture__init(&f, 8, max_rate);
    f.options.state_dir = f.dir;
    fixture__open(&f);
    fixture__send(&f, "GET", "/public-stash-tabs?id=", TEST_AGENT, "", false);
    assert_int_equal(f.sim->ledger.n_pages, 0);
    fixture__page(&f, "");
    doc = yyjson_read(f.reply.body->data, f.reply.body->len, 0);
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "stashes"), i, n, s) n_rows +=
        yyjson_arr_size(yyjson_obj_get(s, "items"));
    yyjson_doc_free(doc);
    fixture__page(&f, "");
    next_cursor(&f.reply, next);
    fixture__close(&f);
    text = read_text(&f, "ledger.tsv");
    assert_int_equal(count_of(text, "psapi-page\t"), 1);
    assert_int_equal(count_of(text, "psapi\t"), n_rows);
    assert_true(count_of(text, next) == n_rows + 1);
    free(text);
    fixture__fini(&f);
}

static void test_change_ids_tells_the_head(void **state) {
    struct fixture f;
    char *words[] = {"--rate", "10", "--limits", "off", "--backlog", "1200"};
    char cursor[CURSOR_MAX] = "", head[CURSOR_MAX];
    (void)state;
    fixture__init(&f, 6, words);
    fixture__open(&f);
    assert_int_equal(sscanf(fixture__get(&f, "/api/trade/data/change-ids")->body->data,
                            "{\"psapi\":\"%63[0-9-]\"}", head),
                     1);
    read_pages(&f, 3, cursor);
    assert_string_equal(cursor, head);
    assert_non_null(strstr(fixture__page(&f, head)->body->data, "\"stashes\":[]"));
    fixture__fini(&f);
}

static void test_realms_are_rivers_of_their_own(void **state) {
    struct fixture f;
    char pc[CURSOR_MAX], xbox[CURSOR_MAX];
    (void)state;
    fixture__init(&f, 8, max_rate);
    fixture__open(&f);
    next_cursor(fixture__get(&f, "/public-stash-tabs?id="), pc);
    next_cursor(fixture__get(&f, "/public-stash-tabs/xbox?id="), xbox);
    assert_string_not_equal(pc, xbox);
    assert_int_equal(fixture__get(&f, "/public-stash-tabs/pc")->status, 404);
    fixture__fini(&f);
}

static void test_pages_are_replayed(enum data_origin origin) {
    static const struct {
        size_t n_pages, n_changes;
        const char *unique;
    } want[] = {
        [DATA_MADE] = {4 + 3 + 1 + 33, 24 + 170 + 5 + 150 + 16 + 1 + 18 + 1 + 33,
                       "Ferryman's Patience"},
        [DATA_RECORDED] = {4 + 4 + 1 + 33, 21 + 1041 + 893 + 5 + 86 + 44 + 64 + 1 + 1 + 33,
                           "Ralakesh"},
    };
    struct fixture f;
    char dir[1024], *words[] = {"--replay", dir, "--limits", "off"}, cursor[CURSOR_MAX] = "";
    size_t n_changes = 0, n_pages = 0;
    snprintf(dir, sizeof dir, "%s", data__dir(origin));
    fixture__init(&f, 4, words);
    f.options.state_dir = f.dir;
    fixture__open(&f);
    for (;; n_pages++) {
        const struct reply *r;
        yyjson_doc *doc;
        yyjson_val *stashes, *s;
        size_t i, n;
        if (n_pages == 20) { /* A restart in the middle. */
            fixture__close(&f);
            fixture__open(&f);
        }
        r = fixture__page(&f, cursor);
        assert_int_equal(r->status, 200);
        doc = yyjson_read(r->body->data, r->body->len, 0);
        stashes = yyjson_obj_get(yyjson_doc_get_root(doc), "stashes");
        yyjson_arr_foreach(stashes, i, n, s) {
            assert_true(yyjson_is_str(yyjson_obj_get(s, "id")));
            assert_non_null(yyjson_obj_get(s, "league"));
        }
        n = yyjson_arr_size(stashes);
        yyjson_doc_free(doc);
        if (n == 0) break;
        n_changes += n;
        next_cursor(r, cursor);
    }
    assert_int_equal(n_pages, want[origin].n_pages);
    assert_int_equal(n_changes, want[origin].n_changes);
    assert_int_equal(
        fixture__get(
            &f, "/poe1/api/economy/stash/current/item/overview?league=Allflame&type=UniqueArmour")
            ->status,
        200);
    assert_non_null(strstr(f.reply.body->data, want[origin].unique));
    fixture__fini(&f);
}
DATA_TESTS_OF(test_pages_are_replayed)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_seed_gives_the_same_pages),
        cmocka_unit_test(test_a_page_never_changes),
        cmocka_unit_test(test_pages_look_like_the_vendors),
        cmocka_unit_test(test_the_end_is_empty_until_something_happens),
        cmocka_unit_test(test_freeze_stops_time),
        cmocka_unit_test(test_a_restart_goes_on),
        cmocka_unit_test(test_a_torn_log_is_cut_off),
        cmocka_unit_test(test_another_seed_cannot_use_the_folder),
        cmocka_unit_test(test_the_ledger_has_each_page_once_and_only_if_whole),
        cmocka_unit_test(test_change_ids_tells_the_head),
        cmocka_unit_test(test_realms_are_rivers_of_their_own),
        DATA_TESTS(test_pages_are_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
