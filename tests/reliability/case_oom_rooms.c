/* Case 50, rooms that keep something: memory ends at the k-th allocation, for every k. What was
 * synced, answered or shown stays; what was refused can be asked again; nothing leaks. */
#include "../../src/alerts/alerts_internal.h"
#include "oom.h"
#include "score.h"
#include "session.h"
#include "souk/decoder.h"
#include "souk/spool.h"
#include "souk/tables.h"
#include "souk/web.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t n_refused;

/* --- A folder and a loop whose threads run already: libuv aborts when it cannot start them. --- */

struct place {
    char dir[64];
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    bool closed;
};

static void do_nothing(uv_work_t *work) { (void)work; }
static void on_nothing(uv_work_t *work, int status) { (void)work, (void)status; }

static void open_place(struct place *p) {
    uv_work_t work[8];
    *p = (struct place){.clock = {.mono_ns = NS_PER_S, .wall_ns = 1795262400 * NS_PER_S}};
    snprintf(p->dir, sizeof p->dir, "%s/souk_oom_XXXXXX",
             access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(uv_loop_init(&p->loop), 0);
    assert_int_equal(metrics__init(&p->metrics), 0);
    for (size_t i = 0; i < 8; i++) uv_queue_work(&p->loop, &work[i], do_nothing, on_nothing);
    uv_run(&p->loop, UV_RUN_DEFAULT);
}

static void remove_dir(const char *dir) {
    char path[512];
    DIR *d = opendir(dir);
    for (struct dirent *x; d != NULL && (x = readdir(d)) != NULL;) {
        if (x->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%.200s/%.255s", dir, x->d_name);
        if (unlink(path) != 0) remove_dir(path);
    }
    if (d != NULL) closedir(d);
    rmdir(dir);
}

static void close_place(struct place *p) {
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    metrics__fini(&p->metrics);
    remove_dir(p->dir);
}

static void on_closed(void *data) { *(bool *)data = true; }

static int open_spool(struct place *p, struct spool **s) {
    struct err e = {0};
    struct spool_options options = {
        .dir = p->dir, .segment_bytes = 64 << 10, .quota_bytes = 4 << 20};
    return spool__open(s, &p->loop, &p->clock, &p->metrics, &options, &e);
}

static void close_spool(struct place *p, struct spool *s) {
    p->closed = false;
    spool__close(s, on_closed, &p->closed);
    while (!p->closed) uv_run(&p->loop, UV_RUN_ONCE);
}

/* --- The spool: what it said is synced is there. --- */

#define RECORDS 12
#define RECORD_BYTES 9000 /* Two segments in all. */

struct kept {
    uint64_t lsns[RECORDS];
    size_t n_done;
    bool synced[RECORDS];
};
struct wait {
    struct kept *kept;
    size_t i;
};

static void on_synced(void *data, uint64_t lsn, int status) {
    struct wait *w = data;
    assert_int_equal(lsn, w->kept->lsns[w->i]);
    w->kept->synced[w->i] = status == 0;
    w->kept->n_done++;
}

static struct slice record_bytes(size_t i) {
    static char bytes[RECORD_BYTES];
    memset(bytes, (int)('a' + i), sizeof bytes);
    return slice__of(bytes, sizeof bytes);
}

/* Appends them all and waits for what became of them. */
static void append_all(struct place *p, struct spool *s, struct kept *kept, struct wait *waits) {
    size_t n_asked = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        struct slice part = record_bytes(i);
        struct err e;
        waits[i] = (struct wait){kept, i};
        /* A position is only told when the record is taken; the callback comes from the loop. */
        kept->lsns[i] =
            spool__append(s, SPOOL_PAGE, (uint32_t)i, &part, 1, on_synced, &waits[i], &e);
        n_asked += kept->lsns[i] != 0;
        if (i % 4 == 3)
            while (kept->n_done < n_asked) uv_run(&p->loop, UV_RUN_ONCE);
    }
}

/* Reads the folder again, with memory: all that was synced has to be there, once. */
static void check_kept(struct place *p, const struct kept *kept) {
    struct spool *s;
    struct spool_reader r;
    struct spool_status status;
    struct spool_record rec;
    struct err e = {0};
    size_t n_found[RECORDS] = {0};
    assert_int_equal(open_spool(p, &s), 0);
    spool__status(s, &status);
    assert_int_equal(status.corrupt_bytes, 0);
    spool_reader__init(&r, s, status.first_lsn);
    int code;
    while ((code = spool_reader__next(&r, UINT64_MAX, &rec, &e)) == 1) {
        if (rec.type != SPOOL_PAGE) continue;
        assert_true(rec.source < RECORDS);
        assert_int_equal(rec.lsn, kept->lsns[rec.source]);
        assert_true(slice__eq(rec.payload, record_bytes(rec.source)));
        n_found[rec.source]++;
    }
    assert_int_equal(code, 0);
    for (size_t i = 0; i < RECORDS; i++)
        assert_true(n_found[i] == 1 || (n_found[i] == 0 && !kept->synced[i]));
    spool_reader__fini(&r);
    close_spool(p, s);
}

static bool run_spool(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct place p;
    struct spool *s = NULL;
    struct kept kept = {.n_done = 0};
    struct wait waits[RECORDS];
    struct err e;
    open_place(&p);
    oom__arm(k, kind);
    int code = open_spool(&p, &s);
    if (code == 0) {
        append_all(&p, s, &kept, waits);
        struct spool_status status;
        spool__status(s, &status);
        spool__checkpoint(s, status.first_lsn, SLICE_LIT("mine"), &e);
        close_spool(&p, s);
    }
    bool hit = oom__disarm();
    assert_true(code == 0 || hit);
    if (!hit)
        for (size_t i = 0; i < RECORDS; i++) assert_true(kept.synced[i]);
    check_kept(&p, &kept);
    close_place(&p);
    return hit;
}

/* Opening what a crash left behind: the tail is torn and a byte in the middle is wrong. */
static bool run_recovery(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct place p;
    struct spool *s = NULL;
    struct kept kept = {.n_done = 0};
    struct wait waits[RECORDS];
    char path[128];
    open_place(&p);
    assert_int_equal(open_spool(&p, &s), 0);
    append_all(&p, s, &kept, waits);
    close_spool(&p, s);
    s = NULL;
    snprintf(path, sizeof path, "%s/%016u.wal", p.dir, 1u);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)(kept.lsns[2] % (64 << 10)) + 500, SEEK_SET);
    fputc('!', f); /* The third record is damaged. */
    fclose(f);
    oom__arm(k, kind);
    int code = open_spool(&p, &s);
    bool hit = oom__disarm();
    assert_true(code == 0 || hit);
    if (code == 0) close_spool(&p, s);
    assert_int_equal(open_spool(&p, &s), 0); /* Nothing of the failure is left. */
    struct spool_reader r;
    struct spool_status status;
    struct spool_record rec;
    struct err e;
    size_t n = 0;
    spool__status(s, &status);
    spool_reader__init(&r, s, status.first_lsn);
    while ((code = spool_reader__next(&r, UINT64_MAX, &rec, &e)) != 0) {
        assert_true(code == 1);
        n += rec.type == SPOOL_PAGE && slice__eq(rec.payload, record_bytes(rec.source));
    }
    assert_int_equal(n, RECORDS - 1);
    spool_reader__fini(&r);
    close_spool(&p, s);
    close_place(&p);
    return hit;
}

