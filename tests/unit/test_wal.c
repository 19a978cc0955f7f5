/* souk wal, the program itself, on spools that are whole, damaged and in use. */
#include "souk/journal.h"
#include "test_spool_fixture.h"
#include <yyjson.h>

#define OUT_MAX 262144u

/* Runs souk wal with @args on the fixture's folder. @return its exit code; what it printed in @out.
 */
static int run_wal(const struct fixture *f, const char *before, const char *args, char *out) {
    char command[512];
    const char *souk = getenv("SOUK_BINARY");
    assert_non_null(souk);
    snprintf(command, sizeof command, "'%.200s' %s wal %s --dir '%s' 2>&1", souk, before, args,
             f->dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = fread(out, 1, OUT_MAX - 1, p);
    out[n] = '\0';
    int status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static uint64_t json_number(const char *json, const char *pointer) {
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    yyjson_val *v = yyjson_doc_ptr_get(doc, pointer);
    if (!yyjson_is_num(v)) fail_msg("no number %s in %s", pointer, json);
    uint64_t n = yyjson_get_uint(v);
    yyjson_doc_free(doc);
    return n;
}

static uint64_t append_real_page(struct fixture *f, struct slice body) {
    struct buf head = buf__init(1 << 16), packed = buf__init(1 << 20);
    struct request_facts facts = {.source = SLICE_LIT("psapi"),
                                  .stream = SLICE_LIT("pc"),
                                  .path = SLICE_LIT("/api/public-stash-tabs"),
                                  .status = SLICE_LIT("ok"),
                                  .cursor_from = SLICE_LIT("1-2"),
                                  .cursor_to = SLICE_LIT("3-4"),
                                  .http_status = 200};
    struct err e = {0};
    journal__encode(&facts, &head);
    assert_int_equal(journal__compress(body, &packed), 0);
    struct slice parts[] = {buf__slice(&head), buf__slice(&packed)};
    uint64_t lsn = spool__append(f->spool, SPOOL_PAGE, 0, parts, 2, NULL, NULL, &e);
    buf__fini(&head);
    buf__fini(&packed);
    return lsn;
}

static void test_wal_reads_a_spool_in_use(void **state) {
    struct fixture *f = *state;
    static char out[OUT_MAX];
    char args[128], want[64];
    open_spool(f);
    uint64_t page = append_real_page(f, SLICE_LIT("{\"stashes\":[]}"));
    struct slice text = SLICE_LIT("{\"kind\":\"fired\"}");
    uint64_t alert = spool__append(f->spool, SPOOL_ALERT, 3, &text, 1, NULL, NULL, NULL);
    for (uint32_t i = 0; i < 200; i++) append_n(f, SPOOL_SEAL, i, 1000);
    run_until_synced(f);
    assert_int_equal(run_wal(f, "--json", "stat", out), 0);
    assert_int_equal(json_number(out, "/records/page/records"), 1);
    assert_int_equal(json_number(out, "/records/seal/records"), 200);
    assert_int_equal(json_number(out, "/records/seal/bytes"), 200 * 1000);
    assert_int_equal(json_number(out, "/end_lsn"), status_of(f).end_lsn);
    assert_int_equal(json_number(out, "/unacked_bytes"), status_of(f).unacked_bytes);
    assert_int_equal(json_number(out, "/oldest_unacked_wall_ns"), (uint64_t)f->clock.wall_ns);
    assert_int_equal(run_wal(f, "", "stat", out), 0);
    assert_non_null(strstr(out, spool__store_id(f->spool)));
    assert_int_equal(run_wal(f, "", "verify", out), 0);
    assert_non_null(strstr(out, "202 records are good, 0 ranges are damaged"));

    assert_int_equal(run_wal(f, "", "dump --payload --type page", out), 0);
    assert_non_null(strstr(out, "cursor 1-2 > 3-4\n{\"stashes\":[]}\n"));
    snprintf(want, sizeof want, "%" PRIu64 " page 0 1970-01-01T00:16:40.000Z ", page);
    assert_int_equal(strncmp(out, want, strlen(want)), 0);
    snprintf(args, sizeof args, "dump --payload --from %" PRIu64 " --limit 1", alert);
    assert_int_equal(run_wal(f, "--json", args, out), 0);
    assert_int_equal(json_number(out, "/lsn"), alert);
    assert_non_null(strstr(out, "\\\"kind\\\":\\\"fired\\\""));
    snprintf(args, sizeof args, "dump --to %" PRIu64, alert);
    assert_int_equal(run_wal(f, "", args, out), 0);
    assert_null(strchr(strchr(out, '\n') + 1, '\n')); /* One line. */

    assert_int_equal(run_wal(f, "", "repair --yes", out), 75);
    snprintf(want, sizeof want, "held by pid %ld", (long)getpid());
    assert_non_null(strstr(out, want));
}

static void test_wal_names_damage_and_mends_it(void **state) {
    struct fixture *f = *state;
    static char out[OUT_MAX];
    char path[128], want[128];
    uint64_t lsn[200];
    open_spool(f);
    for (uint32_t i = 0; i < 200; i++) lsn[i] = append_n(f, SPOOL_PAGE, i, 1000);
    close_spool(f);
    segment_path(f, 2, path, sizeof path);
    size_t at = 0;
    while (lsn[at] / SEGMENT_BYTES < 2) at++;
    flip_bit(path, (off_t)(lsn[at + 3] % SEGMENT_BYTES) + 50, 1);
    snprintf(want, sizeof want,
             "segment 0000000000000002 is damaged from byte %" PRIu64 " to %" PRIu64,
             lsn[at + 3] % SEGMENT_BYTES, lsn[at + 4] % SEGMENT_BYTES);
    assert_int_equal(run_wal(f, "", "verify", out), 1);
    assert_non_null(strstr(out, want));
    assert_int_equal(run_wal(f, "--json", "verify", out), 1);
    assert_int_equal(json_number(out, "/damaged/0/from"), lsn[at + 3] % SEGMENT_BYTES);
    assert_int_equal(json_number(out, "/damaged_bytes"), record__extent(1000));
    assert_int_equal(run_wal(f, "", "repair", out), 1); /* Looks alone. */
    assert_non_null(strstr(out, "nothing was changed"));
    assert_int_equal(run_wal(f, "", "verify", out), 1);
    assert_int_equal(run_wal(f, "--json", "repair --yes", out), 0);
    assert_int_equal(json_number(strchr(out, '{'), "/set_aside_bytes"), record__extent(1000));
    assert_int_equal(run_wal(f, "", "verify", out), 0);
    snprintf(path, sizeof path, "%s/bad/0000000000000002.ranges0", f->dir);
    assert_true(file_size(path) > 1000);
    open_spool(f);
    assert_true(status_of(f).was_clean);
    assert_int_equal(read_pages(f, NULL, 0, NULL), 199);
}

static void test_wal_refuses_what_it_does_not_know(void **state) {
    struct fixture *f = *state;
    static char out[OUT_MAX];
    assert_int_equal(run_wal(f, "", "", out), 2);
    assert_int_equal(run_wal(f, "", "eat", out), 2);
    assert_int_equal(run_wal(f, "", "dump --from x", out), 2);
    assert_int_equal(run_wal(f, "", "dump --type nothing", out), 2);
    assert_int_equal(run_wal(f, "", "stat extra", out), 2);
    assert_int_equal(run_wal(f, "", "stat", out), 73); /* Nothing is there: a mistyped folder, say. */
    assert_int_equal(run_wal(f, "", "verify", out), 73);
    assert_int_equal(run_wal(f, "", "repair --yes", out), 73);
    remove_files(f->dir);
    assert_int_equal(run_wal(f, "", "stat", out), 73);
    assert_int_equal(mkdir(f->dir, 0700), 0);
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup_ram, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(test_wal_reads_a_spool_in_use),
        T(test_wal_names_damage_and_mends_it),
        T(test_wal_refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
