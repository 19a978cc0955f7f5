/* Pages to versions of stashes: prices, keys, bounds; and one stash over days through this face and
 * the tape, against the differences that came with it. */
#include "../lib/data_dir.h"
#include "souk/psapi_versions.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>
#include <zlib.h>
#include <cmocka.h>

#define ITEMS_MAX 32

struct seen {
    struct tape_item items[ITEMS_MAX];
    size_t n_items, n_versions, n_tombstones, n_partial, n_unread;
    char ids[ITEMS_MAX][72];
    char currencies[ITEMS_MAX][32];
    char league[64], seller[64];
    int stop_after; /* Versions; 0: never. */
};

static void copy(char *out, size_t size, struct slice s) { snprintf(out, size, "%.*s", SLICE_FMT(s)); }

static int on_version(void *ctx, const struct tape_version *v) {
    struct seen *s = ctx;
    s->n_versions += !v->unread;
    s->n_unread += v->unread;
    s->n_tombstones += !v->unread && !v->is_public;
    s->n_partial += v->partial;
    copy(s->league, sizeof s->league, v->league);
    copy(s->seller, sizeof s->seller, v->seller);
    for (size_t i = 0; i < v->n_items && s->n_items < ITEMS_MAX; i++, s->n_items++) {
        s->items[s->n_items] = v->items[i];
        copy(s->ids[s->n_items], 72, v->items[i].id);
        copy(s->currencies[s->n_items], 32, v->items[i].currency);
    }
    return s->stop_after > 0 && (int)s->n_versions == s->stop_after ? ERR_CANCELED : 0;
}

static int see(const char *stashes, struct seen *out, struct psapi_versions_count *count) {
    static char body[1 << 16];
    struct stream_spec stream = {.realm = "pc"};
    struct err e = {0};
    int n = snprintf(body, sizeof body, "{\"next_change_id\":\"1-2-3-4-5\",\"stashes\":[%s]}", stashes);
    struct page page = {.stream = &stream, .received_wall_ns = 5, .body = slice__of(body, (size_t)n)};
    *count = (struct psapi_versions_count){0};
    return psapi_versions__each(&page, true, on_version, out, count, &e);
}

#define STASH(name, items)                                                                                             \
    "{\"id\":\"s\",\"public\":true,\"accountName\":\"ann\",\"stash\":\"" name "\",\"items\":[" items "]}"
#define ITEM(more) "{\"id\":\"i\",\"typeLine\":\"Sword\",\"frameType\":0,\"identified\":true" more "}"

static void test_the_note_then_the_forum_then_the_tab(void **state) {
    (void)state;
    struct seen s = {0};
    struct psapi_versions_count count;
    assert_int_equal(see(STASH("~price 3 divine",
                               ITEM(",\"note\":\"~price 5 chaos\",\"forum_note\":\"~price 9 chaos\"") "," ITEM(
                                   ",\"stackSize\":4,\"forum_note\":\"~price 1/2 chaos\"") "," ITEM("") "," ITEM(",\"note\":\"hands off\"")),
                         &s, &count),
                     0);
    assert_int_equal(s.n_items, 4);
    assert_int_equal(s.items[0].price_e6, 5000000);
    assert_int_equal(s.items[1].price_e6, 500000);
    assert_int_equal(s.items[2].price_e6, 3000000);
    assert_string_equal(s.currencies[2], "divine");
    assert_int_equal(s.items[3].price_e6, 3000000); /* Free text says nothing of the price. */
    assert_true(s.items[2].ask == s.items[3].ask && s.items[2].ask != 0);
    assert_true(s.items[0].ask != s.items[2].ask);
    /* What is no price asks nothing, whatever it says: new words change nothing. */
    s = (struct seen){0};
    assert_int_equal(see(STASH("things", ITEM("") "," ITEM(",\"note\":\"~price 9\"")), &s, &count), 0);
    assert_true(s.items[0].ask == 0 && s.items[1].ask == 0);
}

