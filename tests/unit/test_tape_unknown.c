/* The tape when pages do not say everything: what is not known is not gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tape_fixture.h"

static const struct tape_item nothing[1];

static struct tape_item unread(int n) {
    struct tape_item out = item(n, "");
    out.unread = true;
    return out;
}

static const char *see_partly(struct fixture *f, int stash, const struct tape_item *items, size_t n) {
    struct err e = {0};
    const struct tape_version v = {.realm = SLICE_LIT("pc"), .stash_id = id(stash), .is_public = true, .partial = true,
                                   .league = SLICE_LIT("Settlers"), .seller = SLICE_LIT("ann"), .items = items,
                                   .n_items = n, .wall_ns = f->now_ns, .caught_up = true};
    buf__clear(&f->said);
    if (tape__version(f->tape, &v, on_event, f, &e) != 0) fail_msg("%s", e.msg);
    assert_true(buf__u8(&f->said, 0));
    return f->said.base;
}

/* What is refused once is not gone: it is there as it was, and is no news when it can be read again. */
static void test_an_item_that_cannot_be_read_stays(void **state) {
    struct fixture *f = *state;
    struct tape_status st;
    SEE(f, 200, item(1, "5"), item(2, "5"));
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, unread(1), item(2, "5")), "");
    tape__status(f->tape, &st);
    assert_int_equal(st.n_held, 1);
    assert_int_equal(st.n_items, 2);
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5")), "");
    assert_string_equal(SEE(f, 200, unread(1), item(2, "5")), "");
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "6"), item(2, "6")), "repriced 01; repriced 02");
    assert_int_equal(f->last.from_wall_ns, T0 + 2 * HOUR);
    /* The price may have changed while it could not be read; no later bound is known than its listing. */
    SEE(f, 200, unread(2), item(1, "6"));
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(2, "7"), item(1, "6")), "repriced 02");
    assert_int_equal(f->last.from_wall_ns, T0);
    /* Its id was there: it went after that. */
    SEE(f, 200, unread(2), item(1, "6"));
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "6")), "delisted 02 off 0.35");
    assert_int_equal(f->last.from_wall_ns, T0 + 4 * HOUR);
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 01 off 0.35");
}

static void test_what_was_never_read_is_listed_when_it_is(void **state) {
    struct fixture *f = *state;
    assert_string_equal(SEE(f, 200, unread(1), item(2, "5")), "listed 02");
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, unread(1), item(2, "5"), unread(3)), "");
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5")), "listed 01"); /* 3 went: nobody knew it. */
    assert_int_equal(f->last.from_wall_ns, 0); /* It has been there, for how long is not known. */
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5"), item(4, "5")), "listed 04");
    assert_int_equal(f->last.from_wall_ns, T0 + 2 * HOUR);
}

static void test_what_is_seen_unread_elsewhere_was_moved(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"), item(2, "5"));
    assert_string_equal(SEE(f, 201, unread(1)), "");
    assert_string_equal(SEE(f, 200, item(2, "5")), "delisted 01 elsewhere 0.00");
}

static void test_what_a_partial_version_does_not_hold_stays(void **state) {
    struct fixture *f = *state;
    struct tape_status st;
    const struct tape_item one[] = {item(1, "5")}, new_one[] = {item(4, "1")};
    SEE(f, 200, item(1, "5"), item(2, "5"), item(3, "5"));
    f->now_ns += HOUR;
    assert_string_equal(see_partly(f, 200, one, 1), "");
    f->now_ns += HOUR;
    assert_string_equal(see_partly(f, 200, new_one, 1), "listed 04");
    assert_int_equal(f->last.from_wall_ns, T0); /* The last time that all was known. */
    tape__status(f->tape, &st);
    assert_int_equal(st.n_partial, 2);
    assert_int_equal(st.n_held, 2 + 3);
    assert_int_equal(st.n_items, 4);
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5"), item(4, "1")), "delisted 03 off 0.35");
    assert_int_equal(f->last.from_wall_ns, T0);
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5")), "delisted 04 off 0.35");
    assert_int_equal(f->last.from_wall_ns, T0 + 3 * HOUR);
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5"), item(3, "5")), "relisted 03 not 03");
}

/* An item without an id may be any of those that are missing. */
static void test_an_item_without_an_id_leaves_the_rest_unknown(void **state) {
    struct fixture *f = *state;
    struct tape_item odd = item(3, "5");
    odd.id = SLICE_LIT("not an id");
    SEE(f, 200, item(1, "5"), item(2, "5"));
    assert_string_equal(SEE(f, 200, item(1, "5"), odd), "");
    assert_string_equal(SEE(f, 200, item(1, "5"), item(2, "5")), "");
    assert_string_equal(SEE(f, 200, item(1, "5")), "delisted 02 off 0.35");
}

