/* The audit on small fixtures: each kind of difference is found, counted and named, and nothing
 * else is. */
#include "test_sim.h"

#include "ledger_audit.h"

/** Stored rows as TabSeparated text, one for each table; NULL where there is no such table. */
struct stored {
    const char *text[AUDIT_SOURCES];
    size_t piece; /* Bytes a reader gets at once. */
};

static int rows(void *ctx, enum audit_table table, void (*on_row)(void *, const struct span *),
                void *arg, struct sim_err *e) {
    const struct stored *s = ctx;
    static const size_t n_fields[AUDIT_SOURCES] = {3, 3, 5, 5, 4, 4, 4, 3, 4};
    struct tsv_reader t = {.n_fields = n_fields[table], .on_row = on_row, .arg = arg};
    const char *at = s->text[table] != NULL ? s->text[table] : "";
    int rc = 0;
    if (s->text[table] == NULL) return AUDIT_NO_TABLE;
    for (size_t left = strlen(at); rc == 0 && left > 0;) {
        size_t n = s->piece > 0 && s->piece < left ? s->piece : left;
        rc = tsv_reader__take(&t, at, n);
        at += n;
        left -= n;
    }
    if (rc != 0) sim_err__setf(e, "bad line: %s", t.line.at);
    buf__fini(&t.line);
    return rc;
}

#define PAGE(c, n, stashes, items) "psapi-page\tpc\t" c "\t" n "\t" #stashes "\t" #items "\t00\n"
#define ROW(c, n, stash, ord, item) "psapi\tpc\t" c "\t" n "\t" stash "\t" #ord "\t" item "\tnote\n"
#define NINJA(type, hash, id) "ninja\tAllflame\t" type "\t" hash "\t" id "\t1.0\n"

static const char ledger[] = ROW("1", "2", "s1", 0, "i1") ROW("1", "2", "s1", 1, "i2")
    PAGE("1", "2", 2, 2) ROW("2", "3", "s1", 0, "i1") ROW("2", "3", "s2", 0, "")
        ROW("2", "3", "s2", 1, "") PAGE("2", "3", 2, 3) NINJA("Currency", "aa", "divine-orb")
            NINJA("Currency", "aa", "o\\\\b") ROW("3", "4", "s9", 0, HOSTILE_ID_PREFIX "1")
                ROW("3", "4", "s9", 1, "i7") PAGE("3", "4", 1, 2)
                    NINJA("Currency", "bb", "divine-orb") NINJA("Scarab", "cc", "x");

#define PAGES_OK "1\t2\t2\n2\t3\t2\n3\t4\t1\n"
#define STASH_OK                                                                                   \
    "1\ts1\ti1\n1\ts1\ti2\n2\ts1\ti1\n2\ts2\t\n2\ts2\t\n3\ts9\t" HOSTILE_ID_PREFIX "1\n3\ts9\ti7"  \
    "\n"
#define NINJA_OK                                                                                   \
    "Allflame\tCurrency\tdivine-orb\taa\t1\nAllflame\tCurrency\to\\\\b\taa\t1\n"                   \
    "Allflame\tCurrency\tdivine-orb\tbb\t1\nAllflame\tScarab\tx\tcc\t1\n"

static struct audit_report report;

static void run(const char *text, struct stored s, unsigned flags) {
    struct audit_source source = {.ctx = &s, .rows = rows};
    struct sim_err err = {""};
    FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    audit_report__fini(&report);
    if (audit__run(f, &source, flags, &report, &err) != 0) fail_msg("%s", err.msg);
    fclose(f);
}

static void check(enum audit_table t, uint64_t lost, uint64_t twice, uint64_t unknown,
                  uint64_t not_due) {
    const struct audit_count *c = &report.tables[t];
    if (c->lost != lost || c->twice != twice || c->unknown != unknown || c->not_due != not_due)
        fail_msg("%s: %d lost, %d twice, %d unknown, %d not due\n%s", audit_table_names[t],
                 (int)c->lost, (int)c->twice, (int)c->unknown, (int)c->not_due, report.named.at);
}

static void test_equal_is_clean(void **state) {
    (void)state;
    for (size_t piece = 0; piece < 9; piece++) {
        run(ledger, (struct stored){{PAGES_OK, STASH_OK, NINJA_OK}, piece}, piece % 2 == 1);
        assert_true(audit_report__clean(&report));
        assert_int_equal(report.tables[AUDIT_STASH].emitted, 7);
        assert_int_equal(report.tables[AUDIT_STASH].stored, 7);
        assert_int_equal(report.n_named, 0);
    }
}

