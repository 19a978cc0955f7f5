/* Snapshots of the account's stash: which tabs are asked for and in what order, what cuts a
 * snapshot off, and what the tabs become. */
#include "../../src/vendors/ggg/account_internal.h"
#include "../golden/golden.h"
#include "souk/source.h"
#include "souk/tables.h"
#include "test_cells.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <yyjson.h>

#define NOW_S INT64_C(1800000000)
#define HOUR_NS (3600 * NS_PER_S)
#define MAX_TABS 4096

static const char *const realms[] = {"pc", "xbox"}, *const leagues[] = {"Standard", "Hard core"};
static const struct source_type *account;

struct fixture {
    struct source_settings settings;
    struct stream_spec specs[STREAMS_MAX];
    struct stream_state at;
    struct source_request request;
    struct page_facts facts;
    struct buf memo;
    struct err err;
};

static int begin(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    account = source__find("account_stashes");
    f->settings = (struct source_settings){.base_url = "https://api.example",
                                           .realms = realms,
                                           .n_realms = 2,
                                           .leagues = leagues,
                                           .n_leagues = 2,
                                           .period_ns = HOUR_NS,
                                           .client_id = "souk",
                                           .account = ""};
    f->at.now = (struct clock){.mono_ns = 7 * HOUR_NS, .wall_ns = NOW_S * NS_PER_S};
    assert_int_equal(account->streams(&f->settings, f->specs, &f->err), 4);
    *state = f;
    return 0;
}

static int end(void **state) {
    struct fixture *f = *state;
    buf__fini(&f->memo);
    buf__fini(&f->facts.keep);
    free(f);
    return 0;
}

static void assert_text(struct slice got, const char *want) {
    if (!slice__eq(got, slice__str(want))) fail_msg("%.*s is not %s", SLICE_FMT(got), want);
}

static int64_t plan(struct fixture *f) {
    account->plan(&f->settings, &f->specs[0], &f->at, &f->request);
    return f->request.not_before_mono_ns;
}

/* Judges an answer and does to the state what the poller does. */
static enum page_verdict judge(struct fixture *f, int status, struct slice body) {
    struct source_answer answer = {.status = status, .body = body};
    buf__fini(&f->facts.keep);
    f->err = (struct err){0};
    int code = account->judge(&f->specs[0], &f->at, &answer, &f->facts, &f->err);
    bool fine = f->facts.verdict == PAGE_NEW;
    assert_int_equal(code == 0, fine);
    f->at.poked = false;
    f->at.unavailable = f->facts.verdict == PAGE_UNAVAILABLE;
    f->at.last_reply_mono_ns = f->at.now.mono_ns;
    f->at.n_failures = fine || f->at.unavailable ? 0 : f->at.n_failures + 1;
    if (fine) snprintf(f->at.cursor, sizeof f->at.cursor, "%s", f->facts.next_cursor);
    if (f->facts.memo.len > 0) {
        buf__fini(&f->memo);
        f->memo = f->facts.memo;
        f->at.memo = buf__slice(&f->memo);
    }
    return f->facts.verdict;
}

static enum page_verdict judge_file(struct fixture *f, const char *file) {
    struct buf body;
    assert_true(golden__load("SOUK_SOURCE", file, &body));
    enum page_verdict v = judge(f, 200, buf__slice(&body));
    buf__fini(&body);
    return v;
}

/* The tab that is asked for next, in the shortest body that there is. */
static void answer_tab(struct fixture *f, const char *url, const char *id) {
    char body[128];
    assert_int_equal(plan(f), 0);
    assert_string_equal(f->request.url, url);
    assert_string_equal(f->request.endpoint, "account_stashes");
    snprintf(body, sizeof body, "{\"stash\":{\"id\":\"%s\",\"items\":[]}}", id);
    assert_int_equal(judge(f, 200, slice__str(body)), PAGE_NEW);
}

static void test_a_stream_is_a_realm_and_a_league(void **state) {
    struct fixture *f = *state;
    assert_string_equal(f->specs[0].key, "pc/Standard");
    assert_string_equal(f->specs[3].key, "xbox/Hard core");
    assert_int_equal(strlen(f->specs[0].kind), 32); /* The account's hash. */
    assert_null(strstr(f->specs[0].kind, "souk"));
    account->plan(&f->settings, &f->specs[3], &f->at, &f->request);
    assert_string_equal(f->request.url, "https://api.example/stash/xbox/Hard%20core");
    assert_string_equal(f->request.endpoint, "account_stash_list");
    assert_string_equal(f->request.scope, "account:stashes");
    assert_int_equal(f->request.class, SOURCE_TAIL);
}

