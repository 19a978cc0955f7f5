/* The tape's names: what sellers write into notes and call their leagues takes no place for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../../src/tape/tape_internal.h"
#include "souk/core/buf.h"
#include "souk/tape.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define T0 (1700000000 * NS_PER_S)
enum { PLACES = 16383, AT_ONCE = 1024, MANY = 70000 };

struct names {
    struct tape *tape;
    int64_t now_ns;
    size_t n;
    char league[160], currency[64];
    int64_t price_e6;
    enum tape_kind kind;
};

static int setup_names(void **state) {
    struct names *f = calloc(1, sizeof *f);
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    assert_int_equal(tape__new(&f->tape, &options), 0);
    f->now_ns = T0;
    *state = f;
    return 0;
}

static int teardown_names(void **state) {
    struct names *f = *state;
    tape__free(f->tape);
    free(f);
    return 0;
}

static void on_named(void *ctx, const struct tape_event *e) {
    struct names *f = ctx;
    f->n++;
    f->kind = e->kind;
    f->price_e6 = e->price_e6;
    snprintf(f->league, sizeof f->league, "%.*s", SLICE_FMT(e->league));
    snprintf(f->currency, sizeof f->currency, "%.*s", SLICE_FMT(e->currency));
}

/* Stash @stash holds one item, @stash too, in @league, for 5 of @currency; @league NULL: it is not
 * public. */
static void put_stash(struct names *f, int stash, const char *league, const char *currency) {
    char stash_id[65], item_id[65];
    struct err e = {0};
    snprintf(stash_id, sizeof stash_id, "%064x", stash);
    snprintf(item_id, sizeof item_id, "%064x", stash);
    const struct tape_item one = {.id = slice__of(item_id, 64),
                                  .item_key = 5,
                                  .fingerprint = (uint64_t)stash + 1,
                                  .ask = 9,
                                  .currency = slice__str(currency),
                                  .price_e6 = 5000000,
                                  .stack_size = 1};
    const struct tape_version v = {.realm = SLICE_LIT("pc"),
                                   .stash_id = slice__of(stash_id, 64),
                                   .is_public = league != NULL,
                                   .league = slice__str(league == NULL ? "" : league),
                                   .seller = SLICE_LIT("ann"),
                                   .items = &one,
                                   .n_items = 1,
                                   .wall_ns = f->now_ns};
    if (tape__version(f->tape, &v, on_named, f, &e) != 0) fail_msg("%s", e.msg);
}

static struct tape_status status_of(const struct tape *t) {
    struct tape_status st;
    tape__status(t, &st);
    return st;
}

static void assert_goes_from(struct names *f, int stash, const char *league) {
    f->n = 0;
    put_stash(f, stash, NULL, "");
    assert_int_equal(f->n, 1);
    assert_int_equal(f->kind, TAPE_DELISTED);
    assert_string_equal(f->league, league);
}

/* Without memory a stash of a new league is given up, and its league may be tidied twice: a place that is free is not
 * free again, or two leagues would share it. */
static void test_a_place_is_freed_once(void **state) {
    struct names *f = *state;
    uint16_t first = leagues__number(f->tape, SLICE_LIT("Standard"));
    leagues__tidy(f->tape, first);
    leagues__tidy(f->tape, first);
    assert_int_equal(leagues__number(f->tape, SLICE_LIT("Settlers")), first);
    assert_int_not_equal(leagues__number(f->tape, SLICE_LIT("Hardcore")), first);
    assert_int_equal(status_of(f->tape).n_leagues, 2);
}

/* Any seller may write any word: 70,000 of them leave every currency its price, and a league its
 * name. */