static uint64_t key_of(const char *item, uint64_t *fingerprint) {
    struct seen s = {0};
    struct psapi_versions_count count;
    char stash[4096];
    snprintf(stash, sizeof stash, STASH("a", "%s"), item);
    assert_int_equal(see(stash, &s, &count), 0);
    assert_int_equal(s.n_items, 1);
    if (fingerprint != NULL) *fingerprint = s.items[0].fingerprint;
    return s.items[0].item_key;
}

static void test_what_competes_has_one_key(void **state) {
    (void)state;
    uint64_t a, b;
#define UNIQUE(more) "{\"id\":\"i\",\"name\":\"Tabula Rasa\",\"typeLine\":\"Simple Robe\",\"frameType\":3" more "}"
    /* Rolls do not matter to the market of a unique; they tell two apart. More: test_item_identity. */
    assert_int_equal(key_of(UNIQUE(",\"ilvl\":10,\"explicitMods\":[\"+4 to a\"]"), &a),
                     key_of(UNIQUE(",\"ilvl\":80,\"explicitMods\":[\"+6 to a\"]"), &b));
    assert_int_not_equal(a, b);
#define RARE(name, mod)                                                                                                \
    "{\"id\":\"i\",\"name\":\"" name "\",\"typeLine\":\"Sword\",\"frameType\":2,\"explicitMods\":[\"" mod "\"]}"
    assert_int_not_equal(key_of(RARE("Doom", "+10 life"), NULL), key_of(RARE("Doom", "+90 life"), NULL));
    assert_int_equal(key_of(RARE("Doom", "+10 life"), NULL), key_of(RARE("Gloom", "+10 life"), NULL));
#define GEM(level)                                                                                                     \
    "{\"id\":\"i\",\"typeLine\":\"Empower\",\"frameType\":4,\"properties\":[{\"name\":\"Level\",\"values\":[[\"" level "\",0]]}]}"
    assert_int_not_equal(key_of(GEM("3"), NULL), key_of(GEM("4"), NULL));
    assert_int_equal(key_of(GEM("4"), NULL), key_of(GEM("4"), NULL));
#define STACK(n) "{\"id\":\"i\",\"typeLine\":\"Chaos Orb\",\"frameType\":5,\"stackSize\":" n "}"
    assert_int_equal(key_of(STACK("1"), &a), key_of(STACK("7"), &b));
    assert_int_equal(a, 0);
    assert_int_equal(b, 0);
    assert_int_not_equal(key_of(STACK("1"), NULL), key_of(UNIQUE(""), NULL));
}

