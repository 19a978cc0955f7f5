/* What the tests of the tape share: a tape, a clock set by hand, versions in and what was said as text.
 * Header only; it comes behind cmocka. */
#ifndef SOUK_TESTS_TAPE_FIXTURE_H
#define SOUK_TESTS_TAPE_FIXTURE_H

#include "souk/core/buf.h"
#include "souk/tape.h"
#include <stdio.h>
#include <stdlib.h>

#define HOUR (3600 * NS_PER_S)
#define T0 (1700000000 * NS_PER_S)
static const char *const kinds[] = {"listed", "repriced", "restacked", "delisted", "moved", "relisted"};

struct fixture {
    struct tape *tape;
    int64_t now_ns;
    struct buf said; /* "listed 01 [near 0.85]; ..." */
    size_t n;
    struct tape_event last;
    char league[64]; /* Of last, whose slices were borrowed. */
};

static void on_event(void *ctx, const struct tape_event *e) {
    static const char *const removals[] = {"",     "near",     "off",         "unpriced", "few", "bulk",
                                           "unlisted", "elsewhere", "catching_up", "part"};
    struct fixture *f = ctx;
    f->n++;
    f->last = *e;
    snprintf(f->league, sizeof f->league, "%.*s", SLICE_FMT(e->league));
    buf__printf(&f->said, "%s%s %.2s", f->said.len == 0 ? "" : "; ", kinds[e->kind], e->listing_id);
    if (e->removal != TAPE_NOT_REMOVED) buf__printf(&f->said, " %s %.2f", removals[e->removal], e->sold_probability);
    if (e->retracts[0] != '\0') buf__printf(&f->said, " not %.2s", e->retracts);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    assert_int_equal(tape__new(&f->tape, &options), 0);
    f->now_ns = T0;
    f->said = buf__init(1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    tape__free(f->tape);
    buf__fini(&f->said);
    free(f);
    return 0;
}

/* Makes an id of 64 digits that starts with @n. */
static struct slice id(int n) {
    static char ring[64][65];
    static int at;
    char *z = ring[at++ % 64];
    snprintf(z, 65, "%02x%062x", n, n * 7919);
    return slice__of(z, 64);
}

static struct tape_item item(int n, const char *price) {
    struct tape_item out = {.id = id(n), .item_key = 5, .fingerprint = (uint64_t)n, .stack_size = 1};
    if (price[0] != '\0') {
        out.currency = SLICE_LIT("chaos");
        out.price_e6 = atoll(price) * 1000000;
        out.ask = (uint64_t)out.price_e6;
    }
    return out;
}

/* Takes in a version at the present time. @return what was said. */
static const char *see_as(struct fixture *f, int stash, const char *seller, bool caught_up, const struct tape_item *items,
                          size_t n) {
    struct err e = {0};
    struct tape_version v = {.realm = SLICE_LIT("pc"), .stash_id = id(stash), .is_public = items != NULL,
                             .league = SLICE_LIT("Settlers"), .seller = slice__str(seller), .items = items, .n_items = n,
                             .wall_ns = f->now_ns, .caught_up = caught_up};
    buf__clear(&f->said);
    if (tape__version(f->tape, &v, on_event, f, &e) != 0) fail_msg("%s", e.msg);
    assert_true(buf__u8(&f->said, 0));
    return f->said.base;
}
#define SEE(f, stash, ...)                                                                                             \
    see_as(f, stash, "ann", true, (struct tape_item[]){__VA_ARGS__},                                                   \
           sizeof((struct tape_item[]){__VA_ARGS__}) / sizeof(struct tape_item))

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