static bool run_reader(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct place p;
    struct spool *s = NULL;
    struct kept kept = {.n_done = 0};
    struct wait waits[RECORDS];
    struct spool_reader r;
    struct spool_status status;
    struct spool_record rec;
    struct err e;
    open_place(&p);
    assert_int_equal(open_spool(&p, &s), 0);
    append_all(&p, s, &kept, waits);
    spool__status(s, &status);
    size_t n = 0;
    int code;
    bool hit = false;
    oom__arm(k, kind);
    spool_reader__init(&r, s, status.first_lsn);
    while ((code = spool_reader__next(&r, UINT64_MAX, &rec, &e)) != 0) {
        if (code == ERR_NOMEM) {
            hit = true;
            oom__disarm(); /* "The next call tries again." */
            continue;
        }
        assert_int_equal(code, 1);
        n += rec.type == SPOOL_PAGE && slice__eq(rec.payload, record_bytes(rec.source));
    }
    hit = oom__disarm() || hit;
    assert_int_equal(n, RECORDS);
    spool_reader__fini(&r);
    close_spool(&p, s);
    close_place(&p);
    return hit;
}

static void test_the_spool_keeps_what_it_said_is_synced(void **state) {
    (void)state;
    n_refused += oom__sweep("spool", run_spool, NULL);
    n_refused += oom__sweep("spool recovery", run_recovery, NULL);
    n_refused += oom__sweep("spool reader", run_reader, NULL);
    assert_true(oom__no_leaks());
}

