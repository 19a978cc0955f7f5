/* Bodies in files and pages in a real spool make the hashes that are committed in tests/golden, and
 * equal ones where they are the same pages. */
#include "../lib/moved.h"
#include "../golden/golden.h"
#include "../lib/river_pages.h"
#include "souk/core/log.h"
#include "souk/journal.h"
#include "souk/replay.h"
#include "test_dir.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <zstd.h>
#include <cmocka.h>

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool *spool;
    bool closed;
};

enum packing { PLAIN, GZIP, ZSTD };

/* Writes @text to @name below the folder, packed, with the ending that says so. */
static void put_file(struct fixture *f, const char *name, struct slice text, enum packing packing) {
    static const char *const endings[] = {"", ".gz", ".zst"};
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", f->dir, name, endings[packing]);
    if (packing == GZIP) {
        gzFile out = gzopen(path, "wb");
        assert_int_equal(gzwrite(out, text.base, (unsigned)text.len), text.len);
        assert_int_equal(gzclose(out), Z_OK);
        return;
    }
    struct buf packed = buf__init(64 << 20);
    if (packing == ZSTD) assert_int_equal(journal__compress(text, &packed), 0);
    struct slice bytes = packing == ZSTD ? buf__slice(&packed) : text;
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes.base, 1, bytes.len, out), bytes.len);
    assert_int_equal(fclose(out), 0);
    buf__fini(&packed);
}

static void copy_file(struct fixture *f, const char *from, const char *to, enum packing packing) {
    struct buf body;
    assert_true(golden__load("SOUK_SOURCE", from, &body));
    put_file(f, to, buf__slice(&body), packing);
    buf__fini(&body);
}