static void test_a_snapshot_asks_for_each_tab_once(void **state) {
    struct fixture *f = *state;
    assert_int_equal(plan(f), 0);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard");
    assert_int_equal(judge_file(f, "tests/data/account/list.json"), PAGE_NEW);
    assert_string_equal(f->at.cursor, "1800000000/0/4");
    assert_int_equal(f->facts.keep.len, 0); /* The list is kept as it is. */
    f->at.now.mono_ns += 60 * NS_PER_S;     /* The snapshot keeps its name. */
    f->at.now.wall_ns += 60 * NS_PER_S;
    answer_tab(f, "https://api.example/stash/Standard/aaaaaaaaa1", "aaaaaaaaa1");
    assert_string_equal(f->at.cursor, "1800000000/1/4");
    answer_tab(f, "https://api.example/stash/Standard/bbbbbbbbb1", "bbbbbbbbb1");
    /* One that is gone is passed over. */
    assert_int_equal(plan(f), 0);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard/bbbbbbbbb2");
    assert_int_equal(f->request.expect_status, 404);
    assert_int_equal(judge(f, 404, SLICE_LIT("{\"error\":{\"code\":1,\"message\":\"Resource not found\"}}")),
                     PAGE_NEW);
    assert_text(buf__slice(&f->facts.keep),
                "{\"skipped\":{\"id\":\"bbbbbbbbb2\",\"status\":404,\"why\":\"it is gone since the list\"}}");
    /* Maps come with parts, the empty one and the one that brings its items left out. */
    plan(f);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard/aaaaaaaaa3");
    assert_int_equal(judge_file(f, "tests/data/account/maps.json"), PAGE_NEW);
    assert_string_equal(f->at.cursor, "1800000000/4/5");
    struct buf note = buf__init(512);
    account->note(&f->settings, &f->specs[0], &f->at, &note);
    assert_text(buf__slice(&note), "snapshot 1800000000: 4 of 5 tabs");
    buf__fini(&note);
    answer_tab(f, "https://api.example/stash/Standard/aaaaaaaaa3/ccccccccc1", "ccccccccc1");
    assert_string_equal(f->at.cursor, "1800000000/5/5");
    /* The next one begins a period after this one began, or when somebody wants it. */
    assert_true(plan(f) == 7 * HOUR_NS + HOUR_NS);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard");
    f->at.poked = true;
    assert_int_equal(plan(f), 0);
}

static void test_a_restart_begins_anew_unless_all_was_there(void **state) {
    struct fixture *f = *state;
    snprintf(f->at.cursor, sizeof f->at.cursor, "1799999000/3/12");
    assert_int_equal(plan(f), 0);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard");
    snprintf(f->at.cursor, sizeof f->at.cursor, "1799999000/12/12");
    assert_true(plan(f) == 7 * HOUR_NS + HOUR_NS - 1000 * NS_PER_S);
    f->at.now.wall_ns = 0; /* The clock was set back: a period from whenever it is asked never ends. */
    assert_int_equal(plan(f), 0);
    f->at.now.wall_ns = NOW_S * 2 * NS_PER_S;
    assert_int_equal(plan(f), 0);
    static const char *const strange[] = {"x", "1/2", "1/2/x", "-5/1/1", "99999999999999999/1/1"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        snprintf(f->at.cursor, sizeof f->at.cursor, "%s", strange[i]);
        assert_int_equal(plan(f), 0);
    }
}

static void test_what_is_not_granted_is_a_state(void **state) {
    struct fixture *f = *state;
    static const int refusals[] = {403, 404, 400, 422};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        assert_int_equal(judge(f, refusals[i], SLICE_LIT("{\"error\":{\"code\":6,\"message\":\"Forbidden\"}}")),
                         PAGE_UNAVAILABLE);
        assert_true(plan(f) == f->at.now.mono_ns + 24 * HOUR_NS);
    }
    f->at.poked = true;
    assert_int_equal(plan(f), 0);
    /* In the middle of a snapshot too, which ends there. */
    f->at.unavailable = false;
    assert_int_equal(judge_file(f, "tests/data/account/list.json"), PAGE_NEW);
    assert_int_equal(judge(f, 403, SLICE_LIT("{}")), PAGE_UNAVAILABLE);
    assert_true(plan(f) == f->at.now.mono_ns + 24 * HOUR_NS);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard");
    assert_string_equal(f->at.cursor, "1800000000/0/4"); /* Never complete. */
}