/* Which of two that have one id is the item? */
static void test_twins_that_differ_are_not_known(void **state) {
    struct fixture *f = *state;
    SEE(f, 200, item(1, "5"));
    assert_string_equal(SEE(f, 200, item(1, "7"), item(1, "6")), "");
    assert_string_equal(SEE(f, 200, item(1, "5")), "");
    assert_string_equal(SEE(f, 201, item(2, "7"), item(2, "6")), "");
    assert_string_equal(SEE(f, 201, item(2, "7")), "listed 02");
}

static void test_what_is_held_is_bounded(void **state) {
    struct fixture *f = *state;
    enum { MANY = 40000 };
    struct tape_item *items = calloc(MANY, sizeof *items);
    char *ids = malloc((size_t)MANY * 65);
    struct err e;
    struct tape_status st;
    struct tape_version v = {.realm = SLICE_LIT("pc"), .stash_id = id(200), .is_public = true, .items = items, .n_items = MANY,
                             .wall_ns = f->now_ns};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            snprintf(ids + (size_t)i * 65, 65, "%064x", i + round * MANY);
            items[i] = item(1, "");
            items[i].id = slice__of(ids + (size_t)i * 65, 64);
        }
        f->n = 0;
        int status = tape__version(f->tape, &v, on_event, f, &e);
        assert_int_equal(status, round == 0 ? 0 : ERR_LIMIT);
        assert_int_equal(f->n, round == 0 ? MANY : 0);
        v.partial = true;
    }
    tape__status(f->tape, &st);
    assert_int_equal(st.n_items, MANY); /* As they were. */
    free(items);
    free(ids);
}

/* What it asked is not asked anew: three such sellers make no market a day later. */
static void test_a_held_ask_is_not_an_ask_of_today(void **state) {
    struct fixture *f = *state;
    static const char *const sellers[] = {"bob", "cid", "dan"};
    for (int i = 0; i < 3; i++) see_as(f, 201 + i, sellers[i], true, (struct tape_item[]){item(10 + i, "10")}, 1);
    f->now_ns += 23 * HOUR;
    SEE(f, 200, item(1, "10"), item(2, "10"));
    for (int i = 0; i < 3; i++) see_as(f, 201 + i, sellers[i], true, (struct tape_item[]){unread(10 + i)}, 1);
    f->now_ns += 2 * HOUR;
    assert_string_equal(SEE(f, 200, item(2, "10")), "delisted 01 off 0.35");
}

/* Pages that are lost may have held any stash: what went meanwhile was not seen to be sold. */
static void test_lost_pages_leave_every_stash_unknown(void **state) {
    struct fixture *f = *state;
    struct slice pc = SLICE_LIT("pc");
    struct tape_status st;
    SEE(f, 200, item(1, "5"), item(2, "5"), item(3, "5"));
    SEE(f, 201, item(4, "5"), item(5, "5"));
    tape__follows(f->tape, pc, SLICE_LIT("1-1"), SLICE_LIT("2-2"));
    tape__page(f->tape, pc, f->now_ns, true);
    tape__follows(f->tape, pc, SLICE_LIT("2-2"), SLICE_LIT("3-3"));
    tape__status(f->tape, &st);
    assert_int_equal(st.n_lost, 0);
    assert_string_equal(SEE(f, 200, item(2, "5"), item(3, "5")), "delisted 01 off 0.35");
    tape__follows(f->tape, pc, SLICE_LIT("4-4"), SLICE_LIT("5-5")); /* 3-3 is not there. */
    tape__status(f->tape, &st);
    assert_int_equal(st.n_lost, 1);
    for (int i = 0; i < 65; i++) tape__page(f->tape, pc, f->now_ns += 60 * NS_PER_S, true);
    assert_true(tape__page(f->tape, pc, f->now_ns, true)); /* Covered again, */
    assert_string_equal(SEE(f, 200, item(3, "5")), "delisted 02 catching_up 0.00"); /* but not since it was seen. */
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 03 off 0.35");
    assert_string_equal(SEE(f, 201, item(5, "5")), "delisted 04 catching_up 0.00");
    tape__lost(f->tape, pc, f->now_ns);
    assert_false(tape__page(f->tape, pc, f->now_ns, true));
    tape__status(f->tape, &st);
    assert_int_equal(st.n_lost, 2);
}

