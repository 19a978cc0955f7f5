/* The tape: versions of stashes in, events out. The snapshots of one stash over days must give
 * exactly the differences that set arithmetic finds. */
#include "../lib/data_dir.h"
#include "souk/core/buf.h"
#include "souk/tape.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <yyjson.h>
#include <zlib.h>
#include <cmocka.h>
#include "tape_fixture.h"

#define EVENTS_MAX 4096

static const struct tape_item nothing[1];

static void test_a_stash_says_what_came_changed_and_went(void **state) {
    struct fixture *f = *state;
    assert_string_equal(SEE(f, 200, item(2, "5"), item(1, "")), "listed 01; listed 02");
    assert_int_equal(f->last.from_wall_ns, 0); /* Who knows for how long it has been there. */
    assert_string_equal(SEE(f, 200, item(1, ""), item(2, "5")), "");
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, ""), item(2, "6"), item(3, "1")), "repriced 02; listed 03");
    assert_int_equal(f->last.from_wall_ns, T0);
    assert_int_equal(f->last.to_wall_ns, T0 + HOUR);
    assert_string_equal(SEE(f, 200, item(2, "6"), item(3, "1")), "delisted 01 unpriced 0.00");
    assert_int_equal(f->last.listed_wall_ns, T0);
    assert_string_equal(SEE(f, 200, item(3, "1")), "delisted 02 off 0.35");
    assert_string_equal(f->last.seller.base, "ann");
    assert_int_equal(f->last.price_e6, 6000000);
}

static void test_a_price_that_changes_keeps_the_time_of_listing(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"));
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "7")), "repriced 01");
    assert_int_equal(f->last.price_before_e6, 5000000);
    assert_int_equal(f->last.price_e6, 7000000);
    assert_int_equal(f->last.listed_wall_ns, T0);
}

static void test_a_smaller_stack_is_part_of_a_sale(void **state) {
    struct fixture *f = *state;
    struct tape_item many = item(1, "5"), fewer = many;
    many.stack_size = 40;
    fewer.stack_size = 30;
    SEE(f, 200, many);
    assert_string_equal(SEE(f, 200, fewer), "restacked 01 part 0.12");
    assert_int_equal(f->last.stack_before, 40);
    assert_string_equal(SEE(f, 200, many), "restacked 01"); /* More of it is no sale. */
}

static void test_a_tombstone_is_no_sale(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"), item(2, "5"));
    assert_string_equal(see_as(f, 200, "", true, NULL, 0), "delisted 01 unlisted 0.00; delisted 02 unlisted 0.00");
    assert_string_equal(f->league, "Settlers"); /* Tombstones do not say. */
    assert_int_equal(f->last.seller.len, 3);
    assert_string_equal(see_as(f, 200, "", true, NULL, 0), ""); /* Known no more. */
    assert_string_equal(see_as(f, 201, "", true, NULL, 0), "");
    f->now_ns += HOUR / 2;
    assert_string_equal(SEE(f, 200, item(1, "5")), "relisted 01 not 01"); /* Public again. */
}

static void test_many_at_once_are_a_withdrawal(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"), item(2, ""), item(3, "5"), item(4, "5"), item(5, "5"), item(6, "5"));
    assert_string_equal(SEE(f, 200, item(6, "5")),
                        "delisted 01 bulk 0.10; delisted 02 bulk 0.10; delisted 03 bulk 0.10; delisted 04 bulk 0.10; delisted 05 bulk 0.10");
}

/* Three to five of a tab, or less than a quarter of a large one: not one sale, and no clearing. */
static void test_a_few_at_once_are_neither_one_sale_nor_a_withdrawal(void **state) {
    struct fixture *f = *state;
    struct tape_item items[21];
    SEE(f, 200, item(1, "5"), item(2, ""), item(3, "5"), item(4, "5"));
    assert_string_equal(SEE(f, 200, item(4, "5")), "delisted 01 few 0.35; delisted 02 unpriced 0.00; delisted 03 few 0.35");
    SEE(f, 201, item(5, "5"), item(6, "5"), item(7, "5"), item(8, "5"));
    assert_string_equal(see_as(f, 201, "ann", true, nothing, 0),
                        "delisted 05 few 0.35; delisted 06 few 0.35; delisted 07 few 0.35; delisted 08 few 0.35");
    for (int of = 20; of <= 21; of++) { /* Five are a quarter of twenty, and not of 21. */
        for (int i = 0; i < of; i++) items[i] = item(100 + i + (of - 20) * 30, "5");
        see_as(f, 190 + of, "ann", true, items, (size_t)of);
        f->n = 0;
        for (int i = 5; i < of; i++) items[i].id = id(100 + i + (of - 20) * 30);
        see_as(f, 190 + of, "ann", true, items + 5, (size_t)of - 5);
        assert_int_equal(f->n, 5);
        assert_int_equal(f->last.removal, of == 20 ? TAPE_BULK : TAPE_FEW);
    }
}