static void test_a_lost_row_is_named(void **state) {
    (void)state;
    run(ledger,
        (struct stored){{PAGES_OK, "1\ts1\ti1\n2\ts1\ti1\n2\ts2\t\n2\ts2\t\n3\ts9\ti7\n", NINJA_OK},
                        0},
        true);
    check(AUDIT_STASH, 1, 0, 0, 1); /* The hostile one may be missing. */
    assert_false(audit_report__clean(&report));
    assert_non_null(strstr(report.named.at,
                           "lost     bronze_public_stash: psapi\tpc\t1\t2\ts1\t1\ti2\tnote\n"));
}

static void test_a_row_twice_is_named(void **state) {
    (void)state;
    run(ledger,
        (struct stored){{PAGES_OK, STASH_OK "2\ts2\t\n1\ts1\ti2\n1\ts1\ti2\n", NINJA_OK}, 0},
        false);
    check(AUDIT_STASH, 0, 3, 0, 0);
    assert_non_null(strstr(report.named.at, "twice    bronze_public_stash: 1 s1 i2\n"));
    run(ledger, (struct stored){{PAGES_OK "2\t3\t2\n", STASH_OK, NINJA_OK}, 0}, true);
    check(AUDIT_PAGES, 0, 1, 0, 0);
}

/* A row of bronze_quarantine. */
#define REFUSED(table, cursor, field, payload) table "\t" cursor "\t" field "\t" payload "\n"

static void test_a_refused_row_is_no_loss(void **state) {
    (void)state;
    struct stored s = {{PAGES_OK, "1\ts1\ti1\n2\ts2\t\n2\ts1\ti1\n3\ts9\ti7\n",
                        "Allflame\tCurrency\tdivine-orb\taa\t1\nAllflame\tScarab\tx\tcc\t1\n"
                        "Allflame\tCurrency\tdivine-orb\tbb\t1\n"},
                       0};
    run(ledger, s, 0);
    check(AUDIT_STASH, 2, 0, 0, 1);
    check(AUDIT_NINJA, 1, 0, 0, 0);
    s.text[AUDIT_QUARANTINE] =
        REFUSED("bronze_public_stash", "1", "stashes[0].items[1].ilvl", "{\"id\":\"i2\"}")
            REFUSED("bronze_public_stash", "2", "stashes[1].items[1]", "\"no item\"")
                REFUSED("bronze_poeninja_snapshot", "", "lines[1].primaryValue",
                        "{\"id\":\"o\\\\\\\\b\",\"primaryValue\":1e400}");
    run(ledger, s, 0);
    check(AUDIT_STASH, 0, 0, 0, 3);
    check(AUDIT_NINJA, 0, 0, 0, 1);
    assert_true(audit_report__clean(&report));
}

static void test_a_refused_row_excuses_one_row_of_its_name(void **state) {
    (void)state;
    struct stored s = {{PAGES_OK, "1\ts1\ti1\n1\ts1\ti2\n3\ts9\ti7\n", NINJA_OK}, 0};
    s.text[AUDIT_QUARANTINE] =
        REFUSED("bronze_public_stash", "2", "stashes[1].items[1]", "\"no item\"")
            REFUSED("bronze_public_stash", "1", "stashes[0].items[0]", "{\"id\":\"i1\"}");
    run(ledger, s, 0);
    check(AUDIT_STASH, 2, 0, 0, 2); /* i1 is of another page; of the two without an id one was. */
    /* A stash that was refused is refused with its items, also where its end was cut off. */
    s.text[AUDIT_QUARANTINE] =
        REFUSED("bronze_public_stash", "2", "stashes[1].id", "{\"id\":\"s2\"}")
            REFUSED("bronze_public_stash", "2", "stashes[0].items[0]", "{\"id\":\"i1\",\"na");
    run(ledger, s, 0);
    check(AUDIT_STASH, 0, 0, 0, 4);
}

static void test_an_unknown_row_is_named(void **state) {
    (void)state;
    run(ledger,
        (struct stored){{PAGES_OK, STASH_OK "1\ts1\tghost\n", NINJA_OK "Allflame\tOil\tz\tdd\t1\n"},
                        0},
        true);
    check(AUDIT_STASH, 0, 0, 1, 0);
    check(AUDIT_NINJA, 0, 0, 1, 0);
    assert_non_null(strstr(report.named.at, "unknown  bronze_public_stash: 1 s1 ghost\n"));
}