static void test_words_that_nobody_knows_are_no_names(void **state) {
    struct names *f = *state;
    char word[32];
    size_t bytes = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(word, sizeof word, "zzz-%d", i);
        put_stash(f, 1, "Standard", word);
        if (i == 0) bytes = status_of(f->tape).bytes;
    }
    assert_int_equal(f->n, 1); /* Listed, without a price; no other price since. */
    assert_int_equal(f->price_e6, 0);
    assert_string_equal(f->currency, "");
    assert_int_equal(status_of(f->tape).bytes, bytes);
    put_stash(f, 2, "Settlers", "divine");
    assert_string_equal(f->currency, "divine");
    assert_int_equal(f->price_e6, 5000000);
    assert_goes_from(f, 2, "Settlers");
    assert_int_equal(status_of(f->tape).n_unnamed, MANY);
}

static void fill_leagues(struct names *f, int from, int n, const char *format) {
    char league[64];
    for (int i = from; i < from + n; i++) {
        snprintf(league, sizeof league, format, i);
        put_stash(f, 1000 + i, league, "chaos");
    }
}

#define PRIVATE "Ours (PL%d)"

static void test_a_new_league_always_finds_a_place(void **state) {
    struct names *f = *state;
    put_stash(f, 1, "Standard", "chaos"); /* With one stash no larger than any other. */
    fill_leagues(f, 0, PLACES - 1, PRIVATE);
    assert_int_equal(status_of(f->tape).n_leagues, PLACES);
    assert_int_equal(status_of(f->tape).n_forgotten_leagues, 0);
    fill_leagues(f, PLACES, 1, PRIVATE);
    struct tape_status st = status_of(f->tape);
    assert_int_equal(st.n_forgotten_leagues, AT_ONCE);
    assert_int_equal(st.n_forgotten_stashes, AT_ONCE);
    assert_int_equal(st.n_forgotten_items, AT_ONCE);
    assert_int_equal(st.n_leagues, PLACES - AT_ONCE + 1);
    assert_int_equal(st.n_leagues, st.n_stashes);
    fill_leagues(f, PLACES + 1, MANY, PRIVATE);
    st = status_of(f->tape);
    assert_in_range(st.n_leagues, 1, PLACES);
    assert_int_equal(st.n_leagues, st.n_stashes);
    assert_int_equal(f->n, 1 + PLACES - 1 + 1 + MANY); /* Listed; what is forgotten was not sold. */
    assert_int_equal(f->kind, TAPE_LISTED);
    put_stash(f, 2, "Settlers", "chaos");
    assert_goes_from(f, 2, "Settlers");
    assert_goes_from(f, 1, "Standard");
    assert_int_equal(status_of(f->tape).n_unnamed, 0);
}

/* The stash that a version is of may be among those that are forgotten for its new league. */
static void test_a_stash_may_be_forgotten_by_its_own_version(void **state) {
    struct names *f = *state;
    fill_leagues(f, 0, PLACES, "League %06d");
    f->n = 0;
    fill_leagues(f, 0, 1, "New %d");
    assert_int_equal(f->n, 1);
    assert_int_equal(f->kind, TAPE_LISTED); /* Not the same as before: nobody knows of it any more. */
    assert_goes_from(f, 1000, "New 0");
}

static void test_a_league_goes_with_its_last_stash(void **state) {
    struct names *f = *state;
    size_t bytes = status_of(f->tape).bytes;
    for (int round = 0; round < 3; round++) {
        fill_leagues(f, 0, 100, "A %d");
        fill_leagues(f, 0, 100, "B %d"); /* They moved there. */
        fill_leagues(f, 0, 100, "B %d");
        assert_int_equal(status_of(f->tape).n_leagues, 100);
        for (int i = 0; i < 100; i++) put_stash(f, 1000 + i, NULL, "");
        assert_int_equal(status_of(f->tape).n_leagues, 0);
        assert_int_equal(status_of(f->tape).bytes, bytes);
    }
    assert_int_equal(status_of(f->tape).n_forgotten_leagues, 0);
}