/* --- The decoder: no record passes without its rows. --- */

struct taken {
    uint64_t next_lsn;
    size_t n_rows, n_refused, n_pages, n_followed;
};

static bool has_room(void *ctx) {
    (void)ctx;
    return true;
}

static void take(void *ctx, uint64_t lsn, uint64_t next_lsn, int64_t wall_ns,
                 const struct request_facts *facts, struct rows *rows) {
    struct taken *t = ctx;
    (void)lsn, (void)wall_ns;
    assert_true(next_lsn >= t->next_lsn);
    t->next_lsn = next_lsn;
    t->n_pages += facts != NULL;
    assert_false(rows->failed);
    t->n_rows += rows__count(rows);
    for (size_t i = 0; i < rows->n; i++) {
        if (rows->batches[i].batch.table == &table_bronze_quarantine) t->n_refused++;
        t->n_followed += strcmp(rows->batches[i].part, "Mirage") == 0;
    }
}

/* @return the position of the CONFIG record in the middle. */
static uint64_t append_log(struct place *p, struct spool *s) {
    struct slice text = SLICE_LIT(
        "{\"next_change_id\":\"3\",\"stashes\":[{\"id\":\"a\",\"public\":true,\"league\":\"Mirage\","
        "\"items\":[{\"id\":\"i\",\"typeLine\":\"Ring\",\"note\":\"~price 1 chaos\"}]}]}");
    struct request_facts facts = {.source = SLICE_LIT("psapi"),
                                  .stream = SLICE_LIT("pc"),
                                  .flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT,
                                  .cursor_from = SLICE_LIT("1"),
                                  .cursor_to = SLICE_LIT("3"),
                                  .status = SLICE_LIT("ok")};
    struct buf record = buf__init(1 << 20);
    struct err e;
    journal__encode(&facts, &record);
    assert_int_equal(journal__compress(text, &record), 0);
    struct slice page = buf__slice(&record), config = SLICE_LIT("Standard\nMirage");
    uint64_t config_lsn = 0;
    for (int i = 0; i < 4; i++) {
        if (i == 2) config_lsn = spool__append(s, SPOOL_CONFIG, 0, &config, 1, NULL, NULL, &e);
        assert_true(spool__append(s, SPOOL_PAGE, 0, &page, 1, NULL, NULL, &e) != 0);
    }
    struct spool_status status;
    do {
        uv_run(&p->loop, UV_RUN_ONCE);
        spool__status(s, &status);
    } while (status.synced_lsn < status.end_lsn);
    buf__fini(&record);
    assert_true(config_lsn != 0);
    return config_lsn;
}

/* Runs jobs until one fails or all is read. */
static int decode_from(struct place *p, struct spool *s, struct taken *t, const char *followed) {
    struct decoder *d;
    struct err e;
    struct decoder_deps deps = {.loop = &p->loop,
                                .clock = &p->clock,
                                .metrics = &p->metrics,
                                .spool = s,
                                .ctx = t,
                                .has_room = has_room,
                                .take = take};
    int code = decoder__open(&d, &deps, t->next_lsn, 0, followed, &e);
    if (code != 0) return code;
    uint64_t before = 0;
    struct spool_status status;
    spool__status(s, &status);
    decoder__wake(d);
    /* A job ends with a position; one that failed leaves it where it was, and waits for a timer. */
    for (int i = 0; i < 50 && decoder__at(d) < status.synced_lsn; i++) {
        uv_run(&p->loop, UV_RUN_NOWAIT);
        if (decoder__at(d) == before) usleep(200);
        before = decoder__at(d);
    }
    p->closed = false;
    decoder__close(d, on_closed, &p->closed);
    while (!p->closed) uv_run(&p->loop, UV_RUN_ONCE);
    return 0;
}