static void test_broken_entries_are_not_known_alone(void **state) {
    (void)state;
    struct seen s = {0};
    struct psapi_versions_count count;
    assert_int_equal(see(STASH("a", ITEM(",\"ilvl\":70000") "," ITEM(",\"ilvl\":\"x\",\"league\":\"Heist\"")) ","
                         "{\"id\":7,\"public\":true,\"items\":[]},{\"id\":\"t\",\"public\":false}", &s, &count), 0);
    assert_int_equal(s.n_versions, 2);
    assert_int_equal(s.n_tombstones, 1);
    assert_int_equal(s.n_items, 2);
    assert_true(s.items[0].unread);
    assert_string_equal(s.ids[0], "i");
    assert_false(s.items[1].unread);
    assert_int_equal(s.n_partial, 0);
    assert_int_equal(count.n_stashes, 2);
    assert_int_equal(count.n_items, 2);
    assert_int_equal(count.n_refused_items, 1);
    assert_int_equal(count.n_refused_stashes, 1);
    assert_int_equal(s.n_unread, 0);
    /* A stash that cannot be read is told by its id. */
    s = (struct seen){0};
    assert_int_equal(see("{\"id\":\"t\",\"public\":7,\"items\":[]}," STASH("a", ITEM("")), &s, &count), 0);
    assert_int_equal(count.n_refused_stashes, 1);
    assert_int_equal(s.n_unread, 1);
    assert_int_equal(s.n_versions, 1);
    /* Without an id that can be read it may be any item of its stash. */
    s = (struct seen){0};
    assert_int_equal(see(STASH("a", "{\"id\":7,\"typeLine\":\"Sword\"}," ITEM("")), &s, &count), 0);
    assert_int_equal(s.n_items, 1);
    assert_int_equal(s.n_partial, 1);
    s = (struct seen){0};
    assert_int_equal(see(STASH("a", "7," ITEM("")) "," STASH("b", "{\"id\":{},\"typeLine\":\"a\"}") "," STASH("c", ITEM("")), &s, &count), 0);
    assert_int_equal(s.n_partial, 3); /* All three have one id: see below. */
    s = (struct seen){0};
    assert_int_equal(see(STASH("a", "7," ITEM("")), &s, &count), 0);
    assert_int_equal(s.n_items, 1);
    assert_int_equal(s.n_partial, 1);
    s = (struct seen){0};
    assert_int_equal(see(STASH("a", "{\"id\":{},\"typeLine\":\"a\"}"), &s, &count), 0);
    assert_int_equal(s.n_partial, 1);
    s = (struct seen){0};
    assert_int_equal(see(STASH("a", ITEM(",\"league\":\"Heist\"")), &s, &count), 0);
    assert_string_equal(s.league, "Heist"); /* The item's, where the stash has none. */
    assert_string_equal(s.seller, "ann");
}