static void test_a_league_that_is_no_name_is_counted(void **state) {
    struct names *f = *state;
    char longest[129], longer[130];
    memset(longest, 'x', sizeof longest), memset(longer, 'x', sizeof longer);
    longest[128] = longer[129] = '\0';
    put_stash(f, 1, longest, "chaos");
    put_stash(f, 2, longer, "chaos");
    assert_int_equal(status_of(f->tape).n_unnamed, 1);
    assert_goes_from(f, 1, longest);
    assert_goes_from(f, 2, "");
}

/* Also when all places are taken: which leagues go does not depend on when it was last saved. */
static void test_a_tape_from_a_snapshot_knows_the_leagues(void **state) {
    struct names *f = *state;
    struct names other = {.now_ns = T0};
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    char path[] = "/tmp/souk_tape_XXXXXX";
    struct err e = {0};
    uint64_t lsn;
    close(mkstemp(path));
    fill_leagues(f, 0, PLACES, PRIVATE);
    for (int i = 0; i < 500; i++) put_stash(f, 1000 + 7 * i, NULL, ""); /* Their places are free. */
    assert_int_equal(tape__save(f->tape, path, 7, &e), 0);
    assert_int_equal(tape__new(&other.tape, &options), 0);
    if (tape__load(other.tape, path, &lsn, &e) != 0) fail_msg("%s", e.msg);
    struct tape_status a = status_of(f->tape), b = status_of(other.tape);
    assert_int_equal(a.n_leagues, b.n_leagues);
    assert_int_equal(a.bytes, b.bytes);
    fill_leagues(f, PLACES, 3000, "New %d");
    fill_leagues(&other, PLACES, 3000, "New %d");
    a = status_of(f->tape), b = status_of(other.tape);
    assert_true(a.n_forgotten_leagues > 0);
    assert_int_equal(a.n_forgotten_leagues, b.n_forgotten_leagues);
    assert_int_equal(a.bytes, b.bytes);
    for (int i = 0; i < PLACES + 3000; i += 5) {
        f->n = other.n = 0;
        put_stash(f, 1000 + i, NULL, "");
        put_stash(&other, 1000 + i, NULL, "");
        assert_int_equal(f->n, other.n);
        if (f->n == 1) assert_string_equal(f->league, other.league);
    }
    tape__free(other.tape);
    unlink(path);
}

/* --- A snapshot of before: whatever stood in a note had a number, shared with the leagues --- */

struct head {
    uint64_t magic, lsn;
    uint32_t item_bytes, stash_bytes, removal_bytes, market_bytes;
    uint64_t n_stashes;
    uint32_t n_names, n_realms, n_removals, n_additions, n_markets, spare;
};
enum { OLD_NAMES = 65535, STASH_BYTES = 72, AT_LEAGUE = STASH_BYTES - 4, AT_CURRENCY = TAPE_ITEM_BYTES - 4 };

static void put_name(struct buf *out, const char *name) {
    uint16_t len = (uint16_t)strlen(name);
    buf__append(out, &len, sizeof len);
    buf__append(out, name, len);
}

static void set_u16(char *at, uint16_t n) { memcpy(at, &n, sizeof n); }

/* Makes of the snapshot at @path, of three stashes of one item and 3 bytes of a seller each, one of
 * the old kind. */