static void test_a_page_with_another_count_is_wrong(void **state) {
    (void)state;
    run(ledger, (struct stored){{"1\t2\t2\n2\t3\t7\n3\t4\t1\n", STASH_OK, NINJA_OK}, 0}, false);
    check(AUDIT_PAGES, 1, 0, 1, 0);
}

static void test_what_is_not_durable_may_be_missing(void **state) {
    (void)state;
    run(ledger,
        (struct stored){
            {"1\t2\t2\n2\t3\t2\n", "1\ts1\ti1\n1\ts1\ti2\n2\ts1\ti1\n2\ts2\t\n2\ts2\t\n", NINJA_OK},
            0},
        true);
    check(AUDIT_PAGES, 0, 0, 0, 1);
    check(AUDIT_STASH, 0, 0, 0, 2);
    assert_true(audit_report__clean(&report));
    run(ledger,
        (struct stored){
            {"1\t2\t2\n2\t3\t2\n", "1\ts1\ti1\n1\ts1\ti2\n2\ts1\ti1\n2\ts2\t\n2\ts2\t\n", NINJA_OK},
            0},
        false);
    check(AUDIT_PAGES, 1, 0, 0, 0); /* Unless all of it was to be there. */
    check(AUDIT_STASH, 1, 0, 0, 1);
}

static void test_an_overview_may_be_replaced_whole_but_not_in_part(void **state) {
    (void)state;
    static const char later[] =
        "Allflame\tCurrency\tdivine-orb\tbb\t1\nAllflame\tScarab\tx\tcc\t1\n";
    static const char part[] =
        "Allflame\tCurrency\tdivine-orb\taa\t1\n"
        "Allflame\tCurrency\tdivine-orb\tbb\t1\nAllflame\tScarab\tx\tcc\t1\n";
    run(ledger, (struct stored){{PAGES_OK, STASH_OK, later}, 0}, AUDIT_REPLACED);
    check(AUDIT_NINJA, 0, 0, 0, 2);
    run(ledger, (struct stored){{PAGES_OK, STASH_OK, later}, 0}, AUDIT_UNTIL_DURABLE);
    check(AUDIT_NINJA, 2, 0, 0, 0);
    run(ledger, (struct stored){{PAGES_OK, STASH_OK, part}, 0}, AUDIT_REPLACED);
    check(AUDIT_NINJA, 1, 0, 0, 0); /* Of an answer that was kept, no row may be missing. */
    run(ledger, (struct stored){{"1\t2\t2\n2\t3\t2\n", STASH_OK, later}, 0}, AUDIT_REPLACED);
    check(AUDIT_PAGES, 1, 0, 0, 0); /* Pages have cursors: none is ever replaced. */
}

static void test_a_hole_before_the_durable_point_is_a_loss(void **state) {
    (void)state;
    run(ledger,
        (struct stored){{"1\t2\t2\n3\t4\t1\n", "1\ts1\ti1\n1\ts1\ti2\n3\ts9\ti7\n", NINJA_OK}, 0},
        true);
    check(AUDIT_PAGES, 1, 0, 0, 0);
    check(AUDIT_STASH, 3, 0, 0, 1);
}

static void test_overviews_after_the_last_stored_may_be_missing(void **state) {
    (void)state;
    run(ledger,
        (struct stored){
            {PAGES_OK, STASH_OK,
             "Allflame\tCurrency\tdivine-orb\taa\t1\nAllflame\tCurrency\to\\\\b\taa\t1\n"},
            0},
        true);
    check(AUDIT_NINJA, 0, 0, 0, 2);
    run(ledger, (struct stored){{PAGES_OK, STASH_OK, "Allflame\tCurrency\tdivine-orb\tbb\t2\n"}, 0},
        true);
    check(AUDIT_NINJA, 2, 1, 0,
          1); /* A later one is stored, so the first is lost; and one is there twice. */
}

static void test_a_torn_ledger_line_is_no_line(void **state) {
    (void)state;
    run(ROW("1", "2", "s1", 0, "i1") PAGE("1", "2", 1, 1) "psapi\tpc\t2",
        (struct stored){{"1\t2\t1\n", "1\ts1\ti1\n", ""}, 0}, false);
    assert_true(audit_report__clean(&report));
}