static void make_folders(struct fixture *f) {
    char path[128];
    snprintf(path, sizeof path, "%s/psapi", f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/ninja", f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* Thirty pages with cursors and times in their names, the committed bodies, and what is not a page. */
static void make_recording(struct fixture *f, enum packing packing) {
    struct buf body = buf__init(1 << 20);
    uint64_t seed = 4;
    char name[128];
    for (int n = 0; n < 30; n++) {
        river_pages__make(&body, &seed, n, 12);
        snprintf(name, sizeof name, "psapi/page-pc@%lld@%d-%d.json", 1763700000123 + n * 3500LL, 9 + n, 18 + 2 * n);
        put_file(f, name, buf__slice(&body), packing);
    }
    copy_file(f, "tests/data/psapi/page.json", "psapi/page-small.json", packing);
    put_file(f, "psapi/page-broken.json", SLICE_LIT("<html>"), packing);
    put_file(f, "psapi/page-end.json", SLICE_LIT("{\"next_change_id\":\"1\",\"stashes\":[]}"), packing);
    put_file(f, "psapi/leagues.json", SLICE_LIT("[]"), packing); /* Not one of the kinds. */
    put_file(f, "psapi/stashes-a.json", SLICE_LIT("[{\"id\":\"x\",\"public\":true,\"items\":[{\"typeLine\":\"Orb\"}]}]"), packing);
    put_file(f, "psapi/stash-quad-b.json", SLICE_LIT("{\"id\":\"y\",\"public\":true,\"items\":[{\"typeLine\":\"Map\"}]}"), packing);
    put_file(f, "psapi/stash-history-c.jsonl",
             SLICE_LIT("{\"id\":\"1-1\",\"observed_at\":\"2020-11-19T15:05:16.825832Z\",\"response\":"
                       "{\"next_change_id\":\"2-2\",\"stashes\":[{\"id\":\"z\",\"public\":true,\"items\":[{\"typeLine\":\"A\"}]}]}}\n"
                       "{\"id\":\"2-2\",\"observed_at\":\"2020-11-19T16:05:16Z\",\"response\":"
                       "{\"next_change_id\":\"2-3\",\"stashes\":[{\"id\":\"z\",\"public\":true,\"items\":[{\"typeLine\":\"B\"}]}]}}\n"),
             packing);
    copy_file(f, "tests/data/ninja/currency.json", "ninja/overview-Standard@1763700000500@currency@Currency.json", packing);
    copy_file(f, "tests/data/ninja/exchange.json", "ninja/overview-currency.json", packing);
    struct buf item;
    assert_true(golden__load("SOUK_SOURCE", "tests/data/ninja/item.json", &item));
    buf__clear(&body);
    buf__printf(&body, "{\"unique-armour\":%.*s,\"unique-flask\":%.*s}", SLICE_FMT(buf__slice(&item)),
                SLICE_FMT(buf__slice(&item)));
    put_file(f, "ninja/overview-z.json", buf__slice(&body), packing);
    buf__fini(&item);
    buf__fini(&body);
}

static void run(struct replay_feed *feed, const char *sources, struct replay_result *out) {
    struct replay *r;
    struct err e = {0};
    struct replay_options o = {.followed = "Standard\nHardcore\n", .sources = sources};
    assert_int_equal(replay__new(&r, &o, &e), 0);
    if (replay__run(r, feed, out, &e) != 0) fail_msg("%s", e.msg);
    replay__free(r);
}

/* Replays the folder @dir. @return how many bodies were refused. */
static uint64_t run_bodies(const char *dir, struct replay_result *out) {
    struct replay_feed feed;
    struct err e = {0};
    if (replay_feed__bodies(&feed, dir, &e) != 0) fail_msg("%s", e.msg);
    run(&feed, NULL, out);
    uint64_t n = feed.n_refused;
    feed.close(&feed);
    return n;
}

static void digest(const char *name, const struct replay_result *r, struct buf *out) {
    for (size_t i = 0; i < r->n_tables; i++)
        buf__printf(out, "%s %s %llu %s %s\n", name, r->tables[i].table->name,
                    (unsigned long long)r->tables[i].n_rows, r->tables[i].rows, r->tables[i].log);
    buf__printf(out, "%s all %llu %s %s\n", name, (unsigned long long)r->n_pages, r->rows, r->log);
}

static void test_bodies_by_hand_make_the_committed_hashes(void **state) {
    struct fixture *f = *state;
    struct buf got = buf__init(1 << 16);
    struct replay_result first, again;
    make_folders(f);
    make_recording(f, PLAIN);
    assert_int_equal(run_bodies(f->dir, &first), 2); /* The page for people, and the empty one. */
    assert_int_equal(first.n_pages, 39);
    assert_true(first.first_wall_ns == INT64_C(1605798316825832000));
    assert_true(first.refused[QUALITY_OUT_OF_RANGE] > 0);
    for (int i = 0; i < 2; i++) { /* Three times in all. */
        run_bodies(f->dir, &again);
        assert_memory_equal(&first, &again, sizeof first);
    }
    digest("by_hand", &first, &got);
    assert_true(golden__same("replay_by_hand", DATA_MADE, &got));
    buf__fini(&got);
}

static void test_packed_files_are_the_same_bodies(void **state) {
    struct fixture *f = *state;
    struct buf got = buf__init(1 << 16);
    struct replay_result result;
    make_folders(f);
    make_recording(f, f->clock.mono_ns == 0 ? GZIP : ZSTD);
    run_bodies(f->dir, &result);
    digest("by_hand", &result, &got);
    assert_true(golden__same("replay_by_hand", DATA_MADE, &got));
    buf__fini(&got);
}

static void expect_error(const char *dir, int code) {
    struct replay_feed feed;
    struct spool_record rec;
    struct err e = {0};
    int got = replay_feed__bodies(&feed, dir, &e);
    if (got == 0) {
        while ((got = feed.next(&feed, &rec, &e)) == 1) {}
        feed.close(&feed);
    }
    assert_int_equal(got, code);
    assert_int_equal(e.code, code);
}

static void test_files_that_cannot_be_read_whole_end_it(void **state) {
    struct fixture *f = *state;
    expect_error("/nowhere/at/all", ERR_NOT_FOUND);
    expect_error(f->dir, ERR_NOT_FOUND);
    make_folders(f);
    expect_error(f->dir, ERR_NOT_FOUND);
    put_file(f, "psapi/page-1.json", SLICE_LIT("\xff not even text"), PLAIN); /* The judge's to refuse. */
    expect_error(f->dir, 0);
    put_file(f, "psapi/page-2.json.gz", SLICE_LIT("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b"), PLAIN);
    expect_error(f->dir, ERR_IO);
    put_file(f, "psapi/page-2.json.gz", SLICE_LIT("{}"), PLAIN);
    put_file(f, "psapi/page-3.json.zst", SLICE_LIT("no frame"), PLAIN);
    expect_error(f->dir, ERR_IO);
}

/* The spool. */

static void on_closed(void *data) { ((struct fixture *)data)->closed = true; }

static void open_spool(struct fixture *f, const char *dir) {
    struct err e = {0};
    struct spool_options options = {.dir = dir, .segment_bytes = 256 << 10, .quota_bytes = 64 << 20};
    if (spool__open(&f->spool, &f->loop, &f->clock, &f->metrics, &options, &e) != 0) fail_msg("%s", e.msg);
}

static void sync_spool(struct fixture *f) {
    struct spool_status status;
    do {
        uv_run(&f->loop, UV_RUN_ONCE);
        spool__status(f->spool, &status);
    } while (status.synced_lsn < status.end_lsn);
}

static void close_spool(struct fixture *f) {
    f->closed = false;
    spool__close(f->spool, on_closed, f);
    while (!f->closed) uv_run(&f->loop, UV_RUN_ONCE);
}

/* Appends what the bodies of @dir make, as a poller would have. */
static void append_bodies(struct fixture *f, const char *dir) {
    struct replay_feed feed;
    struct spool_record rec;
    struct err e = {0};
    assert_int_equal(replay_feed__bodies(&feed, dir, &e), 0);
    while (feed.next(&feed, &rec, &e) == 1) {
        assert_true(spool__append(f->spool, SPOOL_PAGE, 0, &rec.payload, 1, NULL, NULL, &e) != 0);
        sync_spool(f);
    }
    feed.close(&feed);
}

static bool followed_is_all(struct slice payload, struct slice *out) {
    *out = payload;
    return true;
}

static void test_a_spool_makes_the_rows_of_its_bodies(void **state) {
    struct fixture *f = *state;
    struct replay_result bodies, in_use, closed;
    struct replay_feed feed;
    struct err e = {0};
    struct slice followed = SLICE_LIT("Standard\nHardcore\n");
    char dir[128];
    snprintf(dir, sizeof dir, "%s/spool", f->dir);
    make_folders(f);
    make_recording(f, PLAIN);
    run_bodies(f->dir, &bodies);
    open_spool(f, dir);
    /* The leagues stand in a checkpoint only, as after the segment of the CONFIG record is gone. */
    assert_true(spool__checkpoint(f->spool, 0, followed, &e) != 0);
    append_bodies(f, f->dir);
    for (int i = 0; i < 2; i++) { /* Beside its owner, and without. */
        assert_int_equal(replay_feed__spool(&feed, dir, followed_is_all, &e), 0);
        run(&feed, NULL, i == 0 ? &in_use : &closed);
        feed.close(&feed);
        if (i == 0) close_spool(f);
    }
    assert_string_equal(in_use.rows, bodies.rows);
    assert_string_equal(closed.rows, in_use.rows);
    assert_string_equal(closed.log, in_use.log);
    assert_int_equal(closed.n_judged_otherwise, 0);
    /* Without the checkpoint's word, those of the options; wrong ones are other rows. */
    struct replay *r;
    assert_int_equal(replay_feed__spool(&feed, dir, NULL, &e), 0);
    assert_int_equal(replay__new(&r, &(struct replay_options){.followed = "Allflame\n"}, &e), 0);
    assert_int_equal(replay__run(r, &feed, &in_use, &e), 0);
    assert_string_not_equal(closed.rows, in_use.rows);
    replay__free(r);
    feed.close(&feed);
    assert_int_equal(replay_feed__spool(&feed, "/nowhere/at/all", NULL, &e), ERR_NOT_FOUND);
}

static void test_damage_in_the_spool_is_passed_and_counted(void **state) {
    struct fixture *f = *state;
    struct replay_result whole, damaged;
    struct replay_feed feed;
    struct err e = {0};
    char dir[128], path[400];
    snprintf(dir, sizeof dir, "%s/spool", f->dir);
    make_folders(f);
    make_recording(f, PLAIN);
    open_spool(f, dir);
    append_bodies(f, f->dir);
    close_spool(f);
    assert_int_equal(replay_feed__spool(&feed, dir, NULL, &e), 0);
    run(&feed, "psapi", &whole);
    feed.close(&feed);
    DIR *d = opendir(dir);
    path[0] = '\0';
    for (struct dirent *x; (x = readdir(d)) != NULL;) { /* The first segment by name. */
        char one[400];
        snprintf(one, sizeof one, "%s/%s", dir, x->d_name);
        struct stat st;
        if (x->d_name[0] == '.' || stat(one, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < 65536) continue;
        if (path[0] == '\0' || strcmp(one, path) < 0) memcpy(path, one, sizeof one);
    }
    closedir(d);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 20000, SEEK_SET), 0);
    assert_int_equal(fwrite("damage", 1, 6, file), 6);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(replay_feed__spool(&feed, dir, NULL, &e), 0);
    run(&feed, "psapi", &damaged);
    feed.close(&feed);
    assert_int_equal(damaged.n_damaged, 1);
    assert_int_equal(damaged.n_pages, whole.n_pages - 1);
    assert_string_not_equal(damaged.rows, whole.rows);
}

static void test_folders_make_the_committed_hashes(enum data_origin origin) {
    struct buf got = buf__init(1 << 16);
    struct replay_result result;
    assert_int_equal(run_bodies(data__dir(origin), &result), 0);
    digest("folder", &result, &got);
    assert_true(golden__same("replay", origin, &got));
    buf__fini(&got);
}
DATA_TESTS_OF(test_folders_make_the_committed_hashes)

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/souk_replay_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->clock = (struct clock){.wall_ns = 1700000000 * NS_PER_S};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(metrics__init(&f->metrics), 0);
    *state = f;
    return 0;
}

static int setup_later(void **state) {
    setup(state);
    ((struct fixture *)*state)->clock.mono_ns = 1;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    moved__write(&f->metrics);
    metrics__fini(&f->metrics);
    remove_dir(f->dir);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    log__setup(fopen("/dev/null", "w"), LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(test_bodies_by_hand_make_the_committed_hashes),
        TEST(test_packed_files_are_the_same_bodies),
        cmocka_unit_test_setup_teardown(test_packed_files_are_the_same_bodies, setup_later,
                                        teardown),
        TEST(test_files_that_cannot_be_read_whole_end_it),
        TEST(test_a_spool_makes_the_rows_of_its_bodies),
        TEST(test_damage_in_the_spool_is_passed_and_counted),
        DATA_TESTS(test_folders_make_the_committed_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