static void make_old(const char *path) {
    struct buf in = buf__init(16 << 20), out = buf__init(16 << 20);
    char chunk[65536];
    FILE *file = fopen(path, "rb");
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) buf__append(&in, chunk, n);
    fclose(file);
    struct head head;
    memcpy(&head, in.base, sizeof head);
    size_t at = sizeof head;
    for (uint32_t i = 1; i < head.n_names; i++) {
        uint16_t len;
        memcpy(&len, in.base + at, sizeof len);
        at += sizeof len + len;
    }
    char *body = in.base + at;
    for (int i = 0; i < 3; i++) {
        char *stash = body + head.n_realms * 40 + i * (STASH_BYTES + TAPE_ITEM_BYTES + 3);
        set_u16(stash + AT_LEAGUE, (uint16_t)(OLD_NAMES - 1 - (i == 2)));
        set_u16(stash + STASH_BYTES + AT_CURRENCY, (uint16_t)(OLD_NAMES - 3 - i)); /* exa, chaos, a word. */
    }
    memcpy(&head.magic, "SUKTAPE2", sizeof head.magic);
    head.n_names = OLD_NAMES;
    buf__append(&out, &head, sizeof head);
    for (int i = 1; i < OLD_NAMES; i++) {
        static const char *const last[] = {"zzz", "chaos", "exa", "Standard", "Settlers"};
        char word[32];
        snprintf(word, sizeof word, "garbage-%d", i);
        put_name(&out, i < OLD_NAMES - 5 ? word : last[i - (OLD_NAMES - 5)]);
    }
    buf__append(&out, body, in.len - at - sizeof(uint64_t));
    uint64_t sum = XXH3_64bits(out.base, out.len);
    buf__append(&out, &sum, sizeof sum);
    assert_true(!out.failed);
    file = fopen(path, "wb");
    assert_int_equal(fwrite(out.base, 1, out.len, file), out.len);
    assert_int_equal(fclose(file), 0);
    buf__fini(&in);
    buf__fini(&out);
}

static void test_a_snapshot_full_of_garbage_is_cleaned(void **state) {
    struct names *f = *state;
    const struct tape_options options = {.recent_max = 64, .markets_max = 64};
    char path[] = "/tmp/souk_tape_XXXXXX";
    struct err e = {0};
    uint64_t lsn = 0;
    close(mkstemp(path));
    for (int i = 1; i <= 3; i++) put_stash(f, i, "Heist", "alch");
    assert_int_equal(tape__save(f->tape, path, 4711, &e), 0);
    make_old(path);
    tape__free(f->tape);
    assert_int_equal(tape__new(&f->tape, &options), 0);
    assert_int_equal(tape__peek(path, &lsn, &e), 0);
    if (tape__load(f->tape, path, &lsn, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(lsn, 4711);
    assert_int_equal(status_of(f->tape).n_leagues, 2);
    assert_int_equal(status_of(f->tape).n_stashes, 3);
    f->n = 0;
    put_stash(f, 2, "Settlers", "chaos"); /* As it was. */
    put_stash(f, 3, "Standard", "zzz");   /* So is what never was a price. */
    assert_int_equal(f->n, 0);
    assert_goes_from(f, 1, "Settlers");
    assert_string_equal(f->currency, "exalted");
    assert_goes_from(f, 2, "Settlers");
    assert_string_equal(f->currency, "chaos");
    assert_goes_from(f, 3, "Standard");
    assert_string_equal(f->currency, "");
    assert_int_equal(status_of(f->tape).n_leagues, 0);
    put_stash(f, 4, "Mirage", "divine");
    assert_string_equal(f->currency, "divine");
    assert_goes_from(f, 4, "Mirage");
    unlink(path);
}

#define NAMES_TEST(f) cmocka_unit_test_setup_teardown(f, setup_names, teardown_names)

int main(void) {
    const struct CMUnitTest tests[] = {
        NAMES_TEST(test_a_place_is_freed_once),
        NAMES_TEST(test_words_that_nobody_knows_are_no_names),
        NAMES_TEST(test_a_new_league_always_finds_a_place),
        NAMES_TEST(test_a_stash_may_be_forgotten_by_its_own_version),
        NAMES_TEST(test_a_league_goes_with_its_last_stash),
        NAMES_TEST(test_a_league_that_is_no_name_is_counted),
        NAMES_TEST(test_a_tape_from_a_snapshot_knows_the_leagues),
        NAMES_TEST(test_a_snapshot_full_of_garbage_is_cleaned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