static void test_an_error_text_is_no_result(void **state) {
    struct stored s = {{"Code: 60, e.displayText() = DB::Exception\n", "", ""}, 0};
    struct audit_source source = {.ctx = &s, .rows = rows};
    struct sim_err err = {""};
    FILE *f = fmemopen((void *)(uintptr_t)ledger, strlen(ledger), "r");
    (void)state;
    audit_report__fini(&report);
    assert_int_equal(audit__run(f, &source, false, &report, &err), -1);
    assert_non_null(strstr(err.msg, "Code: 60"));
    fclose(f);
}

static void test_many_rows_sort_and_match(void **state) {
    struct buf led = {0}, pages = {0}, stash = {0};
    struct rng r = {.state = 3};
    (void)state;
    for (unsigned i = 0; i < 50000; i++) {
        unsigned n = rng__below(&r, 20000); /* Some keys occur several times. */
        buf__addf(&led, "psapi\tpc\t1\t2\ts\t0\ti%u\t\n", n);
        buf__addf(&stash, "1\ts\ti%u\n", n);
    }
    buf__adds(&led, PAGE("1", "2", 1, 50000));
    buf__adds(&pages, "1\t2\t1\n");
    run(led.at, (struct stored){{pages.at, stash.at, ""}, 4096}, true);
    assert_true(audit_report__clean(&report));
    stash.at[4] = 'x'; /* One id of the stored side is another now. */
    run(led.at, (struct stored){{pages.at, stash.at, ""}, 4096}, true);
    check(AUDIT_STASH, 1, 0, 1, 0);
    buf__fini(&led);
    buf__fini(&pages);
    buf__fini(&stash);
}

#define HOUR(realm, hour, market) "exchange\t" realm "\t" hour "\tStandard\t" market "\n"
#define BODY(kind, a, b, hash) "body\t" kind "\t" a "\t" b "\t" hash "\t1\n"

static const char bodies[] = HOUR("pc", "3600", "a|b") HOUR("pc", "3600", "a|c")
    BODY("exchange", "pc", "3600", "h1") HOUR("pc", "7200", "a|b")
        BODY("exchange", "pc", "7200", "h2") "trade\tremote\t\tt1\n" BODY("trades", "", "", "h3") "trade\tremote\tsim-1\tt2\n" BODY(
            "trades", "sim-1", "",
            "h4") "trade\tresource\tstatic\tchaos\n"
                  "trade\tresource\tstatic\tsame\n"
                  "trade\tresource\tstatic\tsame\n" BODY(
                      "resource", "static", "",
                      "h5") "trade\tresource\tstatic\tchaos\n"
                            "trade\tresource\tstatic\tnew\n" BODY("resource", "static", "", "h6") "account\ttab\titem\th7\n" BODY(
                                "account", "tab", "Standard",
                                "h7") "league\tpc\tStandard\th8\n" BODY("leagues", "pc", "",
                                                                        "h8") "enrichment\tpoedb\tJ"
                                                                              "eweller's "
                                                                              "Orb\n" BODY(
                                                                                  "poedb",
                                                                                  "Currenc"
                                                                                  "y_"
                                                                                  "Exchang"
                                                                                  "e",
                                                                                  "",
                                                                                  "h9") "e"
                                                                                        "x"
                                                                                        "c"
                                                                                        "h"
                                                                                        "a"
                                                                                        "n"
                                                                                        "g"
                                                                                        "e"
                                                                                        "\tpc\t9999"
                                                                                        "\tStandard"
                                                                                        "\ttorn: "
                                                                                        "its body "
                                                                                        "line "
                                                                                        "never "
                                                                                        "came\n";

#define HOURS_OK                                                                                   \
    "pc\t3600\tStandard\ta|b\t1\npc\t3600\tStandard\ta|c\t1\npc\t7200\tStandard\ta|b\t1\n"
#define LISTS_OK "resource\tstatic\tchaos\t1\nresource\tstatic\tsame\t2\n"
#define TRADE_OK "remote\t\tt1\t1\nremote\tsim-1\tt2\t1\n" LISTS_OK "resource\tstatic\tnew\t1\n"
#define REST_OK "tab\titem\th7\t1\n", "pc\tStandard\th8\t1\n", "poedb\tJeweller's Orb\t1\n"