static void test_failures_of_the_moment_are_tried_again(void **state) {
    struct fixture *f = *state;
    static const int statuses[] = {0, 401, 408, 429, 500, 503};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        assert_int_equal(judge(f, statuses[i], SLICE_LIT("{}")), PAGE_INVALID);
    assert_int_equal(judge(f, 200, SLICE_LIT("<html>")), PAGE_INVALID);
    assert_true(f->facts.block_page);
    assert_int_equal(judge(f, 403, SLICE_LIT("<html>")), PAGE_INVALID);
    assert_int_equal(judge(f, 200, SLICE_LIT("{\"stashes\":[")), PAGE_INVALID);
    assert_int_equal(judge(f, 200, SLICE_LIT("{}")), PAGE_INVALID);
    assert_int_equal(plan(f), 0); /* The poller backs off. */
    f->at.n_failures = 0;
    assert_int_equal(judge_file(f, "tests/data/account/list.json"), PAGE_NEW);
    /* A tab that stays unreadable does not hold up the others. */
    assert_int_equal(judge(f, 200, SLICE_LIT("{\"stash\":{\"id\":\"other\"}}")), PAGE_INVALID);
    assert_int_equal(judge(f, 200, SLICE_LIT("{\"stash\":")), PAGE_INVALID);
    assert_string_equal(f->at.cursor, "1800000000/0/4");
    assert_int_equal(judge(f, 200, SLICE_LIT("{\"stash\":{\"id\":\"aaaaaaaaa1\",\"items\":5}}")), PAGE_NEW);
    assert_string_equal(f->at.cursor, "1800000000/1/4");
    assert_non_null(memmem(f->facts.keep.base, f->facts.keep.len, "\"status\":200", 12));
    plan(f);
    assert_string_equal(f->request.url, "https://api.example/stash/Standard/bbbbbbbbb1");
}

/* The rows that @body makes. */
static void decode(struct fixture *f, struct slice body, struct rows *rows) {
    static const char *const followed[] = {"Standard"};
    struct decode_context context = {.followed = followed, .n_followed = 1};
    struct page page = {.stream = &f->specs[0],
                        .cursor_from = SLICE_LIT("1800000000/0/4"),
                        .cursor_to = SLICE_LIT("1800000000/1/4"),
                        .received_wall_ns = NOW_S * NS_PER_S,
                        .lsn = 5,
                        .body = body};
    *rows = (struct rows){0};
    if (account->decode(&page, &context, rows, &f->err) != 0) fail_msg("%s", f->err.msg);
}

static void decode_file(struct fixture *f, const char *file, struct rows *rows) {
    struct buf body;
    assert_true(golden__load("SOUK_SOURCE", file, &body));
    decode(f, buf__slice(&body), rows);
    buf__fini(&body);
}