static void test_a_sale_near_the_market(void **state) {
    struct fixture *f = *state;
    static const char *const sellers[] = {"bob", "cid", "dan"};
    struct tape_item mine[2] = {item(1, "11"), item(2, "20")};
    for (int i = 0; i < 3; i++) {
        struct tape_item theirs = item(10 + i, i == 0 ? "9" : i == 1 ? "10" : "30");
        see_as(f, 210 + i, sellers[i], true, &theirs, 1);
    }
    see_as(f, 200, "ann", true, mine, 2);
    assert_string_equal(SEE(f, 200, item(2, "20")), "delisted 01 near 0.85"); /* The median is 10. */
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 02 off 0.35");
    see_as(f, 200, "ann", true, mine, 1);
    f->now_ns += 25 * HOUR; /* Asks of yesterday say nothing. */
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 01 off 0.35");
}

static void test_two_other_sellers_are_no_market(void **state) {
    struct fixture *f = *state;
    struct tape_item one = item(1, "10"), a = item(10, "10"), b = item(11, "10"), own = item(12, "10");
    see_as(f, 210, "bob", true, &a, 1);
    see_as(f, 211, "cid", true, &b, 1);
    see_as(f, 212, "ann", true, &own, 1);
    see_as(f, 200, "ann", true, &one, 1);
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 01 off 0.35");
}

static void test_a_tab_that_changed_otherwise_is_less_sure(void **state) {
    struct fixture *f = *state;
    static const char *const sellers[] = {"bob", "cid", "dan"};
    for (int i = 0; i < 3; i++) {
        struct tape_item theirs = item(10 + i, "10");
        see_as(f, 210 + i, sellers[i], true, &theirs, 1);
    }
    SEE(f, 200, item(1, "10"), item(2, "10"));
    assert_string_equal(SEE(f, 200, item(2, "12")), "delisted 01 off 0.35; repriced 02");
}

static void test_an_item_that_turns_up_elsewhere_was_moved(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"), item(2, "5"));
    f->now_ns += 60 * NS_PER_S;
    assert_string_equal(SEE(f, 200, item(2, "5")), "delisted 01 off 0.35");
    f->now_ns += 60 * NS_PER_S;
    assert_string_equal(SEE(f, 201, item(1, "5")), "moved 01 not 01");
    assert_int_equal(f->last.listed_wall_ns, T0); /* The listing goes on. */
    /* The other way round: it is seen in its new place first. */
    f->now_ns += 60 * NS_PER_S;
    assert_string_equal(SEE(f, 202, item(2, "5")), "listed 02");
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 02 elsewhere 0.00");
}

static void test_a_move_after_an_hour_is_a_new_listing(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"));
    see_as(f, 200, "ann", true, nothing, 0);
    f->now_ns += 2 * HOUR;
    assert_string_equal(SEE(f, 201, item(1, "5")), "relisted 01 not 01");
    see_as(f, 201, "ann", true, nothing, 0);
    f->now_ns += 25 * HOUR;
    assert_string_equal(SEE(f, 201, item(1, "5")), "listed 01");
}

static void test_an_equal_item_of_the_seller_takes_the_sale_back(void **state) {
    struct fixture *f = *state;
    struct tape_item again = item(9, "4");
    SEE(f, 200, item(1, "5"));
    see_as(f, 200, "ann", true, nothing, 0);
    again.fingerprint = 1;
    assert_string_equal(see_as(f, 205, "bob", true, &again, 1), "listed 09"); /* Somebody else's. */
    again.id = id(10);
    assert_string_equal(see_as(f, 201, "ann", true, &again, 1), "relisted 0a not 01");
    again.id = id(11); /* Once only. */
    assert_string_equal(see_as(f, 202, "ann", true, &again, 1), "listed 0b");
    again.fingerprint = 0; /* Goods of which one has many. */
    again.id = id(12);
    see_as(f, 203, "ann", true, &again, 1);
    see_as(f, 203, "ann", true, nothing, 0);
    again.id = id(13);
    assert_string_equal(see_as(f, 203, "ann", true, &again, 1), "listed 0d");
}