/* A field that a row can do without, yet two versions cannot be compared by: the item is there, and no more is known. */
static void test_what_is_asked_for_and_cannot_be_read_is_not_known(void **state) {
    (void)state;
    static const struct {
        const char *stash;
        bool unread;
    } cases[] = {
        {STASH("a", ITEM(",\"stackSize\":\"5000\"")), true},
        {STASH("a", ITEM(",\"stackSize\":-1")), true},
        {STASH("a", ITEM(",\"stackSize\":0")), false},
        {STASH("a", ITEM(",\"stackSize\":null")), false},
        {STASH("a", ITEM(",\"note\":[\"~price 5 chaos\"]")), true},
        {STASH("~price 5 chaos", ITEM(",\"note\":{}")), true}, /* It might say something else than the tab. */
        {STASH("a", ITEM(",\"note\":null")), false},
        {STASH("a", ITEM(",\"forum_note\":5")), true},
        {STASH("a", ITEM(",\"ilvl\":\"x\",\"league\":[]")), false}, /* These say nothing of it. */
        {"{\"id\":\"s\",\"public\":true,\"stash\":[],\"items\":[" ITEM("") "]}", true},
        {"{\"id\":\"s\",\"public\":true,\"stash\":[],\"items\":[" ITEM(",\"note\":\"~price 5 chaos\"") "]}", false},
        {"{\"id\":\"s\",\"public\":true,\"stash\":null,\"items\":[" ITEM("") "]}", false},
        {"{\"id\":\"s\",\"public\":true,\"stashType\":5,\"items\":[" ITEM("") "]}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen s = {0};
        struct psapi_versions_count count;
        assert_int_equal(see(cases[i].stash, &s, &count), 0);
        assert_int_equal(s.n_items, 1);
        assert_int_equal(s.n_partial, 0);
        assert_string_equal(s.ids[0], "i");
        if (s.items[0].unread != cases[i].unread) fail_msg("%s", cases[i].stash);
        assert_int_equal(count.n_refused_items, cases[i].unread);
    }
}

/* What is not said is not gone: neither a tombstone nor an empty tab. */
static void test_a_stash_that_does_not_say_what_it_holds_is_not_handed_on(void **state) {
    (void)state;
    static const char *const stashes[] = {
        "{\"id\":\"s\",\"public\":\"no\",\"items\":[]}", "{\"id\":\"s\",\"public\":0,\"items\":[]}",
        "{\"id\":\"s\",\"public\":true}", "{\"id\":\"s\",\"public\":true,\"items\":null}", "{\"id\":\"s\",\"public\":null}",
        "{\"id\":\"s\",\"public\":true,\"items\":{}}", "{\"id\":[],\"public\":false}", "[]",
    };
    for (size_t i = 0; i < sizeof stashes / sizeof *stashes; i++) {
        struct seen s = {0};
        struct psapi_versions_count count;
        assert_int_equal(see(stashes[i], &s, &count), 0);
        if (s.n_versions != 0) fail_msg("%s", stashes[i]);
        assert_int_equal(count.n_refused_stashes, 1);
    }
}

/* Nothing says which of two versions in one page is the later one. */
static void test_a_stash_that_is_twice_in_a_page_says_nothing_of_what_went(void **state) {
    (void)state;
    struct seen s = {0};
    struct psapi_versions_count count;
    assert_int_equal(see("{\"id\":\"s\",\"public\":false}," STASH("a", ITEM("")) ",{\"id\":\"t\",\"public\":false}," STASH("b", ""), &s, &count), 0);
    assert_int_equal(s.n_versions, 3); /* Not its tombstone. */
    assert_int_equal(s.n_tombstones, 1);
    assert_int_equal(s.n_partial, 2);
    assert_int_equal(count.n_refused_stashes, 1);
}

static void test_stashes_beyond_the_bound_of_a_page_are_not_known(void **state) {
    (void)state;
    enum { MORE = 100001 };
    struct buf body = buf__init((size_t)16 << 20);
    struct seen s = {0};
    struct psapi_versions_count count = {0};
    struct stream_spec stream = {.realm = "pc"};
    struct err e = {0};
    buf__append_str(&body, "{\"next_change_id\":\"1-2\",\"stashes\":[{\"id\":\"s\",\"items\":[0");
    for (int i = 1; i < MORE; i++) buf__append_str(&body, ",0");
    buf__append_str(&body, "]},{\"id\":\"t\",\"items\":[0]}]}");
    struct page page = {.stream = &stream, .body = buf__slice(&body)};
    assert_int_equal(psapi_versions__each(&page, true, on_version, &s, &count, &e), 0);
    assert_int_equal(s.n_versions, 1); /* The one that fits, whose only item cannot be read. */
    assert_int_equal(s.n_partial, 1);
    assert_int_equal(count.n_refused_stashes, 1);
    buf__fini(&body);
}

static void test_the_caller_ends_a_page(void **state) {
    (void)state;
    struct seen s = {.stop_after = 2};
    struct psapi_versions_count count;
    assert_int_equal(see(STASH("a", "") "," STASH("b", "") "," STASH("c", ""), &s, &count), ERR_CANCELED);
    assert_int_equal(s.n_versions, 2);
    struct stream_spec stream = {0};
    struct err e;
    struct page page = {.stream = &stream, .body = SLICE_LIT("{\"stashes\":{}}")};
    assert_int_equal(psapi_versions__each(&page, true, on_version, &s, &count, &e), ERR_MALFORMED);
    assert_int_equal(s.n_versions, 2);
}

/* --- One stash over days --- */

static char *read_gz(const char *path) {
    gzFile file = gzopen(path, "rb");
    size_t cap = 8 << 20;
    char *text = file == NULL ? NULL : malloc(cap);
    if (text == NULL) return NULL;
    int n = gzread(file, text, (unsigned)cap - 1);
    gzclose(file);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

struct tally {
    struct tape *tape;
    yyjson_val *step;
    size_t n[4], n_priced;
};

static void on_event(void *ctx, const struct tape_event *e) {
    static const char *const lists[] = {"added", "note_changed", "stack_changed", "removed", "added", "added"};
    static const int list_of[] = {0, 1, 2, 3, 0, 0};
    struct tally *t = ctx;
    yyjson_val *v;
    size_t i, max;
    bool found = false;
    yyjson_arr_foreach(yyjson_obj_get(t->step, lists[e->kind]), i, max, v) {
        found |= yyjson_equals_str(yyjson_is_arr(v) ? yyjson_arr_get_first(v) : v, e->listing_id);
    }
    if (!found) fail_msg("%s is not in the list of %s", e->listing_id, lists[e->kind]);
    t->n[list_of[e->kind]]++;
    t->n_priced += e->currency.len > 0;
}

static int on_recorded(void *ctx, const struct tape_version *v) {
    struct tally *t = ctx;
    struct err e = {0};
    if (tape__version(t->tape, v, on_event, t, &e) != 0) fail_msg("%s", e.msg);
    return 0;
}

static void test_a_history_gives_exactly_its_differences(enum data_origin origin) {
    const char *stem =
        origin == DATA_MADE ? "psapi/stash-history" : "psapi/stash-history-heist-2020-11";
    char path[2048];
    snprintf(path, sizeof path, "%s/%s.pages.jsonl.gz", data__dir(origin), stem);
    char *pages = read_gz(path);
    assert_non_null(pages);
    snprintf(path, sizeof path, "%s/%s.expected-diff.json", data__dir(origin), stem);
    yyjson_doc *expected = yyjson_read_file(path, 0, NULL, NULL);
    assert_non_null(expected);
    yyjson_val *steps = yyjson_obj_get(yyjson_doc_get_root(expected), "steps");
    struct tally t = {0};
    const struct tape_options options = {.recent_max = 1024, .markets_max = 64};
    assert_int_equal(tape__new(&t.tape, &options), 0);
    struct stream_spec stream = {.realm = "pc"};
    struct psapi_versions_count count = {0};
    size_t n = 0;
    for (char *line = strtok(pages, "\n"); line != NULL; line = strtok(NULL, "\n"), n++) {
        static const char *const lists[] = {"added", "note_changed", "stack_changed", "removed"};
        struct err e = {0};
        size_t len;
        yyjson_doc *doc = yyjson_read(line, strlen(line), 0);
        char *body = yyjson_val_write(yyjson_obj_get(yyjson_doc_get_root(doc), "response"), 0, &len);
        struct page page = {.stream = &stream, .received_wall_ns = (INT64_C(1600000000) + (int64_t)n * 3600) * NS_PER_S,
                            .body = slice__of(body, len)};
        t.step = yyjson_arr_get(steps, n);
        memset(t.n, 0, sizeof t.n);
        if (psapi_versions__each(&page, true, on_recorded, &t, &count, &e) != 0) fail_msg("%s", e.msg);
        for (int k = 0; k < 4; k++) assert_int_equal(t.n[k], yyjson_arr_size(yyjson_obj_get(t.step, lists[k])));
        free(body);
        yyjson_doc_free(doc);
    }
    assert_int_equal(n, 33);
    assert_int_equal(count.n_refused_items + count.n_refused_stashes, 0);
    assert_true(t.n_priced > 0);
    tape__free(t.tape);
    yyjson_doc_free(expected);
    free(pages);
}
DATA_TESTS_OF(test_a_history_gives_exactly_its_differences)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_note_then_the_forum_then_the_tab),
        cmocka_unit_test(test_what_competes_has_one_key),
        cmocka_unit_test(test_broken_entries_are_not_known_alone),
        cmocka_unit_test(test_what_is_asked_for_and_cannot_be_read_is_not_known),
        cmocka_unit_test(test_a_stash_that_does_not_say_what_it_holds_is_not_handed_on),
        cmocka_unit_test(test_a_stash_that_is_twice_in_a_page_says_nothing_of_what_went),
        cmocka_unit_test(test_stashes_beyond_the_bound_of_a_page_are_not_known),
        cmocka_unit_test(test_the_caller_ends_a_page),
        DATA_TESTS(test_a_history_gives_exactly_its_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