static void test_a_long_list_is_bounded_and_says_so(void **state) {
    struct fixture *f = *state;
    struct rows rows;
    struct buf body = buf__init(1 << 20), note = buf__init(512);
    buf__append_str(&body, "{\"stashes\":[");
    for (int i = 0; i < MAX_TABS + 3; i++) buf__printf(&body, "%s{\"id\":\"t%d\"}", i == 0 ? "" : ",", i);
    buf__append_str(&body, "]}");
    assert_int_equal(judge(f, 200, buf__slice(&body)), PAGE_NEW);
    assert_string_equal(f->at.cursor, "1800000000/0/4096");
    account->note(&f->settings, &f->specs[0], &f->at, &note);
    assert_text(buf__slice(&note), "snapshot 1800000000: 0 of 4096 tabs, 3 more than the 4096 that one may have; at the "
                                   "vendor's pace it takes about 49300 s, longer than period_s: the next begins when it "
                                   "is complete");
    decode(f, buf__slice(&body), &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(b->n_rows, 1);
    assert_text(golden__str(b, "reason", 0), "too_many");
    assert_text(golden__str(b, "value", 0), "3");
    rows__fini(&rows);
    buf__fini(&body);
    buf__fini(&note);
}

static void test_a_tab_without_end_is_bounded_and_says_so(void **state) {
    struct fixture *f = *state;
    struct rows rows;
    struct buf body = buf__init(16 << 20);
    buf__append_str(&body, "{\"stash\":{\"id\":\"t1\",\"name\":\"T\",\"type\":\"PremiumStash\",\"items\":[");
    put_many(&body, ACCOUNT_ITEMS_MAX - 2, "{\"id\":\"1\",\"typeLine\":\"Ring\",\"x\":0,\"y\":0,\"w\":1,\"h\":1}");
    buf__append_str(&body, ",{\"id\":\"2\",\"typeLine\":\"Robe\",\"x\":0,\"y\":0,\"w\":1,\"h\":1,\"socketedItems\":[");
    put_many(&body, 8, "{\"id\":\"3\",\"typeLine\":\"Gem\",\"socket\":0,\"w\":1,\"h\":1}"); /* They count too. */
    buf__append_str(&body, "]}]}}");
    decode(f, buf__slice(&body), &rows);
    assert_bounded(&rows, &table_bronze_account_stash_snapshot, ACCOUNT_ITEMS_MAX, "7");
    rows__fini(&rows);
    buf__fini(&body);
}

static void test_items_become_rows(void **state) {
    struct fixture *f = *state;
    struct rows rows;
    decode_file(f, "tests/data/account/tab.json", &rows);
    const struct batch *b = golden__batch(&rows, &table_bronze_account_stash_snapshot, "Standard");
    assert_int_equal(b->n_rows, 5);
    /* Where it lies cannot be read, or was not sent: not known, which is not the first column. */
    assert_text(golden__str(b, "item_id", 3), "4444");
    assert_int_equal(golden__int(b, "x", 3), 65535);
    assert_int_equal(golden__int(b, "y", 3), 65535);
    assert_int_equal(golden__int(b, "w", 3), 1);
    assert_int_equal(golden__int(b, "ilvl", 3), 65535);
    assert_text(golden__str(b, "parent_item_id", 4), "4444"); /* From a list that is keyed by index. */
    assert_int_equal(rows.n_fields_lost, 4); /* With the name that is a number. */
    assert_int_equal(golden__int(b, "tab_index", 0), 0);
    assert_text(golden__str(b, "snapshot_id", 0), "1800000000");
    assert_true(golden__int(b, "captured_at", 0) == NOW_S * 1000);
    assert_text(golden__str(b, "account_hash", 0), f->specs[0].kind);
    assert_text(golden__str(b, "tab_id", 0), "aaaaaaaaa1");
    assert_text(golden__str(b, "tab_name", 0), "Dump");
    assert_text(golden__str(b, "tab_type", 0), "PremiumStash");
    assert_text(golden__str(b, "item_id", 0), "1111");
    assert_text(golden__str(b, "name", 0), "Tabula Rasa");
    assert_text(golden__str(b, "rarity", 0), "Unique");
    assert_text(golden__str(b, "note", 0), "~price 10 chaos");
    assert_int_equal(golden__int(b, "x", 0), 4);
    assert_int_equal(golden__int(b, "y", 0), 5);
    assert_int_equal(golden__int(b, "w", 0), 2);
    assert_int_equal(golden__int(b, "h", 0), 3);
    /* What is socketed stands behind its item. */
    assert_text(golden__str(b, "item_id", 1), "1112");
    assert_text(golden__str(b, "parent_item_id", 1), "1111");
    assert_int_equal(golden__int(b, "x", 1), 2);
    assert_int_equal(golden__int(b, "y", 1), 0);
    assert_int_equal(golden__int(b, "ord", 2), 3);
    assert_int_equal(golden__int(b, "stack_size", 2), 5000);
    assert_true(golden__int(b, "mods_hash", 2) != 0);
    const struct batch *q = golden__batch(&rows, &table_bronze_quarantine, "");
    assert_int_equal(q->n_rows, 3);
    assert_text(golden__str(q, "field", 0), "stash.items[0].socketedItems[1].typeLine");
    assert_text(golden__str(q, "field", 1), "stash.items[2].x");
    assert_text(golden__str(q, "field", 2), "stash.items[4]");
    rows__fini(&rows);

    decode_file(f, "tests/data/account/maps.json", &rows);
    b = golden__batch(&rows, &table_bronze_account_stash_snapshot, "Standard");
    assert_int_equal(b->n_rows, 1);
    assert_text(golden__str(b, "tab_id", 0), "ccccccccc3");
    assert_text(golden__str(b, "parent_tab_id", 0), "aaaaaaaaa3");
    assert_text(golden__str(b, "tab_name", 0), "Dunes Map");
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 1);
    rows__fini(&rows);

    decode_file(f, "tests/data/account/legacy.json", &rows);
    b = golden__batch(&rows, &table_bronze_account_stash_snapshot, "Standard");
    assert_int_equal(b->n_rows, 1);
    assert_text(golden__str(b, "tab_id", 0), "ddddddddd2");
    assert_text(golden__str(b, "tab_name", 0), "Orbs");
    assert_text(golden__str(b, "tab_type", 0), "CurrencyStash");
    assert_text(golden__str(b, "type_line", 0), "Exalted Orb");
    rows__fini(&rows);

    decode_file(f, "tests/data/account/list.json", &rows); /* Three entries without an id to ask for. */
    assert_int_equal(golden__count(&rows, &table_bronze_account_stash_snapshot), 0);
    assert_text(golden__str(golden__batch(&rows, &table_bronze_quarantine, ""), "value", 0), "3");
    rows__fini(&rows);
    decode(f, SLICE_LIT("{\"skipped\":{\"id\":\"a\",\"status\":404,\"why\":\"gone\"}}"), &rows);
    assert_int_equal(rows__count(&rows), 0);
    decode(f, SLICE_LIT("{\"skipped\":{\"id\":\"a\",\"status\":200,\"why\":\"broken\"}}"), &rows);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 1);
    rows__fini(&rows);
}