/* Of a shop of identical goods one goes and another is put up: both are what they look like. */
static void test_a_shop_of_equal_goods_restocks(void **state) {
    struct fixture *f = *state;
    struct tape_item alike[6];
    for (int i = 0; i < 6; i++) alike[i] = item(20 + i, "5"), alike[i].fingerprint = 77;
    SEE(f, 200, alike[0], alike[1]);
    assert_string_equal(SEE(f, 200, alike[1]), "delisted 14 off 0.35");
    assert_string_equal(SEE(f, 200, alike[1], alike[2]), "listed 16"); /* Not instead of the one that went. */
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 15 off 0.35; delisted 16 off 0.35");
    assert_string_equal(SEE(f, 200, alike[3]), "listed 17");
    /* In another of its stashes; somebody else's do not count. */
    SEE(f, 201, alike[4]);
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 17 off 0.35");
    assert_string_equal(SEE(f, 200, alike[5]), "listed 19");
    see_as(f, 201, "", true, NULL, 0);
    see_as(f, 202, "bob", true, &alike[0], 1);
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 19 off 0.35");
    assert_string_equal(SEE(f, 200, alike[1]), "relisted 15 not 15"); /* The same one is the same one. */
    see_as(f, 200, "ann", true, nothing, 0);
    alike[0].id = id(99);
    assert_string_equal(SEE(f, 203, alike[0]), "relisted 63 not 15"); /* The only one when it went. */
}

/* A seller with more than is compared counts as a shop. */
static void test_what_is_compared_of_a_seller_is_bounded(void **state) {
    struct fixture *f = *state;
    enum { MANY = 8300 };
    struct tape_item *items = calloc(MANY, sizeof *items), one = item(1, "5"), again = item(2, "5");
    char *ids = malloc((size_t)MANY * 65);
    struct tape_status st;
    again.fingerprint = one.fingerprint;
    for (int stash = 0; stash < 2; stash++) {
        for (int i = 0; i < MANY; i++) {
            snprintf(ids + (size_t)i * 65, 65, "%064x", 100 + i + stash * MANY);
            items[i] = item(1, "");
            items[i].id = slice__of(ids + (size_t)i * 65, 64);
            items[i].fingerprint = (uint64_t)(1000 + i + stash * MANY);
        }
        see_as(f, 210 + stash, "ann", true, items, MANY);
        one.id = id(1), again.id = id(2);
        SEE(f, 200, one);
        see_as(f, 200, "ann", true, nothing, 0);
        tape__status(f->tape, &st);
        assert_int_equal(st.n_crowded, stash);
        assert_string_equal(SEE(f, 201, again), stash == 0 ? "relisted 02 not 01" : "listed 02");
        see_as(f, 201, "", true, NULL, 0);
        f->now_ns += 25 * HOUR;
    }
    free(items);
    free(ids);
}

static void test_nothing_counts_while_catching_up(void **state) {
    struct fixture *f = *state;
    struct tape_item one = item(1, "5");
    see_as(f, 200, "ann", false, &one, 1);
    assert_string_equal(see_as(f, 200, "ann", false, nothing, 0), "delisted 01 catching_up 0.00");
}

static void test_caught_up_is_an_hour_of_coverage(void **state) {
    struct fixture *f = *state;
    const struct slice pc = SLICE_LIT("pc");
    int64_t at = T0;
    assert_false(tape__page(f->tape, pc, at, true));
    for (int i = 0; i < 59; i++) assert_false(tape__page(f->tape, pc, at += 60 * NS_PER_S, i % 3 == 0));
    assert_true(tape__page(f->tape, pc, at += 60 * NS_PER_S, true));
    assert_false(tape__page(f->tape, SLICE_LIT("xbox"), at, true)); /* Each realm for itself. */
    for (int i = 0; i < 5; i++) assert_true(tape__page(f->tape, pc, at += 60 * NS_PER_S, false));
    assert_false(tape__page(f->tape, pc, at += 60 * NS_PER_S, false)); /* No end for six minutes. */
    assert_false(tape__page(f->tape, pc, at += 60 * NS_PER_S, true));  /* The hour starts anew. */
    for (int i = 0; i < 60; i++) tape__page(f->tape, pc, at += 60 * NS_PER_S, true);
    assert_true(tape__page(f->tape, pc, at, true));
    assert_false(tape__page(f->tape, pc, at + 301 * NS_PER_S, true)); /* A gap. */
}