static bool run_decoder(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct place p;
    struct spool *s = NULL;
    struct spool_status status;
    open_place(&p);
    assert_int_equal(open_spool(&p, &s), 0);
    uint64_t config_lsn = append_log(&p, s);
    spool__status(s, &status);
    struct taken t = {.next_lsn = status.first_lsn};
    oom__arm(k, kind);
    int code = decode_from(&p, s, &t, "Standard");
    bool hit = oom__disarm();
    assert_true(code == 0 || code == ERR_NOMEM);
    /* Goes on where it was, with what was followed there. */
    while (t.next_lsn < status.synced_lsn)
        assert_int_equal(decode_from(&p, s, &t, t.next_lsn > config_lsn ? "Standard\nMirage" : "Standard"), 0);
    assert_int_equal(t.n_pages, 4);
    assert_int_equal(t.n_refused, 0);
    assert_int_equal(t.n_rows, 4 * 4); /* Raw page, item, request, checkpoint. */
    assert_int_equal(t.n_followed, 2);
    close_spool(&p, s);
    close_place(&p);
    return hit;
}

static void test_the_decoder_passes_no_record_without_its_rows(void **state) {
    (void)state;
    n_refused += oom__sweep("decoder", run_decoder, NULL);
    assert_true(oom__no_leaks());
}

/* --- Alerts: an answer is true, and everybody hears of everything in the end. --- */

struct world {
    struct clock clock;
    struct metrics metrics;
    struct alerts *alerts;
    char *log[512];
    size_t n_log;
    int n_answers;
    bool ok;
    char answer[4096];
};

static int append(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    struct world *w = ctx;
    char *copy = slice__dup(json);
    if (copy == NULL) return ERR_NOMEM; /* As the spool does. */
    assert_true(w->n_log < 512);
    w->log[w->n_log++] = copy;
    synced(data, 0);
    return 0;
}

static void on_answer(void *data, bool ok, struct slice result) {
    struct world *w = data;
    w->n_answers++;
    w->ok = ok;
    snprintf(w->answer, sizeof w->answer, "{%.*s}", SLICE_FMT(result));
}