/* At the end of the stream everything is known of every stash, so that what changes later changed after it. */
static void test_the_end_of_the_stream_is_the_earlier_bound(void **state) {
    struct fixture *f = *state;
    const struct slice pc = SLICE_LIT("pc");
    SEE(f, 200, item(1, "5"), item(2, "5"));
    tape__page(f->tape, pc, T0 + HOUR, true);
    tape__page(f->tape, SLICE_LIT("xbox"), T0 + 2 * HOUR, true); /* Of another stream. */
    f->now_ns = T0 + 3 * HOUR;
    tape__page(f->tape, pc, f->now_ns, false);
    assert_string_equal(SEE(f, 201, item(9, "5")), "listed 09");
    assert_int_equal(f->last.from_wall_ns, 0); /* First seen: who knows since when. */
    assert_string_equal(SEE(f, 200, item(2, "5")), "delisted 01 off 0.35");
    assert_int_equal(f->last.from_wall_ns, T0 + HOUR);
    f->now_ns += HOUR;
    assert_string_equal(SEE(f, 200, item(2, "6")), "repriced 02");
    assert_int_equal(f->last.from_wall_ns, T0 + 3 * HOUR); /* Its own version is the later one. */
    tape__page(f->tape, pc, f->now_ns + HOUR, true);
    f->now_ns += 2 * HOUR;
    assert_string_equal(see_as(f, 200, "", true, NULL, 0), "delisted 02 unlisted 0.00");
    assert_int_equal(f->last.from_wall_ns, T0 + 5 * HOUR);
}

/* What was not known at the time is not known by its end. */
static void test_the_end_of_the_stream_says_nothing_of_what_was_not_read(void **state) {
    struct fixture *f = *state;
    const struct slice pc = SLICE_LIT("pc");
    const struct tape_item one[] = {item(1, "5")};
    struct err e = {0};
    for (int how = 0; how < 4; how++) {
        int64_t seen_ns = f->now_ns += HOUR;
        see_as(f, 200, "ann", true, nothing, 0);
        SEE(f, 200, item(1, "5"), item(2, "5"));
        f->now_ns += HOUR;
        struct tape_version v = {.realm = pc, .stash_id = id(200), .is_public = true, .wall_ns = f->now_ns};
        v.unread = how == 1;
        v.n_items = how == 2 ? 70000 : 0;
        f->n = 0;
        if (how == 0) see_partly(f, 200, one, 1);
        else if (how == 3) tape__lost(f->tape, pc, f->now_ns);
        else assert_int_equal(tape__version(f->tape, &v, on_event, f, &e), how == 1 ? 0 : ERR_LIMIT);
        assert_int_equal(f->n, 0);
        tape__page(f->tape, pc, f->now_ns += HOUR, true);
        f->now_ns += HOUR;
        SEE(f, 200, item(1, "5"));
        assert_int_equal(f->last.kind, TAPE_DELISTED);
        assert_int_equal(f->last.from_wall_ns, seen_ns);
    }
    struct tape_version v = {.realm = pc, .stash_id = id(77), .unread = true, .wall_ns = f->now_ns};
    assert_int_equal(tape__version(f->tape, &v, on_event, f, &e), 0); /* Never seen before: nothing to keep. */
}

static void test_a_key_carries_the_version_of_its_rule(void **state) {
    struct fixture *f = *state;
    struct tape_item two = item(2, "5");
    two.key_version = 2;
    SEE(f, 200, two);
    assert_int_equal(f->last.key_version, 2);
    SEE(f, 200, two, item(1, "5")); /* As from a snapshot that had no versions. */
    assert_int_equal(f->last.key_version, 1);
    SEE(f, 200, two);
    assert_int_equal(f->last.key_version, 1);
    see_partly(f, 200, NULL, 0);
    assert_string_equal(see_as(f, 200, "ann", true, nothing, 0), "delisted 02 off 0.35");
    assert_int_equal(f->last.key_version, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_an_item_that_cannot_be_read_stays),
        TEST(test_what_was_never_read_is_listed_when_it_is),
        TEST(test_what_is_seen_unread_elsewhere_was_moved),
        TEST(test_what_a_partial_version_does_not_hold_stays),
        TEST(test_an_item_without_an_id_leaves_the_rest_unknown),
        TEST(test_twins_that_differ_are_not_known),
        TEST(test_what_is_held_is_bounded),
        TEST(test_a_held_ask_is_not_an_ask_of_today),
        TEST(test_lost_pages_leave_every_stash_unknown),
        TEST(test_the_end_of_the_stream_is_the_earlier_bound),
        TEST(test_the_end_of_the_stream_says_nothing_of_what_was_not_read),
        TEST(test_a_key_carries_the_version_of_its_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