static void test_odd_items_and_stashes(void **state) {
    struct fixture *f = *state;
    struct err e;
    struct tape_item odd[4] = {item(1, "5"), item(1, "5"), item(2, "5"), item(3, "5")};
    odd[2].id = SLICE_LIT("not an id");
    odd[3].id = (struct slice){0};
    assert_string_equal(see_as(f, 200, "ann", true, odd, 4), "listed 01"); /* An id twice counts once. */
    struct tape_status st;
    tape__status(f->tape, &st);
    assert_int_equal(st.n_untracked, 2);
    assert_int_equal(st.n_items, 1);
    struct tape_version v = {.realm = SLICE_LIT("pc"), .stash_id = SLICE_LIT("zz"), .is_public = true};
    assert_int_equal(tape__version(f->tape, &v, on_event, f, &e), ERR_MALFORMED);
    v.stash_id = id(1);
    v.items = odd;
    v.n_items = 70000;
    assert_int_equal(tape__version(f->tape, &v, on_event, f, &e), ERR_LIMIT);
}

static void test_memory_is_bounded(void **state) {
    struct fixture *f = *state;
    struct tape_status st;
    tape__status(f->tape, &st);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64, .memory_max = st.bytes + (64 << 10)};
    struct tape *big = f->tape;
    assert_int_equal(tape__new(&f->tape, &options), 0);
    for (int i = 0; i < 250; i++) {
        struct tape_item items[20];
        for (int k = 0; k < 20; k++) items[k] = item(k, "5");
        see_as(f, i % 2 == 0 ? i : 1, "ann", true, items, 20);
        tape__status(f->tape, &st);
        assert_true(st.bytes <= options.memory_max);
    }
    assert_true(st.n_forgotten_stashes > 50);
    assert_int_equal(st.n_items, st.n_stashes * 20);
    assert_string_equal(see_as(f, 1, "ann", true, nothing, 0) == NULL ? "" : "", "");
    assert_int_equal(f->last.kind, TAPE_DELISTED); /* What is seen often is kept. */
    tape__free(f->tape);
    f->tape = big;
}

/* A model that keeps everything in plain arrays, against the tape's index, over many random versions. */
static void test_random_versions_equal_a_plain_model(void **state) {
    struct fixture *f = *state;
    static bool held[120][40];
    unsigned seed = 7;
    size_t n_listed = 0, n_gone = 0;
    memset(held, 0, sizeof held);
    for (int round = 0; round < 4000; round++) {
        struct tape_item items[40];
        size_t n = 0, came = 0, went = 0;
        seed = seed * 1664525 + 1013904223;
        int stash = (int)(seed >> 16) % 120;
        bool tombstone = (seed >> 8) % 9 == 0;
        for (int k = 0; k < 40; k++) {
            seed = seed * 1664525 + 1013904223;
            bool now = !tombstone && (seed >> 20) % 3 != 0;
            if (now) {
                items[n] = item(k, "5");
                items[n].fingerprint = 0;
                /* Ids are the stash's own, so that nothing moves. */
                char *z = (char *)(uintptr_t)items[n].id.base;
                snprintf(z, 65, "%02x%062x", k, stash);
                n++;
            }
            came += now && !held[stash][k];
            went += !now && held[stash][k];
            held[stash][k] = now;
        }
        f->n = 0;
        see_as(f, stash, "ann", true, tombstone ? NULL : n == 0 ? nothing : items, n);
        assert_int_equal(f->n, came + went);
        n_listed += came;
        n_gone += went;
    }
    struct tape_status st;
    tape__status(f->tape, &st);
    assert_int_equal(st.n_items, n_listed - n_gone);
    assert_int_equal(st.n_events, n_listed + n_gone);
}

