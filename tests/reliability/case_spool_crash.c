/* Cases 1, 2 and 3 for the spool: the process is killed, or the machine loses power, at any call
 * that changes a file. Nothing that was promised may be lost, nothing may come twice, and the spool
 * opens every time, also when the opening itself is cut off. */
#include "spool_life.h"

#define SEEDS_A_SPOOL 25u /* Lives follow each other in one data set; then a new one starts. */

struct tally {
    uint64_t n_crashes, n_pages, n_promised, n_lost, n_twice;
    double recovery_max_s;
};

static void add_up(struct tally *t, const struct life *l) {
    t->n_pages += l->n_pages;
    t->n_promised += l->n_promised;
    t->n_lost += l->n_lost;
    t->n_twice += l->n_twice;
    if (l->recovery_max_s > t->recovery_max_s) t->recovery_max_s = l->recovery_max_s;
}

static void score(int case_number, const char *what, const struct tally *t) {
    struct score s = {.case_number = case_number,
                      .what = what,
                      .passed = t->n_lost == 0 && t->n_twice == 0 && t->recovery_max_s < 5,
                      .kills = t->n_crashes,
                      .seeds = t->n_crashes,
                      .rows = t->n_promised,
                      .lost = t->n_lost,
                      .twice = t->n_twice,
                      .recovery_s = t->recovery_max_s};
    score__write(&s);
    print_message("%s: %" PRIu64 " crashes, %" PRIu64 " pages, %" PRIu64 " promised, %" PRIu64
                  " lost, %" PRIu64 " twice, opening took at most %.3f s\n",
                  what, t->n_crashes, t->n_pages, t->n_promised, t->n_lost, t->n_twice,
                  t->recovery_max_s);
    assert_int_equal(t->n_lost, 0);
    assert_int_equal(t->n_twice, 0);
    assert_true(t->recovery_max_s < 5);
    assert_true(t->n_promised > 0);
}

/* One life that ends at its @k-th call, then a crash. */
static void live_and_crash(struct life *l, uint64_t k, enum disk_crash kind, unsigned n_steps) {
    disk_model__stop_after(l->disk, k);
    if (life_open(l)) {
        if (!disk_model__stopped(l->disk)) life_check(l);
        life_live(l, n_steps);
    }
    life_close(l);
    disk_model__crash(l->disk, kind);
}

static void check_last(struct life *l) {
    assert_true(life_open(l));
    life_check(l);
    assert_true(life_page(l));
    life_idle(l);
    assert_int_equal(l->state[l->n_pages - 1], PAGE_SYNCED);
    life_close(l);
    assert_true(life_open(l));
    struct spool_status st;
    spool__status(l->spool, &st);
    assert_true(st.was_clean);
    assert_int_equal(st.corrupt_bytes + st.torn_bytes + st.n_missing, 0);
    life_check(l);
}

static void test_killed_at_random_in_one_data_set(void **state) {
    (void)state;
    struct tally t = {0};
    struct life *l = life_new(1);
    t.n_crashes = score__times(200, 1000);
    for (uint64_t i = 0; i < t.n_crashes; i++)
        live_and_crash(l, 1 + life_random(l) % 60, DISK_KILL, 30);
    check_last(l);
    add_up(&t, l);
    life_free(l);
    score(1, "process killed at a random call of the spool, one data set", &t);
}

static void test_killed_or_cut_off_at_every_call(void **state) {
    (void)state;
    struct tally t = {0};
    uint64_t k_max = score__times(80, 400);
    for (int kind = DISK_KILL; kind <= DISK_POWER_CUT; kind++) {
        /* The first life of a spool; then a life that finds segments and a checkpoint. */
        for (int grown = 0; grown < 2; grown++) {
            for (uint64_t k = 1; k <= k_max; k++) {
                struct life *l = life_new(7);
                if (grown) live_and_crash(l, 0, DISK_KILL, 20);
                live_and_crash(l, k, (enum disk_crash)kind, 40);
                check_last(l);
                add_up(&t, l);
                life_free(l);
                t.n_crashes++;
            }
        }
    }
    score(2, "stopped at every call of the write path", &t);
}

static void test_power_cuts_of_many_seeds(void **state) {
    (void)state;
    struct tally t = {0};
    t.n_crashes = score__times(300, 10000);
    for (uint64_t seed = 0; seed < t.n_crashes; seed += SEEDS_A_SPOOL) {
        struct life *l = life_new(seed + 1000);
        for (unsigned i = 0; i < SEEDS_A_SPOOL; i++) {
            /* Now and then the process dies first, and the power goes in its next life: what it read
             * then came from the page cache. */
            bool twice = life_random(l) % 3 == 0;
            if (twice) live_and_crash(l, 1 + life_random(l) % 50, DISK_KILL, 30);
            live_and_crash(l, 1 + life_random(l) % 50, DISK_POWER_CUT, 30);
        }
        check_last(l);
        add_up(&t, l);
        life_free(l);
    }
    score(3, "power cut, unsynced sectors lost, torn, reordered", &t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_random_in_one_data_set),
        cmocka_unit_test(test_killed_or_cut_off_at_every_call),
        cmocka_unit_test(test_power_cuts_of_many_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