static bool is_json(const char *text) {
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    bool good = yyjson_is_obj(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return good;
}

static const struct step {
    const char *op, *args;
} steps[] = {{"test", "{}"},
             {"mute", "{\"match\":{\"class\":\"drift\"},\"for_s\":7}"},
             {"ack", "{\"alert\":\"%s\",\"note\":\"seen\"}"},
             {"note", "{\"alert\":\"%s\",\"text\":\"hm\"}"},
             {"snooze", "{\"alert\":\"%s\",\"for_s\":60}"},
             {"log", "{\"event_name\":\"seen\"}"}};
#define STEPS (sizeof steps / sizeof *steps)

/* @return the id of the drift alert, or "" while it is not known. */
static const char *drift_id(const struct world *w) {
    for (const struct incident *i = w->alerts->firing.first; i != NULL; i = i->next)
        if (strcmp(i->class, "drift") == 0) return i->id;
    return "";
}

static void command(struct world *w, size_t i) {
    char args[128], key[32];
    snprintf(args, sizeof args, steps[i].args, drift_id(w));
    snprintf(key, sizeof key, "key-0123456789-%zu", i);
    struct alert_command c = {.principal = SLICE_LIT("me"),
                              .key = slice__str(key),
                              .op = slice__str(steps[i].op),
                              .args = slice__str(args)};
    int before = w->n_answers;
    alerts__command(w->alerts, &c, on_answer, w);
    assert_int_equal(w->n_answers, before + 1);
}

static int raise_as(struct world *w, const char *class, enum alert_sev sev) {
    struct alert_signal s = {.class = class, .sev = sev, .title = "t", .body = "b"};
    return alerts__raise(w->alerts, &s);
}

static void pass(struct world *w, int64_t seconds) {
    w->clock.mono_ns += seconds * NS_PER_S;
    w->clock.wall_ns += seconds * NS_PER_S;
    alerts__tick(w->alerts);
}

static int open_room(struct world *w) {
    struct err e;
    struct alerts_options options = {.ctx = w, .append = append, .seed = 7};
    return alerts__open(&w->alerts, &w->clock, &w->metrics, &options, &e);
}

/* The saved state without the epoch, which a log that broke changes. */
static void save(struct world *w, struct buf *out) {
    alerts__save(w->alerts, out);
    assert_false(out->failed);
}

static bool run_alerts(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct world w = {.clock = {.mono_ns = NS_PER_S, .wall_ns = 1795262400 * NS_PER_S}};
    bool ok[STEPS];
    char answers[STEPS][sizeof w.answer];
    assert_int_equal(metrics__init(&w.metrics), 0);
    oom__arm(k, kind);
    if (open_room(&w) != 0) {
        assert_true(oom__disarm());
        metrics__fini(&w.metrics);
        return true;
    }
    raise_as(&w, "drift", ALERT_WARNING);
    raise_as(&w, "store_away", ALERT_WARNING);
    alerts__flag(w.alerts, "stale_data", "drift", true, 0);
    for (size_t i = 0; i < STEPS; i++) {
        command(&w, i);
        ok[i] = w.ok;
        memcpy(answers[i], w.answer, sizeof w.answer);
    }
    raise_as(&w, "store_away", ALERT_CRITICAL);
    pass(&w, 6);
    alerts__clear(w.alerts, "store_away", NULL, 0);
    pass(&w, 6);
    bool hit = oom__disarm();
    assert_true(hit || (ok[0] && ok[1] && ok[2] && ok[3] && ok[4] && ok[5]));
    for (size_t i = 0; i < STEPS; i++) assert_true(is_json(answers[i]));
    /* Memory is back: what rooms repeat each second, and clients until they are answered. */
    assert_int_equal(raise_as(&w, "drift", ALERT_WARNING), 0);
    alerts__flag(w.alerts, "stale_data", "drift", true, 0);
    for (int i = 0; i < 3; i++) pass(&w, 6);
    for (size_t i = 0; i < STEPS; i++) {
        command(&w, i);
        if (!w.ok) fail_msg("%s: %s, before that %s", steps[i].op, w.answer, answers[i]);
        /* Once: a command that was done is known to be done. */
        if (ok[i]) assert_non_null(strstr(w.answer, "\"dup\":true"));
    }
    assert_int_equal(w.alerts->n_untold, 0);
    assert_false(w.alerts->broken);
    assert_int_equal(w.alerts->n_flags, 1);
    /* What another process makes of the log is what this one knows. */
    struct buf mine = buf__init(1 << 20), theirs = buf__init(1 << 20);
    struct world again = {.clock = w.clock};
    struct err e;
    save(&w, &mine);
    assert_int_equal(metrics__init(&again.metrics), 0);
    assert_int_equal(open_room(&again), 0);
    for (size_t i = 0; i < w.n_log; i++)
        assert_int_equal(alerts__restore(again.alerts, slice__str(w.log[i]), &e), 0);
    save(&again, &theirs);
    /* In another order, perhaps: an alert that could not be told at once stands behind others. */
    assert_int_equal(mine.len, theirs.len);
    for (const struct incident *i = w.alerts->firing.first; i != NULL; i = i->next)
        assert_non_null(memmem(theirs.base, theirs.len, i->json, i->json_len));
    buf__fini(&mine);
    buf__fini(&theirs);
    alerts__free(again.alerts);
    alerts__free(w.alerts);
    metrics__fini(&again.metrics);
    metrics__fini(&w.metrics);
    for (size_t i = 0; i < w.n_log; i++) free(w.log[i]);
    for (size_t i = 0; i < again.n_log; i++) free(again.log[i]);
    return hit;
}

static bool run_alerts_restore(void *ctx, uint64_t k, enum oom_kind kind) {
    struct world *from = ctx;
    struct world w = {.clock = from->clock};
    struct err e;
    struct buf theirs = buf__init(1 << 20), mine = buf__init(1 << 20);
    assert_int_equal(metrics__init(&w.metrics), 0);
    assert_int_equal(open_room(&w), 0);
    save(from, &mine);
    oom__arm(k, kind);
    int code = 0;
    for (size_t i = 0; code == 0 && i < from->n_log; i++)
        code = alerts__restore(w.alerts, slice__str(from->log[i]), &e);
    if (code == 0) code = alerts__restore(w.alerts, buf__slice(&mine), &e);
    bool hit = oom__disarm();
    assert_true(code == 0 || (hit && code == ERR_NOMEM));
    if (code == 0) {
        save(&w, &theirs);
        assert_true(slice__eq(buf__slice(&mine), buf__slice(&theirs)));
    }
    buf__fini(&theirs);
    buf__fini(&mine);
    alerts__free(w.alerts);
    metrics__fini(&w.metrics);
    for (size_t i = 0; i < w.n_log; i++) free(w.log[i]);
    return hit;
}

static void test_alerts_are_told_and_answers_are_true(void **state) {
    (void)state;
    struct world w = {.clock = {.mono_ns = NS_PER_S, .wall_ns = 1795262400 * NS_PER_S}};
    n_refused += oom__sweep("alerts", run_alerts, NULL);
    assert_int_equal(metrics__init(&w.metrics), 0);
    assert_int_equal(open_room(&w), 0);
    raise_as(&w, "drift", ALERT_WARNING);
    raise_as(&w, "store_away", ALERT_WARNING);
    alerts__flag(w.alerts, "stale_data", "drift", true, 0);
    for (size_t i = 0; i < STEPS; i++) command(&w, i);
    alerts__clear(w.alerts, "store_away", NULL, 0);
    n_refused += oom__sweep("alerts restore", run_alerts_restore, &w);
    alerts__free(w.alerts);
    metrics__fini(&w.metrics);
    for (size_t i = 0; i < w.n_log; i++) free(w.log[i]);
    assert_true(oom__no_leaks());
}

/* --- A session of the hub: whole frames, no gap, or closed. --- */

#define FRAMES 64

struct client {
    struct session session;
    struct frame *frames[FRAMES];
    size_t n;
    int code;
};

static bool io_has_room(void *ctx, size_t len) {
    const struct client *c = ctx;
    (void)len;
    return c->n < FRAMES;
}
static bool io_send(void *ctx, struct frame *f, uint64_t off) {
    struct client *c = ctx;
    (void)off;
    if (c->n == FRAMES) return false;
    c->frames[c->n++] = frame__ref(f);
    return true;
}
static bool io_is_stuck(void *ctx) {
    (void)ctx;
    return false;
}
static void io_close(void *ctx, int code, const char *reason) {
    struct client *c = ctx;
    (void)reason;
    c->code = code;
}
static const struct session_io io = {io_send, io_has_room, io_is_stuck, io_close};

static bool run_session(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct world w = {.clock = {.mono_ns = NS_PER_S, .wall_ns = 1795262400 * NS_PER_S}};
    static const struct principal who = {.read = true, .write = true, .name = "me"};
    struct sessions all;
    struct client c = {.n = 0};
    assert_int_equal(metrics__init(&w.metrics), 0);
    assert_int_equal(open_room(&w), 0);
    sessions__init(&all, w.alerts, &w.clock, &w.metrics);
    raise_as(&w, "drift", ALERT_WARNING);
    raise_as(&w, "store_away", ALERT_WARNING);
    oom__arm(k, kind);
    session__open(&c.session, &all, &who, &io, &c);
    session__on_text(&c.session, SLICE_LIT("{\"t\":\"hello\",\"id\":1}"));
    session__on_text(&c.session, SLICE_LIT("{\"t\":\"cmd\",\"id\":2,\"op\":\"log\",\"key\":"
                                           "\"0123456789abcdef\",\"args\":{\"event_name\":\"x\"}}"));
    raise_as(&w, "spool_full", ALERT_CRITICAL);
    alerts__flag(w.alerts, "stale_data", "drift", true, 0);
    bool hit = oom__disarm();
    for (int i = 0; i < 3; i++) {
        pass(&w, 6);
        sessions__tick(&all);
    }
    uint64_t last = 0;
    bool welcomed = false, live = false, answered = false;
    for (size_t i = 0; i < c.n; i++) {
        struct frame *f = c.frames[i];
        yyjson_doc *doc = yyjson_read(f->bytes + f->payload_at, f->len - f->payload_at, 0);
        yyjson_val *root = yyjson_doc_get_root(doc);
        const char *t = yyjson_get_str(yyjson_obj_get(root, "t"));
        assert_non_null(t);
        uint64_t off = yyjson_get_uint(yyjson_obj_get(root, "off"));
        if (strcmp(t, "welcome") == 0) welcomed = true;
        if (strcmp(t, "snap_end") == 0) last = off;
        if (strcmp(t, "live") == 0) live = true;
        if (strcmp(t, "res") == 0 || strcmp(t, "err") == 0) answered = true;
        if (strcmp(t, "ev") == 0 || strcmp(t, "flag") == 0) {
            assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "prev")), last);
            last = off;
        }
        yyjson_doc_free(doc);
        frame__unref(f);
    }
    if (c.session.state != SESSION_DONE && c.session.state != SESSION_HELLO) {
        assert_true(welcomed);
        assert_true(live);
        assert_true(answered);
        assert_int_equal(last, alerts__top(w.alerts)); /* It has all, in order. */
    }
    assert_true(hit || c.session.state == SESSION_LIVE);
    session__fini(&c.session, 1006);
    sessions__fini(&all);
    alerts__free(w.alerts);
    metrics__fini(&w.metrics);
    for (size_t i = 0; i < w.n_log; i++) free(w.log[i]);
    return hit;
}