/* A row for each item of @tab and what lies in its sockets, nothing refused. @return how many. */
static size_t check_tab(struct fixture *f, yyjson_val *tab, const char *name, struct buf *digest) {
    struct rows rows;
    size_t n_want = 0, j, m;
    yyjson_val *item;
    yyjson_arr_foreach(yyjson_obj_get(tab, "items"), j, m, item) n_want +=
        1 + yyjson_arr_size(yyjson_obj_get(item, "socketedItems"));
    char *body = yyjson_val_write(tab, 0, NULL);
    decode(f, slice__str(body), &rows);
    assert_int_equal(golden__count(&rows, &table_bronze_account_stash_snapshot), n_want);
    assert_int_equal(golden__count(&rows, &table_bronze_quarantine), 0);
    golden__digest(&rows, name, digest);
    rows__fini(&rows);
    free(body);
    return n_want;
}

/* Tabs of all types make the committed rows. */
static void check_tabs(struct fixture *f, enum data_origin origin) {
    static const struct {
        enum data_origin origin;
        const char *file;
        size_t n_tabs, n_rows;
    } files[] = {
        {DATA_MADE, "account/stash-items-legacy-all-types.json.gz", 18, 194},
        {DATA_MADE, "account/stash-items-legacy-list.json.gz", 1, 12},
        {DATA_RECORDED, "account/stash-items-legacy-all-types.json.gz", 20, 1110},
        {DATA_RECORDED, "account/stash-items-legacy-hchb.json.gz", 1, 81},
    };
    struct buf digests = buf__init(1 << 16);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t k, n, n_rows = 0, n_tabs = 0;
        struct buf file;
        yyjson_val *key, *tab;
        if (files[i].origin != origin) continue;
        golden__body(origin, files[i].file, &file);
        yyjson_doc *doc = yyjson_read(file.base, file.len, 0);
        yyjson_obj_foreach(yyjson_doc_get_root(doc), k, n, key, tab) {
            if (yyjson_obj_get(tab, "items") == NULL) continue; /* The list of tabs. */
            n_rows += check_tab(f, tab, yyjson_get_str(key), &digests);
            n_tabs++;
        }
        if (n_tabs != files[i].n_tabs || n_rows != files[i].n_rows)
            fail_msg("%s: %zu tabs with %zu rows", files[i].file, n_tabs, n_rows);
        yyjson_doc_free(doc);
        buf__fini(&file);
    }
    assert_true(golden__same("account", origin, &digests));
    buf__fini(&digests);
}

static void test_tabs_of_all_types_made(void **state) { check_tabs(*state, DATA_MADE); }

static void test_tabs_of_all_types_recorded(void **state) {
    DATA_OR_SKIP(DATA_RECORDED);
    check_tabs(*state, DATA_RECORDED);
}

/* Whose stash it is, the vendor says; until somebody has logged in the client stands for that. */
static void test_the_account_decides_the_hash(void **state) {
    struct fixture *f = *state;
    char hash[TABLES_HASH_SIZE];
    tables__hash(SLICE_LIT("souk"), hash);
    assert_string_equal(f->specs[0].kind, hash);
    f->settings.account = "exile#1234";
    assert_int_equal(account->streams(&f->settings, f->specs, &f->err), 4);
    tables__hash(SLICE_LIT("exile#1234"), hash);
    assert_string_equal(f->specs[0].kind, hash);
}

int main(void) {
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_the_account_decides_the_hash),
        TEST(test_a_stream_is_a_realm_and_a_league),
        TEST(test_a_snapshot_asks_for_each_tab_once),
        TEST(test_a_restart_begins_anew_unless_all_was_there),
        TEST(test_what_is_not_granted_is_a_state),
        TEST(test_failures_of_the_moment_are_tried_again),
        TEST(test_a_long_list_is_bounded_and_says_so),
        TEST(test_a_tab_without_end_is_bounded_and_says_so),
        TEST(test_items_become_rows),
        TEST(test_tabs_of_all_types_made),
        TEST(test_tabs_of_all_types_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