/* --- Snapshots --- */

static void test_a_snapshot_forgets_nothing(void **state) {
    struct fixture *f = *state;
    char path[] = "/tmp/souk_tape_XXXXXX";
    struct err e = {0};
    struct tape *other;
    uint64_t lsn = 0;
    close(mkstemp(path));
    for (int i = 0; i < 40; i++) {
        struct tape_item items[3] = {item(3 * i % 90, "5"), item((3 * i + 1) % 90, "6"), item((3 * i + 2) % 90, "")};
        f->now_ns += 30 * NS_PER_S;
        see_as(f, i % 13, i % 2 == 0 ? "ann" : "bob", true, items, 3);
    }
    for (int i = 0; i < 200; i++) tape__page(f->tape, SLICE_LIT("pc"), T0 + i * 60 * NS_PER_S, true);
    if (tape__save(f->tape, path, 4711, &e) != 0) fail_msg("%s", e.msg);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    assert_int_equal(tape__new(&other, &options), 0);
    if (tape__load(other, path, &lsn, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(lsn, 4711);
    for (int i = 0; i < 60; i++) { /* Both say the same from here on. */
        struct tape_item items[2] = {item(7 * i % 90, "5"), item(11 * i % 90, "9")};
        char said[512];
        f->now_ns += 20 * NS_PER_S;
        snprintf(said, sizeof said, "%s", see_as(f, i % 17, "ann", true, items, i % 3 == 0 ? 1 : 2));
        struct tape *mine = f->tape;
        f->tape = other;
        assert_string_equal(see_as(f, i % 17, "ann", true, items, i % 3 == 0 ? 1 : 2), said);
        f->tape = mine;
    }
    assert_true(tape__page(other, SLICE_LIT("pc"), T0 + 200 * 60 * NS_PER_S, true));
    tape__free(other);
    unlink(path);
}

/* At the bounds of memory and of the rings too: what a restart makes again are the same events. */
static void test_a_tape_from_a_snapshot_forgets_alike(void **state) {
    struct fixture *f = *state;
    char path[] = "/tmp/souk_tape_XXXXXX";
    struct err e = {0};
    struct tape_status st;
    struct tape *other = NULL, *first = f->tape;
    struct tape_options options = {.recent_max = 16, .markets_max = 64};
    unsigned seed = 5;
    close(mkstemp(path));
    assert_int_equal(tape__new(&f->tape, &options), 0);
    tape__status(f->tape, &st);
    tape__free(f->tape);
    options.memory_max = st.bytes + (8 << 10);
    assert_int_equal(tape__new(&f->tape, &options), 0);
    size_t n_retracted = 0;
    for (int i = 0; i < 3000; i++) {
        struct tape_item items[6];
        size_t n = 0;
        for (int k = 0; k < 6; k++) {
            seed = seed * 1103515245u + 12345u;
            if ((seed >> 16) % 3 == 0) items[n] = item((int)((seed >> 18) % 90), "5"), items[n++].fingerprint %= 7;
        }
        seed = seed * 1103515245u + 12345u;
        int stash = (int)((seed >> 16) % 40);
        char said[2048];
        f->now_ns += 40 * NS_PER_S;
        snprintf(said, sizeof said, "%s", see_as(f, stash, "ann", true, n == 0 ? NULL : items, n));
        n_retracted += strstr(said, " not ") != NULL;
        if (other != NULL) {
            struct tape *mine = f->tape;
            f->tape = other;
            assert_string_equal(see_as(f, stash, "ann", true, n == 0 ? NULL : items, n), said);
            f->tape = mine;
        }
        if (i % 500 != 250) continue;
        uint64_t lsn;
        tape__free(other); /* From another moment. */
        assert_int_equal(tape__save(f->tape, path, 1, &e), 0);
        assert_int_equal(tape__new(&other, &options), 0);
        assert_int_equal(tape__load(other, path, &lsn, &e), 0);
    }
    tape__status(f->tape, &st);
    assert_true(st.n_forgotten_stashes > 50);
    assert_true(n_retracted > 50);
    assert_int_equal(tape__peek(path, &(uint64_t){0}, &e), 0);
    tape__free(other);
    tape__free(f->tape);
    f->tape = first;
    unlink(path);
    assert_int_equal(tape__peek(path, &(uint64_t){0}, &e), ERR_IO);
}

/* JSON may say \u0000, and a name with it must not keep all others from being read back. */
static void test_a_zero_in_a_name_does_not_spoil_the_snapshot(void **state) {
    struct fixture *f = *state;
    char path[] = "/tmp/souk_tape_XXXXXX";
    static const struct slice leagues[] = {SLICE_LIT("Heist"), SLICE_LIT("Heist\0x"), SLICE_LIT("\0"), SLICE_LIT("Standard")};
    struct err e = {0};
    struct tape *other;
    uint64_t lsn = 0;
    close(mkstemp(path));
    for (int i = 0; i < 4; i++) {
        const struct tape_item one = item(i + 1, "5");
        const struct tape_version v = {.realm = SLICE_LIT("pc"), .stash_id = id(200 + i), .is_public = true, .league = leagues[i],
                                       .seller = SLICE_LIT("a\0nn"), .items = &one, .n_items = 1, .wall_ns = f->now_ns};
        assert_int_equal(tape__version(f->tape, &v, on_event, f, &e), 0);
    }
    assert_int_equal(tape__save(f->tape, path, 7, &e), 0);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    assert_int_equal(tape__new(&other, &options), 0);
    if (tape__load(other, path, &lsn, &e) != 0) fail_msg("%s", e.msg);
    struct tape_status st;
    tape__status(other, &st);
    assert_int_equal(st.n_stashes, 4);
    tape__free(other);
    unlink(path);
}

static void test_a_damaged_snapshot_is_not_believed(void **state) {
    struct fixture *f = *state;
    char path[] = "/tmp/souk_tape_XXXXXX";
    struct err e = {0};
    uint64_t lsn;
    close(mkstemp(path));
    for (int i = 0; i < 20; i++) SEE(f, i, item(i, "5"), item(i + 30, "6"));
    assert_int_equal(tape__save(f->tape, path, 1, &e), 0);
    FILE *file = fopen(path, "r+b");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    struct tape *other;
    assert_int_equal(tape__new(&other, &options), 0);
    for (long at = 0; at < size; at += size / 97 + 1) { /* Any byte, */
        fseek(file, at, SEEK_SET);
        int was = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(was ^ 0x40, file);
        fflush(file);
        struct tape_status st;
        assert_int_equal(tape__load(other, path, &lsn, &e), ERR_CORRUPT);
        tape__status(other, &st);
        assert_int_equal(st.n_stashes, 0);
        fseek(file, at, SEEK_SET);
        fputc(was, file);
        fflush(file);
    }
    assert_int_equal(ftruncate(fileno(file), size - 3), 0); /* or its end. */
    assert_int_equal(tape__load(other, path, &lsn, &e), ERR_CORRUPT);
    fclose(file);
    unlink(path);
    assert_int_equal(tape__load(other, path, &lsn, &e), ERR_IO);
    tape__free(other);
}

/* --- One stash over days --- */

static char *read_gz(const char *path) {
    gzFile file = gzopen(path, "rb");
    size_t cap = 8 << 20;
    char *text = malloc(cap);
    if (file == NULL || text == NULL) {
        free(text);
        return NULL;
    }
    int n = gzread(file, text, (unsigned)cap - 1);
    gzclose(file);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

struct tally {
    struct fixture *f;
    yyjson_val *step;
    size_t n[6];
};

static bool has(yyjson_val *list, const char *z) {
    yyjson_val *v;
    size_t i, max;
    yyjson_arr_foreach(list, i, max, v) {
        /* Changes come with the values before and after. */
        if (yyjson_equals_str(yyjson_is_arr(v) ? yyjson_arr_get_first(v) : v, z)) return true;
    }
    return false;
}

static void on_recorded(void *ctx, const struct tape_event *e) {
    static const char *const lists[] = {"added", "note_changed", "stack_changed", "removed", "added", "added"};
    struct tally *t = ctx;
    if (!has(yyjson_obj_get(t->step, lists[e->kind]), e->listing_id))
        fail_msg("%s %s is not in the list of %s", kinds[e->kind], e->listing_id, lists[e->kind]);
    t->n[e->kind == TAPE_MOVED || e->kind == TAPE_RELISTED ? TAPE_LISTED : e->kind]++;
}

static struct slice text_of(yyjson_val *o, const char *key) {
    yyjson_val *v = yyjson_obj_get(o, key);
    return slice__of(yyjson_get_str(v), yyjson_get_len(v));
}

static void take_recorded(struct tally *t, yyjson_val *stash, int64_t wall_ns) {
    static struct tape_item items[1000];
    struct err e = {0};
    size_t n = 0, i, max;
    yyjson_val *in;
    yyjson_arr_foreach(yyjson_obj_get(stash, "items"), i, max, in) {
        yyjson_val *stack = yyjson_obj_get(in, "stackSize");
        struct slice note = text_of(in, "note");
        items[n++] = (struct tape_item){.id = text_of(in, "id"), .ask = XXH3_64bits(note.base, note.len),
                                        .stack_size = stack == NULL ? 1 : (uint32_t)yyjson_get_uint(stack)};
    }
    struct tape_version v = {.realm = SLICE_LIT("pc"), .stash_id = text_of(stash, "id"), .is_public = true,
                             .league = text_of(stash, "league"), .seller = text_of(stash, "accountName"), .items = items,
                             .n_items = n, .wall_ns = wall_ns, .caught_up = true};
    if (tape__version(t->f->tape, &v, on_recorded, t, &e) != 0) fail_msg("%s", e.msg);
}

static void check_history(struct fixture *f, enum data_origin origin) {
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
    struct tally t = {.f = f};
    size_t n = 0;
    for (char *line = strtok(pages, "\n"); line != NULL; line = strtok(NULL, "\n"), n++) {
        static const char *const lists[] = {"added", "note_changed", "stack_changed", "removed"};
        yyjson_doc *page = yyjson_read(line, strlen(line), 0);
        yyjson_val *stashes = yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(page), "response"), "stashes");
        t.step = yyjson_arr_get(steps, n);
        memset(t.n, 0, sizeof t.n);
        take_recorded(&t, yyjson_arr_get_first(stashes), T0 + (int64_t)n * HOUR);
        for (int k = 0; k < 4; k++) assert_int_equal(t.n[k], yyjson_arr_size(yyjson_obj_get(t.step, lists[k])));
        yyjson_doc_free(page);
    }
    assert_int_equal(n, 33);
    assert_int_equal(yyjson_arr_size(steps), 33);
    yyjson_doc_free(expected);
    free(pages);
}

static void test_a_history_gives_exactly_its_differences_made(void **state) {
    check_history(*state, DATA_MADE);
}

static void test_a_history_gives_exactly_its_differences_recorded(void **state) {
    DATA_OR_SKIP(DATA_RECORDED);
    check_history(*state, DATA_RECORDED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_stash_says_what_came_changed_and_went),
        TEST(test_a_price_that_changes_keeps_the_time_of_listing),
        TEST(test_a_smaller_stack_is_part_of_a_sale),
        TEST(test_a_tombstone_is_no_sale),
        TEST(test_many_at_once_are_a_withdrawal),
        TEST(test_a_few_at_once_are_neither_one_sale_nor_a_withdrawal),
        TEST(test_a_sale_near_the_market),
        TEST(test_two_other_sellers_are_no_market),
        TEST(test_a_tab_that_changed_otherwise_is_less_sure),
        TEST(test_an_item_that_turns_up_elsewhere_was_moved),
        TEST(test_a_move_after_an_hour_is_a_new_listing),
        TEST(test_an_equal_item_of_the_seller_takes_the_sale_back),
        TEST(test_a_shop_of_equal_goods_restocks),
        TEST(test_what_is_compared_of_a_seller_is_bounded),
        TEST(test_nothing_counts_while_catching_up),
        TEST(test_caught_up_is_an_hour_of_coverage),
        TEST(test_odd_items_and_stashes),
        TEST(test_memory_is_bounded),
        TEST(test_random_versions_equal_a_plain_model),
        TEST(test_a_snapshot_forgets_nothing),
        TEST(test_a_tape_from_a_snapshot_forgets_alike),
        TEST(test_a_zero_in_a_name_does_not_spoil_the_snapshot),
        TEST(test_a_damaged_snapshot_is_not_believed),
        TEST(test_a_history_gives_exactly_its_differences_made),
        TEST(test_a_history_gives_exactly_its_differences_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