static void test_clients_get_whole_frames_without_a_gap(void **state) {
    (void)state;
    n_refused += oom__sweep("session", run_session, NULL);
    assert_true(oom__no_leaks());
}

/* --- The hub's door. --- */

static void get_x(void *data, struct web_request *r) {
    (void)data;
    web_request__respond(r, 200, "text/plain", SLICE_LIT("x"), false);
}

static void on_web_closed(void *data) { *(bool *)data = true; }

static int ask_x(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char request[] = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), (int)sizeof request - 1);
    return fd;
}

/* One that comes while there is no memory is served when there is some again, and so are those behind it. */
static void test_the_door_opens_again(void **state) {
    (void)state;
    struct web *web;
    struct err e;
    uv_loop_t loop;
    struct clock clock = {.mono_ns = NS_PER_S, .wall_ns = 1795262400 * NS_PER_S};
    struct metrics metrics;
    struct web_options o = {.host = "127.0.0.1", .clients_max = 10, .clients_per_ip_max = 10, .handshakes_per_s = 1};
    char answer[16];
    bool closed = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(metrics__init(&metrics), 0);
    assert_int_equal(web__open(&web, &loop, &clock, &metrics, &o, &e), 0);
    web__route(web, "GET", "/x", get_x, NULL);
    int first = ask_x(web__port(web));
    oom__arm(1, OOM_ONCE);
    for (int i = 0; i < 1000 && oom__count() == 0; i++) uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(oom__disarm());
    n_refused++;
    int second = ask_x(web__port(web));
    bool got_first = false, got_second = false;
    for (int i = 0; i < 200 && !(got_first && got_second); i++) {
        uv_run(&loop, UV_RUN_ONCE); /* Up to a sweep: a quarter of a second. */
        got_first |= recv(first, answer, sizeof answer, MSG_DONTWAIT) > 0;
        got_second |= recv(second, answer, sizeof answer, MSG_DONTWAIT) > 0;
    }
    assert_true(got_first && got_second);
    close(first);
    close(second);
    web__close(web, on_web_closed, &closed);
    while (!closed) {
        clock.mono_ns += NS_PER_S;
        uv_run(&loop, UV_RUN_ONCE);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    metrics__fini(&metrics);
    assert_true(oom__no_leaks());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_spool_keeps_what_it_said_is_synced),
        cmocka_unit_test(test_the_decoder_passes_no_record_without_its_rows),
        cmocka_unit_test(test_alerts_are_told_and_answers_are_true),
        cmocka_unit_test(test_clients_get_whole_frames_without_a_gap),
        cmocka_unit_test(test_the_door_opens_again),
    };
    FILE *nowhere = fopen("/dev/null", "w"); /* What is refused is logged, thousands of times. */
    log__setup(nowhere, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    score__write(&(struct score){.case_number = 50,
                                 .what = "memory ends at the k-th allocation: spool, decoder, alerts, hub",
                                 .passed = failed == 0,
                                 .seeds = n_refused,
                                 .recovery_s = -1});
    fclose(nowhere);
    return failed;
}