static void test_bodies_are_compared_by_their_keys(void **state) {
    (void)state;
    run(bodies, (struct stored){{"", "", "", HOURS_OK, TRADE_OK, REST_OK}, 3}, 0);
    for (int t = AUDIT_EXCHANGE; t < AUDIT_TABLES; t++) check((enum audit_table)t, 0, 0, 0, 0);
    assert_int_equal(report.tables[AUDIT_EXCHANGE].emitted, 3); /* Torn rows were not said. */
    run(bodies,
        (struct stored){{"", "", "", HOURS_OK "pc\t9999\tStandard\ttorn\t1\n",
                         "remote\t\tt1\t2\n" LISTS_OK "resource\tstatic\tnew\t2\n",
                         "tab\tother\th7\t1\n", "pc\tStandard\th8\t3\n", ""},
                        0},
        0);
    check(AUDIT_EXCHANGE, 0, 0, 1, 0);
    check(AUDIT_TRADE, 1, 2, 0, 0); /* Listing t2 is lost; t1 and one row of a list are twice. */
    check(AUDIT_ACCOUNT, 1, 0, 1, 0);
    check(AUDIT_LEAGUES, 0, 2, 0, 0);
    check(AUDIT_ENRICHMENT, 1, 0, 0, 0);
    assert_non_null(
        strstr(report.named.at, "lost     bronze_trade_metadata: trade\tremote\tsim-1\tt2\n"));
    assert_non_null(
        strstr(report.named.at, "twice    bronze_trade_metadata: resource static new\n"));
}

static void test_bodies_that_are_not_durable_may_be_missing(void **state) {
    (void)state;
    struct stored s = {{"", "", "", "pc\t3600\tStandard\ta|b\t1\npc\t3600\tStandard\ta|c\t1\n",
                        "remote\t\tt1\t1\n" LISTS_OK, "", "", ""},
                       0};
    run(bodies, s, AUDIT_UNTIL_DURABLE);
    check(AUDIT_EXCHANGE, 0, 0, 0, 1);
    check(AUDIT_TRADE, 0, 0, 0, 2); /* The last page, and what came with the last version. */
    check(AUDIT_ACCOUNT, 0, 0, 0, 1);
    run(bodies, s, AUDIT_REPLACED);
    check(AUDIT_EXCHANGE, 1, 0, 0, 0); /* An hour is never replaced. */
    check(AUDIT_TRADE, 1, 0, 0, 1);
    s.text[AUDIT_EXCHANGE] = "pc\t7200\tStandard\ta|b\t1\npc\t3600\tStandard\ta|b\t1\n";
    s.text[AUDIT_TRADE] = "remote\tsim-1\tt2\t1\n";
    run(bodies, s, AUDIT_UNTIL_DURABLE);
    check(AUDIT_EXCHANGE, 1, 0, 0, 0); /* A hole before the last stored hour. */
    check(AUDIT_TRADE, 4, 0, 0, 1);    /* Page "", and the first version of the list: 3 rows. */
}

static void test_a_table_that_is_not_there(void **state) {
    (void)state;
    run(ledger, (struct stored){{PAGES_OK, STASH_OK, NINJA_OK}, 0}, 0);
    assert_true(audit_report__clean(&report)); /* Nothing was served for it. */
    assert_true(report.tables[AUDIT_LEAGUES].no_table);
    run(bodies, (struct stored){{"", "", "", HOURS_OK}, 0}, 0);
    assert_false(audit_report__clean(&report));
    check(AUDIT_LEAGUES, 1, 0, 0, 0);
    assert_true(report.tables[AUDIT_LEAGUES].no_table);
    assert_false(report.tables[AUDIT_EXCHANGE].no_table);
}

static int fini(void **state) {
    (void)state;
    audit_report__fini(&report);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_is_clean),
        cmocka_unit_test(test_a_lost_row_is_named),
        cmocka_unit_test(test_a_row_twice_is_named),
        cmocka_unit_test(test_a_refused_row_is_no_loss),
        cmocka_unit_test(test_a_refused_row_excuses_one_row_of_its_name),
        cmocka_unit_test(test_an_unknown_row_is_named),
        cmocka_unit_test(test_a_page_with_another_count_is_wrong),
        cmocka_unit_test(test_what_is_not_durable_may_be_missing),
        cmocka_unit_test(test_an_overview_may_be_replaced_whole_but_not_in_part),
        cmocka_unit_test(test_a_hole_before_the_durable_point_is_a_loss),
        cmocka_unit_test(test_overviews_after_the_last_stored_may_be_missing),
        cmocka_unit_test(test_a_torn_ledger_line_is_no_line),
        cmocka_unit_test(test_an_error_text_is_no_result),
        cmocka_unit_test(test_many_rows_sort_and_match),
        cmocka_unit_test(test_bodies_are_compared_by_their_keys),
        cmocka_unit_test(test_bodies_that_are_not_durable_may_be_missing),
        cmocka_unit_test(test_a_table_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, fini);
}
